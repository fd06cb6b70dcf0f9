# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The application: routes, errors, logs, and the lake behind them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from . import errors, settings
from .lake import Lake
from .observe import Observe
from .routes import auth, health, objects, timeseries

PREFIX = "/api/v1"
_STATIC = Path(__file__).parent / "static"
_DOCS_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"


def create_app(configuration: settings.Settings | None = None, connect: Callable[[settings.Settings], Lake] = Lake.connect) -> FastAPI:
    """The API with `configuration`, else with the one that the configuration file has."""
    chosen = configuration or settings.load()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.lake = connect(chosen)
        try:
            yield
        finally:
            await app.state.lake.close()

    app = FastAPI(
        title="neOCampus data lake",
        version=importlib.metadata.version("lake-api"),
        summary="Insert, find and fetch data and metadata; read time series.",
        description="Log in at `/api/v1/auth/token` and send the token in the header `X-Auth-Token`. "
        "A list is `{items, next}`: give `next` as `cursor` until it is null.",
        license_info={"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_checked(lifespan),
        generate_unique_id_function=lambda route: route.name,
    )
    errors.install(app)
    app.include_router(health.router)
    for router in (auth.router, objects.router, timeseries.router):
        app.include_router(router, prefix=PREFIX)
    _add_docs(app)
    app.add_middleware(_observed, trusted=chosen.server.trusted_proxies)
    return app
