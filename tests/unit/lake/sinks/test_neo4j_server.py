# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sink against a real Neo4j, where one is named: LAKE_NEO4J_URL (bolt://host:port), LAKE_NEO4J_USER,
LAKE_NEO4J_PASSWORD, LAKE_NEO4J_CA. It works in stores whose names begin with `pytest-`, and empties them.
"""

import os
import random
import threading
import uuid

import pytest
from neocampus_lake.descriptors import THRESHOLD, distance
from neocampus_lake.errors import AccessDenied, NotFound, StoreError
from neocampus_lake.records import Node, Relation
from neocampus_lake.sinks import neo4j as module
from neocampus_lake.sinks.base import Origin
from neocampus_lake.sinks.neo4j import Neo4j, Neo4jSink

URL = os.environ.get("LAKE_NEO4J_URL")
pytestmark = pytest.mark.skipif(not URL, reason="LAKE_NEO4J_URL names no server")


def connect(password=None):
    user = os.environ.get("LAKE_NEO4J_USER", "neo4j")
    return Neo4j(URL, user, password or os.environ["LAKE_NEO4J_PASSWORD"], ca_file=os.environ.get("LAKE_NEO4J_CA"))


@pytest.fixture(scope="module")
def server():
    one = connect()
    yield one
    one.close()


@pytest.fixture
def store(server):
    name = f"pytest-{uuid.uuid4().hex[:12]}"
    yield name
    server.write(lambda tx: tx.run("MATCH (n {lake_store: $store}) DETACH DELETE n", store=name).consume())


@pytest.fixture
def sink(server):
    return Neo4jSink(server)


def origin(store, object_id, operation="one"):
    return Origin(store, object_id, operation, name=f"{object_id}.jpg", content_type="image/jpeg", etag="e")


def image(object_id, phash=None, objects=()):
    node = Node("Image", {"object_id": object_id}, {"width": 10} if phash is None else {"phash": f"{phash:016x}"})
    named = [Node("Object", {"name": name}) for name in objects]
    detail = {"role": "main", "source": "declared", "confidence": 1.0}
    return [node, *named, *(Relation("SHOWS", node, thing, detail) for thing in named)]


def put(sink, store, object_id, records, operation="one"):
    with sink.writer(origin(store, object_id, operation)) as writer:
        writer.add(records)
        return writer.commit()


def names(server, store):
    return {item["name"]: item["images"] for item in server.objects(store)[0]}


def links(server, store):
    rows = server.read(
        "MATCH (a:Image {lake_store: $store})-[r:SIMILAR]->(b)"
        " RETURN a.object_id AS a, b.object_id AS b, r.distance AS d",
        store=store,
    )
    found = {(row["a"], row["b"]): row["d"] for row in rows}
    assert len(found) == len(rows), "two links between the same images"
    return found


def test_what_is_written_is_found_and_leads_back(server, store, sink):
    said = put(sink, store, "7", image("7", 1, ["cat", "tree"]))
    assert said == {"store": store, "nodes": 3, "relations": 2, "similar": 0}
    put(sink, store, "8", image("8", None, ["cat"]))
    assert names(server, store) == {"cat": 2, "tree": 1}
    assert [item["name"] for item in server.objects_in(store, "7")[0]] == ["cat", "tree"]
    assert [item["object_id"] for item in server.images_of(store, "cat")[0]] == ["7", "8"]
    assert server.images_of(store, "cat")[0][0]["shows"] == [{"role": "main", "source": "declared", "confidence": 1.0}]
    [source] = server.read(
        "MATCH (s:LakeSource {lake_store: $s})-[:LAKE_MADE]->(:Image {object_id: '7'}) RETURN s", s=store
    )
    assert source["s"]["name"] == "7.jpg" and source["s"]["lake_operation"] == "one"


def test_what_is_known_of_an_image(server, store, sink):
    put(sink, store, "7", image("7", 0xFF00FF00FF00FF00, ["cat", "tree"]))
    put(sink, store, "8", image("8", 0xFF00FF00FF00FF01))
    known = server.image(store, "7")
    assert known == {"object_id": "7", "phash": "ff00ff00ff00ff00", "objects": 2, "similar": 1}
    assert server.image(store, "8")["objects"] == 0
    with pytest.raises(NotFound):
        server.image(store, "9")
    server.ping()


def test_doing_it_again_changes_nothing(server, store, sink):
    count = "MATCH (n {lake_store: $s}) OPTIONAL MATCH (n)-[r]->() RETURN count(DISTINCT n) AS nodes, count(r) AS edges"
    seen = []
    for _ in range(2):
        put(sink, store, "1", image("1", 5, ["cat"]))
        put(sink, store, "2", image("2", 5, ["cat"]))
        seen.append((server.read(count, s=store), links(server, store)))
    assert seen[0] == seen[1]
    assert seen[0][1] == {("1", "2"): 0}


def test_an_operation_replaces_the_one_before_and_leaves_what_others_need(server, store, sink):
    put(sink, store, "1", image("1", 5, ["cat", "tree"]))
    put(sink, store, "2", image("2", 5, ["cat"]))
    put(sink, store, "1", image("1", 2**64 - 1, ["dog"]), "two")
    assert names(server, store) == {"cat": 1, "dog": 1}
    assert links(server, store) == {}
    put(sink, store, "2", [], "two")
    assert names(server, store) == {"dog": 1}
    with pytest.raises(NotFound):
        server.objects_in(store, "2")


def test_a_node_stays_while_another_object_points_at_it(server, store, sink):
    room = Node("Room", {"building": "u4", "number": 302})
    put(sink, store, "1", [room])
    put(sink, store, "2", [Node("Sensor", {"id": "s"}), Relation("IN", Node("Sensor", {"id": "s"}), room)])
    count = "MATCH (n:Room {lake_store: $s}) RETURN count(n) AS n"
    put(sink, store, "1", [], "two")
    assert server.read(count, s=store) == [{"n": 1}]
    put(sink, store, "2", [], "two")
    assert server.read(count, s=store) == [{"n": 0}]


def test_stores_do_not_see_each_other(server, store, sink):
    other = store + "-b"
    try:
        put(sink, store, "1", image("1", 5, ["cat"]))
        put(sink, other, "2", image("2", 5, ["cat"]))
        assert links(server, store) == links(server, other) == {}
        assert server.images_of(store, "cat")[0][0]["object_id"] == "1"
        assert names(server, other) == {"cat": 1}
    finally:
        server.write(lambda tx: tx.run("MATCH (n {lake_store: $s}) DETACH DELETE n", s=other).consume())


def test_an_edge_to_nowhere_is_refused_and_nothing_of_it_is_kept(server, store, sink):
    with pytest.raises(StoreError, match="no node to begin or end") as error:
        put(
            sink,
            store,
            "1",
            [*image("1", 5, ["cat"]), Relation("SEES", Node("Image", {"object_id": "1"}), Node("X", {"a": 1}))],
        )
    assert not error.value.retriable
    assert names(server, store) == {}


def test_all_near_duplicates_are_found_and_no_other(server, store, sink):
    rng = random.Random(4)
    base = [rng.getrandbits(64) for _ in range(6)]
    hashes = {}
    for number in range(120):
        value = rng.choice(base)
        for place in rng.sample(range(64), rng.randrange(16)):
            value ^= 1 << place
        hashes[str(number)] = value
    outputs = [(origin(store, name), image(name, value)) for name, value in hashes.items()]
    for start in range(0, len(outputs), 40):
        sink.write(outputs[start : start + 40])
    expected = {}
    for a, one in hashes.items():
        for b, other in hashes.items():
            if a < b and distance(one, other) <= THRESHOLD:
                expected[(a, b)] = distance(one, other)
    assert len(expected) > 200
    assert links(server, store) == expected
    pages, after = [], None
    while True:
        items, after = server.similar(store, "0", limit=3, after=after)
        pages += items
        if after is None:
            break
    mine = sorted((d, a if b == "0" else b) for (a, b), d in expected.items() if "0" in (a, b))
    assert [(item["distance"], item["object_id"]) for item in pages] == mine


def test_links_are_bounded_where_all_images_are_alike(server, store, sink, monkeypatch):
    monkeypatch.setattr(module, "MAX_LINKS", 3)
    for name in map(str, range(8, 18)):
        put(sink, store, name, image(name, 77))
    assert {b if a == "17" else a for a, b in links(server, store) if "17" in (a, b)} == {"14", "15", "16"}


def test_images_written_and_replaced_at_the_same_time_are_linked_as_they_are_at_the_end(server, store):
    rng = random.Random(1)
    wrong = []

    def work(seed):
        mine = random.Random(seed)
        sink = Neo4jSink(connect())
        try:
            for turn in range(15):
                name = str(mine.randrange(12))
                value = mine.choice([0, 0b111, 0b11111 << 20, 2**63 - 1])
                put(sink, store, name, image(name, value, mine.sample(["cat", "dog", "tree"], 2)), f"{seed}-{turn}")
        except Exception as error:
            wrong.append(error)
        finally:
            sink._server.close()

    threads = [threading.Thread(target=work, args=(rng.random(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    rows = server.read("MATCH (n:Image {lake_store: $s}) RETURN n.object_id AS id, n.phash AS phash", s=store)
    hashes = {row["id"]: int(row["phash"], 16) for row in rows}
    expected = {
        (a, b): distance(hashes[a], hashes[b])
        for a in hashes
        for b in hashes
        if a < b and distance(hashes[a], hashes[b]) <= THRESHOLD
    }
    assert links(server, store) == expected
    shown = server.read("MATCH (:Image {lake_store: $s})-[r:SHOWS]->() RETURN count(r) AS n", s=store)
    assert shown == [{"n": 2 * len(hashes)}]
    left = server.read("MATCH (n {lake_store: $s}) WHERE n.lake_lock IS NOT NULL RETURN count(n) AS n", s=store)
    assert left == [{"n": 0}]


def test_a_wrong_password_is_told(server):
    wrong = connect("wrong-password")
    with pytest.raises(AccessDenied):
        wrong.read("RETURN 1 AS one")
    wrong.close()


def test_a_server_of_another_authority_is_not_trusted():
    other = Neo4j(URL, "neo4j", "secret-secret", timeout=5)
    with pytest.raises(StoreError, match="did not answer"):
        other.read("RETURN 1 AS one")
    other.close()
