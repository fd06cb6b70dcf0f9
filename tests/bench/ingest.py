# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What inserting through the REST API costs against putting the same objects by python-swiftclient.

    python tests/bench/ingest.py [--pairs 12] [--files 200] [--large-pairs 8] [--large-mib 256]

Small files (4 KiB): python-swiftclient with 8 connections, the API with 8 connections and metadata for each file, and
bulk insertion by one request at a time. Large files: one stream each. All go through the edge. In each round the ways
take their turns in random order, and are compared with each other in that round: this machine's speed drifts. The
containers' webhooks are off, so that nothing but the insertion is measured. "CPU" is that of the whole machine: client,
edge, API, metadata store and Swift, less what it spends when nothing happens.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import swiftclient
from lake import TIMEOUT, WRITERS, Lake, Ratios, busy, timed

KIB = 1024
METADATA = {"application": "bench", "other_data": {"campaign": "ingest", "sensor": {"building": "u4", "room": "302"}}}
IDLE_SECONDS = 10.0


class Ways:
    """The ways to get files in, each into a container of its own."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.raw = lake.container("ingest-raw", webhook="off")
        self.made = lake.container("ingest-api", webhook="off")
        lake.api.insert(self.made, b"first", name="first")  # gives the container its store
        lake.switch(self.made, "off")
        self._threads = threading.local()
        self._names = iter(range(10**9))

    def swift(self) -> swiftclient.Connection:
        """This thread's connection of python-swiftclient."""
        if not hasattr(self._threads, "swift"):
            self._threads.swift = swiftclient.Connection(
                preauthurl=self.lake.storage, preauthtoken=self.lake.token, cacert=self.lake.rc["OS_CACERT"], retries=0
            )
        return self._threads.swift

    def by_swiftclient(self, files: list[bytes]) -> float:
        """Seconds to put FILES by python-swiftclient."""
        names = [f"{next(self._names)}.bin" for _ in files]

        def put(number: int) -> None:
            self.swift().put_object(self.raw, names[number], files[number], content_type="application/octet-stream")

        seconds: float = timed(put, range(len(files)))
        return seconds

    def by_api(self, files: list[bytes]) -> float:
        """Seconds to insert FILES one by one."""
        address = f"{self.lake.api.url}/containers/{self.made}/objects"

        def insert(number: int) -> None:
            parts = {
                "metadata": (None, json.dumps(METADATA), "application/json"),
                "file": (f"{number}.bin", files[number], "application/octet-stream"),
            }
            self.lake.session().post(address, files=parts, timeout=TIMEOUT).raise_for_status()

        seconds: float = timed(insert, range(len(files)))
        return seconds

    def by_bulk(self, files: list[bytes]) -> float:
        """Seconds to insert FILES by one request at a time."""
        begun = time.monotonic()
        named = [(f"{number}.bin", data) for number, data in enumerate(files)]
        items = self.lake.api.insert_many(self.made, named, [METADATA] * len(files), "application/octet-stream")
        seconds = time.monotonic() - begun
        refused = [item for item in items if item["status"] != 201]
        if refused:
            raise SystemExit(f"{len(refused)} of {len(items)} files were not inserted: {refused[0]}")
        return seconds

    def large_by_swiftclient(self, path: Path) -> float:
        """Seconds to put the file at PATH by python-swiftclient."""
        begun = time.monotonic()
        with path.open("rb") as stream:
            self.swift().put_object(self.raw, "large", stream, content_length=path.stat().st_size)
        seconds = time.monotonic() - begun
        self.swift().delete_object(self.raw, "large")
        return seconds

    def large_by_api(self, path: Path) -> float:
        """Seconds to insert the file at PATH."""
        begun = time.monotonic()
        document = self.lake.api.insert(self.made, path, METADATA)
        seconds = time.monotonic() - begun
        self.swift().delete_object(self.made, document["swift_object_id"])
        return seconds


class Taken:
    """Figures of one way: seconds and CPU seconds of each round."""

    def __init__(self, name: str, way: Callable[[Any], float]) -> None:
        self.name, self.way = name, way
        self.seconds: list[float] = []
        self.cpu: list[float] = []

    def take(self, given: Any, idle: float) -> None:
        """Do it once; `idle` is the CPU that the machine spends in a second anyway."""
        before, begun = busy(), time.monotonic()
        self.seconds.append(self.way(given))
        self.cpu.append(busy() - before - idle * (time.monotonic() - begun))


def rounds(ways: list[Taken], count: int, given: Callable[[], Any], idle: float) -> None:
    """COUNT rounds in which each way has its turn; one before them does not count."""
    for number in range(count + 1):
        for way in random.sample(ways, len(ways)):
            way.take(given(), idle)
        if number == 0:
            for way in ways:
                way.seconds.clear()
                way.cpu.clear()


def ratios(way: Taken, raw: Taken) -> Ratios:
    """How fast `way` is against `raw`, round by round."""
    return Ratios([theirs / ours for ours, theirs in zip(way.seconds, raw.seconds, strict=True)])


def main() -> None:
    """Take the figures and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=12, help="rounds of small files; 0: none")
    parser.add_argument("--files", type=int, default=200, help="small files in a round")
    parser.add_argument("--large-pairs", type=int, default=8, help="rounds of a large file; 0: none")
    parser.add_argument("--large-mib", type=int, default=256)
    arguments = parser.parse_args()
    ways = Ways(Lake())
    before = busy()
    time.sleep(IDLE_SECONDS)
    idle = (busy() - before) / IDLE_SECONDS
    print(f"| figure | rate | CPU | ratio to python-swiftclient |\n|---|---|---|---|\n| idle | | {idle:.2f} s/s | |")
    if arguments.pairs:
        raw, single = Taken("python-swiftclient", ways.by_swiftclient), Taken("API", ways.by_api)
        bulk = Taken("API, bulk", ways.by_bulk)
        taken = [raw, single, bulk]
        rounds(taken, arguments.pairs, lambda: [os.urandom(4 * KIB) for _ in range(arguments.files)], idle)
        for way in taken:
            rate = arguments.files / statistics.median(way.seconds)
            cost = statistics.median(way.cpu) / arguments.files
            told = "" if way is raw else ratios(way, raw)
            named = f"{way.name}, 4 KiB, concurrency {WRITERS}"
            print(f"| {named} | {rate:.0f}/s | {1000 * cost:.1f} ms each | {told} |", flush=True)
    if arguments.large_pairs:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "large.bin")
            path.write_bytes(os.urandom(arguments.large_mib * KIB * KIB))
            raw, single = Taken("python-swiftclient", ways.large_by_swiftclient), Taken("API", ways.large_by_api)
            rounds([raw, single], arguments.large_pairs, lambda: path, idle)
        for way in (raw, single):
            rate = arguments.large_mib / statistics.median(way.seconds)
            told = "" if way is raw else ratios(way, raw)
            cost = statistics.median(way.cpu)
            print(f"| {way.name}, {arguments.large_mib} MiB, one stream | {rate:.0f} MiB/s | {cost:.1f} s | {told} |")


if __name__ == "__main__":
    main()
