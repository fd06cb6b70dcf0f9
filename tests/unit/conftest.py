# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the collection importable from this tree: the library as `neocampus_lake`, the way its wheel has it, and
plugins by their full names, the way Ansible has them. Has a double of the REST API, too."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "collections/ansible_collections/neocampus/datalake/plugins/module_utils/lake"


def _library_from_tree() -> None:
    spec = importlib.util.spec_from_file_location(
        "neocampus_lake", LIBRARY / "__init__.py", submodule_search_locations=[str(LIBRARY)]
    )
    package = importlib.util.module_from_spec(spec)
    sys.modules["neocampus_lake"] = package
    spec.loader.exec_module(package)


def _collections_from_tree() -> None:
    try:
        from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder
    except ImportError:  # the tests of the library alone do without Ansible
        return
    _AnsibleCollectionFinder(paths=[str(ROOT / "collections")])._install()


def _mongomock_with_sort() -> None:
    """pymongo hands `sort` to bulk updates; mongomock 4.3 does not know it."""
    try:
        from mongomock.collection import BulkOperationBuilder
    except ImportError:
        return
    add_update = BulkOperationBuilder.add_update

    def without_sort(self, *args, sort=None, **named):
        assert sort is None
        return add_update(self, *args, **named)

    BulkOperationBuilder.add_update = without_sort


_library_from_tree()
_collections_from_tree()
_mongomock_with_sort()


class _FakeApi(ThreadingHTTPServer):
    """The REST API as far as its clients need it, over plain HTTP on loopback. `fail` has answers to give first."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _FakeApiRequest)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.containers = {}  # container -> documents
        self.contents = {}  # object id -> bytes
        self.series = {}  # (measurement, topic) -> points
        self.gold = {}  # path within a container -> a list's items, an object, or bytes
        self.requests = []  # (verb, path, headers, body)
        self.fail = []  # (status, body)
        self.page = 2
        self.fails_processing = False
        self.bulk_files = 1000
        self.refused = set()  # names of files that a bulk insertion does not take

    def insert(self, container, name, content, metadata=None, content_type=None):
        documents = self.containers.setdefault(container, [])
        operation = {"dag_id": "new_input", "message": "not valid JSON" if self.fails_processing else "1 point"}
        document = {
            "swift_object_id": str(len(self.contents) + 1),
            "swift_container": container,
            "original_object_name": name,
            "content_type": content_type or "application/octet-stream",
            "size": len(content),
            "etag": hashlib.md5(content).hexdigest(),
            "successful_operations": [] if self.fails_processing else [operation],
            "failed_operations": [operation] if self.fails_processing else [],
            **(metadata or {}),
        }
        documents.append(document)
        self.contents[document["swift_object_id"]] = content
        return document


class _FakeApiRequest(BaseHTTPRequestHandler):
    server: _FakeApi

    def log_message(self, *_args):
        pass

    def handle_any(self):
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.command, self.path, dict(self.headers), body))
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        status, answer = self.server.fail.pop(0) if self.server.fail else self.answer(parts.path, query, body)
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

    @staticmethod
    def error(status, message):
        return status, {"error": {"code": "code", "message": message, "detail": None}}

    def paged(self, items, query):
        start = int(query.get("cursor", 0))
        end = start + min(self.server.page, int(query.get("limit", 100)))
        return 200, {"items": items[start:end], "next": str(end) if end < len(items) else None}

    def answer(self, path, query, body):
        if not path.startswith("/api/v1/"):
            return self.error(404, "nothing here")
        if path == "/api/v1/auth/token":
            given = json.loads(body)
            if given["password"] != "secret":
                return self.error(401, "wrong user or password")
            return 201, {"token": "token-of-" + given["username"], "expires_at": "2030-01-01T00:00:00Z", **given}
        if not self.headers.get("X-Auth-Token"):
            return self.error(401, "no token")
        container, kind, *rest = [unquote(part) for part in path.split("/")[4:]]
        if kind == "timeseries":
            return self.timeseries(rest[0], query)
        gold = self.server.gold.get("/".join([kind, *rest]))
        if gold is not None:
            return self.paged(gold, query) if isinstance(gold, list) else (200, gold)
        if self.command == "POST" and rest == ["bulk"]:
            return self.insert_many(container, body)
        if self.command == "POST":
            metadata, [file] = self.parts(body)
            return 201, self.server.insert(container, *file[:2], metadata, file[2])
        if container not in self.server.containers:
            return self.error(404, f"container {container} does not exist")
        documents = self.server.containers[container]
        if not rest:
            kinds = (None, query.get("content_type"))
            return self.paged([d for d in documents if d["content_type"] in kinds or kinds[1] is None], query)
        found = [document for document in documents if document["swift_object_id"] == rest[0]]
        if not found:
            return self.error(404, f"object {rest[0]} does not exist")
        return 200, self.server.contents[rest[0]] if rest[1:] == ["data"] else found[0]

    def insert_many(self, container, body):
        metadata, files = self.parts(body)
        items = []
        for number, (name, content, kind) in enumerate(files[: self.server.bulk_files]):
            if name in self.server.refused:
                items.append({"status": 413, "name": name, **self.error(413, "too large")[1]})
                continue
            given = metadata[number] if isinstance(metadata, list) else metadata
            document = self.server.insert(container, name, content, given, kind)
            items.append({"status": 201, "object": document})
        over = self.error(413, "too many files")[1] if len(files) > self.server.bulk_files else {"error": None}
        return 201 if len(items) == len(files) else 207, {"items": items, **over}

    def parts(self, body):
        """Metadata, and (name, content, type) of each file."""
        mark = b"--" + self.headers["Content-Type"].partition("boundary=")[2].encode()
        metadata, files = None, []
        for part in body.split(mark)[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            content = content[: -len(b"\r\n")]
            if b'name="metadata"' in head:
                metadata = json.loads(content)
                continue
            kind = re.search(rb"Content-Type: (.*)", head)
            name = unquote(re.search(rb'filename="([^"]*)"', head)[1].decode())
            files.append((name, content, kind[1].decode().strip() if kind else None))
        return metadata, files

    def timeseries(self, what, query):
        series = self.server.series
        if what == "measurements":
            return self.paged(sorted({measurement for measurement, _topic in series}), query)
        if what == "topics":
            return self.paged(sorted(t for m, t in series if m == query["measurement"]), query)
        points = series[query["measurement"], query["topic"]]
        return self.paged([p for p in points if query.get("from", "") <= p["time"] < query.get("to", "9")], query)


@pytest.fixture
def api():
    """A running double of the REST API; the password of everybody is "secret"."""
    server = _FakeApi()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
