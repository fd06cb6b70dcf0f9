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
from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_STREAMED = (b"multipart/", b"application/offset+octet-stream")
_PLAIN_BODY_BYTES = 1024 * 1024
_DRAIN_BYTES = 16 * 1024 * 1024
_DRAIN_SECONDS = 5.0

access = logging.getLogger("lake_api.access")


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


class Observe:
    """Gives each request an id, logs it when it is over, and keeps connections well-behaved.

    An error answer that leaves before the whole body was read would reset the connection under a client that still
    sends, and the client would never see the answer: so the rest is read and thrown away first, up to 16 MiB or 5 s.
    Bodies of all but uploads (multipart, or parts of a large one) are limited to 1 MiB. A request keeps the id that the
    edge gave it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

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
        complete = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
        limited = not headers.get(b"content-type", b"").lower().startswith(_STREAMED)

        async def counted_receive() -> Message:
            nonlocal received, complete
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if limited and received > _PLAIN_BODY_BYTES:
                    raise HTTPException(413, "the body of this request may have 1 MiB at most")
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

        try:
            await self.app(scope, counted_receive, counted_send)
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
                "client": (scope.get("client") or ("",))[0],
                **noted,
            }
            level = logging.DEBUG if scope["path"].startswith("/health") and status == 200 else logging.INFO
            access.log(level, "%s %s %s", fields["method"], fields["path"], status, extra={"fields": fields})
            request_id.reset(mark)
