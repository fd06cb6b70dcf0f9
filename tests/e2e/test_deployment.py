# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment as an operator sees it: a wrong variable stops it before anything changes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
INVENTORY = f"inventories/{os.environ.get('LAKE_ENV', 'test')}"


@pytest.mark.parametrize(
    ("playbook", "wrong"),
    [
        ("base.yml", '{"common_open_files": "many"}'),
        ("metadata.yml", '{"mongodb_port": "not a port"}'),
        ("gold.yml", '{"influxdb_port": "not a port"}'),
        ("site.yml", '{"edge_worker_connections": "many"}'),  # of the last role: it stops before the first one
    ],
)
def test_a_wrong_variable_stops_at_the_argument_spec(playbook, wrong):
    done = subprocess.run(
        ["ansible-playbook", "-i", INVENTORY, f"playbooks/{playbook}", "-e", wrong],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "argument" in done.stdout and next(iter(json.loads(wrong))) in done.stdout
    assert "changed=0" in done.stdout and "changed=1" not in done.stdout
