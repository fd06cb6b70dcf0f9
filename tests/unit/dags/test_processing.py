# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of new_input is given, and what is written when it never succeeded."""

from __future__ import annotations

import pytest

pytest.importorskip("keystoneauth1")

from lake_airflow import processing  # noqa: E402
from neocampus_lake.errors import InvalidInput  # noqa: E402
from neocampus_lake.metadata import MetadataStore  # noqa: E402

PAYLOAD = {"swift_id": "17", "swift_container": "campus", "swift_user": "alice", "content_type": "application/json"}


def projects(container):
    return "p1" if container == "campus" else None


def test_a_batch_gives_its_events_in_order():
    payloads = [{**PAYLOAD, "swift_id": str(number), "project_id": "p9"} for number in range(3)]
    events = processing.events_of({"batch": "b", "events": payloads}, projects)
    assert [event.object_name for event in events] == ["0", "1", "2"]
    assert {event.project_id for event in events} == {"p9"}


def test_a_payload_by_hand_gets_the_project_of_its_container():
    (event,) = processing.events_of(PAYLOAD, projects)
    assert (event.project_id, event.container, event.object_name) == ("p1", "campus", "17")


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        (None, "needs a conf"),
        ({}, "needs a conf"),
        ({"events": []}, "at least one event"),
        ({"events": "17"}, "at least one event"),
        ({"events": ["17"]}, "event 0 must be an object"),
        ({"events": [{**PAYLOAD, "swift_container": "elsewhere"}]}, "event 0: no project is known"),
        ({"events": [PAYLOAD, {**PAYLOAD, "swift_id": None}]}, "event 1: .*swift_id"),
        ({"swift_id": "17"}, "swift_container"),
        ({**PAYLOAD, "swift_container": 3}, "swift_container"),
    ],
)
def test_a_bad_conf_says_what_is_wrong(conf, message):
    with pytest.raises(InvalidInput, match=message):
        processing.events_of(conf, projects)


def test_the_project_of_a_container_is_the_first_that_used_it(client):
    from lake_airflow import stores

    metadata = MetadataStore(client)
    metadata.store_for("p1", "campus", create=True)
    metadata.store_for("p2", "campus", create=True)
    assert stores.project_of(client)("campus") == "p1"
    assert stores.project_of(client)("campus--p2") is None
    assert stores.project_of(client)("other") is None


def test_a_failure_is_on_every_object_of_the_batch(client, run, monkeypatch):
    monkeypatch.setattr(processing.stores, "settings", dict)
    monkeypatch.setattr(processing.stores, "mongodb", lambda config: client)
    names = {"campus": ["a", "b"], "other": ["c"]}
    payloads = [
        {**PAYLOAD, "swift_id": name, "swift_container": container, "project_id": "p1"}
        for container, objects in names.items()
        for name in objects
    ]
    for _twice in range(2):
        assert processing.record_failure({"batch": "b", "events": payloads}, run, "InfluxDB is away") == 3
    for container, objects in names.items():
        for name in objects:
            document = client["swift"][container].find_one({"swift_object_name": name})
            (failure,) = document["failed_operations"]
            assert (failure["operation_instance"], failure["message"]) == (run.run_id, "InfluxDB is away")


def test_a_container_that_no_store_can_hold_stops_no_other(client, run, monkeypatch):
    monkeypatch.setattr(processing.stores, "settings", dict)
    monkeypatch.setattr(processing.stores, "mongodb", lambda config: client)
    payloads = [{**PAYLOAD, "project_id": "p1"}, {**PAYLOAD, "project_id": "p1", "swift_container": "a$b"}]
    assert processing.record_failure({"events": payloads}, run, "away") == 1


def test_what_is_no_longer_there_has_no_failure(client, run, monkeypatch):
    monkeypatch.setattr(processing.stores, "settings", dict)
    monkeypatch.setattr(processing.stores, "mongodb", lambda config: client)
    put = {**PAYLOAD, "project_id": "p1", "timestamp": "1626951682.00000"}
    delete = {**put, "type": "delete", "timestamp": "1626951683.00000"}
    assert processing.record_failure({"events": [put]}, run, "away") == 1
    for _twice in range(2):
        assert processing.record_failure({"events": [delete, {**delete, "swift_id": "18"}]}, run, "away") == 0
    (document,) = client["swift"]["campus"].find()
    assert (document["status"], len(document["failed_operations"])) == ("deleted", 1)
    assert [entry["pipeline"] for entry in document["successful_operations"]] == ["removal"]
