# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pipelines are in force on this host, and whether one more can be."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from neocampus_lake.errors import DeclarationError
from neocampus_lake.pipelines import Router, load_declarations


def load(paths: list[Path]) -> Router:
    """The library's pipelines and those that ``paths`` (files, or folders of them) declare.

    Raises DeclarationError, also for a pipeline that is declared "heavy": there is no Spark to hand it to.
    """
    declarations = load_declarations(paths)
    for declaration in declarations:
        if declaration.weight != "light":
            raise DeclarationError(
                f"{declaration.source}: pipeline {declaration.name!r} is {declaration.weight}; only light ones can run"
            )
    return Router(declarations)


def main() -> int:
    """Entry point of ``lake-airflow-pipelines``: 0 where the file can be accepted, 1 with the reason where not."""
    parser = argparse.ArgumentParser(description="Check a pipeline's declaration beside those that are in force.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="declarations that are in force")
    parser.add_argument("--instead-of", required=True, help="name of the file in the folder that it replaces")
    arguments = parser.parse_args()
    others = [path for path in sorted(arguments.folder.glob("*.yml")) if path.name != arguments.instead_of]
    try:
        load([*others, arguments.file])
    except DeclarationError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
