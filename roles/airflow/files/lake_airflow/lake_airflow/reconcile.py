# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what Swift has with what the documents say, and repair or report what disagrees.

``check_data_to_process`` does a bounded part of it each time, and goes on the next time: where it stands in each
container is in ``stats``.``reconciliation``. The command ``lake-airflow-reconcile`` does all of it at once.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from neocampus_lake.documents import operation, utc
from neocampus_lake.errors import LakeError, NotFound, StoreError
from neocampus_lake.metadata import MetadataStore
from neocampus_lake.processing import RunInfo
from neocampus_lake.reconciliation import KINDS, Finding, Listed, Page, compare, is_due, to_payload

from lake_airflow import catch_up, stores, swift

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.collection import Collection

    from lake_airflow.swift import Swift

log = logging.getLogger(__name__)

PAGE = 1000  # names in one page of a listing
REPAIRS = catch_up.CLAIM  # disagreements that one check takes on: no more than what it starts from the list
COUNTED = 100_000  # unprocessed and pending objects of one container that the command takes on
AWAY = 3  # after so many containers that Swift does not give, it is taken to be away
EXAMPLES = 20  # names of each kind in a report
PIPELINE = "reconciliation"
WHAT = {
    "lost": "the object is not in Swift any more, and no event says that it was deleted",
    "never came": "the object never came to Swift: insert it again",
}


@dataclass(frozen=True)
class Limits:
    """How much of it one check does, and from which age on something is wrong."""

    pages: int
    grace: timedelta
    every: timedelta
    unprocessed: timedelta
    pending: timedelta

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Limits:
        """As ``lake.json`` has them."""
        given = config["reconciliation"]
        return cls(
            pages=given["pages"],
            grace=timedelta(minutes=given["grace_minutes"]),
            every=timedelta(hours=given["full_hours"]),
            unprocessed=timedelta(minutes=given["unprocessed_minutes"]),
            pending=timedelta(minutes=config["pending_minutes"]),
        )


@dataclass
class Walk:
    """The way through one container, ``known`` in the registry: up to ``marker``, and what was seen so far."""

    known: Mapping[str, str]
    started: datetime
    seen: dict[str, int]
    marker: str | None = ""
    checked: datetime | None = None
    objects: int = 0
    documents: int = 0
    young: int = 0
    pages: int = 0
    found: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    documents_found: set[str] = field(default_factory=set)

    def add(self, findings: Iterable[Finding]) -> None:
        """Count disagreements, one per document."""
        for finding in findings:
            if finding.document:
                if _id(finding) in self.documents_found:
                    continue
                self.documents_found.add(_id(finding))
            self.found[finding.kind] += 1
            if len(self.examples[finding.kind]) < EXAMPLES:
                self.examples[finding.kind].append(finding.name)

    def report(self) -> dict[str, Any]:
        """The walk as the command prints it."""
        return {
            "project_id": self.known["project_id"],
            "container": self.known["container"],
            "objects": self.objects,
            "documents": self.documents,
            "too_new": self.young,
            "found": dict(self.found),
            "examples": dict(self.examples),
        }


class Reconciler:
    """Finds what disagrees, and repairs it unless ``dry_run``. Repairing twice does no harm."""

    def __init__(
        self,
        client: MongoClient,
        objects: Swift,
        limits: Limits,
        run: RunInfo,
        *,
        dry_run: bool = False,
        now: datetime | None = None,
    ) -> None:
        self._client = client
        self._metadata = MetadataStore(client)
        self._objects = objects
        self._limits = limits
        self._run = run
        self._dry_run = dry_run
        self._now = utc(now or datetime.now(UTC))

    @property
    def _states(self) -> Collection:
        return self._client["stats"]["reconciliation"]

    def unprocessed(self, known: Mapping[str, str], limit: int) -> list[Finding]:
        """Objects of a container on which nothing was ever logged: their event or its run was lost. Needs no Swift."""
        before = self._now - self._limits.unprocessed
        found = self._metadata.unprocessed(known["store"], before, limit)
        return [Finding("unprocessed", document["swift_object_name"], None, document) for document in found]

    def pending(self, known: Mapping[str, str], limit: int) -> list[Finding]:
        """Documents of a container that a crash between document and object, or object and event, left pending."""
        findings = []
        for document in self._metadata.left_pending(known["store"], self._now - self._limits.pending, limit):
            name = document["swift_object_name"]
            there = self._look(known, name)
            findings.append(Finding("pending" if there else "never came", name, there, document))
        return findings

    def step(self, walk: Walk) -> int:
        """Compare and repair the next page of a walk, whose marker is None at the end.

        Returns how many disagreements it had, with those that were none when Swift was asked for the object.
        """
        assert walk.marker is not None
        known = walk.known
        try:
            listing = self._objects.listing(known["project_id"], known["container"], walk.marker, PAGE)
        except NotFound:  # the container is gone, and with it all of its objects
            listing = []
        until = listing[-1].name if listing else None
        documents = self._metadata.by_name(known["store"], walk.marker, until, PAGE)
        limits = {"grace": self._limits.grace, "pending": self._limits.pending}
        page = compare(listing, documents, limit=PAGE, now=self._now, **limits)
        count = len(page.findings)
        self._confirm(known, page)
        self.repair(known, page.findings)
        walk.pages += 1
        walk.objects += page.objects
        walk.documents += page.documents
        walk.young += page.young
        walk.marker = page.marker
        walk.add(page.findings)
        return count

    def _confirm(self, known: Mapping[str, str], page: Page) -> None:
        """A listing may be behind: what it lacks is only lost where the object itself is not there."""
        page.findings = [
            finding for finding in page.findings if finding.kind != "lost" or not self._look(known, finding.name)
        ]

    def _look(self, known: Mapping[str, str], name: str) -> Listed | None:
        try:
            return self._objects.head(known["project_id"], known["container"], name)
        except NotFound:
            return None

    def repair(self, known: Mapping[str, str], findings: Sequence[Finding]) -> None:
        """What KINDS says about each kind, with a few calls for all of them."""
        if self._dry_run or not findings:
            return
        store = known["store"]
        gone = [finding for finding in findings if finding.kind in WHAT]
        there = [finding for finding in findings if finding.kind not in WHAT]
        # The list first: a crash in between lists an object once more, never not at all.
        catch_up.put(
            catch_up.to_do(self._client),
            [to_payload(finding, known["project_id"], known["container"]) for finding in there],
        )
        listed = [_id(finding) for finding in there if finding.document]
        if listed:
            self._metadata.mark_listed(store, listed)
        for finding in there:
            if finding.kind in ("back", "pending") and finding.listed:
                etag, size = finding.listed.etag, finding.listed.size
                self._metadata.mark_stored(store, _id(finding), etag=etag, size=size)
        self._metadata.log(store, [(_id(finding), False, self._entry(finding), None) for finding in gone])
        lost = [_id(finding) for finding in gone if finding.kind == "lost"]
        if lost:
            self._metadata.mark_lost(store, lost)

    def _entry(self, finding: Finding) -> dict[str, Any]:
        return operation(
            dag_id=self._run.dag_id,
            operation_instance=self._run.run_id,
            execution_date=self._run.execution_date,
            pipeline=PIPELINE,
            message=WHAT[finding.kind],
        )

    def walks(self, containers: Iterable[Mapping[str, str]], problems: list[StoreError]) -> list[Walk]:
        """The walks that are under way or due, the one that waited longest first; ``problems`` gets what fails."""
        states = {state["_id"]: state for state in self._states.find()}
        walks = []
        for known in containers:
            state = states.get(_state_id(known))
            if state and state.get("marker") is not None:
                walks.append(_resumed(known, state))
                continue
            try:
                seen = {**self._extent(known), **self._metadata.extent(known["store"])}
            except StoreError as error:
                problems.append(error)
                if len(problems) >= AWAY:
                    break
                continue
            if is_due(state, seen, now=self._now, every=self._limits.every):
                checked = state.get("checked") if state else None
                walks.append(Walk(known, self._now, seen, checked=checked))
        long_ago = datetime(1970, 1, 1, tzinfo=UTC)
        return sorted(walks, key=lambda walk: walk.checked or long_ago)

    def _extent(self, known: Mapping[str, str]) -> dict[str, int]:
        try:
            return self._objects.extent(known["project_id"], known["container"])
        except NotFound:
            return {"objects": 0, "bytes": 0}

    def check(self) -> list[Walk]:
        """Go on with the walks, a page of each in turn, as far as one check goes.

        Errors: StoreError, after all that could be done, where Swift or MongoDB did not give something.
        """
        problems: list[StoreError] = []
        walks = self.walks(self._metadata.registry(), problems)
        active = list(walks) if len(problems) < AWAY else []
        pages = repairs = 0
        while active and pages < self._limits.pages and repairs < REPAIRS and len(problems) < AWAY:
            walk = active.pop(0)
            pages += 1
            try:
                repairs += self.step(walk)
            except StoreError as error:
                problems.append(error)
                continue
            if walk.marker is not None:
                active.append(walk)
        for walk in walks:
            if walk.pages:
                self.save(walk)
        if problems:
            raise StoreError("; ".join(str(problem) for problem in problems[:AWAY]))
        return walks

    def save(self, walk: Walk) -> None:
        """Write down how far a walk has come."""
        if self._dry_run:
            return
        state: dict[str, Any] = {
            **walk.known,
            "marker": walk.marker,
            "started": walk.started,
            "checked": self._now,
            "objects": walk.objects,
            "documents": walk.documents,
            "young": walk.young,
            "found": dict(walk.found),
            "seen": walk.seen,
        }
        if walk.marker is None:
            state["finished"] = self._now
            if walk.young:  # they have to be looked at once they are older, even if nothing else changes
                state["seen"] = None
        self._states.update_one({"_id": _state_id(state)}, {"$set": state}, upsert=True)

    def everything(self, container: str | None = None) -> list[Walk]:
        """Walk every container (or those of that name) to its end, now.

        Errors: NotFound where no container has that name; StoreError.
        """
        containers = [known for known in self._metadata.registry() if container in (None, known["container"])]
        if container is not None and not containers:
            raise NotFound(f"no container {container!r} is known to the lake")
        walks = []
        for known in containers:
            seen = {**self._extent(known), **self._metadata.extent(known["store"])}
            walk = Walk(known, self._now, seen)
            while walk.marker is not None:
                self.step(walk)
            for find in (self.unprocessed, self.pending):
                findings = find(known, COUNTED)
                self.repair(known, findings)
                walk.add(findings)
            self.save(walk)
            walks.append(walk)
        return walks

    def leftovers(self) -> Counter[str]:
        """Repair what needs no walk, of all containers: what is unprocessed, then, since it needs Swift, what is
        pending; how many of each kind."""
        counts: Counter[str] = Counter()
        containers = self._metadata.registry()
        for find in (self.unprocessed, self.pending):
            for known in containers:
                findings = find(known, REPAIRS)
                self.repair(known, findings)
                counts.update(finding.kind for finding in findings)
        return counts


def _id(finding: Finding) -> str:
    assert finding.document is not None
    return str(finding.document["swift_object_id"])


def _state_id(known: Mapping[str, Any]) -> str:
    return f"{known['project_id']}/{known['container']}"


def _resumed(known: Mapping[str, str], state: Mapping[str, Any]) -> Walk:
    counts = {key: state[key] for key in ("objects", "documents", "young", "marker", "started", "checked", "seen")}
    return Walk(known, **counts, found=Counter(state["found"]))


def _reconciler(run: RunInfo, *, dry_run: bool = False) -> Reconciler:
    config = stores.settings()
    return Reconciler(stores.mongodb(config), swift.connect(config), Limits.of(config), run, dry_run=dry_run)


def repair_leftovers(run: RunInfo) -> None:
    """leftovers() on the lake that ``lake.json`` describes."""
    counts = _reconciler(run).leftovers()
    log.info("found: %s", ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing")


def check(run: RunInfo) -> None:
    """check() on the lake that ``lake.json`` describes."""
    for walk in _reconciler(run).check():
        state = "is through" if walk.marker is None else f"goes on after {walk.marker!r}"
        found = ", ".join(f"{count} {kind}" for kind, count in walk.found.items()) or "nothing disagrees"
        log.info("container %s: %s; the walk %s", _state_id(walk.known), found, state)


def table(walks: Sequence[Walk]) -> str:
    """The report for people: a line per container, a column per kind that occurs."""
    kinds = [kind for kind in KINDS if any(walk.found[kind] for walk in walks)]
    rows = [["container", "project", "objects", "documents", "too new", *kinds]]
    for walk in walks:
        counts = [walk.objects, walk.documents, walk.young, *(walk.found[kind] for kind in kinds)]
        rows.append([walk.known["container"], walk.known["project_id"], *map(str, counts)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "" if kinds else "nothing disagrees", *(f"{kind}: {KINDS[kind]}" for kind in kinds)])


def main() -> int:
    """Entry point of ``lake-airflow-reconcile``: 0 where all agrees, 1 where something disagrees, 2 where a store is
    away."""
    parser = argparse.ArgumentParser(
        description="Compare what Swift has with what the documents say, and repair what disagrees."
        " What is put on the list of data to process is started by the next check_data_to_process.",
        epilog="Exit status: 0 all agrees, 1 something disagrees, 2 it could not be done.",
    )
    parser.add_argument("--dry-run", action="store_true", help="change nothing, only say what disagrees")
    parser.add_argument("--json", action="store_true", help="print JSON, with names of objects")
    parser.add_argument("--container", metavar="NAME", help="only the containers of that name, of whichever project")
    arguments = parser.parse_args()
    now = utc()
    run = RunInfo("lake-airflow-reconcile", f"reconcile__{now:%Y-%m-%dT%H:%M:%S.%f}", now)
    try:
        walks = _reconciler(run, dry_run=arguments.dry_run).everything(arguments.container)
    except LakeError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps({"containers": [walk.report() for walk in walks]}, indent=2))
    else:
        print(table(walks))
    return 1 if any(walk.found for walk in walks) else 0


if __name__ == "__main__":
    sys.exit(main())
