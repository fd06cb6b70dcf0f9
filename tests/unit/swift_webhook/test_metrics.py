# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import socket
import threading
import time
import urllib.request

import pytest
from neocampus_lake.errors import StoreError
from swift_webhook import relay as relay_module
from swift_webhook.metrics import Metrics, Numbers
from swift_webhook.outbox import SegmentWriter
from swift_webhook.relay import Relay, Settings


def ask(port: int) -> dict[str, float]:
    """What Prometheus would see."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        text = response.read().decode()
    return {name: float(value) for name, value in re.findall(r"^swift_webhook_(\w+) (\S+)$", text, re.MULTILINE)}


@pytest.fixture
def numbers():
    return {"value": Numbers()}


@pytest.fixture
def metrics(folders, numbers):
    metrics = Metrics(folders / "outbox", folders / "dead", 1000, lambda: numbers["value"])
    metrics.port = metrics.start(0)
    yield metrics
    metrics.stop()


def test_an_idle_relay(metrics):
    seen = ask(metrics.port)
    assert seen["outbox_events"] == seen["oldest_event_age_seconds"] == seen["paused"] == 0
    assert seen["outbox_max_bytes"] == 1000
    assert seen["events_delivered_total"] == 0


def test_what_waits_is_counted_without_reading_it_twice(metrics, numbers, folders, make_event):
    writer = SegmentWriter(folders / "outbox")
    lines = [make_event(number).to_line().encode() for number in range(5)]
    writer.append(lines)
    assert ask(metrics.port)["outbox_events"] == 5
    (path,) = (folders / "outbox").iterdir()
    numbers["value"] = Numbers(positions={path.name: len(b"".join(lines[:3]))}, in_batches=1, since=time.time() - 100)
    (folders / "dead" / "x.json").write_text("{}")
    seen = ask(metrics.port)
    assert (seen["outbox_events"], seen["dead_letters"]) == (3, 1)
    assert seen["outbox_bytes"] == path.stat().st_size
    assert seen["oldest_event_age_seconds"] == pytest.approx(100, abs=5)
    writer.append(lines)
    assert ask(metrics.port)["outbox_events"] == 8
    numbers["value"] = Numbers()  # the relay lost its state
    assert ask(metrics.port)["outbox_events"] == 10
    path.unlink()
    assert ask(metrics.port)["outbox_events"] == 0


def test_slow_scrapers_hold_up_nobody(metrics):
    idle = [socket.create_connection(("127.0.0.1", metrics.port)) for _ in range(20)]
    for connection in idle[:10]:
        connection.send(b"GET /metrics HTTP/1.1\r\n")
    started = time.monotonic()
    ask(metrics.port)
    assert time.monotonic() - started < 2
    for connection in idle:
        connection.close()


class Away:
    """An Airflow that is away until it is not."""

    def __init__(self) -> None:
        self.back = False

    def start(self, run, conf):
        if not self.back:
            raise StoreError("connection refused")
        return True

    def ended(self, run):
        return True


def until(condition, seconds: float = 5.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_of_a_relay_while_airflow_is_away_and_back(folders, make_event, monkeypatch):
    monkeypatch.setattr(relay_module, "_PAUSE_SECONDS", 0.02)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    airflow = Away()
    settings = Settings(
        folders / "outbox", folders / "state", folders / "dead", folders / "delivered",
        metrics_port=port, quiet=0.001, linger=0.001, backoff=0.01, max_backoff=0.02,
    )  # fmt: skip
    relay = Relay(settings, airflow)
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        SegmentWriter(folders / "outbox").append([make_event(1, timestamp=f"{time.time():016.5f}").to_line().encode()])
        until(lambda: relay.error)
        until(lambda: ask(port)["failing"])
        first = ask(port)
        assert (first["outbox_events"], first["failing"], first["last_success_timestamp_seconds"]) == (1, 1, 0)
        time.sleep(0.2)
        second = ask(port)
        assert second["oldest_event_age_seconds"] >= first["oldest_event_age_seconds"] + 0.2  # it rises
        assert second["sendings_retried_total"] > first["sendings_retried_total"]
        (folders / "state" / "paused").touch()
        assert ask(port)["paused"] == 1
        (folders / "state" / "paused").unlink()
        airflow.back = True
        until(lambda: ask(port)["outbox_events"] == 0)
        last = ask(port)
        assert (last["events_delivered_total"], last["batches_delivered_total"], last["failing"]) == (1, 1, 0)
        assert last["oldest_event_age_seconds"] == 0
        assert last["last_success_timestamp_seconds"] == pytest.approx(time.time(), abs=5)
    finally:
        relay.stop()
        thread.join(5)
    with pytest.raises(OSError, match="(?i)refused"):
        ask(port)


def test_a_port_that_is_taken_does_not_keep_the_relay_from_its_work(folders, make_event):
    airflow = Away()
    airflow.back = True
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = Settings(
            folders / "outbox", folders / "state", folders / "dead", folders / "delivered",
            metrics_port=taken.getsockname()[1],
        )  # fmt: skip
        relay = Relay(settings, airflow)
        thread = threading.Thread(target=relay.run)
        thread.start()
        try:
            SegmentWriter(folders / "outbox").append([make_event(1).to_line().encode()])
            until(lambda: relay.state.delivered == 1)
        finally:
            relay.stop()
            thread.join(5)
