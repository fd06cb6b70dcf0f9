# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast objects that already are in Swift get into gold, once the event path is let go.

    python tests/bench/drain.py [--objects 10000] [--singles 100]

The relays are paused, small sensor files are put by a plain Swift client, the relays go on; the time runs until the
last reading can be queried through the API. For comparison, in the same lake: as many runs of one object each as
`--singles` says, which is how it would be without batches.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import yaml
from lake import PROXIES, ROOT, TIMEOUT, WRITERS, Lake

PATIENCE = 3600.0  # seconds for all objects


def wait(lake: Lake, container: str, count: int) -> float:
    """The monotonic time at which COUNT readings of CONTAINER could be queried."""
    end = time.monotonic() + PATIENCE
    while True:
        # The last one first: only where it is there, counting them all is worth it.
        if any(True for _ in lake.readings(container, count - 1)):
            reached = time.monotonic()
            if sum(1 for _ in lake.readings(container, 0)) == count:
                return reached
        if time.monotonic() > end:
            sys.exit(f"{container}: not all of {count} readings are there after {PATIENCE:g} s")
        time.sleep(0.5)


def relays(verb: str) -> None:
    """`swift-webhook pause` or `resume` on every proxy."""
    for node in PROXIES:
        subprocess.run(["docker", "exec", node, "swift-webhook", verb], check=True, capture_output=True)


def drain(lake: Lake, count: int) -> tuple[float, float]:
    """Seconds to put COUNT objects while nothing is delivered, and to have all in gold afterwards."""
    container = lake.container("drain", webhook="on")
    relays("pause")
    try:
        put = lake.fill(container, count)
    finally:
        begun = time.monotonic()
        relays("resume")
    return put, wait(lake, container, count) - begun


def singles(lake: Lake, count: int) -> float:
    """Seconds to have COUNT objects in gold by one run each."""
    container = lake.container("drain", webhook="on")
    relays("pause")
    try:
        lake.fill(container, count)
        secrets = yaml.safe_load((ROOT / "build/local/secrets.yml").read_text())
        airflow, session = f"https://{lake.host}:8081", lake.connection()
        account = {"username": "lake-admin", "password": secrets["lake_secret_airflow_admin"]}
        answer = session.post(f"{airflow}/auth/token", json=account, timeout=TIMEOUT)
        answer.raise_for_status()
        session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        begun = time.monotonic()
        for number in range(count):
            conf = {"swift_id": f"{number}.json", "swift_container": container, "swift_user": "demo"}
            conf |= {"content_type": "application/json", "project_id": lake.project}
            run = {"logical_date": None, "dag_run_id": f"bench__{container}-{number}", "conf": conf}
            session.post(f"{airflow}/api/v2/dags/new_input/dagRuns", json=run, timeout=TIMEOUT).raise_for_status()
        return wait(lake, container, count) - begun
    finally:
        relays("resume")


def main() -> None:
    """Take the figures and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--singles", type=int, default=100, help="objects with a run each, for comparison; 0: none")
    arguments = parser.parse_args()
    lake = Lake()
    put, seconds = drain(lake, arguments.objects)
    print("| figure | value |\n|---|---|")
    print(
        f"| {arguments.objects:,} objects of 1 KiB put by {WRITERS} clients | {arguments.objects / put:.0f}/s |",
        flush=True,
    )
    rate = arguments.objects / seconds
    print(f"| the same in gold, from the relays' start on | {seconds:.0f} s, {rate:.0f} objects/s |", flush=True)
    if arguments.singles:
        single = arguments.singles / singles(lake, arguments.singles)
        print(f"| {arguments.singles} objects by a run each | {single:.2f} objects/s |")
        print(f"| ratio | {rate / single:.0f} |")


if __name__ == "__main__":
    main()
