# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Log-out, change of project, application credentials, administration by Keystone's own rules, webhooks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lake_api import paging
from lake_api.app import create_app
from lake_api.revocations import Revocations
from starlette.testclient import TestClient

KEYSTONE = "https://keystone.test:5000/v3"
DIRECTORY = "You are not authorized to perform the requested action."
"""What Keystone says of a directory that it only reads."""
ADA = {"id": "u1", "name": "ada", "domain_id": "campus-id", "enabled": True}
PROJECTS = [
    {"id": "p2", "name": "beta", "domain_id": "campus-id", "enabled": True, "description": None},
    {"id": "p1", "name": "alpha", "domain_id": "campus-id", "enabled": True},
    {"id": "p3", "name": "gone", "domain_id": "campus-id", "enabled": False},
]


class Answers:
    """What Keystone answers to requests with a person's token; notes what it was asked, by whom."""

    def __init__(self, keystone: Any) -> None:
        self.keystone = keystone
        self.asked: list[tuple[str, str, Any]] = []

    def __call__(self, method: str, path: str, body: Any = None, status: int = 200) -> None:
        def answer(request: Any, context: Any) -> Any:
            token = request.headers["X-Auth-Token"]
            self.asked.append((request.method, request.path, request.json() if request.text else None))
            context.status_code = status if token in self.keystone.tokens else 401
            context.headers["Content-Type"] = "application/json"
            return body

        self.keystone.mock.register_uri(method, f"{KEYSTONE}{path}", json=answer)


@pytest.fixture
def answers(keystone) -> Answers:
    found = Answers(keystone)
    found("GET", "/auth/projects", {"projects": PROJECTS})
    return found


@pytest.fixture
def boss(keystone) -> dict[str, str]:
    return {"X-Auth-Token": keystone.give("boss", "p1", ("admin", "member", "reader"))}


@pytest.fixture
def everywhere(keystone) -> dict[str, str]:
    return {"X-Auth-Token": keystone.give("chief", "px", ("admin",), everywhere=True)}


def refused(code: int, message: str = "no") -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


# -- who am I, other projects ----------------------------------------------------------------------------------------


def test_who_am_i(api, keystone, everywhere):
    said = api.get("/api/v1/auth/token").json()
    assert said["user"] == {"id": "u1", "name": "ada", "domain": "campus"}
    assert said["project"] == {"id": "p1", "name": "name of p1", "domain": "campus"}
    assert (said["roles"], said["administrator"], said["everywhere"]) == (["member"], False, False)
    assert said["expires_at"].endswith("Z") and "token" not in said
    said = api.get("/api/v1/auth/token", headers=everywhere).json()
    assert (said["administrator"], said["everywhere"]) == (True, True)


def test_token_of_no_project_shows_the_projects_of_its_user(api, answers, keystone):
    answer = api.post("/api/v1/auth/token", json={"username": "ada", "password": "right"})
    assert (answer.status_code, answer.json()["project"], answer.json()["roles"]) == (201, None, [])
    assert keystone.logins[-1]["scope"] == "unscoped"
    mine = {"X-Auth-Token": answer.json()["token"]}
    page = api.get("/api/v1/auth/projects?limit=1", headers=mine).json()
    assert [one["name"] for one in page["items"]] == ["alpha"]
    page = api.get("/api/v1/auth/projects", params={"limit": 1, "cursor": page["next"]}, headers=mine).json()
    assert [one["name"] for one in page["items"]] == ["beta"] and page["next"] is None  # "gone" is disabled
    assert api.get("/api/v1/containers", headers=mine).status_code == 403


def test_change_of_project_by_a_token(api, keystone, error_of):
    answer = api.post("/api/v1/auth/token", json={"token": "good", "project": "p2"})
    assert (answer.status_code, answer.json()["project"]["id"]) == (201, "p2")
    assert keystone.logins[-1]["scope"]["project"] == {"name": "p2", "domain": {"name": "campus"}}
    error_of(api.post("/api/v1/auth/token", json={"token": "good", "project": "nowhere"}), 401, "unauthorized")
    message = error_of(api.post("/api/v1/auth/token", json={"token": "s3cr3t-guess", "project": "p2"}), 401)
    assert "s3cr3t-guess" not in message


def test_application_logs_in(api, keystone, error_of):
    given = {"application_credential": {"id": "app1", "secret": "app-secret"}}
    assert api.post("/api/v1/auth/token", json=given).json()["project"]["id"] == "p1"
    given["application_credential"]["secret"] = "s3cr3t-guess"
    assert "s3cr3t-guess" not in error_of(api.post("/api/v1/auth/token", json=given), 401, "unauthorized")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"username": "ada"},
        {"token": "good"},
        {"token": "good", "username": "ada", "password": "right", "project": "p1"},
        {"application_credential": {"id": "a", "secret": "b"}, "project": "p1"},
    ],
)
def test_ways_to_log_in_do_not_mix(api, error_of, given):
    error_of(api.post("/api/v1/auth/token", json=given), 400, "invalid_request")


# -- log-out -----------------------------------------------------------------------------------------------------------


def give_back(answers: Answers) -> None:
    def answer(request: Any, context: Any) -> Any:
        token = request.headers["X-Subject-Token"]
        assert request.headers["X-Auth-Token"] == token
        del answers.keystone.tokens[token]
        context.status_code = 204

    answers.keystone.mock.delete(f"{KEYSTONE}/auth/tokens", text=answer)


def test_log_out_holds_in_all_processes(chosen, connect, keystone, answers, error_of):
    give_back(answers)
    now = [0.0]

    def connect_with_clock(settings: Any) -> Any:
        lake = connect(settings)
        lake.tokens._revocations._clock = lambda: now[0]
        return lake

    apps = [create_app(chosen, connect_with_clock) for _ in range(2)]
    with TestClient(apps[0]) as one, TestClient(apps[1]) as other:
        for api in (one, other):
            api.headers["X-Auth-Token"] = "good"
            assert api.get("/api/v1/containers").status_code == 200
        assert one.delete("/api/v1/auth/token").status_code == 204
        error_of(one.get("/api/v1/containers"), 401, "unauthorized")
        now[0] += chosen.identity.revocation_seconds
        error_of(other.get("/api/v1/containers"), 401, "unauthorized")
    assert "good" not in keystone.tokens


def test_kept_token_is_not_believed_where_the_list_cannot_be_read(api, keystone, monkeypatch):
    from pymongo.errors import ServerSelectionTimeoutError

    assert api.get("/api/v1/auth/token").status_code == 200

    def away(self: Any) -> Any:
        raise ServerSelectionTimeoutError("away")

    monkeypatch.setattr(Revocations, "_new_notes", away)
    monkeypatch.setattr(Revocations, "_done", lambda self, _: setattr(self, "_looking", None))
    api.app.app.state.lake.tokens._revocations._looked = -1e9
    for _ in range(2):
        assert api.get("/api/v1/auth/token").status_code == 200
    assert keystone.asked == ["good"] * 3


# -- application credentials, password -----------------------------------------------------------------------------


def test_application_credentials(api, answers, error_of):
    made = {"id": "c1", "name": "prog", "project_id": "p1", "roles": [{"name": "member"}], "secret": "only-once"}
    answers("POST", "/users/u1/application_credentials", {"application_credential": made}, 201)
    answers("GET", "/users/u1/application_credentials", {"application_credentials": [made]})
    answers("DELETE", "/users/u1/application_credentials/c1", None, 204)
    new = {"name": "prog", "roles": ["member"], "expires_at": "2099-01-01T00:00:00+02:00"}
    answer = api.post("/api/v1/auth/application-credentials", json=new)
    assert (answer.status_code, answer.json()["secret"], answer.json()["roles"]) == (201, "only-once", ["member"])
    sent = answers.asked[-1][2]["application_credential"]
    assert sent["roles"] == [{"name": "member"}] and sent["expires_at"] == "2098-12-31T22:00:00.000000Z"
    listed = api.get("/api/v1/auth/application-credentials")
    assert "only-once" not in listed.text and listed.json()["items"][0]["id"] == "c1"
    assert api.delete("/api/v1/auth/application-credentials/c1").status_code == 204
    error_of(api.post("/api/v1/auth/application-credentials", json={"name": "x", "roles": ["admin"]}), 400)
    past = {"name": "x", "expires_at": "2001-01-01T00:00:00Z"}
    assert "past" in error_of(api.post("/api/v1/auth/application-credentials", json=past), 400)


def test_password(api, answers, error_of):
    given = {"current": "s3cr3t-old", "new": "s3cr3t-new"}
    answers("POST", "/users/u1/password", refused(401), 401)
    message = error_of(api.put("/api/v1/auth/password", json=given), 400, "wrong_password")
    assert "s3cr3t" not in message
    answers("POST", "/users/u1/password", refused(403, DIRECTORY), 403)
    error_of(api.put("/api/v1/auth/password", json=given), 403, "read_only_directory")
    answers("POST", "/users/u1/password", None, 204)
    assert api.put("/api/v1/auth/password", json=given).status_code == 204
    assert answers.asked[-1][2] == {"user": {"original_password": "s3cr3t-old", "password": "s3cr3t-new"}}


# -- administration --------------------------------------------------------------------------------------------------


def admin_routes(api: Any) -> list[tuple[str, str]]:
    paths = api.get("/api/v1/openapi.json").json()["paths"]
    names = {"{kind}": "users", "{project_id}": "p1", "{whose}": "u2", "{role}": "member", "{user_id}": "u2"}
    found = []
    for path, methods in paths.items():
        if path.startswith("/api/v1/admin"):
            for name, value in names.items():
                path = path.replace(name, value)  # noqa: PLW2901
            found += [(method.upper(), path) for method in methods]
    return found


def test_administration_is_for_administrators(api, keystone, error_of, answers):
    routes = admin_routes(api)
    assert len(routes) >= 15
    tokens = [keystone.give(name, "p1", (name,)) for name in ("member", "reader", "service")]
    tokens.append(keystone.give("none", None))
    body = {"name": "x", "password": "y", "domain": "campus"}
    for method, path in routes:
        sent = body if method == "POST" and path.endswith("users") else {"name": "x"} if method == "POST" else None
        sent = {"enabled": False} if method == "PATCH" else sent
        for token in tokens:
            answer = api.request(method, path, json=sent, headers={"X-Auth-Token": token})
            error_of(answer, 403, "forbidden")
        error_of(api.request(method, path, json=sent, headers={"X-Auth-Token": ""}), 401)
    assert answers.asked == []  # Keystone was not even asked


def test_administrator_of_a_project_is_confined_to_it(api, boss, answers, error_of):
    answers("GET", "/projects/p1", {"project": PROJECTS[1]})
    listed = api.get("/api/v1/admin/projects", headers=boss).json()
    assert [one["id"] for one in listed["items"]] == ["p1"]
    for method, path, body in [
        ("GET", "projects/p2", None),
        ("PATCH", "projects/p2", {"enabled": False}),
        ("DELETE", "projects/p2", None),
        ("DELETE", "projects/p1", None),
        ("GET", "assignments?project=p2", None),
        ("PUT", "projects/p2/users/u2/roles/member", None),
        ("DELETE", "projects/p2/groups/g2/roles/member", None),
    ]:
        error_of(api.request(method, f"/api/v1/admin/{path}", headers=boss, json=body), 403, "forbidden")


def test_a_domain_of_others_is_refused_whether_or_not_there_is_one(api, boss, answers, error_of):
    answers("GET", "/projects/p1", {"project": PROJECTS[1]})
    new = {"name": "eve", "password": "s3cr3t-guess", "domain": "elsewhere"}
    error_of(api.post("/api/v1/admin/users", headers=boss, json=new), 403, "forbidden")
    error_of(api.get("/api/v1/admin/groups?domain=elsewhere", headers=boss), 403, "forbidden")


def test_keystone_has_the_last_word(api, boss, answers, error_of):
    answers("GET", "/users/u2", refused(403), 403)
    error_of(api.get("/api/v1/admin/users/u2", headers=boss), 403, "forbidden")
    answers("GET", "/users/u2", refused(404), 404)
    error_of(api.get("/api/v1/admin/users/u2", headers=boss), 404, "not_found")
    answers("GET", "/users/u2", {"unexpected": 1})
    error_of(api.get("/api/v1/admin/users/u2", headers=boss), 500)


def test_users_by_pages(api, everywhere, answers):
    answers("GET", "/domains", {"domains": [{"id": "campus-id"}]})
    answers("GET", "/users", {"users": [{**ADA, "id": f"u{n}", "name": f"name {n % 3}"} for n in range(7)]})
    seen, cursor = [], None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = api.get("/api/v1/admin/users", params=params, headers=everywhere).json()
        assert len(page["items"]) <= 2
        seen += [(one["name"], one["id"]) for one in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == sorted(seen) and len(set(seen)) == 7


@given(
    st.lists(st.tuples(st.text(max_size=4), st.uuids().map(str)), max_size=30, unique_by=lambda pair: pair[1]),
    st.integers(1, 7),
)
def test_pages_have_each_item_once_in_one_order(pairs, limit):
    items = [{"name": name.replace("\0", ""), "id": identity} for name, identity in pairs]
    seen, cursor = [], None
    while True:
        asked = paging.Paged(limit=limit, cursor=cursor)
        page = paging.of_all(items, asked, ("query",), lambda item: (item["name"], item["id"]))
        assert len(page["items"]) <= limit
        seen += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == sorted(items, key=lambda item: (item["name"], item["id"]))


def test_directory_that_is_only_read(api, everywhere, answers, error_of):
    answers("GET", "/domains", {"domains": [{"id": "campus-id"}]})
    answers("POST", "/users", refused(403, DIRECTORY), 403)
    new = {"name": "eve", "password": "s3cr3t-guess", "domain": "campus"}
    answer = api.post("/api/v1/admin/users", json=new, headers=everywhere)
    assert "s3cr3t-guess" not in error_of(answer, 403, "read_only_directory")
    answers("POST", "/users", refused(403, DIRECTORY[:-1] + ": identity:create_user."), 403)
    error_of(api.post("/api/v1/admin/users", json=new, headers=everywhere), 403, "forbidden")


def test_user_that_is_disabled_is_forgotten(api, everywhere, answers, keystone):
    assert api.get("/api/v1/auth/token").status_code == 200
    answers("PATCH", "/users/u1", {"user": {**ADA, "enabled": False}})
    answer = api.patch("/api/v1/admin/users/u1", json={"enabled": False}, headers=everywhere)
    assert (answer.status_code, answer.json()["enabled"]) == (200, False)
    assert answers.asked[-1][2] == {"user": {"enabled": False}}
    del keystone.tokens["good"]
    assert api.get("/api/v1/auth/token").status_code == 401


def test_nothing_to_change_is_an_error(api, everywhere, error_of):
    error_of(api.patch("/api/v1/admin/users/u1", json={}, headers=everywhere), 400)


def test_roles_are_given_and_taken(api, boss, answers, error_of):
    answers("GET", "/roles", {"roles": [{"id": "r1", "name": "member"}]})
    for kind in ("users", "groups"):
        answers("PUT", f"/projects/p1/{kind}/x1/roles/r1", None, 204)
        answers("DELETE", f"/projects/p1/{kind}/x1/roles/r1", None, 204)
        for method in ("PUT", "DELETE"):
            path = f"/api/v1/admin/projects/p1/{kind}/x1/roles/member"
            assert api.request(method, path, headers=boss).status_code == 204
    answers("GET", "/roles", {"roles": []})
    error_of(api.put("/api/v1/admin/projects/p1/users/x1/roles/king", headers=boss), 400, "unknown_role")


def test_assignments(api, boss, answers):
    scope = {"project": {"id": "p1", "name": "alpha", "domain": {"id": "c", "name": "campus"}}}
    found = [
        {"role": {"id": "r1", "name": "member"}, "user": {"id": "u1", "name": "ada"}, "scope": scope},
        {"role": {"id": "r2", "name": "reader"}, "group": {"id": "g1", "name": "folk"}, "scope": scope},
        {"role": {"id": "r2", "name": "reader"}, "user": {"id": "u2"}, "scope": {"project": {"id": "below"}}},
    ]
    answers("GET", "/role_assignments", {"role_assignments": found})
    listed = api.get("/api/v1/admin/assignments", headers=boss).json()["items"]
    assert [(one["role"], (one["user"] or one["group"])["name"]) for one in listed] == [
        ("reader", "folk"),
        ("member", "ada"),
    ]
    assert len(api.get("/api/v1/admin/assignments?role=reader", headers=boss).json()["items"]) == 1


def test_only_an_empty_project_is_deleted(api, everywhere, answers, insert, swift, mongo, error_of):
    answers("GET", "/projects/p1", {"project": PROJECTS[1]})
    answers("DELETE", "/projects/p1", None, 204)
    insert("c", "a.txt", b"1")
    answer = api.delete("/api/v1/admin/projects/p1", headers=everywhere)
    assert "c" in error_of(answer, 409, "not_empty")
    mongo["swift"]["c"].update_many({}, {"$set": {"status": "deleted"}})
    # Swift still has it: for all that the lake knows it may be another client's.
    error_of(api.delete("/api/v1/admin/projects/p1", headers=everywhere), 409, "not_empty")
    swift.objects.clear()
    assert api.delete("/api/v1/admin/projects/p1", headers=everywhere).status_code == 204


# -- the webhook of a container -------------------------------------------------------------------------------------


def test_webhook(api, boss, insert, swift, error_of):
    insert("c", "a.txt", b"1")
    path = "/api/v1/containers/c/webhook"
    assert api.get(path).json() == {"enabled": True}
    error_of(api.put(path, json={"enabled": False}), 403, "forbidden")
    assert api.put(path, json={"enabled": False}, headers=boss).json() == {"enabled": False}
    assert swift.containers["/v1/AUTH_p1/c"]["x-webhook"] == "off"
    assert api.get(path).json() == {"enabled": False}
    error_of(api.put("/api/v1/containers/none/webhook", json={"enabled": True}, headers=boss), 404, "not_found")
    assert "/v1/AUTH_p1/none" not in swift.containers
    error_of(api.put(path, json={"enabled": "perhaps"}, headers=boss), 400)


def test_swift_is_told_the_id_of_the_request(api, insert, swift):
    insert("c", "a.txt", b"1")
    extra = {headers.get("x-trans-id-extra") for headers in swift.headers}
    assert len(extra) == 1 and len(extra.pop()) == 32


# -- no secret in a log ----------------------------------------------------------------------------------------------


def test_no_secret_in_a_log_at_debug(api, answers, keystone, caplog, boss, insert):
    import logging

    from lake_api.observe import JsonFormatter

    secrets = ["s3cr3t-one", "s3cr3t-two", "app-secret", "only-once", "token-s3cr3t", "right"]
    with caplog.at_level(logging.DEBUG):
        keystone.give("token-s3cr3t")
        token = api.post("/api/v1/auth/token", json={"username": "ada", "password": "right", "project": "p"}).json()
        secrets.append(token["token"])
        api.post("/api/v1/auth/token", json={"username": "ada", "password": "s3cr3t-one", "project": "p"})
        api.post("/api/v1/auth/token", json={"token": "token-s3cr3t", "project": "p2"})
        api.post("/api/v1/auth/token", json={"application_credential": {"id": "app1", "secret": "app-secret"}})
        answers("POST", "/users/u1/password", refused(401), 401)
        api.put("/api/v1/auth/password", json={"current": "s3cr3t-one", "new": "s3cr3t-two"})
        made = {"id": "c1", "name": "prog", "project_id": "p1", "roles": [{"name": "member"}], "secret": "only-once"}
        answers("POST", "/users/u1/application_credentials", {"application_credential": made}, 201)
        api.post("/api/v1/auth/application-credentials", json={"name": "prog"})
        api.headers["X-Auth-Token"] = "token-s3cr3t"
        insert("c", "a.txt", b"1")
        keystone.away()
        api.get("/api/v1/containers", headers={"X-Auth-Token": "s3cr3t-one"})
    own = [record for record in caplog.records if record.name.startswith(("lake_api", "neocampus_lake", "uvicorn"))]
    assert len(own) > 8
    for record in own:
        line = JsonFormatter().format(record)
        json.loads(line)
        assert not [secret for secret in secrets if secret in line], line
