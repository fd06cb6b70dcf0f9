# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What MongoDB can hold (its manual, "MongoDB Limits and Thresholds" and "Field Names with Periods and Dollar Signs").

Names of fields: one with a dot cannot be queried, one with a dollar in front is taken for an operator, and one with NUL
is refused. Such a name is kept with its signs as `%2E`, `%24` and `%00`, as in URLs; where a name has one of these
already, its `%` becomes `%25`. `original_name` gives the name back.
"""

from __future__ import annotations

import re
from typing import Any

MAX_DEPTH = 100
"""Levels of nesting, the document itself being the first."""
MAX_SIZE = 16 * 1024 * 1024 - 4096
"""Bytes of a document as BSON; what is missing to 16 MiB is for what the lake adds to say where it comes from."""

_UNSAFE = re.compile(r"^\$|\.|\0|%(?=2E|24|00|25)")
_SAFE = re.compile(r"%(2E|24|00|25)")
_KNOWN_NAMES = 20_000


def safe_name(name: str) -> str:
    """The name that a field has in MongoDB."""
    return _UNSAFE.sub(lambda found: f"%{ord(found.group()):02X}", name)


def original_name(name: str) -> str:
    """The name that a field had in its file."""
    return _SAFE.sub(lambda found: chr(int(found.group(1), 16)), name)


class SafeNames:
    """Gives mappings names that MongoDB can hold; remembers those that it can, to be quick."""

    def __init__(self) -> None:
        self._good: set[str] = set()

    def safe(self, mapping: dict[str, Any]) -> dict[str, Any]:
        """The mapping itself, or one with other names in the same order. Its values are left as they are."""
        if self._good.issuperset(mapping):
            return mapping
        if not any(_UNSAFE.search(name) for name in mapping):
            if len(self._good) < _KNOWN_NAMES:
                self._good.update(mapping)
            return mapping
        return {safe_name(name): value for name, value in mapping.items()}


def depth_of(value: Any) -> int:
    """Levels of mappings and lists in a value; MAX_DEPTH + 1 for all that have more."""
    level = [value]
    depth = 0
    while level and depth <= MAX_DEPTH:
        containers = [item for item in level if isinstance(item, (dict, list))]
        if not containers:
            return depth
        depth += 1
        level = [
            item
            for container in containers
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, (dict, list))
        ]
    return depth
