# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from concurrent.futures import ThreadPoolExecutor

import mongomock
import pytest
from neocampus_lake.errors import InvalidInput
from neocampus_lake.ids import ObjectIds
from pymongo.errors import DuplicateKeyError


def test_ids_go_on_from_the_last_one():
    collection = mongomock.MongoClient().stats.swift
    collection.insert_one({"type": "object_id_file", "object_id": 41})
    ids = ObjectIds(collection)
    assert ids.reserve() == ["42"]
    assert ids.reserve(3) == ["43", "44", "45"]
    assert collection.find_one({"type": "object_id_file"})["object_id"] == 45


def test_the_first_id_is_1():
    assert ObjectIds(mongomock.MongoClient().stats.swift).reserve(2) == ["1", "2"]


def test_no_id_is_given_twice():
    ids = ObjectIds(mongomock.MongoClient().stats.swift)
    with ThreadPoolExecutor(8) as pool:
        given = [text for block in pool.map(ids.reserve, [3] * 50) for text in block]
    assert len(set(given)) == 150


def test_a_race_of_the_first_two_callers_is_settled():
    class Racing:
        calls = 0

        def find_one_and_update(self, *_args, **_named):
            self.calls += 1
            if self.calls == 1:
                raise DuplicateKeyError("type")
            return {"object_id": 7}

    assert ObjectIds(Racing()).reserve() == ["7"]


@pytest.mark.parametrize("count", [0, -1])
def test_at_least_one(count):
    with pytest.raises(InvalidInput):
        ObjectIds(mongomock.MongoClient().stats.swift).reserve(count)
