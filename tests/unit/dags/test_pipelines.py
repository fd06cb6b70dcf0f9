# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which declarations of projects are accepted."""

from __future__ import annotations

import sys

import pytest
from lake_airflow import pipelines

GOOD = """
name: METEO_alice_station
version: 1
match: {content_types: [text/csv], containers: [meteo]}
weight: light
steps: {parser: time_series_csv, sinks: [influxdb]}
"""


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Runs the command on a declaration; gives its exit code."""
    (tmp_path / "in-force").mkdir()

    def run(text, name="new.yml"):
        file = tmp_path / "candidate"
        file.write_text(text)
        folder = str(tmp_path / "in-force")
        monkeypatch.setattr(sys, "argv", ["check", "--folder", folder, "--instead-of", name, str(file)])
        code = pipelines.main()
        if code == 0:
            (tmp_path / "in-force" / name).write_text(text)
        return code

    return run


def test_a_good_one_is_accepted_and_can_be_replaced(check):
    assert check(GOOD) == 0
    assert check(GOOD.replace("version: 1", "version: 2")) == 0


def test_a_second_one_for_the_same_objects_is_refused(check, capsys):
    assert check(GOOD) == 0
    assert check(GOOD.replace("station", "other"), name="other.yml") == 1
    assert "METEO_alice_station" in capsys.readouterr().err


def test_a_heavy_one_is_refused(check, capsys):
    assert check(GOOD.replace("light", "heavy")) == 1
    assert "only light ones" in capsys.readouterr().err


def test_an_unknown_step_is_refused(check):
    assert check(GOOD.replace("time_series_csv", "no_such_parser")) == 1
