# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether gold keeps up with what is put, and what that costs the clients who put.

    python tests/bench/keeping_up.py [--minutes 10] [--rounds 4] [--block 30] [--figure docs/figures/keeping-up.svg]

Eight clients put sensor files of 1 KiB with one reading each into Swift as fast as it takes them. The lag, each second,
is the age of the oldest acknowledged reading that can't be queried through the API yet; 0 where there is none.

What ingest loses: blocks into a container whose webhook is off and blocks into the one whose webhook is on, in rounds
of random order, half of them before the long run and half after it. A block begins when gold has caught up; of one with
the webhook on, only what comes after the first RAMP seconds counts, when processing is under way. A third block has the
webhook off, and each object is read once after it was put, by a plain client: no processing can cost less, since it has
to read.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import random
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import requests
from lake import ROOT, WRITERS, Lake, Ratios, busy, cpu_of_services, sensor_file

RAMP = 10.0  # seconds
LOOK = 1.0  # seconds between two looks at gold
PATIENCE = 300.0  # seconds for gold to catch up
GOAL_LAG, GOAL_LOSS = 5.0, 0.25
SHOWN = 14  # services with the most CPU
WAYS = {"off": "webhook off", "on": "webhook on", "read": "webhook off, each object read once"}


@dataclass
class Writers:
    """Clients that put reading after reading into one container, and when each was acknowledged."""

    lake: Lake
    container: str
    acknowledged: list[float] = field(default_factory=list)
    """Monotonic times by the reading's number; 0 where it is under way."""
    failures: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def work(self, seconds: float) -> tuple[float, float]:
        """Put for so many seconds; monotonic times of begin and end."""
        begun = time.monotonic()
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(self._work, [begun + seconds] * WRITERS))
        return begun, time.monotonic()

    def rate(self, begun: float, ended: float) -> float:
        """Acknowledgements per second between two monotonic times."""
        times = sorted(self.acknowledged)
        return (bisect.bisect_left(times, ended) - bisect.bisect_left(times, begun)) / (ended - begun)

    def _work(self, end: float) -> None:
        while time.monotonic() < end:
            with self._lock:
                number = len(self.acknowledged)
                self.acknowledged.append(0.0)
            while not self.acknowledged[number]:  # the same reading again: the series has no holes
                try:
                    self.lake.put(self.container, f"{number}.json", sensor_file(number))
                except requests.RequestException:
                    self.failures += 1
                    time.sleep(0.1)
                else:
                    self.acknowledged[number] = time.monotonic()


@dataclass
class Gold:
    """What can be queried of the readings that WRITERS put: all before `first` can."""

    writers: Writers
    first: int = 0
    beyond: set[int] = field(default_factory=set)

    def look(self) -> float:
        """Look once; seconds of lag."""
        asked = time.monotonic()
        # What was acknowledged later than this look began can't be asked of it.
        known = [0.0 < when <= asked for when in self.writers.acknowledged]
        self.beyond.update(self.writers.lake.readings(self.writers.container, self.first))
        while self.first in self.beyond:
            self.beyond.discard(self.first)
            self.first += 1
        missing = [
            self.writers.acknowledged[number]
            for number in range(self.first, len(known))
            if known[number] and number not in self.beyond
        ]
        return asked - min(missing) if missing else 0.0

    def catch_up(self) -> float:
        """Wait until everything that was put can be queried; seconds that it took."""
        begun = time.monotonic()
        while self.first < len(self.writers.acknowledged):
            if time.monotonic() - begun > PATIENCE:
                left = len(self.writers.acknowledged) - self.first
                sys.exit(f"{self.writers.container}: {left} readings are not in gold after {PATIENCE:g} s")
            time.sleep(0.2)
            self.look()
        return time.monotonic() - begun


def reading(writers: Writers, seconds: float) -> float:
    """Rate of WRITERS while each object that they put is read once, no faster and no slower than they put."""
    first = len(writers.acknowledged)
    numbers = itertools.count(first)
    ended = threading.Event()

    def read(_reader: int) -> None:
        for number in numbers:
            while number >= len(writers.acknowledged) or not writers.acknowledged[number]:
                if ended.is_set():
                    return
                time.sleep(0.01)
            writers.lake.get(writers.container, f"{number}.json")

    with ThreadPoolExecutor(WRITERS) as pool:
        readers = [pool.submit(read, reader) for reader in range(WRITERS)]
        begun, stopped = writers.work(seconds)
        ended.set()
        for reader in readers:
            reader.result()
    return writers.rate(begun, stopped)


def compare(on: Writers, off: Writers, gold: Gold, seconds: float) -> dict[str, float]:
    """Rates of a round of blocks in random order: `on`, `off` (the webhook), `read` (off, each object read once)."""
    rates = {}
    for way in random.sample(["on", "off", "read"], 3):
        if way == "on":
            begun, ended = on.work(RAMP + seconds)
            rates[way] = on.rate(begun + RAMP, ended)
            gold.catch_up()
        else:
            rates[way] = reading(off, seconds) if way == "read" else off.rate(*off.work(seconds))
    return rates


def watch(writers: Writers, gold: Gold, seconds: float) -> tuple[list[float], list[float]]:
    """Put for so many seconds; times of the looks since the start, and lags, in seconds."""
    times, lags = [], []
    with ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        working = pool.submit(writers.work, seconds)
        while not working.done():
            time.sleep(LOOK - (time.monotonic() - begun) % LOOK)
            times.append(time.monotonic() - begun)
            lags.append(gold.look())
    return times, lags


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share of all is not above."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def plot(path: Path, times: Sequence[float], lags: Sequence[float], acknowledged: Sequence[float]) -> None:
    """Lag and rate over time, as a picture. `acknowledged`: seconds since the start."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, sharex=True, figsize=(9, 5), layout="constrained")
    above.plot(times, lags, linewidth=0.8)
    above.axhline(GOAL_LAG, linestyle="--", color="grey", linewidth=0.8, label="goal")
    above.set_ylabel("lag of gold, s")
    above.set_ylim(bottom=0)
    above.legend(loc="upper right")
    width = 5
    starts = range(0, int(times[-1]) // width * width, width)
    rates = [sum(start <= when < start + width for when in acknowledged) / width for start in starts]
    below.step(starts, rates, where="post", linewidth=0.8)
    below.set_ylabel("PUT/s")
    below.set_ylim(bottom=0)
    below.set_xlabel("seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    """Take the figures and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="of the long run; 0: none")
    parser.add_argument("--rounds", type=int, default=4, help="of blocks with and without the webhook; 0: none")
    parser.add_argument("--block", type=float, default=30, help="seconds of a block")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs/figures/keeping-up.svg")
    arguments = parser.parse_args()
    lake = Lake()
    on = Writers(lake, lake.container("keeping-up", webhook="on"))
    off = Writers(lake, lake.container("keeping-up-off", webhook="off"))
    gold = Gold(on)
    off.work(RAMP)  # what is slow at first in a new lake is not to be measured
    print("| figure | value |\n|---|---|", flush=True)
    rounds = [compare(on, off, gold, arguments.block) for _ in range(arguments.rounds // 2)]
    if arguments.minutes:
        before, whole = cpu_of_services(), busy()
        first = len(on.acknowledged)
        begun = time.monotonic()
        times, lags = watch(on, gold, 60 * arguments.minutes)
        ended = time.monotonic()
        spent = {name: (used - before.get(name, 0.0)) / (ended - begun) for name, used in cpu_of_services().items()}
        whole = (busy() - whole) / (ended - begun)
        rest = gold.catch_up()
        minutes = f"{arguments.minutes:g} min"
        print(f"| PUT of 1 KiB, concurrency {WRITERS}, webhook on, {minutes} | {on.rate(begun, ended):.1f}/s |")
        told = ", ".join(f"{name} {value:.2f} s" for name, value in [
            ("p50", percentile(lags, 0.5)), ("p95", percentile(lags, 0.95)), ("most", max(lags)),
        ])  # fmt: skip
        print(f"| lag of gold behind the PUTs (goal {GOAL_LAG:g} s) | {told} |")
        print(f"| until gold had the last one, after the end | {rest:.1f} s |")
        print(f"| attempts that failed | {on.failures} |")
        services = sorted(spent.items(), key=lambda item: -item[1])[:SHOWN]
        rest = whole - sum(spent.values())
        told = ", ".join(f"{name} {value:.2f}" for name, value in [*services, ("clients and others", rest)])
        print(f"| CPU of the machine, s/s | {whole:.2f}, most of it: {told} |")
        plot(arguments.figure, times, lags, [when - begun for when in on.acknowledged[first:]])
    rounds += [compare(on, off, gold, arguments.block) for _ in range(arguments.rounds - len(rounds))]
    if len(rounds) > 1:
        for way in ("off", "on", "read"):
            print(f"| PUT/s in blocks, {WAYS[way]} | {statistics.median(rates[way] for rates in rounds):.1f} |")
        on_off, read_off = ([rates[way] / rates["off"] for rates in rounds] for way in ("on", "read"))
        print(f"| PUT rate with the webhook on ÷ off (goal {1 - GOAL_LOSS:g}) | {Ratios(on_off)} |")
        print(f"| PUT rate, each object read once ÷ off | {Ratios(read_off)} |")


if __name__ == "__main__":
    main()
