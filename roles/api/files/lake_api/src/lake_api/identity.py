# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Who asks: tokens from Keystone.

Logging in passes a user's password on to Keystone and keeps nothing. A token that comes with a request is validated by
the API's own service user, and believed for `cache_seconds` (never past its expiry). So a token revoked in Keystone
may still be answered here for that long; Swift, which gets the same token, has such a window of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import anyio
from keystoneauth1 import exceptions as keystone
from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from neocampus_lake.times import parse_time

from .errors import ServiceAway, forbidden, unauthorized
from .paging import moment
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
    )


def _credentials(username: str, password: str, user_domain: str, project: str, project_domain: str) -> dict[str, Any]:
    return {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": username, "domain": {"name": user_domain}, "password": password}},
            },
            "scope": {"project": {"name": project, "domain": {"name": project_domain}}},
        }
    }


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
        self, username: str, password: str, project: str, *, domain: str | None = None, user_domain: str | None = None
    ) -> tuple[Identity, dict[str, Any]]:
        """A new token for the user in the project, and what Keystone says of it. ApiError 401 or 503.

        Without `user_domain` the user is of `domain`, and the project of `domain` or, when it is not there, of people's
        domain: so an account of another domain needs but one name to work in a project of people.
        """
        people = self._settings.people_domain
        found_user = user_domain or domain or people
        projects = [domain or people] + ([people] if domain not in (None, people) and not user_domain else [])
        for project_domain in projects:
            credentials = _credentials(username, password, found_user, project, project_domain)

            def ask(url: str, session: Session, credentials: Any = credentials) -> tuple[Identity, dict[str, Any]]:
                answer = session.post(f"{url}/auth/tokens", json=credentials, authenticated=False, log=False)
                body = answer.json()["token"]
                return _identity(answer.headers["X-Subject-Token"], body), body

            try:
                return await self._ask(ask)
            except keystone.HTTPClientError as error:
                if error.http_status == 429:
                    raise ServiceAway("Keystone", "Keystone takes no more log-ins now; try again later") from None
        domains = " or ".join(map(repr, projects))
        raise unauthorized(
            f"Keystone refused to log {username!r} in to project {project!r} (user of domain {found_user!r}, "
            f"project of domain {domains}): check user name, password, project and domain, "
            "and that the user has a role there"
        )

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
    """Validated tokens, each asked for once at a time and believed for a short while."""

    def __init__(
        self, keystone_: Keystone, settings: IdentitySettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keystone, self._settings, self._clock = keystone_, settings, clock
        self._known: OrderedDict[bytes, tuple[Identity, float]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Future[Identity]] = {}

    async def identity(self, token: str | None) -> Identity:
        """The identity behind `token`. ApiError 401 or 503."""
        if not token:
            raise unauthorized(f"the request has no token; {_HOW}")
        if not _TOKEN.fullmatch(token):
            raise unauthorized(_BAD_TOKEN)
        key = hashlib.sha256(token.encode()).digest()
        found = self._known.get(key)
        if found and found[1] > self._clock():
            self._known.move_to_end(key)
            return self._unexpired(key, found[0])
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.ensure_future(self._keystone.validate(token))
            asking.add_done_callback(lambda done: self._answered(key, done))
        return self._unexpired(key, await asyncio.shield(asking))

    def remember(self, identity: Identity) -> None:
        """Believe a token that Keystone has just given."""
        self._keep(hashlib.sha256(identity.token.encode()).digest(), identity)

    def forget(self, token: str) -> None:
        """Ask Keystone again next time: something else in the lake refused the token."""
        self._known.pop(hashlib.sha256(token.encode()).digest(), None)

    def _answered(self, key: bytes, done: asyncio.Future[Identity]) -> None:
        self._asking.pop(key, None)
        if not done.cancelled() and done.exception() is None:
            self._keep(key, done.result())

    def _keep(self, key: bytes, identity: Identity) -> None:
        if self._settings.cache_seconds <= 0:
            return
        self._known[key] = (identity, self._clock() + self._settings.cache_seconds)
        self._known.move_to_end(key)
        while len(self._known) > self._settings.cache_tokens:
            self._known.popitem(last=False)

    def _unexpired(self, key: bytes, identity: Identity) -> Identity:
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
