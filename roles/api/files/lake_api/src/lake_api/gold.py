# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The stores of gold besides the time series: tables, documents and files, graphs.

Each is read through the library's own reader, with an account that only reads. A lake may be without any of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from neocampus_lake.errors import AccessDenied, LakeError, NotFound, StoreError
from neocampus_lake.sinks.documents import DocumentReader, DocumentStore
from neocampus_lake.sinks.neo4j import Neo4j
from neocampus_lake.sinks.sql import SqlStore
from neocampus_lake.sinks.sql_reading import SqlReader
from pymongo.errors import PyMongoError

from .errors import ApiError, ServiceAway
from .settings import Settings
from .stores import Readers, mongo_client

R = TypeVar("R", SqlReader, DocumentReader, Neo4j)
T = TypeVar("T")

log = logging.getLogger("lake_api.gold")

_SECONDS = 30.0
_PATIENCE = 3.0
"""How long a graph that is away is tried again: who asks can do that as well."""
_SOONER = 0.8
"""The part of a reader's time after which the store itself gives a query up: then no thread outlives its request."""


class Part(Generic[R]):
    """One store of gold, where the lake has it. `holds` says what is in it."""

    def __init__(
        self,
        service: str,
        holds: str,
        reader: R | None = None,
        seconds: float = _SECONDS,
        close: Callable[[], None] | None = None,
    ) -> None:
        self._holds, self._close = holds, close
        self._reader: R | None = reader
        self._readers = Readers(service, seconds)

    @property
    def present(self) -> bool:
        """Whether the lake has this store."""
        return self._reader is not None

    @property
    def reader(self) -> R:
        """What reads it; its calls block. ApiError 404 where the lake has none."""
        if self._reader is None:
            raise ApiError(
                404,
                "not_in_this_lake",
                f"this lake keeps no {self._holds}: it was deployed without a store for them; ask its administrator",
            )
        return self._reader

    async def ask(
        self, read: Callable[..., T], *given: Any, missing: Callable[[], ApiError] | None = None, **named: Any
    ) -> T:
        """What a call of the reader gives; `missing` makes the error of what is not there.

        ServiceAway (503) when the store is away or too slow; InvalidInput and NotFound as the reader has them.
        """
        try:
            return await self._readers.run(read, *given, **named)
        except NotFound:
            if missing is None:
                raise
            raise missing() from None
        except (StoreError, AccessDenied, PyMongoError) as error:  # the last of files, which are read as streams
            log.error("%s: %s", type(error).__name__, error)
            service = self._readers.service
            raise ServiceAway(
                service,
                f"{service} does not answer, or not within {self._readers.seconds:g} s; send the request again later, "
                "or ask for less",
            ) from None

    async def alive(self) -> bool:
        """Whether the store lets the API in."""
        try:
            await self._readers.run(self.reader.ping)
        except (LakeError, ServiceAway):
            return False
        return True

    def close(self) -> None:
        """Close its connections."""
        if self._close is not None:
            self._close()


class Gold:
    """All of them."""

    def __init__(
        self,
        tables: Part[SqlReader] | None = None,
        documents: Part[DocumentReader] | None = None,
        graph: Part[Neo4j] | None = None,
    ) -> None:
        self.tables = tables or Part("The store of tables", "tables")
        self.documents = documents or Part("The store of documents", "documents and files")
        self.graph = graph or Part("The graph", "graphs")

    @classmethod
    def connect(cls, settings: Settings) -> Gold:
        """Clients for the stores that the lake has; none connects before it is used."""
        ca_file = str(settings.ca_file) if settings.ca_file else None
        gold = cls()
        if sql := settings.sql:
            store = SqlStore(
                sql.engine,
                sql.host,
                sql.username,
                sql.password.get_secret_value(),
                port=sql.port,
                database=sql.database,
                ca_file=ca_file,
                timeout=sql.timeout_seconds * _SOONER,
            )
            gold.tables = Part("The store of tables", "tables", SqlReader(store), sql.timeout_seconds, store.close)
        if mongodb := settings.gold_mongodb:
            milliseconds = int(mongodb.timeout_seconds * _SOONER * 1000)
            client = mongo_client(mongodb, settings.ca_file, timeoutMS=milliseconds)
            gold.documents = Part(
                "The store of documents",
                "documents and files",
                DocumentReader(DocumentStore(client)),
                mongodb.timeout_seconds,
                client.close,
            )
        if neo4j := settings.neo4j:
            server = Neo4j(
                neo4j.url,
                neo4j.username,
                neo4j.password.get_secret_value(),
                ca_file=ca_file,
                timeout=neo4j.timeout_seconds * _SOONER,
                patience=_PATIENCE,
            )
            gold.graph = Part("The graph", "graphs", server, neo4j.timeout_seconds, server.close)
        return gold

    def close(self) -> None:
        """Close the connections."""
        for part in (self.tables, self.documents, self.graph):
            part.close()
