# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time series in CSV: the export of sensor messages, and any CSV with a time column.

Columns are known by their names (a `payload.` in front is ignored, and so is case):

- time: timestamp, temps, date, measuretime, datemesure (the first of these that is there);
- values: value, valeur, reading. Where there is none, every column whose cells are numbers has values;
- unit: value_units, unit, units, unite, unité, mesurevaleur;
- `_id` is left out; every other column is a tag.

A value becomes a point: measurement = its unit, else the name of its column; field `value`. A cell of values may be a
JSON list as long as the one in the cell of units. Points need a topic to be found by: where there is no column `topic`,
the tag `topic` is the file's name without its extension (for older readings `<idpiece>/<mesurevaleur>`), which also
keeps the series of two files apart.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from ..errors import InvalidInput, ParseError
from ..points import Point
from ..times import parse_time
from .report import RowErrors, report_of
from .sensor import check_number, pair

TIME_COLUMNS = ("timestamp", "temps", "date", "measuretime", "datemesure")
VALUE_COLUMNS = ("value", "valeur", "reading")
UNIT_COLUMNS = ("value_units", "unit", "units", "unite", "unité", "mesurevaleur")
DELIMITERS = (",", ";", "\t", "|")
SAMPLE = 100
"""Rows that are looked at to tell columns of numbers from tags."""
MAX_LINE = 1024 * 1024

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)

Row = tuple[int, list[str]]


@dataclass(frozen=True)
class _Layout:
    """What each column of a file is: indexes of columns, and (name, index) of tags and of values."""

    width: int
    time: int
    values: tuple[tuple[str, int], ...]
    unit: int | None
    tags: tuple[tuple[str, int], ...]
    topic: str | None  # the tag `topic` where there is no such column; None where there is one
    sparse: bool  # values were found by their cells: an empty one says nothing
    comma: bool  # a decimal comma is understood


def parse(stream: BinaryIO, options: Mapping[str, Any]) -> Iterator[Point]:
    """The points of a CSV file, read as a stream.

    Options: `encoding` (default: the charset in `content_type`, else UTF-8), `delimiter` (default: what the header has
    most of: comma, semicolon, tab or bar), `topic` (see above; default from `filename`).
    Rows that cannot be understood go to `options.report`, with their line.
    Errors: ParseError when it is no CSV with a time column, or no row of it can be understood.
    """
    report = report_of(options)
    text = _lines(stream, _encoding(options))
    rows, delimiter = _rows(text, options.get("delimiter"), report)
    header = next(rows, None)
    if header is None:
        raise ParseError("the file is empty")
    sample: list[Row] = []
    for row in rows:
        sample.append(row)
        if len(sample) == SAMPLE:
            break
    layout = _layout(header, sample, delimiter, options)
    found = False

    def points(row: Row) -> Iterator[Point]:
        try:
            yield from _row_points(row, layout, report)
        except InvalidInput as error:
            report.add(row[0], str(error))

    for batch in (sample, rows):
        for row in batch:
            for point in points(row):
                found = True
                yield point
    if not found and report.count:
        first = report.items[0]
        raise ParseError(f"no row can be understood ({report.count} are wrong): {first['message']}", first["line"])


def _encoding(options: Mapping[str, Any]) -> str:
    charset = _CHARSET.search(str(options.get("content_type") or ""))
    name = str(options.get("encoding") or (charset and charset.group(1)) or "utf-8")
    try:
        normal = codecs.lookup(name).name
    except LookupError:
        raise ParseError(f"the encoding {name!r:.40} is not known") from None
    return "utf-8-sig" if normal == "utf-8" else normal


def _lines(stream: BinaryIO, encoding: str) -> Iterator[str]:
    """Lines with their ends. Bytes that are not of the encoding become lone surrogates: no point can hold them, so that
    only rows that use them are left out."""
    head = stream.read(4)
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        encoding = "utf-16"
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape" if encoding.startswith("utf-8") else "replace")
    buffer = decoder.decode(head)
    while True:
        data = stream.read(256 * 1024)
        buffer += decoder.decode(data, not data)
        lines = buffer.splitlines(keepends=True) if not data else io.StringIO(buffer, newline="").readlines()
        buffer = ""
        if data and lines and not lines[-1].endswith("\n"):
            buffer = lines.pop()
        yield from lines
        if len(buffer) > MAX_LINE:
            raise ParseError(f"no CSV: a line is over {MAX_LINE} characters")
        if not data:
            return


def _rows(lines: Iterator[str], delimiter: str | None, report: RowErrors) -> tuple[Iterator[Row], str]:
    """The rows that are not blank, each with the line at which it ends; and the delimiter."""
    first = ""
    skipped = 0
    for first in lines:
        if first.strip():
            break
        skipped += 1
    if "\x00" in first:
        raise ParseError("no CSV: it is not text")
    if delimiter is None:
        unquoted = re.sub(r'"[^"]*"', "", first)
        delimiter = max(DELIMITERS, key=unquoted.count)
    elif delimiter not in DELIMITERS:
        raise InvalidInput(f"delimiter is one of {DELIMITERS!r}, not {delimiter!r:.20}")

    def all_lines() -> Iterator[str]:
        if first:
            yield first
        yield from lines

    def rows() -> Iterator[Row]:
        reader = csv.reader(all_lines(), delimiter=delimiter)
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                report.add(skipped + reader.line_num, f"no CSV row: {error}")
                continue
            if any(cell.strip() for cell in cells):
                yield skipped + reader.line_num, cells

    return rows(), delimiter


def _layout(header: Row, sample: Sequence[Row], delimiter: str, options: Mapping[str, Any]) -> _Layout:
    names = [cell.strip() for cell in header[1]]
    while names and not names[-1]:
        names.pop()
    plain = [name[8:] if name.lower().startswith("payload.") else name for name in names]
    lower = [name.lower() for name in plain]
    known = {name: index for index, name in reversed(list(enumerate(lower))) if name}
    time = next((known[name] for name in TIME_COLUMNS if name in known), None)
    if time is None:
        raise ParseError(
            f"no time column ({', '.join(TIME_COLUMNS)}) among: {', '.join(names)!s:.200}"
            + ("" if len(names) > 1 else " (a CSV file begins with a line of column names)"),
            header[0],
        )
    if len(set(lower) - {""}) != len([name for name in lower if name]):
        raise ParseError(f"two columns have the same name: {', '.join(names)!s:.200}", header[0])
    unit = next((known[name] for name in UNIT_COLUMNS if name in known), None)
    comma = delimiter != ","
    others = [index for index, name in enumerate(lower) if name and name != "_id" and index not in (time, unit)]
    values = [index for index in others if lower[index] in VALUE_COLUMNS]
    sparse = not values
    if sparse:
        values = [index for index in others if _is_numeric(index, sample, comma)]
        if not values and sample:
            raise ParseError(
                f"no column of values ({', '.join(VALUE_COLUMNS)}, or of numbers) among: {', '.join(names)!s:.200}",
                header[0],
            )
    tags = [(plain[index], index) for index in others if index not in values]
    topic = None
    if not any(name == "topic" for name, _index in tags):
        file = str(options.get("filename") or "").replace("\\", "/").rpartition("/")[2]
        topic = str(options.get("topic") or file.rpartition(".")[0] or file)
        if not options.get("topic") and "idpiece" in lower and unit is not None and lower[unit] == "mesurevaleur":
            topic = "{idpiece}/{unit}"
    return _Layout(
        width=len(names),
        time=time,
        values=tuple((plain[index], index) for index in values),
        unit=unit,
        tags=tuple(tags),
        topic=topic,
        sparse=sparse,
        comma=comma,
    )


def _is_numeric(index: int, sample: Sequence[Row], comma: bool) -> bool:
    cells = [row[index].strip() for _line, row in sample if index < len(row)]
    cells = [cell for cell in cells if cell]
    numbers = sum(1 for cell in cells if _number(cell, comma) is not None)
    # A sensor's column may have a few cells like "err": those rows are reported, the column is no tag.
    return numbers * 2 > len(cells)


def _number(cell: str, comma: bool) -> float | None:
    if comma and "." not in cell:
        cell = cell.replace(",", ".", 1)
    if not _NUMBER.fullmatch(cell):
        return None
    number = float(cell)
    return number if math.isfinite(number) else None


def _row_points(row: Row, layout: _Layout, report: RowErrors) -> Iterator[Point]:
    line, cells = row
    cells = [cell.strip() for cell in cells]
    while len(cells) > layout.width and not cells[-1]:
        cells.pop()
    if len(cells) != layout.width:
        raise InvalidInput(f"{len(cells)} cells, the header has {layout.width}")
    time = parse_time(cells[layout.time])
    tags = {name: cells[index] for name, index in layout.tags if cells[index]}
    unit_cell = cells[layout.unit] if layout.unit is not None else ""
    if layout.topic:
        tags["topic"] = layout.topic
        if layout.topic == "{idpiece}/{unit}":
            tags["topic"] = "/".join(part for part in (tags.get("idpiece"), unit_cell) if part)
    for name, index in layout.values:
        cell = cells[index]
        if not cell and layout.sparse:
            continue
        try:
            for unit, value in _readings(cell, unit_cell, name, layout):
                try:
                    yield Point(unit, time, {"value": check_number(unit, value)}, tags)
                except InvalidInput as error:
                    report.add(line, str(error))
        except InvalidInput as error:
            report.add(line, str(error))


def _readings(cell: str, unit_cell: str, name: str, layout: _Layout) -> list[tuple[str, Any]]:
    """[(measurement, value)] of a cell of values."""
    if cell.startswith("["):
        values = _json_list(name, cell)
        units = _json_list("units", unit_cell) if unit_cell.startswith("[") else unit_cell or name
        return pair(values, units)
    if not cell:
        raise InvalidInput(f"{name} is empty")
    value = _number(cell, layout.comma)
    if unit_cell.startswith("["):
        return pair(cell if value is None else value, _json_list("units", unit_cell))
    return [(unit_cell or name, cell if value is None else value)]


def _json_list(name: str, cell: str) -> list[Any]:
    try:
        items = json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name}: {cell!r:.60} is no JSON list: {error}") from None
    if not isinstance(items, list):
        raise InvalidInput(f"{name}: {cell!r:.60} is no JSON list")
    return items
