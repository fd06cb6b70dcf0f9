# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The workflows as Airflow reads them."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("airflow")


@pytest.fixture(scope="module")
def dags(role):
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(role / "files/dags", bundle_name="dags")
    assert bag.import_errors == {}
    return bag.dags


def test_the_workflows_are_there(dags):
    assert set(dags) == {"new_input", "check_data_to_process", "detect_anomalies"}


def test_new_input_is_one_task_that_is_tried_again_and_started_from_outside(dags):
    dag = dags["new_input"]
    (task,) = dag.tasks
    assert dag.schedule is None
    assert task.retry_exponential_backoff
    assert task.max_retry_delay.total_seconds() == 600
    assert task.has_on_failure_callback


@pytest.mark.parametrize(("task", "called"), [("repair", "repair_leftovers"), ("reconcile", "check")])
def test_the_tasks_hand_their_run_on(dags, monkeypatch, task, called):
    from lake_airflow import reconcile

    runs = []
    monkeypatch.setattr(reconcile, called, runs.append)
    values = {"dag_id": "check_data_to_process", "run_id": "r", "logical_date": None, "run_after": 1}
    dags["check_data_to_process"].get_task(task).python_callable(dag_run=type("Run", (), values))
    assert [(run.dag_id, run.run_id, run.execution_date) for run in runs] == [("check_data_to_process", "r", 1)]


def test_check_data_to_process_runs_every_five_minutes_one_at_a_time(dags):
    dag = dags["check_data_to_process"]
    assert dag.schedule == "*/5 * * * *"
    assert not dag.catchup
    assert dag.max_active_runs == 1
    assert all(task.retries for task in dag.tasks)
    order = ["repair", "claim", "start", "release"]
    for before, after in zip(order, order[1:], strict=False):
        assert after in dag.get_task(before).downstream_task_ids
    assert dag.get_task("reconcile").downstream_task_ids == {"claim"}
    assert set(dag.task_ids) == {*order, "reconcile"}


def test_the_list_is_worked_on_even_where_swift_is_away(dags):
    assert dags["check_data_to_process"].get_task("claim").trigger_rule == "all_done"


def test_anomalies_are_looked_for_as_the_variable_says_one_run_at_a_time(dags, monkeypatch):
    from lake_airflow import anomalies

    dag = dags["detect_anomalies"]
    assert dag.schedule == "7 * * * *"
    assert not dag.catchup and dag.max_active_runs == 1
    (task,) = dag.tasks
    assert task.retries == 2
    runs = []
    monkeypatch.setattr(anomalies, "check", runs.append)
    values = {"dag_id": "detect_anomalies", "run_id": "r", "logical_date": 5, "run_after": 1}
    task.python_callable(dag_run=type("Run", (), values))
    assert [(run.dag_id, run.run_id, run.execution_date) for run in runs] == [("detect_anomalies", "r", 5)]


def test_without_a_schedule_anomalies_are_only_looked_for_by_hand(role, tmp_path, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag

    settings = tmp_path / "lake.json"
    settings.write_text('{"anomalies": {"schedule": ""}}')
    monkeypatch.setenv("LAKE_AIRFLOW_SETTINGS", str(settings))
    bag = DagBag(role / "files/dags/detect_anomalies.py", bundle_name="dags")
    assert bag.import_errors == {} and bag.dags["detect_anomalies"].schedule is None


def test_names_of_objects_are_never_read_as_templates(dags):
    assert list(dags["check_data_to_process"].get_task("start").template_fields) == []


@pytest.mark.parametrize("name", ["new_input", "check_data_to_process", "detect_anomalies"])
def test_reading_a_workflow_imports_nothing_heavy(role, name):
    code = f"""
import sys
sys.path.insert(0, {str(role / "files/dags")!r})
import {name}
heavy = {{"pymongo", "keystoneauth1", "requests", "neocampus_lake", "lake_airflow", "yaml"}} & set(sys.modules)
import airflow.sdk
print(sorted(heavy - {{"yaml", "requests"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_a_conf_that_is_wrong_fails_without_another_try(dags, monkeypatch, run):
    from airflow.sdk.exceptions import AirflowFailException
    from lake_airflow import processing
    from neocampus_lake.errors import DeclarationError, InvalidInput, StoreError

    call = dags["new_input"].get_task("process").python_callable
    context = {"dag_run": type("Run", (), {"conf": {}, "dag_id": "new_input", "run_id": "r", "logical_date": 1})}

    def failing(error):
        def process(conf, run):
            raise error

        return process

    for error, seen in [
        (InvalidInput("bad"), AirflowFailException),
        (DeclarationError("tie"), DeclarationError),
        (StoreError("away"), StoreError),
    ]:
        monkeypatch.setattr(processing, "process", failing(error))
        with pytest.raises(seen):
            call(**context)
