# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Who asks: tokens from Keystone.

Logging in passes a user's password on to Keystone and keeps nothing. A token that comes with a request is validated by
the API's own service user, and believed for `cache_seconds` (never past its expiry). What is given back or taken away
through the API is forgotten by all processes within `revocation_seconds` (revocations.py). A token that is revoked in
Keystone itself may still be answered here for `cache_seconds`; Swift, which gets the same token, has such a window of
its own.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import anyio
from keystoneauth1 import exceptions as keystone
from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from neocampus_lake.times import parse_time

from .errors import ApiError, ServiceAway, bad_request, forbidden, ticket_wanted, unauthorized
from .paging import moment
from .revocations import Kind, Revocations, digest
from .settings import Identity as IdentitySettings

T = TypeVar("T")

log = logging.getLogger("lake_api.identity")

_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_HOW = "get one with POST /api/v1/auth/token and send it in the header X-Auth-Token"
_BAD_TOKEN = f"the token is not valid: it is unknown, expired or revoked; {_HOW}"


@dataclass(frozen=True, slots=True)
class Identity:
    """A validated token: whose it is, for which project, with which roles."""

    token: str
    user_id: str
    user: str
    project_id: str | None
    project: str | None
    roles: frozenset[str]
    expires_at: datetime
    user_domain: str | None = None
    project_domain: str | None = None
    everywhere: bool = False
    """Whether the project is the one whose administrators administer the whole lake (Keystone's admin project)."""

    def __repr__(self) -> str:
        return f"Identity(user={self.user!r}, project={self.project!r})"


def _identity(token: str, body: dict[str, Any]) -> Identity:
    project = body.get("project") or {}
    return Identity(
        token=token,
        user_id=body["user"]["id"],
        user=body["user"]["name"],
        project_id=project.get("id"),
        project=project.get("name"),
        roles=frozenset(role["name"] for role in body.get("roles", [])),
        expires_at=moment(parse_time(body["expires_at"])),
        user_domain=(body["user"].get("domain") or {}).get("name"),
        project_domain=(project.get("domain") or {}).get("name"),
        everywhere=body.get("is_admin_project") is True,
    )


def by_password(username: str, password: str, user_domain: str) -> dict[str, Any]:
    """The proof of who someone is, as Keystone takes it."""
    user = {"name": username, "domain": {"name": user_domain}, "password": password}
    return {"methods": ["password"], "password": {"user": user}}


def by_token(token: str) -> dict[str, Any]:
    """The same from a token, for another project."""
    return {"methods": ["token"], "token": {"id": token}}


def by_application_credential(credential_id: str, secret: str) -> dict[str, Any]:
    """The same from an application credential, whose project is its own."""
    given = {"id": credential_id, "secret": secret}
    return {"methods": ["application_credential"], "application_credential": given}


def _said(error: keystone.HttpError) -> str:
    """Keystone's own message, without what the client puts behind it (status, request id)."""
    return re.sub(r" \(HTTP \d+\).*", "", " ".join(str(error.message).split()))[:500]


def _is_the_directorys(error: keystone.HttpError) -> bool:
    """Whether Keystone can't write, rather than won't: its rules name the action that they refuse; why a directory
    is not written it only tells where it is told to be insecure."""
    said = _said(error)
    return said.endswith("the requested action.") or "does not support write" in said


def _answer_to(error: keystone.HttpError, doing: str, account: bool) -> ApiError:
    """What to say when Keystone does not do what somebody asked for with a token."""
    said = _said(error)
    status = error.http_status
    if status == 401:
        return unauthorized(_BAD_TOKEN)
    if status == 403 and account and _is_the_directorys(error):
        return ApiError(
            403,
            "read_only_directory",
            f"Keystone can't {doing}: accounts of this domain are in a directory that is only read; change them there",
        )
    if status == 403:
        return forbidden(f"your roles do not allow to {doing}; ask an administrator of the project, or of the lake")
    if status == 404:
        return ApiError(404, "not_found", f"Keystone can't {doing}: there is none such; check the ids")
    if status == 409:
        return ApiError(409, "conflict", f"Keystone can't {doing}: {said}")
    if status == 429:
        return ServiceAway("Keystone", "Keystone takes no more requests now; try again later")
    return bad_request(f"Keystone can't {doing}: {said}")


class _ServiceRefused(Exception):
    """Keystone refused the API's own user."""


class Keystone:
    """The identity service, at one or more URLs; calls run in threads, a handful at a time."""

    def __init__(self, settings: IdentitySettings, ca_file: str | None) -> None:
        self._settings = settings
        self._sessions = [(url.rstrip("/"), self._session(url.rstrip("/"), ca_file)) for url in settings.urls]
        self._limiter: anyio.CapacityLimiter | None = None

    def _session(self, url: str, ca_file: str | None) -> Session:
        own = v3.Password(
            auth_url=url,
            username=self._settings.username,
            password=self._settings.password.get_secret_value(),
            user_domain_name=self._settings.user_domain,
            project_name=self._settings.project,
            project_domain_name=self._settings.project_domain,
        )
        return Session(auth=own, verify=ca_file or True, timeout=self._settings.timeout_seconds, user_agent="lake-api")

    async def log_in(
        self, proof: dict[str, Any], project: str | None, domains: Sequence[str | None], refused: str
    ) -> Identity:
        """A new token for who has the `proof`. ApiError 401, that says `refused`, or 503.

        `project` is looked for in each of `domains`; a domain of None: the token is that of the credential's own
        project, or of none.
        """
        for domain in domains:
            auth: dict[str, Any] = {"identity": proof}
            if project is not None:
                auth["scope"] = {"project": {"name": project, "domain": {"name": domain}}}
            elif "application_credential" not in proof["methods"]:
                auth["scope"] = "unscoped"

            def ask(url: str, session: Session, auth: Any = auth) -> Identity:
                answer = session.post(f"{url}/auth/tokens", json={"auth": auth}, authenticated=False, log=False)
                return _identity(answer.headers["X-Subject-Token"], answer.json()["token"])

            try:
                return await self._ask(ask)
            except keystone.HTTPClientError as error:
                if error.http_status == 429:
                    raise ServiceAway("Keystone", "Keystone takes no more log-ins now; try again later") from None
        raise unauthorized(refused)

    async def log_in_by_ticket(self, ticket: str, refused: str) -> tuple[Identity, str | None]:
        """A token of no project for who has the Kerberos `ticket` (base64), and what proves to the client that Keystone
        understood it, if that was wanted. ApiError 401, that says `refused`, or 503.

        A ticket can be shown once: tokens of projects are had from this one.
        """
        auth = {"identity": {"methods": ["kerberos"], "kerberos": {}}, "scope": "unscoped"}
        sent = {"Authorization": f"Negotiate {ticket}"}

        def ask(url: str, session: Session) -> tuple[Identity, str | None]:
            answer = session.post(
                f"{url}/auth/tokens", json={"auth": auth}, headers=sent, authenticated=False, log=False
            )
            proof = answer.headers.get("WWW-Authenticate", "")
            identity = _identity(answer.headers["X-Subject-Token"], answer.json()["token"])
            return identity, proof if proof.startswith("Negotiate ") else None

        try:
            return await self._ask(ask)
        except keystone.HTTPClientError as error:
            if error.http_status == 429:
                raise ServiceAway("Keystone", "Keystone takes no more log-ins now; try again later") from None
            raise ticket_wanted(refused) from None

    async def ask_as(
        self,
        identity: Identity,
        method: str,
        path: str,
        doing: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        account: bool = False,
    ) -> Any:
        """What Keystone answers to the holder of a token, by its own rules; {} where it says nothing.

        `doing` completes the sentence "Keystone can't …"; `account`: it is about writing an account, which may be in a
        directory. ApiError 400, 401, 403, 404, 409, 503.
        """
        sent = {"X-Auth-Token": identity.token, **(headers or {})}

        def ask(url: str, session: Session) -> Any:
            answer = session.request(
                url + path, method, json=json, params=params, headers=sent, authenticated=False, log=False
            )
            return answer.json() if answer.content else {}

        try:
            return await self._ask(ask)
        except keystone.HTTPClientError as error:
            raise _answer_to(error, doing, account) from None

    async def validate(self, token: str) -> Identity:
        """What Keystone knows of `token`. ApiError 401 when it is not valid, 503 when that can't be known."""

        def ask(url: str, session: Session) -> Identity:
            try:
                answer = session.get(f"{url}/auth/tokens", headers={"X-Subject-Token": token}, log=False)
            except (keystone.Unauthorized, keystone.Forbidden) as error:
                raise _ServiceRefused(str(error)) from None
            return _identity(token, answer.json()["token"])

        try:
            return await self._ask(ask)
        except _ServiceRefused as error:
            log.error("Keystone refuses the API's own user %r: %s", self._settings.username, error)
            raise ServiceAway("Keystone", "the API can't have tokens checked at the moment; try again later") from None
        except keystone.HTTPClientError:
            raise unauthorized(_BAD_TOKEN) from None

    async def alive(self) -> bool:
        """Whether a Keystone answers at all."""
        try:
            await self._ask(lambda url, session: session.get(url, authenticated=False, log=False))
        except ServiceAway:
            return False
        return True

    async def _ask(self, ask: Callable[[str, Session], T]) -> T:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(16)
        return await anyio.to_thread.run_sync(self._ask_any, ask, limiter=self._limiter)

    def _ask_any(self, ask: Callable[[str, Session], T]) -> T:
        for place in list(self._sessions):
            url, session = place
            try:
                return ask(url, session)
            except (keystone.ConnectionError, keystone.HttpServerError, keystone.DiscoveryFailure) as error:
                log.warning("Keystone at %s does not answer: %s", url, type(error).__name__)
                if self._sessions[0] is place and len(self._sessions) > 1:
                    self._sessions = [*self._sessions[1:], place]
            except (KeyError, ValueError, keystone.AuthorizationFailure) as error:
                log.warning("Keystone at %s gave an answer that is none: %s", url, type(error).__name__)
        raise ServiceAway("Keystone")


class Tokens:
    """Validated tokens, each asked for once at a time and believed for a short while, unless `revocations` says that
    they no longer hold."""

    def __init__(
        self,
        keystone_: Keystone,
        settings: IdentitySettings,
        revocations: Revocations | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keystone, self._settings, self._clock = keystone_, settings, clock
        self._revocations = revocations
        self._known: OrderedDict[str, tuple[Identity, float]] = OrderedDict()
        self._asking: dict[str, asyncio.Future[Identity]] = {}
        self._forgotten = 0

    async def identity(self, token: str | None) -> Identity:
        """The identity behind `token`. ApiError 401 or 503."""
        if not token:
            raise unauthorized(f"the request has no token; {_HOW}")
        if not _TOKEN.fullmatch(token):
            raise unauthorized(_BAD_TOKEN)
        key = digest(token)
        if key in self._known and await self._current():
            found = self._known.get(key)
            if found and found[1] > self._clock():
                self._known.move_to_end(key)
                return self._unexpired(key, found[0])
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.ensure_future(self._keystone.validate(token))
            forgotten = self._forgotten
            asking.add_done_callback(lambda done: self._answered(key, done, forgotten))
        return self._unexpired(key, await asyncio.shield(asking))

    def remember(self, identity: Identity) -> None:
        """Believe a token that Keystone has just given."""
        self._keep(digest(identity.token), identity)

    def forget(self, token: str) -> None:
        """Ask Keystone again next time: something else in the lake refused the token."""
        self._known.pop(digest(token), None)

    async def revoke(self, kind: Kind, what: str) -> None:
        """Have all processes forget a token (its digest), or what is kept of a user or project (its id), or all."""
        self._forget_noted({"kind": kind, "what": what})
        if self._revocations:
            await self._revocations.add(kind, what)

    async def _current(self) -> bool:
        return self._revocations is None or await self._revocations.current(self._forget_noted)

    def _forget_noted(self, note: Mapping[str, Any]) -> None:
        kind, what = note["kind"], note["what"]
        self._forgotten += 1
        if kind == "token":
            self._known.pop(what, None)
            return
        for key, (identity, _until) in list(self._known.items()):
            if kind == "all" or what == (identity.user_id if kind == "user" else identity.project_id):
                del self._known[key]

    def _answered(self, key: str, done: asyncio.Future[Identity], forgotten: int) -> None:
        self._asking.pop(key, None)
        # What Keystone said before something was taken away may no longer be so.
        if not done.cancelled() and done.exception() is None and forgotten == self._forgotten:
            self._keep(key, done.result())

    def _keep(self, key: str, identity: Identity) -> None:
        if self._settings.cache_seconds <= 0:
            return
        self._known[key] = (identity, self._clock() + self._settings.cache_seconds)
        self._known.move_to_end(key)
        while len(self._known) > self._settings.cache_tokens:
            self._known.popitem(last=False)

    def _unexpired(self, key: str, identity: Identity) -> Identity:
        if identity.expires_at <= datetime.now(UTC):
            self._known.pop(key, None)
            raise unauthorized(_BAD_TOKEN)
        return identity


def require(identity: Identity, roles: list[str], doing: str) -> None:
    """ApiError 403 unless the token is of a project and has one of `roles`."""
    if identity.project_id is None:
        raise forbidden("the token belongs to no project; log in again with a project")
    if not identity.roles.intersection(roles):
        raise forbidden(
            f"your role in project {identity.project!r} does not allow {doing}; "
            f"ask its administrator for one of the roles {', '.join(roles)}"
        )
