# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dates and times as people and loggers write them in tables; all become seconds since 1970-01-01 UTC.

Understood: ISO 8601 (and with `/` or `.`), day/month/year and month/day/year with `/`, `-`, `.` or space, names of
months in English and French, 8 digits (20210722), times with seconds, fractions, AM and PM, `11h30`, an offset or Z;
and epoch numbers (see times.parse_time). Years of two digits are those of POSIX: 69 to 99 are 1969 to 1999.

Whether the day or the month comes first is decided per column over a sample: one 25/12 is enough. With dots the day is
first (DIN 5008). Where nothing decides, nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any

from ..errors import InvalidInput
from ..times import MAX_TIME, MIN_TIME, NS, parse_time

ORDERS = ("dmy", "mdy", "ymd")
FOLDS = ("refuse", "first", "second")
GAPS = ("refuse", "shift")
FORMATS = ("auto", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns", "excel", "excel1904")
DAY = 86_400

_EPOCH = datetime(1970, 1, 1)
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DIGITS = {"epoch_s": 0, "epoch_ms": 3, "epoch_us": 6, "epoch_ns": 9}
_MAX_SERIAL = 2_958_466  # the first day after 9999-12-31, in Excel's days

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan january janv janvier",
            "feb february fev fevr fevrier fév févr février",
            "mar march mars",
            "apr april avr avril",
            "may mai",
            "jun june juin",
            "jul july juil juillet",
            "aug august aou aout aoû août",
            "sep sept september septembre",
            "oct october octobre",
            "nov november novembre",
            "dec december decembre déc décembre",
        ),
        1,
    )
    for name in names.split()
}
_CLOCK = r"(\d\d?)(?::|[hH])(\d\d)(?:[:m](\d\d)(?:[.,](\d{1,18}))?s?)?(?:\s*([AaPp])\.?[Mm]\.?)?"
_ZONE = r"(?:\s*([Zz]|UTC|GMT)|\s*([+-])(\d\d):?(\d\d)?)?"
_MOMENT = re.compile(
    (
        r"(?:"
        r"(?P<y>\d{4})(?P<s1>[-/.])(?P<m>\d\d?)(?P=s1)(?P<d>\d\d?)"
        r"|(?P<basic>\d{8})"
        r"|(?P<a>\d\d?)(?P<s2>[-/. ])(?P<b>\d\d?)(?P=s2)(?P<c>\d{4}|\d\d)"
        r"|(?P<nd>\d\d?)[-/. ]?(?P<nm>[^\W0-9_]{3,9})\.?[-/, ]+(?P<ny>\d{4}|\d\d)"
        r"|(?P<am>[^\W0-9_]{3,9})\.? (?P<ad>\d\d?),? (?P<ay>\d{4})"
        r")(?:[Tt]|,?\s+|$)"
        rf"(?:(?P<clock>(?<=[Tt\s]){_CLOCK})(?P<zone>{_ZONE})|(?<=[Tt])(?P<bare>\d{{4}}(?:\d\d)?)(?P<barezone>{_ZONE}))?"
    ).replace(r"\d", "[0-9]")  # months have letters with accents, digits are those of ASCII
)
_TIME = re.compile(_CLOCK, re.ASCII)
_ISO_MINUTE = re.compile(r"[Tt ](\d\d):(\d\d)", re.ASCII)
_ISO_REST = re.compile(r"(?::(\d\d)(?:[.,](\d{1,18}))?)?\s*(?:([Zz])|([+-])(\d\d):?(\d\d)?)?", re.ASCII)
_ISO_DAY = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d{1,20}(?:[.,]\d{1,18})?", re.ASCII)
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d\d?):?(\d\d)?", re.ASCII)


@dataclass(frozen=True)
class Moment:
    """`seconds` since the epoch (UTC) and `nanoseconds` of the second; `timed`: a time of day stood there."""

    seconds: int
    nanoseconds: int
    timed: bool

    def to_ns(self, text: Any = "") -> int:
        """Nanoseconds since the epoch. Errors: InvalidInput outside what InfluxDB can hold."""
        moment = self.seconds * NS + self.nanoseconds
        if not MIN_TIME <= moment <= MAX_TIME:
            raise InvalidInput(f"time {text!r:.60} is outside 1677–2262, what InfluxDB can hold")
        return moment

    def to_datetime(self) -> datetime:
        """The same in UTC; what is below a microsecond is cut off."""
        return _EPOCH_UTC + timedelta(seconds=self.seconds, microseconds=self.nanoseconds // 1000)


class Zone:
    """The time zone of times that stand there without one.

    A local time that does not exist (clocks went forward) or that was there twice (clocks went back) is refused,
    unless `gap` is "shift" (read with the offset from before, so that 02:30 becomes 03:30) or `fold` says which of the
    two it is. `name`: of the IANA database, or an offset like +02:00. Errors: InvalidInput where it is none.
    """

    def __init__(self, name: str | None = None, fold: str = "refuse", gap: str = "refuse") -> None:
        self.name = name or "UTC"
        self._fold = fold
        self._gap = gap
        self._fixed: int | None = None
        self._zone: tzinfo | None = None
        offset = _OFFSET.fullmatch(self.name)
        if self.name.upper() in ("UTC", "Z", "GMT"):
            self._fixed = 0
        elif offset:
            self._fixed = _offset(offset.group(1), offset.group(2), offset.group(3), self.name)
        else:
            self._zone = _zone(self.name)
        self._quarter = lru_cache(maxsize=8192)(self._of_quarter)

    def to_utc(self, local: int) -> int:
        """Seconds since the epoch of a local time (given as seconds, as if it was UTC). Errors: InvalidInput."""
        if self._fixed is not None:
            return local - self._fixed
        if local < 63_072_000:  # before 1972 offsets had odd seconds
            return local - self._of(local)
        return local - self._quarter(local // 900)

    def _of_quarter(self, quarter: int) -> int:
        return self._of(quarter * 900)

    def _of(self, local: int) -> int:
        """The offset from UTC, in seconds, at this local time."""
        try:
            moment = (_EPOCH + timedelta(seconds=local)).replace(tzinfo=self._zone)
            first, second = moment.utcoffset(), moment.replace(fold=1).utcoffset()
        except OverflowError:
            raise InvalidInput(f"a time of this year cannot be told in {self.name}") from None
        if first is None or second is None:
            raise InvalidInput(f"the time zone {self.name} has no offset")
        if first == second:
            return int(first.total_seconds())
        text = moment.replace(tzinfo=None).isoformat(" ")
        if first < second:  # of a gap, the offset from before it comes first: PEP 495
            if self._gap != "shift":
                raise InvalidInput(f"{text} does not exist in {self.name}: clocks went forward (option gap)")
            return int(first.total_seconds())
        if self._fold == "refuse":
            raise InvalidInput(f"{text} was there twice in {self.name}: clocks went back (option fold)")
        return int((first if self._fold == "first" else second).total_seconds())


def _zone(name: str) -> tzinfo:
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise InvalidInput(
            f"time zone {name!r:.60} is none: a name like Europe/Paris or an offset like +02:00 is expected"
        ) from None


def _offset(sign: str, hours: str, minutes: str | None, text: str) -> int:
    if int(hours) > 23 or int(minutes or 0) > 59:
        raise InvalidInput(f"time {text!r:.60}: the offset from UTC is out of range")
    seconds = int(hours) * 3600 + int(minutes or 0) * 60
    return -seconds if sign == "-" else seconds


def _day(year: int, month: int, day: int, text: str) -> int:
    try:
        return (date(year, month, day).toordinal() - _EPOCH_DAY) * DAY
    except ValueError as error:
        raise InvalidInput(f"time {text!r:.60}: {error}") from None


def _second(hour: str, minute: str, second: str | None, half: str | None, text: str) -> int:
    hours, minutes, seconds = int(hour), int(minute), int(second or 0)
    if half:
        if not 1 <= hours <= 12:
            raise InvalidInput(f"time {text!r:.60}: an hour of AM and PM is 1 to 12")
        hours = hours % 12 + (12 if half in "pP" else 0)
    if hours == 24 and not minutes and not seconds:  # ISO 8601: the end of the day
        return DAY
    if hours > 23 or minutes > 59 or seconds > 59:
        raise InvalidInput(f"time {text!r:.60}: no such time of day")
    return hours * 3600 + minutes * 60 + seconds


def _nanoseconds(fraction: str | None) -> int:
    return int(fraction[:9].ljust(9, "0")) if fraction else 0


# The parts of ISO times come again and again: a day in each of its rows, a minute of the day every day.
@lru_cache(maxsize=4096)
def _iso_day(text: str) -> int | None:
    found = _ISO_DAY.fullmatch(text)
    return _day(int(found.group(1)), int(found.group(2)), int(found.group(3)), text) if found else None


@lru_cache(maxsize=4096)
def _iso_minute(text: str) -> int | None:
    found = _ISO_MINUTE.fullmatch(text)
    return _second(found.group(1), found.group(2), None, None, text.strip()) if found else None


@lru_cache(maxsize=4096)
def _iso_rest(text: str) -> tuple[int, int, int | None] | None:
    """(seconds, nanoseconds, offset from UTC or None) of what follows hours and minutes."""
    found = _ISO_REST.fullmatch(text)
    if not found:
        return None
    second, fraction, zulu, sign, hours, minutes = found.groups()
    seconds = int(second or 0)
    if seconds > 59:
        raise InvalidInput(f"time …{text!r:.60}: a minute has 60 seconds")
    offset = 0 if zulu else _offset(sign, hours, minutes, text) if sign else None
    return seconds, _nanoseconds(fraction), offset


class TimeReader:
    """Reads the times of one column; made by `time_reader`."""

    def __init__(self, zone: Zone, order: str | None = None, form: str = "auto", excel_1904: bool = False) -> None:
        self.zone = zone
        self.order = order
        self.form = form
        self.excel_1904 = excel_1904
        self._special: Callable[[str], Moment] | None = None
        if form in _DIGITS:
            self._special = self._epoch
        elif form in ("excel", "excel1904"):
            self._special = self._serial
            self.excel_1904 = form == "excel1904"
        elif form != "auto":
            self._special = self._pattern

    def ns(self, text: str) -> int:
        """Nanoseconds since the epoch of a text without spaces around it. Errors: InvalidInput."""
        if self._special is not None:
            return self._special(text).to_ns(text)
        parts = self._iso(text)
        if parts is not None:
            moment = parts[0] * NS + parts[1]
            if MIN_TIME < moment < MAX_TIME:
                return moment
        found = self.moment(text)
        # What is no date is an epoch number, or it is said what is wrong with it.
        return parse_time(text) if found is None else found.to_ns(text)

    def timestamp(self, text: str) -> datetime | None:
        """The moment in UTC, which a date alone begins; None where the text is no date. Errors: InvalidInput."""
        parts = self._iso(text) if self._special is None else None
        if parts is not None:
            return _EPOCH_UTC + timedelta(seconds=parts[0], microseconds=parts[1] // 1000)
        found = self.moment(text)
        return None if found is None else found.to_datetime()

    def _iso(self, text: str) -> tuple[int, int] | None:
        """(seconds, nanoseconds) of an ISO time of the usual form; None where it has another."""
        if len(text) < 16:
            return None
        day, minute = _iso_day(text[:10]), _iso_minute(text[10:16])
        if day is None or minute is None:
            return None
        rest = _iso_rest(text[16:])
        if rest is None:
            return None
        seconds, nanoseconds, offset = rest
        seconds += day + minute
        return (self.zone.to_utc(seconds) if offset is None else seconds - offset), nanoseconds

    def moment(self, text: str) -> Moment | None:
        """The moment that a text says; None where it is no date (an epoch number is none here).

        Errors: InvalidInput: a date that there is not, or one of which the day could be the month.
        """
        if self._special is not None:
            return self._special(text)
        found = _MOMENT.fullmatch(text) if len(text) <= 64 else None
        if not found:
            return None
        days = self._date(found, text)
        if days is None:
            return None
        return self._timed(days, found, text)

    def joined(self, day: str, clock: str) -> int:
        """Nanoseconds of a date and a time of day that stand in two cells. Errors: InvalidInput."""
        if self.form not in FORMATS:
            return self._pattern(f"{day} {clock}").to_ns(f"{day} {clock}")
        moment = self.moment(f"{day} {clock}")
        if moment is None or not moment.timed:
            raise InvalidInput(f"time {day!r:.40} {clock!r:.40} is not a date and a time of day")
        return moment.to_ns(day)

    def from_naive(self, moment: datetime) -> Moment:
        """The moment of a date cell of a workbook, which is a local time. Errors: InvalidInput."""
        delta = moment - _EPOCH
        return Moment(self.zone.to_utc(delta.days * DAY + delta.seconds), delta.microseconds * 1000, True)

    def from_serial(self, number: float) -> Moment:
        """The moment of a number of days as workbooks count them. Errors: InvalidInput."""
        return self.from_naive(serial_datetime(number, self.excel_1904))

    def _date(self, found: re.Match[str], text: str) -> int | None:
        part = found.group
        if part("y"):
            return _day(int(part("y")), int(part("m")), int(part("d")), text)
        if part("basic"):
            digits = part("basic")
            return _day(int(digits[:4]), int(digits[4:6]), int(digits[6:]), text)
        if part("a"):
            one, two, three = part("a"), part("b"), part("c")
            if self.order == "ymd":
                return _day(_year(one), int(two), int(three), text)
            order = self.order or _own_order(int(one), int(two), part("s2"))
            if order is None:
                raise InvalidInput(f"time {text!r:.60}: the day or the month may come first (option date_order)")
            day, month = (one, two) if order == "dmy" else (two, one)
            return _day(_year(three), int(month), int(day), text)
        named = "n" if part("nm") else "a"
        month = _MONTHS.get(part(named + "m").lower())
        return None if month is None else _day(_year(part(named + "y")), month, int(part(named + "d")), text)

    def _timed(self, days: int, found: re.Match[str], text: str) -> Moment:
        clock, bare = found.group("clock"), found.group("bare")
        if not clock and not bare:
            return Moment(self.zone.to_utc(days), 0, False)
        if clock:
            hour, minute, second, fraction, half = _groups(_TIME, clock)
            zone = found.group("zone")
        else:
            hour, minute, second, fraction, half = bare[:2], bare[2:4], bare[4:] or None, None, None
            zone = found.group("barezone")
        seconds = days + _second(hour, minute, second, half, text)
        zone = (zone or "").strip()
        if zone:
            offset = _OFFSET.fullmatch(zone)
            seconds -= _offset(offset.group(1), offset.group(2), offset.group(3), text) if offset else 0
        else:
            seconds = self.zone.to_utc(seconds)
        return Moment(seconds, _nanoseconds(fraction), True)

    def _number(self, text: str) -> str:
        if not _NUMBER.fullmatch(text):
            raise InvalidInput(f"time {text!r:.60} is not a number, as time_format {self.form} says")
        return text.replace(",", ".")

    def _epoch(self, text: str) -> Moment:
        whole, _dot, fraction = self._number(text).partition(".")
        digits = _DIGITS[self.form]
        sign = -1 if whole.startswith("-") else 1
        scale = 9 - digits
        value = int(whole) * 10**scale + sign * int(fraction[:scale].ljust(scale, "0") or 0)
        seconds, nanoseconds = divmod(value, NS)
        return Moment(seconds, nanoseconds, True)

    def _serial(self, text: str) -> Moment:
        return self.from_serial(float(self._number(text)))

    def _pattern(self, text: str) -> Moment:
        try:
            moment = datetime.strptime(text, self.form)
        except ValueError:
            raise InvalidInput(f"time {text!r:.60} is not as time_format says: {self.form}") from None
        if moment.tzinfo is None:
            return self.from_naive(moment)
        delta = moment - _EPOCH_UTC
        return Moment(delta.days * DAY + delta.seconds, delta.microseconds * 1000, True)


def _groups(pattern: re.Pattern[str], text: str) -> tuple[Any, ...]:
    """The groups of a pattern that matches, as an earlier match of a longer one says."""
    found = pattern.fullmatch(text)
    return found.groups() if found else (None,) * pattern.groups


def _year(text: str) -> int:
    year = int(text)
    return year if len(text) == 4 else year + (1900 if year >= 69 else 2000)


def _own_order(one: int, two: int, separator: str) -> str | None:
    """What a date says by itself of its order."""
    if one > 12 or one == two:
        return "dmy"
    if two > 12:
        return "mdy"
    return "dmy" if separator == "." else None


class AmbiguousDates(InvalidInput):
    """Nothing in a column says whether the day or the month comes first."""


def decide_order(texts: Iterable[str]) -> str | None:
    """Which of day and month comes first in a column's dates (dmy, mdy); None where each date says it by itself, or
    there are none. Errors: AmbiguousDates with the first date that could be read both ways."""
    unclear = None
    orders = set()
    for text in texts:
        found = _MOMENT.fullmatch(text) if len(text) <= 64 else None
        if not found or not found.group("a"):
            continue
        one, two = int(found.group("a")), int(found.group("b"))
        if one > 12 >= two:
            orders.add("dmy")
        elif two > 12 >= one:
            orders.add("mdy")
        elif one != two and found.group("s2") != ".":
            unclear = unclear or text
    if len(orders) == 1:
        return orders.pop()
    if unclear and not orders:
        raise AmbiguousDates(
            f"{unclear!r} may be day/month or month/day, and nothing in the column decides: say it by the option"
            " date_order (dmy, mdy)"
        )
    return None


def time_reader(
    texts: Sequence[str], zone: Zone, *, order: str | None = None, form: str = "auto", excel_1904: bool = False
) -> TimeReader:
    """The reader of a column of which `texts` are a sample. `order` and `form` (FORMATS, or a pattern of strptime) are
    what options force. Errors: AmbiguousDates."""
    if order is None and form == "auto":
        order = decide_order(texts)
    return TimeReader(zone, order, form, excel_1904)


def looks_timed(text: str) -> bool:
    """Whether a text has the form of a date, an ISO time or an epoch number, whatever its order of day and month."""
    found = _MOMENT.fullmatch(text) if len(text) <= 64 else None
    if found:
        name = found.group("nm") or found.group("am")
        return name is None or name.lower() in _MONTHS
    try:
        parse_time(text)
    except InvalidInput:
        return False
    return True


def time_of_day(text: str) -> time | None:
    """A time of day; None where a text is none. Errors: InvalidInput: one that there is not (25:00)."""
    found = _TIME.fullmatch(text) if len(text) <= 40 else None
    if not found:
        return None
    hour, minute, second, fraction, half = found.groups()
    seconds = _second(hour, minute, second, half, text)
    if seconds == DAY:
        return None
    return time(seconds // 3600, seconds // 60 % 60, seconds % 60, _nanoseconds(fraction) // 1000)


def serial_datetime(number: float, excel_1904: bool) -> datetime:
    """The local time that a workbook's number of days says, to the millisecond (that is what Excel keeps).

    In the 1900 system 60 is 29 February 1900, which was not; numbers below it are counted from a day later.
    Errors: InvalidInput: out of range.
    """
    if not 0 <= number < _MAX_SERIAL or (not excel_1904 and 60 <= number < 61):
        raise InvalidInput(f"{number!r:.40} is no date of a workbook")
    start = datetime(1904, 1, 1) if excel_1904 else datetime(1899, 12, 30 if number >= 61 else 31)
    try:
        return start + timedelta(milliseconds=round(number * DAY * 1000))
    except OverflowError:
        raise InvalidInput(f"{number!r:.40} is no date of a workbook") from None
