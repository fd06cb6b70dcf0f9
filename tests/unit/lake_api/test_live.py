# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Live events: what is told, to whom, in which order, and how a client goes on after a break.

The change streams are those of a double, and of a real replica set where LAKE_TEST_MONGODB says where one is, as JSON
with MongoClient's arguments.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import threading
import time
import uuid
from contextlib import aclosing
from types import SimpleNamespace

import pymongo
import pytest
from bson import Timestamp
from lake_api import live
from lake_api.errors import ApiError, ServiceAway
from lake_api.settings import Live
from neocampus_lake.metadata import MetadataStore
from pymongo.errors import OperationFailure

LIVE = "/api/v1/containers/rooms/live"
SERVER = os.environ.get("LAKE_TEST_MONGODB")
FAST = Live(heartbeat_seconds=0.05, queue=20, points=10)


def operation(name="ab", points=0, series=(), **more):
    gold = {"gold": {"influxdb": {"points": points, "series": list(series)}}} if points else {}
    return {"operation_instance": f"run-{name}", "operation": name, "pipeline": "p", **gold, **more}


class FakeChanges:
    """MongoDB's change streams: `changes` has what happened, `position` where the log is."""

    def __init__(self):
        self.changes = []
        self.clock = 0
        self.oldest = 0
        self.opened = 0
        self.fails = []
        self.lock = threading.Condition()

    def add(self, store, number, updated=None, inserted=None):
        with self.lock:
            self.clock += 1
            kind = (
                {"fullDocument": {"status": inserted}}
                if inserted
                else {"updateDescription": {"updatedFields": updated}}
            )
            raw = {
                "_id": {"_data": self.token(self.clock)},
                "ns": {"coll": store},
                "documentKey": {"_id": number},
                **kind,
            }
            self.changes.append(raw)
            self.lock.notify_all()
            return raw["_id"]["_data"]

    @staticmethod
    def token(clock):
        return f"82{clock:08X}00000001"

    def watch(self, pipeline, max_await_time_ms, resume_after=None, start_at_operation_time=None):
        self.opened += 1
        if self.fails:
            raise self.fails.pop(0)
        begin = self.clock
        if resume_after:
            begin = int(resume_after["_data"][2:10], 16)
        if start_at_operation_time:
            begin = start_at_operation_time.time - 1
        if begin + 1 < self.oldest:
            raise OperationFailure("history lost", 286)
        store = pipeline[0]["$match"].get("ns.coll")
        return FakeStream(self, begin, store)


class FakeStream:
    def __init__(self, changes, begin, store):
        self.all, self.at, self.store = changes, begin, store
        self.resume_token = {"_data": changes.token(begin)}

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        pass

    def try_next(self):
        with self.all.lock:
            if self.all.fails:
                raise self.all.fails.pop(0)
            for raw in self.all.changes:
                clock = int(raw["_id"]["_data"][2:10], 16)
                if clock > self.at and self.store in (None, raw["ns"]["coll"]):
                    self.at, self.resume_token = clock, raw["_id"]
                    return raw
            self.at = self.all.clock
            self.resume_token = {"_data": self.all.token(self.at)}
            self.all.lock.wait(0.02)
            return None


class FakeSeries:
    """The half of the stores that reads points."""

    def __init__(self, client):
        self.client = client
        self.points = {}
        self.asked = []
        self.influxdb = SimpleNamespace(points_of=self._points_of)

    def _points_of(self, database, origin, series, limit):
        self.asked.append((database, origin))
        return self.points[origin][:limit]

    async def series(self, read, *given):
        return read(*given)


@pytest.fixture
def changes(monkeypatch):
    fake = FakeChanges()
    monkeypatch.setattr("mongomock.database.Database.watch", lambda _self, *a, **k: fake.watch(*a, **k), raising=False)
    monkeypatch.setattr(live, "_RETRY_SECONDS", 0.01)
    return fake


@pytest.fixture
def stores(changes, mongo):
    return FakeSeries(mongo)


def parsed(text):
    """An event as a client has it: id, kind, data."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(": ")
        if name:
            found[name] = value
    return found.get("id"), found.get("event"), json.loads(found["data"]) if "data" in found else None


class Client:
    """Listens until it has `count` events; `last` is the id that it would give when it comes again."""

    def __init__(self, hub, store="rooms", project="p1", seconds=3600.0, refused=None, **wanted):
        self.hub, self.store, self.project = hub, store, project
        self.wanted = live.Filter(**wanted)
        self.end = time.monotonic() + seconds
        self.refused = refused
        self.last = None

    async def hear(self, count, during=None, seconds=5):
        listener = await self.hub.listen(self.store, self.project)
        after = live.Place.parse(self.last) if self.last else None
        check = functools.partial(asyncio.sleep, 0, self.refused)
        texts = live.texts(self.hub, listener, self.wanted, after, check, lambda: self.end - time.monotonic())
        found = []
        try:
            async with asyncio.timeout(seconds), aclosing(texts):
                async for text in texts:
                    identity, kind, data = parsed(text)
                    self.last = identity or self.last
                    if kind is None and during:
                        during()
                        during = None
                    if kind:
                        found.append((kind, data))
                    if len(found) >= count:
                        return found
        finally:
            self.hub.leave(listener)
        return found


def run(test):
    return asyncio.run(test())


def numbers(found):
    return [data.get("object") for _kind, data in found]


def test_what_is_told_of_an_object(changes, stores):
    async def test():
        hub = live.Hub(stores, FAST)

        def happen():
            changes.add("rooms", 1, inserted="pending")
            changes.add("other", 2, {"status": "stored"})
            changes.add("rooms", 1, {"status": "stored", "size": 5})
            changes.add("rooms", 1, {"application": "x"})
            changes.add("rooms", 1, {"successful_operations": [operation("a")]})
            changes.add("rooms", 1, {"successful_operations.1": operation("b"), "last_modified": 1})
            changes.add("rooms", 1, {"failed_operations": [operation("c"), operation("d", message="bad")]})
            changes.add("rooms", 1, {"status": "deleted"})

        found = await Client(hub).hear(5, happen)
        assert [(kind, data["object"], data["status"]) for kind, data in found] == [
            ("processing", "1", status) for status in ("stored", "processed", "processed", "failed", "deleted")
        ]
        assert [data["operation"] and data["operation"]["operation"] for _, data in found] == [
            None,
            "a",
            "b",
            "d",
            None,
        ]
        assert hub.listeners == 0

    run(test)


SERIES = [{"measurement": "lux", "topic": "a", "from": "2021-01-01", "to": "2021-01-02"}]


def test_points(changes, stores):
    points = [{"measurement": m, "topic": t, "time": f"2021-01-01T00:00:0{n}Z", "value": n}
              for n, (m, t) in enumerate([("lux", "a"), ("lux", "b"), ("W", "a")])]  # fmt: skip
    stores.points["1/ab"] = points

    async def test():
        hub = live.Hub(stores, FAST)

        def happen():
            changes.add("rooms", 1, {"successful_operations.0": operation("ab", 3, SERIES)})
            changes.add("rooms", 2, {"successful_operations.0": operation("cd", 11, SERIES)})
            changes.add("rooms", 3, {"status": "stored"})

        clients = [
            Client(hub).hear(7, happen),
            Client(hub, kinds=frozenset({"point"}), measurements=frozenset({"lux"})).hear(3),
            Client(hub, kinds=frozenset({"point"}), topics=frozenset({"b"})).hear(1),
            Client(hub, kinds=frozenset({"processing"})).hear(3),
        ]
        everything, lux, topic, processing = await asyncio.gather(*clients)
        assert [kind for kind, _ in everything] == ["processing", *["point"] * 3, "processing", "points", "processing"]
        assert everything[1][1] == {"object": "1", **points[0]}
        assert everything[5][1] == {"object": "2", "points": 11, "series": SERIES}
        assert [data.get("value") for _, data in lux] == [0, 1, None]
        assert [data["value"] for _, data in topic] == [1]
        assert numbers(processing) == ["1", "2", "3"]
        assert stores.asked == [("rooms", "1/ab")]  # once for all

    run(test)


def test_points_that_can_not_be_read_are_told_as_such(changes, stores):
    stores.points["1/ab"] = [{"measurement": "lux", "topic": "a", "value": n} for n in range(3)]

    async def away(*_given):
        raise ServiceAway("InfluxDB")

    async def test():
        hub = live.Hub(stores, FAST)
        client = Client(hub)
        happened = {"successful_operations.0": operation("ab", 3, SERIES)}
        found = await client.hear(2, functools.partial(changes.add, "rooms", 1, happened))
        assert [kind for kind, _ in found] == ["processing", "point"]
        hub._points.clear()
        stores.series = away
        [(kind, data)] = await client.hear(1)
        assert (kind, data) == ("points", {"object": "1", "points": 3, "series": SERIES})

    run(test)


def test_a_client_goes_on_in_another_process_without_gap_or_double(changes, stores):
    stores.points = {f"{n}/ab": [{"measurement": "m", "time": "x", "value": v} for v in range(3)] for n in range(300)}

    async def test():
        hubs = [live.Hub(stores, FAST), live.Hub(stores, FAST)]
        stay = asyncio.ensure_future(Client(hubs[1]).hear(10**6, seconds=30))  # that one's stream goes on
        client, heard = Client(hubs[0]), []
        number = 0

        def happen():
            nonlocal number
            for _ in range(3):
                number += 1
                changes.add("rooms", number, {"successful_operations.0": operation("ab", 3, SERIES)})
                changes.add("other", number, {"status": "stored"})

        for turn in range(20):
            client.hub = hubs[turn % 2]
            heard += await client.hear(turn % 5 + 1, happen)
            happen()
        while len(heard) < number * 4:
            heard += await client.hear(number * 4 - len(heard))
        assert [(data["object"], data.get("value")) for _, data in heard] == [
            (str(n), value) for n in range(1, number + 1) for value in (None, 0, 1, 2)
        ]
        stay.cancel()

    run(test)


def test_a_client_that_heard_nothing_goes_on_where_it_began(changes, stores):
    async def test():
        hub = live.Hub(stores, FAST)
        client = Client(hub)
        with pytest.raises(TimeoutError):
            await client.hear(1, seconds=0.1)
        changes.add("rooms", 1, {"status": "stored"})
        assert numbers(await client.hear(1)) == ["1"]
        changes.add("rooms", 2, {"status": "stored"})
        assert numbers(await client.hear(1)) == ["2"]

    run(test)


def test_heartbeats_carry_the_place(changes, stores):
    async def test():
        client = Client(live.Hub(stores, FAST))
        begun = changes.token(changes.clock)
        later = threading.Timer(0.1, lambda: changes.add("other", 9, {"status": "stored"}))
        later.start()
        with pytest.raises(TimeoutError):
            await client.hear(1, seconds=0.5)
        assert live.Place.parse(client.last).token > begun

    run(test)


def test_who_wants_nothing_of_what_comes_is_kept_alive_and_looked_after(changes, stores):
    async def test():
        client = Client(live.Hub(stores, FAST), kinds=frozenset({"point"}))
        over = threading.Event()

        def happen():
            while not over.wait(0.01):
                changes.add("rooms", 1, {"status": "stored"})

        busy = threading.Thread(target=happen)
        busy.start()
        with pytest.raises(TimeoutError):
            await client.hear(1, seconds=0.5)
        assert live.Place.parse(client.last).token > changes.token(5)
        client.refused = ("forbidden", "no role")
        assert (await client.hear(1))[0][0] == "end"
        over.set()
        busy.join()

    run(test)


def test_what_is_no_longer_known_is_said(changes, stores):
    async def test():
        hub = live.Hub(stores, FAST)
        client = Client(hub)
        changes.add("rooms", 1, {"status": "stored"})
        client.last = f"{changes.token(0)}.1"
        changes.clock, changes.oldest = 100, 50
        found = await client.hear(2, lambda: changes.add("rooms", 2, {"status": "stored"}))
        assert [kind for kind, _ in found] == ["gap", "processing"] and found[0][1]["code"] == "events_lost"
        assert found[1][1]["object"] == "2"

        # The process's own stream may miss changes too.
        def lose():
            changes.fails.append(OperationFailure("history lost", 286))

        assert [kind for kind, _ in await client.hear(1, lose)] == ["gap"]

    run(test)


def test_a_stream_that_breaks_off_is_opened_again(changes, stores):
    async def test():
        def happen():
            changes.fails.append(pymongo.errors.AutoReconnect("away"))
            changes.add("rooms", 1, {"status": "stored"})

        assert numbers(await Client(live.Hub(stores, FAST)).hear(1, happen)) == ["1"]

    run(test)


def test_one_stream_for_all(changes, stores):
    async def test():
        hub = live.Hub(stores, FAST)
        happen = functools.partial(changes.add, "rooms", 1, {"status": "stored"})
        clients = [Client(hub).hear(1) for _ in range(10)]
        threading.Timer(0.3, happen).start()
        assert all(numbers(found) == ["1"] for found in await asyncio.gather(*clients))
        assert changes.opened == 1

    run(test)


def test_a_slow_client_is_cut_off(changes, stores):
    async def test():
        def happen():
            for number in range(30):
                changes.add("rooms", number, {"status": "stored"})
            time.sleep(0.5)  # nothing is taken meanwhile

        client = Client(live.Hub(stores, FAST))
        found = await client.hear(100, happen)
        assert found[-1][0] == "end" and found[-1][1]["code"] == "too_slow"
        heard = numbers(found[:-1])
        while len(heard) < 30:  # and goes on where it was
            heard += [data["object"] for kind, data in await client.hear(30 - len(heard)) if kind == "processing"]
        assert heard == [str(number) for number in range(30)]

    run(test)


def test_ends(changes, stores):
    async def test():
        hub = live.Hub(stores, FAST)
        [(kind, data)] = await Client(hub, seconds=0.2).hear(9)
        assert (kind, data["code"]) == ("end", "token_expired")
        [(kind, data)] = await Client(hub, refused=("forbidden", "no role")).hear(9)
        assert (kind, data) == ("end", {"code": "forbidden", "message": "no role"})
        [(kind, data)] = await Client(hub).hear(9, hub.close)
        assert (kind, data["code"]) == ("end", "restarting")
        with pytest.raises(ApiError, match="about to stop"):
            await Client(hub).hear(1)

    run(test)


def test_listeners_are_bounded(changes, stores):
    async def test():
        hub = live.Hub(stores, FAST.model_copy(update={"clients": 4}))
        mine = [await hub.listen("rooms", "p1") for _ in range(2)]
        with pytest.raises(ApiError, match="half of them of one project") as failure:
            await hub.listen("rooms", "p1")
        assert failure.value.status == 429
        others = [await hub.listen("x", name) for name in ("p2", "p3")]
        with pytest.raises(ApiError):
            await hub.listen("x", "p4")
        assert "p4" not in hub._counts
        for listener in mine + others:
            hub.leave(listener)
        assert hub.listeners == 0 and hub._watch is None

    run(test)


def test_the_path(api, insert, keystone, changes, error_of):
    insert("rooms", "x", b"1")
    error_of(api.get(LIVE.replace("rooms", "none")), 404, "not_found")
    error_of(api.get(LIVE, headers={"X-Auth-Token": keystone.give("foreign", project="p2")}), 404, "not_found")
    error_of(api.get(LIVE, headers={"Last-Event-ID": "17"}), 400, "invalid_event_id")
    error_of(api.get(LIVE, params={"events": "all"}), 400)
    changes.add("rooms", 1, {"status": "stored"})
    api.headers["X-Auth-Token"] = keystone.give("short", seconds=1.5, roles=("reader",))
    answer = api.get(LIVE, headers={"Last-Event-ID": f"{changes.token(0)}.1"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["x-accel-buffering"], answer.headers["cache-control"]) == ("no", "no-store")
    events = [parsed(text)[1:] for text in answer.text.split("\n\n") if "event:" in text]
    assert events[0] == ("processing", {"object": "1", "status": "stored", "operation": None})
    assert events[-1][1]["code"] == "token_expired"


def test_a_client_that_takes_nothing_is_cut_off():
    async def test():
        ended = []

        async def texts():
            while True:
                yield "x"

        async def send(message):
            if message["type"] == "http.response.body":
                await asyncio.sleep(60)

        stream = live.EventStream(texts(), 0.05, lambda: ended.append(True))
        async with asyncio.timeout(5):
            await stream({}, functools.partial(asyncio.sleep, 60), send)
        assert ended == [True]

    run(test)


def test_listeners_are_told_of_a_signal_before_the_server_waits_for_them():
    async def test():
        told = []
        numbers_ = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, lambda *_: told.append("server")) for number in numbers_}
        try:
            live.on_stop(lambda: told.append("listeners"))
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.1)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        assert sorted(told) == ["listeners", "server"]

    run(test)


def test_the_time_in_a_token():
    token = "826B071545000000022B022C0100296E5A1004B2"  # of MongoDB 6.0
    assert live.Place.parse(f"{token}.3").time == Timestamp(0x6B071545, 2)
    for wrong in ("", "x", token, f"{token}.", f"{token}.-1", f"81{token}.1", f"{token.lower()}.1", "82.1"):
        with pytest.raises(ApiError):
            live.Place.parse(wrong)


@pytest.mark.skipif(not SERVER, reason="LAKE_TEST_MONGODB names no server")
class TestRealChangeStreams:
    @pytest.fixture
    def client(self):
        with pymongo.MongoClient(**json.loads(SERVER), tz_aware=True, w="majority") as client:
            yield client

    @pytest.fixture
    def store(self, client):
        name = f"test-{uuid.uuid4().hex[:8]}"
        yield name
        client["swift"].drop_collection(name)

    @pytest.fixture
    def put(self, client, store):
        """put(number) -> an object that is inserted, stored, processed twice and failed, as the lake writes it."""
        metadata = MetadataStore(client)

        def log(number, ok, name):
            entry = {"operation_instance": f"run-{name}", "pipeline": "p", "operation": name}
            metadata.log(store, [(str(number), ok, entry, None)])

        def _put(number):
            fresh = {"_id": number, "swift_object_id": str(number), "swift_object_name": str(number)}
            lists = {"successful_operations": [], "failed_operations": []}
            metadata.insert(store, {**fresh, "status": "pending", **lists})
            metadata.mark_stored(store, str(number), etag="x", size=1)
            log(number, True, "a")
            log(number, True, "b")
            log(number, False, "c")

        return _put

    EACH = [("stored", None), ("processed", "a"), ("processed", "b"), ("failed", "c")]

    def test_nothing_is_missed_or_told_twice(self, client, store, put):
        async def test():
            settings = Live(heartbeat_seconds=0.2)
            hubs = [live.Hub(FakeSeries(client), settings) for _ in range(2)]
            stay = asyncio.ensure_future(Client(hubs[1], "none").hear(10**6, seconds=60))
            listening, heard = Client(hubs[0], store), []
            numbers_ = iter(range(1, 1000))

            def happen():
                put(next(numbers_))

            for turn in range(12):
                listening.hub = hubs[turn % 2]
                heard += await listening.hear(turn % 4 + 1, happen, seconds=20)
                put(next(numbers_))
            last = next(numbers_) - 1
            while len(heard) < 4 * last:
                heard += await listening.hear(4 * last - len(heard), seconds=20)
            said = [(data["object"], data["status"], (data["operation"] or {}).get("operation")) for _, data in heard]
            assert said == [(str(number), *one) for number in range(1, last + 1) for one in self.EACH]
            with pytest.raises(TimeoutError):
                await listening.hear(1, seconds=1)
            stay.cancel()

        run(test)

    def test_soon(self, client, store, put):
        async def test():
            begun = []

            def happen():
                begun.append(time.monotonic())
                put(1)

            await Client(live.Hub(FakeSeries(client), Live()), store).hear(4, happen)
            assert time.monotonic() - begun[0] < 1

        run(test)
