# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""REST API of the neOCampus data lake."""

__version__ = "1.0.0"
