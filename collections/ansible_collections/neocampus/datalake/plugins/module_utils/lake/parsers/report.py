# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a parser is given, and where it says which rows it had to leave out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEPT = 20
MAX_KINDS = 60


class RowErrors:
    """Rows that were left out: how many (`count`), and the first of them (`items`: `{"line": …, "message": …}`).

    `line` is the line of the file, or for JSON the number of the item, from 1. `skipped` counts, by kind, what is not
    data and was passed over as it should be (`{"CREATE VIEW": 2}`): it is no error.
    """

    def __init__(self, keep: int = KEPT) -> None:
        self.count = 0
        self.items: list[dict[str, Any]] = []
        self.skipped: dict[str, int] = {}
        self._keep = keep

    def add(self, line: int, message: str) -> None:
        """Notes that a row was left out, and why."""
        self.count += 1
        if len(self.items) < self._keep:
            self.items.append({"line": line, "message": message[:300]})

    def skip(self, kind: str) -> None:
        """Counts something that was passed over. Kinds are few: what is more than MAX_KINDS is `other`."""
        if kind not in self.skipped and len(self.skipped) >= MAX_KINDS:
            kind = "other"
        self.skipped[kind] = self.skipped.get(kind, 0) + 1


class Options(dict[str, Any]):
    """The options of a parser: what its declaration says, `filename` and `content_type` of the object; and `report`."""

    def __init__(self, options: Mapping[str, Any] | None = None, **more: Any) -> None:
        super().__init__(options or {}, **more)
        self.report = RowErrors()


def report_of(options: Mapping[str, Any]) -> RowErrors:
    """The report of the options; one that nobody reads where they have none."""
    report = getattr(options, "report", None)
    return report if isinstance(report, RowErrors) else RowErrors()
