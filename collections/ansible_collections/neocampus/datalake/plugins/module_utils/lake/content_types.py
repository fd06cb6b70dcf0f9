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


_TEXTUAL = re.compile(r"text/|application/([\w.+-]*\+)?(json|xml|sql|csv|yaml|x-ndjson|jsonl|x-jsonlines)$|image/svg")
_ZIPPED = re.compile(
    r"application/(zip|x-zip-compressed|vnd\.openxmlformats-|vnd\.oasis\.|vnd\.ms-excel\.|epub|java-archive)"
)
_OLE = re.compile(r"application/(vnd\.ms-|msword|x-ole)")


def observe(name: str, head: bytes, declared: str) -> str:
    """The content type to go by: `declared`, unless it says nothing or the content, of which `head` is the beginning
    (HEAD_BYTES of it), plainly is something else: text that begins as a PNG does, an image that is JSON.

    What is only unlikely stays as declared: it is for the parser to say what is wrong with it.
    """
    kind = base_type(declared)
    if not kind or kind in (UNKNOWN, "binary/octet-stream"):
        return detect(name, head, None)
    found = _by_magic(head)
    if found is None:
        if _has_magic(kind):
            return _by_text(head) or declared
        return declared
    if found == kind or _TEXTUAL.match(found) or _same_family(kind, found):
        return declared
    if _TEXTUAL.match(kind) or _has_magic(kind):
        by_name = _by_name(name)
        return by_name if by_name and _same_family(by_name, found) else found
    return declared


def _has_magic(kind: str) -> bool:
    """Whether every file of this type begins with bytes that are known."""
    known = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/tiff", "application/pdf", "application/gzip")
    return kind in known or bool(_ZIPPED.match(kind))


def _same_family(one: str, other: str) -> bool:
    """Whether files of both types may begin with the same bytes: documents that are zip archives, OLE documents."""
    if one == other:
        return True
    return any(family.match(one) and family.match(other) for family in (_ZIPPED, _OLE))


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
