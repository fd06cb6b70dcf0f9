# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cells of a table mean: nothing, a number (with its unit), a value of a type.

Numbers may have a decimal point or comma, groups of three digits parted by a comma, a dot, a space or an apostrophe,
an exponent, and a unit or currency beside them. `1,234` can be two numbers: how a column writes its numbers is decided
over a sample of it, then of the file, then by the file's delimiter (one that is no comma goes with decimal commas).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from ..errors import InvalidInput
from ..records import Scalar
from .moments import AmbiguousDates, TimeReader, Zone, looks_timed, time_of_day, time_reader

NULL_TEXTS = ("", "na", "n/a", "#n/a", "null", "nan", "-", "--", "none", "nil")
"""Texts (in lower case) that say that there is no value."""
BOOLEANS = {"true": True, "false": False, "vrai": True, "faux": False}
DECIMALS = (".", ",")

MAX_DIGITS = 15
"""A number with more significant digits is not kept as a float, which would change it."""
_SPACES = " \u00a0\u2009\u202f"
_GROUPS = _SPACES + "'\u2019"
_ID = re.compile(r"[+-]?0\d+|\+\d{7,}|[+-]?\d{19,}", re.ASCII)
_CODE = re.compile(r"[A-Z]{2}")
_PLAIN = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SIGN = r"[+\-\u2212]?"
_CURRENCY = "€$£¥"
_UNIT = re.compile(
    rf"(?P<sign>{_SIGN})(?P<currency>[{_CURRENCY}])?[{_SPACES}]?"
    rf"(?P<number>{_SIGN}\d(?:[\d.,{_GROUPS}]*\d)?\.?(?:[eE][+-]?\d+)?)"
    rf"(?P<space>[{_SPACES}]*)(?P<unit>(?:[%‰°µμΩ{_CURRENCY}]|[^\W\d_])[^\s,;]{{0,15}})?",
)


class CellError(str):
    """What a workbook's cell shows instead of a value: `#DIV/0!`."""


@dataclass(frozen=True)
class NumberStyle:
    """How numbers are written: the decimal mark ("." or ","; "" where both are seen) and whether the other one parts
    groups of digits."""

    decimal: str = "."
    grouped: bool = True

    def canonical(self, text: str) -> str | None:
        """The number as Python writes it; None where it is none."""
        if self.decimal != "," and _PLAIN.fullmatch(text):
            return text
        found = _pattern(self.decimal, self.grouped).fullmatch(text)
        if not found:
            return None
        number = _strip_groups(text, self)
        return number.replace("\u2212", "-")

    def number(self, text: str) -> float | None:
        """The number; None where it is none, or is too large for a float."""
        canonical = self.canonical(text)
        if canonical is None:
            return None
        value = float(canonical)
        return value if math.isfinite(value) else None

    def measure(self, text: str) -> tuple[float, str] | None:
        """A number and the unit beside it ("" where there is none): `21.5 °C`, `35%`, `€ 1.50`."""
        number = self.number(text)
        if number is not None:
            return number, ""
        split = split_unit(text)
        if split is None:
            return None
        number = self.number(split[0])
        return None if number is None else (number, split[1])


@lru_cache(maxsize=16)
def _pattern(decimal: str, grouped: bool) -> re.Pattern[str]:
    marks = re.escape(decimal) if decimal else ".,"
    other = {".": ",", ",": "."}.get(decimal, "") if grouped else ""
    group = f"[{re.escape(_GROUPS + other)}]"
    return re.compile(
        rf"{_SIGN}(?:(?:[0-9]{{1,3}}(?P<group>{group})[0-9]{{3}}(?:(?P=group)[0-9]{{3}})*|[0-9]+)(?:[{marks}][0-9]*)?"
        rf"|[{marks}][0-9]+)(?:[eE][+-]?[0-9]+)?"
    )


def _strip_groups(text: str, style: NumberStyle) -> str:
    for mark in _GROUPS:
        text = text.replace(mark, "")
    if style.decimal == ".":
        return text.replace(",", "")
    if style.decimal == ",":
        text = text.replace(".", "")
    return text.replace(",", ".")


def split_unit(text: str) -> tuple[str, str] | None:
    """(number, unit) of a text that begins or ends with a unit; None where it does not."""
    found = _UNIT.fullmatch(text) if len(text) <= 64 else None
    if not found:
        return None
    unit = found.group("unit") or found.group("currency")
    if not unit or (found.group("unit") and found.group("currency")):
        return None
    return found.group("sign") + found.group("number").strip(), unit


def number_style(texts: Iterable[str]) -> NumberStyle | None:
    """How a sample of a column writes its numbers; None where nothing in it decides."""
    comma = point = False
    for text in texts:
        if "," not in text and "." not in text:
            continue
        split = split_unit(text)
        number = split[0] if split else text
        if not any(_pattern(mark, True).fullmatch(number) for mark in DECIMALS):
            continue
        commas, points = number.count(","), number.count(".")
        if commas and points:
            is_comma = number.rindex(",") > number.rindex(".")
            comma, point = comma or is_comma, point or not is_comma
        elif commas > 1 or points > 1:
            comma, point = comma or points > 1, point or commas > 1
        elif not _is_unclear(number):
            comma, point = comma or commas == 1, point or points == 1
    if comma and point:
        return NumberStyle("")
    if comma or point:
        return NumberStyle("," if comma else ".")
    return None


def _is_unclear(number: str) -> bool:
    """Whether the one mark in a number may part thousands as well as decimals: 1,234 is such, 0,234 and 1,23 are
    not."""
    whole, _mark, rest = number.replace(",", ".").lstrip("+-\u2212").partition(".")
    return len(rest) == 3 and rest.isdigit() and 1 <= len(whole) <= 3 and not whole.startswith("0")


def is_null(text: str, nulls: frozenset[str]) -> bool:
    """Whether a text says that there is no value."""
    return len(text) <= 16 and text.lower() in nulls


def shown(value: Any) -> str:
    """A cell as a text: 104.0 is 104, times are ISO 8601."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


class Column:
    """One column of a table: gives each of its cells as a value of the column's type, which a sample decides.

    A cell that is not of the type is given as a text (or, where the type says less, as the wider type: 3.5 in a column
    of integers, a time in a column of dates): the store of tables widens the column then, and nothing is lost.

    - bool: true, false, vrai, faux. int: numbers with neither decimals nor exponent. number: float, or Decimal with
      more digits than a float keeps. date; timestamp (UTC); time of day; else text.
    - Numbers that are names stay text: those with a leading zero or with + before many digits, and over 18 digits.
    - Cells with one and the same unit are numbers, and `unit` is it.
    - In a column of codes of two letters NA is a code (Namibia's), too.
    - Without any cell in the sample, the first one that comes decides.
    """

    def __init__(
        self,
        cells: Sequence[Any],
        *,
        nulls: frozenset[str],
        zone: Zone,
        style: NumberStyle | None = None,
        guess: NumberStyle | None = None,
        order: str | None = None,
    ) -> None:
        """`cells` are a sample; `style` is forced, `guess` is what the file's other columns or its delimiter say."""
        self.type = ""
        self.unit = ""
        self.warning = ""
        self._nulls = nulls
        self._zone = zone
        self._style = style
        self._guess = guess or NumberStyle()
        self._order = order
        self._times: TimeReader | None = None
        self._days: TimeReader | None = None
        self._convert: Callable[[str], Scalar] = str
        given = [cell.strip() if cell.__class__ is str else cell for cell in cells]
        given = [cell for cell in given if not self._is_nothing(cell)]
        if given:
            self._decide(given)

    def _is_nothing(self, cell: Any) -> bool:
        return cell is None or isinstance(cell, CellError) or (isinstance(cell, str) and is_null(cell, self._nulls))

    def value(self, cell: Any) -> Scalar:
        """The value of a cell. Errors: InvalidInput: a workbook's error."""
        if type(cell) is str:
            text = cell.strip()
            if len(text) <= 16 and text.lower() in self._nulls:
                return None
            if not self.type:
                self._decide_late(text)
            return self._convert(text)
        if cell is None:
            return None
        if isinstance(cell, CellError):
            raise InvalidInput(f"{cell} stands for a value")
        if not self.type:
            self._decide_late(cell)
        return self._typed(cell)

    def _decide_late(self, cell: Any) -> None:
        self._decide([cell])
        if self.unit:  # the column has its name already, without it
            self.type, self.unit, self._convert = "text", "", str

    def _decide(self, cells: Sequence[Any]) -> None:
        texts = [cell for cell in cells if isinstance(cell, str)]
        others = [cell for cell in cells if not isinstance(cell, str)]
        kinds = {self._kind(cell) for cell in others}
        if texts:
            kinds.add(self._kind_of_texts(texts))
        if len(kinds) == 1:
            self.type = kinds.pop()
        elif kinds <= {"int", "number"}:
            self.type = "number"
        elif kinds <= {"date", "timestamp"}:
            self.type = "timestamp"
        else:
            self.type = "text"
            self.unit = ""
        if self.type == "text" and texts and all(_CODE.fullmatch(text) for text in texts):
            self._nulls -= {"na"}
        self._convert = {
            "bool": self._bool,
            "int": self._int,
            "number": self._number,
            "date": self._date,
            "timestamp": self._timestamp,
            "time": self._time,
        }.get(self.type, str)

    @staticmethod
    def _kind(cell: Any) -> str:
        if isinstance(cell, bool):
            return "bool"
        if isinstance(cell, (int, float)):
            return "int" if isinstance(cell, int) or cell.is_integer() else "number"
        if isinstance(cell, datetime):
            return "date" if (cell.hour, cell.minute, cell.second, cell.microsecond) == (0, 0, 0, 0) else "timestamp"
        return "time" if isinstance(cell, time) else "text"

    def _kind_of_texts(self, texts: Sequence[str]) -> str:
        if all(text.lower() in BOOLEANS for text in texts):
            return "bool"
        if any(_ID.fullmatch(text) for text in texts):
            return "text"
        if all(text[-1:].isdigit() or text[:1].isdigit() or text[:1] in "+-.,\u2212" + _CURRENCY for text in texts):
            kind = self._kind_of_numbers(texts)
            if kind:
                return kind
            if all(_is_time_of_day(text) for text in texts):
                return "time"
        return self._kind_of_times(texts) or "text"

    def _kind_of_numbers(self, texts: Sequence[str]) -> str | None:
        style = self._style or number_style(texts) or self._guess
        units = set()
        kind = "int"
        for text in texts:
            number, unit = text, ""
            canonical = style.canonical(text)
            if canonical is None:
                number, unit = split_unit(text) or ("", "")
                canonical = style.canonical(number) if number else None
                # `3 rooms` has a unit, `3B` has not: it is a name
                if canonical is None or (unit[0].isalpha() and unit[0] not in "µμΩ" and text.endswith(number + unit)):
                    return None
                units.add(unit)
            if not math.isfinite(float(canonical)):
                return None
            if not canonical.lstrip("+-").isdigit():
                kind = "number"
        if len(units) > 1:
            return None
        self._style = style
        self.unit = units.pop() if units else ""
        return kind

    def _kind_of_times(self, texts: Sequence[str]) -> str | None:
        # A number alone may be anything: only texts with marks are dates.
        if any(text.isdigit() or not looks_timed(text) for text in texts):
            return None
        try:
            self._times = time_reader(texts, self._zone, order=self._order)
            moments = [self._times.moment(text) for text in texts]
        except AmbiguousDates as error:
            self.warning = f"kept as text: {error}"
            return None
        except InvalidInput:
            return None
        if any(moment is None for moment in moments):
            return None
        return "timestamp" if any(moment and moment.timed for moment in moments) else "date"

    def _bool(self, text: str) -> Scalar:
        value = BOOLEANS.get(text.lower())
        return text if value is None else value

    def _canonical(self, text: str) -> str | None:
        style = self._style or self._guess
        canonical = style.canonical(text)
        if canonical is None and self.unit:
            split = split_unit(text)
            if split and split[1] == self.unit:
                canonical = style.canonical(split[0])
        return canonical

    def _int(self, text: str) -> Scalar:
        if text.isdigit() and text.isascii() and len(text) < 19 and (text[0] != "0" or len(text) == 1):
            return int(text)
        return self._number(text)

    def _number(self, text: str) -> Scalar:
        canonical = self._canonical(text)
        if canonical is None or _ID.fullmatch(text):
            return text
        if self.type == "int" and canonical.lstrip("+-").isdigit():
            return int(canonical)
        if len(canonical) > MAX_DIGITS and len(_significant(canonical)) > MAX_DIGITS:
            try:
                return Decimal(canonical)
            except InvalidOperation:  # an exponent that it cannot hold
                return text
        value = float(canonical)
        return value if math.isfinite(value) else text

    def _date(self, text: str) -> Scalar:
        try:
            if self._days is None:  # a date alone is the same day in every zone
                self._days = TimeReader(Zone(), self._times.order if self._times else self._order)
            day = self._days.moment(text)
            if day is not None and not day.timed:
                return day.to_datetime().date()
        except (InvalidInput, OverflowError):
            return text
        return self._timestamp(text)

    def _timestamp(self, text: str) -> Scalar:
        if self._times is None:
            self._times = TimeReader(self._zone, self._order)
        try:
            moment = self._times.timestamp(text)
        except (InvalidInput, OverflowError):
            return text
        return text if moment is None else moment

    def _time(self, text: str) -> Scalar:
        try:
            value = time_of_day(text)
        except InvalidInput:
            return text
        return text if value is None else value

    def _typed(self, cell: Any) -> Scalar:
        """A cell that its workbook gives a type."""
        kind = self._kind(cell)
        if self.type == "text":
            return shown(cell)
        if kind in ("date", "timestamp") and self.type in ("date", "timestamp"):
            if self.type == "date" and kind == "date":
                return cell.date()  # type: ignore[no-any-return]
            return self._zone_datetime(cell)
        if kind in ("int", "number") and self.type in ("int", "number"):
            if kind == "int" and self.type == "int":
                return int(cell)
            return float(cell)
        return cell if kind == self.type else shown(cell)

    def _zone_datetime(self, cell: datetime) -> Scalar:
        try:
            return TimeReader(self._zone).from_naive(cell).to_datetime()
        except InvalidInput:
            return shown(cell)


def _is_time_of_day(text: str) -> bool:
    try:
        return time_of_day(text) is not None
    except InvalidInput:
        return False


def _significant(canonical: str) -> str:
    return canonical.lower().partition("e")[0].replace(".", "").lstrip("+-0")


def unit_of(name: str, units: Mapping[str, str]) -> tuple[str, str]:
    """(name, unit) of a column: of `units`, else as its name says: `temp (°C)`, `temp [°C]`."""
    if name in units:
        return name, units[name]
    found = _HEADER_UNIT.fullmatch(name)
    return (found.group(1), found.group(2) or found.group(3)) if found else (name, "")


_HEADER_UNIT = re.compile(r"(.*?\S)\s*(?:\(([^()\[\]]{1,20})\)|\[([^()\[\]]{1,20})\])")
