# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workflow ``detect_anomalies``: look for anomalies in what is new in the time series.

Imports that cost time stand inside the task: this file is also read by the DAG processor.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.sdk import dag, task


def schedule() -> str | None:
    """As the role's variable has it: the file that the role wrote says so. None: it is only started by hand."""
    settings = Path(os.environ.get("LAKE_AIRFLOW_SETTINGS", "/etc/airflow/lake.json"))
    return json.loads(settings.read_text())["anomalies"]["schedule"] or None


@dag(
    dag_id="detect_anomalies",
    schedule=schedule(),
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["lake"],
    default_args={"retries": 2},
    doc_md="""
Judges the points of every container's series by the container's rules (`stats`.`anomaly_rules`) or the lake's default,
and keeps what is found in the database `anomalies`. It looks at what is new since its last run, less an overlap, at
what came late, and at what newly processed objects have written for earlier times; run again, it finds the same.

A range of time of a container: `lake-airflow-anomalies` on a worker.
""",
)
def detect_anomalies() -> None:
    """One task for all containers: each goes on from where it was, also after a task that was lost."""

    @task(do_xcom_push=False)
    def detect(**context: Any) -> None:
        from lake_airflow import anomalies, processing

        anomalies.check(processing.run_of(context))

    detect()


detect_anomalies()
