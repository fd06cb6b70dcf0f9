# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.neocampus.datalake.plugins.filter.secret_rotation import secret_rotation

BEFORE = {"account": "a1", "key": "k1", "other": "o", "lake_secret_ldap_users": {"demo": "d"}}
NEW = {"account": "a2", "key": "k2"}


def stages(secrets, new=NEW):
    found = [secret_rotation(secrets, new, ["account"])]
    while found[-1]["lake_rotation"]["stage"]:
        found.append(secret_rotation(found[-1], {}, ["account"]))
    return found


def test_the_old_value_stays_in_use_until_the_servers_take_the_new_one():
    both = stages(BEFORE)[0]
    assert both["account"] == "a1" and both["lake_secrets_besides"] == NEW
    assert both["lake_rotation"] == {"stage": "both", "secrets": ["account", "key"]}


def test_the_new_value_is_in_use_while_the_servers_take_the_old_one():
    use = stages(BEFORE)[1]
    assert (use["account"], use["key"]) == ("a2", "k2")
    assert use["lake_secrets_besides"] == {"account": "a1", "key": "k1"}
    assert use["lake_secrets_second"] == ["account"]


def test_at_the_end_there_is_the_new_value_alone():
    assert [step["lake_rotation"]["stage"] for step in stages(BEFORE)] == ["both", "use", "drop", ""]
    end = stages(BEFORE)[-1]
    assert (end["account"], end["key"], end["lake_secrets_besides"]) == ("a2", "k2", {})


def test_what_is_not_rotated_stays():
    for step in stages(BEFORE):
        assert step["other"] == "o" and step["lake_secret_ldap_users"] == {"demo": "d"}


def test_the_next_rotation_goes_back_to_the_first_account():
    again = stages(stages(BEFORE)[-1], {"account": "a3"})
    assert again[-1]["lake_secrets_second"] == [] and again[-1]["account"] == "a3"


def test_a_rotation_under_way_is_not_begun_anew():
    both = secret_rotation(BEFORE, NEW, ["account"])
    assert secret_rotation(both, {"other": "x"}, ["account"])["other"] == "o"


@pytest.mark.parametrize(
    ("secrets", "new", "message"),
    [
        (BEFORE, {}, "nothing to rotate"),
        (BEFORE, {"nobody": "x"}, "no secret nobody"),
        (BEFORE, {"other": "o"}, "is the old one"),
        ({**BEFORE, "lake_rotation": {"stage": "half"}}, {}, "none of"),
    ],
)
def test_what_can_not_be_is_refused(secrets, new, message):
    with pytest.raises(AnsibleFilterError, match=message):
        secret_rotation(secrets, new)
