# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import io
import json
import sys
import types
from dataclasses import asdict, replace
from datetime import UTC, datetime

import mongomock
import pytest
from neocampus_lake import processing
from neocampus_lake.documents import new_document
from neocampus_lake.errors import NotFound, StoreError
from neocampus_lake.events import Event
from neocampus_lake.metadata import MetadataStore
from neocampus_lake.pipelines import Declaration, Router, load_declarations
from neocampus_lake.points import Point
from neocampus_lake.processing import RunInfo, process_batch

RUN = RunInfo("new_input", "new_input__1", datetime(2021, 7, 22, tzinfo=UTC))
MESSAGE = {"topic": "u4/302/humidity", "value": 35, "value_units": "%r.H.", "time": "2021-07-22T11:11:22Z"}


class FakeInfluxDB:
    """Keeps what is written; `refuses` are measurements that it does not take, `away` is raised by each write."""

    def __init__(self):
        self.databases, self.points, self.writes = [], {}, 0
        self.refuses, self.away = (), None

    def ensure_database(self, name):
        self.databases.append(name)

    def write(self, database, points, batch=5000):
        assert database in self.databases
        self.writes += 1
        if self.away:
            raise self.away
        count = 0
        for point in points:
            if point.measurement in self.refuses:
                raise StoreError("field type conflict", retriable=False)
            self.points[database, point.measurement, tuple(sorted(point.tags.items())), point.time] = point.fields
            count += 1
        return count


class Lake:
    """A small lake: objects by name, and everything that process_batch needs."""

    def __init__(self):
        client = mongomock.MongoClient(tz_aware=True)
        self.metadata = MetadataStore(client)
        self.influxdb = FakeInfluxDB()
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

    def process(self, *events, run=RUN, open_object=None):
        return process_batch(
            events,
            metadata=self.metadata,
            open_object=open_object or self.open,
            router=self.router,
            influxdb=self.influxdb,
            run=run,
        )

    def document(self, object_id, store="campus"):
        return self.metadata.get(store, object_id)


@pytest.fixture
def lake():
    return Lake()


def test_messages_become_points_and_the_document_says_so(lake):
    report = lake.process(lake.put("17", [MESSAGE, {**MESSAGE, "time": "2021-07-22T11:12:22Z"}]))
    assert (report.done, report.failed, report.points, report.heavy) == (["17"], [], 2, [])
    assert {key[:2] for key in lake.influxdb.points} == {("campus", "%r.H.")}
    document = lake.document("17")
    [entry] = document["successful_operations"]
    assert {"execution_date", "dag_id", "operation_instance"} <= set(entry)
    assert (entry["dag_id"], entry["operation_instance"], entry["execution_date"]) == (
        RUN.dag_id,
        RUN.run_id,
        RUN.execution_date,
    )
    assert (entry["pipeline"], entry["version"], entry["records"]) == ("sensor_json", "1", 2)
    assert document["failed_operations"] == []
    assert document["processed_data_area_service"] == ["influxdb"]
    [history] = lake.metadata._client.data_historique.history.find()
    assert history["old_data"]["swift_object_name"] == "17"
    assert history["new_data"]["influxdb"] == {"database": "campus", "points": 2}
    json.dumps(asdict(report))


def test_a_bad_object_fails_alone(lake):
    events = [
        lake.put("1", MESSAGE),
        lake.put("2", b'[{"topic": "u4/302/humidity", "value":'),
        lake.put("3", {"no": "message"}),
        lake.put("4", b"\x89PNG", "image/png"),
        lake.put("5", NotFound("no object 5 in container campus")),
        lake.put("6", {**MESSAGE, "topic": "u4/303/humidity"}),
    ]
    report = lake.process(*events)
    assert report.done == ["1", "6"]
    assert [item["object"] for item in report.failed] == ["2", "3", "4", "5"]
    assert report.points == len(lake.influxdb.points) == 2
    assert lake.influxdb.writes == 1
    for number, said in {"2": "not valid JSON", "3": "sensor message", "4": "no pipeline", "5": "no object 5"}.items():
        document = lake.document(number)
        assert document["successful_operations"] == [] and document["processed_data_area_service"] == []
        [entry] = document["failed_operations"]
        assert said in entry["message"]
    assert lake.document("4")["failed_operations"][0]["pipeline"] is None
    assert "4" not in lake.opened


def test_the_good_rows_of_a_bad_file_are_written_and_the_bad_ones_listed(lake):
    lake.process(lake.put("17", [MESSAGE, {**MESSAGE, "value": "high"}]))
    [entry] = lake.document("17")["successful_operations"]
    assert (entry["records"], entry["error_count"]) == (1, 1)
    assert entry["errors"][0]["line"] == 2
    assert "1 rows left out" in entry["message"]


def test_rows_are_told_for_a_file_that_failed_too(lake):
    lake.process(lake.put("17", [{"a": 1}, {"b": 2}]))
    [entry] = lake.document("17")["failed_operations"]
    assert entry["error_count"] == 2 and entry["records"] == 0


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


def test_swift_away_fails_the_batch(lake):
    with pytest.raises(StoreError):
        lake.process(lake.put("17", StoreError("no proxy", retriable=True)))


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
    assert report.done == ["1"] and report.points == 1
    assert "too early" in lake.document("2")["failed_operations"][0]["message"]
    assert lake.document("1")["successful_operations"][0]["records"] == 1


def test_buffers_are_bounded(lake, monkeypatch):
    monkeypatch.setattr(processing, "BUFFERED_POINTS", 2)
    report = lake.process(*[lake.put(str(n), {**MESSAGE, "topic": f"t{n}"}) for n in range(1, 6)])
    assert len(report.done) == report.points == 5
    assert lake.influxdb.writes == 3


def custom(lake, parse, transform=None, weight="light"):
    module = types.ModuleType("campus_pipelines")
    module.parse, module.transform = parse, transform
    sys.modules["campus_pipelines"] = module
    steps = {"parser": {"function": "campus_pipelines:parse", "options": {"a": 1}}, "sinks": ["influxdb"]}
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
    assert seen == {"a": 1, "filename": "f.bin", "content_type": "x/y"}


@pytest.mark.parametrize(
    ("parse", "said"),
    [
        (lambda stream, options: 1 / 0, "ZeroDivisionError"),
        (lambda stream, options: ["no point"], "made str, not points"),
        (lambda stream, options: None, "TypeError"),
    ],
)
def test_a_faulty_pipeline_fails_its_object_only(lake, parse, said):
    custom(lake, parse)
    report = lake.process(lake.put("1", b"", "x/y", data_processing="custom"), lake.put("2", MESSAGE))
    assert report.done == ["2"]
    assert said in lake.document("1")["failed_operations"][0]["message"]


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
