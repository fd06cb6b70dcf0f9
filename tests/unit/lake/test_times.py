# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput
from neocampus_lake.times import MAX_TIME, MIN_TIME, format_time, parse_time

S = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2021-07-22T11:01:22.000Z", 1626951682 * S),
        ("2021-07-22T11:01:22Z", 1626951682 * S),
        ("2021-07-22 11:01:22", 1626951682 * S),
        ("2021-07-22T13:01:22+02:00", 1626951682 * S),
        ("2021-07-22T13:01:22+0200", 1626951682 * S),
        ("2021-07-22T09:01:22-02", 1626951682 * S),
        ("  2021-07-22T11:01:22z ", 1626951682 * S),
        ("2019-06-12T00:00:18.388374", 1560297618 * S + 388374000),
        ("2019-06-12T00:00:18.123456789Z", 1560297618 * S + 123456789),
        ("2019-06-12T00:00:18.1234567899Z", 1560297618 * S + 123456789),
        ("2019-06-12T00:00:18,5Z", 1560297618 * S + 500000000),
        ("2021-07-22", 1626912000 * S),
        ("1969-12-31T23:59:59.5Z", -S // 2),
        ("1626951682", 1626951682 * S),
        ("1626951682.25", 1626951682 * S + 250000000),
        (1626951682, 1626951682 * S),
        (1626951682123, 1626951682123 * 10**6),
        (1626951682123456, 1626951682123456 * 1000),
        (1626951682123456789, 1626951682123456789),
        ({"$date": "2021-07-22T11:01:22Z"}, 1626951682 * S),
        ({"$date": {"$numberLong": "1626951682000"}}, 1626951682 * S),
        (datetime(2021, 7, 22, 11, 1, 22), 1626951682 * S),
        (datetime(2021, 7, 22, 13, 1, 22, 5, tzinfo=timezone(timedelta(hours=2))), 1626951682 * S + 5000),
    ],
)
def test_times_that_are_understood(text, expected):
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "yesterday",
        "2021",
        "20210722",
        "2021-13-01",
        "2021-02-30T00:00:00Z",
        "2021-07-22T25:00:00Z",
        "2021-07-22T11:01:60Z",
        "2021-07-22T11:01:22+25:00",
        "2021-07-22T11:01:22Z and more",
        "２０２１-07-22",
        "1500-01-01",
        "9999-01-01",
        "22/07/2021 11:01",
        None,
        True,
        12.5,
        [],
        {"$date": None},
        float("nan"),
        float("inf"),
        10**30,
    ],
)
def test_times_that_are_refused(value):
    with pytest.raises(InvalidInput, match="time"):
        parse_time(value)


@given(st.integers(MIN_TIME, MAX_TIME))
def test_a_time_comes_back_to_the_nanosecond(nanoseconds):
    assert parse_time(format_time(nanoseconds)) == nanoseconds


def test_no_more_of_the_second_is_said_than_there_is():
    assert format_time(1626951682 * S) == "2021-07-22T11:01:22Z"
    assert format_time(1560297618 * S + 388374000) == "2019-06-12T00:00:18.388374Z"
    assert format_time(-S // 2) == "1969-12-31T23:59:59.5Z"


@given(st.text())
def test_any_text_is_a_time_or_refused(text):
    try:
        assert MIN_TIME <= parse_time(text) <= MAX_TIME
    except InvalidInput:
        pass
