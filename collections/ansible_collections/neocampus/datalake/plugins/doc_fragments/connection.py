# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation of the options by which modules reach the lake's API (module_utils/connection.py has their spec)."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragment P(neocampus.datalake.connection)."""

    DOCUMENTATION = r"""
options:
  api_url:
    description:
      - Address of the lake's REST API.
      - If it is given neither here nor in the environment variable E(LAKE_API_URL), it is read from O(config_file).
        This goes for each of these options, with its own variable.
    type: str
  username:
    description:
      - Name of the user.
      - The environment variable is E(OS_USERNAME).
    type: str
  password:
    description:
      - Password of the user.
      - The environment variable is E(OS_PASSWORD).
    type: str
  project:
    description:
      - Name of the project that owns the container.
      - The environment variable is E(OS_PROJECT_NAME).
    type: str
  domain:
    description:
      - Name of the domain of the user and the project, where it is not the one that the API takes by itself.
      - The environment variable is E(OS_USER_DOMAIN_NAME).
    type: str
  ca_path:
    description:
      - File with the CA certificates that verify the API, on the target. Without it, the system's.
      - The environment variable is E(OS_CACERT).
    type: path
  config_file:
    description:
      - JSON file on the target, with any of the keys V(api_url), V(username), V(password), V(project), V(domain)
        and V(ca_path), for what is not given otherwise. It need not exist.
    type: path
    default: /etc/neocampus/client.json
attributes:
  action_group:
    description: Use C(group/neocampus.datalake.lake) in C(module_defaults) to set these options for all modules.
    support: full
    membership:
      - neocampus.datalake.lake
"""
