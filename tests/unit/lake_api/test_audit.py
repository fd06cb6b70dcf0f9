# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The audit: every route is in it or declared out of it, nothing is dropped, and who may read what."""

from __future__ import annotations

import json
import logging
from typing import Any

import anyio
import bson
import pytest
from lake_api import audit
from lake_api.app import create_app
from lake_api.errors import ServiceAway
from lake_api.settings import Audit as AuditSettings
from pymongo.errors import AutoReconnect, BulkWriteError
from starlette.testclient import TestClient


@pytest.fixture
def chief(keystone) -> dict[str, str]:
    return {"X-Auth-Token": keystone.give("chief", "px", ("admin",), everywhere=True)}


@pytest.fixture
def boss(keystone) -> dict[str, str]:
    return {"X-Auth-Token": keystone.give("boss", "p1", ("admin",))}


def events(api: Any, headers: dict[str, str], **wanted: Any) -> list[dict[str, Any]]:
    answer = api.get("/api/v1/admin/audit", params=wanted, headers=headers)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def test_each_route_has_an_action_or_is_declared_to_have_none(api):
    document = api.get("/api/v1/openapi.json").json()
    names = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    names.add("override_upload")  # for clients that can't send PATCH; the document doesn't show it
    declared = set(audit.ACTIONS) | audit.UNAUDITED
    assert names - declared == set(), "give new routes an action in audit.ACTIONS, or put them into audit.UNAUDITED"
    assert declared - names == set(), "there are no such routes any more"
    assert set(audit.ACTIONS).isdisjoint(audit.UNAUDITED)


def test_who_did_what_to_which_object(api, insert, chief):
    made = insert("c", "a.txt", b"1").json()["swift_object_id"]
    api.get(f"/api/v1/containers/c/objects/{made}/data", headers={"X-Request-ID": "a-known-request"})
    read, put = events(api, chief, container="c")
    assert (put["action"], put["object_id"], put["result"], put["status"]) == ("object.insert", made, "done", 201)
    assert (read["action"], read["object_id"], read["request_id"]) == ("object.read_data", made, "a-known-request")
    for event in (read, put):
        assert (event["user"], event["user_id"], event["project_id"]) == ("ada", "u1", "p1")
        assert event["address"] == "testclient" and event["time"].endswith("Z")
    assert (put["bytes_in"] > 0, read["bytes_out"]) == (True, 1)


def test_bulk_insertion_has_its_objects(api, body_of, chief):
    sent = body_of(("file", "a", b"1", None), ("file", "b", b"2", None))
    ids = [
        one["object"]["swift_object_id"]
        for one in api.post("/api/v1/containers/c/objects/bulk", **sent).json()["items"]
    ]
    assert events(api, chief, action="object.insert")[0]["objects"] == ids
    assert len(events(api, chief, object=ids[1])) == 1


def test_refused_requests_are_in_it(api, keystone, chief, insert):
    insert("c", "a.txt", b"1")
    keystone.give("reader", roles=("reader",))
    api.post("/api/v1/auth/token", json={"username": "eve", "password": "guess-s3cr3t", "project": "p1"})
    api.post("/api/v1/containers/c/objects", headers={"X-Auth-Token": "reader"}, content=b"")
    api.get("/api/v1/containers/c/objects", headers={"X-Auth-Token": "nobody-knows"})
    api.get("/api/v1/containers/other/objects")
    found = events(api, chief, result="refused")
    assert [(one["action"], one["status"], one["user"]) for one in found] == [
        ("object.list", 404, "ada"),
        ("object.list", 401, None),
        ("object.insert", 403, "ada"),
        ("auth.log_in", 401, "eve"),
    ]
    assert "s3cr3t" not in json.dumps(found)


def test_administrator_of_a_project_sees_that_project(api, keystone, boss, chief):
    api.get("/api/v1/containers")
    keystone.give("elsewhere", "p2")
    api.get("/api/v1/containers", headers={"X-Auth-Token": "elsewhere"})
    assert {one["project_id"] for one in events(api, boss)} == {"p1"}
    assert events(api, boss, project="p2") == []
    assert {one["project_id"] for one in events(api, chief, action="container.list")} == {"p1", "p2"}
    assert len(events(api, chief, project="p2", user="ada")) == 1


def test_pages_and_times(api, chief, error_of):
    for _ in range(7):
        api.get("/api/v1/containers")
    seen, cursor = [], None
    while True:
        given = {"limit": 3, "action": "container.list", **({"cursor": cursor} if cursor else {})}
        page = api.get("/api/v1/admin/audit", params=given, headers=chief).json()
        seen += [one["id"] for one in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 7
    assert events(api, chief, **{"from": "2099-01-01"}) == []
    assert len(events(api, chief, to="2099-01-01T00:00:00Z", action="container.list")) == 7
    error_of(api.get("/api/v1/admin/audit?result=perhaps", headers=chief), 400)
    error_of(api.get("/api/v1/admin/audit?cursor=eA", headers=chief), 400, "invalid_cursor")


def test_cursor_that_was_made_up(mongo):
    found = audit.Audit(mongo, AuditSettings())
    for made_up in ("x", "2030-01-01T00:00:00 x", "x 6b0712ad1d69c78024a337b0"):
        with pytest.raises(Exception, match="is not a cursor"):
            found.find(None, {}, start=None, end=None, limit=1, after=made_up)


def test_what_needs_no_audit_leaves_no_place_taken(api):
    for path in ("/api/v1/auth/token", "/api/v1/openapi.json", "/api/v1/nowhere", "/health/live"):
        api.get(path)
    kept = api.app.app.state.lake.audit
    assert (kept.waiting, kept._under_way) == (0, 0)


class Away:
    """A collection that can't be written until it is told so."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.stored: dict[Any, Any] = {}

    def __getitem__(self, _name: str) -> Away:
        return self

    def insert_many(self, batch: list[dict[str, Any]], ordered: bool) -> None:
        self.stored |= {one["_id"]: one for one in batch}
        if self.error:
            raise self.error


def test_nothing_is_dropped_while_it_cannot_be_written(monkeypatch):
    monkeypatch.setattr(audit, "_FIRST_PAUSE", 0.01)

    async def run() -> None:
        away = Away(AutoReconnect("away"))
        kept = audit.Audit(away, AuditSettings(waiting=5, interval_seconds=0.01))  # type: ignore[arg-type]
        told: list[int] = []
        kept.tell = told.append
        for number in range(5):
            kept.reserve()
            kept.add({"number": number})
        with pytest.raises(ServiceAway):
            kept.reserve()
        await anyio.sleep(0.1)
        assert kept.waiting == 5
        # What an earlier try wrote, whose answer was lost, is there already.
        away.error = BulkWriteError({"writeErrors": [{"code": 11000}]})
        await kept.settle()
        assert (kept.waiting, kept.written) == (0, 5)
        assert told[0] == 5 and told[-1] == 0
        assert [one["number"] for one in away.stored.values()] == list(range(5))
        kept.reserve()
        kept.release()
        await kept.stop()

    anyio.run(run)


def test_what_cannot_be_written_when_it_stops_goes_to_the_log(caplog):
    async def run() -> None:
        away = Away(AutoReconnect("away"))
        kept = audit.Audit(away, AuditSettings(stop_seconds=0.05, interval_seconds=0.01))  # type: ignore[arg-type]
        kept.reserve()
        kept.add({"action": "object.insert", "object_id": "17"})
        await kept.stop()

    with caplog.at_level(logging.ERROR):
        anyio.run(run)
    line = next(record.getMessage() for record in caplog.records if "not written to the audit" in record.getMessage())
    assert json.loads(line[line.index("{") :])["object_id"] == "17"


def test_an_event_that_can_never_be_written_goes_to_the_log_and_holds_nothing_up(caplog):
    class Choosy(Away):
        def insert_many(self, batch: list[dict[str, Any]], ordered: bool) -> None:
            for one in batch:
                bson.encode(one)
            self.stored |= {one["_id"]: one for one in batch if one["user"] != "refused"}
            wrong = [n for n, one in enumerate(batch) if one["user"] == "refused"]
            if wrong:
                raise BulkWriteError({"writeErrors": [{"code": 121, "index": n, "errmsg": "invalid"} for n in wrong]})

    async def run() -> list[str]:
        choosy = Choosy(AutoReconnect("not raised"))
        kept = audit.Audit(choosy, AuditSettings(interval_seconds=0.01))  # type: ignore[arg-type]
        for user in ("ada", "\ud800", "eve", "refused", "bob"):
            kept.reserve()
            kept.add({"user": user})
        await kept.stop()
        return [one["user"] for one in choosy.stored.values()]

    with caplog.at_level(logging.ERROR):
        assert anyio.run(run) == ["ada", "eve", "bob"]
    assert sum("not written to the audit" in record.getMessage() for record in caplog.records) == 2


def test_requests_are_refused_while_the_audit_is_full(keystone, chosen, connect, error_of):
    full = chosen.model_copy(update={"audit": AuditSettings(waiting=1)})
    with TestClient(create_app(full, connect)) as api:
        api.headers["X-Auth-Token"] = "good"
        kept = api.app.app.state.lake.audit
        kept.reserve()
        answer = api.get("/api/v1/containers")
        error_of(answer, 503, "service_unavailable")
        assert answer.headers["retry-after"]
        assert api.get("/health/live").status_code == 200
        kept.release()
        assert api.get("/api/v1/containers").status_code == 200


def test_rest_is_written_when_the_api_stops(keystone, chosen, connect, mongo):
    with TestClient(create_app(chosen, connect)) as api:
        api.get("/api/v1/containers", headers={"X-Auth-Token": "good"})
    assert mongo["audit"]["events"].count_documents({"action": "container.list"}) == 1
