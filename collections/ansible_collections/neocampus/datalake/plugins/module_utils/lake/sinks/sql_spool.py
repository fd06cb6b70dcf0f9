# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows on their way into a relational store: kept in a file while the types of their columns are found.

The file has the rows as lines already, in the text form of PostgreSQL's COPY, from which MariaDB's statements are made
quickly as well: fields with tabs between them, backslashes before what is special; see sql_types for the rest.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any

from ..documents import check_object_id
from ..errors import StoreError
from ..records import Record, Row, Table
from .base import Origin
from .sql_names import OWN, kept_name
from .sql_types import EMPTY, KINDS, SqlType, escape, join, render

ROWS = 1000
"""How many rows of a table are made lines together."""
HELD = 8 * 1024 * 1024
"""About how many bytes of rows are held in memory before they are made lines."""


@dataclass(frozen=True)
class Piece:
    """Lines of one object's rows in the file; `width` is how many columns of the table they have."""

    offset: int
    length: int
    width: int
    origin: int


@dataclass
class Column:
    """A column of a table: the type that its values need, and which kinds of values it has."""

    name: str
    type: SqlType = EMPTY
    kinds: frozenset[str] = frozenset()
    declared_json: bool = False


@dataclass
class Load:
    """What is to be put in one table. `origins` are the objects that have it (their place in `Spool.origins`), with how
    many rows; `replacing` those that hold the table as a whole."""

    name: str
    columns: dict[str, Column] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    origins: dict[int, int] = field(default_factory=dict)
    replacing: set[int] = field(default_factory=set)
    pieces: list[Piece] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def place(self, name: str) -> int:
        """The place among the columns of what a file calls `name`; the column is made when it is new."""
        found = self._places.get(name)
        if found is None:
            kept = kept_name(name)
            if kept not in self.columns:
                self.columns[kept] = Column(kept)
            found = self._places[name] = list(self.columns).index(kept)
        return found


class _Pending:
    """Rows of one table, of the object that is taken now, that are not lines yet."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.names: tuple[str, ...] | None = None
        self.places: list[int] = []
        self.in_order = False
        self.rows: list[Sequence[Any]] = []
        self.lines: list[int] = []
        self.size = 0

    def learn(self, names: tuple[str, ...]) -> None:
        """Where the values of rows with these columns belong."""
        self.places = [self.load.place(name) for name in names]
        if len(set(self.places)) < len(names):
            raise StoreError(
                f"{self.load.name}: two columns only differ in characters that no name has", retriable=False
            )
        self.names = names
        self.in_order = self.places == list(range(len(self.load.columns)))

    def take(self, row: Row) -> int:
        """Takes a row; about how many bytes it holds."""
        values = row.values
        names = tuple(values)
        if names != self.names:
            self.learn(names)
        taken: Sequence[Any]
        if self.in_order:
            taken = tuple(values.values())
        else:
            taken = [None] * len(self.load.columns)
            for place, value in zip(self.places, values.values()):  # noqa: B905 (3.9)
                taken[place] = value
        self.rows.append(taken)
        self.lines.append(row.line)
        size = sum(map(sys.getsizeof, taken))
        self.size += size
        return size

    def columns(self) -> Iterator[Sequence[Any]]:
        """The values, column by column; rows that came before a column was known have no value in it."""
        width = len(self.load.columns)
        if any(len(row) < width for row in self.rows):
            self.rows = [[*row, *[None] * (width - len(row))] for row in self.rows]
        return zip(*self.rows)


class Spool:
    """Takes the records of some objects, one object after the other; names are `kept_name`s from here on.

    Errors: StoreError, not retriable, for what no table holds.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder, prefix="lake-rows-")  # noqa: SIM115 (closed by close)
        self._end = 0
        self.origins: list[Origin] = []
        self.loads: dict[str, Load] = {}
        self.replaced: list[int] = []
        """Of each object, how many characters were replaced that no store holds."""
        self._pending: dict[str, _Pending] = {}
        self._held = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the file."""
        self._file.close()

    def begin(self, origin: Origin) -> None:
        """What `add` gets from now on is of this object. Errors: InvalidName when its id is none."""
        check_object_id(origin.object_id)
        self.end()
        self._pending.clear()
        self.origins.append(origin)
        self.replaced.append(0)

    def add(self, records: Iterable[Record]) -> None:
        """Takes some of the object's tables and rows."""
        table, pending = None, None
        for record in records:
            if isinstance(record, Row):
                if pending is None or record.table != table:
                    table, pending = record.table, self._pending_of(record.table)
                self._held += pending.take(record)
                if len(pending.rows) >= ROWS:
                    self._make_lines(pending)
                elif self._held >= HELD:
                    self.end()
            elif isinstance(record, Table):
                self._declare(record)
            else:
                raise StoreError(f"a relational store keeps no {type(record).__name__}", retriable=False)

    def end(self) -> None:
        """Makes lines of all that was taken: with that the types are known."""
        for pending in self._pending.values():
            self._make_lines(pending)

    def _pending_of(self, name: str) -> _Pending:
        found = self._pending.get(name)
        if found is None:
            found = self._pending[name] = _Pending(self._load(name))
        return found

    def _load(self, name: str) -> Load:
        kept = kept_name(name)
        found = self.loads.get(kept)
        if found is None:
            found = self.loads[kept] = Load(kept)
        found.origins.setdefault(len(self.origins) - 1, 0)
        return found

    def _declare(self, table: Table) -> None:
        pending = self._pending_of(table.name)
        self._make_lines(pending)
        pending.names = None
        load = pending.load
        for name, kind in table.columns.items():
            if kind not in KINDS:
                raise StoreError(f"{table.name}.{name}: no column has the type {kind!r:.40}", retriable=False)
            load.place(name)
            column = load.columns[kept_name(name)]
            column.type = join(column.type, SqlType(kind))
            column.declared_json = kind == "json"
        missing = [name for name in table.key if name not in table.columns]
        if missing:
            raise StoreError(f"{table.name}: the key's column {missing[0]!r} is not declared", retriable=False)
        if table.key:
            load.key = tuple(map(kept_name, table.key))
        if table.replaces:
            load.replacing.add(len(self.origins) - 1)

    def _make_lines(self, pending: _Pending) -> None:
        if not pending.rows:
            return
        load, origin = pending.load, len(self.origins) - 1
        object_id, operation = self.origins[origin].object_id, escape(self.origins[origin].operation)[0]
        done = load.origins[origin]
        fields = [
            [f"{object_id}\t{operation}\t{number}\t{line}" for number, line in enumerate(pending.lines, done + 1)]
        ]
        for column, values in zip(load.columns.values(), pending.columns()):  # noqa: B905 (3.9)
            found = render(values, column.declared_json)
            column.type = join(column.type, found.type)
            column.kinds |= found.kinds
            self.replaced[origin] += found.replaced
            fields.append(found.texts)
        lines = ("\n".join(map("\t".join, zip(*fields))) + "\n").encode()  # noqa: B905 (3.9)
        self._file.write(lines)
        load.pieces.append(Piece(self._end, len(lines), len(load.columns), origin))
        self._end += len(lines)
        load.origins[origin] = done + len(pending.rows)
        self._held -= pending.size
        pending.rows, pending.lines, pending.size = [], [], 0

    def lines(
        self, load: Load, wanted: Iterable[int], written: Mapping[str, Callable[[bytes], bytes]]
    ) -> Iterator[bytes]:
        """The lines of the objects `wanted` for one table, some at a time, each with a value for every column.

        `written` says, by column, how its fields are to be written where that is not as they are.
        """
        width, objects = len(load.columns), set(wanted)
        changed = [(len(OWN) + place, written[name]) for place, name in enumerate(load.columns) if name in written]
        for piece in load.pieces:
            if piece.origin not in objects:
                continue
            self._file.seek(piece.offset)
            lines = self._file.read(piece.length)
            if piece.width < width:
                lines = lines.replace(b"\n", b"\t\\N" * (width - piece.width) + b"\n")
            if changed:
                lines = b"".join(_changed(line, changed) for line in lines.split(b"\n")[:-1])
            yield lines


def _changed(line: bytes, changes: Iterable[tuple[int, Callable[[bytes], bytes]]]) -> bytes:
    fields = line.split(b"\t")
    for place, write in changes:
        fields[place] = write(fields[place])
    return b"\t".join(fields) + b"\n"
