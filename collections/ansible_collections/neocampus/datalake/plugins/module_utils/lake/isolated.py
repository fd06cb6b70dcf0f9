# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a pipeline's steps in a process of their own (see steps), with limits, and takes from it nothing but records.

Whatever that process does (it crashes, hangs, wants too much memory, writes something else than records) fails the one
object. Only where the process cannot be had at all is it a StoreError: then the batch is tried again.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO

from . import wire
from .errors import InvalidInput, LakeError, ParseError, StoreError, present
from .parsers.report import KEPT, Options
from .pipelines import Declaration, Step, run_here
from .records import Record
from .steps import LOAD_SECONDS, PROTOCOL

PIECE = 64 * 1024
GRACE_SECONDS = 10.0
"""How long the process may take to say what it has to say, beyond the time that its work may take."""
TOLD = 1000
"""How many characters of the process's error output, the last ones, stand in a message."""
LOOK_SECONDS = 1.0
"""How often it is looked whether an object has taken too long."""


@dataclass(frozen=True)
class Limits:
    """What the process of a pipeline's steps may use: bytes of memory, and seconds of processor time for one object."""

    memory: int = 1024 * 1024 * 1024
    cpu: int = 600


class Process:
    """The other end of a connection to a process of steps. `close` ends it."""

    def __init__(self, connection: socket.socket, child: subprocess.Popen[bytes] | None = None, said: Any = None):
        self.connection = connection
        self._child = child
        self._said = said

    def last_words(self) -> str:
        """How the process ended, and the end of its error output, where that is known."""
        if self._child is None:
            return ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout=2)
        self._said.seek(0)
        text = self._said.read().decode("utf-8", "replace").strip()[-TOLD:]
        return f" (status {self._child.returncode}{': ' + text if text else ''})"

    def close(self) -> None:
        """Closes the connection, whereupon the process ends; where it is a child and does not, it is killed."""
        self.connection.close()
        if self._child is None:
            return
        try:
            self._child.wait(timeout=1)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
        self._said.close()


def spawn(python: str, folder: str, user: str | None = None) -> Process:
    """A process of steps as a child of this one, with the interpreter `python`: a clean environment, `folder` as its
    place for temporary files, and another `user` where one is given (only root can). It inherits no open file.

    Errors: StoreError.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    said = tempfile.TemporaryFile()
    identity: dict[str, Any] = {}
    if user is not None:
        import pwd

        entry = pwd.getpwnam(user)
        identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    try:
        child = subprocess.Popen(
            [python, "-I", "-m", f"{__package__}.steps"],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=said,
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": folder, "TMPDIR": folder},
            start_new_session=True,
            **identity,
        )
    except (OSError, subprocess.SubprocessError) as error:
        ours.close()
        said.close()
        raise StoreError(f"{python} cannot be started: {error}") from error
    finally:
        theirs.close()
    return Process(ours, child, said)


def call(path: str, release: str) -> Process:
    """A process of steps from the service that listens on the socket `path`, in the environment of a release.

    Errors: StoreError.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(GRACE_SECONDS)
        connection.connect(path)
        connection.sendall(wire.frame(b"p", json.dumps({"release": release}).encode()))
    except OSError as error:
        connection.close()
        raise StoreError(f"the service that runs projects' pipelines does not answer on {path}: {error}") from error
    return Process(connection)


class Steps:
    """The steps of one pipeline in a process, loaded and ready for one object after the other.

    Errors when it is made: LakeError where they cannot be loaded, with what the process printed; StoreError.
    """

    def __init__(self, process: Process, parser: Step, transforms: tuple[Step, ...], limits: Limits) -> None:
        self._process = process
        self._frames = wire.Frames()
        self._come: list[tuple[bytes, bytes]] = []
        self.is_usable = False
        functions = [{"function": step.name, "options": dict(step.options)} for step in transforms]
        load = {"protocol": PROTOCOL, "parser": parser.name, "transforms": functions}
        try:
            self._send(wire.frame(b"l", wire.dumps({**load, "memory": limits.memory, "cpu": limits.cpu})))
            kind, content = self._next(time.monotonic() + LOAD_SECONDS + GRACE_SECONDS)
            if kind != b"r":
                raise LakeError(_told(_end(content)))
        except BaseException:
            process.close()
            raise
        self.is_usable = True

    def close(self) -> None:
        """Ends the process."""
        self.is_usable = False
        self._process.close()

    def run(self, stream: BinaryIO, options: Options, check: Callable[[], None]) -> Iterator[Record]:
        """The records that the steps make of one object; rows that they leave out go to `options.report`.

        `check` is called all the while, and may raise to end it. Errors: ParseError and LakeError, of the object;
        whatever reading `stream` raises.
        """
        self.is_usable = False  # until all of this object's frames have come and gone
        connection = self._process.connection
        connection.setblocking(False)
        lines = _Lines(options)
        try:
            yield from self._run(connection, stream, options, lines, check)
            connection.setblocking(True)
            self.is_usable = True
            lines.finish()
        finally:
            if not self.is_usable:
                self.close()

    def _run(
        self, connection: socket.socket, stream: BinaryIO, options: Options, lines: _Lines, check: Callable[[], None]
    ) -> Iterator[Record]:
        outgoing = bytearray(wire.frame(b"h", wire.dumps(_plain(options))))
        whole = False
        while lines.end is None or outgoing:
            if lines.end is None and not whole and len(outgoing) < PIECE:
                data = stream.read(PIECE)
                whole = not data
                outgoing += wire.frame(b"d", data) if data else wire.frame(b"z")
            wanted = select.POLLOUT if outgoing else 0
            ready = _wait(connection, wanted | select.POLLIN, LOOK_SECONDS)
            check()
            if ready & select.POLLOUT:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # then reading says it, too
                    del outgoing[: connection.send(outgoing)]
            if ready & (select.POLLIN | select.POLLHUP | select.POLLERR):
                for kind, content in self._received(connection):
                    if kind == b"o":
                        yield from lines.records(content)
                    else:
                        lines.end = _end(content)
                        if not whole:
                            outgoing += wire.frame(b"z")
                            whole = True

    def _received(self, connection: socket.socket) -> Iterator[tuple[bytes, bytes]]:
        try:
            data = connection.recv(PIECE)
        except ConnectionResetError:
            data = b""
        if not data:
            raise LakeError(f"the process of the pipeline's steps ended{self._process.last_words()}")
        yield from self._frames.feed(data)

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # then reading says it, too
            self._process.connection.settimeout(GRACE_SECONDS)
            self._process.connection.sendall(data)

    def _next(self, until: float) -> tuple[bytes, bytes]:
        """The next frame. Errors: LakeError where none comes."""
        while not self._come:
            if not _wait(self._process.connection, select.POLLIN, max(0.0, until - time.monotonic())):
                raise LakeError("the pipeline's functions took too long to be loaded")
            self._come.extend(self._received(self._process.connection))
        return self._come.pop(0)


class _Lines:
    """The steps' output: lines, each a record or a word about them. Errors: ParseError, LakeError."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._held = bytearray()
        self._last: dict[str, Any] | None = None
        self.end: dict[str, Any] | None = None
        """How the process that wrote them ended."""

    def records(self, data: bytes) -> Iterator[Record]:
        self._held += data
        if len(self._held) > wire.MAX_LINE:
            raise LakeError(f"a record of the pipeline has over {wire.MAX_LINE} bytes")
        if b"\n" not in data:
            return
        *lines, rest = bytes(self._held).split(b"\n")
        self._held = bytearray(rest)
        for line in lines:
            try:
                said = wire.loads(line)
                if self._last is not None:
                    raise InvalidInput("something after the end")
                if isinstance(said, list):
                    yield wire.to_record(said)
                elif isinstance(said, dict) and set(said) == {"row"}:
                    number, message = said["row"]
                    if self._options.report.count < KEPT:
                        self._options.report.add(int(number), str(message))
                elif isinstance(said, dict) and ("done" in said or "failed" in said):
                    self._last = said
                else:
                    raise InvalidInput(f"neither a record nor a word about one: {line[:80]!r}")
            except (InvalidInput, ValueError, TypeError) as error:
                raise LakeError(f"the pipeline's steps write what is no record: {error}") from error

    def finish(self) -> None:
        last, end = self._last, present(self.end)
        if end.get("code") != 0 or last is None:
            raise LakeError(_told(end))
        left_out = last.get("done", last.get("rows"))
        if isinstance(left_out, int):
            self._options.report.count = max(left_out, self._options.report.count)
        if "failed" in last:
            message = str(last["failed"])[:TOLD]
            if last.get("fault"):
                raise LakeError(f"the pipeline failed: {message}{_printed(end)}")
            line = last.get("line")
            raise ParseError(message, line if isinstance(line, int) else None)


def _wait(connection: socket.socket, wanted: int, seconds: float) -> int:
    wait = select.poll()
    wait.register(connection, wanted)
    return sum(event for _end, event in wait.poll(int(seconds * 1000)))


def _end(content: bytes) -> dict[str, Any]:
    try:
        end = json.loads(content)
    except ValueError:
        end = None
    return end if isinstance(end, dict) else {"error": "the process of the pipeline's steps said nothing of use"}


def _told(end: Mapping[str, Any]) -> str:
    """How a process ended, for the object's log."""
    if "error" in end:
        what = str(end["error"])[:TOLD]
    elif end.get("signal") == signal.SIGXCPU:
        what = "the pipeline's steps used more processor time than an object may"
    elif end.get("signal"):
        try:
            name = signal.Signals(end["signal"]).name
        except (ValueError, TypeError):
            name = str(end["signal"])
        what = f"the process of the pipeline's steps was ended by {name}"
        if name == "SIGKILL":
            what += " (more memory than it may have is the usual reason)"
    else:
        what = f"the process of the pipeline's steps ended early, with status {end.get('code')}"
    return what + _printed(end)


def _printed(end: Mapping[str, Any]) -> str:
    text = str(end.get("stderr") or "").strip()
    return f"; its error output ends: {text[-TOLD:]}" if text else ""


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as they can be handed on; of the metadata, what cannot is left out as text."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        try:
            return wire.unpack(wire.pack(value))
        except InvalidInput:
            return str(value)

    metadata = options.get("metadata")
    if isinstance(metadata, Mapping):  # what was logged on the object is not the parser's, and may be long
        metadata = {key: value for key, value in metadata.items() if not key.endswith("_operations")}
    return {str(key): plain(value) for key, value in {**options, "metadata": metadata}.items()}


class Runner:
    """Runs the steps of declarations: those with an environment of their own in a process, the others here.

    `everything` runs all of them in a process. Use it as a context: at its end the processes are ended.
    `start` makes the process for a declaration.
    """

    def __init__(self, start: Callable[[Declaration], Process], limits: Limits, *, everything: bool = False) -> None:
        self._start = start
        self._limits = limits
        self._everything = everything
        self._running: dict[str, Steps] = {}

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for steps in self._running.values():
            steps.close()
        self._running.clear()

    def __call__(
        self, declaration: Declaration, stream: BinaryIO, options: Options, check: Callable[[], None]
    ) -> Iterator[Record]:
        if not declaration.environment and not self._everything:
            return run_here(declaration, stream, options, check)
        steps = self._running.get(declaration.name)
        if steps is None or not steps.is_usable:
            steps = Steps(self._start(declaration), declaration.parser, declaration.transforms, self._limits)
            self._running[declaration.name] = steps
        return steps.run(stream, options, check)


def by_service(path: str) -> Callable[[Declaration], Process]:
    """For Runner: processes from the service on the socket `path`."""
    return lambda declaration: call(path, os.path.basename(declaration.environment))


def by_child(folder: str) -> Callable[[Declaration], Process]:
    """For Runner: children of this process, with the declaration's own interpreter or else this one's."""

    def start(declaration: Declaration) -> Process:
        own = os.path.join(declaration.environment, "venv/bin/python") if declaration.environment else sys.executable
        return spawn(own, folder)

    return start
