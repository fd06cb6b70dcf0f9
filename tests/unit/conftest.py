# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the collection importable from this tree: the library as `neocampus_lake`, the way its wheel has it, and plugins
by their full names, the way Ansible has them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from hypothesis import settings

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "collections/ansible_collections/neocampus/datalake/plugins/module_utils/lake"


def _library_from_tree() -> None:
    spec = importlib.util.spec_from_file_location(
        "neocampus_lake", LIBRARY / "__init__.py", submodule_search_locations=[str(LIBRARY)]
    )
    package = importlib.util.module_from_spec(spec)
    sys.modules["neocampus_lake"] = package
    spec.loader.exec_module(package)


def _collections_from_tree() -> None:
    try:
        from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder
    except ImportError:  # the tests of the library alone do without Ansible
        return
    _AnsibleCollectionFinder(paths=[str(ROOT / "collections")])._install()


def _mongomock_with_sort() -> None:
    """pymongo hands `sort` to bulk updates; mongomock 4.3 does not know it."""
    try:
        from mongomock.collection import BulkOperationBuilder
    except ImportError:
        return
    add_update = BulkOperationBuilder.add_update

    def without_sort(self, *args, sort=None, **named):
        assert sort is None
        return add_update(self, *args, **named)

    BulkOperationBuilder.add_update = without_sort


settings.register_profile("lake", deadline=None)  # a busy machine is no failure
settings.load_profile("lake")
_library_from_tree()
_collections_from_tree()
_mongomock_with_sort()
