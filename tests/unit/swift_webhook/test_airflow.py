# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of Airflow against an HTTP server that answers as Airflow does."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from neocampus_lake.errors import StoreError
from swift_webhook.airflow import Airflow, Refused


def jwt(expires: float) -> str:
    payload = base64.urlsafe_b64encode(json.dumps({"exp": expires}).encode()).rstrip(b"=").decode()
    return f"e30.{payload}.x"


class Server(ThreadingHTTPServer):
    """`answers`: statuses for the next dagRuns requests (201 afterwards)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.password = "right"
        self.token = jwt(time.time() + 3600)
        self.log_ins = 0
        self.runs: list[dict] = []
        self.answers: list[int] = []
        self.dag: tuple[int, dict] = (200, {"has_import_errors": False})
        self.run: tuple[int, dict] = (200, {"state": "queued"})
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def authorized(self):
        return self.headers["Authorization"] == f"Bearer {self.server.token}"

    def do_GET(self):
        if not self.authorized():
            self.answer(401, {})
        elif self.path.startswith("/api/v2/dags/new_input/dagRuns/"):
            self.answer(*self.server.run)
        else:
            self.answer(*self.server.dag)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/auth/token":
            self.server.log_ins += 1
            if body != {"username": "relay", "password": self.server.password}:
                return self.answer(401, {"detail": "Invalid credentials"})
            return self.answer(201, {"access_token": self.server.token})
        if not self.authorized():
            return self.answer(401, {})
        assert self.path == "/api/v2/dags/new_input/dagRuns"
        status = self.server.answers.pop(0) if self.server.answers else 201
        if status == 201:
            self.server.runs.append(body)
        return self.answer(status, {"detail": "because"})


@pytest.fixture
def server():
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def client(server):
    return Airflow([server.url], "relay", "right", ca_file="/nonexistent")


def test_a_run_is_started_as_airflow_wants_it(server, client):
    assert client.start("r1", {"batch": "b", "events": []})
    assert client.start("r2", {"batch": "c", "events": []})
    assert server.runs[0] == {"logical_date": None, "dag_run_id": "r1", "conf": {"batch": "b", "events": []}}
    assert server.log_ins == 1


def test_a_run_that_was_there_already_is_no_error(server, client):
    server.answers = [409]
    assert client.start("r1", {}) is False


@pytest.mark.parametrize("status", [301, 403, 404, 429, 500, 503])
def test_what_may_pass_is_an_error_to_try_again(server, client, status):
    server.answers = [status]
    with pytest.raises(StoreError) as caught:
        client.start("r1", {})
    assert caught.value.retriable
    assert client.start("r1", {})


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refusal_is_told_apart(server, client, status):
    server.answers = [status]
    with pytest.raises(Refused) as caught:
        client.start("r1", {})
    assert not caught.value.retriable


@pytest.mark.parametrize("dag", [(200, {"has_import_errors": True}), (404, {}), (500, {})])
def test_no_batch_is_blamed_for_a_workflow_that_does_not_work(server, client, dag):
    server.answers, server.dag = [400], dag
    with pytest.raises(StoreError) as caught:
        client.start("r1", {})
    assert caught.value.retriable


def test_a_token_that_is_refused_or_ends_soon_is_renewed(server, client):
    client.start("r1", {})
    server.token = jwt(time.time() + 30)  # the old one is refused from now on
    assert client.start("r2", {})
    assert server.log_ins == 2
    assert client.start("r3", {})  # it would end too soon
    assert server.log_ins == 3


def test_a_wrong_password_is_an_error_to_try_again(server, client):
    server.password = "changed"
    with pytest.raises(StoreError, match="log-in of relay") as caught:
        client.start("r1", {})
    assert caught.value.retriable
    assert "right" not in str(caught.value)
    server.password = "right"
    assert client.start("r1", {})


def test_another_server_takes_over(server):
    client = Airflow(["http://127.0.0.1:9", server.url], "relay", "right", ca_file="/nonexistent")
    with pytest.raises(StoreError, match="does not answer"):
        client.start("r1", {})
    assert client.start("r1", {})


def test_a_certificate_that_is_not_known_is_refused(tmp_path):
    trust = tmp_path / "ca.crt"
    trust.write_text("")
    client = Airflow(["https://127.0.0.1:9"], "relay", "right", ca_file=str(trust))
    assert client._session.verify == str(trust)
    with pytest.raises(StoreError):
        client.start("r1", {})


@pytest.mark.parametrize(
    ("answer", "ended"),
    [
        ((200, {"state": "queued"}), False),
        ((200, {"state": "running"}), False),
        ((200, {"state": "success"}), True),
        ((200, {"state": "failed"}), True),
        ((404, {"detail": "no such run"}), True),
    ],
)
def test_whether_a_run_has_ended(server, client, answer, ended):
    server.run = answer
    assert client.ended("new_input__1") is ended


@pytest.mark.parametrize("answer", [(403, {}), (200, {}), (200, [1])])
def test_airflow_does_not_tell_of_a_run(server, client, answer):
    server.run = answer
    with pytest.raises(StoreError, match="about run new_input__1"):
        client.ended("new_input__1")
