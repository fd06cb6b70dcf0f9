# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS of every listener that crosses a network: new versions only, the lake's authority, the right name, nothing plain.

    python tests/walls/listeners.py [--environment local] [--markdown FILE]

Each is asked from the network of a client that the table of flows lets in. Exit status 1 where one is not as it has to
be.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows import OUTSIDE, ROOT, Flow, Place, Table
from inside import CommandFailed, command_at, run

SECONDS = 120.0


@dataclass(frozen=True)
class Listener:
    """A port of a node, the flow that declares it, and a client that may connect."""

    flow: Flow
    place: Place
    port: int
    client: str

    def question(self, domain: str, ca: Path) -> dict[str, Any]:
        """For tests/walls/probe.py."""
        name = f"{self.place.node}.{self.place.network}.{domain}"
        return {
            "address": self.place.address,
            "port": self.port,
            "name": name,
            "starttls": self.flow.starttls,
            "ca": str(ca),
        }


def listeners(table: Table) -> list[Listener]:
    """All by TCP that have to be encrypted."""
    found: list[Listener] = []
    for place in table.places:
        others = [node for node in table.nodes if node != place.node]
        for client in [OUTSIDE, *others, place.node]:  # the host itself, where no other one may connect
            if not table.near(client, place):
                continue
            for (proto, port), flow in table.let(client, place).items():
                known = any((one.place, one.port) == (place, port) for one in found)
                if proto == "tcp" and flow.plain is None and not known:
                    found.append(Listener(flow, place, port, client))
    return found


def ask(table: Table, environment: str) -> list[tuple[Listener, dict[str, Any]]]:
    """What was seen of each listener. Errors: CommandFailed."""
    ca = ROOT / "build" / environment / "pki/ca.crt"
    found: list[tuple[Listener, dict[str, Any]]] = []
    everything = listeners(table)
    for client in sorted({one.client for one in everything}):
        chosen = [one for one in everything if one.client == client]
        questions = json.dumps([one.question(table.domain, ca) for one in chosen])
        program = [sys.executable, str(Path(__file__).with_name("probe.py"))]
        answers = json.loads(run(command_at(table, client, program), SECONDS, questions))
        found += zip(chosen, answers, strict=True)
    return [(one, answer) for one, answer in found if not (one.flow.sometimes and "refused" in answer["trusted"])]


def wrong(seen: dict[str, Any]) -> list[str]:
    """What is not as it has to be."""
    found = []
    if seen["version"] not in ("TLSv1.2", "TLSv1.3"):
        found.append(f"no TLS of 1.2 or later with a certificate of the lake: {seen['trusted']}")
    found += [f"takes {version}" for version in seen["old"]]
    if seen["plain"]:
        found.append(f"answers without TLS: {seen['plain']}")
    return found


def markdown(table: Table, seen: Sequence[tuple[Listener, dict[str, Any]]]) -> str:
    """The table of what was seen, and of what is plain, with the reason."""
    lines = ["| listener | flow | agreed | certificate | TLS 1.0, 1.1 | without TLS |", "|---|---|---|---|---|---|"]
    for one, answer in seen:
        old = ", ".join(answer["old"]) or "refused"
        lines.append(
            f"| {one.place.node}.{one.place.network}:{one.port} | {one.flow.name} | {answer['version']} "
            f"| {'ok' if answer['version'] else answer['trusted']} | {old} | {answer['plain'] or 'refused'} |"
        )
    plain = [f"| {flow.name} | {flow.plain} |" for flow in table.flows if flow.plain and flow.proto == "tcp"]
    return "\n".join([*lines, "", "| flow without TLS | why |", "|---|---|", *plain])


def main() -> int:
    """Ask, print the table; 1 where a listener is not as it has to be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", choices=["local", "test"], default="local")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    arguments = parser.parse_args()
    table = Table.of(arguments.environment)
    try:
        seen = ask(table, arguments.environment)
    except CommandFailed as error:
        print(f"FAILED: {error}")
        return 1
    text = markdown(table, seen)
    print(text)
    if arguments.markdown:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        arguments.markdown.write_text(text + "\n")
    bad = [f"{one.place.node}:{one.port}: {text}" for one, answer in seen for text in wrong(answer)]
    print("\n".join(["", *bad]) if bad else f"\n{len(seen)} listeners, all as they have to be")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
