# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Administration: users, groups, projects, who has which role where, the webhook of a container, and the audit.

Keystone decides what the token's holder may do, by its own rules: the API passes the caller's token on and has no
rights of its own here. Who is no administrator gets 403 from all of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from neocampus_lake.documents import check_container_name
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from .. import audit, paging
from ..errors import ApiError, bad_request, forbidden, not_found
from ..identity import Identity
from ..lake import Administrator, Lake, TheLake, Writer
from ..observe import note
from ..stores import blocking
from ..swift import Target
from . import answers, errors
from .auth import Project, ProjectList

router = APIRouter(tags=["administration"])

Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Its `id`.")]
RoleName = Annotated[str, Path(min_length=1, max_length=255, description="The role's name.", examples=["reader"])]
Kind = Annotated[Literal["users", "groups"], Path(description="Whose role it is.")]
_NAME = Field(default=None, min_length=1, max_length=255, description="Exactly this one.")
_DOMAIN = Field(default=None, min_length=1, max_length=255, description="Name of their domain; people's when left out.")


class User(BaseModel):
    id: str
    name: str
    domain_id: str
    email: str | None
    description: str
    enabled: bool


class UserList(BaseModel):
    items: list[User]
    next: str | None


class NewUser(BaseModel):
    """An account that Keystone keeps itself."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"name": "probe", "password": "a-long-password", "domain": "Default", "description": "A sensor gateway"}
            ]
        },
    )

    name: str = Field(min_length=1, max_length=255)
    password: SecretStr = Field(min_length=1, max_length=4096)
    domain: str = Field(min_length=1, max_length=255, description="Name of a domain whose accounts Keystone keeps.")
    email: str | None = Field(default=None, max_length=255)
    description: str = Field(default="", max_length=1000)
    enabled: bool = True


class UserChange(BaseModel):
    """What is to change; the rest stays."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"description": "Has left", "enabled": False}]}
    )

    email: str | None = Field(default=None, max_length=255)
    description: str | None = Field(default=None, max_length=1000)
    password: SecretStr | None = Field(default=None, min_length=1, max_length=4096)
    enabled: bool | None = None


class Group(BaseModel):
    id: str
    name: str
    domain_id: str
    description: str


class GroupList(BaseModel):
    items: list[Group]
    next: str | None


class NewProject(BaseModel):
    """A project to be made."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": "harbour", "description": "Sensors of the harbour"}]}
    )

    name: str = Field(min_length=1, max_length=64)
    domain: str | None = Field(default=None, min_length=1, max_length=255, description="People's when left out.")
    description: str = Field(default="", max_length=1000)
    enabled: bool = True


class ProjectChange(BaseModel):
    """What is to change; the rest stays."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"description": "Sensors of both harbours"}]}
    )

    name: str | None = Field(default=None, min_length=1, max_length=64)
    description: str | None = Field(default=None, max_length=1000)
    enabled: bool | None = None


class Role(BaseModel):
    id: str
    name: str
    description: str


class RoleList(BaseModel):
    items: list[Role]
    next: str | None


class Who(BaseModel):
    id: str
    name: str | None
    domain: str | None


class Assignment(BaseModel):
    """A role that a user or a group has in a project."""

    role: str
    user: Who | None
    group: Who | None
    project: Who


class AssignmentList(BaseModel):
    items: list[Assignment]
    next: str | None


class Webhook(BaseModel):
    """Whether what is put into a container is processed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"enabled": True}]})

    enabled: bool


class Event(BaseModel):
    """A request that reached the lake, and what became of it."""

    id: str
    time: str = Field(description="When it was over; ISO 8601, UTC.")
    action: str
    result: audit.Result
    status: int
    user: str | None
    user_id: str | None
    project: str | None
    project_id: str | None
    container: str | None
    object_id: str | None
    objects: list[str] | None = Field(description="Ids, where it was about many.")
    target: str | None = Field(description="What else it was about.")
    address: str
    request_id: str
    bytes_in: int
    bytes_out: int


class EventList(BaseModel):
    items: list[Event]
    next: str | None


class Named(paging.Paged):
    """People or groups of a domain."""

    name: str | None = _NAME
    domain: str | None = _DOMAIN


class ProjectQuery(paging.Paged):
    """Which projects."""

    name: str | None = _NAME
    domain: str | None = Field(default=None, min_length=1, max_length=255, description="Name of their domain.")
    enabled: bool | None = None


class AssignmentQuery(paging.Paged):
    """Which assignments; what is given has to hold together."""

    project: str | None = Field(default=None, max_length=64, description="Its id; the token's when left out.")
    user: str | None = Field(default=None, max_length=64, description="A user's id.")
    group: str | None = Field(default=None, max_length=64, description="A group's id.")
    role: str | None = Field(default=None, max_length=255, description="A role's name.")
    effective: bool = Field(default=False, description="What users have through groups, too, instead of groups.")


class EventQuery(paging.Between):
    """Which events; what is given has to hold together."""

    user: str | None = Field(default=None, max_length=255, description="A user's name or id.")
    project: str | None = Field(default=None, max_length=255, description="A project's name or id.")
    container: str | None = Field(default=None, max_length=255)
    object: str | None = Field(default=None, max_length=64, description="An object's id.")
    action: str | None = Field(default=None, max_length=64)
    result: audit.Result | None = None


# -- what Keystone is asked ----------------------------------------------------------------------------------------


async def _domain_id(lake: Lake, identity: Identity, name: str | None) -> str:
    """The id of a domain by its name. Whoever may not list domains knows that of the own project."""
    wanted = name or lake.settings.identity.people_domain
    if identity.everywhere:
        found = await lake.keystone.ask_as(identity, "GET", "/domains", "list domains", params={"name": wanted})
        ids = [str(domain["id"]) for domain in found["domains"]]
    else:
        own = await _ask_project(lake, identity, identity.project_id or "")
        ids = [str(own["domain_id"])] if wanted == identity.project_domain else []
    if not ids and not identity.everywhere:  # whether there is one is nothing to this person
        raise forbidden(f"domain {wanted!r} is not the one of your project: you administer nothing there")
    if not ids:
        raise bad_request(f"there is no domain {wanted!r}; check 'domain'", "unknown_domain")
    return ids[0]


async def _ask_project(lake: Lake, identity: Identity, project_id: str) -> dict[str, Any]:
    path = f"/projects/{quote(project_id, safe='')}"
    found = await lake.keystone.ask_as(identity, "GET", path, f"show project {project_id}")
    return dict(found["project"])


def _within(identity: Identity, project_id: str) -> None:
    """ApiError 403 for another project than the token's, whether or not there is one, unless the token is of an
    administrator of the lake."""
    if not identity.everywhere and project_id != identity.project_id:
        raise forbidden("you administer the project of your token alone; log in again with the other one")


async def _role_id(lake: Lake, identity: Identity, name: str) -> str:
    found = await lake.keystone.ask_as(identity, "GET", "/roles", "list roles", params={"name": name})
    if not found["roles"]:
        raise bad_request(f"there is no role {name!r}; GET /api/v1/admin/roles lists them", "unknown_role")
    return str(found["roles"][0]["id"])


def _user(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": found["id"],
        "name": found["name"],
        "domain_id": found["domain_id"],
        "email": found.get("email"),
        "description": found.get("description") or "",
        "enabled": found.get("enabled", True),
    }


def _named(found: dict[str, Any]) -> dict[str, Any]:
    return {"id": found["id"], "name": found["name"], "description": found.get("description") or ""}


def _in_domain(found: dict[str, Any]) -> dict[str, Any]:
    return {**_named(found), "domain_id": found["domain_id"]}


def _project(found: dict[str, Any]) -> dict[str, Any]:
    return {**_in_domain(found), "enabled": found["enabled"]}


def _by_name(item: dict[str, Any]) -> tuple[str, str]:
    return item["name"], item["id"]


def _given(change: BaseModel) -> dict[str, Any]:
    """The fields that a request has, secrets as text. ApiError 400 without any."""
    fields = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in change
        if name in change.model_fields_set
    }
    if not fields:
        raise bad_request("body: says nothing that is to change")
    return fields


# -- users and groups ----------------------------------------------------------------------------------------------


@router.get(
    "/admin/users",
    responses=answers(200, UserList, 400, 401, 403, 503),
    response_model=UserList,
    summary="Users",
)
async def list_users(identity: Administrator, lake: TheLake, given: Annotated[Named, Query()]) -> Any:
    """The users of a domain, by name."""
    domain = await _domain_id(lake, identity, given.domain)
    wanted = {"domain_id": domain, **({"name": given.name} if given.name else {})}
    found = await lake.keystone.ask_as(identity, "GET", "/users", "list users", params=wanted)
    return paging.of_all(map(_user, found["users"]), given, ("users", domain, given.name), _by_name)


@router.get(
    "/admin/users/{user_id}",
    responses=answers(200, User, 400, 401, 403, 404, 503),
    response_model=User,
    summary="A user",
)
async def get_user(user_id: Id, identity: Administrator, lake: TheLake) -> Any:
    """What Keystone, or the directory, knows of a user."""
    found = await lake.keystone.ask_as(identity, "GET", f"/users/{user_id}", f"show user {user_id}")
    return _user(found["user"])


@router.post(
    "/admin/users",
    status_code=201,
    responses=answers(201, User, 400, 401, 403, 409, 413, 503),
    response_model=User,
    summary="Make a user",
)
async def create_user(request: Request, new: NewUser, identity: Administrator, lake: TheLake) -> Any:
    """An account that Keystone keeps itself; where people are in a directory: 403, `read_only_directory`."""
    note(request.scope, target=f"user {new.name}")
    wanted = {**_given(new), "domain_id": await _domain_id(lake, identity, new.domain)}
    wanted.pop("domain")
    found = await lake.keystone.ask_as(identity, "POST", "/users", "make the user", json={"user": wanted}, account=True)
    return _user(found["user"])


@router.patch(
    "/admin/users/{user_id}",
    responses=answers(200, User, 400, 401, 403, 404, 409, 413, 503),
    response_model=User,
    summary="Change or disable a user",
)
async def change_user(request: Request, user_id: Id, change: UserChange, identity: Administrator, lake: TheLake) -> Any:
    """Who is disabled can't log in, and has no valid token any more."""
    note(request.scope, target=f"user {user_id}")
    path = f"/users/{user_id}"
    found = await lake.keystone.ask_as(
        identity, "PATCH", path, "change the user", json={"user": _given(change)}, account=True
    )
    await lake.tokens.revoke("user", user_id)
    return _user(found["user"])


@router.get(
    "/admin/groups",
    responses=answers(200, GroupList, 400, 401, 403, 503),
    response_model=GroupList,
    summary="Groups",
)
async def list_groups(identity: Administrator, lake: TheLake, given: Annotated[Named, Query()]) -> Any:
    """The groups of a domain, by name."""
    domain = await _domain_id(lake, identity, given.domain)
    wanted = {"domain_id": domain, **({"name": given.name} if given.name else {})}
    found = await lake.keystone.ask_as(identity, "GET", "/groups", "list groups", params=wanted)
    return paging.of_all(map(_in_domain, found["groups"]), given, ("groups", domain, given.name), _by_name)


# -- projects ------------------------------------------------------------------------------------------------------


@router.get(
    "/admin/projects",
    responses=answers(200, ProjectList, 400, 401, 403, 503),
    response_model=ProjectList,
    summary="Projects",
)
async def list_projects(identity: Administrator, lake: TheLake, given: Annotated[ProjectQuery, Query()]) -> Any:
    """All projects for who administers the lake; else the token's own."""
    if identity.everywhere:
        wanted: dict[str, Any] = {}
        if given.domain:
            wanted["domain_id"] = await _domain_id(lake, identity, given.domain)
        answer = await lake.keystone.ask_as(identity, "GET", "/projects", "list projects", params=wanted)
        found = answer["projects"]
    else:
        own = await _ask_project(lake, identity, identity.project_id or "")
        found = [own] if given.domain in (None, identity.project_domain) else []
    items = [
        _project(one) for one in found if given.name in (None, one["name"]) and given.enabled in (None, one["enabled"])
    ]
    query = ("projects", identity.project_id, given.name, given.domain, given.enabled)
    return paging.of_all(items, given, query, _by_name)


@router.get(
    "/admin/projects/{project_id}",
    responses=answers(200, Project, 400, 401, 403, 404, 503),
    response_model=Project,
    summary="A project",
)
async def get_project(project_id: Id, identity: Administrator, lake: TheLake) -> Any:
    """Any for who administers the lake; else the token's own."""
    _within(identity, project_id)
    return _project(await _ask_project(lake, identity, project_id))


@router.post(
    "/admin/projects",
    status_code=201,
    responses=answers(201, Project, 400, 401, 403, 409, 413, 503),
    response_model=Project,
    summary="Make a project",
)
async def create_project(request: Request, new: NewProject, identity: Administrator, lake: TheLake) -> Any:
    """It has no people: give them roles with PUT /api/v1/admin/projects/{project_id}/users/{id}/roles/{role}."""
    note(request.scope, target=f"project {new.name}")
    wanted = {
        "name": new.name,
        "description": new.description,
        "enabled": new.enabled,
        "domain_id": await _domain_id(lake, identity, new.domain),
    }
    found = await lake.keystone.ask_as(identity, "POST", "/projects", "make the project", json={"project": wanted})
    return _project(found["project"])


@router.patch(
    "/admin/projects/{project_id}",
    responses=answers(200, Project, 400, 401, 403, 404, 409, 413, 503),
    response_model=Project,
    summary="Change or disable a project",
)
async def change_project(
    request: Request, project_id: Id, change: ProjectChange, identity: Administrator, lake: TheLake
) -> Any:
    """Nobody can work in a project that is disabled; what it holds stays."""
    note(request.scope, target=f"project {project_id}")
    _within(identity, project_id)
    found = await lake.keystone.ask_as(
        identity, "PATCH", f"/projects/{project_id}", "change the project", json={"project": _given(change)}
    )
    await lake.tokens.revoke("project", project_id)
    return _project(found["project"])


@router.delete(
    "/admin/projects/{project_id}",
    status_code=204,
    responses=errors(400, 401, 403, 404, 409, 503),
    summary="Delete an empty project",
)
async def delete_project(request: Request, project_id: Id, identity: Administrator, lake: TheLake) -> Response:
    """409 as long as an object is in it: nobody could reach that any more."""
    note(request.scope, target=f"project {project_id}")
    if not identity.everywhere:
        raise forbidden("only an administrator of the lake may delete projects")
    await _ask_project(lake, identity, project_id)
    holds = await blocking(_holding, lake, project_id)
    if holds or await _swift_holds(lake, identity, project_id):
        where = f" (containers {', '.join(holds[:10])})" if holds else ""
        raise ApiError(
            409,
            "not_empty",
            f"project {project_id} holds objects{where}; delete them first, or disable the project",
            {"containers": holds[:100]},
        )
    await lake.keystone.ask_as(identity, "DELETE", f"/projects/{project_id}", "delete the project")
    await lake.tokens.revoke("project", project_id)
    return Response(status_code=204)


async def _swift_holds(lake: Lake, identity: Identity, project_id: str) -> bool:
    """Whether the project has an object in Swift, as far as the token's holder is told. ApiError 401, 503."""
    try:
        facts = await lake.swift.facts(Target(project_id), identity.token)
    except ApiError as error:
        if error.status != 403:
            raise
        return False
    return facts is not None and int(facts.get("x-account-object-count", "0")) > 0


def _holding(lake: Lake, project_id: str) -> list[str]:
    """The project's containers that hold an object, as their documents say."""
    metadata = lake.stores.metadata
    found = []
    for container in metadata.containers(project_id):
        store = metadata.store_for(project_id, container)
        there = {"status": {"$nin": ["deleted", "lost"]}}
        if store and lake.stores.client["swift"][store].find_one(there, {"_id": 1}) is not None:
            found.append(container)
    return found


# -- roles and who has them ----------------------------------------------------------------------------------------


@router.get(
    "/admin/roles",
    responses=answers(200, RoleList, 400, 401, 403, 503),
    response_model=RoleList,
    summary="Roles",
)
async def list_roles(identity: Administrator, lake: TheLake, given: Annotated[paging.Paged, Query()]) -> Any:
    """By name. Roles are declared where the lake is deployed, for what they allow is declared there, too."""
    found = await lake.keystone.ask_as(identity, "GET", "/roles", "list roles")
    return paging.of_all(map(_named, found["roles"]), given, ("roles",), _by_name)


def _who(found: dict[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"id": found["id"], "name": found.get("name"), "domain": (found.get("domain") or {}).get("name")}


@router.get(
    "/admin/assignments",
    responses=answers(200, AssignmentList, 400, 401, 403, 404, 503),
    response_model=AssignmentList,
    summary="Who has which role in a project",
)
async def list_assignments(identity: Administrator, lake: TheLake, given: Annotated[AssignmentQuery, Query()]) -> Any:
    """Of users and groups, in the token's project or, for who administers the lake, in any."""
    project = given.project or identity.project_id or ""
    _within(identity, project)
    wanted: dict[str, Any] = {"scope.project.id": project, "include_names": "true", "include_subtree": "true"}
    wanted |= {f"{kind}.id": value for kind, value in (("user", given.user), ("group", given.group)) if value}
    if given.effective:
        wanted["effective"] = "true"
    doing = f"list the assignments in project {project}"
    found = await lake.keystone.ask_as(identity, "GET", "/role_assignments", doing, params=wanted)
    items = [
        {
            "role": one["role"]["name"],
            "user": _who(one.get("user")),
            "group": _who(one.get("group")),
            "project": _who(one["scope"]["project"]),
        }
        for one in found["role_assignments"]
        if one["scope"].get("project", {}).get("id") == project and given.role in (None, one["role"]["name"])
    ]
    query = ("assignments", project, given.user, given.group, given.role, given.effective)

    def order(item: dict[str, Any]) -> tuple[str, ...]:
        who = item["user"] or item["group"]
        return "user" if item["user"] else "group", who["name"] or "", who["id"], item["role"]

    return paging.of_all(items, given, query, order)


async def _assign(lake: Lake, identity: Identity, method: str, place: tuple[str, str, str, str]) -> Response:
    project_id, kind, whose, role = place
    _within(identity, project_id)
    doing = f"{'give' if method == 'PUT' else 'take'} role {role!r}"
    role_id = await _role_id(lake, identity, role)
    path = f"/projects/{project_id}/{kind}/{whose}/roles/{quote(role_id, safe='')}"
    await lake.keystone.ask_as(identity, method, path, doing)
    # Of a group nobody knows here who is in it.
    await lake.tokens.revoke("user" if kind == "users" else "project", whose if kind == "users" else project_id)
    return Response(status_code=204)


@router.put(
    "/admin/projects/{project_id}/{kind}/{whose}/roles/{role}",
    status_code=204,
    responses=errors(400, 401, 403, 404, 409, 503),
    summary="Give a role",
)
async def grant_role(
    request: Request, project_id: Id, kind: Kind, whose: Id, role: RoleName, identity: Administrator, lake: TheLake
) -> Response:
    """To a user or a group, in a project. A project's administrator may give admin, member and reader in it."""
    note(request.scope, target=f"role {role} of {kind} {whose} in project {project_id}")
    return await _assign(lake, identity, "PUT", (project_id, kind, whose, role))


@router.delete(
    "/admin/projects/{project_id}/{kind}/{whose}/roles/{role}",
    status_code=204,
    responses=errors(400, 401, 403, 404, 409, 503),
    summary="Take a role",
)
async def revoke_role(
    request: Request, project_id: Id, kind: Kind, whose: Id, role: RoleName, identity: Administrator, lake: TheLake
) -> Response:
    """It holds a second later for the API, and for Swift as soon as it asks Keystone again."""
    note(request.scope, target=f"role {role} of {kind} {whose} in project {project_id}")
    return await _assign(lake, identity, "DELETE", (project_id, kind, whose, role))


# -- the webhook of a container ------------------------------------------------------------------------------------


@router.get(
    "/containers/{container}/webhook",
    responses=answers(200, Webhook, 400, 401, 403, 404, 503),
    response_model=Webhook,
    summary="Is what is put there processed?",
)
async def get_webhook(
    container: Annotated[str, Path(description="A container of the token's project.")], identity: Writer, lake: TheLake
) -> Any:
    """As Swift has it: also of a container that the lake has no object of yet."""
    check_container_name(container)
    target = Target(identity.project_id or "", container)
    facts = await lake.swift.facts(target, identity.token)
    if facts is None:
        raise not_found(f"container {container!r}", "one is made with its first object")
    return {"enabled": facts.get("x-webhook") == "on"}


@router.put(
    "/containers/{container}/webhook",
    responses=answers(200, Webhook, 400, 401, 403, 404, 413, 503),
    response_model=Webhook,
    summary="Have what is put there processed, or not",
)
async def put_webhook(
    request: Request,
    container: Annotated[str, Path(description="A container of the token's project.")],
    wanted: Webhook,
    identity: Administrator,
    lake: TheLake,
) -> Any:
    """From now on: what is there stays as it is (POST …/replay has it processed)."""
    check_container_name(container)
    note(request.scope, target=f"webhook {'on' if wanted.enabled else 'off'}")
    target = Target(identity.project_id or "", container)
    if not await lake.swift.change(target, identity.token, {"X-Webhook": "on" if wanted.enabled else "off"}):
        raise not_found(f"container {container!r}", "one is made with its first object")
    return {"enabled": wanted.enabled}


# -- the audit -----------------------------------------------------------------------------------------------------


@router.get(
    "/admin/audit",
    responses=answers(200, EventList, 400, 401, 403, 503),
    response_model=EventList,
    summary="Who did what",
)
async def list_events(identity: Administrator, lake: TheLake, given: Annotated[EventQuery, Query()]) -> Any:
    """The newest first: those of the whole lake for who administers it, else those of the token's project."""
    own = None if identity.everywhere else identity.project_id
    filters = given.model_dump(exclude={"limit", "cursor", "start", "end"}, exclude_none=True)
    query = ("audit", own, sorted(filters.items()), given.start, given.end)
    await lake.audit.settle()
    found = await blocking(
        lake.audit.find,
        own,
        filters,
        start=None if given.start is None else paging.moment(given.start),
        end=None if given.end is None else paging.moment(given.end),
        limit=given.limit + 1,
        after=paging.decode(query, given.cursor),
    )
    answer = paging.page(found, given.limit, query, lambda shown: audit.place(shown[-1]))
    return {**answer, "items": [audit.shown(event) for event in answer["items"]]}
