# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a gold store has to do for the pipelines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar

from ..records import Record


@dataclass(frozen=True)
class Origin:
    """Where records come from; every record in gold leads back to it.

    `store` is the name of the container in all stores (see MetadataStore.store_for), `object_id` that of the metadata
    document, `operation` names the one operation on that document (pipeline, version and run stand there).
    """

    store: str
    object_id: str
    operation: str
    name: str = ""
    """Original name of the object."""
    content_type: str = ""
    etag: str = ""
    document: Mapping[str, Any] = field(default_factory=dict)
    """The whole metadata document, as it was when the operation began."""


class Writer(ABC):
    """Takes the records of one object, as they are read, in memory that has a bound.

    Nothing of them is seen by readers, or all that is seen is right, until `commit`; leaving the `with` block without
    it, or by an exception, takes back what can be taken back.
    """

    @abstractmethod
    def add(self, records: Iterable[Record]) -> None:
        """Takes some more. Errors: StoreError; it is retriable unless the data itself was refused."""

    @abstractmethod
    def commit(self) -> dict[str, Any]:
        """Keeps all of them, and says where they are, for the object's log (`{"database": …, "points": 12}`).

        From then on they are what the store has of this object: what an earlier operation on it had put there is gone.
        Errors: StoreError.
        """

    @abstractmethod
    def close(self) -> None:
        """Frees what it holds; takes back what was not committed."""

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Sink(ABC):
    """One gold store. All that it does may be done again: the outcome is the same."""

    name: ClassVar[str]
    """What declarations call it."""
    accepts: ClassVar[tuple[type, ...]]
    """The kinds of records that it keeps."""
    one_by_one: ClassVar[bool] = False
    """Whether a record is only good until the next one is made: a file in an archive that is read as it comes."""

    replaces: ClassVar[bool] = True
    """Whether what it was given of an object before is gone once it is given other records of it, or none."""

    @abstractmethod
    def writer(self, origin: Origin) -> Writer:
        """A writer for one object."""

    def write(self, outputs: Sequence[tuple[Origin, Sequence[Record]]]) -> list[dict[str, Any]]:
        """Keeps the records of several small objects of one store, in as few requests as the store allows; what
        `Writer.commit` says, for each.

        Errors: StoreError. One that is not retriable means that some object's data was refused: whoever called then
        writes them one by one.
        """
        said = []
        for origin, records in outputs:
            with self.writer(origin) as writer:
                writer.add(records)
                said.append(writer.commit())
        return said
