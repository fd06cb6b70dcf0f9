#!/usr/bin/python
# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Inserts an object in the lake, unless it is there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lake_object
short_description: Insert an object in the data lake
version_added: 0.1.0
author:
  - neOCampus data lake contributors (@neocampus)
description:
  - Inserts a file, or a text, with its metadata in a container of the lake, through the REST API.
  - The container is made if the user may do that.
  - Nothing is inserted if the container has an object of the same name and the same content already.
    Objects are never changed. With other content, or with O(force), there is a new object beside the old one.
extends_documentation_fragment:
  - neocampus.datalake.connection
attributes:
  check_mode:
    description: Can run in C(check_mode) and say whether it would insert the object.
    support: full
  diff_mode:
    description: Returns what has changed in C(diff_mode).
    support: none
  idempotent:
    description: When run twice in a row, the second run does not change anything.
    support: partial
    details:
      - With O(force=true) each run inserts a new object.
      - Metadata is given when an object is inserted. That of an object which is there already is left as it is.
options:
  container:
    description: Container for the object.
    type: str
    required: true
  src:
    description:
      - File to insert, on the target host. It is read as a stream, whatever its size.
      - One of O(src) and O(content) is needed.
    type: path
  content:
    description: Text to insert in place of a file. It needs O(name).
    type: str
  name:
    description: Original name of the object. If it is not given, the name of the file.
    type: str
  metadata:
    description:
      - Fields of the metadata document that a user may set, which are V(application), V(content_type),
        V(data_processing), V(original_object_name), V(other_data), V(processed_data_area_service) and V(swift_user).
      - Also V(model), the label of the metadata model that V(other_data) follows.
    type: dict
    default: {}
  content_type:
    description: MIME type of the object. If it is not given, the lake finds out.
    type: str
  state:
    description: The object is in the container.
    type: str
    choices: [present]
    default: present
  force:
    description: Insert the object even if it is there already.
    type: bool
    default: false
  wait:
    description:
      - Wait until the object has been processed. It is an error if that fails, whether now or, for an object that
        was there already, before.
    type: bool
    default: false
  wait_timeout:
    description: How long to wait, in seconds.
    type: int
    default: 120
seealso:
  - module: neocampus.datalake.lake_object_info
"""

EXAMPLES = r"""
- name: Insert a file of sensor messages and wait until its points can be read
  neocampus.datalake.lake_object:
    container: campus
    src: /srv/export/messages.json
    metadata:
      application: energy monitoring
      other_data:
        campaign: summer 2021
    wait: true

- name: Insert a text
  neocampus.datalake.lake_object:
    container: campus
    name: note.txt
    content: Sensors of room 302 were replaced.
"""

RETURN = r"""
object:
  description: Metadata document of the object. In check mode, of an object that is not there, only what is known of it.
  returned: success
  type: dict
  sample:
    content_type: application/json
    original_object_name: messages.json
    swift_container: campus
    swift_object_id: "17"
"""

import hashlib
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.connection import argument_spec, connect
from ..module_utils.lake.client import LakeClient
from ..module_utils.lake.documents import check_container_name
from ..module_utils.lake.errors import InvalidInput, LakeError, NotFound
from ..module_utils.lake.models import insertion_metadata


def digest_of(path: str) -> tuple[int, str]:
    """Size in bytes and MD5 (Swift's etag) of a file."""
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    try:
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(1024 * 1024), b""):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise InvalidInput(f"src: {path} cannot be read on this host: {error.strerror}") from error
    return size, digest.hexdigest()


def find(client: LakeClient, container: str, name: str, size: int, etag: str) -> dict[str, Any] | None:
    """The newest object of that name and content in the container."""
    found = None
    try:
        for document in client.list(container):
            same = document.get("original_object_name") == name and document.get("size") == size
            if same and document.get("etag") == etag:
                found = document
    except NotFound:  # no such container yet
        return None
    return found


def check_processed(document: dict[str, Any]) -> None:
    """Raises LakeError where nothing but failures are logged on the document."""
    if document.get("failed_operations") and not document.get("successful_operations"):
        said = document["failed_operations"][-1].get("message")
        raise LakeError(f"object {document['swift_object_id']} is stored, but processing it failed: {said}")


def run(params: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Makes what the parameters describe; the module's result. Errors: LakeError."""
    container = check_container_name(params["container"])
    metadata = insertion_metadata(params["metadata"])
    if "model" in metadata:
        metadata["model"] = params["metadata"]["model"]
    source = params["src"]
    if source is None:
        content = params["content"].encode()
        size, etag = len(content), hashlib.md5(content, usedforsecurity=False).hexdigest()
    else:
        size, etag = digest_of(source)
        content = source
    name = params["name"] or os.path.basename(source)
    # What the document will have: a user's metadata overrides it.
    original_name = metadata.get("original_object_name", name)

    client = connect(params)
    document = None if params["force"] else find(client, container, original_name, size, etag)
    changed = document is None
    if document is None:
        if check_mode:
            known = {"swift_container": container, "original_object_name": original_name, "size": size, "etag": etag}
            return {"changed": True, "object": {**metadata, **known}}
        document = client.insert(container, content, metadata, params["content_type"], name=name)
    if params["wait"] and not check_mode:
        document = client.wait_processed(container, document["swift_object_id"], params["wait_timeout"])
        check_processed(document)
    return {"changed": changed, "object": document}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **argument_spec(),
            "container": {"type": "str", "required": True},
            "src": {"type": "path"},
            "content": {"type": "str"},
            "name": {"type": "str"},
            "metadata": {"type": "dict", "default": {}},
            "content_type": {"type": "str"},
            "state": {"type": "str", "choices": ["present"], "default": "present"},
            "force": {"type": "bool", "default": False},
            "wait": {"type": "bool", "default": False},
            "wait_timeout": {"type": "int", "default": 120},
        },
        required_one_of=[("src", "content")],
        mutually_exclusive=[("src", "content")],
        required_by={"content": "name"},
        supports_check_mode=True,
    )
    try:
        result = run(module.params, module.check_mode)
    except LakeError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
