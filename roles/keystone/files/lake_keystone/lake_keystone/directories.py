# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An authority for each directory.

Keystone tells libldap, for the whole process, which authority is trusted, and libldap reads that once: with several
directories the first one's authority is the only one. Here each connection has what its own directory's settings say.
"""

from __future__ import annotations

import functools
from typing import Any

import ldap
import ldappool
from keystone.identity.backends.ldap import common


def trust(connection: Any, ca_file: str) -> None:
    """Have ``connection``, which is not open yet, verify the server by ``ca_file`` alone, after a loss too."""
    connection.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
    connection.set_option(ldap.OPT_X_TLS_CACERTFILE, ca_file)
    connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)  # makes the options before it count


class Connector(ldappool.StateConnector):
    """A connection of the pool. The options stand before the pool opens it."""

    def __init__(self, ca_file: str, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        trust(self, ca_file)


class Plain(common.PythonLDAPHandler):
    """A connection for one use: a person's password is tried with it."""

    def connect(self, url: str, *arguments: Any, **options: Any) -> None:
        """Prepare it; it is opened by its first use."""
        super().connect(url, *arguments, **options)
        trust(self.conn, _authority(url, arguments, options))


class Pooled(common.PooledLDAPHandler):
    """Connections that are kept, of each address its own."""

    def connect(self, url: str, *arguments: Any, **options: Any) -> None:
        """Choose the pool, or make it."""
        super().connect(url, *arguments, **options)
        self.conn_pool.connector_cls = functools.partial(Connector, _authority(url, arguments, options))


# Where Keystone puts the authority's file behind the address.
_PLACE = 3


def _authority(url: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> str:
    """The authority's file among what Keystone gives. ValueError where there is none, or no TLS from the beginning."""
    ca_file = options.get("tls_cacertfile") or (arguments[_PLACE] if len(arguments) > _PLACE else None)
    if not url.lower().startswith("ldaps://") or not ca_file:
        raise ValueError(f"the directory {url} needs an address with ldaps:// and tls_cacertfile: passwords go there")
    return str(ca_file)


def install() -> None:
    """Have Keystone use these connections."""
    common.PythonLDAPHandler = Plain
    common.PooledLDAPHandler = Pooled
