# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations as they stand in files: YAML or JSON, checked against declaration.schema.json, each problem with its
line and column."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Union

from .errors import DeclarationError

SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "declaration.schema.json")
EXTENSIONS = (".yml", ".yaml", ".json")
"""What a declaration's file is called at its end."""
MAX_BYTES = 1024 * 1024

Path = tuple[Union[str, int], ...]  # noqa: UP007 (evaluated when the module is loaded; must run on 3.9)
Problem = tuple[Path, str]
"""Where in a declaration something is wrong (keys and indexes from the outside in), and what."""


@dataclass(frozen=True)
class Source:
    """What a declaration's file holds: its `data`, and the `marks` (line and column, from 1) of its parts."""

    file: str
    data: Any
    marks: Mapping[Path, tuple[int, int]] = field(default_factory=dict)

    def place(self, path: Path) -> str:
        """`file:line:column` of a part, or of the nearest part around it."""
        while path not in self.marks and path:
            path = path[:-1]
        return ":".join([self.file or "declaration", *map(str, self.marks.get(path, ()))])

    def error(self, problems: Iterable[Problem]) -> DeclarationError:
        """One error that tells all problems, a line each, in the order of the file."""
        found = sorted(set(problems), key=lambda problem: (self.marks.get(problem[0], (0, 0)), str(problem)))
        told = [f"{self.place(path)}: {_dotted(path)}{': ' if path else ''}{what}" for path, what in found]
        return DeclarationError("\n".join(told), source=self.file, problems=told)


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """The published JSON Schema of declarations."""
    with open(SCHEMA, encoding="utf-8") as stream:
        return dict(json.load(stream))


def problems(data: Any) -> list[Problem]:
    """What the schema finds wrong with a declaration; all of it."""
    from jsonschema import Draft202012Validator

    found = list(_keys_that_are_no_text(data, ()))
    validator = Draft202012Validator(schema())
    # The schema speaks of JSON, where a key that is no text cannot be.
    errors = validator.iter_errors(_with_text_keys(data) if found else data)
    return found + [problem for error in errors for problem in _told(error)]


def read(file: str | os.PathLike[str]) -> Source:
    """Reads a declaration's file; JSON where its name ends in .json, else YAML (of which aliases are not taken).

    Errors: DeclarationError where it cannot be read, or says one key twice.
    """
    file = os.fspath(file)
    try:
        with open(file, "rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        text = raw.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(f"{file}: cannot be read: {error}", source=file) from error
    if len(raw) > MAX_BYTES:
        raise DeclarationError(f"{file}: a declaration has {MAX_BYTES} bytes at most", source=file)
    return parse(text, file)


def parse(text: str, file: str = "") -> Source:
    """As `read`, of a text; `file` names it."""
    if file.endswith(".json"):
        try:
            data = json.loads(text)
        except RecursionError:
            raise DeclarationError(f"{file}: nested too deeply", source=file) from None
        except ValueError as error:
            line, column = getattr(error, "lineno", 1), getattr(error, "colno", 1)
            said = getattr(error, "msg", error)
            raise DeclarationError(f"{file}:{line}:{column}: not JSON: {said}", source=file) from error
        # JSON is YAML but for tabs between its parts; inside of its texts there can be none.
        node = _compose(text.replace("\t", " "), file)[0]
    else:
        node, data = _compose(text, file)
    marks: dict[Path, tuple[int, int]] = {}
    twice: list[Problem] = []
    if node is not None:
        _mark(node, (), marks, twice)
    source = Source(file, data, marks)
    if twice:
        raise source.error(twice)
    return source


def _compose(text: str, file: str) -> tuple[Any, Any]:
    """YAML's nodes, with their marks, and what they say."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
                raise yaml.composer.ComposerError(None, None, "aliases (*name) are not taken: write it out", mark)
            return super().compose_node(parent, index)

    loader = None
    try:
        loader = Loader(text)
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    except RecursionError:
        raise DeclarationError(f"{file}: nested too deeply", source=file) from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        said = getattr(error, "problem", None) or " ".join(str(error).split())
        raise DeclarationError(f"{file}{where}: not YAML: {said}", source=file) from error
    finally:
        if loader is not None:
            loader.dispose()


def _mark(node: Any, path: Path, marks: dict[Path, tuple[int, int]], twice: list[Problem]) -> None:
    """Notes where each part begins; of what a key names, where the key is."""
    marks.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
    if node.id == "mapping":
        for key, value in node.value:
            inner = (*path, str(key.value))
            if inner in marks:
                marks[inner] = (key.start_mark.line + 1, key.start_mark.column + 1)
                twice.append((inner, "stands there twice"))
                continue
            marks[inner] = (key.start_mark.line + 1, key.start_mark.column + 1)
            _mark(value, inner, marks, twice)
    elif node.id == "sequence":
        for index, value in enumerate(node.value):
            _mark(value, (*path, index), marks, twice)


def _keys_that_are_no_text(data: Any, path: Path) -> Iterator[Problem]:
    if isinstance(data, Mapping):
        for key, value in data.items():
            if isinstance(key, str):
                yield from _keys_that_are_no_text(value, (*path, key))
            else:
                yield path, f"the key {key!r:.60} is no text: put it in quotes"
    elif isinstance(data, (list, tuple)):
        for index, value in enumerate(data):
            yield from _keys_that_are_no_text(value, (*path, index))


def _with_text_keys(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(key): _with_text_keys(value) for key, value in data.items()}
    return [_with_text_keys(value) for value in data] if isinstance(data, (list, tuple)) else data


def _told(error: Any) -> Iterator[Problem]:
    """A finding of jsonschema in the words of this library."""
    path: Path = tuple(error.absolute_path)
    expected = error.schema.get("description") or _expected(error)
    kind, value = error.validator, error.instance
    if kind == "additionalProperties":
        known = sorted(error.schema["properties"])
        for key in sorted(set(value) - set(known)):
            yield (*path, key), f"unknown key {key!r:.60}: {', '.join(known)} are known"
    elif kind == "required":
        for key in error.validator_value:
            if key not in value:
                told = schema_of(error.schema, key).get("description", "")
                yield path, f"{key} is missing{': ' if told else ''}{told}"
    elif kind == "uniqueItems":
        yield path, "something stands in it twice"
    elif kind == "minItems":
        yield path, f"an empty list; expected: {expected}"
    elif kind == "minProperties":
        yield path, f"nothing is in it; expected: {expected}: {', '.join(error.schema['properties'])}"
    elif kind == "maxLength":
        yield path, f"it has {len(value)} characters; at most {error.validator_value} are taken"
    else:
        yield path, f"{_shown(value)} is not what is expected: {expected}"


def _expected(error: Any) -> str:
    """What the part of the schema that refers to another part says of itself."""
    part: Any = schema()
    for key in list(error.absolute_path):
        if isinstance(key, int):
            part = schema_of(part, None)
        else:
            part = schema_of(part, str(key))
    return str(part.get("description", "something else"))


def schema_of(part: Mapping[str, Any], key: str | None) -> dict[str, Any]:
    """The schema of a key (None: of the items) of what `part` describes, with what it refers to; {} where it has
    none."""
    part = _resolved(part)
    found = part.get("items", {}) if key is None else part.get("properties", {}).get(key, {})
    return _resolved(found)


def _resolved(part: Mapping[str, Any]) -> dict[str, Any]:
    reference = str(part.get("$ref", ""))
    if not reference:
        return dict(part)
    return {**schema()["$defs"][reference.rpartition("/")[2]], **part}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def table() -> str:
    """The schema as a table in Markdown, for the documentation."""
    lines = ["| key | | what is expected |", "|---|---|---|"]

    def add(part: Mapping[str, Any], name: str) -> None:
        part = _resolved(part)
        for key in part.get("properties", {}):
            inner = schema_of(part, key)
            needed = "required" if key in part.get("required", ()) else ""
            lines.append(f"| `{name}{key}` | {needed} | {inner.get('description', '')} |")
            if inner.get("type") == "object":
                add(inner, f"{name}{key}.")

    add(schema(), "")
    return "\n".join(lines)
