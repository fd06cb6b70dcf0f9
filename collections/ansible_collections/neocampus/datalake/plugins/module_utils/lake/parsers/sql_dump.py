# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SQL dumps to rows: of MySQL and MariaDB (mysqldump, mariadb-dump, phpMyAdmin), of PostgreSQL (pg_dump's plain form).

Nothing in a dump is executed. CREATE TABLE is read for columns, types and key, INSERT, REPLACE and COPY for rows, and
a few statements for how the rest has to be read: SET NAMES, client_encoding, TIME_ZONE, sql_mode,
standard_conforming_strings, USE, DELIMITER. All other statements are passed over: they are counted by kind in the
report's `skipped`, and those that would have changed rows (UPDATE, DELETE, INSERT … SELECT, …) are errors of the
report, since what is kept may differ from what the database had. A value that would have to be computed costs its row.

Tables have the name that the dump gives them. The schema `public` is left out, and so is the first database that the
dump names (USE, \\connect): `readings`, `plant.readings`; those of a second database are `otherbase.readings`. What
belongs to the server itself (databases mysql, sys, …) is passed over.

A table's rows follow its Table record. pg_dump and phpMyAdmin declare keys behind the rows (ALTER TABLE … ADD PRIMARY
KEY): such a table has its record once more at the end, with the key. A file that is cut gives what came before the cut,
and an error.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any, Callable

from ..errors import InvalidInput, ParseError
from ..records import Row, Table
from .inputs import Readable, opened
from .report import RowErrors, report_of
from .sql_text import (
    MAX_ROW,
    MAX_STATEMENT,
    MYSQL,
    POSTGRESQL,
    Cut,
    SqlText,
    Unclosed,
    codec_of,
    copy_field,
    decode,
    kind_of,
)
from .sql_types import MAX_COLUMNS, Columns, Definition, read_definition

DIALECTS = (MYSQL, POSTGRESQL)
MAX_TABLES = 10_000
HEAD = 64 * 1024
"""How much of a dump is looked at to tell its dialect (bytes)."""

_SYSTEM = frozenset(("mysql", "sys", "information_schema", "performance_schema", "pg_catalog"))
_EMPTY_DATABASES = frozenset(("template0", "template1", "postgres"))  # pg_dumpall names them first
_CHANGES = frozenset("UPDATE DELETE MERGE CALL DO LOAD WITH EXECUTE IMPORT".split())
_KNOWN = frozenset(
    "ALTER ANALYZE BEGIN COMMENT COMMIT COPY CREATE DELIMITER DISABLE DROP ENABLE END GRANT INSERT LOCK PRAGMA REFRESH"
    " REINDEX RELEASE REPLACE RESET REVOKE ROLLBACK SAVEPOINT SECURITY SELECT SET SHOW SOURCE START TRUNCATE UNLOCK USE"
    " VACUUM".split()
)
_BEFORE_TABLE = frozenset("INTO IGNORE LOW_PRIORITY HIGH_PRIORITY DELAYED ONLY OR ABORT FAIL ROLLBACK".split())
_SIGNS = {
    MYSQL: (
        rb"-- (?:MySQL|MariaDB) dump",
        rb"-- phpMyAdmin SQL Dump",
        rb"/\*M?!\d{5}",
        rb"ENGINE\s*=",
        rb"[(\s]`\w",
        rb"\w\\'\w",
    ),
    POSTGRESQL: (
        rb"-- PostgreSQL database (?:cluster )?dump",
        rb"\bCOPY\s[^;]{1,400}\sFROM\s+stdin",
        rb"\bpg_catalog\.",
        rb"standard_conforming_strings",
        rb"::[a-z]",
    ),
}
_REFUSED = {
    b"PGDMP": "this is pg_dump's custom form: `pg_restore --file=dump.sql FILE` makes a plain dump of it",
    b"SQLite format 3\0": "this is a SQLite database: `sqlite3 FILE .dump` makes a plain dump of it",
    b"BZh": "this is packed with bzip2: unpack it, or pack it with gzip",
    b"\xfd7zXZ": "this is packed with xz: unpack it, or pack it with gzip",
    b"\x28\xb5\x2f\xfd": "this is packed with zstd: unpack it, or pack it with gzip",
    b"PK\x03\x04": "this is a zip archive: insert it as application/zip, to have its files as objects",
    b"\xfe\x62\x69\x6e": "this is a binary log of MySQL, no dump: `mysqldump` makes one",
}
_SET = re.compile(
    r"(?:^\W*SET\s+|,\s*)(?:SESSION\s+|GLOBAL\s+|LOCAL\s+|@@)?(\w+)\s*(?:=|:=|\bTO\b)\s*('[^']*'|\"[^\"]*\"|[\w@+:-]+)",
    re.I,
)
_SET_NAMES = re.compile(r"^\W*SET\s+NAMES\s+['\"]?([\w-]+)", re.I)
_OFFSET = re.compile(r"([-+])(\d\d?):(\d\d)")
_DOT = re.compile(r"\s*\.\s*")
_NAME = re.compile(r"`((?:[^`]|``)*)`|\"((?:[^\"]|\"\")*)\"|([\w$@]+)")
_CREATE_TABLE = re.compile(
    r"\s*CREATE\s+(?:OR\s+REPLACE\s+)?(?:(?:GLOBAL|LOCAL|TEMPORARY|TEMP|UNLOGGED|FOREIGN)\s+)*TABLE\s+"
    r"(IF\s+NOT\s+EXISTS\s+)?",
    re.I,
)
_ALTER_TABLE = re.compile(r"\s*ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?", re.I)
_PRIMARY_KEY = re.compile(
    r"\bADD\s+(?:CONSTRAINT\s+(?:`[^`]*`|\"[^\"]*\"|\w+)\s+)?PRIMARY\s+KEY\s*(?:USING\s+\w+\s*)?\(([^()]*)\)", re.I
)
_DROP_TABLE = re.compile(r"\s*(?:DROP\s+TABLE|TRUNCATE(?:\s+TABLE)?)\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?", re.I)


def parse(stream: Readable, options: Mapping[str, Any]) -> Iterator[Table | Row]:
    """The tables and rows of a dump, plain or gzip, read as a stream.

    Options: `dialect` (mysql, postgresql; default: what the beginning looks like), `encoding` (Python's name of one;
    default: what the dump says of itself, else UTF-8). Rows that cannot be understood go to `options.report` with
    their line, and so do statements that would have changed rows.
    Errors: ParseError when it is no SQL dump, or no row of it can be understood.
    """
    return Dump(stream, options).records()


class Dump:
    """A dump that is being read.

    `made`: the tables that the dump has made or emptied before it fills them, by name.
    """

    def __init__(self, stream: Readable, options: Mapping[str, Any]) -> None:
        self._input = opened(stream)
        self._report = report_of(options)
        head = self._input.head(HEAD)
        if not head:
            raise ParseError("the file is empty")
        for magic, said in _REFUSED.items():
            if head.startswith(magic):
                raise ParseError(said)
        dialect = options.get("dialect") or detect_dialect(head)
        if dialect not in DIALECTS:
            raise InvalidInput(f"dialect is one of {', '.join(DIALECTS)}, not {dialect!r:.60}")
        self.dialect: str = dialect
        self.made: set[str] = set()
        self._text = SqlText(self._input.read, dialect)
        self._fixed_codec = _python_codec(options.get("encoding"))
        self._codec = self._fixed_codec or "utf-8"
        self._zone: timezone | None = None
        self._database = self._first_database = ""
        self._definitions: dict[str, Definition] = {}
        self._announced: set[str] = set()
        self._rekeyed: set[str] = set()
        self._known = 0
        self._rows = 0

    def records(self) -> Iterator[Table | Row]:
        """What `parse` gives."""
        text = self._text
        try:
            while not text.at_end():
                yield from self._statement()
        except Cut as error:
            self._report.add(text.line, f"{error.message}; what came before it is kept")
        if self._input.cut:
            self._report.add(text.line, "the gzip file ends too early; what could be unpacked of it is kept")
        if not self._known:
            raise ParseError("no SQL dump: no statement of one is in it")
        for name, definition in self._definitions.items():
            if definition.columns and (name not in self._announced or name in self._rekeyed):
                self._announced.add(name)
                yield Table(name, definition.columns, definition.key)
        if not self._rows and self._report.count:
            first = self._report.items[0]
            raise ParseError(
                f"no row can be understood ({self._report.count} errors): {first['message']}", first["line"]
            )

    def _statement(self) -> Iterator[Table | Row]:
        text = self._text
        line = text.line
        if text.character() == "\\":  # psql's own commands
            self._psql(text.rest_of_line())
            return
        verb = text.word()
        if verb in _KNOWN or verb in _CHANGES:
            self._known += 1
        if verb == "DELIMITER" and self.dialect == MYSQL:
            text.delimiter = (text.rest_of_line()[len("DELIMITER") :].split() or [";"])[0][:16]
            return
        if verb in ("INSERT", "REPLACE"):
            yield from self._insert(line)
        elif verb == "COPY":
            yield from self._copy(line)
        elif not verb and text.character() in (";", text.delimiter[0]):
            text.statement(0)
        else:
            self._other(verb, line)

    def _other(self, verb: str, line: int) -> None:
        """A statement without rows: what it says of the others is kept."""
        keep = {"CREATE": MAX_STATEMENT, "SET": 4096}.get(verb, 1024)
        statement, ended = self._text.statement(keep)
        kind = kind_of(statement)
        if not ended and statement.strip():
            self._report.add(line, f"the file ends within {kind}; what came before it is kept")
            return
        if kind == "CREATE TABLE":
            self._create_table(statement, line)
            return
        if kind in ("DROP TABLE", "TRUNCATE"):
            self._emptied(statement, kind, line)
        elif kind == "ALTER TABLE":
            self._keyed(statement)
        elif kind == "SET":
            self._set(statement, line)
        elif kind == "USE":
            self._use(self._name(statement.split(None, 1)[-1]))
        elif kind in _CHANGES:
            self._report.add(line, f"{kind} is not executed: rows may differ from what the database had")
        if kind != "?":
            self._report.skip(kind)

    # How the dump is to be read

    def _set(self, statement: str, line: int) -> None:
        named = _SET_NAMES.match(statement)
        if named:
            self._encoded_in(named.group(1), line)
            return
        for found in _SET.finditer(statement):
            name, value = found.group(1).lower(), found.group(2).strip("'\"")
            if name == "client_encoding":
                self._encoded_in(value, line)
            elif name in ("time_zone", "timezone") and self.dialect == MYSQL:
                self._zone = _zone(value)
            elif name == "standard_conforming_strings" and self.dialect != MYSQL:
                self._text.escapes = value.lower() in ("off", "false", "0")
            elif name == "sql_mode" and self.dialect == MYSQL and "@" not in value:
                modes = value.upper()
                self._text.escapes = "NO_BACKSLASH_ESCAPES" not in modes
                self._text.names = "ANSI" in modes

    def _encoded_in(self, charset: str, line: int) -> None:
        if self._fixed_codec or charset.startswith("@"):
            return
        codec = codec_of(charset)
        if codec is None:
            raise ParseError(
                f"texts in {charset!s:.40} cannot be read; make the dump again in UTF-8"
                " (mysqldump --default-character-set=utf8mb4, pg_dump --encoding=UTF8)",
                line,
            )
        if codec == "cp1252" and self.dialect != MYSQL and charset.upper() == "LATIN1":
            codec = "latin-1"
        self._codec = codec

    def _psql(self, command: str) -> None:
        words = command.split()
        if words and words[0] in ("\\connect", "\\c") and len(words) > 1:
            self._known += 1
            name = words[1].strip('"')
            self._use("" if name.startswith("-") else name)
        elif words:
            self._report.skip(words[0][:30])

    def _use(self, database: str) -> None:
        self._database = database
        if not self._first_database and database not in _SYSTEM | _EMPTY_DATABASES:
            self._first_database = database

    # Names

    def _decoded(self, name: str) -> str:
        """A name as the file has it, in characters."""
        try:
            return decode(name.encode("latin-1"), self._codec)
        except UnicodeError:
            return name

    def _name(self, text: str) -> str:
        """The table's name that the text begins with."""
        return self._table([part for part, _end in _name_parts(text)])

    def _table(self, parts: list[str]) -> str:
        names = [self._decoded(part) for part in parts]
        if self.dialect == MYSQL:
            if len(names) == 1 and self._database:
                names.insert(0, self._database)
        else:
            if len(names) > 1 and names[-2] == "public":
                del names[-2]
            if self._database:
                names.insert(0, self._database)
        if len(names) > 1 and names[0] == self._first_database:
            del names[0]
        return ".".join(names)

    def _is_system(self, table: str) -> bool:
        return table.partition(".")[0] in _SYSTEM and "." in table

    # Tables

    def _create_table(self, statement: str, line: int) -> None:
        head = _CREATE_TABLE.match(statement)
        parts = list(_name_parts(statement[head.end() :])) if head else []
        if not head or not parts:
            self._report.skip("CREATE TABLE")
            return
        table = self._table([part for part, _end in parts])
        if self._is_system(table):
            return
        body = statement[head.end() + parts[-1][1] :].lstrip()
        try:
            definition = read_definition(body, self.dialect, self._decoded)
        except InvalidInput as error:
            self._report.add(line, f"CREATE TABLE {table!s:.80}: {error}; its columns are not known")
            definition = None
        if definition is None:
            self._report.skip("CREATE TABLE")  # … AS SELECT, … LIKE, … PARTITION OF
            return
        if len(self._definitions) >= MAX_TABLES:
            raise ParseError(f"more than {MAX_TABLES} tables", line)
        self._definitions[table] = definition
        self._announced.discard(table)
        if not head.group(1):
            self.made.add(table)

    def _emptied(self, statement: str, kind: str, line: int) -> None:
        head = _DROP_TABLE.match(statement)
        for name in (statement[head.end() :] if head else "").split(","):
            if not name.strip():
                continue
            table = self._name(name.strip())
            if table in self._announced:
                self._report.add(line, f"{kind} {table!s:.80} is not executed: the rows that came before it are kept")
            elif kind == "DROP TABLE":
                self._definitions.pop(table, None)
            if len(self.made) < MAX_TABLES:
                self.made.add(table)

    def _keyed(self, statement: str) -> None:
        head, key = _ALTER_TABLE.match(statement), _PRIMARY_KEY.search(statement)
        table = self._name(statement[head.end() :]) if head else ""
        definition = self._definitions.get(table)
        if not key or definition is None:
            return
        names = tuple(self._decoded(name) for name in _names(key.group(1)))
        if names and set(names) <= set(definition.columns):
            self._definitions[table] = replace(definition, key=names)
            self._rekeyed.add(table)

    def _announce(self, table: str, line: int) -> Iterator[Table]:
        if table not in self._announced:
            self._announced.add(table)
            if len(self._announced) > MAX_TABLES:
                raise ParseError(f"more than {MAX_TABLES} tables", line)
            definition = self._definitions.get(table)
            if definition and definition.columns:
                yield Table(table, definition.columns, definition.key)

    # Rows

    def _insert(self, line: int) -> Iterator[Table | Row]:
        text, report = self._text, self._report
        what = text.token()[1].upper()
        parts, names, stopped = self._target()
        table = self._table(parts)
        what = f"{what} INTO {table!s:.80}"
        if stopped.upper() not in ("VALUES", "VALUE") or text.character() != "(" or not parts:
            if stopped != "end":
                text.statement(0)
            report.add(line, f"{what}: not a list of values; it is not executed")
            return
        if self._is_system(table):
            text.statement(0)
            report.skip("INSERT into a system table")
            return
        yield from self._announce(table, line)
        columns: Columns | None = None
        try:
            for row_line, plain, cells in text.rows():
                if plain is None and cells is None:
                    report.add(row_line, f"{what}: a row over {MAX_ROW // 2**20} MiB is left out")
                    continue
                if columns is None:
                    columns = self._columns(table, names, len(plain if plain is not None else cells or ()))
                try:
                    if plain is not None:
                        values = columns.plain(plain, _noting(report, row_line))
                    else:
                        values = columns.cells(cells or (), _noting(report, row_line))
                except InvalidInput as error:
                    report.add(row_line, f"{what}: {error}")
                    continue
                self._rows += 1
                yield Row(table, values, row_line)
        except Unclosed as error:
            report.add(text.line, f"{what}: {error.message}")
            return
        except InvalidInput as error:
            report.add(line, f"{what}: {error}")
        _rest, ended = text.statement(0)
        if not ended:
            report.add(text.line, f"{what}: the file ends within the statement; what came before is kept")

    def _target(self) -> tuple[list[str], list[str] | None, str]:
        """(parts of the table's name, columns if they are listed, the word or sign behind them) of an INSERT."""
        text = self._text
        kind, word = text.token()
        while kind == "word" and word.upper() in _BEFORE_TABLE:
            kind, word = text.token()
        parts: list[str] = []
        while kind in ("word", "name") and len(parts) < 4:
            parts.append(word)
            kind, word = text.token()
            if (kind, word) != ("sign", "."):
                break
            kind, word = text.token()
        names: list[str] | None = None
        if (kind, word) == ("sign", "("):
            names = []
            while kind in ("sign", "word", "name"):
                kind, word = text.token()
                if (kind, word) == ("sign", ")"):
                    break
                if kind in ("word", "name") and len(names) <= MAX_COLUMNS:
                    names.append(self._decoded(word))
            kind, word = text.token()
        if kind == "word" and word.upper() == "OVERRIDING":
            for _word in range(2):
                text.token()
            kind, word = text.token()
        return parts, names, kind if kind in ("end", "eof") else word

    def _columns(self, table: str, names: list[str] | None, width: int) -> Columns:
        """How rows of this table are read. Errors: InvalidInput where its columns cannot be told."""
        definition = self._definitions.get(table, Definition())
        if names is None:
            names = list(definition.columns) or [f"column_{number}" for number in range(1, width + 1)]
        if len(names) > MAX_COLUMNS:
            raise InvalidInput(f"more than {MAX_COLUMNS} columns")
        if len(set(names)) != len(names):
            raise InvalidInput(f"two columns have the same name: {', '.join(names)!s:.100}")
        return Columns(names, definition, self._codec, self._zone, self._text.unescape)

    def _copy(self, line: int) -> Iterator[Table | Row]:
        text, report = self._text, self._report
        statement, ended = text.statement(MAX_STATEMENT)
        head = re.match(r"\s*COPY\s+", statement, re.I)
        parts = list(_name_parts(statement[head.end() :])) if head else []
        rest = statement[head.end() + parts[-1][1] :] if head and parts else ""
        listed = re.match(r"\s*(\(.*\))?\s*FROM\s+stdin\b(.*)", rest, re.I | re.DOTALL)
        if not ended or not listed:
            report.skip("COPY")
            if not listed:
                report.add(line, "COPY without data in the dump: it is not executed")
            return
        table = self._table([part for part, _end in parts])
        what = f"COPY {table!s:.80}"
        names = None
        if listed.group(1):
            names = [self._decoded(name) for name in _names(listed.group(1))]
        columns: Columns | None = None
        problem = ""
        if re.search(r"\b(?:CSV|BINARY|DELIMITER|NULL)\b", listed.group(2), re.I):
            problem = "not in COPY's text format"
        elif not self._is_system(table):
            try:
                if names is not None or table in self._definitions:
                    columns = self._columns(table, names, 0)
            except InvalidInput as error:
                problem = str(error)
        if problem:
            report.add(line, f"{what}: {problem}; its rows are left out")
        else:
            yield from self._announce(table, line)
        for row_line, data in text.copy_lines():
            if problem or self._is_system(table) or (data == "" and not names):
                continue
            if data is None:
                report.add(row_line, f"{what}: a row over {MAX_ROW // 2**20} MiB is left out")
                continue
            fields: list[str | None] = list(data.split("\t"))
            if "\\" in data:
                fields = [copy_field(field) if field and "\\" in field else field for field in fields]
            try:
                if columns is None:
                    columns = self._columns(table, None, len(fields))
                values = columns.fields(fields, _noting(report, row_line))
            except InvalidInput as error:
                report.add(row_line, f"{what}: {error}")
                continue
            self._rows += 1
            yield Row(table, values, row_line)


def detect_dialect(head: bytes) -> str:
    """The dialect that a dump's beginning looks like; PostgreSQL's where nothing tells, which is standard SQL's."""
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        head = head.replace(b"\0", b"")
    found = {dialect: sum(bool(re.search(sign, head)) for sign in signs) for dialect, signs in _SIGNS.items()}
    return MYSQL if found[MYSQL] > found[POSTGRESQL] else POSTGRESQL


def _noting(report: RowErrors, line: int) -> Callable[[str], None]:
    return lambda message: report.add(line, message)


def _python_codec(name: Any) -> str | None:
    if not name:
        return None
    try:
        codec = codecs.lookup(str(name)).name
        if "'a1".encode(codec) == b"'a1":
            return codec
    except (LookupError, UnicodeError):
        pass
    raise InvalidInput(f"the encoding {name!r:.40} is not known, or not one that has ASCII in it")


def _zone(value: str) -> timezone | None:
    if value.upper() in ("UTC", "GMT"):
        return timezone.utc
    found = _OFFSET.fullmatch(value)
    if not found or int(found.group(2)) > 14:
        return None
    offset = timedelta(hours=int(found.group(2)), minutes=int(found.group(3)))
    return timezone(-offset if found.group(1) == "-" else offset)


def _names(text: str) -> list[str]:
    """The names in a list of them."""
    return [tick.replace("``", "`") or quoted.replace('""', '"') or word for tick, quoted, word in _NAME.findall(text)]


def _name_parts(text: str) -> Iterator[tuple[str, int]]:
    """The parts of the dotted name that a text begins with, each with where it ends."""
    at = 0
    while True:
        found = _NAME.match(text, at)
        if not found:
            return
        tick, quoted, word = found.groups()
        if tick is not None:
            yield tick.replace("``", "`"), found.end()
        elif quoted is not None:
            yield quoted.replace('""', '"'), found.end()
        else:
            yield word, found.end()
        dot = _DOT.match(text, found.end())
        if not dot:
            return
        at = dot.end()
