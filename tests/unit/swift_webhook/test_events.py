# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a client does, and which events it makes: the filter between Swift's own filters, over a store in memory.

The table of docs/events.md, row by row.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from urllib.parse import quote, unquote

import pytest
from neocampus_lake.events import Event
from swift.common.middleware import bulk, copy, slo, symlink, versioned_writes
from swift.common.swob import Request, Response
from swift_webhook.middleware import WebhookMiddleware

ACCOUNT = "/v1/AUTH_p1"
KEPT = ("x-object-", "x-static-large-object", "content-type", "x-timestamp")


class Store:
    """Swift's proxy as far as the filters need it: containers have headers, objects headers and a body."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, str]] = {}
        self.objects: dict[str, tuple[dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, str]] = []

    def __call__(self, env, start_response):
        req = Request(env)
        _version, _account, container, name = req.split_path(2, 4, True)
        self.asked.append((req.method, unquote(req.path)))
        req.ensure_x_timestamp()
        response = self._object(req) if name else self._container(req, container)
        return response(env, start_response)

    def _container(self, req, name):
        if name is None or req.method != "GET":
            headers = self.containers.get(name) if name else {}
            return Response(status=404 if headers is None else 204, headers=headers or {}, request=req)
        prefix = f"{ACCOUNT}/{name}/"
        listing = [
            {"name": path.removeprefix(prefix), "content_type": headers["Content-Type"]}
            for path, (headers, _body) in sorted(self.objects.items(), reverse=req.params.get("reverse") == "on")
            if path.startswith(prefix + req.params.get("prefix", "")) and not req.params.get("marker")
        ]
        return Response(status=200, body=json.dumps(listing).encode(), request=req, content_type="application/json")

    def _object(self, req):
        path = req.path_info
        if req.method == "PUT":
            req.environ.setdefault("CONTENT_TYPE", "application/octet-stream")
        given = {name: value for name, value in req.headers.items() if name.lower().startswith(KEPT)}
        if req.method == "PUT":
            body = req.body_file.read()
            etag = hashlib.md5(body).hexdigest()
            self.objects[path] = ({**given, "Etag": etag}, body)
            return Response(status=201, headers={"Etag": etag}, request=req)
        if path not in self.objects:
            return Response(status=404, request=req)
        headers, body = self.objects[path]
        if req.method == "DELETE":
            del self.objects[path]
            return Response(status=204, request=req)
        if req.method == "POST":
            fixed = {name: value for name, value in headers.items() if not name.startswith("X-Object-Meta")}
            headers = {**fixed, **given}
            self.objects[path] = (headers, body)
            told = {name: value for name, value in headers.items() if name.startswith("X-Object-Sysmeta")}
            return Response(
                status=202, headers={**told, "X-Backend-Content-Type": headers["Content-Type"]}, request=req
            )
        response = Response(status=200, headers=headers, body=body, request=req, conditional_response=True)
        response.last_modified = float(headers["X-Timestamp"].partition("_")[0])
        return response


class Recorder:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def check(self):
        pass

    def commit(self, line):
        self.lines.append(line)


class Client:
    """A client of the pipeline."""

    def __init__(self) -> None:
        self.store, self.recorder = Store(), Recorder()
        app = symlink.filter_factory({})(self.store)
        app = versioned_writes.filter_factory({"allow_versioned_writes": "yes", "allow_object_versioning": "yes"})(app)
        app = WebhookMiddleware(app, {}, self.recorder)
        app = slo.filter_factory({"rate_limit_under_size": "0"})(app)
        app = copy.filter_factory({})(app)
        self.app = bulk.filter_factory({"yield_frequency": "0"})(app)
        self.container("c")

    def container(self, name, **sysmeta):
        headers = {f"X-Container-Sysmeta-{key.replace('_', '-')}": value for key, value in sysmeta.items()}
        self.store.containers[name] = {"X-Container-Sysmeta-Webhook": "true", **headers}

    def __call__(self, method, path, body=b"", **headers):
        req = Request.blank(
            f"{ACCOUNT}/{path}",
            environ={"REQUEST_METHOD": method},
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        if method in ("PUT", "POST"):
            req.body = body
        response = req.get_response(self.app)
        response.body  # noqa: B018 (what is done while it is read has to be done)
        return response

    def events(self):
        """What was recorded since they were asked for last: (type, object)."""
        told, self.recorder.lines = [Event.from_line(line) for line in self.recorder.lines], []
        return told


@pytest.fixture
def client():
    return Client()


def kinds(client):
    return [(event.type, event.object_name) for event in client.events()]


def test_put_post_delete(client):
    client("PUT", "c/o", b"hello", Content_Type="text/csv")
    assert client("POST", "c/o", X_Object_Meta_Colour="red").status_int == 202
    assert client("DELETE", "c/o").status_int == 204
    put, post, delete = client.events()
    assert (put.type, put.content_type, put.size) == ("put", "text/csv", 5)
    assert (post.type, post.content_type, post.size, post.etag) == ("post", "text/csv", 0, "")
    assert (delete.type, delete.content_type, delete.size, delete.etag) == ("delete", "", 0, "")
    assert put.timestamp < post.timestamp < delete.timestamp
    assert [method for method, path in client.store.asked if path.endswith("/o")] == ["PUT", "POST", "DELETE"]


def test_a_post_tells_the_type_that_it_gives(client):
    client("PUT", "c/o", b"x", Content_Type="text/csv")
    client("POST", "c/o", Content_Type="image/png")
    assert client.events()[-1].content_type == "image/png"


def test_what_is_not_there_can_neither_be_changed_nor_deleted(client):
    assert client("POST", "c/o").status_int == 404
    assert client("DELETE", "c/o").status_int == 404
    assert client.events() == []


def test_copies(client):
    client("PUT", "c/o", b"hello", Content_Type="text/csv")
    client("COPY", "c/o", Destination="c/a")
    client("PUT", "c/b", X_Copy_From="c/o")
    assert [(event.object_name, event.size, event.content_type) for event in client.events()] == [
        (name, 5, "text/csv") for name in "oab"
    ]


def test_a_large_object_is_made_and_deleted_with_its_segments(client):
    client.container("quiet", Webhook="")
    client("PUT", "c/1", b"abc")
    client("PUT", "quiet/2", b"de")
    manifest = json.dumps([{"path": "/c/1"}, {"path": "/quiet/2"}]).encode()
    assert client("PUT", "c/large?multipart-manifest=put", manifest).status_int == 201
    segment, large = client.events()
    assert (large.type, large.object_name, large.size) == ("put", "large", 5)
    client("DELETE", "c/large?multipart-manifest=delete")
    assert kinds(client) == [("delete", "1"), ("delete", "large")]


def test_a_large_object_without_its_segments(client):
    client("PUT", "c/1", b"abc")
    client("PUT", "c/large?multipart-manifest=put", json.dumps([{"path": "/c/1"}]).encode())
    client.events()
    client("DELETE", "c/large")
    assert kinds(client) == [("delete", "large")]


def test_an_archive_is_extracted_and_a_list_deleted(client):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("a", "b"):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    client("PUT", "c?extract-archive=tar", archive.getvalue())
    assert kinds(client) == [("put", "a"), ("put", "b")]
    client("POST", "?bulk-delete", b"/c/a\n/c/none\n/c/b\n", Content_Type="text/plain")
    assert kinds(client) == [("delete", "a"), ("delete", "b")]


def test_a_symlink_is_an_object_of_its_own(client):
    client("PUT", "c/o", b"hello", Content_Type="text/csv")
    client("PUT", "c/link", X_Symlink_Target="c/o")
    assert [(event.object_name, event.size) for event in client.events()] == [("o", 5), ("link", 5)]
    assert client("POST", "c/link", X_Object_Meta_Colour="red").status_int == 307  # the client is sent to the target
    assert client.events() == []
    client("DELETE", "c/link")
    assert kinds(client) == [("delete", "link")]


@pytest.fixture
def versioned(client):
    """A container that keeps versions, with an object that has two; returns the client and their ids."""
    hidden = "\0versions\0v"
    client.container("v", Versions_Container=quote(hidden), Versions_Enabled="true")
    client.container(hidden, Webhook="")
    ids = [client("PUT", "v/o", body).headers["X-Object-Version-Id"] for body in (b"old", b"newer")]
    assert [(event.type, event.size) for event in client.events()] == [("put", 3), ("put", 5)]
    return client, ids


def test_a_versioned_object_is_changed_and_deleted(versioned):
    client, _ids = versioned
    assert client("POST", "v/o", X_Object_Meta_Colour="red").status_int == 202
    assert client("DELETE", "v/o").status_int == 204  # leaves a marker
    assert client("DELETE", "v/o").status_int == 404
    assert kinds(client) == [("post", "o"), ("delete", "o")]


def test_an_old_version_is_deleted(versioned):
    client, (old, _new) = versioned
    assert client("DELETE", f"v/o?version-id={old}").status_int == 204
    assert client.events() == []


def test_the_current_version_is_deleted(versioned):
    client, (_old, new) = versioned
    assert client("DELETE", f"v/o?version-id={new}").status_int == 204
    assert kinds(client) == [("delete", "o")]
    assert client("GET", "v/o").status_int == 404


def test_an_old_version_is_deleted_behind_an_object_without_version(versioned):
    client, (old, _new) = versioned
    client.container("v", Versions_Container=quote("\0versions\0v"), Versions_Enabled="false")
    client("PUT", "v/o", b"unversioned")
    client.events()
    assert client("DELETE", f"v/o?version-id={old}").headers["X-Object-Current-Version-Id"] == "null"
    assert client.events() == []
    assert client("DELETE", "v/o?version-id=null").status_int == 204
    assert kinds(client) == [("delete", "o")]


def test_an_old_version_is_restored(versioned):
    client, (old, _new) = versioned
    client("DELETE", "v/o")
    client.events()
    assert client("PUT", f"v/o?version-id={old}").status_int == 201
    (event,) = client.events()
    assert (event.type, event.object_name, event.size, event.etag) == ("put", "o", 3, hashlib.md5(b"old").hexdigest())


def test_a_version_can_not_be_changed(versioned):
    client, (old, _new) = versioned
    assert client("POST", f"v/o?version-id={old}").status_int == 400
    assert client("DELETE", "v/o?version-id=0000000001.00000").status_int == 404
    assert client.events() == []


def test_a_container_that_pops_versions(client):
    client.container("v", Versions_Location="old", Versions_Mode="stack")
    client.container("old", Webhook="")
    client("PUT", "v/o", b"old", Content_Type="text/csv")
    client("PUT", "v/o", b"newer", Content_Type="image/png")
    client.events()
    assert client("DELETE", "v/o").status_int == 204
    (event,) = client.events()  # the old one is back
    assert (event.type, event.object_name, event.size, event.content_type) == ("put", "o", 3, "text/csv")
    assert event.timestamp == client.store.objects[f"{ACCOUNT}/v/o"][0]["X-Timestamp"]
    assert client("DELETE", "v/o").status_int == 204
    assert kinds(client) == [("delete", "o")]


def test_a_container_that_keeps_a_history(client):
    client.container("v", Versions_Location="old", Versions_Mode="history")
    client.container("old", Webhook="")
    client("PUT", "v/o", b"old")
    client("PUT", "v/o", b"newer")
    client.events()
    assert client("DELETE", "v/o").status_int == 204
    assert kinds(client) == [("delete", "o")]


def test_where_looking_fails_the_workflow_is_sent_to_look(client, monkeypatch):
    client.container("v", Versions_Location="old")
    client.container("old", Webhook="")
    client("PUT", "v/o", b"x")
    client.events()
    real = Store._object

    def failing(store, req):
        return Response(status=503, request=req) if req.method == "HEAD" else real(store, req)

    monkeypatch.setattr(Store, "_object", failing)
    assert client("DELETE", "v/o").status_int == 204
    assert kinds(client) == [("put", "o")]
