# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The replica set: members, who gets in and what they may do, and what happens when the primary dies."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

MEMBERS = ("data1", "data2", "data3")
PYTHON = "/opt/neocampus/mongodb/bin/python"
ADDRESSES = [f"{name}.metadata.lake.internal:27017" for name in MEMBERS]
CLIENT = f"""
import json, pymongo
def client(**options):
    tls = {{"tls": True, "tlsCAFile": "/etc/pki/lake/ca.crt", "serverSelectionTimeoutMS": 30000}}
    return pymongo.MongoClient(**{{"host": {ADDRESSES!r}, "replicaSet": "lake", **tls, **options}})
def code(call):
    try:
        call()
    except pymongo.errors.OperationFailure as error:
        return error.code
    except pymongo.errors.PyMongoError as error:
        return type(error).__name__
    return 0
"""


def ask(host, script: str) -> Any:
    """What a script, run on a node with the driver, sets `answer` to."""
    run = host.run("%s -c %s", PYTHON, CLIENT + script + "\nprint(json.dumps(answer))")
    assert run.rc == 0, run.stderr[-500:]
    return json.loads(run.stdout)


def states(host) -> dict[str, str]:
    """State of each member as this node sees it."""
    lines = host.check_output("mongod-member status").splitlines()
    return {line.split()[0].split(".")[0]: " ".join(line.split()[1:]) for line in lines}


def wait_whole(host, seconds: float = 60) -> dict[str, str]:
    """States, once there is one primary and the rest are secondaries."""
    end = time.monotonic() + seconds
    while True:
        run = host.run("mongod-member status")
        found = states(host) if run.rc == 0 else {}
        if sorted(found.values()) == ["PRIMARY healthy", "SECONDARY healthy", "SECONDARY healthy"]:
            return found
        assert time.monotonic() < end, f"not whole after {seconds} s: {found or run.stderr}"
        time.sleep(0.5)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_runs_and_listens_where_it_should(node, name):
    host = node(name)
    assert host.service("mongod").is_running and host.service("mongod").is_enabled
    address = host.check_output("getent hosts %s.metadata.lake.internal", name).split()[0]
    listening = host.check_output("ss -lntH 'sport = :27017'").splitlines()
    assert {line.split()[3] for line in listening} == {"127.0.0.1:27017", f"{address}:27017"}


def test_all_members_see_the_same_set(node):
    first = wait_whole(node("data1"))
    assert set(first) == set(MEMBERS)
    assert states(node("data2")) == states(node("data3")) == first


def test_nobody_gets_in_without_tls(node):
    script = (
        "answer = code(lambda: client(tls=False, tlsCAFile=None, serverSelectionTimeoutMS=3000).admin.command('ping'))"
    )
    assert ask(node("data1"), script) == "ServerSelectionTimeoutError"


def test_nobody_gets_in_with_an_old_protocol(node):
    for version, refused in (("-tls1_1", True), ("-tls1_2", False)):
        command = f"openssl s_client -connect localhost:27017 {version} -cipher DEFAULT@SECLEVEL=0 </dev/null"
        assert (node("data1").run(command).rc != 0) is refused, version


@pytest.mark.parametrize("where", ["", ".metadata.lake.internal"])
def test_without_a_password_nothing_is_seen_or_made(node, where):
    """Over loopback too: the localhost exception is off."""
    host = "localhost" if not where else "data1" + where
    script = f"""
one = client(host="{host}:27017", replicaSet=None, directConnection=True)
make = lambda: one.admin.command("createUser", "x", pwd="x", roles=["root"])
answer = [code(one.list_database_names), code(lambda: one.swift.x.find_one()), code(make)]
"""
    unauthorized = 13
    assert ask(node("data1"), script) == [unauthorized] * 3


@pytest.mark.parametrize(
    ("user", "writes", "reads", "nothing"),
    [
        (
            "api",
            ["swift", "stats", "data_historique", "upload", "mqtt", "models_management", "access"],
            [],
            ["admin", "data_conso", "audit"],
        ),
        ("airflow", ["swift", "stats", "data_historique", "mqtt"], ["models_management"], ["upload", "data_conso"]),
        ("gold_airflow", ["data_conso"], [], ["swift", "stats", "admin"]),
        ("gold_api", [], ["data_conso"], ["swift", "stats", "admin"]),
    ],
)
def test_a_service_may_do_what_it_needs_and_no_more(node, lake_secrets, user, writes, reads, nothing):
    script = f"""
one = client(username={user!r}, password={lake_secrets["lake_secret_mongodb_" + user]!r}, authSource="admin")
def write(name):
    return code(lambda: one[name].molecule.update_one({{"_id": 1}}, {{"$set": {{"a": 1}}}}, upsert=True))
def read(name):
    return code(lambda: one[name].molecule.find_one())
answer = [[write(name) for name in {writes!r}], [read(name) for name in {reads!r}],
          [write(name) for name in {reads + nothing!r}], [read(name) for name in {nothing!r}]]
for name in {writes!r}:
    one[name].molecule.drop()
"""
    written, read, not_written, not_read = ask(node("data1"), script)
    assert set(written + read) == {0}
    assert set(not_written) == set(not_read) == {13}


def test_the_audit_is_added_to_and_never_changed(node, lake_secrets):
    """By the account that writes it. What the test adds expires at once: the server removes it."""
    script = f"""
import datetime
events = client(username="api", password={lake_secrets["lake_secret_mongodb_api"]!r}, authSource="admin").audit.events
added = events.insert_one({{"action": "molecule", "time": datetime.datetime(2000, 1, 1)}})
found = code(lambda: events.find_one({{"_id": added.inserted_id}}))
answer = [added.acknowledged, found, [
    code(lambda: events.update_one({{}}, {{"$set": {{"action": "x"}}}})),
    code(lambda: events.replace_one({{"_id": 1}}, {{}}, upsert=True)),
    code(lambda: events.delete_many({{}})),
    code(lambda: events.drop_indexes()),
    code(lambda: events.drop()),
    code(lambda: events.rename("other")),
    code(lambda: list(events.aggregate([{{"$out": "events"}}]))),
    code(lambda: client(username="airflow", password={lake_secrets["lake_secret_mongodb_airflow"]!r},
                        authSource="admin").audit.events.find_one()),
]]
"""
    added, found, refused = ask(node("data1"), script)
    assert added and found == 0
    assert set(refused) == {13}


def test_the_counter_is_there_once_beside_a_list_without_types(node, lake_secrets):
    script = f"""
one = client(username="api", password={lake_secrets["lake_secret_mongodb_api"]!r}, authSource="admin").stats.swift
one.insert_many([{{"swift_id": name, "swift_container": "molecule"}} for name in ("m1", "m2")])
answer = [one.count_documents({{"type": "object_id_file"}}), code(lambda: one.insert_one({{"type": "object_id_file"}}))]
one.delete_many({{"swift_container": "molecule"}})
"""
    duplicate = 11000
    assert ask(node("data1"), script) == [1, duplicate]


def test_the_sink_of_documents_works_with_its_account(node, lake_secrets, tunnel, lake_ca, run_unit_tests):
    primary = next(name for name, state in wait_whole(node("data1")).items() if state.startswith("PRIMARY"))
    where = {
        "host": "127.0.0.1",
        "port": tunnel(primary, 27017),
        "directConnection": True,
        "tls": True,
        "tlsCAFile": lake_ca,
        "username": "gold_airflow",
        "password": lake_secrets["lake_secret_mongodb_gold_airflow"],
        "authSource": "admin",
    }
    run_unit_tests("lake/sinks/test_documents_server.py", LAKE_TEST_MONGODB=json.dumps(where))


def test_the_catalogue_works_with_the_account_of_the_api(node, lake_secrets, tunnel, lake_ca, run_unit_tests):
    primary = next(name for name, state in wait_whole(node("data1")).items() if state.startswith("PRIMARY"))
    where = {
        "host": "127.0.0.1",
        "port": tunnel(primary, 27017),
        "directConnection": True,
        "tls": True,
        "tlsCAFile": lake_ca,
        "username": "api",
        "password": lake_secrets["lake_secret_mongodb_api"],
        "authSource": "admin",
    }
    run_unit_tests("lake/test_catalogue.py", LAKE_TEST_MONGODB=json.dumps(where))


@pytest.mark.parametrize("name", MEMBERS)
def test_secrets_stay_secret(node, lake_secrets, name):
    host = node(name)
    key = host.file("/etc/mongodb/keyfile")
    assert (key.user, key.mode) == ("mongodb", 0o400)
    texts = [host.check_output("journalctl --unit mongod --output cat"), host.check_output("systemctl cat mongod")]
    texts += [host.check_output("cat /etc/mongodb/mongod.conf"), host.check_output("ps -eo args | grep '[m]ongod'")]
    found = [secret for secret, value in lake_secrets.items() if any(value in text for text in texts)]
    assert found == []


@pytest.mark.parametrize("name", MEMBERS)
def test_a_renewed_certificate_is_served_without_restart(node, name):
    host = node(name)
    started = host.check_output("systemctl show mongod --property=ExecMainStartTimestampMonotonic")
    host.check_output("systemctl reload mongod")
    assert host.check_output("systemctl show mongod --property=ExecMainStartTimestampMonotonic") == started
    assert host.file("/etc/pki/lake/renewal-hooks.d/mongodb").content_string.strip() == "mongod.service"


def test_a_killed_primary_is_replaced_and_comes_back_with_nothing_lost(node, lake_secrets):
    before = wait_whole(node("data1"))
    primary = next(name for name, state in before.items() if state.startswith("PRIMARY"))
    other = next(name for name in MEMBERS if name != primary)
    client = f"""
import time
password = {lake_secrets["lake_secret_mongodb_airflow"]!r}
one = client(username="airflow", password=password, authSource="admin", w="majority")
"""
    ask(node(other), client + "answer = code(lambda: one.data_historique.molecule.insert_one({'_id': 'before'}))")
    node(primary).check_output("systemctl kill --signal=KILL mongod")
    script = """
start = time.monotonic()
answer = [code(lambda: one.data_historique.molecule.insert_one({"_id": "after"})), time.monotonic() - start]
"""
    code, seconds = ask(node(other), client + script)
    assert code == 0 and seconds < 30
    wait_whole(node(other))
    script = """
collection = one.data_historique.molecule
answer = sorted(document["_id"] for document in collection.find())
collection.drop()
"""
    assert ask(node(primary), client + script) == ["after", "before"]
