# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any JSON file: tells what it is, and has it read.

1. The object's metadata (`other_data.template`), or the declaration, has a template: time series by the template.
2. At least half of its first items look like sensor messages: sensor messages. Those among them that are wrong are
   reported, and never become documents.
3. Anything else: documents.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ParseError
from ..points import Point
from ..records import Document
from . import json_documents, json_template, sensor
from .inputs import Readable, opened, whole
from .json_items import JsonReader, numbered

FIRST = 20
"""Items that are looked at."""
HEAD = 1024 * 1024
"""Bytes of the file that are looked at."""


def parse(stream: Readable, options: Mapping[str, Any]) -> Iterator[Point | Document]:
    """The points or documents of a JSON file (one value, a list, JSON lines; plain or gzip), read as a stream.

    Options: those of sensor, json_template and json_documents. Errors: those of the one that reads it.
    """
    if json_template.template_of(options) is not None:
        return json_template.parse(stream, options)
    source = opened(stream)
    reader: Any = sensor if _is_sensor(source.head(HEAD)) else json_documents
    return whole(source, reader.parse(source, options))


def _is_sensor(head: bytes) -> bool:
    items = []
    try:
        for _number, item in numbered(JsonReader(io.BytesIO(head)), lambda number, text: None):
            items.append(item)
            if len(items) == FIRST:
                break
    except ParseError:
        pass  # what was cut, or what is wrong, is for the one that reads it all
    return sum(map(_looks_like_a_message, items)) * 2 >= len(items) > 0


def _looks_like_a_message(item: Any) -> bool:
    if not isinstance(item, Mapping):
        return False
    if "topic" in item:
        return "value" in item or "value_units" in item
    return ("idcapteur" in item or "mesurevaleur" in item) and ("value" in item or "datemesure" in item)
