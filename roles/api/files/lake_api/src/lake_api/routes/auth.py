# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Logging in and out, and what a user may do with the own account."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from .. import identity as identities
from .. import paging
from ..errors import ApiError, bad_request, forbidden, ticket_wanted
from ..identity import Identity
from ..lake import Anybody, Lake, TheLake
from ..observe import client_of, note
from ..revocations import digest
from . import answers, errors

router = APIRouter(prefix="/auth", tags=["auth"])

# Uvicorn and the edge take headers of this length: Active Directory's tickets have the groups of their user in them.
_TICKET = re.compile(r"negotiate +([A-Za-z0-9+/]{1,65536}={0,2})", re.IGNORECASE)

CredentialId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Its `id`.")]


_NOTHING = "'username' and 'password' are required, or 'token', or 'application_credential'"


class ApplicationSecret(BaseModel):
    """An application credential."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=64)
    secret: SecretStr = Field(min_length=1, max_length=4096)


class Credentials(BaseModel):
    """Who logs in: a user with a password, the holder of a token that goes to another project, or an application."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"username": "ada", "password": "her-password", "project": "harbour"}]},
    )

    username: str | None = Field(default=None, min_length=1, max_length=255)
    password: SecretStr | None = Field(default=None, min_length=1, max_length=4096)
    token: SecretStr | None = Field(
        default=None, min_length=1, max_length=8192, description="Instead of name and password: a valid token."
    )
    application_credential: ApplicationSecret | None = Field(
        default=None, description="Instead of all else; its project is its own."
    )
    project: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="Left out with a password: a token of no project, which shows the user's projects.",
    )
    domain: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="Domain of user and project; people's when left out. Then people's is looked at for the project.",
    )
    user_domain: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="Domain of the user, where it is another than the project's.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Credentials:
        if self.application_credential is not None:
            if self.model_fields_set != {"application_credential"}:
                raise ValueError("send 'application_credential' alone: its user and project are known")
        elif self.token is not None:
            if self.username is not None or self.password is not None or self.user_domain is not None:
                raise ValueError("send 'token', or 'username' and 'password', not both")
            if self.project is None:
                raise ValueError("'project' is required with 'token': say where to")
        elif (self.username is None) != (self.password is None):
            raise ValueError(_NOTHING)
        return self

    @property
    def empty(self) -> bool:
        """Whether the body proves nothing."""
        return self.username is None and self.token is None and self.application_credential is None


class Named(BaseModel):
    id: str
    name: str


class InDomain(Named):
    domain: str | None = Field(description="Name of the domain.")


class WhoAmI(BaseModel):
    """Whose a token is, and what it is for."""

    expires_at: str = Field(description="ISO 8601, UTC.")
    user: InDomain
    project: InDomain | None = Field(description="Null: the token is of no project.")
    roles: list[str]
    administrator: bool = Field(description="Whether it administers its project.")
    everywhere: bool = Field(description="Whether it administers the whole lake.")


class Token(WhoAmI):
    """A new token."""

    token: str


class Project(BaseModel):
    id: str
    name: str
    domain_id: str
    description: str
    enabled: bool


class ProjectList(BaseModel):
    items: list[Project]
    next: str | None


class NewCredential(BaseModel):
    """An application credential to be made."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "dashboard", "roles": ["reader"], "expires_at": "2099-12-31T23:59:59Z"}]
        },
    )

    name: str = Field(min_length=1, max_length=255, description="Unique among the user's.")
    description: str = Field(default="", max_length=1000)
    roles: list[str] | None = Field(
        default=None, min_length=1, max_length=20, description="Some of the token's roles; all when left out."
    )
    expires_at: datetime | None = Field(default=None, description="ISO 8601; never when left out.")

    @model_validator(mode="after")
    def _later(self) -> NewCredential:
        if self.expires_at is not None:
            if self.expires_at.tzinfo is None:
                self.expires_at = self.expires_at.replace(tzinfo=UTC)
            if self.expires_at <= datetime.now(UTC):
                raise ValueError("'expires_at' is in the past")
        return self


class ApplicationCredential(BaseModel):
    """What an application may log in with, as its user, in one project."""

    id: str
    name: str
    description: str
    project_id: str
    roles: list[str]
    expires_at: str | None


class MadeCredential(ApplicationCredential):
    secret: str = Field(description="Shown this once.")


class CredentialList(BaseModel):
    items: list[ApplicationCredential]
    next: str | None


class Passwords(BaseModel):
    """A new password, and the one until now."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"current": "her-password", "new": "another-password"}]}
    )

    current: SecretStr = Field(min_length=1, max_length=4096)
    new: SecretStr = Field(min_length=1, max_length=4096)


def _said_of(lake: Lake, identity: Identity) -> dict[str, Any]:
    administers = bool(identity.roles.intersection(lake.settings.identity.admin_roles))
    project = {"id": identity.project_id, "name": identity.project, "domain": identity.project_domain}
    return {
        "expires_at": identity.expires_at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "user": {"id": identity.user_id, "name": identity.user, "domain": identity.user_domain},
        "project": project if identity.project_id else None,
        "roles": sorted(identity.roles),
        "administrator": administers and identity.project_id is not None,
        "everywhere": administers and identity.everywhere,
    }


async def _by_password(lake: Lake, given: Credentials) -> Identity:
    """Without `user_domain` the user is of `domain`, and the project of `domain` or, when it is not there, of people's
    domain: so an account of another domain needs but one name to work in a project of people."""
    people = lake.settings.identity.people_domain
    user_domain = given.user_domain or given.domain or people
    domains: list[str | None] = [given.domain or people]
    if given.domain not in (None, people) and not given.user_domain:
        domains.append(people)
    proof = identities.by_password(given.username or "", _secret(given.password), user_domain)
    if given.project is None:
        refused = (
            f"Keystone refused to log {given.username!r} in (user of domain {user_domain!r}): check user name, "
            "password and domain"
        )
        return await lake.keystone.log_in(proof, None, [None], refused)
    refused = (
        f"Keystone refused to log {given.username!r} in to project {given.project!r} (user of domain {user_domain!r}, "
        f"project of domain {' or '.join(map(repr, domains))}): check user name, password, project and domain, "
        "and that the user has a role there"
    )
    return await lake.keystone.log_in(proof, given.project, domains, refused)


def _projects_domains(lake: Lake, given: Credentials) -> list[str]:
    """Where a project is looked for that the user of a token goes to."""
    people = lake.settings.identity.people_domain
    return [given.domain or people] + ([people] if given.domain not in (None, people) else [])


async def _by_token(lake: Lake, given: Credentials) -> Identity:
    domains = _projects_domains(lake, given)
    refused = (
        f"Keystone gave no token for project {given.project!r} (of domain {' or '.join(map(repr, domains))}): the "
        "token is not valid any more or is an application's, or its user has no role there"
    )
    return await lake.keystone.log_in(identities.by_token(_secret(given.token)), given.project, domains, refused)


async def _by_ticket(lake: Lake, given: Credentials, ticket: str) -> tuple[Identity, str | None]:
    """Whose the Kerberos ticket is, and what the client is shown in return."""
    refused = (
        "Keystone did not accept the Kerberos ticket: get a new one (kinit), check the clock and that it is for HTTP/ "
        "with the name in the address that you use, and that the lake knows your realm and your name in its directory"
    )
    identity, proof = await lake.keystone.log_in_by_ticket(ticket, refused)
    if given.project is None:
        return identity, proof
    domains = _projects_domains(lake, given)
    refused = (
        f"Keystone gave {identity.user!r} no token for project {given.project!r} (of domain "
        f"{' or '.join(map(repr, domains))}): check project and domain, and that the user has a role there"
    )
    return await lake.keystone.log_in(identities.by_token(identity.token), given.project, domains, refused), proof


async def _by_application(lake: Lake, given: ApplicationSecret) -> Identity:
    proof = identities.by_application_credential(given.id, _secret(given.secret))
    refused = (
        "Keystone does not know this application credential, or its secret is another, or it expired; its user makes "
        "a new one with POST /api/v1/auth/application-credentials"
    )
    return await lake.keystone.log_in(proof, None, [None], refused)


def _secret(given: SecretStr | None) -> str:
    return given.get_secret_value() if given else ""


async def _guarded(lake: Lake, given: Credentials, address: str) -> Identity:
    """Log in with what could be guessed: failures count. ApiError 401, 429, 503."""
    who = _who(lake, given)
    await lake.logins.check(who, address)
    try:
        if given.application_credential:
            identity = await _by_application(lake, given.application_credential)
        else:
            identity = await _by_password(lake, given)
    except ApiError as error:
        if error.status == 401:
            await lake.logins.failed(who, address)
        raise
    await lake.logins.succeeded(who)
    return identity


def _who(lake: Lake, given: Credentials) -> str:
    """What failures are counted for, beside the address."""
    if given.application_credential:
        return f"application {given.application_credential.id}"
    return _user_key(given.user_domain or given.domain or lake.settings.identity.people_domain, given.username or "")


def _user_key(domain: str, name: str) -> str:
    return f"user {domain}/{name}"


def _ticket(lake: Lake, request: Request, given: Credentials) -> str | None:
    """The Kerberos ticket that the request logs in with; None: with what its body has. ApiError 400, 401."""
    shown = _TICKET.fullmatch(request.headers.get("Authorization", "").strip())
    if not lake.settings.identity.kerberos:
        if given.empty:
            raise bad_request(f"body: {_NOTHING}")
        return None
    if not given.empty:
        if shown:
            raise bad_request("send a Kerberos ticket (Authorization: Negotiate) or what the body has, not both")
        return None
    if shown is None:
        raise ticket_wanted(f"body: {_NOTHING}; or show a Kerberos ticket: Authorization: Negotiate")
    if given.user_domain is not None:
        raise bad_request(
            "body 'user_domain': leave it out; the realm of a Kerberos ticket says which domain its user is in"
        )
    return shown[1]


@router.post(
    "/token",
    status_code=201,
    responses=answers(201, Token, 400, 401, 413, 429, 503),
    response_model=Token,
    summary="Log in",
)
async def log_in(request: Request, response: Response, credentials: Credentials, lake: TheLake) -> dict[str, Any]:
    """Get a token of Keystone. Send it in the header `X-Auth-Token` with every other request.

    With name and password, with an application credential, or with a token, for another project. After some failures
    of a user or from an address no log-in is taken for a while, longer with each further one: 429.
    """
    if credentials.username:
        note(request.scope, user=credentials.username, project=credentials.project)
    ticket = _ticket(lake, request, credentials)
    if ticket:
        identity, proof = await _by_ticket(lake, credentials, ticket)
        if proof:
            response.headers["WWW-Authenticate"] = proof
    elif credentials.token:
        identity = await _by_token(lake, credentials)
    else:
        identity = await _guarded(lake, credentials, client_of(request.scope))
    lake.tokens.remember(identity)
    request.scope["lake.identity"] = identity
    note(request.scope, user=identity.user, project=identity.project)
    return {"token": identity.token, **_said_of(lake, identity)}


@router.get("/token", responses=answers(200, WhoAmI, 401, 503), response_model=WhoAmI, summary="Who am I?")
async def who_am_i(identity: Anybody, lake: TheLake) -> dict[str, Any]:
    """Whose the token is, for which project, with which roles, and until when."""
    return _said_of(lake, identity)


@router.delete("/token", status_code=204, responses=errors(401, 503), summary="Log out")
async def log_out(identity: Anybody, lake: TheLake) -> Response:
    """Revoke the token in Keystone. All of the API has forgotten it a second later; Swift may know it a little
    longer."""
    await lake.keystone.ask_as(
        identity, "DELETE", "/auth/tokens", "revoke the token", headers={"X-Subject-Token": identity.token}
    )
    await lake.tokens.revoke("token", digest(identity.token))
    return Response(status_code=204)


@router.get(
    "/projects",
    responses=answers(200, ProjectList, 400, 401, 403, 503),
    response_model=ProjectList,
    summary="My projects",
)
async def my_projects(identity: Anybody, lake: TheLake, given: Annotated[paging.Paged, Query()]) -> Any:
    """The projects that the user has a role in, by name. The token may be of any project, or of none."""
    found = await lake.keystone.ask_as(identity, "GET", "/auth/projects", "list your projects")
    items = [_project(project) for project in found["projects"] if project["enabled"]]
    return paging.of_all(items, given, ("projects", identity.user_id), lambda item: (item["name"], item["id"]))


def _project(found: dict[str, Any]) -> dict[str, Any]:
    kept = {key: found[key] for key in ("id", "name", "domain_id", "enabled")}
    return {**kept, "description": found.get("description") or ""}


def _own(identity: Identity, *parts: str) -> str:
    return "/".join((f"/users/{quote(identity.user_id, safe='')}", *parts))


def _credential(found: dict[str, Any]) -> dict[str, Any]:
    expires = found.get("expires_at")
    return {
        "id": found["id"],
        "name": found["name"],
        "description": found.get("description") or "",
        "project_id": found["project_id"],
        "roles": sorted(role["name"] for role in found["roles"]),
        "expires_at": None if expires is None else str(expires).rstrip("Z") + "Z",
    }


@router.get(
    "/application-credentials",
    responses=answers(200, CredentialList, 400, 401, 403, 503),
    response_model=CredentialList,
    summary="My application credentials",
)
async def list_credentials(identity: Anybody, lake: TheLake, given: Annotated[paging.Paged, Query()]) -> Any:
    """Those of the user in all projects, by name; without their secrets, which nobody knows."""
    path = _own(identity, "application_credentials")
    found = await lake.keystone.ask_as(identity, "GET", path, "list your application credentials")
    items = [_credential(one) for one in found["application_credentials"]]
    return paging.of_all(items, given, ("credentials", identity.user_id), lambda item: (item["name"], item["id"]))


@router.post(
    "/application-credentials",
    status_code=201,
    responses=answers(201, MadeCredential, 400, 401, 403, 409, 413, 503),
    response_model=MadeCredential,
    summary="Make an application credential",
)
async def make_credential(request: Request, new: NewCredential, identity: Anybody, lake: TheLake) -> Any:
    """What a program may log in with as this user, in the token's project: no password need lie beside it, and it can
    be taken back alone. The secret is shown this once."""
    if identity.project_id is None:
        raise forbidden("the token belongs to no project; log in again with the project that the program works in")
    unknown = sorted(set(new.roles or []) - identity.roles)
    if unknown:
        raise bad_request(
            f"body 'roles': your token has no role {', '.join(unknown)}; it has {', '.join(sorted(identity.roles))}"
        )
    wanted: dict[str, Any] = {"name": new.name, "description": new.description}
    if new.roles:
        wanted["roles"] = [{"name": role} for role in sorted(set(new.roles))]
    if new.expires_at:
        wanted["expires_at"] = new.expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    note(request.scope, target=f"application credential {new.name}")
    found = await lake.keystone.ask_as(
        identity,
        "POST",
        _own(identity, "application_credentials"),
        "make the application credential",
        json={"application_credential": wanted},
    )
    made = found["application_credential"]
    return {**_credential(made), "secret": made["secret"]}


@router.delete(
    "/application-credentials/{credential_id}",
    status_code=204,
    responses=errors(400, 401, 403, 404, 503),
    summary="Take an application credential back",
)
async def drop_credential(request: Request, credential_id: CredentialId, identity: Anybody, lake: TheLake) -> Response:
    """Nobody can log in with it any more, and the tokens that it gave are no longer valid."""
    note(request.scope, target=f"application credential {credential_id}")
    path = _own(identity, "application_credentials", quote(credential_id, safe=""))
    await lake.keystone.ask_as(identity, "DELETE", path, "take the application credential back")
    await lake.tokens.revoke("user", identity.user_id)
    return Response(status_code=204)


@router.put("/password", status_code=204, responses=errors(400, 401, 403, 413, 429, 503), summary="Change my password")
async def change_password(request: Request, given: Passwords, identity: Anybody, lake: TheLake) -> Response:
    """Of an account that Keystone keeps itself; one of a directory is changed there (403, `read_only_directory`).
    All tokens of the user are revoked. A wrong current password counts as a failed log-in."""
    who, address = _user_key(identity.user_domain or "", identity.user), client_of(request.scope)
    await lake.logins.check(who, address)
    passwords = {"original_password": _secret(given.current), "password": _secret(given.new)}
    try:
        await lake.keystone.ask_as(
            identity, "POST", _own(identity, "password"), "change your password", json={"user": passwords}, account=True
        )
    except ApiError as error:
        if error.status == 401:
            await lake.logins.failed(who, address)
            raise bad_request("body 'current': is not your password", "wrong_password") from None
        raise
    await lake.tokens.revoke("user", identity.user_id)
    return Response(status_code=204)
