# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import gzip
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import ParseError
from neocampus_lake.parsers import json_documents
from neocampus_lake.parsers.bson_values import original_name, safe_name
from neocampus_lake.parsers.report import Options
from neocampus_lake.records import Document

bson = pytest.importorskip("bson")
from bson.decimal128 import Decimal128  # noqa: E402


def parse(content, **options):
    if not isinstance(content, bytes):
        content = json.dumps(content).encode()
    given_options = Options(options)
    return list(json_documents.parse(io.BytesIO(content), given_options)), given_options.report


def values(content, **options):
    return [document.value for document in parse(content, **options)[0]]


def test_an_object_is_a_document():
    assert parse({"a": {"b": [1, 2.5, None, True, "é"]}})[0] == [Document({"a": {"b": [1, 2.5, None, True, "é"]}}, 0)]


def test_each_item_of_a_list_is_a_document():
    documents, report = parse([{"a": 1}, 3, [1], "x", None])
    assert documents == [
        Document(value, number)
        for number, value in enumerate([{"a": 1}, {"value": 3}, {"value": [1]}, {"value": "x"}, {"value": None}])
    ]
    assert report.count == 0


def test_lines_and_gzip():
    content = b'{"a": 1}\n{"a": 2}\n\n{"a": 3}'
    assert values(content) == values(gzip.compress(content, mtime=0)) == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_nothing_in_it():
    documents, report = parse(b"[]")
    assert documents == [] and report.count == 0
    with pytest.raises(ParseError, match="empty"):
        parse(b"")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775808", Decimal128("9223372036854775808")),
        ("-1" + "0" * 33, Decimal128("-1" + "0" * 33)),
        ("1" + "2" * 33 + "3", "1" + "2" * 33 + "3"),
        ("9" * 5000, "9" * 5000),
        ("1e400", Decimal128("1E+400")),
        ("-1.5e+999", Decimal128("-1.5E+999")),
        ("1e99999", "1e99999"),
        ("1e308", 1e308),
        ("0.1", 0.1),
        ("1e-400", 0.0),
        ("1234567890123456789.5", 1234567890123456789.5),
    ],
)
def test_numbers(text, value):
    for content in (text, f"[{text}]", f"[[{text}]]"):
        found = values(content.encode())[0]["value"]
        while isinstance(found, list):
            found = found[0]
        assert found == value and type(found) is type(value)
    bson.encode({"value": value})


@pytest.mark.parametrize("name", ["$a", "a.b", "a\0b", "%24", "a%2Eb", "$%00.", "..", "%25", "100%", "a$b", "", "%2e"])
def test_names_that_mongodb_cannot_hold(name):
    (document,) = values({"top": {name: 1}, name: 2})
    kept = safe_name(name)
    assert document == {"top": {kept: 1}, kept: 2}
    assert "." not in kept and "\0" not in kept and not kept.startswith("$") and original_name(kept) == name
    bson.encode(document)


@given(st.text(), st.text())
def test_names_are_kept_reversibly(one, other):
    assert original_name(safe_name(one)) == one
    assert (safe_name(one) == safe_name(other)) == (one == other)


def test_a_name_that_is_there_twice_is_told():
    documents, report = parse(b'[{"a": 1, "b": {"c": 1, "c": 2}}, {"a": 1}]')
    assert [document.value for document in documents] == [{"a": 1, "b": {"c": 2}}, {"a": 1}]
    assert report.items == [{"line": 1, "message": "the name 'c' is there twice: the last value is kept"}]


def nested(levels):
    return b'{"a":' * levels + b"1" + b"}" * levels


def test_what_is_too_deep_is_left_out():
    documents, report = parse(b"[" + b",".join([nested(100), nested(101), b"1", nested(5000)]) + b"]")
    assert [document.number for document in documents] == [0, 2]
    assert [item["line"] for item in report.items] == [2, 4]
    assert "deeper than 100 levels" in report.items[0]["message"]


def test_what_is_too_large_as_bson_is_left_out():
    many = json.dumps([0] * 1_500_000)
    documents, report = parse(f'[1, {{"a": {many}}}, 3]'.encode())
    assert [document.number for document in documents] == [0, 2]
    assert report.items[0]["line"] == 2 and "at most" in report.items[0]["message"]


def test_what_is_too_large_to_be_held_is_left_out():
    with pytest.raises(ParseError, match="nothing in this JSON can be kept: item 1.*over 16777216 characters"):
        parse(b'{"a": "' + b"x" * 17_000_000 + b'"}')


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"a\xffb"', b'{"\\udfff": 1}'])
def test_text_that_is_no_unicode_is_left_out(text):
    documents, report = parse(b"[1, " + text + b', "\\ud83d\\ude00", "\xc3\xa9"]')
    assert [document.value["value"] for document in documents] == [1, "😀", "é"]
    assert report.items == [{"line": 2, "message": "a text in it is no Unicode; it is left out"}]


FEATURES = [
    {"type": "Feature", "properties": {"n": n}, "geometry": {"type": "Point", "coordinates": [n, 2.5]}}
    for n in range(3)
]


@pytest.mark.parametrize(
    ("collection", "options"),
    [
        ({"type": "FeatureCollection", "name": "x", "features": FEATURES, "bbox": [1]}, {}),
        ({"name": "x", "crs": {"type": "name"}, "type": "FeatureCollection", "features": FEATURES}, {}),
        ({"features": FEATURES, "name": "x", "type": "FeatureCollection"}, {}),
        ({"features": FEATURES, "name": "x", "type": "FeatureCollection"}, {"filename": "a.geojson"}),
        ({"features": FEATURES, "name": "x"}, {"content_type": "application/geo+json"}),
    ],
)
def test_each_feature_of_a_collection_is_a_document(collection, options):
    documents, report = parse(collection, **options)
    assert documents == [Document(feature, number) for number, feature in enumerate(FEATURES)]
    assert report.count == 0


def test_members_of_a_collection_that_are_left_out_are_counted():
    _documents, report = parse({"type": "FeatureCollection", "crs": {}, "features": FEATURES})
    assert report.skipped == {"member crs of the FeatureCollection": 1}


@pytest.mark.parametrize(
    "value",
    [
        {"data": {"type": "FeatureCollection", "features": FEATURES}},
        {"a": '"type": "FeatureCollection"', "features": [1]},
        {"type": "Feature", "features": [1, 2]},
        {"type": "FeatureCollection"},
    ],
)
def test_what_is_no_collection_is_one_document(value):
    if value == {"type": "FeatureCollection"}:
        assert values(value) == []
    else:
        assert values(value) == [value]


def test_collections_on_lines_stay_documents():
    line = json.dumps({"features": FEATURES, "type": "FeatureCollection"})
    assert len(values(f"{line}\n{line}".encode())) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"type": "FeatureCollection", "features": [{}', "ends too early"),
        (b'{"type": "FeatureCollection", "features": [{}]', "the object ends too early"),
        (b'{"type": "FeatureCollection", "features": [{}]} 1', "after the object's end"),
        (b'{"type": "FeatureCollection" "features": []}', "a comma is expected"),
        (b'{"type": "FeatureCollection", 1: []}', "a name in quotes"),
        (b'{"type": "FeatureCollection", "features" []}', "a colon is expected"),
        (b"[1, 2", "ends too early"),
        (b"nonsense", "not valid JSON"),
    ],
)
def test_broken_json(content, said):
    with pytest.raises(ParseError, match=said):
        parse(content)


def test_a_cut_gzip_file_is_no_whole_document():
    content = json.dumps([{"n": n, "x": "%x" % (n * 7919)} for n in range(20_000)]).encode()
    with pytest.raises(ParseError, match="early"):
        parse(gzip.compress(content, mtime=0)[:-100])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def renamed(value):
    if isinstance(value, dict):
        return {original_name(name): renamed(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [renamed(inner) for inner in value]
    if isinstance(value, Decimal128):
        return int(value.to_decimal())
    return value


@given(
    st.lists(
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("$.%\0"), max_size=5),
            json_values,
            max_size=4,
        )
    )
)
def test_documents_have_what_the_file_has_and_can_be_stored(items):
    documents, report = parse(items)
    assert [renamed(document.value) for document in documents] == [
        json.loads(json.dumps(item), parse_int=lambda text: text if len(text.lstrip("-")) > 34 else int(text))
        for item in items
    ]
    for document in documents:
        bson.encode(dict(document.value))
    assert report.count == 0
