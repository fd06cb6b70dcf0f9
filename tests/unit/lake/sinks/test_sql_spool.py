# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import tracemalloc
from datetime import date

import pytest
from neocampus_lake.errors import InvalidName, StoreError
from neocampus_lake.records import Document, Row, Table
from neocampus_lake.sinks import sql_spool
from neocampus_lake.sinks.base import Origin
from neocampus_lake.sinks.sql_dialect import translate
from neocampus_lake.sinks.sql_spool import Spool
from neocampus_lake.sinks.sql_types import SqlType


def origin(number=1):
    return Origin("campus", str(number), "op")


def lines(spool, table, wanted=None, written=None):
    spool.end()
    load = spool.loads[table]
    return b"".join(spool.lines(load, load.origins if wanted is None else wanted, written or {})).decode().splitlines()


@pytest.fixture
def spool():
    with Spool() as spool:
        spool.begin(origin())
        yield spool


def test_lines_have_where_they_come_from_and_every_column(spool):
    spool.add([Row("t", {"a": 1}, 2), Row("t", {"b": "x"}, 3), Row("t", {"b": None, "a": 2.5}, 4), Row("t", {}, 5)])
    assert lines(spool, "t") == [
        "1\top\t1\t2\t1\t\\N",
        "1\top\t2\t3\t\\N\tx",
        "1\top\t3\t4\t2.5\t\\N",
        "1\top\t4\t5\t\\N\t\\N",
    ]
    columns = spool.loads["t"].columns
    assert (columns["a"].type, columns["b"].type) == (SqlType("number"), SqlType("text"))
    assert columns["a"].kinds == {"integer", "number"}


def test_lines_of_before_a_column_was_known_have_no_value_in_it(spool, monkeypatch):
    monkeypatch.setattr(sql_spool, "ROWS", 1)
    spool.add([Row("t", {"a": 1}), Row("t", {"b": 2}), Row("t", {"a": 3, "c": 4})])
    assert [line.split("\t")[4:] for line in lines(spool, "t")] == [
        ["1", "\\N", "\\N"],
        ["\\N", "2", "\\N"],
        ["3", "\\N", "4"],
    ]


def test_tables_and_objects_are_kept_apart(spool):
    spool.add([Row("a", {"x": 1}), Row("b", {"x": 2}), Row("a", {"x": 3})])
    spool.begin(origin(2))
    spool.add([Row("a", {"x": 4})])
    assert [line.split("\t")[::2] for line in lines(spool, "a")] == [["1", "1", "1"], ["1", "2", "3"], ["2", "1", "4"]]
    assert len(lines(spool, "b")) == 1
    assert spool.loads["a"].origins == {0: 2, 1: 1}
    assert [line.split("\t")[-1] for line in lines(spool, "a", [1])] == ["4"]


def test_declared_types_are_the_least(spool):
    spool.add([Table("t", {"a": "decimal", "b": "date", "c": "text"}, key=("a",)), Row("t", {"a": 1, "c": 1})])
    spool.end()
    load = spool.loads["t"]
    assert {name: column.type.kind for name, column in load.columns.items()} == {
        "a": "decimal",
        "b": "date",
        "c": "text",
    }
    assert load.key == ("a",)


def test_some_columns_are_written_otherwise(spool):
    spool.add([Row("t", {"a": True, "b": "T"}), Row("t", {"a": None, "b": "\\T"}), Row("t", {"a": "\\T", "b": ""})])
    found = lines(spool, "t", written={"a": translate((b"true", b"false"))})
    assert [line.split("\t")[4:] for line in found] == [["true", "T"], ["\\N", "\\\\T"], ["\\\\T", ""]]


@pytest.mark.parametrize(
    "record",
    [
        Document({}),
        Row("t", {"a\x01": 1, "a\x02": 2}),
        Row("t", {"a": object()}),
        Table("t", {"a": "varchar"}),
        Table("t", {"a": "date"}, key=("b",)),
    ],
)
def test_what_no_table_holds_is_refused(spool, record):
    with pytest.raises(StoreError) as refused:
        spool.add([record])
        spool.end()
    assert not refused.value.retriable


def test_an_object_has_an_id():
    with Spool() as spool, pytest.raises(InvalidName):
        spool.begin(Origin("campus", "x", "op"))


def test_memory_does_not_grow_with_the_rows(spool):
    """Nor with the size of rows, nor with the number of tables."""
    tracemalloc.start()
    try:
        spool.add(Row("t", {"a": number, "b": "x" * 200, "c": date(2021, 1, 1)}, number) for number in range(100_000))
        spool.add(Row("long", {"a": f"{number}" * 100_000}) for number in range(300))
        spool.add(Row(f"t{number % 300}", {"a": f"{number}" * 1000}) for number in range(15_000))
        spool.end()
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert sum(piece.length for load in spool.loads.values() for piece in load.pieces) > 150_000_000
