# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""What looks at each request: the rates of addresses, the audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.types import Scope

from . import audit
from .observe import client_of
from .rates import Rates
from .settings import Walls

_API = "/api/"


def route_of(scope: Scope) -> str:
    """The name of the route that answered, "" where there was none."""
    return str(getattr(scope.get("route"), "name", ""))


class Addresses:
    """Refuses requests of an address that sends too many."""

    def __init__(self, walls: Walls) -> None:
        self._rates = Rates(walls.address_rate, walls.address_burst)

    def begin(self, scope: Scope) -> None:
        if scope["path"].startswith(_API):
            self._rates.take(client_of(scope))

    def end(self, scope: Scope, fields: Mapping[str, Any]) -> None:
        pass


class Audited:
    """Notes requests in the audit of the app's lake, where their route has an action."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def begin(self, scope: Scope) -> None:
        if scope["path"].startswith(_API):
            self._app.state.lake.audit.reserve()
            scope["lake.audited"] = True

    def end(self, scope: Scope, fields: Mapping[str, Any]) -> None:
        if "lake.audited" not in scope:
            return
        action = audit.ACTIONS.get(route_of(scope))
        kept: audit.Audit = self._app.state.lake.audit
        if action is None:
            kept.release()
        else:
            kept.add(audit.event_of(scope, action, fields))
