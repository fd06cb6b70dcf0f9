# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dumps in tests/data/dumps were made by mariadb-dump 10.11 and pg_dump 15 of two small databases; a test of each form
says what the rows are. Others are written here the way these programs write them."""

import gzip
import io
import math
import random
import re
import time as clock
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput, ParseError
from neocampus_lake.parsers import sql_dump, sql_text
from neocampus_lake.parsers.report import Options
from neocampus_lake.records import Row, Table

DATA = Path(__file__).parents[3] / "data/dumps"
UTC = UTC


def parse(content, **options):
    if isinstance(content, str):
        content = content.encode()
    given_options = Options(options)
    return list(sql_dump.parse(io.BytesIO(content), given_options)), given_options.report


def rows(content, **options):
    return [record for record in parse(content, **options)[0] if isinstance(record, Row)]


def values(content, **options):
    return [tuple(row.values.values()) for row in rows(content, **options)]


def tables(content, **options):
    return {record.name: record for record in parse(content, **options)[0] if isinstance(record, Table)}


# What the real programs write

MARIADB = [
    {
        "id": 1,
        "small": -128,
        "flag": True,
        "bits": 0b10101,
        "one": True,
        "big": 18446744073709551615,
        "amount": Decimal("-12345678901234.567891"),
        "ratio": 1.7976931348623157e308,
        "real4": 3.25,
        "day": date(2024, 2, 29),
        "moment": datetime(2024, 2, 29, 23, 59, 59, 123456),
        "stamp": datetime(2024, 3, 31, 1, 30, tzinfo=UTC),
        "clock": time(23, 59, 59, 500000),
        "y": 2024,
        "name": 'O\'Reilly "q" \\ back',
        "note": "line1\nline2\r\ttab\0nul\x1a end; -- not a comment /* nor this */",
        "kind": "b,c",
        "many": "x,y",
        "raw": b"\x00\xff'\"\\\n\r\x1a",
        "fixed": b"ab\0\0",
        "doc": '{"a": [1, "é"]}',
        "where": b"\0" * 4 + b"\1\1" + b"\0" * 9 + b"\xf0?" + b"\0" * 7 + b"@",
        "twice": -256,
    },
    {
        **dict.fromkeys(["small", "bits", "day", "moment", "stamp", "y", "fixed", "doc", "where", "twice"]),
        **{"id": 2, "flag": False, "one": False, "big": 0, "amount": Decimal("0"), "ratio": 0.0, "real4": 0.0},
        **{"clock": "-838:59:59.000", "name": "", "note": "", "kind": "a", "many": "", "raw": b""},
    },
    {
        **dict.fromkeys(["one", "stamp", "where"]),
        **{"id": 3, "small": 5, "flag": 2, "bits": 0, "big": 1, "amount": Decimal("1.5"), "ratio": -2.5e-10},
        **{"real4": -1.0, "day": date(1999, 12, 31), "moment": datetime(1970, 1, 1), "clock": "100:00:00.000"},
        **{"y": 1970, "name": "Zoë 😀 日本", "note": "DELIMITER ;;\n-- x\n/*!40101 y */", "kind": "d'e", "many": "y"},
        **{"raw": b"\xde\xad\xbe\xef", "fixed": b"\0" * 4, "doc": "null", "twice": 10},
    },
]
METERS = [
    {"meter": f"3000000000000{n % 3}", "horodate": datetime(2024, 1, 1, n), "valeur": Decimal(value)}
    for n, value in ((3, "0.429"), (6, "0.857"), (1, "0.143"), (4, "0.571"), (2, "0.286"), (5, "0.714"))
]


@pytest.mark.parametrize(
    ("name", "count"), [("mariadb_default.sql", 3), ("mariadb_single.sql", 3), ("mariadb_latin1.sql", 2)]
)
def test_dumps_of_mariadb(name, count):
    records, report = parse((DATA / name).read_bytes())
    kinds = [row for row in records if isinstance(row, Row) and row.table == "kinds"]
    assert [dict(row.values) for row in kinds] == MARIADB[:count]
    assert [type(kinds[0].values["flag"]), type(kinds[0].values["bits"])] == [bool, int]
    if count == 3:
        assert [dict(row.values) for row in records if isinstance(row, Row) and row.table == "readings"] == METERS
        assert Table("nothing", {"a": "integer", "b": "text"}) in records
        assert {"LOCK", "UNLOCK", "SET", "DROP TABLE", "ALTER TABLE", "CREATE VIEW"} <= report.skipped.keys()
        assert report.skipped["CREATE TRIGGER"] == 1
    first = next(record for record in records if isinstance(record, Table) and record.name == "kinds")
    assert first.key == ("id",) and records.index(first) < records.index(kinds[0])
    assert first.columns["stamp"] == "timestamp" and first.columns["flag"] == "boolean"
    assert sorted(item["message"] for item in report.items) == [
        "day: 0000-00-00 is no moment that can be kept",
        "moment: 0000-00-00 00:00:00.000000 is no moment that can be kept",
    ]


def test_a_dump_with_ansi_quotes_and_without_create():
    records, report = parse((DATA / "mariadb_ansi.sql").read_bytes())
    assert [tuple(row.values.values()) for row in records] == [
        (row["meter"], str(row["horodate"]), row["valeur"]) for row in METERS
    ]
    assert {tuple(row.values) for row in records} == {("column_1", "column_2", "column_3")}
    assert report.count == 0 and report.skipped == {"SET": 21, "CREATE TRIGGER": 1}


POSTGRESQL = [
    {
        "id": 1,
        "small": -5,
        "flag": True,
        "amount": Decimal("-12345678901234.567891"),
        "ratio": 1.7976931348623157e308,
        "r4": 3.25,
        "day": date(2024, 2, 29),
        "moment": datetime(2024, 2, 29, 23, 59, 59, 123456),
        "stamp": datetime(2024, 3, 30, 23, 30, tzinfo=UTC),
        "clock": time(23, 59, 59, 500000),
        "ctz": "10:00:00+02",
        'Name "q"': 'O\'Reilly "q" \\ back',
        "note": "line1\nline2\r\ttab; -- no comment\b\fv \\N \\. $$ x $$",
        "m": "it's ok",
        "raw": b"\x00\xff'\"\\\n",
        "doc": '{"a": [1, "é\\n"]}',
        "docs": '{"a" : 1}',
        "u": "11111111-2222-3333-4444-555555555555",
        "ip": "10.0.0.1",
        "arr": "{1,NULL,3}",
        "iv": "1 day 02:00:00",
        "b": "10101",
        "money": "$12.50",
        "pt": "(1,2)",
    },
    {
        "id": 2,
        "small": None,
        "flag": False,
        "ratio": math.inf,
        "r4": -math.inf,
        "clock": "24:00:00",
        "note": "\\N",
        "raw": b"",
    },
    {"id": 3, "r4": 1e-10, 'Name "q"': "Zoë 😀 日本", "note": "\\.", "day": None, "stamp": None, "raw": None},
]


@pytest.mark.parametrize("name", ["postgresql_copy.sql", "postgresql_inserts.sql"])
def test_dumps_of_postgresql(name):
    records, report = parse((DATA / name).read_bytes())
    found = [dict(row.values) for row in records if isinstance(row, Row) and row.table == "kinds"]
    for row in found:
        assert row.pop("twice", None) is None
    assert found[0] == POSTGRESQL[0]
    for row, expected in zip(found, POSTGRESQL, strict=True):
        assert expected.items() <= row.items()
    assert found[1]["amount"].is_nan() and math.isnan(found[2]["ratio"])
    readings = [dict(row.values) for row in records if isinstance(row, Row) and row.table == "plant.readings"]
    assert sorted(map(repr, readings)) == sorted(
        repr({**row, "horodate": row["horodate"].replace(tzinfo=UTC)}) for row in METERS
    )
    assert Row("parts_2024", {"d": date(2024, 5, 1), "v": 7}, 253 if "copy" in name else 251) in records
    last = [record for record in records if isinstance(record, Table)][-3:]
    assert {record.name: record.key for record in records if isinstance(record, Table) and record.key} == {
        "kinds": ("id",),
        "plant.readings": ("meter", "horodate"),
    }
    assert {"kinds", "plant.readings"} & {record.name for record in last}
    assert {"CREATE FUNCTION", "GRANT", "CREATE VIEW", "\\restrict", "CREATE INDEX"} <= report.skipped.keys()
    assert [item["message"] for item in report.items] == [
        "day: 0044-03-15 BC is no moment that can be kept",
        "moment: infinity is no moment that can be kept",
        "stamp: 0099-01-01 00:00:00+00 BC is no moment that can be kept",
    ]


def test_a_dump_of_data_only():
    found = rows((DATA / "postgresql_data.sql").read_bytes())
    assert len(found) == 4
    first = found[0].values
    assert first["note"] == POSTGRESQL[0]["note"] and first["id"] == 1 and first["flag"] is True
    assert first["amount"] == POSTGRESQL[0]["amount"] and first["day"] == "2024-02-29" and first["b"] == "10101"


def test_a_dump_in_latin1_that_makes_its_database():
    assert {row.table for row in rows((DATA / "postgresql_latin1.sql").read_bytes())} == {"plant.readings"}


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.glob("*.sql")))
@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_chunks_make_no_difference(name, chunk, monkeypatch):
    content = (DATA / name).read_bytes()
    whole = parse(content)
    monkeypatch.setattr(sql_text, "CHUNK", chunk)
    monkeypatch.setattr(sql_text, "WINDOW", 200)
    records, report = parse(content)
    assert repr(records) == repr(whole[0]) and report.items == whole[1].items and report.skipped == whole[1].skipped


def test_packed():
    content = (DATA / "mariadb_default.sql").read_bytes()
    assert parse(gzip.compress(content))[0] == parse(content)[0]


def test_utf_16_as_a_redirection_writes_it():
    content = (DATA / "postgresql_copy.sql").read_text(encoding="utf-8").replace("\n", "\r\n")
    found = rows(content.encode("utf-16"))
    assert [row.values['Name "q"'] for row in found if row.table == "kinds"][2] == "Zoë 😀 日本"
    text = "-- MySQL dump\r\nINSERT INTO `t` VALUES (1,'é');\r\n"
    assert values(text.encode("utf-16")) == values(b"\xef\xbb\xbf" + text.encode()) == [(1, "é")]


# Round trips

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.text(
    "'\"\\\n\r\t;`$-/*N.", max_size=8
)
columns = {
    "i": st.none() | st.integers(-(2**70), 2**70),
    "t": st.none() | texts,
    "f": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "d": st.none()
    | st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**20), max_value=10**20),
    "b": st.none() | st.booleans(),
    "at": st.none() | st.datetimes(),
    "day": st.none() | st.dates(),
    "hour": st.none() | st.times(),
    "raw": st.none() | st.binary(max_size=8),
}
some_rows = st.lists(
    st.tuples(*columns.values()).map(lambda values: dict(zip(columns, values, strict=True))), min_size=1, max_size=6
)
MYSQL_TABLE = (
    "CREATE TABLE `my ``t` (`i` bigint(20) NOT NULL COMMENT 'a, (b', `t` text, `f` double DEFAULT '1',"
    "`d` decimal(30,3),`b` tinyint(1), `at` datetime(6), `day` date, `hour` time(6), `raw` longblob,"
    " KEY `i` (`i`)) ENGINE=InnoDB;\n"
)
POSTGRESQL_TABLE = (
    'CREATE TABLE public."my ""t" (i numeric(80,0) NOT NULL, t text DEFAULT \'a,(b\'::text, f double precision,'
    " d numeric(30,3), b boolean, at timestamp(6) without time zone, day date,"
    " hour time without time zone, raw bytea);\n"
)
_MYSQL = {"\0": "\\0", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\x1a": "\\Z", "\\": "\\\\"}


def mysql_value(value, draw):
    if value is None:
        return b"NULL"
    if isinstance(value, bool):
        return b"1" if value else b"0"
    if isinstance(value, bytes):
        if draw(st.booleans()):
            return b"0x" + value.hex().encode() if value else b"''"
        escaped = "".join(_MYSQL.get(chr(byte), chr(byte)) for byte in value).encode("latin-1")
        return draw(st.sampled_from([b"", b"_binary "])) + b"'" + escaped + b"'"
    if isinstance(value, str):
        return b"'" + "".join(_MYSQL.get(character, character) for character in value).encode() + b"'"
    if isinstance(value, (date, time)):
        return f"'{value}'".encode()
    return repr(value).encode() if isinstance(value, float) else str(value).encode()


def copy_value(value):
    if value is None:
        return "\\N"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, bytes):
        return "\\\\x" + value.hex()
    text = repr(value) if isinstance(value, float) else str(value)
    return re.sub(
        r"[\\\n\r\t\b\f\v]",
        lambda found: {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f", "\v": "\\v"}[
            found.group()
        ],
        text,
    )


def standard_value(value):
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Decimal)):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    text = "\\x" + value.hex() if isinstance(value, bytes) else str(value)
    return "'" + text.replace("'", "''") + "'"


chunks = st.integers(1, 300)


def parse_in(chunk, content):
    whole = sql_text.CHUNK, sql_text.WINDOW
    sql_text.CHUNK = sql_text.WINDOW = chunk
    try:
        return parse(content)
    finally:
        sql_text.CHUNK, sql_text.WINDOW = whole


def check(records, report, items):
    assert report.items == []
    assert (
        isinstance(records[0], Table)
        and records[0].name in ("my `t", 'my "t')
        and list(records[0].columns) == list(columns)
    )
    found = [dict(record.values) for record in records[1:]]
    assert found == items
    for row, item in zip(found, items, strict=True):
        for name, value in row.items():
            kind = type(item[name])
            assert type(value) is (Decimal if name == "i" and isinstance(value, Decimal) else kind)


@given(st.data(), some_rows, chunks)
def test_rows_that_mysqldump_wrote(data, items, chunk):
    per_statement = data.draw(st.integers(1, 4))
    content = [b"-- MySQL dump 10.13\n/*!40101 SET NAMES utf8mb4 */;\n", MYSQL_TABLE.encode()]
    for start in range(0, len(items), per_statement):
        content.append(b"INSERT INTO `my ``t` VALUES ")
        some = items[start : start + per_statement]
        content.append(
            b",".join(
                b"(" + b",".join(mysql_value(value, data.draw) for value in item.values()) + b")" for item in some
            )
        )
        content.append(b";\n")
    check(*parse_in(chunk, b"".join(content)), items)


@given(some_rows, chunks)
def test_rows_that_pg_dump_wrote_with_copy(items, chunk):
    lines = "".join("\t".join(map(copy_value, item.values())) + "\n" for item in items)
    content = f'{POSTGRESQL_TABLE}COPY public."my ""t" (i, t, f, d, b, at, day, hour, raw) FROM stdin;\n{lines}\\.\n\n'
    check(*parse_in(chunk, content), items)


@given(some_rows, chunks)
def test_rows_that_pg_dump_wrote_with_inserts(items, chunk):
    lines = ",\n".join(f"\t({', '.join(map(standard_value, item.values()))})" for item in items)
    check(*parse_in(chunk, f'{POSTGRESQL_TABLE}INSERT INTO public."my ""t" VALUES\n{lines};\n'), items)


# What statements say

MYSQL = "-- MySQL dump\n"


def test_columns_may_be_listed_in_any_order():
    text = MYSQL + "CREATE TABLE t (a int, b date, c text);INSERT IGNORE INTO t (`c`, a) VALUES ('x', 1), (NULL, 2);"
    assert [row.values for row in rows(text)] == [{"c": "x", "a": 1}, {"c": None, "a": 2}]


def test_names_of_tables():
    text = (
        MYSQL
        + "USE `one`; INSERT INTO t VALUES (1); INSERT INTO other.t VALUES (2); USE `two`; INSERT INTO t VALUES (3);"
    )
    assert [(row.table, *row.values.values()) for row in rows(text)] == [("t", 1), ("other.t", 2), ("two.t", 3)]
    text = '-- PostgreSQL database dump\n\\connect template1\n\\connect "one"\nINSERT INTO public.t VALUES (1);\n'
    text += 'INSERT INTO "S"."T.x" VALUES (2);\n\\connect two\nINSERT INTO s.t VALUES (3);'
    assert [row.table for row in rows(text)] == ["t", "S.T.x", "two.s.t"]


def test_the_server_s_own_tables_are_passed_over():
    text = (
        MYSQL
        + "USE `mysql`; CREATE TABLE user (p text); INSERT INTO `user` VALUES ('secret');"
        + "USE campus; INSERT INTO t VALUES (1);"
    )
    records, report = parse(text)
    assert records == [Row("t", {"column_1": 1}, 2)] and report.count == 0


def test_the_delimiter_may_change():
    text = (
        MYSQL
        + "DELIMITER $$\nCREATE PROCEDURE p() BEGIN INSERT INTO t VALUES (1); END $$\nINSERT INTO t VALUES (2)$$\n"
    )
    text += "delimiter ;\nINSERT INTO t VALUES (3);"
    assert values(text) == [(2,), (3,)]


@pytest.mark.parametrize(
    "body",
    [
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql"
        " BEGIN ATOMIC INSERT INTO t VALUES (1); SELECT CASE WHEN true THEN 1 END; INSERT INTO t VALUES (1); END;",
        "CREATE FUNCTION f() RETURNS void AS $x$ INSERT INTO t VALUES (1); $x$ LANGUAGE sql;",
        "CREATE FUNCTION f() RETURNS void AS 'INSERT INTO t VALUES (1);' LANGUAGE sql;",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO t VALUES (1); END;",
        "CREATE RULE r AS ON INSERT TO t DO ALSO (INSERT INTO t VALUES (1); INSERT INTO t VALUES (1));",
        "/* INSERT INTO t VALUES (1); /* nested */ ; */",
        "-- INSERT INTO t VALUES (1);",
        "COMMENT ON TABLE t IS 'INSERT INTO t VALUES (1);';",
        'ALTER TABLE "; INSERT INTO t VALUES (1);" OWNER TO x;',
    ],
)
def test_what_is_inside_of_other_statements_is_no_row(body):
    assert values(f"-- PostgreSQL database dump\n{body}\nINSERT INTO t VALUES (2);") == [(2,)]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE t SET a = 2;", "UPDATE"),
        ("DELETE FROM t WHERE a = 1;", "DELETE"),
        ("CALL p(1);", "CALL"),
        ("LOAD DATA INFILE '/etc/passwd' INTO TABLE t;", "LOAD"),
        ("MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE;", "MERGE"),
        ("DO $$ BEGIN DELETE FROM t; END $$;", "DO"),
        ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x;", "WITH"),
    ],
)
def test_statements_that_would_change_rows_are_told(statement, kind):
    records, report = parse(
        f"-- PostgreSQL database dump\nINSERT INTO t VALUES (1);\n{statement}\nINSERT INTO t VALUES (2);"
    )
    assert [tuple(row.values.values()) for row in records] == [(1,), (2,)]
    assert report.items == [
        {"line": 3, "message": f"{kind} is not executed: rows may differ from what the database had"}
    ]
    assert report.skipped[kind] == 1


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t SELECT * FROM s;",
        "INSERT INTO t SET a=1;",
        "REPLACE INTO t (a) SELECT 1;",
        "INSERT INTO t TABLE s;",
    ],
)
def test_inserts_that_are_no_list_of_values_are_told(statement):
    records, report = parse(f"{MYSQL}{statement}\nINSERT INTO t VALUES (1);")
    assert [row.values for row in records] == [{"column_1": 1}]
    assert report.items[0]["line"] == 2 and "not a list of values" in report.items[0]["message"]


def test_emptying_a_table_that_has_rows_is_told():
    text = MYSQL + "TRUNCATE t; DROP TABLE IF EXISTS `t`, u; INSERT INTO t VALUES (1); TRUNCATE TABLE t;"
    assert [item["message"] for item in parse(text)[1].items] == [
        "TRUNCATE t is not executed: the rows that came before it are kept"
    ]
    text = MYSQL + "DROP TABLE t; CREATE TABLE t (a int); INSERT INTO t VALUES (1);\nDROP TABLE t;"
    assert [item["line"] for item in parse(text)[1].items] == [3]


def test_what_follows_the_values_is_passed_over():
    text = "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = (2), b = ';';"
    text += "INSERT INTO t VALUES (3) RETURNING a, (b);"
    assert values(text) == [(1,), (3,)]
    text = MYSQL + "INSERT INTO t VALUES (1), (2) ON DUPLICATE KEY UPDATE a=VALUES(a);INSERT INTO t VALUES (3);"
    assert values(text) == [(1,), (2,), (3,)]


@pytest.mark.parametrize(
    ("dialect", "written", "value"),
    [
        ("mysql", "'a''b\\'c\\\\'", "a'b'c\\"),
        ("mysql", "'\\%\\_\\q\\0'", "\\%\\_q\0"),
        ("mysql", '"a""b\'c\\""', 'a"b\'c"'),
        ("mysql", "x'4142'", b"AB"),
        ("mysql", "X'4'", None),
        ("mysql", "0x4142", b"AB"),
        ("mysql", "0x142", b"\x01\x42"),
        ("mysql", "b'101'", 5),
        ("mysql", "0b101", 5),
        ("mysql", "_latin1'\\xe9'", "é"),
        ("mysql", "_latin1 0xE9", "é"),
        ("mysql", "_utf8mb4'é'", "é"),
        ("mysql", "_gbk'x'", None),
        ("mysql", "N'x'", "x"),
        ("mysql", "'a' 'b'", "ab"),
        ("mysql", "- 5", -5),
        ("mysql", "-1.50", Decimal("-1.50")),
        ("mysql", ".5e1", 5.0),
        ("mysql", "tRuE", True),
        ("mysql", "null", None),
        ("mysql", "DEFAULT", None),
        ("mysql", "/* c */ 3 # d\n", 3),
        ("mysql", "/*!50000 3 */", 3),
        ("mysql", "1--2", None),
        ("postgresql", "'a\\'", "a\\"),
        ("postgresql", "E'a\\'b\\n\\x41\\u00e9\\101'", "a'b\nAéA"),
        ("postgresql", "$$a'b$$", "a'b"),
        ("postgresql", "$x$a$$b$x$", "a$$b"),
        ("postgresql", "U&'\\00e9\\+01F600\\\\'", "é😀\\"),
        ("postgresql", "'2024-01-01'::date", "2024-01-01"),
        ("postgresql", "'1.5'::numeric(5,2)", "1.5"),
        ("postgresql", "DATE '2024-01-01'", "2024-01-01"),
        ("postgresql", "B'101'", "101"),
        ("postgresql", "-- c\n 3", 3),
    ],
)
def test_literals(dialect, written, value):
    text = f"INSERT INTO t VALUES (0,{written},'end');INSERT INTO t VALUES (1,1,'');"
    content = text.replace("\\xe9", "\xe9").encode("latin-1" if "\\xe9" in text else "utf-8")
    records, report = parse(content, dialect=dialect)
    if value is None and written not in ("null", "DEFAULT"):
        assert len(records) == report.count == 1 and "would have to be computed" in report.items[0]["message"]
    else:
        row = records[0]
        assert tuple(row.values.values()) == (0, value, "end") and type(row.values["column_2"]) is type(value)


@pytest.mark.parametrize(
    "written",
    [
        "NOW()",
        "1+1",
        "(SELECT 1)",
        "CURRENT_TIMESTAMP",
        "a.b",
        "ARRAY[1,2]",
        "@x",
        "",
        "nextval('s'::regclass)",
        "CAST('1' AS int)",
    ],
)
def test_what_would_have_to_be_computed_costs_its_row(written):
    records, report = parse(f"INSERT INTO t (a, b) VALUES (1,'x'),\n({written},'y'),\n(3,'z');")
    assert [row.values["a"] for row in records] == [1, 3]
    assert report.items[0]["line"] == 2 and "would have to be computed" in report.items[0]["message"]


def test_rows_with_another_number_of_values_are_told():
    records, report = parse("CREATE TABLE t (a int, b int);\nINSERT INTO t VALUES (1,2),\n(1),\n(1,2,3),\n(3,4);")
    assert [tuple(row.values.values()) for row in records[1:]] == [(1, 2), (3, 4)]
    assert report.items == [
        {"line": 3, "message": "INSERT INTO t: 1 values, but 2 columns"},
        {"line": 4, "message": "INSERT INTO t: 3 values, but 2 columns"},
    ]
    _records, report = parse("COPY t (a, b) FROM stdin;\n1\t2\n1\n1\t2\t3\n\n\\.\n")
    assert [item["line"] for item in report.items] == [3, 4, 5]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("int", "'7'", "'x'"),
        ("int", "7.0", "7.5.1"),
        ("decimal(5,2)", "1e3", "'1,5'"),
        ("double", "'1e3'", "'fast'"),
        ("date", "'2024-01-01'", "'2024-13-01'"),
        ("datetime", "'2024-01-01 10:00'", "'noon'"),
        ("time", "'10:00:00'", "'noon'"),
        ("tinyint(1)", "1", "'maybe'"),
        ("numeric", "NULL", "'sNaN'"),
        ("numeric", "1", "1e999999999"),
    ],
)
def test_a_value_that_its_column_cannot_have_costs_its_row(kind, good, bad):
    records, report = parse(
        f"{MYSQL}CREATE TABLE t (a {kind}, `b c` int);\nINSERT INTO t VALUES\n({good},1),\n({bad},2);"
    )
    assert len(records) == 2
    assert report.items[0]["line"] == 5 and report.items[0]["message"].startswith("INSERT INTO t: a: ")


@pytest.mark.parametrize(
    ("zone", "value"),
    [
        ("SET TIME_ZONE='+00:00';", datetime(2024, 1, 1, tzinfo=UTC)),
        ("/*!40103 SET TIME_ZONE='-02:30' */;", datetime(2024, 1, 1, tzinfo=timezone(-timedelta(hours=2, minutes=30)))),
        ('SET time_zone = "+00:00";', datetime(2024, 1, 1, tzinfo=UTC)),
        ("", datetime(2024, 1, 1)),
        ("SET TIME_ZONE=@OLD;", datetime(2024, 1, 1)),
        ("SET TIME_ZONE='Europe/Paris';", datetime(2024, 1, 1)),
    ],
)
def test_timestamps_of_mysql_have_the_zone_that_the_dump_sets(zone, value):
    text = f"{MYSQL}{zone}CREATE TABLE t (a timestamp, b datetime);"
    text += "INSERT INTO t VALUES ('2024-01-01 00:00:00','2024-01-01 00:00:00');"
    assert repr(values(text)) == repr([(value, datetime(2024, 1, 1))])


def test_modes_that_change_how_texts_are_read():
    text = (
        MYSQL
        + "SET sql_mode='NO_BACKSLASH_ESCAPES,ANSI_QUOTES';INSERT INTO \"t\" VALUES ('a\\');"
        + "SET sql_mode='';INSERT INTO t VALUES ('a\\'');"
    )
    assert values(text) == [("a\\",), ("a'",)]
    text = "-- PostgreSQL database dump\nSET standard_conforming_strings = off;\nINSERT INTO t VALUES ('a\\'b');"
    assert values(text) == [("a'b",)]


@pytest.mark.parametrize(
    ("said", "codec", "text"),
    [
        ("SET NAMES latin1;", "cp1252", "é€"),
        ("/*!40101 SET NAMES utf8 */;", "utf-8", "é€"),
        ("SET NAMES koi8r;", "koi8-r", "привет"),
        ("", "utf-8", "é€"),
    ],
)
def test_encodings(said, codec, text):
    content = f"{MYSQL}{said}INSERT INTO `t` VALUES ('{text}');".encode(codec)
    assert values(content) == [(text,)]


def test_the_option_encoding_comes_first():
    content = f"{MYSQL}SET NAMES utf8;INSERT INTO t VALUES ('é');".encode("cp1252")
    assert values(content, encoding="cp1252") == [("é",)]
    for encoding in ("utf-16", "nothing"):
        with pytest.raises(InvalidInput, match="encoding"):
            parse(content, encoding=encoding)


def test_an_encoding_that_could_hide_quotes_is_refused():
    with pytest.raises(ParseError, match="gbk.*utf8mb4"):
        parse(f"{MYSQL}SET NAMES gbk;INSERT INTO t VALUES ('x');")


def test_a_text_that_is_not_in_its_encoding_costs_its_row():
    content = MYSQL.encode() + b"CREATE TABLE t (a text, b int);INSERT INTO t VALUES ('\xff',1),('ok',2);"
    records, report = parse(content)
    assert len(records) == 2 and report.items[0]["message"] == "INSERT INTO t: a: the text is not utf-8"


def test_sqlite_s_own_dump():
    text = (
        "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT, c REAL, d BLOB);\n"
    )
    text += "INSERT INTO t VALUES(1,'it''s',2.5,X'00ff');\nCOMMIT;\n"
    records, report = parse(text)
    assert records[0].key == ("a",)
    assert records[1].values == {"a": 1, "b": "it's", "c": 2.5, "d": b"\0\xff"} and report.count == 0


def test_keys():
    found = tables(
        MYSQL + "CREATE TABLE a (x int, y int, PRIMARY KEY (x, `y`));CREATE TABLE b (x int PRIMARY KEY);"
        "CREATE TABLE c (x int, UNIQUE KEY `u` (x));CREATE TABLE d (x text, UNIQUE KEY u (x(10)), KEY z (x));"
        "CREATE TABLE IF NOT EXISTS e (key int, `check` int, KEY (`check`));"
        "CREATE TABLE f AS SELECT 1;CREATE TABLE g LIKE a;"
    )
    assert {name: table.key for name, table in found.items()} == {
        "a": ("x", "y"),
        "b": ("x",),
        "c": ("x",),
        "d": (),
        "e": (),
    }
    assert list(found["e"].columns) == ["key", "check"]


def test_a_key_that_is_declared_behind_the_rows():
    text = MYSQL + "CREATE TABLE `t x` (`a` int, b int);INSERT INTO `t x` VALUES (1,2);\nALTER TABLE `t x`\n"
    records, report = parse(text + "  ADD PRIMARY KEY (`b`,a),\n  ADD KEY `k` (`a`);ALTER TABLE `t x` MODIFY `a` int;")
    columns = {"a": "integer", "b": "integer"}
    assert records == [Table("t x", columns), Row("t x", {"a": 1, "b": 2}, 2), Table("t x", columns, ("b", "a"))]
    assert report.count == 0
    for other in ("ADD PRIMARY KEY (c)", "ADD PRIMARY KEY (f(a))", "DROP PRIMARY KEY", "ADD KEY (a)"):
        assert len(parse(f"{text} {other};")[0]) == 2


@pytest.mark.parametrize("body", ["(a int", "(a int, a int)", "(a int, 'x)", "(`a int)", "(,)", "(1)"])
def test_a_definition_that_is_broken_does_not_cost_the_rows(body):
    records, report = parse(f"{MYSQL}INSERT INTO t VALUES (1);\nCREATE TABLE u {body};\nINSERT INTO t VALUES (2);")
    assert {"column_1": 1} in [row.values for row in records if isinstance(row, Row)] or report.count


def test_copy_that_is_not_in_text_format_is_left_out_as_a_whole():
    text = (
        "COPY t (a) FROM stdin WITH (FORMAT csv);\n1\n;INSERT INTO t VALUES (9);\n\\.\nCOPY t (a) FROM stdin;\n2\n\\.\n"
    )
    records, report = parse(text)
    assert [row.values for row in records] == [{"a": "2"}]
    assert "not in COPY's text format" in report.items[0]["message"]
    assert "COPY without data" in parse("COPY t FROM '/etc/passwd';INSERT INTO t VALUES (1);")[1].items[0]["message"]


# Files that are broken or hostile


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"just text, with no statement", "no SQL dump"),
        (b"a;b;c\n1;2;3\n", "no SQL dump"),
        (bytes(range(256)) * 100, "no SQL dump"),
        ((DATA / "postgresql_custom.dump").read_bytes(), "pg_restore --file=dump.sql"),
        (b"SQLite format 3\0rest", "sqlite3 FILE .dump"),
        (b"BZh91AY", "bzip2"),
        (b"INSERT INTO t VALUES (NOW());", "no row can be understood"),
    ],
)
def test_what_is_no_dump(content, said):
    with pytest.raises(ParseError, match=said):
        parse(content)


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("INSERT INTO `t` VALUES (1);", "mysql"),
        ("INSERT INTO t VALUES ('it\\'s');", "mysql"),
        ("INSERT INTO t VALUES ('`');", "postgresql"),
        ("INSERT INTO t VALUES ('C:\\');", "postgresql"),
        ("CREATE TABLE t (a int) ENGINE=InnoDB;", "mysql"),
        ("COPY t (a) FROM stdin;", "postgresql"),
    ],
)
def test_the_dialect_is_known_by_what_only_it_has(text, dialect):
    assert sql_dump.detect_dialect(text.encode()) == dialect


def test_a_dialect_that_is_none():
    with pytest.raises(InvalidInput, match="dialect"):
        parse(MYSQL, dialect="oracle")


@pytest.mark.parametrize("name", ["mariadb_default.sql", "postgresql_copy.sql", "postgresql_inserts.sql"])
def test_a_dump_that_is_cut_anywhere_keeps_what_came_before(name):
    content = (DATA / name).read_bytes()
    whole = rows(content)
    for end in range(3000, len(content), 97):
        try:
            records, report = parse(content[:end])
        except ParseError:
            continue
        found = [record for record in records if isinstance(record, Row)]
        assert repr(found) == repr(whole[: len(found)])
        if len(found) < len(whole) - 1 and end % 2:
            assert found or not whole or report


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("INSERT INTO t VALUES (1),\n(2", 2),
        ("INSERT INTO t VALUES (1),\n('x", 2),
        ("INSERT INTO t VALUES (1)\n", 2),
        ("COPY t (a) FROM stdin;\n1\n2", 3),
        ("INSERT INTO t VALUES (1);\nCREATE TABLE u (a", 2),
    ],
)
def test_where_a_file_is_cut_is_told(text, line):
    records, report = parse(text)
    assert len(rows(text)) == 1
    assert report.count == 1 and report.items[0]["line"] == line and "file ends within" in report.items[0]["message"]


def test_a_row_that_is_not_closed_does_not_cost_the_next_statement():
    records, report = parse("INSERT INTO t VALUES (1),\n(2;\nINSERT INTO t VALUES (3);")
    assert [tuple(row.values.values()) for row in records] == [(1,), (3,)] and report.count == 1


def test_a_row_that_is_too_long_is_left_out(monkeypatch):
    monkeypatch.setattr(sql_text, "MAX_ROW", 10_000)
    monkeypatch.setattr(sql_text, "CHUNK", 1000)
    monkeypatch.setattr(sql_text, "WINDOW", 100)
    long = "x" * 20_000
    text = f"INSERT INTO t (a, b) VALUES (1,'y'),\n(2,'{long}'),\n(3,'z');\n"
    text += f"COPY t (a, b) FROM stdin;\n4\ty\n5\t{long}\n6\tz\n\\.\n"
    records, report = parse(text)
    assert [int(row.values["a"]) for row in records] == [1, 3, 4, 6]
    assert [item["line"] for item in report.items] == [2, 6]


def test_a_long_row_is_read_piece_by_piece():
    texts = ["x" * 300_000 + "'\\" + "y" * 300_000, "é" * 200_000]
    written = ["'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'" for text in texts]
    content = f"{MYSQL}INSERT INTO t VALUES ({','.join(written)},0x{'ab' * 200_000},1);".encode()
    assert values(content) == [(*texts, b"\xab" * 200_000, 1)]


HOSTILE = {
    "quotes": "INSERT INTO t VALUES (" + "'" * 100_001,
    "backslashes": MYSQL + "INSERT INTO t VALUES ('" + "\\" * 100_001,
    "parentheses": "INSERT INTO t VALUES " + "(" * 60_000,
    "commas": "INSERT INTO t VALUES (" + "," * 100_000 + ");",
    "numbers": "INSERT INTO t VALUES (" + "1," * 50_000 + "1",
    "digits": "INSERT INTO t VALUES (" + "1" * 200_000 + ");",
    "dots": "CREATE TABLE t (" + "." * 200_000 + ");",
    "escaped quotes": MYSQL + "CREATE TABLE t (a text DEFAULT '" + "\\'" * 60_000,
    "dollars": "-- PostgreSQL database dump\nDO " + "$a" * 60_000,
    "comments": "-- PostgreSQL database dump\n" + "/*" * 60_000,
    "semicolons": MYSQL + ";" * 60_000,
    "begins": "CREATE FUNCTION f() " + "BEGIN;" * 20_000,
    "tabs": "COPY t (a) FROM stdin;\n" + "\t" * 200_000 + "\n\\.\n",
    "columns": "CREATE TABLE t (" + ",".join(f"c{n} int" for n in range(5000)) + ");",
    "sets": MYSQL + "SET " + "a=1," * 100_000 + ";",
    "names": "INSERT INTO " + "a." * 200_000 + "b VALUES (1);",
    "nested": "INSERT INTO t VALUES (" + "((1)," * 60_000,
    "kinds": MYSQL
    + "".join(f"CREATE {chr(65 + n % 26) * (n % 28 + 3)} x;" for n in range(3000))
    + "INSERT INTO t VALUES (1);",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_end_soon(name):
    start = clock.process_time()
    try:
        _records, report = parse(HOSTILE[name])
        assert len(report.skipped) <= 61
    except ParseError:
        pass
    assert clock.process_time() - start < 10


@settings(max_examples=300)
@given(st.text("INSERT VALUES(),;'\"\\`$-/*#!N01x \n.", max_size=80), st.sampled_from(["mysql", "postgresql"]))
def test_any_text_is_parsed_or_refused(text, dialect):
    for start in ("", "INSERT INTO t VALUES (1,", "COPY t FROM stdin;\n", "CREATE TABLE t (a int, "):
        try:
            parse(start + text, dialect=dialect)
        except ParseError:
            pass


def test_memory_does_not_grow_with_the_file():
    tracemalloc = pytest.importorskip("tracemalloc")
    generator = random.Random(1)

    class Endless:
        """A dump of one statement with rows enough for 5 MB."""

        def __init__(self):
            self.left = 5_000_000
            self.rest = MYSQL.encode() + b"CREATE TABLE t (a int, b text);INSERT INTO t VALUES (0,'')"

        def read(self, size):
            while self.left > 0 and len(self.rest) < size:
                piece = b",(%d,'%s')" % (generator.randrange(10**9), b"x" * generator.randrange(200))
                self.left -= len(piece)
                self.rest += piece
            data, self.rest = self.rest[:size], self.rest[size:]
            return data

    tracemalloc.start()
    try:
        count = sum(1 for _record in sql_dump.parse(Endless(), Options()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count > 40_000 and peak < 4_000_000
