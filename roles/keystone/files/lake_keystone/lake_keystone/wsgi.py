# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keystone's WSGI application, whose cache may be away, which verifies each directory by its own authority, and which
people log in to with Kerberos where that is set.

``[cache] proxies`` covers every region of the cache but the one that says which entries are void; that one is covered
here. Kerberos is set by the section ``[lake_kerberos]`` of keystone.conf.
"""

from __future__ import annotations

import keystone.conf
from keystone.common.cache.core import CACHE_INVALIDATION_REGION
from keystone.wsgi.api import application as keystone_application
from oslo_config import cfg

from lake_keystone import directories
from lake_keystone.cache import MayBeAway
from lake_keystone.negotiate import Application, Negotiate

__all__ = ["application"]

_OPTIONS = [
    cfg.StrOpt("keytab", help="Keytab with the keys of the service HTTP."),
    cfg.DictOpt("domains", default={}, help="Realms whose tickets are accepted, with the domain of each: REALM:domain"),
]


def _with_kerberos(plain: Application) -> Application:
    """The application, with log-in by ticket where realms are set."""
    conf = keystone.conf.CONF
    conf.register_opts(_OPTIONS, group="lake_kerberos")
    settings = conf.lake_kerberos
    if not settings.domains:
        return plain
    from lake_keystone.tickets import Tickets  # needs the libraries of Kerberos

    return Negotiate(plain, Tickets(settings.keytab), settings.domains)


CACHE_INVALIDATION_REGION.wrap(MayBeAway)
directories.install()
application = _with_kerberos(keystone_application)
