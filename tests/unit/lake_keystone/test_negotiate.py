# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who a ticket lets in, and who else is let pass as nobody."""

from __future__ import annotations

import base64
import io
import json
import logging
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "roles/keystone/files/lake_keystone"))

from lake_keystone.negotiate import LONGEST_BODY, Accepted, Negotiate, Refused  # noqa: E402

BY_TICKET = {"auth": {"identity": {"methods": ["kerberos"], "kerberos": {}}}}
BY_PASSWORD = {"auth": {"identity": {"methods": ["password"], "password": {}}}}
PRINCIPALS = {
    b"ada's": "ada@CAMPUS.EXAMPLE",
    b"of the laboratory": "ada@LAB.EXAMPLE",
    b"of an instance": "ada/admin@CAMPUS.EXAMPLE",
    b"of a host": "host/pc1.campus.example@CAMPUS.EXAMPLE",
    b"of another realm": "ada@ELSEWHERE.EXAMPLE",
    b"with an at": "ada\\@CAMPUS.EXAMPLE@ELSEWHERE.EXAMPLE",
}


def accept(token):
    if token not in PRINCIPALS:
        raise Refused("Request is a replay")
    return Accepted(PRINCIPALS[token], b"proof")


class Keystone:
    """Answers with 201, and remembers what it was told."""

    def __init__(self):
        self.seen = None
        self.body = None

    def __call__(self, environ, start_response):
        self.seen = {name: environ[name] for name in ("REMOTE_USER", "REMOTE_DOMAIN", "AUTH_TYPE") if name in environ}
        self.body = environ["wsgi.input"].read()
        start_response("201 Created", [("X-Subject-Token", "t")])
        return [b"{}"]


@pytest.fixture
def keystone():
    return Keystone()


@pytest.fixture
def ask(keystone):
    """Status, headers (a list) and body that the filter answers."""
    application = Negotiate(keystone, accept, {"CAMPUS.EXAMPLE": "campus", "LAB.EXAMPLE": "lab"})

    def _ask(body, ticket=None, *, path="/v3/auth/tokens", method="POST", **more):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "CONTENT_LENGTH": str(len(raw)),
            "wsgi.input": io.BytesIO(raw),
            **more,
        }
        if ticket is not None:
            environ["HTTP_AUTHORIZATION"] = f"Negotiate {base64.b64encode(ticket).decode()}"
        answered = []
        content = application(environ, lambda status, headers, *rest: answered.append((status, headers)))
        return int(answered[0][0][:3]), answered[0][1], b"".join(content)

    return _ask


@pytest.mark.parametrize(("ticket", "domain"), [(b"ada's", "campus"), (b"of the laboratory", "lab")])
def test_ticket_names_user_and_domain(ask, keystone, ticket, domain):
    status, headers, _ = ask(BY_TICKET, ticket)
    assert status == 201
    assert keystone.seen == {"REMOTE_USER": "ada", "REMOTE_DOMAIN": domain, "AUTH_TYPE": "Negotiate"}
    assert json.loads(keystone.body) == BY_TICKET
    assert ("WWW-Authenticate", f"Negotiate {base64.b64encode(b'proof').decode()}") in headers
    assert ("X-Subject-Token", "t") in headers


def test_without_a_ticket_one_is_asked_for(ask, keystone):
    status, headers, content = ask(BY_TICKET)
    assert status == 401 and ("WWW-Authenticate", "Negotiate") in headers
    assert json.loads(content)["error"]["code"] == 401
    assert keystone.seen is None


@pytest.mark.parametrize(
    "ticket", [b"sent before", b"of an instance", b"of a host", b"of another realm", b"with an at", b""]
)
def test_ticket_of_nobody_known_is_refused_before_keystone_sees_it(ask, keystone, caplog, ticket):
    with caplog.at_level(logging.WARNING):
        status, headers, _ = ask(BY_TICKET, ticket)
    assert status == 401 and ("WWW-Authenticate", "Negotiate") in headers
    assert keystone.seen is None
    assert not ticket or caplog.messages


@pytest.mark.parametrize("given", ["Basic YWRhOnB3", "Negotiate", "Negotiate %%%", "Negotiate YQ=="])
def test_what_is_no_ticket_is_refused(ask, keystone, given):
    assert ask(BY_TICKET, HTTP_AUTHORIZATION=given)[0] == 401
    assert keystone.seen is None


FORGED = {"REMOTE_USER": "admin", "REMOTE_DOMAIN": "Default", "AUTH_TYPE": "Negotiate"}


@pytest.mark.parametrize(
    "request_",
    [
        {"body": BY_PASSWORD},
        {"body": BY_PASSWORD, "ticket": b"ada's"},
        {"body": BY_TICKET, "ticket": b"ada's", "path": "/v3/users"},
        {"body": BY_TICKET, "ticket": b"ada's", "method": "PUT"},
        {"body": b"{", "ticket": b"ada's"},
        {"body": b"[" * 5000, "ticket": b"ada's"},
        {"body": {"auth": {"identity": {"methods": "kerberos"}}}, "ticket": b"ada's"},
        {"body": {"auth": None}, "ticket": b"ada's"},
        {"body": b" " * (LONGEST_BODY + 1), "ticket": b"ada's"},
    ],
)
def test_nobody_is_somebody_in_any_other_request(ask, keystone, request_):
    assert ask(**request_, **FORGED)[0] == 201
    assert keystone.seen == {}
    raw = request_["body"]
    assert keystone.body == (raw if isinstance(raw, bytes) else json.dumps(raw).encode())


def test_what_a_server_before_says_is_not_believed_with_a_ticket_either(ask, keystone):
    ask(BY_TICKET, b"ada's", **FORGED, HTTP_REMOTE_USER="admin")
    assert keystone.seen["REMOTE_USER"] == "ada"


def test_length_that_is_none_is_keystones_to_answer(ask, keystone):
    assert ask(BY_TICKET, b"ada's", CONTENT_LENGTH="many")[0] == 201
    assert keystone.seen == {}
