# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Swift with large objects: segments that are cut off, manifests, listings, removals."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, unquote

import anyio
import httpx


class LargeSwift:
    """Proxies that share containers and objects in memory, as strict on manifests as Swift is."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, str]] = {}
        self.objects: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.tokens: dict[str, str] = {}
        """The token of the last request for each path."""
        self.failures: list[Any] = []
        """What the next puts of segments do: an exception or status after so many bytes as the second of the pair."""
        self.lost_answers = 0
        """Manifests that are stored though their answer is lost."""
        self.most_entries = 1000
        self.gate: Any = None

    async def __call__(self, request: Any) -> Any:
        path, _, query = request.url.raw_path.decode().partition("?")
        path, asked = unquote(path), {key: value[0] for key, value in parse_qs(query, keep_blank_values=True).items()}
        self.requests.append((request.method, path, query))
        self.tokens[path] = request.headers.get("x-auth-token", "")
        if path == "/healthcheck":
            return httpx.Response(200)
        is_object = len(path.split("/", 4)) == 5
        method = getattr(self, f"_{request.method.lower()}_{'object' if is_object else 'container'}")
        return await method(request, path, asked)

    async def _put_container(self, request: Any, path: str, asked: dict[str, str]) -> Any:
        self.containers[path] = dict(request.headers)
        return httpx.Response(201)

    async def _head_container(self, request: Any, path: str, asked: dict[str, str]) -> Any:
        return httpx.Response(204 if path in self.containers else 404)

    async def _get_container(self, request: Any, path: str, asked: dict[str, str]) -> Any:
        if path not in self.containers:
            return httpx.Response(404)
        names = sorted(key[len(path) + 1 :] for key in self.objects if key.startswith(path + "/"))
        found = [n for n in names if n.startswith(asked["prefix"]) and n > asked["marker"]]
        return httpx.Response(200, json=[{"name": name} for name in found[:10]])

    async def _put_object(self, request: Any, path: str, asked: dict[str, str]) -> Any:
        body = b""
        failure, after = self.failures.pop(0) if self.failures and "manifest" not in asked else (None, 0)
        async for chunk in request.stream:
            body += chunk
            if failure is not None and len(body) > after:
                break
        if self.gate:
            await self.gate.wait()
        await anyio.sleep(0)
        if isinstance(failure, Exception):
            raise failure
        if failure is not None:
            return httpx.Response(failure)
        if path.rpartition("/")[0] not in self.containers and "/.segments-" not in path:
            return httpx.Response(404)
        container = "/".join(path.split("/")[:4])
        if container not in self.containers:
            return httpx.Response(404)
        if "multipart-manifest" in asked:
            return self._manifest(request, path, body)
        if request.headers.get("if-none-match") == "*" and path in self.objects:
            return httpx.Response(412)
        md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
        self.objects[path] = {"body": body, "type": request.headers["content-type"], "etag": md5}
        return httpx.Response(201, headers={"etag": f'"{md5}"'})

    def _manifest(self, request: Any, path: str, body: bytes) -> Any:
        def said(status: str) -> Any:
            return httpx.Response(202, content=b" \r\n\r\n" + json.dumps({"Response Status": status}).encode())

        account = "/".join(path.split("/")[:3])
        entries = json.loads(body)
        if request.headers.get("if-none-match") == "*" and path in self.objects:
            return said("412 Precondition Failed")
        if not 0 < len(entries) <= self.most_entries:
            return httpx.Response(413)
        for entry in entries:
            stored = self.objects.get(account + entry["path"])
            if not stored or stored["etag"] != entry["etag"] or len(self.content(stored)) != entry["size_bytes"]:
                return said("400 Bad Request")
        etag = hashlib.md5("".join(e["etag"] for e in entries).encode(), usedforsecurity=False).hexdigest()
        if request.headers["etag"] != etag:
            return said("422 Unprocessable Entity")
        parts = [account + entry["path"] for entry in entries]
        self.objects[path] = {"parts": parts, "etag": etag, "type": request.headers["content-type"]}
        if self.lost_answers:
            self.lost_answers -= 1
            raise httpx.ReadError("gone")
        return said("201 Created")

    def content(self, stored: dict[str, Any]) -> bytes:
        if "parts" in stored:
            return b"".join(self.content(self.objects[part]) for part in stored["parts"])
        return bytes(stored["body"])

    async def _get_object(self, request: Any, path: str, asked: dict[str, str]) -> Any:
        stored = self.objects.get(path)
        if stored is None:
            return httpx.Response(404)
        return httpx.Response(200, stream=httpx.ByteStream(self.content(stored)), headers=self._headers(stored))

    async def _head_object(self, request: Any, path: str, asked: dict[str, str]) -> Any:
        stored = self.objects.get(path)
        return httpx.Response(404) if stored is None else httpx.Response(200, headers=self._headers(stored))

    @staticmethod
    def _headers(stored: dict[str, Any]) -> dict[str, str]:
        large = {"x-static-large-object": "True"} if "parts" in stored else {}
        return {"etag": f'"{stored["etag"]}"', "content-type": stored["type"], **large}

    async def _delete_object(self, request: Any, path: str, asked: dict[str, str]) -> Any:
        stored = self.objects.pop(path, None)
        if asked.get("multipart-manifest") == "delete":
            for part in (stored or {}).get("parts", []):
                self.objects.pop(part, None)
            return httpx.Response(200, json={"Response Status": "200 OK"})
        return httpx.Response(204 if stored else 404)
