# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks for the values of the lake's secrets where they must not be, on every node and in what Ansible printed.

    python tests/walls/leaks.py [--environment local] [--check-mode] [--markdown FILE]

On each node: as `nobody`, all files that anybody may read below /etc, /var, /opt, /srv, /home, /root, /run, /tmp and
/usr/local, the command lines and environments of all processes; as root, all logs, all unit files and drop-ins, and
what systemd shows of units. With `--check-mode`: the output of `site.yml --check --diff`, too. What it looks for goes
to the nodes by standard input: no secret gets into a command line or a file by this. Exit status 1 where one was found.
"""

from __future__ import annotations

import argparse
import base64
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import yaml
from flows import ROOT, Table
from inside import CommandFailed, run

SHORTEST = 16
"""Characters: what is shorter might stand somewhere by chance."""
SECONDS = 280.0
NOBODY = "setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs"
GREP = "grep -F -s -l -a -D skip -f -"
PLACES = {
    "readable by anybody": f"{NOBODY} {GREP} -r /etc /var /opt /srv /home /root /run /tmp /usr/local",
    "command lines and environments that anybody may read": (
        f"{NOBODY} sh -c '{GREP} /proc/[0-9]*/cmdline /proc/[0-9]*/environ'"
    ),
    "logs": f"{GREP} -r /var/log /run/log",
    "units and drop-ins": f"{GREP} -r /etc/systemd /run/systemd/system /usr/lib/systemd /lib/systemd",
}
"""What is looked through, by a command that names the files in which one of the lines of its input stands."""
STREAMS = {
    "journal": "journalctl --no-pager --quiet --output=export --all",
    "units as systemd shows them": "systemctl show --all --no-pager '*'",
    "process list": "ps -eo args",
}
"""What is looked through that is no file, by the command that prints it."""
CHECKED = "output of site.yml --check --diff"


@dataclass(frozen=True)
class Found:
    """Where the values of some secrets were seen."""

    node: str
    place: str
    file: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.node}: {self.place}: {self.file}: {', '.join(self.names)}"


def needles(secrets: Mapping[str, object]) -> dict[str, str]:
    """Texts to look for, each with the name of the secret: each line of it, as it is, in base64, and in a URL.

    Errors: ValueError for a secret that is too short to be looked for.
    """
    found = {}
    for name, value in secrets.items():
        if isinstance(value, dict):
            found.update({text: f"{name} ({of})" for text, of in needles(value).items()})
            continue
        for line in str(value).split():
            if len(line) < SHORTEST:
                raise ValueError(f"{name} has a line of {len(line)} characters: too short to be looked for")
            for text in {line, base64.b64encode(line.encode()).decode().rstrip("="), quote(line, safe="")}:
                found[text] = name
    return found


def secrets_of(environment: str) -> dict[str, object]:
    """The generated secrets of an environment. Errors: OSError."""
    read: dict[str, object] = yaml.safe_load((ROOT / "build" / environment / "secrets.yml").read_text())
    return read


def named(text: str, wanted: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the secrets whose values are in TEXT."""
    return tuple(sorted({name for value, name in wanted.items() if value in text}))


def look_at(table: Table, node: str, wanted: Mapping[str, str]) -> list[Found]:
    """What is found on a node. Errors: CommandFailed."""
    inside = ["docker", "exec", "--interactive", table.containers[node], "sh", "-c"]
    patterns = "".join(f"{text}\n" for text in wanted)
    found = []
    for place, command in PLACES.items():
        # grep says 1 where it finds nothing, and 2 where a file has gone or may not be read.
        for file in run([*inside, f"{command} || [ $? -le 2 ]"], SECONDS, patterns).splitlines():
            text = run([*inside, 'cat "$1" 2>/dev/null || true', "sh", file], SECONDS)
            found.append(Found(node, place, file, named(text, wanted) or ("no longer there",)))
    for place, command in STREAMS.items():
        if names := named(run([*inside, command], SECONDS), wanted):
            found.append(Found(node, place, command, names))
    return found


def look(table: Table, wanted: Mapping[str, str]) -> list[Found]:
    """What is found on all nodes. Errors: CommandFailed."""
    with ThreadPoolExecutor(2) as pool:
        return [one for some in pool.map(lambda node: look_at(table, node, wanted), table.nodes) for one in some]


def printed(environment: str) -> str:
    """What `site.yml --check --diff` prints. Errors: CommandFailed."""
    command = ["ansible-playbook", "-i", f"inventories/{environment}", "playbooks/site.yml", "--check", "--diff"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "ANSIBLE_FORCE_COLOR": "0"}
    )
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)} answered {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout + done.stderr


def markdown(table: Table, wanted: Mapping[str, str], found: Sequence[Found], looked_through: Sequence[str]) -> str:
    """A row for each place, and what was found."""
    secrets, nodes = len(set(wanted.values())), len(table.nodes)
    lines = [
        f"{secrets} secrets, each as it is, in base64 and in a URL: {len(wanted)} texts, on {nodes} nodes.",
        "",
        "| looked through | found |",
        "|---|---|",
        *(f"| {place} | {sum(one.place == place for one in found)} |" for place in looked_through),
    ]
    return "\n".join(lines + ["", *map(str, found)]).rstrip()


def main() -> int:
    """Look, print the table; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", choices=["local", "test"], default="local")
    parser.add_argument(
        "--check-mode", action="store_true", help="run site.yml --check --diff and look through that, too"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    arguments = parser.parse_args()
    table, wanted = Table.of(arguments.environment), needles(secrets_of(arguments.environment))
    places = [*PLACES, *STREAMS]
    try:
        found = look(table, wanted)
        if arguments.check_mode:
            places.append(CHECKED)
            if names := named(printed(arguments.environment), wanted):
                found.append(Found("controller", CHECKED, "standard output", names))
    except CommandFailed as error:
        print(f"FAILED: {error}")
        return 1
    text = markdown(table, wanted, found, places)
    print(text)
    if arguments.markdown:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        arguments.markdown.write_text(text + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
