# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the webhook costs: PUTs of 4 KiB objects with it in the proxy's pipeline, compared with the filter absent.

    python tests/bench/webhook.py [--rounds 30] [--seconds 2.5]

On one data node of the running local lake, proxies are started beside the deployed one, each with its configuration
but for the webhook: absent; as deployed, with an outbox of its own; replaced by a filter that posts each event while
the client waits, to a receiver that takes as long as Airflow's api-server (measured first), refuses the connection, or
never answers. Eight clients on that node put objects through one proxy at a time, in short blocks. A round has a
block of each variant that is due, in random order; a variant is compared with the absent filter of the same round,
since a machine drifts more than the webhook costs. CPU is that of the proxy and of the account, container and object
servers on all data nodes, from the scheduler's count per thread.

What was made on the nodes is removed at the end, also where this program is stopped or killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent
NODES = ("data1", "data2", "data3")
SWIFT_USER = "swift"
CONTAINER = "bench-webhook"
POSTS = 25  # of a run to Airflow, of which the first WARM do not count
WARM = 5
TIMEOUT = 2  # seconds that the synchronous filter waits for an answer
GOAL = 0.98
RESAMPLES = 10_000
LONGEST = 270.0  # seconds after which no round is begun: with what is before and after it, about 8 minutes
CLEARING = 600.0  # seconds for the nodes to remove what was made


@dataclass(frozen=True)
class Variant:
    """One way to build the pipeline.

    what: as the table has it. changes: as configure() in webhook_node.py takes them. every: it takes part in each so
    many rounds. least: seconds of its blocks at least.
    """

    what: str
    changes: dict[str, str | None] | None
    every: int = 1
    least: float = 0.0


def _synchronous(port: str) -> dict[str, str | None]:
    filter_ = {"use": None, "paste.filter_factory": "synchronous:filter_factory", "timeout": str(TIMEOUT)}
    return {**filter_, "url": f"http://127.0.0.1:{{{port}}}/api/v2/dags/new_input/dagRuns"}


ABSENT, WEBHOOK = "absent", "webhook"
VARIANTS = {
    ABSENT: Variant("filter absent", None),
    WEBHOOK: Variant("webhook", {"outbox": "{folder}"}),
    "synchronous": Variant("synchronous POST, receiver as fast as Airflow", _synchronous("receiver"), 3),
    "refused": Variant("synchronous POST, connection refused", _synchronous("nobody"), 6),
    "silent": Variant(f"synchronous POST, no answer, given up after {TIMEOUT} s", _synchronous("silent"), 12, 8.0),
}


class BenchError(Exception):
    """A node did not do what it was told; the message says why."""


class Agent:
    """webhook_node.py, running on a node."""

    def __init__(self, node: str) -> None:
        self.node = node
        program = (HERE / "webhook_node.py").read_text()
        # In a session of its own: Ctrl-C is for this program, which then lets the nodes clear up.
        self._process = subprocess.Popen(
            ["docker", "exec", "-i", node, "python3", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ask(self, do: str, **arguments: Any) -> Any:
        """The answer to a command. Errors: BenchError."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BenchError(f"{self.node}: the program there has ended") from None
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"{self.node}: the program there ended during {do!r}")
        answer = json.loads(line)
        if "error" in answer:
            raise BenchError(f"{self.node}: {do}: {answer['error']}")
        return answer["answer"]

    def close(self) -> None:
        """Let it clear up, and wait for that. Errors: BenchError where something is left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(CLEARING)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self.node}: is not through with removing what was made there") from None
        if code:
            raise BenchError(f"{self.node}: not everything was removed there")


@dataclass(frozen=True)
class Block:
    """What one block gave: PUT/s; CPU ms per PUT, of Swift in all and of the proxy."""

    rate: float
    swift: float
    proxy: float


@dataclass(frozen=True)
class Spread:
    """Median, quartiles, and the interval that has the median of such samples with 95 % (bootstrap)."""

    count: int
    median: float
    quartiles: tuple[float, float]
    interval: tuple[float, float]

    @classmethod
    def of(cls, values: Sequence[float], chance: random.Random) -> Spread:
        """The spread of at least one value."""
        low, middle, high = (
            statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * [values[0]]
        )
        medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
        edges = medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES) - 1]
        return cls(len(values), middle, (low, high), edges)

    def __str__(self) -> str:
        (low, high), (least, most) = self.quartiles, self.interval
        return f"{self.median:.3f} ({low:.3f}–{high:.3f}; {least:.3f}–{most:.3f})"


def plan(rounds: int, chance: random.Random) -> list[list[str]]:
    """The variants of each round, in the order in which they come."""
    due = [[name for name, variant in VARIANTS.items() if number % variant.every == 0] for number in range(rounds)]
    return [chance.sample(names, len(names)) for names in due]


def ratios(rounds: Sequence[dict[str, Block]], name: str, figure: Callable[[Block], float]) -> list[float]:
    """A figure of a variant ÷ that of the absent filter, for each round that has both."""
    return [figure(blocks[name]) / figure(blocks[ABSENT]) for blocks in rounds if name in blocks]


def table(rounds: Sequence[dict[str, Block]], chance: random.Random) -> list[str]:
    """Lines of the table."""
    lines = [
        "| pipeline | rounds | PUT/s | ÷ absent | Swift's CPU per PUT | ÷ absent | of that the proxy |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, variant in VARIANTS.items():
        blocks = [found[name] for found in rounds if name in found]
        if not blocks:
            continue
        rate, swift, proxy = (
            statistics.median(getattr(block, key) for block in blocks) for key in ("rate", "swift", "proxy")
        )
        compared = ["1", "1"]
        if name != ABSENT:
            compared = [
                str(Spread.of(ratios(rounds, name, lambda block: block.rate), chance)),
                str(Spread.of(ratios(rounds, name, lambda block: block.swift), chance)),
            ]
        cells = [variant.what, str(len(blocks)), f"{rate:.1f}", compared[0], f"{swift:.1f} ms", compared[1]]
        lines.append(f"| {' | '.join(cells)} | {proxy:.1f} ms |")
    return lines


def log_in() -> tuple[str, str]:
    """A token of the demo user, and the project's id. Errors: requests.RequestException."""
    lines = (ROOT / "build/local/openrc").read_text().splitlines()
    rc = dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export "))
    session = requests.Session()
    session.trust_env, session.verify = False, rc["OS_CACERT"]
    person = {"name": rc["OS_USERNAME"], "password": rc["OS_PASSWORD"], "domain": {"name": rc["OS_USER_DOMAIN_NAME"]}}
    project = {"name": rc["OS_PROJECT_NAME"], "domain": {"name": rc["OS_PROJECT_DOMAIN_NAME"]}}
    auth = {
        "identity": {"methods": ["password"], "password": {"user": person}},
        "scope": {"project": project},
    }
    answer = session.post(f"{rc['OS_AUTH_URL']}/auth/tokens", json={"auth": auth}, timeout=60)
    answer.raise_for_status()
    return answer.headers["X-Subject-Token"], answer.json()["token"]["project"]["id"]


def measure(agents: Sequence[Agent], name: str, seconds: float) -> Block:
    """Put objects through the proxy of a variant for so many seconds. Errors: BenchError."""
    for agent in agents:
        agent.ask("cpu", user=SWIFT_USER)
    done = agents[0].ask("put", variant=name, seconds=max(seconds, VARIANTS[name].least))
    servers = proxy = 0.0
    for agent in agents:
        for unit, used in agent.ask("cpu", user=SWIFT_USER).items():
            if unit.startswith("lake-bench-webhook@"):
                proxy += used if f"@{name}." in unit else 0.0
            elif unit.endswith("@server.service"):
                servers += used
    puts = done["puts"]
    return Block(puts / done["seconds"], (servers + proxy) / puts * 1000, proxy / puts * 1000)


def prepare(stack: ExitStack) -> tuple[list[Agent], list[float]]:
    """The agents of the nodes, the first with proxies and container, and the seconds of a POST to Airflow. They clear
    up when STACK ends. Errors: BenchError, requests.RequestException."""
    token, project = log_in()
    secrets = yaml.safe_load((ROOT / "build/local/secrets.yml").read_text())
    account = {"username": "lake-admin", "password": secrets["lake_secret_airflow_admin"]}
    agents = []
    for node in NODES:
        agents.append(Agent(node))
        stack.callback(agents[-1].close)
    here = agents[0]
    waits = here.ask("airflow", **account, count=POSTS)[WARM:]
    variants = {name: variant.changes for name, variant in VARIANTS.items()}
    files = {name: (HERE / name).read_text() for name in ("synchronous.py", "receiver.py")}
    here.ask("proxies", files=files, variants=variants, waits=waits)
    here.ask("container", path=f"/v1/AUTH_{project}/{CONTAINER}", token=token, plain=ABSENT, webhook=WEBHOOK)
    for name in VARIANTS:  # caches and connections
        measure(agents, name, 0.5)
    return agents, waits


def report(waits: Sequence[float], rounds: Sequence[dict[str, Block]], chance: random.Random) -> None:
    """Print the figures."""
    fast, middle, slow = (1000 * value for value in statistics.quantiles(waits, n=4, method="inclusive"))
    print(f"Airflow took {middle:.0f} ms for a POST (quartiles {fast:.0f} and {slow:.0f} ms, {len(waits)} POSTs).\n")
    print("\n".join(table(rounds, chance)))
    print("\nRatios: median (quartiles; 95 % interval of the median).")
    reached = Spread.of(ratios(rounds, WEBHOOK, lambda block: block.rate), chance).median
    verdict = "reached" if reached >= GOAL else "MISSED"
    print(f"webhook ÷ absent, PUT/s: {reached:.3f}, goal {GOAL}: {verdict}", flush=True)


def main() -> None:
    """Take the figures and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=2.5, help="of one block")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the order of the blocks")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    count = arguments.rounds
    print(f"load before: {os.getloadavg()[0]:.2f}; {count} rounds of {arguments.seconds:g} s a block", flush=True)
    try:
        with ExitStack() as stack:
            agents, waits = prepare(stack)
            rounds: list[dict[str, Block]] = []
            last = time.monotonic() + LONGEST
            for names in plan(count, chance):
                if rounds and time.monotonic() > last:
                    break
                rounds.append({name: measure(agents, name, arguments.seconds) for name in names})
                print(f"  round {len(rounds)} of {count}", end="\r", file=sys.stderr, flush=True)
            print(file=sys.stderr)
            report(waits, rounds, chance)
    except (BenchError, requests.RequestException) as error:
        sys.exit(f"FAILED: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; what was made on the nodes is removed")


if __name__ == "__main__":
    main()
