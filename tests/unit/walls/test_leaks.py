# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked for."""

from __future__ import annotations

import base64

import pytest
from leaks import named, needles

SECRETS = {"of_a_store": "aB3" * 10, "key/file": "first+line/of-it==\nsecond-line-of-it", "people": {"ada": "Her" * 8}}


def test_each_secret_is_looked_for_as_it_is_in_base64_and_in_a_url():
    wanted = needles(SECRETS)
    assert wanted["aB3" * 10] == "of_a_store"
    assert wanted[base64.b64encode(b"aB3" * 10).decode().rstrip("=")] == "of_a_store"
    assert wanted["first%2Bline%2Fof-it%3D%3D"] == wanted["second-line-of-it"] == "key/file"
    assert wanted["Her" * 8] == "people (ada)"


def test_it_is_found_and_named_and_not_shown():
    assert named(f"password={'aB3' * 10}", needles(SECRETS)) == ("of_a_store",)
    assert named("nothing", needles(SECRETS)) == ()


def test_what_is_too_short_to_be_looked_for_is_told():
    with pytest.raises(ValueError, match="short"):
        needles({"pin": "1234"})
