# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput, ParseError
from neocampus_lake.parsers import table
from neocampus_lake.parsers.report import Options
from neocampus_lake.points import Point
from neocampus_lake.times import parse_time

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


def test_bytes_of_another_encoding_cost_only_their_rows():
    content = b"date,place,value\n2021-07-22T11:11:22,caf\xe9,3\n2021-07-22T11:11:22,roof,4\n"
    points, report = parse(content)
    assert [p.tags["place"] for p in points] == ["roof"]
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
        ("a,b\n1,2\n", "no time column"),
        ("just a sentence\n", "begins with a line of column names"),
        ("date,value,value\n2021-07-22,1,2\n", "same name"),
        ("date,place\n2021-07-22,roof\n", "no column of values"),
        ("date,value\n2021-07-22,x\nsoon,1\n", "2 are wrong"),
        (b"\x00\x01\x02\x03\x04", "not text"),
        ("date,value\n" + "x" * 2_000_000, "over 1048576 characters"),
    ],
)
def test_a_file_that_is_no_such_thing(content, said):
    with pytest.raises(ParseError, match=said):
        parse(content)


def test_a_header_alone_is_nothing_wrong():
    points, report = parse("date,value\n")
    assert (points, report.count) == ([], 0)


def test_a_quote_that_is_never_closed_costs_what_follows_it_only():
    content = 'date,value\n2021-07-22,1\n2021-07-23,"2\n' + "2021-07-24,3\n" * 20_000
    points, report = parse(content)
    assert points[0].fields == {"value": 1.0}
    assert report.count >= 1


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


rows = st.lists(
    st.lists(st.text(max_size=8) | st.sampled_from(["2021-07-22", "1", "[1]", '["W"]']), max_size=4), max_size=6
)
headers = st.lists(
    st.sampled_from(["date", "value", "unit", "topic", "a", "b", "", "payload.value", "_id"]), max_size=5
)


@given(headers, rows, st.sampled_from([",", ";"]))
def test_any_table_gives_points_and_reports(header, body, delimiter):
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([header, *body])
    try:
        parse(text.getvalue().encode(errors="replace"))
    except ParseError:
        pass


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
