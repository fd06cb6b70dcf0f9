# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sensor messages in JSON: the campus's message, and the older single reading; one, a list, or one after another.

The campus's message (`topic`, `value`, `value_units`, `input`, `subID`, `unitID`, `time`) becomes one point per unit:
measurement = the unit, field `value`, tags topic, subID, unitID, input. With the option `layout: topic` it becomes one
point: measurement = the topic, one field per unit (the topic stays a tag, so that topics can be listed).
The older reading (`idcapteur`, `idpiece`, `value`, `datemesure`, `mesurevaleur`) becomes a point of the measurement
`mesurevaleur` with tags idcapteur, idpiece and topic = `<idpiece>/<mesurevaleur>` (room/quantity).
Numbers are floats always: a series that had an integer first would refuse every other number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from ..errors import InvalidInput, ParseError
from ..points import Point
from ..times import parse_time
from .inputs import Readable
from .json_items import JsonReader, numbered
from .report import report_of

LAYOUTS = ("unit", "topic")
_MESSAGE_TAGS = ("subID", "unitID", "input")


def parse(stream: Readable, options: Mapping[str, Any]) -> Iterator[Point]:
    """The points of a JSON file of sensor messages, read as a stream.

    Options: `layout` (unit, topic). Items that are no message, and values that are no number, go to `options.report`.
    Errors: ParseError when it is not JSON, or when nothing in it is a sensor message.
    """
    layout = options.get("layout", LAYOUTS[0])
    if layout not in LAYOUTS:
        raise InvalidInput(f"layout is one of {', '.join(LAYOUTS)}, not {layout!r:.60}")
    report = report_of(options)
    found = False
    for number, item in numbered(JsonReader(stream), report.add):
        for point in points_of(item, layout, partial(report.add, number)):
            found = True
            yield point
    if not found and report.count:
        first = report.items[0]
        raise ParseError(
            f"nothing in this JSON is a sensor message: {report.count} items, item {first['line']}: {first['message']}"
        )


def points_of(item: Any, layout: str, complain: Callable[[str], None]) -> Iterator[Point]:
    """The points of one message or reading; `complain(text)` is called for each thing that had to be left out."""
    try:
        if not isinstance(item, Mapping):
            raise InvalidInput(f"a sensor message has keys and values, this is {item!r:.60}")
        if "topic" in item:
            time = parse_time(_required(item, "time"))
            topic = tag(item["topic"])
            tags = {"topic": topic, **_tags(item, _MESSAGE_TAGS)}
            values, units = item.get("value"), item.get("value_units")
        elif "idcapteur" in item or "mesurevaleur" in item:
            time = parse_time(_required(item, "datemesure"))
            tags = _tags(item, ("idcapteur", "idpiece"))
            values, units = item.get("value"), _required(item, "mesurevaleur")
            topic = "/".join(part for part in (tags.get("idpiece"), tag(units)) if part)
            tags = {"topic": topic, **tags}
        else:
            raise InvalidInput(f"no sensor message (topic, value, value_units, time): it has {', '.join(item)!s:.80}")
        readings = pair(values, units)
    except InvalidInput as error:
        complain(str(error))
        return
    fields: dict[str, Any] = {}
    for unit, value in readings:
        try:
            number = check_number(unit, value)
            if layout == "topic":
                fields[unit] = number
            else:
                yield Point(unit, time, {"value": number}, tags)
        except InvalidInput as error:
            complain(str(error))
    if fields:
        try:
            yield Point(topic, time, fields, tags)
        except InvalidInput as error:
            complain(str(error))


def pair(values: Any, units: Any) -> list[tuple[str, Any]]:
    """[(unit, value)] of `value` and `value_units`, each one or a list. Errors: InvalidInput where they do not fit."""
    values = values if isinstance(values, list) else [values]
    units = units if isinstance(units, list) else [units]
    if len(values) != len(units):
        raise InvalidInput(f"{len(values)} values, but {len(units)} units")
    if not values:
        raise InvalidInput("the list of values is empty")
    for unit in units:
        if not isinstance(unit, str) or not unit:
            raise InvalidInput(f"a unit is a text, not {unit!r:.60}")
    if len(set(units)) != len(units):
        twice = next(unit for unit in units if units.count(unit) > 1)
        raise InvalidInput(f"the unit {twice!r:.60} is there twice: one value would hide the other")
    return list(zip(units, values))  # noqa: B905 (3.9)


def check_number(unit: str, value: Any) -> float:
    """The value as a float. Errors: InvalidInput unless it is a finite number (true is none, nor is "12")."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise InvalidInput(f"value of {unit!r:.60}: {value!r:.60} is not a finite number")


def tag(value: Any) -> str:
    """A tag's text: 104 is "104", and so is 104.0. Errors: InvalidInput unless it is a text or a number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
        raise InvalidInput(f"{value!r:.60} is neither text nor number")
    return str(value)


def _tags(item: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    tags = {}
    for name in names:
        if item.get(name) not in (None, ""):
            try:
                tags[name] = tag(item[name])
            except InvalidInput as error:
                raise InvalidInput(f"{name}: {error}") from None
    return tags


def _required(item: Mapping[str, Any], key: str) -> Any:
    if item.get(key) in (None, ""):
        raise InvalidInput(f"{key} is missing")
    return item[key]
