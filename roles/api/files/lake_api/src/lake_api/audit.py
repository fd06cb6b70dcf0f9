# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The audit: who did what to which object, when, from where, and whether it was let.

A request is noted when it is over, and written to MongoDB (`audit`.`events`) together with others shortly after. The
API's account may add events and read them, and neither change nor remove one; the server removes what is too old.
Nothing is dropped silently: as long as events can't be written they are kept, and when there are as many as a process
may keep, further requests that would have to be noted are refused with 503. What a process that stops can't write any
more goes to its log. A process that is killed loses what it has not written yet, at most `interval_seconds` of it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import pymongo
from bson import ObjectId
from bson.errors import BSONError, InvalidId
from pymongo.errors import BulkWriteError, DocumentTooLarge, PyMongoError

from .errors import ServiceAway, bad_request
from .settings import Audit as AuditSettings
from .stores import blocking

log = logging.getLogger("lake_api.audit")

Result = Literal["done", "refused", "invalid", "failed"]

ACTIONS: dict[str, str] = {
    "log_in": "auth.log_in",
    "log_out": "auth.log_out",
    "make_credential": "auth.make_credential",
    "drop_credential": "auth.drop_credential",
    "change_password": "auth.change_password",
    "list_containers": "container.list",
    "insert": "object.insert",
    "insert_many": "object.insert",
    "list_objects": "object.list",
    "get_object": "object.read",
    "get_data": "object.read_data",
    "edit_object": "object.edit",
    "delete_object": "object.delete",
    "delete_many": "object.delete",
    "archive": "object.read_data",
    "list_operations": "object.read",
    "list_history": "object.read_history",
    "delete_container": "container.delete",
    "search": "object.search",
    "search_in_json": "object.search",
    "get_usage": "project.read_usage",
    "get_usage_by_type": "project.read_usage",
    "get_quota": "project.read_quota",
    "set_quota": "admin.set_quota",
    "get_container_quota": "container.read_quota",
    "set_container_quota": "container.set_quota",
    "create_model": "model.make",
    "change_model": "model.change",
    "withdraw_model": "model.withdraw",
    "set_demand": "container.set_model",
    "remove_demand": "container.set_model",
    "listen": "gold.listen",
    "list_uploads": "upload.read",
    "list_container_uploads": "upload.read",
    "get_upload": "upload.read",
    "get_container_upload": "upload.read",
    "head_upload": "upload.read",
    "create_upload": "upload.begin",
    "patch_upload": "upload.continue",
    "delete_upload": "upload.end",
    "override_upload": "upload.continue",
    "list_models": "model.read",
    "get_model": "model.read",
    "list_versions": "model.read",
    "get_version": "model.read",
    "get_schema": "model.read",
    "validate": "model.try",
    "get_demand": "container.read_model",
    "create_pull": "pull.make",
    "delete_pull": "pull.delete",
    "run_pull": "pull.run",
    "list_pulls": "pull.read",
    "get_pull": "pull.read",
    "get_webhook": "container.read_webhook",
    "put_webhook": "container.set_webhook",
    "replay_objects": "object.replay",
    "object_gold": "gold.read",
    "measurements": "gold.read_series",
    "topics": "gold.read_series",
    "points": "gold.read_series",
    "list_tables": "gold.read_tables",
    "get_table": "gold.read_tables",
    "list_rows": "gold.read_tables",
    "list_documents": "gold.read_documents",
    "get_document": "gold.read_documents",
    "get_document_data": "gold.read_files",
    "list_files": "gold.read_files",
    "get_file": "gold.read_files",
    "graph_objects": "gold.read_graph",
    "graph_images": "gold.read_graph",
    "graph_image": "gold.read_graph",
    "similar_images": "gold.read_graph",
    "list_anomalies": "anomaly.list",
    "count_anomalies": "anomaly.list",
    "get_anomaly": "anomaly.read",
    "acknowledge": "anomaly.acknowledge",
    "withdraw": "anomaly.withdraw",
    "get_rules": "anomaly.read_rules",
    "set_rules": "anomaly.set_rules",
    "dry_run": "pipeline.dry_run",
    "list_users": "admin.list_users",
    "get_user": "admin.read_user",
    "create_user": "admin.make_user",
    "change_user": "admin.change_user",
    "list_groups": "admin.list_groups",
    "list_projects": "admin.list_projects",
    "get_project": "admin.read_project",
    "create_project": "admin.make_project",
    "change_project": "admin.change_project",
    "delete_project": "admin.delete_project",
    "list_assignments": "admin.list_assignments",
    "grant_role": "admin.grant_role",
    "revoke_role": "admin.revoke_role",
    "list_events": "admin.read_audit",
}
"""What each route does, by its name (its `operationId`). A new route stands here, or among those below."""

UNAUDITED = frozenset({"upload_options", "who_am_i", "my_projects", "list_credentials", "list_roles", "list_pipelines"})
"""Routes that show nothing of a project's data: the caller's own account, roles and pipelines."""

_DUPLICATE_KEY = 11000
_OUTCOMES = {401: "refused", 403: "refused", 404: "refused", 429: "refused"}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0


def result_of(status: int) -> str:
    """`done`, `refused` (no right to it, or there is none such, which is not told apart), `invalid` or `failed`."""
    if 0 < status < 400:
        return "done"
    return _OUTCOMES.get(status, "failed" if status >= 500 or not status else "invalid")


def place(event: Mapping[str, Any]) -> str:
    """Where an event stands in the list, for a cursor."""
    return f"{event['time'].isoformat()} {event['_id']}"


def _placed(after: str) -> tuple[datetime, ObjectId]:
    """The place that a cursor has. ApiError 400."""
    time, _, last = after.partition(" ")
    try:
        return datetime.fromisoformat(time), ObjectId(last)
    except (ValueError, InvalidId):
        raise bad_request("query parameter 'cursor': is not a cursor of this list", "invalid_cursor") from None


def shown(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event as the API shows it."""
    time = event["time"].isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {**event, "id": str(event["_id"]), "time": time}


def _not_written(event: Mapping[str, Any], reason: str) -> None:
    log.error("not written to the audit: %s: %s", reason[:200], json.dumps(event, default=str))


class Audit:
    """Takes events, and writes them down in the background of the event loop that it was started in."""

    def __init__(self, client: pymongo.MongoClient[dict[str, Any]], settings: AuditSettings) -> None:
        self._events = client["audit"]["events"]
        self._settings = settings
        self._under_way = 0
        self._waiting: deque[dict[str, Any]] = deque()
        self._more = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._writer: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self.tell: Callable[[int], None] = lambda waiting: None
        """Is told how many events wait, as often as some were written, or could not be."""
        self.written = 0
        """Events that this process has written."""

    @property
    def waiting(self) -> int:
        """Events that are not written yet."""
        return len(self._waiting)

    def reserve(self) -> None:
        """Keep a place for the event of a request that begins. ServiceAway (503) where there is none."""
        if self._under_way + len(self._waiting) >= self._settings.waiting:
            log.error("%s events wait to be written to the audit: requests are refused", len(self._waiting))
            raise ServiceAway("The audit", "what is done here can't be written down at the moment; try again later")
        self._under_way += 1

    def release(self) -> None:
        """The request is not to be noted after all."""
        self._under_way -= 1

    def add(self, event: dict[str, Any]) -> None:
        """Note a request that `reserve` was called for."""
        self._under_way -= 1
        self._waiting.append({"_id": ObjectId(), "time": datetime.now(UTC), **event})
        self._empty.clear()
        self._more.set()
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write_all())

    async def settle(self, seconds: float = 2.0) -> None:
        """Have what this process has noted written now; waits for it, but not longer than `seconds`."""
        self._hurry.set()
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            log.warning("%s events still wait to be written to the audit", len(self._waiting))

    async def stop(self) -> None:
        """Write the rest down, within a time; what is left goes to the log."""
        if self._writer is not None:
            await self.settle(self._settings.stop_seconds)
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
            self._writer = None
        for event in self._waiting:
            _not_written(event, "the process stops")
        self._waiting.clear()

    async def _write_all(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            await self._more.wait()
            if len(self._waiting) < self._settings.batch:
                await self._gather()
            batch = [self._waiting[n] for n in range(min(len(self._waiting), self._settings.batch))]
            try:
                await blocking(self._write, batch)
            except PyMongoError as error:
                self.tell(len(self._waiting))
                log.error("%s events can't be written to the audit: %s", len(self._waiting), error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            pause = _FIRST_PAUSE
            self.written += len(batch)
            for _event in batch:
                self._waiting.popleft()
            self.tell(len(self._waiting))
            if not self._waiting:
                self._more.clear()
                self._hurry.clear()
                self._empty.set()

    async def _gather(self) -> None:
        """Let more come together for a while, unless somebody waits."""
        try:
            await asyncio.wait_for(self._hurry.wait(), self._settings.interval_seconds)
        except TimeoutError:
            return

    def _write(self, batch: list[dict[str, Any]]) -> None:
        """Errors: PyMongoError, where it may go well later. An event that never will goes to the log."""
        try:
            self._events.insert_many(batch, ordered=False)
        except BulkWriteError as error:
            for one in error.details["writeErrors"]:
                # One that an earlier try wrote, whose answer was lost, is there already.
                if one["code"] != _DUPLICATE_KEY:
                    _not_written(batch[one["index"]], str(one.get("errmsg")))
        except (BSONError, DocumentTooLarge, UnicodeError, OverflowError) as error:
            if len(batch) == 1:
                _not_written(batch[0], str(error))
                return
            for event in batch:
                self._write([event])

    def find(
        self,
        project_id: str | None,
        filters: Mapping[str, str],
        *,
        start: datetime | None,
        end: datetime | None,
        limit: int,
        after: str | None,
    ) -> list[dict[str, Any]]:
        """Events of a project, or of all, the newest first. `filters`: user, project (name or id), container, object,
        action, result. Errors: PyMongoError."""
        wanted: list[dict[str, Any]] = []
        if project_id is not None:
            wanted.append({"project_id": project_id})
        for name, value in filters.items():
            if name in ("user", "project"):
                wanted.append({"$or": [{name: value}, {f"{name}_id": value}]})
            elif name == "object":
                wanted.append({"$or": [{"object_id": value}, {"objects": value}]})
            else:
                wanted.append({name: value})
        times = {operator: time for operator, time in (("$gte", start), ("$lt", end)) if time is not None}
        if times:
            wanted.append({"time": times})
        if after is not None:
            before, last = _placed(after)
            wanted.append({"$or": [{"time": {"$lt": before}}, {"time": before, "_id": {"$lt": last}}]})
        found = self._events.find({"$and": wanted} if wanted else {}).sort([("time", -1), ("_id", -1)])
        return list(found.limit(limit).max_time_ms(30_000))


def event_of(scope: Mapping[str, Any], action: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The event of a request that is over. `fields`: those of its line in the log."""
    identity = scope.get("lake.identity")
    given = scope.get("path_params", {})
    status = fields["status"]
    return {
        "action": action,
        "result": result_of(status),
        "status": status,
        "user": identity.user if identity else fields.get("user"),
        "user_id": identity.user_id if identity else None,
        "project": identity.project if identity else fields.get("project"),
        "project_id": identity.project_id if identity else None,
        "container": given.get("container") or fields.get("container"),
        "object_id": given.get("object_id") or fields.get("object_id"),
        "objects": scope.get("lake.objects"),
        "target": fields.get("target"),
        "address": fields["client"],
        "request_id": fields["request_id"],
        "bytes_in": fields["bytes_in"],
        "bytes_out": fields["bytes_out"],
    }
