# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""What an object became: in which stores of gold, how much, and where it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from neocampus_lake.documents import gold_places, to_json
from pydantic import BaseModel, Field

from ..lake import Reader, TheLake
from . import answers
from .objects import Container, ObjectId, document_of

router = APIRouter(prefix="/containers/{container}/objects/{object_id}", tags=["objects"])


class Place(BaseModel):
    store: str = Field(description="`influxdb`, `sql`, `mongodb`, `neo4j`, or `objects`: what was in an archive.")
    counts: dict[str, int] = Field(description="How much of what, as `rows`, `points`, `documents`.")
    tables: dict[str, int] | None = Field(default=None, description="Only of `sql`: rows by table.")
    links: list[str] = Field(description="Paths that read it.")
    pipeline: str | None
    operation: str | None = Field(description="That of one of its `successful_operations`.")
    execution_date: str | None


class Places(BaseModel):
    items: list[Place]
    next: None


@router.get("/gold", responses=answers(200, Places, 400, 401, 403, 404, 503), summary="What an object became")
async def object_gold(container: Container, object_id: ObjectId, identity: Reader, lake: TheLake) -> JSONResponse:
    """In each store, as the newest of its operations there says. It is empty until the object was processed."""
    document = await document_of(lake, identity, container, object_id)
    root = f"/api/v1/containers/{quote(container, safe='')}"
    items = []
    for store, done in sorted(gold_places(document).items()):
        place = done["gold"][store]
        known = place if isinstance(place, Mapping) else {}
        items.append(
            {
                "store": store,
                "counts": {key: value for key, value in known.items() if type(value) is int},
                **({"tables": known["tables"]} if isinstance(known.get("tables"), Mapping) else {}),
                "links": [root + path for path in _LINKS.get(store, _none)(known, object_id, document, done)],
                "pipeline": done.get("pipeline"),
                "operation": done.get("operation"),
                "execution_date": done.get("execution_date"),
            }
        )
    return JSONResponse(to_json({"items": items, "next": None}))


_Links = Callable[[Mapping[str, Any], str, Mapping[str, Any], Mapping[str, Any]], Iterator[str]]


def _none(place: Mapping[str, Any], object_id: str, document: Mapping[str, Any], done: Mapping[str, Any]) -> Any:
    return iter(())


def _series(place: Mapping[str, Any], *_rest: Any) -> Iterator[str]:
    named = [one for one in place.get("series", ()) if "measurement" in one]
    if not named:  # there were too many to be named
        yield "/timeseries/measurements"
    for one in named:
        query = {"measurement": one["measurement"], "topic": one.get("topic"), "from": one.get("from")}
        yield "/timeseries/points?" + urlencode({key: value for key, value in query.items() if value})


def _rows(place: Mapping[str, Any], object_id: str, *_rest: Any) -> Iterator[str]:
    for table in place.get("tables", {}):
        yield f"/tables/{quote(table, safe='')}/rows?object={object_id}"


def _documents(place: Mapping[str, Any], object_id: str, *_rest: Any) -> Iterator[str]:
    for kind in ("documents", "files"):
        if place.get(kind):
            yield f"/{kind}?object={object_id}"


def _image(
    place: Mapping[str, Any], object_id: str, document: Mapping[str, Any], done: Mapping[str, Any]
) -> Iterator[str]:
    kind = str(done.get("detected_content_type") or document.get("content_type") or "")
    if kind.startswith("image/"):  # other graphs are read in Neo4j itself
        yield f"/graph/images/{object_id}"
        yield f"/graph/images/{object_id}/similar"


def _members(place: Mapping[str, Any], *_rest: Any) -> Iterator[str]:
    for one in place.get("ids", ()):
        yield f"/objects/{one}"


_LINKS: dict[str, _Links] = {
    "influxdb": _series,
    "sql": _rows,
    "mongodb": _documents,
    "neo4j": _image,
    "objects": _members,
}
