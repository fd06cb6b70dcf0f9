# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""What no process of the API may believe any longer: tokens that were given back, and users and projects whose rights
were changed.

Each process keeps validated tokens for a while. What is noted here is seen by all processes of all hosts, since each
looks at what is new before it believes a token that it keeps; at most once in `revocation_seconds`. Where it can't
look, it believes none, and asks Keystone.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pymongo
from pymongo.errors import PyMongoError

from .settings import Identity
from .stores import blocking

log = logging.getLogger("lake_api.revocations")

Kind = Literal["token", "user", "project", "all"]

_OVERLAP = timedelta(seconds=30)
"""Notes of hosts whose clocks differ by less than this are not missed."""


def digest(token: str) -> str:
    """What a token is known by: it can't be got back from it."""
    return hashlib.sha256(token.encode()).hexdigest()


class Revocations:
    """The list, in MongoDB (`access`.`revocations`); a note expires when no process can have what it is about."""

    def __init__(
        self,
        client: pymongo.MongoClient[dict[str, Any]],
        settings: Identity,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notes = client["access"]["revocations"]
        self._settings, self._clock = settings, clock
        self._seen: dict[Any, datetime] = {}
        self._since = datetime.now(UTC)
        self._looked = -float("inf")
        self._looking: asyncio.Future[bool] | None = None

    async def add(self, kind: Kind, what: str) -> None:
        """Note that what is kept of `what` (a token's digest, a user's or project's id) holds no longer."""
        now = datetime.now(UTC)
        kept = timedelta(seconds=self._settings.cache_seconds) + 2 * _OVERLAP
        note = {"kind": kind, "what": what, "at": now, "expires_at": now + kept}
        await blocking(self._notes.insert_one, note)

    async def current(self, forget: Callable[[Mapping[str, Any]], None]) -> bool:
        """Give what is new to `forget`; whether the list is as new as it has to be."""
        if self._clock() - self._looked < self._settings.revocation_seconds:
            return True
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._look(forget))
            self._looking.add_done_callback(self._done)
        return await asyncio.shield(self._looking)

    def _done(self, _looked: asyncio.Future[bool]) -> None:
        self._looking = None

    async def _look(self, forget: Callable[[Mapping[str, Any]], None]) -> bool:
        started, now = self._clock(), datetime.now(UTC)
        try:
            notes = await blocking(self._new_notes)
        except PyMongoError as error:
            log.warning("the list of revoked tokens can't be read, Keystone is asked instead: %s", type(error).__name__)
            return False
        for note in notes:
            if note["_id"] not in self._seen:
                self._seen[note["_id"]] = note["at"]
                forget(note)
        self._since = now - _OVERLAP
        self._seen = {one: at for one, at in self._seen.items() if at > self._since - _OVERLAP}
        self._looked = started
        return True

    def _new_notes(self) -> list[dict[str, Any]]:
        return list(self._notes.find({"at": {"$gt": self._since - _OVERLAP}}).max_time_ms(2000))
