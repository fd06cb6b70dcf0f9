# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What reading of every gold store has in common: conditions and cursors."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInput

OPERATORS = ("eq", "ne", "lt", "le", "gt", "ge", "contains", "null")
MAX_LIMIT = 10_000
"""How many items a page has at most."""
PAGE_BYTES = 8 * 1024 * 1024
"""About how many bytes the values of a page have at most, if it has more than one item: a page of large ones ends
early."""


@dataclass(frozen=True)
class Filter:
    """One condition on a field (a column; the path of a document's field, with dots): all of a list have to hold.

    `value` is compared as the field's type has it; for `contains` it is a part of a text, for `null` a boolean (whether
    the field has no value). `ne` does not hold where there is no value, in every store.
    Errors: InvalidInput.
    """

    field: str
    operator: str
    value: Any

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise InvalidInput(f"{self.operator!r:.40} is none of {', '.join(OPERATORS)}")
        if self.operator == "contains" and not isinstance(self.value, str):
            raise InvalidInput(f"{self.field}: contains a text, not {self.value!r:.40}")
        if self.operator == "null" and not isinstance(self.value, bool):
            raise InvalidInput(f"{self.field}: null is true or false, not {self.value!r:.40}")


def check_limit(limit: int) -> int:
    """The size of a page. Errors: InvalidInput."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        raise InvalidInput(f"a page has 1 to {MAX_LIMIT} items, not {limit!r:.40}")
    return limit


def to_cursor(place: list[Any]) -> str:
    """A text for an address of the place (JSON values) after which the next page begins."""
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def from_cursor(cursor: str, kinds: tuple[type | tuple[type, ...], ...]) -> list[Any]:
    """The place that `to_cursor` was given, whose values have to be of these kinds. Errors: InvalidInput."""
    try:
        place = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        if not isinstance(place, list) or len(place) != len(kinds):
            raise ValueError
        for value, kind in zip(place, kinds):  # noqa: B905 (3.9)
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
                raise ValueError
            if isinstance(value, int) and not -(2**63) <= value < 2**63:  # no store has such a number
                raise ValueError
    except (binascii.Error, UnicodeError, ValueError, RecursionError):
        raise InvalidInput(f"{cursor!r:.60} is not the cursor of a page") from None
    return place
