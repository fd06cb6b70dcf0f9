# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Cursors and times in queries.

A cursor is opaque to clients: base64url of a small JSON list that names the query it belongs to and a position
in its list.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from neocampus_lake.errors import InvalidInput
from neocampus_lake.times import parse_time
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from .errors import bad_request

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def encode(query: tuple[Any, ...], position: str) -> str:
    """The cursor for the page of `query` that starts after `position`."""
    text = json.dumps([_digest(query), position], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(query: tuple[Any, ...], cursor: str | None) -> str | None:
    """The position in `cursor`, or None without one. ApiError 400 for a cursor that this query did not give."""
    if cursor is None:
        return None
    try:
        digest, position = json.loads(
            base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        )
    except (binascii.Error, ValueError, TypeError, RecursionError):
        digest = position = None
    if digest != _digest(query) or not isinstance(position, str):
        raise bad_request(
            "query parameter 'cursor': is not a cursor of this query; give the 'next' of the page before unchanged, "
            "with the same other parameters, or leave it out to start at the beginning",
            "invalid_cursor",
        )
    return position


def _digest(query: tuple[Any, ...]) -> str:
    return hashlib.sha256(json.dumps(query, default=str).encode()).hexdigest()[:12]


def page(items: list[Any], limit: int, query: tuple[Any, ...], position: Any) -> dict[str, Any]:
    """A list's answer from up to `limit` + 1 items; `position(items of the page)` is where the next page starts."""
    shown = items[:limit]
    return {"items": shown, "next": encode(query, position(shown)) if len(items) > limit else None}


def of_all(
    items: Iterable[dict[str, Any]],
    given: Paged,
    query: tuple[Any, ...],
    order: Callable[[dict[str, Any]], tuple[str, ...]],
) -> dict[str, Any]:
    """A list's answer from all items that there are, in the order of the texts that `order` gives, unique to each."""
    after = decode(query, given.cursor)
    placed = sorted((("\0".join(order(item)), item) for item in items), key=lambda pair: pair[0])
    left = [pair for pair in placed if after is None or pair[0] > after]
    answer = page(left, given.limit, query, lambda shown: shown[-1][0])
    return {**answer, "items": [item for _place, item in answer["items"]]}


def continued(items: list[Any], after: str | None, query: tuple[Any, ...]) -> dict[str, Any]:
    """A list's answer from a page of a reader and its own cursor for the next one, or None."""
    return {"items": items, "next": None if after is None else encode(query, after)}


def nanoseconds(text: str) -> int:
    """An ISO 8601 time in a query as ns since the epoch; without a zone it is UTC. Raises ValueError."""
    # The + of a zone arrives as a space where the client did not escape it.
    given = text.strip()
    given = given.replace(" ", "+") if "T" in given else given
    try:
        return parse_time(given)
    except InvalidInput:
        raise ValueError(
            f"{text[:40]!r} is not a time between 1677 and 2262; write ISO 8601, e.g. 2021-07-22T10:00:00Z"
        ) from None


def moment(ns: int) -> datetime:
    """ns since the epoch as an aware UTC time, to the microsecond."""
    return _EPOCH + timedelta(microseconds=ns // 1000)


Time = Annotated[
    int | None,
    BeforeValidator(lambda value: nanoseconds(value) if isinstance(value, str) else value),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}),
]


class Paged(BaseModel):
    """What every list takes; a parameter it does not know is refused, for it would silently change nothing."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    limit: int = Field(default=100, ge=1, le=1000, description="Items on a page.")
    cursor: str | None = Field(default=None, max_length=4096, description="The `next` of the page before.")


class Span(BaseModel):
    """`from` <= time < `to`."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    start: Time = Field(default=None, alias="from", description="ISO 8601; this time and later.")
    end: Time = Field(default=None, alias="to", description="ISO 8601; before this time.")

    @model_validator(mode="after")
    def _ordered(self) -> Span:
        if self.start is not None and self.end is not None and self.start > self.end:
            raise ValueError("'from' is later than 'to'; exchange them")
        return self


class Between(Paged, Span):
    """A list in time: `from` <= time < `to`."""
