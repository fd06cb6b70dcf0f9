# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What parsers of dumps read from: a stream whose beginning can be looked at, and that is unpacked where it is gzip."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol, TypeVar

from ..errors import ParseError

T = TypeVar("T")

CHUNK = 256 * 1024
_GZIP = b"\x1f\x8b"
_GZIP_BITS = 31  # zlib: a gzip header and trailer are expected


class Readable(Protocol):
    """What parsers read from."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; none at the end only."""


def opened(stream: Readable) -> Input:
    """The stream as an Input, unless it is one already."""
    return stream if isinstance(stream, Input) else Input(stream)


def whole(source: Input, records: Iterator[T]) -> Iterator[T]:
    """The records that are made of the source. Errors: ParseError, also where the packed file ended too early."""
    try:
        yield from records
    except ParseError:
        if not source.cut:
            raise
    if source.cut:
        raise ParseError("the gzip file ends too early")


class Input:
    """Bytes of an object, unpacked where they are gzip (in a few members, too), never more in memory than is asked for.

    `cut`: the packed file ended too early; what could be unpacked of it was given.
    Errors when it is read: ParseError where what is packed is damaged.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._packed = stream.read(CHUNK)
        self._unpack = zlib.decompressobj(_GZIP_BITS) if self._packed[:2] == _GZIP else None
        self._head = b""
        self._empty = not self._packed
        self.cut = False

    def head(self, size: int) -> bytes:
        """The next `size` bytes (fewer where there are no more), which stay to be read."""
        while len(self._head) < size:
            data = self._next(size - len(self._head))
            if not data:
                break
            self._head += data
        return self._head[:size]

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; none at the end only."""
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._next(size)

    def _next(self, size: int) -> bytes:
        if self._unpack is None:
            if self._packed:
                data, self._packed = self._packed[:size], self._packed[size:]
                return data
            return self._stream.read(size)
        while not self._empty:
            try:
                data = self._unpack.decompress(self._packed, size)
            except zlib.error as error:
                raise ParseError(f"the gzip file is damaged: {error}") from None
            self._packed = self._unpack.unused_data if self._unpack.eof else self._unpack.unconsumed_tail
            if not self._packed and not data:
                self._packed = self._stream.read(CHUNK)
                if not self._packed:
                    self._empty = True
                    self.cut = not self._unpack.eof
            if self._unpack.eof:
                self._next_member()
            if data:
                return data
        return b""

    def _next_member(self) -> None:
        """Another member may follow, or zeros that fill up a block."""
        while len(self._packed) < 2:
            more = self._stream.read(CHUNK)
            if not more:
                break
            self._packed = (self._packed + more).lstrip(b"\0")
        self._packed = self._packed.lstrip(b"\0")
        if self._packed[:2] == _GZIP:
            self._unpack = zlib.decompressobj(_GZIP_BITS)
        elif self._packed:
            raise ParseError("the gzip file is damaged: something else follows what is packed")
        else:
            self._empty = True
