# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swift on its nodes: what runs, who can reach it, where objects are, and that no event is lost."""

from __future__ import annotations

import hashlib
import json
import shlex
import time
import uuid
from dataclasses import dataclass

import pytest

NODES = ["data1", "data2", "data3"]
CA = "/etc/pki/lake/ca.crt"
KEYSTONE = "https://identity1.management.lake.internal:5000/v3"
UNITS = [
    "memcached haproxy swift-proxy swift-webhook-relay swift-rsyncd",
    *(f"swift-account@{daemon}" for daemon in ("server", "replicator", "auditor", "reaper")),
    *(f"swift-container@{daemon}" for daemon in ("server", "replicator", "auditor", "updater")),
    *(f"swift-object@{daemon}" for daemon in ("server", "replicator", "auditor", "updater", "expirer")),
]


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: str


def curl(host, *arguments: str) -> Response:
    command = ["curl", "--silent", "--show-error", "--max-time", "60", "--cacert", CA, "--include", *arguments]
    text = host.check_output(shlex.join(command)).replace("\r\n", "\n")
    while text.startswith("HTTP/1.1 100"):
        text = text.partition("\n\n")[2]
    head, _blank, body = text.partition("\n\n")
    first, *lines = head.split("\n")
    headers = {name.lower(): value.strip() for name, _colon, value in (line.partition(":") for line in lines)}
    return Response(int(first.split()[1]), headers, body)


@dataclass
class Account:
    """The account of the lake's own client; paths are below it."""

    token: str
    project: str
    user: str

    def call(self, host, method: str, path: str, *headers: str, data: str | None = None) -> Response:
        name = host.check_output("hostname")
        arguments = [
            f"https://{name}.storage.lake.internal:8080/v1/AUTH_{self.project}{path}",
            "-H",
            f"X-Auth-Token: {self.token}",
        ]
        arguments += ["--head"] if method == "HEAD" else ["-X", method]
        for header in headers:
            arguments += ["-H", header]
        return curl(host, *arguments, *(["--data-binary", data, "-H", "Expect:"] if data is not None else []))


@pytest.fixture(scope="module")
def account(node, lake_secrets) -> Account:
    identity = {
        "methods": ["password"],
        "password": {
            "user": {
                "name": "client",
                "domain": {"name": "Default"},
                "password": lake_secrets["lake_secret_keystone_service_client"],
            }
        },
    }
    scope = {"project": {"name": "demo", "domain": {"name": "campus"}}}
    body = json.dumps({"auth": {"identity": identity, "scope": scope}})
    response = curl(node("data1"), "-H", "Content-Type: application/json", "-d", body, f"{KEYSTONE}/auth/tokens")
    assert response.status == 201, response.body
    token = json.loads(response.body)["token"]
    return Account(response.headers["x-subject-token"], token["project"]["id"], token["user"]["id"])


@pytest.fixture
def container(node, account):
    """A container with webhook, removed afterwards."""
    name = f"/test-{uuid.uuid4().hex[:8]}"
    assert account.call(node("data1"), "PUT", name, "X-Webhook: on").status == 201
    yield name
    for entry in json.loads(account.call(node("data1"), "GET", f"{name}?format=json").body):
        account.call(node("data1"), "DELETE", f"{name}/{entry['name']}")
    account.call(node("data1"), "DELETE", name)


def status(host) -> dict:
    """How the webhook of this host stands."""
    return json.loads(host.check_output("swift-webhook status --json"))


def known(host) -> int:
    """Events that this host has, delivered or not."""
    facts = status(host)
    return facts["depth"] + facts["delivered"]


def metrics(host) -> dict[str, float]:
    """What the relay of this host tells Prometheus."""
    lines = host.check_output("curl --silent --fail --max-time 10 http://127.0.0.1:9465/metrics").splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines if not line.startswith("#"))}


def waiting(host, container: str) -> list[tuple[str, str]]:
    """Events of a container that wait on this host: type and object."""
    events = map(json.loads, host.check_output("swift-webhook list").splitlines())
    return [(event["type"], event["swift_id"]) for event in events if f"/{event['swift_container']}" == container]


@pytest.fixture
def paused(node):
    """A host whose relay sends nothing."""
    host = node("data2")
    host.check_output("swift-webhook pause")
    yield host
    host.check_output("swift-webhook resume")


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("units", UNITS)
def test_everything_runs(node, name, units):
    states = node(name).run(f"systemctl is-active {units}")
    assert states.rc == 0, states.stdout


@pytest.mark.parametrize("name", NODES)
def test_it_comes_back_at_boot(node, name):
    assert node(name).run("systemctl is-enabled swift.target").stdout.strip() == "enabled"


@pytest.mark.parametrize("name", NODES)
def test_listeners_are_on_the_storage_network_or_loopback(node, name):
    storage = node(name).check_output(f"getent ahostsv4 {name}.storage.lake.internal").split()[0]
    listeners = [line.split()[3] for line in node(name).check_output("ss -Hltn").splitlines()]
    found = {}
    for listener in listeners:
        address, _colon, port = listener.rpartition(":")
        found.setdefault(int(port), set()).add(address)
    for port in (8080, 6200, 6201, 6202, 873, 11211):
        assert found[port] == {storage}, port
    for port in (8085, 9465):
        assert found[port] == {"127.0.0.1"}, port


@pytest.mark.parametrize("name", NODES)
def test_tls(node, name):
    url = f"https://{name}.storage.lake.internal:8080/healthcheck"
    assert curl(node(name), url).body == "OK"
    assert node(name).run(f"curl -s --max-time 10 {url}").rc == 60  # not signed by an authority that everybody knows
    assert node(name).run(f"curl -s --max-time 10 --cacert {CA} --tls-max 1.1 {url}").rc == 35


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("/etc/swift/swift.conf", "swift"),
        ("/etc/swift/proxy-server.conf", "swift"),
        ("/etc/swift-webhook/relay.conf", "swift-webhook"),
    ],
)
def test_files_with_secrets(node, name, path, group):
    file = node(name).file(path)
    assert (file.user, file.group, oct(file.mode)) == ("root", group, "0o640")


def test_no_secret_in_command_lines_or_logs(node, lake_secrets):
    seen = node("data1").check_output(
        "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; journalctl -b -u 'swift-*' -u haproxy -o cat;"
        " cat /etc/systemd/system/*swift*"
    )
    for name in ("keystone_service_swift", "swift_hash_prefix", "swift_hash_suffix", "swift_memcache", "airflow_relay"):
        assert lake_secrets[f"lake_secret_{name}"] not in seen, name


@pytest.mark.parametrize("ring", ["account", "container", "object"])
def test_rings_are_the_same_everywhere_and_have_each_host(node, ring):
    sums = {node(name).check_output(f"sha256sum < /etc/swift/{ring}.ring.gz") for name in NODES}
    assert len(sums) == 1
    described = node("data2").check_output(f"/opt/neocampus/swift/bin/swift-ring-builder /etc/swift/{ring}.builder")
    for name in NODES:
        address = node(name).check_output(f"getent ahostsv4 {name}.storage.lake.internal").split()[0]
        assert f"{address}:" in described
    assert "3.000000 replicas, 1 regions, 3 zones, 3 devices" in described


def test_an_object_has_three_replicas_and_is_the_same_everywhere(node, account, container):
    content = uuid.uuid4().hex
    assert account.call(node("data1"), "PUT", f"{container}/o", data=content).status == 201
    for name in NODES:
        assert account.call(node(name), "GET", f"{container}/o").body == content
    holders = [name for name in NODES if node(name).run(f"grep -rlF {content} /srv/node --include=*.data").rc == 0]
    assert holders == NODES


def test_a_host_that_lost_an_object_gets_it_back(node, account, container):
    content = uuid.uuid4().hex
    account.call(node("data1"), "PUT", f"{container}/o", data=content)
    lost = node("data3").check_output(f"grep -rlF {content} /srv/node --include=*.data")
    node("data3").check_output(f"rm -rf {lost.rsplit('/', 1)[0]} {lost.rsplit('/', 2)[0]}/../hashes.pkl")
    for name in ("data1", "data2"):
        node(name).check_output(
            "runuser -u swift -- timeout 120"
            " /opt/neocampus/swift/bin/swift-object-replicator /etc/swift/object-server.conf --once"
        )
    assert node("data3").check_output(f"grep -rlF {content} /srv/node --include=*.data")


def test_nobody_gets_in_without_a_token(node, account, container):
    anonymous = Account("", account.project, "")
    for method, path in (("GET", container), ("PUT", f"{container}/o"), ("POST", container), ("DELETE", container)):
        assert (
            anonymous.call(node("data1"), method, path, "X-Webhook: off", data="" if method == "PUT" else None).status
            == 401
        )
    assert account.call(node("data1"), "HEAD", container).headers["x-webhook"] == "on"


def test_the_webhook_is_switched_and_shown(node, account, container):
    for value, shown in (("off", "off"), ("1", "on"), ("no", "off"), ("True", "on")):
        assert account.call(node("data2"), "POST", container, f"X-Webhook: {value}").status == 204
        assert account.call(node("data3"), "HEAD", container).headers["x-webhook"] == shown
    refused = account.call(node("data1"), "POST", container, "X-Webhook: perhaps")
    assert refused.status == 400
    assert "X-Webhook" in refused.body


def test_each_change_of_an_object_is_one_event(node, account, container):
    host = node("data2")
    steps = [
        (1, "PUT", f"{container}/a", [], "x"),
        (0, "PUT", f"{container}/broken", ["Etag: 00000000000000000000000000000000"], "x"),
        (1, "POST", f"{container}/a", ["X-Object-Meta-Colour: red"], None),
        (0, "POST", f"{container}/none", ["X-Object-Meta-Colour: red"], None),
        (1, "COPY", f"{container}/a", [f"Destination: {container}/b"], None),
        (1, "PUT", f"{container}/c", [f"X-Copy-From: {container}/a"], ""),
        (
            1,
            "PUT",
            f"{container}/large?multipart-manifest=put",
            [],
            json.dumps([{"path": f"{container}/a"}, {"path": f"{container}/b"}]),
        ),
        (1, "DELETE", f"{container}/c", [], None),
        (0, "DELETE", f"{container}/c", [], None),
        (0, "POST", container, ["X-Webhook: off"], None),
        (0, "PUT", f"{container}/d", [], "x"),
        (0, "DELETE", f"{container}/d", [], None),
    ]
    for expected, method, path, headers, data in steps:
        before = known(host)
        account.call(host, method, path, *headers, data=data)
        assert known(host) - before == expected, (method, path)


def test_a_paused_relay_keeps_what_comes_and_says_so(node, account, container, paused):
    before = status(paused)["delivered"]
    account.call(paused, "PUT", f"{container}/o", data="x")
    account.call(paused, "POST", f"{container}/o", "X-Object-Meta-Colour: red")
    account.call(paused, "DELETE", f"{container}/o")
    paused.check_output("systemctl restart swift-webhook-relay")
    assert waiting(paused, container) == [("put", "o"), ("post", "o"), ("delete", "o")]
    assert status(paused)["paused"]
    assert status(paused)["delivered"] == before
    seen = metrics(paused)
    assert seen["swift_webhook_paused"] == 1
    assert seen["swift_webhook_outbox_events"] >= 3
    paused.check_output("swift-webhook resume")
    assert not status(paused)["paused"]
    assert metrics(paused)["swift_webhook_paused"] == 0


def test_a_versioned_object(node, account, container, paused):
    assert account.call(paused, "POST", container, "X-Versions-Enabled: true").status == 204
    versions = []
    for content in ("old", "newer"):
        versions.append(account.call(paused, "PUT", f"{container}/o", data=content).headers["x-object-version-id"])
    old, new = versions
    assert account.call(paused, "DELETE", f"{container}/o?version-id={new}").status == 204
    assert account.call(paused, "PUT", f"{container}/o?version-id={old}", data="").status == 201
    assert account.call(paused, "DELETE", f"{container}/o?version-id={old}").status == 204
    try:
        assert waiting(paused, container) == [("put", "o")] * 2 + [("delete", "o"), ("put", "o"), ("delete", "o")]
    finally:
        account.call(paused, "POST", container, "X-Versions-Enabled: false")


@pytest.mark.parametrize("name", NODES)
def test_metrics_agree_with_the_status(node, name):
    facts, seen = status(node(name)), metrics(node(name))
    assert seen["swift_webhook_events_delivered_total"] >= facts["delivered"]
    assert seen["swift_webhook_outbox_max_bytes"] > 0
    assert seen["swift_webhook_oldest_event_age_seconds"] >= 0
    assert seen["swift_webhook_dead_letters"] == facts["dead_letters"]


def test_what_was_delivered_is_replayed_as_a_new_event(node, account, container):
    host = node("data1")
    account.call(host, "PUT", f"{container}/o", data="x")
    ends = time.monotonic() + 60
    while waiting(host, container):
        assert time.monotonic() < ends
        time.sleep(1)
    chosen = f"swift-webhook replay --container {container[1:]}"
    host.check_output("swift-webhook pause")
    try:
        (first,) = map(json.loads, host.check_output(f"{chosen} --dry-run").splitlines())
        assert waiting(host, container) == []
        host.check_output(chosen)
        (again,) = (
            event
            for event in map(json.loads, host.check_output("swift-webhook list").splitlines())
            if event["swift_container"] == container[1:]
        )
    finally:
        host.check_output("swift-webhook resume")
    assert again.pop("id") != first.pop("id")
    assert again == first
    assert host.run("swift-webhook replay").rc == 2  # which events?


@pytest.mark.parametrize("name", NODES)
def test_folders_of_the_webhook(node, name):
    folder = "/var/lib/swift-webhook"
    assert node(name).check_output(f"stat -c '%U %G %a' {folder}/outbox") == "swift swift-webhook 2770"
    assert node(name).check_output(f"stat -c '%U %G %a' {folder}/delivered") == "swift-webhook swift-webhook 750"


def test_an_outbox_that_cannot_be_written_is_told_and_comes_back(node, account, container):
    host, folder = node("data3"), "/var/lib/swift-webhook/outbox"
    host.check_output(f"systemctl stop swift-webhook-relay && mv {folder} {folder}.away")
    try:
        refused = account.call(host, "PUT", f"{container}/o", data="x")
        again = account.call(host, "PUT", f"{container}/never", data="x")
    finally:
        host.check_output(f"mv {folder}.away {folder} && systemctl start swift-webhook-relay")
    assert refused.status == again.status == 503
    assert "retry-after" in refused.headers
    assert account.call(host, "HEAD", f"{container}/never").status == 404  # known by then: nothing was stored
    assert account.call(host, "PUT", f"{container}/o", data="x").status == 201


def test_a_killed_proxy_and_relay_lose_no_event(node, account, container):
    host = node("data2")
    before = known(host)
    acknowledged = 0
    for number in range(12):
        if number in (4, 8):
            host.check_output("systemctl kill -s KILL swift-proxy swift-webhook-relay")
        acknowledged += account.call(host, "PUT", f"{container}/{number}", data="x").status == 201
    assert acknowledged >= 8
    assert known(host) - before >= acknowledged


def digest(content: bytes) -> str:
    return f"x-amz-content-sha256: {hashlib.sha256(content).hexdigest()}"


def test_s3(node, account, container):
    host = node("data1")
    header = ["-H", f"X-Auth-Token: {account.token}"]
    made = curl(
        host,
        *header,
        "-H",
        "Content-Type: application/json",
        "-d",
        json.dumps({"tenant_id": account.project}),
        f"{KEYSTONE}/users/{account.user}/credentials/OS-EC2",
    )
    assert made.status == 201, made.body
    pair = json.loads(made.body)["credential"]
    try:
        before = known(host)
        s3 = ["--aws-sigv4", "aws:amz:RegionOne:s3", "--user", f"{pair['access']}:{pair['secret']}"]
        url = f"https://data1.storage.lake.internal:8080{container}/s3"
        assert curl(host, *s3, "-H", digest(b"by s3"), "-X", "PUT", "--data-binary", "by s3", url).status == 200
        assert curl(host, *s3, "-H", digest(b""), url).body == "by s3"
        assert account.call(host, "GET", f"{container}/s3").body == "by s3"
        assert known(host) - before == 1
        assert curl(host, *s3, "-H", digest(b""), "-X", "DELETE", url).status == 204
        assert known(host) - before == 2
    finally:
        curl(host, *header, "-X", "DELETE", f"{KEYSTONE}/users/{account.user}/credentials/OS-EC2/{pair['access']}")


def test_too_much_metadata_is_told(node, account, container):
    headers = [f"X-Object-Meta-{number}: {'v' * 200}" for number in range(12)]
    refused = account.call(node("data1"), "PUT", f"{container}/o", *headers, data="x")
    assert refused.status == 400
    assert "metadata too large" in refused.body
    assert account.call(node("data1"), "PUT", f"{container}/o", *headers[:8], data="x").status == 201
