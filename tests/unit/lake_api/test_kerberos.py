# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Log-in with a Kerberos ticket, which Keystone accepts, or not; and nothing of it where it is off."""

from __future__ import annotations

from typing import Any

import pytest
from lake_api.app import create_app
from starlette.testclient import TestClient

TOKEN = "/api/v1/auth/token"
KEYSTONE = "https://keystone.test:5000/v3"
TICKET = {"Authorization": "Negotiate YWRhJ3M="}
LOGIN = {"username": "ada", "password": "right", "project": "demo"}


class Accepting:
    """Keystone's answer to tickets: ada's is taken once."""

    def __init__(self, keystone: Any) -> None:
        self.keystone = keystone
        self.shown: list[str] = []

    def __call__(self, request: Any, context: Any) -> Any:
        auth = request.json()["auth"]
        if auth["identity"]["methods"] != ["kerberos"]:
            return self.keystone._log_in(request, context)
        ticket = request.headers["Authorization"]
        self.shown.append(ticket)
        assert auth["scope"] == "unscoped"
        if ticket != TICKET["Authorization"] or self.shown.count(ticket) > 1:
            context.status_code = 401
            return {"error": {"code": 401, "message": "no"}}
        context.status_code = 201
        context.headers["WWW-Authenticate"] = "Negotiate cHJvb2Y="
        return self.keystone._new_token(context, None)


@pytest.fixture
def accepting(keystone):
    accepting = Accepting(keystone)
    keystone.mock.post(f"{KEYSTONE}/auth/tokens", json=accepting)
    return accepting


@pytest.fixture
def client(accepting, chosen, connect):
    """Of an API with the option."""
    identity = chosen.identity.model_copy(update={"kerberos": True})
    with TestClient(create_app(chosen.model_copy(update={"identity": identity}), connect)) as one:
        yield one


def test_ticket_gives_a_token_of_the_project(client, accepting, keystone):
    answer = client.post(TOKEN, json={"project": "p2"}, headers=TICKET)
    assert answer.status_code == 201, answer.text
    assert answer.json()["user"]["name"] == "ada" and answer.json()["project"]["id"] == "p2"
    assert answer.headers["www-authenticate"] == "Negotiate cHJvb2Y="
    assert len(accepting.shown) == 1  # a second time Keystone would take it for a replay
    assert keystone.logins[-1]["identity"]["methods"] == ["token"]
    token = answer.json()["token"]
    assert client.get("/api/v1/containers", headers={"X-Auth-Token": token}).status_code == 200


def test_ticket_without_a_project_gives_a_token_of_none(client):
    answer = client.post(TOKEN, json={}, headers=TICKET)
    assert answer.status_code == 201 and answer.json()["project"] is None


def test_project_is_looked_for_in_its_domain_then_in_peoples(client, keystone):
    client.post(TOKEN, json={"project": "nowhere", "domain": "lab"}, headers=TICKET)
    assert [auth["scope"]["project"]["domain"]["name"] for auth in keystone.logins] == ["lab", "campus"]


def test_no_role_in_the_project(client, error_of):
    answer = client.post(TOKEN, json={"project": "nowhere"}, headers=TICKET)
    assert "has a role there" in error_of(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Keystone"


@pytest.mark.parametrize("header", [{}, {"Authorization": "Basic YWRhOnI="}, {"Authorization": "Negotiate !"}])
def test_body_that_proves_nothing_is_asked_for_a_ticket(client, error_of, accepting, header):
    answer = client.post(TOKEN, json={"project": "p2"}, headers=header)
    error_of(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Negotiate"
    assert accepting.shown == []


def test_ticket_that_keystone_refuses(client, error_of):
    answer = client.post(TOKEN, json={}, headers={"Authorization": "Negotiate c3RvbGVu"})
    message = error_of(answer, 401, "unauthorized")
    assert "kinit" in message and "c3RvbGVu" not in message
    assert answer.headers["www-authenticate"] == "Negotiate"


@pytest.mark.parametrize(
    ("body", "says"),
    [(LOGIN, "not both"), ({"token": "good", "project": "p2"}, "not both"), ({"user_domain": "x"}, "realm")],
)
def test_ticket_goes_with_nothing_that_says_otherwise(client, error_of, accepting, body, says):
    assert says in error_of(client.post(TOKEN, json=body, headers=TICKET), 400, "invalid_request")
    assert accepting.shown == []


def test_passwords_go_on_and_a_wrong_one_does_not_ask_for_a_ticket(client, error_of):
    assert client.post(TOKEN, json=LOGIN).status_code == 201
    answer = client.post(TOKEN, json={**LOGIN, "password": "wrong"})
    error_of(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Keystone"


def test_keystone_away(client, keystone, error_of):
    keystone.away()
    error_of(client.post(TOKEN, json={}, headers=TICKET), 503, "service_unavailable")


def test_document_says_that_tickets_are_taken(client):
    document = client.get("/api/v1/openapi.json").json()
    assert document["components"]["securitySchemes"]["kerberos"]["scheme"] == "negotiate"
    post = document["paths"][TOKEN]["post"]
    assert {"kerberos": []} in post["security"] and {} in post["security"]
    assert "WWW-Authenticate" in post["responses"]["401"]["headers"]


def test_where_it_is_off_there_is_nothing_of_it(api, accepting, error_of):
    answer = api.post(TOKEN, json={"project": "p2"}, headers=TICKET)
    assert "'username' and 'password' are required" in error_of(answer, 400, "invalid_request")
    assert api.post(TOKEN, json=LOGIN, headers=TICKET).status_code == 201
    assert accepting.shown == []
    document = api.get("/api/v1/openapi.json").text
    assert "erberos" not in document and "egotiate" not in document
