# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole node set is stopped and started: the lake comes back by itself, with its data. Runs last."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from neocampus_lake.client import LakeClient
from neocampus_lake.errors import LakeError

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENT = os.environ.get("LAKE_ENV", "test")
PREFIX = {"local": "", "test": "test-"}[ENVIRONMENT]
NODES = [
    f"{PREFIX}{name}"
    for name in ("edge1", "identity1", "data1", "data2", "data3", "process1", "process2", "gold1", "monitor1")
]
PATIENCE = 300.0  # seconds until the whole lake has to be back


def log_in() -> LakeClient:
    """A client of the demo user."""
    lines = (ROOT / f"build/{ENVIRONMENT}/openrc").read_text().splitlines()
    rc = dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
    client = LakeClient(rc["LAKE_API_URL"], ca_file=rc["OS_CACERT"])
    client.log_in(rc["OS_USERNAME"], rc["OS_PASSWORD"], rc["OS_PROJECT_NAME"])
    return client


def points(client: LakeClient, container: str) -> int:
    """Number of points in CONTAINER."""
    return sum(1 for measurement in client.measurements(container) for _ in client.points(container, measurement))


def test_stop_and_start_of_all_nodes_keeps_everything():
    client = log_in()
    before = client.insert("restart", ROOT / "samples/messages.json")
    client.wait_processed("restart", before["swift_object_id"])
    assert points(client, "restart") == 28

    subprocess.run(["docker", "stop", *NODES], check=True, capture_output=True)
    subprocess.run(["docker", "start", *NODES], check=True, capture_output=True)

    end = time.monotonic() + PATIENCE
    while True:
        try:
            client = log_in()
            after = client.insert("restart", ROOT / "samples/message.json")
            document = client.wait_processed("restart", after["swift_object_id"], timeout=end - time.monotonic())
            break
        except LakeError as error:
            if time.monotonic() > end:
                pytest.fail(f"the lake is not back after {PATIENCE:g} s: {error}")
            time.sleep(2)
    assert document["successful_operations"] and not document["failed_operations"]
    assert client.get("restart", before["swift_object_id"])["successful_operations"]
    with client.data("restart", before["swift_object_id"]) as stream:
        assert stream.read() == (ROOT / "samples/messages.json").read_bytes()
    assert points(client, "restart") == 28  # the message is one of the list's: the same points
