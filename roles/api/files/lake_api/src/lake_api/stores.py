# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""MongoDB and InfluxDB, through the library; its calls block, so they run in threads."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import anyio
import pymongo
from neocampus_lake.anomaly_store import AnomalyStore
from neocampus_lake.catalogue import Catalogue
from neocampus_lake.errors import StoreError
from neocampus_lake.metadata import MetadataStore
from neocampus_lake.sinks.influxdb import InfluxDB

from .errors import ServiceAway
from .settings import Mongodb, Settings

T = TypeVar("T")

log = logging.getLogger("lake_api.stores")

_READERS = 8
_SOONER = 0.8
"""The part of a reader's time after which MongoDB itself gives a query up: then no thread outlives its request."""
IDS_SECONDS = 1.0
"""How long ids that were reserved ahead may be given out: by that ids may be younger than those that another process
gives at the same moment."""
_IDS_AHEAD = 64
GATHER_SECONDS = 0.025
"""How long work that could be done at once waits at most for others who are known to come with the same."""


async def blocking(function: Callable[..., T], *given: Any, **named: Any) -> T:
    """Run a blocking call in a thread."""
    return await anyio.to_thread.run_sync(functools.partial(function, *given, **named))


class Readers:
    """Blocking calls that read one store: in threads, a handful at a time, within the time that a reader waits.

    A thread whose time is over is left to the limits of the store's own client.
    """

    def __init__(self, service: str, seconds: float, threads: int = _READERS) -> None:
        self.service, self.seconds = service, seconds
        self._threads = threads
        self._limiter: anyio.CapacityLimiter | None = None

    async def run(self, read: Callable[..., T], *given: Any, **named: Any) -> T:
        """What `read` gives. ServiceAway (503) after the time."""
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(self._threads)
        try:
            with anyio.fail_after(self.seconds):
                return await anyio.to_thread.run_sync(
                    functools.partial(read, *given, **named), limiter=self._limiter, abandon_on_cancel=True
                )
        except TimeoutError:
            log.error("%s did not answer within %s s", self.service, self.seconds)
            raise ServiceAway(self.service) from None


def mongo_client(mongodb: Mongodb, ca_file: Path | None, **options: Any) -> pymongo.MongoClient[dict[str, Any]]:
    """A client that connects when it is first used and finds the primary again by itself."""
    return pymongo.MongoClient(
        mongodb.hosts,
        replicaSet=mongodb.replica_set,
        username=mongodb.username,
        password=mongodb.password.get_secret_value() if mongodb.password else None,
        authSource=mongodb.auth_source,
        tls=mongodb.tls,
        tlsCAFile=str(ca_file) if mongodb.tls and ca_file else None,
        tz_aware=True,
        serverSelectionTimeoutMS=int(mongodb.select_seconds * 1000),
        connectTimeoutMS=int(mongodb.select_seconds * 1000),
        socketTimeoutMS=int(mongodb.timeout_seconds * 1000),
        appname="lake-api",
        **options,
    )


def metadata_client(settings: Settings) -> pymongo.MongoClient[dict[str, Any]]:
    """The client of the metadata store: what it reads and writes is what a majority of the members has."""
    return mongo_client(settings.mongodb, settings.ca_file, w="majority", readConcernLevel="majority")


def influx_client(settings: Settings) -> InfluxDB:
    """The sink's client with the API's reading user."""
    influxdb = settings.influxdb
    return InfluxDB(
        influxdb.url,
        influxdb.username,
        influxdb.password.get_secret_value(),
        ca_file=str(settings.ca_file) if settings.ca_file else None,
        timeout=influxdb.timeout_seconds,
    )


class Together(Generic[T]):
    """Work that costs as much for many items as for one: what is given at about the same time is done together.

    It begins when no other is under way and nobody is `coming` any more, or `seconds` after that. `work` blocks and
    must not raise: it says on each item what became of it.
    """

    def __init__(self, work: Callable[[list[T]], None], seconds: float = GATHER_SECONDS) -> None:
        self._work, self._seconds = work, seconds
        self._gathered: list[T] = []
        self._lock = asyncio.Lock()
        self._coming = 0
        self._all_here = asyncio.Event()

    @contextmanager
    def coming(self) -> Iterator[Callable[[], None]]:
        """Announces a call of `do`, which calls what this gives when it is made; the context's end does so too."""
        expected = True

        def here() -> None:
            nonlocal expected
            if expected:
                expected = False
                self._coming -= 1
                if not self._coming:
                    self._all_here.set()

        self._coming += 1
        self._all_here.clear()
        try:
            yield here
        finally:
            here()

    async def do(self, items: Iterable[T]) -> None:
        """Returns when the work is done on these."""
        gathered = self._gathered
        gathered += items
        async with self._lock:
            # Who comes first does it for all that wait here; they then find another list.
            if gathered is self._gathered:
                if self._coming:
                    with anyio.move_on_after(self._seconds):
                        await self._all_here.wait()
                self._gathered = []
                await blocking(self._work, gathered)


class Ids:
    """Object ids. Under load they are reserved ahead, for a moment: a reservation costs as much for many as for one.

    Those that were not given out by then are never used. May be used by several threads.
    """

    def __init__(self, reserve: Callable[[int], list[str]], clock: Callable[[], float] = time.monotonic) -> None:
        self._reserve, self._clock = reserve, clock
        self._lock = threading.Lock()
        self._left: list[str] = []  # the next one last
        self._used, self._until = 0, 0.0

    def take(self, count: int) -> list[str]:
        """The next ids, in order. Errors: StoreError."""
        with self._lock:
            late = self._clock() >= self._until
            if late or len(self._left) < count:
                # As many as were used in the time of the last ones; twice as many where these did not last.
                ahead = min(self._used if late else 2 * self._used, _IDS_AHEAD)
                if self._clock() >= self._until + IDS_SECONDS:
                    ahead = 0  # nothing was asked for in the meantime
                self._left = self._reserve(max(count, ahead))[::-1]
                self._used, self._until = 0, self._clock() + IDS_SECONDS
            self._used += count
            given = self._left[: -count - 1 : -1]
            del self._left[-count:]
            return given


class Stores:
    """The metadata store and the time series, and which store a project's container has."""

    def __init__(
        self, client: pymongo.MongoClient[dict[str, Any]], influxdb: InfluxDB, series_seconds: float = 30
    ) -> None:
        self.client, self.influxdb = client, influxdb
        self.metadata = MetadataStore(client)
        self.ids = Ids(self._reserve)
        self.catalogue = Catalogue(client, series_seconds * _SOONER)
        self.anomalies = AnomalyStore(client)
        self._catalogue = Readers("The metadata store", series_seconds)
        self._series = Readers("InfluxDB", series_seconds)

    def _reserve(self, count: int) -> list[str]:
        return self.metadata.reserve_ids(count)

    async def store(self, project_id: str, container: str, create: bool = False) -> str | None:
        """The store of the project's container, or None; `create` claims one."""
        return await blocking(self.metadata.store_for, project_id, container, create)

    async def read(self, read: Callable[..., T], *given: Any, **named: Any) -> T:
        """Run a reading call of the catalogue, within the time a reader waits. ServiceAway (503) after it."""
        return await self._catalogue.run(read, *given, **named)

    async def series(self, read: Callable[..., list[T]], *given: Any, **named: Any) -> list[T]:
        """Run a reading call of the InfluxDB client, within the time a reader waits. ServiceAway (503) after it."""
        try:
            return await self._series.run(read, *given, **named)
        except StoreError as error:
            # The reader is let in when the first point of a container is written; before that there is nothing to read.
            if error.context.get("status") == 403:
                log.warning("%s", error)
                return []
            log.error("%s", error)
            raise ServiceAway("InfluxDB") from None

    async def mongodb_alive(self) -> bool:
        """Whether a primary answers."""
        try:
            await blocking(self.client.admin.command, "ping")
        except pymongo.errors.PyMongoError:
            return False
        return True

    async def influxdb_alive(self) -> bool:
        """Whether InfluxDB answers the API's user."""
        try:
            await self.series(self.influxdb.query, None, "SHOW DATABASES")
        except ServiceAway:
            return False
        return True
