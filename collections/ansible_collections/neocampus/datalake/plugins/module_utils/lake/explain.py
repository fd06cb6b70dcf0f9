# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would happen to a file? Everything that processing would do, but nothing is written."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from . import content_types, wire
from .documents import new_document, to_json
from .errors import LakeError, NoPipeline
from .parsers.report import Options
from .pipelines import DIMENSIONS, KEPT, Declaration, Router, Score, run_here
from .points import Point
from .records import Document, File, Member, Node, Record, Relation, Row, Table

if TYPE_CHECKING:
    from .pipelines import Runner

RECORDS = 20
"""How many records are shown."""
SECONDS = 30.0
"""How long that may take."""
SHOWN = 500
"""How many characters of a text, and bytes of data, are shown."""


def document_of(
    name: str,
    head: bytes,
    *,
    size: int = 0,
    container: str = "container",
    project_id: str = "project",
    user: str = "",
    content_type: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The metadata document that a file would have, were it inserted; `head` is its beginning
    (content_types.HEAD_BYTES of it). Errors: InvalidDocument, InvalidName."""
    return new_document(
        object_id="1",
        container=container,
        project_id=project_id,
        user=user,
        object_name="1",
        original_name=name,
        content_type=content_types.detect(name, head, content_type),
        size=size,
        metadata=metadata,
    )


def explain(
    document: Mapping[str, Any],
    stream: BinaryIO,
    router: Router,
    *,
    run_steps: Runner = run_here,
    runs_projects: bool = True,
    limit: int = RECORDS,
    seconds: float = SECONDS,
) -> dict[str, Any]:
    """What would become of the object of a document whose content `stream` gives; as JSON.

    Keys: `content_type` as declared, and `detected_content_type` where the content is something else; `candidates`, the
    declarations that match, the most specific first, each with its `score` by dimension; of the one that is chosen
    `pipeline`, `version`, `source`, `weight`, `steps`, `sinks`; then up to `limit` `records`, each with `kind` and the
    `sink` that would keep it, `more` (there are others), `left_out` (rows so far: `count`, `items`); and `problem`: it
    says why the object would fail, or that its records are not known here: it is heavy, or a project's own steps are
    not run here (`runs_projects` False).
    """
    reader = io.BufferedReader(cast(Any, _Raw(stream)), 256 * 1024)
    declared = str(document.get("content_type") or "")
    head = reader.peek()[: content_types.HEAD_BYTES]
    seen = content_types.observe(str(document.get("original_object_name") or ""), head, declared)
    said: dict[str, Any] = {"content_type": declared, "detected_content_type": None, "pipeline": None, "problem": None}
    if content_types.base_type(seen) != content_types.base_type(declared):
        said["detected_content_type"] = seen
        document = {**document, "content_type": seen}
    candidates = router.candidates(document)
    said["candidates"] = [
        {"pipeline": found.name, "version": found.version, "score": _score(found, score)} for found, score in candidates
    ]
    try:
        declaration = router.route(document)
    except NoPipeline as error:
        return {**said, "problem": str(error)}
    said.update(
        pipeline=declaration.name,
        version=declaration.version,
        source="project" if declaration.project else "built-in",
        weight=declaration.weight,
        steps=[step.name for step in (declaration.parser, *declaration.transforms) if step.name],
        sinks=list(declaration.sinks),
    )
    if not declaration.problem and declaration.weight != "light":
        return {**said, "problem": "its records are not known here: it is handed to Spark"}
    if not declaration.problem and declaration.environment and not runs_projects:
        what = "its records are not known here: a project's own steps are run on the workers only"
        return {**said, "problem": f"{what} (lake-airflow-dry-run)"}
    return {**said, **_records(declaration, document, reader, run_steps, limit, seconds)}


def _records(
    declaration: Declaration,
    document: Mapping[str, Any],
    stream: BinaryIO,
    run_steps: Runner,
    limit: int,
    seconds: float,
) -> dict[str, Any]:
    options = Options(
        declaration.parser.options,
        filename=document.get("original_object_name"),
        content_type=document.get("content_type"),
        metadata=document,
    )
    until = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > until:
            raise LakeError(f"given up after {seconds:g} s: a dry run may take no longer")

    shown: list[dict[str, Any]] = []
    more, problem = False, None
    try:
        declaration.check()
        with closing(cast(Any, iter(run_steps(declaration, stream, options, check)))) as records:
            for record in records:
                check()
                if len(shown) == limit:
                    more = True
                    break
                shown.append(_shown(record, declaration))
                if shown[-1]["sink"] is None:
                    kind = type(record).__name__
                    problem = f"it makes {kind}, which its sinks ({', '.join(declaration.sinks)}) do not keep"
                    break
    except LakeError as error:
        problem = str(error)
    except Exception as error:  # a fault in a pipeline's own code, as in processing
        problem = f"the pipeline failed: {type(error).__name__}: {error}"
    left_out = {"count": options.report.count, "items": options.report.items}
    return {"records": shown, "more": more, "left_out": left_out, "problem": problem}


def _score(declaration: Declaration, score: Score) -> dict[str, str]:
    """How specifically each dimension matches: exactly, or by a pattern with so many characters of its own."""
    told = {}
    for dimension, (kind, length) in zip(DIMENSIONS, reversed(score)):  # noqa: B905 (3.9)
        if dimension in declaration.match:
            told[dimension] = "exact" if kind == 2 else f"pattern with {length} characters"
    return told


def _shown(record: Record, declaration: Declaration) -> dict[str, Any]:
    kind = type(record).__name__
    sink = next((name for name in declaration.sinks if kind in KEPT[name]), None)
    return {"kind": kind.lower(), "sink": sink, **_cut(_parts(record))}


def _parts(record: Record) -> dict[str, Any]:
    if isinstance(record, Point):
        from .times import format_time

        return {
            "measurement": record.measurement,
            "time": format_time(record.time),
            "fields": record.fields,
            "tags": record.tags,
        }
    if isinstance(record, Row):
        return {"table": record.table, "values": dict(record.values), "line": record.line}
    if isinstance(record, Table):
        keyed = {"key": list(record.key), "replaces": record.replaces}
        return {"table": record.name, "columns": dict(record.columns), **keyed}
    if isinstance(record, Document):
        return {"value": dict(record.value), "number": record.number}
    if isinstance(record, File):
        return {"name": record.name, "content_type": record.content_type, "size": len(record.data)}
    if isinstance(record, Node):
        return {"label": record.label, "key": dict(record.key), "properties": dict(record.properties)}
    if isinstance(record, Relation):
        return {"relation": record.kind, "start": _parts(record.start), "end": _parts(record.end)}
    if isinstance(record, Member):
        return {"path": record.path, "size": record.size}
    return {"value": repr(record)}


def _cut(value: Any) -> Any:
    """A value as JSON, its texts no longer than what is shown."""
    if isinstance(value, Mapping):
        return {str(key)[:SHOWN]: _cut(item) for key, item in list(value.items())[:SHOWN]}
    if isinstance(value, (list, tuple)):
        return [_cut(item) for item in value[:SHOWN]]
    if isinstance(value, (str, bytes)) and len(value) > SHOWN:
        return to_json(value[:SHOWN]) + "…"
    return to_json(value)


class _Raw(io.RawIOBase):
    """A stream, as BufferedReader wants it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def as_text(said: Mapping[str, Any]) -> str:
    """What `explain` says, for people."""
    lines = [f"content type: {said['content_type']}"]
    if said["detected_content_type"]:
        lines.append(f"its content is:  {said['detected_content_type']}")
    if said["pipeline"]:
        lines.append(f"pipeline:     {said['pipeline']} version {said['version']} ({said['source']}, {said['weight']})")
        lines.append(f"steps:        {' → '.join(said['steps']) or 'not known'}; sinks: {', '.join(said['sinks'])}")
    for number, found in enumerate(said["candidates"], 1):
        score = ", ".join(f"{dimension} {how}" for dimension, how in found["score"].items())
        lines.append(f"{number}. {found['pipeline']} version {found['version']}: {score}")
    for record in said.get("records", ()):
        rest = {key: value for key, value in record.items() if key not in ("kind", "sink")}
        lines.append(f"{record['kind']} → {record['sink']}: {wire.dumps(rest).decode()}")
    if said.get("more"):
        lines.append("… and more")
    if said.get("left_out", {}).get("count"):
        lines.append(f"rows left out so far: {said['left_out']['count']}")
        lines += [f"  line {item['line']}: {item['message']}" for item in said["left_out"]["items"]]
    if said["problem"]:
        lines.append(f"problem: {said['problem']}")
    return "\n".join(lines)
