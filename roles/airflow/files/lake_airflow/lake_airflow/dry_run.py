# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `lake-airflow-dry-run`: what would happen to this file, or to this object again?"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

from neocampus_lake import content_types, explain
from neocampus_lake.documents import check_object_id
from neocampus_lake.errors import InvalidInput, LakeError, NotFound
from neocampus_lake.metadata import MetadataStore

from lake_airflow import pipelines, stores, swift


def known_container(metadata: MetadataStore, container: str, project: str | None) -> dict[str, str]:
    """A container as the lake's registry has it. Raises NotFound; InvalidInput where several projects have one of that
    name, and none is named."""
    known = [entry for entry in metadata.registry() if entry["container"] == container]
    found = [entry for entry in known if project in (None, entry["project_id"])]
    if not found:
        raise NotFound(f"no container {container!r} is known to the lake{' in that project' if known else ''}")
    if len(found) > 1:
        projects = ", ".join(entry["project_id"] for entry in found)
        raise InvalidInput(f"several projects have a container {container!r}: say which with --project: {projects}")
    return found[0]


def _of_file(arguments: argparse.Namespace) -> tuple[dict[str, Any], BinaryIO]:
    """The document that the file would have, and its content."""
    file: Path = arguments.file
    try:
        stream = file.open("rb")
        head = stream.read(content_types.HEAD_BYTES)
        stream.seek(0)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error}") from error
    document = explain.document_of(
        arguments.name or file.name,
        head,
        size=os.fstat(stream.fileno()).st_size,
        container=arguments.container or "container",
        project_id=arguments.project or "project",
        content_type=arguments.content_type,
        metadata=_metadata(arguments.metadata),
    )
    return document, stream


def _metadata(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--metadata is no JSON: {error}") from error
    if not isinstance(given, dict):
        raise InvalidInput("--metadata is a JSON object of fields and values")
    return given


def _of_object(arguments: argparse.Namespace, config: dict[str, Any]) -> tuple[dict[str, Any], BinaryIO]:
    """An object's document, with what is to be other in it, and its content."""
    metadata = MetadataStore(stores.mongodb(config))
    known = known_container(metadata, arguments.container, arguments.project)
    document = metadata.get(known["store"], check_object_id(arguments.id))
    if document is None:
        raise NotFound(f"container {arguments.container!r} has no object {arguments.id}")
    given = {"content_type": arguments.content_type, "original_object_name": arguments.name}
    document = {**document, **_metadata(arguments.metadata), **{key: value for key, value in given.items() if value}}
    objects = swift.connect(config)
    return document, objects.open(known["project_id"], known["container"], document["swift_object_name"])


def main() -> int:
    """Entry point: 0 where it would be processed, 1 where not, 2 where that cannot be known."""
    parser = argparse.ArgumentParser(
        description="Say what would happen to a file, or to an object again: which pipeline, why, and which records."
        " Nothing is written.",
        epilog="Exit status: 0 it would be processed, 1 it would fail, 2 it could not be found out.",
    )
    parser.add_argument("file", type=Path, nargs="?", help="a file, as if it were inserted now")
    parser.add_argument("--container", metavar="C", help="the container it would be put in, or that the object is in")
    parser.add_argument("--id", metavar="N", help="an object of the container, instead of a file")
    parser.add_argument("--project", metavar="ID", help="the project of the container")
    parser.add_argument("--content-type", metavar="TYPE", help="as if it had this content type")
    parser.add_argument("--name", help="as if it had this original name")
    parser.add_argument("--metadata", metavar="JSON", default="{}", help="as if it had these fields")
    parser.add_argument("--records", metavar="N", type=int, default=explain.RECORDS, help="how many records to show")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if (arguments.file is None) == (arguments.id is None) or (arguments.id and not arguments.container):
        parser.error("give a FILE, or --container and --id")
    config = stores.settings()
    try:
        document, stream = _of_object(arguments, config) if arguments.id else _of_file(arguments)
        with closing(stream), pipelines.runner(config) as run_steps:
            said = explain.explain(
                document,
                stream,
                pipelines.router(config),
                run_steps=run_steps,
                limit=arguments.records,
                seconds=config["object_seconds"],
            )
    except LakeError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(said, indent=2, ensure_ascii=False) if arguments.json else explain.as_text(said))
    return 1 if said["problem"] else 0


if __name__ == "__main__":
    sys.exit(main())
