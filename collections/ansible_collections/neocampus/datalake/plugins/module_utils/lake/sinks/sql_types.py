# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types of a table's columns: found from values, widened where values differ; and values as a file of rows has them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any

from ..errors import StoreError

KINDS = ("boolean", "integer", "number", "decimal", "date", "time", "timestamp", "text", "bytes", "json")
"""Types that a column can be declared with. A column that never had a value has the type `empty`, which is a text's."""

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
_NUMERIC = ("boolean", "integer", "decimal", "number")  # each holds those before it
_INTEGER_DIGITS = 19

NULL, TRUE, FALSE = "\\N", "\\T", "\\F"
"""How a row's line says no value, true and false: no text can look like them, since its backslashes are doubled."""

_SPECIAL = re.compile("[\\\\\n\r\t\x00\ud800-\udfff]")
_UNHELD = re.compile("[\x00\ud800-\udfff]")
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_NO_JSONB = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_NO_TYPE = type(None)


@dataclass(frozen=True)
class SqlType:
    """A column's type; of a decimal, how many digits before and after the point it has to hold."""

    kind: str
    digits: int = 0
    scale: int = 0

    def __str__(self) -> str:
        return self.kind


EMPTY, TEXT, INTEGER = SqlType("empty"), SqlType("text"), SqlType("integer")


def join(one: SqlType, other: SqlType) -> SqlType:
    """The narrowest type that holds the values of both.

    boolean → integer → decimal → number (a double, exact to 15 digits, as SQL itself makes of a decimal and a double);
    date → timestamp; all others only meet in text.
    A value keeps no trace of what it was: true that became 1 beside integers is `1` when a text comes, and `true` when
    a text came first. Doing its object again gives it the text of what the file has.
    """
    if one == other or other.kind == "empty":
        return one
    if one.kind == "empty":
        return other
    kinds = {one.kind, other.kind}
    if kinds == {"decimal"} or kinds == {"decimal", "integer"} or kinds == {"decimal", "boolean"}:
        digits = [_INTEGER_DIGITS if item.kind == "integer" else item.digits for item in (one, other)]
        return SqlType("decimal", max(digits), max(one.scale, other.scale))
    if kinds <= set(_NUMERIC):
        return SqlType(max(kinds, key=_NUMERIC.index))
    if kinds == {"date", "timestamp"}:
        return SqlType("timestamp")
    return TEXT


@dataclass
class Rendered:
    """A column's values, each as a row's line has it; their type and kinds, and how many characters were replaced since
    no store holds them."""

    texts: list[str]
    type: SqlType
    kinds: frozenset[str]
    replaced: int = 0


def render(values: Sequence[Any], declared_json: bool = False) -> Rendered:
    """Values of one column. `declared_json`: texts of it are JSON, as long as all of them are.

    NaN is no value; an infinite number is a text, since not every store has one.
    Errors: StoreError, not retriable, for a value that no column holds.
    """
    types = set(map(type, values))
    nulls = _NO_TYPE in types
    types.discard(_NO_TYPE)
    if not types:
        return Rendered([NULL] * len(values), EMPTY, frozenset())
    if len(types) == 1:
        simple: Callable[[Sequence[Any]], Rendered | None] | None = _SIMPLE.get(next(iter(types)))
        if simple is not None and not (declared_json and simple is _texts):
            if not nulls:
                found = simple(values)
                if found is not None:
                    return found
            else:
                found = simple([value for value in values if value is not None])
                if found is not None:
                    texts = iter(found.texts)
                    found.texts = [NULL if value is None else next(texts) for value in values]
                    return found
    return _mixed(values, declared_json)


def _mixed(values: Sequence[Any], declared_json: bool) -> Rendered:
    texts, joined, kinds, replaced = [], EMPTY, set(), 0
    for value in values:
        text, found, count = _one(value, declared_json)
        texts.append(text)
        replaced += count
        if found is not EMPTY:
            kinds.add(found.kind)
            joined = join(joined, found)
    return Rendered(texts, joined, frozenset(kinds), replaced)


def _one(value: Any, declared_json: bool) -> tuple[str, SqlType, int]:
    """One value of any kind: its text, type, and how many characters were replaced."""
    if value is None:
        return NULL, EMPTY, 0
    if isinstance(value, bool):
        return (TRUE if value else FALSE), SqlType("boolean"), 0
    if isinstance(value, str):
        text, count = escape(value)
        return text, SqlType("json") if declared_json and is_json(value) else TEXT, count
    if isinstance(value, int):
        found = _integers([int(value)])  # of an enumeration, its number
        return found.texts[0], found.type, 0
    if isinstance(value, float):
        number = float(value)
        if math.isnan(number):
            return NULL, EMPTY, 0
        return repr(number), SqlType("number") if math.isfinite(number) else TEXT, 0
    if isinstance(value, Decimal):
        if value.is_nan():
            return NULL, EMPTY, 0
        if value.is_infinite():
            return str(value), TEXT, 0
        digits, scale = _digits(value)
        return str(value), SqlType("decimal", digits, scale), 0
    if isinstance(value, datetime):
        return _moment(value), SqlType("timestamp"), 0
    if isinstance(value, date):
        return value.isoformat(), SqlType("date"), 0
    if isinstance(value, time):
        return value.isoformat(), SqlType("time") if value.tzinfo is None else TEXT, 0
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "\\\\x" + value.hex(), SqlType("bytes"), 0
    raise StoreError(f"no column holds a value of the type {type(value).__name__}", retriable=False)


def escape(text: str) -> tuple[str, int]:
    """A text as a row's line has it, and how many characters (NUL, halves of pairs) had to be replaced by U+FFFD."""
    if not _SPECIAL.search(text):
        return text, 0
    text, count = _UNHELD.subn("\ufffd", text)
    return text.translate(_ESCAPES), count


def is_json(text: str) -> bool:
    """Whether a text is JSON that a store can hold as such (PostgreSQL: without NUL and halves of pairs)."""
    try:
        json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return False
    return not _UNHELD.search(text) and not _NO_JSONB.search(text)


def _not_json(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _integer(low: int, high: int) -> SqlType:
    if MIN_INTEGER <= low and high <= MAX_INTEGER:
        return INTEGER
    return SqlType("decimal", max(len(str(abs(low))), len(str(abs(high)))), 0)


def _digits(value: Decimal) -> tuple[int, int]:
    """Digits before and after the point of a finite decimal."""
    _sign, digits, exponent = value.as_tuple()
    power = int(exponent)
    return max(len(digits) + power, 1), max(-power, 0)


def _moment(value: datetime) -> str:
    """ISO 8601 in UTC; a time without zone is in UTC, as everywhere in the lake."""
    if value.tzinfo is not None:
        try:
            value = value.astimezone(timezone.utc).replace(tzinfo=None)
        except OverflowError:  # in UTC it is before the year 1, or after 9999
            value = value.replace(tzinfo=None)
    return value.isoformat() + "Z"


def _booleans(values: Sequence[bool]) -> Rendered:
    return Rendered([TRUE if value else FALSE for value in values], SqlType("boolean"), frozenset(("boolean",)))


def _integers(values: Sequence[int]) -> Rendered:
    try:
        texts = list(map(str, values))
        found = _integer(min(values), max(values))
    except ValueError as error:  # Python writes no integer of more than 4,300 digits
        raise StoreError(f"no column holds such an integer: {error}", retriable=False) from error
    return Rendered(texts, found, frozenset((found.kind,)))


def _numbers(values: Sequence[float]) -> Rendered | None:
    if not all(map(math.isfinite, values)):
        return None
    return Rendered(list(map(repr, values)), SqlType("number"), frozenset(("number",)))


def _decimals(values: Sequence[Decimal]) -> Rendered | None:
    if not all(map(Decimal.is_finite, values)):
        return None
    sizes = list(map(_digits, values))
    found = SqlType("decimal", max(size[0] for size in sizes), max(size[1] for size in sizes))
    return Rendered(list(map(str, values)), found, frozenset(("decimal",)))


def _dates(values: Sequence[date]) -> Rendered:
    return Rendered(list(map(date.isoformat, values)), SqlType("date"), frozenset(("date",)))


def _moments(values: Sequence[datetime]) -> Rendered:
    return Rendered(list(map(_moment, values)), SqlType("timestamp"), frozenset(("timestamp",)))


def _bytes(values: Sequence[bytes]) -> Rendered:
    return Rendered(["\\\\x" + value.hex() for value in values], SqlType("bytes"), frozenset(("bytes",)))


def _texts(values: Sequence[str]) -> Rendered:
    texts, replaced = list(values), 0
    if _SPECIAL.search(" ".join(texts)):  # one search for all; few texts have anything special
        pairs = list(map(escape, texts))
        texts, replaced = [text for text, _count in pairs], sum(count for _text, count in pairs)
    return Rendered(texts, TEXT, frozenset(("text",)), replaced)


_SIMPLE: dict[type, Any] = {
    bool: _booleans,
    int: _integers,
    float: _numbers,
    Decimal: _decimals,
    date: _dates,
    datetime: _moments,
    str: _texts,
    bytes: _bytes,
}
