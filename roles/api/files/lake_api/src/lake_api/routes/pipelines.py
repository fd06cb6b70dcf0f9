# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Pipelines: which there are, what would happen to a file, and processing objects again."""

from __future__ import annotations

import io
import json
import tempfile
from fnmatch import fnmatchcase
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from neocampus_lake import content_types, replay
from neocampus_lake.deployment import Pipelines, describe
from neocampus_lake.documents import validate_metadata
from neocampus_lake.explain import document_of, explain
from neocampus_lake.isolated import Limits, Runner, by_child
from neocampus_lake.pipelines import Declaration, Router
from pydantic import BaseModel, ConfigDict, Field, model_validator

from .. import forms, paging, settings
from ..errors import ApiError, bad_request
from ..identity import Identity
from ..lake import Lake, Reader, TheLake, Writer
from ..observe import note
from ..stores import blocking
from . import answers, errors
from .objects import Container

router = APIRouter(tags=["pipelines"])

REPLAYED = 10_000
"""How many objects one request puts on the list of data to process."""
_limiters: dict[int, anyio.CapacityLimiter] = {}

_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "metadata": {"type": "object", "description": "As with an insert, as JSON."},
                    "container": {"type": "string", "description": "The container that the file would be put in."},
                    "file": {"type": "string", "format": "binary"},
                },
            },
            "encoding": {"metadata": {"contentType": "application/json"}},
            "example": {"metadata": {"application": "comfort of rooms"}, "file": "room,value\nu4/302,21.5\n"},
        }
    },
}


class Pipeline(BaseModel):
    name: str
    version: str
    description: str
    match: dict[str, list[str]] = Field(description="Patterns by what they are compared with.")
    weight: str = Field(description="`light` or `heavy`.")
    steps: list[str]
    sinks: list[str] = Field(description="The gold stores that records go to.")
    source: str = Field(description="`built-in` or `project`.")
    problem: str | None = Field(default=None, description="Why it cannot be run, and its objects fail.")


class PipelineList(BaseModel):
    items: list[Pipeline]
    next: str | None


class Candidate(BaseModel):
    pipeline: str
    version: str
    score: dict[str, str] = Field(description="How specifically it matches, by what is compared.")


class DryRun(BaseModel):
    model_config = ConfigDict(extra="allow")

    content_type: str
    detected_content_type: str | None = Field(description="What the content is, where that is something else.")
    candidates: list[Candidate] = Field(description="All that match, the most specific, which is taken, first.")
    pipeline: str | None
    problem: str | None = Field(description="Why the object would fail, or why its records are not known here.")
    records: list[dict[str, Any]] = Field(default=[], description="The first records, each with its sink.")


class Again(BaseModel):
    """Which objects; what is given has to hold together."""

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        json_schema_extra={
            "examples": [{"from": "2030-05-01T00:00:00Z", "to": "2030-05-02T00:00:00Z", "dry_run": True}]
        },
    )

    ids: list[str] = Field(default=[], max_length=REPLAYED)
    start: paging.Time = Field(default=None, alias="from", description="ISO 8601; made at this time or later.")
    end: paging.Time = Field(default=None, alias="to", description="ISO 8601; made before this time.")
    pipeline: str | None = Field(default=None, max_length=200, description="Processed by it, well or badly.")
    version: str | None = Field(default=None, max_length=100, description="In this version of it.")
    dry_run: bool = Field(default=False, description="Only count.")
    cursor: str | None = Field(default=None, max_length=4096, description="The `next` of the answer before.")

    @model_validator(mode="after")
    def _something(self) -> Again:
        if not (self.ids or self.start is not None or self.end is not None or self.pipeline):
            raise ValueError("say which objects: ids, from, to, or pipeline")
        return self


class Replayed(BaseModel):
    objects: int = Field(description="How many objects that is.")
    listed: int = Field(description="How many of them were not on the list of data to process before.")
    dry_run: bool
    next: str | None = Field(description="Where there are more: give it as `cursor`, with all else the same.")


def _router(lake: Lake) -> Router:
    return Pipelines(str(lake.settings.pipelines.root)).router()


def _is_for(declaration: Declaration, identity: Identity) -> bool:
    """Whether objects of the token's project may be processed by it: others' pipelines are not shown."""
    projects = declaration.match.get("projects")
    return projects is None or any(fnmatchcase(identity.project_id or "", pattern) for pattern in projects)


@router.get("/pipelines", response_model=PipelineList, responses=errors(400, 401, 403, 503), summary="Pipelines")
async def list_pipelines(identity: Reader, lake: TheLake, given: Annotated[paging.Paged, Query()]) -> Any:
    """Those that the project's objects may be processed by, by name."""
    query = ("pipelines", identity.project_id)
    after = paging.decode(query, given.cursor)
    found = sorted((await blocking(_router, lake)).declarations, key=lambda declaration: declaration.name)
    items = [
        {**describe(declaration), "problem": declaration.problem or None}
        for declaration in found
        if _is_for(declaration, identity) and (after is None or declaration.name > after)
    ]
    return paging.page(items, given.limit, query, lambda shown: shown[-1]["name"])


@router.post(
    "/pipelines/dry-run",
    responses=answers(200, DryRun, 400, 401, 403, 413, 415, 503),
    openapi_extra={"requestBody": _FORM},
    summary="What would happen to a file?",
)
async def dry_run(request: Request, identity: Reader, lake: TheLake) -> JSONResponse:
    """Says which pipeline a file would get, why, and its first records. Nothing is stored."""
    form = forms.FormReader(request.stream(), forms.boundary(request.headers.get("content-type")))
    parts = await _parts(form, lake.settings)
    file, content = parts.pop("file", (None, b""))
    if file is None:
        raise bad_request("the form has no part 'file'; add one, e.g. curl -F file=@name", "missing_file")
    document = document_of(
        file.filename or "",
        content[: content_types.HEAD_BYTES],
        size=len(content),
        container=_decoded(parts["container"][1], "container") if "container" in parts else "container",
        project_id=identity.project_id or "",
        user=identity.user,
        content_type=file.content_type,
        metadata=_metadata(parts["metadata"][1]) if "metadata" in parts else {},
    )
    limit = lake.settings.pipelines.dry_runs
    limiter = _limiters.setdefault(id(lake), anyio.CapacityLimiter(limit))
    said = await anyio.to_thread.run_sync(_explain, document, content, lake, limiter=limiter)
    return JSONResponse(said)


def _runner(chosen: settings.Pipelines, folder: str) -> Runner:
    """All steps run in a process of their own, with limits: what a file makes them do is not the API's."""
    limits = Limits(memory=chosen.dry_run_memory_bytes, cpu=max(1, int(chosen.dry_run_seconds)))
    return Runner(by_child(folder), limits, everything=True)


def _explain(document: dict[str, Any], content: bytes, lake: Lake) -> dict[str, Any]:
    chosen = lake.settings.pipelines
    with tempfile.TemporaryDirectory(prefix="dry-run-") as folder, _runner(chosen, folder) as run_steps:
        return explain(
            document,
            io.BytesIO(content),
            _router(lake),
            run_steps=run_steps,
            runs_projects=False,
            seconds=chosen.dry_run_seconds,
        )


async def _parts(form: forms.FormReader, chosen: settings.Settings) -> dict[str, tuple[forms.Part, bytes]]:
    """The parts of the form, by name; each within its limit."""
    most = {"file": chosen.pipelines.dry_run_bytes, "metadata": chosen.limits.metadata_bytes, "container": 1024}
    found: dict[str, tuple[forms.Part, bytes]] = {}
    while part := await form.part():
        if part.name not in most:
            raise forms.unknown_part(part.name)
        if part.name in found:
            raise bad_request(f"the form has two parts {part.name!r}; send one", "invalid_form")
        content = bytearray()
        async for chunk in form.chunks():
            content += chunk
            if len(content) > most[part.name]:
                what = "; try it with the beginning of the file, or on a worker (lake-airflow-dry-run)"
                hint = what if part.name == "file" else ""
                raise ApiError(413, "too_large", f"{part.name!r} may have {most[part.name]} bytes at most{hint}")
        found[part.name] = part, bytes(content)
    return found


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise bad_request(f"the part {name!r} is no text in UTF-8", "invalid_form") from None


def _metadata(content: bytes) -> dict[str, Any]:
    try:
        given = json.loads(content)
    except (ValueError, RecursionError) as error:
        said = error if isinstance(error, ValueError) else "nested too deeply"
        raise bad_request(f"the part 'metadata' is not JSON ({said})", "invalid_metadata") from None
    if not isinstance(given, dict):
        raise bad_request("the part 'metadata' is JSON but no object", "invalid_metadata")
    return validate_metadata(given)


@router.post(
    "/containers/{container}/replay",
    response_model=Replayed,
    responses=errors(400, 401, 403, 404, 503),
    summary="Process objects again",
)
async def replay_objects(request: Request, container: Container, given: Again, identity: Writer, lake: TheLake) -> Any:
    """Puts objects on the list of data to process, which is looked at every five minutes; at most 10,000 a request."""
    store = await lake.store(identity, container)
    selection = replay.Selection(
        ids=tuple(given.ids),
        start=None if given.start is None else paging.moment(given.start),
        end=None if given.end is None else paging.moment(given.end),
        pipeline=given.pipeline,
        version=given.version,
    )
    note(request.scope, container=container)
    client = lake.stores.client
    if given.dry_run:
        objects = await blocking(replay.count, client, store, selection)
        return {"objects": objects, "listed": 0, "dry_run": True, "next": None}
    query = ("replay", store, sorted(given.ids), given.start, given.end, given.pipeline, given.version)
    after = paging.decode(query, given.cursor)
    known = {"project_id": identity.project_id or "", "container": container, "store": store}
    objects, listed, last = await blocking(replay.replay, client, known, selection, after=after, limit=REPLAYED)
    following = None if last is None else paging.encode(query, last)
    return {"objects": objects, "listed": listed, "dry_run": False, "next": following}
