# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import StoreError
from neocampus_lake.events import Event
from neocampus_lake.reconciliation import KINDS, Finding, Listed, classify, compare, is_due, merge, to_payload

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
OLD = NOW - timedelta(hours=5)
RULES = {"now": NOW, "grace": timedelta(minutes=15), "pending": timedelta(hours=1)}
TIMESTAMP = f"{OLD.timestamp():.5f}"
NEWER = f"{OLD.timestamp() + 1:.5f}"

names = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3), unique=True)


def listed(name="a", timestamp=TIMESTAMP, etag="e"):
    return Listed(name, etag, 5, "text/csv", timestamp)


def document(name="a", status="stored", **changes):
    values = {"creation_date": OLD, "last_modified": OLD, "etag": "e", "swift_timestamp": TIMESTAMP}
    return {"swift_object_id": "1", "swift_object_name": name, "status": status, **values, **changes}


@given(names, names)
def test_merging_finds_exactly_what_one_of_two_sequences_lacks(one, other):
    pairs = list(merge(sorted(one), sorted(other, key=str.encode), str, str))
    assert {left for left, right in pairs if right is None} == set(one) - set(other)
    assert {right for left, right in pairs if left is None} == set(other) - set(one)
    assert {left for left, right in pairs if left == right} == set(one) & set(other)
    assert len(pairs) == len(set(one) | set(other))


@given(names, names, st.integers(1, 4), st.integers(1, 4))
def test_walking_page_by_page_finds_the_same(objects, documents, listing_page, limit):
    listing, known = sorted(objects, key=str.encode), sorted(documents, key=str.encode)
    found, marker, pages = [], "", 0
    while marker is not None:
        page = [listed(name) for name in listing if name > marker][:listing_page]
        until = page[-1].name if page else None
        beside = [document(name) for name in known if name > marker and (until is None or name <= until)][:limit]
        result = compare(page, beside, limit=limit, **RULES)
        found += [(finding.kind, finding.name) for finding in result.findings]
        assert result.marker is None or result.marker > marker
        marker = result.marker
        pages += 1
    assert sorted(found) == sorted(
        [("no document", name) for name in set(objects) - set(documents)]
        + [("lost", name) for name in set(documents) - set(objects)]
    )
    assert pages <= len(objects) / listing_page + len(documents) / limit + 2


@pytest.mark.parametrize(
    ("there", "known", "kind"),
    [
        (listed(), None, "no document"),
        (None, document(), "lost"),
        (listed(), document(), None),
        (listed(timestamp=NEWER, etag="f"), document(), "changed"),
        (listed(timestamp=NEWER), document(), None),  # its metadata changed
        (listed(etag="f"), document(), None),  # of a manifest
        (listed(timestamp=NEWER, etag="f"), document(swift_timestamp=None), None),  # what the API said of its insert
        (listed(), document(status="lost"), "back"),
        (listed(timestamp=NEWER), document(status="deleted"), "back"),
        (listed(), document(status="deleted"), None),  # the listing is behind
        (listed(), document(status="pending"), "pending"),
        (None, document(status="pending"), None),
        (None, document(status="lost"), None),
        (None, document(status="deleted"), None),
        (None, None, None),
    ],
)
def test_each_disagreement_has_its_kind(there, known, kind):
    assert classify(there, known) == kind
    assert kind is None or kind in KINDS


def test_what_is_new_is_not_judged():
    recent = NOW - timedelta(minutes=5)
    young = f"{recent.timestamp():.5f}"
    listing = [
        listed("a", young),
        listed("b", young, "f"),
        listed("c", young),
        listed("e"),
        listed("f"),
    ]
    documents = [
        document("b"),
        document("c", "deleted"),
        document("d", last_modified=recent),
        document("e", "pending", creation_date=NOW - timedelta(minutes=30)),
        document("f", "pending"),
    ]
    page = compare(listing, documents, limit=100, **RULES)
    assert (page.young, [finding.name for finding in page.findings]) == (5, ["f"])
    assert (page.objects, page.documents) == (5, 5)


def test_an_item_of_a_listing():
    item = {
        "name": "dir/é",
        "hash": "abc",
        "bytes": 7,
        "content_type": "text/csv",
        "last_modified": "2021-07-22T11:01:22.123450",
    }
    assert Listed.from_listing(item) == Listed("dir/é", "abc", 7, "text/csv", "1626951682.12345")
    assert Listed.from_listing(item).modified == datetime(2021, 7, 22, 11, 1, 22, 123450, tzinfo=UTC)
    assert Listed.from_listing({**item, "slo_etag": '"def"'}).etag == "def"
    for wrong in ({"subdir": "dir/"}, {**item, "last_modified": "yesterday"}, {**item, "bytes": None}):
        with pytest.raises(StoreError):
            Listed.from_listing(wrong)


def test_what_is_put_on_the_list_is_the_event_that_got_lost():
    event = Event.from_payload(to_payload(Finding("no document", "a", listed()), "p1", "campus"))
    assert (event.object_name, event.container, event.project_id, event.type) == ("a", "campus", "p1", "put")
    assert (event.etag, event.size, event.content_type, event.moment) == ("e", 5, "text/csv", TIMESTAMP)
    known = document(swift_user="alice", content_type="x/y")
    event = Event.from_payload(to_payload(Finding("unprocessed", "a", None, known), "p1", "campus"))
    assert (event.user, event.content_type, event.timestamp) == ("alice", "x/y", "")


@pytest.mark.parametrize(
    ("state", "due"),
    [
        (None, True),
        ({"finished": None, "seen": {"objects": 3}}, True),
        ({"finished": NOW - timedelta(hours=1), "seen": {"objects": 3}}, False),
        ({"finished": NOW - timedelta(hours=1), "seen": {"objects": 4}}, True),
        ({"finished": NOW - timedelta(hours=1), "seen": None}, True),
        ({"finished": NOW - timedelta(hours=25), "seen": {"objects": 3}}, True),
    ],
)
def test_a_container_in_which_nothing_changed_waits_for_its_full_walk(state, due):
    assert is_due(state, {"objects": 3}, now=NOW, every=timedelta(hours=24)) is due
