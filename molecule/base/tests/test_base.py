# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every host has: names, certificate, firewall, limits."""

from __future__ import annotations

import pytest

NODES = ["edge1", "identity1", "data1", "data2", "data3", "process1", "process2", "gold1", "monitor1"]


@pytest.fixture(params=NODES)
def host(request, node):
    """Each node in turn."""
    return node(request.param)


def test_certificate_is_signed_by_the_authority_and_names_the_host(host):
    assert host.run("openssl verify -CAfile /etc/pki/lake/ca.crt /etc/pki/lake/host.crt").rc == 0
    name = host.check_output("hostname")
    assert f"DNS:{name}.management.lake.internal" in host.check_output(
        "openssl x509 -in /etc/pki/lake/host.crt -noout -ext subjectAltName"
    )


def test_key_is_readable_by_its_group_alone(host):
    for file in ("host.key", "host.pem"):
        key = host.file(f"/etc/pki/lake/{file}")
        assert (key.user, key.group, key.mode) == ("root", "lake-tls", 0o640)


def test_every_host_is_named_on_every_network(host):
    hosts = host.file("/etc/hosts").content_string
    for name in (
        "data1.storage.lake.internal",
        "data2.metadata.lake.internal",
        "process1.process.lake.internal",
        "gold1.gold.lake.internal",
    ):
        assert name in hosts


def test_firewall_drops_what_no_flow_allows(host):
    rules = host.check_output("nft list table inet lake")
    assert "policy drop" in rules
    assert host.service("lake-firewall").is_enabled


def test_services_may_open_many_files(host):
    assert host.check_output("systemctl show --property=DefaultLimitNOFILE --value") == "16384"


def test_firewall_is_tried_from_outside(node):
    """A port that nobody may reach stays closed, although something listens; from the host itself it is open."""
    target = node("gold1")
    target.run_expect([0], "systemd-run --unit=firewall-probe --collect python3 -m http.server --bind 0.0.0.0 9999")
    try:
        target.run_expect(
            [0], "timeout 10 sh -c 'until curl --silent --output /dev/null http://127.0.0.1:9999/; do sleep 0.2; done'"
        )
        assert node("monitor1").run("curl --silent --max-time 3 http://gold1:9999/").rc == 28
    finally:
        target.run_expect([0], "systemctl stop firewall-probe")
