# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Logging in."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from ..lake import TheLake
from ..observe import note
from . import errors

router = APIRouter(prefix="/auth", tags=["auth"])


class Credentials(BaseModel):
    """Who logs in, and for which project."""

    model_config = ConfigDict(extra="forbid")

    username: str = Field(min_length=1, max_length=255)
    password: SecretStr = Field(min_length=1, max_length=4096)
    project: str = Field(min_length=1, max_length=255)
    domain: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="Domain of user and project; people's when left out. Then people's is looked at for the project.",
    )
    user_domain: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        description="Domain of the user, where it is another than the project's.",
    )


class Named(BaseModel):
    id: str
    name: str


class Token(BaseModel):
    """A token and what it is for."""

    token: str
    expires_at: str = Field(description="ISO 8601, UTC.")
    user: Named
    project: Named
    roles: list[str]


@router.post("/token", status_code=201, response_model=Token, responses=errors(400, 401, 503), summary="Log in")
async def log_in(request: Request, credentials: Credentials, lake: TheLake) -> dict[str, Any]:
    """Get a token of Keystone for a project. Send it in the header `X-Auth-Token` with every other request."""
    note(request.scope, user=credentials.username, project=credentials.project)
    identity, body = await lake.keystone.log_in(
        credentials.username,
        credentials.password.get_secret_value(),
        credentials.project,
        user_domain=credentials.user_domain,
        domain=credentials.domain,
    )
    lake.tokens.remember(identity)
    return {
        "token": identity.token,
        "expires_at": body["expires_at"],
        "user": {"id": identity.user_id, "name": identity.user},
        "project": {"id": identity.project_id, "name": identity.project},
        "roles": sorted(identity.roles),
    }
