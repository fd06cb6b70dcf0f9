# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of the lake: one small tree, each with a message for the person who can act on it."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


class LakeError(Exception):
    """What went wrong, with which object, and what to do; `context` has the same as data (field, container, …)."""

    def __init__(self, message: str, **context: Any) -> None:
        super().__init__(message)
        self.message = message
        self.context = context

    def __str__(self) -> str:
        return self.message


class InvalidInput(LakeError):
    """Something that was given cannot be accepted: giving it again will not help."""


class InvalidDocument(InvalidInput):
    """A metadata document, or a field of one, is not as it must be."""


class InvalidName(InvalidInput):
    """A container's name or an object's id that the stores of the lake cannot hold."""


class DeclarationError(InvalidInput):
    """A pipeline's declaration is wrong, or two of them claim the same objects."""


class ParseError(LakeError):
    """A whole file is not what its pipeline reads; `line` where it is known (from 1)."""

    def __init__(self, message: str, line: int | None = None, **context: Any) -> None:
        super().__init__(message, **context)
        self.line = line

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"


class NoPipeline(LakeError):
    """No declaration matches a document: the object is kept raw."""


class StoreError(LakeError):
    """A store (Swift, MongoDB, InfluxDB, the API…) did not do its work.

    `retriable` is True unless the data itself was refused: then trying again gives the same answer.
    """

    def __init__(self, message: str, retriable: bool = True, **context: Any) -> None:
        super().__init__(message, **context)
        self.retriable = retriable


class AccessDenied(LakeError):
    """The credentials are wrong, or do not allow this."""


class NotFound(LakeError):
    """What was asked for does not exist (or is not visible to who asks)."""


class Conflict(LakeError):
    """What is to be made exists already."""


def present(value: T | None) -> T:
    """The value, which by the code's own logic is there. RuntimeError: it is not, and the code is wrong."""
    if value is None:
        raise RuntimeError("a value is missing that the steps before have made")
    return value
