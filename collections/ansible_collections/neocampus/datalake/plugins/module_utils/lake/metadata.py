# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata store: documents, counter, registry of containers and history, in MongoDB.

Databases and collections: `swift`.`<store>` (a document per object), `stats`.`swift` (the counter of ids),
`stats`.`containers` (which store a project's container has), `data_historique`.`history`.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, overload

from .documents import check_container_name, check_object_id, new_document, utc
from .errors import Conflict, InvalidName, StoreError
from .events import Event
from .ids import ObjectIds

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.collection import Collection

    Documents = Collection[dict[str, Any]]

Result = tuple[str, bool, dict[str, Any], "dict[str, Any] | None"]
"""What `log` takes for an object: its id, whether the operation succeeded, the operation, its entry in the history."""

KEPT_OPERATIONS = 1000  # of each list on a document, the newest: a document ends at 16 MB
WRITE_TIMEOUT_MS = 30_000


@contextlib.contextmanager
def _mongodb(what: str) -> Iterator[None]:
    """Turns the driver's errors into StoreError: retriable, unless MongoDB refused the data itself."""
    from bson.errors import InvalidDocument
    from pymongo import errors

    try:
        yield
    except (errors.DocumentTooLarge, InvalidDocument, errors.InvalidName, errors.InvalidOperation) as error:
        raise StoreError(f"MongoDB refused to {what}: {error}", retriable=False) from error
    except errors.PyMongoError as error:
        raise StoreError(f"MongoDB did not {what}: {error}", retriable=True) from error


class MetadataStore:
    """The metadata of every object. `client` has to be opened with tz_aware=True.

    Errors of every method: StoreError when MongoDB is away or refuses.
    """

    def __init__(self, client: MongoClient[dict[str, Any]]) -> None:
        self._client = client
        self._stores: dict[tuple[str, str], str] = {}
        self._indexed: set[str] = set()

    def _collection(self, database: str, name: str) -> Documents:
        from pymongo import WriteConcern

        # Majority: an id or a document that was acknowledged survives the loss of a member.
        concern = WriteConcern(w="majority", wtimeout=WRITE_TIMEOUT_MS)
        return self._client.get_database(database).get_collection(name, write_concern=concern)

    def _documents(self, store: str) -> Documents:
        return self._collection("swift", store)

    def ensure_indexes(self, store: str) -> None:
        """Makes the indexes of a store (once in a process; nothing happens where they are).

        Those of the counter and of the history are the deployment's: role mongodb makes them.
        """
        if store in self._indexed:
            return
        with _mongodb(f"make the indexes of {store!r}"):
            documents = self._documents(store)
            documents.create_index("swift_object_id", unique=True)
            documents.create_index("swift_object_name", unique=True)
            documents.create_index([("content_type", 1), ("_id", 1)])
            documents.create_index("creation_date")
        self._indexed.add(store)

    def reserve_ids(self, count: int = 1) -> list[str]:
        """Takes the next `count` object ids."""
        with _mongodb("reserve ids"):
            return ObjectIds(self._collection("stats", "swift")).reserve(count)

    @overload
    def store_for(self, project_id: str, container: str, create: Literal[True]) -> str: ...

    @overload
    def store_for(self, project_id: str, container: str, create: bool = False) -> str | None: ...

    def store_for(self, project_id: str, container: str, create: bool = False) -> str | None:
        """The name under which a container's data lives in every store; None where it has none and `create` is False.

        It is the container's name for the first project that uses it, `<container>--<project_id>` for a later one.
        Errors: InvalidName.
        """
        known = self._stores.get((project_id, container))
        if known:
            return known
        if create:
            check_container_name(container)
            if not project_id or "/" in project_id:
                raise InvalidName(f"{project_id!r} is not a project's id", project_id=project_id)
        with _mongodb(f"look up the container {container!r}"):
            registry = self._collection("stats", "containers")
            key = {"_id": f"{project_id}/{container}"}
            entry = registry.find_one(key)
            if entry is None and create:
                entry = self._register(registry, project_id, container)
        if entry is None:
            return None
        store = str(entry["store"])
        if create:
            self.ensure_indexes(store)
        self._stores[project_id, container] = store
        return store

    def _register(self, registry: Documents, project_id: str, container: str) -> dict[str, Any]:
        from pymongo.errors import DuplicateKeyError

        # That a store belongs to one project alone rests on this index: it is made here, not left to a deployment.
        registry.create_index("store", unique=True)
        registry.create_index("project_id")
        key = f"{project_id}/{container}"
        for store in (container, f"{container}--{project_id}"):
            entry = {"_id": key, "project_id": project_id, "container": container, "store": store}
            try:
                registry.insert_one(entry)
                return entry
            except DuplicateKeyError:  # either another process registered the same container, or the store is another's
                found = registry.find_one({"_id": key})
                if found is not None:
                    return found
        raise InvalidName(
            f"container {container!r}: the names it would have in the stores are another container's",
            container=container,
        )

    def containers(self, project_id: str) -> list[str]:
        """The names of a project's containers, sorted."""
        with _mongodb("list the containers"):
            entries = self._collection("stats", "containers").find({"project_id": project_id}, {"container": 1})
            return sorted(str(entry["container"]) for entry in entries)

    def insert(self, store: str, document: Mapping[str, Any]) -> None:
        """Adds a new document (see documents.new_document).

        Errors: Conflict when an object of that id or that name in Swift is known: take another id.
        """
        from pymongo.errors import DuplicateKeyError

        with _mongodb(f"insert the document of object {document['swift_object_id']}"):
            try:
                self._documents(store).insert_one(dict(document))
            except DuplicateKeyError:
                raise Conflict(
                    f"{store}: an object of id {document['swift_object_id']} or named"
                    f" {document['swift_object_name']!r} is there already",
                    store=store,
                    object_id=document["swift_object_id"],
                ) from None

    def mark_stored(self, store: str, object_id: str, *, etag: str, size: int) -> None:
        """Says that the object of a pending document is in Swift; `etag` is the MD5 of its content, `size` in bytes."""
        update = {"$set": {"status": "stored", "etag": etag, "size": size, "last_modified": utc()}}
        with _mongodb(f"update the document of object {object_id}"):
            self._documents(store).update_one({"_id": int(check_object_id(object_id))}, update)

    def abandon(self, store: str, object_id: str) -> None:
        """Removes a document whose object could not be put; one that is not pending stays."""
        with _mongodb(f"remove the document of object {object_id}"):
            self._documents(store).delete_one({"_id": int(check_object_id(object_id)), "status": "pending"})

    def get(self, store: str, object_id: str) -> dict[str, Any] | None:
        """The document of an object. Errors: InvalidName when the id is none."""
        with _mongodb(f"read the document of object {object_id}"):
            return self._documents(store).find_one({"_id": int(check_object_id(object_id))})

    def find(
        self,
        store: str,
        *,
        content_type: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[dict[str, Any]]:
        """Documents in the order of their ids, oldest first, at most `limit`, those after the id `after`.

        `content_type` is a type (parameters are ignored) or a whole class (`image/*`).
        `start` <= creation_date < `end`.
        """
        query: dict[str, Any] = {}
        if content_type:
            wanted = content_type.strip()
            pattern = re.escape(wanted[:-1]) if wanted.endswith("/*") else re.escape(wanted) + r"\s*(;|$)"
            query["content_type"] = {"$regex": "^" + pattern}
        dates = {key: utc(moment) for key, moment in (("$gte", start), ("$lt", end)) if moment is not None}
        if dates:
            query["creation_date"] = dates
        if after is not None:
            query["_id"] = {"$gt": int(check_object_id(after))}
        with _mongodb(f"list the documents of {store!r}"):
            return list(self._documents(store).find(query).sort("_id", 1).limit(limit))

    def for_events(self, store: str, events: Sequence[Event]) -> dict[str, dict[str, Any]]:
        """The documents of the events' objects, by the object's name in Swift; all events are of this store.

        An object that a plain Swift client put has no document yet: it gets one, with an id from the counter. The event
        proves that the object is stored, so a pending document becomes a stored one, and one of an object that a plain
        client put again gets its new size, etag and type.
        """
        from pymongo import UpdateOne

        last = {event.object_name: event for event in sorted(events, key=lambda event: event.timestamp)}
        if not last:
            return {}
        self.ensure_indexes(store)
        with _mongodb(f"read the documents of {len(last)} events of {store!r}"):
            collection = self._documents(store)
            query = {"swift_object_name": {"$in": list(last)}}
            found = {document["swift_object_name"]: document for document in collection.find(query)}
            missing = [event for name, event in last.items() if name not in found]
            updates = []
            for name, document in found.items():
                change = _what_event_changes(document, last[name])
                if change:
                    document.update(change)
                    # An update that only applies to what was read: mark_stored may come at the same moment.
                    condition = {"_id": document["_id"]}
                    if change.get("status"):
                        condition["status"] = "pending"
                    updates.append(UpdateOne(condition, {"$set": change}))
            if missing:
                ids = self.reserve_ids(len(missing))
                for object_id, event in zip(ids, missing):  # noqa: B905 (3.9)
                    document = {**_plain_client_document(object_id, event), "etag": event.etag or None}
                    updates.append(
                        UpdateOne({"swift_object_name": event.object_name}, {"$setOnInsert": document}, upsert=True)
                    )
            if updates:
                self._bulk_upsert(collection, updates)
            if missing:
                names = [event.object_name for event in missing]
                for document in collection.find({"swift_object_name": {"$in": names}}):
                    found[document["swift_object_name"]] = document
        return found

    @staticmethod
    def _bulk_upsert(collection: Documents, updates: list[Any]) -> None:
        from pymongo.errors import BulkWriteError

        try:
            collection.bulk_write(updates, ordered=False)
        except BulkWriteError as error:  # another process made the same document at the same moment: it is there
            _only_duplicates(error)

    def log(self, store: str, results: Iterable[Result]) -> None:
        """Logs operations on their objects' documents, and in the history. Logging the same twice changes nothing.

        An operation is known by its `operation_instance` and `pipeline`. What a successful one lists in `services` is
        added to the document's `processed_data_area_service`.
        """
        from pymongo import UpdateOne
        from pymongo.errors import BulkWriteError

        updates = []
        history = []
        now = utc()
        for object_id, ok, operation, entry in results:
            field = "successful_operations" if ok else "failed_operations"
            instance, pipeline = operation["operation_instance"], operation.get("pipeline")
            same = {"operation_instance": instance, "pipeline": pipeline}
            update: dict[str, Any] = {
                "$push": {field: {"$each": [{**operation, "pipeline": pipeline}], "$slice": -KEPT_OPERATIONS}},
                "$set": {"last_modified": now},
            }
            if ok and operation.get("services"):
                update["$addToSet"] = {"processed_data_area_service": {"$each": list(operation["services"])}}
            number = int(check_object_id(object_id))
            updates.append(UpdateOne({"_id": number, field: {"$not": {"$elemMatch": same}}}, update))
            if entry is not None:
                parts = (store, object_id, str(instance), str(pipeline), str(ok))
                key = hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:32]
                history.append({**entry, "_id": key})
        if not updates:
            return
        with _mongodb(f"log {len(updates)} operations on objects of {store!r}"):
            self._documents(store).bulk_write(updates, ordered=False)
            if history:
                try:
                    self._collection("data_historique", "history").insert_many(history, ordered=False)
                except BulkWriteError as error:  # logged before
                    _only_duplicates(error)


def _only_duplicates(error: Any) -> None:
    """Raises a bulk write's error again unless all it says is that documents are there already."""
    details = error.details or {}
    if details.get("writeConcernErrors") or any(item.get("code") != 11000 for item in details.get("writeErrors", [])):
        raise error


def _what_event_changes(document: Mapping[str, Any], event: Event) -> dict[str, Any]:
    if document.get("status") == "pending":
        change: dict[str, Any] = {"status": "stored"}
    elif document["swift_object_name"] != document["swift_object_id"] and event.etag not in ("", document.get("etag")):
        change = {}  # the object was put again under its name
        if event.content_type:
            change["content_type"] = event.content_type
    else:
        return {}
    if event.etag:
        change.update(etag=event.etag, size=event.size)
    return {**change, "last_modified": utc()}


def _plain_client_document(object_id: str, event: Event) -> dict[str, Any]:
    return new_document(
        object_id=object_id,
        container=event.container,
        project_id=event.project_id,
        user=event.user,
        object_name=event.object_name,
        original_name=event.object_name.rstrip("/").rpartition("/")[2] or event.object_name,
        content_type=event.content_type or "application/octet-stream",
        size=event.size,
        status="stored",
    )
