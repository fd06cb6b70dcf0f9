# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""API, edge and client on their nodes: TLS, what is bound, rights, restarts, and what happens when a part is away."""

from __future__ import annotations

import json
import re
import shlex
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CA = "/etc/pki/lake/ca.crt"


@pytest.fixture(scope="module")
def inserted(call, token):
    """A container and the id of an object in it."""
    container = f"services-{uuid.uuid4().hex[:8]}"
    status, body = call(f"/api/v1/containers/{container}/objects", "-F", "file=@/etc/hostname", token=token)
    assert status == 201, body
    return container, body["swift_object_id"]


@contextmanager
def stopped(nodes, unit: str) -> Iterator[None]:
    """`unit` stopped on `nodes` for a while."""
    try:
        for host in nodes:
            host.check_output("systemctl stop %s", unit)
        yield
    finally:
        for host in nodes:
            host.check_output("systemctl start %s", unit)


def until(condition, seconds: float = 60):
    """The first true value of `condition()`."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(1)
    return found


# -- as it is laid ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["lake-api.socket", "lake-api", "nginx"])
def test_service_runs_now_and_at_boot(edge, unit):
    assert edge.service(unit).is_running and edge.service(unit).is_enabled


def test_everything_listens_on_the_access_network_alone(edge):
    lines = edge.check_output("ss -Htln").splitlines()
    found = {line.split()[3] for line in lines}
    access = edge.check_output("getent hosts edge1.access.lake.internal").split()[0]
    assert {f"{access}:{port}" for port in (443, 5000, 8080, 8081, 8443)} == {
        place for place in found if not place.startswith(("127.", "[::1]"))
    }


def test_configuration_with_secrets_is_not_for_everybody(edge):
    settings = edge.file("/etc/lake-api/config.toml")
    assert (settings.user, settings.group, settings.mode) == ("root", "lake-api", 0o640)
    client = edge.file("/etc/neocampus/client.json")
    assert (client.user, client.group, client.mode) == ("root", "root", 0o600)


def test_api_runs_as_its_own_user_and_may_not_write_its_program(edge):
    pid = edge.check_output("systemctl show -P MainPID lake-api")
    assert edge.check_output("ps -o user= -p %s", pid).strip() == "lake-api"
    assert not edge.run("su -s /bin/sh lake-api -c 'touch /opt/neocampus/api/x /etc/lake-api/x'").succeeded


@pytest.mark.parametrize("port", [443, 5000, 8080, 8081])
def test_public_ports_speak_new_tls_only_with_a_certificate_of_the_lake(edge, address, port):
    ask = f"openssl s_client -connect {address}:{port} -CAfile {CA} -verify_return_error -brief"
    for version in ("tls1_2", "tls1_3"):
        assert edge.run(f"{ask} -{version} </dev/null").rc == 0
    assert edge.run(f"{ask} -tls1_1 -cipher ALL:@SECLEVEL=0 </dev/null").rc != 0


def test_edge_verifies_every_server_behind_it(edge):
    """With an authority that signed none of them, no server is used."""
    conf = edge.file("/etc/nginx/nginx.conf").content_string
    assert "proxy_ssl_verify on;" in conf and "proxy_ssl_verify off" not in conf
    names = dict(re.findall(r'"~\(\^\|\[ ,\]\)(\S+)\$" (\S+);', conf))
    assert len(names) >= 6 and all(name.endswith(".lake.internal") for name in names.values())


def test_edge_gives_up_a_server_with_another_name(edge):
    """A second nginx that expects other names: it gets no answer from servers that are well."""
    conf = edge.file("/etc/nginx/nginx.conf").content_string
    wrong = conf.replace(".storage.lake.internal;", ".other.lake.internal;").replace("/run/nginx.pid", "/run/other.pid")
    wrong = re.sub(r"listen \S+:(\d+) ssl", lambda found: f"listen 127.0.0.1:1{int(found[1]):04} ssl", wrong)
    edge.check_output("printf %%s %s > /run/other.conf", wrong)
    try:
        edge.check_output("nginx -c /run/other.conf")
        ask = "curl -sk -o /dev/null -w '%%{http_code}' https://127.0.0.1:%s"
        assert edge.check_output(ask, "18080/healthcheck") == "502"
        assert edge.check_output(ask, "15000/v3") == "200"  # its name was left right
    finally:
        edge.run("nginx -c /run/other.conf -s stop; rm /run/other.conf")


# -- as it works ------------------------------------------------------------------------------------------------------


def test_health_names_each_part(edge):
    health = until(lambda: edge.run(f"curl -sf --cacert {CA} https://edge1.access.lake.internal:8443/health").stdout)
    assert json.loads(health) == {
        "status": "ok",
        "parts": dict.fromkeys(("keystone", "mongodb", "swift", "influxdb", "tables", "documents", "graph"), "ok"),
    }


def test_logs_are_json_and_have_no_token(edge, call, token, lake_secrets):
    call("/api/v1/containers?limit=7", token=token)
    lines = until(lambda: edge.check_output("journalctl -u lake-api -o cat -n 200").splitlines())
    requests = [json.loads(line) for line in lines if '"lake_api.access"' in line]
    assert requests[-1]["user"] == "demo" and requests[-1]["status"] == 200
    seen = edge.check_output("journalctl -u lake-api -u nginx -t nginx -o cat")
    assert token not in seen and lake_secrets["password of demo"] not in seen


def test_request_has_one_id_at_edge_and_api(edge, call, token):
    call("/api/v1/containers", token=token)
    line = edge.check_output("journalctl -u lake-api -o cat -n 50 | grep lake_api.access | tail -n 1")
    identity = json.loads(line)["request_id"]
    assert identity in until(lambda: edge.check_output("journalctl -t nginx -o cat -n 50"))


def test_new_certificate_is_taken_up_without_a_refused_request(edge, call, token):
    """The renewal hook reloads the API: its workers are replaced one by one."""
    assert edge.file("/etc/pki/lake/renewal-hooks.d/lake-api").content_string.split() == ["lake-api.service"]
    workers = "pgrep -u lake-api -f multiprocessing-fork"
    before = set(edge.check_output(workers).split())
    edge.check_output("systemctl reload lake-api")
    end = time.monotonic() + 60
    while set(edge.run(workers).stdout.split()) & before:
        assert call("/api/v1/containers", token=token)[0] == 200
        assert time.monotonic() < end
    assert edge.service("lake-api").is_running


def test_api_comes_back_after_a_kill(edge, call, token):
    edge.check_output("systemctl kill --kill-who=all --signal=KILL lake-api")
    assert until(lambda: call("/api/v1/containers", token=token)[0] == 200)


def test_worker_that_dies_is_replaced(edge, call, token):
    def workers():
        return edge.run("pgrep -u lake-api -f multiprocessing-fork").stdout.split()

    before = workers()
    edge.check_output(f"kill -9 {before[0]}")
    assert until(lambda: call("/api/v1/containers", token=token)[0] == 200)
    assert until(lambda: len(now := workers()) == len(before) and before[0] not in now)


def test_api_away_is_told_in_the_error_form(edge, call, token):
    with stopped([edge], "lake-api.socket"):  # the service goes with it; alone, the next request would start it
        status, body = call("/api/v1/containers", token=token)
    assert status == 503 and "API" in body["error"]["message"]
    assert until(lambda: call("/api/v1/containers", token=token)[0] == 200)


@pytest.fixture(scope="module")
def many(edge):
    """curl's options for a form of 150 small files and a large one between them."""
    edge.check_output("mkdir -p /tmp/many && cd /tmp/many && for n in $(seq 150); do echo $n > $n.txt; done")
    edge.check_output("head -c 3000000 /dev/urandom > /tmp/many/large.bin")
    names = [f"{number}.txt" for number in range(1, 151)]
    names.insert(100, "large.bin")
    forms = ["-F", 'metadata={"application": "bulk"};type=application/json']
    yield [*forms, *(option for name in names for option in ("-F", f"file=@/tmp/many/{name}"))], names
    edge.check_output("rm -r /tmp/many")


def documents_of(call, token, container):
    status, body = call(f"/api/v1/containers/{container}/objects?limit=1000", token=token)
    assert status == 200, body
    return body["items"]


def test_many_files_by_one_request(edge, call, token, many, address):
    forms, names = many
    container = f"bulk-{uuid.uuid4().hex[:8]}"
    status, body = call(f"/api/v1/containers/{container}/objects/bulk", *forms, token=token)
    assert (status, body["error"]) == (201, None), body
    assert [item["object"]["original_object_name"] for item in body["items"]] == names
    stored = documents_of(call, token, container)
    assert sorted(document["original_object_name"] for document in stored) == sorted(names)
    assert {(document["status"], document["application"]) for document in stored} == {("stored", "bulk")}
    ids = {document["original_object_name"]: document["swift_object_id"] for document in stored}
    for name in ("1.txt", "150.txt", "large.bin"):
        url = f"https://{address}/api/v1/containers/{container}/objects/{ids[name]}/data"
        ask = ["curl", "-sSf", "--cacert", CA, "-H", f"X-Auth-Token: {token}", url]
        edge.check_output(f"{shlex.join(ask)} | cmp - /tmp/many/{name}")


def test_many_files_while_swift_is_away(node, call, token, many):
    forms, names = many
    container = f"bulk-{uuid.uuid4().hex[:8]}"
    assert call(f"/api/v1/containers/{container}/objects", "-F", "file=@/etc/hostname", token=token)[0] == 201
    with stopped([node(name) for name in ("data1", "data2", "data3")], "haproxy"):
        status, body = call(f"/api/v1/containers/{container}/objects/bulk", *forms, token=token)
    assert status == 207 and len(body["items"]) == len(names)
    assert {item["error"]["code"] for item in body["items"]} == {"service_unavailable"}
    assert len(documents_of(call, token, container)) == 1  # nothing is left of the others


def test_client_of_many_files_that_breaks_off(edge, call, token, many, address):
    """What is stored stays, and is whole; of the rest there is nothing."""
    forms, names = many
    container = f"bulk-{uuid.uuid4().hex[:8]}"
    url = f"https://{address}/api/v1/containers/{container}/objects/bulk"
    given = ["--cacert", CA, "-H", f"X-Auth-Token: {token}", *forms, url]
    cut = edge.run(shlex.join(["curl", "-sS", "--limit-rate", "20k", "-m", "8", *given]))
    assert cut.rc == 28, cut.stderr  # curl's own time was over
    stored = until(lambda: documents_of(call, token, container))
    until(lambda: {document["status"] for document in documents_of(call, token, container)} == {"stored"})
    assert 0 < len(stored) <= 100
    assert [document["original_object_name"] for document in stored] == names[: len(stored)]


def test_planted_outliers_go_through_the_lake_and_are_listed_and_counted(node, edge, call, token):
    """An object with a series, a rule of its container, a look at it on a worker; looked at again, all is the same."""
    container = f"anomalies-{uuid.uuid4().hex[:8]}"
    here = f"/api/v1/containers/{container}"
    hours = [f"2024-05-{1 + n // 24:02}T{n % 24:02}:00:00Z" for n in range(240)]
    planted = {100: 90, 150: -70, 200: 85}
    rows = [f"{hour},u4/302/temperature,{planted.get(n, 20 + n * n % 7)},celsius" for n, hour in enumerate(hours)]
    text = "\n".join(["measuretime,topic,payload.value,payload.value_units", *rows, ""])
    edge.check_output("printf %%s %s > /run/anomalies.csv", text)
    status, body = call(f"{here}/objects", "-F", "file=@/run/anomalies.csv;type=text/csv", token=token)
    assert status == 201, body
    until(lambda: call(f"{here}/objects/{body['swift_object_id']}", token=token)[1]["successful_operations"], 180)

    rules = {"rules": [{"name": "room", "match": {"topic": "u4/*"}, "bounds": {"max": 60}}]}
    put = ("-X", "PUT", "-H", "Content-Type: application/json", "-d")
    status, told = call(f"{here}/anomaly-rules", *put, json.dumps(rules), token=token)
    assert (status, told["version"]) == (200, 1), told
    wrong = {"rules": [{"name": "room", "bounds": {"max": "hot"}}]}
    status, told = call(f"{here}/anomaly-rules", *put, json.dumps(wrong), token=token)
    assert status == 400 and "rules[0].bounds.max" in told["error"]["message"]

    program = "cd / && runuser -u airflow -- /opt/neocampus/airflow/bin/lake-airflow-anomalies"
    detect = f"{program} --container {container} --from 2024-05-01 --to 2024-06-01"

    def kept():
        return [call(f"{here}/{path}", token=token) for path in ("anomalies", "anomalies/count?by=kind&by=day")]

    node("process1").check_output(detect)
    first = kept()
    (status, listed), (_status, counted) = first
    assert status == 200
    assert [(found["time"], found["kind"], found["value"]) for found in listed["items"]] == [
        (hours[100], "high", 90.0),
        (hours[150], "statistic", -70.0),
        (hours[200], "high", 85.0),
    ]
    assert {found["rule"]["name"] for found in listed["items"]} == {"room"}
    assert [(item["kind"], item["count"]) for item in counted["items"]] == [("high", 1), ("high", 1), ("statistic", 1)]
    node("process1").check_output(detect)
    assert kept() == first


EXPIRE = """
import os, sys, time
import msgpack
from cryptography.fernet import Fernet, MultiFernet

folder = "/var/lib/keystone/fernet-keys"
keys = [Fernet(open(f"{folder}/{name}").read()) for name in sorted(os.listdir(folder), key=int, reverse=True)]
token = sys.argv[1]
payload = msgpack.unpackb(MultiFernet(keys).decrypt(token + "=" * (-len(token) % 4)))
changed = [time.time() - 60 if isinstance(part, float) else part for part in payload]
assert changed != payload
print(keys[0].encrypt(msgpack.packb(changed)).decode().rstrip("="))
"""
"""Gives Keystone's token of the argument again, signed with Keystone's own key, but expired a minute ago."""


def test_expired_token(node, call, token):
    expired = node("identity1").check_output("/opt/neocampus/keystone/bin/python -c %s %s", EXPIRE, token)
    status, body = call("/api/v1/containers", token=expired)
    assert status == 401 and "expired" in body["error"]["message"] and "/auth/token" in body["error"]["message"]


# -- a part is away: 503 that says so, and well again afterwards -------------------------------------------------------


def away(answer: tuple[int, dict]) -> None:
    status, body = answer
    assert status == 503 and body["error"]["code"] == "service_unavailable", answer


def test_keystone_away(node, call, log_in):
    with stopped([node("identity1")], "keystone"):
        away(log_in())
        away(call("/api/v1/containers", token="a-token-that-nobody-knows"))
    until(lambda: log_in()[0] == 201)


def test_influxdb_away(node, call, token, inserted):
    path = f"/api/v1/containers/{inserted[0]}/timeseries/measurements"
    with stopped([node("gold1")], "influxdb"):
        away(call(path, token=token))
        assert call("/api/v1/containers", token=token)[0] == 200  # what needs no series goes on
    until(lambda: call(path, token=token)[0] == 200)


@pytest.mark.parametrize(("unit", "path"), [("postgresql@15-main", "tables"), ("neo4j", "graph/objects")])
def test_a_store_of_gold_away(node, call, token, inserted, unit, path):
    container, object_id = inserted
    with stopped([node("gold1")], unit):
        away(call(f"/api/v1/containers/{container}/{path}", token=token))
        for other in (f"objects/{object_id}/gold", "documents"):
            assert call(f"/api/v1/containers/{container}/{other}", token=token)[0] == 200
    until(lambda: call(f"/api/v1/containers/{container}/{path}", token=token)[0] == 200, 120)


def test_swift_away_and_one_proxy_away(node, call, token, inserted):
    container, object_id = inserted
    insert = (f"/api/v1/containers/{container}/objects", "-F", "file=@/etc/hostname")
    data = f"/api/v1/containers/{container}/objects/{object_id}/data"
    proxies = [node(name) for name in ("data1", "data2", "data3")]
    with stopped(proxies[:1], "haproxy"):
        assert {call(*insert, token=token)[0] for _ in range(6)} == {201}
        assert {call(data, token=token)[0] for _ in range(6)} == {200}
    with stopped(proxies, "haproxy"):
        away(call(*insert, token=token))
        away(call(data, token=token))
        assert call(f"/api/v1/containers/{container}/objects", token=token)[0] == 200
    until(lambda: call(data, token=token)[0] == 200)


def test_mongodb_away(node, call, token, inserted):
    container, object_id = inserted
    path = f"/api/v1/containers/{container}/objects/{object_id}"
    with stopped([node(name) for name in ("data1", "data2", "data3")], "mongod"):
        away(call(path, token=token))
    until(lambda: call(path, token=token)[0] == 200)
