# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake.errors import InvalidInput
from neocampus_lake.search import FIELD, MAX_LENGTH, MAX_WORDS, Asked, asked, fold, searchable, shown, words, words_of


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Température_U4/302.csv", ["temperature", "u4", "302", "csv"]),
        ("ÉCOLE école Ecole\u0301", ["ecole", "ecole", "ecole"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("ﬁle Ⅳ ①", ["file", "iv", "1"]),
        ("Ωμέγα 東京 temp-21°C", ["ωμεγα", "東京", "temp", "21", "c"]),
        ("… _ - ", []),
        ("x" * 100, ["x" * MAX_LENGTH]),
    ],
)
def test_words(text, found):
    assert list(words(text)) == found


@given(st.text())
def test_words_are_found_by_themselves_whatever_their_case(text):
    found = list(words(text))
    assert list(words(" ".join(found))) == found
    assert all(word == fold(word)[:MAX_LENGTH] and re.escape(word) and 0 < len(word) <= MAX_LENGTH for word in found)
    if found[:10]:
        assert {one.word for one in asked(" ".join(found[:10]))} <= set(found)


@given(st.text(min_size=1), st.data())
def test_a_word_is_found_by_what_it_begins_with(text, data):
    for word in list(words(text))[:5]:
        beginning = word[: data.draw(st.integers(1, len(word)))]
        if list(words(beginning)) == [beginning]:  # not a half of what is written with two signs
            [one] = asked(beginning + "*")
            assert re.match(one.condition()["$regex"], word)


def test_asked():
    assert asked("u4/302 Temp* temp u4") == (Asked("u4"), Asked("302"), Asked("temp", True), Asked("temp"))
    assert asked("salle-a*") == (Asked("salle"), Asked("a", True))
    for nothing in ("", " ", "*", "/"):
        with pytest.raises(InvalidInput, match="no word"):
            asked(nothing)
    with pytest.raises(InvalidInput, match="10 can be"):
        asked(" ".join("abcdefghijk"))


def test_words_of_a_document_are_those_near_its_top_first():
    document = {
        "original_object_name": "a.csv",
        "application": "comfort",
        "content_type": "text/csv",
        "swift_user": "alice",
        "other_data": {"deep": {"deeper": ["last", {"k": "very last"}]}, "top": "first", "n": 5, "none": None},
    }
    assert words_of(document) == ["a", "csv", "comfort", "text", "first", "last", "very"]
    many = {**document, "other_data": {"t": " ".join(f"w{n}" for n in range(1000))}}
    assert len(words_of(many)) == MAX_WORDS and words_of(many)[:2] == ["a", "csv"]
    assert words_of({}) == []


def test_nobody_is_shown_the_words():
    document = {"original_object_name": "a"}
    assert searchable(document)[FIELD] == ["a"]
    assert shown({**searchable(document), "idempotency_key": "k"}) == document
