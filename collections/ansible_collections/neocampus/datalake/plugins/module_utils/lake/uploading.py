# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Large files into the lake, by the tus protocol: in pieces, side by side if wanted, gone on with after any cut.

What is under way is noted in a folder of the user's cache, so that the same call, of another process too, goes on with
it. `lake-upload` is the command.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .errors import AccessDenied, InvalidInput, LakeError, NotFound, StoreError

if TYPE_CHECKING:
    from .client import LakeClient

PIECE = 64 * 1024 * 1024  # of one request; what came of one that breaks off is kept
BLOCK = 1024 * 1024
PATIENCE = 300.0  # seconds without a byte
POLL = 0.5
VERSION = {"Tus-Resumable": "1.0.0"}

Progress = Callable[[int, int], None]
"""Called with the bytes that are in the lake, and all of them."""


class _Piece:
    """Bytes of a file, as a body that is read block by block."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        stream.seek(start)
        self._stream, self._left = stream, size

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


class Upload:
    """One file on its way; see LakeClient.upload_large."""

    def __init__(
        self,
        client: LakeClient,
        container: str,
        path: str | os.PathLike[str],
        metadata: Mapping[str, Any] | None,
        *,
        name: str | None,
        content_type: str | None,
        resume: bool,
        parallel: int,
        checksum: bool,
        progress: Progress | None,
        patience: float,
        renew: Callable[[], Any] | None,
    ) -> None:
        self._client, self._container, self._path = client, container, Path(path)
        self._metadata, self._content_type = dict(metadata or {}), content_type
        self._resume, self._checksum, self._patience = resume, checksum, patience
        self._progress, self._renew = progress, renew
        self._before = self._stat()
        self.size = self._before.st_size
        self._name = name or self._path.name
        self._ranges = _ranges(self.size, parallel)
        self._done = [0] * len(self._ranges)
        self._lock = threading.Lock()
        self._note = _notes() / f"{self._key()}.json"

    def send(self) -> dict[str, Any]:
        """Bring the file in; its metadata document."""
        place = self._places()
        with ThreadPoolExecutor(len(self._ranges)) as pool:
            sent = [pool.submit(self._send, number, one) for number, one in enumerate(place)]
            for one in sent:
                one.result()
        if _same(self._before) != _same(self._stat()):
            self._forget()
            raise InvalidInput(f"{str(self._path)!r} changed while it was sent: send it again")
        final = place[0] if len(place) == 1 else self._join(place)
        state = self._settled(final)
        self._forget()
        return self._client.get(self._container, str(state["object_id"]))

    # -- beginning ---------------------------------------------------------------------------------------------------

    def _places(self) -> list[str]:
        """The uploads to send to: those that were begun, or new ones."""
        known = self._known() if self._resume else None
        if known is not None:
            return known
        partial = {"Upload-Concat": "partial"} if len(self._ranges) > 1 else {"Upload-Metadata": self._described()}
        places = [self._begin({"Upload-Length": str(end - start), **partial}) for start, end in self._ranges]
        self._note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._note.write_text(json.dumps(places), encoding="utf-8")
        return places

    def _known(self) -> list[str] | None:
        try:
            places = json.loads(self._note.read_text(encoding="utf-8"))
            for number, place in enumerate(places):
                self._done[number] = self._offset(place)
            return list(places) if len(places) == len(self._ranges) else None
        except (OSError, ValueError, NotFound, InvalidInput):  # none, or given up meanwhile
            self._done = [0] * len(self._ranges)
            return None

    def _begin(self, headers: Mapping[str, str]) -> str:
        path = self._client.path(self._container, "uploads")
        with self._client.open("POST", path, None, {**VERSION, **headers}) as answer:
            return str(answer.headers["Location"])

    def _described(self) -> str:
        given = {"filename": self._name, "metadata": json.dumps(self._metadata)}
        if self._content_type:
            given["filetype"] = self._content_type
        if self._checksum:
            given["sha256"] = self._sha256()
        return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in given.items())

    def _sha256(self) -> str:
        found = hashlib.sha256()
        with self._open() as stream:
            while block := stream.read(BLOCK):
                found.update(block)
        return found.hexdigest()

    # -- sending -----------------------------------------------------------------------------------------------------

    def _send(self, number: int, place: str) -> None:
        start, end = self._ranges[number]
        last, pause = time.monotonic(), 0.2
        with self._open() as stream:
            offset: int | None = None
            while True:
                before, token = self._done[number], self._client.token
                try:
                    offset = self._offset(place) if offset is None else offset
                    self._tell(number, offset)
                    if offset >= end - start:
                        return
                    size = min(PIECE, end - start - offset)
                    offset = self._patch(place, _Piece(stream, start + offset, size), offset, size)
                    self._tell(number, offset)
                except LakeError as error:
                    if self._renewed(error, token):
                        continue
                    if not _passing(error) or time.monotonic() - last > self._patience:
                        raise
                    offset = None  # it is asked for
                    time.sleep(pause)
                if self._done[number] > before:
                    last, pause = time.monotonic(), 0.2
                else:
                    pause = min(2 * pause, 5.0)

    def _renewed(self, error: LakeError, token: str | None) -> bool:
        """Whether there is another token, where this one has ended."""
        if self._renew is None or error.context.get("status") != 401:
            return False
        with self._lock:
            if self._client.token == token:
                self._renew()
            return self._client.token != token

    def _state(self, upload_id: str) -> dict[str, Any]:
        token = self._client.token
        try:
            return self._client.upload(upload_id)
        except LakeError as error:
            if not self._renewed(error, token):
                raise
            return self._client.upload(upload_id)

    def _patch(self, place: str, piece: _Piece, offset: int, size: int) -> int:
        headers = {
            **VERSION,
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(size),
        }
        with self._client.open("PATCH", self._client.path_of(place), piece, headers) as answer:
            return int(answer.headers["Upload-Offset"])

    def _offset(self, place: str) -> int:
        with self._client.open("HEAD", self._client.path_of(place), None, VERSION, repeat=True) as answer:
            return int(answer.headers["Upload-Offset"])

    def _tell(self, number: int, offset: int) -> None:
        with self._lock:
            changed = self._done[number] != offset
            self._done[number] = offset
            if changed and self._progress:
                self._progress(sum(self._done), self.size)

    # -- ending ------------------------------------------------------------------------------------------------------

    def _join(self, places: Sequence[str]) -> str:
        joined = {self._state(place.rpartition("/")[2]).get("joined") for place in places}
        [only] = joined if len(joined) == 1 else [None]
        if only:  # by an attempt whose answer was lost
            return f"{places[0].rpartition('/')[0]}/{only}"
        return self._begin({"Upload-Concat": "final;" + " ".join(places), "Upload-Metadata": self._described()})

    def _settled(self, place: str) -> dict[str, Any]:
        """How the upload stands once it is an object. InvalidInput where it failed."""
        last, upload_id = time.monotonic(), place.rpartition("/")[2]
        while True:
            state = self._state(upload_id)
            if state["status"] == "done":
                return state
            if state["status"] != "assembling":
                self._forget()
                raise InvalidInput(f"the upload of {str(self._path)!r} {state['status']}: {state['error']}", **state)
            if time.monotonic() - last > max(self._patience, self.size / 10e6):  # it may have to be read once more
                raise StoreError(f"the upload of {str(self._path)!r} is whole, but not an object yet", **state)
            time.sleep(POLL)

    def _forget(self) -> None:
        self._note.unlink(missing_ok=True)

    # -- the file ----------------------------------------------------------------------------------------------------

    def _open(self) -> BinaryIO:
        try:
            return open(self._path, "rb")
        except OSError as error:
            raise InvalidInput(f"{str(self._path)!r} cannot be read: {error.strerror}") from error

    def _stat(self) -> os.stat_result:
        try:
            return self._path.stat()
        except OSError as error:
            raise InvalidInput(f"{str(self._path)!r} cannot be read: {error.strerror}") from error

    def _key(self) -> str:
        """What has to be the same for an upload to be gone on with."""
        given: list[Any] = [
            self._client.url,
            self._container,
            str(self._path.resolve()),
            _same(self._before),
            self._name,
        ]
        given += [self._metadata, self._content_type, self._ranges, self._checksum]
        return hashlib.sha256(json.dumps(given, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _same(found: os.stat_result) -> tuple[int, int]:
    return found.st_size, found.st_mtime_ns


def _ranges(size: int, parallel: int) -> list[tuple[int, int]]:
    """Bounds of the parts that are sent side by side, none of them empty."""
    if not 1 <= parallel <= 32:
        raise InvalidInput("parallel: 1 to 32 parts can be sent side by side")
    count = max(1, min(parallel, size))
    bounds = [size * number // count for number in range(count + 1)]
    return list(zip(bounds, bounds[1:]))  # noqa: B905 (3.9)


def _notes() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neocampus-lake" / "uploads"


def _passing(error: LakeError) -> bool:
    """Whether to ask for the offset and go on: something was away, or another request was there first."""
    if isinstance(error, StoreError):
        return error.retriable
    status, code = error.context.get("status"), error.context.get("code")
    return status in (408, 409, 423) or code == "incomplete_body"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `lake-upload`: files, however large, into a container; the variables of an openrc file say which lake
    and who. An upload that was broken off is gone on with by the same command."""
    from .client import LakeClient

    parser = argparse.ArgumentParser(prog="lake-upload", description=main.__doc__)
    parser.add_argument("container")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--parallel", type=int, default=1, metavar="N", help="parts of a file sent side by side (1)")
    parser.add_argument("--metadata", type=json.loads, default={}, help="fields of the document, as JSON")
    parser.add_argument("--content-type", metavar="TYPE")
    parser.add_argument("--no-resume", action="store_true", help="begin anew")
    parser.add_argument("--no-checksum", action="store_true", help="don't read each file once before, for its SHA-256")
    given = parser.parse_args(arguments)
    try:
        environment = {name: os.environ[name] for name in ("LAKE_API_URL", "OS_USERNAME", "OS_PASSWORD")}
        project = os.environ["OS_PROJECT_NAME"]
    except KeyError as error:
        sys.stderr.write(f"lake-upload: {error.args[0]} is not set: source an openrc file first\n")
        return 2
    try:
        client = LakeClient(environment["LAKE_API_URL"], ca_file=os.environ.get("OS_CACERT"))

        def log_in() -> None:
            client.log_in(environment["OS_USERNAME"], environment["OS_PASSWORD"], project)

        log_in()
        for path in given.files:
            document = client.upload_large(
                given.container,
                path,
                given.metadata,
                content_type=given.content_type,
                resume=not given.no_resume,
                parallel=given.parallel,
                checksum=not given.no_checksum,
                renew=log_in,
                progress=_shown(path) if sys.stderr.isatty() else None,
            )
            sys.stdout.write(f"{path}: object {document['swift_object_id']}, {document['size']} bytes\n")
    except LakeError as error:
        again = "" if isinstance(error, (InvalidInput, AccessDenied)) else "; the same command goes on with it"
        sys.stderr.write(f"lake-upload: {error}{again}\n")
        return 1
    return 0


def _shown(path: Path) -> Progress:
    started = time.monotonic()

    def show(done: int, total: int) -> None:
        rate = done / max(time.monotonic() - started, 0.1) / 2**20
        end = "\n" if done == total else ""
        sys.stderr.write(f"\r{path}: {100 * done // max(total, 1):3} %  {done >> 20} MiB  {rate:.0f} MiB/s{end}")
        sys.stderr.flush()

    return show
