# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between relational stores: PostgreSQL is in sql_postgresql, MariaDB in sql_mariadb."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import InvalidInput, StoreError
from .sql_names import LINE, OBJECT, OPERATION, OWN, ROW, as_comment
from .sql_spool import Column as SpoolColumn
from .sql_types import TEXT, SqlType

if TYPE_CHECKING:
    import sqlalchemy
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.types import TypeEngine

Write = Callable[[bytes], bytes]

TRUTHS: Mapping[str, tuple[bytes, bytes]] = {
    "boolean": (b"\\T", b"\\F"),
    "text": (b"true", b"false"),
    "integer": (b"1", b"0"),
    "decimal": (b"1", b"0"),
    "number": (b"1", b"0"),
}
"""True and false in a column that holds other values as well."""


@dataclass(frozen=True)
class Settings:
    """Where the server is, and who one is there. `database` is the database that has a schema per store (PostgreSQL),
    or begins the names of the stores' databases (MariaDB). `timeout` in seconds, of one statement."""

    host: str
    port: int
    database: str
    username: str
    password: str
    ca_file: str | None
    tls: bool
    timeout: float


@dataclass(frozen=True)
class ColumnInfo:
    """A column of a table in the store: its name there, the name that files have for it, its type."""

    column: str
    name: str
    type: SqlType

    @property
    def comment(self) -> str:
        """What the column's comment says: the truth about its name and type is there, changed with the type at once."""
        size = {"digits": self.type.digits, "scale": self.type.scale} if self.type.digits else {}
        return as_comment({"name": self.name, "type": self.type.kind, **size})

    @classmethod
    def from_comment(cls, column: str, comment: str | None) -> ColumnInfo:
        """A column that has no such comment was added by somebody else: it is a text of its own name."""
        try:
            said = json.loads(comment or "")
            found = SqlType(str(said["type"]), int(said.get("digits", 0)), int(said.get("scale", 0)))
            return cls(column, str(said["name"]), found)
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls(column, column, TEXT)


@dataclass
class TableInfo:
    """A table in the store. `key` has names of columns as they are in SQL; `view` shows the current rows of a table
    that has a key, and has `view_columns` as long as it is there."""

    table: str
    name: str
    key: tuple[str, ...] = ()
    view: str | None = None
    exists: bool = False
    columns: list[ColumnInfo] = field(default_factory=list)
    view_columns: list[str] = field(default_factory=list)

    def by_name(self) -> dict[str, ColumnInfo]:
        """Columns by what files call them."""
        return {column.name: column for column in self.columns}


@dataclass(frozen=True)
class Catalogue:
    """The tables of a schema that the lake keeps its own records in."""

    tables: sqlalchemy.Table
    """A row per table: `table_name`, `name` (what files call it), `key_columns` (JSON), `view_name`."""
    objects: sqlalchemy.Table
    """A row per object: `object`, `operation`, `written`. Who writes an object holds its row."""
    contents: sqlalchemy.Table
    """A row per object and table: `object`, `table_name`, `row_count`, `replaces`."""


class Dialect(ABC):
    """One kind of server."""

    place: ClassVar[str]
    """What a store has there: a schema, a database."""
    port: ClassVar[int]
    prefix: ClassVar[bool]
    """Whether the name of a store's place begins with that of the database."""

    @abstractmethod
    def engine(self, settings: Settings) -> Engine:
        """Connections, read committed, with UTC as their zone; they are made as they are needed."""

    @abstractmethod
    def held(self, wanted: SqlType) -> SqlType:
        """The type in which this store holds the values of a type."""

    @abstractmethod
    def column_type(self, of: SqlType) -> TypeEngine[Any]:
        """A column's type in SQLAlchemy."""

    @abstractmethod
    def name_type(self, length: int) -> TypeEngine[Any]:
        """A text of at most `length` characters that is compared as it is, and can be indexed."""

    @abstractmethod
    def moment_type(self) -> TypeEngine[Any]:
        """A moment, of which `moment` makes the values."""

    @abstractmethod
    def moment(self, value: datetime) -> datetime:
        """A moment (with zone) as the driver gets it."""

    @abstractmethod
    def changing(self, engine: Engine, schema: str) -> AbstractContextManager[Connection]:
        """A connection that changes a schema, alone; all of it is there at its end."""

    @abstractmethod
    def create_schema(self, connection: Connection, schema: str) -> None:
        """Makes a store's place, unless it is there."""

    @abstractmethod
    def grant(self, connection: Connection, schema: str, readers: Sequence[str]) -> None:
        """Lets `readers` read all that is, and will be, in it, and nothing more."""

    @abstractmethod
    def is_granted(self, connection: Connection, schema: str, readers: Sequence[str]) -> bool:
        """Whether that was done."""

    @abstractmethod
    def relations(self, connection: Connection, schema: str) -> set[str]:
        """The names that are taken in it."""

    @abstractmethod
    def describe(
        self, connection: Connection, schema: str, names: Sequence[str]
    ) -> dict[str, list[tuple[str, str | None]]]:
        """Tables and views among `names`, each with its columns and their comments, in order."""

    @abstractmethod
    def add_columns(self, connection: Connection, table: sqlalchemy.Table, columns: Sequence[ColumnInfo]) -> None:
        """Adds columns to a table."""

    @abstractmethod
    def widen(self, connection: Connection, table: sqlalchemy.Table, old: ColumnInfo, new: SqlType) -> None:
        """Gives a column a wider type, and makes its values values of that."""

    @abstractmethod
    def create_key_index(self, connection: Connection, table: sqlalchemy.Table, info: TableInfo) -> None:
        """Makes the index by which rows with the same key are found."""

    @abstractmethod
    def drop_key_index(self, connection: Connection, table: sqlalchemy.Table) -> None:
        """Drops it, if it is there."""

    @abstractmethod
    def create_view(self, connection: Connection, schema: str, view: str, select: str) -> None:
        """Makes a view, or makes it anew; who may read the table may read it."""

    @abstractmethod
    def drop_view(self, connection: Connection, schema: str, view: str) -> None:
        """Drops a view, if it is there and stands in the way of changing its table's columns."""

    @abstractmethod
    def lock_tables(self, connection: Connection, schema: str, tables: Sequence[str]) -> None:
        """Sees to it that nobody changes the columns of tables until the transaction ends."""

    @abstractmethod
    def hold_objects(self, connection: Connection, catalogue: Catalogue, rows: Sequence[Mapping[str, Any]]) -> None:
        """Puts rows in `catalogue.objects`, in order; no other transaction writes these objects until this one ends."""

    @abstractmethod
    def written(self, column: SpoolColumn, into: SqlType) -> Write | None:
        """How a column's fields in the spool are to be written for a column of this type; None: as they are."""

    @abstractmethod
    def put(
        self, connection: Connection, table: sqlalchemy.Table, columns: Sequence[str], lines: Iterable[bytes]
    ) -> None:
        """Puts lines of a spool in a table."""

    @abstractmethod
    def code_of(self, error: DBAPIError) -> str:
        """The server's code of an error; empty where the connection failed."""

    @abstractmethod
    def is_conflict(self, code: str) -> bool:
        """Whether it only was in another one's way: the same again will do."""

    @abstractmethod
    def is_refusal(self, code: str) -> bool:
        """Whether the server refused the data (or the reader's value) itself."""

    @abstractmethod
    def is_missing(self, code: str) -> bool:
        """Whether there is no such database, schema, table or column, or none that this user may see."""

    # What is the same everywhere.

    def quote(self, name: str) -> str:
        """A name in SQL."""
        return self._preparer.quote_identifier(name)  # type: ignore[no-any-return]

    @property
    @abstractmethod
    def _preparer(self) -> Any: ...

    def index_name(self, table: str) -> str:
        """The name of a table's key index. The lake's own prefix keeps it apart from what files name."""
        return "lake_key_" + hashlib.sha256(table.encode()).hexdigest()[:16]

    def catalogue(self, schema: str) -> Catalogue:
        """The lake's own tables of a schema."""
        import sqlalchemy as sa

        metadata = sa.MetaData(schema=schema)
        tables = sa.Table(
            "lake_tables",
            metadata,
            sa.Column("table_name", self.name_type(64), primary_key=True),
            sa.Column("name", self.column_type(TEXT), nullable=False),
            sa.Column("key_columns", self.column_type(TEXT), nullable=False),
            sa.Column("view_name", self.name_type(64), nullable=True),
            comment="Tables of this store: name is what files call it, view_name shows the current rows by key",
        )
        objects = sa.Table(
            "lake_objects",
            metadata,
            sa.Column("object", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("operation", self.column_type(TEXT), nullable=False),
            sa.Column("written", self.moment_type(), nullable=False),
            comment="Objects that have rows here, by the operation on them",
        )
        contents = sa.Table(
            "lake_contents",
            metadata,
            sa.Column("object", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("table_name", self.name_type(64), primary_key=True),
            sa.Column("row_count", sa.BigInteger, nullable=False),
            sa.Column("replaces", sa.Boolean, nullable=False),
            comment="In which tables an object has rows",
        )
        return Catalogue(tables, objects, contents)

    def table(self, schema: str, name: str, columns: Sequence[ColumnInfo] = ()) -> sqlalchemy.Table:
        """A table (or view) as SQLAlchemy has it, the lake's own columns first."""
        import sqlalchemy as sa

        return sa.Table(
            name,
            sa.MetaData(),
            sa.Column(OBJECT, sa.BigInteger, primary_key=True, autoincrement=False, comment="id of the object"),
            sa.Column(OPERATION, self.column_type(TEXT), nullable=False, comment="operation on the object"),
            sa.Column(ROW, sa.BigInteger, primary_key=True, autoincrement=False, comment="place in the object, from 1"),
            sa.Column(LINE, sa.BigInteger, nullable=False, comment="line in the object, from 1; 0: not known"),
            sa.PrimaryKeyConstraint(OBJECT, ROW),
            *(sa.Column(one.column, self.column_type(one.type), comment=one.comment) for one in columns),
            schema=schema,
        )

    def current_rows(self, schema: str, info: TableInfo) -> str:
        """A query for the rows of a table with a key that no later object, and no later row of the same one, has too.

        A row whose key has no value is like no other.
        """
        table = f"{self.quote(schema)}.{self.quote(info.table)}"
        columns = ", ".join(f"r.{self.quote(name)}" for name in (*OWN, *(one.column for one in info.columns)))
        same = " AND ".join(f"n.{self.quote(name)} = r.{self.quote(name)}" for name in info.key)
        return (
            f"SELECT {columns} FROM {table} AS r WHERE NOT EXISTS (SELECT 1 FROM {table} AS n WHERE {same}"  # noqa: S608
            f" AND (n.{OBJECT} > r.{OBJECT} OR (n.{OBJECT} = r.{OBJECT} AND n.{ROW} > r.{ROW})))"
        )

    def error(self, error: DBAPIError, what: str) -> StoreError:
        """The lake's error for a server's one, when it was to do `what`."""
        code = self.code_of(error)
        said = str(error.orig).strip()
        if not code or error.connection_invalidated:
            return StoreError(f"the SQL store did not {what}: {said}", retriable=True)
        return StoreError(
            f"the SQL store {'refused to' if self.is_refusal(code) else 'did not'} {what}: {said}",
            retriable=not self.is_refusal(code),
            code=code,
        )


def translate(truths: tuple[bytes, bytes]) -> Write:
    """Writes booleans of a spool as these, and all else as it is."""
    true, false = truths

    def write(value: bytes) -> bytes:
        return true if value == b"\\T" else false if value == b"\\F" else value

    return write


def dialect_of(engine: str) -> Dialect:
    """The dialect of a kind of server, by name. Errors: InvalidInput."""
    if engine == "postgresql":
        from .sql_postgresql import PostgreSQL

        return PostgreSQL()
    if engine == "mariadb":
        from .sql_mariadb import MariaDB

        return MariaDB()
    raise InvalidInput(f"{engine!r:.40} is neither postgresql nor mariadb")
