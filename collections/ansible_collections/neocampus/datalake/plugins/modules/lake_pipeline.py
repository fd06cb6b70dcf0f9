#!/usr/bin/python
# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Brings a project's pipeline into force on a host of the lake, or takes it out of force."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lake_pipeline
short_description: Project's pipeline in force on a host of the data lake
version_added: 0.1.0
author:
  - neOCampus data lake contributors (@neocampus)
description:
  - Brings a project's pipeline into force on a host that runs the lake's workflows, or takes it out of force.
  - The declaration is checked on the host, together with the pipelines that are in force there. A project's own code is
    installed in an environment of its own and loaded there, by a user without rights. Only when all of that went well
    the pipeline comes into force, at once; a wrong one is refused, with every problem, and everything stays as it was.
  - Where the declaration, the package or its requirements changed, the version has to be raised; the description may
    change without.
  - Run it on every worker, since each of them processes objects, and with O(environment=false) on the hosts of the REST
    API, so that it knows of the pipeline.
options:
  src:
    description:
      - File of the declaration on the host; YAML, or JSON where its name ends in C(.json).
      - Required if O(state=present).
    type: path
  name:
    description:
      - Name of the pipeline. Required if O(state=absent).
      - If O(state=present), the declaration has to have this name, where it is given.
    type: str
  package:
    description:
      - Package with the functions of the pipeline's steps; a wheel's file on the host, or C(name==version), which then
        has to be in O(requirements).
      - If it is not given, the steps are the library's own.
      - If O(environment=false), any text that names it.
    type: str
  requirements:
    description:
      - Lock with hashes of what the package needs; a file on the host. All of it is installed from wheels.
    type: path
  environment:
    description: Whether the host runs the pipeline. If not, it only knows of it, and nothing is installed.
    type: bool
    default: true
  replaces:
    description:
      - Names of pipelines that are to go. They do not stand in the way, and those that could not be in force beside
        this one go when it comes.
    type: list
    elements: str
    default: []
  managed_by:
    description: Who looks after the pipeline; what the roles of the lake deployed has V(inventory).
    type: str
    default: lake_pipeline
  root:
    description: Folder of the host's pipelines.
    type: path
    default: /opt/neocampus/pipelines
  tool:
    description: The command C(lake-pipelines) of the environment that the host's part of the lake runs in.
    type: path
    default: /opt/neocampus/airflow/bin/lake-pipelines
  state:
    description: Whether the pipeline is in force.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description:
      - Can run in C(check_mode) and return changed status prediction without modifying target.
      - No environment is made then, so that what only it would show is not seen.
    support: full
  diff_mode:
    description: Returns the declaration before and after, with the package.
    support: full
  idempotent:
    description: When run twice in a row, the second run does not change anything.
    support: full
seealso:
  - module: neocampus.datalake.lake_pipeline_info
"""

EXAMPLES = r"""
- name: Have the stations' files processed by the project's own code
  neocampus.datalake.lake_pipeline:
    src: /srv/pipelines/METEO_alice_station.yml
    package: /srv/pipelines/meteo_station-1.0-py3-none-any.whl
    requirements: /srv/pipelines/requirements.txt

- name: Have the REST API know of it
  neocampus.datalake.lake_pipeline:
    src: /srv/pipelines/METEO_alice_station.yml
    package: meteo_station
    environment: false
    root: /opt/neocampus/api-pipelines
    tool: /opt/neocampus/api/bin/lake-pipelines

- name: Take it out of force
  neocampus.datalake.lake_pipeline:
    name: METEO_alice_station
    state: absent
"""

RETURN = r"""
pipeline:
  description: The pipeline in short; its name alone if O(state=absent).
  returned: success
  type: dict
  sample:
    name: METEO_alice_station
    version: "1"
    sinks: [influxdb]
removed:
  description: Names of the pipelines in O(replaces) that went when this one came.
  returned: success
  type: list
  elements: str
problems:
  description: Everything that is wrong, each with file, line and column where it has such.
  returned: when it is refused
  type: list
  elements: str
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule


def request_of(params: dict[str, Any], check_mode: bool) -> tuple[list[str], dict[str, Any] | None]:
    """The tool's arguments, and what it is given on standard input."""
    command = [params["tool"], "--root", params["root"]]
    if params["state"] == "absent":
        return [*command, "remove", params["name"], *(["--check"] if check_mode else [])], None
    keys = ("package", "requirements", "environment", "replaces", "managed_by", "name")
    request = {"declaration": params["src"], "check_mode": check_mode, **{key: params[key] for key in keys}}
    return [*command, "apply"], request


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path"},
            "name": {"type": "str"},
            "package": {"type": "str"},
            "requirements": {"type": "path"},
            "environment": {"type": "bool", "default": True},
            "replaces": {"type": "list", "elements": "str", "default": []},
            "managed_by": {"type": "str", "default": "lake_pipeline"},
            "root": {"type": "path", "default": "/opt/neocampus/pipelines"},
            "tool": {"type": "path", "default": "/opt/neocampus/airflow/bin/lake-pipelines"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["src"]), ("state", "absent", ["name"])],
        supports_check_mode=True,
    )
    command, request = request_of(module.params, module.check_mode)
    code, output, errors = module.run_command(command, data=None if request is None else json.dumps(request))
    if code != 0:
        problems = [line for line in errors.splitlines() if line.strip()]
        module.fail_json(msg=f"the pipeline is refused: {errors.strip()}", problems=problems)
    try:
        said = json.loads(output)
        result = {key: said[key] for key in ("changed", "diff", "pipeline", "removed")}
    except (ValueError, KeyError, TypeError):
        module.fail_json(msg=f"{module.params['tool']} said nothing of use: {output[:500]}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
