# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What webhook.py does on a node: proxies of its own beside the deployed one, clients, and a look at who used the CPU.

    python3 -c "$(cat webhook_node.py)"

Standard library only, as root. Each line of standard input is a command in JSON (`do` is a method of Node without
underscore, the rest its arguments), each line of standard output its answer. When standard input ends, by whatever end
of the program at its other side, everything that was made here is removed.
"""

from __future__ import annotations

import configparser
import contextlib
import http.client
import io
import itertools
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FOLDER = Path("/var/lib/lake-bench-webhook")  # where the outbox is too: on a tmpfs nothing would be synced
UNIT = "lake-bench-webhook"
UNITS = Path("/run/systemd/system")
DEPLOYED = "swift-proxy.service"
FILTER = "swift_webhook"
RELAY_CONF = "/etc/swift-webhook/relay.conf"
WRITERS = 8
BODY = os.urandom(4096)
PER_CONNECTION = 10  # so that connections spread over a proxy's workers
FIRST_PORT = 18085
PATIENCE = 60.0  # seconds for one request
SETTLE = 60.0  # seconds for a container to be known as empty
UNTIL = "2100-01-01T00:00:00Z"  # a run that is due then is recorded, and nobody works on it


class NodeError(Exception):
    """Something on this node is not as it must be; the message says what."""


def configure(text: str, port: int, changes: dict[str, str | None] | None) -> str:
    """A proxy's configuration from the deployed one: it listens on another port; the webhook's settings get CHANGES
    (None removes one), or the filter leaves the pipeline where CHANGES is None.

    Errors: NodeError where the deployed pipeline has no webhook.
    """
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    parser["DEFAULT"]["bind_port"] = str(port)
    pipeline = parser["pipeline:main"]["pipeline"].split()
    if FILTER not in pipeline:
        raise NodeError(f"the deployed pipeline has no {FILTER}")
    section = f"filter:{FILTER}"
    if changes is None:
        pipeline.remove(FILTER)
        parser.remove_section(section)
    else:
        for key, value in changes.items():
            parser.remove_option(section, key)
            if value is not None:
                parser.set(section, key, value)
    parser["pipeline:main"]["pipeline"] = " ".join(pipeline)
    out = io.StringIO()
    parser.write(out)
    return out.getvalue()


def unit_of(cgroup: str) -> str:
    """The service that a process belongs to, from its `/proc/<pid>/cgroup` (v1 or v2); empty where it is none."""
    match = re.search(r"/([^/\n]+\.service)$", cgroup, re.MULTILINE)
    return match[1] if match else ""


def threads(user: str) -> dict[tuple[str, str], int]:
    """CPU time in ns so far by (service, thread), for all processes of a user."""
    uid, found = pwd.getpwnam(user).pw_uid, {}
    for process in Path("/proc").iterdir():
        # A process may end while it is looked at.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if process.name.isdigit() and process.stat().st_uid == uid:
                unit = unit_of((process / "cgroup").read_text())
                for thread in (process / "task").iterdir():
                    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                        found[unit, thread.name] = int((thread / "schedstat").read_text().split()[0])
    return found


def run(*command: str) -> str:
    """What a command prints. Errors: NodeError."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NodeError(f"{shlex.join(command)} answered {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def free_ports(count: int) -> list[int]:
    """Ports on loopback where nobody listens."""
    ports = []
    for port in itertools.count(FIRST_PORT):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                trial.bind(("127.0.0.1", port))
                ports.append(port)
        if len(ports) == count:
            break
    return ports


def names_of(block: int) -> list[Iterator[str]]:
    """Names of objects without end for each writer; no two blocks or writers have one in common."""
    return [map(f"{block:04}-{writer}-{{}}".format, itertools.count()) for writer in range(WRITERS)]


class Writer(threading.Thread):
    """A client of one proxy: sends requests, one after the other, until there are none or the time is over.

    `sent` has the names that were sent, `ended` the monotonic time of the last answer. `problem`: what went wrong.
    """

    def __init__(
        self, method: str, port: int, path: str, headers: dict[str, str], names: Iterator[str], end: float
    ) -> None:
        super().__init__()
        self.method, self.port, self.path, self.headers, self.names, self.end = method, port, path, headers, names, end
        self.sent: list[str] = []
        self.ended = 0.0
        self.problem = ""

    def run(self) -> None:
        try:
            self._run()
        except (OSError, http.client.HTTPException) as error:
            self.problem = f"{self.method} {self.path}: {error!r}"

    def _run(self) -> None:
        expected, body = {"PUT": ((201,), BODY), "DELETE": ((204, 404), None)}[self.method]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        for name in self.names:
            if time.monotonic() >= self.end:
                break
            self.sent.append(name)
            connection.request(self.method, f"{self.path}/{name}", body, self.headers)
            answer = connection.getresponse()
            text = answer.read()
            self.ended = time.monotonic()
            if answer.status not in expected:
                self.problem = f"{self.method} {self.path}/{name} answered {answer.status}: {text[:200]!r}"
                break
            if len(self.sent) % PER_CONNECTION == 0:
                connection.close()  # the next request opens another one
        connection.close()


class Node:
    """The commands. A value that is returned is the answer."""

    def __init__(self) -> None:
        self._ports: dict[str, int] = {}
        self._receiver: subprocess.Popen[str] | None = None
        self._path = self._plain = ""
        self._headers: dict[str, str] = {}
        self._names: list[str] = []
        self._blocks = itertools.count()
        self._threads: dict[tuple[str, str], int] = {}

    def airflow(self, username: str, password: str, count: int) -> list[float]:
        """Seconds that the real api-server takes for a POST of a run, each; the runs are removed again."""
        conf = configparser.RawConfigParser()
        conf.read_string(Path(RELAY_CONF).read_text())
        url = urlsplit(conf["airflow"]["urls"].split()[0])
        context = ssl.create_default_context(cafile=conf["airflow"]["ca_file"])
        connection = http.client.HTTPSConnection(url.hostname or "", url.port, context=context, timeout=PATIENCE)
        headers = {"Content-Type": "application/json"}

        def call(method: str, path: str, body: Any = None, allowed: tuple[int, ...] = ()) -> Any:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status >= 300 and answer.status not in allowed:
                raise NodeError(f"Airflow answered {answer.status} to {method} {path}: {text[:300]!r}")
            return json.loads(text) if text else None

        log_in = call("POST", "/auth/token", {"username": username, "password": password})
        headers["Authorization"] = f"Bearer {log_in['access_token']}"
        runs = f"/api/v2/dags/{conf['airflow']['dag_id']}/dagRuns"
        event = {"swift_id": "17", "swift_container": "bench", "swift_user": "bench", "content_type": "text/plain"}
        seconds, made = [], []
        try:
            for _ in range(count):
                name = f"bench__{uuid.uuid4()}"
                made.append(name)
                run_ = {"logical_date": None, "run_after": UNTIL, "dag_run_id": name, "conf": event}
                begun = time.monotonic()
                call("POST", runs, run_)
                seconds.append(time.monotonic() - begun)
        finally:
            connection.close()  # whatever was on its way; the next request opens it again
            for name in made:
                call("DELETE", f"{runs}/{name}", allowed=(404,))
        return seconds

    def proxies(
        self, files: dict[str, str], variants: dict[str, dict[str, str | None] | None], waits: list[float]
    ) -> None:
        """Start a proxy per variant: name → changes of the webhook's settings (see configure), in which {folder} is
        that of the outbox, {receiver}, {silent} and {nobody} are ports: where somebody answers after one of WAITS, in
        seconds, where somebody listens, and where nobody does. files: what the proxies can import, and receiver.py."""
        self._remove_proxies()  # left over where an earlier run was killed here
        user = pwd.getpwnam(run("systemctl", "show", "--value", "--property=User", DEPLOYED))
        command = re.search(r"argv\[\]=(\S+) (\S+)", run("systemctl", "show", "--property=ExecStart", DEPLOYED))
        if not command:
            raise NodeError(f"{DEPLOYED} does not say what it starts")
        program, deployed = command.groups()
        *ports, receiver, silent, nobody = free_ports(len(variants) + 3)
        places = {"folder": str(FOLDER / "outbox"), "receiver": receiver, "silent": silent, "nobody": nobody}
        FOLDER.mkdir(mode=0o755)
        (FOLDER / "outbox").mkdir(mode=0o700)
        os.chown(FOLDER / "outbox", user.pw_uid, user.pw_gid)
        for name, text in files.items():
            (FOLDER / name).write_text(text)
        for (name, changes), port in zip(variants.items(), ports):  # noqa: B905 (Python 3.9)
            filled = changes and {key: value and value.format(**places) for key, value in changes.items()}
            handle = os.open(FOLDER / f"{name}.conf", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)  # has a password
            with open(handle, "w") as file:
                os.fchown(handle, 0, user.pw_gid)
                file.write(configure(Path(deployed).read_text(), port, filled))
        # The deployed unit with all that it says (limits, system calls that are looked at) and other settings.
        fragment = run("systemctl", "show", "--value", "--property=FragmentPath", DEPLOYED)
        shutil.copy(fragment, UNITS / f"{UNIT}@.service")
        own = UNITS / f"{UNIT}@.service.d"
        own.mkdir()
        own.joinpath("bench.conf").write_text(
            f"[Service]\nExecStart=\nExecStart={program} {FOLDER}/%i.conf\nRestart=no\nSlice=system.slice\n"
            f"Environment=PYTHONPATH={FOLDER}\nReadWritePaths={FOLDER}/outbox\n"
        )
        run("systemctl", "daemon-reload")
        program = str(FOLDER / "receiver.py")
        self._receiver = subprocess.Popen(
            [sys.executable, program, str(receiver), str(silent), *map(str, waits)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            user="nobody",
        )
        assert self._receiver.stdout is not None
        if not self._receiver.stdout.readline().startswith("ready"):
            raise NodeError("the receiver did not start")
        run("systemctl", "start", *(f"{UNIT}@{name}.service" for name in variants))
        self._ports = dict(zip(variants, ports))  # noqa: B905 (Python 3.9)

    def container(self, path: str, token: str, plain: str, webhook: str) -> None:
        """Make the container (its URL path) through the proxy WEBHOOK, with webhook on; what is in it from an earlier
        run goes, through the proxy PLAIN."""
        self._path, self._headers, self._plain = path, {"X-Auth-Token": token}, plain
        self._ask("PUT", webhook, path, {"X-Webhook": "on"})
        self._names = self._listed()
        self._empty()

    def put(self, variant: str, seconds: float) -> dict[str, float]:
        """Put objects for so many seconds. `puts`: how many; `seconds`: until the last answer."""
        block = next(self._blocks)
        begun = time.monotonic()
        writers = self._write("PUT", variant, names_of(block), begun + seconds)
        puts = sum(len(writer.sent) for writer in writers)
        return {"puts": puts, "seconds": max(writer.ended for writer in writers) - begun}

    def cpu(self, user: str) -> dict[str, float]:
        """CPU seconds of a user's processes since the last time this was asked, by service."""
        before, self._threads = self._threads, threads(user)
        used: dict[str, float] = {}
        for (unit, thread), now in self._threads.items():
            used[unit] = used.get(unit, 0.0) + (now - before.get((unit, thread), 0)) / 1e9
        return used

    def clear(self) -> list[str]:
        """Remove everything that this program made. Each part is tried, whatever becomes of the others; what could not
        be done."""
        problems = []
        for step in (self._remove_container, self._remove_proxies):
            try:
                step()
            except (NodeError, OSError, http.client.HTTPException) as error:
                problems.append(f"not removed: {error}")
        return problems

    def _write(self, method: str, variant: str, names: list[Iterator[str]], end: float) -> list[Writer]:
        port = self._ports[variant]
        writers = [Writer(method, port, self._path, self._headers, part, end) for part in names]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        if method == "PUT":
            self._names += [name for writer in writers for name in writer.sent]
        problems = [writer.problem for writer in writers if writer.problem]
        if problems:
            raise NodeError(problems[0])
        return writers

    def _ask(self, method: str, variant: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Errors: NodeError where the status is none of success, 404 or 409."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._ports[variant], timeout=PATIENCE)) as c:
            c.request(method, path, headers={**self._headers, **(headers or {})})
            answer = c.getresponse()
            text = answer.read()
        if answer.status >= 300 and answer.status not in (404, 409):
            raise NodeError(f"{method} {path} answered {answer.status}: {text[:200]!r}")
        return answer.status, text

    def _listed(self) -> list[str]:
        status, text = self._ask("GET", self._plain, f"{self._path}?limit=10000")
        return text.decode().split() if status == 200 else []

    def _empty(self) -> None:
        while self._names:
            names, self._names = self._names, []
            self._write("DELETE", self._plain, [iter(names[n::WRITERS]) for n in range(WRITERS)], float("inf"))
            self._names = self._listed() if len(names) >= 10000 else []

    def _remove_container(self) -> None:
        if not self._path:
            return
        self._empty()
        end = time.monotonic() + SETTLE
        while self._ask("DELETE", self._plain, self._path)[0] == 409:  # a listing that is behind
            if time.monotonic() > end:
                raise NodeError(f"{self._path} is not empty")
            time.sleep(1)

    def _remove_proxies(self) -> None:
        if self._receiver:
            self._receiver.kill()
            self._receiver.communicate()
        if FOLDER.exists() or UNITS.joinpath(f"{UNIT}@.service").exists():
            run("systemctl", "stop", f"{UNIT}@*.service")
            UNITS.joinpath(f"{UNIT}@.service").unlink(missing_ok=True)
            shutil.rmtree(UNITS / f"{UNIT}@.service.d", ignore_errors=True)
            run("systemctl", "daemon-reload")
            run("systemctl", "reset-failed", f"{UNIT}@*.service")
            if FOLDER.exists():
                shutil.rmtree(FOLDER)


def main() -> int:
    """Follow the commands."""
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)  # the end of standard input is the sign to clear up
    node = Node()
    try:
        for line in sys.stdin:
            command = json.loads(line)
            try:
                answer = {"answer": getattr(node, command.pop("do"))(**command)}
            except Exception as error:  # whatever it is, the other side must hear of it
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)
    finally:
        problems = node.clear()
    print(*problems, sep="\n", end="", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
