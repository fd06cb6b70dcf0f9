# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Projects' pipelines on a worker: what is refused, and what a project's own code can reach."""

from __future__ import annotations

import base64
import io
import json
import zipfile

import pytest

TOOL = "/opt/neocampus/airflow/bin/lake-pipelines"
NAME = "MOLECULE_test_reach"
FOLDER = "/var/tmp/molecule-pipelines"
DECLARATION = {
    "name": NAME,
    "version": 1,
    "match": {"containers": ["molecule-reach"], "filenames": ["*.reach"]},
    "steps": {"parser": "molecule_reach:parse", "sinks": ["sql"]},
}
# What it finds goes into a row; its file says what it shall do.
CODE = """
import os, socket
from neocampus_lake.records import Row

def reads(path):
    try:
        return len(os.listdir(path) if os.path.isdir(path) else open(path).read())
    except OSError as error:
        return type(error).__name__

def parse(stream, options):
    if stream.read() == b"memory":
        held = [bytes(1024 * 1024) for _ in range(100_000)]
    try:
        socket.create_connection(("127.0.0.1", 8793), 2)
        network = "reached"
    except OSError as error:
        network = type(error).__name__
    found = {path: reads(path) for path in ("/etc/airflow/lake.json", "/etc/airflow", "/var/log/airflow")}
    try:
        open("/opt/neocampus/x", "w")
        written = "written"
    except OSError as error:
        written = type(error).__name__
    yield Row("reach", {"user": str(os.getuid()), "network": network, "written": written,
                        "environment": ",".join(sorted(os.environ)), **{k: str(v) for k, v in found.items()}})
"""


def wheel(code: str) -> bytes:
    """A package with one module."""
    name, info = "molecule_reach", "molecule_reach-1.0.dist-info"
    contents = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    contents[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, content in contents.items():
            archive.writestr(path, content)
    return packed.getvalue()


@pytest.fixture(scope="module")
def worker(node):
    """process2, from which the pipeline goes again at the end."""
    host = node("process2")
    host.check_output(f"mkdir -p {FOLDER}")
    yield host
    host.check_output(f"{TOOL} remove {NAME}; rm -rf {FOLDER}")


def lay(host, name: str, content: bytes) -> str:
    path = f"{FOLDER}/{name}"
    host.check_output(f"echo {base64.b64encode(content).decode()} | base64 -d > {path}")
    return path


@pytest.fixture(scope="module")
def deploy(worker):
    """deploy(code, **changes): what the tool answers."""

    def run(code: str, **changes):
        request = {
            "declaration": lay(worker, "declaration.json", json.dumps({**DECLARATION, **changes}).encode()),
            "package": lay(worker, "molecule_reach-1.0-py3-none-any.whl", wheel(code)),
        }
        return worker.run(f"echo '{json.dumps(request)}' | {TOOL} apply")

    return run


def dry_run(host, content: str) -> dict:
    path = lay(host, "x.reach", content.encode())
    command = f"/opt/neocampus/airflow/bin/lake-airflow-dry-run {path} --container molecule-reach --json"
    return json.loads(host.run(f"cd / && runuser -u airflow -- {command}").stdout)


def test_the_socket_waits_for_the_workers_alone(node):
    for name in ("process1", "process2"):
        host = node(name)
        assert host.service("lake-steps.socket").is_running and host.service("lake-steps.socket").is_enabled
        socket = host.file("/run/lake-steps.socket")
        assert (socket.user, socket.mode) == ("airflow", 0o600)


def test_code_that_cannot_be_loaded_is_refused_and_runs_as_nobody(worker, deploy):
    refused = deploy("import os\nprint('user', os.getuid())\nraise RuntimeError('no licence')\n")
    assert refused.rc == 1 and "no licence" in refused.stderr
    assert f"user {worker.user('nobody').uid}" in refused.stderr
    assert NAME not in worker.check_output(f"{TOOL} list")


def test_a_project_s_code_reaches_nothing(worker, deploy):
    done = deploy(CODE)
    assert done.rc == 0, done.stderr
    said = dry_run(worker, "x")
    assert (said["pipeline"], said["problem"]) == (NAME, None), said
    [row] = [record["values"] for record in said["records"]]
    assert int(row["user"]) not in (0, worker.user("airflow").uid)
    assert row["network"] != "reached" and row["written"] != "written"
    for path in ("/etc/airflow/lake.json", "/etc/airflow", "/var/log/airflow"):
        assert row[path] in ("PermissionError", "FileNotFoundError", "0"), row
    assert "AIRFLOW_HOME" not in row["environment"]


def test_too_much_memory_is_the_object_s_own(worker, deploy):
    assert deploy(CODE).rc == 0
    assert "MemoryError" in dry_run(worker, "memory")["problem"] or "SIGKILL" in dry_run(worker, "memory")["problem"]
    assert dry_run(worker, "x")["problem"] is None


def test_a_changed_one_needs_another_version(deploy):
    assert deploy(CODE).rc == 0
    refused = deploy(CODE + "\nMORE = 1\n")
    assert refused.rc == 1 and "raise the version" in refused.stderr
    assert deploy(CODE + "\nMORE = 1\n", version=2).rc == 0


def test_no_process_stays_behind(worker):
    assert worker.run("pgrep -f neocampus_lake[.]steps").stdout.strip() == ""
