# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/pipelines.md says of declarations is so. That its tutorial works on a lake is tried by tests/e2e."""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from neocampus_lake import schema
from neocampus_lake.parsers.report import Options
from neocampus_lake.pipelines import Declaration, Router, load_declarations

TEXT = (Path(__file__).resolve().parents[3] / "docs/pipelines.md").read_text()
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```\w*\n(.*?)```\n", TEXT, re.DOTALL))
COMMANDS = re.findall(r"<!-- run -->\n```sh\n(.*?)```\n", TEXT, re.DOTALL)


def test_the_table_is_that_of_the_schema():
    assert f"<!-- schema -->\n{schema.table()}\n<!-- end of schema -->" in TEXT, "run tools/declaration_table"


def test_the_example_is_a_declaration():
    [example] = re.findall(r"```yaml\n(name: METEO_alice_station.*?)```", TEXT, re.DOTALL)
    Declaration.from_source(schema.parse(example))


@pytest.mark.parametrize(
    ("match", "document", "wins"),
    [
        ({"containers": ["meteo"], "data_processing": ["default"]}, {}, True),
        ({"containers": ["meteo"]}, {}, False),
        ({"containers": ["meteo"], "data_processing": ["custom"]}, {"data_processing": "custom"}, True),
        ({"filenames": ["a.*"]}, {}, True),
    ],
)
def test_specificity_is_as_it_says(match, document, wins):
    data = {"name": "A_B_C", "version": 1, "match": match, "steps": {"parser": "sensor_json", "sinks": ["influxdb"]}}
    router = Router([*load_declarations(), Declaration.from_dict(data)])
    known = {"content_type": "text/csv", "swift_container": "meteo", "data_processing": "default"}
    found = router.route({**known, "original_object_name": "a.csv", **document})
    assert found.name == ("A_B_C" if wins else "time_series_csv")


def test_the_tutorial_s_parser_reads_its_file():
    code: dict = {}
    exec(FILES["build/tutorial/rain/rain_gauge.py"], code)
    options = Options({"site": "campus"})
    points = list(code["parse"](io.BytesIO(FILES["build/tutorial/gauge.rain"].encode()), options))
    assert [(point.tags["topic"], point.fields["value"]) for point in points] == [
        ("campus/roof-1/rain", 0.2),
        ("campus/roof-1/rain", 1.4),
        ("campus/garden/rain", 0.4),
    ]
    assert [item["line"] for item in options.report.items] == [4]


def test_the_tutorial_s_declaration_is_for_its_file():
    source = schema.parse(FILES["build/tutorial/RAIN_demo_gauges.yml"], "RAIN_demo_gauges.yml")
    declaration = Declaration.from_source(source, environment="/x")
    document = {"content_type": "text/plain", "swift_container": "tutorial-rain", "data_processing": "default"}
    router = Router([*load_declarations(), declaration])
    assert router.route({**document, "original_object_name": "gauge.rain"}).name == declaration.name


def test_the_tutorial_s_other_files_can_be_read():
    plays = yaml.safe_load(FILES["build/tutorial/deploy.yml"])
    assert [play["hosts"] for play in plays] == ["airflow_worker", "api"]
    for commands in COMMANDS:
        subprocess.run(["bash", "-n"], input=commands, text=True, check=True)
