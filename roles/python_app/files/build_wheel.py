# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds one wheel of a source project, from a copy, so that nothing is written into the source tree.

    build_wheel.py PROJECT OUT [SOURCE …]

PROJECT is a folder with a pyproject.toml, or an archive of one (sdist, .tar.gz), OUT a folder that is made (whole or
not at all). SOURCEs are the parts of PROJECT that are needed, where that is less than all of it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

IGNORED = shutil.ignore_patterns("__pycache__", ".git", "build", "dist", "*.egg-info", "node_modules", ".venv")


def main(project: Path, out: Path, sources: list[Path]) -> None:
    """Build PROJECT's wheel into OUT; raises CalledProcessError where the build fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        copy, made = Path(scratch, "source"), Path(scratch, "made")
        if project.is_file():
            with tarfile.open(project) as archive:
                archive.extractall(Path(scratch, "archive"), filter="data")
            [project] = Path(scratch, "archive").iterdir()
        for source in sources or [project]:
            target = copy / source.relative_to(project)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=IGNORED, dirs_exist_ok=True)
            else:
                shutil.copy2(source, target)
        subprocess.run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", made, copy], check=True)
        made.rename(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [Path(source) for source in sys.argv[3:]])
