# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bad files of tests/e2e are said of in docs/bad-input.md as they are declared, and the library's own parsers say so too."""
