# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""How many requests a second one client may make: a bucket of tokens for each.

Each process counts for itself: a wall against clients that run wild, which costs a request next to nothing. One that
is spread over several processes may make that many times as much.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from .errors import ApiError


def too_many(message: str, seconds: float) -> ApiError:
    """429; says how long to wait."""
    wait = max(1, math.ceil(seconds))
    return ApiError(429, "too_many_requests", message, {"retry_after": wait}, {"Retry-After": str(wait)})


class Rates:
    """Buckets by client. A bucket holds `burst` tokens at most and gets `rate` a second; a rate of 0 is no limit."""

    def __init__(
        self, rate: float, burst: int, clients: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._clients, self._clock = rate, burst, clients, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> None:
        """Take a token out of the client's bucket. ApiError 429 where there is none."""
        if not self._rate:
            return
        now = self._clock()
        left, before = self._buckets.pop(client, (float(self._burst), now))
        left = min(float(self._burst), left + (now - before) * self._rate)
        # The one that was used last is the last to be forgotten.
        self._buckets[client] = (max(left - 1, 0.0) if left >= 1 else left, now)
        while len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        if left < 1:
            raise too_many(
                "too many requests; send fewer, or several objects by one request (POST …/objects/bulk)",
                (1 - left) / self._rate,
            )
