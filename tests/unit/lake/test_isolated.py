# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps in a process of their own: what they do well comes back, what they do badly is their object's alone."""

from __future__ import annotations

import importlib.util
import io
import os
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from neocampus_lake import isolated
from neocampus_lake.errors import LakeError, ParseError, StoreError
from neocampus_lake.parsers.report import Options
from neocampus_lake.pipelines import Declaration
from neocampus_lake.records import Document, Row

_spec = importlib.util.spec_from_file_location("project_of_tests", Path(__file__).with_name("project.py"))
project = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(project)

CODE = """
import ctypes, os, signal, subprocess, sys, tempfile, time
from neocampus_lake.errors import ParseError
from neocampus_lake.parsers.report import report_of
from neocampus_lake.records import Document, Row

def rows(stream, options):
    for number, line in enumerate(stream, 1):
        if line.startswith(b"bad"):
            report_of(options).add(number, "no number in it")
        else:
            yield Row(options["table"], {"text": line.decode().strip()}, number)

def upper(records, options):
    for record in records:
        yield Row(record.table, {"text": record.values["text"].upper() + options["end"]}, record.line)

def told(stream, options):
    print("this is printed")
    yield Document({"options": dict(options), "env": dict(os.environ), "cwd": os.getcwd(), "argv": sys.argv,
                    "files": sorted(os.listdir("/proc/self/fd")), "temporary": tempfile.gettempdir()})

def acts(stream, options):
    what = stream.read().decode()
    yield Row("t", {"before": 1})
    if what == "segfault":
        ctypes.string_at(0)
    elif what == "exit":
        os._exit(0)
    elif what == "status":
        sys.exit(3)
    elif what == "hang":
        time.sleep(1000)
    elif what == "spin":
        while True:
            pass
    elif what == "memory":
        held = [b"x" * 1024 * 1024 for _ in range(10_000)]
    elif what == "raise":
        print("near the end", file=sys.stderr)
        raise KeyError("station")
    elif what == "parse":
        raise ParseError("no header", 3)
    elif what == "set":
        yield {1, 2}
    elif what == "garbage":
        for number in range(3, 50):
            try:
                os.write(number, b"\\xff{not a record}\\n")
            except OSError:
                pass
    elif what == "child":
        subprocess.Popen(["sleep", "1000"])
    elif what == "long":
        yield Row("t", {"x": "y" * 40_000_000})

def many(stream, options):
    for number in range(100_000):
        yield Row("t", {"n": number, "text": "x" * 50}, number)
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A folder with venv/, as a release has it."""
    folder = tmp_path_factory.mktemp("release")
    project.environment(folder / "venv", CODE)
    return folder


@pytest.fixture
def runner(release, tmp_path):
    limits = isolated.Limits(memory=400 * 1024 * 1024, cpu=2)
    with isolated.Runner(isolated.by_child(str(tmp_path)), limits) as made:
        yield made


@pytest.fixture
def run(release, runner):
    """run(function, content, …) -> (records, options)."""

    def _run(function, content=b"", transforms=(), check=lambda: None, **given):
        steps = {"parser": f"station:{function}", "transforms": list(transforms), "sinks": ["sql"]}
        data = {"name": "A_B_" + function, "version": 1, "match": {"containers": ["a"]}, "steps": steps}
        declaration = Declaration.from_dict(data, environment=str(release))
        options = Options(given)
        stream = content if hasattr(content, "read") else io.BytesIO(content)
        return list(runner(declaration, stream, options, check)), options

    return _run


def test_records_come_back_and_left_out_rows_are_told(run):
    transform = {"function": "station:upper", "options": {"end": "!"}}
    content = b"one\nbad\ntwo\n" + b"bad\n" * 30
    records, options = run("rows", content, [transform], table="t")
    assert records == [Row("t", {"text": "ONE!"}, 1), Row("t", {"text": "TWO!"}, 3)]
    assert options.report.count == 31
    assert options.report.items[0] == {"line": 2, "message": "no number in it"} and len(options.report.items) == 20


def test_nothing_of_this_process_is_given_on(run, monkeypatch):
    monkeypatch.setenv("LAKE_SECRET", "not-for-you")
    metadata = {"_id": 3, "creation_date": datetime(2024, 1, 1, tzinfo=UTC), "x": object(), "failed_operations": [1]}
    with open(os.devnull) as kept, socket.socket() as other:
        os.set_inheritable(kept.fileno(), True)
        [told], _options = run("told", metadata=metadata, price=Decimal("1.5"), filename="a.csv")
        assert other.fileno() > 0
    assert isinstance(told, Document)
    assert set(told.value["env"]) <= {"PATH", "LANG", "LC_CTYPE", "HOME", "TMPDIR"}
    assert told.value["options"]["price"] == Decimal("1.5")
    assert told.value["options"]["metadata"]["creation_date"] == metadata["creation_date"]
    assert "failed_operations" not in told.value["options"]["metadata"]
    assert len(told.value["files"]) <= 5  # 0, 1, 2, the way out, and the folder that is being listed
    assert told.value["cwd"] == told.value["temporary"] == told.value["env"]["TMPDIR"]
    assert not os.path.exists(told.value["cwd"])


@pytest.mark.parametrize(
    ("what", "error", "said"),
    [
        ("segfault", LakeError, "SIGSEGV"),
        ("exit", LakeError, "ended early, with status 0"),
        ("status", LakeError, "the pipeline failed: SystemExit: 3"),
        ("memory", LakeError, "MemoryError"),
        ("spin", LakeError, "more processor time"),
        ("raise", LakeError, "(?s)the pipeline failed: KeyError: 'station'.*near the end.*Traceback"),
        ("parse", ParseError, "line 3: no header"),
        ("set", ParseError, "set, which is no record"),
        ("garbage", LakeError, "write what is no record"),
        ("long", LakeError, "over .* bytes"),
    ],
)
def test_what_goes_wrong_is_the_object_s_alone(run, what, error, said):
    with pytest.raises(error, match=said):
        run("acts", what.encode())
    assert run("acts", b"nothing")[0] == [Row("t", {"before": 1})]


def test_a_hang_ends_when_the_caller_has_enough(run, runner):
    start = time.monotonic()

    def check():
        if time.monotonic() - start > 1.5:
            raise LakeError("given up after 1.5 s")

    with pytest.raises(LakeError, match="given up"):
        run("acts", b"hang", check=check)
    assert time.monotonic() - start < 6
    assert run("acts", b"")[0]


def test_what_it_started_ends_with_it(run):
    before = subprocess.run(["pgrep", "-fc", "^sleep 1000"], capture_output=True, text=True).stdout
    assert run("acts", b"child")[0]
    time.sleep(0.2)
    assert subprocess.run(["pgrep", "-fc", "^sleep 1000"], capture_output=True, text=True).stdout == before


def test_one_process_serves_many_objects(run, runner):
    run("acts", b"")
    [first] = runner._running.values()
    run("acts", b"")
    assert list(runner._running.values()) == [first]


def test_much_comes_out_and_little_is_read(run):
    class Endless(io.RawIOBase):
        read_in_all = 0

        def read(self, size=-1):
            Endless.read_in_all += size
            return b"x" * size

    records, _options = run("many", Endless())
    assert len(records) == 100_000
    assert Endless.read_in_all < 100_000_000


def test_large_content_goes_in(run):
    content = b"".join(b"%030d\n" % number for number in range(50_000))
    records, _options = run("rows", content, table="t")
    assert len(records) == 50_000 and int(records[-1].values["text"]) == 49_999


def test_a_caller_that_stops_early_ends_the_process(release, runner):
    steps = {"parser": "station:many", "sinks": ["sql"]}
    data = {"name": "A_B_C", "version": 1, "match": {"containers": ["a"]}, "steps": steps}
    declaration = Declaration.from_dict(data, environment=str(release))
    records = runner(declaration, io.BytesIO(b""), Options(), lambda: None)
    assert next(records).values["n"] == 0
    records.close()
    [steps] = runner._running.values()
    assert not steps.is_usable and steps._process._child.returncode is not None


def test_functions_that_cannot_be_loaded(release, run, tmp_path):
    with pytest.raises(LakeError, match="step 'station:nothing'"):
        run("nothing")
    [site] = release.glob("venv/lib/python*/site-packages")
    (site / "noisy.py").write_text("print('looking for the licence')\nraise RuntimeError('no licence')\n")
    process = isolated.spawn(str(release / "venv/bin/python"), str(tmp_path))
    with pytest.raises(LakeError, match="RuntimeError: no licence; it printed: looking for the licence"):
        isolated.Steps(process, isolated.Step("noisy:parse"), (), isolated.Limits())


def test_what_cannot_be_started_is_no_object_s_fault(tmp_path):
    with pytest.raises(StoreError) as caught:
        isolated.spawn(str(tmp_path / "python"), str(tmp_path))
    assert caught.value.retriable
    with pytest.raises(StoreError, match="does not answer"):
        isolated.call(str(tmp_path / "socket"), "A_B_C-1")


def test_an_interpreter_without_the_library_says_so(tmp_path):
    process = isolated.spawn("/usr/bin/python3", str(tmp_path))
    with pytest.raises(LakeError, match="No module named"):
        isolated.Steps(process, isolated.Step("json:loads"), (), isolated.Limits())


def test_the_service_goes_on_in_the_environment_of_a_release(release, tmp_path):
    """As systemd does: a process for each connection, which is its standard input."""
    releases = tmp_path / "releases"
    releases.mkdir()
    (releases / "A_B_C-0123").symlink_to(release)
    path = str(tmp_path / "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    python = str(release / "venv/bin/python")

    def serve():
        for _ in range(2):
            connection, _address = listener.accept()
            command = [python, "-I", "-m", "neocampus_lake.steps", "launch", str(releases)]
            subprocess.Popen(command, stdin=connection.fileno())
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    for name, said in (("A_B_C-0123", None), ("../../A_B_C-0123", "not the name of a release")):
        process = isolated.call(path, name)
        if said:
            with pytest.raises(LakeError, match=said):
                isolated.Steps(process, isolated.Step("station:acts"), (), isolated.Limits())
        else:
            steps = isolated.Steps(process, isolated.Step("station:acts"), (), isolated.Limits())
            assert list(steps.run(io.BytesIO(b""), Options(), lambda: None)) == [Row("t", {"before": 1})]
            steps.close()
    thread.join(10)
    listener.close()


def test_without_an_environment_steps_run_here(tmp_path, monkeypatch):
    data = {"name": "A_B_C", "version": 1, "match": {"containers": ["a"]}}
    declaration = Declaration.from_dict({**data, "steps": {"parser": "sensor_json", "sinks": ["influxdb"]}})
    message = b'{"topic": "u4/302/humidity", "value": 1, "value_units": "%", "time": "2021-07-22T11:11:22Z"}'
    with isolated.Runner(isolated.by_child(str(tmp_path)), isolated.Limits()) as runner:
        [here] = runner(declaration, io.BytesIO(message), Options(), lambda: None)
        assert not runner._running
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with isolated.Runner(isolated.by_child(str(tmp_path)), isolated.Limits(), everything=True) as runner:
        with pytest.raises(StoreError, match="nowhere"):
            list(runner(declaration, io.BytesIO(message), Options(), lambda: None))
    assert here.measurement == "%"
