# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sqlalchemy")

from neocampus_lake.sinks.sql_names import (  # noqa: E402
    MAX_NAME,
    SUFFIX,
    as_comment,
    kept_name,
    make_name,
    reserved,
    schema_name,
)


@pytest.mark.parametrize(
    ("text", "table", "column"),
    [
        ("Température (°C)", "temperature_c", "temperature_c"),
        ("User", "user_", "user_"),
        ("1st", "table_1st", "column_1st"),
        ("日本", "table", "column"),
        ("lake_object", "table_lake_object", "column_lake_object"),
        ("ctid", "ctid_", "ctid_"),
        ("--; DROP", "drop_", "drop_"),
    ],
)
def test_names_that_need_no_quotes(text, table, column):
    if column == "column":  # a word of SQL's
        column = "column_"
    if table == "table":
        table = "table_"
    assert make_name(text, (), "table") == table
    assert make_name(text, (), "column") == column


def test_names_are_unique_and_leave_room_for_the_view():
    taken = set()
    for text in ["Débit", "debit", "DEBIT", "debit_2", "x" * 100, "x" * 101]:
        name = make_name(text, taken, "table")
        assert name not in taken and len(name + SUFFIX) <= MAX_NAME
        taken.add(name)
    assert {"debit", "debit_2", "debit_3", "debit_2_2"} <= taken
    assert make_name("a", {"a" + SUFFIX}, "table") == "a_2"


@given(st.lists(st.text(max_size=80), max_size=12))
def test_any_names_are_safe_and_unique(texts):
    for kind in ("table", "column"):
        taken = set()
        for text in texts:
            name = make_name(text, taken, kind)
            assert re.fullmatch("[a-z][a-z0-9_]*", name) and len(name) <= MAX_NAME
            assert name not in taken and name not in reserved() and not name.startswith(("pg_",))
            taken.add(name)


@given(st.text(max_size=1000), st.text(max_size=1000))
def test_kept_names_fit_in_a_comment_and_stay_apart(one, other):
    for text in (one, other):
        comment = as_comment(kept_name(text))
        assert len(comment) <= 920 and all(ord(character) <= 0xFFFF for character in comment)
        assert json.loads(comment) == kept_name(text) == kept_name(kept_name(text))
    printable = "".join(character for character in one if character.isprintable())
    assert kept_name("x" * 2000 + printable) != kept_name("x" * 2000 + printable + "y")
    if len(printable) < 50:
        assert kept_name(printable) == printable


@pytest.mark.parametrize("prefix", ["", "gold_"])
def test_schemas_of_stores(prefix):
    assert schema_name("meteo", prefix) == prefix + "meteo"
    assert re.fullmatch(prefix + "campus_sensors_[0-9a-f]{12}", schema_name("campus-sensors", prefix))
    names = ["public", "select", "pg_x", "lake_x", "1a", "Meteo", "METEO", "été", "", "a" * 64, "a" * 65, "a b", "a-b"]
    # What another store's schema is called, and the like.
    names += ["meteo", schema_name("Meteo"), schema_name("a-b", prefix)[len(prefix) :], "x_0123456789ab"]
    found = [schema_name(name, prefix) for name in names]
    assert len(set(found)) == len(names)
    for name in found:
        assert len(name) <= MAX_NAME and re.fullmatch("[a-z][a-z0-9_]*", name)
        assert name not in ("public", "information_schema") and not name.startswith("pg_")
        assert prefix or name not in reserved()
