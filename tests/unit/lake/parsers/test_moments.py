# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import zoneinfo
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput
from neocampus_lake.parsers.moments import (
    AmbiguousDates,
    TimeReader,
    Zone,
    decide_order,
    looks_timed,
    serial_datetime,
    time_of_day,
    time_reader,
)
from neocampus_lake.times import format_time, parse_time

PLAIN = Zone()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2021-07-22", "2021-07-22T00:00:00Z"),
        ("2021-07-22T11:01:22.000Z", "2021-07-22T11:01:22Z"),
        ("2021-07-22 11:01", "2021-07-22T11:01:00Z"),
        ("2021-07-22 11:01:22,5", "2021-07-22T11:01:22.5Z"),
        ("2021-07-22T11:01:22.123456789+02:00", "2021-07-22T09:01:22.123456789Z"),
        ("2021-07-22 11:01:22 -0330", "2021-07-22T14:31:22Z"),
        ("2021-07-22 11:01:22 UTC", "2021-07-22T11:01:22Z"),
        ("2021/7/2 1:05", "2021-07-02T01:05:00Z"),
        ("2021-07-22T24:00:00Z", "2021-07-23T00:00:00Z"),
        ("20210722", "2021-07-22T00:00:00Z"),
        ("20210722T110122Z", "2021-07-22T11:01:22Z"),
        ("22/07/2021 11h30", "2021-07-22T11:30:00Z"),
        ("22.07.2021, 11:30:05", "2021-07-22T11:30:05Z"),
        ("7/22/21 1:05 PM", "2021-07-22T13:05:00Z"),
        ("7/22/2021 12:05 a.m.", "2021-07-22T00:05:00Z"),
        ("04.03.2021", "2021-03-04T00:00:00Z"),
        ("05/05/2021", "2021-05-05T00:00:00Z"),
        ("22-Jul-2021", "2021-07-22T00:00:00Z"),
        ("22 juil. 2021 11:00", "2021-07-22T11:00:00Z"),
        ("1 août 2021", "2021-08-01T00:00:00Z"),
        ("Jul 22, 2021", "2021-07-22T00:00:00Z"),
        ("22/07/70", "1970-07-22T00:00:00Z"),
        ("1626951682", "2021-07-22T11:01:22Z"),
    ],
)
def test_times(text, expected):
    assert format_time(TimeReader(PLAIN).ns(text)) == expected
    assert looks_timed(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2021-02-29", "day is out of range"),
        ("2021-13-01 10:00", "month must be in 1..12"),
        ("2021-07-22 25:00", "no such time of day"),
        ("2021-07-22 24:01", "no such time of day"),
        ("2021-07-22T11:01:60", "60 seconds"),
        ("2021-07-22 13:00 PM", "hour of AM and PM"),
        ("2021-07-22T11:01:22+25:00", "offset"),
        ("01/02/2021", "date_order"),
        ("22 foo 2021", "ISO 8601"),
        ("soon", "ISO 8601"),
        ("12", "ISO 8601"),
        ("22/07/2021 1٣:00", "ISO 8601"),
        ("0001-01-01", "outside 1677"),
        ("9999-12-31", "outside 1677"),
        ("2021-07-22" + " " * 100 + "10:00", "ISO 8601"),
    ],
)
def test_what_is_no_time(text, said):
    with pytest.raises(InvalidInput, match=said):
        TimeReader(PLAIN).ns(text)


def test_the_order_is_what_a_column_says():
    assert decide_order(["01/02/2021", "25/12/2021"]) == "dmy"
    assert decide_order(["01/02/2021", "12/25/2021"]) == "mdy"
    assert decide_order(["25/12/2021", "12/25/2021", "01/02/2021"]) is None
    assert decide_order(["2021-01-02", "05/05/2021", "x", "3.4.2021"]) is None
    with pytest.raises(AmbiguousDates, match="'01/02/2021'"):
        decide_order(["05/05/2021", "01/02/2021"])
    assert format_time(time_reader(["x"], PLAIN, order="ymd").ns("21/07/22")) == "2021-07-22T00:00:00Z"


@given(st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1)), st.integers(0, 999))
def test_iso_times_are_read_as_the_library_reads_them(moment, nanoseconds):
    text = f"{moment.isoformat(timespec='microseconds')}{nanoseconds:03}Z"
    assert TimeReader(Zone("Europe/Paris")).ns(text) == parse_time(text)


@given(
    st.datetimes(datetime(1850, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from(["Europe/Paris", "Australia/Lord_Howe", "America/St_Johns", "Africa/Monrovia"]),
)
def test_local_times_are_those_of_the_zone(moment, name):
    local = moment.replace(microsecond=0)
    zone = zoneinfo.ZoneInfo(name)
    expected = {local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    seconds = round((local - datetime(1970, 1, 1)).total_seconds())
    for reader in (Zone(name, fold="first", gap="shift"), Zone(name, fold="second", gap="shift")):
        found = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=reader.to_utc(seconds))
        assert found in expected
    if len(expected) > 1:
        with pytest.raises(InvalidInput, match="clocks went"):
            Zone(name).to_utc(seconds)


@given(
    st.text(max_size=40)
    | st.from_regex(r"\d{1,4}[-/. ]\w{1,5}[-/. ]\d{2,4}[T ]\d{1,2}[:h]\d{1,2}.{0,8}", fullmatch=True)
)
def test_any_text_is_a_time_or_refused(text):
    for order in (None, "dmy", "ymd"):
        try:
            TimeReader(Zone("Europe/Paris"), order).ns(text)
        except InvalidInput:
            pass
    looks_timed(text)


def test_local_times_that_were_not_there_or_twice():
    def read(text, **options):
        return format_time(TimeReader(Zone("Europe/Paris", **options)).ns(text))

    gap, fold = "2021-03-28 02:30", "2021-10-31 02:30"
    with pytest.raises(InvalidInput, match="does not exist in Europe/Paris"):
        read(gap, fold="first")
    with pytest.raises(InvalidInput, match="was there twice in Europe/Paris"):
        read(fold, gap="shift")
    assert read(gap, gap="shift") == "2021-03-28T01:30:00Z"
    assert read(fold, fold="first") == "2021-10-31T00:30:00Z"
    assert read(fold, fold="second") == "2021-10-31T01:30:00Z"


def test_times_of_day():
    assert time_of_day("11:05") == time(11, 5)
    assert time_of_day("1:05:30.5 pm") == time(13, 5, 30, 500_000)
    assert time_of_day("11h05") == time(11, 5)
    assert time_of_day("noon") is None
    with pytest.raises(InvalidInput):
        time_of_day("25:00")


@pytest.mark.parametrize(
    ("number", "excel_1904", "expected"),
    [
        (1, False, datetime(1900, 1, 1)),
        (59, False, datetime(1900, 2, 28)),
        (61, False, datetime(1900, 3, 1)),
        (44399.5, False, datetime(2021, 7, 22, 12)),
        (44399.45923611111, False, datetime(2021, 7, 22, 11, 1, 18)),
        (0, True, datetime(1904, 1, 1)),
        (42937.5, True, datetime(2021, 7, 22, 12)),
    ],
)
def test_days_as_workbooks_count_them(number, excel_1904, expected):
    assert serial_datetime(number, excel_1904) == expected


@pytest.mark.parametrize("number", [-1, 60, 60.5, 3_000_000, 2_958_466])
def test_days_that_workbooks_have_not(number):
    with pytest.raises(InvalidInput):
        serial_datetime(number, False)


def test_a_date_alone_is_the_same_day_in_every_zone():
    reader = TimeReader(Zone("Pacific/Auckland"))
    assert reader.timestamp("2021-07-22").date() == date(2021, 7, 21)  # as a moment it is that day's beginning there
    assert reader.moment("2021-07-22").timed is False


@pytest.mark.parametrize("name", ["Nowhere/Town", "../../etc/passwd", "/etc", "\0", "Europe"])
def test_zones_that_are_none(name):
    with pytest.raises(InvalidInput, match="is none"):
        Zone(name)
