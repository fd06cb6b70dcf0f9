# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What parsers make of an object and sinks keep: points (see points), tables and their rows, documents, files, a graph,
archive members.

Each kind has its store: a pipeline's parser and transforms pass records on, and each goes to the sink of its pipeline
that accepts its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, BinaryIO, Union

from .points import Point

Scalar = Union[None, bool, int, float, Decimal, str, bytes, datetime, date, time]  # noqa: UP007 (must run on 3.9)


@dataclass(frozen=True)
class Row:
    """One row of a relational table.

    `table` and the names of columns are as the file has them: the sink makes names of its own of them. The types of a
    table's columns are those of its values, widened where rows differ; `line` is the row's line in the file, from 1.
    """

    table: str
    values: Mapping[str, Scalar]
    line: int = 0


@dataclass(frozen=True)
class Table:
    """What a file declares of a table; it comes before the table's rows.

    `columns` are names, as the file has them, and types: boolean, integer (64 bits), number (double), decimal, date,
    time, timestamp (no zone means UTC), text, bytes, json (values are JSON texts). They are minimal types: a value that
    its column's type cannot hold widens the column, as ever.
    `key` names the columns by which a row is known: of rows with the same key, readers of the table's current state see
    that of the latest object (the one with the greatest id).
    `replaces` says that the object holds the table as a whole: rows that objects before it (with smaller ids) brought
    are gone.
    """

    name: str
    columns: Mapping[str, str]
    key: tuple[str, ...] = ()
    replaces: bool = False


@dataclass(frozen=True)
class Document:
    """One document; `number` is its place in the object, from 0."""

    value: Mapping[str, Any]
    number: int = 0


@dataclass(frozen=True)
class File:
    """A file that is made of an object and kept beside its documents: `name` is unique in the object (`thumbnail`)."""

    name: str
    content_type: str
    data: bytes
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Node:
    """A node of the graph: of all nodes of its container with this label it is the one with this key."""

    label: str
    key: Mapping[str, Scalar]
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Relation:
    """An edge between two nodes, which have to be there or among the records before it."""

    kind: str
    start: Node
    end: Node
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Member:
    """A file in an archive, to become an object of its own. `open` gives its content once; `size` in bytes."""

    path: str
    size: int
    open: Callable[[], BinaryIO]
    modified: datetime | None = None


Record = Union[Point, Row, Table, Document, File, Node, Relation, Member]  # noqa: UP007 (must run on 3.9)
