# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of all scenarios share: the nodes of the deployed lake."""

from __future__ import annotations

import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import testinfra
import yaml
from testinfra.host import Host

PREFIX = {"local": "", "test": "test-", "kerberos": "kerberos-"}

# The whole lake's run takes every scenario's tests; those of the site around a lake need that site's own nodes.
collect_ignore_glob = [] if os.environ.get("LAKE_ENV") == "kerberos" else ["kerberos/*"]


@pytest.fixture(scope="session")
def node() -> Callable[[str], Host]:
    """Gives a node by its inventory name: `node("data1")`. The lake is the one of LAKE_ENV (test, local, kerberos)."""
    prefix = PREFIX[os.environ.get("LAKE_ENV", "test")]
    return lambda name: testinfra.get_host(f"docker://{prefix}{name}")


@pytest.fixture(scope="session")
def lake_secrets() -> dict[str, str]:
    """The secrets of the deployed lake: name → text. (The file says more, of their rotation.)"""
    file = Path(__file__).parent.parent / "build" / os.environ.get("LAKE_ENV", "test") / "secrets.yml"
    said = yaml.safe_load(file.read_text())
    secrets = {name: value for name, value in said.items() if name.startswith("lake_secret_")}
    people = secrets.pop("lake_secret_ldap_users")
    return {**secrets, **{f"password of {name}": password for name, password in people.items()}}


# Joins a node's port to the program's own input and output, until both sides have ended.
RELAY = """
import os, socket, sys, threading
server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def send():
    while some := os.read(0, 65536):
        server.sendall(some)
    server.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while some := server.recv(65536):
    while some:
        some = some[os.write(1, some):]
"""


class _Tunnel(socketserver.ThreadingTCPServer):
    """Takes connections on this machine's loopback to a port on a node's loopback, where no firewall is in between."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, container: str, port: int) -> None:
        self.command = ["docker", "exec", "-i", container, "python3", "-c", RELAY, str(port)]
        super().__init__(("127.0.0.1", 0), _Connection)


class _Connection(socketserver.BaseRequestHandler):
    server: _Tunnel

    def handle(self) -> None:
        with subprocess.Popen(self.server.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as relay:
            threading.Thread(target=self._send, args=(relay.stdin,), daemon=True).start()
            try:
                while some := os.read(relay.stdout.fileno(), 65536):
                    self.request.sendall(some)
            except OSError:
                pass  # the client has gone
            finally:
                relay.kill()

    def _send(self, into) -> None:
        try:
            while some := self.request.recv(65536):
                into.write(some)
            into.close()
        except (OSError, ValueError):
            pass  # one side has gone: the other one ends with it


@pytest.fixture(scope="session")
def tunnel(node) -> Iterator[Callable[[str, int], int]]:
    """Gives a port of this machine's loopback that leads to one of a node's: `tunnel("gold1", 5432)`."""
    opened = []

    def open_tunnel(name: str, port: int) -> int:
        server = _Tunnel(node(name).backend.name, port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        opened.append(server)
        return server.server_address[1]

    yield open_tunnel
    for server in opened:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def run_unit_tests() -> Callable[..., None]:
    """Runs unit tests that need a server: `run_unit_tests("lake/sinks/test_x.py", LAKE_TEST_X="where it is")`."""

    def run(tests: str, **environment: str) -> None:
        root = Path(__file__).parent.parent
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-rs", "-p", "no:cacheprovider", f"tests/unit/{tests}"]
        done = subprocess.run(
            command, cwd=root, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
        assert " passed" in done.stdout

    return run


@pytest.fixture(scope="session")
def lake_ca() -> str:
    """The file of the authority that signs the deployed lake's certificates."""
    return str(Path(__file__).parent.parent / "build" / os.environ.get("LAKE_ENV", "test") / "pki" / "ca.crt")
