# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""mongodb_state, against a set of members that are only remembered."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.neocampus.datalake.plugins.modules import mongodb_state as module

A, B, C, D = (f"{name}.example.org:27017" for name in "abcd")


class FakeServer:
    """Members and their set, with the interface of module.Server. `calls` are the changes that were asked for."""

    def __init__(self, sets: dict[str, str | None], members: tuple[str, ...] = ()) -> None:
        self.sets = sets  # what each member says of its set: a name, '' for none, None for no answer
        self.conf = {"_id": "lake", "version": 1, "members": [{"_id": i, "host": m} for i, m in enumerate(members)]}
        self.primary_name = members[0] if members else ""
        self.roles: dict[tuple[str, str], list[dict]] = {}
        self.users: dict[str, tuple[str, set]] = {}
        self.indexes: dict[tuple, dict[str, dict]] = {}
        self.documents: dict[tuple, list[dict]] = {}
        self.calls: list[tuple] = []

    def set_of(self, member, local=False):
        return self.sets.get(member)

    def initiate(self, member):
        self.calls.append(("initiate", member))
        self.conf["members"] = [{"_id": 0, "host": member}]
        self.primary_name = member

    def join(self, members):
        self.joined = members

    def config(self):
        return self.conf

    def reconfigure(self, change):
        new = change(self.conf)
        before, after = set(module.hosts_of(self.conf)), set(module.hosts_of(new))
        assert len(before ^ after) == 1, "one member at a time"
        assert new["version"] == self.conf["version"] + 1
        assert self.primary_name in after, "the primary can't be taken out"
        self.calls.append(("add", *(after - before)) if after - before else ("remove", *(before - after)))
        self.conf = new

    def wait_member(self, member):
        self.calls.append(("wait", member))

    def primary(self):
        return self.primary_name

    def step_down(self, member):
        self.calls.append(("step down", member))
        self.primary_name = next(one for one in module.hosts_of(self.conf) if one != member)

    def role(self, name, database):
        return self.roles.get((name, database))

    def put_role(self, name, database, privileges, exists):
        assert exists == ((name, database) in self.roles)
        self.calls.append(("role", name))
        self.roles[name, database] = privileges

    def user(self, name):
        return self.users[name][1] if name in self.users else None

    def accepts(self, name, password):
        return self.users[name][0] == password

    def put_user(self, name, password, roles, exists):
        assert exists == (name in self.users)
        self.calls.append(("user", name))
        self.users[name] = (self.users[name][0] if password is None else password, roles)

    def drop_user(self, name):
        self.calls.append(("drop user", name))
        del self.users[name]

    def index(self, database, collection, keys):
        for name, index in self.indexes.get((database, collection), {}).items():
            if index["key"] == keys:
                return name, index
        return None, None

    def make_index(self, database, collection, keys, options):
        self.calls.append(("index", database, collection))
        self.indexes.setdefault((database, collection), {})[str(keys)] = dict(options, key=keys)

    def drop_index(self, database, collection, name):
        self.calls.append(("drop index", database, collection))
        del self.indexes[database, collection][name]

    def has_document(self, database, collection, key):
        return any(key.items() <= one.items() for one in self.documents.get((database, collection), []))

    def put_document(self, database, collection, key, values):
        self.calls.append(("document", database, collection))
        self.documents.setdefault((database, collection), []).append({**key, **values})

    def prove_majority(self):
        self.calls.append(("majority",))


def arguments(**changes):
    index = {
        "database": "stats",
        "collection": "swift",
        "keys": ["type"],
        "unique": True,
        "partial_filter": None,
        "expire_after": None,
    }
    return {
        "replica_set": "lake",
        "member": A,
        "members": [A, B, C],
        "roles": [],
        "users": [{"name": "api", "password": "secret", "roles": ["readWrite@swift"], "state": "present"}],
        "indexes": [index],
        "documents": [
            {"database": "stats", "collection": "swift", "key": {"type": "object_id_file"}, "values": {"object_id": 0}}
        ],
        **changes,
    }


def sync(server, check_mode=False, **changes):
    params = arguments(**changes)
    module.check_arguments(params)
    pass_ = module.Sync(server, params, check_mode)
    pass_.result = pass_.run()
    return pass_


def whole():
    """A set that is what `arguments()` says."""
    server = FakeServer(dict.fromkeys((A, B, C), ""))
    sync(server)
    server.sets = dict.fromkeys((A, B, C), "lake")
    server.calls.clear()
    return server


def test_a_new_set_starts_with_one_member_and_grows_one_by_one():
    server = FakeServer(dict.fromkeys((A, B, C), ""))
    assert sync(server).changed
    assert server.calls[:5] == [("initiate", A), ("add", B), ("wait", B), ("add", C), ("wait", C)]
    assert server.calls[-1] == ("majority",)
    assert server.documents["stats", "swift"] == [{"type": "object_id_file", "object_id": 0}]


def test_a_second_pass_changes_nothing():
    server = whole()
    assert not sync(server).changed
    assert server.calls == [("majority",)]


def test_no_second_set_while_a_member_is_silent():
    server = FakeServer({A: "", B: "", C: None})
    with pytest.raises(module.StateError, match=f"{C}.* do not answer"):
        sync(server)
    assert server.calls == []


def test_an_empty_member_joins_the_set_that_another_one_knows():
    server = whole()
    server.sets = {A: "", B: "lake", C: None}
    assert not sync(server).changed
    assert server.joined == [B]


def test_a_member_of_another_set_is_refused():
    with pytest.raises(module.StateError, match=r"another set than lake: b\.example\.org:27017 \(other\)"):
        sync(FakeServer({A: "", B: "other", C: ""}))


def test_members_follow_the_list_more_first_and_a_primary_steps_down():
    server = whole()
    server.sets[D] = ""
    result = sync(server, member=B, members=[B, C, D])
    assert server.calls == [("add", D), ("wait", D), ("step down", A), ("remove", A), ("majority",)]
    assert result.before["members"] == [A, B, C] and result.after["members"] == [B, C, D]


def test_a_new_member_that_is_silent_is_not_added():
    server = whole()
    with pytest.raises(module.StateError, match=f"{D} does not answer"):
        sync(server, members=[A, B, C, D])
    assert server.calls == []


def test_member_ids_are_not_used_twice_and_stay_below_256():
    assert module.next_member_id({"members": [{"_id": 0}, {"_id": 4}]}) == 5
    assert module.next_member_id({"members": [{"_id": 0}, {"_id": 255}]}) == 1


@pytest.mark.parametrize(
    ("user", "password", "roles"),
    [
        ({"password": "changed"}, "changed", {("readWrite", "swift")}),
        ({"roles": ["read@swift"]}, "secret", {("read", "swift")}),
    ],
)
def test_a_user_is_changed_where_it_differs(user, password, roles):
    server = whole()
    result = sync(server, users=[{**arguments()["users"][0], **user}])
    assert server.users["api"] == (password, roles)
    assert "secret" not in str((result.before, result.after)) and "changed" not in str((result.before, result.after))


APPEND = {
    "name": "append",
    "database": "audit",
    "privileges": [{"collection": "events", "actions": ["insert", "find"]}],
}


def test_a_role_is_made_before_the_users_that_have_it_and_changed_where_it_differs():
    server = whole()
    user = {"name": "api", "password": "secret", "roles": ["append@audit"], "state": "present"}
    assert sync(server, roles=[APPEND], users=[user]).changed
    assert server.calls == [("role", "append"), ("user", "api"), ("majority",)]
    assert server.roles["append", "audit"] == [
        {"resource": {"db": "audit", "collection": "events"}, "actions": ["find", "insert"]}
    ]
    assert not sync(server, roles=[APPEND], users=[user]).changed
    more = {**APPEND, "privileges": [{"collection": "events", "actions": ["find"]}]}
    assert sync(server, roles=[more], users=[user], check_mode=True).changed
    assert len(server.roles["append", "audit"][0]["actions"]) == 2
    twice = {**APPEND, "privileges": [*APPEND["privileges"], *APPEND["privileges"]]}
    with pytest.raises(module.StateError, match="stands there twice"):
        module.check_arguments(arguments(roles=[twice]))


def test_an_index_whose_documents_expire_at_once_is_left_as_it_is():
    server = whole()
    index = {**arguments()["indexes"][0], "keys": ["expires_at"], "unique": False, "expire_after": 0}
    found = {"key": [("expires_at", 1)], "expireAfterSeconds": 0}
    assert module.existing_options(found) == module.index_options(index) == {"expireAfterSeconds": 0}
    sync(server, indexes=[index])
    assert not sync(server, indexes=[index]).changed


def test_a_user_is_dropped():
    server = whole()
    sync(server, users=[{"name": "api", "password": None, "roles": [], "state": "absent"}])
    assert server.users == {}


def test_an_index_with_other_options_is_made_again():
    server = whole()
    index = {**arguments()["indexes"][0], "partial_filter": {"type": {"$exists": True}}}
    sync(server, indexes=[index])
    assert server.calls == [("drop index", "stats", "swift"), ("index", "stats", "swift"), ("majority",)]


def test_a_document_that_is_there_stays_as_it_is():
    server = whole()
    server.documents["stats", "swift"][0]["object_id"] = 41
    sync(server)
    assert server.documents["stats", "swift"] == [{"type": "object_id_file", "object_id": 41}]


def test_check_mode_says_it_and_does_nothing():
    fresh = FakeServer(dict.fromkeys((A, B, C), ""))
    result = sync(fresh, check_mode=True)
    assert fresh.calls == [] and result.changed
    assert set(result.after) == {
        "members", "user api", "index stats.swift (type)", "document stats.swift {'type': 'object_id_file'}",
    }  # fmt: skip
    server = whole()
    assert not sync(server, check_mode=True).changed
    assert sync(server, check_mode=True, members=[A, B], documents=[]).after == {"members": [A, B]}
    assert server.calls == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"member": D}, "not one of members"),
        ({"members": [A, A]}, "twice"),
        ({"members": [A, "b.example.org"]}, "host:port"),
        ({"users": [{"name": "x", "password": None, "roles": [], "state": "present"}]}, "no password"),
        ({"users": [{"name": "x", "password": "y", "roles": ["read"], "state": "present"}]}, "role@database"),
        ({"indexes": [{"keys": ["-"]}]}, "name at least one field"),
    ],
)
def test_arguments_that_cannot_be_are_refused(change, message):
    with pytest.raises(module.StateError, match=message):
        module.check_arguments(arguments(**change))


def test_keys_and_options_are_compared_as_the_server_has_them():
    assert module.parse_keys(["swift_container", "-swift_id"]) == [("swift_container", 1), ("swift_id", -1)]
    described = {"v": 2, "key": [("type", 1)], "unique": True, "sparse": False}
    assert module.existing_options(described) == {"unique": True}


def test_documentation_and_arguments_agree():
    def names(options):
        return {name: names(one.get("suboptions") or one.get("options") or {}) for name, one in options.items()}

    assert names(yaml.safe_load(module.DOCUMENTATION)["options"]) == names(module.argument_spec())
