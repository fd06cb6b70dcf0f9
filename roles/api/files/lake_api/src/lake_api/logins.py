# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Log-ins that failed, and how long no more are taken: for a user, known or not, and for an address.

The counters are in MongoDB (`access`.`failures`), so that all processes of all hosts have the same, and expire there.
A block refuses the right password too, and says nothing of whether there is such a user.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
from pymongo.errors import DuplicateKeyError

from .errors import ApiError
from .rates import too_many
from .settings import Walls
from .stores import blocking

_LONGEST_EXPONENT = 32


def _now() -> datetime:
    return datetime.now(UTC)


class Logins:
    """Counts failures. `clock` gives the time."""

    def __init__(
        self,
        client: pymongo.MongoClient[dict[str, Any]],
        settings: Walls,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._failures = client["access"]["failures"]
        self._settings, self._clock = settings, clock

    async def check(self, user: str, address: str) -> None:
        """ApiError 429 while log-ins of the user, or from the address, are not taken."""
        keys = [key for key, _most in self._keys(user, address)]
        blocks = await blocking(self._blocks, keys)
        left = (max(blocks) - self._clock()).total_seconds() if blocks else 0
        if left > 0:
            raise self._refused(left)

    async def failed(self, user: str, address: str) -> None:
        """Count a failure of both."""
        for key, most in self._keys(user, address):
            await blocking(self._count, key, most)

    async def succeeded(self, user: str) -> None:
        """Forget the user's failures. Those of the address stay: else an account of one's own would do to guess on."""
        await blocking(self._failures.delete_one, {"_id": self._keys(user, "")[0][0]})

    def _keys(self, user: str, address: str) -> Sequence[tuple[str, int]]:
        """The counters' names and how many failures are let pass. A digest: people do type passwords as their name."""
        named = hashlib.sha256(user.casefold().encode()).hexdigest()
        return (f"user:{named}", self._settings.user_failures), (f"address:{address}", self._settings.address_failures)

    def _blocks(self, keys: list[str]) -> list[datetime]:
        found = self._failures.find({"_id": {"$in": keys}, "blocked_until": {"$gt": self._clock()}})
        return [one["blocked_until"] for one in found]

    def _count(self, key: str, most: int) -> None:
        now = self._clock()
        expires = now + timedelta(seconds=self._settings.window_seconds)
        failures = self._increased(key, now, expires)
        if failures < most:
            return
        doubled = self._settings.block_seconds * 2 ** min(failures - most, _LONGEST_EXPONENT)
        until = now + timedelta(seconds=min(doubled, self._settings.longest_block_seconds))
        later = until + timedelta(seconds=self._settings.window_seconds)
        self._failures.update_one({"_id": key}, {"$max": {"blocked_until": until, "expires_at": later}})

    def _increased(self, key: str, now: datetime, expires: datetime) -> int:
        """Failures with this one. What has expired counts no longer, whether or not the server has removed it."""
        change = {"$inc": {"failures": 1}, "$max": {"expires_at": expires}}
        while True:
            try:
                found = self._failures.find_one_and_update(
                    {"_id": key, "expires_at": {"$gt": now}},
                    change,
                    upsert=True,
                    return_document=pymongo.ReturnDocument.AFTER,
                )
            except DuplicateKeyError:  # one that has expired, or that another process has made just now
                self._failures.delete_one({"_id": key, "expires_at": {"$lte": now}})
                continue
            return int(found["failures"]) if found else 1

    @staticmethod
    def _refused(seconds: float) -> ApiError:
        return too_many("too many log-ins failed; wait, and log in again then", seconds)
