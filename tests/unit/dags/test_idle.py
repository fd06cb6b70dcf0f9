# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until no task runs, with a clock of its own, and what counts as one, in a database of its own."""

from __future__ import annotations

import pytest
from lake_airflow import idle


class Clock:
    """Time that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_nothing_under_way_is_no_wait(clock):
    assert idle.wait(list, 60, clock, clock.sleep) == []
    assert clock.now == 0


def test_waits_until_the_last_task_has_ended(clock):
    found = idle.wait(lambda: ["a.b of c (running)"] if clock.now < 5 else [], 60, clock, clock.sleep)
    assert found == [] and clock.now == 5


def test_says_what_does_not_end(clock):
    assert idle.wait(lambda: ["a.b of c (queued)"], 60, clock, clock.sleep) == ["a.b of c (queued)"]
    assert clock.now == 60
