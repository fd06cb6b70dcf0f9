# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks servers for TLS, in old and new versions, and speaks to them without it. Run in the network of a client of them.

Standard input: a JSON list of `{address, port, name, starttls, ca}`. Standard output: a list of what was seen of each:
`{version, trusted, old: [accepted old versions], plain: null or what was answered}`.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

SECONDS = 5.0
OLD = {"TLS 1.0": ssl.TLSVersion.TLSv1, "TLS 1.1": ssl.TLSVersion.TLSv1_1}
_POSTGRES_HELLO = b"user\0postgres\0database\0postgres\0\0"
_MONGODB_HELLO = b"\x10isMaster\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0"
_MONGODB_BODY = b"\0\0\0\0\0" + struct.pack("<i", len(_MONGODB_HELLO) + 4) + _MONGODB_HELLO
PLAIN = {
    636: b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00",  # an anonymous bind
    3306: b"",  # the server speaks first
    5432: struct.pack(">ii", len(_POSTGRES_HELLO) + 8, 196608) + _POSTGRES_HELLO,
    6379: b"PING\r\n",
    7687: b"\x60\x60\xb0\x17" + struct.pack(">4i", 0x0404, 4, 0, 0),  # Bolt's handshake
    27017: struct.pack("<4i", 16 + len(_MONGODB_BODY), 1, 0, 2013) + _MONGODB_BODY,
}
"""How a client of each port begins that uses no TLS; others speak HTTP."""
HTTP = b"GET / HTTP/1.0\r\nHost: lake\r\n\r\n"


def connect(target: dict[str, Any]) -> socket.socket:
    """A connection, before TLS. Errors: OSError."""
    return socket.create_connection((target["address"], target["port"]), SECONDS)


def start_tls(plain: socket.socket, protocol: str | None) -> None:
    """Ask for TLS where the protocol begins without. Errors: OSError where the server has none."""
    if protocol == "postgres":
        plain.sendall(struct.pack(">ii", 8, 80877103))  # SSLRequest
        if plain.recv(1) != b"S":
            raise OSError("the server offers no TLS")
    elif protocol == "mysql":
        greeting = plain.recv(4096)
        if greeting[4:5] != b"\x0a":
            raise OSError("no greeting of a MySQL server")
        # SSLRequest: capabilities PROTOCOL_41, SSL, SECURE_CONNECTION, PLUGIN_AUTH; largest packet; character set
        body = struct.pack("<IIB23x", 0x00088A00 | 0x200, 1 << 24, 45)
        plain.sendall(struct.pack("<I", len(body))[:3] + b"\x01" + body)


def shake(target: dict[str, Any], context: ssl.SSLContext) -> str | None:
    """The version of TLS that was agreed upon. Errors: OSError (ssl.SSLError is one)."""
    with connect(target) as plain:
        start_tls(plain, target["starttls"])
        with context.wrap_socket(plain, server_hostname=target["name"]) as encrypted:
            return encrypted.version()


def old(target: dict[str, Any]) -> list[str]:
    """Old versions that the server takes."""
    taken = []
    for name, version in OLD.items():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")  # this machine would not offer them otherwise
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = context.maximum_version = version
        with contextlib.suppress(OSError):  # refused, as it has to be
            shake(target, context)
            taken.append(name)
    return taken


def refused(port: int, answer: bytes) -> bool:
    """Whether an answer to who uses no TLS is none, an alert of TLS, or a refusal in the words of the protocol."""
    if not answer or answer[0] == 0x15 or answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400")):
        return True
    return port == 5432 and answer[:1] == b"E" and b"C28000" in answer  # no entry in pg_hba.conf lets it in


def mysql_login(plain: socket.socket) -> bytes:
    """What a MySQL server says to who logs in without TLS."""
    plain.recv(4096)
    body = struct.pack("<IIB23x", 0x00088200 | 0x200, 1 << 24, 45) + b"nobody\0" + b"\0" + b"mysql_native_password\0"
    plain.sendall(struct.pack("<I", len(body))[:3] + b"\x01" + body)
    return plain.recv(4096)


def without(target: dict[str, Any]) -> str | None:
    """What the server answers to who does not use TLS; None where it refuses."""
    try:
        with connect(target) as plain:
            if target["starttls"] == "mysql":
                answer = mysql_login(plain)
                # It asks who it is before it asks how: nobody is refused. That nobody else comes in without TLS either
                # is tried with the accounts that there are, by the gold zone's tests.
                return None if b"insecure transport" in answer or b"#28000" in answer else repr(answer[:60])
            plain.sendall(PLAIN.get(target["port"], HTTP))
            answer = plain.recv(4096)
    except ConnectionResetError:
        return None
    except TimeoutError:
        return None  # it waits for TLS
    return None if refused(target["port"], answer) else repr(answer[:60])


def look(target: dict[str, Any]) -> dict[str, Any]:
    """All that is to be seen of one server."""
    context = ssl.create_default_context(cafile=target["ca"])
    seen: dict[str, Any] = {"version": None, "trusted": "yes"}
    try:
        seen["version"] = shake(target, context)
    except OSError as error:
        seen["trusted"] = str(error)
        return {**seen, "old": [], "plain": None}
    return {**seen, "old": old(target), "plain": without(target)}


if __name__ == "__main__":
    with ThreadPoolExecutor(8) as pool:
        json.dump(list(pool.map(look, json.load(sys.stdin))), sys.stdout)
