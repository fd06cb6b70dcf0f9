# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""What the API does without being asked: runs pulls, ends uploads that nobody goes on with, clears up after uploads.

Any number of hosts may run it: who runs a pull holds a claim on it in MongoDB, which ends when its worker dies; then
another takes the pull over and goes on with it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import logging.config
import os
import signal
import socket
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import anyio
from neocampus_lake import documents
from neocampus_lake.errors import LakeError
from pydantic import ValidationError
from pymongo.errors import PyMongoError

from . import settings
from .__main__ import tell_systemd
from .errors import ApiError
from .lake import Lake
from .observe import log_config
from .pull_hosts import next_time
from .pull_run import Gone, Puller, Run
from .pull_store import DONE, FAILED, WAITING
from .stores import blocking

log = logging.getLogger("lake_api.worker")

POLL_SECONDS = 2.0
CLEAR_SECONDS = 60.0
_TELL_SECONDS = 2.0


class Worker:
    """Works until it is cancelled."""

    def __init__(self, lake: Lake, poll_seconds: float = POLL_SECONDS, clear_seconds: float = CLEAR_SECONDS) -> None:
        self._lake, self._poll, self._clear = lake, poll_seconds, clear_seconds
        self._name = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"

    async def work(self) -> None:
        """All of it."""
        jobs = [self._clearing()]
        if self._lake.pulls.vault.usable:
            jobs += [self._pulling() for _ in range(self._lake.settings.pulls.at_once)]
            await self._rotate()
        await asyncio.gather(*jobs)

    async def _rotate(self) -> None:
        try:
            lost = await self._lake.pulls.renew_secrets()
        except PyMongoError as error:
            log.warning("the secrets of pulls are not encrypted anew now: %s", error)
            return
        if lost:
            log.error("the secrets of %d pulls were encrypted with a key that is gone", lost)

    # -- uploads -----------------------------------------------------------------------------------------------------

    async def _clearing(self) -> None:
        while True:
            await self.clear()
            await asyncio.sleep(self._clear)

    async def clear(self) -> None:
        """End uploads that nobody goes on with, and clear up after those that are over, once."""
        for name in ("expire", "sweep"):
            try:
                if count := await getattr(self._lake.large, name)():
                    log.info("uploads: %s: %d", name, count)
            except (ApiError, LakeError, PyMongoError) as error:
                log.warning("uploads: %s: put off: %s", name, error)

    # -- pulls -------------------------------------------------------------------------------------------------------

    async def _pulling(self) -> None:
        while True:
            try:
                ran = await self.pull()
            except PyMongoError as error:
                log.warning("pulls are put off: %s", error)
                ran = False
            if not ran:
                await asyncio.sleep(self._poll)

    async def pull(self) -> bool:
        """Run a pull whose time has come; False where there is none."""
        lease = self._lake.settings.pulls.lease_seconds
        pull = await blocking(self._lake.pulls.store.claim, self._name, lease)
        if pull is None:
            return False
        log.info("pull %s begins", pull["id"])
        running = asyncio.create_task(self._run(pull))
        keeping = asyncio.create_task(self._keep(pull, running))
        try:
            run = await running
        except (Gone, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and not keeping.done():  # this worker stops: another goes on
                running.cancel()
                with anyio.CancelScope(shield=True):
                    await blocking(self._lake.pulls.store.release, pull["id"], pull["lease"]["token"])
                raise
            log.info("pull %s was removed, or another worker has it", pull["id"])
            return True
        finally:
            keeping.cancel()
        await self._end(pull, run)
        return True

    async def _keep(self, pull: Mapping[str, Any], running: asyncio.Task[Run]) -> None:
        """Keep the claim while nothing comes; the run ends when it is lost."""
        lease = self._lake.settings.pulls.lease_seconds
        while True:
            await asyncio.sleep(lease / 6)
            try:
                if not await blocking(self._lake.pulls.store.update, pull["id"], pull["lease"]["token"], lease):
                    break
            except PyMongoError as error:
                log.warning("the claim of pull %s can't be renewed now: %s", pull["id"], error)
        running.cancel()

    async def _run(self, pull: Mapping[str, Any]) -> Run:
        told = 0.0

        async def tell(run: Run) -> None:
            nonlocal told
            if time.monotonic() - told < _TELL_SECONDS:
                return
            told = time.monotonic()
            lease = self._lake.settings.pulls.lease_seconds
            if not await blocking(
                self._lake.pulls.store.update, pull["id"], pull["lease"]["token"], lease, run=asdict(run)
            ):
                raise Gone

        try:
            return await Puller(self._lake, pull, tell).work()
        except (Gone, PyMongoError):  # after which the claim ends, and it is gone on with
            raise
        except ApiError as error:  # its secrets can't be read
            return Run(ended=documents.utc(), error=error.message)
        except Exception:
            log.exception("pull %s failed", pull["id"])
            return Run(ended=documents.utc(), error="the lake failed on this pull; tell an administrator its id")

    async def _end(self, pull: Mapping[str, Any], run: Run) -> None:
        now = documents.utc()
        status, following = (FAILED if run.error or run.failed else DONE), None
        if pull["schedule"]:
            following = next_time(pull["schedule"], now, 1)
            status = WAITING if following < pull["expires"] else FAILED
            if status == FAILED:
                run.error = run.error or "the pull may no longer act for who made it: make it again"
                following = None
        await blocking(self._lake.pulls.store.end, pull["id"], pull["lease"]["token"], status, following, asdict(run))
        log.info("pull %s ends: %d files, %d bytes, %d failed", pull["id"], run.done, run.bytes, run.failed)


async def _main(chosen: settings.Settings) -> None:
    lake = Lake.connect(chosen)
    working = asyncio.create_task(Worker(lake).work())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, working.cancel)
    tell_systemd("READY=1")
    try:
        await working
    except asyncio.CancelledError:
        tell_systemd("STOPPING=1")
    finally:
        await lake.close()


async def _renew_secrets(chosen: settings.Settings) -> int:
    """Have the first key alone encrypt what pulls log in with; how many of them none of the keys fits."""
    lake = Lake.connect(chosen)
    try:
        return await lake.pulls.renew_secrets() if lake.pulls.vault.usable else 0
    finally:
        await lake.close()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="lake-api-worker", description="Runs pulls and clears up after large uploads, for the API of the data lake"
    )
    parser.add_argument("--config", help=f"configuration file of the API (default: {settings.DEFAULT_CONFIG})")
    parser.add_argument(
        "--renew-secrets",
        action="store_true",
        help="only encrypt anew what pulls log in with, with the first of the keys, so that the others can go",
    )
    given = parser.parse_args()
    if given.config:
        os.environ[settings.CONFIG_VARIABLE] = given.config
    try:
        chosen = settings.load()
    except (OSError, ValueError) as error:
        said = "it is wrong (lake-api --check says where)" if isinstance(error, ValidationError) else str(error)
        sys.exit(f"lake-api-worker: the configuration can't be used: {said}")
    logging.config.dictConfig(log_config(chosen.server.log_level))
    if given.renew_secrets:
        try:
            lost = asyncio.run(_renew_secrets(chosen))
        except PyMongoError as error:
            sys.exit(f"lake-api-worker: the secrets of pulls are not encrypted anew: {error}; try again")
        if lost:
            log.error("the secrets of %d pulls were encrypted with a key that is gone: make them again", lost)
        return
    asyncio.run(_main(chosen))


if __name__ == "__main__":
    main()
