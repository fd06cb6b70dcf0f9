# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workflow ``new_input``: process what was put, changed or deleted in Swift.

Imports that cost time stand inside the task: this file is also read by the DAG processor.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task


def record_failure(context: Any) -> None:
    """After the last attempt: say so on every object of the batch."""
    from lake_airflow import processing
    from neocampus_lake.errors import InvalidInput

    problem = context.get("exception") or "the task was killed or lost at each attempt"
    try:
        processing.record_failure(context["dag_run"].conf, processing.run_of(context), str(problem))
    except InvalidInput:
        pass  # the task failed for the same reason: there is no object to write on


@dag(
    dag_id="new_input",
    schedule=None,
    catchup=False,
    tags=["lake"],
    doc_md="""
Follows a batch of events: finds the pipeline of each object that was put by its metadata, runs it, logs it on the
object's document; of an object that was deleted, its document says so.

Started by the relay on the Swift proxies with `{"batch": …, "events": […]}`, by `check_data_to_process`, or by hand for
one object:
`{"swift_id": "17", "swift_container": "campus", "swift_user": "alice", "content_type": "application/json"}`
""",
)
def new_input() -> None:
    """One task for the whole batch: each further task would cost about a second."""

    @task(
        do_xcom_push=False,
        retry_exponential_backoff=True,
        max_retry_delay=timedelta(minutes=10),
        on_failure_callback=record_failure,
    )
    def process(**context: Any) -> None:
        from airflow.sdk.exceptions import AirflowFailException
        from lake_airflow import processing
        from neocampus_lake.errors import DeclarationError, InvalidInput

        try:
            processing.process(context["dag_run"].conf, processing.run_of(context))
        except DeclarationError:
            raise  # not the batch is wrong but the deployment: it is tried again, until somebody has mended that
        except InvalidInput as error:
            raise AirflowFailException(f"nothing was processed: {error}") from error

    process()


new_input()
