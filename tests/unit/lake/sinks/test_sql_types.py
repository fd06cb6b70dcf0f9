# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import enum
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import StoreError
from neocampus_lake.sinks.sql_types import EMPTY, KINDS, NULL, TEXT, SqlType, escape, is_json, join, render

TYPES = st.builds(SqlType, st.sampled_from(["empty", *(kind for kind in KINDS if kind != "decimal")])) | st.builds(
    SqlType, st.just("decimal"), st.integers(1, 40), st.integers(0, 40)
)


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ("boolean", "integer", "integer"),
        ("boolean", "decimal", "decimal"),
        ("integer", "decimal", "decimal"),
        ("integer", "number", "number"),
        ("decimal", "number", "number"),
        ("date", "timestamp", "timestamp"),
        ("date", "time", "text"),
        ("timestamp", "integer", "text"),
        ("json", "integer", "text"),
        ("bytes", "text", "text"),
        ("empty", "bytes", "bytes"),
    ],
)
def test_the_narrowest_type_that_holds_both(one, other, wanted):
    assert join(SqlType(one), SqlType(other)).kind == wanted


@given(TYPES, TYPES, TYPES)
def test_the_order_of_values_does_not_matter(one, other, third):
    assert join(one, other) == join(other, one)
    assert join(one, one) == one
    assert join(join(one, other), third) == join(one, join(other, third))


def test_a_decimal_has_the_digits_of_all():
    found = render([Decimal("123.5"), Decimal("-0.00025"), Decimal("1E+6"), None])
    assert found.type == SqlType("decimal", 7, 5)
    assert join(found.type, SqlType("integer")) == SqlType("decimal", 19, 5)


@pytest.mark.parametrize(
    ("values", "texts", "kind"),
    [
        ([True, None, False], ["\\T", NULL, "\\F"], "boolean"),
        ([1, -(2**63)], ["1", "-9223372036854775808"], "integer"),
        ([2**63], ["9223372036854775808"], "decimal"),
        ([1.5, 1e300], ["1.5", "1e+300"], "number"),
        ([1.5, float("nan")], ["1.5", NULL], "number"),
        ([float("-inf")], ["-inf"], "text"),
        ([Decimal("NaN"), Decimal("1.50")], [NULL, "1.50"], "decimal"),
        ([Decimal("Infinity")], ["Infinity"], "text"),
        ([date(2021, 7, 22)], ["2021-07-22"], "date"),
        ([time(1, 2)], ["01:02:00"], "time"),
        ([time(1, 2, tzinfo=UTC)], ["01:02:00+00:00"], "text"),
        ([datetime(2021, 7, 22, 1)], ["2021-07-22T01:00:00Z"], "timestamp"),
        ([datetime(2021, 7, 22, 1, tzinfo=timezone(timedelta(hours=2)))], ["2021-07-21T23:00:00Z"], "timestamp"),
        ([datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2)))], ["0001-01-01T00:00:00Z"], "timestamp"),
        ([b"\x00\xff", bytearray(b"a")], ["\\\\x00ff", "\\\\x61"], "bytes"),
        (["a\tb", "\\N", "\n"], ["a\\tb", "\\\\N", "\\n"], "text"),
        ([None, None], [NULL, NULL], "empty"),
        ([True, 5, "x"], ["\\T", "5", "x"], "text"),
        ([enum.IntEnum("Level", "LOW").LOW, 2], ["1", "2"], "integer"),
    ],
)
def test_values_and_their_type(values, texts, kind):
    found = render(values)
    assert (found.texts, found.type.kind) == (texts, kind)


def test_what_no_column_holds_is_refused():
    for value in (object(), [1], 10**5000):
        with pytest.raises(StoreError) as refused:
            render([value])
        assert not refused.value.retriable
    with pytest.raises(StoreError):
        render([10**5000, "x"])


def test_json_is_known_by_every_text():
    assert render(["[1]", None], declared_json=True).type == SqlType("json")
    assert render(["[1]", "no"], declared_json=True).type == TEXT
    assert render(["[1]"]).type == TEXT
    for text in ("", "{", "NaN", '"\\u0000"', '"\\ud83d\\ude00"', "[" * 100_000, "\x00"):
        assert not is_json(text)


@given(st.lists(st.none() | st.text(), max_size=20))
def test_a_text_is_one_field_and_comes_back(values):
    found = render(values)
    assert found.replaced == sum(
        character == "\x00" or "\ud800" <= character <= "\udfff" for value in values if value for character in value
    )
    for text, value in zip(found.texts, values, strict=True):
        assert not set(text) & set("\t\n\r\x00")
        if value is None:
            assert text == NULL
        else:
            assert text not in ("\\N", "\\T", "\\F")
            plain = text.replace("\\\\", "\x00").replace("\\t", "\t").replace("\\n", "\n").replace("\\r", "\r")
            assert plain.replace("\x00", "\\") == "".join(
                "\ufffd" if one == "\x00" or "\ud800" <= one <= "\udfff" else one for one in value
            )


def test_escape_counts_what_it_replaces():
    assert escape("a\x00\udc00") == ("a\ufffd\ufffd", 2)
    assert escape("plain") == ("plain", 0)
    assert render([]).type is EMPTY
