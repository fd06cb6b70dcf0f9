# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The document has an example of whatever a request needs, and each example follows the schema that it is an example
of: people see them on the interactive page, and the tests of the running lake send them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "e2e"))
from asked import Asking  # noqa: E402


@pytest.fixture
def document(api) -> dict[str, Any]:
    return api.get("/api/v1/openapi.json", headers={"X-Auth-Token": ""}).json()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def test_each_operation_has_what_a_whole_request_needs(document):
    asking = Asking(document)
    for path, operation in operations(document):
        asked = asking.of(path, operation, {"container": "rooms", "object_id": "17"})
        assert "{" not in asked.path, operation["operationId"]
        assert bool(asked.body) == ("requestBody" in operation), operation["operationId"]


def test_each_example_of_a_body_follows_its_schema(document):
    tried = 0
    for _path, operation in operations(document):
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            if kind == "application/offset+octet-stream":
                continue
            schema = Asking(document).resolved(media["schema"])
            for example in [media["example"]] if "example" in media else schema["examples"]:
                whole = {**schema, "components": document["components"]}
                jsonschema.Draft202012Validator(whole).validate(json.loads(json.dumps(example)))
                tried += 1
    assert tried >= 25


def test_what_names_something_is_new_in_each_request(document):
    asking = Asking(document)
    operation = document["paths"]["/api/v1/admin/projects"]["post"]
    first, second = (asking.of("/x", operation, {}).body["data"] for _ in range(2))
    assert first != second and json.loads(first)["name"].startswith("harbour-")


def test_a_parameter_without_example_is_told(document):
    with pytest.raises(KeyError, match="measurement"):
        Asking(document).of(
            "/x", {"parameters": [{"name": "measurement", "in": "query", "required": True, "schema": {}}]}, {}
        )


ELSEWHERE = {"create_pull", "listen"}
"""What a server of somebody, or a change stream, has to answer; as Keystone has for what is below /auth and /admin."""


def test_a_whole_request_is_refused_for_nothing_but_who_asks(api, keystone, document, insert):
    """Another project's member asks about a container: no answer says that the request is wrong."""
    made = insert("rooms", "a.txt", b"a", None)
    assert made.status_code == 201
    token = keystone.give("other-token", "p2")
    asking, wrong = Asking(document), []
    for path, methods in document["paths"].items():
        for verb, operation in methods.items():
            if operation["operationId"] in ELSEWHERE or path.startswith(("/api/v1/admin", "/api/v1/auth")):
                continue
            asked = asking.of(path, operation, {"container": "rooms", "object_id": made.json()["swift_object_id"]})
            given = dict(asked.body)
            headers = {**asked.headers, **given.pop("headers", {}), "X-Auth-Token": token}
            content = {"content": given.pop("data")} if "data" in given else {}
            answer = api.request(verb, asked.path, params=asked.params, headers=headers, **given, **content)
            if answer.status_code in (400, 415, 422):
                wrong.append(f"{operation['operationId']}: {answer.status_code} {answer.text[:200]}")
    assert wrong == []
