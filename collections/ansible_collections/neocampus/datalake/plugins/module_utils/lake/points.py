# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Points of time series, and InfluxDB's line protocol."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Union

from .errors import InvalidInput
from .times import MAX_TIME, MIN_TIME

FieldValue = Union[float, int, str, bool]  # noqa: UP007 (evaluated when the module is loaded; must run on 3.9)

MAX_KEY_BYTES = 65_000  # InfluxDB refuses series keys over 65,535 bytes
_UNSAFE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_AMBIGUOUS = re.compile(r"\\(?:[,= \"]|$)")
ORIGIN = "lake_origin"
"""The field that leads a point back to where it comes from: `<object id>/<operation>`."""
_RESERVED = frozenset({"time", "_measurement", "_field", ORIGIN})


@dataclass(frozen=True)
class Point:
    """One point: `time` in ns since the epoch (UTC). A point that InfluxDB could not hold cannot be made.

    Errors: InvalidInput: an empty or reserved name, control characters, a measurement with # in front (it would be read
    as a comment), a backslash where the line protocol could not say it (before `,` `=` `"` or space, or at the end of a
    name), a number that is not finite.
    """

    __slots__ = ("measurement", "time", "fields", "tags")

    measurement: str
    time: int
    fields: dict[str, FieldValue]
    tags: dict[str, str]

    def __post_init__(self) -> None:
        _check_name("measurement", self.measurement)
        if self.measurement.startswith("#"):
            raise InvalidInput(f"measurement {self.measurement!r:.80} begins with #")
        if not MIN_TIME <= self.time <= MAX_TIME:
            raise InvalidInput(f"time {self.time} ns is outside what InfluxDB can hold")
        if not self.fields:
            raise InvalidInput(f"a point of {self.measurement!r:.80} has no field")
        for key, value in self.fields.items():
            _check_name("field", key)
            _check_value(key, value)
        length = len(self.measurement)
        for key, tag in self.tags.items():
            _check_name("tag", key)
            _check_name("value of the tag " + key, tag, reserved=False)
            length += len(key) + len(tag)
        if length * 8 > MAX_KEY_BYTES:  # 4 bytes a character, each escaped: only then is counting worth it
            if len(_series(self.measurement, self.tags).encode()) > MAX_KEY_BYTES:
                raise InvalidInput(f"measurement and tags of {self.measurement!r:.40} are over {MAX_KEY_BYTES} bytes")

    def __reduce__(self) -> tuple[Any, ...]:
        return Point, (self.measurement, self.time, self.fields, self.tags)


@lru_cache(maxsize=4096)
def _check_name(what: str, name: str, reserved: bool = True) -> None:
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"{what}: a text that is not empty is expected, not {name!r:.60}")
    if _UNSAFE.search(name):
        raise InvalidInput(f"{what} {name!r:.80} has control characters")
    if _AMBIGUOUS.search(name):
        raise InvalidInput(f'{what} {name!r:.80} has a backslash before one of , = " or space, or at its end')
    if reserved and what != "measurement" and name in _RESERVED:
        raise InvalidInput(f"{what} {name!r:.80} is a name that is kept for InfluxDB or the lake")


def _check_value(key: str, value: FieldValue) -> None:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInput(f"field {key!r:.80}: {value!r} is not a finite number")
    elif isinstance(value, str):
        if len(value) > 16_000 or _UNSAFE.sub("", value) != value.replace("\n", "").replace("\t", ""):
            raise InvalidInput(f"field {key!r:.80}: a text over 16,000 characters or with control characters")
    elif isinstance(value, int):  # also True and False
        if not -(2**63) <= value < 2**63:
            raise InvalidInput(f"field {key!r:.80}: {value} does not fit in 64 bits")
    else:
        raise InvalidInput(f"field {key!r:.80}: {type(value).__name__} cannot be kept in InfluxDB")


@lru_cache(maxsize=4096)
def _escape(text: str) -> str:
    return text.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")


@lru_cache(maxsize=4096)
def _escape_measurement(text: str) -> str:
    return text.replace(",", "\\,").replace(" ", "\\ ")


def _series(measurement: str, tags: dict[str, str]) -> str:
    key = _escape_measurement(measurement)
    for name in sorted(tags):  # InfluxDB is quicker when tags come in order
        key += f",{_escape(name)}={_escape(tags[name])}"
    return key


def _value(value: FieldValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}i"
    if isinstance(value, float):
        return repr(value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def to_line(point: Point, origin: str = "") -> str:
    """The point in InfluxDB's line protocol, time in nanoseconds, without line end; with its `origin` where given."""
    values = ",".join(f"{_escape(name)}={_value(value)}" for name, value in point.fields.items())
    if origin:
        values += f",{ORIGIN}={_value(origin)}"
    return f"{_series(point.measurement, point.tags)} {values} {point.time}"
