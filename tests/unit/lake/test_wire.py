# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records and frames come out as they went in, and nothing else is taken."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake import wire
from neocampus_lake.errors import InvalidInput, LakeError
from neocampus_lake.points import Point
from neocampus_lake.records import Document, File, Member, Node, Relation, Row, Table

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.decimals(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(max_size=50),
    st.datetimes(timezones=st.sampled_from([None, UTC])),
    st.dates(),
    st.times(),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
nodes = st.builds(Node, texts, st.dictionaries(texts, scalars, max_size=2), st.dictionaries(texts, values, max_size=2))
records = st.one_of(
    st.builds(Row, texts, st.dictionaries(texts, scalars, max_size=4), st.integers(0, 10**9)),
    st.builds(
        Table, texts, st.dictionaries(texts, texts, max_size=3), st.lists(texts, max_size=2).map(tuple), st.booleans()
    ),
    st.builds(Document, st.dictionaries(texts, values, max_size=4), st.integers(0, 10**9)),
    st.builds(File, texts, texts, st.binary(max_size=100), st.dictionaries(texts, values, max_size=2)),
    nodes,
    st.builds(Relation, texts, nodes, nodes, st.dictionaries(texts, values, max_size=2)),
)


@given(values)
def test_values_come_out_as_they_went_in(value):
    line = wire.dumps(value)
    assert b"\n" not in line
    assert wire.loads(line) == value


@given(records)
def test_records_come_out_as_they_went_in(record):
    assert wire.to_record(wire.loads(wire.dumps(wire.from_record(record)))) == record


def test_points_and_members_too():
    point = Point("%", 1577836800000000000, {"value": 1.5, "n": 3, "ok": True, "t": "x"}, {"topic": "u4/302"})
    assert wire.to_record(wire.loads(wire.dumps(wire.from_record(point)))) == point
    member = Member("a/b.csv", 12, lambda: None, datetime(2024, 1, 2, tzinfo=UTC))
    found = wire.to_record(wire.loads(wire.dumps(wire.from_record(member))))
    assert (found.path, found.size, found.modified) == (member.path, member.size, member.modified)
    with pytest.raises(LakeError, match="another process"):
        found.open()


def test_what_json_does_not_know():
    assert math.isnan(wire.loads(wire.dumps(float("nan"))))
    assert wire.loads(wire.dumps(float("-inf"))) == -math.inf
    value = {"$decimal": "no decimal", "x": [Decimal("1.50"), b"\x00", date(2024, 2, 29), time(1, 2)]}
    assert wire.loads(wire.dumps(value)) == value
    with pytest.raises(InvalidInput, match="set"):
        wire.dumps({1, 2})
    with pytest.raises(InvalidInput, match="no text"):
        wire.dumps({1: 2})


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"\xff", b'{"$x": "1"}', b'{"$decimal": "one"}', b'{"$date": 3}', b'{"$map": 3}', b"[" * 100_000]
    + [b'{"$bytes": "*"}', b'{"$map": [[1, 2]]}'],
)
def test_lines_that_are_none(line):
    with pytest.raises(InvalidInput):
        wire.loads(line)


@pytest.mark.parametrize(
    "parts",
    [
        None,
        "row",
        [],
        ["row"],
        ["nothing", 1],
        [["row"], 1],
        ["row", 3, {}, 0],
        ["row", "t", {"a": [1]}, 0],
        ["row", "t", {}, True],
        ["table", "t", {"a": 1}, [], False],
        ["table", "t", {}, "a", False],
        ["table", "t", {}, [], 0],
        ["point", "%", 1, {"v": 1}, {"topic": 3}],
        ["point", "%", 1, {"v": [1]}, {}],
        ["point", "", 1, {"v": 1}, {}],
        ["file", "a", "b", "text", {}],
        ["node", "l", [], {}],
        ["relation", "k", ["row", "t", {}, 0], ["row", "t", {}, 0], {}],
        ["member", "a", 1, "yesterday"],
    ],
)
def test_records_that_are_none(parts):
    with pytest.raises(InvalidInput):
        wire.to_record(parts)


@given(st.binary(max_size=200))
def test_any_line_is_a_record_or_refused(line):
    try:
        wire.to_record(wire.loads(line))
    except InvalidInput:
        pass


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=1), st.binary(max_size=50)), max_size=8), st.integers(1, 7))
def test_frames_come_in_whichever_pieces(frames, size):
    data = b"".join(wire.frame(kind, content) for kind, content in frames)
    reader = wire.Frames()
    found = [got for start in range(0, len(data), size) for got in reader.feed(data[start : start + size])]
    assert found == frames


def test_a_frame_that_is_too_large_is_refused():
    with pytest.raises(InvalidInput, match="frame"):
        list(wire.Frames(10).feed(wire.frame(b"o", b"x" * 11)))
