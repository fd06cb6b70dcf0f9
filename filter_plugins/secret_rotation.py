# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's filter, under its short name."""

from ansible_collections.neocampus.datalake.plugins.filter.secret_rotation import FilterModule  # noqa: F401
