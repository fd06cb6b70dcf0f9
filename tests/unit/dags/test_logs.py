# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Task logs are asked for over TLS."""

from __future__ import annotations

import logging.config
from types import SimpleNamespace

import pytest

pytest.importorskip("airflow")

from lake_airflow.logs import LOGGING_CONFIG, EncryptedTaskHandler  # noqa: E402


def test_a_worker_is_asked_over_tls(tmp_path):
    handler = EncryptedTaskHandler(str(tmp_path))
    task = SimpleNamespace(hostname="process1.process.lake.internal", triggerer_job=None)
    url, path = handler._get_log_retrieval_url(task, "dag_id=new_input/attempt=1.log")
    assert url == "https://process1.process.lake.internal:8793/log/dag_id=new_input/attempt=1.log"
    assert path == "dag_id=new_input/attempt=1.log"


def test_a_task_that_never_ran_is_asked_for_nowhere(tmp_path):
    task = SimpleNamespace(hostname="", triggerer_job=None)
    assert EncryptedTaskHandler(str(tmp_path))._get_log_retrieval_url(task, "x.log") == (None, None)


def test_airflow_takes_the_configuration(monkeypatch, tmp_path):
    """As it does at its start: the class by its name, and the handler by which logs are read."""
    from airflow import logging_config
    from airflow.configuration import conf
    from airflow.utils.log.log_reader import TaskLogReader

    monkeypatch.setenv("AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS", "lake_airflow.logs.LOGGING_CONFIG")
    assert conf.get("logging", "logging_config_class") == "lake_airflow.logs.LOGGING_CONFIG"
    assert logging_config._get_logging_config() == LOGGING_CONFIG
    task_logger = logging.getLogger("airflow.task")
    before = task_logger.handlers[:], task_logger.propagate, task_logger.level, task_logger.filters[:]
    chosen = {key: LOGGING_CONFIG["loggers"]["airflow.task"] for key in ["airflow.task"]}
    try:
        logging.config.dictConfig({**LOGGING_CONFIG, "loggers": chosen, "root": {}, "incremental": False})
        assert isinstance(TaskLogReader().log_handler, EncryptedTaskHandler)
    finally:
        task_logger.handlers[:], task_logger.propagate, task_logger.level, task_logger.filters[:] = before
