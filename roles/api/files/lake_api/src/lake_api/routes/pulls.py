# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Pulls: files that the lake fetches from SSH servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from neocampus_lake.documents import check_container_name, to_json
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic.config import JsonDict

from .. import paging, pull_hosts
from ..errors import bad_request
from ..lake import Reader, TheLake, Writer
from ..observe import note
from ..pull_store import STATUSES
from ..stores import blocking
from . import answers, errors
from .objects import Container

router = APIRouter(prefix="/containers/{container}/pulls", tags=["pulls"])

PullId = Annotated[
    str, Path(description="The pull's `id`.", pattern="^[0-9a-f]{32}$", examples=["5b1f0d9c7a3e4f2886d0c1b2a3948576"])
]


_EXAMPLE: JsonDict = {
    "url": "sftp://reader@station.example.org/data/*.csv",
    "host_key": "SHA256:rkq0TYYv2MpsiYyGEyBO1Rg4NnCo1WGFxdUWbPtzjHg",
    "password": "its-password",
    "schedule": "6h",
}


class NewPull(BaseModel):
    """From where, by which right, and when."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    url: str | None = Field(
        default=None, max_length=4096, description="`sftp://user@host:port/path`, instead of the next four."
    )
    host: str | None = Field(default=None, min_length=1, max_length=253)
    port: int = Field(default=22, ge=1, le=65535)
    user: str | None = Field(default=None, min_length=1, max_length=255)
    path: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="A file; a folder: the files in it; or a pattern with `*`, `?`, `[…]`, and `**` for any folders.",
    )
    recursive: bool = Field(default=False, description="Also what is in folders below.")
    host_key: str = Field(
        max_length=4096,
        description="The key that the server has to show: its fingerprint (`SHA256:…`), or a line of known_hosts.",
    )
    password: SecretStr | None = Field(default=None, max_length=1024)
    private_key: SecretStr | None = Field(default=None, max_length=32768, description="OpenSSH or PEM.")
    passphrase: SecretStr | None = Field(default=None, max_length=1024, description="That of the private key.")
    metadata: dict[str, Any] = Field(default={}, description="Fields of each file's document that a user may set.")
    schedule: str | None = Field(
        default=None,
        max_length=200,
        description="A cron expression (UTC), e.g. `15 2 * * *`, or an interval, e.g. `15m`, `6h`, `1d`. None: once.",
    )
    delete: Literal["never"] = Field(default="never", description="What is done to files on the server.")

    @model_validator(mode="after")
    def _complete(self) -> NewPull:
        if (self.url is None) == (self.host is None):
            raise ValueError("say either url, or host, user and path")
        if self.url is not None and (self.user or self.path or self.port != 22):
            raise ValueError("say user, port and path in the url, or instead of it")
        if self.url is None and not (self.user and self.path):
            raise ValueError("user and path are required")
        if (self.password is None) == (self.private_key is None):
            raise ValueError("say either password or private_key")
        if self.passphrase is not None and self.private_key is None:
            raise ValueError("passphrase belongs to private_key")
        return self


class PullError(BaseModel):
    path: str
    message: str


class PullRun(BaseModel):
    """How the last run went, or goes."""

    started: str
    ended: str | None
    found: int = Field(description="Files that are meant.")
    done: int = Field(description="Files that came into the lake.")
    unchanged: int = Field(description="Files that were in the lake already.")
    failed: int
    bytes: int = Field(description="Bytes that were read from the server.")
    errors: list[PullError] = Field(description="What is wrong with files; the first 100.")
    error: str | None = Field(description="Why the run ended before its end.")


class Pull(BaseModel):
    """Never with what it logs in with."""

    id: str
    container: str
    status: str = Field(description="`waiting`, `running`, or, without schedule, `done` or `failed`.")
    user: str = Field(description="For whom it acts.")
    host: str
    port: int
    remote_user: str
    path: str
    recursive: bool
    fingerprint: str = Field(description="Of the host key.")
    metadata: dict[str, Any]
    schedule: str | None
    created: str
    updated: str
    next_run: str | None
    expires: str = Field(description="Until when it may act for its user.")
    run: PullRun | None


class PullList(BaseModel):
    items: list[Pull]
    next: str | None


class PullQuery(paging.Paged):
    """Which pulls."""

    status: Literal[STATUSES] | None = Field(default=None, description="Only those.")  # type: ignore[valid-type]


def _shown(document: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: document.get(name) for name in Pull.model_fields if name != "metadata"}
    model = document.get("model")
    return dict(to_json(fields | {"metadata": {**document["fields"], **({} if model is None else {"model": model})}}))


def _place(given: NewPull) -> pull_hosts.Place:
    if given.url is not None:
        place = pull_hosts.place(given.url)
        if place.user is None:
            raise bad_request("url: has no user: sftp://user@host/path")
        return place
    return pull_hosts.Place(str(given.host), given.port, given.user, str(given.path))


def _text(given: SecretStr | None) -> str | None:
    return given.get_secret_value() if given is not None else None


@router.post(
    "",
    status_code=202,
    responses=answers(202, Pull, 400, 401, 403, 404, 429, 503),
    summary="Pull files from an SSH server",
)
async def create_pull(
    request: Request, container: Container, given: NewPull, identity: Writer, lake: TheLake
) -> Response:
    """By SFTP, now and, with a schedule, again and again: each file that is new or has changed becomes an object. The
    server's key has to be known. Passwords and keys are kept encrypted and shown to nobody. A container that is not
    there is made, with processing on."""
    document = await lake.pulls.create(
        identity,
        container,
        _place(given),
        key=given.host_key,
        secrets={
            "password": _text(given.password),
            "private_key": _text(given.private_key),
            "passphrase": _text(given.passphrase),
        },
        fields=given.metadata,
        schedule=given.schedule,
        recursive=given.recursive,
    )
    note(request.scope, container=container, pull=document["id"])
    place = f"/api/v1/containers/{quote(container, safe='')}/pulls/{document['id']}"
    return JSONResponse(_shown(document), 202, {"Location": place})


@router.get("", responses=answers(200, PullList, 400, 401, 403, 404, 503), summary="Pulls into a container")
async def list_pulls(
    container: Container, identity: Reader, lake: TheLake, given: Annotated[PullQuery, Query()]
) -> Response:
    """With how the last run of each went."""
    await lake.store(identity, container)
    query = ("pulls", identity.project_id, container, given.status)
    after = paging.decode(query, given.cursor)
    found = await blocking(lake.pulls.store.find, identity.project_id, container, given.status, given.limit + 1, after)
    answer = paging.page(found, given.limit, query, lambda shown: shown[-1]["id"])
    return JSONResponse(answer | {"items": [_shown(one) for one in answer["items"]]})


@router.get("/{pull_id}", responses=answers(200, Pull, 400, 401, 403, 404, 503), summary="How a pull stands")
async def get_pull(container: Container, pull_id: PullId, identity: Reader, lake: TheLake) -> Response:
    """While it runs, with how far it is."""
    check_container_name(container)
    return JSONResponse(_shown(await lake.pulls.get(identity, container, pull_id)))


@router.delete(
    "/{pull_id}",
    status_code=204,
    responses={204: {"description": "It is gone."}} | errors(400, 401, 403, 404, 503),
    response_class=Response,
    summary="Remove a pull",
)
async def delete_pull(
    request: Request, container: Container, pull_id: PullId, identity: Writer, lake: TheLake
) -> Response:
    """It stops where it runs, and its credentials are removed; the objects that it brought stay."""
    check_container_name(container)
    note(request.scope, container=container, pull=pull_id)
    await lake.pulls.delete(identity, container, pull_id)
    return Response(status_code=204)


@router.post(
    "/{pull_id}/run",
    status_code=202,
    responses=answers(202, Pull, 400, 401, 403, 404, 409, 503),
    summary="Run a pull now",
)
async def run_pull(
    request: Request, container: Container, pull_id: PullId, identity: Writer, lake: TheLake
) -> Response:
    """Besides its schedule, or once more."""
    check_container_name(container)
    note(request.scope, container=container, pull=pull_id)
    return JSONResponse(_shown(await lake.pulls.run(identity, container, pull_id)), 202)
