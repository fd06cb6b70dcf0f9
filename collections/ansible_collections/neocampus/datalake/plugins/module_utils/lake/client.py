# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of the lake's REST API; standard library only, so that it runs wherever Ansible's modules do."""

from __future__ import annotations

import functools
import http.client
import io
import json
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from .errors import AccessDenied, Conflict, InvalidInput, LakeError, NotFound, StoreError
from .uploading import Upload

API_PATH = "/api/v1"
BLOCK = 256 * 1024
BULK_FILES = 500  # in one request
BULK_METADATA_BYTES = 512 * 1024  # the API takes 1 MiB, in UTF-8
TRIES = 4  # of a GET: reading again does no harm
KEYED_TRIES = 9  # of an insertion with a key: for longer than the minute in which one that broke off still holds it
_LOCAL = ("localhost", "127.0.0.1", "::1")


class _LargeBlocks(urllib.request.HTTPSHandler):
    """Sends bodies in blocks that cost little; http.client's own are of 8 KiB."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self.context = context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        connection: Any = functools.partial(http.client.HTTPSConnection, blocksize=BLOCK)
        return self.do_open(connection, req, context=self.context)


class LakeClient:
    """One user's connection to the API. `url` may end with /api/v1 or not; `ca_file` verifies the server (None: the CAs
    of the system). `timeout` in seconds, of each answer.

    Errors of every method, with the API's message: AccessDenied, NotFound, Conflict, InvalidInput, StoreError.
    """

    def __init__(
        self, url: str, *, ca_file: str | None = None, token: str | None = None, timeout: float = 60.0
    ) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
            raise InvalidInput(f"{url!r}: the API's address begins with https://")
        self.url = url.rstrip("/")
        if not self.url.endswith(API_PATH):
            self.url += API_PATH
        self.token = token
        self._timeout = timeout
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise InvalidInput(f"the CA file {ca_file!r} cannot be read: {error}") from error
        self._opener = urllib.request.build_opener(_LargeBlocks(context))

    def log_in(
        self, username: str, password: str, project: str | None = None, domain: str | None = None
    ) -> dict[str, Any]:
        """Gets a token and keeps it; returns the API's answer (`token`, `expires_at`, …). `domain` is the user's.
        Without `project` the token is of none: it shows the user's `projects`."""
        return self._log_in({"username": username, "password": password, "project": project, "domain": domain})

    def log_in_application(self, credential_id: str, secret: str) -> dict[str, Any]:
        """The same with an application credential, whose project is its own."""
        return self._log_in({"application_credential": {"id": credential_id, "secret": secret}})

    def change_project(self, project: str, domain: str | None = None) -> dict[str, Any]:
        """Gets a token for another project, by the one that is kept, and keeps that."""
        return self._log_in({"token": self.token, "project": project, "domain": domain})

    def _log_in(self, given: Mapping[str, Any]) -> dict[str, Any]:
        body = {name: value for name, value in given.items() if value is not None}
        answer = self._json("POST", "/auth/token", body, repeat=True)
        self.token = str(answer["token"])
        return dict(answer)

    def log_out(self) -> None:
        """Gives the token back: it is worth nothing any more."""
        self._done("DELETE", "/auth/token")
        self.token = None

    def who_am_i(self) -> dict[str, Any]:
        """Whose the token is: `{user, project, roles, administrator, everywhere, expires_at}`."""
        return dict(self._json("GET", "/auth/token"))

    def projects(self) -> Iterator[dict[str, Any]]:
        """The projects that the user may work in: `{id, name, domain_id, description, enabled}`."""
        return self._items("/auth/projects", {"limit": 500})

    def change_password(self, current: str, new: str) -> None:
        """Changes the user's own password, where it is not a directory's; the token ends with it."""
        self._done("PUT", "/auth/password", {"current": current, "new": new})

    def make_application_credential(
        self,
        name: str,
        *,
        roles: Sequence[str] | None = None,
        expires_at: str | None = None,
        description: str = "",
    ) -> dict[str, Any]:
        """What a program may log in with in the token's project: `{id, secret, …}`. The secret is told this once."""
        given = {"name": name, "roles": roles and list(roles), "expires_at": expires_at, "description": description}
        body = {key: value for key, value in given.items() if value is not None}
        return dict(self._json("POST", "/auth/application-credentials", body))

    def application_credentials(self) -> Iterator[dict[str, Any]]:
        """The user's own, without their secrets."""
        return self._items("/auth/application-credentials", {"limit": 500})

    def drop_application_credential(self, credential_id: str) -> None:
        """Takes one back; tokens that it gave end."""
        self._done("DELETE", _joined("auth", "application-credentials", credential_id))

    def webhook(self, container: str) -> bool:
        """Whether what is put into a container is processed."""
        return bool(self._json("GET", _path(container, "webhook"))["enabled"])

    def set_webhook(self, container: str, enabled: bool) -> None:
        """Has it processed from now on, or not; for the project's administrators."""
        self._done("PUT", _path(container, "webhook"), {"enabled": enabled})

    def users(self, *, name: str | None = None, domain: str | None = None) -> Iterator[dict[str, Any]]:
        """Users of a domain (people's, by default), for administrators: `{id, name, email, enabled, …}`."""
        return self._items("/admin/users", {"name": name, "domain": domain, "limit": 500})

    def make_user(self, name: str, password: str, domain: str, **more: Any) -> dict[str, Any]:
        """Makes an account that Keystone keeps itself; `more`: email, description, enabled."""
        return dict(self._json("POST", "/admin/users", {"name": name, "password": password, "domain": domain, **more}))

    def change_user(self, user_id: str, **changes: Any) -> dict[str, Any]:
        """Changes email, description, password or enabled of a user."""
        return dict(self._json("PATCH", _joined("admin", "users", user_id), changes))

    def groups(self, *, name: str | None = None, domain: str | None = None) -> Iterator[dict[str, Any]]:
        """Groups of a domain, for administrators: `{id, name, …}`."""
        return self._items("/admin/groups", {"name": name, "domain": domain, "limit": 500})

    def roles(self) -> Iterator[dict[str, Any]]:
        """The roles that there are, for administrators: `{id, name, description}`."""
        return self._items("/admin/roles", {"limit": 500})

    def administered_projects(self, *, name: str | None = None, domain: str | None = None) -> Iterator[dict[str, Any]]:
        """All projects for an administrator of the lake, else the own one."""
        return self._items("/admin/projects", {"name": name, "domain": domain, "limit": 500})

    def make_project(self, name: str, **more: Any) -> dict[str, Any]:
        """Makes a project; `more`: domain, description, enabled."""
        return dict(self._json("POST", "/admin/projects", {"name": name, **more}))

    def edit_project(self, project_id: str, **changes: Any) -> dict[str, Any]:
        """Changes name, description or enabled of a project."""
        return dict(self._json("PATCH", _joined("admin", "projects", project_id), changes))

    def delete_project(self, project_id: str) -> None:
        """Deletes a project that holds no object. Conflict where it holds one."""
        self._done("DELETE", _joined("admin", "projects", project_id))

    def assignments(
        self,
        *,
        project: str | None = None,
        user: str | None = None,
        group: str | None = None,
        role: str | None = None,
        effective: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """Who has which role in a project (its id; the token's by default): `{role, user, group, project}`. With
        `effective` what users have through groups, too."""
        query = {"project": project, "user": user, "group": group, "role": role, "limit": 500}
        return self._items("/admin/assignments", {**query, "effective": "true" if effective else None})

    def grant(self, project_id: str, role: str, *, user: str | None = None, group: str | None = None) -> None:
        """Gives a role in a project to a user or a group, by their ids."""
        self._done("PUT", _assignment(project_id, role, user, group))

    def revoke(self, project_id: str, role: str, *, user: str | None = None, group: str | None = None) -> None:
        """Takes it."""
        self._done("DELETE", _assignment(project_id, role, user, group))

    def audit(
        self,
        *,
        user: str | None = None,
        project: str | None = None,
        container: str | None = None,
        object_id: str | None = None,
        action: str | None = None,
        result: str | None = None,
        start: str | None = None,
        end: str | None = None,
        page: int = 500,
    ) -> Iterator[dict[str, Any]]:
        """Who did what, the newest first, for administrators; `start` <= time < `end` (ISO 8601)."""
        query = {"user": user, "project": project, "container": container, "object": object_id, "action": action}
        return self._items("/admin/audit", {**query, "result": result, "from": start, "to": end, "limit": page})

    def insert(
        self,
        container: str,
        path: str | os.PathLike[str] | bytes,
        metadata: Mapping[str, Any] | None = None,
        content_type: str | None = None,
        *,
        name: str | None = None,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Inserts a file (`path`), which is streamed, or bytes; returns the metadata document.

        `name` is the original name (default: the file's; needed with bytes). With an idempotency `key`, which is new
        for each insertion, it is sent again when the answer is lost, and inserted once; without one it is not: the
        object may be in.
        """
        file = File(path, name, content_type)
        attempt = 1
        while True:
            with Multipart([file], metadata or {}) as body:
                headers = {**body.headers, **({"Idempotency-Key": f'"{key}"'} if key else {})}
                try:
                    return dict(self._json("POST", _path(container, "objects"), body, headers))
                except (StoreError, Conflict) as error:
                    under_way = error.context.get("code") == "idempotency_key_in_use"
                    if not key or attempt >= KEYED_TRIES or not (under_way or getattr(error, "retriable", False)):
                        raise
            time.sleep(min(15.0, 0.5 * 2**attempt))
            attempt += 1

    def insert_many(
        self,
        container: str,
        files: Iterable[str | os.PathLike[str] | tuple[str, bytes]],
        metadata: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        content_type: str | None = None,
    ) -> list[dict[str, Any]]:
        """Inserts files (paths, or pairs of name and bytes) by as few requests as may be, which costs much less than a
        request for each. `metadata` is that of all files, or a sequence with that of each in their order.

        Returns an item for each file, in their order: {"status": 201, "object": document}, or, where it is not in the
        lake, {"status", "name", "error": {"code", "message", "detail"}}. A request whose answer is lost is not tried
        again. An error has what was inserted before, as such items, in its context as `items`.
        """
        given = [
            File(one[1], one[0], content_type) if isinstance(one, tuple) else File(one, None, content_type)
            for one in files
        ]
        if isinstance(metadata, Sequence) and len(metadata) != len(given):
            raise InvalidInput(f"there is metadata for {len(metadata)} files, but there are {len(given)} files")
        items: list[dict[str, Any]] = []
        most = BULK_FILES
        try:
            while len(items) < len(given):
                done = len(items)
                end = done + _fitting(metadata, done, min(most, len(given) - done))
                part = metadata[done:end] if isinstance(metadata, Sequence) else metadata or {}
                with Multipart(given[done:end], part) as body:
                    answer = self._json("POST", _path(container, "objects", "bulk"), body, body.headers)
                items += answer["items"]
                most = len(items) - done  # fewer than were sent, if the API takes no more in one request
                if not most:
                    raise StoreError(f"the API took none of {end - done} files: {answer}")
        except LakeError as error:
            error.context["items"] = items
            raise
        return items

    def upload_large(
        self,
        container: str,
        path: str | os.PathLike[str],
        metadata: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        content_type: str | None = None,
        resume: bool = True,
        parallel: int = 1,
        checksum: bool = True,
        progress: Callable[[int, int], None] | None = None,
        patience: float = 300.0,
        renew: Callable[[], Any] | None = None,
    ) -> dict[str, Any]:
        """Inserts a file however large, in pieces that survive any cut; returns the metadata document.

        `resume`: go on with what an earlier call, also of another process, began with the same file. `parallel`: so
        many parts of it at the same time. `checksum`: read the file before for its SHA-256, which the lake compares.
        `progress` is called with the bytes that are in the lake, and all. It is given up after `patience` seconds
        without a byte; calling it again goes on. `renew` is called where the token has ended meanwhile: it has to log
        in again.
        """
        given: dict[str, Any] = {"name": name, "content_type": content_type, "resume": resume, "parallel": parallel}
        given |= {"checksum": checksum, "progress": progress, "patience": patience, "renew": renew}
        return Upload(self, container, path, metadata, **given).send()

    def uploads(self, *, status: str | None = None, page: int = 500) -> Iterator[dict[str, Any]]:
        """Large uploads of the project, the newest first: `{id, container, status, offset, length, object_id, …}`."""
        return self._items("/uploads", {"status": status, "limit": page})

    def upload(self, upload_id: str) -> dict[str, Any]:
        """How a large upload stands."""
        return dict(self._json("GET", f"/uploads/{urllib.parse.quote(upload_id, safe='')}"))

    def pull(self, container: str, **given: Any) -> dict[str, Any]:
        """Lets the lake fetch files from an SSH server: `url` (or `host`, `user`, `path`), `host_key`, `password` or
        `private_key`, and, if wanted, `recursive`, `metadata`, `schedule`. Returns the pull."""
        return dict(self._json("POST", _path(container, "pulls"), given))

    def pulls(self, container: str, *, status: str | None = None, page: int = 500) -> Iterator[dict[str, Any]]:
        """Pulls into a container, each with how its last `run` went."""
        return self._items(_path(container, "pulls"), {"status": status, "limit": page})

    def get_pull(self, container: str, pull_id: str) -> dict[str, Any]:
        """How a pull stands."""
        return dict(self._json("GET", _path(container, "pulls", pull_id)))

    def run_pull(self, container: str, pull_id: str) -> dict[str, Any]:
        """Lets a pull run now."""
        return dict(self._json("POST", _path(container, "pulls", pull_id, "run")))

    def delete_pull(self, container: str, pull_id: str) -> None:
        """Removes a pull, and stops it where it runs; what it brought stays."""
        self.open("DELETE", _path(container, "pulls", pull_id)).close()

    def get(self, container: str, object_id: str) -> dict[str, Any]:
        """The metadata document of an object."""
        return dict(self._json("GET", _path(container, "objects", object_id)))

    def list(
        self,
        container: str,
        *,
        content_type: str | None = None,
        start: str | None = None,
        end: str | None = None,
        page: int = 500,
        **filters: str,
    ) -> Iterator[dict[str, Any]]:
        """The documents of a container, page by page behind the scenes; `start` <= creation_date < `end` (ISO 8601).
        `filters` are the API's: application, user, name, status, data_processing, processing, order, fields."""
        query = {"content_type": content_type, "from": start, "to": end, "limit": page, **filters}
        return self._items(_path(container, "objects"), query)

    def search(
        self,
        text: str | None = None,
        *,
        containers: Sequence[str] = (),
        where: Sequence[str] = (),
        page: int = 100,
        **filters: str,
    ) -> Iterator[dict[str, Any]]:
        """Documents of all containers of the project or of some, the newest first: those with all words of `text`
        (`word*`: any that begins so), conditions as for `documents`, and the `filters` of `list`."""
        query = {"text": text, "container": list(containers) or None, "where": list(where) or None, "limit": page}
        return self._items("/search", {**query, **filters})

    def facets(
        self,
        by: Sequence[str],
        text: str | None = None,
        *,
        containers: Sequence[str] = (),
        where: Sequence[str] = (),
        exact: bool = False,
        **filters: str,
    ) -> dict[str, Any]:
        """How many documents a search finds by content_type, container, application, user, month or measurement:
        `{counted, complete, by: {facet: [{value, count}]}}`."""
        body: dict[str, Any] = {"facets": list(by), "exact": exact, "limit": 1, **filters}
        given = {"text": text, "container": list(containers), "where": list(where)}
        body.update({name: value for name, value in given.items() if value})
        return dict(self._json("POST", "/search", body, repeat=True)["facets"])

    def edit(
        self,
        container: str,
        object_id: str,
        changes: Mapping[str, Any],
        *,
        etag: str | None = None,
        process: bool = False,
    ) -> dict[str, Any]:
        """Changes metadata by a JSON merge patch (None takes a value away); returns the document. With `etag` only
        where the document is still that one (InvalidInput, status 412, where not); `process`: and process the object
        again."""
        path = _path(container, "objects", object_id) + ("?process=true" if process else "")
        return dict(self._json("PATCH", path, dict(changes), {"If-Match": etag} if etag else None))

    def delete(self, container: str, object_id: str) -> None:
        """Deletes an object; its document stays, as `deleted`."""
        self._open("DELETE", _path(container, "objects", object_id)).close()

    def delete_many(self, container: str, object_ids: Iterable[str]) -> Sequence[dict[str, Any]]:
        """Deletes objects; an item for each: `{status: 204, swift_object_id}`, or with `error`."""
        ids = list(object_ids)
        items: Any = []
        for start in range(0, len(ids), BULK_FILES):
            body = {"ids": ids[start : start + BULK_FILES]}
            items += self._json("POST", _path(container, "objects", "delete"), body)["items"]
        return tuple(items)

    def delete_container(self, container: str) -> None:
        """Deletes an empty container. Errors: Conflict where it is not."""
        self._open("DELETE", _path(container)).close()

    def archive(
        self, container: str, object_ids: Sequence[str] = (), *, metadata: bool = False, **filters: str
    ) -> http.client.HTTPResponse:
        """Objects, by id or by the `filters` of `list`, as one zip: a stream that the caller closes. One that can't be
        read to its end (http.client.IncompleteRead) is no archive."""
        body = {"ids": list(object_ids), "metadata": metadata, **filters}
        return self._open("POST", _path(container, "objects", "archive"), body)

    def operations(self, container: str, object_id: str) -> Iterator[dict[str, Any]]:
        """What was made of an object, well or badly (`outcome`), in the order of time."""
        return self._items(_path(container, "objects", object_id, "operations"), {"limit": 500})

    def history(self, container: str, object_id: str) -> Iterator[dict[str, Any]]:
        """What was done to an object, in the order of time: `{task_type, old_data, new_data, …}`."""
        return self._items(_path(container, "objects", object_id, "history"), {"limit": 500})

    def usage(self) -> dict[str, Any]:
        """What the project keeps: `{objects, bytes, quota, containers: [{container, objects, bytes}]}`."""
        first = self._json("GET", "/usage?limit=1")
        containers = list(self._items("/usage", {"limit": 1000}))
        return {**{name: first[name] for name in ("objects", "bytes", "quota")}, "containers": containers}

    def data(self, container: str, object_id: str) -> http.client.HTTPResponse:
        """The object's bytes, as a stream that the caller closes."""
        return self._open("GET", _path(container, "objects", object_id, "data"))

    def measurements(self, container: str) -> Sequence[str]:
        """The measurements of a container's time series."""
        return tuple(self._items(_path(container, "timeseries", "measurements"), {}))

    def topics(self, container: str, measurement: str) -> Sequence[str]:
        """The topics that a measurement has points of."""
        return tuple(self._items(_path(container, "timeseries", "topics"), {"measurement": measurement}))

    def points(
        self,
        container: str,
        measurement: str,
        topic: str | Sequence[str] | None = None,
        *,
        start: str | None = None,
        end: str | None = None,
        origin: bool = False,
        page: int = 1000,
        fields: Sequence[str] = (),
        descending: bool = False,
        aggregate: Sequence[str] = (),
        every: str | None = None,
        group: Sequence[str] | None = None,
        fill: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Points in the order of time: `{time, value, **tags}`; `start` <= time < `end` (ISO 8601), of one topic,
        several or all. With `origin` each has `lake_origin`.

        With `aggregate` (mean, max, p95, …) what they come to in windows of `every` (`10m`), for each value of the tags
        in `group` (None: each series on its own), empty windows filled as `fill` says: `{time, **tags, value_mean}`.
        """
        query = _points(measurement, topic, start, end, fields, descending, aggregate, every, group, fill)
        query |= {"origin": "true" if origin else None, "limit": page}
        return self._items(_path(container, "timeseries", "points"), query)

    def points_file(
        self,
        container: str,
        measurement: str,
        topic: str | Sequence[str] | None = None,
        *,
        format: str = "csv",
        start: str | None = None,
        end: str | None = None,
        origin: bool = False,
        fields: Sequence[str] = (),
        descending: bool = False,
        aggregate: Sequence[str] = (),
        every: str | None = None,
        group: Sequence[str] | None = None,
        fill: str | None = None,
        formulas: bool = False,
    ) -> http.client.HTTPResponse:
        """All of what `points` gives as a file, `csv`, `ndjson`, `arrow` or `parquet`: a stream that the caller closes.
        `formulas`: in CSV keep texts that a spreadsheet takes for formulas as they are."""
        query = _points(measurement, topic, start, end, fields, descending, aggregate, every, group, fill)
        query |= {"origin": "true" if origin else None}
        return self._file(_path(container, "timeseries", "points"), query, format, formulas)

    def gold(self, container: str, object_id: str) -> Sequence[dict[str, Any]]:
        """What an object became: an item for each store of gold, `{store, counts, links, operation, …}`."""
        return tuple(self._items(_path(container, "objects", object_id, "gold"), {}))

    def tables(self, container: str) -> Sequence[str]:
        """The names of a container's tables."""
        return tuple(self._items(_path(container, "tables"), {"limit": 1000}))

    def table(self, container: str, table: str) -> dict[str, Any]:
        """A table: `{table, name, key, current, columns, rows, objects}`; a column is `{column, name, type}`."""
        return dict(self._json("GET", _path(container, "tables", table)))

    def rows(
        self,
        container: str,
        table: str,
        *,
        object_id: str | None = None,
        columns: Sequence[str] | None = None,
        where: Sequence[str] = (),
        origin: bool = False,
        page: int = 500,
    ) -> Iterator[dict[str, Any]]:
        """The rows of a table, or of an object there, with all columns or some, as the API has them. `where` has
        conditions, `column:operator:value`; with `origin` each row has `lake_origin`."""
        query = {
            "object": object_id,
            "columns": None if columns is None else ",".join(columns),
            "where": list(where) or None,
            "origin": "true" if origin else None,
            "limit": page,
        }
        return self._items(_path(container, "tables", table, "rows"), query)

    def rows_file(
        self,
        container: str,
        table: str,
        *,
        format: str = "csv",
        object_id: str | None = None,
        columns: Sequence[str] | None = None,
        where: Sequence[str] = (),
        origin: bool = False,
        formulas: bool = False,
    ) -> http.client.HTTPResponse:
        """All of what `rows` gives as a file, as `points_file`."""
        query = {
            "object": object_id,
            "columns": None if columns is None else ",".join(columns),
            "where": list(where) or None,
            "origin": "true" if origin else None,
        }
        return self._file(_path(container, "tables", table, "rows"), query, format, formulas)

    def documents_file(
        self,
        container: str,
        *,
        format: str = "ndjson",
        object_id: str | None = None,
        columns: Sequence[str] | None = None,
        where: Sequence[str] = (),
        formulas: bool = False,
    ) -> http.client.HTTPResponse:
        """All of what `documents` gives as a file, `ndjson`, or `csv` with the fields (paths with dots) in `columns`: a
        stream that the caller closes."""
        query = {
            "object": object_id,
            "where": list(where) or None,
            "columns": None if columns is None else ",".join(columns),
        }
        return self._file(_path(container, "documents"), query, format, formulas)

    def models(self, **wanted: Any) -> Iterator[dict[str, Any]]:
        """Metadata models that the project may see; `wanted`: `label`, `content_type`, `visibility`, `status`, `own`,
        `container`."""
        given = {key: str(value).lower() if isinstance(value, bool) else value for key, value in wanted.items()}
        return self._items("/models", {**given, "limit": 500})

    def model(self, model: str, version: int | None = None) -> dict[str, Any]:
        """A metadata model by its label or id, the newest version or another."""
        return dict(self._json("GET", _model(model) + ("" if version is None else f"/versions/{version}")))

    def model_versions(self, model: str) -> Iterator[dict[str, Any]]:
        """All versions of a metadata model, the newest first."""
        return self._items(_model(model) + "/versions", {"limit": 500})

    def create_model(self, model: Mapping[str, Any]) -> dict[str, Any]:
        """Makes a metadata model: `{label, metadata: [fields], content_types, visibility, description, additional}`."""
        return dict(self._json("POST", "/models", dict(model)))

    def change_model(self, name: str, model: Mapping[str, Any], version: int | None = None) -> dict[str, Any]:
        """Makes a new version of a metadata model, which says `model`; `version` is the one that has to be the newest
        until then. Errors: InvalidInput when it is not."""
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        return dict(self._json("PUT", _model(name), dict(model), headers))

    def withdraw_model(self, model: str) -> str:
        """Removes a metadata model that nothing refers to (`removed`), else lets nothing new refer to it
        (`withdrawn`)."""
        return str(self._json("DELETE", _model(model))["status"])

    def model_schema(self, model: str, version: int | None = None, content_type: str | None = None) -> dict[str, Any]:
        """The JSON Schema of a metadata model."""
        query = {key: value for key, value in (("version", version), ("content_type", content_type)) if value}
        return dict(self._json("GET", f"{_model(model)}/schema?{urllib.parse.urlencode(query)}"))

    def validate(
        self, model: str, other_data: Mapping[str, Any], content_type: str | None = None, version: int | None = None
    ) -> dict[str, Any]:
        """Whether `other_data` follows a metadata model: `{valid, problems, other_data (with defaults), …}`."""
        body = {"other_data": dict(other_data), "content_type": content_type, "version": version}
        given = {key: value for key, value in body.items() if value is not None}
        return dict(self._json("POST", _model(model) + "/validate", given, repeat=True))

    def demand_model(
        self,
        container: str,
        model: str | None,
        version: int | None = None,
        enforced: bool | Mapping[str, bool] = True,
    ) -> None:
        """Has a container demand a metadata model of what is inserted (None: none any more); `enforced`, or by content
        type."""
        if model is None:
            self._open("DELETE", _path(container, "model")).close()
            return
        said = enforced if isinstance(enforced, bool) else dict(enforced)
        self._json("PUT", _path(container, "model"), {"model": model, "version": version, "enforced": said})

    def live(
        self,
        container: str,
        *,
        events: Sequence[str] = ("processing", "point"),
        measurements: Sequence[str] = (),
        topics: Sequence[str] = (),
        last_id: str | None = None,
    ) -> Iterator[LiveEvent]:
        """What happens in a container, as it happens: `processing`, `point`, `points`, `gap`; without an end.

        A connection that breaks off is opened again and goes on after the last event; so does a later call with
        `last_id`, the id of an event. Errors: AccessDenied when the token ends; StoreError when the API is away.
        """
        query = {"events": list(events), "measurement": list(measurements), "topic": list(topics)}
        path = _path(container, "live") + "?" + urllib.parse.urlencode(query, doseq=True)
        while True:
            headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
            with self._open("GET", path, None, headers) as answer:
                try:
                    for event in _events(answer):
                        last_id = event.id or last_id
                        if event.kind == "end" and event.data.get("code") in ("restarting", "too_slow"):
                            break
                        if event.kind == "end":
                            raise AccessDenied(f"GET {path}: {event.data.get('message')}", code=event.data.get("code"))
                        if event.kind:
                            yield event
                except (OSError, http.client.HTTPException):
                    pass  # it is opened again, which tells what is wrong
            time.sleep(0.5)

    def documents(
        self, container: str, *, object_id: str | None = None, where: Sequence[str] = (), page: int = 100
    ) -> Iterator[dict[str, Any]]:
        """Documents of gold, or those of an object: `{…their fields, "lake": {id, object, number, operation}}`.
        `where` has conditions, `field:operator:value`."""
        query = {"object": object_id, "where": list(where) or None, "limit": page}
        return self._items(_path(container, "documents"), query)

    def document(self, container: str, document_id: str) -> dict[str, Any]:
        """A document of gold, by its `lake.id`."""
        return dict(self._json("GET", _path(container, "documents", document_id)))

    def files(self, container: str, *, object_id: str | None = None, page: int = 500) -> Iterator[dict[str, Any]]:
        """Files of gold, or those of an object: `{name, content_type, length, sha256, details, lake}`."""
        return self._items(_path(container, "files"), {"object": object_id, "limit": page})

    def file(self, container: str, object_id: str, name: str) -> http.client.HTTPResponse:
        """A file of gold (`image`, `thumbnail`), as a stream that the caller closes."""
        return self._open("GET", _path(container, "files", object_id, name))

    def shown_objects(self, container: str) -> Iterator[dict[str, Any]]:
        """What a container's images show, by name: `{name, images}`."""
        return self._items(_path(container, "graph", "objects"), {"limit": 1000})

    def images(self, container: str, name: str) -> Iterator[dict[str, Any]]:
        """The images that show an object: `{object_id, filename, content_type, shows}`."""
        return self._items(_path(container, "graph", "images"), {"object": name, "limit": 500})

    def image(self, container: str, object_id: str) -> dict[str, Any]:
        """What is known of an image, with the `objects` that it shows, `descriptors` and `tags`."""
        return dict(self._json("GET", _path(container, "graph", "images", object_id)))

    def similar(self, container: str, object_id: str) -> Iterator[dict[str, Any]]:
        """Near-duplicates of an image, the nearest first: `{object_id, distance, score, filename, …}`."""
        return self._items(_path(container, "graph", "images", object_id, "similar"), {"limit": 500})

    def wait_processed(
        self, container: str, object_id: str, timeout: float = 120.0, interval: float = 0.5
    ) -> dict[str, Any]:
        """The document of an object once an operation, good or bad, is logged on it.

        Errors: StoreError after `timeout` seconds.
        """
        end = time.monotonic() + timeout
        while True:
            document = self.get(container, object_id)
            if document.get("successful_operations") or document.get("failed_operations"):
                return document
            if time.monotonic() >= end:
                raise StoreError(
                    f"object {object_id} of {container!r} is stored, but was not processed within {timeout:g} s",
                    document=document,
                )
            time.sleep(interval)

    @staticmethod
    def path(container: str, *parts: str) -> str:
        """The path, below the API's address, of what a container has."""
        return _path(container, *parts)

    def path_of(self, location: str) -> str:
        """The path, below the API's address, of what a header Location says."""
        return urllib.parse.urlsplit(location).path.partition(API_PATH)[2]

    def open(
        self,
        verb: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        repeat: bool = False,
    ) -> http.client.HTTPResponse:
        """The answer to a request with a body of bytes, or of something that is read; the caller closes it. `repeat`:
        asking again does no harm."""
        return self._open(verb, path, body, headers, repeat=repeat)

    def _file(self, path: str, query: Mapping[str, Any], format: str, formulas: bool) -> http.client.HTTPResponse:
        given = {key: value for key, value in query.items() if value is not None}
        given |= {"format": format, **({"formulas": "keep"} if formulas else {})}
        return self._open("GET", f"{path}?{urllib.parse.urlencode(given, doseq=True)}", None, {"Accept": "*/*"})

    def _items(self, path: str, query: Mapping[str, Any]) -> Iterator[Any]:
        given = {key: value for key, value in query.items() if value is not None}
        while True:
            page = self._json("GET", path + ("?" + urllib.parse.urlencode(given, doseq=True) if given else ""))
            yield from page["items"]
            if not page.get("next"):
                return
            given["cursor"] = page["next"]

    def _done(self, verb: str, path: str, body: dict[str, Any] | None = None) -> None:
        """Do what has no answer to read."""
        self._open(verb, path, body).close()

    def _json(
        self,
        verb: str,
        path: str,
        body: Multipart | dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        repeat: bool = False,
    ) -> Any:
        with self._open(verb, path, body, headers, repeat=repeat) as answer:
            try:
                return json.loads(answer.read())
            except (ValueError, OSError, http.client.HTTPException) as error:
                raise StoreError(f"{verb} {path}: the API did not answer in JSON: {error}") from error

    def _open(
        self,
        verb: str,
        path: str,
        body: Multipart | dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        repeat: bool = False,
    ) -> http.client.HTTPResponse:
        sent = {"Accept": "application/json", **(headers or {})}
        data: Any = body
        if isinstance(body, dict):
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        if self.token:
            sent["X-Auth-Token"] = self.token
        tries = TRIES if repeat or verb == "GET" else 1
        for attempt in range(1, tries + 1):
            request = urllib.request.Request(self.url + path, data=data, method=verb, headers=sent)  # noqa: S310
            try:
                return self._opener.open(request, timeout=self._timeout)  # type: ignore[no-any-return]
            except urllib.error.HTTPError as error:
                failure = _error_of(verb, path, error)
            except (OSError, http.client.HTTPException) as error:
                failure = StoreError(f"{verb} {self.url + path}: no answer: {getattr(error, 'reason', error)}")
            if attempt == tries or not (isinstance(failure, StoreError) and failure.retriable):
                raise failure
            time.sleep(0.3 * 2**attempt)
        raise AssertionError  # not reached


@dataclass(frozen=True)
class LiveEvent:
    """What happened: `kind` (`processing`, `point`, `points`, `gap`), its `data`, and the `id` to go on after."""

    kind: str
    data: dict[str, Any]
    id: str | None = None


class File:
    """A file to insert: a path, which is opened when it is its turn, or bytes, which need a name.

    Errors: InvalidInput.
    """

    def __init__(
        self, source: str | os.PathLike[str] | bytes, name: str | None = None, content_type: str | None = None
    ) -> None:
        self._source = source
        if isinstance(source, bytes):
            self.size = len(source)
        else:
            try:
                self.size = os.stat(source).st_size
            except OSError as error:
                raise self._unreadable(error) from error
            name = name or os.path.basename(os.fspath(source))
        if not name:
            raise InvalidInput("bytes need a name to be inserted under")
        for character, escaped in (('"', "%22"), ("\r", "%0D"), ("\n", "%0A")):  # as browsers do
            name = name.replace(character, escaped)
        head = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
        if content_type:
            if any(character in content_type for character in "\r\n"):
                raise InvalidInput("content_type: line ends are not allowed in it")
            head += f"Content-Type: {content_type}\r\n"
        self.head = head.encode(errors="surrogateescape")

    def open(self) -> BinaryIO:
        """The content, as a stream."""
        if isinstance(self._source, bytes):
            return io.BytesIO(self._source)
        try:
            return open(self._source, "rb")
        except OSError as error:
            raise self._unreadable(error) from error

    def changed(self) -> InvalidInput:
        """The error of a file that is shorter than it was said to be."""
        return InvalidInput(f"{self._source!r:.200} became shorter while it was sent: insert it again")

    def _unreadable(self, error: OSError) -> InvalidInput:
        return InvalidInput(f"{os.fspath(self._source)!r} cannot be read: {error.strerror}")


class Multipart:
    """A multipart/form-data body of files and their metadata, read block by block; `length` in bytes. A file that has
    grown meanwhile is sent as long as it was.

    Errors of `read`: InvalidInput.
    """

    def __init__(self, files: Sequence[File], metadata: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        mark = uuid.uuid4().hex
        # Always there, and first: a file that comes after its metadata can be streamed through the API.
        first = (
            f'--{mark}\r\nContent-Disposition: form-data; name="metadata"\r\nContent-Type: application/json\r\n\r\n'
            f"{json.dumps(metadata)}"
        ).encode()
        between = f"\r\n--{mark}\r\n".encode()
        last = f"\r\n--{mark}--\r\n".encode()
        self.length = len(first) + len(last)
        self._parts: deque[bytes | File] = deque([first])
        for file in files:
            head = between + file.head + b"\r\n"
            self.length += len(head) + file.size
            self._parts += (head, file)
        self._parts.append(last)
        self._stream: BinaryIO | None = None
        self._left = 0
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={mark}",
            "Content-Length": str(self.length),
        }

    def __enter__(self) -> Multipart:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._stream:
            self._stream.close()

    def read(self, size: int = BLOCK) -> bytes:
        """The next bytes, at most `size`; small pieces come together, so that they are sent together."""
        size = size if size and size > 0 else BLOCK
        data = b""
        while self._parts and len(data) < size:
            data += self._some(size - len(data))
        return data

    def _some(self, size: int) -> bytes:
        """At most `size` bytes of the first part, which is dropped with its last."""
        part = self._parts[0]
        if isinstance(part, bytes):
            self._parts[0] = part[size:]
            if len(part) <= size:
                self._parts.popleft()
            return part[:size]
        if self._stream is None:
            self._stream, self._left = part.open(), part.size
        try:
            data = self._stream.read(min(size, self._left)) if self._left else b""
        except OSError as error:
            raise InvalidInput(f"a file cannot be read on: {error}") from error
        if self._left and not data:
            raise part.changed()
        self._left -= len(data)
        if not self._left:
            self._stream.close()
            self._stream = None
            self._parts.popleft()
        return data


def _fitting(metadata: Any, start: int, count: int) -> int:
    """How many of `count` files from `start` on go into one request: as many as their metadata lets, but one at
    least."""
    size = 0
    for number in range(count if isinstance(metadata, Sequence) else 0):
        size += len(json.dumps(metadata[start + number])) + 2
        if size > BULK_METADATA_BYTES and number:
            return number
    return count


def _points(
    measurement: str,
    topic: str | Sequence[str] | None,
    start: str | None,
    end: str | None,
    fields: Sequence[str],
    descending: bool,
    aggregate: Sequence[str],
    every: str | None,
    group: Sequence[str] | None,
    fill: str | None,
) -> dict[str, Any]:
    """The query of points."""
    return {
        "measurement": measurement,
        "topic": topic if topic is None or isinstance(topic, str) else list(topic),
        "from": start,
        "to": end,
        "field": list(fields) or None,
        "order": "desc" if descending else None,
        "aggregate": ",".join(aggregate) or None,
        "every": every,
        "group": None if group is None else ",".join(group),
        "fill": fill,
    }


def _events(lines: Iterable[bytes]) -> Iterator[LiveEvent]:
    """The events of a stream; what has only an id is one without kind."""
    identity, kind, data = None, "", ""
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        name, _colon, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if not line:
            if identity or kind:
                yield LiveEvent(kind, json.loads(data) if data else {}, identity)
            identity, kind, data = None, "", ""
        elif name == "id":
            identity = value
        elif name == "event":
            kind = value
        elif name == "data":
            data += value


def _model(model: str) -> str:
    return "/models/" + urllib.parse.quote(model, safe="")


def _path(*parts: str) -> str:
    return _joined("containers", *parts)


def _joined(*parts: str) -> str:
    return "/" + "/".join(urllib.parse.quote(str(part), safe="") for part in parts)


def _assignment(project_id: str, role: str, user: str | None, group: str | None) -> str:
    if (user is None) == (group is None):
        raise InvalidInput("a role is given to a user or to a group: name one of them")
    whose = ("users", user) if user is not None else ("groups", group or "")
    return _joined("admin", "projects", project_id, *whose, "roles", role)


def _error_of(verb: str, path: str, error: urllib.error.HTTPError) -> LakeError:
    with error:
        try:
            text = error.read(64 * 1024)
        except (OSError, http.client.HTTPException):
            text = b""
    code, detail = None, None
    try:
        said = json.loads(text)["error"]
        message, code, detail = str(said["message"]), said.get("code"), said.get("detail")
    except (ValueError, KeyError, TypeError, AttributeError):
        message = text[:200].decode(errors="replace").strip() or str(error.reason)
    context = {"status": error.code, "code": code, "detail": detail}
    message = f"{verb} {path}: {error.code}: {message}"
    if error.code in (401, 403):
        return AccessDenied(message, **context)
    if error.code == 404:
        return NotFound(message, **context)
    if error.code == 409:
        return Conflict(message, **context)
    if error.code >= 500 or error.code == 429:
        return StoreError(message, retriable=True, **context)
    return InvalidInput(message, **context)
