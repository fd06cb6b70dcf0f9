# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The relay: takes events from the outbox in order, batches them, and starts one workflow run per batch. It never
drops an event.

What makes it safe to kill at any moment:
- what a batch consists of is durable before it is sent, so it is sent again with the same run id, and Airflow
  answers 409 to the second;
- how far the outbox is delivered is advanced after that only, and a segment is removed after that;
- without the state file everything in the outbox is sent again: at least once, never less.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from inotify_simple import INotify, flags
from neocampus_lake.errors import StoreError
from neocampus_lake.events import Event, batch_id, run_id

from . import outbox
from .airflow import Refused
from .notify import Systemd

log = logging.getLogger("swift-webhook-relay")

STATE_FILE = "state.json"
STATUS_FILE = "status.json"
LOCK_FILE = "relay.lock"
_READ_BYTES = 256 << 10
_READ_AHEAD = 8  # batches that are held in memory at most
_IDLE_SECONDS = 20.0  # longest sleep: the watchdog has to be fed, a missed wake-up has to be caught up with


class Starter(Protocol):
    """What the relay needs of Airflow."""

    def start(self, run_id: str, conf: dict[str, Any]) -> bool:
        """See Airflow.start."""


@dataclass(frozen=True)
class Settings:
    """How the relay batches.

    outbox, state, dead_letter: folders: where events come from, the relay's own, where batches go that Airflow
    refuses.
    max_events: of a batch.
    quiet, linger: a batch is closed `quiet` seconds after its last event, `linger` seconds after its first at the
    latest. One object
        alone is on its way after `quiet`; objects in a row share a run.
    runs_per_second, burst: how many runs are started at most, over time and at once; under load the batches grow
    instead (a run costs
        Airflow far more than an event does). A full batch does not wait.
    backoff, max_backoff: seconds before the first repetition after a failure, and between repetitions at most.
    """

    outbox: Path
    state: Path
    dead_letter: Path
    max_events: int = 500
    quiet: float = 0.04
    linger: float = 0.2
    runs_per_second: float = 0.5
    burst: int = 4
    backoff: float = 0.5
    max_backoff: float = 15.0


@dataclass
class State:
    """What has to outlive a crash.

    positions: bytes of each segment that are delivered.
    batches: events of each batch under way, as payloads; usually one, more where a refused batch was split.
    after: the positions once all of `batches` are delivered.
    delivered, retried, refused: events, sendings, events set aside, since the state was made.
    """

    positions: dict[str, int] = field(default_factory=dict)
    batches: list[list[dict[str, Any]]] = field(default_factory=list)
    after: dict[str, int] = field(default_factory=dict)
    delivered: int = 0
    retried: int = 0
    refused: int = 0

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
        """Take one, below zero where a full batch did not wait."""
        self.wait_time()
        self._tokens -= 1


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
        self._state_path = settings.state / STATE_FILE
        self.state = State.load(self._state_path)
        self._read = dict(self.state.after if self.state.batches else self.state.positions)
        self._waiting: dict[str, deque[tuple[Event, int]]] = {}
        self._inotify: INotify | None = None
        self._pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def stop(self) -> None:
        """End soon: a batch under way is kept for the next start. May be called from a signal handler or another
        thread."""
        self.stopping = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._pipe[1], b"!")

    def run(self) -> None:
        """Deliver until `stop` is called. Errors: OSError where the outbox or the state cannot be read or written;
        start again then."""
        with exclusive(self.settings.state / LOCK_FILE), INotify(nonblocking=True) as self._inotify:
            self._inotify.add_watch(self.settings.outbox, flags.MODIFY | flags.MOVED_TO)
            outbox.remove_leftovers(self.settings.outbox)
            self._systemd.ready()
            log.info("delivering from %s; %d events are delivered so far", self.settings.outbox, self.state.delivered)
            self.deliver()
            while not self.stopping:
                if self.collect():
                    self.compose()
                    self.deliver()
                self.clean()
            self._systemd.stopping()

    def collect(self) -> bool:
        """Wait until a batch is there to be sent. Returns False where there was nothing for a while, or `stop` was
        called."""
        count, started = self.scan(), self._clock()
        while not count:
            if self.stopping or self._clock() - started > _IDLE_SECONDS:
                return False
            self._wait(_IDLE_SECONDS)
            count = self.scan()
        first = last = self._clock()
        while count < self.settings.max_events and not self.stopping:
            now = self._clock()
            rest = max(min(last + self.settings.quiet, first + self.settings.linger) - now, self._bucket.wait_time())
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
        count = sum(map(len, self._waiting.values()))
        for name in outbox.segments(self.settings.outbox):
            queue = self._waiting.setdefault(name, deque())
            while len(queue) <= self.settings.max_events and count < _READ_AHEAD * self.settings.max_events:
                offset = self._read.get(name, 0)
                chunk = outbox.read_segment(self.settings.outbox / name, offset, max_bytes=_READ_BYTES)
                for line in chunk.damaged:
                    self._set_aside(
                        f"damaged-{name}-{offset}",
                        {"reason": "damaged line in the outbox", "line": line.decode("latin-1")},
                    )
                queue.extend(chunk.events)
                count += len(chunk.events)
                self._read[name] = chunk.end
                if not queue:  # nothing, or nothing but damaged lines, which are dealt with
                    self.state.positions[name] = chunk.end
                if chunk.end == offset:
                    break
        return count

    def compose(self) -> None:
        """Make a batch of the oldest events, durably. Errors: OSError."""
        after = dict(self.state.positions)
        events: list[Event] = []
        for event, name, end in _merged(self._waiting):
            if len(events) >= self.settings.max_events:
                break
            events.append(event)
            queue = self._waiting[name]
            queue.popleft()
            after[name] = end if queue else self._read[name]  # damaged lines may follow the last event
        self.state.batches = [[event.to_payload() for event in events]]
        self.state.after = after
        self.state.save(self._state_path)

    def deliver(self) -> None:
        """Send the batches under way until all have arrived or were set aside, or `stop` was called. Errors:
        OSError."""
        while self.state.batches and not self.stopping:
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
                    return  # asked to stop: the next start goes on here
                log.info(
                    "run %s started with %d events%s", run, len(payloads), "" if new else " (it was there already)"
                )
                self.state.delivered += len(payloads)
            del self.state.batches[0]
            if not self.state.batches:
                self.state.positions = self.state.after
                self.state.after = {}
            self.state.save(self._state_path)
            self.write_status()

    def clean(self) -> None:
        """Remove what is delivered to its end and can't grow any more. Errors: OSError."""
        removed = False
        for name in outbox.segments(self.settings.outbox):
            position = self.state.positions.get(name, 0)
            if self._waiting.get(name) or self._read.get(name, 0) != position:
                continue
            chunk = outbox.read_segment(self.settings.outbox / name, position)
            if chunk.complete and chunk.end == position:
                (self.settings.outbox / name).unlink()
                removed = True
        if not removed:
            return
        outbox.sync_directory(self.settings.outbox)  # before its position is forgotten: it must not come back
        there = set(outbox.segments(self.settings.outbox))
        for known in (self.state.positions, self._read, self._waiting):
            for name in set(known) - there:
                del known[name]

    def write_status(self) -> None:
        """Leave a note for `swift-webhook status`. Not durable: it says what is, not what was."""
        path = self.settings.state / STATUS_FILE
        note = {"error": self.error, "time": time.time(), "in_batches": sum(map(len, self.state.batches))}
        with contextlib.suppress(OSError):
            write_whole(path, json.dumps(note), sync=False, mode=0o644)

    def _send(self, run: str, conf: dict[str, Any]) -> bool | None:
        """Start a run, however long it takes. Returns None where `stop` was called before. Errors: Refused."""
        failures = 0
        while not self.stopping:
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
    heap = [(_time(queue[0][0]), name) for name, queue in queues.items() if queue]
    heapq.heapify(heap)
    while heap:
        _oldest, name = heapq.heappop(heap)
        event, end = queues[name][0]
        yield event, name, end
        if queues[name]:
            heapq.heappush(heap, (_time(queues[name][0][0]), name))


def _time(event: Event) -> float:
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
