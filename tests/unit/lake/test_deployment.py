# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pipelines of projects come into force whole or not at all, and never hurt one another."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from neocampus_lake import deployment, isolated
from neocampus_lake.deployment import Pipelines, Wanted
from neocampus_lake.errors import DeclarationError, LakeError, NoPipeline
from neocampus_lake.parsers.report import Options
from neocampus_lake.records import Row

_spec = importlib.util.spec_from_file_location("project_of_tests", Path(__file__).with_name("project.py"))
project = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(project)

CODE = "from neocampus_lake.records import Row\n\ndef rows(stream, options):\n    yield Row('t', {'n': 1})\n"
DECLARATION = {
    "name": "METEO_alice_station",
    "version": 1,
    "description": "stations",
    "match": {"content_types": ["text/csv"], "containers": ["meteo"], "data_processing": ["default"]},
    "steps": {"parser": "time_series_csv", "sinks": ["influxdb"]},
}


def of(container):
    """A match of one container's objects. What says nothing of data_processing would be less specific than the
    library's pipelines, which do."""
    return {"containers": [container], "data_processing": ["default"]}


DOCUMENT = {"content_type": "text/csv", "swift_container": "meteo", "data_processing": "default"}


@pytest.fixture(autouse=True)
def library(tmp_path_factory, monkeypatch):
    """The library's wheel; packages are tried as this user, who may read what tests make."""
    monkeypatch.setenv("LAKE_LIBRARY_WHEEL", str(project.library_wheel(tmp_path_factory.mktemp("library"))))
    monkeypatch.setattr(deployment, "NOBODY", None)


@pytest.fixture
def pipelines(tmp_path):
    return Pipelines(str(tmp_path / "pipelines"))


@pytest.fixture
def quick(monkeypatch):
    """Environments without pip: the package is what its wheel's module says. Gives how many were made."""
    made = []

    def install(folder, wheel, requirements):
        made.append(folder)
        code = Path(folder, wheel).read_bytes() if wheel else b""
        text = CODE if b"raise" not in code else "raise RuntimeError('no licence')\n"
        project.environment(Path(folder, "venv"), text)

    monkeypatch.setattr(deployment, "_install", install)
    return made


@pytest.fixture
def wanted(tmp_path):
    """wanted(file="x.yml", package=…, **changes): a declaration's file with changes, as something to apply."""

    def make(file="x.yml", package=None, requirements=None, replaces=(), environment=True, manager="m", **changes):
        path = tmp_path / file
        data = {**DECLARATION, **changes}
        path.write_text(json.dumps(data) if file.endswith(".json") else yaml.safe_dump(data))
        given = [None if part is None else str(part) for part in (package, requirements)]
        return Wanted(str(path), *given, environment, tuple(replaces), manager)

    return make


OWN = {"parser": "station:rows", "sinks": ["sql"]}


def state(pipelines):
    """Everything under the root, to see that nothing changed."""
    return {
        str(path.relative_to(pipelines.root)): os.readlink(path) if path.is_symlink() else path.stat().st_mtime_ns
        for path in Path(pipelines.root).rglob("*")
        if path.name != ".lock"
    }


def in_force(pipelines):
    return {release.name: release.record.get("version") for release in pipelines.in_force()}


def test_a_pipeline_comes_into_force_changes_and_goes(pipelines, wanted):
    assert in_force(pipelines) == {}
    first = pipelines.apply(wanted())
    assert first.changed and first.before == "" and "METEO_alice_station" in first.after
    assert not pipelines.apply(wanted()).changed
    assert pipelines.router().route(DOCUMENT).name == "METEO_alice_station"
    second = pipelines.apply(wanted(version=2, match={**of("meteo"), "content_types": ["text/*"]}))
    assert second.changed and second.before == first.after
    assert in_force(pipelines) == {"METEO_alice_station": "2"}
    pipelines.apply(wanted(version=3, weight="light", match=of("meteo")))
    assert len(os.listdir(pipelines.releases)) == 2  # the one before stays for what still runs in it
    assert pipelines.remove("METEO_alice_station").changed
    assert not pipelines.remove("METEO_alice_station").changed
    assert pipelines.router().route(DOCUMENT).name == "time_series_csv"


def test_json_is_taken_too(pipelines, wanted):
    assert pipelines.apply(wanted("x.json")).changed
    assert pipelines.router().route(DOCUMENT).source.endswith("declaration.json")


def test_what_is_only_tried_changes_nothing(pipelines, wanted):
    assert pipelines.apply(wanted(), check_mode=True).changed
    assert not os.path.exists(pipelines.root)
    pipelines.apply(wanted())
    before = state(pipelines)
    assert pipelines.apply(wanted(version=2), check_mode=True).changed
    assert pipelines.remove("METEO_alice_station", check_mode=True).changed
    assert state(pipelines) == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "station"}, "PROJECT_USER_TASKNAME"),
        ({"version": 2, "weight": "heavy"}, "only light"),
        ({"version": 2, "steps": {"parser": "json:loads", "sinks": ["sql"]}}, "'json:loads' is not the library's"),
        ({"version": 2, "match": of("c")}, "METEO_bob_other.*match the same"),
        ({"match": of("d")}, "x.yml:.*version: the declaration is not that of version 1.*raise"),
        ({"version": 0, "match": of("d")}, "raise the version"),
        (
            {"name": "sensor_json_x", "match": {"content_types": ["text/json"], "data_processing": ["default"]}},
            "sensor_js",
        ),
    ],
)
def test_a_wrong_one_is_refused_and_all_stays(pipelines, wanted, changes, said):
    pipelines.apply(wanted())
    pipelines.apply(wanted(name="METEO_bob_other", match=of("c")))
    before = state(pipelines)
    with pytest.raises(DeclarationError, match=said):
        pipelines.apply(wanted(**changes))
    assert state(pipelines) == before


def test_the_description_may_change_without_the_version(pipelines, wanted):
    pipelines.apply(wanted())
    assert pipelines.apply(wanted(description="all stations")).changed
    assert pipelines.apply(wanted(description="all stations", version="1.1")).changed


def test_one_may_take_the_place_of_another(pipelines, wanted):
    pipelines.apply(wanted())
    pipelines.apply(wanted(name="METEO_bob_other", match=of("c")))
    new = {"name": "METEO_alice_stations"}
    with pytest.raises(DeclarationError, match="METEO_alice_station'"):
        pipelines.apply(wanted(**new))
    outcome = pipelines.apply(wanted(**new, replaces=["METEO_alice_station", "METEO_bob_other"]))
    assert outcome.removed == ("METEO_alice_station",)
    assert sorted(in_force(pipelines)) == ["METEO_alice_stations", "METEO_bob_other"]


def test_a_package_has_an_environment_of_its_own(pipelines, wanted, tmp_path):
    """With pip, as on a host."""
    wheel = project.package_wheel(tmp_path, CODE)
    pipelines.apply(wanted(package=wheel, steps=OWN))
    declaration = pipelines.router().route(DOCUMENT)
    runner = isolated.Runner(isolated.by_child(str(tmp_path)), isolated.Limits())
    with runner:
        assert list(runner(declaration, io.BytesIO(b""), Options(), lambda: None)) == [Row("t", {"n": 1})]
    assert "station" not in sys.modules
    assert not pipelines.apply(wanted(package=wheel, steps=OWN)).changed


def test_a_package_changes_with_its_version_only(pipelines, wanted, quick, tmp_path):
    pipelines.apply(wanted(package=project.package_wheel(tmp_path, CODE), steps=OWN))
    again = project.package_wheel(tmp_path / "again", CODE, stamp=2001)
    assert not pipelines.apply(wanted(package=again, steps=OWN)).changed
    other = project.package_wheel(tmp_path / "other", CODE + "# better\n")
    with pytest.raises(DeclarationError, match="the package or its requirements is not that of version 1"):
        pipelines.apply(wanted(package=other, steps=OWN))
    assert pipelines.apply(wanted(package=other, steps=OWN, version=2)).changed
    assert len(quick) == 2


@pytest.mark.parametrize(
    ("code", "steps", "said"),
    [
        (
            "raise RuntimeError('no licence')\n",
            OWN,
            "METEO_alice_station: its functions cannot be loaded: .*no licence",
        ),
        (CODE, {**OWN, "parser": "station:lines"}, "step 'station:lines'"),
        (CODE, {**OWN, "parser": "weather:rows"}, "No module named 'weather'"),
        (CODE, {**OWN, "transforms": ["station:__name__"]}, "not a function"),
    ],
)
def test_a_package_that_cannot_be_loaded_is_refused(pipelines, wanted, quick, tmp_path, code, steps, said):
    pipelines.apply(wanted())
    before = state(pipelines)
    with pytest.raises(DeclarationError, match=said):
        pipelines.apply(wanted(package=project.package_wheel(tmp_path, code), steps=steps, version=2))
    assert {key: value for key, value in state(pipelines).items() if key != "releases"} == {
        key: value for key, value in before.items() if key != "releases"
    }
    assert pipelines.router().route(DOCUMENT).version == "1"


@pytest.mark.parametrize(
    ("package", "lock", "said"),
    [
        ("station.tar.gz", None, "neither a wheel's file"),
        ("station-1.0-py3-none-any.whl", None, "no wheel that can be read"),
        ("numpy==2.0.0", "numpy==2.0.1 --hash=sha256:0\n", "not in the requirements"),
        (None, "numpy==2.0.1 --hash=sha256:0\n", "requirements are those of a package"),
    ],
)
def test_packages_that_are_none(pipelines, wanted, tmp_path, package, lock, said):
    requirements = None
    if lock:
        requirements = tmp_path / "requirements.txt"
        requirements.write_text(lock)
    steps = OWN if package else DECLARATION["steps"]
    with pytest.raises(DeclarationError, match=said):
        pipelines.apply(wanted(package=package, requirements=requirements, steps=steps))


def test_an_environment_that_cannot_be_made_leaves_nothing(pipelines, wanted, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("no-such-thing @ file:///nowhere\n")
    wheel = project.package_wheel(tmp_path, CODE)
    with pytest.raises(DeclarationError, match="the environment cannot be made: .*pip"):
        pipelines.apply(wanted(package=wheel, requirements=requirements, steps=OWN))
    assert os.listdir(pipelines.releases) == [] and in_force(pipelines) == {}


def test_a_host_that_runs_nothing_only_knows_of_it(pipelines, wanted, quick):
    pipelines.apply(wanted(package="station", steps=OWN, environment=False))
    assert quick == []
    found = pipelines.router().route(DOCUMENT)
    assert (found.name, found.problem, bool(found.environment)) == ("METEO_alice_station", "", True)


@pytest.mark.parametrize("file", ["declaration.yml", "venv"])
def test_a_damaged_one_keeps_its_objects_and_stops_no_other(pipelines, wanted, quick, tmp_path, caplog, file):
    pipelines.apply(wanted(package=project.package_wheel(tmp_path, CODE), steps=OWN))
    pipelines.apply(wanted(name="METEO_bob_other", match=of("c")))
    [release] = Path(pipelines.releases).glob("METEO_alice_station-*")
    if file == "venv":
        shutil.rmtree(release / file)
    else:
        (release / file).write_text("name: [")
    router = pipelines.router()
    found = router.route(DOCUMENT)
    with pytest.raises(LakeError, match="METEO_alice_station.*cannot be run: .*replay its objects"):
        found.check()
    assert router.route({**DOCUMENT, "swift_container": "c"}).problem == ""
    assert router.route({**DOCUMENT, "swift_container": "x"}).name == "time_series_csv"
    assert "METEO_alice_station cannot be run" in caplog.text
    # Others can still be deployed, and this one mended.
    assert pipelines.apply(wanted(name="METEO_bob_third", match=of("e"))).changed
    shutil.rmtree(release)
    pipelines.apply(wanted(package=project.package_wheel(tmp_path, CODE), steps=OWN))
    assert pipelines.router().route(DOCUMENT).problem == ""


def test_one_of_which_nothing_can_be_read_stops_no_other(pipelines, wanted, caplog):
    pipelines.apply(wanted())
    pipelines.apply(wanted(name="METEO_bob_other", match=of("c")))
    [release] = Path(pipelines.releases).glob("METEO_alice_station-*")
    shutil.rmtree(release)
    assert pipelines.router().route({**DOCUMENT, "swift_container": "c"}).name == "METEO_bob_other"
    assert "METEO_alice_station is in force, but cannot be read" in caplog.text
    [alice, _bob] = pipelines.in_force()
    assert alice.describe()["problem"] and alice.describe()["name"] == "METEO_alice_station"


def test_one_that_a_new_built_in_one_is_like_keeps_its_objects(pipelines, wanted, tmp_path, monkeypatch):
    match = {"content_types": ["image/x-new"], "data_processing": ["default"]}
    pipelines.apply(wanted(match=match))
    folder = tmp_path / "built-in"
    folder.mkdir()
    (folder / "new.yml").write_text(yaml.safe_dump({**DECLARATION, "name": "new", "match": match}))
    monkeypatch.setattr("neocampus_lake.pipelines.BUILT_IN", str(folder))
    found = pipelines.router().route({"content_type": "image/x-new", "data_processing": "default"})
    assert (found.name, found.project) == ("METEO_alice_station", True)
    assert "match the same" in found.problem


def test_environments_follow_the_library(pipelines, wanted, quick, tmp_path, monkeypatch):
    pipelines.apply(wanted(package=project.package_wheel(tmp_path, CODE), steps=OWN))
    pipelines.apply(wanted(name="METEO_bob_other", match=of("c")))
    assert pipelines.refresh() == ([], [])
    newer = project.package_wheel(tmp_path / "newer", "", module="neocampus_datalake_lake", version="9")
    monkeypatch.setenv("LAKE_LIBRARY_WHEEL", str(newer))
    assert pipelines.refresh() == (["METEO_alice_station"], [])
    assert pipelines.refresh() == ([], [])
    assert len(quick) == 2 and pipelines.in_force()[0].record["managed_by"] == "m"


@pytest.fixture
def command(pipelines, monkeypatch, capsys):
    """command(*arguments, stdin=""): exit code, output, errors."""

    def run(*arguments, stdin=""):
        monkeypatch.setattr(sys, "argv", ["lake-pipelines", "--root", pipelines.root, *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        return (deployment.main(), *capsys.readouterr())

    return run


def test_the_command(command, wanted, pipelines):
    good = wanted("good.yml").declaration
    assert command("check", good)[:2] == (0, f"{good}: well\n")
    bad = wanted("bad.yml", version=None, name="x").declaration
    code, _out, errors = command("check", good, bad)
    assert code == 1 and len(errors.splitlines()) == 2 and f"{bad}:" in errors
    code, out, _errors = command("apply", stdin=json.dumps({"declaration": good}))
    assert (code, json.loads(out)["changed"]) == (0, True)
    assert command("apply", stdin=json.dumps({"declaration": bad}))[0] == 1
    listed = json.loads(command("list", "--json")[1])["pipelines"]
    assert [item["source"] for item in listed if item["name"] == "METEO_alice_station"] == ["project"]
    assert "METEO_alice_station" in command("list")[1] and "sensor_json" in command("list")[1]
    assert json.loads(command("remove", "METEO_alice_station", "--check")[1])["changed"]
    assert json.loads(command("remove", "METEO_alice_station")[1])["changed"]
    assert command("refresh") == (0, "", "")
    with pytest.raises(NoPipeline):
        pipelines.router().route({"content_type": "a/b"})
