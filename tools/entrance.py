# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people do at the one way in, besides putting files: metadata models, search, large files that survive a cut,
files that the lake fetches itself, and what happens as it happens. Each is done on the running lake, and looked at."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neocampus_lake.client import LakeClient
from neocampus_lake.errors import Conflict, InvalidInput
from steps import ROOT, StepFailed

MIB = 1024 * 1024
LARGE = 160 * MIB
PATIENCE = 60.0
HOST = "edge1"
SSH_PORT = 2222
MODEL: dict[str, Any] = {
    "label": "demo-room",
    "description": "What belongs to a room of the campus",
    "metadata": [
        {"name": "room", "type": "text", "required": True, "pattern": "^u[0-9]/[0-9]{3}$"},
        {"name": "height", "type": "number", "unit": "m", "minimum": 0, "maximum": 30},
        {"name": "kind", "type": "enumeration", "values": ["indoor", "outdoor"], "default": "indoor"},
    ],
}


class Wrong(Exception):
    """What was seen is not what has to be."""


def check(right: bool, words: str) -> None:
    """Wrong unless `right`."""
    if not right:
        raise Wrong(words)


class _Cut(Exception):
    """Stands for a client that dies."""


class Entrance:
    """Does each of `parts` with a client that is logged in; a part says in a few words what was seen, or raises Wrong,
    LakeError or StepFailed."""

    def __init__(self, api: LakeClient, folder: Path, say: Callable[[str], None]) -> None:
        self.api, self.folder, self.say = api, folder, say
        self.parts: dict[str, Callable[[], str]] = {
            "metadata model": self.model,
            "search": self.search,
            "resumable upload": self.upload,
            "pull from an SSH server": self.pull,
            "live events": self.live,
        }

    def model(self) -> str:
        """A container demands a model: what does not follow it is refused, what does has its defaults."""
        try:
            self.api.create_model(MODEL)
        except Conflict:
            pass  # from an earlier run
        container = f"demo-rooms-{uuid.uuid4().hex[:6]}"
        self.api.insert(container, b"first", {"other_data": {"room": "u4/302"}}, name="plan.txt")
        self.api.demand_model(container, MODEL["label"])
        end = time.monotonic() + PATIENCE
        while True:  # a demand holds in all processes within some seconds
            try:
                self.api.insert(container, b"a room of no house", {"other_data": {"height": 40}}, name="bad.txt")
            except InvalidInput as error:
                refused = str(error)
                break
            check(time.monotonic() < end, "what does not follow the model is not refused")
            time.sleep(0.5)
        check("room" in refused and "height" in refused, f"the refusal does not name the fields: {refused}")
        given = {"other_data": {"room": "u4/303", "height": 2.8}}
        document = self.api.insert(container, b"a room", given, name="good.txt")
        check(document["model"]["valid"] and document["other_data"]["kind"] == "indoor", f"not followed: {document}")
        return "without room, 40 m high: refused, both named; u4/303, 2.8 m: taken, kind is indoor by default"

    def search(self) -> str:
        """Words of the metadata find the samples, and what they are is counted."""
        found = list(self.api.search("demonstrat*"))
        check(bool(found), "nothing is found")
        facets = self.api.facets(["content_type", "container"], "demonstrat*")
        types = facets["by"]["content_type"]
        check(facets["counted"] == len(found), f"{len(found)} found, {facets['counted']} counted")
        most = ", ".join(f"{one['count']} {one['value']}" for one in types[:3])
        return f"demonstrat*: {len(found)} objects in {len(facets['by']['container'])} containers; {most}, …"

    def upload(self) -> str:
        """A large file, cut off in the middle, goes on where it was; its checksum is the same at the end."""
        path = self.folder / "large.bin"
        digest = hashlib.sha256()
        with path.open("wb") as file:
            for _ in range(LARGE // MIB):
                piece = os.urandom(MIB)
                digest.update(piece)
                file.write(piece)
        seen: list[int] = []

        def progress(done: int, size: int) -> None:
            if not seen or done - seen[-1] >= 16 * MIB or done == size:
                self.say(f"   large.bin: {done // MIB} of {size // MIB} MiB")
            seen.append(done)

        def dies(done: int, size: int) -> None:
            progress(done, size)
            if done >= size // 2:
                raise _Cut

        try:
            self.api.upload_large("demo-large", path, progress=dies)
        except _Cut:
            self.say("   large.bin: the client dies, and another one goes on")
        [held] = [one["offset"] for one in self.api.uploads(status="receiving") if one["container"] == "demo-large"]
        check(0 < held < LARGE, f"{held} bytes are kept of the upload that was cut off")
        document = self.api.upload_large("demo-large", path, progress=progress)
        path.unlink()
        with self.api.data("demo-large", document["swift_object_id"]) as stream:
            got = hashlib.file_digest(stream, "sha256").hexdigest()
        check(got == digest.hexdigest(), "the checksum is another")
        return f"{LARGE // MIB} MiB, cut off and gone on with at {held // MIB}; SHA-256 is the same"

    def pull(self) -> str:
        """The lake fetches files from an SSH server, whose key it is told; another key is refused."""
        password, unit = secrets.token_urlsafe(), f"demo-ssh-{uuid.uuid4().hex[:6]}"
        address = _on_host("getent", "hosts", f"{HOST}.access.lake.internal").split()[0]
        _on_host("sh", "-c", "rm -rf /run/demo-ssh && mkdir -p /run/demo-ssh/day")
        for name in ("messages.json", "export.csv"):
            _lay(f"day/{name}", (ROOT / "samples" / name).read_text())
        _lay("server.py", (ROOT / "tools/ssh_server.py").read_text())
        _lay("password", password)
        serve = f"/opt/neocampus/api/bin/python /run/demo-ssh/server.py {address} {SSH_PORT} /run/demo-ssh sensor"
        started = f"{serve} /run/demo-ssh/fingerprint </run/demo-ssh/password"
        _on_host("systemd-run", "--quiet", "--collect", f"--unit={unit}", "sh", "-c", f"exec {started}")
        try:
            waiting = "for n in $(seq 100); do test -s /run/demo-ssh/fingerprint && exit; sleep 0.1; done; exit 1"
            _on_host("sh", "-c", waiting)
            key = _on_host("cat", "/run/demo-ssh/fingerprint")
            url = f"sftp://sensor@{address}:{SSH_PORT}/day/*"
            given = {"url": url, "password": password, "metadata": {"application": "demonstration"}}
            good = self._pulled(host_key=key, **given)
            check(good["status"] == "done" and good["run"]["done"] == 2, f"not pulled: {good}")
            bad = self._pulled(host_key="SHA256:" + "A" * 43, **given)
            check(bad["status"] == "failed", f"another key is taken: {bad}")
        finally:
            _on_host("sh", "-c", f"systemctl stop {unit}; rm -rf /run/demo-ssh")
        return f"2 files of {good['run']['bytes']:,} bytes; from a server with another key: none"

    def _pulled(self, **given: Any) -> dict[str, Any]:
        """A pull that is over."""
        pull = self.api.pull("demo-pulled", **given)
        end = time.monotonic() + PATIENCE
        while pull["status"] not in ("done", "failed"):
            check(time.monotonic() < end, f"the pull takes too long: {pull}")
            time.sleep(0.3)
            pull = self.api.get_pull("demo-pulled", pull["id"])
        return pull

    def live(self) -> str:
        """Who listens is told of new points as soon as they are in gold."""
        container = f"demo-live-{uuid.uuid4().hex[:6]}"
        first = self.api.insert(container, ROOT / "samples/reading.json")
        self.api.wait_processed(container, first["swift_object_id"])
        told: list[Any] = []
        over = threading.Event()

        def listen() -> None:
            for event in self.api.live(container):
                told.append(event)
                if event.kind == "point":
                    over.set()
                    return

        threading.Thread(target=listen, daemon=True).start()
        begun = time.monotonic()
        while not over.is_set():
            inserted = time.monotonic()
            check(inserted - begun < PATIENCE, f"no point is told: {told}")
            self.api.insert(container, ROOT / "samples/message.json")  # again, should the listener not yet be there
            over.wait(10)
        point = told[-1].data
        kinds = [event.data.get("event") or event.kind for event in told]
        said = f"{point.get('measurement', '')} {point.get('value', '')}".strip()
        return (
            f"{len(kinds)} events; the first point ({said}) {time.monotonic() - inserted:.1f} s after its file was sent"
        )


def _lay(name: str, text: str) -> None:
    """A file in the folder of the SSH server, on its host."""
    _on_host("sh", "-c", f"umask 077; cat >/run/demo-ssh/{name}", given=text)


def _on_host(*command: str, given: str = "") -> str:
    return _command("docker", "exec", "-i", HOST, *command, given=given)


def _command(*command: str, given: str = "") -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, input=given)
    if done.returncode:
        raise StepFailed(f"{' '.join(command)} answered {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
