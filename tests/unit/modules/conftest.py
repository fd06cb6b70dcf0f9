# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs modules the way Ansible does, but in this process."""

from __future__ import annotations

import importlib
import json

import pytest


class Exit(Exception):
    """A module has ended; `result` is what it returned."""

    def __init__(self, result):
        super().__init__(result)
        self.result = result


@pytest.fixture
def module(api, monkeypatch, tmp_path):
    """run(name, **parameters) -> the module's result (with `failed`), against the double of the API."""
    from ansible.module_utils import basic
    from ansible.module_utils.testing import patch_module_args

    for name in ("LAKE_API_URL", "OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME", "OS_USER_DOMAIN_NAME", "OS_CACERT"):
        monkeypatch.delenv(name, raising=False)

    def ended(self, failed=False, **result):
        raise Exit({"failed": failed, **result})

    monkeypatch.setattr(basic.AnsibleModule, "exit_json", ended)
    monkeypatch.setattr(basic.AnsibleModule, "fail_json", lambda self, **result: ended(self, failed=True, **result))
    config = tmp_path / "client.json"
    config.write_text(json.dumps({"api_url": api.url, "username": "alice", "password": "secret", "project": "campus"}))

    def run(module_name, check=False, **parameters):
        main = importlib.import_module(f"ansible_collections.neocampus.datalake.plugins.modules.{module_name}").main
        given = {"config_file": str(config), **parameters}  # of the modules of the API; None for the others
        arguments = {key: value for key, value in given.items() if key != "config_file" or value is not None}
        arguments["_ansible_check_mode"] = check
        with patch_module_args(arguments), pytest.raises(Exit) as caught:
            main()
        return caught.value.result

    run.config = config
    return run
