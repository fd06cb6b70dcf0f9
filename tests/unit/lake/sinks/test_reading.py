# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import base64
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput
from neocampus_lake.sinks.reading import Filter, check_limit, from_cursor, to_cursor
from neocampus_lake.sinks.sql_reading import parse_value


@given(st.text(), st.integers(-(2**63), 2**63 - 1))
def test_a_cursor_comes_back(text, number):
    assert from_cursor(to_cursor([text, number]), (str, int)) == [text, number]


@given(st.text(max_size=40) | st.binary(max_size=30).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_any_other_text_is_no_cursor(text):
    with pytest.raises(InvalidInput):
        from_cursor(text, (int, str, int, int))


def test_a_cursor_of_something_else_is_refused():
    for place in ([1], [1, 2, 3], ["1", 2], [True, 2], [1, 2**63], [-(2**63) - 1, 1]):
        with pytest.raises(InvalidInput):
            from_cursor(to_cursor(place), (int, int))


def test_filters_are_checked():
    for operator, value in (("like", 1), ("contains", 1), ("null", 1), ("null", "true")):
        with pytest.raises(InvalidInput):
            Filter("a", operator, value)
    for limit in (0, -1, 10_001, True, "5"):
        with pytest.raises(InvalidInput):
            check_limit(limit)


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("boolean", "true", True),
        ("boolean", False, False),
        ("integer", "-5", -5),
        ("number", "1e3", 1000.0),
        ("decimal", "1.50", Decimal("1.50")),
        ("date", "2021-07-22", date(2021, 7, 22)),
        ("timestamp", "2021-07-22T01:00:00Z", datetime(2021, 7, 22, 1, tzinfo=UTC)),
        ("timestamp", "2021-07-22T01:00:00+02:00", datetime(2021, 7, 21, 23, tzinfo=UTC)),
        ("timestamp", "2021-07-22", datetime(2021, 7, 22, tzinfo=UTC)),
        ("text", "x", "x"),
    ],
)
def test_values_are_read_as_their_column_has_them(kind, value, wanted):
    assert parse_value(kind, value, "c") == wanted


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("boolean", "yes"),
        ("integer", "1.5"),
        ("integer", str(2**63)),
        ("number", "x"),
        ("decimal", "NaN"),
        ("date", "22/07/2021"),
        ("timestamp", "soon"),
        ("text", 5),
        ("text", "a\x00"),
    ],
)
def test_other_values_are_refused(kind, value):
    with pytest.raises(InvalidInput):
        parse_value(kind, value, "c")
