# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Metadata models, and which of them a container demands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from neocampus_lake.documents import to_json
from neocampus_lake.errors import AccessDenied, Conflict, NotFound
from neocampus_lake.model_store import Wanted
from neocampus_lake.models import (
    MAX_VERSION,
    Checker,
    InvalidModel,
    Reference,
    check_model,
    content_type_fits,
    json_schema,
)
from pydantic import BaseModel, ConfigDict, Field

from .. import paging
from ..errors import ApiError, bad_request, forbidden, not_found
from ..lake import Reader, TheLake, Writer
from ..observe import note
from ..stores import blocking
from . import answers, errors
from .objects import Container

T = TypeVar("T")

router = APIRouter(tags=["models"])

Name = Annotated[str, Path(min_length=1, max_length=100, description="The model's `label`, or its `id`.")]
Version = Annotated[int, Path(ge=1, le=MAX_VERSION, description="One of `…/versions`.")]
Kind = Literal["text", "number", "integer", "boolean", "date", "datetime", "enumeration", "geo_point", "list"]
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(\s*;.*)?")
_ITEM = "What is in a `list`: a field without `name`, not a list again."


class ModelField(BaseModel):
    """A field that `other_data` of an object has."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="Its key in `other_data`.", examples=["room"])
    type: Kind
    required: bool = False
    default: Any = Field(default=None, description="What it is where an object does not say it.")
    unit: str | None = None
    description: str | None = None
    content_types: list[str] | None = Field(default=None, description="Only of objects of these types; `image/*`.")
    minimum: float | None = Field(default=None, description="Of a `number` or `integer`.")
    maximum: float | None = None
    min_length: int | None = Field(default=None, description="Of a `text`, in characters.")
    max_length: int | None = None
    pattern: str | None = Field(default=None, description="A regular expression (RE2) that a `text` has a match of.")
    values: list[str | float] | None = Field(default=None, description="Of an `enumeration`: what it can be.")
    items: dict[str, Any] | None = Field(default=None, description=_ITEM, examples=[{"type": "text"}])
    min_items: int | None = Field(default=None, description="Of a `list`.")
    max_items: int | None = None


class ModelDeclaration(BaseModel):
    """What a model says."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"label": "room-sensor", "metadata": [{"name": "room", "type": "text", "required": True}]}]
        },
    )

    label: str = Field(description="Its name.", examples=["room-sensor"])
    description: str = ""
    content_types: list[str] = Field(default=[], description="For objects of which types it is; of all when empty.")
    metadata: list[dict[str, Any]] = Field(
        description="Its fields, see ModelForm.", examples=[[{"name": "room", "type": "text", "required": True}]]
    )
    visibility: Literal["confidential", "public"] = Field(
        default="confidential", description="Only the own project sees it, or all do. A public one stays public."
    )
    additional: bool = Field(default=True, description="Whether `other_data` may have other fields as well.")


class ModelForm(BaseModel):
    model_config = ConfigDict(title="Model")

    id: str
    label: str
    description: str
    content_types: list[str]
    metadata: list[ModelField]
    visibility: Literal["confidential", "public"]
    additional: bool
    version: int = Field(description="A change makes a new one; the older ones stay readable.")
    status: Literal["active", "withdrawn"] = Field(description="Nothing new can follow a withdrawn one.")
    own: bool = Field(description="Whether it is the token's project's.")
    project: str | None = Field(description="Name of the project; null of another's.")
    created_at: str
    created_by: str | None
    changed_at: str
    changed_by: str | None


class ModelList(BaseModel):
    items: list[ModelForm]
    next: str | None


class ModelEnd(BaseModel):
    label: str
    status: Literal["removed", "withdrawn"] = Field(
        description="`removed` where nothing referred to it; else it stays readable, and nothing new can follow it."
    )


class ProblemForm(BaseModel):
    model_config = ConfigDict(title="Problem")

    field: str = Field(description="Its place in `other_data`, with dots.", examples=["position.coordinates[0]"])
    message: str = Field(description="What is expected.")


class Validation(BaseModel):
    """What inserting an object with such metadata would say."""

    valid: bool
    problems: list[ProblemForm]
    other_data: dict[str, Any] = Field(description="With the defaults of what was not said.")
    label: str
    version: int


class Tried(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"other_data": {"room": "u4/302"}}]})

    other_data: dict[str, Any] = Field(examples=[{"room": "u4/302"}])
    content_type: str = Field(default="application/octet-stream", max_length=255, description="Type of the object.")
    version: int | None = Field(default=None, ge=1, le=MAX_VERSION, description="The newest when left out.")


class DemandForm(BaseModel):
    model_config = ConfigDict(title="Demand")

    model: str = Field(description="Label of the model.")
    version: int | None = Field(description="Null: the newest at the time.")
    enforced: bool | dict[str, bool] = Field(
        description="Whether what does not follow the model is refused (true), or is taken, and its document says so "
        "(false); or by content type: of types that it does not name, nothing is demanded.",
        examples=[{"image/*": True, "text/csv": False}],
    )
    id: str
    container: str


class Demanded(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"model": "room-sensor", "enforced": False}]}
    )

    model: str = Field(min_length=1, max_length=100, description="Label or id of a model.")
    version: int | None = Field(default=None, ge=1, le=MAX_VERSION, description="Null: always the newest.")
    enforced: bool | dict[str, bool] = Field(default=True, description="See the answer.")


class ModelQuery(paging.Paged):
    label: str | None = Field(default=None, min_length=1, max_length=100, description="Part of the label.")
    content_type: str | None = Field(
        default=None, min_length=3, max_length=255, description="Only those for objects of this type."
    )
    visibility: Literal["confidential", "public"] | None = None
    status: Literal["active", "withdrawn"] | None = None
    own: bool | None = Field(default=None, description="Only those of the token's project, or of others.")
    container: str | None = Field(default=None, min_length=1, max_length=200, description="Only what it demands.")


class VersionQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int | None = Field(default=None, ge=1, le=MAX_VERSION, description="The newest when left out.")


class SchemaQuery(VersionQuery):
    content_type: str | None = Field(
        default=None,
        max_length=255,
        description="For objects of this type; when left out, with the fields of all types only.",
    )


class SchemaAnswer(Response):
    """A JSON Schema."""

    media_type = "application/schema+json"


async def _kept(read: Callable[..., T], *given: Any, **named: Any) -> T:
    """What a call of the store gives, its errors as the API has them."""
    try:
        return await blocking(read, *given, **named)
    except AccessDenied as error:
        raise forbidden(str(error)) from None
    except NotFound as error:
        raise ApiError(404, "not_found", f"{error}; GET /api/v1/models lists those that are") from None


def _checked(given: ModelDeclaration) -> dict[str, Any]:
    try:
        return check_model(given.model_dump())
    except InvalidModel as error:
        raise bad_request(str(error), "invalid_model", [one.told() for one in error.problems]) from None


def _shown(model: dict[str, Any], status: int = 200) -> JSONResponse:
    return JSONResponse(to_json(model, ids=False), status, {"ETag": f'"{model["version"]}"'})


def _content_type(given: str) -> str:
    if not _CONTENT_TYPE.fullmatch(given):
        raise bad_request(f"content_type: {given[:100]!r} is not a MIME type; write type/subtype, as text/csv")
    return given


@router.get("/models", responses=answers(200, ModelList, 400, 401, 403, 404, 503), summary="Metadata models")
async def list_models(identity: Reader, lake: TheLake, given: Annotated[ModelQuery, Query()]) -> JSONResponse:
    """Those of the project, and public ones of others, by label."""
    project_id = identity.project_id or ""
    kind = None if given.content_type is None else _content_type(given.content_type)
    wanted = Wanted(given.label, kind, given.visibility, given.status, given.own)
    query = ("models", project_id, given.container, wanted)
    after = paging.decode(query, given.cursor)
    place = None if after is None else tuple(json.loads(after))
    store = lake.inserter.models.store
    if given.container is None:
        found = await blocking(store.find, project_id, wanted, given.limit + 1, place)
    else:
        await lake.store(identity, given.container)
        demanded = await blocking(store.demanded, project_id, given.container)
        found = [demanded[1]] if demanded and not after and _is_wanted(demanded[1], wanted) else []
    answer = paging.page(found, given.limit, query, lambda shown: json.dumps([shown[-1]["label"], shown[-1]["id"]]))
    return JSONResponse(to_json(answer, ids=False))


def _is_wanted(model: dict[str, Any], wanted: Wanted) -> bool:
    fine = wanted.label is None or wanted.label.lower() in model["label"].lower()
    fine &= wanted.content_type is None or content_type_fits(model["content_types"], wanted.content_type)
    return fine and all(
        value is None or model[key] == value
        for key, value in (("visibility", wanted.visibility), ("status", wanted.status), ("own", wanted.own))
    )


@router.post(
    "/models",
    status_code=201,
    responses=answers(201, ModelForm, 400, 401, 403, 409, 503),
    summary="Make a metadata model",
)
async def create_model(request: Request, identity: Writer, lake: TheLake, body: ModelDeclaration) -> JSONResponse:
    """Its version is 1."""
    store = lake.inserter.models.store
    model = _checked(body)
    note(request.scope, model=model["label"])
    return _shown(
        await _kept(store.create, identity.project_id or "", identity.project, identity.user, model), status=201
    )


@router.get("/models/{model}", responses=answers(200, ModelForm, 400, 401, 403, 404, 503), summary="A metadata model")
async def get_model(
    model: Name, identity: Reader, lake: TheLake, given: Annotated[VersionQuery, Query()]
) -> JSONResponse:
    """Its newest version, or that which is asked for. Of several with a label the project's own is meant."""
    return _shown(await _kept(lake.inserter.models.store.get, identity.project_id or "", model, given.version))


@router.put(
    "/models/{model}",
    responses=answers(200, ModelForm, 400, 401, 403, 404, 409, 412, 503),
    summary="Change a metadata model",
)
async def change_model(
    request: Request,
    model: Name,
    identity: Writer,
    lake: TheLake,
    body: ModelDeclaration,
    if_match: Annotated[str | None, Header(max_length=100, description="The ETag that was read.")] = None,
) -> JSONResponse:
    """A new version, unless it says the same as the newest. One that was withdrawn is active again."""
    note(request.scope, model=model)
    checked, expected = _checked(body), _expected(if_match)
    store = lake.inserter.models.store
    try:
        made = await _kept(store.update, identity.project_id or "", model, identity.user, checked, expected=expected)
    except Conflict as error:
        if "version" in error.context:
            raise ApiError(412, "precondition_failed", str(error), {"version": error.context["version"]}) from None
        raise
    lake.inserter.models.forget()
    return _shown(made)


def _expected(if_match: str | None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    found = re.fullmatch(r'(?:W/)?"([1-9][0-9]{0,9})"', if_match.strip())
    if found is None:
        raise bad_request("header 'if-match': give the ETag of the model as it was read, e.g. \"3\"")
    return int(found[1])


@router.delete(
    "/models/{model}", responses=answers(200, ModelEnd, 400, 401, 403, 404, 503), summary="Withdraw a metadata model"
)
async def withdraw_model(request: Request, model: Name, identity: Writer, lake: TheLake) -> JSONResponse:
    """It is removed where nothing refers to it; else it stays readable. Containers that demand it go on to do so."""
    note(request.scope, model=model)
    store, project_id = lake.inserter.models.store, identity.project_id or ""
    found = await _kept(store.get, project_id, model)
    status = await _kept(store.withdraw, project_id, found["id"])
    lake.inserter.models.forget()
    return JSONResponse({"label": found["label"], "status": status})


@router.get(
    "/models/{model}/versions",
    responses=answers(200, ModelList, 400, 401, 403, 404, 503),
    summary="Versions of a metadata model",
)
async def list_versions(
    model: Name, identity: Reader, lake: TheLake, given: Annotated[paging.Paged, Query()]
) -> JSONResponse:
    """The newest first."""
    found = await _kept(lake.inserter.models.store.versions, identity.project_id or "", model)
    query = ("versions", found[0]["id"])
    after = paging.decode(query, given.cursor)
    left = [one for one in found if after is None or one["version"] < int(after)]
    answer = paging.page(left, given.limit, query, lambda shown: str(shown[-1]["version"]))
    return JSONResponse(to_json(answer, ids=False))


@router.get(
    "/models/{model}/versions/{version}",
    responses=answers(200, ModelForm, 400, 401, 403, 404, 503),
    summary="A version of a metadata model",
)
async def get_version(model: Name, version: Version, identity: Reader, lake: TheLake) -> JSONResponse:
    """As it was."""
    return _shown(await _kept(lake.inserter.models.store.get, identity.project_id or "", model, version))


@router.get(
    "/models/{model}/schema",
    response_class=SchemaAnswer,
    responses={200: {"content": {"application/schema+json": {"schema": {"type": "object"}}}}}
    | errors(400, 401, 403, 404, 503),
    summary="JSON Schema of a metadata model",
)
async def get_schema(model: Name, identity: Reader, lake: TheLake, given: Annotated[SchemaQuery, Query()]) -> Response:
    """Draft 2020-12, of `other_data`: what the API checks by. A unit stands as `unit`."""
    kind = None if given.content_type is None else _content_type(given.content_type)
    found = await _kept(lake.inserter.models.store.get, identity.project_id or "", model, given.version)
    body = json.dumps(json_schema(found, kind), ensure_ascii=False).encode()
    return SchemaAnswer(body, headers={"ETag": f'"{found["version"]}"'})


@router.post(
    "/models/{model}/validate",
    responses=answers(200, Validation, 400, 401, 403, 404, 503),
    summary="Check metadata against a model",
)
async def validate(model: Name, identity: Reader, lake: TheLake, body: Tried) -> JSONResponse:
    """A dry run: nothing is kept, and a model that is withdrawn answers too."""
    kind = _content_type(body.content_type)
    found = await _kept(lake.inserter.models.store.get, identity.project_id or "", model, body.version)
    checker = Checker(found)
    if not checker.applies(kind):
        types = ", ".join(found["content_types"])
        problems = [{"field": "model", "message": f"is for {types}, but this is {kind}; name another, or none"}]
        other_data = body.other_data
    else:
        other_data = checker.completed(body.other_data, kind)
        problems = [one.told() for one in await blocking(checker.problems, other_data, kind)]
    said = {"label": found["label"], "version": found["version"], "valid": not problems}
    return JSONResponse({**said, "problems": problems, "other_data": other_data})


@router.get(
    "/containers/{container}/model",
    responses=answers(200, DemandForm, 400, 401, 403, 404, 503),
    summary="Metadata model that a container demands",
)
async def get_demand(container: Container, identity: Reader, lake: TheLake) -> JSONResponse:
    """404 also where it demands none."""
    await lake.store(identity, container)
    found = await blocking(lake.inserter.models.store.demand, identity.project_id or "", container)
    if found is None:
        raise _no_demand(container)
    return _demand(container, found)


@router.put(
    "/containers/{container}/model",
    responses=answers(200, DemandForm, 400, 401, 403, 404, 503),
    summary="Demand a metadata model",
)
async def set_demand(
    request: Request, container: Container, identity: Writer, lake: TheLake, body: Demanded
) -> JSONResponse:
    """Of what is inserted from now on, everywhere within seconds; what is in the container stays as it is."""
    await lake.store(identity, container)
    note(request.scope, container=container, model=body.model)
    if isinstance(body.enforced, dict):
        _check_patterns(body.enforced)
    models, project_id = lake.inserter.models, identity.project_id or ""
    reference = Reference.parse({"label": body.model, "version": body.version})
    model = await _kept(models.store.use, project_id, reference)
    wanted = {"id": model["id"], "label": model["label"], "version": body.version, "enforced": body.enforced}
    await blocking(models.store.set_demand, project_id, container, wanted)
    models.forget()
    return _demand(container, wanted)


@router.delete(
    "/containers/{container}/model",
    status_code=204,
    responses=errors(400, 401, 403, 404, 503),
    summary="Demand no metadata model any more",
)
async def remove_demand(request: Request, container: Container, identity: Writer, lake: TheLake) -> Response:
    """What is inserted from now on is taken as it is, unless it names a model."""
    await lake.store(identity, container)
    note(request.scope, container=container)
    models, project_id = lake.inserter.models, identity.project_id or ""
    if await blocking(models.store.demand, project_id, container) is None:
        raise _no_demand(container)
    await blocking(models.store.set_demand, project_id, container, None)
    models.forget()
    return Response(status_code=204)


def _demand(container: str, found: dict[str, Any]) -> JSONResponse:
    told = {"container": container, "model": found["label"]}
    return JSONResponse(told | {key: found[key] for key in ("id", "version", "enforced")})


def _no_demand(container: str) -> ApiError:
    return not_found(
        f"a model that container {container!r} demands", "PUT to this path says which; GET /api/v1/models lists them"
    )


def _check_patterns(given: dict[str, bool]) -> None:
    try:
        check_model({"label": "x", "metadata": [{"name": "x", "type": "text"}], "content_types": list(given)})
    except InvalidModel:
        raise bad_request(
            "body 'enforced': its keys are types or classes of types, as text/csv or image/*, up to 100"
        ) from None
