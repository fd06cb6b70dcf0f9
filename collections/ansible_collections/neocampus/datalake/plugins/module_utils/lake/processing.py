# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the workflow `new_input` does with a batch of events: documents, pipelines, sinks, log."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from .documents import history_entry, operation
from .errors import LakeError, NoPipeline, ParseError, StoreError
from .events import Event
from .parsers.report import Options, RowErrors
from .pipelines import Declaration, Router
from .points import Point

if TYPE_CHECKING:
    from .metadata import MetadataStore, Result
    from .sinks.influxdb import InfluxDB

log = logging.getLogger(__name__)

STREAMED_FROM = 16 * 1024 * 1024
"""Objects of this size (bytes) and above are not held in memory: their points are written while they are read."""
BUFFERED_POINTS = 100_000
"""How many points of small objects wait to be written together."""


@dataclass(frozen=True)
class RunInfo:
    """The DAG run that does the work."""

    dag_id: str
    run_id: str
    execution_date: datetime


@dataclass
class BatchReport:
    """What became of a batch: ids of the objects that are done, `{container, object, message}` of those that failed,
    how many points were written, and the payloads of the events left for Spark. All of it is JSON."""

    done: list[str] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    points: int = 0
    heavy: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _Work:
    """One object on its way through a pipeline."""

    event: Event
    document: Mapping[str, Any]
    declaration: Declaration | None = None
    errors: RowErrors = field(default_factory=RowErrors)
    points: list[Point] = field(default_factory=list)
    records: int = 0
    seconds: float = 0.0
    failure: str | None = None
    finished: bool = False


class _Guarded(io.RawIOBase):
    """An object's stream: when reading fails, it is Swift that failed (to be retried), not the file that is bad."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except LakeError:
            raise
        except Exception as error:  # whatever the client's library raises
            raise StoreError(f"reading the object {self._name!r} broke off: {error}", retriable=True) from error
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
    influxdb: InfluxDB,
    run: RunInfo,
) -> BatchReport:
    """Processes the objects of a batch of events, and logs on each document what became of it.

    A bad object fails alone. Doing a batch again is safe: what this run has done already is not done twice, and sinks
    are idempotent.
    Errors: StoreError(retriable) when a store is away: the whole batch is to be tried again.
    """
    report = BatchReport()
    groups: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        groups.setdefault((event.project_id, event.container), []).append(event)
    for (project_id, container), group in groups.items():
        try:
            store = metadata.store_for(project_id, container, create=True)
        except LakeError as error:
            if isinstance(error, StoreError):
                raise
            for event in group:  # no store can hold it, so there is no document to log it on
                _failed(report, event, str(error))
            continue
        _process_store(store, group, report, metadata, open_object, router, influxdb, run)
    return report


def _process_store(
    store: str,
    events: Sequence[Event],
    report: BatchReport,
    metadata: MetadataStore,
    open_object: Callable[[Event], BinaryIO],
    router: Router,
    influxdb: InfluxDB,
    run: RunInfo,
) -> None:
    last = {event.object_name: event for event in sorted(events, key=lambda event: event.timestamp)}
    documents = metadata.for_events(store, events)
    works = []
    buffered: list[_Work] = []

    def write_buffered() -> None:
        if any(work.points for work in buffered):
            influxdb.ensure_database(store)
            report.points += _write(store, buffered, influxdb)
        for work in buffered:
            work.points, work.finished = [], True
        buffered.clear()

    for name, event in last.items():
        document = documents[name]
        work = _Work(event, document)
        try:
            declaration = router.route(document)
        except NoPipeline as error:
            work.failure = str(error)
            works.append(work)
            continue
        if _was_done(document, declaration, event, run):
            report.done.append(document["swift_object_id"])
            continue
        if declaration.weight == "heavy":
            report.heavy.append(event.to_payload())
            continue
        work.declaration = declaration
        works.append(work)
        started = time.monotonic()
        try:
            with closing(open_object(event)) as stream:
                points = _points(work, declaration, io.BufferedReader(_Guarded(stream, name), 256 * 1024))
                if int(document.get("size") or 0) >= STREAMED_FROM:
                    influxdb.ensure_database(store)
                    report.points += influxdb.write(store, points)
                    work.finished = True
                else:
                    work.points = list(points)
                    buffered.append(work)
        except StoreError as error:
            if error.retriable:
                raise
            work.failure = str(error)
        except LakeError as error:
            work.failure = str(error)
        except Exception as error:  # a fault in a pipeline's own code: it fails this object, and says so
            log.exception("pipeline %s failed on %s/%s", declaration.name, store, name)
            work.failure = f"the pipeline failed: {type(error).__name__}: {error}"
        work.seconds = time.monotonic() - started
        if sum(len(item.points) for item in buffered) >= BUFFERED_POINTS:
            write_buffered()
    write_buffered()
    metadata.log(store, [_result(store, work, run) for work in works])
    for work in works:
        if work.failure is None:
            report.done.append(work.document["swift_object_id"])
        else:
            _failed(report, work.event, work.failure)


def _points(work: _Work, declaration: Declaration, stream: BinaryIO) -> Iterator[Point]:
    """The points that a declaration's parser and transforms make of a stream, counted on `work`."""
    options = Options(
        declaration.parser.options,
        filename=work.document.get("original_object_name"),
        content_type=work.document.get("content_type"),
    )
    work.errors = options.report
    points: Iterable[Point] = declaration.parser.load()(stream, options)
    for transform in declaration.transforms:
        points = transform.load()(points, transform.options)
    for point in points:
        if not isinstance(point, Point):
            raise ParseError(f"the pipeline {declaration.name} made {type(point).__name__}, not points")
        work.records += 1
        yield point


def _write(store: str, works: Sequence[_Work], influxdb: InfluxDB) -> int:
    """Writes the points of several objects at once; where InfluxDB refuses, each by itself, to find the one it is."""
    try:
        return influxdb.write(store, (point for work in works for point in work.points))
    except StoreError as error:
        if error.retriable:
            raise
    written = 0
    for work in works:
        try:
            written += influxdb.write(store, work.points)
        except StoreError as error:
            if error.retriable:
                raise
            work.failure = str(error)
    return written


def _was_done(document: Mapping[str, Any], declaration: Declaration, event: Event, run: RunInfo) -> bool:
    """Whether this very run did this before (and the object was not put again since)."""
    return any(
        done.get("operation_instance") == run.run_id
        and done.get("pipeline") == declaration.name
        and done.get("etag") == event.etag
        for done in document.get("successful_operations", ())
    )


def _result(store: str, work: _Work, run: RunInfo) -> Result:
    declaration, errors = work.declaration, work.errors
    ok = work.failure is None
    details: dict[str, Any] = {
        "pipeline": declaration.name if declaration else None,
        "version": declaration.version if declaration else None,
        "message": work.failure or f"{work.records} points to InfluxDB",
        "records": work.records if ok else 0,
        "seconds": round(work.seconds, 3),
        "etag": work.event.etag,
    }
    if ok and errors.count:
        details["message"] += f"; {errors.count} rows left out"
    if errors.count:
        details.update(error_count=errors.count, errors=errors.items)
    if ok and declaration and work.records:
        details["services"] = list(declaration.sinks)
    entry = operation(dag_id=run.dag_id, operation_instance=run.run_id, execution_date=run.execution_date, **details)
    history = None
    if ok and declaration:
        made = {"points": work.records, "database": store} if work.records else {}
        history = history_entry(
            document=work.document,
            process_type=work.document["data_processing"],
            task_type=declaration.name,
            new_data={"influxdb": made, "operation": entry},
        )
    return work.document["swift_object_id"], ok, entry, history


def _failed(report: BatchReport, event: Event, message: str) -> None:
    report.failed.append({"container": event.container, "object": event.object_name, "message": message[:500]})
