# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import fnmatch
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import DeclarationError, LakeError, NoPipeline
from neocampus_lake.parsers import bson_dump, json_any, meter, sql_dump, table
from neocampus_lake.pipelines import KEPT, SINKS, Declaration, Router, _overlap, load_declarations
from neocampus_lake.schema import schema

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def declaration(name="CAMPUS_ALICE_TASK", steps=None, weight="light", **match):
    data = {
        "name": name,
        "version": 1,
        "match": match or {"content_types": ["text/csv"]},
        "weight": weight,
        "steps": steps or {"parser": "sensor_json", "sinks": ["influxdb"]},
    }
    return Declaration.from_dict(data, name + ".yml")


def document(**changes):
    values = {
        "content_type": "text/csv",
        "swift_project": "p1",
        "swift_container": "campus",
        "data_processing": "default",
        "original_object_name": "a.csv",
    }
    return {**values, **changes}


@pytest.mark.parametrize(
    ("content_type", "filename", "name", "parser", "sinks"),
    [
        ("application/json", "a", "json", json_any, ("influxdb", "mongodb")),
        ("Application/JSON; charset=utf-8", "a", "json", json_any, ("influxdb", "mongodb")),
        ("application/x-ndjson", "a", "json", json_any, ("influxdb", "mongodb")),
        ("application/geo+json", "a", "json", json_any, ("influxdb", "mongodb")),
        ("application/octet-stream", "a.json", "json_file", json_any, ("influxdb", "mongodb")),
        ("application/gzip", "a.geojson.gz", "json_file", json_any, ("influxdb", "mongodb")),
        ("text/csv", "a.csv", "table_csv", table, ("influxdb", "sql")),
        ("text/plain", "a.txt", "time_series_text", table, ("influxdb",)),
        ("application/vnd.ms-excel", "a.xls", "table_excel", table, ("influxdb", "sql")),
        (XLSX, "a.xlsx", "table_excel", table, ("influxdb", "sql")),
        ("application/sql", "a.sql", "sql_dump", sql_dump, ("sql",)),
        ("text/plain", "a.sql", "sql_dump_file", sql_dump, ("sql",)),
        ("application/gzip", "a.sql.gz", "sql_dump_file", sql_dump, ("sql",)),
        ("application/sql", "sge_2024.sql", "meter_dump", meter, ("sql",)),
        ("text/csv", "Export-SGE.csv", "meter_dump", meter, ("sql",)),
        ("application/gzip", "sge.sql.gz", "meter_dump", meter, ("sql",)),
        ("text/csv", "Enedis_Conso_Heure.csv", "meter_dump", meter, ("sql",)),
        ("application/bson", "a", "bson_dump", bson_dump, ("mongodb",)),
        ("application/octet-stream", "a.bson", "bson_dump_file", bson_dump, ("mongodb",)),
    ],
)
def test_built_in_pipelines(content_type, filename, name, parser, sinks):
    found = Router(load_declarations()).route(document(content_type=content_type, original_object_name=filename))
    assert found.name == name and found.weight == "light" and found.sinks == sinks
    # The functions may be loaded under another name of the package: the same file is what counts.
    assert found.parser.load().__code__.co_filename == parser.parse.__code__.co_filename


@pytest.mark.parametrize(
    "change", [{"content_type": "application/pdf"}, {"data_processing": "custom"}, {"content_type": ""}]
)
def test_what_nothing_handles_is_told(change):
    with pytest.raises(NoPipeline) as caught:
        Router(load_declarations()).route(document(**change))
    for value in {**document(), **change}.values():
        assert repr(value) in str(caught.value)


def test_the_most_specific_wins():
    declarations = [
        declaration("a_b_any", content_types=["*"]),
        declaration("a_b_class", content_types=["text/*"]),
        declaration("a_b_type", content_types=["text/csv"]),
        declaration("a_b_project", projects=["p1"]),
        declaration("a_b_container", content_types=["text/*"], containers=["campus"]),
        declaration("a_b_custom", data_processing=["custom"], containers=["campus"]),
        declaration("a_b_file", filenames=["station-*.csv"]),
        declaration("a_b_files", filenames=["station-1*.csv"]),
    ]
    for router in (Router(declarations), Router(declarations[::-1])):

        def route(router=router, **changes):
            return router.route(document(**changes)).name

        assert route(swift_container="x", swift_project="x", content_type="a/b") == "a_b_any"
        assert route(swift_container="x", swift_project="x", content_type="text/x") == "a_b_class"
        assert route(swift_container="x", swift_project="x") == "a_b_type"
        assert route(swift_container="x") == "a_b_project"
        assert route() == "a_b_container"
        assert route(data_processing="custom") == "a_b_custom"
        assert route(data_processing="custom", original_object_name="station-2.csv") == "a_b_file"
        assert route(original_object_name="station-12.csv") == "a_b_files"


def test_any_pattern_of_a_list_is_enough():
    router = Router([declaration(content_types=["text/csv", "text/x*"], containers=["a", "b"])])
    assert router.route(document(content_type="text/xml", swift_container="b"))
    with pytest.raises(NoPipeline):
        router.route(document(content_type="text/xml", swift_container="c"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"content_types": ["text/csv"]}, {"content_types": ["text/csv"]}),
        ({"content_types": ["text/csv"]}, {"content_types": ["a/b", "text/csv"]}),
        ({"filenames": ["a*"]}, {"filenames": ["*b"]}),
        ({"filenames": ["a?c"]}, {"filenames": ["ab?"]}),
        ({"containers": ["x"], "filenames": ["a*"]}, {"containers": ["x"], "filenames": ["*a"]}),
    ],
)
def test_a_tie_is_refused(one, other):
    with pytest.raises(DeclarationError, match="A_B_C.*X_Y_Z"):
        Router([declaration("A_B_C", **one), declaration("X_Y_Z", **other)])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"content_types": ["text/csv"]}, {"content_types": ["text/xml"]}),
        ({"content_types": ["text/csv"]}, {"content_types": ["text/*"]}),
        ({"filenames": ["a*"]}, {"filenames": ["b*"]}),
        ({"containers": ["x"], "filenames": ["a*"]}, {"containers": ["y"], "filenames": ["*a"]}),
        ({"containers": ["x"]}, {"data_processing": ["custom"]}),
    ],
)
def test_no_tie(one, other):
    assert Router([declaration("A_B_C", **one), declaration("X_Y_Z", **other)])


patterns = st.text(alphabet="ab*?", max_size=6)


@given(patterns, patterns, st.text(alphabet="ab", max_size=6))
def test_patterns_that_meet_are_known(one, other, text):
    if fnmatch.fnmatchcase(text, one) and fnmatch.fnmatchcase(text, other):
        assert _overlap(one, other)
    assert _overlap(one, other) == _overlap(other, one)
    assert _overlap(one, one)


def test_names_are_unique():
    with pytest.raises(DeclarationError, match="two pipelines"):
        Router([declaration(containers=["a"]), declaration(containers=["b"])])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "two_parts"}, "PROJECT_USER_TASKNAME"),
        ({"name": "a b_c_d"}, "name: 'a b_c_d' is not what is expected: letters"),
        ({"name": None}, "name: None is not what is expected: letters"),
        ({"version": None}, "version"),
        ({"version": True}, "version"),
        ({"match": {}}, "match: nothing is in it; expected: one or more"),
        ({"match": {"colour": ["red"]}}, "match.colour: unknown key 'colour': containers, content_types"),
        ({"match": {"containers": "campus"}}, "match.containers: 'campus' is not what is expected: a list of texts"),
        ({"match": {"containers": []}}, "empty list"),
        ({"match": {"filenames": ["[ab]*"]}}, "only wildcards"),
        ({"weight": "huge"}, "weight"),
        ({"steps": {"sinks": ["influxdb"]}}, "steps"),
        ({"steps": {"parser": "sensor_json"}}, "steps: sinks is missing: a list"),
        ({"steps": {"parser": "sensor_json", "sinks": ["paper"]}}, r"steps.sinks\[0\]: 'paper'"),
        ({"steps": {"parser": "sensor_json", "sinks": ["sql"]}}, "makes Point, which sql does not keep; influxdb does"),
        ({"steps": {"parser": "nothing", "sinks": ["influxdb"]}}, "steps.parser.*neither"),
        ({"steps": {"parser": "no.such:parse", "sinks": ["influxdb"]}}, "steps.parser.*No module"),
        ({"steps": {"parser": "json:nothing", "sinks": ["influxdb"]}}, "steps.parser"),
        ({"steps": {"parser": "json:__name__", "sinks": ["influxdb"]}}, "not a function"),
        ({"steps": {"parser": {"options": {}}, "sinks": ["influxdb"]}}, "steps.parser: function is missing"),
        (
            {"steps": {"parser": {"function": "sensor_json", "x": 1}, "sinks": ["influxdb"]}},
            "steps.parser.x: unknown key 'x'",
        ),
        (
            {"steps": {"parser": "sensor_json", "transforms": "json:loads", "sinks": ["influxdb"]}},
            "transforms: 'json:loads' is not what is expected: a list",
        ),
        ({"colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_wrong_declarations_say_what_is_wrong(change, said, tmp_path):
    data = {
        "name": "CAMPUS_ALICE_TASK",
        "version": 1,
        "match": {"content_types": ["text/csv"]},
        "steps": {"parser": "sensor_json", "sinks": ["influxdb"]},
    }
    file = tmp_path / "task.yml"
    file.write_text(yaml.safe_dump({**data, **change}))
    with pytest.raises(DeclarationError, match=said) as caught:
        load_declarations([file])
    assert str(file) in str(caught.value)


def test_a_pipeline_that_cannot_be_run_keeps_its_objects():
    healthy = declaration("A_B_TYPE", content_types=["text/*"])
    broken = replace(declaration("A_B_CSV"), problem="its file is damaged")
    router = Router([healthy, broken])
    found = router.route(document())
    assert found.name == "A_B_CSV"
    with pytest.raises(LakeError, match="A_B_CSV.*its file is damaged.*Deploy it again"):
        found.check()
    assert router.route(document(content_type="text/xml")).name == "A_B_TYPE"
    # As specific as a healthy one: nothing decides, and the object waits rather than go the wrong way.
    for order in ([declaration("A_B_OTHER"), broken], [broken, declaration("A_B_OTHER")]):
        assert Router(order).route(document()).name == "A_B_CSV"


def test_candidates_come_with_their_scores():
    router = Router([declaration("A_B_TYPE", content_types=["text/*"]), declaration("A_B_CSV")])
    assert [found.name for found, _score in router.candidates(document())] == ["A_B_CSV", "A_B_TYPE"]
    scores = [score for _found, score in router.candidates(document())]
    assert scores == sorted(scores, reverse=True)
    assert router.candidates(document(content_type="image/png")) == []


def test_steps_of_an_environment_are_not_looked_for_here():
    steps = {"parser": "station.parse:rows", "sinks": ["sql"]}
    data = {"name": "A_B_C", "version": 1, "match": {"containers": ["a"]}, "steps": steps}
    with pytest.raises(DeclarationError, match="No module named 'station'"):
        Declaration.from_dict(data)
    assert Declaration.from_dict(data, environment="/x").environment == "/x"
    with pytest.raises(DeclarationError, match="cannot open archives"):
        Declaration.from_dict({**data, "steps": {**steps, "sinks": ["objects"]}}, environment="/x")


def test_what_sinks_are_said_to_keep_is_what_they_keep():
    from neocampus_lake.sinks.documents import DocumentSink
    from neocampus_lake.sinks.influxdb import InfluxDBSink
    from neocampus_lake.sinks.sql import SqlSink

    for sink in (InfluxDBSink, DocumentSink, SqlSink):
        assert tuple(kind.__name__ for kind in sink.accepts) == KEPT[sink.name]
    assert set(KEPT) == SINKS == set(schema()["properties"]["steps"]["properties"]["sinks"]["items"]["enum"])


def test_a_project_s_declarations_join_the_built_in_ones(tmp_path):
    (tmp_path / "one.yml").write_text(
        "name: METEO_BOB_STATIONS\nversion: 2\nmatch: {containers: [meteo], data_processing: [custom]}\nweight: heavy\n"
        "steps:\n  parser: {function: time_series_csv, options: {delimiter: ';'}}\n  sinks: [influxdb]\n"
    )
    (tmp_path / "notes.txt").write_text("no declaration")
    router = Router(load_declarations([tmp_path]))
    found = router.route(document(swift_container="meteo", data_processing="custom"))
    assert (found.name, found.version, found.weight) == ("METEO_BOB_STATIONS", "2", "heavy")
    assert found.parser.options == {"delimiter": ";"}
    assert router.route(document(swift_container="meteo")).name == "table_csv"
    assert [d.name for d in load_declarations([tmp_path], built_in=False)] == ["METEO_BOB_STATIONS"]


@pytest.mark.parametrize("content", ["{", "- a\n", "", "\x00"])
def test_files_that_are_no_declaration(content, tmp_path):
    file = tmp_path / "x.yml"
    file.write_text(content)
    with pytest.raises(DeclarationError, match=str(file)):
        load_declarations([file])


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DeclarationError, match="missing.yml"):
        load_declarations([tmp_path / "missing.yml"])
