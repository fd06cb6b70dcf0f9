# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetches the server's jars with Maven and packs them, once they are exactly those of the lock.

    fetch_jars.py ARCHIVE [--settings SETTINGS.XML]
    fetch_jars.py --renew-lock [--settings SETTINGS.XML]

ARCHIVE (.tar.gz) is made whole or not at all; its folder is named as the archive. The lock, jars.sha256 beside this
program, has a line for each jar that pom.xml leads to, as sha256sum writes it; --renew-lock writes it anew.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE / "jars.sha256"
GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


class FetchError(Exception):
    """What was wrong, and what to do about it."""


def fetch(folder: Path, settings: str | None) -> None:
    """Put every jar that pom.xml leads to into a folder. Raises FetchError."""
    if shutil.which("mvn") is None:
        raise FetchError("Maven (mvn, 3.6 or later, with Java 11 or later) is needed on the controller: install it")
    shutil.copy2(HERE / "pom.xml", folder.parent / "pom.xml")
    command = ["mvn", "--batch-mode", "--quiet", GOAL, f"-DoutputDirectory={folder}", "-DincludeScope=runtime"]
    command += [f"-Dmaven.repo.local={folder.parent / 'repository'}"] + (["--settings", settings] if settings else [])
    run = subprocess.run(command, cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if run.returncode:
        raise FetchError(f"Maven could not fetch the jars:\n{run.stdout[-2000:]}")


def sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file in a folder, by name."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def read_lock() -> dict[str, str]:
    """The lock's sums, by name."""
    return {name: digest for digest, name in (line.split() for line in LOCK.read_text().splitlines())}


def check(found: dict[str, str], wanted: dict[str, str]) -> None:
    """Raise FetchError unless the files are those of the lock, each one and no other."""
    wrong = [f"{name} is missing" for name in wanted if name not in found]
    wrong += [f"{name} is not in the lock" for name in found if name not in wanted]
    wrong += [
        f"{name} has another SHA-256 than in the lock"
        for name in wanted
        if found.get(name, wanted[name]) != wanted[name]
    ]
    if wrong or not wanted:
        raise FetchError(f"the jars are not those of {LOCK}: {'; '.join(wrong) or 'it is empty'}")


def pack(folder: Path, archive: Path) -> None:
    """Make the archive of a folder; the lock is its last member."""
    name = archive.name.removesuffix(".tar.gz")
    part = archive.with_name(archive.name + ".part")
    with tarfile.open(part, "w:gz", compresslevel=1) as tar:
        for file in [*sorted(folder.iterdir()), LOCK]:
            info = tar.gettarinfo(file, f"{name}/{file.name}")
            info.uid = info.gid = 0
            info.uname = info.gname = "root"
            info.mode = 0o644
            with file.open("rb") as stream:
                tar.addfile(info, stream)
    part.rename(archive)


def main() -> int:
    """Do what the arguments say; 1 with a message where it can't be done."""
    parser = argparse.ArgumentParser(description="Fetch and pack the jars of the Neo4j server.")
    parser.add_argument("archive", type=Path, nargs="?")
    parser.add_argument("--settings")
    parser.add_argument("--renew-lock", action="store_true")
    arguments = parser.parse_args()
    if (arguments.archive is None) is not arguments.renew_lock:
        parser.error("give an archive, or --renew-lock")
    where = None
    if arguments.archive:
        where = arguments.archive.parent
        where.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=where) as scratch:
            folder = Path(scratch, "jars")
            folder.mkdir()
            fetch(folder, arguments.settings)
            found = sums(folder)
            if arguments.renew_lock:
                LOCK.write_text("".join(f"{digest}  {name}\n" for name, digest in found.items()))
            else:
                check(found, read_lock())
                pack(folder, arguments.archive)
    except (FetchError, OSError) as error:
        print(f"fetch_jars: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
