# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The relay's metrics, in Prometheus' text format on loopback.

They are made when somebody asks, in threads of their own, from what the relay said last and from the outbox itself:
the relay never waits for them.
"""

from __future__ import annotations

import contextlib
import os
import socketserver
import threading
import time
import wsgiref.simple_server
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from prometheus_client import CollectorRegistry, Metric, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from . import outbox

_PREFIX = "swift_webhook_"
_READ_BYTES = 1 << 20
_SLOWEST_SECONDS = 10


@dataclass(frozen=True)
class Numbers:
    """What the relay knows of its work. The counters are those of its state.

    positions: bytes of each segment that are delivered, or in the batches under way, which have `in_batches` events.
    since: seconds since the epoch; what was committed before is delivered.
    last_success: seconds since the epoch; 0: never.
    """

    positions: dict[str, int] = field(default_factory=dict)
    in_batches: int = 0
    since: float = 0.0
    delivered: int = 0
    retried: int = 0
    set_aside: int = 0
    batches: int = 0
    last_success: float = 0.0
    failing: bool = False
    paused: bool = False


class Metrics(Collector):
    """Collects, and serves what it collected.

    max_bytes: of the outbox, as the proxy has it.
    numbers: gives what the relay knows, from any thread.
    """

    def __init__(self, directory: Path, dead_letter: Path, max_bytes: int, numbers: Callable[[], Numbers]) -> None:
        self._directory = directory
        self._dead_letter = dead_letter
        self._max_bytes = max_bytes
        self._numbers = numbers
        self._lock = threading.Lock()  # of those who ask at the same time
        self._lines: dict[str, tuple[_Lines, _Lines]] = {}
        self._server: _Server | None = None

    def start(self, port: int) -> int:
        """Serve on loopback. Returns the port (one that is free where 0 was asked for). Errors: OSError."""
        registry = CollectorRegistry()
        registry.register(self)
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.set_app(make_wsgi_app(registry))
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Serve no more."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def describe(self) -> list[Metric]:
        """Nothing: registering them must not read the outbox."""
        return []

    def collect(self) -> Iterator[Metric]:
        """What Prometheus gets. Errors: OSError where the outbox can't be read: then Prometheus sees a failure."""
        with self._lock:
            numbers = self._numbers()
            waiting = self._waiting(numbers)
            size = outbox.size(self._directory)
            letters = sum(name.endswith(".json") for name in os.listdir(self._dead_letter))
        age = max(0.0, time.time() - numbers.since) if waiting else 0.0
        for name, text, value in (
            ("outbox_events", "Events that wait for delivery.", waiting),
            ("outbox_bytes", "Bytes of the outbox.", size),
            ("outbox_max_bytes", "Bytes of the outbox above which changes of objects are refused.", self._max_bytes),
            ("oldest_event_age_seconds", "For how long the oldest of them waits, at most; 0: none waits.", age),
            ("last_success_timestamp_seconds", "When a batch was delivered last; 0: never.", numbers.last_success),
            ("failing", "1 while Airflow does not take the batch under way.", numbers.failing),
            ("paused", "1 while an administrator has paused the relay.", numbers.paused),
            ("dead_letters", "Files with what was set aside and waits for somebody.", letters),
        ):
            yield GaugeMetricFamily(_PREFIX + name, text, value=float(value))
        for name, text, value in (
            ("events_delivered", "Events that were delivered.", numbers.delivered),
            ("batches_delivered", "Batches that were delivered, a run of the workflow each.", numbers.batches),
            ("sendings_retried", "Sendings of batches that failed and were repeated.", numbers.retried),
            ("events_set_aside", "Events that Airflow refused, and that were set aside.", numbers.set_aside),
        ):
            yield CounterMetricFamily(_PREFIX + name, text, value=float(value))

    def _waiting(self, numbers: Numbers) -> int:
        count = numbers.in_batches
        there = outbox.segments(self._directory)
        for name in there:
            whole, done = self._lines.setdefault(name, (_Lines(), _Lines()))
            with (
                contextlib.suppress(FileNotFoundError),
                open(self._directory / name, "rb") as file,
            ):  # delivered meanwhile
                size = os.fstat(file.fileno()).st_size
                count += whole.up_to(file, size) - done.up_to(file, min(size, numbers.positions.get(name, 0)))
        for name in self._lines.keys() - there:
            del self._lines[name]
        return count


@dataclass
class _Lines:
    """Counts the lines of a segment, and reads each byte of it once."""

    offset: int = 0
    lines: int = 0

    def up_to(self, file: BinaryIO, end: int) -> int:
        """Lines that end before this offset. Errors: OSError."""
        if end < self.offset:  # the relay lost its state, and begins again
            self.offset = self.lines = 0
        file.seek(self.offset)
        while self.offset < end:
            data = file.read(min(_READ_BYTES, end - self.offset))
            if not data:
                break
            self.offset += len(data)
            self.lines += data.count(b"\n")
        return self.lines


class _Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True
    request_queue_size = 64


class _Handler(wsgiref.simple_server.WSGIRequestHandler):
    timeout = _SLOWEST_SECONDS  # for whoever connects and says nothing, or does not read

    def log_message(self, format: str, *args: object) -> None:
        """Not worth a line in the journal."""
