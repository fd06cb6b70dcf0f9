# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imported by each Celery worker before it forks, so that no task waits for these imports."""

import airflow.sdk  # noqa: F401
import airflow.sdk.execution_time.task_runner  # noqa: F401
import keystoneauth1.identity.v3  # noqa: F401
import keystoneauth1.session  # noqa: F401
import neocampus_lake.deployment  # noqa: F401
import neocampus_lake.processing  # noqa: F401
import neocampus_lake.sinks.influxdb  # noqa: F401
import pymongo  # noqa: F401

import lake_airflow.processing  # noqa: F401
import lake_airflow.reconcile  # noqa: F401
