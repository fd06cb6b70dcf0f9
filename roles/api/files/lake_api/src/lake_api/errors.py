# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Every error leaves the API in one form: {"error": {"code", "message", "detail"}}.

`code` is for programs and stays the same; `message` says what was wrong and what to do; `detail` has particulars
or is null.
"""

from __future__ import annotations

import http
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from neocampus_lake import errors as lake
from pymongo.errors import PyMongoError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import compile_path

log = logging.getLogger("lake_api.errors")

RETRY_SECONDS = 5
"""What a client is told to wait when a part of the lake is away."""


class ApiError(Exception):
    """An answer that is not what was asked for: status, code, message, detail, headers."""

    def __init__(
        self, status: int, code: str, message: str, detail: Any = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.detail = status, code, message, detail
        self.headers = dict(headers or {})

    def form(self) -> dict[str, Any]:
        """The error form."""
        return body(self.code, self.message, self.detail)


class ServiceAway(ApiError):
    """A part of the lake that the request needs does not answer (503)."""

    def __init__(self, service: str, message: str | None = None) -> None:
        super().__init__(
            503,
            "service_unavailable",
            message
            or f"{service} does not answer at the moment; nothing is wrong with the request: send it again later",
            {"service": service},
            {"Retry-After": str(RETRY_SECONDS)},
        )


def bad_request(message: str, code: str = "invalid_request", detail: Any = None) -> ApiError:
    """400."""
    return ApiError(400, code, message, detail)


def unauthorized(message: str) -> ApiError:
    """401; says where a token comes from."""
    return ApiError(401, "unauthorized", message, headers={"WWW-Authenticate": "Keystone"})


def ticket_wanted(message: str) -> ApiError:
    """401 that asks for a Kerberos ticket, or for another one (RFC 4559)."""
    return ApiError(401, "unauthorized", message, headers={"WWW-Authenticate": "Negotiate"})


def forbidden(message: str) -> ApiError:
    """403."""
    return ApiError(403, "forbidden", message)


def not_found(what: str, hint: str) -> ApiError:
    """404. The same for what is missing and for what belongs to another project: names must not leak."""
    return ApiError(404, "not_found", f"{what} does not exist in your project; {hint}")


def body(code: str, message: str, detail: Any = None) -> dict[str, Any]:
    """The error form."""
    return {"error": {"code": code, "message": message, "detail": detail}}


def from_lake(error: lake.LakeError) -> ApiError:
    """The answer for an error of the library."""
    message = str(error)
    if isinstance(error, lake.InvalidInput):
        code = {"InvalidDocument": "invalid_document", "InvalidName": "invalid_name"}.get(
            type(error).__name__, "invalid_request"
        )
        return bad_request(message, code)
    if isinstance(error, lake.NotFound):
        return ApiError(404, "not_found", message)
    if isinstance(error, lake.Conflict):
        return ApiError(409, "conflict", message)
    if isinstance(error, lake.StoreError) and error.retriable:
        return ServiceAway("The metadata store")  # InfluxDB's errors have been met before
    return ApiError(
        500, "internal_error", "the lake could not do this; give the request id of this answer to an administrator"
    )


def answer_of(error: Exception) -> ApiError:
    """What a client is told of any error; one that is the lake's own fault is logged."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, lake.LakeError):
        answer = from_lake(error)
        if answer.status >= 500:
            away = isinstance(error, lake.StoreError) and error.retriable
            log.error("%s: %s", type(error).__name__, error, exc_info=None if away else error)
        return answer
    if isinstance(error, PyMongoError):
        log.error("MongoDB: %s: %s", type(error).__name__, error)
        return ServiceAway("The metadata store")
    if isinstance(error, ClientDisconnect):
        return bad_request("the connection closed before the whole body had come; send it again", "incomplete_body")
    log.error("the API failed", exc_info=error)
    return ApiError(
        500,
        "internal_error",
        "the API failed on this request; give the request id of this answer to an administrator",
    )


def respond(error: ApiError) -> JSONResponse:
    """`error` as an HTTP answer."""
    return JSONResponse(error.form(), error.status, error.headers)


def _validation(errors: Sequence[Any]) -> ApiError:
    """One message from pydantic's list. Never repeats the input, which may be a password."""
    found = []
    for item in errors:
        source, *path = item["loc"]
        where = ".".join(str(p) for p in path)
        said = re.sub(r"^Value error, ", "", item["msg"])
        if item["type"] == "missing":
            said = "is required"
        elif item["type"] == "extra_forbidden":
            said = "is not known here; remove it or correct its name"
        elif item["type"] == "json_invalid":
            where, said = "", "is not valid JSON; send one JSON object"
        name = {"query": "query parameter", "body": "body", "path": "path", "header": "header"}.get(
            str(source), str(source)
        )
        found.append(f"{name} '{where}': {said}" if where else f"{name}: {said}")
    return bad_request(
        "; ".join(found), detail=[{"where": ".".join(map(str, e["loc"])), "problem": e["type"]} for e in errors]
    )


_STATUS_MESSAGES = {
    404: "there is nothing at this path; /api/v1/openapi.json lists the paths",
    405: "this path does not know this method; the Allow header and /api/v1/openapi.json say which it knows",
}


def install(app: FastAPI) -> None:
    """Give `app` the handlers that put every error into the form."""

    async def _known(request: Request, error: Exception) -> JSONResponse:
        answer = answer_of(error)
        if isinstance(answer, ServiceAway):
            request.scope["lake.log"]["away"] = answer.detail["service"]
        return respond(answer)

    for kind in (ApiError, lake.LakeError, PyMongoError, ClientDisconnect, Exception):
        app.add_exception_handler(kind, _known)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return respond(_validation(error.errors()))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        known = {400: "invalid_request", 408: "too_slow", 413: "too_large"}
        code = known.get(error.status_code) or http.HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        message = _STATUS_MESSAGES.get(error.status_code, str(error.detail))
        headers = dict(error.headers or {})
        methods = _methods(app, request.url.path) if error.status_code == 405 else None
        if methods:
            headers["Allow"] = ", ".join(sorted(methods))
        return JSONResponse(body(code, message), error.status_code, headers)


def _methods(app: FastAPI, path: str) -> set[str]:
    """The methods that the document has of a path: each is a route of its own, of which the framework names one."""
    paths = app.openapi()["paths"].items()
    return {verb.upper() for known, methods in paths if compile_path(known)[0].match(path) for verb in methods}
