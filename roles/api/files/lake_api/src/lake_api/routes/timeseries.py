# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Time series that processing has made of a container's objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from neocampus_lake.sinks.influxdb_reading import FILLS, Selection, SeriesTable, parse_duration
from neocampus_lake.times import format_time
from pydantic import BaseModel, ConfigDict, Field

from .. import downloads, paging
from ..errors import bad_request
from ..lake import Lake, Reader, TheLake
from . import answers, errors
from .objects import Container

router = APIRouter(prefix="/containers/{container}/timeseries", tags=["timeseries"])


class Names(BaseModel):
    items: list[str]
    next: str | None


class Origin(BaseModel):
    object: str = Field(description="Id of the object.")
    operation: str = Field(description="That of one of its `successful_operations`: pipeline, version and run.")


class Point(BaseModel):
    """A point: `value` (or the fields of its template), and its tags. Of a window: what was made of each field, as
    `value_mean`, the tags that it was grouped by, and the time at which it begins."""

    model_config = ConfigDict(extra="allow")

    time: str = Field(description="ISO 8601, UTC.")
    value: Any = None
    lake_origin: Origin | None = Field(
        default=None, description="Only where it is asked for; null where it is not known."
    )


class Points(BaseModel):
    items: list[Point]
    next: str | None


class TopicQuery(paging.Paged):
    measurement: str = Field(
        min_length=1, max_length=1024, description="One of `…/measurements`.", examples=["celsius"]
    )


class PointQuery(paging.Between):
    measurement: str = Field(
        min_length=1, max_length=1024, description="One of `…/measurements`.", examples=["celsius"]
    )
    topic: list[Annotated[str, Field(min_length=1, max_length=1024)]] = Field(
        default=[], max_length=100, description="One of `…/topics`, or several; all when left out."
    )
    field: list[Annotated[str, Field(min_length=1, max_length=1024)]] = Field(
        default=[],
        max_length=100,
        description="Which fields; all when left out, and of aggregates those that are numbers.",
    )
    order: Literal["asc", "desc"] = Field(default="asc", description="Of time.")
    limit: int = Field(default=1000, ge=1, le=10_000, description="Points on a page. A file has all of them.")
    origin: bool = Field(
        default=False, description="With the object, and the operation on its document, that each point comes from."
    )
    aggregate: str | None = Field(
        default=None,
        min_length=1,
        max_length=300,
        description="What is made of the points, with commas between: mean, median, min, max, sum, count, first, last, "
        "stddev, spread, or a percentile as p95.",
        examples=["mean,max,p95"],
    )
    every: str | None = Field(
        default=None,
        max_length=20,
        description="Width of the windows that are aggregated: 500ms, 30s, 10m, 1h, 1d, 1w. Without it all of the time "
        "is one.",
        examples=["10m"],
    )
    group: str | None = Field(
        default=None,
        max_length=2000,
        description="Tags by which aggregates are grouped, with commas between; each series on its own when left out, "
        "all of them together when empty.",
    )
    fill: str = Field(
        default="none",
        max_length=20,
        description=f"What empty windows have: {', '.join(FILLS)} or a number. Needs `every` and `from`.",
    )
    format: downloads.Format | None = Field(
        default=None, description="A file with all of it instead of a page; else what the header Accept asks for."
    )
    formulas: Literal["escape", "keep"] = Field(
        default="escape", description="In CSV: whether a text that a spreadsheet takes for a formula gets a ' in front."
    )

    def selection(self) -> Selection:
        """As the library takes it. Errors: InvalidInput."""
        return Selection(
            self.measurement,
            tuple(dict.fromkeys(self.topic)),
            self.start,
            self.end,
            tuple(self.field) or None,
            self.order == "desc",
            self.origin,
            tuple(one.strip() for one in self.aggregate.split(",")) if self.aggregate else (),
            None if self.every is None else parse_duration(self.every),
            None if self.group is None else tuple(one.strip() for one in self.group.split(",") if one.strip()),
            self.fill,
        )


def _names(names: list[str], given: paging.Paged, query: tuple[Any, ...]) -> dict[str, Any]:
    after = paging.decode(query, given.cursor)
    return paging.page(
        [name for name in names if after is None or name > after], given.limit, query, lambda shown: shown[-1]
    )


@router.get("/measurements", response_model=Names, responses=errors(400, 401, 403, 404, 503), summary="Measurements")
async def measurements(
    container: Container, identity: Reader, lake: TheLake, given: Annotated[paging.Paged, Query()]
) -> Any:
    """What is measured in the container (units, by default), in order."""
    store = await lake.store(identity, container)
    found = await lake.stores.series(lake.stores.influxdb.measurements, store)
    return _names(found, given, ("measurements", store))


@router.get(
    "/topics", response_model=Names, responses=errors(400, 401, 403, 404, 503), summary="Topics of a measurement"
)
async def topics(container: Container, identity: Reader, lake: TheLake, given: Annotated[TopicQuery, Query()]) -> Any:
    """Where it is measured (building/room/quantity), in order."""
    store = await lake.store(identity, container)
    found = await lake.stores.series(lake.stores.influxdb.topics, store, given.measurement)
    return _names(found, given, ("topics", store, given.measurement))


_POINTS = answers(200, Points, 400, 401, 403, 404, 429, 503)
_POINTS[200]["content"] = downloads.content("csv", "ndjson", "arrow", "parquet")


@router.get("/points", responses=_POINTS, summary="Points of a measurement")
async def points(
    request: Request, container: Container, identity: Reader, lake: TheLake, given: Annotated[PointQuery, Query()]
) -> Response:
    """In the order of time; what is aggregated by series, and then of time.

    CSV, lines of JSON (NDJSON), Arrow (IPC stream) and Parquet have all of it, with the columns time, measurement (by
    default the unit), the tags and the fields; give `format`, or the header Accept.
    """
    store = await lake.store(identity, container)
    wanted = given.selection()
    kind = downloads.chosen(request, given.format, ("json", "csv", "ndjson", "arrow", "parquet"))
    if kind != "json":
        if given.cursor is not None:
            raise bad_request("query parameter 'cursor': a file has all of it; leave it out, or ask for JSON")
        return await _file(lake, store, container, wanted, kind, given.formulas == "keep")
    query = ("points", store, wanted)
    after = paging.decode(query, given.cursor)
    if wanted.aggregates:
        return JSONResponse(await _windows(lake, store, wanted, given.limit, query, after))
    influxdb = lake.stores.influxdb
    found = await lake.stores.series(
        influxdb.points,
        store,
        wanted.measurement,
        wanted.topics,
        start=wanted.start,
        end=wanted.end,
        limit=given.limit + 1,
        after=after,
        origins=given.origin,
        descending=wanted.descending,
        fields=wanted.fields,
    )
    return JSONResponse(paging.page(found, given.limit, query, lambda shown: influxdb.cursor(shown, after)))


async def _file(
    lake: Lake, store: str, container: str, wanted: Selection, kind: downloads.Format, formulas: bool
) -> Response:
    def pieces() -> Iterator[bytes]:  # begins in the thread of the first step
        table = SeriesTable(lake.stores.influxdb, store, wanted)
        blocks = table.blocks()
        first: list[list[Any]] = next(blocks, [])  # what is wrong is known before anything is sent
        yield from downloads.encoded(kind, table.columns, chain([first], blocks), formulas=formulas)

    async def run(step: Callable[[], bytes | None]) -> bytes | None:
        found = await lake.stores.series(lambda: [step()])
        return found[0] if found else None

    return await lake.downloads.respond(pieces(), run, kind, f"{container}-{wanted.measurement}")


async def _windows(
    lake: Lake, store: str, wanted: Selection, limit: int, query: tuple[Any, ...], after: str | None
) -> dict[str, Any]:
    """A page of aggregates. Its place is that of the last one: its tags, and its time."""
    place: Any = None if after is None else json.loads(after)

    def read() -> list[Any]:
        table = SeriesTable(lake.stores.influxdb, store, wanted)
        tags = len(table.tags)
        names = [column.name for column in table.columns]
        found: list[Any] = []
        seen = begun = place is None
        with closing(table.blocks()) as blocks:
            for row in (row for block in blocks for row in block):
                key = row[2 : 2 + tags]
                if not begun and key == place[0]:
                    seen = True
                    begun = row[0] < place[1] if wanted.descending else row[0] > place[1]
                elif seen:
                    begun = True
                if begun:
                    found.append((key, row[0], dict(zip(names, row, strict=True))))
                    if len(found) > limit:
                        break
        if not seen:
            raise bad_request("the series at which the next page begins is gone; start again", "invalid_cursor")
        return found

    found = await lake.stores.series(read)
    answer = paging.page(found, limit, query, lambda shown: json.dumps(shown[-1][:2]))
    return {**answer, "items": [_window(one[2], len(one[0])) for one in answer["items"]]}


def _window(row: dict[str, Any], tags: int) -> dict[str, Any]:
    names = list(row)
    known = {name: row[name] for name in names[2 : 2 + tags] if row[name] is not None}
    return {"time": format_time(row["time"]), **known, **{name: row[name] for name in names[2 + tags :]}}
