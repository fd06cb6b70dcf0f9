# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Metadata models: made, changed, withdrawn; named by inserts and demanded by containers; seen by whom."""

from __future__ import annotations

import json

import pytest
from lake_api.errors import ApiError

MODELS = "/api/v1/models"
ROOM = {
    "label": "room",
    "metadata": [
        {"name": "room", "type": "text", "required": True},
        {"name": "area", "type": "number", "minimum": 0, "unit": "m²"},
        {"name": "floor", "type": "integer", "default": 0},
    ],
}


@pytest.fixture
def made(api):
    answer = api.post(MODELS, json=ROOM)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture
def other(api, keystone):
    """Calls as a member of another project."""
    token = keystone.give("foreign", project="p2")
    return lambda verb, path, **more: api.request(verb, path, headers={"X-Auth-Token": token}, **more)


def test_make_and_read(api, made):
    assert (made["version"], made["status"], made["own"], made["visibility"]) == (1, "active", True, "confidential")
    assert made["created_by"] == "ada" and made["project"] == "name of p1"
    for path in ("room", made["id"], "room/versions/1", "room?version=1"):
        answer = api.get(f"{MODELS}/{path}")
        assert answer.json() == made and answer.headers["etag"] == '"1"'
    assert api.get(f"{MODELS}/room/versions").json()["items"] == [made]


def test_wrong_models(api, made, error_of):
    answer = api.post(
        MODELS, json={**ROOM, "label": "x", "metadata": [{"name": "a", "type": "string"}, {"type": "text"}]}
    )
    assert "metadata[0].type: one of text" in error_of(answer, 400, "invalid_model")
    assert [one["field"] for one in answer.json()["error"]["detail"]] == ["metadata[0].type", "metadata[1].name"]
    assert "another label" in error_of(api.post(MODELS, json=ROOM), 409, "conflict")
    error_of(api.get(f"{MODELS}/none"), 404, "not_found")
    error_of(api.get(f"{MODELS}/room/versions/2"), 404, "not_found")


def test_versions(api, made, error_of):
    assert api.put(f"{MODELS}/room", json=ROOM).json() == made  # nothing changed
    changed = {**ROOM, "description": "of a room", "metadata": ROOM["metadata"][:1]}
    second = api.put(f"{MODELS}/room", json=changed, headers={"If-Match": '"1"'}).json()
    assert (second["version"], second["id"], len(second["metadata"])) == (2, made["id"], 1)
    first = api.get(f"{MODELS}/room/versions/1").json()
    assert len(first["metadata"]) == 3 and first["description"] == ""
    page = api.get(f"{MODELS}/room/versions", params={"limit": 1}).json()
    assert [one["version"] for one in page["items"]] == [2]
    page = api.get(f"{MODELS}/room/versions", params={"limit": 1, "cursor": page["next"]}).json()
    assert [one["version"] for one in page["items"]] == [1] and page["next"] is None
    error_of(api.put(f"{MODELS}/room", json=ROOM, headers={"If-Match": '"1"'}), 412, "precondition_failed")
    error_of(api.put(f"{MODELS}/room", json=ROOM, headers={"If-Match": "one"}), 400)
    error_of(api.put(f"{MODELS}/none", json=ROOM), 404)


def test_lists(api, insert):
    for label, kinds in (("b", ["image/*"]), ("a", ["text/csv"]), ("c", [])):
        assert api.post(MODELS, json={**ROOM, "label": label, "content_types": kinds}).status_code == 201

    def labels(**given):
        return [one["label"] for one in api.get(MODELS, params=given).json()["items"]]

    assert labels() == ["a", "b", "c"]
    assert labels(content_type="image/png") == ["b", "c"] and labels(label="A") == ["a"]
    assert labels(own=False) == [] and labels(visibility="public") == [] and labels(status="active") == ["a", "b", "c"]
    first = api.get(MODELS, params={"limit": 2}).json()
    assert labels(limit=2, cursor=first["next"]) == ["c"]
    insert("rooms", "x", b"1")
    assert labels(container="rooms") == []
    api.put("/api/v1/containers/rooms/model", json={"model": "b"})
    assert labels(container="rooms") == ["b"] and labels(container="rooms", label="c") == []


def test_other_projects_see_public_ones_only(api, made, other, error_of):
    missing = error_of(other("GET", f"{MODELS}/none"), 404)
    for verb, path in (("GET", ""), ("GET", "/schema"), ("GET", "/versions"), ("GET", "/versions/1"), ("DELETE", "")):
        assert error_of(other(verb, f"{MODELS}/room{path}"), 404).replace("room", "none") == missing
    error_of(other("POST", f"{MODELS}/room/validate", json={"other_data": {}}), 404)
    assert other("GET", MODELS).json()["items"] == []
    assert other("POST", MODELS, json=ROOM).status_code == 201  # labels of others do not matter
    public = api.put(f"{MODELS}/room", json={**ROOM, "visibility": "public"}).json()
    seen = {one["own"]: one for one in other("GET", MODELS).json()["items"]}
    assert seen[False]["id"] == public["id"] and seen[False]["changed_by"] is None and seen[False]["project"] is None
    assert other("GET", f"{MODELS}/room").json()["id"] == seen[True]["id"]  # one's own is meant
    assert other("GET", f"{MODELS}/{public['id']}").json()["own"] is False
    error_of(other("PUT", f"{MODELS}/{public['id']}", json=ROOM), 403, "forbidden")
    error_of(other("DELETE", f"{MODELS}/{public['id']}"), 403, "forbidden")
    error_of(api.put(f"{MODELS}/room", json=ROOM), 409, "conflict")  # it stays public


def test_readers_only_read(api, made, keystone, error_of):
    api.headers["X-Auth-Token"] = keystone.give("reading", roles=("reader",))
    assert api.get(f"{MODELS}/room").status_code == 200
    assert api.post(f"{MODELS}/room/validate", json={"other_data": {"room": "1"}}).status_code == 200
    error_of(api.post(MODELS, json={**ROOM, "label": "b"}), 403)
    error_of(api.put(f"{MODELS}/room", json=ROOM), 403)
    error_of(api.delete(f"{MODELS}/room"), 403)
    error_of(api.put("/api/v1/containers/rooms/model", json={"model": "room"}), 403)


def test_schema_and_dry_run(api, made):
    answer = api.get(f"{MODELS}/room/schema")
    assert answer.headers["content-type"] == "application/schema+json" and answer.json()["required"] == ["room"]
    found = api.post(f"{MODELS}/room/validate", json={"other_data": {"area": -1}}).json()
    assert found["valid"] is False and {one["field"] for one in found["problems"]} == {"room", "area"}
    found = api.post(f"{MODELS}/room/validate", json={"other_data": {"room": "3"}, "content_type": "image/png"}).json()
    assert (found["valid"], found["other_data"]) == (True, {"floor": 0, "room": "3"})


def test_an_insert_names_a_model(api, made, insert, error_of, swift, documents):
    wrong = insert("rooms", "a.csv", b"a,b\n1,2\n", {"model": "room", "other_data": {"area": "x"}})
    assert "room: is required" in error_of(wrong, 400, "violates_model")
    detail = wrong.json()["error"]["detail"]
    assert detail["version"] == 1 and {one["field"] for one in detail["problems"]} == {"room", "area"}
    assert not swift.objects and documents("rooms") == []
    right = insert("rooms", "a.csv", b"a,b\n1,2\n", {"model": "room", "other_data": {"room": "302"}}).json()
    assert right["model"] == {"id": made["id"], "label": "room", "version": 1, "valid": True}
    assert right["other_data"] == {"room": "302", "floor": 0}
    assert "no model 'none'" in error_of(insert("rooms", "a", b"1", {"model": "none"}), 400, "invalid_request")
    error_of(insert("rooms", "a", b"1", {"model": {"label": "room", "version": 9}}), 400)
    assert "model" not in insert("rooms", "a", b"1").json()


def test_a_model_is_for_some_types(api, insert, error_of):
    api.post(MODELS, json={**ROOM, "content_types": ["image/*"]})
    answer = insert("rooms", "a.csv", b"a,b\n", {"model": "room", "other_data": {"room": "1"}})
    assert "is for image/*, but this is text/csv" in error_of(answer, 400, "violates_model")
    found = api.post(f"{MODELS}/room/validate", json={"other_data": {"room": "1"}, "content_type": "text/csv"}).json()
    assert found["valid"] is False and found["problems"][0]["field"] == "model"


def test_a_container_demands_a_model(api, made, insert, error_of):
    demand = "/api/v1/containers/rooms/model"
    error_of(api.put(demand, json={"model": "room"}), 404)
    insert("rooms", "x", b"1")
    error_of(api.get(demand), 404)
    error_of(api.put(demand, json={"model": "none"}), 400)
    set_ = api.put(demand, json={"model": "room"}).json()
    assert set_ == {"container": "rooms", "model": "room", "id": made["id"], "version": None, "enforced": True}
    assert api.get(demand).json() == set_
    error_of(insert("rooms", "x", b"1"), 400, "violates_model")
    error_of(insert("rooms", "x", b"1", {"other_data": {"room": 5}}), 400, "violates_model")
    assert insert("rooms", "x", b"1", {"other_data": {"room": "5"}}).json()["model"]["valid"] is True
    assert insert("rooms", "x", b"1", {"model": "room", "other_data": {"room": "5"}}).status_code == 201
    api.post(MODELS, json={**ROOM, "label": "easy", "metadata": [{"name": "a", "type": "text"}]})
    assert "demanded" in error_of(insert("rooms", "x", b"1", {"model": "easy"}), 400, "violates_model")
    assert api.delete(demand).status_code == 204 and insert("rooms", "x", b"1").status_code == 201
    error_of(api.delete(demand), 404)


def test_a_demand_that_is_not_enforced(api, made, insert, error_of):
    insert("rooms", "x", b"1")
    demand = "/api/v1/containers/rooms/model"
    api.put(
        demand,
        json={"model": "room", "enforced": {"image/*": True, "application/vnd.ms-excel": True, "text/csv": False}},
    )
    assert api.get(demand).json()["enforced"]["application/vnd.ms-excel"] is True
    loose = insert("rooms", "a.csv", b"a,b\n1,2\n", {"other_data": {"area": -1}}).json()
    assert loose["model"]["valid"] is False and [one["field"] for one in loose["model"]["problems"]]
    assert loose["other_data"] == {"area": -1}
    assert "model" not in insert("rooms", "a.json", b"{}").json()
    error_of(insert("rooms", "a.png", b"\x89PNG\r\n\x1a\n"), 400, "violates_model")
    error_of(api.put(demand, json={"model": "room", "enforced": {"image": True}}), 400)


def test_bulk(api, made, body_of):
    metadata = json.dumps([{"model": "room", "other_data": {"room": "1"}}, {"model": "room"}, {}, {"model": 5}])
    files = [("file", f"{n}.csv", b"a,b\n1,2\n", None) for n in range(4)]
    answer = api.post("/api/v1/containers/rooms/objects/bulk", **body_of(("metadata", None, metadata, None), *files))
    assert answer.status_code == 207
    items = answer.json()["items"]
    assert [one["status"] for one in items] == [201, 400, 201, 400]
    assert items[1]["error"]["code"] == "violates_model" and items[0]["object"]["model"]["label"] == "room"
    assert len(api.get("/api/v1/containers/rooms/objects").json()["items"]) == 2


def test_withdraw(api, made, insert, error_of):
    api.post(MODELS, json={**ROOM, "label": "unused"})
    assert api.delete(f"{MODELS}/unused").json() == {"label": "unused", "status": "removed"}
    error_of(api.get(f"{MODELS}/unused"), 404)
    insert("rooms", "x", b"1", {"model": "room", "other_data": {"room": "1"}})
    insert("strict", "x", b"1")
    api.put("/api/v1/containers/strict/model", json={"model": "room", "version": 1})
    assert api.delete(f"{MODELS}/room").json() == {"label": "room", "status": "withdrawn"}
    assert api.get(f"{MODELS}/room").json()["status"] == "withdrawn"
    answer = insert("rooms", "x", b"1", {"model": "room", "other_data": {"room": "1"}})
    assert "was withdrawn" in error_of(answer, 400)
    error_of(insert("strict", "x", b"1"), 400, "violates_model")  # what a container demands goes on
    assert insert("strict", "x", b"1", {"other_data": {"room": "1"}}).status_code == 201
    again = api.put(f"{MODELS}/room", json=ROOM).json()
    assert (again["status"], again["version"]) == ("active", 2)


def test_inserts_ask_no_further_question(api, made, insert, monkeypatch):
    insert("rooms", "x", b"1", {"model": "room", "other_data": {"room": "1"}})
    from neocampus_lake.model_store import ModelStore

    asked = []
    for name in ("use", "demanded"):
        monkeypatch.setattr(ModelStore, name, lambda *given, name=name: asked.append(name))
    insert("rooms", "x", b"1", {"model": "room", "other_data": {"room": "1"}})
    assert asked == []


def test_what_is_changed_later_still_follows_its_model(api, made, insert):
    models = api.app.app.state.lake.inserter.models
    right = insert("rooms", "x", b"1", {"model": "room", "other_data": {"room": "1"}}).json()
    bare = insert("rooms", "x", b"1").json()
    loose = {**right, "model": {**right["model"], "valid": False, "problems": []}}

    def still(document, fields):
        return api.portal.call(models.still, "p1", document, fields)

    assert still(right, {"other_data": {"room": "2"}}) == right["model"] == still(right, {"application": "x"})
    with pytest.raises(ApiError, match="room: is required"):
        still(right, {"other_data": {}})
    assert still(bare, {"other_data": {}}) is None
    kept = still(loose, {"other_data": {}})
    assert kept["valid"] is False and kept["problems"][0]["field"] == "room"
    assert still(loose, {"other_data": {"room": "1"}}) == right["model"]
