# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The relational store in PostgreSQL (13 and newer): a schema per store, in one database; rows come in by COPY."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from .sql_dialect import TRUTHS, Catalogue, ColumnInfo, Dialect, Settings, TableInfo, Write, translate
from .sql_names import OBJECT, OWN, ROW
from .sql_spool import Column as SpoolColumn
from .sql_types import TEXT, SqlType

if TYPE_CHECKING:
    import sqlalchemy
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.types import TypeEngine

DDL_WAIT = "5s"
"""How long a change of a table waits for those who use it: meanwhile it keeps new readers waiting."""

_MAX_DIGITS, _MAX_SCALE = 131_072, 16_383  # of a numeric
# A moment as text, as the spool writes one: a fraction only as long as it has to be.
_MOMENT_TEXT = """rtrim(rtrim(to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '0'), '.') || 'Z'"""


class PostgreSQL(Dialect):
    """PostgreSQL, by psycopg 3."""

    place: ClassVar[str] = "schema"
    port: ClassVar[int] = 5432
    prefix: ClassVar[bool] = False

    def engine(self, settings: Settings) -> Engine:
        import sqlalchemy as sa

        url = sa.URL.create(
            "postgresql+psycopg", settings.username, settings.password, settings.host, settings.port, settings.database
        )
        tls = {"sslmode": "verify-full", "sslrootcert": settings.ca_file or "system"} if settings.tls else {}
        options = f"-c timezone=UTC -c statement_timeout={int(settings.timeout * 1000)} -c lock_timeout=60s"
        arguments = {
            "connect_timeout": 10,
            "application_name": "lake",
            "options": options,
            "keepalives_idle": 30,
            "tcp_user_timeout": 30_000,
            **tls,
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
        # A numeric has no size of its own.
        return SqlType("decimal") if wanted.digits <= _MAX_DIGITS and wanted.scale <= _MAX_SCALE else TEXT

    def column_type(self, of: SqlType) -> TypeEngine[Any]:
        import sqlalchemy as sa
        from sqlalchemy.dialects.postgresql import JSONB

        types: Mapping[str, TypeEngine[Any]] = {
            "boolean": sa.Boolean(),
            "integer": sa.BigInteger(),
            "number": sa.Double(),
            "decimal": sa.Numeric(),
            "date": sa.Date(),
            "time": sa.Time(),
            "timestamp": sa.DateTime(timezone=True),
            "bytes": sa.LargeBinary(),
            "json": JSONB(),
        }
        return types.get(of.kind) or sa.Text()

    def name_type(self, length: int) -> TypeEngine[Any]:
        import sqlalchemy as sa

        return sa.String(length)

    def moment_type(self) -> TypeEngine[Any]:
        import sqlalchemy as sa

        return sa.DateTime(timezone=True)

    def moment(self, value: datetime) -> datetime:
        return value

    @contextmanager
    def changing(self, engine: Engine, schema: str) -> Iterator[Connection]:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{DDL_WAIT}'")
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", ("lake " + schema,))
            yield connection

    def create_schema(self, connection: Connection, schema: str) -> None:
        connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {self.quote(schema)}")

    def grant(self, connection: Connection, schema: str, readers: Sequence[str]) -> None:
        for reader in readers:
            place, who = self.quote(schema), self.quote(reader)
            connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {place} TO {who}")
            connection.exec_driver_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA {place} TO {who}")
            connection.exec_driver_sql(f"ALTER DEFAULT PRIVILEGES IN SCHEMA {place} GRANT SELECT ON TABLES TO {who}")

    def is_granted(self, connection: Connection, schema: str, readers: Sequence[str]) -> bool:
        catalogue = f"{self.quote(schema)}.lake_contents"
        return all(
            connection.exec_driver_sql(
                "SELECT has_schema_privilege(%(who)s, %(schema)s, 'USAGE')"
                " AND has_table_privilege(%(who)s, %(table)s, 'SELECT')",
                {"who": reader, "schema": schema, "table": catalogue},
            ).scalar()
            for reader in readers
        )

    def relations(self, connection: Connection, schema: str) -> set[str]:
        query = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s)"
        return set(connection.exec_driver_sql(query, (self.quote(schema),)).scalars())

    def describe(
        self, connection: Connection, schema: str, names: Sequence[str]
    ) -> dict[str, list[tuple[str, str | None]]]:
        rows = connection.exec_driver_sql(
            "SELECT c.relname, a.attname, col_description(c.oid, a.attnum) FROM pg_class c"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
            " WHERE c.relnamespace = to_regnamespace(%s) AND c.relname = ANY(%s) AND c.relkind IN ('r', 'v')"
            " ORDER BY a.attnum",
            (self.quote(schema), list(names)),
        )
        found: dict[str, list[tuple[str, str | None]]] = {}
        for table, column, comment in rows:
            found.setdefault(table, []).append((column, comment))
        return found

    def _name(self, table: sqlalchemy.Table) -> str:
        return f"{self.quote(str(table.schema))}.{self.quote(table.name)}"

    def add_columns(self, connection: Connection, table: sqlalchemy.Table, columns: Sequence[ColumnInfo]) -> None:
        added = ", ".join(f"ADD COLUMN {self.quote(one.column)} {self._type(one.type)}" for one in columns)
        connection.exec_driver_sql(f"ALTER TABLE {self._name(table)} {added}")
        for one in columns:
            self._comment(connection, table, one)

    def _type(self, of: SqlType) -> str:
        return str(self.column_type(of).compile(_sql()))

    def _comment(self, connection: Connection, table: sqlalchemy.Table, one: ColumnInfo) -> None:
        from sqlalchemy.schema import SetColumnComment

        described = self.table(str(table.schema), table.name, [one])
        connection.execute(SetColumnComment(described.c[one.column]))

    def widen(self, connection: Connection, table: sqlalchemy.Table, old: ColumnInfo, new: SqlType) -> None:
        column = self.quote(old.column)
        if self._type(old.type) != self._type(new):
            connection.exec_driver_sql(
                f"ALTER TABLE {self._name(table)} ALTER COLUMN {column} TYPE {self._type(new)}"
                f" USING {_converted(column, old.type.kind, new.kind)}"
            )
        self._comment(connection, table, ColumnInfo(old.column, old.name, new))

    def create_key_index(self, connection: Connection, table: sqlalchemy.Table, info: TableInfo) -> None:
        columns = ", ".join(map(self.quote, (*info.key, OBJECT, ROW)))
        name = self.quote(self.index_name(table.name))
        connection.exec_driver_sql(f"CREATE INDEX {name} ON {self._name(table)} ({columns})")

    def drop_key_index(self, connection: Connection, table: sqlalchemy.Table) -> None:
        name = f"{self.quote(str(table.schema))}.{self.quote(self.index_name(table.name))}"
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name}")

    def create_view(self, connection: Connection, schema: str, view: str, select: str) -> None:
        self.drop_view(connection, schema, view)
        connection.exec_driver_sql(f"CREATE VIEW {self.quote(schema)}.{self.quote(view)} AS {select}")

    def drop_view(self, connection: Connection, schema: str, view: str) -> None:
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {self.quote(schema)}.{self.quote(view)}")

    def lock_tables(self, connection: Connection, schema: str, tables: Sequence[str]) -> None:
        if tables:
            names = ", ".join(f"{self.quote(schema)}.{self.quote(name)}" for name in tables)
            connection.exec_driver_sql(f"LOCK TABLE {names} IN ROW EXCLUSIVE MODE")

    def hold_objects(self, connection: Connection, catalogue: Catalogue, rows: Sequence[Mapping[str, Any]]) -> None:
        from sqlalchemy.dialects.postgresql import insert

        statement = insert(catalogue.objects)
        changed = {name: statement.excluded[name] for name in ("operation", "written")}
        connection.execute(statement.on_conflict_do_update(index_elements=["object"], set_=changed), list(rows))

    def written(self, column: SpoolColumn, into: SqlType) -> Write | None:
        if "boolean" in column.kinds and into.kind != "boolean":
            return translate(TRUTHS[into.kind])
        return None

    def put(
        self, connection: Connection, table: sqlalchemy.Table, columns: Sequence[str], lines: Iterable[bytes]
    ) -> None:
        names = ", ".join(map(self.quote, (*OWN, *columns)))
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(f"COPY {self._name(table)} ({names}) FROM STDIN") as copy:
            for some in lines:
                copy.write(some)

    def code_of(self, error: DBAPIError) -> str:
        return getattr(error.orig, "sqlstate", None) or ""

    def is_conflict(self, code: str) -> bool:
        # serialization_failure, deadlock_detected, lock_not_available; made by two at once: unique_violation of a
        # catalogue (pg_namespace), duplicate_table, duplicate_schema.
        return code in ("40001", "40P01", "55P03", "42P07", "42P06")

    def is_refusal(self, code: str) -> bool:
        # Data, integrity, and limits such as the size of a row or an index entry; too many columns.
        return code[:2] in ("22", "23", "54")

    def is_missing(self, code: str) -> bool:
        # undefined_table, invalid_schema_name, insufficient_privilege
        return code in ("42P01", "3F000", "42501")


@lru_cache(maxsize=1)
def _sql() -> Any:
    """How SQLAlchemy writes for PostgreSQL."""
    from sqlalchemy.dialects import postgresql

    make: Any = postgresql.dialect
    return make()


def _converted(column: str, old: str, new: str) -> str:
    """An expression for a column's values as those of another type (with UTC as the session's zone)."""
    if old == "empty":
        return "NULL"
    if old == "boolean" and new in ("integer", "decimal", "number"):
        return f"{column}::int"
    if new == "text" and old == "timestamp":
        return _MOMENT_TEXT.format(column)
    return f"{column}::text" if new == "text" else column
