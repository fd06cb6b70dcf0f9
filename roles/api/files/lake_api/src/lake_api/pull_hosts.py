# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Which servers may be pulled from, and what is known of each: address, host key, credentials, times.

A server is let in by the narrower of the networks that `allowed` and `refused` name; loopback, link-local addresses and
the like are refused by themselves, as narrowly as they are. A name is resolved once for a connection, each of its
addresses is looked at, and the connection is made to such an address: a name that changes meanwhile changes nothing.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import unquote, urlsplit

import anyio
import asyncssh
from cronsim import CronSim, CronSimError

from .errors import bad_request, forbidden

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

ALGORITHMS: tuple[tuple[str, ...], ...] = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)
"""Kinds of host keys, in the order in which they are asked for: a server shows one of them."""

_ALWAYS_REFUSED = tuple(
    ip_network(one)
    for one in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/127",
        "fe80::/10",
        "ff00::/8",
        "64:ff9b::/96",
        "2002::/16",
        "2001::/32",
    )
)
_FINGERPRINT = re.compile(r"SHA256:([A-Za-z0-9+/]{43})=?")
_INTERVAL = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class HostKey:
    """The key that a server has to show: itself, or its fingerprint."""

    fingerprint: str
    algorithms: tuple[tuple[str, ...], ...] = ALGORITHMS

    def is_of(self, key: asyncssh.SSHKey) -> bool:
        """Whether a key is this one."""
        return key.get_fingerprint("sha256") == self.fingerprint


def host_key(given: str) -> HostKey:
    """From a fingerprint (`SHA256:…`), or a line as known_hosts or `ssh-keyscan` have it. ApiError 400."""
    found = _FINGERPRINT.fullmatch(given.strip())
    if found:
        return HostKey(f"SHA256:{found[1]}")
    words = given.strip().split()
    for start, word in enumerate(words[:-1]):
        kinds = [group for group in ALGORITHMS if word in group or (word == "ssh-rsa" and "rsa" in group[0])]
        if kinds:
            try:
                key = asyncssh.import_public_key(" ".join(words[start : start + 2]))
            except asyncssh.KeyImportError:
                break
            return HostKey(key.get_fingerprint("sha256"), tuple(kinds))
    raise bad_request(
        "host_key: the server's key is expected, as a fingerprint (SHA256:…, from ssh-keygen -lf on the server) or as "
        "a line of known_hosts (kinds: ed25519, ecdsa, rsa); ask the server's administrator for it",
        "invalid_host_key",
    )


def private_key(text: str, passphrase: str | None) -> asyncssh.SSHKey:
    """A private key. ApiError 400, which repeats nothing of it."""
    try:
        return asyncssh.import_private_key(text, passphrase)
    except asyncssh.KeyImportError:
        raise bad_request(
            "private_key: is no private key (OpenSSH or PEM), or one that is encrypted otherwise than with this "
            "passphrase",
            "invalid_private_key",
        ) from None


@dataclass(frozen=True)
class Place:
    """Where files are."""

    host: str
    port: int
    user: str | None
    path: str


def place(url: str) -> Place:
    """From sftp://user@host:port/path. ApiError 400; a password in it is refused, for it would be in logs."""
    try:
        parts = urlsplit(url)
        port = parts.port or 22
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("sftp", "ssh") or not parts.hostname or parts.password or parts.fragment:
        raise bad_request(
            "url: sftp://user@host:port/path is expected, with the password, if there is one, in the field password"
        )
    path = unquote(parts.path + (f"?{parts.query}" if parts.query else ""))
    return Place(parts.hostname, port, unquote(parts.username) if parts.username else None, path or "/")


class Guard:
    """Says which addresses may be connected to."""

    def __init__(self, allowed: Iterable[Network], refused: Iterable[Network]) -> None:
        self._allowed = list(allowed)
        self._refused = [*refused, *_ALWAYS_REFUSED]

    def allows(self, address: Address) -> bool:
        """Whether the narrowest network that has the address is one that is allowed; of two equal ones the refused
        decides."""
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return _narrowest(self._allowed, address) > _narrowest(self._refused, address)

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a server. ApiError 400 where it has none, 403 where one of them is refused."""
        try:
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise bad_request(f"host: {host[:200]!r} can't be found; check its name", "unknown_host") from None
        addresses = list(dict.fromkeys(str(one[4][0]).partition("%")[0] for one in found))
        if not addresses or not all(self.allows(ip_address(address)) for address in addresses):
            raise forbidden(
                f"the lake may not connect to {host[:200]!r}; ask its administrator to allow the server's network"
            )
        return addresses


def _narrowest(networks: Sequence[Network], address: Address) -> int:
    return max((one.prefixlen for one in networks if one.version == address.version and address in one), default=-1)


def next_time(schedule: str, after: datetime, least_seconds: int) -> datetime:
    """When a schedule, a cron expression (UTC) or an interval such as 15m, 6h, 1d, comes next. ApiError 400, also where
    that is more often than may be."""
    interval = _INTERVAL.fullmatch(schedule.strip())
    if interval:
        seconds = int(interval[1]) * _SECONDS[interval[2]]
        if seconds < least_seconds or seconds > 366 * 86400:
            raise bad_request(f"schedule: at least {least_seconds} s and at most a year lie between two runs")
        return after + timedelta(seconds=seconds)
    if len(schedule.split()) != 5:
        raise bad_request(
            "schedule: a cron expression with five fields (UTC, e.g. 15 2 * * *) or an interval (e.g. 15m, 6h, 1d) is "
            "expected"
        )
    try:
        times = CronSim(schedule, after)
        first, second = next(times), next(times)
    except (CronSimError, StopIteration):
        raise bad_request(f"schedule: {schedule[:100]!r} is no cron expression that ever comes") from None
    if (second - first).total_seconds() < least_seconds:
        raise bad_request(f"schedule: at least {least_seconds} s lie between two runs")
    return first


@dataclass(frozen=True)
class Pattern:
    """Which files of a server: a path with * ? [ ] and **, or a file, or a folder."""

    base: str
    """The folder, or file, below which all are."""
    parts: tuple[str, ...]
    """Patterns for what comes after the base; none: the base itself, or what is in it."""
    recursive: bool

    @classmethod
    def of(cls, path: str, recursive: bool) -> Pattern:
        """From a path as it was given. ApiError 400."""
        if not path or "\x00" in path or len(path) > 4096:
            raise bad_request("path: a path with at most 4096 characters is expected")
        root = "/" if path.startswith("/") else ""
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise bad_request("path: may not have .. in it")
        fixed = next((number for number, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
        return cls(root + "/".join(parts[:fixed]) or ".", tuple(parts[fixed:]), recursive or "**" in parts)

    def takes(self, below: Sequence[str]) -> bool:
        """Whether a file is meant, by its path below the base."""
        if not self.parts:
            return self.recursive or len(below) == 1
        if self.recursive and "**" not in self.parts:
            return any(_matches(below[start:], self.parts) for start in range(len(below)))
        return _matches(below, self.parts)

    def enters(self, below: Sequence[str]) -> bool:
        """Whether there may be such files in a folder, by its path below the base."""
        if self.recursive:
            return True
        return len(below) < len(self.parts) and _matches(below, self.parts[: len(below)])


def _matches(names: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(_matches(names[start:], patterns[1:]) for start in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], patterns[0]) and _matches(names[1:], patterns[1:])
