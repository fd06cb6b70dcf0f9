# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import itertools
from dataclasses import replace

import pytest
from neocampus_lake.events import Event
from neocampus_lake.states import follow

PUT = Event(
    id="e1",
    type="put",
    account="AUTH_p1",
    project_id="p1",
    container="campus",
    object_name="data",
    user="alice",
    user_id="u1",
    content_type="text/csv",
    size=12,
    etag="one",
    timestamp="1626951681.00000",
    transaction_id="tx1",
)


def at(second, kind="put", **changes):
    if kind == "post":
        changes = {"size": 0, "etag": "", **changes}
    return replace(PUT, type=kind, timestamp=f"162695168{second}.00000", id=f"e{second}", **changes)


def known(status="stored", **changes):
    return {
        "swift_object_name": "data",
        "swift_object_id": "1",
        "status": status,
        "content_type": "text/csv",
        "etag": "one",
        "size": 12,
        "swift_timestamp": "1626951681.00000",
        "swift_data_timestamp": "1626951681.00000",
        **changes,
    }


def state(document):
    """What a document says of its object, without dates of its own; of one that is gone, that and since when."""
    keys = ("status", "swift_timestamp") if document["status"] == "deleted" else known()
    return {key: document.get(key) for key in keys}


def after(document, *batches):
    """The document after batches of events."""
    for events in batches:
        document = follow(document, events).document
    return document


def test_a_put_of_an_unknown_object():
    change = follow(None, [PUT])
    assert change.event == PUT and change.before is None
    assert change.fields == {
        "status": "stored",
        "content_type": "text/csv",
        "size": 12,
        "etag": "one",
        "swift_timestamp": PUT.timestamp,
        "swift_data_timestamp": PUT.timestamp,
    }


def test_a_newer_put_replaces():
    change = follow(known(), [at(2, etag="two", size=3, content_type="x/y")])
    assert change.event
    assert (change.document["etag"], change.document["size"], change.document["content_type"]) == ("two", 3, "x/y")


@pytest.mark.parametrize("status", ["stored", "deleted"])
def test_an_older_put_changes_nothing_and_is_not_processed(status):
    change = follow(known(status), [at(0, etag="zero")])
    assert (change.fields, change.event, change.ignored) == ({}, None, 1)


def test_a_put_that_is_older_than_a_post_only_brings_its_data():
    document = after(known(), [at(3, "post", content_type="x/y")])
    change = follow(document, [at(2, etag="two", size=3)])
    assert change.event
    assert (change.document["etag"], change.document["content_type"]) == ("two", "x/y")
    assert change.document["swift_timestamp"] == at(3).timestamp


def test_a_removal():
    change = follow(known(), [at(2, "delete")])
    assert (change.document["status"], change.event, change.removal) == ("deleted", None, at(2, "delete"))
    assert (change.document["etag"], change.before["status"]) == ("one", "stored")


def test_a_removal_of_an_unknown_object_makes_nothing():
    change = follow(None, [at(2, "delete")])
    assert (change.document, change.fields, change.removal, change.ignored) == (None, {}, None, 1)


def test_an_object_that_came_and_went_makes_nothing():
    change = follow(None, [PUT, at(2, "delete")])
    assert (change.document, change.fields, change.event) == (None, {}, None)
    assert follow(None, [PUT, at(2, "delete"), at(3)]).event == at(3)


@pytest.mark.parametrize("status", ["deleted", "lost", "pending"])
def test_a_later_put_brings_it_back(status):
    change = follow(known(status), [at(2, etag="two", content_type="x/y")])
    assert (change.document["status"], change.document["etag"]) == ("stored", "two")
    assert change.event


def test_an_older_removal_is_ignored():
    change = follow(known(), [at(0, "delete")])
    assert (change.fields, change.removal, change.ignored) == ({}, None, 1)


def test_a_removal_and_a_put_in_one_batch():
    change = follow(known(), [at(3, etag="three"), at(2, "delete")])
    assert (change.document["status"], change.event, change.removal) == ("stored", at(3, etag="three"), at(2, "delete"))


def test_a_post_that_changes_the_type_is_processed():
    change = follow(known(), [at(2, "post", content_type="x/y")])
    assert change.event == at(2, "post", content_type="x/y")
    assert (change.document["content_type"], change.document["etag"], change.document["size"]) == ("x/y", "one", 12)


@pytest.mark.parametrize("content_type", ["", "text/csv"])
def test_a_post_that_leaves_the_type_is_a_date_only(content_type):
    change = follow(known(), [at(2, "post", content_type=content_type)])
    assert change.event is None
    assert set(change.fields) <= {"last_modified", "swift_timestamp"}
    assert "last_modified" in change.fields


def test_a_post_does_not_keep_the_put_of_its_batch_from_being_processed():
    assert follow(None, [at(2, "post", content_type=""), PUT]).event == PUT


def test_a_post_of_an_unknown_object_makes_it_and_its_put_completes_it():
    change = follow(None, [at(2, "post", content_type="x/y")])
    assert change.event
    assert (change.document["etag"], change.document["size"], change.document["content_type"]) == (None, 0, "x/y")
    change = follow(change.document, [PUT])
    assert change.event == PUT
    assert (change.document["etag"], change.document["size"], change.document["content_type"]) == ("one", 12, "x/y")


def test_a_post_after_a_removal_proves_that_the_object_is_there():
    change = follow(known("deleted"), [at(2, "post", content_type="")])
    assert (change.document["status"], change.event) == ("stored", at(2, "post", content_type=""))
    assert follow(known("deleted"), [at(0, "post", content_type="x/y")]).ignored == 1


def test_what_the_api_inserted_keeps_the_api_s_word_until_it_is_put_again():
    document = known(swift_object_id="data", etag="md5", swift_timestamp=None, swift_data_timestamp=None)
    first = follow(document, [PUT])
    assert (first.document["etag"], first.event) == ("md5", PUT)
    assert follow(first.document, [PUT]).fields == {}
    assert follow(first.document, [at(2, etag="two")]).document["etag"] == "two"


def test_an_event_by_hand_has_the_object_processed_as_it_is():
    by_hand = replace(PUT, timestamp="", etag="", size=0)
    change = follow(known(), [by_hand])
    assert (change.event, change.fields) == (by_hand, {})
    assert follow(known("deleted"), [by_hand]).ignored == 1
    assert follow(known("pending"), [by_hand]).document["status"] == "stored"
    lost = follow(known("lost"), [by_hand])
    assert (lost.event, lost.document["status"]) == (by_hand, "lost")
    assert follow(known(), [replace(by_hand, type="delete")]).document["status"] == "deleted"


EVENTS = [
    at(1, etag="one"),
    at(2, "post", content_type="x/y"),
    at(3, etag="three", content_type="text/csv"),
    at(4, "delete"),
    at(5, etag="five", content_type="image/png"),
    at(6, "post", content_type="image/jpeg"),
]


@pytest.mark.parametrize("end", range(1, len(EVENTS) + 1))
def test_in_whichever_order_batches_come_the_newest_state_stays(end):
    start = known(swift_timestamp="1626951680.00000", swift_data_timestamp="1626951680.00000")
    wanted = state(after(start, EVENTS[:end]))
    for order in itertools.permutations(EVENTS[:end]):
        assert state(after(start, *[[event] for event in order])) == wanted


@pytest.mark.parametrize("events", [[event] for event in EVENTS] + [EVENTS[:3], EVENTS[:4]])
def test_applying_again_sets_nothing_new_and_asks_for_the_same(events):
    first = follow(known(), events)
    again = follow(first.document, events)
    assert {key for key in again.fields if key != "last_modified"} == set()
    assert (again.event, bool(again.removal)) == (first.event, bool(first.removal))
