# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""neo4j_users, against a server that is only remembered, and its Bolt side against made-up answers."""

from __future__ import annotations

import pytest
import yaml
from ansible_collections.neocampus.datalake.plugins.modules import neo4j_users as module
from neo4j import exceptions


class FakeServer:
    """Passwords of a server, with the interface of module.Server. `calls` are the changes that were asked for."""

    url = "bolt://gold:7687"

    def __init__(self, **known: str) -> None:
        self.known = known
        self.login = None
        self.calls: list[tuple] = []

    def wait(self):
        pass

    def accepts(self, name, password):
        return self.known.get(name) == password

    def names(self):
        return list(self.known)

    def _change(self, *call):
        assert self.known[self.login[0]] == self.login[1], "only somebody who is logged in may change users"
        self.calls.append(call)

    def create(self, name, password):
        self._change("create", name)
        self.known[name] = password

    def set_password(self, name, password):
        self._change("password", name)
        self.known[name] = password

    def drop(self, name):
        self._change("drop", name)
        del self.known[name]


def user(name, password="long-enough", state="present"):
    return {"name": name, "password": password, "state": state}


def sync(server, users, password="admin-password", previous=(), check_mode=False):
    return module.sync(server, ("neo4j", password), list(previous), users, check_mode)


def test_users_are_made_changed_and_removed_and_then_left_alone():
    server = FakeServer(neo4j="admin-password", api="old", gone="x", other="y")
    users = [user("api"), user("airflow"), user("gone", None, "absent"), user("never", None, "absent")]
    before, after = sync(server, users)
    assert server.calls == [("password", "api"), ("create", "airflow"), ("drop", "gone")]
    assert before == {"api": {"password": "other"}, "airflow": None, "gone": {}}
    assert after == {"api": {"password": "new"}, "airflow": {"password": "new"}, "gone": None}
    server.calls.clear()
    assert sync(server, users) == ({}, {}) and server.calls == []
    assert server.known["other"] == "y"


def test_check_mode_says_the_same_and_changes_nothing():
    users = [user("api"), user("airflow"), user("gone", None, "absent")]
    real, checked = (FakeServer(neo4j="admin-password", api="old", gone="x") for _ in range(2))
    assert sync(checked, users, check_mode=True) == sync(real, users)
    assert checked.calls == []


def test_the_administrators_password_is_changed_with_the_previous_one():
    server = FakeServer(neo4j="old")
    assert sync(server, [user("api")], previous=["older", "old"])[0] == {"neo4j": {"password": "other"}, "api": None}
    assert server.known["neo4j"] == "admin-password"


def test_no_known_password_is_an_error_that_says_what_to_do():
    with pytest.raises(module.UsersError, match="previous password"):
        sync(FakeServer(neo4j="other"), [])


@pytest.mark.parametrize(
    ("users", "said"),
    [
        ([user("a"), user("a")], "twice"),
        ([user("neo4j")], "twice, or is neo4j"),
        ([user("a", "short")], "8 characters"),
        ([user("a", None)], "8 characters"),
    ],
)
def test_arguments_that_cannot_be(users, said):
    with pytest.raises(module.UsersError, match=said):
        module.check_arguments(users, "neo4j")


def server_that(monkeypatch, *answers):
    """module.Server whose queries give or raise the answers, the last one for ever."""
    server, left = module.Server("bolt://gold:7687", "/ca", 0), list(answers)

    def query(*_args, **_named):
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(server, "query", query)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    return server


def test_a_refusal_is_an_answer(monkeypatch):
    server = server_that(monkeypatch, exceptions.ServiceUnavailable("starting"), exceptions.AuthError("no"))
    server.timeout = 60
    server.wait()


def test_no_answer_ends_the_wait(monkeypatch):
    with pytest.raises(module.UsersError, match="does not answer"):
        server_that(monkeypatch, exceptions.ServiceUnavailable("away")).wait()


def test_a_server_that_lets_everybody_in_is_an_error(monkeypatch):
    with pytest.raises(module.UsersError, match="without a password"):
        server_that(monkeypatch, []).wait()


def test_a_password_is_right_or_wrong_or_cannot_be_tried_now(monkeypatch):
    assert server_that(monkeypatch, [{"user": "api"}]).accepts("api", "x") is True
    assert server_that(monkeypatch, exceptions.AuthError("no")).accepts("api", "x") is False
    limited = exceptions.Neo4jError._hydrate_neo4j(code="Neo.ClientError.Security.AuthenticationRateLimit", message="")
    with pytest.raises(module.UsersError, match="after too many"):
        server_that(monkeypatch, limited).accepts("api", "x")


def test_documentation_and_arguments_agree():
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    spec = module.argument_spec()
    assert set(documented) == set(spec)
    for name, option in spec.items():
        for key in ("type", "default", "elements"):
            assert documented[name].get(key) == option.get(key), (name, key)
        assert documented[name].get("required", False) == option.get("required", False)
