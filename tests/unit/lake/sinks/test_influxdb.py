# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import json
from datetime import UTC, datetime
from urllib.parse import parse_qs

import pytest
import requests
import responses
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput, NotFound, StoreError
from neocampus_lake.points import Point
from neocampus_lake.records import Row
from neocampus_lake.sinks import influxdb
from neocampus_lake.sinks.base import Origin
from neocampus_lake.sinks.influxdb import InfluxDB, InfluxDBSink, quote
from responses import matchers

URL = "https://gold1.gold.lake.internal:8086"
T = 1626951682 * 10**9


@pytest.fixture
def http(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def influx():
    return InfluxDB(URL, "airflow", "secret", ca_file="/etc/pki/lake/ca.crt")


def result(*series):
    return {"results": [{"statement_id": 0, "series": list(series)}]}


USERS = {"columns": ["user", "admin"], "values": [["airflow", True], ["api", False], ["grafana", False]]}


def form(call):
    return {key: values[0] for key, values in parse_qs(call.request.body).items()}


def test_write_sends_lines_in_batches(http, influx):
    query = matchers.query_param_matcher({"db": "campus", "precision": "ns"})
    http.post(URL + "/write", status=204, match=[query])
    points = (Point("W", T + n, {"value": float(n)}, {"topic": "a"}) for n in range(5))
    assert influx.write("campus", points, batch=2) == 5
    bodies = [call.request.body for call in http.calls]
    assert bodies[0] == f"W,topic=a value=0.0 {T}\nW,topic=a value=1.0 {T + 1}".encode()
    assert len(bodies) == 3
    assert http.calls[0].request.headers["Authorization"].startswith("Basic ")


def test_a_batch_is_bounded_in_bytes(http, influx, monkeypatch):
    monkeypatch.setattr(influxdb, "MAX_BODY", 100)
    http.post(URL + "/write", status=204)
    influx.write("campus", [Point("W" * 60, T, {"value": 1.0}, {})] * 4)
    assert len(http.calls) == 2


def test_nothing_to_write_sends_nothing(http, influx):
    assert influx.write("campus", []) == 0


def test_the_server_is_verified_and_proxies_are_not_used(influx):
    assert influx._session.verify == "/etc/pki/lake/ca.crt"
    assert influx._session.trust_env is False
    retries = influx._session.get_adapter(URL).max_retries
    assert retries.total > 0 and retries.allowed_methods is None and 503 in retries.status_forcelist


@pytest.mark.parametrize(("status", "retriable"), [(400, False), (413, False), (401, True), (403, True), (500, True)])
def test_only_the_data_s_own_faults_are_final(http, influx, status, retriable):
    http.post(URL + "/write", status=status, json={"error": "partial write: field type conflict"})
    with pytest.raises(StoreError, match="field type conflict") as caught:
        influx.write("campus", [Point("W", T, {"value": 1.0}, {})])
    assert caught.value.retriable is retriable


def test_a_server_that_is_away(http, influx):
    http.post(URL + "/write", body=requests.ConnectionError("refused"))
    with pytest.raises(StoreError, match="refused") as caught:
        influx.write("campus", [Point("W", T, {"value": 1.0}, {})])
    assert caught.value.retriable


def test_a_database_is_made_once(http, influx):
    http.post(URL + "/query", json=result(USERS))
    influx.ensure_database('ca"mpus', ["api"])
    influx.ensure_database('ca"mpus', ["api"])
    assert [form(call)["q"] for call in http.calls] == [
        'CREATE DATABASE "ca\\"mpus"',
        "SHOW USERS",
        'GRANT READ ON "ca\\"mpus" TO "api"',
    ]


def test_readers_of_every_database(http):
    http.post(URL + "/query", json=result(USERS))
    InfluxDB(URL, "a", "b", readers=["api"]).ensure_database("x", ["grafana"])
    assert form(http.calls[-1])["q"] == 'GRANT READ ON "x" TO "api"; GRANT READ ON "x" TO "grafana"'


def test_the_account_of_a_reader_that_is_not_there_is_left_out(http):
    http.post(URL + "/query", json=result(USERS))
    InfluxDB(URL, "a", "b", readers=["api", "api_b"]).ensure_database("x")
    assert form(http.calls[-1])["q"] == 'GRANT READ ON "x" TO "api"'


def test_a_database_that_was_dropped_is_made_again(http, influx):
    http.post(URL + "/query", json=result())
    http.post(URL + "/write", status=404, json={"error": 'database not found: "campus"'})
    influx.ensure_database("campus")
    with pytest.raises(StoreError) as caught:
        influx.write("campus", [Point("W", T, {"value": 1.0}, {})])
    assert caught.value.retriable
    influx.ensure_database("campus")
    assert [call.request.path_url.partition("?")[0] for call in http.calls] == ["/query", "/write", "/query"]


def test_query_gives_rows(http, influx):
    series = {"name": "W", "tags": {"topic": "a"}, "columns": ["time", "value"], "values": [[T, 1.5]]}
    http.post(URL + "/query", json=result(series))
    rows = influx.query("campus", "SELECT value FROM W WHERE topic = $t", {"t": "a'b"})
    assert rows == [{"time": T, "value": 1.5, "topic": "a"}]
    assert json.loads(form(http.calls[0])["params"]) == {"t": "a'b"}
    assert http.calls[0].request.params == {"db": "campus", "epoch": "ns"}


def test_errors_inside_an_answer(http, influx):
    http.post(URL + "/query", json={"results": [{"error": "database not found: campus"}]})
    with pytest.raises(NotFound):
        influx.query("campus", "SHOW MEASUREMENTS")
    http.replace(responses.POST, URL + "/query", json={"results": [{"error": "measurement is strange"}]})
    with pytest.raises(StoreError, match="strange") as caught:
        influx.query("campus", "SHOW MEASUREMENTS")
    assert not caught.value.retriable


def test_an_answer_that_is_none(http, influx):
    http.post(URL + "/query", body="<html>")
    with pytest.raises(StoreError) as caught:
        influx.query("campus", "SHOW MEASUREMENTS")
    assert caught.value.retriable


def test_names(http, influx):
    http.post(URL + "/query", json=result({"name": "measurements", "columns": ["name"], "values": [["W"], ["A"]]}))
    assert influx.measurements("campus") == ["A", "W"]
    columns = {"name": "W", "columns": ["key", "value"], "values": [["topic", "u4/2"], ["topic", "u4/1"]]}
    http.replace(responses.POST, URL + "/query", json=result(columns))
    assert influx.topics("campus", 'W"') == ["u4/1", "u4/2"]
    assert form(http.calls[1])["q"] == 'SHOW TAG VALUES FROM "W\\"" WITH KEY = "topic"'


def test_a_container_without_series_has_nothing(http, influx):
    http.post(URL + "/query", json={"results": [{"error": "database not found: campus"}]})
    assert influx.measurements("campus") == []
    assert influx.topics("campus", "W") == []
    assert influx.points("campus", "W") == []


def test_points_have_time_value_and_tags(http, influx):
    columns = ["time", "input", "topic", "value"]
    values = [[T, "4", "a", 1.5], [T + 5 * 10**8, None, "a", 2]]
    http.post(URL + "/query", json=result({"name": "W", "columns": columns, "values": values}))
    start = datetime(2021, 7, 22, tzinfo=UTC)
    points = influx.points("campus", "W", "a", start, "2021-07-23T00:00:00Z", limit=2)
    assert points == [
        {"time": "2021-07-22T11:01:22Z", "input": "4", "topic": "a", "value": 1.5},
        {"time": "2021-07-22T11:01:22.5Z", "topic": "a", "value": 2},
    ]
    assert form(http.calls[0])["q"] == (
        'SELECT * FROM "W" WHERE (topic = $topic0) AND time >= 1626912000000000000 AND time < 1626998400000000000'
        " ORDER BY time ASC LIMIT 2"
    )


def test_points_say_where_they_come_from_when_asked(http, influx):
    columns, values = ["time", "lake_origin", "value"], [[T, "17/ab12", 1.5], [T + 1, None, 2]]
    http.post(URL + "/query", json=result({"name": "W", "columns": columns, "values": values}))
    assert all("lake_origin" not in point for point in influx.points("campus", "W"))
    origins = [point["lake_origin"] for point in influx.points("campus", "W", origins=True)]
    assert origins == [{"object": "17", "operation": "ab12"}, None]


def test_a_bad_time_or_cursor_is_told(influx):
    with pytest.raises(InvalidInput, match="time"):
        influx.points("campus", "W", start="soon")
    for cursor in ("x", "1", "1.x", "1.-1", "1.²"):
        with pytest.raises(InvalidInput, match="cursor"):
            influx.points("campus", "W", after=cursor)


class Held(InfluxDB):
    """Answers queries of `points` from a list of (time, tag), the way InfluxDB does."""

    def __init__(self, held):
        super().__init__(URL, "", "")
        self.held = held

    def query(self, database, influxql, params=None):
        words = influxql.replace("ORDER BY time ASC ", "").split()
        bound = {words[i - 1]: int(words[i]) for i in range(2, len(words)) if words[i - 2] == "time"}
        rows = [row for row in self.held if row[0] >= bound.get(">=", 0) and row[0] < bound.get("<", 2**62)]
        skip = int(words[-1]) if "OFFSET" in words else 0
        limit = int(words[words.index("LIMIT") + 1])
        return [{"time": time, "value": 1.0, "n": tag} for time, tag in rows[skip : skip + limit]]


@given(st.lists(st.integers(0, 6)), st.integers(1, 5), st.none() | st.integers(0, 3), st.none() | st.integers(3, 7))
def test_pages_have_every_point_once(times, limit, start, end):
    held = [(T + time, str(number)) for number, time in enumerate(sorted(times))]
    influx = Held(held)
    bounds = {"start": None if start is None else T + start, "end": None if end is None else T + end}
    found, after = [], None
    while True:
        page = influx.points("campus", "W", limit=limit, after=after, **bounds)
        after = influx.cursor(page, after)
        found += [point["n"] for point in page]
        if after is None:
            break
    low, high = start or 0, 99 if end is None else end
    assert found == [tag for time, tag in held if T + low <= time < T + high]


def test_identifiers_are_quoted():
    assert quote('a"b\\c') == '"a\\"b\\\\c"'
    with pytest.raises(InvalidInput, match="carriage return"):
        quote("a\rb")


def at(nanosecond):
    return f"1970-01-01T00:00:00.00000000{nanosecond}Z"


def test_the_log_says_of_which_series_and_time_an_object_has_points(http, influx):
    http.post(URL + "/query", json={"results": [{}]})
    http.post(URL + "/write", status=204)
    points = [
        Point("m", time, {"value": 1.0}, {"topic": topic}) for time, topic in ((5, "a"), (9, "b"), (2, "a"), (7, "a"))
    ]
    with InfluxDBSink(influx).writer(Origin("campus", "17", "op1")) as writer:
        writer.add(points)
        assert writer.commit()["series"] == [
            {"measurement": "m", "topic": "a", "from": at(2), "to": at(7)},
            {"measurement": "m", "topic": "b", "from": at(9), "to": at(9)},
        ]


@pytest.mark.parametrize(("topics", "entries"), [(50, 50), (51, 1), (200, 1)])
def test_of_too_many_series_the_log_says_but_the_time(http, influx, topics, entries):
    http.post(URL + "/query", json={"results": [{}]})
    http.post(URL + "/write", status=204)
    points = [Point("m", 1 + number % 9, {"value": 1.0}, {"topic": str(number)}) for number in range(topics)]
    (place,) = InfluxDBSink(influx).write([(Origin("campus", "17", "op1"), points)])
    assert len(place["series"]) == entries
    if entries == 1:
        assert place["series"] == [{"from": at(1), "to": at(9)}]


def test_a_stream_gives_series_as_they_come(http, influx):
    parts = [
        {
            "results": [
                {"statement_id": 0, "series": [{"name": "m", "tags": {"topic": "a", "input": ""}, "values": [[1, 2]]}]}
            ]
        },
        {"results": [{"statement_id": 1, "series": [{"name": "n", "values": [[3, 4], [5, 6]]}]}]},
        {"results": [{"statement_id": 2}]},
    ]
    http.post(URL + "/query", body="\n".join(map(json.dumps, parts)) + "\n")
    rows = list(influx.stream("campus", ["SELECT 1", "SELECT 2"], {"t0": "a"}))
    assert rows == [(0, "m", {"topic": "a"}, [[1, 2]]), (1, "n", {}, [[3, 4], [5, 6]])]
    assert form(http.calls[0]) == {"q": "SELECT 1; SELECT 2", "params": '{"t0": "a"}'}
    assert "chunked=true" in http.calls[0].request.url and "epoch=ns" in http.calls[0].request.url


@pytest.mark.parametrize(
    ("body", "error", "retriable"),
    [
        ('{"results": [{"statement_id": 0, "error": "database not found: campus"}]}', NotFound, None),
        ('{"results": [{"statement_id": 0, "error": "query timeout"}]}', StoreError, True),
        ('{"results": [{"statement_id": 0, "error": "cannot do that"}]}', StoreError, False),
        ('{"error": "cannot do that"}', StoreError, False),
        ('{"results": [{"statement_id"', StoreError, True),
        ('{"other": []}', StoreError, True),
    ],
)
def test_a_stream_that_breaks_off_is_an_error(http, influx, body, error, retriable):
    http.post(URL + "/query", body=body)
    with pytest.raises(error) as caught:
        list(influx.stream("campus", ["SELECT 1"]))
    assert retriable in (None, getattr(caught.value, "retriable", None))


def test_fields_and_topics_of_all_measurements(http, influx):
    fields = [["value", "string"], ["value", "float"], ["value", "boolean"], ["other", "string"]]
    http.post(URL + "/query", json=result({"name": "m", "values": fields}, {"name": "n", "values": [["f", "integer"]]}))
    assert influx.fields("campus") == {"m": {"value": "float", "other": "string"}, "n": {"f": "integer"}}
    http.replace("POST", URL + "/query", json=result({"name": "m", "values": [["topic", "b"], ["topic", "a"]]}))
    assert influx.all_topics("campus") == {"m": ["a", "b"]}


def test_a_batch_of_objects_is_one_request_and_each_point_tells_where_it_comes_from(http, influx):
    http.post(URL + "/query", json={"results": [{}]})
    http.post(URL + "/write", status=204)
    sink = InfluxDBSink(influx)
    outputs = [
        (Origin("campus", "17", "op1"), [Point("m", 1, {"value": 1.0}, {}), Point("m", 2, {"value": 2}, {"a": "b"})]),
        (Origin("campus", "18", "op2"), [Point("m", 3, {"value": True}, {})]),
        (Origin("campus", "19", "op3"), []),
    ]
    spans = [
        {"series": [{"measurement": "m", "topic": "", "from": at(first), "to": at(last)}]}
        for first, last in ((1, 2), (3, 3))
    ]
    assert sink.write(outputs) == [
        {"database": "campus", "points": count, **span} for count, span in zip((2, 1, 0), [*spans, {}], strict=True)
    ]
    assert http.calls[-1].request.body.decode().splitlines() == [
        'm value=1.0,lake_origin="17/op1" 1',
        'm,a=b value=2i,lake_origin="17/op1" 2',
        'm value=true,lake_origin="18/op2" 3',
    ]
    assert len(http.calls) == 2


def test_a_large_object_is_written_as_it_comes(http, influx):
    http.post(URL + "/query", json={"results": [{}]})
    http.post(URL + "/write", status=204)
    with InfluxDBSink(influx).writer(Origin("campus", "17", "op1")) as writer:
        for time in (1, 2):
            writer.add([Point("m", time, {"value": 1.0}, {})])
        assert [call.request.body.decode() for call in http.calls[1:]] == [
            f'm value=1.0,lake_origin="17/op1" {time}' for time in (1, 2)
        ]
        with pytest.raises(TypeError):
            writer.add([Row("t", {"a": 1})])
        series = [{"measurement": "m", "topic": "", "from": at(1), "to": at(2)}]
        assert writer.commit() == {"database": "campus", "points": 2, "series": series}


def test_points_of_several_topics_backwards(http, influx):
    http.post(URL + "/query", json=result())
    influx.points("campus", "W", ["a", "b"], descending=True, fields=["value"], after="5.2", end=9, limit=3)
    asked = form(http.calls[0])
    assert asked["q"] == (
        'SELECT "value"::field, *::tag FROM "W" '
        "WHERE (topic = $topic0 OR topic = $topic1) AND time < 6 ORDER BY time DESC LIMIT 3 OFFSET 2"
    )
    assert json.loads(asked["params"]) == {"topic0": "a", "topic1": "b"}


def test_points_of_an_operation(http, influx):
    series = [{"measurement": 'a"b', "topic": "t", "from": "1970-01-01", "to": "1970-01-02"}]
    columns = ["time", "lake_origin", "topic", "value"]
    answer = result({"name": 'a"b', "columns": columns, "values": [[1, "7/ab", "t", 1.5], [2, "7/ab", None, 2]]})
    http.post(URL + "/query", json=answer)
    found = influx.points_of("campus", "7/ab", series, 10)
    assert found == [
        {"measurement": 'a"b', "time": "1970-01-01T00:00:00.000000001Z", "topic": "t", "value": 1.5},
        {"measurement": 'a"b', "time": "1970-01-01T00:00:00.000000002Z", "value": 2},
    ]
    asked = form(http.calls[0])
    assert 'FROM "a\\"b" WHERE "lake_origin" = $origin' in asked["q"] and "topic = $topic0" in asked["q"]
    assert json.loads(asked["params"]) == {"origin": "7/ab", "topic0": "t"}
    assert influx.points_of("campus", "7/ab", [], 10) == []
