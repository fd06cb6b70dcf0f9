# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A scan of every address of every node, from every node and from outside, against the table of flows.

    python tests/walls/ports.py [--environment local] [--quick] [--from NODE …] [--markdown FILE]

A port is let in if it answers: with SYN-ACK (a server is there), or with RST (none is, but no firewall dropped the
packet). All others have to be silent. nmap sends from the network namespaces of the nodes, so that the packets have the
nodes' addresses; as Ethernet frames, past the connection tracking of their kernels, whose table they would fill.
Exit status 1 where the answers differ from the table.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from flows import OUTSIDE, Place, Table
from inside import CommandFailed, command_at, run

ALL = range(1, 65536)
SAMPLE = 150
UDP_SAMPLE = {53, 67, 69, 111, 123, 137, 161, 162, 500, 514, 1194, 1900, 4500, 4789, 5353}
"""Ports of services by UDP that are often there without anybody having wanted them; nmap has questions for them."""
RATE, SECONDS = 20_000, 900.0
SERVERLESS = {22: "local nodes are reached through the container engine: no sshd runs there"}
"""Ports that are let in where no server is, in a lake of containers, and why."""


@dataclass
class Row:
    """What one source saw."""

    source: str
    near: int
    far: int
    tcp: int
    let: int = 0
    empty: int = 0
    unanswered: int = 0
    differences: list[str] = field(default_factory=list)


Answers = dict[str, dict[tuple[str, int], str]]
"""By address, by protocol and port: `open` or `closed`, of what answered."""


def spans(ports: Iterable[int]) -> str:
    """Ports as nmap takes them: `1-3,7`."""
    texts: list[str] = []
    start = before = -1
    for port in [*sorted(ports), 1 << 20]:
        if port != before + 1:
            if start > 0:
                texts.append(f"{start}-{before}" if before > start else str(start))
            start = port
        before = port
    return ",".join(texts)


def parse(report: str) -> Answers:
    """The ports that answered, in nmap's XML."""
    found: Answers = {}
    for host in ElementTree.fromstring(report).iter("host"):  # noqa: S314 (nmap made it)
        address = next(entry.get("addr", "") for entry in host.iter("address") if entry.get("addrtype") == "ipv4")
        ports = found.setdefault(address, {})
        for port in host.iter("port"):
            state = port.find("state")
            if state is not None and state.get("state") in ("open", "closed"):
                key = (port.get("protocol", ""), int(port.get("portid", "0")))
                ports[key] = state.get("state", "")
        for extra in host.iter("extraports"):
            if extra.get("state") in ("open", "closed"):
                for reason in extra.iter("extrareasons"):
                    ports.update(_expanded(reason.get("proto", "tcp"), reason.get("ports", ""), extra.get("state", "")))
    return found


def _expanded(proto: str, ports: str, state: str) -> dict[tuple[str, int], str]:
    found = {}
    for span in filter(None, ports.split(",")):
        first, _, last = span.partition("-")
        found.update({(proto, port): state for port in range(int(first), int(last or first) + 1)})
    return found


def scan(table: Table, source: str, addresses: Sequence[str], tcp: Iterable[int], udp: Iterable[int]) -> Answers:
    """What answers SOURCE at ADDRESSES. Errors: CommandFailed."""
    if not addresses:
        return {}
    tcp_text, udp_text = spans(tcp), spans(udp)
    chosen = [text for text in (tcp_text and f"T:{tcp_text}", udp_text and f"U:{udp_text}") if text]
    kinds = [kind for kind, text in (("-sS", tcp_text), ("-sU", udp_text)) if text]
    with tempfile.NamedTemporaryFile() as report:
        command = ["nmap", "-n", "-Pn", *kinds, "--send-eth", "--max-retries", "1", "--min-rate", str(RATE)]
        command += ["--min-hostgroup", "64", "-T5", "-p", ",".join(chosen), "-oX", report.name, *addresses]
        run(command_at(table, source, command), SECONDS)
        return parse(Path(report.name).read_text())


def silent(table: Table, source: str, places: Sequence[Place], answers: Answers) -> set[str]:
    """Addresses where something is silent that should not be."""
    return {
        place.address
        for place in places
        if table.near(source, place)
        and any(key[0] == "tcp" and key not in answers.get(place.address, {}) for key in table.let(source, place))
    }


def compare(table: Table, source: str, places: Sequence[Place], answers: Answers, row: Row) -> None:
    """Put into ROW how the answers differ from the table."""
    for place in places:
        let, seen = table.let(source, place), answers.get(place.address, {})
        named = f"{source} → {place.node}.{place.network}"
        for key in sorted(seen.keys() - let.keys()):
            row.differences.append(f"{named} {key[1]}/{key[0]}: {seen[key]}, and no flow allows it")
        for key, flow in sorted(let.items(), key=lambda entry: entry[0]):
            state, told = seen.get(key), f"{named} {key[1]}/{key[0]} ({flow.name})"
            if state == "open":
                row.let += 1
            elif state == "closed" and (key[1] in SERVERLESS or flow.sometimes):
                row.empty += 1
            elif state == "closed":
                row.differences.append(f"{told}: let in, and nobody listens")
            elif key[0] == "udp":
                row.unanswered += 1  # who has nothing to say to nmap's question is silent, too
            elif table.near(source, place):
                row.differences.append(f"{told}: no answer")


def look(table: Table, source: str, quick: bool, listening: set[int]) -> Row:
    """Scan all from SOURCE: each port on the networks that it is on; of the others what may listen, and a sample.

    Errors: CommandFailed.
    """
    places = [place for place in table.places if place.node != source]
    likely = table.ports("tcp") | listening | set(random.Random(source).sample(ALL, SAMPLE))
    udp = table.ports("udp") | UDP_SAMPLE
    near = [place for place in places if table.near(source, place)]
    far = [place for place in places if not table.near(source, place)]
    row = Row(source, len(near), len(far), len(likely) if quick else len(ALL))
    for group, ports in ((near, likely if quick else ALL), (far, likely)):
        answers = scan(table, source, [place.address for place in group], ports, udp)
        # A lost packet is no wall: what should have answered is asked once more, alone.
        again = scan(table, source, sorted(silent(table, source, group, answers)), table.ports("tcp"), [])
        for address, found in again.items():
            answers.setdefault(address, {}).update(found)
        compare(table, source, group, answers, row)
    return row


def listening_ports(table: Table) -> set[int]:
    """TCP ports at which anything on any node listens, on whatever address. Errors: CommandFailed."""
    found = set()
    for node in table.nodes:
        for line in run(command_at(table, node, ["ss", "-Htln"]), 30).splitlines():
            found.add(int(line.split()[3].rpartition(":")[2]))
    return found


def markdown(rows: Sequence[Row]) -> str:
    """The table of what was seen, and the differences."""
    lines = [
        "| from | addresses on its networks | TCP ports of each | addresses elsewhere | let in | no server there "
        "| differences |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.source} | {row.near} | {row.tcp} | {row.far} | {row.let} | {row.empty} | {len(row.differences)} |"
        )
    lines.append(
        f"| all | {sum(row.near for row in rows)} | | {sum(row.far for row in rows)} | {sum(row.let for row in rows)} "
        f"| {sum(row.empty for row in rows)} | {sum(len(row.differences) for row in rows)} |"
    )
    unanswered = sum(row.unanswered for row in rows)
    if unanswered:
        lines.append(f"\nNot to be told by asking: {unanswered} declared UDP ports that answered nothing.")
    return "\n".join(lines + ["", *(f"difference: {text}" for row in rows for text in row.differences)]).rstrip()


def main() -> int:
    """Scan, print the table; 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", choices=["local", "test"], default="local")
    parser.add_argument("--quick", action="store_true", help="only ports that may listen, and a sample of the others")
    parser.add_argument("--from", dest="sources", nargs="+", metavar="NODE", help=f"some nodes, or {OUTSIDE!r}")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    arguments = parser.parse_args()
    table = Table.of(arguments.environment)
    rows = []
    try:
        listening = listening_ports(table)
        for source in arguments.sources or [OUTSIDE, *table.nodes]:
            begun = time.monotonic()
            rows.append(look(table, source, arguments.quick, listening))
            told = f"{len(rows[-1].differences)} differences, {time.monotonic() - begun:.0f} s"
            print(f"== from {source}: {rows[-1].let} let in, {told}", flush=True)
    except CommandFailed as error:
        print(f"FAILED: {error}")
        return 1
    text = markdown(rows)
    print(f"\n{text}")
    if arguments.markdown:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        arguments.markdown.write_text(text + "\n")
    return 1 if any(row.differences for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
