# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time series in InfluxDB, through the v1 API (`/write`, `/query`), which InfluxDB 2 also serves."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..errors import InvalidInput, NotFound, StoreError
from ..points import ORIGIN, Point, to_line
from ..records import Record
from ..times import format_time, parse_time
from .base import Origin, Sink, Writer

if TYPE_CHECKING:
    import requests

MAX_BODY = 8 * 1024 * 1024
CHUNK = 10_000
"""Rows that InfluxDB sends at a time where an answer is read as a stream."""
LOGGED_SERIES = 50
"""So many measurements and topics, with the times of their points, a log says of an object; of one that has more, only
the time of all."""
NUMBERS = ("float", "integer")
"""Types of fields that are numbers."""
_DATA_REFUSED = (400, 413, 422)


def quote(identifier: str) -> str:
    """A database, measurement or user as InfluxQL writes it. Errors: InvalidInput for what InfluxQL can't write."""
    if "\r" in identifier:
        raise InvalidInput("a name in InfluxDB has no carriage return; leave it out")
    return '"' + identifier.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


class Rows(NamedTuple):
    """Rows of one series in the answer to a query of several statements; a series can come in several parts, one after
    the other. `statement` counts from 0; times are ns since the epoch; `tags` without empty ones."""

    statement: int
    measurement: str
    tags: dict[str, str]
    values: list[list[Any]]


class InfluxDB:
    """One InfluxDB server. Writes are idempotent: the same series and time is the same point, so all may be retried.

    `readers` are the users that may read every database that `ensure_database` makes.

    Errors of every method: StoreError; it is retriable unless InfluxDB refused the data (or the query) itself.
    """

    def __init__(
        self,
        url: str,
        username: str,
        password: str,
        *,
        ca_file: str | None = None,
        timeout: float = 30.0,
        readers: Iterable[str] = (),
    ) -> None:
        self.url = url.rstrip("/")
        self._credentials = (username, password)
        self._ca_file = ca_file
        self._timeout = timeout
        self._readers = frozenset(readers)
        self._http: requests.Session | None = None
        self._ensured: set[tuple[str, frozenset[str]]] = set()

    @property
    def _session(self) -> requests.Session:
        if self._http is None:
            import requests
            from requests.adapters import HTTPAdapter
            from urllib3.util.retry import Retry

            session = requests.Session()
            session.auth = self._credentials
            session.verify = self._ca_file or True
            session.trust_env = False  # no proxy between zones, no .netrc in place of the credentials given
            retry = Retry(
                total=4,
                backoff_factor=0.3,
                status_forcelist=(502, 503, 504),
                allowed_methods=None,
                raise_on_status=False,
                redirect=0,
            )
            session.mount("https://", HTTPAdapter(max_retries=retry))
            session.mount("http://", HTTPAdapter(max_retries=retry))
            self._http = session
        return self._http

    def _post(self, path: str, *, params: Mapping[str, str], data: Any, stream: bool = False) -> requests.Response:
        import requests

        try:
            answer = self._session.post(
                self.url + path, params=dict(params), data=data, timeout=self._timeout, stream=stream
            )
        except requests.RequestException as error:
            raise StoreError(f"InfluxDB at {self.url} did not answer: {error}", retriable=True) from error
        if answer.status_code >= 300:
            message = _error_of(answer)
            # A user who is no administrator is not told that there is no database, but that he may not read it.
            if "database not found" in message or "requires READ on" in message:
                raise NotFound(f"InfluxDB: {message}")
            raise StoreError(
                f"InfluxDB answered {answer.status_code} to {path}: {message}",
                retriable=answer.status_code not in _DATA_REFUSED,
                status=answer.status_code,
            )
        return answer

    def ensure_database(self, name: str, readers: Iterable[str] = ()) -> None:
        """Makes the database, and lets `readers` and those of all databases read it. Needs an administrator's account.

        A reader whom the server does not know is left out: of the two accounts of a service one may not be there.
        Asked once in a process: nothing is sent when it was done before.
        """
        wanted = (name, self._readers | frozenset(readers))
        if wanted in self._ensured:
            return
        self._results(f"CREATE DATABASE {quote(name)}", None, None)
        if wanted[1]:
            # After the database is there: an account that is made from now on is let read what the other one may.
            known = self._users()
            grants = [f"GRANT READ ON {quote(name)} TO {quote(reader)}" for reader in sorted(wanted[1] & known)]
            if grants:
                self._results("; ".join(grants), None, None)
        self._ensured.add(wanted)

    def _users(self) -> frozenset[str]:
        return frozenset(row["user"] for row in self.query(None, "SHOW USERS"))

    def write(self, database: str, points: Iterable[Point], batch: int = 5000, origin: str = "") -> int:
        """Writes points, `batch` at a time, and says how many. The points may come from a generator of any length.

        `origin` is written with each of them (see points.ORIGIN).
        """
        return self.write_lines(database, (to_line(point, origin) for point in points), batch)

    def write_lines(self, database: str, lines_: Iterable[str], batch: int = 5000) -> int:
        """`write` for points in InfluxDB's line protocol."""
        total = 0
        for lines in _batches(lines_, batch):
            try:
                self._post("/write", params={"db": database, "precision": "ns"}, data="\n".join(lines).encode())
            except NotFound as error:
                self._ensured = {item for item in self._ensured if item[0] != database}
                raise StoreError(f"{error}: it has to be made before it is written", retriable=True) from error
            total += len(lines)
        return total

    def query(
        self, database: str | None, influxql: str, params: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """The rows of a query, each {column: value, tag: value}; times are ns since the epoch.

        `params` fill the `$name` placeholders of WHERE clauses. Errors: NotFound when the database is none.
        """
        rows = []
        for result in self._results(influxql, database, params):
            for series in result.get("series", ()):
                for values in series.get("values", ()):
                    row = dict(series.get("tags", {}))
                    row.update(zip(series["columns"], values))  # noqa: B905 (3.9)
                    rows.append(row)
        return rows

    def _results(self, influxql: str, database: str | None, params: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        query = {"epoch": "ns"}
        if database is not None:
            query["db"] = database
        form = {"q": influxql}
        if params:
            form["params"] = json.dumps(params)
        answer = self._post("/query", params=query, data=form)
        try:
            results = answer.json()["results"]
        except (ValueError, KeyError, TypeError):
            raise StoreError(f"InfluxDB did not answer with results: {answer.text[:200]!r}", retriable=True) from None
        for result in results:
            _raise_refused(result, database)
        return list(results)

    def stream(
        self, database: str, statements: Sequence[str], params: Mapping[str, Any] | None = None
    ) -> Iterator[Rows]:
        """The rows of queries as they come, series by series, in memory that has a bound whatever their number.

        `params` as for `query`, shared by all statements. Errors: NotFound when the database is none.
        """
        import requests

        form = {"q": "; ".join(statements)}
        if params:
            form["params"] = json.dumps(params)
        query = {"epoch": "ns", "db": database, "chunked": "true", "chunk_size": str(CHUNK)}
        with contextlib.closing(self._post("/query", params=query, data=form, stream=True)) as answer:
            try:
                for line in answer.iter_lines(chunk_size=256 * 1024):
                    if line:
                        yield from _rows(json.loads(line), database)
            except (requests.RequestException, ValueError, KeyError, TypeError) as error:
                raise StoreError(f"InfluxDB at {self.url} broke off its answer: {error}", retriable=True) from error

    def measurements(self, database: str) -> list[str]:
        """The measurements of a database, sorted; none where there is no database (or none that may be read)."""
        return self._names(database, "SHOW MEASUREMENTS", "name")

    def topics(self, database: str, measurement: str) -> list[str]:
        """The topics that a measurement has points of, sorted."""
        return self._names(database, f'SHOW TAG VALUES FROM {quote(measurement)} WITH KEY = "topic"', "value")

    def fields(self, database: str) -> dict[str, dict[str, str]]:
        """The fields of each measurement, with their types (float, integer, string, boolean; where shards differ, a
        type that is a number). Errors: NotFound when the database is none."""
        found: dict[str, dict[str, str]] = {}
        for rows in self.stream(database, ["SHOW FIELD KEYS"]):
            types = found.setdefault(rows.measurement, {})
            for name, kind in rows.values:
                if types.get(name) not in NUMBERS:
                    types[name] = kind
        return found

    def all_topics(self, database: str) -> dict[str, list[str]]:
        """The topics that each measurement has points of, sorted; a measurement without topics is not there.

        Errors: NotFound when the database is none."""
        found: dict[str, set[str]] = {}
        for rows in self.stream(database, ['SHOW TAG VALUES WITH KEY = "topic"']):
            found.setdefault(rows.measurement, set()).update(value for _key, value in rows.values)
        return {measurement: sorted(topics) for measurement, topics in found.items()}

    def _names(self, database: str, influxql: str, column: str) -> list[str]:
        try:
            return sorted({str(row[column]) for row in self.query(database, influxql)})
        except NotFound:
            return []

    def points(
        self,
        database: str,
        measurement: str,
        topic: str | Sequence[str] | None = None,
        start: datetime | str | int | None = None,
        end: datetime | str | int | None = None,
        limit: int = 1000,
        after: str | None = None,
        origins: bool = False,
        descending: bool = False,
        fields: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Points in the order of time, or `descending`: `{time (ISO 8601 UTC), value, **tags}`; `start` <= time <
        `end`, of one topic, several or (None) all, with all `fields` or some (then without `origins`, and only points
        that have one of them).

        Times are datetimes, ISO 8601 texts or ns. `after` is what `cursor` made of the page before. With `origins` each
        has `lake_origin`: `{object, operation}` of the metadata document that it comes from (null: not known).
        Errors: InvalidInput for a bad time or cursor.
        """
        where, values = [], {}
        topics = [topic] if isinstance(topic, str) else list(topic or ())
        if topics:
            values = {f"topic{number}": name for number, name in enumerate(topics)}
            where.append(f"({' OR '.join(f'topic = ${key}' for key in values)})")
        first, skip = _parse_cursor(after)
        begin, stop = _ns(start), _ns(end)
        if first is not None and descending:
            if stop is not None and stop <= first:
                skip = 0
            else:
                stop = first + 1
        elif first is not None:
            if begin is not None and begin > first:
                skip = 0
            else:
                begin = first
        if begin is not None:
            where.append(f"time >= {begin}")
        if stop is not None:
            where.append(f"time < {stop}")
        wanted = "*"
        if fields is not None:
            wanted = ", ".join(f"{quote(name)}::field" for name in dict.fromkeys(fields)) + ", *::tag"
        influxql = f"SELECT {wanted} FROM {quote(measurement)}"  # noqa: S608 (quoted; values are parameters)
        influxql += f" WHERE {' AND '.join(where)}" if where else ""
        order = "DESC" if descending else "ASC"
        influxql += f" ORDER BY time {order} LIMIT {int(limit)}" + (f" OFFSET {skip}" if skip else "")
        try:
            rows = self.query(database, influxql, values)
        except NotFound:
            return []
        points = []
        for row in rows:
            origin = row.pop(ORIGIN, None)
            point = {key: value for key, value in row.items() if value is not None}
            point["time"] = format_time(row["time"])
            if origins:
                point[ORIGIN] = dict(zip(("object", "operation"), origin.split("/"))) if origin else None  # noqa: B905
            points.append(point)
        return points

    def points_of(
        self, database: str, origin: str, series: Sequence[Mapping[str, str]], limit: int
    ) -> list[dict[str, Any]]:
        """The points that are of an origin (`<object id>/<operation>`, see points.ORIGIN), at most `limit`, always in
        the same order: `{measurement, time, value, **tags}`. `series` is what the operation's log has of them
        (`{measurement, topic, from, to}`): only there is looked. What was written over since is another's."""
        statements, params = [], {"origin": origin}
        for number, one in enumerate(series):
            source = quote(one["measurement"]) if "measurement" in one else "/.*/"
            where = [
                f"{quote(ORIGIN)} = $origin",
                f"time >= {parse_time(one['from'])}",
                f"time <= {parse_time(one['to'])}",
            ]
            if "measurement" in one:
                where.append(f"topic = $topic{number}")
                params[f"topic{number}"] = one.get("topic", "")
            statement = f"SELECT * FROM {source} WHERE {' AND '.join(where)}"  # noqa: S608 (values are parameters)
            statements.append(f"{statement} ORDER BY time ASC LIMIT {int(limit)}")
        try:
            results = self._results("; ".join(statements), database, params) if statements else []
        except NotFound:
            return []
        found = []
        for result in results:
            for part in result.get("series", ()):
                for values in part["values"]:
                    row = dict(zip(part["columns"], values))  # noqa: B905 (3.9)
                    row.pop(ORIGIN, None)
                    point = {key: value for key, value in row.items() if value is not None}
                    found.append({"measurement": part["name"], **point, "time": format_time(row["time"])})
        return found[:limit]

    @staticmethod
    def cursor(items: Sequence[Mapping[str, Any]], after: str | None = None) -> str | None:
        """The `after` of the page that follows `items`, which `points` gave for `after`; None after an empty page.

        Several series can have a point at the same time: the cursor is that time, and how many of it were seen.
        """
        if not items:
            return None
        last = items[-1]["time"]
        same = len(list(itertools.takewhile(lambda item: item["time"] == last, reversed(items))))
        time = parse_time(last)
        first, skip = _parse_cursor(after)
        if same == len(items) and time == first:
            same += skip
        return f"{time}.{same}"


class InfluxDBSink(Sink):
    """Points, in the database of their container. A point is what its series and time say: the newest write stands."""

    name: ClassVar[str] = "influxdb"
    accepts: ClassVar[tuple[type, ...]] = (Point,)
    replaces: ClassVar[bool] = False

    def __init__(self, influxdb: InfluxDB) -> None:
        self.influxdb = influxdb

    def writer(self, origin: Origin) -> Writer:
        """Writes at once what it is given: points cannot be taken back, and need not be."""
        return _PointWriter(self.influxdb, origin)

    def write(self, outputs: Sequence[tuple[Origin, Sequence[Record]]]) -> list[dict[str, Any]]:
        """All points in as few requests as their number allows."""
        for store in {origin.store for origin, _records in outputs}:
            same = [(_origin_text(origin), records) for origin, records in outputs if origin.store == store]
            self.influxdb.ensure_database(store)
            lines = (to_line(point, origin) for origin, records in same for point in _points(records))
            self.influxdb.write_lines(store, lines)
        said = []
        for origin, records in outputs:
            seen = _Seen()
            for point in _points(records):
                seen.add(point)
            said.append({"database": origin.store, "points": len(records), **seen.told()})
        return said


class _PointWriter(Writer):
    def __init__(self, influxdb: InfluxDB, origin: Origin) -> None:
        self._influxdb = influxdb
        self._origin = origin
        self._count = 0
        self._seen = _Seen()

    def add(self, records: Iterable[Record]) -> None:
        self._influxdb.ensure_database(self._origin.store)
        points = map(self._seen.add, _points(records))
        self._count += self._influxdb.write(self._origin.store, points, origin=_origin_text(self._origin))

    def commit(self) -> dict[str, Any]:
        return {"database": self._origin.store, "points": self._count, **self._seen.told()}

    def close(self) -> None:
        """There is nothing to free."""


def _points(records: Iterable[Record]) -> Iterator[Point]:
    for record in records:
        if not isinstance(record, Point):
            raise TypeError(f"InfluxDB keeps points, not {type(record).__name__}")
        yield record


class _Seen:
    """Of which series an object has points, and of which time: by that it is known what came late."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], list[int]] = {}
        self._all: list[int] = []

    def add(self, point: Point) -> Point:
        time = point.time
        if not self._all:
            self._all = [time, time]
        for span in (self._all, self._span(point)):
            if span:
                if time < span[0]:
                    span[0] = time
                elif time > span[1]:
                    span[1] = time
        return point

    def _span(self, point: Point) -> list[int] | None:
        key = (point.measurement, point.tags.get("topic", ""))
        span = self._series.get(key)
        if span is None and len(self._series) <= LOGGED_SERIES:
            span = self._series[key] = [point.time, point.time]
        return span

    def told(self) -> dict[str, Any]:
        """`series`: {measurement, topic, from, to (ISO 8601; both are times of points)}; of too many, `from` and `to`
        of all."""
        if not self._all:
            return {}
        if len(self._series) > LOGGED_SERIES:
            return {"series": [{"from": format_time(self._all[0]), "to": format_time(self._all[1])}]}
        return {
            "series": [
                {"measurement": measurement, "topic": topic, "from": format_time(first), "to": format_time(last)}
                for (measurement, topic), (first, last) in sorted(self._series.items())
            ]
        }


def _origin_text(origin: Origin) -> str:
    return f"{origin.object_id}/{origin.operation}"


def _raise_refused(result: Mapping[str, Any], database: str | None) -> None:
    """Raises what the result of a statement says of an error, if it does."""
    if "error" in result:
        message = str(result["error"])
        if "database not found" in message:
            raise NotFound(f"InfluxDB: {message}", database=database)
        raise StoreError(f"InfluxDB refused the query: {message}", retriable="timeout" in message)


def _rows(part: Mapping[str, Any], database: str) -> Iterator[Rows]:
    _raise_refused(part, database)
    for result in part["results"]:
        _raise_refused(result, database)
        for series in result.get("series", ()):
            tags = {key: value for key, value in series.get("tags", {}).items() if value}
            yield Rows(result["statement_id"], series["name"], tags, series.get("values", []))


def _error_of(answer: requests.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200] or answer.reason


def _ns(moment: datetime | str | int | None) -> int | None:
    return moment if moment is None or isinstance(moment, int) else parse_time(moment)


def _parse_cursor(after: str | None) -> tuple[int | None, int]:
    if not after:
        return None, 0
    time, _dot, skip = after.partition(".")
    try:
        if not skip.isascii() or not skip.isdigit():
            raise ValueError
        return int(time), int(skip)
    except ValueError:
        raise InvalidInput(f"{after!r:.60} is not the cursor of a page of points") from None


def _batches(lines: Iterable[str], count: int) -> Iterator[list[str]]:
    """Lists of at most `count` lines, and not much over MAX_BODY characters."""
    batch: list[str] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += len(line)
        if len(batch) >= count or size >= MAX_BODY:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
