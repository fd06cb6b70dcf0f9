# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast tables are parsed, and in how much memory.

    python tests/bench/tables.py [series|rows|excel] [--megabytes 100]

CSV is made while it is read, so that no file and no memory is needed for it; a workbook is made in a temporary file
(with openpyxl). What making takes is measured by itself and left out. Each kind runs in a process of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

LIBRARY = (
    Path(__file__).resolve().parents[2] / "collections/ansible_collections/neocampus/datalake/plugins/module_utils/lake"
)
KINDS = ("series", "rows", "excel")
PIECE = 10_000  # rows that are made at once
EXCEL_ROW = 154  # bytes of a row of the workbook's XML, about


def library_from_tree() -> None:
    """Makes the library importable as `neocampus_lake`, from this tree, where it is not installed."""
    if importlib.util.find_spec("neocampus_lake") is None:
        spec = importlib.util.spec_from_file_location(
            "neocampus_lake", LIBRARY / "__init__.py", submodule_search_locations=[str(LIBRARY)]
        )
        if spec is None or spec.loader is None:
            raise SystemExit(f"there is no library in {LIBRARY}")
        package = importlib.util.module_from_spec(spec)
        sys.modules["neocampus_lake"] = package
        spec.loader.exec_module(package)


def moment(number: int) -> str:
    return f"2021-07-{1 + number // 86400 % 28:02}T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z"


def series_row(number: int) -> str:
    return f"{moment(number)},roof,{number % 400 / 10}\n"


def table_row(number: int) -> str:
    text = f"a comment of some length that fills the line {number % 7} and more of it"
    return f"{number},name {number % 1000},{text},{number % 400 / 10},{moment(number)},{number % 7}\n"


class Made(io.RawIOBase):
    """CSV of about `size` bytes that is made while it is read."""

    def __init__(self, header: str, row: Callable[[int], str], size: int) -> None:
        self._row = row
        self._left = size
        self._number = 0
        self._data = header.encode()

    def read(self, size: int = -1) -> bytes:
        while len(self._data) < size and self._left > 0:
            piece = "".join(map(self._row, range(self._number, self._number + PIECE))).encode()
            self._number += PIECE
            self._left -= len(piece)
            self._data += piece
        taken, self._data = self._data[:size], self._data[size:]
        return taken


def csv_of(kind: str, size: int) -> BinaryIO:
    if kind == "series":
        return cast(BinaryIO, Made("date,place,value\n", series_row, size))
    return cast(BinaryIO, Made("id,name,comment,price,seen,count\n", table_row, size))


def workbook(path: Path, size: int) -> None:
    """Makes a workbook of which the sheet has about `size` bytes of XML."""
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("data")
    sheet.append(["timestamp", "place", "value"])
    for number in range(min(size // EXCEL_ROW, 1_048_575)):
        sheet.append([datetime(2021, 1, 1) + timedelta(seconds=30 * number), "roof", number % 400 / 10])
    book.save(path)


def measure(kind: str, size: int, path: Path) -> None:
    library_from_tree()
    from neocampus_lake.parsers import table
    from neocampus_lake.parsers.report import Options

    making = 0.0
    stream: Any
    if kind == "excel":
        stream = path.open("rb")
    else:
        start = time.process_time()
        made = csv_of(kind, size)
        while made.read(256 * 1024):
            pass
        making = time.process_time() - start
        stream = csv_of(kind, size)
    start = time.process_time()
    options = Options(filename="a.xlsx" if kind == "excel" else "a.csv")
    count = sum(1 for _record in table.parse(stream, options))
    seconds = time.process_time() - start - making
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{kind}: {count} records, {count / seconds:,.0f}/s of CPU time, peak memory {memory:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures how tables are parsed.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"some of {', '.join(KINDS)}; default: all")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    kinds = arguments.kinds or KINDS
    if set(kinds) - set(KINDS):
        parser.error(f"a kind is one of {', '.join(KINDS)}")
    if arguments.measure is not None:
        measure(kinds[0], arguments.megabytes * 1_000_000, arguments.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.xlsx"
        for kind in kinds:
            if kind == "excel":
                workbook(path, arguments.megabytes * 1_000_000)
            command = [sys.executable, __file__, kind, "--megabytes", str(arguments.megabytes), "--measure", str(path)]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
