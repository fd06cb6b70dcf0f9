# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Large uploads: parts that stream into segments in Swift, then one object.

A body goes right on into Swift, a segment of `part_bytes` after the other. When it breaks off, the segment under way is
ended where it broke, so that what came is kept; when the API or a proxy is killed, that one segment is lost. After each
segment the offset is written down in MongoDB, so that the offset says exactly what is in Swift.

An upload becomes an object in an order of steps that can be gone on with after any of them: the checksum of the whole
is compared; an id is taken and written on the upload; the metadata document is written, `pending`; the manifest is put
under the id, which raises the event; the document is marked `stored`, the upload `done`. Who asks for an upload on
which this was broken off goes on with it.

The checksum of the whole is a running one, whose state is written down with the offset. Of an upload that is joined of
partial ones it can only be had by reading the segments again: that goes on after the answer, as `assembling`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import anyio
from neocampus_lake import content_types, documents
from neocampus_lake.errors import Conflict, InvalidInput, LakeError, present
from neocampus_lake.models import insertion_metadata
from pymongo.errors import PyMongoError
from starlette.requests import ClientDisconnect

from . import running_hash, segments
from .errors import ApiError, answer_of, bad_request, not_found
from .identity import Identity
from .inserts import Inserter
from .own_account import OwnAccount
from .running_hash import RunningHash
from .segments import Segments
from .settings import Uploads as UploadSettings
from .stores import Stores, blocking
from .swift import ObjectExists, Swift, Target
from .tus import Checksum, Described
from .upload_store import (
    ASSEMBLING,
    CREATED,
    DONE,
    EXPIRED,
    FAILED,
    OPEN,
    RECEIVED,
    RECEIVING,
    TERMINATED,
    UploadStore,
)

log = logging.getLogger("lake_api.large")

MOST_PARTS = 20_000
_USUAL_PARTS = 4_000
_ID_TRIES = 3
SWEEP_AFTER = timedelta(hours=1)  # a segment whose put goes on when an upload ends is there by then
_REMOVE_SECONDS = 10.0
_EMPTY = hashlib.md5(usedforsecurity=False).hexdigest()


class Source:
    """The bytes of a body, in parts. `broken`: why it ended before its end."""

    def __init__(self, stream: AsyncIterator[bytes], idle_seconds: float) -> None:
        self._stream, self._idle = stream, idle_seconds
        self._held = b""
        self._over = False
        self.broken: Exception | None = None

    async def more(self) -> bool:
        """Whether there is a byte left; waits for one."""
        while not self._held and not self._over:
            try:
                with anyio.fail_after(self._idle):
                    self._held = await anext(self._stream)
            except StopAsyncIteration:
                self._over = True
            except (ClientDisconnect, TimeoutError) as error:
                self._over, self.broken = True, error
        return bool(self._held)

    async def part(self, size: int) -> AsyncGenerator[bytes, None]:
        """The next bytes, at most `size`."""
        while size and await self.more():
            piece, self._held = self._held[:size], self._held[size:]
            size -= len(piece)
            yield piece


@dataclass
class Held:
    """An upload whose lock is held, as it was when it was taken; `token` is in the condition of each write."""

    document: dict[str, Any]
    project_id: str
    container: str

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.document["id"])

    @property
    def token(self) -> str:
        """The lock's."""
        return str(self.document["lock"]["token"])


@dataclass
class _Progress:
    """Checksums while a body is received: of the whole upload, and of the body."""

    running: list[RunningHash] = field(default_factory=list)
    body: Any = None

    def update(self, data: bytes) -> None:
        for one in self.running:
            one.update(data)
        if self.body:
            self.body.update(data)

    def states(self) -> dict[str, bytes]:
        return {one.name: one.state() for one in self.running}


class LargeUploads:
    """Large uploads of the holders of tokens. Errors: ApiError, LakeError, PyMongoError."""

    def __init__(
        self, settings: UploadSettings, swift: Swift, stores: Stores, inserter: Inserter, own: OwnAccount
    ) -> None:
        self.settings = settings
        self._swift, self._stores, self._inserter, self._own = swift, stores, inserter, own
        self.segments = Segments(swift)
        self.store = UploadStore(stores.client)
        self._tasks: set[asyncio.Task[None]] = set()
        self._prepared: set[tuple[str, str]] = set()

    async def close(self) -> None:
        """Break off what goes on after its answer: who asks for it next goes on with it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- beginning ---------------------------------------------------------------------------------------------------

    async def create(
        self,
        identity: Identity,
        container: str,
        length: int,
        described: Described,
        *,
        metadata: str = "",
        partial: bool = False,
        joins: Sequence[str] | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A new upload of so many bytes; `joins`: of partial ones, whose lengths are its. `metadata` is what HEAD
        gives back, `source` where the lake has it from."""
        project_id = present(identity.project_id)
        documents.check_container_name(container)
        if described.fields.get("swift_container", container) != container:
            raise bad_request(
                f"metadata: the object goes to {container!r}, not {described.fields['swift_container']!r}: begin the "
                "upload there",
                "invalid_document",
            )
        if length > self.settings.max_bytes:
            raise ApiError(413, "too_large", f"an upload may have {self.settings.max_bytes} bytes at most")
        if await blocking(self.store.open, project_id) >= self.settings.open_per_project:
            raise ApiError(
                429,
                "too_many_uploads",
                f"your project has {self.settings.open_per_project} uploads that are not whole: finish or delete some "
                "(GET /api/v1/uploads lists them)",
            )
        declared = described.fields.get("content_type") or described.content_type
        if declared and not partial:  # else, and again, when the content is known
            await self._follow_model(project_id, container, described.fields, described.model, declared)
        await self._prepare(identity, container)
        document = self._document(identity, container, length, described, metadata)
        document |= {"partial": partial, "source": dict(source) if source else None}
        if joins is not None:
            await self._join(document, joins)
        await blocking(self.store.insert, document)
        return document

    async def _prepare(self, identity: Identity, container: str) -> None:
        await self._inserter.prepare(identity, container)
        key = (present(identity.project_id), container)
        if key not in self._prepared:
            await self.segments.prepare(identity, container, await self._own.identity())
            self._prepared.add(key)

    def _document(
        self, identity: Identity, container: str, length: int, described: Described, metadata: str
    ) -> dict[str, Any]:
        now = documents.utc()
        names = {"sha256", *described.checksums}
        return {
            "id": uuid.uuid4().hex,
            "status": CREATED,
            "started": now,
            "updated": now,
            "expires": now + timedelta(seconds=self.settings.expire_seconds),
            "project_id": identity.project_id,
            "container": container,
            "user": identity.user,
            "user_id": identity.user_id,
            "length": length,
            "offset": 0,
            "metadata": metadata,
            "filename": described.filename,
            "content_type": described.content_type,
            "fields": described.fields,
            "model": described.model,
            "checksums": described.checksums,
            "parts": [],
            "hashes": {name: RunningHash(name).state() for name in names} if running_hash.available() else None,
            "lock": None,
            "joins": None,
            "joined": None,
            "object_id": None,
            "error": None,
            "swept": False,
        }

    async def _join(self, document: dict[str, Any], joins: Sequence[str]) -> None:
        project_id, container = document["project_id"], document["container"]
        if not await blocking(self.store.join, project_id, container, joins, document["id"]):
            raise bad_request(
                "header Upload-Concat: each has to be a partial upload of this container that is whole and belongs to "
                "no other upload; HEAD of each says how far it is",
                "invalid_concat",
            )
        found = [present(await blocking(self.store.get, project_id, one)) for one in joins]
        length = sum(one["length"] for one in found)
        document |= {"joins": list(joins), "length": length, "offset": length, "status": ASSEMBLING, "hashes": None}
        if length > self.settings.max_bytes:
            await blocking(self.store.part, document["id"])
            raise ApiError(413, "too_large", f"an upload may have {self.settings.max_bytes} bytes at most")

    # -- looking -----------------------------------------------------------------------------------------------------

    async def get(self, identity: Identity, upload_id: str, container: str | None = None) -> dict[str, Any]:
        """An upload of the token's project. ApiError 404."""
        found = await blocking(self.store.get, present(identity.project_id), upload_id, container)
        if found is None:
            raise not_found("this upload", "GET /api/v1/uploads lists those that do")
        return found

    # -- receiving ---------------------------------------------------------------------------------------------------

    async def append(
        self,
        identity: Identity,
        upload_id: str,
        container: str | None,
        stream: AsyncIterator[bytes],
        *,
        offset: int,
        announced: int | None = None,
        checksum: Checksum | None = None,
    ) -> dict[str, Any]:
        """Take bytes that follow `offset`; the upload as it is then. `announced`: how many there will be.

        ApiError: 404, 409 another offset, 410 over, 413 more than the upload's length, 423 another one writes, 460 the
        checksum is another, 503. Where the body breaks off, what came is kept (but for one with a checksum).
        """
        await self.get(identity, upload_id, container)
        async with self.hold(identity, upload_id, (CREATED, RECEIVING)) as held:
            document = held.document
            if document["offset"] != offset:
                raise ApiError(
                    409,
                    "conflict",
                    f"the upload is at offset {document['offset']}, not {offset}: go on from there",
                    {"offset": document["offset"]},
                    {"Upload-Offset": str(document["offset"])},
                )
            if announced is not None and offset + announced > document["length"]:
                raise self._too_long(document)
            await self._receive(identity, held, stream, checksum)
            if document["offset"] == document["length"]:
                await self._received(identity, held)
        return await self.get(identity, upload_id, container)

    async def _receive(
        self, identity: Identity, held: Held, stream: AsyncIterator[bytes], checksum: Checksum | None
    ) -> None:
        document = held.document
        source = Source(stream, self.settings.idle_seconds)
        progress = _Progress(
            [RunningHash(name, state) for name, state in (document["hashes"] or {}).items()],
            checksum.start() if checksum else None,
        )
        waiting: list[dict[str, Any]] = []
        position = document["offset"]
        size = max(self.settings.part_bytes, -(-document["length"] // _USUAL_PARTS))
        try:
            while position < document["length"] and await source.more():
                self._check_parts(document, waiting)
                part = await self._put(identity, held, source, min(size, document["length"] - position), progress)
                waiting.append(part)
                position += part["s"]
                if not checksum:
                    ready, waiting = waiting, []
                    await self._commit(identity, held, ready, progress)
            if source.broken is None and await source.more():
                raise self._too_long(document)
            if checksum and waiting and source.broken is None:
                if progress.body.digest() != checksum.digest:
                    raise ApiError(
                        460,
                        "checksum_mismatch",
                        "what came has another checksum than Upload-Checksum says, and was dropped; send it again",
                    )
                ready, waiting = waiting, []
                await self._commit(identity, held, ready, progress)
        finally:
            await self._drop(identity, held, waiting)
        if source.broken is not None:
            raise bad_request(
                "the body broke off, or nothing of it came for too long; HEAD says how much is there: go on from it",
                "incomplete_body",
                {"offset": document["offset"]},
            )

    async def _put(
        self, identity: Identity, held: Held, source: Source, size: int, progress: _Progress
    ) -> dict[str, Any]:
        """Put the next bytes as a segment."""
        md5 = hashlib.md5(usedforsecurity=False)
        count = 0

        async def body() -> AsyncIterator[bytes]:
            nonlocal count
            async with aclosing(source.part(size)) as pieces:
                async for piece in pieces:
                    md5.update(piece)
                    progress.update(piece)
                    count += len(piece)
                    yield piece

        # The name is of this attempt alone: a put of another that goes on somewhere can't get in its way.
        name = f"{held.id}/{len(held.document['parts']):06}-{uuid.uuid4().hex[:12]}"
        try:
            etag = await self.segments.put(self._segment(held, name), identity.token, body())
        except ApiError as error:
            if error.code == "container_removed":
                self._prepared.discard((held.project_id, held.container))
                await self._prepare(identity, held.container)
            raise
        if etag != md5.hexdigest():
            log.error("upload %s: Swift has etag %s for a part of MD5 %s", held.id, etag, md5.hexdigest())
            raise ApiError(502, "checksum_mismatch", "the content changed on its way to Swift; send it again")
        return {"n": name, "s": count, "e": etag}

    async def _commit(self, identity: Identity, held: Held, parts: list[dict[str, Any]], progress: _Progress) -> None:
        """Write parts down. When MongoDB does not answer they may count, and stay until the sweep."""
        document = held.document
        fields = {
            "status": RECEIVING,
            "expires": documents.utc() + timedelta(seconds=self.settings.expire_seconds),
            "hashes": progress.states() or None,
        }
        with anyio.CancelScope(shield=True):
            if not await blocking(self.store.commit, held.id, held.token, document["offset"], parts, **fields):
                await self._drop(identity, held, parts)
                raise locked()
        document["parts"] += parts
        document["offset"] += sum(part["s"] for part in parts)
        document |= fields

    async def _drop(self, identity: Identity, held: Held, parts: Iterable[Mapping[str, Any]]) -> None:
        """Remove segments that don't count. What can't be removed now is found when the upload is swept."""
        places = [self._segment(held, part["n"]) for part in parts]
        if not places:
            return
        try:
            with anyio.move_on_after(_REMOVE_SECONDS, shield=True):
                await self.segments.remove(places, identity.token)
        except ApiError as error:
            log.warning("upload %s: segments that are not needed stay for now: %s", held.id, error)

    @staticmethod
    def _check_parts(document: Mapping[str, Any], waiting: Sequence[Any]) -> None:
        if len(document["parts"]) + len(waiting) >= MOST_PARTS:
            raise ApiError(
                413, "too_many_parts", f"the upload came in over {MOST_PARTS} pieces; begin anew with larger ones"
            )

    @staticmethod
    def _too_long(document: Mapping[str, Any]) -> ApiError:
        return ApiError(
            413, "too_large", f"the body goes beyond the {document['length']} bytes that the upload was to have"
        )

    @staticmethod
    def _segment(held: Held, name: str) -> Target:
        return segments.target(held.project_id, held.container, name)

    async def _received(self, identity: Identity, held: Held) -> None:
        status = RECEIVED if held.document["partial"] else ASSEMBLING
        if not await blocking(self.store.update, held.id, held.token, status=status):
            raise locked()
        held.document["status"] = status
        if status == ASSEMBLING:
            await self._assemble(identity, held)

    # -- becoming an object ------------------------------------------------------------------------------------------

    async def finish(self, identity: Identity, upload_id: str) -> None:
        """Make the object of an upload that is whole, or go on with it; nothing where another does."""
        try:
            async with self.hold(identity, upload_id, (ASSEMBLING,)) as held:
                await self._assemble(identity, held)
        except ApiError as error:
            if error.status not in (409, 423):  # done by now, or being done
                raise

    def finish_later(self, identity: Identity, upload_id: str) -> None:
        """`finish` after the answer."""

        async def work() -> None:
            try:
                await self.finish(identity, upload_id)
            except (ApiError, LakeError, PyMongoError) as error:
                log.warning("upload %s is not an object yet: %s", upload_id, answer_of(error))

        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def reads_again(self, document: Mapping[str, Any]) -> bool:
        """Whether the checksum of the whole has to be had by reading all of it again."""
        return bool(document["checksums"]) and document.get("hashes") is None and not document.get("verified")

    async def _assemble(self, identity: Identity, held: Held) -> None:
        """Make the object. What is wrong is on the upload, also where it can be gone on with."""
        try:
            await self._make(identity, held)
        except (ApiError, LakeError) as error:
            if held.document["status"] == ASSEMBLING:
                message = answer_of(error).message
                await blocking(self.store.update, held.id, held.token, error=message)
            raise

    async def _make(self, identity: Identity, held: Held) -> None:
        document = held.document
        parts = await self._parts(held)
        checksums = await self._verify(identity, held, parts)
        for _ in range(_ID_TRIES):
            made = await self._metadata(identity, held, parts, checksums)
            try:
                etag = await self._put_object(identity, held, made, parts)
                break
            except ObjectExists:  # put past the API: ours takes the next id
                store = await self._store_of(held)
                await blocking(self._stores.metadata.abandon, store, made["swift_object_id"])
                document["object_id"] = None
        else:
            raise Conflict("the ids for this object were taken meanwhile; ask again")
        await self._finished(held, made["swift_object_id"], etag)

    async def _parts(self, held: Held) -> list[dict[str, Any]]:
        if held.document["joins"] is None:
            return list(held.document["parts"])
        found = [
            present(await blocking(self.store.get, held.project_id, one, parts=True)) for one in held.document["joins"]
        ]
        return [part for one in found for part in one["parts"]]

    async def _verify(self, identity: Identity, held: Held, parts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """The checksums of the whole, compared with those that the client gave. ApiError 460: the upload failed."""
        document = held.document
        if document["hashes"] is not None:
            found = {name: RunningHash(name, state).hexdigest() for name, state in document["hashes"].items()}
        elif self.reads_again(document):
            found = await self._read_again(held, parts)
        else:
            return dict(document["checksums"])
        wrong = [name for name, given in document["checksums"].items() if found[name] != given]
        if wrong:
            message = (
                f"the whole has the {wrong[0]} {found[wrong[0]]}, not {document['checksums'][wrong[0]]}: "
                "the file changed, or was cut together wrongly; begin anew"
            )
            await self._fail(identity, held, message, parts)
            raise ApiError(460, "checksum_mismatch", message)
        await self._update(held, verified=True)
        return found

    async def _read_again(self, held: Held, parts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        hashes = {name: hashlib.new(name, usedforsecurity=False) for name in held.document["checksums"]}
        places = (self._segment(held, part["n"]) for part in parts)
        token = (await self._own.identity()).token
        async with aclosing(self.segments.read(places, token)) as chunks:
            async for chunk in chunks:
                for one in hashes.values():
                    one.update(chunk)
        return {name: one.hexdigest() for name, one in hashes.items()}

    async def _fail(self, identity: Identity, held: Held, message: str, parts: Sequence[Mapping[str, Any]]) -> None:
        await self._update(held, status=FAILED, error=message)
        held.document["status"] = FAILED
        await blocking(self.store.joined, held.id, status=FAILED, error=message)
        await self._drop(identity, held, parts)

    async def _metadata(
        self, identity: Identity, held: Held, parts: Sequence[Mapping[str, Any]], checksums: Mapping[str, str]
    ) -> dict[str, Any]:
        """The metadata document, `pending`: that of an attempt before, or a new one."""
        document, store = held.document, await self._store_of(held)
        if document["object_id"]:
            known = await blocking(self._stores.metadata.get, store, document["object_id"])
            if known is not None and known.get("upload") == held.id:
                return known
        head = await self._head(identity, held, parts)
        filename = document["filename"]
        content_type = _type(filename, head, document["content_type"])
        try:
            fields, said = await self._follow_model(
                held.project_id, held.container, document["fields"], document["model"], content_type
            )
        except (ApiError, InvalidInput) as error:
            if answer_of(error).status == 400:
                await self._fail(identity, held, answer_of(error).message, parts)
            raise
        for _ in range(_ID_TRIES):
            [object_id] = await blocking(self._stores.ids.take, 1)
            made = documents.new_document(
                object_id=object_id,
                container=held.container,
                project_id=held.project_id,
                user=document["user"],
                object_name=object_id,
                original_name=filename or object_id,
                content_type=content_type,
                size=document["length"],
                metadata=fields,
            )
            made |= {"upload": held.id, "checksums": dict(checksums), **({"model": said} if said else {})}
            await self._update(held, object_id=object_id)
            document["object_id"] = object_id
            if not await blocking(self._stores.metadata.insert_many, store, [made]):
                return made
        raise Conflict("the ids for this object were taken meanwhile; ask again")

    async def _follow_model(
        self, project_id: str, container: str, fields: Mapping[str, Any], model: Any, content_type: str
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """The fields of a document with the defaults of its metadata model, and what the document says of that.
        ApiError 400, InvalidInput."""
        given = insertion_metadata({**fields, **({} if model is None else {"model": model})})
        return await self._inserter.models.follow(project_id, container, lambda: content_type, given)

    async def _head(self, identity: Identity, held: Held, parts: Sequence[Mapping[str, Any]]) -> bytes:
        """The first bytes, by which the content type is known."""
        head = b""
        places = (self._segment(held, part["n"]) for part in parts)
        async with aclosing(self.segments.read(places, identity.token)) as chunks:
            async for chunk in chunks:
                head += chunk
                if len(head) >= content_types.HEAD_BYTES:
                    break
        return head[: content_types.HEAD_BYTES]

    async def _put_object(
        self, identity: Identity, held: Held, made: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]
    ) -> str:
        target = Target(held.project_id, held.container, made["swift_object_name"])
        if not parts:
            return await self._put_empty(target, identity.token, made["content_type"])
        where = segments.target(held.project_id, held.container)
        mark = f"{held.id}/"
        return await self.segments.join(target, identity.token, made["content_type"], parts, where, mark)

    async def _put_empty(self, target: Target, token: str, content_type: str) -> str:
        try:
            return await self._swift.put(target, token, content_type, b"", size=0)
        except ObjectExists:
            if await self.segments.etag(target, token) == _EMPTY:  # put by an attempt whose answer was lost
                return _EMPTY
            raise

    async def _finished(self, held: Held, object_id: str, etag: str) -> None:
        with anyio.CancelScope(shield=True):
            store = await self._store_of(held)
            await blocking(self._stores.metadata.mark_stored, store, object_id, etag=etag, size=held.document["length"])
            await self._update(held, status=DONE, swift_etag=etag, hashes=None, error=None)
            await blocking(self.store.joined, held.id, status=DONE, object_id=object_id)

    async def _store_of(self, held: Held) -> str:
        return present(await self._stores.store(held.project_id, held.container, create=True))

    async def _update(self, held: Held, **fields: Any) -> None:
        if not await blocking(self.store.update, held.id, held.token, **fields):
            raise locked()

    # -- ending ------------------------------------------------------------------------------------------------------

    async def terminate(self, identity: Identity, upload_id: str, container: str | None = None) -> None:
        """Give an upload up, with what is there of it. ApiError 409 where it became an object, 423."""
        document = await self.get(identity, upload_id, container)
        if document["status"] == DONE or document["joined"]:
            raise ApiError(
                409,
                "conflict",
                "the upload is an object, or part of another upload, by now: delete that instead",
                {"object_id": document["object_id"], "joined": document["joined"]},
            )
        async with self.hold(identity, upload_id, OPEN) as held:
            if await self._object(held):
                raise ApiError(409, "conflict", "the upload becomes an object at this moment: delete that instead")
            await self._end(held, TERMINATED, identity.token)

    async def expire(self) -> int:
        """End the uploads that nobody went on with; how many. With the API's own account."""
        ended = 0
        for upload_id in await blocking(self.store.expired):
            document = await blocking(self.store.lock, upload_id, self.settings.lease_seconds, OPEN)
            if document is None:
                continue
            held = Held(document, document["project_id"], document["container"])
            known = await self._object(held)
            if known is None:
                await self._end(held, EXPIRED, (await self._own.identity()).token)
                log.info("upload %s of container %r expired", upload_id, held.container)
                ended += 1
            elif known["status"] == "stored":  # it was broken off just before its end
                await self._finished(held, known["swift_object_id"], known["etag"])
                await blocking(self.store.release, held.id, held.token)
            else:  # reconciliation is going to find out whether it is in Swift
                await self._update(held, expires=documents.utc() + timedelta(hours=1), lock=None)
        return ended

    async def _object(self, held: Held) -> dict[str, Any] | None:
        """The metadata document of the object that an upload became, or may have become. Its segments have to stay."""
        object_id = held.document["object_id"]
        store = await self._stores.store(held.project_id, held.container) if object_id else None
        if store is None:
            return None
        known = await blocking(self._stores.metadata.get, store, object_id)
        there = known is not None and known.get("upload") == held.id and known["status"] in ("pending", "stored")
        return known if there else None

    async def _end(self, held: Held, status: str, token: str) -> None:
        """Segments are removed within a moment, or by the sweep."""
        await self._update(held, status=status, hashes=None, lock=None)
        await blocking(self.store.joined, held.id, status=status)
        try:
            with anyio.move_on_after(_REMOVE_SECONDS):
                await self.segments.remove([self._segment(held, part["n"]) for part in held.document["parts"]], token)
        except ApiError as error:
            log.warning("upload %s: its segments stay until the sweep: %s", held.id, error)

    async def sweep(self) -> int:
        """Remove what is in Swift of uploads that are over and belongs to no object; how many segments."""
        removed = 0
        for document in await blocking(self.store.unswept, documents.utc() - SWEEP_AFTER):
            removed += await self._sweep(document)
            await blocking(self.store.swept, document["id"])
        return removed

    async def _sweep(self, document: Mapping[str, Any]) -> int:
        kept = {part["n"] for part in document["parts"]} if document["status"] == DONE else set()
        token = (await self._own.identity()).token
        place = segments.target(document["project_id"], document["container"])
        left = []
        async for name in self.segments.names(place, token, f"{document['id']}/"):
            manifest = document["status"] == DONE and name.startswith(f"{document['id']}/manifest-")
            if name not in kept and not manifest:
                left.append(segments.target(document["project_id"], document["container"], name))
        await self.segments.remove(left, token)
        return len(left)

    async def delete_object(
        self, identity: Identity, container: str, object_name: str, object_id: str, *, large: bool | None = None
    ) -> None:
        """Delete an object from Swift, with its segments where it is made of such (`large`; Swift is asked where that
        is not known). One that is not there is no error.

        ApiError 401, 403, 503: then it may be there still, and the call can be made again.
        """
        project_id = present(identity.project_id)
        target = Target(project_id, container, object_name)
        upload = await blocking(self.store.of_object, project_id, container, object_id)
        if upload is not None:
            await self.segments.remove_one(target, identity.token)
            await self._remove_segments(identity, project_id, container, upload)
        elif await self.segments.is_large(target, identity.token) if large is None else large:
            await self.segments.remove_foreign(target, identity.token)
        else:
            await self.segments.remove_one(target, identity.token)

    async def _remove_segments(
        self, identity: Identity, project_id: str, container: str, upload: Mapping[str, Any]
    ) -> None:
        place = segments.target(project_id, container)
        for one in [upload["id"], *(upload["joins"] or ())]:
            names = [name async for name in self.segments.names(place, identity.token, f"{one}/")]
            places = [segments.target(project_id, container, name) for name in names]
            await self.segments.remove(places, identity.token)

    # -- the lock ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def hold(self, identity: Identity, upload_id: str, states: Iterable[str]) -> AsyncIterator[Held]:
        """Hold the lock of an upload of the token's project that is in one of `states`, and keep it. ApiError 404, 409,
        410, 423."""
        document = await blocking(self.store.lock, upload_id, self.settings.lease_seconds, states)
        if document is None:
            raise _not_lockable(await self.get(identity, upload_id), states)
        held = Held(document, document["project_id"], document["container"])
        keeping = asyncio.create_task(self._keep(held))
        try:
            yield held
        finally:
            keeping.cancel()
            with anyio.CancelScope(shield=True):
                try:
                    await blocking(self.store.release, held.id, held.token)
                except PyMongoError as error:
                    log.warning("upload %s stays locked for a while: %s", held.id, error)

    async def _keep(self, held: Held) -> None:
        while True:
            await asyncio.sleep(self.settings.lease_seconds / 4)
            try:
                if not await blocking(self.store.renew, held.id, held.token, self.settings.lease_seconds):
                    return  # the next write finds that out
            except PyMongoError as error:
                log.warning("the lock of upload %s can't be renewed now: %s", held.id, error)


def locked() -> ApiError:
    """423."""
    return ApiError(
        423,
        "locked",
        "another request writes to this upload at the moment, or its end has not been noticed yet; try again",
        headers={"Retry-After": "1"},
    )


def _not_lockable(document: Mapping[str, Any], states: Iterable[str]) -> ApiError:
    status = document["status"]
    if status in states:
        return locked()
    if status in (FAILED, EXPIRED, TERMINATED):
        return gone(document)
    return ApiError(409, "conflict", f"the upload is {status}: this can't be done to it any more")


def gone(document: Mapping[str, Any]) -> ApiError:
    """410, for an upload that is over without an object."""
    said = f": {document['error']}" if document["error"] else ""
    return ApiError(410, "gone", f"the upload is {document['status']}{said}; begin a new one")


def _type(filename: str | None, head: bytes, declared: str | None) -> str:
    try:
        documents.validate_metadata({"content_type": declared or ""})
    except LakeError:
        declared = None
    return content_types.detect(filename or "", head, declared)
