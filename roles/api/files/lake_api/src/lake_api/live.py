# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""What happens to objects, as it happens: one change stream of MongoDB for all clients of a process.

A change on a metadata document (it is stored, an operation was logged on it) is told to those who listen to its
container, and so are the points that the operation has put in InfluxDB. An event's id is the change's resume token and
its number within the change: it means the same in every process, so that a client goes on where it was, wherever its
next connection ends. Changes between its last event and the process's place in the stream are read by a change stream
of its own, which begins at the time that is in the token.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal
import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import anyio
import pymongo
from bson import Timestamp
from fastapi.responses import Response
from neocampus_lake.documents import to_json
from neocampus_lake.states import DELETED, LOST, STORED
from pymongo.errors import OperationFailure, PyMongoError
from starlette.types import Receive, Scope, Send

from .errors import ApiError, ServiceAway, bad_request
from .settings import Live as Settings
from .stores import Stores, blocking

log = logging.getLogger("lake_api.live")

_ID = re.compile(r"(82[0-9A-F]{16,2000})\.(\d{1,9})")
_AWAIT_MS = 500  # how long MongoDB keeps a question open at most while nothing happens
_START_SECONDS = 10.0
_RETRY_SECONDS = 1.0
_CATCH_UP = 200  # changes that one step of catching up has at most
_HISTORY_LOST = (280, 286)
_PIPELINE: list[dict[str, Any]] = [
    {"$match": {"operationType": {"$in": ["insert", "update"]}}},
    {
        "$project": {
            "ns.coll": 1,
            "documentKey": 1,
            "fullDocument.status": 1,
            "updateDescription.updatedFields": 1,
        }
    },
]
_ALL = 999_999_999
"""In a place: the whole change was told."""
_POINTS_KEPT = 16  # operations whose points are kept for those who are told later
_OPERATIONS = {"successful_operations": "processed", "failed_operations": "failed"}


@dataclass(eq=False)
class Change:
    """What a change of a metadata document says: its token, the container's store, the object, and what happened to it
    in order: a status, and the operation where it is one."""

    token: str
    store: str
    object_id: str
    happened: list[tuple[str, Mapping[str, Any] | None]]


def change_of(raw: Mapping[str, Any]) -> Change | None:
    """What a change of MongoDB says, if it is one to tell."""
    happened: list[tuple[str, Mapping[str, Any] | None]] = []
    if raw.get("fullDocument", {}).get("status") == STORED:
        happened.append((STORED, None))
    updated = raw.get("updateDescription", {}).get("updatedFields", {})
    if updated.get("status") in (STORED, DELETED, LOST):
        happened.append((updated["status"], None))
    for name, value in updated.items():
        kind = _OPERATIONS.get(name.partition(".")[0])
        operation = value[-1] if isinstance(value, list) and value else value
        if kind and isinstance(operation, Mapping) and "operation_instance" in operation:
            happened.append((kind, operation))
    if not happened:
        return None
    return Change(raw["_id"]["_data"], raw["ns"]["coll"], str(raw["documentKey"]["_id"]), happened)


@dataclass(frozen=True)
class Place:
    """Where a client is: the token of a change, and the number of the last event of it that it has."""

    token: str
    number: int

    @classmethod
    def parse(cls, given: str) -> Place:
        """Of an event's id. ApiError 400."""
        found = _ID.fullmatch(given.strip())
        if found is None:
            raise bad_request(
                "header 'last-event-id': is not the id of an event of this path; leave it out to begin now",
                "invalid_event_id",
            )
        return cls(found[1], int(found[2]))

    def __str__(self) -> str:
        return f"{self.token}.{self.number}"

    @property
    def time(self) -> Timestamp:
        """The time that MongoDB's tokens begin with, after a byte that says that it is one."""
        return Timestamp(int(self.token[2:10], 16), int(self.token[10:18], 16))


class HistoryLost(Exception):
    """What happened after that place is no longer in MongoDB's log."""


class Watch:
    """A change stream, read by a thread of its own; `take` gets each change and the token where the stream is, in the
    event loop, `lost` is called where changes were missed."""

    def __init__(
        self,
        client: pymongo.MongoClient[dict[str, Any]],
        take: Callable[[Watch, Change | None, str], None],
        lost: Callable[[Watch], None],
    ) -> None:
        self._client, self._take, self._lost = client, take, lost
        self._loop = asyncio.get_running_loop()
        self._over = threading.Event()
        self.position: asyncio.Future[str] = self._loop.create_future()
        """Where the stream began."""
        self._thread = threading.Thread(target=self._run, name="lake-live", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let it end, soon."""
        self._over.set()

    def _run(self) -> None:
        token = None
        while not self._over.is_set():
            try:
                for change, place in self._read(token):
                    token = place
                    self._tell(self._take, self, change, place)
            except OperationFailure as error:
                if error.code not in _HISTORY_LOST:
                    self._failed(error)
                    continue
                log.error("changes were missed: %s", error)
                token = None
                self._tell(self._lost, self)
            except PyMongoError as error:
                self._failed(error)

    def _failed(self, error: PyMongoError) -> None:
        log.error("the change stream broke off, and is opened again: %s: %s", type(error).__name__, error)
        self._over.wait(_RETRY_SECONDS)

    def _read(self, token: str | None) -> Iterator[tuple[Change | None, str]]:
        place: dict[str, Any] = {} if token is None else {"resume_after": {"_data": token}}
        with self._client["swift"].watch(_PIPELINE, max_await_time_ms=_AWAIT_MS, **place) as stream:
            yield None, _token(stream)
            while not self._over.is_set():
                raw = stream.try_next()
                yield change_of(raw) if raw else None, _token(stream)

    def _tell(self, what: Callable[..., None], *given: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(what, *given)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self._over.set()


def _token(stream: Any) -> str:
    return str(stream.resume_token["_data"])


def catch_up(
    client: pymongo.MongoClient[dict[str, Any]], store: str, after: Place, until: str
) -> Iterator[list[Change]]:
    """The changes of a store from the place on (its own change too), up to the token `until`; blocks between them.

    Errors: HistoryLost; PyMongoError.
    """
    pipeline = [{"$match": {"ns.coll": store}}, *_PIPELINE]
    try:
        with client["swift"].watch(pipeline, max_await_time_ms=_AWAIT_MS, start_at_operation_time=after.time) as stream:
            while True:
                found: list[Change] = []
                while len(found) < _CATCH_UP:
                    raw = stream.try_next()
                    if raw is None:
                        break
                    change = change_of(raw)
                    if raw["_id"]["_data"] > until:
                        yield found
                        return
                    if change and change.token >= after.token:
                        found.append(change)
                yield found
                if _token(stream) >= until:
                    return
    except OperationFailure as error:
        if error.code in _HISTORY_LOST:
            raise HistoryLost from None
        raise


@dataclass(eq=False)
class Listener:
    """A client, and what it has still to be told."""

    store: str
    project_id: str
    most: int
    waiting: deque[Change] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    slow: bool = False
    lost: bool = False
    position: str = ""
    """Where the stream was when it began to listen, then where it is."""

    def take(self, change: Change | None, token: str) -> None:
        """A change, or only that the stream went on."""
        self.position = token
        if change is None or self.slow:
            return
        if len(self.waiting) >= self.most:
            self.slow = True
            self.waiting.clear()
        else:
            self.waiting.append(change)
        self.wake.set()


class Hub:
    """All who listen in this process."""

    def __init__(self, stores: Stores, settings: Settings) -> None:
        self._stores, self.settings = stores, settings
        self._listeners: dict[str, set[Listener]] = defaultdict(set)
        self._watch: Watch | None = None
        self._counts: dict[str, int] = defaultdict(int)
        self._points: OrderedDict[tuple[str, str], asyncio.Future[list[Any] | None]] = OrderedDict()
        self._position = ""
        self.closing = False

    @property
    def listeners(self) -> int:
        """How many there are."""
        return sum(self._counts.values())

    def close(self) -> None:
        """The process stops: all are told, and go on elsewhere."""
        self.closing = True
        if self._watch:
            self._watch.stop()
        for listener in self._all():
            listener.wake.set()

    async def listen(self, store: str, project_id: str) -> Listener:
        """A new listener, from now on. It has to be given back by `leave`.

        ApiError 429 where there are too many, 503 while the process stops or MongoDB is away.
        """
        most = self.settings.clients
        if self.closing:
            raise ServiceAway("The API", "this process of the API is about to stop; connect again")
        if self.listeners >= most or self._counts.get(project_id, 0) >= max(1, most // 2):
            raise ApiError(
                429,
                "too_many_listeners",
                f"a process of the API has {most} listeners at most, half of them of one project; end others, or try "
                "again later",
                headers={"Retry-After": "10"},
            )
        self._counts[project_id] += 1
        listener = Listener(store, project_id, self.settings.queue)
        try:
            watch = self._watch = self._watch or Watch(self._stores.client, self._take, self._lost)
            with anyio.fail_after(_START_SECONDS):
                await asyncio.shield(watch.position)
        except BaseException as error:
            self._gone(project_id)
            if isinstance(error, TimeoutError):
                raise ServiceAway("The metadata store") from None
            raise
        listener.position = self._position
        self._listeners[store].add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """It listens no more."""
        mine = self._listeners[listener.store]
        mine.discard(listener)
        if not mine:
            del self._listeners[listener.store]
        self._gone(listener.project_id)

    def _gone(self, project_id: str) -> None:
        self._counts[project_id] -= 1
        if not self._counts[project_id]:
            del self._counts[project_id]
        if not self._counts and self._watch:
            self._watch.stop()
            self._watch = None

    def _all(self) -> list[Listener]:
        return [listener for listeners in self._listeners.values() for listener in listeners]

    def _take(self, watch: Watch, change: Change | None, token: str) -> None:
        if watch is not self._watch:
            return
        self._position = token
        if not watch.position.done():
            watch.position.set_result(token)
        if change is None:
            for listener in self._all():
                listener.position = token
        else:
            for listener in self._listeners.get(change.store, ()):
                listener.take(change, token)

    def _lost(self, watch: Watch) -> None:
        if watch is self._watch:
            for listener in self._all():
                listener.lost = True
                listener.wake.set()

    async def points(self, change: Change, operation: Mapping[str, Any]) -> list[Any] | None:
        """The points that an operation has put in InfluxDB; None where there are too many to be told, or InfluxDB is
        away."""
        key = (change.token, str(operation.get("operation")))
        reading = self._points.get(key)
        if reading is None:
            reading = self._points[key] = asyncio.ensure_future(self._read_points(change, operation))
            if len(self._points) > _POINTS_KEPT:
                self._points.popitem(last=False)
        return await asyncio.shield(reading)

    async def _read_points(self, change: Change, operation: Mapping[str, Any]) -> list[Any] | None:
        place = operation["gold"]["influxdb"]
        if place.get("points", 0) > self.settings.points:
            return None
        origin = f"{change.object_id}/{operation.get('operation')}"
        read = self._stores.influxdb.points_of
        try:
            return await self._stores.series(read, change.store, origin, place.get("series", ()), self.settings.points)
        except ServiceAway:
            return None

    async def changes(
        self, listener: Listener, after: Place | None, allowed: Callable[[], float]
    ) -> AsyncGenerator[Change | str, None]:
        """What the listener is to be told: changes, in order; `alive` when nothing came for a while, which is not more
        than the seconds that it may listen yet (`allowed`); `lost` where some were missed; at last `slow` or `closing`.
        """
        position = listener.position
        if after is not None and (after.token, after.number) < (position, _ALL):
            try:
                async for change in self._catch_up(listener.store, after, position):
                    yield change
            except HistoryLost:
                yield "lost"
        while True:
            listener.wake.clear()
            while listener.waiting and not self.closing:
                change = listener.waiting.popleft()
                # Another process may have been further than this one is.
                if after is None or change.token >= after.token:
                    yield change
            if self.closing or listener.slow:
                yield "closing" if self.closing else "slow"
                return
            if listener.lost:
                listener.lost = False
                yield "lost"
            silence = max(0.0, min(self.settings.heartbeat_seconds, allowed()))
            with anyio.move_on_after(silence):
                await listener.wake.wait()
            if not listener.wake.is_set():
                yield "alive"

    async def _catch_up(self, store: str, after: Place, until: str) -> AsyncGenerator[Change, None]:
        steps: Any = catch_up(self._stores.client, store, after, until)
        try:
            while (found := await blocking(next, steps, None)) is not None:
                for change in found:
                    yield change
        finally:
            with anyio.CancelScope(shield=True):
                await blocking(steps.close)


@dataclass(frozen=True)
class Filter:
    """What a client wants to be told: kinds of events, and points of which measurements and topics (empty: all)."""

    kinds: frozenset[str] = frozenset({"processing", "point"})
    measurements: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()

    def wants(self, point: Mapping[str, Any]) -> bool:
        """Whether a point, or a series, is one of those."""
        return (not self.measurements or point.get("measurement") in self.measurements) and (
            not self.topics or point.get("topic") in self.topics
        )


async def told(hub: Hub, change: Change, wanted: Filter, after: Place | None) -> AsyncGenerator[str, None]:
    """A change as events, after those that the client has of it. The numbers do not depend on what is wanted."""
    number = 0
    skip = after.number if after is not None and after.token == change.token else 0
    if skip == _ALL:
        return
    for status, operation in change.happened:
        number += 1
        if number > skip and "processing" in wanted.kinds:
            said = {"object": change.object_id, "status": status, "operation": to_json(operation)}
            yield event("processing", said, Place(change.token, number))
        place = (operation or {}).get("gold", {}).get("influxdb")
        if not operation or not place or "point" not in wanted.kinds:
            continue
        points = await hub.points(change, operation)
        if points is None:
            number += 1
            # Where InfluxDB is away a client may have some of the points, but not all.
            away = place.get("points", 0) <= hub.settings.points
            series = [one for one in place.get("series", ()) if "measurement" not in one or wanted.wants(one)]
            if (away or number > skip) and (series or not place.get("series")):
                said = {"object": change.object_id, "points": place.get("points"), "series": series}
                yield event("points", to_json(said), Place(change.token, max(number, skip)))
        for point in points or ():
            number += 1
            if number > skip and wanted.wants(point):
                yield event("point", {"object": change.object_id, **point}, Place(change.token, number))


def event(kind: str, said: Any, place: Place | None = None) -> str:
    """As the stream has it."""
    head = f"id: {place}\n" if place else ""
    return f"{head}event: {kind}\ndata: {json.dumps(said, ensure_ascii=False)}\n\n"


class EventStream(Response):
    """Server-sent events. A client that takes none for `seconds` is cut off."""

    media_type = "text/event-stream"

    def __init__(self, texts: AsyncGenerator[str, None], seconds: float, end: Callable[[], None]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._texts, self._seconds, self._end = texts, seconds, end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with anyio.create_task_group() as group:

                async def gone() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    group.cancel_scope.cancel()

                group.start_soon(gone)
                await self._send(send)
                group.cancel_scope.cancel()
        finally:
            self._end()

    async def _send(self, send: Send) -> None:
        try:
            async with aclosing(self._texts) as texts_:
                async for text in texts_:
                    body = text.encode(errors="replace")
                    with anyio.fail_after(self._seconds):
                        await send({"type": "http.response.body", "body": body, "more_body": True})
            with anyio.fail_after(self._seconds):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            log.warning("a listener took nothing for %s s and was cut off", self._seconds)


Check = Callable[[], Awaitable[tuple[str, str] | None]]
"""Whether the client may still listen; else a code, and what to tell it."""

ENDS = {
    "slow": ("too_slow", "events came faster than they were taken; connect again with the id of the last one"),
    "closing": ("restarting", "this process of the API stops; connect again with the id of the last event"),
}


async def texts(
    hub: Hub, listener: Listener, wanted: Filter, after: Place | None, check: Check, allowed: Callable[[], float]
) -> AsyncGenerator[str, None]:
    """All that a client is sent. `allowed`: for how many seconds it may listen yet."""
    reached = after.token if after else listener.position
    place = after or Place(listener.position, _ALL)
    yield f"retry: 2000\nid: {place}\n: listening\n\n"
    sent = checked = time.monotonic()
    async with aclosing(hub.changes(listener, after, allowed)) as changes:
        async for change in changes:
            if allowed() <= 0:
                yield event("end", _end("token_expired", "the token has expired; log in again, and go on from here"))
                return
            if change == "alive" or time.monotonic() - checked >= hub.settings.heartbeat_seconds:
                checked = time.monotonic()
                if refused := await check():
                    yield event("end", _end(*refused))
                    return
            if isinstance(change, Change):
                async for text in told(hub, change, wanted, after):
                    yield text
                    sent = time.monotonic()
                reached = max(reached, change.token)
                if time.monotonic() - sent >= hub.settings.heartbeat_seconds:  # nothing of it was wanted
                    yield f"id: {Place(reached, _ALL)}\n: alive\n\n"
                    sent = time.monotonic()
            elif change == "lost":
                said = "what happened in between is no longer known: read what you need of it; this goes on from now"
                yield event("gap", _end("events_lost", said))
            elif change == "alive":
                # A client that gets nothing else goes on from here, and not from a time that MongoDB knows no more.
                further = listener.position > reached and not listener.waiting
                reached = max(reached, listener.position) if further else reached
                yield f"id: {Place(reached, _ALL)}\n: alive\n\n" if further else ": alive\n\n"
                sent = time.monotonic()
            else:
                yield event("end", _end(*ENDS[change]))
                return


def on_stop(stop: Callable[[], None]) -> None:
    """Have `stop` called when the process is asked to stop: the server waits for its connections to end, and those of
    listeners never would by themselves."""
    if threading.current_thread() is not threading.main_thread():
        return  # the server has no say over signals here
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handle(given: int, frame: Any, before: Any = before) -> None:
            loop.call_soon_threadsafe(stop)
            if callable(before):
                before(given, frame)

        signal.signal(number, handle)


def _end(code: str, message: str) -> dict[str, str]:
    return {"code": code, "message": message}
