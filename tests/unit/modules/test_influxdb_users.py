# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""influxdb_users, against a server that is only remembered, and its HTTP side against made-up answers."""

from __future__ import annotations

import io
import json
from urllib.error import HTTPError
from urllib.parse import parse_qs

import pytest
import yaml
from ansible_collections.neocampus.datalake.plugins.modules import influxdb_users as module


class FakeServer:
    """Users of a server, with the interface of module.Server. `calls` are the changes that were asked for."""

    url = "https://gold:8086"

    def __init__(self, **users: tuple[str, bool]) -> None:
        self.known = users
        self.login = None
        self.granted: dict[str, set[str]] = {}
        self.calls: list[tuple] = []

    def has_admin(self):
        return any(admin for _password, admin in self.known.values())

    def accepts(self, name, password):
        return name in self.known and self.known[name][0] == password

    def users(self):
        if not self.known[self.login[0]][1]:
            raise module.UsersError("requires admin privilege")
        return {name: admin for name, (_password, admin) in self.known.items()}

    def _change(self, *call):
        if self.has_admin():
            name, password = self.login
            assert self.known[name] == (password, True), "only an administrator may change users"
        else:
            assert call[0] == "create" and call[2], "the first user has to be an administrator"
        self.calls.append(call)

    def create(self, name, password, admin):
        self._change("create", name, admin)
        self.known[name] = (password, admin)

    def set_password(self, name, password):
        self._change("password", name)
        self.known[name] = (password, self.known[name][1])

    def set_admin(self, name, admin):
        self._change("admin", name, admin)
        self.known[name] = (self.known[name][0], admin)

    def drop(self, name):
        self._change("drop", name)
        del self.known[name]

    def readable(self, name):
        return self.granted.get(name, set())

    def let_read(self, name, databases):
        self._change("read", name, *databases)
        self.granted.setdefault(name, set()).update(databases)


def user(name, password="pw", admin=False, state="present"):
    return {"name": name, "password": password, "admin": admin, "state": state}


USERS = [user("api"), user("admin", admin=True), user("airflow", admin=True)]


def sync(server, users=None, previous=(), check_mode=False):
    module.check_arguments(users or USERS)
    before, after = module.sync(server, users or USERS, list(previous), check_mode)
    return before != after


def test_a_new_server_gets_its_administrator_first():
    server = FakeServer()
    assert sync(server)
    assert server.calls == [("create", "admin", True), ("create", "airflow", True), ("create", "api", False)]
    assert not sync(server)


def test_check_mode_says_it_and_does_nothing():
    server = FakeServer()
    assert sync(server, check_mode=True)
    assert server.calls == []


def test_one_administrator_sets_the_new_password_of_the_other():
    server = FakeServer(admin=("old", True), airflow=("pw", True), api=("pw", False))
    assert sync(server)
    assert server.calls == [("password", "admin")] and server.known["admin"] == ("pw", True)


def test_previous_passwords_help_when_all_were_changed():
    server = FakeServer(admin=("old", True), airflow=("old", True), api=("old", False))
    with pytest.raises(module.UsersError, match="accepts no password of admin, airflow"):
        sync(server)
    assert sync(server, previous=["older", "old"])
    assert {password for password, _admin in server.known.values()} == {"pw"}


def test_an_administrator_that_is_none_yet_is_made_one():
    server = FakeServer(admin=("pw", False), airflow=("pw", True), api=("pw", True))
    assert sync(server)
    assert server.calls == [("admin", "api", False), ("admin", "admin", True)]


PAIR = [{**user("api"), "reads_like": "api_b"}, {**user("api_b"), "reads_like": "api"}]


def test_a_new_account_is_let_read_what_the_other_one_may():
    server = FakeServer(admin=("pw", True), api=("pw", False))
    server.granted["api"] = {"campus", "air"}
    assert sync(server, [user("admin", admin=True), *PAIR])
    assert server.calls == [("create", "api_b", False), ("read", "api_b", "air", "campus")]
    assert not sync(server, [user("admin", admin=True), *PAIR])


def test_check_mode_lets_nobody_read():
    server = FakeServer(admin=("pw", True), api=("pw", False))
    server.granted["api"] = {"campus"}
    assert sync(server, [user("admin", admin=True), *PAIR], check_mode=True)
    assert server.calls == []


def test_an_account_that_goes_is_no_model():
    server = FakeServer(admin=("pw", True), api=("pw", False), api_b=("pw", False))
    server.granted["api"] = {"campus"}
    gone = {**user("api", state="absent"), "reads_like": "api_b"}
    assert sync(server, [user("admin", admin=True), gone, PAIR[1]])
    assert server.calls == [("drop", "api")]


def test_a_user_is_dropped_and_others_are_left_alone():
    server = FakeServer(admin=("pw", True), guest=("x", False), someone=("x", False))
    assert sync(server, [user("admin", admin=True), user("guest", None, state="absent")])
    assert set(server.known) == {"admin", "someone"}


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ([user("api")], "at least one administrator"),
        ([user("admin", admin=True, state="absent")], "at least one administrator"),
        ([user("admin", None, admin=True)], "no password"),
        ([user("admin", admin=True), user("admin")], "twice"),
    ],
)
def test_arguments_that_cannot_be_are_refused(users, message):
    with pytest.raises(module.UsersError, match=message):
        module.check_arguments(users)


def test_quotes_are_escaped():
    assert module.string("it's \\ so") == r"'it\'s \\ so'"
    assert module.identifier('a"b') == r'"a\"b"'


def answer_with(monkeypatch, status, body):
    """Have every request answered so; the requests are remembered."""
    requests = []

    def open_url(url, **options):
        requests.append((url, options))
        stream = io.BytesIO(json.dumps(body).encode())
        if status != 200:
            raise HTTPError(url, status, "", None, stream)
        return stream

    monkeypatch.setattr(module, "open_url", open_url)
    return requests


def test_a_statement_goes_in_the_body_and_a_password_in_a_header(monkeypatch):
    requests = answer_with(monkeypatch, 200, {"results": [{"series": [{"values": [["admin", True]]}]}]})
    server = module.Server("https://gold:8086/", "/ca", 5)
    server.login = ("admin", "pw")
    assert server.users() == {"admin": True}
    url, options = requests[0]
    assert url == "https://gold:8086/query"
    assert parse_qs(options["data"]) == {"q": ["SHOW USERS"]}
    assert (options["url_username"], options["url_password"], options["force_basic_auth"]) == ("admin", "pw", True)
    assert options["ca_path"] == "/ca"


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (401, {"error": "unable to parse authentication credentials"}, True),
        (403, {"error": "error authorizing query: create admin user first"}, False),
    ],
)
def test_whether_there_is_an_administrator(monkeypatch, status, body, found):
    answer_with(monkeypatch, status, body)
    assert module.Server("https://gold:8086", "/ca", 5).has_admin() is found


def test_a_server_that_is_open_to_all_is_an_error(monkeypatch):
    answer_with(monkeypatch, 200, {"results": [{}]})
    with pytest.raises(module.UsersError, match="answers without a password"):
        module.Server("https://gold:8086", "/ca", 5).has_admin()


def test_an_error_in_a_result_is_an_error(monkeypatch):
    answer_with(monkeypatch, 200, {"results": [{"error": "user already exists"}]})
    with pytest.raises(module.UsersError, match="user already exists"):
        module.Server("https://gold:8086", "/ca", 5).create("api", "pw", False)


def test_documentation_and_arguments_agree():
    def names(options):
        return {name: names(one.get("suboptions") or one.get("options") or {}) for name, one in options.items()}

    assert names(yaml.safe_load(module.DOCUMENTATION)["options"]) == names(module.argument_spec())
