# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The document says of each route which role it takes."""

from __future__ import annotations

import pytest

PUBLIC = {"log_in"}
"""What needs no token."""


@pytest.fixture
def needed(api):
    """The roles that each operation asks for, by its id; None: no token."""
    document = api.get("/api/v1/openapi.json").json()
    found = {}
    for methods in document["paths"].values():
        for operation in methods.values():
            taking = [one["token"] for one in operation.get("security", []) if "token" in one]
            found[operation["operationId"]] = sorted(set(sum(taking, []))) if taking else None
    return found


def test_each_route_says_which_role_it_takes(needed):
    assert {name for name, roles in needed.items() if roles is None} == PUBLIC
    assert needed["list_objects"] == ["reader"]
    assert needed["insert"] == ["writer"]
    assert needed["list_users"] == ["administrator"]
    assert needed["who_am_i"] == []
    assert all(len(roles) <= 1 for roles in needed.values() if roles)
