# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""What happens in a container, as it happens: server-sent events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from .. import live
from ..errors import ApiError
from ..identity import require
from ..lake import Reader, TheLake
from . import errors
from .objects import Container

router = APIRouter(prefix="/containers/{container}", tags=["live"])

_Name = Annotated[str, Field(max_length=1024)]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events: `processing` (an object was stored, processed, failed, deleted, lost), `point` (a new "
        "point), `points` (that there are more than are sent one by one), `gap` (some were missed), `end` (the last "
        "one, which says why).",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


class LiveQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    events: list[Literal["processing", "point"]] = Field(
        default=["processing", "point"], max_length=2, description="Which kinds; give it twice for both."
    )
    measurement: list[_Name] = Field(default=[], max_length=100, description="Only points of these; of all without.")
    topic: list[_Name] = Field(default=[], max_length=100, description="Only points of these; of all without.")


@router.get(
    "/live",
    status_code=200,
    response_class=live.EventStream,
    responses=_STREAM | errors(400, 401, 403, 404, 429, 503),
    summary="Live events of a container",
)
async def listen(
    container: Container,
    identity: Reader,
    lake: TheLake,
    given: Annotated[LiveQuery, Query()],
    last_event_id: Annotated[
        str | None, Header(max_length=2100, description="The id of the last event that came: goes on after it.")
    ] = None,
) -> Response:
    """Until the client ends it, or its token does. Without Last-Event-ID it begins now.

    Lines that begin with a colon only say that the connection is alive.
    """
    store = await lake.store(identity, container)
    after = live.Place.parse(last_event_id) if last_event_id else None
    wanted = live.Filter(frozenset(given.events), frozenset(given.measurement), frozenset(given.topic))
    hub = lake.live

    async def check() -> tuple[str, str] | None:
        try:
            require(await lake.tokens.identity(identity.token), lake.settings.identity.read_roles, "reading")
        except ApiError as error:
            return None if error.status >= 500 else (error.code, error.message)
        return None

    def allowed() -> float:
        return (identity.expires_at - datetime.now(UTC)).total_seconds()

    listener = await hub.listen(store, identity.project_id or "")
    texts = live.texts(hub, listener, wanted, after, check, allowed)
    return live.EventStream(texts, hub.settings.send_seconds, lambda: hub.leave(listener))
