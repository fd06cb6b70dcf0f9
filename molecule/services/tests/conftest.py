# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Requests that go through the edge, as people send them."""

from __future__ import annotations

import json
import shlex

import pytest

CA = "/etc/pki/lake/ca.crt"


@pytest.fixture(scope="module")
def edge(node):
    return node("edge1")


@pytest.fixture(scope="module")
def address(edge):
    """The edge's address for the public."""
    return json.loads(edge.file("/etc/neocampus/client.json").content_string)["api_url"].split("/")[2]


@pytest.fixture(scope="module")
def call(edge, address):
    """call(path, ...) -> (status, body) of a request that goes through the edge."""

    def _call(path: str, *options: str, token: str | None = None) -> tuple[int, dict]:
        given = ["--header", f"X-Auth-Token: {token}", *options] if token else list(options)
        url = f"https://{address}{path}"
        line = shlex.join(["curl", "-sS", "-m", "60", "--cacert", CA, "-w", "\n%{http_code}", *given, url])
        body, _, status = edge.check_output(line).rpartition("\n")
        return int(status), json.loads(body) if body.startswith("{") else {}

    return _call


@pytest.fixture(scope="module")
def log_in(call, lake_secrets):
    def _log_in(user: str = "demo", project: str = "demo") -> tuple[int, dict]:
        body = {"username": user, "password": lake_secrets[f"password of {user}"], "project": project}
        kind = ["-H", "Content-Type: application/json"]
        return call("/api/v1/auth/token", *kind, "-d", json.dumps(body))

    return _log_in


@pytest.fixture(scope="module")
def token(log_in):
    status, body = log_in()
    assert status == 201, body
    return body["token"]
