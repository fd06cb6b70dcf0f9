# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Go on without the cache where it is away: nobody should be kept out because Redis is.

Used by ``[cache] proxies`` of keystone.conf, and by ``lake_keystone.wsgi``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dogpile.cache.api import NO_VALUE, CacheBackend
from dogpile.cache.proxy import ProxyBackend
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

log = logging.getLogger(__name__)

# Seconds for which a cache that was away is not asked again.
PAUSE_SECONDS = 2.0


class Pause:
    """How long a server that was away is left alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = float("-inf")

    def __bool__(self) -> bool:
        return self._clock() < self._until

    def begin(self) -> None:
        """Leave it alone from now on."""
        self._until = self._clock() + PAUSE_SECONDS


# Keystone has many regions of one cache, whose server is away for all of them.
_PAUSE = Pause()


class MayBeAway(ProxyBackend):
    """A cache in which nothing is found, and in which nothing is kept, while its server is away.

    What can't be deleted while the server is away is gone all the same: the server keeps nothing on disk.
    """

    def __init__(self, *arguments: Any, pause: Pause = _PAUSE, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pause = pause

    def wrap(self, backend: CacheBackend) -> MayBeAway:
        """Put this in front of ``backend``."""
        super().wrap(backend)
        return self

    def get(self, key: str) -> Any:
        """As the cache has it, or NO_VALUE."""
        return self._try(lambda: self.proxied.get(key), NO_VALUE)

    def get_multi(self, keys: Iterable[str]) -> Sequence[Any]:
        """As the cache has them, or NO_VALUE for each."""
        wanted = list(keys)
        return self._try(lambda: self.proxied.get_multi(wanted), [NO_VALUE] * len(wanted))

    def get_serialized(self, key: str) -> Any:
        """As the cache has it, or NO_VALUE."""
        return self._try(lambda: self.proxied.get_serialized(key), NO_VALUE)

    def get_serialized_multi(self, keys: Iterable[str]) -> Sequence[Any]:
        """As the cache has them, or NO_VALUE for each."""
        wanted = list(keys)
        return self._try(lambda: self.proxied.get_serialized_multi(wanted), [NO_VALUE] * len(wanted))

    def set(self, key: str, value: Any) -> None:
        """Keep the value."""
        self._try(lambda: self.proxied.set(key, value), None)

    def set_multi(self, mapping: Mapping[str, Any]) -> None:
        """Keep the values."""
        self._try(lambda: self.proxied.set_multi(mapping), None)

    def set_serialized(self, key: str, value: bytes) -> None:
        """Keep the value."""
        self._try(lambda: self.proxied.set_serialized(key, value), None)

    def set_serialized_multi(self, mapping: Mapping[str, bytes]) -> None:
        """Keep the values."""
        self._try(lambda: self.proxied.set_serialized_multi(mapping), None)

    def delete(self, key: str) -> None:
        """Forget the key."""
        self._try(lambda: self.proxied.delete(key), None)

    def delete_multi(self, keys: Iterable[str]) -> None:
        """Forget the keys."""
        wanted = list(keys)
        self._try(lambda: self.proxied.delete_multi(wanted), None)

    def _try(self, act: Callable[[], Any], otherwise: Any) -> Any:
        """What the cache answers, or ``otherwise`` where it is away."""
        if self._pause:
            return otherwise
        try:
            return act()
        except (RedisConnectionError, RedisTimeoutError) as error:
            self._pause.begin()
            log.warning("going on without the cache: %s", error)
            return otherwise
