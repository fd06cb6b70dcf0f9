# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables: delimited text and workbooks, to time series where they have a time column, else to rows of SQL tables.

The header is the first row that is as wide as the table and has no value in it; narrower rows above it are passed over,
and a file that begins with values has none (`column_1`, `column_2`, …). Each sheet of a workbook is a table of its own.

**Time series.** Columns are known by their names (a `payload.` in front is ignored, and so is case; a unit may follow
in brackets):

- time: timestamp, temps, date, measuretime, datemesure, datetime, date_time, horodatage, time (the first of these that
  is there and has times); where it has only dates, a column time, heure, hour or temps beside it has the time of day;
- values: value, valeur, reading. Where there is none, every column whose cells are numbers has values;
- unit: value_units, unit, units, unite, unité, mesurevaleur;
- `_id` is left out; every other column is a tag.

A value becomes a point: measurement = its unit, else the name of its column; field `value`. A cell of values may be a
JSON list as long as the one in the cell of units. A column of numbers keeps its name as measurement, and the unit that
stands in its header or cells becomes the tag `unit`. Points need a topic to be found by: where there is no column
`topic`, the tag `topic` is the file's name without its extension, and the sheet's where there are several (for older
readings `<idpiece>/<mesurevaleur>`), which also keeps the series of two files apart.

**Rows.** The table is named after the file (and its sheet, where there are several). Each column has a type, which a
sample of it decides; see cells.Column. Columns of the same name get a number (`name_2`).

What cannot be understood of a row is reported with its line, and does not hurt the others.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any, BinaryIO, Union

from .. import records
from ..errors import InvalidInput, ParseError
from ..points import Point
from ..times import parse_time
from .cells import (
    DECIMALS,
    NULL_TEXTS,
    CellError,
    Column,
    NumberStyle,
    is_null,
    number_style,
    shown,
    unit_of,
)
from .delimited import DelimitedText, check_delimiter, is_value
from .moments import FOLDS, FORMATS, GAPS, ORDERS, TimeReader, Zone, looks_timed, time_of_day, time_reader
from .report import RowErrors, report_of
from .sensor import check_number, pair
from .workbook import Limits, is_workbook, open_workbook

TIME_COLUMNS = ("timestamp", "temps", "date", "measuretime", "datemesure")
MORE_TIME_COLUMNS = ("datetime", "date_time", "date time", "date/time", "horodatage", "time")
CLOCK_COLUMNS = ("time", "heure", "hour", "temps", "time_of_day", "heures", "timestamp")
VALUE_COLUMNS = ("value", "valeur", "reading")
UNIT_COLUMNS = ("value_units", "unit", "units", "unite", "unité", "mesurevaleur")
KINDS = ("auto", "time_series", "table")
SAMPLE_ROWS = 1000
"""Rows that are looked at to tell what columns are."""
SAMPLE_CELLS = 200_000
SAMPLE_SIZE = 8 * 1024 * 1024  # characters
MAX_SIZE = 1024**3
SERIALS = (10_000, 100_000)
"""Numbers in a workbook's time column that are days since 1900 or 1904: years 1927 to 2177."""

_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)
_MARKUP = re.compile(rb"\s*<(?:!doctype|html|head|body|table|\?xml|svg|meta)\b", re.IGNORECASE)

Line = tuple[int, Sequence[Any]]
Record = Union[Point, records.Row]  # noqa: UP007 (must run on 3.9)


@dataclass(frozen=True)
class Settings:
    """The options of a table's parser."""

    kind: str = "auto"
    """time_series, table, or auto: by what the columns are."""
    delimiter: str | None = None
    """One character, or `whitespace`; found where it is not given."""
    encoding: str | None = None
    """Default: the charset in `content_type`, else what is found."""
    comment: str = "#"
    """What comment lines begin with; empty: there are none."""
    decimal: str | None = None
    """The decimal mark of all columns."""
    date_order: str | None = None
    """dmy, mdy, or ymd (for years of two digits)."""
    time_format: str = "auto"
    """moments.FORMATS, or a pattern of strptime."""
    time_zone: str | None = None
    """Of times without one: a name of the IANA database, or an offset. Default UTC."""
    fold: str = "refuse"
    """Local times that were there twice: refuse, first, second."""
    gap: str = "refuse"
    """Local times that were not there: refuse, shift."""
    header_row: int | None = None
    """The line of the column names, from 1; 0: there are none."""
    columns: tuple[str, ...] = ()
    """Names of the columns, in place of a header's."""
    sheets: tuple[str, ...] = ()
    """The sheets that are read; default: those that Excel does not hide."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """Name of a column in the file -> its name from there on."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Name of a column -> unit of its values."""
    null_texts: frozenset[str] = frozenset(NULL_TEXTS)
    """Texts (in any case) that say that there is no value; they replace the usual ones. -9999 is a number unless
    here."""
    time_column: tuple[str, ...] = ()
    """The name of the time column; or two: of the date's and of the time of day's."""
    value_columns: tuple[str, ...] = ()
    """The names of the columns of values."""
    topic: str = ""
    """The tag `topic` where there is no such column."""
    table: str = ""
    """The name of the SQL table."""
    max_size: int = MAX_SIZE
    """Bytes of a workbook's file."""
    max_unpacked: int = Limits.max_unpacked
    max_ratio: int = Limits.max_ratio
    max_strings: int = Limits.max_strings
    filename: str = ""
    content_type: str = ""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Settings:
        """Checks the options. Errors: InvalidInput, saying which one is wrong."""
        unknown = set(options) - set(cls.__dataclass_fields__) - {"metadata"}
        if unknown:
            raise InvalidInput(f"a table's parser has no option {sorted(map(str, unknown))[0]!r}")
        given = {key: value for key, value in options.items() if value is not None and key != "metadata"}
        for key, choices in (
            ("kind", KINDS),
            ("decimal", DECIMALS),
            ("date_order", ORDERS),
            ("fold", FOLDS),
            ("gap", GAPS),
        ):
            if key in given and given[key] not in choices:
                raise InvalidInput(f"{key} is one of {', '.join(choices)}, not {given[key]!r:.60}")
        for key in ("encoding", "comment", "time_format", "time_zone", "topic", "table"):
            if not isinstance(given.get(key, ""), str):
                raise InvalidInput(f"{key} is a text, not {given[key]!r:.60}")
        for key in ("columns", "sheets", "value_columns", "time_column", "null_texts"):
            if key in given:
                given[key] = _texts(key, given[key])
        for key in ("rename", "units"):
            mapping = given.get(key, {})
            if not isinstance(mapping, Mapping) or not all(
                isinstance(text, str) for text in (*mapping, *mapping.values())
            ):
                raise InvalidInput(f"{key}: names of columns and texts are expected, not {mapping!r:.60}")
        for key in ("header_row", "max_size", "max_unpacked", "max_ratio", "max_strings"):
            number = given.get(key, 1)
            if isinstance(number, bool) or not isinstance(number, int) or number < (0 if key == "header_row" else 1):
                raise InvalidInput(f"{key} is a number, not {number!r:.60}")
        if "null_texts" in given:
            given["null_texts"] = frozenset(text.strip().lower() for text in given["null_texts"]) | {""}
        form = given.get("time_format", "auto")
        if form not in FORMATS and "%" not in form:
            raise InvalidInput(
                f"time_format is one of {', '.join(FORMATS)}, or a pattern like %d/%m/%Y, not {form!r:.60}"
            )
        if len(given.get("time_column", ())) > 2:
            raise InvalidInput("time_column is one column, or two: of the date and of the time of day")
        check_delimiter(given.get("delimiter"))
        for key in ("filename", "content_type"):
            given[key] = str(given.get(key, ""))
        return cls(**given)


def _texts(key: str, value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise InvalidInput(f"{key}: a text or a list of texts is expected, not {value!r:.60}")
    return tuple(texts)


@dataclass(frozen=True)
class _Source:
    """One table of a file: its rows of cells, with their lines. `name`: of its topic or SQL table."""

    name: str
    table: str
    rows: Iterator[Line]
    report: _Report
    style: NumberStyle
    typed: bool = False  # cells of a workbook: not all are texts, and empty ones at the end are left out
    excel_1904: bool = False


class _Report:
    """The report of a file, for one of its sheets."""

    def __init__(self, report: RowErrors, sheet: str = "") -> None:
        self._report = report
        self._prefix = f"sheet {sheet!r}: " if sheet else ""

    def add(self, line: int, message: str) -> None:
        self._report.add(line, self._prefix + message)


def parse(stream: BinaryIO, options: Mapping[str, Any]) -> Iterator[Record]:
    """The points, or the rows, of a file of delimited text or of a workbook. Text is read as a stream; a workbook
    waits in a temporary file, and is read from there as a stream.

    Options: see Settings. What cannot be understood goes to `options.report`, with its line.
    Errors: ParseError when it is no table, or no row of it can be understood. InvalidInput: an option is wrong.
    """
    settings = Settings.of(options)
    report = report_of(options)
    zone = Zone(settings.time_zone, settings.fold, settings.gap)
    found = failed = 0
    failure: ParseError | None = None
    for source in _sources(stream, settings, report):
        try:
            for record in _records(source, settings, zone):
                found += 1
                yield record
        except ParseError as error:
            if not source.typed:
                raise
            failure = failure or error
            failed += 1
            source.report.add(error.line or 1, error.message)
    if failure is not None and not found:
        raise failure
    if not found and report.count:
        first = report.items[0]
        raise ParseError(f"no row can be understood ({report.count} are wrong): {first['message']}", first["line"])


def parse_series(stream: BinaryIO, options: Mapping[str, Any]) -> Iterator[Record]:
    """As `parse`, of a file that has to be a time series: without a time column that is an error."""
    series = dict(options)
    series["kind"] = "time_series"
    return parse(stream, _WithReport(series, report_of(options)))


class _WithReport(dict[str, Any]):
    """Options with the report of others."""

    def __init__(self, options: Mapping[str, Any], report: RowErrors) -> None:
        super().__init__(options)
        self.report = report


def _sources(stream: BinaryIO, settings: Settings, report: RowErrors) -> Iterator[_Source]:
    head = _read_some(stream, 512)
    file = settings.filename.replace("\\", "/").rpartition("/")[2]
    stem = file.rpartition(".")[0] or file
    if is_workbook(head):
        yield from _sheets(head, stream, settings, report, stem)
        return
    if _MARKUP.match(head):
        raise ParseError("no table: it is HTML or XML (a page saved as a workbook, perhaps): export it as CSV or .xlsx")
    charset = _CHARSET.search(settings.content_type)
    text = DelimitedText(
        _Prefixed(head, stream).read,
        report.add,
        encoding=settings.encoding or (charset.group(1) if charset else None),
        delimiter=settings.delimiter,
        comment=settings.comment,
        blanks=settings.content_type.lower().startswith("text/plain") or not file.lower().endswith((".csv", ".tsv")),
    )
    style = NumberStyle() if text.comma else NumberStyle("")
    yield _Source(stem, settings.table or stem, text.rows(), _Report(report), style)


def _read_some(stream: BinaryIO, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            break
        data += more
    return data


class _Prefixed:
    """A stream of which the first bytes were read already."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head = head
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head + (self._stream.read(size - len(head)) or b"" if size > len(head) else b"")
        return self._stream.read(size)


def _sheets(head: bytes, stream: BinaryIO, settings: Settings, report: RowErrors, stem: str) -> Iterator[_Source]:
    with tempfile.SpooledTemporaryFile(max_size=16 * 1024 * 1024) as file:
        size = 0
        data = head
        while data:
            size += len(data)
            if size > settings.max_size:
                raise ParseError(f"the workbook is over {settings.max_size} bytes (option max_size)")
            file.write(data)
            data = stream.read(256 * 1024)
        limits = Limits(settings.max_unpacked, settings.max_ratio, settings.max_strings)
        workbook = open_workbook(file, limits)
        names = [sheet.name for sheet in workbook.sheets]
        missing = set(settings.sheets) - set(names)
        if missing:
            raise ParseError(f"the workbook has no sheet {sorted(missing)[0]!r}: it has {', '.join(names)!s:.200}")
        wanted = [
            sheet
            for sheet in workbook.sheets
            if (sheet.name in settings.sheets if settings.sheets else not sheet.hidden)
        ] or workbook.sheets
        several = len(wanted) > 1
        for sheet in wanted:
            said = _Report(report, sheet.name if several else "")
            table = settings.table or stem
            yield _Source(
                name=f"{stem}/{sheet.name}" if several else stem,
                table=f"{table}_{sheet.name}" if several else table,
                rows=sheet.rows(said.add),
                report=said,
                style=NumberStyle(),
                typed=True,
                excel_1904=workbook.excel_1904,
            )


def _records(source: _Source, settings: Settings, zone: Zone) -> Iterator[Record]:
    sample = _sample(source.rows)
    if not sample:
        if source.typed:
            return  # workbooks have empty sheets as a matter of course
        raise ParseError("the file is empty")
    header, body = _header(sample, settings)
    names = _names(header, body, settings)
    table = _Table(source, settings, zone, header[0], names, body)
    rows = itertools.chain(body, source.rows)
    if table.is_series():
        yield from table.points(rows)
    else:
        yield from table.rows(rows)


def _sample(rows: Iterator[Line]) -> list[Line]:
    sample: list[Line] = []
    cells = size = 0
    for row in rows:
        sample.append(row)
        cells += len(row[1])
        size += sum(len(cell) for cell in row[1] if isinstance(cell, str))
        if len(sample) >= SAMPLE_ROWS or cells >= SAMPLE_CELLS or size >= SAMPLE_SIZE:
            break
    return sample


def _text(cell: Any) -> str:
    return cell.strip() if isinstance(cell, str) else "" if cell is None else shown(cell)


def _filled(cells: Sequence[Any]) -> int:
    """How many cells there are up to the last that is not empty."""
    count = len(cells)
    while count and not _text(cells[count - 1]):
        count -= 1
    return count


def _is_value(cell: Any) -> bool:
    return is_value(cell.strip()) if isinstance(cell, str) else cell is not None


def _header(sample: list[Line], settings: Settings) -> tuple[Line, list[Line]]:
    """The row of the column names (empty where there is none), and the rows of the sample that follow it."""
    if settings.header_row:
        for index, (line, _cells) in enumerate(sample):
            if line >= settings.header_row:
                return sample[index], sample[index + 1 :]
        raise ParseError(f"there is no line {settings.header_row} with column names", settings.header_row)
    if settings.header_row == 0 or settings.columns:
        return (sample[0][0], ()), sample
    at, has_header = _find_header([cells for _line, cells in sample])
    return (sample[at], sample[at + 1 :]) if has_header else ((sample[at][0], ()), sample[at:])


def _find_header(rows: Sequence[Sequence[Any]]) -> tuple[int, bool]:
    """The index of the header; or of the first row of values, and False."""
    widths = [_filled(cells) for cells in rows]
    counts = Counter(widths)
    usual = max(counts, key=lambda width: (width * counts[width], width))
    if widths[0] < usual and counts[usual] > 1:
        full = next(index for index, width in enumerate(widths) if width >= usual)
        names = next(
            (
                index
                for index in range(full, min(full + 20, len(rows)))
                if widths[index] >= usual and _names_only(rows[index])
            ),
            None,
        )
        if names is not None and all(not any(map(_is_value, rows[index])) for index in range(full, names)):
            return names, True
        before = full - 1
        # One name less than cells: rows begin with a number of their own, or a date and a time stand under one name.
        if widths[before] == usual - 1 and _names_only(rows[before]):
            return before, True
        if before and widths[before] != usual - 1 and widths[0] == usual - 1 and _names_only(rows[0]):
            return 0, True
        if widths[before] < usual - 1:
            return (full, not all(_is_value(cell) for cell in rows[full][:usual]))
        return 0, True
    values = [_is_value(cell) for cell in rows[0][: widths[0]]]
    return 0, not values or not all(values)


def _names_only(cells: Sequence[Any]) -> bool:
    return not any(map(_is_value, cells)) and any(map(_text, cells))


def _names(header: Line, body: Sequence[Line], settings: Settings) -> list[str]:
    """The names of the columns, as far as they have one; "" where not."""
    names = list(settings.columns) or [" ".join(_text(cell).split()) for cell in header[1]]
    names = [settings.rename.get(name, name) for name in names]
    while names and not names[-1]:
        names.pop()
    widths = Counter(_filled(cells) for _line, cells in body)
    usual = max(widths, key=lambda width: (widths[width], width)) if widths else 0
    if not header[1] and not settings.columns:
        return [settings.rename.get(name, name) for name in (f"column_{index + 1}" for index in range(usual))]
    if usual == len(names) + 1 and all(width in (usual, 0) for width in widths):
        at = next((index for index in range(len(names)) if _two_cells_of_time(index, body)), None)
        if at is not None:
            names.insert(at + 1, f"{names[at]} (time of day)")
        elif not _filled([cells[-1] for _line, cells in body[:1]]) or not settings.columns:
            names.insert(0, "")
    return names


def _two_cells_of_time(index: int, body: Sequence[Line]) -> bool:
    """Whether a date and a time of day stand in this cell and the next of the first row."""
    cells = [_text(cell) for cell in body[0][1][index : index + 2]]
    return len(cells) == 2 and looks_timed(cells[0]) and not cells[0].isdigit() and _is_clock(cells[1])


def _is_clock(text: str) -> bool:
    try:
        return time_of_day(text) is not None
    except InvalidInput:
        return False


class _Table:
    """A table's columns, and what is made of its rows."""

    def __init__(
        self, source: _Source, settings: Settings, zone: Zone, line: int, names: list[str], body: Sequence[Line]
    ) -> None:
        self._source = source
        self._settings = settings
        self._zone = zone
        self._line = line
        self._names = names
        self._body = body
        self._nulls = settings.null_texts
        # As series know them: (name without payload., unit), and in lower case.
        self._plain = [name[8:] if name.lower().startswith("payload.") else name for name in names]
        self._lower = [name.lower() for name in self._plain]
        self._bare = [unit_of(name, {})[0].lower() for name in self._plain]
        self._style = NumberStyle(settings.decimal) if settings.decimal else None
        self._guess = self._file_style()
        self._times = self._time_columns()

    def _cells(self, index: int) -> list[Any]:
        """The cells of a column in the sample that say something."""
        cells = [row[index] for _line, row in self._body if index < len(row)]
        cells = [cell.strip() if cell.__class__ is str else cell for cell in cells]
        return [
            cell
            for cell in cells
            if cell is not None
            and not isinstance(cell, CellError)
            and not (isinstance(cell, str) and is_null(cell, self._nulls))
        ]

    def _column_texts(self, index: int) -> list[str]:
        return [cell for cell in self._cells(index) if isinstance(cell, str)]

    def _file_style(self) -> NumberStyle:
        """How numbers are written in those columns that say it."""
        if self._style:
            return self._style
        marks = set()
        for index in range(len(self._names)):
            style = number_style(self._column_texts(index))
            if style:
                marks.add(style.decimal)
        return NumberStyle(marks.pop()) if len(marks) == 1 else self._source.style

    def _style_of(self, index: int) -> NumberStyle:
        return self._style or number_style(self._column_texts(index)) or self._guess

    def _find(self, names: Sequence[str], among: Sequence[str]) -> int | None:
        for name in names:
            if name in among:
                return among.index(name)
        return None

    def _named(self, name: str, option: str) -> int:
        for names in (self._names, self._plain, self._lower, self._bare):
            wanted = name if names in (self._names, self._plain) else name.lower()
            if wanted in names:
                return names.index(wanted)
        raise ParseError(f"{option}: there is no column {name!r} among: {', '.join(self._names)!s:.200}", self._line)

    def _looks_timed(self, index: int) -> bool:
        """Whether the cells of a column are times; where it has none, it may be."""
        cells = self._cells(index)
        if self._settings.time_format != "auto" or not cells:
            return True
        timed = sum(
            1
            for cell in cells
            if (
                looks_timed(cell) if isinstance(cell, str) else isinstance(cell, datetime) or self._is_time_number(cell)
            )
        )
        return timed * 2 >= len(cells)

    def _is_time_number(self, cell: Any) -> bool:
        if isinstance(cell, bool) or not isinstance(cell, (int, float)):
            return False
        return SERIALS[0] <= cell < SERIALS[1] or abs(cell) >= 10**8

    def _time_columns(self) -> tuple[int, int | None] | None:
        """The time column; and the one of the time of day, where the first has only dates."""
        if self._settings.time_column:
            named = [self._named(name, "time_column") for name in self._settings.time_column]
            return named[0], named[1] if len(named) > 1 else self._beside(named[0])
        for names in (self._lower, self._bare):
            for name in TIME_COLUMNS + MORE_TIME_COLUMNS:
                if name in names:
                    index = names.index(name)
                    if self._looks_timed(index):
                        return index, self._beside(index)
        if self._names and self._names[0] == "column_1" and self._line and self._is_nameless():
            for index in range(len(self._names)):
                if self._cells(index) and self._looks_timed(index) and not self._all_small(index):
                    return index, self._beside(index)
        return None

    def _is_nameless(self) -> bool:
        return all(name == f"column_{index + 1}" for index, name in enumerate(self._names))

    def _all_small(self, index: int) -> bool:
        """Whether a column's cells are numbers: without a name they may be anything."""
        return any(
            self._guess.number(cell) is not None if isinstance(cell, str) else not isinstance(cell, datetime)
            for cell in self._cells(index)
        )

    def _beside(self, index: int) -> int | None:
        """The column of the time of day that belongs to a column of dates."""
        if self._settings.time_column and len(self._settings.time_column) > 1:
            return None
        for cell in self._cells(index):
            if isinstance(cell, str):
                if ":" in cell or cell.isdigit() or re.search(r"\d[hH]\d", cell):
                    return None
            elif not isinstance(cell, datetime) or (cell.hour, cell.minute, cell.second) != (0, 0, 0):
                return None
        following = index + 1
        candidates = [other for other, name in enumerate(self._bare) if name in CLOCK_COLUMNS and other != index]
        if following < len(self._names) and (self._is_nameless() or self._names[following].endswith("(time of day)")):
            candidates.append(following)
        for other in candidates:
            cells = self._cells(other)
            if cells and all(_is_clock(cell) if isinstance(cell, str) else isinstance(cell, time) for cell in cells):
                return other
        return None

    def is_series(self) -> bool:
        """Whether this is a time series. Errors: ParseError where it has to be one, and cannot be."""
        kind = self._settings.kind
        names = ", ".join(self._names)
        if kind == "table":
            return False
        if self._times is None:
            if kind == "time_series":
                hint = "" if len(self._names) > 1 else " (a CSV file begins with a line of column names)"
                raise ParseError(f"no time column ({', '.join(TIME_COLUMNS)}) among: {names!s:.200}{hint}", self._line)
            return False
        if self._body and not self._values()[0]:
            if kind == "time_series":
                raise ParseError(
                    f"no column of values ({', '.join(VALUE_COLUMNS)}, or of numbers) among: {names!s:.200}", self._line
                )
            return False
        return True

    def _unit_column(self) -> int | None:
        return self._find(UNIT_COLUMNS, self._lower)

    def _others(self) -> list[int]:
        unit = self._unit_column()
        return [
            index
            for index, name in enumerate(self._lower)
            if name and name != "_id" and index not in (self._times or ()) and index != unit
        ]

    def _values(self) -> tuple[list[int], bool]:
        """The columns of values, and whether they were found by their cells: then an empty one says nothing."""
        others = self._others()
        if self._settings.value_columns:
            return [self._named(name, "value_columns") for name in self._settings.value_columns], True
        values = [index for index in others if self._bare[index] in VALUE_COLUMNS]
        return (values, False) if values else ([index for index in others if self._is_numeric(index)], True)

    def _is_numeric(self, index: int) -> bool:
        cells = self._cells(index)
        style = self._style_of(index)
        numbers = sum(
            1
            for cell in cells
            if (
                style.measure(cell) is not None
                if isinstance(cell, str)
                else isinstance(cell, (int, float)) and not isinstance(cell, bool)
            )
        )
        # A sensor's column may have a few cells like "err": those rows are reported, the column is no tag.
        return numbers * 2 > len(cells)

    def _check_names(self, values: Sequence[int]) -> None:
        """Refuses two columns of the same name where it cannot be told which one is meant."""
        known = [*(self._times or ()), self._unit_column(), *values]
        for index, name in enumerate(self._lower):
            if name and self._lower.count(name) > 1 and index in known and self._bare[index] in _KNOWN:
                raise ParseError(f"two columns have the same name: {', '.join(self._names)!s:.200}", self._line)

    def _topic(self) -> str | None:
        """The tag `topic`; None where there is such a column."""
        if self._settings.topic:
            return self._settings.topic
        unit = self._unit_column()
        if "idpiece" in self._lower and unit is not None and self._lower[unit] == "mesurevaleur":
            return _OLDER
        return self._source.name

    def _time_of(self, columns: tuple[int, int | None]) -> Callable[[Sequence[Any]], int]:
        """The function that gives a row's time, in ns since the epoch."""
        settings = self._settings
        index, clock = columns
        texts = self._column_texts(index)
        zone = self._zone
        stated = unit_of(self._plain[index], {})[1]
        if stated and not settings.time_zone:
            try:
                zone = Zone(stated, settings.fold, settings.gap)
            except InvalidInput:  # it says something else: "date (local)"
                zone = self._zone
        try:
            reader = time_reader(
                texts,
                zone,
                order=settings.date_order,
                form=settings.time_format,
                excel_1904=self._source.excel_1904,
            )
        except InvalidInput as error:
            raise ParseError(f"column {self._names[index]!r}: {error}", self._line) from None
        if not self._source.typed:
            if clock is None:
                read = reader.ns
                return lambda cells: read(cells[index])
            joined = reader.joined
            return lambda cells: joined(cells[index], cells[clock])
        return lambda cells: self._typed_time(reader, cells[index], None if clock is None else cells[clock])

    def _typed_time(self, reader: TimeReader, cell: Any, clock: Any) -> int:
        if clock is not None and clock != "":
            if isinstance(cell, datetime) and isinstance(clock, time):
                return reader.from_naive(datetime.combine(cell.date(), clock)).to_ns(cell)
            day = cell.date().isoformat() if isinstance(cell, datetime) else _text(cell)
            return reader.joined(day, _text(clock))
        if isinstance(cell, str):
            return reader.ns(cell)
        if isinstance(cell, datetime):
            return reader.from_naive(cell).to_ns(cell)
        if isinstance(cell, (int, float)) and not isinstance(cell, bool):
            if reader.form == "auto" and SERIALS[0] <= cell < SERIALS[1]:
                return reader.from_serial(cell).to_ns(cell)
            if reader.form != "auto":
                return reader.ns(f"{cell!r}" if "e" not in repr(cell) else f"{cell:.9f}")
        return parse_time(cell)

    def points(self, rows: Iterator[Line]) -> Iterator[Point]:
        """The points of the rows."""
        values, sparse = self._values()
        self._check_names(values)
        times = self._times
        if times is None:
            raise ParseError("no time column", self._line)
        unit_column = self._unit_column()
        if unit_column in values:
            unit_column = None
        topic = self._topic()
        unique = _unique(self._plain)
        tags_at = [(unique[index], index) for index in self._others() if index not in values]
        if any(name == "topic" for name, _index in tags_at):
            topic = None
        fixed = {"topic": topic} if topic and topic != _OLDER else {}
        measures = []
        for index in values:
            name, unit = unit_of(unique[index], self._settings.units)
            if self._names[index] in self._settings.units:
                unit = self._settings.units[self._names[index]]
            measures.append(_Measure(index, name, unit, self._style_of(index), self._bare[index] in VALUE_COLUMNS))
        time_of = self._time_of(times)
        width, typed, nulls, report = len(self._names), self._source.typed, self._nulls, self._source.report
        single = measures[0] if len(measures) == 1 and not typed else None
        if single is not None and any(single.style.number(text) is not None for text in nulls):
            single = None  # a number that says that there is no value
        for line, given in rows:
            cells = [cell.strip() for cell in given] if not typed else _plain_cells(given)
            try:
                if len(cells) != width:
                    cells = _fitted(cells, width, typed)
                moment = time_of(cells)
                tags = {}
                for name, index in tags_at:
                    cell = cells[index]
                    if cell.__class__ is not str:
                        if isinstance(cell, CellError):
                            raise InvalidInput(f"{name}: {cell} stands for a value")
                        cell = shown(cell)
                    if cell and cell.lower() not in nulls:
                        tags[name] = cell
                tags.update(fixed)
                unit_cell = _text(cells[unit_column]) if unit_column is not None else ""
                if topic == _OLDER:
                    tags["topic"] = "/".join(part for part in (tags.get("idpiece"), unit_cell) if part)
                if single is not None:  # what most files are, and quick
                    number = single.style.number(cells[single.index])
                    if number is not None and unit_cell[:1] != "[":
                        if single.unit and not single.is_value:
                            tags["unit"] = single.unit
                        measurement = unit_cell or (single.unit if single.is_value else "") or single.name
                        yield Point(measurement, moment, {"value": number}, tags)
                        continue
            except InvalidInput as error:
                report.add(line, str(error))
                continue
            for measure in measures:
                yield from self._point(line, cells[measure.index], measure, unit_cell, moment, tags, sparse)

    def _point(
        self, line: int, cell: Any, measure: _Measure, unit_cell: str, moment: int, tags: dict[str, str], sparse: bool
    ) -> Iterator[Point]:
        """The points of one cell of values."""
        nothing = isinstance(cell, str) and is_null(cell, self._nulls)
        if sparse and nothing:
            return
        try:
            if nothing and cell:
                raise InvalidInput(f"value of {measure.name!r:.60}: {cell!r} is not a finite number")
            readings, unit = _readings(cell, unit_cell, measure)
        except InvalidInput as error:
            self._source.report.add(line, str(error))
            return
        if unit and not measure.is_value and not unit_cell:
            tags = {**tags, "unit": unit}
        for measurement, value in readings:
            try:
                yield Point(measurement, moment, {"value": check_number(measurement, value)}, tags)
            except InvalidInput as error:
                self._source.report.add(line, str(error))

    def rows(self, rows: Iterator[Line]) -> Iterator[records.Row]:
        """The rows of the SQL table."""
        if len(self._names) <= 1 and not self._body:
            raise ParseError(f"no table: one line alone, {', '.join(self._names)!r:.80}", self._line)
        settings, report, typed = self._settings, self._source.report, self._source.typed
        columns = []
        names = []
        for index, name in enumerate(self._names):
            column = Column(
                [row[index] for _line, row in self._body if index < len(row)],
                nulls=self._nulls,
                zone=self._zone,
                style=self._style,
                guess=self._guess,
                order=settings.date_order,
            )
            if column.warning:
                report.add(self._line, f"column {name!r}: {column.warning}")
            unit = settings.units.get(name) or column.unit
            columns.append(column)
            names.append(f"{name} ({unit})" if name and unit and not unit_of(name, {})[1] else name)
        nameless = [index for index, name in enumerate(names) if not name]
        names = _unique([name or f"column_{index + 1}" for index, name in enumerate(names)])
        left_out = [names[index] for index in nameless]
        convert = [column.value for column in columns]
        table, width = self._source.table, len(names)
        for line, given in rows:
            cells = given
            try:
                if len(given) != width:
                    cells = _fitted(given, width, typed)
                values = {name: value(cell) for name, value, cell in zip(names, convert, cells)}  # noqa: B905 (3.9)
            except InvalidInput as error:
                if not typed:
                    report.add(line, str(error))
                    continue
                values = self._mended(line, names, convert, cells)
            for name in left_out:
                if values[name] is None:
                    del values[name]
            yield records.Row(table, values, line)

    def _mended(
        self, line: int, names: Sequence[str], convert: Sequence[Callable[[Any], Any]], cells: Sequence[Any]
    ) -> dict[str, Any]:
        """A row's values without those cells that have none to be had."""
        values = dict.fromkeys(names)
        for name, value, cell in zip(names, convert, cells):  # noqa: B905 (3.9)
            try:
                values[name] = value(cell)
            except InvalidInput as error:
                self._source.report.add(line, f"{name}: {error}")
        if len(cells) > len(names):
            self._source.report.add(line, f"{len(cells)} cells, the header has {len(names)}")
        return values


_KNOWN = frozenset((*TIME_COLUMNS, *MORE_TIME_COLUMNS, *UNIT_COLUMNS, *VALUE_COLUMNS))
_OLDER = "{idpiece}/{unit}"


@dataclass(frozen=True)
class _Measure:
    """A column of values. `is_value`: it is named as such, so that the unit is the measurement."""

    index: int
    name: str
    unit: str
    style: NumberStyle
    is_value: bool


def _plain_cells(cells: Sequence[Any]) -> list[Any]:
    return ["" if cell is None else cell.strip() if cell.__class__ is str else cell for cell in cells]


def _fitted(given: Sequence[Any], width: int, typed: bool) -> list[Any]:
    """A row made as wide as the header by empty cells at its end. Errors: InvalidInput where it is not so wide."""
    cells = list(given)
    while len(cells) > width and not _text(cells[-1]):
        cells.pop()
    if typed and len(cells) < width:
        cells.extend([""] * (width - len(cells)))
    if len(cells) != width:
        raise InvalidInput(f"{len(cells)} cells, the header has {width}")
    return cells


def _unique(names: Sequence[str]) -> list[str]:
    """Each name once: the others of the same get a number. Case makes no difference, as in most stores of tables."""
    seen: set[str] = set()
    taken = {name.lower() for name in names}
    unique = []
    for name in names:
        made = name
        number = 1
        while made.lower() in seen or (number > 1 and made.lower() in taken):
            number += 1
            made = f"{name}_{number}"
        if name:
            seen.add(made.lower())
        unique.append(made)
    return unique


def _readings(cell: Any, unit_cell: str, measure: _Measure) -> tuple[list[tuple[str, Any]], str]:
    """[(measurement, value)] of a cell of values, and the unit of a single one."""
    if not isinstance(cell, str):
        if isinstance(cell, (int, float)) and not isinstance(cell, bool) and math.isfinite(cell):
            return _single(cell, measure.unit, unit_cell, measure)
        raise InvalidInput(f"value of {measure.name!r:.60}: {shown(cell)!r:.60} is not a finite number")
    if cell.startswith("["):
        values = _json_list(measure.name, cell)
        units = _json_list("units", unit_cell) if unit_cell.startswith("[") else unit_cell or measure.name
        return pair(values, units), ""
    if not cell:
        raise InvalidInput(f"{measure.name} is empty")
    if isinstance(cell, CellError):
        raise InvalidInput(f"{measure.name}: {cell} stands for a value")
    measured = measure.style.measure(cell)
    if unit_cell.startswith("["):
        return pair(cell if measured is None else measured[0], _json_list("units", unit_cell)), ""
    if measured is None:
        return _single(cell, measure.unit, unit_cell, measure)
    return _single(measured[0], measured[1] or measure.unit, unit_cell, measure)


def _single(value: Any, unit: str, unit_cell: str, measure: _Measure) -> tuple[list[tuple[str, Any]], str]:
    return [(unit_cell or (unit if measure.is_value else "") or measure.name, value)], unit


def _json_list(name: str, cell: str) -> list[Any]:
    try:
        items = json.loads(cell)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{name}: {cell!r:.60} is no JSON list: {error}") from None
    if not isinstance(items, list):
        raise InvalidInput(f"{name}: {cell!r:.60} is no JSON list")
    return items
