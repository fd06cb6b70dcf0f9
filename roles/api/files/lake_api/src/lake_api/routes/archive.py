# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Several objects as one zip."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import anyio
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from neocampus_lake.catalogue import Wanted
from neocampus_lake.documents import check_object_id, to_json
from neocampus_lake.states import STORED
from pydantic import ConfigDict, Field

from ..archives import Archive
from ..errors import ApiError, not_found
from ..identity import Identity
from ..lake import Lake, Reader, TheLake
from ..observe import note
from ..swift import Target
from . import errors
from .filters import Filters
from .objects import Container, refused

router = APIRouter(prefix="/containers", tags=["objects"])

_PAGE = 200
_THREADS = 8
_limiters: dict[int, anyio.CapacityLimiter] = {}


class ArchiveOf(Filters):
    """Which objects: by id, or by the filters of the list; all of the container where nothing is given. Only what is
    stored is meant."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"content_type": "image/*", "metadata": True}]})

    ids: list[str] = Field(default=[], max_length=100_000)
    metadata: bool = Field(default=False, description="With their documents, as `metadata.json`.")


@router.post(
    "/{container}/objects/archive",
    responses={200: {"content": {"application/zip": {}}, "description": "The archive."}}
    | errors(400, 401, 403, 404, 413, 503),
    response_class=Response,
    summary="Several objects as one zip",
)
async def archive(
    request: Request, container: Container, identity: Reader, lake: TheLake, given: ArchiveOf
) -> StreamingResponse:
    """Made while it is sent. Members have the original names of the objects, made safe and told apart by ids. Where an
    object can't be read to its end, the connection breaks: an archive that came with its end is whole."""
    store = await lake.store(identity, container)
    ids = tuple(dict.fromkeys(map(check_object_id, given.ids)))
    wanted = given.model_copy(update={"status": STORED}).wanted(ids=ids)
    found = await lake.stores.read(lake.stores.catalogue.count, store, wanted, lake.settings.limits.archive_objects + 1)
    if len(ids) > found:
        await _all_there(lake, container, store, ids, wanted)
    if found > lake.settings.limits.archive_objects:
        raise ApiError(
            413,
            "too_many_objects",
            f"an archive has {lake.settings.limits.archive_objects} objects at most; ask for several, e.g. by time",
        )
    note(request.scope, container=container, objects=found)

    async def documents() -> AsyncIterator[dict[str, Any]]:
        after = None
        while page := await lake.stores.read(lake.stores.catalogue.find, store, wanted, limit=_PAGE, after=after):
            for document in page:
                yield document
            after = page[-1]["swift_object_id"]

    def content(document: dict[str, Any]) -> AsyncIterator[bytes]:
        return _content(lake, identity, container, document)

    limiter = _limiters.setdefault(id(lake), anyio.CapacityLimiter(_THREADS))
    made = Archive(documents, content, limiter, manifest=_listed if given.metadata else None)
    try:
        first = await made.piece()  # what goes wrong here can still be told
    except BaseException:
        with anyio.CancelScope(shield=True):
            await made.close()
        raise
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(container, safe='')}.zip",
        "Cache-Control": "private, no-store",
    }
    return StreamingResponse(made.rest(first), 200, headers, "application/zip")


async def _all_there(lake: Lake, container: str, store: str, ids: tuple[str, ...], wanted: Wanted) -> None:
    """ApiError 404 that names ids that are not stored there, or not as the filters have it."""
    found = await lake.stores.read(
        lake.stores.catalogue.find, store, wanted, limit=len(ids), fields=("swift_object_id",)
    )
    known = {document["swift_object_id"] for document in found}
    missing = [object_id for object_id in ids if object_id not in known]
    if missing:
        raise not_found(
            f"object {', '.join(missing[:20])} of container {container!r}, stored and as the filters have it,",
            "leave it out",
        )


def _listed(document: dict[str, Any]) -> bytes:
    return json.dumps(to_json(document), ensure_ascii=False).encode()


async def _content(lake: Lake, identity: Identity, container: str, document: dict[str, Any]) -> AsyncIterator[bytes]:
    target = Target(identity.project_id or "", container, document["swift_object_name"])
    answer = await lake.swift.open(target, identity.token, "GET", {})
    try:
        if answer.status_code != 200:
            raise refused(answer, document)
        async for chunk in answer.aiter_raw(64 * 1024):
            yield chunk
    finally:
        with anyio.CancelScope(shield=True):
            await answer.aclose()
