# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables: who gets into PostgreSQL and MariaDB and what they may do there, and the library's sink at work in both."""

from __future__ import annotations

import json
import time

import pytest

HOST = "gold1.gold.lake.internal"
UNITS = {"postgresql": "postgresql@15-main", "mariadb": "mariadb"}
PORTS = {"postgresql": 5432, "mariadb": 3306}
PROGRAMS = {"postgresql": "postgres", "mariadb": "mariadbd"}
both = pytest.mark.parametrize("engine", UNITS)


@pytest.fixture
def gold(node):
    return node("gold1")


@pytest.fixture
def passwords(lake_secrets) -> dict[str, str]:
    return {f"gold_{name}": lake_secrets[f"lake_secret_gold_sql_{name}"] for name in ("airflow", "api")}


def psql(gold, user, password, statement, database="gold", tls="verify-full", host="localhost"):
    """What a user gets for a statement over the network: (whether it worked, output)."""
    where = f"host={host} user={user} dbname={database} sslmode={tls} sslrootcert=/etc/pki/lake/ca.crt"
    run = gold.run("PGPASSWORD=%s psql --no-psqlrc -At %s -c %s", password, where, statement)
    return run.rc == 0, (run.stdout + run.stderr).strip()


def mariadb(gold, user, password, statement, tls="--ssl-ca=/etc/pki/lake/ca.crt --ssl-verify-server-cert"):
    """Likewise. The server's name is looked up by the client alone."""
    command = f"MYSQL_PWD=%s mariadb --no-defaults -N --protocol=tcp --host=localhost {tls} --user=%s -e %s"
    run = gold.run(command, password, user, statement)
    return run.rc == 0, (run.stdout + run.stderr).strip()


@both
def test_it_runs_and_listens_where_it_should(gold, engine):
    assert gold.service(UNITS[engine]).is_running and gold.service(UNITS[engine]).is_enabled
    address = gold.check_output(f"getent hosts {HOST}").split()[0]
    listening = {line.split()[3] for line in gold.check_output("ss -lntH").splitlines()}
    port = PORTS[engine]
    assert {one for one in listening if one.endswith(f":{port}")} == {f"{address}:{port}", f"127.0.0.1:{port}"}


def test_users_of_postgresql_come_in_with_a_password_over_tls_alone(gold, passwords):
    for user, password in passwords.items():
        assert psql(gold, user, password, "SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == (
            True,
            f"{user}|t",
        )
        assert not psql(gold, user, password, "SELECT 1", tls="disable")[0]
        assert not psql(gold, user, "wrong", "SELECT 1")[0]
        assert not psql(gold, user, password, "SELECT 1", database="postgres")[0]
    assert not psql(gold, "postgres", "", "SELECT 1")[0]


def test_nobody_logs_in_as_a_deputy_that_is_not_in_use(gold, passwords):
    for user, password in passwords.items():
        assert not psql(gold, f"{user}_b", password, "SELECT 1")[0]
    statement = "SELECT rolname, rolcanlogin, rolconfig FROM pg_roles WHERE rolname LIKE 'gold%b' ORDER BY 1"
    shown = gold.check_output("psql --no-psqlrc -At -U postgres postgres -c %s", statement)
    assert shown.splitlines() == ["gold_airflow_b|f|{role=gold_airflow}", "gold_api_b|f|{role=gold_api}"]


def test_a_reader_of_postgresql_does_nothing_but_read(gold, passwords):
    for statement in (
        "CREATE SCHEMA mine",
        "CREATE TABLE public.mine (x int)",
        "CREATE TEMPORARY TABLE mine (x int)",
        "CREATE ROLE mine",
    ):
        worked, output = psql(gold, "gold_api", passwords["gold_api"], statement)
        assert not worked and "permission denied" in output, statement
    assert not psql(gold, "gold_airflow", passwords["gold_airflow"], "CREATE DATABASE mine")[0]


def test_users_of_mariadb_come_in_with_a_password_over_tls_alone(gold, passwords):
    for user, password in passwords.items():
        worked, output = mariadb(gold, user, password, "SELECT CURRENT_USER(); SHOW STATUS LIKE 'Ssl_version'")
        assert worked and f"{user}@127.0.0.1" in output and "TLSv1.3" in output
        assert not mariadb(gold, user, password, "SELECT 1", tls="--skip-ssl")[0]
        assert not mariadb(gold, user, "wrong", "SELECT 1")[0]
    for user in ("root", "mysql", "", "nobody"):
        assert not mariadb(gold, user, "", "SELECT 1")[0], user
    accounts = "SELECT COUNT(*) FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost')"
    assert gold.check_output("mariadb -N -e %s", accounts) == "0"  # root of the host comes in by the socket
    assert gold.check_output("mariadb -N -e %s", "SHOW DATABASES LIKE 'test'") == ""


def test_users_of_mariadb_do_what_they_need_and_no_more(gold, passwords):
    writer, reader = ((user, passwords[user]) for user in ("gold_airflow", "gold_api"))
    worked, output = mariadb(gold, *writer, "CREATE DATABASE gold_molecule; CREATE TABLE gold_molecule.t (x INT)")
    assert worked, output
    assert mariadb(gold, *reader, "SELECT COUNT(*) FROM gold_molecule.t") == (True, "0")
    for statement in ("INSERT INTO gold_molecule.t VALUES (1)", "DROP TABLE gold_molecule.t", "CREATE DATABASE gold_x"):
        assert not mariadb(gold, *reader, statement)[0], statement
    for statement in (
        "CREATE DATABASE goldx",  # `_` in the name of the right is no wildcard
        "CREATE DATABASE other",
        "SELECT * FROM mysql.global_priv",
        "GRANT SELECT ON gold_molecule.* TO gold_api@127.0.0.1",
        "SELECT LOAD_FILE('/etc/passwd') IS NULL OR 1/0 FROM mysql.user",
    ):
        assert not mariadb(gold, *writer, statement)[0], statement
    assert mariadb(gold, *writer, "DROP DATABASE gold_molecule") == (True, "")
    assert mariadb(gold, *writer, "SELECT @@local_infile") == (True, "0")


@both
def test_the_sink_works_with_its_accounts(tunnel, lake_ca, passwords, run_unit_tests, engine):
    where = {"engine": engine, "host": "127.0.0.1", "port": tunnel("gold1", PORTS[engine]), "ca_file": lake_ca}
    accounts = {user: {**where, "username": user, "password": password} for user, password in passwords.items()}
    # In MariaDB the reader may read all from the start.
    writer = {**accounts["gold_airflow"], "readers": ["gold_api"] if engine == "postgresql" else []}
    servers = {"writer": writer, "reader": {**accounts["gold_api"], "timeout": 30}}
    run_unit_tests("lake/sinks/test_sql_servers.py", **{f"LAKE_TEST_{engine.upper()}": json.dumps(servers)})


@both
def test_secrets_stay_secret(gold, lake_secrets, engine):
    configuration = {"postgresql": "cat /etc/postgresql/15/main/*.conf", "mariadb": "cat /etc/mysql/mariadb.conf.d/*"}
    texts = [
        gold.check_output(f"journalctl --unit {UNITS[engine]} --output cat"),
        gold.check_output(configuration[engine]),
    ]
    texts += [gold.check_output(f"systemctl cat {UNITS[engine]}"), gold.check_output("ps -eo args")]
    found = [secret for secret, value in lake_secrets.items() if any(value in text for text in texts)]
    assert found == []


@both
def test_a_killed_server_comes_back(gold, passwords, engine):
    gold.check_output(f"systemctl kill --signal=KILL {UNITS[engine]}")
    ask = {"postgresql": psql, "mariadb": mariadb}[engine]
    end = time.monotonic() + 60
    while not ask(gold, "gold_api", passwords["gold_api"], "SELECT 1")[0]:
        assert time.monotonic() < end
        time.sleep(0.5)


def test_a_renewed_certificate_is_served(gold):
    hooks = "/etc/pki/lake/renewal-hooks.d/"
    assert gold.file(hooks + "postgresql").content_string.strip() == "postgresql@15-main.service"
    assert gold.file(hooks + "mariadb").content_string.strip() == "mariadb.service"
    started = gold.check_output("systemctl show mariadb --property=ExecMainStartTimestampMonotonic")
    gold.check_output("systemctl reload mariadb postgresql@15-main")
    assert gold.check_output("systemctl show mariadb --property=ExecMainStartTimestampMonotonic") == started
