# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Several objects as one zip, made while it is sent: in memory there is never more than a piece of it.

What goes wrong after the first byte can't be told by a status any more. The archive then ends without its directory and
the connection without its end, so that no client can take it for a whole one.
"""

from __future__ import annotations

import re
import unicodedata
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import zipstream
from anyio import CapacityLimiter

PIECE = 256 * 1024
MANIFEST = "metadata.json"
NAME_BYTES = 200
_LEVEL = 1
_COMPRESSED = re.compile(
    r"(image/(jpeg|png|gif|webp)|video/|audio/|application/(zip|gzip|x-gzip|x-bzip2|x-xz|x-7z-compressed|zstd|pdf"
    r"|vnd\.openxmlformats|vnd\.apache\.parquet))"
)
_BAD = re.compile(r'[<>:"|?*\\/\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)

Open = Callable[[dict[str, Any]], AsyncIterator[bytes]]
"""Gives the content of a document's object."""


class Names:
    """Names of members: what any system can unpack, each once, whatever case tells them apart."""

    def __init__(self, *taken: str) -> None:
        self._taken = {_folded(name) for name in taken}

    def name(self, wanted: str, object_id: str) -> str:
        """A name for an object, from its own one; with its id where that is taken."""
        safe = _safe(wanted) or object_id
        path = PurePosixPath(safe)
        name, number = safe, 1
        while _folded(name) in self._taken:
            again = object_id if number == 1 else f"{object_id}-{number}"
            name, number = f"{path.stem}-{again}{path.suffix}", number + 1
        self._taken.add(_folded(name))
        return name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _safe(name: str) -> str:
    """The name as a single file's, or nothing."""
    cleaned = _BAD.sub("_", unicodedata.normalize("NFC", name)).strip(" ").rstrip(". ")
    if not cleaned.strip("._ "):
        return ""
    if _RESERVED.match(cleaned):
        cleaned = f"_{cleaned}"
    suffix = PurePosixPath(cleaned).suffix
    suffix = suffix if len(suffix.encode()) <= 20 else ""
    stem = cleaned[: len(cleaned) - len(suffix)].encode()[: NAME_BYTES - len(suffix.encode())].decode(errors="ignore")
    return stem + suffix


class Archive:
    """A zip of objects. `documents` gives their documents, each time it is called; `content` the content of one's
    object; `manifest`: with their documents as a member of its own, in JSON, each with its `archive_name`."""

    def __init__(
        self,
        documents: Callable[[], AsyncIterator[dict[str, Any]]],
        content: Open,
        limiter: CapacityLimiter,
        *,
        manifest: Callable[[dict[str, Any]], bytes] | None = None,
    ) -> None:
        self._documents, self._content, self._limiter, self._manifest = documents, content, limiter, manifest
        self._names: dict[str, str] = {}
        self._open: AsyncIterator[bytes] | None = None
        self._pieces = self._generate()

    async def piece(self) -> bytes:
        """The next bytes; none at the end. Raises whatever `documents` and `content` raise."""
        return await anyio.to_thread.run_sync(self._piece, limiter=self._limiter)

    async def rest(self, first: bytes) -> AsyncIterator[bytes]:
        """All from `first` on."""
        try:
            piece = first
            while piece:
                yield piece
                piece = await self.piece()
        finally:
            with anyio.CancelScope(shield=True):
                await self.close()

    async def close(self) -> None:
        """Let go of the object that is being read."""
        if self._open is not None:
            await self._open.aclose()  # type: ignore[attr-defined]

    def _piece(self) -> bytes:
        gathered = bytearray()
        for part in self._pieces:
            gathered += part
            if len(gathered) >= PIECE:
                break
        return bytes(gathered)

    def _generate(self) -> Iterator[bytes]:
        """The zip, in a thread: what waits for others is asked for in the event loop."""
        made = zipstream.ZipStream(compress_type=zipfile.ZIP_DEFLATED, compress_level=_LEVEL)
        names = Names(*([MANIFEST] if self._manifest else []))
        for document in _in_thread(self._documents()):
            object_id = document["swift_object_id"]
            name = self._names[object_id] = names.name(document["original_object_name"], object_id)
            level = 0 if _COMPRESSED.match(document["content_type"]) else _LEVEL
            made.add(self._member(document), name, compress_level=level)
            yield from made.all_files()
        if self._manifest:
            made.add(self._listed(), MANIFEST)
            yield from made.all_files()
        yield from made.footer()

    def _member(self, document: dict[str, Any]) -> Iterator[bytes]:
        self._open = self._content(document)
        yield from _in_thread(self._open)

    def _listed(self) -> Iterator[bytes]:
        """The manifest: a list of what is in the archive."""
        assert self._manifest
        before = b"[\n"
        for document in _in_thread(self._documents()):
            if name := self._names.get(document["swift_object_id"]):
                yield before + self._manifest({"archive_name": name, **document})
                before = b",\n"
        yield b"\n]\n" if before == b",\n" else b"[]\n"


def _in_thread(given: AsyncIterator[Any]) -> Iterator[Any]:
    while (item := anyio.from_thread.run(_next, given)) is not None:
        yield item


async def _next(given: AsyncIterator[Any]) -> Any:
    return await anext(given, None)
