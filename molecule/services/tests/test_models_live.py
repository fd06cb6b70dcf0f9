# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Through the edge: metadata models that inserts follow, files and windows of points, live events that go on after a
break."""

from __future__ import annotations

import base64
import json
import shlex
import time
import uuid

import pytest

CA = "/etc/pki/lake/ca.crt"
JSON = ["-H", "Content-Type: application/json"]


@pytest.fixture(scope="module")
def container():
    return f"live-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def label():
    return f"room {uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def send(call, token):
    """send(verb, path, body) -> status and answer."""

    def _send(verb: str, path: str, body: dict | None = None, *options: str, by: str | None = None) -> tuple[int, dict]:
        given = [*JSON, "-d", json.dumps(body)] if body is not None else []
        return call(f"/api/v1/{path}", "-X", verb, *given, *options, token=by or token)

    return _send


@pytest.fixture(scope="module")
def insert(edge, call, token, container):
    """insert(content, metadata) -> status and answer."""

    def _insert(content: str, metadata: dict | None = None) -> tuple[int, dict]:
        edge.check_output("printf %%s %s | base64 -d > /run/live-sample", base64.b64encode(content.encode()).decode())
        form = ["-F", f"metadata={json.dumps(metadata or {})};type=application/json"]
        file = ["-F", "file=@/run/live-sample;filename=messages.json;type=application/json"]
        return call(f"/api/v1/containers/{container}/objects", *form, *file, token=token)

    return _insert


def messages(minute: int) -> str:
    """Two readings of a minute, as the campus's sensors send them."""
    return json.dumps(
        [
            {
                "topic": f"u4/{room}/luminosity",
                "value": minute + room / 1000,
                "value_units": "lux",
                "subID": "s1",
                "unitID": "outside",
                "time": f"2021-07-22T10:{minute:02}:00Z",
            }
            for room in (301, 302)
        ]
    )


@pytest.fixture(scope="module")
def processed(send, insert, container):
    """The ids of three objects whose points are there."""
    made = [insert(messages(minute)) for minute in (1, 2, 11)]
    assert [status for status, _ in made] == [201] * 3, made
    ids = [answer["swift_object_id"] for _, answer in made]
    end = time.monotonic() + 120
    while ids and time.monotonic() < end:
        documents = [send("GET", f"containers/{container}/objects/{one}")[1] for one in ids]
        assert not any(one["failed_operations"] for one in documents), documents
        if all(one["successful_operations"] for one in documents):
            return ids
        time.sleep(1)
    pytest.fail("they were not processed in time")


def test_inserts_follow_a_model(send, insert, container, label, processed):
    fields = [
        {"name": "room", "type": "text", "required": True, "pattern": "^u[0-9]/"},
        {"name": "floor", "type": "integer", "default": 0, "minimum": -2, "maximum": 9},
    ]
    name = label.replace(" ", "%20")
    status, made = send("POST", "models", {"label": label, "metadata": fields})
    assert (status, made["version"], made["visibility"]) == (201, 1, "confidential"), made
    status, tried = send("POST", f"models/{name}/validate", {"other_data": {"room": "x", "floor": 12}})
    assert (status, {one["field"] for one in tried["problems"]}) == (200, {"room", "floor"})
    assert send("GET", f"models/{name}/schema")[1]["required"] == ["room"]
    status, refused = insert("[]", {"model": label, "other_data": {"floor": 1}})
    assert (status, refused["error"]["code"]) == (400, "violates_model")
    status, taken = insert('{"a": 1}', {"model": label, "other_data": {"room": "u4/302"}})
    assert status == 201 and taken["other_data"] == {"floor": 0, "room": "u4/302"}
    assert taken["model"] == {"id": made["id"], "label": label, "version": 1, "valid": True}
    assert send("PUT", f"containers/{container}/model", {"model": label})[0] == 200
    time.sleep(6)  # until it holds in all processes
    assert insert("[]")[1]["error"]["code"] == "violates_model"
    assert send("DELETE", f"containers/{container}/model")[0] == 204
    changed = send("PUT", f"models/{name}", {"label": label, "metadata": fields[:1]}, "-H", 'If-Match: "1"')[1]
    assert changed["version"] == 2 and len(send("GET", f"models/{name}/versions")[1]["items"]) == 2
    assert send("PUT", f"models/{name}", {"label": label, "metadata": fields}, "-H", 'If-Match: "1"')[0] == 412
    assert send("DELETE", f"models/{name}")[1]["status"] == "withdrawn"
    time.sleep(6)
    assert insert("[]", {"model": label, "other_data": {"room": "u4/1"}})[0] == 400


def test_confidential_models_are_not_seen_by_others(send, log_in, label):
    status, body = log_in("guest", "guests")
    assert status == 201, body
    name = label.replace(" ", "%20")
    assert send("GET", f"models/{name}", by=body["token"])[0] == 404
    assert label not in [one["label"] for one in send("GET", "models?limit=1000", by=body["token"])[1]["items"]]


def test_windows_of_points(send, container, processed):
    path = f"containers/{container}/timeseries/points?measurement=lux&aggregate=mean,count&every=10m"
    items = send("GET", path + "&group=")[1]["items"]
    assert [one["time"] for one in items] == ["2021-07-22T10:00:00Z", "2021-07-22T10:10:00Z"]
    assert [one["value_count"] for one in items] == [4, 2]
    assert items[0]["value_mean"] == pytest.approx(1.8015)
    items = send("GET", path + "&group=topic&topic=u4/302/luminosity")[1]["items"]
    assert [(one["topic"], one["value_count"]) for one in items] == [("u4/302/luminosity", 2), ("u4/302/luminosity", 1)]
    filled = send("GET", path + "&group=&fill=0&from=2021-07-22T10:00:00Z&to=2021-07-22T10:30:00Z")[1]["items"]
    assert [one["value_count"] for one in filled] == [4, 2, 0]


@pytest.mark.parametrize(
    ("kind", "begins"), [("csv", b"time,measurement,"), ("arrow", b"\xff\xff\xff\xff"), ("parquet", b"PAR1")]
)
def test_files_of_points(edge, address, token, container, processed, kind, begins):
    url = f"https://{address}/api/v1/containers/{container}/timeseries/points?measurement=lux&to=2021-07-22T10:20:00Z&format={kind}"
    line = ["curl", "-sSf", "--cacert", CA, "-H", f"X-Auth-Token: {token}", url]
    content = base64.b64decode(edge.check_output(f"{shlex.join(line)} | base64"))
    assert content.startswith(begins)
    if kind == "csv":
        assert len(content.splitlines()) == 7 and b"2021-07-22T10:01:00Z,lux," in content


@pytest.fixture(scope="module")
def listen(edge, address, token, container):
    """listen(name, after) begins to listen, into a file of that name, until `/run/<name>.pid` is killed."""

    def _listen(name: str, after: str | None = None) -> None:
        url = f"https://{address}/api/v1/containers/{container}/live"
        ask = ["curl", "-sSN", "-m", "100", "--cacert", CA, "-H", f"X-Auth-Token: {token}"]
        ask += ["-H", f"Last-Event-ID: {after}"] if after else []
        edge.check_output(f"nohup {shlex.join([*ask, url])} > /run/{name} 2>&1 < /dev/null & echo $! > /run/{name}.pid")

    return _listen


@pytest.fixture(scope="module")
def heard(edge):
    """heard(name, points) -> events (id, kind, data) of a file, once so many points are among them."""

    def _heard(name: str, points: int) -> list[tuple[str, str, dict]]:
        end = time.monotonic() + 90
        while True:
            parts = edge.file(f"/run/{name}").content_string.split("\n\n")[:-1]
            blocks = [dict(line.split(": ", 1) for line in part.splitlines() if ": " in line) for part in parts]
            events = [(one["id"], one["event"], json.loads(one["data"])) for one in blocks if "event" in one]
            if sum(kind == "point" for _, kind, _ in events) >= points:
                return events
            assert time.monotonic() < end, events
            time.sleep(1)

    return _heard


def test_live_events_go_on_after_a_break(edge, insert, listen, heard, processed):
    listen("live-1")
    time.sleep(3)
    first = insert(messages(21))[1]["swift_object_id"]
    events = heard("live-1", 2)
    edge.check_output("kill $(cat /run/live-1.pid)")
    said = [(kind, data["object"], data.get("status") or data.get("topic")) for _, kind, data in events]
    assert said == [
        ("processing", first, "stored"),
        ("processing", first, "processed"),
        ("point", first, "u4/301/luminosity"),
        ("point", first, "u4/302/luminosity"),
    ]
    second = insert(messages(22))[1]["swift_object_id"]
    listen("live-2", events[2][0])
    again = heard("live-2", 3)
    edge.check_output("kill $(cat /run/live-2.pid)")
    assert [(kind, data["object"]) for _, kind, data in again] == [
        ("point", first),
        ("processing", second),
        ("processing", second),
        ("point", second),
        ("point", second),
    ]


def test_live_events_of_others_are_not_there(send, log_in, container, processed):
    status, body = log_in("guest", "guests")
    assert status == 201, body
    assert send("GET", f"containers/{container}/live", by=body["token"])[0] == 404
