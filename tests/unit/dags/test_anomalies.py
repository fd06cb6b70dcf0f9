# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run looks at: what is new, what came late, what was silent; that it finds the same again; and the command."""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("pymongo")

from lake_airflow import anomalies  # noqa: E402
from lake_airflow.anomalies import DAY, HOUR, Detector, Limits  # noqa: E402
from neocampus_lake.anomaly_store import AnomalyStore, Query  # noqa: E402
from neocampus_lake.errors import LakeError, NotFound, StoreError  # noqa: E402
from neocampus_lake.metadata import MetadataStore  # noqa: E402
from neocampus_lake.sinks.influxdb import Rows  # noqa: E402
from neocampus_lake.times import NS, format_time, parse_time  # noqa: E402

NOW = datetime(2024, 5, 20, 12, 5, tzinfo=UTC)
T = parse_time("2024-05-20T12:00:00Z")  # up to where a run at NOW looks
BOUNDS = {"bounds": {"min": 0, "max": 50}}
_STATEMENT = re.compile(
    r'SELECT (?:(FIRST|LAST)\()?"(?P<field>[^"]+)"::float\)? FROM "(?P<measurement>[^"]+)" WHERE \((?P<topics>[^)]*)\)'
    r"(?P<where>.*?) GROUP BY (?:time\((?P<bin>\d+)s\), \*( fill\(none\))?|\*)"
)


class FakeInfluxDB:
    """Answers the statements of a detector from points in memory: {database: {(measurement, tags, field):
    {time: value}}}"""

    def __init__(self):
        self.data = defaultdict(lambda: defaultdict(dict))
        self.asked = []
        self.error = None

    def add(self, time, value, topic="a", measurement="celsius", field="value", database="campus", **tags):
        given = {**({"topic": topic} if topic else {}), **tags}
        self.data[database][measurement, tuple(sorted(given.items())), field][time] = value

    def fields(self, database):
        if self.error:
            raise self.error
        if database not in self.data:
            raise NotFound("database not found")
        found = defaultdict(dict)
        for measurement, _tags, field in self.data[database]:
            found[measurement] |= {field: "float", "lake_origin": "string", "on": "boolean"}
        return dict(found)

    def all_topics(self, database):
        found = defaultdict(set)
        for measurement, tags, _field in self.data[database]:
            found[measurement] |= {dict(tags)["topic"]} if "topic" in dict(tags) else set()
        return {measurement: sorted(topics) for measurement, topics in found.items() if topics}

    def stream(self, database, statements, params):
        self.asked.append(statements)
        for number, statement in enumerate(statements):
            match = _STATEMENT.fullmatch(statement)
            assert match, statement
            topics = [params[name] for name in re.findall(r'"topic"::tag = \$(\w+)', match["topics"])]
            compared = re.findall(r"AND (\S+) (>=|<=|<) (\S+)", match["where"])
            for (measurement, tags, field), points in sorted(self.data[database].items()):
                if (measurement, field) != (match["measurement"], match["field"]):
                    continue
                if dict(tags).get("topic", "") not in topics:
                    continue
                found = [[time, value] for time, value in sorted(points.items()) if _holds(time, value, compared)]
                found = _selected(found, match[1], match["bin"])
                for start in range(0, len(found), 7):  # a series comes in parts
                    yield Rows(number, measurement, dict(tags), found[start : start + 7])


def _holds(time, value, compared):
    for name, operator, bound in compared:
        left = time if name == "time" else value
        right = int(bound) if name == "time" else float(bound)
        if not {">=": left >= right, "<=": left <= right, "<": left < right}[operator]:
            return False
    return True


def _selected(found, selector, length):
    if not selector:
        return found
    if not length:
        return found[-1:] if selector == "LAST" else found[:1]
    bins = {}
    for time, value in found:
        bins.setdefault(time // (int(length) * NS) * int(length) * NS, value)
    return [[time, value] for time, value in bins.items()]


class Lake:
    def __init__(self, client, run):
        self.client, self.run = client, run
        self.influxdb = FakeInfluxDB()
        self.metadata = MetadataStore(client)
        self.store = AnomalyStore(client)
        self.default = BOUNDS
        self.now = NOW
        self.known = self.metadata.store_for("p1", "campus", create=True)

    def detector(self, **named):
        limits = Limits(overlap=HOUR, delay=5 * 60 * NS, first=3 * DAY, default=self.default)
        return Detector(self.client, self.influxdb, limits, self.run, now=self.now, **named)

    def check(self, **named):
        (report,) = self.detector(**named).check("campus")
        return report

    def later(self, **after):
        self.now += timedelta(**after)
        return self.check()

    def found(self, **query):
        return [
            (found["time"][:16], found["kind"], found["topic"]) for found in self.store.find("campus", Query(**query))
        ]

    def processed(self, *series, at=None):
        """An object that wrote points: (topic, first time, last time)."""
        number = self.client["swift"]["campus"].count_documents({}) + 1
        spans = [
            {
                "from": format_time(first),
                "to": format_time(last),
                **({"measurement": "celsius", "topic": topic} if topic else {}),
            }
            for topic, first, last in series
        ]
        self.client["swift"]["campus"].insert_one(
            {
                "_id": number,
                **dict.fromkeys(("swift_object_id", "swift_object_name"), str(number)),
                "last_modified": at or self.now,
                "processed_data_area_service": ["influxdb"],
                "successful_operations": [{"gold": {"influxdb": {"series": spans}}}],
            }
        )


@pytest.fixture
def lake(client, run):
    return Lake(client, run)


def test_a_container_without_points_has_nothing_to_look_at(lake):
    assert lake.check().pieces == 0


def test_planted_outliers_are_found_once(lake):
    """Three among thousand; what is found again is the same."""
    lake.default = {"statistic": {"method": "rolling", "hours": 24}}
    chance = random.Random(1)
    for number in range(1000):
        for topic in ("a", "b"):
            lake.influxdb.add(T - 2 * DAY + number * 170 * NS, 20 + chance.gauss(0, 1), topic)
    for number, topic, value in ((300, "a", 80.0), (500, "a", -40.0), (900, "b", 75.0)):
        lake.influxdb.add(T - 2 * DAY + number * 170 * NS, value, topic)
    report = lake.check()
    assert (report.tally.new, report.points) == (3, 2000)
    assert Counter(topic for _time, _kind, topic in lake.found()) == {"a": 2, "b": 1}
    before = lake.store.find("campus", Query())
    (report,) = lake.detector().examine("campus", T - 3 * DAY)
    assert (report.tally.new, report.tally.changed, report.tally.removed, report.tally.same) == (0, 0, 0, 3)
    assert lake.store.find("campus", Query()) == before
    assert lake.check().tally.removed == 0


def test_only_what_is_new_is_looked_at_and_an_overlap(lake):
    for hour in range(48):
        lake.influxdb.add(T - hour * HOUR, 20.0)
    assert lake.check().points == 47  # none at T: that is not old enough
    lake.influxdb.add(T - 30 * 60 * NS, 99.0)  # came late, within the overlap
    lake.influxdb.add(T - 10 * HOUR, 99.0)  # … and outside: nothing says so
    assert lake.later(hours=1).points == 3
    assert lake.found() == [("2024-05-20T11:30", "high", "a")]


def test_what_an_object_wrote_for_earlier_times_is_looked_at(lake):
    lake.influxdb.add(T - HOUR, 20.0)
    lake.check()
    year = parse_time("2020-01-01T10:30:00Z")
    for number, topic in enumerate(("a", "old", "old2")):
        lake.influxdb.add(year + number, 99.0, topic)
    lake.processed(("a", year, year), ("gone", year, year))
    lake.processed(("old", year, year + 9))
    lake.influxdb.asked.clear()
    report = lake.later(hours=1)
    assert lake.found(end=T - DAY) == [("2020-01-01T10:30", "high", "a"), ("2020-01-01T10:30", "high", "old")]
    assert report.points == 2 + 1  # and what is within the overlap
    lake.influxdb.asked.clear()
    lake.later(hours=1)  # and not again
    assert not any(str(year // HOUR * HOUR) in statement for asked in lake.influxdb.asked for statement in asked)


def test_an_object_with_very_many_series_makes_its_time_looked_at_in_all(lake):
    lake.influxdb.add(T - HOUR, 20.0)
    lake.check()
    for topic in ("a", "b"):
        lake.influxdb.add(T - 50 * DAY, 99.0, topic)
    lake.processed(("", T - 50 * DAY, T - 50 * DAY))
    lake.later(hours=1)
    assert {topic for _time, _kind, topic in lake.found()} == {"a", "b"}


def test_objects_of_before_the_first_run_are_looked_at(lake):
    lake.influxdb.add(T - 900 * DAY, 99.0)
    lake.processed(("a", T - 900 * DAY, T - 900 * DAY), at=NOW - timedelta(days=400))
    lake.check()
    assert len(lake.found()) == 1


def test_a_series_that_was_silent_is_looked_at_from_where_it_stopped(lake):
    """A gateway that was cut off brings what it kept, in order: nothing but the series' newest point tells."""
    for topic in ("a", "b"):
        lake.influxdb.add(T - 2 * HOUR, 20.0, topic)
    lake.check()
    for _hour in range(6):
        lake.later(hours=1)
    for minute in range(0, 400, 10):
        lake.influxdb.add(T - 90 * 60 * NS + minute * 60 * NS, 99.0 if minute == 50 else 20.0)
    report = lake.later(minutes=1)
    assert lake.found() == [("2024-05-20T11:20", "high", "a")]
    assert report.points >= 40
    assert lake.later(minutes=1).points < 40  # once


def test_a_series_that_is_new_is_looked_at_from_its_first_days_on(lake):
    lake.influxdb.add(T - HOUR, 20.0)
    lake.check()
    for days in (2, 50):
        lake.influxdb.add(T - days * DAY, 99.0, "b")
    lake.influxdb.add(T, 20.0, "b")
    lake.later(hours=1)
    assert lake.found() == [("2024-05-18T12:00", "high", "b")]


def test_a_gap_begins_goes_on_and_ends(lake):
    lake.default = {"gap": {"seconds": 2 * 3600}}
    lake.influxdb.add(T - HOUR, 20.0)
    lake.influxdb.add(T - HOUR, 20.0, "b")
    lake.check()
    assert lake.found() == []
    lake.later(hours=1)
    lake.influxdb.add(T + HOUR, 20.0, "b")
    lake.later(hours=1)
    assert lake.found() == [("2024-05-20T11:00", "gap", "a")]
    for _hour in range(5):
        report = lake.later(hours=1)
    (gap,) = lake.store.find("campus", Query(topic="a"))
    assert (gap["until"], gap["seconds"]) == (None, 8 * 3600.0)
    assert report.tally.changed == 2  # both go on
    lake.influxdb.add(T + 7 * HOUR + 60 * NS, 20.0)
    lake.later(hours=1)
    (gap,) = lake.store.find("campus", Query(topic="a"))
    assert (gap["until"], gap["seconds"]) == ("2024-05-20T19:01:00Z", 8 * 3600 + 60.0)


def test_a_gap_that_is_filled_late_is_removed(lake):
    lake.default = {"gap": {"seconds": 2 * 3600}}
    lake.influxdb.add(T - 9 * HOUR, 20.0)
    lake.influxdb.add(T - HOUR, 20.0)
    lake.check()
    assert len(lake.found()) == 1
    for hour in range(2, 9):
        lake.influxdb.add(T - hour * HOUR, 20.0)
    lake.processed(("a", T - 8 * HOUR, T - 2 * HOUR))
    assert lake.later(minutes=10).tally.removed == 1
    assert lake.found() == []


def test_rules_of_a_container_come_before_the_default_and_a_changed_rule_takes_back_what_it_does_not_find(lake):
    for minute in range(60):
        lake.influxdb.add(T - HOUR + minute * 60 * NS, 60.0 if minute % 20 == 0 else 20.0, "a")
        lake.influxdb.add(T - HOUR + minute * 60 * NS, 60.0 if minute == 7 else 20.0, "b")
    lake.store.declare("campus", {"rules": [{"name": "hot", "match": {"topic": "a"}, "bounds": {"max": 55}}]}, "ada")
    lake.check()
    assert Counter(topic for _time, _kind, topic in lake.found()) == {"a": 3, "b": 1}
    names = {
        (found["topic"], found["rule"]["name"], found["rule"]["version"])
        for found in lake.store.find("campus", Query())
    }
    assert names == {("a", "hot", 1), ("b", "default", 1)}
    first = lake.store.find("campus", Query(topic="a"))[0]
    lake.store.acknowledge("campus", first["id"], "ada", "a fire drill")
    lake.store.declare("campus", {"rules": [{"name": "hot", "match": {"topic": "a"}, "bounds": None}]}, "ada")
    (report,) = lake.detector().examine("campus", T - HOUR, T)
    assert (report.tally.removed, report.tally.kept, report.tally.same) == (2, 1, 1)
    assert [found["id"] for found in lake.store.find("campus", Query(topic="a"))] == [first["id"]]


def test_all_fields_that_are_numbers_and_series_without_topic_are_looked_at(lake):
    lake.influxdb.add(T - HOUR, 99.0, topic="")
    lake.influxdb.add(T - HOUR, 99.0, topic="", station="x")
    lake.influxdb.add(T - HOUR, 99.0, measurement="u4/302", field="celsius")
    lake.check()
    found = {(f["measurement"], f["field"], f["topic"], *f["tags"]) for f in lake.store.find("campus", Query())}
    assert found == {("celsius", "value", ""), ("celsius", "value", "", "station"), ("u4/302", "celsius", "a")}


def test_many_series_are_read_a_page_at_a_time(lake, monkeypatch):
    monkeypatch.setattr(anomalies, "PAGE", 10)
    for number in range(35):
        lake.influxdb.add(T - HOUR, 99.0 if number % 5 == 0 else 20.0, f"room{number}")
        lake.influxdb.add(T - HOUR, 20.0, measurement=f"m{number}")
    report = lake.check()
    assert report.tally.new == 7 and report.points == 70
    assert max(statement.count("::tag") for asked in lake.influxdb.asked for statement in asked) == 10
    assert max(sum(statement.count("::tag") for statement in asked) for asked in lake.influxdb.asked) <= 20


def test_a_run_that_was_cut_short_goes_on_where_it_was(lake, monkeypatch):
    for hour in range(72):
        lake.influxdb.add(T - hour * HOUR, 99.0 if hour == 1 else 20.0)
    real, count = Detector._page, [0]

    def failing(*given, **named):
        count[0] += 1
        if count[0] == 3:
            raise StoreError("InfluxDB is away")
        return real(*given, **named)

    monkeypatch.setattr(Detector, "_page", failing)
    with pytest.raises(StoreError, match="container campus: InfluxDB is away"):
        lake.check()
    until = lake.store.progress("campus")["until"]
    assert until == parse_time("2024-05-19T00:00:00Z")
    assert lake.check().points == 37  # from there on, with the overlap
    assert len(lake.found()) == 1


def test_what_came_late_is_left_to_the_next_run_where_one_is_cut_short(lake, monkeypatch):
    lake.influxdb.add(T - HOUR, 20.0)
    lake.influxdb.add(T - HOUR, 20.0, "b")
    lake.check()
    lake.later(hours=8)
    lake.influxdb.add(T - 40 * DAY, 99.0)
    lake.processed(("a", T - 40 * DAY, T - 40 * DAY))
    for hour in range(1, 9):
        lake.influxdb.add(T + hour * HOUR, 99.0 if hour == 2 else 20.0, "b")
    with monkeypatch.context() as patch:
        patch.setattr(Detector, "_spans", lambda *_given: (_ for _ in ()).throw(StoreError("InfluxDB is away")))
        with pytest.raises(StoreError):
            lake.later(hours=1)
    assert lake.found() == []
    lake.later(hours=1)
    assert lake.found() == [("2024-04-10T12:00", "high", "a"), ("2024-05-20T14:00", "high", "b")]


def test_one_container_that_fails_does_not_keep_the_others_waiting(lake):
    lake.metadata.store_for("p1", "broken", create=True)
    for database in ("broken", "campus"):
        lake.influxdb.add(T - HOUR, 99.0, database=database)
    lake.client["stats"]["anomaly_rules"].insert_one(
        {"_id": "broken/1", "store": "broken", "version": 1, "rules": [{}]}
        | dict.fromkeys(("changed_at", "changed_by"))
    )
    with pytest.raises(LakeError, match=r"container broken: rules\[0\]: name is missing"):
        lake.detector().check()
    assert len(lake.found()) == 1


def test_a_store_that_is_away_is_not_asked_for_ever(lake):
    for name in "abcdefgh":
        lake.metadata.store_for("p1", name, create=True)
    lake.influxdb.error = StoreError("InfluxDB did not answer")
    with pytest.raises(StoreError, match="container a: InfluxDB did not answer; container b"):
        lake.detector().check()


def test_a_dry_run_lists_and_keeps_nothing(lake, client):
    lake.influxdb.add(T - HOUR, 99.0)
    report = lake.check(dry_run=True)
    assert [found["kind"] for found in report.findings] == ["high"] and report.tally.new == 1
    assert lake.found() == [] and lake.store.progress("campus") is None and lake.store.default() is None
    assert client["stats"]["anomaly_series"].count_documents({}) == 0


def test_containers_of_one_name_in_two_projects(lake):
    lake.metadata.store_for("p2", "campus", create=True)
    lake.influxdb.add(T - HOUR, 99.0)
    lake.influxdb.add(T - HOUR, 98.0, database="campus--p2")
    reports = lake.detector().check("campus")
    assert [report.project_id for report in reports] == ["p1", "p2"]
    (other,) = lake.store.find("campus--p2", Query())
    assert (other["value"], other["container"]) == (98.0, "campus")


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(lake, monkeypatch, capsys):
    monkeypatch.setattr(anomalies, "detector", lambda run, dry_run=False: lake.detector(dry_run=dry_run))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["lake-airflow-anomalies", *arguments])
        try:
            code = anomalies.main()
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


def test_the_command_looks_at_a_range_of_time(lake, command):
    lake.influxdb.add(T - 100 * DAY, 99.0, unitID="7")
    lake.influxdb.add(T - HOUR, 99.0)
    span = ("--from", "2024-02-01", "--to", "2024-03-01")
    code, out, _err = command("--container", "campus", *span, "--dry-run")
    assert code == 0 and "1 new" in out and "2024-02-10T12:00:00Z  high  celsius a value 99" in out
    assert lake.found() == []
    code, out, _err = command("--container", "campus", *span, "--json")
    (told,) = json.loads(out)["containers"]
    assert (code, told["tally"]["new"], told["points"], told["findings"]) == (0, 1, 1, [])
    assert len(lake.found()) == 1
    code, out, _err = command()
    assert code == 0 and out.startswith("campus (p1): 1 points looked at in")
    assert len(lake.found()) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--container", "nowhere"], 2, "no container 'nowhere' is known"),
        (["--from", "2024-01-01"], 2, "needs --container and --from"),
        (["--container", "campus", "--to", "2024-01-01"], 2, "needs --container and --from"),
        (["--container", "campus", "--from", "yesterday"], 2, "is not ISO 8601"),
        (["--container", "campus", "--from", "2024-01-02", "--to", "2024-01-01"], 2, "later than --from"),
    ],
)
def test_the_command_says_what_is_wrong(command, arguments, code, says):
    told, out, err = command(*arguments)
    assert (told, out) == (code, "") and says in err


def test_the_settings_are_those_of_the_role(monkeypatch, client, run, tmp_path):
    settings = {
        "anomalies": {"schedule": "@daily", "default": {}, "overlap_minutes": 30, "delay_minutes": 2, "first_days": 7},
        "influxdb": {"url": "https://x", "username": "u", "password": "p", "readers": []},
        "ca_file": None,
    }
    file = tmp_path / "lake.json"
    file.write_text(json.dumps(settings))
    monkeypatch.setenv("LAKE_AIRFLOW_SETTINGS", str(file))
    monkeypatch.setattr(anomalies.stores, "mongodb", lambda config: client)
    anomalies.check(run)  # no container: nothing is asked of InfluxDB
    assert Limits.of(settings) == Limits(1800 * NS, 120 * NS, 7 * DAY, {})
    assert AnomalyStore(client).default() == {"default": {}, "version": 1}
