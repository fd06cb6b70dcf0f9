# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast objects that already are in Swift get into gold, once the event path is let go.

    python tests/bench/drain.py [--objects 1000 10000 50000] [--singles 100] [--figure drain.svg] [--keep FILE]

The relays are paused, small sensor files are put by a plain Swift client, the relays go on; the time runs until the
last reading can be queried through the API. So for each count of `--objects`, one after the other. Meanwhile, every few
seconds, are looked at: how many readings gold has, how many runs wait in Airflow, how old the scheduler's heartbeat is.
For comparison, in the same lake: as many runs of one object each as `--singles` says, which is how it would be without
batches.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import yaml
from lake import MEASUREMENT, PROXIES, ROOT, TIMEOUT, WRITERS, Lake, busy

PATIENCE = 3600.0  # seconds for all objects
LOOK = 3.0  # seconds between two looks
DAG = "new_input"


@dataclass
class Drain:
    """How one drain went. Lists: one item a look; times in seconds since the relays went on.

    put: seconds to store the objects. seconds: until all could be queried. cpu: seconds of the machine's CPU meanwhile.
    reached: readings in gold. waiting: runs that Airflow has accepted and not ended. heartbeat: age of the scheduler's.
    """

    objects: int
    put: float = 0.0
    seconds: float = 0.0
    cpu: float = 0.0
    times: list[float] = field(default_factory=list)
    reached: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    heartbeat: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Objects a second from the relays' start to the last one in gold."""
        return self.objects / self.seconds

    def slowest(self, share: float = 0.1) -> float:
        """Objects a second in the slowest stretch that brought so large a share of all into gold, without begin and
        end; 0 where there were too few looks to tell."""
        points = [(t, n) for t, n in zip(self.times, self.reached, strict=True) if 0 < n < self.objects]
        rates = []
        for index, (begun, before) in enumerate(points):
            after = next(((t, n) for t, n in points[index:] if n - before >= share * self.objects), None)
            if after:
                rates.append((after[1] - before) / (after[0] - begun))
        return min(rates, default=0.0)


class Airflow:
    """Airflow's API, for the lake's administrator."""

    def __init__(self, lake: Lake) -> None:
        secrets = yaml.safe_load((ROOT / "build/local/secrets.yml").read_text())
        self._address, self._session = f"https://{lake.host}:8081", lake.connection()
        account = {"username": "lake-admin", "password": secrets["lake_secret_airflow_admin"]}
        answer = self._session.post(f"{self._address}/auth/token", json=account, timeout=TIMEOUT)
        answer.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def start(self, run: str, conf: dict[str, str]) -> None:
        """Start a run of the workflow for one object."""
        body = {"logical_date": None, "dag_run_id": run, "conf": conf}
        self._session.post(f"{self._runs}", json=body, timeout=TIMEOUT).raise_for_status()

    def waiting(self) -> int:
        """How many runs are queued or running."""
        params = {"state": ["queued", "running"], "limit": 1}
        answer = self._session.get(self._runs, params=params, timeout=TIMEOUT)
        answer.raise_for_status()
        return int(answer.json()["total_entries"])

    def heartbeat(self) -> float:
        """Seconds since the scheduler's last heartbeat."""
        answer = self._session.get(f"{self._address}/api/v2/monitor/health", timeout=TIMEOUT)
        answer.raise_for_status()
        last = datetime.fromisoformat(answer.json()["scheduler"]["latest_scheduler_heartbeat"])
        return (datetime.now(UTC) - last).total_seconds()

    @property
    def _runs(self) -> str:
        return f"{self._address}/api/v2/dags/{DAG}/dagRuns"


class Gold:
    """How many readings of a container can be queried, without reading them: asked of InfluxDB on its node."""

    def __init__(self, store: str) -> None:
        secrets = yaml.safe_load((ROOT / "build/local/secrets.yml").read_text())
        self._login = f'user = "admin:{secrets["lake_secret_influxdb_admin"]}"\n'
        quoted = '"' + MEASUREMENT.replace('"', '\\"') + '"'
        self._command = [
            *("docker", "exec", "-i", "gold1", "curl", "--silent", "--show-error", "--fail-with-body", "--config", "-"),
            *("--cacert", "/etc/pki/lake/ca.crt", "--get", "https://gold1.gold.lake.internal:8086/query"),
            *("--data-urlencode", f"db={store}", "--data-urlencode", f'q=SELECT count("value") FROM {quoted}'),
            *("--header", "Accept: application/csv"),
        ]

    def count(self) -> int:
        """Readings in gold; 0 where there is no database yet."""
        done = subprocess.run(self._command, input=self._login, capture_output=True, text=True, check=True)
        lines = done.stdout.split()
        return int(lines[-1].rpartition(",")[2]) if len(lines) > 1 else 0


def wait(lake: Lake, container: str, drained: Drain) -> None:
    """Look until all readings of CONTAINER can be queried through the API, and note what was seen."""
    airflow, gold = Airflow(lake), Gold(container)
    begun, used, count = time.monotonic(), busy(), drained.objects
    look = begun
    while True:
        now = time.monotonic()
        if now >= look:
            drained.times.append(now - begun)
            drained.reached.append(gold.count())
            drained.waiting.append(airflow.waiting())
            drained.heartbeat.append(airflow.heartbeat())
            look += LOOK
        if drained.reached[-1] >= 0.99 * count and any(True for _ in lake.readings(container, count - 1)):
            ended, spent = time.monotonic(), busy() - used
            # The last one is there: only now it is worth it to read them all.
            if sum(1 for _ in lake.readings(container, 0)) == count:
                drained.seconds, drained.cpu = ended - begun, spent
                return
        if now - begun > PATIENCE:
            sys.exit(f"{container}: not all of {count} readings are there after {PATIENCE:g} s")
        time.sleep(0.2)


def relays(verb: str) -> None:
    """`swift-webhook pause` or `resume` on every proxy."""
    for node in PROXIES:
        subprocess.run(["docker", "exec", node, "swift-webhook", verb], check=True, capture_output=True)


def drain(lake: Lake, count: int) -> Drain:
    """Put COUNT objects while nothing is delivered, then let go and wait until all are in gold."""
    drained = Drain(count)
    container = lake.container("drain", webhook="on")
    relays("pause")
    try:
        drained.put = lake.fill(container, count)
    finally:
        relays("resume")
    wait(lake, container, drained)
    return drained


def singles(lake: Lake, count: int) -> Drain:
    """The same by one run each."""
    drained = Drain(count)
    container = lake.container("drain", webhook="on")
    relays("pause")
    try:
        drained.put = lake.fill(container, count)
        airflow = Airflow(lake)
        begun = time.monotonic()
        for number in range(count):
            conf = {"swift_id": f"{number}.json", "swift_container": container, "swift_user": "demo"}
            conf |= {"content_type": "application/json", "project_id": lake.project}
            airflow.start(f"bench__{container}-{number}", conf)
        started = time.monotonic() - begun
        wait(lake, container, drained)
        drained.seconds += started
    finally:
        relays("resume")
    return drained


def kept(path: Path, drains: Sequence[Drain]) -> list[Drain]:
    """Adds the drains to the file; all that it has then, by their number of objects, of each number the newest."""
    with path.open("a") as file:
        file.writelines(json.dumps(asdict(one)) + "\n" for one in drains)
    known = (Drain(**json.loads(line)) for line in path.read_text().splitlines())
    return sorted({one.objects: one for one in known}.values(), key=lambda one: one.objects)


def plot(path: Path, drains: Sequence[Drain]) -> None:
    """How long it takes by the number of objects, and how the largest drain went, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    largest = max(drains, key=lambda drained: drained.objects)
    figure, (growth, course, runs) = pyplot.subplots(3, figsize=(8, 8.5), layout="constrained")
    growth.plot([one.objects for one in drains], [one.seconds for one in drains], "o-", linewidth=0.8)
    for one in drains:
        growth.annotate(f"{one.rate:.0f}/s", (one.objects, one.seconds), (0, 6), textcoords="offset points", ha="right")
    growth.set(xscale="log", yscale="log", xlabel="objects", ylabel="seconds until all are in gold")
    course.plot(largest.times, largest.reached, linewidth=0.8)
    course.set(ylabel=f"of {largest.objects:,} in gold", ylim=(0, None), xlim=(0, None))
    runs.plot(largest.times, largest.waiting, linewidth=0.8, label="runs that wait or run")
    runs.plot(largest.times, largest.heartbeat, linewidth=0.8, label="age of the scheduler's heartbeat, s")
    runs.set(xlabel="seconds since the event path was let go", ylim=(0, None), xlim=(0, None))
    runs.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    """Take the figures and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=[1000, 10_000, 50_000])
    parser.add_argument("--singles", type=int, default=100, help="objects with a run each, for comparison; 0: none")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs/figures/drain.svg")
    parser.add_argument("--keep", type=Path, help="file of drains (JSON lines): add these, draw those of before too")
    arguments = parser.parse_args()
    lake = Lake()
    print(
        f"| objects of 1 KiB | put by {WRITERS} clients | all in gold after | objects/s | slowest tenth | CPU, s/s "
        "| most runs waiting | oldest heartbeat of the scheduler |\n|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    drains = []
    for what, function, counts in (("", drain, arguments.objects), (" by a run each", singles, [arguments.singles])):
        for count in filter(None, counts):
            one = function(lake, count)
            if function is drain:
                drains.append(one)
            print(
                f"| {count:,}{what} | {count / one.put:.0f}/s | {one.seconds:.0f} s | {one.rate:.3g} "
                f"| {one.slowest():.0f}/s | {one.cpu / one.seconds:.2f} "
                f"| {max(one.waiting)} | {max(one.heartbeat):.1f} s |",
                flush=True,
            )
    if arguments.singles and drains:
        print(f"\nRatio of {drains[-1].objects:,} in batches to a run each: {drains[-1].rate / one.rate:.0f}")
    if arguments.keep:
        drains = kept(arguments.keep, drains)
    if drains:
        plot(arguments.figure, drains)


if __name__ == "__main__":
    main()
