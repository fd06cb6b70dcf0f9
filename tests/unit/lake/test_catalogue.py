# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding documents in a real MongoDB: LAKE_TEST_MONGODB says where one is, as JSON with MongoClient's arguments;
without it these tests are skipped (expressions, and which index is used, are what no double has)."""

import json
import os
import uuid
from datetime import UTC, datetime

import pymongo
import pytest
from neocampus_lake.catalogue import FACETS, Catalogue, Wanted, projection
from neocampus_lake.documents import merged, new_document, operation
from neocampus_lake.errors import InvalidInput
from neocampus_lake.metadata import MetadataStore
from neocampus_lake.search import asked
from neocampus_lake.sinks.reading import Filter

SERVER = os.environ.get("LAKE_TEST_MONGODB")
needs_server = pytest.mark.skipif(not SERVER, reason="LAKE_TEST_MONGODB names no server")


@pytest.fixture(scope="module")
def client():
    with pymongo.MongoClient(**json.loads(SERVER), tz_aware=True) as client:
        yield client


def day(number):
    return datetime(2026, 1, number, tzinfo=UTC)


def done(number):
    return operation(dag_id="new_input", operation_instance=f"run {number}", execution_date=day(number))


@pytest.fixture
def stores(client):
    """Two stores, with odd and even ids."""
    names = [f"test-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    metadata = MetadataStore(client)
    for first, name in enumerate(names, 1):
        metadata.ensure_indexes(name)
        for number in range(first, 9, 2):
            document = new_document(
                object_id=str(number),
                container=name,
                project_id="p1",
                user="alice",
                object_name=str(number),
                original_name=f"Salle_{number}.json",
                content_type="application/json",
                size=number,
                status="stored",
                now=day(number),
                metadata={
                    "application": "comfort" if number < 5 else "energy",
                    "other_data": {"room": number, "template": {"measurement": "lux", "time": "t", "fields": ["v"]}},
                },
            )
            if number == 1:
                document["successful_operations"] = [done(1)]
            if number == 2:
                document["failed_operations"] = [done(2)]
            if number == 3:
                document.update(successful_operations=[done(4)], failed_operations=[done(3)])
            if number == 4:
                document.update(successful_operations=[done(4)], failed_operations=[done(3), done(5)])
            metadata.insert(name, document)
    yield names
    for name in names:
        client["swift"].drop_collection(name)


def ids(found):
    return [document["swift_object_id"] for document in found]


@needs_server
@pytest.mark.parametrize(("processing", "found"), [("processed", "13"), ("failed", "24"), ("waiting", "5678")])
def test_how_the_last_operation_ended(client, stores, processing, found):
    wanted = Wanted(processing=processing)
    assert ids(Catalogue(client).search(stores, wanted, limit=10, order="oldest")) == list(found)


@needs_server
def test_search_over_two_stores_page_by_page(client, stores):
    catalogue, after, found = Catalogue(client), None, []
    while page := catalogue.search(stores, Wanted(words=asked("salle")), limit=3, after=after):
        found += ids(page)
        after = page[-1]["swift_object_id"]
    assert found == list("87654321")
    assert "search" not in catalogue.find(stores[0], Wanted(), limit=1)[0]


@needs_server
def test_facets(client, stores):
    by, counted = Catalogue(client).facets(stores, Wanted(words=asked("jso*")), list(FACETS), 100)
    assert counted == 8
    assert by == {
        "content_type": {"application/json": 8},
        "container": dict.fromkeys(stores, 4),
        "application": {"comfort": 4, "energy": 4},
        "user": {"alice": 8},
        "month": {"2026-01": 8},
        "measurement": {"lux": 8},
    }
    _by, counted = Catalogue(client).facets(stores, Wanted(), ["user"], 5)
    assert counted == 5


@needs_server
def test_conditions(client, stores):
    def found(*where, **more):
        return "".join(ids(Catalogue(client).search(stores, Wanted(where=where, **more), limit=10, order="oldest")))

    assert found(Filter("other_data.room", "ge", 3), Filter("other_data.room", "lt", 5)) == "34"
    assert found(Filter("creation_date", "gt", "2026-01-07")) == "8"
    assert found(Filter("size", "eq", 2)) == "2"
    assert found(application="energy", name="SALLE_6") == "6"
    assert found(ids=("1", "8", "99"), name="Salle_*") == "18"


@needs_server
def test_what_is_searched_by_is_in_an_index(client, stores):
    """A look at all documents is what takes a second of a million."""
    cases = (
        Wanted(words=asked("salle")),
        Wanted(words=asked("sal*")),
        Wanted(application="energy"),
        Wanted(user="alice"),
        Wanted(where=(Filter("other_data.room", "eq", 3),)),
        Wanted(where=(Filter("size", "lt", 3),)),
        Wanted(processing="failed"),
    )
    for wanted in cases:
        plans = client["swift"][stores[0]].find(wanted.query()).explain()["queryPlanner"]
        assert "COLLSCAN" not in json.dumps(plans["winningPlan"]), wanted


@needs_server
def test_an_edit_of_what_changed_meanwhile_is_none(client, stores):
    metadata = MetadataStore(client)
    before = metadata.get(stores[0], "1")
    after = metadata.edit(stores[0], before, merged(before, {"other_data": {"room": 9}}), user="bob")
    assert after["other_data"]["room"] == 9 and after == metadata.get(stores[0], "1")
    assert metadata.edit(stores[0], before, {"application": "x"}, user="bob") is None
    [entry] = Catalogue(client).history(stores[0], "1", limit=10)
    assert (entry["task_type"], entry["new_data"]["user"]) == ("edit", "bob")
    client["data_historique"]["history"].delete_many({"swift_container": stores[0]})


@needs_server
def test_used(client, stores):
    assert Catalogue(client).used(stores) == [{"content_type": "application/json", "objects": 8, "bytes": 36}]


def test_projection():
    assert projection(["other_data.room", "other_data", "size"]) == {"other_data": 1, "size": 1, "swift_object_id": 1}
    assert projection([]) == {"search": 0, "idempotency_key": 0}
    for wrong in ("search", "_id", "$x", "other_data.$x", "other_data.", "other_data..x", "a\0"):
        with pytest.raises(InvalidInput, match="is no field"):
            projection([wrong])
