# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bench's receiver takes the time it is told, or for ever."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

PROGRAM = Path(__file__).resolve().parents[2] / "bench/receiver.py"


@pytest.fixture
def receiver():
    """URLs of the one that answers after 0.2 s, and of the silent one."""
    command = [sys.executable, PROGRAM, "0", "0", "0.2"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        ready, *ports = process.stdout.readline().split()
        assert ready == "ready"
        yield tuple(f"http://127.0.0.1:{port}/" for port in ports)
        process.stdin.close()
        assert process.wait(10) == 0


def test_it_answers_after_its_time_on_a_connection_that_stays(receiver):
    with requests.Session() as session:
        for _ in range(2):
            begun = time.monotonic()
            assert session.post(receiver[0], json={"conf": "x" * 2000}, timeout=10).json() == {"state": "queued"}
            assert 0.2 <= time.monotonic() - begun < 2


def test_the_silent_one_takes_the_connection_and_no_more(receiver):
    with pytest.raises(requests.ReadTimeout):
        requests.post(receiver[1], json={}, timeout=0.3)
