# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/bad-input.md says is what tests/e2e/bad_input.py declares, and what the library says of the same files."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest
from neocampus_lake import explain
from neocampus_lake.content_types import HEAD_BYTES
from neocampus_lake.pipelines import Router, load_declarations

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from bad_input import ARCHIVES, KINDS, tables  # noqa: E402

ROUTER = Router(load_declarations())


def test_the_tables_are_those_of_the_list():
    text = (ROOT / "docs/bad-input.md").read_text()
    assert f"<!-- cases -->\n{tables()}\n<!-- end of cases -->" in text, "run tools/bad_input_table"


def test_each_says_what_becomes_of_it_under_a_name_of_its_own():
    cases = [case for kind in KINDS for case in kind.cases]
    assert len({case.name for case in cases}) == len(cases)
    assert [case.name for case in cases if bool(case.fails) == bool(case.becomes)] == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not ARCHIVES], ids=lambda kind: kind.title)
def test_the_library_says_so(kind):
    """What fails in a store, or while members are put, is said by a lake only."""
    for case in kind.cases:
        if "store refused" in case.fails:
            continue
        content = case.make()
        document = explain.document_of(case.name, content[:HEAD_BYTES], size=len(content), metadata=case.metadata)
        told = explain.explain(document, io.BytesIO(content), ROUTER, limit=100_000)
        problem = re.sub(r"(swift_project|swift_container) '[^']*'", r"\1 …", told["problem"] or "")
        assert problem == case.fails, case.name
        if not case.fails:
            assert tuple((item["line"], item["message"]) for item in told["left_out"]["items"]) == case.left_out
