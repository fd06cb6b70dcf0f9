# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of the lake's REST API; standard library only, so that it runs wherever Ansible's modules do."""

from __future__ import annotations

import http.client
import io
import json
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from .errors import AccessDenied, Conflict, InvalidInput, LakeError, NotFound, StoreError

API_PATH = "/api/v1"
BLOCK = 256 * 1024
TRIES = 4  # of a GET: reading again does no harm
_LOCAL = ("localhost", "127.0.0.1", "::1")


class LakeClient:
    """One user's connection to the API. `url` may end with /api/v1 or not; `ca_file` verifies the server (None: the CAs
    of the system). `timeout` in seconds, of each answer.

    Errors of every method, with the API's message: AccessDenied, NotFound, Conflict, InvalidInput, StoreError.
    """

    def __init__(
        self, url: str, *, ca_file: str | None = None, token: str | None = None, timeout: float = 60.0
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
            raise InvalidInput(f"{url!r}: the API's address begins with https://")
        self.url = url.rstrip("/")
        if not self.url.endswith(API_PATH):
            self.url += API_PATH
        self.token = token
        self._timeout = timeout
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise InvalidInput(f"the CA file {ca_file!r} cannot be read: {error}") from error
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))

    def log_in(self, username: str, password: str, project: str, domain: str | None = None) -> dict[str, Any]:
        """Gets a token and keeps it; returns the API's answer (`token`, `expires_at`, …). `domain` is the user's."""
        body = {"username": username, "password": password, "project": project}
        if domain:
            body["domain"] = domain
        answer = self._json("POST", "/auth/token", body, repeat=True)
        self.token = str(answer["token"])
        return dict(answer)

    def insert(
        self,
        container: str,
        path: str | os.PathLike[str] | bytes,
        metadata: Mapping[str, Any] | None = None,
        content_type: str | None = None,
        *,
        name: str | None = None,
    ) -> dict[str, Any]:
        """Inserts a file (`path`), which is streamed, or bytes; returns the metadata document.

        `name` is the original name (default: the file's; needed with bytes). Not tried again when the answer is lost:
        the object may be in.
        """
        if isinstance(path, bytes):
            content: BinaryIO = io.BytesIO(path)
            size = len(path)
        else:
            try:
                content = open(path, "rb")
                size = os.fstat(content.fileno()).st_size
            except OSError as error:
                raise InvalidInput(f"{os.fspath(path)!r} cannot be read: {error.strerror}") from error
            name = name or os.path.basename(os.fspath(path))
        if not name:
            raise InvalidInput("bytes need a name to be inserted under")
        with content:
            body = Multipart(content, size, name, metadata, content_type)
            headers = {"Content-Type": body.content_type, "Content-Length": str(body.length)}
            return dict(self._json("POST", _path(container, "objects"), body, headers))

    def get(self, container: str, object_id: str) -> dict[str, Any]:
        """The metadata document of an object."""
        return dict(self._json("GET", _path(container, "objects", object_id)))

    def list(
        self,
        container: str,
        *,
        content_type: str | None = None,
        start: str | None = None,
        end: str | None = None,
        page: int = 500,
    ) -> Iterator[dict[str, Any]]:
        """The documents of a container, page by page behind the scenes; `start` <= creation_date < `end` (ISO 8601)."""
        query = {"content_type": content_type, "from": start, "to": end, "limit": page}
        return self._items(_path(container, "objects"), query)

    def data(self, container: str, object_id: str) -> http.client.HTTPResponse:
        """The object's bytes, as a stream that the caller closes."""
        return self._open("GET", _path(container, "objects", object_id, "data"))

    def measurements(self, container: str) -> Sequence[str]:
        """The measurements of a container's time series."""
        return tuple(self._items(_path(container, "timeseries", "measurements"), {}))

    def topics(self, container: str, measurement: str) -> Sequence[str]:
        """The topics that a measurement has points of."""
        return tuple(self._items(_path(container, "timeseries", "topics"), {"measurement": measurement}))

    def points(
        self,
        container: str,
        measurement: str,
        topic: str | None = None,
        *,
        start: str | None = None,
        end: str | None = None,
        page: int = 1000,
    ) -> Iterator[dict[str, Any]]:
        """Points in the order of time: `{time, value, **tags}`; `start` <= time < `end` (ISO 8601)."""
        query = {"measurement": measurement, "topic": topic, "from": start, "to": end, "limit": page}
        return self._items(_path(container, "timeseries", "points"), query)

    def wait_processed(
        self, container: str, object_id: str, timeout: float = 120.0, interval: float = 0.5
    ) -> dict[str, Any]:
        """The document of an object once an operation, good or bad, is logged on it.

        Errors: StoreError after `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while True:
            document = self.get(container, object_id)
            if document.get("successful_operations") or document.get("failed_operations"):
                return document
            if time.monotonic() >= end:
                raise StoreError(
                    f"object {object_id} of {container!r} is stored, but was not processed within {timeout:g} s",
                    document=document,
                )
            time.sleep(interval)

    def _items(self, path: str, query: Mapping[str, Any]) -> Iterator[Any]:
        given = {key: value for key, value in query.items() if value is not None}
        while True:
            page = self._json("GET", path + ("?" + urllib.parse.urlencode(given) if given else ""))
            yield from page["items"]
            if not page.get("next"):
                return
            given["cursor"] = page["next"]

    def _json(
        self,
        verb: str,
        path: str,
        body: Multipart | dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        repeat: bool = False,
    ) -> Any:
        with self._open(verb, path, body, headers, repeat=repeat) as answer:
            try:
                return json.loads(answer.read())
            except (ValueError, OSError, http.client.HTTPException) as error:
                raise StoreError(f"{verb} {path}: the API did not answer in JSON: {error}") from error

    def _open(
        self,
        verb: str,
        path: str,
        body: Multipart | dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        repeat: bool = False,
    ) -> http.client.HTTPResponse:
        sent = {"Accept": "application/json", **(headers or {})}
        data: Any = body
        if isinstance(body, dict):
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        if self.token:
            sent["X-Auth-Token"] = self.token
        tries = TRIES if repeat or verb == "GET" else 1
        for attempt in range(1, tries + 1):
            request = urllib.request.Request(self.url + path, data=data, method=verb, headers=sent)  # noqa: S310
            try:
                return self._opener.open(request, timeout=self._timeout)  # type: ignore[no-any-return]
            except urllib.error.HTTPError as error:
                failure = _error_of(verb, path, error)
            except (OSError, http.client.HTTPException) as error:
                failure = StoreError(f"{verb} {self.url + path}: no answer: {getattr(error, 'reason', error)}")
            if attempt == tries or not (isinstance(failure, StoreError) and failure.retriable):
                raise failure
            time.sleep(0.3 * 2**attempt)
        raise AssertionError  # not reached


class Multipart:
    """A multipart/form-data body of one file and its metadata, read block by block; `length` in bytes."""

    def __init__(
        self,
        content: BinaryIO,
        size: int,
        name: str,
        metadata: Mapping[str, Any] | None,
        content_type: str | None,
    ) -> None:
        mark = uuid.uuid4().hex
        # Always there, and first: a file that comes after its metadata can be streamed through the API.
        head = (
            f'--{mark}\r\nContent-Disposition: form-data; name="metadata"\r\nContent-Type: application/json\r\n\r\n'
            f"{json.dumps(metadata or {})}\r\n"
        )
        for character, escaped in (('"', "%22"), ("\r", "%0D"), ("\n", "%0A")):  # as browsers do
            name = name.replace(character, escaped)
        head += f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        if content_type:
            if any(character in content_type for character in "\r\n"):
                raise InvalidInput("content_type: line ends are not allowed in it")
            head += f"Content-Type: {content_type}\r\n"
        first, last = (head + "\r\n").encode(errors="surrogateescape"), f"\r\n--{mark}--\r\n".encode()
        self.content_type = f"multipart/form-data; boundary={mark}"
        self.length = len(first) + size + len(last)
        self._parts: list[BinaryIO] = [io.BytesIO(first), content, io.BytesIO(last)]

    def read(self, size: int = BLOCK) -> bytes:
        while self._parts:
            data = self._parts[0].read(size if size and size > 0 else BLOCK)
            if data:
                return data
            self._parts.pop(0)
        return b""


def _path(*parts: str) -> str:
    container, *rest = parts
    return "/containers/" + "/".join(urllib.parse.quote(str(part), safe="") for part in (container, *rest))


def _error_of(verb: str, path: str, error: urllib.error.HTTPError) -> LakeError:
    with error:
        try:
            text = error.read(64 * 1024)
        except (OSError, http.client.HTTPException):
            text = b""
    code, detail = None, None
    try:
        said = json.loads(text)["error"]
        message, code, detail = str(said["message"]), said.get("code"), said.get("detail")
    except (ValueError, KeyError, TypeError, AttributeError):
        message = text[:200].decode(errors="replace").strip() or str(error.reason)
    context = {"status": error.code, "code": code, "detail": detail}
    message = f"{verb} {path}: {error.code}: {message}"
    if error.code in (401, 403):
        return AccessDenied(message, **context)
    if error.code == 404:
        return NotFound(message, **context)
    if error.code == 409:
        return Conflict(message, **context)
    if error.code >= 500 or error.code == 429:
        return StoreError(message, retriable=True, **context)
    return InvalidInput(message, **context)
