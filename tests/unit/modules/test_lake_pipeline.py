# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""lake_pipeline and lake_pipeline_info, with the tool that they call on a host."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import yaml

LIBRARY = (
    Path(__file__).resolve().parents[3] / "collections/ansible_collections/neocampus/datalake/plugins/module_utils"
)
DECLARATION = {
    "name": "METEO_alice_station",
    "version": 1,
    "match": {"containers": ["meteo"], "data_processing": ["default"]},
    "steps": {"parser": "time_series_csv", "sinks": ["influxdb"]},
}


@pytest.fixture
def host(module, tmp_path):
    """The module on a host: host(name, check=False, **parameters)."""
    (tmp_path / "library").mkdir()
    (tmp_path / "library/neocampus_lake").symlink_to(LIBRARY / "lake")
    tool = tmp_path / "lake-pipelines"
    tool.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(tmp_path / 'library')!r})\n"
        "from neocampus_lake.deployment import main\nsys.exit(main())\n"
    )
    tool.chmod(0o755)

    def run(module_name="lake_pipeline", check=False, **parameters):
        # The connection is for the modules of the API.
        given = {"tool": str(tool), "root": str(tmp_path / "root"), **parameters}
        return module(module_name, check=check, config_file=None, **given)

    run.root = tmp_path / "root"
    return run


@pytest.fixture
def declared(tmp_path):
    def write(**changes):
        file = tmp_path / "declaration.yml"
        file.write_text(yaml.safe_dump({**DECLARATION, **changes}))
        return str(file)

    return write


def test_present_changed_and_absent(host, declared):
    first = host(src=declared())
    assert first["changed"] and first["pipeline"]["version"] == "1"
    assert first["diff"]["before"] == "" and "METEO_alice_station" in first["diff"]["after"]
    assert not host(src=declared())["changed"]
    assert host(src=declared(version=2), check=True)["changed"]
    assert host(src=declared(version=2))["diff"]["before"] == first["diff"]["after"]
    assert host(name="METEO_alice_station", state="absent", check=True)["changed"]
    assert host(name="METEO_alice_station", state="absent")["changed"]
    assert not host(name="METEO_alice_station", state="absent")["changed"]


def test_check_mode_touches_nothing(host, declared):
    assert host(src=declared(), check=True)["changed"]
    assert not os.path.exists(host.root)


def test_a_wrong_one_is_refused_with_every_problem(host, declared):
    host(src=declared())
    file = declared(match={"containers": "meteo"}, weight="huge")
    result = host(src=file)
    assert result["failed"] and len(result["problems"]) == 2
    assert all(problem.startswith(f"{file}:") for problem in result["problems"])
    result = host(src=declared(match={"containers": ["x"]}))
    assert result["failed"] and "raise the version" in result["msg"]
    [found] = [item for item in host("lake_pipeline_info")["pipelines"] if item["source"] == "project"]
    assert found["match"]["containers"] == ["meteo"]


def test_the_name_may_be_said(host, declared):
    assert host(src=declared(), name="METEO_bob_station")["failed"]
    assert host(src=declared(), name="METEO_alice_station")["changed"]


def test_another_s_place(host, declared):
    host(src=declared())
    result = host(src=declared(name="METEO_alice_stations"), replaces=["METEO_alice_station"], managed_by="inventory")
    assert result["removed"] == ["METEO_alice_station"]
    listed = host("lake_pipeline_info")
    assert not listed["changed"]
    assert {item["name"]: item.get("managed_by") for item in listed["pipelines"] if item["source"] == "project"} == {
        "METEO_alice_stations": "inventory"
    }
    assert "sensor_json" in json.dumps(listed["pipelines"])


def test_what_is_missing_is_said(host):
    assert "src" in host()["msg"]
    assert "name" in host(state="absent")["msg"]


def test_a_tool_that_is_no_tool(host, declared, tmp_path):
    tool = tmp_path / "other"
    tool.write_text("#!/bin/sh\ncat >/dev/null\n")
    tool.chmod(0o755)
    assert "said nothing of use" in host(src=declared(), tool=str(tool))["msg"]
    assert "said nothing of use" in host("lake_pipeline_info", tool=str(tool))["msg"]
