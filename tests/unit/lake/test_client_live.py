# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's models, files and live events: what is asked of the API, and what becomes of its answers."""

import itertools
import json
from urllib.parse import parse_qsl, urlsplit

import pytest
from neocampus_lake import client as client_module
from neocampus_lake.client import LakeClient, LiveEvent
from neocampus_lake.errors import AccessDenied, StoreError


@pytest.fixture
def client(api, monkeypatch):
    monkeypatch.setattr(client_module.time, "sleep", lambda _seconds: None)
    return LakeClient(api.url, token="t")


def asked(api, number=-1):
    verb, path, headers, body = api.requests[number]
    parts = urlsplit(path)
    return verb, parts.path.removeprefix("/api/v1"), parse_qsl(parts.query, keep_blank_values=True), headers, body


def test_models(api, client):
    page = {"items": [{"label": "a"}], "next": None}
    api.fail = [
        (200, page),
        (200, {"version": 2}),
        (201, {"version": 1}),
        (200, {"version": 3}),
        (200, {"status": "removed"}),
    ]
    assert list(client.models(own=True, container=None)) == [{"label": "a"}]
    assert asked(api)[:3] == ("GET", "/models", [("own", "true"), ("limit", "500")])
    assert client.model("a b", 2) == {"version": 2} and asked(api)[1] == "/models/a%20b/versions/2"
    client.create_model({"label": "a"})
    assert asked(api)[:2] == ("POST", "/models") and json.loads(asked(api)[4]) == {"label": "a"}
    client.change_model("a", {"label": "a"}, version=2)
    assert asked(api)[:2] == ("PUT", "/models/a") and asked(api)[3]["If-Match"] == '"2"'
    assert client.withdraw_model("a") == "removed" and asked(api)[:2] == ("DELETE", "/models/a")
    api.fail = [(200, {"valid": True}), (200, {}), (204, b""), (200, {"type": "object"}), (200, page)]
    assert client.validate("a", {"x": 1}, "text/csv") == {"valid": True}
    assert json.loads(asked(api)[4]) == {"other_data": {"x": 1}, "content_type": "text/csv"}
    client.demand_model("rooms", "a", enforced={"image/*": True})
    assert asked(api)[:2] == ("PUT", "/containers/rooms/model")
    assert json.loads(asked(api)[4]) == {"model": "a", "version": None, "enforced": {"image/*": True}}
    client.demand_model("rooms", None)
    assert asked(api)[:2] == ("DELETE", "/containers/rooms/model")
    assert client.model_schema("a", 1) == {"type": "object"} and asked(api)[1:3] == (
        "/models/a/schema",
        [("version", "1")],
    )
    assert list(client.model_versions("a")) == [{"label": "a"}]


def test_windows_and_files(api, client):
    api.fail = [(200, {"items": [{"value_mean": 1}], "next": None}), (200, b"a,b"), (200, b"x"), (200, b"{}")]
    found = client.points("rooms", "lux", ["a", "b"], aggregate=["mean", "p95"], every="10m", group=[], fill="null")
    assert list(found) == [{"value_mean": 1}]
    assert asked(api)[2] == [
        ("measurement", "lux"), ("topic", "a"), ("topic", "b"), ("aggregate", "mean,p95"), ("every", "10m"),
        ("group", ""), ("fill", "null"), ("limit", "1000"),
    ]  # fmt: skip
    with client.points_file("rooms", "lux", fields=["v"], descending=True, formulas=True) as file:
        assert file.read() == b"a,b"
    assert asked(api)[2] == [
        ("measurement", "lux"), ("field", "v"), ("order", "desc"), ("format", "csv"), ("formulas", "keep"),
    ]  # fmt: skip
    client.rows_file("rooms", "t 1", format="parquet", columns=["a", "b"], origin=True).close()
    assert asked(api)[1] == "/containers/rooms/tables/t%201/rows"
    assert asked(api)[2] == [("columns", "a,b"), ("origin", "true"), ("format", "parquet")]
    client.documents_file("rooms", where=["a:eq:1"]).close()
    assert asked(api)[2] == [("where", "a:eq:1"), ("format", "ndjson")]


FIRST = (
    b'retry: 2000\nid: A.9\n: listening\n\nid: B.1\nevent: processing\ndata: {"object": "1"}\n\n: alive\n\n'
    b'id: B.2\nevent: point\ndata: {"value": "\xc3\xa9"}\n\n'
)
RESTART = b'event: end\ndata: {"code": "restarting", "message": "stops"}\n\n'


def test_live_goes_on_after_a_break(api, client):
    last = b'id: C.1\nevent: gap\ndata: {"code": "events_lost"}\n\n'
    api.fail = [(200, FIRST + RESTART), (200, FIRST[:30]), (503, b""), (200, last)]
    found = list(itertools.islice(client.live("rooms", events=["point"], topics=["a"]), 3))
    assert found == [
        LiveEvent("processing", {"object": "1"}, "B.1"),
        LiveEvent("point", {"value": "é"}, "B.2"),
        LiveEvent("gap", {"code": "events_lost"}, "C.1"),
    ]
    assert asked(api, 0)[1:3] == ("/containers/rooms/live", [("events", "point"), ("topic", "a")])
    assert "Last-Event-ID" not in asked(api, 0)[3] and asked(api, 0)[3]["Accept"] == "text/event-stream"
    assert [asked(api, number)[3]["Last-Event-Id"] for number in (1, 2, 3)] == ["B.2", "B.2", "B.2"]


def test_live_ends_with_its_token(api, client):
    api.fail = [(200, FIRST + b'event: end\ndata: {"code": "token_expired", "message": "has expired"}\n\n')]
    with pytest.raises(AccessDenied, match="has expired"):
        list(client.live("rooms"))
    api.fail = [(503, b"")] * 4
    with pytest.raises(StoreError):
        next(client.live("rooms", last_id="B.2"))
    assert asked(api)[3]["Last-Event-Id"] == "B.2"
