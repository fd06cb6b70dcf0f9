# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records and frames as they go between processes: a record is a line of JSON, what is sent is cut in frames.

A record is a list that begins with its kind: `["row", "stations", {"name": "u4"}, 2]`. What JSON does not know is an
object with one key: `{"$decimal": "1.50"}`, `{"$bytes": "AAE="}` (base64), `{"$datetime": "…"}`, `{"$date": "…"}`,
`{"$time": "…"}` (ISO 8601), `{"$float": "nan"}`; an object that has such a key itself is `{"$map": [[key, value], …]}`.
An archive's member goes without its content, which cannot be read on the other side.

A frame is one byte that says what it is, the length of its content (4 bytes, big-endian), and the content.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, BinaryIO

from .errors import InvalidInput, LakeError
from .points import Point
from .records import Document, File, Member, Node, Record, Relation, Row, Table

MAX_LINE = 32 * 1024 * 1024
"""Bytes of one record's line."""
MAX_FRAME = 1024 * 1024
"""Bytes of a frame's content."""
_HEAD = struct.Struct(">cI")


def frame(kind: bytes, content: bytes = b"") -> bytes:
    """One frame; `kind` is one byte."""
    return _HEAD.pack(kind, len(content)) + content


class Frames:
    """Takes what was received, in whichever pieces, and gives the frames in it."""

    def __init__(self, largest: int = MAX_FRAME) -> None:
        self._held = bytearray()
        self._largest = largest

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """(kind, content) of each frame that is whole now. Errors: InvalidInput where it can be no frame."""
        self._held += data
        while len(self._held) >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._held)
            if length > self._largest:
                raise InvalidInput(f"a frame of {length} bytes: at most {self._largest} are taken")
            end = _HEAD.size + length
            if len(self._held) < end:
                return
            content = bytes(self._held[_HEAD.size : end])
            del self._held[:end]
            yield kind, content


def dumps(value: Any) -> bytes:
    """A value as one line of JSON, without its line end. Errors: InvalidInput where it is of a type that cannot go."""
    try:
        line = json.dumps(pack(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return line.encode()
    except (RecursionError, UnicodeEncodeError) as error:
        raise InvalidInput(f"this cannot be handed on: {type(error).__name__}: {error}") from None


def loads(line: bytes) -> Any:
    """What `dumps` was given (a list for a tuple). Errors: InvalidInput where the line is not one of its."""
    try:
        return unpack(json.loads(line))
    except InvalidInput:
        raise
    except (ValueError, TypeError, RecursionError, InvalidOperation) as error:
        raise InvalidInput(f"not a line of JSON as it has to be: {error}: {line[:80]!r}") from None


def pack(value: Any) -> Any:
    """A value in what JSON knows. Errors: InvalidInput."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InvalidInput(f"the key {key!r:.60} is no text")
        if any(key.startswith("$") for key in value):
            return {"$map": [[key, pack(item)] for key, item in value.items()]}
        return {key: pack(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [pack(item) for item in value]
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime):  # before date, which it is too
        return {"$datetime": value.isoformat()}
    if isinstance(value, date):
        return {"$date": value.isoformat()}
    if isinstance(value, time):
        return {"$time": value.isoformat()}
    raise InvalidInput(f"a value of type {type(value).__name__} cannot be handed on: {value!r:.60}")


_UNPACK: dict[str, Callable[[Any], Any]] = {
    "$float": float,
    "$decimal": Decimal,
    "$bytes": lambda text: base64.b64decode(text, validate=True),
    "$datetime": datetime.fromisoformat,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
}


def unpack(value: Any) -> Any:
    """What `pack` was given."""
    if isinstance(value, list):
        return [unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(key, inner)] = value.items()
        if key == "$map":
            return {_text(name): unpack(item) for name, item in inner}
        if key.startswith("$"):
            if key not in _UNPACK:
                raise InvalidInput(f"unknown type {key!r:.40}")
            return _UNPACK[key](_text(inner))
    return {key: unpack(item) for key, item in value.items()}


def from_record(record: Any) -> list[Any]:
    """A record as a list for `dumps`. Errors: InvalidInput where it is none."""
    if isinstance(record, Point):
        return ["point", record.measurement, record.time, record.fields, record.tags]
    if isinstance(record, Row):
        return ["row", record.table, dict(record.values), record.line]
    if isinstance(record, Table):
        return ["table", record.name, dict(record.columns), list(record.key), record.replaces]
    if isinstance(record, Document):
        return ["document", record.value, record.number]
    if isinstance(record, File):
        return ["file", record.name, record.content_type, record.data, dict(record.details)]
    if isinstance(record, Node):
        return ["node", record.label, dict(record.key), dict(record.properties)]
    if isinstance(record, Relation):
        ends = [from_record(record.start), from_record(record.end)]
        return ["relation", record.kind, *ends, dict(record.properties)]
    if isinstance(record, Member):
        return ["member", record.path, record.size, record.modified]
    raise InvalidInput(f"a step made {type(record).__name__}, which is no record: {record!r:.60}")


def to_record(parts: Any) -> Record:
    """The record of what `from_record` gave. Errors: InvalidInput where it is not of that form."""
    try:
        kind, *values = parts
        return _MADE[kind](*values)
    except InvalidInput:
        raise
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidInput(f"not a record: {error}: {parts!r:.80}") from None


def _point(measurement: Any, moment: Any, fields: Any, tags: Any) -> Point:
    named = {_text(key): value for key, value in _mapping(fields).items()}
    tagged = {_text(key): _text(value) for key, value in _mapping(tags).items()}
    return Point(_text(measurement), _number(moment), named, tagged)


def _row(table: Any, values: Any, line: Any) -> Row:
    for value in _mapping(values).values():
        if isinstance(value, (list, dict)):
            raise InvalidInput(f"a row's value is {type(value).__name__}, not one value")
    return Row(_text(table), values, _number(line))


def _table(name: Any, columns: Any, key: Any, replaces: Any) -> Table:
    if not isinstance(key, list) or not isinstance(replaces, bool):
        raise InvalidInput("a table's key is a list, and it replaces what was there or does not")
    typed = {_text(column): _text(kind) for column, kind in _mapping(columns).items()}
    return Table(_text(name), typed, tuple(_text(column) for column in key), replaces)


def _file(name: Any, content_type: Any, data: Any, details: Any) -> File:
    if not isinstance(data, bytes):
        raise InvalidInput(f"a file's data is {type(data).__name__}, not bytes")
    return File(_text(name), _text(content_type), data, _mapping(details))


def _node(label: Any, key: Any, properties: Any) -> Node:
    return Node(_text(label), _mapping(key), _mapping(properties))


def _relation(kind: Any, start: Any, end: Any, properties: Any) -> Relation:
    ends = [to_record(start), to_record(end)]
    if not isinstance(ends[0], Node) or not isinstance(ends[1], Node):
        raise InvalidInput("a relation has two nodes")
    return Relation(_text(kind), ends[0], ends[1], _mapping(properties))


def _member(path: Any, size: Any, modified: Any) -> Member:
    if modified is not None and not isinstance(modified, datetime):
        raise InvalidInput("a member's date is none")
    return Member(_text(path), _number(size), _closed, modified)


def _closed() -> BinaryIO:
    raise LakeError("the content of an archive's member cannot be read from another process")


_MADE: dict[str, Callable[..., Record]] = {
    "point": _point,
    "row": _row,
    "table": _table,
    "document": lambda value, number: Document(_mapping(value), _number(number)),
    "file": _file,
    "node": _node,
    "relation": _relation,
    "member": _member,
}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"a text is expected, not {value!r:.60}")
    return value


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"a whole number is expected, not {value!r:.60}")
    return value


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"keys and values are expected, not {value!r:.60}")
    return value
