# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents and files in a real MongoDB: LAKE_TEST_MONGODB says where one is, as JSON with MongoClient's arguments;
without it these tests are skipped (its snapshots and updates by expressions are what no double has).

The gold zone's scenario runs them against the lake's own server."""

import json
import os
import threading
import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal

import bson
import pymongo
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput, NotFound, StoreError
from neocampus_lake.records import Document, File, Row
from neocampus_lake.sinks import documents
from neocampus_lake.sinks.base import Origin
from neocampus_lake.sinks.documents import DATABASE, DocumentReader, DocumentSink, DocumentStore, hidden_versions
from neocampus_lake.sinks.reading import Filter

SERVER = os.environ.get("LAKE_TEST_MONGODB")
pytestmark = pytest.mark.skipif(not SERVER, reason="LAKE_TEST_MONGODB names no server")


@pytest.fixture(scope="module")
def client():
    with pymongo.MongoClient(**json.loads(SERVER), tz_aware=True) as client:
        yield client


@pytest.fixture(scope="module")
def gold(client):
    return DocumentStore(client)


@pytest.fixture(scope="module")
def sink(gold):
    return DocumentSink(gold)


@pytest.fixture(scope="module")
def reader(gold):
    return DocumentReader(gold)


@pytest.fixture
def store(client):
    name = f"test-{uuid.uuid4().hex[:8]}"
    yield name
    drop(client, name)


def drop(client, name):
    for collection in (name, f"objects/{name}", f"gridfs/{name}.files", f"gridfs/{name}.chunks"):
        client[DATABASE].drop_collection(collection)


def docs(*values):
    return [Document(value, number) for number, value in enumerate(values)]


def put(sink, store, number, records, operation="op1"):
    [said] = sink.write([(Origin(store, str(number), operation), records)])
    return said


def read(reader, store, *filters, **options):
    found, cursor = reader.documents(store, [Filter(*one) for one in filters], **options)
    assert cursor is None
    return [{key: value for key, value in one.items() if key != "lake"} for one in found]


def raw(gold, store):
    """All that is there, hidden or not: documents, files, pieces."""
    return tuple(one(store).count_documents({}) for one in (gold.documents, gold.files, gold.chunks))


def test_documents_come_back_as_they_were_and_lead_back(gold, sink, reader, store):
    value = {"a": 1, "b": {"c": [1.5, None, "é"]}, "$d": True, "e.f": 2**40}
    said = put(sink, store, 17, docs(value, {"_id": "own", "lake": "léman"}))
    assert said == {"database": "data_conso", "collection": store, "documents": 2, "files": 0}
    found, _cursor = reader.documents(store)
    assert found == [
        {**value, "lake": {"object": "17", "operation": "op1", "number": 0}},
        {"_id": "own", "lake": {"object": "17", "operation": "op1", "number": 1, "value": "léman"}},
    ]
    assert reader.document(store, "17", 0) == found[0]
    contents = reader.contents(store, "17")
    assert (contents["documents"], contents["files"], contents["operation"]) == (2, 0, "op1")
    assert reader.contents(store, "18") == {}
    with pytest.raises(NotFound):
        reader.document(store, "17", 2)


def test_values_that_bson_has_otherwise(sink, reader, store):
    value = {"d": Decimal("1.50"), "long": Decimal("1" * 40), "day": date(2021, 7, 22), "t": time(11, 1)}
    put(sink, store, 1, docs(value))
    assert read(reader, store) == [
        {
            "d": bson.Decimal128("1.50"),
            "long": "1" * 40,
            "day": datetime(2021, 7, 22, tzinfo=UTC),
            "t": "11:01:00",
        }
    ]


def test_an_object_s_documents_and_files_are_replaced(gold, sink, reader, store):
    put(sink, store, 1, [*docs({"v": 1}, {"v": 2}), File("thumbnail", "image/png", b"1" * 300_000)])
    put(sink, store, 2, docs({"v": 9}))
    put(sink, store, 1, docs({"v": 3}), operation="op2")
    assert read(reader, store) == [{"v": 3}, {"v": 9}]
    assert reader.files(store) == ([], None)
    assert raw(gold, store) == (2, 0, 0)
    assert hidden_versions(gold.objects(store)) == []
    put(sink, store, 1, [], operation="op3")
    assert read(reader, store) == [{"v": 9}]
    assert reader.contents(store, "1")["documents"] == 0


def test_the_same_operation_again_writes_the_same(gold, sink, reader, store):
    records = [*docs({"v": 1}, {"v": 2}), File("a", "text/plain", b"a"), File("b", "text/plain", b"b")]
    put(sink, store, 1, records)
    ids = {one["_id"] for one in gold.documents(store).find()}
    put(sink, store, 1, records)
    assert {one["_id"] for one in gold.documents(store).find()} == ids
    assert raw(gold, store) == (2, 2, 2)
    # With less than before: the rest goes.
    put(sink, store, 1, [*docs({"v": 5}), File("a", "text/plain", b"other")])
    assert read(reader, store) == [{"v": 5}]
    assert raw(gold, store) == (1, 1, 1)
    assert reader.open_file(store, "1", "a")[1].read() == b"other"


def test_files(sink, reader, store):
    data = os.urandom(700_000)
    said = put(sink, store, 3, [File("thumbnail", "image/png", data, {"width": 4, "ratio": Decimal("1.5")})])
    assert said == {
        "database": "data_conso",
        "collection": store,
        "documents": 0,
        "files": 1,
        "bucket": f"gridfs/{store}",
    }
    put(sink, store, 4, [File("b", "text/plain", b""), File("a/ü", "text/plain", b"x")])
    [first], cursor = reader.files(store, limit=1)
    assert (first["name"], first["content_type"], first["length"]) == ("thumbnail", "image/png", 700_000)
    assert first["details"] == {"width": 4, "ratio": bson.Decimal128("1.5")}
    assert first["lake"] == {"object": "3", "operation": "op1"}
    rest, cursor = reader.files(store, limit=2, after=cursor)
    assert [one["name"] for one in rest] == ["a/ü", "b"] and cursor is None
    told, stream = reader.open_file(store, "3", "thumbnail")
    assert told == first and stream.read() == data
    assert [one["name"] for one in reader.files(store, object_id="3")[0]] == ["thumbnail"]
    with pytest.raises(NotFound):
        reader.open_file(store, "3", "nothing")


def test_nothing_is_seen_until_commit(gold, sink, reader, store):
    put(sink, store, 1, docs({"v": 0}))
    with sink.writer(Origin(store, "1", "op2")) as writer:
        writer.add([*docs(*({"v": number} for number in range(2500))), File("f", "text/plain", b"f")])
        assert raw(gold, store)[0] > 2000
        assert read(reader, store) == [{"v": 0}]
        assert reader.files(store) == ([], None)
    assert raw(gold, store) == (1, 0, 0)
    assert hidden_versions(gold.objects(store)) == []
    with sink.writer(Origin(store, "1", "op2")) as writer:
        writer.add(docs(*({"v": number} for number in range(2500))))
        assert writer.commit()["documents"] == 2500
    assert len(read(reader, store, limit=10_000)) == 2500


def test_what_was_cut_short_is_not_seen_and_goes_with_the_next(gold, sink, reader, store):
    put(sink, store, 1, docs({"v": 0}))
    writer = sink.writer(Origin(store, "1", "op2"))
    writer.add([*docs(*({"v": 1} for _number in range(1500))), File("f", "text/plain", b"f")])  # and then no more of it
    gold.chunks(store).insert_one({"files_id": f"1/{documents.version_of(Origin(store, '1', 'op2'))}/g", "n": 0})
    assert read(reader, store) == [{"v": 0}]
    put(sink, store, 1, docs({"v": 2}), operation="op3")
    assert read(reader, store) == [{"v": 2}]
    assert raw(gold, store) == (1, 0, 0)


def test_what_could_not_be_deleted_is_not_seen_and_goes_with_the_next(gold, sink, reader, store, monkeypatch):
    put(sink, store, 1, docs({"v": 0}, {"v": 1}))
    monkeypatch.setattr(documents._Versions, "_delete_hidden", lambda self: None)
    put(sink, store, 1, docs({"v": 2}), operation="op2")
    monkeypatch.undo()
    assert raw(gold, store)[0] == 3
    assert read(reader, store) == [{"v": 2}]
    put(sink, store, 1, docs({"v": 2}), operation="op2")
    assert raw(gold, store)[0] == 1


def test_an_operation_that_began_later_wins(sink, reader, store):
    first, second = (sink.writer(Origin(store, "1", operation)) for operation in ("op1", "op2"))
    with first, second:
        first.add(docs({"v": 1}))
        second.add(docs({"v": 2}))
        with pytest.raises(StoreError) as late:
            first.commit()
        assert late.value.retriable
        second.commit()
    assert read(reader, store) == [{"v": 2}]


def test_readers_never_see_half(sink, reader, store):
    """One object is replaced over and over; each operation's documents all say which one it was."""
    count, stop, seen, failed = 300, threading.Event(), set(), []
    put(sink, store, 1, docs(*({"v": 0} for _number in range(count))), operation="op0")

    def look():
        try:
            while not stop.is_set():
                found = read(reader, store, limit=1000)
                seen.add((len(found), len({one["v"] for one in found})))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=look) for _number in range(2)]
    for thread in threads:
        thread.start()
    for number in range(1, 12):
        put(sink, store, 1, docs(*({"v": number} for _number in range(count))), operation=f"op{number}")
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == [] and seen == {(count, 1)}


def test_a_reader_sees_one_moment(sink, reader, store, monkeypatch):
    """What begins after it has asked what is hidden is not seen."""
    put(sink, store, 1, docs({"v": 0}))
    writer = sink.writer(Origin(store, "1", "op2"))

    def then_another_begins(*arguments):
        hidden = hidden_versions(*arguments)
        writer.add(docs(*({"v": 1} for _number in range(1500))))
        return hidden

    with writer:
        monkeypatch.setattr(documents, "hidden_versions", then_another_begins)
        assert read(reader, store, limit=5000) == [{"v": 0}]


def test_several_objects_at_once(gold, sink, reader, store):
    outputs = [(Origin(store, str(number), "op"), docs({"v": number}, {"v": -number})) for number in (3, 1, 2)]
    for _time in range(2):
        assert [one["documents"] for one in sink.write(outputs)] == [2, 2, 2]
    assert [one["v"] for one in read(reader, store)] == [1, -1, 2, -2, 3, -3]
    assert sink.write([]) == []
    assert raw(gold, store)[0] == 6


def test_nothing_makes_nothing(client, sink, reader, store):
    assert put(sink, store, 1, [])["documents"] == 0
    assert store not in str(client[DATABASE].list_collection_names())
    assert reader.documents(store) == ([], None)


def test_pages_and_filters(sink, reader, store):
    put(sink, store, 10, docs({"n": 1, "s": "a.c", "deep": {"x": 5}}, {"n": 2, "s": "abc"}, {"s": None}))
    put(sink, store, 9, docs({"n": 3}))
    found, cursor = reader.documents(store, limit=3)
    rest, end = reader.documents(store, limit=3, after=cursor)
    assert [(one["lake"]["object"], one["lake"]["number"]) for one in found + rest] == [
        ("9", 0),
        ("10", 0),
        ("10", 1),
        ("10", 2),
    ]
    assert end is None

    def numbers(*filters):
        return [one.get("n") for one in read(reader, store, *filters)]

    assert numbers(("n", "gt", 1)) == [3, 2]
    assert numbers(("n", "ne", 1)) == [3, 2]
    assert numbers(("n", "le", 2), ("n", "ge", 2)) == [2]
    assert numbers(("s", "contains", "a.")) == [1]
    assert numbers(("deep.x", "eq", 5)) == [1]
    assert numbers(("n", "null", True)) == [None]
    assert [one.get("n") for one in read(reader, store, object_id="9")] == [3]
    for wrong in (("$where", "eq", "1"), ("n", "eq", {"$gt": 1}), ("a.$x", "eq", 1), ("", "eq", 1)):
        with pytest.raises(InvalidInput):
            numbers(wrong)
    with pytest.raises(InvalidInput):
        reader.documents(store, after="x")


NESTED = {}
for _level in range(300):
    NESTED = {"a": NESTED}


@pytest.mark.parametrize(
    "value",
    [
        {"v": "x" * (16 * 1024 * 1024)},
        {"v": 2**63},
        {"v": object()},
        {"a\x00b": 1},
        {1: 2},
        NESTED,
        {"v": "\ud800"},
    ],
    ids=["too big", "too long a number", "no type", "NUL in a name", "name that is no text", "too deep", "half a pair"],
)
def test_what_mongodb_cannot_hold_is_refused_for_good(gold, sink, reader, store, value):
    put(sink, store, 1, docs({"v": 0}))
    with pytest.raises(StoreError) as refused:
        put(sink, store, 1, docs({"v": 1}, value), operation="op2")
    assert not refused.value.retriable
    assert read(reader, store) == [{"v": 0}]
    assert raw(gold, store)[0] == 1


def test_other_refusals(sink, store):
    for records in ([Row("t", {})], [File("a", "x", b""), File("a", "x", b"")], [File("a", "x", b"", {"v": object()})]):
        with pytest.raises(StoreError) as refused:
            put(sink, store, 1, records)
        assert not refused.value.retriable


def test_a_server_that_is_away_is_to_be_tried_again(store):
    with pymongo.MongoClient("127.0.0.1", 1, serverSelectionTimeoutMS=100, tz_aware=True) as client:
        with pytest.raises(StoreError) as failed:
            put(DocumentSink(DocumentStore(client)), store, 1, docs({}))
        assert failed.value.retriable


NAMES = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=4), max_size=6))
def test_any_documents_come_back(client, sink, reader, values):
    store = f"test-{uuid.uuid4().hex[:8]}"
    values = [{key: value for key, value in one.items() if key not in ("_id", "lake")} for one in values]
    try:
        for _time in range(2):
            put(sink, store, 5, docs(*values))
        assert read(reader, store) == values
    finally:
        drop(client, store)


def test_a_page_of_large_documents_ends_early(sink, reader, store, monkeypatch):
    put(sink, store, 1, docs(*({"v": number, "w": "x" * 1000} for number in range(30))))
    monkeypatch.setattr(documents, "PAGE_BYTES", 10_000)
    found, after, pages = [], None, 0
    while after or not pages:
        page, after = reader.documents(store, limit=25, after=after)
        found += page
        pages += 1
    assert [one["v"] for one in found] == list(range(30)) and pages == 4
    monkeypatch.setattr(documents, "PAGE_BYTES", 10)
    assert len(reader.documents(store, limit=5)[0]) == 1
    assert reader.document(store, "1", 29)["v"] == 29
    reader.ping()


def test_a_moment_that_python_does_not_know_makes_no_document_unreadable(gold, sink, reader, store):
    put(sink, store, 1, docs({"t": datetime(2021, 7, 22, tzinfo=UTC)}, {"t": 1}))
    from bson.datetime_ms import DatetimeMS

    gold.documents(store).update_one({"lake.number": 1}, {"$set": {"t": DatetimeMS(10**15)}})
    assert read(reader, store) == [{"t": datetime(2021, 7, 22, tzinfo=UTC)}, {"t": DatetimeMS(10**15)}]
