# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pipelines: declared in YAML, chosen by what is known of an object; the most specific declaration wins.

A declaration:

    name: PROJECT_USER_TASKNAME
    version: 1
    description: what it is for
    match:                      # all that are given have to match; a list matches where one of it does
      content_types: [text/csv, "image/*"]
      containers: [meteo]
      projects: [3f2a…]         # Keystone project ids
      data_processing: [custom]
      filenames: ["station-*.csv"]
    weight: light               # or heavy: handed to Spark
    steps:
      parser: table             # of the library, or package.module:function; {function: …, options: {…}}
      transforms: []
      sinks: [influxdb]
"""

from __future__ import annotations

import fnmatch
import importlib
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

from .content_types import base_type
from .errors import DeclarationError, NoPipeline

PARSERS = {
    "archive": ".parsers.archive:parse",
    "sensor_json": ".parsers.sensor:parse",
    "table": ".parsers.table:parse",
    "time_series_csv": ".parsers.table:parse_series",
}
"""The library's own parsers."""
SINKS = frozenset({"documents", "influxdb", "neo4j", "objects", "sql"})
"""The gold stores, and `objects`: what comes out of an archive goes into Swift again."""
WEIGHTS = ("light", "heavy")
BUILT_IN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "declarations")

# From the least to the most telling: when two declarations match, the first difference from the end decides. The order
# of the domain: content type, then project and container, then data_processing; a file's name is the narrowest.
DIMENSIONS = ("content_types", "projects", "containers", "data_processing", "filenames")
_DOCUMENT_FIELDS = {
    "content_types": "content_type",
    "projects": "swift_project",
    "containers": "swift_container",
    "data_processing": "data_processing",
    "filenames": "original_object_name",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(_[A-Za-z0-9.-]+)*")

Score = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Step:
    """A named function and its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Callable[..., Any]:
        """The function. Errors: DeclarationError when there is no such function."""
        return _load(self.name)


@lru_cache(maxsize=256)
def _load(name: str) -> Callable[..., Any]:
    module_name, _colon, function_name = PARSERS.get(name, name).partition(":")
    if not function_name:
        raise DeclarationError(
            f"step {name!r}: neither one of the library's ({', '.join(sorted(PARSERS))}) nor package.module:function"
        )
    try:
        module = importlib.import_module(module_name, __package__)
        function = getattr(module, function_name)
    except (ImportError, AttributeError) as error:
        raise DeclarationError(f"step {name!r}: {error}") from error
    if not callable(function):
        raise DeclarationError(f"step {name!r}: not a function")
    return function  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Declaration:
    """A pipeline: which objects it is for (`match`: dimension -> patterns) and what it does with them."""

    name: str
    version: str
    match: Mapping[str, tuple[str, ...]]
    weight: str
    parser: Step
    transforms: tuple[Step, ...] = ()
    sinks: tuple[str, ...] = ("influxdb",)
    description: str = ""
    source: str = ""

    @classmethod
    def from_dict(cls, data: Any, source: str = "", *, project: bool = True) -> Declaration:
        """Checks what a declaration's file holds; `project` says that it is a project's own, not the library's.

        Errors: DeclarationError, saying which key of which file is wrong.
        """

        def wrong(what: str) -> DeclarationError:
            return DeclarationError(f"{source or 'declaration'}: {what}", source=source)

        def texts(key: str, value: Any) -> tuple[str, ...]:
            if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
                raise wrong(f"{key}: a list of texts is expected, not {value!r:.100}")
            return tuple(value)

        if not isinstance(data, Mapping):
            raise wrong("a declaration has keys and values")
        unknown = set(data) - {"name", "version", "description", "match", "weight", "steps"}
        if unknown:
            raise wrong(f"unknown key {sorted(map(str, unknown))[0]!r}")
        name, version = data.get("name"), data.get("version")
        if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > 120:
            raise wrong(f"name: letters, digits, . - _ are expected, not {name!r:.100}")
        if project and name.count("_") < 2:
            raise wrong(f"name: a project's pipeline is named PROJECT_USER_TASKNAME, not {name!r}")
        if isinstance(version, bool) or not isinstance(version, (int, str)) or not str(version):
            raise wrong("version: a number or a text is expected")
        given = data.get("match")
        if not isinstance(given, Mapping) or not given or set(given) - set(DIMENSIONS):
            raise wrong(f"match: at least one of {', '.join(DIMENSIONS)} is expected, and nothing else")
        match = {key: texts(f"match.{key}", value) for key, value in given.items()}
        if not all(match.values()):
            raise wrong("match: an empty list matches nothing; leave the key out to match all")
        if any("[" in pattern for patterns in match.values() for pattern in patterns):
            raise wrong("match: * and ? are the only wildcards")
        if "content_types" in match:
            match["content_types"] = tuple(pattern.lower() for pattern in match["content_types"])
        weight = data.get("weight", "light")
        if weight not in WEIGHTS:
            raise wrong(f"weight: light or heavy is expected, not {weight!r:.100}")
        steps = data.get("steps")
        if not isinstance(steps, Mapping) or set(steps) - {"parser", "transforms", "sinks"} or "parser" not in steps:
            raise wrong("steps: parser, transforms (optional) and sinks are expected")

        def step(key: str, value: Any) -> Step:
            if isinstance(value, str):
                value = {"function": value}
            if not isinstance(value, Mapping) or set(value) - {"function", "options"}:
                raise wrong(f"steps.{key}: a name, or function and options, are expected")
            options = value.get("options", {})
            if not isinstance(value.get("function"), str) or not isinstance(options, Mapping):
                raise wrong(f"steps.{key}: function is a name, options are keys and values")
            try:
                made = Step(value["function"], dict(options))
                made.load()
            except DeclarationError as error:
                raise wrong(f"steps.{key}: {error}") from error
            return made

        transforms = steps.get("transforms", [])
        if not isinstance(transforms, list):
            raise wrong("steps.transforms: a list is expected")
        sinks = texts("steps.sinks", steps.get("sinks"))
        if not sinks or set(sinks) - SINKS:
            raise wrong(f"steps.sinks: one or more of {', '.join(sorted(SINKS))}, not {', '.join(sinks)!r}")
        return cls(
            name=name,
            version=str(version),
            match=match,
            weight=weight,
            parser=step("parser", steps["parser"]),
            transforms=tuple(step(f"transforms[{index}]", value) for index, value in enumerate(transforms)),
            sinks=sinks,
            description=str(data.get("description", "")),
            source=source,
        )

    def score(self, document: Mapping[str, Any]) -> Score | None:
        """How specifically this declaration matches a document; None when it does not."""
        scores = []
        for dimension in DIMENSIONS:
            patterns = self.match.get(dimension)
            if patterns is None:
                scores.append((0, 0))
                continue
            value = _value(document, dimension)
            matching = [_specificity(pattern) for pattern in patterns if fnmatch.fnmatchcase(value, pattern)]
            if not matching:
                return None
            scores.append(max(matching))
        return tuple(reversed(scores))

    def _rules(self) -> Iterator[tuple[Score, tuple[str, ...]]]:
        """Each combination of its patterns, one per dimension, with its score."""
        for patterns in itertools.product(*(self.match.get(dimension, ("",)) for dimension in DIMENSIONS)):
            yield tuple(reversed([_specificity(pattern) for pattern in patterns])), patterns


def _specificity(pattern: str) -> tuple[int, int]:
    if not pattern:
        return (0, 0)
    if "*" in pattern or "?" in pattern:
        return (1, len(pattern) - pattern.count("*") - pattern.count("?"))
    return (2, 0)


def _value(document: Mapping[str, Any], dimension: str) -> str:
    value = str(document.get(_DOCUMENT_FIELDS[dimension]) or "")
    return base_type(value) if dimension == "content_types" else value


def _overlap(one: str, other: str) -> bool:
    """Whether some text matches both patterns (of literals, * and ?)."""

    @cache
    def meet(i: int, j: int) -> bool:
        if i == len(one) and j == len(other):
            return True
        if i < len(one) and one[i] == "*":
            return meet(i + 1, j) or (j < len(other) and meet(i, j + 1))
        if j < len(other) and other[j] == "*":
            return meet(i, j + 1) or (i < len(one) and meet(i + 1, j))
        if i == len(one) or j == len(other):
            return False
        return (one[i] == other[j] or "?" in (one[i], other[j])) and meet(i + 1, j + 1)

    return meet(0, 0)


def load_declarations(paths: Iterable[str | os.PathLike[str]] = (), *, built_in: bool = True) -> list[Declaration]:
    """The library's declarations (unless `built_in` is False) and those of `paths`: files, or folders of .yml files.

    Errors: DeclarationError.
    """
    declarations = list(_load_path(BUILT_IN, project=False)) if built_in else []
    for path in paths:
        declarations.extend(_load_path(os.fspath(path), project=True))
    return declarations


def _load_path(path: str, *, project: bool) -> Iterator[Declaration]:
    import yaml

    files = [path]
    if os.path.isdir(path):
        files = [os.path.join(path, name) for name in sorted(os.listdir(path)) if name.endswith((".yml", ".yaml"))]
    for file in files:
        try:
            with open(file, encoding="utf-8") as stream:
                data = yaml.safe_load(stream)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise DeclarationError(f"{file}: cannot be read: {error}", source=file) from error
        yield Declaration.from_dict(data, file, project=project)


class Router:
    """Chooses the pipeline of a document.

    Errors when it is made: DeclarationError where two declarations have one name, or match the same objects equally
    specifically, so that nothing would decide between them.
    """

    def __init__(self, declarations: Sequence[Declaration]) -> None:
        self._declarations = list(declarations)
        for one, other in itertools.combinations(self._declarations, 2):
            if one.name == other.name:
                raise DeclarationError(f"two pipelines are named {one.name!r}: {one.source}, {other.source}")
            for (score, patterns), (other_score, other_patterns) in itertools.product(one._rules(), other._rules()):
                pairs = zip(patterns, other_patterns)  # noqa: B905 (3.9)
                if score == other_score and all(mine == his or _overlap(mine, his) for mine, his in pairs):
                    raise DeclarationError(
                        f"pipelines {one.name!r} ({one.source}) and {other.name!r} ({other.source}) match the same"
                        f" objects equally: {_described(patterns)} and {_described(other_patterns)}"
                    )

    def route(self, document: Mapping[str, Any]) -> Declaration:
        """The declaration that matches the document most specifically.

        Errors: NoPipeline, saying what was looked at.
        """
        best: tuple[Score, Declaration] | None = None
        for declaration in self._declarations:
            score = declaration.score(document)
            if score is not None and (best is None or score > best[0]):
                best = (score, declaration)
        if best is None:
            raise NoPipeline(
                "no pipeline handles this object; it is kept raw. Looked at: "
                + ", ".join(
                    f"{_DOCUMENT_FIELDS[dimension]} {_value(document, dimension)!r:.120}" for dimension in DIMENSIONS
                )
            )
        return best[1]


def _described(patterns: Sequence[str]) -> str:
    pairs = zip(DIMENSIONS, patterns)  # noqa: B905 (3.9)
    return ", ".join(f"{dimension} {pattern}" for dimension, pattern in pairs if pattern)
