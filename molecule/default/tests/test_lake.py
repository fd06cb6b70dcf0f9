# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lake as a whole: every unit well, and every listener on the network that it serves and no other."""

from __future__ import annotations

import os

import pytest

LISTENERS = {
    # node: {(network or "loopback" or "any", port)}: what may listen, besides what is on loopback alone
    "edge1": {("access", 443), ("access", 5000), ("access", 8080), ("access", 8081), ("access", 8443)},
    "identity1": {("management", 5000), ("management", 636)},
    "data1": {("storage", p) for p in (8080, 6200, 6201, 6202, 873, 11211)} | {("metadata", 27017)},
    "process1": {("process", 8081), ("process", 8793), ("process", 5432), ("process", 6379)},
    "process2": {("process", 8793)},
    "gold1": {("gold", 8086), ("gold", 5432), ("gold", 7687)},
    "monitor1": set(),
}
if os.environ.get("LAKE_ENV") == "test":  # has MariaDB besides (inventories/test)
    LISTENERS["gold1"].add(("gold", 3306))
LISTENERS["data2"] = LISTENERS["data3"] = LISTENERS["data1"]
NETWORKS = {"10": "access", "20": "storage", "30": "metadata", "40": "process", "50": "gold", "60": "management"}


def listeners(host) -> set[tuple[str, int]]:
    """Network and port of each TCP listener that something else than loopback can reach."""
    found = set()
    for line in host.check_output("ss --tcp --listening --numeric --no-header").splitlines():
        address, _, port = line.split()[3].rpartition(":")
        address = address.strip("[]").split("%")[0]
        if address.startswith("127.") or address == "::1":
            continue
        found.add(("any" if address in ("*", "0.0.0.0", "::") else NETWORKS[address.split(".")[2]], int(port)))
    return found


@pytest.mark.parametrize("name", sorted(LISTENERS))
def test_listeners_are_on_the_right_networks_only(node, name):
    assert listeners(node(name)) == LISTENERS[name]


@pytest.mark.parametrize("name", sorted(LISTENERS))
def test_no_unit_has_failed(node, name):
    assert node(name).check_output("systemctl --failed --plain --no-legend") == ""


@pytest.mark.parametrize("name", sorted(LISTENERS))
def test_no_secret_in_unit_files_and_process_lists(node, name, lake_secrets):
    host = node(name)
    seen = host.check_output(
        "ps -eo args; cat /etc/systemd/system/*.service /etc/systemd/system/*/*.conf 2>/dev/null; true"
    )
    assert [key for key, value in lake_secrets.items() if value in seen] == []
