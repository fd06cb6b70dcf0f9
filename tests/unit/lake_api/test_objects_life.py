# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Metadata that is changed, objects that are deleted, and what is told of them afterwards."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from neocampus_lake.events import Event
from neocampus_lake.metadata import MetadataStore

CONTAINER = "/api/v1/containers/rooms"
OBJECTS = f"{CONTAINER}/objects"
PATCH = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture
def one(insert):
    metadata = {"application": "comfort", "other_data": {"room": 302, "deep": {"a": 1, "b": [1, 2]}}}
    return insert("rooms", "Salle Été.csv", b"a,b\n1,2\n", metadata).json()


@pytest.fixture
def patch(api):
    def _patch(fields, object_id="1", **headers):
        body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
        return api.patch(f"{OBJECTS}/{object_id}", content=body, headers={**PATCH, **headers})

    return _patch


# -- changed ----------------------------------------------------------------------------------------------------------


def test_patch_merges_and_is_kept_in_the_history(api, one, patch, mongo):
    answer = patch({"application": None, "other_data": {"deep": {"a": None, "c": True}, "room": 303}})
    assert answer.status_code == 200, answer.text
    changed = answer.json()
    assert changed["other_data"] == {"room": 303, "deep": {"b": [1, 2], "c": True}}
    assert changed["application"] is None and changed["last_modified"] > one["last_modified"]
    assert api.get(f"{OBJECTS}/1").json() == changed
    assert not {"search", "idempotency_key"} & set(changed)
    [entry] = api.get(f"{OBJECTS}/1/history").json()["items"]
    assert (entry["task_type"], entry["swift_id"], entry["new_data"]["user"]) == ("edit", "1", "ada")
    assert entry["old_data"]["other_data"]["room"] == 302 and entry["new_data"]["application"] is None
    assert mongo["stats"]["swift"].count_documents({"swift_id": "1"}) == 0  # nothing is processed unasked


def test_patch_that_changes_nothing_is_no_change(api, one, patch):
    before = api.get(f"{OBJECTS}/1").json()
    assert patch({"application": "comfort", "other_data": {"room": 302}}).json() == before
    assert api.get(f"{OBJECTS}/1/history").json()["items"] == []


def test_true_is_not_one(api, one, patch):
    assert patch({"other_data": {"deep": {"a": True}}}).json()["other_data"]["deep"]["a"] is True


def test_patch_asks_for_processing(api, one, patch, mongo):
    answer = api.patch(f"{OBJECTS}/1?process=true", json={"content_type": "text/plain"})
    assert answer.json()["content_type"] == "text/plain"
    [entry] = mongo["stats"]["swift"].find({"swift_id": "1"})
    assert entry["content_type"] == "text/plain" and entry["swift_container"] == "rooms"
    assert api.get(f"{OBJECTS}/1/data").headers["content-type"].startswith("text/plain")


def test_what_is_not_stored_is_not_processed(api, one, mongo, error_of):
    mongo["swift"]["rooms"].update_one({"_id": 1}, {"$set": {"status": "lost"}})
    error_of(api.patch(f"{OBJECTS}/1?process=true", json={"application": "x"}), 409, "not_stored")
    assert api.get(f"{OBJECTS}/1").json()["application"] == "comfort"


@pytest.mark.parametrize(
    ("fields", "status", "code", "says"),
    [
        ({"size": 3}, 400, "invalid_document", "'size' cannot be set"),
        ({"content_type": None}, 400, "invalid_document", "content_type: cannot be taken away"),
        ({"content_type": "nothing"}, 400, "invalid_document", "MIME"),
        ({"data_processing": "other"}, 400, "invalid_document", "neither default nor custom"),
        ({"swift_container": "halls"}, 400, "invalid_document", "stays there"),
        ({"other_data": {"template": {"measurement": "m"}}}, 400, "invalid_document", "template"),
        ([1], 400, "invalid_document", "object"),
        (b"{", 400, "invalid_metadata", "not JSON"),
        (b"[" * 100_000, 400, "invalid_metadata", "nested"),
        (b'{"application": "' + b"x" * 2_000_000 + b'"}', 413, "too_large", "at most"),
    ],
)
def test_bad_patches(api, one, patch, error_of, fields, status, code, says):
    assert says in error_of(patch(fields), status, code)
    assert api.get(f"{OBJECTS}/1/history").json()["items"] == []


def test_patch_of_another_type(api, one, patch, error_of):
    error_of(patch({}, **{"Content-Type": "text/plain"}), 415, "unsupported_media_type")


def test_if_match(api, one, patch, error_of):
    etag = api.get(f"{OBJECTS}/1").headers["etag"]
    first = patch({"application": "a"}, **{"If-Match": f'"other", {etag}'})
    assert first.status_code == 200 and first.headers["etag"] != etag
    assert "send the patch with its ETag" in error_of(patch({"application": "b"}, **{"If-Match": etag}), 412)
    assert patch({"application": "c"}, **{"If-Match": "*"}).status_code == 200
    now = api.get(f"{OBJECTS}/1", headers={"If-None-Match": "x"}).headers["etag"]
    assert api.get(f"{OBJECTS}/1", headers={"If-None-Match": f"W/{now}"}).status_code == 304


def test_two_patches_at_once_both_hold(api, one, patch, monkeypatch):
    """The second comes while the first is between reading and writing."""
    edit, nested = MetadataStore.edit, []

    def interrupted(self, *given, **named):
        if not nested:
            nested.append(1)
            assert patch({"other_data": {"second": 2}}).status_code == 200
        return edit(self, *given, **named)

    monkeypatch.setattr(MetadataStore, "edit", interrupted)
    assert patch({"other_data": {"first": 1}}).json()["other_data"] == {**one["other_data"], "first": 1, "second": 2}


def test_who_may_change_and_delete(api, one, patch, keystone, error_of):
    for roles, project, status in ((("reader",), "p1", 403), (("member",), "p2", 404)):
        api.headers["X-Auth-Token"] = keystone.give(f"{roles}{project}", project=project, roles=roles)
        for answer in (
            patch({"application": "x"}),
            api.delete(f"{OBJECTS}/1"),
            api.post(f"{OBJECTS}/delete", json={"ids": ["1"]}),
            api.delete(CONTAINER),
        ):
            error_of(answer, status)
    api.headers["X-Auth-Token"] = "good"
    assert api.get(f"{OBJECTS}/1").json()["status"] == "stored"


# -- deleted ----------------------------------------------------------------------------------------------------------


def test_delete(api, one, swift, patch, error_of):
    assert api.delete(f"{OBJECTS}/1").status_code == 204
    assert not swift.objects
    error_of(api.delete(f"{OBJECTS}/1"), 404, "not_found")
    error_of(patch({"application": "x"}), 404, "not_found")
    error_of(api.get(f"{OBJECTS}/1/data"), 404, "not_found")
    assert api.get(f"{OBJECTS}/1").json()["status"] == "deleted"
    assert api.get(OBJECTS).json()["items"] == []
    assert len(api.get(OBJECTS, params={"status": "deleted"}).json()["items"]) == 1
    [entry] = api.get(f"{OBJECTS}/1/history").json()["items"]
    assert (entry["task_type"], entry["new_data"]) == ("delete", {"status": "deleted", "user": "ada"})


def event(kind, timestamp):
    return Event(
        id=timestamp,
        account="AUTH_p1",
        user_id="u1",
        transaction_id="tx1",
        project_id="p1",
        container="rooms",
        object_name="1",
        user="ada",
        type=kind,
        timestamp=timestamp,
        content_type="text/csv" if kind == "put" else "",
        size=8 if kind == "put" else 0,
        etag="0" * 32 if kind == "put" else "",
    )


def test_late_events_of_a_deleted_object(api, one, mongo):
    """The event of the insertion does not bring it back; that of the deletion is still a removal to log."""
    api.delete(f"{OBJECTS}/1")
    metadata = MetadataStore(mongo)
    late = metadata.apply_events("rooms", [event("put", "1700000000.12345")])["1"]
    assert late.event is None and api.get(f"{OBJECTS}/1").json()["status"] == "deleted"
    gone = metadata.apply_events("rooms", [event("delete", "1700000001.00000")])["1"]
    assert gone.removal is not None
    again = metadata.apply_events("rooms", [event("put", "1700000002.00000")])["1"]
    assert again.event is not None and api.get(f"{OBJECTS}/1").json()["status"] == "stored"


def test_delete_of_a_large_object_takes_its_segments(api, one, swift):
    [stored] = swift.objects.values()
    stored["headers"] = {"x-static-large-object": "True"}
    asked = []
    call = swift._object

    async def seen(request, path):
        asked.append((request.method, request.url.query))
        return await call(request, path)

    swift._object = seen
    assert api.delete(f"{OBJECTS}/1").status_code == 204
    assert asked[-1] == ("DELETE", b"multipart-manifest=delete")


def test_delete_of_what_is_gone_already(api, one, swift):
    swift.objects.clear()
    assert api.delete(f"{OBJECTS}/1").status_code == 204
    assert api.get(f"{OBJECTS}/1").json()["status"] == "deleted"


def test_delete_of_what_is_on_its_way(api, one, swift, mongo, error_of):
    swift.objects.clear()
    mongo["swift"]["rooms"].update_one({"_id": 1}, {"$set": {"status": "pending"}})
    error_of(api.delete(f"{OBJECTS}/1"), 409, "not_stored")


def test_delete_while_swift_is_away(api, one, swift, error_of):
    swift.away = {"one.test", "two.test"}
    error_of(api.delete(f"{OBJECTS}/1"), 503, "service_unavailable")
    assert api.get(f"{OBJECTS}/1").json()["status"] == "stored"


def test_delete_many(api, insert, swift, error_of):
    for number in range(5):
        insert("rooms", f"{number}.txt", b"x")
    [path] = [path for path in swift.objects if path.endswith("/3")]
    swift.answers_to[path] = 403
    answer = api.post(f"{OBJECTS}/delete", json={"ids": ["5", "1", "99", "3", "1"]})
    assert answer.status_code == 207
    items = answer.json()["items"]
    assert [(item["swift_object_id"], item["status"]) for item in items] == [
        ("5", 204),
        ("1", 204),
        ("99", 404),
        ("3", 403),
    ]
    assert items[2]["error"]["code"] == "not_found"
    assert api.post(f"{OBJECTS}/delete", json={"ids": ["2", "4"]}).status_code == 200
    assert [item["swift_object_id"] for item in api.get(OBJECTS).json()["items"]] == ["3"]
    error_of(api.post(f"{OBJECTS}/delete", json={"ids": []}), 400)
    error_of(api.post(f"{OBJECTS}/delete", json={"ids": ["x"]}), 400, "invalid_name")


def test_delete_container(api, one, insert, error_of):
    assert "has objects" in error_of(api.delete(CONTAINER), 409, "container_not_empty")
    api.delete(f"{OBJECTS}/1")
    assert api.delete(CONTAINER).status_code == 204
    assert api.get("/api/v1/containers").json()["items"] == []
    for answer in (api.delete(CONTAINER), api.get(OBJECTS), api.get(f"{OBJECTS}/1")):
        error_of(answer, 404, "not_found")


def test_container_that_was_deleted_comes_back_for_its_project_only(api, one, insert, keystone, body_of):
    api.delete(f"{OBJECTS}/1")
    api.delete(CONTAINER)
    api.headers["X-Auth-Token"] = keystone.give("foreign", project="p2")
    assert api.post(OBJECTS, **body_of(("file", "theirs", b"x", None))).status_code == 201
    assert len(api.get(OBJECTS, params={"status": "any"}).json()["items"]) == 1
    api.headers["X-Auth-Token"] = "good"
    answer = insert("rooms", "new", b"x")
    assert answer.status_code == 201, answer.text
    assert [item["status"] for item in api.get(OBJECTS, params={"status": "any"}).json()["items"]] == [
        "deleted",
        "stored",
    ]


# -- told -------------------------------------------------------------------------------------------------------------


def test_operations_page_by_page(api, one, mongo):
    def logged(day, instance):
        when = datetime(2026, 1, day, tzinfo=UTC)
        return {"execution_date": when, "dag_id": "new_input", "operation_instance": instance, "pipeline": "p"}

    mongo["swift"]["rooms"].update_one(
        {"_id": 1},
        {
            "$set": {
                "successful_operations": [logged(2, "b"), logged(4, "d")],
                "failed_operations": [logged(1, "a"), logged(3, "c")],
            }
        },
    )
    found, cursor = [], None
    while True:
        given = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        answer = api.get(f"{OBJECTS}/1/operations", params=given).json()
        found += [(item["operation_instance"], item["outcome"]) for item in answer["items"]]
        cursor = answer["next"]
        if cursor is None:
            break
    assert found == [("a", "failed"), ("b", "successful"), ("c", "failed"), ("d", "successful")]


def test_history_page_by_page(api, one, patch):
    for number in range(5):
        patch({"application": f"try {number}"})
    first = api.get(f"{OBJECTS}/1/history", params={"limit": 3}).json()
    rest = api.get(f"{OBJECTS}/1/history", params={"limit": 3, "cursor": first["next"]}).json()
    told = [entry["new_data"]["application"] for entry in first["items"] + rest["items"]]
    assert told == [f"try {number}" for number in range(5)] and rest["next"] is None


# -- listed -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def many(insert, mongo):
    for number in range(1, 7):
        metadata = {"application": "a" if number % 2 else "b", "other_data": {"n": number}}
        insert("rooms", f"File_{number}.csv", b"x", metadata)
    done = {"execution_date": datetime(2026, 1, 1, tzinfo=UTC), "dag_id": "d", "operation_instance": "i"}
    documents = mongo["swift"]["rooms"]
    documents.update_one({"_id": 1}, {"$set": {"successful_operations": [done]}})
    documents.update_one({"_id": 2}, {"$set": {"failed_operations": [done], "status": "lost", "swift_user": "bob"}})
    documents.update_one({"_id": 3}, {"$set": {"status": "deleted", "data_processing": "custom"}})


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ({}, "12456"),
        ({"order": "newest"}, "65421"),
        ({"application": "a"}, "15"),
        ({"user": "bob"}, "2"),
        ({"name": "file_4"}, "4"),
        ({"name": "File_*"}, "12456"),
        ({"name": "file_*"}, ""),
        ({"name": ".c"}, "12456"),
        ({"status": "deleted"}, "3"),
        ({"status": "any"}, "123456"),
        ({"status": "lost"}, "2"),
        ({"data_processing": "custom", "status": "any"}, "3"),
        ({"processing": "waiting"}, "456"),
    ],
)
def test_list_filters(api, many, given, ids):
    found, cursor = "", None
    while True:
        answer = api.get(OBJECTS, params={**given, "limit": 2, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        found += "".join(item["swift_object_id"] for item in answer.json()["items"])
        cursor = answer.json()["next"]
        if cursor is None:
            break
    assert found == ids


def test_list_of_some_fields(api, many, error_of):
    [item, *_] = api.get(OBJECTS, params={"fields": "application, other_data.n,other_data"}).json()["items"]
    assert set(item) == {"_id", "swift_object_id", "application", "other_data"}
    for wrong in ("search", "idempotency_key", "$where", "other_data.$n", "other_data..n", "secret"):
        assert "is no field" in error_of(api.get(OBJECTS, params={"fields": wrong}), 400, "invalid_request")


def test_cursor_of_another_order(api, many, error_of):
    cursor = api.get(OBJECTS, params={"limit": 1}).json()["next"]
    error_of(api.get(OBJECTS, params={"limit": 1, "cursor": cursor, "order": "newest"}), 400, "invalid_cursor")
