# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of the search over metadata (docs/search.md): what it costs an insertion, and how long queries take.

    LAKE_TEST_MONGODB='{"host": "127.0.0.1"}' python tests/bench/search.py [--documents 1000000]

Needs no lake but a MongoDB, which the variable names as JSON with MongoClient's arguments; it writes to collections of
the database `swift` whose names begin with `bench-`, and drops them but for the large one (`--drop` drops that, too).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
__import__("conftest")  # makes the library importable

LARGE = "bench-search"
BLOCK = 64  # documents of a write, as in a bulk insertion
COST = 16_000  # documents that the cost of an insertion is measured with
SEARCHED = ("search_1__id_-1", "other_data.$**_1", "application_1__id_-1", "swift_user_1__id_-1", "size_1__id_-1")
QUANTITIES = ("temperature", "humidity", "lux", "co2", "pressure", "energy", "presence", "noise")
BUILDINGS = ("u1", "u2", "u3", "u4", "irit", "laas", "bu", "crous")
APPLICATIONS = ("comfort", "energy audit", "Étude acoustique", None)
START = datetime(2024, 1, 1, tzinfo=UTC)


class Made:
    """Documents as a campus has them, the same each time."""

    def __init__(self) -> None:
        self._random = random.Random(1)
        letters = "abcdefghijklmnopqrstuvwxyz"
        self._words = ["".join(self._random.choices(letters, k=self._random.randint(4, 10))) for _ in range(20_000)]

    def document(self, number: int) -> dict[str, Any]:
        """The document of the object with this id."""
        from neocampus_lake.documents import new_document, operation

        draw = self._random
        created = START + timedelta(seconds=80 * number)
        quantity, building, room = draw.choice(QUANTITIES), draw.choice(BUILDINGS), draw.randint(100, 420)
        name, kind = self._name(number, quantity, f"{building}_{room}", created)
        other: dict[str, Any] = {
            "room": room,
            "building": building,
            "calibrated": bool(room % 2),
            "operator": {"name": f"{draw.choice(self._words)} Élève", "team": draw.choice(["énergie", "eau", "air"])},
            "note": " ".join(draw.choices(self._words, k=8)),
            "threshold": round(draw.random() * 100, 2),
        }
        if kind == "application/json":
            other["template"] = {"measurement": quantity, "time": "time", "fields": ["value"]}
        document = new_document(
            object_id=str(number),
            container=LARGE,
            project_id="bench",
            user=f"user{draw.randint(1, 40)}",
            object_name=str(number),
            original_name=name,
            content_type=kind,
            size=draw.randint(100, 10**7),
            metadata={"other_data": other},
            now=created,
            status="stored",
        )
        document["application"] = draw.choice(APPLICATIONS)
        done = operation(
            dag_id="new_input",
            operation_instance=f"new_input__{number:016x}",
            execution_date=created,
            pipeline="sensor_messages",
            version="1",
            records=10,
            services=["influxdb"],
            gold={"influxdb": {"measurements": [quantity], "points": 10}},
        )
        document["successful_operations"] = [done]
        return document

    def _name(self, number: int, quantity: str, room: str, created: datetime) -> tuple[str, str]:
        kinds = (
            (f"{room}_{quantity}_{created:%Y-%m-%d}.json", "application/json"),
            (f"Export {quantity} {created:%Y-%m} {number}.csv", "text/csv"),
            (f"IMG_{number}_{self._random.choice(self._words)}.jpg", "image/jpeg"),
        )
        return self._random.choices(kinds, (60, 27, 13))[0]


def blocks(documents: list[Any], size: int = BLOCK) -> Iterator[list[Any]]:
    """The documents in writes."""
    for start in range(0, len(documents), size):
        yield documents[start : start + size]


def cost(client: Any, made: Made) -> None:
    """Prints the time of a write for each document, with the indexes and words of search and without."""
    from neocampus_lake.metadata import MetadataStore
    from neocampus_lake.search import searchable

    plain = [made.document(number) for number in range(1, COST + 1)]
    start = time.process_time()
    with_words = [searchable(document) for document in plain]
    print(f"words: {(time.process_time() - start) / COST * 1e6:.0f} µs a document")
    stores = {"bench-without": plain, "bench-with": with_words}
    for store in stores:
        client["swift"].drop_collection(store)
        MetadataStore(client).ensure_indexes(store)
    for index in SEARCHED:
        client["swift"]["bench-without"].drop_index(index)
    seconds = dict.fromkeys(stores, 0.0)
    pairs = [(store, block) for store, documents in stores.items() for block in blocks(documents, 2_000)]
    for store, block in random.Random(2).sample(pairs, len(pairs)):  # a machine that drifts does so for both
        start = time.perf_counter()
        for part in blocks(block):
            client["swift"][store].insert_many(part, ordered=False)
        seconds[store] += time.perf_counter() - start
    for store, taken in seconds.items():
        print(f"{store}: {taken / COST * 1e6:.0f} µs a document")
        client["swift"].drop_collection(store)


def fill(client: Any, made: Made, count: int) -> None:
    """Makes the large container, if it is not there."""
    from neocampus_lake.metadata import MetadataStore
    from neocampus_lake.search import searchable

    documents = client["swift"][LARGE]
    if documents.estimated_document_count() == count:
        return
    documents.drop()
    MetadataStore(client).ensure_indexes(LARGE)
    block: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        block.append(searchable(made.document(number)))
        if len(block) == 1000 or number == count:
            documents.insert_many(block, ordered=False)
            block = []


def queries(client: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What is asked, by name."""
    from neocampus_lake.catalogue import FACETS, Catalogue, Wanted
    from neocampus_lake.search import asked
    from neocampus_lake.sinks.reading import Filter

    catalogue = Catalogue(client)

    def search(text: str | None = None, **given: Any) -> Callable[[], Any]:
        wanted = Wanted(words=asked(text) if text else (), **given)
        return lambda: len(catalogue.search([LARGE], wanted, limit=21))

    def facets(text: str | None, most: int) -> Callable[[], Any]:
        wanted = Wanted(words=asked(text) if text else ())
        return lambda: catalogue.facets([LARGE], wanted, list(FACETS), most)[1]

    yield "the newest", search()
    for text in ("temperature", "temperature u4", "temperature u4 302", "u*", "abc*", "abc* temperature", "lux zzzzz"):
        yield text, search(text)
    yield "other_data.room:eq:302", search(where=(Filter("other_data.room", "eq", 302),))
    narrow = (Filter("other_data.threshold", "ge", 50.0), Filter("other_data.threshold", "lt", 50.01))
    yield "a narrow range in other_data", search(where=narrow)
    yield "application", search(application="comfort")
    yield "user", search(user="user7")
    yield "a day", search(start=START, end=START + timedelta(days=1))
    yield "failed", search(processing="failed")
    yield "a part of a name", search(name="_77777")
    yield "facets of 20,000", facets(None, 20_000)
    for text in ("temperature", "temperature u4"):
        yield f"facets of 20,000: {text}", facets(text, 20_000)
    yield "facets of all, exact", facets(None, 10**9)


def main() -> None:
    import pymongo

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--drop", action="store_true", help="drop the large container at the end")
    given = parser.parse_args()
    if not os.environ.get("LAKE_TEST_MONGODB"):
        parser.error('LAKE_TEST_MONGODB names no MongoDB, e.g. \'{"host": "127.0.0.1"}\'')
    with pymongo.MongoClient(**json.loads(os.environ["LAKE_TEST_MONGODB"]), tz_aware=True) as client:
        made = Made()
        cost(client, made)
        fill(client, made, given.documents)
        sizes = client["swift"].command("collstats", LARGE)
        print({name: f"{sizes[name] / 1e6:.0f} MB" for name in ("size", "totalIndexSize")})
        for name, ask in queries(client):
            taken = []
            for _ in range(3):
                start = time.perf_counter()
                found = ask()
                taken.append((time.perf_counter() - start) * 1000)
            print(f"{name:40} {taken[0]:7.0f} ms first {min(taken):7.0f} ms best  {found:,}")
        if given.drop:
            client["swift"].drop_collection(LARGE)


if __name__ == "__main__":
    main()
