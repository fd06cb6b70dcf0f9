# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The relay: takes events from the outbox in order, batches them, and starts one workflow run per batch. It never
drops an event.

What makes it safe to kill at any moment:
- what a batch consists of is durable before it is sent, so it is sent again with the same run id, and Airflow
  answers 409 to the second;
- how far the outbox is delivered is advanced after that only, and a segment leaves the outbox after that;
- without the state file everything in the outbox is sent again: at least once, never less.

Delivered segments are kept for a while, so that their events can be sent again (`swift-webhook replay`).
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import json
import logging
import os
import random
import select
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from inotify_simple import INotify, flags
from neocampus_lake.errors import StoreError
from neocampus_lake.events import Event, batch_id, run_id

from . import outbox
from .airflow import Refused
from .metrics import Metrics, Numbers
from .notify import Systemd

log = logging.getLogger("swift-webhook-relay")

STATE_FILE = "state.json"
STATUS_FILE = "status.json"
LOCK_FILE = "relay.lock"
PAUSE_FILE = "paused"
_READ_BYTES = 256 << 10
_READ_AHEAD = 8  # batches that are held in memory at most
_IDLE_SECONDS = 20.0  # longest sleep: the watchdog has to be fed, a missed wake-up has to be caught up with
_PAUSE_SECONDS = 1.0  # after which the end of a pause is seen
_EXPIRE_SECONDS = 60.0
_CLOCK_SECONDS = 1.0  # by which the time of a file may be behind the clock


class Starter(Protocol):
    """What the relay needs of Airflow."""

    def start(self, run_id: str, conf: dict[str, Any]) -> bool:
        """See Airflow.start."""

    def ended(self, run_id: str) -> bool:
        """See Airflow.ended."""


@dataclass(frozen=True)
class Settings:
    """How the relay works.

    outbox, state, dead_letter: folders: where events come from, the relay's own, where batches go that Airflow
    refuses.
    delivered: folder on the file system of the outbox, for segments whose events are all delivered.
    keep_hours, keep_bytes: how long they are kept there, and how many bytes at most; 0: not at all.
    max_bytes: of the outbox, as the proxy has it.
    metrics_port: on loopback; 0: no metrics.
    max_events: of a batch.
    quiet, linger: a batch is closed `quiet` seconds after its last event, `linger` seconds after its first at the
    latest. One object
        alone is on its way after `quiet`; objects in a row share a run.
    runs_per_second, burst: how many runs are started at most, over time and at once; under load the batches grow
    instead (a run costs
        Airflow far more than an event does). A full batch does not wait.
    runs_under_way: how many of its runs the relay lets Airflow have at once; 0: any number. Where Airflow is slower
        than the events, the batches grow instead of its queue.
    run_seconds: a run that is under way for longer, and a tenth of a second more for each of its events, does not count
        any more: what one object takes long for must not hold up the others.
    backoff, max_backoff: seconds before the first repetition after a failure, and between repetitions at most.
    """

    outbox: Path
    state: Path
    dead_letter: Path
    delivered: Path
    keep_hours: float = 24.0
    keep_bytes: int = 256 << 20
    max_bytes: int = 1 << 30
    metrics_port: int = 0
    max_events: int = 500
    quiet: float = 0.04
    linger: float = 0.2
    runs_per_second: float = 0.5
    burst: int = 4
    runs_under_way: int = 2
    run_seconds: float = 20.0
    backoff: float = 0.5
    max_backoff: float = 15.0


@dataclass
class State:
    """What has to outlive a crash.

    positions: bytes of each segment that are delivered.
    batches: events of each batch under way, as payloads; usually one, more where a refused batch was split.
    after: the positions once all of `batches` are delivered.
    delivered, retried, refused, runs: events, sendings, events set aside, batches that arrived, since the state was
    made.
    last_success: when a batch arrived, in seconds since the epoch; 0: never.
    """

    positions: dict[str, int] = field(default_factory=dict)
    batches: list[list[dict[str, Any]]] = field(default_factory=list)
    after: dict[str, int] = field(default_factory=dict)
    delivered: int = 0
    retried: int = 0
    refused: int = 0
    runs: int = 0
    last_success: float = 0.0

    @classmethod
    def load(cls, path: Path) -> State:
        """The state of a file; an empty one where there is none, or it cannot be understood (all is delivered again
        then)."""
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return cls()
        except (ValueError, TypeError) as error:
            log.error("%s cannot be understood (%s): everything in the outbox is going to be sent again", path, error)
            return cls()

    def save(self, path: Path) -> None:
        """Durable and whole when it returns. Errors: OSError."""
        write_whole(path, json.dumps(self.__dict__, separators=(",", ":")))


class TokenBucket:
    """At most `burst` at once, `rate` per second over time."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._at = float(burst), clock()

    def wait_time(self) -> float:
        """Seconds until one may be taken; 0 where one may now."""
        now = self._clock()
        self._tokens, self._at = min(self._burst, self._tokens + (now - self._at) * self._rate), now
        return max(0.0, (1 - self._tokens) / self._rate)

    def take(self) -> None:
        """Take one; where a full batch did not wait, there was perhaps none, and none is owed for it."""
        self.wait_time()
        self._tokens = max(0.0, self._tokens - 1)


class UnderWay:
    """The runs that Airflow has not ended yet, as far as is known; `most` at once, 0: any number.

    Airflow is asked only where a batch waits for that, LOOK seconds after the start and then every LOOK seconds. A run
    that it does not tell of ends after `longest` seconds and EACH more for each of its events: one slow object alone
    holds nothing up for long, a full batch is given its time. After a restart nothing is known to be under way.
    """

    LOOK = 0.25
    EACH = 0.1

    def __init__(self, airflow: Starter, most: int, longest: float, clock: Callable[[], float]) -> None:
        self._airflow, self._most, self._longest, self._clock = airflow, most, longest, clock
        self._runs: dict[str, tuple[float, float]] = {}  # until when it counts, when to ask next
        self._problem = ""

    def started(self, run: str, events: int) -> None:
        """A run of so many events was started."""
        if self._most:
            now = self._clock()
            self._runs[run] = now + self._longest + self.EACH * events, now + self.LOOK

    def wait_time(self) -> float:
        """Seconds until it is worth asking again whether another run may be started; 0 where it may."""
        if not self._most or len(self._runs) < self._most:
            return 0.0
        for run, (until, look) in list(self._runs.items()):
            if self._clock() >= look and self._has_ended(run, until):
                del self._runs[run]
        if len(self._runs) < self._most:
            return 0.0
        return max(0.001, min(look for _until, look in self._runs.values()) - self._clock())

    def _has_ended(self, run: str, until: float) -> bool:
        try:
            ended = self._airflow.ended(run)
        except StoreError as error:
            level = logging.WARNING if str(error).replace(run, "") != self._problem else logging.DEBUG
            log.log(level, "whether run %s has ended is not known: %s", run, error)
            ended, self._problem = False, str(error).replace(run, "")
        else:
            self._problem = ""
        now = self._clock()
        self._runs[run] = until, now + self.LOOK
        return ended or now > until


class Relay:
    """The service. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        settings: Settings,
        airflow: Starter,
        *,
        systemd: Systemd | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.airflow = airflow
        self.error = ""
        self.stopping = False
        self._systemd = systemd or Systemd()
        self._clock = clock
        self._bucket = TokenBucket(settings.runs_per_second, settings.burst, clock)
        self._under_way = UnderWay(airflow, settings.runs_under_way, settings.run_seconds, clock)
        self._state_path = settings.state / STATE_FILE
        self.state = State.load(self._state_path)
        self._read = dict(self.state.after if self.state.batches else self.state.positions)
        self._waiting: dict[str, deque[tuple[Event, int]]] = {}
        self._partly: set[str] = set()
        self._until = 0.0
        self._numbers = Numbers()
        self._expired: float | None = None
        self._inotify: INotify | None = None
        self._pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def stop(self) -> None:
        """End soon: a batch under way is kept for the next start. May be called from a signal handler or another
        thread."""
        self.stopping = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._pipe[1], b"!")

    @property
    def paused(self) -> bool:
        """An administrator wants nothing to be sent."""
        return (self.settings.state / PAUSE_FILE).exists()

    def run(self) -> None:
        """Deliver until `stop` is called. Errors: OSError where the outbox or the state cannot be read or written;
        start again then."""
        with exclusive(self.settings.state / LOCK_FILE), INotify(nonblocking=True) as self._inotify:
            self._inotify.add_watch(self.settings.outbox, flags.MODIFY | flags.MOVED_TO)
            outbox.remove_leftovers(self.settings.outbox)
            self._until = outbox.marked(self.settings.outbox)
            self._publish()
            with self._metrics():
                self._systemd.ready()
                log.info(
                    "delivering from %s; %d events are delivered so far", self.settings.outbox, self.state.delivered
                )
                while not self.stopping:
                    self.rest()
                    self.deliver()
                    if self.collect() and not self.paused:
                        self.compose()
                        self.deliver()
                    self.clean()
                    self.expire()
                self._systemd.stopping()

    def rest(self) -> None:
        """Send nothing as long as the pause lasts, or until `stop` is called. Errors: OSError."""
        if not self.paused:
            return
        log.warning("paused: events are kept, and sent after swift-webhook resume")
        while self.paused and not self.stopping:
            self.scan()
            self.expire()
            self._systemd.alive("paused")
            self._sleep(_PAUSE_SECONDS, look=False)
        log.warning("the pause is over")

    def collect(self) -> bool:
        """Wait until a batch is there to be sent. Returns False where there was nothing for a while, or nothing is to
        be sent (`stop`, pause)."""
        count, started = self.scan(), self._clock()
        while not count:
            if self.stopping or self.paused or self._clock() - started > _IDLE_SECONDS:
                return False
            self._wait(_IDLE_SECONDS)
            count = self.scan()
        first = last = self._clock()
        while not (self.stopping or self.paused):
            rest = self._under_way.wait_time()
            if count < self.settings.max_events:
                full = min(last + self.settings.quiet, first + self.settings.linger) - self._clock()
                rest = max(rest, full, self._bucket.wait_time())
            if rest <= 0:
                break
            self._wait(min(rest, _IDLE_SECONDS))
            more = self.scan()
            if more > count:
                count, last = more, self._clock()
        return not self.stopping

    def scan(self) -> int:
        """Read what is new in the outbox, oldest segments first, no more than memory should hold. Returns how many
        events wait.

        Errors: OSError.
        """
        looked = time.time()
        most = _READ_AHEAD * self.settings.max_events
        count = sum(map(len, self._waiting.values()))
        newest = self._newest()
        for name in outbox.segments(self.settings.outbox):
            if count >= most and outbox.created(name) > newest:
                break  # it was made after all that is in memory happened
            queue = self._waiting.setdefault(name, deque())
            self._partly.discard(name)
            while len(queue) <= self.settings.max_events and (count < most or not queue):
                offset = self._read.get(name, 0)
                chunk = outbox.read_segment(self.settings.outbox / name, offset, max_bytes=_READ_BYTES)
                for line in chunk.damaged:
                    self._set_aside(
                        f"damaged-{name}-{offset}",
                        {"reason": "damaged line in the outbox", "line": line.decode("latin-1")},
                    )
                queue.extend(chunk.events)
                newest = max([newest, *(event_time(event) for event, _end in chunk.events)])
                count += len(chunk.events)
                self._read[name] = chunk.end
                if not queue:  # nothing, or nothing but damaged lines, which are dealt with
                    self.state.positions[name] = chunk.end
                if chunk.end == offset:
                    break
            else:
                self._partly.add(name)
        self._mark(looked)
        return count

    def compose(self) -> None:
        """Make a batch of the oldest events, durably. Errors: OSError.

        A look at the outbox reads one segment after the other, and meanwhile an object may have been put through one
        worker and deleted through another: what came before the newest event of one look is complete after the next.
        """
        newest = self._newest()
        self.scan()
        after = dict(self.state.positions)
        events: list[Event] = []
        for event, name, end in _merged(self._waiting):
            if len(events) >= self.settings.max_events or event_time(event) > newest:
                break
            events.append(event)
            queue = self._waiting[name]
            queue.popleft()
            after[name] = end if queue else self._read[name]  # damaged lines may follow the last event
            if not queue and name in self._partly:
                break  # what follows there may be older than what others have
        self.state.batches = [[event.to_payload() for event in events]]
        self.state.after = after
        self.state.save(self._state_path)
        self._publish()

    def deliver(self) -> None:
        """Send the batches under way until all have arrived or were set aside, or nothing more is to be sent (`stop`,
        pause). Errors: OSError."""
        while self.state.batches and not self.stopping and not self.paused:
            payloads = self.state.batches[0]
            events = [Event.from_payload(payload) for payload in payloads]
            batch, run = batch_id(events), run_id(events)
            self._bucket.take()
            try:
                new = self._send(run, {"batch": batch, "events": payloads})
            except Refused as refusal:
                if len(payloads) > 1:  # perhaps one of them is to blame: find it
                    middle = len(payloads) // 2
                    self.state.batches[0:1] = [payloads[:middle], payloads[middle:]]
                    log.warning("batch %s is refused, trying its halves: %s", batch, refusal)
                    self.state.save(self._state_path)
                    continue
                self._set_aside(run, {"reason": str(refusal), "run_id": run, "events": payloads})
                self.state.refused += 1
            else:
                if new is None:
                    return  # it goes on here when it may
                log.info(
                    "run %s started with %d events%s", run, len(payloads), "" if new else " (it was there already)"
                )
                self._under_way.started(run, len(payloads))
                self.state.delivered += len(payloads)
                self.state.runs += 1
                self.state.last_success = time.time()
            del self.state.batches[0]
            if not self.state.batches:
                self.state.positions = self.state.after
                self.state.after = {}
            self.state.save(self._state_path)
            self.write_status()

    def clean(self) -> None:
        """Take out of the outbox what is delivered to its end and can't grow any more. Errors: OSError."""
        removed = False
        for name in outbox.segments(self.settings.outbox):
            position = self.state.positions.get(name, 0)
            if self._waiting.get(name) or self._read.get(name, 0) != position:
                continue
            chunk = outbox.read_segment(self.settings.outbox / name, position)
            if chunk.complete and chunk.end == position:
                self._retire(name)
                removed = True
        if not removed:
            return
        self._expired = None  # there may be more than is to be kept
        outbox.sync_directory(self.settings.outbox)  # before its position is forgotten: it must not come back
        there = set(outbox.segments(self.settings.outbox))
        self._partly &= there
        for known in (self.state.positions, self._read, self._waiting):
            for name in set(known) - there:
                del known[name]

    def expire(self) -> None:
        """Remove delivered segments that are too old, or too many, oldest first. Errors: OSError."""
        now = self._clock()
        if self._expired is not None and now - self._expired < _EXPIRE_SECONDS:
            return
        self._expired = now
        kept = []
        for name in outbox.segments(self.settings.delivered):
            stat = (self.settings.delivered / name).stat()
            kept.append((stat.st_ctime, name, stat.st_size))  # it was moved here then
        total = sum(length for _moved, _name, length in kept)
        for moved, name, length in sorted(kept):
            if total > self.settings.keep_bytes or time.time() - moved > self.settings.keep_hours * 3600:
                (self.settings.delivered / name).unlink(missing_ok=True)
                total -= length

    def numbers(self) -> Numbers:
        """How it stands, for any thread."""
        return replace(self._numbers, paused=self.paused)

    def write_status(self) -> None:
        """Leave a note for `swift-webhook status`. Not durable: it says what is, not what was."""
        path = self.settings.state / STATUS_FILE
        note = {"error": self.error, "time": time.time(), "in_batches": sum(map(len, self.state.batches))}
        with contextlib.suppress(OSError):
            write_whole(path, json.dumps(note), sync=False, mode=0o644)
        self._publish()

    def _send(self, run: str, conf: dict[str, Any]) -> bool | None:
        """Start a run, however long it takes. Returns None where nothing is to be sent any more (`stop`, pause).
        Errors: Refused."""
        failures = 0
        while not self.stopping and not self.paused:
            self._systemd.alive(self.error or "delivering")
            try:
                new = self.airflow.start(run, conf)
            except Refused:
                raise
            except StoreError as error:
                failures += 1
                self.state.retried += 1
                delay = backoff(failures, self.settings.backoff, self.settings.max_backoff)
                level = logging.WARNING if str(error) != self.error else logging.DEBUG
                log.log(level, "run %s has to wait: %s", run, error)
                self.error = str(error)
                self.write_status()
                self._systemd.alive(self.error)
                self._sleep(delay, look=False)
                continue
            if self.error:
                log.warning("Airflow takes runs again, after %d failures", failures)
                self.error = ""
            return new
        return None

    def _set_aside(self, name: str, letter: dict[str, Any]) -> None:
        path = self.settings.dead_letter / f"{name}.json"
        log.critical("SET ASIDE in %s (swift-webhook requeue sends it again): %s", path, letter["reason"])
        write_whole(path, json.dumps(letter, indent=1))

    def _retire(self, name: str) -> None:
        """Take a segment out of the outbox."""
        source = self.settings.outbox / name
        if self.settings.keep_hours > 0 and self.settings.keep_bytes > 0:
            try:
                source.rename(self.settings.delivered / name)
                return
            except OSError as error:  # delivering is worth more than what was delivered
                log.error("%s can't be kept in %s: %s", name, self.settings.delivered, error)
        source.unlink()

    def _newest(self) -> float:
        """The latest time of an event in memory."""
        return max((event_time(event) for queue in self._waiting.values() for event, _end in queue), default=0.0)

    def _mark(self, looked: float) -> None:
        """Say in the outbox up to when everything is delivered: to the oldest event that is known to wait, else to the
        last look.

        It never goes back: an event with an older time (a long upload, a replay) came after that.
        """
        times = [event_time(queue[0][0]) for queue in self._waiting.values() if queue]
        times += [event_time(Event.from_payload(batch[0])) for batch in self.state.batches]
        self._until = max(self._until, min([looked - _CLOCK_SECONDS, *times]))
        outbox.mark(self.settings.outbox, self._until)
        self._publish()

    def _publish(self) -> None:
        """Say how it stands: other threads see all of it at once, or what was before."""
        state = self.state
        self._numbers = Numbers(
            positions=dict(state.after if state.batches else state.positions),
            in_batches=sum(map(len, state.batches)),
            since=self._until,
            delivered=state.delivered,
            retried=state.retried,
            set_aside=state.refused,
            batches=state.runs,
            last_success=state.last_success,
            failing=bool(self.error),
        )

    @contextlib.contextmanager
    def _metrics(self) -> Iterator[None]:
        if not self.settings.metrics_port:
            yield
            return
        metrics = Metrics(self.settings.outbox, self.settings.dead_letter, self.settings.max_bytes, self.numbers)
        try:
            metrics.start(self.settings.metrics_port)
        except OSError as error:  # delivering is worth more
            log.error("no metrics: port %d of loopback can't be had: %s", self.settings.metrics_port, error)
        try:
            yield
        finally:
            metrics.stop()

    def _wait(self, seconds: float) -> None:
        """Until something happens in the outbox, but no longer than this."""
        self._systemd.alive(self.error or "waiting for events")
        self._sleep(seconds, look=True)

    def _sleep(self, seconds: float, *, look: bool) -> None:
        poll = select.poll()
        poll.register(self._pipe[0], select.POLLIN)
        if look and self._inotify is not None:
            poll.register(self._inotify.fileno(), select.POLLIN)
        if not self.stopping and poll.poll(max(1, int(seconds * 1000))) and look and self._inotify is not None:
            self._inotify.read(timeout=0)  # what happened does not matter


def _merged(queues: dict[str, deque[tuple[Event, int]]]) -> Iterator[tuple[Event, str, int]]:
    """Events of all segments by their time, each segment in its own order. Whoever takes one also takes it from its
    queue."""
    heap = [(event_time(queue[0][0]), name) for name, queue in queues.items() if queue]
    heapq.heapify(heap)
    while heap:
        _oldest, name = heapq.heappop(heap)
        event, end = queues[name][0]
        yield event, name, end
        if queues[name]:
            heapq.heappush(heap, (event_time(queues[name][0][0]), name))


def event_time(event: Event) -> float:
    """Seconds since the epoch; Swift's X-Timestamp is a number, `_` and an offset may follow."""
    try:
        return float(event.timestamp.partition("_")[0])
    except ValueError:
        return 0.0


def backoff(failures: int, first: float, longest: float) -> float:
    """Seconds to wait: doubling, half of it random, so that relays which failed together do not come back
    together."""
    delay = min(longest, first * 2 ** min(failures - 1, 20))
    return delay * (0.5 + random.random() / 2)  # noqa: S311 (no secret)


def write_whole(path: Path, text: str, *, sync: bool = True, mode: int = 0o640) -> None:
    """Replace a file at once; durable unless told otherwise. Errors: OSError."""
    part = path.with_name(f".{path.name}.part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        if sync:
            os.fsync(fd)
    os.replace(part, path)
    if sync:
        outbox.sync_directory(path.parent)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock that one process can have. Errors: StoreError where another one has it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"another relay is at work: it holds {path}") from None
        yield
    finally:
        os.close(fd)
