# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may log in to Airflow, and what a service account may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager
from airflow.providers.fab.auth_manager.security_manager.override import FabAirflowSecurityManagerOverride
from airflow.providers.fab.www.security.permissions import RESOURCE_DAG_RUN, resource_name
from flask import current_app

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod
    from airflow.providers.fab.auth_manager.models import User


class LakeSecurityManager(FabAirflowSecurityManagerOverride):
    """LDAP for people, Airflow's own database for the accounts that ``webserver_config.py`` declares.

    A declared account never depends on the directory, and nobody who gets its name in the directory gets its roles.
    """

    def auth_user_ldap(self, username: str, password: str, rotate_session_id: bool = True) -> User | None:
        """The user whom these credentials name, or None."""
        if username in current_app.config["LAKE_DATABASE_ACCOUNTS"]:
            return self.auth_user_db(username, password, rotate_session_id=rotate_session_id)
        return super().auth_user_ldap(username, password, rotate_session_id=rotate_session_id)

    def auth_user_db(self, username: str, password: str, rotate_session_id: bool = True) -> User | None:
        """The declared account whom these credentials name, or None: nobody else has a password in the database."""
        if username not in current_app.config["LAKE_DATABASE_ACCOUNTS"]:
            return None
        return super().auth_user_db(username, password, rotate_session_id=rotate_session_id)


class LakeFabAuthManager(FabAuthManager):
    """FAB's permissions, with a right to start runs of one DAG and to do nothing else to it.

    FAB asks for "can_edit" on the DAG from whoever creates a run; that would let a service account pause the DAG.
    "can_create" on "DAG Run:<dag>" is enough here.

    The class's name must contain "FabAuthManager": Airflow looks for that text to know whose permissions to keep.
    """

    def is_authorized_dag(
        self,
        *,
        method: ResourceMethod,
        user: User,
        access_entity: DagAccessEntity | None = None,
        details: DagDetails | None = None,
        **others: Any,
    ) -> bool:
        """Whether ``user`` may do this to the DAG."""
        if method == "POST" and access_entity is DagAccessEntity.RUN and details is not None and details.id:
            run_of_dag = resource_name(details.id, RESOURCE_DAG_RUN)
            if self._is_authorized(method=method, resource_type=run_of_dag, user=user):
                return True
        return super().is_authorized_dag(
            method=method, user=user, access_entity=access_entity, details=details, **others
        )
