# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Large uploads through the edge, cut off and gone on with; a pull from an SSH server."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
import time
import uuid
from pathlib import Path

import pytest

CA = "/etc/pki/lake/ca.crt"
FILE = "/run/large.bin"
MIB = 40
TUS = ["-H", "Tus-Resumable: 1.0.0"]
BODY = [*TUS, "-H", "Content-Type: application/offset+octet-stream"]

SERVER = Path(__file__).resolve().parents[3] / "tools/ssh_server.py"


@pytest.fixture(scope="module")
def ask(edge, address, token):
    """ask(method, path, *options) -> (status, headers in lower case) of a request through the edge."""

    def _ask(method: str, path: str, *options: str) -> tuple[int, dict[str, str]]:
        how = ["-I"] if method == "HEAD" else ["-X", method, "-D", "-", "-o", "/dev/null"]
        given = [*how, "-m", "60", "--cacert", CA, "-H", f"X-Auth-Token: {token}", *options]
        done = edge.run(shlex.join(["curl", "-sS", *given, f"https://{address}{path}"]))
        headers: dict[str, str] = {}
        status = 0
        for line in done.stdout.splitlines():
            found = re.match(r"HTTP/\S+ (\d+)", line)
            if found:
                status, headers = int(found[1]), {}
            elif ":" in line:
                name, _, value = line.partition(":")
                headers[name.strip().lower()] = value.strip()
        return status, headers

    return _ask


@pytest.fixture(scope="module")
def large(edge):
    """The SHA-256 of a file on the edge."""
    edge.check_output(f"head -c {MIB}M /dev/urandom > {FILE}")
    yield edge.check_output(f"sha256sum {FILE}").split()[0]
    edge.run(f"rm -f {FILE} {FILE}.*")


def offset(ask, place: str) -> int:
    status, headers = ask("HEAD", place, *TUS)
    assert status == 200, headers
    return int(headers["upload-offset"])


def patch(ask, place: str, *options: str) -> tuple[int, dict[str, str]]:
    """Send what is missing; while the upload's lock is still that of a request that was killed, again."""
    end = time.monotonic() + 60
    while True:
        start = offset(ask, place)
        # The rest of the file comes from a second one: curl can't begin a body in the middle.
        status, headers = ask("PATCH", place, *BODY, "-H", f"Upload-Offset: {start}", *options)
        if status != 423 or time.monotonic() > end:
            return status, headers
        time.sleep(2)


def rest(edge, start: int) -> str:
    edge.check_output(f"tail -c +{start + 1} {FILE} > {FILE}.rest")
    return f"@{FILE}.rest"


def metadata(**given: str) -> str:
    pairs = (f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in given.items())
    return f"Upload-Metadata: {','.join(pairs)}"


def data_of(edge, address, token, container: str, object_id: str) -> str:
    """The SHA-256 of an object's data."""
    url = f"https://{address}/api/v1/containers/{container}/objects/{object_id}/data"
    get = shlex.join(["curl", "-sSf", "-m", "60", "--cacert", CA, "-H", f"X-Auth-Token: {token}", url])
    return edge.check_output(f"{get} | sha256sum").split()[0]


def test_upload_goes_on_after_cuts_and_a_killed_api(edge, address, call, ask, token, large):
    container = f"large-{uuid.uuid4().hex[:8]}"
    path = f"/api/v1/containers/{container}/uploads"
    length = ["-H", f"Upload-Length: {MIB << 20}", "-H", metadata(filename="large.bin", sha256=large)]
    status, headers = ask("POST", path, *TUS, *length)
    assert status == 201, headers
    place = headers["location"]

    # The client breaks off: what came is there.
    ask("PATCH", place, *BODY, "-H", "Upload-Offset: 0", "--limit-rate", "4M", "-m", "2", "-T", FILE)
    first = offset(ask, place)
    for _ in range(20):  # it takes a moment until the API has ended the part
        if first:
            break
        time.sleep(0.5)
        first = offset(ask, place)
    assert 0 < first < MIB << 20

    # The API is killed: at most the part under way is lost.
    sent = rest(edge, first)
    url = f"https://{address}{place}"
    line = ["curl", "-sS", "-m", "60", "--cacert", CA, "-H", f"X-Auth-Token: {token}", *BODY, "-X", "PATCH"]
    line += ["-H", f"Upload-Offset: {first}", "--limit-rate", "8M", "-T", sent[1:], url]
    edge.check_output(f"({shlex.join(line)}; true) > /dev/null 2>&1 & sleep 3; systemctl kill -s KILL lake-api; wait")
    for _ in range(60):
        if edge.run(f"curl -sf --cacert {CA} https://edge1.access.lake.internal:8443/health/live").succeeded:
            break
        time.sleep(1)
    second = offset(ask, place)
    assert second >= first

    status, headers = patch(ask, place, "--data-binary", rest(edge, second))
    assert status == 204 and headers["upload-offset"] == str(MIB << 20), headers
    object_id = headers["upload-object"]
    assert data_of(edge, address, token, container, object_id) == large
    status, document = call(f"/api/v1/containers/{container}/objects/{object_id}", token=token)
    assert status == 200 and document["status"] == "stored" and document["checksums"]["sha256"] == large
    status, state = call(f"/api/v1/uploads/{place.rpartition('/')[2]}", token=token)
    assert (status, state["status"], state["object_id"]) == (200, "done", object_id)
    status, containers = call("/api/v1/containers?limit=1000", token=token)
    assert container in containers["items"] and not [name for name in containers["items"] if name.startswith(".")]


def test_parts_side_by_side_make_one_object(edge, address, call, ask, token):
    container = f"large-{uuid.uuid4().hex[:8]}"
    path = f"/api/v1/containers/{container}/uploads"
    places = []
    for text in ("first half,", "second half"):
        given = ["-H", f"Upload-Length: {len(text)}", "-H", "Upload-Concat: partial", "--data-binary", text]
        status, headers = ask("POST", path, *BODY, *given)
        assert status == 201 and headers["upload-offset"] == str(len(text)), headers
        places.append(headers["location"])
    whole = hashlib.sha256(b"first half,second half").hexdigest()
    final = ["-H", f"Upload-Concat: final;{' '.join(places)}", "-H", metadata(filename="a.txt", sha256=whole)]
    status, headers = ask("POST", path, *TUS, *final)
    assert status == 201, headers
    upload_id = headers["location"].rpartition("/")[2]
    for _ in range(30):
        _status, state = call(f"/api/v1/uploads/{upload_id}", token=token)
        if state["status"] != "assembling":
            break
        time.sleep(0.5)
    assert state["status"] == "done", state
    assert data_of(edge, address, token, container, state["object_id"]) == whole


def test_wrong_checksum_and_termination(call, ask, token):
    path = f"/api/v1/containers/large-{uuid.uuid4().hex[:8]}/uploads"
    wrong = base64.b64encode(hashlib.sha1(b"other").digest()).decode()
    status, headers = ask("POST", path, *TUS, "-H", "Upload-Length: 5")
    place = headers["location"]
    given = ["-H", "Upload-Offset: 0", "-H", f"Upload-Checksum: sha1 {wrong}", "--data-binary", "12345"]
    assert ask("PATCH", place, *BODY, *given)[0] == 460
    assert offset(ask, place) == 0
    assert ask("DELETE", place, *TUS)[0] == 204
    assert ask("HEAD", place, *TUS)[0] == 410


def test_worker_runs_now_and_at_boot(edge):
    assert edge.service("lake-api-worker").is_running and edge.service("lake-api-worker").is_enabled


@pytest.fixture
def ssh_server(edge):
    """Address and host key's fingerprint of an SSH server on the API's host, with two files."""
    address = edge.check_output("getent hosts edge1.access.lake.internal").split()[0]
    edge.check_output("rm -rf /run/pulled; mkdir -p /run/pulled/day")
    edge.check_output(
        "printf 'a,b\\n1,2\\n' > /run/pulled/day/a.csv; head -c 3M /dev/urandom > /run/pulled/day/big.bin"
    )
    edge.check_output("printf %%s %s > /run/ssh-server.py", SERVER.read_text())
    edge.check_output("printf of-the-test > /run/ssh-server.password")
    serve = f"/opt/neocampus/api/bin/python /run/ssh-server.py {address} 2222 /run/pulled sensor /run/ssh-server.key"
    started = f"exec {serve} </run/ssh-server.password"
    edge.check_output("systemd-run --unit lake-test-ssh --collect sh -c %s", started)
    for _ in range(30):
        if edge.run("test -s /run/ssh-server.key").succeeded:
            break
        time.sleep(0.5)
    yield address, edge.check_output("cat /run/ssh-server.key")
    edge.run("systemctl stop lake-test-ssh; rm -rf /run/pulled /run/ssh-server.*")


def test_pull(edge, address, call, token, ssh_server):
    container = f"pulled-{uuid.uuid4().hex[:8]}"
    path = f"/api/v1/containers/{container}/pulls"
    server, fingerprint = ssh_server
    kind = ["-H", "Content-Type: application/json", "-d"]
    url = f"sftp://sensor@{server}:2222/day/*"
    given = {"url": url, "host_key": fingerprint, "password": "of-the-test", "metadata": {"application": "pull"}}
    status, pull = call(path, *kind, json.dumps(given), token=token)
    assert status == 202 and "of-the-test" not in json.dumps(pull), pull
    for _ in range(60):
        _status, pull = call(f"{path}/{pull['id']}", token=token)
        if pull["status"] in ("done", "failed"):
            break
        time.sleep(0.5)
    assert pull["status"] == "done" and pull["run"]["done"] == 2, pull
    _status, found = call(f"/api/v1/containers/{container}/objects", token=token)
    names = {one["original_object_name"]: one["swift_object_id"] for one in found["items"]}
    assert set(names) == {"a.csv", "big.bin"}
    big = edge.check_output("sha256sum /run/pulled/day/big.bin").split()[0]
    assert data_of(edge, address, token, container, names["big.bin"]) == big
    assert "of-the-test" not in edge.check_output("journalctl -u lake-api -u lake-api-worker --no-pager -o cat")

    # Another key: nothing is sent there. Loopback, and the lake's other hosts: refused.
    given["host_key"] = "SHA256:" + "A" * 43
    status, pull = call(path, *kind, json.dumps(given), token=token)
    assert status == 202
    for _ in range(60):
        _status, pull = call(f"{path}/{pull['id']}", token=token)
        if pull["status"] == "failed":
            break
        time.sleep(0.5)
    assert "another host key" in pull["run"]["error"], pull
    for host in ("127.0.0.1", "data1.storage.lake.internal"):
        given["url"] = f"sftp://sensor@{host}/day/*"
        status, body = call(path, *kind, json.dumps(given), token=token)
        assert status == 403, body
    for one in call(path, token=token)[1]["items"]:
        assert call(f"{path}/{one['id']}", "-X", "DELETE", token=token)[0] == 204
