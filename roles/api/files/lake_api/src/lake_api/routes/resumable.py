# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Large uploads by the tus protocol, and how each of them stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from neocampus_lake.documents import to_json
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from .. import paging, tus
from ..errors import ApiError, answer_of, bad_request
from ..identity import Identity
from ..lake import Lake, Reader, TheLake, Writer
from ..large import gone
from ..observe import note
from ..stores import blocking
from ..upload_store import ASSEMBLING, DONE, EXPIRED, FAILED, OVER, STATUSES, TERMINATED
from . import answers, errors
from .objects import Container

UploadId = Annotated[
    str, Path(description="The upload's `id`.", pattern="^[0-9a-f]{32}$", examples=["6f1c0d3e5b2a49788c7d6e5f4a3b2c1d"])
]


class TusRoute(APIRoute):
    """A path of the protocol: its answers, also those that are errors, say which version they are of."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handle = super().get_route_handler()

        async def tus_handle(request: Request) -> Response:
            try:
                response: Response = await handle(request)
            except RequestValidationError:
                raise
            except (HTTPException, ApiError) as error:
                error.headers = {**(error.headers or {}), "Tus-Resumable": tus.VERSION}
                raise
            except Exception as error:
                answer = answer_of(error)
                answer.headers["Tus-Resumable"] = tus.VERSION
                raise answer from error
            response.headers["Tus-Resumable"] = tus.VERSION
            return response

        return tus_handle


tracking = APIRouter(tags=["uploads"])
protocol = APIRouter(prefix="/containers/{container}/uploads", tags=["uploads"], route_class=TusRoute)


class UploadState(BaseModel):
    """How an upload stands."""

    id: str
    container: str
    status: str = Field(
        description="`created`, `receiving`, `received` (a partial one that waits to be joined), `assembling`, `done`, "
        "`failed`, `expired`, `terminated`."
    )
    started: str
    updated: str = Field(description="Its last change.")
    expires: str = Field(description="When it is given up if nobody goes on with it.")
    length: int = Field(description="Bytes that it is to have.")
    offset: int = Field(description="Bytes that are in the lake.")
    filename: str | None
    content_type: str | None
    user: str
    partial: bool
    joins: list[str] | None = Field(description="Ids of the partial uploads that it joins.")
    joined: str | None = Field(description="Id of the upload that joins it.")
    object_id: str | None = Field(description="The object that it became.")
    error: str | None = Field(description="Why it failed.")
    source: dict[str, Any] | None = Field(description="The pull that it comes from.")
    url: str = Field(description="Its path.")


class UploadList(BaseModel):
    items: list[UploadState]
    next: str | None


class UploadQuery(paging.Paged):
    """Which uploads."""

    status: Literal[STATUSES] | None = Field(default=None, description="Only those.")  # type: ignore[valid-type]


_HEADERS = {
    "Tus-Resumable": "Version of the protocol.",
    "Upload-Offset": "Bytes that are in the lake.",
    "Upload-Expires": "When it is given up if nobody goes on with it.",
    "Upload-Object": "The id of the object that it became, once it is one; `Link` has its path.",
    "Upload-Status": "As GET says.",
}
_TUS = {"name": "Tus-Resumable", "in": "header", "required": True, "schema": {"type": "string", "enum": [tus.VERSION]}}
_CHECKSUM = {
    "name": "Upload-Checksum",
    "in": "header",
    "schema": {"type": "string"},
    "description": f"Of this body: one of {', '.join(tus.ALGORITHMS)}, a space, the digest in base64.",
}
_BODY = {"content": {tus.BODY_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
_CREATE = {
    "parameters": [
        _TUS,
        _CHECKSUM,
        {
            "name": "Upload-Length",
            "in": "header",
            "schema": {"type": "integer", "minimum": 0},
            "example": 1073741824,
            "description": "Bytes that the upload is to have; not with `Upload-Concat: final`.",
        },
        {
            "name": "Upload-Metadata",
            "in": "header",
            "schema": {"type": "string"},
            "description": "Pairs of a key and a value in base64, with commas between them: `filename`, `filetype`; "
            "`metadata`: fields of the document that a user may set, as JSON; `sha256`, `md5`: of the whole, in "
            "hexadecimal digits, which the lake compares.",
        },
        {
            "name": "Upload-Concat",
            "in": "header",
            "schema": {"type": "string"},
            "description": "`partial`: to be joined; `final;` and the paths of partial uploads: joins them.",
        },
    ],
    "requestBody": _BODY,
}
_PATCH = {
    "parameters": [
        _TUS,
        _CHECKSUM,
        {
            "name": "Upload-Offset",
            "in": "header",
            "required": True,
            "schema": {"type": "integer", "minimum": 0},
            "example": 0,
        },
    ],
    "requestBody": {"required": True, **_BODY},
}


def _answered(status: int, description: str, *headers: str) -> dict[int | str, dict[str, Any]]:
    shown = {
        name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in ("Tus-Resumable", *headers)
    }
    return {status: {"description": description, "headers": shown}}


# -- how uploads stand ------------------------------------------------------------------------------------------------


@tracking.get(
    "/uploads", responses=answers(200, UploadList, 400, 401, 403, 503), summary="Large uploads of the project"
)
async def list_uploads(identity: Reader, lake: TheLake, given: Annotated[UploadQuery, Query()]) -> Response:
    """The newest first."""
    return await _list(lake, identity, None, given)


@tracking.get(
    "/uploads/{upload_id}", responses=answers(200, UploadState, 400, 401, 403, 404, 503), summary="How an upload stands"
)
async def get_upload(upload_id: UploadId, identity: Reader, lake: TheLake) -> Response:
    """Where it waits to become an object, for the rights or the connection of an attempt were lost, a writer's asking
    goes on with it."""
    return await _get(lake, identity, upload_id, None)


@tracking.get(
    "/containers/{container}/uploads",
    responses=answers(200, UploadList, 400, 401, 403, 404, 503),
    summary="Large uploads into a container",
)
async def list_container_uploads(
    container: Container, identity: Reader, lake: TheLake, given: Annotated[UploadQuery, Query()]
) -> Response:
    """The newest first."""
    return await _list(lake, identity, container, given)


@tracking.get(
    "/containers/{container}/uploads/{upload_id}",
    responses=answers(200, UploadState, 400, 401, 403, 404, 503),
    summary="How an upload into a container stands",
)
async def get_container_upload(container: Container, upload_id: UploadId, identity: Reader, lake: TheLake) -> Response:
    """As `/api/v1/uploads/{id}`."""
    return await _get(lake, identity, upload_id, container)


async def _list(lake: Lake, identity: Identity, container: str | None, given: UploadQuery) -> Response:
    if container is not None:
        await lake.store(identity, container)
    query = ("uploads", identity.project_id, container, given.status)
    after = paging.decode(query, given.cursor)
    try:
        found = await blocking(
            lake.large.store.find,
            identity.project_id,
            container=container,
            status=given.status,
            limit=given.limit + 1,
            after=after,
        )
    except ValueError:
        raise bad_request("query parameter 'cursor': is no place in this list", "invalid_cursor") from None
    answer = paging.page(found, given.limit, query, lambda shown: lake.large.store.place(shown[-1]))
    return JSONResponse(answer | {"items": [shown(one) for one in answer["items"]]})


async def _get(lake: Lake, identity: Identity, upload_id: str, container: str | None) -> Response:
    document = await lake.large.get(identity, upload_id, container)
    _go_on(lake, identity, document)
    return JSONResponse(shown(document))


def _go_on(lake: Lake, identity: Identity, document: Mapping[str, Any]) -> None:
    if document["status"] == ASSEMBLING and identity.roles.intersection(lake.settings.identity.write_roles):
        lake.large.finish_later(identity, document["id"])


def shown(document: Mapping[str, Any]) -> dict[str, Any]:
    """An upload as the API shows it."""
    fields = {name: document.get(name) for name in UploadState.model_fields if name != "url"}
    return dict(to_json(fields)) | {"url": path_of(document)}


def path_of(document: Mapping[str, Any]) -> str:
    """The path of an upload."""
    return f"{_prefix(document['container'])}{document['id']}"


def _prefix(container: str) -> str:
    return f"/api/v1/containers/{quote(container, safe='')}/uploads/"


# -- the protocol -----------------------------------------------------------------------------------------------------


@protocol.options(
    "",
    status_code=204,
    responses=_answered(204, "Headers say what is known of the protocol.") | errors(401, 403),
    response_class=Response,
    summary="What the server knows of the tus protocol",
)
async def upload_options(container: Container, identity: Reader, lake: TheLake) -> Response:
    """Version, extensions, checksum algorithms, and the largest upload."""
    return Response(
        status_code=204,
        headers={
            "Tus-Version": tus.VERSION,
            "Tus-Extension": tus.EXTENSIONS,
            "Tus-Max-Size": str(lake.large.settings.max_bytes),
            "Tus-Checksum-Algorithm": ",".join(tus.ALGORITHMS),
        },
    )


@protocol.post(
    "",
    status_code=201,
    responses=_answered(201, "Begun; `Location` is its path.", "Upload-Offset", "Upload-Expires", "Upload-Object")
    | errors(400, 401, 403, 409, 412, 413, 415, 423, 429, 460, 502, 503),
    openapi_extra=_CREATE,
    response_class=Response,
    summary="Begin a large upload",
)
async def create_upload(request: Request, container: Container, identity: Writer, lake: TheLake) -> Response:
    """By the tus protocol. The request may have the first bytes, or all, as its body. `Upload-Concat: final` joins
    uploads that were received side by side."""
    headers = request.headers
    tus.check_version(headers.get("tus-resumable"))
    given = headers.get("upload-metadata", "")
    partial, joins = tus.concat(headers.get("upload-concat"), _prefix(container))
    described = tus.described(tus.metadata(given))
    length = 0 if joins is not None else tus.number("Upload-Length", headers.get("upload-length"))
    checksum = tus.checksum(headers.get("upload-checksum"))
    announced = _announced(headers)
    kind = headers.get("content-type") if announced != 0 else None
    if kind not in (None, tus.BODY_TYPE) or (joins is not None and kind):
        raise _not_body(kind)
    if announced is not None and joins is None and announced > length:
        raise bad_request("the body is longer than Upload-Length says", "invalid_header")
    document = await lake.large.create(
        identity, container, length, described, metadata=given, partial=partial, joins=joins
    )
    note(request.scope, container=container, upload=document["id"])
    document = await _first(request, lake, identity, document, checksum, body=kind is not None)
    return Response(status_code=201, headers=_headers(document) | {"Location": path_of(document)})


async def _first(
    request: Request,
    lake: Lake,
    identity: Identity,
    document: dict[str, Any],
    checksum: tus.Checksum | None,
    *,
    body: bool,
) -> dict[str, Any]:
    """What can be done with a new upload at once. Its address is in the answer also where that is an error."""
    large = lake.large
    try:
        if document["joins"] is not None:
            if large.reads_again(document):
                large.finish_later(identity, document["id"])
            else:
                await large.finish(identity, document["id"])
            return await large.get(identity, document["id"])
        if not body and document["length"]:
            return document
        stream = request.stream() if body else _nothing()
        return await large.append(
            identity,
            document["id"],
            document["container"],
            stream,
            offset=0,
            announced=_announced(request.headers),
            checksum=checksum if body else None,
        )
    except ApiError as error:
        error.headers["Location"] = path_of(document)
        raise


async def _nothing() -> Any:
    return
    yield b""


@protocol.head(
    "/{upload_id}",
    responses=_answered(200, "As the headers say.", "Upload-Offset", "Upload-Expires", "Upload-Object", "Upload-Status")
    | errors(400, 401, 403, 404, 410, 412, 503),
    openapi_extra={"parameters": [_TUS]},
    response_class=Response,
    summary="How much of an upload is there",
)
async def head_upload(
    request: Request, container: Container, upload_id: UploadId, identity: Reader, lake: TheLake
) -> Response:
    """The offset to go on from."""
    tus.check_version(request.headers.get("tus-resumable"))
    document = await lake.large.get(identity, upload_id, container)
    if document["status"] in (FAILED, EXPIRED, TERMINATED):
        raise gone(document)
    _go_on(lake, identity, document)
    headers = _headers(document) | {"Upload-Length": str(document["length"]), "Cache-Control": "no-store"}
    if document["metadata"]:
        headers["Upload-Metadata"] = document["metadata"]
    if document["partial"]:
        headers["Upload-Concat"] = "partial"
    if document["joins"]:
        paths = " ".join(_prefix(container) + one for one in document["joins"])
        headers["Upload-Concat"] = f"final;{paths}"
    return Response(status_code=200, headers=headers)


@protocol.patch(
    "/{upload_id}",
    status_code=204,
    responses=_answered(204, "The bytes are in the lake.", "Upload-Offset", "Upload-Expires", "Upload-Object")
    | errors(400, 401, 403, 404, 409, 410, 412, 413, 415, 423, 460, 502, 503),
    openapi_extra=_PATCH,
    response_class=Response,
    summary="Send bytes of an upload",
)
async def patch_upload(
    request: Request, container: Container, upload_id: UploadId, identity: Writer, lake: TheLake
) -> Response:
    """Those that follow `Upload-Offset`. Where the connection breaks, what came is kept, unless it has a checksum. The
    last ones make the object."""
    return await _patch(request, container, upload_id, identity, lake)


@protocol.delete(
    "/{upload_id}",
    status_code=204,
    responses=_answered(204, "Nothing of it is left.") | errors(400, 401, 403, 404, 409, 410, 412, 423, 503),
    openapi_extra={"parameters": [_TUS]},
    response_class=Response,
    summary="Give an upload up",
)
async def delete_upload(
    request: Request, container: Container, upload_id: UploadId, identity: Writer, lake: TheLake
) -> Response:
    """With all that was sent of it. One that became an object is deleted as that."""
    return await _delete(request, container, upload_id, identity, lake)


@protocol.post("/{upload_id}", include_in_schema=False)
async def override_upload(
    request: Request, container: Container, upload_id: UploadId, identity: Writer, lake: TheLake
) -> Response:
    """For clients that know no PATCH and DELETE."""
    methods = {"PATCH": _patch, "DELETE": _delete}
    method = methods.get(request.headers.get("x-http-method-override", "").upper())
    if method is None:
        raise HTTPException(405, headers={"Allow": "GET, HEAD, PATCH, DELETE"})
    return await method(request, container, upload_id, identity, lake)


async def _patch(request: Request, container: str, upload_id: str, identity: Identity, lake: Lake) -> Response:
    headers = request.headers
    tus.check_version(headers.get("tus-resumable"))
    if headers.get("content-type") != tus.BODY_TYPE:
        raise _not_body(headers.get("content-type"))
    note(request.scope, container=container, upload=upload_id)
    document = await lake.large.append(
        identity,
        upload_id,
        container,
        request.stream(),
        offset=tus.number("Upload-Offset", headers.get("upload-offset")),
        announced=_announced(headers),
        checksum=tus.checksum(headers.get("upload-checksum")),
    )
    return Response(status_code=204, headers=_headers(document))


async def _delete(request: Request, container: str, upload_id: str, identity: Identity, lake: Lake) -> Response:
    tus.check_version(request.headers.get("tus-resumable"))
    note(request.scope, container=container, upload=upload_id)
    await lake.large.terminate(identity, upload_id, container)
    return Response(status_code=204)


def _announced(headers: Mapping[str, str]) -> int | None:
    return tus.number("Content-Length", headers["content-length"]) if "content-length" in headers else None


def _not_body(kind: str | None) -> ApiError:
    return ApiError(
        415, "unsupported_media_type", f"the body is {kind or 'of no type'}; its Content-Type has to be {tus.BODY_TYPE}"
    )


def _headers(document: Mapping[str, Any]) -> dict[str, str]:
    headers = {"Upload-Offset": str(document["offset"]), "Upload-Status": document["status"]}
    if document["status"] not in OVER:
        headers["Upload-Expires"] = tus.http_date(document["expires"])
    if document["object_id"] and document["status"] == DONE:
        place = f"/api/v1/containers/{quote(document['container'], safe='')}/objects/{document['object_id']}"
        headers |= {"Upload-Object": document["object_id"], "Link": f'<{place}>; rel="related"'}
    return headers


router = APIRouter()
router.include_router(tracking)
router.include_router(protocol)
