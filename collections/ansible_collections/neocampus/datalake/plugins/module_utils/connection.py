# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How modules reach the lake's API: the options' spec (documented in doc_fragments/connection.py) and a client."""

from __future__ import annotations

import json
from typing import Any

from ansible.module_utils.basic import env_fallback

from .lake.client import LakeClient
from .lake.errors import InvalidInput

_VARIABLES = {
    "api_url": "LAKE_API_URL",
    "username": "OS_USERNAME",
    "password": "OS_PASSWORD",
    "project": "OS_PROJECT_NAME",
    "domain": "OS_USER_DOMAIN_NAME",
    "ca_path": "OS_CACERT",
}
_OPTIONAL = ("domain", "ca_path")


def argument_spec() -> dict[str, Any]:
    """The options of the fragment neocampus.datalake.connection."""
    return {
        "api_url": {"type": "str", "fallback": (env_fallback, ["LAKE_API_URL"])},
        "username": {"type": "str", "fallback": (env_fallback, ["OS_USERNAME"])},
        "password": {"type": "str", "no_log": True, "fallback": (env_fallback, ["OS_PASSWORD"])},
        "project": {"type": "str", "fallback": (env_fallback, ["OS_PROJECT_NAME"])},
        "domain": {"type": "str", "fallback": (env_fallback, ["OS_USER_DOMAIN_NAME"])},
        "ca_path": {"type": "path", "fallback": (env_fallback, ["OS_CACERT"])},
        "config_file": {"type": "path", "default": "/etc/neocampus/client.json"},
    }


def settings_of(params: dict[str, Any]) -> dict[str, Any]:
    """The connection that a module's parameters describe, completed from the file `config_file`.

    Errors: InvalidInput, saying what is missing and where it can be given.
    """
    path = params["config_file"]
    try:
        with open(path, encoding="utf-8") as stream:
            stored = json.load(stream)
    except FileNotFoundError:
        stored = {}
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(stored, dict):
        raise InvalidInput(f"{path} does not hold a JSON object")
    found = {key: params.get(key) or stored.get(key) for key in _VARIABLES}
    missing = [key for key, value in found.items() if not value and key not in _OPTIONAL]
    if missing:
        raise InvalidInput(
            "it is not known how to reach the lake: "
            + ", ".join(f"{key} (option, environment variable {_VARIABLES[key]})" for key in missing)
            + f" missing, in {path} too"
        )
    return found


def connect(params: dict[str, Any]) -> LakeClient:
    """A client that is logged in. Errors: LakeError."""
    found = settings_of(params)
    client = LakeClient(found["api_url"], ca_file=found["ca_path"])
    client.log_in(found["username"], found["password"], found["project"], found["domain"])
    return client
