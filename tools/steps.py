# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs long commands so that a person sees what is going on.

One line per thing begun, a sign of life, the log's end on failure.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
SIGN_OF_LIFE = 15.0  # seconds
TAIL = 80  # lines of the log that a failure shows
_HEADING = re.compile(r"^(PLAY|TASK|RUNNING HANDLER|INFO|WARNING|ERROR|==|--) ?\[?([^\]]*)")


class StepFailed(Exception):
    """A command of a step answered with another code than 0; the message says which, and where its log is."""


def clock(seconds: float) -> str:
    """Minutes and seconds: 75 → `1:15`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Steps:
    """A sequence of named steps with their times and logs."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.times: list[tuple[str, float]] = []
        self.started = time.monotonic()
        logs.mkdir(parents=True, exist_ok=True)

    def say(self, text: str) -> None:
        """A line with the time since the start."""
        print(f"[{clock(time.monotonic() - self.started):>6}] {text}", flush=True)

    def run(self, name: str, command: list[str], env: dict[str, str] | None = None) -> None:
        """Run COMMAND as the step NAME, its output to a log; StepFailed where it answers with another code than 0."""
        log = self.logs / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.log"
        self.say(f"== {name}")
        begun = time.monotonic()
        with log.open("w") as file:
            code = self._follow(command, {**os.environ, **(env or {})}, file)
        self.times.append((name, time.monotonic() - begun))
        if code:
            lines = log.read_text().splitlines()
            print(*lines[-TAIL:], sep="\n")
            raise StepFailed(f"{name}: {' '.join(command)} answered {code}; its whole output is in {log}")
        self.say(f"   {name}: done in {clock(self.times[-1][1])}")

    def _follow(self, command: list[str], env: dict[str, str], file: TextIO) -> int:
        """Run COMMAND, copy its output to FILE, show headings as they change and a sign of life; its exit code."""
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        ) as process:
            assert process.stdout is not None
            heading, shown, last, rest = "", "", time.monotonic(), b""
            selector = selectors.DefaultSelector()
            selector.register(process.stdout, selectors.EVENT_READ)
            with contextlib.closing(selector):
                while True:
                    if selector.select(timeout=1.0):
                        chunk = os.read(process.stdout.fileno(), 65536)
                        if not chunk:
                            break
                        *lines, rest = (rest + chunk).split(b"\n")
                        for raw in lines:
                            line = raw.decode(errors="replace")
                            file.write(line + "\n")
                            found = _HEADING.match(line)
                            if found:
                                heading = found[2].strip(" *") or heading
                                if found[1] in ("PLAY", "==") and heading != "RECAP":
                                    self.say(f"   {heading}")
                                    shown, last = heading, time.monotonic()
                        file.flush()
                    if time.monotonic() - last > SIGN_OF_LIFE:
                        self.say(f"     … {heading}" if heading != shown else "     …")
                        shown, last = heading, time.monotonic()
            file.write(rest.decode(errors="replace"))
            return process.wait()


def fail(error: Exception) -> None:
    """Say ERROR and end with 1."""
    print(f"\nFAILED: {error}", file=sys.stderr, flush=True)
    sys.exit(1)
