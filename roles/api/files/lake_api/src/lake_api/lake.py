# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The parts of the lake that a running API holds, and what routes ask of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader
from neocampus_lake.documents import check_container_name

from .audit import Audit
from .downloads import Downloads
from .errors import ApiError, not_found
from .gold import Gold
from .idempotency import Keys
from .identity import Identity, Keystone, Tokens, require
from .inserts import Inserter
from .large import LargeUploads
from .live import Hub
from .logins import Logins
from .observe import note
from .own_account import OwnAccount
from .pulls import Pulls
from .rates import Rates
from .revocations import Revocations
from .settings import Settings
from .stores import Stores, influx_client, metadata_client
from .swift import Swift


@dataclass(frozen=True)
class Lake:
    """Everything behind the routes."""

    settings: Settings
    keystone: Keystone
    tokens: Tokens
    swift: Swift
    stores: Stores
    inserter: Inserter
    gold: Gold = field(default_factory=Gold)
    downloads: Downloads = field(default_factory=Downloads)
    live: Hub = field(init=False)
    large: LargeUploads = field(init=False)
    pulls: Pulls = field(init=False)

    def __post_init__(self) -> None:
        own = OwnAccount(self.keystone)
        large = LargeUploads(self.settings.uploads, self.swift, self.stores, self.inserter, own)
        roles = self.settings.identity.write_roles
        pulls = Pulls(self.settings.pulls, roles, self.keystone, self.stores, self.inserter)
        object.__setattr__(self, "large", large)
        object.__setattr__(self, "pulls", pulls)
        object.__setattr__(self, "live", Hub(self.stores, self.settings.live))

    @property
    def keys(self) -> Keys:
        """Insertions that may be sent again."""
        return Keys(self.stores, self.swift)

    @classmethod
    def connect(cls, settings: Settings) -> Lake:
        """Clients for every part; none connects before it is used, so the API starts while parts are away."""
        ca_file = str(settings.ca_file) if settings.ca_file else None
        keystone = Keystone(settings.identity, ca_file)
        swift = Swift(settings.swift, ca_file)
        stores = Stores(metadata_client(settings), influx_client(settings), settings.influxdb.timeout_seconds)
        return cls(
            settings,
            keystone,
            Tokens(keystone, settings.identity, Revocations(stores.client, settings.identity)),
            swift,
            stores,
            Inserter(settings.limits, swift, stores),
            Gold.connect(settings),
            Downloads(settings.limits.downloads),
        )

    @cached_property
    def logins(self) -> Logins:
        """Log-ins that failed."""
        return Logins(self.stores.client, self.settings.walls)

    @cached_property
    def audit(self) -> Audit:
        """Who did what."""
        return Audit(self.stores.client, self.settings.audit)

    @cached_property
    def rates(self) -> Rates:
        """Requests of each user."""
        return Rates(self.settings.walls.user_rate, self.settings.walls.user_burst)

    async def close(self) -> None:
        """Close the connections, after what is left of the audit was written down."""
        self.live.close()
        await self.large.close()
        await self.audit.stop()
        await self.swift.close()
        self.stores.client.close()
        self.gold.close()

    async def store(self, identity: Identity, container: str) -> str:
        """The store of a container of the token's project. InvalidName, or 404 for none such or another project's."""
        check_container_name(container)
        store = await self.stores.store(identity.project_id or "", container)
        if store is None:
            raise not_found(
                f"container {container!r}",
                "GET /api/v1/containers lists those that do; one is made with its first object",
            )
        return store


# Dependencies are coroutines, though they wait for nothing: others would each cost a thread.


async def _lake(request: Request) -> Lake:
    lake: Lake = request.app.state.lake
    return lake


TheLake = Annotated[Lake, Depends(_lake)]

_token = APIKeyHeader(
    name="X-Auth-Token",
    scheme_name="token",
    auto_error=False,
    description="A Keystone token of a project: POST /api/v1/auth/token",
)


async def _identity(
    request: Request, lake: TheLake, token: Annotated[str | None, Security(_token)]
) -> AsyncIterator[Identity]:
    identity = await lake.tokens.identity(token)
    note(request.scope, user=identity.user, project=identity.project)
    request.scope["lake.identity"] = identity
    lake.rates.take(identity.user_id)
    try:
        yield identity
    except ApiError as error:
        if error.status == 401:
            lake.tokens.forget(identity.token)
        raise


async def _administrator(lake: TheLake, identity: Annotated[Identity, Depends(_identity)]) -> Identity:
    require(identity, lake.settings.identity.admin_roles, "administration")
    return identity


async def _reader(lake: TheLake, identity: Annotated[Identity, Depends(_identity)]) -> Identity:
    require(identity, lake.settings.identity.read_roles, "reading")
    return identity


async def _writer(lake: TheLake, identity: Annotated[Identity, Depends(_identity)]) -> Identity:
    require(identity, lake.settings.identity.write_roles, "inserting")
    return identity


# The scopes are what OpenAPI 3.1 calls the role names that an operation requires: its document has them.
Anybody = Annotated[Identity, Depends(_identity)]
"""Whoever has a valid token, of a project or of none."""
Administrator = Annotated[Identity, Security(_administrator, scopes=["administrator"])]
Reader = Annotated[Identity, Security(_reader, scopes=["reader"])]
Writer = Annotated[Identity, Security(_writer, scopes=["writer"])]
