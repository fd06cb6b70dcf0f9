# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may start runs, and where a log-in is checked."""

from __future__ import annotations

import pytest

pytest.importorskip("airflow.providers.fab")
flask = pytest.importorskip("flask")

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails  # noqa: E402
from airflow.providers.fab.auth_manager.security_manager.override import FabAirflowSecurityManagerOverride  # noqa: E402
from lake_airflow.auth import LakeFabAuthManager, LakeSecurityManager  # noqa: E402


class User:
    def __init__(self, *perms):
        self.perms = set(perms)


RELAY = User(("can_create", "DAG Run:new_input"), ("can_read", "Website"))
EDITOR = User(("can_create", "DAG Runs"), ("can_edit", "DAGs"))
VIEWER = User(("can_read", "DAGs"), ("can_read", "DAG Runs"))


def may(user, method, dag, entity=None):
    return LakeFabAuthManager.is_authorized_dag(
        LakeFabAuthManager.__new__(LakeFabAuthManager),
        method=method,
        user=user,
        access_entity=entity,
        details=DagDetails(id=dag),
    )


def test_the_relay_may_start_runs_of_its_workflow_and_nothing_else():
    assert may(RELAY, "POST", "new_input", DagAccessEntity.RUN)
    assert not may(RELAY, "POST", "check_data_to_process", DagAccessEntity.RUN)
    assert not may(RELAY, "PUT", "new_input")  # pause
    assert not may(RELAY, "DELETE", "new_input")
    for method in ("GET", "PUT", "DELETE"):
        assert not may(RELAY, method, "new_input", DagAccessEntity.RUN)
    for entity in DagAccessEntity:
        if entity is not DagAccessEntity.RUN:
            assert not may(RELAY, "POST", "new_input", entity)


def test_the_others_keep_what_airflow_gives_them():
    assert may(EDITOR, "POST", "new_input", DagAccessEntity.RUN)
    assert may(VIEWER, "GET", "new_input", DagAccessEntity.RUN)
    assert not may(VIEWER, "POST", "new_input", DagAccessEntity.RUN)


@pytest.fixture
def manager(monkeypatch):
    monkeypatch.setattr(FabAirflowSecurityManagerOverride, "auth_user_ldap", lambda *a, **k: "directory")
    monkeypatch.setattr(FabAirflowSecurityManagerOverride, "auth_user_db", lambda *a, **k: "database")
    app = flask.Flask("test")
    app.config["LAKE_DATABASE_ACCOUNTS"] = ["lake-relay"]
    with app.app_context():
        yield LakeSecurityManager.__new__(LakeSecurityManager)


def test_a_declared_account_is_never_looked_for_in_the_directory(manager):
    assert manager.auth_user_ldap("lake-relay", "x") == "database"
    assert manager.auth_user_db("lake-relay", "x") == "database"


def test_nobody_else_has_a_password_in_the_database(manager):
    assert manager.auth_user_ldap("alice", "x") == "directory"
    assert manager.auth_user_db("alice", "x") is None
