# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Tables, documents, files, graphs, what an object became: forms, pages, isolation, stores that are away or none."""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime

import pytest
from bson import Decimal128, ObjectId
from lake_api.conditions import conditions, text, typed
from lake_api.errors import ApiError
from lake_api.gold import Gold, Part
from lake_api.settings import Settings
from neocampus_lake.errors import AccessDenied, InvalidInput, StoreError
from neocampus_lake.sinks.reading import Filter
from pymongo.errors import AutoReconnect

ROOT = "/api/v1/containers/rooms"
EACH = [
    "tables",
    "tables/t",
    "tables/t/rows",
    "documents",
    "documents/1-0",
    "documents/1-0/data",
    "files",
    "files/1/image",
    "graph/objects",
    "graph/images?object=cat",
    "graph/images/1",
    "graph/images/1/similar",
    "objects/1/gold",
]


def lake(number, object_id="1", **more):
    return {"object": object_id, "operation": "ab12", **more}


@pytest.fixture
def filled(insert, tables, gold_documents, graph):
    """A container `rooms` whose object 1 is in every store."""
    insert("rooms", "x", b"1", {"other_data": {"place": "u4"}})
    rows = [{"a": n, "b": f"é{n}", "lake": lake(n, str(1 + n // 3), row=n % 3 + 1, line=n + 2)} for n in range(5)]
    tables.stores["rooms"] = {"t": rows, "s": rows[:1], "u": rows[:1]}
    gold_documents.stores["rooms"] = [{"a": n, "lake": {**lake(n), "number": n}} for n in range(3)]
    gold_documents.contents["rooms", "1", "image"] = b"\xff\xd8" * 400_000
    gold_documents.contents["rooms", "1", "thumbnail"] = b"\xff\xd8"
    facts = {"width": 640, "phash": "ff", "appearance": 48, "sharpness": 2.5, "taken": datetime(2024, 5, 1, tzinfo=UTC)}
    shows = [{"name": name, "role": "main"} for name in ("cat", "tree")]
    graph.stores["rooms"] = {
        "1": {"facts": facts, "shows": shows, "similar": [{"object_id": "2", "distance": 3, "score": 0.9}]},
        "2": {"facts": {}, "shows": shows[:1], "similar": []},
    }


def pages(api, path, **params):
    found, cursor = [], None
    while True:
        answer = api.get(f"{ROOT}/{path}", params={**params, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["items"])
        cursor = answer.json()["next"]
        if cursor is None:
            return found


# -- tables -----------------------------------------------------------------------------------------------------------


def test_tables_and_one_of_them(api, filled):
    assert pages(api, "tables", limit=2) == [["s", "t"], ["u"]]
    found = api.get(f"{ROOT}/tables/t").json()
    assert (found["table"], found["rows"], found["objects"]) == ("t", 5, 1)
    assert found["columns"][0] == {"column": "a", "name": "A", "type": "text"}


def test_rows_page_by_page(api, filled, tables):
    assert pages(api, "tables/t/rows", limit=2) == [
        [{"a": 0, "b": "é0"}, {"a": 1, "b": "é1"}],
        [{"a": 2, "b": "é2"}, {"a": 3, "b": "é3"}],
        [{"a": 4, "b": "é4"}],
    ]
    assert pages(api, "tables/t/rows", object="2", columns="a") == [[{"a": 3}, {"a": 4}]]
    assert pages(api, "tables/t/rows", where=["a:ge:1", "b:contains:é:"], columns="a, b")
    assert tables.asked["filters"] == [Filter("a", "ge", "1"), Filter("b", "contains", "é:")]
    assert tables.asked["columns"] == ["a", "b"]


def test_rows_say_where_they_come_from_when_asked(api, filled):
    [[row]] = pages(api, "tables/s/rows", origin="true")
    assert row == {"a": 0, "b": "é0", "lake_origin": {"object": "1", "operation": "ab12", "row": 1, "line": 2}}


def test_values_that_json_does_not_have(api, filled, tables):
    tables.stores["rooms"]["t"] = [{"a": math.inf, "b": [math.nan, {"_id": 5}], "lake": lake(0)}]
    assert pages(api, "tables/t/rows") == [[{"a": None, "b": [None, {"_id": 5}]}]]


def test_a_cursor_is_one_of_the_same_query(api, filled, error_of):
    cursor = api.get(f"{ROOT}/tables/t/rows", params={"limit": 1}).json()["next"]
    for path, params in (("tables/t/rows", {"origin": "true"}), ("tables/s/rows", {}), ("documents", {})):
        error_of(api.get(f"{ROOT}/{path}", params={"cursor": cursor, **params}), 400, "invalid_cursor")


@pytest.mark.parametrize(
    ("path", "params", "says"),
    [
        ("tables/t/rows", {"limit": 1001}, "'limit'"),
        ("tables/t/rows", {"where": "a"}, "field:operator:value"),
        ("tables/t/rows", {"where": "a:like:b"}, "eq, ne"),
        ("tables/t/rows", {"where": "a:null:maybe"}, "true or false"),
        ("tables/t/rows", {"order": "a"}, "'order': is not known here"),
        ("documents", {"where": "a:eq:[1]"}, "compared with nothing"),
        ("documents", {"where": "a:eq:99999999999999999999"}, "64 bits"),
        ("documents", {"where": 'a:eq:"\\ud800"'}, "surrogates"),
        ("graph/images", {}, "'object': is required"),
        ("documents/1", {}, "as 17-0"),
        ("documents/1-x", {}, "as 17-0"),
        ("documents/9999999999999999999-0", {}, "no object of such an id"),
        ("documents/1-0/data", {"name": "x"}, "is not known here"),
        ("graph/images/x", {}, "decimal"),
        ("files/x/image", {}, "decimal"),
    ],
)
def test_bad_queries(api, filled, error_of, path, params, says):
    assert says in error_of(api.get(f"{ROOT}/{path}", params=params), 400)


def test_what_the_reader_refuses_is_told(api, filled, tables, error_of):
    tables.error = InvalidInput("there is no column 'c'; there are: a, b")
    assert "no column 'c'" in error_of(api.get(f"{ROOT}/tables/t/rows"), 400)


# -- documents and files ----------------------------------------------------------------------------------------------


def test_documents_page_by_page_and_one(api, filled, gold_documents):
    assert [[one["a"] for one in page] for page in pages(api, "documents", limit=2)] == [[0, 1], [2]]
    [first, *_] = pages(api, "documents", object="1", where=['b.c:eq:"5"', "b.c:ne:5", "b.c:eq:x"])[0]
    assert first == {"a": 0, "lake": {"id": "1-0", "object": "1", "number": 0, "operation": "ab12"}}
    assert [one.value for one in gold_documents.asked["filters"]] == ["5", 5, "x"]
    assert api.get(f"{ROOT}/documents/1-2").json()["a"] == 2
    assert pages(api, "documents", object="9") == [[]]


def test_documents_are_json(api, filled, gold_documents):
    value = {"_id": ObjectId("0" * 24), "t": datetime(2021, 7, 22, tzinfo=UTC), "d": Decimal128("1.10"), "b": b"\x00"}
    gold_documents.stores["rooms"] = [{**value, "n": [{"_id": 7}, math.nan], "lake": {**lake(0), "number": 0}}]
    found = api.get(f"{ROOT}/documents/1-0").json()
    del found["lake"]
    times = {"t": "2021-07-22T00:00:00.000Z", "d": "1.10", "b": "AA=="}
    assert found == {"_id": "0" * 24, "n": [{"_id": 7}, None], **times}


def test_files(api, filled, gold_documents):
    assert [one["name"] for one in pages(api, "files", object="1")[0]] == ["image", "thumbnail"]
    for path in ("documents/1-0/data", "files/1/image"):
        answer = api.get(f"{ROOT}/{path}")
        assert answer.content == b"\xff\xd8" * 400_000 and answer.headers["content-length"] == "800000"
        assert answer.headers["content-type"] == "image/jpeg" and "sandbox" in answer.headers["content-security-policy"]
        assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''1-image"
    small = api.get(f"{ROOT}/documents/1-0/data", params={"file": "thumbnail"})
    assert small.content == b"\xff\xd8"
    again = api.get(f"{ROOT}/files/1/thumbnail", headers={"If-None-Match": small.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert len(gold_documents.opened) == 4 and all(stream.closed for stream in gold_documents.opened)


def test_a_file_that_breaks_off_is_no_whole_answer(api, filled, gold_documents, monkeypatch):
    opened = gold_documents.open_file

    def breaks(*given):
        known, stream = opened(*given)

        class Broken(type(stream)):
            def read(self, size=-1):
                if self.tell():
                    raise AutoReconnect("gone")
                return super().read(size)

        return known, Broken(stream.getvalue())

    monkeypatch.setattr(gold_documents, "open_file", breaks)
    answer = api.get(f"{ROOT}/files/1/image")
    assert len(answer.content) < int(answer.headers["content-length"])


# -- graph ------------------------------------------------------------------------------------------------------------


def test_graph(api, filled):
    assert pages(api, "graph/objects", limit=1) == [[{"name": "cat", "images": 2}], [{"name": "tree", "images": 1}]]
    assert [[one["object_id"] for one in page] for page in pages(api, "graph/images", object="cat", limit=1)] == [
        ["1"],
        ["2"],
    ]
    assert pages(api, "graph/images", object="dog") == [[]]
    assert api.get(f"{ROOT}/graph/images/1").json() == {
        "object_id": "1",
        "width": 640,
        "taken": "2024-05-01T00:00:00.000Z",
        "objects": [{"name": "cat", "role": "main"}, {"name": "tree", "role": "main"}],
        "descriptors": {"phash": "ff", "appearance": 48, "sharpness": 2.5},
        "similar": 1,
        "tags": {"place": "u4"},
    }
    assert pages(api, "graph/images/1/similar") == [[{"object_id": "2", "distance": 3, "score": 0.9}]]


# -- what an object became --------------------------------------------------------------------------------------------


def test_what_an_object_became(api, filled, mongo):
    assert api.get(f"{ROOT}/objects/1/gold").json() == {"items": [], "next": None}
    series = [{"measurement": "%", "topic": "u4/1 a", "from": "2021-07-22T10:00:00Z", "to": "2021-07-22T11:00:00Z"}]
    facts = {"execution_date": datetime(2024, 5, 1, tzinfo=UTC), "pipeline": "p", "dag_id": "d"}
    first = {**facts, "operation": "1", "gold": {"sql": {"tables": {"old": 1}, "rows": 1}}}
    gold = {
        "sql": {"schema": "rooms", "tables": {"t": 3}, "rows": 3},
        "influxdb": {"database": "rooms", "points": 4, "series": series},
        "mongodb": {"database": "data_conso", "collection": "rooms", "documents": 1, "files": 2},
        "neo4j": {"store": "rooms", "nodes": 3, "relations": 2, "similar": 1},
        "objects": {"container": "rooms", "objects": 2, "ids": ["8", "9"]},
        "other": "a place of a later version",
    }
    second = {**facts, "operation": "2", "gold": gold, "detected_content_type": "image/jpeg"}
    mongo["swift"]["rooms"].update_one({"_id": 1}, {"$set": {"successful_operations": [first, second]}})
    [items] = pages(api, "objects/1/gold")
    found = {item["store"]: item for item in items}
    assert list(found) == ["influxdb", "mongodb", "neo4j", "objects", "other", "sql"]
    assert found["sql"] == {
        "store": "sql",
        "counts": {"rows": 3},
        "tables": {"t": 3},
        "links": [f"{ROOT}/tables/t/rows?object=1"],
        "pipeline": "p",
        "operation": "2",
        "execution_date": "2024-05-01T00:00:00.000Z",
    }
    points = "timeseries/points?measurement=%25&topic=u4%2F1+a&from=2021-07-22T10%3A00%3A00Z"
    assert found["influxdb"]["links"] == [f"{ROOT}/{points}"]
    assert found["mongodb"]["links"] == [f"{ROOT}/documents?object=1", f"{ROOT}/files?object=1"]
    assert found["mongodb"]["counts"] == {"documents": 1, "files": 2}
    assert found["neo4j"]["links"] == [f"{ROOT}/graph/images/1", f"{ROOT}/graph/images/1/similar"]
    assert found["objects"]["links"] == [f"{ROOT}/objects/8", f"{ROOT}/objects/9"]
    assert (found["other"]["counts"], found["other"]["links"]) == ({}, [])
    for item in items:  # every link is one of the API
        for link in item["links"]:
            assert api.get(link).status_code == 200 or "/objects/" in link, link


def test_series_that_are_too_many_to_be_named(api, filled, mongo):
    gold = {"influxdb": {"points": 4, "series": [{"from": "2021-07-22T10:00:00Z", "to": "2021-07-22T11:00:00Z"}]}}
    mongo["swift"]["rooms"].update_one({"_id": 1}, {"$set": {"successful_operations": [{"gold": gold}]}})
    [[item]] = pages(api, "objects/1/gold")
    assert item["links"] == [f"{ROOT}/timeseries/measurements"]


# -- who may see it, and what is not there ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", EACH)
def test_each_path_is_there_for_its_project_alone(api, filled, keystone, error_of, path):
    assert api.get(f"{ROOT}/{path}").status_code == 200
    api.headers["X-Auth-Token"] = keystone.give("foreign", project="p2")
    foreign = error_of(api.get(f"{ROOT}/{path}"), 404, "not_found")
    nowhere = error_of(api.get(f"{ROOT}/{path}".replace("rooms", "none")), 404, "not_found")
    assert foreign == nowhere.replace("none", "rooms")  # the same as for what is nowhere
    api.headers["X-Auth-Token"] = keystone.give("guest", roles=("guest",))
    error_of(api.get(f"{ROOT}/{path}"), 403, "forbidden")
    api.headers["X-Auth-Token"] = ""
    error_of(api.get(f"{ROOT}/{path}"), 401, "unauthorized")
    api.headers["X-Auth-Token"] = keystone.give("reader", roles=("reader",))
    assert api.get(f"{ROOT}/{path}").status_code == 200


def test_a_container_of_the_same_name_is_another_one(api, filled, keystone, insert):
    api.headers["X-Auth-Token"] = keystone.give("foreign", project="p2")
    insert("rooms", "y", b"2")
    for path in ("tables", "documents", "files", "graph/objects", "graph/images?object=cat"):
        assert api.get(f"{ROOT}/{path}").json() == {"items": [], "next": None}
    for path in ("tables/t", "tables/t/rows", "documents/1-0", "files/1/image", "graph/images/1", "objects/1/gold"):
        assert api.get(f"{ROOT}/{path}").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["tables/no", "tables/no/rows", "documents/1-9", "documents/9-0/data", "files/1/no", "graph/images/9"]
    + ["graph/images/9/similar", "objects/9/gold"],
)
def test_what_is_not_there(api, filled, error_of, path):
    message = error_of(api.get(f"{ROOT}/{path}"), 404, "not_found")
    assert "'rooms'" in message and "does not exist in your project" in message


@pytest.mark.parametrize("path", EACH)
def test_a_store_that_is_away(api, filled, tables, gold_documents, graph, error_of, path, monkeypatch):
    if path == "objects/1/gold":
        return  # it needs the metadata alone
    away = StoreError("it did not answer")
    for one in (tables, graph, gold_documents):
        one.error = away
        for name in ("document", "files", "open_file"):
            monkeypatch.setattr(one, name, lambda *_, one=one, **__: one.ping(), raising=False)
    message = error_of(api.get(f"{ROOT}/{path}"), 503, "service_unavailable")
    assert ("table" in message, "document" in message, "graph" in message).count(True) == 1
    tables.error = graph.error = gold_documents.error = AccessDenied("wrong password of gold_api")
    assert "password" not in error_of(api.get(f"{ROOT}/{path}"), 503, "service_unavailable")


def test_health_has_the_stores_that_the_lake_has(api, gold, graph, monkeypatch):
    def parts():
        monkeypatch.setattr("lake_api.routes.health._last", (0.0, {}))
        return api.get("/health").json()["parts"]

    assert parts()["tables"] == parts()["documents"] == parts()["graph"] == "ok"
    graph.error = AccessDenied("wrong password")
    assert parts()["graph"] == "away"
    gold.graph = Gold().graph
    assert "graph" not in parts()


@pytest.mark.parametrize("path", EACH)
def test_a_lake_without_these_stores(api, filled, gold, keystone, error_of, path):
    none = Gold()
    gold.tables, gold.documents, gold.graph = none.tables, none.documents, none.graph
    if path == "objects/1/gold":
        assert api.get(f"{ROOT}/{path}").status_code == 200
        return
    message = error_of(api.get(f"{ROOT}/{path}"), 404, "not_in_this_lake")
    assert "this lake keeps no" in message
    api.headers["X-Auth-Token"] = keystone.give("foreign", project="p2")
    error_of(api.get(f"{ROOT}/{path}"), 404, "not_found")


def test_a_store_that_takes_too_long(api, filled, gold, tables, error_of, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(tables, "names", lambda *_: over.wait(10))
    gold.tables = Part("The store of tables", "tables", tables, 0.05)
    try:
        error_of(api.get(f"{ROOT}/tables"), 503, "service_unavailable")
    finally:
        over.set()


def test_openapi_has_them(api):
    document = api.get("/api/v1/openapi.json").json()
    shown = {path.removeprefix("/api/v1/containers/{container}/") for path in document["paths"]}
    assert {"tables/{table}/rows", "documents/{document_id}/data", "graph/images/{object_id}/similar"} <= shown
    operations = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(operations) == len(set(operations))
    assert {"Row", "GoldDocument", "Document", "Place"} <= set(document["components"]["schemas"])


# -- conditions and settings ------------------------------------------------------------------------------------------


def test_conditions():
    assert conditions(["a:eq:x:y"], text) == [Filter("a", "eq", "x:y")]
    assert conditions(["a:b:eq:1"], text) == [Filter("a:b", "eq", "1")]
    assert conditions(["a:eq:"], text) == [Filter("a", "eq", "")]
    assert conditions(["a:null:true"], typed) == [Filter("a", "null", True)]
    assert conditions(["a:contains:5"], typed) == [Filter("a", "contains", "5")]
    values = {
        "5": 5,
        "5.5": 5.5,
        '"5"': "5",
        "true": True,
        "x y": "x y",
        "{bad": "{bad",
        '{"$date": "2024-05-01T00:00:00Z"}': datetime(2024, 5, 1, tzinfo=UTC),
        '{"$oid": "000000000000000000000000"}': ObjectId("0" * 24),
        '{"$oid": "x"}': '{"$oid": "x"}',
    }
    for said, value in values.items():
        assert typed(said) == value, said
    for said in ('{"a": 1}', "null", '{"$regularExpression": {"pattern": "(a+)+$", "options": ""}}', "1" * 30):
        with pytest.raises(ApiError):
            typed(said)


def test_stores_of_the_settings(chosen):
    assert not any((Gold.connect(chosen).tables.present, Gold.connect(chosen).graph.present))
    account = {"username": "u", "password": "own-secret"}
    more = {
        "sql": {"engine": "mariadb", "host": "gold.test", **account},
        "gold_mongodb": {"hosts": ["gold.test"], "tls": False, **account},
        "neo4j": {"url": "bolt://gold.test:7687", **account},
    }
    settings = Settings.model_validate({**chosen.model_dump(), **more})
    gold = Gold.connect(settings)
    assert gold.tables.present and gold.documents.present and gold.graph.present
    assert "own-secret" not in repr(settings)
    gold.close()
