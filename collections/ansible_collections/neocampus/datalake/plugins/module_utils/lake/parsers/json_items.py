# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values of a JSON file, one at a time, in memory that one value bounds: the items of its list, or values one after
another (JSON lines among them)."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, Callable

from ..errors import ParseError
from .inputs import Readable

CHUNK = 256 * 1024
MAX_ITEM = 16 * 1024 * 1024  # characters of one JSON value
_SPACE = " \t\r\n"
_GOES_ON = ("", *"0123456789.eE+-")
_STRUCTURE = re.compile(r'["{}\[\]]')
_STRING_END = re.compile(r'["\\]')

Decode = Callable[[str, int], "tuple[Any, int]"]
Complain = Callable[[int, str], None]


class Refused(ParseError):
    """A value that is too large or nested too deeply: it can be passed over."""


def read_items(stream: Readable) -> Iterator[Any]:
    """The values of a JSON file, one at a time: the items of its list, or the values that stand one after another.

    Errors: ParseError (with the line) when it is not JSON, or ends too early.
    """
    for _number, value in numbered(JsonReader(stream)):
        yield value


def numbered(reader: JsonReader, complain: Complain | None = None) -> Iterator[tuple[int, Any]]:
    """(number of the item, from 1; value) of all that `read_items` gives.

    With `complain(number, text)`, what can be passed over is reported and left out: a value that is too large or nested
    too deeply, and a line of JSON lines that is broken.
    """
    if reader.peek() == "":
        raise ParseError("the file is empty")
    if reader.peek() == "[":
        yield from list_items(reader, complain)
        if reader.peek():
            raise reader.error("there is something after the list's end")
        return
    number = 0
    lines = True
    while reader.peek():
        number += 1
        line = reader.line
        try:
            value = reader.value()
            lines = lines and reader.line == line
        except ParseError as error:
            if complain is None or not reader.skip(error, lines):
                raise
            complain(number, str(error))
            continue
        yield number, value


def list_items(reader: JsonReader, complain: Complain | None = None) -> Iterator[tuple[int, Any]]:
    """The same of the list that begins here."""
    reader.take()
    if reader.peek() == "]":
        reader.take()
        return
    number = 0
    while True:
        number += 1
        try:
            value = reader.value()
        except Refused as error:
            if complain is None or not reader.skip(error, False):
                raise
            complain(number, str(error))
        else:
            yield number, value
        mark = reader.peek()
        reader.take()
        if mark == "]":
            return
        if mark != ",":
            raise reader.error("the list ends too early" if not mark else f"a comma is expected, not {mark!r}")


class JsonReader:
    """Decodes JSON values from a stream, a chunk at a time.

    `decode(text, at)` gives a value and where it ends, as JSONDecoder.raw_decode does, which is the default.
    """

    def __init__(self, stream: Readable, decode: Decode | None = None) -> None:
        head = stream.read(CHUNK)
        try:
            encoding = json.detect_encoding(head)
        except IndexError:
            encoding = "utf-8"
        self._stream = stream
        # Bytes that are no UTF-8 become lone surrogates: only the values that they stand in are lost.
        errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
        self._bytes_to_text = codecs.getincrementaldecoder(encoding)(errors).decode
        self._decode = decode or json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._lines = 1  # the line at which _text begins
        self._counted = 0
        self._ended = False
        self._feed(head)

    def _feed(self, data: bytes) -> None:
        self._ended = not data
        try:
            text = self._bytes_to_text(data, self._ended)
        except UnicodeDecodeError as error:
            raise self.error(f"not Unicode text: {error.reason}") from None
        self._lines = self.line
        self._text = self._text[self._at :] + text
        self._at = self._counted = 0

    def _read(self, size: int = 0) -> None:
        self._feed(self._stream.read(size or CHUNK))

    @property
    def line(self) -> int:
        """The line where it stands, from 1."""
        self._lines += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._lines

    def error(self, message: str, at: int | None = None) -> ParseError:
        line = self.line + self._text.count("\n", self._at, self._at if at is None else at)
        position = self._at if at is None else at
        if "\udc80" <= self._text[position : position + 1] <= "\udcff":
            message = "not Unicode text"
        return ParseError(f"not valid JSON: {message}", line)

    def peek(self) -> str:
        """The next character that is no space, without taking it; nothing at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if self._ended:
                return ""
            self._read()

    def take(self) -> None:
        """Goes behind the character that `peek` gave."""
        self._at += 1

    def text(self, size: int) -> str:
        """The text that follows, `size` characters of it at most, which stays to be read."""
        while len(self._text) - self._at < size and not self._ended:
            self._read()
        return self._text[self._at : self._at + size]

    def value(self) -> Any:
        """The next value. Errors: ParseError; Refused where `skip` can go on behind it."""
        if not self.peek():
            raise self.error("the file ends where a value is expected")
        while True:
            try:
                value, end = self._decode(self._text, self._at)
                # A number at the end of what was read may go on.
                if self._ended or self._text[end : end + 1] not in _GOES_ON:
                    self._at = end
                    return value
            except RecursionError:
                raise Refused("not valid JSON: nested too deeply", self.line) from None
            except json.JSONDecodeError as error:
                held = len(self._text) - self._at
                if not self._ended and held > MAX_ITEM and self._is_cut(error):
                    raise Refused(f"a value over {MAX_ITEM} characters", self.line) from None
                if self._ended or held > MAX_ITEM:
                    raise self.error(error.msg, error.pos) from None
            except ValueError as error:
                raise self.error(str(error)) from None
            else:
                if len(self._text) - self._at > MAX_ITEM:
                    raise Refused(f"a value over {MAX_ITEM} characters", self.line)
            self._read(max(CHUNK, len(self._text) - self._at))  # doubling: a long value is not decoded over and over

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether a value seems to go on behind what was read, rather than to be wrong."""
        return error.msg.startswith("Unterminated") or error.pos >= len(self._text) - 16

    def skip(self, error: ParseError, lines: bool) -> bool:
        """Goes behind the value that `value` failed on; False where it cannot be told where that ends.

        `lines`: values stand on lines of their own, so that the next one begins on the next line.
        """
        if isinstance(error, Refused) and self.peek() in '{["':
            return self._skip_value()
        if not lines:
            return False
        while True:
            end = self._text.find("\n", self._at)
            if end >= 0:
                self._at = end + 1
                return self.peek() in ("", "{", "[")
            if self._ended:
                self._at = len(self._text)
                return True
            if len(self._text) - self._at > MAX_ITEM:
                return False
            self._read()

    def _skip_value(self) -> bool:
        depth = 0
        while True:
            found = _STRUCTURE.search(self._text, self._at)
            if not found:
                self._at = len(self._text)
                if self._ended:
                    return False
                self._read()
                continue
            self._at = found.end()
            sign = found.group()
            if sign == '"':
                if not self._skip_string():
                    return False
            else:
                depth += 1 if sign in "{[" else -1
            if depth <= 0:
                return depth == 0

    def _skip_string(self) -> bool:
        while True:
            found = _STRING_END.search(self._text, self._at)
            if found and found.group() == '"':
                self._at = found.end()
                return True
            if found and found.end() < len(self._text):
                self._at = found.end() + 1
                continue
            self._at = found.start() if found else len(self._text)
            if self._ended:
                return False
            self._read()
