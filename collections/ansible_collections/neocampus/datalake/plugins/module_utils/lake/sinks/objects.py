# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files in an archive become objects of their own, in the archive's container, for the one who put the archive.

Each has a document that leads back: `other_data.archive` is `{object, path, etag, depth}` of the archive, its id, the
path in it, and in how many archives the object lies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from .. import content_types
from ..documents import new_document
from ..errors import Conflict, StoreError
from ..records import Member, Record
from ..states import STORED
from .base import Origin, Sink, Writer

if TYPE_CHECKING:
    from ..metadata import MetadataStore

KEPT_IDS = 1000
PIECE = 256 * 1024

Put = Callable[[str, str, str, Iterator[bytes], str], None]
"""`put(project_id, container, name, content, content_type)`: puts an object that must not be there. Errors: Conflict
where one of that name is, StoreError."""


class ObjectsSink(Sink):
    """Members of archives, in Swift. A member that is there already, of the same archive, is not put again."""

    name: ClassVar[str] = "objects"
    accepts: ClassVar[tuple[type, ...]] = (Member,)
    replaces: ClassVar[bool] = False
    one_by_one: ClassVar[bool] = True

    def __init__(self, metadata: MetadataStore, put: Put) -> None:
        self._metadata = metadata
        self._put = put

    def writer(self, origin: Origin) -> Writer:
        """Puts each member when it comes: what was put stays, also when a later one is broken."""
        return _MemberWriter(self._metadata, self._put, origin)


class _MemberWriter(Writer):
    """Where Swift does not answer, the batch is tried again: what was put by then is known by its documents."""

    def __init__(self, metadata: MetadataStore, put: Put, origin: Origin) -> None:
        self._metadata = metadata
        self._put = put
        self._origin = origin
        self._known = metadata.members(origin.store, origin.object_id, origin.etag)
        self._ids: list[str] = []

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            if not isinstance(record, Member):
                raise TypeError(f"archives have members, not {type(record).__name__}")
            self._ids.append(self._keep(record))

    def _keep(self, member: Member) -> str:
        known = self._known.get(member.path)
        if known is not None and known["status"] == STORED:
            return str(known["swift_object_id"])
        with member.open() as stream:
            head = stream.read(content_types.HEAD_BYTES)
            document = known or self._document(member, content_types.detect(member.path, head, None))
            object_id = str(document["swift_object_id"])
            content = _Content(head, stream)
            try:
                self._put(
                    document["swift_project"],
                    document["swift_container"],
                    str(document["swift_object_name"]),
                    content,
                    document["content_type"],
                )
            except Conflict:
                if known is None:  # a plain client's object has this name: its content stays, ours takes another id
                    self._metadata.abandon(self._origin.store, object_id)
                    raise StoreError(f"the id {object_id} for {member.path!r} was taken", retriable=True) from None
                return object_id  # an attempt before this one put it; its event says so to the document
            except StoreError as error:
                if not error.retriable:  # else it may be there: the document stays pending for the next attempt
                    self._metadata.abandon(self._origin.store, object_id)
                raise
            except BaseException:  # the archive is broken here: Swift did not get the whole object
                self._metadata.abandon(self._origin.store, object_id)
                raise
            etag = content.md5.hexdigest()
            self._metadata.mark_stored(self._origin.store, object_id, etag=etag, size=content.size)
        self._known[member.path] = {**document, "status": STORED}
        return object_id

    def _document(self, member: Member, content_type: str) -> dict[str, Any]:
        archive = self._origin.document
        [object_id] = self._metadata.reserve_ids(1)
        document = new_document(
            object_id=object_id,
            container=str(archive["swift_container"]),
            project_id=str(archive["swift_project"]),
            user=str(archive["swift_user"]),
            object_name=object_id,
            original_name=member.path.rpartition("/")[2],
            content_type=content_type,
            size=max(member.size, 0),
            metadata={
                "other_data": {
                    "archive": {
                        "object": self._origin.object_id,
                        "path": member.path,
                        "etag": self._origin.etag,
                        "depth": _depth(archive) + 1,
                    },
                    **({"modified": member.modified.isoformat()} if member.modified else {}),
                }
            },
        )
        self._metadata.insert(self._origin.store, document)
        return document

    def commit(self) -> dict[str, Any]:
        return {"container": self._origin.store, "objects": len(self._ids), "ids": self._ids[:KEPT_IDS]}

    def close(self) -> None:
        """There is nothing to free."""


class _Content(Iterator[bytes]):
    """A member's content in pieces, counted."""

    def __init__(self, head: bytes, stream: Any) -> None:
        self._head, self._stream = head, stream
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.size = 0
        self.begun = False

    def __next__(self) -> bytes:
        piece = self._stream.read(PIECE) if self.begun else self._head or self._stream.read(PIECE)
        self.begun = True
        if not piece:
            raise StopIteration
        self.md5.update(piece)
        self.size += len(piece)
        return bytes(piece)


def _depth(document: Mapping[str, Any]) -> int:
    archive = (document.get("other_data") or {}).get("archive")
    depth = archive.get("depth") if isinstance(archive, Mapping) else None
    return depth if isinstance(depth, int) and depth > 0 else 0
