# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the programs of role airflow importable. Airflow itself is needed by test_dags.py and test_auth.py only: they
are left out where it is not installed (roles/airflow/files/requirements.txt has it)."""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

ROLE = Path(__file__).resolve().parents[3] / "roles/airflow"
sys.path.insert(0, str(ROLE / "files/lake_airflow"))

# Before anything imports Airflow, which reads its configuration then.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-test-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(ROLE / "files/dags")
# What workflows read of the role's variables.
SETTINGS = Path(os.environ["AIRFLOW_HOME"]) / "lake.json"
SETTINGS.write_text('{"anomalies": {"schedule": "7 * * * *"}}')
os.environ["LAKE_AIRFLOW_SETTINGS"] = str(SETTINGS)


@pytest.fixture(scope="session")
def role() -> Path:
    """The role's folder."""
    return ROLE


@pytest.fixture
def run():
    """The run of a workflow."""
    from neocampus_lake.processing import RunInfo

    return RunInfo(dag_id="new_input", run_id="new_input__1", execution_date=datetime(2024, 5, 1, tzinfo=UTC))


@pytest.fixture
def client():
    """A MongoDB in memory."""
    mongomock = pytest.importorskip("mongomock")
    return mongomock.MongoClient(tz_aware=True)
