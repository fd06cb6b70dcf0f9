# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the workflow ``check_data_to_process`` does: start what was listed, and find what got lost."""

from __future__ import annotations

import logging
import uuid
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from neocampus_lake.documents import operation
from neocampus_lake.errors import NotFound
from neocampus_lake.metadata import MetadataStore

from lake_airflow import stores, swift

if TYPE_CHECKING:
    from neocampus_lake.processing import RunInfo
    from pymongo import MongoClient
    from pymongo.collection import Collection

    from lake_airflow.swift import Swift

log = logging.getLogger(__name__)

BATCH = 500  # entries in one run of new_input
CLAIM = 5 * BATCH  # entries started by one check; the next one goes on
REPAIR = 1000  # pending documents looked at by one check and container


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


def repair(
    client: MongoClient, metadata: MetadataStore, objects: Swift, *, older_than: timedelta, run: RunInfo
) -> tuple[int, int]:
    """Deal with documents that were left ``pending``: (how many were put on the list, how many have no object).

    Such a document is left by a crash between the document and the object, or between the object and its event. If the
    object is there, it is put on the list of data to process; if it is not, the document says so and is not looked at
    again (should the object come later, its event starts the processing as ever).
    """
    listed = lost = 0
    cutoff = datetime.now(UTC) - older_than
    for known in client["stats"]["containers"].find():
        project_id, container, store = known["project_id"], known["container"], known["store"]
        pending = client["swift"][store].find(
            {"status": "pending", "creation_date": {"$lt": cutoff}, "failed_operations": []}, limit=REPAIR
        )
        for document in pending:
            name = document["swift_object_name"]
            try:
                found = objects.head(project_id, container, name)
            except NotFound as error:
                lost += 1
                log.warning("%s", error)
                entry = operation(
                    dag_id=run.dag_id,
                    operation_instance=run.run_id,
                    execution_date=run.execution_date,
                    pipeline="reconciliation",
                    message=f"the object never came: {error}",
                )
                metadata.log(store, [(document["swift_object_id"], False, entry, None)])
                continue
            payload = {
                "swift_id": name,
                "swift_container": container,
                "swift_user": document["swift_user"],
                "content_type": found["content_type"],
                "project_id": project_id,
            }
            # The list first: a crash in between lists the object once more, never not at all.
            to_do(client).update_one(
                {"swift_id": name, "swift_container": container, "project_id": project_id},
                {"$setOnInsert": payload},
                upsert=True,
            )
            metadata.mark_stored(store, document["swift_object_id"], etag=found["etag"], size=found["size"])
            listed += 1
    return listed, lost


def repair_pending(run: RunInfo) -> tuple[int, int]:
    """repair() on the lake that ``lake.json`` describes."""
    config = stores.settings()
    client = stores.mongodb(config)
    older_than = timedelta(minutes=config["pending_minutes"])
    listed, lost = repair(client, MetadataStore(client), swift.connect(config), older_than=older_than, run=run)
    log.info("%d pending documents put on the list, %d without object", listed, lost)
    return listed, lost


def claim_listed() -> list[dict[str, Any]]:
    """claim() on the lake that ``lake.json`` describes."""
    return claim(to_do(stores.mongodb(stores.settings())))


def release_started(runs: Iterable[dict[str, Any]]) -> int:
    """release() on the lake that ``lake.json`` describes."""
    return release(to_do(stores.mongodb(stores.settings())), runs)
