# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Accounts, administration, audit and limits of the running lake; a restart of the API that fails no request."""

from __future__ import annotations

import json
import shlex
import time
import uuid

import pytest

CA = "/etc/pki/lake/ca.crt"
JSON = ("-H", "Content-Type: application/json")


@pytest.fixture(scope="module")
def send(call):
    """send(method, path, body, token) -> (status, body)."""

    def _send(method: str, path: str, body: object = None, token: str | None = None) -> tuple[int, dict]:
        given = [*JSON, "-d", json.dumps(body)] if body is not None else []
        return call(f"/api/v1{path}", "-X", method, *given, token=token)

    return _send


@pytest.fixture(scope="module")
def boss(log_in):
    """A token of the administrator of the project demo."""
    status, body = log_in("lakeadmin", "demo")
    assert (status, body["administrator"], body["everywhere"]) == (201, True, False)
    return body["token"]


@pytest.fixture(scope="module")
def chief(send, lake_secrets):
    """A token of the administrator of the lake."""
    password = lake_secrets["lake_secret_keystone_admin"]
    given = {"username": "admin", "password": password, "project": "admin", "domain": "Default"}
    status, body = send("POST", "/auth/token", given)
    assert (status, body["everywhere"]) == (201, True), body
    return body["token"]


@pytest.fixture(scope="module")
def container(call, token):
    name = f"people-{uuid.uuid4().hex[:8]}"
    status, body = call(f"/api/v1/containers/{name}/objects", "-F", "file=@/etc/hostname", token=token)
    assert status == 201, body
    return name


# -- the own account -------------------------------------------------------------------------------------------------


def test_log_out_holds_everywhere_a_second_later(send, log_in):
    mine = log_in()[1]["token"]
    # Often enough that each worker keeps it.
    assert {send("GET", "/auth/token", token=mine)[0] for _ in range(8)} == {200}
    assert send("DELETE", "/auth/token", token=mine)[0] == 204
    time.sleep(1.1)
    assert {send("GET", "/auth/token", token=mine)[0] for _ in range(8)} == {401}


def test_from_no_project_to_one(send, lake_secrets):
    status, body = send("POST", "/auth/token", {"username": "demo", "password": lake_secrets["password of demo"]})
    assert (status, body["project"]) == (201, None)
    mine = body["token"]
    assert [one["name"] for one in send("GET", "/auth/projects", token=mine)[1]["items"]] == ["demo"]
    assert send("GET", "/containers", token=mine)[0] == 403
    status, body = send("POST", "/auth/token", {"token": mine, "project": "demo"})
    assert status == 201 and send("GET", "/containers", token=body["token"])[0] == 200
    assert send("POST", "/auth/token", {"token": mine, "project": "guests"})[0] == 401


def test_application_credential_that_may_only_read(send, call, token, container):
    new = {"name": f"molecule-{uuid.uuid4().hex[:8]}", "roles": ["reader"], "expires_at": "2099-01-01T00:00:00Z"}
    status, made = send("POST", "/auth/application-credentials", new, token)
    assert status == 201, made
    given = {"application_credential": {"id": made["id"], "secret": made["secret"]}}
    status, body = send("POST", "/auth/token", given)
    assert (status, body["roles"], body["project"]["name"]) == (201, ["reader"], "demo")
    objects = f"/api/v1/containers/{container}/objects"
    assert call(objects, token=body["token"])[0] == 200
    assert call(objects, "-F", "file=@/etc/hostname", token=body["token"])[0] == 403
    listed = send("GET", "/auth/application-credentials?limit=1000", token=token)[1]["items"]
    assert made["id"] in {one["id"] for one in listed} and made["secret"] not in json.dumps(listed)
    assert send("DELETE", f"/auth/application-credentials/{made['id']}", token=token)[0] == 204
    time.sleep(1.1)
    assert call(objects, token=body["token"])[0] == 401
    assert send("POST", "/auth/token", given)[0] == 401


def test_password_of_the_directory_is_changed_there(send, log_in, lake_secrets):
    given = {"current": lake_secrets["password of demo"], "new": "another-password-of-demo"}
    status, body = send("PUT", "/auth/password", given, log_in()[1]["token"])
    assert (status, body["error"]["code"]) == (403, "read_only_directory"), body


# -- administration --------------------------------------------------------------------------------------------------


def test_administrator_of_a_project_gives_and_takes_roles_in_it_alone(send, boss, chief, log_in):
    guest = send("GET", "/admin/users?name=guest", token=boss)[1]["items"][0]["id"]
    demo = send("GET", "/admin/projects", token=boss)[1]["items"]
    assert [one["name"] for one in demo] == ["demo"]
    guests = send("GET", "/admin/projects?name=guests", token=chief)[1]["items"][0]["id"]
    role = f"/admin/projects/{demo[0]['id']}/users/{guest}/roles"
    assert log_in("guest", "demo")[0] == 401
    try:
        assert send("PUT", f"{role}/reader", token=boss)[0] == 204
        status, body = log_in("guest", "demo")
        assert (status, body["roles"]) == (201, ["reader"])
        listed = send("GET", f"/admin/assignments?user={guest}", token=boss)[1]["items"]
        assert [one["role"] for one in listed] == ["reader"]
    finally:
        assert send("DELETE", f"{role}/reader", token=boss)[0] == 204
    assert log_in("guest", "demo")[0] == 401
    for more in ("lake_reader", "ResellerAdmin", "service"):
        assert send("PUT", f"{role}/{more}", token=boss)[0] == 403
    assert send("PUT", f"/admin/projects/{guests}/users/{guest}/roles/member", token=boss)[0] == 403


def test_keystone_itself_confines_the_administrator_of_a_project(edge, address, boss, chief, send):
    """Whoever leaves the API out has no more rights."""
    guests = send("GET", "/admin/projects?name=guests", token=chief)[1]["items"][0]["id"]

    def ask(method: str, path: str, body: object = None) -> str:
        given = [*JSON, "-d", json.dumps(body)] if body is not None else []
        url = f"https://{address}:5000/v3{path}"
        options = ["-sS", "-m", "30", "--cacert", CA, "-o", "/dev/null", "-w", "%{http_code}", "-X", method]
        return edge.check_output(shlex.join(["curl", *options, "-H", f"X-Auth-Token: {boss}", *given, url]))

    assert ask("GET", "/auth/projects") == "200"
    for method, path, body in [
        ("GET", "/users", None),
        ("GET", "/projects", None),
        ("PATCH", f"/projects/{guests}", {"project": {"enabled": False}}),
        ("POST", "/projects", {"project": {"name": "mine"}}),
        ("POST", "/domains", {"domain": {"name": "mine"}}),
        ("POST", "/users", {"user": {"name": "mine", "password": "mine-mine-mine"}}),
        ("GET", f"/role_assignments?scope.project.id={guests}&include_subtree", None),
    ]:
        assert ask(method, path, body) == "403", (method, path)


def test_members_have_nothing_to_do_with_administration(send, token):
    for path in ("users", "groups", "projects", "roles", "assignments", "audit"):
        assert send("GET", f"/admin/{path}", token=token)[0] == 403, path


def test_projects_come_and_go(send, chief, container):
    name = f"molecule-{uuid.uuid4().hex[:8]}"
    status, made = send("POST", "/admin/projects", {"name": name, "description": "of a test"}, chief)
    assert status == 201, made
    path = f"/admin/projects/{made['id']}"
    assert send("POST", "/admin/projects", {"name": name}, chief)[0] == 409
    assert send("PATCH", path, {"enabled": False}, chief)[1]["enabled"] is False
    assert send("DELETE", path, token=chief)[0] == 204
    assert send("GET", path, token=chief)[0] == 404
    demo = send("GET", "/admin/projects?name=demo", token=chief)[1]["items"][0]["id"]
    status, body = send("DELETE", f"/admin/projects/{demo}", token=chief)
    assert (status, body["error"]["code"]) == (409, "not_empty")


def test_accounts_are_made_where_keystone_keeps_them(send, chief, edge, address):
    name, password = f"molecule-{uuid.uuid4().hex[:8]}", "a-password-of-a-test"
    new = {"name": name, "password": password}
    status, body = send("POST", "/admin/users", {**new, "domain": "campus"}, chief)
    assert (status, body["error"]["code"]) == (403, "read_only_directory"), body
    status, made = send("POST", "/admin/users", {**new, "domain": "Default"}, chief)
    assert (status, made["enabled"]) == (201, True), made
    try:
        given = {"username": name, "password": password, "domain": "Default"}
        status, body = send("POST", "/auth/token", given)
        assert status == 201
        changed = {"current": password, "new": password + "-more"}
        assert send("PUT", "/auth/password", changed, body["token"])[0] == 204
        assert send("POST", "/auth/token", {**given, "password": password + "-more"})[0] == 201
        assert send("PATCH", f"/admin/users/{made['id']}", {"enabled": False}, chief)[0] == 200
        assert send("POST", "/auth/token", {**given, "password": password + "-more"})[0] == 401
    finally:
        url = f"https://{address}:5000/v3/users/{made['id']}"
        edge.check_output(
            shlex.join(["curl", "-sSf", "--cacert", CA, "-X", "DELETE", "-H", f"X-Auth-Token: {chief}", url])
        )


def test_webhook_of_a_container(send, token, boss, container):
    path = f"/containers/{container}/webhook"
    assert send("GET", path, token=token) == (200, {"enabled": True})
    assert send("PUT", path, {"enabled": False}, token)[0] == 403
    assert send("PUT", path, {"enabled": False}, boss) == (200, {"enabled": False})
    assert send("GET", path, token=token) == (200, {"enabled": False})
    assert send("PUT", path, {"enabled": True}, boss) == (200, {"enabled": True})
    assert send("PUT", "/containers/none-of-this-name/webhook", {"enabled": True}, boss)[0] == 404


# -- audit, ids, metrics ---------------------------------------------------------------------------------------------


def test_audit_has_what_was_done_and_what_was_refused(edge, send, call, token, boss, chief, log_in):
    name = f"audited-{uuid.uuid4().hex[:8]}"
    objects = f"/api/v1/containers/{name}/objects"
    made = call(objects, "-F", "file=@/etc/hostname", token=token)[1]["swift_object_id"]
    call(f"{objects}/{made}/data", "-o", "/dev/null", token=token)
    call(objects, token=log_in("guest", "guests")[1]["token"])
    call(objects, token="a-token-that-nobody-knows")
    time.sleep(1.5)  # until each worker has written its own
    of_all = send("GET", f"/admin/audit?container={name}", token=chief)[1]["items"]
    found = {(one["action"], one["status"], one["user"], one["object_id"]) for one in of_all}
    assert found == {
        ("object.insert", 201, "demo", made),
        ("object.read_data", 200, "demo", made),
        ("object.list", 404, "guest", None),
        ("object.list", 401, None, None),
    }
    assert all(one["address"] and one["request_id"] for one in of_all)
    of_demo = send("GET", f"/admin/audit?container={name}", token=boss)[1]["items"]
    assert {one["user"] for one in of_demo} == {"demo"} and len(of_demo) == 2
    inserted = next(one for one in of_all if one["action"] == "object.insert")
    log = edge.check_output("journalctl -u lake-api -o cat --since -5min")
    assert inserted["request_id"] in log


def test_swift_has_the_id_of_the_request(node, send, call, token, boss, container):
    call(f"/api/v1/containers/{container}/objects", "-F", "file=@/etc/hostname", token=token)
    time.sleep(1.5)
    path = f"/admin/audit?container={container}&action=object.insert&limit=1"
    identity = send("GET", path, token=boss)[1]["items"][0]["request_id"]
    find = f"journalctl -o cat --since -5min | grep -F -- {identity}"
    assert any(node(name).run(find).rc == 0 for name in ("data1", "data2", "data3"))


def test_metrics_are_for_monitoring_alone(edge, address, call, token):
    call("/api/v1/containers", token=token)
    told = edge.check_output("curl -sSf http://127.0.0.1:9464/metrics")
    assert 'lake_api_requests_total{method="GET",route="list_containers",status="200"}' in told
    assert "lake_api_request_seconds_bucket" in told and "lake_api_audit_waiting" in told
    for path in ("/metrics", "/api/v1/metrics"):
        url = f"https://{address}{path}"
        assert "lake_api_requests" not in edge.check_output("curl -sS --cacert %s %s", CA, url)


# -- limits ----------------------------------------------------------------------------------------------------------


FORGET = """
import pymongo, sys
where = {"tls": True, "tlsCAFile": "/etc/pki/lake/ca.crt", "authSource": "admin", "replicaSet": "lake"}
one = pymongo.MongoClient("data1.metadata.lake.internal:27017", username="api", password=sys.argv[1], **where)
one.access.failures.delete_many({})
"""


@pytest.fixture
def failures_forgotten(node, lake_secrets):
    """Else those of the tests' address would block the log-ins of others."""
    password = lake_secrets["lake_secret_mongodb_api"]

    def forget() -> None:
        node("data1").check_output("/opt/neocampus/mongodb/bin/python -c %s %s", FORGET, password)

    forget()
    yield
    forget()


@pytest.mark.usefixtures("failures_forgotten")
@pytest.mark.parametrize("user", ["guest", "somebody-who-does-not-exist"])
def test_log_in_is_blocked_after_failures_on_all_workers(send, lake_secrets, user):
    wrong = {"username": user, "password": "not the password", "project": "guests"}
    assert [send("POST", "/auth/token", wrong)[0] for _ in range(5)] == [401] * 5
    right = {**wrong, "password": lake_secrets.get(f"password of {user}", "whatever")}
    for _ in range(6):
        status, body = send("POST", "/auth/token", right)
        assert status == 429 and 0 < body["error"]["detail"]["retry_after"] <= 30


def test_body_that_is_too_large(edge, call, token):
    edge.check_output("head -c 3000000 /dev/zero > /tmp/large-body")
    for kind in ("application/json", "multipart/form-data; boundary=x"):
        given = ["-X", "PUT", "-H", f"Content-Type: {kind}", "--data-binary", "@/tmp/large-body"]
        status, body = call("/api/v1/auth/password", *given, token=token)
        assert (status, body["error"]["code"]) == (413, "too_large")


# -- a restart -------------------------------------------------------------------------------------------------------

LOOP = """
while [ ! -e /run/restart-over ]; do
    curl -sS -m 90 --cacert {ca} -o /dev/null -w '%{{http_code}} %{{time_total}} {name}\\n' -H 'X-Auth-Token: {token}' \
        {options} >> /run/restart-{name} 2>&1
done
"""


def test_restart_fails_no_request(edge, address, token, container):
    """Requests of three kinds, one after the other without a pause, through the edge, while the service restarts."""
    edge.check_output("rm -f /run/restart-*")
    objects = f"https://{address}/api/v1/containers/{container}/objects"
    loops = {
        "list": objects,
        "insert": f"-F file=@/etc/hostname {objects}",
        "who": f"https://{address}/api/v1/auth/token",
    }
    for name, options in loops.items():
        loop = LOOP.format(ca=CA, name=name, token=token, options=options)
        edge.check_output("nohup sh -c %s > /dev/null 2>&1 &", loop)
    try:
        time.sleep(2)
        before = edge.check_output("systemctl show -P MainPID lake-api")
        edge.check_output("systemctl restart lake-api")
        assert edge.check_output("systemctl show -P MainPID lake-api") != before
        time.sleep(2)
    finally:
        edge.check_output("touch /run/restart-over")
    end = time.monotonic() + 100
    while edge.run("pgrep -f '[r]estart-over'").rc == 0:
        assert time.monotonic() < end
        time.sleep(0.5)
    expected = {"list": "200", "insert": "201", "who": "200"}
    for name, status in expected.items():
        lines = edge.file(f"/run/restart-{name}").content_string.splitlines()
        assert len(lines) > 5
        assert [line for line in lines if not line.startswith(f"{status} ")] == []
    edge.check_output("rm -f /run/restart-*")
