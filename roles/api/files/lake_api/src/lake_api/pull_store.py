# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""What is known of pulls, in MongoDB: `upload`.`pulls`, a document for each, and `upload`.`pulled`, one for each file.

A pull: `id`; `status` (see below); whose it is (`project_id`, `container`, `user`, `user_id`); `host`, `port`,
`remote_user`, `path`, `recursive`, `host_key`, `fields` (of the metadata of each file), `schedule`; `secrets`,
encrypted; `created`, `updated`, `next_run`, `expires`; `lease` {token, worker, until} of the worker that runs it;
`run`, how the last run went or goes.

A file: `pull`, `path`, `size`, `mtime`, as it was when it was pulled; `upload`, by which a large one comes; `object_id`
once it is in.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pymongo
from neocampus_lake.documents import utc

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
STATUSES = (WAITING, RUNNING, DONE, FAILED)
"""One without schedule ends as `done` or `failed` (not all files came); one with it waits for its next run."""

_SHOWN = {"_id": 0, "secrets": 0}


class PullStore:
    """The documents. Blocks; errors of every method: PyMongoError."""

    def __init__(self, client: pymongo.MongoClient[dict[str, Any]]) -> None:
        self._pulls = client["upload"]["pulls"]
        self._pulled = client["upload"]["pulled"]

    def insert(self, document: Mapping[str, Any]) -> None:
        """Add a new one."""
        self._pulls.insert_one(dict(document))

    def get(self, project_id: str, container: str, pull_id: str, *, secrets: bool = False) -> dict[str, Any] | None:
        """A pull of a project's container."""
        query = {"id": pull_id, "project_id": project_id, "container": container}
        return self._pulls.find_one(query, {"_id": 0} if secrets else _SHOWN)

    def find(
        self, project_id: str, container: str, status: str | None, limit: int, after: str | None
    ) -> list[dict[str, Any]]:
        """Pulls of a project's container in the order of their ids, those after the id `after`."""
        query: dict[str, Any] = {"project_id": project_id, "container": container}
        query |= {"status": status} if status else {}
        query |= {"id": {"$gt": after}} if after else {}
        return list(self._pulls.find(query, _SHOWN).sort("id", 1).limit(limit))

    def count(self, project_id: str) -> int:
        """How many pulls a project has."""
        return self._pulls.count_documents({"project_id": project_id})

    def delete(self, pull_id: str) -> None:
        """Remove a pull, and what is known of its files. Its worker notices when it next says that it is alive."""
        self._pulls.delete_one({"id": pull_id})
        self._pulled.delete_many({"pull": pull_id})

    def run_now(self, pull_id: str) -> bool:
        """Let a pull run next; False where it runs."""
        query = {"id": pull_id, "status": {"$ne": RUNNING}}
        update = {"$set": {"status": WAITING, "next_run": utc(), "updated": utc()}}
        return self._pulls.update_one(query, update).matched_count == 1

    def claim(self, worker: str, seconds: float) -> dict[str, Any] | None:
        """A pull whose time has come and that no living worker runs, with its secrets."""
        now = utc()
        due = {
            "status": {"$in": [WAITING, RUNNING]},
            "next_run": {"$lte": now},
            "$or": [{"lease": None}, {"lease.until": {"$lt": now}}],
        }
        for found in self._pulls.find(due, {"id": 1}).sort("next_run", 1).limit(10):
            lease = {"token": uuid.uuid4().hex, "worker": worker, "until": now + timedelta(seconds=seconds)}
            update = {"$set": {"status": RUNNING, "lease": lease, "updated": now}}
            if self._pulls.update_one({"id": found["id"], **due}, update).matched_count:
                return self._pulls.find_one({"id": found["id"], "lease.token": lease["token"]}, {"_id": 0})
        return None

    def update(self, pull_id: str, token: str, seconds: float, **fields: Any) -> bool:
        """Set fields of a pull that a worker runs, and keep its lease; False where it is another's, or gone."""
        given = {"lease.until": utc() + timedelta(seconds=seconds), "updated": utc(), **fields}
        return self._pulls.update_one({"id": pull_id, "lease.token": token}, {"$set": given}).matched_count == 1

    def end(self, pull_id: str, token: str, status: str, next_run: datetime | None, run: Mapping[str, Any]) -> None:
        """Say that a run is over."""
        fields = {"status": status, "next_run": next_run, "run": dict(run), "lease": None, "updated": utc()}
        self._pulls.update_one({"id": pull_id, "lease.token": token}, {"$set": fields})

    def release(self, pull_id: str, token: str) -> None:
        """Leave a pull to whoever comes next."""
        self._pulls.update_one({"id": pull_id, "lease.token": token}, {"$set": {"lease": None}})

    def known(self, pull_id: str, paths: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What is known of files, by path."""
        found = self._pulled.find({"pull": pull_id, "path": {"$in": list(paths)}}, {"_id": 0})
        return {one["path"]: one for one in found}

    def keep(self, pull_id: str, path: str, **fields: Any) -> None:
        """Write down what became of a file."""
        self._pulled.update_one({"pull": pull_id, "path": path}, {"$set": {**fields, "updated": utc()}}, upsert=True)

    def secrets(self) -> Iterable[tuple[str, bytes]]:
        """Ids and encrypted secrets of all pulls."""
        for found in self._pulls.find({}, {"id": 1, "secrets": 1}):
            yield found["id"], found["secrets"]

    def renew_secrets(self, pull_id: str, old: bytes, new: bytes) -> None:
        """Put secrets encrypted anew in the place of the old ones."""
        self._pulls.update_one({"id": pull_id, "secrets": old}, {"$set": {"secrets": new}})
