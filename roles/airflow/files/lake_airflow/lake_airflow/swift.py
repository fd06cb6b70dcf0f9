# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read objects and listings from Swift as the lake's own service account."""

from __future__ import annotations

import logging
import os
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import quote

from keystoneauth1.exceptions import ClientException
from keystoneauth1.identity.v3 import Password
from keystoneauth1.session import Session
from neocampus_lake.errors import Conflict, NotFound, StoreError
from neocampus_lake.events import normal_timestamp
from neocampus_lake.reconciliation import Listed
from requests import RequestException, Response

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5
READ_SECONDS = 60


class TokenPassword(Password):
    """Password authentication whose token outlives the process: each task is a process of its own.

    The token is kept in ``path``, readable by this user only; a token that Keystone refuses is replaced.
    """

    def __init__(self, path: Path, **options: Any) -> None:
        super().__init__(**options)
        self._path = path
        try:
            self.set_auth_state(path.read_text())
        except (OSError, ValueError, KeyError):
            log.debug("no token in %s yet", path)

    def get_auth_ref(self, session: Session, **options: Any) -> Any:
        """Ask Keystone for a token and keep it."""
        self.auth_ref = super().get_auth_ref(session, **options)
        handle, name = tempfile.mkstemp(dir=self._path.parent)  # made with mode 0600
        with os.fdopen(handle, "w") as file:
            file.write(self.get_auth_state() or "")  # empty where there is none: then the next start asks Keystone
        os.replace(name, self._path)
        return self.auth_ref


class Swift:
    """Objects and containers of any project, through whichever of the proxies answers."""

    def __init__(self, *, session: Session, urls: Sequence[str]) -> None:
        """``urls``: the proxies' addresses, each without path."""
        self._session = session
        self._urls = list(urls)

    def open(self, project_id: str, container: str, name: str) -> BinaryIO:
        """The object's content. Raises NotFound, or StoreError (retriable) where no proxy could give it."""
        body: Any = self._request("GET", project_id, container, name).raw
        body.decode_content = True
        return cast(BinaryIO, body)

    def put(self, project_id: str, container: str, name: str, content: Iterator[bytes], content_type: str) -> None:
        """Puts an object that must not be there yet; its content is sent once, as it comes.

        Raises Conflict where an object has that name, StoreError: not retriable where Swift refuses it.
        """
        url = random.choice(self._urls)  # no secret depends on it  # noqa: S311
        what = f"object {name} in container {container} of project {project_id}"
        try:
            response = self._session.request(
                url + _path(project_id, container, name),
                "PUT",
                data=content,
                headers={"Content-Type": content_type, "If-None-Match": "*"},
                raise_exc=False,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
            )
        except (ClientException, RequestException) as error:
            raise StoreError(f"Swift did not take {what}: {error}", retriable=True) from error
        if response.status_code == 412:
            raise Conflict(f"there is already an {what}")
        if response.status_code != 201:
            away = response.status_code >= 500 or response.status_code in (401, 408, 429)
            raise StoreError(f"Swift answered {response.status_code} to the {what}", retriable=away)

    def head(self, project_id: str, container: str, name: str) -> Listed:
        """The object as a listing would have it, from the object itself. Errors as in open()."""
        with self._request("HEAD", project_id, container, name) as response:
            headers = response.headers
            return Listed(
                name=name,
                etag=headers.get("Etag", "").strip('"'),
                size=int(headers.get("Content-Length", 0)),
                content_type=headers.get("Content-Type", "application/octet-stream"),
                timestamp=normal_timestamp(headers.get("X-Timestamp", "")),
            )

    def extent(self, project_id: str, container: str) -> dict[str, int]:
        """How many ``objects`` and ``bytes`` a container has. Errors as in open()."""
        with self._request("HEAD", project_id, container) as response:
            counts = {"objects": "X-Container-Object-Count", "bytes": "X-Container-Bytes-Used"}
            return {key: int(response.headers.get(header, 0)) for key, header in counts.items()}

    def listing(self, project_id: str, container: str, marker: str, limit: int) -> list[Listed]:
        """A container's objects after the name ``marker``, by name, at most ``limit``; an empty list is the end.
        Errors as in open()."""
        asked = {"format": "json", "marker": marker, "limit": str(limit)}
        with self._request("GET", project_id, container, **asked) as response:
            try:
                items = response.json()
            except (RequestException, ValueError) as error:
                raise StoreError(f"Swift's listing of {container} broke off: {error}") from error
        return [Listed.from_listing(item) for item in items]

    def _request(self, method: str, project_id: str, container: str, name: str | None = None, **query: str) -> Response:
        path = _path(project_id, container, name)
        what = f"container {container} of project {project_id}"
        if name is not None:
            what = f"object {name} in {what}"
        problems = []
        for url in random.sample(self._urls, len(self._urls)):  # spreads the load; no secret depends on it  # noqa: S311
            try:
                response = self._session.request(
                    url + path,
                    method,
                    params=query,
                    stream=True,
                    raise_exc=False,
                    timeout=(CONNECT_SECONDS, READ_SECONDS),
                )
            except (ClientException, RequestException) as error:
                problems.append(f"{url}: {error}")
                continue
            if response.status_code in (200, 204, 206):
                return response
            response.close()
            if response.status_code == 404:
                raise NotFound(f"no {what}")
            problems.append(f"{url}: status {response.status_code}")
        raise StoreError(f"Swift does not give {what}: {'; '.join(problems)}", retriable=True)


def _path(project_id: str, container: str, name: str | None = None) -> str:
    path = f"/v1/AUTH_{quote(project_id, safe='')}/{quote(container, safe='')}"
    return path if name is None else f"{path}/{quote(name)}"


def connect(settings: Mapping[str, Any]) -> Swift:
    """Swift as ``lake.json`` describes it."""
    auth = TokenPassword(Path(settings["state_dir"]) / "keystone-token.json", **settings["keystone"])
    session = Session(auth=auth, verify=settings["ca_file"], user_agent="lake-airflow", connect_retries=1)
    return Swift(session=session, urls=settings["swift"]["urls"])
