# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Object ids: increasing numbers, as text, from one counter in MongoDB (`stats`.`swift`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import InvalidInput

if TYPE_CHECKING:
    from pymongo.collection import Collection

COUNTER = {"type": "object_id_file"}


class ObjectIds:
    """The counter document `{type: "object_id_file", object_id: <last id>}` of a collection (`stats`.`swift`).

    The collection needs a unique index on `type` (sparse: it also holds the list of data to process).
    """

    def __init__(self, collection: Collection[dict[str, Any]]) -> None:
        self._collection = collection

    def reserve(self, count: int = 1) -> list[str]:
        """Takes the next `count` ids, in order, by one atomic find-and-update: no two callers get the same."""
        from pymongo import ReturnDocument
        from pymongo.errors import DuplicateKeyError

        if count < 1:
            raise InvalidInput(f"at least one id has to be reserved, not {count}", count=count)
        update = {"$inc": {"object_id": count}}
        counter: Any = None
        for attempt in (1, 2):
            try:
                counter = self._collection.find_one_and_update(
                    COUNTER, update, upsert=True, return_document=ReturnDocument.AFTER
                )
                break
            except DuplicateKeyError:  # two first callers made the counter together: now it is there
                if attempt == 2:
                    raise
        last = int(counter["object_id"])
        return [str(number) for number in range(last - count + 1, last + 1)]
