# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imported by each Celery worker before it forks, so that no task waits for these imports."""

import gc

import airflow.sdk  # noqa: F401
import airflow.sdk.execution_time.task_runner  # noqa: F401
import keystoneauth1.identity.v3  # noqa: F401
import keystoneauth1.session  # noqa: F401
import neo4j  # noqa: F401
import neocampus_lake.deployment  # noqa: F401
import neocampus_lake.processing  # noqa: F401
import neocampus_lake.sinks.documents  # noqa: F401
import neocampus_lake.sinks.influxdb  # noqa: F401
import neocampus_lake.sinks.neo4j  # noqa: F401
import neocampus_lake.sinks.objects  # noqa: F401
import neocampus_lake.sinks.sql  # noqa: F401
import psycopg  # noqa: F401
import pymongo  # noqa: F401
import sqlalchemy  # noqa: F401
from neocampus_lake.pipelines import Router

import lake_airflow.processing  # noqa: F401
import lake_airflow.reconcile  # noqa: F401

Router.of_library()  # reads and compares the declarations, which are kept
# Tasks share the memory of all this as long as they do not write there, which looking for garbage does.
gc.collect()
gc.freeze()
