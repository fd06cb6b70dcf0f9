# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kerberos tickets, as MIT Kerberos accepts them with the keys of a keytab. No key distribution centre is asked.

``python -m lake_keystone.tickets <keytab>`` says whether a keytab can be used, and for whom.
"""

from __future__ import annotations

import sys

import gssapi
from gssapi.raw import set_neg_mechs

from lake_keystone.negotiate import Accepted, Refused

_SPNEGO = gssapi.OID.from_int_seq("1.3.6.1.5.5.2")
_KERBEROS = gssapi.MechType.kerberos
_SERVICE = "HTTP/"


class Tickets:
    """Accepts tickets for the services of a keytab. ``GSSError`` where it can't be read, or has no key."""

    def __init__(self, keytab: str) -> None:
        self._credentials = gssapi.Credentials(
            usage="accept", mechs=[_KERBEROS, _SPNEGO], store={"keytab": f"FILE:{keytab}"}
        )
        # Whatever other mechanisms the host's library has: people show Kerberos tickets.
        set_neg_mechs(self._credentials, [_KERBEROS])

    def __call__(self, token: bytes) -> Accepted:
        """Whose ticket it is. ``Refused`` where it is none, for another service or host, too old, or sent before."""
        context = gssapi.SecurityContext(creds=self._credentials, usage="accept")
        try:
            answer = context.step(token)
            _check(context)  # where the ticket was wrong, this raises what the step found: it had an answer to send
            return Accepted(str(context.initiator_name), answer)
        except gssapi.exceptions.GSSError as error:
            raise Refused(" ".join(str(error).split())) from error


def _check(context: gssapi.SecurityContext) -> None:
    if not context.complete:
        raise Refused("the client wants to negotiate further, which one request can't; it has to begin with Kerberos")
    if context.mech != _KERBEROS:
        raise Refused(f"the client negotiated {context.mech} instead of Kerberos")
    if not str(context.target_name).startswith(_SERVICE):
        raise Refused(f"the ticket is for {context.target_name}, not for {_SERVICE}<host>")


def main() -> None:
    """Say whether the keytab can be used. Ends with a message where it can't."""
    try:
        Tickets(sys.argv[1])
    except gssapi.exceptions.GSSError as error:
        sys.exit(f"{sys.argv[1]} is no keytab with a key: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
