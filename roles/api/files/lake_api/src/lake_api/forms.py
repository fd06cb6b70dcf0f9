# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""multipart/form-data as a stream of parts: nothing is held but the chunk at hand."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from .errors import ApiError, bad_request

_HOW = "send multipart/form-data with a part 'file' and, if you want, a part 'metadata' (JSON) before it"


@dataclass(frozen=True, slots=True)
class Part:
    """The head of one part; `filename` and `content_type` as the client gave them, or None."""

    name: str
    filename: str | None
    content_type: str | None


def boundary(content_type: str | None) -> bytes:
    """The boundary in a Content-Type header. ApiError 415 or 400."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise ApiError(415, "unsupported_media_type", f"the body is {content_type or 'of no type'}; {_HOW}")
    if not 1 <= len(options.get(b"boundary", b"")) <= 200:
        raise bad_request(f"the Content-Type has no usable boundary; {_HOW}", "invalid_form")
    return options[b"boundary"]


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _filename(raw: bytes) -> str | None:
    """The last component, without what browsers escape and without control characters; None when nothing is left."""
    name = _text(raw)
    for escape, character in (("%22", '"'), ("%0D", ""), ("%0A", ""), ("%0d", ""), ("%0a", "")):
        name = name.replace(escape, character)
    name = "".join(c for c in name.replace("\\", "/").rsplit("/", 1)[-1] if c.isprintable())
    return name or None


class FormReader:
    """Reads parts one after the other: `part()`, then its `chunks()`, until `part()` gives None."""

    def __init__(self, stream: AsyncIterator[bytes], boundary_: bytes) -> None:
        self._stream = stream
        self._seen: deque[Part | bytes | None] = deque()  # None ends a part
        self._headers: dict[str, str] = {}
        self._field = self._value = b""
        self._in_part = False
        self._finished = False
        self._parser = MultipartParser(
            boundary_,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": self._on_field,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_part_end": self._on_end,
                "on_end": self._on_finish,
            },
            max_header_count=16,
            max_header_size=8192,
        )

    async def part(self) -> Part | None:
        """The next part, or None after the last. Unread content of the part before is skipped."""
        while True:
            while self._seen:
                found = self._seen.popleft()
                if isinstance(found, Part):
                    self._in_part = True
                    return found
                if found is None:
                    self._in_part = False
            if not await self._more():
                return None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The content of the part at hand, from where it was left."""
        while self._in_part:
            while self._seen:
                found = self._seen.popleft()
                if found is None:
                    self._in_part = False
                    return
                if isinstance(found, bytes):
                    yield found
            await self._more()

    async def skip(self) -> None:
        """Take the rest of the body, whatever it is, and throw it away."""
        try:
            async for _ in self._stream:
                pass
        except ClientDisconnect:
            pass  # then nobody waits for an answer

    async def _more(self) -> bool:
        """Parse another piece of the body; False when the form is over. ApiError 400 for a body that is no form."""
        async for piece in self._stream:
            if not piece:
                continue
            try:
                self._parser.write(piece)
            except MultipartParseError as error:
                raise bad_request(f"the body is not a well-formed form ({error}); {_HOW}", "invalid_form") from None
            return True
        if not self._finished:
            raise bad_request("the body ends before its closing boundary; send the whole form again", "incomplete_body")
        return False

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        self._headers[self._field.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._field = self._value = b""

    def _on_headers(self) -> None:
        disposition, options = parse_options_header(self._headers.get("content-disposition"))
        if disposition != b"form-data" or b"name" not in options:
            raise bad_request(f"a part of the form has no name; {_HOW}", "invalid_form")
        filename = options.get(b"filename")
        self._seen.append(
            Part(
                name=_text(options[b"name"]),
                filename=_filename(filename) if filename else None,
                content_type=self._headers.get("content-type"),
            )
        )

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._seen.append(bytes(data[start:end]))

    def _on_end(self) -> None:
        self._seen.append(None)

    def _on_finish(self) -> None:
        self._finished = True


def unknown_part(name: str) -> ApiError:
    """400 for a part that is not known."""
    return bad_request(f"the form has a part {name[:60]!r} that is not known here; {_HOW}", "invalid_form")
