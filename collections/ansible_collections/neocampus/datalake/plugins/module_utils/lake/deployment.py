# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pipelines of projects on a host: what is in force, and how one more comes into force or goes.

    <root>/releases/<NAME>-<key>/   declaration.yml (or .json), release.json, requirements.txt and the package's wheel
                                    where it has one, and venv/, the environment made of these
    <root>/in-force/<NAME>          a link to the release that is in force

A release is made and tried beside those in force, and comes into force by exchanging one link; until then, and where
anything is wrong with it, all stays as it was. The release before is kept for what still runs in it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import glob
import hashlib
import json
import logging
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TextIO

from . import schema
from .documents import iso, utc
from .errors import DeclarationError, LakeError
from .isolated import Limits, Steps, spawn
from .pipelines import PARSERS, Declaration, Router, Step, check_apart, load_declarations

log = logging.getLogger(__name__)

ROOT = "/opt/neocampus/pipelines"
RUNNABLE = ("light",)
"""Weights that a project's pipeline may have: there is no Spark to hand a heavy one to."""
MANAGER = "lake_pipeline"
NOBODY: str | None = "nobody"
"""Who imports a package when it is tried."""
INSTALL_SECONDS = 1800
_PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*")
_WHEEL = re.compile(r"[A-Za-z0-9_.]+-[A-Za-z0-9_.!+]+(-\d[^-]*)?-[^-]+-[^-]+-[^-]+\.whl")
_RELEASE_FILE = "release.json"
_WHOLE = ".whole"


@dataclass(frozen=True)
class Wanted:
    """What is to be in force: a declaration's file; where the project has its own code, its `package` (a wheel's file,
    or `name==version` of the lock) and its `requirements` (a lock with hashes).

    With `environment` False the host only knows of the pipeline and never runs it: nothing is installed, and `package`
    is but a name.
    `replaces`: names of pipelines that are to go: they do not stand in the way, and those that would are removed.
    """

    declaration: str
    package: str | None = None
    requirements: str | None = None
    environment: bool = True
    replaces: tuple[str, ...] = ()
    managed_by: str = MANAGER


@dataclass(frozen=True)
class Outcome:
    """What a call did, or would do: whether something changed, texts before and after, the pipeline in short."""

    changed: bool
    before: str
    after: str
    pipeline: Mapping[str, Any]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Release:
    """A release that is in force. `record` is its release.json, empty where that cannot be read; `declaration` has a
    `problem` where the pipeline cannot be run, and is None where not even what it matches is known."""

    name: str
    folder: str
    record: Mapping[str, Any]
    declaration: Declaration | None
    problem: str = ""

    def describe(self) -> dict[str, Any]:
        """In short, as JSON."""
        given = describe(self.declaration) if self.declaration else {"name": self.name, "source": "project"}
        keys = ("package", "managed_by", "deployed")
        problem = self.problem or (self.declaration.problem if self.declaration else "")
        return {**given, **{key: self.record.get(key) for key in keys}, "problem": problem or None}


def describe(declaration: Declaration) -> dict[str, Any]:
    """A declaration in short, as JSON."""
    return {
        "name": declaration.name,
        "version": declaration.version,
        "description": declaration.description,
        "match": {key: list(patterns) for key, patterns in declaration.match.items()},
        "weight": declaration.weight,
        "steps": [step.name for step in (declaration.parser, *declaration.transforms)],
        "sinks": list(declaration.sinks),
        "source": "project" if declaration.project else "built-in",
    }


class Pipelines:
    """The pipelines of projects under a folder `root`."""

    def __init__(self, root: str = ROOT) -> None:
        self.root = os.path.abspath(root)
        self.releases = os.path.join(self.root, "releases")
        self._links = os.path.join(self.root, "in-force")

    def in_force(self) -> list[Release]:
        """Every release in force, also those that cannot be run. Errors: DeclarationError where the folder itself
        cannot be read."""
        try:
            names = sorted(name for name in os.listdir(self._links) if not name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DeclarationError(f"{self._links} cannot be read: {error}") from error
        return [self._read(name) for name in names]

    def router(self) -> Router:
        """The library's pipelines and those in force.

        One that cannot be run (its files are damaged, or it does not go with another one any more) stops no other: it
        is logged, and the objects that it is for fail with a message that says so, rather than go to a pipeline that is
        less specific. Only where not even its record can be read nothing is known of which objects these are.
        """
        router = Router.of_library()
        for release in self.in_force():
            declaration = release.declaration
            if declaration is None:
                log.error("pipeline %s is in force, but cannot be read: %s", release.name, release.problem)
                continue
            try:
                router.add(declaration)
            except DeclarationError as error:
                declaration = replace(declaration, problem=str(error))
                router.add(declaration)
            if declaration.problem:
                log.error("pipeline %s cannot be run: %s", declaration.name, declaration.problem)
        return router

    def check(self, wanted: Wanted) -> tuple[Declaration, schema.Source]:
        """The declaration, if it may come into force beside the others; without what only its environment shows.

        Errors: DeclarationError with all that is wrong.
        """
        source = schema.read(wanted.declaration)
        own = wanted.package is not None
        # Whatever stands for the environment: its functions are looked for when it is there.
        declaration = Declaration.from_source(source, environment="to be made" if own else "")
        problems: list[schema.Problem] = []
        if not own:
            problems += [
                (path, f"{step.name!r} is not the library's: a project's own functions come in a package of its own")
                for path, step in _steps(declaration)
                if step.name not in PARSERS and not step.name.startswith(f"{__package__}.")
            ]
        if declaration.weight not in RUNNABLE:
            problems.append((("weight",), f"only {', '.join(RUNNABLE)} pipelines can be run here"))
        problems += [(("match",), problem) for problem in self._ties(declaration, wanted.replaces)]
        if problems:
            raise source.error(problems)
        return declaration, source

    def apply(self, wanted: Wanted, *, check_mode: bool = False) -> Outcome:
        """Brings what is wanted into force; with `check_mode` only says what would be done (then no environment is
        made, and what only that would show is not seen).

        Errors: DeclarationError: it is refused, and all is as before; LakeError where it could not be installed.
        """
        with self._locked(check_mode):
            declaration, source = self.check(wanted)
            release = self._record(wanted, declaration, source)
            name = declaration.name
            current = next((other for other in self.in_force() if other.name == name), None)
            if current is not None:
                self._check_version(current, declaration, release, source)
            folder = os.path.join(self.releases, f"{name}-{release['key']}")
            declaration = replace(declaration, environment=folder if release["package"] else "")
            before, after = self._text(current), self._shown(wanted.declaration, release)
            surplus = tuple(self._in_the_way(declaration, wanted.replaces))
            changed = current is None or current.folder != folder or not self._is_whole(folder) or bool(surplus)
            if changed and not check_mode:
                if not self._is_whole(folder):
                    self._make(folder, wanted, declaration, release)
                self._exchange(name, folder)
                for other in surplus:
                    os.unlink(os.path.join(self._links, other))
                self._tidy(name, keep={folder, current.folder if current else ""})
            described = {**describe(declaration), "package": release["package"], "managed_by": release["managed_by"]}
            return Outcome(changed, before, after, described, surplus)

    def remove(self, name: str, *, check_mode: bool = False) -> Outcome:
        """Takes a pipeline out of force. Its last release stays on disk for what still runs in it."""
        with self._locked(check_mode):
            current = next((other for other in self.in_force() if other.name == name), None)
            before = self._text(current)
            if current is not None and not check_mode:
                os.unlink(os.path.join(self._links, name))
                self._tidy(name, keep={current.folder})
            return Outcome(current is not None, before, "", {"name": name})

    def refresh(self) -> tuple[list[str], list[str]]:
        """Makes the environments again that have another version of the lake's library than this one: names of those
        that were, and a message for each that could not be (it stays as it was)."""
        done, failed = [], []
        library = _digest_of_wheel(_library())
        for release in self.in_force():
            record = release.record
            if not record.get("package") or not record.get("environment") or record.get("library") == library:
                continue
            package = record["package"]
            wheel = package.get("wheel")
            wanted = Wanted(
                declaration=os.path.join(release.folder, record["declaration"]),
                package=os.path.join(release.folder, wheel) if wheel else package["name"],
                requirements=os.path.join(release.folder, "requirements.txt") if package["requirements"] else None,
                managed_by=record["managed_by"],
            )
            try:
                self.apply(wanted)
                done.append(release.name)
            except LakeError as error:
                failed.append(f"{release.name}: {error}")
        return done, failed

    def _read(self, name: str) -> Release:
        """A release in force; what is wrong with it is in it."""
        folder = os.path.realpath(os.path.join(self._links, name))
        record: dict[str, Any] = {}
        try:
            with open(os.path.join(folder, _RELEASE_FILE), encoding="utf-8") as stream:
                record = json.load(stream)
            known = Declaration(
                name=name,
                version=str(record["version"]),
                match={key: tuple(patterns) for key, patterns in record["match"].items()},
                weight=record["weight"],
                parser=Step(""),
                sinks=tuple(record["sinks"]),
                source=os.path.join(folder, record["declaration"]),
            )
            own = bool(record["package"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"{os.path.join(folder, _RELEASE_FILE)}: {type(error).__name__}: {error}"
            return Release(name, folder, {}, None, problem)
        try:
            # Steps of a package that this host never runs are nowhere here: nobody looks for them.
            source = schema.read(known.source)
            declaration = Declaration.from_source(source, environment=folder if own else "")
            if declaration.name != name or dict(declaration.match) != dict(known.match):
                raise DeclarationError(f"{known.source} is not what was deployed")
            if declaration.weight not in RUNNABLE:
                raise DeclarationError(f"only {', '.join(RUNNABLE)} pipelines can be run")
            if own and record["environment"] and not os.access(os.path.join(folder, "venv/bin/python"), os.X_OK):
                raise DeclarationError(f"{folder}/venv/bin/python is not there")
        except DeclarationError as error:
            return Release(name, folder, record, replace(known, problem=str(error)))
        return Release(name, folder, record, declaration)

    def _ties(self, declaration: Declaration, replaces: Sequence[str]) -> Iterator[str]:
        built_in = load_declarations()
        others = [release.declaration for release in self.in_force() if release.name not in replaces]
        for other in (*built_in, *others):
            if other is None or (other.name == declaration.name and other.project):
                continue
            try:
                check_apart(other, declaration)
            except DeclarationError as error:
                yield str(error)

    def _in_the_way(self, declaration: Declaration, replaces: Sequence[str]) -> Iterator[str]:
        """Of those that are to go, the ones that cannot be beside the declaration."""
        for release in self.in_force():
            if release.name in replaces and release.name != declaration.name and release.declaration:
                try:
                    check_apart(release.declaration, declaration)
                except DeclarationError:
                    yield release.name

    def _record(self, wanted: Wanted, declaration: Declaration, source: schema.Source) -> dict[str, Any]:
        """What is kept of a release. Errors: DeclarationError where package and requirements do not go together."""
        package: dict[str, Any] | None = None
        lock = _read_file(wanted.requirements) if wanted.requirements else b""
        if wanted.package is not None and not wanted.environment:
            package = {"name": os.path.basename(wanted.package)}
        elif wanted.package is not None:
            package = _package(wanted.package, lock.decode("utf-8", "replace"))
            package["requirements"] = hashlib.sha256(lock).hexdigest() if lock else None
        elif wanted.requirements:
            raise DeclarationError("requirements are those of a package: say which")
        content = {key: value for key, value in source.data.items() if key not in ("description", "version")}
        record = {
            "name": declaration.name,
            "version": declaration.version,
            "match": {key: list(patterns) for key, patterns in declaration.match.items()},
            "weight": declaration.weight,
            "sinks": list(declaration.sinks),
            "declaration": "declaration" + (".json" if source.file.endswith(".json") else ".yml"),
            "content": _digest(content),
            "package": package,
            "environment": wanted.environment,
            "library": _digest_of_wheel(_library()) if package and wanted.environment else None,
            "managed_by": wanted.managed_by,
        }
        python = sys.version_info[:2] if package and wanted.environment else None
        text = hashlib.sha256(_read_file(wanted.declaration)).hexdigest()
        return {**record, "key": _digest({**record, "python": python, "text": text})[:16]}

    def _check_version(
        self, current: Release, declaration: Declaration, release: Mapping[str, Any], source: schema.Source
    ) -> None:
        """Errors: DeclarationError where something changed and the version was not raised."""
        old = current.record
        if not old or (old.get("content"), old.get("package")) == (release["content"], release["package"]):
            return
        what = "declaration" if old.get("content") != release["content"] else "package or its requirements"
        numbers = [str(old.get("version")), declaration.version]
        if all(number.isdigit() for number in numbers):
            raised = int(numbers[1]) > int(numbers[0])
        else:
            raised = numbers[0] != numbers[1]
        if not raised:
            told = (
                f"the {what} is not that of version {numbers[0]}, which is in force: raise the version, so that what is"
                " logged on objects says what processed them"
            )
            raise source.error([(("version",), told)])

    def _make(self, folder: str, wanted: Wanted, declaration: Declaration, release: Mapping[str, Any]) -> None:
        """Makes a release's folder, and tries its functions in its environment."""
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder, mode=0o755)
        try:
            _copy(wanted.declaration, os.path.join(folder, release["declaration"]))
            if wanted.package and wanted.environment:
                wheel = release["package"].get("wheel")
                if wheel:
                    _copy(wanted.package, os.path.join(folder, wheel))
                if wanted.requirements:
                    _copy(wanted.requirements, os.path.join(folder, "requirements.txt"))
                _install(folder, wheel, bool(wanted.requirements))
                try_steps(declaration)
            kept = {**release, "deployed": iso(utc())}
            _write(os.path.join(folder, _RELEASE_FILE), json.dumps(kept, indent=2, sort_keys=True) + "\n")
            _write(os.path.join(folder, _WHOLE), "")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _exchange(self, name: str, folder: str) -> None:
        os.makedirs(self._links, mode=0o755, exist_ok=True)
        link = os.path.join(self._links, f".{name}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link)
        os.symlink(os.path.relpath(folder, self._links), link)
        os.replace(link, os.path.join(self._links, name))

    def _tidy(self, name: str, keep: set[str]) -> None:
        for folder in glob.glob(os.path.join(glob.escape(self.releases), f"{glob.escape(name)}-{'[0-9a-f]' * 16}")):
            if folder not in keep:
                shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def _is_whole(folder: str) -> bool:
        return os.path.exists(os.path.join(folder, _WHOLE))

    def _text(self, release: Release | None) -> str:
        """What is in force, as a text to compare."""
        if release is None:
            return ""
        try:
            return self._shown(os.path.join(release.folder, release.record["declaration"]), release.record)
        except (DeclarationError, KeyError):
            return f"# {release.folder} cannot be read\n"

    @staticmethod
    def _shown(declaration: str, release: Mapping[str, Any]) -> str:
        text = _read_file(declaration).decode("utf-8", "replace")
        package = release.get("package")
        return text + (f"# package: {json.dumps(package, sort_keys=True)}\n" if package else "")

    @contextlib.contextmanager
    def _locked(self, check_mode: bool) -> Iterator[None]:
        """One deployment at a time."""
        if check_mode:
            yield
            return
        os.umask(0o022)  # what is deployed is read by accounts that have no rights of their own
        os.makedirs(self.releases, mode=0o755, exist_ok=True)
        os.makedirs(self._links, mode=0o755, exist_ok=True)
        with open(os.path.join(self.root, ".lock"), "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def try_steps(declaration: Declaration, limits: Limits | None = None) -> None:
    """Loads a declaration's functions in its environment, as a user without rights where this one is root.

    Errors: DeclarationError, with what the package printed.
    """
    with tempfile.TemporaryDirectory(prefix="lake-pipeline-") as folder:
        user = NOBODY if os.geteuid() == 0 else None
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        python = os.path.join(declaration.environment, "venv/bin/python")
        try:
            process = spawn(python, folder, user)
            Steps(process, declaration.parser, declaration.transforms, limits or Limits()).close()
        except LakeError as error:
            raise DeclarationError(f"{declaration.name}: its functions cannot be loaded: {error}") from error


def _install(folder: str, wheel: str | None, requirements: bool) -> None:
    """Makes the environment of a release: nothing but wheels, so that installing runs no foreign code."""
    venv = os.path.join(folder, "venv")
    python = os.path.join(venv, "bin/python")
    _call([sys.executable, "-m", "venv", venv])
    pip = [python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-cache-dir"]
    if requirements:
        lock = os.path.join(folder, "requirements.txt")
        _call([*pip, "--require-hashes", "--only-binary=:all:", "--requirement", lock])
    own = [os.path.join(folder, wheel)] if wheel else []
    _call([*pip, "--no-index", "--no-deps", "--force-reinstall", _library(), *own])


def _call(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise LakeError(f"{' '.join(command[:4])} … could not be run: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1500:]
        raise DeclarationError(f"the environment cannot be made: {' '.join(command[1:4])} … says: {said}")


def _library() -> str:
    """The wheel of this very library, which the role left in the environment that it is installed in."""
    found = glob.glob(os.path.join(glob.escape(sys.prefix), "wheels", "neocampus_datalake_lake-*.whl"))
    given = os.environ.get("LAKE_LIBRARY_WHEEL")
    if given:
        return given
    if len(found) != 1:
        raise LakeError(
            f"{sys.prefix}/wheels has {len(found) or 'no'} wheels of the lake's library, and one is needed for the"
            " environments of pipelines: name it in LAKE_LIBRARY_WHEEL"
        )
    return found[0]


def _package(package: str, lock: str) -> dict[str, Any]:
    """What is kept of a package. Errors: DeclarationError where it is neither a wheel nor in the lock."""
    if _PINNED.fullmatch(package):
        if not re.search(rf"^{re.escape(package)}(\s|$)", lock, re.MULTILINE | re.IGNORECASE):
            raise DeclarationError(f"{package} is not in the requirements: it needs a line there, with its hashes")
        return {"name": package}
    wheel = os.path.basename(package)
    if not _WHEEL.fullmatch(wheel):
        raise DeclarationError(f"{package} is neither a wheel's file (name-version-….whl) nor name==version")
    return {"name": "==".join(wheel.split("-")[:2]), "wheel": wheel, "content": _digest_of_wheel(package)}


def _digest_of_wheel(file: str) -> str:
    """A hash of what a wheel holds; building it again from the same sources gives the same."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(file) as wheel:
            for name in sorted(wheel.namelist()):
                digest.update(f"{name}\0{hashlib.sha256(wheel.read(name)).hexdigest()}\n".encode())
    except (OSError, zipfile.BadZipFile, EOFError, RuntimeError) as error:
        raise DeclarationError(f"{file} is no wheel that can be read: {error}") from error
    return digest.hexdigest()


def _digest(value: Any) -> str:
    text = json.dumps(
        value, sort_keys=True, default=lambda other: other.isoformat() if isinstance(other, datetime) else str(other)
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _steps(declaration: Declaration) -> Iterator[tuple[schema.Path, Step]]:
    yield ("steps", "parser"), declaration.parser
    for index, step in enumerate(declaration.transforms):
        yield ("steps", "transforms", index), step


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise DeclarationError(f"{path} cannot be read: {error}") from error


def _copy(source: str, target: str) -> None:
    shutil.copyfile(source, target)
    os.chmod(target, 0o644)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _apply(pipelines: Pipelines, request: Mapping[str, Any]) -> Outcome:
    known = {"declaration", "package", "requirements", "environment", "replaces", "managed_by"}
    given = {key: value for key, value in request.items() if key in known and value is not None}
    given["replaces"] = tuple(given.get("replaces", ()))
    if request.get("name"):
        source = schema.read(given["declaration"])
        name = source.data.get("name") if isinstance(source.data, dict) else None
        if name != request["name"]:
            raise source.error([(("name",), f"{request['name']} is expected, not {name}")])
    return pipelines.apply(Wanted(**given), check_mode=bool(request.get("check_mode")))


def _say(*lines: object, to: TextIO | None = None) -> None:
    """Prints lines, for who called the command."""
    (to or sys.stdout).writelines(f"{line}\n" for line in lines)


def main() -> int:
    """Entry point of `lake-pipelines`: 0 when all is well, 1 with the reasons on standard error where not."""
    parser = argparse.ArgumentParser(description="Pipelines of projects on this host.")
    parser.add_argument("--root", default=ROOT, help=f"folder of the pipelines ({ROOT})")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="say whether declarations could come into force beside those that are")
    check.add_argument("file", nargs="+")
    check.add_argument("--package", action="store_true", help="their functions are in a package of the project")
    listing = commands.add_parser("list", help="show what is in force")
    listing.add_argument("--json", action="store_true", help="print JSON")
    commands.add_parser("apply", help="bring a pipeline into force; it is described by JSON on standard input")
    remove = commands.add_parser("remove", help="take a pipeline out of force")
    remove.add_argument("name")
    remove.add_argument("--check", action="store_true", help="only say what would be done")
    commands.add_parser("refresh", help="bring environments up to date with the lake's library")
    arguments = parser.parse_args()
    pipelines = Pipelines(arguments.root)
    try:
        if arguments.command == "check":
            return _check(pipelines, arguments)
        if arguments.command == "list":
            found = [describe(declaration) for declaration in load_declarations()]
            found += [release.describe() for release in pipelines.in_force()]
            _say(json.dumps({"pipelines": found}, indent=2) if arguments.json else _table(found))
            return 0
        if arguments.command == "refresh":
            done, failed = pipelines.refresh()
            _say(*done)
            _say(*failed, to=sys.stderr)
            return 1 if failed else 0
        if arguments.command == "apply":
            outcome = _apply(pipelines, json.load(sys.stdin))
        else:
            outcome = pipelines.remove(arguments.name, check_mode=arguments.check)
    except (LakeError, OSError) as error:
        _say(error, to=sys.stderr)
        return 1
    diff = {"before": outcome.before, "after": outcome.after}
    _say(
        json.dumps({"changed": outcome.changed, "diff": diff, "pipeline": outcome.pipeline, "removed": outcome.removed})
    )
    return 0


def _check(pipelines: Pipelines, arguments: argparse.Namespace) -> int:
    wrong = 0
    for file in arguments.file:
        try:
            pipelines.check(Wanted(file, "to be made" if arguments.package else None))
            _say(f"{file}: well")
        except DeclarationError as error:
            _say(error, to=sys.stderr)
            wrong += 1
    return 1 if wrong else 0


def _table(found: Sequence[Mapping[str, Any]]) -> str:
    rows = [["name", "version", "from", "sinks", "matches"]]
    for item in found:
        match = "; ".join(f"{key} {', '.join(patterns)}" for key, patterns in item.get("match", {}).items())
        problem = f"CANNOT BE RUN: {item['problem']}" if item.get("problem") else match
        rows.append([item["name"], item.get("version", "?"), item["source"], ", ".join(item.get("sinks", ())), problem])
    widths = [max(map(len, column)) for column in zip(*rows)]  # noqa: B905 (3.9)
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]  # noqa: B905
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
