# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The webhook's bench: configurations, order of the blocks, and what is made of their figures."""

from __future__ import annotations

import configparser
import itertools
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import webhook
import webhook_node
from hypothesis import given, settings
from hypothesis import strategies as st

DEPLOYED = """\
# made by a template
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = 8085
workers = auto

[pipeline:main]
pipeline = catch_errors authtoken slo swift_webhook versioned_writes proxy-server

[filter:swift_webhook]
use = egg:swift-webhook#swift_webhook
outbox = /var/lib/swift-webhook/outbox
max_bytes = 1073741824

[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
password = 50%(x)s%
"""


def configured(changes):
    parser = configparser.RawConfigParser()
    parser.read_string(webhook_node.configure(DEPLOYED, 18085, changes))
    return parser


def test_the_absent_filter_leaves_the_pipeline_and_nothing_else_changes():
    found = configured(None)
    assert found["pipeline:main"]["pipeline"] == "catch_errors authtoken slo versioned_writes proxy-server"
    assert "filter:swift_webhook" not in found
    assert dict(found["DEFAULT"]) == {"bind_ip": "127.0.0.1", "bind_port": "18085", "workers": "auto"}
    assert found["filter:authtoken"]["password"] == "50%(x)s%"


def test_the_webhook_has_another_outbox_and_is_else_as_deployed():
    found = configured({"outbox": "/elsewhere"})
    assert " slo swift_webhook versioned_writes " in found["pipeline:main"]["pipeline"]
    section = found["filter:swift_webhook"]
    assert (section["outbox"], section["max_bytes"]) == ("/elsewhere", "1073741824")
    assert section["use"] == "egg:swift-webhook#swift_webhook"


def test_another_filter_stands_in_the_webhooks_place():
    found = configured(webhook.VARIANTS["refused"].changes)
    assert " slo swift_webhook versioned_writes " in found["pipeline:main"]["pipeline"]
    assert found["filter:swift_webhook"]["paste.filter_factory"] == "synchronous:filter_factory"
    assert "use" not in found["filter:swift_webhook"]


def test_a_pipeline_without_webhook_is_no_base():
    with pytest.raises(webhook_node.NodeError, match="no swift_webhook"):
        webhook_node.configure(DEPLOYED.replace("swift_webhook versioned", "versioned"), 1, None)


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/swift-proxy.service\n", "swift-proxy.service"),
        (
            "9:name=systemd:/docker/0a1b/system.slice/system-swift\\x2dobject.slice/swift-object@server.service\n"
            "1:cpu:/docker/0a1b\n0::/docker/0a1b\n",
            "swift-object@server.service",
        ),
        ("9:name=systemd:/docker/0a1b\n0::/docker/0a1b\n", ""),
    ],
)
def test_the_unit_of_a_process_is_in_its_cgroup_of_either_version(cgroup, unit):
    assert webhook_node.unit_of(cgroup) == unit


def test_each_round_has_the_two_that_are_compared_and_the_others_now_and_then():
    rounds = webhook.plan(24, random.Random(1))
    assert all({webhook.ABSENT, webhook.WEBHOOK} <= set(names) and len(set(names)) == len(names) for names in rounds)
    assert Counter(name for names in rounds for name in names) == {
        "absent": 24,
        "webhook": 24,
        "synchronous": 8,
        "refused": 4,
        "silent": 2,
    }
    # Sometimes the one comes first, sometimes the other.
    assert len({names.index(webhook.ABSENT) < names.index(webhook.WEBHOOK) for names in rounds}) == 2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.5, 2), min_size=1, max_size=40))
def test_the_interval_holds_the_median_and_lies_within_the_values(values):
    spread = webhook.Spread.of(values, random.Random(0))
    low, high = spread.interval
    assert min(values) <= low <= spread.median <= high <= max(values)
    assert low <= spread.quartiles[1] and spread.quartiles[0] <= high
    assert spread.count == len(values)


def test_the_interval_of_equal_values_is_a_point_and_that_of_scattered_ones_is_not():
    assert webhook.Spread.of([0.99] * 20, random.Random(0)).interval == (0.99, 0.99)
    low, high = webhook.Spread.of([0.9, 1.0, 1.1] * 10, random.Random(0)).interval
    assert low < high


def test_no_two_writers_or_blocks_have_a_name_in_common():
    first = [list(itertools.islice(names, 100)) for block in (0, 1) for names in webhook_node.names_of(block)]
    assert len(first) == 2 * webhook_node.WRITERS
    assert len({name for names in first for name in names}) == 100 * len(first)


class Proxy(BaseHTTPRequestHandler):
    """Answers what its server has in `status`, and counts connections."""

    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.server.connections += 1

    def do_PUT(self):  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, self.headers["X-Auth-Token"], len(body)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args):
        pass


@pytest.fixture
def proxy():
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        server.got, server.status, server.connections = [], 201, 0
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def writer(proxy, names, end=float("inf")):
    found = webhook_node.Writer("PUT", proxy.server_port, "/v1/AUTH_p/c", {"X-Auth-Token": "t"}, iter(names), end)
    found.start()
    found.join()
    return found


def test_a_writer_puts_objects_of_4_kib_and_changes_its_connection_now_and_then(proxy):
    found = writer(proxy, map(str, range(25)))
    assert found.sent == [str(number) for number in range(25)] and not found.problem
    assert proxy.got == [(f"/v1/AUTH_p/c/{number}", "t", 4096) for number in range(25)]
    assert proxy.connections == 3


def test_a_writer_ends_in_time_and_knows_its_last_answer(proxy):
    begun = time.monotonic()
    found = writer(proxy, map(str, itertools.count()), begun + 0.2)
    assert begun + 0.1 < found.ended < begun + 1 and len(found.sent) == len(proxy.got)


def test_a_writer_stops_at_a_refusal_and_says_which(proxy):
    proxy.status = 503
    assert writer(proxy, ["1", "2"]).problem == "PUT /v1/AUTH_p/c/1 answered 503: b''"


def test_a_variant_is_compared_with_the_absent_filter_of_its_own_round():
    # The machine gets twice as fast in between: the medians of all blocks would say something else.
    rounds = [
        {"absent": webhook.Block(50, 30, 10), "webhook": webhook.Block(49, 30.3, 10.3)},
        {
            "absent": webhook.Block(100, 15, 5),
            "webhook": webhook.Block(98, 15.15, 5.15),
            "silent": webhook.Block(4, 20, 9),
        },
        {"absent": webhook.Block(50, 30, 10)},
    ]
    assert webhook.ratios(rounds, "webhook", lambda block: block.rate) == pytest.approx([0.98, 0.98])
    lines = webhook.table(rounds, random.Random(0))
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2] == "| filter absent | 3 | 50.0 | 1 | 30.0 ms | 1 | 10.0 ms |"
    assert lines[3].startswith("| webhook | 2 | 73.5 | 0.980 (0.980–0.980; 0.980–0.980) | 22.7 ms | 1.010 (")
    assert "given up after 2 s | 1 | 4.0 | 0.040 " in lines[4]


class FakeAgent:
    """A node whose proxies give 50 PUT/s, and whose servers take 10 ms of each PUT, the proxy 5 ms."""

    made = []

    def __init__(self, node):
        self.node, self.asked, self.closed, self.puts, self.variant = node, [], False, 0, ""
        self.made.append(self)

    def ask(self, do, **arguments):
        self.asked.append((do, arguments))
        first = self.made[0]
        if do == "airflow":
            return [0.04] * arguments["count"]
        if do == "put":
            self.variant, self.puts = arguments["variant"], 50 * arguments["seconds"]
            return {"puts": self.puts, "seconds": arguments["seconds"]}
        if do == "cpu":
            used = {"swift-object@server.service": 0.010 * first.puts / 3, "swift-object@auditor.service": 9.0}
            own = {f"lake-bench-webhook@{name}.service": 7.0 for name in webhook.VARIANTS}
            own[f"lake-bench-webhook@{self.variant}.service"] = 0.005 * self.puts
            return {**used, "swift-proxy.service": 5.0, **(own if self is first else {})}
        return None

    def close(self):
        self.closed = True


@pytest.fixture
def nodes(monkeypatch, tmp_path):
    secrets = tmp_path / "build/local/secrets.yml"
    secrets.parent.mkdir(parents=True)
    secrets.write_text("lake_secret_airflow_admin: word\n")
    FakeAgent.made = []
    monkeypatch.setattr(webhook, "ROOT", tmp_path)
    monkeypatch.setattr(webhook, "Agent", FakeAgent)
    monkeypatch.setattr(webhook, "log_in", lambda: ("token", "project"))
    monkeypatch.setattr("sys.argv", ["webhook.py", "--rounds", "4", "--seconds", "2"])
    return FakeAgent.made


def test_a_run_counts_the_proxy_asked_and_the_servers_and_nobody_else(nodes, capsys):
    webhook.main()
    printed = capsys.readouterr().out
    assert "Airflow took 40 ms for a POST" in printed
    assert "| filter absent | 4 | 50.0 | 1 | 15.0 ms | 1 | 5.0 ms |" in printed
    assert "| webhook | 4 | 50.0 | 1.000 (" in printed and "goal 0.98: reached" in printed
    assert [agent.node for agent in nodes] == ["data1", "data2", "data3"] and all(agent.closed for agent in nodes)
    asked = dict(nodes[0].asked)
    assert len(asked["proxies"]["waits"]) == webhook.POSTS - webhook.WARM
    assert asked["container"]["path"] == "/v1/AUTH_project/bench-webhook"


def test_a_run_that_is_slow_ends_with_the_rounds_that_it_has(nodes, capsys, monkeypatch):
    monkeypatch.setattr(webhook, "LONGEST", -1.0)
    webhook.main()
    assert "| webhook | 1 | 50.0 |" in capsys.readouterr().out


@pytest.mark.parametrize("problem", [webhook.BenchError("data1: no"), KeyboardInterrupt()])
def test_whatever_ends_a_run_the_nodes_clear_up(nodes, monkeypatch, problem):
    def measure(*_arguments):
        raise problem

    monkeypatch.setattr(webhook, "measure", measure)
    with pytest.raises(SystemExit):
        webhook.main()
    assert len(nodes) == 3 and all(agent.closed for agent in nodes)
