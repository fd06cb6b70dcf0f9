# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How lines become the values of INSERTs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.sinks.sql_mariadb import MariaDB, _values
from neocampus_lake.sinks.sql_types import SqlType, render


def fields_of(values):
    """What MariaDB reads in `(…),(…)`: a small reader of its quoted texts, by the rules of its manual."""
    rows, place = [], 0
    while place < len(values):
        assert values[place : place + 1] == b"("
        row, place = [], place + 1
        while True:
            if values.startswith(b"NULL", place):
                row.append(None)
                place += 4
            else:
                binary = values.startswith(b"X'", place)
                place += 1 + binary
                text = bytearray()
                while values[place : place + 1] != b"'":
                    if values[place : place + 1] == b"\\":
                        place += 1
                        escape = values[place : place + 1]
                        text += {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"0": b"\0"}.get(escape, escape)
                    else:
                        text += values[place : place + 1]
                    place += 1
                place += 1
                row.append(bytes.fromhex(text.decode()) if binary else text.decode())
            end = values[place : place + 1]
            place += 1
            if end == b")":
                break
            assert end == b","
        rows.append(row)
        assert place == len(values) or values[place : place + 1] == b","
        place += 1
    return rows


TEXTS = st.none() | st.text(st.sampled_from("a'\\NTX\n\t\r,)(\"%x0\u00e9"), max_size=8)


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8), st.integers(1, 60))
def test_any_texts_come_out_as_they_went_in(rows, limit):
    columns = [render([row[place] for row in rows]).texts for place in (0, 1)]
    lines = "".join("\t".join(fields) + "\n" for fields in zip(*columns, strict=True)).encode()
    found = [row for values in _values([lines], limit) for row in fields_of(values)]
    assert found == [list(row) for row in rows]


def test_bytes_are_written_in_hexadecimal():
    write = MariaDB().written  # a column of bytes says how
    texts = render([b"\x00'\xff", None, b""]).texts
    from neocampus_lake.sinks.sql_spool import Column

    change = write(Column("b", SqlType("bytes"), frozenset({"bytes"})), SqlType("bytes"))
    lines = b"".join(change(text.encode()) + b"\n" for text in texts)
    assert fields_of(b"".join(_values([lines], 1000))) == [[b"\x00'\xff"], [None], [b""]]


def test_statements_are_about_as_long_as_asked():
    lines = [b"x" * 10 + b"\n"] * 100
    found = list(_values(lines, 100))
    assert all(len(values) <= 100 for values in found) and len(found) < 20
    [one] = _values([b"x" * 500 + b"\n"], 100)
    assert len(one) == 504


@pytest.mark.parametrize(
    ("digits", "scale", "wanted"),
    [
        (3, 0, SqlType("decimal", 9, 0)),
        (10, 2, SqlType("decimal", 18, 9)),
        (40, 20, SqlType("decimal", 40, 20)),
        (66, 0, SqlType("text")),
        (1, 39, SqlType("text")),
        (40, 30, SqlType("text")),
    ],
)
def test_decimals_that_it_holds(digits, scale, wanted):
    assert MariaDB().held(SqlType("decimal", digits, scale)) == wanted
