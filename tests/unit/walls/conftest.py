# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that try the walls, and a small lake."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "walls"))

from flows import Table  # noqa: E402

FLOWS = [
    {"name": "ssh", "network": "inside", "port": 22, "to": "all", "from": "network", "plain": "encrypts by itself"},
    {"name": "web", "network": "outer", "port": 443, "to": "edge", "from": "any"},
    {"name": "store", "network": "inside", "port": [8080, 8081], "to": "stores", "from": ["edge"]},
    {"name": "health", "network": "inside", "port": 161, "proto": "udp", "to": ["edge", "stores"], "from": ["watch"]},
]


@pytest.fixture
def table() -> Table:
    """edge1 is on both networks, store1, store2 and watch1 on the inner one."""
    shared = {
        "lake_domain": "lake.test",
        "lake_network_ranges": {"outer": "10.1.0.0/24", "inside": "10.2.0.0/24"},
    }

    def addresses(number: int, *networks: str) -> dict[str, Any]:
        place = {"outer": "1", "inside": "2"}
        return {name: {"__ansible_unsafe": f"10.{place[name]}.0.{number}"} for name in networks}

    return Table(
        {
            "_meta": {
                "hostvars": {
                    "edge1": {
                        **shared,
                        "lake_addresses": addresses(1, "outer", "inside"),
                        "ansible_host": "test-edge1",
                    },
                    "store1": {**shared, "lake_addresses": addresses(2, "inside")},
                    "store2": {**shared, "lake_addresses": addresses(3, "inside")},
                    "watch1": {**shared, "lake_addresses": addresses(4, "inside")},
                }
            },
            "all": {"children": ["edge", "zone", "empty"]},
            "edge": {"hosts": ["edge1"]},
            "zone": {"children": ["stores", "watch"]},
            "stores": {"hosts": ["store1", "store2"]},
            "watch": {"hosts": ["watch1"]},
        },
        FLOWS,
    )
