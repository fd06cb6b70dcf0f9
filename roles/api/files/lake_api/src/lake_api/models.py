# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Metadata models: what is inserted is checked against the one that it names, or that its container demands.

Models and demands are believed for a few seconds, so that inserting asks MongoDB no further question: a change holds
everywhere after `CACHE_SECONDS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import pymongo
from neocampus_lake.content_types import base_type
from neocampus_lake.model_store import ModelStore
from neocampus_lake.models import Checker, Problem, Reference

from .errors import ApiError, bad_request
from .stores import blocking

T = TypeVar("T")

CACHE_SECONDS = 5.0
_CACHED = 10_000
_PROBLEMS_KEPT = 20  # on the document of an object that need not follow its model


@dataclass(frozen=True)
class Demand:
    """What a container demands: a model in a version, and of which types it is enforced (patterns)."""

    checker: Checker
    enforced: bool | Mapping[str, bool]

    def on(self, content_type: str) -> bool | None:
        """Whether an object of this type has to follow the model; None: the model is not asked."""
        if not self.checker.applies(content_type):
            return None
        if isinstance(self.enforced, bool):
            return self.enforced
        kind = base_type(content_type)
        given = {pattern.lower(): enforced for pattern, enforced in self.enforced.items()}
        for pattern in (kind, kind.partition("/")[0] + "/*", "*/*"):
            if pattern in given:
                return given[pattern]
        return None


class Models:
    """The models as inserting needs them."""

    def __init__(
        self,
        client: pymongo.MongoClient[dict[str, Any]],
        seconds: float = CACHE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = ModelStore(client)
        self._seconds, self._clock = seconds, clock
        self._known: dict[tuple[Any, ...], tuple[Any, float]] = {}

    def forget(self) -> None:
        """Something was changed by this process: ask MongoDB again."""
        self._known.clear()

    async def follow(
        self, project_id: str, container: str, content_type: Callable[[], str], metadata: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """The metadata of a new object with its model's defaults and without `model`, and what its document says of the
        model: `{id, label, version, valid[, problems]}`, or None where it has none.

        `metadata` is what models.insertion_metadata gave, `content_type` is asked where a model is. Errors: ApiError
        400 with all that is wrong; InvalidInput for a model that is not there.
        """
        named: Reference | None = metadata.get("model")
        rest = {key: value for key, value in metadata.items() if key != "model"}
        demand = await self._demand(project_id, container)
        if named is None and demand is None:
            return rest, None
        kind = rest.get("content_type") or content_type()
        checker, strict = None, True
        if named is not None:
            checker = await self._named(project_id, named)
            if not checker.applies(kind):
                types = ", ".join(checker.model["content_types"])
                raise _refused(
                    checker, [Problem("model", f"is for {types}, but this is {kind}; name another, or none")]
                )
        if demand is not None and (enforced := demand.on(kind)) is not None:
            if checker is not None and enforced and _key(checker) != _key(demand.checker):
                raise _refused(demand.checker, [Problem("model", f"is demanded by {container!r}; name none")])
            if checker is None:
                checker, strict = demand.checker, enforced
        if checker is None:
            return rest, None
        other_data = checker.completed(rest.get("other_data", {}), kind)
        problems = await blocking(checker.problems, other_data, kind)
        if problems and strict:
            raise _refused(checker, problems)
        said = {key: checker.model[key] for key in ("id", "label", "version")} | {"valid": not problems}
        if problems:
            said["problems"] = [problem.told() for problem in problems[:_PROBLEMS_KEPT]]
            return rest, said
        return {**rest, "other_data": other_data}, said

    async def still(
        self, project_id: str, document: Mapping[str, Any], fields: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """What an object's document says of its model when `fields`, which are checked metadata, take the place of its
        own: `model` again, or None where it has none. ApiError 400 where it would no longer follow it."""
        said: Mapping[str, Any] | None = document.get("model")
        if not said:
            return None
        identity, version = said["id"], said["version"]
        checker = await self._cached(
            ("kept", project_id, identity, version), lambda: Checker(self.store.get(project_id, identity, version))
        )
        changed = {**document, **fields}
        problems = await blocking(checker.problems, changed.get("other_data") or {}, changed["content_type"])
        if problems and said["valid"]:
            raise _refused(checker, problems)
        kept = {key: said[key] for key in ("id", "label", "version")} | {"valid": not problems}
        if problems:
            kept["problems"] = [problem.told() for problem in problems[:_PROBLEMS_KEPT]]
        return kept

    async def _named(self, project_id: str, reference: Reference) -> Checker:
        return await self._cached(
            ("model", project_id, reference), lambda: Checker(self.store.use(project_id, reference))
        )

    async def _demand(self, project_id: str, container: str) -> Demand | None:
        def ask() -> Demand | None:
            found = self.store.demanded(project_id, container)
            return None if found is None else Demand(Checker(found[1]), found[0]["enforced"])

        return await self._cached(("demand", project_id, container), ask)

    async def _cached(self, key: tuple[Any, ...], ask: Callable[[], T]) -> T:
        found = self._known.get(key)
        if found is not None and found[1] > self._clock():
            known: T = found[0]
            return known
        made = await blocking(ask)
        if len(self._known) >= _CACHED:
            self._known.clear()
        self._known[key] = (made, self._clock() + self._seconds)
        return made


def _key(checker: Checker) -> tuple[Any, Any]:
    return checker.model["id"], checker.model["version"]


def _refused(checker: Checker, problems: list[Problem]) -> ApiError:
    label, version = checker.model["label"], checker.model["version"]
    told = "; ".join(f"{one.field}: {one.message}" for one in problems[:5])
    more = f"; and {len(problems) - 5} more, see detail" if len(problems) > 5 else ""
    return bad_request(
        f"other_data is not as model {label!r} (version {version}) has it: {told}{more}",
        "violates_model",
        {"model": label, "version": version, "problems": [problem.told() for problem in problems]},
    )
