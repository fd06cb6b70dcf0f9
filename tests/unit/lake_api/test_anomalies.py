# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Anomalies: lists, counts, acknowledgements; rules: who may set them, and what is said of wrong ones."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

pytest.importorskip("jsonschema")

from neocampus_lake.anomalies import Finding, Rule, Series  # noqa: E402
from neocampus_lake.anomaly_store import AnomalyStore  # noqa: E402
from neocampus_lake.times import NS, parse_time  # noqa: E402

HERE = "/api/v1/containers/rooms"
T = parse_time("2024-05-01T00:00:00Z")
RULES = {"rules": [{"name": "hot", "match": {"topic": "u4/*"}, "bounds": {"max": 40}}]}


@pytest.fixture
def store(mongo):
    return AnomalyStore(mongo)


@pytest.fixture
def three(insert, store):
    """Two values that are too high on one day, one that is too low on the next, a gap."""
    insert("rooms", "x", b"1")
    rule = Rule("hot", 1, gap=60 * NS)

    def finding(hours, kind, topic, **values):
        return Finding(
            Series("celsius", "value", {"topic": topic, "unitID": "7"}),
            T + hours * 3600 * NS,
            kind,
            rule,
            2.0,
            **values,
        )

    found = [
        finding(0, "high", "u4/1/t", value=51.0, high=50.0),
        finding(1, "high", "u4/2/t", value=52.0, high=50.0),
        finding(25, "low", "u4/1/t", value=-5.0, low=0.0),
        finding(26, "gap", "u4/1/t", seconds=120.0),
    ]
    store.keep("rooms", "rooms", found, {}, run="r1", now=datetime(2024, 5, 3, tzinfo=UTC))
    return [one.id for one in found]


def ids(answer):
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def test_list_page_by_page(api, three):
    first = api.get(f"{HERE}/anomalies", params={"limit": 3})
    assert ids(first) == three[:3]
    second = api.get(f"{HERE}/anomalies", params={"limit": 3, "cursor": first.json()["next"]})
    assert ids(second) == three[3:] and second.json()["next"] is None
    assert first.json()["items"][0] == {
        "id": three[0],
        "container": "rooms",
        "measurement": "celsius",
        "topic": "u4/1/t",
        "tags": {"unitID": "7"},
        "field": "value",
        "time": "2024-05-01T00:00:00Z",
        "kind": "high",
        "value": 51.0,
        "expected": {"low": None, "high": 50.0},
        "score": 2.0,
        "rule": {"name": "hot", "version": 1},
        "detected_at": "2024-05-03T00:00:00.000Z",
        "run": "r1",
        "acknowledged": None,
    }
    assert api.get(f"{HERE}/anomalies/{three[3]}").json()["seconds"] == 120.0


@pytest.mark.parametrize(
    ("params", "places"),
    [
        ({"topic": "u4/1/t"}, [0, 2, 3]),
        ({"measurement": "lux"}, []),
        ({"kind": "gap"}, [3]),
        ({"from": "2024-05-01T01:00:00Z", "to": "2024-05-02T02:00:00Z"}, [1, 2]),
        ({"topic": "u4/1/t", "kind": "high"}, [0]),
        ({"acknowledged": "true"}, []),
        ({"acknowledged": "false"}, [0, 1, 2, 3]),
    ],
)
def test_filters_of_lists_and_counts(api, three, params, places):
    assert ids(api.get(f"{HERE}/anomalies", params=params)) == [three[place] for place in places]
    counted = api.get(f"{HERE}/anomalies/count", params={**params, "by": "kind"}).json()["items"]
    assert sum(item["count"] for item in counted) == len(places)


def test_counts(api, three):
    assert api.get(f"{HERE}/anomalies/count").json() == {
        "items": [
            {"measurement": "celsius", "topic": "u4/1/t", "kind": kind, "count": 1} for kind in ("gap", "high", "low")
        ]
        + [{"measurement": "celsius", "topic": "u4/2/t", "kind": "high", "count": 1}],
        "next": None,
    }
    days = api.get(f"{HERE}/anomalies/count?by=day&by=kind&limit=2").json()
    assert days["items"] == [
        {"day": "2024-05-01", "kind": "high", "count": 2},
        {"day": "2024-05-02", "kind": "gap", "count": 1},
    ]
    rest = api.get(f"{HERE}/anomalies/count?by=day&by=kind&limit=2&cursor={days['next']}").json()
    assert rest == {"items": [{"day": "2024-05-02", "kind": "low", "count": 1}], "next": None}


@pytest.mark.parametrize(
    ("path", "params", "says"),
    [
        ("anomalies", {"kind": "odd"}, "'kind'"),
        ("anomalies", {"by": "kind"}, "'by': is not known here"),
        ("anomalies", {"from": "2024-02-01", "to": "2024-01-01"}, "'from' is later than 'to'"),
        ("anomalies", {"cursor": "x"}, "'cursor'"),
        ("anomalies/count", {"by": "value"}, "'by"),
        ("anomaly-rules", {"version": 0}, "'version'"),
    ],
)
def test_bad_queries(api, three, error_of, path, params, says):
    assert says in error_of(api.get(f"{HERE}/{path}", params=params), 400)


def test_acknowledge_and_take_it_back(api, three, error_of):
    place = f"{HERE}/anomalies/{three[1]}/acknowledgement"
    told = api.put(place, json={"note": "a fire drill"})
    assert told.status_code == 200 and told.json()["acknowledged"]["by"] == "ada"
    assert told.json()["acknowledged"]["note"] == "a fire drill"
    assert ids(api.get(f"{HERE}/anomalies", params={"acknowledged": "true"})) == [three[1]]
    assert api.delete(place).json()["acknowledged"] is None
    assert ids(api.get(f"{HERE}/anomalies", params={"acknowledged": "true"})) == []
    assert "'note'" in error_of(api.put(place, json={"note": "x" * 1001}), 400)
    assert "'nota': is not known here" in error_of(api.put(place, json={"nota": ""}), 400)
    for answer in (api.put(f"{HERE}/anomalies/x/acknowledgement", json={}), api.get(f"{HERE}/anomalies/x")):
        assert "anomaly 'x' of container 'rooms'" in error_of(answer, 404, "not_found")


def test_rules_are_set_read_and_keep_their_versions(api, insert, store):
    insert("rooms", "x", b"1")
    path = f"{HERE}/anomaly-rules"
    none = {"rules": [], "version": 0, "changed_at": None, "changed_by": None, "default": None}
    assert api.get(path).json() == none
    store.declare_default({"statistic": {"method": "rolling"}}, "detect_anomalies")
    made = api.put(path, json=RULES)
    assert made.status_code == 200
    assert (made.json()["version"], made.json()["changed_by"], made.json()["rules"]) == (1, "ada", RULES["rules"])
    assert made.json()["default"] == {"statistic": {"method": "rolling"}}
    assert api.put(path, json=RULES).json() == made.json() == api.get(path).json()
    assert api.put(path, json={"rules": []}).json()["version"] == 2
    assert api.get(path, params={"version": 1}).json() == made.json()


def test_what_is_wrong_with_rules_is_said(api, insert, error_of, mongo):
    insert("rooms", "x", b"1")
    path = f"{HERE}/anomaly-rules"
    wrong = {"rules": [{"name": "a", "bounds": {"min": 3, "max": "x"}}, {"match": {}}]}
    answer = api.put(path, json=wrong)
    message = error_of(answer, 400, "invalid_rules")
    assert (
        "rules[0].bounds.max: 'x' is not what is expected: a number" in message
        and "rules[1]: name is missing" in message
    )
    assert len(answer.json()["error"]["detail"]) == 2
    error_of(api.put(path, json=[]), 400, "invalid_rules")
    error_of(api.put(path, content=b"{", headers={"Content-Type": "application/json"}), 400)
    nan = b'{"rules": [{"name": "a", "bounds": {"max": NaN}}]}'
    assert "nan" in error_of(api.put(path, content=nan, headers={"Content-Type": "application/json"}), 400)
    assert "version 7" in error_of(api.get(path, params={"version": 7}), 404, "not_found")
    assert mongo["stats"]["anomaly_rules"].count_documents({}) == 0


def test_readers_read_and_only_writers_write(api, three, keystone, error_of):
    api.headers["X-Auth-Token"] = keystone.give("reading", roles=("reader",))
    for path in ("anomalies", "anomalies/count", "anomaly-rules", f"anomalies/{three[0]}"):
        assert api.get(f"{HERE}/{path}").status_code == 200
    error_of(api.put(f"{HERE}/anomaly-rules", json=RULES), 403, "forbidden")
    error_of(api.put(f"{HERE}/anomalies/{three[0]}/acknowledgement", json={}), 403, "forbidden")
    error_of(api.delete(f"{HERE}/anomalies/{three[0]}/acknowledgement"), 403, "forbidden")


def test_other_projects_see_nothing(api, three, keystone, error_of):
    api.headers["X-Auth-Token"] = keystone.give("foreign", project="p2")
    for path in ("anomalies", "anomalies/count", "anomaly-rules", f"anomalies/{three[0]}"):
        error_of(api.get(f"{HERE}/{path}"), 404, "not_found")
    error_of(api.put(f"{HERE}/anomaly-rules", json=RULES), 404, "not_found")


def test_openapi_has_the_schema_of_rules(api):
    paths = api.get("/api/v1/openapi.json").json()["paths"]
    operations = paths["/api/v1/containers/{container}/anomaly-rules"]
    published = operations["put"]["requestBody"]["content"]["application/json"]["schema"]
    rule = published["properties"]["rules"]["items"]
    assert rule["properties"]["bounds"]["properties"]["min"]["type"] == "number"
    assert "$ref" not in str(published) and "$defs" not in published
    assert "/api/v1/containers/{container}/anomalies/count" in paths
