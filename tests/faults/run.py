# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults during a steady ingest: after each, every acknowledged object is in gold exactly once, and nobody helped.

    python tests/faults/run.py [--environment local] [--markdown FILE] [FAULT …]

Two clients of the REST API and two plain Swift clients put small sensor files. After a few seconds the fault happens;
they go on. Then it is watched how long it takes until all that was acknowledged can be read back. Exit status 1 where
something is missing, double or stuck after that.
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import requests
from ingest import Check, Client, Outcome, Person
from nodes import FAULTS, NodeError, Nodes

ROOT = Path(__file__).resolve().parent.parent.parent
BEFORE = 4.0  # seconds of ingest before the fault
AFTER = 16.0  # and from its begin on
PATIENCE = 300.0  # seconds after the ingest within which all has to be there
COLUMNS = ("fault", "acknowledged", "refused", "longest stall", "all in gold after", "verdict")


@dataclass
class Result:
    """What one fault did."""

    name: str
    what: str
    acknowledged: int
    refused: int
    stall: float
    seconds: float
    outcome: Outcome
    waiting: int

    @property
    def well(self) -> bool:
        """Whether nothing was lost, double or stuck."""
        return self.outcome.well and self.waiting == 0

    def row(self) -> tuple[str, ...]:
        """Cells of the table."""
        outcome = self.outcome
        wrong = (
            f"{outcome.missing} not processed, {outcome.failed} failed, {outcome.twice} twice, "
            f"{outcome.points} points wrong, {self.waiting} events stuck"
        )
        return (
            self.what,
            str(self.acknowledged),
            str(self.refused),
            f"{self.stall:.1f} s",
            f"{self.seconds:.0f} s" if self.well else f"not within {PATIENCE:g} s",
            "nothing lost, nothing twice" if self.well else wrong,
        )


def try_fault(name: str, person: Person, nodes: Nodes) -> Result:
    """Run the ingest, let the fault NAME happen in it, wait for the end.

    Errors: NodeError, requests.RequestException.
    """
    what, fault = FAULTS[name]
    mark = uuid.uuid4().hex[:6]
    containers = {"api": f"faults-{name}-{mark}-api", "swift": f"faults-{name}-{mark}-swift"}
    session = person.session()
    session.put(person.swift(f"/{containers['swift']}"), headers={"X-Webhook": "on"}, timeout=60).raise_for_status()
    clients = [Client(person, door, container, f"{door}{n}") for door, container in containers.items() for n in (1, 2)]
    for client in clients:
        client.start()
    try:
        time.sleep(BEFORE)
        with fault(nodes):
            time.sleep(AFTER)
    finally:
        for client in clients:
            client.stop()
        for client in clients:
            client.join()
    ended = time.monotonic()
    outcome, waiting = settle(Check(person), clients, nodes, ended + PATIENCE)
    return Result(
        name,
        what,
        sum(len(client.acknowledged) for client in clients),
        sum(client.failures for client in clients),
        max(client.stall for client in clients),
        time.monotonic() - ended,
        outcome,
        waiting,
    )


def settle(check: Check, clients: list[Client], nodes: Nodes, end: float) -> tuple[Outcome, int]:
    """How it stands once all is well, or at the monotonic time END; and how many events still wait then."""
    while True:
        try:
            outcome, waiting = check(clients), nodes.waiting()
        except (requests.RequestException, NodeError):  # what was hit is on its way back
            if time.monotonic() > end:
                raise
        else:
            if outcome.well and not waiting or time.monotonic() > end:
                return outcome, waiting
        time.sleep(1)


def main() -> int:
    """Try the faults one after the other; 1 where one of them cost something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", choices=["local", "test"], default="local")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"all of {', '.join(FAULTS)} where none is named")
    arguments = parser.parse_args()
    unknown = set(arguments.faults) - set(FAULTS)
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    person = Person(ROOT / f"build/{arguments.environment}/openrc")
    nodes = Nodes(arguments.environment)
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    print(*lines, sep="\n", flush=True)
    well = True
    for name in arguments.faults or FAULTS:
        result = try_fault(name, person, nodes)
        lines.append(f"| {' | '.join(result.row())} |")
        print(lines[-1], flush=True)
        well = well and result.well
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(lines) + "\n")
    print(f"\n{'all faults survived' if well else 'FAILED: see the verdicts'}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
