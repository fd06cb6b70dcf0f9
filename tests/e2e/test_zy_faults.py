# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three faults of tests/faults in short: what was acknowledged is in gold exactly once, and nobody helped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("fault", ["proxy", "mongodb", "worker"])
def test_nothing_that_was_acknowledged_is_lost(fault):
    environment = os.environ.get("LAKE_ENV", "test")
    command = [sys.executable, "tests/faults/run.py", "--environment", environment, fault]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
