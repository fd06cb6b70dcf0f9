# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Group commit for an eventlet server: many waiting requests, one fdatasync, no blocked event loop."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable
from typing import Any

import eventlet
import eventlet.event
import eventlet.greenio
import eventlet.patcher

from .outbox import OutboxUnavailable, SegmentWriter

_MAX_GROUP = 1000


class GroupCommitter:
    """Commits lines through one real thread per process.

    The thread is made at the first commit, thus after the server has forked its workers: a thread does not survive a
    fork. It takes all the lines that wait, writes them with one sync, and wakes the event loop through a socket pair.

    make_writer: makes the writer of a process.
    timeout: seconds after which a commit that has not come back counts as failed.
    """

    def __init__(self, make_writer: Callable[[], SegmentWriter], timeout: float = 10.0) -> None:
        self._make_writer = make_writer
        self._timeout = timeout
        self._process: int | None = None
        self._queue: Any = None
        self._failing = False

    def commit(self, line: bytes) -> None:
        """Return when the line is durable. Errors: OutboxUnavailable."""
        if self._process != os.getpid():
            self._start()
        done = eventlet.event.Event()
        self._queue.put((line, done))
        with eventlet.Timeout(self._timeout, False):
            error = done.wait()
            self._failing = error is not None
            if error is None:
                return
            raise error
        self._failing = True
        raise OutboxUnavailable(f"outbox: the disk did not answer for {self._timeout:g} s")

    def check(self) -> None:
        """Errors: OutboxUnavailable where a commit would fail. Costs nothing as long as commits work."""
        if self._failing:
            self.commit(b"")

    def _start(self) -> None:
        queue = eventlet.patcher.original("queue")
        threading = eventlet.patcher.original("threading")
        socket = eventlet.patcher.original("socket")
        near, far = socket.socketpair()
        far.setblocking(False)
        self._queue = queue.SimpleQueue()
        finished: collections.deque[tuple[eventlet.event.Event, Exception | None]] = collections.deque()
        eventlet.spawn(_wake, eventlet.greenio.GreenSocket(near), finished)
        threading.Thread(
            target=_write,
            args=(self._queue, queue.Empty, self._make_writer(), finished, far),
            name="outbox",
            daemon=True,
        ).start()
        self._process = os.getpid()


def _write(
    queue: Any, empty: type[Exception], writer: SegmentWriter, finished: collections.deque[Any], wake: Any
) -> None:
    """The thread: never ends, never touches eventlet."""
    while True:
        group = [queue.get()]
        try:
            while len(group) < _MAX_GROUP:
                group.append(queue.get_nowait())
        except empty:
            pass
        error: Exception | None = None
        try:
            writer.append([line for line, _done in group])
        except OutboxUnavailable as failure:
            error = failure
        except Exception as failure:  # whatever it is, those who wait must hear of it
            error = OutboxUnavailable(f"outbox: {failure!r}")
        finished.extend((done, error) for _line, done in group)
        try:
            wake.send(b"!")
        except BlockingIOError:
            pass  # the event loop has unread bytes: it is going to look anyway


def _wake(near: Any, finished: collections.deque[tuple[eventlet.event.Event, Exception | None]]) -> None:
    """The green thread: hands results to the requests that wait."""
    while near.recv(4096):
        while finished:
            done, error = finished.popleft()
            done.send(error)
