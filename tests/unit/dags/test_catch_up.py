# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of data to process."""

from __future__ import annotations

import pytest
from lake_airflow import catch_up

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


def test_what_is_on_the_list_is_not_put_on_it_again(listed):
    payload = {**ENTRY, "swift_id": "1", "project_id": "p1"}
    for _twice in range(2):
        catch_up.put(listed, [payload, {**payload, "swift_id": "2"}])
        catch_up.put(listed, [])
    (run,) = catch_up.claim(listed)
    assert run["conf"]["events"] == [payload, {**payload, "swift_id": "2"}]
