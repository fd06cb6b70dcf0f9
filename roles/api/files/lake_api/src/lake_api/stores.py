# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""MongoDB and InfluxDB, through the library; its calls block, so they run in threads."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import pymongo
from neocampus_lake.anomaly_store import AnomalyStore
from neocampus_lake.errors import StoreError
from neocampus_lake.metadata import MetadataStore
from neocampus_lake.sinks.influxdb import InfluxDB

from .errors import ServiceAway
from .settings import Settings

T = TypeVar("T")

log = logging.getLogger("lake_api.stores")

_SERIES_THREADS = 8


async def blocking(function: Callable[..., T], *given: Any, **named: Any) -> T:
    """Run a blocking call in a thread."""
    return await anyio.to_thread.run_sync(functools.partial(function, *given, **named))


def mongo_client(settings: Settings) -> pymongo.MongoClient[dict[str, Any]]:
    """A client that connects when it is first used and finds the primary again by itself."""
    mongodb = settings.mongodb
    return pymongo.MongoClient(
        mongodb.hosts,
        replicaSet=mongodb.replica_set,
        username=mongodb.username,
        password=mongodb.password.get_secret_value() if mongodb.password else None,
        authSource=mongodb.auth_source,
        tls=mongodb.tls,
        tlsCAFile=str(settings.ca_file) if mongodb.tls and settings.ca_file else None,
        w="majority",
        readConcernLevel="majority",
        tz_aware=True,
        serverSelectionTimeoutMS=int(mongodb.select_seconds * 1000),
        connectTimeoutMS=int(mongodb.select_seconds * 1000),
        socketTimeoutMS=30_000,
        appname="lake-api",
    )


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


class Stores:
    """The metadata store and the time series, and which store a project's container has."""

    def __init__(
        self, client: pymongo.MongoClient[dict[str, Any]], influxdb: InfluxDB, series_seconds: float = 30
    ) -> None:
        self.client, self.influxdb = client, influxdb
        self.metadata = MetadataStore(client)
        self.anomalies = AnomalyStore(client)
        self._series_seconds = series_seconds
        self._series_limiter: anyio.CapacityLimiter | None = None

    async def store(self, project_id: str, container: str, create: bool = False) -> str | None:
        """The store of the project's container, or None; `create` claims one."""
        return await blocking(self.metadata.store_for, project_id, container, create)

    async def series(self, read: Callable[..., list[T]], *given: Any, **named: Any) -> list[T]:
        """Run a reading call of the InfluxDB client, within the time a reader waits. ServiceAway (503) after it."""
        if self._series_limiter is None:
            self._series_limiter = anyio.CapacityLimiter(_SERIES_THREADS)
        try:
            with anyio.fail_after(self._series_seconds):
                return await anyio.to_thread.run_sync(
                    functools.partial(read, *given, **named), limiter=self._series_limiter, abandon_on_cancel=True
                )
        except TimeoutError:
            log.error("InfluxDB did not answer within %s s", self._series_seconds)
            raise ServiceAway("InfluxDB") from None
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
