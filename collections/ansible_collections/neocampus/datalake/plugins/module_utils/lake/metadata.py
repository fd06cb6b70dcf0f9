# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata store: documents, counter, registry of containers and history, in MongoDB.

Databases and collections: `swift`.`<store>` (a document per object), `stats`.`swift` (the counter of ids),
`stats`.`containers` (which store a project's container has), `data_historique`.`history`.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, overload

from . import search
from .documents import EDITABLE_FIELDS, check_container_name, check_object_id, history_entry, new_document, utc
from .errors import Conflict, InvalidName, StoreError, present
from .events import Event
from .ids import ObjectIds
from .states import DELETED, LOST, PENDING, STORED, Change, follow

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.collection import Collection

    Documents = Collection[dict[str, Any]]

Result = tuple[str, bool, dict[str, Any], "dict[str, Any] | None"]
"""What `log` takes for an object: its id, whether the operation succeeded, the operation, its entry in the history."""

WORDS_AT_ONCE = 500
KEPT_OPERATIONS = 1000  # of each list on a document, the newest: a document ends at 16 MB
WRITE_TIMEOUT_MS = 30_000
STORES_SECONDS = 60.0  # how long the store of a container is believed: another process may remove the container
APPLY_TRIES = 5  # how often documents are read again because another process changed them

_WITHOUT_INTERNAL = dict.fromkeys(search.INTERNAL_FIELDS, 0)
_TIMESTAMPS = ("swift_timestamp", "swift_data_timestamp")
_UNPROCESSED = {"status": STORED, "successful_operations": [], "failed_operations": []}
_RECONCILED = (
    "swift_object_id",
    "swift_object_name",
    "swift_user",
    "content_type",
    "creation_date",
    "etag",
    "last_modified",
    "size",
    "status",
    *_TIMESTAMPS,
)


@contextlib.contextmanager
def mongodb(what: str) -> Iterator[None]:
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
        self._stores: dict[tuple[str, str], tuple[str, float]] = {}
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
        with mongodb(f"make the indexes of {store!r}"):
            documents = self._documents(store)
            documents.create_index("swift_object_id", unique=True)
            documents.create_index("swift_object_name", unique=True)
            documents.create_index([("content_type", 1), ("_id", 1)])
            documents.create_index("creation_date")
            # The few that reconciliation looks for at each check.
            documents.create_index([("status", 1), ("creation_date", 1)], partialFilterExpression={"status": PENDING})
            documents.create_index([("creation_date", 1), ("status", 1)], partialFilterExpression=_UNPROCESSED)
            documents.create_index("other_data.archive.object", sparse=True)
            # What is searched by.
            documents.create_index([(search.FIELD, 1), ("_id", -1)])
            documents.create_index("other_data.$**")
            given = {"application": {"$gt": ""}}
            documents.create_index([("application", 1), ("_id", -1)], partialFilterExpression=given)
            documents.create_index([("swift_user", 1), ("_id", -1)])
            documents.create_index([("size", 1), ("_id", -1)])
            failed = {"failed_operations.0": {"$exists": True}}
            documents.create_index([("status", 1), ("_id", -1)], partialFilterExpression=failed)
            known = {"idempotency_key": {"$exists": True}}
            documents.create_index("idempotency_key", partialFilterExpression=known)
            # What has written points lately: anomaly detection looks at what came late.
            gold = {"processed_data_area_service": "influxdb"}
            documents.create_index("last_modified", partialFilterExpression=gold)
        self._indexed.add(store)

    def complete_words(self, store: str) -> int:
        """Gives a store the indexes, and the documents that have none the words that they are searched by; how many
        those were. May be ended and done again at any time."""
        from pymongo import UpdateOne

        self.ensure_indexes(store)
        unknown = {search.FIELD: {"$exists": False}}
        done = 0
        with mongodb(f"complete the documents of {store!r}"):
            documents = self._documents(store)
            while found := list(documents.find(unknown).limit(WORDS_AT_ONCE)):
                updates = [
                    UpdateOne({"_id": one["_id"], **unknown}, {"$set": {search.FIELD: search.words_of(one)}})
                    for one in found
                ]
                documents.bulk_write(updates, ordered=False)
                done += len(updates)
        return done

    def reserve_ids(self, count: int = 1) -> list[str]:
        """Takes the next `count` object ids."""
        with mongodb("reserve ids"):
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
        known, until = self._stores.get((project_id, container), (None, 0.0))
        if known and until > time.monotonic():
            return known
        if create:
            check_container_name(container)
            if not project_id or "/" in project_id:
                raise InvalidName(f"{project_id!r} is not a project's id", project_id=project_id)
        with mongodb(f"look up the container {container!r}"):
            registry = self._collection("stats", "containers")
            key = {"_id": f"{project_id}/{container}"}
            entry = registry.find_one(key)
            if entry is None and create:
                entry = self._register(registry, project_id, container)
            if entry is not None and entry.get("removed"):
                if not create:
                    return None
                registry.update_one(key, {"$unset": {"removed": ""}})
        if entry is None:
            return None
        store = str(entry["store"])
        if create:
            self.ensure_indexes(store)
        self._stores[project_id, container] = store, time.monotonic() + STORES_SECONDS
        return store

    def forget(self, project_id: str, container: str) -> None:
        """Looks the store of a container up again when it is asked for next."""
        self._stores.pop((project_id, container), None)

    def remove_container(self, project_id: str, container: str) -> None:
        """Says that a project's container is no longer there. Its store stays the project's own, with the documents of
        what was deleted: the container has it again when it is made anew."""
        with mongodb(f"remove the container {container!r}"):
            registry = self._collection("stats", "containers")
            registry.update_one({"_id": f"{project_id}/{container}"}, {"$set": {"removed": utc()}})
        self.forget(project_id, container)

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
        with mongodb("list the containers"):
            entries = self._collection("stats", "containers").find(
                {"project_id": project_id, "removed": None}, {"container": 1}
            )
            return sorted(str(entry["container"]) for entry in entries)

    def registry(self) -> list[dict[str, str]]:
        """Every container that has a store: `{project_id, container, store}`, by project and name."""
        with mongodb("list the containers of all projects"):
            found = self._collection("stats", "containers").find().sort("_id", 1)
            return [{key: str(entry[key]) for key in ("project_id", "container", "store")} for entry in found]

    def insert(self, store: str, document: Mapping[str, Any]) -> None:
        """Adds a new document (see documents.new_document).

        Errors: Conflict when an object of that id or that name in Swift is known: take another id.
        """
        if self.insert_many(store, [document]):
            raise Conflict(
                f"{store}: an object of id {document['swift_object_id']} or named"
                f" {document['swift_object_name']!r} is there already",
                store=store,
                object_id=document["swift_object_id"],
            )

    def insert_many(self, store: str, documents: Sequence[Mapping[str, Any]]) -> set[str]:
        """Adds new documents by one write; returns the ids of those that were not added, since an object of that id or
        that name in Swift is known: take other ids for them.

        After an error any of them may have been added.
        """
        from pymongo.errors import BulkWriteError

        if not documents:
            return set()
        with mongodb(f"insert {_the_documents([document['swift_object_id'] for document in documents])}"):
            try:
                self._documents(store).insert_many(list(map(search.searchable, documents)), ordered=False)
            except BulkWriteError as error:
                _only_duplicates(error)
                known = (documents[item["index"]] for item in error.details["writeErrors"])
                return {str(document["swift_object_id"]) for document in known}
        return set()

    def mark_stored(self, store: str, object_id: str, *, etag: str, size: int) -> None:
        """Says that the object of a document is in Swift; `etag` is the MD5 of its content, `size` in bytes."""
        self.mark_stored_many(store, {object_id: (etag, size)})

    def mark_stored_many(self, store: str, stored: Mapping[str, tuple[str, int]]) -> None:
        """Says by one write that objects are in Swift; `stored` has the MD5 and the size in bytes of each, by id."""
        if not stored:
            return
        with mongodb(f"update {_the_documents(list(stored))}"):
            self._documents(store).bulk_write(_marks(stored), ordered=False)

    def write_many(
        self, store: str, documents: Sequence[Mapping[str, Any]], stored: Mapping[str, tuple[str, int]]
    ) -> set[str]:
        """What `insert_many` does with some documents and `mark_stored_many` with others, by one write: each has to
        wait for a majority of the members, and for the two together they are asked once.

        Returns what `insert_many` does. After an error any of it may be done.
        """
        from pymongo import UpdateOne
        from pymongo.errors import BulkWriteError

        if not stored:
            return self.insert_many(store, documents)
        if not documents:
            self.mark_stored_many(store, stored)
            return set()
        # One command takes writes of one kind: the new documents are updates of what is not there.
        writes: list[Any] = []
        for document in map(search.searchable, documents):
            number = document.pop("_id")
            writes.append(UpdateOne({"_id": number}, {"$setOnInsert": document}, upsert=True))
        ids = [str(document["swift_object_id"]) for document in documents]
        with mongodb(f"write {_the_documents([*ids, *stored])}"):
            try:
                result = self._documents(store).bulk_write([*writes, *_marks(stored)], ordered=False).bulk_api_result
            except BulkWriteError as error:
                _only_duplicates(error)
                result = present(error.details)
        added = {str(item["_id"]) for item in result["upserted"]}
        return set(ids) - added

    def abandon(self, store: str, object_id: str) -> None:
        """Removes a document whose object could not be put; one that is not pending stays."""
        self.abandon_many(store, [object_id])

    def abandon_many(self, store: str, object_ids: Sequence[str]) -> None:
        """Removes by one write the documents of objects that could not be put; those that are not pending stay."""
        numbers = [int(check_object_id(object_id)) for object_id in object_ids]
        if not numbers:
            return
        with mongodb(f"remove {_the_documents(object_ids)}"):
            self._documents(store).delete_many({"_id": {"$in": numbers}, "status": PENDING})

    def get(self, store: str, object_id: str) -> dict[str, Any] | None:
        """The document of an object. Errors: InvalidName when the id is none."""
        with mongodb(f"read the document of object {object_id}"):
            return self._documents(store).find_one({"_id": int(check_object_id(object_id))}, _WITHOUT_INTERNAL)

    def edit(
        self, store: str, before: Mapping[str, Any], fields: Mapping[str, Any], *, user: str
    ) -> dict[str, Any] | None:
        """Sets editable fields (as documents.merged gives them) of a document that is still as it was read, `before`;
        returns it as it is then, or None where it is not, or not any more. The change is kept in the history."""
        now = max(utc(), utc(before["last_modified"]) + timedelta(milliseconds=1))
        after = {**before, **fields, "last_modified": now}
        same = {key: before.get(key) for key in ("_id", "status", "last_modified", *sorted(EDITABLE_FIELDS))}
        update = {**fields, "last_modified": now, search.FIELD: search.words_of(after)}
        with mongodb(f"update {_the_documents([before['swift_object_id']])}"):
            if not self._documents(store).update_one(same, {"$set": update}).matched_count:
                return None
            self._record(before, "edit", {**fields, "user": user})
        return after

    def delete(self, store: str, before: Mapping[str, Any], *, timestamp: str = "", user: str) -> bool:
        """Says of a document that its object was deleted in Swift, and keeps that in the history; whether it did not
        say so before. `timestamp` is what Swift gave the object that is gone (events.normal_timestamp): an event of its
        making that comes late does not bring it back."""
        update: dict[str, Any] = {"$set": {"status": DELETED, "last_modified": utc()}}
        if timestamp:
            update["$max"] = dict.fromkeys(_TIMESTAMPS, timestamp)
        with mongodb(f"update {_the_documents([before['swift_object_id']])}"):
            alive = {"_id": before["_id"], "status": {"$ne": DELETED}}
            if not self._documents(store).update_one(alive, update).matched_count:
                return False
            self._record(before, "delete", {"status": DELETED, "user": user})
        return True

    def _record(self, before: Mapping[str, Any], task: str, new_data: Mapping[str, Any]) -> None:
        """Keeps in the history what somebody did to a document."""
        entry = history_entry(
            document=before, process_type=before["data_processing"], task_type=task, new_data=new_data
        )
        self._collection("data_historique", "history").insert_one({"_id": uuid.uuid4().hex, **entry})

    def members(self, store: str, archive: str, etag: str) -> dict[str, dict[str, Any]]:
        """The documents of what came out of an archive, in this state of its content, by the path in it. One that is
        `pending` may or may not be in Swift."""
        query = {
            "other_data.archive.object": archive,
            "other_data.archive.etag": etag,
            "status": {"$in": [STORED, PENDING]},
        }
        with mongodb(f"look up what came out of object {archive}"):
            found = self._documents(store).find(query)
            return {document["other_data"]["archive"]["path"]: document for document in found}

    def apply_events(self, store: str, events: Iterable[Event]) -> dict[str, Change]:
        """What the events make of their objects' documents (see states.follow), by the object's name in Swift; the
        documents are written. All events are of this store.

        One query and at most one bulk write, unless another process changes the same documents at the same moment.
        An object without document, put by a plain Swift client, gets one with an id from the counter.
        """
        waiting: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            waiting[event.object_name].append(event)
        if not waiting:
            return {}
        self.ensure_indexes(store)
        changes: dict[str, Change] = {}
        with mongodb(f"read the documents of {len(waiting)} objects of {store!r}"):
            collection = self._documents(store)
            for _try in range(APPLY_TRIES):
                found = collection.find({"swift_object_name": {"$in": list(waiting)}}, _WITHOUT_INTERNAL)
                documents = {document["swift_object_name"]: document for document in found}
                for name in [name for name in waiting if _is_written(changes.get(name), documents.get(name))]:
                    del waiting[name]
                changes.update({name: follow(documents.get(name), waiting[name]) for name in waiting})
                updates = self._updates([changes[name] for name in waiting])
                if not updates or self._all_written(collection, updates):
                    return changes
        raise StoreError(f"the documents of {', '.join(list(waiting)[:5])} in {store!r} do not stop changing")

    def _updates(self, changes: Iterable[Change]) -> list[Any]:
        """Updates that apply to the documents as they were read only; documents that are made get their ids."""
        from pymongo import UpdateOne

        updates = []
        made = []
        for change in changes:
            if change.document is None or not change.fields:
                continue
            if change.before is None:
                made.append(change)
            else:
                same = {key: change.before.get(key) for key in ("_id", "status", *_TIMESTAMPS)}
                found_by = {search.FIELD: search.words_of(change.document)} if "content_type" in change.fields else {}
                updates.append(UpdateOne(same, {"$set": {**change.fields, **found_by}}))
        for object_id, change in zip(self.reserve_ids(len(made)) if made else (), made):  # noqa: B905 (3.9)
            event = present(change.event)
            document = change.document = {**_plain_client_document(object_id, event), **change.fields}
            upsert = {"$setOnInsert": search.searchable(document)}
            updates.append(UpdateOne({"swift_object_name": event.object_name}, upsert, upsert=True))
        return updates

    @staticmethod
    def _all_written(collection: Documents, updates: list[Any]) -> bool:
        from pymongo.errors import BulkWriteError

        try:
            result = collection.bulk_write(updates, ordered=False)
        except BulkWriteError as error:  # another process made the same document at the same moment: it is there
            _only_duplicates(error)
            return False
        made = sum(1 for update in updates if update._upsert)
        return result.upserted_count == made and result.matched_count == len(updates) - made

    def statuses(self, store: str, object_ids: Iterable[str]) -> dict[str, str]:
        """The `status` of objects, by id."""
        numbers = [int(check_object_id(object_id)) for object_id in object_ids]
        with mongodb(f"read the status of {len(numbers)} objects of {store!r}"):
            found = self._documents(store).find({"_id": {"$in": numbers}}, {"status": 1})
            return {str(document["_id"]): str(document["status"]) for document in found}

    def extent(self, store: str) -> dict[str, int]:
        """About how many documents a store has, and the newest id; both are known without looking at the documents."""
        with mongodb(f"count the documents of {store!r}"):
            documents = self._documents(store)
            newest = documents.find_one({}, {"_id": 1}, sort=[("_id", -1)])
            return {"documents": documents.estimated_document_count(), "newest": newest["_id"] if newest else 0}

    def left_pending(self, store: str, before: datetime, limit: int) -> list[dict[str, Any]]:
        """Documents that are pending, were made before that date, and on which nothing was logged yet."""
        query = {"status": PENDING, "creation_date": {"$lt": utc(before)}, "failed_operations": []}
        with mongodb(f"look for pending documents of {store!r}"):
            return list(self._documents(store).find(query, dict.fromkeys(_RECONCILED, 1)).limit(limit))

    def by_name(self, store: str, after: str, until: str | None, limit: int) -> list[dict[str, Any]]:
        """What reconciliation needs of documents, in the order of their objects' names in Swift (that of the names'
        UTF-8 bytes, as in a container's listing): `after` < name <= `until`, at most `limit`."""
        names = {"$gt": after} if until is None else {"$gt": after, "$lte": until}
        with mongodb(f"list the documents of {store!r} by name"):
            found = self._documents(store).find({"swift_object_name": names}, dict.fromkeys(_RECONCILED, 1))
            return list(found.sort("swift_object_name", 1).limit(limit))

    def unprocessed(self, store: str, before: datetime, limit: int) -> list[dict[str, Any]]:
        """Stored objects that no operation was ever logged on: inserted, and last put on the list (see mark_listed),
        before that date."""
        query: dict[str, Any] = {
            **_UNPROCESSED,
            "creation_date": {"$lt": utc(before)},
            "$or": [{"listed_date": None}, {"listed_date": {"$lt": utc(before)}}],
        }
        with mongodb(f"look for unprocessed objects of {store!r}"):
            return list(self._documents(store).find(query, dict.fromkeys(_RECONCILED, 1)).limit(limit))

    def mark_listed(self, store: str, object_ids: Iterable[str]) -> None:
        """Says that objects were put on the list of data to process now."""
        numbers = [int(check_object_id(object_id)) for object_id in object_ids]
        with mongodb(f"update the documents of {len(numbers)} objects"):
            self._documents(store).update_many({"_id": {"$in": numbers}}, {"$set": {"listed_date": utc()}})

    def mark_lost(self, store: str, object_ids: Iterable[str]) -> None:
        """Says that the objects of stored documents are not in Swift any more."""
        numbers = [int(check_object_id(object_id)) for object_id in object_ids]
        update = {"$set": {"status": LOST, "last_modified": utc()}}
        with mongodb(f"update the documents of {len(numbers)} objects"):
            self._documents(store).update_many({"_id": {"$in": numbers}, "status": STORED}, update)

    def log(self, store: str, results: Iterable[Result]) -> None:
        """Logs operations on their objects' documents, and in the history. Logging the same twice changes nothing.

        An operation is known by its `operation_instance` and `pipeline`. What a successful one lists in `services` is
        added to the document's `processed_data_area_service`, what it lists in `cleared` is taken out.
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
            new = {"_id": number, field: {"$not": {"$elemMatch": same}}}
            if ok and operation.get("cleared"):
                cleared = {"processed_data_area_service": {"$in": list(operation["cleared"])}}
                updates.append(UpdateOne(new, {"$pull": cleared}))  # one update can't add and take out
            updates.append(UpdateOne(new, update))
            if entry is not None:
                parts = (store, object_id, str(instance), str(pipeline), str(ok))
                key = hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:32]
                history.append({**entry, "_id": key})
        if not updates:
            return
        with mongodb(f"log {len(updates)} operations on objects of {store!r}"):
            self._documents(store).bulk_write(updates, ordered=False)
            if history:
                try:
                    self._collection("data_historique", "history").insert_many(history, ordered=False)
                except BulkWriteError as error:  # logged before
                    _only_duplicates(error)


def _the_documents(object_ids: Sequence[str]) -> str:
    """Documents as a message names them."""
    if len(object_ids) == 1:
        return f"the document of object {object_ids[0]}"
    return f"the {len(object_ids)} documents of objects {object_ids[0]} to {object_ids[-1]}"


def _marks(stored: Mapping[str, tuple[str, int]]) -> list[Any]:
    """The updates that say that objects are in Swift, of MD5 and size by id."""
    from pymongo import UpdateOne

    now = utc()
    updates: list[Any] = []
    for object_id, (etag, size) in stored.items():
        # The event of a removal may have been quicker.
        query = {"_id": int(check_object_id(object_id)), "status": {"$ne": DELETED}}
        fields = {"status": STORED, "etag": etag, "size": size, "last_modified": now}
        updates.append(UpdateOne(query, {"$set": fields}))
    return updates


def _only_duplicates(error: Any) -> None:
    """Raises a bulk write's error again unless all it says is that documents are there already."""
    details = error.details or {}
    if details.get("writeConcernErrors") or any(item.get("code") != 11000 for item in details.get("writeErrors", [])):
        raise error


def _is_written(change: Change | None, document: Mapping[str, Any] | None) -> bool:
    """Whether a document is what a change was to make of it."""
    if change is None:
        return False
    if change.document is None or document is None:
        return change.document is document
    return all(document.get(key) == value for key, value in change.fields.items())


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
        status=STORED,
    )
