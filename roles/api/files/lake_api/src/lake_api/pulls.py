# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Pulls: files that the lake fetches from SSH servers, once or again and again.

A pull acts for who made it, after that person's token has ended, by an application credential of Keystone: made with
the token, for its project, in one role, with an end. It is kept with password and private key of the server, encrypted
(Fernet) with a key that MongoDB does not have, and is deleted with the pull where who deletes it may do so; else it
ends by itself, and nobody has its secret any more.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from neocampus_lake import documents
from neocampus_lake.errors import present
from neocampus_lake.models import insertion_metadata

from .errors import ApiError, bad_request, not_found
from .identity import Identity, Keystone
from .inserts import Inserter
from .own_account import Credential, delete_credential, make_credential
from .pull_hosts import Guard, Pattern, Place, host_key, next_time, private_key
from .pull_store import RUNNING, WAITING, PullStore
from .settings import Pulls as PullSettings
from .stores import Stores, blocking

_ONCE = timedelta(days=7)  # how long one without schedule can be run again


@dataclass(frozen=True, repr=False)
class Secrets:
    """What a pull logs in with, there and here."""

    credential: Credential
    password: str | None = None
    private_key: str | None = None
    passphrase: str | None = None


class Vault:
    """Encrypts and decrypts secrets. `keys` as in settings.Pulls."""

    def __init__(self, settings: PullSettings) -> None:
        keys = [key.get_secret_value() for key in settings.keys]
        self._fernet = MultiFernet([Fernet(key) for key in keys]) if keys else None

    @property
    def usable(self) -> bool:
        """Whether there is a key."""
        return self._fernet is not None

    def close(self, secrets: Secrets) -> bytes:
        """Encrypted."""
        given = {**vars(secrets), "credential": [secrets.credential.id, secrets.credential.secret]}
        return present(self._fernet).encrypt(json.dumps(given).encode())

    def open(self, closed: bytes) -> Secrets:
        """Decrypted. ApiError 500 where none of the keys fits."""
        try:
            given = json.loads(present(self._fernet).decrypt(closed))
        except InvalidToken:
            raise ApiError(
                500,
                "secrets_unreadable",
                "the pull's credentials were encrypted with a key that is gone: remove the pull and make it again",
            ) from None
        return Secrets(**{**given, "credential": Credential(*given["credential"])})

    def renew(self, closed: bytes) -> bytes | None:
        """Encrypted with the first key; None where none fits."""
        try:
            return present(self._fernet).rotate(closed)
        except InvalidToken:
            return None


class Pulls:
    """Pulls of the holders of tokens. Errors: ApiError, LakeError, PyMongoError."""

    def __init__(
        self, settings: PullSettings, write_roles: list[str], keystone: Keystone, stores: Stores, inserter: Inserter
    ) -> None:
        self.settings, self._write_roles = settings, write_roles
        self.guard = Guard(settings.allowed, settings.refused)
        self.vault = Vault(settings)
        self.store = PullStore(stores.client)
        self._keystone, self._inserter = keystone, inserter

    async def create(
        self,
        identity: Identity,
        container: str,
        where: Place,
        *,
        key: str,
        secrets: Mapping[str, str | None],
        fields: Mapping[str, Any],
        schedule: str | None,
        recursive: bool,
    ) -> dict[str, Any]:
        """A new pull, which runs at once, and then by its schedule."""
        if not self.vault.usable:
            raise ApiError(404, "not_in_this_lake", "this lake pulls from no servers; its administrator can let it")
        project_id = present(identity.project_id)
        documents.check_container_name(container)
        checked = insertion_metadata(fields)
        checked.pop("model", None)
        if checked.get("swift_container", container) != container:
            raise bad_request(
                "metadata.swift_container: is another container than that of the path", "invalid_document"
            )
        found = host_key(key)
        Pattern.of(where.path, recursive)
        now = documents.utc()
        if schedule is not None:
            next_time(schedule, now, self.settings.min_interval_seconds)
        if secrets.get("private_key"):
            private_key(present(secrets["private_key"]), secrets.get("passphrase"))
        if await blocking(self.store.count, project_id) >= self.settings.per_project:
            raise ApiError(
                429, "too_many_pulls", f"your project has {self.settings.per_project} pulls: delete those that are over"
            )
        await self.guard.resolve(where.host, where.port)
        await self._inserter.prepare(identity, container)
        pull_id = uuid.uuid4().hex
        expires = now + (timedelta(days=self.settings.credential_days) if schedule else _ONCE)
        role = next(role for role in reversed(self._write_roles) if role in identity.roles)
        credential = await make_credential(self._keystone, identity, f"lake-pull-{pull_id}", role, expires)
        document = {
            "id": pull_id,
            "status": WAITING,
            "project_id": project_id,
            "container": container,
            "user": identity.user,
            "user_id": identity.user_id,
            "host": where.host,
            "port": where.port,
            "remote_user": where.user,
            "path": where.path,
            "recursive": recursive,
            "host_key": key.strip(),
            "fingerprint": found.fingerprint,
            "fields": checked,
            "model": fields.get("model"),
            "schedule": schedule,
            "secrets": self.vault.close(Secrets(credential, **secrets)),
            "created": now,
            "updated": now,
            "next_run": now,
            "expires": expires,
            "lease": None,
            "run": None,
        }
        await blocking(self.store.insert, document)
        return document

    async def get(self, identity: Identity, container: str, pull_id: str, *, secrets: bool = False) -> dict[str, Any]:
        """A pull of the project's container. ApiError 404."""
        found = await blocking(self.store.get, present(identity.project_id), container, pull_id, secrets=secrets)
        if found is None:
            raise not_found("this pull", "GET …/pulls of the container lists those that do")
        return found

    async def delete(self, identity: Identity, container: str, pull_id: str) -> None:
        """Remove a pull, and stop it where it runs. What it brought stays."""
        document = await self.get(identity, container, pull_id, secrets=True)
        try:
            credential = self.vault.open(document["secrets"]).credential if self.vault.usable else None
        except ApiError:  # the key is gone, and with it the secret: the credential ends by itself
            credential = None
        await blocking(self.store.delete, pull_id)
        if credential:
            await delete_credential(self._keystone, identity, document["user_id"], credential.id)

    async def run(self, identity: Identity, container: str, pull_id: str) -> dict[str, Any]:
        """Let a pull run now. ApiError 404, 409 where it runs."""
        document = await self.get(identity, container, pull_id)
        if document["expires"] <= documents.utc():
            raise ApiError(409, "conflict", "the pull may no longer act for who made it: make it again")
        if document["status"] == RUNNING or not await blocking(self.store.run_now, pull_id):
            raise ApiError(409, "conflict", "the pull runs at the moment; GET says how far it is")
        return await self.get(identity, container, pull_id)

    async def renew_secrets(self) -> int:
        """Encrypt the secrets of all pulls with the first key; how many could not be."""

        def work() -> int:
            lost = 0
            for pull_id, old in self.store.secrets():
                new = self.vault.renew(old)
                lost += new is None
                if new is not None:
                    self.store.renew_secrets(pull_id, old, new)
            return lost

        return await blocking(work)
