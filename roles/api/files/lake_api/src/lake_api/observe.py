# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Request ids, logs, and limits on bodies: plain ASGI, so that bodies keep streaming.

Logs are JSON, one object a line, on standard output. They never hold a token, a password, a query or a body.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import RETRY_SECONDS, ApiError, respond
from .settings import Walls

request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_UPLOADS = (b"multipart/", b"application/octet-stream", b"application/offset+octet-stream")
"""Types of bodies that may be as large as objects are."""
_DRAIN_BYTES = 16 * 1024 * 1024
_DRAIN_SECONDS = 5.0

access = logging.getLogger("lake_api.access")
log = logging.getLogger("lake_api.observe")

_TOO_LATE = ApiError(
    504,
    "too_late",
    "the lake did not answer in time; ask for less, or again later",
    headers={"Retry-After": str(RETRY_SECONDS)},
)


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if identity := request_id.get():
            line["request_id"] = identity
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_config(level: str) -> dict[str, Any]:
    """For logging.config.dictConfig; third-party loggers only speak from warnings on."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "lake_api.observe.JsonFormatter"}},
        "handlers": {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "json"}},
        "root": {"level": "WARNING", "handlers": ["out"]},
        "loggers": {
            "lake_api": {"level": level.upper()},
            "neocampus_lake": {"level": level.upper()},
            "uvicorn": {"level": "INFO"},
        },
    }


def note(scope: Scope, **fields: Any) -> None:
    """Add `fields` (who, which object; no secrets) to the request's log line."""
    scope["lake.log"].update(fields)


def client_of(scope: Scope) -> str:
    """The address that the request comes from, as the edge has it."""
    return str((scope.get("client") or ("",))[0])


class Watcher(Protocol):
    """What looks at requests as they begin and as they are over."""

    def begin(self, scope: Scope) -> None:
        """A request begins; an ApiError refuses it."""

    def end(self, scope: Scope, fields: Mapping[str, Any]) -> None:
        """A request that `begin` let pass is over; `fields` are those of its log line."""


class Observe:
    """Gives each request an id, logs it when it is over, and keeps connections well-behaved.

    An error answer that leaves before the whole body was read would reset the connection under a client that still
    sends, and the client would never see the answer: so the rest is read and thrown away first, up to 16 MiB or 5 s.
    Bodies that a route does not read as a stream are limited, and so is how long a client may be silent in the middle
    of one, and how long the answer to what is no upload may take to begin. A request keeps the id that the edge gave.
    """

    def __init__(self, app: ASGIApp, walls: Walls | None = None, watchers: Sequence[Watcher] = ()) -> None:
        self.app = app
        self._walls = walls or Walls()
        self._watchers = watchers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        identity = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        mark = request_id.set(identity)
        started, status, sent, received, over = time.perf_counter(), 0, 0, 0, False
        noted: dict[str, Any] = {}
        scope["lake.log"] = noted
        walls = self._walls
        complete = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
        upload = headers.get(b"content-type", b"").lower().startswith(_UPLOADS)
        deadline, entered = asyncio.timeout(None if upload else walls.answer_seconds), False

        async def counted_receive() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            silence = asyncio.timeout(walls.silence_seconds)
            try:
                async with silence:
                    message = await receive()
            except TimeoutError:
                if not silence.expired():
                    raise
                raise HTTPException(
                    408, f"nothing of the body came for {walls.silence_seconds:g} s; send the request again"
                ) from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if received > walls.body_bytes and not (upload and _streams(scope)):
                    raise HTTPException(413, f"the body of this request may have {walls.body_bytes:,} bytes at most")
            else:
                complete = True
            return message

        async def drain() -> None:
            nonlocal complete
            thrown = 0
            while not complete and thrown < _DRAIN_BYTES:
                message = await receive()
                thrown += len(message.get("body", b""))
                complete = message["type"] != "http.request" or not message.get("more_body", False)

        async def counted_send(message: Message) -> None:
            nonlocal status, sent, over
            if message["type"] == "http.response.start":
                status = message["status"]
                if entered and not deadline.expired():
                    deadline.reschedule(None)
                message["headers"] = [*message.get("headers", []), (b"x-request-id", identity.encode())]
                if status >= 400 and not complete and (received or b"expect" not in headers):
                    try:
                        await asyncio.wait_for(drain(), _DRAIN_SECONDS)
                    except TimeoutError:
                        pass
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
                over = not message.get("more_body", False)
            await send(message)

        begun: list[Watcher] = []
        try:
            for watcher in self._watchers:
                watcher.begin(scope)
                begun.append(watcher)
            async with deadline:
                entered = True
                await self.app(scope, counted_receive, counted_send)
        except ApiError as error:  # of a watcher: those of the app were answered there
            if status:
                raise
            await respond(error)(scope, counted_receive, counted_send)
        except TimeoutError:
            if not over and (status or not deadline.expired()):
                raise
            if not status:
                log.error("no answer within %s s", walls.answer_seconds)
                await respond(_TOO_LATE)(scope, counted_receive, counted_send)
        except Exception:
            if not over:  # the connection has to be cut; else the error was logged and answered
                raise
        finally:
            fields = {
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "seconds": round(time.perf_counter() - started, 4),
                "bytes_in": received,
                "bytes_out": sent,
                "client": client_of(scope),
                **noted,
            }
            level = logging.DEBUG if scope["path"].startswith("/health") and status == 200 else logging.INFO
            access.log(level, "%s %s %s", fields["method"], fields["path"], status, extra={"fields": fields})
            for watcher in begun:
                watcher.end(scope, {**fields, "request_id": identity})
            request_id.reset(mark)


def _streams(scope: Scope) -> bool:
    """Whether the route reads its body itself, as a stream: FastAPI reads those of all others at once."""
    return getattr(scope.get("route"), "body_field", None) is None
