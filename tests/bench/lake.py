# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running local lake as the benchmarks use it, and what they do with their figures."""

from __future__ import annotations

import json
import os
import random
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from neocampus_lake.client import LakeClient
from neocampus_lake.errors import NotFound

ROOT = Path(__file__).resolve().parent.parent.parent
PROXIES = ("data1", "data2", "data3")
WRITERS = 8
TIMEOUT = 60.0  # seconds for one answer
START = datetime(2021, 7, 22, tzinfo=UTC)
MEASUREMENT = "n"
_FILLER = "x" * 850  # makes a file of about 1 KiB


def stamp(number: int) -> str:
    """The time of reading NUMBER: each has its own second."""
    return (START + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ")


def sensor_file(number: int) -> bytes:
    """A sensor file of about 1 KiB with one reading."""
    reading = {"topic": "bench/sensor/x", "value": float(number), "value_units": MEASUREMENT, "time": stamp(number)}
    return json.dumps({**reading, "subID": "b", "unitID": "b", "note": _FILLER}).encode()


class Lake:
    """The running local lake, for the demo user."""

    def __init__(self) -> None:
        lines = (ROOT / "build/local/openrc").read_text().splitlines()
        self.rc = dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
        self.api = LakeClient(self.rc["LAKE_API_URL"], ca_file=self.rc["OS_CACERT"])
        log_in = self.api.log_in(self.rc["OS_USERNAME"], self.rc["OS_PASSWORD"], self.rc["OS_PROJECT_NAME"])
        self.token, self.project = log_in["token"], log_in["project"]["id"]
        self.host = urlsplit(self.rc["OS_AUTH_URL"]).hostname
        self.storage = f"https://{self.host}:8080/v1/AUTH_{self.project}"
        self._threads = threading.local()

    def connection(self) -> requests.Session:
        """A new connection, without a token."""
        session = requests.Session()
        session.trust_env, session.verify = False, self.rc["OS_CACERT"]
        return session

    def session(self) -> requests.Session:
        """The connection of this thread, which carries the token."""
        if not hasattr(self._threads, "session"):
            self._threads.session = self.connection()
            self._threads.session.headers["X-Auth-Token"] = self.token
        return self._threads.session  # type: ignore[no-any-return]

    def container(self, name: str, webhook: str) -> str:
        """A new container in Swift whose name begins with NAME; `webhook` is on or off."""
        container = f"{name}-{uuid.uuid4().hex[:8]}"
        self.switch(container, webhook)
        return container

    def switch(self, container: str, webhook: str) -> None:
        """Switch a container's webhook on or off; it is made if it is not there."""
        headers = {"X-Webhook": webhook}
        self.session().put(f"{self.storage}/{container}", headers=headers, timeout=TIMEOUT).raise_for_status()

    def put(self, container: str, name: str, data: bytes, content_type: str = "application/json") -> None:
        """Put an object, past the API."""
        headers = {"Content-Type": content_type}
        address = f"{self.storage}/{container}/{name}"
        self.session().put(address, data=data, headers=headers, timeout=TIMEOUT).raise_for_status()

    def get(self, container: str, name: str) -> bytes:
        """An object's content, past the API."""
        answer = self.session().get(f"{self.storage}/{container}/{name}", timeout=TIMEOUT)
        answer.raise_for_status()
        return answer.content

    def fill(self, container: str, count: int) -> float:
        """Put COUNT sensor files by WRITERS clients; seconds that it took."""
        return timed(lambda number: self.put(container, f"{number}.json", sensor_file(number)), range(count))

    def readings(self, container: str, first: int) -> Iterator[int]:
        """Numbers of the readings that can be queried through the API, in order, from FIRST on."""
        try:
            if MEASUREMENT not in self.api.measurements(container):
                return
        except NotFound:  # the container is the API's once the workflow has seen its first object
            return
        for point in self.api.points(container, MEASUREMENT, start=stamp(first)):
            yield round(point["value"])


def timed(work: Callable[[int], Any], numbers: Sequence[int], writers: int = WRITERS) -> float:
    """Seconds that WRITERS threads take to do WORK on each of NUMBERS."""
    left = iter(numbers)
    lock = threading.Lock()

    def run(_writer: int) -> None:
        while True:
            with lock:
                number = next(left, None)
            if number is None:
                return
            work(number)

    begun = time.monotonic()
    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(run, range(writers)))
    return time.monotonic() - begun


def busy() -> float:
    """CPU seconds that this machine has spent, in all: the nodes are here, and the clients."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _wait, interrupt, soft, _steal = fields
    return (user + nice + system + interrupt + soft) / float(os.sysconf("SC_CLK_TCK"))


def cpu_of_services() -> dict[str, float]:
    """CPU seconds of the services of all nodes, by their names: of the processes that are alive, since their start,
    with those that they have seen end."""
    spent: dict[str, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            groups = (folder / "cgroup").read_text().splitlines()
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        place = next((line for line in groups if "name=systemd" in line or line.startswith("0::")), "")
        if place.endswith(".service"):
            name = place.rpartition("/")[2].removesuffix(".service")
            spent[name] = spent.get(name, 0.0) + sum(map(int, fields[11:15])) / float(os.sysconf("SC_CLK_TCK"))
    return spent


@dataclass(frozen=True)
class Ratios:
    """Ratios of pairs that were measured side by side."""

    values: Sequence[float]

    def __str__(self) -> str:
        low, high = self.interval()
        quarters = statistics.quantiles(self.values, n=4, method="inclusive")
        return (
            f"{statistics.median(self.values):.3f} (95 % of medians {low:.3f} to {high:.3f}; "
            f"half of {len(self.values)} pairs {quarters[0]:.3f} to {quarters[2]:.3f})"
        )

    def interval(self, draws: int = 4000) -> tuple[float, float]:
        """The bounds between which 95 % of the medians lie, of as many pairs drawn from these with repetition."""
        dice = random.Random(1)  # the same figures have the same bounds
        medians = sorted(statistics.median(dice.choices(self.values, k=len(self.values))) for _ in range(draws))
        return medians[int(0.025 * draws)], medians[int(0.975 * draws) - 1]
