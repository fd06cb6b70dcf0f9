# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clients of the load measurement: what they send, and that every failure is told."""

from __future__ import annotations

import argparse
import asyncio
import functools
import ssl
import time
from types import SimpleNamespace

import clients
import httpx
import pytest

LAKE = SimpleNamespace(
    rc={
        "LAKE_API_URL": "https://lake.test/api/v1",
        "OS_USERNAME": "ada",
        "OS_PASSWORD": "her",
        "OS_PROJECT_NAME": "demo",
    }
)
PLACE = clients.Place("read", "written", ["17", "18"])


@pytest.fixture
def seen_by(monkeypatch):
    """seen_by(answers): what a client saw in half a second, and the requests that it sent."""

    def run(answer, seconds=0.5):
        sent: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            sent.append(request)
            if request.url.path.endswith("/auth/token"):
                return httpx.Response(201, json={"token": "t0ken"})
            return answer(request)

        fake = functools.partial(httpx.AsyncClient, transport=httpx.MockTransport(handle))
        monkeypatch.setattr(clients.httpx, "AsyncClient", fake)
        seen = clients.Seen()

        async def work():
            client = clients.Client(LAKE, ssl.create_default_context(), PLACE, 1, seen)
            await client.log_in()
            await client.work(time.monotonic() + seconds, 0.0)
            await client.close()

        asyncio.run(work())
        return seen, sent

    return run


def test_every_kind_is_sent_with_the_token_after_one_log_in(seen_by):
    seen, sent = seen_by(lambda request: httpx.Response(200, json={}))
    assert [request.url.path for request in sent].count("/api/v1/auth/token") == 1
    assert {request.headers["X-Auth-Token"] for request in sent[1:]} == {"t0ken"}
    assert all(seen.seconds[kind] for kind in ("log in", *clients.MIX)) and seen.errors == []
    assert sum(map(len, seen.seconds.values())) == len(sent)
    inserts = [request for request in sent if request.method == "POST"][1:]
    assert inserts and {request.url.path for request in inserts} == {"/api/v1/containers/written/objects"}


def test_refusals_and_broken_connections_are_errors(seen_by):
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/search"):
            raise httpx.ReadTimeout("no answer", request=request)
        return httpx.Response(503, text="away")

    seen, sent = seen_by(answer)
    assert len(seen.errors) == len(sent) - 1
    assert {error.split(":")[0] for error in seen.errors} == set(clients.MIX)
    assert any("ReadTimeout" in error for error in seen.errors)


def test_the_table_has_p50_and_p95_of_each_kind():
    seen = clients.Seen()
    seen.seconds["list"] = [0.01 * number for number in range(1, 101)]
    seen.errors = ["data: 503 away"]
    text = clients.markdown(seen, 42.0, argparse.Namespace(clients=2, seconds=60, pause=1.0))
    assert "| list | 100 | 505 ms | 951 ms | 1000 ms |" in text
    assert "1 errors, 42 CPU seconds" in text and text.endswith("data: 503 away")


def test_kinds_are_drawn_of_a_hundred():
    assert sum(clients.MIX.values()) == 100
