# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import time

import eventlet
import pytest
from swift_webhook.committer import GroupCommitter
from swift_webhook.outbox import OutboxUnavailable


class SlowWriter:
    """A disk that takes `seconds` for each sync, and notes what it was given together."""

    def __init__(self, seconds: float = 0.05) -> None:
        self.seconds = seconds
        self.groups: list[list[bytes]] = []
        self.fail: Exception | None = None

    def append(self, lines):
        time.sleep(self.seconds)
        self.groups.append(list(lines))
        if self.fail:
            raise self.fail


def test_requests_that_wait_share_a_sync_while_the_event_loop_goes_on():
    writer = SlowWriter()
    committer = GroupCommitter(lambda: writer)
    ticks = []

    def tick():
        while True:
            ticks.append(time.monotonic())
            eventlet.sleep(0.005)

    ticker = eventlet.spawn(tick)
    pile = eventlet.GreenPool()
    for number in range(40):
        pile.spawn(committer.commit, b"%d" % number)
    pile.waitall()
    ticker.kill()
    assert sorted(line for group in writer.groups for line in group) == sorted(b"%d" % number for number in range(40))
    assert len(writer.groups) <= 3  # one that was alone, and the rest
    assert len(ticks) > 5  # the loop was not blocked by the disk


def test_an_error_reaches_everyone_who_waits_and_only_them():
    writer = SlowWriter(0.01)
    committer = GroupCommitter(lambda: writer)
    writer.fail = OutboxUnavailable("full")
    waiting = [eventlet.spawn(committer.commit, b"x") for _ in range(5)]
    for thread in waiting:
        with pytest.raises(OutboxUnavailable, match="full"):
            thread.wait()
    with pytest.raises(OutboxUnavailable):
        committer.check()  # tries again, before anything is stored
    writer.fail = None
    committer.check()
    committer.commit(b"y")
    assert writer.groups[-1] == [b"y"]


def test_an_unexpected_error_is_told_and_does_not_end_the_thread():
    writer = SlowWriter(0)
    committer = GroupCommitter(lambda: writer)
    writer.fail = ZeroDivisionError("odd")
    with pytest.raises(OutboxUnavailable, match="odd"):
        committer.commit(b"x")
    writer.fail = None
    committer.commit(b"x")


def test_a_disk_that_does_not_answer_is_an_error():
    committer = GroupCommitter(lambda: SlowWriter(0.5), timeout=0.05)
    with pytest.raises(OutboxUnavailable, match="did not answer"):
        committer.commit(b"x")


def test_a_forked_worker_gets_a_thread_of_its_own():
    committer = GroupCommitter(lambda: SlowWriter(0))
    committer.commit(b"parent")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            eventlet.hubs.use_hub()
            committer.commit(b"child")
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
