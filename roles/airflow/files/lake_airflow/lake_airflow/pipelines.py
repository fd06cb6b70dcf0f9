# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pipelines of this host, and what runs the steps of projects' own ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neocampus_lake.deployment import RUNNABLE, Pipelines
from neocampus_lake.errors import DeclarationError
from neocampus_lake.isolated import Limits, Runner, by_service
from neocampus_lake.pipelines import Router


def router(config: Mapping[str, Any]) -> Router:
    """The library's pipelines and those of projects that are in force; one that cannot be run keeps its own objects
    waiting, and stops no other.

    Raises DeclarationError where one of the library's is declared "heavy": there is no Spark to hand it to.
    """
    found = Pipelines(config["pipelines_dir"]).router()
    for declaration in found.declarations:
        if declaration.weight not in RUNNABLE and not declaration.problem:
            raise DeclarationError(f"pipeline {declaration.name!r} is {declaration.weight}; only light ones can run")
    return found


def runner(config: Mapping[str, Any]) -> Runner:
    """Runs steps; those of projects' packages by the service of this host that has no rights of its own."""
    limits = Limits(memory=config["steps_memory"], cpu=config["object_seconds"])
    return Runner(by_service(config["steps_socket"]), limits)
