# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Anomalies and their rules, in MongoDB.

`anomalies`.`<store>`: a document per anomaly (see document_of). `stats`.`anomaly_rules`: each version of a container's
rules, and of the lake's default, stays, so that every anomaly leads to the rule that found it.
`stats`.`anomaly_progress`: up to which time a container was examined; `stats`.`anomaly_series`: the newest point of
each series that was examined.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from .anomalies import KINDS, Finding, Rules, Series, check_default, check_rules
from .documents import utc
from .errors import Conflict, InvalidInput, NotFound
from .metadata import WRITE_TIMEOUT_MS, mongodb
from .times import NS, format_time

if TYPE_CHECKING:
    from pymongo import MongoClient

    from .metadata import Documents

DATABASE = "anomalies"
GROUPS = ("measurement", "topic", "kind", "day")
"""What anomalies can be counted by."""
BATCH = 1000
MAX_NOTE = 1000

_DETAILS = ("value", "expected", "score", "rule", "until", "until_ns", "seconds")
"""What another run can find otherwise of the same anomaly."""


@dataclass(frozen=True)
class Query:
    """Which anomalies of a container: those that are as all says that is not None; `start` <= time < `end` in ns. The
    topic of series without one is the empty text."""

    measurement: str | None = None
    topic: str | None = None
    kind: str | None = None
    start: int | None = None
    end: int | None = None
    acknowledged: bool | None = None

    def filter(self) -> dict[str, Any]:
        """As MongoDB takes it."""
        found: dict[str, Any] = {
            key: value
            for key, value in (("measurement", self.measurement), ("topic", self.topic), ("kind", self.kind))
            if value is not None
        }
        times = {key: value for key, value in (("$gte", self.start), ("$lt", self.end)) if value is not None}
        if times:
            found["time_ns"] = times
        if self.acknowledged is not None:
            found["acknowledged"] = {"$ne": None} if self.acknowledged else None
        return found


@dataclass
class Tally:
    """How many anomalies a run found that were not known, changed, removed, and found as they were; `kept` are those
    that it did not find any more, but which somebody has acknowledged."""

    new: int = 0
    changed: int = 0
    removed: int = 0
    same: int = 0
    kept: int = 0

    def add(self, other: Tally) -> None:
        """Add another's counts."""
        self.new += other.new
        self.changed += other.changed
        self.removed += other.removed
        self.same += other.same
        self.kept += other.kept


def document_of(finding: Finding, container: str) -> dict[str, Any]:
    """What is kept of an anomaly, but for who found it and when.

    `time` is a date, to be counted by, `time_ns` exact; `tags` are those besides the topic, which is empty where a
    series has none; `expected` has the least and the greatest value that would have been right. Of a gap: `seconds`,
    and `until`, `until_ns`, the time of the point that ended it (null: it goes on).
    """
    series = finding.series
    found: dict[str, Any] = {
        "_id": finding.id,
        "container": container,
        "measurement": series.measurement,
        "topic": series.topic,
        "tags": {key: value for key, value in series.tags.items() if key != "topic"},
        "field": series.field,
        "time": _date(finding.time),
        "time_ns": finding.time,
        "kind": finding.kind,
        "value": finding.value,
        "expected": {"low": finding.low, "high": finding.high},
        "score": finding.score,
        "rule": {"name": finding.rule.name, "version": finding.rule.version},
    }
    if finding.kind == "gap":
        until = finding.until
        found.update(
            expected={"seconds": (finding.rule.gap or 0) / NS},
            seconds=finding.seconds,
            until=None if until is None else _date(until),
            until_ns=until,
        )
    return found


def shown(document: Mapping[str, Any]) -> dict[str, Any]:
    """An anomaly as people are given it: `id`, exact times as texts."""
    left = {key: value for key, value in document.items() if key not in ("_id", "time_ns", "until_ns")}
    left = {"id": document["_id"], **left, "time": format_time(document["time_ns"])}
    if document.get("until_ns") is not None:
        left["until"] = format_time(document["until_ns"])
    left.setdefault("acknowledged", None)
    return left


def _date(nanoseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=nanoseconds // 1_000_000)


class AnomalyStore:
    """Anomalies and rules. `client` has to be opened with tz_aware=True.

    Errors of every method: StoreError when MongoDB is away or refuses.
    """

    def __init__(self, client: MongoClient[dict[str, Any]]) -> None:
        self._client = client
        self._indexed: set[str] = set()

    def _collection(self, database: str, name: str) -> Documents:
        from pymongo import WriteConcern

        concern = WriteConcern(w="majority", wtimeout=WRITE_TIMEOUT_MS)
        return self._client.get_database(database).get_collection(name, write_concern=concern)

    def _anomalies(self, store: str) -> Documents:
        return self._collection(DATABASE, store)

    @property
    def _rules(self) -> Documents:
        return self._collection("stats", "anomaly_rules")

    # -- rules

    def declared(self, store: str, version: int | None = None) -> dict[str, Any]:
        """A container's rules, the newest or those of that version: `{rules, version, changed_at, changed_by}`. Without
        any: no rules, version 0.

        Errors: NotFound when there is no such version.
        """
        with mongodb(f"read the anomaly rules of {store!r}"):
            query = {"store": store} if version is None else {"store": store, "version": version}
            found = self._rules.find_one(query, sort=[("version", -1)])
        if found is None:
            if version:
                raise NotFound(f"there are no anomaly rules of version {version} of {store!r}")
            return {"rules": [], "version": 0, "changed_at": None, "changed_by": None}
        return {key: found[key] for key in ("rules", "version", "changed_at", "changed_by")}

    def declare(self, store: str, body: Any, user: str) -> dict[str, Any]:
        """Makes `body` (`{"rules": […]}`) the container's rules, if it is checked well; what `declared` then says.

        Rules that are as they were stay the version that they are. Errors: DeclarationError; Conflict where somebody
        else changes them at the same moment.
        """
        check_rules(body)
        before = self.declared(store)
        if before["rules"] == body["rules"]:
            return before
        return self._add(store, {"rules": body["rules"]}, before["version"] + 1, user)

    def default(self) -> dict[str, Any] | None:
        """The lake's default: `{default, version}`; None as long as no run has said what it is."""
        with mongodb("read the lake's default for anomalies"):
            found = self._rules.find_one({"store": ""}, sort=[("version", -1)])
        return None if found is None else {"default": found["default"], "version": found["version"]}

    def declare_default(self, parts: Mapping[str, Any], user: str) -> int:
        """Says what the lake's default is; its version. Errors: DeclarationError, Conflict."""
        check_default(parts)
        before = self.default()
        if before is not None and before["default"] == parts:
            return int(before["version"])
        version = (before["version"] if before else 0) + 1
        self._add("", {"default": dict(parts)}, version, user)
        return version

    def _add(self, store: str, content: Mapping[str, Any], version: int, user: str) -> dict[str, Any]:
        from pymongo.errors import DuplicateKeyError

        document = {"store": store, "version": version, "changed_at": utc(), "changed_by": user, **content}
        with mongodb(f"write the anomaly rules of {store or 'the lake'!r}"):
            try:
                self._rules.insert_one({"_id": f"{store}/{version}", **document})
            except DuplicateKeyError:
                raise Conflict(
                    "somebody else changed the anomaly rules at the same moment: read them, and send yours again"
                ) from None
        del document["store"]
        return document

    def rules(self, store: str, default: Mapping[str, Any], default_version: int) -> Rules:
        """A container's rules, ready for use. Errors: DeclarationError where what is kept is not as it must be."""
        kept = self.declared(store)
        return Rules({"rules": kept["rules"]}, kept["version"], default, default_version)

    # -- anomalies

    def ensure_indexes(self, store: str) -> None:
        """Makes the indexes of a container's anomalies (once in a process; nothing happens where they are)."""
        if store in self._indexed:
            return
        with mongodb(f"make the indexes of the anomalies of {store!r}"):
            anomalies = self._anomalies(store)
            anomalies.create_index([("time_ns", 1), ("_id", 1)])
            anomalies.create_index([("measurement", 1), ("topic", 1), ("kind", 1), ("time_ns", 1)])
        self._indexed.add(store)

    def find(self, store: str, query: Query, limit: int = 100, after: str | None = None) -> list[dict[str, Any]]:
        """Anomalies as people are given them, in the order of time, at most `limit`, those after the `position` of
        another. Errors: InvalidInput for a bad position."""
        where = query.filter()
        if after is not None:
            time, _dash, known = after.partition("/")
            try:
                nanoseconds = int(time)
            except ValueError:
                raise InvalidInput(f"{after!r:.60} is not the position of an anomaly") from None
            later = [{"time_ns": {"$gt": nanoseconds}}, {"time_ns": nanoseconds, "_id": {"$gt": known}}]
            where = {"$and": [where, {"$or": later}]}
        with mongodb(f"list the anomalies of {store!r}"):
            found = self._anomalies(store).find(where).sort([("time_ns", 1), ("_id", 1)]).limit(limit)
            return [{**shown(document), "position": f"{document['time_ns']}/{document['_id']}"} for document in found]

    def count(
        self, store: str, query: Query, by: Sequence[str], limit: int = 100, skip: int = 0
    ) -> list[dict[str, Any]]:
        """How many anomalies there are of each combination of `by` (see GROUPS; days are those of UTC), in their order:
        `{…, count}`; at most `limit`, without the first `skip`. By nothing: one count of all.

        Errors: InvalidInput for something that cannot be counted by.
        """
        unknown = [key for key in by if key not in GROUPS]
        if unknown:
            raise InvalidInput(f"anomalies are counted by {', '.join(GROUPS)}, not by {unknown[0]!r:.60}")
        day = {"$dateToString": {"format": "%Y-%m-%d", "date": "$time"}}
        group: dict[str, Any] = {key: day if key == "day" else f"${key}" for key in by}
        stages: list[dict[str, Any]] = [
            {"$match": query.filter()},
            {"$group": {"_id": group or None, "count": {"$sum": 1}}},
        ]
        if group:
            stages.append({"$sort": {f"_id.{key}": 1 for key in by}})
        with mongodb(f"count the anomalies of {store!r}"):
            found = self._anomalies(store).aggregate([*stages, {"$skip": skip}, {"$limit": limit}])
            counts = [{**(item["_id"] or {}), "count": item["count"]} for item in found]
        return counts if by or counts or skip else [{"count": 0}]

    def get(self, store: str, anomaly: str) -> dict[str, Any] | None:
        """An anomaly as people are given it."""
        with mongodb(f"read an anomaly of {store!r}"):
            found = self._anomalies(store).find_one({"_id": anomaly})
        return None if found is None else shown(found)

    def acknowledge(self, store: str, anomaly: str, user: str, note: str = "") -> dict[str, Any] | None:
        """Says that somebody has seen an anomaly: no run removes it then. None where there is none such.

        Errors: InvalidInput for a note that is too long.
        """
        if len(note) > MAX_NOTE:
            raise InvalidInput(f"note: at most {MAX_NOTE} characters are kept")
        return self._set(store, anomaly, {"$set": {"acknowledged": {"by": user, "at": utc(), "note": note}}})

    def withdraw(self, store: str, anomaly: str) -> dict[str, Any] | None:
        """Takes an acknowledgement back; None where there is no such anomaly."""
        return self._set(store, anomaly, {"$unset": {"acknowledged": ""}})

    def _set(self, store: str, anomaly: str, update: Mapping[str, Any]) -> dict[str, Any] | None:
        from pymongo import ReturnDocument

        with mongodb(f"update an anomaly of {store!r}"):
            found = self._anomalies(store).find_one_and_update(
                {"_id": anomaly}, update, return_document=ReturnDocument.AFTER
            )
        return None if found is None else shown(found)

    def known(
        self, store: str, scope: Iterable[tuple[str, str, str]], start: int, end: int
    ) -> dict[str, dict[str, Any]]:
        """The anomalies by id, as they are kept, of the series with these (measurement, field, topic), in `start` <=
        time < `end`; and the gaps that reach into it."""
        wanted = set(scope)
        if not wanted:
            return {}
        within = {
            "measurement": {"$in": sorted({measurement for measurement, _field, _topic in wanted})},
            "topic": {"$in": sorted({topic for _measurement, _field, topic in wanted})},
        }
        points = {"kind": {"$in": [kind for kind in KINDS if kind != "gap"]}, "time_ns": {"$gte": start, "$lt": end}}
        gaps = {
            "kind": "gap",
            "time_ns": {"$lt": end},
            "$or": [{"until_ns": None}, {"until_ns": {"$gte": start}}],
        }
        found: dict[str, dict[str, Any]] = {}
        with mongodb(f"read the anomalies of {store!r}"):
            fields = dict.fromkeys(("measurement", "field", "topic", "acknowledged", *_DETAILS), 1)
            for part in (points, gaps):
                for document in self._anomalies(store).find({**within, **part}, fields):
                    if (document["measurement"], document["field"], document["topic"]) in wanted:
                        found[document["_id"]] = document
        return found

    def keep(
        self,
        store: str,
        container: str,
        findings: Iterable[Finding],
        known: dict[str, dict[str, Any]],
        *,
        run: str,
        now: datetime,
        dry_run: bool = False,
    ) -> Tally:
        """Keeps what a run found of what `known` was read for: what is new is added, what is otherwise changed, what
        was not found again removed, unless it is acknowledged. An anomaly keeps the run and the date that found it
        first.

        `known` is empty afterwards. With `dry_run` it is only counted.
        """
        tally = Tally()
        for some in _batches(self._updates(container, findings, known, run, now, tally)):
            if not dry_run:
                self.ensure_indexes(store)
                with mongodb(f"write {len(some)} anomalies of {store!r}"):
                    self._anomalies(store).bulk_write(some, ordered=False)
        gone = []
        for anomaly, document in known.items():
            if document.get("acknowledged"):
                tally.kept += 1
            else:
                tally.removed += 1
                gone.append(anomaly)
        known.clear()
        for some in _batches(iter(gone)):
            if not dry_run:
                with mongodb(f"remove {len(some)} anomalies of {store!r}"):
                    self._anomalies(store).delete_many({"_id": {"$in": some}, "acknowledged": None})
        return tally

    @staticmethod
    def _updates(
        container: str,
        findings: Iterable[Finding],
        known: dict[str, dict[str, Any]],
        run: str,
        now: datetime,
        tally: Tally,
    ) -> Iterator[Any]:
        from pymongo import UpdateOne

        first = {"detected_at": utc(now), "run": run}
        for finding in findings:
            document = document_of(finding, container)
            before = known.pop(document["_id"], None)
            key = {"_id": document.pop("_id")}
            if before is None:
                tally.new += 1
                yield UpdateOne(key, {"$set": document, "$setOnInsert": first}, upsert=True)
            elif any(before.get(name) != document.get(name) for name in _DETAILS):
                tally.changed += 1
                yield UpdateOne(key, {"$set": document, "$setOnInsert": first}, upsert=True)
            else:
                tally.same += 1

    # -- how far runs have come

    def progress(self, store: str) -> dict[str, Any] | None:
        """`{until, looked}` of a container: up to when (ns) all series were examined, and the date from which on newly
        processed objects were not looked at. None for one that never was."""
        with mongodb(f"read how far {store!r} was examined"):
            return self._collection("stats", "anomaly_progress").find_one({"_id": store})

    def set_progress(self, store: str, **values: Any) -> None:
        """Changes what `progress` says."""
        with mongodb(f"write how far {store!r} was examined"):
            self._collection("stats", "anomaly_progress").update_one({"_id": store}, {"$set": values}, upsert=True)

    def newest(self, store: str, series: Sequence[str]) -> dict[str, int]:
        """The time (ns) of the newest point that was examined, of series by id; those that never were are not there."""
        ids = [f"{store}/{one}" for one in series]
        with mongodb(f"read the newest points of {store!r}"):
            found = self._collection("stats", "anomaly_series").find({"_id": {"$in": ids}}, {"newest_ns": 1})
            return {document["_id"].rpartition("/")[2]: document["newest_ns"] for document in found}

    def set_newest(self, store: str, newest: Iterable[tuple[Series, int]]) -> None:
        """Says what the newest points are."""
        from pymongo import UpdateOne

        updates = (
            UpdateOne(
                {"_id": f"{store}/{series.id}"},
                {
                    "$set": {"newest_ns": time},
                    "$setOnInsert": {
                        "store": store,
                        "measurement": series.measurement,
                        "field": series.field,
                        "tags": dict(series.tags),
                    },
                },
                upsert=True,
            )
            for series, time in newest
        )
        for some in _batches(updates):
            with mongodb(f"write the newest points of {store!r}"):
                self._collection("stats", "anomaly_series").bulk_write(some, ordered=False)

    def written(self, store: str, since: datetime | None) -> Iterator[dict[str, Any]]:
        """What processing has written into InfluxDB since a date (None: ever), as objects' operations tell: `{from,
        to}` in ISO 8601, and, unless there were too many, `measurement` and `topic`."""
        query: dict[str, Any] = {"processed_data_area_service": "influxdb"}
        if since is not None:
            query["last_modified"] = {"$gte": utc(since)}
        # Of each document the newest few operations: one that is older was looked at when it was new.
        fields = {"successful_operations": {"$slice": -5}}
        with mongodb(f"look for newly processed objects of {store!r}"):
            for document in self._collection("swift", store).find(query, fields):
                for operation in document.get("successful_operations", ()):
                    yield from ((operation.get("gold") or {}).get("influxdb") or {}).get("series", ())


def _batches(items: Iterator[Any]) -> Iterator[list[Any]]:
    while some := list(itertools.islice(items, BATCH)):
        yield some
