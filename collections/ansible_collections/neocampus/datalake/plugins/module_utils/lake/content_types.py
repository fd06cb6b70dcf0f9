# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What type an object has, where the one who inserts it does not say."""

from __future__ import annotations

import codecs
import mimetypes
import re

UNKNOWN = "application/octet-stream"
HEAD_BYTES = 8192
"""How much of an object's beginning `detect` wants."""

# The same on every host: only what is listed here and in Python itself, not the host's mime.types.
_TYPES = mimetypes.MimeTypes(filenames=())
for _extension, _type in {
    ".bson": "application/bson",
    ".csv": "text/csv",
    ".geojson": "application/geo+json",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".md": "text/markdown",
    ".ndjson": "application/x-ndjson",
    ".parquet": "application/vnd.apache.parquet",
    ".sql": "application/sql",
    ".tsv": "text/tab-separated-values",
    ".xls": "application/vnd.ms-excel",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}.items():
    _TYPES.add_type(_type, _extension)
_COMPRESSED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
    "br": "application/x-brotli",
}
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")


def base_type(content_type: str) -> str:
    """The type without parameters, in lower case: `Text/CSV; charset=utf-8` is `text/csv`."""
    return content_type.partition(";")[0].strip().lower()


def detect(name: str, head: bytes, declared: str | None) -> str:
    """The content type of an object: `declared`, unless it says nothing; else from its first bytes, `head` (HEAD_BYTES
    of them), else from its name, else by what its text looks like (JSON, lines of JSON, CSV, text)."""
    if declared and declared.strip() and base_type(declared) not in (UNKNOWN, "binary/octet-stream"):
        return declared.strip()
    return _by_magic(head) or _by_name(name) or _by_text(head) or UNKNOWN


def _by_magic(head: bytes) -> str | None:
    import filetype

    found = filetype.guess_mime(head) if head else None
    return str(found) if found else None


def _by_name(name: str) -> str | None:
    guessed, encoding = _TYPES.guess_type("/" + name.replace("\\", "/").rpartition("/")[2].lower())
    if encoding:
        return _COMPRESSED.get(encoding, UNKNOWN)
    return guessed


def _by_text(head: bytes) -> str | None:
    if not head:
        return None
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)  # incremental: a character may be cut
    except UnicodeDecodeError:
        return None
    if _CONTROL.search(text):
        return None
    text = text.lstrip()
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    if text.startswith("[") or text.startswith("{"):
        if len(lines) > 1 and all(line.startswith("{") and line.rstrip().endswith("}") for line in lines[:2]):
            return "application/x-ndjson"
        return "application/json"
    whole = lines if len(head) < HEAD_BYTES else lines[:-1]  # the last may be cut
    for delimiter, kind in ((",", "text/csv"), (";", "text/csv"), ("\t", "text/tab-separated-values")):
        counts = {line.count(delimiter) for line in whole}
        if len(whole) > 1 and len(counts) == 1 and counts != {0}:
            return kind
    return "text/plain" if text else None
