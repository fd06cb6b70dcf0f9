# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Segments of large objects in Swift, and the manifests (Static Large Objects) that make one object of them.

The segments of container C are in `.segments-C`, which has no webhook and which no route of the API shows, since no
container of the lake begins with a dot. The API's own account may read and write there, and nowhere else: it removes
what was abandoned, long after the token of who began it has ended.

A manifest has 1,000 entries at most. Of more segments than that, manifests that stand beside them hold 1,000 each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import anyio
import httpx
from neocampus_lake.errors import present

from .errors import ApiError
from .identity import Identity
from .swift import ObjectExists, Swift, SwiftAway, Target

PREFIX = ".segments-"
ENTRIES = 1000
_DELETES = 8
_TYPE = "application/octet-stream"

Part = Mapping[str, Any]
"""{n: name, s: bytes, e: MD5 in hex}"""


def target(project_id: str, container: str, name: str | None = None) -> Target:
    """Where a segment of a container is."""
    return Target(project_id, PREFIX + container, name)


def slo_etag(parts: Iterable[Part]) -> str:
    """The etag that Swift gives the manifest of these."""
    return hashlib.md5("".join(part["e"] for part in parts).encode(), usedforsecurity=False).hexdigest()


class Segments:
    """Segments and manifests."""

    def __init__(self, swift: Swift) -> None:
        self._swift = swift

    async def prepare(self, identity: Identity, container: str, service: Identity) -> None:
        """Make the container of a container's segments, open to the API's own account. ApiError."""
        who = f"{service.project_id}:{service.user_id}"
        headers = {"X-Container-Read": who, "X-Container-Write": who}
        await self._swift.make_container(target(present(identity.project_id), container), identity.token, headers)

    async def put(self, place: Target, token: str, body: AsyncIterator[bytes]) -> str:
        """Put a segment that streams; its etag. Errors as those of Swift.put."""
        return await self._swift.put(place, token, _TYPE, lambda: body, once=True)

    async def join(
        self, where: Target, token: str, content_type: str, parts: Sequence[Part], segments: Target, mark: str
    ) -> str:
        """Put the manifest that makes an object at `where` of parts, which are in the container `segments`; its etag.

        `mark` begins the names of manifests that are needed between. ObjectExists, SwiftAway, ApiError.
        """
        entries = list(parts)
        level = 0
        while len(entries) > ENTRIES:
            level += 1
            groups = [entries[start : start + ENTRIES] for start in range(0, len(entries), ENTRIES)]
            entries = []
            for number, group in enumerate(groups):
                name = f"{mark}manifest-{level}-{number:06}"
                place = Target(segments.project_id, segments.container, name)
                etag = await self._manifest(place, token, _TYPE, group, segments.container, {})
                entries.append({"n": name, "s": sum(entry["s"] for entry in group), "e": etag})
        return await self._manifest(where, token, content_type, entries, segments.container, {"If-None-Match": "*"})

    async def _manifest(
        self,
        place: Target,
        token: str,
        content_type: str,
        parts: Sequence[Part],
        container: str,
        headers: dict[str, str],
    ) -> str:
        body = json.dumps(
            [{"path": f"/{container}/{part['n']}", "size_bytes": part["s"], "etag": part["e"]} for part in parts]
        ).encode()
        expected = slo_etag(parts)
        answer = await self._swift.request(
            "PUT",
            place,
            token,
            headers={"Content-Type": content_type, "ETag": expected, "Accept": "application/json", **headers},
            body=body,
            # Swift looks at each segment first: with a heartbeat it answers at once, and says at the end how it went.
            query="multipart-manifest=put&heartbeat=on",
        )
        said = await _heartbeat(answer)
        if said[0] == 412:
            if await self.etag(place, token) == expected:  # put by an attempt whose answer was lost
                return expected
            raise ObjectExists
        if said[0] >= 300:
            raise _refused(said)
        return expected

    async def etag(self, place: Target, token: str) -> str:
        """The etag of an object; empty where there is none."""
        answer = await self._swift.open(place, token, "HEAD", {})
        await answer.aclose()
        return str(answer.headers.get("etag", "")).strip('"')

    async def is_large(self, place: Target, token: str) -> bool:
        """Whether an object is made of segments."""
        answer = await self._swift.open(place, token, "HEAD", {})
        await answer.aclose()
        if answer.status_code not in (200, 404):
            raise _refused((answer.status_code, ""))
        return str(answer.headers.get("x-static-large-object", "")).lower() == "true"

    async def read(self, places: Iterable[Target], token: str) -> AsyncGenerator[bytes, None]:
        """The content of segments, one after the other. SwiftAway where one does not come whole."""
        for place in places:
            answer = await self._swift.open(place, token, "GET", {})
            try:
                if answer.status_code != 200:
                    raise _refused((answer.status_code, ""))
                async for chunk in answer.aiter_raw():
                    yield chunk
            except httpx.HTTPError:
                raise SwiftAway() from None
            finally:
                with anyio.CancelScope(shield=True):
                    await answer.aclose()

    async def names(self, place: Target, token: str, prefix: str) -> AsyncIterator[str]:
        """Names of the segments that begin so; none where there is no such container."""
        marker = ""
        while True:
            query = urlencode({"format": "json", "prefix": prefix, "marker": marker})
            answer = await self._swift.request("GET", place, token, query=query)
            try:
                body = await answer.aread()
            except httpx.HTTPError:
                raise SwiftAway() from None
            finally:
                await answer.aclose()
            if answer.status_code == 404 or answer.status_code == 204:
                return
            if answer.status_code != 200:
                raise _refused((answer.status_code, ""))
            listed = [str(item["name"]) for item in json.loads(body)]
            for name in listed:
                yield name
            if not listed:
                return
            marker = listed[-1]

    async def remove(self, places: Iterable[Target], token: str) -> None:
        """Remove objects; one that is not there is no error. ApiError for the first that can't be."""
        waiting = iter(places)
        failed: list[Exception] = []

        async def work() -> None:
            for place in waiting:
                if failed:
                    return
                try:
                    await self.remove_one(place, token)
                except ApiError as error:
                    failed.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(_DELETES):
                group.start_soon(work)
        if failed:
            raise failed[0]

    async def remove_foreign(self, place: Target, token: str) -> None:
        """Remove a large object that another client made, with its segments, as Swift does it."""
        answer = await self._swift.request(
            "DELETE", place, token, headers={"Accept": "application/json"}, query="multipart-manifest=delete"
        )
        said = await _heartbeat(answer)
        if said[0] >= 300 and said[0] != 404:
            raise _refused(said)

    async def remove_one(self, place: Target, token: str) -> None:
        """Remove one object; one that is not there is no error. ApiError, SwiftAway."""
        answer = await self._swift.request("DELETE", place, token)
        try:
            await answer.aread()
        except httpx.HTTPError:
            raise SwiftAway(uncertain=True) from None
        finally:
            await answer.aclose()
        if answer.status_code not in (204, 404):
            raise _refused((answer.status_code, ""))


async def _heartbeat(answer: httpx.Response) -> tuple[int, str]:
    """How it went: from the status, or, where Swift answered before it was done, from the body."""
    try:
        body = await answer.aread()
    except httpx.HTTPError:
        raise SwiftAway(uncertain=True) from None
    finally:
        await answer.aclose()
    if answer.status_code not in (200, 202):
        return answer.status_code, body[:500].decode(errors="replace")
    try:
        said = json.loads(body)
        return int(str(said["Response Status"])[:3]), f"{said.get('Response Body', '')} {said.get('Errors', '')}"[:500]
    except (ValueError, KeyError, TypeError):
        raise SwiftAway(uncertain=True) from None


def _refused(said: tuple[int, str]) -> ApiError:
    status, text = said
    if status == 401:
        return ApiError(
            401,
            "unauthorized",
            "Swift no longer takes the token; log in again with POST /api/v1/auth/token",
            headers={"WWW-Authenticate": "Keystone"},
        )
    if status == 403:
        return ApiError(403, "forbidden", "your role does not allow this in Swift; ask the project's administrator")
    if status == 404:
        return ApiError(409, "container_removed", "the container was removed from Swift meanwhile; begin anew")
    if status == 413:
        return ApiError(413, "too_large", "the file is over the quota of the container or project")
    if status >= 500 and status != 507:
        return SwiftAway(uncertain=True)
    if status == 507:
        return ApiError(507, "insufficient_storage", "Swift has no space left; tell an administrator")
    return ApiError(502, "swift_refused", f"Swift refused to make one object of the parts ({status}: {text.strip()})")
