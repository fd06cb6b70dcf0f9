# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The design that the lake does not have, for comparison: a filter that posts each event to the receiver while the
client waits.

It is the lake's filter in all but where an event goes: same containers, same events. It is spared what Airflow would
ask for besides: TLS, a log-in, and work of its own on this machine. An event that the receiver does not take in time is
lost, the client is told of success all the same, as such filters do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from swift.common.utils import get_logger
from swift_webhook.middleware import WebhookMiddleware

_CONNECTIONS = 64  # kept open at most, so that a request need not open one


class Poster:
    """Has the two methods that the filter calls its committer by.

    url: where runs are started. timeout: seconds for connecting, and for an answer.
    """

    def __init__(self, url: str, timeout: float, logger: Any) -> None:
        self._url = url
        self._timeout = timeout
        self._logger = logger
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.mount("http://", HTTPAdapter(pool_connections=1, pool_maxsize=_CONNECTIONS))

    def check(self) -> None:
        """There is nothing that it could know before."""

    def commit(self, line: bytes) -> None:
        """Start a run for the event of one line of an outbox."""
        event = json.loads(line.partition(b" ")[2])
        run = {"logical_date": None, "dag_run_id": f"new_input__{event['id']}", "conf": event}
        try:
            self._session.post(self._url, json=run, timeout=self._timeout).raise_for_status()
        except requests.RequestException as error:
            self._logger.error("event %s is lost: %s", event["id"], error)


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[Callable[..., Any]], WebhookMiddleware]:
    """For paste.deploy. url, timeout: see Poster."""
    conf = {**global_conf, **local_conf}
    poster: Any = Poster(conf["url"], float(conf["timeout"]), get_logger(conf, log_route="synchronous"))
    return lambda app: WebhookMiddleware(app, conf, poster)
