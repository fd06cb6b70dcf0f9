# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that every role's argument specification says what its defaults say.

Each default has an option of the same name with the same default value, and each option without a default in
`defaults/main.yml` is required or optional by its own word. Every role has a README, and `playbooks/arguments.yml`
checks its arguments before a deployment changes anything.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
ROLES = ROOT / "roles"
CALLED_BY_ROLES = {"python_app"}
"""Roles that only other roles call, with arguments of their own."""


def drift(role: Path) -> list[str]:
    """What differs between ROLE's defaults and its argument specification, a sentence each."""
    found = [
        f"{role.name}: no {name}" for name in ("README.md", "meta/argument_specs.yml") if not (role / name).exists()
    ]
    specs = role / "meta/argument_specs.yml"
    if not specs.exists():
        return found
    options = yaml.safe_load(specs.read_text())["argument_specs"]["main"]["options"]
    defaults_file = role / "defaults/main.yml"
    defaults = (yaml.safe_load(defaults_file.read_text()) or {}) if defaults_file.exists() else {}
    for name in sorted(options.keys() | defaults.keys()):
        if name not in options:
            found.append(f"{role.name}: default {name} has no option in meta/argument_specs.yml")
        elif name not in defaults:
            if "default" in options[name]:
                found.append(f"{role.name}: option {name} has a default that defaults/main.yml does not have")
        elif options[name].get("required"):
            found.append(f"{role.name}: option {name} is required, but has a default")
        elif options[name].get("default") != defaults[name]:
            found.append(
                f"{role.name}: {name} is {defaults[name]!r} in defaults, {options[name].get('default')!r} in the option"
            )
        if not name.startswith(f"{role.name}_"):
            found.append(f"{role.name}: {name} does not start with the role's name")
    return found


def unchecked() -> list[str]:
    """Roles whose arguments playbooks/arguments.yml does not check, a sentence each."""
    [play] = yaml.safe_load((ROOT / "playbooks/arguments.yml").read_text())
    checked = {role for roles in play["vars"]["__roles_of_groups"].values() for role in roles}
    there = {role.name for role in ROLES.iterdir() if role.is_dir()} - CALLED_BY_ROLES
    return [f"{name}: playbooks/arguments.yml does not check its arguments" for name in sorted(there - checked)]


def main() -> int:
    """Print every drift; 1 where there is one."""
    found = [line for role in sorted(ROLES.iterdir()) if role.is_dir() for line in drift(role)] + unchecked()
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
