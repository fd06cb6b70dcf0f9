# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log-in with a Kerberos ticket: SPNEGO (RFC 4559) in front of Keystone's method ``kerberos``.

A request for a token (``POST /v3/auth/tokens``) whose methods name ``kerberos`` must have a ticket for the service
``HTTP``. Its principal's name, and the domain that stands for its realm, are what Keystone's own plugin then gets as
``REMOTE_USER`` and ``REMOTE_DOMAIN``. No other request has these variables, whatever a server before this one says.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

# What Keystone itself takes of a body (oslo.middleware's sizelimit): a longer one is refused there.
LONGEST_BODY = 114688
_PATH = "/v3/auth/tokens"
_OF_WHO = ("REMOTE_USER", "REMOTE_DOMAIN", "AUTH_TYPE")
_TICKET = re.compile(r"negotiate +([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)
# A person: one component. "user/admin" and "host/name" are other principals than the person "user".
_PERSON = re.compile(r"(?P<name>[^/@\\\s]+)@(?P<realm>[^/@\\\s]+)")

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class Refused(Exception):
    """A ticket that is not accepted; says why, for the log."""


class Accepted(NamedTuple):
    """Whose ticket it was, and what proves to the client that it spoke with the server that it meant."""

    principal: str
    answer: bytes | None


class Negotiate:
    """Puts the ticket's user where Keystone looks for it.

    ``accept`` is given a ticket (SPNEGO's or Kerberos' own token) and gives whose it is, or raises ``Refused``;
    ``domains`` has the domain of Keystone that each realm's people are in.
    """

    def __init__(
        self, application: Application, accept: Callable[[bytes], Accepted], domains: Mapping[str, str]
    ) -> None:
        self._application, self._accept, self._domains = application, accept, domains

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, as WSGI has it."""
        for variable in _OF_WHO:
            environ.pop(variable, None)
        if not _asks_for_kerberos(environ):
            return self._application(environ, start_response)
        given = _TICKET.fullmatch(environ.get("HTTP_AUTHORIZATION", "").strip())
        if given is None:
            return _challenge(start_response, "Send a Kerberos ticket: Authorization: Negotiate")
        try:
            accepted = self._accept(base64.b64decode(given[1], validate=True))
            environ.update(self._who(accepted.principal))
        except (Refused, binascii.Error) as error:
            log.warning("no log-in by Kerberos: %s", error)
            return _challenge(
                start_response, "The Kerberos ticket is not accepted: get a new one (kinit), and check the clock"
            )
        return self._application(environ, _with_answer(start_response, accepted.answer))

    def _who(self, principal: str) -> dict[str, str]:
        person = _PERSON.fullmatch(principal)
        if person is None:
            raise Refused(f"{principal!r} is no person's principal")
        domain = self._domains.get(person["realm"])
        if domain is None:
            raise Refused(f"the realm of {principal!r} is none of {', '.join(self._domains)}")
        return {"REMOTE_USER": person["name"], "REMOTE_DOMAIN": domain, "AUTH_TYPE": "Negotiate"}


def _asks_for_kerberos(environ: Environ) -> bool:
    """Whether it is a request for a token by this method. Its body can be read again."""
    if environ["REQUEST_METHOD"] != "POST" or environ.get("PATH_INFO", "").rstrip("/") != _PATH:
        return False
    length = environ.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or int(length) > LONGEST_BODY:
        return False
    body = environ["wsgi.input"].read(int(length))
    environ["wsgi.input"] = io.BytesIO(body)
    try:
        methods = json.loads(body)["auth"]["identity"]["methods"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False  # Keystone says what is wrong with it
    return isinstance(methods, list) and "kerberos" in methods


def _challenge(start_response: StartResponse, message: str) -> Iterable[bytes]:
    """401, in Keystone's form of an error."""
    body = json.dumps({"error": {"code": 401, "title": "Unauthorized", "message": message}}).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("WWW-Authenticate", "Negotiate"),
        ("Vary", "X-Auth-Token"),
    ]
    start_response("401 Unauthorized", headers)
    return [body]


def _with_answer(start_response: StartResponse, answer: bytes | None) -> StartResponse:
    """Tell the client, besides what Keystone says, that its ticket was understood."""
    if answer is None:
        return start_response

    def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
        proof = ("WWW-Authenticate", f"Negotiate {base64.b64encode(answer).decode()}")
        return start_response(status, [*headers, proof], *rest)

    return start
