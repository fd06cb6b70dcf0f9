# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import string
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput
from neocampus_lake.events import TYPES, Event, batch_id, normal_timestamp, run_id

EVENT = Event(
    id="01HX",
    type="put",
    account="AUTH_p1",
    project_id="p1",
    container="campus",
    object_name="17",
    user="alice",
    user_id="u1",
    content_type="application/json",
    size=12,
    etag="abc",
    timestamp="1626951682.00000",
    transaction_id="tx1",
)

texts = st.text(min_size=1)
timestamps = st.from_regex(r"[0-9]{1,10}(\.[0-9]{1,5}(_[0-9a-f]{1,16})?)?", fullmatch=True)
events = st.builds(
    Event,
    **dict.fromkeys(
        [
            "id",
            "account",
            "project_id",
            "container",
            "object_name",
            "user",
            "user_id",
            "content_type",
            "etag",
            "transaction_id",
        ],
        texts,
    ),
    type=st.sampled_from(TYPES),
    timestamp=timestamps,
    size=st.integers(min_value=0),
)


def test_the_payload_has_the_webhooks_names():
    payload = EVENT.to_payload()
    assert payload["swift_id"] == "17"
    assert payload["swift_container"] == "campus"
    assert payload["swift_user"] == "alice"
    assert payload["content_type"] == "application/json"
    assert not {"object_name", "container", "user"} & set(payload)


@given(events)
def test_payload_and_line_come_back(event):
    assert Event.from_payload(event.to_payload()) == event
    line = event.to_line()
    assert line.endswith("\n") and line.count("\n") == 1 and line.isascii()
    assert Event.from_line(line) == event
    assert Event.from_line(line.encode()) == event
    assert Event.from_line(line[:-1]) == event


@given(events, st.data())
def test_a_torn_or_altered_line_is_noticed(event, data):
    line = event.to_line()
    cut = data.draw(st.integers(0, len(line) - 2))
    with pytest.raises(InvalidInput):
        Event.from_line(line[:cut])
    at = data.draw(st.integers(0, len(line) - 2))
    other = data.draw(st.sampled_from(string.printable).filter(lambda c: c not in (line[at], "\n")))
    with pytest.raises(InvalidInput):
        Event.from_line(line[:at] + other + line[at + 1 :])


@pytest.mark.parametrize("line", [b"\xff\xfe", "", "\n", "00000000 ", "no event\n"])
def test_what_is_no_line_is_refused(line):
    with pytest.raises(InvalidInput):
        Event.from_line(line)


def test_a_listed_entry_is_an_event_with_a_stable_id():
    entry = {
        "swift_id": "17",
        "swift_container": "campus",
        "swift_user": "a",
        "content_type": "x/y",
        "project_id": "p1",
    }
    event = Event.from_payload(entry)
    assert (event.object_name, event.size, event.type) == ("17", 0, "put")
    assert event.id and event == Event.from_payload(entry)
    assert event.id != Event.from_payload({**entry, "swift_id": "18"}).id


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"swift_id": ""}, "swift_id"),
        ({"swift_container": None}, "swift_container"),
        ({"project_id": None}, "project_id"),
        ({"swift_id": 17}, "swift_id"),
        ({"size": "12"}, "size"),
        ({"size": True}, "size"),
        ({"size": -1}, "size"),
        ({"content_type": ["a"]}, "content_type"),
        ({"type": "copy"}, "type"),
        ({"type": ""}, "type"),
        ({"timestamp": "yesterday"}, "timestamp"),
    ],
)
def test_wrong_payloads_are_refused_by_key(change, key):
    with pytest.raises(InvalidInput) as caught:
        Event.from_payload({**EVENT.to_payload(), **change})
    assert caught.value.context["key"] == key


def test_an_unknown_type_is_named():
    with pytest.raises(InvalidInput, match="put, post, delete, not 'rename'"):
        Event.from_payload({**EVENT.to_payload(), "type": "rename"})


def number(timestamp):
    seconds, _underscore, offset = timestamp.partition("_")
    return Decimal(seconds), int(offset or "0", 16)


@given(timestamps, timestamps)
def test_timestamps_compare_as_numbers(one, other):
    assert (normal_timestamp(one) < normal_timestamp(other)) == (number(one) < number(other))
    assert normal_timestamp(normal_timestamp(one)) == normal_timestamp(one)


def test_no_timestamp_is_before_all():
    assert normal_timestamp("") < normal_timestamp("0")


def test_unknown_keys_are_passed_over():
    assert Event.from_payload({**EVENT.to_payload(), "later": 1}) == EVENT


def test_a_payload_that_is_no_mapping():
    with pytest.raises(InvalidInput):
        Event.from_payload(["swift_id"])


def test_batch_id_stands_for_the_events():
    batch = [EVENT, replace(EVENT, id="2")]
    assert batch_id(batch) == batch_id(iter(batch))
    assert len(batch_id(batch)) == 16 and int(batch_id(batch), 16) >= 0
    assert batch_id(batch) != batch_id(batch[:1])
    assert batch_id([replace(EVENT, id="ab")]) != batch_id([replace(EVENT, id="a"), replace(EVENT, id="b")])
    assert run_id(batch) == "new_input__" + batch_id(batch)
