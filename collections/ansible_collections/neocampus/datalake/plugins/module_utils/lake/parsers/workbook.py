# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workbooks: .xlsx and .xlsm (ECMA-376), read as a stream with expat, and .xls (BIFF) by xlrd.

Why no library for .xlsx: of those there are, one holds a sheet in memory, with all the empty cells that a hostile file
can ask for, the other keeps an element per row and is slower; neither tells a formula without a value, or the merged
cells of a sheet that it streams. Here a row is gone once it was given; what is held are the texts that cells share
(`max_strings` bytes at most).

A workbook can be hostile. What is unpacked is counted as it is read (`max_unpacked`, `max_ratio`), whatever the archive
says of itself; a document type declaration is refused, so that no entity can be there to be expanded; depth, rows,
columns, merged cells and the length of a cell have bounds.

Cells are given as None, bool, int, float, str, datetime (a local time, from the number format), time, or CellError. Of
merged cells the topmost of each range's first column has the value, and those below it have it, too: that is how a
group is named once. What a formula showed when the workbook was saved is its value; one that was never calculated has
none, and that is reported.
"""

from __future__ import annotations

import os
import posixpath
import re
import struct
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import time
from functools import lru_cache
from typing import IO, Any
from xml.parsers import expat

from ..errors import InvalidInput, LakeError, ParseError
from .cells import CellError
from .moments import serial_datetime

MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
MAX_TEXT = 1024 * 1024
"""Characters of a cell; Excel's own limit is 32,767."""
MAX_MERGED = 100_000
MAX_DEPTH = 64
MAX_TOKEN = 16 * 1024 * 1024
"""Bytes of one tag or comment."""
MAX_PARTS = 10_000
MAX_DIRECTORY = 4 * 1024 * 1024
RATIO_FROM = 64 * 1024 * 1024
"""Bytes from which on a part's ratio is looked at: small ones may be anything."""
CHUNK = 64 * 1024

Row = tuple[int, Sequence[Any]]
Complain = Callable[[int, str], None]

_NAMESPACES = (
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    "http://purl.oclc.org/ooxml/spreadsheetml/main",
)
_RELATIONS = (
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
    "http://purl.oclc.org/ooxml/officeDocument/relationships",
)
_REF = re.compile(r"([A-Z]{1,3})([1-9]\d{0,6})", re.ASCII)
# Number formats that every workbook has (ECMA-376 part 1, 18.8.30), with those of East Asian versions.
_BUILT_IN = {
    **dict.fromkeys((14, 15, 16, 17, 22, *range(27, 32), 36, *range(50, 55), 57, 58), "date"),
    **dict.fromkeys((18, 19, 20, 21, *range(32, 36), 45, 47, 55, 56), "time"),
    46: "elapsed",
}
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


@dataclass(frozen=True)
class Limits:
    """What a workbook may take: bytes of all that is unpacked of it, how many times larger that is than what was
    packed, bytes of the texts that cells share."""

    max_unpacked: int = 2 * 1024**3
    max_ratio: int = 200
    max_strings: int = 256 * 1024**2


@dataclass(frozen=True)
class Sheet:
    """A sheet: its name, whether Excel hides it, and a function that gives its rows, with their numbers from 1. Rows
    that are empty may be left out."""

    name: str
    hidden: bool
    rows: Callable[[Complain], Iterator[Row]]


@dataclass(frozen=True)
class Workbook:
    """The sheets of a workbook; `excel_1904`: its days are counted from 1904."""

    sheets: Sequence[Sheet]
    excel_1904: bool


def is_workbook(head: bytes) -> bool:
    """Whether a file that begins so is a zip archive, or an OLE or BIFF file: no text begins like them."""
    return head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"\x09\x08\x10\x00\x00\x06\x05\x00"))


def open_workbook(file: IO[bytes], limits: Limits) -> Workbook:
    """The workbook in a file that can be sought. Errors: ParseError: it is none, is damaged, encrypted, or too much."""
    file.seek(0)
    if file.read(2) == b"PK":
        return _open_xlsx(file, limits)
    file.seek(0)
    return _open_xls(file)


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Makes one error of all that damaged files lead to."""
    try:
        yield
    except LakeError:
        raise
    except expat.ExpatError as error:
        raise ParseError(f"{what} is damaged: {error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, RuntimeError) as error:
        raise ParseError(f"{what} is damaged: {error}") from error
    except (ValueError, KeyError, IndexError, OverflowError, AttributeError) as error:
        raise ParseError(f"{what} is damaged: {type(error).__name__}: {error}") from error


class _Package:
    """The parts of an .xlsx file."""

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        self._limits = limits
        self._unpacked = 0
        _check_directory(file)
        self._zip = zipfile.ZipFile(file)
        self._names = {name.lower().lstrip("/"): name for name in self._zip.namelist()}

    def has(self, name: str) -> bool:
        return name.lower() in self._names

    def read(self, name: str, size: int = CHUNK) -> Iterator[bytes]:
        """The content of a part. Errors: ParseError where it is too much."""
        info = self._zip.getinfo(self._names[name.lower()])
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ParseError(f"{name} in the workbook is packed in a way that workbooks are not")
        if info.flag_bits & 1:
            raise ParseError(f"{name} in the workbook is encrypted")
        unpacked = 0
        with self._zip.open(info) as part:
            while True:
                data = part.read(size)
                if not data:
                    return
                unpacked += len(data)
                self._unpacked += len(data)
                if self._unpacked > self._limits.max_unpacked:
                    raise ParseError(
                        f"the workbook unpacks to over {self._limits.max_unpacked} bytes (option max_unpacked)"
                    )
                if unpacked > RATIO_FROM and unpacked > self._limits.max_ratio * max(info.compress_size, 1):
                    raise ParseError(
                        f"{name} in the workbook is over {self._limits.max_ratio} times as large as packed: it may be"
                        " made to fill memory (option max_ratio)"
                    )
                yield data

    def relations(self, name: str) -> dict[str, tuple[str, str]]:
        """id -> (kind, name) of the parts that a part refers to."""
        folder, _slash, base = name.rpartition("/")
        part = posixpath.join(folder, "_rels", base + ".rels")
        found: dict[str, tuple[str, str]] = {}

        def start(tag: str, attributes: Mapping[str, str]) -> None:
            if _local(tag) == "Relationship" and attributes.get("TargetMode") != "External" and len(found) < MAX_PARTS:
                target = posixpath.normpath(posixpath.join("/" + folder, attributes.get("Target", ""))).lstrip("/")
                found[attributes.get("Id", "")] = (attributes.get("Type", "").rpartition("/")[2], target)

        if self.has(part):
            _parse(self.read(part), start)
        return found


def _check_directory(file: IO[bytes]) -> None:
    """Refuses an archive with so many parts that their list alone would fill memory."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 65_557 - 20))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise ParseError("the workbook is damaged: it is cut off, or no zip archive")
    parts, directory = struct.unpack("<HI", tail[at + 10 : at + 16])
    if parts > MAX_PARTS or directory > MAX_DIRECTORY or tail[at - 20 : at - 16] == b"PK\x06\x07":
        raise ParseError(f"no workbook: a zip archive with over {MAX_PARTS} parts")
    file.seek(0)


def _local(tag: str) -> str:
    return tag.rpartition(" ")[2]


def _parse(
    chunks: Iterator[bytes],
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None] | None = None,
    text: Callable[[str], None] | None = None,
) -> None:
    """Parses a whole part. Errors: ParseError, ExpatError."""
    for _ in _steps(chunks, start, end, text):
        pass


def _steps(
    chunks: Iterator[bytes],
    start: Callable[[str, dict[str, str]], None],
    end: Callable[[str], None] | None = None,
    text: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Parses a part chunk by chunk."""
    parser = expat.ParserCreate(namespace_separator=" ")
    depth = 0

    def refuse(*_what: Any) -> Any:
        raise ParseError("the workbook has a document type declaration, which no workbook has: it may be an attack")

    def start_element(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise ParseError("the workbook is damaged: its elements are nested too deeply")
        start(tag, attributes)

    def end_element(tag: str) -> None:
        nonlocal depth
        depth -= 1
        if end is not None:
            end(tag)

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    parser.StartElementHandler = start_element
    parser.EndElementHandler = end_element
    if text is not None:
        parser.buffer_text = True
        parser.CharacterDataHandler = text
    fed = 0
    for chunk in chunks:
        parser.Parse(chunk, False)
        fed += len(chunk)
        if fed - max(parser.CurrentByteIndex, 0) > MAX_TOKEN:
            raise ParseError("the workbook is damaged: a tag in it does not end")
        yield
    parser.Parse(b"", True)
    yield


def _tags(*names: str) -> dict[str, str]:
    """Full names of elements -> what they are called here, in both namespaces of the standard."""
    return {f"{namespace} {name}": name for namespace in _NAMESPACES for name in names}


class _Strings:
    """The texts that cells share, as UTF-8 in one block of memory."""

    _TAGS = _tags("si", "t", "rPh")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = bytearray()
        self._ends = array("Q", [0])
        self._text: list[str] = []
        self._takes = False
        self._reading_aid = 0
        self.get = lru_cache(maxsize=4096)(self._get)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def _get(self, index: int) -> str:
        if not 0 <= index < len(self._ends) - 1:
            raise ParseError(f"the workbook is damaged: it has no text {index}")
        return self._bytes[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogatepass")

    def start(self, tag: str, _attributes: Mapping[str, str]) -> None:
        name = self._TAGS.get(tag)
        if name == "t":
            self._takes = not self._reading_aid
        elif name == "rPh":  # how a text is pronounced
            self._reading_aid += 1

    def end(self, tag: str) -> None:
        name = self._TAGS.get(tag)
        if name == "t":
            self._takes = False
        elif name == "rPh":
            self._reading_aid -= 1
        elif name == "si":
            self._ends.append(len(self._bytes))
            if len(self._ends) * 8 > self._limit:
                raise ParseError(f"the workbook has over {self._limit} bytes of texts (option max_strings)")

    def text(self, data: str) -> None:
        if self._takes:
            self._bytes += data.encode("utf-8", "surrogatepass")
            if len(self._bytes) > self._limit:
                raise ParseError(f"the workbook has over {self._limit} bytes of texts (option max_strings)")


def _open_xlsx(file: IO[bytes], limits: Limits) -> Workbook:
    with _readable("the workbook"):
        package = _Package(file, limits)
        main = next(
            (target for kind, target in package.relations("").values() if kind == "officeDocument"), "xl/workbook.xml"
        )
        if not package.has(main):
            raise ParseError("no workbook: a zip archive without the parts of one")
        if main.endswith(".bin"):
            raise ParseError("a binary workbook (.xlsb): save it as .xlsx")
        listed, excel_1904 = _sheets(package, main)
        relations = package.relations(main)
        parts = {kind: target for kind, target in relations.values()}
        strings = _Strings(limits.max_strings)
        if package.has(parts.get("sharedStrings", "")):
            _parse(package.read(parts["sharedStrings"]), strings.start, strings.end, strings.text)
        formats = _formats(package, parts["styles"]) if package.has(parts.get("styles", "")) else []
        sheets = []
        for name, hidden, relation in listed:
            kind, target = relations.get(relation, ("", ""))
            if kind == "worksheet" and package.has(target):
                reader = _SheetReader(package, target, strings, formats, excel_1904)
                sheets.append(Sheet(name, hidden, reader.rows))
        if not sheets:
            raise ParseError("the workbook has no sheet with cells")
    return Workbook(sheets, excel_1904)


def _sheets(package: _Package, main: str) -> tuple[list[tuple[str, bool, str]], bool]:
    """[(name, hidden, id of its relation)] and whether days are counted from 1904."""
    sheets: list[tuple[str, bool, str]] = []
    excel_1904 = False
    tags = _tags("sheet", "workbookPr")

    def start(tag: str, attributes: Mapping[str, str]) -> None:
        nonlocal excel_1904
        name = tags.get(tag)
        if name == "workbookPr":
            excel_1904 = attributes.get("date1904", "0") in ("1", "true", "on")
        elif name == "sheet" and len(sheets) < MAX_PARTS:
            relation = next((attributes[key] for space in _RELATIONS if (key := space + " id") in attributes), "")
            hidden = attributes.get("state", "visible") != "visible"
            sheets.append((attributes.get("name", ""), hidden, relation))

    _parse(package.read(main), start)
    return sheets, excel_1904


def _formats(package: _Package, part: str) -> list[str]:
    """What the numbers of cells of each style are: "date", "time", "elapsed", or "" for numbers."""
    codes: dict[int, str] = {}
    styles: list[str] = []
    inside = False
    tags = _tags("numFmt", "cellXfs", "xf")

    def start(tag: str, attributes: Mapping[str, str]) -> None:
        nonlocal inside
        name = tags.get(tag)
        if name == "numFmt":
            codes[int(attributes.get("numFmtId", "0"))] = kind_of_format(attributes.get("formatCode", ""))
        elif name == "cellXfs":
            inside = True
        elif name == "xf" and inside:
            number = int(attributes.get("numFmtId", "0"))
            styles.append(codes.get(number, _BUILT_IN.get(number, "")))
            if len(styles) > 100_000:
                raise ParseError("the workbook is damaged: it has over 100,000 styles")

    def end(tag: str) -> None:
        nonlocal inside
        if tags.get(tag) == "cellXfs":
            inside = False

    _parse(package.read(part), start, end)
    return styles


@lru_cache(maxsize=1024)
def kind_of_format(code: str) -> str:
    """What a number of this format is: "date" (with or without a time), "time" of day, "elapsed" time, "" a number."""
    bare = re.sub(r'"[^"]*"?|\\.|_.|\*.', "", code[:1000].partition(";")[0].lower())
    if re.search(r"\[(h+|m+|s+)\]", bare):
        return "elapsed"
    bare = re.sub(r"\[[^\]]*\]", "", bare)
    if "general" in bare:
        return ""
    if re.search(r"[dy]|mmm", bare):
        return "date"
    if re.search(r"[hs]", bare):
        return "time"
    return "date" if "m" in bare else ""


def from_serial(number: float, kind: str, excel_1904: bool) -> Any:
    """The value of a number in a cell of a format of dates or times."""
    if kind == "elapsed" or (kind == "time" and number >= 1):
        seconds = round(number * 86_400)
        if not 0 <= seconds < 10**9:
            return number
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if kind == "time":
        milliseconds = round(number * 86_400_000)
        if not 0 <= milliseconds < 86_400_000:
            return number
        seconds = milliseconds // 1000
        return time(seconds // 3600, seconds // 60 % 60, seconds % 60, milliseconds % 1000 * 1000)
    try:
        return serial_datetime(number, excel_1904)
    except InvalidInput:
        return CellError(f"the date {number!r}")


@lru_cache(maxsize=MAX_COLUMNS)
def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    if not 1 <= number <= MAX_COLUMNS or not letters.isalpha() or not letters.isascii() or letters != letters.upper():
        raise ParseError(f"the workbook is damaged: {letters!r:.20} is no column")
    return number - 1


class _SheetReader:
    """Reads the rows of one sheet of an .xlsx file."""

    _TAGS = _tags("row", "c", "v", "t", "is", "f", "rPh")
    _MERGED = _tags("mergeCell")

    def __init__(
        self, package: _Package, part: str, strings: _Strings, formats: Sequence[str], excel_1904: bool
    ) -> None:
        self._package = package
        self._part = part
        self._strings = strings
        self._formats = formats
        self._excel_1904 = excel_1904

    def rows(self, complain: Complain) -> Iterator[Row]:
        """The rows that have cells; `complain(line, message)` is told of cells that have no value to be had."""
        with _readable("the sheet"):
            merged = _Merged(self._merged())
            for line, cells in self._cells(complain):
                row: list[Any] = [None] * (max(cells) + 1 if cells else 0)
                for column, value in cells.items():
                    row[column] = value
                merged.fill(line, row)
                if row:
                    yield line, row

    def _merged(self) -> list[tuple[int, int, int]]:
        """[(first row, last row, column)] of the ranges of merged cells that have several rows.

        They stand after the rows, so that the part is read twice; where the word is nowhere in it, at little cost.
        """
        words = b"mergeCell", "mergeCell".encode("utf-16-le"), "mergeCell".encode("utf-16-be")
        last = b""
        for data in self._package.read(self._part, 1024 * 1024):
            if any(word in last + data for word in words):
                break
            last = data[-32:]
        else:
            return []
        ranges: list[tuple[int, int, int]] = []

        def start(tag: str, attributes: Mapping[str, str]) -> None:
            if tag in self._MERGED:
                first, _colon, end = attributes.get("ref", "").partition(":")
                one, other = _REF.fullmatch(first), _REF.fullmatch(end)
                if one and other and int(other.group(2)) > int(one.group(2)):
                    ranges.append((int(one.group(2)), int(other.group(2)), _column(one.group(1))))
                    if len(ranges) > MAX_MERGED:
                        raise ParseError(f"the sheet has over {MAX_MERGED} merged cells")

        _parse(self._package.read(self._part), start)
        return ranges

    def _cells(self, complain: Complain) -> Iterator[tuple[int, dict[int, Any]]]:
        tags, formats, strings = self._TAGS, self._formats, self._strings
        styles = {str(index): kind for index, kind in enumerate(formats) if kind}
        excel_1904 = self._excel_1904
        done: list[tuple[int, dict[int, Any]]] = []
        row: dict[int, Any] = {}
        text: list[str] = []
        line = 0
        column = -1
        kind = style = ""
        takes = formula = False
        length = reading_aid = 0

        def start(tag: str, attributes: dict[str, str]) -> None:
            nonlocal row, line, column, kind, style, takes, formula, length, reading_aid
            name = tags.get(tag)
            if name == "c":
                get = attributes.get
                reference = get("r")
                if reference:
                    column = _column(reference.rstrip("0123456789"))
                else:
                    column += 1
                    if column >= MAX_COLUMNS:
                        raise ParseError(f"the workbook is damaged: a row has over {MAX_COLUMNS} cells")
                kind = get("t", "n")
                style = get("s", "")
                formula = False
                if text:
                    text.clear()
                length = 0
            elif name == "v":
                takes = True
            elif name == "row":
                number = attributes.get("r")
                line = int(number) if number else line + 1
                if not 1 <= line <= MAX_ROWS:
                    raise ParseError(f"the workbook is damaged: {line} is no row")
                row = {}
                column = -1
            elif name == "t":
                takes = kind == "inlineStr" and not reading_aid
            elif name == "f":
                formula = True
            elif name == "rPh":
                reading_aid += 1

        def end(tag: str) -> None:
            nonlocal takes, reading_aid
            name = tags.get(tag)
            if name == "v" or name == "t":
                takes = False
            elif name == "c":
                if text:
                    row[column] = value("".join(text) if len(text) > 1 else text[0])
                elif formula:
                    complain(line, f"the formula in column {column + 1} has no value: it was never calculated")
            elif name == "row":
                done.append((line, row))
            elif name == "rPh":
                reading_aid -= 1

        def characters(data: str) -> None:
            nonlocal length
            if takes:
                length += len(data)
                if length > MAX_TEXT:
                    raise ParseError(f"a cell has over {MAX_TEXT} characters", line)
                text.append(data)

        def value(given: str) -> Any:
            if kind == "s":
                return strings.get(int(given))
            if kind == "n":
                number = int(given) if given.isdigit() and len(given) < 19 else _float(given)
                form = styles.get(style)
                return from_serial(number, form, excel_1904) if form else number
            if kind == "b":
                return given.strip() not in ("0", "false")
            return CellError(given) if kind == "e" else given

        for _ in _steps(self._package.read(self._part), start, end, characters):
            yield from done
            done.clear()


def _float(text: str) -> float:
    number = float(text)
    if number != number or number in (float("inf"), float("-inf")):
        raise ParseError(f"the workbook is damaged: {text!r:.40} is no number")
    return number


class _Merged:
    """Fills in the cells below the one that has the value of a merged range."""

    def __init__(self, ranges: Sequence[tuple[int, int, int]]) -> None:
        self._next = sorted(ranges, reverse=True)
        self._open: dict[int, tuple[int, Any]] = {}  # column -> (last row, value)

    def fill(self, line: int, row: list[Any]) -> None:
        for column, (last, value) in list(self._open.items()):
            if line > last:
                del self._open[column]
                continue
            if len(row) <= column:
                row.extend([None] * (column + 1 - len(row)))
            if row[column] is None:
                row[column] = value
        while self._next and self._next[-1][0] <= line:
            first, last, column = self._next.pop()
            if first == line and column < len(row) and row[column] is not None:
                self._open[column] = (last, row[column])


def _open_xls(file: IO[bytes]) -> Workbook:
    import xlrd

    file.seek(0)
    content = file.read()
    with _xls_readable(), open(os.devnull, "w", encoding="utf-8") as nowhere:
        try:
            book = xlrd.open_workbook(
                file_contents=content,
                logfile=nowhere,
                on_demand=True,
                ragged_rows=True,
                formatting_info=True,  # merged cells are only told with it
                ignore_workbook_corruption=True,
            )
        except xlrd.XLRDError as error:
            if _ENCRYPTED in content or "encrypted" in str(error).lower():
                raise ParseError("the workbook is encrypted: save it without a password") from None
            raise
        sheets = []
        for index, name in enumerate(book.sheet_names()):
            visibility = book._sheet_visibility  # what a sheet says itself is known only once it is read
            hidden = index < len(visibility) and bool(visibility[index])
            sheets.append(Sheet(str(name), hidden, _XlsSheet(book, index).rows))
    if not sheets:
        raise ParseError("the workbook has no sheet with cells")
    return Workbook(sheets, bool(book.datemode))


@contextmanager
def _xls_readable() -> Iterator[None]:
    """xlrd has no error of its own for most of what can be wrong with a file."""
    try:
        yield
    except (LakeError, MemoryError):
        raise
    except Exception as error:
        raise ParseError(f"the workbook (.xls) is damaged, or none: {type(error).__name__}: {error}") from error


class _XlsSheet:
    """Reads the rows of one sheet of an .xls file, which is in memory while it is read (it has 65,536 rows of 256 cells
    at most)."""

    def __init__(self, book: Any, index: int) -> None:
        self._book = book
        self._index = index

    def rows(self, complain: Complain) -> Iterator[Row]:
        with _xls_readable(), open(os.devnull, "w", encoding="utf-8") as nowhere:
            self._book.logfile = nowhere
            sheet = self._book.sheet_by_index(self._index)
            try:
                ranges = [(low + 1, high, left) for low, high, left, _right in sheet.merged_cells if high - low > 1]
                merged = _Merged(ranges[:MAX_MERGED])
                for index in range(sheet.nrows):
                    types, values = sheet.row_types(index), sheet.row_values(index)
                    row = [self._value(sheet, index, column, kind, values[column]) for column, kind in enumerate(types)]
                    merged.fill(index + 1, row)
                    if row:
                        yield index + 1, row
            finally:
                self._book.unload_sheet(self._index)

    def _value(self, sheet: Any, row: int, column: int, kind: int, value: Any) -> Any:
        import xlrd

        if kind == xlrd.XL_CELL_TEXT:
            return value
        if kind == xlrd.XL_CELL_NUMBER:
            return int(value) if value.is_integer() and abs(value) < 1e15 else value
        if kind == xlrd.XL_CELL_DATE:
            style = self._book.xf_list[sheet.cell_xf_index(row, column)]
            code = self._book.format_map[style.format_key].format_str
            return from_serial(value, kind_of_format(code) or "date", bool(self._book.datemode))
        if kind == xlrd.XL_CELL_BOOLEAN:
            return bool(value)
        if kind == xlrd.XL_CELL_ERROR:
            return CellError(xlrd.error_text_from_code.get(value, f"#ERROR {value}"))
        return None
