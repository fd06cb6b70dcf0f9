# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Which documents are meant: what lists, archives and searches have in common."""

from __future__ import annotations

from typing import Any, Literal

from neocampus_lake.catalogue import Wanted
from pydantic import BaseModel, Field

from .. import paging

Status = Literal["pending", "stored", "deleted", "lost", "any"]


class Filters(paging.Span):
    """What is given has to hold together; times are those of creation."""

    content_type: str | None = Field(
        default=None, min_length=1, max_length=255, description="A type, or a class as `image/*`."
    )
    application: str | None = Field(default=None, min_length=1, max_length=1024)
    user: str | None = Field(default=None, min_length=1, max_length=1024, description="`swift_user`.")
    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="A part of the original name, whatever its case; `name*`: what it begins with, as it is written.",
    )
    status: Status | None = Field(
        default=None, description="All but deleted ones where it is left out; `any`: these too."
    )
    data_processing: Literal["default", "custom"] | None = None
    processing: Literal["processed", "failed", "waiting"] | None = Field(
        default=None, description="How the last operation ended; `waiting`: there was none yet."
    )

    def wanted(self, **more: Any) -> Wanted:
        """As the library takes it."""
        return Wanted(
            content_type=self.content_type,
            start=None if self.start is None else paging.moment(self.start),
            end=None if self.end is None else paging.moment(self.end),
            application=self.application,
            user=self.user,
            name=self.name,
            status=self.status,
            data_processing=self.data_processing,
            processing=self.processing,
            **more,
        )


class Chosen(BaseModel):
    """How a list of documents is shown."""

    order: Literal["oldest", "newest"] = Field(default="oldest", description="By id, which grows with time.")
    fields: str | None = Field(
        default=None,
        max_length=2000,
        description="Only these fields, with commas between; with dots below `other_data`. The id is there, too.",
    )

    def names(self) -> tuple[str, ...]:
        """The fields that are wanted; none: all."""
        return tuple(name.strip() for name in (self.fields or "").split(",") if name.strip())
