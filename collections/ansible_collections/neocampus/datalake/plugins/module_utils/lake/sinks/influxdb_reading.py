# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time series as tables: all points of a measurement, or what they come to in windows of time, read as a stream."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import InvalidInput, NotFound
from ..points import ORIGIN
from ..times import MAX_TIME
from .influxdb import NUMBERS, InfluxDB, quote

AGGREGATES = ("mean", "median", "min", "max", "sum", "count", "first", "last", "stddev", "spread")
"""And percentiles: `p95`, `p99.9`."""
FILLS = ("none", "null", "previous", "linear")
MAX_WINDOWS = 1_000_000
"""Of each series, where empty ones are filled."""
MAX_AGGREGATES = 20
BLOCK = 20_000
"""Points that are read by one query."""

_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,3})?|100)")
_DURATION = re.compile(r"(\d{1,9})(ms|s|m|h|d|w)")
_UNITS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9, "w": 7 * 86400 * 10**9}
_ANY_TYPE = ("count", "first", "last")
_KEEP_TYPE = ("min", "max", "sum", "first", "last", "spread")
_TYPES = {"float": "number", "integer": "integer", "string": "text", "boolean": "boolean"}


class Column(NamedTuple):
    """A column of what is read; its type is time (ns), text, number, integer or boolean."""

    name: str
    type: str


@dataclass(frozen=True)
class Selection:
    """Which points of a measurement, and how: `start` <= time < `end` (ns), of some `topics` or all (empty), their
    `fields` or all (None), `descending` in time; with `origin` where each comes from.

    With `aggregates` what they come to instead: in windows of `every` ns (None: all of the time), for each value of
    the tags in `group` (None: each series on its own), empty windows left out or filled (`fill`: FILLS, or a number).
    Errors: InvalidInput.
    """

    measurement: str
    topics: tuple[str, ...] = ()
    start: int | None = None
    end: int | None = None
    fields: tuple[str, ...] | None = None
    descending: bool = False
    origin: bool = False
    aggregates: tuple[str, ...] = ()
    every: int | None = None
    group: tuple[str, ...] | None = None
    fill: str = "none"

    def __post_init__(self) -> None:
        for one in self.aggregates:
            if one not in AGGREGATES and not _PERCENTILE.fullmatch(one):
                raise InvalidInput(f"{one!r:.40} is none of {', '.join(AGGREGATES)} or a percentile, as p95")
        if len(self.aggregates) > MAX_AGGREGATES:
            raise InvalidInput(f"at most {MAX_AGGREGATES} aggregates are made at a time")
        if not self.aggregates:
            for name, given in (("every", self.every), ("group", self.group)):
                if given is not None:
                    raise InvalidInput(f"{name} says how points are aggregated: say what is made of them too")
        if self.origin and self.fields is not None:
            raise InvalidInput("the origin is that of whole points: leave out which fields to take, or the origin")
        if self.aggregates and self.origin:
            raise InvalidInput("aggregates have no origin: ask for the points")
        if self.fill not in FILLS and not _is_number(self.fill):
            raise InvalidInput(f"fill is {', '.join(FILLS)} or a number, not {self.fill!r:.40}")
        if self.fill != "none":
            self._check_windows()

    def _check_windows(self) -> None:
        if self.every is None or self.start is None:
            raise InvalidInput("empty windows are filled where their width and the beginning of all is known")
        if (self.until - self.start) // self.every > MAX_WINDOWS:
            raise InvalidInput(f"there are over {MAX_WINDOWS:,} windows: widen them, shorten the time, or do not fill")

    @property
    def until(self) -> int:
        """Where the windows end."""
        if self.end is not None:
            return self.end
        return MAX_TIME if self.fill == "none" else time.time_ns()


def parse_duration(text: str) -> int:
    """The ns of `10m`, `1h`, `500ms`; units are ms, s, m, h, d, w. Errors: InvalidInput."""
    found = _DURATION.fullmatch(text)
    length = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < length < 2**62:
        raise InvalidInput(f"{text!r:.40} is not the width of a window: write 30s, 10m, 1h, 1d")
    return length


class SeriesTable:
    """What a selection has: `columns`, and `blocks` of rows as they come from InfluxDB."""

    def __init__(self, influxdb: InfluxDB, database: str, selection: Selection) -> None:
        """Errors: InvalidInput for fields or tags that there are not; StoreError."""
        self._influxdb, self._database, self.selection = influxdb, database, selection
        tags, fields = self._known()
        self.columns: list[Column] = []
        self.tags: list[str] = []
        self._selected = ""
        self._order = "ORDER BY time " + ("DESC" if selection.descending else "ASC")
        self._params = {f"topic{number}": topic for number, topic in enumerate(selection.topics)}
        # Without an end windows would end now.
        self._end = selection.end if selection.every is None else selection.until
        if fields:
            parts = (self._aggregated if selection.aggregates else self._plain)(tags, fields)
            self.columns = _unique(self.columns)
            names = [column.name for column in self.columns[-len(parts) :]]
            selected = ", ".join(f"{part} AS {quote(name)}" for part, name in zip(parts, names))  # noqa: B905 (3.9)
            self._selected = f"SELECT {selected} FROM {quote(selection.measurement)}"  # noqa: S608 (quoted)

    def blocks(self) -> Generator[list[list[Any]], None, None]:
        """Rows in the order of the columns, None where there is no value; in memory that has a bound. Of points in the
        order of time; of aggregates by series (their tags), and within it of time. Errors: StoreError."""
        if not self._selected:
            return
        try:
            yield from self._windows() if self.selection.aggregates else self._points()
        except NotFound:
            return

    def _windows(self) -> Iterator[list[list[Any]]]:
        statement = f"{self._selected}{self._source(self.selection.start, self._end)}{self._grouping()} {self._order}"
        for rows in self._influxdb.stream(self._database, [statement], self._params):
            fixed = [self.selection.measurement, *(rows.tags.get(tag) for tag in self.tags)]
            yield [[values[0], *fixed, *values[1:]] for values in rows.values]

    def _points(self) -> Iterator[list[list[Any]]]:
        """By one query for each block: InfluxDB ends a query that lasts too long, and who takes the rows may be slow.
        Several series can have a point at the same time: the next block begins at that time, after those of it."""
        start, end = self.selection.start, self._end
        place, skip = None, 0
        while True:
            statement = f"{self._selected}{self._source(start, end)} {self._order} LIMIT {BLOCK}"
            statement += f" OFFSET {skip}" if skip else ""
            found = [
                [values[0], self.selection.measurement, *values[1:]]
                for rows in self._influxdb.stream(self._database, [statement], self._params)
                for values in rows.values
            ]
            yield found
            if len(found) < BLOCK:
                return
            last = found[-1][0]
            same = len(list(itertools.takewhile(lambda row: row[0] == last, reversed(found))))  # noqa: B023 (called here)
            skip = skip + same if last == place else same
            place = last
            if self.selection.descending:
                end = last + 1
            else:
                start = last

    def _known(self) -> tuple[list[str], dict[str, str]]:
        """The tags of the measurement, and its fields with their types; none where there is no such measurement."""
        measurement = quote(self.selection.measurement)
        tags: list[str] = []
        fields: dict[str, str] = {}
        statements = [f"SHOW TAG KEYS FROM {measurement}", f"SHOW FIELD KEYS FROM {measurement}"]
        try:
            for rows in self._influxdb.stream(self._database, statements):
                for name, *kind in rows.values:
                    if rows.statement == 0:
                        tags.append(name)
                    elif name != ORIGIN and fields.get(name) != "float":  # where shards differ, a float holds both
                        fields[name] = kind[0]
        except NotFound:
            return [], {}
        return sorted(set(tags)), dict(sorted(fields.items()))

    def _chosen(self, fields: Mapping[str, str], wanted: Sequence[str]) -> list[str]:
        for name in wanted:
            if name not in fields:
                raise InvalidInput(f"there is no field {name!r:.80}; there are: {', '.join(fields)}"[:500])
        return list(dict.fromkeys(wanted))

    def _plain(self, tags: list[str], fields: dict[str, str]) -> list[str]:
        wanted = list(fields) if self.selection.fields is None else self._chosen(fields, self.selection.fields)
        self.tags = tags
        self.columns = [Column("time", "time"), Column("measurement", "text")]
        self.columns += [Column(tag, "text") for tag in tags]
        self.columns += [Column(name, _TYPES[fields[name]]) for name in wanted]
        parts = [f"{quote(tag)}::tag" for tag in tags] + [f"{quote(name)}::field" for name in wanted]
        if self.selection.origin:
            parts.append(f"{quote(ORIGIN)}::field")
            self.columns.append(Column(ORIGIN, "text"))
        return parts

    def _aggregated(self, tags: list[str], fields: dict[str, str]) -> list[str]:
        chosen = self.selection
        number = [name for name, kind in fields.items() if kind in NUMBERS]
        wanted = number if chosen.fields is None else self._chosen(fields, chosen.fields)
        self.tags = list(tags if chosen.group is None else dict.fromkeys(chosen.group))
        for tag in self.tags:
            if tag not in tags:
                raise InvalidInput(f"there is no tag {tag!r:.80}; there are: {', '.join(tags)}"[:500])
        self.columns = [Column("time", "time"), Column("measurement", "text")]
        self.columns += [Column(tag, "text") for tag in self.tags]
        parts = []
        for name in wanted:
            for one in dict.fromkeys(chosen.aggregates):
                if name not in number and one not in _ANY_TYPE:
                    raise InvalidInput(f"field {name!r:.80} is {_TYPES[fields[name]]}: there is no {one} of it")
                parts.append(_function(one, quote(name)))
                self.columns.append(Column(f"{name}_{one}", _type_of(one, _TYPES[fields[name]])))
        if not parts:
            raise InvalidInput(f"no field of {chosen.measurement!r:.80} is a number; name those to take")
        return parts

    def _grouping(self) -> str:
        by = [quote(tag) for tag in self.tags]
        if self.selection.every is not None:
            by.insert(0, f"time({self.selection.every}ns)")
        if not by:
            return ""
        fill = f" fill({self.selection.fill})" if self.selection.every is not None else ""
        return f" GROUP BY {', '.join(by)}{fill}"

    def _source(self, start: int | None, end: int | None) -> str:
        where = []
        if self.selection.topics:
            topics = [f'"topic"::tag = $topic{number}' for number in range(len(self.selection.topics))]
            where.append(f"({' OR '.join(topics)})")
        if start is not None:
            where.append(f"time >= {start}")
        if end is not None:
            where.append(f"time < {end}")
        return f" WHERE {' AND '.join(where)}" if where else ""


def _unique(columns: Sequence[Column]) -> list[Column]:
    """With other names where one comes twice."""
    names: set[str] = set()
    found = []
    for column in columns:
        name = column.name
        while name in names:
            name += "_"
        names.add(name)
        found.append(Column(name, column.type))
    return found


def _function(aggregate: str, field: str) -> str:
    found = _PERCENTILE.fullmatch(aggregate)
    return f"percentile({field}, {found[1]})" if found else f"{aggregate}({field})"


def _type_of(aggregate: str, kind: str) -> str:
    if aggregate == "count":
        return "integer"
    return kind if aggregate in _KEEP_TYPE or _PERCENTILE.fullmatch(aggregate) else "number"


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d{1,15}(\.\d{1,15})?", text) is not None
