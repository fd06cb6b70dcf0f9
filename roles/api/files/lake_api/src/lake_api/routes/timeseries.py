# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Time series that processing has made of a container's objects."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from .. import paging
from ..lake import Reader, TheLake
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
    """A point: `value` (or the fields of its template), and its tags."""

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
    measurement: str = Field(min_length=1, max_length=1024, description="One of `…/measurements`.")


class PointQuery(paging.Between):
    measurement: str = Field(min_length=1, max_length=1024, description="One of `…/measurements`.")
    topic: str | None = Field(
        default=None, min_length=1, max_length=1024, description="One of `…/topics`; all when left out."
    )
    limit: int = Field(default=1000, ge=1, le=10_000, description="Points on a page.")
    origin: bool = Field(
        default=False, description="With the object, and the operation on its document, that each point comes from."
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


@router.get("/points", responses=answers(200, Points, 400, 401, 403, 404, 503), summary="Points of a measurement")
async def points(
    container: Container, identity: Reader, lake: TheLake, given: Annotated[PointQuery, Query()]
) -> JSONResponse:
    """In the order of time."""
    store = await lake.store(identity, container)
    query = ("points", store, given.measurement, given.topic, given.start, given.end)
    after = paging.decode(query, given.cursor)
    influxdb = lake.stores.influxdb
    found = await lake.stores.series(
        influxdb.points,
        store,
        given.measurement,
        given.topic,
        start=given.start,
        end=given.end,
        limit=given.limit + 1,
        after=after,
        origins=given.origin,
    )
    return JSONResponse(paging.page(found, given.limit, query, lambda shown: influxdb.cursor(shown, after)))
