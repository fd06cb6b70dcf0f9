# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""What spares MongoDB writes: work that is done together, and ids that are reserved ahead."""

from __future__ import annotations

import threading

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lake_api.stores import IDS_SECONDS, Ids, Together
from neocampus_lake.errors import StoreError


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Counter:
    """The counter of ids; `asked` has how many were reserved each time."""

    def __init__(self):
        self.last, self.asked, self.away = 0, [], False

    def reserve(self, count):
        if self.away:
            raise StoreError("MongoDB is away")
        self.asked.append(count)
        self.last += count
        return [str(number) for number in range(self.last - count + 1, self.last + 1)]


def test_a_lone_id_is_reserved_alone():
    counter, clock = Counter(), Clock()
    ids = Ids(counter.reserve, clock)
    for number in range(1, 6):
        assert ids.take(1) == [str(number)]
        clock.now += 2 * IDS_SECONDS
    assert counter.asked == [1] * 5


def test_under_load_most_ids_cost_nothing():
    counter, clock = Counter(), Clock()
    ids = Ids(counter.reserve, clock)
    given = []
    for _ in range(300):  # ten seconds
        given += ids.take(1)
        clock.now += IDS_SECONDS / 30
    assert given == sorted(set(given), key=int)
    assert len(counter.asked) <= 5 + 10 and sum(counter.asked) < 1.2 * 300


@given(st.lists(st.tuples(st.integers(1, 100), st.floats(0, 3)), max_size=40))
def test_ids_are_new_and_in_order_and_none_is_old(asked):
    counter, clock = Counter(), Clock()
    reserved = {}  # id → when

    def reserve(count):
        made = counter.reserve(count)
        reserved.update(dict.fromkeys(made, clock.now))
        return made

    ids, given = Ids(reserve, clock), []
    for count, seconds in asked:
        taken = ids.take(count)
        assert len(taken) == count
        assert all(clock.now - reserved[taken_id] < IDS_SECONDS for taken_id in taken)
        given += taken
        clock.now += seconds
    assert given == sorted(set(given), key=int)


def test_threads_never_get_the_same_id():
    ids, given = Ids(Counter().reserve), []

    def work():
        for _ in range(200):
            given.extend(ids.take(2))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == len(set(given)) == 3200


def test_ids_that_could_not_be_reserved():
    counter = Counter()
    ids = Ids(counter.reserve)
    assert ids.take(1) == ["1"]
    counter.away = True
    with pytest.raises(StoreError):
        ids.take(1)
    counter.away = False
    assert ids.take(1) == ["2"]


def test_what_comes_meanwhile_is_done_together():
    batches, begun, gate = [], threading.Event(), threading.Event()

    def work(items):
        batches.append(list(items))
        begun.set()
        gate.wait(10)

    async def run():
        together = Together(work)
        done = []

        async def do(*items):
            await together.do(items)
            assert any(set(items) <= set(batch) for batch in batches)
            done.append(items)

        async with anyio.create_task_group() as group:
            group.start_soon(do, 1)
            while not begun.is_set():
                await anyio.sleep(0.01)
            for number in range(2, 8):
                group.start_soon(do, number, -number)
            await anyio.sleep(0.1)
            assert done == [] and batches == [[1]]
            gate.set()
        assert len(done) == 7

    anyio.run(run)
    assert batches == [[1], [2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 7, -7]]


def test_who_waits_may_be_called_off():
    batches, begun, gate = [], threading.Event(), threading.Event()

    def work(items):
        batches.append(list(items))
        begun.set()
        gate.wait(10)

    async def run():
        together = Together(work)
        async with anyio.create_task_group() as group:
            group.start_soon(together.do, [1])
            while not begun.is_set():
                await anyio.sleep(0.01)
            with anyio.move_on_after(0.05):
                await together.do([2])  # the first of those that wait
            group.start_soon(together.do, [3])
            await anyio.sleep(0.05)
            gate.set()

    anyio.run(run)
    assert batches == [[1], [2, 3]]


@pytest.mark.parametrize("late", [False, True])
def test_who_is_first_waits_for_those_who_are_coming(late):
    batches = []

    async def run():
        together = Together(lambda items: batches.append(list(items)), seconds=0.2)

        async def come(item, after):
            with together.coming() as here:
                await anyio.sleep(after)
                here()
                await together.do([item])

        begun = anyio.current_time()
        async with anyio.create_task_group() as group:
            group.start_soon(come, 1, 0)
            group.start_soon(come, 2, 0.05)
            if late:
                group.start_soon(come, 3, 0.6)
        return anyio.current_time() - begun

    seconds = anyio.run(run)
    assert batches == ([[1, 2], [3]] if late else [[1, 2]])
    assert late or seconds < 0.2


def test_who_does_not_come_after_all_is_not_waited_for():
    batches = []

    async def run():
        together = Together(lambda items: batches.append(list(items)), seconds=30)

        async def break_off():
            with pytest.raises(ValueError), together.coming():
                await anyio.sleep(0.05)
                raise ValueError

        async with anyio.create_task_group() as group:
            group.start_soon(break_off)
            await anyio.sleep(0.01)
            with anyio.fail_after(10):
                await together.do([1])

    anyio.run(run)
    assert batches == [[1]]
