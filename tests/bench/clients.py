# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many clients of the REST API at once, for a minute: how long each kind of request takes, and that none fails.

    python tests/bench/clients.py [--clients 200] [--seconds 60] [--pause 1] [--markdown FILE]

Each client has a connection and a token of its own. It logs in once, before the minute begins: no faster than the edge
lets one address (`edge_login_rate`). Then it sends one request after the other, of a kind that is drawn by lot, and
pauses for a random time between them. The rates of the API (`api_user_rate`, 500 requests a second of one user in each
process) are far from being reached and play no part. What is inserted is processed as always. An error is any answer
but a success, a broken connection, or no answer for 30 s. Clients, edge, API and all that is behind share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import ssl
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from lake import MEASUREMENT, Lake, busy, sensor_file, stamp

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 30.0
LOGINS = 4.0
"""A second: the edge lets 5 (`edge_login_rate`)."""
FILES = 200
"""What is there to be read."""
PATIENCE = 300.0
MIX = {"list": 20, "document": 20, "data": 20, "points": 15, "search": 15, "insert": 10}
"""Kinds of requests, and how often each is drawn, of a hundred."""


@dataclass
class Seen:
    """Seconds of each request by kind, and what went wrong."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in ("log in", *MIX)})
    errors: list[str] = field(default_factory=list)


@dataclass
class Place:
    """Where the clients read and write: a container with objects, one for what is inserted, and the objects' ids."""

    container: str
    inserts: str
    ids: list[str]


class Client:
    """One of many: a connection, a token, and what it has seen."""

    def __init__(self, lake: Lake, trusted: ssl.SSLContext, place: Place, number: int, seen: Seen) -> None:
        self._lake, self._place, self._seen = lake, place, seen
        self._dice = random.Random(number)
        self._count = 1_000_000 * (number + 1)
        self._http = httpx.AsyncClient(
            base_url=lake.rc["LAKE_API_URL"].rstrip("/"), verify=trusted, timeout=SECONDS, trust_env=False
        )

    async def log_in(self) -> None:
        """Once. Errors: SystemExit where it fails: there is nothing to measure then."""
        rc = self._lake.rc
        given = {"username": rc["OS_USERNAME"], "password": rc["OS_PASSWORD"], "project": rc["OS_PROJECT_NAME"]}
        begun = time.monotonic()
        answer = await self._http.post("/auth/token", json=given)
        if answer.status_code != 201:
            raise SystemExit(f"a client could not log in: {answer.status_code} {answer.text[:300]}")
        self._seen.seconds["log in"].append(time.monotonic() - begun)
        self._http.headers["X-Auth-Token"] = answer.json()["token"]

    async def work(self, end: float, pause: float) -> None:
        """Send requests until END, with PAUSE seconds between them on average."""
        kinds: dict[str, Callable[[], Awaitable[httpx.Response]]] = {
            "list": self._list,
            "document": self._document,
            "data": self._data,
            "points": self._points,
            "search": self._search,
            "insert": self._insert,
        }
        await asyncio.sleep(self._dice.uniform(0, pause))  # not all at the same moment
        while time.monotonic() < end:
            [kind] = self._dice.choices(list(MIX), weights=list(MIX.values()))
            begun = time.monotonic()
            try:
                answer = await kinds[kind]()
            except httpx.HTTPError as error:
                self._seen.errors.append(f"{kind}: {type(error).__name__} {error}")
            else:
                if answer.is_success:
                    self._seen.seconds[kind].append(time.monotonic() - begun)
                else:
                    self._seen.errors.append(f"{kind}: {answer.status_code} {answer.text[:200]}")
            await asyncio.sleep(self._dice.expovariate(1 / pause) if pause else 0)

    async def close(self) -> None:
        await self._http.aclose()

    def _objects(self) -> str:
        return f"/containers/{self._place.container}/objects"

    async def _list(self) -> httpx.Response:
        return await self._http.get(self._objects(), params={"limit": 50, "content_type": "application/json"})

    async def _document(self) -> httpx.Response:
        return await self._http.get(f"{self._objects()}/{self._dice.choice(self._place.ids)}")

    async def _data(self) -> httpx.Response:
        return await self._http.get(f"{self._objects()}/{self._dice.choice(self._place.ids)}/data")

    async def _points(self) -> httpx.Response:
        first = self._dice.randrange(FILES // 2)
        params: dict[str, str | int] = {
            "measurement": MEASUREMENT,
            "from": stamp(first),
            "to": stamp(first + FILES // 2),
        }
        return await self._http.get(f"/containers/{self._place.container}/timeseries/points", params=params)

    async def _search(self) -> httpx.Response:
        params: dict[str, str | int] = {
            "text": f"reading {self._dice.randrange(FILES)}",
            "container": self._place.container,
            "limit": 20,
        }
        return await self._http.get("/search", params=params)

    async def _insert(self) -> httpx.Response:
        self._count += 1
        files = {
            "metadata": (None, json.dumps({"application": "bench"}), "application/json"),
            "file": (f"{self._count}.json", sensor_file(self._count), "application/json"),
        }
        return await self._http.post(f"/containers/{self._place.inserts}/objects", files=files)


def prepare(lake: Lake) -> Place:
    """A container with FILES sensor files, processed. Errors: SystemExit where that takes too long."""
    place = Place(lake.container("clients", webhook="on"), lake.container("clients-new", webhook="on"), [])
    files = [(f"reading {number}.json", sensor_file(number)) for number in range(FILES)]
    made = lake.api.insert_many(place.container, files, {"application": "bench"}, "application/json")
    refused = [item for item in made if item["status"] != 201]
    if refused:
        raise SystemExit(f"{len(refused)} of {FILES} files were not inserted: {refused[0]}")
    place.ids = [item["object"]["swift_object_id"] for item in made]
    end = time.monotonic() + PATIENCE
    while sum(1 for _ in lake.readings(place.container, 0)) < FILES:
        if time.monotonic() > end:
            raise SystemExit(f"not all of {FILES} files were in gold after {PATIENCE:.0f} s: is Airflow well?")
        time.sleep(2)
    return place


async def measure(lake: Lake, place: Place, arguments: argparse.Namespace) -> tuple[Seen, float]:
    """What the clients saw, and the CPU seconds that the machine spent meanwhile."""
    seen = Seen()
    trusted = ssl.create_default_context(cafile=lake.rc["OS_CACERT"])
    clients = [Client(lake, trusted, place, number, seen) for number in range(arguments.clients)]
    try:
        for client in clients:
            await asyncio.gather(client.log_in(), asyncio.sleep(1 / LOGINS))
        before = busy()
        end = time.monotonic() + arguments.seconds
        await asyncio.gather(*(client.work(end, arguments.pause) for client in clients))
        return seen, busy() - before
    finally:
        await asyncio.gather(*(client.close() for client in clients))


def markdown(seen: Seen, spent: float, arguments: argparse.Namespace) -> str:
    """A row for each kind of request."""
    lines = ["| request | answers | p50 | p95 | slowest |", "|---|---|---|---|---|"]
    for kind, taken in seen.seconds.items():
        if taken:
            p95 = statistics.quantiles(taken, n=20, method="inclusive")[-1] if len(taken) > 1 else taken[0]
            figures = " | ".join(f"{1000 * value:.0f} ms" for value in (statistics.median(taken), p95, max(taken)))
            lines.append(f"| {kind} | {len(taken)} | {figures} |")
    answers = sum(len(taken) for kind, taken in seen.seconds.items() if kind != "log in")
    lines += [
        "",
        f"{arguments.clients} clients for {arguments.seconds} s, pauses of {arguments.pause:g} s on average: "
        f"{answers / arguments.seconds:.0f} requests/s, {len(seen.errors)} errors, {spent:.0f} CPU seconds in all.",
        *sorted(set(seen.errors)),
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure, print the table; 1 where a request failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between a client's requests, on average")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    arguments = parser.parse_args()
    lake = Lake()
    seen, spent = asyncio.run(measure(lake, prepare(lake), arguments))
    text = markdown(seen, spent, arguments)
    print(text)
    if arguments.markdown:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        arguments.markdown.write_text(text + "\n")
    return 1 if seen.errors else 0


if __name__ == "__main__":
    sys.exit(main())
