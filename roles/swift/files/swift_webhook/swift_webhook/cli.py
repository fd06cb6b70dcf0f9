# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands: `swift-webhook-relay` (the service) and `swift-webhook` (an administrator's: look, pause, send
again)."""

from __future__ import annotations

import argparse
import configparser
import contextlib
import heapq
import itertools
import json
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from neocampus_lake.errors import InvalidInput, LakeError
from neocampus_lake.events import Event

from . import outbox
from .airflow import Airflow
from .relay import PAUSE_FILE, STATE_FILE, STATUS_FILE, Relay, Settings, State, event_time, write_whole

DEFAULT_CONFIG = "/etc/swift-webhook/relay.conf"
_PATHS = ("outbox", "state", "dead_letter", "delivered")
_INTEGERS = ("max_events", "burst", "runs_under_way", "max_bytes", "keep_bytes", "metrics_port")
_TOGETHER = 500  # events that are put into the outbox with one sync


def load(path: str) -> tuple[Settings, dict[str, str]]:
    """The relay's settings, and those of Airflow. Errors: InvalidInput, naming the setting."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with open(path) as file:
            parser.read_file(file)
        relay, airflow = dict(parser["relay"]), dict(parser["airflow"])
        known: dict[str, Callable[[str], Any]] = {**dict.fromkeys(_PATHS, Path), **dict.fromkeys(_INTEGERS, int)}
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
    """`swift-webhook`. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="swift-webhook", description="The webhook's outbox on this host.")
    parser.add_argument("--config", default=DEFAULT_CONFIG)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("status", help="what waits, since when, what was delivered")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument("--max-age", type=float, metavar="SECONDS", help="exit with 1 where an event waits longer")
    command.set_defaults(run=_status)
    command = commands.add_parser("list", help="the events that wait, as JSON lines")
    command.add_argument("--limit", type=int, metavar="N", help="no more than so many")
    command.set_defaults(run=_list)
    command = commands.add_parser("pause", help="send nothing until `resume`, also after a restart; events are kept")
    command.set_defaults(run=_pause)
    command = commands.add_parser("resume", help="end the pause")
    command.set_defaults(run=_resume)
    command = commands.add_parser(
        "requeue", help="put batches that were set aside into the outbox again, and remove their files"
    )
    command.add_argument("files", nargs="+", type=Path, metavar="FILE")
    command.set_defaults(run=_requeue)
    command = commands.add_parser(
        "replay", help="send events again that were delivered, as new events; those that all given options mean"
    )
    command.add_argument("--from", type=iso_time, dest="start", metavar="TIME", help="ISO 8601 (UTC), inclusive")
    command.add_argument("--to", type=iso_time, dest="end", metavar="TIME", help="ISO 8601 (UTC), exclusive")
    command.add_argument("--project", metavar="ID")
    command.add_argument("--container", metavar="NAME")
    command.add_argument("--object", metavar="NAME")
    command.add_argument("--all", action="store_true", help="all that is kept")
    command.add_argument("--dry-run", action="store_true", help="only list them, as JSON lines")
    command.set_defaults(run=_replay)
    arguments = parser.parse_args(argv)
    try:
        settings, _airflow = load(arguments.config)
        return int(arguments.run(settings, arguments))
    except (LakeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


def _status(settings: Settings, arguments: argparse.Namespace) -> int:
    facts = status(settings)
    if arguments.json:
        print(json.dumps(facts, indent=1))
    else:
        for name, value in facts.items():
            print(f"{name.replace('_', ' '):<15} {value}")
    return int(arguments.max_age is not None and facts["oldest_seconds"] > arguments.max_age)


def _list(settings: Settings, arguments: argparse.Namespace) -> int:
    under_way, after = _under_way(settings)
    _print(itertools.islice(itertools.chain(under_way, outbox.undelivered(settings.outbox, after)), arguments.limit))
    return 0


def _pause(settings: Settings, _arguments: argparse.Namespace) -> int:
    write_whole(settings.state / PAUSE_FILE, "", mode=0o644)
    print("paused: events are kept, and sent after swift-webhook resume")
    return 0


def _resume(settings: Settings, _arguments: argparse.Namespace) -> int:
    (settings.state / PAUSE_FILE).unlink(missing_ok=True)
    outbox.sync_directory(settings.state)
    print("resumed")
    return 0


def _requeue(settings: Settings, arguments: argparse.Namespace) -> int:
    for file in arguments.files:
        print(f"{file}: {requeue(settings, file)} events put into the outbox again")
    return 0


def _replay(settings: Settings, arguments: argparse.Namespace) -> int:
    wanted = {"project_id": arguments.project, "container": arguments.container, "object_name": arguments.object}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    if not (wanted or arguments.all or arguments.start is not None or arguments.end is not None):
        raise InvalidInput("which events? Give a time, a project, a container, an object, or --all")
    events = (
        event
        for event in delivered(settings)
        if (arguments.start is None or event_time(event) >= arguments.start)
        and (arguments.end is None or event_time(event) < arguments.end)
        and all(getattr(event, name) == value for name, value in wanted.items())
    )
    if arguments.dry_run:
        _print(events)
    else:
        print(f"{replay(settings, events)} events put into the outbox again")
    return 0


def iso_time(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 time; UTC where it does not say."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _print(events: Iterable[Event]) -> None:
    for event in events:
        print(json.dumps(event.to_payload()))


def _under_way(settings: Settings) -> tuple[list[Event], dict[str, int]]:
    """Events of the batches under way, and the positions in the outbox behind them."""
    state = State.load(settings.state / STATE_FILE)
    events = [Event.from_payload(payload) for batch in state.batches for payload in batch]
    return events, state.after if events else state.positions


def status(settings: Settings) -> dict[str, Any]:
    """How the webhook stands on this host. Errors: OSError.

    depth: events not delivered, of which `in_batches` are under way; oldest_seconds: for how long the oldest of them
    waits (0: none waits);
    bytes: of the outbox; delivered, batches, retried, set_aside: events, batches, sendings, events since the state was
    made; last_success: when a batch arrived, in seconds since the epoch (0: never);
    dead_letters: files that wait for somebody; paused: by an administrator;
    error: the last answer, while Airflow does not take batches.
    """
    state = State.load(settings.state / STATE_FILE)
    under_way, after = _under_way(settings)
    times = [event_time(event) for event in itertools.chain(under_way, outbox.undelivered(settings.outbox, after))]
    note: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        note = json.loads((settings.state / STATUS_FILE).read_text())
    return {
        "depth": len(times),
        "in_batches": len(under_way),
        "oldest_seconds": round(max(0.0, time.time() - max(min(times), outbox.marked(settings.outbox))), 1)
        if times
        else 0,
        "bytes": outbox.size(settings.outbox),
        "delivered": state.delivered,
        "batches": state.runs,
        "retried": state.retried,
        "set_aside": state.refused,
        "dead_letters": sum(name.endswith(".json") for name in os.listdir(settings.dead_letter)),
        "last_success": round(state.last_success, 3),
        "paused": (settings.state / PAUSE_FILE).exists(),
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
    _put(settings, events)
    file.unlink()
    return len(events)


def delivered(settings: Settings) -> Iterator[Event]:
    """Every event that was delivered and is kept, by time, each segment in its own order. Events that were set aside
    are among them. Errors: OSError."""
    positions = State.load(settings.state / STATE_FILE).positions
    open_still = [name for name in outbox.segments(settings.outbox) if positions.get(name)]
    kept = outbox.segments(settings.delivered)  # later: what is moved meanwhile is in both
    sources = [_events(settings.delivered / name) for name in kept]
    sources += [
        _events(settings.outbox / name, settings.delivered / name, positions[name])
        for name in open_still
        if name not in kept
    ]
    return heapq.merge(*sources, key=event_time)


def _events(path: Path, moved: Path | None = None, end: int | None = None) -> Iterator[Event]:
    """Events of a segment before an offset; `moved` is where it may be meanwhile."""
    offset = 0
    while end is None or offset < end:
        try:
            chunk = outbox.read_segment(path, offset)
        except FileNotFoundError:
            if moved is None:
                return  # too old by now
            path, moved = moved, None
            continue
        yield from (event for event, line_end in chunk.events if end is None or line_end <= end)
        if chunk.end == offset:
            return
        offset = chunk.end


def replay(settings: Settings, events: Iterable[Event]) -> int:
    """Put events into the outbox as new ones: with another id, so that they start a run of their own. Returns their
    number.

    Errors: StoreError where the outbox is full, OSError; some are in it then.
    """
    fresh = (replace(event, id=uuid.uuid4().hex) for event in events)
    return _put(settings, fresh)


def _put(settings: Settings, events: Iterable[Event]) -> int:
    """Put events into the outbox, as the proxy does. Returns their number."""
    writer = outbox.SegmentWriter(settings.outbox, max_bytes=settings.max_bytes)
    lines = (event.to_line().encode("ascii") for event in events)
    count = 0
    while group := list(itertools.islice(lines, _TOGETHER)):
        writer.append(group)
        count += len(group)
    writer.close()
    return count
