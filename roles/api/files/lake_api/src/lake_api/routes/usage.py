# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""What a project keeps in Swift, and how much it may."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from .. import paging
from ..errors import not_found
from ..identity import Identity
from ..lake import Administrator, Lake, Reader, TheLake
from ..observe import note
from ..stores import blocking
from ..swift import Target
from . import answers
from .objects import Container

router = APIRouter(tags=["usage"])

_LARGEST = 2**63 - 1


class Quota(BaseModel):
    """Limits; null: there is none."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"bytes": 10737418240, "objects": 100000}]}
    )

    bytes: int | None = Field(default=None, ge=0, le=_LARGEST, description="Of all objects together.")
    objects: int | None = Field(default=None, ge=0, le=_LARGEST)


class ContainerUsage(BaseModel):
    container: str
    objects: int
    bytes: int


class Usage(BaseModel):
    """What the project keeps, and each of its containers."""

    objects: int
    bytes: int
    quota: Quota
    items: list[ContainerUsage]
    next: str | None


class TypeUsage(BaseModel):
    content_type: str
    objects: int
    bytes: int


class TypeUsages(BaseModel):
    items: list[TypeUsage]
    next: str | None


class TypeQuery(paging.Paged):
    container: list[str] = Field(default=[], max_length=1000, description="Only these containers.")


@router.get("/usage", responses=answers(200, Usage, 400, 401, 403, 503), summary="Storage used")
async def get_usage(identity: Reader, lake: TheLake, given: Annotated[paging.Paged, Query()]) -> JSONResponse:
    """As Swift has counted it, which may be a minute late: all that the project keeps, also what the lake has no
    documents of (segments of large objects)."""
    project = identity.project_id or ""
    query = ("usage", project)
    after = paging.decode(query, given.cursor)
    facts = await lake.swift.facts(Target(project), identity.token)
    found = await lake.swift.account(project, identity.token, limit=given.limit + 1, after=after or "")
    items = [{"container": each["name"], "objects": each["count"], "bytes": each["bytes"]} for each in found]
    answer = paging.page(items, given.limit, query, lambda shown: shown[-1]["container"])
    known: Any = facts or {}
    total = {
        "objects": int(known.get("x-account-object-count", 0)),
        "bytes": int(known.get("x-account-bytes-used", 0)),
        "quota": _account_quota(known),
    }
    return JSONResponse({**total, **answer})


@router.get(
    "/usage/content-types",
    responses=answers(200, TypeUsages, 400, 401, 403, 404, 503),
    summary="Storage used by content type",
)
async def get_usage_by_type(identity: Reader, lake: TheLake, given: Annotated[TypeQuery, Query()]) -> JSONResponse:
    """As the documents of stored objects have it, the most bytes first. About a second for a million objects."""
    project = identity.project_id
    names = sorted(set(given.container)) or await blocking(lake.stores.metadata.containers, project)
    stores = [await lake.store(identity, name) for name in names]
    query = ("usage by type", project, sorted(set(given.container)))
    skip = int(paging.decode(query, given.cursor) or 0)
    found = await lake.stores.read(lake.stores.catalogue.used, stores)
    page = found[skip : skip + given.limit + 1]
    return JSONResponse(paging.page(page, given.limit, query, lambda shown: str(skip + len(shown))))


@router.get(
    "/containers/{container}/quota",
    responses=answers(200, Quota, 400, 401, 403, 404, 503),
    summary="Quota of a container",
)
async def get_container_quota(container: Container, identity: Reader, lake: TheLake) -> JSONResponse:
    """What may be in it."""
    return JSONResponse(await _container_quota(lake, identity, container))


@router.put(
    "/containers/{container}/quota",
    responses=answers(200, Quota, 400, 401, 403, 404, 503),
    summary="Set the quota of a container",
)
async def set_container_quota(
    request: Request, container: Container, identity: Administrator, lake: TheLake, quota: Quota
) -> JSONResponse:
    """By an administrator of the project. What is over it stays; nothing more is let in: an insertion is answered with
    413, `quota_exceeded`. Swift counts with some delay, and a large file that streams only counts when it is in."""
    note(request.scope, container=container)
    await lake.store(identity, container)
    headers = {
        "X-Container-Meta-Quota-Bytes": _header(quota.bytes),
        "X-Container-Meta-Quota-Count": _header(quota.objects),
    }
    target = Target(identity.project_id or "", container)
    if not await lake.swift.change(target, identity.token, headers):
        raise _no_container(container)
    return JSONResponse(await _container_quota(lake, identity, container))


@router.get("/quota", responses=answers(200, Quota, 400, 401, 403, 503), summary="Quota of the project")
async def get_quota(identity: Reader, lake: TheLake) -> JSONResponse:
    """What may be in all its containers together."""
    return JSONResponse(_account_quota(await lake.swift.facts(Target(identity.project_id or ""), identity.token)))


@router.put(
    "/admin/projects/{project_id}/quota",
    responses=answers(200, Quota, 400, 401, 403, 503),
    summary="Set the quota of a project",
)
async def set_quota(
    request: Request,
    project_id: Annotated[str, Path(pattern="^[0-9A-Za-z_-]{1,64}$", description="Keystone's id of the project.")],
    identity: Administrator,
    lake: TheLake,
    quota: Quota,
) -> JSONResponse:
    """By an administrator of the lake: whose token has Swift's role for resellers (ResellerAdmin)."""
    note(request.scope, quota_of=project_id)
    headers = {"X-Account-Quota-Bytes": _header(quota.bytes), "X-Account-Quota-Count": _header(quota.objects)}
    await lake.swift.change(Target(project_id), identity.token, headers)
    return JSONResponse(_account_quota(await lake.swift.facts(Target(project_id), identity.token)))


async def _container_quota(lake: Lake, identity: Identity, container: str) -> dict[str, int | None]:
    await lake.store(identity, container)
    facts = await lake.swift.facts(Target(identity.project_id or "", container), identity.token)
    if facts is None:
        raise _no_container(container)
    return _quota(facts, "x-container-meta-quota-bytes", "x-container-meta-quota-count")


def _no_container(container: str) -> Exception:
    return not_found(f"container {container!r}", "it was deleted in Swift")


def _account_quota(facts: Any) -> dict[str, int | None]:
    return _quota(facts or {}, "x-account-quota-bytes", "x-account-quota-count")


def _quota(facts: Any, size: str, count: str) -> dict[str, int | None]:
    found = {"bytes": facts.get(size, ""), "objects": facts.get(count, "")}
    return {name: int(value) if value.isdigit() else None for name, value in found.items()}


def _header(limit: int | None) -> str:
    """An empty header takes the limit away."""
    return "" if limit is None else str(limit)
