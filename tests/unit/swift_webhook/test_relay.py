# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import threading
import time

import pytest
from neocampus_lake.errors import StoreError
from neocampus_lake.events import run_id
from swift_webhook import outbox
from swift_webhook import relay as relay_module
from swift_webhook.airflow import Refused
from swift_webhook.outbox import SegmentWriter, segments
from swift_webhook.relay import Relay, Settings, State, TokenBucket, UnderWay, backoff, exclusive


class Killed(BaseException):
    """Stands for kill -9 at this point."""


class FakeAirflow:
    """Keeps runs by id; raises `answers` first; raises `lose` after it has started the run."""

    def __init__(self) -> None:
        self.runs: dict[str, dict] = {}
        self.calls: list[str] = []
        self.answers: list[BaseException] = []
        self.poison: set[str] = set()
        self.lose: BaseException | None = None
        self.asked: list[str] = []
        self.slow: set[str] | None = set()  # runs that have not ended; None: all

    def ended(self, run):
        self.asked.append(run)
        if self.answers:
            raise self.answers.pop(0)
        return self.slow is not None and run not in self.slow

    def start(self, run, conf):
        self.calls.append(run)
        if self.answers:
            raise self.answers.pop(0)
        if any(event["swift_id"] in self.poison for event in conf["events"]):
            raise Refused("422: not understood")
        new = run not in self.runs
        self.runs.setdefault(run, conf)
        if self.lose:
            lost, self.lose = self.lose, None
            raise lost
        return new

    @property
    def delivered(self) -> list[str]:
        return [event["swift_id"] for conf in self.runs.values() for event in conf["events"]]


@pytest.fixture
def airflow():
    return FakeAirflow()


@pytest.fixture
def put(folders, make_event):
    """Commit events with these numbers, through one writer."""
    writer = SegmentWriter(folders / "outbox")

    def put(*numbers, writer=writer, **changes):
        writer.append([make_event(number, **changes).to_line().encode() for number in numbers])

    put.writer = writer
    return put


@pytest.fixture
def make_relay(folders, airflow):
    def make(**changes):
        values = {"quiet": 0.01, "linger": 0.05, "backoff": 0.001, "max_backoff": 0.005, "runs_per_second": 1000.0}
        settings = Settings(
            folders / "outbox", folders / "state", folders / "dead", folders / "delivered", **{**values, **changes}
        )
        return Relay(settings, airflow)

    return make


def step(relay):
    """One round of the service."""
    assert relay.collect()
    relay.compose()
    relay.deliver()
    relay.clean()


def test_events_in_a_row_share_a_run(make_relay, put, airflow):
    put(1, 2)
    put(3)
    step(make_relay())
    (conf,) = airflow.runs.values()
    assert [event["swift_id"] for event in conf["events"]] == ["1", "2", "3"]
    (run,) = airflow.runs
    assert run == f"new_input__{conf['batch']}"


def test_the_run_id_is_that_of_the_library(make_relay, put, airflow, make_event):
    put(1, 2)
    step(make_relay())
    assert list(airflow.runs) == [run_id([make_event(1), make_event(2)])]


def test_a_batch_is_limited_and_the_order_is_that_of_the_puts(make_relay, put, airflow, folders):
    other = SegmentWriter(folders / "outbox")  # another worker of the proxy
    put(1, 3, 5, 7)
    put(2, 4, 6, writer=other)
    relay = make_relay(max_events=3)
    for _ in range(3):
        step(relay)
    assert airflow.delivered == ["1", "2", "3", "4", "5", "6", "7"]
    assert [len(conf["events"]) for conf in airflow.runs.values()] == [3, 3, 1]


def test_what_is_delivered_is_not_sent_again_after_a_restart(make_relay, put, airflow):
    put(1)
    step(make_relay())
    put(2)
    step(make_relay())
    assert airflow.delivered == ["1", "2"]


def test_delivered_segments_are_removed_once_nobody_writes_them(make_relay, put, folders):
    relay = make_relay()
    put(1)
    step(relay)
    assert len(segments(folders / "outbox")) == 1
    put.writer.close()
    relay.clean()
    assert segments(folders / "outbox") == []
    assert relay.state.positions == {}


def test_a_torn_last_line_does_not_keep_a_segment(make_relay, put, folders, airflow):
    put(1)
    put.writer.close()
    (name,) = segments(folders / "outbox")
    with open(folders / "outbox" / name, "ab") as file:
        file.write(b'deadbeef {"swift_id": "2", "swi')
    step(make_relay())
    assert airflow.delivered == ["1"]
    assert segments(folders / "outbox") == []


def test_a_line_that_is_still_written_is_taken_when_it_is_whole(make_relay, folders, airflow, make_event):
    line = make_event(2).to_line().encode()
    path = folders / "outbox" / "1.events"
    path.write_bytes(make_event(1).to_line().encode() + line[:40])
    relay = make_relay()
    assert relay.scan() == 1
    with open(path, "ab") as file:
        file.write(line[40:])
    assert relay.scan() == 2


def test_a_damaged_line_is_set_aside_and_the_rest_delivered(make_relay, folders, airflow, make_event):
    path = folders / "outbox" / "1.events"
    damaged = make_event(2).to_line().replace("alice", "mally")
    path.write_text(make_event(1).to_line() + damaged + make_event(3).to_line() + damaged)
    step(make_relay())
    assert airflow.delivered == ["1", "3"]
    letters = [json.loads(file.read_text()) for file in (folders / "dead").glob("*.json")]
    assert {letter["line"] for letter in letters} == {damaged}
    assert segments(folders / "outbox") == []


@pytest.mark.parametrize("error", [StoreError("connection refused"), StoreError("404"), StoreError("500")])
def test_airflow_away_is_waited_for(make_relay, put, airflow, error):
    airflow.answers = [error] * 5
    put(1)
    relay = make_relay()
    step(relay)
    assert airflow.delivered == ["1"]
    assert len(set(airflow.calls)) == 1
    assert (relay.state.retried, relay.error) == (5, "")


def test_a_lost_answer_meets_a_conflict_and_is_done(make_relay, put, airflow):
    airflow.lose = StoreError("connection reset")
    put(1)
    step(make_relay())
    assert len(airflow.calls) == 2
    assert len(airflow.runs) == 1


@pytest.mark.parametrize("lost_answer", [False, True])
def test_a_crash_sends_the_same_batch_under_the_same_run(make_relay, put, airflow, lost_answer):
    put(1, 2)
    if lost_answer:
        airflow.lose = Killed()
    else:
        airflow.answers = [Killed()]
    relay = make_relay()
    with pytest.raises(Killed):
        step(relay)
    put(3)  # must not get into the batch that is under way
    relay = make_relay()
    relay.deliver()
    step(relay)
    assert len(set(airflow.calls)) == 2
    assert [[event["swift_id"] for event in conf["events"]] for conf in airflow.runs.values()] == [["1", "2"], ["3"]]


def test_a_crash_anywhere_between_two_syncs_loses_nothing(make_relay, put, airflow, monkeypatch, folders):
    """Dies before each durable step in turn, and starts again."""
    real = relay_module.write_whole
    countdown = [0]

    def write(path, text, **options):
        if options.get("sync", True):
            countdown[0] -= 1
            if countdown[0] == 0:
                raise Killed
        real(path, text, **options)

    monkeypatch.setattr(relay_module, "write_whole", write)
    number = 0
    for crash_at in (1, 2, 1, 3, 2, 4):
        put(number, number + 1)
        number += 2
        countdown[0] = crash_at
        with pytest.raises(Killed):
            relay = make_relay(max_events=1)
            while True:
                relay.deliver()
                step(relay)
    countdown[0] = 10**6
    relay = make_relay()
    relay.deliver()
    if relay.scan():
        step(relay)
    assert set(airflow.delivered) == {str(n) for n in range(number)}
    assert len(airflow.delivered) == number  # the same run id each time: no run twice


def test_without_its_state_everything_is_sent_again(make_relay, put, airflow, folders):
    put(1)
    step(make_relay())
    (folders / "state" / "state.json").write_text("{torn")
    put(2)
    step(make_relay())
    assert airflow.delivered == ["1", "1", "2"]


def test_a_poisonous_event_is_found_and_set_aside(make_relay, put, airflow, folders):
    airflow.poison = {"5"}
    put(*range(1, 9))
    relay = make_relay()
    step(relay)
    assert sorted(airflow.delivered) == ["1", "2", "3", "4", "6", "7", "8"]
    (letter,) = (folders / "dead").glob("*.json")
    content = json.loads(letter.read_text())
    assert [event["swift_id"] for event in content["events"]] == ["5"]
    assert "not understood" in content["reason"]
    assert (relay.state.delivered, relay.state.refused) == (7, 1)


def test_a_crash_while_a_batch_is_split_goes_on_with_the_halves(make_relay, put, airflow, folders):
    airflow.poison = {"2"}
    put(1, 2, 3, 4)
    relay = make_relay()
    relay.scan()
    relay.compose()
    airflow.answers = [Refused("422"), Killed()]
    with pytest.raises(Killed):
        relay.deliver()
    relay = make_relay()
    assert [len(batch) for batch in relay.state.batches] == [2, 2]
    relay.deliver()
    assert sorted(airflow.delivered) == ["1", "3", "4"]
    assert len(list((folders / "dead").glob("*.json"))) == 1


def test_under_load_batches_grow_instead_of_runs(make_relay, put, airflow):
    relay = make_relay(quiet=0.001, linger=0.002, runs_per_second=1.0, burst=1)
    put(1)
    step(relay)  # takes the only token
    put(2)
    feeder = threading.Thread(target=lambda: [(time.sleep(0.01), put(number)) for number in range(3, 13)])
    feeder.start()
    step(relay)
    feeder.join()
    assert len(airflow.runs) == 2
    assert len(airflow.delivered) == 12


def test_a_full_batch_does_not_wait_for_a_token(make_relay, put, airflow):
    relay = make_relay(runs_per_second=0.001, burst=1, max_events=2)
    put(*range(6))
    for _ in range(3):
        step(relay)
    assert len(airflow.runs) == 3


def test_memory_is_bounded_when_the_outbox_is_large(make_relay, put, airflow):
    for start in range(0, 3000, 100):
        put(*range(start, start + 100))
    relay = make_relay(max_events=10)
    assert relay.scan() < 2000
    while len(airflow.delivered) < 3000:
        step(relay)
    assert airflow.delivered == [str(n) for n in range(3000)]


def test_the_service_wakes_up_at_once_and_stops_when_asked(make_relay, put, airflow, folders):
    relay = make_relay()
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        time.sleep(0.2)
        started = time.monotonic()
        put(1)
        while not airflow.runs and time.monotonic() < started + 5:
            time.sleep(0.005)
        assert time.monotonic() - started < 1
        with pytest.raises(StoreError, match="another relay"), exclusive(folders / "state" / "relay.lock"):
            pass
    finally:
        relay.stop()
        thread.join(5)
    assert not thread.is_alive()


def test_stop_while_airflow_is_away_keeps_the_batch(make_relay, put, airflow):
    airflow.answers = [StoreError("away")] * 1000
    put(1)
    relay = make_relay(backoff=30.0, max_backoff=30.0)
    thread = threading.Thread(target=relay.run)
    thread.start()
    while not airflow.calls:
        time.sleep(0.005)
    relay.stop()
    thread.join(5)
    assert not thread.is_alive()
    airflow.answers = []
    make_relay().deliver()
    assert airflow.delivered == ["1"]


def test_backoff_grows_to_a_limit_and_is_spread():
    assert all(0.25 <= backoff(1, 0.5, 15) <= 0.5 for _ in range(50))
    assert all(7.5 <= backoff(100, 0.5, 15) <= 15 for _ in range(50))
    assert len({backoff(5, 0.5, 15) for _ in range(50)}) > 10


def test_token_bucket():
    now = [0.0]
    bucket = TokenBucket(0.5, 2, lambda: now[0])
    bucket.take()
    assert bucket.wait_time() == 0
    bucket.take()
    assert bucket.wait_time() == pytest.approx(2.0)
    now[0] = 1.0
    assert bucket.wait_time() == pytest.approx(1.0)
    now[0] = 100.0
    assert bucket.wait_time() == 0


def test_state_survives_and_unknown_content_does_not_stop_the_relay(tmp_path):
    path = tmp_path / "state.json"
    state = State(positions={"a": 3}, batches=[[{"swift_id": "1"}]], after={"a": 9}, delivered=4)
    state.save(path)
    assert State.load(path) == state
    path.write_text('{"other": 1}')
    assert State.load(path) == State()


def test_order_of_an_object_across_segments(make_relay, airflow, folders, make_event, monkeypatch):
    """Ten workers of the proxy, each with a segment of its own, and far more than is held in memory."""
    monkeypatch.setattr(relay_module, "_READ_BYTES", 2000)
    writers = [SegmentWriter(folders / "outbox") for _ in range(10)]
    lines: list[list[bytes]] = [[] for _ in writers]
    start = time.time()
    for number in range(3000):
        event = make_event(number, object_name=str(number % 7), etag=str(number), timestamp=f"{start + number:016.5f}")
        lines[number * 31 % 10 if number < 1500 else number * 7 % 9].append(event.to_line().encode())
    for writer, group in zip(writers, lines, strict=True):
        writer.append(group)
    relay = make_relay(max_events=20, linger=0.0)
    while relay.scan():
        step(relay)
    numbers = [int(event["etag"]) for conf in airflow.runs.values() for event in conf["events"]]
    assert len(numbers) == 3000
    for name in range(7):
        assert [number for number in numbers if number % 7 == name] == list(range(name, 3000, 7))


@pytest.mark.parametrize("look", ["collect", "compose"])
def test_order_of_an_object_that_changes_while_the_outbox_is_read(make_relay, put, airflow, folders, monkeypatch, look):
    """Put through a worker whose segment has just been read to its end, deleted through one that is read next."""
    other = SegmentWriter(folders / "outbox")
    put(1)
    put(2, writer=other)
    first = folders / "outbox" / segments(folders / "outbox")[0]
    real = outbox.read_segment

    def read_segment(path, offset, **options):
        chunk = real(path, offset, **options)
        if armed and path == first and chunk.end == offset:
            armed.clear()
            put(3, object_name="o")
            put(4, object_name="o", type="delete", writer=other)
        return chunk

    armed = {"collect"} & {look}
    monkeypatch.setattr(outbox, "read_segment", read_segment)
    relay = make_relay(max_events=3, quiet=0.0)
    assert relay.collect()
    armed |= {"compose"} & {look}
    relay.compose()
    relay.deliver()
    while len(airflow.delivered) < 4:
        step(relay)
    events = [event for conf in airflow.runs.values() for event in conf["events"] if event["swift_id"] == "o"]
    assert [event["type"] for event in events] == ["put", "delete"]


def test_events_whose_times_go_back_in_a_segment_are_sent_as_they_came(make_relay, put, airflow):
    """A long upload has its time from its beginning."""
    put(200)
    put(150)
    step(make_relay())
    assert airflow.delivered == ["200", "150"]


def test_put_and_delete_of_an_object_by_two_workers_keep_their_order(make_relay, put, airflow, folders):
    other = SegmentWriter(folders / "outbox")
    put(2, object_name="o", type="delete")
    put(1, object_name="o", writer=other)
    put(3, object_name="o", writer=other)
    step(make_relay())
    (conf,) = airflow.runs.values()
    assert [(event["type"], event["id"][-1]) for event in conf["events"]] == [
        ("put", "1"),
        ("delete", "2"),
        ("put", "3"),
    ]


def test_delivered_segments_are_kept_for_a_while(make_relay, put, folders, monkeypatch):
    relay = make_relay(keep_hours=24.0)
    put(1)
    put.writer.close()
    step(relay)
    (name,) = segments(folders / "delivered")
    relay.expire()
    assert segments(folders / "delivered") == [name]
    now = time.time()
    monkeypatch.setattr(relay_module.time, "time", lambda: now + 25 * 3600)
    relay.expire()  # not looked at again so soon
    assert segments(folders / "delivered") == [name]
    make_relay(keep_hours=24.0).expire()
    assert segments(folders / "delivered") == []


def test_delivered_segments_are_bounded_by_size(make_relay, put, folders):
    for number in range(4):
        put(number)
        put.writer.close()
    length = (folders / "outbox" / segments(folders / "outbox")[0]).stat().st_size
    relay = make_relay(keep_bytes=2 * length + 10)
    step(relay)
    names = segments(folders / "delivered")
    assert len(names) == 4
    relay.expire()
    assert segments(folders / "delivered") == names[2:]  # the oldest went


@pytest.mark.parametrize("nothing", [{"keep_hours": 0.0}, {"keep_bytes": 0}])
def test_nothing_is_kept_where_nothing_is_to_be(make_relay, put, folders, nothing):
    put(1)
    put.writer.close()
    step(make_relay(**nothing))
    assert segments(folders / "outbox") == segments(folders / "delivered") == []


def test_delivering_goes_on_where_segments_cannot_be_kept(make_relay, put, folders, airflow):
    (folders / "delivered").rmdir()
    put(1)
    put.writer.close()
    step(make_relay())
    assert airflow.delivered == ["1"]
    assert segments(folders / "outbox") == []


def test_the_mark_says_up_to_when_everything_is_delivered(make_relay, put, airflow, folders):
    relay = make_relay()
    relay.scan()
    empty = outbox.marked(folders / "outbox")
    assert time.time() - empty < 5
    put(1)  # with a time of long ago: a long upload, or a replay
    relay.scan()
    assert outbox.marked(folders / "outbox") == pytest.approx(empty)
    put(2, timestamp=f"{time.time() + 60:016.5f}")
    step(relay)
    assert outbox.marked(folders / "outbox") >= empty
    airflow.answers = [Killed()]
    put(3, timestamp=f"{time.time():016.5f}")
    with pytest.raises(Killed):
        step(relay)
    time.sleep(0.02)
    relay.scan()
    assert outbox.usage(folders / "outbox")[1] == pytest.approx(outbox.marked(folders / "outbox"))


def run_until(relay, condition, seconds=5.0):
    """Run the service in a thread until the condition holds; returns whether it did."""
    thread = threading.Thread(target=relay.run)
    thread.start()
    ends = time.monotonic() + seconds
    try:
        while not condition() and time.monotonic() < ends:
            time.sleep(0.01)
        return condition()
    finally:
        relay.stop()
        thread.join(5)
        assert not thread.is_alive()


def test_a_paused_relay_sends_nothing_and_says_so(make_relay, put, airflow, folders, monkeypatch):
    monkeypatch.setattr(relay_module, "_PAUSE_SECONDS", 0.02)
    pause = folders / "state" / "paused"
    pause.touch()
    put(1)
    relay = make_relay()
    assert not run_until(relay, lambda: airflow.calls, seconds=0.3)
    assert relay.numbers().paused
    relay = make_relay()  # a restart does not end it
    assert not run_until(relay, lambda: airflow.calls, seconds=0.1)
    put(2)  # events are still taken
    pause.unlink()
    assert run_until(make_relay(), lambda: len(airflow.delivered) == 2)


def test_a_pause_holds_while_airflow_is_away_and_while_the_relay_waits(make_relay, put, airflow, folders, monkeypatch):
    monkeypatch.setattr(relay_module, "_PAUSE_SECONDS", 0.02)
    pause = folders / "state" / "paused"
    airflow.answers = [StoreError("away")] * 10**6
    put(1)
    relay = make_relay(backoff=0.001, max_backoff=0.002)
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        while len(airflow.calls) < 3:
            time.sleep(0.005)
        pause.touch()
        time.sleep(0.1)
        calls = len(airflow.calls)
        time.sleep(0.1)
        assert len(airflow.calls) == calls
        airflow.answers = []
        pause.unlink()
        while not airflow.delivered:
            time.sleep(0.005)
        time.sleep(0.05)  # idle by now
        pause.touch()
        put(2)
        time.sleep(0.2)
        assert airflow.delivered == ["1"]
        pause.unlink()
        while len(airflow.delivered) < 2:
            time.sleep(0.005)
    finally:
        relay.stop()
        thread.join(5)
    assert len({run for run in airflow.calls}) == 2


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_runs_under_way_hold_up_the_next_one_until_airflow_has_ended_one(airflow):
    clock = Clock()
    under_way = UnderWay(airflow, 2, 20.0, clock)
    airflow.slow = None
    for run in "ab":
        assert under_way.wait_time() == 0
        under_way.started(run, 1)
    wait = under_way.wait_time()
    assert wait > 0 and airflow.asked == []  # neither can have ended yet
    clock.now += wait
    assert under_way.wait_time() == pytest.approx(UnderWay.LOOK) and airflow.asked == ["a", "b"]
    assert under_way.wait_time() > 0 and len(airflow.asked) == 2  # not more often
    airflow.slow = {"a"}
    clock.now += UnderWay.LOOK
    assert under_way.wait_time() == 0
    assert under_way.wait_time() == 0 and airflow.asked[2:] == ["a", "b"]
    under_way.started("c", 1)
    airflow.answers = [StoreError("away")]
    clock.now += 2 * UnderWay.LOOK
    assert under_way.wait_time() == 0  # c has ended; of a nothing is known
    under_way.started("d", 1)
    airflow.slow = None
    clock.now += 25.0
    assert under_way.wait_time() == 0  # they take too long to hold up others


def test_a_run_that_is_asked_for_late_delays_none_after_it(airflow):
    clock = Clock()
    under_way = UnderWay(airflow, 1, 20.0, clock)
    under_way.started("a", 1)
    clock.now += 300.0  # nothing was to be sent
    assert under_way.wait_time() == 0
    under_way.started("b", 1)
    assert under_way.wait_time() <= UnderWay.LOOK


def test_a_full_batch_is_given_its_time(airflow):
    clock = Clock()
    under_way = UnderWay(airflow, 1, 20.0, clock)
    airflow.slow = None
    under_way.started("full", 500)
    clock.now += 69.0
    assert under_way.wait_time() > 0
    clock.now += 2.0
    assert under_way.wait_time() == 0


def test_full_batches_owe_no_time_to_those_after_them():
    bucket = TokenBucket(0.5, 2, lambda: 0.0)
    for _ in range(10):
        bucket.take()
    assert bucket.wait_time() == pytest.approx(2.0)


def test_any_number_of_runs_under_way(airflow):
    under_way = UnderWay(airflow, 0, 20.0, Clock())
    for run in range(100):
        assert under_way.wait_time() == 0
        under_way.started(str(run), 1)


def test_while_airflow_is_busy_batches_grow_and_a_full_one_waits_too(make_relay, put, airflow):
    relay = make_relay(runs_under_way=1, max_events=4, run_seconds=0.6)
    airflow.slow = None
    put(0)
    assert relay.collect()
    relay.compose()
    relay.deliver()
    put(*range(1, 7))
    begun = time.monotonic()
    assert relay.collect()  # a full batch is there: it goes once the run does not count any more
    assert time.monotonic() - begun > 0.4
    relay.compose()
    relay.deliver()
    assert [len(conf["events"]) for conf in airflow.runs.values()] == [1, 4]
    relay.stop()
    assert not relay.collect()


def test_a_pause_ends_the_wait_for_a_run(make_relay, put, airflow, folders):
    relay = make_relay(runs_under_way=1)
    airflow.slow = None
    put(0)
    assert relay.collect()
    relay.compose()
    relay.deliver()
    put(1)
    threading.Timer(0.3, (folders / "state" / "paused").touch).start()
    begun = time.monotonic()
    relay.collect()
    assert time.monotonic() - begun < 5
