# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import ParseError
from neocampus_lake.parsers import json_items

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def read(content, complain=None):
    reader = json_items.JsonReader(io.BytesIO(content))
    return list(json_items.numbered(reader, complain))


def told(content):
    said = []
    return read(content, lambda number, text: said.append((number, text))), said


@given(st.lists(json_values), st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
def test_values_are_read_the_same_whatever_the_chunks(values, chunk, indent, as_list):
    text = json.dumps(values, indent=indent) if as_list else "\n".join(map(json.dumps, values))
    if not as_list and (not values or isinstance(values[0], list)):
        return
    whole = json_items.CHUNK
    json_items.CHUNK = chunk
    try:
        assert list(json_items.read_items(io.BytesIO(text.encode()))) == values
    finally:
        json_items.CHUNK = whole


@pytest.mark.parametrize("bad", [b'{"a": }', b'{"a": "', b'{"a": "\xff', b"{}}", b"nonsense"])
def test_a_broken_line_is_told_and_passed_over(bad):
    values, said = told(b'{"n": 1}\n' + bad + b'\n{"n": 3}\n')
    if bad == b"{}}":  # a value, and then something that is none
        assert [number for number, _value in values] == [1, 2, 4] and [number for number, _text in said] == [3]
    else:
        assert values == [(1, {"n": 1}), (3, {"n": 3})]
        assert said[0][0] == 2 and "line 2: not valid JSON" in said[0][1]


def test_a_cut_last_line_is_told():
    values, said = told(b'{"n": 1}\n{"n": 2}\n{"n": ')
    assert [value["n"] for _number, value in values] == [1, 2]
    assert [number for number, _text in said] == [3]


def test_what_is_not_on_lines_of_its_own_is_not_guessed_at():
    with pytest.raises(ParseError, match="line 3"):
        told(b'{\n"n": 1\n} {"n": }\n{"n": 3}')


def test_bytes_that_are_no_text_are_said_to_be():
    with pytest.raises(ParseError, match="not Unicode text"):
        read(b"\xff\xff\xff\xff")
    with pytest.raises(ParseError, match="not Unicode text"):
        read('["é'.encode("utf-16-le")[:-1])


@pytest.mark.parametrize("as_list", [True, False])
def test_a_value_that_is_too_large_is_passed_over(monkeypatch, as_list):
    monkeypatch.setattr(json_items, "CHUNK", 100)
    monkeypatch.setattr(json_items, "MAX_ITEM", 1000)
    large = json.dumps({"x": ['a"]}\\' * 10] * 100})
    text = f'{{"n": 1}},\n{large},\n{{"n": 3}}'
    values, said = told((f"[{text}]" if as_list else text.replace(",\n", "\n")).encode())
    assert [value["n"] for _number, value in values] == [1, 3]
    assert [number for number, _text in said] == [2] and "over 1000 characters" in said[0][1]


def test_what_is_nested_too_deeply_is_passed_over():
    values, said = told(b'[{"n": 1}, ' + b"[" * 50_000 + b"]" * 50_000 + b', {"n": 3}]')
    assert [value["n"] for _number, value in values] == [1, 3]
    assert said == [(2, "line 1: not valid JSON: nested too deeply")]


def test_a_large_value_without_end(monkeypatch):
    monkeypatch.setattr(json_items, "CHUNK", 100)
    monkeypatch.setattr(json_items, "MAX_ITEM", 1000)
    with pytest.raises(ParseError, match="over 1000 characters"):
        told(b'["' + b"x" * 5000)
