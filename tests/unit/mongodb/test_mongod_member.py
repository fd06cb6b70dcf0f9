# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""mongod-member: when a member may restart, and what comes before."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/mongodb/files/mongod_member.py"
spec = importlib.util.spec_from_file_location("mongod_member", PROGRAM)
mongod_member = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mongod_member)

PRIMARY, SECONDARY, STARTUP2, DOWN = 1, 2, 5, 8


def status(own, *others):
    """Answer of replSetGetStatus: state of this member and of the others."""
    members = [{"state": own, "health": 1, "self": True}] + [
        {"state": one, "health": int(one != DOWN)} for one in others
    ]
    return {"members": members}


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        (status(SECONDARY, PRIMARY, SECONDARY), True),
        (status(SECONDARY, PRIMARY, DOWN), False),
        (status(SECONDARY, PRIMARY, STARTUP2), False),
        (status(PRIMARY, SECONDARY, SECONDARY, SECONDARY, DOWN), True),
        (status(PRIMARY, SECONDARY, SECONDARY, DOWN, DOWN), False),
        (status(PRIMARY, SECONDARY, SECONDARY, DOWN), False),
        (status(PRIMARY), True),
        (status(PRIMARY, DOWN), True),
    ],
)
def test_others_keep_the_majority(state, kept):
    assert mongod_member.others_keep_majority(state) is kept


def test_stale_is_a_file_changed_after_the_start(tmp_path):
    binary, link = tmp_path / "binary", tmp_path / "link"
    binary.write_text("")
    link.symlink_to(binary)
    changed = os.stat(binary).st_ctime
    assert mongod_member.is_stale(changed - 10, [link])
    assert not mongod_member.is_stale(changed + 10, [link])


def test_the_first_of_several_keys_is_the_current_one():
    assert mongod_member.key_of("abc\ndef\n") == "abcdef"
    assert mongod_member.key_of("- new\n- old\n") == "new"


class FakeMember(mongod_member.Member):
    """A member whose set is given; hands over and restarts on paper."""

    def __init__(self, state):
        self.state, self.timeout, self.handed_over = state, 0, False

    def command(self, name, *args, **kwargs):
        if name == "replSetGetStatus":
            return self.state
        return {"isWritablePrimary": False, "secondary": True, "primary": "b:27017"}

    def status(self):
        return self.state

    def hand_over(self):
        self.handed_over = True


@pytest.fixture
def restarts(monkeypatch):
    """The commands that were run, instead of running them."""
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, **options: commands.append(command))
    return commands


def test_a_secondary_restarts_at_once(restarts):
    assert mongod_member.restart(FakeMember(status(SECONDARY, PRIMARY, SECONDARY)), [], True) == "restarted"
    assert restarts == [["systemctl", "restart", "mongod.service"]]


def test_a_primary_is_left_when_asked(restarts):
    assert mongod_member.restart(FakeMember(status(PRIMARY, SECONDARY, SECONDARY)), [], True).startswith("primary")
    assert restarts == []


def test_a_primary_hands_over_first(restarts):
    member = FakeMember(status(PRIMARY, SECONDARY, SECONDARY))
    assert mongod_member.restart(member, [], False) == "restarted"
    assert member.handed_over and restarts


def test_no_restart_at_the_price_of_the_majority(restarts):
    with pytest.raises(mongod_member.MemberError, match="a healthy majority"):
        mongod_member.restart(FakeMember(status(SECONDARY, PRIMARY, DOWN)), [], False)
    assert restarts == []


def test_a_member_without_set_just_restarts(restarts):
    assert mongod_member.restart(FakeMember(None), [], True) == "restarted"


def test_nothing_changed_nothing_restarted(restarts, monkeypatch, tmp_path):
    monkeypatch.setattr(mongod_member, "started_at", lambda: os.stat(tmp_path).st_ctime + 10)
    assert mongod_member.restart(FakeMember(status(SECONDARY, PRIMARY, SECONDARY)), [tmp_path], True).startswith("kept")
    assert restarts == []
