# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Keystone beyond tokens of people: the API's own token, and application credentials, by which pulls go on acting for
who made them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from keystoneauth1 import exceptions as keystone
from keystoneauth1.session import Session

from .errors import ApiError, forbidden, unauthorized
from .identity import Identity, Keystone, _identity

_MARGIN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Credential:
    """An application credential; `secret` is known to its maker alone."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"Credential({self.id})"


class OwnAccount:
    """The API's own account, as the identity that it is to Swift."""

    def __init__(self, client: Keystone) -> None:
        self._keystone = client
        self._known: Identity | None = None

    async def identity(self) -> Identity:
        """It, with a token that is good for some minutes. ServiceAway (503)."""
        if self._known is None or self._known.expires_at - _MARGIN <= datetime.now(UTC):
            self._known = await self._keystone.validate(await self._keystone._ask(_own_token))
        return self._known

    def forget(self) -> None:
        """Get another token next time."""
        self._known = None


def _own_token(_url: str, session: Session) -> str:
    token: str | None = session.get_token()
    if token is None:
        raise ValueError("Keystone gave no token")
    return token


async def make_credential(client: Keystone, identity: Identity, name: str, role: str, expires: datetime) -> Credential:
    """A credential with which one may act for the holder of a token, in that token's project, in one role, until then.

    ApiError 403 where the token may make none (it is of such a credential itself), 401, 503.
    """
    body = {
        "application_credential": {
            "name": name,
            "description": "Made by the data lake for a pull; deleted with it.",
            "roles": [{"name": role}],
            "expires_at": expires.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f"),
            "unrestricted": False,
        }
    }

    def ask(url: str, session: Session) -> dict[str, Any]:
        answer = session.post(
            f"{url}/users/{identity.user_id}/application_credentials",
            json=body,
            headers={"X-Auth-Token": identity.token},
            authenticated=False,
            log=False,
        )
        return dict(answer.json()["application_credential"])

    try:
        made = await client._ask(ask)
    except keystone.Unauthorized:
        raise unauthorized("Keystone no longer takes the token; log in again with POST /api/v1/auth/token") from None
    except keystone.HTTPClientError as error:
        raise forbidden(
            "Keystone lets this token make no application credential, by which the pull would act for you "
            f"({error.http_status}); log in with a password, and make the pull again"
        ) from None
    return Credential(str(made["id"]), str(made["secret"]))


async def delete_credential(client: Keystone, identity: Identity, user_id: str, credential_id: str) -> bool:
    """Delete a credential; False where the token may not, which is so for another person's. ServiceAway (503)."""

    def ask(url: str, session: Session) -> None:
        session.delete(
            f"{url}/users/{user_id}/application_credentials/{credential_id}",
            headers={"X-Auth-Token": identity.token},
            authenticated=False,
            log=False,
        )

    try:
        await client._ask(ask)
    except keystone.NotFound:
        return True
    except keystone.HTTPClientError:
        return False
    return True


async def use_credential(client: Keystone, credential: Credential) -> Identity:
    """The identity that a credential gives, with a new token. ApiError 401 where it is no longer good, 503."""
    body = {
        "auth": {
            "identity": {
                "methods": ["application_credential"],
                "application_credential": {"id": credential.id, "secret": credential.secret},
            }
        }
    }

    def ask(url: str, session: Session) -> Identity:
        answer = session.post(f"{url}/auth/tokens", json=body, authenticated=False, log=False)
        return _identity(answer.headers["X-Subject-Token"], answer.json()["token"])

    try:
        return await client._ask(ask)
    except keystone.HTTPClientError:
        raise ApiError(
            401,
            "unauthorized",
            "Keystone no longer lets the pull act for who made it: the account or its role is gone, or the time of the "
            "credential is over; make the pull again",
        ) from None
