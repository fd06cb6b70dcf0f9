#!/opt/neocampus/mongodb/bin/python
# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Care for the member of a MongoDB replica set on this host, without harm to the set.

    mongod-member status     state of every member, as this one sees it
    mongod-member reload     serve the certificate that is on disk now; connections stay
    mongod-member restart    restart; never at the price of the majority; a primary hands over first

It authenticates as the cluster itself, with the key file, and so needs no password. Run it as root.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pymongo
import pymongo.errors

UNIT = "mongod.service"
PRIMARY, SECONDARY, ARBITER = 1, 2, 7  # https://www.mongodb.com/docs/manual/reference/replica-states/
NO_SET_YET = 94
PAUSE = 0.2


class MemberError(Exception):
    """What is in the way, and what to do about it."""


def key_of(text: str) -> str:
    """The current key in a key file's text: all of it without white space, or the first of a YAML list of keys."""
    return re.sub(r"\s", "", text.lstrip("- ").split("\n-")[0])


def is_stale(started: float, files: Iterable[Path]) -> bool:
    """Whether a file (or what a link points to) was changed after `started`, in seconds since the epoch."""
    return any(max(os.stat(file).st_ctime, os.lstat(file).st_ctime) > started for file in files)


def others_keep_majority(status: dict[str, Any]) -> bool:
    """Whether the others can elect a primary while this one restarts; True for one or two members, who never could."""
    members = status["members"]
    if len(members) < 3:
        return True
    healthy = [
        one
        for one in members
        if not one.get("self") and one["health"] == 1 and one["state"] in (PRIMARY, SECONDARY, ARBITER)
    ]
    return len(healthy) > len(members) // 2


def own_state(status: dict[str, Any]) -> int:
    """State of this host's member."""
    return next((one["state"] for one in status["members"] if one.get("self")), -1)


class Member:
    """The server on this host."""

    def __init__(self, port: int, key_file: Path, ca_file: Path, timeout: float) -> None:
        self.timeout = timeout
        self.client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            "localhost",
            port,
            directConnection=True,
            tls=True,
            tlsCAFile=str(ca_file),
            username="__system",
            password=key_of(key_file.read_text(encoding="ascii")),
            authSource="local",
            authMechanism="SCRAM-SHA-256",
            serverSelectionTimeoutMS=2000,
        )

    def command(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run a command of the database `admin`."""
        return self.client.admin.command(*args, **kwargs)

    def status(self) -> dict[str, Any] | None:
        """State of the set; None when this member belongs to none, or does not answer."""
        try:
            return self.command("replSetGetStatus")
        except pymongo.errors.ConnectionFailure:
            return None
        except pymongo.errors.OperationFailure as error:
            if error.code == NO_SET_YET:
                return None
            raise

    def wait(self, look: Callable[[], bool], what: str) -> None:
        """Until `look` is true; raises MemberError with `what` when that takes too long."""
        end = time.monotonic() + self.timeout
        while not self._try(look):
            if time.monotonic() > end:
                raise MemberError(f"waited {self.timeout:g} s for {what}")
            time.sleep(PAUSE)

    @staticmethod
    def _try(look: Callable[[], bool]) -> bool:
        try:
            return look()
        except pymongo.errors.AutoReconnect:
            return False

    def hand_over(self) -> None:
        """Have another primary, one that has every write."""
        try:
            self.command("replSetStepDown", 120, secondaryCatchUpPeriodSecs=60)
        except pymongo.errors.AutoReconnect:
            pass  # the connection may be closed; the wait below sees whether it worked
        self.wait(self._has_other_primary, "another member to become primary")

    def _has_other_primary(self) -> bool:
        hello = self.command("hello")
        return not hello["isWritablePrimary"] and "primary" in hello

    def is_whole(self, in_set: bool) -> bool:
        """Whether this member answers, and, in a set, serves as primary or secondary of a set that has a primary."""
        hello = self.command("hello")
        return not in_set or ("primary" in hello and (hello["isWritablePrimary"] or hello["secondary"]))


def started_at() -> float:
    """When the running server was started, in seconds since the epoch; 0 when none runs."""
    shown = subprocess.run(
        ["systemctl", "show", "--property=MainPID,ExecMainStartTimestampMonotonic", UNIT],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    properties = dict(line.split("=", 1) for line in shown.splitlines())
    if properties["MainPID"] == "0":
        return 0
    # The monotonic clock (microseconds) is unmoved by corrections of the time.
    return time.time() - time.monotonic() + int(properties["ExecMainStartTimestampMonotonic"]) / 1e6


def restart(member: Member, changed: Sequence[Path], leave_primary: bool) -> str:
    """Restart when it has to be; what was done, in a word and a reason."""
    if changed and not is_stale(started_at(), changed):
        return "kept: nothing changed since it was started"
    status = member.status()
    if status is not None:
        member.wait(
            lambda: others_keep_majority(member.command("replSetGetStatus")),
            "the others to be a healthy majority; a restart now would stop all writes: see `mongod-member status`",
        )
        if own_state(status) == PRIMARY and len(status["members"]) > 1:
            if leave_primary:
                return "primary: not restarted"
            member.hand_over()
    subprocess.run(["systemctl", "restart", UNIT], check=True)
    member.wait(lambda: member.is_whole(in_set=status is not None), f"{UNIT} to be back; see `journalctl -u {UNIT}`")
    return "restarted"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="mongod-member", description="Care for the MongoDB member on this host.")
    parser.add_argument("--port", type=int, default=27017)
    parser.add_argument("--key-file", type=Path, default=Path("/etc/mongodb/keyfile"))
    parser.add_argument("--ca-file", type=Path, default=Path("/etc/pki/lake/ca.crt"))
    parser.add_argument("--timeout", type=float, default=180, help="seconds to wait for each thing that takes time")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("status", help="state of every member, as this one sees it")
    actions.add_parser("reload", help="serve the certificate that is on disk now")
    restarting = actions.add_parser("restart", help="restart without harm to the set")
    restarting.add_argument("--leave-primary", action="store_true", help="do nothing on the primary, and say `primary`")
    restarting.add_argument(
        "--if-changed", type=Path, nargs="+", default=[], metavar="FILE", help="only if one was changed since the start"
    )
    options = parser.parse_args()
    try:
        member = Member(options.port, options.key_file, options.ca_file, options.timeout)
        if options.action == "status":
            status = member.status()
            if status is None:
                raise MemberError("this member does not answer, or belongs to no set")
            for one in status["members"]:
                print(
                    one["name"],
                    one["stateStr"],
                    "healthy" if one["health"] == 1 else one.get("lastHeartbeatMessage", "down"),
                )
        elif options.action == "reload":
            member.command("rotateCertificates", message="mongod-member reload")
        else:
            print(restart(member, options.if_changed, options.leave_primary))
    except (MemberError, OSError, subprocess.CalledProcessError, pymongo.errors.PyMongoError) as error:
        print(f"mongod-member: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
