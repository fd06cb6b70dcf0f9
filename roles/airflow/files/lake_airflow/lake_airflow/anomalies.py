# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look for anomalies in the time series of every container, and keep what is found.

The workflow ``detect_anomalies`` looks at what is new since its last run; the command ``lake-airflow-anomalies`` does
the same now, or looks at a container and a range of time. What a series is judged by, and what is kept, is the
library's (``anomalies``, ``anomaly_store``); here it is read from InfluxDB, a page of series and a piece of time at a
time:

- all series, from where the last run ended, less an overlap, to a few minutes ago;
- a series that was silent and is not any more, from its last point on that was looked at;
- what newly processed objects have written for earlier times, as their operations tell.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from neocampus_lake.anomalies import Finding, Rule, Rules, Series, context, examine, merged, reference_of
from neocampus_lake.anomaly_store import AnomalyStore, Tally, document_of, shown
from neocampus_lake.documents import to_json, utc
from neocampus_lake.errors import InvalidInput, LakeError, NotFound, StoreError
from neocampus_lake.metadata import MetadataStore
from neocampus_lake.processing import RunInfo
from neocampus_lake.sinks.influxdb import NUMBERS, InfluxDB, Rows, quote
from neocampus_lake.times import NS, parse_time

from lake_airflow import stores

if TYPE_CHECKING:
    from pymongo import MongoClient

log = logging.getLogger(__name__)

PAGE = 200  # topics whose series are read together
UNITS = 50  # queries in one request
HOUR = 3600 * NS
DAY = 24 * HOUR
LONGEST = 30 * DAY  # a piece of time of few series
MARGIN = timedelta(minutes=10)  # processes' clocks differ, and a document's date is taken before it is written
AWAY = 3  # after so many containers that fail because of a store, it is taken to be away
SHOWN = 1000  # findings that a dry run lists

Span = tuple[int, int]


@dataclass(frozen=True)
class Limits:
    """What is looked at of it, and by what, where a container says nothing."""

    overlap: int
    delay: int
    first: int
    default: Mapping[str, Any]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Limits:
        """As ``lake.json`` has them."""
        given = config["anomalies"]
        return cls(
            overlap=given["overlap_minutes"] * 60 * NS,
            delay=given["delay_minutes"] * 60 * NS,
            first=given["first_days"] * DAY,
            default=given["default"],
        )


@dataclass(frozen=True)
class Unit:
    """Series for which the same rule holds: those of a field of a measurement that have one of these topics (the empty
    text: no topic)."""

    measurement: str
    field: str
    rule: Rule
    topics: tuple[str, ...]

    @property
    def looks(self) -> bool:
        """Whether its rule looks for anything."""
        rule = self.rule
        return any(part is not None for part in (rule.low, rule.high, rule.change, rule.gap, rule.statistic))


class Page(NamedTuple):
    """Units that are read together."""

    units: list[Unit]

    @property
    def scope(self) -> Iterator[tuple[str, str, str]]:
        """Each (measurement, field, topic)."""
        return ((unit.measurement, unit.field, topic) for unit in self.units for topic in unit.topics)


@dataclass
class Report:
    """What became of a container: how many points were looked at, in how many pieces of time and series, and what
    ``tally`` says of the anomalies; ``findings`` of a dry run."""

    container: str
    project_id: str
    points: int = 0
    pieces: int = 0
    tally: Tally = field(default_factory=Tally)
    findings: list[dict[str, Any]] = field(default_factory=list)


class Catalogue:
    """What a container's database has: numeric fields and topics of each measurement. Errors: NotFound when there is no
    database."""

    def __init__(self, influxdb: InfluxDB, store: str) -> None:
        fields = influxdb.fields(store)
        self._topics = influxdb.all_topics(store)
        self._fields = {
            measurement: sorted(name for name, kind in types.items() if kind in NUMBERS)
            for measurement, types in sorted(fields.items())
        }

    def pages(self, rules: Rules, wanted: Iterable[tuple[str | None, str | None]] | None = None) -> Iterator[Page]:
        """All series, or those of the ``wanted`` (measurement, topic); None stands for any."""
        only = None if wanted is None else set(wanted)
        units: list[Unit] = []
        count = 0
        for unit in self._units(rules, None if only is None or (None, None) in only else only):
            if units and (count + len(unit.topics) > PAGE or len(units) >= UNITS):
                yield Page(units)
                units, count = [], 0
            units.append(unit)
            count += len(unit.topics)
        if units:
            yield Page(units)

    def _units(self, rules: Rules, only: set[tuple[str | None, str | None]] | None) -> Iterator[Unit]:
        for measurement, fields in self._fields.items():
            topics = ["", *self._topics.get(measurement, ())]
            if only is not None and (measurement, None) not in only:
                topics = [topic for topic in topics if (measurement, topic) in only]
            for name in fields:
                by_rule: dict[Rule, list[str]] = defaultdict(list)
                for topic in topics:
                    by_rule[rules.rule_for(measurement, topic, name)].append(topic)
                for rule, same in by_rule.items():
                    for start in range(0, len(same), PAGE):
                        yield Unit(measurement, name, rule, tuple(same[start : start + PAGE]))


class Question:
    """Statements for the units of a page, to be asked in one request."""

    def __init__(self, page: Page) -> None:
        self._names = {topic: f"t{number}" for number, topic in enumerate(sorted({key[2] for key in page.scope}))}
        self.params = {name: topic for topic, name in self._names.items()}
        self.statements: list[str] = []
        self.about: list[tuple[str, int]] = []

    def ask(self, about: str, number: int, unit: Unit, what: str, where: Sequence[str], group: str = "*") -> None:
        """Add a statement about the unit with that number: `what` of its field, a selector or nothing."""
        name = f"{quote(unit.field)}::float"
        topics = " OR ".join(f'"topic"::tag = ${self._names[topic]}' for topic in unit.topics)
        conditions = " AND ".join([f"({topics})", *where])
        fill = " fill(none)" if group != "*" else ""
        selected = f"{what}({name})" if what else name
        self.statements.append(
            f"SELECT {selected} FROM {quote(unit.measurement)} WHERE {conditions} GROUP BY {group}{fill}"  # noqa: S608
        )
        self.about.append((about, number))


def _right(unit: Unit) -> list[str]:
    """The condition that a value is within the bounds."""
    name, rule = f"{quote(unit.field)}::float", unit.rule
    found = [] if rule.low is None else [f"{name} >= {float(rule.low)!r}"]
    return found + ([] if rule.high is None else [f"{name} <= {float(rule.high)!r}"])


class _Known(NamedTuple):
    """A series of a unit, by what it has in its rows."""

    unit: int
    tags: tuple[tuple[str, str], ...]


class _Before:
    """What is known of the time before a piece, and after it, per series."""

    def __init__(self) -> None:
        self.previous: dict[_Known, int] = {}
        self.right: dict[_Known, tuple[int, float]] = {}
        self.following: dict[_Known, int] = {}
        self.newest: dict[_Known, int] = {}
        self.sample: dict[_Known, list[tuple[int, float]]] = defaultdict(list)

    def take(self, about: str, series: _Known, rows: Iterable[Sequence[Any]]) -> None:
        """Take rows [time, value] that answer a statement."""
        if about == "sample":
            self.sample[series].extend((time, float(value)) for time, value in rows)
            return
        for time, value in rows:
            if about == "right":
                self.right[series] = (time, float(value))
            else:
                getattr(self, about)[series] = time


class Detector:
    """Looks for anomalies. To look twice does no harm: the outcome is the same."""

    def __init__(
        self,
        client: MongoClient,
        influxdb: InfluxDB,
        limits: Limits,
        run: RunInfo,
        *,
        dry_run: bool = False,
        now: datetime | None = None,
    ) -> None:
        self._metadata = MetadataStore(client)
        self._store = AnomalyStore(client)
        self._influxdb = influxdb
        self._limits = limits
        self._run = run
        self._dry_run = dry_run
        self._now = utc(now)
        self._horizon = parse_time(self._now) - limits.delay
        self._default_version: int | None = None

    # -- what is looked at

    def check(self, container: str | None = None) -> list[Report]:
        """Look at what is new in every container (or those of that name).

        Errors, after all that could be done: NotFound where no container has that name; StoreError, LakeError.
        """
        return self._each(container, self._check)

    def examine(self, container: str, start: int, end: int | None = None) -> list[Report]:
        """Look at `start` <= time < `end` (ns; None, or later: to where all series are looked at) in the containers of
        that name.

        Errors: as check.
        """
        stop = self._horizon if end is None else min(end, self._horizon)
        return self._each(container, lambda known: self._range(known, start, stop))

    def _each(self, container: str | None, look: Callable[[Mapping[str, str]], Report]) -> list[Report]:
        containers = [known for known in self._metadata.registry() if container in (None, known["container"])]
        if container is not None and not containers:
            raise NotFound(f"no container {container!r} is known to the lake")
        self._default()
        reports, problems, away = [], [], 0
        for known in containers:
            try:
                reports.append(look(known))
            except LakeError as error:
                problems.append(f"container {known['store']}: {error}")
                log.error("%s", problems[-1])
                away += isinstance(error, StoreError)
                if away >= AWAY:
                    break
        if problems:
            raise StoreError("; ".join(problems[:AWAY])) if away else LakeError("; ".join(problems[:AWAY]))
        return reports

    def _default(self) -> int:
        """The version of the lake's default, which is written down where it is new."""
        if self._default_version is None:
            if self._dry_run:
                kept = self._store.default()
                self._default_version = kept["version"] if kept else 0
            else:
                self._default_version = self._store.declare_default(self._limits.default, self._run.dag_id)
        return self._default_version

    def _open(self, known: Mapping[str, str]) -> tuple[Rules, Catalogue | None]:
        rules = self._store.rules(known["store"], self._limits.default, self._default())
        try:
            return rules, Catalogue(self._influxdb, known["store"])
        except NotFound:  # nothing was ever written
            return rules, None

    def _range(self, known: Mapping[str, str], start: int, end: int) -> Report:
        report = Report(known["container"], known["project_id"])
        rules, catalogue = self._open(known)
        if catalogue is not None:
            self._spans(known, report, catalogue.pages(rules), [(start, end)])
        return report

    def _check(self, known: Mapping[str, str]) -> Report:
        store = known["store"]
        report = Report(known["container"], known["project_id"])
        rules, catalogue = self._open(known)
        if catalogue is None:
            return report
        progress = self._store.progress(store) or {}
        until, looked = progress.get("until"), progress.get("looked")
        start = self._horizon - self._limits.first if until is None else until - self._limits.overlap
        late = self._late(store, None if looked is None else looked - MARGIN, start)
        changed: list[tuple[Series, int]] = []
        for begin, end in _pieces(start, self._horizon, DAY):
            last = end == self._horizon
            for page in catalogue.pages(rules):
                newest = self._page(known, report, page, begin, end, newest=last)
                changed += self._changed(store, newest, start, first=looked is None, late=late)
            self._progress(store, until=end)
        by_spans: dict[tuple[Span, ...], list[tuple[str | None, str | None]]] = defaultdict(list)
        for key, spans in late.items():
            by_spans[tuple(merged(spans, near=HOUR))].append(key)
        for same, keys in by_spans.items():
            self._spans(known, report, catalogue.pages(rules, keys), same)
        # Only now: a run that is cut short leaves all that it noted as late to the next one.
        if not self._dry_run:
            self._store.set_newest(store, changed)
        self._progress(store, looked=self._now)
        return report

    def _progress(self, store: str, **values: Any) -> None:
        if not self._dry_run:
            self._store.set_progress(store, **values)

    def _late(self, store: str, since: datetime | None, start: int) -> dict[tuple[str | None, str | None], list[Span]]:
        """What was written since a date for times before ``start``, by (measurement, topic): spans of whole hours, and
        an hour more, since the next point may have changed more than it may since one that came late."""
        found: dict[tuple[str | None, str | None], list[Span]] = defaultdict(list)
        for written in self._store.written(store, since):
            begin = parse_time(written["from"]) // HOUR * HOUR
            end = min(start, (parse_time(written["to"]) // HOUR + 2) * HOUR)
            if begin < end:
                key = (written.get("measurement"), written.get("topic"))
                found[key] = merged([*found[key], (begin, end)], near=HOUR)
        return found

    def _changed(
        self,
        store: str,
        newest: Sequence[tuple[Series, int]],
        start: int,
        *,
        first: bool,
        late: dict[tuple[str | None, str | None], list[Span]],
    ) -> list[tuple[Series, int]]:
        """The series whose newest point is not the one that is known; of one that was silent before ``start`` and has
        newer points than were looked at, what is between becomes part of what is ``late``. In the ``first`` run all of
        it is looked at anyway."""
        before = self._store.newest(store, [series.id for series, _time in newest])
        changed = []
        for series, time in newest:
            known = before.get(series.id)
            if known != time:
                changed.append((series, time))
            if first or (known is not None and (known >= start or time <= known)):
                continue
            begin = self._horizon - self._limits.first if known is None else known - self._limits.overlap
            if begin < min(start, time + 1):
                late[series.measurement, series.topic].append((begin // HOUR * HOUR, start))
        return changed

    def _spans(self, known: Mapping[str, str], report: Report, pages: Iterable[Page], spans: Sequence[Span]) -> None:
        for page in pages:
            topics = sum(len(unit.topics) for unit in page.units)
            length = min(LONGEST, DAY * max(1, PAGE // topics))
            for start, stop in spans:
                for begin, end in _pieces(start, min(stop, self._horizon), length):
                    self._page(known, report, page, begin, end)

    # -- a page of series in a piece of time

    def _page(
        self, known: Mapping[str, str], report: Report, page: Page, start: int, end: int, *, newest: bool = False
    ) -> list[tuple[Series, int]]:
        """Looks at the series of a page in `start` <= time < `end`, and keeps what is found; with ``newest``, the time
        of the newest point of each before ``end``."""
        before = self._read_before(known["store"], page, start, end, newest)
        anomalies = self._store.known(known["store"], page.scope, start, end)
        findings = self._noted(report, self._findings(known["store"], report, page, start, end, before))
        tally = self._store.keep(
            known["store"],
            known["container"],
            findings,
            anomalies,
            run=self._run.run_id,
            now=self._now,
            dry_run=self._dry_run,
        )
        report.tally.add(tally)
        report.pieces += 1
        return [(_series(page, series), time) for series, time in before.newest.items()]

    def _noted(self, report: Report, findings: Iterable[Finding]) -> Iterator[Finding]:
        for finding in findings:
            if self._dry_run and len(report.findings) < SHOWN:
                report.findings.append(shown(document_of(finding, report.container)))
            yield finding

    def _read_before(self, store: str, page: Page, start: int, end: int, newest: bool) -> _Before:
        question = Question(page)
        for number, unit in enumerate(page.units):
            rule, right = unit.rule, _right(unit)
            if newest:
                question.ask("newest", number, unit, "LAST", [f"time < {end}"])
            if rule.gap is not None:
                question.ask("previous", number, unit, "LAST", [f"time < {start}"])
                if end < self._horizon:
                    question.ask("following", number, unit, "FIRST", [f"time >= {end}"])
            if rule.change is not None:
                question.ask("right", number, unit, "LAST", [*right, f"time < {start}"])
            needed = context(rule.statistic, start, end)
            for begin, stop in needed.spans if needed else ():
                group = f"time({needed.bin_length // NS}s), *" if needed else "*"
                question.ask("sample", number, unit, "FIRST", [*right, f"time >= {begin}", f"time < {stop}"], group)
        found = _Before()
        for about, series, rows in self._answers(store, question):
            found.take(about, series, rows.values)
        return found

    def _answers(self, store: str, question: Question) -> Iterator[tuple[str, _Known, Rows]]:
        if question.statements:
            for rows in self._influxdb.stream(store, question.statements, question.params):
                about, number = question.about[rows.statement]
                yield about, _Known(number, tuple(sorted(rows.tags.items()))), rows

    def _findings(
        self, store: str, report: Report, page: Page, start: int, end: int, before: _Before
    ) -> Iterator[Finding]:
        question = Question(page)
        for number, unit in enumerate(page.units):
            if unit.looks:
                question.ask("points", number, unit, "", [f"time >= {start}", f"time < {end}"])
        silent = dict(before.previous)
        parts = itertools.groupby(self._answers(store, question), key=lambda answer: answer[1])
        for known, answers in parts:
            silent.pop(known, None)
            points = (point for _about, _known, rows in answers for point in rows.values)
            yield from self._examine(page, known, before, self._counted(report, points))
        for known in silent:
            yield from self._examine(page, known, before, ())

    @staticmethod
    def _counted(report: Report, points: Iterable[Sequence[Any]]) -> Iterator[tuple[int, float]]:
        for time, value in points:
            report.points += 1
            yield time, float(value)

    def _examine(
        self, page: Page, known: _Known, before: _Before, points: Iterable[tuple[int, float]]
    ) -> Iterator[Finding]:
        rule = page.units[known.unit].rule
        return examine(
            _series(page, known),
            rule,
            points,
            reference=reference_of(rule.statistic, before.sample.pop(known, ())),
            previous=before.previous.get(known),
            right=before.right.get(known),
            following=before.following.get(known),
            horizon=self._horizon,
        )


def _series(page: Page, known: _Known) -> Series:
    unit = page.units[known.unit]
    return Series(unit.measurement, unit.field, dict(known.tags))


def _pieces(start: int, end: int, length: int) -> Iterator[Span]:
    """A span in pieces of at most that length, which begin at its multiples."""
    while start < end:
        stop = min(end, (start // length + 1) * length)
        yield start, stop
        start = stop


def detector(run: RunInfo, *, dry_run: bool = False) -> Detector:
    """One for the lake that ``lake.json`` describes."""
    config = stores.settings()
    influxdb = InfluxDB(**config["influxdb"], ca_file=config["ca_file"])
    return Detector(stores.mongodb(config), influxdb, Limits.of(config), run, dry_run=dry_run)


def check(run: RunInfo) -> None:
    """check() on the lake that ``lake.json`` describes."""
    for report in detector(run).check():
        log.info("container %s: %s", report.container, _told(report))


def _told(report: Report) -> str:
    tally = report.tally
    return (
        f"{report.points:,} points looked at in {report.pieces} pieces; anomalies: {tally.new} new,"
        f" {tally.changed} changed, {tally.removed} removed, {tally.same} as they were"
        + (f", {tally.kept} kept for they are acknowledged" if tally.kept else "")
    )


def _printed(report: Report) -> Iterator[str]:
    yield f"{report.container} ({report.project_id}): {_told(report)}"
    for found in report.findings:
        value = "" if found["value"] is None else f" {found['value']:g}"
        where = " ".join(filter(None, (found["measurement"], found["topic"], found["field"])))
        why = f"(score {found['score']:.1f}, rule {found['rule']['name']})"
        yield f"  {found['time']}  {found['kind']}  {where}{value}  {why}"


def _moment(text: str) -> int:
    try:
        return parse_time(text)
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main() -> int:
    """Entry point of ``lake-airflow-anomalies``: 0 where it could be done, 2 where not."""
    parser = argparse.ArgumentParser(
        description="Look for anomalies in time series: at what is new in every container, as the workflow"
        " detect_anomalies does, or at a range of time of a container. To look twice changes nothing.",
        epilog="Exit status: 0 it was done, 2 it could not be done.",
    )
    parser.add_argument("--container", metavar="NAME", help="only the containers of that name, of whichever project")
    parser.add_argument("--from", dest="start", type=_moment, metavar="TIME", help="ISO 8601: from this time on")
    parser.add_argument("--to", dest="end", type=_moment, metavar="TIME", help="before this time; left out: to now")
    parser.add_argument("--dry-run", action="store_true", help="keep nothing, only say what would be found")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if (arguments.start is not None or arguments.end is not None) and not (arguments.container and arguments.start):
        parser.error("a range of time needs --container and --from")
    if arguments.end is not None and arguments.end <= arguments.start:
        parser.error("--to has to be later than --from")
    now = utc()
    run = RunInfo("lake-airflow-anomalies", f"anomalies__{now:%Y-%m-%dT%H:%M:%S.%f}", now)
    try:
        looking = detector(run, dry_run=arguments.dry_run)
        if arguments.start is None:
            reports = looking.check(arguments.container)
        else:
            reports = looking.examine(arguments.container, arguments.start, arguments.end)
    except LakeError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps({"containers": [to_json(asdict(report)) for report in reports]}, indent=2))
    else:
        print("\n".join(line for report in reports for line in _printed(report)) or "no container is known to the lake")
    return 0


if __name__ == "__main__":
    sys.exit(main())
