# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""What the headers of the tus protocol say (https://tus.io/protocols/resumable-upload, version 1.0.0). No I/O."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

from neocampus_lake.documents import validate_metadata
from neocampus_lake.models import insertion_metadata

from .errors import ApiError, bad_request

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,expiration,checksum,termination,concatenation"
ALGORITHMS = ("sha256", "sha1", "md5")
BODY_TYPE = "application/offset+octet-stream"
MAX_HEADER = 16 * 1024
MAX_PARTIALS = 1000

_NUMBER = re.compile(r"[0-9]{1,18}")
_KEY = re.compile(r"[^\s,]+")
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")
_HEX = {"sha256": re.compile(r"[0-9a-f]{64}"), "md5": re.compile(r"[0-9a-f]{32}")}


@dataclass(frozen=True)
class Described:
    """What Upload-Metadata says of a file: name, type, fields of its document, checksums (hex) by algorithm; and the
    metadata model that it names, as it names it."""

    filename: str | None
    content_type: str | None
    fields: dict[str, Any]
    checksums: dict[str, str]
    model: Any = None


@dataclass(frozen=True)
class Checksum:
    """What Upload-Checksum says of a body."""

    algorithm: str
    digest: bytes

    def start(self) -> Any:
        """A hash object for the body."""
        return hashlib.new(self.algorithm, usedforsecurity=False)


def check_version(given: str | None) -> None:
    """ApiError 412 unless the client speaks this version."""
    if given != VERSION:
        raise ApiError(
            412,
            "precondition_failed",
            f"send the header Tus-Resumable: {VERSION}, the version of the protocol that is spoken here",
            headers={"Tus-Version": VERSION},
        )


def number(name: str, given: str | None) -> int:
    """A header that is a number of bytes. ApiError 400."""
    if given is None or not _NUMBER.fullmatch(given):
        raise bad_request(f"header {name}: a number of bytes is expected", "invalid_header")
    return int(given)


def metadata(header: str | None) -> dict[str, bytes]:
    """The pairs of Upload-Metadata: a key, and after a space its value in base64. ApiError 400."""
    found: dict[str, bytes] = {}
    if header is None or not header.strip():
        return found
    if len(header) > MAX_HEADER:
        raise bad_request(f"header Upload-Metadata: may have {MAX_HEADER} characters at most", "invalid_metadata")
    for pair in header.split(","):
        key, _, value = pair.strip().partition(" ")
        if not _KEY.fullmatch(key) or key in found:
            raise bad_request(
                "header Upload-Metadata: pairs 'key base64' with commas between them are expected, each key once",
                "invalid_metadata",
            )
        try:
            found[key] = base64.b64decode(value.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise bad_request(
                f"header Upload-Metadata: the value of {key[:60]!r} is no base64", "invalid_metadata"
            ) from None
    return found


def described(pairs: Mapping[str, bytes]) -> Described:
    """What is known among the pairs: filename, filetype, metadata (JSON), sha256, md5 (hex). ApiError 400,
    InvalidDocument."""
    last = _text(pairs, "filename").replace("\\", "/").rsplit("/", 1)[-1]
    filename = "".join(c for c in last if c.isprintable()) or None
    filetype = _text(pairs, "filetype") or None
    given_fields = _object(_text(pairs, "metadata") or "{}")
    fields = insertion_metadata(given_fields)
    fields.pop("model", None)
    if filename and "original_object_name" not in fields:
        validate_metadata({"original_object_name": filename})
    checksums = {}
    for algorithm, form in _HEX.items():
        given = _text(pairs, algorithm).lower()
        if given and not form.fullmatch(given):
            raise bad_request(
                f"header Upload-Metadata: {algorithm} is the checksum of the whole file in hexadecimal digits",
                "invalid_metadata",
            )
        if given:
            checksums[algorithm] = given
    return Described(filename, filetype, fields, checksums, given_fields.get("model"))


def checksum(header: str | None) -> Checksum | None:
    """Upload-Checksum: an algorithm, and after a space the digest in base64. ApiError 400."""
    if header is None:
        return None
    algorithm, _, value = header.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise bad_request(
            f"header Upload-Checksum: the algorithm is one of {', '.join(ALGORITHMS)}", "unsupported_checksum"
        )
    try:
        digest = base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise bad_request(f"header Upload-Checksum: a {algorithm} digest in base64 is expected", "invalid_header")
    return Checksum(algorithm, digest)


def concat(header: str | None, prefix: str) -> tuple[bool, list[str] | None]:
    """Upload-Concat: whether the upload is partial, and, of a final one, the ids of those that it joins, whose paths
    begin with `prefix`. ApiError 400."""
    if header is None:
        return False, None
    kind, _, urls = header.strip().partition(";")
    if kind == "partial" and not urls:
        return True, None
    ids = []
    for url in urls.split():
        path, _, upload_id = urlsplit(url).path.rpartition("/")
        if path + "/" != prefix or not _UPLOAD_ID.fullmatch(upload_id):
            raise bad_request(
                f"header Upload-Concat: {url[:200]!r} is no upload of this container; give the Location of each",
                "invalid_header",
            )
        ids.append(upload_id)
    if kind != "final" or not ids or len(set(ids)) != len(ids) or len(ids) > MAX_PARTIALS:
        raise bad_request(
            f"header Upload-Concat: 'partial', or 'final;' and the addresses of 1 to {MAX_PARTIALS} partial uploads, "
            "each once",
            "invalid_header",
        )
    return False, ids


def http_date(moment: datetime) -> str:
    """A time as headers have it."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def _text(pairs: Mapping[str, bytes], key: str) -> str:
    try:
        return pairs.get(key, b"").decode().strip()
    except UnicodeDecodeError:
        raise bad_request(f"header Upload-Metadata: {key} is no text in UTF-8", "invalid_metadata") from None


def _object(text: str) -> dict[str, Any]:
    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        given = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        said = error if isinstance(error, ValueError) else "nested too deeply"
        raise bad_request(f"header Upload-Metadata: metadata is not JSON ({said})", "invalid_metadata") from None
    if not isinstance(given, dict):
        raise bad_request("header Upload-Metadata: metadata is JSON but no object", "invalid_metadata")
    return given
