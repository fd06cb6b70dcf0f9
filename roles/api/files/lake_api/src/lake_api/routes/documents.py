# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Documents and files (images, thumbnails) that processing has made of a container's objects."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Annotated, Any, BinaryIO, Literal
from urllib.parse import quote

import anyio
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from neocampus_lake.documents import check_object_id, to_json
from neocampus_lake.errors import InvalidInput, LakeError
from neocampus_lake.sinks.influxdb_reading import Column
from pydantic import BaseModel, ConfigDict, Field

from .. import downloads, paging
from ..conditions import conditions, typed
from ..errors import ApiError, bad_request, not_found
from ..lake import Lake, Reader, TheLake
from ..stores import blocking
from . import answers, errors
from .objects import Container, ObjectId

router = APIRouter(prefix="/containers/{container}", tags=["documents"])

PIECE = 256 * 1024
_ID = re.compile(r"([1-9][0-9]{0,18})-(0|[1-9][0-9]{0,17})")

DocumentId = Annotated[str, Path(max_length=40, description="The `lake.id` of a document.", examples=["17-0"])]
FileName = Annotated[str, Path(max_length=1000, description="The `name` of a file.")]


class DocumentOrigin(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: str = Field(description="Of this document.", examples=["17-0"])
    object: str = Field(description="Id of the object that it comes from.")
    number: int = Field(description="Its place in the object, from 0.")
    operation: str = Field(description="That of one of its `successful_operations`: pipeline, version and run.")


class GoldDocument(BaseModel):
    """The document's own fields, and `lake`; a field `lake` of its own is `lake.value`."""

    model_config = ConfigDict(extra="allow")

    lake: DocumentOrigin


class GoldDocuments(BaseModel):
    items: list[GoldDocument]
    next: str | None


class FileOrigin(BaseModel):
    object: str
    operation: str


class GoldFile(BaseModel):
    name: str = Field(description="Unique in its object.", examples=["thumbnail"])
    content_type: str
    length: int = Field(description="Bytes.")
    sha256: str
    details: dict[str, Any]
    lake: FileOrigin


class GoldFiles(BaseModel):
    items: list[GoldFile]
    next: str | None


class GoldDocumentQuery(paging.Paged):
    object: str | None = Field(default=None, max_length=20, description="Only documents of this object.")
    where: list[str] = Field(
        default=[],
        max_length=20,
        description="`field:operator:value`; a field is a path with dots, the operator eq, ne, lt, le, gt, ge, "
        'contains (of a text) or null (true or false), the value JSON or a text: `5` is a number, `"5"` a text, '
        '`{"$date": "2024-05-01T00:00:00Z"}` a time. All of several have to hold.',
        examples=[["width:ge:1024"]],
    )
    format: Literal["json", "csv", "ndjson"] | None = Field(
        default=None, description="A file with all documents instead of a page; else what the header Accept asks for."
    )
    columns: str | None = Field(
        default=None,
        min_length=1,
        max_length=4000,
        description="For CSV, which needs it: paths of fields, with commas between; `lake.id` is the document's.",
        examples=["lake.id,room,sensors.0.kind"],
    )
    formulas: Literal["escape", "keep"] = Field(
        default="escape", description="In CSV: whether a text that a spreadsheet takes for a formula gets a ' in front."
    )


class FileQuery(paging.Paged):
    object: str | None = Field(default=None, max_length=20, description="Only files of this object.")


class DataQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    file: str = Field(
        default="image", min_length=1, max_length=1000, description="Which of the object's files, e.g. `thumbnail`."
    )


_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"*/*": {}}, "description": "The bytes, of the type that the list has."},
    304: {"description": "Not changed."},
}


_DOCUMENTS = answers(200, GoldDocuments, 400, 401, 403, 404, 429, 503)
_DOCUMENTS[200]["content"] = downloads.content("csv", "ndjson")
_FILE_DOCUMENTS = 1000


@router.get("/documents", responses=_DOCUMENTS, summary="Documents of gold")
async def list_documents(
    request: Request,
    container: Container,
    identity: Reader,
    lake: TheLake,
    given: Annotated[GoldDocumentQuery, Query()],
) -> Response:
    """By object and place in it. A page of large documents has fewer than `limit`.

    Lines of JSON (NDJSON) have all documents, CSV the fields of them that `columns` names; give `format`, or the header
    Accept.
    """
    store = await lake.store(identity, container)
    query = ("documents", store, given.object, given.where)
    after = paging.decode(query, given.cursor)
    filters = conditions(given.where, typed)
    part = lake.gold.documents
    reader = part.reader
    kind = downloads.chosen(request, given.format, ("json", "csv", "ndjson"))
    if kind != "json":
        if given.cursor is not None:
            raise bad_request("query parameter 'cursor': a file has all of it; leave it out, or ask for JSON")
        if kind == "csv" and given.columns is None:
            raise bad_request("query parameter 'columns': CSV has the fields that are named here, as room,lake.id")

        def blocks() -> Iterator[list[dict[str, Any]]]:
            further = None
            while True:
                found, further = reader.documents(
                    store, filters, object_id=given.object, limit=_FILE_DOCUMENTS, after=further
                )
                yield [_shown(one) for one in found]
                if further is None:
                    return

        pieces = _encoded(kind, given, blocks())
        return await lake.downloads.respond(pieces, part.ask, kind, f"{container}-documents")
    if given.columns is not None:
        raise bad_request("query parameter 'columns': it is for format=csv; documents have all their fields")

    def read() -> JSONResponse:
        found, further = reader.documents(store, filters, object_id=given.object, limit=given.limit, after=after)
        return JSONResponse(paging.continued([_shown(one) for one in found], further, query))

    return await part.ask(read)


def _encoded(
    kind: downloads.Format, given: GoldDocumentQuery, blocks: Iterator[list[dict[str, Any]]]
) -> Iterator[bytes]:
    if kind == "ndjson":
        for found in blocks:
            yield "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in found).encode(errors="replace")
        return
    paths = list(dict.fromkeys(path.strip() for path in (given.columns or "").split(",")))
    rows = ([[_at(one, path) for path in paths] for one in found] for found in blocks)
    columns = [Column(path, "text") for path in paths]
    yield from downloads.encoded("csv", columns, rows, formulas=given.formulas == "keep")


def _at(value: Any, path: str) -> Any:
    """What a document has at a path; None where it has nothing there."""
    for part in path.split("."):
        if isinstance(value, list) and part.isascii() and part.isdigit() and len(part) < 10:
            value = value[int(part)] if int(part) < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    return value


@router.get(
    "/documents/{document_id}",
    responses=answers(200, GoldDocument, 400, 401, 403, 404, 503),
    summary="A document of gold",
)
async def get_document(container: Container, document_id: DocumentId, identity: Reader, lake: TheLake) -> JSONResponse:
    """By its `lake.id`."""
    store = await lake.store(identity, container)
    object_id, number = _parsed(document_id)
    part = lake.gold.documents
    reader = part.reader
    return await part.ask(
        lambda: JSONResponse(_shown(reader.document(store, object_id, number))),
        missing=lambda: not_found(
            f"document {document_id} of container {container!r}",
            f"GET /api/v1/containers/{quote(container, safe='')}/documents lists those that do",
        ),
    )


@router.get(
    "/documents/{document_id}/data",
    responses=_FILE | errors(400, 401, 403, 404, 503),
    summary="File beside a document of gold",
)
async def get_document_data(
    request: Request,
    container: Container,
    document_id: DocumentId,
    identity: Reader,
    lake: TheLake,
    given: Annotated[DataQuery, Query()],
) -> Response:
    """Of an image's document: the image as it was put in, up to 20 MB, or with `file=thumbnail` a small one."""
    store = await lake.store(identity, container)
    object_id, _number = _parsed(document_id)
    return await _file(request, lake, store, container, object_id, given.file)


@router.get("/files", responses=answers(200, GoldFiles, 400, 401, 403, 404, 503), summary="Files of gold")
async def list_files(
    container: Container, identity: Reader, lake: TheLake, given: Annotated[FileQuery, Query()]
) -> JSONResponse:
    """What is kept beside documents, by object and name."""
    store = await lake.store(identity, container)
    query = ("files", store, given.object)
    after = paging.decode(query, given.cursor)
    part = lake.gold.documents
    found, further = await part.ask(part.reader.files, store, object_id=given.object, limit=given.limit, after=after)
    return JSONResponse(paging.continued(to_json(found), further, query))


@router.get(
    "/files/{object_id}/{name:path}", responses=_FILE | errors(400, 401, 403, 404, 503), summary="A file of gold"
)
async def get_file(
    request: Request, container: Container, object_id: ObjectId, name: FileName, identity: Reader, lake: TheLake
) -> Response:
    """Its content, as a stream."""
    store = await lake.store(identity, container)
    return await _file(request, lake, store, container, check_object_id(object_id), name)


async def _file(request: Request, lake: Lake, store: str, container: str, object_id: str, name: str) -> Response:
    part = lake.gold.documents
    reader = part.reader

    def opened() -> tuple[dict[str, Any], BinaryIO, bytes]:
        known, stream = reader.open_file(store, object_id, name)
        return known, stream, stream.read(PIECE)

    def missing() -> ApiError:
        return not_found(
            f"file {name!r:.80} of object {object_id} of container {container!r}",
            f"GET /api/v1/containers/{quote(container, safe='')}/files?object={object_id} lists those that do",
        )

    known, stream, first = await part.ask(opened, missing=missing)
    etag = f'"{known["sha256"]}"'
    headers = {
        "ETag": etag,
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": "sandbox",
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(f'{object_id}-{name}', safe='')}",
    }
    if etag in (one.strip() for one in request.headers.get("if-none-match", "").split(",")):
        await blocking(stream.close)
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(known["length"])

    async def body() -> AsyncIterator[bytes]:
        piece = first
        try:
            while piece:
                yield piece
                piece = await part.ask(stream.read, PIECE)
        finally:
            with anyio.CancelScope(shield=True), suppress(LakeError):
                await blocking(stream.close)

    return StreamingResponse(body(), 200, headers, known["content_type"])


def _parsed(document_id: str) -> tuple[str, int]:
    found = _ID.fullmatch(document_id)
    if found is None:
        raise bad_request(
            f"{document_id!r} is not a document's id: it is the id of its object and its place in it, as 17-0",
            "invalid_name",
        )
    with suppress(InvalidInput):
        return check_object_id(found[1]), int(found[2])
    raise bad_request(f"{document_id!r} is not a document's id: there is no object of such an id", "invalid_name")


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    lake = document["lake"]
    shown: dict[str, Any] = to_json(
        {**document, "lake": {"id": f"{lake['object']}-{lake['number']}", **lake}}, ids=False
    )
    return shown
