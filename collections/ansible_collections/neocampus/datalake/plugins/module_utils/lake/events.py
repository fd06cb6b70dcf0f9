# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events: "an object was put". Made by the Swift middleware, carried by the relay, read by the workflow."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from .errors import InvalidInput

# The names of the webhook's payload where they differ from the event's own.
_PAYLOAD_NAMES = {"object_name": "swift_id", "container": "swift_container", "user": "swift_user"}
_REQUIRED = ("project_id", "container", "object_name")


@dataclass(frozen=True)
class Event:
    """One object that was put. `size` in bytes; `timestamp` is Swift's X-Timestamp; `user` is empty for anonymous."""

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
