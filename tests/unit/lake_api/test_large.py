# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Large uploads: the protocol, what is kept when something breaks, what becomes of them."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from datetime import timedelta
from pathlib import Path

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lake_api import running_hash, segments, tus
from lake_api.app import create_app
from lake_api.errors import ApiError
from lake_api.settings import Uploads
from lake_api.upload_store import UploadStore
from neocampus_lake.documents import utc
from pymongo.errors import AutoReconnect

sys.path.insert(0, str(Path(__file__).parent))
from large_fakes import LargeSwift  # noqa: E402

CONTENT = bytes(i * 7 % 251 for i in range(1000))
TUS = {"Tus-Resumable": "1.0.0"}
BODY = {**TUS, "Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def swift():
    return LargeSwift()


@pytest.fixture
def chosen(chosen):
    uploads = Uploads(part_bytes=100, max_bytes=100_000, idle_seconds=0.3, lease_seconds=2, open_per_project=20)
    return chosen.model_copy(update={"uploads": uploads})


@pytest.fixture
def state(mongo):
    """The document of an upload."""
    return lambda place: mongo["upload"]["file_upload"].find_one({"id": place.rpartition("/")[2]})


def pairs(**given):
    return ",".join(f"{key} {base64.b64encode(str(value).encode()).decode()}" for key, value in given.items())


def digest(algorithm, data):
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


@pytest.fixture
def begin(api):
    """begin(length, container='rooms', body=None, headers) -> the answer."""

    def _begin(length=1000, container="rooms", body=None, **headers):
        given = {**(BODY if body is not None else TUS), **{k.replace("_", "-"): v for k, v in headers.items()}}
        if length is not None:
            given.setdefault("Upload-Length", str(length))
        return api.post(f"/api/v1/containers/{container}/uploads", content=body, headers=given)

    return _begin


@pytest.fixture
def send(api):
    def _send(place, offset, body, **headers):
        given = {**BODY, "Upload-Offset": str(offset), **{k.replace("_", "-"): v for k, v in headers.items()}}
        return api.patch(place, content=body, headers=given)

    return _send


def parts_of(swift):
    return {path: one for path, one in swift.objects.items() if "/.segments-" in path}


def stored(swift, container="rooms", object_id="1"):
    return swift.content(swift.objects[f"/v1/AUTH_p1/{container}/{object_id}"])


def test_whole_life(api, begin, send, swift, documents, state):
    fields = json.dumps({"application": "comfort", "other_data": {"campaign": "été"}})
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    answer = begin(Upload_Metadata=pairs(filename="été.csv", metadata=fields, sha256=sha256))
    assert answer.status_code == 201 and answer.headers["tus-resumable"] == "1.0.0"
    assert answer.headers["upload-offset"] == "0" and answer.headers["upload-expires"].endswith("GMT")
    place = answer.headers["location"]
    assert documents("rooms") == []
    answer = send(place, 0, CONTENT[:250])
    assert answer.status_code == 204 and answer.headers["upload-offset"] == "250"
    head = api.head(place, headers=TUS)
    assert head.headers["upload-offset"] == "250" and head.headers["upload-length"] == "1000"
    assert head.headers["cache-control"] == "no-store" and "filename " in head.headers["upload-metadata"]
    assert api.get(place).json()["status"] == "receiving"
    answer = send(place, 250, CONTENT[250:])
    assert answer.headers["upload-object"] == "1" and answer.headers["upload-offset"] == "1000"
    assert '</api/v1/containers/rooms/objects/1>; rel="related"' == answer.headers["link"]
    assert stored(swift) == CONTENT
    [document] = documents("rooms")
    assert document["status"] == "stored" and document["size"] == 1000 and document["application"] == "comfort"
    assert document["original_object_name"] == "été.csv" and document["content_type"] == "text/csv"
    assert document["etag"] == swift.objects["/v1/AUTH_p1/rooms/1"]["etag"]
    assert document["checksums"] == {"sha256": sha256} and document["upload"] == state(place)["id"]
    shown = api.get(place).json()
    assert shown["status"] == "done" and shown["object_id"] == "1" and "parts" not in shown and "lock" not in shown
    assert api.get(f"/api/v1/uploads/{shown['id']}").json() == shown
    assert api.get("/api/v1/containers").json()["items"] == ["rooms"]
    headers = swift.containers["/v1/AUTH_p1/.segments-rooms"]
    assert "x-webhook" not in headers and headers["x-container-write"] == "service:u1"


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 1000])
def test_creation_with_upload(begin, swift, size, documents):
    answer = begin(size, body=CONTENT[:size])
    assert answer.status_code == 201 and answer.headers["upload-object"] == "1", answer.text
    assert stored(swift) == CONTENT[:size] and [one["size"] for one in documents("rooms")] == [size]


def test_creation_with_a_part_of_it(begin, send, swift):
    answer = begin(body=CONTENT[:130])
    assert answer.headers["upload-offset"] == "130"
    assert send(answer.headers["location"], 130, CONTENT[130:]).status_code == 204
    assert stored(swift) == CONTENT


def test_options(api):
    answer = api.options("/api/v1/containers/rooms/uploads")
    assert answer.status_code == 204 and answer.headers["tus-version"] == "1.0.0"
    assert set(answer.headers["tus-extension"].split(",")) == set(tus.EXTENSIONS.split(","))
    assert answer.headers["tus-max-size"] == "100000"
    assert answer.headers["tus-checksum-algorithm"] == "sha256,sha1,md5"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 400), max_size=12), st.booleans())
def test_random_cuts_give_equal_bytes(begin, send, swift, cuts, with_checksum):
    place = begin(Upload_Metadata=pairs(md5=hashlib.md5(CONTENT).hexdigest())).headers["location"]
    offset = 0
    for cut in [*cuts, len(CONTENT)]:
        piece = CONTENT[offset : offset + cut]
        more = {"Upload_Checksum": digest("sha1", piece)} if with_checksum else {}
        answer = send(place, offset, piece, **more)
        assert answer.status_code == 204, answer.text
        offset = int(answer.headers["upload-offset"])
        if offset == len(CONTENT):
            break
    assert stored(swift, object_id=answer.headers["upload-object"]) == CONTENT


@pytest.mark.parametrize("failure", [503, httpx.ReadError("gone"), httpx.WriteError("gone")])
def test_proxy_that_dies_loses_one_part(begin, send, error_of, swift, state, failure):
    place = begin().headers["location"]
    assert send(place, 0, CONTENT[:150]).status_code == 204
    original = swift._put_object
    calls = []

    async def third(request, path, asked):
        calls.append(path)
        if len(calls) == 3:
            swift.failures = [(failure, 30)]
        return await original(request, path, asked)

    swift._put_object = third
    error_of(send(place, 150, CONTENT[150:]), 503, "service_unavailable")
    assert state(place)["offset"] == 350 and state(place)["lock"] is None
    answer = send(place, 350, CONTENT[350:])
    assert answer.status_code == 204 and stored(swift) == CONTENT


def run(chosen, connect, messages, place, offset, **headers):
    """A PATCH whose body comes as `messages`."""
    sent = []

    async def go():
        app = create_app(chosen, connect)
        coming = list(messages)

        async def receive():
            if not coming:
                await anyio.sleep_forever()
            return coming.pop(0)

        async def send(message):
            sent.append(message)

        given = {
            **BODY,
            "Upload-Offset": str(offset),
            "X-Auth-Token": "good",
            "Transfer-Encoding": "chunked",
            **headers,
        }
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "PATCH",
            "scheme": "https",
            "query_string": b"",
            "root_path": "",
            "path": place,
            "raw_path": place.encode(),
            "headers": [(key.lower().encode(), value.encode()) for key, value in given.items()],
        }
        async with app.app.router.lifespan_context(app.app):
            await app(scope, receive, send)

    anyio.run(go)
    return sent[0]["status"]


@pytest.mark.parametrize("end", [[{"type": "http.disconnect"}], []])
def test_client_that_goes_away_or_silent_keeps_what_came(begin, send, swift, state, chosen, connect, end):
    place = begin().headers["location"]
    messages = [{"type": "http.request", "body": CONTENT[:170], "more_body": True}, *end]
    assert run(chosen, connect, messages, place, 0) == 400
    assert state(place)["offset"] == 170 and state(place)["lock"] is None
    assert send(place, 170, CONTENT[170:]).status_code == 204 and stored(swift) == CONTENT


def test_broken_body_with_a_checksum_is_dropped(begin, send, swift, state, chosen, connect):
    place = begin().headers["location"]
    messages = [{"type": "http.request", "body": CONTENT[:170], "more_body": True}, {"type": "http.disconnect"}]
    assert run(chosen, connect, messages, place, 0, **{"Upload-Checksum": digest("sha1", CONTENT)}) == 400
    assert state(place)["offset"] == 0 and parts_of(swift) == {}


@pytest.mark.parametrize("algorithm", ["sha1", "md5", "sha256"])
def test_checksum_of_a_body(begin, send, error_of, swift, state, algorithm):
    place = begin().headers["location"]
    wrong = send(place, 0, CONTENT[:350], Upload_Checksum=digest(algorithm, b"other"))
    assert "dropped" in error_of(wrong, 460, "checksum_mismatch") and wrong.headers["tus-resumable"] == "1.0.0"
    assert state(place)["offset"] == 0 and parts_of(swift) == {}
    assert send(place, 0, CONTENT[:350], Upload_Checksum=digest(algorithm, CONTENT[:350])).status_code == 204
    answer = send(place, 350, CONTENT[350:], Upload_Checksum=digest(algorithm, CONTENT[350:]))
    assert answer.headers["upload-object"] == "1" and stored(swift) == CONTENT


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_checksum_of_the_whole(api, begin, send, error_of, swift, documents, algorithm):
    other = hashlib.new(algorithm, b"other").hexdigest()
    place = begin(body=CONTENT[:300], Upload_Metadata=pairs(**{algorithm: other})).headers["location"]
    assert algorithm in error_of(send(place, 300, CONTENT[300:]), 460, "checksum_mismatch")
    assert swift.objects == {} and documents("rooms") == []
    shown = api.get(place).json()
    assert shown["status"] == "failed" and algorithm in shown["error"]
    assert api.head(place, headers=TUS).status_code == 410
    error_of(send(place, 1000, b""), 410, "gone")


def test_checksum_of_the_whole_without_running_ones(begin, send, api, swift, documents, monkeypatch):
    monkeypatch.setattr(running_hash, "available", lambda: False)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    place = begin(Upload_Metadata=pairs(sha256=sha256)).headers["location"]
    assert send(place, 0, CONTENT).headers["upload-object"] == "1"
    assert documents("rooms")[0]["checksums"] == {"sha256": sha256}


def test_two_writers(begin, send, error_of, mongo, state):
    place = begin().headers["location"]
    uploads = mongo["upload"]["file_upload"]
    uploads.update_one({}, {"$set": {"lock": {"token": "other", "until": utc() + timedelta(seconds=60)}}})
    answer = send(place, 0, CONTENT)
    error_of(answer, 423, "locked")
    assert answer.headers["retry-after"] == "1"
    uploads.update_one({}, {"$set": {"lock.until": utc() - timedelta(seconds=1)}})
    assert send(place, 0, CONTENT).status_code == 204


def test_writer_whose_lock_has_gone_writes_nothing_down(begin, send, error_of, mongo, swift, state):
    place = begin().headers["location"]
    original = swift._put_object

    async def steal(request, path, asked):
        mongo["upload"]["file_upload"].update_one({}, {"$set": {"lock.token": "another"}})
        return await original(request, path, asked)

    swift._put_object = steal
    error_of(send(place, 0, CONTENT), 423, "locked")
    assert state(place)["offset"] == 0 and state(place)["parts"] == [] and parts_of(swift) == {}


@pytest.mark.parametrize("done", [True, False])
def test_mongodb_that_does_not_answer_costs_no_byte_that_counts(begin, send, error_of, swift, state, monkeypatch, done):
    place = begin().headers["location"]
    original = UploadStore.commit
    calls = []

    def commit(self, *given, **fields):
        calls.append(given)
        if len(calls) == 3:
            if done:
                original(self, *given, **fields)
            raise AutoReconnect("the primary is gone")
        return original(self, *given, **fields)

    monkeypatch.setattr(UploadStore, "commit", commit)
    error_of(send(place, 0, CONTENT), 503, "service_unavailable")
    offset = 300 if done else 200
    assert state(place)["offset"] == offset
    assert send(place, offset, CONTENT[offset:]).headers["upload-object"] == "1" and stored(swift) == CONTENT


def test_wrong_offset(begin, send, error_of):
    place = begin(body=CONTENT[:10]).headers["location"]
    answer = send(place, 0, CONTENT)
    assert "offset 10" in error_of(answer, 409, "conflict") and answer.headers["upload-offset"] == "10"


def test_too_long(begin, send, error_of, state, chosen, connect):
    place = begin(500).headers["location"]
    error_of(send(place, 0, CONTENT), 413, "too_large")
    assert state(place)["offset"] == 0
    messages = [{"type": "http.request", "body": CONTENT, "more_body": False}]
    assert run(chosen, connect, messages, place, 0) == 413
    assert state(place)["offset"] == 500 and state(place)["status"] == "receiving"
    error_of(begin(100_001), 413, "too_large")


def test_whole_after_too_much(begin, send, state, chosen, connect, swift):
    """What belonged to it is there; an empty request makes the object."""
    place = begin(500).headers["location"]
    run(chosen, connect, [{"type": "http.request", "body": CONTENT, "more_body": False}], place, 0)
    assert send(place, 500, b"").headers["upload-object"] == "1" and stored(swift) == CONTENT[:500]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Tus-Resumable": "0.2.2"}, 412, "precondition_failed"),
        ({"Upload-Length": "-1"}, 400, "invalid_header"),
        ({"Upload-Length": "1e3"}, 400, "invalid_header"),
        ({"Upload-Metadata": "filename %%"}, 400, "invalid_metadata"),
        ({"Upload-Metadata": "filename YQ==,filename YQ=="}, 400, "invalid_metadata"),
        ({"Upload-Metadata": pairs(metadata="[1]")}, 400, "invalid_metadata"),
        ({"Upload-Metadata": pairs(metadata="{")}, 400, "invalid_metadata"),
        ({"Upload-Metadata": pairs(metadata='{"size": 1}')}, 400, "invalid_document"),
        ({"Upload-Metadata": pairs(metadata='{"swift_container": "other"}')}, 400, "invalid_document"),
        ({"Upload-Metadata": pairs(sha256="12")}, 400, "invalid_metadata"),
        ({"Upload-Metadata": pairs(filename="n" * 1100)}, 400, "invalid_document"),
        ({"Upload-Checksum": "crc32 aaaa"}, 400, "unsupported_checksum"),
        ({"Upload-Checksum": "sha1 aaaa"}, 400, "invalid_header"),
        ({"Upload-Concat": "partially"}, 400, "invalid_header"),
        ({"Upload-Concat": "final;/api/v1/containers/other/uploads/" + "a" * 32}, 400, "invalid_header"),
        ({"Upload-Concat": "final;/api/v1/containers/rooms/uploads/" + "a" * 32}, 400, "invalid_concat"),
        ({"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
    ],
)
def test_bad_beginnings(begin, error_of, mongo, headers, status, code):
    answer = begin(5, body=b"x" if "Content-Type" in headers else None, **headers)
    error_of(answer, status, code)
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert mongo["upload"]["file_upload"].count_documents({}) == 0


def test_bad_sendings(api, begin, error_of):
    place = begin().headers["location"]
    error_of(api.patch(place, content=b"x", headers={**TUS, "Upload-Offset": "0"}), 415)
    error_of(api.patch(place, content=b"x", headers=BODY), 400, "invalid_header")
    error_of(api.patch(place, content=b"x", headers={"Upload-Offset": "0"}), 412)
    error_of(api.patch("/api/v1/containers/rooms/uploads/x", content=b"x", headers=BODY), 400)
    assert api.head(place).status_code == 412


def test_walls(api, begin, send, error_of, keystone):
    place = begin().headers["location"]
    keystone.give("other", "p2")
    keystone.give("reader", roles=("reader",))
    for token, status in (("other", 404), ("none", 401)):
        api.headers["X-Auth-Token"] = token
        error_of(send(place, 0, CONTENT), status)
        error_of(api.get(place), status)
        error_of(api.delete(place, headers=TUS), status)
        assert api.head(place, headers=TUS).status_code == status
    api.headers["X-Auth-Token"] = "other"
    assert api.get("/api/v1/uploads").json() == {"items": [], "next": None}
    assert api.get("/api/v1/containers/rooms/uploads").status_code == 404
    answer = begin(None, Upload_Concat=f"final;{place}")
    error_of(answer, 400, "invalid_concat")
    api.headers["X-Auth-Token"] = "reader"
    error_of(begin(), 403)
    error_of(send(place, 0, CONTENT), 403)
    assert api.get(place).status_code == 200 and api.head(place, headers=TUS).status_code == 200
    api.headers["X-Auth-Token"] = "good"
    error_of(api.get(place.replace("rooms", "others")), 404)


def test_list(api, begin, send):
    places = [begin().headers["location"] for _ in range(5)]
    send(places[2], 0, CONTENT)
    first = api.get("/api/v1/uploads?limit=3").json()
    second = api.get("/api/v1/uploads", params={"limit": 3, "cursor": first["next"]}).json()
    assert sorted(one["url"] for one in first["items"] + second["items"]) == sorted(places) and second["next"] is None
    [done] = api.get("/api/v1/uploads?status=done").json()["items"]
    assert done["url"] == places[2]
    assert len(api.get("/api/v1/containers/rooms/uploads?status=created").json()["items"]) == 4
    assert api.get("/api/v1/uploads?status=odd").status_code == 400


def test_too_many_open(begin, error_of):
    for _ in range(20):
        assert begin().status_code == 201
    error_of(begin(), 429, "too_many_uploads")


def test_termination(api, begin, send, error_of, swift):
    place = begin(body=CONTENT[:500]).headers["location"]
    assert len(parts_of(swift)) == 5
    assert api.delete(place, headers=TUS).status_code == 204
    assert parts_of(swift) == {} and api.get(place).json()["status"] == "terminated"
    assert api.head(place, headers=TUS).status_code == 410
    error_of(send(place, 500, CONTENT[500:]), 410, "gone")
    error_of(api.delete(place, headers=TUS), 410, "gone")
    done = begin(body=CONTENT).headers["location"]
    assert "delete that instead" in error_of(api.delete(done, headers=TUS), 409)


def test_method_override(api, begin, swift):
    place = begin().headers["location"]
    headers = {**BODY, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert api.post(place, content=CONTENT, headers=headers).status_code == 204
    assert stored(swift) == CONTENT
    place = begin().headers["location"]
    assert api.post(place, headers={**TUS, "X-HTTP-Method-Override": "DELETE"}).status_code == 204
    assert api.post(place, headers=TUS).status_code == 405


def in_parts(begin, send, contents):
    places = []
    for content in contents:
        place = begin(len(content), Upload_Concat="partial").headers["location"]
        assert send(place, 0, content).status_code == 204
        places.append(place)
    return places


def settled(api, place):
    for _ in range(200):
        shown = api.get(place).json()
        if shown["status"] != "assembling":
            return shown
    raise AssertionError(shown)


@pytest.mark.parametrize("checksum", [None, "right", "wrong"])
def test_concatenation(api, begin, send, error_of, swift, documents, checksum):
    places = in_parts(begin, send, [CONTENT[:333], CONTENT[333:334], CONTENT[334:]])
    assert api.get(places[0]).json()["status"] == "received"
    assert api.head(places[0], headers=TUS).headers["upload-concat"] == "partial"
    of = {"right": CONTENT, "wrong": b"x"}.get(checksum)
    given = {"sha256": hashlib.sha256(of).hexdigest()} if of else {}
    answer = begin(None, Upload_Concat="final;" + " ".join(places), Upload_Metadata=pairs(filename="a.csv", **given))
    assert answer.status_code == 201, answer.text
    final = answer.headers["location"]
    shown = settled(api, final)
    if checksum == "wrong":
        assert shown["status"] == "failed" and "sha256" in shown["error"] and swift.objects == {}
        return
    assert shown["status"] == "done" and stored(swift) == CONTENT and shown["length"] == 1000
    assert api.head(final, headers=TUS).headers["upload-concat"] == "final;" + " ".join(places)
    [document] = documents("rooms")
    assert document["original_object_name"] == "a.csv" and document["checksums"] == given
    assert api.get(places[1]).json()["status"] == "done"
    error_of(begin(None, Upload_Concat=f"final;{places[0]}"), 400, "invalid_concat")
    error_of(send(final, 1000, b"x"), 409, "conflict")
    error_of(api.delete(places[0], headers=TUS), 409)


def test_concatenation_of_what_is_not_whole(begin, send, error_of, state):
    place = begin(10, Upload_Concat="partial").headers["location"]
    whole = in_parts(begin, send, [CONTENT])[0]
    error_of(begin(None, Upload_Concat=f"final;{whole} {place}"), 400, "invalid_concat")
    assert state(whole)["joined"] is None
    assert begin(None, Upload_Concat=f"final;{whole}").status_code == 201


def test_many_segments_get_manifests_between(begin, swift, monkeypatch):
    monkeypatch.setattr(segments, "ENTRIES", 3)
    swift.most_entries = 3
    assert begin(body=CONTENT).headers["upload-object"] == "1"
    assert stored(swift) == CONTENT
    assert sum("manifest-" in path for path in swift.objects) == 6


def test_swift_away_at_the_end_is_gone_on_with(api, begin, send, error_of, swift, documents, monkeypatch):
    place = begin().headers["location"]
    original = segments.Segments.join

    async def away(*_, **__):
        raise segments.SwiftAway()

    monkeypatch.setattr(segments.Segments, "join", away)
    error_of(send(place, 0, CONTENT), 503)
    head = api.head(place, headers=TUS)
    assert api.get(place).json()["error"]
    assert head.headers["upload-status"] == "assembling" and head.headers["upload-offset"] == "1000"
    monkeypatch.setattr(segments.Segments, "join", original)
    assert settled(api, place)["object_id"] == "1"
    assert stored(swift) == CONTENT and [one["status"] for one in documents("rooms")] == ["stored"]


def test_manifest_whose_answer_is_lost_is_not_put_twice(begin, swift, documents):
    swift.lost_answers = 1
    assert begin(body=CONTENT).headers["upload-object"] == "1"
    assert [one["status"] for one in documents("rooms")] == ["stored"]


def test_object_of_a_plain_client_is_left(begin, swift, documents):
    assert begin(body=b"1", length=1).status_code == 201
    swift.objects["/v1/AUTH_p1/rooms/2"] = {"body": b"theirs", "etag": "e", "type": "x/y"}
    assert begin(body=CONTENT).headers["upload-object"] == "3"
    assert stored(swift, object_id="2") == b"theirs" and stored(swift, object_id="3") == CONTENT
    assert {one["swift_object_id"] for one in documents("rooms")} == {"1", "3"}


def test_removed_container_of_segments_is_made_again(begin, send, error_of, swift):
    place = begin().headers["location"]
    del swift.containers["/v1/AUTH_p1/.segments-rooms"]
    error_of(send(place, 0, CONTENT), 409, "container_removed")
    assert send(place, 0, CONTENT).headers["upload-object"] == "1"


def background(api, name):
    """What the worker does, with the lake of a running API."""
    lake = api.app.app.state.lake
    return api.portal.call(getattr(lake.large, name))


def test_expiry(api, begin, send, error_of, swift, mongo, state):
    place = begin(body=CONTENT[:500]).headers["location"]
    assert background(api, "expire") == 0
    mongo["upload"]["file_upload"].update_one({}, {"$set": {"expires": utc() - timedelta(seconds=1)}})
    swift.tokens.clear()
    assert background(api, "expire") == 1
    assert parts_of(swift) == {} and state(place)["status"] == "expired"
    assert set(swift.tokens.values()) == {"own-token"}
    error_of(send(place, 500, CONTENT[500:]), 410, "gone")


@pytest.mark.parametrize("status", ["stored", "pending", "lost"])
def test_segments_of_what_may_be_an_object_stay(api, begin, send, error_of, swift, mongo, state, status):
    """The API was killed after the manifest was put, and nobody asked for the upload again."""
    place = begin(body=CONTENT).headers["location"]
    past = {"status": "assembling", "expires": utc() - timedelta(seconds=1)}
    mongo["upload"]["file_upload"].update_one({}, {"$set": past})
    mongo["swift"]["rooms"].update_one({}, {"$set": {"status": status}})
    if status != "lost":
        error_of(api.delete(place, headers=TUS), 409)
    background(api, "expire")
    expected = {"stored": "done", "pending": "assembling", "lost": "expired"}[status]
    assert state(place)["status"] == expected and state(place)["lock"] is None
    assert len(parts_of(swift)) == (0 if status == "lost" else 10)


def test_sweep_takes_what_belongs_to_nothing(api, begin, swift, mongo, state):
    place = begin(body=CONTENT).headers["location"]
    gone = begin(body=CONTENT[:10]).headers["location"]
    api.delete(gone, headers=TUS)
    for one in (place, gone):
        path = f"/v1/AUTH_p1/.segments-rooms/{state(one)['id']}/000003-late"
        swift.objects[path] = {"body": b"", "etag": "", "type": "x/y"}
    assert background(api, "sweep") == 0
    mongo["upload"]["file_upload"].update_many({}, {"$set": {"updated": utc() - timedelta(hours=2)}})
    assert background(api, "sweep") == 2
    assert stored(swift) == CONTENT and len(parts_of(swift)) == 10
    assert background(api, "sweep") == 0


@pytest.mark.parametrize("joined", [False, True])
def test_delete_of_a_large_object_takes_its_segments(api, begin, send, swift, joined):
    if joined:
        places = in_parts(begin, send, [CONTENT[:300], CONTENT[300:]])
        settled(api, begin(None, Upload_Concat="final;" + " ".join(places)).headers["location"])
    else:
        begin(body=CONTENT)
    begin(body=CONTENT)
    lake = api.app.app.state.lake
    identity = api.portal.call(lake.tokens.identity, "good")
    api.portal.call(lake.large.delete_object, identity, "rooms", "1", "1")
    assert "/v1/AUTH_p1/rooms/1" not in swift.objects
    assert stored(swift, object_id="2") == CONTENT and len(parts_of(swift)) == 10
    api.portal.call(lake.large.delete_object, identity, "rooms", "1", "1")


def test_delete_of_others(api, begin, swift):
    begin(body=b"1", length=1)
    swift.objects["/v1/AUTH_p1/rooms/seg"] = {"body": b"x", "etag": "e", "type": "x/y"}
    swift.objects["/v1/AUTH_p1/rooms/foreign"] = {"parts": ["/v1/AUTH_p1/rooms/seg"], "etag": "e", "type": "x/y"}
    swift.objects["/v1/AUTH_p1/rooms/plain"] = {"body": b"x", "etag": "e", "type": "x/y"}
    lake = api.app.app.state.lake
    identity = api.portal.call(lake.tokens.identity, "good")
    for name in ("foreign", "plain"):
        api.portal.call(lake.large.delete_object, identity, "rooms", name, "77")
    assert not {"/v1/AUTH_p1/rooms/seg", "/v1/AUTH_p1/rooms/foreign", "/v1/AUTH_p1/rooms/plain"} & set(swift.objects)


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_running_hash_over_kept_states(pieces):
    assert running_hash.available()
    for name in ("sha256", "md5"):
        state = None
        for piece in pieces:
            one = running_hash.RunningHash(name, state)
            one.update(piece)
            state = one.state()
        found = running_hash.RunningHash(name, state).hexdigest()
        assert found == hashlib.new(name, b"".join(pieces)).hexdigest()


@given(st.text(max_size=60))
def test_headers_are_understood_or_refused(text):
    for read in (tus.metadata, tus.checksum, lambda given: tus.concat(given, "/x/")):
        try:
            read(text)
        except ApiError as error:
            assert error.status == 400


@given(st.dictionaries(st.from_regex(r"[!-+\--~]{1,8}", fullmatch=True), st.binary(max_size=30), max_size=5))
def test_metadata_as_clients_send_it(given):
    header = ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in given.items())
    assert tus.metadata(header) == given
