# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import io
import json
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from neocampus_lake import client as client_module
from neocampus_lake.client import File, LakeClient, Multipart
from neocampus_lake.errors import AccessDenied, Conflict, InvalidInput, NotFound, StoreError

LIBRARY = Path(client_module.__file__).parent


@pytest.fixture
def client(api, monkeypatch):
    monkeypatch.setattr(client_module.time, "sleep", lambda _seconds: None)
    made = LakeClient(api.url)
    made.log_in("alice", "secret", "campus")
    return made


def test_log_in_keeps_the_token(api, client):
    assert client.token == "token-of-alice"
    verb, path, _headers, body = api.requests[0]
    assert (verb, path) == ("POST", "/api/v1/auth/token")
    assert json.loads(body) == {"username": "alice", "password": "secret", "project": "campus"}
    assert client.log_in("alice", "secret", "campus", "people")["domain"] == "people"


def test_a_wrong_password(api):
    with pytest.raises(AccessDenied, match="wrong user or password"):
        LakeClient(api.url).log_in("alice", "guess", "campus")


def test_the_address_may_have_the_api_s_path_or_not(api):
    for url in (api.url, api.url + "/", api.url + "/api/v1", api.url + "/api/v1/"):
        assert LakeClient(url).url == api.url + "/api/v1"


@pytest.mark.parametrize("url", ["http://lake.example.org", "ftp://localhost", "lake.example.org", ""])
def test_passwords_go_over_tls_only(url):
    with pytest.raises(InvalidInput, match="https"):
        LakeClient(url)


def test_a_ca_file_that_is_not_there():
    with pytest.raises(InvalidInput, match="/no/ca.crt"):
        LakeClient("https://lake.example.org", ca_file="/no/ca.crt")


def test_a_server_is_verified(api):
    client = LakeClient("https://localhost")
    [handler] = [h for h in client._opener.handlers if hasattr(h, "https_open")]
    assert handler.context.verify_mode == ssl.CERT_REQUIRED and handler.context.check_hostname


def test_insert_a_file(api, client, tmp_path):
    file = tmp_path / 'été "1".json'
    content = bytes(range(256)) * 5000
    file.write_bytes(content)
    document = client.insert("cam pus", file, {"application": "énergie"}, "application/json")
    assert document["original_object_name"] == 'été "1".json'
    assert (document["swift_container"], document["application"]) == ("cam pus", "énergie")
    assert document["content_type"] == "application/json"
    assert client.data("cam pus", document["swift_object_id"]).read() == content
    assert api.requests[-2][1] == "/api/v1/containers/cam%20pus/objects"
    assert api.requests[-2][2]["X-Auth-Token"] == "token-of-alice"


def test_insert_bytes(client):
    document = client.insert("campus", b"", name="empty")
    assert (document["size"], document["original_object_name"]) == (0, "empty")
    with pytest.raises(InvalidInput, match="name"):
        client.insert("campus", b"x")


def test_metadata_comes_before_the_file_so_that_the_api_can_stream_it(api, client):
    for metadata in (None, {"application": "x"}):
        client.insert("campus", b"content", metadata, name="x")
        body = api.requests[-1][3]
        assert 0 < body.index(b'name="metadata"') < body.index(b'name="file"')


def test_a_file_that_cannot_be_read(client, tmp_path):
    with pytest.raises(InvalidInput, match="No such file"):
        client.insert("campus", tmp_path / "missing")


def test_an_insert_is_not_sent_twice(api, client):
    api.fail = [(503, {"error": {"code": "c", "message": "Swift is away"}})]
    with pytest.raises(StoreError, match="Swift is away") as caught:
        client.insert("campus", b"x", name="x")
    assert caught.value.retriable
    assert len([r for r in api.requests if r[0] == "POST"]) == 2  # with the log-in


def test_an_insert_with_a_key_is_sent_until_it_is_answered(api, client):
    under_way = {"error": {"code": "idempotency_key_in_use", "message": "later"}}
    api.fail = [(503, {"error": {"code": "c", "message": "Swift is away"}}), (409, under_way)]
    assert client.insert("campus", b"x", name="x", key="k 1")["original_object_name"] == "x"
    sent = [headers for _verb, path, headers, _body in api.requests if path.endswith("/objects")]
    assert [headers["Idempotency-Key"] for headers in sent] == ['"k 1"'] * 3
    api.fail = [(409, {"error": {"code": "conflict", "message": "no"}})]
    with pytest.raises(Conflict, match="no"):
        client.insert("campus", b"x", name="x", key="k 2")


def test_insert_many(api, client, tmp_path):
    file = tmp_path / 'été "1".csv'
    file.write_bytes(bytes(range(256)) * 5000)
    items = client.insert_many("cam pus", [file, ("b.json", b"[2]"), ("c", b"")], {"application": "énergie"}, "text/x")
    assert [item["status"] for item in items] == [201] * 3
    found = [item["object"] for item in items]
    assert [document["original_object_name"] for document in found] == ['été "1".csv', "b.json", "c"]
    assert {(document["application"], document["content_type"]) for document in found} == {("énergie", "text/x")}
    assert [api.contents[document["swift_object_id"]] for document in found] == [file.read_bytes(), b"[2]", b""]
    assert [request[1] for request in api.requests[1:]] == ["/api/v1/containers/cam%20pus/objects/bulk"]


def test_insert_many_with_the_metadata_of_each(client):
    given = [{"application": "x"}, {}, {"application": "z"}]
    items = client.insert_many("campus", [(str(number), b"1") for number in range(3)], given)
    assert [item["object"].get("application") for item in items] == ["x", None, "z"]
    with pytest.raises(InvalidInput, match="metadata for 3 files, but there are 1"):
        client.insert_many("campus", [("a", b"1")], given)
    assert client.insert_many("campus", [], []) == []


def test_insert_many_goes_by_several_requests(api, client, monkeypatch):
    monkeypatch.setattr(client_module, "BULK_FILES", 4)
    given = [{"application": str(number)} for number in range(10)]
    items = client.insert_many("campus", [(str(number), b"%d" % number) for number in range(10)], given)
    assert [item["object"]["original_object_name"] for item in items] == [str(number) for number in range(10)]
    assert [item["object"]["application"] for item in items] == [str(number) for number in range(10)]
    assert len(api.requests) == 1 + 3
    monkeypatch.setattr(client_module, "BULK_METADATA_BYTES", 60)  # three of them
    assert len(client.insert_many("campus", [(str(number), b"1") for number in range(10)], given)) == 10
    assert len(api.requests) == 1 + 3 + 5


def test_insert_many_goes_on_where_the_api_stopped(api, client):
    api.bulk_files = 3
    items = client.insert_many("campus", [(str(number), b"%d" % number) for number in range(10)])
    assert [item["object"]["original_object_name"] for item in items] == [str(number) for number in range(10)]
    assert len(api.requests) == 1 + 4


def test_insert_many_says_what_failed(api, client):
    api.refused = {"b"}
    items = client.insert_many("campus", [("a", b"1"), ("b", b"2"), ("c", b"3")])
    assert [item["status"] for item in items] == [201, 413, 201]
    assert items[1]["name"] == "b" and items[1]["error"]["message"] == "too large"


def test_an_error_of_insert_many_has_what_was_inserted_before(api, client, monkeypatch):
    monkeypatch.setattr(client_module, "BULK_FILES", 2)
    sent = client._json

    def second_fails(*given):
        if len(api.requests) == 2:
            api.fail = [(503, {"error": {"code": "c", "message": "Swift is away"}})]
        return sent(*given)

    monkeypatch.setattr(client, "_json", second_fails)
    with pytest.raises(StoreError, match="Swift is away") as caught:
        client.insert_many("campus", [(str(number), b"1") for number in range(6)])
    assert [item["object"]["original_object_name"] for item in caught.value.context["items"]] == ["0", "1"]
    assert len(api.requests) == 3


def test_an_api_that_takes_nothing(api, client):
    api.bulk_files = 0
    with pytest.raises(StoreError, match="none of 1 files"):
        client.insert_many("campus", [("a", b"1")])


def test_a_file_is_never_held_whole(monkeypatch, tmp_path):
    class Large(io.RawIOBase):
        left = 300 * 1024 * 1024

        def read(self, size=-1):
            assert 0 < size <= 1024 * 1024
            size = min(size, self.left)
            self.left -= size
            return b"x" * size

    file = tmp_path / "large"
    with file.open("wb") as stream:
        stream.truncate(Large.left)
    monkeypatch.setattr(File, "open", lambda _self: Large())
    body = Multipart([File(file), File(file)], {"a": 1})
    total = 0
    while block := body.read(client_module.BLOCK):
        assert len(block) <= client_module.BLOCK
        total += len(block)
    assert total == body.length > 2 * Large.left


@given(st.lists(st.tuples(st.text(min_size=1), st.binary(max_size=200)), min_size=1, max_size=4), st.integers(1, 50))
def test_the_length_of_a_body_is_what_is_sent(files, block):
    try:
        body = Multipart([File(content, name, "text/plain") for name, content in files], {"k": files[0][0]})
    except UnicodeEncodeError:
        return
    pieces = list(iter(lambda: body.read(block), b""))
    sent = b"".join(pieces)
    assert len(sent) == body.length == int(body.headers["Content-Length"])
    assert {len(piece) for piece in pieces[:-1]} <= {block}  # small pieces come together
    place = 0
    for _name, content in files:
        place = sent.index(b"\r\n\r\n" + content + b"\r\n--", place) + 1


def test_a_file_that_changes_while_it_is_sent(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"1234567890")
    body = Multipart([File(file)], {})
    file.write_bytes(b"123")
    with body, pytest.raises(InvalidInput, match="became shorter"):
        while body.read(2):
            pass
    file.write_bytes(b"1234567890")
    body = Multipart([File(file)], {})
    file.write_bytes(b"1234567890 and more")
    sent = body.read()
    assert len(sent) == body.length and b"1234567890\r\n--" in sent


def test_a_file_that_goes_before_it_is_sent(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"1")
    body = Multipart([File(file)], {})
    file.unlink()
    with body, pytest.raises(InvalidInput, match="cannot be read: No such file"):
        body.read()


def test_no_header_can_be_smuggled_in():
    with pytest.raises(InvalidInput):
        File(b"", "x", "text/plain\r\nX: y")
    body = Multipart([File(b"", 'a"\r\nX: y')], {}).read()
    assert body[body.index(b'name="file"') :].count(b"\r\n") == 4


def test_get_and_list(api, client):
    ids = [api.insert("campus", f"{n}.csv", b"x", content_type="text/csv")["swift_object_id"] for n in range(5)]
    api.insert("campus", "image", b"x", content_type="image/png")
    assert client.get("campus", ids[2])["original_object_name"] == "2.csv"
    assert [item["swift_object_id"] for item in client.list("campus", content_type="text/csv")] == ids
    assert len(list(client.list("campus"))) == 6
    assert "content_type=text%2Fcsv" in api.requests[1 + 1][1]


def test_pages_are_read_as_they_are_needed(api, client):
    for number in range(10):
        api.insert("campus", str(number), b"x")
    next(client.list("campus"))
    assert len(api.requests) == 2


def test_tables_and_rows(api, client):
    rows = [{"a": number} for number in range(5)]
    api.gold = {"tables": ["a", "b", "c"], "tables/a": {"table": "a", "rows": 5}, "tables/a/rows": rows}
    assert list(client.tables("cam pus")) == ["a", "b", "c"] and client.table("cam pus", "a")["rows"] == 5
    where = ["a:ge:0", "b:eq:x y"]
    found = client.rows("cam pus", "a", object_id="7", columns=["a", "b"], where=where, origin=True)
    assert list(found) == rows
    asked = api.requests[-1][1]
    assert asked.startswith("/api/v1/containers/cam%20pus/tables/a/rows?object=7&columns=a%2Cb&where=a%3Age%3A0&where=")
    assert "origin=true" in asked and "cursor=" in asked
    list(client.rows("campus", "a"))
    assert "where" not in api.requests[-1][1] and "origin" not in api.requests[-1][1]


def test_documents_and_files(api, client):
    documents = [{"a": number, "lake": {"id": f"7-{number}"}} for number in range(3)]
    files = [{"name": "image"}, {"name": "thumbnail"}]
    api.gold = {"documents": documents, "documents/7-1": documents[1], "files": files, "files/7/a b": b"\xff\xd8"}
    assert list(client.documents("campus", object_id="7", where=["a:eq:1"])) == documents
    assert "object=7&where=a%3Aeq%3A1" in api.requests[-1][1]
    assert client.document("campus", "7-1") == documents[1]
    assert list(client.files("campus", object_id="7")) == files
    with client.file("campus", "7", "a b") as stream:
        assert stream.read() == b"\xff\xd8"


def test_graph_and_what_an_object_became(api, client):
    api.gold = {
        "graph/objects": [{"name": name, "images": 1} for name in ("cat", "dog", "tree")],
        "graph/images": [{"object_id": "7"}],
        "graph/images/7": {"object_id": "7", "objects": []},
        "graph/images/7/similar": [{"object_id": "8", "distance": 2}],
        "objects/7/gold": [{"store": "neo4j", "links": []}],
    }
    assert [item["name"] for item in client.shown_objects("campus")] == ["cat", "dog", "tree"]
    assert list(client.images("campus", "a cat")) == [{"object_id": "7"}]
    assert "object=a+cat" in api.requests[-1][1]
    assert client.image("campus", "7")["objects"] == []
    assert list(client.similar("campus", "7")) == [{"object_id": "8", "distance": 2}]
    assert client.gold("campus", "7")[0]["store"] == "neo4j"


def test_time_series(api, client):
    api.series = {("W", "u4/1"): [{"time": f"2021-07-2{n}T00:00:00Z", "value": n} for n in range(5)], ("A", "u4/1"): []}
    assert list(client.measurements("campus")) == ["A", "W"]
    assert list(client.topics("campus", "W")) == ["u4/1"]
    points = client.points("campus", "W", "u4/1", start="2021-07-21T00:00:00Z", end="2021-07-24T00:00:00Z")
    assert [point["value"] for point in points] == [1, 2, 3]
    assert "origin" not in api.requests[-1][1]
    list(client.points("campus", "W", "u4/1", origin=True))
    assert "origin=true" in api.requests[-1][1]


def test_wait_processed(api, client):
    document = api.insert("campus", "a", b"x")
    assert client.wait_processed("campus", document["swift_object_id"])["successful_operations"]
    document["successful_operations"] = []
    with pytest.raises(StoreError, match="not processed within 0 s") as caught:
        client.wait_processed("campus", document["swift_object_id"], timeout=0)
    assert caught.value.context["document"]["swift_object_id"] == document["swift_object_id"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidInput),
        (401, AccessDenied),
        (403, AccessDenied),
        (404, NotFound),
        (409, Conflict),
        (422, InvalidInput),
        (503, StoreError),
    ],
)
def test_errors_have_the_api_s_message(api, client, status, error):
    api.fail = [(status, {"error": {"code": "c", "message": "what is wrong", "detail": {"a": 1}}})] * 10
    with pytest.raises(error, match="what is wrong") as caught:
        client.get("campus", "1")
    assert caught.value.context == {"status": status, "code": "c", "detail": {"a": 1}}


@pytest.mark.parametrize("body", [b"<html>bad gateway</html>", b"", b'"text"', b'{"error": "text"}'])
def test_errors_of_what_stands_in_front_of_the_api(api, client, body):
    api.fail = [(404, body)]
    with pytest.raises(NotFound, match="404"):
        client.get("campus", "1")


def test_reading_is_tried_again(api, client):
    document = api.insert("campus", "a", b"x")
    api.fail = [(503, b""), (502, b"")]
    assert client.get("campus", document["swift_object_id"]) == document


def test_no_server(monkeypatch):
    monkeypatch.setattr(client_module.time, "sleep", lambda _seconds: None)
    with pytest.raises(StoreError, match="no answer") as caught:
        LakeClient("http://127.0.0.1:9", token="t").get("campus", "1")
    assert caught.value.retriable


def test_an_answer_that_is_not_json(api, client):
    api.insert("campus", "a", b"x")
    api.fail = [(200, b"<html>")]
    with pytest.raises(StoreError, match="JSON"):
        client.get("campus", "1")


def test_modules_need_the_standard_library_only():
    """What Ansible carries to a target must not import what is not there; nor may importing the rest."""
    code = (
        "import importlib.util, sys, pathlib\n"
        f"root = pathlib.Path({str(LIBRARY)!r})\n"
        "spec = importlib.util.spec_from_file_location("
        "'lake', root / '__init__.py', submodule_search_locations=[str(root)])\n"
        "sys.modules['lake'] = importlib.util.module_from_spec(spec)\n"
        "for path in sorted(root.rglob('*.py')):\n"
        "    name = '.'.join(path.relative_to(root).with_suffix('').parts).replace('.__init__', '')\n"
        "    if name != '__init__': importlib.import_module('lake.' + name)\n"
        "print(len(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def canned(api, client):
    """canned(*answers) -> what was asked: (verb, path, body) of each request since then."""

    def _canned(*answers):
        api.fail = [answer if isinstance(answer, tuple) else (200, answer) for answer in answers]
        done = len(api.requests)
        return lambda: [(verb, path, body) for verb, path, _headers, body in api.requests[done:]]

    return _canned


HERE = "/api/v1/containers/my%20rooms"


def test_metadata_is_changed(api, client, canned):
    asked = canned({"application": "x"})
    assert client.edit("my rooms", "17", {"application": "x", "other_data": None}, etag='"e"', process=True)
    [(verb, path, body)] = asked()
    assert (verb, path) == ("PATCH", f"{HERE}/objects/17?process=true")
    assert json.loads(body) == {"application": "x", "other_data": None} and api.requests[-1][2]["If-Match"] == '"e"'
    canned((412, {"error": {"code": "precondition_failed", "message": "changed"}}))
    with pytest.raises(InvalidInput, match="changed") as caught:
        client.edit("my rooms", "17", {}, etag='"e"')
    assert caught.value.context["status"] == 412


def test_objects_and_containers_are_deleted(client, canned, monkeypatch):
    asked = canned((204, b""), (204, b""))
    client.delete("my rooms", "17")
    client.delete_container("my rooms")
    assert [request[:2] for request in asked()] == [("DELETE", f"{HERE}/objects/17"), ("DELETE", HERE)]
    monkeypatch.setattr(client_module, "BULK_FILES", 2)
    items = [{"status": 204, "swift_object_id": str(number)} for number in range(3)]
    asked = canned({"items": items[:2]}, (207, {"items": items[2:]}))
    assert list(client.delete_many("my rooms", iter("012"))) == items
    assert [json.loads(body)["ids"] for _verb, _path, body in asked()] == [["0", "1"], ["2"]]


def test_objects_as_a_zip(client, canned):
    asked = canned((200, b"PK"))
    with client.archive("my rooms", ["1"], metadata=True, application="x") as stream:
        assert stream.read() == b"PK"
    [(verb, path, body)] = asked()
    assert (verb, path) == ("POST", f"{HERE}/objects/archive")
    assert json.loads(body) == {"ids": ["1"], "metadata": True, "application": "x"}


def test_search_and_facets(client, canned):
    asked = canned({"items": [{"n": 1}], "next": "c"}, {"items": [{"n": 2}], "next": None})
    found = client.search("temp*", containers=["a", "b"], where=["size:gt:1"], order="oldest")
    assert [item["n"] for item in found] == [1, 2]
    assert [path for _verb, path, _body in asked()] == [
        f"/api/v1/search?text=temp%2A&container=a&container=b&where=size%3Agt%3A1&limit=100&order=oldest{cursor}"
        for cursor in ("", "&cursor=c")
    ]
    asked = canned({"items": [], "next": None, "facets": {"counted": 3}})
    assert client.facets(["user"], "temp*", exact=True) == {"counted": 3}
    [(_verb, _path, body)] = asked()
    assert json.loads(body) == {"facets": ["user"], "exact": True, "limit": 1, "text": "temp*"}


def test_what_was_done_to_an_object_and_what_is_used(client, canned):
    canned({"items": [1], "next": None}, {"items": [2], "next": None})
    assert list(client.operations("my rooms", "17")) == [1]
    assert list(client.history("my rooms", "17")) == [2]
    used = {"objects": 2, "bytes": 5, "quota": {}, "items": [{"container": "a"}], "next": "c"}
    canned(used, {**used, "items": [{"container": "a"}, {"container": "b"}], "next": None})
    assert client.usage() == {
        "objects": 2,
        "bytes": 5,
        "quota": {},
        "containers": [{"container": "a"}, {"container": "b"}],
    }
