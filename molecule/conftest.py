# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of all scenarios share: the nodes of the deployed lake."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import testinfra
import yaml
from testinfra.host import Host

PREFIX = {"local": "", "test": "test-"}


@pytest.fixture(scope="session")
def node() -> Callable[[str], Host]:
    """Gives a node by its inventory name: `node("data1")`. The lake is the one of LAKE_ENV (test, or local)."""
    prefix = PREFIX[os.environ.get("LAKE_ENV", "test")]
    return lambda name: testinfra.get_host(f"docker://{prefix}{name}")


@pytest.fixture(scope="session")
def lake_secrets() -> dict[str, str]:
    """The secrets of the deployed lake: name → text."""
    file = Path(__file__).parent.parent / "build" / os.environ.get("LAKE_ENV", "test") / "secrets.yml"
    secrets = yaml.safe_load(file.read_text())
    people = secrets.pop("lake_secret_ldap_users")
    return {**secrets, **{f"password of {name}": password for name, password in people.items()}}
