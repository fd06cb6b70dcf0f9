# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Inserting many files at once: blocks, what each file is answered with, what is left behind when something fails."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from lake_api.app import create_app
from neocampus_lake.errors import StoreError
from neocampus_lake.metadata import MetadataStore

BULK = "/api/v1/containers/rooms/objects/bulk"


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def path(object_id):
    return f"/v1/AUTH_p1/rooms/{object_id}"


def content(number, size=20):
    return (f"{number};" * (size // 2 + 1)).encode()[:size]


def parts(files, metadata=None):
    """The parts of a form with these (name, content)."""
    given = [] if metadata is None else [("metadata", None, json.dumps(metadata), "application/json")]
    return given + [("file", name, data, None) for name, data in files]


@pytest.fixture
def bulk(api, body_of):
    """bulk(files, metadata=None) -> answer."""
    return lambda files, metadata=None: api.post(BULK, **body_of(*parts(files, metadata)))


def left(documents):
    """Status by id of the documents that are there."""
    return {document["swift_object_id"]: document["status"] for document in documents("rooms")}


def test_many_files(bulk, swift, documents):
    files = [(f"{number}.csv", content(number)) for number in range(12)]
    answer = bulk(files, {"application": "comfort", "other_data": {"campaign": "été"}})
    assert answer.status_code == 201, answer.text
    assert set(answer.json()) == {"items", "error"} and answer.json()["error"] is None
    items = answer.json()["items"]
    assert [set(item) for item in items] == [{"status", "object"}] * 12
    assert {item["status"] for item in items} == {201}
    found = [item["object"] for item in items]
    assert [document["original_object_name"] for document in found] == [name for name, _ in files]
    assert [document["swift_object_id"] for document in found] == [str(number) for number in range(1, 13)]
    for document, (_, data) in zip(found, files, strict=True):
        assert document["status"] == "stored" and document["application"] == "comfort"
        assert (document["size"], document["etag"], document["content_type"]) == (len(data), md5(data), "text/csv")
        stored = swift.objects[path(document["swift_object_id"])]
        assert stored == {"body": data, "type": "text/csv", "chunked": False}
    assert set(left(documents).values()) == {"stored"}
    assert [verb for verb, _, where in swift.requests if where == "/v1/AUTH_p1/rooms"] == ["PUT"]


def test_a_block_costs_a_handful_of_calls(bulk, monkeypatch):
    calls = Counter()

    def counting(name, method):
        def counted(*args, **named):
            calls[name] += 1
            return method(*args, **named)

        return counted

    for name in ("reserve_ids", "insert_many", "mark_stored_many", "insert", "mark_stored", "abandon_many"):
        monkeypatch.setattr(MetadataStore, name, counting(name, getattr(MetadataStore, name)))
    assert bulk([(str(number), content(number)) for number in range(15)]).status_code == 201
    assert set(calls) == {"reserve_ids", "insert_many", "mark_stored_many"} and max(calls.values()) <= 3


def test_documents_are_there_before_the_objects(bulk, swift, documents):
    seen = []
    put = swift._object

    async def look(request, where):
        seen.append(left(documents)[where.rpartition("/")[2]])
        return await put(request, where)

    swift._object = look
    assert bulk([("a", b"1"), ("b", b"2")]).status_code == 201
    assert seen == ["pending", "pending"]


def test_metadata_in_the_order_of_the_files(bulk):
    given = [{"application": "x"}, {}, {"content_type": "text/x-mine", "original_object_name": "z"}]
    items = bulk([("a.csv", b"1"), ("b.csv", b"2"), ("c.csv", b"3")], given).json()["items"]
    found = [item["object"] for item in items]
    assert [document["application"] for document in found] == ["x", None, None]
    assert [document["content_type"] for document in found] == ["text/csv", "text/csv", "text/x-mine"]
    assert [document["original_object_name"] for document in found] == ["a.csv", "b.csv", "z"]


@hypothesis_settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.sampled_from([0, 1, 999, 1000, 1001, 2500, 9000]), min_size=1, max_size=14))
def test_every_file_is_what_it_was(bulk, swift, sizes):
    files = [(f"{number}.bin", content(number, size)) for number, size in enumerate(sizes)]
    swift.objects.clear()
    answer = bulk(files)
    assert answer.status_code == 201, answer.text
    found = [item["object"] for item in answer.json()["items"]]
    assert [document["original_object_name"] for document in found] == [name for name, _ in files]
    assert [swift.objects[path(document["swift_object_id"])]["body"] for document in found] == [
        data for _, data in files
    ]
    # A file that is too large to be held goes through as a stream.
    assert [swift.objects[path(document["swift_object_id"])]["chunked"] for document in found] == [
        size > 1000 for size in sizes
    ]
    assert [document["size"] for document in found] == sizes


def test_as_many_at_a_time_as_the_setting_says(bulk, swift):
    assert bulk([(str(number), content(number)) for number in range(20)]).status_code == 201
    assert swift.most_puts == 3


def refusals(answer):
    """Index → item, of those that are not stored."""
    assert answer.status_code == 207, answer.text
    return {index: item for index, item in enumerate(answer.json()["items"]) if item["status"] != 201}


@pytest.mark.parametrize(
    ("swift_says", "status", "code"), [(413, 413, "too_large"), (507, 507, "insufficient_storage")]
)
def test_a_file_that_swift_refuses_fails_alone(bulk, swift, documents, swift_says, status, code):
    swift.answers_to[path(2)] = swift_says
    refused = refusals(bulk([(f"{number}.csv", content(number)) for number in range(7)]))
    assert list(refused) == [1]
    assert refused[1]["status"] == status and refused[1]["name"] == "1.csv"
    assert set(refused[1]["error"]) == {"code", "message", "detail"} and refused[1]["error"]["code"] == code
    assert left(documents) == {str(number): "stored" for number in (1, 3, 4, 5, 6, 7)}


def test_a_stream_that_swift_refuses_fails_alone(bulk, swift, documents):
    swift.answers_to[path(2)] = 413
    refused = refusals(bulk([("a", b"1"), ("b", content(1, 5000)), ("c", b"3")]))
    assert list(refused) == [1]
    assert left(documents) == {"1": "stored", "3": "stored"}


def test_an_uncertain_put_keeps_its_document_pending(bulk, swift, documents):
    swift.answers_to[path(2)] = httpx.ReadError("gone")
    refused = refusals(bulk([("a", b"1"), ("b", b"2"), ("c", b"3")]))
    assert refused[1]["status"] == 503 and refused[1]["error"]["code"] == "service_unavailable"
    assert left(documents) == {"1": "stored", "2": "pending", "3": "stored"}


def test_swift_away(bulk, swift, documents):
    assert bulk([("a", b"1")]).status_code == 201
    swift.away = {"one.test", "two.test"}
    refused = refusals(bulk([(str(number), b"1") for number in range(7)]))
    assert {item["status"] for item in refused.values()} == {503} and len(refused) == 7
    assert left(documents) == {"1": "stored"}


def test_mongodb_away(bulk, monkeypatch, swift):
    def away(*_, **__):
        raise StoreError("MongoDB is away")

    monkeypatch.setattr(MetadataStore, "reserve_ids", away)
    refused = refusals(bulk([("a", b"1"), ("b", b"2")]))
    assert {item["error"]["code"] for item in refused.values()} == {"service_unavailable"} and len(refused) == 2
    assert swift.objects == {}


def test_stored_objects_whose_documents_cannot_be_marked_are_a_success(bulk, monkeypatch, documents):
    def away(*_, **__):
        raise StoreError("MongoDB is away")

    monkeypatch.setattr(MetadataStore, "mark_stored_many", away)
    answer = bulk([("a", b"1"), ("b", b"2")])
    assert answer.status_code == 201
    assert {item["object"]["status"] for item in answer.json()["items"]} == {"pending"}
    assert left(documents) == {"1": "pending", "2": "pending"}


def test_what_is_wrong_with_one_file_s_metadata(bulk, documents):
    given = [{}, {"size": 9}, {"swift_container": "other"}, 7, {}]
    refused = refusals(bulk([(str(number), b"1") for number in range(5)], given))
    codes = {index: (item["status"], item["error"]["code"]) for index, item in refused.items()}
    assert codes == {1: (400, "invalid_document"), 2: (400, "invalid_document"), 3: (400, "invalid_metadata")}
    assert "size" in refused[1]["error"]["message"]
    assert len(left(documents)) == 2


def test_a_large_file_with_wrong_metadata_is_passed_over(bulk, documents, swift):
    refused = refusals(bulk([("a", content(0, 5000)), ("b", b"2")], [{"size": 9}, {}]))
    assert list(refused) == [0] and refused[0]["name"] == "a"
    assert [entry["body"] for entry in swift.objects.values()] == [b"2"]


def test_a_file_over_the_limit(bulk, documents):
    refused = refusals(bulk([("a", b"1"), ("b", content(1, 20_500)), ("c", b"3")]))
    assert refused[1]["status"] == 413 and refused[1]["error"]["code"] == "too_large"
    assert sorted(left(documents).values()) == ["stored", "stored"]


def test_objects_of_a_plain_client_are_not_overwritten(bulk, swift, documents):
    assert bulk([("a", b"1")]).status_code == 201
    swift.objects[path(3)] = {"body": b"theirs"}
    answer = bulk([("b", b"2"), ("c", b"3"), ("d", b"4")])
    assert [item["object"]["swift_object_id"] for item in answer.json()["items"]] == ["2", "5", "4"]
    assert swift.objects[path(3)] == {"body": b"theirs"} and swift.objects[path(5)]["body"] == b"3"
    assert left(documents) == {number: "stored" for number in ("1", "2", "4", "5")}


def test_ids_that_are_known_already_are_passed_over(bulk, mongo):
    mongo["swift"]["rooms"].insert_one({"_id": 2, "swift_object_id": "2", "swift_object_name": "2"})
    answer = bulk([("a", b"1"), ("b", b"2"), ("c", b"3")])
    assert [item["object"]["swift_object_id"] for item in answer.json()["items"]] == ["1", "4", "3"]
    assert mongo["swift"]["rooms"].find_one({"_id": 2}).get("status") is None


def test_a_token_that_swift_refuses_is_asked_for_again(bulk, swift, keystone):
    assert bulk([("a", b"1")]).status_code == 201
    swift.answers_to[path(2)] = 401
    assert refusals(bulk([("a", b"1")]))[0]["status"] == 401
    assert bulk([("a", b"1")]).status_code == 201
    assert keystone.asked == ["good", "good"]


def test_a_reader_may_not(api, body_of, keystone, error_of):
    api.headers["X-Auth-Token"] = keystone.give("reader", roles=("reader",))
    error_of(api.post(BULK, **body_of(*parts([("a", b"1")]))), 403, "forbidden")


# -- forms that are wrong ---------------------------------------------------------------------------------------------


FEW = parts([("a", b"1"), ("b", b"2")])
METADATA = ("metadata", None, "{}", "application/json")


@pytest.mark.parametrize(
    ("given", "status", "code", "says"),
    [
        ([], 400, "missing_file", "file=@"),
        ([METADATA], 400, "missing_file", "file=@"),
        ([*FEW, METADATA], 400, "invalid_form", "come first"),
        ([METADATA, METADATA, *FEW], 400, "invalid_form", "once"),
        ([*FEW, ("fiel", "a", "x", None)], 400, "invalid_form", "'fiel'"),
        ([("metadata", None, "{'a'}", None), *FEW], 400, "invalid_metadata", "not JSON"),
        ([("metadata", None, "7", None), *FEW], 400, "invalid_metadata", "no object"),
        ([("metadata", None, '{"size": 9}', None), *FEW], 400, "invalid_document", "size"),
        ([("metadata", None, "[{}]", None), *FEW], 400, "invalid_metadata", "for 1 files, but the form has more"),
        ([("metadata", None, "[{},{},{}]", None), *FEW], 400, "invalid_metadata", "for 3 files, but the form has 2"),
        ([("metadata", None, '"' + "x" * 1024 * 1024 + '"', None), *FEW], 413, "too_large", "metadata"),
    ],
)
def test_bad_forms_say_what_to_do_and_leave_nothing(
    api, body_of, error_of, swift, documents, given, status, code, says
):
    assert says in error_of(api.post(BULK, **body_of(*given)), status, code)
    assert swift.objects == {} and documents("rooms") == [] and swift.containers == {}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ([*parts([(str(number), b"1") for number in range(12)]), ("fiel", "a", "x", None)], "invalid_form"),
        ([*parts([(str(number), b"1") for number in range(12)]), METADATA], "invalid_form"),
        (parts([(str(number), b"1") for number in range(13)], [{}] * 12), "invalid_metadata"),
        (parts([(str(number), b"1") for number in range(12)], [{}] * 13), "invalid_metadata"),
    ],
)
def test_a_form_that_turns_out_wrong_after_files_were_stored(api, body_of, documents, given, code):
    answer = api.post(BULK, **body_of(*given))
    refused = refusals(answer)
    assert answer.json()["error"]["code"] == code
    assert list(refused) == [10, 11]  # the block that was being read
    assert {item["error"]["code"] for item in refused.values()} == {code}
    assert {item["name"] for item in refused.values()} == {"10", "11"}
    assert len(left(documents)) == 10 and set(left(documents).values()) == {"stored"}


def test_too_many_files(bulk, documents):
    answer = bulk([(str(number), b"1") for number in range(40)])
    assert answer.status_code == 207 and answer.json()["error"]["code"] == "too_many_files"
    assert [item["status"] for item in answer.json()["items"]] == [201] * 30
    assert len(documents("rooms")) == 30


def test_a_body_that_is_no_form(api, error_of):
    error_of(api.post(BULK, json={"a": 1}), 415, "unsupported_media_type")


def test_a_bad_container_name(api, body_of, error_of):
    answer = api.post("/api/v1/containers/_internal/objects/bulk", **body_of(*FEW))
    error_of(answer, 400, "invalid_name")


# -- clients that break off, and memory -------------------------------------------------------------------------------


def scope():
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "query_string": b"",
        "root_path": "",
        "path": BULK,
        "raw_path": BULK.encode(),
        "headers": [
            (b"x-auth-token", b"good"),
            (b"content-type", b"multipart/form-data; boundary=mark"),
            (b"transfer-encoding", b"chunked"),
        ],
    }


def post(chosen, connect, receive):
    """The messages of the answer to a request whose body comes from `receive`."""
    sent = []

    async def send(message):
        sent.append(message)

    async def run():
        app = create_app(chosen, connect)
        async with app.app.router.lifespan_context(app.app):
            await app(scope(), receive, send)

    anyio.run(run)
    return sent


@pytest.mark.parametrize("size", [20, 5000])
def test_a_client_that_goes_away(keystone, chosen, connect, swift, documents, body_of, size):
    """After two blocks, in the middle of the next: what is stored stays, of the rest nothing is left."""
    files = [(str(number), content(number)) for number in range(11)] + [("last", content(11, size))]
    whole = body_of(*parts(files))["content"]
    body = whole[: whole.index(b'filename="last"') + 30 + size // 2]
    messages = [{"type": "http.request", "body": body, "more_body": True}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    [start, *_] = post(chosen, connect, receive)
    assert start["status"] == 207
    stored = 11 if size > 1000 else 10  # what stands before a stream is stored before it
    assert left(documents) == {str(number): "stored" for number in range(1, stored + 1)}
    assert len(swift.objects) == stored


def test_a_form_that_is_cut_off(api, body_of, documents):
    sent = body_of(*parts([(str(number), b"1") for number in range(7)]))
    sent["content"] = sent["content"][:-30]
    answer = api.post(BULK, **sent)
    assert answer.status_code == 207 and answer.json()["error"]["code"] == "incomplete_body"
    assert [item["status"] for item in answer.json()["items"]] == [201] * 5 + [400]
    assert len(documents("rooms")) == 5


def test_only_a_few_blocks_are_in_memory(keystone, chosen, connect, swift, body_of):
    """While Swift does not answer, no more of the form is taken."""
    files = [(str(number), content(number, 900)) for number in range(30)]
    body = body_of(*parts(files))["content"]
    pieces = [body[start : start + 200] for start in range(0, len(body), 200)]
    taken = 0

    async def receive():
        nonlocal taken
        swift.gate = swift.gate or anyio.Event()
        piece = pieces[taken]
        taken += 1
        return {"type": "http.request", "body": piece, "more_body": taken < len(pieces)}

    sent = []

    async def send(message):
        sent.append(message)

    async def run():
        app = create_app(chosen, connect)
        async with app.app.router.lifespan_context(app.app), anyio.create_task_group() as group:
            group.start_soon(app, scope(), receive, send)
            before = -1
            while before != taken or not swift.puts:
                before = taken
                await anyio.sleep(0.2)
            # Two blocks are being stored, one waits; a block ends with the file that reaches 3000 bytes.
            assert taken * 200 < 3 * 4 * 1200
            assert swift.most_puts == 3
            swift.gate.set()
        assert taken == len(pieces)

    anyio.run(run)
    assert sent[0]["status"] == 201 and len(swift.objects) == 30


def test_the_interface_says_so(api):
    paths = api.get("/api/v1/openapi.json").json()["paths"]
    operation = paths["/api/v1/containers/{container}/objects/bulk"]["post"]
    assert set(operation["responses"]) == {
        *("201", "207", "400", "401", "403", "409", "413", "414", "415", "422", "429", "503", "504")
    }
    schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert schema["properties"]["file"]["type"] == "array" and schema["required"] == ["file"]
    single = paths["/api/v1/containers/{container}/objects"]["post"]["requestBody"]
    assert single["content"]["multipart/form-data"]["schema"]["properties"]["file"]["type"] == "string"
