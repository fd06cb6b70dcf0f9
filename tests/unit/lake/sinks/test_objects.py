# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import hashlib
import io
from datetime import UTC, datetime

import mongomock
import pytest
from neocampus_lake.catalogue import Catalogue, Wanted
from neocampus_lake.documents import new_document
from neocampus_lake.errors import Conflict, ParseError, StoreError
from neocampus_lake.metadata import MetadataStore
from neocampus_lake.points import Point
from neocampus_lake.records import Member
from neocampus_lake.sinks.base import Origin
from neocampus_lake.sinks.objects import ObjectsSink

CSV = b"date,value\n2021-07-22,3\n"


class Swift:
    def __init__(self):
        self.objects, self.types, self.before, self.after = {}, {}, None, None

    def put(self, project, container, name, content, content_type):
        if self.before:
            raise self.before
        if (project, container, name) in self.objects:
            raise Conflict(name)
        data = b"".join(content)
        self.objects[project, container, name] = data
        self.types[name] = content_type
        if self.after:
            raise self.after


class Lake:
    def __init__(self):
        self.metadata = MetadataStore(mongomock.MongoClient(tz_aware=True))
        self.store = self.metadata.store_for("p1", "campus", create=True)
        self.swift = Swift()
        self.sink = ObjectsSink(self.metadata, self.swift.put)
        [number] = self.metadata.reserve_ids(1)
        self.archive = new_document(
            object_id=number,
            container="campus",
            project_id="p1",
            user="alice",
            object_name=number,
            original_name="all.zip",
            content_type="application/zip",
            size=1,
        )
        self.metadata.insert(self.store, self.archive)
        self.origin = Origin(self.store, number, "op1", etag="e1", document=self.archive)

    def keep(self, *members):
        with self.sink.writer(self.origin) as writer:
            for member in members:
                writer.add([member])
            return writer.commit()

    def documents(self):
        documents = Catalogue(self.metadata._client).find(self.store, Wanted(status="any"), limit=1000)
        return [found for found in documents if found["_id"] != self.archive["_id"]]


@pytest.fixture
def lake():
    return Lake()


def member(path, content):
    return Member(path, len(content), lambda: io.BytesIO(content), datetime(2021, 7, 22, tzinfo=UTC))


def test_a_member_becomes_an_object_that_leads_back(lake):
    place = lake.keep(member("dir/day.csv", CSV), member("large", bytes(1_000_000)))
    assert place == {"container": "campus", "objects": 2, "ids": ["2", "3"]}
    small, large = lake.documents()
    assert lake.swift.objects == {("p1", "campus", "2"): CSV, ("p1", "campus", "3"): bytes(1_000_000)}
    assert (small["status"], small["size"], small["etag"]) == (
        "stored",
        len(CSV),
        hashlib.md5(CSV).hexdigest(),
    )
    assert (small["original_object_name"], small["content_type"], small["swift_user"]) == (
        "day.csv",
        "text/csv",
        "alice",
    )
    assert small["other_data"] == {
        "archive": {"object": "1", "path": "dir/day.csv", "etag": "e1", "depth": 1},
        "modified": "2021-07-22T00:00:00+00:00",
    }
    assert large["content_type"] == lake.swift.types["3"] == "application/octet-stream"


def test_an_archive_in_an_archive_is_deeper(lake):
    lake.archive["other_data"] = {"archive": {"object": "0", "depth": 1}}
    lake.keep(member("a", b"1"))
    assert lake.documents()[0]["other_data"]["archive"]["depth"] == 2


def test_a_second_attempt_puts_only_what_is_missing(lake):
    first, second = member("a", b"1"), member("b", b"2")
    assert lake.keep(first)["ids"] == ["2"]
    assert lake.keep(first, second)["ids"] == ["2", "3"]
    assert len(lake.swift.objects) == len(lake.documents()) == 2


def test_another_content_of_the_archive_has_members_of_its_own(lake):
    lake.keep(member("a", b"1"))
    lake.origin = Origin(lake.store, "1", "op2", etag="e2", document=lake.archive)
    assert lake.keep(member("a", b"2"))["ids"] == ["3"]


def test_an_answer_that_got_lost_makes_no_second_object(lake):
    lake.swift.after = StoreError("the connection broke", retriable=True)
    with pytest.raises(StoreError):
        lake.keep(member("a", b"1"))
    [document] = lake.documents()
    assert document["status"] == "pending"
    lake.swift.after = None
    assert lake.keep(member("a", b"1"))["ids"] == ["2"]
    assert list(lake.swift.objects) == [("p1", "campus", "2")] and len(lake.documents()) == 1


def test_swift_away_before_anything_was_sent(lake):
    lake.swift.before = StoreError("no proxy", retriable=True)
    with pytest.raises(StoreError):
        lake.keep(member("a", b"1"))
    lake.swift.before = None
    assert lake.keep(member("a", b"1"))["ids"] == ["2"]
    assert lake.documents()[0]["status"] == "stored"


def test_what_swift_refuses_leaves_no_document(lake):
    lake.swift.before = StoreError("quota", retriable=False)
    with pytest.raises(StoreError):
        lake.keep(member("a", b"1"))
    assert lake.documents() == []


def test_a_member_that_is_broken_leaves_no_document(lake):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            data = super().read(8192)
            if not data:
                raise ParseError("a member is broken")
            return data

    with pytest.raises(ParseError):
        lake.keep(member("good", b"1"), Member("bad", 10**6, lambda: Broken(bytes(10_000))))
    assert [document["original_object_name"] for document in lake.documents()] == ["good"]


def test_the_name_of_another_s_object_is_not_taken(lake):
    lake.swift.objects["p1", "campus", "2"] = b"a plain client's"
    with pytest.raises(StoreError) as caught:
        lake.keep(member("a", b"1"))
    assert caught.value.retriable and lake.documents() == []
    assert lake.keep(member("a", b"1"))["ids"] == ["3"]
    assert lake.swift.objects["p1", "campus", "2"] == b"a plain client's"


def test_only_members(lake):
    with lake.sink.writer(lake.origin) as writer, pytest.raises(TypeError):
        writer.add([Point("m", 1, {"value": 1.0}, {})])
