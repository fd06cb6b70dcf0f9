# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""How the API is, for monitoring. The edge does not pass these paths on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from ..gold import Part
from ..lake import TheLake

router = APIRouter(prefix="/health", include_in_schema=False)

_KEPT_SECONDS = 5.0
_CHECK_SECONDS = 8.0
_last: tuple[float, dict[str, str]] = (0.0, {})


@router.get("/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("")
async def health(lake: TheLake) -> JSONResponse:
    """Whether each part of the lake that the API needs answers; 503 when one does not. Asked at most every 5 s."""
    global _last
    if time.monotonic() - _last[0] > _KEPT_SECONDS or not _last[1]:
        checks = {
            "keystone": lake.keystone.alive(),
            "mongodb": lake.stores.mongodb_alive(),
            "swift": lake.swift.alive(),
            "influxdb": lake.stores.influxdb_alive(),
        }
        gold: dict[str, Part[Any]] = {
            "tables": lake.gold.tables,
            "documents": lake.gold.documents,
            "graph": lake.gold.graph,
        }
        checks |= {name: part.alive() for name, part in gold.items() if part.present}
        found = await asyncio.gather(*map(_state, checks.values()))
        _last = (time.monotonic(), dict(zip(checks, found, strict=True)))
    well = all(state == "ok" for state in _last[1].values())
    content: dict[str, Any] = {"status": "ok" if well else "degraded", "parts": _last[1]}
    return JSONResponse(content, 200 if well else 503)


async def _state(check: Awaitable[bool]) -> str:
    try:
        return "ok" if await asyncio.wait_for(check, _CHECK_SECONDS) else "away"
    except TimeoutError:
        return "away"
