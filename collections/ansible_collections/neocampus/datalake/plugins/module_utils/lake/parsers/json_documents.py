# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON of any shape to documents: one object, each item of a list, each value of JSON lines, each feature of a GeoJSON
FeatureCollection (RFC 7946; its other members are counted in the report's `skipped`).

An item that is no object becomes `{"value": item}`. Names that MongoDB cannot hold are kept in another form (see
bson_values). Numbers: integers of 64 bits and doubles as such; what these cannot hold (a larger integer, 1e400) is a
Decimal128 of up to 34 digits, or its text where it has more. Of a name that an object has twice the last value is
kept, and it is reported. A document over MongoDB's 16 MiB, or nested deeper than 100 levels, is left out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ParseError
from ..records import Document
from .bson_values import MAX_DEPTH, MAX_SIZE, SafeNames, depth_of
from .inputs import Readable, opened, whole
from .json_items import JsonReader, list_items, numbered
from .report import RowErrors, report_of

SMALL = 2 * 1024 * 1024
"""Characters of JSON that cannot be over 16 MiB as BSON: a list of single digits is the worst, 2 characters to 13 bytes
(type, 7 digits of its place, end, 4 bytes of the number)."""
HEAD = 64 * 1024
"""Characters that are looked at to tell a FeatureCollection."""

# What has to be looked at twice: numbers that may be too large, texts that may be no Unicode.
_LARGE = re.compile(r"\d{19}|[eE]\+?\d{3}")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_STRUCTURE = re.compile(r'["{}\[\]]')
_NAME = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_TYPE = re.compile(r'"type"\s*:\s*"FeatureCollection"')
_LIST_OF_FEATURES = re.compile(r'"features"\s*:\s*\[')
_INT64 = range(-(2**63), 2**63)
_DIGITS = 34  # of a Decimal128


def parse(stream: Readable, options: Mapping[str, Any]) -> Iterator[Document]:
    """The documents of a JSON file, plain or gzip, read as a stream; their `number` is the place of the item, from 0.

    Items that cannot be kept go to `options.report`, with their number from 1.
    Errors: ParseError when it is not JSON, or nothing in it can be kept.
    """
    source = opened(stream)
    return whole(source, _documents(source, options))


def _documents(source: Readable, options: Mapping[str, Any]) -> Iterator[Document]:
    report = report_of(options)
    values = _Values(report)
    reader = JsonReader(source, values.decode)
    found = False
    if reader.peek() == "{" and _is_collection(reader.text(HEAD), options):
        items = _features(reader, report)
    else:
        items = _spread(numbered(reader, report.add))
    for number, value in items:
        document = values.document(number, value)
        if document is not None:
            found = True
            yield document
    if not found and report.count:
        first = report.items[0]
        raise ParseError(f"nothing in this JSON can be kept: item {first['line']}: {first['message']}")


class _Values:
    """Decodes values, and checks them."""

    def __init__(self, report: RowErrors) -> None:
        self._report = report
        self._names = SafeNames()
        self._twice: str | None = None
        self._text = ""
        self._fast = json.JSONDecoder(object_pairs_hook=self._mapping)
        self._careful = json.JSONDecoder(
            object_pairs_hook=self._mapping, parse_int=_integer, parse_float=_float, parse_constant=float
        )

    def _mapping(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) != len(pairs):
            seen: set[str] = set()
            self._twice = next(name for name, _value in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        return self._names.safe(mapping)

    def decode(self, text: str, at: int) -> tuple[Any, int]:
        """A value and where it ends, as JSONDecoder.raw_decode."""
        self._twice = None
        try:
            value, end = self._fast.raw_decode(text, at)
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer of thousands of digits
            value, end = self._careful.raw_decode(text, at)
        if _LARGE.search(text, at, end):
            value, end = self._careful.raw_decode(text, at)
        self._text = text[at:end]
        return value, end

    def document(self, number: int, value: Any) -> Document | None:
        """The document of the value that was decoded last; None, and a report, where it cannot be kept."""
        text = self._text
        if self._twice is not None:
            self._report.add(number, f"the name {self._twice!r:.80} is there twice: the last value is kept")
        if not isinstance(value, dict):
            value = {"value": value}
        wrong = self._wrong(text, value)
        if wrong:
            self._report.add(number, f"{wrong}; it is left out")
            return None
        return Document(value, number - 1)

    @staticmethod
    def _wrong(text: str, value: dict[str, Any]) -> str | None:
        if text.count("{") + text.count("[") >= MAX_DEPTH and depth_of(value) > MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH} levels"
        if _SURROGATE.search(text) or not text.isascii():
            try:
                # Bytes that are not UTF-8, and half a surrogate pair, are in no text that can be stored.
                json.dumps(value, ensure_ascii=False, default=str).encode()
            except UnicodeEncodeError:
                return "a text in it is no Unicode"
        if len(text) > SMALL:
            import bson

            size = len(bson.encode(value))
            if size > MAX_SIZE:
                return f"{size} bytes as BSON, the lake's documents have {MAX_SIZE} at most"
        return None


def _spread(items: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """The features where the first of the items is a collection of them, and alone; else the items."""
    first = next(items, None)
    if first is None:
        return
    value = first[1]
    if first[0] == 1 and isinstance(value, dict) and value.get("type") == "FeatureCollection":
        features = value.get("features")
        second = next(items, None)
        if second is None and isinstance(features, list):
            yield from enumerate(features, 1)
            return
        yield first
        if second is not None:
            yield second
    else:
        yield first
    yield from items


def _integer(text: str) -> Any:
    digits = len(text.lstrip("-"))
    if digits <= 19:
        number = int(text)
        if number in _INT64:
            return number
    return _decimal(text) if digits <= _DIGITS else text


def _float(text: str) -> Any:
    number = float(text)
    return _decimal(text) if math.isinf(number) else number


def _decimal(text: str) -> Any:
    """A Decimal128; the text where it would not be exact."""
    from decimal import Decimal, InvalidOperation

    from bson.decimal128 import Decimal128, create_decimal128_context

    context = create_decimal128_context()
    try:
        number = context.create_decimal(text)
        if number.is_finite() and number == Decimal(text):
            return Decimal128(number)
    except (InvalidOperation, ValueError):
        pass
    return text


def _is_collection(head: str, options: Mapping[str, Any]) -> bool:
    """Whether the object that begins with `head` is a FeatureCollection, as far as its first members tell.

    Where its `type` comes after the features, the name or type of the file has to say that it is GeoJSON.
    """
    named = str(options.get("filename") or "").lower().endswith((".geojson", ".geojson.gz"))
    geo = named or "geo+json" in str(options.get("content_type") or "")
    at = depth = 0
    while True:
        sign = _STRUCTURE.search(head, at)
        if not sign:
            return False
        at = sign.end()
        if sign.group() != '"':
            depth += 1 if sign.group() in "{[" else -1
            continue
        name = _NAME.match(head, sign.start())
        if not name:
            return False
        at = name.end()
        if depth == 1:
            if _TYPE.match(head, sign.start()):
                return True
            if _LIST_OF_FEATURES.match(head, sign.start()):
                return geo


def _features(reader: JsonReader, report: RowErrors) -> Iterator[tuple[int, Any]]:
    """The items of `features` in the object that begins here; the other members are counted as skipped."""
    reader.take()
    mark = reader.peek()
    while mark != "}":
        name = reader.value()
        if not isinstance(name, str):
            raise reader.error("a name in quotes is expected")
        if reader.peek() != ":":
            raise reader.error("a colon is expected")
        reader.take()
        if name == "features" and reader.peek() == "[":
            yield from list_items(reader, report.add)
        else:
            reader.value()
            if name != "type":
                report.skip(f"member {name[:60]} of the FeatureCollection")
        mark = reader.peek()
        if mark not in ("}", ","):
            raise reader.error(f"a comma is expected, not {mark!r}" if mark else "the object ends too early")
        if mark == ",":
            reader.take()
    reader.take()
    if reader.peek():
        raise reader.error("there is something after the object's end")
