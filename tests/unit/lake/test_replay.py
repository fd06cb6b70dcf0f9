# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects are found by id, time and pipeline, and really processed again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import mongomock
import pytest
from neocampus_lake import replay
from neocampus_lake.documents import new_document
from neocampus_lake.errors import InvalidInput, InvalidName, StoreError
from neocampus_lake.events import Event
from neocampus_lake.metadata import MetadataStore
from neocampus_lake.replay import Selection
from pymongo.errors import AutoReconnect

DAY = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def client():
    return mongomock.MongoClient(tz_aware=True)


@pytest.fixture
def known(client):
    """A container with nine objects, one a day; 9 is not in Swift any more."""
    metadata = MetadataStore(client)
    store = metadata.store_for("p1", "campus", create=True)
    for number in range(1, 10):
        document = new_document(
            object_id=str(number),
            container="campus",
            project_id="p1",
            user="alice",
            object_name=f"name-{number}",
            original_name="a.csv",
            content_type="text/csv",
            size=number,
            status="stored" if number < 9 else "lost",
            now=DAY + timedelta(days=number),
        )
        metadata.insert(store, document)
    return {"project_id": "p1", "container": "campus", "store": store}


def test_what_is_found_has_all_that_an_event_needs(client, known):
    [[document]] = replay.find(client, "campus", Selection(ids=("3",)))
    event = Event.from_payload(replay.payload(document, "p1", "campus"))
    assert (event.object_name, event.container, event.size, event.timestamp) == ("name-3", "campus", 3, "")


def test_pieces_are_bounded_and_in_order(client, known, monkeypatch):
    monkeypatch.setattr(replay, "PIECE", 3)
    every = Selection(start=DAY)
    pieces = list(replay.find(client, "campus", every))
    assert [len(piece) for piece in pieces] == [3, 3, 2]
    assert [each["swift_object_id"] for piece in pieces for each in piece] == [str(n) for n in range(1, 9)]
    assert replay.count(client, "campus", every) == 8
    assert replay.replay(client, known, every, limit=4) == (4, 4, "4")
    assert replay.replay(client, known, every, after="4", limit=4) == (4, 4, None)
    assert replay.replay(client, known, every) == (8, 0, None)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({}, InvalidInput, "say which objects"),
        ({"version": "1", "ids": ("1",)}, InvalidInput, "a version is one of a pipeline"),
        ({"start": DAY, "end": DAY}, InvalidInput, "ends before it begins"),
        ({"ids": ("0",)}, InvalidName, "not an object's id"),
    ],
)
def test_selections_that_are_none(given, error, said):
    with pytest.raises(error, match=said):
        Selection(**given)


def test_a_store_that_is_away_is_said(client, known, monkeypatch):
    def away(*_given, **_named):
        raise AutoReconnect("no primary")

    monkeypatch.setattr(mongomock.Collection, "bulk_write", away)
    with pytest.raises(StoreError, match="list of data to process: no primary"):
        replay.replay(client, known, Selection(ids=("1",)))
    monkeypatch.setattr(mongomock.Collection, "find", away)
    monkeypatch.setattr(mongomock.Collection, "count_documents", away)
    for act in (replay.count, lambda *given: list(replay.find(*given))):
        with pytest.raises(StoreError, match="no primary"):
            act(client, "campus", Selection(ids=("1",)))


def test_an_object_is_processed_again_and_gold_stays_as_it_was(client):
    """Through the list, as a run of its own, by the pipeline's version of now."""
    import importlib.util
    from pathlib import Path

    spec = importlib.util.spec_from_file_location("processing_tests", Path(__file__).with_name("test_processing.py"))
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    lake = tests.Lake()
    lake.process(lake.put("1", [tests.MESSAGE]))
    before = dict(lake.influxdb.points)
    client = lake.metadata._client
    client["swift"]["campus"].update_one({"_id": 1}, {"$set": {"status": "stored"}})
    known = {"project_id": "p1", "container": "campus", "store": "campus"}
    selection = Selection(pipeline="sensor_json", version="1")
    assert replay.replay(client, known, selection) == (1, 1, None)
    entry = client["stats"]["swift"].find_one({"swift_id": "1"}, {"_id": 0})
    again = replace(tests.RUN, run_id="new_input__list-1")
    report = lake.process(Event.from_payload(entry), run=again)
    assert report.done == ["1"] and report.records == 1
    runs = [done["operation_instance"] for done in lake.document("1")["successful_operations"]]
    assert runs == [tests.RUN.run_id, again.run_id]
    assert lake.influxdb.points == before
