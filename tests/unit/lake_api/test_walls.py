# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Limits: failed log-ins, rates, sizes, times; metrics; how connections end when a worker stops."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
import uvicorn
from hypothesis import given as given_
from hypothesis import strategies as st
from lake_api import metrics
from lake_api.app import create_app
from lake_api.errors import ApiError
from lake_api.logins import Logins
from lake_api.observe import Observe
from lake_api.rates import Rates
from lake_api.serving import Leaving, given_socket
from lake_api.settings import Server, Walls
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

LOGIN = {"username": "ada", "password": "right", "project": "demo"}
WRONG = {**LOGIN, "password": "wrong"}


def with_walls(chosen: Any, **walls: Any) -> Any:
    return chosen.model_copy(update={"walls": Walls(**walls)})


# -- log-ins that fail -----------------------------------------------------------------------------------------------


def test_right_password_is_refused_too_after_failures(keystone, chosen, connect, error_of):
    with TestClient(create_app(with_walls(chosen, user_failures=3), connect)) as api:
        for _ in range(3):
            error_of(api.post("/api/v1/auth/token", json=WRONG), 401)
        asked = len(keystone.logins)
        answer = api.post("/api/v1/auth/token", json=LOGIN)
        known = error_of(answer, 429, "too_many_requests")
        assert 0 < int(answer.headers["retry-after"]) <= 30 and len(keystone.logins) == asked
        # Another user from the same address still may; who does not exist is told the same after as many failures.
        for _ in range(3):
            error_of(api.post("/api/v1/auth/token", json={**WRONG, "username": "nobody"}), 401)
        assert error_of(api.post("/api/v1/auth/token", json={**WRONG, "username": "NOBODY"}), 429) == known


def test_failures_are_counted_for_the_address(keystone, chosen, connect, error_of):
    with TestClient(create_app(with_walls(chosen, address_failures=4), connect)) as api:
        for number in range(4):
            error_of(api.post("/api/v1/auth/token", json={**WRONG, "username": f"user{number}"}), 401)
        error_of(api.post("/api/v1/auth/token", json=LOGIN), 429)
        # A log-in that went well does not take the address's failures back; a token goes on.
        assert api.get("/api/v1/auth/token", headers={"X-Auth-Token": "good"}).status_code == 200


def test_success_forgets_the_users_failures(keystone, chosen, connect):
    with TestClient(create_app(with_walls(chosen, user_failures=3), connect)) as api:
        for _ in range(3):
            for _ in range(2):
                assert api.post("/api/v1/auth/token", json=WRONG).status_code == 401
            assert api.post("/api/v1/auth/token", json=LOGIN).status_code == 201


def test_keystone_away_is_no_failure(keystone, chosen, connect):
    with TestClient(create_app(with_walls(chosen, user_failures=1), connect)) as api:
        keystone.away()
        assert {api.post("/api/v1/auth/token", json=LOGIN).status_code for _ in range(3)} == {503}


def test_blocks_grow_are_bounded_and_end(mongo):
    async def run() -> None:
        now = datetime(2030, 1, 1, tzinfo=UTC)
        walls = Walls(user_failures=2, block_seconds=10, longest_block_seconds=35, window_seconds=100)
        ours, others = (Logins(mongo, walls, clock=lambda: now) for _ in range(2))  # two processes
        lasted = []
        await ours.failed("ada", "1.1.1.1")
        await ours.check("ada", "1.1.1.1")
        for _ in range(4):
            await others.failed("ada", "1.1.1.1")
            with pytest.raises(ApiError) as refused:
                await ours.check("ada", "2.2.2.2")
            lasted.append(int(refused.value.headers["Retry-After"]))
            now += timedelta(seconds=lasted[-1])
            await ours.check("ada", "2.2.2.2")
        assert lasted == [10, 20, 35, 35]
        now += timedelta(seconds=101)
        await ours.failed("ada", "1.1.1.1")  # what has expired counts no longer, though the server still has it
        await ours.check("ada", "1.1.1.1")

    anyio.run(run)


def test_no_name_is_kept_of_who_failed(api, mongo):
    api.post("/api/v1/auth/token", json={**WRONG, "username": "a-password-typed-as-name"})
    kept = list(mongo["access"]["failures"].find())
    assert len(kept) == 2 and "a-password-typed-as-name" not in str(kept)


# -- rates -------------------------------------------------------------------------------------------------------------


@given_(st.lists(st.floats(0, 3), max_size=60), st.integers(1, 5), st.floats(0.5, 10))
def test_a_bucket_never_gives_more_than_its_burst_and_rate(waits, burst, rate):
    now, given = 0.0, 0
    rates = Rates(rate, burst, clock=lambda: now)
    for wait in waits:
        now += wait
        try:
            rates.take("client")
            given += 1
        except ApiError as refused:
            assert refused.status == 429 and int(refused.headers["Retry-After"]) >= 1
        assert given <= burst + rate * now + 1e-6


def test_clients_do_not_share_a_bucket_and_are_forgotten():
    rates = Rates(1, 1, clients=2, clock=lambda: 0.0)
    for client in "ab":
        rates.take(client)
    with pytest.raises(ApiError):
        rates.take("b")
    rates.take("c")
    assert len(rates._buckets) == 2
    Rates(0, 1).take("a")


def test_users_and_addresses_that_run_wild(keystone, chosen, connect, error_of):
    with TestClient(create_app(with_walls(chosen, user_rate=0.001, user_burst=2), connect)) as api:
        api.headers["X-Auth-Token"] = "good"
        assert [api.get("/api/v1/containers").status_code for _ in range(2)] == [200, 200]
        answer = api.get("/api/v1/containers")
        error_of(answer, 429, "too_many_requests")
        assert int(answer.headers["retry-after"]) > 100
    with TestClient(create_app(with_walls(chosen, address_rate=0.001, address_burst=1), connect)) as api:
        assert api.get("/api/v1/openapi.json").status_code == 200
        error_of(api.get("/api/v1/openapi.json"), 429, "too_many_requests")
        assert api.get("/health/live").status_code == 200


# -- sizes and times -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x", "application/octet-stream"])
def test_large_body_of_what_is_no_upload_whatever_type_it_has(api, error_of, kind):
    content = json.dumps({**LOGIN, "password": "x" * 2_000_000})
    answer = api.post("/api/v1/auth/token", content=content, headers={"Content-Type": kind})
    error_of(answer, 413, "too_large")


def ask(app: Any, messages: Any, headers: Any = ()) -> list[dict[str, Any]]:
    """What the application sends for a request whose messages `messages` gives."""

    async def run() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "headers": list(headers),
            "client": ("192.0.2.1", 1),
            "query_string": b"",
        }

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, messages, send)
        return sent

    return asyncio.run(run())


def test_client_that_falls_silent(error_of):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        from starlette.exceptions import HTTPException

        with pytest.raises(HTTPException) as refused:
            await receive()
        await PlainTextResponse("late", refused.value.status_code)(scope, receive, send)

    async def never() -> Any:
        await asyncio.sleep(30)

    observe = Observe(app, Walls(silence_seconds=0.05))
    sent = ask(observe, never, [(b"content-length", b"5"), (b"expect", b"100-continue")])
    assert sent[0]["status"] == 408


def test_answer_that_does_not_begin():
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(30)

    async def none() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    sent = ask(Observe(slow, Walls(answer_seconds=0.05)), none)
    assert sent[0]["status"] == 504
    assert json.loads(sent[1]["body"])["error"]["code"] == "too_late"


def test_answer_that_has_begun_may_take_its_time():
    async def streams(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.2)
        await send({"type": "http.response.body", "body": b"x"})

    async def none() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    assert ask(Observe(streams, Walls(answer_seconds=0.05)), none)[-1]["body"] == b"x"


# -- metrics -----------------------------------------------------------------------------------------------------------


def test_metrics_of_routes(api, keystone):
    value = metrics.metrics().registry.get_sample_value
    labels = {"route": "list_containers", "method": "GET", "status": "200"}
    before = value("lake_api_requests_total", labels) or 0
    away = value("lake_api_upstream_errors_total", {"service": "Keystone"}) or 0
    api.get("/api/v1/containers")
    api.get("/nowhere/at/all")
    keystone.away()
    api.get("/api/v1/containers", headers={"X-Auth-Token": "unknown"})
    assert value("lake_api_requests_total", labels) == before + 1
    assert value("lake_api_request_seconds_count", {"route": "list_containers", "method": "GET"}) >= 2
    assert value("lake_api_requests_total", {"route": "none", "method": "any", "status": "404"}) >= 1
    assert value("lake_api_upstream_errors_total", {"service": "Keystone"}) == away + 1
    assert value("lake_api_requests_under_way") == 0


MEASURES = """
import sys
from lake_api import metrics
measured = metrics.Measured()
scope = {}
for _ in range(int(sys.argv[1])):
    measured.begin(scope)
    measured.end(scope, {"method": "GET", "status": 200, "seconds": 0.1, "bytes_in": 1, "bytes_out": 2})
measured.begin(scope)
"""
SERVES = """
import sys, urllib.request
from lake_api import metrics
from lake_api.settings import Server
metrics.Listener(Server(metrics_port=int(sys.argv[1])))
print(urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics").read().decode())
"""


def test_metrics_of_all_workers_are_given_out_together(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = os.pathsep.join(sys.path)
    environment = {**os.environ, metrics.FOLDER: str(tmp_path), "PYTHONPATH": path}

    def run(program: str, given: int) -> str:
        command = [sys.executable, "-c", program, str(given)]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    run(MEASURES, 3)
    run(MEASURES, 4)
    told = run(SERVES, port)
    assert 'lake_api_requests_total{method="any",route="none",status="200"} 7.0' in told
    assert "lake_api_requests_under_way 2.0" in told


def test_folder_of_metrics_is_emptied(tmp_path, monkeypatch):
    monkeypatch.setenv(metrics.FOLDER, str(tmp_path / "metrics"))
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "counter_1.db").write_bytes(b"old")
    assert not list(metrics.prepare().iterdir())
    monkeypatch.setattr("prometheus_client.start_http_server", lambda *given, **named: pytest.fail("it listens"))
    metrics.Listener(Server()).renew()


# -- stopping --------------------------------------------------------------------------------------------------------


class Running:
    """uvicorn in a thread, with connections as the API's workers have them."""

    def __init__(self) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                await PlainTextResponse("well")(scope, receive, send)

        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        config = uvicorn.Config(app, http=Leaving, lifespan="off", log_level="error", timeout_graceful_shutdown=10)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listening.dup()]})
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 5)


def get(connection: socket.socket) -> bytes:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = b""
    while not answer.endswith(b"well"):
        some = connection.recv(4096)
        assert some, "the connection closed under the request"
        answer += some
    return answer.lower()


def test_request_that_comes_as_the_worker_stops_is_answered(monkeypatch):
    monkeypatch.setattr(Leaving, "seconds", 1.5)
    running = Running()
    used, unused, idle = running.connect(), running.connect(), running.connect()
    assert b"connection: close" not in get(used) and b"connection: close" not in get(idle)
    time.sleep(0.2)  # until the unused one is accepted
    running.server.should_exit = True
    time.sleep(0.5)
    for connection in (used, unused):
        assert b"connection: close" in get(connection)
        assert connection.recv(1) == b""
    # One that comes now waits in the socket's queue, for the worker to come.
    waiting = running.connect()
    assert idle.recv(1) == b""
    running.thread.join(10)
    assert not running.thread.is_alive()
    waiting.sendall(b"x")  # nobody has refused it
    for connection in (used, unused, idle, waiting, running.listening):
        connection.close()


def test_socket_of_the_service_manager(monkeypatch):
    monkeypatch.delenv("LISTEN_PID", raising=False)
    assert given_socket() is None
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert given_socket() is None  # it was another process's


GIVEN = """
import os, socket
listening = socket.create_server(("127.0.0.1", 0))
os.dup2(listening.fileno(), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
from lake_api.serving import given_socket
got = given_socket()
assert got.getsockname() == listening.getsockname(), got
assert "LISTEN_FDS" not in os.environ
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"}
try:
    given_socket()
except ValueError as error:
    print(error)
"""


def test_socket_that_is_given():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", GIVEN], env=environment, check=True, capture_output=True, text=True)
    assert "one ListenStream" in done.stdout


def test_a_method_that_a_path_does_not_know_is_told_all_that_it_knows(api, error_of):
    answer = api.request("PUT", "/api/v1/containers/rooms/objects/17")
    error_of(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "DELETE, GET, PATCH"
    assert api.request("DELETE", "/api/v1/search").headers["Allow"] == "GET, POST"


def test_the_document_says_that_each_error_is_json(api):
    for methods in api.get("/api/v1/openapi.json").json()["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and "content" in answer:
                    assert list(answer["content"]) == ["application/json"], operation["operationId"]
