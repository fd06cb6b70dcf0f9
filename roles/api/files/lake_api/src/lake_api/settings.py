# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The configuration file of the API: TOML, checked when read."""

from __future__ import annotations

import os
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from cryptography.fernet import Fernet
from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, SecretStr, field_validator

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
    drain_seconds: float = Field(default=5, ge=0)
    """How long a worker that is to stop goes on answering, with word that the connection ends: longer than the edge
    keeps a connection that nobody uses, so that none is closed under a request."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    """Where Prometheus reads the metrics, over TLS with the same certificate; nowhere when no port is given."""


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
    kerberos: bool = False
    """Whether people may log in with a Kerberos ticket, which Keystone then has to accept."""
    cache_seconds: float = Field(default=60, ge=0)
    """How long a validated token is believed; a revoked one is refused after this time at the latest."""
    cache_tokens: int = Field(default=10_000, ge=1)
    revocation_seconds: float = Field(default=1, ge=0)
    """How old the list of tokens that were given back may be that a cached token is compared with."""
    timeout_seconds: float = Field(default=10, gt=0)
    write_roles: list[str] = ["admin", "member"]
    read_roles: list[str] = ["admin", "member", "reader"]
    admin_roles: list[str] = ["admin"]
    """Who administers a project: its members' roles, webhooks, quotas of its containers."""


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
    downloads: int = Field(default=8, ge=1)
    """Files of gold that one process makes at the same time."""
    archive_objects: int = Field(default=10_000, ge=1)
    """Most objects in one archive."""


class Live(_Section):
    """Who is told what happens as it happens, by each process."""

    clients: int = Field(default=100, ge=1)
    """At most; half of them of one project."""
    heartbeat_seconds: float = Field(default=15, gt=0)
    """After such a silence something is sent. What stands before the API has to bear a longer one."""
    queue: int = Field(default=1000, ge=1)
    """Changes that wait for a client at most: one that is slower is cut off."""
    send_seconds: float = Field(default=30, gt=0)
    """How long a client may take nothing."""
    points: int = Field(default=5000, ge=1)
    """Points of one operation that are told one by one at most."""


class Walls(_Section):
    """What one client may ask for in a time."""

    user_rate: float = Field(default=500, ge=0)
    """Requests a second of one user, and how many may come at once after a pause; a rate of 0 is no limit. Each
    process counts for itself."""
    user_burst: int = Field(default=2000, ge=1)
    address_rate: float = Field(default=1000, ge=0)
    address_burst: int = Field(default=4000, ge=1)
    user_failures: int = Field(default=5, ge=1)
    """Failed log-ins of one user, and from one address, after which no more are taken for a while."""
    address_failures: int = Field(default=25, ge=1)
    window_seconds: float = Field(default=900, gt=0)
    """How long a failure counts."""
    block_seconds: float = Field(default=30, gt=0)
    """How long the first block lasts; each further failure doubles it."""
    longest_block_seconds: float = Field(default=900, gt=0)
    answer_seconds: float = Field(default=120, gt=0)
    """Within which the answer has to begin, where the request is no upload."""
    silence_seconds: float = Field(default=300, gt=0)
    """How long a client may send nothing in the middle of an upload."""
    body_bytes: int = Field(default=MIB, ge=1)
    """Largest body, where it is no upload."""


class Audit(_Section):
    """Who did what, as it is written down."""

    waiting: int = Field(default=20_000, ge=1)
    """Most requests of one process that are under way or not yet written down; more are refused."""
    batch: int = Field(default=500, ge=1)
    interval_seconds: float = Field(default=0.5, gt=0)
    """How long a request that is over waits to be written down together with others."""
    stop_seconds: float = Field(default=10, ge=0)
    """How long a process that stops tries to write the rest down; what is left goes to the log."""


class Uploads(_Section):
    """Large uploads, which are kept in parts until they are whole."""

    max_bytes: int = Field(default=1024 * 1024 * MIB, ge=1)
    """Largest upload."""
    part_bytes: int = Field(default=16 * MIB, ge=1)
    """Size of a part: what is lost at most when the API or a Swift proxy is killed. Of an upload that would have more
    than 4,000 such parts they are larger."""
    expire_seconds: float = Field(default=3 * 86400, gt=0)
    """How long an upload is kept that nobody goes on with."""
    idle_seconds: float = Field(default=20, gt=0)
    """How long a request that sends nothing is waited for; what came is kept."""
    lease_seconds: float = Field(default=20, gt=1)
    """How long the lock of a process that was killed holds."""
    open_per_project: int = Field(default=1000, ge=1)
    """Uploads of a project that are not whole yet."""


class Pulls(_Section):
    """Files that are fetched from SSH servers."""

    keys: list[SecretStr] = []
    """Fernet keys: the first encrypts, all decrypt. None: there are no pulls."""
    allowed: list[IPvAnyNetwork] = [ip_network("0.0.0.0/0"), ip_network("::/0")]
    refused: list[IPvAnyNetwork] = []
    """Networks of servers. The narrower one of both lists decides; loopback and the like are refused where `allowed`
    does not name them as narrowly."""
    per_project: int = Field(default=100, ge=1)
    at_once: int = Field(default=2, ge=1)
    """Pulls that one worker runs at the same time."""
    files: int = Field(default=100_000, ge=1)
    """Most files that one run looks at."""
    tries: int = Field(default=5, ge=1)
    """How often a run connects again after the connection was lost without anything having come."""
    retry_seconds: float = Field(default=5, gt=0)
    """Pause before the first of these; it doubles each time."""
    connect_seconds: float = Field(default=20, gt=0)
    lease_seconds: float = Field(default=60, gt=1)
    """How long the claim of a worker that was killed holds."""
    credential_days: int = Field(default=365, ge=1)
    """How long a scheduled pull may act for the user who made it."""
    min_interval_seconds: int = Field(default=300, ge=1)

    @field_validator("keys")
    @classmethod
    def _keys(cls, keys: list[SecretStr]) -> list[SecretStr]:
        for key in keys:
            Fernet(key.get_secret_value())  # ValueError: says what a key is
        return keys


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
    walls: Walls = Walls()
    audit: Audit = Audit()
    pipelines: Pipelines = Pipelines()
    uploads: Uploads = Uploads()
    pulls: Pulls = Pulls()
    live: Live = Live()


def load(path: str | os.PathLike[str] | None = None) -> Settings:
    """Read the file at `path`, else where LAKE_API_CONFIG points, else /etc/lake-api/config.toml.

    Raises OSError when it can't be read, tomllib.TOMLDecodeError or pydantic.ValidationError when it is wrong.
    """
    source = Path(path or os.environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG))
    return Settings.model_validate(tomllib.loads(source.read_text(encoding="utf-8")))
