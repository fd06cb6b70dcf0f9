# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON of any shape to time series, by a template that says where things are.

The template is the object's `other_data.template` (or an option of the declaration): `{measurement, time, fields[],
tags[]}`, each the path of a value: names with dots between them (`payload.temperature`), from the top of an item.

- `measurement`: a path; where none of the first items has it, it is the measurement's name itself.
- `time`: ISO 8601 or an epoch number (see times).
- `fields`: numbers (a text that is one, too) are floats; true, false and other texts stay what they are; one that is
  missing or null is left out. `tags` (optional): texts, numbers, true and false.
- A field or tag is called by the last name of its path, or by all of it where two end alike.
- Lists: of objects along a path, each makes a point, with what stands outside of the list repeated (`data.at`,
  `data.value` with `data: [{…}, {…}]`); lists of values side by side, as long as the list of times, are columns
  (`hourly.time: [...]`, `hourly.temperature: [...]`).

Points need a topic to be found by: where no tag is called topic, it is the file's name without its extension.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from ..errors import InvalidInput, ParseError
from ..points import FieldValue, Point
from ..times import parse_time
from .inputs import Readable, opened, whole
from .json_items import JsonReader, numbered
from .report import RowErrors, report_of
from .sensor import tag

FIRST = 20
"""Items that are looked at to tell whether the measurement is a path or a name."""
MAX_PATH = 50
KEYS = ("measurement", "time", "fields", "tags")

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_MISSING = object()

Path = tuple[str, ...]


@dataclass(frozen=True)
class Template:
    """Where the parts of a point are: paths, and (name, path) of fields and tags."""

    measurement: Path
    measurement_name: str
    time: Path
    fields: tuple[tuple[str, Path], ...]
    tags: tuple[tuple[str, Path], ...]

    @classmethod
    def from_dict(cls, data: Any) -> Template:
        """Checks a template as people write it. Errors: InvalidInput, saying what is wrong."""

        def wrong(what: str) -> InvalidInput:
            return InvalidInput(f"template: {what}")

        if not isinstance(data, Mapping):
            raise wrong(f"keys {', '.join(KEYS)} are expected, not {data!r:.80}")
        unknown = set(data) - set(KEYS)
        if unknown:
            raise wrong(f"unknown key {sorted(map(str, unknown))[0]!r:.80}; there are {', '.join(KEYS)}")

        def path(key: str, value: Any) -> Path:
            parts = tuple(value.split(".")) if isinstance(value, str) else ()
            if not parts or not all(parts) or len(parts) > MAX_PATH:
                raise wrong(f"{key}: a name, or names with dots between them, are expected, not {value!r:.80}")
            return parts

        def paths(key: str) -> list[Path]:
            values = data.get(key) or []
            values = [values] if isinstance(values, str) else values
            if not isinstance(values, list):
                raise wrong(f"{key}: a list of names is expected, not {values!r:.80}")
            found = [path(key, value) for value in values]
            if len(set(found)) != len(found):
                raise wrong(f"{key}: a name is there twice")
            return found

        fields, tags = paths("fields"), paths("tags")
        if not fields:
            raise wrong("fields: at least one is needed")
        ends = [one[-1] for one in (*fields, *tags)]

        def named(found: Iterable[Path]) -> tuple[tuple[str, Path], ...]:
            return tuple((one[-1] if ends.count(one[-1]) == 1 else ".".join(one), one) for one in found)

        measurement = data.get("measurement")
        return cls(
            path("measurement", measurement),
            str(measurement),
            path("time", data.get("time")),
            named(fields),
            named(tags),
        )


def parse(stream: Readable, options: Mapping[str, Any]) -> Iterator[Point]:
    """The points of a JSON file (one object, a list, JSON lines; plain or gzip), read as a stream.

    Options: `template` (see above; the one in `metadata.other_data` comes first), `topic` (default: from `filename`).
    Items, and points of an item, that the template does not fit go to `options.report`, with the item's number.
    Errors: InvalidInput where the template is wrong; ParseError when it is not JSON, or nothing in it fits.
    """
    template = Template.from_dict(template_of(options))
    source = opened(stream)
    return whole(source, _all_points(source, template, options))


def _all_points(source: Readable, template: Template, options: Mapping[str, Any]) -> Iterator[Point]:
    report = report_of(options)
    items = numbered(JsonReader(source), report.add)
    first = list(islice(items, FIRST))
    named = not any(_resolves(item, template.measurement) for _number, item in first)
    topic = None
    if not any(name == "topic" for name, _path in template.tags):
        filename = str(options.get("filename") or "").replace("\\", "/").rpartition("/")[2]
        topic = str(options.get("topic") or filename.partition(".")[0] or filename) or None
    found = False
    for number, item in chain(first, items):
        for point in _points(item, template, named, topic, number, report):
            found = True
            yield point
    if not found and report.count:
        wrong = report.items[0]
        raise ParseError(f"the template fits nothing in this JSON: item {wrong['line']}: {wrong['message']}")


def template_of(options: Mapping[str, Any]) -> Any:
    """The template of the object's metadata, else that of the declaration; None where there is none."""
    other = (options.get("metadata") or {}).get("other_data")
    template = other.get("template") if isinstance(other, Mapping) else None
    return template if template is not None else options.get("template")


def _points(
    item: Any, template: Template, named: bool, topic: str | None, number: int, report: RowErrors
) -> Iterator[Point]:
    paths = [template.time, *(path for _name, path in template.fields), *(path for _name, path in template.tags)]
    if not named:
        paths.append(template.measurement)
    try:
        if not isinstance(item, Mapping):
            raise InvalidInput(f"an object is expected, this is {item!r:.60}")
        for row in _rows(item, paths, template.time):
            try:
                yield _point(row, template, named, topic)
            except InvalidInput as error:
                report.add(number, str(error))
    except InvalidInput as error:
        report.add(number, str(error))


def _point(row: Mapping[Path, Any], template: Template, named: bool, topic: str | None) -> Point:
    time = _required(row, template.time)
    measurement = template.measurement_name if named else tag(_required(row, template.measurement))
    fields: dict[str, FieldValue] = {}
    for name, path in template.fields:
        value = row.get(path)
        if value is not None:
            fields[name] = _field(name, value)
    if not fields:
        raise InvalidInput(f"none of the fields {', '.join(name for name, _path in template.fields)!s:.100} is there")
    tags = {"topic": topic} if topic else {}
    for name, path in template.tags:
        value = row.get(path)
        if value is not None and value != "":
            try:
                tags[name] = ("true" if value else "false") if isinstance(value, bool) else tag(value)
            except InvalidInput as error:
                raise InvalidInput(f"{name!s:.60}: {error}") from None
    return Point(measurement, parse_time(time), fields, tags)


def _required(row: Mapping[Path, Any], path: Path) -> Any:
    value = row.get(path)
    if value is None or value == "":
        raise InvalidInput(f"{'.'.join(path)!s:.100} is missing")
    return value


def _field(name: str, value: Any) -> FieldValue:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
        return value
    if isinstance(value, (int, float, str)):
        try:
            number = float(value)
        except (OverflowError, ValueError):
            number = math.inf
        if math.isfinite(number):
            return number
    raise InvalidInput(f"{name!s:.60}: {value!r:.60} is neither a finite number, a text, true nor false")


def _resolves(item: Any, path: Path) -> bool:
    """Whether there is something at the path, in the first object of each list on the way."""
    for name in path:
        while isinstance(item, list):
            item = item[0] if item else None
        if not isinstance(item, Mapping) or name not in item:
            return False
        item = item[name]
    return True


def _rows(item: Mapping[str, Any], paths: Sequence[Path], time: Path) -> Iterator[dict[Path, Any]]:
    """What is at each path, once for each object of the list that is on the way, or each place of lists side by side.

    Errors: InvalidInput where lists do not fit together.
    """
    for row in _objects(item, {path: path for path in paths})[0]:
        lists = {path: value for path, value in row.items() if isinstance(value, list)}
        if not isinstance(row.get(time), list):
            yield row
            continue
        length = len(row[time])
        for path, values in lists.items():
            if len(values) != length:
                raise InvalidInput(f"{'.'.join(path)!s:.80} has {len(values)} values, but there are {length} times")
        for place in range(length):
            yield {path: value[place] if path in lists else value for path, value in row.items()}


def _objects(item: Mapping[str, Any], rest: Mapping[Path, Path]) -> tuple[list[dict[Path, Any]], bool]:
    """The rows of an object, and whether a list made them. `rest`: the template's path -> what is left of it here."""
    fixed: dict[Path, Any] = {}
    deeper: dict[str, dict[Path, Path]] = {}
    for path, left in rest.items():
        name = ".".join(left)
        if len(left) == 1 or name in item:  # a name may have dots of its own
            fixed[path] = item.get(name)
        else:
            deeper.setdefault(left[0], {})[path] = left[1:]
    spread: list[dict[Path, Any]] | None = None
    for name, paths in deeper.items():
        value = item.get(name)
        if isinstance(value, list):
            rows = [row for one in value for row in _objects(_object(name, one), paths)[0]]
        elif isinstance(value, Mapping):
            rows, several = _objects(value, paths)
            if not several:
                fixed.update(rows[0])
                continue
        else:
            continue
        if spread is not None:
            raise InvalidInput(f"two lists of objects side by side (one is {name!s:.60}): they do not make points")
        spread = rows
    if spread is None:
        return [fixed], False
    return [{**fixed, **row} for row in spread], True


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{name!s:.60}: a list of objects is expected, this has {value!r:.60} in it")
    return value
