# Copyright (c) neOCampus data lake contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The next stage of a rotation of secrets."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: secret_rotation
short_description: The next stage of a rotation of secrets
version_added: 0.2.0
author: neOCampus data lake contributors (!UNKNOWN)
description:
  - A rotation has three stages, and all that one needs to go on with it, or to leave it where it is, is in the file of
    secrets itself.
  - V(both), the servers take the new value besides the old one, which is in use. V(use), the new one is in use, and the
    servers still take the old one. V(drop), there is only the new one. After that there is no rotation.
  - Each stage is in force as soon as the lake is what the file says. Going from one to the next is this filter.
positional: new, accounts
options:
  _input:
    description: Content of the file of secrets.
    type: dict
    required: true
  new:
    description: New values by name, for a rotation that begins. Ignored while one is under way.
    type: dict
    default: {}
  accounts:
    description: Names of the secrets that are passwords of accounts that take turns.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Begin
  ansible.builtin.debug:
    msg: "{{ {'a': 'old'} | neocampus.datalake.secret_rotation({'a': 'new'}) }}"
"""

RETURN = r"""
_value:
  description: Content of the file of secrets in the next stage.
  type: dict
"""

STAGES = ("both", "use", "drop")


def _begin(secrets, new):
    missing = sorted(set(new) - set(secrets))
    if missing:
        raise AnsibleFilterError(f"there is no secret {', '.join(missing)} to rotate: the file of secrets lacks it")
    if not new:
        raise AnsibleFilterError("there is nothing to rotate: name at least one secret")
    if any(new[name] == secrets[name] for name in new):
        raise AnsibleFilterError("a new value is the old one")
    rotation = {"stage": STAGES[0], "secrets": sorted(new)}
    return {**secrets, "lake_secrets_besides": dict(new), "lake_rotation": rotation}


def _exchange(secrets, rotation, accounts):
    names, besides = rotation["secrets"], secrets["lake_secrets_besides"]
    turned = {name for name in names if name in accounts}
    return {
        **secrets,
        **{name: besides[name] for name in names},
        "lake_secrets_besides": {name: secrets[name] for name in names},
        "lake_secrets_second": sorted(set(secrets.get("lake_secrets_second", [])) ^ turned),
        "lake_rotation": {**rotation, "stage": "use"},
    }


def secret_rotation(secrets, new=None, accounts=()):
    """The file's content in the stage after the one that SECRETS is in; AnsibleFilterError where there is none."""
    rotation = secrets.get("lake_rotation") or {}
    stage = rotation.get("stage", "")
    if not stage:
        return _begin(secrets, new or {})
    if stage == "both":
        return _exchange(secrets, rotation, accounts)
    if stage == "use":
        return {**secrets, "lake_secrets_besides": {}, "lake_rotation": {**rotation, "stage": "drop"}}
    if stage == "drop":
        return {**secrets, "lake_rotation": {"stage": "", "secrets": []}}
    raise AnsibleFilterError(f"the file of secrets says of a rotation stage {stage!r}, which is none of {STAGES}")


class FilterModule:
    """The filter, for Ansible."""

    def filters(self):
        """Name and function."""
        return {"secret_rotation": secret_rotation}
