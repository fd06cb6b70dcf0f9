# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A collection as mongodump writes it (`<collection>.bson`, plain or gzip): documents in BSON, one after another.

A document begins with its own size in 4 bytes, which is checked before it is believed (bsonspec.org). Types of BSON are
kept as PyMongo has them: Int64, Decimal128, ObjectId, Binary, … Dates are aware, in UTC; one that Python cannot hold
is a DatetimeMS. A field `_id` is the one of the dumped collection. Names that MongoDB cannot hold as they are get
another form (see bson_values).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import LakeError, ParseError
from ..records import Document
from .bson_values import MAX_DEPTH, MAX_SIZE, SafeNames, depth_of
from .inputs import Input, Readable, opened
from .report import report_of

SMALLEST = 5
LARGEST = 16 * 1024 * 1024 + 16 * 1024
"""Bytes: MongoDB lets its own documents (of the oplog) be a little larger than 16 MiB."""
_ARCHIVE = b"\x6d\xe2\x99\x81"


def parse(stream: Readable, options: Mapping[str, Any]) -> Iterator[Document]:
    """The documents of a dump, read as a stream; their `number` is their place, from 0.

    A document that cannot be decoded goes to `options.report` with its number from 1, and the next one is read. Where
    a size is wrong, or the file ends within a document, nothing can be read behind it: that is reported with the offset
    in bytes, and what came before is kept.
    An empty file is the dump of an empty collection. Errors: ParseError when not one document can be read.
    """
    report = report_of(options)
    source = opened(stream)
    names = SafeNames()
    decode = _decoder()
    head = source.head(8)
    if head.startswith(_ARCHIVE):
        raise ParseError(
            "this is an archive of mongodump: without --archive it writes one .bson file for each collection"
        )
    offset = number = 0
    found = False
    while True:
        try:
            frame = _frame(source, offset)
        except ParseError as error:
            report.add(number + 1, f"{error}; what came before it is kept")
            break
        if frame is None:
            break
        number += 1
        try:
            document = _checked(decode(frame), frame, names)
        except LakeError as error:
            report.add(number, f"byte {offset}: {error}")
        else:
            found = True
            yield Document(document, number - 1)
        offset += len(frame)
    if not found and report.count:
        raise ParseError(f"no BSON dump: {report.items[0]['message']}")


def _frame(source: Input, offset: int) -> bytes | None:
    """The bytes of the next document; None at the end. Errors: ParseError where there is no sound one."""
    head = _exactly(source, 4)
    if not head and not source.cut:
        return None
    if len(head) < 4:
        raise ParseError(f"byte {offset}: the file ends within a document")
    (size,) = struct.unpack("<i", head)
    if not SMALLEST <= size <= LARGEST:
        raise ParseError(f"byte {offset}: no document begins here (its size would be {size} bytes)")
    rest = _exactly(source, size - 4)
    if len(rest) < size - 4:
        raise ParseError(f"byte {offset}: the file ends within a document ({4 + len(rest)} of {size} bytes)")
    if rest[-1]:
        raise ParseError(f"byte {offset}: the document of {size} bytes does not end where its size says")
    return head + rest


def _exactly(source: Input, size: int) -> bytes:
    pieces = []
    while size > 0:
        data = source.read(size)
        if not data:
            break
        pieces.append(data)
        size -= len(data)
    return b"".join(pieces)


def _decoder() -> Any:
    import bson
    from bson.codec_options import CodecOptions, DatetimeConversion
    from bson.errors import BSONError

    # Invalid UTF-8 is not replaced: the text would be another one.
    options: Any = CodecOptions(tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO)

    def decode(frame: bytes) -> dict[str, Any]:
        try:
            return bson.decode(frame, options)
        except RecursionError:
            raise ParseError(f"nested deeper than {MAX_DEPTH} levels; it is left out") from None
        # The C code lets other errors through than its own, for what is no BSON.
        except (BSONError, ValueError, TypeError, OverflowError, MemoryError, UnicodeError, KeyError) as error:
            raise ParseError(f"no BSON: {error!s:.200}; it is left out") from None

    return decode


def _checked(document: dict[str, Any], frame: bytes, names: SafeNames) -> dict[str, Any]:
    if len(frame) > MAX_SIZE:
        raise ParseError(f"{len(frame)} bytes, the lake's documents have {MAX_SIZE} at most; it is left out")
    if depth_of(document) > MAX_DEPTH:
        raise ParseError(f"nested deeper than {MAX_DEPTH} levels; it is left out")
    return _named(document, names)


def _named(mapping: dict[str, Any], names: SafeNames) -> dict[str, Any]:
    """The mapping with names that MongoDB can hold, at all levels."""
    for name, value in mapping.items():
        kind = type(value)
        if kind is dict:
            mapping[name] = _named(value, names)
        elif kind is list:
            _named_in(value, names)
    return names.safe(mapping)


def _named_in(values: list[Any], names: SafeNames) -> None:
    for index, value in enumerate(values):
        kind = type(value)
        if kind is dict:
            values[index] = _named(value, names)
        elif kind is list:
            _named_in(value, names)
