# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast large files get through the running local lake into their stores, and in how much of a worker's memory.

    python tests/bench/files.py [KIND …] [--megabytes 100] [--images 100]

A file of each kind is inserted through the API. Its document then says how many records came of it and how long its
operation took: reading it from Swift, understanding it and writing to the store, all in one go. Memory is the resident
set of the process that does it, looked at ten times a second; what it shares with the worker that it was forked of is
part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lake import Lake
from tables import moment, series_row, table_row, workbook

MB = 1_000_000
PATIENCE = 3600.0  # seconds for one file
PIECE = 10_000  # records that are made at once
TASK = b"airflow worker -- "
"""How the title of a process begins that does a task."""


def _lines(header: str, row: Callable[[int], str], size: int, end: str = "") -> Iterator[str]:
    """A text of about SIZE bytes."""
    yield header
    made = number = 0
    while made < size:
        piece = "".join(map(row, range(number, number + PIECE)))
        number += PIECE
        made += len(piece)
        yield piece
    yield end


def _document(number: int) -> str:
    return json.dumps({"name": f"plant {number}", "height": number % 100 / 7, "of": {"kind": number % 9}}) + "\n"


def _message(number: int) -> str:
    return (
        json.dumps(
            {
                "topic": f"u4/{300 + number % 10}/temperature",
                "value": number % 400 / 10,
                "value_units": "celsius",
                "subID": "s",
                "unitID": "u",
                "time": moment(number),
            }
        )
        + "\n"
    )


def _insert(number: int) -> str:
    begin = "INSERT INTO `parts` VALUES " if number % PIECE == 0 else ","
    end = ";\n" if number % PIECE == PIECE - 1 else ""
    comment = "a comment of some length that fills the line"
    return f"{begin}({number},'part {number % 1000}','{comment}',{number % 400 / 10}){end}"


MYSQL = """-- MariaDB dump
CREATE TABLE `parts` (
  `id` int(11) NOT NULL,
  `name` varchar(40) DEFAULT NULL,
  `comment` varchar(80) DEFAULT NULL,
  `price` double DEFAULT NULL,
  PRIMARY KEY (`id`)
);
"""

TEXTS: dict[str, tuple[str, str, Callable[[int], Iterator[str]]]] = {
    "series": ("series.csv", "text/csv", lambda size: _lines("date,place,value\n", series_row, size)),
    "rows": ("rows.csv", "text/csv", lambda size: _lines("id,name,comment,price,seen,count\n", table_row, size)),
    "documents": ("documents.ndjson", "application/x-ndjson", lambda size: _lines("", _document, size)),
    "messages": ("messages.ndjson", "application/x-ndjson", lambda size: _lines("", _message, size)),
    "dump": ("parts.sql", "application/sql", lambda size: _lines(MYSQL, _insert, size)),
}
"""By kind: file name, content type, and text of about so many bytes."""
EXCEL = ("book.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")
KINDS = (*TEXTS, "excel", "images")


class Memory:
    """Watches the largest resident set of a process that does a task, in bytes, from begin to end of a context."""

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self.peak = max(self.peak, largest())


def largest() -> int:
    """Bytes that the largest process that does a task has in memory; 0 where none does one."""
    found = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(TASK):
                pages = int((folder / "statm").read_text().split()[1])
                found = max(found, pages * os.sysconf("SC_PAGE_SIZE"))
        except OSError:  # it has ended meanwhile
            continue
    return found


@dataclass
class Through:
    """What became of files: bytes, records, seconds of their operations, peak memory in bytes."""

    size: int
    records: int
    seconds: float
    memory: int
    message: str


def put(lake: Lake, container: str, files: list[tuple[Path, str]]) -> Through:
    """Insert FILES, with their content types, and wait until they are processed."""
    with Memory() as memory:
        documents = [lake.api.insert(container, path, {"content_type": kind}) for path, kind in files]
        done = [_processed(lake, container, document["swift_object_id"]) for document in documents]
    return Through(
        size=sum(path.stat().st_size for path, _kind in files),
        records=sum(operation["records"] for operation in done),
        seconds=sum(operation["seconds"] for operation in done),
        memory=memory.peak,
        message=done[0]["message"],
    )


def _processed(lake: Lake, container: str, object_id: str) -> dict[str, Any]:
    """The operation on an object. SystemExit where it failed, or takes too long."""
    document = lake.api.wait_processed(container, object_id, PATIENCE)
    if document["failed_operations"]:
        raise SystemExit(f"object {object_id} of {container} failed: {document['failed_operations'][-1]['message']}")
    operation: dict[str, Any] = document["successful_operations"][-1]
    return operation


def pictures(folder: Path, count: int) -> list[tuple[Path, str]]:
    """COUNT JPEGs of one megapixel that don't resemble each other."""
    from PIL import Image

    dice = random.Random(1)  # the same pictures each time
    made = []
    for number in range(count):
        small = Image.frombytes("RGB", (12, 10), dice.randbytes(360))
        path = folder / f"{number}.jpg"
        small.resize((1200, 834), Image.Resampling.BICUBIC).save(path, "JPEG", quality=90)
        made.append((path, "image/jpeg"))
    return made


def files_of(kind: str, folder: Path, size: int, images: int) -> list[tuple[Path, str]]:
    """The files of a KIND with their content types: one of about SIZE bytes, or so many IMAGES."""
    if kind == "images":
        return pictures(folder, images)
    if kind == "excel":
        path = folder / EXCEL[0]
        workbook(path, size)
        return [(path, EXCEL[1])]
    name, content_type, text = TEXTS[kind]
    path = folder / name
    with path.open("w") as file:
        file.writelines(text(size))
    return [(path, content_type)]


def main() -> None:
    """Take the figures and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"some of {', '.join(KINDS)}; default: all")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--images", type=int, default=100)
    arguments = parser.parse_args()
    if set(arguments.kinds) - set(KINDS):
        parser.error(f"a kind is one of {', '.join(KINDS)}")
    lake = Lake()
    print("| kind | bytes | records | seconds | records/s | peak memory |\n|---|---|---|---|---|---|")
    for kind in arguments.kinds or KINDS:
        with tempfile.TemporaryDirectory() as folder:
            files = files_of(kind, Path(folder), arguments.megabytes * MB, arguments.images)
            begun = time.monotonic()
            done = put(lake, lake.container(f"files-{kind}", webhook="on"), files)
            wall = time.monotonic() - begun
        print(
            f"| {kind} | {done.size / MB:.0f} MB | {done.records:,} "
            f"| {done.seconds:.1f} (inserted and done: {wall:.1f}) | {done.records / done.seconds:,.0f} "
            f"| {done.memory / MB:.0f} MB |"
            f" {done.message}",
            flush=True,
        )


if __name__ == "__main__":
    main()
