# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills during a large upload: it is gone on with, and what the lake has is what was sent.

    python tests/faults/uploads.py [--environment local] [--mib 1024] [--parallel 1] [--markdown FILE] [FAULT …]

For each fault a file of random bytes is sent with the library's client. At a quarter, at half and at three quarters of
it the fault happens: kill -9 of the client (which is then started again), of the API, or of all Swift proxies. In the
end the object is read back: its SHA-256 has to be the file's, and it has to be the only one, stored.
Exit status 1 where that is not so.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import multiprocessing
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ingest import Person
from nodes import DATA, NodeError, Nodes

ROOT = Path(__file__).resolve().parent.parent.parent
LIBRARY = ROOT / "collections/ansible_collections/neocampus/datalake/plugins/module_utils/lake"
POINTS = (0.25, 0.5, 0.75)
BLOCK = 1 << 20
PATIENCE = 1800.0  # seconds for one upload
COLUMNS = ("fault", "size", "kills", "seconds", "MiB/s", "verdict")

Kill = Callable[[Nodes, BaseProcess], None]

FAULTS: dict[str, tuple[str, Kill]] = {
    "none": ("nothing happens", lambda nodes, client: None),
    "client": ("kill -9 of the client", lambda nodes, client: client.kill()),
    "api": ("kill -9 of the REST API", lambda nodes, client: nodes.kill("edge1", "lake-api")),
    "proxy": ("kill -9 of all Swift proxies", lambda nodes, client: _kill_proxies(nodes)),
}


def _kill_proxies(nodes: Nodes) -> None:
    for node in DATA:
        nodes.kill(node, "swift-proxy")


def library() -> None:
    """Make the library importable as `neocampus_lake`, from this tree, where it is not installed."""
    if importlib.util.find_spec("neocampus_lake") is None:
        spec = importlib.util.spec_from_file_location(
            "neocampus_lake", LIBRARY / "__init__.py", submodule_search_locations=[str(LIBRARY)]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"there is no library in {LIBRARY}")
        package = importlib.util.module_from_spec(spec)
        sys.modules["neocampus_lake"] = package
        spec.loader.exec_module(package)


def client_of(person: Person) -> Any:
    """A client of the library with a person's token."""
    library()
    from neocampus_lake.client import LakeClient

    return LakeClient(person.rc["LAKE_API_URL"], ca_file=person.rc["OS_CACERT"], token=person.token)


def make(path: Path, mib: int) -> str:
    """A file of random bytes; its SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        for _ in range(mib):
            block = os.urandom(BLOCK)
            digest.update(block)
            stream.write(block)
    return digest.hexdigest()


def send(person: Person, container: str, path: Path, parallel: int, answer: Any) -> None:
    """What the client's process does."""
    document = client_of(person).upload_large(container, path, {"application": "faults"}, parallel=parallel)
    answer.send(document["swift_object_id"])


def offset_of(client: Any, container: str) -> int:
    """Bytes of a container's uploads that are in the lake."""
    return sum(one["offset"] for one in client.uploads() if one["container"] == container and not one["joins"])


def try_fault(name: str, person: Person, nodes: Nodes, mib: int, parallel: int) -> tuple[tuple[str, ...], bool]:
    """Upload with one fault: cells of the table, and whether all was well. Errors: NodeError, LakeError."""
    what, kill = FAULTS[name]
    container, client = f"faults-upload-{uuid.uuid4().hex[:8]}", client_of(person)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
        path = Path(folder) / "large.bin"
        digest = make(path, mib)
        started, kills = time.monotonic(), 0
        points = [int(point * path.stat().st_size) for point in POINTS] if name != "none" else []
        receiving, sending = context.Pipe(duplex=False)

        def begin() -> BaseProcess:
            process = context.Process(target=send, args=(person, container, path, parallel, sending))
            process.start()
            return process

        process = begin()
        try:
            while not receiving.poll(0.2):
                if time.monotonic() - started > PATIENCE:
                    return (what, f"{mib} MiB", str(kills), "", "", f"not within {PATIENCE:g} s"), False
                if points and _reached(client, container, points[0]):
                    points.pop(0)
                    kill(nodes, process)
                    kills += 1
                if not process.is_alive() and not receiving.poll(0.2):
                    process.join()
                    if name != "client":
                        return (what, f"{mib} MiB", str(kills), "", "", "the client gave up"), False
                    process = begin()
            object_id = receiving.recv()
            seconds = time.monotonic() - started
        finally:
            process.kill()
            process.join()
    verdict = check(client, container, object_id, digest, kills if name != "none" else len(POINTS))
    cells = (what, f"{mib} MiB", str(kills), f"{seconds:.0f}", f"{mib / seconds:.0f}", verdict or "checksum equal")
    return cells, not verdict


def _reached(client: Any, container: str, point: int) -> bool:
    from neocampus_lake.errors import LakeError

    try:
        return offset_of(client, container) >= point
    except LakeError:  # what was killed is on its way back
        return False


def check(client: Any, container: str, object_id: str, digest: str, kills: int) -> str:
    """What is wrong with the object, or nothing."""
    found = hashlib.sha256()
    with client.data(container, object_id) as stream:
        while block := stream.read(BLOCK):
            found.update(block)
    if found.hexdigest() != digest:
        return "ANOTHER CHECKSUM"
    if kills < len(POINTS):
        return f"only {kills} of {len(POINTS)} kills happened in time: send a larger file"
    objects = list(client.list(container))
    if len(objects) != 1 or objects[0]["status"] != "stored":
        return f"{len(objects)} objects, or one that is not stored"
    return ""


def main() -> int:
    """Try the faults one after the other; 1 where one of them cost something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", choices=["local", "test"], default="local")
    parser.add_argument("--mib", type=int, default=1024, help="size of the file")
    parser.add_argument("--parallel", type=int, default=1, help="parts that are sent side by side")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"all of {', '.join(FAULTS)} where none is named")
    given = parser.parse_args()
    unknown = set(given.faults) - set(FAULTS)
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    person, nodes = Person(ROOT / f"build/{given.environment}/openrc"), Nodes(given.environment)
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    print(*lines, sep="\n", flush=True)
    well = True
    for name in given.faults or FAULTS:
        try:
            cells, right = try_fault(name, person, nodes, given.mib, given.parallel)
        except NodeError as error:
            cells, right = (FAULTS[name][0], "", "", "", "", str(error)[:200]), False
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
        well = well and right
    if given.markdown:
        given.markdown.write_text("\n".join(lines) + "\n")
    print(f"\n{'every upload came whole' if well else 'FAILED: see the verdicts'}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
