# Copyright (c) neOCampus data lake contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts of services, each of which is two that take turns."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: accounts
short_description: Accounts of services, each of which is two that take turns
version_added: 0.2.0
author: neOCampus data lake contributors (!UNKNOWN)
description:
  - A server that knows one password for an account can't change it without a moment in which the account's users fail.
    An account is therefore two, C(name) and C(name_b), of which one exists, and both while a secret is rotated.
  - This filter says which of the two is in use, and which exist with what password.
positional: passwords, second, besides
options:
  _input:
    description: Name of the first account by the name of its secret.
    type: dict
    required: true
  passwords:
    description: Password of the account that is in use, by the name of the secret.
    type: dict
    required: true
  second:
    description: Names of the secrets whose second account is in use.
    type: list
    elements: str
    default: []
  besides:
    description: Password of the account that is not in use, by the name of the secret. One without is absent.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Who logs in to the metadata
  ansible.builtin.debug:
    msg: "{{ {'secret_api': 'api'} | neocampus.datalake.accounts({'secret_api': 'old'}, [], {'secret_api': 'new'}) }}"
"""

RETURN = r"""
_value:
  description:
    - By the name of the secret, C(name) of the account in use, C(names) of those that exist, the one in use first,
      C(first) and C(second), each with C(name), C(state) and, where it is C(present), C(password), and C(all), both of
      these, the one in use first.
  type: dict
"""

SUFFIX = "_b"


def _entry(name, password):
    if password is None:
        return {"name": name, "state": "absent"}
    return {"name": name, "state": "present", "password": password}


def accounts(names, passwords, second=(), besides=None):
    """Both accounts of each secret of NAMES; AnsibleFilterError where one has no password."""
    found = {}
    for secret, name in names.items():
        if not passwords.get(secret):
            raise AnsibleFilterError(f"the account {name!r} has no password: {secret} is missing")
        used, other = (name + SUFFIX, name) if secret in second else (name, name + SUFFIX)
        both = [_entry(used, passwords[secret]), _entry(other, (besides or {}).get(secret))]
        by_name = {entry["name"]: entry for entry in both}
        found[secret] = {
            "name": used,
            "names": [entry["name"] for entry in both if entry["state"] == "present"],
            "first": by_name[name],
            "second": by_name[name + SUFFIX],
            "all": both,
        }
    return found


class FilterModule:
    """The filter, for Ansible."""

    def filters(self):
        """Name and function."""
        return {"accounts": accounts}
