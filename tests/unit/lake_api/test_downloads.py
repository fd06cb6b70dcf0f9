# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Points, rows and documents as files; windows of points."""

from __future__ import annotations

import csv
import io
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lake_api import downloads
from neocampus_lake.errors import StoreError
from neocampus_lake.sinks.influxdb import Rows
from neocampus_lake.sinks.influxdb_reading import Column

SERIES = "/api/v1/containers/rooms/timeseries/points"
ROWS = "/api/v1/containers/rooms/tables/rooms/rows"
DOCUMENTS = "/api/v1/containers/rooms/documents"


@pytest.fixture
def points(insert, influx):
    insert("rooms", "x", b"1")
    for minute, topic in enumerate(("u4/1", "=cmd()", "u4/1", "u4/2", "u4/1")):
        influx.add("rooms", "lux", topic, f"2021-07-22T10:0{minute}:00Z", minute + 0.5)


def read(api, **given_):
    answer = api.get(SERIES, params={"measurement": "lux", **given_})
    assert answer.status_code == 200, answer.text
    return answer


def table(answer):
    return list(csv.reader(io.StringIO(answer.text, newline="")))


def test_csv(api, points):
    answer = read(api, format="csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''rooms-lux.csv"
    rows = table(answer)
    assert rows[:3] == [
        ["time", "measurement", "topic", "value"],
        ["2021-07-22T10:00:00Z", "lux", "u4/1", "0.5"],
        ["2021-07-22T10:01:00Z", "lux", "'=cmd()", "1.5"],
    ]
    assert len(rows) == 6
    assert table(read(api, format="csv", formulas="keep"))[2][2] == "=cmd()"
    assert api.get(SERIES, params={"measurement": "lux"}, headers={"Accept": "text/csv;q=1"}).text == answer.text
    assert table(read(api, format="csv", measurement="none")) == [[]]


def test_lines_of_json(api, points):
    lines = [json.loads(line) for line in read(api, format="ndjson").text.splitlines()]
    assert lines[0] == {"time": "2021-07-22T10:00:00Z", "measurement": "lux", "topic": "u4/1", "value": 0.5}
    assert len(lines) == 5


def test_arrow_and_parquet(api, points):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    arrow = pa.ipc.open_stream(read(api, format="arrow").content).read_all()
    parquet = pq.read_table(io.BytesIO(read(api, format="parquet").content))
    for found in (arrow, parquet):
        assert found.column_names == ["time", "measurement", "topic", "value"]
        assert str(found.schema.field("time").type) == "timestamp[ns, tz=UTC]"
        assert found["value"].to_pylist() == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert read(api, format="parquet").headers["content-type"] == "application/vnd.apache.parquet"


def test_what_is_asked_of_influxdb(api, points, influx):
    read(api, format="csv", topic=["u4/1", "u4/2"], order="desc", **{"from": "2021-07-22T10:01:00Z"}, origin="true")
    statement, params = influx.asked[-1]
    assert statement == (
        'SELECT "topic"::tag AS "topic", "value"::field AS "value", "lake_origin"::field AS "lake_origin" FROM "lux" '
        'WHERE ("topic"::tag = $topic0 OR "topic"::tag = $topic1) AND time >= 1626948060000000000 '
        "ORDER BY time DESC LIMIT 20000"
    )
    assert params == {"topic0": "u4/1", "topic1": "u4/2"}


def test_windows(api, points, influx, error_of):
    influx.windows = [
        Rows(0, "lux", {"topic": "a"}, [[0, 1.5], [600 * 10**9, None]]),
        Rows(0, "lux", {"topic": "b"}, [[0, 2.5]]),
    ]
    window = {"aggregate": "mean", "every": "10m"}
    assert read(api, **window).json() == {
        "items": [
            {"time": "1970-01-01T00:00:00Z", "topic": "a", "value_mean": 1.5},
            {"time": "1970-01-01T00:10:00Z", "topic": "a", "value_mean": None},
            {"time": "1970-01-01T00:00:00Z", "topic": "b", "value_mean": 2.5},
        ],
        "next": None,
    }
    assert 'SELECT mean("value") AS "value_mean"' in influx.asked[-1][0]
    assert 'GROUP BY time(600000000000ns), "topic" fill(none) ORDER BY time ASC' in influx.asked[-1][0]
    found, cursor = [], {}
    for _ in range(3):
        page = read(api, limit=1, **window, **cursor).json()
        found += page["items"]
        cursor = {"cursor": page["next"]}
    assert page["next"] is None and found == read(api, **window).json()["items"]
    influx.windows = influx.windows[1:]
    first = {"cursor": read(api, limit=1, **window, order="asc").json()["next"]}
    assert first["cursor"] is None
    assert table(read(api, format="csv", **window))[1] == ["1970-01-01T00:00:00Z", "lux", "b", "2.5"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"aggregate": "avg"}, "none of mean"),
        ({"aggregate": "p101"}, "none of mean"),
        ({"aggregate": "mean", "every": "10"}, "width of a window"),
        ({"every": "10m"}, "every says how points are aggregated"),
        ({"aggregate": "mean", "fill": "zero"}, "fill is"),
        ({"aggregate": "mean", "fill": "null", "every": "1s"}, "beginning"),
        ({"aggregate": "mean", "fill": "0", "every": "1ms", "from": "2000-01-01"}, "windows"),
        ({"aggregate": "mean", "group": "none"}, "no tag 'none'"),
        ({"aggregate": "mean", "field": "none"}, "no field 'none'"),
        ({"aggregate": "mean", "origin": "true"}, "no origin"),
        ({"field": "value", "origin": "true"}, "whole points"),
        ({"format": "xml"}, "'format'"),
        ({"format": "csv", "cursor": "x"}, "'cursor'"),
        ({"order": "up"}, "'order'"),
    ],
)
def test_what_can_not_be_asked(api, points, error_of, asked, says):
    assert says in error_of(api.get(SERIES, params={"measurement": "lux", **asked}), 400)


def test_pages_backwards_and_of_several_topics(api, points):
    first = read(api, order="desc", limit=2).json()
    assert [one["value"] for one in first["items"]] == [4.5, 3.5]
    assert [one["value"] for one in read(api, order="desc", limit=2, cursor=first["next"]).json()["items"]] == [
        2.5,
        1.5,
    ]
    assert [one["value"] for one in read(api, topic=["u4/1", "u4/2"]).json()["items"]] == [0.5, 2.5, 3.5, 4.5]


def test_a_store_that_is_away(api, points, influx, error_of):
    influx.error = StoreError("away")
    error_of(api.get(SERIES, params={"measurement": "lux", "format": "csv"}), 503, "service_unavailable")
    influx.error, influx.breaks_after = None, 1
    influx.windows = [Rows(0, "lux", {"topic": topic}, [[0, 1.5]]) for topic in "ab"]
    asked = {"measurement": "lux", "format": "csv", "aggregate": "mean", "every": "1m"}
    assert len(table(api.get(SERIES, params=asked))) == 2  # and no end of the body: the connection is cut
    influx.breaks_after = 0
    error_of(api.get(SERIES, params=asked), 503, "service_unavailable")


def test_files_are_bounded_in_number(api, points, influx, error_of):
    lake = api.app.app.state.lake
    for _ in range(20):  # each gives its place back
        read(api, format="csv")
    lake.downloads._running = 8
    answer = api.get(SERIES, params={"measurement": "lux", "format": "csv"})
    error_of(answer, 429, "too_many_downloads")
    assert answer.headers["retry-after"]
    lake.downloads._running = 0


def test_other_projects_get_no_files(api, points, keystone, error_of):
    api.headers["X-Auth-Token"] = keystone.give("foreign", project="p2")
    error_of(api.get(SERIES, params={"measurement": "lux", "format": "csv"}), 404, "not_found")
    error_of(api.get(ROWS, params={"format": "csv"}), 404, "not_found")
    error_of(api.get(DOCUMENTS, params={"format": "ndjson"}), 404, "not_found")


def test_rows(api, insert, tables, error_of):
    insert("rooms", "x", b"1")
    origin = {"object": "1", "operation": "ab", "row": 1, "line": None}
    tables.stores = {"rooms": {"rooms": [{"name": "-é", "area": "21", "lake": {**origin, "row": n}} for n in range(7)]}}
    found = table(api.get(ROWS, params={"format": "csv", "origin": "true"}))
    assert found[0] == ["name", "area", "lake_object", "lake_operation", "lake_row", "lake_line"]
    assert found[1] == ["'-é", "21", "1", "ab", "0", ""] and len(found) == 8
    lines = api.get(ROWS, params={"format": "ndjson", "columns": "area"}).text.splitlines()
    assert json.loads(lines[0]) == {"area": "21"} and len(lines) == 7
    error_of(api.get(ROWS.replace("rooms/rows", "none/rows"), params={"format": "csv"}), 404, "not_found")
    tables.error = StoreError("away")
    error_of(api.get(ROWS, params={"format": "csv"}), 503)


def test_documents(api, insert, gold_documents, error_of):
    insert("rooms", "x", b"1")
    lake = {"object": "1", "number": 0, "operation": "ab"}
    gold_documents.stores = {
        "rooms": [{"room": "302", "sensors": [{"kind": "lux"}], "lake": lake}, {"a": 1, "lake": lake}]
    }
    [first, _second] = api.get(DOCUMENTS, params={"format": "ndjson"}).text.splitlines()
    assert json.loads(first)["sensors"] == [{"kind": "lux"}] and json.loads(first)["lake"]["id"] == "1-0"
    asked = {"format": "csv", "columns": "lake.id,room,sensors.0.kind,sensors,sensors.7"}
    found = table(api.get(DOCUMENTS, params=asked))
    assert found == [
        asked["columns"].split(","),
        ["1-0", "302", "lux", '[{"kind": "lux"}]', ""],
        ["1-0", "", "", "", ""],
    ]
    assert "columns" in error_of(api.get(DOCUMENTS, params={"format": "csv"}), 400)
    assert "columns" in error_of(api.get(DOCUMENTS, params={"columns": "a"}), 400)
    error_of(api.get(DOCUMENTS, params={"format": "arrow"}), 400)


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20).filter(lambda text: "\x00" not in text)
KINDS = {"time": "time", "a": "text", "b": "integer", "c": "number", "d": "boolean"}
COLUMNS = [Column(name, kind) for name, kind in KINDS.items()]
ROW = st.tuples(
    st.integers(0, 2**62),
    st.none() | TEXT,
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.none() | st.booleans(),
)


@given(st.lists(st.lists(ROW, max_size=5), max_size=4))
def test_nothing_is_lost_in_any_format(blocks):
    rows = [row for block in blocks for row in block]
    out = b"".join(downloads.encoded("csv", COLUMNS, blocks, formulas=True)).decode()
    assert [one[1] for one in list(csv.reader(io.StringIO(out, newline="")))[1:]] == [row[1] or "" for row in rows]
    out = b"".join(downloads.encoded("ndjson", COLUMNS, blocks)).decode()
    assert [json.loads(line).get("b") for line in out.split("\n")[:-1]] == [row[2] for row in rows]
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    stream = b"".join(downloads.encoded("arrow", COLUMNS, blocks))
    parquet = b"".join(downloads.encoded("parquet", COLUMNS, blocks))
    for found in (pa.ipc.open_stream(stream).read_all(), pq.read_table(io.BytesIO(parquet))):
        assert [list(one) for one in zip(*(found[name].to_pylist() for name in "abcd"), strict=True)] == [
            list(row[1:]) for row in rows
        ]


@given(st.lists(st.lists(TEXT, min_size=2, max_size=2), max_size=20))
def test_no_text_in_csv_is_a_formula(rows):
    columns = [Column("a", "text"), Column("b", "text")]
    out = b"".join(downloads.encoded("csv", columns, [rows])).decode()
    cells = [cell for row in csv.reader(io.StringIO(out, newline="")) for cell in row]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)


def test_a_step_under_way_ends_before_what_it_reads_is_closed():
    going, closed = threading.Event(), []

    def pieces():
        try:
            going.wait(5)
            yield b"a"
        finally:
            closed.append(True)

    steps = downloads._Steps(pieces())
    reading = threading.Thread(target=steps.next)
    reading.start()
    closing = threading.Thread(target=steps.close)
    closing.start()
    going.set()
    closing.join(5)
    assert closed == [True]
    reading.join(5)
