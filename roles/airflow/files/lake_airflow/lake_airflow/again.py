# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `lake-airflow-replay`: process objects again."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, timedelta

from neocampus_lake import replay
from neocampus_lake.errors import InvalidInput, LakeError
from neocampus_lake.metadata import MetadataStore
from neocampus_lake.times import parse_time

from lake_airflow import stores
from lake_airflow.dry_run import known_container


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=parse_time(text) // 1000)


def main() -> int:
    """Entry point: 0 when it is done, 2 where it could not be."""
    parser = argparse.ArgumentParser(
        description="Put objects on the list of data to process; the next check_data_to_process starts them. What is"
        " given has to hold together. Without --container, all containers are looked through.",
    )
    parser.add_argument("--container", metavar="C", help="the container of the objects")
    parser.add_argument("--project", metavar="ID", help="its project, where several have one of that name")
    parser.add_argument("--id", metavar="N", action="append", default=[], help="an object; as often as you like")
    parser.add_argument("--from", dest="start", metavar="TIME", help="objects made at this time or later, ISO 8601")
    parser.add_argument("--to", dest="end", metavar="TIME", help="objects made before this time, ISO 8601")
    parser.add_argument("--pipeline", metavar="NAME", help="objects that this pipeline processed, well or badly")
    parser.add_argument("--version", metavar="V", help="in this version of it")
    parser.add_argument("--dry-run", action="store_true", help="only say how many objects that is")
    arguments = parser.parse_args()
    if arguments.id and not arguments.container:
        parser.error("--id needs --container")
    try:
        selection = replay.Selection(
            ids=tuple(arguments.id),
            start=_moment(arguments.start),
            end=_moment(arguments.end),
            pipeline=arguments.pipeline,
            version=arguments.version,
        )
        client = stores.mongodb(stores.settings())
        metadata = MetadataStore(client)
        if arguments.container:
            containers = [known_container(metadata, arguments.container, arguments.project)]
        else:
            containers = [entry for entry in metadata.registry() if arguments.project in (None, entry["project_id"])]
            if not containers:
                raise InvalidInput(f"no container of project {arguments.project!r} is known to the lake")
        for known in containers:
            name = f"{known['project_id']}/{known['container']}"
            found = replay.count(client, known["store"], selection)
            if not found:
                continue
            if arguments.dry_run:
                print(f"{name}: {found} objects would be processed again")
            else:
                objects, listed, _last = replay.replay(client, known, selection)
                print(f"{name}: {objects} objects are on the list of data to process, {listed} of them now")
    except LakeError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
