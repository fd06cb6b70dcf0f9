# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Search, zips of objects, storage used and quotas."""

from __future__ import annotations

import io
import json
import zipfile

import httpx
import pytest
from hypothesis import given as some
from hypothesis import strategies as st
from lake_api import archives
from lake_api.app import create_app
from lake_api.archives import NAME_BYTES, Names
from lake_api.routes.search import Facet
from neocampus_lake.catalogue import FACETS
from starlette.testclient import TestClient

SEARCH = "/api/v1/search"
OBJECTS = "/api/v1/containers/rooms/objects"
ARCHIVE = f"{OBJECTS}/archive"


@pytest.fixture
def objects(insert):
    insert("rooms", "Température_U4.csv", b"a,b\n1,2\n", {"application": "Étude", "other_data": {"room": 302}})
    insert("rooms", "photo.png", b"\x89PNG\r\n\x1a\n", {"other_data": {"note": "vue de la salle 302", "room": 5}})
    insert("halls", "notes.txt", b"text", {"application": "comfort", "other_data": {"deep": [{"who": "Zoé"}]}})


def ids(answer):
    assert answer.status_code == 200, answer.text
    return [item["swift_object_id"] for item in answer.json()["items"]]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "321"),
        ({"order": "oldest"}, "123"),
        ({"text": "temperature u4"}, "1"),
        ({"text": "U4/temperature"}, "1"),
        ({"text": "TEMPÉR*"}, "1"),
        ({"text": "tempér"}, ""),
        ({"text": "etude"}, "1"),
        ({"text": "302"}, "2"),
        ({"text": "zoe"}, "3"),
        ({"text": "csv text"}, "1"),
        ({"text": "png image"}, "2"),
        ({"container": "halls"}, "3"),
        ({"container": ["halls", "rooms"], "text": "p*"}, "321"),
        ({"where": "other_data.room:eq:302"}, "1"),
        ({"where": ["other_data.room:gt:4", "other_data.room:lt:6"]}, "2"),
        ({"where": "size:lt:5"}, "3"),
        ({"where": "creation_date:lt:2000-01-01"}, ""),
        ({"where": "creation_date:gt:2000-01-01"}, "321"),
        ({"where": "other_data.deep.who:eq:Zoé"}, "3"),
        ({"where": "other_data.room:null:true"}, "3"),
        ({"application": "comfort"}, "3"),
        ({"content_type": "image/*"}, "2"),
    ],
)
def test_search(api, objects, given, found):
    if given.get("text") == "p*":
        found = "32"  # plain, photo and png
    assert "".join(ids(api.get(SEARCH, params=given))) == found
    lists = {key: [given[key]] for key in ("where", "container") if isinstance(given.get(key), str)}
    body = {**given, **lists}
    assert "".join(ids(api.post(SEARCH, json=body))) == found


def test_search_page_by_page(api, objects):
    found, cursor = [], None
    while True:
        answer = api.get(SEARCH, params={"limit": 1, **({"cursor": cursor} if cursor else {})})
        found += ids(answer)
        cursor = answer.json()["next"]
        if cursor is None:
            break
    assert found == ["3", "2", "1"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"text": "..."}, "no word"),
        ({"text": "a b c d e f g h i j k"}, "10 can be"),
        ({"where": "nothing"}, "is no condition"),
        ({"where": "search:eq:x"}, "is no field to look for"),
        ({"where": "creation_date:lt:never"}, "ISO 8601"),
        ({"facets": "secret"}, "facets"),
        ({"fields": "search"}, "is no field"),
        ({"cursor": "x"}, "cursor"),
    ],
)
def test_bad_searches(api, objects, error_of, given, says):
    assert says in error_of(api.get(SEARCH, params=given), 400)


def test_search_sees_the_own_project_only(api, objects, keystone, error_of):
    api.headers["X-Auth-Token"] = keystone.give("foreign", project="p2")
    assert api.get(SEARCH, params={"text": "u4"}).json() == {"items": [], "next": None, "facets": None}
    error_of(api.get(SEARCH, params={"container": "rooms"}), 404, "not_found")


def test_words_follow_changes(api, objects):
    api.patch(f"{OBJECTS}/1", json={"application": "Humidité"})
    assert ids(api.get(SEARCH, params={"text": "humidite"})) == ["1"]
    assert ids(api.get(SEARCH, params={"text": "etude"})) == []
    api.delete(f"{OBJECTS}/1")
    assert ids(api.get(SEARCH, params={"text": "humidite"})) == []


def test_every_facet_can_be_asked_for():
    assert set(Facet.__args__) == set(FACETS)


# -- zips -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(insert, monkeypatch):
    monkeypatch.setattr(archives, "PIECE", 64)
    contents = [("a.csv", b"1" * 15_000), ("A.csv", b"2"), ("../../etc/passwd", b""), ("b.jpg", bytes(range(256)) * 50)]
    for name, content in contents:
        assert insert("rooms", name, content, {}).status_code == 201
    return contents


def test_archive(api, files):
    answer = api.post(ARCHIVE, json={"metadata": True})
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''rooms.zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.csv", "A-2.csv", "passwd", "b.jpg", "metadata.json"]
        for name, (_, content) in zip(archive.namelist(), files, strict=False):
            assert archive.read(name) == content
        listed = json.loads(archive.read("metadata.json"))
    assert [(one["archive_name"], one["swift_object_id"]) for one in listed][1] == ("A-2.csv", "2")
    assert listed[0] == {"archive_name": "a.csv", **api.get(f"{OBJECTS}/1").json()}


def names_in(answer):
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return archive.namelist()


def test_archive_of_some(api, files, error_of):
    assert names_in(api.post(ARCHIVE, json={"ids": ["4", "2", "2"]})) == ["A.csv", "b.jpg"]
    assert names_in(api.post(ARCHIVE, json={"name": "b.*"})) == ["b.jpg"]
    assert names_in(api.post(ARCHIVE, json={"name": "nothing"})) == []
    assert "99" in error_of(api.post(ARCHIVE, json={"ids": ["1", "99"]}), 404, "not_found")
    error_of(api.post(ARCHIVE, json={"ids": ["x"]}), 400, "invalid_name")
    error_of(api.post(ARCHIVE, json={"nothing": 1}), 400)


def test_archive_of_nothing_has_an_empty_list(api, files):
    answer = api.post(ARCHIVE, json={"name": "nothing", "metadata": True})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert json.loads(archive.read("metadata.json")) == []


def test_member_that_fails_leaves_no_archive(api, files, swift, chosen, connect, error_of):
    """The server breaks the connection where the application raises; what was sent by then is no archive."""
    first, *_, last = sorted(swift.objects)
    kept = swift.objects.pop(last)
    sent = api.post(ARCHIVE, json={})
    assert sent.status_code == 200 and not zipfile.is_zipfile(io.BytesIO(sent.content))
    with TestClient(create_app(chosen, connect)) as strict:
        strict.headers["X-Auth-Token"] = "good"
        with pytest.raises(RuntimeError, match="response already started"):
            strict.post(ARCHIVE, json={})
    swift.objects[last] = kept
    del swift.objects[first]
    error_of(api.post(ARCHIVE, json={}), 404, "not_found")  # nothing was sent yet: it can be told


def test_archive_has_an_end(api, files, chosen, error_of, monkeypatch):
    monkeypatch.setitem(chosen.limits.__dict__, "archive_objects", 3)
    error_of(api.post(ARCHIVE, json={}), 413, "too_many_objects")


@some(st.lists(st.text(max_size=60) | st.sampled_from(["a.csv", "A.csv", "con.txt", "..", "a/b", "metadata.json"])))
def test_names_are_safe_and_each_is_there_once(given):
    names = Names("metadata.json")
    made = [names.name(name, str(number)) for number, name in enumerate(given, 1)]
    folded = [name.casefold() for name in (*made, "metadata.json")]
    assert len(set(folded)) == len(folded)
    for name in made:
        assert name.strip(". ") and not set(name) & set('/\\:*?"<>|\x00\n')
        assert len(name.encode()) <= NAME_BYTES + 40 and name.partition(".")[0].lower() not in ("con", "nul")


# -- usage and quotas -------------------------------------------------------------------------------------------------


def test_usage(api, objects, keystone):
    first = api.get("/api/v1/usage", params={"limit": 1}).json()
    assert (first["objects"], first["bytes"]) == (3, 20)
    assert first["quota"] == {"bytes": None, "objects": None}
    assert first["items"] == [{"container": "halls", "objects": 1, "bytes": 4}]
    rest = api.get("/api/v1/usage", params={"limit": 1, "cursor": first["next"]}).json()
    assert rest["items"] == [{"container": "rooms", "objects": 2, "bytes": 16}] and rest["next"] is None
    api.headers["X-Auth-Token"] = keystone.give("foreign", project="p2")
    other = api.get("/api/v1/usage").json()
    assert (other["objects"], other["items"]) == (0, [])


def test_usage_by_content_type(api, objects):
    found = api.get("/api/v1/usage/content-types").json()["items"]
    assert {item["content_type"]: (item["objects"], item["bytes"]) for item in found} == {
        "text/csv": (1, 8),
        "image/png": (1, 8),
        "text/plain": (1, 4),
    }
    assert len(api.get("/api/v1/usage/content-types", params={"container": "halls"}).json()["items"]) == 1


def test_quota_of_a_container(api, objects, keystone, error_of):
    path = "/api/v1/containers/rooms/quota"
    error_of(api.put(path, json={"bytes": 10}), 403, "forbidden")
    api.headers["X-Auth-Token"] = keystone.give("administrator", roles=("admin",))
    assert api.put(path, json={"bytes": 10}).json() == {"bytes": 10, "objects": None}
    assert api.get(path).json() == {"bytes": 10, "objects": None}
    assert api.put(path, json={"bytes": None, "objects": 3}).json() == {"bytes": None, "objects": 3}
    error_of(api.put(path, json={"bytes": -1}), 400)
    error_of(api.put("/api/v1/containers/none/quota", json={}), 404, "not_found")


def test_quota_of_a_project(api, objects, swift, keystone, error_of):
    path = "/api/v1/admin/projects/p1/quota"
    error_of(api.put(path, json={"bytes": 10}), 403, "forbidden")
    api.headers["X-Auth-Token"] = keystone.give("administrator", roles=("admin",))
    error_of(api.put(path, json={"bytes": 10}), 403, "forbidden")
    swift.reseller = True
    assert api.put(path, json={"bytes": 10, "objects": 7}).json() == {"bytes": 10, "objects": 7}
    assert api.get("/api/v1/quota").json() == {"bytes": 10, "objects": 7}
    assert api.get("/api/v1/usage").json()["quota"]["objects"] == 7
    error_of(api.put("/api/v1/admin/projects/p.1/quota", json={}), 400)


@pytest.mark.parametrize("path", [OBJECTS, f"{OBJECTS}/bulk"])
def test_insertion_over_the_quota_leaves_nothing(api, objects, swift, documents, body_of, error_of, path):
    swift.answers = [httpx.Response(413, text="Upload exceeds quota.")]
    answer = api.post(path, **body_of(("file", "x", b"x", None)))
    if path.endswith("bulk"):
        [item] = answer.json()["items"]
        assert (item["status"], item["error"]["code"]) == (413, "quota_exceeded")
    else:
        assert "quota" in error_of(answer, 413, "quota_exceeded")
    assert len(documents("rooms")) == 2
