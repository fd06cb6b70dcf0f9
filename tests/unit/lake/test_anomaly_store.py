# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is kept of anomalies, and of rules: versions, what a run adds, changes and removes, lists and counts."""

from __future__ import annotations

from datetime import UTC, datetime

import mongomock
import pytest
from neocampus_lake.anomalies import Finding, Rule, Series
from neocampus_lake.anomaly_store import AnomalyStore, Query, Tally
from neocampus_lake.errors import Conflict, DeclarationError, InvalidInput, NotFound
from neocampus_lake.times import NS, parse_time

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
T = parse_time("2024-05-01T00:00:00.123456789Z")
RULE = Rule("hot", 2)
SCOPE = [("celsius", "value", "a"), ("celsius", "value", "b"), ("lux", "value", "a")]


@pytest.fixture
def client():
    return mongomock.MongoClient(tz_aware=True)


@pytest.fixture
def store(client):
    return AnomalyStore(client)


def finding(time=T, kind="high", topic="a", measurement="celsius", **values):
    tags = {"topic": topic, "unitID": "7"} if topic else {"unitID": "7"}
    series = Series(measurement, "value", tags)
    given = {"score": 2.0, "value": 51.0, "high": 50.0} if kind != "gap" else {"score": 2.0, "seconds": 60.0}
    return Finding(series, time, kind, values.pop("rule", RULE), **{**given, **values})


def keep(store, *findings, start=T, end=T + 3600 * NS, scope=SCOPE, run="r1", **named):
    known = store.known("campus", scope, start, end)
    return store.keep("campus", "campus", findings, known, run=run, now=NOW, **named)


def test_an_anomaly_tells_all_that_it_is(store):
    assert keep(store, finding()) == Tally(new=1)
    (found,) = store.find("campus", Query())
    position = found.pop("position")
    assert found == {
        "id": finding().id,
        "container": "campus",
        "measurement": "celsius",
        "topic": "a",
        "tags": {"unitID": "7"},
        "field": "value",
        "time": "2024-05-01T00:00:00.123456789Z",
        "kind": "high",
        "value": 51.0,
        "expected": {"low": None, "high": 50.0},
        "score": 2.0,
        "rule": {"name": "hot", "version": 2},
        "detected_at": NOW,
        "run": "r1",
        "acknowledged": None,
    }
    assert position == f"{T}/{found['id']}"
    assert store.get("campus", found["id"]) == found
    assert store.get("campus", "x") is None


def test_a_gap_tells_how_long_it_is(store):
    rule = Rule("quiet", 1, gap=30 * NS)
    keep(store, finding(kind="gap", rule=rule), finding(kind="gap", topic="b", rule=rule, until=T + 60 * NS + 1))
    ongoing, ended = sorted(store.find("campus", Query(kind="gap")), key=lambda found: found["topic"])
    assert (ongoing["until"], ongoing["seconds"], ongoing["expected"]) == (None, 60.0, {"seconds": 30.0})
    assert ended["until"] == "2024-05-01T00:01:00.12345679Z"


def test_to_find_the_same_again_changes_nothing(store, client):
    findings = [finding(), finding(T + NS, "low"), finding(T, "gap", seconds=9.0), finding(topic="b")]
    keep(store, *findings)
    before = list(client["anomalies"]["campus"].find())
    assert keep(store, *findings, run="r2") == Tally(same=4)
    assert list(client["anomalies"]["campus"].find()) == before


def test_what_is_found_otherwise_is_changed_and_stays_the_first_run_s(store):
    keep(store, finding())
    assert keep(store, finding(rule=Rule("hot", 3), high=40.0), run="r2") == Tally(changed=1)
    (found,) = store.find("campus", Query())
    assert (found["expected"]["high"], found["rule"]["version"], found["run"]) == (40.0, 3, "r1")


def test_what_is_not_found_again_is_removed_only_where_it_was_looked(store):
    inside = [finding(), finding(T + NS, topic="b")]
    beside = [finding(T - NS), finding(T + 3600 * NS), finding(topic="c"), finding(measurement="lux", topic="b")]
    keep(store, *inside, *beside)
    assert keep(store) == Tally(removed=2)
    assert {found["id"] for found in store.find("campus", Query())} == {one.id for one in beside}


def test_a_gap_is_looked_at_wherever_it_reaches(store):
    ended, ongoing = finding(T - 100 * NS, "gap", until=T), finding(T - 100 * NS, "gap", topic="b")
    over, later = finding(T - 90 * NS, "gap", until=T - 1), finding(T + 3600 * NS, "gap")
    keep(store, ended, ongoing, over, later)
    assert keep(store) == Tally(removed=2)
    assert {found["id"] for found in store.find("campus", Query())} == {over.id, later.id}


def test_what_somebody_has_acknowledged_stays(store):
    keep(store, finding(), finding(T + 1))
    answer = store.acknowledge("campus", finding().id, "ada", "the window was open")
    assert answer["acknowledged"]["by"] == "ada" and answer["acknowledged"]["note"] == "the window was open"
    assert keep(store) == Tally(removed=1, kept=1)
    assert keep(store, finding(value=52.0)) == Tally(changed=1)
    assert store.get("campus", finding().id)["acknowledged"]["by"] == "ada"
    assert store.withdraw("campus", finding().id)["acknowledged"] is None
    assert keep(store) == Tally(removed=1)
    assert store.acknowledge("campus", finding().id, "ada") is None
    with pytest.raises(InvalidInput, match="1000 characters"):
        store.acknowledge("campus", finding().id, "ada", "x" * 1001)


def test_a_dry_run_counts_and_changes_nothing(store, client):
    keep(store, finding())
    assert keep(store, finding(T + 1), dry_run=True) == Tally(new=1, removed=1)
    assert [found["id"] for found in store.find("campus", Query())] == [finding().id]


def test_many_are_written_in_batches(store):
    findings = [finding(T + number) for number in range(2500)]
    assert keep(store, *findings) == Tally(new=2500)
    assert keep(store) == Tally(removed=2500)


def test_lists_have_every_anomaly_once_in_the_order_of_time(store):
    findings = [finding(T + number // 3, topic=topic) for number in range(5) for topic in ("a", "b")]
    keep(store, *findings)
    seen, after = [], None
    while page := store.find("campus", Query(), limit=3, after=after):
        seen += page
        after = page[-1]["position"]
    assert [found["id"] for found in seen] == [
        one.id for one in sorted({one.id: one for one in findings}.values(), key=lambda one: (one.time, one.id))
    ]
    with pytest.raises(InvalidInput, match="position"):
        store.find("campus", Query(), after="x/y")


@pytest.fixture
def several(store):
    day = 86_400 * NS
    keep(
        store,
        finding(),
        finding(T + day, topic="b"),
        finding(T + day, "low"),
        finding(T + 2 * day, topic="", measurement="lux"),
        scope=[],
    )
    store.acknowledge("campus", finding().id, "ada")
    return store


@pytest.mark.parametrize(
    ("query", "count"),
    [
        (Query(), 4),
        (Query(measurement="celsius"), 3),
        (Query(topic="b"), 1),
        (Query(topic=""), 1),
        (Query(kind="low"), 1),
        (Query(start=T), 4),
        (Query(start=T + 1), 3),
        (Query(end=T), 0),
        (Query(end=T + 1), 1),
        (Query(acknowledged=True), 1),
        (Query(acknowledged=False), 3),
        (Query(measurement="celsius", topic="a", kind="high", start=T, end=T + 1, acknowledged=True), 1),
    ],
)
def test_lists_and_counts_take_the_same_filters(several, query, count):
    assert len(several.find("campus", query)) == count
    assert several.count("campus", query, []) == [{"count": count}]


def test_counts(several):
    assert several.count("campus", Query(), ["measurement", "kind"]) == [
        {"measurement": "celsius", "kind": "high", "count": 2},
        {"measurement": "celsius", "kind": "low", "count": 1},
        {"measurement": "lux", "kind": "high", "count": 1},
    ]
    days = several.count("campus", Query(), ["day"])
    assert days == [{"day": f"2024-05-0{day}", "count": count} for day, count in ((1, 1), (2, 2), (3, 1))]
    assert several.count("campus", Query(), ["day"], limit=1, skip=1) == days[1:2]
    assert several.count("elsewhere", Query(), ["day"]) == []
    with pytest.raises(InvalidInput, match="not by 'value'"):
        several.count("campus", Query(), ["value"])


# -- rules ------------------------------------------------------------------------------------------------------------


def test_each_version_of_rules_stays(store):
    assert store.declared("campus") == {"rules": [], "version": 0, "changed_at": None, "changed_by": None}
    one = {"rules": [{"name": "a", "bounds": {"max": 1}}]}
    made = store.declare("campus", one, "ada")
    assert (made["version"], made["changed_by"], made["rules"]) == (1, "ada", one["rules"])
    assert store.declare("campus", one, "bob") == store.declared("campus")  # as they were: no new version
    assert store.declare("campus", {"rules": []}, "bob")["version"] == 2
    assert store.declared("campus", 1)["rules"] == one["rules"]
    assert store.declared("elsewhere")["version"] == 0
    with pytest.raises(NotFound, match="version 3"):
        store.declared("campus", 3)


def test_rules_that_are_wrong_are_not_kept(store):
    with pytest.raises(DeclarationError):
        store.declare("campus", {"rules": [{}]}, "ada")
    assert store.declared("campus")["version"] == 0


def test_two_who_change_rules_at_once(store, monkeypatch):
    store.declare("campus", {"rules": [{"name": "a"}]}, "ada")
    monkeypatch.setattr(store, "declared", lambda _store: {"rules": [], "version": 0})
    with pytest.raises(Conflict, match="somebody else"):
        store.declare("campus", {"rules": [{"name": "b"}]}, "bob")


def test_the_default_is_written_down_where_it_is_new(store):
    assert store.default() is None
    assert store.declare_default({"statistic": {"method": "rolling"}}, "d") == 1
    assert store.declare_default({"statistic": {"method": "rolling"}}, "d") == 1
    assert store.declare_default({}, "d") == 2
    assert store.default() == {"default": {}, "version": 2}
    rules = store.rules("campus", {"bounds": {"max": 3}}, 2)
    assert (rules.rule_for("m", "", "value").high, rules.rule_for("m", "", "value").version) == (3, 2)


# -- how far runs have come -------------------------------------------------------------------------------------------


def test_progress_and_newest_points(store):
    series = Series("celsius", "value", {"topic": "a"})
    assert store.progress("campus") is None
    store.set_progress("campus", until=5)
    store.set_progress("campus", looked=NOW)
    assert store.progress("campus") == {"_id": "campus", "until": 5, "looked": NOW}
    store.set_newest("campus", [(series, 4)])
    store.set_newest("campus", [(series, 7)])
    assert store.newest("campus", [series.id, "other"]) == {series.id: 7}
    assert store.newest("elsewhere", [series.id]) == {}


def test_what_processing_has_written(store, client):
    span = {"measurement": "m", "topic": "a", "from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}

    def document(number, when, operations, services=("influxdb",)):
        return {
            "_id": number,
            "last_modified": when,
            "processed_data_area_service": list(services),
            "successful_operations": operations,
        }

    client["swift"]["campus"].insert_many(
        [
            document(1, NOW, [{"gold": {"influxdb": {"series": [span]}}}, {"pipeline": "removal"}]),
            document(2, NOW, [{"gold": {"influxdb": {"points": 1}}}]),  # of before the log said of which time
            document(
                3, datetime(2024, 1, 1, tzinfo=UTC), [{"gold": {"influxdb": {"series": [{**span, "topic": "b"}]}}}]
            ),
            document(4, NOW, [{"gold": {"sql": {}}}], ["sql"]),
        ]
    )
    assert list(store.written("campus", NOW)) == [span]
    assert len(list(store.written("campus", None))) == 2
