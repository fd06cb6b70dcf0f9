# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that fetches the server's jars, with a Maven that only lays files."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import tarfile
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[3] / "roles/neo4j/files"
MVN = """#!/bin/sh
for argument; do case "$argument" in -DoutputDirectory=*) out="${argument#*=}";; esac; done
test -e pom.xml || exit 3
printf one > "$out/a.jar"
printf two > "$out/b.jar"
"""


@pytest.fixture
def program(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("fetch_jars", FILES / "fetch_jars.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LOCK", tmp_path / "jars.sha256")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/mvn").write_text(MVN)
    (tmp_path / "bin/mvn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return module


def run(program, monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["fetch_jars", *map(str, arguments)])
    return program.main()


def lock(program, **jars):
    lines = [f"{hashlib.sha256(text.encode()).hexdigest()}  {name}.jar\n" for name, text in jars.items()]
    program.LOCK.write_text("".join(lines))


def test_jars_that_are_those_of_the_lock_are_packed(program, monkeypatch, tmp_path):
    lock(program, a="one", b="two")
    archive = tmp_path / "cache/0123.tar.gz"
    assert run(program, monkeypatch, archive) == 0
    with tarfile.open(archive) as tar:
        assert tar.getnames() == ["0123/a.jar", "0123/b.jar", "0123/jars.sha256"]
        assert {(member.uid, member.mode) for member in tar.getmembers()} == {(0, 0o644)}
    assert list(archive.parent.iterdir()) == [archive]


@pytest.mark.parametrize(
    ("jars", "said"),
    [
        ({"a": "one"}, "b.jar is not in the lock"),
        ({"a": "one", "b": "two", "c": "x"}, "c.jar is missing"),
        ({"a": "one", "b": "other"}, "b.jar has another SHA-256"),
        ({}, "a.jar is not in the lock"),
    ],
)
def test_other_jars_are_refused_and_nothing_is_left(program, monkeypatch, tmp_path, capsys, jars, said):
    lock(program, **jars)
    archive = tmp_path / "cache/0123.tar.gz"
    assert run(program, monkeypatch, archive) == 1
    assert said in capsys.readouterr().err
    assert list(archive.parent.iterdir()) == []


def test_the_lock_is_renewed(program, monkeypatch):
    assert run(program, monkeypatch, "--renew-lock") == 0
    assert program.read_lock() == {
        "a.jar": hashlib.sha256(b"one").hexdigest(),
        "b.jar": hashlib.sha256(b"two").hexdigest(),
    }


def test_a_failing_or_missing_maven_is_told(program, monkeypatch, tmp_path, capsys):
    lock(program, a="one", b="two")
    (tmp_path / "bin/mvn").write_text("#!/bin/sh\necho no route; exit 1\n")
    assert run(program, monkeypatch, tmp_path / "x.tar.gz") == 1
    assert "no route" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert run(program, monkeypatch, tmp_path / "x.tar.gz") == 1
    assert "install it" in capsys.readouterr().err


def test_the_lock_that_is_shipped_is_one():
    lines = [line.split("  ") for line in (FILES / "jars.sha256").read_text().splitlines()]
    assert len(lines) > 200 and all(len(digest) == 64 and name.endswith(".jar") for digest, name in lines)
    assert any(name.startswith("neo4j-bolt-5.26.") for _, name in lines)
