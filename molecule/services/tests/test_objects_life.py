# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""What objects live through on the running lake: found, changed, put into a zip, limited, deleted."""

from __future__ import annotations

import json
import shlex
import time
import uuid

import pytest

CA = "/etc/pki/lake/ca.crt"
JSON = ("-H", "Content-Type: application/json", "-d")


def until(condition, seconds: float = 60):
    """The first true value of `condition()`."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(1)
    return found


@pytest.fixture(scope="module")
def container():
    return f"life-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def objects(edge, call, token, container):
    """Three objects with metadata; their ids."""
    edge.check_output("mkdir -p /run/life && printf one > '/run/life/Salle Été.bin' && printf two > /run/life/two.bin")
    edge.check_output("head -c 3000000 /dev/urandom > /run/life/large.bin")
    ids = []
    for number, name in enumerate(("Salle Été.bin", "two.bin", "large.bin")):
        metadata = {"application": f"Étude {container}", "other_data": {"number": number}}
        status, body = call(
            f"/api/v1/containers/{container}/objects",
            "-F",
            f"metadata={json.dumps(metadata)};type=application/json",
            "-F",
            f"file=@/run/life/{name}",
            token=token,
        )
        assert status == 201, body
        ids.append(body["swift_object_id"])
    yield ids
    edge.check_output("rm -r /run/life")


def ids_of(answer):
    status, body = answer
    assert status == 200, body
    return [item["swift_object_id"] for item in body["items"]]


def test_search(call, token, container, objects):
    ask = f"/api/v1/search?container={container}"
    assert ids_of(call(f"{ask}&text=ete+etude", token=token)) == objects[:1]
    assert ids_of(call(f"{ask}&text=etu*", token=token)) == objects[::-1]
    assert ids_of(call(f"{ask}&where=other_data.number:ge:1&order=oldest", token=token)) == objects[1:]
    _status, body = call(f"{ask}&facets=application&facets=month&limit=1", token=token)
    assert body["facets"]["complete"] and body["facets"]["by"]["application"] == [
        {"value": f"Étude {container}", "count": 3}
    ]


def test_search_over_all_containers_of_the_project(call, token, container, objects):
    assert ids_of(call(f"/api/v1/search?text={container.partition('-')[2]}&limit=10", token=token)) == objects[::-1]


def test_change_of_metadata_with_an_etag(edge, call, token, address, container, objects):
    path = f"/api/v1/containers/{container}/objects/{objects[1]}"
    head = ["curl", "-sS", "-o", "/dev/null", "-D", "-", "--cacert", CA, "-H", f"X-Auth-Token: {token}"]

    def etag():
        lines = edge.check_output(shlex.join([*head, f"https://{address}{path}"])).splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.lower().startswith("etag:"))

    seen = etag()
    patch = ("-X", "PATCH", "-H", "Content-Type: application/merge-patch+json", "-d")
    change = json.dumps({"application": "changed", "other_data": {"number": None, "room": 302}})
    # Processing may log an operation in between: then the document is another, and the client gets it again.
    status, body = call(path, *patch, change, "-H", f"If-Match: {seen}", token=token)
    if status == 412:
        status, body = call(path, *patch, change, "-H", f"If-Match: {etag()}", token=token)
    assert status == 200, body
    assert (body["application"], body["other_data"]) == ("changed", {"room": 302})
    assert call(path, *patch, change, "-H", f"If-Match: {seen}", token=token)[0] == 412
    _status, history = call(f"{path}/history", token=token)
    assert [entry["new_data"]["user"] for entry in history["items"] if entry["task_type"] == "edit"] == ["demo"]


def test_zip_of_objects(edge, token, address, container, objects):
    url = f"https://{address}/api/v1/containers/{container}/objects/archive"
    ask = ["curl", "-sSf", "--cacert", CA, "-H", f"X-Auth-Token: {token}", *JSON, json.dumps({"metadata": True}), url]
    edge.check_output(f"{shlex.join(ask)} > /run/life/all.zip")
    program = "import zipfile as z; a = z.ZipFile('/run/life/all.zip'); print(a.testzip(), *a.namelist(), sep='|')"
    said = edge.check_output("python3 -c %s", program)
    assert said == "None|Salle Été.bin|two.bin|large.bin|metadata.json"
    edge.check_output(
        "python3 -m zipfile -e /run/life/all.zip /run/life/out && cmp /run/life/large.bin /run/life/out/large.bin"
    )


def test_insertion_that_is_sent_again(call, token, container, objects):
    send = ("-H", f'Idempotency-Key: "{uuid.uuid4()}"', "-F", "file=@/run/life/two.bin")
    here = f"/api/v1/containers/{container}/objects"
    first = call(here, *send, token=token)
    assert first[0] == 201 and call(here, *send, token=token) == first
    other = call(here, *send[:-1], "file=@/run/life/large.bin", token=token)
    assert (other[0], other[1]["error"]["code"]) == (422, "idempotency_key_reused")
    assert call(f"{here}/{first[1]['swift_object_id']}", "-X", "DELETE", token=token)[0] == 204


def test_usage_and_quota(call, token, container, objects):
    status, body = call("/api/v1/usage?limit=1000", token=token)
    assert status == 200 and container in {item["container"] for item in body["items"]}
    assert body["objects"] >= 1 and set(body["quota"]) == {"bytes", "objects"}
    status, body = call(f"/api/v1/usage/content-types?container={container}", token=token)
    assert status == 200 and sum(item["objects"] for item in body["items"]) == 3
    status, body = call(f"/api/v1/containers/{container}/quota", token=token)
    assert (status, body) == (200, {"bytes": None, "objects": None})
    for path in (f"containers/{container}/quota", "admin/projects/0123456789abcdef0123456789abcdef/quota"):
        assert call(f"/api/v1/{path}", "-X", "PUT", *JSON, '{"bytes": 1}', token=token)[0] == 403


@pytest.fixture(scope="module")
def project(call, lake_secrets):
    """The id of the project demo."""
    body = {"username": "demo", "password": lake_secrets["password of demo"], "project": "demo"}
    return call("/api/v1/auth/token", *JSON, json.dumps(body))[1]["project"]["id"]


def test_administrator_of_the_lake_limits_a_project(call, token, project, lake_secrets):
    secret = lake_secrets["lake_secret_keystone_admin"]
    body = {"username": "admin", "password": secret, "project": "admin", "domain": "Default"}
    status, said = call("/api/v1/auth/token", *JSON, json.dumps(body))
    assert status == 201, said
    path = f"/api/v1/admin/projects/{project}/quota"
    try:
        quota = {"bytes": 10**12, "objects": 10**9}
        assert call(path, "-X", "PUT", *JSON, json.dumps(quota), token=said["token"]) == (200, quota)
        assert call("/api/v1/quota", token=token) == (200, quota)
    finally:
        none = {"bytes": None, "objects": None}
        assert call(path, "-X", "PUT", *JSON, json.dumps(none), token=said["token"]) == (200, none)


def test_insertion_over_a_quota_leaves_no_document(edge, call, token, address, container, objects, project):
    """The quota is set as any member may in Swift itself; the proxies know of it within seconds."""
    swift = f"https://{address}:8080/v1/AUTH_{project}/{container}"
    set_quota = ["curl", "-sSf", "--cacert", CA, "-X", "POST", "-H", f"X-Auth-Token: {token}", "-H"]
    edge.check_output(shlex.join([*set_quota, "X-Container-Meta-Quota-Bytes: 10", swift]))
    here = f"/api/v1/containers/{container}/objects"
    try:
        assert call(f"/api/v1/containers/{container}/quota", token=token)[1]["bytes"] == 10

        def refused():
            status, body = call(here, "-F", "file=@/run/life/large.bin", token=token)
            if status == 201:  # a proxy that has not heard of it
                call(f"{here}/{body['swift_object_id']}", "-X", "DELETE", token=token)
            return status == 413 and body["error"]["code"] == "quota_exceeded"

        until(refused, 90)
        assert ids_of(call(f"{here}?status=pending", token=token)) == []
    finally:
        edge.check_output(shlex.join([*set_quota, "X-Container-Meta-Quota-Bytes:", swift]))


def test_deletion_of_objects_and_their_container(call, token, container, objects):
    here = f"/api/v1/containers/{container}"
    one = f"{here}/objects/{objects[0]}"
    assert call(one, "-X", "DELETE", token=token)[0] == 204
    assert call(one, "-X", "DELETE", token=token)[0] == 404
    assert call(f"{one}/data", token=token)[0] == 404
    assert call(here, "-X", "DELETE", token=token)[0] == 409
    status, body = call(f"{here}/objects/delete", *JSON, json.dumps({"ids": objects[1:]}), token=token)
    assert (status, [item["status"] for item in body["items"]]) == (200, [204, 204])
    assert ids_of(call(f"{here}/objects", token=token)) == []
    # The event of the deletion gets to the document as well, and leaves it as it is.
    until(
        lambda: any(
            operation.get("pipeline") == "removal" for operation in call(f"{one}/operations", token=token)[1]["items"]
        ),
        120,
    )
    assert call(one, token=token)[1]["status"] == "deleted"
    until(lambda: call(here, "-X", "DELETE", token=token)[0] == 204, 60)
    assert call(f"{here}/objects", token=token)[0] == 404
