# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What events make of their object's document, in whichever order they arrive.

Each proxy has a relay of its own, so that an event may come after a newer one of the same object. As in Swift, the
newest timestamp wins, and an object's data and its metadata have one each:

- `swift_timestamp`: that of the newest event that was applied;
- `swift_data_timestamp`: that of the newest put or delete. A put that is only older than a post still brings its data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .documents import utc
from .errors import present
from .events import Event

PENDING, STORED, DELETED, LOST = "pending", "stored", "deleted", "lost"
"""A document's `status`: its object is on its way; is in Swift; was deleted; is not there, and nobody knows why."""


@dataclass
class Change:
    """What the events of one object change.

    `before` is its document as it was (None: it had none), `document` as it is after them (None: it has none), `fields`
    what is to be set. `event` is the newest that asks for the object to be processed, `removal` the newest that deleted
    it, `ignored` how many are older than what the document knows, or say nothing of it.
    """

    before: Mapping[str, Any] | None
    document: dict[str, Any] | None
    fields: dict[str, Any] = field(default_factory=dict)
    event: Event | None = None
    removal: Event | None = None
    ignored: int = 0


def follow(document: Mapping[str, Any] | None, events: Iterable[Event]) -> Change:
    """Applies the events of one object, oldest first. Applying them again asks for the same work and sets nothing new.

    Where there was no document, `Change.document` has only what the events say, or is None where they leave no object.
    """
    change = Change(document, dict(document) if document is not None else None)
    for event in sorted(events, key=lambda event: event.moment):
        _FOLLOW[event.type](change, event)
    return change


def _put(change: Change, event: Event) -> None:
    moment, known = event.moment, change.document
    if known is None:
        _make(change, event, {"size": event.size, "etag": event.etag or None, "swift_data_timestamp": moment or None})
        return
    status, newest = known["status"], known.get("swift_data_timestamp") or ""
    if (moment and moment < newest) or (status == DELETED and moment <= newest):
        change.ignored += 1
        return
    # What the API wrote about its own insert stands; the etag of the same data may differ (manifest of a large object).
    by_api = known["swift_object_name"] == known["swift_object_id"]
    replaced = moment > newest if newest else not by_api and event.etag not in ("", known.get("etag"))
    fields: dict[str, Any] = {}
    if status != STORED and (moment or status != LOST):  # to ask for it by hand does not prove that it is there
        fields["status"] = STORED
    if event.etag and event.etag != known.get("etag") and (status != STORED or replaced):
        fields.update(etag=event.etag, size=event.size)
    if event.content_type and (status == DELETED or replaced) and moment >= (known.get("swift_timestamp") or ""):
        fields["content_type"] = event.content_type
    _set(change, fields, moment, data=True)
    change.event = event


def _post(change: Change, event: Event) -> None:
    moment, known = event.moment, change.document
    if known is None:  # its put is under way, or was before the webhook was on: the object is there
        _make(change, event, {"size": event.size, "etag": event.etag or None})
        return
    status, newest = known["status"], known.get("swift_timestamp") or ""
    if moment < newest or (status == DELETED and moment == newest):
        change.ignored += 1
        return
    back = status in (DELETED, LOST)
    retyped = bool(event.content_type) and event.content_type != known["content_type"]
    again = bool(moment) and moment == newest  # applied before, in an attempt that did not end
    fields: dict[str, Any] = {"last_modified": utc()}
    if status != STORED:
        fields["status"] = STORED
    if retyped:
        fields["content_type"] = event.content_type
    # One that leaves the type as it was is no newer state, and must not hide an event that is.
    _set(change, fields, moment if back or event.content_type else "", data=False)
    if back or retyped or again:
        change.event = event
    else:
        change.ignored += 1


def _delete(change: Change, event: Event) -> None:
    moment, known = event.moment, change.document
    if known is None or (moment and moment < (known.get("swift_timestamp") or "")):
        change.ignored += 1
        return
    change.event = None
    if change.before is None:  # it came and went within these events
        change.document, change.fields = None, {}
        change.ignored += 1
        return
    _set(change, {"status": DELETED} if known["status"] != DELETED else {}, moment, data=True)
    change.removal = event


_FOLLOW = {"put": _put, "post": _post, "delete": _delete}


def _make(change: Change, event: Event, fields: Mapping[str, Any]) -> None:
    change.fields = {
        "status": STORED,
        "content_type": event.content_type or "application/octet-stream",
        "swift_timestamp": event.moment or None,
        **fields,
    }
    named = {"swift_object_name": event.object_name, "swift_object_id": None}
    change.document = {**named, **change.fields}
    change.event = event


def _set(change: Change, fields: dict[str, Any], moment: str, *, data: bool) -> None:
    known = present(change.document)
    if fields:
        fields["last_modified"] = utc()
    if moment > (known.get("swift_timestamp") or ""):
        fields["swift_timestamp"] = moment
    if data and moment > (known.get("swift_data_timestamp") or ""):
        fields["swift_data_timestamp"] = moment
    known.update(fields)
    change.fields.update(fields)
