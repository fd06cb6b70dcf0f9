# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the workflow `new_input` does with a batch of events: documents, pipelines, sinks, log."""

from __future__ import annotations

import hashlib
import io
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from . import content_types
from .ahead import LARGEST, ReadAhead
from .documents import history_entry, operation
from .errors import LakeError, NoPipeline, NotFound, ParseError, StoreError, present
from .events import Event
from .parsers.report import Options, RowErrors
from .pipelines import Declaration, Router, run_here
from .points import Point
from .records import Document, File, Member, Node, Record, Relation, Row, Table
from .sinks.base import Origin, Sink, Writer
from .states import DELETED, Change

if TYPE_CHECKING:
    from .metadata import MetadataStore, Result
    from .pipelines import Runner

log = logging.getLogger(__name__)

STREAMED_FROM = 16 * 1024 * 1024
"""Objects of this size (bytes) and above are not held in memory: their records are written while they are read.
Nor is more than that read of the objects whose records wait to be written together."""
BUFFERED_RECORDS = 100_000
"""How many records wait to be written together; an object that has more by itself is written while it is read."""
CHUNK = 5000
"""How many records of a large object go to their sinks at once."""
FILE_RECORD = 200
"""So many bytes of a file count as one record."""
OBJECT_SECONDS = 600.0
"""How long one object may take."""
UNREADABLE = 3
"""After so many objects one after another that Swift does not give, it is taken to be away."""
REMOVAL = "removal"
"""What is logged as the pipeline where an object was deleted."""


@dataclass(frozen=True)
class RunInfo:
    """The DAG run that does the work."""

    dag_id: str
    run_id: str
    execution_date: datetime


@dataclass
class BatchReport:
    """What became of a batch: ids of the objects that are done, and of those that were deleted, `{container, object,
    message}` of those that failed, how many records were written, how many events had nothing to say, and the payloads
    of the events left for Spark. All of it is JSON."""

    done: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    records: int = 0
    ignored: int = 0
    heavy: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _Work:
    """One object on its way through a pipeline.

    `held`: its records, while they wait; `kept_by`: the sink of each kind of them; `counts`: how many there are of each
    kind; `places`: what each sink says of where they are. `cleared`: sinks that had something of it and have nothing
    now. `detected`: the content type that its content has, where it is another than the document says. `missing`:
    Swift has no such object.
    """

    event: Event
    document: Mapping[str, Any]
    declaration: Declaration | None = None
    errors: RowErrors = field(default_factory=RowErrors)
    held: list[Record] = field(default_factory=list)
    kept_by: dict[type, str] = field(default_factory=dict)
    counts: Counter[type] = field(default_factory=Counter)
    places: dict[str, Any] = field(default_factory=dict)
    cleared: list[str] = field(default_factory=list)
    seconds: float = 0.0
    detected: str | None = None
    failure: str | None = None
    missing: bool = False
    finished: bool = False

    @property
    def records(self) -> int:
        """How many records there are of it."""
        return sum(self.counts.values())


class _Unreadable(StoreError):
    """Swift does not give this object now."""


class _Stopwatch:
    """How long an object takes to be read and parsed, without what its sinks take.

    `check` raises LakeError once that is longer than `limit` (seconds).
    """

    def __init__(self, limit: float) -> None:
        self.seconds = 0.0
        self._limit = limit
        self._since = time.monotonic()

    def lap(self) -> None:
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now

    def resume(self) -> None:
        self._since = time.monotonic()

    def check(self) -> None:
        self.lap()
        if self.seconds > self._limit:
            raise LakeError(
                f"given up after {self.seconds:.0f} s: an object may take {self._limit:g} s (make it smaller, its"
                " pipeline quicker or the limit higher)"
            )


class _Guarded(io.RawIOBase):
    """An object's stream: when reading fails, it is Swift that failed (to be retried), not the file that is bad."""

    def __init__(self, stream: BinaryIO, name: str, watch: _Stopwatch) -> None:
        self._stream = stream
        self._name = name
        self._watch = watch
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._watch.check()
        try:
            data = self._stream.read(len(buffer))
        except LakeError:
            raise
        except Exception as error:  # whatever the client's library raises
            raise _Unreadable(f"reading the object {self._name!r} broke off: {error}") from error
        self.size += len(data)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            close = getattr(self._stream, "close", None)
            if close is not None:
                close()
        super().close()


def process_batch(
    events: Iterable[Event],
    *,
    metadata: MetadataStore,
    open_object: Callable[[Event], BinaryIO],
    router: Router,
    sinks: Iterable[Sink],
    run: RunInfo,
    object_seconds: float = OBJECT_SECONDS,
    run_steps: Runner = run_here,
) -> BatchReport:
    """Applies a batch of events to their objects' documents, processes the objects that they ask for, and logs on each
    document what became of it.

    A bad object fails alone, and so does one that takes longer than `object_seconds`. `open_object` gives an object's
    content; several threads call it. `run_steps` runs the steps of a pipeline (see isolated.Runner for those that have
    an environment of their own). Doing a batch again is safe: what this run has done already is not done twice, and
    sinks are idempotent.
    Errors: StoreError (retriable) when a store is away, or Swift does not give an object: then the others are done and
    logged, and the batch has to be done again.
    """
    report = BatchReport()
    by_name = {sink.name: sink for sink in sinks}
    problems: list[StoreError] = []
    for group, store, error in _by_store(events, metadata):
        if store is None:
            for event in group:  # no store can hold it, so there is no document to log it on
                if error:
                    _failed(report, event, error)
                else:
                    report.ignored += 1
            continue
        batch = _StoreBatch(store, report, metadata, open_object, router, by_name, run, object_seconds, run_steps)
        problems += batch.process(group)
    if problems:
        raise problems[0]
    return report


def fail_batch(events: Iterable[Event], *, metadata: MetadataStore, run: RunInfo, message: str) -> int:
    """Logs, after the last attempt, on each object that this run did nothing about that it failed; how many objects.

    Events that ask for no processing are applied and logged as ever.
    """
    count = 0
    for group, store, _error in _by_store(events, metadata):
        if store is None:
            continue
        results = []
        for change in metadata.apply_events(store, group).values():
            if change.removal:
                results.append(_removal(change, run))
            if change.event and change.document and not _has_own_word(change.document, run):
                count += 1
                entry = operation(
                    dag_id=run.dag_id,
                    operation_instance=run.run_id,
                    execution_date=run.execution_date,
                    pipeline=None,
                    message=message,
                )
                results.append((change.document["swift_object_id"], False, entry, None))
        metadata.log(store, results)
    return count


def _by_store(
    events: Iterable[Event], metadata: MetadataStore
) -> Iterator[tuple[Sequence[Event], str | None, str | None]]:
    """The events of each container with its store; None and the reason where it can have none, None and None where it
    has none and the events are only of removals."""
    groups: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        groups.setdefault((event.project_id, event.container), []).append(event)
    for (project_id, container), group in groups.items():
        try:
            if all(event.type == "delete" for event in group):
                store = metadata.store_for(project_id, container)
            else:
                store = metadata.store_for(project_id, container, create=True)
        except StoreError:
            raise
        except LakeError as error:
            yield group, None, str(error)
        else:
            yield group, store, None


class _StoreBatch:
    """The events of one store on their way."""

    def __init__(
        self,
        store: str,
        report: BatchReport,
        metadata: MetadataStore,
        open_object: Callable[[Event], BinaryIO],
        router: Router,
        sinks: Mapping[str, Sink],
        run: RunInfo,
        object_seconds: float,
        run_steps: Runner,
    ) -> None:
        self._store = store
        self._report = report
        self._metadata = metadata
        self._open_object = open_object
        self._router = router
        self._sinks = sinks
        self._run = run
        self._object_seconds = object_seconds
        self._run_steps = run_steps
        self._waiting: list[_Work] = []
        self._waiting_records = 0
        self._waiting_size = 0
        self._unreadable: list[_Unreadable] = []
        self._unreadable_in_a_row = 0

    def process(self, events: Sequence[Event]) -> list[_Unreadable]:
        """Does the work, one query and one bulk write of metadata in all; returns why it must be done again."""
        changes = self._metadata.apply_events(self._store, events)
        self._report.ignored += sum(change.ignored for change in changes.values())
        results = [_removal(change, self._run) for change in changes.values() if change.removal]
        self._report.removed += [result[0] for result in results]
        works = [work for change in changes.values() for work in self._works(change)]
        away = None
        try:
            ordered = sorted(works, key=lambda work: work.declaration.name if work.declaration else "")
            small = [work.event for work in ordered if int(work.document.get("size") or 0) <= LARGEST]
            with ReadAhead(self._open_object, small) as self._ahead:
                for work in ordered:
                    if work.failure is None:
                        self._attempt(work)
            self._write_waiting()
        except StoreError as error:
            away = error
        self._pass_over_deleted(works)
        for work in works:
            # While a store is away, only what is done is sure.
            if work.finished and work.failure is None:
                self._report.done.append(work.document["swift_object_id"])
            elif work.failure is not None and away is None:
                _failed(self._report, work.event, work.failure)
            else:
                continue
            results.append(_result(self._store, work, self._run))
        self._metadata.log(self._store, results)
        if away is not None:
            raise away
        return self._unreadable

    def _works(self, change: Change) -> Iterator[_Work]:
        """What is to be done about an object: nothing, or one thing."""
        if change.event is None or change.document is None:
            return
        work = _Work(change.event, change.document)
        try:
            work.declaration = self._router.route(change.document)
        except NoPipeline:
            yield work  # its content may say more than its type
            return
        if _was_done(change.document, work.declaration, self._run):
            self._report.done.append(change.document["swift_object_id"])
        elif work.declaration.weight == "heavy":
            self._report.heavy.append(change.event.to_payload())
        else:
            yield work

    def _attempt(self, work: _Work) -> None:
        """Reads an object; its failure is its own, unless a store is away."""
        watch = _Stopwatch(self._object_seconds)
        try:
            self._read(work, watch)
            self._unreadable_in_a_row = 0
        except _Unreadable as error:
            self._unreadable.append(error)
            self._unreadable_in_a_row += 1
            if self._unreadable_in_a_row >= UNREADABLE:
                raise
        except NotFound as error:
            work.missing = True
            work.failure = f"it is not in Swift any more, and was not processed before it went: {error}"
        except StoreError as error:
            if error.retriable:
                raise
            work.failure = str(error)
        except LakeError as error:
            work.failure = str(error)
        except Exception as error:  # a fault in a pipeline's own code: it fails this object, and says so
            name = work.declaration.name if work.declaration else None
            log.exception("pipeline %s failed on %s/%s", name, self._store, work.event.object_name)
            work.failure = f"the pipeline failed: {type(error).__name__}: {error}"
        watch.lap()
        work.seconds = watch.seconds

    def _read(self, work: _Work, watch: _Stopwatch) -> None:
        """Reads an object: its records wait to be written with those of others, or are written as they come."""
        with closing(self._open(work.event)) as stream:
            guarded = _Guarded(stream, work.event.object_name, watch)
            reader = io.BufferedReader(guarded, 256 * 1024)
            declaration = self._declaration(work, reader.peek()[: content_types.HEAD_BYTES])
            if declaration is None:
                return
            records = self._records(work, declaration, reader, watch)
            held: list[Record] = []
            weight = 0
            streamed = self._one_by_one(declaration) or int(work.document.get("size") or 0) >= STREAMED_FROM
            if not streamed:
                for record in records:
                    held.append(record)
                    weight += 1 if not isinstance(record, File) else 1 + len(record.data) // FILE_RECORD
                    if self._is_full(weight, guarded):
                        self._write_waiting()
                        if self._is_full(weight, guarded):
                            streamed = True
                            break
            if streamed:
                self._stream(work, declaration, itertools.chain(held, records))
            else:
                work.held = held
                self._waiting.append(work)
                self._waiting_records += weight
                self._waiting_size += guarded.size

    def _declaration(self, work: _Work, head: bytes) -> Declaration | None:
        """The object's pipeline, by what its content is where its type says nothing, or something else; None: it is
        handed on, or was done. Errors: NoPipeline."""
        declared = str(work.document.get("content_type") or "")
        seen = content_types.observe(str(work.document.get("original_object_name") or ""), head, declared)
        if content_types.base_type(seen) != content_types.base_type(declared):
            work.detected = seen
            work.document = {**work.document, "content_type": seen}
            work.declaration = None
            work.declaration = self._router.route(work.document)
            if _was_done(work.document, work.declaration, self._run):
                self._report.done.append(str(work.document["swift_object_id"]))
                return None
            if work.declaration.weight == "heavy":
                self._report.heavy.append(work.event.to_payload())
                return None
        return work.declaration or self._router.route(work.document)

    def _records(self, work: _Work, declaration: Declaration, stream: BinaryIO, watch: _Stopwatch) -> Iterator[Record]:
        """What a declaration's parser and transforms make of a stream; `work` gets the counts, and each kind's sink."""
        options = Options(
            declaration.parser.options,
            filename=work.document.get("original_object_name"),
            content_type=work.document.get("content_type"),
            metadata=work.document,
        )
        work.errors = options.report
        declaration.check()
        for record in self._run_steps(declaration, stream, options, watch.check):
            kind = type(record)
            if kind not in work.kept_by:
                work.kept_by[kind] = self._sink_of(kind, declaration)
            work.counts[kind] += 1
            watch.check()
            yield record
            watch.resume()

    def _sink_of(self, kind: type, declaration: Declaration) -> str:
        """The sink of the declaration that keeps this kind of record."""
        for name in declaration.sinks:
            sink = self._sinks.get(name)
            if sink is None:
                raise LakeError(f"the pipeline {declaration.name} writes to {name}, which this lake does not have")
            if issubclass(kind, sink.accepts):
                return name
        raise ParseError(
            f"the pipeline {declaration.name} made {kind.__name__}, which its sinks"
            f" ({', '.join(declaration.sinks)}) do not keep"
        )

    def _stream(self, work: _Work, declaration: Declaration, records: Iterator[Record]) -> None:
        """Writes an object's records while it is read, some at a time; all sinks keep them, or as few as can be."""
        origin = self._origin(work, declaration)
        with ExitStack() as stack:
            writers: dict[str, Writer] = {}
            size = 1 if self._one_by_one(declaration) else min(CHUNK, BUFFERED_RECORDS)
            while chunk := list(itertools.islice(records, size)):
                for name, same in _by_sink(chunk, work).items():
                    if name not in writers:
                        writers[name] = stack.enter_context(self._sinks[name].writer(origin))
                    writers[name].add(same)
                    same.clear()
                chunk.clear()
            work.cleared = self._to_clear(work)
            for name in work.cleared:
                writers[name] = stack.enter_context(self._sinks[name].writer(origin))
            work.places = {name: writer.commit() for name, writer in writers.items()}
        work.finished = True
        self._report.records += work.records

    def _one_by_one(self, declaration: Declaration) -> bool:
        return any(sink.one_by_one for name, sink in self._sinks.items() if name in declaration.sinks)

    def _to_clear(self, work: _Work) -> list[str]:
        """Sinks where earlier operations put something of this object, and this one puts nothing."""
        before = {name for done in work.document.get("successful_operations", ()) for name in done.get("services", ())}
        before.difference_update(work.kept_by.values())
        return sorted(name for name in before if name in self._sinks and self._sinks[name].replaces)

    def _origin(self, work: _Work, declaration: Declaration) -> Origin:
        return Origin(
            store=self._store,
            object_id=str(work.document["swift_object_id"]),
            operation=_operation_id(work, declaration, self._run),
            name=str(work.document.get("original_object_name") or ""),
            content_type=str(work.document.get("content_type") or ""),
            etag=str(work.document.get("etag") or ""),
            document=work.document,
        )

    def _open(self, event: Event) -> BinaryIO:
        try:
            return self._ahead.open(event)
        except StoreError as error:
            if error.retriable:
                raise _Unreadable(str(error)) from error
            raise

    def _is_full(self, weight: int, stream: _Guarded) -> bool:
        """Whether this object's records and those that wait are as much as is held in memory."""
        return self._waiting_records + weight > BUFFERED_RECORDS or self._waiting_size + stream.size > STREAMED_FROM

    def _write_waiting(self) -> None:
        """Each sink gets what waits for it in one go."""
        parts: dict[str, list[tuple[_Work, Origin, list[Record]]]] = {}
        for work in self._waiting:
            origin = self._origin(work, present(work.declaration))
            work.cleared = self._to_clear(work)
            for name, same in {**_by_sink(work.held, work), **{name: [] for name in work.cleared}}.items():
                parts.setdefault(name, []).append((work, origin, same))
        for name, outputs in parts.items():
            _write(self._sinks[name], outputs)
        for work in self._waiting:
            work.held, work.finished = [], True
            self._report.records += work.records if work.failure is None else 0
        self._waiting.clear()
        self._waiting_records = self._waiting_size = 0

    def _pass_over_deleted(self, works: list[_Work]) -> None:
        """Takes out what is missing in Swift because it was deleted meanwhile, as its document says by now."""
        missing = [work.document["swift_object_id"] for work in works if work.missing]
        statuses = self._metadata.statuses(self._store, missing) if missing else {}
        deleted = {object_id for object_id, status in statuses.items() if status == DELETED}
        self._report.ignored += len(deleted)
        works[:] = [work for work in works if not (work.missing and work.document["swift_object_id"] in deleted)]


def _by_sink(records: Iterable[Record], work: _Work) -> dict[str, list[Record]]:
    parts: dict[str, list[Record]] = {}
    for record in records:
        parts.setdefault(work.kept_by[type(record)], []).append(record)
    return parts


def _write(sink: Sink, outputs: Sequence[tuple[_Work, Origin, list[Record]]]) -> None:
    """Writes the records of several objects at once; where the store refuses, each by itself, to find the one it is."""
    try:
        places = sink.write([(origin, records) for _work, origin, records in outputs])
    except StoreError as error:
        if error.retriable:
            raise
    else:
        for (work, _origin, _records), place in zip(outputs, places):  # noqa: B905 (3.9)
            work.places[sink.name] = place
        return
    for work, origin, records in outputs:
        try:
            [work.places[sink.name]] = sink.write([(origin, records)])
        except StoreError as error:
            if error.retriable:
                raise
            work.failure = str(error)


def _operation_id(work: _Work, declaration: Declaration, run: RunInfo) -> str:
    """Names the operation of this run on this object, the same at each attempt; it stands on the object's log."""
    parts = (run.run_id, str(work.document["swift_object_id"]), declaration.name, declaration.version)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _was_done(document: Mapping[str, Any], declaration: Declaration, run: RunInfo) -> bool:
    """Whether this very run did this before (and the object was not put again since)."""
    return any(
        done.get("operation_instance") == run.run_id
        and done.get("pipeline") == declaration.name
        and done.get("etag") == document.get("etag")
        for done in document.get("successful_operations", ())
    )


def _has_own_word(document: Mapping[str, Any], run: RunInfo) -> bool:
    """Whether this run processed the object, well or badly, as the object's pipeline says itself."""
    return any(
        done.get("operation_instance") == run.run_id and done.get("pipeline") not in (None, REMOVAL)
        for key in ("successful_operations", "failed_operations")
        for done in document.get(key, ())
    )


def _removal(change: Change, run: RunInfo) -> Result:
    """What is logged of an object that was deleted. What was made of it stays where it is, to be traced by this."""
    old = {key: value for key, value in present(change.before).items() if not key.endswith("_operations")}
    entry = operation(
        dag_id=run.dag_id,
        operation_instance=run.run_id,
        execution_date=run.execution_date,
        pipeline=REMOVAL,
        message="the object was deleted in Swift; what was made of it stays",
        etag=old.get("etag"),
        user=present(change.removal).user,
    )
    history = history_entry(
        document=old,
        process_type=old["data_processing"],
        task_type=REMOVAL,
        new_data={"status": DELETED, "operation": entry},
        old_data=old,
    )
    return old["swift_object_id"], True, entry, history


def _result(store: str, work: _Work, run: RunInfo) -> Result:
    declaration, errors = work.declaration, work.errors
    ok = work.failure is None
    details: dict[str, Any] = {
        "pipeline": declaration.name if declaration else None,
        "version": declaration.version if declaration else None,
        "message": work.failure or _told(work),
        "records": work.records if ok else 0,
        "seconds": round(work.seconds, 3),
        "etag": work.document.get("etag"),
    }
    if ok and errors.count:
        details["message"] += f"; {errors.count} rows left out"
    if work.detected:
        details["detected_content_type"] = work.detected
    if errors.count:
        details.update(error_count=errors.count, errors=errors.items)
    if errors.skipped:
        details["skipped"] = [{"kind": kind, "count": count} for kind, count in errors.skipped.items()]
    if ok and declaration:
        details["operation"] = _operation_id(work, declaration, run)
        places = {name: place for name, place in work.places.items() if name not in work.cleared}
        if places:
            details.update(services=list(places), gold=places)
        if work.cleared:
            details["cleared"] = work.cleared
    entry = operation(dag_id=run.dag_id, operation_instance=run.run_id, execution_date=run.execution_date, **details)
    history = None
    if ok and declaration:
        history = history_entry(
            document=work.document,
            process_type=work.document["data_processing"],
            task_type=declaration.name,
            new_data={**places, "operation": entry},
        )
    return work.document["swift_object_id"], ok, entry, history


def _told(work: _Work) -> str:
    """`12 points to influxdb, 1 file to mongodb`; of what there is none, nothing."""
    parts = []
    for sink, noun, count in sorted((work.kept_by[kind], _NOUNS[kind], count) for kind, count in work.counts.items()):
        parts.append(f"{count:,} {noun}{'' if count == 1 else 's'} to {sink}")
    return ", ".join(parts) or "nothing in it"


_NOUNS: dict[type, str] = {
    Point: "point",
    Row: "row",
    Table: "table",
    Document: "document",
    File: "file",
    Node: "node",
    Relation: "relation",
    Member: "member",
}


def _failed(report: BatchReport, event: Event, message: str) -> None:
    report.failed.append({"container": event.container, "object": event.object_name, "message": message[:500]})
