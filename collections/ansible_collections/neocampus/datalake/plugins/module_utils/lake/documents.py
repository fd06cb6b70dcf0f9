# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata document of an object: what it holds, what a user may set, what is logged on it."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, timezone
from typing import Any

from .errors import InvalidDocument, InvalidName

EDITABLE_FIELDS = frozenset(
    {
        "application",
        "content_type",
        "data_processing",
        "original_object_name",
        "other_data",
        "processed_data_area_service",
        "swift_container",
        "swift_user",
    }
)
"""What a user may set (the other fields are the lake's own)."""

DATA_PROCESSING = ("default", "custom")
MAX_ID = 2**63 - 1
MAX_TEXT = 1024
MAX_METADATA_BYTES = 1024 * 1024  # a MongoDB document ends at 16 MB: most of it is kept for what the lake logs
MAX_DEPTH = 50
MAX_CONTAINER_BYTES = 200  # with "swift." and "--<project id>" a MongoDB name ends at 255

_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(\s*;.*)?")
_OBJECT_ID = re.compile(r"[1-9][0-9]{0,18}")
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_BAD_IN_CONTAINER = re.compile("[\x00-\x1f\x7f\ud800-\udfff/\\\\\"'$]")


def utc(moment: datetime | None = None) -> datetime:
    """The moment (default: now) in UTC, to the millisecond that MongoDB keeps; naive means UTC."""
    moment = moment or datetime.now(timezone.utc)
    moment = moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def check_container_name(name: str) -> str:
    """The name, if every store can hold it (Swift container, MongoDB collection, InfluxDB database).

    Errors: InvalidName.
    """
    if not isinstance(name, str) or not name:
        raise InvalidName("a container's name is a text that is not empty", container=name)
    if _BAD_IN_CONTAINER.search(name):
        raise InvalidName(
            f"container {name!r}: no store holds a name with / \\ \" ' $ or a control character",
            container=name,
        )
    if len(name.encode()) > MAX_CONTAINER_BYTES:
        raise InvalidName(f"container {name[:40]!r}…: the name is over {MAX_CONTAINER_BYTES} bytes", container=name)
    if name != name.strip() or name in (".", "..", "_internal") or name.startswith(("system.", ".")):
        raise InvalidName(
            f"container {name!r}: a name may not be _internal, begin with . or system. or have space at its ends",
            container=name,
        )
    return name


def check_object_id(text: str) -> str:
    """The id, if it is one: a decimal number from 1, as text. Errors: InvalidName."""
    if not isinstance(text, str) or not _OBJECT_ID.fullmatch(text) or int(text) > MAX_ID:
        raise InvalidName(f"{text!r} is not an object's id: ids are decimal numbers from 1", object_id=text)
    return text


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidDocument(f"{field}: a text that is not empty is expected, not {value!r:.100}", field=field)
    if len(value) > MAX_TEXT or _CONTROL.search(value):
        raise InvalidDocument(f"{field}: over {MAX_TEXT} characters, or with control characters", field=field)
    return value


def _texts(field: str, value: Any) -> list[str]:
    if not isinstance(value, (list, tuple)):
        raise InvalidDocument(f"{field}: a list of texts is expected, not {value!r:.100}", field=field)
    return [_text(f"{field}[{index}]", item) for index, item in enumerate(value)]


def _plain(field: str, value: Any, depth: int = 0) -> tuple[Any, int]:
    """A copy of a JSON value that MongoDB can hold, and about how many bytes it takes."""
    if depth > MAX_DEPTH:
        raise InvalidDocument(f"{field}: nested deeper than {MAX_DEPTH}", field=field)
    if isinstance(value, str):
        try:
            return value, 8 + len(value.encode())
        except UnicodeEncodeError:
            raise InvalidDocument(f"{field}: not valid Unicode text", field=field) from None
    if value is None or isinstance(value, (bool, datetime)):
        return value, 9
    if isinstance(value, int):
        if not -MAX_ID - 1 <= value <= MAX_ID:
            raise InvalidDocument(f"{field}: {value!r:.40} does not fit in 64 bits", field=field)
        return value, 9
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidDocument(f"{field}: {value!r} is not a number that JSON can hold", field=field)
        return value, 9
    size = 8
    if isinstance(value, Mapping):
        result = {}
        for key, item in value.items():
            if not isinstance(key, str) or not key or key.startswith("$") or _CONTROL.search(key):
                raise InvalidDocument(
                    f"{field}: the key {key!r:.60} cannot be kept: a key is a text that is not empty, without"
                    " $ in front or control characters",
                    field=field,
                )
            result[key], item_size = _plain(f"{field}.{key}"[:200], item, depth + 1)
            size += item_size + len(key.encode()) + 2
        return result, size
    if isinstance(value, (list, tuple)):
        items = []
        for index, item in enumerate(value):
            copy, item_size = _plain(f"{field}[{index}]"[:200], item, depth + 1)
            items.append(copy)
            size += item_size + 8
        return items, size
    raise InvalidDocument(f"{field}: {type(value).__name__} is not something JSON can hold", field=field)


def _other_data(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidDocument(f"other_data: keys and values are expected, not {value!r:.100}", field="other_data")
    copy, size = _plain("other_data", value)
    if size > MAX_METADATA_BYTES:
        raise InvalidDocument(f"other_data: over {MAX_METADATA_BYTES} bytes", field="other_data")
    template = copy.get("template")
    if template is not None:
        if not isinstance(template, dict) or not {"measurement", "time", "fields"} <= set(template):
            raise InvalidDocument(
                "other_data.template: measurement, time, fields (a list) and, optional, tags (a list) are expected",
                field="other_data.template",
            )
        _text("other_data.template.measurement", template["measurement"])
        _text("other_data.template.time", template["time"])
        _texts("other_data.template.fields", template["fields"])
        _texts("other_data.template.tags", template.get("tags", []))
    image = copy.get("image_content")
    if image is not None:
        if not isinstance(image, dict):
            raise InvalidDocument(
                "other_data.image_content: main_object (a list) and secondary_object (a list) are expected",
                field="other_data.image_content",
            )
        for key in ("main_object", "secondary_object"):
            _texts(f"other_data.image_content.{key}", image.get(key, []))
    return dict(copy)


def validate_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A checked copy of what a user gives about an object (any of EDITABLE_FIELDS).

    Errors: InvalidDocument, naming the field and what may be set.
    """
    if not isinstance(metadata, Mapping):
        raise InvalidDocument(f"metadata: keys and values are expected, not {metadata!r:.100}", field="metadata")
    checked: dict[str, Any] = {}
    for field, value in metadata.items():
        if field not in EDITABLE_FIELDS:
            raise InvalidDocument(
                f"{field!r:.80} cannot be set: what can be is {', '.join(sorted(EDITABLE_FIELDS))}"
                " (anything else belongs in other_data)",
                field=field,
            )
        if field == "other_data":
            checked[field] = _other_data(value)
        elif field == "processed_data_area_service":
            checked[field] = _texts(field, value)
        elif field == "swift_container":
            try:
                checked[field] = check_container_name(value)
            except InvalidName as error:
                raise InvalidDocument(f"swift_container: {error}", field=field) from None
        else:
            checked[field] = _text(field, value)
            if field == "content_type" and not _CONTENT_TYPE.fullmatch(value):
                raise InvalidDocument(f"content_type: {value!r:.100} is not a MIME type (type/subtype)", field=field)
            if field == "data_processing" and value not in DATA_PROCESSING:
                raise InvalidDocument(f"data_processing: {value!r:.100} is neither default nor custom", field=field)
    return checked


_CLEARED: Mapping[str, Any] = {
    "application": None,
    "data_processing": DATA_PROCESSING[0],
    "other_data": {},
    "processed_data_area_service": [],
}
"""What a field is that a user has taken away; the others have to have a value."""


def merged(document: Mapping[str, Any], patch: Any) -> dict[str, Any]:
    """What a JSON merge patch (RFC 7396) changes of a document: the fields that are not as they were, with their new
    values, checked as a whole.

    Errors: InvalidDocument, naming the field; also for another container: an object stays where it was put.
    """
    if not isinstance(patch, Mapping):
        raise InvalidDocument(f"a patch is an object with the fields to change, not {patch!r:.100}", field="")
    wanted = {}
    for field, value in patch.items():
        if value is None and field in EDITABLE_FIELDS:
            if field not in _CLEARED:
                raise InvalidDocument(f"{field}: cannot be taken away; give another value", field=field)
            wanted[field] = _CLEARED[field]
        elif field == "other_data" and isinstance(value, Mapping):
            wanted[field] = _merge(document.get(field), value)
        else:
            wanted[field] = value
    checked = validate_metadata({field: value for field, value in wanted.items() if value is not None})
    container = document.get("swift_container")
    if checked.get("swift_container", container) != container:
        raise InvalidDocument(
            f"swift_container: the object is in {container!r} and stays there; insert it into"
            f" {checked['swift_container']!r}, then delete this one",
            field="swift_container",
        )
    changed = {**wanted, **checked}
    # By their texts: for Python 1 and true are the same.
    return {field: value for field, value in changed.items() if repr(document.get(field)) != repr(value)}


def _merge(target: Any, patch: Any, depth: int = 0) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, Mapping):
        return patch
    if depth > MAX_DEPTH:
        raise InvalidDocument(f"other_data: nested deeper than {MAX_DEPTH}", field="other_data")
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge(result.get(key), value, depth + 1)
    return result


def new_document(
    *,
    object_id: str,
    container: str,
    project_id: str,
    user: str,
    object_name: str,
    original_name: str,
    content_type: str,
    size: int,
    metadata: Mapping[str, Any] | None = None,
    now: datetime | None = None,
    status: str = "pending",
) -> dict[str, Any]:
    """The metadata document of a new object; `metadata` (see validate_metadata) overrides what is automatic.

    `_id` is the object's id as a number, so that MongoDB orders and pages by it. `size` is in bytes, `object_name` the
    name in Swift, `original_name` the name of the file as it came.
    Errors: InvalidDocument (also where `metadata` names another container), InvalidName.
    """
    check_container_name(container)
    given = validate_metadata(metadata or {})
    if given.get("swift_container", container) != container:
        raise InvalidDocument(
            f"swift_container: the object goes to {container!r}, not {given['swift_container']!r}: insert it there",
            field="swift_container",
        )
    now = utc(now)
    document = {
        "_id": int(check_object_id(object_id)),
        "content_type": content_type,
        "data_processing": DATA_PROCESSING[0],
        "swift_user": user,
        "swift_container": container,
        "swift_project": project_id,
        "swift_object_id": object_id,
        "swift_object_name": object_name,
        "original_object_name": original_name,
        "creation_date": now,
        "last_modified": now,
        "application": None,
        "successful_operations": [],
        "failed_operations": [],
        "processed_data_area_service": [],
        "other_data": {},
        "status": status,
        "size": size,
        "etag": None,
    }
    return {**document, **given}


def operation(*, dag_id: str, operation_instance: str, execution_date: datetime, **details: Any) -> dict[str, Any]:
    """An entry of `successful_operations` or `failed_operations`.

    Usual details: pipeline, version, message, records (rows or points), seconds, services (gold stores written),
    errors and error_count (rows that were left out), skipped (what is no data and was passed over: kind and count).
    """
    return {
        "execution_date": utc(execution_date),
        "dag_id": dag_id,
        "operation_instance": operation_instance,
        **details,
    }


def gold_places(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What an object is in gold: for each store that has something of it the operation that put it there, whose
    `gold` says where. What a later operation put in its place, or took away, is not there."""
    found: dict[str, dict[str, Any]] = {}
    for done in document.get("successful_operations") or ():
        for store in done.get("cleared") or ():
            found.pop(store, None)
        for store in done.get("gold") or {}:
            found[store] = done
    return found


def history_entry(
    *,
    document: Mapping[str, Any],
    process_type: str,
    task_type: str,
    new_data: Mapping[str, Any],
    old_data: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """An entry of `data_historique`.`history`: what an operation read (`old_data`) and what it made (`new_data`).

    `old_data`, where it is not given, refers to the raw object and has the old value of each field of the document that
    `new_data` names.
    """
    reference = ("swift_object_name", "content_type", "size", "etag")
    return {
        "creation_date": utc(now),
        "swift_container": document.get("swift_container"),
        "swift_id": document.get("swift_object_id"),
        "process_type": process_type,
        "task_type": task_type,
        "old_data": dict(old_data or {key: document[key] for key in (*reference, *new_data) if key in document}),
        "new_data": dict(new_data),
    }


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC, to the millisecond: 2021-07-22T11:01:22.000Z."""
    return utc(moment).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def to_json(document: Any, *, ids: bool = True) -> Any:
    """The document (or any part of it) as JSON can hold it: dates in ISO 8601, `_id` and other ids as text. Without
    `ids` a field `_id` is nothing special: in documents that are not the lake's own it may be anything."""
    if isinstance(document, Mapping):
        return {
            str(key): str(value) if ids and key == "_id" else to_json(value, ids=ids) for key, value in document.items()
        }
    if isinstance(document, (list, tuple)):
        return [to_json(item, ids=ids) for item in document]
    if isinstance(document, datetime):
        return iso(document)
    if isinstance(document, date):
        return document.isoformat()
    if isinstance(document, bytes):
        return base64.b64encode(document).decode()
    if isinstance(document, float) and not math.isfinite(document):
        return None
    if document is None or isinstance(document, (bool, int, float, str)):
        return document
    return str(document)
