# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from ansible_collections.neocampus.datalake.plugins.filter.lake_hosts import lake_hosts

HOSTVARS = {
    "edge1": {"lake_addresses": {"management": "10.0.0.1", "access": "10.2.0.1"}},
    "data1": {"lake_addresses": {"storage": "10.1.0.2"}},
}


def test_every_host_has_its_names_on_every_network():
    assert lake_hosts(["edge1", "data1"], HOSTVARS, "lake.internal") == [
        {"address": "10.1.0.2", "names": ["data1.storage.lake.internal"]},
        {"address": "10.2.0.1", "names": ["edge1.access.lake.internal"]},
        {"address": "10.0.0.1", "names": ["edge1.management.lake.internal", "edge1"]},
    ]


def test_the_order_of_the_hosts_does_not_matter():
    hosts = ["edge1", "data1"]
    assert lake_hosts(hosts, HOSTVARS, "x") == lake_hosts(hosts[::-1], HOSTVARS, "x")
