# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Inserting objects: the order of steps that makes it safe, for one file and for many.

1. The form is read until the file is known to be whole (small, or spooled) or metadata is known (then it streams). Of
   many files, a block is read.
2. What it says of itself is checked against its metadata model, if it has one. The container is made in Swift and its
   store claimed, at its first object.
3. An id is reserved and the metadata document written, `pending`.
4. The object is put under that id with the user's token; Swift's event finds the document.
5. The document is marked `stored`.

Steps 3 and 5 are one write for all files that are at one of them at the same time, of a block or of several requests:
what MongoDB and its replication spend on a write hardly depends on the number of documents.

When Swift certainly did not take an object, its document is removed. When that is not certain, or the last step fails,
it stays `pending` and reconciliation settles it. An object in Swift is never overwritten.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
from neocampus_lake import documents
from neocampus_lake.errors import Conflict, LakeError, present
from starlette.requests import ClientDisconnect

from . import forms
from .errors import ApiError
from .identity import Identity
from .models import Models
from .settings import Limits
from .stores import Stores, Together, blocking
from .swift import ObjectExists, Swift, SwiftAway, Target
from .uploads import Blocks, Place, Reader, Upload

log = logging.getLogger("lake_api.inserts")

WEBHOOK_ON = {"X-Webhook": "on"}
_CONTAINER_SECONDS = 60.0
_CONTAINERS_KEPT = 10_000
_ID_TRIES = 3
_BLOCKS = 2  # that are stored at the same time: while the last objects of one are put, those of the next begin


@dataclass(eq=False)
class Bulk:
    """What became of the files of a form, in their order; `error`: why the form was not read to its end."""

    uploads: list[Upload] = field(default_factory=list)
    error: Exception | None = None

    @property
    def stored(self) -> int:
        """How many are in the lake."""
        return sum(upload.stored for upload in self.uploads)

    @property
    def complete(self) -> bool:
        """Whether all are."""
        return self.error is None and self.stored == len(self.uploads)


class Inserter:
    """Inserts objects for the holders of tokens."""

    def __init__(self, limits: Limits, swift: Swift, stores: Stores) -> None:
        self._limits, self._swift, self._stores = limits, swift, stores
        self.models = Models(stores.client)
        self._reader = Reader(limits)
        self._writes = Together(self._write)
        self._containers: dict[tuple[str, str], tuple[str, float]] = {}

    async def insert(
        self, identity: Identity, container: str, form: forms.FormReader, *, key: str | None = None
    ) -> Upload:
        """Insert the form's file into the project's container; what is returned is stored and has its document, which
        carries the idempotency `key`.

        Raises ApiError and LakeError; what is stored then is said at the head of this module.
        """
        documents.check_container_name(container)
        upload = await self._reader.single(form)
        try:
            upload.content_type()
            await self._follow_model(identity, container, upload)
            upload.place = replace(await self._place(identity, container), key=key)
            await self._register([upload])
            await self._store([upload])
        finally:
            upload.close()
        if upload.error:
            raise upload.error
        return upload

    async def prepare(self, identity: Identity, container: str) -> Place:
        """The place of the project's container, which is made where it is not there. ApiError, LakeError."""
        documents.check_container_name(container)
        return await self._place(identity, container)

    async def insert_held(self, identity: Identity, container: str, upload: Upload) -> Upload:
        """Insert a file that is held in memory as a whole; errors as those of `insert`."""
        upload.content_type()
        await self._follow_model(identity, container, upload)
        upload.place = await self.prepare(identity, container)
        self._reader.count(upload, upload.head)
        await self._register([upload])
        await self._store([upload])
        if upload.error:
            raise upload.error
        return upload

    async def insert_many(
        self, identity: Identity, container: str, form: forms.FormReader, *, key: str | None = None
    ) -> Bulk:
        """Insert the form's files into the project's container, block by block while the form is read. Their documents
        carry the idempotency `key`.

        Raises ApiError and LakeError where no file was begun with; from then on, what is wrong is in what it returns.
        """
        documents.check_container_name(container)
        bulk = Bulk()
        blocks = Blocks(self._reader, self._limits, form)
        room = anyio.Semaphore(_BLOCKS)
        place: Place | None = None
        async with anyio.create_task_group() as group:
            try:
                while block := await blocks.block():
                    place = place or replace(await self._place(identity, container), key=key)
                    bulk.uploads += block
                    for upload in block:
                        upload.place = place
                        await self._try_model(identity, container, upload)
                    await room.acquire()
                    await self._register(block)  # here, so that ids follow the order of the files
                    if block[0].form:  # it has to be read before anything else of the form
                        await self._store_block(block, room)
                    else:
                        group.start_soon(self._store_block, block, room)
            except (ApiError, LakeError, ClientDisconnect) as error:
                bulk.error = error
        if bulk.error and not bulk.uploads:
            raise bulk.error
        for upload in blocks.held:  # read, but not begun with
            upload.error = upload.error or bulk.error
            bulk.uploads.append(upload)
            upload.close()
        if bulk.error:
            await form.skip()  # a client that is still sending would not see the answer
        return bulk

    def forget(self, project_id: str, container: str) -> None:
        """Look for the container again before something is put into it."""
        self._containers.pop((project_id, container), None)

    async def _follow_model(self, identity: Identity, container: str, upload: Upload) -> None:
        """What the upload's metadata model says, if it has one. ApiError 400, InvalidInput."""
        upload.metadata, upload.model = await self.models.follow(
            identity.project_id or "", container, upload.content_type, upload.metadata
        )

    async def _try_model(self, identity: Identity, container: str, upload: Upload) -> None:
        """The same for one of many: what is wrong is its `error`."""
        if not upload.error:
            try:
                await self._follow_model(identity, container, upload)
            except (ApiError, LakeError) as error:
                upload.error = error

    async def _store_block(self, block: Sequence[Upload], room: anyio.Semaphore) -> None:
        try:
            await self._store(block)
        finally:
            for upload in block:
                upload.close()
            room.release()

    async def _place(self, identity: Identity, container: str) -> Place:
        """Step 2. A container that is new to the lake gets its webhook."""
        project_id = identity.project_id or ""
        key = (project_id, container)
        store, until = self._containers.get(key, (None, 0.0))
        if store is None or until <= time.monotonic():
            store = await self._stores.store(project_id, container)
            target = Target(project_id, container)
            if store is None or not await self._swift.container_exists(target, identity.token):
                self._stores.metadata.forget(project_id, container)
                store = None  # where it was removed, it has to be told that it is back
                await self._swift.make_container(target, identity.token, WEBHOOK_ON)
            store = store or await self._stores.store(project_id, container, create=True)
            if store is None:  # can't be: it was asked to be made
                raise LakeError(f"container {container!r} has no store")
            if len(self._containers) >= _CONTAINERS_KEPT:
                self._containers.clear()
            self._containers[key] = (store, time.monotonic() + _CONTAINER_SECONDS)
        return Place(identity, container, store, anyio.Semaphore(self._limits.bulk_puts))

    async def _store(self, uploads: Sequence[Upload]) -> None:
        """Steps 4 and 5: each upload is `stored`, or has its `error`."""
        for last in (False, False, True):
            await self._put_all([upload for upload in uploads if not (upload.stored or upload.error)])
            # Someone put an object of this name past the API. It stays as it is; ours takes the next id.
            taken = [upload for upload in uploads if isinstance(upload.error, ObjectExists) and not upload.form]
            if last or not taken:
                return
            for upload in taken:
                upload.error = None
            await self._register(taken)

    async def _register(self, uploads: Sequence[Upload]) -> None:
        """Step 3, for those without `error`; each then has its document, or its error."""
        await self._writes.do(upload for upload in uploads if not upload.error)

    def _write(self, uploads: Sequence[Upload]) -> None:
        """Step 5 for those that are stored, step 3 for the others; what is wrong with one is its `error`. Blocks."""
        waiting = uploads
        for _ in range(_ID_TRIES):
            waiting = self._try_write(waiting)
            if not waiting:
                return
        for upload in waiting:
            upload.error = Conflict("the ids for this object were taken meanwhile; send it again")

    def _try_write(self, uploads: Sequence[Upload]) -> list[Upload]:
        """The same; returns those whose new ids are known already."""
        self._give_documents([upload for upload in uploads if not upload.stored])
        again: list[Upload] = []
        for store, group in _by_store(upload for upload in uploads if not upload.error).items():
            marks = {upload.object_id: (upload.etag, upload.size) for upload in group if upload.stored}
            new = [upload for upload in group if not upload.stored]
            try:
                known = self._stores.metadata.write_many(store, [present(upload.document) for upload in new], marks)
            except Exception as error:
                _fail(new, error)  # any of the documents may be there, pending
                if marks:
                    # Objects and events are safe, so this is a success; reconciliation will mark the documents.
                    log.error("objects %s of %r are stored but stay pending: %s", ", ".join(marks), store, error)
                continue
            again += [upload for upload in new if upload.object_id in known]
            now = documents.utc()
            for upload in group:
                if upload.stored:
                    etag, size = marks[upload.object_id]
                    present(upload.document).update(etag=etag, size=size, status="stored", last_modified=now)
        return again

    def _give_documents(self, uploads: Sequence[Upload]) -> None:
        """Reserve ids and make the documents; what is wrong with one upload is its `error`."""
        if not uploads:
            return
        try:
            ids = self._stores.ids.take(len(uploads))
        except Exception as error:
            _fail(uploads, error)
            return
        for upload, object_id in zip(uploads, ids, strict=True):
            try:
                upload.document = _document(upload, object_id)
            except Exception as error:
                upload.error = error

    async def _put_all(self, uploads: Sequence[Upload]) -> None:
        """Steps 4 and 5."""
        soon = all(upload.whole for upload in uploads)  # what still comes from its client may take any time
        with self._writes.coming() if soon else nullcontext(lambda: None) as here:
            try:
                async with anyio.create_task_group() as group:
                    for upload in uploads:
                        group.start_soon(self._put, upload)
            finally:
                here()
                with anyio.CancelScope(shield=True):
                    await self._settle(uploads)

    async def _put(self, upload: Upload) -> None:
        """Step 4 for one object."""
        place, document = present(upload.place), present(upload.document)
        target = Target(place.project_id, place.container, document["swift_object_name"])
        known = {"size": upload.size, "md5": upload.md5.hexdigest()} if upload.whole else {}
        body = upload.head if not (upload.spool or upload.form) else lambda: self._reader.content(upload)
        async with place.puts:
            try:
                etag = await self._swift.put(
                    target,
                    place.identity.token,
                    document["content_type"],
                    body,
                    once=upload.form is not None,
                    **known,
                )
            except Exception as error:
                if isinstance(error, ApiError) and error.code == "container_removed":
                    self.forget(place.project_id, place.container)
                upload.error = error
                upload.uncertain = isinstance(error, SwiftAway) and error.uncertain and upload.whole
                return
        md5 = etag if upload.form else upload.md5.hexdigest()
        if etag and etag != md5:
            log.error("object %s: Swift has etag %s for content of MD5 %s", upload.object_id, etag, md5)
            upload.error = ApiError(502, "checksum_mismatch", "the content changed on its way to Swift; send it again")
            upload.uncertain = True
            return
        upload.etag, upload.stored = md5, True

    async def _settle(self, uploads: Sequence[Upload]) -> None:
        """Step 5, and the end of the documents of what is not stored."""
        stored = [upload for upload in uploads if upload.stored]
        if stored:
            await self._writes.do(stored)
        for upload in uploads:
            if upload.uncertain:
                log.error("object %s may or may not be in Swift: it stays pending", upload.object_id)
        left = _by_store(upload for upload in uploads if not (upload.stored or upload.uncertain))
        for store, group in left.items():
            ids = [upload.object_id for upload in group]
            try:
                await blocking(self._stores.metadata.abandon_many, store, ids)
            except LakeError as error:
                log.error("the documents of objects %s of %r stay pending: %s", ", ".join(ids), store, error)


def _document(upload: Upload, object_id: str) -> dict[str, Any]:
    """The metadata document of an upload. Errors: InvalidInput."""
    place = present(upload.place)
    document = documents.new_document(
        object_id=object_id,
        container=place.container,
        project_id=place.project_id,
        user=place.identity.user,
        object_name=object_id,
        original_name=upload.name or object_id,
        content_type=upload.content_type(),
        size=upload.size if upload.whole else 0,
        metadata=upload.metadata,
    )
    if upload.model:
        document["model"] = upload.model
    if place.key:
        document["idempotency_key"] = place.key
    return document


def _by_store(uploads: Iterable[Upload]) -> Mapping[str, list[Upload]]:
    found: dict[str, list[Upload]] = defaultdict(list)
    for upload in uploads:
        found[present(upload.place).store].append(upload)
    return found


def _fail(uploads: Iterable[Upload], error: Exception) -> None:
    for upload in uploads:
        upload.error = error
