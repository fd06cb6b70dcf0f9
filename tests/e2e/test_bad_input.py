# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile and broken files of every kind at once, a good one between those of each: each bad one is told, and hurts
nothing else.

The files and what is said of them are declared in bad_input.py; docs/bad-input.md shows them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from neocampus_lake.client import LakeClient

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tools")]
from bad_input import KINDS, MARK, SAMPLES, Bad, Kind  # noqa: E402
from gold_reading import Reading  # noqa: E402

PREFIX = {"local": "", "test": "test-"}[os.environ.get("LAKE_ENV", "test")]
WORKERS = ("process1", "process2")
NODES = ("edge1", "data1", "data2", "data3", *WORKERS, "gold1")
PATIENCE = 120.0
"""Seconds within which all files have to be processed."""

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.title.lower().replace(" ", "-"))


@dataclass
class Stored:
    """A file in the lake, with its document once it was processed. `case` is None of the good one."""

    container: str
    content: bytes
    case: Bad | None
    document: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.document["swift_object_id"])

    @property
    def processed(self) -> bool:
        return bool(self.document["successful_operations"] or self.document["failed_operations"])


def on(node: str, command: str) -> str:
    """What a command on a node prints."""
    done = subprocess.run(
        ["docker", "exec", PREFIX + node, "sh", "-c", command], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def services() -> dict[str, str]:
    """Processes and numbers of restarts of what works on objects, by worker: where one dies, these differ."""
    ask = "systemctl show --property=Id,ActiveState,MainPID,NRestarts airflow-worker.service"
    return {worker: on(worker, ask) for worker in WORKERS}


@pytest.fixture(scope="module")
def api(member) -> LakeClient:
    client = LakeClient(member.url, ca_file=member.env["OS_CACERT"])
    client.log_in(member.env["OS_USERNAME"], member.env["OS_PASSWORD"], member.env["OS_PROJECT_NAME"])
    return client


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    """The workers, before they get anything bad."""
    return services()


@pytest.fixture(scope="module")
def stored(api, before) -> dict[str, list[Stored]]:
    """All files, by kind: each kind in a container of its own, by one request, the good file in their middle."""
    mark = uuid.uuid4().hex[:8]
    found = {}
    for number, kind in enumerate(KINDS):
        cases: list[Bad | None] = [*kind.cases]
        cases.insert(len(cases) // 2, None)
        files = [
            (case.name, case.make()) if case else (kind.neighbour, (SAMPLES / kind.neighbour).read_bytes())
            for case in cases
        ]
        metadata = [case.metadata if case else {} for case in cases]
        container = f"e2e-bad-{mark}-{number}"
        answers = api.insert_many(container, files, metadata)
        assert [answer["status"] for answer in answers] == [201] * len(files), answers
        found[kind.title] = [
            Stored(container, content, case, answer["object"])
            for (_name, content), case, answer in zip(files, cases, answers, strict=True)
        ]
    waiting = [one for some in found.values() for one in some]
    end = time.monotonic() + PATIENCE
    while waiting:
        for container in {one.container for one in waiting}:
            documents = {document["swift_object_id"]: document for document in api.list(container)}
            for one in waiting:
                one.document = documents.get(one.id, one.document)
        waiting = [one for one in waiting if not one.processed]
        assert time.monotonic() < end, f"not processed: {[one.case and one.case.name for one in waiting]}"
        time.sleep(0.5)
    return found


def said(document: dict[str, Any]) -> dict[str, Any]:
    """What a document says of its last operation, in the words of `Bad`, without names of containers and the like."""
    good, bad = document["successful_operations"], document["failed_operations"]
    if bad:
        message = re.sub(r"(swift_project|swift_container) '[^']*'|(rows in) \w+", r"\1\2 …", bad[-1]["message"])
        return {"fails": message, "becomes": "", "left_out": (), "skipped": {}}
    done = good[-1]
    return {
        "fails": "",
        "becomes": done["message"],
        "left_out": tuple((error["line"], error["message"]) for error in done.get("errors", ())),
        "skipped": {one["kind"]: one["count"] for one in done.get("skipped", ())},
    }


@each_kind
def test_each_bad_file_says_what_is_wrong(stored, kind: Kind):
    found = {one.case.name: said(one.document) for one in stored[kind.title] if one.case}
    assert found == {
        case.name: {
            "fails": case.fails,
            "becomes": case.becomes,
            "left_out": case.left_out,
            "skipped": dict(case.skipped),
        }
        for case in kind.cases
    }


@each_kind
def test_the_good_file_between_them_is_whole_in_gold(api, stored, kind: Kind):
    [good] = [one for one in stored[kind.title] if one.case is None]
    assert good.document["failed_operations"] == []
    reading = Reading(api, good.container, good.id)
    assert {what: getattr(reading, what)() for what in kind.gold} == kind.gold


@each_kind
def test_their_bytes_are_what_was_put(api, stored, kind: Kind):
    for one in stored[kind.title]:
        with api.data(one.container, one.id) as stream:
            assert stream.read() == one.content, one.document["original_object_name"]


@each_kind
def test_what_failed_is_not_in_gold(api, stored, kind: Kind):
    """Neither by what its document says, nor by what records in the stores say of where they come from."""
    container = stored[kind.title][0].container
    failed = {one.id for one in stored[kind.title] if one.document["failed_operations"]}
    assert {object_id for object_id in failed if api.gold(container, object_id)} == set()
    origins = {document["lake"]["object"] for document in api.documents(container)}
    for measurement in api.measurements(container):
        origins |= {point["lake_origin"]["object"] for point in api.points(container, measurement, origin=True)}
    for table in api.tables(container):
        origins |= {row["lake_origin"]["object"] for row in api.rows(container, table, origin=True)}
    for name in [shown["name"] for shown in api.shown_objects(container)]:
        origins |= {image["object_id"] for image in api.images(container, name)}
    assert failed & origins == set()


def test_archives_in_archives_have_an_end(api, stored):
    [outer] = [one for one in stored["Archives"] if one.case and one.case.name == "nested.zip"]
    object_id, depth = outer.id, 0
    while True:
        document = api.wait_processed(outer.container, object_id, PATIENCE)
        if document["failed_operations"]:
            break
        [place] = api.gold(outer.container, object_id)
        object_id, depth = place["links"][0].rpartition("/")[2], depth + 1
    assert depth == 3
    assert said(document)["fails"] == "an archive in 3 archives: no deeper than 3 is opened"


def test_nothing_in_them_was_executed_and_nothing_left_its_place(stored):
    """Statements, code and names of members in them would make a file of this name on a node."""
    look = f"find /tmp /var/tmp /etc /root /var/lib/postgresql -xdev -name '{MARK}*' 2>/dev/null || true"
    assert {node: found for node in NODES if (found := on(node, look))} == {}


def test_the_workers_are_the_same_processes_and_go_on(api, before, stored):
    after = services()
    assert after == before and all("ActiveState=active" in state for state in after.values())
    container = next(iter(stored.values()))[0].container
    document = api.insert(container, SAMPLES / "reading.json")
    document = api.wait_processed(container, document["swift_object_id"], PATIENCE)
    assert document["failed_operations"] == []
    assert Reading(api, container, document["swift_object_id"]).points() == 1
