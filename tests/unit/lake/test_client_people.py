# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's methods for accounts and administration: what they send, and what they make of the answer."""

from __future__ import annotations

import json

import pytest
from neocampus_lake.client import LakeClient
from neocampus_lake.errors import Conflict, InvalidInput

LISTS = [
    ("projects", (), {}, "/auth/projects?limit=500"),
    ("application_credentials", (), {}, "/auth/application-credentials?limit=500"),
    ("users", (), {"name": "ada", "domain": "campus"}, "/admin/users?name=ada&domain=campus&limit=500"),
    ("groups", (), {}, "/admin/groups?limit=500"),
    ("roles", (), {}, "/admin/roles?limit=500"),
    ("administered_projects", (), {}, "/admin/projects?limit=500"),
    ("assignments", (), {"project": "p1", "effective": True}, "/admin/assignments?project=p1&limit=500&effective=true"),
    ("audit", (), {"object_id": "17", "start": "2030-01-01"}, "/admin/audit?object=17&from=2030-01-01&limit=500"),
]
ANSWERED = [
    ("who_am_i", (), {}, "GET", "/auth/token", None),
    ("make_application_credential", ("prog",), {"roles": ("member",)}, "POST", "/auth/application-credentials",
     {"name": "prog", "roles": ["member"], "description": ""}),
    ("make_user", ("eve", "secret", "Default"), {"email": "e@x"}, "POST", "/admin/users",
     {"name": "eve", "password": "secret", "domain": "Default", "email": "e@x"}),
    ("change_user", ("u/1",), {"enabled": False}, "PATCH", "/admin/users/u%2F1", {"enabled": False}),
    ("make_project", ("air",), {"domain": "campus"}, "POST", "/admin/projects", {"name": "air", "domain": "campus"}),
    ("edit_project", ("p1",), {"description": "d"}, "PATCH", "/admin/projects/p1", {"description": "d"}),
]  # fmt: skip
DONE = [
    ("drop_application_credential", ("c1",), {}, "DELETE", "/auth/application-credentials/c1", None),
    ("change_password", ("old", "new"), {}, "PUT", "/auth/password", {"current": "old", "new": "new"}),
    ("set_webhook", ("c", False), {}, "PUT", "/containers/c/webhook", {"enabled": False}),
    ("delete_project", ("p1",), {}, "DELETE", "/admin/projects/p1", None),
    ("grant", ("p1", "member"), {"user": "u1"}, "PUT", "/admin/projects/p1/users/u1/roles/member", None),
    ("revoke", ("p1", "member"), {"group": "g1"}, "DELETE", "/admin/projects/p1/groups/g1/roles/member", None),
]


@pytest.fixture
def client(api, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    return LakeClient(api.url, token="kept")


def sent(api):
    verb, path, headers, body = api.requests[-1]
    assert headers["X-Auth-Token"] == "kept"
    return verb, path.removeprefix("/api/v1"), json.loads(body) if body else None


@pytest.mark.parametrize(("method", "given", "named", "path"), LISTS)
def test_lists(api, client, method, given, named, path):
    api.fail = [(200, {"items": [{"id": "a"}], "next": "here"}), (200, {"items": [{"id": "b"}], "next": None})]
    assert [one["id"] for one in getattr(client, method)(*given, **named)] == ["a", "b"]
    assert sent(api)[:2] == ("GET", f"{path}&cursor=here")


@pytest.mark.parametrize(("method", "given", "named", "verb", "path", "body"), ANSWERED)
def test_what_is_answered(api, client, method, given, named, verb, path, body):
    api.fail = [(200, {"id": "x"})]
    assert getattr(client, method)(*given, **named) == {"id": "x"}
    assert sent(api) == (verb, path, body)


@pytest.mark.parametrize(("method", "given", "named", "verb", "path", "body"), DONE)
def test_what_is_only_done(api, client, method, given, named, verb, path, body):
    api.fail = [(204, b"")]
    assert getattr(client, method)(*given, **named) is None
    assert sent(api) == (verb, path, body)


def test_ways_to_log_in_and_out(api, client):
    for call, body in [
        (lambda: client.log_in("ada", "secret"), {"username": "ada", "password": "secret"}),
        (lambda: client.change_project("p2"), {"token": "kept", "project": "p2"}),
        (
            lambda: client.log_in_application("c1", "secret"),
            {"application_credential": {"id": "c1", "secret": "secret"}},
        ),
    ]:
        client.token = "kept"
        api.fail = [(201, {"token": "new"})]
        assert call()["token"] == client.token == "new"
        assert sent(api) == ("POST", "/auth/token", body)
    client.token = "kept"
    api.fail = [(204, b"")]
    client.log_out()
    assert sent(api)[:2] == ("DELETE", "/auth/token") and client.token is None


def test_webhook(api, client):
    api.fail = [(200, {"enabled": True})]
    assert client.webhook("c") is True


def test_a_role_is_given_to_one(client):
    for whose in ({}, {"user": "u1", "group": "g1"}):
        with pytest.raises(InvalidInput, match="name one of them"):
            client.grant("p1", "member", **whose)


def test_project_that_is_not_empty(api, client):
    api.fail = [(409, {"error": {"code": "not_empty", "message": "it holds objects", "detail": None}})]
    with pytest.raises(Conflict, match="it holds objects"):
        client.delete_project("p1")
