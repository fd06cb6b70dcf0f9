# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words that a metadata document is found by, and those that somebody looks for.

A word is a run of letters and digits without accents and case: `Température_U4/302.csv` has the words temperature, u4,
302 and csv. A document keeps its words in the field `search`, which an index is made of.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import InvalidInput

FIELD = "search"
INTERNAL_FIELDS = (FIELD, "idempotency_key")
"""Fields of a document that are the lake's own business: nobody is shown them."""

MAX_WORDS = 200
"""Words of a document that are kept: those of its name first, those deep in `other_data` last."""
MAX_LENGTH = 40
"""Characters of a word that count."""
MAX_ASKED = 10

_WORD = re.compile(r"[^\W_]+")
_FIELDS = ("original_object_name", "application", "content_type", "other_data")


@dataclass(frozen=True)
class Asked:
    """A word that somebody looks for; `prefix`: any word that begins so."""

    word: str
    prefix: bool = False

    def condition(self) -> Any:
        """What MongoDB compares with the words of a document."""
        return {"$regex": f"^{self.word}"} if self.prefix else self.word


def fold(text: str) -> str:
    """The text without accents and case; a letter that is written in several ways is one."""
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(character for character in apart if not unicodedata.combining(character))


def words(text: str) -> Iterator[str]:
    """The words of a text, in its order."""
    for match in _WORD.finditer(fold(text)):
        yield match.group()[:MAX_LENGTH]


def words_of(document: Mapping[str, Any]) -> list[str]:
    """The words that a document is found by: of its name, its application, its type and the texts in `other_data`."""
    found: dict[str, None] = {}
    for field in _FIELDS:
        for text in _texts(document.get(field)):
            for word in words(text):
                found[word] = None
                if len(found) >= MAX_WORDS:
                    return list(found)
    return list(found)


def searchable(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its words."""
    return {**document, FIELD: words_of(document)}


def shown(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as somebody is shown it."""
    return {key: value for key, value in document.items() if key not in INTERNAL_FIELDS}


def asked(text: str) -> tuple[Asked, ...]:
    """The words of a query, all of which a document has to have. One with a `*` after it may go on.

    Errors: InvalidInput, where there is no word in it, or over MAX_ASKED.
    """
    found: dict[Asked, None] = {}
    for piece in text.split():
        of_piece = list(words(piece))
        for number, word in enumerate(of_piece):
            last = number == len(of_piece) - 1
            found[Asked(word, prefix=last and piece.endswith("*"))] = None
    if not found:
        raise InvalidInput(f"{text[:80]!r} has no word to look for: give letters or digits")
    if len(found) > MAX_ASKED:
        raise InvalidInput(f"{len(found)} words are looked for: {MAX_ASKED} can be, give those that tell most")
    return tuple(found)


def _texts(value: Any) -> Iterator[str]:
    """The texts in a value, those near its top first."""
    level = [value]
    while level:
        below: list[Any] = []
        for one in level:
            if isinstance(one, str):
                yield one
            elif isinstance(one, Mapping):
                below += one.values()
            elif isinstance(one, (list, tuple)):
                below += one
        level = below
