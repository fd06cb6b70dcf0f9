# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The graph of a container's images: what they show, and which look alike."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from neocampus_lake.documents import check_object_id, to_json
from pydantic import BaseModel, ConfigDict, Field

from .. import paging
from ..errors import ApiError, not_found
from ..lake import Reader, TheLake
from ..stores import blocking
from . import answers
from .objects import Container, ObjectId

router = APIRouter(prefix="/containers/{container}/graph", tags=["graph"])

_DESCRIPTORS = ("phash", "appearance", "sharpness")
_SHOWN = 500
"""Objects that an image's page has; the library's parser makes 200 at most, and faces."""


class SeenObject(BaseModel):
    name: str
    images: int = Field(description="How many show it.")


class SeenObjects(BaseModel):
    items: list[SeenObject]
    next: str | None


class Showing(BaseModel):
    model_config = ConfigDict(extra="allow")

    role: str | None = Field(default=None, description="`main` or `secondary`, where it was declared.")
    source: str | None = Field(default=None, description="`declared`, or what has found it.")
    confidence: float | None = None


class ShowingImage(BaseModel):
    object_id: str
    filename: str | None = None
    content_type: str | None = None
    shows: list[Showing]


class ShowingImages(BaseModel):
    items: list[ShowingImage]
    next: str | None


class ShownObject(Showing):
    name: str
    count: int | None = Field(default=None, description="How many of them.")


class Descriptors(BaseModel):
    phash: str | None = Field(description="64 bits by which near-duplicates are found; null: it is too plain for that.")
    sharpness: float | None
    appearance: int | None = Field(description="How long the vector of colours and edges is that ranks them.")


class ImageForm(BaseModel):
    model_config = ConfigDict(title="Image", extra="allow")

    object_id: str
    objects: list[ShownObject] = Field(description="What it shows, by name; 500 at most.")
    descriptors: Descriptors
    similar: int = Field(description="How many near-duplicates it has.")
    tags: dict[str, Any] = Field(description="What its owner says of it: `other_data` of its metadata document.")


class SimilarImage(BaseModel):
    model_config = ConfigDict(extra="allow")

    object_id: str
    distance: int = Field(description="Bits in which the hashes differ, of 64.")
    score: float = Field(description="How alike colours and edges are, 0 to 1.")
    filename: str | None = None
    content_type: str | None = None


class SimilarImages(BaseModel):
    items: list[SimilarImage]
    next: str | None


class ImageQuery(paging.Paged):
    object: str = Field(
        min_length=1, max_length=200, description="The `name` of one of `…/graph/objects`.", examples=["cup"]
    )


def _no_image(container: str, object_id: str) -> ApiError:
    return not_found(
        f"object {object_id} of container {container!r} in the graph of images",
        "GET …/graph/images?object=NAME lists those that show something, and GET …/objects/{id}/gold says what an "
        "object became",
    )


@router.get(
    "/objects", responses=answers(200, SeenObjects, 400, 401, 403, 404, 503), summary="Objects that images show"
)
async def graph_objects(
    container: Container, identity: Reader, lake: TheLake, given: Annotated[paging.Paged, Query()]
) -> JSONResponse:
    """By name, with the number of images."""
    store = await lake.store(identity, container)
    query = ("graph objects", store)
    part = lake.gold.graph
    found = await part.ask(part.reader.objects, store, given.limit, paging.decode(query, given.cursor))
    return JSONResponse(paging.continued(to_json(found[0]), found[1], query))


@router.get(
    "/images", responses=answers(200, ShowingImages, 400, 401, 403, 404, 503), summary="Images that show an object"
)
async def graph_images(
    container: Container, identity: Reader, lake: TheLake, given: Annotated[ImageQuery, Query()]
) -> JSONResponse:
    """By id (as text)."""
    store = await lake.store(identity, container)
    query = ("graph images", store, given.object)
    after = paging.decode(query, given.cursor)
    part = lake.gold.graph
    found = await part.ask(part.reader.images_of, store, given.object, given.limit, after)
    return JSONResponse(paging.continued(to_json(found[0]), found[1], query))


@router.get("/images/{object_id}", responses=answers(200, ImageForm, 400, 401, 403, 404, 503), summary="An image")
async def graph_image(container: Container, object_id: ObjectId, identity: Reader, lake: TheLake) -> JSONResponse:
    """What is known of it."""
    store = await lake.store(identity, container)
    check_object_id(object_id)
    part = lake.gold.graph
    reader = part.reader

    def read() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        return reader.image(store, object_id), reader.objects_in(store, object_id, _SHOWN)[0]

    known, shown = await part.ask(read, missing=lambda: _no_image(container, object_id))
    document = await blocking(lake.stores.metadata.get, store, object_id) or {}
    answer = {
        **{key: value for key, value in known.items() if key not in _DESCRIPTORS},
        "objects": shown,
        "descriptors": {key: known.get(key) for key in _DESCRIPTORS},
        "tags": document.get("other_data") or {},
    }
    return JSONResponse(to_json(answer))


@router.get(
    "/images/{object_id}/similar",
    responses=answers(200, SimilarImages, 400, 401, 403, 404, 503),
    summary="Near-duplicates of an image",
)
async def similar_images(
    container: Container,
    object_id: ObjectId,
    identity: Reader,
    lake: TheLake,
    given: Annotated[paging.Paged, Query()],
) -> JSONResponse:
    """The nearest first."""
    store = await lake.store(identity, container)
    query = ("similar", store, check_object_id(object_id))
    after = paging.decode(query, given.cursor)
    part = lake.gold.graph
    found = await part.ask(
        part.reader.similar, store, object_id, given.limit, after, missing=lambda: _no_image(container, object_id)
    )
    return JSONResponse(paging.continued(to_json(found[0]), found[1], query))
