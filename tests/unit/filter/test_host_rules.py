# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.neocampus.datalake.plugins.filter.host_rules import host_rules

RANGES = {"storage": "10.1.0.0/24", "access": "10.2.0.0/24"}
HOSTVARS = {
    "edge1": {"lake_addresses": {"access": "10.2.0.1", "storage": "10.1.0.1"}, "lake_network_ranges": RANGES},
    "data1": {"lake_addresses": {"storage": "10.1.0.2"}, "lake_network_ranges": RANGES},
    "data2": {"lake_addresses": {"storage": "10.1.0.3"}, "lake_network_ranges": RANGES},
    "gold1": {"lake_addresses": {}, "lake_network_ranges": RANGES},
}
GROUPS = {"edge": ["edge1"], "swift": ["data2", "data1"], "gold": ["gold1"], "empty": []}


def flow(**changes):
    return {"name": "swift", "network": "storage", "port": 8080, "to": "swift", "from": ["edge"], **changes}


def rules(*flows, host="data1"):
    return host_rules(flows, GROUPS, HOSTVARS, host)


def test_a_rule():
    assert rules(flow()) == [
        {"name": "swift", "port": 8080, "proto": "tcp", "destination": "10.1.0.2", "sources": ["10.1.0.1"]}
    ]


def test_only_what_goes_to_the_host():
    assert rules(flow(), host="edge1") == []


def test_several_groups_on_both_sides():
    [rule] = rules(flow(to=["gold", "swift"], **{"from": ["swift", "edge", "edge"]}))
    assert rule["sources"] == ["10.1.0.1", "10.1.0.2", "10.1.0.3"]


def test_anybody_and_the_whole_network():
    assert rules(flow(**{"from": "any"}))[0]["sources"] == []
    assert rules(flow(**{"from": "network"}))[0]["sources"] == ["10.1.0.0/24"]


def test_hosts_without_the_network_are_passed_over():
    assert rules(flow(**{"from": ["edge", "gold"]}))[0]["sources"] == ["10.1.0.1"]


@pytest.mark.parametrize("group", ["gold", "empty"])
def test_nobody_is_not_everybody(group):
    assert rules(flow(**{"from": [group]})) == []


def test_a_target_without_the_network_is_an_error():
    with pytest.raises(AnsibleFilterError, match="gold1"):
        rules(flow(to="gold"), host="gold1")


def test_a_group_that_nobody_declared_is_an_error():
    for change in ({"to": "swfit"}, {"from": ["swfit"]}):
        with pytest.raises(AnsibleFilterError, match="swfit"):
            rules(flow(**change))


def test_rules_are_sorted_and_keep_their_protocol():
    found = rules(flow(port=9000), flow(port=161, proto="udp"), flow(port=8080))
    assert found == rules(flow(port=8080), flow(port=9000), flow(port=161, proto="udp"))
    assert {rule["port"]: rule["proto"] for rule in found} == {161: "udp", 8080: "tcp", 9000: "tcp"}
