# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The tenant matrix: every route of the API, as its OpenAPI document has them, asked by everybody.

What has to come is derived from the role that the document says of a route, and from whose container it is asked about;
the few routes with rules of their own stand below. A route that is new is in the matrix by itself: requests are made of
the document's examples (asked.py), so that nothing but who asks is a reason to refuse one.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from asked import Asked, Asking  # noqa: E402

SECRET = "only the project may read this"
MAKING = {"insert", "insert_many", "create_upload", "create_pull", "upload_options", "set_demand"}
"""Routes that take the name of a container that is not there: a project has its own of any name. Others than the
container's project are to name another one, so that they have none of this name after it."""
LAKE_WIDE = {"create_user", "change_user", "create_project", "change_project", "delete_project", "set_quota"}
"""Routes of administration that are only for the administrator of the lake."""
KEYSTONES = {"get_user", "get_project", "drop_credential", "grant_role", "revoke_role"}
"""Routes where Keystone's rules refuse what does not exist, or is not one's own, to who is not the lake's
administrator; and, to who is logged in with an application credential, another one."""
OF_A_PROJECT = {"make_credential"}
"""Routes without a role that are about the token's project, which one of no project has not."""
BY_PEOPLE = {"make_credential"}
"""Routes that are not for who is logged in with an application credential."""
OWN_ACCOUNT = {"log_in", "change_password"}
"""Routes that are sent nothing: a wrong password would count as a failed log-in, the right one would change the account
that the next test needs."""
NOWHERE = {"create_pull", "set_demand"}
"""Routes whose example names a server, or a model, that is not there: that is told with 400, to who may use them."""
LAST = ("delete_container", "delete_many", "delete_object", "log_out")
"""What takes away that which the others ask for."""
MADE = {
    "make_credential": "/auth/application-credentials/{id}",
    "create_project": "/admin/projects/{id}",
    "create_model": "/models/{id}",
    "create_pull": "/containers/{container}/pulls/{id}",
}
"""What is made is taken away again, by DELETE of these paths."""
TUS = {"Tus-Resumable": "1.0.0"}
WRONG = (400, 401, 403, 404, 415, 422)
"""No answers to who is let, and whose request is whole."""
SECONDS = 60


@dataclass(frozen=True)
class Route:
    """An operation of the document; `roles` is None where it needs no token."""

    name: str
    verb: str
    path: str
    roles: list[str] | None
    operation: Mapping[str, Any]


@dataclass
class Somebody:
    """Who asks: the token, the roles in its project, and whether the container is that project's."""

    token: str | None
    roles: frozenset[str] = frozenset()
    own: bool = False
    everywhere: bool = False
    project: bool = True
    known: bool = True
    program: bool = False

    def expected(self, route: Route) -> str:
        """`401`, `403`, `404`, or `let`: an answer that is none of WRONG, and no fault of the lake's; `let or 404`
        where it is let, and what it names may not be there."""
        if route.roles is None:
            return "400" if route.name in OWN_ACCOUNT else "let or 401"
        if not self.known:
            return "401"
        if route.name in OWN_ACCOUNT:
            return "400"
        if (route.roles or route.name in OF_A_PROJECT) and not self.project:
            return "403"
        if not self.roles.issuperset(route.roles) or (self.program and route.name in BY_PEOPLE):
            return "403"
        if route.name in LAKE_WIDE and not self.everywhere:
            return "403"
        if route.name in KEYSTONES and not self.everywhere:
            return "403 or 404"
        if "{container}" in route.path and not self.own and route.name not in MAKING:
            return "404"
        return "let or 404 or 400" if route.name in NOWHERE else "let or 404"

    def fits(self, route: Route, status: int) -> bool:
        """Whether an answer is as it has to be."""
        words = self.expected(route).split(" or ")
        return str(status) in words or ("let" in words and status < 500 and status not in WRONG)


@pytest.fixture(scope="module")
def document(member) -> dict[str, Any]:
    read: dict[str, Any] = member.call("GET", "/openapi.json", token=None).json()
    return read


@pytest.fixture(scope="module")
def routes(document) -> list[Route]:
    found = []
    for path, methods in document["paths"].items():
        for verb, operation in methods.items():
            asked = operation.get("security")
            taking = [one["token"] for one in asked or [] if "token" in one]
            roles = sorted({role for roles in taking for role in roles}) if taking else None
            path = path.removeprefix("/api/v1")
            found.append(Route(operation["operationId"], verb.upper(), path, roles, operation))
    return sorted(found, key=lambda route: (route.name in LAST, LAST.index(route.name) if route.name in LAST else 0))


def logged_in(person: Any, **changed: Any) -> str:
    """A new token."""
    answer = person.log_in(**changed)
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    return token


@pytest.fixture(scope="module")
def everybody(member, guest, boss, admin) -> Iterator[dict[str, Somebody]]:
    """Who asks, by a name; nobody is logged in with a token that others need."""
    made = member.call(
        "POST",
        "/auth/application-credentials",
        json={"name": f"matrix-{uuid.uuid4().hex[:8]}", "roles": ["reader"], "expires_at": "2099-01-01T00:00:00Z"},
    ).json()
    reading = {"application_credential": {"id": made["id"], "secret": made["secret"]}}
    revoked = logged_in(member)
    assert member.call("DELETE", "/auth/token", token=revoked).status_code == 204
    every = frozenset({"reader", "writer", "administrator"})
    unscoped = {"project": None, "domain": None}
    yield {
        "no token": Somebody(None, known=False),
        "revoked token": Somebody(revoked, known=False),
        "no project": Somebody(logged_in(member, **unscoped), project=False),
        "other project": Somebody(logged_in(guest), frozenset({"reader", "writer"})),
        "reader": Somebody(_token_of(member, reading), frozenset({"reader"}), own=True, program=True),
        "writer": Somebody(logged_in(member), frozenset({"reader", "writer"}), own=True),
        "administrator of the project": Somebody(logged_in(boss), every, own=True),
        "administrator of the lake": Somebody(logged_in(admin), every, everywhere=True),
    }
    member.call("DELETE", f"/auth/application-credentials/{made['id']}")


def _token_of(person: Any, given: dict[str, Any]) -> str:
    answer = person.http.post(f"{person.url}/auth/token", json=given, timeout=SECONDS)
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    return token


def ask(person: Any, somebody: Somebody, route: Route, asked: Asked) -> tuple[int, str]:
    """Status, and the text of the answer where it ends by itself; what was made is taken away again."""
    given: dict[str, Any] = {"json": {}} if route.name in OWN_ACCOUNT else {**asked.body, "params": asked.params}
    headers = {**asked.headers, **given.pop("headers", {})}
    with person.call(route.verb, asked.path, token=somebody.token, headers=headers, stream=True, **given) as answer:
        live = answer.headers.get("Content-Type", "").startswith("text/event-stream")
        text = "" if live else answer.text
        if answer.status_code in (201, 202):
            take_away(person, somebody, route, asked, answer)
        return answer.status_code, text


def take_away(person: Any, somebody: Somebody, route: Route, asked: Asked, answer: Any) -> None:
    """What the request of a route in MADE made, a user, or an upload."""
    if route.name in MADE:
        container = asked.path.removeprefix("/containers/").split("/")[0]
        path = MADE[route.name].format(id=answer.json()["id"], container=container)
        gone = person.call("DELETE", path, token=somebody.token)
    elif route.name == "create_upload":
        path = answer.headers["Location"].partition("/api/v1")[2]
        gone = person.call("DELETE", path, token=somebody.token, headers=TUS)
    elif route.name == "create_user":  # only Keystone itself removes one
        address = f"{person.env['OS_AUTH_URL']}/users/{answer.json()['id']}"
        gone = person.http.delete(address, headers={"X-Auth-Token": somebody.token}, timeout=SECONDS)
    else:
        return
    assert gone.status_code in (200, 204), f"{route.name} made what could not be removed: {gone.text}"


def test_every_route_answers_everybody_as_it_has_to(member, document, routes, everybody):
    assert len(routes) > 80
    wrong, sent, asking = [], 0, Asking(document)
    for name, somebody in everybody.items():
        container = f"matrix-{uuid.uuid4().hex[:8]}"
        inserted = member.insert(container, "secret.txt", SECRET)
        assert inserted.status_code == 201, inserted.text
        known = {"container": container, "object_id": inserted.json()["swift_object_id"]}
        for route in routes:
            other = {"container": f"{container}-own"} if route.name in MAKING and not somebody.own else {}
            asked = asking.of(route.path, route.operation, known | other)
            status, text = ask(member, somebody, route, asked)
            sent += 1
            told = not somebody.own and (SECRET in text or "secret.txt" in text)
            if told or not somebody.fits(route, status):
                wrong.append(
                    f"{name}: {route.verb} {asked.path} ({route.name}): {somebody.expected(route)}, not {status}"
                    f"{', and it tells what is not theirs' if told else ''}: {text[:200]}"
                )
    assert not wrong, f"{len(wrong)} of {sent} answers are others than they have to be:\n" + "\n".join(wrong)
    print(f"{len(routes)} routes, {len(everybody)} who ask: {sent} answers, none another than it has to be")
