# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of data to process (``stats``.``swift``), from which ``check_data_to_process`` starts runs."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from neocampus_lake.replay import put

from lake_airflow import stores

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.collection import Collection

__all__ = ["claim", "put", "release", "to_do"]

BATCH = 500  # entries in one run of new_input
CLAIM = 5 * BATCH  # entries started by one check; the next one goes on


def to_do(client: MongoClient) -> Collection:
    """The list of data to process. The counter of object ids, in the same collection, has no ``swift_id``."""
    return client["stats"]["swift"]


def claim(entries: Collection) -> list[dict[str, Any]]:
    """Mark listed entries as started, and give the runs to start: ``[{"trigger_run_id", "conf"}, …]``.

    An entry's batch is written on it before any run is started, and the run's id comes from the batch: whatever happens
    between here and release(), the next check starts the same run, which Airflow then already has.
    """
    fresh = entries.find({"swift_id": {"$exists": True}, "batch": {"$exists": False}}, {"_id": 1}).limit(CLAIM)
    ids = [entry["_id"] for entry in fresh]
    for start in range(0, len(ids), BATCH):
        entries.update_many(
            {"_id": {"$in": ids[start : start + BATCH]}, "batch": {"$exists": False}},
            {"$set": {"batch": f"list-{uuid.uuid4().hex}"}},
        )
    batches: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in entries.find({"swift_id": {"$exists": True}, "batch": {"$exists": True}}):
        del entry["_id"]
        batches[entry.pop("batch")].append(entry)
    return [
        {"trigger_run_id": f"new_input__{batch}", "conf": {"batch": batch, "events": payloads}}
        for batch, payloads in batches.items()
    ]


def release(entries: Collection, runs: Iterable[dict[str, Any]]) -> int:
    """Take the entries of these runs, which Airflow has now, off the list; how many."""
    return entries.delete_many({"batch": {"$in": [run["conf"]["batch"] for run in runs]}}).deleted_count


def claim_listed() -> list[dict[str, Any]]:
    """claim() on the lake that ``lake.json`` describes."""
    return claim(to_do(stores.mongodb(stores.settings())))


def release_started(runs: Iterable[dict[str, Any]]) -> int:
    """release() on the lake that ``lake.json`` describes."""
    return release(to_do(stores.mongodb(stores.settings())), runs)
