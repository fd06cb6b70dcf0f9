# Copyright (c) neOCampus data lake contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inbound firewall rules of one host, from the table of flows."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: host_rules
short_description: Inbound firewall rules of one host, from the table of flows
version_added: 0.1.0
author: neOCampus data lake contributors (!UNKNOWN)
description:
  - A flow says who may connect to whom, on which network and port. This filter gives those rules that one host needs.
positional: groups, hostvars, inventory_hostname
options:
  _input:
    description:
      - Flows, each with C(name), C(network), C(port) (number or list), C(proto) (V(tcp) unless said), C(to) (group or
        list of groups) and C(from) (list of groups, V(network) for the whole network, V(any) for everybody). Other keys
        are for readers and tests.
        With C(where_present) a host of C(to) that is not on the network is passed over; without it that is an error.
    type: list
    elements: dict
    required: true
  groups:
    description: The groups of the inventory, C(groups).
    type: dict
    required: true
  hostvars:
    description: The variables of the hosts, with C(lake_addresses) and C(lake_network_ranges).
    type: dict
    required: true
  inventory_hostname:
    description: The host whose rules are wanted.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Rules of this host
  ansible.builtin.debug:
    msg: "{{ lake_flows | neocampus.datalake.host_rules(groups, hostvars, inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: Rules with C(name), C(port), C(proto), C(destination) and C(sources) (empty for everybody).
  type: list
  elements: dict
"""


def _as_list(value):
    return [value] if isinstance(value, str) else list(value)


def _members(names, groups, flow):
    """Hosts of the named groups; AnsibleFilterError for a group that nobody declared."""
    found = set()
    for name in _as_list(names):
        if name not in groups:
            raise AnsibleFilterError(f"flow {flow['name']!r} names the group {name!r}, which is not in the inventory")
        found.update(groups[name])
    return sorted(found)


def _sources(flow, groups, hostvars, host):
    network = flow["network"]
    if flow["from"] == "any":
        return []
    if flow["from"] == "network":
        return [hostvars[host]["lake_network_ranges"][network]]
    addresses = (hostvars[member]["lake_addresses"].get(network) for member in _members(flow["from"], groups, flow))
    return sorted({address for address in addresses if address})


def host_rules(flows, groups, hostvars, inventory_hostname):
    """Rules of INVENTORY_HOSTNAME; AnsibleFilterError where a flow's target is not on the flow's network."""
    rules = []
    for flow in flows:
        if inventory_hostname not in _members(flow["to"], groups, flow):
            continue
        destination = hostvars[inventory_hostname]["lake_addresses"].get(flow["network"])
        if destination is None:
            if flow.get("where_present"):
                continue
            raise AnsibleFilterError(
                f"flow {flow['name']!r} goes to {inventory_hostname}, which is not on the network {flow['network']}"
            )
        sources = _sources(flow, groups, hostvars, inventory_hostname)
        if not sources and flow["from"] != "any":
            continue  # nobody on that network: nobody is let in
        rules.append(
            {
                "name": flow["name"],
                "port": flow["port"],
                "proto": flow.get("proto", "tcp"),
                "destination": destination,
                "sources": sources,
            }
        )
    return sorted(rules, key=lambda rule: (rule["destination"], str(rule["port"]), rule["name"]))


class FilterModule:
    """The filter, for Ansible."""

    def filters(self):
        """Name and function."""
        return {"host_rules": host_rules}
