# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Inserting an object: the order of steps that makes it safe.

1. The form is read until the file is known to be whole (small, or spooled) or metadata is known (then it streams).
2. The container is made in Swift and its store claimed, at its first object.
3. An id is reserved and the metadata document written, `pending`.
4. The object is put under that id with the user's token; Swift's event finds the document.
5. The document is marked `stored`.

When Swift certainly did not take the object, the document is removed. When that is not certain, or the last step
fails, it stays `pending` and reconciliation settles it. An object in Swift is never overwritten.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import anyio
from neocampus_lake import content_types, documents
from neocampus_lake.errors import Conflict, InvalidDocument, LakeError

from . import forms
from .errors import ApiError, bad_request
from .identity import Identity
from .settings import Limits
from .stores import Stores, blocking
from .swift import ObjectExists, Swift, SwiftAway, Target

log = logging.getLogger("lake_api.inserts")

WEBHOOK_ON = {"X-Webhook": "on"}
_CONTAINER_SECONDS = 60.0
_CONTAINERS_KEPT = 10_000
_ID_TRIES = 3
_PIECE = 256 * 1024


@dataclass
class Upload:
    """The file of a form: held in memory, spooled to disk, or still coming. Its size and MD5 grow as it is read."""

    part: forms.Part
    head: bytes
    metadata: Mapping[str, Any] = field(default_factory=dict)
    spool: IO[bytes] | None = None
    form: forms.FormReader | None = None
    """Set when the rest of the file is still to be read from the form."""
    size: int = 0
    md5: Any = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))
    whole: bool = False
    """Whether the file, and the form around it, came to its end."""


class Inserter:
    """Inserts objects for the holders of tokens."""

    def __init__(self, limits: Limits, swift: Swift, stores: Stores) -> None:
        self._limits, self._swift, self._stores = limits, swift, stores
        self._containers: dict[tuple[str, str], float] = {}

    async def insert(self, identity: Identity, container: str, form: forms.FormReader) -> dict[str, Any]:
        """Insert the form's file into the project's container; returns its metadata document.

        Raises ApiError and LakeError; what is stored then is said at the head of this module.
        """
        documents.check_container_name(container)
        upload = await self._read(form)
        try:
            content_type, name = _describe(upload)
            store = await self._container(identity, container)
            for _ in range(_ID_TRIES):
                document = await self._document(identity, container, store, upload, content_type, name)
                try:
                    await self._put(identity, document, store, upload)
                except ObjectExists:
                    # Someone put an object of this name past the API. It stays as it is; ours takes the next id.
                    if upload.form:
                        break
                    continue
                return document
            raise ApiError(409, "conflict", "the id for this object was taken meanwhile; send the request again")
        finally:
            if upload.spool:
                upload.spool.close()

    async def _read(self, form: forms.FormReader) -> Upload:
        """Step 1."""
        upload: Upload | None = None
        metadata: dict[str, Any] | None = None
        while part := await form.part():
            if part.name == "metadata":
                if metadata is not None:
                    raise bad_request("the form has two parts 'metadata'; send one", "invalid_form")
                metadata = await self._metadata(form)
            elif part.name == "file":
                if upload:
                    raise bad_request("the form has two parts 'file'; send one request for each file", "invalid_form")
                upload, ended = await self._head(part, form)
                if not ended and metadata is not None:
                    upload.metadata, upload.form = metadata, form
                    return upload
                if not ended:
                    await self._spool(upload, form)
            else:
                raise forms.unknown_part(part.name)
        if upload is None:
            raise bad_request(
                "the form has no part 'file'; add one with content and name of the file, e.g. curl -F file=@name",
                "missing_file",
            )
        upload.metadata, upload.whole = metadata or {}, True
        return upload

    async def _metadata(self, form: forms.FormReader) -> dict[str, Any]:
        raw = bytearray()
        async for chunk in form.chunks():
            raw += chunk
            if len(raw) > self._limits.metadata_bytes:
                raise ApiError(
                    413, "too_large", f"the part 'metadata' may have {self._limits.metadata_bytes} bytes at most"
                )
        try:
            given = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            said = error if isinstance(error, ValueError) else "nested too deeply"
            raise bad_request(
                f'the part \'metadata\' is not JSON ({said}); send one JSON object, e.g. {{"application": "comfort"}}',
                "invalid_metadata",
            ) from None
        if not isinstance(given, dict):
            raise bad_request(
                'the part \'metadata\' is JSON but no object; send fields and values, e.g. {"application": "comfort"}',
                "invalid_metadata",
            )
        return documents.validate_metadata(given)

    async def _head(self, part: forms.Part, form: forms.FormReader) -> tuple[Upload, bool]:
        """The file up to the limit of what is held in memory, and whether that is all of it."""
        held = bytearray()
        async for chunk in form.chunks():
            held += chunk
            if len(held) > self._limits.memory_bytes:
                break
        upload = Upload(part, bytes(held))
        self._count(upload, upload.head)
        return upload, len(held) <= self._limits.memory_bytes

    def _count(self, upload: Upload, chunk: bytes) -> None:
        upload.size += len(chunk)
        if upload.size > self._limits.object_bytes:
            raise ApiError(
                413, "too_large", f"a file may have {self._limits.object_bytes} bytes at most; insert it in pieces"
            )
        upload.md5.update(chunk)

    async def _spool(self, upload: Upload, form: forms.FormReader) -> None:
        """Keep the rest of a file on disk until the form, which may have metadata after it, is over."""
        try:
            spool: IO[bytes] = await blocking(tempfile.TemporaryFile, dir=self._limits.spool_dir)
            upload.spool = spool
            self._check_spooled(upload)
            pending = bytearray(upload.head)
            async for chunk in form.chunks():
                self._count(upload, chunk)
                self._check_spooled(upload)
                pending += chunk
                if len(pending) >= _PIECE:
                    await blocking(spool.write, bytes(pending))
                    pending.clear()
            await blocking(spool.write, bytes(pending))
            await blocking(spool.flush)
        except OSError as error:
            if upload.spool:
                upload.spool.close()
            log.error("the spool in %s can't be written: %s", self._limits.spool_dir, error)
            raise ApiError(
                507 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 503,
                "insufficient_storage",
                "the API has no room to hold the file until its metadata comes: "
                "put the part 'metadata' before the part 'file'",
            ) from None
        except BaseException:
            if upload.spool:
                upload.spool.close()
            raise

    def _check_spooled(self, upload: Upload) -> None:
        if upload.size > self._limits.spool_bytes:
            raise ApiError(
                413,
                "too_large",
                f"a file over {self._limits.spool_bytes} bytes has to come after its metadata: "
                "put the part 'metadata' before the part 'file' (an empty object, {}, will do)",
            )

    async def _container(self, identity: Identity, container: str) -> str:
        """Step 2: the store of the container. A container that is new to the lake gets its webhook."""
        project_id = identity.project_id or ""
        key = (project_id, container)
        store = await self._stores.store(project_id, container)
        if store and self._containers.get(key, 0.0) > time.monotonic():
            return store
        target = Target(project_id, container)
        if store is None or not await self._swift.container_exists(target, identity.token):
            await self._swift.make_container(target, identity.token, WEBHOOK_ON)
        store = store or await self._stores.store(project_id, container, create=True)
        if store is None:  # can't be: it was asked to be made
            raise LakeError(f"container {container!r} has no store")
        if len(self._containers) >= _CONTAINERS_KEPT:
            self._containers.clear()
        self._containers[key] = time.monotonic() + _CONTAINER_SECONDS
        return store

    async def _document(
        self, identity: Identity, container: str, store: str, upload: Upload, content_type: str, name: str | None
    ) -> dict[str, Any]:
        """Step 3."""
        for last in (False, False, True):
            [object_id] = await blocking(self._stores.metadata.reserve_ids, 1)
            document = documents.new_document(
                object_id=object_id,
                container=container,
                project_id=identity.project_id or "",
                user=identity.user,
                object_name=object_id,
                original_name=name or object_id,
                content_type=content_type,
                size=upload.size if upload.whole else 0,
                metadata=upload.metadata,
            )
            try:
                await blocking(self._stores.metadata.insert, store, document)
            except Conflict:
                if last:
                    raise
                continue
            return document
        raise AssertionError("unreachable")

    async def _put(self, identity: Identity, document: dict[str, Any], store: str, upload: Upload) -> None:
        """Steps 4 and 5; completes `document`."""
        object_id = document["swift_object_id"]
        target = Target(identity.project_id or "", document["swift_container"], document["swift_object_name"])
        known = {"size": upload.size, "md5": upload.md5.hexdigest()} if upload.whole else {}
        body = upload.head if not (upload.spool or upload.form) else lambda: self._content(upload)
        try:
            etag = await self._swift.put(
                target, identity.token, document["content_type"], body, once=upload.form is not None, **known
            )
        except BaseException as error:
            if isinstance(error, SwiftAway) and error.uncertain and upload.whole:
                log.error("object %s of %r may or may not be in Swift: its document stays pending", object_id, store)
            else:
                await self._abandon(store, object_id)
            raise
        if etag and etag != upload.md5.hexdigest():
            log.error(
                "object %s of %r: Swift has etag %s for content of MD5 %s",
                object_id,
                store,
                etag,
                upload.md5.hexdigest(),
            )
            raise ApiError(502, "checksum_mismatch", "the content changed on its way to Swift; send it again")
        stored = {"etag": upload.md5.hexdigest(), "size": upload.size}
        try:
            await blocking(self._stores.metadata.mark_stored, store, object_id, **stored)
        except LakeError as error:
            # The object and its event are safe, so this is a success; reconciliation will mark the document.
            log.error("object %s of %r is stored but its document stays pending: %s", object_id, store, error)
            return
        document.update(stored, status="stored", last_modified=documents.utc())

    async def _abandon(self, store: str, object_id: str) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await blocking(self._stores.metadata.abandon, store, object_id)
            except LakeError as error:
                log.error("the document of object %s of %r stays pending: %s", object_id, store, error)

    async def _content(self, upload: Upload) -> AsyncIterator[bytes]:
        """The file from its start: from disk, or what is held and then the rest of the form."""
        if upload.spool:
            await blocking(upload.spool.seek, 0)
            while piece := await blocking(upload.spool.read, _PIECE):
                yield piece
            return
        yield upload.head
        if upload.form is None:
            return
        async for chunk in upload.form.chunks():
            self._count(upload, chunk)
            yield chunk
        # The put only ends after the form has: a form that is cut off, or goes on, must not leave an object.
        if part := await upload.form.part():
            raise bad_request(
                f"the part {part.name[:60]!r} comes after the part 'file'; put 'metadata' first, once", "invalid_form"
            )
        upload.whole = True


def _describe(upload: Upload) -> tuple[str, str | None]:
    """Content type and original name, as metadata, the form, or the content say."""
    declared = upload.part.content_type
    try:
        documents.validate_metadata({"content_type": declared or ""})
    except InvalidDocument:
        declared = None
    name = upload.part.filename
    if name and "original_object_name" not in upload.metadata:
        documents.validate_metadata({"original_object_name": name})
    return content_types.detect(name or "", upload.head[: content_types.HEAD_BYTES], declared), name


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
