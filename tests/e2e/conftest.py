# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""People of a running lake, as the openrc files of its deployment describe them.

LAKE_OPENRC names the file of a member (default: build/local/openrc); beside it are guest-openrc, a member of another
project, and admin-openrc. The tests only see what a person sees: addresses, names, passwords.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

ROOT = Path(__file__).resolve().parents[2]
OPENRC = ROOT / os.environ.get("LAKE_OPENRC", "build/local/openrc")
PATIENCE = 180.0
"""Seconds within which an object has to be processed."""


class Person:
    """Somebody with an openrc file; logged in to the API when first needed."""

    def __init__(self, openrc: Path) -> None:
        shown = subprocess.run(
            ["bash", "-c", 'set -a; . "$1"; env -0', "bash", str(openrc)], capture_output=True, check=True, env={}
        )
        pairs = (pair.split("=", 1) for pair in shown.stdout.decode().split("\0") if "=" in pair)
        self.env = {key: value for key, value in pairs if key.startswith(("OS_", "LAKE_"))}
        self.url = self.env["LAKE_API_URL"].rstrip("/")
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.verify = self.env["OS_CACERT"]
        self._token: str | None = None

    @property
    def token(self) -> str:
        if self._token is None:
            answer = self.log_in()
            assert answer.status_code == 201, answer.text
            self._token = answer.json()["token"]
        return self._token

    def log_in(self, **changed: Any) -> requests.Response:
        """The answer to a log-in with what the openrc file says, but for `changed`; None leaves a field out."""
        given = {
            "username": self.env["OS_USERNAME"],
            "password": self.env["OS_PASSWORD"],
            "project": self.env["OS_PROJECT_NAME"],
            "domain": self.env["OS_PROJECT_DOMAIN_NAME"],
            "user_domain": self.env["OS_USER_DOMAIN_NAME"],
        } | changed
        body = {key: value for key, value in given.items() if value is not None}
        return self.http.post(f"{self.url}/auth/token", json=body, timeout=60)

    def call(self, verb: str, path: str, **given: Any) -> requests.Response:
        """A request with the token, unless `token` gives another (or None for none)."""
        token = given.pop("token", "own")
        headers = dict(given.pop("headers", None) or {})
        if token:
            headers["X-Auth-Token"] = self.token if token == "own" else token
        return self.http.request(verb, self.url + path, headers=headers, timeout=300, **given)

    def get(self, path: str, **given: Any) -> requests.Response:
        return self.call("GET", path, **given)

    def insert(
        self, container: str, name: str, content: Any, metadata: Any = None, kind: str | None = None, **given: Any
    ) -> requests.Response:
        """Insert a file; `metadata` goes first, as JSON unless it is text."""
        text = metadata if isinstance(metadata, str) else json.dumps(metadata)
        parts = [] if metadata is None else [("metadata", (None, text, "application/json"))]
        parts.append(("file", (name, content, kind) if kind else (name, content)))
        return self.call("POST", f"/containers/{container}/objects", files=parts, **given)

    def inserted(self, *given: Any, **named: Any) -> dict[str, Any]:
        """The document of an insert that has to succeed."""
        answer = self.insert(*given, **named)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def processed(self, container: str, object_id: str) -> dict[str, Any]:
        """The document, as soon as an operation is logged on it."""
        end = time.monotonic() + PATIENCE
        while True:
            document = self.get(f"/containers/{container}/objects/{object_id}").json()
            if document["successful_operations"] or document["failed_operations"]:
                return dict(document)
            assert time.monotonic() < end, f"object {object_id} of {container} was not processed: {document}"
            time.sleep(0.5)

    def items(self, path: str, **params: Any) -> list[Any]:
        """All items of a list, page by page."""
        found: list[Any] = []
        while True:
            answer = self.get(path, params=params)
            assert answer.status_code == 200, answer.text
            found += answer.json()["items"]
            if not answer.json()["next"]:
                return found
            params["cursor"] = answer.json()["next"]

    def swift(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the swift command line as this person."""
        beside = Path(sys.executable).with_name("swift")
        program = str(beside) if beside.exists() else shutil.which("swift")
        if program is None:
            pytest.fail("python-swiftclient is not installed: it is part of the tool chain (make tools)")
        return subprocess.run(
            [program, *arguments],
            env={**self.env, "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


def _person(file: str) -> Person:
    path = OPENRC.with_name(file)
    if not path.exists():
        pytest.fail(f"no {path}: deploy the lake first (make demo), or name its openrc file in LAKE_OPENRC")
    return Person(path)


@pytest.fixture(scope="session")
def member() -> Person:
    """A member of the lake's project."""
    return _person(OPENRC.name)


@pytest.fixture(scope="session")
def guest() -> Person:
    """A member of another project."""
    return _person("guest-openrc")


@pytest.fixture(scope="session")
def boss() -> Person:
    """The administrator of the member's project; the deployment keeps the password."""
    people = yaml.safe_load((OPENRC.parent / "secrets.yml").read_text())["lake_secret_ldap_users"]
    person = _person(OPENRC.name)
    person.env |= {"OS_USERNAME": "lakeadmin", "OS_PASSWORD": people["lakeadmin"]}
    return person


@pytest.fixture(scope="session")
def admin() -> Person:
    """The administrator."""
    return _person("admin-openrc")


@pytest.fixture
def container() -> Iterator[str]:
    """A name that no container has yet."""
    yield f"e2e-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def error_of() -> Callable[..., str]:
    """error_of(answer, status): the message, after checking the form of an error answer."""

    def _error_of(answer: requests.Response, status: int) -> str:
        assert answer.status_code == status, f"{answer.status_code}: {answer.text[:500]}"
        body = answer.json()
        assert set(body) == {"error"} and set(body["error"]) == {"code", "message", "detail"}
        return str(body["error"]["message"])

    return _error_of
