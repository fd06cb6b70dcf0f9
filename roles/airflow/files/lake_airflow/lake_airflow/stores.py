# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to the lake's stores, as ``lake.json`` describes them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neocampus_lake.metadata import MetadataStore
    from neocampus_lake.sinks.base import Sink
    from pymongo import MongoClient

    from lake_airflow.swift import Swift

SETTINGS = "/etc/airflow/lake.json"

# A task lives for a second: it connects to what it uses, and needs no second connection to each member to time them.
_SHORT_LIVED: dict[str, Any] = {
    "tz_aware": True,
    "appname": "airflow",
    "connect": False,
    "serverMonitoringMode": "poll",
}


def settings() -> dict[str, Any]:
    """The file that the role wrote; ``LAKE_AIRFLOW_SETTINGS`` names another."""
    return json.loads(Path(os.environ.get("LAKE_AIRFLOW_SETTINGS", SETTINGS)).read_text())


def mongodb(config: Mapping[str, Any]) -> MongoClient:
    """The metadata zone's databases. Connects on first use."""
    from pymongo import MongoClient

    return MongoClient(**config["mongodb"], **_SHORT_LIVED)


def project_of(client: MongoClient) -> Callable[[str], str | None]:
    """A function from a container's name to the id of the first project that used it, or None."""

    def look_up(container: str) -> str | None:
        # The first project's container is kept under its own name, a later one's under another.
        known = client["stats"]["containers"].find_one({"store": container, "container": container})
        return known["project_id"] if known else None

    return look_up


def sinks(config: Mapping[str, Any], metadata: MetadataStore, objects: Swift) -> list[Sink]:
    """The gold stores that this lake has. Each connects on first use."""
    from neocampus_lake.sinks.influxdb import InfluxDB, InfluxDBSink
    from neocampus_lake.sinks.objects import ObjectsSink

    found: list[Sink] = [
        InfluxDBSink(InfluxDB(**config["influxdb"], ca_file=config["ca_file"])),
        ObjectsSink(metadata, objects.put),
    ]
    if config.get("neo4j"):
        from neocampus_lake.sinks.neo4j import Neo4j, Neo4jSink

        found.append(Neo4jSink(Neo4j(**config["neo4j"], ca_file=config["ca_file"])))
    if config.get("sql"):
        from neocampus_lake.sinks.sql import SqlSink, SqlStore

        found.append(SqlSink(SqlStore(**config["sql"], ca_file=config["ca_file"])))
    if config.get("gold_mongodb"):
        from neocampus_lake.sinks.documents import DocumentSink, DocumentStore
        from pymongo import MongoClient

        found.append(DocumentSink(DocumentStore(MongoClient(**config["gold_mongodb"], **_SHORT_LIVED))))
    return found
