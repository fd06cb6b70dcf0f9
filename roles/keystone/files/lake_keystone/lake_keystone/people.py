# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keystone's method ``kerberos``, for people whose account is in use.

Keystone's own plugin looks for the user and no further: who is disabled in the directory would go on with a ticket,
which lives for hours, and with new ones where the realm knows nothing of the directory.
"""

from __future__ import annotations

from typing import Any

from keystone.auth.plugins.external import KerberosDomain
from keystone.common import provider_api

PROVIDERS = provider_api.ProviderAPIs


class People(KerberosDomain):
    """Takes ``REMOTE_USER`` of ``REMOTE_DOMAIN``, as ``lake_keystone.negotiate`` sets them."""

    def _authenticate(self) -> dict[str, Any]:
        """The user. AssertionError, which is answered with 401, where user or domain is disabled."""
        user: dict[str, Any] = super()._authenticate()
        PROVIDERS.identity_api.assert_user_enabled(user_id=user["id"], user=user)
        return user
