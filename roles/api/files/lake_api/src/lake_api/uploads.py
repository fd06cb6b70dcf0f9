# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The files of forms: what is read of them, what is held, and what becomes of them.

A file up to a limit is held in memory. A larger one streams to Swift while it is read, if its metadata is known by
then; else it waits on disk until the form ends.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import anyio
from neocampus_lake import content_types, documents
from neocampus_lake.errors import InvalidDocument, LakeError, present
from neocampus_lake.models import insertion_metadata

from . import forms
from .errors import ApiError, bad_request
from .identity import Identity
from .settings import Limits
from .stores import blocking

log = logging.getLogger("lake_api.uploads")

_PIECE = 256 * 1024
_EXAMPLE = '{"application": "comfort"}'


@dataclass(frozen=True)
class Place:
    """Where the objects of a request go, for whom, and how many may be put at the same time."""

    identity: Identity
    container: str
    store: str
    puts: anyio.Semaphore
    key: str | None = None
    """What the documents carry of a request with an idempotency key."""

    @property
    def project_id(self) -> str:
        """The project that the container is of."""
        return self.identity.project_id or ""


@dataclass(eq=False)
class Upload:
    """A file of a form: held in memory, spooled to disk, or still coming; and what became of it."""

    part: forms.Part
    head: bytes = b""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    spool: IO[bytes] | None = None
    form: forms.FormReader | None = None
    """Set when the rest of the file is still to be read from the form."""
    alone: bool = True
    """Whether no other part may follow in the form."""
    size: int = 0
    md5: Any = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))
    """Size and MD5 grow as the file is read; of what goes to Swift while it is read, TLS guards the way, and Swift's is
    taken."""
    etag: str = ""
    """MD5 of the content in Swift, once it is there."""
    whole: bool = False
    """Whether the file, and if it is alone the form around it, came to its end."""

    place: Place | None = None
    """Where it goes."""
    model: dict[str, Any] | None = None
    """The metadata model that it follows, as its document says it."""
    document: dict[str, Any] | None = None
    """Its metadata document, once that is written."""
    stored: bool = False
    """Whether the object is in Swift."""
    uncertain: bool = False
    """Whether the object may be in Swift though it is not known to be stored."""
    error: Exception | None = None
    """Why it is not stored."""

    @property
    def name(self) -> str | None:
        """Its name as the client gave it."""
        return self.part.filename

    @property
    def object_id(self) -> str:
        """The id that its document has."""
        return str(present(self.document)["swift_object_id"])

    def content_type(self) -> str:
        """What the metadata, the form, or the content says that it is. Errors: InvalidDocument (also for its name)."""
        declared = self.part.content_type
        try:
            documents.validate_metadata({"content_type": declared or ""})
        except InvalidDocument:
            declared = None
        if self.name and "original_object_name" not in self.metadata:
            documents.validate_metadata({"original_object_name": self.name})
        return content_types.detect(self.name or "", self.head[: content_types.HEAD_BYTES], declared)

    def close(self) -> None:
        """Let go of the content."""
        self.head = b""
        if self.spool:
            self.spool.close()


class Reader:
    """Reads files and metadata from forms, within limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    async def single(self, form: forms.FormReader) -> Upload:
        """The file of a form that has one, before or after its metadata. ApiError, LakeError."""
        upload: Upload | None = None
        metadata: dict[str, Any] | None = None
        try:
            while part := await form.part():
                if part.name == "metadata":
                    if metadata is not None:
                        raise bad_request("the form has two parts 'metadata'; send one", "invalid_form")
                    metadata = insertion_metadata(_object(await self.json(form)))
                elif part.name == "file":
                    if upload:
                        raise bad_request(
                            "the form has two parts 'file'; send one request for each file, or all of them to "
                            "…/objects/bulk",
                            "invalid_form",
                        )
                    upload = await self.head(part, form)
                    self.count(upload, upload.head)
                    if not upload.whole and metadata is not None:
                        upload.metadata, upload.form = metadata, form
                        return upload
                    if not upload.whole:
                        await self._spool(upload, form)
                else:
                    raise forms.unknown_part(part.name)
            if upload is None:
                raise no_file()
        except BaseException:
            if upload:
                upload.close()
            raise
        upload.metadata, upload.whole = metadata or {}, True
        return upload

    async def json(self, form: forms.FormReader) -> Any:
        """The part at hand, which is JSON. ApiError 400 or 413."""
        raw = bytearray()
        async for chunk in form.chunks():
            raw += chunk
            if len(raw) > self._limits.metadata_bytes:
                raise ApiError(
                    413, "too_large", f"the part 'metadata' may have {self._limits.metadata_bytes} bytes at most"
                )
        try:
            return json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            said = error if isinstance(error, ValueError) else "nested too deeply"
            raise bad_request(
                f"the part 'metadata' is not JSON ({said}); send one JSON object, e.g. {_EXAMPLE}", "invalid_metadata"
            ) from None

    async def head(self, part: forms.Part, form: forms.FormReader) -> Upload:
        """The file of the part at hand, up to the limit of what is held in memory (not yet counted); `whole` if that is
        all of it."""
        held = bytearray()
        async for chunk in form.chunks():
            held += chunk
            if len(held) > self._limits.memory_bytes:
                break
        return Upload(part, bytes(held), whole=len(held) <= self._limits.memory_bytes)

    async def content(self, upload: Upload) -> AsyncIterator[bytes]:
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
            self._grow(upload, len(chunk))
            yield chunk
        # The put only ends after the form has: a form that is cut off, or goes on, must not leave an object.
        if upload.alone and (part := await upload.form.part()):
            raise bad_request(
                f"the part {part.name[:60]!r} comes after the part 'file'; put 'metadata' first, once", "invalid_form"
            )
        upload.whole = True

    def count(self, upload: Upload, chunk: bytes) -> None:
        """Add a chunk to size and MD5. ApiError 413 where it gets too large."""
        self._grow(upload, len(chunk))
        upload.md5.update(chunk)

    def _grow(self, upload: Upload, count: int) -> None:
        upload.size += count
        if upload.size > self._limits.object_bytes:
            raise ApiError(
                413, "too_large", f"a file may have {self._limits.object_bytes} bytes at most; insert it in pieces"
            )

    async def _spool(self, upload: Upload, form: forms.FormReader) -> None:
        """Keep the rest of a file on disk until the form, which may have metadata after it, is over."""
        try:
            spool: IO[bytes] = await blocking(tempfile.TemporaryFile, dir=self._limits.spool_dir)
            upload.spool = spool
            self._check_spooled(upload)
            pending = bytearray(upload.head)
            async for chunk in form.chunks():
                self.count(upload, chunk)
                self._check_spooled(upload)
                pending += chunk
                if len(pending) >= _PIECE:
                    await blocking(spool.write, bytes(pending))
                    pending.clear()
            await blocking(spool.write, bytes(pending))
            await blocking(spool.flush)
        except OSError as error:
            log.error("the spool in %s can't be written: %s", self._limits.spool_dir, error)
            raise ApiError(
                507 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 503,
                "insufficient_storage",
                "the API has no room to hold the file until its metadata comes: "
                "put the part 'metadata' before the part 'file'",
            ) from None

    def _check_spooled(self, upload: Upload) -> None:
        if upload.size > self._limits.spool_bytes:
            raise ApiError(
                413,
                "too_large",
                f"a file over {self._limits.spool_bytes} bytes has to come after its metadata: "
                "put the part 'metadata' before the part 'file' (an empty object, {}, will do)",
            )


class Blocks:
    """The files of a form that has many, block by block: `block()` until it gives none.

    The form's first part may be `metadata`: one object for all files, or a list with an object for each of them.
    """

    def __init__(self, reader: Reader, limits: Limits, form: forms.FormReader) -> None:
        self._reader, self._limits, self._form = reader, limits, form
        self._metadata: dict[str, Any] | list[Any] | None = None
        self._files = 0
        self._large: Upload | None = None
        self._over = False
        self.held: list[Upload] = []
        """Files that are read and not yet given out."""

    async def block(self) -> list[Upload]:
        """The next files: held in memory, as many as a block may have; or a single one whose rest has to be read from
        the form before the next call. None at the end of the form.

        Errors: ApiError, LakeError, for the form; what is wrong with one file is its `error`.
        """
        if self._large:
            large, self._large = self._large, None
            return [large]
        size = 0
        while not self._over and len(self.held) < self._limits.block_files and size < self._limits.block_bytes:
            upload = await self._next()
            if upload is None:
                self._over = True
            elif upload.form:
                self._large = upload
                break
            else:
                self.held.append(upload)
                size += len(upload.head)
        given, self.held = self.held, []
        return given or (await self.block() if self._large else [])

    async def _next(self) -> Upload | None:
        """The next file."""
        while part := await self._form.part():
            if part.name == "metadata":
                if self._files or self._metadata is not None:
                    raise bad_request("the part 'metadata' has to come first, once", "invalid_form")
                self._metadata = _of_all(await self._reader.json(self._form))
            elif part.name == "file":
                return await self._file(part)
            else:
                raise forms.unknown_part(part.name)
        if not self._files:
            raise no_file()
        if isinstance(self._metadata, list) and self._files < len(self._metadata):
            raise self._uneven(f"but the form has {self._files}")
        return None

    async def _file(self, part: forms.Part) -> Upload:
        self._files += 1
        if self._files > self._limits.bulk_files:
            raise ApiError(
                413,
                "too_many_files",
                f"a form may have {self._limits.bulk_files} files at most; send the rest in another request",
            )
        if isinstance(self._metadata, list) and self._files > len(self._metadata):
            raise self._uneven("but the form has more")
        upload = await self._reader.head(part, self._form)
        upload.alone = False
        given = self._metadata[self._files - 1] if isinstance(self._metadata, list) else self._metadata
        try:
            self._reader.count(upload, upload.head)
            upload.metadata = insertion_metadata(_object({} if given is None else given))
            upload.content_type()
        except (ApiError, LakeError) as error:
            upload.error = error
            upload.close()
        else:
            upload.form = None if upload.whole else self._form
        return upload

    def _uneven(self, said: str) -> ApiError:
        count = len(self._metadata or [])
        return bad_request(
            f"the part 'metadata' is a list for {count} files, {said}; give one object for each file in the order of "
            "the files ({} where there is nothing to say), or one object for all",
            "invalid_metadata",
        )


def no_file() -> ApiError:
    """400 for a form without a file."""
    return bad_request(
        "the form has no part 'file'; add one with content and name of the file, e.g. curl -F file=@name",
        "missing_file",
    )


def _of_all(given: Any) -> dict[str, Any] | list[Any]:
    """Metadata of many files: the objects in a list are looked at one by one, with their files."""
    return given if isinstance(given, list) else insertion_metadata(_object(given))


def _object(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise bad_request(
            f"the part 'metadata' is JSON but no object; send fields and values, e.g. {_EXAMPLE}", "invalid_metadata"
        )
    return given


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
