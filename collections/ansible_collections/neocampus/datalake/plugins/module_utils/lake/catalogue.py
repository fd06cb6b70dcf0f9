# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding metadata documents: lists with filters, search over one container or many, facets, what is used, history.

A container is a collection of its own, and ids grow over all of them: a search asks each container for the first of its
documents and merges the answers by id.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from .documents import check_object_id, utc
from .errors import InvalidInput
from .metadata import mongodb
from .search import FIELD, INTERNAL_FIELDS, Asked
from .sinks.documents import condition
from .sinks.reading import Filter
from .states import DELETED, STORED
from .times import parse_time

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.collection import Collection

    Documents = Collection[dict[str, Any]]

Order = Literal["oldest", "newest"]
Processing = Literal["processed", "failed", "waiting"]

FACETS: Mapping[str, Any] = {
    "content_type": "$content_type",
    "container": "$swift_container",
    "application": "$application",
    "user": "$swift_user",
    "month": {"$dateTrunc": {"date": "$creation_date", "unit": "month"}},
    "measurement": "$other_data.template.measurement",
}
"""What documents are counted by, and where it stands in them."""

TIMES = ("creation_date", "last_modified")
PLAIN_FIELDS = (
    "swift_object_id",
    "swift_container",
    "swift_user",
    "swift_object_name",
    "original_object_name",
    "content_type",
    "data_processing",
    "application",
    "creation_date",
    "last_modified",
    "size",
    "etag",
    "status",
    "processed_data_area_service",
)
"""Fields of a document that conditions may name besides those below `other_data`."""
FIELDS = (*PLAIN_FIELDS, "swift_project", "successful_operations", "failed_operations", "other_data")
"""Fields of a document that may be asked for."""

_WITHOUT_INTERNAL = dict.fromkeys(INTERNAL_FIELDS, 0)
_LAST = {name: {"$max": f"${name}.execution_date"} for name in ("successful_operations", "failed_operations")}
_PROCESSING: Mapping[str, dict[str, Any]] = {
    "processed": {
        "successful_operations.0": {"$exists": True},
        "$expr": {"$gte": [_LAST["successful_operations"], _LAST["failed_operations"]]},
    },
    "failed": {
        "failed_operations.0": {"$exists": True},
        "$expr": {"$gt": [_LAST["failed_operations"], _LAST["successful_operations"]]},
    },
    "waiting": {"successful_operations": [], "failed_operations": []},
}


@dataclass(frozen=True)
class Wanted:
    """Which documents; what is given has to hold together.

    `content_type` is a type (parameters are ignored) or a class (`image/*`); `start` <= creation_date < `end`; `name`
    is a part of the original name without regard to case, or with a `*` after it what the name begins with; `status` is
    one of states, None for all but deleted ones, "any" for all; `processing` tells how the last operation ended;
    `words` are looked for in the texts; `where` are conditions on fields.
    Errors: InvalidInput, for a condition.
    """

    content_type: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    application: str | None = None
    user: str | None = None
    name: str | None = None
    status: str | None = None
    data_processing: str | None = None
    processing: Processing | None = None
    words: tuple[Asked, ...] = ()
    where: tuple[Filter, ...] = ()
    ids: tuple[str, ...] = ()

    def query(self) -> dict[str, Any]:
        """For MongoDB."""
        clauses: list[dict[str, Any]] = [{FIELD: word.condition()} for word in self.words]
        if self.content_type:
            clauses.append({"content_type": {"$regex": _type_pattern(self.content_type)}})
        dates = {key: utc(moment) for key, moment in (("$gte", self.start), ("$lt", self.end)) if moment is not None}
        if dates:
            clauses.append({"creation_date": dates})
        if self.name:
            clauses.append({"original_object_name": _name_pattern(self.name)})
        if self.status is None:
            clauses.append({"status": {"$ne": DELETED}})
        elif self.status != "any":
            clauses.append({"status": self.status})
        if self.processing:
            clauses.append(_PROCESSING[self.processing])
        if self.ids:
            clauses.append({"_id": {"$in": [int(check_object_id(object_id)) for object_id in self.ids]}})
        exact = {"application": self.application, "swift_user": self.user, "data_processing": self.data_processing}
        clauses += [{field: value} for field, value in exact.items() if value is not None]
        clauses += [_where(one) for one in self.where]
        return {"$and": clauses} if clauses else {}


def projection(fields: Iterable[str]) -> dict[str, int]:
    """What MongoDB gives of documents where only `fields` are wanted (with dots; the id is always there); none: all.

    Errors: InvalidInput.
    """
    wanted = sorted(set(fields))
    if not wanted:
        return dict(_WITHOUT_INTERNAL)
    for field in wanted:
        parts = field.split(".")
        if parts[0] not in FIELDS or "" in parts or "$" in field or "\x00" in field:
            raise InvalidInput(f"{field[:80]!r} is no field of a document: {', '.join(FIELDS)}, or other_data.… are")
    kept = [one for one in wanted if not any(one.startswith(f"{other}.") for other in wanted)]
    return dict.fromkeys([*kept, "swift_object_id"], 1)


class Catalogue:
    """Reads documents of containers. `client` has to be opened with tz_aware=True.

    Errors of every method: StoreError when MongoDB is away or does not answer within `seconds`.
    """

    def __init__(self, client: MongoClient[dict[str, Any]], seconds: float = 30.0) -> None:
        self._client = client
        self._milliseconds = int(seconds * 1000)

    def _documents(self, store: str) -> Documents:
        return self._client["swift"][store]

    def find(
        self,
        store: str,
        wanted: Wanted,
        *,
        limit: int,
        order: Order = "oldest",
        after: str | None = None,
        fields: Iterable[str] = (),
    ) -> list[dict[str, Any]]:
        """Documents in the order of their ids, at most `limit`, those after the id `after` in that order."""
        query = wanted.query()
        if after is not None:
            query = {"$and": [{"_id": {"$gt" if order == "oldest" else "$lt": int(check_object_id(after))}}, query]}
        with mongodb(f"list the documents of {store!r}"):
            found = self._documents(store).find(query, projection(fields), max_time_ms=self._milliseconds)
            return list(found.sort("_id", 1 if order == "oldest" else -1).limit(limit))

    def count(self, store: str, wanted: Wanted, most: int) -> int:
        """How many documents these are; it ends at `most`."""
        with mongodb(f"count the documents of {store!r}"):
            return int(self._documents(store).count_documents(wanted.query(), limit=most, maxTimeMS=self._milliseconds))

    def search(
        self,
        stores: Sequence[str],
        wanted: Wanted,
        *,
        limit: int,
        order: Order = "newest",
        after: str | None = None,
        fields: Iterable[str] = (),
    ) -> list[dict[str, Any]]:
        """As `find`, over several stores."""
        fields = tuple(fields)
        each = [self.find(store, wanted, limit=limit, order=order, after=after, fields=fields) for store in stores]
        merged = heapq.merge(*each, key=lambda document: int(document["_id"]), reverse=order == "newest")
        return list(itertools.islice(merged, limit))

    def facets(
        self, stores: Iterable[str], wanted: Wanted, by: Sequence[str], most: int
    ) -> tuple[dict[str, dict[str, int]], int]:
        """How many of the documents have which value, for each of `by` (names of FACETS), and how many documents were
        counted: at most `most`, of each store the newest. What has no value is counted nowhere."""
        found: dict[str, dict[str, int]] = {name: {} for name in by}
        counted = 0
        for store in stores:
            pipeline: list[dict[str, Any]] = [
                {"$match": wanted.query()},
                {"$sort": {"_id": -1}},
                {"$limit": max(1, most - counted)},
                {"$group": {"_id": {name: FACETS[name] for name in by}, "count": {"$sum": 1}}},
            ]
            with mongodb(f"count the documents of {store!r}"):
                for group in self._documents(store).aggregate(pipeline, maxTimeMS=self._milliseconds):
                    counted += group["count"]
                    for name in by:
                        _count(found[name], group["_id"].get(name), group["count"])
            if counted >= most:
                break
        return found, counted

    def used(self, stores: Iterable[str]) -> list[dict[str, Any]]:
        """What the stored objects of stores are, by content type: `{content_type, objects, bytes}`, the most bytes
        first."""
        total: dict[str, list[int]] = {}
        pipeline: list[dict[str, Any]] = [
            {"$match": {"status": STORED}},
            {"$group": {"_id": "$content_type", "objects": {"$sum": 1}, "bytes": {"$sum": "$size"}}},
        ]
        for store in stores:
            with mongodb(f"sum up the documents of {store!r}"):
                groups = list(self._documents(store).aggregate(pipeline, maxTimeMS=self._milliseconds))
            for group in groups:
                known = total.setdefault(str(group["_id"]), [0, 0])
                known[0] += int(group["objects"])
                known[1] += int(group["bytes"])
        found = [{"content_type": kind, "objects": each[0], "bytes": each[1]} for kind, each in total.items()]
        return sorted(found, key=lambda each: (-each["bytes"], each["content_type"]))

    def history(self, container: str, object_id: str, *, limit: int, skip: int = 0) -> list[dict[str, Any]]:
        """What was done to an object, the oldest first: entries as documents.history_entry makes them."""
        query = {"swift_container": container, "swift_id": check_object_id(object_id)}
        with mongodb(f"read the history of object {object_id}"):
            found = self._client["data_historique"]["history"].find(query, max_time_ms=self._milliseconds)
            return list(found.sort([("creation_date", 1), ("_id", 1)]).skip(skip).limit(limit))

    def with_key(self, store: str, key: str) -> list[dict[str, Any]]:
        """The documents that an insertion under this idempotency key made."""
        with mongodb(f"look for what was inserted before into {store!r}"):
            return list(self._documents(store).find({"idempotency_key": key}).sort("_id", 1))


def _count(values: dict[str, int], value: Any, count: int) -> None:
    if isinstance(value, datetime):
        value = f"{value:%Y-%m}"
    if isinstance(value, str):
        values[value] = values.get(value, 0) + count


def _type_pattern(content_type: str) -> str:
    wanted = content_type.strip()
    return "^" + (re.escape(wanted[:-1]) if wanted.endswith("/*") else re.escape(wanted) + r"\s*(;|$)")


def _name_pattern(name: str) -> dict[str, str]:
    if name.endswith("*") and len(name) > 1:
        return {"$regex": "^" + re.escape(name[:-1])}
    return {"$regex": re.escape(name), "$options": "i"}


def _where(one: Filter) -> dict[str, Any]:
    first = one.field.partition(".")[0]
    if one.field not in PLAIN_FIELDS and first != "other_data":
        raise InvalidInput(
            f"{one.field[:80]!r} is no field to look for: {', '.join(PLAIN_FIELDS)}, or other_data.… are"
        )
    if one.field in TIMES and isinstance(one.value, str):
        return condition(Filter(one.field, one.operator, _moment(one.value)))
    return condition(one)


def _moment(text: str) -> datetime:
    from datetime import timedelta, timezone

    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=parse_time(text) // 1000)
