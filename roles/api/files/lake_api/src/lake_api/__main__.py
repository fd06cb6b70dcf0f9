# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Runs the API: uvicorn with TLS and several worker processes.

Tells systemd when the workers serve (Type=notify). SIGHUP replaces them one by one, each new one with the
certificate and configuration as they are then, without refusing a request; SIGTERM lets running requests end first.
The port is the one that the service manager listens on, where it does (serving.py); this process also gives the metrics
of all workers out.
"""

from __future__ import annotations

import argparse
import logging.config
import os
import socket
import sys

import uvicorn
from neocampus_lake.metadata import MetadataStore
from pydantic import ValidationError
from uvicorn.supervisors import Multiprocess

from . import metrics, settings
from .observe import log_config
from .serving import DRAIN_VARIABLE, Leaving, given_socket
from .stores import metadata_client

_START_SECONDS = 60.0


def tell_systemd(state: str) -> None:
    """Send `state` to the service manager; nothing where there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect("\0" + address[1:] if address.startswith("@") else address)
        notify.send(state.encode())


class Workers(Multiprocess):
    """uvicorn's workers, with word to systemd, and a failure that the exit status shows."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], given_out: metrics.Listener) -> None:
        super().__init__(config, sockets)
        self.asked_to_stop = False
        self.metrics = given_out

    def init_processes(self) -> None:
        super().init_processes()
        if all(process.wait_until_ready(_START_SECONDS, self.should_exit) for process in self.processes):
            tell_systemd("READY=1")
        else:
            self.should_exit.set()

    def handle_hup(self) -> None:
        super().handle_hup()
        self.metrics.renew()

    def keep_subprocess_alive(self) -> None:
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            metrics.forget(pid)

    def restart_all(self) -> None:
        before = {process.pid for process in self.processes}
        super().restart_all()
        for pid in before - {process.pid for process in self.processes}:
            metrics.forget(pid)

    def handle_term(self) -> None:
        self.asked_to_stop = True
        tell_systemd("STOPPING=1")
        super().handle_term()

    def handle_int(self) -> None:
        self.asked_to_stop = True
        super().handle_int()


def complete_words() -> None:
    """Give words and indexes to documents that were made before there was a search; prints how many."""
    with metadata_client(settings.load()) as client:
        metadata = MetadataStore(client)
        for known in metadata.registry():
            print(f"{known['store']}: {metadata.complete_words(known['store'])} documents", flush=True)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="lake-api", description="REST API of the data lake")
    parser.add_argument(
        "--config", help=f"configuration file (default: ${settings.CONFIG_VARIABLE} or {settings.DEFAULT_CONFIG})"
    )
    parser.add_argument("--check", action="store_true", help="check the configuration file and stop")
    parser.add_argument(
        "--complete-words", action="store_true", help="make documents of an older lake known to the search, and stop"
    )
    given = parser.parse_args()
    if given.config:
        os.environ[settings.CONFIG_VARIABLE] = given.config  # for the workers
    try:
        server = settings.load().server
    except ValidationError as error:
        found = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False))
        # Without the values, for some are secrets.
        sys.exit(f"lake-api: the configuration can't be used: {'; '.join(found)}")
    except (OSError, ValueError) as error:
        sys.exit(f"lake-api: the configuration can't be used: {error}")
    if given.check:
        return
    if given.complete_words:
        complete_words()
        return
    logs = log_config(server.log_level)
    logging.config.dictConfig(logs)
    config = uvicorn.Config(
        "lake_api.app:create_app",
        factory=True,
        http=Leaving,
        host=server.host,
        port=server.port,
        workers=server.workers,
        ssl_certfile=server.certificate,
        ssl_keyfile=str(server.key) if server.key else None,
        proxy_headers=bool(server.trusted_proxies),
        forwarded_allow_ips=server.trusted_proxies,
        server_header=False,
        access_log=False,
        log_config=logs,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=server.graceful_seconds,
        timeout_worker_healthcheck=int(_START_SECONDS),  # also how long a worker may start on a busy host
        backlog=1024,
    )
    os.environ[DRAIN_VARIABLE] = str(server.drain_seconds)
    metrics.prepare()
    workers = Workers(config, [given_socket() or config.bind_socket()], metrics.Listener(server))
    workers.run()
    if not workers.asked_to_stop:
        sys.exit(1)


if __name__ == "__main__":
    main()
