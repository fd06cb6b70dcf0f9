# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput, ParseError
from neocampus_lake.parsers import sensor
from neocampus_lake.parsers.report import Options
from neocampus_lake.points import Point
from neocampus_lake.times import parse_time

DATA = Path(__file__).parents[1] / "data"
MESSAGE = {
    "topic": "u4/302/humidity",
    "value": 35,
    "value_units": "%r.H.",
    "input": 104,
    "subID": "ilot1",
    "unitID": "inside",
    "time": "2021-07-22T11:11:22.000Z",
}
TIME = parse_time(MESSAGE["time"])
TAGS = {"topic": "u4/302/humidity", "subID": "ilot1", "unitID": "inside", "input": "104"}


def parse(content, **options):
    if not isinstance(content, bytes):
        content = json.dumps(content).encode()
    given_options = Options(options)
    return list(sensor.parse(io.BytesIO(content), given_options)), given_options.report


def test_a_message():
    points, report = parse(MESSAGE)
    assert points == [Point("%r.H.", TIME, {"value": 35.0}, TAGS)]
    assert isinstance(points[0].fields["value"], float)
    assert report.count == 0


def test_the_campus_file_gives_one_point_per_unit():
    content = (DATA / "neocampus_messages.json").read_bytes()
    points, report = parse(content)
    expected = set()
    for message in json.loads(content):
        values, units = message["value"], message["value_units"]
        pairs = zip(units, values, strict=True) if isinstance(values, list) else [(units, values)]
        expected |= {
            (unit, message["topic"], str(message["input"]), parse_time(message["time"]), v) for unit, v in pairs
        }
    assert {(p.measurement, p.tags["topic"], p.tags["input"], p.time, p.fields["value"]) for p in points} == expected
    assert len(points) == 28 and report.count == 0


def test_the_older_reading():
    points, report = parse((DATA / "sensor_reading.json").read_bytes())
    tags = {"topic": "1/celsius", "idcapteur": "4", "idpiece": "1"}
    assert points == [Point("celsius", parse_time("2019-06-12T00:00:18.388374Z"), {"value": 15.0}, tags)]
    assert report.count == 0


def test_layout_topic():
    message = {**MESSAGE, "value": [1, 2.5, None], "value_units": ["W", "V", "A"]}
    points, report = parse(message, layout="topic")
    assert points == [Point("u4/302/humidity", TIME, {"W": 1.0, "V": 2.5}, TAGS)]
    assert report.items == [{"line": 1, "message": "value of 'A': None is not a finite number"}]


def test_a_layout_that_is_none():
    with pytest.raises(InvalidInput, match="layout"):
        parse(MESSAGE, layout="sideways")


def test_optional_tags_are_left_out():
    points, _report = parse({key: MESSAGE[key] for key in ("topic", "value", "value_units", "time")})
    assert points[0].tags == {"topic": "u4/302/humidity"}
    points, _report = parse({**MESSAGE, "input": None, "subID": "", "unitID": 7.0})
    assert points[0].tags == {"topic": "u4/302/humidity", "unitID": "7"}


def test_messages_one_after_another():
    points, _report = parse(b'\xef\xbb\xbf{"topic":"a","value":1,"value_units":"W","time":"2021-07-22"}\n' * 1 + b" ")
    assert len(points) == 1
    lines = "\n".join(json.dumps({**MESSAGE, "value": n}) for n in range(3)).encode()
    assert [p.fields["value"] for p in parse(lines)[0]] == [0.0, 1.0, 2.0]


def test_utf_16():
    assert len(parse(json.dumps([MESSAGE]).encode("utf-16"))[0]) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": True}, "True is not a finite number"),
        ({"value": "35"}, "'35' is not a finite number"),
        ({"value": float("nan")}, "nan is not a finite number"),
        ({"value": 10**400}, "is not a finite number"),
        ({"value": None}, "None is not a finite number"),
        ({"value": [1, 2]}, "2 values, but 1 units"),
        ({"value": [], "value_units": []}, "empty"),
        ({"value": [1, 2], "value_units": ["W", "W"]}, "there twice"),
        ({"value_units": None}, "a unit is a text"),
        ({"value_units": ""}, "a unit is a text"),
        ({"value_units": "a\nb"}, "control characters"),
        ({"time": None}, "time is missing"),
        ({"time": "soon"}, "ISO 8601"),
        ({"topic": ""}, "neither text nor number"),
        ({"topic": {"a": 1}}, "neither text nor number"),
        ({"input": [1]}, "input: "),
        ({"subID": "\ud800"}, "control characters"),
    ],
)
def test_a_bad_message_is_reported_and_the_good_ones_are_taken(change, said):
    points, report = parse([MESSAGE, {**MESSAGE, **change}, MESSAGE])
    assert len(points) == 2
    assert report.count == 1
    assert report.items[0]["line"] == 2 and said in report.items[0]["message"]


def test_one_bad_value_of_a_list_does_not_cost_the_others():
    points, report = parse({**MESSAGE, "value": [1, None, 3], "value_units": ["W", "V", "A"]})
    assert [p.measurement for p in points] == ["W", "A"]
    assert report.count == 1


def test_the_report_is_bounded():
    points, report = parse([MESSAGE] + [{"no": "message"}] * 1000)
    assert (len(points), report.count, len(report.items)) == (1, 1000, 20)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b'[{"topic": "u4/302/humidity", "value":', "not valid JSON"),
        (b"[1, 2", "the list ends too early"),
        (b"[1, 2,", "the file ends where a value is expected"),
        (b"[1 2]", "a comma is expected"),
        (b"[] []", "after the list's end"),
        (b"nonsense", "not valid JSON"),
        (b"\xff\xff\xff\xff", "not Unicode text"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" + b"9" * 5000 + b"]", "not valid JSON"),
        (b'{"a": 1}', "nothing in this JSON is a sensor message"),
        (b'[{"a": 1}, 3, null]', "3 items, item 1"),
    ],
)
def test_a_file_that_is_no_such_thing(content, said):
    with pytest.raises(ParseError, match=said):
        parse(content)


def test_the_line_of_broken_json_is_told():
    with pytest.raises(ParseError) as caught:
        parse(b"[" + json.dumps(MESSAGE).encode() + b",\n\n{broken}]")
    assert caught.value.line == 3


def test_a_broken_line_does_not_cost_the_others():
    lines = [json.dumps({**MESSAGE, "value": n}) for n in range(3)]
    lines[1] = lines[1][:-5]
    points, report = parse("\n".join(lines).encode())
    assert [p.fields["value"] for p in points] == [0.0, 2.0]
    assert report.items[0]["line"] == 2 and "line 2: not valid JSON" in report.items[0]["message"]


def test_an_empty_list_is_nothing_wrong():
    points, report = parse(b"[]")
    assert (points, report.count) == ([], 0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.binary())
def test_any_bytes_are_parsed_or_refused(content):
    try:
        parse(content)
    except ParseError:
        pass


messages = st.fixed_dictionaries(
    {"topic": st.text(), "value": json_values, "value_units": st.text() | st.lists(st.text(), max_size=3)},
    optional={"time": st.just("2021-07-22T00:00:00Z") | st.text(), "input": json_values, "subID": json_values},
)


@given(st.lists(messages | json_values), st.sampled_from(sensor.LAYOUTS))
def test_any_json_gives_points_and_reports(items, layout):
    try:
        points, report = parse(items, layout=layout)
    except ParseError as error:
        assert "nothing in this JSON" in str(error)
    else:
        assert points or not items or report.count == 0
