# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Containers, objects and their data."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote

import anyio
import httpx
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from neocampus_lake.documents import check_object_id, to_json
from pydantic import BaseModel, Field

from .. import forms, paging
from ..errors import ApiError, answer_of, forbidden, not_found, unauthorized
from ..lake import Lake, Reader, TheLake, Writer
from ..observe import note
from ..stores import blocking
from ..swift import SwiftAway, Target
from . import Document, Insertions, answers, errors

router = APIRouter(prefix="/containers", tags=["objects"])

Container = Annotated[str, Path(description="A container of the token's project.")]
ObjectId = Annotated[str, Path(description="The object's `swift_object_id`.")]

_ASKED = ("range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range")
_ANSWERED = (
    "content-type",
    "content-length",
    "content-range",
    "content-encoding",
    "accept-ranges",
    "etag",
    "last-modified",
)
_DATA: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}}, "description": "The bytes as they went in."},
    206: {"description": "The range that was asked for."},
    304: {"description": "Not changed."},
}
_FILE = {"type": "string", "format": "binary"}


def _form(metadata: dict[str, Any], file: dict[str, Any]) -> dict[str, Any]:
    """A multipart form, for OpenAPI."""
    schema = {"type": "object", "required": ["file"], "properties": {"metadata": metadata, "file": file}}
    encoding = {"metadata": {"contentType": "application/json"}}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema, "encoding": encoding}}}
    }


_ONE = _form(
    {
        "type": "object",
        "description": "Fields of the document that a user may set, and `model`, as JSON. Put it before `file`: a "
        "large file then streams; else it waits on the API's disk, up to a limit, until the form ends.",
    },
    _FILE,
)
_MANY = _form(
    {
        "oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}],
        "description": "The first part, if it is there. JSON: one object with fields of the document that a user may "
        "set, for all files; or a list with such an object, which may be empty, for each file in their order.",
    },
    {"type": "array", "items": _FILE, "description": "A part `file` for each file."},
)


class ContainerList(BaseModel):
    items: list[str]
    next: str | None


class DocumentList(BaseModel):
    items: list[Document]
    next: str | None


class ObjectQuery(paging.Between):
    """Which objects; times are those of their creation."""

    content_type: str | None = Field(
        default=None, min_length=1, max_length=255, description="A type, or a class as `image/*`."
    )


@router.get("", response_model=ContainerList, responses=errors(400, 401, 403, 503), summary="Containers of the project")
async def list_containers(identity: Reader, lake: TheLake, given: Annotated[paging.Paged, Query()]) -> Any:
    """Names, in order."""
    query = ("containers", identity.project_id)
    after = paging.decode(query, given.cursor)
    names = await blocking(lake.stores.metadata.containers, identity.project_id)
    return paging.page(
        [name for name in names if after is None or name > after], given.limit, query, lambda shown: shown[-1]
    )


@router.post(
    "/{container}/objects",
    status_code=201,
    responses=answers(201, Document, 400, 401, 403, 409, 413, 415, 503),
    openapi_extra=_ONE,
    summary="Insert an object",
)
async def insert(request: Request, container: Container, identity: Writer, lake: TheLake) -> Response:
    """Insert a file with its metadata. A container that is not there is made, with processing on."""
    form = forms.FormReader(request.stream(), forms.boundary(request.headers.get("content-type")))
    upload = await lake.inserter.insert(identity, container, form)
    note(request.scope, container=container, object_id=upload.object_id)
    place = f"/api/v1/containers/{quote(container, safe='')}/objects/{upload.object_id}"
    return JSONResponse(to_json(upload.document), 201, {"Location": place})


@router.post(
    "/{container}/objects/bulk",
    status_code=201,
    responses=answers(201, Insertions, 400, 401, 403, 413, 415, 503)
    | {207: {"model": Insertions, "description": "Not all files are in the lake: each item says so."}},
    openapi_extra=_MANY,
    summary="Insert many objects",
)
async def insert_many(request: Request, container: Container, identity: Writer, lake: TheLake) -> Response:
    """Insert files, each with its metadata, as they come: much cheaper than a request for each of them.

    The answer has an item for each file, in their order; 201 only if all of them are in the lake. What is stored stays
    stored, also when the connection breaks before the answer. A container that is not there is made, with processing
    on.
    """
    form = forms.FormReader(request.stream(), forms.boundary(request.headers.get("content-type")))
    bulk = await lake.inserter.insert_many(identity, container, form)
    note(request.scope, container=container, objects=bulk.stored, failed=len(bulk.uploads) - bulk.stored)
    request.scope["lake.objects"] = [upload.object_id for upload in bulk.uploads if not upload.error]
    failures = {upload: answer_of(upload.error) for upload in bulk.uploads if upload.error}
    if any(failure.status == 401 for failure in failures.values()):
        lake.tokens.forget(identity.token)
    items = [
        {"status": failures[upload].status, "name": upload.name, **failures[upload].form()}
        if upload in failures
        else {"status": 201, "object": to_json(upload.document)}
        for upload in bulk.uploads
    ]
    over = answer_of(bulk.error).form() if bulk.error else {"error": None}
    return JSONResponse({"items": items, **over}, 201 if bulk.complete else 207)


@router.get(
    "/{container}/objects",
    responses=answers(200, DocumentList, 400, 401, 403, 404, 503),
    summary="Metadata documents of a container",
)
async def list_objects(
    container: Container, identity: Reader, lake: TheLake, given: Annotated[ObjectQuery, Query()]
) -> Response:
    """In the order of their ids, oldest first."""
    store = await lake.store(identity, container)
    query = ("objects", store, given.content_type, given.start, given.end)
    found = await blocking(
        lake.stores.metadata.find,
        store,
        content_type=given.content_type,
        start=None if given.start is None else paging.moment(given.start),
        end=None if given.end is None else paging.moment(given.end),
        limit=given.limit + 1,
        after=paging.decode(query, given.cursor),
    )
    answer = paging.page(found, given.limit, query, lambda shown: shown[-1]["swift_object_id"])
    return JSONResponse(to_json(answer))


@router.get(
    "/{container}/objects/{object_id}",
    responses=answers(200, Document, 400, 401, 403, 404, 503),
    summary="Metadata document of an object",
)
async def get_object(container: Container, object_id: ObjectId, identity: Reader, lake: TheLake) -> Response:
    """With every operation that was logged on it."""
    return JSONResponse(to_json(await document_of(lake, identity, container, object_id)))


@router.get(
    "/{container}/objects/{object_id}/data",
    responses=_DATA | errors(400, 401, 403, 404, 416, 503),
    summary="Data of an object",
)
@router.head("/{container}/objects/{object_id}/data", include_in_schema=False)
async def get_data(
    request: Request, container: Container, object_id: ObjectId, identity: Reader, lake: TheLake
) -> Response:
    """Streams; knows ranges and conditions (Range, If-None-Match, …)."""
    document = await document_of(lake, identity, container, object_id)
    name = document["original_object_name"]
    asked = {header: request.headers[header] for header in _ASKED if header in request.headers}
    target = Target(identity.project_id or "", container, document["swift_object_name"])
    answer = await lake.swift.open(target, identity.token, request.method, asked)
    headers = {header: answer.headers[header] for header in _ANSWERED if header in answer.headers}
    if answer.status_code in (200, 206, 304):
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
        headers["Cache-Control"] = "private, no-cache"
        headers["Content-Security-Policy"] = "sandbox"
        if request.method == "HEAD" or answer.status_code == 304:
            await answer.aclose()
            return Response(status_code=answer.status_code, headers=headers)
        return StreamingResponse(_body(answer), answer.status_code, headers)
    await answer.aclose()
    raise _refused(answer, document)


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        with anyio.CancelScope(shield=True):
            await answer.aclose()


def _refused(answer: httpx.Response, document: dict[str, Any]) -> ApiError:
    """What to say when Swift does not give the data of a document."""
    what = f"the data of object {document['swift_object_id']}"
    if answer.status_code == 401:
        return unauthorized("Swift no longer takes the token; log in again with POST /api/v1/auth/token")
    if answer.status_code == 403:
        return forbidden(f"your role does not allow reading {what} from Swift; ask the project's administrator")
    if answer.status_code == 404:
        if document.get("status") == "pending":
            return ApiError(404, "not_stored", f"{what} is not stored yet; ask again later, or insert it again")
        return ApiError(404, "not_found", f"{what} is no longer in Swift: it was deleted there")
    if answer.status_code == 412:
        return ApiError(412, "precondition_failed", f"{what} is not as the If-… header of the request demands")
    if answer.status_code == 416:
        given = {"Content-Range": answer.headers["content-range"]} if "content-range" in answer.headers else {}
        return ApiError(
            416, "bad_range", f"{what} has {document['size']} bytes; ask for a range within them", headers=given
        )
    return SwiftAway()


async def document_of(lake: Lake, identity: Reader, container: str, object_id: str) -> dict[str, Any]:
    """The metadata document of an object of the token's project. InvalidName, or 404 as `Lake.store` and for none
    such."""
    store = await lake.store(identity, container)
    check_object_id(object_id)
    document = await blocking(lake.stores.metadata.get, store, object_id)
    if document is None:
        raise not_found(
            f"object {object_id} of container {container!r}",
            f"GET /api/v1/containers/{quote(container, safe='')}/objects lists those that do",
        )
    return document
