# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents and files in MongoDB, database `data_conso`.

A container's store has a collection of its name for documents, a GridFS bucket `gridfs/<store>` for files and a
collection `objects/<store>` that says what is there of which object (no container's name has a slash, so none of these
is another one's). What is kept leads back by its field `lake` (files: `metadata.lake`):
`{object, operation, number}` (files: `{object, operation, name}`), the object's id being a number.

A document keeps its fields; its own `_id` goes to `lake.id`, and a field `lake` to `lake.value`, and both come back
when it is read.

Readers never see half of an object. What is written belongs to a version, `lake.version`, which is made of the object's
id and the operation; versions that readers are not to see are named in `objects/<store>`, in the field `hidden` of the
object's entry. An operation hides its version, writes, and then, by one update of that entry, shows its version and
hides the one before, which it deletes. `DocumentReader` asks for the hidden versions and for the data as they were at
one moment (a snapshot session). Whoever reads the collections by other means leaves out hidden versions as
`hidden_versions` does. A transaction would do the same for small objects only: MongoDB ends one after a minute.

`_id` is made of object, version and number (or name): the same operation done again writes the same documents, and a
version that is shown already stays so meanwhile. Of two operations that write one object at once, the one that began
last wins; the other gets a StoreError to try again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, NamedTuple

from ..documents import check_object_id
from ..errors import InvalidInput, NotFound, StoreError
from ..records import Document, File, Record
from .base import Origin, Sink, Writer
from .reading import PAGE_BYTES, Filter, check_limit, from_cursor, to_cursor

if TYPE_CHECKING:
    from gridfs import GridFSBucket
    from pymongo import MongoClient
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

    Documents = Collection[Any]

DATABASE = "data_conso"
BATCH = 1000
"""How many documents are written together."""
BATCH_SIZE = 8 * 1024 * 1024
"""About how many bytes of documents are written together."""
MAX_DOCUMENT = 16 * 1024 * 1024
"""Bytes of a document in BSON, at most (MongoDB's limit)."""
WRITE_TIMEOUT_MS = 60_000

# Codes of data that MongoDB refuses: https://www.mongodb.com/docs/manual/reference/error-codes/
# BadValue, TypeMismatch, Overflow (nested too deep), InvalidBSON, DollarPrefixedFieldName, BSONObjectTooLarge
_REFUSED = frozenset({2, 14, 15, 22, 52, 10334})
_DUPLICATE = 11000
_OPERATORS = {"eq": "$eq", "ne": "$ne", "lt": "$lt", "le": "$lte", "gt": "$gt", "ge": "$gte"}


@contextlib.contextmanager
def _mongodb(what: str) -> Iterator[None]:
    """Turns the driver's errors into StoreError: retriable, unless MongoDB refused the data itself."""
    from bson.errors import BSONError
    from gridfs.errors import GridFSError
    from pymongo import errors

    try:
        yield
    except (errors.DocumentTooLarge, errors.InvalidName, errors.InvalidOperation, BSONError) as error:
        raise StoreError(f"MongoDB refused to {what}: {error}", retriable=False) from error
    except errors.BulkWriteError as error:
        first = ((error.details or {}).get("writeErrors") or [{}])[0]
        refused = first.get("code") in _REFUSED
        said = first.get("errmsg", str(error))
        raise StoreError(f"MongoDB did not {what}: {said}", retriable=not refused) from error
    except errors.OperationFailure as error:
        raise StoreError(f"MongoDB did not {what}: {error}", retriable=error.code not in _REFUSED) from error
    except (errors.PyMongoError, GridFSError) as error:
        raise StoreError(f"MongoDB did not {what}: {error}", retriable=True) from error


def version_of(origin: Origin) -> str:
    """The version that an operation makes of an object."""
    return hashlib.sha256(f"{origin.object_id}\n{origin.operation}".encode()).hexdigest()[:16]


class DocumentStore:
    """The gold documents of all containers. `client` has to be opened with tz_aware=True, on a replica set.

    Errors of every method: StoreError when MongoDB is away or refuses.
    """

    def __init__(self, client: MongoClient[dict[str, Any]]) -> None:
        self._client = client
        self._indexed: set[str] = set()

    def _collection(self, name: str) -> Documents:
        from pymongo import WriteConcern

        concern = WriteConcern(w="majority", wtimeout=WRITE_TIMEOUT_MS)
        return self._client.get_database(DATABASE).get_collection(name, write_concern=concern)

    def documents(self, store: str) -> Documents:
        """The documents of a store."""
        return self._collection(store)

    def objects(self, store: str) -> Documents:
        """What is there of which object: `{_id: <its id>, version, operation, written, documents, files, hidden}`."""
        return self._collection(f"objects/{store}")

    def files(self, store: str) -> Documents:
        """GridFS's entries of a store's files."""
        return self._collection(f"gridfs/{store}.files")

    def chunks(self, store: str) -> Documents:
        """GridFS's pieces of a store's files."""
        return self._collection(f"gridfs/{store}.chunks")

    def bucket(self, store: str) -> GridFSBucket:
        """The GridFS bucket of a store."""
        from gridfs import GridFSBucket
        from pymongo import WriteConcern

        concern = WriteConcern(w="majority", wtimeout=WRITE_TIMEOUT_MS)
        return GridFSBucket(self._client.get_database(DATABASE), f"gridfs/{store}", write_concern=concern)

    def ensure_indexes(self, store: str) -> None:
        """Makes the indexes of a store (once in a process; nothing happens where they are)."""
        if store in self._indexed:
            return
        with _mongodb(f"make the indexes of the documents of {store!r}"):
            self.documents(store).create_index([("lake.object", 1), ("lake.number", 1), ("lake.version", 1)])
            self.files(store).create_index([("metadata.lake.object", 1), ("metadata.lake.name", 1)])
            self.objects(store).create_index("hidden")
            # Those of GridFS itself, which makes them only where a first file is written.
            self.files(store).create_index([("filename", 1), ("uploadDate", 1)])
            self.chunks(store).create_index([("files_id", 1), ("n", 1)], unique=True)
        self._indexed.add(store)


def hidden_versions(objects: Documents, session: ClientSession | None = None) -> list[str]:
    """The versions of a store's `objects` that readers are not to see: those that are being written or deleted."""
    found = objects.find({"hidden": {"$gt": ""}}, {"hidden": 1}, session=session)
    return [version for entry in found for version in entry["hidden"]]


class _Version(NamedTuple):
    """One object's version on its way."""

    origin: Origin
    object_id: int
    version: str


class _Versions:
    """Writes versions of some objects of one store."""

    def __init__(self, store: DocumentStore, origins: Sequence[Origin]) -> None:
        self._store = store
        self._name = origins[0].store
        self._versions = [
            _Version(origin, int(check_object_id(origin.object_id)), version_of(origin)) for origin in origins
        ]
        self._by_id = {version.object_id: version.version for version in self._versions}
        self._counts: list[dict[str, Any]] = [{"documents": 0, "files": 0} for _origin in origins]
        self._numbers: list[int] = [-1 for _origin in origins]
        self._file_names: list[set[str]] = [set() for _origin in origins]
        self._batch: list[Any] = []
        self._batch_size = 0
        self._begun = False
        self._shown: set[int] = set()
        self._committed = False

    def begin(self) -> None:
        """Hides the versions, except where one is shown already."""
        from pymongo import UpdateOne

        self._store.ensure_indexes(self._name)
        updates = []
        for version in self._versions:
            shown = {"$eq": ["$version", version.version]}
            hidden = {"$ifNull": ["$hidden", []]}
            more = {"$setUnion": [hidden, [version.version]]}
            change = {"$set": {"writing": version.version, "hidden": {"$cond": [shown, hidden, more]}}}
            updates.append(UpdateOne({"_id": version.object_id}, [change], upsert=True))
        with _mongodb(f"begin to write in {self._name!r}"):
            self._store.objects(self._name).bulk_write(updates, ordered=False)
            self._shown = {one["_id"] for one in self._entries() if one.get("version") == self._by_id[one["_id"]]}
        self._begun = True

    def _entries(self) -> list[dict[str, Any]]:
        ids = [version.object_id for version in self._versions]
        return list(self._store.objects(self._name).find({"_id": {"$in": ids}}))

    def add(self, place: int, records: Iterable[Record]) -> None:
        """Writes records of the object at `place`."""
        for record in records:
            if not self._begun:
                self.begin()
            if isinstance(record, Document):
                self._add_document(place, record)
            elif isinstance(record, File):
                self._add_file(place, record)
            else:
                raise StoreError(f"a store of documents keeps no {type(record).__name__}", retriable=False)

    def _add_document(self, place: int, record: Document) -> None:
        version = self._versions[place]
        raw = _encoded(record, version)
        self._counts[place]["documents"] += 1
        self._numbers[place] = max(self._numbers[place], record.number)
        if self._batch and self._batch_size + len(raw.raw) > BATCH_SIZE:
            self.flush()
        self._batch.append(raw)
        self._batch_size += len(raw.raw)
        if len(self._batch) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Writes the documents that wait."""
        from pymongo import ReplaceOne
        from pymongo.errors import BulkWriteError

        if not self._batch:
            return
        documents = self._store.documents(self._name)
        with _mongodb(f"keep documents in {self._name!r}"):
            try:
                documents.insert_many(self._batch, ordered=False)
            except BulkWriteError as error:
                if any(one.get("code") != _DUPLICATE for one in error.details["writeErrors"]):
                    raise
                # The same operation wrote some of them before.
                again = [ReplaceOne({"_id": raw["_id"]}, raw, upsert=True) for raw in self._batch]
                documents.bulk_write(again, ordered=False)
        self._batch, self._batch_size = [], 0

    def _add_file(self, place: int, record: File) -> None:
        version = self._versions[place]
        if record.name in self._file_names[place]:
            raise StoreError(f"two files of the object are called {record.name!r}", retriable=False)
        self._file_names[place].add(record.name)
        self._counts[place]["files"] += 1
        file_id = f"{version.object_id}/{version.version}/{record.name}"
        digest = hashlib.sha256(record.data).hexdigest()
        details = _plain({"details": dict(record.details)})["details"]
        lake = {
            "object": version.object_id,
            "operation": version.origin.operation,
            "name": record.name,
            "version": version.version,
        }
        metadata = {"lake": lake, "content_type": record.content_type, "sha256": digest, "details": details}
        with _mongodb(f"keep the file {record.name!r} in {self._name!r}"):
            there = self._store.files(self._name).find_one({"_id": file_id})
            if there is not None and there["length"] == len(record.data) and there["metadata"] == metadata:
                return
            self._delete_file(file_id)
            self._store.bucket(self._name).upload_from_stream_with_id(
                file_id, record.name, record.data, metadata=metadata
            )

    def _delete_file(self, file_id: str) -> None:
        """Deletes a file, or what an upload that was cut short has left of it."""
        from gridfs.errors import NoFile

        with contextlib.suppress(NoFile):  # its pieces are deleted all the same
            self._store.bucket(self._name).delete(file_id)

    def commit(self) -> list[dict[str, Any]]:
        """Shows the versions in the place of those before, and deletes these."""
        self.flush()
        if not self._begun:
            with _mongodb(f"look for documents in {self._name!r}"):
                there = bool(self._entries())
            if not there:  # nothing there, nothing to put there
                return [self._said(place) for place in range(len(self._versions))]
            self.begin()
        with _mongodb(f"show what was written in {self._name!r}"):
            self._show()
            self._committed = True
            self._delete_hidden()
            self._delete_rest()
        return [self._said(place) for place in range(len(self._versions))]

    def _said(self, place: int) -> dict[str, Any]:
        said: dict[str, Any] = {"database": DATABASE, "collection": self._name, **self._counts[place]}
        if self._counts[place]["files"]:
            said["bucket"] = f"gridfs/{self._name}"
        return said

    def _show(self) -> None:
        from pymongo import UpdateOne

        updates = []
        for place, version in enumerate(self._versions):
            before = {"$cond": [{"$in": [{"$type": "$version"}, ["missing", "null"]]}, [], ["$version"]]}
            hidden = {"$setDifference": [{"$setUnion": ["$hidden", before]}, [version.version]]}
            change = {
                "version": version.version,
                "operation": version.origin.operation,
                "written": datetime.now(timezone.utc),
                "hidden": hidden,
                **self._counts[place],
            }
            mine = {"_id": version.object_id, "$or": [{"writing": version.version}, {"version": version.version}]}
            updates.append(UpdateOne(mine, [{"$set": change}, {"$unset": "writing"}]))
        result = self._store.objects(self._name).bulk_write(updates, ordered=False)
        if result.matched_count < len(updates):
            late = [one["_id"] for one in self._entries() if one.get("version") != self._by_id[one["_id"]]]
            raise StoreError(f"another operation on the objects {late} began meanwhile: try again", retriable=True)

    def _delete_hidden(self) -> None:
        """Deletes what is hidden of the objects: what was before, and what others left that were cut short."""
        from pymongo import UpdateOne

        gone = {
            entry["_id"]: [version for version in entry.get("hidden", ()) if version != entry.get("writing")]
            for entry in self._entries()
        }
        gone = {object_id: versions for object_id, versions in gone.items() if versions}
        if not gone:
            return
        versions = [version for some in gone.values() for version in some]
        ids = list(gone)
        self._store.documents(self._name).delete_many({"lake.object": {"$in": ids}, "lake.version": {"$in": versions}})
        for object_id, some in gone.items():
            for version in some:
                self._delete_files(f"{object_id}/{version}/")
        forget = [UpdateOne({"_id": one}, {"$pull": {"hidden": {"$in": some}}}) for one, some in gone.items()]
        self._store.objects(self._name).bulk_write(forget, ordered=False)

    def _delete_files(self, prefix: str, keep: Iterable[str] = ()) -> None:
        """Deletes the files, and pieces of files, whose ids begin so."""
        kept = [prefix + name for name in keep]
        whose = {"$gte": prefix, "$lt": prefix[:-1] + "0", "$nin": kept}  # 0 comes after / in ASCII
        self._store.files(self._name).delete_many({"_id": whose})
        self._store.chunks(self._name).delete_many({"files_id": whose})

    def _delete_rest(self) -> None:
        """Deletes what the same operation wrote before and did not write again."""
        for place, version in enumerate(self._versions):
            if version.object_id in self._shown:
                self._store.documents(self._name).delete_many(
                    {
                        "lake.object": version.object_id,
                        "lake.version": version.version,
                        "lake.number": {"$gt": self._numbers[place]},
                    }
                )
                self._delete_files(f"{version.object_id}/{version.version}/", self._file_names[place])

    def close(self) -> None:
        """Takes back what was written and not committed, except of a version that is shown."""
        self._batch = []
        if not self._begun or self._committed:
            return
        from pymongo import UpdateOne

        with _mongodb(f"take back what was written in {self._name!r}"):
            forget = []
            for version in self._versions:
                if version.object_id in self._shown:
                    continue
                self._store.documents(self._name).delete_many(
                    {"lake.object": version.object_id, "lake.version": version.version}
                )
                self._delete_files(f"{version.object_id}/{version.version}/")
                # Only as long as it is hidden: the same operation may have been done by another meanwhile.
                mine = {"_id": version.object_id, "version": {"$ne": version.version}}
                forget.append(UpdateOne(mine, {"$pull": {"hidden": version.version}}))
            if forget:
                self._store.objects(self._name).bulk_write(forget, ordered=False)


def _encoded(record: Document, version: _Version) -> Any:
    """A document in BSON, as it is kept. Errors: StoreError, not retriable, where MongoDB could not hold it."""
    import bson
    from bson.codec_options import CodecOptions, TypeRegistry
    from bson.raw_bson import RawBSONDocument

    value = dict(record.value)
    lake: dict[str, Any] = {
        "object": version.object_id,
        "operation": version.origin.operation,
        "number": record.number,
        "version": version.version,
    }
    if "_id" in value:
        lake["id"] = value.pop("_id")
    if "lake" in value:
        lake["value"] = value.pop("lake")
    kept = {"_id": f"{version.object_id}/{version.version}/{record.number}", "lake": lake, **value}
    options: CodecOptions[Any] = CodecOptions(type_registry=TypeRegistry(fallback_encoder=_as_bson), tz_aware=True)
    try:
        raw = bson.encode(kept, check_keys=False, codec_options=options)
    except (bson.errors.BSONError, OverflowError, UnicodeError, RecursionError, TypeError, ValueError) as error:
        raise StoreError(
            f"MongoDB holds no such document (number {record.number}): {error}", retriable=False
        ) from error
    if len(raw) > MAX_DOCUMENT:
        raise StoreError(
            f"document {record.number} has {len(raw)} bytes in BSON: MongoDB holds at most {MAX_DOCUMENT}",
            retriable=False,
        )
    return RawBSONDocument(raw)


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """A value as it comes back from MongoDB. Errors: StoreError, not retriable."""
    import bson
    from bson.codec_options import CodecOptions, TypeRegistry

    options: CodecOptions[Any] = CodecOptions(type_registry=TypeRegistry(fallback_encoder=_as_bson), tz_aware=True)
    try:
        return bson.decode(bson.encode(value, codec_options=options), codec_options=options)
    except (bson.errors.BSONError, OverflowError, UnicodeError, RecursionError, TypeError, ValueError) as error:
        raise StoreError(f"MongoDB holds no such details of a file: {error}", retriable=False) from error


def _as_bson(value: Any) -> Any:
    """What BSON has for a value that it does not have; what comes back unchanged is refused."""
    from bson.decimal128 import Decimal128, create_decimal128_context

    if isinstance(value, Decimal):
        context = create_decimal128_context()
        context.clear_flags()
        exact = context.create_decimal(value)
        return Decimal128(exact) if exact == value or value.is_nan() else str(value)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
    if isinstance(value, time):
        return value.isoformat()
    return value


class DocumentSink(Sink):
    """Documents and files into MongoDB."""

    name: ClassVar[str] = "mongodb"
    accepts: ClassVar[tuple[type, ...]] = (Document, File)

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    def writer(self, origin: Origin) -> Writer:
        return _DocumentWriter(self._store, origin)

    def write(self, outputs: Sequence[tuple[Origin, Sequence[Record]]]) -> list[dict[str, Any]]:
        """The documents of all objects together."""
        if not outputs:
            return []
        versions = _Versions(self._store, [origin for origin, _records in outputs])
        with contextlib.closing(versions):
            for place, (_origin, records) in enumerate(outputs):
                versions.add(place, records)
            return versions.commit()


class _DocumentWriter(Writer):
    """Documents are written as they come, and shown by `commit`."""

    def __init__(self, store: DocumentStore, origin: Origin) -> None:
        self._versions = _Versions(store, [origin])

    def add(self, records: Iterable[Record]) -> None:
        self._versions.add(0, records)

    def commit(self) -> dict[str, Any]:
        return self._versions.commit()[0]

    def close(self) -> None:
        self._versions.close()


class DocumentReader:
    """Reads documents and files: a document is `{…its fields, "lake": {object, operation, number}}`.

    Errors of every method: StoreError when MongoDB is away.
    """

    def __init__(self, store: DocumentStore) -> None:
        self._store = store

    @contextlib.contextmanager
    def _moment(self, store: str) -> Iterator[tuple[ClientSession, list[str]]]:
        """A session that sees all as it is at one moment, and the versions that are hidden then."""
        with _mongodb(f"read documents of {store!r}"), self._store._client.start_session(snapshot=True) as session:
            yield session, hidden_versions(self._store.objects(store), session)

    def documents(
        self,
        store: str,
        filters: Sequence[Filter] = (),
        *,
        object_id: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """A page of a store's documents, by object and place in it, and the `after` of the next page (None: the end).

        A filter's field is a path with dots; its value has the type that the field has (a text is no number). A page
        has fewer than `limit` documents where these are large (see PAGE_BYTES).
        Errors: InvalidInput for a bad filter, limit or cursor.
        """
        query: list[dict[str, Any]] = [condition(one) for one in filters]
        if object_id is not None:
            query.append({"lake.object": int(check_object_id(object_id))})
        if after:
            number, place = from_cursor(after, (int, int))
            query.append(
                {"$or": [{"lake.object": {"$gt": number}}, {"lake.object": number, "lake.number": {"$gt": place}}]}
            )
        page, more = self._find(store, query, check_limit(limit))
        cursor = to_cursor([page[-1]["lake"]["object"], page[-1]["lake"]["number"]]) if more else None
        return [_document(kept) for kept in page], cursor

    def _find(self, store: str, query: list[dict[str, Any]], limit: int) -> tuple[list[dict[str, Any]], bool]:
        """At most `limit` documents, fewer where they are large, and whether there are more."""
        import bson
        from bson.codec_options import DatetimeConversion
        from bson.raw_bson import RawBSONDocument

        collection = self._store.documents(store)
        # A moment that Python does not know makes no document unreadable.
        options = collection.codec_options.with_options(datetime_conversion=DatetimeConversion.DATETIME_AUTO)
        raw = collection.with_options(codec_options=options.with_options(document_class=RawBSONDocument))
        page: list[dict[str, Any]] = []
        size = 0
        with self._moment(store) as (session, hidden):
            seen = {"$and": [{"lake.version": {"$nin": hidden}}, *query]}
            order = [("lake.object", 1), ("lake.number", 1)]
            with raw.find(seen, session=session).sort(order).limit(limit + 1) as found:
                for one in found:
                    if len(page) == limit or (page and size >= PAGE_BYTES):
                        return page, True
                    page.append(bson.decode(one.raw, options))
                    size += len(one.raw)
        return page, False

    def document(self, store: str, object_id: str, number: int) -> dict[str, Any]:
        """One document, by its object and place in it (from 0). Errors: NotFound."""
        mine = {"lake.object": int(check_object_id(object_id)), "lake.number": number}
        found, _more = self._find(store, [mine], 1)
        if not found:
            raise NotFound(f"{store} has no document {number} of object {object_id}", store=store)
        return _document(found[0])

    def files(
        self, store: str, *, object_id: str | None = None, limit: int = 100, after: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """A page of a store's files, by object and name: `{name, content_type, length, sha256, details, lake: {object,
        operation}}`, and the `after` of the next page (None: the end)."""
        query: list[dict[str, Any]] = []
        if object_id is not None:
            query.append({"metadata.lake.object": int(check_object_id(object_id))})
        if after:
            number, name = from_cursor(after, (int, str))
            later = {"metadata.lake.object": number, "metadata.lake.name": {"$gt": name}}
            query.append({"$or": [{"metadata.lake.object": {"$gt": number}}, later]})
        check_limit(limit)
        with self._moment(store) as (session, hidden):
            seen = {"$and": [{"metadata.lake.version": {"$nin": hidden}}, *query]}
            cursor = self._store.files(store).find(seen, session=session)
            found = list(cursor.sort([("metadata.lake.object", 1), ("metadata.lake.name", 1)]).limit(limit + 1))
        page = [_file(kept) for kept in found[:limit]]
        more = to_cursor([int(page[-1]["lake"]["object"]), page[-1]["name"]]) if len(found) > limit else None
        return page, more

    def open_file(self, store: str, object_id: str, name: str) -> tuple[dict[str, Any], BinaryIO]:
        """A file as `files` has it, and a stream of its content. Errors: NotFound."""
        number = int(check_object_id(object_id))
        with self._moment(store) as (session, hidden):
            wanted = {
                "metadata.lake.object": number,
                "metadata.lake.name": name,
                "metadata.lake.version": {"$nin": hidden},
            }
            kept = self._store.files(store).find_one(wanted, session=session)
        if kept is None:
            raise NotFound(f"{store} has no file {name!r:.80} of object {object_id}", store=store)
        with _mongodb(f"open the file {name!r} of {store!r}"):
            stream: Any = self._store.bucket(store).open_download_stream(kept["_id"])
        return _file(kept), stream

    def ping(self) -> None:
        """Whether MongoDB answers: an error if it does not."""
        with _mongodb("answer"):
            self._store._client.admin.command("ping")

    def contents(self, store: str, object_id: str) -> dict[str, Any]:
        """What an object has become: `{documents, files, operation, written}`; empty where it has nothing here."""
        with self._moment(store) as (session, _hidden):
            entry = self._store.objects(store).find_one({"_id": int(check_object_id(object_id))}, session=session)
        if entry is None or entry.get("version") is None:
            return {}
        return {key: entry[key] for key in ("documents", "files", "operation", "written")}


def condition(one: Filter) -> dict[str, Any]:
    """A condition for MongoDB. Errors: InvalidInput."""
    import re

    if not one.field or one.field.startswith("$") or "\x00" in one.field or ".$" in one.field:
        raise InvalidInput(f"{one.field!r:.80} is not a field's path")
    if one.operator == "null":
        return {one.field: None} if one.value else {one.field: {"$ne": None}}
    if one.operator == "contains":
        return {one.field: {"$regex": re.escape(one.value)}}
    if isinstance(one.value, (Mapping, list)):
        raise InvalidInput(f"{one.field}: a value is compared, not {type(one.value).__name__}")
    compared = {one.field: {_OPERATORS[one.operator]: one.value}}
    return {"$and": [compared, {one.field: {"$ne": None}}]} if one.operator == "ne" else compared


def _document(kept: dict[str, Any]) -> dict[str, Any]:
    """A document as its file had it, with where it comes from."""
    lake = kept.pop("lake")
    kept.pop("_id")
    value = {"_id": lake["id"], **kept} if "id" in lake else kept
    origin = {"object": str(lake["object"]), "operation": lake["operation"], "number": lake["number"]}
    if "value" in lake:
        origin["value"] = lake["value"]
    return {**value, "lake": origin}


def _file(kept: Mapping[str, Any]) -> dict[str, Any]:
    metadata = kept["metadata"]
    lake = metadata["lake"]
    return {
        "name": lake["name"],
        "content_type": metadata["content_type"],
        "length": kept["length"],
        "sha256": metadata["sha256"],
        "details": metadata["details"],
        "lake": {"object": str(lake["object"]), "operation": lake["operation"]},
    }
