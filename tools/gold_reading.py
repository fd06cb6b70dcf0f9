# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of an object, read back from each store of gold through the API; for the demonstration and the tests."""

from __future__ import annotations

from collections.abc import Mapping

from neocampus_lake.client import LakeClient


class Reading:
    """What the API gives of one object, whatever else is in its container. `names` are those of objects, by id, that
    images are looked for among; `patience` is how long members of an archive may take to be processed (seconds)."""

    def __init__(
        self,
        api: LakeClient,
        container: str,
        object_id: str,
        names: Mapping[str, str] | None = None,
        patience: float = 180.0,
    ) -> None:
        self.api, self.container, self.object_id = api, container, object_id
        self.names, self.patience = names or {}, patience

    def points(self) -> int:
        """Number of its points: those that no object put later has made its own."""
        return sum(
            1
            for measurement in self.api.measurements(self.container)
            for point in self.api.points(self.container, measurement, origin=True, page=10_000)
            if (point["lake_origin"] or {}).get("object") == self.object_id
        )

    def rows(self) -> dict[str, int]:
        """Numbers of its rows, by table."""
        found = {}
        for table in self.api.tables(self.container):
            count = sum(1 for _ in self.api.rows(self.container, table, object_id=self.object_id))
            if count and not table.endswith("_current"):
                found[table] = count
        return found

    def current(self) -> int:
        """Rows of the present state of the container's tables with a key, of whatever object."""
        tables = (self.api.table(self.container, name)["current"] for name in self.api.tables(self.container))
        return sum(1 for table in tables if table for _ in self.api.rows(self.container, table))

    def documents(self) -> int:
        """Number of its documents."""
        return sum(1 for _ in self.api.documents(self.container, object_id=self.object_id))

    def files(self) -> list[str]:
        """Names of the files that were made of it."""
        return sorted(file["name"] for file in self.api.files(self.container, object_id=self.object_id))

    def shows(self) -> list[str]:
        """What the graph says that the image shows, and finds the image by."""
        names = sorted(known["name"] for known in self.api.image(self.container, self.object_id)["objects"])
        shown = {known["name"] for known in self.api.shown_objects(self.container)}
        return [name for name in names if name in shown and self.object_id in self._showing(name)]

    def _showing(self, name: str) -> set[str]:
        return {image["object_id"] for image in self.api.images(self.container, name)}

    def like(self) -> list[str]:
        """Those of `names` that the graph has as its near-duplicates."""
        near = (image["object_id"] for image in self.api.similar(self.container, self.object_id))
        return sorted(self.names[one] for one in near if one in self.names)

    def members(self) -> dict[str, int]:
        """Numbers of points of the objects that its members became, by their path in it."""
        found = {}
        for document in self.api.list(self.container):
            archive = document["other_data"].get("archive", {})
            if archive.get("object") == self.object_id:
                member = document["swift_object_id"]
                self.api.wait_processed(self.container, member, self.patience)
                found[archive["path"]] = Reading(self.api, self.container, member).points()
        return found

    def stores(self) -> list[str]:
        """Stores that its operations say it is in."""
        return sorted(place["store"] for place in self.api.gold(self.container, self.object_id))

    def raw(self) -> bytes:
        """Its bytes."""
        with self.api.data(self.container, self.object_id) as stream:
            return stream.read()
