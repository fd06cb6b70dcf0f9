# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The graph: who gets in, and what is open."""

from __future__ import annotations

import json

import pytest

HOST = "gold1.gold.lake.internal"
PYTHON = "/opt/neocampus/neo4j/bin/python"
CLIENT = f"""
import json, neo4j
from neo4j import exceptions
def ask(statement, user, password, database="neo4j", **options):
    trust = {{"encrypted": True, "trusted_certificates": neo4j.TrustCustomCAs("/etc/pki/lake/ca.crt")}}
    settings = {{**trust, "connection_timeout": 10, **options}}
    try:
        with neo4j.GraphDatabase.driver("bolt://{HOST}:7687", auth=(user, password), **settings) as driver:
            return [record.data() for record in driver.execute_query(statement, database_=database).records]
    except (exceptions.Neo4jError, exceptions.DriverError) as error:
        return type(error).__name__
"""


def ask(host, script: str):
    """What a script, run on the node with the driver, sets `answer` to."""
    run = host.run("%s -c %s", PYTHON, CLIENT + script + "\nprint(json.dumps(answer))")
    assert run.rc == 0, run.stderr[-500:]
    return json.loads(run.stdout)


@pytest.fixture
def gold(node):
    return node("gold1")


@pytest.fixture
def logins(lake_secrets) -> dict[str, tuple[str, str]]:
    """User name → name and password."""
    names = {"neo4j": "admin", "airflow": "airflow", "api": "api"}
    return {user: (user, lake_secrets[f"lake_secret_neo4j_{secret}"]) for user, secret in names.items()}


def test_it_runs_and_listens_where_it_should(gold):
    assert gold.service("neo4j").is_running and gold.service("neo4j").is_enabled
    address = gold.check_output("getent hosts %s", HOST).split()[0]
    lines = gold.check_output("ss -lntH").splitlines()
    listening = {line.split()[3].replace("[::ffff:", "").replace("]", "") for line in lines}
    listening = {one for one in listening if one.rpartition(":")[2] in ("7474", "7473", "7687", "6362", "6000", "2004")}
    assert listening == {f"{address}:7687"}


def test_it_does_not_run_as_root_nor_with_capabilities(gold):
    process = gold.check_output("systemctl show neo4j --property=MainPID --value")
    status = dict(
        line.split(":\t", 1)
        for line in gold.file(f"/proc/{process}/status").content_string.splitlines()
        if ":\t" in line
    )
    assert status["Uid"].split()[0] != "0"
    assert status["CapEff"].strip("0") == "" and status["NoNewPrivs"] == "1"


def test_plain_bolt_and_old_protocols_are_refused(gold, logins):
    plain = f"answer = ask('RETURN 1', *{logins['api']!r}, encrypted=False, trusted_certificates=neo4j.TrustAll())"
    assert isinstance(ask(gold, plain), str)
    for version, refused in (("-tls1_1", True), ("-tls1_2", False)):
        command = f"openssl s_client -connect {HOST}:7687 {version} -cipher DEFAULT@SECLEVEL=0 </dev/null"
        assert (gold.run(command).rc != 0) is refused, version


def test_without_its_password_nobody_gets_in(gold):
    script = "answer = [ask('RETURN 1', 'neo4j', 'neo4j'), ask('RETURN 1', 'api', 'x'), ask('RETURN 1', '', '')]"
    assert set(ask(gold, script)) <= {"AuthError", "ClientError"}


def test_the_accounts_of_workflows_and_api_work(gold, logins):
    script = f"""
airflow, api = {logins["airflow"]!r}, {logins["api"]!r}
ask("CREATE (:Molecule {{lake_store: 'molecule', name: 'written'}})", *airflow)
seen = ask("MATCH (n:Molecule) RETURN n.name AS name", *api)
ask("MATCH (n:Molecule) DELETE n", *airflow)
answer = [seen, ask("MATCH (n:Molecule) RETURN n", *api)]
"""
    assert ask(gold, script) == [[{"name": "written"}], []]


def test_there_are_no_other_users(gold, logins):
    script = f"answer = sorted(row['user'] for row in ask('SHOW USERS', *{logins['neo4j']!r}, database='system'))"
    assert ask(gold, script) == ["airflow", "api", "neo4j"]


def test_queries_read_no_files_of_the_host(gold, logins):
    query = "LOAD CSV FROM 'file:///etc/passwd' AS line RETURN line"
    assert isinstance(ask(gold, f"answer = ask({query!r}, *{logins['api']!r})"), str)


def test_secrets_stay_secret(gold, lake_secrets):
    texts = [gold.check_output("journalctl --unit neo4j --output cat"), gold.check_output("systemctl cat neo4j")]
    texts += [
        gold.check_output("cat /etc/neo4j/neo4j.conf"),
        gold.check_output("ps -eo args | grep '[C]ommunityEntryPoint'"),
    ]
    texts += [gold.check_output("cat /var/log/neo4j/*.log")]
    found = [secret for secret, value in lake_secrets.items() if any(value in text for text in texts)]
    assert found == []
    assert not gold.file("/var/lib/neo4j/.initial-password").exists


def test_a_killed_server_comes_back_with_its_data(gold, logins):
    made = "MERGE (n:Molecule {lake_store: 'molecule', name: 'kept'}) RETURN n.name AS name"
    script = f"answer = ask({made!r}, *{logins['airflow']!r})"
    assert ask(gold, script) == [{"name": "kept"}]
    gold.check_output("systemctl kill --signal=KILL neo4j")
    script = f"""
import time
for _ in range(120):
    answer = ask("MATCH (n:Molecule) RETURN n.name AS name", *{logins["api"]!r})
    if not isinstance(answer, str):
        break
    time.sleep(0.5)
ask("MATCH (n:Molecule) DELETE n", *{logins["airflow"]!r})
"""
    assert ask(gold, script) == [{"name": "kept"}]


def test_a_renewed_certificate_restarts_it(gold):
    assert gold.file("/etc/pki/lake/renewal-hooks.d/neo4j").content_string.strip() == "neo4j.service"
