# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Conditions in queries: `field:operator:value`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from bson import Decimal128, ObjectId, json_util
from bson.errors import BSONError
from bson.json_util import JSONOptions
from neocampus_lake.sinks.reading import OPERATORS, Filter

from .errors import bad_request

_FORM = re.compile(rf"(.+?):({'|'.join(OPERATORS)}):(.*)", re.DOTALL)
_TRUTHS = {"true": True, "false": False}
_VALUES = (str, bool, int, float, datetime, Decimal128, ObjectId)


def conditions(given: Iterable[str], value: Callable[[str], Any]) -> list[Filter]:
    """What is said by `where`; `value` makes a value of its text, as the store compares it. ApiError 400."""
    return [_condition(one, value) for one in given]


def _condition(given: str, value: Callable[[str], Any]) -> Filter:
    found = _FORM.fullmatch(given)
    if found is None:
        raise bad_request(
            f"query parameter 'where': {given[:80]!r} is no condition; write field:operator:value with one of the "
            f"operators {', '.join(OPERATORS)}"
        )
    field, operator, said = found.groups()
    if "\x00" in given:
        raise bad_request("query parameter 'where': a condition has no character 0")
    if operator == "null":
        if said not in _TRUTHS:
            raise bad_request(f"query parameter 'where': {field[:80]!r} null is true or false, not {said[:40]!r}")
        return Filter(field, operator, _TRUTHS[said])
    return Filter(field, operator, said if operator == "contains" else value(said))


def text(said: str) -> str:
    """For stores whose columns have types: a text is understood as the column's type has it."""
    return said


def typed(said: str) -> Any:
    """For documents: what is JSON is that value (also `{"$date": …}` and the like of MongoDB's Extended JSON), anything
    else a text. ApiError 400 for a value that is compared by no order."""
    try:
        value = json_util.loads(said, json_options=JSONOptions(tz_aware=True))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ArithmeticError, BSONError):
        return said
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        raise bad_request(f"query parameter 'where': {said[:40]} has over 64 bits")
    if isinstance(value, str) and re.search("[\x00\ud800-\udfff]", value):
        raise bad_request("query parameter 'where': a text has no character 0 and no half of a pair of surrogates")
    if not isinstance(value, _VALUES):
        raise bad_request(
            f"query parameter 'where': {said[:40]} is compared with nothing; whether there is no value is asked for "
            "by field:null:true"
        )
    return value
