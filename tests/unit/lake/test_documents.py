# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import math
from datetime import UTC, datetime, timedelta, timezone

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake import documents
from neocampus_lake.errors import InvalidDocument, InvalidInput, InvalidName

NOW = datetime(2021, 7, 22, 11, 1, 22, 123456, tzinfo=UTC)


def new(**changes):
    values = {
        "object_id": "17",
        "container": "campus",
        "project_id": "p1",
        "user": "alice",
        "object_name": "17",
        "original_name": "messages.json",
        "content_type": "application/json",
        "size": 12,
        "now": NOW,
    }
    return documents.new_document(**{**values, **changes})


def test_a_new_document_has_every_field():
    document = new(metadata={"application": "energy", "other_data": {"campaign": "été"}})
    assert document == {
        "_id": 17,
        "content_type": "application/json",
        "data_processing": "default",
        "swift_user": "alice",
        "swift_container": "campus",
        "swift_project": "p1",
        "swift_object_id": "17",
        "swift_object_name": "17",
        "original_object_name": "messages.json",
        "creation_date": NOW.replace(microsecond=123000),
        "last_modified": NOW.replace(microsecond=123000),
        "application": "energy",
        "successful_operations": [],
        "failed_operations": [],
        "processed_data_area_service": [],
        "other_data": {"campaign": "été"},
        "status": "pending",
        "size": 12,
        "etag": None,
    }


def test_metadata_overrides_what_is_automatic():
    document = new(metadata={"content_type": "text/csv", "original_object_name": "a.csv", "data_processing": "custom"})
    assert (document["content_type"], document["original_object_name"]) == ("text/csv", "a.csv")
    assert document["data_processing"] == "custom"


def test_metadata_cannot_move_an_object_to_another_container():
    assert new(metadata={"swift_container": "campus"})["swift_container"] == "campus"
    with pytest.raises(InvalidDocument, match="insert it there"):
        new(metadata={"swift_container": "other"})


@pytest.mark.parametrize("field", ["_id", "swift_object_id", "creation_date", "status", "successful_operations", "x"])
def test_other_fields_cannot_be_set(field):
    with pytest.raises(InvalidDocument, match="what can be is application, content_type") as caught:
        documents.validate_metadata({field: "1"})
    assert caught.value.context["field"] == field


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"content_type": "json"}, "content_type"),
        ({"content_type": "text/csv\r\nX: y"}, "content_type"),
        ({"data_processing": "fancy"}, "data_processing"),
        ({"application": ""}, "application"),
        ({"application": "x" * 1025}, "application"),
        ({"swift_user": 4}, "swift_user"),
        ({"swift_container": "a/b"}, "swift_container"),
        ({"processed_data_area_service": "influxdb"}, "processed_data_area_service"),
        ({"other_data": ["a"]}, "other_data"),
        ({"other_data": {"": 1}}, "other_data"),
        ({"other_data": {"$where": 1}}, "other_data"),
        ({"other_data": {"a\x00b": 1}}, "other_data"),
        ({"other_data": {"a": {"b": [math.nan]}}}, "other_data.a.b[0]"),
        ({"other_data": {"a": 2**63}}, "other_data.a"),
        ({"other_data": {"a": "\ud800"}}, "other_data.a"),
        ({"other_data": {"a": "x" * 1_100_000}}, "other_data"),
        ({"other_data": {"template": {"measurement": "m"}}}, "other_data.template"),
        ({"other_data": {"image_content": {"main_object": "cat"}}}, "other_data.image_content.main_object"),
    ],
)
def test_wrong_metadata_is_refused_by_field(metadata, field):
    with pytest.raises(InvalidDocument) as caught:
        documents.validate_metadata(metadata)
    assert caught.value.context["field"] == field


def test_deep_nesting_is_refused():
    deep = {}
    for _ in range(60):
        deep = {"a": deep}
    with pytest.raises(InvalidDocument, match="nested"):
        documents.validate_metadata({"other_data": deep})


def test_metadata_is_copied():
    given_data = {"other_data": {"list": [1]}}
    checked = documents.validate_metadata(given_data)
    given_data["other_data"]["list"].append(2)
    assert checked == {"other_data": {"list": [1]}}


def test_templates_and_image_contents_are_taken():
    other = {
        "template": {"measurement": "m", "time": "t", "fields": ["a"], "tags": ["b"]},
        "image_content": {"main_object": ["cat"], "secondary_object": []},
    }
    assert documents.validate_metadata({"other_data": other}) == {"other_data": other}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_what_is_accepted_can_be_kept_by_mongodb(other):
    try:
        checked = documents.validate_metadata({"other_data": other})
    except InvalidInput:
        return
    assert bson.decode(bson.encode(checked)) == checked


@pytest.mark.parametrize("name", ["campus", "été 2021", "a.b-c_d", "x" * 200])
def test_container_names(name):
    assert documents.check_container_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a/b",
        "a\\b",
        'a"b',
        "a$b",
        "a\x00",
        " a",
        "a ",
        "..",
        ".hidden",
        "system.users",
        "_internal",
        "é" * 101,
        None,
    ],
)
def test_container_names_that_a_store_cannot_hold(name):
    with pytest.raises(InvalidName):
        documents.check_container_name(name)


@pytest.mark.parametrize("text", ["0", "01", "-1", "1.0", "", "x", "9" * 19, "1\n", "１", 17, None])
def test_no_object_ids(text):
    with pytest.raises(InvalidName):
        documents.check_object_id(text)


def test_object_ids():
    assert documents.check_object_id(str(2**63 - 1)) == str(2**63 - 1)


def test_operation():
    entry = documents.operation(
        dag_id="new_input", operation_instance="r1", execution_date=NOW, pipeline="p", records=3
    )
    assert list(entry) == ["execution_date", "dag_id", "operation_instance", "pipeline", "records"]
    assert entry["execution_date"] == NOW.replace(microsecond=123000)


def test_history_has_old_and_new_data():
    document = {**new(), "etag": "abc", "processed_data_area_service": ["influxdb"]}
    entry = documents.history_entry(
        document=document,
        process_type="default",
        task_type="sensor_json",
        new_data={"processed_data_area_service": ["influxdb", "sql"], "points": 3},
        now=NOW,
    )
    assert entry["old_data"] == {
        "swift_object_name": "17",
        "content_type": "application/json",
        "size": 12,
        "etag": "abc",
        "processed_data_area_service": ["influxdb"],
    }
    assert entry["new_data"] == {"processed_data_area_service": ["influxdb", "sql"], "points": 3}
    assert (entry["swift_container"], entry["swift_id"]) == ("campus", "17")
    assert (entry["process_type"], entry["task_type"]) == ("default", "sensor_json")


def test_json_form():
    paris = timezone(timedelta(hours=2))
    document = {
        "_id": bson.ObjectId("5d004092adf80168fe79b55c"),
        "a": [NOW.astimezone(paris), b"\x00", math.inf, 1, None],
    }
    assert documents.to_json(document) == {
        "_id": "5d004092adf80168fe79b55c",
        "a": ["2021-07-22T11:01:22.123Z", "AA==", None, 1, None],
    }
    assert documents.to_json(new())["_id"] == "17"


def test_json_of_documents_that_are_not_the_lake_s_own():
    value = {"_id": 5, "a": [{"_id": 1.5, "t": datetime(2021, 7, 22, tzinfo=UTC)}], "n": math.nan}
    assert documents.to_json(value)["a"][0]["_id"] == "1.5"
    assert documents.to_json(value, ids=False) == {
        "_id": 5,
        "a": [{"_id": 1.5, "t": "2021-07-22T00:00:00.000Z"}],
        "n": None,
    }


def test_what_an_object_is_in_gold_is_what_its_newest_operations_say():
    first = {"operation": "1", "gold": {"sql": {"rows": 3}, "influxdb": {"points": 1}}}
    second = {"operation": "2", "gold": {"mongodb": {"documents": 1}, "influxdb": {"points": 2}}, "cleared": ["sql"]}
    other = {"operation": "3", "message": "nothing in it"}
    operations = {"successful_operations": [first, second, other]}
    assert documents.gold_places(operations) == {"influxdb": second, "mongodb": second}
    assert documents.gold_places({"successful_operations": [second, first]})["sql"] is first
    assert documents.gold_places({}) == {}


# -- changed ----------------------------------------------------------------------------------------------------------

KEYS = st.text("abc", min_size=1, max_size=2)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("xyz", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


def merge_patch(target, patch):
    """The algorithm as RFC 7396 writes it."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = merge_patch(target.get(name), value)
    return target


@given(OBJECTS, OBJECTS)
def test_other_data_is_merged_as_the_rfc_has_it(before, patch):
    wanted = merge_patch(before, patch)
    changed = documents.merged({"other_data": before}, {"other_data": patch})
    assert changed.get("other_data", before) == wanted
    assert documents.merged({"other_data": wanted}, {"other_data": patch}) == {}


def test_what_is_taken_away_has_its_default():
    document = {
        "application": "x",
        "data_processing": "custom",
        "other_data": {"a": 1},
        "processed_data_area_service": ["influxdb"],
    }
    assert documents.merged(document, dict.fromkeys(document)) == {
        "application": None,
        "data_processing": "default",
        "other_data": {},
        "processed_data_area_service": [],
    }


@pytest.mark.parametrize("field", ["content_type", "original_object_name", "swift_user", "swift_container"])
def test_what_has_to_be_there_cannot_be_taken_away(field):
    with pytest.raises(InvalidDocument, match="cannot be taken away"):
        documents.merged({field: "x"}, {field: None})
