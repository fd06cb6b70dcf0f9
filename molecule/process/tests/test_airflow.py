# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Airflow: who may log in and do what, what listens where, what its hosts give away, and that a lost worker returns."""

from __future__ import annotations

import json
import time
import uuid

import pytest

API = "https://process1.process.lake.internal:8081"
CONTROL = ["api-server", "scheduler", "dag-processor", "triggerer", "worker", "logs"]
WORKER = ["worker", "logs"]
# Asks the API on the node itself; the question, with its secrets, comes on standard input.
ASK = """
import json, ssl, sys, urllib.error, urllib.request
asked = json.load(sys.stdin)
context = ssl.create_default_context(cafile="/etc/pki/lake/ca.crt")
answers = []
headers = {"Content-Type": "application/json"}
for method, path, body in asked:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(sys.argv[1] + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            status, content = answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        status, content = error.code, None
    if path == "/auth/token" and content:
        headers["Authorization"] = "Bearer " + content["access_token"]
    answers.append([status, content])
print(json.dumps(answers))
"""
# What MongoDB would do to find unprocessed and pending documents, in a store with many that are neither.
EXPLAIN = """
import datetime, json
from lake_airflow import stores
from neocampus_lake import metadata
client = stores.mongodb(stores.settings())
store = metadata.MetadataStore(client)
documents = client["swift"]["molecule-indexes"]
now = datetime.datetime.now(datetime.UTC)
try:
    store.ensure_indexes("molecule-indexes")
    names = ("swift_object_id", "swift_object_name")
    made = {"status": "stored", "creation_date": now, "failed_operations": []}
    done = [{"pipeline": "x"}]
    documents.insert_many(
        {**made, "_id": number, **dict.fromkeys(names, str(number)), "successful_operations": done if number else []}
        for number in range(500)
    )
    queries = [metadata._UNPROCESSED, {"status": "pending"}]
    found = [documents.find({**query, "creation_date": {"$lte": now}}) for query in queries]
    print(json.dumps([cursor.explain()["queryPlanner"] for cursor in found], default=str))
finally:
    documents.drop()
"""
# Plants three outliers in a series of a container of its own, and says what is kept of it; or takes all of it away.
PLANT = """
import json, math, sys
from lake_airflow import stores
from neocampus_lake.anomaly_store import AnomalyStore, Query
from neocampus_lake.metadata import MetadataStore
from neocampus_lake.points import Point
from neocampus_lake.sinks.influxdb import InfluxDB, quote
from neocampus_lake.times import NS, parse_time
name = "molecule-anomalies"
config = stores.settings()
client = stores.mongodb(config)
influxdb = InfluxDB(**config["influxdb"], ca_file=config["ca_file"])
anomalies = AnomalyStore(client)
if sys.argv[1] == "plant":
    MetadataStore(client).store_for("molecule", name, create=True)
    start = parse_time("2024-05-01T00:00:00Z")
    planted = {100: 90.0, 150: -70.0, 200: 85.0}
    values = (planted.get(n, 20 + 3 * math.sin(n / 4) + math.sin(n * n)) for n in range(300))
    points = (
        Point("celsius", start + n * 1800 * NS, {"value": value}, {"topic": "u4/302/temperature"})
        for n, value in enumerate(values)
    )
    influxdb.ensure_database(name)
    influxdb.write(name, points)
elif sys.argv[1] == "remove":
    influxdb.query(None, "DROP DATABASE " + quote(name))
    client["anomalies"][name].drop()
    client["swift"][name].drop()
    client["stats"]["containers"].delete_one({"_id": "molecule/" + name})
else:
    listed = anomalies.find(name, Query())
    print(json.dumps([listed, anomalies.count(name, Query(), ["topic", "kind"])], default=str))
"""


@pytest.fixture(scope="module")
def ask(node, lake_secrets):
    """`ask(name, password, (method, path, body)…)` logs in and asks: the log-in's status, (status, content) of each."""
    host = node("process1")

    def run(name, password, *questions):
        asked = [("POST", "/auth/token", {"username": name, "password": password}), *questions]
        command = f"echo {_quoted(json.dumps(asked))} | python3 -c {_quoted(ASK)} {API}"
        answers = json.loads(host.check_output(command))
        return answers[0][0], answers[1:]

    return run


def _quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def _start(conf, run_id=None):
    body = {"logical_date": None, "dag_run_id": run_id or f"test-{uuid.uuid4()}", "conf": conf}
    return ("POST", "/api/v2/dags/new_input/dagRuns", body)


def _wait(ask, lake_secrets, run_id, seconds=180, dag="new_input"):
    """The state in which the run ended, and its task's instance."""
    path = f"/api/v2/dags/{dag}/dagRuns/{run_id}"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        questions = [("GET", path, None), ("GET", f"{path}/taskInstances", None)]
        _status, ((_ok, run), (_ok2, tasks)) = ask("lake-admin", lake_secrets["lake_secret_airflow_admin"], *questions)
        if run["state"] in ("success", "failed"):
            return run["state"], tasks["task_instances"][0]
        time.sleep(1)
    raise AssertionError(f"{run_id} has not ended after {seconds} s: {run['state']}")


@pytest.mark.parametrize(
    ("name", "component"), [("process1", part) for part in CONTROL] + [("process2", part) for part in WORKER]
)
def test_services_run_and_start_with_the_host(node, name, component):
    service = node(name).service(f"airflow-{component}")
    assert service.is_running
    assert service.is_enabled


def test_health_names_every_component(node):
    health = json.loads(
        node("process1").check_output(f"curl -sSf --cacert /etc/pki/lake/ca.crt {API}/api/v2/monitor/health")
    )
    assert {part: health[part]["status"] for part in ("metadatabase", "scheduler", "dag_processor")} == {
        "metadatabase": "healthy",
        "scheduler": "healthy",
        "dag_processor": "healthy",
    }


@pytest.mark.parametrize(("name", "ports"), [("process1", [8081, 8793]), ("process2", [8793])])
def test_listeners_are_on_the_process_network_only(node, name, ports):
    host = node(name)
    address = host.check_output(f"getent hosts {name}.process.lake.internal").split()[0]
    listening = host.check_output("ss -Hltn").splitlines()
    for port in ports:
        assert [line.split()[3] for line in listening if line.split()[3].endswith(f":{port}")] == [f"{address}:{port}"]


@pytest.mark.parametrize("file", ["airflow.cfg", "lake.json", "webserver_config.py"])
def test_configuration_is_for_the_service_alone(node, file):
    config = node("process1").file(f"/etc/airflow/{file}")
    assert (config.user, config.group, config.mode) == ("root", "airflow", 0o640)


def test_a_host_that_only_works_cannot_sign_tokens(node, lake_secrets):
    host = node("process2")
    assert not host.file("/etc/airflow/webserver_config.py").exists
    files = host.check_output("cat /etc/airflow/airflow.cfg /etc/airflow/lake.json")
    secrets = ("airflow_jwt", "airflow_fernet", "ldap_airflow", "airflow_relay", "airflow_admin")
    assert [name for name in secrets if lake_secrets[f"lake_secret_{name}"] in files] == []


def test_no_secret_in_units_command_lines_or_environments(node, lake_secrets):
    for name in ("process1", "process2"):
        seen = node(name).check_output(
            "cat /etc/systemd/system/airflow-*; for pid in $(pgrep -u airflow); do"
            # A task may end between the list and the look.
            " { tr '\\0' '\\n' < /proc/$pid/cmdline; tr '\\0' '\\n' < /proc/$pid/environ; } 2>/dev/null"
            " || [ ! -d /proc/$pid ]; done"
        )
        assert "AIRFLOW_HOME=" in seen
        assert [key for key, secret in lake_secrets.items() if secret in seen] == []


def test_the_relay_may_start_its_workflow_and_look_at_it_and_nothing_else(ask, lake_secrets):
    status, answers = ask(
        "lake-relay",
        lake_secrets["lake_secret_airflow_relay"],
        _start({"a": 1}, "test-relay"),
        _start({"a": 1}, "test-relay"),
        ("GET", "/api/v2/dags", None),
        ("GET", "/api/v2/dags/new_input/dagRuns/test-relay", None),
        ("GET", "/api/v2/dags/detect_anomalies/dagRuns", None),
        ("PATCH", "/api/v2/dags/new_input", {"is_paused": True}),
        ("POST", "/api/v2/dags/check_data_to_process/dagRuns", {"logical_date": None}),
        ("DELETE", "/api/v2/dags/new_input/dagRuns/test-relay", None),
        ("GET", "/api/v2/connections", None),
        ("GET", "/auth/fab/v1/users", None),
    )
    assert status == 201
    (first, _), (again, _), (_, dags), (run, _), *others = answers
    assert first in (200, 409)  # 409: an earlier test of this lake started it
    assert again == 409
    assert [dag["dag_id"] for dag in dags["dags"]] == ["new_input"]
    assert run == 200
    assert [answer for answer, _content in others] == [403] * 6


@pytest.mark.parametrize(("name", "sees", "pauses"), [("demo", 200, 403), ("lakeadmin", 200, 200), ("guest", 403, 403)])
def test_people_log_in_by_the_directory_and_may_what_their_groups_say(ask, lake_secrets, name, sees, pauses):
    status, answers = ask(
        name,
        lake_secrets[f"password of {name}"],
        ("GET", "/api/v2/dags", None),
        ("PATCH", "/api/v2/dags/new_input", {"is_paused": False}),
    )
    assert status == 201
    assert [answer for answer, _content in answers] == [sees, pauses]


@pytest.mark.parametrize("name", ["demo", "lake-relay", "lake-admin", "nobody", "admin"])
def test_a_wrong_password_is_refused(ask, name):
    assert ask(name, "not-the-password")[0] == 401


def test_workflows_are_read_without_error_and_not_paused(ask, lake_secrets):
    _status, ((_ok, errors), (_ok2, dags)) = ask(
        "lake-admin",
        lake_secrets["lake_secret_airflow_admin"],
        ("GET", "/api/v2/importErrors", None),
        ("GET", "/api/v2/dags", None),
    )
    assert errors["total_entries"] == 0
    assert {dag["dag_id"]: dag["is_paused"] for dag in dags["dags"]} == {
        "new_input": False,
        "check_data_to_process": False,
        "detect_anomalies": False,
    }


def test_a_bad_conf_fails_at_the_first_attempt_and_its_log_says_why(ask, lake_secrets):
    run_id = f"test-{uuid.uuid4()}"
    ask("lake-relay", lake_secrets["lake_secret_airflow_relay"], _start({"swift_id": "1"}, run_id))
    state, task = _wait(ask, lake_secrets, run_id)
    assert (state, task["try_number"]) == ("failed", 1)
    path = f"/api/v2/dags/new_input/dagRuns/{run_id}/taskInstances/process/logs/1?full_content=true"
    _status, ((status, log),) = ask("lake-admin", lake_secrets["lake_secret_airflow_admin"], ("GET", path, None))
    assert status == 200  # fetched from the worker that ran it
    assert "swift_container" in json.dumps(log)


def test_what_reconciliation_looks_for_has_an_index_of_its_own(node):
    code = f"cd / && runuser -u airflow -- /opt/neocampus/airflow/bin/python -c {_quoted(EXPLAIN)}"
    unprocessed, pending = json.loads(node("process2").check_output(code))
    assert "creation_date_1_status_1" in json.dumps(unprocessed["winningPlan"])
    assert "status_1_creation_date_1" in json.dumps(pending["winningPlan"])


def test_the_operator_s_report_is_there_and_says_by_its_status_how_it_is(node):
    command = "cd / && runuser -u airflow -- /opt/neocampus/airflow/bin/lake-airflow-reconcile --dry-run"
    done = node("process2").run(f"{command} --json")
    assert done.rc in (0, 1), done.stderr
    found = [container["found"] for container in json.loads(done.stdout)["containers"]]
    assert done.rc == any(found)
    unknown = node("process2").run(f"{command} --container molecule-is-nowhere")
    assert (unknown.rc, unknown.stdout) == (2, "") and "molecule-is-nowhere" in unknown.stderr


def test_planted_outliers_are_found_listed_and_counted_and_found_the_same_again(node):
    host = node("process2")
    program = "cd / && runuser -u airflow -- /opt/neocampus/airflow/bin"
    lake = f"{program}/python -c {_quoted(PLANT)}"
    span = "--container molecule-anomalies --from 2024-05-01 --to 2024-06-01 --json"
    detect = f"{program}/lake-airflow-anomalies {span}"
    try:
        host.check_output(f"{lake} plant")
        (dry,) = json.loads(host.check_output(f"{detect} --dry-run"))["containers"]
        assert len(dry["findings"]) == 3
        assert json.loads(host.check_output(f"{lake} show")) == [[], []]
        (first,) = json.loads(host.check_output(detect))["containers"]
        assert (first["tally"]["new"], first["points"]) == (3, 300)
        listed, counted = json.loads(host.check_output(f"{lake} show"))
        assert [(found["value"], found["kind"]) for found in listed] == [
            (90.0, "statistic"),
            (-70.0, "statistic"),
            (85.0, "statistic"),
        ]
        assert counted == [{"topic": "u4/302/temperature", "kind": "statistic", "count": 3}]
        (again,) = json.loads(host.check_output(detect))["containers"]
        assert again["tally"] == {"new": 0, "changed": 0, "removed": 0, "same": 3, "kept": 0}
        assert json.loads(host.check_output(f"{lake} show")) == [listed, counted]
    finally:
        host.check_output(f"{lake} remove")


def test_anomalies_are_looked_for_in_a_run_of_the_workflow(ask, lake_secrets):
    run_id = f"test-{uuid.uuid4()}"
    start = ("POST", "/api/v2/dags/detect_anomalies/dagRuns", {"logical_date": None, "dag_run_id": run_id})
    _status, ((answer, _run),) = ask("lake-admin", lake_secrets["lake_secret_airflow_admin"], start)
    assert answer == 200
    assert _wait(ask, lake_secrets, run_id, dag="detect_anomalies")[0] == "success"


def test_a_lost_worker_comes_back_and_works(node, ask, lake_secrets):
    host = node("process2")
    host.check_output("systemctl kill --signal=KILL airflow-worker")
    end = time.monotonic() + 90
    while host.run("systemctl is-active airflow-worker").stdout.strip() != "active":
        assert time.monotonic() < end, "the worker is not started again"
        time.sleep(1)
    run_ids = [f"test-{uuid.uuid4()}" for _number in range(6)]
    ask("lake-relay", lake_secrets["lake_secret_airflow_relay"], *[_start({"a": 1}, run_id) for run_id in run_ids])
    hosts = {_wait(ask, lake_secrets, run_id)[1]["hostname"] for run_id in run_ids}
    assert hosts <= {"process1.process.lake.internal", "process2.process.lake.internal"}
