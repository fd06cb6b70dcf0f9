# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Swift has beside what the documents say: both are walked in the order of the objects' names, page by page.

Swift lists a container in the order of the names' UTF-8 bytes, MongoDB sorts texts so, and Python's order of texts, by
code points, is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from .documents import utc
from .errors import InvalidInput, StoreError, present
from .states import DELETED, LOST, PENDING, STORED
from .times import NS, parse_time

Left = TypeVar("Left")
Right = TypeVar("Right")

KINDS = {
    "no document": "objects that no document knows; they are put on the list of data to process",
    "changed": "objects that are newer than their document says; they are put on the list",
    "back": "objects that are in Swift, though their document says lost or deleted; they are put on the list",
    "lost": "objects that are not in Swift, though their document says stored; the document says so now",
    "unprocessed": "objects on which no operation was ever logged; they are put on the list",
    "pending": "objects that are in Swift, though their document is pending; they are put on the list",
    "never came": "objects that never came to Swift; their document, which is pending, says so now",
}
"""The ways in which Swift and the documents can disagree, and what is done about each."""


@dataclass(frozen=True)
class Listed:
    """An object in the listing of its container. `timestamp` is that of its last change, in the form that compares."""

    name: str
    etag: str
    size: int
    content_type: str
    timestamp: str

    @classmethod
    def from_listing(cls, item: Mapping[str, Any]) -> Listed:
        """The object of an item of a listing in JSON. Errors: StoreError, where it is none."""
        try:
            seconds, nanoseconds = divmod(parse_time(item["last_modified"]), NS)
            return cls(
                name=item["name"],
                etag=str(item.get("slo_etag") or item["hash"]).strip('"'),
                size=int(item["bytes"]),
                content_type=item["content_type"],
                timestamp=f"{seconds:010d}.{nanoseconds // 10_000:05d}",
            )
        except (InvalidInput, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"Swift lists something that is no object: {item!r:.200}") from error

    @property
    def modified(self) -> datetime:
        return datetime.fromtimestamp(float(self.timestamp), timezone.utc)


@dataclass(frozen=True)
class Finding:
    """One disagreement: its kind (of KINDS), the object as it is listed, its document; one of the two may be None."""

    kind: str
    name: str
    listed: Listed | None = None
    document: Mapping[str, Any] | None = None


@dataclass
class Page:
    """What a stretch of names has shown. `marker` is its last name, None at the end of both; `young` says how many are
    too new to be judged."""

    marker: str | None
    findings: list[Finding] = field(default_factory=list)
    objects: int = 0
    documents: int = 0
    young: int = 0


def merge(
    left: Iterable[Left],
    right: Iterable[Right],
    left_key: Callable[[Left], str],
    right_key: Callable[[Right], str],
) -> Iterator[tuple[Left | None, Right | None]]:
    """Pairs what has the same key in two sequences that are sorted by it; None stands for what one of them lacks."""
    lefts, rights = iter(left), iter(right)
    one, other = next(lefts, None), next(rights, None)
    while one is not None or other is not None:
        if other is None or (one is not None and left_key(one) < right_key(other)):
            yield one, None
            one = next(lefts, None)
        elif one is None or right_key(other) < left_key(one):
            yield None, other
            other = next(rights, None)
        else:
            yield one, other
            one, other = next(lefts, None), next(rights, None)


def compare(
    listing: Sequence[Listed],
    documents: Sequence[Mapping[str, Any]],
    *,
    limit: int,
    now: datetime,
    grace: timedelta,
    pending: timedelta,
) -> Page:
    """Compares a page of a container's listing with the documents from the same name on, at most `limit`, and none
    after the listing's last name; the end is known by an empty listing.

    What changed within `grace` is not judged, since its event may be under way; nor is a document that is pending for
    less than `pending`.
    """
    ends = [listing[-1].name] if listing else []
    if len(documents) >= limit:
        ends.append(_name(documents[-1]))
    page = Page(min(ends) if ends else None)
    for listed, document in merge(listing, documents, lambda listed: listed.name, _name):
        name = listed.name if listed is not None else _name(document or {})
        if page.marker is not None and name > page.marker:
            break
        page.objects += listed is not None
        page.documents += document is not None
        kind = classify(listed, document)
        if kind is None:
            continue
        if _is_young(kind, listed, document, now, grace, pending):
            page.young += 1
        else:
            page.findings.append(Finding(kind, name, listed, document))
    return page


def classify(listed: Listed | None, document: Mapping[str, Any] | None) -> str | None:
    """How an object and its document disagree, whatever their age (see KINDS); None where they don't."""
    if document is None:
        return "no document" if listed is not None else None
    status = document["status"]
    if listed is None:
        # A pending document without object is looked into by itself: nothing but its age tells of an upload under way.
        return "lost" if status == STORED else None
    if status == PENDING:
        return "pending"
    if status == LOST:
        return "back"
    newer = listed.timestamp > (document.get("swift_timestamp") or "")
    if status == DELETED:
        return "back" if newer else None  # else the listing has not heard of the removal yet
    if newer and document.get("swift_timestamp") and listed.etag != document.get("etag"):
        return "changed"
    return None


def _is_young(
    kind: str,
    listed: Listed | None,
    document: Mapping[str, Any] | None,
    now: datetime,
    grace: timedelta,
    pending: timedelta,
) -> bool:
    if kind == "pending":
        return bool(utc(present(document)["creation_date"]) > now - pending)
    if listed is not None:
        return listed.modified > now - grace
    known = present(document)
    return max(utc(known["creation_date"]), utc(known["last_modified"])) > now - grace


def _name(document: Mapping[str, Any]) -> str:
    return str(document["swift_object_name"])


def to_payload(finding: Finding, project_id: str, container: str) -> dict[str, Any]:
    """The entry of the list of data to process that has the finding's object processed: the event that got lost."""
    document, listed = finding.document or {}, finding.listed
    payload = {
        "swift_id": finding.name,
        "swift_container": container,
        "swift_user": document.get("swift_user", ""),
        "content_type": listed.content_type if listed else document.get("content_type", ""),
        "project_id": project_id,
    }
    if listed:
        payload.update(size=listed.size, etag=listed.etag, timestamp=listed.timestamp)
    return payload


def is_due(state: Mapping[str, Any] | None, seen: Mapping[str, Any], *, now: datetime, every: timedelta) -> bool:
    """Whether a container has to be walked: it never was to the end, something that is cheap to see (`seen`: how many
    objects, documents, …) is not as it was when the last walk began, or that walk is longer ago than `every`."""
    if state is None or not state.get("finished") or state.get("seen") != seen:
        return True
    return bool(utc(state["finished"]) <= now - every)
