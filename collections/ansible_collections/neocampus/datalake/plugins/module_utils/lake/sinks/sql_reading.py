# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What readers ask of the tables in a relational store: with the account of one who may only read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timezone
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from ..documents import check_object_id
from ..errors import InvalidInput, NotFound
from .reading import PAGE_BYTES, Filter, check_limit, from_cursor, to_cursor
from .sql import SqlStore
from .sql_dialect import ColumnInfo, TableInfo
from .sql_names import LINE, OBJECT, OPERATION, OWN, ROW

if TYPE_CHECKING:
    import sqlalchemy
    from sqlalchemy.engine import Connection

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_ORDERED = ("boolean", "integer", "number", "decimal", "date", "time", "timestamp", "text")
_TABLE = re.compile("[a-z0-9_]{1,64}")
_FETCHED = 25  # rows that are in the driver's memory besides those of the page; one may have some megabytes


class SqlReader:
    """Reads the tables of stores. `store` logs in as a reader; a timeout of some 30 s keeps queries in bounds.

    A row is `{column: value, …, "lake": {object, operation, row, line}}`, with the columns' names in SQL and values as
    JSON has them: times in ISO 8601, a decimal as a number where a double has it exactly, else as a text, bytes as
    `\\x` and hexadecimal digits, as PostgreSQL writes them.
    Errors of every method: StoreError when the server is away; NotFound where a store has no such table.
    """

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self._dialect = store.dialect

    @contextmanager
    def _reading(self, store: str) -> Iterator[tuple[Connection, str]]:
        from sqlalchemy.exc import DBAPIError

        schema = self._store.schema_of(store)
        with self._store.errors(f"read {schema}", schema):
            try:
                with self._store._engine.connect() as connection:
                    yield connection, schema
            except DBAPIError as error:
                code = self._dialect.code_of(error)
                if self._dialect.is_missing(code):
                    raise NotFound(f"{store} has no such table (or none that may be read)", store=store) from error
                if self._dialect.is_refusal(code):
                    raise InvalidInput(f"the SQL store refused a value: {error.orig}") from error
                raise

    def ping(self) -> None:
        """Whether the server lets the reader in: an error if it does not."""
        import sqlalchemy as sa

        with self._store.errors("answer", ""), self._store._engine.connect() as connection:
            connection.execute(sa.select(1))

    def names(self, store: str, limit: int = 1000, after: str | None = None) -> tuple[list[str], str | None]:
        """A page of the names of a store's tables, in order, and the `after` of the next page (None: the end).

        A page may have fewer than `limit` names. Errors: InvalidInput for a bad limit or cursor.
        """
        import sqlalchemy as sa

        check_limit(limit)
        if after is not None and not _TABLE.fullmatch(after):
            raise InvalidInput(f"{after!r:.60} is not the cursor of a page")
        try:
            with self._reading(store) as (connection, schema):
                column = self._dialect.catalogue(schema).tables.c.table_name
                query = sa.select(column).order_by(column).limit(limit + 1)
                found = list(connection.execute(query if after is None else query.where(column > after)).scalars())
                page = found[:limit]
                there = self._dialect.describe(connection, schema, page)
        except NotFound:
            return [], None
        return [name for name in page if name in there], page[-1] if len(found) > limit else None

    def table(self, store: str, table: str) -> dict[str, Any]:
        """A table as `tables` has it, with `rows` and `objects`: how many it has, and of how many objects they are.

        `table` may be the view of a table's current rows: its rows are not counted (None).
        """
        import sqlalchemy as sa

        with self._reading(store) as (connection, schema):
            info = self._table(connection, schema, store, table)
            told = {**_told(info), "rows": None, "objects": None}
            if table == info.table:
                contents = self._dialect.catalogue(schema).contents
                query = sa.select(sa.func.coalesce(sa.func.sum(contents.c.row_count), 0), sa.func.count())
                rows, objects = connection.execute(query.where(contents.c.table_name == table)).one()
                told.update(rows=int(rows), objects=objects)
            return told

    def tables(self, store: str) -> list[dict[str, Any]]:
        """The tables of a store: `{table, name, key, current, columns}`; none where it has no tables.

        `name` is what files call it, `key` has the names of columns, `current` the view of the current rows where there
        is a key, a column is `{column, name, type}`.
        """
        try:
            with self._reading(store) as (connection, schema):
                return [_told(info) for info in self._store.read_tables(connection, schema) if info.exists]
        except NotFound:
            return []

    def columns(self, store: str, table: str) -> list[dict[str, str]]:
        """The columns of a table: `{column, name, type}`, the name being what files call it."""
        with self._reading(store) as (connection, schema):
            columns: list[dict[str, str]] = _told(self._table(connection, schema, store, table))["columns"]
            return columns

    def _table(self, connection: Connection, schema: str, store: str, table: str) -> TableInfo:
        import sqlalchemy as sa

        if _TABLE.fullmatch(table):
            tables = self._dialect.catalogue(schema).tables
            mine = sa.or_(tables.c.table_name == table, tables.c.view_name == table)
            names = list(connection.execute(sa.select(tables.c.name).where(mine)).scalars())
            for info in self._store.read_tables(connection, schema, names) if names else ():
                if info.exists and (table == info.table or (table == info.view and info.view_columns)):
                    return info
        raise NotFound(f"{store} has no table {table!r:.80}", store=store, table=table)

    def rows(
        self,
        store: str,
        table: str,
        filters: Sequence[Filter] = (),
        *,
        object_id: str | None = None,
        columns: Sequence[str] | None = None,
        order: str | None = None,
        descending: bool = False,
        limit: int = 1000,
        after: str | None = None,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """A page of a table's rows, and the `after` of the next page; None where there is none.

        `table` is a table, whose rows are those of all objects, or the view of a table's current rows. Rows have the
        `columns` (None: all), and come in the order of the column `order`, those that have no value in it last, then by
        object and place in it. A page has fewer than `limit` rows where these are large (see PAGE_BYTES).
        Errors: InvalidInput for a bad filter, column, order, limit or cursor.
        """
        import sqlalchemy as sa

        check_limit(limit)
        with self._reading(store) as (connection, schema):
            info = self._table(connection, schema, store, table)
            known = {column.column: column for column in info.columns}
            source = self._dialect.table(schema, table, info.columns)
            wanted = info.columns if columns is None else [_known(known, name) for name in dict.fromkeys(columns)]
            by = None if order is None else _known(known, order)
            names = [column.column for column in wanted]
            if by is not None and by.column not in names:
                names.append(by.column)
            query = sa.select(*(source.c[name] for name in (*OWN, *names)))
            for one in filters:
                query = query.where(_condition(source, _known(known, one.field), one))
            if object_id is not None:
                query = query.where(source.c[OBJECT] == int(check_object_id(object_id)))
            if by is not None and by.type.kind not in (*_ORDERED, "empty"):
                raise InvalidInput(f"rows have no order by {by.column}, which is {by.type}")
            query = _in_order(source, query, by, descending, after).limit(limit + 1)
            page, more = _read_page(connection, query, limit)
        cursor = to_cursor(_place(page[-1], by)) if more else None
        return [_row(row, wanted) for row in page], cursor

    def origin(self, store: str, table: str, object_id: str, row: int) -> dict[str, Any]:
        """Where a row comes from: `{object, operation, row, line, written}`; the operation stands on the object's
        metadata document, `written` is when it put the row there. Errors: NotFound."""
        import sqlalchemy as sa

        number = int(check_object_id(object_id))
        with self._reading(store) as (connection, schema):
            info = self._table(connection, schema, store, table)
            source = self._dialect.table(schema, info.table)
            objects = self._dialect.catalogue(schema).objects
            query = (
                sa.select(source.c[OPERATION], source.c[LINE], objects.c.written)
                .join(objects, objects.c.object == source.c[OBJECT])
                .where(source.c[OBJECT] == number, source.c[ROW] == row)
            )
            found = connection.execute(query).one_or_none()
        if found is None:
            raise NotFound(f"{store}.{table} has no row {row} of object {object_id}", store=store, table=table)
        operation, line, written = found
        return {
            "object": object_id,
            "operation": operation,
            "row": row,
            "line": line or None,
            "written": _value(written),
        }

    def contents(self, store: str, object_id: str) -> dict[str, int]:
        """All that an object has become: how many rows in which table; empty where it has none."""
        try:
            with self._reading(store) as (connection, schema):
                contents = self._dialect.catalogue(schema).contents
                query = contents.select().where(contents.c.object == int(check_object_id(object_id)))
                query = query.order_by(contents.c.table_name)
                return {row.table_name: row.row_count for row in connection.execute(query)}
        except NotFound:
            return {}


def _read_page(connection: Connection, query: Any, limit: int) -> tuple[list[dict[str, Any]], bool]:
    """At most `limit` rows of a query, fewer where they are large, and whether there are more: they are fetched as they
    are read."""
    page: list[dict[str, Any]] = []
    size = 0
    streamed = {"stream_results": True, "max_row_buffer": _FETCHED}
    with connection.execute(query, execution_options=streamed) as result:
        for row in result.mappings():
            if len(page) == limit or (page and size >= PAGE_BYTES):
                return page, True
            page.append(dict(row))
            size += sum(map(_size, row.values()))
    return page, False


def _size(value: Any) -> int:
    """About how many bytes a value takes as JSON."""
    if isinstance(value, Mapping):
        return sum(len(key) + 4 + _size(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return sum(2 + _size(item) for item in value)
    return len(value) if isinstance(value, (str, bytes)) else 8


def _told(info: TableInfo) -> dict[str, Any]:
    columns = [{"column": one.column, "name": one.name, "type": _kind(one)} for one in info.columns]
    return {
        "table": info.table,
        "name": info.name,
        "key": list(info.key),
        "current": info.view if info.view_columns else None,
        "columns": columns,
    }


def _kind(column: ColumnInfo) -> str:
    return "text" if column.type.kind == "empty" else column.type.kind


def _known(columns: Mapping[str, ColumnInfo], name: str) -> ColumnInfo:
    if name not in columns:
        raise InvalidInput(f"there is no column {name!r:.80}; there are: {', '.join(columns)}"[:500])
    return columns[name]


def _condition(source: sqlalchemy.Table, column: ColumnInfo, one: Filter) -> Any:
    field = source.c[column.column]
    if one.operator == "null":
        return field.is_(None) if one.value else field.isnot(None)
    kind = _kind(column)
    if one.operator == "contains":
        if kind != "text":
            raise InvalidInput(f"{column.column} is {kind}: only a text contains another")
        return field.contains(one.value, autoescape=True)
    if kind not in _ORDERED:
        raise InvalidInput(f"{column.column} is {kind}, which is not compared")
    value = parse_value(kind, one.value, column.column)
    return {
        "eq": field.__eq__,
        "ne": field.__ne__,
        "lt": field.__lt__,
        "le": field.__le__,
        "gt": field.__gt__,
        "ge": field.__ge__,
    }[one.operator](value)


def parse_value(kind: str, value: Any, column: str) -> Any:
    """A value, often a text of an address, as a column of this type has it. Errors: InvalidInput."""
    try:
        if kind == "boolean":
            return _BOOLEANS[str(value).lower()]
        if kind == "integer":
            number = int(str(value))
            if not -(2**63) <= number < 2**63:
                raise ValueError("over 64 bits")
            return number
        if kind == "number":
            return float(value)
        if kind == "decimal":
            exact = Decimal(str(value))
            if not exact.is_finite():
                raise ValueError("not finite")
            return exact
        if kind == "date":
            return date.fromisoformat(str(value))
        if kind == "time":
            return time.fromisoformat(str(value))
        if kind == "timestamp":
            moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
            return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
        if not isinstance(value, str) or "\x00" in value:
            raise ValueError("not a text")
        return value
    except (ValueError, TypeError, KeyError, OverflowError, InvalidOperation):
        raise InvalidInput(f"{column} is {kind}: {value!r:.60} is not") from None


def _in_order(source: sqlalchemy.Table, query: Any, by: ColumnInfo | None, descending: bool, after: str | None) -> Any:
    import sqlalchemy as sa

    if by is None:
        if after:
            last = from_cursor(after, (int, int))
            query = query.where(_later(source, *last))
        return query.order_by(source.c[OBJECT], source.c[ROW])
    field = source.c[by.column]
    if after:
        value, *last = from_cursor(after, ((str, int, float, type(None)), int, int))
        later = _later(source, *last)
        if value is None:
            query = query.where(sa.and_(field.is_(None), later))
        else:
            value = parse_value(_kind(by), value, by.column)
            beyond = field < value if descending else field > value
            query = query.where(sa.or_(beyond, sa.and_(field == value, later), field.is_(None)))
    return query.order_by(
        sa.case((field.is_(None), 1), else_=0), field.desc() if descending else field, source.c[OBJECT], source.c[ROW]
    )


def _later(source: sqlalchemy.Table, number: int, row: int) -> Any:
    import sqlalchemy as sa

    # Not a comparison of pairs, for which MariaDB uses no index.
    return sa.or_(source.c[OBJECT] > number, sa.and_(source.c[OBJECT] == number, source.c[ROW] > row))


def _place(row: Mapping[str, Any], by: ColumnInfo | None) -> list[Any]:
    here = [row[OBJECT], row[ROW]]
    if by is None:
        return here
    value = row[by.column]
    if isinstance(value, Decimal):
        value = str(value)  # exact
    return [_value(value), *here]


def _row(row: Mapping[str, Any], columns: Sequence[ColumnInfo]) -> dict[str, Any]:
    lake = {
        "object": str(row[OBJECT]),
        "operation": row[OPERATION],
        "row": row[ROW],
        "line": row[LINE] or None,
    }
    return {**{column.column: _value(row[column.column]) for column in columns}, "lake": lake}


def _value(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Decimal):
        number = int(value) if value == value.to_integral_value() and abs(value) < 2**53 else float(value)
        if Decimal(repr(number)) == value:
            return number
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text  # MariaDB fills up to the column's scale
    if isinstance(value, datetime):
        moment = value if value.tzinfo is None else value.astimezone(timezone.utc).replace(tzinfo=None)
        return moment.isoformat() + "Z"
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    return value
