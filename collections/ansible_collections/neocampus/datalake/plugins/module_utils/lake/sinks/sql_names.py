# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names in SQL: safe ones for what files call anything, and the names that files had, to be kept beside them."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache
from typing import Any

MAX_NAME = 63
"""Bytes of a name in PostgreSQL (MariaDB: 64 characters); ours are ASCII."""
SUFFIX = "_current"
"""What is put after a table's name for the view of its current rows."""
OBJECT, OPERATION, ROW, LINE = OWN = ("lake_object", "lake_operation", "lake_row", "lake_line")
"""The lake's own columns, first in every table: where the row comes from."""
NEW = "lake_new"
"""A column whose values are being made, in MariaDB."""

_MAX_COMMENT = 900  # a column's comment in MariaDB ends at 1,024 characters, and it also holds the column's type
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_HASHED = re.compile(r"_[0-9a-f]{12}$")
# PostgreSQL's hidden columns, and where readers find a row's origin.
_TAKEN_COLUMNS = frozenset({"cmax", "cmin", "ctid", "lake", "oid", "tableoid", "xmax", "xmin", *OWN})
_TAKEN_SCHEMAS = frozenset({"information_schema", "public"})


@lru_cache(maxsize=1)
def reserved() -> frozenset[str]:
    """Words that PostgreSQL, MariaDB or MySQL would read as their own if they were not quoted."""
    from sqlalchemy.dialects import mysql, postgresql
    from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect

    dialects: list[Any] = [postgresql.dialect, mysql.dialect, MariaDBDialect]
    return frozenset().union(*(dialect().identifier_preparer.reserved_words for dialect in dialects))


def kept_name(text: str) -> str:
    """The name that is kept of what a file calls a table or column, which stands for it from then on.

    It is the text without control characters; one that no comment would hold is cut, and gets a hash of the whole.
    """
    name = _CONTROL.sub("\ufffd", text)
    if len(as_comment(name)) <= _MAX_COMMENT:
        return name
    return f"{_cut(name, _MAX_COMMENT // 2)}…{_hash(name)}"


def _cut(name: str, length: int) -> str:
    """The beginning of a name, as much as makes at most `length` characters in a comment (one may take 12 there)."""
    end = length
    while len(as_comment(name[:end])) > length:
        end = end * 3 // 4
    return name[:end]


def as_comment(value: object) -> str:
    """JSON for a comment: MariaDB keeps comments in a character set that has no character over U+FFFF."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[\U00010000-\U0010ffff]", lambda match: json.dumps(match.group())[1:-1], text)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def slug(text: str) -> str:
    """Lower-case ASCII letters, digits and single `_` of a text, accents taken off; it may be empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "_", plain).strip("_")


def make_name(text: str, taken: Collection[str], kind: str) -> str:
    """A name for what a file calls a `kind` (`table` or `column`), that needs no quotes and is not taken.

    `taken` holds lower-case names. A table's name leaves room for the view of its current rows.
    """
    limit = MAX_NAME - len(SUFFIX) if kind == "table" else MAX_NAME
    base = slug(text) or kind
    if base[0].isdigit() or base.startswith(("lake_", "pg_")):
        base = f"{kind}_{base}"
    if base in reserved() or base in _TAKEN_COLUMNS:
        base += "_"
    base = base[:limit]
    name, number = base, 1
    while name in taken or (kind == "table" and name + SUFFIX in taken):
        number += 1
        end = f"_{number}"
        name = base[: limit - len(end)] + end
    return name


def schema_name(store: str, prefix: str = "") -> str:
    """The schema (PostgreSQL) or database (MariaDB) of a store: always the same, and no two stores have one.

    It is the store's name where that is one in SQL too, else what is left of it and a hash. A name that looks as if it
    had such a hash gets one as well, so that nobody can call a container what another one's schema is called.
    """
    plain = slug(store)
    odd = not plain or plain[0].isdigit() or plain.startswith(("lake_", "pg_"))
    free = bool(prefix) or (plain not in reserved() and plain not in _TAKEN_SCHEMAS)
    if plain == store and free and not odd and not _HASHED.search(plain) and len(prefix + plain) <= MAX_NAME:
        return prefix + plain
    base = f"{prefix}{'s_' if odd else ''}{plain}"
    return f"{base[: MAX_NAME - 13].rstrip('_')}_{_hash(store)}"
