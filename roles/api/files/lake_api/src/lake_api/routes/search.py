# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Search over metadata: of the project's containers, or some of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from neocampus_lake import search as words
from neocampus_lake.catalogue import Wanted
from neocampus_lake.documents import to_json
from pydantic import BaseModel, ConfigDict, Field

from .. import conditions, paging
from ..identity import Identity
from ..lake import Lake, Reader, TheLake
from ..stores import blocking
from . import Document, answers
from .filters import Chosen, Filters

router = APIRouter(tags=["search"])

COUNTED = 20_000
"""How many documents facets count unless all are asked for: as many as are counted in a fraction of a second."""
EVERY = 100_000_000
VALUES = 100
"""Values of a facet that are told, those with the most documents."""

Facet = Literal["content_type", "container", "application", "user", "month", "measurement"]


class Search(paging.Paged, Filters, Chosen):
    """What is looked for; what is given has to hold together."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "room u4*", "content_type": "text/csv"}]})

    order: Literal["oldest", "newest"] = Field(default="newest", description="By id, which grows with time.")
    text: str | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="Words that all have to be in name, application, type or the texts of `other_data`, in any order, "
        "without regard to case and accents; `word*`: any word that begins so.",
    )
    container: list[str] = Field(default=[], max_length=1000, description="Only these containers.")
    where: list[str] = Field(
        default=[],
        max_length=20,
        description="Conditions on fields, `field:operator:value`, as for documents of gold: "
        "`other_data.room:eq:302`, `size:ge:1000000`, `creation_date:lt:2026-01-01`.",
    )
    facets: list[Facet] = Field(default=[], max_length=6, description="What is counted by.")
    exact: bool = Field(
        default=False,
        description=f"Count all that is found, which takes longer, and not {COUNTED:,} documents at most.",
    )

    def looked_for(self) -> Wanted:
        """As the library takes it. ApiError, InvalidInput."""
        return self.wanted(
            words=words.asked(self.text) if self.text else (),
            where=tuple(conditions.conditions(self.where, conditions.typed)),
        )


class Value(BaseModel):
    value: str
    count: int


class Facets(BaseModel):
    counted: int = Field(description="How many documents were counted.")
    complete: bool = Field(description="Whether these are all that were found.")
    by: dict[str, list[Value]] = Field(description=f"The {VALUES} values with the most documents, of each facet.")


class Found(BaseModel):
    items: list[Document]
    next: str | None
    facets: Facets | None = Field(description="Where they were asked for.")


_ANSWERS = answers(200, Found, 400, 401, 403, 404, 503)


@router.get("/search", responses=_ANSWERS, summary="Search over metadata")
async def search(identity: Reader, lake: TheLake, given: Annotated[Search, Query()]) -> JSONResponse:
    """Documents of all containers of the project, the newest first, and how many there are by facets."""
    return await _answer(lake, identity, given)


@router.post("/search", responses=_ANSWERS, summary="Search over metadata, asked for in JSON")
async def search_in_json(identity: Reader, lake: TheLake, given: Search) -> JSONResponse:
    """The same as a body, where there is much to say."""
    return await _answer(lake, identity, given)


async def _answer(lake: Lake, identity: Identity, given: Search) -> JSONResponse:
    wanted, fields = given.looked_for(), given.names()
    names = sorted(set(given.container)) or await blocking(lake.stores.metadata.containers, identity.project_id)
    stores = [await lake.store(identity, name) for name in names]
    query = ("search", identity.project_id, sorted(set(given.container)), wanted, given.order, sorted(fields))
    after = paging.decode(query, given.cursor)
    catalogue, read = lake.stores.catalogue, lake.stores.read
    found = await read(
        catalogue.search, stores, wanted, limit=given.limit + 1, order=given.order, after=after, fields=fields
    )
    answer = paging.page(found, given.limit, query, lambda shown: shown[-1]["swift_object_id"])
    answer["facets"] = None
    if given.facets:
        most = EVERY if given.exact else COUNTED
        values, counted = await read(catalogue.facets, stores, wanted, given.facets, most)
        by = {name: _most(each) for name, each in values.items()}
        answer["facets"] = {"counted": counted, "complete": counted < most, "by": by}
    return JSONResponse(to_json(answer))


def _most(values: dict[str, int]) -> list[dict[str, Any]]:
    ordered = sorted(values.items(), key=lambda each: (-each[1], each[0]))
    return [{"value": value, "count": count} for value, count in ordered[:VALUES]]
