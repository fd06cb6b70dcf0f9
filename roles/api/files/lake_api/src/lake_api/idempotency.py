# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Insertions that may be sent again: the header Idempotency-Key (draft-ietf-httpapi-idempotency-key-header).

A key is one of a user in a project, for a day. What became of the first request with it is kept in MongoDB, and given
again; which request that was is known by what its form has, part by part. While one is under way it holds a lease,
which it renews; one that died leaves a lease that ends. Who comes then looks for what the first one made: each document
carries the key under which it was inserted. So there is never a second object, also where the API dies in between.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import uuid
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio
import pymongo
from neocampus_lake.documents import to_json, utc
from neocampus_lake.errors import LakeError
from neocampus_lake.search import shown
from neocampus_lake.states import PENDING, STORED
from pymongo.errors import DuplicateKeyError, PyMongoError

from . import forms
from .errors import ApiError, bad_request
from .identity import Identity
from .stores import Stores, blocking
from .swift import Swift, Target

log = logging.getLogger("lake_api.idempotency")

DATABASE, COLLECTION = "upload", "idempotency_keys"
KEPT = timedelta(hours=24)
LEASE = timedelta(seconds=60)
_RENEWED = 15.0  # seconds
_LARGEST = 8 * 1024 * 1024
_KEY = re.compile(r'"([\x20-\x21\x23-\x5b\x5d-\x7e]{1,255})"|([!#-+\--\[\]-~]{1,255})')

Answer = tuple[int, Any]
"""Status and body (JSON)."""


@dataclass(frozen=True)
class FormFile:
    """A file of a form that was read through."""

    name: str | None
    size: int
    md5: str


class Form(forms.FormReader):
    """A form that knows, when it has been read, what was in it."""

    def __init__(self, stream: AsyncIterator[bytes], boundary: bytes) -> None:
        super().__init__(stream, boundary)
        self._digest = hashlib.sha256()
        self._size = 0

    async def part(self) -> forms.Part | None:
        async for _ in self.chunks():  # what is left of the part before
            pass
        found = await super().part()
        head = [self._size] + ([found.name, found.filename, found.content_type] if found else [])
        self._digest.update(json.dumps(head).encode())
        self._size = 0
        return found

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in super().chunks():
            self._digest.update(chunk)
            self._size += len(chunk)
            yield chunk

    def fingerprint(self) -> str:
        """Stands for what was read."""
        return self._digest.hexdigest()

    async def files(self) -> list[FormFile]:
        """Reads the form through: its files."""
        found = []
        while part := await self.part():
            md5, size = hashlib.md5(usedforsecurity=False), 0
            async for chunk in self.chunks():
                md5.update(chunk)
                size += len(chunk)
            if part.name == "file":
                found.append(FormFile(part.filename, size, md5.hexdigest()))
        return found


def key_of(header: str | None) -> str | None:
    """The key in a header; None without one. ApiError 400."""
    if header is None:
        return None
    found = _KEY.fullmatch(header.strip())
    if found is None:
        raise bad_request(
            "header 'Idempotency-Key': is no key; send 1 to 255 characters of ASCII that are new for each insertion, "
            'e.g. a UUID, in quotes: Idempotency-Key: "8e03978e-40d5-43e8-bc93-6894a57f9324"'
        )
    return found[1] or found[2]


class Keys:
    """Requests with a key."""

    def __init__(self, stores: Stores, swift: Swift) -> None:
        self._stores, self._swift = stores, swift
        self._keys = stores.client[DATABASE].get_collection(
            COLLECTION, write_concern=pymongo.WriteConcern(w="majority", wtimeout=30_000)
        )

    async def once(
        self,
        identity: Identity,
        container: str,
        kind: str,
        key: str,
        form: Form,
        do: Callable[[str], Awaitable[Answer]],
    ) -> Answer:
        """What `do` answers, which is called with what documents carry, or what it answered before.

        `kind` says what is done, `many` where the answer is one of many. ApiError 409 while the first is under way, 422
        for another request under the key, and what `do` raises: then the key is free, if nothing was stored.
        """
        parts = (identity.project_id or "", identity.user_id, key)
        name = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        request = f"{kind} {container}"
        owner = uuid.uuid4().hex
        record = await blocking(self._claim, name, request, owner)
        if record["request"] != request:
            raise _other_request()
        if "answer" in record:
            await form.files()
            if record["fingerprint"] != form.fingerprint():
                raise _other_request()
            return _unpacked(record["answer"])
        renewing = asyncio.create_task(self._renew(name, owner))
        try:
            known = await self._known(identity, container, name) if record.get("left") else []
            answer = await (_found(known, form, kind) if known else do(name))
            if kind == "many" and answer[1]["error"]:  # the form was not read to its end: it can't be known again
                await self._let_go(identity, container, name, owner)
            else:
                await blocking(self._finish, name, owner, form.fingerprint(), answer)
            return answer
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._let_go(identity, container, name, owner)
            raise
        finally:
            renewing.cancel()

    def _claim(self, name: str, request: str, owner: str) -> dict[str, Any]:
        """Take a key, or give what is known of it."""
        while True:
            now = utc()
            mine = {"request": request, "owner": owner, "lease": now + LEASE, "expires": now + KEPT}
            try:
                self._keys.insert_one({"_id": name, **mine})
                return mine
            except DuplicateKeyError:
                record = self._keys.find_one({"_id": name})
            if record is None:
                continue
            if record["expires"] <= now:
                self._keys.delete_one({"_id": name, "owner": record["owner"]})
                continue
            if "answer" in record or record["request"] != request:
                return record
            if record["lease"] > now:
                raise _under_way(record["lease"] - now)
            seen = {"_id": name, "owner": record["owner"], "lease": record["lease"]}
            if self._keys.update_one(seen, {"$set": mine}).matched_count:
                return {**mine, "left": True}

    async def _renew(self, name: str, owner: str) -> None:
        while True:
            await asyncio.sleep(_RENEWED)
            try:
                lease = {"$set": {"lease": utc() + LEASE}}
                await blocking(self._keys.update_one, {"_id": name, "owner": owner}, lease)
            except PyMongoError as error:
                log.warning("the lease of an idempotency key was not renewed: %s", error)

    def _finish(self, name: str, owner: str, fingerprint: str, answer: Answer) -> None:
        """Keep the answer. Where that can't be done, the next request finds what was stored."""
        packed = _packed(answer)
        update: dict[str, Any] = {"fingerprint": fingerprint, "answer": packed}
        if len(packed) > _LARGEST:
            update = {"lease": utc()}
        try:
            self._keys.update_one({"_id": name, "owner": owner}, {"$set": update})
        except PyMongoError as error:
            log.error("the answer under an idempotency key was not kept: %s", error)

    async def _let_go(self, identity: Identity, container: str, name: str, owner: str) -> None:
        """After a failure: free the key, or where something may be stored let the next request look."""
        mine = {"_id": name, "owner": owner}
        try:
            if await self._documents(identity, container, name):
                await blocking(self._keys.update_one, mine, {"$set": {"lease": utc()}})
            else:
                await blocking(self._keys.delete_one, mine)
        except (PyMongoError, LakeError) as error:
            log.error("an idempotency key stays taken until its lease ends: %s", error)

    async def _documents(self, identity: Identity, container: str, name: str) -> list[dict[str, Any]]:
        store = await self._stores.store(identity.project_id or "", container)
        return await blocking(self._stores.catalogue.with_key, store, name) if store else []

    async def _known(self, identity: Identity, container: str, name: str) -> list[dict[str, Any]]:
        """The documents of what an earlier request under the key has stored; what it left half is settled."""
        store = await self._stores.store(identity.project_id or "", container)
        metadata = self._stores.metadata
        found = []
        for document in await self._documents(identity, container, name):
            if document["status"] == PENDING and store is not None:
                object_id = document["swift_object_id"]
                target = Target(identity.project_id or "", container, document["swift_object_name"])
                facts = await self._swift.facts(target, identity.token)
                if facts is None:
                    await blocking(metadata.abandon, store, object_id)
                    continue
                etag, size = facts.get("etag", "").strip('"'), int(facts.get("content-length", 0))
                await blocking(metadata.mark_stored, store, object_id, etag=etag, size=size)
                document.update(etag=etag, size=size, status=STORED)
            found.append(document)
        return found


async def _found(known: list[dict[str, Any]], form: Form, kind: str) -> Answer:
    """The answer of a request that was cut off, from what it stored. ApiError 422."""
    left = list(known)
    items = []
    for file in await form.files():
        same = next((one for one in left if (one["etag"], one["size"]) == (file.md5, file.size)), None)
        if same is None:
            items.append({"status": 409, "name": file.name, **_not_in().form()})
        else:
            left.remove(same)
            items.append({"status": 201, "object": to_json(shown(same))})
    if left or not items:
        raise _other_request()
    complete = all(item["status"] == 201 for item in items)
    if kind == "many":
        return 201 if complete else 207, {"items": items, "error": None}
    if not complete:
        raise _other_request()
    return 201, items[0]["object"]


def _packed(answer: Answer) -> bytes:
    return zlib.compress(json.dumps(answer, ensure_ascii=False).encode(), 1)


def _unpacked(packed: bytes) -> Answer:
    status, body = json.loads(zlib.decompress(packed))
    return status, body


def _not_in() -> ApiError:
    return ApiError(
        409,
        "cut_off",
        "the first request under this key was cut off before this file was in; insert it under a new key",
    )


def _other_request() -> ApiError:
    return ApiError(
        422,
        "idempotency_key_reused",
        "this Idempotency-Key was used for another request: a key is for one insertion, and sent again only with the "
        "very same container, metadata and files",
    )


def _under_way(left: timedelta) -> ApiError:
    return ApiError(
        409,
        "idempotency_key_in_use",
        "a request with this Idempotency-Key is under way, or was cut off a moment ago; send it again later",
        headers={"Retry-After": str(max(1, min(5, int(left.total_seconds()))))},
    )
