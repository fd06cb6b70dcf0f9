# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.content_types import HEAD_BYTES, base_type, detect, observe

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 50


@pytest.mark.parametrize(
    ("name", "head", "declared", "expected"),
    [
        ("a.json", b"{}", "text/csv; charset=utf-8", "text/csv; charset=utf-8"),
        ("a.json", PNG, "application/octet-stream", "image/png"),
        ("a.json", PNG, None, "image/png"),
        ("a.csv", b"a,b\n", "", "text/csv"),
        ("A.CSV", b"", "Application/Octet-Stream", "text/csv"),
        ("dir.json/a.ndjson", b"{}", None, "application/x-ndjson"),
        ("a.xlsx", b"", None, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
        ("a.csv.gz", b"", None, "application/gzip"),
        ("a.csv.gz", b"\x1f\x8b\x08" + b"\x00" * 20, None, "application/gzip"),
        ("noname", b' \n{"a": 1}', None, "application/json"),
        ("noname", b'[{"a": 1}\n,{"b": 2}]', None, "application/json"),
        ("noname", b'{"a": 1}\n{"a": 2}\n', None, "application/x-ndjson"),
        ("noname", b"\xef\xbb\xbfdate,value\n2021,3\n", None, "text/csv"),
        ("noname", b"date;value\n2021;3,5\n", None, "text/csv"),
        ("noname", b"date\tvalue\n2021\t3\n", None, "text/tab-separated-values"),
        ("noname", b"Dear all,\nthis is no table\n", None, "text/plain"),
        ("noname", "é".encode() * HEAD_BYTES, None, "text/plain"),
        ("noname", ("a" + "é" * HEAD_BYTES).encode()[:HEAD_BYTES], None, "text/plain"),
        ("noname", b"\x00\x01\x02", None, "application/octet-stream"),
        ("noname", b"\xff\xfe\xfd", None, "application/octet-stream"),
        ("noname", b"", None, "application/octet-stream"),
        ("", b"", None, "application/octet-stream"),
    ],
)
def test_detect(name, head, declared, expected):
    assert detect(name, head, declared) == expected


@given(st.text(), st.binary(max_size=300), st.none() | st.text())
def test_any_object_has_a_type(name, head, declared):
    assert detect(name, head, declared)


def test_base_type():
    assert base_type(" Text/CSV ; charset=utf-8") == "text/csv"


PNG = b"\x89PNG\r\n\x1a\n" + bytes(300)
ZIP = b"PK\x03\x04" + bytes(300)
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@pytest.mark.parametrize(
    ("name", "head", "declared", "expected"),
    [
        ("a.json", b'{"a": 1}', "", "application/json"),
        ("a", b'{"a": 1}', "application/octet-stream", "application/json"),
        ("a.png", PNG, "image/png; q=1", "image/png; q=1"),
        ("a.csv", PNG, "text/csv", "image/png"),
        ("a.json", PNG, "application/vnd.api+json", "image/png"),
        ("a.png", b'{"a": 1}', "image/png", "application/json"),
        ("a.png", b"\x00\x01", "image/png", "image/png"),  # broken, but not something else
        ("a.jpg", PNG, "image/jpeg", "image/png"),
        ("a.xlsx", ZIP, XLSX, XLSX),
        ("a.xlsx", ZIP, "text/csv", XLSX),
        ("a.zip", ZIP, "text/csv", "application/zip"),
        ("a.zip", b"a,b\n1,2\n", "application/zip", "text/csv"),
        ("a.bin", PNG, "application/x-of-the-project", "application/x-of-the-project"),
        ("a.txt", b'{"a": 1}', "text/plain", "text/plain"),
        ("a.csv", b"", "text/csv", "text/csv"),
    ],
)
def test_content_is_believed_where_it_plainly_is_something_else(name, head, declared, expected):
    assert observe(name, head, declared) == expected
