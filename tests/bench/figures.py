# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the running local lake: memory per node, time from PUT to queryable, time of a run that changes nothing.

    python tests/bench/figures.py [--repetitions 20] [--skip-run]

Prints a table for docs/figures.md. PUT → queryable: one object with one new reading, from the start of the POST until
the REST API gives the point; the lake is otherwise idle.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from neocampus_lake.client import LakeClient

ROOT = Path(__file__).resolve().parent.parent.parent
NODES = ["edge1", "identity1", "data1", "data2", "data3", "process1", "process2", "gold1", "monitor1"]
PATIENCE = 60.0  # seconds for one reading


def memory(node: str) -> float:
    """MiB of a node's processes: the sum of their proportional set sizes (PSS)."""
    command = "cat /proc/[0-9]*/smaps_rollup 2>/dev/null | awk '/^Pss:/ {sum += $2} END {print sum}'"
    return float(subprocess.check_output(["docker", "exec", node, "sh", "-c", command], text=True)) / 1024


def log_in() -> LakeClient:
    """A client of the demo user."""
    lines = (ROOT / "build/local/openrc").read_text().splitlines()
    rc = dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
    client = LakeClient(rc["LAKE_API_URL"], ca_file=rc["OS_CACERT"])
    client.log_in(rc["OS_USERNAME"], rc["OS_PASSWORD"], rc["OS_PROJECT_NAME"])
    return client


def put_to_queryable(client: LakeClient, when: datetime) -> float:
    """Seconds from the start of the POST of one reading at WHEN until the API gives its point."""
    stamp = when.strftime("%Y-%m-%dT%H:%M:%SZ")
    end = (when + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    message = {"topic": "bench/idle/lag", "value": 1.0, "value_units": "s", "subID": "b", "unitID": "b", "time": stamp}
    begun = time.monotonic()
    client.insert("bench-lag", json.dumps(message).encode(), name="lag.json")
    while not any(True for _ in client.points("bench-lag", "s", start=stamp, end=end)):
        if time.monotonic() - begun > PATIENCE:
            sys.exit(f"the reading of {stamp} is not there after {PATIENCE:g} s")
        time.sleep(0.05)
    return time.monotonic() - begun


def second_run() -> tuple[float, int]:
    """Seconds of a run of site.yml, and the number of changes that it reports (0 expected)."""
    begun = time.monotonic()
    done = subprocess.run(["make", "deploy"], cwd=ROOT, capture_output=True, text=True, check=True)
    return time.monotonic() - begun, sum(map(int, re.findall(r"changed=(\d+)", done.stdout)))


def main() -> None:
    """Take the figures and print them."""
    parser = argparse.ArgumentParser(description="Figures of the running local lake")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--skip-run", action="store_true", help="leave out the run of site.yml")
    arguments = parser.parse_args()
    client = log_in()
    first = datetime.now(UTC).replace(microsecond=0)
    lags = sorted(put_to_queryable(client, first + timedelta(seconds=n)) for n in range(arguments.repetitions))
    print("| figure | value |\n|---|---|")
    print(f"| PUT → queryable, idle, p50 of {len(lags)} | {statistics.median(lags):.2f} s |")
    print(f"| PUT → queryable, idle, p95 | {lags[int(0.95 * (len(lags) - 1))]:.2f} s |")
    print(f"| PUT → queryable, least and most | {lags[0]:.2f} s, {lags[-1]:.2f} s |")
    sizes = {node: memory(node) for node in NODES}
    for node, size in sizes.items():
        print(f"| memory of {node} (PSS) | {size:,.0f} MiB |")
    print(f"| memory in all (PSS) | {sum(sizes.values()):,.0f} MiB |")
    if not arguments.skip_run:
        seconds, changes = second_run()
        print(f"| second run of site.yml | {seconds:.0f} s, {changes} changed |")


if __name__ == "__main__":
    main()
