# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process in which a pipeline's steps run when not in the lake's own: `python -I -m neocampus_lake.steps`.

It has one connection, a stream socket on standard input, and serves one pipeline on it. Frames (see wire) that it gets:

    p   {"release": name}, only with `launch FOLDER`: go on in the environment of that release
    l   {"protocol", "parser", "transforms", "memory", "cpu"}: load the functions, within these limits
    h   an object begins: the options of the parser
    d   a piece of the object's content
    z   that was all of it

Frames that it sends: `r` the functions are there; `o` a piece of the steps' output; `e` an object is over:
`{"code", "signal", "stderr"}`, or what was asked for cannot be done: `{"error", "stderr"}`.

The functions are loaded once; each object is processed in a process forked from there, so that a crash, a hang or an
overrun of memory is that object's own. The object's content is the fork's standard input; its output (lines: records,
`{"row": [line, message]}` for rows left out, at the end `{"done": …}` or `{"failed": …}`) has a descriptor of its own;
what it prints goes to its standard error, of which the end is reported.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from . import wire
from .errors import LakeError, ParseError
from .parsers.report import KEPT, Options, RowErrors
from .pipelines import Step

PROTOCOL = 1
LOAD_SECONDS = 60
"""How long the functions may take to be loaded."""
TAIL = 4000
"""How many bytes of the error output are kept, the last ones."""
PIECE = 64 * 1024
HELD = 1024 * 1024
FILES = 256
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def main() -> int:
    """Serves the connection on standard input until its other end closes it."""
    connection = socket.socket(fileno=os.dup(0))
    connection.setblocking(True)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        if sys.argv[1:2] == ["launch"] and len(sys.argv) == 3:
            return _launch(connection, sys.argv[2])
        return _Server(connection).serve()
    return 0


def _launch(connection: socket.socket, folder: str) -> int:
    """Goes on in the environment of the release that the first frame names."""
    kind, content = _receive(connection)
    release = json.loads(content).get("release") if kind == b"p" else None
    if not isinstance(release, str) or not _RELEASE.fullmatch(release):
        return _refuse(connection, f"{release!r:.80} is not the name of a release")
    python = os.path.join(folder, release, "venv/bin/python")
    if not os.access(python, os.X_OK):
        return _refuse(connection, f"{python} is not there: deploy the pipeline again")
    os.execv(python, [python, "-I", "-m", "neocampus_lake.steps"])  # noqa: S606 (no shell; the path is checked)


def _refuse(connection: socket.socket, message: str) -> int:
    connection.sendall(wire.frame(b"e", json.dumps({"error": message, "stderr": ""}).encode()))
    return 1


def _receive(connection: socket.socket) -> tuple[bytes, bytes]:
    """The next frame, and not a byte more: who comes after reads the rest. (b"", b"") at the end."""
    frames = wire.Frames()
    head = connection.recv(5, socket.MSG_WAITALL)
    if len(head) < 5:
        return b"", b""
    rest = connection.recv(int.from_bytes(head[1:], "big"), socket.MSG_WAITALL)
    return next(frames.feed(head + rest), (b"", b""))


class _Inbox:
    """The frames that come on the connection, in order."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._frames = wire.Frames()
        self._come: deque[tuple[bytes, bytes]] = deque()

    def next(self) -> tuple[bytes, bytes]:
        """The next frame; waits for it. BrokenPipeError: the other end is gone."""
        while not self._come:
            self.fill()
        return self._come.popleft()

    def waiting(self) -> tuple[bytes, bytes] | None:
        """The next frame if it is here."""
        return self._come.popleft() if self._come else None

    def fill(self) -> None:
        """Reads what has come. BrokenPipeError: the other end is gone."""
        data = self.connection.recv(PIECE)
        if not data:
            raise BrokenPipeError("the other end is gone")
        self._come.extend(self._frames.feed(data))


class _Server:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._inbox = _Inbox(connection)
        self._parser: Callable[..., Iterable[Any]] | None = None
        self._transforms: list[tuple[Callable[..., Iterable[Any]], dict[str, Any]]] = []
        self._cpu = 0

    def serve(self) -> int:
        while True:
            kind, content = self._inbox.next()
            try:
                given = wire.loads(content)
                if kind == b"l":
                    self._load(given)
                    self._connection.sendall(wire.frame(b"r"))
                elif kind == b"h" and self._parser:
                    _Object(self._inbox, self._cpu, partial(self._run, given)).relay()
                else:
                    return _refuse(self._connection, f"a frame {kind!r} is not expected now")
            except LakeError as error:
                return _refuse(self._connection, str(error))

    def _load(self, given: dict[str, Any]) -> None:
        """Loads the functions; what they print, and how they fail, is in the error."""
        if given.get("protocol") != PROTOCOL:
            raise LakeError(
                "the lake's library in the pipeline's environment is another than that of the lake: bring the"
                " environments of pipelines up to date (lake-pipelines refresh)"
            )
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_NOFILE, FILES)
        if given.get("memory"):
            _limit(resource.RLIMIT_DATA, given["memory"])
        self._cpu = given.get("cpu") or 0
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(LOAD_SECONDS)
        with tempfile.TemporaryFile() as said:
            kept = os.dup(2)
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            try:
                self._parser = Step(given["parser"]).load()
                self._transforms = [
                    (Step(step["function"]).load(), step["options"]) for step in given.get("transforms", [])
                ]
            except BaseException as error:  # whatever a package does when it is imported
                sys.stdout.flush()
                tail = _tail_of(said)
                what = str(error) if isinstance(error, LakeError) else f"{type(error).__name__}: {error}"
                raise LakeError(what + (f"; it printed: {tail}" if tail else "")) from None
            finally:
                sys.stdout.flush()  # what is held would be printed by each fork
                os.dup2(kept, 2)
                os.dup2(kept, 1)
                os.close(kept)
                signal.alarm(0)

    def _run(self, given: dict[str, Any], out: Any) -> None:
        """In the fork: reads standard input, writes records."""
        options = Options(given)
        options.report = report = _Report(out)
        try:
            records: Iterable[Any] = self._parser(sys.stdin.buffer, options)  # type: ignore[misc]
            for transform, its in self._transforms:
                records = transform(records, its)
            for record in records:
                out.write(wire.dumps(wire.from_record(record)) + b"\n")
            end = {"done": report.count}
        except ParseError as error:
            end = {"failed": error.message, "line": error.line, "rows": report.count}  # type: ignore[dict-item]
        except LakeError as error:
            end = {"failed": str(error), "line": None, "rows": report.count}  # type: ignore[dict-item]
        except BaseException as error:  # a fault in the package's code: told, with where it is on standard error
            traceback.print_exc()
            what = f"{type(error).__name__}: {error}"
            end = {"failed": what[:500], "fault": True, "rows": report.count}  # type: ignore[dict-item]
        out.write(wire.dumps(end) + b"\n")
        out.flush()


class _Report(RowErrors):
    """Hands on the first rows that were left out."""

    def __init__(self, out: Any) -> None:
        super().__init__()
        self._out = out

    def add(self, line: int, message: str) -> None:
        super().add(line, message)
        if self.count <= KEPT:
            self._out.write(wire.dumps({"row": [int(line), str(message)[:300]]}) + b"\n")


class _Object:
    """One object on its way through a fork: what comes on the connection goes to it, what it makes goes back."""

    def __init__(self, inbox: _Inbox, cpu: int, run: Callable[[Any], None]) -> None:
        self._inbox = inbox
        self._connection = inbox.connection
        self._cpu = cpu
        self._run = run
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._tail = bytearray()
        self._whole = False
        self._stdin: int | None = None
        self._open: set[int] = set()

    def relay(self) -> None:
        """Until the fork has ended. BrokenPipeError: the other end is gone."""
        folder = tempfile.mkdtemp(prefix="object-")
        (in_read, in_write), (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            self._become(folder, in_read, out_write, err_write)
        for end in (in_read, out_write, err_write):
            os.close(end)
        process = os.pidfd_open(pid)
        self._stdin, self._open = in_write, {in_write, out_read, err_read}
        for end in self._open:
            os.set_blocking(end, False)
        self._connection.setblocking(False)
        status = None
        try:
            self._sort()
            while not self._step(process, out_read, err_read):
                pass
            _kill(pid)  # what it may have started
            status = os.waitpid(pid, 0)[1]
            self._take(out_read, err_read)
        finally:
            if status is None:
                _kill(pid)
                os.waitpid(pid, 0)
            for end in (*self._open, process):
                os.close(end)
            self._connection.setblocking(True)
            shutil.rmtree(folder, ignore_errors=True)
        code, killed = (None, os.WTERMSIG(status)) if os.WIFSIGNALED(status) else (os.WEXITSTATUS(status), None)
        told = {"code": code, "signal": killed, "stderr": _text(self._tail)}
        self._connection.sendall(bytes(self._outgoing) + wire.frame(b"e", json.dumps(told).encode()))
        while not self._whole:  # the rest of the object, which nobody reads
            self._whole = self._inbox.next()[0] == b"z"

    def _become(self, folder: str, in_read: int, out_write: int, err_write: int) -> None:
        """The fork: its own descriptors, folder and limits, and nothing of the connection."""
        code = 70
        try:
            os.setpgid(0, 0)
            out = os.dup(out_write)
            os.dup2(in_read, 0)
            os.dup2(err_write, 1)
            os.dup2(err_write, 2)
            os.closerange(3, out)
            os.closerange(out + 1, FILES)
            os.chdir(folder)
            os.environ["TMPDIR"] = os.environ["HOME"] = tempfile.tempdir = folder
            if self._cpu:
                resource.setrlimit(resource.RLIMIT_CPU, (self._cpu, self._cpu + 1))  # SIGXCPU, then SIGKILL
            sys.stdin = open(0, encoding="utf-8", closefd=False)
            sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
            sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
            with open(out, "wb", PIECE) as stream:
                self._run(stream)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _step(self, process: int, out_read: int, err_read: int) -> bool:
        """Waits for something to be possible, and does it; whether the fork has ended."""
        wait = select.poll()
        wanted = select.POLLRDHUP | (select.POLLOUT if self._outgoing else 0)
        if len(self._incoming) < HELD and not self._whole:
            wanted |= select.POLLIN
        wait.register(self._connection, wanted)
        wait.register(process, select.POLLIN)
        if self._stdin is not None and (self._incoming or self._whole):
            wait.register(self._stdin, select.POLLOUT)
        if len(self._outgoing) < HELD:
            for end in self._open & {out_read, err_read}:
                wait.register(end, select.POLLIN)
        ready = dict(wait.poll())
        connection = ready.get(self._connection.fileno(), 0)
        if connection & (select.POLLHUP | select.POLLRDHUP | select.POLLERR):
            raise BrokenPipeError("the other end is gone")
        if connection & select.POLLIN:
            self._inbox.fill()
            self._sort()
        if connection & select.POLLOUT:
            del self._outgoing[: self._connection.send(self._outgoing)]
        if self._stdin in ready:
            self._feed()
        if out_read in ready:
            self._read(out_read, self._output)
        if err_read in ready:
            self._read(err_read, self._error)
        return process in ready

    def _sort(self) -> None:
        """Takes the pieces of the object that have come."""
        while not self._whole and (come := self._inbox.waiting()):
            kind, content = come
            if kind == b"z":
                self._whole = True
            elif kind == b"d" and self._stdin is not None:
                self._incoming += content

    def _feed(self) -> None:
        """Writes to the fork's standard input, and closes it after the last piece or when nobody reads it."""
        end = self._stdin
        if end is None:
            return
        try:
            if self._incoming:
                del self._incoming[: os.write(end, self._incoming[:PIECE])]
            done = self._whole and not self._incoming
        except BrokenPipeError:
            self._incoming.clear()
            done = True
        if done:
            self._open.discard(end)
            os.close(end)
            self._stdin = None

    def _read(self, end: int, take: Callable[[bytes], None]) -> bool:
        """Takes what is there; whether there may be more."""
        try:
            data = os.read(end, PIECE)
        except BlockingIOError:
            return False
        if not data:
            self._open.discard(end)
            os.close(end)
            return False
        take(data)
        return True

    def _take(self, *ends: int) -> None:
        """What the fork left behind in its pipes."""
        for end, take in zip(ends, (self._output, self._error)):  # noqa: B905 (3.9)
            while end in self._open and self._read(end, take):
                pass

    def _output(self, data: bytes) -> None:
        self._outgoing += wire.frame(b"o", data)

    def _error(self, data: bytes) -> None:
        self._tail += data
        del self._tail[:-TAIL]


def _too_long(_signal: int, _frame: Any) -> None:
    raise LakeError(f"its functions took longer than {LOAD_SECONDS} s to be loaded")


def _limit(what: int, most: int) -> None:
    """Sets a limit, or leaves one that is lower already."""
    _soft, hard = resource.getrlimit(what)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _tail_of(file: Any) -> str:
    file.seek(0, os.SEEK_END)
    file.seek(max(0, file.tell() - TAIL))
    return _text(file.read())


def _text(data: bytes | bytearray) -> str:
    return bytes(data).decode("utf-8", "replace").strip()


if __name__ == "__main__":
    raise SystemExit(main())
