# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Documents, data, lists, time series, isolation, and everything that answers errors."""

from __future__ import annotations

import json
import logging

import pytest
from neocampus_lake.errors import StoreError

OBJECTS = "/api/v1/containers/rooms/objects"
SERIES = "/api/v1/containers/rooms/timeseries"


@pytest.fixture
def three(insert):
    return [
        insert("rooms", name, content).json()
        for name, content in (("a.json", b"[1]"), ("b.csv", b"a,b\n1,2\n"), ("c.json", b"[2]"))
    ]


def test_document(api, three):
    found = api.get(f"{OBJECTS}/2").json()
    assert found == {**three[1], "last_modified": found["last_modified"]}


def ids(answer):
    assert answer.status_code == 200, answer.text
    return [item["swift_object_id"] for item in answer.json()["items"]]


def test_list_page_by_page(api, three):
    first = api.get(OBJECTS, params={"limit": 2})
    assert ids(first) == ["1", "2"]
    second = api.get(OBJECTS, params={"limit": 2, "cursor": first.json()["next"]})
    assert ids(second) == ["3"] and second.json()["next"] is None
    assert api.get(OBJECTS, params={"limit": 3}).json()["next"] is None


def test_list_filters(api, three, mongo):
    assert ids(api.get(OBJECTS, params={"content_type": "application/json"})) == ["1", "3"]
    from datetime import UTC, datetime

    mongo["swift"]["rooms"].update_one({"_id": 1}, {"$set": {"creation_date": datetime(2020, 1, 1, tzinfo=UTC)}})
    assert ids(api.get(OBJECTS, params={"to": "2020-01-01T00:00:00.001Z"})) == ["1"]
    assert ids(api.get(OBJECTS, params={"from": "2020-01-01T01:00:00+01:00", "to": "2020-01-02"})) == ["1"]
    assert ids(api.get(f"{OBJECTS}?from=2020-01-01T01:00:00+01:00&to=2020-01-02")) == ["1"]  # + not escaped
    assert ids(api.get(OBJECTS, params={"from": "2020-01-01T00:00:00.001"})) == ["2", "3"]


@pytest.mark.parametrize(
    ("params", "code", "says"),
    [
        ({"from": "yesterday"}, "invalid_request", "'from': 'yesterday' is not a time"),
        ({"to": "2021-13-01"}, "invalid_request", "'to'"),
        ({"from": "2021-02-01", "to": "2021-01-01"}, "invalid_request", "'from' is later than 'to'"),
        ({"limit": "many"}, "invalid_request", "'limit'"),
        ({"limit": "0"}, "invalid_request", "'limit'"),
        ({"limit": "1001"}, "invalid_request", "'limit'"),
        ({"cursor": "x"}, "invalid_cursor", "'next' of the page before"),
        ({"cursor": "é"}, "invalid_cursor", "'next' of the page before"),
        ({"cursor": "WyJhIiwxXQ"}, "invalid_cursor", "'next' of the page before"),
        ({"form": "2021-01-01"}, "invalid_request", "'form': is not known here"),
    ],
)
def test_bad_queries(api, three, error_of, params, code, says):
    assert says in error_of(api.get(OBJECTS, params=params), 400, code)
    if "limit" not in params:
        error_of(api.get(f"{SERIES}/points", params={"measurement": "m", **params}), 400, code)


def test_cursor_of_another_query(api, three, error_of):
    cursor = api.get(OBJECTS, params={"limit": 1}).json()["next"]
    error_of(api.get(OBJECTS, params={"limit": 1, "cursor": cursor, "content_type": "text/csv"}), 400, "invalid_cursor")


def test_unknown_ids(api, three, error_of):
    assert OBJECTS in error_of(api.get(f"{OBJECTS}/999999999"), 404, "not_found")
    error_of(api.get(f"{OBJECTS}/999999999/data"), 404, "not_found")
    assert "decimal" in error_of(api.get(f"{OBJECTS}/abc"), 400, "invalid_name")
    error_of(api.get(f"{OBJECTS}/99999999999999999999"), 400, "invalid_name")


def test_data(api, three):
    answer = api.get(f"{OBJECTS}/2/data")
    assert answer.content == b"a,b\n1,2\n" and answer.headers["content-type"] == "text/csv"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''b.csv"
    assert answer.headers["content-length"] == "8" and "sandbox" in answer.headers["content-security-policy"]
    head = api.head(f"{OBJECTS}/2/data")
    assert head.status_code == 200 and head.content == b"" and head.headers["content-length"] == "8"


def test_data_ranges_and_conditions(api, three, error_of):
    part = api.get(f"{OBJECTS}/2/data", headers={"Range": "bytes=2-3"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"b\n", "bytes 2-3/8")
    assert api.get(f"{OBJECTS}/2/data", headers={"If-None-Match": "x"}).status_code == 304
    answer = api.get(f"{OBJECTS}/2/data", headers={"Range": "bytes=100-200"})
    assert "8 bytes" in error_of(answer, 416, "bad_range") and answer.headers["content-range"] == "bytes */8"


def test_data_that_is_not_in_swift(api, three, swift, mongo, error_of):
    swift.objects.clear()
    error_of(api.get(f"{OBJECTS}/2/data"), 404, "not_found")
    mongo["swift"]["rooms"].update_one({"_id": 2}, {"$set": {"status": "pending"}})
    error_of(api.get(f"{OBJECTS}/2/data"), 404, "not_stored")
    swift.away = {"one.test", "two.test"}
    error_of(api.get(f"{OBJECTS}/2/data"), 503, "service_unavailable")


def test_other_projects_see_nothing(api, three, keystone, error_of, influx, swift):
    influx.add("rooms", "lux", "u4", "2021-07-22T10:00:00Z", 1.0)
    mine = {path: error_of(api.get(path.replace("rooms", "none")), 404) for path in (OBJECTS, f"{SERIES}/measurements")}
    api.headers["X-Auth-Token"] = keystone.give("foreign", project="p2")
    series = [f"{SERIES}/{path}" for path in ("measurements", "topics?measurement=lux", "points?measurement=lux")]
    for path in (OBJECTS, f"{OBJECTS}/1", f"{OBJECTS}/1/data", *series):
        message = error_of(api.get(path), 404, "not_found")
        assert path not in mine or message == mine[path].replace("none", "rooms")  # the same as for what is nowhere
    assert api.get("/api/v1/containers").json() == {"items": [], "next": None}
    assert not any("AUTH_p2" in path for _, _, path in swift.requests)


def test_two_projects_with_containers_of_one_name(api, three, keystone, body_of):
    api.headers["X-Auth-Token"] = keystone.give("foreign", project="p2")
    answer = api.post(OBJECTS, **body_of(("file", "theirs", b"x", None)))
    assert answer.status_code == 201
    assert ids(api.get(OBJECTS)) == [answer.json()["swift_object_id"]]
    api.headers["X-Auth-Token"] = "good"
    assert ids(api.get(OBJECTS)) == ["1", "2", "3"]


def test_containers(api, insert):
    for name in ("b", "a", "c"):
        insert(name, "x", b"1")
    first = api.get("/api/v1/containers", params={"limit": 2}).json()
    assert first["items"] == ["a", "b"]
    assert api.get("/api/v1/containers", params={"cursor": first["next"]}).json() == {"items": ["c"], "next": None}


@pytest.fixture
def points(insert, influx):
    insert("rooms", "x", b"1")
    for minute in range(5):
        for topic in ("u4/1/lux", "u4/2/lux", "u4/3/lux"):
            influx.add("rooms", "lux", topic, f"2021-07-22T10:0{minute}:00Z", float(minute))
    influx.add("rooms", "%", "u4/1/humidity", "2021-07-22T10:00:00Z", 40.0)


def pages(api, path, **params):
    found, cursor = [], None
    while True:
        answer = api.get(path, params={**params, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["items"])
        cursor = answer.json()["next"]
        if cursor is None:
            return found


def test_series(api, points):
    assert api.get(f"{SERIES}/measurements").json() == {"items": ["%", "lux"], "next": None}
    assert pages(api, f"{SERIES}/topics", measurement="lux", limit=2) == [["u4/1/lux", "u4/2/lux"], ["u4/3/lux"]]
    [found] = pages(
        api,
        f"{SERIES}/points",
        measurement="lux",
        topic="u4/2/lux",
        **{"from": "2021-07-22T10:01:00Z", "to": "2021-07-22T10:03:00Z"},
    )
    assert found == [{"time": f"2021-07-22T10:0{m}:00Z", "value": float(m), "topic": "u4/2/lux"} for m in (1, 2)]


def test_points_say_where_they_come_from_when_asked(api, points):
    query = {"measurement": "%", "origin": "true"}
    [point] = api.get(f"{SERIES}/points", params=query).json()["items"]
    assert point["lake_origin"] == {"object": "1", "operation": "ab12"}


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 14, 15, 100])
def test_points_page_by_page_each_once(api, points, limit):
    found = pages(api, f"{SERIES}/points", measurement="lux", limit=limit)
    assert all(len(page) <= limit for page in found) and all(found)
    flat = [(point["time"], point["topic"]) for page in found for point in page]
    assert len(flat) == 15 and len(set(flat)) == 15 and flat == sorted(flat)


def test_series_of_nothing_processed_are_empty(api, insert):
    insert("rooms", "x", b"1")
    assert api.get(f"{SERIES}/measurements").json() == {"items": [], "next": None}
    assert api.get(f"{SERIES}/points", params={"measurement": "lux"}).json() == {"items": [], "next": None}


def test_series_need_a_measurement(api, insert, error_of):
    insert("rooms", "x", b"1")
    assert "'measurement': is required" in error_of(api.get(f"{SERIES}/topics"), 400)
    assert "'measurement': is required" in error_of(api.get(f"{SERIES}/points"), 400)


def test_influxdb_away(api, insert, influx, error_of):
    insert("rooms", "x", b"1")
    influx.error = StoreError("InfluxDB did not answer")
    assert "InfluxDB" in error_of(api.get(f"{SERIES}/measurements"), 503, "service_unavailable")
    influx.error = StoreError("InfluxDB answered 403", status=403)  # nothing was written yet, so nobody was let in
    assert api.get(f"{SERIES}/measurements").json()["items"] == []


def test_unknown_paths_and_methods(api, error_of):
    error_of(api.get("/nothing"), 404, "not_found")
    answer = api.delete(OBJECTS)
    error_of(answer, 405, "method_not_allowed")
    assert answer.headers["allow"]


def test_unforeseen_failure(api, error_of, monkeypatch, caplog):
    from neocampus_lake.metadata import MetadataStore

    def broken(*_, **__):
        raise ZeroDivisionError("inside")

    monkeypatch.setattr(MetadataStore, "containers", broken)
    answer = api.get("/api/v1/containers")
    error_of(answer, 500, "internal_error")
    assert "inside" not in answer.text


def test_openapi(api):
    document = api.get("/api/v1/openapi.json", headers={"X-Auth-Token": ""}).json()
    assert document["openapi"].startswith("3.")
    assert "/api/v1/containers/{container}/objects/{object_id}/data" in document["paths"]
    assert "HTTPValidationError" not in json.dumps(document)
    upload = document["paths"]["/api/v1/containers/{container}/objects"]["post"]
    assert "multipart/form-data" in upload["requestBody"]["content"] and upload["security"] == [{"token": ["writer"]}]
    names = {p["name"] for p in document["paths"]["/api/v1/containers/{container}/objects"]["get"]["parameters"]}
    assert {"content_type", "from", "to", "limit", "cursor"} <= names


def test_docs_need_no_other_host(api):
    page = api.get("/api/v1/docs")
    assert page.status_code == 200 and "http" not in page.text.replace("<!doctype html>", "").replace("http-equiv", "")
    for path in ("/docs.js", "/swagger-ui.css", "/swagger-ui-bundle.js"):
        assert api.get(f"/api/v1/docs{path}").status_code == 200


def test_health(api, swift, keystone):
    assert api.get("/health/live").json() == {"status": "ok"}


def test_request_log_has_no_secrets(api, insert, caplog):
    with caplog.at_level(logging.INFO, "lake_api.access"):
        insert("rooms", "x", b"1")
        api.post("/api/v1/auth/token", json={"username": "ada", "password": "right", "project": "demo"})
    from lake_api.observe import JsonFormatter

    lines = [
        json.loads(JsonFormatter().format(record)) for record in caplog.records if record.name == "lake_api.access"
    ]
    assert (
        lines[0]["status"] == 201
        and lines[0]["user"] == "ada"
        and lines[0]["object_id"] == "1"
        and lines[0]["bytes_in"] > 0
    )
    assert "good" not in json.dumps(lines) and "right" not in json.dumps(lines)


def test_request_id_of_the_edge_is_kept(api):
    assert (
        api.get("/nothing", headers={"X-Request-ID": "0123456789abcdef"}).headers["x-request-id"] == "0123456789abcdef"
    )
    assert api.get("/nothing", headers={"X-Request-ID": 'bad id"'}).headers["x-request-id"] != 'bad id"'
