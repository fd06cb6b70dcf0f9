# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Gold as files: CSV, lines of JSON, Arrow, Parquet. They are made block by block while they are sent: what is in
memory has a bound, whatever their size. A file that is cut off by an error ends without the end of its HTTP body."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Literal
from urllib.parse import quote

import anyio
from fastapi import Request
from fastapi.responses import StreamingResponse
from neocampus_lake.sinks.influxdb_reading import Column
from neocampus_lake.times import format_time
from starlette.types import Receive, Scope, Send

from .errors import ApiError

Format = Literal["json", "csv", "ndjson", "arrow", "parquet"]
Block = Sequence[Sequence[Any]]
"""Rows, with a value for each column."""

TYPES = {
    "json": "application/json",
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}
_ENDINGS = {"arrow": "arrows"}
_GROUP_ROWS = 131_072
"""Rows of a row group of Parquet: they are in memory together."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def chosen(request: Request, given: Format | None, offered: Sequence[Format]) -> Format:
    """The format that `format=` says, else the first of the header Accept that is offered; JSON without either."""
    if given is not None:
        return given
    for kind in request.headers.get("accept", "").split(","):
        for name in offered:
            if kind.partition(";")[0].strip().lower() == TYPES[name]:
                return name
    return "json"


def content(*names: Format) -> dict[str, Any]:
    """The formats beside JSON, for OpenAPI's answer 200."""
    binary = {"type": "string", "format": "binary"}
    return {TYPES[name]: {"schema": binary if name in ("arrow", "parquet") else {"type": "string"}} for name in names}


def encoded(
    name: Format, columns: Sequence[Column], blocks: Iterable[Block], *, formulas: bool = False
) -> Iterator[bytes]:
    """The file, in pieces. In CSV a text that a spreadsheet would take for a formula gets a ' in front, unless
    `formulas` is true."""
    if name == "csv":
        return _csv(columns, blocks, formulas)
    if name == "ndjson":
        return _lines(columns, blocks)
    return _arrow(columns, blocks, parquet=name == "parquet")


def _csv(columns: Sequence[Column], blocks: Iterable[Block], formulas: bool) -> Iterator[bytes]:
    text = (lambda value: value) if formulas else _harmless
    makers = [_csv_maker(column.type, text) for column in columns]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([text(column.name) for column in columns])
    yield _taken(out)
    for block in blocks:
        if block:
            values = zip(*block, strict=True)
            made = [list(map(make, column)) if make else column for make, column in zip(makers, values, strict=True)]
            writer.writerows(zip(*made, strict=True))
            yield _taken(out)


def _taken(out: io.StringIO) -> bytes:
    said = out.getvalue().encode(errors="replace")
    out.seek(0)
    out.truncate()
    return said


def _csv_maker(kind: str, text: Callable[[Any], Any]) -> Callable[[Any], Any] | None:
    if kind in ("number", "integer"):
        return None
    if kind == "time":
        return lambda value: None if value is None else format_time(value)
    return lambda value: text(_cell(value))


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def _harmless(value: Any) -> Any:
    return "'" + value if isinstance(value, str) and value.startswith(_FORMULA) else value


def _lines(columns: Sequence[Column], blocks: Iterable[Block]) -> Iterator[bytes]:
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    names = [column.name for column in columns]
    times = [number for number, column in enumerate(columns) if column.type == "time"]
    for block in blocks:
        lines = []
        for row in block:
            values = list(row)
            for number in times:
                values[number] = format_time(values[number])
            known = {name: value for name, value in zip(names, values, strict=True) if value is not None}
            lines.append(encode(known))
        if lines:
            yield ("\n".join(lines) + "\n").encode(errors="replace")


class _Pipe(io.RawIOBase):
    """What Arrow writes to, and what is taken from there."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._written += len(piece)
        return len(piece)

    def taken(self) -> bytes:
        """What was written since."""
        said = b"".join(self._pieces)
        self._pieces.clear()
        return said


def _arrow(columns: Sequence[Column], blocks: Iterable[Block], *, parquet: bool) -> Iterator[bytes]:
    import pyarrow as pa  # it takes some 60 MB: only a process that is asked for such a file has it

    pa.set_memory_pool(pa.system_memory_pool())  # gives memory back at once
    types = {
        "time": pa.timestamp("ns", tz="UTC"),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "date": pa.date32(),
        "number": pa.float64(),
        "integer": pa.int64(),
        "boolean": pa.bool_(),
    }
    schema = pa.schema([(column.name, types.get(column.type, pa.string())) for column in columns])

    def batches() -> Iterator[Any]:
        for block in blocks:
            if block:
                values = zip(*block, strict=True)
                arrays = [_array(pa, field.type, given) for field, given in zip(schema, values, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return _parquet(pa, schema, batches()) if parquet else _stream(pa, schema, batches())


def _array(pa: Any, kind: Any, values: Sequence[Any]) -> Any:
    if pa.types.is_floating(kind):  # an integer of over 53 bits is none that Arrow takes for a float
        return pa.array([None if value is None else float(value) for value in values], kind)
    if pa.types.is_string(kind):
        return pa.array([value if value is None else _text(value) for value in values], kind)
    if pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.unit == "us"):
        return pa.array(values, pa.string()).cast(kind)
    return pa.array(values, kind)


def _text(value: Any) -> str:
    return value.encode(errors="replace").decode() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _stream(pa: Any, schema: Any, batches: Iterable[Any]) -> Iterator[bytes]:
    pipe = _Pipe()
    with pa.ipc.new_stream(pipe, schema) as writer:
        yield pipe.taken()
        for batch in batches:
            writer.write_batch(batch)
            yield pipe.taken()
    yield pipe.taken()


def _parquet(pa: Any, schema: Any, batches: Iterable[Any]) -> Iterator[bytes]:
    import pyarrow.parquet as pq

    pipe = _Pipe()
    writer = pq.ParquetWriter(pipe, schema, compression="zstd")
    held: list[Any] = []
    for batch in batches:
        held.append(batch)
        if sum(map(len, held)) >= _GROUP_ROWS:
            writer.write_table(pa.Table.from_batches(held, schema))
            held = []
        yield pipe.taken()
    if held:
        writer.write_table(pa.Table.from_batches(held, schema))
    writer.close()
    yield pipe.taken()


class Downloads:
    """The files that a process makes at the same time, which have a bound."""

    def __init__(self, most: int = 8) -> None:
        self._most, self._running = most, 0

    async def respond(
        self,
        pieces: Iterator[bytes],
        run: Callable[[Callable[[], bytes | None]], Awaitable[bytes | None]],
        name: Format,
        filename: str,
    ) -> StreamingResponse:
        """The answer that sends the file. `run` gives what a blocking call gives; what is wrong at the beginning of the
        file is raised here. ApiError 429 where too many are made."""
        if self._running >= self._most:
            raise ApiError(
                429,
                "too_many_downloads",
                f"{self._most} files are being made by this process of the API, which is the most; ask again later",
                headers={"Retry-After": "5"},
            )
        self._running += 1
        steps = _Steps(pieces)
        try:
            first = b""
            while not first and (piece := await run(steps.next)) is not None:
                first = piece
        except BaseException:
            await self._end(steps)
            raise

        async def body() -> Any:
            yield first
            while (piece := await run(steps.next)) is not None:
                if piece:
                    yield piece

        ending = _ENDINGS.get(name, name)
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(f'{filename}.{ending}', safe='')}",
            "Cache-Control": "private, no-store",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox",
        }
        kind = TYPES[name] + ("; charset=utf-8; header=present" if name == "csv" else "")
        return _File(body(), headers, kind, lambda: self._end(steps))

    async def _end(self, steps: _Steps) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await anyio.to_thread.run_sync(steps.close)
            finally:
                self._running -= 1


class _Steps:
    """An iterator whose steps are made in threads, one at a time."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces: Any = pieces
        self._lock = threading.Lock()

    def next(self) -> bytes | None:
        """The next piece, or None after the last."""
        with self._lock:
            return next(self._pieces, None)

    def close(self) -> None:
        """Let go of what it reads, after the step that is under way."""
        with self._lock:
            self._pieces.close()


class _File(StreamingResponse):
    def __init__(self, body: Any, headers: dict[str, str], kind: str, end: Callable[[], Awaitable[None]]) -> None:
        super().__init__(body, 200, headers, kind)
        self._end = end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._end()
