# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Tables that processing has made of a container's objects."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse
from neocampus_lake.documents import to_json
from pydantic import BaseModel, ConfigDict, Field

from .. import paging
from ..conditions import conditions, text
from ..errors import ApiError, not_found
from ..lake import Reader, TheLake
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


@router.get("/{table}/rows", responses=answers(200, Rows, 400, 401, 403, 404, 503), summary="Rows of a table")
async def list_rows(
    container: Container, table: Table, identity: Reader, lake: TheLake, given: Annotated[RowQuery, Query()]
) -> JSONResponse:
    """By object, and within it in the order of its file. A page of large rows has fewer than `limit`."""
    store = await lake.store(identity, container)
    query = ("rows", store, table, given.object, given.columns, given.where, given.origin)
    after = paging.decode(query, given.cursor)
    filters = conditions(given.where, text)
    columns = None if given.columns is None else [name.strip() for name in given.columns.split(",")]
    part = lake.gold.tables
    reader = part.reader

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
