# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile and broken files of each kind, and what the lake says of each: declared once, for the test and for the table.

`test_bad_input.py` puts them into a lake; `tools/bad_input_table` writes them into docs/bad-input.md.
"""
# ruff: noqa: E501 (what the lake says stands here as it says it)

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import random
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
MARK = "lake-bad-input"
"""What would execute something would make a file of this name."""


@dataclass(frozen=True)
class Bad:
    """A file that is bad. `what` says how; `make` gives its bytes.

    `fails`: the whole message of its `failed_operations`. Where a part of it is good, it has none: `becomes` is then
    the message of its `successful_operations`, `left_out` the line and message of what was left out of it (the first
    20), and `skipped` what was passed over without being executed.
    """

    name: str
    what: str
    make: Callable[[], bytes]
    fails: str = ""
    becomes: str = ""
    left_out: tuple[tuple[int, str], ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    content_type: str | None = None
    other_data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metadata(self) -> dict[str, Any]:
        """What it is inserted with."""
        given: dict[str, Any] = {"content_type": self.content_type} if self.content_type else {}
        return {**given, "other_data": dict(self.other_data)} if self.other_data else given


@dataclass(frozen=True)
class Kind:
    """Bad files of one kind and the sample that is put between them; `gold` is what that has to become, by the methods
    of gold_reading.Reading."""

    title: str
    neighbour: str
    gold: Mapping[str, Any]
    cases: tuple[Bad, ...]


def text(content: str) -> Callable[[], bytes]:
    """A file that is this text."""
    return content.encode


def sample(name: str, size: int | None = None) -> Callable[[], bytes]:
    """The first `size` bytes of a sample."""
    return lambda: (SAMPLES / name).read_bytes()[:size]


def message(value: str, time: str = '"2024-05-01T10:00:00Z"', topic: str = "u4/302/lux") -> str:
    """A sensor message, in which anything may stand as value and time."""
    return f'{{"topic": "{topic}", "value": {value}, "value_units": "lux", "time": {time}}}'


# -- archives ---------------------------------------------------------------------------------------------------------


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip archive; names are kept as they are."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def escaping() -> bytes:
    """A zip with a good member, and others that would be written elsewhere by what believes their names."""
    target = io.BytesIO()
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("good.json", message("1"))
        archive.writestr(f"../../../../tmp/{MARK}", "x")
        archive.writestr(f"..\\..\\tmp\\{MARK}", "x")
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a\x07b", "x")
    return target.getvalue()


def special_tar() -> bytes:
    """A tar with a good member, links and a device."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, kind, place in (
            ("etc", tarfile.SYMTYPE, "/etc"),
            ("hard", tarfile.LNKTYPE, "/etc/shadow"),
            ("disk", tarfile.BLKTYPE, ""),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, place
            archive.addfile(entry)
        content = message("2").encode()
        for name in (f"etc/../../tmp/{MARK}", "good.json"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def encrypted() -> bytes:
    """A zip whose only member says that it is encrypted."""
    content = bytearray(zipped({"secret.json": b"{}"}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def nested(levels: int) -> bytes:
    """Archives in one another."""
    content = message("1").encode()
    for level in range(levels):
        content = zipped({"inner.zip" if level else "inner.json": content})
    return content


def lying_directory() -> bytes:
    """A zip that says that its directory has 4 GB."""
    content = zipped({"a.json": b"{}"})
    end = content.rindex(b"PK\x05\x06")
    return content[:end] + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 0xFFFFFFF0, 0, 0)


def zip_bomb() -> bytes:
    """150 MB of zeros in 150 kB."""
    return zipped({"zeros.bin": bytes(150 * 1024 * 1024)})


# -- workbooks --------------------------------------------------------------------------------------------------------

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def workbook(rows: str, head: str = "") -> bytes:
    """An .xlsx file with this XML in its sheet."""
    relations = (
        f'<Relationships xmlns="{PACKAGE}"><Relationship Id="r1" Type="{RELATIONS}/%s" Target="%s"/></Relationships>'
    )
    return zipped(
        {
            "_rels/.rels": (relations % ("officeDocument", "/xl/workbook.xml")).encode(),
            "xl/workbook.xml": (
                f'<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}"><sheets><sheet name="S" sheetId="1" r:id="r1"/>'
                "</sheets></workbook>"
            ).encode(),
            "xl/_rels/workbook.xml.rels": (relations % ("worksheet", "worksheets/s.xml")).encode(),
            "xl/worksheets/s.xml": (
                f'{head}<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData></worksheet>'
            ).encode(),
        }
    )


def entity(declared: str) -> bytes:
    """A workbook with a document type declaration, whose first cell is the entity `z`."""
    cell = '<row><c t="inlineStr"><is><t>&z;</t></is></c></row>'
    return workbook(cell, f'<?xml version="1.0"?><!DOCTYPE x [{declared}]>')


def laughs() -> bytes:
    """A billion laughs: 10 letters that would become 10¹⁰."""
    levels = "abcdefghi"
    declared = '<!ENTITY a "haha haha!">' + "".join(
        f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in itertools.pairwise(levels)
    )
    return entity(declared + f'<!ENTITY z "{"&i;" * 10}">')


def workbook_bomb() -> bytes:
    """A sheet of 78 MB in 230 kB."""
    return workbook("<row><c><v>1</v></c></row>" * 3_000_000)


# -- images -----------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *more: bytes) -> bytes:
    """A PNG that says that it has this size, with little in it; `more` chunks stand after its header."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + pixels + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A PNG with a text of 100 MB in 100 kB."""
    return png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000))))


def many_scans() -> bytes:
    """A JPEG of 200 scans, each of which has to be decoded over the whole picture."""
    content = (SAMPLES / "portrait.jpg").read_bytes()
    return content[:-2] + content[content.rindex(b"\xff\xda") : -2] * 200 + content[-2:]


# -- dumps ------------------------------------------------------------------------------------------------------------

HOSTILE_MYSQL = f"""\
-- MariaDB dump 10.19
DROP DATABASE IF EXISTS `gold`;
CREATE TABLE `t` (`a` int, `b` text);
INSERT INTO `t` VALUES (1,'it''s good');
GRANT ALL PRIVILEGES ON *.* TO 'x'@'%' IDENTIFIED BY 'x';
CREATE USER 'x'@'%' IDENTIFIED BY 'x';
LOAD DATA INFILE '/etc/passwd' INTO TABLE `t`;
SELECT * FROM `t` INTO OUTFILE '/tmp/{MARK}';
SELECT sys_exec('touch /tmp/{MARK}');
SET GLOBAL general_log_file = '/tmp/{MARK}';
UPDATE mysql.user SET authentication_string = '';
DELETE FROM `t`;
INSERT INTO `mysql`.`user` VALUES ('x');
INSERT INTO `t` VALUES (2,'x''); DROP TABLE `airports`; --');
"""
HOSTILE_POSTGRESQL = f"""\
-- PostgreSQL database dump
DROP DATABASE gold;
CREATE TABLE public.t (a integer, b text);
COPY public.t (a, b) FROM PROGRAM 'touch /tmp/{MARK}';
COPY public.t (a, b) FROM '/etc/passwd';
SELECT pg_read_file('/etc/passwd');
SELECT lo_export(1, '/tmp/{MARK}');
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
ALTER SYSTEM SET archive_command = 'touch /tmp/{MARK}';
DO $$ BEGIN DROP TABLE airports; END $$;
CREATE FUNCTION public.f() RETURNS integer LANGUAGE sql AS $$ DROP TABLE airports; SELECT 1; $$;
CREATE EXTENSION plpython3u;
\\! touch /tmp/{MARK}
\\i /etc/passwd
COPY public.t (a, b) FROM stdin;
1\tit's good
2\t'); DROP TABLE airports; --
\\.
"""


def bson(*fields: bytes) -> bytes:
    """A document of BSON of elements."""
    content = b"".join(fields)
    return struct.pack("<i", len(content) + 5) + content + b"\0"


GOOD_BSON = bson(b"\x02a\0" + struct.pack("<i", 5) + b"good\0")


def deep_bson(levels: int) -> bytes:
    """Documents in one another."""
    found = bson()
    for _level in range(levels):
        found = bson(b"\x03a\0" + found)
    return found


def noise(size: int) -> bytes:
    """Bytes that mean nothing, the same each time."""
    return random.Random(7).randbytes(size)


JSON = Kind(
    "JSON",
    "messages.json",
    {"points": 28},
    (
        Bad(
            "cut.json",
            "ends in the middle of a message",
            sample("broken.json"),
            fails="line 2: not valid JSON: Expecting value",
        ),
        Bad(
            "empty.json",
            "no byte",
            bytes,
            fails="the file is empty",
        ),
        Bad(
            "deep.json",
            "lists in one another, 100,000 deep",
            text("[" * 100_000 + "]" * 100_000),
            fails="nothing in this JSON can be kept: item 1: line 1: not valid JSON: nested too deeply",
        ),
        Bad(
            "deep-objects.json",
            "objects in one another, 100,000 deep, never closed",
            text('{"a":' * 100_000),
            fails="line 1: not valid JSON: nested too deeply",
        ),
        Bad(
            "digits.json",
            "a number of 5,000 digits",
            text(f"[{message('9' * 5000)}]"),
            becomes="1 document to mongodb",
        ),
        Bad(
            "numbers.json",
            "NaN, Infinity, 10⁹⁹⁹, a number of 400 digits, text as a number, and one good message",
            text("[" + ", ".join(map(message, ("NaN", "-Infinity", "1e999", "9" * 400, '"12"', "true", "7"))) + "]"),
            becomes="1 point to influxdb; 6 rows left out",
            left_out=(
                (1, "value of 'lux': nan is not a finite number"),
                (2, "value of 'lux': -inf is not a finite number"),
                (3, "value of 'lux': inf is not a finite number"),
                (
                    4,
                    "value of 'lux': 999999999999999999999999999999999999999999999999999999999999 is not a finite number",
                ),
                (5, "value of 'lux': '12' is not a finite number"),
                (6, "value of 'lux': True is not a finite number"),
            ),
        ),
        Bad(
            "times.json",
            "times that are none: February 30th, the year 99999, a number, nothing",
            text(
                "["
                + ", ".join(
                    message("1", time)
                    for time in (
                        '"2024-02-30T00:00:00Z"',
                        '"99999-01-01T00:00:00Z"',
                        "12",
                        '""',
                        '"2024-05-01T00:00:00Z"',
                    )
                )
                + "]"
            ),
            becomes="1 point to influxdb; 4 rows left out",
            left_out=(
                (1, "time '2024-02-30T00:00:00Z': day is out of range for month"),
                (2, "time '99999-01-01T00:00:00Z' is not ISO 8601 (2021-07-22T11:01:22.000Z)"),
                (3, "time 12 is not ISO 8601 (2021-07-22T11:01:22.000Z)"),
                (4, "time is missing"),
            ),
        ),
        Bad(
            "names.json",
            "topics with a line of InfluxDB's protocol in them, and with control characters",
            text("[" + ", ".join(message("1", topic=t) for t in ("a b\\nlux value=1", "a\\u0000b", "a,b=c d")) + "]"),
            becomes="1 point to influxdb; 2 rows left out",
            left_out=(
                (1, "value of the tag topic 'a b\\nlux value=1' has control characters"),
                (2, "value of the tag topic 'a\\x00b' has control characters"),
            ),
        ),
        Bad(
            "latin.json",
            "a text in ISO 8859-1",
            lambda: f"[{message('1', topic='été')}]".encode("latin-1"),
            fails="nothing in this JSON is a sensor message: 1 items, item 1: value of the tag topic '\\udce9t\\udce9' has control characters",
        ),
        Bad(
            "operators.json",
            "names that are operators of MongoDB",
            text('[{"$where": "sleep(1000)", "a.b": {"$gt": 1}}]'),
            becomes="1 document to mongodb",
        ),
        Bad(
            "huge.json.gz",
            "a text of 64 MB in 64 kB",
            lambda: gzip.compress(b'["' + b"a" * 2**26 + b'"]'),
            fails="nothing in this JSON can be kept: item 1: line 1: a value over 16777216 characters",
        ),
        Bad(
            "cut.json.gz",
            "packed, and cut off",
            lambda: gzip.compress((SAMPLES / "barley.json").read_bytes())[:-200],
            fails="the gzip file ends too early",
        ),
        Bad(
            "template.json",
            "a template that fits nothing in it",
            text('[{"date": "2024-05-01", "a": 1}]'),
            other_data={"template": {"measurement": "m", "time": "date", "fields": ["b"], "tags": []}},
            fails="the template fits nothing in this JSON: item 1: none of the fields b is there",
        ),
        Bad(
            "image.json",
            "says that it is a PNG",
            text(message("3")),
            content_type="image/png",
            becomes="1 point to influxdb",
        ),
    ),
)
CSV = Kind(
    "CSV",
    "airports.csv",
    {"rows": {"airports": 60}},
    (
        Bad(
            "ragged.csv",
            "rows with too few and too many cells, and words for numbers",
            text(
                "time,lux\n2024-05-01T10:00:00Z,1\n2024-05-01T10:01:00Z\n2024-05-01T10:02:00Z,2,3,4\nnever,5\n"
                "2024-05-01T10:03:00Z,much\n2024-05-01T10:04:00Z,nan\n2024-05-01T10:05:00Z,6\n"
            ),
            becomes="2 points to influxdb; 4 rows left out",
            left_out=(
                (3, "1 cells, the header has 2"),
                (4, "4 cells, the header has 2"),
                (5, "time 'never' is not ISO 8601 (2021-07-22T11:01:22.000Z)"),
                (6, "value of 'lux': 'much' is not a finite number"),
            ),
        ),
        Bad(
            "nul.csv",
            "NUL bytes in cells",
            lambda: b"name,size\na\0b,1\nc,2\n",
            becomes="1 row to sql; 1 rows left out",
            left_out=((2, "there are bytes in it that are no text of this encoding (or are 0)"),),
        ),
        Bad(
            "noise.csv",
            "10 kB of noise",
            lambda: noise(10_000),
            fails="no CSV: it is not text",
        ),
        Bad(
            "empty.csv",
            "no byte",
            bytes,
            fails="the file is empty",
        ),
        Bad(
            "head.csv",
            "no row after its header",
            text("name,size\n"),
            becomes="nothing in it",
        ),
        Bad(
            "latin.csv",
            "ISO 8859-1, but says UTF-8",
            lambda: "nom,taille\nété,1\n".encode("latin-1"),
            content_type="text/csv; charset=utf-8",
            fails="line 2: no row can be understood (1 are wrong): there are bytes in it that are no text of this encoding (or are 0)",
        ),
        Bad(
            "charset.csv",
            "an encoding that there is not",
            text("a,b\n1,2\n"),
            content_type="text/csv; charset=klingon",
            fails="the encoding 'klingon' is not known",
        ),
        Bad(
            "quote.csv",
            "a quotation mark that is never closed",
            text('name,size\na,1\n"b,2\nc,3\nd,4\n'),
            becomes="3 rows to sql; 1 rows left out",
            left_out=((3, "no CSV row (is a quote never closed?): 1 cells in 3 lines, 2 are expected"),),
        ),
        Bad(
            "twice.csv",
            "two columns of one name, and times",
            text("time,lux,lux\n2024-05-01T10:00:00Z,1,2\n"),
            becomes="2 points to influxdb",
        ),
        Bad(
            "wide.csv",
            "20,000 columns",
            text(",".join(f"c{n}" for n in range(20_000)) + "\n" + "1," * 19_999 + "1\n"),
            fails="the SQL store refused to keep rows in …: tables can have at most 1600 columns",
        ),
        Bad(
            "long.csv",
            "a cell of 20 MB",
            text("name,size\n" + "x" * 20_000_000 + ",1\nb,2\n"),
            becomes="1 row to sql; 1 rows left out",
            left_out=((2, "a line is over 1048576 characters"),),
        ),
        Bad(
            "airports; DROP TABLE airports;--.csv",
            "SQL as name of the file, of columns and in cells",
            text('"a""; DROP TABLE airports; --",lake_object\n"\'); DROP TABLE airports; --",=cmd|\'/C calc\'!A0\n'),
            becomes="1 row to sql",
        ),
        Bad(
            "page.csv",
            "a web page",
            text("<!DOCTYPE html>\n<html><body><table><tr><td>1</td></tr></table></html>\n"),
            fails="no table: it is HTML or XML (a page saved as a workbook, perhaps): export it as CSV or .xlsx",
        ),
    ),
)
TEXT = Kind(
    "Delimited text",
    "weather.txt",
    {"points": 58},
    (
        Bad(
            "prose.txt",
            "no table",
            text("Dear all,\n\nthe sensors will be away tomorrow; sorry.\n"),
            fails="line 1: no time column (timestamp, temps, date, measuretime, datemesure) among: Dear all (a CSV file begins with a line of column names)",
        ),
        Bad(
            "notime.txt",
            "a table without times",
            text("name;size\na;1\nb;2\n"),
            fails="line 1: no time column (timestamp, temps, date, measuretime, datemesure) among: name, size",
        ),
        Bad(
            "days.txt",
            "days that may be the 2nd of January or the 1st of February",
            text("date;lux\n01/02/2012;1\n02/02/2012;2\n"),
            fails="line 1: column 'date': '01/02/2012' may be day/month or month/day, and nothing in the column decides: say it by the option date_order (dmy, mdy)",
        ),
        Bad(
            "control.txt",
            "control characters",
            lambda: b"date;lux\n2012-02-01;\x01\x02\n2012-02-02;\x1b[2J\n",
            fails="line 1: no column of values (value, valeur, reading, or of numbers) among: date, lux",
        ),
    ),
)
EXCEL = Kind(
    "Excel",
    "weather.xlsx",
    {"points": 1464},
    (
        Bad(
            "laughs.xlsx",
            "a billion laughs: 10 letters that would become 10¹⁰",
            laughs,
            fails="the workbook has a document type declaration, which no workbook has: it may be an attack",
        ),
        Bad(
            "reads.xlsx",
            "an entity that is /etc/passwd",
            lambda: entity('<!ENTITY z SYSTEM "file:///etc/passwd">'),
            fails="the workbook has a document type declaration, which no workbook has: it may be an attack",
        ),
        Bad(
            "bomb.xlsx",
            "a sheet of 78 MB in 230 kB",
            workbook_bomb,
            fails="xl/worksheets/s.xml in the workbook is over 200 times as large as packed: it may be made to fill memory (option max_ratio)",
        ),
        Bad(
            "cut.xlsx",
            "cut off",
            sample("weather.xlsx", 9000),
            fails="the workbook is damaged: it is cut off, or no zip archive",
        ),
        Bad(
            "other.xlsx",
            "a zip archive that is no workbook",
            lambda: zipped({"a.txt": b"x"}),
            becomes="1 member to objects",
        ),
        Bad(
            "rows.xlsx",
            "a cell in row 99,999,999",
            lambda: workbook('<row r="99999999"><c><v>1</v></c></row>'),
            fails="the workbook is damaged: 99999999 is no row",
        ),
        Bad(
            "columns.xlsx",
            "a cell in column ZZZZ",
            lambda: workbook('<row><c r="ZZZZ1"><v>1</v></c></row>'),
            fails="the workbook is damaged: 'ZZZZ' is no column",
        ),
        Bad(
            "deep.xlsx",
            "elements in one another, 1,000 deep",
            lambda: workbook("<x>" * 1000),
            fails="the workbook is damaged: its elements are nested too deeply",
        ),
        Bad(
            "cut.xls",
            "the older format, cut off",
            sample("weather.xls", 2000),
            fails="the workbook (.xls) is damaged, or none: IndexError: array index out of range",
        ),
        Bad(
            "page.xls",
            "a web page",
            text("<html><body><table><tr><td>1</td></tr></table></body></html>"),
            fails="no table: it is HTML or XML (a page saved as a workbook, perhaps): export it as CSV or .xlsx",
        ),
        Bad(
            "noise.xls",
            "noise",
            lambda: noise(5000),
            fails="no CSV: it is not text",
        ),
    ),
)
SQL = Kind(
    "SQL dumps",
    "airports.csv",
    {"rows": {"airports": 60}},
    (
        Bad(
            "mysql.sql",
            "DROP DATABASE, GRANT, files read and written, changes of rows, besides two good rows",
            text(HOSTILE_MYSQL),
            becomes="2 rows to sql, 1 table to sql; 3 rows left out",
            left_out=(
                (7, "LOAD is not executed: rows may differ from what the database had"),
                (11, "UPDATE is not executed: rows may differ from what the database had"),
                (12, "DELETE is not executed: rows may differ from what the database had"),
            ),
            skipped={
                "DROP DATABASE": 1,
                "GRANT": 1,
                "CREATE USER": 1,
                "LOAD": 1,
                "SELECT": 2,
                "SET": 1,
                "UPDATE": 1,
                "DELETE": 1,
                "INSERT into a system table": 1,
            },
        ),
        Bad(
            "postgresql.sql",
            "COPY FROM PROGRAM, pg_read_file, code, commands of psql, besides two good rows",
            text(HOSTILE_POSTGRESQL),
            becomes="2 rows to sql, 1 table to sql; 3 rows left out",
            left_out=(
                (4, "COPY without data in the dump: it is not executed"),
                (5, "COPY without data in the dump: it is not executed"),
                (10, "DO is not executed: rows may differ from what the database had"),
            ),
            skipped={
                "DROP DATABASE": 1,
                "COPY": 2,
                "SELECT": 2,
                "GRANT": 1,
                "ALTER SYSTEM": 1,
                "DO": 1,
                "CREATE FUNCTION": 1,
                "CREATE EXTENSION": 1,
                "\\!": 1,
                "\\i": 1,
            },
        ),
        Bad(
            "cut.sql",
            "ends within a row",
            text("CREATE TABLE `t` (`a` int, `b` text);\nINSERT INTO `t` VALUES (1,'x'),(2,'unclos"),
            becomes="1 row to sql, 1 table to sql; 1 rows left out",
            left_out=((2, "the file ends within a row (is a quote missing?); what came before it is kept"),),
        ),
        Bad(
            "rows.sql",
            "rows with too few values, too many, and others than their column's type",
            text(
                "CREATE TABLE `t` (`a` int, `b` date);\nINSERT INTO `t` VALUES (1,'2024-02-29'),(2),(3,NULL,4),"
                "('x','2024-02-30'),(5,NULL);\n"
            ),
            becomes="2 rows to sql, 1 table to sql; 3 rows left out",
            left_out=(
                (2, "INSERT INTO t: 1 values, but 2 columns"),
                (2, "INSERT INTO t: 3 values, but 2 columns"),
                (2, "INSERT INTO t: a: 'x' is no integer"),
            ),
        ),
        Bad(
            "empty.sql",
            "no byte",
            bytes,
            fails="the file is empty",
        ),
        Bad(
            "none.sql",
            "no SQL",
            text("Dear all,\nthe dump is on its way.\n"),
            fails="no SQL dump: no statement of one is in it",
        ),
        Bad(
            "custom.sql",
            "pg_dump's own format",
            lambda: b"PGDMP" + noise(200),
            fails="this is pg_dump's custom form: `pg_restore --file=dump.sql FILE` makes a plain dump of it",
        ),
        Bad(
            "charset.sql",
            "texts in an encoding that is not known",
            text("SET NAMES klingon;\nINSERT INTO t VALUES (1,'x');\n"),
            fails="line 1: texts in klingon cannot be read; make the dump again in UTF-8 (mysqldump --default-character-set=utf8mb4, pg_dump --encoding=UTF8)",
        ),
        Bad(
            "cut.sql.gz",
            "packed, and cut off",
            lambda: gzip.compress(HOSTILE_MYSQL.encode(), mtime=0)[:100],
            fails="line 2: no row can be understood (2 errors): the file ends within DROP DATABASE; what came before it is kept",
        ),
    ),
)
METERS = Kind(
    "Meter dumps",
    "sge.sql",
    {"rows": {"releves": 4}},
    (
        Bad(
            "sge_other.sql",
            "no meters in it",
            text("CREATE TABLE `t` (`a` int);\nINSERT INTO `t` VALUES (1);\n"),
            fails="no meter dump: no table has a meter, a time and a value (tables: t); under a name without SGE it is any SQL dump",
        ),
        Bad(
            "sge_names.sql",
            "does not say what its columns are",
            text("INSERT INTO releves2 VALUES ('3','2024-01-01 00:00:00','1');\n"),
            fails="line 1: the dump does not say what the columns of releves2 are: make it with their names (mysqldump --complete-insert, pg_dump --column-inserts) or with CREATE TABLE",
        ),
        Bad(
            "sge_values.sql",
            "times and readings that are none",
            text(
                "INSERT INTO releves3 (compteur, horodate, grandeur, valeur) VALUES ('3','yesterday','EA','1'),"
                "('3','2024-01-01 00:00:00','EA','much'),('3','2024-01-01 00:30:00','EA','2');\n"
            ),
            becomes="1 row to sql, 1 table to sql; 2 rows left out",
            left_out=((1, "releves3: 'yesterday' is no time"), (1, "releves3: 'much' is no value of a meter")),
        ),
        Bad(
            "sge_empty.sql",
            "no byte",
            bytes,
            fails="the file is empty",
        ),
    ),
)
BSON = Kind(
    "BSON dumps",
    "barley.bson",
    {"documents": 60},
    (
        Bad(
            "negative.bson",
            "a document of -1 bytes",
            lambda: struct.pack("<i", -1) + noise(100),
            fails="no BSON dump: byte 0: no document begins here (its size would be -1 bytes); what came before it is kept",
        ),
        Bad(
            "large.bson",
            "a good document, then one of 2 GiB",
            lambda: GOOD_BSON + struct.pack("<i", 2**31 - 1) + noise(100),
            becomes="1 document to mongodb; 1 rows left out",
            left_out=(
                (
                    2,
                    "byte 17: no document begins here (its size would be 2147483647 bytes); what came before it is kept",
                ),
            ),
        ),
        Bad(
            "cut.bson",
            "cut off within a document",
            sample("barley.bson", 1000),
            becomes="13 documents to mongodb; 1 rows left out",
            left_out=((14, "byte 942: the file ends within a document (58 of 69 bytes); what came before it is kept"),),
        ),
        Bad(
            "deep.bson",
            "documents in one another, 20,000 deep, then a good one",
            lambda: deep_bson(20_000) + GOOD_BSON,
            becomes="1 document to mongodb; 1 rows left out",
            left_out=(
                (1, "byte 0: no BSON: maximum recursion depth exceeded while decoding a BSON document; it is left out"),
            ),
        ),
        Bad(
            "length.bson",
            "a text longer than its document, then a good one",
            lambda: bson(b"\x02a\0" + struct.pack("<i", 500) + b"x\0") + GOOD_BSON,
            becomes="1 document to mongodb; 1 rows left out",
            left_out=((1, "byte 0: no BSON: invalid length or type code; it is left out"),),
        ),
        Bad(
            "type.bson",
            "an element of a type that there is not",
            lambda: bson(b"\x77a\0x\0"),
            fails="no BSON dump: byte 0: no BSON: Detected unknown BSON type b'w' for fieldname 'a'. Are you using the latest driver version?; it is left out",
        ),
        Bad(
            "archive.bson",
            "mongodump's archive",
            lambda: b"\x6d\xe2\x99\x81" + noise(100),
            fails="this is an archive of mongodump: without --archive it writes one .bson file for each collection",
        ),
        Bad(
            "text.bson",
            "text",
            text("no dump, but a text"),
            fails="no BSON dump: byte 0: no document begins here (its size would be 1679847278 bytes); what came before it is kept",
        ),
    ),
)
IMAGES = Kind(
    "Images",
    "coffee.png",
    {"documents": 1, "files": ["image", "thumbnail"]},
    (
        Bad(
            "bomb.png",
            "says that it has 100,000 × 100,000 pixels",
            lambda: png(100_000, 100_000),
            fails="the image has over 50000000 pixels, which is the limit",
        ),
        Bad(
            "pixels.png",
            "says that it has 30,000 × 30,000 pixels",
            lambda: png(30_000, 30_000),
            fails="the image has over 50000000 pixels, which is the limit",
        ),
        Bad(
            "text.png",
            "a text of 100 MB in 100 kB",
            text_bomb,
            fails="the image is damaged or cut off: Decompressed data too large for PngImagePlugin.MAX_TEXT_CHUNK",
        ),
        Bad(
            "cut.jpg",
            "cut off",
            sample("portrait.jpg", 20_000),
            fails="the image is damaged or cut off: image file is truncated (2 bytes not processed)",
        ),
        Bad(
            "scans.jpg",
            "200 scans, made to take long",
            many_scans,
            fails="a JPEG of over 100 scans, made to take long, is not read",
        ),
        Bad(
            "none.jpg",
            "says that it is a JPEG, and is noise",
            lambda: noise(5000),
            content_type="image/jpeg",
            fails="not an image that is understood (GIF, JPEG, PNG, TIFF, WEBP)",
        ),
        Bad(
            "empty.png",
            "no byte",
            bytes,
            content_type="image/png",
            fails="the file is empty",
        ),
        Bad(
            "zero.png",
            "no pixels",
            lambda: png(0, 0),
            fails="not an image that is understood (GIF, JPEG, PNG, TIFF, WEBP)",
        ),
        Bad(
            "shows.png",
            "is said to show Cypher, and a text of 1,000 characters",
            sample("coffee.png"),
            other_data={
                "image_content": {"main_object": ["'}) MATCH (n) DETACH DELETE n //"], "secondary_object": ["x" * 1000]}
            },
            becomes="1 document to mongodb, 2 files to mongodb, 2 nodes to neo4j, 1 relation to neo4j; 1 rows left out",
            left_out=(
                (
                    1,
                    "image_content.secondary_object: 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx is not the name of an object",
                ),
            ),
        ),
    ),
)
ARCHIVES = Kind(
    "Archives",
    "week.zip",
    {"members": {"monday/message.json": 8, "monday/reading.json": 1}},
    (
        Bad(
            "escape.zip",
            "names that lead out of the archive, a link, control characters, and a good file",
            escaping,
            becomes="1 member to objects; 4 rows left out",
            left_out=(
                (2, "'../../../../tmp/lake-bad-input': a name that points out of the archive"),
                (3, "'..\\\\..\\\\tmp\\\\lake-bad-input': a name that points out of the archive"),
                (4, "'link': a link, device or other special file"),
                (5, "'a\\x07b': a name with control characters"),
            ),
        ),
        Bad(
            "special.tar",
            "links to /etc, a device, and a good file",
            special_tar,
            becomes="1 member to objects; 4 rows left out",
            left_out=(
                (1, "'etc': a link, device or other special file"),
                (2, "'hard': a link, device or other special file"),
                (3, "'disk': a link, device or other special file"),
                (4, "'etc/../../tmp/lake-bad-input': a name that points out of the archive"),
            ),
        ),
        Bad(
            "bomb.zip",
            "150 MB in 150 kB",
            zip_bomb,
            fails="the members are more than 200 times as large as the archive",
        ),
        Bad(
            "bomb.bz2",
            "150 MB in 200 bytes",
            lambda: bz2.compress(bytes(150 * 1024 * 1024)),
            fails="the members are more than 200 times as large as the archive",
        ),
        Bad(
            "cut.zip",
            "cut off",
            sample("week.zip", 500),
            fails="the archive is broken: its end is missing",
        ),
        Bad(
            "directory.zip",
            "a directory that says that it has 4 GB",
            lying_directory,
            fails="more than 10,000 members, or names that are too long",
        ),
        Bad(
            "encrypted.zip",
            "encrypted",
            encrypted,
            fails="line 1: none of its 1 members can be taken: 'secret.json': it is encrypted",
        ),
        Bad(
            "nested.zip",
            "archives in one another, 6 deep",
            lambda: nested(6),
            becomes="1 member to objects",
        ),
        Bad(
            "none.zip",
            "no archive",
            lambda: noise(5000),
            content_type="application/zip",
            fails="no zip or tar archive, nor a file compressed by gzip, bzip2 or xz",
        ),
    ),
)
UNKNOWN = Kind(
    "Unknown types",
    "message.json",
    {"points": 8},
    (
        Bad(
            "program.exe",
            "a program",
            lambda: b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0" + noise(500),
            fails="no pipeline handles this object; it is kept raw. Looked at: content_type 'application/x-msdownload', swift_project …, swift_container …, data_processing 'default', original_object_name 'program.exe'",
        ),
        Bad(
            "program.json",
            "a program that says that it is JSON",
            lambda: b"\x7fELF\x02\x01\x01" + noise(500),
            fails="no pipeline handles this object; it is kept raw. Looked at: content_type 'application/x-executable', swift_project …, swift_container …, data_processing 'default', original_object_name 'program.json'",
        ),
        Bad(
            "noise",
            "noise without a type or an extension",
            lambda: noise(5000),
            fails="no pipeline handles this object; it is kept raw. Looked at: content_type 'application/octet-stream', swift_project …, swift_container …, data_processing 'default', original_object_name 'noise'",
        ),
        Bad(
            f"../../../tmp/{MARK}.txt",
            "a name that leads elsewhere",
            text("nothing\n"),
            fails="line 1: no time column (timestamp, temps, date, measuretime, datemesure) among: nothing (a CSV file begins with a line of column names)",
        ),
        Bad(
            "script.sh",
            "a script",
            text(f"#!/bin/sh\ntouch /tmp/{MARK}\n"),
            fails="no pipeline handles this object; it is kept raw. Looked at: content_type 'application/x-sh', swift_project …, swift_container …, data_processing 'default', original_object_name 'script.sh'",
        ),
    ),
)
KINDS = (JSON, CSV, TEXT, EXCEL, SQL, METERS, BSON, IMAGES, ARCHIVES, UNKNOWN)


# -- the table --------------------------------------------------------------------------------------------------------


def tables() -> str:
    """All of it as Markdown: a table for each kind."""
    return "\n\n".join(_table(kind) for kind in KINDS)


def _table(kind: Kind) -> str:
    rows = [f"| {_code(case.name)} | {_cell(case.what)} | {_says(case)} |" for case in kind.cases]
    head = f"## {kind.title}\n\nBetween them: `{kind.neighbour}`, of which {_gold(kind.gold)}.\n"
    return "\n".join([head, "| file | what is bad | what its document says |", "|---|---|---|", *rows])


def _gold(gold: Mapping[str, Any]) -> str:
    parts = []
    for what, found in gold.items():
        if what == "rows":
            parts += [f"{count} rows are in the table `{table}`" for table, count in found.items()]
        elif what == "members":
            parts += [f"`{path}` is an object with {count} points" for path, count in found.items()]
        elif what == "files":
            parts.append(f"the files {' and '.join(f'`{name}`' for name in found)} are there")
        else:
            parts.append(f"{found} {what if found != 1 else what[:-1]} {'are' if found != 1 else 'is'} there")
    return ", ".join(parts)


def _says(case: Bad) -> str:
    if case.fails:
        return f"**failed** {_code(case.fails)}"
    parts = [_code(case.becomes)]
    parts += [f"{line}: {_code(message)}" for line, message in case.left_out]
    if case.skipped:
        parts.append("passed over: " + ", ".join(f"{kind} {count}" for kind, count in case.skipped.items()))
    return "<br>".join(parts)


def _code(words: str) -> str:
    """As code; bars would end the cell."""
    fence = "``" if "`" in words else "`"
    return f"{fence}{words}{fence}".replace("|", "\\|")


def _cell(words: str) -> str:
    return words.replace("|", "\\|")
