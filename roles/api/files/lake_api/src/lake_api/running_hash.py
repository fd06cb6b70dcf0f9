# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Checksums whose state can be kept and gone on with, by another process.

hashlib's objects can't be saved. libcrypto, on which hashlib rests, has the same functions with a state that is a plain
structure (SHA256_CTX, MD5_CTX of openssl/sha.h, openssl/md5.h): that structure's bytes are the state. Where there is no
such library, `available()` says so, and who needs the checksum reads the content again.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import hashlib
import logging
from typing import Any

log = logging.getLogger("lake_api.running_hash")

_WORD = ctypes.c_uint32


class _Sha256(ctypes.Structure):
    _fields_ = [("h", _WORD * 8), ("n", _WORD * 2), ("data", _WORD * 16), ("num", _WORD), ("md_len", _WORD)]


class _Md5(ctypes.Structure):
    _fields_ = [("h", _WORD * 4), ("n", _WORD * 2), ("data", _WORD * 16), ("num", _WORD)]


_FORMS: dict[str, tuple[type[ctypes.Structure], str, int]] = {
    "sha256": (_Sha256, "SHA256", 32),
    "md5": (_Md5, "MD5", 16),
}
_PROBE = bytes(range(256)) * 3


class RunningHash:
    """A checksum (sha256 or md5) from its start, or from a `state` that another one had. May be used where
    `available()`; one thread at a time."""

    def __init__(self, name: str, state: bytes | None = None) -> None:
        form, prefix, self._size = _FORMS[name]
        library = _library()
        self.name = name
        self._update, self._final = library[f"{prefix}_Update"], library[f"{prefix}_Final"]
        if state is None:
            self._context = form()
            library[f"{prefix}_Init"](ctypes.byref(self._context))
        else:
            self._context = form.from_buffer_copy(state)

    def update(self, data: bytes) -> None:
        """Add bytes. Other threads run meanwhile."""
        self._update(ctypes.byref(self._context), data, ctypes.c_size_t(len(data)))

    def state(self) -> bytes:
        """The state as it is now."""
        return bytes(self._context)

    def hexdigest(self) -> str:
        """The checksum of what was added so far."""
        context = type(self._context).from_buffer_copy(self.state())
        digest = (ctypes.c_ubyte * self._size)()
        self._final(digest, ctypes.byref(context))
        return bytes(digest).hex()


@functools.cache
def _library() -> Any:
    for name in ("libcrypto.so.3", ctypes.util.find_library("crypto")):
        if name:
            try:
                return ctypes.CDLL(name)
            except OSError as error:
                log.info("%s can't be used: %s", name, error)
    raise OSError("there is no libcrypto")


@functools.cache
def available() -> bool:
    """Whether running checksums are right here: tried once, over a kept state, against hashlib."""
    try:
        return all(_right(name) for name in _FORMS)
    except (OSError, AttributeError) as error:
        log.warning("no running checksums: %s; contents are read again where one is asked for", error)
        return False


def _right(name: str) -> bool:
    first = RunningHash(name)
    first.update(_PROBE[:100])
    second = RunningHash(name, first.state())
    second.update(_PROBE[100:])
    return second.hexdigest() == hashlib.new(name, _PROBE, usedforsecurity=False).hexdigest()
