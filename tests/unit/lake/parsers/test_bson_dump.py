# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import gzip
import io
import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import ParseError
from neocampus_lake.parsers import bson_dump
from neocampus_lake.parsers.report import Options

bson = pytest.importorskip("bson")


def parse(content):
    options = Options()
    return list(bson_dump.parse(io.BytesIO(content), options)), options.report


DOCUMENTS = [
    {
        "_id": bson.ObjectId("0123456789abcdef01234567"),
        "n": 1,
        "long": bson.Int64(5),
        "exact": bson.Decimal128("1.10"),
        "at": datetime(2024, 5, 1, 10, 0, 0, 123000, tzinfo=UTC),
        "raw": b"\0\xff",
        "uuid": bson.Binary(b"1" * 16, 4),
        "list": [1, {"é": None}, [True, 2.5]],
    },
    {},
    {"x": "😀"},
]
DUMP = b"".join(map(bson.encode, DOCUMENTS))


@pytest.mark.parametrize("content", [DUMP, gzip.compress(DUMP, mtime=0)])
def test_documents_are_what_they_were(content):
    documents, report = parse(content)
    assert [document.value for document in documents] == DOCUMENTS
    assert [document.number for document in documents] == [0, 1, 2]
    assert type(documents[0].value["long"]) is bson.Int64
    assert [bson.encode(document.value) for document in documents] == list(map(bson.encode, DOCUMENTS))
    assert report.count == 0


def test_the_dump_of_an_empty_collection():
    assert parse(b"")[0] == []


def test_dates_that_python_cannot_hold_are_kept():
    frame = bson.encode({"at": bson.datetime_ms.DatetimeMS(2**60)})
    assert bson.encode(parse(frame)[0][0].value) == frame


def test_names_that_cannot_be_queried_get_another_form():
    frame = bson.encode({"a.b": 1, "in": [{"$x": {"c.d": [[{"e.f": 2}]]}}]})
    assert parse(frame)[0][0].value == {"a%2Eb": 1, "in": [{"%24x": {"c%2Ed": [[{"e%2Ef": 2}]]}}]}


def test_a_reference_stays_one():
    frame = bson.encode({"ref": bson.dbref.DBRef("other", 3)})
    assert parse(frame)[0][0].value == {"ref": bson.dbref.DBRef("other", 3)}


@pytest.mark.parametrize("size", [-1, 0, 4, 2**31 - 1, 17 * 2**20, -(2**31)])
def test_a_wrong_size_is_told_with_its_place_and_what_came_before_is_kept(size):
    documents, report = parse(DUMP + struct.pack("<i", size) + DUMP)
    assert len(documents) == 3
    assert report.items[0]["line"] == 4
    assert report.items[0]["message"].startswith(f"byte {len(DUMP)}: no document begins here")


@pytest.mark.parametrize("cut", [1, 3, 4, 10])
def test_a_cut_file_is_told(cut):
    documents, report = parse(DUMP + bson.encode({"abc": "defghi"})[:cut])
    assert len(documents) == 3 and f"byte {len(DUMP)}: the file ends within" in report.items[0]["message"]


def test_a_cut_gzip_file_is_told():
    content = b"".join(bson.encode({"n": n, "x": bson.ObjectId()}) for n in range(10_000))
    documents, report = parse(gzip.compress(content, mtime=0)[:-1000])
    assert 1000 < len(documents) < 10_000 and report.count == 1


def test_a_document_that_does_not_end_where_it_says():
    frame = bytearray(bson.encode({"a": 1}))
    frame[-1] = 7
    with pytest.raises(ParseError, match="byte 0: the document of 12 bytes does not end"):
        parse(bytes(frame))


def test_a_document_that_is_wrong_inside_does_not_cost_the_others():
    bad = bytearray(bson.encode({"a": "xyz"}))
    bad[bad.index(b"xyz")] = 0xFF
    documents, report = parse(DUMP + bytes(bad) + DUMP)
    assert [document.number for document in documents] == [0, 1, 2, 4, 5, 6]
    assert report.items[0]["line"] == 4 and f"byte {len(DUMP)}: no BSON" in report.items[0]["message"]


def test_what_is_nested_too_deeply_is_left_out():
    def nested(levels):
        frame = b"\x05\0\0\0\0"
        for _level in range(levels - 1):
            inner = b"\x03a\0" + frame
            frame = struct.pack("<i", len(inner) + 5) + inner + b"\0"
        return frame

    documents, report = parse(nested(100) + nested(101) + nested(20_000) + DUMP)
    assert [document.number for document in documents] == [0, 3, 4, 5]
    assert [item["line"] for item in report.items] == [2, 3]


def test_an_archive_is_refused_with_advice():
    with pytest.raises(ParseError, match="without --archive"):
        parse(b"\x6d\xe2\x99\x81" + DUMP)


@pytest.mark.parametrize("content", [b"nonsense and more", b"\0" * 100, b"{}"])
def test_no_dump(content):
    with pytest.raises(ParseError, match="no BSON dump"):
        parse(content)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(max_size=10)
    | st.datetimes().map(lambda value: value.replace(microsecond=value.microsecond // 1000 * 1000, tzinfo=UTC))
)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0$.%"), max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=10
)


@given(st.lists(st.dictionaries(names, values, max_size=4), max_size=5))
def test_any_documents_come_back(items):
    documents, report = parse(b"".join(map(bson.encode, items)))
    assert [document.value for document in documents] == items and report.count == 0


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(content):
    try:
        parse(content)
    except ParseError:
        pass
