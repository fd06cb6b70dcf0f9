# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""A streaming client of the Swift proxies.

Requests go round the proxies; one that can't be reached is left alone for some seconds. What can be sent again (no
body, or a body that is at hand) moves on to the next proxy after any failure of one; a body that streams from the
client can only move on while none of it has been sent.
"""

from __future__ import annotations

import itertools
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from .errors import ApiError, ServiceAway, bad_request, forbidden, unauthorized
from .observe import request_id
from .settings import Swift as SwiftSettings

log = logging.getLogger("lake_api.swift")

AVOID_SECONDS = 5.0
# Below the time after which proxies close idle connections, so that a put does not meet a closing one.
_IDLE_SECONDS = 4.0
_HEADERS = {"User-Agent": "lake-api", "Accept-Encoding": "identity"}
_AWAY = frozenset({500, 502, 503, 504})

Body = bytes | Callable[[], AsyncIterator[bytes]]
"""What is put: bytes, or a function that gives the content from its start each time it is called."""


class SwiftAway(ServiceAway):
    """No proxy did it. `uncertain`: the object may have been stored all the same."""

    def __init__(self, uncertain: bool = False, message: str | None = None) -> None:
        super().__init__("Swift", message)
        self.uncertain = uncertain


class ObjectExists(ApiError):
    """There is an object of that name, which is left as it is."""

    def __init__(self) -> None:
        super().__init__(409, "conflict", "an object of this id is there already; send the request again")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: account and, within it, container and object."""

    project_id: str
    container: str = ""
    name: str | None = None


class Swift:
    """The raw zone as the holder of a token sees it."""

    def __init__(
        self, settings: SwiftSettings, ca_file: str | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._prefix = settings.account_prefix
        self._urls = [url.rstrip("/") for url in settings.urls]
        self._turn = itertools.count()
        self._avoid: dict[str, float] = {}
        # The transport itself: what a client of httpx does besides (cookies, redirects, …) is not needed, and costs a
        # third of the time of a small request.
        self._transport = transport or httpx.AsyncHTTPTransport(
            verify=ssl.create_default_context(cafile=ca_file),
            trust_env=False,
            limits=httpx.Limits(
                max_connections=settings.connections,
                max_keepalive_connections=settings.connections,
                keepalive_expiry=_IDLE_SECONDS,
            ),
        )
        self._timeouts = httpx.Timeout(
            settings.answer_seconds, connect=settings.connect_seconds, pool=settings.answer_seconds
        ).as_dict()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def alive(self) -> bool:
        """Whether a proxy is well."""
        for url in self._order():
            try:
                answer = await self._exchange("GET", f"{url}/healthcheck", {}, None)
            except httpx.HTTPError:
                continue
            await _end(answer)
            if answer.status_code == 200:
                return True
        return False

    async def open(self, target: Target, token: str, method: str, headers: Mapping[str, str]) -> httpx.Response:
        """The answer to a GET or HEAD with its body unread; the caller closes it. Statuses of objects pass through."""
        return await self._send(method, target, token, headers, None)

    async def request(
        self,
        method: str,
        target: Target,
        token: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        query: str = "",
    ) -> httpx.Response:
        """The answer to a request with its body unread, whatever its status; the caller closes it. SwiftAway."""
        return await self._send(method, target, token, headers or {}, body, query=query)

    async def container_exists(self, target: Target, token: str) -> bool:
        """Whether the container is there. ApiError 401, 403, 503."""
        answer = await self._send("HEAD", target, token, {}, None)
        await _end(answer)
        if answer.status_code == 404:
            return False
        _check(answer, target)
        return True

    async def make_container(self, target: Target, token: str, headers: Mapping[str, str]) -> None:
        """Make the container; one that is there gets the headers. ApiError 401, 403, 503."""
        answer = await self._send("PUT", target, token, {**headers, "Content-Length": "0"}, b"")
        await _end(answer)
        _check(answer, target)

    async def put(
        self,
        target: Target,
        token: str,
        content_type: str,
        body: Body,
        *,
        size: int | None = None,
        md5: str | None = None,
        once: bool = False,
    ) -> str:
        """Put a new object; returns its etag (MD5, hex).

        `size` (bytes) and `md5` (hex) when known. `once`: the body can be read one time only.
        Raises SwiftAway, ObjectExists, ApiError (401, 403, 413, …), and whatever the body raises; then nothing is
        stored, but for a SwiftAway that says `uncertain`.
        """
        headers = {"Content-Type": content_type, "If-None-Match": "*"}
        if size is not None:
            headers["Content-Length"] = str(size)
        if md5 is not None:
            headers["ETag"] = md5
        answer = await self._send("PUT", target, token, headers, body, once=once)
        await _end(answer)
        if answer.status_code == 412:
            raise ObjectExists
        _check(answer, target)
        return str(answer.headers.get("etag", "")).strip('"')

    async def facts(self, target: Target, token: str) -> httpx.Headers | None:
        """The headers of an account, a container or an object; None where there is none such. ApiError 401, 403,
        503."""
        answer = await self._send("HEAD", target, token, {}, None)
        await _end(answer)
        if answer.status_code == 404:
            return None
        _check(answer, target)
        return answer.headers

    async def delete_container(self, target: Target, token: str) -> bool:
        """Delete an empty container; whether it was there. ApiError 401, 403, 409 where objects are in it, 503."""
        answer = await self._send("DELETE", target, token, {}, None)
        await _end(answer)
        if answer.status_code == 404:
            return False
        if answer.status_code == 409:
            raise ApiError(
                409,
                "container_not_empty",
                f"container {target.container!r} has objects; delete them first (POST …/objects/delete). "
                "Just after that Swift may need a moment to notice",
            )
        _check(answer, target)
        return True

    async def account(self, project_id: str, token: str, *, limit: int, after: str = "") -> list[dict[str, Any]]:
        """The containers of a project in the order of their names: `{name, count, bytes}` each; as Swift has counted
        them, a moment ago. ApiError 401, 403, 503."""
        query = urlencode({"format": "json", "limit": limit, "marker": after})
        answer = await self._send("GET", Target(project_id), token, {}, None, query=query)
        await _end(answer)
        if answer.status_code == 404:
            return []
        _check(answer, Target(project_id))
        found = _json(answer)
        return [each for each in found if "name" in each] if isinstance(found, list) else []

    async def change(self, target: Target, token: str, headers: Mapping[str, str]) -> bool:
        """Set what an account or a container says of itself; whether it is there. ApiError 401, 403, 503."""
        answer = await self._send("POST", target, token, {**headers, "Content-Length": "0"}, b"")
        await _end(answer)
        if answer.status_code == 404:
            return False
        _check(answer, target)
        return True

    async def _send(
        self,
        method: str,
        target: Target,
        token: str,
        headers: Mapping[str, str],
        body: Body | None,
        *,
        once: bool = False,
        query: str = "",
    ) -> httpx.Response:
        path = f"/v1/{quote(self._prefix + target.project_id, safe='')}"
        if target.container:
            path += "/" + quote(target.container, safe="")
        if target.name is not None:
            path += "/" + quote(target.name)
        if query:
            path += "?" + query
        uncertain = False
        for url in self._order():
            content = body() if callable(body) else body
            sent = {**headers, "X-Auth-Token": token, **_request()}
            if uncertain:
                sent.pop("If-None-Match", None)  # what may be there is this very content
            try:
                answer = await self._exchange(method, url + path, sent, content)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                self._avoid[url] = time.monotonic() + AVOID_SECONDS
                log.warning("Swift proxy %s can't be reached: %s", url, error)
                continue
            except httpx.PoolTimeout:
                raise SwiftAway(
                    message="the API has too many transfers under way at the moment; try again later"
                ) from None
            except httpx.TransportError as error:
                log.warning("Swift proxy %s broke off a %s: %s %s", url, method, type(error).__name__, error)
                uncertain = uncertain or body is not None
                if once:
                    break
                continue
            if answer.status_code in _AWAY:
                log.warning(
                    "Swift proxy %s answered %s with %s (%s)", url, method, answer.status_code, _transaction(answer)
                )
                uncertain = uncertain or body is not None
                await _end(answer)
                if once:
                    break
                continue
            return answer
        raise SwiftAway(uncertain)

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | AsyncIterator[bytes] | None
    ) -> httpx.Response:
        """The answer of one proxy, its body unread. Errors: httpx.TransportError, and what `content` raises."""
        request = httpx.Request(
            method, url, headers={**_HEADERS, **headers}, content=content, extensions={"timeout": self._timeouts}
        )
        answer = await self._transport.handle_async_request(request)
        answer.request = request
        return answer

    def _order(self) -> Iterator[str]:
        start = next(self._turn) % len(self._urls)
        turn = self._urls[start:] + self._urls[:start]
        now = time.monotonic()
        return iter(sorted(turn, key=lambda url: self._avoid.get(url, 0.0) > now))


def _request() -> dict[str, str]:
    """The id of the request that this is done for: Swift appends it to that of its transaction."""
    known = request_id.get()
    return {"X-Trans-Id-Extra": known[:32]} if known else {}


async def _end(answer: httpx.Response) -> None:
    """Take the rest of an answer whose body says nothing more than its status: without that its connection, and the
    next request's TLS handshake, would be lost."""
    try:
        await answer.aread()
    except httpx.HTTPError as error:
        log.info("the body of an answer of Swift did not come: %s", error)
    finally:
        await answer.aclose()


def _transaction(answer: httpx.Response) -> str:
    return str(answer.headers.get("x-trans-id", "no transaction id"))


def _json(answer: httpx.Response) -> Any:
    """The answer's body. SwiftAway where it is none that can be read."""
    try:
        return answer.json()
    except ValueError:
        log.error("Swift answered with something that is no JSON (%s)", _transaction(answer))
        raise SwiftAway from None


def _check(answer: httpx.Response, target: Target) -> None:
    """ApiError for a status that is no success."""
    status = answer.status_code
    if status < 300:
        return
    log.warning("Swift answered %s (%s)", status, _transaction(answer))
    if status == 401:
        raise unauthorized("Swift no longer takes the token; log in again with POST /api/v1/auth/token")
    if status == 403:
        raise forbidden(
            f"your role does not allow this in container {target.container!r}; ask the project's administrator"
        )
    if status == 404:
        raise ApiError(
            409,
            "container_removed",
            f"container {target.container!r} was removed from Swift meanwhile; send the request again",
        )
    if status == 413 and b"quota" in answer.content:
        raise ApiError(
            413,
            "quota_exceeded",
            f"the quota of container {target.container!r} or of the project does not let this in; delete objects, or "
            "ask an administrator for more (GET /api/v1/usage shows what is used)",
        )
    if status == 413:
        raise ApiError(413, "too_large", "the file is larger than Swift takes")
    if status in (429, 498):
        raise ApiError(
            429,
            "too_many_requests",
            "Swift takes no more requests for this at the moment; try again later",
            headers={"Retry-After": "5"},
        )
    if status == 507:
        raise ApiError(507, "insufficient_storage", "Swift has no space left; tell an administrator")
    if status == 422:
        raise bad_request("the content changed on its way to Swift; send it again", "checksum_mismatch")
    raise bad_request(f"Swift refused the request with status {status}; check the names of container and file")
