#!/usr/bin/python
# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: keystone_state
short_description: Declare what Keystone must hold
version_added: 0.1.0
description:
  - Makes domains, projects, roles, users, role assignments, services and endpoints that are declared and missing, and
    corrects those that differ, in one task and one login.
  - What is not declared is left alone; nothing is removed, but for a declared service's second endpoint of the same
    interface and region.
  - Speaks Keystone's v3 API; needs nothing but Ansible on the host that it runs on.
author: neOCampus data lake contributors (@neocampus)
attributes:
  check_mode:
    description: Says what it would do, and does nothing.
    support: full
  diff_mode:
    description: Shows what differs, passwords never.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
options:
  auth:
    description: The administrator's login.
    type: dict
    required: true
    suboptions:
      url:
        description: Address of the v3 API.
        type: str
        required: true
      username:
        description: Name of the user.
        type: str
        required: true
      password:
        description: Password of the user.
        type: str
        required: true
      user_domain:
        description: Domain of the user.
        type: str
        default: Default
      project:
        description: Project for which to log in.
        type: str
        required: true
      project_domain:
        description: Domain of the project.
        type: str
        default: Default
      ca_file:
        description: File with the authority that signed the server's certificate.
        type: path
      timeout:
        description: Seconds to wait for each answer.
        type: int
        default: 30
  region:
    description: Region of the endpoints.
    type: str
    default: RegionOne
  domains:
    description: Domains.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      description:
        description: What it is for.
        type: str
  projects:
    description: Projects.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      domain:
        description: Domain.
        type: str
        default: Default
      description:
        description: What it is for.
        type: str
  roles:
    description: Names of roles.
    type: list
    elements: str
    default: []
  users:
    description: Users of Keystone's own database.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      domain:
        description: Domain.
        type: str
        default: Default
      password:
        description: Password; set again where it no longer opens Keystone. Needed when the user is V(present).
        type: str
      description:
        description: What it is for.
        type: str
      options:
        description: Options of the user, for instance C(ignore_lockout_failure_attempts).
        type: dict
        default: {}
      state:
        description: Whether the user exists. Its roles go with it.
        type: str
        choices: [present, absent]
        default: present
  assignments:
    description: Who has which role where.
    type: list
    elements: dict
    default: []
    suboptions:
      role:
        description: Name of the role.
        type: str
        required: true
      user:
        description: Name of the user who has it.
        type: str
      group:
        description: Name of the group whose members have it.
        type: str
      actor_domain:
        description: Domain of the user or group.
        type: str
        default: Default
      project:
        description: Project in which they have it.
        type: str
      domain:
        description: Domain of the project; or, without a project, the domain on which they have the role.
        type: str
        default: Default
  services:
    description: Services and their endpoints.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name.
        type: str
        required: true
      type:
        description: Type, which identifies the service.
        type: str
        required: true
      description:
        description: What it is for.
        type: str
      endpoints:
        description: Address by interface (C(public), C(internal), C(admin)).
        type: dict
        default: {}
"""

EXAMPLES = r"""
- name: A project whose members are a group of the directory
  neocampus.datalake.keystone_state:
    auth: {url: "https://identity.example.org:5000/v3", username: admin, password: "{{ secret }}", project: admin}
    projects:
      - {name: air-quality, domain: campus}
    assignments:
      - {role: member, group: air-quality, actor_domain: campus, project: air-quality, domain: campus}
"""

RETURN = r"""
changes:
  description: What was done, or would be done in check mode.
  returned: always
  type: list
  elements: str
  sample:
    - "project campus/air: made"
    - "member for group campus/air on project campus/air: granted"
projects:
  description: Id of each declared project, by domain and name.
  returned: always
  type: dict
  sample: {"campus/air-quality": "6f70656e2064617461"}
"""

import json
from collections.abc import Mapping
from typing import Any, Callable
from urllib.error import HTTPError
from urllib.parse import quote, urlencode

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import Request

MADE_IN_CHECK_MODE = "(not made yet)"


class KeystoneError(Exception):
    """Keystone refused, or what was declared can't be."""


class Keystone:
    """Keystone's v3 API with one user's token. Raises KeystoneError with the server's own words."""

    def __init__(self, url: str, ca_file: str | None = None, timeout: int = 30) -> None:
        self._url = url.rstrip("/")
        self._request = Request(ca_path=ca_file, timeout=timeout, http_agent="neocampus.datalake.keystone_state")
        self._token: str | None = None

    def log_in(self, *, username: str, password: str, user_domain: str, project: str, project_domain: str) -> None:
        """Take a token for the project."""
        user = {"name": username, "password": password, "domain": {"name": user_domain}}
        scope = {"project": {"name": project, "domain": {"name": project_domain}}}
        self._token = self._authenticate(user, scope)

    def opens(self, user_id: str, password: str) -> bool:
        """Whether the password is the user's."""
        try:
            self._authenticate({"id": user_id, "password": password}, "unscoped")
        except KeystoneError as error:
            if error.args[1:] == (401,):
                return False
            raise
        return True

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """The answer to GET of ``path``."""
        return self.call("GET", path + ("?" + urlencode(query) if query else ""))

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer's document, empty where it has none."""
        return self._open(method, path, body)[0]

    def _authenticate(self, user: Mapping[str, Any], scope: Any) -> str:
        identity = {"methods": ["password"], "password": {"user": user}}
        _document, headers = self._open("POST", "/auth/tokens", {"auth": {"identity": identity, "scope": scope}})
        return headers["X-Subject-Token"]

    def _open(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[dict[str, Any], Mapping[str, str]]:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._token is not None and path != "/auth/tokens":
            headers["X-Auth-Token"] = self._token
        data = None if body is None else json.dumps(body).encode()
        try:
            answer = self._request.open(method, self._url + path, data=data, headers=headers)
            text = answer.read()
        except HTTPError as error:
            raise KeystoneError(f"{method} {path}: {error.code} {_message(error)}", error.code) from error
        except OSError as error:
            raise KeystoneError(f"{method} {self._url}{path}: {error}") from error
        return (json.loads(text) if text else {}), answer.headers


def _message(error: HTTPError) -> str:
    """What Keystone says of an error."""
    try:
        return json.loads(error.read())["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return str(error.reason)


class State:
    """Brings Keystone to what is declared; ``changes``, ``before`` and ``after`` say what that took."""

    def __init__(self, keystone: Any, *, check_mode: bool, region: str) -> None:
        self._keystone = keystone
        self._check_mode = check_mode
        self._region = region
        self._ids: dict[tuple[str, str, str], str] = {}
        self.changes: list[str] = []
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}

    def domain(self, wanted: Mapping[str, Any]) -> None:
        """A domain, with its description."""
        found = self._find("domain", wanted["name"])
        self._sync("domain", "", wanted["name"], found, _given(wanted, "description"))

    def project(self, wanted: Mapping[str, Any]) -> str:
        """A project; returns its id."""
        domain = wanted["domain"]
        found = self._find("project", wanted["name"], domain)
        return self._sync("project", domain, wanted["name"], found, _given(wanted, "description"))

    def role(self, name: str) -> None:
        """A role of no domain."""
        self._sync("role", "", name, self._find("role", name), {})

    def user(self, wanted: Mapping[str, Any]) -> None:
        """A user with password, description and options."""
        domain, name = wanted["domain"], wanted["name"]
        found = self._find("user", name, domain)
        if wanted.get("state") == "absent":
            if found is not None:
                path = f"/users/{found['id']}"
                what = f"user {domain}/{name}"
                self._change(what, "removed", {"exists": True}, {}, lambda: self._keystone.call("DELETE", path))
            return
        if not wanted.get("password"):
            raise KeystoneError(f"user {domain}/{name} has no password")
        properties = _given(wanted, "description", "options")
        if found is None:
            self._sync("user", domain, name, None, dict(properties, password=wanted["password"]))
            return
        user_id = self._sync("user", domain, name, found, properties)
        if not self._keystone.opens(user_id, wanted["password"]):
            self._change(
                f"user {domain}/{name}",
                "password set",
                {"password": "(another)"},
                {"password": "(the declared one)"},
                lambda: self._keystone.call("PATCH", f"/users/{user_id}", {"user": {"password": wanted["password"]}}),
            )

    def assignments(self, wanted: list[Mapping[str, Any]]) -> None:
        """Roles of users and groups on projects and domains."""
        held = {_assignment_key(item) for item in self._keystone.get("/role_assignments")["role_assignments"]}
        for item in wanted:
            if (item["user"] is None) == (item["group"] is None):
                raise KeystoneError(f"an assignment of {item['role']} names a user or a group, and not both")
            actor_kind = "user" if item["user"] is not None else "group"
            actor = item[actor_kind]
            target_kind = "project" if item["project"] is not None else "domain"
            role_id = self._id("role", item["role"])
            actor_id = self._id(actor_kind, actor, item["actor_domain"])
            if target_kind == "project":
                target, target_id = (
                    f"{item['domain']}/{item['project']}",
                    self._id("project", item["project"], item["domain"]),
                )
            else:
                target, target_id = item["domain"], self._id("domain", item["domain"])
            if (actor_kind, actor_id, target_kind, target_id, role_id) in held:
                continue
            path = "/".join(("", f"{target_kind}s", target_id, f"{actor_kind}s", quote(actor_id), "roles", role_id))
            what = f"{item['role']} for {actor_kind} {item['actor_domain']}/{actor} on {target_kind} {target}"
            self._change(what, "granted", None, {"granted": True}, lambda path=path: self._keystone.call("PUT", path))

    def services(self, wanted: list[Mapping[str, Any]]) -> None:
        """Services, found by type, and their endpoints."""
        services = {service["type"]: service for service in self._keystone.get("/services")["services"]}
        endpoints = self._keystone.get("/endpoints")["endpoints"]
        if wanted and not any(region["id"] == self._region for region in self._keystone.get("/regions")["regions"]):
            body = {"region": {"id": self._region}}
            self._change(
                f"region {self._region}", "made", None, {}, lambda: self._keystone.call("POST", "/regions", body)
            )
        for item in wanted:
            properties = dict(_given(item, "description"), name=item["name"], type=item["type"])
            service_id = self._sync("service", "", item["type"], services.get(item["type"]), properties)
            for interface, url in sorted(item["endpoints"].items()):
                mine = [
                    endpoint
                    for endpoint in endpoints
                    if (endpoint["service_id"], endpoint["interface"], endpoint.get("region_id"))
                    == (service_id, interface, self._region)
                ]
                place = {"service_id": service_id, "interface": interface, "region_id": self._region}
                name = f"{item['type']} {interface}"
                self._sync("endpoint", "", name, mine[0] if mine else None, {"url": url}, extra=place)
                for second in mine[1:]:
                    path = f"/endpoints/{second['id']}"
                    self._change(
                        f"endpoint {name}",
                        f"second one removed ({second['url']})",
                        {"second": second["url"]},
                        {},
                        lambda path=path: self._keystone.call("DELETE", path),
                    )

    def _find(self, kind: str, name: str, domain: str | None = None) -> dict[str, Any] | None:
        """The resource as Keystone has it, or None."""
        query = {"name": name}
        if domain is not None:
            domain_id = self._id("domain", domain)
            if domain_id == MADE_IN_CHECK_MODE:
                return None
            query["domain_id"] = domain_id
        found = self._keystone.get(f"/{kind}s", **query)[f"{kind}s"]
        # Keystone compares names without case; a role may also belong to a domain.
        exact = [item for item in found if item["name"] == name and (kind != "role" or item.get("domain_id") is None)]
        return exact[0] if exact else None

    def _id(self, kind: str, name: str, domain: str | None = None) -> str:
        """Id of something that is declared, or was there already."""
        key = (kind, domain or "", name)
        if key not in self._ids:
            found = self._find(kind, name, domain)
            if found is None:
                where = f"{domain}/" if domain else ""
                raise KeystoneError(f"there is no {kind} {where}{name}: declare it, or look for it in its directory")
            self._ids[key] = found["id"]
        return self._ids[key]

    def _sync(
        self,
        kind: str,
        domain: str,
        name: str,
        found: Mapping[str, Any] | None,
        properties: Mapping[str, Any],
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """Make the resource, or correct those of its ``properties`` that differ; returns its id.

        ``extra`` is what it is made with besides.
        """
        what = f"{kind} {domain}/{name}" if domain else f"{kind} {name}"
        if found is None:
            body = dict(properties, **(extra or {}))
            if kind not in ("service", "endpoint"):
                body["name"] = name
            if domain:
                body["domain_id"] = self._id("domain", domain)
            made = self._change(
                what, "made", None, _shown(properties), lambda: self._keystone.call("POST", f"/{kind}s", {kind: body})
            )
            resource_id = made[kind]["id"] if made else MADE_IN_CHECK_MODE
        else:
            resource_id = found["id"]
            differing = {key: value for key, value in properties.items() if not _holds(found.get(key), value)}
            if differing:
                self._change(
                    what,
                    "corrected: " + ", ".join(sorted(differing)),
                    {key: found.get(key) for key in differing},
                    differing,
                    lambda: self._keystone.call("PATCH", f"/{kind}s/{resource_id}", {kind: differing}),
                )
        self._ids[kind, domain, name] = resource_id
        return resource_id

    def _change(self, what: str, done: str, before: Any, after: Any, act: Callable[[], Any]) -> Any:
        """Note a change, and make it unless in check mode."""
        self.changes.append(f"{what}: {done}")
        if before is not None:
            self.before.setdefault(what, {}).update(before)
        self.after.setdefault(what, {}).update(after)
        return None if self._check_mode else act()


def _given(wanted: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Those of the keys that are declared."""
    return {key: wanted[key] for key in keys if wanted[key] not in (None, {})}


def _holds(found: Any, wanted: Any) -> bool:
    """Whether a property is as declared; of a dict, the declared part."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(found.get(key) == value for key, value in wanted.items())
    return found == wanted


def _shown(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Properties for a diff, without passwords."""
    return {key: "(the declared one)" if key == "password" else value for key, value in properties.items()}


def _assignment_key(item: Mapping[str, Any]) -> tuple[str, str, str, str, str] | None:
    """What an assignment of Keystone is about; None for inherited ones and those on the system."""
    scope = item["scope"]
    if "OS-INHERIT:inherited_to" in scope:
        return None
    target_kind = next((kind for kind in ("project", "domain") if kind in scope), None)
    actor_kind = "user" if "user" in item else "group"
    if target_kind is None:
        return None
    return (actor_kind, item[actor_kind]["id"], target_kind, scope[target_kind]["id"], item["role"]["id"])


def apply(state: State, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Bring everything that is declared about; returns the ids of the declared projects."""
    for domain in parameters["domains"]:
        state.domain(domain)
    projects = {f"{item['domain']}/{item['name']}": state.project(item) for item in parameters["projects"]}
    for role in parameters["roles"]:
        state.role(role)
    for user in parameters["users"]:
        state.user(user)
    if parameters["assignments"]:
        state.assignments(parameters["assignments"])
    if parameters["services"]:
        state.services(parameters["services"])
    return projects


def argument_spec() -> dict[str, Any]:
    """The module's arguments, as DOCUMENTATION describes them."""
    name = {"type": "str", "required": True}
    domain = {"type": "str", "default": "Default"}
    text = {"type": "str"}
    password = {"type": "str", "required": True, "no_log": True}

    def many(**options: Any) -> dict[str, Any]:
        return {"type": "list", "elements": "dict", "default": [], "options": options}

    return {
        "auth": {
            "type": "dict",
            "required": True,
            "options": {
                "url": name,
                "username": name,
                "password": password,
                "user_domain": domain,
                "project": name,
                "project_domain": domain,
                "ca_file": {"type": "path"},
                "timeout": {"type": "int", "default": 30},
            },
        },
        "region": {"type": "str", "default": "RegionOne"},
        "domains": many(name=name, description=text),
        "projects": many(name=name, domain=domain, description=text),
        "roles": {"type": "list", "elements": "str", "default": []},
        "users": many(
            name=name,
            domain=domain,
            password={"type": "str", "no_log": True},
            description=text,
            options={"type": "dict", "default": {}},
            state={"type": "str", "choices": ["present", "absent"], "default": "present"},
        ),
        "assignments": many(role=name, user=text, group=text, actor_domain=domain, project=text, domain=domain),
        "services": many(name=name, type=name, description=text, endpoints={"type": "dict", "default": {}}),
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    auth = dict(module.params["auth"])
    keystone = Keystone(auth.pop("url"), auth.pop("ca_file"), auth.pop("timeout"))
    state = State(keystone, check_mode=module.check_mode, region=module.params["region"])
    try:
        keystone.log_in(**auth)
        projects = apply(state, module.params)
    except KeystoneError as error:
        module.fail_json(msg=str(error.args[0]), changes=state.changes)
    module.exit_json(
        changed=bool(state.changes),
        changes=state.changes,
        projects=projects,
        diff={"before": state.before, "after": state.after},
    )


if __name__ == "__main__":
    main()
