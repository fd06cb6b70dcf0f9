# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring Airflow's database to the state that its role declares: tables, roles, service accounts.

Reads ``{"roles": {name: [[action, resource], …]}, "accounts": [{"name", "role", "password", "state"}, …]}`` as JSON
from standard input (so that no password stands on a command line), and prints what it changed, one line each; nothing
when all was well. An account whose ``state`` is ``absent`` is removed, and needs no password.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.fab.auth_manager.security_manager.override import FabAirflowSecurityManagerOverride


def migrate() -> bool:
    """Make or upgrade the tables; whether there was something to do."""
    from airflow.utils.db import check_migrations

    try:
        check_migrations(timeout=1)
    except TimeoutError:
        airflow = os.path.join(os.path.dirname(sys.executable), "airflow")
        subprocess.run([airflow, "db", "migrate"], check=True, stdout=sys.stderr)  # noqa: S603
        return True
    return False


def set_role(manager: FabAirflowSecurityManagerOverride, name: str, wanted: list[tuple[str, str]]) -> bool:
    """Give the role ``name`` these permissions and no other; whether something changed.

    Airflow adds "can_read" on "Website" (the empty page around everything) to every role, which is left alone.
    """
    role = manager.add_role(name)
    changed = False
    for permission in list(role.permissions):
        pair = (permission.action.name, permission.resource.name)
        if pair not in [*wanted, ("can_read", "Website")]:
            manager.remove_permission_from_role(role, permission)
            changed = True
    held = {(permission.action.name, permission.resource.name) for permission in role.permissions}
    for action, resource in wanted:
        if (action, resource) not in held:
            manager.add_permission_to_role(role, manager.create_permission(action, resource))
            changed = True
    return changed


def set_account(manager: FabAirflowSecurityManagerOverride, account: dict[str, Any]) -> bool:
    """Make the account, active, with its password and only its role, or remove it; whether something changed."""
    from werkzeug.security import check_password_hash, generate_password_hash

    role = manager.find_role(account["role"]) or manager.add_role(account["role"])
    user = manager.find_user(username=account["name"])
    if account.get("state") == "absent":
        if user is None:
            return False
        manager.session.delete(user)
        manager.session.commit()
        return True
    if user is None:
        manager.add_user(
            username=account["name"],
            first_name=account["name"],
            last_name="service account",
            email=f"{account['name']}@localhost",
            role=role,
            hashed_password=generate_password_hash(account["password"]),
        )
        return True
    same_password = user.password is not None and check_password_hash(user.password, account["password"])
    if same_password and user.active and [held.name for held in user.roles] == [role.name]:
        return False
    if not same_password:
        user.password = generate_password_hash(account["password"])
    user.active = True
    user.roles = [role]
    manager.session.commit()
    return True


def main() -> int:
    """Entry point of ``lake-airflow-database``."""
    wanted = json.load(sys.stdin)
    changes = []
    with redirect_stdout(sys.stderr):  # Airflow logs to standard output
        from airflow import settings

        settings.initialize()
        if migrate():
            changes.append("tables")

        from airflow.providers.fab.www.security_appless import ApplessAirflowSecurityManager

        with settings.Session() as session:
            manager = ApplessAirflowSecurityManager(session=session)
            for name, permissions in wanted["roles"].items():
                if set_role(manager, name, [(action, resource) for action, resource in permissions]):
                    changes.append(f"role {name}")
            changes += [f"account {account['name']}" for account in wanted["accounts"] if set_account(manager, account)]
            session.commit()
    for change in changes:
        print(change)
    return 0


if __name__ == "__main__":
    sys.exit(main())
