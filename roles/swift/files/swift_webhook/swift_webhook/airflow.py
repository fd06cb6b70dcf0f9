# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts runs of a workflow through Airflow's REST API."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import requests
from neocampus_lake.errors import StoreError

_RENEW_BEFORE_SECONDS = 60
_REFUSALS = (400, 413, 422)


class Refused(StoreError):
    """Airflow understood, works, and does not want this batch: sending it again gives the same answer."""

    def __init__(self, message: str, **context: Any) -> None:
        super().__init__(message, retriable=False, **context)


class Airflow:
    """A client of one workflow.

    urls: base URLs of the api-servers, `https://<host>:8081`; after a failure the next one is tried.
    ca_file: certificates that the servers' are verified with.
    timeouts: seconds for connecting, and for an answer.
    """

    def __init__(
        self,
        urls: Sequence[str],
        username: str,
        password: str,
        *,
        ca_file: str,
        dag_id: str = "new_input",
        timeouts: tuple[float, float] = (3.05, 30.0),
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not urls:
            raise ValueError("no URL of Airflow given")
        self._urls = [url.rstrip("/") for url in urls]
        self._username = username
        self._password = password
        self._dag = f"/api/v2/dags/{quote(dag_id, safe='')}"
        self._timeouts = timeouts
        self._clock = clock
        self._token = ""
        self._token_ends = 0.0
        self._session = requests.Session()
        self._session.trust_env = False  # neither proxies nor other certificates from the environment
        self._session.verify = ca_file

    def start(self, run_id: str, conf: Mapping[str, Any]) -> bool:
        """Start a run. Returns False where a run with this id was there already (an answer got lost: it is the same
        batch).

        Errors: Refused, where the batch itself is not wanted; StoreError otherwise (away, overloaded, no such
        workflow yet, log-in refused).
        """
        response = self._call(
            "POST", f"{self._dag}/dagRuns", {"logical_date": None, "dag_run_id": run_id, "conf": dict(conf)}
        )
        if response.status_code == 409:
            return False
        if response.ok:
            return True
        message = f"Airflow answered {response.status_code} to run {run_id}: {response.text[:500]}"
        if response.status_code in _REFUSALS and self._workflow_works(response.text):
            raise Refused(message, status=response.status_code)
        raise StoreError(message, status=response.status_code)

    def ended(self, run_id: str) -> bool:
        """Whether a run has ended, well or badly, or is not there (any more). Errors: StoreError."""
        response = self._call("GET", f"{self._dag}/dagRuns/{quote(run_id, safe='')}")
        if response.status_code == 404:
            return True
        try:
            if response.ok:
                return response.json()["state"] in ("success", "failed")
            reason = response.text[:500]
        except (ValueError, KeyError, TypeError) as error:
            reason = repr(error)
        raise StoreError(f"Airflow answered {response.status_code} about run {run_id}: {reason}")

    def _workflow_works(self, refusal: str) -> bool:
        """False where the workflow is missing or can't be imported: then no batch is to blame for a refusal."""
        response = self._call("GET", self._dag)
        if response.status_code == 403:  # this account may start runs and nothing else
            return "import error" not in refusal
        try:
            return response.ok and not response.json().get("has_import_errors")
        except ValueError:
            return False

    def _call(self, method: str, path: str, body: Any = None) -> requests.Response:
        if self._clock() > self._token_ends - _RENEW_BEFORE_SECONDS:
            self._log_in()
        response = self._send(method, path, body)
        if response.status_code == 401:
            self._log_in()
            response = self._send(method, path, body)
        return response

    def _log_in(self) -> None:
        self._token_ends = 0.0
        response = self._send("POST", "/auth/token", {"username": self._username, "password": self._password})
        try:
            if not response.ok:
                raise ValueError(f"status {response.status_code}")
            self._token = response.json()["access_token"]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"log-in of {self._username} to Airflow failed: {error}", status=response.status_code
            ) from None
        self._token_ends = _expiry(self._token) or self._clock() + 3600

    def _send(self, method: str, path: str, body: Any) -> requests.Response:
        url = self._urls[0]
        headers = {"Authorization": f"Bearer {self._token}"} if self._token_ends else {}
        try:
            response = self._session.request(
                method, url + path, json=body, headers=headers, timeout=self._timeouts, allow_redirects=False
            )
        except requests.RequestException as error:
            self._next_url()
            cause = getattr(error.args[0], "reason", error) if error.args else error  # without urllib3's own story
            raise StoreError(f"Airflow at {url} does not answer: {cause}") from error
        if response.status_code >= 500 or 300 <= response.status_code < 400:
            self._next_url()
            raise StoreError(f"Airflow at {url} answered {response.status_code}", status=response.status_code)
        return response

    def _next_url(self) -> None:
        self._urls.append(self._urls.pop(0))


def _expiry(token: str) -> float | None:
    """`exp` of a JWT, in seconds since the epoch. Not verified: the server does that."""
    try:
        payload = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None
