#!/usr/bin/python
# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Reads metadata documents of the lake, and what its time series hold."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lake_object_info
short_description: Read what the data lake knows of its objects
version_added: 0.1.0
author:
  - neOCampus data lake contributors (@neocampus)
description:
  - Returns the metadata documents of objects in a container of the lake, through the REST API.
  - Returns what the container's time series hold, if asked.
extends_documentation_fragment:
  - neocampus.datalake.connection
attributes:
  check_mode:
    description: Can run in C(check_mode). The module only reads.
    support: full
  diff_mode:
    description: Returns what has changed in C(diff_mode).
    support: none
  idempotent:
    description: When run twice in a row, the second run does not change anything.
    support: full
options:
  container:
    description: Container of the objects.
    type: str
    required: true
  object_id:
    description:
      - Id of the one object that is wanted.
      - If it is not given, all of the container's that meet the other options are.
    type: str
  content_type:
    description: Only objects of this MIME type.
    type: str
  created_from:
    description: Only objects that were made at this time or after, in ISO 8601.
    type: str
  created_to:
    description: Only objects that were made before this time, in ISO 8601.
    type: str
  limit:
    description: At most this many objects, those with the lowest ids first.
    type: int
  timeseries:
    description: Count the points of each measurement and topic of the container. This reads all of them.
    type: bool
    default: false
  points_from:
    description: Only points at this time or after, in ISO 8601.
    type: str
  points_to:
    description: Only points before this time, in ISO 8601.
    type: str
seealso:
  - module: neocampus.datalake.lake_object
"""

EXAMPLES = r"""
- name: Read the document of one object
  neocampus.datalake.lake_object_info:
    container: campus
    object_id: "17"
  register: found

- name: List the JSON objects of a day, and count the points of that day
  neocampus.datalake.lake_object_info:
    container: campus
    content_type: application/json
    created_from: "2021-07-22T00:00:00Z"
    created_to: "2021-07-23T00:00:00Z"
    timeseries: true
    points_from: "2021-07-22T00:00:00Z"
    points_to: "2021-07-23T00:00:00Z"
"""

RETURN = r"""
objects:
  description: Metadata documents, in the order of their ids.
  returned: success
  type: list
  elements: dict
  sample:
    - content_type: application/json
      original_object_name: messages.json
      swift_container: campus
      swift_object_id: "17"
timeseries:
  description: What each measurement and topic of the container holds.
  returned: if O(timeseries=true)
  type: list
  elements: dict
  contains:
    measurement:
      description: Name of the measurement.
      type: str
    topic:
      description: The topic.
      type: str
    count:
      description: Number of points.
      type: int
    first:
      description: Time of the first point, in ISO 8601.
      type: str
    last:
      description: Time of the last point, in ISO 8601.
      type: str
"""

from itertools import islice
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.connection import argument_spec, connect
from ..module_utils.lake.client import LakeClient
from ..module_utils.lake.documents import check_container_name, check_object_id
from ..module_utils.lake.errors import LakeError


def count_points(client: LakeClient, container: str, start: str | None, end: str | None) -> list[dict[str, Any]]:
    """What each measurement and topic holds between the times."""
    found = []
    for measurement in client.measurements(container):
        for topic in client.topics(container, measurement):
            count, first, last = 0, None, None
            for point in client.points(container, measurement, topic, start=start, end=end):
                count += 1
                first, last = first or point["time"], point["time"]
            if count:
                found.append({"measurement": measurement, "topic": topic, "count": count, "first": first, "last": last})
    return found


def run(params: dict[str, Any]) -> dict[str, Any]:
    """Reads what the parameters describe; the module's result. Errors: LakeError."""
    container = check_container_name(params["container"])
    if params["object_id"] is not None:
        check_object_id(params["object_id"])
    client = connect(params)
    if params["object_id"] is not None:
        objects = [client.get(container, params["object_id"])]
    else:
        documents = client.list(
            container,
            content_type=params["content_type"],
            start=params["created_from"],
            end=params["created_to"],
        )
        objects = list(islice(documents, params["limit"]))
    result: dict[str, Any] = {"changed": False, "objects": objects}
    if params["timeseries"]:
        result["timeseries"] = count_points(client, container, params["points_from"], params["points_to"])
    return result


def main() -> None:
    filters = ("content_type", "created_from", "created_to", "limit")
    module = AnsibleModule(
        argument_spec={
            **argument_spec(),
            "container": {"type": "str", "required": True},
            "object_id": {"type": "str"},
            "content_type": {"type": "str"},
            "created_from": {"type": "str"},
            "created_to": {"type": "str"},
            "limit": {"type": "int"},
            "timeseries": {"type": "bool", "default": False},
            "points_from": {"type": "str"},
            "points_to": {"type": "str"},
        },
        mutually_exclusive=[("object_id", name) for name in filters],
        supports_check_mode=True,
    )
    if module.params["limit"] is not None and module.params["limit"] < 1:
        module.fail_json(msg="limit: at least 1 is expected")
    try:
        result = run(module.params)
    except LakeError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
