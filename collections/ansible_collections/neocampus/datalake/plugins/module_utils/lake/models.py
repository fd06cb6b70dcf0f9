# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metadata models: what an object's `other_data` has to say.

A model is a list of fields, each with its type and what its values may be. Of it a JSON Schema (draft 2020-12) is made,
by which `other_data` is checked, and which is given to whoever wants to check before.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from .content_types import base_type
from .documents import validate_metadata
from .errors import InvalidDocument, InvalidInput
from .times import parse_time

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
TYPES = ("text", "number", "integer", "boolean", "date", "datetime", "enumeration", "geo_point", "list")
VISIBILITIES = ("confidential", "public")
MAX_FIELDS = 200
MAX_BYTES = 64 * 1024
"""What a model's declaration has at most, as JSON."""
MAX_PROBLEMS = 100
MAX_VERSION = 2**31 - 1
OWN_FIELDS = ("archive", "image_content", "template")
"""What the lake itself reads in `other_data`: a model that is closed lets it in all the same."""

_LABEL = re.compile(r"[^\W_][\w .-]{0,99}")
_ID = re.compile(r"[0-9a-f]{24}")
_NAME = re.compile(r"[^\W\d][\w-]{0,99}")
_PATTERN = re.compile(r"\*/\*|[A-Za-z0-9!#$&^_.+-]+/(\*|[A-Za-z0-9!#$&^_.+-]+)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?\s*([Zz]|[+-]\d\d:?\d\d)", re.ASCII)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_GEO = {
    "type": "object",
    "required": ["type", "coordinates"],
    "properties": {
        "type": {"const": "Point"},
        "coordinates": {
            "type": "array",
            "prefixItems": [
                {"type": "number", "minimum": -180, "maximum": 180, "description": "longitude, degrees"},
                {"type": "number", "minimum": -90, "maximum": 90, "description": "latitude, degrees"},
                {"type": "number", "description": "altitude, metres"},
            ],
            "minItems": 2,
            "maxItems": 3,
        },
    },
}
_COMMON = {"name", "type", "required", "default", "unit", "description", "content_types"}
_LIMITS: dict[str, set[str]] = {
    "text": {"min_length", "max_length", "pattern"},
    "number": {"minimum", "maximum"},
    "integer": {"minimum", "maximum"},
    "enumeration": {"values"},
    "list": {"items", "min_items", "max_items"},
}
_KEYWORDS = {
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
    "minimum": "minimum",
    "maximum": "maximum",
    "min_items": "minItems",
    "max_items": "maxItems",
}
_PAIRS = (("min_length", "max_length"), ("minimum", "maximum"), ("min_items", "max_items"))
_MEANINGS = {
    "text": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "date": "a date, as 2021-07-22",
    "datetime": "a time with its zone, as 2021-07-22T11:01:22Z",
    "geo_point": 'a GeoJSON point, as {"type": "Point", "coordinates": [1.46, 43.56]} (longitude, latitude)',
}


@dataclass(frozen=True)
class Reference:
    """A model as metadata names it: its label or its id, and a version (None: the newest)."""

    model: str
    version: int | None = None

    @classmethod
    def parse(cls, given: Any) -> Reference:
        """Of `"label"`, or `{"label": …, "version": …}`. Errors: InvalidDocument."""
        label, version = given, None
        if isinstance(given, Mapping) and {"label"} <= set(given) <= {"label", "version"}:
            label, version = given["label"], given.get("version")
        if not isinstance(label, str) or not (_LABEL.fullmatch(label) or _ID.fullmatch(label)):
            raise InvalidDocument(
                f'model: the label of a model is expected, or {{"label": …, "version": …}}, not {given!r:.100}',
                field="model",
            )
        if version is not None and not _is_count(version, 1, MAX_VERSION):
            raise InvalidDocument(f"model.version: a number from 1 is expected, not {version!r:.40}", field="model")
        return cls(label, version)


@dataclass(frozen=True)
class Problem:
    """What is wrong with a value; `field` is its place, with dots, in `other_data` or in a model."""

    field: str
    message: str

    def told(self) -> dict[str, str]:
        """As JSON has it."""
        return {"field": self.field, "message": self.message}


class InvalidModel(InvalidInput):
    """A model's declaration is wrong; `problems` has all that is."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{one.field}: {one.message}" for one in problems[:5]))
        self.problems = list(problems)


def insertion_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A checked copy of what a user gives about a new object: that of documents.validate_metadata, and `model`, the
    model that its `other_data` follows. Errors: InvalidDocument."""
    if not isinstance(metadata, Mapping) or "model" not in metadata:
        return validate_metadata(metadata)
    rest = {key: value for key, value in metadata.items() if key != "model"}
    return {**validate_metadata(rest), "model": Reference.parse(metadata["model"])}


def content_type_fits(patterns: Iterable[str], content_type: str) -> bool:
    """Whether a type is one of `patterns` (`text/csv`, `image/*`, `*/*`); of none, every type is."""
    given = [pattern.lower() for pattern in patterns]
    kind = base_type(content_type)
    return not given or any(one in ("*/*", kind, kind.partition("/")[0] + "/*") for one in given)


def check_model(given: Mapping[str, Any]) -> dict[str, Any]:
    """A checked copy of a model's declaration: `label`, `description`, `content_types`, `metadata` (the fields),
    `visibility`, `additional` (whether `other_data` may have other fields); what is left out has its default.

    Errors: InvalidModel, with all that is wrong.
    """
    found = _Found()
    known = {"label", "description", "content_types", "metadata", "visibility", "additional"}
    for key in sorted(set(map(str, given)) - known):
        found.add(key[:80], f"is not known here; a model has {', '.join(sorted(known))}")
    label = given.get("label")
    if not isinstance(label, str) or not _LABEL.fullmatch(label) or label != label.strip() or _ID.fullmatch(label):
        found.add("label", f"up to 100 letters, digits, spaces, . - _ are expected, a letter first, not {label!r:.60}")
    visibility = given.get("visibility", VISIBILITIES[0])
    if visibility not in VISIBILITIES:
        found.add("visibility", f"one of {', '.join(VISIBILITIES)} is expected, not {visibility!r:.60}")
    additional = given.get("additional", True)
    if not isinstance(additional, bool):
        found.add("additional", f"true or false is expected, not {additional!r:.60}")
    model = {
        "label": label,
        "description": found.text("description", given.get("description", "")),
        "content_types": found.patterns("content_types", given.get("content_types", [])),
        "metadata": _fields(found, given.get("metadata")),
        "visibility": visibility,
        "additional": additional,
    }
    if not found.problems and len(json.dumps(model).encode()) > MAX_BYTES:
        found.add("metadata", f"a model has {MAX_BYTES} bytes at most")
    if found.problems:
        raise InvalidModel(found.problems)
    return model


class _Found:
    """Collects what is wrong."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, field: str, message: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(field, message))

    def text(self, place: str, value: Any) -> str:
        if (
            isinstance(value, str)
            and len(value) <= 1000
            and not re.search("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", value)
        ):
            return value
        self.add(place, f"a text of up to 1,000 characters is expected, not {value!r:.60}")
        return ""

    def patterns(self, place: str, value: Any) -> list[str]:
        if not isinstance(value, list) or len(value) > 100:
            self.add(place, f"a list of up to 100 types is expected, as text/csv or image/*, not {value!r:.60}")
            return []
        for number, one in enumerate(value):
            if not isinstance(one, str) or len(one) > 255 or not _PATTERN.fullmatch(one):
                self.add(f"{place}[{number}]", f"a type or a class of types is expected, as image/*, not {one!r:.60}")
        return list(value)


def _fields(found: _Found, given: Any) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_FIELDS:
        found.add("metadata", f"a list of 1 to {MAX_FIELDS} fields is expected")
        return []
    names: set[str] = set()
    checked = []
    for number, one in enumerate(given):
        place = f"metadata[{number}]"
        if not isinstance(one, Mapping):
            found.add(place, f'a field is expected, as {{"name": "room", "type": "text"}}, not {one!r:.60}')
            continue
        name = one.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            found.add(f"{place}.name", f"up to 100 letters, digits, - _ are expected, a letter first, not {name!r:.60}")
        elif name in names:
            found.add(f"{place}.name", f"there is a field {name!r} before; a field is named once")
        elif name in OWN_FIELDS:
            found.add(f"{place}.name", f"{name!r} is a name that is kept for the lake")
        else:
            names.add(name)
        checked.append(_field(found, place, one))
    return checked


def _field(found: _Found, place: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A field, or what is in a list: with the common keys only where it has a name."""
    before = len(found.problems)
    kind = given.get("type")
    if kind not in TYPES:
        found.add(f"{place}.type", f"one of {', '.join(TYPES)} is expected, not {kind!r:.60}")
        return {}
    known = (_COMMON if "name" in given else {"type", "unit"}) | _LIMITS.get(kind, set())
    for key in sorted(set(map(str, given)) - known):
        found.add(f"{place}.{key}"[:120], f"is not known of a {kind}; there are {', '.join(sorted(known))}")
    field: dict[str, Any] = {"type": kind}
    if "name" in given:
        field.update(name=given["name"], required=given.get("required", False))
        if not isinstance(field["required"], bool):
            found.add(f"{place}.required", f"true or false is expected, not {field['required']!r:.60}")
        if "content_types" in given:
            field["content_types"] = found.patterns(f"{place}.content_types", given["content_types"])
    for key in ("unit", "description"):
        if key in given:
            field[key] = found.text(f"{place}.{key}", given[key])
    _limits(found, place, given, field)
    if len(found.problems) == before and given.get("default") is not None:
        field["default"] = given["default"]
        for problem in _problems(_validator_of(_value_schema(field)), given["default"], {"": field}):
            found.add(f"{place}.default", problem.message)
    return field


def _limits(found: _Found, place: str, given: Mapping[str, Any], field: dict[str, Any]) -> None:
    kind = field["type"]
    for key in ("minimum", "maximum"):
        if key in given and key in _LIMITS.get(kind, ()):
            field[key] = given[key]
            if not _is_number(given[key]):
                found.add(f"{place}.{key}", f"a number is expected, not {given[key]!r:.60}")
    for key in ("min_length", "max_length", "min_items", "max_items"):
        if key in given and key in _LIMITS.get(kind, ()):
            field[key] = given[key]
            if not _is_count(given[key], 0, 10**9):
                found.add(f"{place}.{key}", f"a whole number from 0 is expected, not {given[key]!r:.60}")
    for low, high in _PAIRS:
        if _is_number(field.get(low)) and _is_number(field.get(high)) and field[low] > field[high]:
            found.add(f"{place}.{low}", f"is more than {high}")
    if "pattern" in given and kind == "text":
        field["pattern"] = found.text(f"{place}.pattern", given["pattern"])
        try:
            _compiled(field["pattern"])
        except ValueError as error:
            found.add(f"{place}.pattern", f"is no regular expression as RE2 has them: {error}")
    if kind == "enumeration":
        field["values"] = _values(found, f"{place}.values", given.get("values"))
    if kind == "list":
        items = given.get("items")
        if not isinstance(items, Mapping) or items.get("type") == "list" or "name" in items:
            found.add(f"{place}.items", 'what is in the list is expected, as {"type": "text"}; it is not a list again')
        else:
            field["items"] = _field(found, f"{place}.items", items)


def _values(found: _Found, place: str, given: Any) -> list[Any]:
    fine = isinstance(given, list) and 1 <= len(given) <= 1000
    fine = fine and all(isinstance(one, str) or _is_number(one) for one in given)
    if not fine or len({json.dumps(one) for one in given}) < len(given):
        found.add(place, "a list of 1 to 1,000 texts or numbers is expected, each one once")
        return []
    return list(given)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return -(2**63) <= value < 2**63 if isinstance(value, int) else math.isfinite(value)


def _is_count(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def fields_for(model: Mapping[str, Any], content_type: str | None) -> list[dict[str, Any]]:
    """The fields that objects of a type have; without a type those that are of all types."""
    return [
        field
        for field in model["metadata"]
        if not field.get("content_types")
        or (content_type is not None and content_type_fits(field["content_types"], content_type))
    ]


def json_schema(model: Mapping[str, Any], content_type: str | None = None) -> dict[str, Any]:
    """The JSON Schema of `other_data` of objects of a type; without a type, with the fields that are of all types."""
    fields = fields_for(model, content_type)
    required = [field["name"] for field in fields if field["required"] and "default" not in field]
    closed = {} if model["additional"] else {"additionalProperties": False}
    properties: dict[str, Any] = {field["name"]: _property(field) for field in fields}
    if closed:
        properties |= dict.fromkeys(OWN_FIELDS, {})
    return {
        "$schema": SCHEMA_DIALECT,
        "title": model["label"],
        **({"description": model["description"]} if model.get("description") else {}),
        "type": "object",
        "properties": properties,
        **({"required": required} if required else {}),
        **closed,
    }


def _property(field: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: field[key] for key in ("description", "unit", "default") if key in field}
    return {**_value_schema(field), **known}


def _value_schema(field: Mapping[str, Any]) -> dict[str, Any]:
    kind = field["type"]
    if kind == "enumeration":
        return {"enum": field["values"]}
    if kind == "geo_point":
        return dict(_GEO)
    types = {"text": "string", "date": "string", "datetime": "string", "list": "array"}
    schema: dict[str, Any] = {"type": types.get(kind, kind)}
    if kind in ("date", "datetime"):
        schema["format"] = "date" if kind == "date" else "date-time"
    if kind == "list":
        schema["items"] = _property(field["items"])
    return {**schema, **{keyword: field[key] for key, keyword in _KEYWORDS.items() if key in field}}


class Checker:
    """Checks `other_data` of objects against one version of a model; made once, used for many."""

    def __init__(self, model: Mapping[str, Any]) -> None:
        self.model = model
        self._validators: dict[tuple[str, ...], tuple[Any, dict[str, Any]]] = {}

    def applies(self, content_type: str) -> bool:
        """Whether the model is for objects of this type."""
        return content_type_fits(self.model["content_types"], content_type)

    def completed(self, other_data: Mapping[str, Any], content_type: str) -> dict[str, Any]:
        """With the defaults of what it does not say."""
        defaults = {field["name"]: field["default"] for field in self._fields(content_type) if "default" in field}
        return {**defaults, **other_data}

    def problems(self, other_data: Mapping[str, Any], content_type: str) -> list[Problem]:
        """All that is wrong, at most MAX_PROBLEMS; none where it follows the model."""
        key = tuple(field["name"] for field in self._fields(content_type))
        if key not in self._validators:
            known = {field["name"]: field for field in self._fields(content_type)}
            self._validators[key] = _validator_of(json_schema(self.model, content_type)), known
        validator, known = self._validators[key]
        return _problems(validator, other_data, known)

    def _fields(self, content_type: str) -> list[dict[str, Any]]:
        return fields_for(self.model, content_type)


def _validator_of(schema: Mapping[str, Any]) -> Any:
    from jsonschema import Draft202012Validator, FormatChecker
    from jsonschema.validators import extend

    formats = FormatChecker(formats=())
    formats.checks("date")(_is_date)
    formats.checks("date-time")(_is_moment)
    # RE2 needs time in proportion to the text; Python's own expressions may need forever.
    return extend(Draft202012Validator, {"pattern": _pattern})(schema, format_checker=formats)


def _compiled(pattern: str) -> Any:
    """Errors: ValueError."""
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(_said(error)) from None


def _said(error: Exception) -> str:
    told = error.args[0] if error.args else error
    return told.decode(errors="replace") if isinstance(told, bytes) else str(told)


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Any:
    from jsonschema import ValidationError

    if isinstance(value, str) and not _compiled(pattern).search(value):
        yield ValidationError(f"does not match {pattern!r}")


def _is_date(value: Any) -> bool:
    if not isinstance(value, str):
        return True  # the type says so
    try:
        return bool(_DATE.fullmatch(value)) and bool(date.fromisoformat(value))
    except ValueError:
        return False


def _is_moment(value: Any) -> bool:
    if not isinstance(value, str):
        return True
    if not _MOMENT.fullmatch(value):
        return False
    try:
        parse_time(value.upper())
    except InvalidInput:
        return False
    return True


def _problems(validator: Any, data: Any, fields: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    found: list[Problem] = []
    for error in validator.iter_errors(data):
        found += _told(error, fields)
        if len(found) >= MAX_PROBLEMS:
            break
    return found[:MAX_PROBLEMS]


def _told(error: Any, fields: Mapping[str, Mapping[str, Any]]) -> list[Problem]:
    """One error of the validator, for people."""
    path = list(error.absolute_path)
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")[:200]
    if error.validator == "required" and not path:
        name = next(name for name in error.validator_value if error.message.startswith(f"{name!r} "))
        return [Problem(name, f"is required: give {_meaning(fields[name])}")]
    if error.validator == "additionalProperties":
        surplus = sorted(set(error.instance) - set(error.schema["properties"]))
        names = ", ".join(fields) or "none"
        return [Problem(name[:100], f"is not known to the model; its fields are {names:.500}") for name in surplus]
    field = fields.get("" if "" in fields else str(path[0]) if path else "", {})
    return [Problem(place, f"{_meaning(field, bool(path[1:]))} is expected, not {_shown(error.instance)}")]


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:60] + "…"


def _meaning(field: Mapping[str, Any], inside: bool = False) -> str:
    """What a field's value has to be, in words."""
    kind = field.get("type")
    if kind == "list":
        if inside:
            return _meaning(field["items"])
        return f"a list{_between(field, 'min_items', 'max_items', ' items')} with in it {_meaning(field['items'])}"
    if kind == "enumeration":
        return f"one of {', '.join(map(_shown, field['values']))}"[:500]
    said = _MEANINGS.get(str(kind), "a value as the schema says")
    said += _between(field, "minimum", "maximum", f" {field['unit']}" if field.get("unit") else "")
    said += _between(field, "min_length", "max_length", " characters")
    return said + (f" that matches {field['pattern']}" if "pattern" in field else "")


def _between(field: Mapping[str, Any], low: str, high: str, unit: str) -> str:
    least, most = field.get(low), field.get(high)
    if least is None and most is None:
        return ""
    if most is None:
        return f" of at least {least}{unit}"
    return f" of at most {most}{unit}" if least is None else f" of {least} to {most}{unit}"
