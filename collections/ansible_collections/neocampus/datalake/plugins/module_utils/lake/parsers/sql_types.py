# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the columns of a dumped table are, from its CREATE TABLE, and the values that their texts stand for.

Only names, types and the key are read of a definition. A general SQL parser is not used for it: dumps come from any
version of two servers, each with clauses of its own, and one that such a parser does not know must not cost a table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any, Callable

from ..errors import InvalidInput
from ..records import Scalar
from .sql_text import MYSQL, Bare, Cell, Decoded, Token, decode, from_hex

MAX_COLUMNS = 4096
"""What MySQL allows; PostgreSQL has 1,600."""

_INTEGERS = frozenset(
    "tinyint smallint mediumint int integer bigint int1 int2 int3 int4 int8 middleint serial bigserial smallserial"
    " serial2 serial4 serial8 oid year".split()
)
_FLOATS = frozenset("float double real float4 float8".split())
_BYTES = frozenset(
    "binary varbinary tinyblob blob mediumblob longblob bytea geometry linestring polygon multipoint multilinestring"
    " multipolygon geometrycollection".split()
)
_KINDS = {
    **dict.fromkeys(_INTEGERS, "integer"),
    **dict.fromkeys(_FLOATS, "number"),
    **dict.fromkeys(_BYTES, "bytes"),
    **dict.fromkeys(("decimal", "numeric", "dec", "fixed", "number"), "decimal"),
    **dict.fromkeys(("bool", "boolean"), "boolean"),
    **dict.fromkeys(("json", "jsonb"), "json"),
    **dict.fromkeys(("datetime", "timestamp", "timestamptz"), "timestamp"),
    **{"date": "date", "time": "time"},
}
_ERRORS = (ValueError, InvalidOperation, OverflowError)
_CONSTRAINTS = frozenset(
    "PRIMARY UNIQUE KEY INDEX FULLTEXT SPATIAL CONSTRAINT CHECK FOREIGN EXCLUDE LIKE PERIOD".split()
)
_BACKSLASHED = r"'(?:[^'\\]|''|\\.)*'"
_PLAIN = r"'(?:[^']|'')*'"


def _tokenizer(text: str) -> re.Pattern[str]:
    return re.compile(
        rf"\s+|(?P<name>`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\")|(?P<text>{text})"
        r"|(?P<word>[\w$@]+(?:\.[\w$@]+)*)|(?P<sign>.)",
        re.DOTALL,
    )


_TOKEN = {True: _tokenizer(_BACKSLASHED), False: _tokenizer(f"[eE]{_BACKSLASHED}|{_PLAIN}")}
_MOMENT = re.compile(
    r"(\d{4,6})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?"
    r"\s*(?:(Z)|([-+])(\d\d)(?::?(\d\d)(?::?(\d\d))?)?)?)?(\s+BC)?",
    re.ASCII,
)
_OCTAL = re.compile(r"\\(\\|[0-3][0-7]{2})")
_CLOCK = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6})\d*)?)?", re.ASCII)


class NotHeld(InvalidInput):
    """A value that is right in its database, and that no column of the lake can hold: it becomes None."""


@dataclass(frozen=True)
class Definition:
    """A table as its dump declares it: column -> kind (see records.Table), and the key, empty where there is none."""

    columns: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)
    """How a column's text is read, where its kind does not say it: bits, bit, utc, bytea."""
    key: tuple[str, ...] = ()


def read_definition(body: str, dialect: str, name: Callable[[str], str]) -> Definition | None:
    """The definition in the text of a CREATE TABLE that follows the table's name; None where it has no list of columns.

    `name` makes the text of a name of what stands in the file. Errors: InvalidInput where the list is no such thing.
    """
    tokens = list(_tokens(body, dialect))
    if not tokens or tokens[0] != ("sign", "("):
        return None
    columns: dict[str, str] = {}
    details: dict[str, str] = {}
    keys: dict[str, tuple[str, ...]] = {}
    for item in _items(tokens):
        if not item:
            continue
        first_kind, first = item[0]
        if first_kind == "word" and first.upper() in _CONSTRAINTS and _is_constraint(item):
            _note_key(item, keys, name)
            continue
        if first_kind not in ("word", "name") or len(columns) >= MAX_COLUMNS:
            raise InvalidInput(f"no definition of columns: {' '.join(text for _kind, text in item[:6])!s:.100}")
        column = name(first)
        if column in columns:
            raise InvalidInput(f"the column {column!r:.80} is declared twice")
        columns[column], detail = _kind(item[1:], dialect)
        if detail:
            details[column] = detail
        words = [text.upper() for kind, text in item[1:] if kind == "word"]
        if "PRIMARY" in words:
            keys["PRIMARY"] = (column,)
    key = keys.get("PRIMARY", keys.get("UNIQUE", ()))
    return Definition(columns, details, key if set(key) <= set(columns) else ())


def _tokens(body: str, dialect: str) -> Iterable[Token]:
    for found in _TOKEN[dialect == MYSQL].finditer(body):
        kind, text = found.lastgroup, found.group()
        if kind == "name":
            yield "name", text[1:-1].replace(text[0] * 2, text[0])
        elif kind == "sign" and text in "'\"`":
            raise InvalidInput("the definition of the table has a quote that is not closed")
        elif kind:
            yield kind, text


def _items(tokens: Sequence[Token]) -> list[list[Token]]:
    """What stands between the commas of the list that the tokens begin with."""
    items: list[list[Token]] = [[]]
    depth = 0
    for kind, text in tokens:
        if kind == "sign" and text in "()":
            depth += 1 if text == "(" else -1
            if depth == 0:
                return items
            if depth == 1 and text == "(":
                continue
        if kind == "sign" and text == "," and depth == 1:
            items.append([])
        else:
            items[-1].append((kind, text))
    raise InvalidInput("the list of columns is not closed")


def _is_constraint(item: Sequence[Token]) -> bool:
    """A column may be called `key` or `check` without quotes: then a type follows, not one of these."""
    following = item[1] if len(item) > 1 else ("", "")
    return not (following[0] == "word" and following[1].lower() in {*_KINDS, "varchar", "text", "char", "character"})


def _note_key(item: Sequence[Token], keys: dict[str, tuple[str, ...]], name: Callable[[str], str]) -> None:
    """Keeps the columns of a PRIMARY KEY, or of the first UNIQUE key."""
    words = [text.upper() for kind, text in item if kind == "word"]
    what = "PRIMARY" if "PRIMARY" in words[:4] else "UNIQUE" if "UNIQUE" in words[:4] else ""
    if not what or what in keys:
        return
    try:
        columns = _items(item[item.index(("sign", "(")) :])
    except (ValueError, InvalidInput):
        return
    if all(column and (len(column) == 1 or column[-1][1].upper() in ("ASC", "DESC")) for column in columns):
        keys[what] = tuple(name(column[0][1]) for column in columns)  # not where a prefix or an expression is the key


def _kind(tokens: Sequence[Token], dialect: str) -> tuple[str, str]:
    """(kind, detail) of a column, from what follows its name."""
    if not tokens or tokens[0][0] not in ("word", "name"):
        return "text", ""
    name = tokens[0][1].lower().rpartition(".")[2]
    argument = ""
    words = []
    for index, (kind, text) in enumerate(tokens[1:], 1):
        if (kind, text) == ("sign", "(") and not argument and index + 1 < len(tokens) and index <= 2:
            argument = tokens[index + 1][1]
        if (kind, text) == ("sign", "["):
            return "text", ""  # an array
        if kind == "word":
            words.append(text.lower())
            if words[-1] in ("not", "null", "default", "comment", "constraint", "generated", "collate", "check"):
                break
    mysql = dialect == MYSQL
    if name == "tinyint" and argument == "1":
        return "boolean", ""
    if name == "bit":
        if not mysql or words[:1] == ["varying"]:
            return "text", ""
        return ("boolean", "bit") if argument in ("", "1") else ("integer", "bits")
    if name == "bytea":
        return "bytes", "bytea"
    if name == "point":
        return ("bytes" if mysql else "text"), ""
    if name == "timestamp" and mysql:
        return "timestamp", "utc"
    if name == "time" and words[:2] == ["with", "time"]:
        return "text", ""  # a time of day with an offset
    if name == "enum" and not mysql:
        return "text", ""
    return _KINDS.get(name, "text"), ""


class Columns:
    """Makes values of the cells of a table's rows.

    `codec` is what its texts are encoded in, `zone` the time zone of MySQL's timestamps (None where it is not known:
    then they have none), `unescape` takes the escapes out of a plain cell.
    """

    def __init__(
        self,
        names: Sequence[str],
        definition: Definition,
        codec: str,
        zone: timezone | None,
        unescape: Callable[[str], str],
    ) -> None:
        self.names = tuple(names)
        self._unescape = unescape
        self._codec = codec
        self._kinds = [definition.columns.get(name, "") for name in names]
        readers = _Readers(codec, zone)
        self._texts = [
            readers.text_reader(kind, definition.details.get(name, ""))
            for name, kind in zip(self.names, self._kinds)  # noqa: B905 (3.9)
        ]
        self._bares = [readers.bare_reader(kind) for kind in self._kinds]

    def plain(self, cells: Sequence[tuple[str, str]], complain: Callable[[str], None]) -> dict[str, Scalar]:
        """The values of a row of plain cells. `complain(text)` is called for each that no column can hold.

        Errors: InvalidInput, saying which column is wrong.
        """
        self._check(len(cells))
        values: list[Any] = []
        put = values.append
        unescape = self._unescape
        try:
            for (text, bare), from_text, from_bare in zip(cells, self._texts, self._bares):  # noqa: B905 (3.9)
                if bare:
                    put(None if bare == "NULL" else from_bare(bare))
                elif "\\" in text or "'" in text:
                    put(from_text(unescape(text)))
                else:
                    put(from_text(text))
        except (*_ERRORS, NotHeld):
            return self.cells([Bare(bare) if bare else unescape(text) for text, bare in cells], complain)
        return dict(zip(self.names, values))  # noqa: B905 (3.9)

    def fields(self, fields: Sequence[str | None], complain: Callable[[str], None]) -> dict[str, Scalar]:
        """The values of the fields of a row of COPY; the same as `plain`."""
        self._check(len(fields))
        try:
            values = [
                None if text is None else from_text(text)
                for text, from_text in zip(fields, self._texts)  # noqa: B905 (3.9)
            ]
        except (*_ERRORS, NotHeld):
            return self.cells([Bare("NULL") if text is None else text for text in fields], complain)
        return dict(zip(self.names, values))  # noqa: B905 (3.9)

    def cells(self, cells: Sequence[Cell], complain: Callable[[str], None]) -> dict[str, Scalar]:
        """The values of cells of any form; the same as `plain`."""
        self._check(len(cells))
        values: dict[str, Scalar] = {}
        for index, cell in enumerate(cells):
            try:
                values[self.names[index]] = self._value(index, cell)
            except NotHeld as error:
                complain(f"{self.names[index]!s:.60}: {error}")
                values[self.names[index]] = None
            except _ERRORS as error:
                what = cell.text if isinstance(cell, tuple) else cell
                kind = self._kinds[index]
                raise InvalidInput(f"{self.names[index]!s:.60}: {_described(what, kind, self._codec, error)}") from None
        return values

    def _check(self, count: int) -> None:
        if count != len(self.names):
            raise InvalidInput(f"{count} values, but {len(self.names)} columns")

    def _value(self, index: int, cell: Cell) -> Scalar:
        if isinstance(cell, str):
            return self._texts[index](cell)
        if isinstance(cell, Bare):
            if cell.text.upper() == "NULL":
                return None
            return self._bares[index](cell.text)
        if isinstance(cell, Decoded):
            if self._kinds[index] in ("text", "json", ""):
                return cell.text
            return self._texts[index](cell.text.encode("utf-8").decode("latin-1"))
        if isinstance(cell, bytes):
            if self._kinds[index] == "":
                return cell
            return cell if self._kinds[index] == "bytes" else self._texts[index](cell.decode("latin-1"))
        raise ValueError("it would have to be computed, which is not done")


def _described(what: Any, kind: str, codec: str, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"the text is not {codec}"
    if "computed" in str(error):
        return f"{what!s:.60} would have to be computed, which is not done"
    return f"{what!r:.60} is no {kind or 'value'}"


class _Readers:
    """The functions that make a value of a text (escapes taken out, one character a byte) or of a bare word."""

    def __init__(self, codec: str, zone: timezone | None) -> None:
        self._codec = codec
        self._zone = zone

    def text_reader(self, kind: str, detail: str) -> Callable[[str], Scalar]:
        if detail == "bits":
            return _bits
        if detail == "bit":
            return _bit
        if detail == "bytea":
            return _bytea
        if detail == "utc" and self._zone is not None:
            return self._in_zone
        readers: dict[str, Callable[[str], Scalar]] = {
            "integer": int,
            "decimal": _decimal,
            "number": float,
            "boolean": _boolean,
            "date": _date,
            "timestamp": read_moment,
            "time": _time,
            "bytes": _bytes,
            "": self._untyped,
        }
        return readers.get(kind, self._text)

    def bare_reader(self, kind: str) -> Callable[[str], Scalar]:
        if kind == "integer":
            return _bare_integer
        if kind == "number":
            return _bare_float
        if kind == "decimal":
            return _bare_decimal
        if kind == "boolean":
            return _bare_boolean
        if kind == "":
            return _literal
        if kind == "bytes":
            return _bare_bytes
        reader = self.text_reader(kind, "")
        return lambda bare: self._other(bare, reader)

    @staticmethod
    def _other(bare: str, reader: Callable[[str], Scalar]) -> Scalar:
        """A bare word in a column of texts or times: 0x… is its bytes, a number its digits."""
        value = _literal(bare)
        if value is None:
            return None
        if isinstance(value, bytes):
            return reader(value.decode("latin-1"))
        return reader(bare)

    def _text(self, text: str) -> str:
        if text.isascii():
            return text
        return decode(text.encode("latin-1"), self._codec)

    def _untyped(self, text: str) -> Scalar:
        try:
            return self._text(text)
        except UnicodeDecodeError:
            return text.encode("latin-1")

    def _in_zone(self, text: str) -> datetime:
        moment = read_moment(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=self._zone)


def _literal(bare: str) -> Scalar:
    """The value of a number, TRUE, FALSE, NULL, 0x…, 0b…; DEFAULT, which only the database knows, is None."""
    upper = bare.upper()
    if upper in ("NULL", "DEFAULT"):
        return None
    if upper in ("TRUE", "FALSE"):
        return upper == "TRUE"
    if upper.startswith("0X"):
        return from_hex(bare)
    if upper.startswith("0B"):
        return int(bare[2:] or "0", 2)
    if not bare[-1:].isdigit() and bare[-1:] != ".":
        raise ValueError("it would have to be computed, which is not done")
    if "." in bare or "E" in upper:
        return float(bare) if "E" in upper else _decimal(bare)
    return int(bare)


def _bare_integer(bare: str) -> Scalar:
    try:
        return int(bare)
    except ValueError:
        value = _literal(bare)
    if isinstance(value, bytes):
        return int.from_bytes(value, "big")
    if isinstance(value, (float, Decimal)) and value == int(value):
        return int(value)
    return value


def _bare_float(bare: str) -> Scalar:
    try:
        return float(bare)
    except ValueError:
        return _literal(bare)


def _bare_decimal(bare: str) -> Scalar:
    try:
        return _decimal(bare)
    except InvalidOperation:
        return _literal(bare)


def _bare_boolean(bare: str) -> Scalar:
    if bare in ("0", "1"):
        return bare == "1"
    value = _literal(bare)
    if isinstance(value, bytes):
        value = int.from_bytes(value, "big")
    return bool(value) if value in (0, 1) and value is not None else value


def _bare_bytes(bare: str) -> Scalar:
    value = _literal(bare)
    return value if value is None or isinstance(value, bytes) else bare.encode("latin-1")


def _decimal(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        if value.is_snan():
            raise ValueError("no number")
    elif abs(value.adjusted()) > 200_000:  # PostgreSQL's numeric has up to 131,072 digits before the point
        raise ValueError("too large")
    return value


def _boolean(text: str) -> bool | int:
    lower = text.lower()
    if lower in ("t", "true", "1", "y", "yes", "on"):
        return True
    if lower in ("f", "false", "0", "n", "no", "off"):
        return False
    return int(text)


def _bit(text: str) -> bool | int:
    return text == "\1" if text in ("\0", "\1") else _boolean(text)


def _bits(text: str) -> int:
    return int.from_bytes(text.encode("latin-1"), "big")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")


def _bytea(text: str) -> bytes:
    r"""PostgreSQL writes \x6162; before version 9 it wrote a\\b\000 (its manual, "Binary Data Types")."""
    if text.startswith("\\x"):
        return bytes.fromhex(text[2:])
    return _OCTAL.sub(_octal, text).encode("latin-1")


def _octal(found: re.Match[str]) -> str:
    code: str = found.group(1)
    return code if code == "\\" else chr(int(code, 8))


def _date(text: str) -> date:
    try:
        if len(text) == 10:
            return date.fromisoformat(text)
    except ValueError:
        pass
    return _moment(text).date()


def read_moment(text: str) -> datetime:
    """A date or a moment, as a server of either kind writes it. Errors: NotHeld, ValueError."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return _moment(text)


def _moment(text: str) -> datetime:
    """A moment as one of the servers writes it. Errors: NotHeld, ValueError."""
    if text in ("infinity", "-infinity"):
        raise NotHeld(f"{text} is no moment that can be kept")
    found = _MOMENT.fullmatch(text)
    if not found:
        raise ValueError("no moment")
    year, month, day, hour, minute, second, fraction, zulu, sign, hours, minutes, seconds, before = found.groups()
    if before or len(year) > 4 or "0000" == year or "00" in (month, day):
        raise NotHeld(f"{text!s:.40} is no moment that can be kept")
    zone = None
    if zulu:
        zone = timezone.utc
    elif sign:
        offset = timedelta(hours=int(hours), minutes=int(minutes or 0), seconds=int(seconds or 0))
        zone = timezone(-offset if sign == "-" else offset)
    return datetime(
        int(year),
        int(month),
        int(day),
        int(hour or 0),
        int(minute or 0),
        int(second or 0),
        int((fraction or "0")[:6].ljust(6, "0")),
        tzinfo=zone,
    )


def _time(text: str) -> time | str:
    """A time of day; a duration, as MySQL's type may be too, stays a text."""
    found = _CLOCK.fullmatch(text)
    if found and found.group(1) < "24":
        hour, minute, second, fraction = found.groups()
        return time(int(hour), int(minute), int(second or 0), int((fraction or "0").ljust(6, "0")))
    if not re.fullmatch(r"-?\d{1,3}:\d\d(:\d\d(\.\d+)?)?", text, re.ASCII):
        raise ValueError("no time")
    return text
