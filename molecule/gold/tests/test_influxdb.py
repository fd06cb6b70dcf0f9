# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time series: who gets in and what they may do, and what is open."""

from __future__ import annotations

import json

import pytest

URL = "https://gold1.gold.lake.internal:8086"
CLIENT = f"""
import base64, json, ssl, urllib.error, urllib.parse, urllib.request
context = ssl.create_default_context(cafile="/etc/pki/lake/ca.crt")
def send(path, data, user=None, password=""):
    request = urllib.request.Request({URL!r} + path, data=data.encode())
    if user:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{{user}}:{{password}}".encode()).decode())
    try:
        with urllib.request.urlopen(request, context=context) as response:
            body = response.read()
            return [response.status, json.loads(body) if body else None]
    except urllib.error.HTTPError as error:
        return [error.code, error.read().decode()]
def query(text, *who):
    return send("/query", urllib.parse.urlencode({{"q": text}}), *who)
"""


def ask(host, script: str):
    """What a script, run on the node, sets `answer` to."""
    run = host.run("python3 -c %s", CLIENT + script + "\nprint(json.dumps(answer))")
    assert run.rc == 0, run.stderr[-500:]
    return json.loads(run.stdout)


@pytest.fixture
def gold(node):
    return node("gold1")


@pytest.fixture
def logins(lake_secrets) -> dict[str, tuple[str, str]]:
    """User name → name and password."""
    return {name: (name, lake_secrets[f"lake_secret_influxdb_{name}"]) for name in ("admin", "airflow", "api")}


def test_it_runs_and_listens_where_it_should(gold):
    assert gold.service("influxdb").is_running and gold.service("influxdb").is_enabled
    address = gold.check_output("getent hosts gold1.gold.lake.internal").split()[0]
    listening = {line.split()[3] for line in gold.check_output("ss -lntH").splitlines()}
    assert {one for one in listening if one.endswith((":8086", ":8088", ":8082"))} == {
        f"{address}:8086",
        "127.0.0.1:8088",
    }


def test_plain_http_and_old_protocols_are_refused(gold):
    assert (
        gold.check_output(
            "curl --silent --write-out '%{http_code}' --output /dev/null http://gold1.gold.lake.internal:8086/ping"
        )
        == "400"
    )
    for version, refused in (("-tls1_1", True), ("-tls1_2", False)):
        command = (
            f"openssl s_client -connect gold1.gold.lake.internal:8086 {version} -cipher DEFAULT@SECLEVEL=0 </dev/null"
        )
        assert (gold.run(command).rc != 0) is refused, version


def test_without_a_password_nobody_gets_in(gold):
    script = """
answer = [query("SHOW DATABASES")[0], query("SHOW USERS", "admin", "admin")[0], send("/write?db=x", "m v=1")[0],
          send("/query", urllib.parse.urlencode({"q": "CREATE USER x WITH PASSWORD 'x' WITH ALL PRIVILEGES"}))[0]]
"""
    assert ask(gold, script) == [401] * 4


def test_flux_and_profiles_are_off(gold, logins):
    script = f"""
admin = {logins["admin"]!r}
answer = [send("/api/v2/query", "buckets()", *admin)[0], send("/debug/pprof/heap", "", *admin)[0]]
"""
    assert not {200, 204} & set(ask(gold, script))


def test_workflows_make_a_database_and_the_api_reads_what_it_is_granted(gold, logins):
    script = f"""
airflow, api = {logins["airflow"]!r}, {logins["api"]!r}
query("DROP DATABASE molecule", *airflow)
made = query("CREATE DATABASE molecule", *airflow)[0]
written = send("/write?db=molecule", "celsius,topic=u4/302/temperature value=21.5 1577836800000000000", *airflow)[0]
select = "SELECT value FROM molecule..celsius"
before = query(select, *api)
granted = query('GRANT READ ON "molecule" TO "api"', *airflow)[0]
after = query(select, *api)
refused = [send("/write?db=molecule", "celsius value=1", *api)[0],
           query("CREATE DATABASE mine", *api)[0], query("SHOW USERS", *api)[0]]
query("DROP DATABASE molecule", *airflow)
left = str(query("SHOW DATABASES", *airflow)[1])
points = after[1]["results"][0]["series"][0]["values"]
answer = [made, written, granted, before[0], points, refused, "molecule" in left, "_internal" in left]
"""
    point = ["2020-01-01T00:00:00Z", 21.5]
    assert ask(gold, script) == [200, 204, 200, 403, [point], [403] * 3, False, False]


def test_secrets_stay_secret(gold, lake_secrets):
    texts = [gold.check_output("journalctl --unit influxdb --output cat"), gold.check_output("systemctl cat influxdb")]
    texts += [gold.check_output("cat /etc/influxdb/influxdb.conf"), gold.check_output("ps -eo args | grep '[i]nfluxd'")]
    found = [secret for secret, value in lake_secrets.items() if any(value in text for text in texts)]
    assert found == []


def test_a_killed_server_comes_back_with_its_users(gold, logins):
    gold.check_output("systemctl kill --signal=KILL influxdb")
    script = f"""
import time
for _ in range(100):
    try:
        answer = query("SHOW DATABASES", *{logins["api"]!r})[0]
        break
    except OSError:
        time.sleep(0.2)
"""
    assert ask(gold, script) == 200


def test_a_renewed_certificate_restarts_it(gold):
    assert gold.file("/etc/pki/lake/renewal-hooks.d/influxdb").content_string.strip() == "influxdb.service"
