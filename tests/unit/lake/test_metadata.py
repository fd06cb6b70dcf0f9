# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import mongomock
import pytest
from neocampus_lake import metadata as metadata_module
from neocampus_lake.catalogue import Catalogue, Wanted
from neocampus_lake.documents import history_entry, new_document, operation, utc
from neocampus_lake.errors import Conflict, InvalidName, StoreError
from neocampus_lake.events import Event
from neocampus_lake.metadata import MetadataStore
from pymongo import errors

EVENT = Event(
    id="e1",
    type="put",
    account="AUTH_p1",
    project_id="p1",
    container="campus",
    object_name="17",
    user="alice",
    user_id="u1",
    content_type="application/json",
    size=12,
    etag="abc",
    timestamp="1626951682.00000",
    transaction_id="tx1",
)


@pytest.fixture
def client():
    """A MongoDB with the index that the deployment makes (mongodb_indexes in the inventory)."""
    made = mongomock.MongoClient(tz_aware=True)
    made.stats.swift.create_index("type", unique=True, sparse=True)
    return made


@pytest.fixture
def store(client):
    made = MetadataStore(client)
    assert made.store_for("p1", "campus", create=True) == "campus"
    return made


def find(store, name, *, limit=1000, after=None, **wanted):
    """Documents as the catalogue finds them."""
    return Catalogue(store._client).find(name, Wanted(**wanted), limit=limit, after=after)


def count_calls(monkeypatch):
    """Counts what is asked of MongoDB, without what the double asks itself."""
    calls, inside = Counter(), []
    collection = mongomock.collection.Collection

    def counting(name, method):
        def counted(self, *args, **named):
            if not inside:
                calls[name] += 1
            inside.append(name)
            try:
                return method(self, *args, **named)
            finally:
                inside.pop()

        return counted

    names = ("find", "find_one", "find_one_and_update", "bulk_write", "insert_many", "update_one", "update_many")
    for name in (*names, "delete_many"):
        monkeypatch.setattr(collection, name, counting(name, getattr(collection, name)))
    return calls


def document(object_id="17", **changes):
    values = {
        "object_id": object_id,
        "container": "campus",
        "project_id": "p1",
        "user": "alice",
        "object_name": object_id,
        "original_name": "messages.json",
        "content_type": "application/json",
        "size": 3,
    }
    return new_document(**{**values, **changes})


def test_ids_come_from_the_counter(client, store):
    assert store.reserve_ids(2) == ["1", "2"]
    assert client.stats.swift.find_one({"type": "object_id_file"})["object_id"] == 2


def test_the_list_of_data_to_process_lives_beside_the_counter(client, store):
    store.reserve_ids()
    client.stats.swift.insert_many([{"swift_id": "1"}, {"swift_id": "2"}])
    assert store.reserve_ids() == ["2"]


def test_the_counter_is_one(client, store):
    store.reserve_ids()
    with pytest.raises(errors.DuplicateKeyError):
        client.stats.swift.insert_one({"type": "object_id_file"})


def test_a_store_has_the_container_s_name_for_the_first_project_only(client, store):
    assert store.store_for("p2", "campus") is None
    assert store.store_for("p2", "campus", create=True) == "campus--p2"
    again = MetadataStore(client)
    assert again.store_for("p1", "campus") == "campus"
    assert again.store_for("p2", "campus") == "campus--p2"
    assert client.stats.containers.find_one({"_id": "p2/campus"}) == {
        "_id": "p2/campus",
        "project_id": "p2",
        "container": "campus",
        "store": "campus--p2",
    }
    assert store.containers("p1") == ["campus"]
    assert store.containers("p3") == []


def test_two_processes_register_the_same_container(client, store):
    other = MetadataStore(client)
    registry = client.stats.containers
    assert other._register(registry, "p1", "campus")["store"] == "campus"


def test_a_container_cannot_take_another_s_store(store):
    store.store_for("p2", "campus", create=True)
    store.store_for("p2", "campus--p2", create=True)
    with pytest.raises(InvalidName):
        store._register(store._collection("stats", "containers"), "", "campus")
        store._register(store._collection("stats", "containers"), "", "campus-")
        store._register(store._collection("stats", "containers"), "p9", "campus--p2")
        store.store_for("p2", "campus/x", create=True)


@pytest.mark.parametrize(("project", "container"), [("p1", "a/b"), ("", "campus"), ("a/b", "campus")])
def test_names_that_cannot_be_registered(store, project, container):
    with pytest.raises(InvalidName):
        store.store_for(project, container, create=True)


def test_insert_and_get(store):
    store.insert("campus", document())
    found = store.get("campus", "17")
    assert (found["_id"], found["status"], found["etag"]) == (17, "pending", None)
    assert store.get("campus", "18") is None
    with pytest.raises(InvalidName):
        store.get("campus", "x")


def test_an_id_or_a_name_is_there_once(store):
    store.insert("campus", document("17"))
    with pytest.raises(Conflict):
        store.insert("campus", document("17"))
    with pytest.raises(Conflict):
        store.insert("campus", document("18", object_name="17"))


def test_a_document_s_way(store):
    store.insert("campus", document())
    store.mark_stored("campus", "17", etag="abc", size=12)
    found = store.get("campus", "17")
    assert (found["status"], found["etag"], found["size"]) == ("stored", "abc", 12)
    store.abandon("campus", "17")
    assert store.get("campus", "17") is not None


def test_a_pending_document_can_be_abandoned(store):
    store.insert("campus", document())
    store.abandon("campus", "17")
    assert store.get("campus", "17") is None


def test_the_way_of_many_documents_costs_three_writes(client, store, monkeypatch):
    calls = count_calls(monkeypatch)
    ids = [str(number) for number in range(1, 201)]
    assert store.insert_many("campus", [document(object_id) for object_id in ids]) == set()
    store.mark_stored_many("campus", {object_id: (f"md5 of {object_id}", int(object_id)) for object_id in ids[:150]})
    store.abandon_many("campus", ids)  # those that are stored stay
    assert calls == {"insert_many": 1, "bulk_write": 1, "delete_many": 1}
    found = find(store, "campus", limit=300)
    assert [item["swift_object_id"] for item in found] == ids[:150]
    assert {(item["status"], item["etag"], item["size"]) for item in found} == {
        ("stored", f"md5 of {object_id}", int(object_id)) for object_id in ids[:150]
    }


def test_of_many_documents_those_that_are_known_are_told(store):
    theirs = document("2", user="bob")
    store.insert("campus", theirs)
    store.insert("campus", document("9", object_name="4"))
    assert store.insert_many("campus", [document(str(number)) for number in range(1, 6)]) == {"2", "4"}
    assert [item["_id"] for item in find(store, "campus")] == [1, 2, 3, 5, 9]
    assert store.get("campus", "2")["swift_user"] == "bob"


def test_new_documents_and_marks_are_one_write(client, store, monkeypatch):
    store.insert_many("campus", [document("1"), document("2"), document("9", object_name="5")])
    calls = count_calls(monkeypatch)
    known = store.write_many("campus", [document(str(number)) for number in range(2, 7)], {"1": ("md5 of 1", 12)})
    assert calls == {"bulk_write": 1}
    assert known == {"2", "5"}  # the id of the one and the name of the other are taken
    found = {item["_id"]: item for item in find(store, "campus")}
    assert sorted(found) == [1, 2, 3, 4, 6, 9]
    assert (found[1]["status"], found[1]["etag"], found[1]["size"]) == ("stored", "md5 of 1", 12)
    assert {found[number]["status"] for number in (2, 3, 4, 6, 9)} == {"pending"}
    alone = document("7")
    assert store.write_many("campus", [alone], {}) == set() == store.write_many("campus", [], {"6": ("md5 of 6", 1)})
    inserted, merged = (client["swift"]["campus"].find_one({"_id": number}) for number in (7, 3))
    assert set(inserted) == set(merged)  # whichever way it took


def test_what_mongodb_did_not_write_is_told_with_all_its_objects(store, monkeypatch):
    def refuse(self, requests, ordered=True):
        raise errors.BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64}]})

    monkeypatch.setattr(mongomock.collection.Collection, "bulk_write", refuse)
    with pytest.raises(StoreError, match="the 2 documents of objects 2 to 1"):
        store.write_many("campus", [document("2")], {"1": ("md5 of 1", 12)})


def test_many_documents_that_mongodb_did_not_take(store, monkeypatch):
    def refuse(self, documents, ordered=True):
        raise errors.BulkWriteError(
            {"writeErrors": [{"index": 0, "code": 11000}], "writeConcernErrors": [{"code": 64}]}
        )

    monkeypatch.setattr(mongomock.collection.Collection, "insert_many", refuse)
    with pytest.raises(StoreError, match="the 2 documents of objects 1 to 2"):
        store.insert_many("campus", [document("1"), document("2")])


def test_no_documents_cost_nothing(client, store, monkeypatch):
    calls = count_calls(monkeypatch)
    assert store.insert_many("campus", []) == set()
    store.mark_stored_many("campus", {})
    store.abandon_many("campus", [])
    assert not calls


def test_find_goes_by_the_number_of_the_id(store):
    for number in (9, 10, 100, 11):
        store.insert("campus", document(str(number)))
    ids = [item["swift_object_id"] for item in find(store, "campus")]
    assert ids == ["9", "10", "11", "100"]
    assert [item["swift_object_id"] for item in find(store, "campus", limit=2)] == ["9", "10"]
    assert [item["swift_object_id"] for item in find(store, "campus", limit=2, after="10")] == ["11", "100"]


def test_find_by_type(store):
    store.insert("campus", document("1", content_type="text/csv; charset=utf-8"))
    store.insert("campus", document("2", content_type="text/csv-schema"))
    store.insert("campus", document("3", content_type="image/png"))
    assert [item["_id"] for item in find(store, "campus", content_type="text/csv")] == [1]
    assert [item["_id"] for item in find(store, "campus", content_type="text/*")] == [1, 2]
    assert [item["_id"] for item in find(store, "campus", content_type="image.png")] == []


def test_find_by_date(store):
    noon = utc().replace(hour=12)
    for number in range(4):
        store.insert("campus", document(str(number + 1), now=noon + timedelta(hours=number)))
    found = find(store, "campus", start=noon + timedelta(hours=1), end=noon + timedelta(hours=3))
    assert [item["_id"] for item in found] == [2, 3]


def applied(store, *events):
    """The documents after the events, by name."""
    return {name: change.document for name, change in store.apply_events("campus", events).items()}


def test_the_event_of_an_api_insert_finds_its_document(store):
    store.insert("campus", document(metadata={"application": "energy"}))
    found = applied(store, EVENT)
    assert list(found) == ["17"]
    assert found["17"]["application"] == "energy"
    assert (found["17"]["status"], found["17"]["etag"], found["17"]["size"]) == ("stored", "abc", 12)
    assert store.get("campus", "17") == found["17"]


def test_an_event_leaves_what_the_api_said_of_its_insert(store):
    store.insert("campus", document())
    store.mark_stored("campus", "17", etag="md5", size=12)
    before = store.get("campus", "17")
    times = {"swift_timestamp": EVENT.timestamp, "swift_data_timestamp": EVENT.timestamp}
    for _twice in range(2):
        after = applied(store, replace(EVENT, etag="of-a-manifest"))["17"]
        assert after == {**before, **times, "last_modified": after["last_modified"]} == store.get("campus", "17")


def test_objects_of_a_plain_client_get_documents(store):
    store.reserve_ids(4)
    events = [
        replace(EVENT, object_name="dir/data.csv", content_type="text/csv", user="bob"),
        replace(EVENT, object_name="dir/data.csv", content_type="text/csv", etag="later", timestamp="1626951683.00000"),
        replace(EVENT, object_name="b"),
    ]
    found = applied(store, *events)
    made = found["dir/data.csv"]
    assert {item["swift_object_id"] for item in found.values()} == {"5", "6"}
    assert made["swift_object_name"] == "dir/data.csv"
    assert (made["original_object_name"], made["status"], made["etag"]) == ("data.csv", "stored", "later")
    assert applied(store, *events) == found
    assert len(find(store, "campus")) == 2


def test_an_object_put_again_by_a_plain_client_is_the_same_object(store):
    event = replace(EVENT, object_name="data", content_type="text/csv")
    first = applied(store, event)["data"]
    again = replace(event, etag="new", size=99, content_type="application/json", timestamp="1626951690.00000")
    second = applied(store, again)["data"]
    assert second["_id"] == first["_id"]
    assert (second["etag"], second["size"], second["content_type"]) == ("new", 99, "application/json")
    assert store.get("campus", first["swift_object_id"])["etag"] == "new"


def test_no_events_no_documents(store):
    assert store.apply_events("campus", []) == {}


def test_a_removal_of_what_was_never_there_makes_nothing(client, store):
    assert applied(store, replace(EVENT, type="delete")) == {"17": None}
    assert client.swift.campus.count_documents({}) == 0
    assert client.stats.swift.count_documents({}) == 0


def test_a_batch_costs_one_query_and_one_write(client, store, monkeypatch):
    calls = count_calls(monkeypatch)
    events = [replace(EVENT, object_name=f"o{number}") for number in range(200)]
    store.apply_events("campus", events)
    assert calls == {"find": 1, "bulk_write": 1, "find_one_and_update": 1}
    calls.clear()
    later = [replace(event, timestamp="1626951683.00000", etag="b") for event in events]
    store.apply_events("campus", later)
    assert calls == {"find": 1, "bulk_write": 1}
    calls.clear()
    store.apply_events("campus", later)
    assert calls == {"find": 1}


def test_a_document_that_changes_at_the_same_moment_is_read_again(store, monkeypatch):
    store.insert("campus", document())
    untouched = MetadataStore._all_written
    later = replace(EVENT, type="delete", timestamp="1626951690.00000")

    def meanwhile(collection, updates):
        monkeypatch.setattr(MetadataStore, "_all_written", staticmethod(untouched))
        store.apply_events("campus", [later])
        return untouched(collection, updates)

    monkeypatch.setattr(MetadataStore, "_all_written", staticmethod(meanwhile))
    change = store.apply_events("campus", [EVENT])["17"]
    assert (change.event, change.ignored, change.document["status"]) == (None, 1, "deleted")
    found = store.get("campus", "17")
    assert (found["status"], found["swift_timestamp"]) == ("deleted", later.timestamp)


def test_documents_that_never_stop_changing(store, monkeypatch):
    store.insert("campus", document())
    monkeypatch.setattr(MetadataStore, "_all_written", staticmethod(lambda collection, updates: False))
    with pytest.raises(StoreError, match="17 in 'campus' do not stop changing"):
        store.apply_events("campus", [EVENT])


def test_the_api_s_word_comes_after_the_removal(store):
    store.insert("campus", document())
    store.apply_events("campus", [replace(EVENT, type="delete")])
    store.mark_stored("campus", "17", etag="md5", size=12)
    assert store.get("campus", "17")["status"] == "deleted"
    assert store.statuses("campus", ["17", "18"]) == {"17": "deleted"}


def test_documents_by_name_are_in_the_order_of_bytes(store):
    names = ["b", "a", "é", "Z", "a/b", "\U0001f4a7", "\ue000"]
    for number, name in enumerate(names, 1):
        store.insert("campus", document(str(number), object_name=name))
    ordered = sorted(names, key=str.encode)
    assert [item["swift_object_name"] for item in store.by_name("campus", "", None, 100)] == ordered
    assert [item["swift_object_name"] for item in store.by_name("campus", "Z", "b", 100)] == ["a", "a/b", "b"]
    assert [item["swift_object_name"] for item in store.by_name("campus", "Z", None, 1)] == ["a"]


def test_what_no_operation_was_logged_on_is_unprocessed(store):
    hour = utc() - timedelta(hours=1)
    for number in range(1, 5):
        store.insert("campus", document(str(number), now=hour - timedelta(minutes=number)))
    for number in range(1, 4):
        store.mark_stored("campus", str(number), etag="md5", size=1)
    store.log("campus", [("1", True, entry(), None)])
    assert [item["_id"] for item in store.unprocessed("campus", hour, 10)] == [2, 3]
    assert len(store.unprocessed("campus", hour, 1)) == 1
    assert store.unprocessed("campus", hour - timedelta(hours=1), 10) == []
    store.mark_listed("campus", ["2"])
    assert [item["_id"] for item in store.unprocessed("campus", hour, 10)] == [3]
    assert [item["_id"] for item in store.unprocessed("campus", utc() + timedelta(hours=1), 10)] == [2, 3]


def test_what_was_left_pending(store):
    hour = utc() - timedelta(hours=1)
    for number in range(1, 4):
        store.insert("campus", document(str(number), now=hour - timedelta(minutes=number)))
    store.mark_stored("campus", "1", etag="md5", size=1)
    store.log("campus", [("2", False, entry(message="it never came"), None)])
    assert [item["_id"] for item in store.left_pending("campus", hour, 10)] == [3]
    assert store.left_pending("campus", hour - timedelta(hours=1), 10) == []


def test_the_extent_of_a_store(store):
    assert store.extent("campus") == {"documents": 0, "newest": 0}
    for number in ("3", "9", "10"):
        store.insert("campus", document(number))
    assert store.extent("campus") == {"documents": 3, "newest": 10}


def test_the_indexes_of_a_store(client, store):
    indexes = client.swift.campus.index_information()
    partial = {name: index.get("partialFilterExpression", {}).get("status") for name, index in indexes.items()}
    assert partial["status_1_creation_date_1"] == "pending"
    assert partial["creation_date_1_status_1"] == "stored"


def test_only_a_stored_document_is_lost(store):
    for number in ("1", "2"):
        store.insert("campus", document(number))
    store.mark_stored("campus", "1", etag="md5", size=1)
    store.mark_lost("campus", ["1", "2"])
    assert store.statuses("campus", ["1", "2"]) == {"1": "lost", "2": "pending"}


def test_the_registry_has_the_containers_of_all_projects(store):
    store.store_for("p2", "campus", create=True)
    assert store.registry() == [
        {"project_id": "p1", "container": "campus", "store": "campus"},
        {"project_id": "p2", "container": "campus", "store": "campus--p2"},
    ]


def entry(**changes):
    values = {"dag_id": "new_input", "operation_instance": "r1", "execution_date": utc(), "pipeline": "sensor_json"}
    return operation(**{**values, **changes})


def test_log_good_and_bad(client, store):
    for number in ("17", "18"):
        store.insert("campus", document(number))
    good = entry(services=["influxdb"])
    history = history_entry(document=document(), process_type="default", task_type="t", new_data={"points": 3})
    store.log("campus", [("17", True, good, history), ("18", False, entry(message="broken"), None)])
    found = store.get("campus", "17")
    assert [item["pipeline"] for item in found["successful_operations"]] == ["sensor_json"]
    assert found["failed_operations"] == []
    assert found["processed_data_area_service"] == ["influxdb"]
    assert store.get("campus", "18")["failed_operations"][0]["message"] == "broken"
    assert [item["swift_id"] for item in client.data_historique.history.find()] == ["17"]


def test_logging_twice_changes_nothing(client, store):
    store.insert("campus", document())
    history = history_entry(document=document(), process_type="default", task_type="t", new_data={"points": 3})
    for _ in range(2):
        store.log("campus", [("17", True, entry(services=["influxdb"]), history)])
    found = store.get("campus", "17")
    assert len(found["successful_operations"]) == 1
    assert found["processed_data_area_service"] == ["influxdb"]
    assert client.data_historique.history.count_documents({}) == 1


def test_another_run_or_pipeline_is_logged_as_well(store):
    store.insert("campus", document())
    for change in ({}, {"operation_instance": "r2"}, {"pipeline": "other"}):
        store.log("campus", [("17", True, entry(**change), None)])
    assert len(store.get("campus", "17")["successful_operations"]) == 3


def test_a_document_does_not_grow_for_ever(store, monkeypatch):
    monkeypatch.setattr(metadata_module, "KEPT_OPERATIONS", 3)
    store.insert("campus", document())
    for number in range(5):
        store.log("campus", [("17", False, entry(operation_instance=f"r{number}"), None)])
    kept = [item["operation_instance"] for item in store.get("campus", "17")["failed_operations"]]
    assert kept == ["r2", "r3", "r4"]


def test_nothing_to_log(store):
    store.log("campus", [])


@pytest.mark.parametrize(
    ("raised", "retriable"),
    [
        (errors.ServerSelectionTimeoutError("no primary"), True),
        (errors.NotPrimaryError("stepped down"), True),
        (errors.OperationFailure("auth", 18), True),
        (errors.DocumentTooLarge("16 MB"), False),
        (errors.InvalidName("name"), False),
    ],
)
def test_errors_of_mongodb(store, monkeypatch, raised, retriable):
    class Broken:
        def find_one(self, *_args):
            raise raised

    monkeypatch.setattr(store, "_documents", lambda _store: Broken())
    with pytest.raises(StoreError, match="object 17") as caught:
        store.get("campus", "17")
    assert caught.value.retriable is retriable


@pytest.mark.parametrize(
    ("details", "raises"),
    [
        ({"writeErrors": [{"code": 11000}]}, False),
        ({"writeErrors": [{"code": 11000}, {"code": 64}]}, True),
        ({"writeErrors": [{"code": 11000}], "writeConcernErrors": [{"code": 64}]}, True),
    ],
)
def test_only_duplicates_are_passed_over(details, raises):
    error = errors.BulkWriteError(details)
    if raises:
        with pytest.raises(errors.BulkWriteError):
            metadata_module._only_duplicates(error)
    else:
        metadata_module._only_duplicates(error)


def test_writes_are_acknowledged_by_the_majority(store):
    assert store._documents("campus").write_concern.document["w"] == "majority"


def test_documents_from_before_there_was_a_search_get_their_words(client, store, monkeypatch):
    monkeypatch.setattr(metadata_module, "WORDS_AT_ONCE", 2)
    store.insert_many("campus", [document(str(number)) for number in range(1, 6)])
    words = client.swift.campus.find_one({"_id": 1})["search"]
    client.swift.campus.update_many({"_id": {"$ne": 5}}, {"$unset": {"search": ""}})
    assert (store.complete_words("campus"), store.complete_words("campus")) == (4, 0)
    assert [one["search"] for one in client.swift.campus.find()] == [words] * 5


def test_a_removed_container_is_there_again_when_it_is_made(client, store):
    store.remove_container("p1", "campus")
    assert store.containers("p1") == [] and store.store_for("p1", "campus") is None
    assert MetadataStore(client).store_for("p2", "campus", create=True) == "campus--p2"
    assert store.store_for("p1", "campus", create=True) == "campus"
    assert store.containers("p1") == ["campus"]


def test_what_another_process_removed_is_known_after_a_while(client, store, monkeypatch):
    MetadataStore(client).remove_container("p1", "campus")
    assert store.store_for("p1", "campus") == "campus"
    later = metadata_module.time.monotonic() + metadata_module.STORES_SECONDS + 1
    monkeypatch.setattr(metadata_module.time, "monotonic", lambda: later)
    assert store.store_for("p1", "campus") is None
