# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keystone's WSGI application, whose cache may be away.

``[cache] proxies`` covers every region of the cache but the one that says which entries are void; that one is covered
here.
"""

from __future__ import annotations

from keystone.common.cache.core import CACHE_INVALIDATION_REGION
from keystone.wsgi.api import application

from lake_keystone.cache import MayBeAway

__all__ = ["application"]

CACHE_INVALIDATION_REGION.wrap(MayBeAway)
