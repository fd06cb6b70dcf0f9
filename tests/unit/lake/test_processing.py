# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import io
import itertools
import json
import re
import sys
import types
from collections import Counter
from dataclasses import asdict, replace
from datetime import UTC, datetime

import mongomock
import pytest
from neocampus_lake import ahead, processing
from neocampus_lake.documents import new_document
from neocampus_lake.errors import NotFound, StoreError
from neocampus_lake.events import Event
from neocampus_lake.metadata import MetadataStore
from neocampus_lake.pipelines import Declaration, Router, load_declarations
from neocampus_lake.points import Point
from neocampus_lake.processing import RunInfo, fail_batch, process_batch
from neocampus_lake.records import Document, Row
from neocampus_lake.sinks.base import Sink, Writer

RUN = RunInfo("new_input", "new_input__1", datetime(2021, 7, 22, tzinfo=UTC))
MESSAGE = {"topic": "u4/302/humidity", "value": 35, "value_units": "%r.H.", "time": "2021-07-22T11:11:22Z"}


class FakeSink(Sink):
    """Keeps what is written; `refuses` are measurements that it does not take, `away` is raised by each write."""

    name, accepts = "influxdb", (Point,)

    def __init__(self):
        self.points, self.origins, self.writes = {}, {}, 0
        self.refuses, self.away = (), None

    def keep(self, origin, points):
        if self.away:
            raise self.away
        for point in points:
            if point.measurement in self.refuses:
                raise StoreError("field type conflict", retriable=False)
            key = origin.store, point.measurement, tuple(sorted(point.tags.items())), point.time
            self.points[key], self.origins[key] = point.fields, origin

    def write(self, outputs):
        self.writes += 1
        for origin, points in outputs:
            self.keep(origin, points)
        return [{"database": origin.store, "points": len(points)} for origin, points in outputs]

    def writer(self, origin):
        return FakeWriter(self, origin)


class FakeWriter(Writer):
    def __init__(self, sink, origin):
        self.sink, self.origin, self.count = sink, origin, 0

    def add(self, records):
        records = list(records)
        self.sink.writes += 1
        self.sink.keep(self.origin, records)
        self.count += len(records)

    def commit(self):
        return {"database": self.origin.store, "points": self.count}

    def close(self):
        pass


class Lake:
    """A small lake: objects by name, and everything that process_batch needs."""

    def __init__(self):
        client = mongomock.MongoClient(tz_aware=True)
        self.metadata = MetadataStore(client)
        self.influxdb = FakeSink()
        self.objects = {}
        self.opened = []
        self.router = Router(load_declarations())

    def put(self, name, content, content_type="application/json", container="campus", project="p1", **metadata):
        if not isinstance(content, (bytes, Exception)):
            content = json.dumps(content).encode()
        self.objects[project, container, name] = content
        size = len(content) if isinstance(content, bytes) else 0
        if name.isdigit():
            store = self.metadata.store_for(project, container, create=True)
            document = new_document(
                object_id=name,
                container=container,
                project_id=project,
                user="alice",
                object_name=name,
                original_name=metadata.pop("original_name", "messages.json"),
                content_type=content_type,
                size=size,
                metadata=metadata,
            )
            self.metadata.insert(store, document)
        return Event(
            id=f"e-{project}-{container}-{name}",
            type="put",
            account="AUTH_" + project,
            project_id=project,
            container=container,
            object_name=name,
            user="alice",
            user_id="u1",
            content_type=content_type,
            size=size,
            etag=f"etag-{name}",
            timestamp="1626951682.00000",
            transaction_id="tx",
        )

    def open(self, event):
        self.opened.append(event.object_name)
        content = self.objects[event.project_id, event.container, event.object_name]
        if isinstance(content, Exception):
            raise content
        return io.BytesIO(content)

    def process(self, *events, run=RUN, open_object=None, **options):
        return process_batch(
            events,
            metadata=self.metadata,
            open_object=open_object or self.open,
            router=self.router,
            **{"sinks": [self.influxdb], "run": run, **options},
        )

    def document(self, object_id, store="campus"):
        return self.metadata.get(store, object_id)


@pytest.fixture
def lake():
    return Lake()


def test_messages_become_points_and_the_document_says_so(lake):
    report = lake.process(lake.put("17", [MESSAGE, {**MESSAGE, "time": "2021-07-22T11:12:22Z"}]))
    assert (report.done, report.failed, report.records, report.heavy) == (["17"], [], 2, [])
    assert {key[:2] for key in lake.influxdb.points} == {("campus", "%r.H.")}
    document = lake.document("17")
    [entry] = document["successful_operations"]
    assert {"execution_date", "dag_id", "operation_instance"} <= set(entry)
    assert (entry["dag_id"], entry["operation_instance"], entry["execution_date"]) == (
        RUN.dag_id,
        RUN.run_id,
        RUN.execution_date,
    )
    assert (entry["pipeline"], entry["version"], entry["records"]) == ("json", "1", 2)
    assert document["failed_operations"] == []
    assert document["processed_data_area_service"] == ["influxdb"]
    [history] = lake.metadata._client.data_historique.history.find()
    assert history["old_data"]["swift_object_name"] == "17"
    assert history["new_data"]["influxdb"] == entry["gold"]["influxdb"] == {"database": "campus", "points": 2}
    assert entry["message"] == "2 points to influxdb"
    assert {(origin.object_id, origin.operation) for origin in lake.influxdb.origins.values()} == {
        ("17", entry["operation"])
    }
    json.dumps(asdict(report))


def test_a_bad_object_fails_alone(lake):
    events = [
        lake.put("1", MESSAGE),
        lake.put("2", b'[{"topic": "u4/302/humidity", "value":'),
        lake.put("3", {"topic": "u4", "value": 1}),
        lake.put("4", b"%PDF-1.7", "application/pdf"),
        lake.put("5", NotFound("no object 5 in container campus")),
        lake.put("6", {**MESSAGE, "topic": "u4/303/humidity"}),
    ]
    report = lake.process(*events)
    assert report.done == ["1", "6"]
    assert [item["object"] for item in report.failed] == ["2", "3", "4", "5"]
    assert report.records == len(lake.influxdb.points) == 2
    assert lake.influxdb.writes == 1
    for number, said in {
        "2": "not valid JSON",
        "3": "sensor message",
        "4": "no pipeline",
        "5": "not in Swift any more.*no object 5",
    }.items():
        document = lake.document(number)
        assert document["successful_operations"] == [] and document["processed_data_area_service"] == []
        [entry] = document["failed_operations"]
        assert re.search(said, entry["message"])
    assert lake.document("4")["failed_operations"][0]["pipeline"] is None


def test_the_good_rows_of_a_bad_file_are_written_and_the_bad_ones_listed(lake):
    lake.process(lake.put("17", [MESSAGE, {**MESSAGE, "value": "high"}]))
    [entry] = lake.document("17")["successful_operations"]
    assert (entry["records"], entry["error_count"]) == (1, 1)
    assert entry["errors"][0]["line"] == 2
    assert "1 rows left out" in entry["message"]


def test_rows_are_told_for_a_file_that_failed_too(lake):
    lake.process(lake.put("17", [{"topic": "u4", "value": 1}, {"topic": "u4", "value": 2}]))
    [entry] = lake.document("17")["failed_operations"]
    assert entry["error_count"] == 2 and entry["records"] == 0


def test_what_is_passed_over_is_counted_and_is_no_error(lake):
    def parse(stream, options):
        for kind in ("GRANT", "CREATE VIEW", "GRANT"):
            options.report.skip(kind)
        yield Point("%", 1, {"value": 1.0}, {})

    custom(lake, parse)
    lake.process(lake.put("17", b"", "x/y", data_processing="custom"))
    [entry] = lake.document("17")["successful_operations"]
    assert entry["skipped"] == [{"kind": "GRANT", "count": 2}, {"kind": "CREATE VIEW", "count": 1}]
    assert "errors" not in entry and entry["message"] == "1 point to influxdb"


def test_containers_and_projects_are_kept_apart(lake):
    events = [
        lake.put("1", MESSAGE),
        lake.put("2", MESSAGE, container="meteo"),
        lake.put("3", MESSAGE, project="p2"),
    ]
    lake.process(*events)
    assert {key[0] for key in lake.influxdb.points} == {"campus", "meteo", "campus--p2"}
    assert lake.document("3", "campus--p2")["successful_operations"]


def test_an_object_of_a_plain_client(lake):
    report = lake.process(lake.put("dir/day.csv", b"date,value\n2021-07-22,3\n", "text/csv"))
    assert report.done == ["1"]
    [(_database, measurement, tags, _time)] = lake.influxdb.points
    assert (measurement, tags) == ("value", (("topic", "day"),))


def test_a_container_no_store_can_hold(lake):
    report = lake.process(lake.put("x", MESSAGE, container="system.x"), lake.put("17", MESSAGE))
    assert report.done == ["17"]
    assert report.failed[0]["container"] == "system.x"


def test_the_same_object_twice_in_a_batch_is_processed_once(lake):
    event = lake.put("data", MESSAGE)
    lake.process(event, replace(event, id="e2", etag="new", timestamp="1626951683.00000"))
    assert lake.opened == ["data"]
    assert lake.document("1")["etag"] == "new"


def test_a_retry_does_not_do_again_what_was_done(lake):
    events = [lake.put("1", MESSAGE), lake.put("2", MESSAGE)]
    lake.process(events[0])
    report = lake.process(*events)
    assert report.done == ["1", "2"]
    assert lake.opened == ["1", "2"]
    assert len(lake.document("1")["successful_operations"]) == 1


def test_another_run_processes_again_with_the_same_effect(lake):
    event = lake.put("17", MESSAGE)
    lake.process(event)
    lake.process(event, run=replace(RUN, run_id="manual__2"))
    assert len(lake.influxdb.points) == 1
    assert len(lake.document("17")["successful_operations"]) == 2


def test_a_store_that_is_away_fails_the_batch_to_be_tried_again(lake):
    events = [lake.put("1", MESSAGE), lake.put("2", b"broken")]
    lake.influxdb.away = StoreError("InfluxDB is away", retriable=True)
    with pytest.raises(StoreError) as caught:
        lake.process(*events)
    assert caught.value.retriable
    for number in ("1", "2"):
        assert lake.document(number)["failed_operations"] == []
    lake.influxdb.away = None
    report = lake.process(*events)
    assert (report.done, len(report.failed)) == (["1"], 1)


def test_swift_away_fails_the_batch_and_is_not_asked_for_each_object(lake):
    events = [lake.put(str(number), StoreError("no proxy", retriable=True)) for number in range(1, 99)]
    with pytest.raises(StoreError, match="no proxy"):
        lake.process(*events)
    assert len(lake.opened) <= processing.UNREADABLE + ahead.AHEAD


def test_an_object_that_swift_does_not_give_holds_up_no_other(lake):
    good, bad, other = lake.put("1", MESSAGE), lake.put("3", b"broken"), lake.put("4", MESSAGE, container="meteo")
    event = lake.put("2", StoreError("no replica of 2", retriable=True))
    with pytest.raises(StoreError, match="no replica of 2") as caught:
        lake.process(good, event, bad, other)
    assert caught.value.retriable
    assert lake.document("1")["successful_operations"] and lake.document("4", "meteo")["successful_operations"]
    assert lake.document("3")["failed_operations"]
    assert lake.document("2")["failed_operations"] == lake.document("2")["successful_operations"] == []
    lake.objects["p1", "campus", "2"] = json.dumps(MESSAGE).encode()
    lake.opened.clear()
    assert lake.process(good, event, other).done == ["1", "2", "4"]
    assert lake.opened == ["2"]


def test_what_was_written_before_a_store_went_away_is_logged(lake, monkeypatch):
    monkeypatch.setattr(processing, "BUFFERED_RECORDS", 1)
    events = [lake.put(str(number), {**MESSAGE, "topic": f"t{number}"}) for number in range(1, 4)]
    write = lake.influxdb.write

    def going_away(outputs):
        if lake.influxdb.writes:
            raise StoreError("InfluxDB is away", retriable=True)
        return write(outputs)

    monkeypatch.setattr(lake.influxdb, "write", going_away)
    with pytest.raises(StoreError):
        lake.process(*events)
    assert [bool(lake.document(number)["successful_operations"]) for number in "123"] == [True, False, False]


def test_a_transfer_that_breaks_off_is_swift_s_fault_not_the_file_s(lake):
    class Breaking(io.BytesIO):
        def read(self, size=-1):
            data = super().read(10)
            if not data:
                raise OSError("connection reset")
            return data

    event = lake.put("17", [MESSAGE] * 100)
    with pytest.raises(StoreError, match="connection reset") as caught:
        lake.process(event, open_object=lambda _event: Breaking(json.dumps([MESSAGE] * 100).encode()))
    assert caught.value.retriable
    assert lake.document("17")["failed_operations"] == []


def test_what_influxdb_refuses_fails_its_object_only(lake):
    lake.influxdb.refuses = ("odd",)
    events = [lake.put(str(n), {**MESSAGE, "value_units": unit}) for n, unit in enumerate(["W", "odd", "V"], 1)]
    report = lake.process(*events)
    assert report.done == ["1", "3"]
    assert "field type conflict" in lake.document("2")["failed_operations"][0]["message"]
    assert lake.document("2")["processed_data_area_service"] == []


def test_a_large_object_is_written_while_it_is_read(lake, monkeypatch):
    monkeypatch.setattr(processing, "STREAMED_FROM", 10)
    good, bad = lake.put("1", [MESSAGE]), lake.put("2", json.dumps([{**MESSAGE, "topic": "t"}]).encode()[:-1])
    report = lake.process(good, bad)
    assert report.done == ["1"] and report.records == 1
    assert "too early" in lake.document("2")["failed_operations"][0]["message"]
    assert lake.document("1")["successful_operations"][0]["records"] == 1


def test_buffers_are_bounded(lake, monkeypatch):
    monkeypatch.setattr(processing, "BUFFERED_RECORDS", 2)
    report = lake.process(*[lake.put(str(n), {**MESSAGE, "topic": f"t{n}"}) for n in range(1, 6)])
    assert len(report.done) == report.records == 5
    assert lake.influxdb.writes == 3


def count_calls(lake, monkeypatch):
    """Counts what a batch asks of MongoDB."""
    calls = Counter()
    collection = lake.metadata._client.swift.campus.__class__
    for name in ("find", "bulk_write", "insert_many"):
        monkeypatch.setattr(collection, name, counting(calls, name, getattr(collection, name)))
    return calls


def counting(calls, name, method):
    def counted(*args, **named):
        calls[name] += 1
        return method(*args, **named)

    return counted


def test_a_batch_costs_the_same_calls_whatever_its_size(lake, monkeypatch):
    seen = []
    for first, count in ((1, 3), (100, 200)):
        events = [lake.put(str(number), {**MESSAGE, "topic": f"t{number}"}) for number in range(first, first + count)]
        lake.influxdb.writes = 0
        with monkeypatch.context() as patch:
            calls = count_calls(lake, patch)
            assert len(lake.process(*events).done) == count
        assert lake.influxdb.writes == 1
        seen.append(dict(calls))
    # The documents; their new state and the operations; the history.
    assert seen[0] == seen[1] == {"find": 1, "bulk_write": 2, "insert_many": 1}


def test_objects_go_through_their_pipelines_in_groups(lake):
    events = [
        lake.put("1", MESSAGE),
        lake.put("2", b"date,value\n2021-07-22,3\n", "text/csv"),
        lake.put("3", MESSAGE),
        lake.put("4", b"date,value\n2021-07-23,3\n", "text/csv"),
    ]
    lake.process(*events)
    assert lake.opened == ["1", "3", "2", "4"]


class Watched(FakeSink):
    """Counts the points that were made and are not written yet."""

    def __init__(self):
        super().__init__()
        self.alive = self.most = 0

    def made(self, count):
        for number in range(count):
            self.alive += 1
            self.most = max(self.most, self.alive)
            yield Point("m", number, {"value": 1.0}, {})

    def keep(self, origin, points):
        self.alive -= len(list(points))


@pytest.mark.parametrize("sizes", [[10_000], [400] * 40, [10, 5000, 10, 900, 900, 3000]])
def test_memory_is_bounded_whatever_the_objects(lake, monkeypatch, sizes):
    monkeypatch.setattr(processing, "BUFFERED_RECORDS", 1000)
    lake.influxdb = Watched()
    custom(lake, lambda stream, options: lake.influxdb.made(int(stream.read())))
    events = [lake.put(str(n), str(size).encode(), "x/y", data_processing="custom") for n, size in enumerate(sizes, 1)]
    report = lake.process(*events)
    assert (len(report.done), report.records, lake.influxdb.alive) == (len(sizes), sum(sizes), 0)
    assert lake.influxdb.most <= 1001


def test_large_rows_are_not_held_either(lake, monkeypatch):
    monkeypatch.setattr(processing, "STREAMED_FROM", 1000)
    events = [lake.put(str(number), [{**MESSAGE, "subID": "x" * 300}]) for number in range(1, 7)]
    assert len(lake.process(*events).done) == 6
    assert lake.influxdb.writes == 3


def test_an_object_of_unknown_size_is_written_while_it_is_read(lake, monkeypatch):
    monkeypatch.setattr(processing, "STREAMED_FROM", 1000)
    event = replace(
        lake.put("dir/a", [{**MESSAGE, "topic": f"t{n}"} for n in range(100)]), type="post", size=0, etag=""
    )
    report = lake.process(event)
    assert (report.done, report.records, lake.influxdb.writes) == (["1"], 100, 1)
    assert lake.document("1")["size"] == 0


def test_a_slow_object_fails_alone(lake, monkeypatch):
    clock = itertools.count()
    custom(lake, lambda stream, options: (Point("m", number, {"value": 1.0}, {}) for number in range(10**9)))
    monkeypatch.setattr(processing, "BUFFERED_RECORDS", 10**6)
    slow, good = lake.put("1", b"", "x/y", data_processing="custom"), lake.put("2", MESSAGE)
    monkeypatch.setattr(processing.time, "monotonic", lambda: next(clock))
    report = lake.process(slow, good, object_seconds=50)
    assert report.done == ["2"]
    assert "an object may take 50 s" in lake.document("1")["failed_operations"][0]["message"]


def test_an_object_that_trickles_in_fails_alone(lake, monkeypatch):
    clock = itertools.count()

    class Trickle(io.RawIOBase):
        def read(self, size=-1):
            return b" "

    monkeypatch.setattr(processing.time, "monotonic", lambda: next(clock))
    events = [lake.put("1", MESSAGE), lake.put("2", MESSAGE)]
    report = lake.process(
        *events, open_object=lambda e: Trickle() if e.object_name == "1" else lake.open(e), object_seconds=50
    )
    assert report.done == ["2"] and report.failed[0]["object"] == "1"


def removed(event, second=3):
    return replace(event, type="delete", timestamp=f"162695168{second}.00000", id=f"d{second}", size=0, etag="")


def test_a_removal_is_logged_with_the_old_document_and_runs_nothing(lake):
    event = lake.put("17", MESSAGE)
    lake.process(event)
    lake.opened.clear()
    for _twice in range(2):
        report = lake.process(removed(event), run=replace(RUN, run_id="r2"))
        assert (report.removed, report.done, report.failed) == (["17"], [], [])
    assert lake.opened == [] and len(lake.influxdb.points) == 1
    document = lake.document("17")
    assert document["status"] == "deleted" and document["processed_data_area_service"] == ["influxdb"]
    assert [entry["pipeline"] for entry in document["successful_operations"]] == ["json", "removal"]
    [history] = lake.metadata._client.data_historique.history.find({"task_type": "removal"})
    old = history["old_data"]
    assert (old["status"], old["etag"], old["original_object_name"]) == ("stored", "etag-17", "messages.json")
    assert history["new_data"]["status"] == "deleted"


def test_a_later_put_is_processed_again(lake):
    event = lake.put("17", MESSAGE)
    lake.process(event)
    lake.process(removed(event), run=replace(RUN, run_id="r2"))
    report = lake.process(replace(event, timestamp="1626951690.00000"), run=replace(RUN, run_id="r3"))
    assert report.done == ["17"]
    assert lake.document("17")["status"] == "stored"


def test_a_put_that_comes_after_its_removal_is_not_processed(lake):
    event = lake.put("17", MESSAGE)
    lake.process(removed(event), run=replace(RUN, run_id="r2"))
    report = lake.process(event)
    assert (report.done, report.failed, report.ignored, lake.opened) == ([], [], 1, [])


def test_a_removal_of_what_was_never_there_makes_nothing(lake):
    event = lake.put("dir/a", MESSAGE)
    report = lake.process(removed(event))
    assert (report.removed, report.ignored) == ([], 1)
    assert lake.metadata._client.stats.containers.count_documents({}) == 0
    lake.process(lake.put("1", MESSAGE))
    assert lake.process(removed(event)).ignored == 1
    assert lake.metadata._client.swift.campus.count_documents({}) == 1


def test_a_new_type_has_the_object_processed_again(lake):
    event = lake.put("dir/day.csv", b"date,value\n2021-07-22,3\n", "text/x-mine")
    assert len(lake.process(event).failed) == 1
    post = replace(event, type="post", content_type="text/csv", size=0, etag="", timestamp="1626951690.00000")
    report = lake.process(post, run=replace(RUN, run_id="r2"))
    assert (report.done, report.records) == (["1"], 1)
    lake.opened.clear()
    later = replace(post, content_type="", timestamp="1626951691.00000")
    assert lake.process(later, run=replace(RUN, run_id="r3")).ignored == 1
    assert lake.opened == []


def test_an_object_that_is_deleted_before_it_is_read_fails_unless_its_document_says_so(lake):
    known, unknown = lake.put("1", NotFound("no object 1")), lake.put("2", NotFound("no object 2"))

    def open_object(event):
        if event.object_name == "1":  # the event of its removal is quicker, in another batch
            lake.metadata.apply_events("campus", [removed(event)])
        return lake.open(event)

    report = lake.process(known, unknown, open_object=open_object)
    assert [failure["object"] for failure in report.failed] == ["2"]
    assert "not in Swift any more" in lake.document("2")["failed_operations"][0]["message"]
    assert lake.document("1")["failed_operations"] == []


def test_after_the_last_attempt_each_object_that_nothing_was_done_about_says_so(lake):
    done, bad, never = lake.put("1", MESSAGE), lake.put("2", b"broken"), lake.put("3", StoreError("away"))
    gone = lake.put("4", MESSAGE)
    lake.process(gone, run=replace(RUN, run_id="r0"))
    unknown = replace(done, type="delete", object_name="dir/x")
    elsewhere = replace(done, container="system.x")
    unchanged = replace(gone, type="post", timestamp="1626951685.00000")
    events = [done, bad, never, removed(gone, 6), unchanged, unknown, elsewhere]
    with pytest.raises(StoreError):
        lake.process(*events)
    for _twice in range(2):
        assert fail_batch(events, metadata=lake.metadata, run=RUN, message="Swift is away") == 1
    failures = {number: [f["message"] for f in lake.document(number)["failed_operations"]] for number in "1234"}
    assert failures["1"] == failures["4"] == [] and failures["3"] == ["Swift is away"]
    assert len(failures["2"]) == 1 and "not valid JSON" in failures["2"][0]
    assert lake.document("4")["status"] == "deleted"


def custom(lake, parse, transform=None, weight="light", sinks=("influxdb",)):
    module = types.ModuleType("campus_pipelines")
    module.parse, module.transform = parse, transform
    sys.modules["campus_pipelines"] = module
    steps = {"parser": {"function": "campus_pipelines:parse", "options": {"a": 1}}, "sinks": list(sinks)}
    if transform:
        steps["transforms"] = [{"function": "campus_pipelines:transform", "options": {"by": 2}}]
    data = {"name": "A_B_C", "version": 1, "match": {"data_processing": ["custom"]}, "weight": weight, "steps": steps}
    from neocampus_lake import pipelines

    pipelines._load.cache_clear()
    lake.router = Router([*load_declarations(), Declaration.from_dict(data)])


def test_a_project_s_pipeline_with_a_transform(lake):
    seen = {}

    def parse(stream, options):
        seen.update(options)
        yield Point("m", 1, {"value": float(stream.read())}, {})

    def transform(points, options):
        for point in points:
            yield Point(point.measurement, point.time, {"value": point.fields["value"] * options["by"]}, {})

    custom(lake, parse, transform)
    lake.process(lake.put("17", b"21", "x/y", data_processing="custom", original_name="f.bin"))
    assert list(lake.influxdb.points.values()) == [{"value": 42.0}]
    assert seen.pop("metadata")["swift_object_id"] == "17"
    assert seen == {"a": 1, "filename": "f.bin", "content_type": "x/y"}


@pytest.mark.parametrize(
    ("parse", "said"),
    [
        (lambda stream, options: 1 / 0, "ZeroDivisionError"),
        (lambda stream, options: ["no point"], "made str, which its sinks .influxdb. do not keep"),
        (lambda stream, options: None, "TypeError"),
    ],
)
def test_a_faulty_pipeline_fails_its_object_only(lake, parse, said):
    custom(lake, parse)
    report = lake.process(lake.put("1", b"", "x/y", data_processing="custom"), lake.put("2", MESSAGE))
    assert report.done == ["2"]
    assert re.search(said, lake.document("1")["failed_operations"][0]["message"])


def test_heavy_work_is_handed_on(lake):
    custom(lake, lambda stream, options: iter(()), weight="heavy")
    event = lake.put("17", b"", "x/y", data_processing="custom")
    report = lake.process(event)
    assert report.heavy == [event.to_payload()]
    assert report.done == [] and lake.opened == []
    assert lake.document("17")["successful_operations"] == []


def test_streams_are_closed(lake):
    streams = []

    def opened(event):
        streams.append(lake.open(event))
        return streams[-1]

    lake.process(lake.put("1", MESSAGE), lake.put("2", b"broken"), open_object=opened)
    assert [stream.closed for stream in streams] == [True, True]


def test_an_object_goes_by_its_content_where_its_type_says_nothing_or_something_else(lake):
    unknown = lake.put("1", MESSAGE, "application/octet-stream", original_name="data")
    wrong = lake.put("2", {**MESSAGE, "topic": "t2"}, "image/png")
    report = lake.process(unknown, wrong)
    assert (report.done, report.records) == (["1", "2"], 2)
    for number, declared in (("1", "application/octet-stream"), ("2", "image/png")):
        document = lake.document(number)
        [entry] = document["successful_operations"]
        assert (entry["detected_content_type"], document["content_type"]) == ("application/json", declared)
    assert lake.process(unknown, wrong).done == ["1", "2"]
    assert all(len(lake.document(number)["successful_operations"]) == 1 for number in "12")


def test_what_nobody_handles_is_kept_and_said_with_what_it_seems_to_be(lake):
    lake.process(lake.put("1", b"%PDF-1.7 ...", "application/octet-stream", original_name="paper"))
    [entry] = lake.document("1")["failed_operations"]
    assert entry["detected_content_type"] == "application/pdf" and "application/pdf" in entry["message"]


class Rows(FakeSink):
    name, accepts = "sql", (Row,)

    def keep(self, origin, points):
        if self.away:
            raise self.away
        self.points.setdefault(origin.object_id, []).extend(points)


@pytest.mark.parametrize("streamed_from", [1, 10**6])
def test_each_record_goes_to_the_sink_that_keeps_its_kind(lake, monkeypatch, streamed_from):
    monkeypatch.setattr(processing, "STREAMED_FROM", streamed_from)
    sql = Rows()
    custom(
        lake,
        lambda stream, options: iter(
            [Row("t", {"a": 1}), Point("m", 1, {"value": 1.0}, {}), Row("t", {"a": 2}), Document({"a": 1})][
                : int(stream.read())
            ]
        ),
        sinks=["influxdb", "sql"],
    )
    good, bad = (lake.put(n, n_of, "x/y", data_processing="custom") for n, n_of in (("1", b"3"), ("2", b"4")))
    report = lake.process(good, bad, sinks=[lake.influxdb, sql])
    assert report.done == ["1"]
    [entry] = lake.document("1")["successful_operations"]
    assert entry["message"] == "1 point to influxdb, 2 rows to sql" and entry["records"] == 3
    assert set(entry["gold"]) == {"influxdb", "sql"} == set(lake.document("1")["processed_data_area_service"])
    assert len(sql.points["1"]) == 2
    assert (
        "made Document, which its sinks (influxdb, sql) do not keep"
        in (lake.document("2")["failed_operations"][0]["message"])
    )


class ReplacingRows(Rows):
    """As the real one: what is written of an object is all that there is of it."""

    def keep(self, origin, points):
        self.points[origin.object_id] = list(points)

    def writer(self, origin):
        return ReplacingWriter(self, origin)


class ReplacingWriter(FakeWriter):
    def __init__(self, sink, origin):
        super().__init__(sink, origin)
        self.rows = []

    def add(self, records):
        self.rows += records

    def commit(self):
        self.sink.keep(self.origin, self.rows)
        return {"rows": len(self.rows)}


@pytest.mark.parametrize("streamed_from", [1, 10**6])
def test_what_an_object_became_before_is_gone_where_it_becomes_nothing_now(lake, monkeypatch, streamed_from):
    monkeypatch.setattr(processing, "STREAMED_FROM", streamed_from)
    lake.influxdb.replaces = False  # as the real one
    sql = ReplacingRows()
    records = {
        b"both": [Point("m", 1, {"value": 1.0}, {}), Row("t", {"a": 1})],
        b"points": [Point("m", 2, {"v": 1}, {})],
    }
    custom(lake, lambda stream, options: iter(records.get(stream.read(), [])), sinks=["influxdb", "sql"])
    event = lake.put("1", b"both", "x/y", data_processing="custom")
    lake.process(event, sinks=[lake.influxdb, sql])
    assert len(sql.points["1"]) == 1
    for run, content in enumerate((b"points", b"nothing"), 2):
        lake.objects["p1", "campus", "1"] = content
        lake.process(event, sinks=[lake.influxdb, sql], run=replace(RUN, run_id=f"new_input__{run}"))
    document = lake.document("1")
    assert sql.points["1"] == []
    assert document["processed_data_area_service"] == ["influxdb"]
    first, second, third = document["successful_operations"]
    assert set(first["gold"]) == {"influxdb", "sql"} and "cleared" not in first
    assert set(second["gold"]) == {"influxdb"} and second["cleared"] == ["sql"]
    assert "gold" not in third and third["message"] == "nothing in it" and third["cleared"] == ["sql"]


def test_a_sink_that_refuses_fails_its_object_in_the_others_too(lake):
    sql = Rows()
    sql.away = StoreError("the table is another's", retriable=False)
    custom(
        lake,
        lambda stream, options: iter([Point("m", 1, {"value": 1.0}, {}), Row("t", {"a": 1})][: int(stream.read())]),
        sinks=["influxdb", "sql"],
    )
    both, point = (lake.put(n, n_of, "x/y", data_processing="custom") for n, n_of in (("1", b"2"), ("2", b"1")))
    report = lake.process(both, point, sinks=[lake.influxdb, sql])
    assert report.done == ["2"]
    assert "the table is another's" in lake.document("1")["failed_operations"][0]["message"]


def test_a_pipeline_whose_store_this_lake_has_not(lake):
    custom(lake, lambda stream, options: iter([Row("t", {"a": 1})]), sinks=["sql"])
    lake.process(lake.put("1", b"", "x/y", data_processing="custom"))
    assert "writes to sql, which this lake does not have" in lake.document("1")["failed_operations"][0]["message"]


def test_steps_that_run_elsewhere_and_their_service_that_is_away(lake):
    custom(lake, lambda stream, options: iter(()), sinks=["influxdb"])
    first, second = (lake.put(name, b"x", "text/csv", data_processing="custom") for name in "12")
    seen = []

    def run_steps(declaration, stream, options, check):
        check()
        seen.append((declaration.name, stream.read(), options["a"]))
        yield Point("%", 1, {"value": 1.0}, {})

    report = lake.process(first, run_steps=run_steps)
    assert report.done == ["1"] and seen == [("A_B_C", b"x", 1)]

    def away(declaration, stream, options, check):
        raise StoreError("the service that runs projects' pipelines does not answer")

    with pytest.raises(StoreError, match="does not answer"):
        lake.process(second, run_steps=away)
    assert lake.document("2")["failed_operations"] == []


def test_the_objects_of_a_pipeline_that_cannot_be_run_fail_and_others_do_not(lake):
    broken = {"name": "A_B_C", "version": 1, "match": {"containers": ["campus"], "data_processing": ["default"]}}
    broken = Declaration.from_dict({**broken, "steps": {"parser": "sensor_json", "sinks": ["influxdb"]}})
    lake.router = Router([*load_declarations(), replace(broken, problem="its file is damaged")])
    report = lake.process(lake.put("1", [MESSAGE]), lake.put("2", [MESSAGE], container="other"))
    assert report.done == ["2"]
    [failed] = lake.document("1")["failed_operations"]
    assert failed["pipeline"] == "A_B_C" and "its file is damaged" in failed["message"]
    assert len(lake.influxdb.points) == 1
