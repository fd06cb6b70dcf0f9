# Copyright (c) neOCampus data lake contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and addresses of the lake's hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lake_hosts
short_description: Names and addresses of every host on every network
version_added: 0.1.0
author: neOCampus data lake contributors (!UNKNOWN)
description:
  - Gives what C(/etc/hosts) needs, from the variable C(lake_addresses) of the hosts.
  - A host is C(<host>.<network>.<domain>) on each of its networks, and plain C(<host>) on the management network.
positional: hostvars, domain
options:
  _input:
    description: Names of the hosts, usually C(groups['all']).
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of the hosts, C(hostvars).
    type: dict
    required: true
  domain:
    description: Domain of the lake.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Names for /etc/hosts
  ansible.builtin.debug:
    msg: "{{ groups['all'] | neocampus.datalake.lake_hosts(hostvars, 'lake.internal') }}"
"""

RETURN = r"""
_value:
  description: Entries with C(address) and C(names), ordered by host and network.
  type: list
  elements: dict
"""


def lake_hosts(hosts, hostvars, domain):
    """Entries {address, names} of every host on every one of its networks."""
    entries = []
    for host in sorted(hosts):
        for network, address in sorted(hostvars[host]["lake_addresses"].items()):
            names = [f"{host}.{network}.{domain}"] + ([host] if network == "management" else [])
            entries.append({"address": address, "names": names})
    return entries


class FilterModule:
    """The filter, for Ansible."""

    def filters(self):
        """Name and function."""
        return {"lake_hosts": lake_hosts}
