# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Whole requests for the operations of an OpenAPI document, made of its examples: nothing in them is wrong."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

NAMED = ("name", "label")
"""Fields that name what is made: the name is a new one in each request."""


@dataclass(frozen=True)
class Asked:
    """A request, as `requests` takes it."""

    path: str
    params: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)


class Asking:
    """Makes requests for the operations of a document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def of(self, path: str, operation: Mapping[str, Any], known: Mapping[str, str]) -> Asked:
        """A request for an operation. `known` has values of parameters in its path; others name what is not there.

        Errors: KeyError for a required parameter, or a body, that the document has no example of.
        """
        params: dict[str, Any] = {}
        headers: dict[str, str] = {}
        for parameter in operation.get("parameters", []):
            name, where = parameter["name"], parameter["in"]
            if where == "path":
                value = known.get(name) or str(self._example(parameter, "0"))
                path = path.replace(f"{{{name}}}", quote(value, safe=""))
            elif where == "header" and (parameter.get("required") or "example" in parameter):
                headers[name] = str(self._example(parameter))
            elif where == "query" and parameter.get("required"):
                params[name] = self._example(parameter)
        return Asked(path, params, headers, self._body(operation))

    def resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        while "$ref" in schema:
            found: Any = self._document
            for step in schema["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            schema = found
        return schema

    def _example(self, parameter: Mapping[str, Any], otherwise: Any = None) -> Any:
        schema = self.resolved(parameter.get("schema", {}))
        for found in (parameter.get("example"), *schema.get("examples", []), *schema.get("enum", [])):
            if found is not None:
                return found
        if schema.get("type") == "integer":
            return max(1, schema.get("minimum", 1))
        if otherwise is None:
            raise KeyError(f"the document has no example of the parameter {parameter['name']}")
        return otherwise

    def _body(self, operation: Mapping[str, Any]) -> dict[str, Any]:
        """The body, as arguments of `requests`."""
        if "requestBody" not in operation:
            return {}
        kind, media = next(iter(operation["requestBody"]["content"].items()))
        schema = self.resolved(media["schema"])
        example = media.get("example", next(iter(schema.get("examples", [])), None))
        if kind == "application/offset+octet-stream":
            return {"data": b"", "headers": {"Content-Type": kind}}
        if example is None:
            raise KeyError(f"the document has no example of the body of {operation['operationId']}")
        if kind == "multipart/form-data":
            return {"files": _form(example)}
        given = {key: f"{value}-{uuid.uuid4().hex[:8]}" if key in NAMED else value for key, value in example.items()}
        return {"data": json.dumps(given), "headers": {"Content-Type": kind}}


def _form(example: Mapping[str, Any]) -> list[tuple[str, tuple[str | None, str, str]]]:
    parts: list[tuple[str, tuple[str | None, str, str]]] = []
    for name, value in example.items():
        if name == "file":
            files = [value] if isinstance(value, str) else value
            parts += [("file", (f"example-{number}.txt", text, "text/plain")) for number, text in enumerate(files)]
        else:
            parts.append((name, (None, value if isinstance(value, str) else json.dumps(value), "application/json")))
    return parts
