# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times as the lake's series have them: whole nanoseconds since 1970-01-01 UTC."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from .errors import InvalidInput

MIN_TIME = -(2**63) + 2  # what InfluxDB can hold: 1677-09-21 to 2262-04-11
MAX_TIME = 2**63 - 2
NS = 1_000_000_000

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,18}))?)?\s*(?:([Zz])|([+-])(\d\d):?(\d\d)?)?)?",
    re.ASCII,
)
_NUMBER = re.compile(r"-?\d{9,20}(?:\.\d{1,9})?", re.ASCII)


def parse_time(value: Any) -> int:
    """Nanoseconds since the epoch of an ISO 8601 time (no offset means UTC) or of an epoch number.

    An epoch number is in seconds, milliseconds, microseconds or nanoseconds, told apart by its size; below 10^8 it
    could be anything (a year, a day number) and is refused. MongoDB's `{"$date": …}` is understood too.
    Errors: InvalidInput.
    """
    if isinstance(value, datetime):
        moment = value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
        return _in_range(calendar.timegm(moment.timetuple()) * NS + moment.microsecond * 1000, value)
    if isinstance(value, Mapping) and len(value) == 1:
        if "$date" in value:
            return parse_time(value["$date"])
        if "$numberLong" in value:
            return parse_time(str(value["$numberLong"]))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _epoch(repr(value), value)
    if not isinstance(value, str):
        raise InvalidInput(f"time {value!r:.60} is not ISO 8601")
    text = value.strip()
    match = _ISO.fullmatch(text)
    if not match:
        return _epoch(text, value)
    year, month, day, hour, minute, second, fraction, _zulu, sign, offset_h, offset_m = match.groups()
    try:
        moment = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))
    except ValueError as error:
        raise InvalidInput(f"time {value!r:.60}: {error}") from None
    seconds = calendar.timegm(moment.timetuple())
    if sign:
        hours, minutes = int(offset_h), int(offset_m or 0)
        if hours > 23 or minutes > 59:
            raise InvalidInput(f"time {value!r:.60}: the offset from UTC is out of range")
        offset = hours * 3600 + minutes * 60
        seconds += offset if sign == "-" else -offset
    return _in_range(seconds * NS + int((fraction or "0")[:9].ljust(9, "0")), value)


def _epoch(text: str, value: Any) -> int:
    if not _NUMBER.fullmatch(text):
        raise InvalidInput(f"time {value!r:.60} is not ISO 8601 (2021-07-22T11:01:22.000Z)")
    whole, _dot, fraction = text.partition(".")
    size = abs(int(whole))
    scale = 9 if size < 10**11 else 6 if size < 10**14 else 3 if size < 10**17 else 0
    part = int(fraction[:scale].ljust(scale, "0") or 0)
    return _in_range(int(whole) * 10**scale + (-part if whole.startswith("-") else part), value)


def _in_range(nanoseconds: int, value: Any) -> int:
    if not MIN_TIME <= nanoseconds <= MAX_TIME:
        raise InvalidInput(f"time {value!r:.60} is outside 1677–2262, what InfluxDB can hold")
    return nanoseconds


def format_time(nanoseconds: int) -> str:
    """ISO 8601 in UTC with as much of the second as there is: 2021-07-22T11:01:22Z, 2019-06-12T00:00:18.388374Z."""
    seconds, fraction = divmod(nanoseconds, NS)
    text = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{fraction:09d}".rstrip("0") if fraction else "") + "Z"
