# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes objects again: finds them by their documents, and puts them on the list of data to process.

The list is `stats`.`swift`; the workflow `check_data_to_process` starts runs of `new_input` from it, so that an object
is really processed again, by a run of its own, by the pipeline that it has then. Sinks replace what an earlier run
made of the object: doing it twice makes nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .documents import check_object_id, utc
from .errors import InvalidInput, StoreError
from .states import STORED

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.collection import Collection

PIECE = 1000
"""How many objects are found and listed at once."""


@dataclass(frozen=True)
class Selection:
    """Which objects of a container: those of `ids`, those made at `start` <= creation_date < `end`, those that a
    `pipeline` (in that `version`, where one is given) processed, well or badly. What is given has to hold together.

    Errors: InvalidInput where nothing is given, or a version without its pipeline; InvalidName for what is no id.
    """

    ids: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    pipeline: str | None = None
    version: str | None = None

    def __post_init__(self) -> None:
        if not (self.ids or self.start or self.end or self.pipeline):
            raise InvalidInput("say which objects: ids, a time (from, to), or a pipeline")
        if self.version is not None and not self.pipeline:
            raise InvalidInput("a version is one of a pipeline: say which")
        if self.start and self.end and utc(self.start) >= utc(self.end):
            raise InvalidInput("the time ends before it begins: exchange from and to")
        for object_id in self.ids:
            check_object_id(object_id)

    def query(self) -> dict[str, Any]:
        """For MongoDB: of the stored objects (there is nothing to process of others)."""
        clauses: list[dict[str, Any]] = [{"status": STORED}]
        if self.ids:
            clauses.append({"_id": {"$in": [int(object_id) for object_id in self.ids]}})
        if self.start:
            clauses.append({"creation_date": {"$gte": utc(self.start)}})
        if self.end:
            clauses.append({"creation_date": {"$lt": utc(self.end)}})
        if self.pipeline:
            done: dict[str, Any] = {"pipeline": self.pipeline}
            if self.version is not None:
                done["version"] = self.version
            lists = ("successful_operations", "failed_operations")
            clauses.append({"$or": [{name: {"$elemMatch": done}} for name in lists]})
        return {"$and": clauses}


def count(client: MongoClient[dict[str, Any]], store: str, selection: Selection) -> int:
    """How many objects of a store are meant. Errors: StoreError."""
    from pymongo.errors import PyMongoError

    try:
        return int(client["swift"][store].count_documents(selection.query()))
    except PyMongoError as error:
        raise StoreError(f"MongoDB did not count the objects of {store!r}: {error}") from error


def find(
    client: MongoClient[dict[str, Any]],
    store: str,
    selection: Selection,
    *,
    after: str | None = None,
    limit: int | None = None,
) -> Iterator[list[dict[str, Any]]]:
    """The documents that are meant, in the order of their ids, in pieces of at most PIECE; of those after the id
    `after` at most `limit`. Only what a payload needs is in them. Errors: StoreError."""
    from pymongo.errors import PyMongoError

    keys = ("swift_object_id", "swift_object_name", "swift_user", "content_type", "size", "etag")
    last = int(check_object_id(after)) if after else 0
    left = limit
    while left is None or left > 0:
        query = {"$and": [{"_id": {"$gt": last}}, selection.query()]}
        wanted = PIECE if left is None else min(PIECE, left)
        try:
            found = list(client["swift"][store].find(query, dict.fromkeys(keys, 1)).sort("_id", 1).limit(wanted))
        except PyMongoError as error:
            raise StoreError(f"MongoDB did not find the objects of {store!r}: {error}") from error
        if not found:
            return
        yield found
        last = found[-1]["_id"]
        left = None if left is None else left - len(found)


def payload(document: Mapping[str, Any], project_id: str, container: str) -> dict[str, Any]:
    """The entry of the list for an object. It has no timestamp: it asks for the object as it is."""
    return {
        "swift_id": document["swift_object_name"],
        "swift_container": container,
        "swift_user": document.get("swift_user") or "",
        "content_type": document.get("content_type") or "",
        "project_id": project_id,
        "size": int(document.get("size") or 0),
        "etag": document.get("etag") or "",
    }


def put(entries: Collection[dict[str, Any]], payloads: Iterable[Mapping[str, Any]]) -> int:
    """Puts objects on the list; how many were not on it yet. One that is there stays as it is."""
    from pymongo import UpdateOne

    key = ("swift_id", "swift_container", "project_id")
    updates = [
        UpdateOne({name: entry[name] for name in key}, {"$setOnInsert": dict(entry)}, upsert=True) for entry in payloads
    ]
    return int(entries.bulk_write(updates, ordered=False).upserted_count) if updates else 0


def replay(
    client: MongoClient[dict[str, Any]],
    known: Mapping[str, str],
    selection: Selection,
    *,
    after: str | None = None,
    limit: int | None = None,
) -> tuple[int, int, str | None]:
    """Puts the objects that are meant, of a container `known` as in MetadataStore.registry, on the list of data to
    process, a piece at a time: how many objects that were, how many were not on the list yet, and the id of the last
    one where `limit` ended it (None: those were all). Doing it again changes nothing. Errors: StoreError."""
    from pymongo.errors import PyMongoError

    entries = client["stats"]["swift"]
    objects = listed = 0
    last = None
    for documents in find(client, known["store"], selection, after=after, limit=limit):
        try:
            listed += put(entries, [payload(each, known["project_id"], known["container"]) for each in documents])
        except PyMongoError as error:
            raise StoreError(f"MongoDB did not put objects on the list of data to process: {error}") from error
        objects += len(documents)
        last = str(documents[-1]["swift_object_id"])
    if limit is None or objects < limit:
        return objects, listed, None
    goes_on = next(find(client, known["store"], selection, after=last, limit=1), None)
    return objects, listed, last if goes_on else None
