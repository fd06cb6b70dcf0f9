# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Tables that processing has made of a container's objects."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from neocampus_lake.documents import to_json
from neocampus_lake.sinks.influxdb_reading import Column as FileColumn
from pydantic import BaseModel, ConfigDict, Field

from .. import downloads, paging
from ..conditions import conditions, text
from ..errors import ApiError, bad_request, not_found
from ..lake import Lake, Reader, TheLake
from . import answers, errors
from .objects import Container

router = APIRouter(prefix="/containers/{container}/tables", tags=["tables"])

Table = Annotated[str, Path(max_length=200, description="One of `…/tables`, or the `current` of one.")]


class TableNames(BaseModel):
    items: list[str]
    next: str | None


class Column(BaseModel):
    column: str = Field(description="Its name here.")
    name: str = Field(description="What files call it.")
    type: str = Field(
        description="boolean, integer, number, decimal, date, time, timestamp, text, bytes or json (as far as known)."
    )


class TableForm(BaseModel):
    model_config = ConfigDict(title="Table")

    table: str = Field(description="Its name here.")
    name: str = Field(description="What files call it.")
    key: list[str] = Field(description="Columns by which a row is known, where files say so.")
    current: str | None = Field(description="Where there is a key: the view with the newest row of each.")
    columns: list[Column]
    rows: int | None = Field(description="How many there are; null of a view.")
    objects: int | None = Field(description="Of how many objects they are.")


class RowOrigin(BaseModel):
    object: str = Field(description="Id of the object.")
    operation: str = Field(description="That of one of its `successful_operations`: pipeline, version and run.")
    row: int = Field(description="Its place in the object, from 1.")
    line: int | None = Field(description="Its line in the file, from 1.")


class Row(BaseModel):
    """A column's value by its name: times in ISO 8601, a decimal as a number where a double has it exactly, else as a
    text, bytes as `\\x` and hexadecimal digits."""

    model_config = ConfigDict(extra="allow")

    lake_origin: RowOrigin | None = Field(default=None, description="Only where it is asked for.")


class Rows(BaseModel):
    items: list[Row]
    next: str | None


class RowQuery(paging.Paged):
    object: str | None = Field(default=None, max_length=20, description="Only rows of this object.")
    columns: str | None = Field(
        default=None, min_length=1, max_length=4000, description="Names with commas between them; all when left out."
    )
    where: list[str] = Field(
        default=[],
        max_length=20,
        description="`column:operator:value`; the operator is eq, ne, lt, le, gt, ge, contains (of a text) or null "
        "(true or false). All of several have to hold.",
        examples=[["temperature:ge:21.5"]],
    )
    origin: bool = Field(
        default=False, description="With the object, the operation on its document, and the place that each comes from."
    )
    format: downloads.Format | None = Field(
        default=None, description="A file with all rows instead of a page; else what the header Accept asks for."
    )
    formulas: Literal["escape", "keep"] = Field(
        default="escape", description="In CSV: whether a text that a spreadsheet takes for a formula gets a ' in front."
    )


def _missing(container: str, table: str) -> ApiError:
    return not_found(
        f"table {table!r} of container {container!r}",
        f"GET /api/v1/containers/{quote(container, safe='')}/tables lists those that do",
    )


@router.get("", response_model=TableNames, responses=errors(400, 401, 403, 404, 503), summary="Tables")
async def list_tables(
    container: Container, identity: Reader, lake: TheLake, given: Annotated[paging.Paged, Query()]
) -> Any:
    """Their names, in order. A page may have fewer than `limit`."""
    store = await lake.store(identity, container)
    query = ("tables", store)
    part = lake.gold.tables
    names, after = await part.ask(part.reader.names, store, given.limit, paging.decode(query, given.cursor))
    return paging.continued(names, after, query)


@router.get("/{table}", responses=answers(200, TableForm, 400, 401, 403, 404, 503), summary="A table")
async def get_table(container: Container, table: Table, identity: Reader, lake: TheLake) -> JSONResponse:
    """Its columns, and how many rows it has."""
    store = await lake.store(identity, container)
    part = lake.gold.tables
    found = await part.ask(part.reader.table, store, table, missing=lambda: _missing(container, table))
    return JSONResponse(found)


_ROWS = answers(200, Rows, 400, 401, 403, 404, 429, 503)
_ROWS[200]["content"] = downloads.content("csv", "ndjson", "arrow", "parquet")
_FILE_ROWS = 5000
_ORIGIN = ("object", "operation", "row", "line")


@router.get("/{table}/rows", responses=_ROWS, summary="Rows of a table")
async def list_rows(
    request: Request,
    container: Container,
    table: Table,
    identity: Reader,
    lake: TheLake,
    given: Annotated[RowQuery, Query()],
) -> Response:
    """By object, and within it in the order of its file. A page of large rows has fewer than `limit`.

    CSV, lines of JSON (NDJSON), Arrow (IPC stream) and Parquet have all rows; give `format`, or the header Accept.
    """
    store = await lake.store(identity, container)
    query = ("rows", store, table, given.object, given.columns, given.where, given.origin)
    after = paging.decode(query, given.cursor)
    filters = conditions(given.where, text)
    columns = None if given.columns is None else [name.strip() for name in given.columns.split(",")]
    part = lake.gold.tables
    reader = part.reader
    kind = downloads.chosen(request, given.format, ("json", "csv", "ndjson", "arrow", "parquet"))
    if kind != "json":
        if given.cursor is not None:
            raise bad_request("query parameter 'cursor': a file has all of it; leave it out, or ask for JSON")
        asked = {"filters": filters, "object_id": given.object, "columns": columns}
        return await _file(lake, store, container, table, kind, given, asked)

    def read() -> JSONResponse:
        rows, further = reader.rows(
            store, table, filters, object_id=given.object, columns=columns, limit=given.limit, after=after
        )
        for row in rows:
            origin = row.pop("lake")
            if given.origin:
                row["lake_origin"] = origin
        return JSONResponse(paging.continued(to_json(rows, ids=False), further, query))

    return await part.ask(read, missing=lambda: _missing(container, table))


async def _file(
    lake: Lake,
    store: str,
    container: str,
    table: str,
    kind: downloads.Format,
    given: RowQuery,
    query: dict[str, Any],
) -> Response:
    """All rows, page by page behind the scenes."""
    part = lake.gold.tables
    reader = part.reader

    def blocks(names: list[str]) -> Iterator[list[list[Any]]]:
        after = None
        while True:
            rows, after = reader.rows(store, table, limit=_FILE_ROWS, after=after, **query)
            origins = _ORIGIN if given.origin else ()
            yield [[row[name] for name in names] + [row["lake"].get(key) for key in origins] for row in rows]
            if after is None:
                return

    def pieces() -> Iterator[bytes]:
        known = {one["column"]: one["type"] for one in reader.table(store, table)["columns"]}
        names = list(dict.fromkeys(query["columns"] or known))
        # What a column that there is not is answered with, the reader of rows says.
        columns = [FileColumn(name, known.get(name, "text")) for name in names]
        columns += [
            FileColumn(f"lake_{key}", "integer" if key in ("row", "line") else "text")
            for key in (_ORIGIN if given.origin else ())
        ]
        rows = blocks(names)
        first = next(rows)
        yield from downloads.encoded(kind, columns, chain([first], rows), formulas=given.formulas == "keep")

    async def run(step: Any) -> bytes | None:
        return await part.ask(step, missing=lambda: _missing(container, table))

    return await lake.downloads.respond(pieces(), run, kind, f"{container}-{table}")
