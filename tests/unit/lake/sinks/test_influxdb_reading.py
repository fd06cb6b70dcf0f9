# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Series as tables: of what InfluxDB answered once, and of a real one where LAKE_TEST_INFLUXDB has its URL (one that
asks for no password)."""

import os
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput
from neocampus_lake.points import Point
from neocampus_lake.sinks import influxdb_reading
from neocampus_lake.sinks.influxdb import InfluxDB, Rows
from neocampus_lake.sinks.influxdb_reading import Column, Selection, SeriesTable, parse_duration

SERVER = os.environ.get("LAKE_TEST_INFLUXDB")
S = 10**9


class Answers:
    """InfluxDB with the tags and fields of one measurement."""

    def __init__(self, tags, fields, *rows):
        self.tags, self.fields, self.rows, self.asked = tags, fields, rows, []

    def stream(self, database, statements, params=None):
        self.asked += statements
        if statements[0].startswith("SHOW"):
            yield Rows(0, "lux", {}, [[tag] for tag in self.tags])
            yield Rows(1, "lux", {}, [list(field) for field in self.fields])
        else:
            yield from self.rows


def table(answers, **selected):
    return SeriesTable(answers, "campus", Selection("lux", **selected))


def test_columns_of_points():
    answers = Answers(
        ["topic", "value"], [("lake_origin", "string"), ("n", "integer"), ("n", "float"), ("value", "float")]
    )
    found = table(answers, origin=True)
    names = ["time", "measurement", "topic", "value", "n", "value_", "lake_origin"]
    assert [column.name for column in found.columns] == names
    assert found.columns[4:6] == [Column("n", "number"), Column("value_", "number")]
    list(found.blocks())
    assert answers.asked[-1] == (
        'SELECT "topic"::tag AS "topic", "value"::tag AS "value", "n"::field AS "n", "value"::field AS "value_", '
        '"lake_origin"::field AS "lake_origin" FROM "lux" ORDER BY time ASC LIMIT 20000'
    )


def test_rows_have_their_tags_where_they_are_grouped():
    answers = Answers(["topic", "u"], [("value", "float")], Rows(0, "lux", {"topic": "a"}, [[0, 1.5], [60 * S, None]]))
    found = table(answers, aggregates=("mean",), every=60 * S)
    assert list(found.blocks()) == [[[0, "lux", "a", None, 1.5], [60 * S, "lux", "a", None, None]]]
    assert 'GROUP BY time(60000000000ns), "topic", "u" fill(none)' in answers.asked[-1]


def test_types_of_aggregates():
    answers = Answers([], [("i", "integer"), ("s", "string")])
    found = table(answers, aggregates=("mean", "sum", "count", "p50"))
    assert [column.type for column in found.columns[2:]] == ["number", "integer", "integer", "integer"]
    assert table(answers, aggregates=("last",), fields=("s",)).columns[-1] == Column("s_last", "text")
    with pytest.raises(InvalidInput, match="no mean of it"):
        table(answers, aggregates=("mean",), fields=("s",))
    with pytest.raises(InvalidInput, match="no field of 'lux' is a number"):
        table(Answers([], [("s", "string")]), aggregates=("mean",))


def test_what_is_named_is_quoted_or_a_parameter():
    answers = Answers(['t"x'], [('v"; DROP', "float")])
    list(table(answers, aggregates=("max",), group=('t"x',), topics=("'; DROP",), end=5).blocks())
    assert '("topic"::tag = $topic0) AND time < 5' in answers.asked[-1] and 'BY "t\\"x"' in answers.asked[-1]
    list(table(answers).blocks())
    assert 't\\"x' in answers.asked[-1] and 'v\\"; DROP"::field' in answers.asked[-1]


@pytest.mark.parametrize(("text", "ns"), [("10m", 600 * S), ("500ms", S // 2), ("1w", 7 * 86400 * S), ("30s", 30 * S)])
def test_durations(text, ns):
    assert parse_duration(text) == ns


@given(st.text(max_size=12))
def test_no_other_durations(text):
    try:
        assert parse_duration(text) > 0
    except InvalidInput as error:
        assert "width of a window" in str(error)


@pytest.mark.skipif(not SERVER, reason="LAKE_TEST_INFLUXDB names no server")
class TestServer:
    @pytest.fixture(scope="class")
    def influx(self):
        return InfluxDB(SERVER, "nobody", "nothing")

    @pytest.fixture(scope="class")
    def database(self, influx):
        name = f"test-{uuid.uuid4().hex[:8]}"
        influx.ensure_database(name)
        points = [Point("lux", n * 30 * S, {"value": float(n)}, {"topic": "ab"[n % 2], "u": "1"}) for n in range(10)]
        influx.write(name, points, origin="1/x")
        influx.write(name, [Point("lux", 3600 * S, {"value": 100.0, "n": 3}, {"topic": "c d"})], origin="2/y")
        yield name
        influx.query(None, f'DROP DATABASE "{name}"')

    def read(self, influx, database, **selected):
        found = SeriesTable(influx, database, Selection("lux", **selected))
        return [row for block in found.blocks() for row in block]

    def test_points(self, influx, database):
        rows = self.read(influx, database)
        assert rows[0] == [0, "lux", "a", "1", None, 0.0] and rows[-1] == [3600 * S, "lux", "c d", None, 3, 100.0]
        assert self.read(influx, database, descending=True) == rows[::-1]
        assert len(self.read(influx, database, topics=("a", "c d"), start=30 * S)) == 5
        assert self.read(influx, database, fields=("n",)) == [[3600 * S, "lux", "c d", None, 3]]
        assert self.read(influx, database, topics=("c d",), origin=True)[0][-1] == "2/y"

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 20])
    def test_points_block_by_block(self, influx, database, monkeypatch, size, descending):
        """Ten series have points at the same times."""
        points = [Point("m", n // 10 * S, {"value": float(n)}, {"topic": str(n % 10)}) for n in range(40)]
        influx.write(database, points)
        monkeypatch.setattr(influxdb_reading, "BLOCK", size)
        found = SeriesTable(influx, database, Selection("m", start=S, end=4 * S, descending=descending))
        rows = [row for block in found.blocks() for row in block]
        assert [row[0] for row in rows] == sorted((row[0] for row in rows), reverse=descending)
        assert sorted(row[-1] for row in rows) == [float(n) for n in range(10, 40)]

    def test_windows(self, influx, database):
        rows = self.read(influx, database, aggregates=("mean", "count"), every=60 * S, fields=("value",))
        assert rows[:2] == [[0, "lux", "a", "1", 0.0, 1], [60 * S, "lux", "a", "1", 2.0, 1]]
        assert rows[-1] == [3600 * S, "lux", "c d", None, 100.0, 1] and len(rows) == 11
        asked = {"aggregates": ("p50", "median", "stddev", "spread", "first", "last", "min", "max", "sum"), "group": ()}
        [row] = self.read(influx, database, fields=("value",), end=300 * S, **asked)
        assert row[2:] == [4.0, 4.5, pytest.approx(3.0276, abs=1e-3), 9.0, 0.0, 9.0, 0.0, 9.0, 45.0]

    @pytest.mark.parametrize(("fill", "second"), [("null", None), ("previous", 0.0), ("linear", 1.0), ("7", 7)])
    def test_fills(self, influx, database, fill, second):
        asked = {
            "aggregates": ("max",),
            "every": 30 * S,
            "start": 0,
            "end": 90 * S,
            "topics": ("a",),
            "fields": ("value",),
        }
        rows = self.read(influx, database, fill=fill, **asked)
        assert [row[-1] for row in rows] == [0.0, second, 2.0]

    def test_what_is_not_there(self, influx, database):
        assert self.read(influx, "none") == []
        assert list(SeriesTable(influx, database, Selection("none")).blocks()) == []
