# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of data to process, and documents that were left pending."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("keystoneauth1")

from lake_airflow import catch_up  # noqa: E402
from neocampus_lake.documents import new_document  # noqa: E402
from neocampus_lake.errors import NotFound, StoreError  # noqa: E402
from neocampus_lake.metadata import MetadataStore  # noqa: E402

ENTRY = {"swift_container": "campus", "swift_user": "alice", "content_type": "text/csv"}


@pytest.fixture
def listed(client):
    """The list, beside the counter of object ids."""
    entries = catch_up.to_do(client)
    entries.insert_one({"type": "object_id_file", "object_id": 7})
    return entries


def entries_of(runs):
    return sorted(event["swift_id"] for run in runs for event in run["conf"]["events"])


def test_nothing_listed_starts_nothing(listed):
    assert catch_up.claim(listed) == []


def test_a_run_has_the_entries_as_they_were_listed(listed):
    listed.insert_one({**ENTRY, "swift_id": "1"})
    (run,) = catch_up.claim(listed)
    assert run["conf"]["events"] == [{**ENTRY, "swift_id": "1"}]
    assert run["trigger_run_id"] == f"new_input__{run['conf']['batch']}"


def test_a_check_that_broke_off_starts_the_same_runs_again(listed, monkeypatch):
    monkeypatch.setattr(catch_up, "BATCH", 2)
    listed.insert_many([{**ENTRY, "swift_id": str(number)} for number in range(5)])
    first = catch_up.claim(listed)
    assert entries_of(first) == ["0", "1", "2", "3", "4"]
    assert sorted(len(run["conf"]["events"]) for run in first) == [1, 2, 2]
    listed.insert_one({**ENTRY, "swift_id": "5"})
    second = catch_up.claim(listed)
    old = {run["trigger_run_id"]: run["conf"]["events"] for run in first}
    new = {run["trigger_run_id"]: run["conf"]["events"] for run in second}
    assert old.items() <= new.items()
    assert entries_of(second) == ["0", "1", "2", "3", "4", "5"]


def test_what_airflow_has_leaves_the_list_and_nothing_else(listed):
    listed.insert_one({**ENTRY, "swift_id": "1"})
    runs = catch_up.claim(listed)
    listed.insert_one({**ENTRY, "swift_id": "2"})
    assert catch_up.release(listed, runs) == 1
    assert [entry.get("swift_id") for entry in listed.find()] == [None, "2"]


class Objects:
    """Swift with the objects of ``names``."""

    def __init__(self, *names, error=None):
        self.names = names
        self.error = error

    def head(self, project_id, container, name):
        if self.error:
            raise self.error
        if name not in self.names:
            raise NotFound(f"no object {name}")
        return {"etag": "e" * 32, "size": 5, "content_type": "text/csv"}


@pytest.fixture
def pending(client):
    """Makes a document that is pending since so many minutes."""

    def make(object_id, minutes):
        store = MetadataStore(client).store_for("p1", "campus", create=True)
        made = new_document(
            object_id=object_id,
            container="campus",
            project_id="p1",
            user="alice",
            object_name=object_id,
            original_name="a.csv",
            content_type="text/csv",
            size=5,
            now=datetime.now(UTC) - timedelta(minutes=minutes),
        )
        client["swift"][store].insert_one(made)

    return make


def repair(client, objects, run):
    return catch_up.repair(client, MetadataStore(client), objects, older_than=timedelta(minutes=60), run=run)


def test_an_object_that_is_there_is_listed_once_and_stored(client, pending, run):
    pending("1", 90)
    assert repair(client, Objects("1"), run) == (1, 0)
    assert repair(client, Objects("1"), run) == (0, 0)
    (run_to_start,) = catch_up.claim(catch_up.to_do(client))
    assert run_to_start["conf"]["events"] == [{**ENTRY, "swift_id": "1", "project_id": "p1"}]
    document = client["swift"]["campus"].find_one({"swift_object_id": "1"})
    assert (document["status"], document["etag"], document["size"]) == ("stored", "e" * 32, 5)


def test_an_object_that_never_came_is_said_so_once(client, pending, run):
    pending("1", 90)
    assert repair(client, Objects(), run) == (0, 1)
    assert repair(client, Objects(), run) == (0, 0)
    document = client["swift"]["campus"].find_one({"swift_object_id": "1"})
    assert document["status"] == "pending"
    assert "never came" in document["failed_operations"][0]["message"]
    assert catch_up.claim(catch_up.to_do(client)) == []


def test_an_upload_that_may_still_run_is_left_alone(client, pending, run):
    pending("1", 30)
    assert repair(client, Objects(), run) == (0, 0)


def test_nothing_is_decided_while_swift_is_away(client, pending, run):
    pending("1", 90)
    with pytest.raises(StoreError):
        repair(client, Objects(error=StoreError("away", retriable=True)), run)
    document = client["swift"]["campus"].find_one({"swift_object_id": "1"})
    assert (document["status"], document["failed_operations"]) == ("pending", [])
