# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What models say, the schemas made of them, and what is told of metadata that does not follow one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidDocument
from neocampus_lake.models import (
    MAX_PROBLEMS,
    Checker,
    InvalidModel,
    Reference,
    check_model,
    content_type_fits,
    insertion_metadata,
    json_schema,
)

jsonschema = pytest.importorskip("jsonschema")

EACH = [
    {"name": "room", "type": "text", "required": True, "min_length": 2, "max_length": 10},
    {"name": "area", "type": "number", "unit": "m²", "minimum": 0, "maximum": 500},
    {"name": "floor", "type": "integer", "default": 0},
    {"name": "heated", "type": "boolean"},
    {"name": "built", "type": "date"},
    {"name": "seen", "type": "datetime"},
    {"name": "use", "type": "enumeration", "values": ["office", "lab", 3]},
    {"name": "position", "type": "geo_point"},
    {"name": "tags", "type": "list", "items": {"type": "text", "max_length": 5}, "max_items": 3},
    {"name": "camera", "type": "text", "required": True, "content_types": ["image/*"]},
]
RIGHT = {
    "room": "302",
    "area": 21.5,
    "floor": 3,
    "heated": True,
    "built": "1969-12-31",
    "seen": "2021-07-22T11:01:22.5+02:00",
    "use": 3,
    "position": {"type": "Point", "coordinates": [1.46, 43.56]},
    "tags": ["a", "b"],
    "anything": {"else": 1},
}


def model(*fields, **more):
    return check_model({"label": "room", "metadata": list(fields or EACH), **more})


def problems(data, kind="text/csv", **more):
    return {one.field: one.message for one in Checker(model(**more)).problems(data, kind)}


def test_what_follows_a_model():
    assert problems(RIGHT) == {}
    assert problems({"room": "12"}) == {}


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"room": 5}, "room", "a text of 2 to 10 characters is expected, not 5"),
        ({"room": "x"}, "room", "2 to 10 characters"),
        ({"area": -1}, "area", "a number of 0 to 500 m² is expected, not -1"),
        ({"area": "21"}, "area", 'not "21"'),
        ({"area": True}, "area", "not true"),
        ({"floor": 1.5}, "floor", "a whole number is expected, not 1.5"),
        ({"floor": None}, "floor", "not null"),
        ({"heated": "yes"}, "heated", "true or false"),
        ({"built": "2021-02-30"}, "built", "a date, as 2021-07-22"),
        ({"built": "20210722"}, "built", "a date"),
        ({"seen": "2021-07-22T11:01:22"}, "seen", "a time with its zone"),
        ({"seen": "2021-07-22T25:01:22Z"}, "seen", "a time with its zone"),
        ({"use": "flat"}, "use", 'one of "office", "lab", 3 is expected, not "flat"'),
        ({"position": {"type": "Point", "coordinates": [200, 3]}}, "position.coordinates[0]", "GeoJSON point"),
        ({"position": {"type": "Point"}}, "position", "GeoJSON point"),
        ({"position": [1, 2]}, "position", "GeoJSON point"),
        ({"tags": ["a", "b", "c", "d"]}, "tags", "a list of at most 3 items with in it a text of at most 5 characters"),
        ({"tags": ["a", 5]}, "tags[1]", "a text of at most 5 characters is expected, not 5"),
    ],
)
def test_what_does_not(change, field, says):
    found = problems({**RIGHT, **change})
    assert list(found) == [field] and says in found[field]


def test_all_problems_are_told_and_have_a_bound():
    assert set(problems({"area": -1, "floor": "x"})) == {"room", "area", "floor"}
    assert "is required: give a text" in problems({})["room"]
    many = {"name": "m", "type": "list", "items": {"type": "integer"}}
    assert len(Checker(model(many)).problems({"m": ["x"] * 1000}, "a/b")) == MAX_PROBLEMS


def test_fields_of_some_types_only():
    assert "camera" in problems(RIGHT, "image/png") and "camera" not in problems(RIGHT, "text/csv; charset=x")
    assert (
        "camera" in json_schema(model(), "IMAGE/PNG")["required"] and "camera" not in json_schema(model())["properties"]
    )


def test_a_closed_model():
    found = problems({**RIGHT, "template": {}}, additional=False)
    assert list(found) == ["anything"] and "its fields are room, area" in found["anything"]


def test_defaults():
    checker = Checker(model({"name": "a", "type": "integer", "default": 4, "required": True}))
    assert checker.completed({"b": 1}, "a/b") == {"a": 4, "b": 1} and checker.completed({"a": 5}, "a/b") == {"a": 5}
    assert "required" not in json_schema(checker.model)


def test_the_schema_is_one():
    schema = json_schema(model(description="of a room"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema") and schema["properties"]["area"]["unit"] == "m²"
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize(
    ("field", "place", "says"),
    [
        ({"type": "text"}, "metadata[0].name", "a letter first"),
        ({"name": "1a", "type": "text"}, "metadata[0].name", "a letter first"),
        ({"name": "template", "type": "text"}, "metadata[0].name", "kept for the lake"),
        ({"name": "a", "type": "string"}, "metadata[0].type", "one of text, number"),
        ({"name": "a", "type": "text", "minimum": 1}, "metadata[0].minimum", "not known of a text"),
        ({"name": "a", "type": "number", "minimum": "1"}, "metadata[0].minimum", "a number"),
        ({"name": "a", "type": "number", "minimum": 2, "maximum": 1}, "metadata[0].minimum", "more than maximum"),
        ({"name": "a", "type": "text", "max_length": -1}, "metadata[0].max_length", "from 0"),
        ({"name": "a", "type": "text", "required": "yes"}, "metadata[0].required", "true or false"),
        ({"name": "a", "type": "integer", "default": "x"}, "metadata[0].default", "a whole number is expected"),
        ({"name": "a", "type": "enumeration"}, "metadata[0].values", "texts or numbers"),
        ({"name": "a", "type": "enumeration", "values": ["x", "x"]}, "metadata[0].values", "each one once"),
        ({"name": "a", "type": "list"}, "metadata[0].items", "what is in the list"),
        ({"name": "a", "type": "list", "items": {"type": "list"}}, "metadata[0].items", "not a list again"),
        ({"name": "a", "type": "list", "items": {"type": "x"}}, "metadata[0].items.type", "one of text"),
        ({"name": "a", "type": "text", "content_types": ["image"]}, "metadata[0].content_types[0]", "image/*"),
        ("a", "metadata[0]", "a field is expected"),
    ],
)
def test_wrong_declarations(field, place, says):
    with pytest.raises(InvalidModel) as failure:
        model(field)
    assert says in {one.field: one.message for one in failure.value.problems}[place]


def test_wrong_models():
    with pytest.raises(InvalidModel) as failure:
        check_model({"label": "a/b", "metadata": [], "visibility": "secret", "additional": 1, "colour": 1})
    assert {one.field for one in failure.value.problems} == {"label", "metadata", "visibility", "additional", "colour"}
    with pytest.raises(InvalidModel, match="named once"):
        model({"name": "a", "type": "text"}, {"name": "a", "type": "text"})
    with pytest.raises(InvalidModel, match="bytes at most"):
        model(*({"name": f"f{n}", "type": "text", "description": "x" * 900} for n in range(100)))


def test_patterns_take_time_in_proportion_to_the_text():
    pytest.importorskip("re2")
    checker = Checker(model({"name": "a", "type": "text", "pattern": "^(a+)+$"}))
    assert "matches ^(a+)+$" in checker.problems({"a": "a" * 100_000 + "!"}, "a/b")[0].message
    assert checker.problems({"a": "aaa"}, "a/b") == []
    with pytest.raises(InvalidModel, match="no regular expression"):
        model({"name": "a", "type": "text", "pattern": "("})


@pytest.mark.parametrize(
    ("patterns", "kind", "fits"),
    [([], "a/b", True), (["image/*"], "image/png", True), (["a/b"], "A/B; x=y", True), (["*/*"], "a/b", True),
     (["image/*"], "text/csv", False), (["image/png"], "image/jpeg", False)],
)  # fmt: skip
def test_types(patterns, kind, fits):
    assert content_type_fits(patterns, kind) is fits


def test_a_model_is_named_in_metadata():
    assert insertion_metadata({"model": "room", "application": "x"}) == {"application": "x", "model": Reference("room")}
    assert insertion_metadata({"model": {"label": "a b", "version": 3}})["model"] == Reference("a b", 3)
    for wrong in ("", 5, {"version": 3}, {"label": "a", "version": 0}, {"label": "a", "x": 1}, "a/b"):
        with pytest.raises(InvalidDocument, match="model"):
            insertion_metadata({"model": wrong})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*RIGHT, "camera"]), JSON))
def test_what_a_schema_says_is_told_and_nothing_else(data):
    """The messages are of the same values that the plain schema finds wrong."""
    checker = Checker(model())
    found = {one.field.partition(".")[0].partition("[")[0] for one in checker.problems(data, "image/png")}
    plain = {key: value for key, value in json_schema(model(), "image/png")["properties"].items()}
    for name, part in plain.items():
        fine = name not in found
        if name in data and part.get("format") is None:
            assert jsonschema.Draft202012Validator(part).is_valid(data[name]) == fine
        elif name not in data:
            assert fine == (name not in ("room", "camera"))


@given(st.dictionaries(st.sampled_from(["label", "metadata", "visibility", "content_types", "x"]), JSON), JSON)
def test_declarations_are_refused_in_one_way(given_, field):
    for one in (
        given_,
        {"label": "a", "metadata": [field]},
        {"label": "a", "metadata": [{"name": "b", "default": field, "type": "text"}]},
    ):
        try:
            checked = check_model(one)
        except InvalidModel as error:
            assert error.problems
        else:
            jsonschema.Draft202012Validator.check_schema(json_schema(checked))
