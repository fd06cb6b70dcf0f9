# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cache that may be away."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

redis_errors = pytest.importorskip("redis.exceptions")
dogpile = pytest.importorskip("dogpile.cache")

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "roles/keystone/files/lake_keystone"))

from lake_keystone.cache import PAUSE_SECONDS, MayBeAway, Pause  # noqa: E402


class Backend(dogpile.api.CacheBackend):
    """Keeps values in memory; raises ``error`` where that is set."""

    def __init__(self):
        self.values = {}
        self.error = None
        self.asked = 0

    def _ask(self):
        self.asked += 1
        if self.error:
            raise self.error

    def get(self, key):
        self._ask()
        return self.values.get(key, dogpile.api.NO_VALUE)

    def get_multi(self, keys):
        return [self.get(key) for key in keys]

    def set(self, key, value):
        self._ask()
        self.values[key] = value

    def set_multi(self, mapping):
        for key, value in mapping.items():
            self.set(key, value)

    def delete(self, key):
        self._ask()
        self.values.pop(key, None)

    def delete_multi(self, keys):
        for key in keys:
            self.delete(key)


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def backend():
    return Backend()


@pytest.fixture
def pause(now):
    return Pause(clock=lambda: now[0])


@pytest.fixture
def cache(backend, pause):
    return MayBeAway(pause=pause).wrap(backend)


def test_passes_on_what_the_cache_has(cache):
    cache.set("a", 1)
    cache.set_multi({"b": 2})
    assert cache.get_multi(["a", "b", "c"]) == [1, 2, dogpile.api.NO_VALUE]
    cache.delete_multi(["a"])
    assert cache.get("a") is dogpile.api.NO_VALUE


@pytest.mark.parametrize("error", [redis_errors.ConnectionError("refused"), redis_errors.TimeoutError("slow")])
def test_finds_nothing_while_the_server_is_away(cache, backend, error):
    cache.set("a", 1)
    backend.error = error
    assert cache.get("a") is dogpile.api.NO_VALUE
    assert cache.get_multi(iter(["a", "b"])) == [dogpile.api.NO_VALUE] * 2
    cache.set("b", 2)
    cache.delete("a")


def test_asks_again_after_a_pause_only(cache, backend, now):
    cache.set("a", 1)
    backend.error = redis_errors.ConnectionError("refused")
    cache.get("a")
    asked = backend.asked
    cache.get("a")
    assert backend.asked == asked
    backend.error = None
    now[0] = PAUSE_SECONDS
    assert cache.get("a") == 1


def test_all_regions_of_the_cache_pause_together(cache, backend, pause):
    backend.error = redis_errors.ConnectionError("refused")
    cache.get("a")
    other = Backend()
    assert MayBeAway(pause=pause).wrap(other).get("a") is dogpile.api.NO_VALUE
    assert other.asked == 0


def test_an_error_of_the_request_itself_is_raised(cache, backend):
    backend.error = redis_errors.ResponseError("NOPERM")
    with pytest.raises(redis_errors.ResponseError):
        cache.get("a")
