#!/usr/bin/python
# Copyright: neOCampus data lake contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declared users of an InfluxDB 1.x server, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: influxdb_users
short_description: Declared users of an InfluxDB 1.x server
version_added: 0.1.0
author:
  - neOCampus data lake contributors (@neocampus)
description:
  - Makes the users of an InfluxDB 1.x server that has authentication on what the arguments say they are.
  - Waits until the server answers, and makes the first administrator when there is none, which the server allows
    without a password.
  - Any declared administrator whose password is accepted is used for the rest, so that one administrator's new password
    is set by another one.
    When all were changed at once, O(previous_passwords) helps.
  - Rights on databases are not touched, but for those of O(users[].reads_like). Users that are not declared are left
    alone.
  - Statements go in the body of requests, and passwords of requests in a header, so that the server logs neither.
options:
  url:
    description: Address of the server, C(https://host:port).
    type: str
    required: true
  ca_file:
    description: Certificates of the authorities that may sign the server's certificate, on the target.
    type: path
    required: true
  users:
    description: Users that must exist, or must not. At least one administrator that is V(present).
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
      password:
        description: Password of the user. Needed when the user is V(present).
        type: str
      admin:
        description: Whether the user may do everything, making databases and granting rights on them included.
        type: bool
        default: false
      reads_like:
        description: Name of another user. What that one may read, this one is let read too. Ignored where there is no
          such user.
        type: str
      state:
        description: Whether the user exists.
        type: str
        choices: [present, absent]
        default: present
  previous_passwords:
    description: Passwords that declared administrators may still have.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait until the server answers, and for each answer.
    type: int
    default: 60
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
- name: Users of the time series
  neocampus.datalake.influxdb_users:
    url: https://gold1.example.org:8086
    ca_file: /etc/pki/lake/ca.crt
    users:
      - {name: admin, password: "{{ admin_password }}", admin: true}
      - {name: api, password: "{{ api_password }}"}
"""

RETURN = r"""
users:
  description: Names of the declared users that exist after the call, or would in check mode.
  returned: success
  type: list
  elements: str
"""

import json
import time
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import ConnectionError as UrlConnectionError
from ansible.module_utils.urls import open_url

PAUSE = 0.2
NO_ADMIN_YET = "create admin user first"


class UsersError(Exception):
    """What was wrong, with what, and what to do about it."""


class Refused(UsersError):
    """The server does not accept name and password."""


def identifier(name: str) -> str:
    """A name as InfluxQL's quoted identifier."""
    return '"{}"'.format(name.replace("\\", "\\\\").replace('"', '\\"'))


def string(text: str) -> str:
    """A text as InfluxQL's quoted string."""
    return "'{}'".format(text.replace("\\", "\\\\").replace("'", "\\'"))


def check_arguments(users: list) -> None:
    """Refuse what argument specs can't see."""
    names = [user["name"] for user in users]
    if len(set(names)) != len(names):
        raise UsersError("users: a name stands there twice")
    for user in users:
        if user["state"] == "present" and not user["password"]:
            raise UsersError("user {} has no password".format(user["name"]))
    if not any(user["admin"] and user["state"] == "present" for user in users):
        raise UsersError("users: at least one administrator has to be present")


class Server:
    """The server, over its HTTP interface."""

    def __init__(self, url: str, ca_file: str, timeout: int) -> None:
        self.url = url.rstrip("/")
        self.ca_file = ca_file
        self.timeout = timeout
        self.login = None

    def query(self, statement: str, login=None) -> list:
        """Rows of the first result of a statement, as `login` (name, password) or as the login of this object.

        Raises Refused when name and password are not accepted, UsersError for any other error of the server.
        """
        name, password = login or self.login or (None, None)
        try:
            with open_url(
                self.url + "/query",
                method="POST",
                data=urlencode({"q": statement}),
                ca_path=self.ca_file,
                timeout=self.timeout,
                url_username=name,
                url_password=password,
                force_basic_auth=name is not None,
                use_netrc=False,
                use_proxy=False,
            ) as response:
                answer = json.load(response)
        except HTTPError as error:
            text = error.read().decode(errors="replace").strip()
            if error.code == 401:
                raise Refused(f"{self.url} refuses user {name}") from None
            raise UsersError(f"{self.url} answered {error.code}: {text}") from None
        result = answer["results"][0]
        if "error" in result:
            raise UsersError("{}: {}".format(self.url, result["error"]))
        return [row for series in result.get("series", []) for row in series.get("values", [])]

    def has_admin(self) -> bool:
        """Whether an administrator exists; waits until the server answers."""
        end = time.monotonic() + self.timeout
        while True:
            try:
                self.query("SHOW USERS", login=(None, None))
            except Refused:
                return True
            except UsersError as error:
                if NO_ADMIN_YET in str(error):
                    return False
                raise
            except (URLError, OSError, UrlConnectionError) as error:
                if time.monotonic() > end:
                    raise UsersError(f"{self.url} does not answer: {error}") from None
                time.sleep(PAUSE)
            else:
                raise UsersError(f"{self.url} answers without a password: turn its authentication on (auth-enabled)")

    def accepts(self, name: str, password: str) -> bool:
        """Whether the user can log in with the password."""
        try:
            self.query("SHOW DATABASES", login=(name, password))
        except Refused:
            return False
        return True

    def users(self) -> dict:
        """Whether each user is an administrator, by name."""
        return dict(self.query("SHOW USERS"))

    def create(self, name: str, password: str, admin: bool) -> None:
        self.query(
            "CREATE USER {} WITH PASSWORD {}{}".format(
                identifier(name), string(password), " WITH ALL PRIVILEGES" if admin else ""
            )
        )

    def set_password(self, name: str, password: str) -> None:
        self.query(f"SET PASSWORD FOR {identifier(name)} = {string(password)}")

    def set_admin(self, name: str, admin: bool) -> None:
        self.query(("GRANT ALL PRIVILEGES TO %s" if admin else "REVOKE ALL PRIVILEGES FROM %s") % identifier(name))

    def readable(self, name: str) -> set:
        """Databases that the user is granted to read."""
        rows = self.query(f"SHOW GRANTS FOR {identifier(name)}")
        return {database for database, privilege in rows if privilege in ("READ", "ALL PRIVILEGES")}

    def let_read(self, name: str, databases: list) -> None:
        for database in databases:
            self.query(f"GRANT READ ON {identifier(database)} TO {identifier(name)}")

    def drop(self, name: str) -> None:
        self.query(f"DROP USER {identifier(name)}")


def log_in(server: Server, users: list, previous_passwords: list) -> None:
    """Have the server used as the first declared administrator whose password it accepts."""
    admins = [user for user in users if user["admin"] and user["state"] == "present"]
    for user in admins:
        for password in [user["password"]] + previous_passwords:
            # One that is no administrator (any more) can log in and is of no use.
            if server.accepts(user["name"], password):
                server.login = (user["name"], password)
                try:
                    server.users()
                except UsersError:
                    continue
                return
    server.login = None
    raise UsersError(
        "{} accepts no password of {}: give the ones they had as previous passwords".format(
            server.url, ", ".join(u["name"] for u in admins)
        )
    )


def sync(server: Server, users: list, previous_passwords: list, check_mode: bool) -> tuple:
    """Make the users what they must be (unless `check_mode`); what differed, before and after."""
    before, after = {}, {}
    if server.has_admin():
        log_in(server, users, previous_passwords)
        present = server.users()
    else:
        # The server takes nothing but an administrator first.
        users = sorted(users, key=lambda user: not (user["admin"] and user["state"] == "present"))
        present = {}
    for user in users:
        name, password, admin = user["name"], user["password"], user["admin"]
        if user["state"] == "absent":
            if name in present:
                before[name], after[name] = {"admin": present[name]}, None
                if not check_mode:
                    server.drop(name)
        elif name not in present:
            before[name], after[name] = None, {"admin": admin, "password": "new"}
            if not check_mode:
                server.create(name, password, admin)
                server.login = server.login or (name, password)
        else:
            accepted = server.accepts(name, password)
            if accepted and present[name] == admin:
                continue
            before[name] = {"admin": present[name], "password": "current" if accepted else "other"}
            after[name] = {"admin": admin, "password": "current" if accepted else "new"}
            if check_mode:
                continue
            if not accepted:
                server.set_password(name, password)
                if server.login[0] == name:
                    server.login = (name, password)
            if present[name] != admin:
                server.set_admin(name, admin)
    share_rights(server, users, present, (before, after), check_mode)
    return before, after


def share_rights(server: Server, users: list, present: dict, differences: tuple, check_mode: bool) -> None:
    """Let users read what those may whom they are to be like; `present` are the users that were there before."""
    gone = {user["name"] for user in users if user["state"] == "absent"}
    for user in users:
        name, model = user["name"], user.get("reads_like")
        if name in gone or model in gone or model not in present:
            continue
        missing = sorted(server.readable(model) - (server.readable(name) if name in present else set()))
        if missing:
            for difference, reads in zip(differences, ([], missing)):
                difference[name] = dict(difference.get(name) or {}, may_now_read=reads)
            if not check_mode:
                server.let_read(name, missing)


def argument_spec() -> dict:
    """Arguments of the module, as in its documentation."""
    return dict(
        url=dict(type="str", required=True),
        ca_file=dict(type="path", required=True),
        users=dict(
            type="list",
            elements="dict",
            required=True,
            options=dict(
                name=dict(type="str", required=True),
                password=dict(type="str", no_log=True),
                admin=dict(type="bool", default=False),
                reads_like=dict(type="str"),
                state=dict(type="str", choices=["present", "absent"], default="present"),
            ),
        ),
        previous_passwords=dict(type="list", elements="str", default=[], no_log=True),
        timeout=dict(type="int", default=60),
    )


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    params = module.params
    server = Server(params["url"], params["ca_file"], params["timeout"])
    try:
        check_arguments(params["users"])
        before, after = sync(server, params["users"], params["previous_passwords"], module.check_mode)
    except (UsersError, URLError, OSError, UrlConnectionError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=before != after,
        diff={"before": before, "after": after},
        users=sorted(user["name"] for user in params["users"] if user["state"] == "present"),
    )


if __name__ == "__main__":
    main()
