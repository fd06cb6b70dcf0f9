# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The paths of the API, and the forms of their answers as OpenAPI shows them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class ErrorBody(BaseModel):
    code: str = Field(description="For programs; stays the same.")
    message: str = Field(description="What was wrong and what to do.")
    detail: Any = Field(default=None, description="Particulars, or null.")


class Error(BaseModel):
    """Every answer that is not a success."""

    error: ErrorBody


class Operation(BaseModel):
    model_config = ConfigDict(extra="allow")

    execution_date: str
    dag_id: str
    operation_instance: str


class Document(BaseModel):
    """The metadata document of an object."""

    model_config = ConfigDict(extra="allow")

    swift_object_id: str = Field(description="A number as text, unique in the lake.", examples=["17"])
    swift_container: str
    swift_user: str
    original_object_name: str
    content_type: str
    data_processing: str = Field(description="`default` or `custom`.")
    application: str | None = None
    creation_date: str
    last_modified: str
    size: int = Field(description="Bytes.")
    etag: str | None = Field(
        description="MD5 of the content; of a large object in parts the ETag that Swift has for it."
    )
    status: str = Field(
        description="`pending` until the object is known to be in Swift, then `stored`; `deleted`, `lost`: it is gone."
    )
    successful_operations: list[Operation]
    failed_operations: list[Operation]
    processed_data_area_service: Any = None
    other_data: Any = None
    model: dict[str, Any] | None = Field(
        default=None,
        description="Of what has a metadata model: `{id, label, version, valid}`, and `problems` where not valid.",
    )


class Inserted(BaseModel):
    """A file that is in the lake."""

    status: Literal[201]
    object: Document


class Refused(BaseModel):
    """A file that is not in the lake, and why."""

    status: int = Field(ge=400, description="What the insertion of this file alone would have been answered with.")
    name: str | None = Field(description="The file's name, as the form has it.")
    error: ErrorBody


class Insertions(BaseModel):
    """What became of the files of a bulk insertion, in their order."""

    items: list[Inserted | Refused]
    error: ErrorBody | None = Field(
        description="Why the form was not read to its end: nothing of what comes after the last item is in the lake."
    )


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a path, for OpenAPI."""
    meanings = {
        400: "Something in the request is wrong; the message says what.",
        401: "No token, or one that is not valid; or wrong credentials.",
        403: "The role does not allow this, or the token is of no project.",
        404: "There is no such thing in the project.",
        409: "It changed meanwhile; send the request again.",
        410: "It is over, and can't be gone on with.",
        412: "It is not as the `If-…` header of the request demands, or a header of the protocol is missing.",
        413: "Too large.",
        414: "The address is too long: send less, or by a POST where there is one.",
        415: "The body has another type.",
        416: "The range is outside the data.",
        422: "The key was used for another request.",
        423: "Another request writes to it; try again.",
        429: "Too many requests, failed log-ins, or of this under way; `Retry-After` says how long to wait.",
        460: "The checksum is another.",
        502: "Swift changed it on its way, or refused it.",
        503: "A part of the lake is away; send the request again later.",
        504: "The answer took too long.",
    }
    return {status: {"model": Error, "description": meanings[status]} for status in statuses}


def answers(status: int, model: type[BaseModel], *failures: int) -> dict[int | str, dict[str, Any]]:
    """The answers of a path, for OpenAPI: a success of the form `model`, or one of `failures`."""
    return {status: {"model": model}, **errors(*failures)}
