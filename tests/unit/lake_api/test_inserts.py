# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Inserting: order of steps, forms, what is left behind when a step fails."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import anyio
import httpx
import pytest
from lake_api.app import create_app

CSV = b"a,b\n1,2\n"


def test_insert(insert, swift, documents, mongo):
    answer = insert("rooms", "été.csv", CSV, {"application": "comfort", "other_data": {"campaign": "été"}})
    assert answer.status_code == 201
    document = answer.json()
    assert document["original_object_name"] == "été.csv"
    assert document["swift_object_id"] == "1"
    assert document["content_type"] == "text/csv"
    assert document["other_data"] == {"campaign": "été"}
    assert document["status"] == "stored" and document["size"] == len(CSV)
    assert document["etag"] == hashlib.md5(CSV, usedforsecurity=False).hexdigest()
    assert document["swift_user"] == "ada" and document["creation_date"].endswith("Z")
    assert answer.headers["location"] == "/api/v1/containers/rooms/objects/1"
    assert swift.objects["/v1/AUTH_p1/rooms/1"] == {"body": CSV, "type": "text/csv", "chunked": False}
    assert swift.containers["/v1/AUTH_p1/rooms"]["x-webhook"] == "on"
    [stored] = documents("rooms")
    assert stored["status"] == "stored" and stored["swift_project"] == "p1"
    assert all(headers["x-auth-token"] == "good" for headers in swift.headers)


def test_document_is_there_before_the_object(insert, swift, documents):
    seen = []

    async def look(request):
        if request.method == "PUT" and request.url.path.count("/") == 4:
            seen.extend(documents("rooms"))
        return await original(request)

    original = swift.__class__.__call__.__get__(swift)
    swift.__class__ = type("Looking", (swift.__class__,), {"__call__": lambda self, request: look(request)})
    assert insert("rooms", "a.csv", CSV).status_code == 201
    assert [document["status"] for document in seen] == ["pending"]


def test_container_is_made_once(insert, swift):
    for _ in range(3):
        assert insert("rooms", "a", CSV).status_code == 201
    assert [verb for verb, _, path in swift.requests if path == "/v1/AUTH_p1/rooms"] == ["PUT"]


@pytest.mark.parametrize("file_first", [False, True])
@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 9000])
def test_sizes_and_order_of_parts(insert, swift, size, file_first):
    content = bytes(i % 251 for i in range(size))
    answer = insert("rooms", "blob", content, {"application": "x"}, file_first=file_first)
    assert answer.status_code == 201, answer.text
    assert answer.json()["application"] == "x" and answer.json()["size"] == size
    stored = swift.objects[f"/v1/AUTH_p1/rooms/{answer.json()['swift_object_id']}"]
    assert stored["body"] == content
    assert stored["chunked"] == (size > 1000 and not file_first)  # only then it streams


def test_metadata_decides_type_and_name(insert, swift):
    answer = insert("rooms", "a.bin", CSV, {"content_type": "text/x-mine", "original_object_name": "b"}, "text/plain")
    assert (answer.json()["content_type"], answer.json()["original_object_name"]) == ("text/x-mine", "b")
    assert swift.objects["/v1/AUTH_p1/rooms/1"]["type"] == "text/x-mine"


@pytest.mark.parametrize(
    ("name", "content", "kind", "detected"),
    [
        ("a.json", b"[1]", None, "application/json"),
        ("a.json", b"[1]", "application/octet-stream", "application/json"),
        ("a.json", b"[1]", "text/x-mine", "text/x-mine"),
        ("a.json", b"[1]", "nonsense", "application/json"),
    ],
)
def test_content_type(insert, name, content, kind, detected):
    assert insert("rooms", name, content, kind=kind).json()["content_type"] == detected


@pytest.mark.parametrize(
    ("name", "kept"), [("C:\\\\dir\\\\a.csv", "a.csv"), ("../../a.csv", "a.csv"), ("a%22b.csv", 'a"b.csv')]
)
def test_file_names(insert, name, kept):
    assert insert("rooms", name, CSV).json()["original_object_name"] == kept


def test_file_without_name_is_called_by_its_id(api, body_of):
    answer = api.post("/api/v1/containers/rooms/objects", **body_of(("file", None, CSV, None)))
    assert answer.json()["original_object_name"] == answer.json()["swift_object_id"]


def nothing_left(swift, documents, store="rooms"):
    assert swift.objects == {}
    assert documents(store) == []


@pytest.mark.parametrize(
    ("parts", "code", "says"),
    [
        ([("metadata", None, "{}", None)], "missing_file", "file=@"),
        ([], "missing_file", "file=@"),
        ([("metadata", None, "{'a': 1}", None), ("file", "a", CSV, None)], "invalid_metadata", "not JSON"),
        ([("metadata", None, "[1]", None), ("file", "a", CSV, None)], "invalid_metadata", "no object"),
        ([("metadata", None, '{"other_data": {"x": NaN}}', None), ("file", "a", CSV, None)], "invalid_metadata", "NaN"),
        ([("metadata", None, b"\xff", None), ("file", "a", CSV, None)], "invalid_metadata", "not JSON"),
        ([("metadata", None, "[" * 100_000, None), ("file", "a", CSV, None)], "invalid_metadata", "not JSON"),
        (
            [("metadata", None, '{"swift_object_id": "9"}', None), ("file", "a", CSV, None)],
            "invalid_document",
            "swift_object_id",
        ),
        ([("file", "a", CSV, None), ("metadata", None, '{"size": 9}', None)], "invalid_document", "what can be is"),
        (
            [("metadata", None, '{"swift_container": "other"}', None), ("file", "a", CSV, None)],
            "invalid_document",
            "other",
        ),
        ([("metadata", None, "{}", None)] * 2 + [("file", "a", CSV, None)], "invalid_form", "two parts 'metadata'"),
        ([("file", "a", CSV, None)] * 2, "invalid_form", "one request for each file"),
        ([("fiel", "a", CSV, None)], "invalid_form", "'fiel'"),
        (
            [("metadata", None, "{}", None), ("file", "a", b"x" * 5000, None), ("more", None, "x", None)],
            "invalid_form",
            "'more'",
        ),
        ([("file", "n" * 1100, CSV, None)], "invalid_document", "original_object_name"),
    ],
)
def test_bad_forms_say_what_to_do_and_leave_nothing(api, body_of, error_of, swift, documents, parts, code, says):
    assert says in error_of(api.post("/api/v1/containers/rooms/objects", **body_of(*parts)), 400, code)
    nothing_left(swift, documents)


def test_body_that_is_no_form(api, error_of):
    answer = api.post("/api/v1/containers/rooms/objects", json={"a": 1})
    assert "multipart/form-data" in error_of(answer, 415, "unsupported_media_type")
    kind = {"Content-Type": "multipart/form-data"}
    error_of(api.post("/api/v1/containers/rooms/objects", content=b"x", headers=kind), 400, "invalid_form")
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    error_of(api.post("/api/v1/containers/rooms/objects", content=b"what is this", headers=kind), 400, "invalid_form")


@pytest.mark.parametrize("size", [100, 5000])
@pytest.mark.parametrize("file_first", [False, True])
def test_form_that_is_cut_off_leaves_nothing(api, body_of, error_of, swift, documents, size, file_first):
    parts = [("metadata", None, "{}", None), ("file", "a", b"x" * size, None)]
    sent = body_of(*(reversed(parts) if file_first else parts))
    sent["content"] = sent["content"][:-30] if not file_first else sent["content"][: size + 50]
    error_of(api.post("/api/v1/containers/rooms/objects", **sent), 400, "incomplete_body")
    nothing_left(swift, documents)


@pytest.mark.parametrize("name", ["_internal", ".x", "a%24b", "%20a", "a%00b", "x" * 201])
def test_bad_container_name(api, body_of, error_of, name):
    sent = body_of(("file", "a", CSV, None))
    assert "name" in error_of(api.post(f"/api/v1/containers/{name}/objects", **sent), 400, "invalid_name")
    error_of(api.get(f"/api/v1/containers/{name}/objects"), 400, "invalid_name")


@pytest.mark.parametrize(("size", "file_first"), [(10_500, True), (20_500, False)])
def test_too_large(insert, error_of, swift, documents, size, file_first):
    message = error_of(insert("rooms", "a", b"x" * size, {}, file_first=file_first), 413, "too_large")
    assert ("before the part 'file'" in message) == file_first
    nothing_left(swift, documents)


@pytest.mark.parametrize(
    ("swift_says", "status", "code"),
    [
        (401, 401, "unauthorized"),
        (403, 403, "forbidden"),
        (404, 409, "container_removed"),
        (413, 413, "too_large"),
        (422, 400, "checksum_mismatch"),
        (429, 429, "too_many_requests"),
        (507, 507, "insufficient_storage"),
        (400, 400, "invalid_request"),
    ],
)
def test_what_swift_refuses_leaves_no_document(insert, error_of, swift, documents, swift_says, status, code):
    swift.answers = [swift_says] * 2
    error_of(insert("rooms", "a", CSV), status, code)
    nothing_left(swift, documents)


def test_token_that_swift_refuses_is_asked_for_again(insert, swift, keystone):
    assert insert("rooms", "a", CSV).status_code == 201
    swift.answers = [401]
    assert insert("rooms", "a", CSV).status_code == 401
    assert insert("rooms", "a", CSV).status_code == 201
    assert keystone.asked == ["good", "good"]


@pytest.mark.parametrize("size", [10, 5000])
def test_swift_away_leaves_no_document(insert, error_of, swift, documents, size):
    assert insert("rooms", "a", CSV).status_code == 201
    swift.objects.clear()
    swift.away = {"one.test", "two.test"}
    assert "Swift" in error_of(insert("rooms", "a", b"x" * size, {}), 503, "service_unavailable")
    assert [document["swift_object_id"] for document in documents("rooms")] == ["1"]


@pytest.mark.parametrize("size", [10, 5000])
def test_next_proxy_takes_over_when_one_cannot_be_reached(insert, swift, size):
    swift.away = {"one.test"}
    for _ in range(4):
        assert insert("rooms", "a", b"x" * size, {}).status_code == 201


def test_proxy_that_breaks_off_a_small_put_is_followed_by_the_next(insert, swift, documents):
    swift.answers = [httpx.ReadError("gone")]
    assert insert("rooms", "a", CSV).status_code == 201
    assert [document["status"] for document in documents("rooms")] == ["stored"]
    assert "if-none-match" not in swift.headers[-1]  # what is there may be this very object


@pytest.mark.parametrize(
    "answers", [[503, 503], [httpx.ReadError("gone"), httpx.ReadError("gone")], [503, httpx.ReadTimeout("")]]
)
def test_uncertain_put_keeps_the_document_pending(insert, error_of, swift, documents, answers):
    swift.answers = answers
    error_of(insert("rooms", "a", CSV), 503, "service_unavailable")
    assert [document["status"] for document in documents("rooms")] == ["pending"]


def test_uncertain_stream_keeps_the_document_pending(insert, error_of, swift, documents):
    swift.answers = [503]
    error_of(insert("rooms", "a", b"x" * 5000, {}), 503, "service_unavailable")
    assert [document["status"] for document in documents("rooms")] == ["pending"]


def test_object_of_a_plain_client_is_not_overwritten(insert, swift):
    assert insert("rooms", "a", CSV).status_code == 201
    swift.objects["/v1/AUTH_p1/rooms/2"] = {"body": b"theirs"}
    answer = insert("rooms", "a", CSV)
    assert answer.json()["swift_object_id"] == "3"
    assert swift.objects["/v1/AUTH_p1/rooms/2"] == {"body": b"theirs"}


def test_id_that_is_known_already_is_passed_over(insert, mongo):
    mongo["swift"]["rooms"].insert_one({"_id": 1, "swift_object_id": "1", "swift_object_name": "1"})
    assert insert("rooms", "a", CSV).json()["swift_object_id"] == "2"


def test_stored_object_whose_document_cannot_be_marked_is_a_success(insert, monkeypatch, documents):
    from neocampus_lake.errors import StoreError
    from neocampus_lake.metadata import MetadataStore

    def away(*_, **__):
        raise StoreError("MongoDB is away")

    monkeypatch.setattr(MetadataStore, "mark_stored_many", away)
    answer = insert("rooms", "a", CSV)
    assert answer.status_code == 201 and answer.json()["status"] == "pending"
    assert [document["status"] for document in documents("rooms")] == ["pending"]


def test_inserts_at_the_same_time_share_writes(insert, monkeypatch, documents, swift):
    from neocampus_lake.metadata import MetadataStore

    writes = Counter()

    def slow(name, method):
        def counted(self, store, *given):
            writes[name, store] += 1
            time.sleep(0.2)
            return method(self, store, *given)

        return counted

    for room in ("a", "b"):
        assert insert(room, "first", CSV).status_code == 201
    for name in ("insert_many", "mark_stored_many"):
        monkeypatch.setattr(MetadataStore, name, slow(name, getattr(MetadataStore, name)))
    with ThreadPoolExecutor(12) as pool:
        contents = [b"%d" % number for number in range(12)]
        answers = list(pool.map(insert, ["a", "b"] * 6, map(str, range(12)), contents))
    assert [answer.status_code for answer in answers] == [201] * 12
    for answer, content, container in zip(answers, contents, ["a", "b"] * 6, strict=True):
        assert answer.json()["swift_container"] == container
        assert swift.objects[f"/v1/AUTH_p1/{container}/{answer.json()['swift_object_id']}"]["body"] == content
    for room in ("a", "b"):
        found = documents(room)
        assert len(found) == 7 and {document["status"] for document in found} == {"stored"}
    assert max(writes.values()) <= 4, writes


def test_mongodb_away(insert, error_of, monkeypatch, swift):
    from neocampus_lake.errors import StoreError
    from neocampus_lake.metadata import MetadataStore

    def away(*_, **__):
        raise StoreError("MongoDB is away")

    monkeypatch.setattr(MetadataStore, "reserve_ids", away)
    error_of(insert("rooms", "a", CSV), 503, "service_unavailable")
    assert swift.objects == {}


def test_client_that_goes_away_leaves_nothing(keystone, chosen, connect, swift, documents):
    """While the file streams to Swift, the connection closes."""

    async def run():
        app = create_app(chosen, connect)
        head = b'--m\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{}\r\n'
        head += b'--m\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 5000
        messages = [{"type": "http.request", "body": head, "more_body": True}, {"type": "http.disconnect"}]
        sent = []

        async def receive():
            return messages.pop(0)

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "scheme": "https",
            "query_string": b"",
            "root_path": "",
            "path": "/api/v1/containers/rooms/objects",
            "raw_path": b"/api/v1/containers/rooms/objects",
            "headers": [
                (b"x-auth-token", b"good"),
                (b"content-type", b"multipart/form-data; boundary=m"),
                (b"transfer-encoding", b"chunked"),
            ],
        }
        inner = app.app
        async with inner.router.lifespan_context(inner):
            await app(scope, receive, send)
        assert sent[0]["status"] == 400

    anyio.run(run)
    nothing_left(swift, documents)
