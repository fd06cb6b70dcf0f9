# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""schemathesis against the running API, through the edge: no fault of the server, no answer that its document has not.

    python tests/contract/made_up.py [--environment local] [--role member …] [--examples 20] [--seconds 240]
                                 [--only OPERATION …] [--markdown FILE]

Requests are made of the OpenAPI document, right ones and wrong ones, with the token of a reader, a member and an
administrator of a project. Project and users are made for the run and removed after it, with all that was put there.
Exit status 1 where a check fails.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import openstack
import requests
import swiftclient
from openstack.identity.v3._proxy import Proxy as Identity

ROOT = Path(__file__).resolve().parent.parent.parent
LOCK = ROOT / "locks/tests-schemathesis.txt"
NAME = "schemathesis"
"""Name of the project, and the description by which all that is made for the run is known again."""
ROLES = ("reader", "member", "admin")
LEFT_OUT = {
    "log_out": "takes back the token that the next requests need; the tenant matrix has it",
    "log_in": "failed log-ins are counted, and block the address of who runs this; tests of people have it",
    "change_password": "the same, of the user; tests of people have it",
    "create_pull": "connects to servers whose addresses are made up; tests of uploads have it",
    "listen": "an answer that never ends; tests of live events have it",
}
"""Operations that are not tried, and why."""
UNCHECKED = {
    "positive_data_acceptance": "rules between fields (a url, or host and path) are not in a JSON schema: 400 is right",
    "unsupported_method": "wants 405 for each method of HTTP; TRACE is refused by the edge before the API",
}
"""Checks that are not made, and why."""
REFUSALS = [
    "400",
    "401",
    "403",
    "404",
    "405",
    "409",
    "410",
    "412",
    "413",
    "414",
    "415",
    "416",
    "422",
    "423",
    "429",
    "460",
]
"""What a wrong request may be answered: schemathesis' own list, and those of ranges, sizes, conditions and tus."""
TIMEOUT = 60.0


@dataclass(frozen=True)
class Lake:
    """Where the running lake is, and its administrator."""

    rc: dict[str, str]

    @classmethod
    def of(cls, environment: str) -> Lake:
        """From the administrator's openrc file. Errors: OSError where no lake was deployed."""
        lines = (ROOT / f"build/{environment}/admin-openrc").read_text().splitlines()
        return cls(dict(line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export ")))

    def identity(self) -> Any:
        """Keystone, for the administrator."""
        return openstack.connect(
            auth_url=self.rc["OS_AUTH_URL"],
            username=self.rc["OS_USERNAME"],
            password=self.rc["OS_PASSWORD"],
            project_name=self.rc["OS_PROJECT_NAME"],
            user_domain_name=self.rc["OS_USER_DOMAIN_NAME"],
            project_domain_name=self.rc["OS_PROJECT_DOMAIN_NAME"],
            cacert=self.rc["OS_CACERT"],
            identity_api_version="3",
            identity_interface="public",
        ).identity


class User:
    """A user of the run, logged in to the API."""

    def __init__(self, lake: Lake, name: str, password: str) -> None:
        self.url, self.http = lake.rc["LAKE_API_URL"].rstrip("/"), requests.Session()
        self.http.trust_env, self.http.verify = False, lake.rc["OS_CACERT"]
        given = {"username": name, "password": password, "project": NAME, "domain": "Default"}
        answer = self.http.post(f"{self.url}/auth/token", json=given, timeout=TIMEOUT)
        answer.raise_for_status()
        self.token: str = answer.json()["token"]
        self.project: str = answer.json()["project"]["id"]
        self.http.headers["X-Auth-Token"] = self.token

    def call(self, verb: str, path: str, **given: Any) -> Any:
        """A request's answer, as JSON where it is. Errors: requests.HTTPError."""
        answer = self.http.request(verb, self.url + path, timeout=TIMEOUT, **given)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def items(self, path: str) -> Iterator[Any]:
        """All of a list."""
        cursor: dict[str, str] = {}
        while True:
            page = self.call("GET", path, params={"limit": 500, **cursor})
            yield from page["items"]
            if page["next"] is None:
                return
            cursor = {"cursor": page["next"]}


@contextmanager
def people(lake: Lake) -> Iterator[dict[str, User]]:
    """Users by their role in the project of the run; all of it is removed at the end."""
    identity: Identity = lake.identity()
    remove(identity)
    try:
        project = identity.create_project(name=NAME, domain_id="default", description=NAME)
        users: dict[str, User] = {}
        for role in ROLES:
            password = f"{secrets.token_urlsafe(24)}aA1"
            account = identity.create_user(
                name=f"{NAME}-{role}", domain_id="default", description=NAME, password=password
            )
            found = identity.find_role(role, ignore_missing=False)
            identity.assign_project_role_to_user(project, account, found)
            users[role] = User(lake, account.name, password)
        yield users
        empty(lake, users["admin"])
    finally:
        remove(identity)


def empty(lake: Lake, admin: User) -> None:
    """Remove what was put into the project: first through the API, then what is left in Swift."""
    for container in list(admin.items("/containers")):
        path = f"/containers/{quote(container, safe='')}"
        ids = [item["swift_object_id"] for item in admin.items(f"{path}/objects?fields=swift_object_id")]
        for start in range(0, len(ids), 1000):
            admin.call("POST", f"{path}/objects/delete", json={"ids": ids[start : start + 1000]})
    storage = f"https://{lake.rc['OS_AUTH_URL'].split('/')[2].rsplit(':', 1)[0]}:8080/v1/AUTH_{admin.project}"
    swift = swiftclient.Connection(preauthurl=storage, preauthtoken=admin.token, cacert=lake.rc["OS_CACERT"])
    for container in swift.get_account(full_listing=True)[1]:
        for item in swift.get_container(container["name"], full_listing=True)[1]:
            swift.delete_object(container["name"], item["name"])
        swift.delete_container(container["name"])


def remove(identity: Identity) -> None:
    """Take away the users and the project of this or an earlier run."""
    for user in identity.users(domain_id="default"):
        if user.description == NAME:
            identity.delete_user(user)
    project = identity.find_project(NAME, domain_id="default")
    if project is not None and project.description != NAME:
        sys.exit(f"Keystone has a project {NAME} that is not of this suite: run it on another lake")
    if project is not None:
        identity.delete_project(project)


def environment_of_suite(folder: Path) -> Path:
    """The program, in the version and with the hashes of the lock."""
    venv = folder / "venv"
    mark = folder / f".ready-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    if not mark.exists():
        subprocess.run(["uv", "venv", "--quiet", "--clear", "--python", sys.executable, str(venv)], check=True)
        install = ["uv", "pip", "install", "--quiet", "--python", str(venv / "bin/python"), "--require-hashes"]
        subprocess.run([*install, "-r", str(LOCK)], check=True)
        mark.touch()
    return venv / "bin/st"


def write_configuration(
    file: Path, containers: Sequence[str], ids: Sequence[str], arguments: argparse.Namespace
) -> None:
    """What schemathesis is told: CONTAINERS and IDS are there, and most requests are to be about them. The token comes
    by the environment: it is in no file and no command line."""
    unchecked = "\n".join(f"{name}.enabled = false" for name in UNCHECKED)
    file.write_text(
        f"""\
hooks = {json.dumps(str(Path(__file__).with_name("hooks.py")))}
headers = {{ "X-Auth-Token" = "${{LAKE_TOKEN}}" }}
tls-verify = "${{LAKE_CA}}"
request-timeout = {TIMEOUT}
continue-on-failure = true

[dictionaries]
containers.values = {json.dumps(containers)}
ids.values = {json.dumps(ids)}

[parameters]
"path.container" = {{ dictionary = "containers", probability = 0.8 }}
"path.object_id" = {{ dictionary = "ids", probability = 0.8 }}

[generation]
max-examples = {arguments.examples}
allow-x00 = false
database = "none"

[checks]
{unchecked}
negative_data_rejection.expected-statuses = {json.dumps(REFUSALS)}
missing_required_header.expected-statuses = {json.dumps(REFUSALS)}

[phases.stateful]
enabled = false

# Headers that it does not know are no error to anybody; schemathesis thinks so where others are declared by hand.
[[operations]]
include-operation-id = "create_upload"
generation.allow-extra-parameters = false
"""
    )


@dataclass(frozen=True)
class Outcome:
    """What a run with the token of one role came to: operations and requests, and each kind of failure."""

    role: str
    operations: int
    requests: int
    failures: list[str]


def tried(program: Path, folder: Path, user: User, role: str, arguments: argparse.Namespace) -> Outcome:
    """Run schemathesis with a user's token. Errors: SystemExit where it did not run."""
    told, report = folder / f"{role}.log", folder / f"{role}.json"
    report.unlink(missing_ok=True)
    command = [str(program), "--config-file", str(folder / "schemathesis.toml"), "run", f"{user.url}/openapi.json"]
    command += ["--no-color", "--seed", "1", "--max-time", str(arguments.seconds)]
    command += ["--report", "json", "--report-json-path", str(report)]
    for name in arguments.only or []:
        command += ["--include-operation-id", name]
    for name in [] if arguments.only else LEFT_OUT:
        command += ["--exclude-operation-id", name]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OS_")}
    variables = {**kept, "LAKE_TOKEN": user.token, "LAKE_CA": str(user.http.verify)}
    with told.open("w") as log:
        subprocess.run(command, cwd=folder, env=variables, stdout=log, stderr=subprocess.STDOUT)  # the report tells
    if not report.exists():
        sys.exit(f"FAILED: schemathesis did not run: see {told}")
    return outcome(role, json.loads(report.read_text()))


def outcome(role: str, report: dict[str, Any]) -> Outcome:
    """What the report of a run says."""
    failures = [
        f"{group['title']} ({group['count']}): {', '.join(map(str, group['operations']))}"
        for group in report["failures"]
    ]
    failures += [f"{group['title']} ({group['count']})" for group in report["errors"]]
    return Outcome(role, report["operations"]["tested"], report["test_cases"]["generated"], failures)


def markdown(outcomes: Sequence[Outcome]) -> str:
    """A row for each role, what was left out, and what failed."""
    lines = ["| token of a | operations | requests | kinds of failures |", "|---|---|---|---|"]
    lines += [f"| {one.role} | {one.operations} | {one.requests} | {len(one.failures)} |" for one in outcomes]
    lines += ["", "| left out | why |", "|---|---|"]
    lines += [f"| `{name}` | {why} |" for name, why in (LEFT_OUT | UNCHECKED).items()]
    lines += ["", *(f"{one.role}: {failure}" for one in outcomes for failure in one.failures)]
    return "\n".join(lines).rstrip()


def prepare(user: User) -> tuple[list[str], list[str]]:
    """Containers with something in them, and ids of their objects."""
    containers, ids = [f"{NAME}-{secrets.token_hex(4)}" for _ in range(2)], []
    message = (ROOT / "samples/message.json").read_bytes()
    for container in containers:
        for name, content in (("message.json", message), ("note.txt", b"a note\n")):
            made = user.call("POST", f"/containers/{container}/objects", files={"file": (name, content)})
            ids.append(made["swift_object_id"])
    return containers, ids


def main() -> int:
    """Run for each role, print the table; 1 where a check failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", choices=["local", "test"], default="local")
    parser.add_argument("--role", nargs="+", choices=ROLES, default=list(ROLES), help="tokens of these")
    parser.add_argument("--examples", type=int, default=20, help="most requests that are made up for an operation")
    parser.add_argument("--seconds", type=int, default=240, help="most seconds for each role")
    parser.add_argument("--only", nargs="+", metavar="OPERATION", help="only these (operation ids)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    arguments = parser.parse_args()
    folder = ROOT / "build/schemathesis"
    folder.mkdir(parents=True, exist_ok=True)
    print("== environment of schemathesis", flush=True)
    program = environment_of_suite(folder)
    outcomes = []
    with people(Lake.of(arguments.environment)) as users:
        containers, ids = prepare(users["member"])
        write_configuration(folder / "schemathesis.toml", containers, ids, arguments)
        for role in arguments.role:
            print(f"== with the token of a {role} (at most {arguments.seconds} s)", flush=True)
            outcomes.append(tried(program, folder, users[role], role, arguments))
    text = markdown(outcomes)
    print(f"\n{text}")
    if arguments.markdown:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        arguments.markdown.write_text(text + "\n")
    failed = any(one.failures for one in outcomes)
    print(f"\n{'FAILED: requests that reproduce each are in build/schemathesis/*.log' if failed else 'ok'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
