# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Containers, objects and their data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, Literal
from urllib.parse import quote

import anyio
import httpx
from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from neocampus_lake import replay
from neocampus_lake.catalogue import Wanted
from neocampus_lake.documents import EDITABLE_FIELDS, check_object_id, merged, to_json
from neocampus_lake.errors import present
from neocampus_lake.events import normal_timestamp
from neocampus_lake.search import shown
from neocampus_lake.states import DELETED, PENDING, STORED
from pydantic import BaseModel, ConfigDict, Field

from .. import forms, paging
from ..errors import ApiError, answer_of, bad_request, forbidden, not_found, unauthorized
from ..idempotency import Answer, Form, key_of
from ..identity import Identity
from ..lake import Lake, Reader, TheLake, Writer
from ..observe import note
from ..stores import blocking
from ..swift import SwiftAway, Target
from . import Document, ErrorBody, Insertions, Operation, answers, errors
from .filters import Chosen, Filters

router = APIRouter(prefix="/containers", tags=["objects"])

Container = Annotated[str, Path(description="A container of the token's project.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        description="New for each insertion; one that is sent again within 24 hours with the same key is answered as "
        "the first was, and inserts nothing."
    ),
]
IfMatch = Annotated[str | None, Header(description="Only where the document has one of these tags.")]
IfNoneMatch = Annotated[str | None, Header(description="Only where the document has none of these tags.")]
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
    200: {"content": {"*/*": {}}, "description": "The bytes as they went in, of the type that the document has."},
    206: {"description": "The range that was asked for."},
    304: {"description": "Not changed."},
}
DELETED_AT_ONCE = 1000
"""How many objects one request deletes."""
_EDIT_TRIES = 5
_FILE = {"type": "string", "format": "binary"}
_METADATA = {"application": "comfort of rooms", "other_data": {"room": "u4/302"}}


def _form(metadata: dict[str, Any], file: dict[str, Any], contents: str | list[str]) -> dict[str, Any]:
    """A multipart form, for OpenAPI; an example has such CONTENTS."""
    schema = {"type": "object", "required": ["file"], "properties": {"metadata": metadata, "file": file}}
    encoding = {"metadata": {"contentType": "application/json"}}
    form = {"schema": schema, "encoding": encoding, "example": {"metadata": _METADATA, "file": contents}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": form}}}


_ONE = _form(
    {
        "type": "object",
        "description": "Fields of the document that a user may set, and `model`, as JSON. Put it before `file`: a "
        "large file then streams; else it waits on the API's disk, up to a limit, until the form ends.",
    },
    _FILE,
    "the file's bytes",
)
_MANY = _form(
    {
        "oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}],
        "description": "The first part, if it is there. JSON: one object with fields of the document that a user may "
        "set, for all files; or a list with such an object, which may be empty, for each file in their order.",
    },
    {"type": "array", "items": _FILE, "description": "A part `file` for each file."},
    ["the bytes of one file", "those of another"],
)


_FIELDS = {
    "type": "object",
    "description": "Fields that a user may set, with their new values; null takes a value away. `other_data` is merged "
    "key by key.",
    "properties": {name: {} for name in sorted(EDITABLE_FIELDS)},
    "additionalProperties": False,
    "examples": [_METADATA],
}
_PATCH: dict[str, Any] = {
    "required": True,
    "content": {kind: {"schema": _FIELDS} for kind in ("application/merge-patch+json", "application/json")},
}


class ContainerList(BaseModel):
    items: list[str]
    next: str | None


class DocumentList(BaseModel):
    items: list[Document]
    next: str | None


class ObjectQuery(paging.Between, Filters, Chosen):
    """Which objects, and what is shown of them."""


class EditQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    process: bool = Field(default=False, description="Process the object again, as it is then.")


class Ids(BaseModel):
    """Objects by their ids."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"ids": ["17", "18"]}]})

    ids: list[str] = Field(min_length=1, max_length=DELETED_AT_ONCE)


class Deleted(BaseModel):
    """An object that is no longer there."""

    status: Literal[204]
    swift_object_id: str


class NotDeleted(BaseModel):
    """An object that was not deleted, and why."""

    status: int = Field(ge=400, description="What the deletion of this object alone would have been answered with.")
    swift_object_id: str
    error: ErrorBody


class Deletions(BaseModel):
    """What became of each object, in the order of the ids."""

    items: list[Deleted | NotDeleted]


class OperationForm(Operation):
    model_config = ConfigDict(extra="allow", title="LoggedOperation")

    outcome: Literal["successful", "failed"]


class OperationList(BaseModel):
    items: list[OperationForm]
    next: str | None


class HistoryEntry(BaseModel):
    """What was done to an object: by somebody (`task_type` is `edit` or `delete`), or by a pipeline."""

    model_config = ConfigDict(extra="allow")

    creation_date: str
    swift_container: str
    swift_id: str
    process_type: str
    task_type: str
    old_data: dict[str, Any]
    new_data: dict[str, Any]


class HistoryList(BaseModel):
    items: list[HistoryEntry]
    next: str | None


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
    responses=answers(201, Document, 400, 401, 403, 409, 413, 415, 422, 503),
    openapi_extra=_ONE,
    summary="Insert an object",
)
async def insert(
    request: Request, container: Container, identity: Writer, lake: TheLake, idempotency_key: IdempotencyKey = None
) -> Response:
    """Insert a file with its metadata. A container that is not there is made, with processing on."""

    async def do(form: forms.FormReader, key: str | None = None) -> Answer:
        upload = await lake.inserter.insert(identity, container, form, key=key)
        note(request.scope, container=container, object_id=upload.object_id)
        return 201, to_json(shown(present(upload.document)))

    status, document = await _once(request, lake, identity, container, "one", idempotency_key, do)
    place = f"/api/v1/containers/{quote(container, safe='')}/objects/{document['swift_object_id']}"
    return JSONResponse(document, status, {"Location": place})


@router.post(
    "/{container}/objects/bulk",
    status_code=201,
    responses=answers(201, Insertions, 400, 401, 403, 409, 413, 415, 422, 503)
    | {207: {"model": Insertions, "description": "Not all files are in the lake: each item says so."}},
    openapi_extra=_MANY,
    summary="Insert many objects",
)
async def insert_many(
    request: Request, container: Container, identity: Writer, lake: TheLake, idempotency_key: IdempotencyKey = None
) -> Response:
    """Insert files, each with its metadata, as they come: much cheaper than a request for each of them.

    The answer has an item for each file, in their order; 201 only if all of them are in the lake. What is stored stays
    stored, also when the connection breaks before the answer. A container that is not there is made, with processing
    on.
    """

    async def do(form: forms.FormReader, key: str | None = None) -> Answer:
        bulk = await lake.inserter.insert_many(identity, container, form, key=key)
        note(request.scope, container=container, objects=bulk.stored, failed=len(bulk.uploads) - bulk.stored)
        request.scope["lake.objects"] = [upload.object_id for upload in bulk.uploads if not upload.error]
        failures = {upload: answer_of(upload.error) for upload in bulk.uploads if upload.error}
        if any(failure.status == 401 for failure in failures.values()):
            lake.tokens.forget(identity.token)
        items = [
            {"status": failures[upload].status, "name": upload.name, **failures[upload].form()}
            if upload in failures
            else {"status": 201, "object": to_json(shown(present(upload.document)))}
            for upload in bulk.uploads
        ]
        over = answer_of(bulk.error).form() if bulk.error else {"error": None}
        return 201 if bulk.complete else 207, {"items": items, **over}

    status, items = await _once(request, lake, identity, container, "many", idempotency_key, do)
    return JSONResponse(items, status)


async def _once(
    request: Request,
    lake: Lake,
    identity: Identity,
    container: str,
    kind: str,
    header: str | None,
    do: Callable[..., Awaitable[Answer]],
) -> Answer:
    """Do an insertion, with a key only if it was not done before."""
    boundary = forms.boundary(request.headers.get("content-type"))
    key = key_of(header)
    if key is None:
        return await do(forms.FormReader(request.stream(), boundary))
    form = Form(request.stream(), boundary)
    return await lake.keys.once(identity, container, kind, key, form, lambda name: do(form, name))


@router.get(
    "/{container}/objects",
    responses=answers(200, DocumentList, 400, 401, 403, 404, 503),
    summary="Metadata documents of a container",
)
async def list_objects(
    container: Container, identity: Reader, lake: TheLake, given: Annotated[ObjectQuery, Query()]
) -> Response:
    """In the order of their ids."""
    store = await lake.store(identity, container)
    wanted, fields = given.wanted(), given.names()
    query = ("objects", store, wanted, given.order, sorted(fields))
    found = await lake.stores.read(
        lake.stores.catalogue.find,
        store,
        wanted,
        limit=given.limit + 1,
        order=given.order,
        after=paging.decode(query, given.cursor),
        fields=fields,
    )
    answer = paging.page(found, given.limit, query, lambda shown: shown[-1]["swift_object_id"])
    return JSONResponse(to_json(answer))


@router.get(
    "/{container}/objects/{object_id}",
    responses=answers(200, Document, 400, 401, 403, 404, 503) | {304: {"description": "As `If-None-Match` has it."}},
    summary="Metadata document of an object",
)
async def get_object(
    container: Container, object_id: ObjectId, identity: Reader, lake: TheLake, if_none_match: IfNoneMatch = None
) -> Response:
    """With every operation that was logged on it. `ETag` stands for the document as it is."""
    document = to_json(await document_of(lake, identity, container, object_id))
    headers = {"ETag": etag_of(document), "Cache-Control": "private, no-cache"}
    if _matches(if_none_match, headers["ETag"], weak=True):
        return Response(status_code=304, headers=headers)
    return JSONResponse(document, headers=headers)


@router.patch(
    "/{container}/objects/{object_id}",
    responses=answers(200, Document, 400, 401, 403, 404, 409, 412, 413, 415, 503),
    openapi_extra={"requestBody": _PATCH},
    summary="Change the metadata of an object",
)
async def edit_object(
    request: Request,
    container: Container,
    object_id: ObjectId,
    identity: Writer,
    lake: TheLake,
    given: Annotated[EditQuery, Query()],
    if_match: IfMatch = None,
) -> Response:
    """A JSON merge patch (RFC 7396) of what a user may set; `null` takes a value away. With `If-Match` only where the
    document is still the one with that `ETag`. Nothing is processed again unless `process` asks for it; then it is put
    on the list of data to process, which is looked at every five minutes."""
    note(request.scope, container=container, object_id=object_id)
    patch = await _patch(request, lake.settings.limits.metadata_bytes)
    store = await lake.store(identity, container)
    for _ in range(_EDIT_TRIES):
        before = await document_of(lake, identity, container, object_id)
        if before.get("status") == DELETED:
            raise _unknown(container, object_id)
        if if_match is not None and not _matches(if_match, etag_of(to_json(before))):
            raise ApiError(
                412,
                "precondition_failed",
                f"the document of object {object_id} is not the one that If-Match names: get it again, look at what "
                "has changed, and send the patch with its ETag",
            )
        if given.process and before.get("status") != STORED:
            raise ApiError(
                409, "not_stored", f"object {object_id} is not stored: it can't be processed; leave process out"
            )
        fields = merged(before, patch)
        if fields and (said := await lake.inserter.models.still(identity.project_id or "", before, fields)):
            fields["model"] = said
        after: dict[str, Any] | None = before
        if fields:
            after = await blocking(lake.stores.metadata.edit, store, before, fields, user=identity.user)
        if after is not None:
            if given.process:
                await _process(lake, identity, container, store, object_id)
            shown = to_json(after)
            return JSONResponse(shown, headers={"ETag": etag_of(shown)})
    raise ApiError(409, "conflict", f"the document of object {object_id} does not stop changing; send the patch again")


@router.delete(
    "/{container}/objects/{object_id}",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "It is no longer there."}} | errors(400, 401, 403, 404, 409, 503),
    summary="Delete an object",
)
async def delete_object(
    request: Request, container: Container, object_id: ObjectId, identity: Writer, lake: TheLake
) -> Response:
    """From Swift. Its document stays, as `deleted`, with its history; so does what was made of it in gold."""
    note(request.scope, container=container, object_id=object_id)
    document = await document_of(lake, identity, container, object_id)
    await _delete(lake, identity, container, await lake.store(identity, container), document)
    return Response(status_code=204)


@router.post(
    "/{container}/objects/delete",
    responses=answers(200, Deletions, 400, 401, 403, 404, 503)
    | {207: {"model": Deletions, "description": "Not all objects are deleted: each item says so."}},
    summary="Delete many objects",
)
async def delete_many(
    request: Request, container: Container, identity: Writer, lake: TheLake, given: Ids
) -> JSONResponse:
    """As many deletions of one: the answer has an item for each id."""
    store = await lake.store(identity, container)
    ids = list(dict.fromkeys(map(check_object_id, given.ids)))
    found = await lake.stores.read(
        lake.stores.catalogue.find, store, Wanted(ids=tuple(ids), status="any"), limit=len(ids)
    )
    documents = {document["swift_object_id"]: document for document in found}
    items: dict[str, dict[str, Any]] = {}
    room = anyio.Semaphore(lake.settings.limits.bulk_puts)

    async def delete(object_id: str) -> None:
        async with room:
            try:
                if object_id not in documents:
                    raise _unknown(container, object_id)
                await _delete(lake, identity, container, store, documents[object_id])
            except Exception as error:  # of this object: the others go on
                answer = answer_of(error)
                items[object_id] = {"status": answer.status, "swift_object_id": object_id, **answer.form()}
            else:
                items[object_id] = {"status": 204, "swift_object_id": object_id}

    async with anyio.create_task_group() as group:
        for object_id in ids:
            group.start_soon(delete, object_id)
    ended = [items[object_id] for object_id in ids]
    failed = [item for item in ended if item["status"] != 204]
    if any(item["status"] == 401 for item in failed):
        lake.tokens.forget(identity.token)
    note(request.scope, container=container, objects=len(ended) - len(failed), failed=len(failed))
    return JSONResponse({"items": ended}, 207 if failed else 200)


@router.delete(
    "/{container}",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "It is no longer there."}} | errors(400, 401, 403, 404, 409, 503),
    summary="Delete an empty container",
)
async def delete_container(request: Request, container: Container, identity: Writer, lake: TheLake) -> Response:
    """The documents of what was in it stay in the lake, unseen, and with them what was made of it: a container of this
    name that the project makes later has them again."""
    note(request.scope, container=container)
    await lake.store(identity, container)
    target = Target(identity.project_id or "", container)
    await lake.swift.delete_container(target, identity.token)
    await blocking(lake.stores.metadata.remove_container, target.project_id, container)
    lake.inserter.forget(target.project_id, container)
    return Response(status_code=204)


@router.get(
    "/{container}/objects/{object_id}/operations",
    responses=answers(200, OperationList, 400, 401, 403, 404, 503),
    summary="Operations on an object",
)
async def list_operations(
    container: Container, object_id: ObjectId, identity: Reader, lake: TheLake, given: Annotated[paging.Paged, Query()]
) -> JSONResponse:
    """What was made of the object, well or badly, in the order of time; of each kind the newest 1,000 are kept."""
    document = await document_of(lake, identity, container, object_id)
    query = ("operations", document["swift_object_id"])
    after = paging.decode(query, given.cursor)
    logged = [
        {**operation, "outcome": outcome}
        for outcome in ("successful", "failed")
        for operation in to_json(document[f"{outcome}_operations"])
    ]
    ordered = sorted(logged, key=_place_of)
    found = [operation for operation in ordered if after is None or _place_of(operation) > after]
    return JSONResponse(paging.page(found, given.limit, query, lambda shown: _place_of(shown[-1])))


@router.get(
    "/{container}/objects/{object_id}/history",
    responses=answers(200, HistoryList, 400, 401, 403, 404, 503),
    summary="History of an object",
)
async def list_history(
    container: Container, object_id: ObjectId, identity: Reader, lake: TheLake, given: Annotated[paging.Paged, Query()]
) -> JSONResponse:
    """What was done to it, in the order of time: what was there before, and what then."""
    document = await document_of(lake, identity, container, object_id)
    query = ("history", document["swift_object_id"])
    skip = int(paging.decode(query, given.cursor) or 0)
    found = await lake.stores.read(
        lake.stores.catalogue.history, container, document["swift_object_id"], limit=given.limit + 1, skip=skip
    )
    return JSONResponse(to_json(paging.page(found, given.limit, query, lambda shown: str(skip + len(shown)))))


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
        if "multipart/byteranges" not in headers.get("content-type", ""):
            headers["content-type"] = document["content_type"]
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
        headers["Cache-Control"] = "private, no-cache"
        headers["Content-Security-Policy"] = "sandbox"
        if request.method == "HEAD" or answer.status_code == 304:
            await answer.aclose()
            return Response(status_code=answer.status_code, headers=headers)
        return StreamingResponse(_body(answer), answer.status_code, headers)
    await answer.aclose()
    raise refused(answer, document)


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        with anyio.CancelScope(shield=True):
            await answer.aclose()


def refused(answer: httpx.Response, document: dict[str, Any]) -> ApiError:
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
        raise _unknown(container, object_id)
    return document


def _unknown(container: str, object_id: str) -> ApiError:
    return not_found(
        f"object {object_id} of container {container!r}",
        f"GET /api/v1/containers/{quote(container, safe='')}/objects lists those that do",
    )


def etag_of(document: Any) -> str:
    """The entity tag of a document in JSON."""
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def _matches(header: str | None, etag: str, *, weak: bool = False) -> bool:
    """Whether an If-Match (or, `weak`, If-None-Match) names the tag."""
    tags = [tag.strip() for tag in (header or "").split(",")]
    return "*" in tags or etag in [tag.removeprefix("W/") if weak else tag for tag in tags]


async def _patch(request: Request, limit: int) -> Any:
    """The merge patch in a request's body. ApiError 400, 413 or 415."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _PATCH["content"]:
        raise ApiError(
            415,
            "unsupported_media_type",
            f"the body is {kind or 'of no type'}; send a JSON merge patch as application/merge-patch+json",
            headers={"Accept-Patch": "application/merge-patch+json"},
        )
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > limit:
            raise ApiError(413, "too_large", f"a patch may have {limit} bytes at most")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        said = error if isinstance(error, ValueError) else "nested too deeply"
        raise bad_request(f"the patch is not JSON ({said}); send one JSON object", "invalid_metadata") from None


async def _process(lake: Lake, identity: Identity, container: str, store: str, object_id: str) -> None:
    known = {"project_id": identity.project_id or "", "container": container, "store": store}
    await blocking(replay.replay, lake.stores.client, known, replay.Selection(ids=(object_id,)))


async def _delete(lake: Lake, identity: Identity, container: str, store: str, document: dict[str, Any]) -> None:
    """Delete an object in Swift, and say so on its document. ApiError, LakeError.

    Swift first: an object whose document said that it is gone would be found by nobody. When the second step fails, the
    event of the deletion does it, or reconciliation.
    """
    object_id = document["swift_object_id"]
    if document.get("status") == DELETED:
        raise _unknown(container, object_id)
    target = Target(identity.project_id or "", container, document["swift_object_name"])
    facts = await lake.swift.facts(target, identity.token)
    if facts is None and document.get("status") == PENDING:
        raise ApiError(
            409,
            "not_stored",
            f"object {object_id} is being inserted; delete it when it is stored. One whose insertion broke off is gone "
            "within an hour by itself",
        )
    if facts is not None:
        large = facts.get("x-static-large-object", "").lower() == "true"
        await lake.large.delete_object(identity, container, document["swift_object_name"], object_id, large=large)
    timestamp = normal_timestamp(facts.get("x-timestamp", "")) if facts is not None else ""
    with anyio.CancelScope(shield=True):
        await blocking(lake.stores.metadata.delete, store, document, timestamp=timestamp, user=identity.user)


def _place_of(operation: dict[str, Any]) -> str:
    """Where an operation stands among those of its object."""
    parts = ("execution_date", "outcome", "operation_instance", "pipeline")
    return "\0".join(str(operation.get(part)) for part in parts)
