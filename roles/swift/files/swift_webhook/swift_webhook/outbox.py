# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The durable outbox: events that were acknowledged to a client and are not yet delivered.

It is a folder of segments, `<ns since epoch>-<pid>-<random>.events`, each written by one process only and holding
one event per line (the library's `Event.to_line`: CRC-32 and JSON). The writer holds an exclusive `flock` on its
segment as long as it may still append: whoever gets a shared lock knows that the segment is complete. A lock ends
with its process, so a killed writer leaves a complete segment, perhaps with a torn last line, which nobody was told
about.

The relay says up to when everything is delivered, by the time of modification of the file `.delivered` in that folder:
a segment that was appended to later has events that wait. So a writer knows how long events wait from the same look at
the folder that tells it their size, without reading any, and however long its own segment is open.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from neocampus_lake.errors import InvalidInput, StoreError
from neocampus_lake.events import Event

SUFFIX = ".events"
MARK = ".delivered"
_CHECK_SECONDS = 1.0
# Bytes that an event may need: a trial without data fails where an event would.
_ROOM_FOR_ONE = 8192


class OutboxUnavailable(StoreError):
    """The outbox cannot take an event now: it is full, or cannot be written."""


class SegmentWriter:
    """Appends lines durably to a series of segments of its own. For one thread of one process.

    directory: the outbox; it must exist.
    segment_bytes: a segment that is this long is closed, and the next append starts another one.
    max_bytes: above this size of the whole folder, appends are refused.
    max_age: where events wait for more seconds than this, appends are refused; 0: however long they wait.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        segment_bytes: int = 8 << 20,
        max_bytes: int = 1 << 30,
        max_age: float = 0.0,
    ) -> None:
        self.directory = Path(directory)
        self.segment_bytes = segment_bytes
        self.max_bytes = max_bytes
        self.max_age = max_age
        self._fd: int | None = None
        self._size = 0
        self._total = 0
        self._since: float | None = None
        self._checked: float | None = None

    def append(self, lines: Sequence[bytes]) -> None:
        """Write the lines; when it returns, they outlive a crash of the machine. No line, or an empty one, tries
        that it would work.

        Errors: OutboxUnavailable; then the lines do not count (some of them may be there all the same: delivery is
        at least once).
        """
        data = b"".join(lines)
        try:
            self._check_room(len(data))
            if self._fd is None:
                self._fd = self._new_segment()
                self._size = 0
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            os.fdatasync(self._fd)
            if os.fstat(self._fd).st_nlink == 0:
                raise OSError(errno.ENOENT, "the segment was removed while it was written")
        except OSError as error:
            self._abandon()
            raise OutboxUnavailable(f"outbox {self.directory}: {error}", directory=str(self.directory)) from error
        self._size += len(data)
        self._total += len(data)
        if self._size >= self.segment_bytes:
            self.close()

    def close(self) -> None:
        """End the current segment: a reader may take it as complete."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def _check_room(self, more: int) -> None:
        more = max(more, _ROOM_FOR_ONE)
        now = time.monotonic()
        if self._checked is None or now - self._checked >= _CHECK_SECONDS or self._refusal(more):
            self._total, self._since = usage(self.directory)
            self._checked = now
        refusal = self._refusal(more)
        if refusal:
            self.close()  # once delivered it can be removed, and makes room
            raise OutboxUnavailable(
                f"outbox {self.directory}: {refusal}; is Airflow away, or the relay paused?",
                directory=str(self.directory),
            )

    def _refusal(self, more: int) -> str:
        """Why there is no room; empty where there is."""
        if self._total + more > self.max_bytes:
            return f"{self._total} bytes wait for delivery, {self.max_bytes} are allowed"
        if self.max_age and self._since is not None and time.time() - self._since > self.max_age:
            return f"events wait for delivery since {time.time() - self._since:.0f} s, {self.max_age:g} s are allowed"
        return ""

    def _new_segment(self) -> int:
        """Make a segment that is locked before anyone can see it, and whose name outlives a crash."""
        name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        hidden = self.directory / f".{name}"
        fd = os.open(hidden, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            os.fchmod(fd, 0o640)  # whatever the umask: the relay reads as a member of the group
            if os.geteuid() == 0:  # an administrator's: as if the proxy had made it
                folder = os.stat(self.directory)
                os.fchown(fd, folder.st_uid, folder.st_gid)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(hidden, self.directory / name)
            sync_directory(self.directory)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(hidden)
            raise
        return fd

    def _abandon(self) -> None:
        """Leave a segment whose end is not known: cut it to what was acknowledged, if that still works, and never
        append to it again."""
        if self._fd is None:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self._size)
        with contextlib.suppress(OSError):
            self.close()


@dataclass
class Chunk:
    """What was read of a segment.

    events: (event, offset of its line's end), in the order of the segment.
    end: offset up to which the segment was understood; the next read starts there.
    damaged: whole lines that are no events.
    complete: True when nothing can follow (then what is after `end` is the torn last line of a killed writer).
    """

    events: list[tuple[Event, int]] = field(default_factory=list)
    end: int = 0
    damaged: list[bytes] = field(default_factory=list)
    complete: bool = False


def read_segment(path: str | os.PathLike[str], offset: int = 0, *, max_bytes: int = 1 << 20) -> Chunk:
    """Read whole lines of a segment from an offset in bytes, about `max_bytes` of them. Errors: OSError."""
    with open(path, "rb") as file:
        ended = _lock_is_free(file.fileno())  # before reading: afterwards the writer could have appended
        file.seek(offset)
        data = file.read(max_bytes)
        if b"\n" not in data:
            data += file.readline()  # a line longer than the limit
        at_end = file.tell() >= os.fstat(file.fileno()).st_size
    chunk = Chunk(end=offset)
    for line in io.BytesIO(data):
        if not line.endswith(b"\n"):
            break
        chunk.end += len(line)
        try:
            chunk.events.append((Event.from_line(line), chunk.end))
        except InvalidInput:
            chunk.damaged.append(line)
    chunk.complete = ended and at_end
    return chunk


def segments(directory: str | os.PathLike[str]) -> list[str]:
    """Names of the segments, oldest first. Errors: OSError."""
    return sorted(name for name in os.listdir(directory) if name.endswith(SUFFIX) and not name.startswith("."))


def size(directory: str | os.PathLike[str]) -> int:
    """Bytes in the outbox. Errors: OSError."""
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # delivered and removed meanwhile
                total += entry.stat(follow_symlinks=False).st_size
    return total


def usage(directory: str | os.PathLike[str]) -> tuple[int, float | None]:
    """Bytes in the outbox, and since when (seconds since the epoch) its oldest event waits at most; None where none
    does. Errors: OSError."""
    total, until = 0, 0.0
    written: list[tuple[float, float]] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # delivered and removed meanwhile
                stat = entry.stat(follow_symlinks=False)
                total += stat.st_size
                if entry.name == MARK:
                    until = stat.st_mtime
                elif entry.name.endswith(SUFFIX) and stat.st_size:
                    written.append((created(entry.name), stat.st_mtime))
    return total, min((max(until, start) for start, end in written if end > until), default=None)


def created(name: str) -> float:
    """When a segment was made, in seconds since the epoch; 0 where its name does not tell."""
    start = name.lstrip(".").partition("-")[0]
    return int(start) / 1e9 if start.isdigit() else 0.0


def mark(directory: str | os.PathLike[str], until: float) -> None:
    """Say that everything that was committed up to this time (seconds since the epoch) is delivered. Not durable: after
    a crash it says less, until the relay is back. Errors: OSError."""
    path = Path(directory, MARK)
    try:
        os.utime(path, (until, until))
    except FileNotFoundError:
        path.touch(0o640)
        os.utime(path, (until, until))


def marked(directory: str | os.PathLike[str]) -> float:
    """What `mark` said last; 0 where it never did. Errors: OSError."""
    try:
        return os.stat(Path(directory, MARK)).st_mtime
    except FileNotFoundError:
        return 0.0


def undelivered(directory: str | os.PathLike[str], positions: dict[str, int]) -> Iterator[Event]:
    """Every event after the given positions (offsets in bytes by segment). Errors: OSError."""
    for name in segments(directory):
        offset = positions.get(name, 0)
        with contextlib.suppress(FileNotFoundError):
            while True:
                chunk = read_segment(Path(directory, name), offset)
                yield from (event for event, _end in chunk.events)
                if chunk.end == offset:
                    break
                offset = chunk.end


def remove_leftovers(directory: str | os.PathLike[str]) -> None:
    """Remove segments that a writer was killed over before anyone could see them. Errors: OSError."""
    for name in os.listdir(directory):
        if not (name.startswith(".") and name.endswith(SUFFIX)):
            continue
        path = Path(directory, name)
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime > 60 and _lock_is_free(file.fileno()):
                path.unlink()


def sync_directory(directory: str | os.PathLike[str]) -> None:
    """Make names that were added to or removed from a folder outlive a crash. Errors: OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _lock_is_free(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
