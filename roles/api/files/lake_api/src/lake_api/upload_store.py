# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""What is known of large uploads: `upload`.`file_upload` in MongoDB, a document for each.

`id`; `status` (see below); `started`, `updated`, `expires`; whose it is (`project_id`, `container`, `user`, `user_id`);
`length` and `offset` in bytes; `metadata` (Upload-Metadata as it came) and what it says (`filename`, `content_type`,
`fields`, `checksums`); `parts`, a list of {n: name in the container of segments, s: bytes, e: MD5}; `hashes`, the
states of running checksums at `offset`; `lock` {token, until}; `partial`, or `joins` (ids) of one that is made of
partial ones, `joined` of those; `object_id` and `swift_etag` once it becomes an object; `error`, why it failed.

Who writes holds the lock. Its token stands in the condition of each write, so that one whose lock has gone to another
can't write any more: `offset` only ever says what is in Swift.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pymongo
from neocampus_lake.documents import utc

CREATED, RECEIVING, RECEIVED, ASSEMBLING = "created", "receiving", "received", "assembling"
DONE, FAILED, EXPIRED, TERMINATED = "done", "failed", "expired", "terminated"
STATUSES = (CREATED, RECEIVING, RECEIVED, ASSEMBLING, DONE, FAILED, EXPIRED, TERMINATED)
"""`received`: a partial upload that is whole and not yet joined. From `done` on nothing changes any more."""
OPEN = (CREATED, RECEIVING, RECEIVED, ASSEMBLING)
OVER = (DONE, FAILED, EXPIRED, TERMINATED)

_SHOWN = {"_id": 0, "parts": 0, "hashes": 0}


class UploadStore:
    """The documents. Blocks; errors of every method: PyMongoError."""

    def __init__(self, client: pymongo.MongoClient[dict[str, Any]]) -> None:
        self._uploads = client["upload"]["file_upload"]

    def insert(self, document: Mapping[str, Any]) -> None:
        """Add a new one."""
        self._uploads.insert_one(dict(document))

    def get(
        self, project_id: str, upload_id: str, container: str | None = None, *, parts: bool = False
    ) -> dict[str, Any] | None:
        """An upload of a project; `parts`: with those and the states of its checksums."""
        query = {"id": upload_id, "project_id": project_id} | ({"container": container} if container else {})
        return self._uploads.find_one(query, {"_id": 0} if parts else _SHOWN)

    def find(
        self,
        project_id: str,
        *,
        container: str | None = None,
        status: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[dict[str, Any]]:
        """Uploads of a project, the newest first, those after the place `after` (see `place`)."""
        query: dict[str, Any] = {"project_id": project_id}
        query |= {"container": container} if container else {}
        query |= {"status": status} if status else {}
        if after is not None:
            moment, _, upload_id = after.partition("/")
            started = datetime.fromisoformat(moment)
            query["$or"] = [{"started": {"$lt": started}}, {"started": started, "id": {"$gt": upload_id}}]
        return list(self._uploads.find(query, _SHOWN).sort([("started", -1), ("id", 1)]).limit(limit))

    @staticmethod
    def place(document: Mapping[str, Any]) -> str:
        """Where a document is in the list."""
        return f"{document['started'].isoformat()}/{document['id']}"

    def open(self, project_id: str) -> int:
        """How many uploads of a project are not over."""
        return self._uploads.count_documents({"project_id": project_id, "status": {"$in": list(OPEN)}})

    def lock(self, upload_id: str, seconds: float, states: Iterable[str]) -> dict[str, Any] | None:
        """Take the lock of an upload in one of `states`, for so long; the document with its parts, or None where
        another has the lock or it is in no such state."""
        now = utc()
        lock = {"token": uuid.uuid4().hex, "until": now + timedelta(seconds=seconds)}
        query = {
            "id": upload_id,
            "status": {"$in": list(states)},
            "$or": [{"lock": None}, {"lock.until": {"$lt": now}}],
        }
        if not self._uploads.update_one(query, {"$set": {"lock": lock}}).matched_count:
            return None
        return self._uploads.find_one({"id": upload_id, "lock.token": lock["token"]}, {"_id": 0})

    def renew(self, upload_id: str, token: str, seconds: float) -> bool:
        """Keep the lock for longer; False where it has gone to another."""
        until = utc() + timedelta(seconds=seconds)
        return self._held(upload_id, token, {"$set": {"lock.until": until}})

    def commit(
        self, upload_id: str, token: str, offset: int, parts: Sequence[Mapping[str, Any]], **fields: Any
    ) -> bool:
        """Say that parts are in Swift, which follow `offset`; False where the lock has gone to another."""
        end = offset + sum(part["s"] for part in parts)
        update = {
            "$push": {"parts": {"$each": [dict(part) for part in parts]}},
            "$set": {"offset": end, "updated": utc(), **fields},
        }
        return self._held(upload_id, token, update, offset=offset)

    def update(self, upload_id: str, token: str, **fields: Any) -> bool:
        """Set fields; False where the lock has gone to another."""
        return self._held(upload_id, token, {"$set": {"updated": utc(), **fields}})

    def release(self, upload_id: str, token: str) -> None:
        """Let go of the lock."""
        self._held(upload_id, token, {"$set": {"lock": None}})

    def _held(self, upload_id: str, token: str, update: Mapping[str, Any], **same: Any) -> bool:
        found = self._uploads.update_one({"id": upload_id, "lock.token": token, **same}, dict(update))
        return found.matched_count == 1

    def join(self, project_id: str, container: str, ids: Sequence[str], final: str) -> bool:
        """Let partial uploads be those of a final one: all of them, or none where one is not there, not whole, or
        another's."""
        query = {"id": {"$in": list(ids)}, "project_id": project_id, "container": container, "status": RECEIVED}
        free = {**query, "joined": None}
        taken = self._uploads.update_many(free, {"$set": {"joined": final, "updated": utc()}}).modified_count
        if taken != len(ids):
            self.part(final)
        return taken == len(ids)

    def part(self, final: str) -> None:
        """Undo `join`."""
        self._uploads.update_many({"joined": final, "status": RECEIVED}, {"$set": {"joined": None}})

    def joined(self, final: str, **fields: Any) -> None:
        """Set fields of the partial uploads of a final one."""
        self._uploads.update_many({"joined": final}, {"$set": {"updated": utc(), **fields}})

    def expired(self, limit: int = 100) -> list[str]:
        """Ids of uploads whose time is over; partial ones that belong to a final one go with that."""
        query = {"status": {"$in": list(OPEN)}, "expires": {"$lt": utc()}, "joined": None}
        return [found["id"] for found in self._uploads.find(query, {"id": 1}).limit(limit)]

    def unswept(self, before: datetime, limit: int = 100) -> list[dict[str, Any]]:
        """Uploads that were over before that time, whose segments were not yet looked through."""
        query = {"status": {"$in": list(OVER)}, "swept": False, "updated": {"$lt": before}}
        return list(self._uploads.find(query, {"_id": 0, "hashes": 0}).limit(limit))

    def swept(self, upload_id: str) -> None:
        """Say that nothing needless of an upload is left in Swift."""
        self._uploads.update_one({"id": upload_id}, {"$set": {"swept": True}})

    def of_object(self, project_id: str, container: str, object_id: str) -> dict[str, Any] | None:
        """The upload that became an object."""
        query = {"project_id": project_id, "container": container, "object_id": object_id, "status": DONE}
        return self._uploads.find_one({**query, "joined": None}, _SHOWN)
