# Copyright (c) neOCampus data lake contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names a source project by what its wheel is made of."""

from __future__ import annotations

import hashlib
import os

from ansible.errors import AnsibleFilterError
from ansible_collections.neocampus.datalake.plugins.filter.tree_hash import tree_hash

DOCUMENTATION = r"""
name: project_key
short_description: Name a Python source project by what its wheel is made of
version_added: 0.1.0
author: neOCampus data lake contributors (!UNKNOWN)
description:
  - Gives C(<folder>-<hash>), with a hash over the names and contents of the project's sources, so that a wheel is
    built again only when something that it is made of has changed.
positional: sources
options:
  _input:
    description: Folder of the project, on the controller.
    type: path
    required: true
  sources:
    description: What the wheel of a project is made of, by project, where that is less than its whole folder.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Where the wheel of the library is kept
  ansible.builtin.debug:
    msg: "{{ lake_root | neocampus.datalake.project_key({lake_root: [lake_root ~ '/pyproject.toml']}) }}"
"""

RETURN = r"""
_value:
  description: Name of the project with the hash of its sources, 16 hexadecimal digits.
  type: str
"""


def project_key(project, sources=None):
    """C(<folder>-<hash>) of PROJECT; AnsibleFilterError where a source does not exist."""
    parts = (sources or {}).get(project) or [project]
    digest = hashlib.sha256()
    for part in parts:
        if not os.path.exists(part):
            raise AnsibleFilterError(f"{part} does not exist: the sources of {project} are named wrongly")
        digest.update(tree_hash(part).encode())
    return f"{os.path.basename(os.path.normpath(project))}-{digest.hexdigest()[:16]}"


class FilterModule:
    """The filter, for Ansible."""

    def filters(self):
        """Name and function."""
        return {"project_key": project_key}
