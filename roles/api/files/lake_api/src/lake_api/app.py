# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The application: routes, errors, logs, and the lake behind them."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from starlette.types import ASGIApp

from . import __version__, errors, settings
from .lake import Lake
from .live import on_stop
from .metrics import Measured, metrics
from .observe import Observe
from .routes import (
    admin,
    anomalies,
    archive,
    auth,
    documents,
    gold,
    graph,
    health,
    live,
    models,
    objects,
    pipelines,
    pulls,
    resumable,
    search,
    tables,
    timeseries,
    usage,
)
from .routes import errors as errors_of
from .watch import Addresses, Audited

PREFIX = "/api/v1"
_DOCS_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"


def create_app(
    configuration: settings.Settings | None = None, connect: Callable[[settings.Settings], Lake] = Lake.connect
) -> ASGIApp:
    """The API with `configuration`, else with the one that the configuration file has."""
    chosen = configuration or settings.load()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.lake = connect(chosen)
        app.state.lake.audit.tell = metrics().waiting.set
        on_stop(app.state.lake.live.close)
        try:
            yield
        finally:
            await app.state.lake.close()

    app = FastAPI(
        title="neOCampus data lake",
        version=__version__,
        summary="Insert, find and fetch data and metadata; read what became of them.",
        description="Log in at `/api/v1/auth/token` and send the token in the header `X-Auth-Token`. "
        "A list is `{items, next}`: give `next` as `cursor` until it is null.",
        license_info={"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    errors.install(app)
    app.include_router(health.router)
    for routes in (
        auth,
        admin,
        models,
        objects,
        resumable,
        pulls,
        gold,
        pipelines,
        timeseries,
        anomalies,
        tables,
        documents,
        graph,
        live,
    ):
        app.include_router(routes.router, prefix=PREFIX)
    for routes in (archive, search, usage):
        app.include_router(routes.router, prefix=PREFIX)
    _add_docs(app)
    _correct_openapi(app, chosen.identity.kerberos)
    return Observe(app, chosen.walls, [Measured(), Addresses(chosen.walls), Audited(app)])


def _correct_openapi(app: FastAPI, kerberos: bool) -> None:
    """What FastAPI would answer with 422 is answered with 400 here: the document must not say otherwise. Nor may it say
    that tickets are taken where they are not."""
    document = app.openapi()  # kept by the app, and made of the routes that it has now
    for path in document["paths"].values():
        for operation in path.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
            # Of the limits that all routes have.
            for status in (414, 429, 504):
                operation["responses"].setdefault(str(status), _limited(status))
            # Whatever an operation answers with when all is well, an error is JSON.
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and answer.get("content"):
                    answer["content"] = {"application/json": next(iter(answer["content"].values()))}
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    if kerberos:
        _add_kerberos(document)


def _add_kerberos(document: dict[str, Any]) -> None:
    """Log-in with a Kerberos ticket, for OpenAPI."""
    document["components"]["securitySchemes"]["kerberos"] = {
        "type": "http",
        "scheme": "negotiate",
        "description": "A Kerberos ticket for `HTTP/` and the name in the lake's address, as SPNEGO (RFC 4559) has it.",
    }
    log_in = document["paths"][f"{PREFIX}/auth/token"]["post"]
    log_in["security"] = [{}, {"kerberos": []}]
    log_in["description"] += (
        "\n\nOr with a Kerberos ticket in the header `Authorization: Negotiate …`, and at most `project` and `domain` "
        "in the body; the realm says which domain the user is in. A body that proves nothing is answered with 401 and "
        "`WWW-Authenticate: Negotiate`."
    )
    header = {"schema": {"type": "string"}, "description": "`Negotiate`, where a ticket would do."}
    log_in["responses"]["401"]["headers"] = {"WWW-Authenticate": header}
    proof = {
        "schema": {"type": "string"},
        "description": "`Negotiate …`: proves to who showed a ticket whom they talk to.",
    }
    log_in["responses"]["201"]["headers"] = {"WWW-Authenticate": proof}


def _limited(status: int) -> dict[str, Any]:
    """The answer of a limit, for OpenAPI."""
    form = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": errors_of(status)[status]["description"], "content": form}


def _add_docs(app: FastAPI) -> None:
    """The OpenAPI document as pages, from files of this host alone."""
    own = Path(__file__).parent / "static"
    # Only the files of that package are used: Swagger UI, which no package of its own ships.
    spec = importlib.util.find_spec("fastapi_offline")
    assets = Path(spec.origin).parent / "static" if spec and spec.origin else own
    files = {
        "": own / "docs.html",
        "/docs.js": own / "docs.js",
        "/swagger-ui-bundle.js": assets / "swagger-ui-bundle.js",
        "/swagger-ui.css": assets / "swagger-ui.css",
    }

    def add(path: str, file: Path) -> None:
        @app.get(f"{PREFIX}/docs{path}", include_in_schema=False)
        def docs() -> Response:
            return FileResponse(
                file, headers={"Content-Security-Policy": _DOCS_POLICY, "Cache-Control": "max-age=3600"}
            )

    for path, file in files.items():
        add(path, file)
