# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Anomalies in time series: the rules of a container, and what they find in the points of a series.

A series is a measurement, a field and a set of tags. Of a container's rules the most specific one that matches holds
for it: the topic decides first, then the measurement, then the field; a text without wildcards is more specific than a
pattern, and of two patterns the one with more characters. What is found:

    low, high   the value is outside the declared bounds
    rate        it changed more than it may since the point before
    statistic   it is too far off the median of the points that it is compared with (`rolling`: those of the last hours;
                `seasonal`: those at the same hour of the day, or of the week, on the days before)
    gap         for longer than declared there was no point

Whether a point is an anomaly depends on the rule and on the points up to it, never on which part of a series is looked
at: to look again gives the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from datetime import datetime, timezone, tzinfo
from functools import lru_cache
from typing import Any, NamedTuple

from .errors import DeclarationError, present
from .pipelines import _overlap, _specificity
from .points import _series
from .times import NS

SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "anomaly_rules.schema.json")
KINDS = {
    "low": "below the least value that is right",
    "high": "above the greatest value that is right",
    "rate": "changed more than it may",
    "statistic": "too far off the median of what it is compared with",
    "gap": "no point for longer than there may be",
}
"""What is found, and what it means."""
PARTS = ("bounds", "rate", "gap", "statistic")
"""What a rule can look for."""
DEFAULT = "default"
"""Name of the rule that holds where no rule of the container does."""
DIMENSIONS = ("topic", "measurement", "field")
METHODS: dict[str, dict[str, Any]] = {
    "rolling": {"threshold": 5.0, "min_points": 24, "min_scale": 0.0, "hours": 168.0},
    "seasonal": {
        "threshold": 4.0,
        "min_points": 10,
        "min_scale": 0.0,
        "season": "hour_of_day",
        "time_zone": "UTC",
    },
}
"""The statistics, with the parameters that they have where none are given: those that were best of those tried on real
series (docs/anomalies.md)."""
PERIODS = {"hour_of_day": 14, "hour_of_week": 12}
"""How many days or weeks are looked back where that is not said."""
SEASON_DAYS = {"hour_of_day": 1, "hour_of_week": 7}
BINS = 288
"""A rolling reference is thinned to the first point in each of so many equal parts of its time."""
SEASON_BIN = 600 * NS
"""A seasonal reference is thinned to the first point in each ten minutes (ns)."""
MAD_TO_SIGMA = 1.4826
"""The standard deviation of a normal distribution is that many times its median absolute deviation."""
MEAN_TO_SIGMA = 1.2533
"""… and that many times its mean absolute deviation."""
TAIL = 0.05
TAIL_TO_SIGMA = 1.6449
"""A twentieth part of a normal distribution is further than that many standard deviations below its median."""

_HOUR = 3600 * NS
_DAY = 24 * _HOUR
_EPOCH_DAY = 719163  # 1970-01-01, as date.toordinal numbers days


# -- rules ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Statistic:
    """A robust statistic and its parameters; `periods` are days or weeks."""

    method: str
    threshold: float
    min_points: int
    min_scale: float
    hours: float = 0.0
    season: str = ""
    periods: int = 0
    time_zone: str = "UTC"

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Statistic:
        """What a checked declaration says, with the defaults of its method."""
        values = {**METHODS[data["method"]], **data}
        if values["method"] == "seasonal":
            values.setdefault("periods", PERIODS[values["season"]])
        return cls(**values)


@dataclass(frozen=True)
class Rule:
    """A rule as it holds for a series; what is None is not looked for.

    `low`, `high` and `change` are in the unit of the measurement, `span` (in which it may change so much) and `gap`
    in ns.
    """

    name: str = DEFAULT
    version: int = 0
    low: float | None = None
    high: float | None = None
    change: float | None = None
    span: int = 0
    gap: int | None = None
    statistic: Statistic | None = None

    @classmethod
    def of(cls, name: str, version: int, parts: Mapping[str, Any]) -> Rule:
        """The rule that checked `parts` declare."""
        bounds, rate, gap, statistic = (parts.get(part) for part in PARTS)
        return cls(
            name,
            version,
            low=bounds.get("min") if bounds else None,
            high=bounds.get("max") if bounds else None,
            change=rate["change"] if rate else None,
            span=round(rate["seconds"] * NS) if rate else 0,
            gap=round(gap["seconds"] * NS) if gap else None,
            statistic=Statistic.of(statistic) if statistic else None,
        )


class Rules:
    """The rules of a container, from a body that is as anomaly_rules.schema.json says, and the lake's `default` (its
    parts), with their versions.

    Errors: DeclarationError: what is wrong, all of it; its context has the list as `problems`.
    """

    def __init__(
        self, body: Any = None, version: int = 0, default: Mapping[str, Any] | None = None, default_version: int = 0
    ) -> None:
        body = {"rules": []} if body is None else body
        default = {} if default is None else default
        check_rules(body)
        check_default(default)
        self._default = Rule.of(DEFAULT, default_version, default)
        self._rules: list[tuple[tuple[re.Pattern[str], ...], Any, Rule]] = []
        for item in body["rules"]:
            rule = Rule.of(item["name"], version, {**default, **{key: item[key] for key in PARTS if key in item}})
            patterns = _patterns(item)
            self._rules.append((tuple(map(_compiled, patterns)), _score(patterns), rule))
        self._rules.sort(key=lambda known: known[1], reverse=True)

    def rule_for(self, measurement: str, topic: str, field: str) -> Rule:
        """The rule that holds for a series; `topic` is empty where it has none."""
        values = (topic, measurement, field)
        for patterns, _score_of, rule in self._rules:
            if all(pattern.fullmatch(value) for pattern, value in zip(patterns, values)):  # noqa: B905 (3.9)
                return rule
        return self._default


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """The published JSON Schema of a container's rules."""
    with open(SCHEMA, encoding="utf-8") as stream:
        return dict(json.load(stream))


def check_rules(body: Any) -> None:
    """Checks a container's rules (`{"rules": […]}`). Errors: as Rules."""
    problems = list(_told(body, schema()))
    if not problems:
        for index, item in enumerate(body["rules"]):
            problems += _nonsense(item, f"rules[{index}]")
        problems += _quarrels(body["rules"])
    if problems:
        raise DeclarationError("; ".join(problems), problems=problems)


def check_default(parts: Any) -> None:
    """Checks the lake's default (what is looked for where no rule says otherwise). Errors: as Rules."""
    problems = list(_told(parts, {"$defs": schema()["$defs"], "$ref": "#/$defs/default"}, "default"))
    problems = problems or list(_nonsense(parts, "default"))
    if problems:
        raise DeclarationError("; ".join(problems), problems=problems)


def _told(data: Any, against: Mapping[str, Any], name: str = "") -> Iterator[str]:
    """What the schema finds wrong, in plain words, each with its place."""
    from jsonschema import Draft202012Validator

    try:
        found = sorted(Draft202012Validator(against).iter_errors(data), key=lambda error: list(map(str, error.path)))
    except RecursionError:
        yield "nested too deeply"
        return
    for error in found:
        place = _place(name, error.absolute_path)
        lead = f"{place}: " if place else ""
        meaning = error.schema.get("description")
        if error.validator == "additionalProperties":
            known = sorted(error.schema["properties"])
            for key in sorted(set(error.instance) - set(known), key=str):
                yield f"{lead}unknown key {key!r:.60}; {', '.join(known)} are known"
        elif error.validator == "required":
            for key in error.validator_value:
                if key not in error.instance:
                    yield f"{lead}{key} is missing"
        else:
            meaning = meaning or f"something that is valid under {error.validator!r}"
            yield f"{lead}{error.instance!r:.80} is not what is expected: {meaning}"


def _place(name: str, path: Iterable[Any]) -> str:
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f"{'.' if name else ''}{part}"
    return name


def _nonsense(item: Mapping[str, Any], place: str) -> Iterator[str]:
    """What a schema cannot say."""
    for part in PARTS:
        for key, value in (item.get(part) or {}).items():
            if isinstance(value, (int, float)) and not _is_finite(value):
                yield f"{place}.{part}.{key}: {value!r:.40} is not a number that can be compared with"
    bounds = item.get("bounds") or {}
    if "min" in bounds and "max" in bounds and not bounds["min"] <= bounds["max"]:
        yield f"{place}.bounds: min {bounds['min']!r} is above max {bounds['max']!r}"
    zone = (item.get("statistic") or {}).get("time_zone")
    if zone is not None and _zone(zone) is None:
        yield f"{place}.statistic.time_zone: {zone!r} is no time zone of the tz database (as Europe/Paris, UTC)"


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _quarrels(rules: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Rules of one name, and rules that match the same series equally, so that nothing would decide between them."""
    for index, one in enumerate(rules):
        for number, other in enumerate(rules[:index]):
            if one["name"] == other["name"]:
                yield f"rules[{index}].name: {one['name']!r} is the name of rules[{number}], too"
            mine, his = _patterns(one), _patterns(other)
            if _score(mine) == _score(his) and all(map(_overlap, mine, his)):
                yield (
                    f"rules[{index}].match: {one['name']!r} and {other['name']!r} match the same series equally"
                    f" specifically; make one of them more specific"
                )


def _patterns(item: Mapping[str, Any]) -> tuple[str, ...]:
    match = item.get("match", {})
    return tuple(match.get(dimension, "*") for dimension in DIMENSIONS)


def _score(patterns: Iterable[str]) -> tuple[tuple[int, int], ...]:
    return tuple(_specificity("" if pattern == "*" else pattern) for pattern in patterns)


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo | None:
    if name == "UTC":
        return timezone.utc
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # no such file; not a name; not found
        return None


# -- what is found ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Series:
    """One series of a container; `tags` without empty ones, the topic among them."""

    measurement: str
    field: str
    tags: Mapping[str, str] = attribute(default_factory=dict)

    @property
    def topic(self) -> str:
        """Empty where it has none."""
        return self.tags.get("topic", "")

    @property
    def id(self) -> str:
        """The same for the same series always, and for no other."""
        key = f"{_series(self.measurement, dict(self.tags))} {self.field}"
        return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:24]


@dataclass(frozen=True)
class Finding:
    """An anomaly; times in ns, `value` and the expected range (`low`, `high`) in the unit of the measurement.

    `score`, from 0 or 1 up, is comparable within a kind: `statistic`, how many robust standard deviations off; `rate`,
    `gap`, how many times what is allowed; `low`, `high`, how far outside, relative to the width of the bounds (where
    there is only one, to its size). A gap has the time of the last point before it, and `until`, that of the next one
    (None: it goes on); `seconds` is how long it is, as far as it was looked at.
    """

    series: Series
    time: int
    kind: str
    rule: Rule
    score: float
    value: float | None = None
    low: float | None = None
    high: float | None = None
    until: int | None = None
    seconds: float | None = None

    @property
    def id(self) -> str:
        """Series, time and kind: what is found again is the same anomaly."""
        return f"{self.series.id}-{self.time}-{self.kind}"


def examine(
    series: Series,
    rule: Rule,
    points: Iterable[tuple[int, float]],
    *,
    reference: Reference | None = None,
    previous: int | None = None,
    right: tuple[int, float] | None = None,
    following: int | None = None,
    horizon: int | None = None,
) -> Iterator[Finding]:
    """What a rule finds in points (time in ns, value) of a series, which are in the order of time.

    Of the time before them: `previous` is the time of the last point, `right` the last point within the bounds,
    `reference` what values are compared with (see reference_of); of the time after them, `following` is the time of the
    first point. Where there is none, the series is known to have no point up to `horizon` (None: that is not known).

    A value outside the bounds is only that: it is not compared with others, nor others with it. A change is allowed to
    be `change` within `span`, and proportionally more where points are further apart.
    """
    last = previous
    for time, value in points:
        if rule.gap is not None and last is not None and time - last > rule.gap:
            yield _gap(series, rule, last, time, time)
        last = time
        if rule.low is not None and value < rule.low:
            yield _outside(series, rule, time, value, "low", rule.low - value)
            continue
        if rule.high is not None and value > rule.high:
            yield _outside(series, rule, time, value, "high", value - rule.high)
            continue
        if rule.change is not None:
            if right is not None:
                allowed = rule.change * max(1.0, (time - right[0]) / rule.span)
                score = abs(value - right[1]) / allowed
                if score > 1:
                    yield Finding(series, time, "rate", rule, score, value, right[1] - allowed, right[1] + allowed)
            right = (time, value)
        if reference is not None:
            expected = reference.expected(time)
            if expected is not None:
                score = abs(value - expected.center) / (expected.below if value < expected.center else expected.above)
                if score > reference.threshold:
                    low = expected.center - reference.threshold * expected.below
                    high = expected.center + reference.threshold * expected.above
                    yield Finding(series, time, "statistic", rule, score, value, low, high)
            reference.add(time, value)
    if rule.gap is not None and last is not None:
        end = following if following is not None else horizon
        if end is not None and end - last > rule.gap:
            yield _gap(series, rule, last, following, end)


def _outside(series: Series, rule: Rule, time: int, value: float, kind: str, beyond: float) -> Finding:
    low, high = rule.low, rule.high
    width = high - low if low is not None and high is not None else abs(present(low if kind == "low" else high))
    return Finding(series, time, kind, rule, beyond / (width or 1.0), value, low, high)


def _gap(series: Series, rule: Rule, last: int, until: int | None, end: int) -> Finding:
    length = end - last
    return Finding(
        series, last, "gap", rule, length / max(1, present(rule.gap)), until=until, seconds=round(length / NS, 3)
    )


# -- what values are compared with ------------------------------------------------------------------------------------


class Reference:
    """The points that a point is compared with, thinned: of each bin of time the first."""

    def __init__(self, statistic: Statistic, bin_length: int) -> None:
        self.threshold = statistic.threshold
        self._statistic = statistic
        self._bin_length = bin_length
        self._newest_bin: int | None = None

    def expected(self, time: int) -> Spread | None:
        """What values are at that time; None where there are too few points to tell, or all have one value."""
        raise NotImplementedError

    def add(self, time: int, value: float) -> None:
        """Takes the next point, in the order of time."""
        number = time // self._bin_length
        if number != self._newest_bin:
            self._newest_bin = number
            self._keep(number * self._bin_length, value)

    def _keep(self, start: int, value: float) -> None:
        """Takes the first point of the bin that begins at `start`."""
        raise NotImplementedError

    def _robust(self, ordered: Sequence[float]) -> Spread | None:
        if len(ordered) < self._statistic.min_points:
            return None
        told = robust(ordered, self._statistic.min_scale)
        if told is None:
            return None
        factor = uncertainty(len(ordered))
        return Spread(told.center, told.below * factor, told.above * factor)


class Spread(NamedTuple):
    """The median of values, and the robust standard deviation of those below and above it."""

    center: float
    below: float
    above: float


def robust(ordered: Sequence[float], min_scale: float = 0.0) -> Spread | None:
    """The median and the robust standard deviations of values in order.

    These are the median absolute deviation times 1.4826; where more than half of the values are the same, that is 0,
    and the mean absolute deviation times 1.2533 is taken (B. Iglewicz, D. Hoaglin: How to Detect and Handle Outliers,
    ASQC 1993). So half of the values decide; but a room that is used a third of the day is not out of order then.
    Therefore they are at least what they are in a normal distribution that has the same lowest twentieth part of its
    values, and above, the same highest. They are never below `min_scale`, nor below the smallest step between two of
    the values, since a sensor cannot tell less than that. None where all values are the same and `min_scale` is 0:
    nothing can be said.
    """
    center = _median(ordered)
    deviations = sorted(abs(value - center) for value in ordered)
    scale = _median(deviations) * MAD_TO_SIGMA
    if not scale:
        scale = math.fsum(deviations) / len(deviations) * MEAN_TO_SIGMA
    steps = (after - before for before, after in zip(ordered, ordered[1:]))  # noqa: B905 (3.9)
    step = min((step for step in steps if step > 0), default=0.0)
    scale = max(scale, step, min_scale)
    inner = math.ceil(TAIL * (len(ordered) - 1))  # one of 20 values or fewer is never decisive
    below = max(scale, (center - ordered[inner]) / TAIL_TO_SIGMA)
    above = max(scale, (ordered[-1 - inner] - center) / TAIL_TO_SIGMA)
    return Spread(center, below, above) if scale > 0 and math.isfinite(below + above) else None


def uncertainty(count: int) -> float:
    """By how much a robust standard deviation of so few values is raised.

    Of few values it is often far too small by chance. So raised, one normal value in a thousand is off by more than 3.3
    of them, whether it is compared with 8 values or with 168: the formula fits that quantile in a simulation of 20,000
    samples for each of 8, 10, 12, 14, 20, 24, 48, 84 and 168 values.
    """
    return 1 + math.pow(12 / count, 1.6)


def _median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else ordered[middle - 1] / 2 + ordered[middle] / 2


class Rolling(Reference):
    """The points of the last hours."""

    def __init__(self, statistic: Statistic) -> None:
        super().__init__(statistic, rolling_bin(statistic))
        self._kept: deque[tuple[int, float]] = deque()
        self._ordered: list[float] = []
        self._told: Spread | None = None
        self._changed = True

    def expected(self, time: int) -> Spread | None:
        oldest = rolling_start(self._statistic, time)
        while self._kept and self._kept[0][0] < oldest:
            _start, value = self._kept.popleft()
            del self._ordered[bisect_left(self._ordered, value)]
            self._changed = True
        if self._changed:
            self._told = self._robust(self._ordered)
            self._changed = False
        return self._told

    def _keep(self, start: int, value: float) -> None:
        self._kept.append((start, value))
        insort(self._ordered, value)
        self._changed = True


def rolling_bin(statistic: Statistic) -> int:
    """Length of a bin of a rolling reference in ns: whole seconds."""
    return max(1, round(statistic.hours * 3600 / BINS)) * NS


def rolling_start(statistic: Statistic, time: int) -> int:
    """Where the reference of a point begins: at the begin of a bin."""
    length = rolling_bin(statistic)
    return (time - round(statistic.hours * _HOUR)) // length * length


class Seasonal(Reference):
    """The points at the same hour of the day, or of the week, on the days before."""

    def __init__(self, statistic: Statistic) -> None:
        super().__init__(statistic, SEASON_BIN)
        self._zone = present(_zone(statistic.time_zone))
        self._days = SEASON_DAYS[statistic.season]
        self._kept: dict[tuple[int, int], list[float]] = {}
        self._asked: tuple[int, int] | None = None
        self._told: Spread | None = None
        self._newest_day = 0

    def expected(self, time: int) -> Spread | None:
        slot = self._slot(time)
        if slot != self._asked:
            day, hour = slot
            days = (day - back * self._days for back in range(1, self._statistic.periods + 1))
            self._told = self._robust(sorted(value for day in days for value in self._kept.get((day, hour), ())))
            self._asked = slot
        return self._told

    def _keep(self, start: int, value: float) -> None:
        day, hour = self._slot(start)
        self._kept.setdefault((day, hour), []).append(value)
        if day > self._newest_day:
            self._newest_day = day
            oldest = day - (self._statistic.periods + 1) * self._days
            for slot in [slot for slot in self._kept if slot[0] < oldest]:
                del self._kept[slot]

    def _slot(self, time: int) -> tuple[int, int]:
        """The day (a number) and the hour, in the statistic's time zone."""
        if self._zone is timezone.utc:
            day, rest = divmod(time, _DAY)
            return day + _EPOCH_DAY, rest // _HOUR
        moment = datetime.fromtimestamp(time // NS, timezone.utc).astimezone(self._zone)
        return moment.toordinal(), moment.hour


def reference_of(statistic: Statistic | None, sample: Iterable[tuple[int, float]] = ()) -> Reference | None:
    """What points are compared with, from a sample of those before them: (time in ns, value), in the order of time.

    The sample has to have what `context` says; None where nothing is compared.
    """
    if statistic is None:
        return None
    reference: Reference = Rolling(statistic) if statistic.method == "rolling" else Seasonal(statistic)
    for time, value in sample:
        reference.add(time, value)
    return reference


@dataclass(frozen=True)
class Context:
    """What a reference needs of the time before the points: the first point of each bin of `bin_length`, in each of
    `spans` (from, to), in the order of time; all in ns."""

    bin_length: int
    spans: tuple[tuple[int, int], ...]


def context(statistic: Statistic | None, start: int, end: int) -> Context | None:
    """What the reference of points with `start` <= time < `end` needs of the time before `start`."""
    if statistic is None:
        return None
    if statistic.method == "rolling":
        return Context(rolling_bin(statistic), ((rolling_start(statistic, start), start),))
    # Hours of other zones begin elsewhere, and move by an hour when clocks are changed.
    margin = 0 if statistic.time_zone == "UTC" else _HOUR
    period = SEASON_DAYS[statistic.season] * _DAY
    first, last = start // _HOUR * _HOUR - margin, -(-end // _HOUR) * _HOUR + margin
    spans = [(first - back * period, min(start, last - back * period)) for back in range(statistic.periods, 0, -1)]
    return Context(SEASON_BIN, tuple(merged(spans)))


def merged(spans: Iterable[tuple[int, int]], near: int = 0) -> list[tuple[int, int]]:
    """Spans (from, to) in order, those that overlap, or lie at most `near` apart, put together; empty ones left out."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if found and start <= found[-1][1] + near:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
