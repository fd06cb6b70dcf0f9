# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Metrics for Prometheus. Each worker keeps its own in files of PROMETHEUS_MULTIPROC_DIR, and the process that watches
over the workers gives the sum of all, on a listener of its own."""

from __future__ import annotations

import ipaddress
import os
import ssl
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from starlette.types import Scope

from .settings import Server

FOLDER = "PROMETHEUS_MULTIPROC_DIR"

# prometheus_client decides when it is first imported whether metrics are shared between processes: so that this module
# may be imported before the folder is known, it imports it late.


class Metrics:
    """The numbers of this process."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        # Of its own: what is given out is collected from the files.
        registry = CollectorRegistry()
        labels = ["route", "method", "status"]
        self.requests = Counter("lake_api_requests", "Requests that are over", labels, registry=registry)
        self.seconds = Histogram(
            "lake_api_request_seconds",
            "Seconds from a request's head to the end of its answer",
            ["route", "method"],
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120, 600),
        )
        self.bytes_in = Counter("lake_api_bytes_in", "Bytes of bodies received", ["route"], registry=registry)
        self.bytes_out = Counter("lake_api_bytes_out", "Bytes of bodies sent", ["route"], registry=registry)
        self.under_way = Gauge(
            "lake_api_requests_under_way", "Requests under way", multiprocess_mode="livesum", registry=registry
        )
        self.away = Counter(
            "lake_api_upstream_errors",
            "Requests refused as a part of the lake was away",
            ["service"],
            registry=registry,
        )
        self.waiting = Gauge(
            "lake_api_audit_waiting",
            "Events that wait to be written to the audit",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.registry = registry


@cache
def metrics() -> Metrics:
    """Those of this process, made once."""
    return Metrics()


class Measured:
    """Counts requests, by the route's name: there are as many as the API has routes."""

    def __init__(self) -> None:
        self._metrics = metrics()

    def begin(self, scope: Scope) -> None:
        self._metrics.under_way.inc()

    def end(self, scope: Scope, fields: Mapping[str, Any]) -> None:
        known = self._metrics
        route = getattr(scope.get("route"), "name", "none")
        method = fields["method"] if route != "none" else "any"
        known.under_way.dec()
        known.requests.labels(route, method, str(fields["status"])).inc()
        known.seconds.labels(route, method).observe(fields["seconds"])
        known.bytes_in.labels(route).inc(fields["bytes_in"])
        known.bytes_out.labels(route).inc(fields["bytes_out"])
        if service := fields.get("away"):
            known.away.labels(service).inc()


def prepare() -> Path:
    """The folder of the numbers, empty; before the first worker starts."""
    folder = Path(os.environ.get(FOLDER) or tempfile.mkdtemp(prefix="lake-api-metrics-"))
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("*.db"):
        left.unlink()
    os.environ[FOLDER] = str(folder)
    return folder


class Listener:
    """Gives the metrics of all workers out, in threads of this process, if the settings name a port.

    On loopback in plain text, else over TLS.
    """

    def __init__(self, server: Server) -> None:
        from prometheus_client import CollectorRegistry, start_http_server
        from prometheus_client.multiprocess import MultiProcessCollector

        self._server = server
        self._context: ssl.SSLContext | None = None
        if server.metrics_port is None:
            return
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        local = ipaddress.ip_address(server.metrics_host).is_loopback
        given = (
            {} if local or not server.certificate else {"certfile": str(server.certificate), "keyfile": str(server.key)}
        )
        listening, _thread = start_http_server(server.metrics_port, server.metrics_host, registry=registry, **given)
        if isinstance(listening.socket, ssl.SSLSocket):
            self._context = listening.socket.context

    def renew(self) -> None:
        """Show the certificate that is there now."""
        if self._context and self._server.certificate:
            self._context.load_cert_chain(self._server.certificate, self._server.key)


def forget(pid: int | None) -> None:
    """A worker ended: what it had under way is no more; its counters stay."""
    from prometheus_client.multiprocess import mark_process_dead

    if pid is not None:
        mark_process_dead(pid)
