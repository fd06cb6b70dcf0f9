# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metadata models in MongoDB, `models_management`.`models`, and which of them a container demands.

A document is a model: its newest version, and in `history` what the older ones said. It is of one project; a public one
is seen by all. `used` says that an object's document, or a container, refers to it: from then on it is never removed.
What a container demands stands in the registry of containers, `stats`.`containers`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .content_types import base_type
from .documents import utc
from .errors import AccessDenied, Conflict, InvalidInput, NotFound
from .metadata import WRITE_TIMEOUT_MS, mongodb
from .models import Reference

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.collection import Collection

MAX_VERSIONS = 200
"""Of a model: with MAX_BYTES each they stay in one document."""
ACTIVE, WITHDRAWN = "active", "withdrawn"
_DECLARED = ("label", "description", "content_types", "metadata", "visibility", "additional")
_VERSIONED = ("description", "content_types", "metadata", "additional", "changed_at", "changed_by", "version")


@dataclass(frozen=True)
class Wanted:
    """Which models; None: any."""

    label: str | None = None
    content_type: str | None = None
    visibility: str | None = None
    status: str | None = None
    own: bool | None = None


class ModelStore:
    """The models. `client` has to be opened with tz_aware=True. A model that a project may not see is not there for it.

    Errors of every method: StoreError when MongoDB is away.
    """

    def __init__(self, client: MongoClient[dict[str, Any]]) -> None:
        self._client = client
        self._indexed = False

    def _collection(self, database: str, name: str) -> Collection[dict[str, Any]]:
        from pymongo import WriteConcern

        concern = WriteConcern(w="majority", wtimeout=WRITE_TIMEOUT_MS)
        return self._client.get_database(database).get_collection(name, write_concern=concern)

    @property
    def _models(self) -> Collection[dict[str, Any]]:
        return self._collection("models_management", "models")

    @property
    def _registry(self) -> Collection[dict[str, Any]]:
        return self._collection("stats", "containers")

    def _ensure_indexes(self) -> None:
        """That a label names one model rests on these: they are made here, not left to a deployment."""
        if not self._indexed:
            self._models.create_index([("project_id", 1), ("label", 1)], unique=True)
            public = {"visibility": "public"}
            self._models.create_index("label", name="public_label", unique=True, partialFilterExpression=public)
            self._indexed = True

    def create(self, project_id: str, project: str | None, user: str, model: Mapping[str, Any]) -> dict[str, Any]:
        """A new model of a project, version 1; `model` is what models.check_model gave.

        Errors: Conflict when the project has one of that label, or another project a public one and this is public.
        """
        from pymongo.errors import DuplicateKeyError

        now = utc()
        document = {
            "_id": secrets.token_hex(12),
            "project_id": project_id,
            "project": project,
            **{key: model[key] for key in _DECLARED},
            "version": 1,
            "status": ACTIVE,
            "created_at": now,
            "created_by": user,
            "changed_at": now,
            "changed_by": user,
            "used": False,
            "history": [],
        }
        with mongodb(f"keep the model {model['label']!r}"):
            self._ensure_indexes()
            try:
                self._models.insert_one(document)
            except DuplicateKeyError:
                raise self._taken(model["label"]) from None
        return _told(document, project_id)

    def update(
        self, project_id: str, name: str, user: str, model: Mapping[str, Any], expected: int | None = None
    ) -> dict[str, Any]:
        """A new version of a project's model, which is active then; none where nothing changes. `expected` is the
        version that has to be the newest.

        Errors: NotFound; AccessDenied for another project's public model; Conflict when it changed meanwhile, another
        has its new label, or a public one should become confidential; InvalidInput after MAX_VERSIONS.
        """
        from pymongo.errors import DuplicateKeyError

        before = self._owned(project_id, name, "changed")
        if expected not in (None, before["version"]):
            raise Conflict(
                f"model {name!r} is at version {before['version']}, no longer at {expected}: read it and change that",
                version=before["version"],
            )
        if before["visibility"] == "public" and model["visibility"] != "public":
            raise Conflict(
                f"model {name!r} is public, and others may go by it: it stays public. Withdraw it and make a "
                "confidential one with another label"
            )
        if before["status"] == ACTIVE and all(before[key] == model[key] for key in _DECLARED):
            return _told(before, project_id)
        if before["version"] >= MAX_VERSIONS:
            raise InvalidInput(f"model {name!r} has {MAX_VERSIONS} versions, which is the most: make a new one")
        fields = {
            **{key: model[key] for key in _DECLARED},
            "version": before["version"] + 1,
            "status": ACTIVE,
            "changed_at": utc(),
            "changed_by": user,
        }
        old = {key: before[key] for key in _VERSIONED}
        with mongodb(f"keep the model {name!r}"):
            self._ensure_indexes()
            try:
                done = self._models.update_one(
                    {"_id": before["_id"], "version": before["version"]}, {"$set": fields, "$push": {"history": old}}
                )
            except DuplicateKeyError:
                raise self._taken(model["label"]) from None
        if not done.matched_count:
            raise Conflict(f"model {name!r} changed meanwhile: read it and change that")
        return _told({**before, **fields}, project_id)

    def withdraw(self, project_id: str, name: str) -> str:
        """Removes a project's model that nothing refers to (`removed`), else lets nothing new refer to it
        (`withdrawn`); says which of the two it was.

        Errors: NotFound; AccessDenied for another project's public model.
        """
        model = self._owned(project_id, name, "withdrawn")
        with mongodb(f"withdraw the model {name!r}"):
            if self._models.delete_one({"_id": model["_id"], "used": False}).deleted_count:
                return "removed"
            self._models.update_one({"_id": model["_id"]}, {"$set": {"status": WITHDRAWN}})
        return WITHDRAWN

    def get(self, project_id: str, name: str, version: int | None = None) -> dict[str, Any]:
        """A model that the project may see, by label or id: the newest version, or `version`. Of several with a label
        the project's own is meant. Errors: NotFound."""
        return _told(_at(self._seen(project_id, name, history=version is not None), version), project_id)

    def versions(self, project_id: str, name: str) -> list[dict[str, Any]]:
        """All versions of a model, the newest first. Errors: NotFound."""
        model = self._seen(project_id, name)
        return [_told(_at(model, number), project_id) for number in range(model["version"], 0, -1)]

    def find(
        self, project_id: str, wanted: Wanted, limit: int = 100, after: tuple[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """Models that the project may see, by label and id, at most `limit`, those after that label and id."""
        query: list[dict[str, Any]] = [{"$or": [{"project_id": project_id}, {"visibility": "public"}]}]
        if wanted.label is not None:
            query.append({"label": {"$regex": re.escape(wanted.label), "$options": "i"}})
        if wanted.visibility is not None:
            query.append({"visibility": wanted.visibility})
        if wanted.status is not None:
            query.append({"status": wanted.status})
        if wanted.own is not None:
            query.append({"project_id": project_id if wanted.own else {"$ne": project_id}})
        if wanted.content_type is not None:
            kind = base_type(wanted.content_type)
            fitting = [kind, kind.partition("/")[0] + "/*", "*/*"]
            query.append({"$or": [{"content_types": {"$in": fitting}}, {"content_types": []}]})
        if after is not None:
            label, identity = after
            query.append({"$or": [{"label": {"$gt": label}}, {"label": label, "_id": {"$gt": identity}}]})
        with mongodb("list the models"):
            found = self._models.find({"$and": query}, {"history": 0}).sort([("label", 1), ("_id", 1)]).limit(limit)
            return [_told(model, project_id) for model in found]

    def use(self, project_id: str, reference: Reference) -> dict[str, Any]:
        """The model that a new object, or a container, names; from then on it is never removed.

        Errors: InvalidInput when there is none that the project may see, or it is withdrawn.
        """
        try:
            model = _at(self._seen(project_id, reference.model, reference.version is not None), reference.version)
        except NotFound as error:
            raise InvalidInput(f"model: {error}", field="model") from None
        if model["used"] and model["status"] == ACTIVE:
            return _told(model, project_id)
        with mongodb(f"use the model {reference.model!r}"):
            alive = {"_id": model["_id"], "status": ACTIVE}
            if not self._models.update_one(alive, {"$set": {"used": True}}).matched_count:
                raise InvalidInput(
                    f"model: {reference.model!r} was withdrawn: nothing new can follow it; name another model",
                    field="model",
                )
        return _told(model, project_id)

    def demand(self, project_id: str, container: str) -> dict[str, Any] | None:
        """What a container demands, `{id, label, version (None: the newest), enforced}`; None: nothing."""
        with mongodb(f"look up the container {container!r}"):
            entry = self._registry.find_one({"_id": f"{project_id}/{container}"}, {"model": 1})
        if not entry or not entry.get("model"):
            return None
        enforced = entry["model"]["enforced"]
        if isinstance(enforced, list):  # types have dots, which keys in MongoDB better have not
            enforced = {one["content_type"]: one["enforced"] for one in enforced}
        return {**entry["model"], "enforced": enforced}

    def demanded(self, project_id: str, container: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """What a container demands, and the model in that version: also one that is withdrawn since, or that the
        project may no longer see."""
        wanted = self.demand(project_id, container)
        if wanted is None:
            return None
        history = {} if wanted["version"] else {"history": 0}
        with mongodb(f"read the model {wanted['label']!r}"):
            model = self._models.find_one({"_id": wanted["id"]}, history or None)
        if model is None:  # it is used, and what is used is never removed
            raise NotFound(f"the model {wanted['label']!r} that container {container!r} demands is not there any more")
        return wanted, _told(_at(model, wanted["version"]), project_id)

    def set_demand(self, project_id: str, container: str, wanted: Mapping[str, Any] | None) -> bool:
        """Says what a container demands, None: nothing; whether there is such a container."""
        change: dict[str, Any] = {"$unset": {"model": ""}}
        if wanted is not None:
            enforced = wanted["enforced"]
            if isinstance(enforced, Mapping):
                enforced = [{"content_type": kind, "enforced": value} for kind, value in enforced.items()]
            change = {"$set": {"model": {**wanted, "enforced": enforced}}}
        with mongodb(f"change the container {container!r}"):
            return bool(self._registry.update_one({"_id": f"{project_id}/{container}"}, change).matched_count)

    def containers_of(self, project_id: str, name: str) -> list[str]:
        """The project's containers that demand a model. Errors: NotFound."""
        model = self._seen(project_id, name)
        with mongodb(f"look for the containers of the model {name!r}"):
            found = self._registry.find({"project_id": project_id, "model.id": model["_id"]}, {"container": 1})
            return sorted(str(entry["container"]) for entry in found)

    def _seen(self, project_id: str, name: str, history: bool = True) -> dict[str, Any]:
        seen = [{"project_id": project_id}, {"visibility": "public"}]
        query = {"$and": [{"$or": [{"label": name}, {"_id": name}]}, {"$or": seen}]}
        with mongodb(f"read the model {name!r}"):
            found = list(self._models.find(query, None if history else {"history": 0}).limit(3))
        if not found:
            raise NotFound(f"there is no model {name!r:.120} in your project, and no public one", model=name)
        return min(found, key=lambda model: model["project_id"] != project_id)

    def _owned(self, project_id: str, name: str, done: str) -> dict[str, Any]:
        model = self._seen(project_id, name)
        if model["project_id"] != project_id:
            raise AccessDenied(f"model {name!r} is another project's: it is {done} there")
        return model

    @staticmethod
    def _taken(label: str) -> Conflict:
        return Conflict(
            f"there is a model {label!r} already, in your project or as a public one: change it, or take another label",
            label=label,
        )


def _at(model: Mapping[str, Any], version: int | None) -> dict[str, Any]:
    """A model as it was in a version. Errors: NotFound."""
    if version is None or version == model["version"]:
        return dict(model)
    for old in model["history"]:
        if old["version"] == version:
            return {**model, **old}
    raise NotFound(
        f"model {model['label']!r} has no version {version}; its newest is {model['version']}", model=model["label"]
    )


def _told(model: Mapping[str, Any], project_id: str) -> dict[str, Any]:
    """A model as it is given out; of another project's not whose it is."""
    hidden = ("_id", "history", "used", "project_id", "project")
    shown = {key: value for key, value in model.items() if key not in hidden}
    own = model["project_id"] == project_id
    if not own:
        shown.update(created_by=None, changed_by=None)
    return {"id": model["_id"], **shown, "own": own, "project": model["project"] if own else None}
