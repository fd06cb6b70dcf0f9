# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that tries the walls of a running lake, one after the other, with a page of tables.

    python tests/walls/walls.py [--environment local] [--markdown FILE] [ports] [tls] [grade] [secrets]

Exit status 1 where any of it is not as it has to be; the others run all the same.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = {
    "ports": ("Ports, against the table of flows", ["ports.py"]),
    "tls": ("TLS of each listener that crosses a network", ["listeners.py"]),
    "grade": ("The edge, by testssl.sh", ["grade.py"]),
    "secrets": ("Secrets where they must not be", ["leaks.py", "--check-mode"]),
}
"""Name → title, and the program with its arguments."""


def main() -> int:
    """Run the parts, write the page; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--environment", choices=["local", "test"], default="local")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    failed, page = [], ["# The walls, tried"]
    for name in arguments.parts or PARTS:
        title, program = PARTS[name]
        print(f"\n== {title}", flush=True)
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder, "table.md")
            command = [sys.executable, str(HERE / program[0]), *program[1:]]
            done = subprocess.run([*command, "--environment", arguments.environment, "--markdown", str(table)])
            told = table.read_text() if table.exists() else "It did not come to an end.\n"
        verdict = "as it has to be" if done.returncode == 0 else "NOT as it has to be"
        page += ["", f"## {title}", "", told, f"{verdict.capitalize()}, after {time.monotonic() - begun:.0f} s."]
        if done.returncode:
            failed.append(name)
    if arguments.markdown:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        arguments.markdown.write_text("\n".join(page) + "\n")
    print(f"\n{'FAILED: ' + ', '.join(failed) if failed else 'all as it has to be'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
