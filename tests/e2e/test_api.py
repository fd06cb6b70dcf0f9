# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The lake as a person uses it: REST API, and Swift's own client, from outside."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import requests

HOUR = datetime(2021, 7, 22, 10, tzinfo=UTC)


def messages(count: int, topic: str = "u4/302/humidity", unit: str = "%") -> bytes:
    """`count` messages of the campus, one a second."""
    return json.dumps(
        [
            {
                "topic": topic,
                "value": 40 + number / 10,
                "value_units": unit,
                "input": 0,
                "subID": "1A",
                "unitID": "inside",
                "time": (HOUR + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            }
            for number in range(count)
        ]
    ).encode()


def points(person, container: str, **given) -> list[dict]:
    return person.items(f"/containers/{container}/timeseries/points", **given)


# -- inserting and reading --------------------------------------------------------------------------------------------


def test_messages_become_points(member, container):
    source = messages(25) + b"\n"
    document = member.inserted(
        container, "relevé.json", source, {"application": "comfort", "other_data": {"room": "302"}}
    )
    assert document["original_object_name"] == "relevé.json"
    assert document["content_type"] == "application/json"
    assert (document["status"], document["size"]) == ("stored", len(source))
    object_id = document["swift_object_id"]

    document = member.processed(container, object_id)
    assert document["failed_operations"] == []
    assert {"execution_date", "dag_id", "operation_instance"} <= set(document["successful_operations"][0])
    assert document["application"] == "comfort" and document["other_data"]["room"] == "302"

    assert member.items(f"/containers/{container}/timeseries/measurements") == ["%"]
    assert member.items(f"/containers/{container}/timeseries/topics", measurement="%") == ["u4/302/humidity"]
    found = points(member, container, measurement="%", topic="u4/302/humidity", limit=7)  # four pages
    assert [point["value"] for point in found] == [pytest.approx(40 + number / 10) for number in range(25)]
    assert [point["time"] for point in found] == sorted({point["time"] for point in found})
    assert found[0]["time"] == "2021-07-22T10:00:00Z" and found[0]["unitID"] == "inside"
    found = points(member, container, measurement="%", **{"from": "2021-07-22T10:00:05Z", "to": "2021-07-22T10:00:08Z"})
    assert [point["time"][-3:-1] for point in found] == ["05", "06", "07"]


def test_the_same_file_again_makes_no_point_twice(member, container):
    for _ in range(2):
        document = member.inserted(container, "a.json", messages(5))
        assert member.processed(container, document["swift_object_id"])["failed_operations"] == []
    assert len(points(member, container, measurement="%")) == 5


def test_broken_file_is_kept_and_its_document_says_why(member, container):
    document = member.inserted(
        container, "broken.json", b'[{"topic": "u4/302/humidity", "value":', kind="application/json"
    )
    document = member.processed(container, document["swift_object_id"])
    assert document["successful_operations"] == []
    assert document["failed_operations"][0]["message"]
    answer = member.get(f"/containers/{container}/objects/{document['swift_object_id']}/data")
    assert answer.content == b'[{"topic": "u4/302/humidity", "value":'


def test_data_comes_back_whole_and_in_part(member, container):
    content = os.urandom(100_000)
    document = member.inserted(container, "été (1).bin", content)
    path = f"/containers/{container}/objects/{document['swift_object_id']}/data"
    answer = member.get(path)
    assert answer.content == content
    assert "filename*=UTF-8''%C3%A9t%C3%A9%20%281%29.bin" in answer.headers["Content-Disposition"]
    part = member.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, content[10:20])
    assert part.headers["Content-Range"] == "bytes 10-19/100000"
    assert member.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    head = member.call("HEAD", path)
    assert (head.status_code, head.headers["Content-Length"]) == (200, "100000")


@pytest.mark.parametrize("metadata_first", [True, False])
def test_large_file_streams_and_comes_back(member, container, metadata_first):
    """64 MiB: with its metadata first it passes through the API; last, it waits there."""
    block = os.urandom(1024 * 1024)
    digest = hashlib.sha256(block * 64).hexdigest()
    mark = "e2eboundary"
    metadata = (
        f'--{mark}\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{{"application": "big"}}\r\n'.encode()
    )
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'.encode()

    def body():
        if metadata_first:
            yield metadata
        yield head
        for _ in range(64):
            yield block
        yield b"\r\n"
        if not metadata_first:
            yield metadata
        yield f"--{mark}--\r\n".encode()

    kind = {"Content-Type": f"multipart/form-data; boundary={mark}"}
    answer = member.call("POST", f"/containers/{container}/objects", data=body(), headers=kind)
    assert answer.status_code == 201, answer.text
    document = answer.json()
    assert (document["size"], document["application"]) == (64 * 1024 * 1024, "big")
    found = hashlib.sha256()
    path = f"/containers/{container}/objects/{document['swift_object_id']}/data"
    with member.get(path, stream=True) as data:
        for chunk in data.iter_content(1024 * 1024):
            found.update(chunk)
    assert found.hexdigest() == digest


def test_lists_page_and_filter(member, container):
    for number in range(5):
        member.inserted(container, f"{number}.txt", b"x", kind="text/plain")
    member.inserted(container, "p.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
    path = f"/containers/{container}/objects"
    names = [document["original_object_name"] for document in member.items(path, limit=2)]
    assert names == ["0.txt", "1.txt", "2.txt", "3.txt", "4.txt", "p.png"]
    assert [d["original_object_name"] for d in member.items(path, content_type="image/*")] == ["p.png"]
    assert member.items(path, to="2020-01-01") == []
    assert len(member.items(path, **{"from": "2020-01-01T00:00:00+02:00"})) == 6
    assert container in member.items("/containers")


def test_ids_grow_without_end(member, container):
    given = [int(member.inserted(container, "a", b"x")["swift_object_id"]) for _ in range(3)]
    assert given == sorted(given) and len(set(given)) == 3


def test_file_of_no_known_kind_is_kept_raw(member, container):
    document = member.inserted(container, "a.unknown", b"\x00\x01\x02 nothing that is known")
    document = member.processed(container, document["swift_object_id"])
    assert document["successful_operations"] == [] and document["failed_operations"][0]["message"]


# -- Swift's own client -----------------------------------------------------------------------------------------------


def test_upload_by_a_plain_swift_client_is_processed_too(member, container, tmp_path):
    (tmp_path / "plain.json").write_bytes(messages(3, topic="u4/1/lux", unit="lux"))
    made = member.swift("post", "--header", "X-Webhook: on", container)
    assert made.returncode == 0, made.stderr
    sent = member.swift("upload", "--header", "Content-Type: application/json", container, "plain.json", cwd=tmp_path)
    assert sent.returncode == 0, sent.stderr
    end = time.monotonic() + 180
    while True:
        answer = member.get(f"/containers/{container}/objects")
        found = answer.json()["items"] if answer.status_code == 200 else []
        if found and (found[0]["successful_operations"] or found[0]["failed_operations"]):
            break
        assert time.monotonic() < end, f"not processed: {answer.status_code} {found}"
        time.sleep(0.5)
    assert found[0]["original_object_name"] == "plain.json" and found[0]["failed_operations"] == []
    assert [point["value"] for point in points(member, container, measurement="lux")] == [
        pytest.approx(40 + number / 10) for number in range(3)
    ]
    path = f"/containers/{container}/objects/{found[0]['swift_object_id']}/data"
    assert member.get(path).content == (tmp_path / "plain.json").read_bytes()


def test_object_of_the_api_is_there_for_a_swift_client(member, container, tmp_path):
    document = member.inserted(container, "a.txt", b"through the API")
    got = member.swift("download", "--output", "-", container, document["swift_object_id"])
    assert got.returncode == 0 and got.stdout == "through the API"


# -- projects see nothing of each other -------------------------------------------------------------------------------


def test_another_project_sees_nothing(member, guest, container, error_of):
    object_id = member.inserted(container, "secret.json", messages(1))["swift_object_id"]
    member.processed(container, object_id)
    for path in (
        "objects",
        f"objects/{object_id}",
        f"objects/{object_id}/data",
        "timeseries/measurements",
        "timeseries/topics?measurement=%25",
        "timeseries/points?measurement=%25",
        "tables",
        "documents",
        "files",
        "graph/objects",
        f"objects/{object_id}/gold",
    ):
        here = error_of(guest.get(f"/containers/{container}/{path}"), 404)
        nowhere = error_of(guest.get(f"/containers/{container}x/{path}"), 404)
        assert nowhere.replace(f"{container}x", container) == here  # nothing tells that it is another's
    assert container not in guest.items("/containers")
    assert guest.swift("list", container).returncode != 0


def test_two_projects_can_use_one_name(member, guest, container):
    mine = member.inserted(container, "mine.json", messages(2))["swift_object_id"]
    theirs = guest.inserted(container, "theirs.json", messages(3))["swift_object_id"]
    assert mine != theirs
    for person, name, object_id, count in ((member, "mine.json", mine, 2), (guest, "theirs.json", theirs, 3)):
        assert person.processed(container, object_id)["failed_operations"] == []
        [document] = person.items(f"/containers/{container}/objects")
        assert document["original_object_name"] == name
        assert len(points(person, container, measurement="%")) == count


def test_member_cannot_reach_the_account_of_another_project(member, guest, container, error_of):
    guest.inserted(container, "theirs", b"x")
    account = guest.log_in().json()["project"]["id"]
    storage = f"https://{urlsplit(member.env['OS_AUTH_URL']).hostname}:8080/v1/AUTH_{account}"
    answer = requests.get(storage, headers={"X-Auth-Token": member.token}, verify=member.env["OS_CACERT"], timeout=30)
    assert answer.status_code == 403


# -- who may come in --------------------------------------------------------------------------------------------------


def test_log_in_says_whose_token_it_is_and_until_when(member):
    answer = member.log_in()
    assert answer.status_code == 201
    assert datetime.fromisoformat(answer.json()["expires_at"]) > datetime.now(UTC)
    assert answer.json()["project"]["name"] == member.env["OS_PROJECT_NAME"]


def test_domains_need_not_be_given(member):
    assert member.log_in(domain=None, user_domain=None).status_code == 201


def test_administrator_logs_in(admin):
    assert "admin" in admin.log_in().json()["roles"]


@pytest.mark.parametrize(
    "changed", [{"password": "not the password"}, {"username": "nobody"}, {"project": "guests"}, {"project": "none"}]
)
def test_wrong_credentials(member, error_of, changed):
    message = error_of(member.log_in(**changed), 401)
    assert "check user name, password" in message and "not the password" not in message


def test_log_in_with_a_part_missing(member, error_of):
    assert "'username' and 'password' are required" in error_of(member.log_in(password=None), 400)


def test_no_token(member, error_of):
    assert "/api/v1/auth/token" in error_of(member.get("/containers/any/objects", token=None), 401)


@pytest.mark.parametrize("token", ["nonsense", "gAAAAABh" + "x" * 176])
def test_token_that_is_none(member, error_of, token):
    error_of(member.get("/containers/any/objects", token=token), 401)


def test_revoked_token(member, error_of):
    """A token that has expired is refused in the same way: Keystone knows it no longer."""
    identity = {
        "methods": ["password"],
        "password": {
            "user": {
                "name": member.env["OS_USERNAME"],
                "domain": {"name": member.env["OS_USER_DOMAIN_NAME"]},
                "password": member.env["OS_PASSWORD"],
            }
        },
    }
    project = {"name": member.env["OS_PROJECT_NAME"], "domain": {"name": member.env["OS_PROJECT_DOMAIN_NAME"]}}
    keystone = f"{member.env['OS_AUTH_URL']}/auth/tokens"
    body = {"auth": {"identity": identity, "scope": {"project": project}}}
    token = member.http.post(keystone, json=body, timeout=30).headers["X-Subject-Token"]
    gone = member.http.delete(keystone, headers={"X-Auth-Token": token, "X-Subject-Token": token}, timeout=30)
    assert gone.status_code == 204
    assert "revoked" in error_of(member.get("/containers", token=token), 401)


def test_token_of_no_project(member, error_of):
    identity = {
        "methods": ["password"],
        "password": {
            "user": {
                "name": member.env["OS_USERNAME"],
                "domain": {"name": member.env["OS_USER_DOMAIN_NAME"]},
                "password": member.env["OS_PASSWORD"],
            }
        },
    }
    answer = member.http.post(
        f"{member.env['OS_AUTH_URL']}/auth/tokens",
        json={"auth": {"identity": identity, "scope": "unscoped"}},
        timeout=30,
    )
    assert answer.status_code == 201
    token = answer.headers["X-Subject-Token"]
    assert "log in again with a project" in error_of(member.get("/containers", token=token), 403)


# -- what is wrong is told --------------------------------------------------------------------------------------------


def test_unknown_container(member, container, error_of):
    assert container in error_of(member.get(f"/containers/{container}/objects"), 404)
    error_of(member.get(f"/containers/{container}/timeseries/measurements"), 404)


def test_id_that_does_not_exist(member, container, error_of):
    member.inserted(container, "a", b"x")
    assert "999999999" in error_of(member.get(f"/containers/{container}/objects/999999999"), 404)
    error_of(member.get(f"/containers/{container}/objects/999999999/data"), 404)
    assert "decimal" in error_of(member.get(f"/containers/{container}/objects/abc"), 400)


def test_missing_file_part(member, container, error_of):
    answer = member.call("POST", f"/containers/{container}/objects", files=[("metadata", (None, "{}"))])
    assert "'file'" in error_of(answer, 400)
    assert member.get(f"/containers/{container}/objects").status_code == 404  # no container was made


def test_body_that_is_no_form(member, container, error_of):
    assert "multipart/form-data" in error_of(member.call("POST", f"/containers/{container}/objects", json={}), 415)


@pytest.mark.parametrize("metadata", ["{'a': 1}", "[1, 2]", "", '{"other_data": {"x": NaN}}'])
def test_metadata_that_is_no_json_object(member, container, error_of, metadata):
    assert "JSON" in error_of(member.insert(container, "a", b"x", metadata), 400)


@pytest.mark.parametrize("field", ["swift_object_id", "_id", "creation_date", "successful_operations", "anything"])
def test_field_that_may_not_be_set(member, container, error_of, field):
    message = error_of(member.insert(container, "a", b"x", {field: "1"}), 400)
    assert field in message and "application" in message  # what may be set is named


@pytest.mark.parametrize("name", [".hidden", "_internal", "a%24b", "%20a", "x" * 201])
def test_bad_container_name(member, error_of, name):
    assert "name" in error_of(member.insert(name, "a", b"x"), 400)
    error_of(member.get(f"/containers/{name}/objects"), 400)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"from": "yesterday"}, "'from'"),
        ({"to": "2021-13-01"}, "'to'"),
        ({"from": "2021-02-01", "to": "2021-01-01"}, "later"),
        ({"limit": "many"}, "'limit'"),
        ({"limit": "0"}, "'limit'"),
        ({"limit": "100000"}, "'limit'"),
        ({"cursor": "nonsense"}, "'cursor'"),
        ({"form": "2021-01-01"}, "'form'"),
    ],
)
def test_bad_queries(member, container, error_of, params, says):
    member.inserted(container, "a", b"x")
    assert says in error_of(member.get(f"/containers/{container}/objects", params=params), 400)
    given = {"measurement": "%", **params}
    assert says in error_of(member.get(f"/containers/{container}/timeseries/points", params=given), 400)


def test_points_need_a_measurement(member, container, error_of):
    member.inserted(container, "a", b"x")
    assert "'measurement'" in error_of(member.get(f"/containers/{container}/timeseries/points"), 400)


def test_unknown_paths_and_methods(member, error_of):
    error_of(member.get("/nothing"), 404)
    error_of(member.call("DELETE", "/containers"), 405)


# -- the entry --------------------------------------------------------------------------------------------------------


def test_openapi_and_its_pages_need_no_token(member):
    document = member.get("/openapi.json", token=None).json()
    assert document["openapi"].startswith("3.")
    assert "/api/v1/containers/{container}/objects" in document["paths"]
    page = member.get("/docs", token=None)
    assert page.status_code == 200 and "//" not in page.text.replace("<!doctype html>", "")


def test_security_headers_and_nothing_of_the_inside(member):
    root = member.url.removesuffix("/api/v1")
    answer = member.http.get(root + "/", timeout=30)
    assert answer.status_code == 200
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Server"] == "nginx"  # no version
    assert member.http.get(root + "/health", timeout=30).status_code == 404


@pytest.mark.parametrize("port", [443, 5000, 8080, 8081])
def test_old_tls_is_refused(member, port):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    host = urlsplit(member.url).hostname
    with socket.create_connection((host, port), timeout=10) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)
