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

fields = st.dictionaries(
    st.text(), st.floats() | st.integers() | st.booleans() | st.text(), min_size=1, max_size=3
)


def split(text, separator, times=-1):
    """Splits at the separators that have no backslash in front and are not in a quoted text."""
    parts, current, quoted, at = [], "", False, 0
    while at < len(text):
        character = text[at]
        if character == "\\" and at + 1 < len(text) and (quoted or text[at + 1] in ", ="):
            current += text[at : at + 2]
            at += 2
            continue
        if character == '"' and separator != "=":
            quoted = not quoted
        if character == separator and not quoted and len(parts) != times:
            parts.append(current)
            current = ""
        else:
            current += character
        at += 1
    return [*parts, current]


def plain(text):
    return re.sub(r"\\([, =])", r"\1", text)


def read(line):
    """An independent reading of the line protocol: (measurement, tags, fields, time)."""
    key, rest = split(line, " ", 1)
    values, time = rest.rsplit(" ", 1)
    measurement, *tags = split(key, ",")
    found = {}
    for item in split(values, ","):
        name, value = split(item, "=", 1)
        if value.startswith('"'):
            found[plain(name)] = re.sub(r'\\(["\\])', r"\1", value[1:-1])
        elif value in ("true", "false"):
            found[plain(name)] = value == "true"
        else:
            found[plain(name)] = int(value[:-1]) if value.endswith("i") else float(value)
    return plain(measurement), {plain(k): plain(v) for k, v in (split(tag, "=", 1) for tag in tags)}, found, int(time)


@given(
    st.text(alphabet=st.characters(codec="utf-8") | st.sampled_from(' ,="\\#')),
    st.integers(),
    st.dictionaries(st.text(alphabet=' ,="\\aé') | st.text(), st.floats() | st.integers() | st.booleans() | st.text(), max_size=3),
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
