# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The synchronous filter that tests/bench compares the webhook with: it posts a run per event, and loses what the
receiver does not take."""

from __future__ import annotations

import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "bench/synchronous.py"
spec = importlib.util.spec_from_file_location("synchronous", PROGRAM)
synchronous = importlib.util.module_from_spec(spec)
spec.loader.exec_module(synchronous)


class Log(list):
    def error(self, message, *values):
        self.append(message % values)


@pytest.fixture
def receiver():
    """The URL of a receiver, and what it got; what it answers is in `status`."""

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):  # noqa: N802
            server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(server.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args):
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.got, server.status = [], 200
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def test_an_event_starts_a_run(receiver, make_event):
    log, event = Log(), make_event(7)
    synchronous.Poster(f"http://127.0.0.1:{receiver.server_port}/", 5, log).commit(event.to_line().encode())
    run = {"logical_date": None, "dag_run_id": f"new_input__{event.id}", "conf": event.to_payload()}
    assert (receiver.got, log) == ([run], [])


@pytest.mark.parametrize("away", [True, False])
def test_what_the_receiver_does_not_take_is_lost_and_logged(receiver, make_event, away):
    receiver.status = 503
    port = 1 if away else receiver.server_port
    log, event = Log(), make_event(7)
    synchronous.Poster(f"http://127.0.0.1:{port}/", 5, log).commit(event.to_line().encode())
    assert len(log) == 1 and log[0].startswith(f"event {event.id} is lost: ")
