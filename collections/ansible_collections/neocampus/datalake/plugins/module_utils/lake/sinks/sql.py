# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables in a relational store: PostgreSQL, or MariaDB with the same interface.

A container's store is a schema (PostgreSQL) or a database (MariaDB) of its own, with a table for each table that files
call by a name. Tables and columns are made as they are needed; names and types are those of sql_names and sql_types.
The first columns of every table say where a row comes from: `lake_object`, `lake_operation`, `lake_row` (its place in
the object, from 1) and `lake_line`; object and row are the primary key.

The schema's `lake_tables`, `lake_objects` and `lake_contents` are the lake's records of what is where; a column's
comment holds its name in files and its type.

An object's rows are replaced as a whole, in one transaction, whichever tables they are in. Hence a table keeps the rows
of each object apart, also those that have the same key: were a later object's row put in the place of an earlier one's
(an upsert), then doing the later object again with fewer rows, or the earlier one again, could not give back what was
there. Where a key is declared, a view `<table>_current` shows of rows with the same key the one that the latest object
has: the one with the greatest id, whichever was processed first. So the outcome does not depend on the order in which
objects are processed (but for how widened values are written in a column that became text: see sql_types.join), and
each may be done again.

An object that holds a table as a whole (`Table.replaces`) makes the rows of the objects before it (with smaller ids)
go; when one of these is processed later, or again, its rows of that table are not put there.
"""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import StoreError
from ..records import Record, Row, Table
from .base import Origin, Sink, Writer
from .sql_dialect import Catalogue, ColumnInfo, Settings, TableInfo, Write, dialect_of
from .sql_names import NEW, OBJECT, OWN, SUFFIX, make_name, schema_name
from .sql_spool import Load, Spool
from .sql_types import join

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

TRIES = 8
"""How often a transaction is tried that is in another one's way."""
_PAUSE = 0.2  # seconds before the second try; it doubles


class _Incomplete(Exception):
    """A table, a column or a type is not there yet."""


class SqlStore:
    """One relational server. `engine` is `postgresql` or `mariadb`.

    `database` is the database with the stores' schemas (PostgreSQL; it has to be there), or what the names of their
    databases begin with (MariaDB: `gold` for `gold_<store>`). `readers` are the users (or roles) that may read every
    schema that is made; in MariaDB that needs the right to grant, and is better granted once on all (`gold\\_%`).
    `tls` may be False only where the server is on the same host. `timeout` in seconds, of one statement.
    `spool` is the folder for rows on their way (default: that of temporary files).
    """

    def __init__(
        self,
        engine: str,
        host: str,
        username: str,
        password: str,
        *,
        port: int | None = None,
        database: str = "gold",
        ca_file: str | None = None,
        tls: bool = True,
        timeout: float = 3600.0,
        readers: Iterable[str] = (),
        spool: str | None = None,
    ) -> None:
        self.dialect = dialect_of(engine)
        self.spool = spool
        self._settings = Settings(
            host, port or self.dialect.port, database, username, password, ca_file, tls, float(timeout)
        )
        self._readers = tuple(readers)
        self._made: Engine | None = None
        self._ready: set[str] = set()

    @property
    def _engine(self) -> Engine:
        if self._made is None:
            self._made = self.dialect.engine(self._settings)
        return self._made

    def close(self) -> None:
        """Closes all connections; they are made again as they are needed."""
        if self._made is not None:
            self._made.dispose()

    def schema_of(self, store: str) -> str:
        """The name of a store's schema (MariaDB: database)."""
        return schema_name(store, f"{self._settings.database}_" if self.dialect.prefix else "")

    @contextlib.contextmanager
    def errors(self, what: str, schema: str) -> Iterator[None]:
        """Turns the driver's errors into StoreError: retriable, unless the data itself was refused."""
        from sqlalchemy.exc import DBAPIError, SQLAlchemyError

        try:
            yield
        except DBAPIError as error:
            self._ready.discard(schema)
            raise self.dialect.error(error, what) from error
        except SQLAlchemyError as error:  # no connection in time, and the like
            raise StoreError(f"the SQL store did not {what}: {error}", retriable=True) from error

    def read_tables(self, connection: Connection, schema: str, names: Sequence[str] | None = None) -> list[TableInfo]:
        """What is known of the tables that files call these names; None: of all."""
        tables = self.dialect.catalogue(schema).tables
        query = tables.select().order_by(tables.c.table_name)
        found = [
            TableInfo(row.table_name, row.name, tuple(json.loads(row.key_columns)), row.view_name)
            for row in connection.execute(query)
            if names is None or row.name in names
        ]
        there = self.dialect.describe(
            connection, schema, [name for info in found for name in (info.table, info.view) if name]
        )
        for info in found:
            columns = there.get(info.table, ())
            info.exists = bool(columns)
            info.columns = [
                ColumnInfo.from_comment(column, comment) for column, comment in columns if column not in (*OWN, NEW)
            ]
            info.view_columns = [column for column, _comment in there.get(info.view or "", ())]
        return found

    def replace(self, spool: Spool, store: str) -> list[dict[str, Any]]:
        """Makes what a spool has of its objects all that the store has of them; what was done, for each.

        Errors: StoreError.
        """
        from sqlalchemy.exc import DBAPIError

        spool.end()
        schema = self.schema_of(store)
        with self.errors(f"keep rows in {schema}", schema):
            for attempt in range(TRIES):
                try:
                    if not self._is_ready(schema, bool(spool.loads)):
                        return [self._said(spool, place, schema, {}) for place in range(len(spool.origins))]
                    with self._engine.begin() as connection:
                        return _Transaction(self, connection, schema, spool).run()
                except _Incomplete:
                    self._complete(schema, spool, attempt)
                except DBAPIError as error:
                    if attempt == TRIES - 1 or not self.dialect.is_conflict(self.dialect.code_of(error)):
                        raise
                    _wait(attempt)
        raise StoreError(f"the tables of {schema} kept changing while rows were put in: try again", retriable=True)

    def _complete(self, schema: str, spool: Spool, attempt: int) -> None:
        from sqlalchemy.exc import DBAPIError

        try:
            with self.dialect.changing(self._engine, schema) as connection:
                _Changes(self, connection, schema).make(spool.loads.values())
        except DBAPIError as error:
            if attempt == TRIES - 1 or not self.dialect.is_conflict(self.dialect.code_of(error)):
                raise
            _wait(attempt)

    def _is_ready(self, schema: str, make: bool) -> bool:
        """Whether the schema is there, with the lake's own tables, for the readers; it is made where `make` says so.

        Looked at once in a process.
        """
        import sqlalchemy as sa

        if schema in self._ready:
            return True
        with self._engine.connect() as connection:
            there = sa.inspect(connection).has_table("lake_contents", schema=schema)
            granted = there and self.dialect.is_granted(connection, schema, self._readers)
        if not there and not make:
            return False
        if not (there and granted):
            with self.dialect.changing(self._engine, schema) as connection:
                self.dialect.create_schema(connection, schema)
                catalogue = self.dialect.catalogue(schema)
                catalogue.contents.metadata.create_all(
                    connection, tables=[catalogue.tables, catalogue.objects, catalogue.contents]
                )
                self.dialect.grant(connection, schema, self._readers)
        self._ready.add(schema)
        return True

    def _said(self, spool: Spool, place: int, schema: str, tables: dict[str, int], passed: int = 0) -> dict[str, Any]:
        said: dict[str, Any] = {self.dialect.place: schema, "tables": tables, "rows": sum(tables.values())}
        if passed:
            said["superseded"] = passed
        if spool.replaced[place]:
            said["replaced_characters"] = spool.replaced[place]
        return said


def _wait(attempt: int) -> None:
    time.sleep(_PAUSE * 2**attempt * (0.5 + random.random()))  # noqa: S311 (no secret)


class _Changes:
    """Makes the tables, columns and types that are missing. Whoever does holds the schema's lock."""

    def __init__(self, store: SqlStore, connection: Connection, schema: str) -> None:
        self._store = store
        self._dialect = store.dialect
        self._connection = connection
        self._schema = schema

    def make(self, loads: Iterable[Load]) -> None:
        loads = list(loads)
        known = self._store.read_tables(self._connection, self._schema, [load.name for load in loads])
        by_name = {info.name: info for info in known}
        taken: set[str] | None = None
        for load in loads:
            info = by_name.get(load.name)
            if info is None:
                if taken is None:
                    taken = self._dialect.relations(self._connection, self._schema)
                    taken |= set(self._names())
                info = self._register(load, taken)
            if not info.exists:
                self._create(info, load)
            self._adapt(info, load)

    def _names(self) -> Iterator[str]:
        """Names that are given to tables and views, whether or not these are there yet."""
        for info in self._store.read_tables(self._connection, self._schema):
            yield info.table
            if info.view:
                yield info.view

    def _register(self, load: Load, taken: set[str]) -> TableInfo:
        info = TableInfo(make_name(load.name, taken, "table"), load.name)
        taken.update((info.table, info.table + SUFFIX))
        tables = self._dialect.catalogue(self._schema).tables
        row = {"table_name": info.table, "name": info.name, "key_columns": "[]", "view_name": None}
        self._connection.execute(tables.insert(), row)
        return info

    def _create(self, info: TableInfo, load: Load) -> None:
        info.columns = self._named([], load)
        self._dialect.table(self._schema, info.table, info.columns).create(self._connection)
        info.exists = True

    def _named(self, known: Sequence[ColumnInfo], load: Load) -> list[ColumnInfo]:
        """The columns of `load` that are not among the known ones, with names of their own."""
        names = {column.name for column in known}
        taken = {column.column for column in known} | set(OWN)
        found = []
        for column in load.columns.values():
            if column.name not in names:
                made = ColumnInfo(make_name(column.name, taken, "column"), column.name, self._dialect.held(column.type))
                taken.add(made.column)
                found.append(made)
        return found

    def _adapt(self, info: TableInfo, load: Load) -> None:
        table = self._dialect.table(self._schema, info.table)
        added = self._named(info.columns, load)
        widened = list(_wider(self._store, info, load))
        key = _key(info, load, added)
        columns = {column.column for column, _wanted in widened}
        keyed = key != info.key or bool(columns & set(key))
        if info.view and (added or widened or keyed):
            self._dialect.drop_view(self._connection, self._schema, info.view)
        if info.key and keyed:
            self._dialect.drop_key_index(self._connection, table)
        if added:
            self._dialect.add_columns(self._connection, table, added)
        for column, wanted in widened:
            self._dialect.widen(self._connection, table, column, wanted)
        if added or widened:
            types = {column.column: wanted for column, wanted in widened}
            info.columns = [
                ColumnInfo(column.column, column.name, types.get(column.column, column.type)) for column in info.columns
            ] + added
        if key and (keyed or added or widened or not _view_is_right(info)):
            self._show_current(info, table, key, keyed)

    def _show_current(self, info: TableInfo, table: Any, key: tuple[str, ...], keyed: bool) -> None:
        """Makes the index and the view of a key, and says so at the end: a run that was cut short is noticed."""
        info.key = key
        view = info.view or info.table + SUFFIX
        if keyed:
            self._dialect.drop_key_index(self._connection, table)
            self._dialect.create_key_index(self._connection, table, info)
        self._dialect.create_view(self._connection, self._schema, view, self._dialect.current_rows(self._schema, info))
        info.view = view
        tables = self._dialect.catalogue(self._schema).tables
        self._connection.execute(
            tables.update()
            .where(tables.c.table_name == info.table)
            .values(key_columns=json.dumps(list(key)), view_name=view)
        )


def _wider(store: SqlStore, info: TableInfo, load: Load) -> Iterator[tuple[ColumnInfo, Any]]:
    """Columns of a table that are too narrow for a load, and the type that they need."""
    known = info.by_name()
    for column in load.columns.values():
        there = known.get(column.name)
        if there is not None:
            wanted = store.dialect.held(join(there.type, column.type))
            if wanted != there.type:
                yield there, wanted


def _key(info: TableInfo, load: Load, added: Sequence[ColumnInfo] = ()) -> tuple[str, ...]:
    """The key of a table, by its columns in SQL, after a load: the newest that was declared."""
    if not load.key:
        return info.key
    known = {column.name: column.column for column in (*info.columns, *added)}
    return tuple(known.get(name, "") for name in load.key)


def _view_is_right(info: TableInfo) -> bool:
    return not info.key or info.view_columns == [*OWN, *(column.column for column in info.columns)]


class _Transaction:
    """Replaces the rows of a spool's objects. Raises _Incomplete where they do not fit in the tables."""

    def __init__(self, store: SqlStore, connection: Connection, schema: str, spool: Spool) -> None:
        self._store = store
        self._dialect = store.dialect
        self._connection = connection
        self._schema = schema
        self._spool = spool
        self._catalogue: Catalogue = self._dialect.catalogue(schema)
        self._ids = [int(origin.object_id) for origin in spool.origins]

    def run(self) -> list[dict[str, Any]]:
        self._hold_objects()
        tables = self._hold_tables()
        self._remove()
        replacing = self._replacing(tables)
        put: list[dict[str, int]] = [{} for _origin in self._ids]
        passed = [0] * len(self._ids)
        contents = []
        for load in self._spool.loads.values():
            info = tables[load.name]
            since = max([replacing.get(info.table, 0), *(self._ids[place] for place in load.replacing)])
            wanted = [place for place in load.origins if self._ids[place] >= since]
            self._put(load, info, wanted)
            for place, count in load.origins.items():
                if self._ids[place] < since:
                    passed[place] += count
                    continue
                put[place][info.table] = count
                contents.append(
                    {
                        "object": self._ids[place],
                        "table_name": info.table,
                        "row_count": count,
                        "replaces": place in load.replacing,
                    }
                )
            if load.replacing:
                self._remove_before(info, since)
        if contents:
            self._connection.execute(self._catalogue.contents.insert(), contents)
        return [
            self._store._said(self._spool, place, self._schema, put[place], passed[place])
            for place in range(len(self._ids))
        ]

    def _hold_objects(self) -> None:
        """First of all, always in the same order: two that write the same objects do it one after the other."""
        now = self._dialect.moment(datetime.now(timezone.utc))
        rows = [
            {"object": object_id, "operation": origin.operation, "written": now}
            for object_id, origin in sorted(zip(self._ids, self._spool.origins), key=lambda pair: pair[0])  # noqa: B905
        ]
        self._dialect.hold_objects(self._connection, self._catalogue, rows)

    def _hold_tables(self) -> dict[str, TableInfo]:
        """The tables of the spool, which stay as they are from here on; those that one object holds as a whole are
        written by nobody else meanwhile, who else could not know of that object yet."""
        loads = self._spool.loads
        if not loads:
            return {}
        known = self._store.read_tables(self._connection, self._schema, list(loads))
        names = sorted(info.table for info in known)
        if len(known) < len(loads) or not all(info.exists for info in known):
            raise _Incomplete
        tables = self._catalogue.tables
        alone = any(load.replacing for load in loads.values())
        query = tables.select().where(tables.c.table_name.in_(names)).order_by(tables.c.table_name)
        self._connection.execute(query.with_for_update(read=not alone)).all()
        self._dialect.lock_tables(self._connection, self._schema, names)
        found = {info.name: info for info in self._store.read_tables(self._connection, self._schema, list(loads))}
        for load in loads.values():
            info = found[load.name]
            complete = load.columns.keys() <= info.by_name().keys() and _key(info, load) == info.key
            if not complete or not _view_is_right(info) or next(_wider(self._store, info, load), None):
                raise _Incomplete
        return found

    def _remove(self) -> None:
        """What an earlier operation has put there."""
        contents = self._catalogue.contents
        mine = contents.c.object.in_(self._ids)
        objects: dict[str, list[int]] = {}
        for row in self._connection.execute(contents.select().where(mine)):
            objects.setdefault(row.table_name, []).append(row.object)
        for name in sorted(objects):
            table = self._dialect.table(self._schema, name)
            self._connection.execute(table.delete().where(table.c[OBJECT].in_(objects[name])))
        if objects:
            self._connection.execute(contents.delete().where(mine))

    def _replacing(self, tables: dict[str, TableInfo]) -> dict[str, int]:
        """Of each table, the latest object of others that holds it as a whole, if there is one."""
        import sqlalchemy as sa

        contents = self._catalogue.contents
        names = [info.table for info in tables.values()]
        query = (
            sa.select(contents.c.table_name, sa.func.max(contents.c.object))
            .where(contents.c.replaces, contents.c.table_name.in_(names))
            .group_by(contents.c.table_name)
        )
        return {name: int(latest) for name, latest in self._connection.execute(query)} if names else {}

    def _put(self, load: Load, info: TableInfo, wanted: Sequence[int]) -> None:
        if not any(load.origins[place] for place in wanted):
            return
        columns, written = info.by_name(), {}
        for name, column in load.columns.items():
            write: Write | None = self._dialect.written(column, columns[name].type)
            if write is not None:
                written[name] = write
        lines = self._spool.lines(load, wanted, written)
        table = self._dialect.table(self._schema, info.table)
        self._dialect_put(table, [columns[name].column for name in load.columns], lines)

    def _dialect_put(self, table: Any, columns: Sequence[str], lines: Iterable[bytes]) -> None:
        from sqlalchemy.exc import DBAPIError

        dialect: Any = self._connection.dialect
        try:
            self._dialect.put(self._connection, table, columns, lines)
        except dialect.dbapi.Error as error:  # the driver is used without SQLAlchemy there
            raise DBAPIError.instance(None, None, error, dialect.dbapi.Error, dialect=dialect) from error

    def _remove_before(self, info: TableInfo, object_id: int) -> None:
        contents = self._catalogue.contents
        table = self._dialect.table(self._schema, info.table)
        self._connection.execute(table.delete().where(table.c[OBJECT] < object_id))
        self._connection.execute(
            contents.delete().where(contents.c.table_name == info.table, contents.c.object < object_id)
        )


class SqlSink(Sink):
    """Rows and tables into one relational server."""

    name: ClassVar[str] = "sql"
    accepts: ClassVar[tuple[type, ...]] = (Row, Table)

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def writer(self, origin: Origin) -> Writer:
        return _SqlWriter(self._store, origin)

    def write(self, outputs: Sequence[tuple[Origin, Sequence[Record]]]) -> list[dict[str, Any]]:
        """One transaction for all, with one COPY for each table."""
        if not outputs:
            return []
        with Spool(self._store.spool) as spool:
            for origin, records in outputs:
                spool.begin(origin)
                spool.add(records)
            return self._store.replace(spool, outputs[0][0].store)


class _SqlWriter(Writer):
    """Nothing is in the store before `commit`."""

    def __init__(self, store: SqlStore, origin: Origin) -> None:
        self._store = store
        self._origin = origin
        self._spool = Spool(store.spool)
        self._spool.begin(origin)

    def add(self, records: Iterable[Record]) -> None:
        self._spool.add(records)

    def commit(self) -> dict[str, Any]:
        return self._store.replace(self._spool, self._origin.store)[0]

    def close(self) -> None:
        self._spool.close()
