# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for the installer of pip that ansible-test downloads, which a closed network does not have.

ansible-test runs it in each environment that it makes. It installs the wheel of pip that lies beside it (tools/sanity
puts both into ansible-test's cache).
"""

import sys
from pathlib import Path

WHEEL = str(Path(__file__).resolve().parent / "pip-24.2-py3-none-any.whl")
NOT_KNOWN_TO_PIP = ("--no-setuptools", "--no-wheel")  # what the original installer understands

sys.path.insert(0, WHEEL)

from pip._internal.cli.main import main  # noqa: E402 from the wheel

arguments = [argument for argument in sys.argv[1:] if argument not in NOT_KNOWN_TO_PIP]
sys.exit(main(["install", "--upgrade", "--force-reinstall", WHEEL, *arguments]))
