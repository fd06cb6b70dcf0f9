# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of flows as the inventory has it, and what it means for each pair of addresses.

Worked out here a second time, on purpose, not with the filter that the firewall's rules are made with.
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = "outside"
"""The machine that the nodes are on: it has an address on every network of a local lake, and is in no group."""


def _plain(value: Any) -> Any:
    """Text as it is: `ansible-inventory` wraps what a plugin made."""
    if isinstance(value, dict):
        return value.get("__ansible_unsafe", {key: _plain(inner) for key, inner in value.items()})
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _printed(command: list[str]) -> str:
    variables = {**os.environ, "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "ANSIBLE_FORCE_COLOR": "0", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=ROOT, env=variables, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class Flow:
    """A row of the table. `sources`: hosts, or `any`, or `network`; `plain`: why it isn't encrypted by TLS;
    `sometimes`: why nobody may listen."""

    name: str
    network: str
    ports: frozenset[int]
    proto: str
    targets: frozenset[str]
    sources: frozenset[str] | str
    plain: str | None
    starttls: str | None
    sometimes: str | None


@dataclass(frozen=True)
class Place:
    """A node's address on a network."""

    node: str
    network: str
    address: str


class Table:
    """Nodes, addresses and flows of an environment."""

    def __init__(self, inventory: dict[str, Any], flows: list[dict[str, Any]]) -> None:
        variables = _plain(inventory["_meta"]["hostvars"])
        self._groups = inventory
        self.nodes = sorted(variables)
        first = variables[self.nodes[0]]
        self.domain: str = first["lake_domain"]
        self.ranges = {name: ipaddress.ip_network(text) for name, text in first["lake_network_ranges"].items()}
        self.addresses: dict[str, dict[str, str]] = {node: variables[node]["lake_addresses"] for node in self.nodes}
        self.containers = {node: variables[node].get("ansible_host", node) for node in self.nodes}
        self.flows = [self._flow(row) for row in flows]

    @classmethod
    def of(cls, environment: str) -> Table:
        """The table of an inventory. Errors: subprocess.CalledProcessError."""
        inventory = ["-i", f"inventories/{environment}"]
        listed = _printed(["ansible-inventory", *inventory, "--list"])
        # Ports may be templates, which ansible-inventory leaves as they are.
        told = _printed(["ansible", *inventory, "all[0]", "-m", "ansible.builtin.debug", "-a", "var=lake_flows"])
        return cls(json.loads(listed), json.loads(told.partition("=> ")[2])["lake_flows"])

    def members(self, group: str) -> frozenset[str]:
        """Nodes of a group and of those below it. Errors: KeyError for a group that nobody declared."""
        if group == "all":
            return frozenset(self.nodes)
        found = self._groups.get(group)
        if found is None:
            if not any(group in entry.get("children", []) for entry in self._groups.values()):
                raise KeyError(f"the table of flows names the group {group!r}, which is not in the inventory")
            return frozenset()  # an empty one
        below = [self.members(child) for child in found.get("children", [])]
        return frozenset(found.get("hosts", [])).union(*below)

    def _flow(self, row: dict[str, Any]) -> Flow:
        def nodes(names: str | list[str]) -> frozenset[str]:
            return frozenset().union(*(self.members(name) for name in ([names] if isinstance(names, str) else names)))

        ports = row["port"] if isinstance(row["port"], list) else [row["port"]]
        sources = row["from"] if row["from"] in ("any", "network") else nodes(row["from"])
        return Flow(
            row["name"],
            row["network"],
            frozenset(map(int, ports)),
            row.get("proto", "tcp"),
            nodes(row["to"]),
            sources,
            row.get("plain"),
            row.get("starttls"),
            row.get("sometimes"),
        )

    @property
    def places(self) -> list[Place]:
        """Every address of every node."""
        return [
            Place(node, network, address)
            for node in self.nodes
            for network, address in sorted(self.addresses[node].items())
        ]

    def ports(self, proto: str) -> set[int]:
        """All that the table names."""
        return {port for flow in self.flows if flow.proto == proto for port in flow.ports}

    def near(self, source: str, place: Place) -> bool:
        """Whether SOURCE is on the place's network itself: else a router has to let it."""
        return source == OUTSIDE or place.network in self.addresses[source]

    def let(self, source: str, place: Place) -> dict[tuple[str, int], Flow]:
        """What SOURCE, a node or OUTSIDE, may connect to at a place: protocol and port."""
        found = {}
        for flow in self.flows:
            if place.node not in flow.targets or flow.network != place.network:
                continue
            near = self.near(source, place)
            if flow.sources == "any" or (near and (flow.sources == "network" or source in flow.sources)):
                found.update({(flow.proto, port): flow for port in flow.ports})
        return found
