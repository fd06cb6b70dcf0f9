# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Log-in, tokens, roles."""

from __future__ import annotations

import anyio
import pytest
from lake_api.errors import ApiError
from lake_api.identity import Identity, Keystone, Tokens, require

LOGIN = {"username": "ada", "password": "right", "project": "demo"}


def test_log_in_gives_a_token_that_works(api, keystone):
    answer = api.post("/api/v1/auth/token", json=LOGIN)
    assert answer.status_code == 201
    body = answer.json()
    assert body["expires_at"].endswith("Z") and body["user"]["name"] == "ada" and body["roles"] == ["member"]
    assert api.get("/api/v1/containers", headers={"X-Auth-Token": body["token"]}).status_code == 200
    assert keystone.asked == []  # known from the log-in


def test_log_in_domains(api, keystone):
    def domains(**given):
        api.post("/api/v1/auth/token", json={**LOGIN, **given})
        auth = keystone.logins[-1]
        return auth["identity"]["password"]["user"]["domain"]["name"], auth["scope"]["project"]["domain"]["name"]

    assert domains() == ("campus", "campus")
    assert domains(domain="campus", user_domain="Default") == ("Default", "campus")
    assert domains(domain="Default", user_domain="Default") == ("Default", "Default")
    assert len(keystone.logins) == 3
    assert domains(domain="Default") == ("Default", "campus")  # the project is not in Default: the next try
    assert keystone.logins[-2]["scope"]["project"]["domain"]["name"] == "Default"


def test_wrong_password(api, error_of):
    message = error_of(api.post("/api/v1/auth/token", json={**LOGIN, "password": "s3cr3t-guess"}), 401, "unauthorized")
    assert "check user name, password" in message
    assert "s3cr3t-guess" not in message


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"password": "s3cr3t-guess", "project": "demo"}, "'username' and 'password' are required"),
        ({**LOGIN, "password": ["s3cr3t-guess"]}, "'password'"),
        ({**LOGIN, "pasword": "s3cr3t-guess"}, "'pasword': is not known here"),
        ("no object", "body"),
    ],
)
def test_malformed_log_in_says_what_is_wrong_and_never_the_password(api, error_of, body, says):
    answer = api.post("/api/v1/auth/token", json=body)
    assert says in error_of(answer, 400, "invalid_request")
    assert "s3cr3t-guess" not in answer.text


def test_log_in_that_is_no_json(api, error_of):
    assert "JSON" in error_of(
        api.post("/api/v1/auth/token", content=b"{", headers={"Content-Type": "application/json"}), 400
    )


def test_large_body_is_refused(api, error_of):
    error_of(api.post("/api/v1/auth/token", json={**LOGIN, "password": "x" * 2_000_000}), 413, "too_large")


def test_keystone_away(api, keystone, error_of):
    keystone.away()
    answer = api.post("/api/v1/auth/token", json=LOGIN)
    assert "Keystone" in error_of(answer, 503, "service_unavailable")
    assert answer.headers["retry-after"]
    error_of(api.get("/api/v1/containers"), 503, "service_unavailable")


def test_keystone_that_refuses_the_api_itself_is_no_fault_of_the_client(api, keystone, error_of):
    keystone.mock.post("https://keystone.test:5000/v3/auth/tokens", status_code=401, json={"error": {}})
    error_of(api.get("/api/v1/containers"), 503, "service_unavailable")


def test_no_token(api, error_of):
    del api.headers["X-Auth-Token"]
    assert "POST /api/v1/auth/token" in error_of(api.get("/api/v1/containers/any/objects"), 401, "unauthorized")


@pytest.mark.parametrize("token", ["unknown", "x" * 9000, "a b"])
def test_token_that_is_not_valid(api, error_of, token):
    error_of(api.get("/api/v1/containers/any/objects", headers={"X-Auth-Token": token}), 401, "unauthorized")


def test_token_that_expires_while_it_is_remembered(api, keystone, error_of):
    keystone.give("short", seconds=0.4)
    ask = lambda: api.get("/api/v1/containers", headers={"X-Auth-Token": "short"})  # noqa: E731
    assert ask().status_code == 200
    anyio.run(anyio.sleep, 0.5)
    error_of(ask(), 401, "unauthorized")


def test_token_of_no_project(api, keystone, error_of):
    keystone.give("unscoped", project=None)
    assert "no project" in error_of(
        api.get("/api/v1/containers", headers={"X-Auth-Token": "unscoped"}), 403, "forbidden"
    )


@pytest.mark.parametrize(
    ("roles", "reads", "writes"),
    [(("admin",), 200, 201), (("member",), 200, 201), (("reader",), 200, 403), (("other",), 403, 403)],
)
def test_roles(api, keystone, body_of, roles, reads, writes):
    api.headers["X-Auth-Token"] = keystone.give("t", roles=roles)
    assert api.get("/api/v1/containers").status_code == reads
    sent = body_of(("file", "a", b"1", None))
    assert api.post("/api/v1/containers/c/objects", **sent).status_code == writes


def test_tokens_are_asked_for_once_and_again_after_a_while(keystone, chosen):
    async def run():
        now = 0.0
        tokens = Tokens(Keystone(chosen.identity, None), chosen.identity, clock=lambda: now)
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(tokens.identity, "good")
        assert keystone.asked == ["good"]
        now = 61.0
        del keystone.tokens["good"]  # revoked
        with pytest.raises(ApiError) as refused:
            await tokens.identity("good")
        assert refused.value.status == 401
        assert keystone.asked == ["good", "good"]

    anyio.run(run)


def test_only_so_many_tokens_are_remembered(keystone, chosen):
    async def run():
        chosen_ = chosen.identity.model_copy(update={"cache_tokens": 2})
        tokens = Tokens(Keystone(chosen_, None), chosen_)
        for token in "abc":
            await tokens.identity(keystone.give(token))
        await tokens.identity("c")
        await tokens.identity("a")
        assert keystone.asked == ["a", "b", "c", "a"]

    anyio.run(run)


def test_next_keystone_is_asked_when_one_is_away(keystone, chosen):
    async def run():
        away = "https://away.test:5000/v3"
        keystone.mock.register_uri("POST", f"{away}/auth/tokens", status_code=503)
        both = Keystone(chosen.identity.model_copy(update={"urls": [away, *chosen.identity.urls]}), None)
        assert (await both.validate("good")).user == "ada"

    anyio.run(run)


def test_identity_never_shows_its_token(keystone, chosen):
    identity = anyio.run(Keystone(chosen.identity, None).validate, "good")
    assert isinstance(identity, Identity) and "good" not in repr(identity)
    require(identity, ["member"], "reading")
