# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events: an object was put, changed or deleted. Made by the Swift middleware, carried by the relay, read by the
workflow."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from .errors import InvalidInput

# The names of the webhook's payload where they differ from the event's own.
_PAYLOAD_NAMES = {"object_name": "swift_id", "container": "swift_container", "user": "swift_user"}
_REQUIRED = ("project_id", "container", "object_name")
_TIMESTAMP = re.compile(r"(\d{1,10})(?:\.(\d+))?(?:_([0-9a-fA-F]{1,16}))?", re.ASCII)

TYPES = ("put", "post", "delete")
"""An object appeared or was replaced; its metadata changed; it is gone."""


def normal_timestamp(text: str) -> str:
    """Swift's X-Timestamp (seconds, 10 µs, optional `_offset` in hexadecimal) in a form whose texts compare as its
    numbers do, here and in MongoDB; empty stays empty, which is before all others.

    Errors: InvalidInput.
    """
    if not text:
        return ""
    match = _TIMESTAMP.fullmatch(text)
    if not match:
        raise InvalidInput(f"{text!r:.60} is not a timestamp of Swift (1626951682.12345)")
    seconds, fraction, offset = match.groups()
    normal = f"{int(seconds):010d}.{(fraction or '')[:5]:0<5}"
    return f"{normal}_{int(offset, 16):016x}" if offset and int(offset, 16) else normal


@dataclass(frozen=True)
class Event:
    """What happened to one object. `type` is one of TYPES; `size` in bytes; `timestamp` is Swift's X-Timestamp, empty
    where somebody asks by hand for the object as it is; `user` is empty for anonymous.

    After a post, `content_type` is the type after it or empty (the same as before), `size` and `etag` may be unknown
    (0, empty).
    """

    id: str
    type: str
    account: str
    project_id: str
    container: str
    object_name: str
    user: str
    user_id: str
    content_type: str
    size: int
    etag: str
    timestamp: str
    transaction_id: str

    @property
    def moment(self) -> str:
        """The timestamp in the form that compares."""
        return normal_timestamp(self.timestamp)

    def to_payload(self) -> dict[str, Any]:
        """What the workflow gets: `swift_id` (the object's name), `swift_container`, `swift_user`, `content_type`, …"""
        return {_PAYLOAD_NAMES.get(name, name): getattr(self, name) for name in _NAMES}

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Event:
        """The event of a payload, which has at least `swift_id`, `swift_container` and `project_id`.

        Errors: InvalidInput, naming the key.
        """
        if not isinstance(payload, Mapping):
            raise InvalidInput(f"an event's payload has keys and values, this is {payload!r:.100}")
        values: dict[str, Any] = {}
        for name in _NAMES:
            key = _PAYLOAD_NAMES.get(name, name)
            value = payload.get(key)
            if value is None:
                value = {"size": 0, "type": "put"}.get(name, "")
            if name == "size":
                if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                    raise InvalidInput(f"event: {key} is a number of bytes, not {value!r:.100}", key=key)
            elif not isinstance(value, str):
                raise InvalidInput(f"event: {key} is a text, not {value!r:.100}", key=key)
            if name in _REQUIRED and not value:
                raise InvalidInput(f"event: {key} is missing", key=key)
            values[name] = value
        if values["type"] not in TYPES:
            raise InvalidInput(f"event: type is one of {', '.join(TYPES)}, not {values['type']!r:.100}", key="type")
        try:
            normal_timestamp(values["timestamp"])
        except InvalidInput as error:
            raise InvalidInput(f"event: timestamp: {error}", key="timestamp") from None
        if not values["id"]:  # put on a list by hand: the same entry is the same event
            parts = [values[name] for name in (*_REQUIRED, "timestamp")]
            values["id"] = hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:32]
        return cls(**values)

    def to_line(self) -> str:
        """One line of the outbox, ASCII, with its line end: the CRC-32 (8 hex digits), a space, the payload's JSON."""
        text = json.dumps(self.to_payload(), separators=(",", ":"))
        return f"{zlib.crc32(text.encode()):08x} {text}\n"

    @classmethod
    def from_line(cls, line: str | bytes) -> Event:
        """The event of a line of the outbox. Errors: InvalidInput where the line is torn or altered."""
        if isinstance(line, bytes):
            line = line.decode("ascii", "replace")
        crc, _space, text = line.rstrip("\n").partition(" ")
        if crc != f"{zlib.crc32(text.encode(errors='replace')):08x}":
            raise InvalidInput(f"this line is no whole event (its CRC-32 differs): {line!r:.100}")
        try:
            payload = json.loads(text)
        except ValueError:
            raise InvalidInput(f"this line is no event: {line!r:.100}") from None
        return cls.from_payload(payload)


_NAMES = tuple(field.name for field in fields(Event))


def batch_id(events: Iterable[Event]) -> str:
    """16 hex digits that stand for these events in this order: the same batch has the same id when it is sent again."""
    digest = hashlib.sha256()
    for event in events:
        digest.update(event.id.encode(errors="surrogatepass") + b"\n")
    return digest.hexdigest()[:16]


def run_id(events: Iterable[Event]) -> str:
    """The id of the `new_input` run of a batch: starting it twice gives a conflict, never two runs."""
    return f"new_input__{batch_id(events)}"
