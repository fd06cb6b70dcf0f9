# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What schemathesis is told, and how its report is read."""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/contract"))
import made_up  # noqa: E402


def test_the_configuration_has_no_token_and_asks_about_what_is_there(tmp_path):
    file = tmp_path / "schemathesis.toml"
    made_up.write_configuration(file, ["one", "two"], ["17"], argparse.Namespace(examples=7))
    told = tomllib.loads(file.read_text())
    assert told["headers"] == {"X-Auth-Token": "${LAKE_TOKEN}"} and told["tls-verify"] == "${LAKE_CA}"
    assert told["dictionaries"] == {"containers": {"values": ["one", "two"]}, "ids": {"values": ["17"]}}
    assert told["generation"]["max-examples"] == 7
    assert {name for name, check in told["checks"].items() if not check.get("enabled", True)} == set(made_up.UNCHECKED)


def test_failures_and_errors_of_a_report_are_told():
    report = {
        "operations": {"tested": 90},
        "test_cases": {"generated": 4000},
        "failures": [{"title": "Server error", "count": 2, "operations": ["GET /a", "GET /b"]}],
        "errors": [{"title": "Network Error", "count": 1}],
    }
    outcome = made_up.outcome("member", report)
    assert outcome.failures == ["Server error (2): GET /a, GET /b", "Network Error (1)"]
    assert "| member | 90 | 4000 | 2 |" in made_up.markdown([outcome])


def test_what_is_left_out_is_in_the_document():
    """A name that no operation has would leave out nothing, without a word."""
    routes = ROOT / "roles/api/files/lake_api/src/lake_api/routes"
    code = "\n".join(file.read_text() for file in routes.glob("*.py"))
    assert [name for name in made_up.LEFT_OUT if f"def {name}(" not in code] == []
