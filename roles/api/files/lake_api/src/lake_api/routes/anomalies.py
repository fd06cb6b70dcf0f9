# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Anomalies that were found in a container's time series, and the rules that they are found by."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Path, Query, Request
from fastapi.responses import JSONResponse
from neocampus_lake.anomalies import schema
from neocampus_lake.anomaly_store import MAX_NOTE
from neocampus_lake.anomaly_store import Query as Wanted
from neocampus_lake.documents import to_json
from neocampus_lake.errors import DeclarationError
from pydantic import BaseModel, ConfigDict, Field

from .. import paging
from ..errors import bad_request, not_found
from ..lake import Lake, Reader, TheLake, Writer
from ..observe import note
from ..stores import blocking
from . import answers
from .objects import Container

router = APIRouter(prefix="/containers/{container}", tags=["anomalies"])

Anomaly = Annotated[str, Path(description="The `id` of an anomaly.", max_length=200)]
Kind = Literal["low", "high", "rate", "statistic", "gap"]


class Acknowledgement(BaseModel):
    by: str
    at: str
    note: str


class RuleName(BaseModel):
    name: str = Field(description="`default` where no rule of the container held.")
    version: int = Field(description="Of the container's rules, or of the lake's default.")


class AnomalyForm(BaseModel):
    """A point that a rule has found, or a gap: then `time` is that of the last point before it."""

    model_config = ConfigDict(title="Anomaly")

    id: str
    container: str
    measurement: str
    topic: str = Field(description="Empty where the series has none.")
    tags: dict[str, str] = Field(description="The other tags of the series.")
    field: str
    time: str = Field(description="ISO 8601, UTC.")
    kind: Kind
    value: float | None
    expected: dict[str, float | None] = Field(
        description="`low` and `high`: the range of what is right; of a gap `seconds`."
    )
    score: float = Field(description="Higher is further off; comparable within a kind.")
    rule: RuleName
    detected_at: str
    run: str = Field(description="The run that found it first.")
    acknowledged: Acknowledgement | None
    seconds: float | None = Field(default=None, description="Only of a gap: how long it is, as far as it was seen.")
    until: str | None = Field(default=None, description="Only of a gap: when it ended; null, it goes on.")


class Anomalies(BaseModel):
    items: list[AnomalyForm]
    next: str | None


class Count(BaseModel):
    measurement: str | None = None
    topic: str | None = None
    kind: Kind | None = None
    day: str | None = Field(default=None, description="As 2021-07-22, in UTC.")
    count: int


class Counts(BaseModel):
    """Only what was counted by is there."""

    items: list[Count]
    next: str | None


class RulesForm(BaseModel):
    model_config = ConfigDict(title="AnomalyRules")

    rules: list[dict[str, Any]]
    version: int = Field(description="0: there never were any.")
    changed_at: str | None
    changed_by: str | None
    default: dict[str, Any] | None = Field(
        description="What the lake looks for where the rules say nothing; null as long as it never looked."
    )


class Note(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"note": "The sensor was replaced that day."}]}
    )

    note: str = Field(default="", max_length=MAX_NOTE, description="What was found out about it.")


class _Filter(paging.Between):
    """Which anomalies; times are those of their points."""

    measurement: str | None = Field(default=None, min_length=1, max_length=1024)
    topic: str | None = Field(default=None, max_length=1024, description="Empty: series without topic.")
    kind: Kind | None = None
    acknowledged: bool | None = Field(default=None, description="Only those that are, or are not.")

    def wanted(self) -> Wanted:
        """As the store takes it."""
        return Wanted(self.measurement, self.topic, self.kind, self.start, self.end, self.acknowledged)


class AnomalyQuery(_Filter):
    pass


class CountQuery(_Filter):
    by: list[Literal["measurement", "topic", "kind", "day"]] = Field(
        default=["measurement", "topic", "kind"],
        max_length=4,
        description="What is counted by; give it several times for several.",
    )


class RulesQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int | None = Field(default=None, ge=1, le=2**31, description="An older version; the newest when left out.")


def _published() -> dict[str, Any]:
    """The schema of rules as it can stand in an OpenAPI document: what it refers to stands where it is referred to."""
    definitions = schema()["$defs"]

    def whole(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return whole(definitions[part["$ref"].rpartition("/")[2]])
            return {key: whole(value) for key, value in part.items() if key not in ("$schema", "$defs")}
        return [whole(item) for item in part] if isinstance(part, list) else part

    found: dict[str, Any] = whole(schema())
    return found


_RULES = {"rules": [{"name": "rooms", "match": {"measurement": "celsius"}, "bounds": {"min": -10, "max": 50}}]}
_RULES_BODY = {"required": True, "content": {"application/json": {"schema": _published(), "example": _RULES}}}


@router.get("/anomalies", responses=answers(200, Anomalies, 400, 401, 403, 404, 503), summary="Anomalies")
async def list_anomalies(
    container: Container, identity: Reader, lake: TheLake, given: Annotated[AnomalyQuery, Query()]
) -> JSONResponse:
    """In the order of time."""
    store = await lake.store(identity, container)
    query = ("anomalies", store, given.wanted())
    after = paging.decode(query, given.cursor)
    found = await blocking(lake.stores.anomalies.find, store, given.wanted(), given.limit + 1, after)
    answer = paging.page(found, given.limit, query, lambda shown: shown[-1]["position"])
    items = [{key: value for key, value in item.items() if key != "position"} for item in answer["items"]]
    return JSONResponse(to_json({**answer, "items": items}))


@router.get("/anomalies/count", responses=answers(200, Counts, 400, 401, 403, 404, 503), summary="Count of anomalies")
async def count_anomalies(
    container: Container, identity: Reader, lake: TheLake, given: Annotated[CountQuery, Query()]
) -> JSONResponse:
    """By measurement, topic and kind, or by what `by` says, in that order."""
    store = await lake.store(identity, container)
    by = list(dict.fromkeys(given.by))
    query = ("anomalies", store, given.wanted(), by)
    skip = int(paging.decode(query, given.cursor) or 0)
    found = await blocking(lake.stores.anomalies.count, store, given.wanted(), by, given.limit + 1, skip)
    return JSONResponse(paging.page(found, given.limit, query, lambda shown: str(skip + len(shown))))


@router.get("/anomalies/{anomaly}", responses=answers(200, AnomalyForm, 400, 401, 403, 404, 503), summary="An anomaly")
async def get_anomaly(container: Container, anomaly: Anomaly, identity: Reader, lake: TheLake) -> JSONResponse:
    """By its `id`."""
    store = await lake.store(identity, container)
    return _anomaly(container, anomaly, await blocking(lake.stores.anomalies.get, store, anomaly))


@router.put(
    "/anomalies/{anomaly}/acknowledgement",
    responses=answers(200, AnomalyForm, 400, 401, 403, 404, 503),
    summary="Acknowledge an anomaly",
)
async def acknowledge(
    container: Container, anomaly: Anomaly, identity: Writer, lake: TheLake, body: Note
) -> JSONResponse:
    """Somebody has seen it: it stays, also where the rules that come later would not find it."""
    store = await lake.store(identity, container)
    found = await blocking(lake.stores.anomalies.acknowledge, store, anomaly, identity.user, body.note)
    return _anomaly(container, anomaly, found)


@router.delete(
    "/anomalies/{anomaly}/acknowledgement",
    responses=answers(200, AnomalyForm, 400, 401, 403, 404, 503),
    summary="Take an acknowledgement back",
)
async def withdraw(container: Container, anomaly: Anomaly, identity: Writer, lake: TheLake) -> JSONResponse:
    """The anomaly is then as if nobody had seen it."""
    store = await lake.store(identity, container)
    return _anomaly(container, anomaly, await blocking(lake.stores.anomalies.withdraw, store, anomaly))


def _anomaly(container: str, anomaly: str, found: dict[str, Any] | None) -> JSONResponse:
    if found is None:
        raise not_found(
            f"anomaly {anomaly!r} of container {container!r}",
            "GET …/anomalies lists those that do; one that later rules do not find is removed",
        )
    return JSONResponse(to_json(found))


@router.get("/anomaly-rules", responses=answers(200, RulesForm, 400, 401, 403, 404, 503), summary="Anomaly rules")
async def get_rules(
    container: Container, identity: Reader, lake: TheLake, given: Annotated[RulesQuery, Query()]
) -> JSONResponse:
    """What anomalies of the container are found by."""
    store = await lake.store(identity, container)
    return await _rules(lake, await blocking(lake.stores.anomalies.declared, store, given.version))


@router.put(
    "/anomaly-rules",
    responses=answers(200, RulesForm, 400, 401, 403, 404, 409, 503),
    openapi_extra={"requestBody": _RULES_BODY},
    summary="Set the anomaly rules",
)
async def set_rules(
    request: Request, container: Container, identity: Writer, lake: TheLake, body: Annotated[Any, Body()]
) -> JSONResponse:
    """All of them; they hold from the next run on. What was found earlier stays until its time is looked at again."""
    store = await lake.store(identity, container)
    note(request.scope, container=container)
    try:
        made = await blocking(lake.stores.anomalies.declare, store, body, identity.user)
    except DeclarationError as error:
        raise bad_request(str(error), "invalid_rules", error.context.get("problems")) from None
    return await _rules(lake, made)


async def _rules(lake: Lake, declared: dict[str, Any]) -> JSONResponse:
    default = await blocking(lake.stores.anomalies.default)
    return JSONResponse(to_json({**declared, "default": default["default"] if default else None}))
