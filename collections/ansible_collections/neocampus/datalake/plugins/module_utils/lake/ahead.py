# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small objects, fetched before they are wanted: a busy Swift makes each wait, so several wait at the same time."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from types import TracebackType
from typing import BinaryIO

from .errors import LakeError, StoreError
from .events import Event

THREADS = 8
"""So many objects are fetched at the same time."""
AHEAD = 16
"""So many at most are in memory and not yet wanted."""
LARGEST = 1024 * 1024
"""Bytes of the largest object that is fetched as a whole."""


class ReadAhead:
    """Opens objects. Those of `wanted`, each LARGEST bytes at most, are asked for in that order; they are fetched while
    those before them are worked on. Any other is opened as ever.

    `open_object` is called by several threads.
    """

    def __init__(self, open_object: Callable[[Event], BinaryIO], wanted: Iterable[Event]) -> None:
        self._open_object = open_object
        self._wanted: Iterator[Event] = iter(wanted)
        self._fetched: dict[int, Future[bytes | None]] = {}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="read-ahead")
        self._fill()

    def open(self, event: Event) -> BinaryIO:
        """The object's content. Errors: those of `open_object`; StoreError (retriable) where reading breaks off."""
        future = self._fetched.pop(id(event), None)
        self._fill()
        content = future.result() if future else None
        return self._open_object(event) if content is None else io.BytesIO(content)

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _fill(self) -> None:
        while len(self._fetched) < AHEAD:
            event = next(self._wanted, None)
            if event is None:
                return
            self._fetched[id(event)] = self._pool.submit(self._fetch, event)

    def _fetch(self, event: Event) -> bytes | None:
        """The object's content; None where it is larger than was said."""
        with closing(self._open_object(event)) as stream:
            content = bytearray()
            try:
                while len(content) <= LARGEST and (part := stream.read(LARGEST + 1 - len(content))):
                    content += part
            except LakeError:
                raise
            except Exception as error:  # whatever the client's library raises
                raise StoreError(
                    f"reading the object {event.object_name!r} broke off: {error}", retriable=True
                ) from error
        return bytes(content) if len(content) <= LARGEST else None
