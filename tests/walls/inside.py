# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of this machine in the network of a node: nothing is installed there, and nothing runs with its rights."""

from __future__ import annotations

import os
import subprocess

from flows import OUTSIDE, Table


class CommandFailed(Exception):
    """A command answered with another code than 0; the message has its output."""


def command_at(table: Table, source: str, command: list[str]) -> list[str]:
    """COMMAND, to be run in the network of a node, or of this machine. Errors: CommandFailed where that can't be."""
    if source == OUTSIDE:
        return command
    if os.geteuid() != 0:
        raise CommandFailed("only root may enter the networks of the nodes: run this as root")
    inspect = ["docker", "inspect", "--format", "{{.State.Pid}}", table.containers[source]]
    pid = run(inspect, 30).strip()
    if pid == "0":
        raise CommandFailed(f"{source} does not run: start the lake first (make nodes deploy)")
    return ["nsenter", "--target", pid, "--net", *command]


def run(command: list[str], seconds: float, given: str | None = None) -> str:
    """What COMMAND prints; GIVEN is its input. Errors: CommandFailed, also where it takes longer than SECONDS."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds, input=given, check=False
        )
    except FileNotFoundError as error:
        raise CommandFailed(
            f"{error.filename} is not on this machine: tools/scanners installs nmap and testssl.sh"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{' '.join(command[:8])} … took longer than {seconds:.0f} s") from error
    if done.returncode:
        raise CommandFailed(
            f"{' '.join(command[:8])} … answered {done.returncode}: {done.stdout[-500:]}{done.stderr[-1000:]}"
        )
    return done.stdout
