#!/usr/bin/python
# Copyright: neOCampus data lake contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declared users of a Neo4j server, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: neo4j_users
short_description: Declared users of a Neo4j server
version_added: 0.1.0
author:
  - neOCampus data lake contributors (@neocampus)
description:
  - Waits until a Neo4j server answers, and makes its users what the arguments say they are.
  - In Neo4j Community every user may do everything, users included. There are no roles; accounts of their own only say
    who did something, and let one password be changed without the others.
  - Users that are not declared are left alone.
  - Passwords go to the server as parameters of statements, over TLS, so that it does not log them.
requirements:
  - Python package neo4j (5.20 or later) on the target
options:
  url:
    description: Address of the server, C(bolt://host:port).
    type: str
    required: true
  ca_file:
    description: Certificates of the authorities that may sign the server's certificate, on the target.
    type: path
    required: true
  admin_user:
    description: User who makes the others.
    type: str
    default: neo4j
  admin_password:
    description: The password that this user has after the call.
    type: str
    required: true
  previous_passwords:
    description: Passwords that O(admin_user) may still have. The server refuses everything for some seconds after three
      wrong ones.
    type: list
    elements: str
    default: []
  users:
    description: Users that must exist, or must not.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
      password:
        description: Password of the user, 8 characters or more. Needed when the user is V(present).
        type: str
      state:
        description: Whether the user exists.
        type: str
        choices: [present, absent]
        default: present
  timeout:
    description: Seconds to wait until the server answers.
    type: int
    default: 120
attributes:
  check_mode:
    description: Says what would change and changes nothing.
    support: full
  diff_mode:
    description: Shows users before and after, never a password.
    support: full
  idempotent:
    description: A second call changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Users of the graph
  neocampus.datalake.neo4j_users:
    url: bolt://gold1.example.org:7687
    ca_file: /etc/pki/lake/ca.crt
    admin_password: "{{ admin_password }}"
    users:
      - {name: airflow, password: "{{ airflow_password }}"}
      - {name: api, password: "{{ api_password }}"}
"""

RETURN = r"""
users:
  description: Names of the declared users that exist after the call, or would in check mode.
  returned: success
  type: list
  elements: str
"""

import time
import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import neo4j
    import neo4j.exceptions
except ImportError:
    neo4j = None
    NEO4J_IMPORT_ERROR = traceback.format_exc()

PAUSE = 0.5
SYSTEM = "system"


class UsersError(Exception):
    """What was wrong, with what, and what to do about it."""


def check_arguments(users: list, admin_user: str) -> None:
    """Refuse what argument specs can't see."""
    names = [user["name"] for user in users]
    if len(set(names)) != len(names) or admin_user in names:
        raise UsersError(f"users: a name stands there twice, or is {admin_user}, who makes the others")
    for user in users:
        if user["state"] == "present" and len(user["password"] or "") < 8:
            raise UsersError("user {} has no password of at least 8 characters".format(user["name"]))


class Server:
    """The server, over Bolt with TLS."""

    def __init__(self, url: str, ca_file: str, timeout: int) -> None:
        self.url = url
        self.ca_file = ca_file
        self.timeout = timeout
        self.login = None

    def query(self, statement: str, login=None, **parameters) -> list:
        """Rows of a statement in the system database, as `login` (name, password) or as the login of this object."""
        driver = neo4j.GraphDatabase.driver(
            self.url,
            auth=login or self.login,
            encrypted=True,
            trusted_certificates=neo4j.TrustCustomCAs(self.ca_file),
            connection_timeout=10,
            telemetry_disabled=True,
        )
        with driver:
            return [row.data() for row in driver.execute_query(statement, parameters, database_=SYSTEM).records]

    def wait(self) -> None:
        """Wait until the server answers: also a refusal is an answer."""
        end = time.monotonic() + self.timeout
        while True:
            try:
                self.query("SHOW CURRENT USER", login=("", ""))
            except neo4j.exceptions.AuthError:
                return
            except (neo4j.exceptions.DriverError, neo4j.exceptions.Neo4jError) as error:
                if time.monotonic() > end:
                    raise UsersError(f"{self.url} does not answer: {error}") from None
                time.sleep(PAUSE)
            else:
                raise UsersError(f"{self.url} answers without a password: turn its authentication on")

    def accepts(self, name: str, password: str) -> bool:
        """Whether the user can log in with the password. Raises UsersError while the server accepts no attempts."""
        try:
            self.query("SHOW CURRENT USER", login=(name, password))
        except neo4j.exceptions.Neo4jError as error:
            if "RateLimit" in str(error.code):
                raise UsersError(f"{self.url} takes no logins of {name} now, after too many wrong ones") from None
            if not isinstance(error, neo4j.exceptions.AuthError):
                raise
            return False
        return True

    def names(self) -> list:
        return [row["user"] for row in self.query("SHOW USERS YIELD user")]

    def create(self, name: str, password: str) -> None:
        self.query("CREATE USER $name SET PASSWORD $password CHANGE NOT REQUIRED", name=name, password=password)

    def set_password(self, name: str, password: str) -> None:
        self.query("ALTER USER $name SET PASSWORD $password CHANGE NOT REQUIRED", name=name, password=password)

    def drop(self, name: str) -> None:
        self.query("DROP USER $name IF EXISTS", name=name)


def log_in(server: Server, name: str, passwords: list) -> str:
    """Have the server used as this user; the first of the passwords that it accepts."""
    for password in passwords:
        if server.accepts(name, password):
            server.login = (name, password)
            return password
    raise UsersError(f"{server.url} accepts no password of {name}: give the one it had as a previous password")


def sync(server: Server, admin: tuple, previous_passwords: list, users: list, check_mode: bool) -> tuple:
    """Make the users what they must be (unless `check_mode`); what differed, before and after."""
    before, after = {}, {}
    name, password = admin
    server.wait()
    if log_in(server, name, [password] + previous_passwords) != password:
        before[name], after[name] = {"password": "other"}, {"password": "new"}
        if not check_mode:
            server.set_password(name, password)
            server.login = admin
    present = server.names()
    for user in users:
        name, password = user["name"], user["password"]
        if user["state"] == "absent":
            if name in present:
                before[name], after[name] = {}, None
                if not check_mode:
                    server.drop(name)
        elif name not in present:
            before[name], after[name] = None, {"password": "new"}
            if not check_mode:
                server.create(name, password)
        elif not server.accepts(name, password):
            before[name], after[name] = {"password": "other"}, {"password": "new"}
            if not check_mode:
                server.set_password(name, password)
    return before, after


def argument_spec() -> dict:
    """Arguments of the module, as in its documentation."""
    return dict(
        url=dict(type="str", required=True),
        ca_file=dict(type="path", required=True),
        admin_user=dict(type="str", default="neo4j"),
        admin_password=dict(type="str", required=True, no_log=True),
        previous_passwords=dict(type="list", elements="str", default=[], no_log=True),
        users=dict(
            type="list",
            elements="dict",
            default=[],
            options=dict(
                name=dict(type="str", required=True),
                password=dict(type="str", no_log=True),
                state=dict(type="str", choices=["present", "absent"], default="present"),
            ),
        ),
        timeout=dict(type="int", default=120),
    )


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    if neo4j is None:
        module.fail_json(msg=missing_required_lib("neo4j"), exception=NEO4J_IMPORT_ERROR)
    params = module.params
    server = Server(params["url"], params["ca_file"], params["timeout"])
    admin = (params["admin_user"], params["admin_password"])
    try:
        check_arguments(params["users"], params["admin_user"])
        before, after = sync(server, admin, params["previous_passwords"], params["users"], module.check_mode)
    except (UsersError, OSError, neo4j.exceptions.DriverError, neo4j.exceptions.Neo4jError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=before != after,
        diff={"before": before, "after": after},
        users=sorted(user["name"] for user in params["users"] if user["state"] == "present"),
    )


if __name__ == "__main__":
    main()
