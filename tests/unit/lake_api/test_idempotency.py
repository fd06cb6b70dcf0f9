# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Insertions that are sent again under the same key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from lake_api import idempotency
from lake_api.idempotency import key_of

OBJECTS = "/api/v1/containers/rooms/objects"
KEY = '"8e03978e-40d5-43e8-bc93-6894a57f9324"'
LARGE = b"y" * 5000  # streams


@pytest.fixture
def send(api, body_of):
    """send(content, path, key=, name=, application=, boundary=) -> answer."""

    def _send(*contents, path=OBJECTS, key=KEY, name="a.txt", application="x", boundary="mark"):
        parts = [("metadata", None, f'{{"application": "{application}"}}', "application/json")]
        parts += [("file", name, content, None) for content in contents]
        given = body_of(*parts, boundary=boundary)
        headers = {**given["headers"], **({"Idempotency-Key": key} if key else {})}
        return api.post(path, content=given["content"], headers=headers)

    return _send


@pytest.fixture
def keys(mongo):
    return mongo["upload"]["idempotency_keys"]


@pytest.mark.parametrize("content", [b"small", LARGE])
def test_the_same_again_inserts_nothing(api, send, documents, swift, content):
    first = send(content)
    assert first.status_code == 201 and "idempotency_key" not in first.json()
    again = send(content, boundary="another")  # as clients make a new one for each request
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert len(documents("rooms")) == len(swift.objects) == 1
    assert send(content, key='"other"').json()["swift_object_id"] != first.json()["swift_object_id"]


@pytest.mark.parametrize(
    "other",
    [
        {"contents": [b"other"]},
        {"name": "b.txt"},
        {"application": "y"},
        {"path": "/api/v1/containers/halls/objects"},
        {"path": f"{OBJECTS}/bulk"},
    ],
)
def test_another_request_under_the_key(send, error_of, documents, other):
    assert send(b"small").status_code == 201
    contents = other.pop("contents", [b"small"])
    assert "for one insertion" in error_of(send(*contents, **other), 422, "idempotency_key_reused")
    assert len(documents("rooms")) == 1 and documents("halls") == []


def test_keys_are_a_users_and_a_projects_own(api, send, keystone):
    first = send(b"small").json()
    keystone.give("other-project", project="p2")
    keystone.give("other-user")
    keystone.tokens["other-user"]["user"] = {"id": "u2", "name": "bob"}
    for token in ("other-project", "other-user"):
        api.headers["X-Auth-Token"] = token
        answer = send(b"other")
        assert answer.status_code == 201 and answer.json()["swift_object_id"] != first["swift_object_id"]


def test_failed_insertion_frees_the_key(send, swift, keys, error_of):
    assert send(b"first").status_code == 201
    keys.delete_many({})
    swift.answers = [403]
    error_of(send(b"small", key='"k"'), 403)
    assert keys.count_documents({}) == 0
    assert send(b"small", key='"k"').status_code == 201


def test_while_the_first_is_under_way(send, keys, error_of):
    assert send(b"small").status_code == 201
    keys.update_many({}, {"$unset": {"answer": "", "fingerprint": ""}})
    answer = send(b"small")
    error_of(answer, 409, "idempotency_key_in_use")
    assert 1 <= int(answer.headers["retry-after"]) <= 5


def die(keys, **more):
    """As if the API had died before it kept the answer."""
    now = datetime.now(UTC)
    update = {"$unset": {"answer": "", "fingerprint": ""}, "$set": {"lease": now - timedelta(seconds=1), **more}}
    keys.update_many({}, update)


def test_api_died_after_the_object_was_stored(send, keys, documents, swift):
    first = send(b"small").json()
    die(keys)
    again = send(b"small")
    assert again.status_code == 201 and again.json()["swift_object_id"] == first["swift_object_id"]
    assert again.headers["location"] == f"{OBJECTS}/1" and len(swift.objects) == 1
    assert send(b"small").json() == again.json()


def test_api_died_before_the_document_was_marked(send, keys, mongo, swift):
    first = send(b"small").json()
    mongo["swift"]["rooms"].update_many({}, {"$set": {"status": "pending", "etag": None, "size": 0}})
    die(keys)
    again = send(b"small").json()
    assert (again["swift_object_id"], again["status"], again["size"]) == (first["swift_object_id"], "stored", 5)
    assert mongo["swift"]["rooms"].find_one()["status"] == "stored"


def test_api_died_before_the_object_was_stored(send, keys, mongo, swift):
    first = send(b"small").json()
    mongo["swift"]["rooms"].update_many({}, {"$set": {"status": "pending"}})
    swift.objects.clear()
    die(keys)
    again = send(b"small").json()
    assert again["swift_object_id"] != first["swift_object_id"]
    assert [document["swift_object_id"] for document in mongo["swift"]["rooms"].find()] == [again["swift_object_id"]]
    assert len(swift.objects) == 1


def test_another_request_after_the_api_died(send, keys, error_of, swift):
    send(b"small")
    die(keys)
    error_of(send(b"other"), 422, "idempotency_key_reused")
    assert len(swift.objects) == 1


def test_key_is_free_after_its_time(send, keys):
    first = send(b"small").json()
    keys.update_many({}, {"$set": {"expires": datetime.now(UTC) - timedelta(seconds=1)}})
    assert send(b"small").json()["swift_object_id"] != first["swift_object_id"]


def test_many(send, swift, documents):
    contents = [b"1", LARGE, b"3"]
    first = send(*contents, path=f"{OBJECTS}/bulk")
    assert first.status_code == 201
    assert send(*contents, path=f"{OBJECTS}/bulk", boundary="b").json() == first.json()
    assert len(swift.objects) == len(documents("rooms")) == 3


def test_many_of_which_some_are_refused_are_answered_so_again(send, swift):
    swift.answers_to = {"/v1/AUTH_p1/rooms/2": 403}
    first = send(b"1", b"2", b"3", path=f"{OBJECTS}/bulk")
    swift.answers_to = {}
    again = send(b"1", b"2", b"3", path=f"{OBJECTS}/bulk")
    assert first.status_code == again.status_code == 207 and first.json() == again.json()
    assert len(swift.objects) == 2


def test_many_after_the_api_died_among_them(send, keys, mongo, swift):
    """What is in stays; of what is not the client is told, and nothing is inserted twice."""
    send(b"1", b"2", b"3", path=f"{OBJECTS}/bulk")
    mongo["swift"]["rooms"].update_one({"_id": 2}, {"$set": {"status": "pending"}})
    [path] = [path for path in swift.objects if path.endswith("/2")]
    del swift.objects[path]
    die(keys)
    again = send(b"1", b"2", b"3", path=f"{OBJECTS}/bulk")
    assert again.status_code == 207
    assert [item["status"] for item in again.json()["items"]] == [201, 409, 201]
    assert again.json()["items"][1]["error"]["code"] == "cut_off" and len(swift.objects) == 2


def test_form_that_is_cut_off_frees_the_key(api, body_of, send, keys, error_of):
    given = body_of(("file", "a", b"x", None))
    headers = {**given["headers"], "Idempotency-Key": KEY}
    error_of(api.post(OBJECTS, content=given["content"][:-10], headers=headers), 400, "incomplete_body")
    assert keys.count_documents({}) == 0


@pytest.mark.parametrize(("header", "key"), [('"a b"', "a b"), ("abc-1", "abc-1"), (None, None), (' "x" ', "x")])
def test_keys(header, key):
    assert key_of(header) == key


@pytest.mark.parametrize("header", ["", '""', "a b", '"a', "é", "x" * 256, "a,b"])
def test_bad_keys(send, error_of, header):
    with pytest.raises(idempotency.ApiError):
        key_of(header)
