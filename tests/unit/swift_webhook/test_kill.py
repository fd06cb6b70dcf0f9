# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real processes, killed at many moments, and a disk that loses what was not synced."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import eventlet
import neocampus_lake
import pytest
from swift_webhook import outbox
from swift_webhook.committer import GroupCommitter
from swift_webhook.outbox import SegmentWriter, read_segment, segments, undelivered
from swift_webhook.relay import Relay, Settings, State

# Forks a process of its own for each line it gets, so that none has to import everything again. It tells the process's
# number, and its end.
NURSERY = """
import json, os, sys

def write(text):
    os.write(1, text.encode() + b"\\n")

def writer(folder):
    committer = GroupCommitter(lambda: SegmentWriter(folder, segment_bytes=4000))

    def client(number):
        while True:
            name = str(number)
            event = Event(name, "put", "AUTH_p", "p", "c", name, "", "", "", 0, "", "1", "")
            committer.commit(event.to_line().encode())
            write(f"A {name}")
            number += clients

    clients = 5
    eventlet.hubs.use_hub()
    for thread in [eventlet.spawn(client, number) for number in range(clients)]:
        thread.wait()

def relay(config):
    return cli.relay(["--config", config])

if sys.argv[1] == "writer":
    import eventlet
    from neocampus_lake.events import Event
    from swift_webhook.committer import GroupCommitter
    from swift_webhook.outbox import SegmentWriter
else:
    from swift_webhook import cli

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        status = 70
        try:
            status = globals()[sys.argv[1]](json.loads(line))
        finally:
            os._exit(status)
    write(f"P {child}")
    write(f"E {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
"""


class Nursery:
    """Processes that can be killed, one at a time."""

    def __init__(self, kind: str, modules: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", NURSERY, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": str(modules)},
        )
        self.pid = 0

    def start(self, argument: Path) -> None:
        self.process.stdin.write(json.dumps(str(argument)) + "\n")
        self.process.stdin.flush()
        kind, pid = self.process.stdout.readline().split()
        assert kind == "P"
        self.pid = int(pid)

    def end(self, number: signal.Signals | None = signal.SIGKILL) -> tuple[list[str], int]:
        """Send a signal, or wait for its own end. Returns what it acknowledged, and its exit status."""
        if number is not None:
            os.kill(self.pid, number)
        limit = threading.Timer(10, os.kill, (self.pid, signal.SIGKILL))
        limit.start()
        said = []
        while (words := self.process.stdout.readline().split())[0] != "E":
            said.append(words[1])
        limit.cancel()
        self.pid = 0
        return said, int(words[1])

    def close(self) -> None:
        self.process.stdin.close()
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.process.wait(5)
        self.process.stdout.close()


@pytest.fixture
def nursery(tmp_path):
    """Makes nurseries that import from this tree."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "neocampus_lake").symlink_to(Path(neocampus_lake.__file__).parent)
    (modules / "swift_webhook").symlink_to(Path(outbox.__file__).parent)
    made: list[Nursery] = []

    def make(kind: str) -> Nursery:
        made.append(Nursery(kind, modules))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path, nursery):
    chance, writer = random.Random(1), nursery("writer")
    total = torn = 0
    for number in range(40):
        folder = tmp_path / f"outbox{number}"
        folder.mkdir()
        writer.start(folder)
        time.sleep(chance.uniform(0, 0.08))
        acknowledged, status = writer.end()
        assert status == -signal.SIGKILL
        found = []
        for name in segments(folder):
            chunk = read_segment(folder / name)
            assert chunk.complete
            assert chunk.damaged == []
            torn += chunk.end != (folder / name).stat().st_size
            found += [event.object_name for event, _end in chunk.events]
        assert set(acknowledged) <= set(found)
        assert len(found) == len(set(found))
        total += len(acknowledged)
    assert total > 100


class FakeAirflow(ThreadingHTTPServer):
    """Keeps each start of a run; some it keeps and does not answer, some it refuses, some take a while."""

    daemon_threads = True

    def __init__(self, chance: random.Random | None, delay: float = 0.02) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.chance, self.delay = chance, delay
        self.lock = threading.Lock()
        self.starts: list[tuple[str, list[dict]]] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def handle_error(self, request, client_address):
        """Of those who were killed."""

    @property
    def runs(self) -> dict[str, list[dict]]:
        """The events of each run, in the order in which the runs were started first."""
        found: dict[str, list[dict]] = {}
        with self.lock:
            for run, events in self.starts:
                found.setdefault(run, events)
        return found


class Handler(BaseHTTPRequestHandler):
    server: FakeAirflow

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/auth/token":
            return self.answer(201, {"access_token": "t"})
        with self.server.lock:
            fate = self.server.chance.random() if self.server.chance else 0.5
        if fate < 0.1:
            return self.answer(503, {})
        if fate > 0.3:
            time.sleep((fate - 0.3) * self.server.delay)
        with self.server.lock:
            known = any(run == body["dag_run_id"] for run, _events in self.server.starts)
            self.server.starts.append((body["dag_run_id"], body["conf"]["events"]))
        if fate > 0.85:
            return None  # the connection ends without an answer
        return self.answer(409 if known else 200, {})

    def do_GET(self):
        return self.answer(200, {"state": "success"})

    def answer(self, status: int, body: dict) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def airflow():
    """Makes Airflows."""
    made = []

    def make(*arguments) -> FakeAirflow:
        made.append(FakeAirflow(*arguments))
        return made[-1]

    yield make
    for each in made:
        each.shutdown()
        each.server_close()


@pytest.fixture
def configure(folders):
    def configure(server: FakeAirflow) -> Path:
        path = folders / "relay.conf"
        path.write_text(
            f"[relay]\noutbox = {folders}/outbox\nstate = {folders}/state\ndead_letter = {folders}/dead\n"
            f"delivered = {folders}/delivered\nmax_events = 4\nquiet = 0.002\nlinger = 0.005\n"
            "runs_per_second = 1000\nburst = 1000\nbackoff = 0.002\nmax_backoff = 0.01\n"
            f"[airflow]\nurls = http://127.0.0.1:{server.server_port}\n"
            "username = relay\npassword = p\nca_file = /none\n"
        )
        return path

    return configure


def until(condition, seconds: float = 10.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_a_killed_relay_delivers_everything_in_order(folders, nursery, airflow, configure, make_event):
    chance = random.Random(2)
    server, relay = airflow(random.Random(3)), nursery("relay")
    config = configure(server)
    writers = [SegmentWriter(folders / "outbox") for _ in range(2)]
    put: list[str] = []

    def feed() -> None:
        number = len(put)
        event = make_event(number, object_name=f"o{number % 3}", timestamp=f"{time.time():016.5f}")
        writer = chance.choice(writers)
        writer.append([event.to_line().encode()])
        if chance.random() < 0.2:
            writer.close()
        put.append(event.id)

    for _round in range(35):
        relay.start(config)
        ends = time.monotonic() + chance.uniform(0, 0.12)
        for _ in range(5):
            feed()
        time.sleep(max(0.0, ends - time.monotonic()))
        _said, status = relay.end()
        assert status == -signal.SIGKILL
    relay.start(config)
    feed()
    for writer in writers:
        writer.close()
    until(lambda: {event["id"] for events in server.runs.values() for event in events} == set(put))
    until(lambda: not State.load(folders / "state" / "state.json").batches)  # the last answer arrived
    assert relay.end(signal.SIGTERM)[1] == 0
    assert segments(folders / "outbox") == []

    runs = server.runs
    assert all(runs[run] == events for run, events in server.starts)  # a batch that is sent again is the same
    assert len(server.starts) > len(runs)
    delivered = [event for events in runs.values() for event in events]
    assert len(delivered) == len(put)  # no event in two runs
    for name in ("o0", "o1", "o2"):
        numbers = [int(event["id"], 16) for event in delivered if event["swift_id"] == name]
        assert numbers == sorted(numbers)
    assert sorted(event.id for event in undelivered(folders / "delivered", {})) == sorted(put)


def test_two_relays_never_work_at_once(folders, nursery, airflow, configure, make_event):
    server = airflow(None, 1.0)
    config = configure(server)
    SegmentWriter(folders / "outbox").append([make_event(1).to_line().encode()])
    first, second = nursery("relay"), nursery("relay")
    first.start(config)
    until(lambda: server.starts)
    for _twice in range(2):
        second.start(config)
        assert second.end(None)[1] == 1
    first.end()
    second.start(config)  # a killed one leaves no lock
    SegmentWriter(folders / "outbox").append([make_event(2).to_line().encode()])
    until(lambda: len(server.runs) == 2)
    assert second.end(signal.SIGTERM)[1] == 0


class Disk:
    """What a loss of power would leave of a folder: names as of the folder's last sync, content as of each file's."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder = folder
        self.names: dict[str, int] = {}
        self.content: dict[int, bytes] = {}
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._synced(getattr(os, name)))

    def _synced(self, real):
        def sync(fd: int) -> None:
            there = {entry.name: entry.inode() for entry in os.scandir(self.folder)}
            written = {inode: (self.folder / name).read_bytes() for name, inode in there.items()}
            real(fd)
            inode = os.fstat(fd).st_ino
            if inode == self.folder.stat().st_ino:
                self.names = there
            elif inode in written:
                self.content[inode] = written[inode]

        return sync

    def left(self) -> dict[str, bytes]:
        return {name: self.content.get(inode, b"") for name, inode in self.names.items()}


def test_what_is_acknowledged_outlives_a_loss_of_power(tmp_path, make_event, monkeypatch):
    disk = Disk(tmp_path, monkeypatch)
    committer = GroupCommitter(lambda: SegmentWriter(tmp_path, segment_bytes=2000))

    def client(start: int) -> None:
        for number in range(start, start + 10):
            line = make_event(number).to_line().encode()
            committer.commit(line)
            assert any(line in content for content in disk.left().values())

    clients = [eventlet.spawn(client, start) for start in range(0, 50, 10)]
    for each in clients:
        each.wait()
    assert len(segments(tmp_path)) > 3
    assert len(list(undelivered(tmp_path, {}))) == 50


def test_what_a_batch_consists_of_outlives_a_loss_of_power_before_it_is_sent(folders, make_event, monkeypatch):
    disk = Disk(folders / "state", monkeypatch)
    sent = []

    class Airflow:
        def start(self, run, conf):
            assert json.loads(disk.left()["state.json"])["batches"] == [conf["events"]]
            sent.append(run)
            return True

        def ended(self, run):
            return True

    relay = Relay(
        Settings(folders / "outbox", folders / "state", folders / "dead", folders / "delivered", max_events=2),
        Airflow(),
    )
    SegmentWriter(folders / "outbox").append([make_event(number).to_line().encode() for number in range(6)])
    for _ in range(3):
        assert relay.collect()
        relay.compose()
        relay.deliver()
    assert len(set(sent)) == 3
