# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every secret of the lake has a way to be rotated, or a reason not to be; and the document says which."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
COMMON = ROOT / "inventories/common/group_vars/all"
NAMES = yaml.safe_load((COMMON / "secret_names.yml").read_text())
ACCOUNTS = yaml.safe_load((COMMON / "accounts.yml").read_text())["lake_account_names"]
SECRETS = NAMES["lake_secret_tokens"] + NAMES["lake_secret_keys"] + NAMES["lake_secret_keyfiles"]
WAYS = [
    list(ACCOUNTS),
    NAMES["lake_secrets_doubled"],
    NAMES["lake_secrets_exchanged"],
    list(NAMES["lake_secrets_never"]),
]


@pytest.mark.parametrize("secret", SECRETS)
def test_each_secret_has_one_way(secret):
    assert sum(secret in way for way in WAYS) == 1


def test_no_way_is_for_a_secret_that_is_none():
    assert {name for way in WAYS for name in way} - set(SECRETS) == {"lake_secret_ldap_users"}


@pytest.mark.parametrize("secret", SECRETS)
def test_the_document_has_each_secret(secret):
    assert f"`{secret.removeprefix('lake_secret_')}`" in (ROOT / "docs/secrets.md").read_text()


@pytest.mark.parametrize("secret", SECRETS)
def test_the_example_of_a_vault_has_each_secret(secret):
    assert secret in yaml.safe_load((ROOT / "inventories/production/vault.example.yml").read_text())
