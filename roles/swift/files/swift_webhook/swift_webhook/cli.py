# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands: `swift-webhook-relay` (the service) and `swift-webhook` (how does it stand; send set-aside batches
again)."""

from __future__ import annotations

import argparse
import configparser
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neocampus_lake.errors import InvalidInput, LakeError
from neocampus_lake.events import Event

from . import outbox
from .airflow import Airflow
from .relay import STATE_FILE, STATUS_FILE, Relay, Settings, State

DEFAULT_CONFIG = "/etc/swift-webhook/relay.conf"


def load(path: str) -> tuple[Settings, dict[str, str]]:
    """The relay's settings, and those of Airflow. Errors: InvalidInput, naming the setting."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with open(path) as file:
            parser.read_file(file)
        relay, airflow = dict(parser["relay"]), dict(parser["airflow"])
        known = {"outbox": Path, "state": Path, "dead_letter": Path, "max_events": int, "burst": int}
        settings = Settings(**{name: known.get(name, float)(value) for name, value in relay.items()})
        for name in ("urls", "username", "password", "ca_file"):
            if not airflow.get(name):
                raise InvalidInput(f"{path}: [airflow] {name} is missing")
    except (OSError, KeyError, TypeError, ValueError, configparser.Error) as error:
        raise InvalidInput(f"{path}: {error!s}") from error
    return settings, airflow


def relay(argv: Sequence[str] | None = None) -> int:
    """The service. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="swift-webhook-relay", description="Carries events from the outbox to Airflow."
    )
    parser.add_argument("--config", default=DEFAULT_CONFIG)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings, airflow = load(arguments.config)
        service = Relay(
            settings,
            Airflow(
                airflow["urls"].split(),
                airflow["username"],
                airflow["password"],
                ca_file=airflow["ca_file"],
                dag_id=airflow.get("dag_id", "new_input"),
            ),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        service.run()
    except (LakeError, OSError) as error:
        logging.critical("%s", error)
        return 1
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """`swift-webhook status`, `swift-webhook requeue`. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="swift-webhook", description="The webhook's outbox on this host.")
    parser.add_argument("--config", default=DEFAULT_CONFIG)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("status", help="what waits, since when, what was delivered")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument("--max-age", type=float, metavar="SECONDS", help="exit with 1 where an event waits longer")
    command = commands.add_parser(
        "requeue", help="put batches that were set aside into the outbox again, and remove their files"
    )
    command.add_argument("files", nargs="+", type=Path, metavar="FILE")
    arguments = parser.parse_args(argv)
    try:
        settings, _airflow = load(arguments.config)
        if arguments.command == "requeue":
            for file in arguments.files:
                print(f"{file}: {requeue(settings, file)} events put into the outbox again")
            return 0
        facts = status(settings)
    except (LakeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(facts, indent=1))
    else:
        for name, value in facts.items():
            print(f"{name.replace('_', ' '):<15} {value}")
    return int(arguments.max_age is not None and facts["oldest_seconds"] > arguments.max_age)


def status(settings: Settings) -> dict[str, Any]:
    """How the webhook stands on this host. Errors: OSError.

    depth: events not delivered, of which `in_batches` are under way; oldest_seconds: since the oldest of them was
    put (0: none waits);
    bytes: of the outbox; delivered, retried, set_aside: events, sendings, events since the state was made;
    dead_letters: files that wait for somebody; error: the last answer, while Airflow does not take batches.
    """
    state = State.load(settings.state / STATE_FILE)
    under_way = [Event.from_payload(payload) for batch in state.batches for payload in batch]
    waiting = list(outbox.undelivered(settings.outbox, state.after if under_way else state.positions))
    times = [float(event.timestamp.partition("_")[0] or 0) for event in under_way + waiting]
    note: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        note = json.loads((settings.state / STATUS_FILE).read_text())
    return {
        "depth": len(times),
        "in_batches": len(under_way),
        "oldest_seconds": round(max(0.0, time.time() - min(times)), 1) if times else 0,
        "bytes": outbox.size(settings.outbox),
        "delivered": state.delivered,
        "retried": state.retried,
        "set_aside": state.refused,
        "dead_letters": sum(name.endswith(".json") for name in os.listdir(settings.dead_letter)),
        "error": note.get("error", ""),
    }


def requeue(settings: Settings, file: Path) -> int:
    """Put a set-aside batch into the outbox again and remove its file. Returns the number of events.

    Errors: InvalidInput where the file holds no events (a damaged line can only be read by a person), StoreError,
    OSError.
    """
    try:
        events = [Event.from_payload(payload) for payload in json.loads(file.read_text())["events"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{file} holds no events: {error!r}") from error
    writer = outbox.SegmentWriter(settings.outbox)
    writer.append([event.to_line().encode("ascii") for event in events])
    writer.close()
    file.unlink()
    return len(events)
