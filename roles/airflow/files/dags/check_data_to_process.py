# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workflow ``check_data_to_process``: start what was listed for processing, and repair what got lost.

Imports that cost time stand inside the tasks: this file is also read by the DAG processor.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import dag, task


class StartRun(TriggerDagRunOperator):
    """Starts a run with its conf as it is: anybody can name an object "{{ … }}", which must never be a template."""

    template_fields = ()


@dag(
    dag_id="check_data_to_process",
    schedule="*/5 * * * *",
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["lake"],
    default_args={"retries": 2},
    doc_md="""
Every five minutes: looks for documents that were left `pending` or on which no operation was ever logged, compares the
next part of Swift's listings with the documents (`stats`.`reconciliation` says how far that has come), and starts
`new_input` for the entries of the list `stats`.`swift`, each exactly once. An entry has `swift_id`, `swift_container`,
`swift_user`, `content_type` and, where several projects have a container of that name, `project_id`.
""",
)
def check_data_to_process() -> None:
    """repair, reconcile → claim → start (one per batch, none when the list is empty) → release."""

    @task(do_xcom_push=False)
    def repair(**context: Any) -> None:
        from lake_airflow import processing, reconcile

        reconcile.repair_leftovers(processing.run_of(context))

    @task(task_id="reconcile", do_xcom_push=False)
    def compare(**context: Any) -> None:
        from lake_airflow import processing, reconcile

        reconcile.check(processing.run_of(context))

    @task(trigger_rule="all_done")  # the list is worked on even where Swift is away
    def claim() -> list[dict[str, Any]]:
        from airflow.sdk.exceptions import AirflowSkipException
        from lake_airflow import catch_up

        runs = catch_up.claim_listed()
        if not runs:
            raise AirflowSkipException("nothing is on the list")
        return runs

    # A start that is skipped means that Airflow had the run already.
    @task(do_xcom_push=False, trigger_rule="none_failed_min_one_success")
    def release(runs: list[dict[str, Any]]) -> None:
        from lake_airflow import catch_up

        catch_up.release_started(runs)

    runs = claim()
    start = StartRun.partial(task_id="start", trigger_dag_id="new_input", skip_when_already_exists=True)
    start = start.expand_kwargs(runs)
    [repair(), compare()] >> runs
    start >> release(runs)


check_data_to_process()
