# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Pipelines: the list, dry runs, processing again."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime

import pytest
from lake_api.routes import pipelines as routes
from lake_api.settings import Pipelines as Settings
from neocampus_lake.deployment import Pipelines, Wanted
from neocampus_lake.documents import new_document
from neocampus_lake.metadata import MetadataStore
from neocampus_lake.pipelines import run_here

MESSAGE = {"topic": "u4/302/humidity", "value": 35, "value_units": "%", "time": "2021-07-22T11:11:22Z"}
OWN = {
    "name": "METEO_alice_station",
    "version": 3,
    "match": {"containers": ["meteo"], "data_processing": ["default"]},
    "steps": {"parser": "station:rows", "sinks": ["sql"]},
}


@pytest.fixture
def chosen(chosen, tmp_path):
    """The settings, with a folder of pipelines; a dry run takes little."""
    return chosen.model_copy(update={"pipelines": Settings(root=tmp_path / "pipelines", dry_run_bytes=5000)})


@pytest.fixture
def deploy(chosen, tmp_path):
    """Lets the API know of a project's pipeline."""

    def run(**changes):
        file = tmp_path / "declaration.json"
        file.write_text(json.dumps({**OWN, **changes}))
        Pipelines(str(chosen.pipelines.root)).apply(Wanted(str(file), "station", environment=False))

    return run


@pytest.fixture
def here(monkeypatch):
    """Steps run in this process: the library is in no interpreter of its own here."""
    monkeypatch.setattr(routes, "_runner", lambda chosen, folder: contextlib.nullcontext(run_here))


@pytest.fixture
def dry_run(api, body_of):
    def run(name, content, kind=None, metadata=None, container=None, **more):
        parts = [("file", name, content, kind)]
        if metadata is not None:
            parts.append(("metadata", None, metadata if isinstance(metadata, str) else json.dumps(metadata), None))
        if container is not None:
            parts.append(("container", None, container, None))
        return api.post("/api/v1/pipelines/dry-run", **body_of(*parts), **more)

    return run


def names(api, **params):
    answer = api.get("/api/v1/pipelines", params=params)
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["items"]]


def test_the_list_has_the_library_s_and_the_project_s(api, deploy):
    assert "sensor_json" in names(api)
    deploy()
    deploy(name="OTHER_bob_secret", match={"projects": ["p2"], "containers": ["secret"]})
    deploy(name="OWN_bob_task", match={"projects": ["p1"], "containers": ["x"]})
    assert {"METEO_alice_station", "OWN_bob_task", "time_series_csv"} <= set(names(api))
    assert "OTHER_bob_secret" not in names(api)
    [item] = [item for item in api.get("/api/v1/pipelines").json()["items"] if item["name"] == "METEO_alice_station"]
    assert (item["version"], item["source"], item["sinks"], item["problem"]) == ("3", "project", ["sql"], None)
    first = api.get("/api/v1/pipelines", params={"limit": 1}).json()
    rest = names(api, cursor=first["next"])
    assert [first["items"][0]["name"], *rest] == names(api)


def test_a_dry_run_shows_records_and_stores_nothing(dry_run, here, mongo, swift):
    answer = dry_run("messages.json", json.dumps([MESSAGE, {"topic": "x"}, MESSAGE]))
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["pipeline"], said["source"], said["problem"]) == ("sensor_json", "built-in", None)
    assert [record["sink"] for record in said["records"]] == ["influxdb", "influxdb"]
    assert said["records"][0]["fields"] == {"value": 35.0}
    assert said["left_out"]["count"] == 1 and said["left_out"]["items"][0]["line"] == 2
    assert mongo.list_database_names() == [] and swift.requests == []


def test_a_project_s_steps_are_named_and_not_run(dry_run, here, deploy):
    deploy()
    said = dry_run("a.csv", "a,b\n1,2\n", container="meteo").json()
    assert (said["pipeline"], said["version"], said["steps"]) == ("METEO_alice_station", "3", ["station:rows"])
    assert "on the workers" in said["problem"] and "records" not in said
    assert [found["pipeline"] for found in said["candidates"]] == ["METEO_alice_station", "time_series_csv"]
    assert said["candidates"][0]["score"] == {"containers": "exact", "data_processing": "exact"}
    assert dry_run("a.csv", "time,value\n", container="other").json()["pipeline"] == "time_series_csv"


def test_what_no_pipeline_handles(dry_run, here):
    said = dry_run("a.json", json.dumps(MESSAGE), metadata={"data_processing": "custom"}).json()
    assert said["pipeline"] is None and "no pipeline handles" in said["problem"] and said["candidates"] == []


def test_content_that_is_something_else(dry_run, here):
    said = dry_run("a.png", json.dumps(MESSAGE), "image/png").json()
    assert (said["content_type"], said["detected_content_type"]) == ("image/png", "application/json")
    assert said["pipeline"] == "sensor_json"


def test_dry_runs_that_are_refused(dry_run, here, api, body_of, error_of):
    assert "5000 bytes" in error_of(dry_run("a.csv", "x" * 5001), 413, "too_large")
    assert "no part 'file'" in error_of(
        api.post("/api/v1/pipelines/dry-run", **body_of(("container", None, "a", None))), 400, "missing_file"
    )
    error_of(dry_run("a.csv", "a", metadata="{"), 400, "invalid_metadata")
    error_of(dry_run("a.csv", "a", metadata="[]"), 400, "invalid_metadata")
    error_of(dry_run("a.csv", "a", metadata={"size": 3}), 400, "invalid_document")
    error_of(dry_run("a.csv", "a", container="a/b"), 400, "invalid_name")
    error_of(api.post("/api/v1/pipelines/dry-run", json={}), 415)


def test_steps_run_in_a_process_with_limits(chosen, tmp_path):
    runner = routes._runner(chosen.pipelines, str(tmp_path))
    assert runner._everything and runner._limits.memory == chosen.pipelines.dry_run_memory_bytes


@pytest.fixture
def objects(mongo):
    """Seven objects of the project's container, the last three processed by a pipeline, one of them badly."""
    metadata = MetadataStore(mongo)
    store = metadata.store_for("p1", "campus", create=True)
    for number in range(1, 8):
        document = new_document(
            object_id=str(number),
            container="campus",
            project_id="p1",
            user="ada",
            object_name=str(number),
            original_name="a.csv",
            content_type="text/csv",
            size=3,
            status="stored" if number > 1 else "deleted",
            now=datetime(2024, 1, number, tzinfo=UTC),
        )
        done = {"pipeline": "A_B_C", "version": "2" if number == 7 else "1", "operation_instance": "r"}
        if number > 4:
            document["failed_operations" if number == 5 else "successful_operations"] = [done]
        metadata.insert(store, document)
    return lambda: sorted(int(entry["swift_id"]) for entry in mongo["stats"]["swift"].find({"swift_id": {"$gt": ""}}))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"ids": ["1", "2", "3", "99"]}, [2, 3]),
        ({"from": "2024-01-03T00:00:00Z", "to": "2024-01-05T00:00:00Z"}, [3, 4]),
        ({"pipeline": "A_B_C"}, [5, 6, 7]),
        ({"pipeline": "A_B_C", "version": "1"}, [5, 6]),
        ({"pipeline": "A_B_C", "to": "2024-01-06T00:00:00Z"}, [5]),
        ({"from": "2000-01-01T00:00:00Z"}, [2, 3, 4, 5, 6, 7]),
    ],
)
def test_objects_are_put_on_the_list(api, objects, mongo, given, wanted):
    path = "/api/v1/containers/campus/replay"
    counted = api.post(path, json={**given, "dry_run": True})
    assert counted.json() == {"objects": len(wanted), "listed": 0, "dry_run": True, "next": None}
    assert objects() == []
    answer = api.post(path, json=given)
    assert answer.json() == {"objects": len(wanted), "listed": len(wanted), "dry_run": False, "next": None}
    assert objects() == wanted
    entry = mongo["stats"]["swift"].find_one({"swift_id": str(wanted[0])})
    assert (entry["project_id"], entry["swift_container"], entry["content_type"]) == ("p1", "campus", "text/csv")
    assert api.post(path, json=given).json()["listed"] == 0


def test_many_objects_go_piece_by_piece(api, objects, monkeypatch):
    monkeypatch.setattr(routes, "REPLAYED", 2)
    seen, cursor = 0, None
    for _request in range(3):
        answer = api.post("/api/v1/containers/campus/replay", json={"from": "2000-01-01T00:00:00Z", "cursor": cursor})
        seen, cursor = seen + answer.json()["objects"], answer.json()["next"]
    assert (seen, cursor) == (6, None)
    assert objects() == [2, 3, 4, 5, 6, 7]


def test_replays_that_are_refused(api, objects, keystone, error_of):
    path = "/api/v1/containers/campus/replay"
    assert "say which objects" in error_of(api.post(path, json={}), 400)
    error_of(api.post(path, json={"version": "1", "ids": ["1"]}), 400)
    error_of(api.post(path, json={"ids": ["x"]}), 400, "invalid_name")
    error_of(api.post(path, json={"from": "2024-01-02T00:00:00Z", "to": "2024-01-01T00:00:00Z"}), 400)
    error_of(api.post(path, json={"ids": ["2"], "colour": "red"}), 400)
    error_of(api.post(path, json={"ids": ["2"], "cursor": "x"}), 400, "invalid_cursor")
    error_of(api.post("/api/v1/containers/elsewhere/replay", json={"ids": ["2"]}), 404)
    keystone.give("reads", roles=("reader",))
    error_of(api.post(path, json={"ids": ["2"]}, headers={"X-Auth-Token": "reads"}), 403)
    keystone.give("others", project="p2")
    error_of(api.post(path, json={"ids": ["2"]}, headers={"X-Auth-Token": "others"}), 404)
    assert objects() == []
