# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes wheels for tests: that of the library, and those of small packages of projects."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LIBRARY = ROOT / "collections/ansible_collections/neocampus/datalake/plugins/module_utils/lake"


def library_wheel(folder: Path) -> Path:
    """The library as its wheel has it, made as the build does but quicker: every file of it, and its metadata."""
    name = "neocampus_datalake_lake-0.1.0"
    files = [path for path in LIBRARY.rglob("*") if path.suffix in (".py", ".yml", ".json", ".typed")]
    contents = {f"neocampus_lake/{path.relative_to(LIBRARY)}": path.read_bytes() for path in files}
    return _wheel(folder / f"{name}-py3-none-any.whl", name, contents)


def package_wheel(folder: Path, code: str, module: str = "station", version: str = "1.0", stamp: int = 2000) -> Path:
    """A package with one module; `stamp` is the year that the archive says, which is no part of its content."""
    name = f"{module}-{version}"
    return _wheel(folder / f"{name}-py3-none-any.whl", name, {f"{module}.py": code.encode()}, stamp)


def _wheel(file: Path, name: str, contents: dict[str, bytes], stamp: int = 2000) -> Path:
    project, version = name.split("-")
    info = f"{name}.dist-info"
    contents = {
        **contents,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    contents[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"]).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as wheel:
        for path, content in contents.items():
            wheel.writestr(zipfile.ZipInfo(path, (stamp, 1, 1, 0, 0, 0)), content)
    return file


def environment(folder: Path, code: str) -> Path:
    """A virtual environment without pip, with the library and a module `station`; its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    [site] = folder.glob("lib/python*/site-packages")
    (site / "neocampus_lake").symlink_to(LIBRARY)
    (site / "station.py").write_text(code)
    return folder / "bin/python"
