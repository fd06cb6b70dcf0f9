# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz target: BSON dumps."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from targets import main, target  # noqa: E402

one_input = target("bson_dump", [{}])

if __name__ == "__main__":
    main(one_input)
