# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows in real servers: LAKE_TEST_POSTGRESQL and LAKE_TEST_MARIADB say where one is, as JSON
`{"writer": {…}, "reader": {…}}` with the arguments of SqlStore; without them these tests are skipped.

The gold zone's scenario runs them against the lake's own servers."""

import itertools
import json
import os
import threading
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput, NotFound, StoreError
from neocampus_lake.records import Document, Row, Table
from neocampus_lake.sinks.base import Origin
from neocampus_lake.sinks.reading import Filter

pytest.importorskip("sqlalchemy")

from neocampus_lake.sinks import sql  # noqa: E402
from neocampus_lake.sinks.sql import SqlSink, SqlStore  # noqa: E402
from neocampus_lake.sinks.sql_names import NEW  # noqa: E402
from neocampus_lake.sinks.sql_reading import SqlReader  # noqa: E402

SERVERS = {name: os.environ.get(f"LAKE_TEST_{name.upper()}") for name in ("postgresql", "mariadb")}


@pytest.fixture(scope="module", params=list(SERVERS))
def server(request):
    if not SERVERS[request.param]:
        pytest.skip(f"LAKE_TEST_{request.param.upper()} names no server")
    return json.loads(SERVERS[request.param])


@pytest.fixture(scope="module")
def gold(server):
    """The store as its writer has it."""
    store = SqlStore(**server["writer"])
    yield store
    store.close()


@pytest.fixture(scope="module")
def reader(server):
    store = SqlStore(**server["reader"])
    yield SqlReader(store)
    store.close()


@pytest.fixture
def store(gold):
    """A store (container) of its own, removed after the test."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    yield name
    drop(gold, name)


def drop(gold, name):
    kind, cascade = ("SCHEMA", " CASCADE") if gold.dialect.place == "schema" else ("DATABASE", "")
    with gold._engine.begin() as connection:
        connection.exec_driver_sql(f"DROP {kind} IF EXISTS {gold.dialect.quote(gold.schema_of(name))}{cascade}")
    gold._ready.discard(gold.schema_of(name))


def put(gold, store, number, records, operation="op1"):
    [said] = SqlSink(gold).write([(Origin(store, str(number), operation), records)])
    return said


def rows(table, *values, line=2):
    return [Row(table, value, number) for number, value in enumerate(values, line)]


def read(reader, store, table, **options):
    """Rows without their origins."""
    found, cursor = reader.rows(store, table, **options)
    assert cursor is None
    return [{key: value for key, value in row.items() if key != "lake"} for row in found]


def types(reader, store, table):
    return {column["column"]: column["type"] for column in reader.columns(store, table)}


VALUES = {
    "boolean": True,
    "integer": -(2**63),
    "number": 2.5e-30,
    "decimal": Decimal("12345678901234567890.000000000123"),
    "date": date(2021, 7, 22),
    "time": time(11, 1, 22, 500000),
    "timestamp": datetime(2021, 7, 22, 13, 1, 22, 120000, tzinfo=timezone(timedelta(hours=2))),
    "bytes": b"\x00\xff'\\\t\n",
    "text": "é\t\\N 'q' \"d\"\n\r\\ \U0001f600 %s %% :x \\x41 \\T",
}
READ = {
    **VALUES,
    "decimal": "12345678901234567890.000000000123",
    "date": "2021-07-22",
    "time": "11:01:22.500000",
    "timestamp": "2021-07-22T11:01:22.120000Z",
    "bytes": "\\x00ff275c090a",
}


def test_every_type_comes_back_as_it_was_and_leads_back(gold, reader, store):
    named = {f"a {kind}": value for kind, value in VALUES.items()}
    said = put(gold, store, 17, rows("Mesures d'été", named, dict.fromkeys(named)))
    assert said == {gold.dialect.place: gold.schema_of(store), "tables": {"mesures_d_ete": 2}, "rows": 2}
    assert types(reader, store, "mesures_d_ete") == {f"a_{kind}": kind for kind in VALUES}
    found, _cursor = reader.rows(store, "mesures_d_ete")
    assert found[0] == {
        **{f"a_{kind}": value for kind, value in READ.items()},
        "lake": {"object": "17", "operation": "op1", "row": 1, "line": 2},
    }
    assert {value for key, value in found[1].items() if key != "lake"} == {None}
    origin = reader.origin(store, "mesures_d_ete", "17", 2)
    assert {key: origin[key] for key in ("object", "operation", "row", "line")} == {
        "object": "17",
        "operation": "op1",
        "row": 2,
        "line": 3,
    }
    assert origin["written"].startswith(str(datetime.now(UTC).year))
    assert reader.contents(store, "17") == {"mesures_d_ete": 2}
    assert reader.contents(store, "18") == {}


def test_json_is_json_as_long_as_it_is(gold, reader, store):
    table = Table("t", {"a": "json", "b": "json", "c": "json"})
    values = [{"a": '{"x": [1, null]}', "b": "{}", "c": None}, {"a": '"s"', "b": "{", "c": None}]
    put(gold, store, 1, [table, *rows("t", *values)])
    assert types(reader, store, "t") == {"a": "json", "b": "text", "c": "json"}
    assert read(reader, store, "t") == [{"a": {"x": [1, None]}, "b": "{}", "c": None}, {"a": "s", "b": "{", "c": None}]
    put(gold, store, 2, rows("t", {"a": "no json"}))
    assert types(reader, store, "t")["a"] == "text"
    assert json.loads(read(reader, store, "t", object_id="1")[0]["a"]) == {"x": [1, None]}


def test_an_object_s_rows_are_replaced_whichever_tables_they_were_in(gold, reader, store):
    put(gold, store, 1, rows("a", {"x": 1}, {"x": 2}) + rows("b", {"y": 1}))
    put(gold, store, 2, rows("a", {"x": 7}))
    put(gold, store, 1, rows("a", {"x": 3}), operation="op2")
    assert read(reader, store, "a") == [{"x": 3}, {"x": 7}]
    assert read(reader, store, "b") == []
    assert reader.rows(store, "a", object_id="1")[0][0]["lake"]["operation"] == "op2"
    assert reader.contents(store, "1") == {"a": 1}
    put(gold, store, 1, [], operation="op3")
    assert read(reader, store, "a") == [{"x": 7}]


def test_doing_it_again_changes_nothing(gold, reader, store):
    for _time in range(3):
        put(gold, store, 1, rows("t", {"x": 1, "y": "a"}, {"x": 2}))
    assert read(reader, store, "t") == [{"x": 1, "y": "a"}, {"x": 2, "y": None}]


def test_nothing_makes_no_schema(gold, reader, store):
    assert put(gold, store, 1, []) == {gold.dialect.place: gold.schema_of(store), "tables": {}, "rows": 0}
    assert reader.tables(store) == []
    with pytest.raises(NotFound):
        reader.rows(store, "t")


MIXES = {
    "boolean integer": ([True, None, 5, False], "integer", [1, None, 5, 0]),
    "boolean number": ([True, 2.5], "number", [1.0, 2.5]),
    "boolean decimal": ([False, Decimal("2.5")], "decimal", [0, 2.5]),
    "integer decimal": ([7, Decimal("2.25")], "decimal", [7, 2.25]),
    "integer number": ([7, 2.25], "number", [7.0, 2.25]),
    "decimal number": ([Decimal("1.5"), 2.25], "number", [1.5, 2.25]),
    "integer big": ([7, 2**63], "decimal", [7, str(2**63)]),
    "date timestamp": (
        [date(2021, 7, 22), datetime(2021, 7, 22, 1)],
        "timestamp",
        ["2021-07-22T00:00:00Z", "2021-07-22T01:00:00Z"],
    ),
    "boolean text": ([True, False, "x"], "text", ["true", "false", "x"]),
    "integer text": ([7, "x"], "text", ["7", "x"]),
    "number text": ([2.5, "x"], "text", ["2.5", "x"]),
    "decimal text": ([Decimal("2.50"), "x"], "text", lambda text: text in ("2.50", "2.5")),
    "date text": ([date(2021, 7, 22), "x"], "text", ["2021-07-22", "x"]),
    "round decimal text": ([Decimal(100), "x"], "text", ["100", "x"]),
    "big decimal text": ([2**64 * 10, "x"], "text", ["184467440737095516160", "x"]),
    "time text": ([time(11, 1), "x"], "text", lambda text: text in ("11:01:00", "11:01")),
    "timestamp text": (
        [datetime(2021, 7, 22, 1, 2, 3, 250000), "x"],
        "text",
        lambda text: text in ("2021-07-22T01:02:03.25Z", "2021-07-22T01:02:03.250000Z"),
    ),
    "bytes text": ([b"\x01'", "x"], "text", ["\\x0127", "x"]),
    "date integer": ([date(2021, 7, 22), 5], "text", ["2021-07-22", "5"]),
    "nothing integer": ([None, 5], "integer", [None, 5]),
    "nothing json": ([None, None], "text", [None, None]),
}


@pytest.mark.parametrize("objects", ["one", "many", "many, the other way"])
def test_types_are_widened_within_an_object_and_by_later_ones(gold, reader, store, objects):
    """A column for each mix, all in one table, with a column of one type beside them."""
    length = max(len(values) for values, _kind, _wanted in MIXES.values())
    lines = [
        {**{mix: dict(enumerate(values)).get(place) for mix, (values, _kind, _wanted) in MIXES.items()}, "w": 1}
        for place in range(length)
    ]
    if objects == "one":
        put(gold, store, 1, rows("t", *lines))
    else:
        numbered = list(enumerate(lines, 1))
        for number, line in numbered if objects == "many" else reversed(numbered):
            put(gold, store, number, rows("t", line))
    columns = {column["name"]: column for column in reader.columns(store, "t")}
    kinds = {name: column["type"] for name, column in columns.items()}
    assert kinds == {**{mix: kind for mix, (_values, kind, _wanted) in MIXES.items()}, "w": "integer"}
    found = read(reader, store, "t")
    for mix, (values, _kind, wanted) in MIXES.items():
        there = [row[columns[mix]["column"]] for row in found]
        assert there[len(values) :] == [None] * (length - len(values))
        there = there[: len(values)]
        if callable(wanted):
            assert there[1] == "x" and wanted(there[0]), mix
        else:
            assert there == wanted, mix


def test_decimals_grow_as_they_need(gold, reader, store):
    numbers = ["1.5", "123456789012345678901234567890", "0.000000000000000000000000000001"]
    for number, text in enumerate(numbers, 1):
        put(gold, store, number, rows("t", {"v": Decimal(text)}))
    found = [Decimal(str(row["v"])) for row in read(reader, store, "t")]
    assert found == list(map(Decimal, numbers))
    put(gold, store, 4, rows("t", {"v": Decimal("1E+60")}))
    found = [Decimal(str(row["v"])) for row in read(reader, store, "t")]
    assert found == [*map(Decimal, numbers), Decimal("1E+60")]


def test_columns_come_and_go(gold, reader, store):
    put(gold, store, 1, rows("t", {"a": 1}, {"b": "x", "a": 2}, {"c": 1.5}, {}))
    put(gold, store, 2, rows("t", {"d": True}, {"A": 9}))
    assert read(reader, store, "t") == [
        {"a": 1, "b": None, "c": None, "d": None, "a_2": None},
        {"a": 2, "b": "x", "c": None, "d": None, "a_2": None},
        {"a": None, "b": None, "c": 1.5, "d": None, "a_2": None},
        {"a": None, "b": None, "c": None, "d": None, "a_2": None},
        {"a": None, "b": None, "c": None, "d": True, "a_2": None},
        {"a": None, "b": None, "c": None, "d": None, "a_2": 9},
    ]


def test_names_are_made_safe_and_the_files_own_are_kept(gold, reader, store):
    columns = [
        "Température (°C)",
        "temperature c",
        "SELECT",
        "lake_object",
        "1st",
        "日本",
        "",
        "ctid",
        "x" * 200,
        "x" * 201,
    ]
    columns += ["100% :a %s", "quote ' \" ` \\ ;--", "\U0001f600" * 400, "tab\tnew\nline", "lake"]
    tables = ["SELECT", "lake_tables", "Été 2021", "été-2021", "; DROP TABLE x", "", "t" * 100, "t" * 101, "pg_class"]
    values = dict(zip(columns, range(len(columns)), strict=True))
    for number, table in enumerate(tables, 1):
        put(gold, store, number, rows(table, values))
    found = {table["name"]: table for table in reader.tables(store)}
    assert set(found) == set(tables)
    assert len({table["table"] for table in found.values()}) == len(tables)
    for table in found.values():
        assert len({column["column"] for column in table["columns"]}) == len(columns)
        assert read(reader, store, table["table"]) == [
            {column["column"]: number for number, column in enumerate(table["columns"])}
        ]
    names = [column["name"] for column in found["SELECT"]["columns"]]
    assert (
        names[:12] == columns[:12] and names[12].startswith("\U0001f600" * 20) and names[13] == "tab\ufffdnew\ufffdline"
    )
    put(gold, store, 1, rows("SELECT", values, values))  # the names are found again
    assert len(reader.columns(store, found["SELECT"]["table"])) == len(columns)


def test_characters_that_no_store_holds_are_replaced_and_counted(gold, reader, store):
    said = put(gold, store, 1, rows("t", {"v": "a\x00b\ud800c"}, {"v": "d"}))
    assert said["replaced_characters"] == 2
    assert read(reader, store, "t") == [{"v": "a\ufffdb\ufffdc"}, {"v": "d"}]


def test_no_number_is_no_value_and_infinity_is_a_text(gold, reader, store):
    put(gold, store, 1, rows("t", {"a": float("nan"), "b": float("inf")}, {"a": 1.5, "b": 2.5}))
    assert read(reader, store, "t") == [{"a": None, "b": "inf"}, {"a": 1.5, "b": "2.5"}]


def test_a_key_shows_the_latest_object_s_row_whatever_the_order(gold, reader, store):
    table = Table("index", {"meter": "text", "day": "date", "kwh": "decimal"}, key=("meter", "day"))

    def objects(number, *values):
        day = date(2021, 7, 22)
        return number, [table, *rows("index", *({"meter": meter, "day": day, "kwh": kwh} for meter, kwh in values))]

    def current():
        return {(row["meter"], row["kwh"]) for row in read(reader, store, "index__current")}

    three = [objects(1, ("a", 1), ("b", 2)), objects(2, ("b", 3), (None, 4)), objects(3, ("b", 5), ("b", 6))]
    for order in itertools.permutations(three):
        for number, records in order:
            put(gold, store, number, records)
        [told] = reader.tables(store)
        assert (told["table"], told["key"], told["current"]) == ("index_", ["meter", "day"], "index__current")
        assert current() == {("a", 1), ("b", 6), (None, 4)}
        assert len(read(reader, store, "index_")) == 6
    put(gold, store, 3, [table])  # the third again, without rows: what was there before shows again
    assert {(row["meter"], row["kwh"]) for row in read(reader, store, "index__current")} == {
        ("a", 1),
        ("b", 3),
        (None, 4),
    }
    # The key's columns are widened, and others added, below the view.
    put(gold, store, 4, [table, *rows("index", {"meter": "b", "day": "no day", "more": 1})])
    assert types(reader, store, "index__current") == {
        "meter": "text",
        "day": "text",
        "kwh": "decimal",
        "more": "integer",
    }
    assert len(read(reader, store, "index__current")) == 4


def test_a_whole_table_replaces_what_objects_before_it_brought(gold, reader, store):
    def whole(number, *values):
        return put(gold, store, number, [Table("t", {"v": "integer"}, replaces=True), *rows("t", *values)])

    put(gold, store, 1, rows("t", {"v": 1}) + rows("other", {"v": 1}))
    whole(3, {"v": 3})
    put(gold, store, 4, rows("t", {"v": 4}))
    assert read(reader, store, "t") == [{"v": 3}, {"v": 4}]
    assert read(reader, store, "other") == [{"v": 1}]
    said = put(gold, store, 2, rows("t", {"v": 2}))  # before the whole one, processed after it
    assert (said["rows"], said["superseded"]) == (0, 1)
    assert read(reader, store, "t") == [{"v": 3}, {"v": 4}]
    whole(3, {"v": 33})  # again: the ones after it stay
    assert read(reader, store, "t") == [{"v": 33}, {"v": 4}]
    whole(5)
    assert read(reader, store, "t") == []
    put(gold, store, 5, rows("t", {"v": 5}))  # it was no whole table after all
    put(gold, store, 2, rows("t", {"v": 2}))
    assert read(reader, store, "t") == [{"v": 2}, {"v": 5}]


def test_several_objects_at_once(gold, reader, store):
    outputs = [(Origin(store, str(number), "op"), rows("t", {"v": number}, {"v": number})) for number in (3, 1, 2)]
    for _time in range(2):
        said = SqlSink(gold).write(outputs)
        assert [one["rows"] for one in said] == [2, 2, 2]
    assert [row["v"] for row in read(reader, store, "t")] == [1, 1, 2, 2, 3, 3]
    assert SqlSink(gold).write([]) == []
    outputs.append((Origin(store, "4", "op"), [Table("t", {}, replaces=True), *rows("t", {"v": 4})]))
    assert [one.get("superseded", 0) for one in SqlSink(gold).write(outputs)] == [2, 2, 2, 0]
    assert [row["v"] for row in read(reader, store, "t")] == [4]


def test_nothing_is_there_until_commit(gold, reader, store):
    put(gold, store, 1, rows("t", {"v": 0}))
    with SqlSink(gold).writer(Origin(store, "1", "op")) as writer:
        writer.add(rows("t", *({"v": number} for number in range(3000))))
        assert read(reader, store, "t") == [{"v": 0}]
    assert read(reader, store, "t") == [{"v": 0}]
    with SqlSink(gold).writer(Origin(store, "1", "op")) as writer:
        writer.add(rows("t", *({"v": number} for number in range(1500))))
        writer.add(rows("t", *({"v": number} for number in range(1500, 3000))))
        assert writer.commit()["rows"] == 3000
    found, cursor = reader.rows(store, "t", limit=10_000)
    assert [row["v"] for row in found] == list(range(3000)) and cursor is None


def test_names_page_by_page(gold, reader, store):
    assert reader.names(store) == ([], None)
    put(gold, store, 1, [row for name in "dbeac" for row in rows(name, {"v": 1})])
    found, after = [], None
    for _page in range(3):
        page, after = reader.names(store, 2, after)
        found += page
    assert found == ["a", "b", "c", "d", "e"] and after is None
    for options in ({"limit": 0}, {"after": "a'"}, {"after": "\x00"}):
        with pytest.raises(InvalidInput):
            reader.names(store, **options)
    reader.ping()


def test_a_table_says_how_much_is_in_it(gold, reader, store):
    declared = Table("Mesures d'été", {"id": "integer"}, key=("id",))
    put(gold, store, 1, [declared, *rows("Mesures d'été", {"id": 1}, {"id": 2})])
    put(gold, store, 2, rows("Mesures d'été", {"id": 2}))
    put(gold, store, 3, rows("other", {"id": 2}))
    told = reader.table(store, "mesures_d_ete")
    assert told == {
        "table": "mesures_d_ete",
        "name": "Mesures d'été",
        "key": ["id"],
        "current": "mesures_d_ete_current",
        "columns": [{"column": "id", "name": "id", "type": "integer"}],
        "rows": 3,
        "objects": 2,
    }
    assert reader.table(store, "mesures_d_ete_current") == {**told, "rows": None, "objects": None}
    put(gold, store, 1, [])
    assert (reader.table(store, "mesures_d_ete")["rows"], reader.table(store, "mesures_d_ete")["objects"]) == (1, 1)
    for table in ("nothing", "Mesures d'été", "lake_tables", "x\x00", "é"):
        with pytest.raises(NotFound):
            reader.table(store, table)


def test_rows_with_some_columns(gold, reader, store):
    put(gold, store, 1, rows("t", {"a": 2, "b": "x", "c": True}, {"a": 1, "b": "y", "c": None}))
    assert read(reader, store, "t", columns=["c", "a", "c"]) == [{"c": True, "a": 2}, {"c": None, "a": 1}]
    assert read(reader, store, "t", columns=["b"], order="a") == [{"b": "y"}, {"b": "x"}]
    first, after = reader.rows(store, "t", columns=["b"], order="a", limit=1)
    second, _end = reader.rows(store, "t", columns=["b"], order="a", limit=1, after=after)
    assert [row["b"] for row in first + second] == ["y", "x"]
    assert first[0]["lake"] == {"object": "1", "operation": "op1", "row": 2, "line": 3}
    with pytest.raises(InvalidInput, match="no column 'd'"):
        reader.rows(store, "t", columns=["d"])


def test_a_page_of_large_rows_ends_early(gold, reader, store, monkeypatch):
    put(gold, store, 1, rows("t", *({"v": number, "w": "x" * 1000} for number in range(60))))
    monkeypatch.setattr("neocampus_lake.sinks.sql_reading.PAGE_BYTES", 10_000)
    found, after, pages = [], None, 0
    while after or not pages:
        page, after = reader.rows(store, "t", limit=40, after=after)
        found += page
        pages += 1
    assert [row["v"] for row in found] == list(range(60)) and pages == 6
    monkeypatch.setattr("neocampus_lake.sinks.sql_reading.PAGE_BYTES", 10)
    assert len(reader.rows(store, "t", limit=5)[0]) == 1


@pytest.mark.parametrize("again", range(3))
def test_workers_that_change_the_same_table_at_once(gold, reader, store, server, again):
    """Each brings another type, a column of its own, and its object twice."""
    values = [True, 5, 2.5, Decimal("1.25"), date(2021, 7, 22), "text"]
    start, failed = threading.Barrier(len(values)), []

    def work(number, value):
        own = SqlStore(**server["writer"])
        try:
            start.wait()
            for operation in ("op1", "op2"):
                lines = rows("t", *({"v": value, f"own{number}": place} for place in range(200)))
                put(own, store, number, lines, operation=operation)
        except Exception as error:
            failed.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(values, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert types(reader, store, "t")["v"] == "text" and len(types(reader, store, "t")) == 7
    # What became an integer before a text came is written as one.
    texts = [{"true", "1"}, {"5"}, {"2.5"}, {"1.25"}, {"2021-07-22"}, {"text"}]
    for number, wanted in enumerate(texts, 1):
        found = read(reader, store, "t", object_id=str(number))
        assert len({row["v"] for row in found}) == 1 and found[0]["v"] in wanted
        assert [row[f"own{number}"] for row in found] == list(range(200))


def test_workers_that_write_the_same_object_at_once(gold, reader, store, server):
    start, failed = threading.Barrier(4), []

    def work(number):
        own = SqlStore(**server["writer"])
        try:
            start.wait()
            for _time in range(5):
                put(own, store, 1, rows("t", *({"v": number} for _row in range(100))), operation=f"op{number}")
        except Exception as error:
            failed.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    found = read(reader, store, "t")
    assert len(found) == 100 and len({row["v"] for row in found}) == 1


def test_a_whole_table_and_what_it_replaces_at_once(gold, reader, store, server):
    put(gold, store, 1, rows("t", {"v": 1}))
    start, failed = threading.Barrier(3), []

    def work(number, records):
        own = SqlStore(**server["writer"])
        try:
            start.wait()
            for _time in range(8):
                put(own, store, number, records)
        except Exception as error:
            failed.append(error)
        finally:
            own.close()

    whole = [Table("t", {}, replaces=True), *rows("t", {"v": 3})]
    work_of = [(2, rows("t", {"v": 2})), (3, whole), (4, rows("t", {"v": 4}))]
    threads = [threading.Thread(target=work, args=pair) for pair in work_of]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert read(reader, store, "t") == [{"v": 3}, {"v": 4}]


def test_a_whole_table_waits_for_those_who_do_not_know_of_it(gold, reader, store, server, monkeypatch):
    """An object before it that is being written would not be seen by it, nor see it."""
    put(gold, store, 1, rows("t", {"v": 1}))
    writing, go_on, whole_put = threading.Event(), threading.Event(), sql._Transaction._put

    def slow_put(self, *arguments):
        if self._ids == [2]:
            writing.set()
            assert go_on.wait(30)
        whole_put(self, *arguments)

    monkeypatch.setattr(sql._Transaction, "_put", slow_put)
    other = SqlStore(**server["writer"])
    whole = [Table("t", {}, replaces=True), *rows("t", {"v": 3})]
    threads = [
        threading.Thread(target=put, args=(gold, store, 2, rows("t", {"v": 2}))),
        threading.Thread(target=put, args=(other, store, 3, whole)),
    ]
    threads[0].start()
    assert writing.wait(30)
    threads[1].start()
    threads[1].join(1)
    assert threads[1].is_alive()
    go_on.set()
    for thread in threads:
        thread.join()
    other.close()
    assert read(reader, store, "t") == [{"v": 3}]


def test_rows_that_come_while_a_column_is_widened_are_kept(gold, reader, store, server):
    """Another writer comes just before the new values take the place of the old ones."""
    from sqlalchemy import event

    put(gold, store, 1, rows("t", {"v": Decimal("0.5")}))
    other = SqlStore(**server["writer"])
    put(other, store, 3, [])  # it has looked whether the schema is there
    thread = threading.Thread(target=put, args=(other, store, 3, rows("t", {"v": Decimal("1.5")})))

    def then_another_comes(_connection, _cursor, statement, *_more):
        if ("CHANGE COLUMN" in statement or " USING " in statement) and thread.ident is None:
            thread.start()
            thread.join(1)

    event.listen(gold._engine, "before_cursor_execute", then_another_comes)
    try:
        put(gold, store, 2, rows("t", {"v": "x"}))
    finally:
        event.remove(gold._engine, "before_cursor_execute", then_another_comes)
    thread.join()
    other.close()
    assert [row["v"] for row in read(reader, store, "t")] == ["0.5", "x", "1.5"]


def test_a_change_that_was_cut_short_is_made_good(gold, reader, store, monkeypatch):
    """Where a change of a table commits at once, each step of it may be the last."""
    table = Table("t", {"k": "integer", "v": "timestamp"}, key=("k",))
    put(gold, store, 1, [table, *rows("t", {"k": 1, "v": datetime(2021, 7, 22, 1)})])
    dialect = gold.dialect
    name = "widen" if dialect.place == "schema" else "create_view"
    whole = getattr(dialect, name)

    def cut(*arguments):
        whole(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(dialect, name, cut)
    with pytest.raises(KeyboardInterrupt):
        put(gold, store, 2, [table, *rows("t", {"k": "one", "v": "x", "w": 1})])
    monkeypatch.undo()
    if dialect.place == "database":  # a new column that was left beside an old one
        with gold._engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {gold.schema_of(store)}.t ADD COLUMN {NEW} INT")
    assert read(reader, store, "t")[0]["v"] in ("2021-07-22T01:00:00Z", "2021-07-22T01:00:00")
    put(gold, store, 2, [table, *rows("t", {"k": "one", "v": 2.5, "w": 1, "u": b"1"})])
    assert types(reader, store, "t_current") == {"k": "text", "v": "text", "w": "integer", "u": "bytes"}
    assert read(reader, store, "t_current")[0]["v"] == "2021-07-22T01:00:00Z"


def test_readers_may_read_and_nothing_more(gold, reader, store):
    from sqlalchemy.exc import DBAPIError

    put(gold, store, 1, rows("t", {"v": 1}))
    schema = gold.dialect.quote(gold.schema_of(store))
    for statement in (
        f"DELETE FROM {schema}.t",
        f"INSERT INTO {schema}.t (lake_object, lake_operation, lake_row, lake_line) VALUES (9, '', 1, 1)",
        f"DROP TABLE {schema}.t",
        f"CREATE TABLE {schema}.mine (x INT)",
        f"UPDATE {schema}.lake_tables SET name = 'x'",
    ):
        with pytest.raises(DBAPIError), reader._store._engine.begin() as connection:
            connection.exec_driver_sql(statement)
    assert read(reader, store, "t") == [{"v": 1}]


def test_pages_in_any_order(gold, reader, store):
    values = [5, None, 3, 3, 1, None, 3, -2]
    put(gold, store, 1, rows("t", *({"v": value, "s": f"t{value}"} for value in values[:5])))
    put(gold, store, 2, rows("t", *({"v": value, "s": f"t{value}"} for value in values[5:])))
    for order, descending in ((None, False), ("v", False), ("v", True), ("s", False)):
        found, cursor = [], None
        while True:
            page, cursor = reader.rows(store, "t", order=order, descending=descending, limit=3, after=cursor)
            found += page
            if cursor is None:
                break
        assert [row["v"] for row in found] == {
            (None, False): values,
            ("v", False): [-2, 1, 3, 3, 3, 5, None, None],
            ("v", True): [5, 3, 3, 3, 1, -2, None, None],
            ("s", False): [-2, 1, 3, 3, 3, 5, None, None],
        }[order, descending]


def test_filters(gold, reader, store):
    moments = [datetime(2021, 7, day, tzinfo=UTC) for day in (1, 2, 3)]
    lines = [
        {"n": 1, "s": "été 100%", "t": moments[0], "b": True, "d": Decimal("0.1")},
        {"n": 2, "s": "Ete", "t": moments[1], "b": False, "d": Decimal("0.2")},
        {"n": None, "s": "x ", "t": moments[2], "b": None, "d": None},
    ]
    put(gold, store, 1, rows("t", *lines))

    def numbers(*conditions):
        return [row["lake"]["row"] for row in reader.rows(store, "t", [Filter(*one) for one in conditions])[0]]

    assert numbers(("n", "eq", "1")) == [1]
    assert numbers(("n", "ne", 1)) == [2]
    assert numbers(("n", "null", True)) == [3]
    assert numbers(("n", "null", False), ("n", "gt", 1)) == [2]
    assert numbers(("t", "ge", "2021-07-02T00:00:00Z"), ("t", "lt", "2021-07-03T02:00:00+02:00")) == [2]
    assert numbers(("s", "contains", "0%")) == [1]
    assert numbers(("s", "eq", "x")) == []
    assert numbers(("s", "eq", "ete")) == []
    assert numbers(("b", "eq", "true")) == [1]
    assert numbers(("d", "le", "0.1")) == [1]
    for wrong in (("n", "eq", "one"), ("nothing", "eq", 1), ("t", "lt", "soon"), ("n", "contains", "1")):
        with pytest.raises(InvalidInput):
            numbers(wrong)
    for options in ({"limit": 0}, {"limit": 10_001}, {"order": "nothing"}, {"after": "x"}, {"object_id": "x"}):
        with pytest.raises(InvalidInput):
            reader.rows(store, "t", **options)
    with pytest.raises(NotFound):
        reader.rows(store, "nothing")
    with pytest.raises(NotFound):
        reader.origin(store, "t", "1", 4)


def test_what_was_refused_and_what_failed(gold, store, server):
    with pytest.raises(StoreError) as refused:
        put(gold, store, 1, rows("t", {f"c{number}": "x" * 50 for number in range(5000)}))
    assert not refused.value.retriable
    with pytest.raises(StoreError) as refused:
        put(gold, store, 1, [Document({})])
    assert not refused.value.retriable
    away = SqlStore(**{**server["writer"], "port": 1})
    with pytest.raises(StoreError) as failed:
        put(away, store, 1, rows("t", {"v": 1}))
    assert failed.value.retriable
    stranger = SqlStore(**{**server["writer"], "password": "wrong"})
    with pytest.raises(StoreError) as failed:
        put(stranger, store, 1, rows("t", {"v": 1}))
    assert failed.value.retriable and "wrong" not in str(failed.value)


def test_a_schema_that_was_dropped_is_made_again(gold, reader, store):
    put(gold, store, 1, rows("t", {"v": 1}))
    ready = set(gold._ready)
    drop(gold, store)
    gold._ready.update(ready)
    with pytest.raises(StoreError) as failed:
        put(gold, store, 1, rows("t", {"v": 1}))
    assert failed.value.retriable
    put(gold, store, 1, rows("t", {"v": 1}))
    assert read(reader, store, "t") == [{"v": 1}]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300),
    st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**15), max_value=10**15),
    st.dates(min_value=date(1000, 1, 1)),
    st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.sampled_from([None, UTC])),
    st.times(),
    st.text(max_size=20),
    st.binary(max_size=20),
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.text(max_size=6), SCALARS, max_size=4), max_size=8), st.integers(1, 5))
def test_any_rows_are_kept_and_lead_back(gold, reader, lines, number):
    name = f"test-{uuid.uuid4().hex[:8]}"
    kept = {}
    try:
        for value in lines:
            for key in value:
                kept.setdefault(key.translate({code: 0xFFFD for code in (*range(32), *range(127, 160))}), key)
        lines = [value for value in lines if not any(kept_name_twice(value))]
        put(gold, name, number, rows("t", *lines))
        put(gold, name, number, rows("t", *lines))
        found = reader.rows(name, "t")[0] if lines else []
        assert [row["lake"]["line"] for row in found] == list(range(2, len(lines) + 2))
        for row, value in zip(found, lines, strict=True):
            there = [item for item in value.values() if item is not None]
            assert sum(item is not None for key, item in row.items() if key != "lake") == len(there)
    finally:
        drop(gold, name)


def kept_name_twice(value):
    seen = set()
    for key in value:
        name = key.translate({code: 0xFFFD for code in (*range(32), *range(127, 160))})
        yield name in seen
        seen.add(name)
