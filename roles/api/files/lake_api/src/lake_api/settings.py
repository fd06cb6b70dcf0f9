# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The configuration file of the API: TOML, checked when read."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

CONFIG_VARIABLE = "LAKE_API_CONFIG"
DEFAULT_CONFIG = "/etc/lake-api/config.toml"
MIB = 1024 * 1024


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Server(_Section):
    """Where and how the API listens."""

    host: str = "127.0.0.1"
    port: int = 8443
    workers: int = Field(default=2, ge=1)
    certificate: Path | None = None
    key: Path | None = None
    trusted_proxies: list[str] = []
    """Addresses whose X-Forwarded-For and X-Request-ID are believed."""
    graceful_seconds: int = Field(default=30, ge=1)
    """How long running requests may last when the service stops."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class Identity(_Section):
    """Keystone, and who may do what."""

    urls: list[str] = Field(min_length=1)
    """Base URLs that end in /v3; the next is tried when one does not answer."""
    username: str
    password: SecretStr
    user_domain: str = "Default"
    project: str = "service"
    project_domain: str = "Default"
    people_domain: str = "campus"
    """Domain of users and projects when a log-in names none."""
    cache_seconds: float = Field(default=60, ge=0)
    """How long a validated token is believed; a revoked one is refused after this time at the latest."""
    cache_tokens: int = Field(default=10_000, ge=1)
    timeout_seconds: float = Field(default=10, gt=0)
    write_roles: list[str] = ["admin", "member"]
    read_roles: list[str] = ["admin", "member", "reader"]
    admin_roles: list[str] = ["admin"]
    """Who administers a project, e.g. sets quotas of its containers."""


class Swift(_Section):
    """The proxies of the raw zone."""

    urls: list[str] = Field(min_length=1)
    """https://host:port of each proxy, without a path."""
    account_prefix: str = "AUTH_"
    connect_seconds: float = Field(default=3, gt=0)
    answer_seconds: float = Field(default=60, gt=0)
    connections: int = Field(default=100, ge=1)


class Mongodb(_Section):
    """A replica set: that of the metadata zone, or that of gold documents and files."""

    hosts: list[str] = Field(min_length=1)
    replica_set: str | None = None
    username: str | None = None
    password: SecretStr | None = None
    auth_source: str = "admin"
    tls: bool = True
    select_seconds: float = Field(default=5, gt=0)
    """How long a request waits for a member that can serve it before it is answered with 503."""
    timeout_seconds: float = Field(default=30, gt=0)


class Influxdb(_Section):
    """The time series of the gold zone."""

    url: str
    username: str
    password: SecretStr
    timeout_seconds: float = Field(default=30, gt=0)


class Sql(_Section):
    """The tables of the gold zone."""

    engine: Literal["postgresql", "mariadb"] = "postgresql"
    host: str
    port: int | None = None
    database: str = "gold"
    """In MariaDB what the names of the databases begin with."""
    username: str
    password: SecretStr
    timeout_seconds: float = Field(default=30, gt=0)


class Neo4j(_Section):
    """The graph of the gold zone."""

    url: str
    """bolt://host:port"""
    username: str
    password: SecretStr
    timeout_seconds: float = Field(default=30, gt=0)


class Limits(_Section):
    """Sizes, in bytes, and numbers."""

    object_bytes: int = Field(default=5 * 1024 * MIB, ge=1)
    memory_bytes: int = Field(default=MIB, ge=1)
    """A file up to this size is held in memory and put in one piece; a larger one streams."""
    spool_bytes: int = Field(default=1024 * MIB, ge=0)
    """Largest file that may come before its metadata part."""
    spool_dir: Path = Path("/var/lib/lake-api/spool")
    metadata_bytes: int = Field(default=MIB, ge=1)
    bulk_files: int = Field(default=1000, ge=1)
    """Most files in one bulk insertion."""
    bulk_puts: int = Field(default=8, ge=1)
    """Objects that one bulk insertion puts in Swift at the same time."""
    block_files: int = Field(default=64, ge=1)
    block_bytes: int = Field(default=4 * MIB, ge=1)
    """A bulk insertion goes block by block. A block ends with so many files, or with the file that reaches so many
    bytes; three blocks of a request are in memory at most."""
    archive_objects: int = Field(default=10_000, ge=1)
    """Most objects in one archive."""


class Pipelines(_Section):
    """What the API knows of pipelines, and what a dry run may use."""

    root: Path = Path("/opt/neocampus/api-pipelines")
    """Folder of the projects' pipelines that are in force."""
    dry_run_bytes: int = Field(default=16 * MIB, ge=1)
    dry_run_memory_bytes: int = Field(default=512 * MIB, ge=1)
    dry_run_seconds: float = Field(default=20, gt=0)
    dry_runs: int = Field(default=2, ge=1)
    """How many one process of the API runs at the same time."""


class Settings(_Section):
    """All of it."""

    ca_file: Path | None = None
    """Authorities that the lake's own services are verified with; the system's when not given."""
    server: Server = Server()
    identity: Identity
    swift: Swift
    mongodb: Mongodb
    influxdb: Influxdb
    sql: Sql | None = None
    gold_mongodb: Mongodb | None = None
    neo4j: Neo4j | None = None
    """Stores of gold that a lake may be without."""
    limits: Limits = Limits()
    pipelines: Pipelines = Pipelines()


def load(path: str | os.PathLike[str] | None = None) -> Settings:
    """Read the file at `path`, else where LAKE_API_CONFIG points, else /etc/lake-api/config.toml.

    Raises OSError when it can't be read, tomllib.TOMLDecodeError or pydantic.ValidationError when it is wrong.
    """
    source = Path(path or os.environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG))
    return Settings.model_validate(tomllib.loads(source.read_text(encoding="utf-8")))
