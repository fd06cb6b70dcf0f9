# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The relational store in MariaDB (10.6 and newer): a database per store; rows come in by long INSERTs.

A change of a table commits at once there. So each change is one statement that leaves a table right whether or not the
next one follows, the column's comment says its type in the same statement, and the steps may be done again.
LOAD DATA LOCAL is not used: it would let a server ask the client for any file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import StoreError
from .sql_dialect import TRUTHS, Catalogue, ColumnInfo, Dialect, Settings, TableInfo, Write, translate
from .sql_names import NEW, OBJECT, OWN, ROW
from .sql_spool import Column as SpoolColumn
from .sql_types import TEXT, SqlType

if TYPE_CHECKING:
    import sqlalchemy
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.types import TypeEngine

STATEMENT = 4 * 1024 * 1024
"""About how long an INSERT is, in bytes; the server's `max_allowed_packet` is more."""
LOCK_WAIT = 60
DDL_WAIT = 5

_MAX_DIGITS, _MAX_SCALE = 65, 38  # of a DECIMAL, in all and after the point
_STEP = 9  # a DECIMAL keeps nine digits in four bytes
_KEY_PREFIX = 64  # characters of a text that are in an index: 3,072 bytes hold ten of these
_COLLATION = "utf8mb4_nopad_bin"  # texts are equal when all their characters are, spaces at the end as well
_MODE = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION"  # backslashes escape, quotes are quotes
_HEX = re.compile(rb"'\\X([0-9a-f]*)'")
_MOMENT_TEXT = (
    "CONCAT(TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM DATE_FORMAT({0}, '%%Y-%%m-%%dT%%H:%%i:%%s.%%f'))), 'Z')"
)
_TIME_TEXT = "TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM TIME_FORMAT({0}, '%%H:%%i:%%s.%%f')))"


class MariaDB(Dialect):
    """MariaDB, by PyMySQL."""

    place: ClassVar[str] = "database"
    port: ClassVar[int] = 3306
    prefix: ClassVar[bool] = True

    def engine(self, settings: Settings) -> Engine:
        import sqlalchemy as sa

        url = sa.URL.create("mariadb+pymysql", settings.username, settings.password, settings.host, settings.port)
        tls: dict[str, Any] = {"ssl_verify_cert": True, "ssl_verify_identity": True}
        if settings.ca_file:
            tls["ssl_ca"] = settings.ca_file
        arguments = {
            "charset": "utf8mb4",
            "connect_timeout": 10,
            "read_timeout": settings.timeout,
            "write_timeout": settings.timeout,
            "local_infile": False,
            "init_command": f"SET SESSION sql_mode='{_MODE}', time_zone='+00:00',"
            f" lock_wait_timeout={LOCK_WAIT}, innodb_lock_wait_timeout={LOCK_WAIT}",
            **(tls if settings.tls else {"ssl_disabled": True}),
        }
        return sa.create_engine(
            url, connect_args=arguments, isolation_level="READ COMMITTED", pool_pre_ping=True, pool_recycle=600
        )

    @property
    def _preparer(self) -> Any:
        return _sql().identifier_preparer

    def held(self, wanted: SqlType) -> SqlType:
        if wanted.kind != "decimal":
            return wanted
        digits, scale = (-(-size // _STEP) * _STEP for size in (max(wanted.digits, _STEP), wanted.scale))
        if scale > _MAX_SCALE or digits + scale > _MAX_DIGITS:  # no room for whole steps
            digits, scale = wanted.digits, wanted.scale
        if scale > _MAX_SCALE or digits + scale > _MAX_DIGITS:
            return TEXT
        return SqlType("decimal", digits, scale)

    def column_type(self, of: SqlType) -> TypeEngine[Any]:
        from sqlalchemy.dialects import mysql

        text = mysql.LONGTEXT(charset="utf8mb4", collation=_COLLATION)
        if of.kind == "decimal":
            return mysql.DECIMAL(of.digits + of.scale, of.scale)
        types: Mapping[str, TypeEngine[Any]] = {
            "boolean": mysql.BOOLEAN(),
            "integer": mysql.BIGINT(),
            "number": mysql.DOUBLE(asdecimal=False),
            "date": mysql.DATE(),
            "time": mysql.TIME(fsp=6),
            "timestamp": mysql.DATETIME(fsp=6),
            "bytes": mysql.LONGBLOB(),
            "json": mysql.JSON(),
        }
        return types.get(of.kind) or text

    def name_type(self, length: int) -> TypeEngine[Any]:
        from sqlalchemy.dialects import mysql

        return mysql.VARCHAR(length, charset="utf8mb4", collation=_COLLATION)

    def moment_type(self) -> TypeEngine[Any]:
        from sqlalchemy.dialects import mysql

        return mysql.DATETIME(fsp=6)

    def moment(self, value: datetime) -> datetime:
        return value.astimezone(timezone.utc).replace(tzinfo=None)

    @contextmanager
    def changing(self, engine: Engine, schema: str) -> Iterator[Connection]:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            name = f"lake {schema}"[:64]
            connection.exec_driver_sql(f"SET SESSION lock_wait_timeout={DDL_WAIT}")
            try:
                if connection.exec_driver_sql("SELECT GET_LOCK(%s, %s)", (name, LOCK_WAIT)).scalar() != 1:
                    raise StoreError(f"another one has been changing {schema} for {LOCK_WAIT} s", retriable=True)
                try:
                    yield connection
                finally:
                    if not connection.invalidated:
                        connection.exec_driver_sql("SELECT RELEASE_LOCK(%s)", (name,))
            finally:
                if not connection.invalidated:
                    connection.exec_driver_sql(f"SET SESSION lock_wait_timeout={LOCK_WAIT}")

    def create_schema(self, connection: Connection, schema: str) -> None:
        connection.exec_driver_sql(
            f"CREATE DATABASE IF NOT EXISTS {self.quote(schema)} CHARACTER SET utf8mb4 COLLATE {_COLLATION}"
        )

    def grant(self, connection: Connection, schema: str, readers: Sequence[str]) -> None:
        pattern = self.quote(schema.replace("_", "\\_"))  # `_` would stand for any character
        for reader in readers:
            connection.exec_driver_sql(f"GRANT SELECT, SHOW VIEW ON {pattern}.* TO {self.quote(reader)}")

    def is_granted(self, connection: Connection, schema: str, readers: Sequence[str]) -> bool:
        return not readers  # who may grant need not be one who may look: granting again changes nothing

    def relations(self, connection: Connection, schema: str) -> set[str]:
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
        return {str(name).lower() for name in connection.exec_driver_sql(query, (schema,)).scalars()}

    def describe(
        self, connection: Connection, schema: str, names: Sequence[str]
    ) -> dict[str, list[tuple[str, str | None]]]:
        if not names:
            return {}
        places = ", ".join(["%s"] * len(names))
        rows = connection.exec_driver_sql(
            "SELECT table_name, column_name, column_comment FROM information_schema.columns"  # noqa: S608
            f" WHERE table_schema = %s AND table_name IN ({places}) ORDER BY ordinal_position",
            (schema, *names),
        )
        found: dict[str, list[tuple[str, str | None]]] = {}
        for table, column, comment in rows:
            found.setdefault(table, []).append((column, comment))
        return found

    def _name(self, table: sqlalchemy.Table) -> str:
        return f"{self.quote(str(table.schema))}.{self.quote(table.name)}"

    def _column(self, table: sqlalchemy.Table, one: ColumnInfo) -> str:
        """A column as CREATE TABLE has it, with its comment."""
        from sqlalchemy.schema import CreateColumn

        described = self.table(str(table.schema), table.name, [one])
        return str(CreateColumn(described.c[one.column]).compile(dialect=_sql()))

    def add_columns(self, connection: Connection, table: sqlalchemy.Table, columns: Sequence[ColumnInfo]) -> None:
        added = ", ".join(f"ADD COLUMN {self._column(table, one)}" for one in columns)
        connection.exec_driver_sql(f"ALTER TABLE {self._name(table)} {added}")

    def widen(self, connection: Connection, table: sqlalchemy.Table, old: ColumnInfo, new: SqlType) -> None:
        name, column = self._name(table), self.quote(old.column)
        changed = ColumnInfo(old.column, old.name, new)
        converted = _converted(column, old.type, new.kind)
        if converted is None:  # the server makes the values itself
            connection.exec_driver_sql(f"ALTER TABLE {name} MODIFY COLUMN {self._column(table, changed)}")
            return
        # The new values are made beside the old ones, and take their place by one statement. Meanwhile nobody writes
        # rows that would have none: whoever writes shares the table's row in lake_tables. It is held by a connection
        # of its own, since what the other one holds ends with each change of the table.
        tables = self.catalogue(str(table.schema)).tables
        mine = tables.select().where(tables.c.table_name == table.name).with_for_update()
        with connection.engine.begin() as holding:
            holding.execute(mine).all()
            there = dict(self.describe(connection, str(table.schema), [table.name]).get(table.name, ()))
            if NEW in there:
                connection.exec_driver_sql(f"ALTER TABLE {name} DROP COLUMN {self.quote(NEW)}")
            beside = ColumnInfo(NEW, old.name, new)
            connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN {self._column(table, beside)} AFTER {column}")
            connection.exec_driver_sql(f"UPDATE {name} SET {self.quote(NEW)} = {converted}")  # noqa: S608
            connection.exec_driver_sql(
                f"ALTER TABLE {name} DROP COLUMN {column},"
                f" CHANGE COLUMN {self.quote(NEW)} {self._column(table, changed)}"
            )

    def create_key_index(self, connection: Connection, table: sqlalchemy.Table, info: TableInfo) -> None:
        long = {one.column for one in info.columns if one.type.kind in ("text", "empty", "json", "bytes")}
        columns = [self.quote(name) + (f"({_KEY_PREFIX})" if name in long else "") for name in info.key]
        name = self.quote(self.index_name(table.name))
        connection.exec_driver_sql(f"CREATE INDEX {name} ON {self._name(table)} ({', '.join([*columns, OBJECT, ROW])})")

    def drop_key_index(self, connection: Connection, table: sqlalchemy.Table) -> None:
        name = self.index_name(table.name)
        query = (
            "SELECT 1 FROM information_schema.statistics"
            " WHERE table_schema = %s AND table_name = %s AND index_name = %s LIMIT 1"
        )
        if connection.exec_driver_sql(query, (table.schema, table.name, name)).scalar():
            connection.exec_driver_sql(f"DROP INDEX {self.quote(name)} ON {self._name(table)}")

    def create_view(self, connection: Connection, schema: str, view: str, select: str) -> None:
        connection.exec_driver_sql(
            f"CREATE OR REPLACE SQL SECURITY INVOKER VIEW {self.quote(schema)}.{self.quote(view)} AS {select}"
        )

    def drop_view(self, connection: Connection, schema: str, view: str) -> None:
        """It is not in the way here, and readers have it until it is made anew."""

    def lock_tables(self, connection: Connection, schema: str, tables: Sequence[str]) -> None:
        for name in tables:  # whoever has used a table in a transaction keeps its columns as they are until it ends
            connection.exec_driver_sql(f"SELECT 1 FROM {self.quote(schema)}.{self.quote(name)} LIMIT 0").close()  # noqa: S608

    def hold_objects(self, connection: Connection, catalogue: Catalogue, rows: Sequence[Mapping[str, Any]]) -> None:
        from sqlalchemy.dialects.mysql import insert

        statement = insert(catalogue.objects)
        changed = {name: statement.inserted[name] for name in ("operation", "written")}
        connection.execute(statement.on_duplicate_key_update(changed), list(rows))

    def written(self, column: SpoolColumn, into: SqlType) -> Write | None:
        if "boolean" in column.kinds:
            return translate(TRUTHS[into.kind] if into.kind != "boolean" else TRUTHS["integer"])
        if into.kind == "timestamp" and "timestamp" in column.kinds:
            return _without_zone
        if into.kind == "bytes" and "bytes" in column.kinds:
            return _as_hex
        return None

    def put(
        self, connection: Connection, table: sqlalchemy.Table, columns: Sequence[str], lines: Iterable[bytes]
    ) -> None:
        names = ", ".join(map(self.quote, (*OWN, *columns)))
        start = f"INSERT INTO {self._name(table)} ({names}) VALUES\n".encode()  # noqa: S608
        driver: Any = connection.connection.driver_connection
        limit = int(connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one()) - 1024
        with driver.cursor() as cursor:
            for values in _values(lines, min(STATEMENT, limit - len(start))):
                if len(start) + len(values) > limit:
                    raise StoreError(
                        f"{table.name}: a row of {len(values)} bytes is over the server's max_allowed_packet ({limit})",
                        retriable=False,
                    )
                cursor.execute(start + values)

    def code_of(self, error: DBAPIError) -> str:
        arguments = getattr(error.orig, "args", ())
        code = arguments[0] if arguments and isinstance(arguments[0], int) else 0
        # Below 1,000 and from 2,000 to 2,999 they are the client's own: the connection failed.
        return str(code) if code >= 1000 and not 2000 <= code < 3000 else ""

    def is_conflict(self, code: str) -> bool:
        # Lock wait timeout, deadlock, table definition changed, record has changed since last read; made by two at
        # once: table exists, duplicate column, duplicate key name.
        return code in ("1205", "1213", "1412", "1020", "1050", "1060", "1061")

    def is_refusal(self, code: str) -> bool:
        # Null, duplicate, too many columns, row or key too big, invalid default, out of range, truncated, incorrect
        # value, too long, not JSON, packet too big.
        return code in (
            *("1048", "1062", "1067", "1069", "1070", "1071", "1074", "1117", "1118", "1153", "1264", "1265", "1292"),
            *("1366", "1406", "1690", "3140", "4025"),
        )

    def is_missing(self, code: str) -> bool:
        # Access denied to a database, unknown database, access denied to a table, no such table
        return code in ("1044", "1049", "1142", "1146")


@lru_cache(maxsize=1)
def _sql() -> Any:
    """How SQLAlchemy writes for MariaDB."""
    from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect

    make: Any = MariaDBDialect
    return make()


def _values(lines: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Lines of a spool as the values of INSERTs, each about `limit` bytes long at most, or one row.

    A line's backslash escapes are those of a quoted text as well; only the quote has to be escaped besides. No value is
    a quoted `\\N`, alone: a backslash of a value's own is doubled.
    """
    rows: list[bytes] = []
    size = 0
    for some in lines:
        some = some.replace(b"'", b"\\'").replace(b"\t", b"','").replace(b"\n", b"')\n('")
        some = (b"('" + some[: -len(b"\n('")]).replace(b"'\\N'", b"NULL")
        if b"'\\X" in some:
            some = _HEX.sub(rb"X'\1'", some)
        for row in [some] if size + len(some) <= limit else some.split(b"\n"):
            if size + len(row) > limit and rows:
                yield b",".join(rows)
                rows, size = [], 0
            rows.append(row.replace(b"\n", b","))
            size += len(row) + 1
    if rows:
        yield b",".join(rows)


def _without_zone(value: bytes) -> bytes:
    return value[:-1] if value.endswith(b"Z") else value


def _as_hex(value: bytes) -> bytes:
    return b"\\X" + value[3:] if value.startswith(b"\\\\x") else value


def _converted(column: str, old: SqlType, new: str) -> str | None:
    """An expression for a column's values as those of another type; None where the server makes the same by itself."""
    if new != "text" or old.kind in ("empty", "json", "integer", "date"):
        return None
    if old.kind == "boolean":
        return f"CASE {column} WHEN 0 THEN 'false' WHEN 1 THEN 'true' END"
    if old.kind == "bytes":
        return f"CONCAT('\\\\x', LOWER(HEX({column})))"
    if old.kind == "timestamp":
        return _MOMENT_TEXT.format(column)
    if old.kind == "time":
        return _TIME_TEXT.format(column)
    if old.kind == "decimal" and old.scale:  # without the zeros that only the column's scale adds
        return f"TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM CAST({column} AS CHAR)))"
    return f"CAST({column} AS CHAR)"
