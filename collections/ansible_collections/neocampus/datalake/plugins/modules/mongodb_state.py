#!/usr/bin/python
# Copyright: neOCampus data lake contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declared state of a MongoDB replica set: members, users, indexes and documents, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mongodb_state
short_description: Declared state of a MongoDB replica set
version_added: 0.1.0
author:
  - neOCampus data lake contributors (@neocampus)
description:
  - Makes a replica set what the arguments say it is, that is its members, its roles, its users, its indexes and the
    documents it starts with.
  - Runs on one member and does the work for the whole set. It authenticates as the cluster itself, with the key file
    that the members share, so it needs neither the localhost exception nor an administrator's password, and can set
    a changed administrator's password.
  - Members are added and removed one at a time. The next change waits until the set has settled.
  - A set is made only when every member in the list answers and none of them belongs to a set, so that a lost member
    never starts a second set.
  - Members not in O(members) are removed. Roles, users, indexes and documents that are not in the arguments are left
    alone.
requirements:
  - pymongo >= 4.0 on the target, in the interpreter that runs the module
  - MongoDB >= 5.0 with key file authentication and TLS
options:
  replica_set:
    description: Name of the replica set.
    type: str
    required: true
  members:
    description:
      - Every member of the set, as C(host:port), under the name by which members and clients reach it.
    type: list
    elements: str
    required: true
  member:
    description: The entry of O(members) that is the host on which the module runs. It is reached over loopback.
    type: str
    required: true
  key_file:
    description: Key file of the cluster, on the target.
    type: path
    required: true
  ca_file:
    description: Certificates of the authorities that may sign a member's certificate, on the target.
    type: path
    required: true
  roles:
    description:
      - Roles of one's own that must exist, for what the built-in ones give too much of. A user is given one as
        C(name@database).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the role.
        type: str
        required: true
      database:
        description: Database that the role belongs to.
        type: str
        required: true
      privileges:
        description: All privileges of the role.
        type: list
        elements: dict
        required: true
        suboptions:
          collection:
            description: Collection of the role's database; empty for all of them.
            type: str
            required: true
          actions:
            description: What may be done there, as MongoDB names it, for example V(find) or V(insert).
            type: list
            elements: str
            required: true
  users:
    description: Users that must exist, or must not. All authenticate against the database V(admin), with SCRAM-SHA-256.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
      password:
        description: Password of the user. Needed when the user is V(present).
        type: str
      roles:
        description: All roles of the user, as C(role@database).
        type: list
        elements: str
        default: []
      state:
        description: Whether the user exists.
        type: str
        choices: [present, absent]
        default: present
  indexes:
    description:
      - Indexes that must exist. One with the same keys and other options is dropped and made again.
    type: list
    elements: dict
    default: []
    suboptions:
      database:
        description: Name of the database.
        type: str
        required: true
      collection:
        description: Name of the collection, made when needed.
        type: str
        required: true
      keys:
        description: Fields of the index, in order. A C(-) before the name makes it descending.
        type: list
        elements: str
        required: true
      unique:
        description: Whether two documents may not have the same keys.
        type: bool
        default: false
      partial_filter:
        description: Only documents that match this filter are in the index.
        type: dict
      expire_after:
        description: Seconds after the date in the (only) key when a document expires.
        type: int
  documents:
    description: Documents that must exist. One that exists is left as it is.
    type: list
    elements: dict
    default: []
    suboptions:
      database:
        description: Name of the database.
        type: str
        required: true
      collection:
        description: Name of the collection.
        type: str
        required: true
      key:
        description: Fields by which the document is found.
        type: dict
        required: true
      values:
        description: The other fields of the document when it is made.
        type: dict
        default: {}
  timeout:
    description:
      - Seconds to wait for each thing that takes time, such as an answer, a primary, a first copy of the data,
        or a majority.
    type: int
    default: 120
attributes:
  check_mode:
    description: Says what would change and changes nothing.
    support: full
  diff_mode:
    description: Shows members, roles and options before and after, never a password.
    support: full
  idempotent:
    description: A second call changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Metadata store
  neocampus.datalake.mongodb_state:
    replica_set: lake
    member: data1.example.org:27017
    members: [data1.example.org:27017, data2.example.org:27017, data3.example.org:27017]
    key_file: /etc/mongodb/keyfile
    ca_file: /etc/pki/lake/ca.crt
    roles:
      - name: append
        database: audit
        privileges: [{collection: events, actions: [insert, find]}]
    users:
      - name: api
        password: "{{ api_password }}"
        roles: [readWrite@swift, read@data_conso, append@audit]
    indexes:
      - {database: upload, collection: file_upload, keys: [id], unique: true}
    documents:
      - {database: stats, collection: swift, key: {type: object_id_file}, values: {object_id: 0}}
"""

RETURN = r"""
members:
  description: Members of the set after the call, or what they would be in check mode.
  returned: success
  type: list
  elements: str
primary:
  description: The member that was primary at the end; empty in check mode before the set is made.
  returned: success
  type: str
"""

import re
import time

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

# Server's error codes: https://www.mongodb.com/docs/manual/reference/error-codes/
AUTHENTICATION_FAILED = 18
RECONFIG_AGAIN = frozenset(
    (103, 109, 308, 10107, 11602, 189)
)  # another change of the configuration, or an election, is under way
GONE_AWAY = frozenset(
    (10107, 11600, 11602, 13435, 189, 91)
)  # not primary any more, or shutting down: the next primary answers
STATE_SECONDARY = 2
STATE_PRIMARY = 1
MAX_MEMBER_ID = 255
PAUSE = 0.2


class StateError(Exception):
    """What was wrong, with what, and what to do about it."""


# --- what is wanted: pure functions ---


def parse_roles(roles: list) -> set:
    """`role@database` texts as a set of (role, database) pairs."""
    pairs = set()
    for text in roles:
        role, at, database = text.partition("@")
        if not (role and at and database):
            raise StateError(f"role {text!r} is not of the form role@database")
        pairs.add((role, database))
    return pairs


def privileges_of(role: dict) -> list:
    """The privileges of a declared role, in an order of their own, as MongoDB writes them."""
    return sorted(
        (
            {
                "resource": {"db": role["database"], "collection": one["collection"]},
                "actions": sorted(set(one["actions"])),
            }
            for one in role["privileges"]
        ),
        key=lambda one: one["resource"]["collection"],
    )


def parse_keys(keys: list) -> list:
    """Field names, `-` before a descending one, as MongoDB's ordered (field, direction) pairs."""
    pairs = [(key[1:], -1) if key.startswith("-") else (key, 1) for key in keys]
    if not pairs or not all(name for name, _direction in pairs):
        raise StateError(f"index keys {keys!r}: name at least one field, none of them empty")
    return pairs


def index_options(index: dict) -> dict:
    """The options of a declared index, without those that are off, under the server's names."""
    options = {}
    if index["unique"]:
        options["unique"] = True
    if index["partial_filter"] is not None:
        options["partialFilterExpression"] = index["partial_filter"]
    if index["expire_after"] is not None:
        options["expireAfterSeconds"] = index["expire_after"]
    return options


def existing_options(index: dict) -> dict:
    """The same options of an index as the server describes it."""
    names = ("unique", "partialFilterExpression", "expireAfterSeconds")
    return {name: index[name] for name in names if index.get(name) is not None and index[name] is not False}


def next_member_id(config: dict) -> int:
    """A member id that the configuration does not use (0 to 255)."""
    used = {member["_id"] for member in config["members"]}
    following = max(used, default=-1) + 1
    return following if following <= MAX_MEMBER_ID else min(set(range(MAX_MEMBER_ID + 1)) - used)


def with_member(config: dict, host: str) -> dict:
    """The configuration with one member more."""
    members = config["members"] + [{"_id": next_member_id(config), "host": host}]
    return dict(config, members=members, version=config["version"] + 1)


def without_member(config: dict, host: str) -> dict:
    """The configuration with one member less."""
    members = [member for member in config["members"] if member["host"] != host]
    return dict(config, members=members, version=config["version"] + 1)


def hosts_of(config: dict) -> list:
    """Names of the members in a configuration."""
    return [member["host"] for member in config["members"]]


def check_arguments(params: dict) -> None:
    """Refuse what argument specs can't see."""
    members = params["members"]
    wrong = [member for member in members if not re.fullmatch(r"[^\s:]+:\d{1,5}", member)]
    if wrong:
        raise StateError("members {}: each is host:port".format(", ".join(wrong)))
    if len(set(members)) != len(members):
        raise StateError("members: a name stands there twice")
    if params["member"] not in members:
        raise StateError("member {} is not one of members".format(params["member"]))
    for role in params["roles"]:
        collections = [one["collection"] for one in role["privileges"]]
        if len(set(collections)) != len(collections):
            raise StateError("role {}: a collection stands there twice".format(role["name"]))
    for user in params["users"]:
        if user["state"] == "present" and not user["password"]:
            raise StateError("user {} has no password".format(user["name"]))
        parse_roles(user["roles"])
    for index in params["indexes"]:
        parse_keys(index["keys"])


# --- the server ---


class Server:
    """The members, over pymongo. Everything that leaves this host is here."""

    def __init__(self, params: dict) -> None:
        import pymongo
        import pymongo.errors

        self.pymongo = pymongo
        self.errors = pymongo.errors
        self.name = params["replica_set"]
        self.timeout = params["timeout"]
        self.local = "localhost:" + params["member"].rpartition(":")[2]
        self.ca_file = params["ca_file"]
        with open(params["key_file"], encoding="ascii") as key_file:
            # The server takes white space out of a key file. A list of keys (YAML) is for changing the key: the first
            # one is current.
            self.key = re.sub(r"\s", "", key_file.read().lstrip("- ").split("\n-")[0])
        self._set = None

    def _client(self, hosts, **options):
        return self.pymongo.MongoClient(
            hosts, tls=True, tlsCAFile=self.ca_file, serverSelectionTimeoutMS=self.timeout * 1000, **options
        )

    def _as_cluster(self, hosts, **options):
        return self._client(
            hosts, username="__system", password=self.key, authSource="local", authMechanism="SCRAM-SHA-256", **options
        )

    def wait(self, look, what: str):
        """What `look` gives as soon as it is true; raises StateError with `what` when that takes too long."""
        end = time.monotonic() + self.timeout
        problem = ""
        while True:
            try:
                found = look()
                if found:
                    return found
            except (self.errors.ConnectionFailure, self.errors.OperationFailure) as error:
                if isinstance(error, self.errors.OperationFailure) and error.code not in GONE_AWAY | RECONFIG_AGAIN:
                    raise
                problem = f" ({error})"
            if time.monotonic() > end:
                raise StateError(f"waited {self.timeout} s for {what}{problem}")
            time.sleep(PAUSE)

    def set_of(self, member: str, local: bool = False):
        """Name of the set to which a member says it belongs, '' when to none, None when it does not answer."""

        def hello() -> dict:
            host = self.local if local else member
            with self.pymongo.MongoClient(
                host, tls=True, tlsCAFile=self.ca_file, directConnection=True, serverSelectionTimeoutMS=3000
            ) as client:
                return client.admin.command("hello")

        try:
            # Our own member may just have been started.
            answer = self.wait(hello, f"an answer of {self.local}") if local else hello()
        except self.errors.ConnectionFailure:
            return None
        return answer.get("setName", "")

    def initiate(self, member: str) -> None:
        """Make the set, with one member, and wait until it is primary."""
        with self._as_cluster(self.local, directConnection=True) as client:
            client.admin.command("replSetInitiate", {"_id": self.name, "members": [{"_id": 0, "host": member}]})
            self.wait(lambda: client.admin.command("hello")["isWritablePrimary"], f"{member} to become primary")

    def join(self, members: list) -> None:
        """Talk to the set from now on, wherever its primary is."""
        self._set = self._as_cluster(members, replicaSet=self.name, w="majority", wTimeoutMS=self.timeout * 1000)

    def close(self) -> None:
        if self._set is not None:
            self._set.close()

    @property
    def admin(self):
        return self._set.admin

    def config(self) -> dict:
        return self.wait(
            lambda: self.admin.command("replSetGetConfig")["config"], f"the configuration of set {self.name}"
        )

    def reconfigure(self, change) -> None:
        """Put `change(configuration)` in force; when another change comes between, try on what that one left."""
        self.wait(
            lambda: self.admin.command("replSetReconfig", change(self.admin.command("replSetGetConfig")["config"])),
            f"set {self.name} to accept its configuration",
        )

    def wait_member(self, member: str) -> None:
        """Until a new member has its copy of the data."""

        def is_there() -> bool:
            status = self.admin.command("replSetGetStatus")
            return any(
                one["name"] == member and one["health"] == 1 and one["state"] in (STATE_PRIMARY, STATE_SECONDARY)
                for one in status["members"]
            )

        self.wait(is_there, f"member {member} to have a copy of the data")

    def primary(self) -> str:
        """The primary's name."""
        return self.wait(
            lambda: next(
                (
                    one["name"]
                    for one in self.admin.command("replSetGetStatus")["members"]
                    if one["state"] == STATE_PRIMARY
                ),
                "",
            ),
            f"a primary of set {self.name}",
        )

    def step_down(self, member: str) -> None:
        """Have another member than this one as primary."""
        try:
            self.admin.command("replSetStepDown", 60, secondaryCatchUpPeriodSecs=30)
        except self.errors.AutoReconnect:
            pass  # older servers close the connection; the wait below sees whether it worked
        self.wait(lambda: self.primary() != member, f"another primary than {member}")

    def role(self, name: str, database: str):
        """Privileges of a role, as `privileges_of` has them; None when there is no such role."""
        found = self._set[database].command("rolesInfo", name, showPrivileges=True)["roles"]
        if not found:
            return None
        given = [
            {"resource": dict(one["resource"]), "actions": sorted(one["actions"])} for one in found[0]["privileges"]
        ]
        return sorted(given, key=lambda one: one["resource"].get("collection", ""))

    def put_role(self, name: str, database: str, privileges: list, exists: bool) -> None:
        """Make or change a role."""
        self._set[database].command("updateRole" if exists else "createRole", name, privileges=privileges, roles=[])

    def user(self, name: str):
        """Roles of a user as a set of (role, database), None when there is no such user."""
        found = self.admin.command("usersInfo", {"user": name, "db": "admin"})["users"]
        return {(role["role"], role["db"]) for role in found[0]["roles"]} if found else None

    def accepts(self, name: str, password: str) -> bool:
        """Whether the user can log in with the password."""
        with self._client(
            hosts_of(self.config()),
            replicaSet=self.name,
            username=name,
            password=password,
            authSource="admin",
            authMechanism="SCRAM-SHA-256",
            readPreference="primaryPreferred",
        ) as client:
            try:
                client.admin.command("connectionStatus")
            except self.errors.OperationFailure as error:
                if error.code != AUTHENTICATION_FAILED:
                    raise
                return False
            return True

    def put_user(self, name: str, password, roles: set, exists: bool) -> None:
        """Make or change a user; a password of None stays as it is."""
        wanted = {"roles": [{"role": role, "db": database} for role, database in sorted(roles)]}
        if password is not None:
            wanted.update(pwd=password, mechanisms=["SCRAM-SHA-256"])
        self.admin.command("updateUser" if exists else "createUser", name, **wanted)

    def drop_user(self, name: str) -> None:
        self.admin.command("dropUser", name)

    def index(self, database: str, collection: str, keys: list):
        """Name and description of the index with these keys, (None, None) when there is none."""
        for name, index in self._set[database][collection].index_information().items():
            if list(index["key"]) == keys:
                return name, index
        return None, None

    def make_index(self, database: str, collection: str, keys: list, options: dict) -> None:
        self._set[database][collection].create_index(keys, **options)

    def drop_index(self, database: str, collection: str, name: str) -> None:
        self._set[database][collection].drop_index(name)

    def has_document(self, database: str, collection: str, key: dict) -> bool:
        return self._set[database][collection].find_one(key, {"_id": 1}) is not None

    def put_document(self, database: str, collection: str, key: dict, values: dict) -> bool:
        """Make the document unless it is there (atomic); whether it was made."""
        result = self._set[database][collection].update_one(key, {"$setOnInsert": values}, upsert=True)
        return result.upserted_id is not None

    def prove_majority(self) -> None:
        """Write to a majority of the members: a note in the log of operations, which touches no data."""
        note = {"msg": "neocampus.datalake.mongodb_state"}
        self.wait(
            lambda: self.admin.command(
                "appendOplogNote", 1, data=note, writeConcern={"w": "majority", "wtimeout": self.timeout * 1000}
            ),
            f"a write that a majority of set {self.name} confirms",
        )


# --- one pass ---


class Sync:
    """Compares what is with what must be, and unless `check_mode` makes it so; `before`, `after` hold what differs."""

    def __init__(self, server, params: dict, check_mode: bool) -> None:
        self.server = server
        self.params = params
        self.check_mode = check_mode
        self.before = {}
        self.after = {}

    @property
    def changed(self) -> bool:
        return self.before != self.after

    def _differs(self, what: str, before, after) -> bool:
        """Note a difference; whether there is something to do about it now."""
        self.before[what], self.after[what] = before, after
        return not self.check_mode

    def run(self) -> dict:
        exists = self._exists()
        if not exists and self.check_mode:
            self._all_new()
            return {"members": self.params["members"], "primary": ""}
        if not exists:
            self.server.initiate(self.params["member"])
            self.server.join([self.params["member"]])
        self._members(made=not exists)
        for role in self.params["roles"]:
            self._role(role)
        for user in self.params["users"]:
            self._user(user)
        for index in self.params["indexes"]:
            self._index(index)
        for document in self.params["documents"]:
            self._document(document)
        if not self.check_mode:
            self.server.prove_majority()
        return {
            "members": self.params["members"] if self.check_mode else hosts_of(self.server.config()),
            "primary": self.server.primary(),
        }

    def _exists(self) -> bool:
        """Find the set through any member and join it; False when it has to be made, an error when unknown."""
        own, name = self.params["member"], self.params["replica_set"]
        answers = {member: self.server.set_of(member, local=member == own) for member in self.params["members"]}
        others = sorted(f"{member} ({other})" for member, other in answers.items() if other and other != name)
        if others:
            raise StateError("members of another set than {}: {}".format(name, ", ".join(others)))
        there = [member for member, answer in answers.items() if answer == name]
        if there:
            self.server.join(there)
            return True
        silent = sorted(member for member, answer in answers.items() if answer is None)
        if silent:
            raise StateError(
                "no member knows set {} and {} do not answer: a set is only made when all members answer, "
                "lest a second one be made; "
                "start them, or take them out of the list".format(name, ", ".join(silent))
            )
        return False

    def _all_new(self) -> None:
        self._differs("members", [], self.params["members"])
        for role in self.params["roles"]:
            self._differs("role {name}@{database}".format(**role), None, privileges_of(role))
        for user in self.params["users"]:
            if user["state"] == "present":
                self._differs("user " + user["name"], None, {"roles": sorted(user["roles"]), "password": "new"})
        for index in self.params["indexes"]:
            self._differs(self._index_name(index), None, index_options(index))
        for document in self.params["documents"]:
            self._differs(self._document_name(document), False, True)

    def _members(self, made: bool) -> None:
        wanted, present = self.params["members"], hosts_of(self.server.config())
        if not made and set(wanted) == set(present):
            return
        if not self._differs("members", [] if made else present, wanted):
            return
        # First more, then less: a majority is kept all the way.
        for member in [one for one in wanted if one not in present]:
            if self.server.set_of(member) is None:
                raise StateError(
                    f"member {member} does not answer: start it before it is added, or take it out of the list"
                )
            self.server.reconfigure(lambda config, member=member: with_member(config, member))
            self.server.wait_member(member)
        for member in [one for one in present if one not in wanted]:
            if self.server.primary() == member:
                self.server.step_down(member)
            self.server.reconfigure(lambda config, member=member: without_member(config, member))

    def _role(self, role: dict) -> None:
        present, wanted = self.server.role(role["name"], role["database"]), privileges_of(role)
        if present != wanted and self._differs("role {name}@{database}".format(**role), present, wanted):
            self.server.put_role(role["name"], role["database"], wanted, exists=present is not None)

    def _user(self, user: dict) -> None:
        what, present = "user " + user["name"], self.server.user(user["name"])
        if user["state"] == "absent":
            if present is not None and self._differs(what, {"roles": self._role_texts(present)}, None):
                self.server.drop_user(user["name"])
            return
        wanted = parse_roles(user["roles"])
        accepted = present is not None and self.server.accepts(user["name"], user["password"])
        if accepted and present == wanted:
            return
        before = (
            None
            if present is None
            else {"roles": self._role_texts(present), "password": "current" if accepted else "other"}
        )
        after = {"roles": self._role_texts(wanted), "password": "current" if accepted else "new"}
        if self._differs(what, before, after):
            self.server.put_user(
                user["name"], None if accepted else user["password"], wanted, exists=present is not None
            )

    def _index(self, index: dict) -> None:
        database, collection, keys = index["database"], index["collection"], parse_keys(index["keys"])
        wanted = index_options(index)
        name, present = self.server.index(database, collection, keys)
        if name is not None and existing_options(present) == wanted:
            return
        if self._differs(self._index_name(index), None if name is None else existing_options(present), wanted):
            if name is not None:
                self.server.drop_index(database, collection, name)
            self.server.make_index(database, collection, keys, wanted)

    def _document(self, document: dict) -> None:
        where = document["database"], document["collection"], document["key"]
        if not self.server.has_document(*where) and self._differs(self._document_name(document), False, True):
            self.server.put_document(*where, document["values"])

    @staticmethod
    def _role_texts(roles: set) -> list:
        return sorted("@".join(role) for role in roles)

    @staticmethod
    def _index_name(index: dict) -> str:
        return "index {}.{} ({})".format(index["database"], index["collection"], ", ".join(index["keys"]))

    @staticmethod
    def _document_name(document: dict) -> str:
        return "document {}.{} {}".format(document["database"], document["collection"], document["key"])


def argument_spec() -> dict:
    """Arguments of the module, as in its documentation."""
    return dict(
        replica_set=dict(type="str", required=True),
        members=dict(type="list", elements="str", required=True),
        member=dict(type="str", required=True),
        key_file=dict(type="path", required=True, no_log=False),
        ca_file=dict(type="path", required=True),
        roles=dict(
            type="list",
            elements="dict",
            default=[],
            options=dict(
                name=dict(type="str", required=True),
                database=dict(type="str", required=True),
                privileges=dict(
                    type="list",
                    elements="dict",
                    required=True,
                    options=dict(
                        collection=dict(type="str", required=True),
                        actions=dict(type="list", elements="str", required=True),
                    ),
                ),
            ),
        ),
        users=dict(
            type="list",
            elements="dict",
            default=[],
            options=dict(
                name=dict(type="str", required=True),
                password=dict(type="str", no_log=True),
                roles=dict(type="list", elements="str", default=[]),
                state=dict(type="str", choices=["present", "absent"], default="present"),
            ),
        ),
        indexes=dict(
            type="list",
            elements="dict",
            default=[],
            options=dict(
                database=dict(type="str", required=True),
                collection=dict(type="str", required=True),
                keys=dict(type="list", elements="str", required=True, no_log=False),
                unique=dict(type="bool", default=False),
                partial_filter=dict(type="dict"),
                expire_after=dict(type="int"),
            ),
        ),
        documents=dict(
            type="list",
            elements="dict",
            default=[],
            options=dict(
                database=dict(type="str", required=True),
                collection=dict(type="str", required=True),
                key=dict(type="dict", required=True, no_log=False),
                values=dict(type="dict", default={}),
            ),
        ),
        timeout=dict(type="int", default=120),
    )


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        check_arguments(module.params)
        server = Server(module.params)
    except ImportError:
        module.fail_json(msg=missing_required_lib("pymongo"))
    except (StateError, OSError) as error:
        module.fail_json(msg=str(error))
    sync = Sync(server, module.params, module.check_mode)
    try:
        result = sync.run()
    except (StateError, server.errors.PyMongoError) as error:
        module.fail_json(msg=str(error), diff={"before": sync.before, "after": sync.after})
    finally:
        server.close()
    module.exit_json(changed=sync.changed, diff={"before": sync.before, "after": sync.after}, **result)


if __name__ == "__main__":
    main()
