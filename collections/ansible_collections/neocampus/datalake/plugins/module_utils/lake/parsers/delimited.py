# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delimited text, read as a stream: its encoding, its delimiter, its comment lines, and rows of cells with their lines.

- Encoding: what a byte order mark says, else what is declared, else UTF-8 where it is that, else the legacy encoding
  that fits best the first lines that are not ASCII (charset-normalizer; Windows-1252 where nothing tells). Bytes that
  are not of the encoding cost only the rows that they are in.
- Delimiter: the one that gives the lines of the beginning the same number of cells: comma, semicolon, tab, bar; in
  plain text also runs of blanks. A first line `sep=;` is believed.
- Comment lines (`#`, at the file's beginning; then also later ones) are passed over. The last of them may be the
  header.
- A quote that is never closed costs its own line, not those that follow.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence

from ..errors import InvalidInput, ParseError
from .cells import NumberStyle, number_style
from .moments import looks_timed

DELIMITERS = (",", ";", "\t", "|")
BLANKS = "whitespace"
"""The name of the delimiter that is any run of blanks."""
BLOCK = 256 * 1024
MAX_LINE = 1024 * 1024
"""Characters of a line; a longer one is left out."""
MAX_ROW = 4 * 1024 * 1024
"""Characters of a row with line ends in its cells, about."""
AGAIN = 5000
"""Lines of a row that cannot be one which are read again, each by itself."""
SNIFFED = 100
"""Lines that are looked at to tell the delimiter."""
LEGACY = ("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "iso8859_15", "mac_roman", "cp850", "shift_jis", "gb18030")
"""What an encoding that is not declared may be, where it is not UTF."""

NOISY = 4
"""So many lines with bytes that are 0 may be damaged ones of a text."""
_CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")  # ESC is in logs that terminals colour
_UNCLEAN = re.compile("[\x00\ud800-\udfff]")
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_SEP = re.compile(r"sep=(.)\s*", re.IGNORECASE)

Cells = Sequence[str]


class _Decoder:
    """Bytes to text. While all is ASCII the encoding stays open: then the first bytes that are not decide."""

    def __init__(self, declared: str | None) -> None:
        self._decoder: codecs.IncrementalDecoder | None = None
        self._declared = _codec(declared) if declared else None
        self._first = True

    def decode(self, data: bytes, final: bool) -> str:
        if self._first:
            self._first = False
            encoding = _by_mark(data) or self._declared or _wide(data)
            if encoding:
                self._use(encoding)
        if self._decoder is None:
            if data.isascii():
                return data.decode("ascii")
            self._use(_legacy_or_utf8(data, final))
        if self._decoder is None:
            raise RuntimeError("no decoder was chosen")
        try:
            return self._decoder.decode(data, final)
        except UnicodeError as error:
            raise ParseError(f"the text is not of the encoding that was declared: {error}") from None

    def _use(self, encoding: str) -> None:
        single = encoding.startswith(("utf-8", "cp", "iso8859", "ascii", "mac", "koi8"))
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogateescape" if single else "replace")


def _codec(name: str) -> str:
    try:
        b"    ".decode(name, "replace")  # rot13, hex and their like are known, but no encodings of text
        normal = codecs.lookup(name).name
    except (LookupError, ValueError, TypeError):
        raise ParseError(f"the encoding {name!r:.40} is not known") from None
    return "utf-8-sig" if normal == "utf-8" else normal


def _by_mark(data: bytes) -> str | None:
    if data.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return None


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark: nearly every second byte is 0."""
    head = data[:2048]
    half = len(head) // 2
    if half < 4:
        return None
    if head[1::2].count(0) > 0.8 * half and head[::2].count(0) < 0.1 * half:
        return "utf-16-le"
    if head[::2].count(0) > 0.8 * half and head[1::2].count(0) < 0.1 * half:
        return "utf-16-be"
    return None


def _legacy_or_utf8(data: bytes, final: bool) -> str:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final)
        return "utf-8"
    except UnicodeDecodeError:
        text = data.decode("utf-8", "surrogateescape")
    good = sum(1 for char in text if char > "\x7f" and not "\ud800" <= char <= "\udfff")
    bad = sum(1 for char in text if "\ud800" <= char <= "\udfff")
    if good > bad:  # a legacy encoding hardly ever makes what UTF-8 would: these are a few damaged bytes
        return "utf-8"
    return _legacy(b"".join(line for line in data.splitlines(keepends=True) if not line.isascii())[: 32 * 1024])


def _legacy(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    matches = from_bytes(sample, cp_isolation=list(LEGACY))
    best = matches.best()
    if best is None:
        return LEGACY[0]
    # Of encodings that fit alike the first of LEGACY is the likeliest.
    fitting = [match.encoding for match in matches if match.chaos <= best.chaos and match.coherence >= best.coherence]
    return next((name for name in LEGACY if name in fitting), codecs.lookup(best.encoding).name)


class _Lines:
    """Lines with their ends, numbered from 0; those of the row that is being read can be given again."""

    def __init__(
        self, read: Callable[[int], bytes], encoding: str | None, complain: Callable[[int, str], None]
    ) -> None:
        self._blocks = self._read(read, _Decoder(encoding))
        self._complain = complain
        self._recent: deque[tuple[int, int, list[str]]] = deque()  # (first line, characters, lines)
        self.count = 0
        """How many lines were read."""
        self.row_start = 0
        """The number of the line at which the row begins that is being read; its reader says it."""
        self.unclean = False
        """Whether there may be lines with bytes that are no text."""
        self.too_long = 0

    def _read(self, read: Callable[[int], bytes], decoder: _Decoder) -> Iterator[tuple[int, list[str]]]:
        """The lines as they come, some at a time, with how many characters they have."""
        data = read(BLOCK)
        while data and len(data) < 64:  # a mark, or what tells an encoding, may be cut
            more = read(BLOCK)
            if not more:
                break
            data += more
        rest = ""
        skipping = False
        count = 0
        while True:
            text = decoder.decode(data, not data)
            if not self.unclean and ("\x00" in text if text.isascii() else _UNCLEAN.search(text)):
                self.unclean = True
            size = len(rest) + len(text)
            lines = io.StringIO(rest + text, newline="").readlines()
            rest = ""
            if data and lines and not lines[-1].endswith("\n"):
                rest = lines.pop()
            if skipping and lines:
                lines[0] = "\n"
                skipping = False
            if size > MAX_LINE:
                for index, line in enumerate(lines):
                    if len(line) > MAX_LINE:
                        lines[index] = "\n"
                        self._too_long(count + index)
            count += len(lines)
            if skipping or len(rest) > MAX_LINE:
                if not skipping:
                    self._too_long(count)
                skipping, rest = True, "x\r" if rest.endswith("\r") else "x"
            yield size - len(rest), lines
            if not data:
                return
            data = read(BLOCK)

    def _too_long(self, number: int) -> None:
        self.too_long += 1
        self._complain(number + 1, f"a line is over {MAX_LINE} characters")

    def head(self) -> list[str]:
        """The lines of the beginning, which are given again: at least SNIFFED of them, if there are as many."""
        lines: list[str] = []
        while len(lines) < SNIFFED and self._next():
            lines += self._recent[-1][2]
        return lines

    def _next(self) -> bool:
        block = next(self._blocks, None)
        if block is None:
            return False
        size, lines = block
        self._recent.append((self.count, size, lines))
        self.count += len(lines)
        return True

    def since(self, number: int) -> Iterator[str]:
        """The lines from this one on, which has to be one of the row that is being read, or a later one.

        Errors: _RowTooLong.
        """
        for start, _size, block in list(self._recent):
            if start + len(block) > number:
                yield from block[max(0, number - start) :]
        while True:
            while self._recent and self._recent[0][0] + len(self._recent[0][2]) <= self.row_start:
                self._recent.popleft()
            if len(self._recent) > 1 and sum(size for _start, size, _block in self._recent) > MAX_ROW:
                raise _RowTooLong
            if not self._next():
                return
            yield from self._recent[-1][2]

    def between(self, start: int, end: int) -> list[str]:
        """The lines of the row that is being read, from `start` to before `end`."""
        lines: list[str] = []
        for first, _size, block in self._recent:
            lines += block[max(0, start - first) : max(0, end - first)]
        return lines


class _RowTooLong(Exception):
    """A row goes on and on."""


class DelimitedText:
    """A file of delimited text.

    `read` gives its next bytes, none at its end. `delimiter` (one character, or BLANKS) and `encoding` are found where
    they are not given; `blanks` allows that runs of blanks are found. `complain(line, message)` is told what is left
    out. Errors: ParseError: it is no text, the encoding is none. InvalidInput: the delimiter is none.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        complain: Callable[[int, str], None],
        *,
        encoding: str | None = None,
        delimiter: str | None = None,
        comment: str = "#",
        blanks: bool = False,
    ) -> None:
        check_delimiter(delimiter)
        self._complain = complain
        self._lines = _Lines(read, encoding, complain)
        head = self._lines.head()
        first = next((line for line in head if line.strip()), "")
        if "\x00" in first or _is_noise(head, delimiter):
            raise ParseError("no CSV: it is not text")
        self._start = 0
        said = _SEP.fullmatch(first)
        if said and not said.group(1).isalnum():
            delimiter = delimiter or said.group(1)
            self._start = head.index(first) + 1
            head = head[self._start :]
        begins = next((line for line in head if line.strip()), "").lstrip()
        self._comment = comment if comment and begins.startswith(comment) else ""
        told = [line for line in head if line.strip() and not self._is_comment(line)][:SNIFFED]
        self.delimiter = delimiter or sniff(told, blanks)
        self._width = self._usual_width(told)
        self.comma = self.delimiter == ","
        self._header = self._comment_header(head, told)

    def _is_comment(self, line: str) -> bool:
        return bool(self._comment) and line.lstrip().startswith(self._comment)

    def _split(self, line: str) -> list[str]:
        if self.delimiter == BLANKS:
            return line.split()
        try:
            return next(csv.reader([line], delimiter=self.delimiter), [])
        except csv.Error:
            return []

    def _usual_width(self, lines: Sequence[str]) -> int:
        """The number of cells that most rows of these lines have, which may have line ends in their cells."""
        if self.delimiter == BLANKS:
            return _usual([len(line.split()) for line in lines])
        widths: Counter[int] = Counter()
        try:
            for cells in csv.reader(lines, delimiter=self.delimiter):
                widths[len(cells)] += 1
        except csv.Error:  # what follows is not looked at
            widths.setdefault(0, 0)
        return widths.most_common(1)[0][0] if widths else 0

    def _comment_header(self, head: Sequence[str], told: Sequence[str]) -> tuple[int, list[str]] | None:
        """The last of the comment lines at the beginning, where it has as many cells as the rows and they have no
        header of their own."""
        number = -1
        for index, line in enumerate(head):
            if line.strip() and not self._is_comment(line):
                break
            if line.strip():
                number = index
        if number < 0 or not told:
            return None
        cells = self._split(head[number].strip().lstrip(self._comment).strip())
        first = self._split(told[0])
        if len(cells) != len(first) or not any(is_value(cell.strip()) for cell in first):
            return None
        return self._start + number, cells

    def rows(self) -> Iterator[tuple[int, Cells]]:
        """The rows that are not blank, each with the line (from 1) at which it ends."""
        if self._header:
            yield self._header[0] + 1, self._header[1]
        for line, cells in self._blank_rows() if self.delimiter == BLANKS else self._csv_rows():
            if self._comment and cells[0].lstrip().startswith(self._comment):
                continue
            if self._lines.unclean and _UNCLEAN.search("".join(cells)):
                self._complain(line, "there are bytes in it that are no text of this encoding (or are 0)")
                continue
            yield line, cells

    def _blank_rows(self) -> Iterator[tuple[int, Cells]]:
        lines = self._lines
        for number, line in enumerate(lines.since(self._start), self._start + 1):
            lines.row_start = number
            cells = line.split()
            if cells:
                yield number, cells

    def _csv_rows(self) -> Iterator[tuple[int, Cells]]:
        lines = self._lines
        start = self._start
        while True:
            reader = csv.reader(lines.since(start), delimiter=self.delimiter)
            done = lines.row_start = start
            problem = ""
            try:
                for cells in reader:
                    end = start + reader.line_num
                    if end - done > 1:
                        problem = self._problem_of(cells, done, end)
                        if problem:
                            # Its lines are read again, each by itself, unless that would take long.
                            start = done + 1 if end - done <= AGAIN else end
                            break
                    done = lines.row_start = end
                    if cells and ((cells[0] and not cells[0].isspace()) or any(cell.strip() for cell in cells)):
                        yield end, cells
                else:
                    return
            except csv.Error as error:
                problem, start = str(error), done + 1
            except _RowTooLong:
                problem, start = f"it is over {MAX_ROW} characters", lines.count
            self._complain(done + 1, f"no CSV row (is a quote never closed?): {problem}")

    def _problem_of(self, cells: Sequence[str], start: int, end: int) -> str:
        """What is wrong with a row of several lines; "" where they may well belong together."""
        if len(cells) != self._width and self._width > 1:
            return f"{len(cells)} cells in {end - start} lines, {self._width} are expected"
        try:
            next(csv.reader(self._lines.between(start, end), delimiter=self.delimiter, strict=True))
        except csv.Error as error:
            return str(error)
        return ""


def is_value(text: str) -> bool:
    """Whether a text is a number or a time: a name of a column is none."""
    if not text or not (text[-1].isdigit() or text[0].isdigit()):
        return False
    if NumberStyle("").number(text) is not None or looks_timed(text):
        return True
    return number_style([text]) is not None


def check_delimiter(delimiter: str | None) -> None:
    """Errors: InvalidInput where it cannot part cells."""
    if delimiter is None or delimiter == BLANKS:
        return
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter.isalnum() or delimiter in '"\r\n \\.':
        raise InvalidInput(
            f"delimiter is one character like {', '.join(map(repr, DELIMITERS))}, or {BLANKS}, not {delimiter!r:.20}"
        )


def sniff(lines: Sequence[str], blanks: bool = False) -> str:
    """The delimiter of these lines."""
    bare = [_QUOTED.sub("", line) for line in lines]
    best, best_score = DELIMITERS[0], (0.0, False, 0)
    for delimiter in DELIMITERS + ((BLANKS,) if blanks and len(lines) > 1 else ()):
        counts = [len(line.split()) - 1 if delimiter == BLANKS else line.count(delimiter) for line in bare]
        usual = _usual([count for count in counts if count])
        if not usual:
            continue
        same = counts.count(usual) / len(counts)
        header = next(count for count in counts if count)
        # Where the first line that has it has it as often as the others, it parts the header, too: commas of decimals
        # and blanks of times do not.
        whole = 1.0 if counts[0] == usual or (header == usual and counts[0] == 0 and same > 0.9) else 0.5
        # Where a comma and another one fit alike, the commas are those of decimals.
        likely = round(same * whole * (0.95 if delimiter == BLANKS else 1.0), 2)
        score = (likely, delimiter != ",", usual)
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _is_noise(lines: Sequence[str], delimiter: str | None) -> bool:
    """Whether these are lines of no text: more than NOISY with bytes that are 0, and most with some control character.
    Some of them look like rows. In a text a few lines may be damaged, or a long one all zeros."""
    told = [line for line in lines if line.strip()][:SNIFFED]
    if sum("\x00" in line for line in told) <= NOISY:
        return False
    return 2 * sum(any(found != delimiter for found in _CONTROL.findall(line)) for line in told) > len(told)


def _usual(counts: Sequence[int]) -> int:
    """The commonest of the numbers, the larger of two; 0 of none."""
    found = Counter(counts)
    return max(found, key=lambda count: (found[count], count)) if found else 0
