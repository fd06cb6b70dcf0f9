# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pipelines: declared in YAML or JSON, chosen by what is known of an object; the most specific declaration wins.

A declaration (declaration.schema.json says all of it):

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
from typing import TYPE_CHECKING, Any, BinaryIO

from . import schema
from .content_types import base_type
from .errors import DeclarationError, LakeError, NoPipeline
from .schema import EXTENSIONS, Problem, Source

if TYPE_CHECKING:
    from .parsers.report import Options
    from .records import Record

    Runner = Callable[["Declaration", BinaryIO, Options, Callable[[], None]], Iterator[Record]]
    """Runs a declaration's steps on a stream: see run_here."""

PARSERS = {
    "archive": ".parsers.archive:parse",
    "bson_dump": ".parsers.bson_dump:parse",
    "image": ".parsers.image:parse",
    "json": ".parsers.json_any:parse",
    "json_documents": ".parsers.json_documents:parse",
    "json_template": ".parsers.json_template:parse",
    "meter_dump": ".parsers.meter:parse",
    "sensor_json": ".parsers.sensor:parse",
    "sql_dump": ".parsers.sql_dump:parse",
    "table": ".parsers.table:parse",
    "time_series_csv": ".parsers.table:parse_series",
}
"""The library's own parsers."""
SINKS = frozenset({"influxdb", "mongodb", "neo4j", "objects", "sql"})
"""The gold stores, and `objects`: what comes out of an archive goes into Swift again."""
KEPT = {
    "influxdb": ("Point",),
    "mongodb": ("Document", "File"),
    "neo4j": ("Node", "Relation"),
    "objects": ("Member",),
    "sql": ("Row", "Table"),
}
"""Which kinds of records each of SINKS keeps."""
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
    """A pipeline: which objects it is for (`match`: dimension -> patterns) and what it does with them.

    `project` says that it is a project's own, not the library's. `environment` is the folder of a project's own Python
    environment, in which its steps run; empty where they run in the lake's own. `problem` says why a pipeline that was
    deployed cannot be run now: its objects fail, they do not go to another one.
    """

    name: str
    version: str
    match: Mapping[str, tuple[str, ...]]
    weight: str
    parser: Step
    transforms: tuple[Step, ...] = ()
    sinks: tuple[str, ...] = ("influxdb",)
    description: str = ""
    source: str = ""
    project: bool = True
    environment: str = ""
    problem: str = ""

    @classmethod
    def from_dict(cls, data: Any, source: str = "", *, project: bool = True, environment: str = "") -> Declaration:
        """As `from_source`, of what the file named `source` holds."""
        return cls.from_source(Source(source, data), project=project, environment=environment)

    @classmethod
    def from_source(cls, source: Source, *, project: bool = True, environment: str = "") -> Declaration:
        """Checks what a declaration's file holds. Functions are looked for unless they are in an `environment`.

        Errors: DeclarationError with every problem, each with file, line and column.
        """
        data = source.data
        problems = schema.problems(data)
        wrong = {path for path, _what in problems}

        def is_well(*path: str) -> bool:
            part = data
            for key in path:
                if not isinstance(part, Mapping) or key not in part:
                    return False
                part = part[key]
            return not any(path == other[: len(path)] for other in wrong)

        if project and is_well("name") and data["name"].count("_") < 2:
            problems.append((("name",), f"a project's pipeline is named PROJECT_USER_TASKNAME, not {data['name']!r}"))
        parser = _step(data["steps"]["parser"]) if is_well("steps", "parser") else None
        transforms = [_step(step) for step in data["steps"]["transforms"]] if is_well("steps", "transforms") else []
        if environment:
            if is_well("steps", "sinks") and "objects" in data["steps"]["sinks"]:
                what = "a project's own package cannot open archives: objects is for the library's steps"
                problems.append((("steps", "sinks"), what))
        else:
            problems += _function_problems(parser, transforms)
            if parser and is_well("steps", "sinks"):
                problems += _sink_problems([parser, *transforms], data["steps"]["sinks"])
        if problems or parser is None:
            raise source.error(problems)
        match = {key: tuple(patterns) for key, patterns in data["match"].items()}
        if "content_types" in match:
            match["content_types"] = tuple(pattern.lower() for pattern in match["content_types"])
        return cls(
            name=data["name"],
            version=str(data["version"]),
            match=match,
            weight=data.get("weight", "light"),
            parser=parser,
            transforms=tuple(transforms),
            sinks=tuple(data["steps"]["sinks"]),
            description=data.get("description", ""),
            source=source.file,
            project=project,
            environment=environment,
        )

    def check(self) -> None:
        """Errors: LakeError where the pipeline cannot be run now, saying why."""
        if self.problem:
            raise LakeError(
                f"the pipeline {self.name}, which this object is for, cannot be run: {self.problem}. Deploy it again,"
                " then replay its objects"
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


def _step(data: Any) -> Step:
    return Step(data) if isinstance(data, str) else Step(data["function"], dict(data.get("options", {})))


def _function_problems(parser: Step | None, transforms: Sequence[Step]) -> Iterator[Problem]:
    """Which steps have no function."""
    steps: list[tuple[tuple[str | int, ...], Step]] = [(("steps", "parser"), parser)] if parser else []
    steps += [(("steps", "transforms", index), step) for index, step in enumerate(transforms)]
    for path, step in steps:
        try:
            step.load()
        except DeclarationError as error:
            yield path, str(error)


def _sink_problems(steps: Sequence[Step], sinks: Sequence[str]) -> Iterator[Problem]:
    """Whether what the last step makes, as its annotation says, is kept by none of the sinks."""
    try:
        annotations = getattr(steps[-1].load(), "__annotations__", {})
    except DeclarationError:
        return  # told already
    words = set(re.findall(r"\w+", str(annotations.get("return", ""))))
    made = sorted(kind for kinds in KEPT.values() for kind in kinds if kind in words)
    if made and "Record" not in words and not any(set(KEPT[sink]).intersection(made) for sink in sinks):
        fitting = sorted(sink for sink, kinds in KEPT.items() if set(kinds).intersection(made))
        what = f"{steps[-1].name} makes {', '.join(made)}, which {', '.join(sinks)} does not keep"
        yield ("steps", "sinks"), f"{what}; {', '.join(fitting)} does"


def run_here(
    declaration: Declaration, stream: BinaryIO, options: Options, check: Callable[[], None]
) -> Iterator[Record]:
    """What a declaration's parser and transforms make of a stream, in this process.

    `check` is for those who run steps elsewhere (see isolated): it is called while they wait, and raises LakeError
    when the object has taken too long.
    """
    records: Iterable[Record] = declaration.parser.load()(stream, options)
    for transform in declaration.transforms:
        records = transform.load()(records, transform.options)
    yield from records


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
    """The library's declarations (unless `built_in` is False) and those of `paths`: files, or folders of them.

    Errors: DeclarationError.
    """
    declarations = list(_library(BUILT_IN).declarations) if built_in else []
    for path in paths:
        declarations.extend(_load_path(os.fspath(path), project=True))
    return declarations


@lru_cache(maxsize=1)
def _library(path: str) -> Router:
    """The library's declarations: read once, and compared with each other once, in a process and those forked of it."""
    return Router(_load_path(path, project=False))


def _load_path(path: str, *, project: bool) -> Iterator[Declaration]:
    files = [path]
    if os.path.isdir(path):
        files = [os.path.join(path, name) for name in sorted(os.listdir(path)) if name.endswith(EXTENSIONS)]
    for file in files:
        yield Declaration.from_source(schema.read(file), project=project)


class Router:
    """Chooses the pipeline of a document.

    Errors when it is made: DeclarationError where two declarations have one name, or match the same objects equally
    specifically, so that nothing would decide between them.
    """

    def __init__(self, declarations: Iterable[Declaration]) -> None:
        self._declarations: list[Declaration] = []
        for declaration in declarations:
            self.add(declaration)

    @classmethod
    def of_library(cls) -> Router:
        """One that has the library's declarations, to which others can be added. Errors: DeclarationError."""
        router = cls(())
        router._declarations.extend(_library(BUILT_IN).declarations)
        return router

    @property
    def declarations(self) -> Sequence[Declaration]:
        """All of them."""
        return tuple(self._declarations)

    def add(self, declaration: Declaration) -> None:
        """One more. Errors: DeclarationError where it cannot be beside the others: then it is not added.

        One with a `problem` is always taken, and wins where it matches as specifically as another.
        """
        if not declaration.problem:
            for other in self._declarations:
                if not other.problem:
                    check_apart(other, declaration)
        self._declarations.append(declaration)

    def candidates(self, document: Mapping[str, Any]) -> list[tuple[Declaration, Score]]:
        """The declarations that match the document, the most specific first, each with its score."""
        found = [(declaration, declaration.score(document)) for declaration in self._declarations]
        matching = [(declaration, score) for declaration, score in found if score is not None]
        return sorted(matching, key=lambda item: (item[1], bool(item[0].problem)), reverse=True)

    def route(self, document: Mapping[str, Any]) -> Declaration:
        """The declaration that matches the document most specifically.

        Errors: NoPipeline, saying what was looked at.
        """
        candidates = self.candidates(document)
        if not candidates:
            raise NoPipeline(
                "no pipeline handles this object; it is kept raw. Looked at: "
                + ", ".join(
                    f"{_DOCUMENT_FIELDS[dimension]} {_value(document, dimension)!r:.120}" for dimension in DIMENSIONS
                )
            )
        return candidates[0][0]


def check_apart(one: Declaration, other: Declaration) -> None:
    """Errors: DeclarationError where two declarations have one name, or match the same objects equally specifically."""
    if one.name == other.name:
        raise DeclarationError(f"two pipelines are named {one.name!r}: {one.source}, {other.source}")
    for (score, patterns), (other_score, other_patterns) in itertools.product(one._rules(), other._rules()):
        pairs = zip(patterns, other_patterns)  # noqa: B905 (3.9)
        if score == other_score and all(mine == his or _overlap(mine, his) for mine, his in pairs):
            raise DeclarationError(
                f"pipelines {one.name!r} ({one.source}) and {other.name!r} ({other.source}) match the same"
                f" objects equally: {_described(patterns)} and {_described(other_patterns)}"
            )


def _described(patterns: Sequence[str]) -> str:
    pairs = zip(DIMENSIONS, patterns)  # noqa: B905 (3.9)
    return ", ".join(f"{dimension} {pattern}" for dimension, pattern in pairs if pattern)
