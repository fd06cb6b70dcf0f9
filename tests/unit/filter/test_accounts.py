# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.neocampus.datalake.plugins.filter.accounts import accounts

NAMES = {"secret": "api"}


def test_without_a_rotation_the_other_account_is_absent():
    found = accounts(NAMES, {"secret": "p"})["secret"]
    assert found["name"] == "api" and found["names"] == ["api"]
    assert found["all"] == [
        {"name": "api", "state": "present", "password": "p"},
        {"name": "api_b", "state": "absent"},
    ]


def test_during_a_rotation_both_exist_and_one_is_in_use():
    found = accounts(NAMES, {"secret": "new"}, ["secret"], {"secret": "old"})["secret"]
    assert found["name"] == "api_b" and found["names"] == ["api_b", "api"]
    assert found["first"] == {"name": "api", "state": "present", "password": "old"}
    assert found["second"] == {"name": "api_b", "state": "present", "password": "new"}


def test_after_the_second_turn_the_first_account_is_in_use_again():
    assert accounts(NAMES, {"secret": "p"}, [], {})["secret"]["second"]["state"] == "absent"


def test_a_missing_password_is_named():
    with pytest.raises(AnsibleFilterError, match="secret is missing"):
        accounts(NAMES, {})
