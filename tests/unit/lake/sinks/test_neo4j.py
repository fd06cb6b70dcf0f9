# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent to Neo4j, and what is made of its answers; test_neo4j_server.py tries the statements themselves."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neo4j import exceptions
from neocampus_lake.descriptors import bands
from neocampus_lake.errors import AccessDenied, InvalidInput, NotFound, StoreError
from neocampus_lake.points import Point
from neocampus_lake.records import Node, Relation
from neocampus_lake.sinks import neo4j as module
from neocampus_lake.sinks.base import Origin
from neocampus_lake.sinks.neo4j import Neo4j, Neo4jSink, quote

ORIGIN = Origin("campus", "7", "op1", name="a.jpg", content_type="image/jpeg", etag="e")
IMAGE = Node("Image", {"object_id": "7"}, {"phash": "00000000000000ff", "width": 3})
CAT = Node("Object", {"name": "cat"})
SHOWS = Relation("SHOWS", IMAGE, CAT, {"role": "main"})


class Answer:
    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)

    def data(self):
        return self.rows

    def single(self, strict=False):
        return self.rows[0] if self.rows else None

    def consume(self):
        return None


class FakeDriver:
    """Remembers statements with their parameters. `answers` are rows by a piece of the statement; `failures` are raised
    by the next transactions."""

    def __init__(self):
        self.sent, self.answers, self.failures, self.databases = [], {}, [], set()

    def session(self, database):
        self.databases.add(database)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def execute_write(self, work):
        if self.failures:
            raise self.failures.pop(0)
        return work(self)

    execute_read = execute_write

    def run(self, statement, parameters=None, **named):
        values = {**(parameters or {}), **named}
        self.sent.append((statement, values))
        if "count(r) AS made" in statement:
            return Answer([{"made": len(values["rows"])}])
        return Answer(next((rows for part, rows in self.answers.items() if part in statement), []))

    def statements(self, part):
        return [(statement, values) for statement, values in self.sent if part in statement]


@pytest.fixture
def driver():
    return FakeDriver()


@pytest.fixture
def server(driver, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    one = Neo4j("bolt://gold1:7687", "airflow", "secret", ca_file="/etc/pki/lake/ca.crt")
    one._opened = driver
    return one


def put(server, *records, origin=ORIGIN):
    with Neo4jSink(server).writer(origin) as writer:
        writer.add(records)
        return writer.commit()


def refused(code="Neo.ClientError.Statement.TypeError", message="no"):
    return exceptions.Neo4jError._hydrate_neo4j(code=code, message=message)


def test_nodes_and_edges_carry_where_they_come_from(server, driver):
    said = put(server, IMAGE, CAT, SHOWS)
    assert said == {"store": "campus", "nodes": 2, "relations": 1, "similar": 0}
    marks = {"lake_store": "campus", "lake_object": "7", "lake_operation": "op1"}
    [(_, values)] = driver.statements("MERGE (n:`Image`")
    [row] = values["rows"]
    assert row["key"] == {"object_id": "7"}
    keys = {f"lake_band{number}": band for number, band in enumerate(bands(0xFF))}
    assert row["properties"] == {"object_id": "7", "phash": "00000000000000ff", "width": 3, **marks, **keys}
    [(statement, values)] = driver.statements("CREATE (a)")
    assert values["rows"][0]["properties"] == {"role": "main", **marks}
    assert "MATCH (a:`Image` {lake_store: row.lake_store" in statement and "[r:`SHOWS`]" in statement
    assert driver.databases == {"neo4j"}


def test_nothing_is_sent_before_commit_or_after_an_error(server, driver):
    with Neo4jSink(server).writer(ORIGIN) as writer:
        writer.add([IMAGE])
    assert driver.sent == []


def test_many_records_go_in_batches_and_objects_together(server, driver):
    nodes = [Node("Room", {"number": number}) for number in range(2500)]
    put(server, *nodes)
    assert [len(values["rows"]) for _, values in driver.statements("MERGE (n:`Room`")] == [1000, 1000, 500]
    driver.sent.clear()
    other = Origin("campus", "8", "op1")
    said = Neo4jSink(server).write([(ORIGIN, [CAT]), (other, [CAT, Node("Object", {"name": "dog"})])])
    assert [one["nodes"] for one in said] == [1, 2]
    [(_, values)] = driver.statements("MERGE (n:`Object`")
    assert [(row["lake_object"], row["key"]["name"]) for row in values["rows"]] == [
        ("7", "cat"),
        ("8", "cat"),
        ("8", "dog"),
    ]


def test_constraints_are_asked_for_once(server, driver):
    put(server, IMAGE, CAT, SHOWS)
    made = driver.statements("CREATE CONSTRAINT")
    assert len(made) == 3 and len(driver.statements("CREATE INDEX")) == 5
    assert any("(n.`lake_store`, n.`object_id`) IS UNIQUE" in statement for statement, _ in made)
    put(server, IMAGE, CAT, SHOWS)
    assert len(driver.statements("CREATE CONSTRAINT")) == 3


def test_edges_without_nodes_are_refused(server, driver, monkeypatch):
    monkeypatch.setattr(driver, "run", lambda statement, *_, **__: Answer([{"made": 0}] if "made" in statement else []))
    with pytest.raises(StoreError, match="no node to begin") as error:
        put(server, SHOWS)
    assert not error.value.retriable


@pytest.mark.parametrize(
    "record",
    [
        Node("Image", {}),
        Node("Image", {"object_id": None}),
        Node("Room", {"number": float("nan")}),
        Node("Room", {"name": "x" * 4001}),
        Node("Room", {"names": ["a"]}),
        Node("", {"a": 1}),
        Node("a\nb", {"a": 1}),
        Node("LakeSource", {"a": 1}),
        Node("Room", {"lake_store": "other"}),
        Node("Room", {"a": 1}, {"lake_store": "other"}),
        Node("Room", {"a": 1}, {"b": 2**63}),
        Node("Room", {"a": 1}, {"b": {"c": 1}}),
        Node("Room", {"a": 1}, {"b": [1, "c"]}),
        Node("Room", {"a": 1}, {"b": [[1]]}),
        Node("Room", {"a": 1}, {"b": "\ud800"}),
        Node("Image", {"object_id": "1"}, {"phash": "xyz"}),
        Relation("SIMILAR", IMAGE, IMAGE),
        Relation("LAKE_MADE", IMAGE, CAT),
        Relation("SHOWS", IMAGE, CAT, {"lake_object": "8"}),
        Point("W", 1, {"value": 1.0}, {}),
    ],
    ids=repr,
)
def test_what_a_graph_cannot_hold_is_refused_and_not_sent(server, driver, record):
    with pytest.raises(StoreError) as error:
        put(server, record)
    assert not error.value.retriable
    assert driver.sent == []


def test_values_become_what_the_driver_knows(server, driver):
    moment = datetime(2024, 1, 2, tzinfo=UTC)
    put(server, Node("Room", {"a": 1}, {"d": Decimal("1.5"), "l": (1, 2.5), "t": moment, "n": None, "e": []}))
    [(_, values)] = driver.statements("MERGE (n:`Room`")
    properties = values["rows"][0]["properties"]
    assert (properties["d"], properties["l"], properties["t"], properties["e"]) == (1.5, [1.0, 2.5], moment, [])
    assert "n" not in properties


def test_the_records_of_an_object_are_bounded(server, monkeypatch):
    monkeypatch.setattr(module, "MAX_RECORDS", 2)
    with pytest.raises(StoreError, match="over 2 nodes"):
        put(server, IMAGE, CAT, SHOWS)


@given(st.text(min_size=1, max_size=30).filter(str.isprintable))
def test_a_quoted_name_ends_where_it_should(name):
    quoted = quote(name)
    assert quoted[0] == quoted[-1] == "`" and quoted[1:-1].replace("``", "").count("`") == 0


def test_errors_say_whether_trying_again_helps(server, driver):
    for failure, kind, retriable in (
        (refused(), StoreError, False),
        (refused("Neo.TransientError.General.MemoryPoolOutOfMemoryError"), StoreError, True),
        (refused("Neo.DatabaseError.General.UnknownError"), StoreError, True),
        (exceptions.ServiceUnavailable("away"), StoreError, True),
        (refused("Neo.ClientError.Security.Unauthorized"), AccessDenied, None),
    ):
        driver.failures = [failure]
        with pytest.raises(kind) as error:
            put(server, CAT)
        assert getattr(error.value, "retriable", None) is retriable


def test_a_race_with_another_transaction_is_run_again(server, driver):
    race = refused("Neo.ClientError.Statement.EntityNotFound", "Unable to load NODE")
    in_use = refused(
        "Neo.ClientError.Schema.ConstraintValidationFailed", "Cannot delete node, because it still has relationships"
    )
    server.ensure()
    driver.failures = [race, in_use]
    assert put(server, CAT)["nodes"] == 1
    driver.failures = [race] * 6
    with pytest.raises(StoreError) as error:
        put(server, CAT)
    assert error.value.retriable


def test_an_image_is_linked_to_what_is_near_enough_only(server, driver):
    near, far = {"object_id": "8", "phash": "00000000000000fe"}, {"object_id": "9", "phash": "ffffffff000000ff"}
    driver.answers = {
        "RETURN n.phash AS phash": [{"phash": "00000000000000ff"}],
        "UNION": [near, far, {"object_id": "7", "phash": "00000000000000ff"}],
        "n.appearance AS appearance": [
            {"id": "7", "phash": "00000000000000ff", "appearance": [1.0, 0.0]},
            {"id": "8", "phash": "00000000000000fe", "appearance": [1.0, 0.0]},
        ],
    }
    assert put(server, IMAGE)["similar"] == 1
    [(_, values)] = driver.statements("MERGE (a)-[r:SIMILAR]->(b)")
    assert values["rows"] == [{"low": "7", "high": "8", "distance": 1, "score": 1.0}]
    _, values = driver.statements("object_id: id}) SET n.lake_lock")[0]
    assert values["ids"] == ["7", "8"]


def test_an_image_that_was_replaced_before_the_lock_is_compared_as_it_is_now(server, driver):
    driver.answers = {
        "RETURN n.phash AS phash": [{"phash": "00000000000000ff"}],
        "UNION": [{"object_id": "8", "phash": "00000000000000fe"}],
        "n.appearance AS appearance": [
            {"id": "7", "phash": "00000000000000ff", "appearance": None},
            {"id": "8", "phash": "fffffff0000000fe", "appearance": None},
        ],
    }
    assert put(server, IMAGE)["similar"] == 0
    assert driver.statements("MERGE (a)-[r:SIMILAR]")[0][1]["rows"] == []


def test_pages_follow_each_other(server, driver):
    driver.answers = {
        "count(n) AS images": [{"images": 1}],
        "-[r:SIMILAR]-(o:Image)": [
            {"object_id": str(n), "distance": n, "score": 0.5, "width": None} for n in (1, 2, 3)
        ],
    }
    items, after = server.similar("campus", "7", limit=2)
    assert items[1] == {"object_id": "2", "distance": 2, "score": 0.5}
    server.similar("campus", "7", limit=2, after=after)
    values = driver.sent[-1][1]
    assert (values["far"], values["last"], values["limit"]) == (2, "2", 3)
    assert server.similar("campus", "7", limit=3)[1] is None


@pytest.mark.parametrize(
    "after", ["%", "e30", "WzFd", "WyJhIiwgImIiXQ", "////", "é", "WzEwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAsICJhIl0"]
)
def test_a_cursor_of_something_else_is_refused(server, driver, after):
    driver.answers = {"count(n) AS images": [{"images": 1}]}
    with pytest.raises(InvalidInput, match="cursor"):
        server.similar("campus", "7", after=after)


def test_what_is_known_of_an_image_has_nothing_of_the_lake_s_own(server, driver):
    known = {"object_id": "7", "phash": "ff", "appearance": [0.1, 0.2], "lake_store": "campus", "lake_band0": 3}
    driver.answers = {"properties(n) AS known": [{"known": known, "objects": 2, "similar": 1}]}
    found = server.image("campus", "7")
    assert found == {"object_id": "7", "phash": "ff", "appearance": 2, "objects": 2, "similar": 1}
    driver.answers = {}
    with pytest.raises(NotFound, match="no image"):
        server.image("campus", "8")


def test_an_image_that_is_not_there_is_told(server, driver):
    driver.answers = {"count(n) AS images": [{"images": 0}]}
    for read in (server.similar, server.objects_in):
        with pytest.raises(NotFound, match="no image"):
            read("campus", "7")


def test_a_threshold_that_cannot_be_served_is_told_at_once(server):
    with pytest.raises(ValueError, match="threshold"):
        Neo4jSink(server, threshold=40)
