# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the workflow ``new_input`` does with a batch of events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from neocampus_lake.errors import InvalidInput
from neocampus_lake.events import Event
from neocampus_lake.metadata import MetadataStore
from neocampus_lake.processing import RunInfo, fail_batch, process_batch

from lake_airflow import pipelines, stores, swift

if TYPE_CHECKING:
    from neocampus_lake.processing import BatchReport

log = logging.getLogger(__name__)


def run_of(context: Mapping[str, Any]) -> RunInfo:
    """The run of a task's context, as the lake's documents name it. Its date is the same at each attempt."""
    run = context["dag_run"]
    return RunInfo(dag_id=run.dag_id, run_id=run.run_id, execution_date=run.logical_date or run.run_after)


def events_of(conf: Mapping[str, Any] | None, project_of: Callable[[str], str | None]) -> list[Event]:
    """The events in a run's conf: a batch ``{"batch", "events": […]}``, or one payload on its own.

    A payload has at least ``swift_id``, ``swift_container``, ``swift_user`` and ``content_type``; where somebody wrote
    it without ``project_id``, ``project_of`` tells the project by the container's name (None: unknown).
    Raises InvalidInput, which says what is missing or wrong.
    """
    if not conf:
        raise InvalidInput(
            'this workflow needs a conf: either {"batch": …, "events": […]} or one object as '
            '{"swift_id", "swift_container", "swift_user", "content_type"}'
        )
    payloads = conf.get("events", [conf])
    if not isinstance(payloads, list) or not payloads:
        raise InvalidInput('"events" must be a list with at least one event')
    events = []
    for number, payload in enumerate(payloads):
        if not isinstance(payload, Mapping):
            raise InvalidInput(f"event {number} must be an object with keys, not {payload!r}")
        try:
            events.append(Event.from_payload(_with_project(payload, project_of)))
        except InvalidInput as error:
            raise InvalidInput(f"event {number}: {error}") from error
    return events


def _with_project(payload: Mapping[str, Any], project_of: Callable[[str], str | None]) -> dict[str, Any]:
    if payload.get("project_id"):
        return dict(payload)
    container = payload.get("swift_container")
    if not isinstance(container, str) or not container:
        raise InvalidInput(f"swift_container is the name of the object's container, not {container!r:.100}")
    project_id = project_of(container)
    if project_id is None:
        raise InvalidInput(f'no project is known to have a container {container!r}: say which, as "project_id"')
    return {**payload, "project_id": project_id}


def process(conf: Mapping[str, Any] | None, run: RunInfo) -> BatchReport:
    """Process the batch. A bad object fails alone; StoreError means that the whole batch can be tried again."""
    config = stores.settings()
    client = stores.mongodb(config)
    events = events_of(conf, stores.project_of(client))
    objects = swift.connect(config)

    def open_object(event: Event) -> BinaryIO:
        return objects.open(event.project_id, event.container, event.object_name)

    metadata = MetadataStore(client)
    with pipelines.runner(config) as run_steps:
        report = process_batch(
            events,
            metadata=metadata,
            open_object=open_object,
            router=pipelines.router(config),
            sinks=stores.sinks(config, metadata, objects),
            run=run,
            object_seconds=config["object_seconds"],
            run_steps=run_steps,
        )
    for failure in report.failed:
        log.warning("%(container)s/%(object)s: %(message)s", failure)
    log.info(
        "%d events: %d objects processed, %d deleted, %d failed, %d with nothing to do; %d records",
        len(events),
        len(report.done),
        len(report.removed),
        len(report.failed),
        report.ignored,
        report.records,
    )
    return report


def record_failure(conf: Mapping[str, Any] | None, run: RunInfo, message: str) -> int:
    """Log on each object of the batch that no attempt succeeded; how many objects that was."""
    client = stores.mongodb(stores.settings())
    events = events_of(conf, stores.project_of(client))
    return fail_batch(events, metadata=MetadataStore(client), run=run, message=message)
