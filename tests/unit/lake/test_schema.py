# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations as files: every problem is told, with its line and column."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake import schema
from neocampus_lake.errors import DeclarationError
from neocampus_lake.pipelines import BUILT_IN, Declaration

GOOD = """\
name: METEO_alice_station
version: 1
match:
  content_types: [text/csv]
  containers: [meteo]
steps:
  parser: time_series_csv
  sinks: [influxdb]
"""


def told(text, name="x.yml"):
    """The lines of the error that a declaration's text gets."""
    with pytest.raises(DeclarationError) as caught:
        Declaration.from_source(schema.parse(text, name))
    return str(caught.value).splitlines()


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(schema.schema())


def test_every_problem_is_told_where_it_is():
    text = GOOD.replace("version: 1", "version: 1.5").replace("[meteo]", "meteo").replace("influxdb", "paper")
    text = text.replace("METEO_alice_station", "station") + "colour: red\n"
    lines = told(text)
    assert [line.split(": ")[:2] for line in lines] == [
        ["x.yml:1:1", "name"],
        ["x.yml:2:1", "version"],
        ["x.yml:5:3", "match.containers"],
        ["x.yml:8:11", "steps.sinks[0]"],
        ["x.yml:9:1", "colour"],
    ]
    assert "PROJECT_USER_TASKNAME" in lines[0]
    assert lines[2].endswith("'meteo' is not what is expected: a list of texts: names of containers")
    assert "influxdb, mongodb" in lines[3]


def test_json_is_taken_too_and_has_places():
    data = yaml.safe_load(GOOD)
    for text in (json.dumps(data, indent="\t"), json.dumps(data), json.dumps(data, indent=2)):
        assert Declaration.from_source(schema.parse(text, "x.json")).name == "METEO_alice_station"
    data["weight"] = "huge"
    [line] = told(json.dumps(data, indent="\t"), "x.json")
    assert line.startswith("x.json:18:2: weight: 'huge' is not what is expected: `light`, which is the default")
    assert told('{\n  "name": "a",\n  "name": "b"\n}', "x.json") == ["x.json:3:3: name: stands there twice"]
    assert told("{\n  'name'", "x.json")[0].startswith("x.json:2:3: not JSON")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "x.yml: None is not what is expected: which objects"),
        ("- a", "x.yml:1:1: ['a'] is not what is expected"),
        ("a: b: c", "x.yml:1:5: not YAML: mapping values are not allowed here"),
        ("name: x\nname: y\n", "x.yml:2:1: name: stands there twice"),
        ("a: &a [1]\nb: *a\n", "x.yml:2:4: not YAML: aliases"),
        ("1: x", "x.yml:1:1: the key 1 is no text"),
        ("a: !!python/object:os.system {}", "x.yml:1:4: not YAML: could not determine a constructor"),
        ("[" * 100_000, "nested too deeply"),
        ("a: 2024-99-99", "not YAML"),
        ("? [a, b]\n: c", "not YAML"),
    ],
)
def test_what_is_no_declaration(text, said):
    assert said in "\n".join(told(text))


def test_a_file_that_is_too_large_or_no_text(tmp_path):
    for content, said in ((b"#" * (schema.MAX_BYTES + 1), "at most"), (b"\xff\xfe", "cannot be read")):
        (tmp_path / "x.yml").write_bytes(content)
        with pytest.raises(DeclarationError, match=said):
            schema.read(tmp_path / "x.yml")


@pytest.mark.parametrize("part", ["name", "version", "match", "steps"])
def test_what_is_missing_is_named(part):
    data = yaml.safe_load(GOOD)
    del data[part]
    assert any(f"{part} is missing" in line for line in told(yaml.safe_dump(data)))


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["name", "match", "steps", "parser", "x", 1]), inner)
        ),
        max_leaves=10,
    )
)
def test_any_data_is_accepted_or_refused(data):
    with pytest.raises(DeclarationError):
        Declaration.from_dict(data)


@given(st.text(max_size=60))
def test_any_text_is_accepted_or_refused(text):
    for name in ("x.yml", "x.json"):
        with pytest.raises(DeclarationError):
            Declaration.from_source(schema.parse(text, name))


def test_the_built_in_ones_keep_to_the_schema():
    import os

    for name in os.listdir(BUILT_IN):
        assert schema.problems(schema.read(os.path.join(BUILT_IN, name)).data) == []
