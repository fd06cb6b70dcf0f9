# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lake's walls, tried: ports against the table of flows, TLS of listeners, secrets where they must not be.

In short what `make walls` does at length (tests/walls).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/walls"))
from flows import OUTSIDE, Table  # noqa: E402
from leaks import look as look_for_secrets  # noqa: E402
from leaks import named, needles, secrets_of  # noqa: E402
from listeners import ask, wrong  # noqa: E402
from ports import listening_ports, look  # noqa: E402

ENVIRONMENT = os.environ.get("LAKE_ENV", "test")
PRINTED = ROOT / "build" / ENVIRONMENT / "ansible-output.log"
"""What Ansible printed, with --diff, from check mode on fresh nodes to the second run: tools/scenario writes it."""


@pytest.fixture(scope="module")
def table() -> Table:
    return Table.of(ENVIRONMENT)


@pytest.fixture(scope="module")
def wanted() -> dict[str, str]:
    """Texts of secrets, and their names."""
    found = needles(secrets_of(ENVIRONMENT))
    assert len(set(found.values())) >= 35
    return found


@pytest.fixture(scope="module")
def listening(table) -> set[int]:
    return listening_ports(table)


def test_ports_answer_whom_the_table_of_flows_names(table, listening):
    """From every node and from outside, at every address: what anything listens on anywhere, and a sample of others."""
    rows = [look(table, source, True, listening) for source in [OUTSIDE, *table.nodes]]
    assert [text for row in rows for text in row.differences] == []
    assert sum(row.let for row in rows) >= 80


def test_listeners_speak_tls_of_now_and_nothing_else(table):
    seen = ask(table, ENVIRONMENT)
    assert len(seen) >= 18
    assert [f"{one.place.node}:{one.port}: {text}" for one, answer in seen for text in wrong(answer)] == []


def test_no_secret_is_where_others_may_read(table, wanted):
    """Logs and journals, unit files, process lists, what anybody may read: on all nodes."""
    assert list(map(str, look_for_secrets(table, wanted))) == []


@pytest.mark.skipif(not PRINTED.exists(), reason="Ansible's output is kept by the scenarios; make walls makes its own")
def test_ansible_printed_no_secret(wanted):
    printed = PRINTED.read_text(errors="replace")
    if os.environ.get("REUSE") != "1":  # nodes that are there may have nothing to change
        assert "--- before" in printed and "+++ after" in printed, "differences of files are not shown"
    assert named(printed, wanted) == ()
