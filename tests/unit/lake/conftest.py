# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the property tests."""

from hypothesis import settings

settings.register_profile("lake", deadline=None)  # a busy machine is no failure
settings.load_profile("lake")
