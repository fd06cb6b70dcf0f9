# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The nodes of a local lake, and what can be done to them from outside: faults that end, or are ended, without help."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

PREFIXES = {"local": "", "test": "test-"}
DATA = ("data1", "data2", "data3")
WORKERS = ("process1", "process2")


class NodeError(Exception):
    """A command on a node answered with another code than 0; the message has its output."""


@dataclass(frozen=True)
class Nodes:
    """The nodes of the environment `local` or `test`."""

    environment: str

    def run(self, node: str, *command: str) -> str:
        """What COMMAND prints on NODE. Errors: NodeError."""
        return self._docker("exec", PREFIXES[self.environment] + node, *command)

    def engine(self, verb: str, node: str) -> None:
        """`docker VERB` of the node's container. Errors: NodeError."""
        self._docker(verb, PREFIXES[self.environment] + node)

    def kill(self, node: str, unit: str) -> None:
        """kill -9 of all processes of a unit."""
        self.run(node, "systemctl", "kill", "--kill-who=all", "--signal=KILL", unit)

    def waiting(self) -> int:
        """Events that the proxies have acknowledged and not yet delivered."""
        facts = (json.loads(self.run(node, "swift-webhook", "status", "--json")) for node in DATA)
        return sum(int(fact["depth"]) for fact in facts)

    def primary(self) -> str:
        """The node whose member of the replica set is the primary."""
        for line in self.run("data1", "mongod-member", "status").splitlines():
            member, state, *_health = line.split()
            if state == "PRIMARY":
                return member.split(".")[0]
        raise NodeError("the replica set has no primary")

    @staticmethod
    def _docker(*arguments: str) -> str:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise NodeError(f"docker {' '.join(arguments)} answered {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout


@contextmanager
def killed(nodes: Nodes, unit: str, *where: str) -> Iterator[None]:
    """kill -9 of a unit; systemd starts it again."""
    for node in where:
        nodes.kill(node, unit)
    yield


@contextmanager
def stopped(nodes: Nodes, unit: str, *where: str) -> Iterator[None]:
    """A unit is away while the ingest goes on, then back."""
    try:
        for node in where:
            nodes.run(node, "systemctl", "stop", unit)
        yield
    finally:
        for node in where:
            nodes.run(node, "systemctl", "start", unit)


@contextmanager
def node_lost(nodes: Nodes, node: str) -> Iterator[None]:
    """A whole node loses its power; it is started again after the ingest."""
    nodes.engine("kill", node)
    try:
        yield
    finally:
        nodes.engine("start", node)


@contextmanager
def primary_killed(nodes: Nodes) -> Iterator[None]:
    """kill -9 of the primary of the replica set."""
    nodes.kill(nodes.primary(), "mongod")
    yield


@contextmanager
def worker_killed(nodes: Nodes) -> Iterator[None]:
    """kill -9 of a Celery worker while it has a task: its supervisor has a child."""
    busy = "for parent in $(pgrep -f '^airflow supervisor'); do pgrep -P $parent; done | head -n 1"
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for node in WORKERS:
            if nodes.run(node, "sh", "-c", busy).strip():
                nodes.kill(node, "airflow-worker")
                yield
                return
    raise NodeError("no worker had a task within 60 s")


@contextmanager
def cut(nodes: Nodes, where: tuple[str, ...], target: str, port: int) -> Iterator[None]:
    """The network between nodes and a port of TARGET (`<host>.<network>.<domain>`) swallows every packet."""
    rules = (
        "add table inet fault; add chain inet fault output { type filter hook output priority 0; }; "
        f"add rule inet fault output ip daddr $address tcp dport {port} drop"
    )
    begin = f'address=$(getent ahostsv4 {target} | head -n 1 | cut -d" " -f1); nft "{rules}"'
    try:
        for node in where:
            nodes.run(node, "sh", "-c", begin)
        yield
    finally:
        for node in where:
            nodes.run(node, "nft", "add table inet fault; delete table inet fault")  # whether it is there or not


@contextmanager
def no_room(nodes: Nodes, node: str) -> Iterator[None]:
    """The kernel refuses the proxy any write that would make a file longer: what a full disk does to the outbox."""
    pids = nodes.run(node, "pgrep", "--uid", "swift", "--full", "swift-proxy-server").split()

    def limit(bytes_: str) -> None:
        for pid in pids:  # the soft limit, which the user of a process may change
            nodes.run(node, "runuser", "-u", "swift", "--", "prlimit", f"--pid={pid}", f"--fsize={bytes_}:")

    try:
        limit("1")
        yield
    finally:
        limit("unlimited")


CLOCK_DROP_IN = """\
[Service]
Environment=LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1
Environment=FAKETIME_TIMESTAMP_FILE=/run/fault-clock FAKETIME_CACHE_DURATION=1
Environment=FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1
"""


@contextmanager
def clock_jump(nodes: Nodes, node: str, seconds: int) -> Iterator[None]:
    """The clock of a node's Swift services and relay jumps, and back at the end; they run on meanwhile.

    Containers have the clock of their machine: a library between the services and the kernel changes what they are told
    (libfaketime, which stays installed on the node).
    """
    nodes.run(node, "sh", "-c", "test -e /usr/lib/*/faketime/libfaketimeMT.so.1 || apt-get install -y -qq libfaketime")
    listed = nodes.run(node, "systemctl", "list-units", "--plain", "--no-legend", "--state=running", "swift-*.service")
    units = [line.split()[0] for line in listed.splitlines()]

    def clock(offset: int) -> str:
        return f"echo {offset:+d} >/run/fault-clock.new; mv /run/fault-clock.new /run/fault-clock"

    folders = [f"/run/systemd/system/{unit}.d" for unit in units]
    prepare = [f"mkdir -p {folder}; printf '%s' '{CLOCK_DROP_IN}' >{folder}/fault.conf" for folder in folders]
    restart = f"systemctl daemon-reload; systemctl restart {' '.join(units)}"
    try:
        nodes.run(node, "sh", "-ec", "; ".join([clock(0), *prepare, restart]))
        nodes.run(node, "sh", "-ec", clock(seconds))
        yield
        nodes.run(node, "sh", "-ec", clock(0))
        time.sleep(4)  # the ingest goes on with the clock set right
    finally:
        remove = [f"rm -rf {folder}" for folder in folders]
        nodes.run(node, "sh", "-ec", "; ".join([*remove, restart, "rm -f /run/fault-clock"]))


Fault = Callable[[Nodes], Any]

FAULTS: dict[str, tuple[str, Fault]] = {
    "proxy": ("kill -9 of all Swift proxies", lambda nodes: killed(nodes, "swift-proxy", *DATA)),
    "relay": ("kill -9 of all relays", lambda nodes: killed(nodes, "swift-webhook-relay", *DATA)),
    "data-node": ("a whole data node loses its power", lambda nodes: node_lost(nodes, "data3")),
    "mongodb": ("kill -9 of the MongoDB primary", primary_killed),
    "redis": ("kill -9 of Redis, Airflow's broker", lambda nodes: killed(nodes, "redis-server", "process1")),
    "airflow-api": ("kill -9 of Airflow's api-server", lambda nodes: killed(nodes, "airflow-api-server", "process1")),
    "scheduler": ("kill -9 of Airflow's scheduler", lambda nodes: killed(nodes, "airflow-scheduler", "process1")),
    "worker": ("kill -9 of a Celery worker in mid-task", worker_killed),
    "influxdb": ("kill -9 of InfluxDB", lambda nodes: killed(nodes, "influxdb", "gold1")),
    "influxdb-away": ("InfluxDB is stopped for the whole ingest", lambda nodes: stopped(nodes, "influxdb", "gold1")),
    "keystone": ("kill -9 of Keystone", lambda nodes: killed(nodes, "keystone", "identity1")),
    "keystone-away": ("Keystone is stopped for a while", lambda nodes: stopped(nodes, "keystone", "identity1")),
    "api": ("kill -9 of the REST API", lambda nodes: killed(nodes, "lake-api", "edge1")),
    "network": (
        "no packet passes between the proxies and Airflow",
        lambda nodes: cut(nodes, DATA, "process1.process.lake.internal", 8081),
    ),
    "clock-forward": (
        "the clock of one data node jumps 5 minutes ahead, then back",
        lambda nodes: clock_jump(nodes, "data2", 300),
    ),
    "clock-back": (
        "the clock of one data node jumps 5 minutes back, then ahead",
        lambda nodes: clock_jump(nodes, "data2", -300),
    ),
    "disk-full": ("no room for the outbox of one proxy", lambda nodes: no_room(nodes, "data2")),
}
"""Name → what happens, and a context manager: it begins the fault, and ends what does not end by itself."""
