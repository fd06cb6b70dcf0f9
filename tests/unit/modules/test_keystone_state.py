# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""keystone_state, against a Keystone that is only remembered."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.neocampus.datalake.plugins.modules import keystone_state as module

PASSWORD = "correct-horse-battery"


class FakeKeystone:
    """What Keystone holds, with the interface of module.Keystone. `calls` are the changes that were asked for."""

    def __init__(self) -> None:
        self.items = {
            kind: [] for kind in ("domain", "project", "role", "user", "group", "service", "endpoint", "region")
        }
        self.granted: list[tuple[str, ...]] = []
        self.calls: list[tuple[str, str]] = []
        self.passwords: dict[str, str] = {}
        self.add("domain", "Default", id="default")
        self.add("role", "member")

    def add(self, kind, name, **properties):
        item = {"id": f"{kind}-{name}", "name": name, **properties}
        self.items[kind].append(item)
        return item

    def opens(self, user_id, password):
        return self.passwords.get(user_id) == password

    def get(self, path, **query):
        if path == "/role_assignments":
            return {
                "role_assignments": [
                    {"role": {"id": role}, actor_kind: {"id": actor}, "scope": {target_kind: {"id": target}}}
                    for target_kind, target, actor_kind, actor, role in self.granted
                ]
            }
        kind = path.strip("/")[:-1]
        # As Keystone does, without case.
        found = [
            item
            for item in self.items[kind]
            if all(str(item.get(key)).lower() == value.lower() for key, value in query.items())
        ]
        return {kind + "s": found}

    def call(self, method, path, body=None):
        self.calls.append((method, path))
        parts = path.strip("/").split("/")
        if method == "PUT":
            target_kind, target, actor_kind, actor, _roles, role = parts
            self.granted.append((target_kind[:-1], target, actor_kind[:-1], actor, role))
            return {}
        kind = parts[0][:-1]
        if method == "DELETE":
            self.items[kind] = [item for item in self.items[kind] if item["id"] != parts[1]]
            return {}
        properties = dict(body[kind])
        password = properties.pop("password", None)
        if method == "POST":
            properties.setdefault("id", f"{kind}-{len(self.items[kind])}")
            self.items[kind].append(properties)
        else:
            next(item for item in self.items[kind] if item["id"] == parts[1]).update(properties)
            properties["id"] = parts[1]
        if password:
            self.passwords[properties["id"]] = password
        return {kind: properties}


@pytest.fixture
def keystone():
    return FakeKeystone()


def declared(**lists):
    """Module arguments with their defaults."""
    spec = module.argument_spec()
    parameters = {}
    for name in ("domains", "projects", "users", "assignments", "services"):
        defaults = {key: option.get("default") for key, option in spec[name]["options"].items()}
        parameters[name] = [{**defaults, **item} for item in lists.get(name, [])]
    parameters["roles"] = lists.get("roles", [])
    return parameters


def run(keystone, check_mode=False, **lists):
    state = module.State(keystone, check_mode=check_mode, region="here")
    state.ids = module.apply(state, declared(**lists))
    return state


EVERYTHING = {
    "domains": [{"name": "campus"}],
    "projects": [{"name": "air", "domain": "campus", "description": "Air quality"}],
    "roles": ["member", "reader"],
    "users": [{"name": "swift", "password": PASSWORD, "options": {"ignore_password_expiry": True}}],
    "assignments": [{"role": "reader", "user": "swift", "project": "air", "domain": "campus"}],
    "services": [
        {"name": "swift", "type": "object-store", "endpoints": {"public": "https://a", "internal": "https://b"}}
    ],
}


def test_makes_everything_once(keystone):
    first = run(keystone, **EVERYTHING)
    assert first.changes == [
        "domain campus: made",
        "project campus/air: made",
        "role reader: made",
        "user Default/swift: made",
        "reader for user Default/swift on project campus/air: granted",
        "region here: made",
        "service object-store: made",
        "endpoint object-store internal: made",
        "endpoint object-store public: made",
    ]
    assert first.ids == {"campus/air": "project-0"}
    assert keystone.passwords == {"user-0": PASSWORD}
    second = run(keystone, **EVERYTHING)
    assert second.changes == [] and second.ids == first.ids


def test_check_mode_says_the_same_and_does_nothing(keystone):
    checked = run(keystone, check_mode=True, **EVERYTHING)
    assert keystone.calls == []
    assert checked.changes == run(keystone, **EVERYTHING).changes


def test_corrects_what_differs_and_only_that(keystone):
    run(keystone, **EVERYTHING)
    keystone.items["project"][0].update(description="Other", tags=["kept"])
    keystone.items["endpoint"][0]["url"] = "https://old"
    keystone.calls.clear()
    state = run(keystone, **EVERYTHING)
    assert state.changes == [
        "project campus/air: corrected: description",
        "endpoint object-store internal: corrected: url",
    ]
    assert state.before["project campus/air"] == {"description": "Other"}
    assert [method for method, _path in keystone.calls] == ["PATCH", "PATCH"]
    assert keystone.items["project"][0]["tags"] == ["kept"]


def test_sets_a_password_that_no_longer_opens_and_never_shows_it(keystone):
    run(keystone, **EVERYTHING)
    keystone.passwords["user-0"] = "another"
    state = run(keystone, **EVERYTHING)
    assert state.changes == ["user Default/swift: password set"]
    assert keystone.passwords["user-0"] == PASSWORD
    assert PASSWORD not in str((state.before, state.after, state.changes))


def test_a_user_that_is_to_be_absent_is_removed_once(keystone):
    run(keystone, **EVERYTHING)
    gone = {"name": "swift", "state": "absent"}
    assert run(keystone, users=[gone], check_mode=True).changes == ["user Default/swift: removed"]
    assert run(keystone, users=[gone]).changes == ["user Default/swift: removed"]
    assert run(keystone, users=[gone]).changes == []


def test_a_user_without_a_password_is_refused(keystone):
    with pytest.raises(module.KeystoneError, match="user Default/nobody has no password"):
        run(keystone, users=[{"name": "nobody"}])


def test_a_new_users_password_is_not_in_the_diff(keystone):
    state = run(keystone, **EVERYTHING)
    assert PASSWORD not in str((state.before, state.after, state.changes))


def test_grants_to_a_group_of_a_directory(keystone):
    keystone.add("domain", "campus")
    keystone.add("project", "air", domain_id="domain-campus")
    keystone.add("group", "people", domain_id="domain-campus")
    wanted = {"role": "member", "group": "people", "actor_domain": "campus", "project": "air", "domain": "campus"}
    assert run(keystone, assignments=[wanted]).changes == [
        "member for group campus/people on project campus/air: granted"
    ]
    assert keystone.granted == [("project", "project-air", "group", "group-people", "role-member")]
    assert run(keystone, assignments=[wanted]).changes == []


def test_grants_on_a_domain(keystone):
    keystone.add("user", "ann", domain_id="default")
    run(keystone, assignments=[{"role": "member", "user": "ann"}])
    assert keystone.granted == [("domain", "default", "user", "user-ann", "role-member")]


def test_an_inherited_assignment_does_not_count():
    item = {
        "role": {"id": "r"},
        "user": {"id": "u"},
        "scope": {"project": {"id": "p"}, "OS-INHERIT:inherited_to": "projects"},
    }
    assert module._assignment_key(item) is None
    assert (
        module._assignment_key({"role": {"id": "r"}, "user": {"id": "u"}, "scope": {"system": {"all": True}}}) is None
    )


def test_removes_a_second_endpoint_of_the_same_place(keystone):
    run(keystone, **EVERYTHING)
    keystone.items["endpoint"].append({**keystone.items["endpoint"][0], "id": "second", "url": "https://stray"})
    state = run(keystone, **EVERYTHING)
    assert state.changes == ["endpoint object-store internal: second one removed (https://stray)"]
    assert "second" not in [endpoint["id"] for endpoint in keystone.items["endpoint"]]


def test_a_name_in_other_case_is_another_one(keystone):
    keystone.add("project", "AIR", domain_id="default")
    assert run(keystone, projects=[{"name": "air"}]).changes == ["project Default/air: made"]


@pytest.mark.parametrize(
    "assignment, words",
    [
        ({"role": "member", "user": "nobody", "project": "air"}, "no user Default/nobody"),
        ({"role": "boss", "user": "ann"}, "no role boss"),
        ({"role": "member", "user": "ann", "group": "people"}, "a user or a group"),
        ({"role": "member"}, "a user or a group"),
    ],
)
def test_says_what_can_not_be(keystone, assignment, words):
    keystone.add("user", "ann", domain_id="default")
    with pytest.raises(module.KeystoneError, match=words):
        run(keystone, assignments=[assignment])


def test_documentation_and_arguments_agree():
    def compare(documented, spec):
        assert documented.keys() == spec.keys()
        for name, option in spec.items():
            assert documented[name]["type"] == option["type"], name
            assert documented[name].get("default") == option.get("default"), name
            assert documented[name].get("required", False) == option.get("required", False), name
            compare(documented[name].get("suboptions", {}), option.get("options", {}))

    compare(yaml.safe_load(module.DOCUMENTATION)["options"], module.argument_spec())
