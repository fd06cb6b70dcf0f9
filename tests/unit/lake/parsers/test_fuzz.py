# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the fuzz targets of dumps and JSON on mutated files: whatever a file holds, the parser ends soon, in bounded
memory, with nothing worse than a LakeError."""

import gzip
import importlib.util
import json
import random
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
DUMPS = [path.read_bytes() for path in sorted((ROOT / "tests/data/dumps").iterdir()) if path.suffix != ".md"]
RUNS = 150
SECONDS = 20
TOKENS = [
    b"'",
    b'"',
    b"\\",
    b"(",
    b")",
    b",",
    b";",
    b"\0",
    b"\xff",
    b"\n",
    b"/*",
    b"*/",
    b"--",
    b"$$",
    b"NULL",
    b"{",
    b"[",
    b"}",
]
TOKENS += [
    b"]",
    b":",
    b"1e400",
    b"9" * 40,
    b"DELIMITER x\n",
    b"COPY t FROM stdin;\n",
    b"\\.\n",
    b"INSERT INTO t VALUES (",
]
TOKENS += [
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x03a\0",
    b"/*!50000 ",
    b"\x1f\x8b\x08",
    b"\\ud800",
    b"CREATE TABLE t (",
]


def seeds(name):
    bson = pytest.importorskip("bson")
    documents = [{"n": n, "$a.b": [n, {"x": "é" * n}], "d": bson.Int64(n)} for n in range(20)]
    message = {"topic": "u4", "value": [1, 2], "value_units": ["a", "b"], "time": "2024-05-01T10:00:00Z"}
    features = [{"type": "Feature", "properties": {"n": 1}, "at": "2024-05-01", "value": [1]}]
    csv = b"Identifiant PRM;Grandeur physique;Horodate;Valeur\n3;EA;2026-01-01T00:00:00+01:00;1\n3;EA;01/02/2026;1,5\n"
    return {
        "sql_dump": DUMPS,
        "meter_dump": [*DUMPS, csv * 5],
        "json_any": [
            json.dumps(value).encode()
            for value in (
                message,
                [message] * 5,
                documents_of(documents),
                {"type": "FeatureCollection", "features": features * 5},
            )
        ]
        + [b"\n".join([json.dumps(message).encode()] * 5)],
        "bson_dump": [b"".join(map(bson.encode, documents))],
    }[name]


def documents_of(documents):
    return [{key: value for key, value in document.items() if key != "d"} for document in documents]


def mutated(generator, seed, others):
    data = bytearray(seed)
    for _change in range(generator.choice((1, 1, 2, 5, 30))):
        at = generator.randrange(len(data) + 1)
        kind = generator.randrange(6)
        if kind == 0:
            data[at : at + 1] = bytes([generator.randrange(256)])
        elif kind == 1:
            data[at:at] = generator.choice(TOKENS) * generator.choice((1, 1, 1, 2, 500))
        elif kind == 2:
            del data[at : at + generator.choice((1, 4, 100))]
        elif kind == 3:
            end = at + generator.randrange(200)
            data[at:at] = data[at:end] * generator.choice((1, 2, 50))
        elif kind == 4:
            other = generator.choice(others)
            start = generator.randrange(len(other))
            data[at:at] = other[start : start + 300]
        else:
            del data[at:]
    return gzip.compress(bytes(data), mtime=0) if generator.random() < 0.1 else bytes(data)


def load(name):
    sys.path.insert(0, str(ROOT / "tests/fuzz"))
    try:
        spec = importlib.util.spec_from_file_location(f"fuzz_{name}", ROOT / f"tests/fuzz/{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module.one_input


@pytest.mark.parametrize("name", ["sql_dump", "meter_dump", "json_any", "bson_dump"])
def test_mutated_files_are_parsed_or_refused(name):
    one_input, files = load(name), seeds(name)
    generator = random.Random(name)  # the same files at each run
    end = time.monotonic() + SECONDS
    slowest = 0.0
    tracemalloc.start()
    try:
        for _run in range(RUNS):
            data = mutated(generator, generator.choice(files), files)
            start = time.process_time()
            one_input(data)
            slowest = max(slowest, time.process_time() - start)
            if time.monotonic() > end:
                break
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert slowest < 10 and peak < 100_000_000
