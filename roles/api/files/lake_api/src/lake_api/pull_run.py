# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""One run of a pull: finds the files on the server, and brings those that are new or changed into the lake.

A small file is inserted as one that comes with a request; a larger one is a large upload, which is gone on with where
it was when the connection, this process or a part of the lake was lost. A file is known by path, size and time of
change: as long as these stay it is not fetched again.
"""

from __future__ import annotations

import logging
import posixpath
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import asyncssh
from neocampus_lake import documents
from neocampus_lake.errors import LakeError, present
from neocampus_lake.models import insertion_metadata

from . import forms
from .errors import ApiError, answer_of
from .identity import Identity
from .lake import Lake
from .own_account import use_credential
from .pull_hosts import HostKey, Pattern, host_key, private_key
from .pulls import Secrets
from .stores import blocking
from .tus import Described
from .upload_store import ASSEMBLING, CREATED, DONE, RECEIVING
from .uploads import Upload

log = logging.getLogger("lake_api.pull_run")

_BLOCK = 1024 * 1024
_BATCH = 100
_KEPT_ERRORS = 100
_MARGIN = timedelta(minutes=10)
_LOST = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.DisconnectError, ConnectionError, OSError)
_PASSING = (423, 429, 503)
"""Answers of the lake after which the same may go well later."""


class Refused(Exception):
    """The server can't be pulled from: trying again gives the same. The message is for who made the pull."""


class Gone(Exception):
    """The pull was removed, or another worker has it."""


class _Changed(Exception):
    """A file is another than when it was found."""


@dataclass(frozen=True)
class Found:
    """A file on the server."""

    path: str
    size: int
    mtime: int


@dataclass
class Run:
    """How a run goes."""

    started: datetime = field(default_factory=documents.utc)
    ended: datetime | None = None
    found: int = 0
    done: int = 0
    unchanged: int = 0
    failed: int = 0
    bytes: int = 0
    errors: list[dict[str, str]] = field(default_factory=list)
    error: str | None = None

    def fail(self, path: str, message: str) -> None:
        """Note what is wrong with a file."""
        self.failed += 1
        if len(self.errors) < _KEPT_ERRORS:
            self.errors.append({"path": path[:4096], "message": message[:1000]})


class Puller:
    """Runs a pull that was claimed; `tell` writes down how it goes and keeps the claim, and raises Gone."""

    def __init__(self, lake: Lake, pull: Mapping[str, Any], tell: Any) -> None:
        self._lake, self._pull, self._tell = lake, pull, tell
        self._pattern = Pattern.of(pull["path"], pull["recursive"])
        self._secrets: Secrets = lake.pulls.vault.open(pull["secrets"])
        self._identity: Identity | None = None
        self._seen: set[str] = set()
        self.run = Run()

    async def work(self) -> Run:
        """The run, to its end. Gone; all else is in what it returns."""
        try:
            await self._tries()
        except (Refused, ApiError, LakeError) as error:
            self.run.error = str(error) if isinstance(error, Refused) else answer_of(error).message
        self.run.ended = documents.utc()
        return self.run

    async def _tries(self) -> None:
        """Connect as often as something comes of it. What was seen in this run is not looked at again."""
        settings, tries = self._lake.settings.pulls, 0
        while True:
            before = (self.run.bytes, len(self._seen))
            try:
                async with self._sftp() as sftp:
                    await self._files(sftp)
                return
            except (ApiError, *_LOST) as error:
                if isinstance(error, ApiError) and error.status not in _PASSING:
                    raise
                tries = 1 if (self.run.bytes, len(self._seen)) != before else tries + 1
                log.info("pull %s: broken off: %s", self._pull["id"], error)
                if tries > settings.tries:
                    if isinstance(error, ApiError):
                        raise
                    raise Refused(f"the server does not answer, or breaks off: {_said(error)}") from error
            await self._tell(self.run)
            await anyio.sleep(settings.retry_seconds * 2 ** (tries - 1))

    # -- the server --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _sftp(self) -> AsyncIterator[asyncssh.SFTPClient]:
        """A session. Refused where it will never be one, an error of _LOST where it may be one later."""
        pull = self._pull
        addresses = await self._lake.pulls.guard.resolve(pull["host"], pull["port"])
        key = host_key(pull["host_key"])
        connection = await self._connect(addresses, key)
        async with connection:
            try:
                sftp = await connection.start_sftp_client()
            except asyncssh.ChannelOpenError as error:
                raise Refused(f"the server has no SFTP for this user: {_said(error)}") from None
            async with sftp:
                yield sftp

    async def _connect(self, addresses: list[str], key: HostKey) -> asyncssh.SSHClientConnection:
        last: Exception = Refused("the server has no address")
        for address in addresses:
            for algorithms in key.algorithms:
                try:
                    return await self._connect_to(address, key, algorithms)
                except asyncssh.HostKeyNotVerifiable:
                    last = Refused("the server shows another host key than the one that the pull has: nothing was sent")
                except asyncssh.KeyExchangeFailed as error:
                    last = (
                        last if isinstance(last, Refused) else Refused(f"no common way of encryption: {_said(error)}")
                    )
                except asyncssh.PermissionDenied:
                    raise Refused("the server refused user, password or key") from None
                except _LOST as error:
                    last = error
                    break
        raise last

    async def _connect_to(
        self, address: str, key: HostKey, algorithms: tuple[str, ...]
    ) -> asyncssh.SSHClientConnection:
        class Client(asyncssh.SSHClient):
            def validate_host_public_key(self, host: str, addr: str, port: int, shown: asyncssh.SSHKey) -> bool:
                return key.is_of(shown)

        secrets, pull = self._secrets, self._pull
        own = private_key(secrets.private_key, secrets.passphrase) if secrets.private_key else None
        seconds = self._lake.settings.pulls.connect_seconds
        return await asyncssh.connect(
            address,
            pull["port"],
            client_factory=Client,
            username=pull["remote_user"],
            password=secrets.password,
            client_keys=[own] if own else None,
            agent_path=None,
            config=None,
            known_hosts=([], [], []),
            x509_trusted_certs=None,
            server_host_key_algs=list(algorithms),
            preferred_auth="publickey,password,keyboard-interactive",
            gss_host=None,
            connect_timeout=seconds,
            login_timeout=seconds,
            keepalive_interval=15,
            keepalive_count_max=4,
        )

    async def _files(self, sftp: asyncssh.SFTPClient) -> None:
        batch: list[Found] = []
        async for found in self._find(sftp):
            if found.path in self._seen:
                continue
            batch.append(found)
            if len(batch) == _BATCH:
                await self._fetch_all(sftp, batch)
                batch = []
        await self._fetch_all(sftp, batch)

    async def _find(self, sftp: asyncssh.SFTPClient) -> AsyncIterator[Found]:
        base = self._pattern.base
        try:
            attributes = await sftp.stat(base)
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            raise Refused(f"there is no {base!r} on the server") from None
        except asyncssh.SFTPPermissionDenied:
            raise Refused(f"the user may not look at {base!r} on the server") from None
        if not _is(attributes, stat.S_ISDIR):
            if self._pattern.parts:
                raise Refused(f"{base!r} is no folder on the server")
            yield _file(base, attributes)
            return
        async for found in self._walk(sftp, base, ()):
            yield found

    async def _walk(self, sftp: asyncssh.SFTPClient, folder: str, below: tuple[str, ...]) -> AsyncIterator[Found]:
        """Files below a folder; links to files count, links to folders don't."""
        folders = []
        try:
            async for entry in sftp.scandir(folder):
                name = str(entry.filename)
                if name in (".", "..") or "/" in name:
                    continue
                path, here = posixpath.join(folder, name), (*below, name)
                attributes = entry.attrs
                if _is(attributes, stat.S_ISDIR):
                    if self._pattern.enters(here):
                        folders.append((path, here))
                elif self._pattern.takes(here):
                    if _is(attributes, stat.S_ISLNK):
                        attributes = await sftp.stat(path)
                    if _is(attributes, stat.S_ISREG):
                        yield _file(path, attributes)
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPPermissionDenied) as error:
            if folder not in self._seen:
                self._seen.add(folder)
                self.run.fail(folder, f"can't be looked at: {_said(error)}")
        for path, here in folders:
            async for found in self._walk(sftp, path, here):
                yield found

    # -- files -------------------------------------------------------------------------------------------------------

    async def _fetch_all(self, sftp: asyncssh.SFTPClient, batch: list[Found]) -> None:
        known = await blocking(self._lake.pulls.store.known, self._pull["id"], [one.path for one in batch])
        for one in batch:
            if len(self._seen) >= self._lake.settings.pulls.files:
                raise Refused(f"there are over {self._lake.settings.pulls.files} files: make pulls of smaller folders")
            before = known.get(one.path, {})
            if (before.get("size"), before.get("mtime")) != (one.size, one.mtime):
                before = {}
            if before.get("object_id"):
                self.run.unchanged += 1
            else:
                await self._fetch(sftp, one, before)
            self.run.found += 1
            self._seen.add(one.path)
            await self._tell(self.run)

    async def _fetch(self, sftp: asyncssh.SFTPClient, one: Found, before: Mapping[str, Any]) -> None:
        """Bring one file; what is wrong with it alone is noted."""
        try:
            if one.size > self._lake.settings.uploads.max_bytes:
                raise ApiError(413, "too_large", f"has over {self._lake.settings.uploads.max_bytes} bytes")
            small = one.size <= self._lake.settings.limits.memory_bytes
            object_id = await (self._small(sftp, one) if small else self._large(sftp, one, before))
        except _Changed:
            self.run.fail(one.path, "changed while it was read: the next run takes it")
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            self.run.fail(one.path, "is no longer there")
        except asyncssh.SFTPPermissionDenied:
            self.run.fail(one.path, "the user may not read it")
        except (ApiError, LakeError) as error:
            answer = answer_of(error)
            if answer.status in (401, 403, 507, *_PASSING):
                raise answer from error  # nothing else will be taken either
            self.run.fail(one.path, answer.message)
        else:
            await blocking(
                self._lake.pulls.store.keep,
                self._pull["id"],
                one.path,
                size=one.size,
                mtime=one.mtime,
                object_id=object_id,
                upload=None,
            )
            self.run.done += 1

    async def _small(self, sftp: asyncssh.SFTPClient, one: Found) -> str:
        content = b"".join([chunk async for chunk in self._read(sftp, one, 0)])
        upload = Upload(forms.Part("file", posixpath.basename(one.path), None), content, whole=True)
        model = self._pull.get("model")
        upload.metadata = insertion_metadata({**self._pull["fields"], **({} if model is None else {"model": model})})
        try:
            done = await self._lake.inserter.insert_held(await self._who(), self._pull["container"], upload)
        finally:
            upload.close()
        return done.object_id

    async def _large(self, sftp: asyncssh.SFTPClient, one: Found, before: Mapping[str, Any]) -> str:
        large, identity = self._lake.large, await self._who()
        document = await self._begun(identity, one, before)
        upload_id, offset = document["id"], document["offset"]
        if document["status"] in (CREATED, RECEIVING):
            try:
                document = await large.append(identity, upload_id, None, self._read(sftp, one, offset), offset=offset)
            except _Changed:
                await large.terminate(identity, upload_id)
                raise
        elif document["status"] != DONE:
            await large.finish(identity, upload_id)
            document = await large.get(identity, upload_id)
        return str(present(document["object_id"]))

    async def _begun(self, identity: Identity, one: Found, before: Mapping[str, Any]) -> dict[str, Any]:
        """The large upload of a file: one that was begun with, or a new one."""
        large, pull = self._lake.large, self._pull
        if before.get("upload"):
            known = await blocking(large.store.get, pull["project_id"], before["upload"])
            if known is not None and known["status"] in (CREATED, RECEIVING, ASSEMBLING, DONE):
                return dict(known)
        described = Described(posixpath.basename(one.path), None, dict(pull["fields"]), {}, pull.get("model"))
        source = {"pull": pull["id"], "path": one.path}
        document = await large.create(identity, pull["container"], one.size, described, source=source)
        await blocking(
            self._lake.pulls.store.keep,
            pull["id"],
            one.path,
            size=one.size,
            mtime=one.mtime,
            object_id=None,
            upload=document["id"],
        )
        return document

    async def _read(self, sftp: asyncssh.SFTPClient, one: Found, offset: int) -> AsyncIterator[bytes]:
        """The content from `offset` on. Its last piece only comes if the file still is as it was found."""
        async with sftp.open(one.path, "rb") as remote:
            while offset < one.size:
                chunk = await remote.read(min(_BLOCK, one.size - offset), offset)
                if not chunk:
                    raise _Changed
                offset += len(chunk)
                if offset == one.size:
                    await self._check(remote, one)
                self.run.bytes += len(chunk)
                yield bytes(chunk)
                await self._tell(self.run)
            if not one.size:
                await self._check(remote, one)

    @staticmethod
    async def _check(remote: asyncssh.SFTPClientFile, one: Found) -> None:
        now = _file(one.path, await remote.stat())
        if now != one:
            raise _Changed

    async def _who(self) -> Identity:
        """The identity that the pull acts as, with a token that is good for some minutes."""
        if self._identity is None or self._identity.expires_at - _MARGIN <= datetime.now(UTC):
            self._identity = await use_credential(self._lake.keystone, self._secrets.credential)
        return self._identity


def _is(attributes: asyncssh.SFTPAttrs, kind: Any) -> bool:
    return attributes.permissions is not None and bool(kind(attributes.permissions))


def _file(path: str, attributes: asyncssh.SFTPAttrs) -> Found:
    return Found(path, attributes.size or 0, int(attributes.mtime or 0))


def _said(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:300]
