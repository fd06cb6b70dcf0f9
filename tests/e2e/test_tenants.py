# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The tenant matrix: every route of the API, as its OpenAPI document has them, asked by everybody.

What has to come is derived from the role that the document says of a route, and from whose container it is asked about;
the few routes with rules of their own stand below. A route that is new is in the matrix by itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

SECRET = "only the project may read this"
MAKING = {"insert", "insert_many", "create_upload", "create_pull", "upload_options", "set_demand"}
"""Routes that take the name of a container that is not there: a project has its own of any name."""
LAKE_WIDE = {"create_user", "change_user", "create_project", "change_project", "delete_project", "set_quota"}
"""Routes of administration that are only for the administrator of the lake."""
KEYSTONES = {"get_user", "get_project", "drop_credential"}
"""Routes where Keystone's rules refuse what does not exist, or is not one's own, to who is not the lake's
administrator; and, to who is logged in with an application credential, another one."""
LAST = ("delete_container", "delete_many", "delete_object", "log_out")
"""What takes away that which the others ask for."""
SECONDS = 60


@dataclass(frozen=True)
class Route:
    """An operation of the document; `roles` is None where it needs no token."""

    name: str
    verb: str
    path: str
    roles: list[str] | None

    def filled(self, container: str, object_id: str) -> str:
        """The path, about that object; what else it names does not exist."""
        path = self.path.replace("{container}", container).replace("{object_id}", object_id)
        while "{" in path:
            before, _, rest = path.partition("{")
            path = f"{before}0{rest.partition('}')[2]}"
        return path


@dataclass
class Asking:
    """Somebody who asks: the token, the roles in its project, and whether the container is that project's."""

    token: str | None
    roles: frozenset[str] = frozenset()
    own: bool = False
    everywhere: bool = False
    project: bool = True
    known: bool = True

    def expected(self, route: Route) -> str:
        """`401`, `403`, `404`, or `let`: any answer that is none of these, and no fault of the lake's; `let or 404`
        where it is let, and what it names may not be there."""
        if route.roles is None:
            return "let or 401"
        if not self.known:
            return "401"
        if route.roles and (not self.project or not self.roles.issuperset(route.roles)):
            return "403"
        if route.name in LAKE_WIDE and not self.everywhere:
            return "403 or 400"
        if route.name in KEYSTONES and not self.everywhere:
            return "403 or 404"
        if "{container}" in route.path and not self.own and route.name not in MAKING:
            return "404 or 400"
        return "let or 404"

    def fits(self, route: Route, status: int) -> bool:
        """Whether an answer is as it has to be."""
        words = self.expected(route).split(" or ")
        if str(status) in words:
            return True
        return "let" in words and status < 500 and status not in (401, 403, 404)


@pytest.fixture(scope="module")
def routes(member) -> list[Route]:
    document = member.call("GET", "/openapi.json", token=None).json()
    found = []
    for path, methods in document["paths"].items():
        for verb, operation in methods.items():
            asked = operation.get("security")
            taking = [one["token"] for one in asked or [] if "token" in one]
            roles = sorted({role for roles in taking for role in roles}) if taking else None
            found.append(Route(operation["operationId"], verb.upper(), path.removeprefix("/api/v1"), roles))
    return sorted(found, key=lambda route: (route.name in LAST, LAST.index(route.name) if route.name in LAST else 0))


def logged_in(person: Any, **changed: Any) -> str:
    """A new token."""
    answer = person.log_in(**changed)
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    return token


@pytest.fixture(scope="module")
def everybody(member, guest, boss, admin) -> Iterator[dict[str, Asking]]:
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
        "no token": Asking(None, known=False),
        "revoked token": Asking(revoked, known=False),
        "no project": Asking(logged_in(member, **unscoped), project=False),
        "other project": Asking(logged_in(guest), frozenset({"reader", "writer"})),
        "reader": Asking(_token_of(member, reading), frozenset({"reader"}), own=True),
        "writer": Asking(logged_in(member), frozenset({"reader", "writer"}), own=True),
        "administrator of the project": Asking(logged_in(boss), every, own=True),
        "administrator of the lake": Asking(logged_in(admin), every, everywhere=True),
    }
    member.call("DELETE", f"/auth/application-credentials/{made['id']}")


def _token_of(person: Any, given: dict[str, Any]) -> str:
    answer = person.http.post(f"{person.url}/auth/token", json=given, timeout=SECONDS)
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    return token


def ask(person: Any, asking: Asking, route: Route, path: str) -> tuple[int, str]:
    """Status, and the text of the answer where it ends by itself."""
    body: dict[str, Any] = {} if route.verb in ("GET", "HEAD", "DELETE", "OPTIONS") else {"json": {}}
    with person.call(route.verb, path, token=asking.token, stream=True, **body) as answer:
        live = answer.headers.get("Content-Type", "").startswith("text/event-stream")
        return answer.status_code, "" if live else answer.text


def test_every_route_answers_everybody_as_it_has_to(member, routes, everybody):
    assert len(routes) > 80
    wrong, asked = [], 0
    for name, asking in everybody.items():
        container = f"matrix-{uuid.uuid4().hex[:8]}"
        inserted = member.insert(container, "secret.txt", SECRET)
        assert inserted.status_code == 201, inserted.text
        for route in routes:
            path = route.filled(container, inserted.json()["swift_object_id"])
            status, text = ask(member, asking, route, path)
            asked += 1
            told = not asking.own and (SECRET in text or "secret.txt" in text)
            if told or not asking.fits(route, status):
                wrong.append(
                    f"{name}: {route.verb} {path} ({route.name}): {asking.expected(route)}, not {status}"
                    f"{', and it tells what is not theirs' if told else ''}: {text[:200]}"
                )
    assert not wrong, f"{len(wrong)} of {asked} answers are others than they have to be:\n" + "\n".join(wrong)
    print(f"{len(routes)} routes, {len(everybody)} who ask: {asked} answers, none another than it has to be")
