# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swift's listings beside the documents: each disagreement, how far one check goes, and the command."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

pytest.importorskip("keystoneauth1")

from lake_airflow import catch_up, reconcile  # noqa: E402
from lake_airflow.reconcile import Limits, Reconciler  # noqa: E402
from neocampus_lake.documents import new_document, operation  # noqa: E402
from neocampus_lake.errors import NotFound, StoreError  # noqa: E402
from neocampus_lake.events import Event  # noqa: E402
from neocampus_lake.metadata import MetadataStore  # noqa: E402
from neocampus_lake.reconciliation import Listed  # noqa: E402

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
OLD = NOW - timedelta(hours=5)
LIMITS = Limits(
    pages=100,
    grace=timedelta(minutes=15),
    every=timedelta(hours=24),
    unprocessed=timedelta(minutes=120),
    pending=timedelta(minutes=60),
)


class Lake:
    """Swift and MongoDB in memory; counts what is asked of Swift. ``listed`` is what only a listing has or lacks."""

    def __init__(self, client, run):
        self.client = client
        self.run = run
        self.metadata = MetadataStore(client)
        self.contents = {}
        self.hidden = set()
        self.calls = Counter()
        self.away = {}
        self.now = NOW

    def put(self, name, *, at=OLD, etag="e", container="campus"):
        self.contents.setdefault(container, {})[name] = Listed(name, etag, 5, "text/csv", f"{at.timestamp():.5f}")

    def document(self, object_id, name=None, *, at=OLD, status="stored", done=True, container="campus", **changes):
        store = self.metadata.store_for("p1", container, create=True)
        made = new_document(
            object_id=object_id,
            container=container,
            project_id="p1",
            user="alice",
            object_name=name or object_id,
            original_name="a.csv",
            content_type="text/csv",
            size=5,
            now=at,
            status=status,
        )
        made["etag"] = "e"
        if done:
            made["successful_operations"] = [operation(dag_id="d", operation_instance="r", execution_date=at)]
        self.client["swift"][store].insert_one({**made, **changes})

    def read(self, object_id, store="campus"):
        return self.metadata.get(store, object_id)

    # What Swift answers.
    def _ask(self, kind, container):
        self.calls[kind] += 1
        if container in self.away:
            raise self.away[container]
        if container not in self.contents:
            raise NotFound(f"no container {container}")
        return self.contents[container]

    def extent(self, project_id, container):
        found = self._ask("extent", container)
        return {"objects": len(found), "bytes": sum(listed.size for listed in found.values())}

    def listing(self, project_id, container, marker, limit):
        found = self._ask("listing", container)
        names = sorted((name for name in found if name > marker and name not in self.hidden), key=str.encode)
        return [found[name] for name in names[:limit]]

    def head(self, project_id, container, name):
        found = self._ask("head", container)
        if name not in found:
            raise NotFound(f"no object {name}")
        return found[name]

    # What is done.
    def reconciler(self, **options):
        limits = options.pop("limits", LIMITS)
        return Reconciler(self.client, self, limits, self.run, now=self.now, **options)

    def check(self, **options):
        found = Counter()
        for walk in self.reconciler(**options).check():
            found += walk.found
        return dict(found)

    def on_the_list(self):
        found = catch_up.to_do(self.client).find({"swift_id": {"$exists": True}})
        return sorted(entry["swift_id"] for entry in found)

    def state(self, container="campus"):
        return self.client["stats"]["reconciliation"].find_one({"_id": f"p1/{container}"})


@pytest.fixture
def lake(client, run):
    return Lake(client, run)


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr(reconcile, "PAGE", 3)


def test_where_all_agrees_nothing_is_done(lake, small_pages):
    for number in range(1, 9):
        lake.document(str(number))
        lake.put(str(number))
    assert lake.check() == {}
    assert lake.on_the_list() == [] and lake.calls["head"] == 0
    state = lake.state()
    assert (state["objects"], state["documents"], state["marker"], state["finished"]) == (8, 8, None, NOW)


def test_an_object_without_document_is_put_on_the_list(lake):
    lake.document("1")
    for name in ("1", "dir/é"):
        lake.put(name)
    assert lake.check() == {"no document": 1}
    (run_to_start,) = catch_up.claim(catch_up.to_do(lake.client))
    event = Event.from_payload(run_to_start["conf"]["events"][0])
    assert (event.object_name, event.project_id, event.etag, event.size) == ("dir/é", "p1", "e", 5)
    change = lake.metadata.apply_events("campus", [event])["dir/é"]
    assert change.event and change.document["swift_timestamp"] == event.moment


def test_a_document_without_object_says_so_until_it_is_back(lake):
    for number in ("1", "2"):
        lake.document(number)
    lake.put("1")
    assert lake.check() == {"lost": 1}
    document = lake.read("2")
    assert document["status"] == "lost"
    (failure,) = document["failed_operations"]
    assert (failure["pipeline"], failure["operation_instance"]) == ("reconciliation", lake.run.run_id)
    assert "not in Swift any more" in failure["message"]
    lake.now += timedelta(hours=25)
    assert lake.check() == {}
    assert len(lake.read("2")["failed_operations"]) == 1
    lake.put("2", etag="f")
    assert lake.check() == {"back": 1}
    assert (lake.read("2")["status"], lake.read("2")["etag"]) == ("stored", "f")
    assert lake.on_the_list() == ["2"]
    assert lake.check() == {}


def test_what_only_the_listing_lacks_is_not_lost(lake):
    lake.document("1")
    lake.put("1")
    lake.hidden.add("1")
    assert lake.check() == {}
    assert lake.calls["head"] == 1 and lake.read("1")["status"] == "stored"


def test_a_container_that_is_gone_has_lost_all(lake, small_pages):
    for number in range(1, 6):
        lake.document(str(number))
    assert lake.check() == {"lost": 5}
    assert {lake.read(str(number))["status"] for number in range(1, 6)} == {"lost"}


def test_an_object_that_was_put_again_is_put_on_the_list(lake):
    lake.document("1", "data", swift_timestamp=f"{OLD.timestamp():.5f}")
    lake.put("data", at=OLD + timedelta(hours=1), etag="new")
    assert lake.check() == {"changed": 1}
    assert lake.on_the_list() == ["data"]


def test_an_object_that_came_back_after_its_removal(lake):
    removed = f"{OLD.timestamp():.5f}"
    lake.document("1", status="deleted", swift_timestamp=removed)
    lake.document("2", status="deleted", swift_timestamp=removed)
    lake.put("1", at=OLD + timedelta(hours=1))
    lake.put("2", at=OLD - timedelta(hours=1))  # the listing has not heard of the removal
    assert lake.check() == {"back": 1}
    assert lake.on_the_list() == ["1"]


def test_what_is_new_is_left_alone_and_looked_at_later(lake):
    lake.document("1")
    lake.put("1")
    lake.put("new", at=NOW - timedelta(minutes=5))
    lake.document("2", at=NOW - timedelta(minutes=5))
    assert lake.check() == {}
    lake.now += timedelta(minutes=15)
    assert lake.check() == {"no document": 1, "lost": 1}


def test_an_object_on_which_nothing_was_logged_is_put_on_the_list_now_and_then(lake):
    lake.document("1", done=False)
    lake.document("2", done=False, at=NOW - timedelta(minutes=90))
    lake.document("3")
    assert lake.reconciler().leftovers() == {"unprocessed": 1}
    assert lake.on_the_list() == ["1"]
    assert lake.calls["head"] == 0
    listed = lake.read("1")["listed_date"]
    lake.now = listed + timedelta(minutes=119)
    assert lake.reconciler().unprocessed({"store": "campus"}, 9)[0].name == "2"
    lake.now = listed + timedelta(minutes=121)
    assert len(lake.reconciler().unprocessed({"store": "campus"}, 9)) == 2


def pending(lake, minutes):
    lake.document("1", status="pending", done=False, at=NOW - timedelta(minutes=minutes), etag=None, size=0)


def test_a_pending_object_that_is_there_is_listed_once_and_stored(lake):
    pending(lake, 90)
    lake.put("1")
    assert lake.reconciler().leftovers() == {"pending": 1}
    assert lake.reconciler().leftovers() == {}
    assert lake.on_the_list() == ["1"]
    assert [lake.read("1")[key] for key in ("status", "etag", "size")] == ["stored", "e", 5]


def test_an_object_that_never_came_is_said_so_once(lake):
    pending(lake, 90)
    assert lake.reconciler().leftovers() == {"never came": 1}
    assert lake.reconciler().leftovers() == {}
    document = lake.read("1")
    assert document["status"] == "pending"
    assert "never came" in document["failed_operations"][0]["message"]
    assert lake.on_the_list() == []
    lake.put("1")  # it came at last, and its event was lost
    assert lake.check() == {"pending": 1}
    assert lake.read("1")["status"] == "stored" and lake.on_the_list() == ["1"]


def test_an_upload_that_may_still_run_is_left_alone(lake):
    pending(lake, 30)
    assert lake.reconciler().leftovers() == {}
    lake.put("1")
    assert lake.check() == {}


def test_while_swift_is_away_what_needs_it_not_is_done(lake):
    pending(lake, 90)
    lake.document("2", done=False)
    lake.away["campus"] = StoreError("Swift is away")
    with pytest.raises(StoreError):
        lake.reconciler().leftovers()
    assert lake.on_the_list() == ["2"]
    assert (lake.read("1")["status"], lake.read("1")["failed_operations"]) == ("pending", [])
    with pytest.raises(StoreError, match="Swift is away"):
        lake.check()


def test_a_container_that_swift_does_not_give_holds_up_no_other(lake):
    for name in ("a", "campus", "z"):
        lake.document("1", container=name)
        lake.put("1", container=name)
        lake.put("new", container=name)
    lake.away["campus"] = StoreError("no replica of campus")
    with pytest.raises(StoreError, match="no replica of campus"):
        lake.check()
    assert len(lake.on_the_list()) == 2
    assert lake.state("a")["finished"] and lake.state("z")["finished"] and not lake.state()


def test_when_swift_is_away_not_every_container_is_tried(lake):
    for number in range(10):
        lake.document("1", container=f"c{number}")
        lake.away[f"c{number}"] = StoreError("away")
    with pytest.raises(StoreError):
        lake.check()
    assert lake.calls == {"extent": reconcile.AWAY}


def test_a_walk_costs_a_listing_per_page_and_goes_on_where_it_stopped(lake, small_pages):
    for number in range(10, 40):
        lake.document(str(number))
        lake.put(str(number))
    lake.put("99")
    few = Limits(**{**vars(LIMITS), "pages": 4})
    assert lake.check(limits=few) == {}
    assert lake.calls == {"extent": 1, "listing": 4}
    assert (lake.state()["marker"], lake.state()["objects"]) == ("21", 12)
    assert "finished" not in lake.state()
    lake.check(limits=few)
    assert lake.state()["marker"] == "33"
    assert lake.check(limits=few) == {"no document": 1}
    assert lake.calls == {"extent": 1, "listing": 12}  # 31 names, three at a time, and the end
    assert (lake.state()["objects"], lake.state()["documents"], lake.state()["found"]) == (31, 30, {"no document": 1})


def test_many_documents_without_objects_are_walked_page_by_page_too(lake, small_pages):
    for number in range(10, 30):
        lake.document(str(number))
    lake.put("29")
    assert lake.check() == {"lost": 19}
    assert lake.calls["listing"] <= 20 / 3 + 2


def test_an_unchanged_container_is_not_walked_until_its_full_walk(lake):
    lake.document("1")
    lake.put("1")
    lake.check()
    lake.calls.clear()
    lake.now += timedelta(hours=1)
    lake.check()
    assert lake.calls == {"extent": 1}
    lake.put("2")
    assert lake.check() == {"no document": 1}
    lake.document("2")
    lake.check()
    lake.now += timedelta(hours=25)
    lake.calls.clear()
    lake.check()
    assert lake.calls["listing"] == 2


def test_containers_take_turns(lake, small_pages):
    for container in ("big", "small"):
        for number in range(10, 40 if container == "big" else 12):
            lake.document(str(number), container=container)
            lake.put(str(number), container=container)
    lake.check(limits=Limits(**{**vars(LIMITS), "pages": 5}))
    assert lake.state("small")["finished"] == NOW
    assert lake.state("big")["marker"] == "18"


def test_a_check_takes_on_no_more_than_the_list_can_start(lake, small_pages, monkeypatch):
    monkeypatch.setattr(reconcile, "REPAIRS", 5)
    lake.document("1")
    lake.put("1")
    for number in range(100, 130):
        lake.put(str(number))
    assert lake.check()["no document"] < 5 + 3
    assert lake.state()["marker"]


def test_what_swift_is_asked_about_counts_too(lake, small_pages, monkeypatch):
    monkeypatch.setattr(reconcile, "REPAIRS", 5)
    for number in range(10, 30):
        lake.document(str(number))
        lake.put(str(number))
        lake.hidden.add(str(number))
    lake.check()
    assert lake.calls["head"] < 5 + 3


def test_what_is_not_in_the_registry_is_not_looked_at(lake):
    lake.document("1")
    lake.put("1")
    lake.put("00001", container="campus_segments")
    assert lake.check() == {}
    assert lake.calls["extent"] == 1


def test_many_disagreements_cost_a_few_calls(lake, monkeypatch):
    lake.document("1")
    lake.put("1")
    for number in range(100, 600):
        lake.put(str(number))
    calls = []
    put = catch_up.put
    monkeypatch.setattr(
        catch_up, "put", lambda entries, payloads: calls.append(len(payloads)) or put(entries, payloads)
    )
    assert lake.check() == {"no document": 500}
    assert calls == [500] and lake.calls == {"extent": 1, "listing": 2}


@pytest.fixture
def command(lake, monkeypatch, capsys):
    """Runs the command on the lake in memory: its exit status and what it printed."""
    reconciler = lambda run, dry_run=False: lake.reconciler(dry_run=dry_run)  # noqa: E731
    monkeypatch.setattr(reconcile, "_reconciler", reconciler)

    def run_it(*arguments):
        monkeypatch.setattr("sys.argv", ["lake-airflow-reconcile", *arguments])
        status = reconcile.main()
        return status, capsys.readouterr()

    return run_it


def everything(client):
    return {
        f"{database}.{name}": list(client[database][name].find())
        for database in ("swift", "stats", "data_historique")
        for name in client[database].list_collection_names()
    }


def test_a_dry_run_says_what_disagrees_and_changes_nothing(lake, command, small_pages):
    for number in range(1, 6):
        lake.document(str(number))
    lake.document("6", done=False, container="meteo")
    lake.document("7", done=False, status="pending", container="meteo")
    for number in (1, 2, 8):
        lake.put(str(number))
    lake.document("8", done=False, status="pending", container="meteo")
    lake.document("9", done=False, container="meteo")
    for name in ("6", "8"):
        lake.put(name, container="meteo")
    before = everything(lake.client)
    status, printed = command("--dry-run", "--json")
    assert status == 1
    campus, meteo = json.loads(printed.out)["containers"]
    assert (campus["found"], campus["objects"], campus["documents"]) == ({"no document": 1, "lost": 3}, 3, 5)
    assert campus["examples"] == {"no document": ["8"], "lost": ["3", "4", "5"]}
    assert meteo["found"] == {"lost": 1, "pending": 1, "unprocessed": 1, "never came": 1}  # each object once
    status, printed = command("--dry-run", "--container", "campus")
    assert status == 1
    lines = printed.out.splitlines()
    assert lines[0].split("  ")[0] == "container" and lines[1].split() == ["campus", "p1", "3", "5", "0", "1", "3"]
    assert "meteo" not in printed.out
    assert everything(lake.client) == before


def test_the_command_repairs_everything_at_once(lake, command, small_pages):
    for number in range(1, 6):
        lake.document(str(number))
        lake.put(str(number + 1))
    assert command()[0] == 1
    assert lake.read("1")["status"] == "lost" and lake.on_the_list() == ["6"]
    assert lake.state()["finished"] == NOW
    lake.document("6")
    status, printed = command()
    assert (status, printed.out.splitlines()[-1]) == (0, "nothing disagrees")


def test_the_command_says_what_it_could_not_do(lake, command):
    status, printed = command("--container", "nowhere")
    assert status == 2 and "no container 'nowhere'" in printed.err
    lake.document("1")
    lake.away["campus"] = StoreError("Swift is away")
    status, printed = command("--dry-run")
    assert status == 2 and "Swift is away" in printed.err


def test_limits_are_those_of_the_settings():
    given = {"pages": 7, "full_hours": 24, "grace_minutes": 15, "unprocessed_minutes": 120}
    config = {"pending_minutes": 60, "reconciliation": given}
    assert Limits.of(config) == Limits(**{**vars(LIMITS), "pages": 7})
