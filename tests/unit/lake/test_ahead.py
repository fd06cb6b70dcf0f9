# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import threading
import time

import pytest
from neocampus_lake import ahead
from neocampus_lake.ahead import AHEAD, THREADS, ReadAhead
from neocampus_lake.errors import NotFound, StoreError
from neocampus_lake.events import Event


def event(name):
    return Event(
        id=name,
        type="put",
        account="AUTH_p",
        project_id="p",
        container="c",
        object_name=name,
        user="alice",
        user_id="u",
        content_type="text/plain",
        size=1,
        etag="e",
        timestamp="1",
        transaction_id="t",
    )


EVENTS = [event(str(number)) for number in range(100)]


def test_several_wait_at_the_same_time_and_no_more_are_held_than_should_be():
    lock, seen, together, most = threading.Lock(), 0, 0, 0

    def open_object(event):
        nonlocal seen, together, most
        with lock:
            seen, together = seen + 1, together + 1
            most = max(most, together)
        time.sleep(0.005)
        with lock:
            together -= 1
        return io.BytesIO(event.object_name.encode())

    with ReadAhead(open_object, EVENTS) as reader:
        time.sleep(0.2)
        assert seen == AHEAD
        for event in EVENTS:
            assert reader.open(event).read() == event.object_name.encode()
    assert seen == len(EVENTS) and 1 < most <= THREADS


def test_one_that_is_not_wanted_is_opened_as_ever_and_may_be_opened_again():
    opened = []

    def open_object(event):
        opened.append(event.object_name)
        return io.BytesIO(b"x")

    with ReadAhead(open_object, EVENTS[:1]) as reader:
        assert reader.open(EVENTS[1]).read() == b"x"
        assert reader.open(EVENTS[0]).read() == b"x" == reader.open(EVENTS[0]).read()
    assert sorted(opened) == ["0", "0", "1"]


class Broken(io.BytesIO):
    def read(self, *_size):
        raise ConnectionError("reset")


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (NotFound("no such object"), NotFound, "no such object"),
        (StoreError("away", retriable=True), StoreError, "away"),
        (Broken(), StoreError, "reading the object '0' broke off: reset"),
    ],
)
def test_what_goes_wrong_is_told_where_the_object_is_wanted(fault, error, words):
    def open_object(event):
        if event is not EVENTS[0]:
            return io.BytesIO(b"x")
        if isinstance(fault, Exception):
            raise fault
        return fault

    with ReadAhead(open_object, EVENTS[:2]) as reader:
        assert reader.open(EVENTS[1]).read() == b"x"
        with pytest.raises(error, match=words):
            reader.open(EVENTS[0])


def test_one_that_is_larger_than_was_said_is_not_held_in_memory(monkeypatch):
    monkeypatch.setattr(ahead, "LARGEST", 10)
    streams = []

    def open_object(event):
        streams.append(io.BytesIO(b"x" * 1000))
        return streams[-1]

    with ReadAhead(open_object, EVENTS[:1]) as reader:
        stream = reader.open(EVENTS[0])
        assert stream is streams[1] and streams[0].closed and len(stream.read()) == 1000


def test_what_is_left_is_not_fetched_any_more():
    started = []

    def open_object(event):
        started.append(event.object_name)
        time.sleep(0.02)
        return io.BytesIO(b"x")

    with ReadAhead(open_object, EVENTS):
        pass
    assert len(started) <= THREADS
