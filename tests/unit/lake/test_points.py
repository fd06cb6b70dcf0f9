# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import copy
import math
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput
from neocampus_lake.points import Point, to_line

fields = st.dictionaries(st.text(), st.floats() | st.integers() | st.booleans() | st.text(), min_size=1, max_size=3)


# The line protocol, read independently of what writes it.
NAME = r"(?:\\[,= ]|[^,= ])++"
MEASUREMENT = re.compile(r"((?:\\[, ]|[^, ])++)")
TAG = re.compile(f",({NAME})=({NAME})")
FIELD = re.compile(rf'[ ,]({NAME})=("(?:\\["\\]|[^"\\])*+"|[^, "]++)')


def plain(text):
    return re.sub(r"\\([, =])", r"\1", text)


def value_of(text):
    if text.startswith('"'):
        return re.sub(r'\\(["\\])', r"\1", text[1:-1])
    if text in ("true", "false"):
        return text == "true"
    return int(text[:-1]) if text.endswith("i") else float(text)


def read(line):
    """What a line says: (measurement, tags, fields, time)."""
    match = MEASUREMENT.match(line)
    measurement, tags, found = plain(match[1]), {}, {}
    while tag := TAG.match(line, match.end()):
        match = tag
        tags[plain(tag[1])] = plain(tag[2])
    while field := FIELD.match(line, match.end()):
        match = field
        found[plain(field[1])] = value_of(field[2])
    return measurement, tags, found, int(line[match.end() :])


@given(
    st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from(' ,="\\#')),
    st.integers(),
    st.dictionaries(
        st.text(alphabet=' ,="\\aé') | st.text(), st.floats() | st.integers() | st.booleans() | st.text(), max_size=3
    ),
    st.dictionaries(st.text(alphabet=' ,="\\aé'), st.text(alphabet=' ,="\\aé'), max_size=3),
)
def test_a_point_is_refused_or_its_line_says_the_same(measurement, time, values, tags):
    try:
        point = Point(measurement, time, values, tags)
    except InvalidInput:
        return
    line = to_line(point)
    line.encode()
    assert not line.startswith("#")
    assert read(line) == (measurement, tags, values, time)


def test_a_line():
    point = Point("a b,c=d", 5, {"value": 1.0, "n": 3, "ok": True, "s": 'x"\\'}, {"z": "1", "t o": "u4/3,0=2"})
    assert to_line(point) == r'a\ b\,c=d,t\ o=u4/3\,0\=2,z=1 value=1.0,n=3i,ok=true,s="x\"\\" 5'


@pytest.mark.parametrize(
    ("measurement", "time", "values", "tags"),
    [
        ("", 0, {"v": 1.0}, {}),
        ("#m", 0, {"v": 1.0}, {}),
        ("m\n", 0, {"v": 1.0}, {}),
        ("m\\", 0, {"v": 1.0}, {}),
        ("m\\=", 0, {"v": 1.0}, {}),
        ("m", 0, {"a\\,b": 1.0}, {}),
        ("m", 0, {"v": 1.0}, {"t": "a\\ b"}),
        ("m\ud800", 0, {"v": 1.0}, {}),
        ("m", 2**63, {"v": 1.0}, {}),
        ("m", 0, {}, {}),
        ("m", 0, {"time": 1.0}, {}),
        ("m", 0, {"v": math.nan}, {}),
        ("m", 0, {"v": -math.inf}, {}),
        ("m", 0, {"v": 2**63}, {}),
        ("m", 0, {"v": None}, {}),
        ("m", 0, {"v": "a\x00"}, {}),
        ("m", 0, {"v": 1.0}, {"t": ""}),
        ("m", 0, {"v": 1.0}, {"t": "a\\"}),
        ("m", 0, {"v": 1.0}, {"time": "a"}),
        ("m", 0, {"v": 1.0}, {"t": "é" * 40_000}),
    ],
)
def test_points_that_influxdb_could_not_hold(measurement, time, values, tags):
    with pytest.raises(InvalidInput):
        Point(measurement, time, values, tags)


def test_a_tag_may_have_a_reserved_name_as_its_value():
    assert Point("time", 0, {"v": 1.0}, {"t": "time"})


def test_points_can_be_sent_to_other_processes():
    point = Point("m", 0, {"v": 1.0}, {"t": "a"})
    assert pickle.loads(pickle.dumps(point)) == point == copy.copy(point)
    assert not hasattr(point, "__dict__")
