# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput, ParseError
from neocampus_lake.parsers import json_template
from neocampus_lake.parsers.report import Options
from neocampus_lake.points import Point
from neocampus_lake.times import parse_time

AT = "2024-05-01T10:00:00Z"
TIME = parse_time(AT)
TEMPLATE = {"measurement": "kind", "time": "at", "fields": ["value"], "tags": ["room"]}
ITEM = {"kind": "co2", "at": AT, "value": 412, "room": "302"}


def parse(content, template=None, **options):
    if not isinstance(content, bytes):
        content = json.dumps(content).encode()
    given_options = Options(options, metadata={"other_data": {"template": template or TEMPLATE}})
    return list(json_template.parse(io.BytesIO(content), given_options)), given_options.report


def test_an_item():
    points, report = parse(ITEM)
    assert points == [Point("co2", TIME, {"value": 412.0}, {"room": "302"})]
    assert isinstance(points[0].fields["value"], float) and report.count == 0


def test_the_object_s_template_comes_before_the_declaration_s():
    options = Options({"template": {**TEMPLATE, "fields": ["other"]}})
    content = json.dumps({**ITEM, "other": 1}).encode()
    assert next(json_template.parse(io.BytesIO(content), options)).fields == {"other": 1.0}
    options["metadata"] = {"other_data": {"template": TEMPLATE}}
    assert next(json_template.parse(io.BytesIO(content), options)).fields == {"value": 412.0}


def test_a_measurement_that_no_item_has_is_a_name():
    points, _report = parse([{"at": AT, "value": 1}], {**TEMPLATE, "measurement": "air quality"}, filename="a/b.json")
    assert points == [Point("air quality", TIME, {"value": 1.0}, {"topic": "b"})]


def test_an_item_without_the_measurement_that_others_have_is_told():
    points, report = parse([ITEM, {key: ITEM[key] for key in ("at", "value")}])
    assert len(points) == 1
    assert report.items == [{"line": 2, "message": "kind is missing"}]


@pytest.mark.parametrize("count", [json_template.FIRST - 1, json_template.FIRST, json_template.FIRST + 1, 100])
def test_no_item_is_lost_behind_those_that_are_looked_at_first(count):
    points, report = parse([{**ITEM, "value": number} for number in range(count)])
    assert [point.fields["value"] for point in points] == list(range(count)) and report.count == 0


def test_paths_into_objects_and_names_with_dots():
    template = {"measurement": "m", "time": "head.at", "fields": ["a.value", "b.value", "x.y"], "tags": ["head.where"]}
    item = {"m": "w", "head": {"at": AT, "where": 4.0}, "a": {"value": 1}, "b": {"value": 2}, "x.y": 3}
    (point,) = parse(item, template)[0]
    assert point == Point("w", TIME, {"a.value": 1.0, "b.value": 2.0, "y": 3.0}, {"where": "4"})


def test_each_object_of_a_list_is_a_point():
    template = {"measurement": "kind", "time": "data.at", "fields": ["data.in.v"], "tags": ["where", "topic"]}
    item = {
        "kind": "t",
        "where": "roof",
        "topic": "u4",
        "data": [{"at": AT, "in": {"v": 1}}, {"at": "2024-05-01T11:00:00Z", "in": {"v": 2}}, {"at": AT, "in": {}}],
    }
    points, report = parse(item, template)
    assert [(point.fields, point.tags) for point in points] == [
        ({"v": 1.0}, {"where": "roof", "topic": "u4"}),
        ({"v": 2.0}, {"where": "roof", "topic": "u4"}),
    ]
    assert report.items == [{"line": 1, "message": "none of the fields v is there"}]


def test_lists_in_lists():
    template = {"measurement": "x", "time": "days.hours.at", "fields": ["days.hours.v"], "tags": ["days.name"]}
    item = {
        "days": [
            {"name": "a", "hours": [{"at": AT, "v": 1}, {"at": AT, "v": 2}]},
            {"name": "b", "hours": [{"at": AT, "v": 3}]},
        ]
    }
    points, _report = parse(item, template)
    assert [(point.tags["name"], point.fields["v"]) for point in points] == [("a", 1.0), ("a", 2.0), ("b", 3.0)]


def test_lists_side_by_side():
    template = {"measurement": "x", "time": "hourly.time", "fields": ["hourly.t", "hourly.h"], "tags": ["place"]}
    item = {"place": "p", "hourly": {"time": [AT, "2024-05-01T11:00:00Z"], "t": [1.5, None], "h": [40, 41]}}
    points, report = parse(item, template)
    assert [point.fields for point in points] == [{"t": 1.5, "h": 40.0}, {"h": 41.0}]
    item["hourly"]["t"].append(3)
    with pytest.raises(ParseError, match="hourly.t has 3 values, but there are 2 times"):
        parse(item, template)


def test_two_lists_of_objects_make_no_points():
    template = {"measurement": "x", "time": "a.at", "fields": ["b.v"]}
    with pytest.raises(ParseError, match="two lists of objects side by side"):
        parse({"a": [{"at": AT}], "b": [{"v": 1}]}, template)


@pytest.mark.parametrize(
    ("value", "kept"), [(1, 1.0), ("1.5", 1.5), (" -2e3 ", -2000.0), (True, True), ("open", "open"), (10**30, 1e30)]
)
def test_fields(value, kept):
    found = parse({**ITEM, "value": value})[0][0].fields["value"]
    assert found == kept and type(found) is type(kept)


def test_tags():
    template = {**TEMPLATE, "tags": ["a", "b", "c", "d"]}
    (point,) = parse({**ITEM, "a": True, "b": 3, "c": "", "d": None}, template)[0]
    assert point.tags == {"a": "true", "b": "3"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"at": None}, "at is missing"),
        ({"at": "soon"}, "ISO 8601"),
        ({"kind": {}}, "neither text nor number"),
        ({"value": None}, "none of the fields value"),
        ({"value": {"a": 1}}, "value: .* is neither a finite number"),
        ({"value": 10**400}, "neither a finite number"),
        ({"room": [1]}, "room: "),
        ({"room": "a\nb"}, "control characters"),
    ],
)
def test_a_bad_item_is_told_and_the_good_ones_are_taken(change, said):
    points, report = parse([ITEM, {**ITEM, **change}, ITEM])
    assert len(points) == 2 and report.count == 1 and report.items[0]["line"] == 2
    with pytest.raises(ParseError, match=f"item 1: .*{said}" if "*" not in said else said):
        parse([{**ITEM, **change}])


def test_items_that_are_no_object():
    points, report = parse([3, ITEM])
    assert len(points) == 1 and "an object is expected" in report.items[0]["message"]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (["x"], "keys measurement, time, fields, tags"),
        ({**TEMPLATE, "field": []}, "unknown key 'field'"),
        ({**TEMPLATE, "fields": []}, "fields: at least one"),
        ({**TEMPLATE, "fields": {"a": 1}}, "fields: a list of names"),
        ({**TEMPLATE, "fields": [1]}, "fields: a name"),
        ({**TEMPLATE, "fields": ["a", "a"]}, "twice"),
        ({**TEMPLATE, "time": ""}, "time: a name"),
        ({**TEMPLATE, "time": "a..b"}, "time: a name"),
        ({**TEMPLATE, "measurement": None}, "measurement: a name"),
        ({**TEMPLATE, "tags": ["." * 100]}, "tags: a name"),
        ({**TEMPLATE, "tags": [".".join("a" * 51)]}, "tags: a name"),
    ],
)
def test_a_template_that_is_wrong(template, said):
    with pytest.raises(InvalidInput, match=said):
        parse(ITEM, template)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(AT),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "at", "v"]), inner, max_size=4)
    ),
    max_leaves=20,
)
paths = st.lists(st.sampled_from(["a", "b", "at", "v"]), min_size=1, max_size=3).map(".".join)


@given(
    st.lists(json_values, max_size=4),
    paths,
    paths,
    st.lists(paths, min_size=1, max_size=3, unique=True),
    st.lists(paths, max_size=2, unique=True),
)
def test_any_json_gives_points_and_reports(items, measurement, time, fields, tags):
    template = {"measurement": measurement, "time": time, "fields": fields, "tags": tags}
    try:
        points, report = parse(items, template)
    except ParseError as error:
        assert "fits nothing" in str(error)
    else:
        assert points or report.count == 0
