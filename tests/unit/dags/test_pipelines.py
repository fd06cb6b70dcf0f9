# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pipelines of a worker, and the commands that say what would happen and have objects processed again."""

from __future__ import annotations

import io
import json
import sys

import pytest

pytest.importorskip("keystoneauth1")

from lake_airflow import again, dry_run, pipelines, stores, swift  # noqa: E402
from neocampus_lake.deployment import Pipelines, Wanted  # noqa: E402
from neocampus_lake.documents import new_document  # noqa: E402
from neocampus_lake.errors import DeclarationError  # noqa: E402
from neocampus_lake.metadata import MetadataStore  # noqa: E402

OWN = {
    "name": "METEO_alice_station",
    "version": 1,
    "match": {"content_types": ["application/json"], "containers": ["meteo"], "data_processing": ["default"]},
    "steps": {"parser": {"function": "sensor_json", "options": {"layout": "topic"}}, "sinks": ["influxdb"]},
}
MESSAGE = {"topic": "u4/302/humidity", "value": 35, "value_units": "%", "time": "2021-07-22T11:11:22Z"}


@pytest.fixture
def config(tmp_path, client, monkeypatch):
    """lake.json of a worker with a project's pipeline, and the metadata store."""
    config = {
        "pipelines_dir": str(tmp_path / "pipelines"),
        "steps_socket": str(tmp_path / "socket"),
        "steps_memory": 100_000_000,
        "object_seconds": 60,
    }
    file = tmp_path / "declaration.json"
    file.write_text(json.dumps(OWN))
    Pipelines(config["pipelines_dir"]).apply(Wanted(str(file)))
    monkeypatch.setattr(stores, "settings", lambda: config)
    monkeypatch.setattr(stores, "mongodb", lambda config: client)
    return config


@pytest.fixture
def objects(client, monkeypatch):
    """Objects 1 to 3 in the container meteo of project p1, one in that of p2, and what Swift has."""
    metadata = MetadataStore(client)
    for project, numbers in (("p1", (1, 2, 3)), ("p2", (4,))):
        store = metadata.store_for(project, "meteo", create=True)
        for number in numbers:
            document = new_document(
                object_id=str(number),
                container="meteo",
                project_id=project,
                user="alice",
                object_name=str(number),
                original_name="messages.json",
                content_type="application/json",
                size=3,
                status="stored",
            )
            document["failed_operations"] = [{"pipeline": "METEO_alice_station", "version": "1"}]
            metadata.insert(store, document)

    class Objects:
        def open(self, project, container, name):
            return io.BytesIO(json.dumps({**MESSAGE, "value": int(name)}).encode())

    monkeypatch.setattr(swift, "connect", lambda config: Objects())


@pytest.fixture
def command(monkeypatch, capsys):
    """command(main, *arguments): exit code, output, errors."""

    def run(main, *arguments):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        try:
            code = main()
        except SystemExit as error:
            code = error.code
        return (code, *capsys.readouterr())

    return run


def test_a_project_s_pipeline_is_in_force(config):
    document = {"content_type": "application/json", "swift_container": "meteo", "data_processing": "default"}
    assert pipelines.router(config).route(document).name == "METEO_alice_station"


def test_a_heavy_one_of_the_library_stops_the_batch(config, tmp_path, monkeypatch):
    (tmp_path / "heavy.json").write_text(json.dumps({**OWN, "name": "heavy", "weight": "heavy"}))
    monkeypatch.setattr("neocampus_lake.pipelines.BUILT_IN", str(tmp_path / "heavy.json"))
    (tmp_path / "pipelines/in-force/METEO_alice_station").unlink()
    with pytest.raises(DeclarationError, match="'heavy' is heavy; only light ones"):
        pipelines.router(config)


def test_what_would_happen_to_a_file(config, command, tmp_path):
    file = tmp_path / "messages.json"
    file.write_text(json.dumps([MESSAGE]))
    code, out, _errors = command(dry_run.main, file)
    assert code == 0 and "sensor_json version 1" in out and "point → influxdb" in out
    code, out, _errors = command(dry_run.main, file, "--container", "meteo", "--json")
    said = json.loads(out)
    assert (code, said["pipeline"], said["records"][0]["measurement"]) == (0, "METEO_alice_station", MESSAGE["topic"])
    code, out, _errors = command(dry_run.main, file, "--metadata", '{"data_processing": "custom"}')
    assert code == 1 and "no pipeline handles" in out


def test_what_would_happen_to_an_object_again(config, objects, command):
    given = ("--container", "meteo", "--project", "p1", "--id", "2")
    code, out, _errors = command(dry_run.main, *given)
    assert code == 0 and "METEO_alice_station" in out and '"%":2' in out
    code, out, _errors = command(dry_run.main, *given, "--content-type", "image/gif", "--name", "x.gif")
    assert "its content is:  application/json" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give a FILE"),
        (("--id", "3"), "give a FILE"),
        (("/nowhere/x",), "/nowhere/x cannot be read"),
        (("--container", "meteo", "--id", "1"), "several projects have a container 'meteo'.*p1, p2"),
        (("--container", "meteo", "--project", "p3", "--id", "1"), "no container 'meteo' .* in that project"),
        (("--container", "x", "--id", "1"), "no container 'x'"),
        (("--container", "meteo", "--project", "p1", "--id", "9"), "has no object 9"),
        (("--container", "meteo", "--project", "p1", "--id", "1", "--metadata", "{"), "no JSON"),
        (("--container", "meteo", "--project", "p1", "--id", "x"), "not an object's id"),
    ],
)
def test_questions_that_are_none(config, objects, command, arguments, said):
    import re

    code, out, errors = command(dry_run.main, *arguments)
    assert (code, out) == (2, "") and re.search(said, errors)


def listed(client):
    found = client["stats"]["swift"].find({"swift_id": {"$exists": True}})
    return sorted((entry["project_id"], entry["swift_id"]) for entry in found)


def test_objects_are_processed_again(config, objects, command, client):
    given = ("--pipeline", "METEO_alice_station", "--version", "1")
    code, out, _errors = command(again.main, *given, "--dry-run")
    assert (code, listed(client)) == (0, [])
    assert out == "p1/meteo: 3 objects would be processed again\np2/meteo: 1 objects would be processed again\n"
    code, out, _errors = command(again.main, "--container", "meteo", "--project", "p1", "--id", "1", "--id", "3")
    assert out == "p1/meteo: 2 objects are on the list of data to process, 2 of them now\n"
    assert listed(client) == [("p1", "1"), ("p1", "3")]
    assert command(again.main, *given)[0] == 0
    assert listed(client) == [("p1", "1"), ("p1", "2"), ("p1", "3"), ("p2", "4")]
    assert command(again.main, "--to", "2020-01-01T00:00:00Z") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say which objects"),
        (("--id", "1"), "--id needs --container"),
        (("--container", "meteo", "--id", "1"), "several projects"),
        (("--from", "yesterday"), "yesterday"),
        (("--pipeline", "x", "--project", "p9"), "no container of project 'p9'"),
    ],
)
def test_wishes_that_are_none(config, objects, command, client, arguments, said):
    code, out, errors = command(again.main, *arguments)
    assert (code, out, listed(client)) == (2, "", []) and said in errors
