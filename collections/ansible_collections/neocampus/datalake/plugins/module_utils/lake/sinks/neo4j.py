# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Graphs in Neo4j: nodes, edges between them, and which images are near-duplicates of which.

All containers are in one database (Neo4j Community has one): every node has `lake_store`, its container's store, and is
looked for with it. Whatever a user's name for a label, kind or property is, those that begin with `lake_` are not his.

    (:LakeSource {lake_store, lake_object, lake_operation, name, content_type, etag})   an object that has a graph
    (:LakeSource)-[:LAKE_MADE]->(n)                    who made a node; the same node can come of several objects
    (n)     lake_store, lake_object, lake_operation    the last one that wrote it, whose properties it has
    ()-[r]->()  lake_store, lake_object, lake_operation
    (:Image)-[:SIMILAR {distance, score}]->(:Image)    made here, from the images' hashes (see `descriptors`)

An object's records are replaced in one transaction. A node of an earlier operation goes when no object makes it any
more and no edge of another object needs it.
"""

from __future__ import annotations

import base64
import json
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from datetime import time as time_of_day
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ..descriptors import BANDS, THRESHOLD, bands, distance, likeness, probes
from ..errors import AccessDenied, InvalidInput, NotFound, StoreError
from ..records import Node, Record, Relation
from .base import Origin, Sink, Writer

if TYPE_CHECKING:
    import neo4j

T = TypeVar("T")
Transaction = Any  # neo4j.ManagedTransaction; its `run` wants statements that are literals, labels are none
Page = tuple[list[dict[str, Any]], "str | None"]
"""Items, and the `after` of the next page (None: there is none)."""

IMAGE, OBJECT, SHOWS, SIMILAR = "Image", "Object", "SHOWS", "SIMILAR"
MAX_RECORDS = 50_000
"""Of one object. They are written in one transaction, which has to fit in Neo4j's memory."""
MAX_LINKS = 100
"""How many near-duplicates an image is linked to when it is written: the nearest, of these the newest. A camera that
looks at the same thing all day would link each of its images with all others."""
BATCH = 1000
_KEY_BYTES = 4000  # Neo4j's indexes hold about 8,000
_RESERVED = "lake_"
_ATTEMPTS = 6
# What a transaction meets when another one has just deleted a node that it found, or uses one that it is to delete.
_RACES = ("Neo.ClientError.Statement.EntityNotFound", "Neo.ClientError.Transaction.TransactionMarkedAsFailed")
_IN_USE = "still has relationships"


def _names(key: tuple[tuple[str, Any], ...]) -> tuple[str, ...]:
    return tuple(name for name, _value in key)


def quote(name: str) -> str:
    """A label, kind or property as Cypher writes it. Errors: StoreError where it is empty or too long."""
    if not isinstance(name, str) or not name or len(name) > 200 or not name.isprintable():
        raise StoreError(f"{name!r:.60} cannot name a label, kind or property", retriable=False)
    return "`" + name.replace("`", "``") + "`"


class Neo4j:
    """One Neo4j server, over Bolt with TLS; connects when it is first used.

    `url` is bolt://host:port; `ca_file` is the authority that signed the server's certificate (without one, those that
    the host trusts). `timeout` is in seconds, for a connection and for a transaction; `patience` is how long a server
    that is away is tried again (default: as long).
    Errors of every method: StoreError, retriable unless Neo4j refused the data itself; AccessDenied for wrong
    credentials.
    """

    def __init__(
        self,
        url: str,
        username: str,
        password: str,
        *,
        ca_file: str | None = None,
        timeout: float = 30.0,
        patience: float | None = None,
        database: str = "neo4j",
    ) -> None:
        self.url = url
        self._credentials = (username, password)
        self._ca_file = ca_file
        self._timeout = timeout
        self._patience = timeout if patience is None else patience
        self._database = database
        self._opened: neo4j.Driver | None = None
        self._ensured: set[str] = set()

    @property
    def _driver(self) -> neo4j.Driver:
        if self._opened is None:
            import neo4j

            trusted = neo4j.TrustCustomCAs(self._ca_file) if self._ca_file else neo4j.TrustSystemCAs()
            self._opened = neo4j.GraphDatabase.driver(
                self.url,
                auth=self._credentials,
                encrypted=True,
                trusted_certificates=trusted,
                connection_timeout=self._timeout,
                connection_acquisition_timeout=self._timeout,
                max_transaction_retry_time=self._patience,
                keep_alive=True,
                notifications_min_severity="OFF",  # that a label is not there yet is no news
                telemetry_disabled=True,
                user_agent="neocampus-datalake",
            )
        return self._opened

    def close(self) -> None:
        """Closes its connections; it opens new ones when it is used again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def ensure(self) -> None:
        """Makes the constraints and indexes of sources, images and objects. Asked once in a process."""
        self.ensure_label("LakeSource", ("lake_object",))
        self.ensure_label(IMAGE, ("object_id",))
        self.ensure_label(OBJECT, ("name",))
        self.ensure_kind(SHOWS)
        for band in range(BANDS):
            self._schema(
                f"CREATE INDEX lake_image_band{band} IF NOT EXISTS FOR (n:{IMAGE}) ON (n.lake_store, n.lake_band{band})"
            )
        if "online" not in self._ensured:
            self.write(lambda tx: tx.run("CALL db.awaitIndexes(300)").consume())
            self._ensured.add("online")

    def ensure_label(self, label: str, keys: Sequence[str]) -> None:
        """Makes sure that a store has one node of this label for each key."""
        names = sorted(keys)
        columns = ", ".join("n." + quote(name) for name in ["lake_store", *names])
        self._schema(
            f"CREATE CONSTRAINT {quote('lake_key_' + '_'.join([label, *names]))} IF NOT EXISTS"
            f" FOR (n:{quote(label)}) REQUIRE ({columns}) IS UNIQUE"
        )

    def ensure_kind(self, kind: str) -> None:
        """Makes sure that an object's edges of this kind are found without looking at all edges."""
        self._schema(
            f"CREATE INDEX {quote('lake_edge_' + kind)} IF NOT EXISTS"
            f" FOR ()-[r:{quote(kind)}]-() ON (r.lake_store, r.lake_object)"
        )

    def _schema(self, statement: str) -> None:
        if statement not in self._ensured:
            self.write(lambda tx: tx.run(statement).consume())
            self._ensured.add(statement)

    def write(self, work: Callable[[Transaction], T]) -> T:
        """What `work` gives, done in one transaction; it is called again where another transaction was in the way."""
        import neo4j.exceptions

        with self._errors(), self._driver.session(database=self._database) as session:
            for attempt in range(_ATTEMPTS):
                try:
                    done: T = session.execute_write(neo4j.unit_of_work(timeout=self._timeout)(work))
                    return done
                except neo4j.exceptions.Neo4jError as error:
                    if attempt + 1 == _ATTEMPTS or not _is_race(error):
                        raise
                time.sleep(random.uniform(0, 0.1) * 2**attempt)
        raise RuntimeError("the last attempt returns or raises")

    def read(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a query that only reads."""
        import neo4j

        def work(tx: Transaction) -> list[dict[str, Any]]:
            return list(tx.run(statement, parameters).data())

        with self._errors(), self._driver.session(database=self._database) as session:
            return list(session.execute_read(neo4j.unit_of_work(timeout=self._timeout)(work)))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from neo4j import exceptions

        try:
            yield
        except exceptions.AuthError as error:
            raise AccessDenied(f"Neo4j at {self.url}: {error.message or error}") from error
        except exceptions.Neo4jError as error:
            code = str(error.code or "")
            refused = code.startswith(
                ("Neo.ClientError.Statement", "Neo.ClientError.Schema", "Neo.ClientError.Request")
            )
            message = f"Neo4j refused it: {error.message or error} ({code})"
            raise StoreError(message, retriable=not refused or _is_race(error), code=code) from error
        except exceptions.DriverError as error:
            raise StoreError(f"Neo4j at {self.url} did not answer: {error}", retriable=True) from error

    def ping(self) -> None:
        """Whether Neo4j lets the user in: an error if it does not."""
        self.read("RETURN 1 AS one")

    def image(self, store: str, object_id: str) -> dict[str, Any]:
        """What is known of an image: its properties (`width`, `format`, `taken`, `phash`, … as far as it has them; in
        place of the vector `appearance` the length of it), and how many `objects` it shows and `similar` ones it has.

        Errors: NotFound when it is no image of this store.
        """
        found = self.read(
            "MATCH (n:Image {lake_store: $store, object_id: $object_id})"
            " RETURN properties(n) AS known, count { (n)-[:SHOWS]->() } AS objects,"
            " count { (n)-[:SIMILAR]-() } AS similar",
            store=store,
            object_id=object_id,
        )
        if not found:
            raise _no_image(store, object_id)
        known = {key: value for key, value in found[0]["known"].items() if not key.startswith(_RESERVED)}
        if "appearance" in known:
            known["appearance"] = len(known["appearance"])
        return {**known, "objects": found[0]["objects"], "similar": found[0]["similar"]}

    def similar(self, store: str, object_id: str, limit: int = 50, after: str | None = None) -> Page:
        """Near-duplicates of an image, the nearest first: `object_id`, `distance` (bits), `score` (0–1), `filename`,
        `content_type`, `width`, `height`. Errors: NotFound when it is no image of this store; InvalidInput: `after`."""
        self._image(store, object_id)
        far, last = _parse_cursor(after, (int, str), (-1, ""))
        rows = self.read(
            "MATCH (n:Image {lake_store: $store, object_id: $object_id})-[r:SIMILAR]-(o:Image)"
            " WHERE r.distance > $far OR (r.distance = $far AND o.object_id > $last)"
            " RETURN o.object_id AS object_id, r.distance AS distance, r.score AS score, o.filename AS filename,"
            " o.content_type AS content_type, o.width AS width, o.height AS height"
            " ORDER BY distance, object_id LIMIT $limit",
            store=store,
            object_id=object_id,
            far=far,
            last=last,
            limit=limit + 1,
        )
        return _page(rows, limit, ("distance", "object_id"))

    def objects_in(self, store: str, object_id: str, limit: int = 50, after: str | None = None) -> Page:
        """What an image shows, by name: `name`, `role`, `source`, `confidence`, `count`.

        Errors: NotFound when it is no image of this store; InvalidInput: `after`.
        """
        self._image(store, object_id)
        last, role = _parse_cursor(after, (str, str), ("", ""))
        rows = self.read(
            "MATCH (n:Image {lake_store: $store, object_id: $object_id})-[r:SHOWS]->(o:Object)"
            " WHERE o.name > $last OR (o.name = $last AND r.role > $role)"
            " RETURN o.name AS name, r.role AS role, r.source AS source, r.confidence AS confidence, r.count AS count"
            " ORDER BY name, role LIMIT $limit",
            store=store,
            object_id=object_id,
            last=last,
            role=role,
            limit=limit + 1,
        )
        return _page(rows, limit, ("name", "role"))

    def images_of(self, store: str, name: str, limit: int = 50, after: str | None = None) -> Page:
        """The images that show an object, by id: `object_id`, `filename`, `content_type`, and `shows`, a list of
        `{role, source, confidence}`. Errors: InvalidInput: `after`."""
        (last,) = _parse_cursor(after, (str,), ("",))
        rows = self.read(
            "MATCH (o:Object {lake_store: $store, name: $name})<-[r:SHOWS]-(n:Image) WHERE n.object_id > $last"
            " WITH n, collect(r {.role, .source, .confidence}) AS shows ORDER BY n.object_id LIMIT $limit"
            " RETURN n.object_id AS object_id, n.filename AS filename, n.content_type AS content_type, shows",
            store=store,
            name=name,
            last=last,
            limit=limit + 1,
        )
        return _page(rows, limit, ("object_id",))

    def objects(self, store: str, limit: int = 50, after: str | None = None) -> Page:
        """The objects that images of a store show, by name: `name`, `images` (how many). Errors: InvalidInput."""
        (last,) = _parse_cursor(after, (str,), ("",))
        rows = self.read(
            "MATCH (o:Object {lake_store: $store}) WHERE o.name > $last WITH o ORDER BY o.name LIMIT $limit"
            " RETURN o.name AS name, count { MATCH (o)<-[:SHOWS]-(n:Image) RETURN DISTINCT n } AS images ORDER BY name",
            store=store,
            last=last,
            limit=limit + 1,
        )
        return _page(rows, limit, ("name",))

    def _image(self, store: str, object_id: str) -> None:
        found = self.read(
            "MATCH (n:Image {lake_store: $store, object_id: $object_id}) RETURN count(n) AS images",
            store=store,
            object_id=object_id,
        )
        if not found[0]["images"]:
            raise _no_image(store, object_id)


def _no_image(store: str, object_id: str) -> NotFound:
    return NotFound(f"{object_id!r:.60} of {store!r:.60} is no image in the graph", object_id=object_id)


def _is_race(error: neo4j.exceptions.Neo4jError) -> bool:
    return error.code in _RACES or _IN_USE in str(error.message)


def _page(rows: list[dict[str, Any]], limit: int, keys: Sequence[str]) -> Page:
    items = [{key: value for key, value in row.items() if value is not None} for row in rows[:limit]]
    if len(rows) <= limit or not items:
        return items, None
    text = json.dumps([rows[limit - 1][key] for key in keys])
    return items, base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parse_cursor(after: str | None, kinds: Sequence[type], default: Sequence[Any]) -> Sequence[Any]:
    if not after:
        return default
    try:
        values = json.loads(base64.urlsafe_b64decode(after + "=" * (-len(after) % 4)))
        if [type(value) for value in values] != list(kinds):
            raise ValueError
        if any(isinstance(value, int) and not -(2**63) <= value < 2**63 for value in values):
            raise ValueError
    except (ValueError, TypeError):  # also what is no Base64, no UTF-8, no JSON
        raise InvalidInput(f"{after!r:.60} is not the cursor of this list") from None
    return list(values)


def _value(name: str, value: Any) -> Any:
    """A property's value as Neo4j can hold it: decimal numbers as floats, a list of one type. Errors: StoreError."""
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        raise StoreError(f"{name!r:.60}: {value} does not fit in 64 bits", retriable=False)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise StoreError(f"{name!r:.60}: {value!r:.60} is not Unicode text", retriable=False) from None
    if isinstance(value, (list, tuple)):
        items = [_value(name, item) for item in value]
        types = {type(item) for item in items}
        if types == {int, float}:
            return [float(item) for item in items]
        if len(types) > 1 or types & {list, type(None)}:
            raise StoreError(f"{name!r:.60}: the items of a list have to be of one type", retriable=False)
        return items
    if value is not None and not isinstance(value, (bool, int, float, str, bytes, datetime, date, time_of_day)):
        raise StoreError(f"{name!r:.60}: {type(value).__name__} cannot be kept in a graph", retriable=False)
    return value


def _properties(given: Mapping[str, Any]) -> dict[str, Any]:
    for name in given:
        quote(name)
        if name.startswith(_RESERVED):
            raise StoreError(f"{name!r:.60}: names with {_RESERVED} in front are the lake's own", retriable=False)
    return {name: _value(name, value) for name, value in given.items() if value is not None}


def _key(node: Node) -> dict[str, Any]:
    key = _properties(node.key)
    if not key or len(key) < len(node.key):
        raise StoreError(f"a node of {node.label!r:.60} has no key, or an empty part in it", retriable=False)
    for name, value in key.items():
        if isinstance(value, (list, bytes)) or (isinstance(value, float) and not math.isfinite(value)):
            raise StoreError(f"{name!r:.60}: {value!r:.60} cannot be a node's key", retriable=False)
    if sum(len(str(value).encode()) for value in key.values()) > _KEY_BYTES:
        raise StoreError(f"the key of a node of {node.label!r:.60} is over {_KEY_BYTES} bytes", retriable=False)
    return key


def _check_label(name: str) -> str:
    quote(name)
    if name.lower().startswith("lake"):
        raise StoreError(f"{name!r:.60}: labels and kinds with lake in front are the lake's own", retriable=False)
    return name


Identity = tuple[str, tuple[tuple[str, Any], ...]]


def _identity(label: str, key: Mapping[str, Any]) -> Identity:
    return label, tuple(sorted(key.items()))


@dataclass
class _Graph:
    """The records of one object, checked."""

    origin: Origin
    nodes: dict[Identity, dict[str, Any]] = field(default_factory=dict)
    edges: list[tuple[str, Identity, Identity, dict[str, Any]]] = field(default_factory=list)

    def add(self, record: Record) -> None:
        if len(self.nodes) + len(self.edges) >= MAX_RECORDS:
            raise StoreError(f"over {MAX_RECORDS} nodes and edges of one object", retriable=False)
        if isinstance(record, Node):
            key = _key(record)
            properties = {**_properties(record.properties), **key}
            if record.label == IMAGE:
                properties.update(_bands(properties.get("phash")))
            self.nodes[_identity(_check_label(record.label), key)] = properties
        elif isinstance(record, Relation):
            if record.kind == SIMILAR:
                raise StoreError(f"edges of the kind {SIMILAR} are made from the images' hashes", retriable=False)
            ends = [_identity(_check_label(node.label), _key(node)) for node in (record.start, record.end)]
            self.edges.append((_check_label(record.kind), ends[0], ends[1], _properties(record.properties)))
        else:
            raise StoreError(f"a graph has nodes and edges, not {type(record).__name__}", retriable=False)

    @property
    def marks(self) -> dict[str, str]:
        origin = self.origin
        return {"lake_store": origin.store, "lake_object": origin.object_id, "lake_operation": origin.operation}

    def images(self) -> list[str]:
        return [
            str(properties["object_id"])
            for (label, _key), properties in self.nodes.items()
            if _compared(label, properties)
        ]


def _compared(label: str, properties: Mapping[str, Any]) -> bool:
    return label == IMAGE and "lake_band0" in properties


def _bands(phash: Any) -> dict[str, int]:
    if phash is None:
        return {}
    return {f"lake_band{number}": band for number, band in enumerate(bands(_hash(phash)))}


def _hash(phash: Any) -> int:
    try:
        value = int(phash, 16)
    except (TypeError, ValueError):
        value = -1
    if not 0 <= value < 2**64:
        raise StoreError(f"phash: 16 hexadecimal digits are expected, not {phash!r:.60}", retriable=False)
    return value


class Neo4jSink(Sink):
    """Keeps nodes and edges. `threshold` is how many bits the hashes of near-duplicates differ in at most."""

    name: ClassVar[str] = "neo4j"
    accepts: ClassVar[tuple[type, ...]] = (Node, Relation)

    def __init__(self, server: Neo4j, *, threshold: int = THRESHOLD) -> None:
        self._server = server
        self._threshold = threshold
        probes(0, threshold)  # a wrong threshold is told now

    def writer(self, origin: Origin) -> Writer:
        return _Writer(self, origin)

    def write(self, outputs: Sequence[tuple[Origin, Sequence[Record]]]) -> list[dict[str, Any]]:
        graphs = []
        for origin, records in outputs:
            graph = _Graph(origin)
            for record in records:
                graph.add(record)
            graphs.append(graph)
        return self.keep(graphs)

    def keep(self, graphs: Sequence[_Graph]) -> list[dict[str, Any]]:
        """Replaces what the store has of these objects, in one transaction, then links their images.

        The links come after it: of two images written at the same time, the one that is kept last then sees the other.
        """
        self._server.ensure()
        for label, names in sorted({(label, _names(key)) for g in graphs for label, key in g.nodes}):
            self._server.ensure_label(label, names)
        for kind in sorted({kind for graph in graphs for kind, *_rest in graph.edges}):
            self._server.ensure_kind(kind)
        self._server.write(lambda tx: _replace(tx, graphs))
        said = []
        for graph in graphs:
            similar = sum(self.link(graph.origin.store, image) for image in graph.images())
            said.append(
                {
                    "store": graph.origin.store,
                    "nodes": len(graph.nodes),
                    "relations": len(graph.edges),
                    "similar": similar,
                }
            )
        return said

    def link(self, store: str, object_id: str) -> int:
        """Brings the near-duplicates of an image up to date; says how many it has."""
        return self._server.write(lambda tx: _link(tx, store, object_id, self._threshold))


class _Writer(Writer):
    """The records of one object: they are kept here, MAX_RECORDS at most, and written when all are there."""

    def __init__(self, sink: Neo4jSink, origin: Origin) -> None:
        self._sink = sink
        self._graph = _Graph(origin)

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            self._graph.add(record)

    def commit(self) -> dict[str, Any]:
        return self._sink.keep([self._graph])[0]

    def close(self) -> None:
        self._graph = _Graph(self._graph.origin)


def _batches(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


def _pattern(name: str, label: str, keys: Iterable[str], row: str) -> str:
    """`(n:Label {lake_store: row.lake_store, key: row.key})`."""
    parts = "".join(f", {quote(key)}: {row}.{quote(key)}" for key in keys)
    return f"({name}:{quote(label)} {{lake_store: row.lake_store{parts}}})"


def _replace(tx: Transaction, graphs: Sequence[_Graph]) -> None:
    """Takes out what earlier operations made of these objects, and puts in what there is now."""
    sources = []
    for graph in sorted(graphs, key=lambda graph: (graph.origin.store, graph.origin.object_id)):
        origin = graph.origin
        details = {"name": origin.name, "content_type": origin.content_type, "etag": origin.etag}
        sources.append({**graph.marks, "details": {**graph.marks, **details}})
    kinds = sorted({kind for graph in graphs for kind, *_rest in graph.edges})
    before = tx.run(  # it also keeps a second operation on the same object waiting until this one ends
        "UNWIND $rows AS row MERGE (s:LakeSource {lake_store: row.lake_store, lake_object: row.lake_object})"
        " SET s += row.details WITH s, coalesce(s.kinds, []) AS kinds SET s.kinds = $kinds RETURN kinds",
        rows=sources,
        kinds=kinds,
    )
    old_kinds = sorted({kind for record in before for kind in record["kinds"]})
    loose: set[str] = set()  # nodes that may be needed no more
    for kind in old_kinds:
        removed = tx.run(
            f"UNWIND $rows AS row MATCH (a)-[r:{quote(kind)}"
            " {lake_store: row.lake_store, lake_object: row.lake_object}]->(b)"
            " WITH r, elementId(a) AS one, elementId(b) AS other DELETE r RETURN one, other",
            rows=sources,
        )
        for record in removed:
            loose.update((record["one"], record["other"]))
    unmade = tx.run(
        "UNWIND $rows AS row MATCH (:LakeSource {lake_store: row.lake_store, lake_object: row.lake_object})"
        "-[m:LAKE_MADE]->(n) WITH m, elementId(n) AS node DELETE m RETURN node",
        rows=sources,
    )
    loose.update(record["node"] for record in unmade)
    _put_nodes(tx, graphs)
    _put_edges(tx, graphs)
    for batch in _batches(sorted(loose)):
        tx.run(  # the lock comes first: what is found after it stays so
            "UNWIND $ids AS id MATCH (n) WHERE elementId(n) = id SET n.lake_lock = true"
            " WITH n WHERE NOT n:LakeSource AND NOT EXISTS { (n)<-[:LAKE_MADE]-() }"
            " AND NOT EXISTS { (n)-[r]-() WHERE type(r) <> 'SIMILAR' }"
            " OPTIONAL MATCH (n)-[x:SIMILAR]-() DELETE x, n",
            ids=batch,
        ).consume()
        tx.run("UNWIND $ids AS id MATCH (n) WHERE elementId(n) = id REMOVE n.lake_lock", ids=batch).consume()


def _put_nodes(tx: Transaction, graphs: Sequence[_Graph]) -> None:
    groups: dict[tuple[str, tuple[str, ...]], list[dict[str, Any]]] = {}
    for graph in graphs:
        for (label, key), properties in graph.nodes.items():
            row = {**graph.marks, "key": dict(key), "properties": {**properties, **graph.marks}}
            groups.setdefault((label, _names(key)), []).append(row)
    for (label, names), rows in sorted(groups.items(), key=lambda item: item[0]):
        # In one order, so that two transactions do not wait for each other.
        rows.sort(key=lambda row: [str(value) for value in row["key"].values()])
        node = _pattern("n", label, names, "row.key")
        for batch in _batches(rows):
            if label == IMAGE:  # what an image looked like before is not similar to anything
                tx.run(
                    f"UNWIND $rows AS row MATCH {node}-[x:SIMILAR]-()"
                    " WHERE coalesce(n.phash, '') <> coalesce(row.properties.phash, '') DELETE x",
                    rows=batch,
                ).consume()
            tx.run(
                "UNWIND $rows AS row"
                " MATCH (s:LakeSource {lake_store: row.lake_store, lake_object: row.lake_object})"
                f" MERGE {node} SET n = row.properties MERGE (s)-[m:LAKE_MADE]->(n)"
                " SET m.lake_operation = row.lake_operation",
                rows=batch,
            ).consume()


def _put_edges(tx: Transaction, graphs: Sequence[_Graph]) -> None:
    groups: dict[tuple[str, str, tuple[str, ...], str, tuple[str, ...]], list[dict[str, Any]]] = {}
    for graph in graphs:
        for kind, (start, start_key), (end, end_key), properties in graph.edges:
            group = (kind, start, _names(start_key), end, _names(end_key))
            row = {"lake_store": graph.origin.store, "start": dict(start_key), "end": dict(end_key)}
            groups.setdefault(group, []).append({**row, "properties": {**properties, **graph.marks}})
    for (kind, start, start_names, end, end_names), rows in groups.items():
        for batch in _batches(rows):
            made = tx.run(
                f"UNWIND $rows AS row MATCH {_pattern('a', start, start_names, 'row.start')}"
                f" MATCH {_pattern('b', end, end_names, 'row.end')} CREATE (a)-[r:{quote(kind)}]->(b)"
                " SET r = row.properties RETURN count(r) AS made",
                rows=batch,
            ).single(strict=True)["made"]
            if made != len(batch):
                raise StoreError(
                    f"{len(batch) - made} edges of the kind {kind!r:.60} have no node to begin or end at",
                    retriable=False,
                )


def _link(tx: Transaction, store: str, object_id: str, threshold: int) -> int:
    """Links an image to its near-duplicates.

    Both ends of a link are locked before their hashes are compared, so that an image that is replaced meanwhile gets no
    link by its old hash: it waits, or was there first.
    """
    mine = tx.run(
        "MATCH (n:Image {lake_store: $store, object_id: $object_id}) RETURN n.phash AS phash",
        store=store,
        object_id=object_id,
    ).single()
    if mine is None or mine["phash"] is None:
        return 0
    value = _hash(mine["phash"])
    near = []
    for found in _candidates(tx, store, value, threshold):
        apart = distance(value, _hash(found["phash"]))
        if apart <= threshold and found["object_id"] != object_id:
            near.append((apart, _newest(found["object_id"]), found["object_id"]))
    others = {found[2] for found in sorted(near)[:MAX_LINKS]} | _neighbours(tx, store, object_id)
    images = _lock(tx, store, others | {object_id})
    late = _neighbours(tx, store, object_id) - set(images)  # none, unless one came before the lock
    images.update(_lock(tx, store, late))
    me = images.pop(object_id, None)
    rows, apart_now = [], []
    if me is not None:
        for other, image in images.items():
            apart = threshold + 1
            if me["phash"] is not None and image["phash"] is not None:
                apart = distance(_hash(me["phash"]), _hash(image["phash"]))
            if apart > threshold:
                apart_now.append(other)
                continue
            score = round(likeness(me["appearance"] or (), image["appearance"] or ()), 4)
            low, high = sorted((object_id, other))
            rows.append({"low": low, "high": high, "distance": apart, "score": score})
    tx.run(
        "MATCH (n:Image {lake_store: $store, object_id: $object_id})-[r:SIMILAR]-(o:Image)"
        " WHERE o.object_id IN $others DELETE r",
        store=store,
        object_id=object_id,
        others=apart_now,
    ).consume()
    tx.run(
        "UNWIND $rows AS row MATCH (a:Image {lake_store: $store, object_id: row.low})"
        " MATCH (b:Image {lake_store: $store, object_id: row.high}) MERGE (a)-[r:SIMILAR]->(b)"
        " SET r.distance = row.distance, r.score = row.score, r.lake_store = $store",
        store=store,
        rows=rows,
    ).consume()
    _unlock(tx, store, [object_id, *images])
    return len(rows)


def _candidates(tx: Transaction, store: str, value: int, threshold: int) -> list[dict[str, Any]]:
    """Images with a band near one of the hash's: all that are near enough, and some more."""
    parts = [
        f"MATCH (n:Image) WHERE n.lake_store = $store AND n.lake_band{band} IN $keys{band}"
        " RETURN n.object_id AS object_id, n.phash AS phash"
        for band in range(BANDS)
    ]
    keys = {f"keys{band}": found for band, found in enumerate(probes(value, threshold))}
    return list(tx.run(" UNION ".join(parts), store=store, **keys).data())


def _newest(object_id: str) -> float:
    """For sorting: ids grow, so that the newest comes first."""
    return -int(object_id) if object_id.isdecimal() and len(object_id) < 300 else 0


def _neighbours(tx: Transaction, store: str, object_id: str) -> set[str]:
    found = tx.run(
        "MATCH (:Image {lake_store: $store, object_id: $object_id})-[:SIMILAR]-(o:Image)"
        " RETURN o.object_id AS object_id",
        store=store,
        object_id=object_id,
    )
    return {record["object_id"] for record in found}


def _lock(tx: Transaction, store: str, object_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Keeps others from changing these images until the transaction ends, and says what they are by then."""
    ids = sorted(object_ids)
    tx.run(
        "UNWIND $ids AS id MATCH (n:Image {lake_store: $store, object_id: id}) SET n.lake_lock = true",
        store=store,
        ids=ids,
    ).consume()
    found = tx.run(
        "UNWIND $ids AS id MATCH (n:Image {lake_store: $store, object_id: id})"
        " RETURN id, n.phash AS phash, n.appearance AS appearance",
        store=store,
        ids=ids,
    )
    return {record["id"]: {"phash": record["phash"], "appearance": record["appearance"]} for record in found}


def _unlock(tx: Transaction, store: str, object_ids: Iterable[str]) -> None:
    tx.run(
        "UNWIND $ids AS id MATCH (n:Image {lake_store: $store, object_id: id}) REMOVE n.lake_lock",
        store=store,
        ids=sorted(object_ids),
    ).consume()
