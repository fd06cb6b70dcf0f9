# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dry run says what processing would do."""

from __future__ import annotations

import io
import json
import sys
import types
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from neocampus_lake.errors import InvalidDocument, ParseError
from neocampus_lake.explain import as_text, document_of, explain
from neocampus_lake.pipelines import Declaration, Router, load_declarations
from neocampus_lake.records import Document, File, Member, Node, Relation, Row

MESSAGE = {"topic": "u4/302/humidity", "value": 35, "value_units": "%", "time": "2021-07-22T11:11:22Z"}


def dry_run(content, name="a.json", router=None, **given):
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    options = {key: given.pop(key) for key in list(given) if key in ("limit", "seconds", "runs_projects")}
    document = document_of(name, content[:8192], size=len(content), **given)
    return explain(document, io.BytesIO(content), router or Router(load_declarations()), **options)


@pytest.fixture
def own(monkeypatch):
    """own(parse, sinks): a router with a project's pipeline whose parser is that function."""
    code = types.ModuleType("campus_dry_run")
    monkeypatch.setitem(sys.modules, "campus_dry_run", code)

    def make(parse, sinks=("sql",), **changes):
        from neocampus_lake import pipelines

        pipelines._load.cache_clear()
        code.parse = parse
        data = {"name": "A_B_C", "version": 7, "match": {"containers": ["container"], "data_processing": ["default"]}}
        steps = {"parser": "campus_dry_run:parse", "sinks": list(sinks)}
        return Router([*load_declarations(), replace(Declaration.from_dict({**data, "steps": steps}), **changes)])

    return make


def test_what_would_become_of_messages():
    said = dry_run([MESSAGE] * 30 + [3], limit=20)
    assert (said["pipeline"], said["version"], said["source"], said["weight"]) == (
        "json",
        "1",
        "built-in",
        "light",
    )
    assert len(said["records"]) == 20 and said["more"] and said["problem"] is None
    assert said["records"][0] == {
        "kind": "point",
        "sink": "influxdb",
        "measurement": "%",
        "time": "2021-07-22T11:11:22Z",
        "fields": {"value": 35.0},
        "tags": {"topic": "u4/302/humidity"},
    }
    text = as_text(said)
    assert "json version 1 (built-in, light)" in text and "point → influxdb" in text and "… and more" in text


def test_why_the_candidates_match():
    other = {"name": "A_B_C", "version": 2, "match": {"filenames": ["stat*.json"]}}
    other = Declaration.from_dict({**other, "steps": {"parser": "sensor_json", "sinks": ["influxdb"]}})
    said = dry_run([MESSAGE], "station.json", Router([*load_declarations(), other]))
    assert said["candidates"][0] == {
        "pipeline": "A_B_C",
        "version": "2",
        "score": {"filenames": "pattern with 9 characters"},
    }
    assert said["candidates"][1]["score"] == {"content_types": "exact", "data_processing": "exact"}


def test_rows_that_are_left_out():
    said = dry_run([MESSAGE, {"topic": "x"}])
    assert said["left_out"]["count"] == 1
    assert "rows left out so far: 1\n  line 2: " in as_text(said)


@pytest.mark.parametrize(
    ("content", "given", "said"),
    [
        (b'{"a": ', {}, "JSON"),
        (b"\x00\x01", {"name": "a.bin"}, "no pipeline handles"),
        ([MESSAGE], {"metadata": {"data_processing": "custom"}}, "no pipeline handles"),
    ],
)
def test_what_would_fail(content, given, said):
    found = dry_run(content, **given)
    assert said in found["problem"] and f"problem: {found['problem']}" in as_text(found)


def test_the_content_decides_where_the_type_is_wrong():
    said = dry_run([MESSAGE], "a.png", content_type="image/png")
    assert (said["detected_content_type"], said["pipeline"]) == ("application/json", "json")


def test_every_kind_is_shown(own):
    node = Node("Tree", {"name": "t"}, {"height": 3})
    records = [
        Row("t", {"when": datetime(2024, 1, 1, tzinfo=UTC), "text": "x" * 1000}, 3),
        Document({"a": [1, {"b": b"\x00"}]}, 1),
        File("thumbnail", "image/png", b"12345"),
        node,
        Relation("NEAR", node, node),
        Member("a/b.csv", 3, lambda: None),
    ]
    sinks = ["sql", "mongodb", "neo4j", "objects"]
    said = dry_run([1], router=own(lambda stream, options: iter(records), sinks))
    assert said["problem"] is None
    assert [record["sink"] for record in said["records"]] == [
        "sql",
        "mongodb",
        "mongodb",
        "neo4j",
        "neo4j",
        "objects",
    ]
    assert said["records"][0]["values"]["when"] == "2024-01-01T00:00:00.000Z"
    assert len(said["records"][0]["values"]["text"]) == 501
    assert said["records"][2]["size"] == 5
    json.dumps(said)
    as_text(said)


def test_what_no_sink_keeps(own):
    said = dry_run([1], router=own(lambda stream, options: iter([Document({})])))
    assert "makes Document, which its sinks (sql) do not keep" in said["problem"]


def broken(stream, options):
    yield Row("t", {"n": 1}, 1)
    raise KeyError("station")


def wrong(stream, options):
    raise ParseError("no header", 1)


@pytest.mark.parametrize(("parse", "said"), [(broken, "failed: KeyError: 'station'"), (wrong, "line 1: no header")])
def test_steps_that_fail(own, parse, said):
    found = dry_run([1], router=own(parse))
    assert said in found["problem"]
    assert len(found["records"]) == (1 if parse is broken else 0)


def test_it_takes_no_longer_than_it_may(own):
    def endless(stream, options):
        while True:
            yield Row("t", {"n": 1}, 1)

    assert "given up after" in dry_run([1], router=own(endless), limit=10**9, seconds=0.2)["problem"]


def test_what_is_not_run(own):
    def never(stream, options):
        raise AssertionError

    said = dry_run([1], router=own(never, environment="/x"), runs_projects=False)
    assert said["pipeline"] == "A_B_C" and "on the workers only" in said["problem"] and "records" not in said
    assert "handed to Spark" in dry_run([1], router=own(never, weight="heavy"))["problem"]
    assert "its venv is gone" in dry_run([1], router=own(never, problem="its venv is gone"))["problem"]


def test_metadata_is_checked():
    with pytest.raises(InvalidDocument):
        document_of("a.json", b"", metadata={"size": 3})
