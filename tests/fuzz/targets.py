# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fuzz targets have in common."""

from __future__ import annotations

import importlib
import importlib.util
import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "collections/ansible_collections/neocampus/datalake/plugins/module_utils/lake"


def load_library() -> None:
    """Makes the library importable from this tree, unless it is already."""
    if "neocampus_lake" in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        "neocampus_lake", LIBRARY / "__init__.py", submodule_search_locations=[str(LIBRARY)]
    )
    if spec is None or spec.loader is None:
        raise SystemExit(f"there is no library in {LIBRARY}")
    package = importlib.util.module_from_spec(spec)
    sys.modules["neocampus_lake"] = package
    spec.loader.exec_module(package)


def target(parser: str, variants: list[Mapping[str, Any]]) -> Callable[[bytes], None]:
    """A function that has a parser read what it is given, once with each of the options."""
    load_library()
    parse = importlib.import_module(f"neocampus_lake.parsers.{parser}").parse
    options_of = importlib.import_module("neocampus_lake.parsers.report").Options
    lake_error = importlib.import_module("neocampus_lake.errors").LakeError

    def one_input(data: bytes) -> None:
        for options in variants:
            try:
                for _record in parse(io.BytesIO(data), options_of(options)):
                    pass
            except lake_error:
                pass

    return one_input


def main(one_input: Callable[[bytes], None]) -> None:
    """Fuzzes with Atheris; arguments are libFuzzer's."""
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
