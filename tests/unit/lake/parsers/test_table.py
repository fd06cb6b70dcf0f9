# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import csv
import gzip
import io
import json
import random
from datetime import UTC, date, datetime
from datetime import time as clock
from decimal import Decimal
from pathlib import Path

import airportsdata
import pytest
import tzdata
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput, ParseError
from neocampus_lake.parsers import table
from neocampus_lake.parsers.report import Options
from neocampus_lake.points import Point
from neocampus_lake.records import Row
from neocampus_lake.times import format_time, parse_time

EXPORT = (
    "_id,measuretime,topic,payload.value,payload.value_units,payload.input,payload.subID,payload.unitID\n"
    "5d0,2021-07-22T11:11:22.000Z,u4/302/humidity,35,%r.H.,104,ilot1,inside\n"
    '5d1,2021-07-22T11:01:22.000Z,u4/301/energy,"[1230563.0, 236.49]","[""Wh"", ""V""]",78,lighting,modbus_rs485\n'
)
T1, T2 = parse_time("2021-07-22T11:11:22Z"), parse_time("2021-07-22T11:01:22Z")


def parse(content, **options):
    if isinstance(content, str):
        content = content.encode()
    given_options = Options({"filename": "dir/station-1.csv", **options})
    return list(table.parse(io.BytesIO(content), given_options)), given_options.report


def values(content, **options):
    """The values of the rows, which have to be rows of a table."""
    records = parse(content, **options)[0]
    assert all(isinstance(record, Row) for record in records)
    return [dict(record.values) for record in records]


def numbers(content, **options):
    """What the points say: (measurement, time, value)."""
    return [(p.measurement, format_time(p.time), p.fields["value"]) for p in parse(content, **options)[0]]


def messages(report):
    return [(item["line"], item["message"]) for item in report.items]


def test_the_export_of_sensor_messages():
    points, report = parse(EXPORT)
    energy = {"topic": "u4/301/energy", "input": "78", "subID": "lighting", "unitID": "modbus_rs485"}
    assert points == [
        Point(
            "%r.H.",
            T1,
            {"value": 35.0},
            {"topic": "u4/302/humidity", "input": "104", "subID": "ilot1", "unitID": "inside"},
        ),
        Point("Wh", T2, {"value": 1230563.0}, energy),
        Point("V", T2, {"value": 236.49}, energy),
    ]
    assert report.count == 0


def test_the_export_gives_what_the_messages_give():
    from neocampus_lake.parsers import sensor

    message = {
        "topic": "u4/301/energy",
        "value": [1230563.0, 236.49],
        "value_units": ["Wh", "V"],
        "input": 78,
        "subID": "lighting",
        "unitID": "modbus_rs485",
        "time": "2021-07-22T11:01:22.000Z",
    }
    points = list(sensor.parse(io.BytesIO(json.dumps(message).encode()), Options()))
    assert parse(EXPORT)[0][1:] == points


@pytest.mark.parametrize("name", ["timestamp", "temps", "date", "measuretime", "datemesure", "Timestamp"])
@pytest.mark.parametrize("value", ["value", "valeur", "reading", "payload.value"])
def test_names_of_columns(name, value):
    points, _report = parse(f"{name},{value}\n2021-07-22T11:11:22Z,3\n")
    measurement = value.replace("payload.", "")
    assert points == [Point(measurement, T1, {"value": 3.0}, {"topic": "station-1"})]


def test_older_readings_in_csv():
    content = '_id,idcapteur,idpiece,value,datemesure,mesurevaleur\n"x",4,1,15,2021-07-22T11:11:22,celsius\n'
    tags = {"topic": "1/celsius", "idcapteur": "4", "idpiece": "1"}
    assert parse(content)[0] == [Point("celsius", T1, {"value": 15.0}, tags)]


def test_a_wide_table_has_a_measurement_per_column_of_numbers():
    content = "date;place;température;humidité\n2021-07-22T11:11:22;roof;21,5;40\n2021-07-22T11:01:22;roof;;41\n"
    tags = {"topic": "station-1", "place": "roof"}
    points, report = parse(content)
    assert points == [
        Point("température", T1, {"value": 21.5}, tags),
        Point("humidité", T1, {"value": 40.0}, tags),
        Point("humidité", T2, {"value": 41.0}, tags),
    ]
    assert report.count == 0


def test_two_files_do_not_share_a_series():
    one = parse("date,value\n2021-07-22,1\n", filename="a.csv")[0][0]
    other = parse("date,value\n2021-07-22,2\n", filename="b.csv")[0][0]
    assert one.tags != other.tags
    assert parse("date,value\n2021-07-22,1\n", topic="roof")[0][0].tags == {"topic": "roof"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(delimiter):
    content = delimiter.join(["date", "unit", "value"]) + "\r\n" + delimiter.join(["2021-07-22T11:11:22", "W", "3.5"])
    assert parse(content)[0] == [Point("W", T1, {"value": 3.5}, {"topic": "station-1"})]
    assert parse(content, delimiter=delimiter)[0]


def test_a_delimiter_that_is_none():
    with pytest.raises(InvalidInput, match="delimiter"):
        parse(EXPORT, delimiter="x")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_are_noticed(encoding):
    content = "date,unité,value\n2021-07-22T11:11:22,°C,3\n".encode(encoding)
    assert [p.measurement for p in parse(content)[0]] == ["°C"]


def test_encodings_that_have_to_be_said():
    content = "date,unité,value\n2021-07-22T11:11:22,°C,3\n".encode("latin-1")
    assert parse(content, content_type="text/csv; charset=ISO-8859-1")[0][0].measurement == "°C"
    assert parse(content, encoding="latin-1")[0][0].measurement == "°C"
    with pytest.raises(ParseError, match="encoding"):
        parse(content, encoding="klingon")


@pytest.mark.parametrize(
    "content",
    [
        ("2021-07-22T11:11:22,café,3\n" * 3).encode("latin-1"),  # UTF-8 is declared
        ("2021-07-22T11:11:22,été,3\n" * 3).encode("latin-1") + "2021-07-22T11:11:22,ü,3\n".encode("latin-1"),
    ],
)
def test_bytes_of_another_encoding_than_declared_cost_only_their_rows(content):
    points, report = parse(
        b"date,place,value\n" + content + b"2021-07-22,roof,4\n", content_type="text/csv; charset=utf-8"
    )
    assert [p.tags["place"] for p in points] == ["roof"]
    assert report.count == content.count(b"\n")
    assert report.items[0]["line"] == 2


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("2021-07-22,W,", "value is empty"),
        ("2021-07-22,W,abc", "'abc' is not a finite number"),
        ("2021-07-22,W,nan", "not a finite number"),
        ("2021-07-22,W,inf", "not a finite number"),
        ("2021-07-22,W,1e999", "not a finite number"),
        ("2021-07-22,W,1_000", "not a finite number"),
        ("2021-07-22,W,true", "not a finite number"),
        ("soon,W,1", "ISO 8601"),
        (",W,1", "ISO 8601"),
        ("2021-07-22,W", "2 cells, the header has 3"),
        ("2021-07-22,W,1,2", "4 cells, the header has 3"),
        ('2021-07-22,W,"[1, 2]"', "2 values, but 1 units"),
        ('2021-07-22,W,"[1, "', "no JSON list"),
        ('2021-07-22,"[""W"", ""V""]",1', "1 values, but 2 units"),
        ('2021-07-22,"[""W""]","[true]"', "not a finite number"),
        ('2021-07-22,"a\nb",1', "control characters"),
    ],
)
def test_a_bad_row_is_reported_and_the_good_ones_are_taken(row, said):
    points, report = parse(f"date,unit,value\n2021-07-22,W,1\n{row}\n\n2021-07-23,W,2\n")
    assert [p.fields["value"] for p in points] == [1.0, 2.0]
    assert report.count == 1
    assert said in report.items[0]["message"]
    assert report.items[0]["line"] == (4 if "\n" in row else 3)


def test_trailing_delimiters_and_blank_lines_are_no_error():
    points, report = parse("\n\ndate,value,\n2021-07-22,1,\n,,\n\n2021-07-23,2\n")
    assert len(points) == 2 and report.count == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("just a sentence\n", "one line alone"),
        ("<!DOCTYPE html><html><table>", "HTML"),
        ("date,value,value\n2021-07-22,1,2\n", "same name"),
        ("date,value\n2021-07-22,x\nsoon,1\n", "2 are wrong"),
        (b"\x00\x01\x02\x03\x04", "not text"),
        (random.Random(7).randbytes(10_000), "not text"),  # some of its lines look like rows
        ("date,value\n" + "x" * 2_000_000, "over 1048576 characters"),
    ],
)
def test_a_file_that_is_no_such_thing(content, said):
    with pytest.raises(ParseError, match=said):
        parse(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,2\n", "no time column"),
        ("just a sentence\n", "begins with a line of column names"),
        ("date,place\n2021-07-22,roof\n", "no column of values"),
    ],
)
def test_a_file_that_has_to_be_a_time_series(content, said):
    with pytest.raises(ParseError, match=said):
        parse(content, kind="time_series")
    with pytest.raises(ParseError, match=said):
        list(table.parse_series(io.BytesIO(content.encode()), Options()))


def test_control_characters_that_no_noise_is_made_of():
    rows = [f"2021-07-22T00:00:{second:02},{second}\n" for second in range(20)]
    for damaged in ("".join(rows) + "\x00" * 5000, "".join(rows[:4]) + "a\x00b,1\n" * 4, "".join(rows) + "\x01\n" * 9):
        points, report = parse("time,value\n" + damaged, time_column="time")
        assert len(points) in (4, 20) and report.count in (1, 4, 9)
    hive = "".join(row.replace(",", "\x01") for row in rows)
    assert len(parse("time\x01value\n" + hive, time_column="time", delimiter="\x01")[0]) == 20


def test_a_header_alone_is_nothing_wrong():
    points, report = parse("date,value\n")
    assert (points, report.count) == ([], 0)


def test_a_quote_that_is_never_closed_costs_its_line_only():
    content = 'date,value\n2021-07-22,1\n2021-07-23,"2\n' + "2021-07-24,3\n" * 20_000
    points, report = parse(content)
    assert points[0].fields == {"value": 1.0}
    assert len(points) == 20_001
    assert [line for line, _message in messages(report)] == [3]


def test_a_column_of_numbers_may_have_cells_that_are_none():
    rows = "".join(f"2021-07-22T00:00:{n:02},{n}\n" for n in range(9)) + "2021-07-22T00:01:00,err\n"
    points, report = parse("date,power\n" + rows)
    assert len(points) == 9
    assert report.items == [{"line": 11, "message": "value of 'power': 'err' is not a finite number"}]


def test_a_long_file_is_read_as_a_stream():
    class Endless(io.RawIOBase):
        sent = 0

        def readable(self):
            return True

        def read(self, size=-1):
            self.sent += 1
            return b"date,value\n" if self.sent == 1 else b"2021-07-22T00:00:00,1\n" * 1000

    stream = Endless()
    points = table.parse(stream, Options())
    assert [next(points).fields["value"] for _ in range(5000)] == [1.0] * 5000
    assert stream.sent < 20


# --- time series: columns, units, numbers ---


def test_units_in_headers_and_cells():
    content = "date,temp (°C),power,load [%]\n2021-07-22T11:11:22Z,21.5,3 kW,40\n2021-07-22T11:01:22Z,22,4.5 kW,41%\n"
    points, report = parse(content)
    found = {(p.measurement, p.tags["unit"], p.fields["value"]) for p in points}
    assert found == {
        ("temp", "°C", 21.5),
        ("temp", "°C", 22),
        ("power", "kW", 3),
        ("power", "kW", 4.5),
        ("load", "%", 40),
        ("load", "%", 41),
    }
    assert report.count == 0
    # A column that is named as one of values has its unit as measurement, as messages have.
    assert [p.measurement for p in parse("date,value (°C)\n2021-07-22,3\n")[0]] == ["°C"]
    assert [p.measurement for p in parse("date,value\n2021-07-22,3 °C\n")[0]] == ["°C"]
    assert parse("date,t\n2021-07-22,3\n", units={"t": "K"})[0][0].tags["unit"] == "K"


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("1 234,5", 1234.5),
        ("1\u00a0234,5", 1234.5),
        ("1\u202f234,5", 1234.5),
        ("1'234.5", 1234.5),
        ("1.234,5", 1234.5),
        ("1,234.5", 1234.5),
        ("1.234.567", 1234567),
        ("\u22125,5", -5.5),
        ("1,5e3", 1500),
        ("0,234", 0.234),
        (",5", 0.5),
    ],
)
def test_numbers_as_people_write_them(cell, number):
    assert numbers(f"date;t\n2021-07-22;{cell}\n") == [("t", "2021-07-22T00:00:00Z", number)]


def test_how_a_column_writes_numbers_decides_what_is_not_clear():
    def of(*cells, delimiter=";", **options):
        text = f"date{delimiter}t\n" + "".join(f'2021-07-22{delimiter}"{cell}"\n' for cell in cells)
        return [value for _name, _time, value in numbers(text, **options)]

    assert of("1,234", "2,5") == [1.234, 2.5]
    assert of("1,234", "2.5") == [1234, 2.5]
    assert of("1.234", "2,5") == [1234, 2.5]
    assert of("1,234") == [1.234]  # a delimiter that is no comma goes with decimal commas
    assert of("1,234", delimiter=",") == [1234]
    assert of("1.234") == of("1.234", delimiter=",") == [1.234]
    assert of("1,234", decimal=".") == [1234]
    assert of("1,234", delimiter=",", decimal=",") == [1.234]
    assert of("1,5", "2.5") == [1.5, 2.5]


def test_texts_that_say_nothing():
    content = "date,t,place\n2021-07-22,3,roof\n" + "".join(
        f"2021-07-23,{text},{text}\n" for text in ("NA", "N/A", "null", "NaN", "-", "")
    )
    points, report = parse(content)
    assert (len(points), report.count) == (1, 0)
    rows = "date,t\n2021-07-22,-9999\n2021-07-23,1\n"
    assert [value for *_more, value in numbers(rows)] == [-9999, 1]
    assert [value for *_more, value in numbers(rows, null_texts=["-9999"])] == [1]
    assert "place" not in parse("date,t,place\n2021-07-22,3,N/A\n")[0][0].tags


def test_names_that_are_there_twice_or_not_at_all():
    points, report = parse("date,t,T,,x\n2021-07-22,1,2,3,4\n")
    assert [(p.measurement, p.fields["value"]) for p in points] == [("t", 1), ("T_2", 2), ("x", 4)]
    assert values("a,a,,A,a_2\n1,2,3,4,5\n") == [{"a": 1, "a_3": 2, "column_3": 3, "A_4": 4, "a_2": 5}]


def test_options_say_what_columns_are():
    content = "when,who,what,x\n2021-07-22,bob,3,4\n"
    points, _report = parse(content, time_column="when", value_columns=["what"])
    assert [(p.measurement, p.tags) for p in points] == [("what", {"who": "bob", "x": "4", "topic": "station-1"})]
    assert numbers(content, rename={"when": "date"}) == [
        ("what", "2021-07-22T00:00:00Z", 3.0),
        ("x", "2021-07-22T00:00:00Z", 4.0),
    ]
    with pytest.raises(ParseError, match="no column 'nope'"):
        parse(content, time_column="nope")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"colour": "red"}, "no option 'colour'"),
        ({"kind": "picture"}, "kind is one of"),
        ({"decimal": ";"}, "decimal is one of"),
        ({"date_order": "ydm"}, "date_order is one of"),
        ({"fold": "third"}, "fold is one of"),
        ({"gap": "x"}, "gap is one of"),
        ({"time_zone": "Mars/Base"}, "time zone 'Mars/Base' is none"),
        ({"time_zone": "../../etc/passwd"}, "is none"),
        ({"time_format": "iso"}, "time_format is one of"),
        ({"header_row": -1}, "header_row is a number"),
        ({"header_row": True}, "header_row is a number"),
        ({"columns": [1]}, "columns: a text or a list"),
        ({"units": ["K"]}, "units: names of columns"),
        ({"rename": {"a": 1}}, "rename: names of columns"),
        ({"time_column": ["a", "b", "c"]}, "time_column is one column, or two"),
        ({"encoding": 3}, "encoding is a text"),
        ({"max_ratio": 0}, "max_ratio is a number"),
    ],
)
def test_options_that_are_none(options, said):
    with pytest.raises(InvalidInput, match=said):
        parse(EXPORT, **options)


def test_the_objects_metadata_is_no_option():
    assert parse(EXPORT, metadata={"kind": "table"})[0] == parse(EXPORT)[0]


# --- times ---


def test_which_of_day_and_month_comes_first_is_decided_by_the_column():
    content = "date;t\n01/02/2021;1\n{}/2021 10:00;2\n"
    assert [time for _name, time, _value in numbers(content.format("25/02"))] == [
        "2021-02-01T00:00:00Z",
        "2021-02-25T10:00:00Z",
    ]
    assert [time for _name, time, _value in numbers(content.format("02/25"))] == [
        "2021-01-02T00:00:00Z",
        "2021-02-25T10:00:00Z",
    ]


def test_dates_that_can_be_read_both_ways_are_refused():
    content = "date;t\n01/02/2021;1\n03/02/2021;2\n"
    with pytest.raises(ParseError, match="may be day/month or month/day.*date_order"):
        parse(content)
    assert numbers(content, date_order="dmy")[0][1] == "2021-02-01T00:00:00Z"
    assert numbers(content, date_order="mdy")[0][1] == "2021-01-02T00:00:00Z"


def test_a_date_that_contradicts_the_column_is_reported():
    points, report = parse("date;t\n25/02/2021;1\n02/25/2021;2\n26/02/2021;3\n", date_order="dmy")
    assert len(points) == 2
    assert messages(report)[0][0] == 3 and "month must be in 1..12" in messages(report)[0][1]


def test_a_date_and_a_time_of_day_in_two_columns():
    expected = [("t", "2021-07-22T11:05:00Z", 1.0)]
    assert numbers("date;heure;t\n22/07/2021;11:05;1\n") == expected
    assert numbers("date,time,t\n2021-07-22,11h05,1\n") == expected
    assert numbers("jour,moment,t\n2021-07-22,11:05,1\n", time_column=["jour", "moment"]) == expected
    assert numbers("date temp\n2021-07-22 11:05 1\n", filename="a.txt")[0][1:] == expected[0][1:]
    # with the time in its own column, a column that says hours is none
    points, _report = parse("date,hour,t\n2021-07-22T11:05:00,11:05,1\n")
    assert points[0].tags["hour"] == "11:05"


def test_local_times():
    content = "date,t\n2021-07-22 12:00,1\n2021-01-22 12:00,2\n2021-01-22T12:00+05:00,3\n"
    assert [time for _name, time, _value in numbers(content, time_zone="Europe/Paris")] == [
        "2021-07-22T10:00:00Z",
        "2021-01-22T11:00:00Z",
        "2021-01-22T07:00:00Z",
    ]
    assert numbers(content, time_zone="-03:30")[0][1] == "2021-07-22T15:30:00Z"
    assert numbers(content)[0][1] == "2021-07-22T12:00:00Z"
    assert numbers(content.replace("date", "date (Europe/Paris)"))[0][1] == "2021-07-22T10:00:00Z"


def test_local_times_that_were_not_there_or_twice_are_reported_with_their_lines():
    content = "date,t\n2021-03-28 02:30,1\n2021-10-31 02:30,2\n2021-10-31 03:30,3\n"
    points, report = parse(content, time_zone="Europe/Paris")
    assert len(points) == 1
    assert [line for line, _message in messages(report)] == [2, 3]
    assert "does not exist" in report.items[0]["message"] and "was there twice" in report.items[1]["message"]
    times = [time for _name, time, _value in numbers(content, time_zone="Europe/Paris", gap="shift", fold="first")]
    assert times == ["2021-03-28T01:30:00Z", "2021-10-31T00:30:00Z", "2021-10-31T02:30:00Z"]
    second = numbers(content, time_zone="Europe/Paris", gap="shift", fold="second")
    assert second[1][1] == "2021-10-31T01:30:00Z"


@pytest.mark.parametrize(
    ("cell", "form"),
    [
        ("1626951600", "auto"),
        ("1626951600000", "auto"),
        ("1626951600000000", "auto"),
        ("1626951600000000000", "auto"),
        ("1626951600", "epoch_s"),
        ("1626951600000", "epoch_ms"),
        ("1626951600000000", "epoch_us"),
        ("1626951600000000000", "epoch_ns"),
        ("44399.458333333336", "excel"),
        ("42937.458333333336", "excel1904"),
        ("22.07.21 11-00", "%d.%m.%y %H-%M"),
    ],
)
def test_formats_of_times(cell, form):
    assert numbers(f"date;t\n{cell};1\n", time_format=form)[0][1] == "2021-07-22T11:00:00Z"


# --- rows of tables ---


def test_a_file_without_a_time_column_becomes_rows():
    records, report = parse("room,seats\n302,24\n301,30\n", filename="dir/rooms.csv")
    assert records == [Row("rooms", {"room": 302, "seats": 24}, 2), Row("rooms", {"room": 301, "seats": 30}, 3)]
    assert report.count == 0
    assert parse("room,seats\n302,24\n", table="places")[0][0].table == "places"
    assert isinstance(parse("date,place\n2021-07-22,roof\n")[0][0], Row)
    assert isinstance(parse("date,value\n2021-07-22,3\n", kind="table")[0][0], Row)


def test_types_of_columns():
    content = (
        "id;tel;n;price;exact;when;at;ok;day;text;none\n"
        "0012;+33561556611;1;1 234,50;1,2345678901234567;22/07/2021 11:05;10:30;vrai;25/12/1960;a;NA\n"
        "0013;0561556612;2;12;2,5;2021-07-23T11:05:00+02:00;11:30:15;faux;26/12/1960;3;\n"
    )
    assert values(content) == [
        {
            "id": "0012",
            "tel": "+33561556611",
            "n": 1,
            "price": 1234.5,
            "exact": Decimal("1.2345678901234567"),
            "when": datetime(2021, 7, 22, 11, 5, tzinfo=UTC),
            "at": clock(10, 30),
            "ok": True,
            "day": date(1960, 12, 25),
            "text": "a",
            "none": None,
        },
        {
            "id": "0013",
            "tel": "0561556612",
            "n": 2,
            "price": 12.0,
            "exact": 2.5,
            "when": datetime(2021, 7, 23, 9, 5, tzinfo=UTC),
            "at": clock(11, 30, 15),
            "ok": False,
            "day": date(1960, 12, 26),
            "text": "3",
            "none": None,
        },
    ]


def test_a_cell_that_is_not_of_its_columns_type_is_given_as_it_can_be():
    sample = "1,2021-07-22,true,10:00,x\n" * table.SAMPLE_ROWS
    last = values("a,b,c,d,e\n" + sample + "2.5,2021-07-22 10:00,maybe,late,5\n0012,soon,1,2,3\n")[-2:]
    assert last == [
        {"a": 2.5, "b": datetime(2021, 7, 22, 10, tzinfo=UTC), "c": "maybe", "d": "late", "e": "5"},
        {"a": "0012", "b": "soon", "c": "1", "d": "2", "e": "3"},
    ]


def test_a_column_that_is_empty_in_the_sample_is_decided_by_its_first_cell():
    last = values("a,b\n" + "1,\n" * table.SAMPLE_ROWS + "1,5\n1,x\n")[-2:]
    assert last == [{"a": 1, "b": 5}, {"a": 1, "b": "x"}]


def test_dates_of_tables_that_can_be_read_both_ways_stay_text():
    records, report = parse("born,n\n01/02/1980,1\n")
    assert records[0].values == {"born": "01/02/1980", "n": 1}
    assert "date_order" in report.items[0]["message"]
    assert values("born,n\n01/02/1980,1\n", date_order="mdy")[0]["born"] == date(1980, 1, 2)


def test_units_of_tables_are_in_the_names_of_columns():
    assert values("a;b;c\n3 kg;5%;3B\n4 kg;6%;4B\n") == [
        {"a (kg)": 3, "b (%)": 5, "c": "3B"},
        {"a (kg)": 4, "b (%)": 6, "c": "4B"},
    ]
    assert values("a;b\n3 kg;x\n4 m;y\n")[0] == {"a": "3 kg", "b": "x"}


def test_na_is_a_code_among_codes():
    assert values("country,n\nFR,1\nNA,2\n")[1] == {"country": "NA", "n": 2}
    assert values("country,n\nFrance,1\nNA,2\n")[1] == {"country": None, "n": 2}


def test_rows_that_are_not_as_wide_as_the_header_are_reported():
    records, report = parse("a,b\n1\n1,2,3\n4,5\n6,7,,\n")
    assert [dict(r.values) for r in records] == [{"a": 4, "b": 5}, {"a": 6, "b": 7}]
    assert messages(report) == [(2, "1 cells, the header has 2"), (3, "3 cells, the header has 2")]


def test_bytes_that_are_no_text_cost_only_their_rows():
    records, report = parse(b"a,b\n1,x\n2,y\0\n3,z\n")
    assert [r.values["a"] for r in records] == [1, 3]
    assert report.items[0]["line"] == 3


def test_very_wide_and_very_long():
    width = 10_000
    header = ",".join(f"c{index}" for index in range(width))
    row = ",".join(map(str, range(width)))
    assert values(f"{header}\n{row}\n")[0]["c9999"] == 9999
    records, report = parse("a,b\n1,2\n" + "x" * 3_000_000 + ",1\n3,4\n")
    assert [r.values["a"] for r in records] == [1, 3]
    assert messages(report) == [(3, "a line is over 1048576 characters")]


# --- headers ---


@pytest.mark.parametrize(
    "content",
    [
        "Station roof\nmade by x;y\n\nname;n;m\na;1;2\nb;3;4\n",
        "# Station\n# of 2021\nname;n;m\na;1;2\n# a gap\nb;3;4\n",
        "# Station\n# name;n;m\na;1;2\nb;3;4\n",
        "sep=;\nname;n;m\na;1;2\nb;3;4\n",
    ],
)
def test_what_stands_above_the_header_is_passed_over(content):
    assert values(content) == [{"name": "a", "n": 1, "m": 2}, {"name": "b", "n": 3, "m": 4}]


def test_files_without_a_header():
    assert values("1;2\n3;4\n") == [{"column_1": 1, "column_2": 2}, {"column_1": 3, "column_2": 4}]
    assert numbers("2021-07-22 11:00;21,5\n2021-07-22 11:10;21,6\n") == [
        ("column_2", "2021-07-22T11:00:00Z", 21.5),
        ("column_2", "2021-07-22T11:10:00Z", 21.6),
    ]
    assert values("a;b\nc;d\n", header_row=0) == [
        {"column_1": "a", "column_2": "b"},
        {"column_1": "c", "column_2": "d"},
    ]
    assert values("a;b\n", columns=["x", "y"]) == [{"x": "a", "y": "b"}]


def test_the_header_may_be_said():
    content = '"TOA5","CR1000","x"\n"TIMESTAMP","RECORD","t"\n"TS","RN","C"\n' + "2021-07-22,1,3\n" * 9
    points, report = parse(content, header_row=2)
    assert {p.measurement for p in points} == {"RECORD", "t"}
    assert [line for line, _message in messages(report)] == [3]
    with pytest.raises(ParseError, match="no line 99"):
        parse(content, header_row=99)


def test_a_header_with_one_name_less_than_cells():
    assert values('"x","y"\n"r1",3,4\n"r2",5,6\n') == [
        {"column_1": "r1", "x": 3, "y": 4},
        {"column_1": "r2", "x": 5, "y": 6},
    ]


# --- real data ---


def test_hourly_temperatures_of_two_cities():
    sample = Path(__file__).resolve().parents[4] / "samples/temperatures.csv.gz"
    with gzip.open(sample) as stream:
        options = Options(filename="temperatures.csv")
        points = list(table.parse(stream, options))
    assert (len(points), options.report.count) == (17_518, 0)
    assert {p.measurement for p in points} == {"degreesF"}


def test_the_airports_of_the_world():
    options = Options(filename="airports.csv")
    with (Path(airportsdata.__file__).parent / "airports.csv").open("rb") as stream:
        rows = {row.values["icao"]: row.values for row in table.parse(stream, options)}
    assert options.report.count == 0 and len(rows) > 20_000
    assert rows["LFBO"]["name"] == "Toulouse-Blagnac Airport" or rows["LFBO"]["city"].startswith("Toulouse")
    assert rows["LFBO"]["lat"] == pytest.approx(43.63, abs=0.02)
    assert {type(row["elevation"]) for row in rows.values()} <= {int, float}
    assert rows["FYWH"]["country"] == "NA"  # Namibia


def test_the_list_of_time_zones():
    options = Options(filename="zone.tab", content_type="text/tab-separated-values")
    with (Path(tzdata.__file__).parent / "zoneinfo/iso3166.tab").open("rb") as stream:
        rows = [list(row.values.values()) for row in table.parse(stream, options)]
    assert ["FR", "France"] in rows and ["NA", "Namibia"] in rows


rows = st.lists(
    st.lists(st.text(max_size=8) | st.sampled_from(["2021-07-22", "1", "[1]", '["W"]']), max_size=4), max_size=6
)
headers = st.lists(
    st.sampled_from(["date", "value", "unit", "topic", "a", "b", "", "payload.value", "_id"]), max_size=5
)


@given(headers, rows, st.sampled_from([",", ";"]))
def test_any_table_gives_records_and_reports(header, body, delimiter):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([header, *body])
    for kind in table.KINDS:
        try:
            parse(text.getvalue().encode(errors="replace"), kind=kind)
        except ParseError:
            pass


@given(
    st.lists(
        st.lists(
            st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
    )
)
def test_texts_of_a_table_come_back(body):
    text = io.StringIO()
    csv.writer(text).writerows([["x", "a", "b", "c"], *(["é", *cells] for cells in body)])
    records, report = parse(text.getvalue(), kind="table", null_texts=[], header_row=1, encoding="utf-8", delimiter=",")
    assert report.count == 0
    for record, cells in zip(records, body, strict=True):
        for value, cell in zip(list(record.values.values())[1:], cells, strict=True):
            if isinstance(value, str) or value is None:
                assert value == (cell.strip() or None)


@given(st.lists(st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_of_a_table_come_back(given_numbers):
    rows = values("n,x\n" + "".join(f"{number!r},x\n" for number in given_numbers), kind="table")
    assert [float(row["n"]) for row in rows] == [float(number) for number in given_numbers]


@given(st.binary())
def test_any_bytes_are_parsed_or_refused(content):
    for head in (b"", b"date,value\n"):
        try:
            parse(head + content)
        except ParseError:
            pass


@given(st.lists(st.tuples(st.integers(0, 4_000_000_000), st.floats(allow_nan=False, allow_infinity=False)), min_size=1))
def test_numbers_come_back(readings):
    text = "timestamp,value\n" + "".join(f"{10**9 + seconds},{number!r}\n" for seconds, number in readings)
    points, report = parse(text)
    assert [(p.time // 10**9 - 10**9, p.fields["value"]) for p in points] == readings
    assert report.count == 0
