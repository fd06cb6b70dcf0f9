# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The API with fakes at its edge: Keystone (requests-mock), Swift (an httpx transport), MongoDB (mongomock), InfluxDB,
and the readers of tables, documents and graphs."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "roles/api/files/lake_api/src"))

anyio = pytest.importorskip("anyio")
httpx = pytest.importorskip("httpx")
mongomock = pytest.importorskip("mongomock")
requests = pytest.importorskip("requests")
requests_mock = pytest.importorskip("requests_mock")
pytest.importorskip("fastapi")
pytest.importorskip("keystoneauth1")
pytest.importorskip("python_multipart")
pytest.importorskip("uvicorn")

from lake_api.app import create_app  # noqa: E402
from lake_api.gold import Gold, Part  # noqa: E402
from lake_api.identity import Keystone, Tokens  # noqa: E402
from lake_api.inserts import Inserter  # noqa: E402
from lake_api.lake import Lake  # noqa: E402
from lake_api.revocations import Revocations  # noqa: E402
from lake_api.settings import Settings  # noqa: E402
from lake_api.stores import Stores  # noqa: E402
from lake_api.swift import Swift  # noqa: E402
from neocampus_lake.errors import NotFound, StoreError  # noqa: E402
from neocampus_lake.sinks.influxdb import InfluxDB, Rows  # noqa: E402
from neocampus_lake.times import format_time, parse_time  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

KEYSTONE = "https://keystone.test:5000/v3"
PROXIES = ["https://one.test:8080", "https://two.test:8080"]


def settings(tmp_path: Path, **limits: Any) -> Settings:
    return Settings.model_validate(
        {
            "identity": {"urls": [KEYSTONE], "username": "api", "password": "own-secret"},
            "swift": {"urls": PROXIES},
            "mongodb": {"hosts": ["mongo.test"], "tls": False},
            "influxdb": {"url": "https://influx.test:8086", "username": "api", "password": "own-secret"},
            "limits": {"spool_dir": str(tmp_path), **limits},
        }
    )


class FakeKeystone:
    """People, and the tokens that they have; counts how often a token was asked about."""

    def __init__(self, mock: Any) -> None:
        self.tokens: dict[str, dict[str, Any]] = {}
        self.people: dict[tuple[str, str], str] = {("ada", "campus"): "right"}
        self.projects = {"p1", "p2"}
        self.asked: list[str] = []
        self.logins: list[dict[str, Any]] = []
        self.mock = mock
        mock.post(f"{KEYSTONE}/auth/tokens", json=self._log_in)
        mock.get(f"{KEYSTONE}/auth/tokens", json=self._validate)
        mock.get(KEYSTONE, json={"version": {"id": "v3.14", "status": "stable", "links": []}})

    def give(
        self,
        token: str,
        project: str | None = "p1",
        roles: tuple[str, ...] = ("member",),
        seconds: float = 3600,
        everywhere: bool = False,
    ) -> str:
        expires = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body: dict[str, Any] = {
            "user": {"id": "u1", "name": "ada", "domain": {"id": "campus-id", "name": "campus"}},
            "expires_at": expires,
            "issued_at": "2020-01-01T00:00:00.000000Z",
            "methods": ["password"],
        }
        if project:
            body |= {
                "project": {
                    "id": project,
                    "name": f"name of {project}",
                    "domain": {"id": "campus-id", "name": "campus"},
                },
                "is_admin_project": everywhere,
                "roles": [{"id": r, "name": r} for r in roles],
            }
        self.tokens[token] = body
        return token

    def away(self) -> None:
        for verb in ("GET", "POST"):
            self.mock.register_uri(verb, f"{KEYSTONE}/auth/tokens", exc=requests.exceptions.ConnectTimeout)

    def _log_in(self, request: Any, context: Any) -> Any:
        auth = request.json()["auth"]
        context.status_code = 201
        if "password" not in auth["identity"]:
            return self._log_in_otherwise(auth, context)
        user = auth["identity"]["password"]["user"]
        if user["name"] == "api":
            context.headers["X-Subject-Token"] = self.give("own-token", "service", ("service",))
            return {"token": self.tokens["own-token"]}
        self.logins.append(auth)
        if self.people.get((user["name"], user["domain"]["name"])) != user["password"]:
            context.status_code = 401
            return {"error": {"code": 401, "message": "The request you have made requires authentication."}}
        return self._new_token(context, None if auth.get("scope") == "unscoped" else "p1")

    def _new_token(self, context: Any, project: str | None) -> Any:
        token = f"token-{len(self.tokens)}"
        context.headers["X-Subject-Token"] = self.give(token, project)
        return {"token": self.tokens[token]}

    def _log_in_otherwise(self, auth: Any, context: Any) -> Any:
        self.logins.append(auth)
        proof = auth["identity"]
        if self.tokens.get(proof.get("token", {}).get("id")) and auth["scope"]["project"]["name"] in self.projects:
            return self._new_token(context, auth["scope"]["project"]["name"])
        if proof.get("application_credential") == {"id": "app1", "secret": "app-secret"}:
            assert "scope" not in auth
            return self._new_token(context, "p1")
        context.status_code = 401
        return {"error": {"code": 401, "message": "The request you have made requires authentication."}}

    def _validate(self, request: Any, context: Any) -> Any:
        token = request.headers["X-Subject-Token"]
        self.asked.append(token)
        assert request.headers["X-Auth-Token"] == "own-token"
        if token not in self.tokens:
            context.status_code = 404
            return {"error": {"code": 404, "message": "not found"}}
        return {"token": self.tokens[token]}


class FakeSwift:
    """Proxies that share containers and objects in memory; `away` names hosts that can't be reached."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, str]] = {}
        self.objects: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.headers: list[Any] = []
        self.away: set[str] = set()
        self.quotas: dict[str, dict[str, str]] = {}
        self.reseller = False
        """Whether tokens may set quotas of accounts."""
        self.answers: list[Any] = []
        """What the next puts of objects answer instead: a status, an answer, or an exception."""
        self.answers_to: dict[str, Any] = {}
        """The same for all puts of one object, by its path."""
        self.gate: Any = None
        """Puts of objects wait until this event is set."""
        self.puts = self.most_puts = 0
        """Puts of objects under way, and most of them at a time."""

    async def __call__(self, request: Any) -> Any:
        host, (path, _, query) = request.url.host, request.url.raw_path.decode().partition("?")
        self.requests.append((request.method, host, path))
        self.headers.append(request.headers)
        if host in self.away:
            raise httpx.ConnectError("no route", request=request)
        if path == "/healthcheck":
            return httpx.Response(200, text="OK")
        _, _, account, *rest = path.split("/", 4)
        if not rest:
            return self._account(request, f"/v1/{account}", query)
        if len(rest) > 1:
            return await self._object(request, path)
        if request.method == "DELETE":
            if any(name.startswith(path + "/") for name in self.objects):
                return httpx.Response(409)
            return httpx.Response(204 if self.containers.pop(path, None) is not None else 404)
        if request.method == "POST" and path in self.containers:
            self.containers[path].update(request.headers)
            return httpx.Response(204)
        if request.method == "HEAD" and path in self.containers:
            kept = {k: v for k, v in self.containers[path].items() if k.startswith("x-c")}
            return httpx.Response(204, headers={**kept, "x-webhook": self.containers[path].get("x-webhook", "off")})
        if request.method == "PUT":
            self.containers[path] = dict(request.headers)
            return httpx.Response(201)
        return httpx.Response(204 if path in self.containers else 404)

    def _account(self, request: Any, path: str, query: str) -> Any:
        quota = self.quotas.get(path, {})
        if request.method == "POST":
            if not self.reseller:
                return httpx.Response(403)
            self.quotas[path] = {k: v for k, v in request.headers.items() if k.startswith("x-account-quota") and v}
            return httpx.Response(204)
        sizes: dict[str, list[int]] = {name: [] for name in self.containers if name.startswith(path + "/")}
        for name, stored in self.objects.items():
            if name.startswith(path + "/"):
                sizes[name.rpartition("/")[0]].append(len(stored["body"]))
        listed = [
            {"name": name.rpartition("/")[2], "count": len(each), "bytes": sum(each)}
            for name, each in sorted(sizes.items())
        ]
        if request.method == "HEAD":
            count, size = sum(each["count"] for each in listed), sum(each["bytes"] for each in listed)
            total = {"x-account-object-count": str(count), "x-account-bytes-used": str(size)}
            return httpx.Response(204, headers={**total, **quota})
        given = dict(parse_qsl(query))
        after = [each for each in listed if each["name"] > given.get("marker", "")]
        return httpx.Response(200, json=after[: int(given["limit"])])

    async def _object(self, request: Any, path: str) -> Any:
        if request.method == "DELETE":
            if path in self.answers_to:
                return httpx.Response(self.answers_to[path])
            if self.objects.pop(path, None) is None:
                return httpx.Response(404)
            if request.url.query == b"multipart-manifest=delete":
                return httpx.Response(200, json={"Response Status": "200 OK", "Number Deleted": 1, "Errors": []})
            return httpx.Response(204)
        if request.method == "PUT":
            self.puts += 1
            self.most_puts = max(self.puts, self.most_puts)
            try:
                body = await request.aread()
                await (self.gate.wait() if self.gate else anyio.sleep(0))
            finally:
                self.puts -= 1
            if self.answers or path in self.answers_to:
                answer = self.answers_to.get(path) or self.answers.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return answer if isinstance(answer, httpx.Response) else httpx.Response(answer)
            if path.rpartition("/")[0] not in self.containers:
                return httpx.Response(404)
            if request.headers.get("if-none-match") == "*" and path in self.objects:
                return httpx.Response(412)
            md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
            if request.headers.get("etag", md5) != md5:
                return httpx.Response(422)
            self.objects[path] = {
                "body": body,
                "type": request.headers["content-type"],
                "chunked": "content-length" not in request.headers,
            }
            return httpx.Response(201, headers={"etag": md5})
        stored = self.objects.get(path)
        if stored is None:
            return httpx.Response(404)
        body, headers = stored["body"], {"content-type": stored["type"], "etag": "x", "accept-ranges": "bytes"}
        if request.method == "HEAD":
            md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
            headers |= {"etag": md5, "x-timestamp": "1700000000.12345", **stored.get("headers", {})}
        if request.headers.get("if-none-match") == "x":
            return httpx.Response(304, headers=headers)
        if asked := request.headers.get("range"):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            if int(first) >= len(body):
                return httpx.Response(416, headers={"content-range": f"bytes */{len(body)}"})
            part = body[int(first) : int(last) + 1]
            headers["content-range"] = f"bytes {first}-{last}/{len(body)}"
            return _streamed(206, part, headers)
        return _streamed(200, body, headers)


def _streamed(status: int, body: bytes, headers: dict[str, str]) -> Any:
    return httpx.Response(status, stream=httpx.ByteStream(body), headers={**headers, "content-length": str(len(body))})


class FakeInfluxDB:
    """The reading half of the library's client over a list of points."""

    cursor = staticmethod(InfluxDB.cursor)

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, int, float]] = []
        self.error: StoreError | None = None
        self.asked: list[tuple[str, Any]] = []
        self.windows: list[Rows] = []
        self.breaks_after: int | None = None

    def add(self, database: str, measurement: str, topic: str, time: str, value: float) -> None:
        self.rows.append((database, measurement, topic, parse_time(time), value))

    def query(self, database: str | None, statement: str) -> list[Any]:
        return []

    def stream(self, database: str, statements: list[str], params: Any = None) -> Iterator[Rows]:
        """All points of a measurement, two at a time; or what `windows` has, where they are grouped."""
        if self.error:
            raise self.error
        self.asked.append((statements[-1], params))
        measurement = statements[0].split('FROM "')[1].split('"')[0]
        mine = sorted((row for row in self.rows if row[:2] == (database, measurement)), key=lambda row: row[3])
        if not mine:
            return
        if statements[0].startswith("SHOW"):
            yield Rows(0, measurement, {}, [["topic"]])
            yield Rows(1, measurement, {}, [["lake_origin", "string"], ["value", "float"]])
        elif "GROUP BY" in statements[0]:
            for number, one in enumerate(self.windows):
                if number == self.breaks_after:
                    raise StoreError("InfluxDB broke off its answer")
                yield one
        else:
            for start in range(0, len(mine), 2):
                yield Rows(0, measurement, {}, [[row[3], row[2], row[4]] for row in mine[start : start + 2]])

    def measurements(self, database: str) -> list[str]:
        if self.error:
            raise self.error
        return sorted({row[1] for row in self.rows if row[0] == database})

    def topics(self, database: str, measurement: str) -> list[str]:
        return sorted({row[2] for row in self.rows if row[:2] == (database, measurement)})

    def points(
        self,
        database: str,
        measurement: str,
        topic: Sequence[str] = (),
        start: int | None = None,
        end: int | None = None,
        limit: int = 1000,
        after: str | None = None,
        origins: bool = False,
        descending: bool = False,
        fields: Any = None,
    ) -> list[dict[str, Any]]:
        first, _, skip = (after or "").partition(".")
        place = int(first) if first else None
        begin = max([bound for bound in (start, None if descending else place) if bound is not None], default=None)
        if descending and place is not None:
            end = min(place + 1, end or place + 1)
        found = [
            {"time": format_time(row[3]), "value": row[4], "topic": row[2]}
            | ({"lake_origin": {"object": "1", "operation": "ab12"}} if origins else {})
            for row in sorted(self.rows, key=lambda row: row[3], reverse=descending)
            if row[:2] == (database, measurement)
            and (not topic or row[2] in topic)
            and (begin is None or row[3] >= begin)
            and (end is None or row[3] < end)
        ]
        return found[int(skip or 0) :][:limit]


def page_of(items: list[Any], limit: int, after: str | None) -> tuple[list[Any], str | None]:
    """A page of a reader, whose cursor is how many were before it."""
    start = int(after or 0)
    return items[start : start + limit], str(start + limit) if len(items) > start + limit else None


class FakeTables:
    """The library's reader of tables, over rows in memory: `stores` has the tables of each store."""

    def __init__(self) -> None:
        self.stores: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.error: Exception | None = None
        self.asked: dict[str, Any] = {}

    def _table(self, store: str, table: str) -> list[dict[str, Any]]:
        if self.error:
            raise self.error
        if table not in self.stores.get(store, {}):
            raise NotFound(f"{store} has no table {table!r}", store=store)
        return self.stores[store][table]

    def ping(self) -> None:
        if self.error:
            raise self.error

    def names(self, store: str, limit: int, after: str | None) -> tuple[list[str], str | None]:
        self.ping()
        return page_of(sorted(self.stores.get(store, {})), limit, after)

    def table(self, store: str, table: str) -> dict[str, Any]:
        rows = self._table(store, table)
        columns = [{"column": name, "name": name.title(), "type": "text"} for name in rows[0] if name != "lake"]
        facts = {"name": table.title(), "key": [], "current": None, "objects": 1}
        return {"table": table, "columns": columns, "rows": len(rows), **facts}

    def rows(self, store: str, table: str, filters: Any, **named: Any) -> tuple[list[dict[str, Any]], str | None]:
        self.asked = {"filters": filters, **named}
        rows = [row for row in self._table(store, table) if named["object_id"] in (None, row["lake"]["object"])]
        found, after = page_of(rows, named["limit"], named["after"])
        keep = named["columns"]
        return [{k: v for k, v in row.items() if keep is None or k in (*keep, "lake")} for row in found], after


class FakeDocuments:
    """The library's reader of documents and files, over those of each store in memory."""

    def __init__(self) -> None:
        self.stores: dict[str, list[dict[str, Any]]] = {}
        self.contents: dict[tuple[str, str, str], bytes] = {}
        self.error: Exception | None = None
        self.asked: dict[str, Any] = {}
        self.opened: list[io.BytesIO] = []

    def ping(self) -> None:
        if self.error:
            raise self.error

    def documents(self, store: str, filters: Any, **named: Any) -> tuple[list[dict[str, Any]], str | None]:
        self.ping()
        self.asked = {"filters": filters, **named}
        mine = [one for one in self.stores.get(store, []) if named["object_id"] in (None, one["lake"]["object"])]
        return page_of(mine, named["limit"], named["after"])

    def document(self, store: str, object_id: str, number: int) -> dict[str, Any]:
        for one in self.stores.get(store, []):
            if (one["lake"]["object"], one["lake"]["number"]) == (object_id, number):
                return one
        raise NotFound(f"{store} has no document {number} of object {object_id}", store=store)

    def _file(self, key: tuple[str, str, str]) -> dict[str, Any]:
        content = self.contents[key]
        facts = {"content_type": "image/jpeg", "length": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        return {"name": key[2], "details": {}, "lake": {"object": key[1], "operation": "ab12"}, **facts}

    def files(self, store: str, *, object_id: str | None, limit: int, after: str | None) -> Any:
        mine = [key for key in sorted(self.contents) if key[0] == store and object_id in (None, key[1])]
        return page_of([self._file(key) for key in mine], limit, after)

    def open_file(self, store: str, object_id: str, name: str) -> tuple[dict[str, Any], io.BytesIO]:
        if (store, object_id, name) not in self.contents:
            raise NotFound(f"{store} has no file {name!r}", store=store)
        self.opened.append(io.BytesIO(self.contents[store, object_id, name]))
        return self._file((store, object_id, name)), self.opened[-1]


class FakeGraph:
    """The library's reader of graphs, over the images of each store: id -> {facts, shows, similar}."""

    def __init__(self) -> None:
        self.stores: dict[str, dict[str, dict[str, Any]]] = {}
        self.error: Exception | None = None

    def ping(self) -> None:
        if self.error:
            raise self.error

    def _image(self, store: str, object_id: str) -> dict[str, Any]:
        self.ping()
        if object_id not in self.stores.get(store, {}):
            raise NotFound(f"{object_id} of {store} is no image in the graph")
        return self.stores[store][object_id]

    def image(self, store: str, object_id: str) -> dict[str, Any]:
        known = self._image(store, object_id)
        numbers = {"objects": len(known["shows"]), "similar": len(known["similar"])}
        return {"object_id": object_id, **known["facts"], **numbers}

    def objects_in(self, store: str, object_id: str, limit: int, after: str | None = None) -> Any:
        return page_of(self._image(store, object_id)["shows"], limit, after)

    def similar(self, store: str, object_id: str, limit: int, after: str | None) -> Any:
        return page_of(self._image(store, object_id)["similar"], limit, after)

    def objects(self, store: str, limit: int, after: str | None) -> Any:
        self.ping()
        shown = [one["name"] for image in self.stores.get(store, {}).values() for one in image["shows"]]
        return page_of([{"name": name, "images": shown.count(name)} for name in sorted(set(shown))], limit, after)

    def images_of(self, store: str, name: str, limit: int, after: str | None) -> Any:
        self.ping()
        found = [
            {"object_id": object_id, "shows": [{"role": one["role"]} for one in image["shows"] if one["name"] == name]}
            for object_id, image in self.stores.get(store, {}).items()
        ]
        return page_of([one for one in found if one["shows"]], limit, after)


@pytest.fixture
def keystone() -> Iterator[FakeKeystone]:
    with requests_mock.Mocker() as mock:
        fake = FakeKeystone(mock)
        fake.give("good")
        yield fake


@pytest.fixture
def swift() -> FakeSwift:
    return FakeSwift()


@pytest.fixture
def mongo() -> Any:
    return mongomock.MongoClient(tz_aware=True)


@pytest.fixture
def influx() -> FakeInfluxDB:
    return FakeInfluxDB()


@pytest.fixture
def tables() -> FakeTables:
    return FakeTables()


@pytest.fixture
def gold_documents() -> FakeDocuments:
    return FakeDocuments()


@pytest.fixture
def graph() -> FakeGraph:
    return FakeGraph()


@pytest.fixture
def gold(tables: FakeTables, gold_documents: FakeDocuments, graph: FakeGraph) -> Gold:
    """Stores of gold; a test may take one away."""
    return Gold(
        Part("The store of tables", "tables", tables, 5),  # type: ignore[type-var]
        Part("The store of documents", "documents and files", gold_documents, 5),  # type: ignore[type-var]
        Part("The graph", "graphs", graph, 5),  # type: ignore[type-var]
    )


@pytest.fixture
def chosen(tmp_path: Path) -> Settings:
    bulk = {"bulk_files": 30, "bulk_puts": 3, "block_files": 5, "block_bytes": 3000}
    return settings(tmp_path, memory_bytes=1000, spool_bytes=10_000, object_bytes=20_000, **bulk)


@pytest.fixture
def connect(swift: FakeSwift, mongo: Any, influx: FakeInfluxDB, gold: Gold) -> Any:
    def _connect(chosen: Settings) -> Lake:
        keystone_ = Keystone(chosen.identity, None)
        swift_ = Swift(chosen.swift, transport=httpx.MockTransport(swift))
        stores = Stores(mongo, influx, 5)  # type: ignore[arg-type]
        return Lake(
            chosen,
            keystone_,
            Tokens(keystone_, chosen.identity, Revocations(mongo, chosen.identity)),
            swift_,
            stores,
            Inserter(chosen.limits, swift_, stores),
            gold,
        )

    return _connect


@pytest.fixture
def api(keystone: FakeKeystone, chosen: Settings, connect: Any) -> Iterator[TestClient]:
    """A client of a running API whose requests carry a member's token of project p1."""
    with TestClient(create_app(chosen, connect), raise_server_exceptions=False) as client:
        client.headers["X-Auth-Token"] = "good"
        yield client


@pytest.fixture
def documents(mongo: Any) -> Any:
    """The documents of a store."""
    return lambda store: list(mongo["swift"][store].find())


def form(*parts: tuple[str, str | None, bytes | str, str | None], boundary: str = "mark") -> dict[str, Any]:
    """content and headers for a multipart body of (name, filename, content, type)."""
    body = b""
    for name, filename, content, kind in parts:
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        body += f'; filename="{filename}"'.encode() if filename else b""
        body += f"\r\nContent-Type: {kind}".encode() if kind else b""
        body += b"\r\n\r\n" + (content if isinstance(content, bytes) else content.encode()) + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return {"content": body, "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"}}


@pytest.fixture
def insert(api: TestClient) -> Any:
    """insert(container, name, content, metadata=None, kind=None, file_first=False) -> answer."""

    def _insert(
        container: str,
        name: str,
        content: bytes,
        metadata: Any = None,
        kind: str | None = None,
        file_first: bool = False,
    ) -> Any:
        parts: list[Any] = [("file", name, content, kind)]
        if metadata is not None:
            given = metadata if isinstance(metadata, (str, bytes)) else json.dumps(metadata)
            parts.insert(1 if file_first else 0, ("metadata", None, given, "application/json"))
        return api.post(f"/api/v1/containers/{container}/objects", **form(*parts))

    return _insert


@pytest.fixture
def body_of() -> Any:
    return form


def error(answer: Any, status: int, code: str | None = None) -> str:
    """The message of an error answer, after checking its form."""
    assert answer.status_code == status, answer.text
    found = answer.json()["error"]
    assert set(found) == {"code", "message", "detail"}
    assert code in (None, found["code"])
    assert answer.headers["x-request-id"]
    return str(found["message"])


@pytest.fixture
def error_of() -> Any:
    return error
