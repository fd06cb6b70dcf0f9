# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput
from neocampus_lake.parsers.cells import (
    NULL_TEXTS,
    CellError,
    Column,
    NumberStyle,
    number_style,
    shown,
    split_unit,
    unit_of,
)
from neocampus_lake.parsers.moments import Zone

NULLS = frozenset(NULL_TEXTS)


def column(*cells, **options):
    return Column(cells, nulls=NULLS, zone=Zone(), **options)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["true", "FALSE", "vrai"], "bool"),
        (["1", "-2", "+3"], "int"),
        (["1", "2.5"], "number"),
        (["1e3", "2"], "number"),
        (["0", "10"], "int"),
        (["007", "8"], "text"),
        (["+33561556611"], "text"),
        (["1234567890123456789"], "text"),
        (["0.5", "-0.5"], "number"),
        (["1 000", "2 000"], "int"),
        (["12 rue de la Paix"], "text"),
        (["2021-07-22", "NA"], "date"),
        (["2021-07-22", "2021-07-22 10:00"], "timestamp"),
        (["10:00", "23:59:59"], "time"),
        (["26:30:00"], "text"),
        (["10:00", "2021-07-22"], "text"),
        (["2021-02-30"], "text"),
        (["20210722"], "int"),
        (["192.168.1.1"], "text"),
        (["1.2.3"], "text"),
        (["nan", "1"], "int"),
        (["inf"], "text"),
        (["1e999"], "text"),
        (["1_000"], "text"),
        (["٣"], "text"),
        (["NA", ""], ""),
        ([1, 2.0], "int"),
        ([1, 2.5], "number"),
        ([1, "2.5"], "number"),
        ([True, False], "bool"),
        ([True, 1], "text"),
        ([datetime(2021, 7, 22)], "date"),
        ([datetime(2021, 7, 22), "2021-07-22 10:00"], "timestamp"),
        ([datetime(2021, 7, 22), "x"], "text"),
        ([time(10)], "time"),
        ([CellError("#REF!"), 1], "int"),
    ],
)
def test_types(cells, kind):
    found = column(*cells)
    assert found.type == kind
    for cell in cells:
        if not isinstance(cell, CellError):
            found.value(cell)


def test_values_of_workbooks():
    days = column(datetime(2021, 7, 22))
    assert days.value(datetime(2021, 7, 22)) == date(2021, 7, 22)
    assert days.value(datetime(2021, 7, 22, 10)) == datetime(2021, 7, 22, 10, tzinfo=UTC)
    assert column("a").value(12.0) == "12"
    assert column("a").value(datetime(2021, 7, 22, 10)) == "2021-07-22T10:00:00"
    assert column(1).value(2.5) == 2.5
    assert column(1).value("x") == "x"
    assert column(True).value(1) == "1"
    with pytest.raises(InvalidInput, match="#DIV/0!"):
        column(1).value(CellError("#DIV/0!"))


def test_a_number_keeps_its_digits():
    numbers = column("0.5")
    assert numbers.value("123456789.12345678") == Decimal("123456789.12345678")
    assert numbers.value("0.000000000000000000000001") == 1e-24
    assert isinstance(numbers.value("3"), float)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_those_that_python_reads(number):
    assert NumberStyle().number(repr(number)) == number
    assert NumberStyle(",").number(repr(number).replace(".", ",")) == number


@given(st.integers(0, 10**12), st.sampled_from([" ", "\u00a0", "\u202f", "'", "’"]), st.sampled_from([".", ","]))
def test_groups_of_digits(number, group, decimal):
    text = f"{number:,}".replace(",", group) + decimal + "5"
    assert NumberStyle(decimal).number(text) == number + 0.5
    assert NumberStyle("").number(text) == number + 0.5


@pytest.mark.parametrize(
    "text", ["1,23,456", "1 23", "1 234 56", "1'234 567", "1.2.3", "--1", "1-", "1,,2", ".", "", "0x10"]
)
def test_what_is_no_number(text):
    for mark in (".", ",", ""):
        assert NumberStyle(mark).number(text) is None


@pytest.mark.parametrize(
    ("texts", "decimal"),
    [
        (["1,5"], ","),
        (["1.5"], "."),
        (["1,234.5"], "."),
        (["1.234,5"], ","),
        (["1,234,567"], "."),
        (["1.234.567"], ","),
        (["1,5", "1.5"], ""),
        (["1 234,5 €"], ","),
        (["0,123"], ","),
    ],
)
def test_styles(texts, decimal):
    assert number_style(texts).decimal == decimal


@pytest.mark.parametrize("texts", [["1,234"], ["1.234"], ["x"], [], ["12"], ["1.2.3.4"]])
def test_styles_that_are_not_clear(texts):
    assert number_style(texts) is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("21.5 °C", ("21.5", "°C")),
        ("35%", ("35", "%")),
        ("-3 µg/m³", ("-3", "µg/m³")),
        ("€ 12,50", ("12,50", "€")),
        ("-$1,200.00", ("-1,200.00", "$")),
        ("12,50€", ("12,50", "€")),
        ("5 km/h", ("5", "km/h")),
    ],
)
def test_units(text, parts):
    assert split_unit(text) == parts


@pytest.mark.parametrize("text", ["21.5", "roof", "12 rue de la Paix", "", "€", "5 a b", "x 5", "€5€"])
def test_no_units(text):
    assert split_unit(text) is None


def test_units_of_headers():
    assert unit_of("temp (°C)", {}) == ("temp", "°C")
    assert unit_of("wind [m/s]", {}) == ("wind", "m/s")
    assert unit_of("temp", {"temp": "K"}) == ("temp", "K")
    assert unit_of("(x)", {}) == ("(x)", "")
    assert unit_of("f(x) y", {}) == ("f(x) y", "")


def test_cells_as_texts():
    assert [shown(cell) for cell in (104.0, 1.5, True, time(10), "a")] == ["104", "1.5", "true", "10:00:00", "a"]


@given(
    st.lists(st.text(max_size=12) | st.sampled_from(["1", "1,5", "01/02/2021", "10:00", "5 %", "NA"]), max_size=8),
    st.text(max_size=12),
)
def test_any_column_gives_values(cells, later):
    found = column(*cells)
    for cell in (*cells, later):
        value = found.value(cell)
        assert value is not None or cell.strip().lower() in NULLS
