#!/usr/bin/python
# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Lists the pipelines that are in force on a host of the lake."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lake_pipeline_info
short_description: Pipelines in force on a host of the data lake
version_added: 0.1.0
author:
  - neOCampus data lake contributors (@neocampus)
description:
  - Lists the pipelines that are in force on a host, those of the library and those of projects, and says of each
    whether it can be run.
options:
  root:
    description: Folder of the host's pipelines.
    type: path
    default: /opt/neocampus/pipelines
  tool:
    description: The command C(lake-pipelines) of the environment that the host's part of the lake runs in.
    type: path
    default: /opt/neocampus/airflow/bin/lake-pipelines
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
seealso:
  - module: neocampus.datalake.lake_pipeline
"""

EXAMPLES = r"""
- name: Which pipelines are in force?
  neocampus.datalake.lake_pipeline_info:
  register: found

- name: All of them can be run
  ansible.builtin.assert:
    that: found.pipelines | selectattr('problem', 'defined') | selectattr('problem') | length == 0
"""

RETURN = r"""
pipelines:
  description: The pipelines, those of the library first.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the pipeline.
      type: str
    version:
      description: Its version.
      type: str
    description:
      description: What it is for.
      type: str
    match:
      description: Patterns by what they are compared with.
      type: dict
    weight:
      description: V(light) or V(heavy).
      type: str
    steps:
      description: Names of the functions of its steps.
      type: list
      elements: str
    sinks:
      description: Where its records go.
      type: list
      elements: str
    source:
      description: V(built-in) or V(project).
      type: str
    package:
      description: A project's package, by name and hash.
      type: dict
    managed_by:
      description: Who looks after a project's pipeline.
      type: str
    deployed:
      description: When it came into force, in ISO 8601.
      type: str
    problem:
      description: Why a project's pipeline cannot be run.
      type: str
"""

import json

from ansible.module_utils.basic import AnsibleModule


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "default": "/opt/neocampus/pipelines"},
            "tool": {"type": "path", "default": "/opt/neocampus/airflow/bin/lake-pipelines"},
        },
        supports_check_mode=True,
    )
    command = [module.params["tool"], "--root", module.params["root"], "list", "--json"]
    code, output, errors = module.run_command(command)
    if code != 0:
        module.fail_json(msg=errors.strip() or f"{module.params['tool']} failed with status {code}")
    try:
        pipelines = json.loads(output)["pipelines"]
    except (ValueError, KeyError, TypeError):
        module.fail_json(msg=f"{module.params['tool']} said nothing of use: {output[:500]}")
    module.exit_json(changed=False, pipelines=pipelines)


if __name__ == "__main__":
    main()
