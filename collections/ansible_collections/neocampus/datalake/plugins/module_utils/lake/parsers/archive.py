# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives: zip, tar (plain or compressed by gzip, bzip2 or xz), and single files that are compressed so.

Nothing is unpacked to a path of an archive's own choosing: a member is only a name and a stream. What would grow
without bound is given up: how many members, how large together, how much larger than the archive, how deep archives may
nest.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import datetime, timezone
from typing import Any, BinaryIO, cast

from ..errors import InvalidInput, ParseError
from ..records import Member
from .report import RowErrors, report_of

MAX_MEMBERS = 10_000
MAX_BYTES = 100 * 1024**3
MAX_RATIO = 200
MAX_DEPTH = 3
FREE_BYTES = 64 * 1024**2
"""Below this many bytes in all the ratio is not looked at: small files of one letter are no attack."""
MAX_PATH = 1024

_ENTRY = 2048  # bytes of a zip's directory for one member, at most, on average
_SPOOLED = 16 * 1024**2
_UNSAFE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_COMPRESSIONS: tuple[tuple[bytes, Any, str], ...] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file), "gz"),
    (b"BZh", bz2.BZ2File, "bz2"),
    (b"\xfd7zXZ\x00", lzma.LZMAFile, "xz"),
)
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What these libraries raise on damaged files; the last three also for fields that make no sense."""


def parse(stream: BinaryIO, options: Mapping[str, Any]) -> Iterator[Member]:
    """The files in an archive, in its order; each has to be read before the next one is asked for.

    Options: `max_members`, `max_bytes` (of all members), `max_ratio` (of all members to the archive), `max_depth` (of
    archives in archives; how deep this one is, the object's `other_data.archive.depth` says).
    What is no plain file, or has a name that says nothing or points elsewhere, is left out and told, with its number.
    Errors: ParseError for what is no archive, is broken, or goes beyond a limit; members before that were good.
    """
    limits = _Limits(options)
    depth = _depth(options)
    if depth >= limits.depth:
        raise ParseError(f"an archive in {depth} archives: no deeper than {limits.depth} is opened")
    report = report_of(options)
    counted = _Counted(stream)
    reader = io.BufferedReader(counted, 256 * 1024)
    found = False
    try:
        for member in _members(reader, counted, str(options.get("filename") or ""), limits, report):
            found = True
            yield member
    except _BROKEN as error:
        raise ParseError(f"the archive is broken: {error}") from error
    if not found and report.count:
        first = report.items[0]
        raise ParseError(f"none of its {report.count} members can be taken: {first['message']}", first["line"])


class _Limits:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self.members = _positive(options, "max_members", MAX_MEMBERS)
        self.bytes = _positive(options, "max_bytes", MAX_BYTES)
        self.ratio = _positive(options, "max_ratio", MAX_RATIO)
        self.depth = _positive(options, "max_depth", MAX_DEPTH)
        self.seen = 0
        self.size = 0

    def around(self) -> _Limits:
        """Limits of what holds the members, and is larger than they are together."""
        outer = _Limits(self._options)
        outer.bytes += outer.bytes + 16 * 1024**2
        return outer

    def member(self) -> None:
        self.seen += 1
        if self.seen > self.members:
            raise ParseError(f"more than {self.members:,} members")

    def grow(self, count: int, compressed: int) -> None:
        """Notes bytes that came out while `compressed` went in."""
        self.size += count
        if self.size > self.bytes:
            raise ParseError(f"the members are over {self.bytes:,} bytes together")
        if self.size > FREE_BYTES and self.size > self.ratio * max(compressed, 1):
            raise ParseError(f"the members are more than {self.ratio} times as large as the archive")


def _positive(options: Mapping[str, Any], name: str, default: int) -> int:
    value = options.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInput(f"{name} is a number from 1 on, not {value!r:.40}")
    return value


def _depth(options: Mapping[str, Any]) -> int:
    other = (options.get("metadata") or {}).get("other_data") or {}
    archive = other.get("archive") if isinstance(other, Mapping) else None
    depth = archive.get("depth") if isinstance(archive, Mapping) else None
    return depth if isinstance(depth, int) and depth > 0 else 0


class _Counted(io.RawIOBase):
    """Counts what is read of the archive."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self.size += len(data)
        buffer[: len(data)] = data
        return len(data)


class _Content(io.RawIOBase):
    """A member's content, held to the limits while it is read."""

    def __init__(self, stream: Any, limits: _Limits, compressed: _Counted | None, size: int) -> None:
        self._stream = stream
        self._limits = limits
        self._compressed = compressed
        self._size = size  # of the archive, where it was read before

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except _BROKEN as error:
            raise ParseError(f"a member is broken: {error}") from error
        self._limits.grow(len(data), self._compressed.size if self._compressed else self._size)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _opener(
    opened: Callable[[Any], Any], entry: Any, limits: _Limits, compressed: _Counted | None, size: int
) -> Callable[[], BinaryIO]:
    """What gives a member's content."""

    def give() -> BinaryIO:
        try:
            stream = opened(entry)
        except _BROKEN as error:
            raise ParseError(f"a member is broken: {error}") from error
        return cast(BinaryIO, io.BufferedReader(_Content(stream, limits, compressed, size)))

    return give


def _members(
    reader: io.BufferedReader[Any], counted: _Counted, name: str, limits: _Limits, report: RowErrors
) -> Iterator[Member]:
    head = reader.peek(512)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        yield from _zip(reader, limits, report)
        return
    for magic, opener, extension in _COMPRESSIONS:
        if head.startswith(magic):
            with closing(opener(reader)) as plain:
                inner = io.BufferedReader(_Content(plain, limits.around(), counted, 0), 256 * 1024)
                if _is_tar(inner):
                    yield from _tar(inner, counted, limits, report)
                else:
                    yield _single(plain, inner, counted, name, extension, limits)
            return
    if _is_tar(reader) or head[:512] == bytes(512):  # a tar without members is blocks of zeros
        yield from _tar(reader, counted, limits, report)
        return
    raise ParseError("no zip or tar archive, nor a file compressed by gzip, bzip2 or xz")


def _is_tar(reader: io.BufferedReader[Any]) -> bool:
    return reader.peek(512)[257:262] == b"ustar" or _is_old_tar(reader.peek(512)[:512])


def _is_old_tar(block: bytes) -> bool:
    """Tar of before POSIX has no magic, only a sum of its header."""
    try:
        return len(block) == 512 and bool(tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").name)
    except tarfile.HeaderError:
        return False


def _single(
    plain: Any, inner: io.BufferedReader[Any], counted: _Counted, name: str, extension: str, limits: _Limits
) -> Member:
    limits.member()
    path = name.replace("\\", "/").rpartition("/")[2]
    if path.lower().endswith("." + extension):
        path = path[: -len(extension) - 1]
    return Member(
        path=path or "content",
        size=-1,
        open=_opener(lambda _entry: inner, None, limits, counted, 0),
    )


def _tar(reader: io.BufferedReader[Any], counted: _Counted, limits: _Limits, report: RowErrors) -> Iterator[Member]:
    with tarfile.open(fileobj=reader, mode="r|", errorlevel=2) as tar:
        for entry in tar:
            limits.member()
            if entry.isdir():
                continue
            problem = None if entry.isreg() else "a link, device or other special file"
            path = problem or _path_problem(entry.name)
            if path:
                report.add(limits.seen, f"{entry.name!r:.120}: {path}")
                continue
            yield Member(
                path=_normal(entry.name),
                size=entry.size,
                open=_opener(tar.extractfile, entry, limits, counted, 0),
                modified=_moment(entry.mtime),
            )


def _zip(reader: io.BufferedReader[Any], limits: _Limits, report: RowErrors) -> Iterator[Member]:
    """Its directory is at the end: the archive is kept on disk for as long as it takes."""
    with ExitStack() as stack:
        spool = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=_SPOOLED))
        shutil.copyfileobj(reader, spool, 1024 * 1024)
        size = spool.tell()
        _check_directory(cast(BinaryIO, spool), size, limits)
        archive = stack.enter_context(zipfile.ZipFile(cast(Any, spool)))
        for entry in archive.infolist():
            limits.member()
            if entry.is_dir():
                continue
            problem = "it is encrypted" if entry.flag_bits & 1 else _path_problem(entry.filename)
            if problem is None and (entry.external_attr >> 28) not in (0, 8):  # the file type of Unix modes
                problem = "a link, device or other special file"
            if problem is None and entry.compress_type not in (0, 8, 12, 14):
                problem = f"compressed in a way that is not known here ({entry.compress_type})"
            if problem:
                report.add(limits.seen, f"{entry.filename!r:.120}: {problem}")
                continue
            yield Member(
                path=_normal(entry.filename),
                size=entry.file_size,
                open=_opener(archive.open, entry, limits, None, size),
                modified=_zip_moment(entry.date_time),
            )


def _check_directory(file: BinaryIO, size: int, limits: _Limits) -> None:
    """Refuses a directory that would not fit in memory, before it is read. Its size stands in the record at the end of
    the archive (APPNOTE 4.3.14 and 4.3.16), which has 22 bytes and a comment of at most 65,535."""
    file.seek(max(0, size - 22 - 65_535))
    tail = file.read()
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) - end < 22:
        raise ParseError("the archive is broken: its end is missing")
    directory = int.from_bytes(tail[end + 12 : end + 16], "little")
    locator = tail[end - 20 : end] if end >= 20 else b""
    if locator.startswith(b"PK\x06\x07"):
        file.seek(min(int.from_bytes(locator[8:16], "little"), size))
        directory = max(directory % 0xFFFFFFFF, int.from_bytes(file.read(56)[40:48], "little"))
    if directory > limits.members * _ENTRY:
        raise ParseError(f"more than {limits.members:,} members, or names that are too long")
    file.seek(0)


def _path_problem(path: str) -> str | None:
    normal = _normal(path)
    if not normal:
        return "a name that says nothing"
    if _UNSAFE.search(path):
        return "a name with control characters"
    if len(path) > MAX_PATH:
        return f"a name of more than {MAX_PATH} characters"
    if ".." in normal.split("/"):
        return "a name that points out of the archive"
    return None


def _normal(path: str) -> str:
    parts = path.replace("\\", "/").split("/")
    if len(parts) > 1 and re.fullmatch("[A-Za-z]:", parts[0]):
        parts = parts[1:]
    return "/".join(part for part in parts if part not in ("", "."))


def _moment(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc)
    except (OverflowError, OSError, ValueError):
        return None


def _zip_moment(parts: tuple[int, int, int, int, int, int]) -> datetime | None:
    """Zip has local time without zone: it is taken as UTC."""
    try:
        return datetime(*parts, tzinfo=timezone.utc)
    except ValueError:
        return None
