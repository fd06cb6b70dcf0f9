# Copyright (c) neOCampus data lake contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hash of a source tree."""

from __future__ import annotations

import fnmatch
import hashlib
import os

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: tree_hash
short_description: Hash the names and contents of a folder's files
version_added: 0.1.0
author: neOCampus data lake contributors (!UNKNOWN)
description:
  - Gives a SHA-256 over the relative names and the contents of all files below a folder, or of one file, so that a
    change anywhere shows.
  - What tools leave behind (caches, build output, C(.git)) does not count.
positional: exclude
options:
  _input:
    description: Folder or file on the controller.
    type: path
    required: true
  exclude:
    description: Names of files and folders that do not count either, as shell patterns.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: A name that changes with the source
  ansible.builtin.debug:
    msg: "{{ role_path ~ '/files/lake_api' | neocampus.datalake.tree_hash }}"
"""

RETURN = r"""
_value:
  description: The hash, 64 hexadecimal digits.
  type: str
"""

LEFT_OUT = ("__pycache__", "*.pyc", ".git", "build", "dist", "*.egg-info", "node_modules", ".venv", ".*_cache")


def tree_hash(path, exclude=()):
    """SHA-256 of all files below PATH; AnsibleFilterError where it does not exist."""
    if not os.path.exists(path):
        raise AnsibleFilterError(f"{path} does not exist")
    patterns = [*LEFT_OUT, *exclude]

    def counts(name):
        return not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)

    digest = hashlib.sha256()

    def add(name, file):
        with open(file, "rb") as stream:
            content = stream.read()
        digest.update(f"{len(name)}:{name}:{len(content)}:".encode() + content)

    if os.path.isfile(path):
        add(os.path.basename(path), path)
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(filter(counts, folders))
        for name in sorted(filter(counts, files)):
            file = os.path.join(folder, name)
            add(os.path.relpath(file, path), file)
    return digest.hexdigest()


class FilterModule:
    """The filter, for Ansible."""

    def filters(self):
        """Name and function."""
        return {"tree_hash": tree_hash}
