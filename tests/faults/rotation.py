# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""New values for all secrets of a running lake, while people use it: nobody notices, and no old value works any more.

    python tests/faults/rotation.py [--environment local] [--interrupt STAGE] [--markdown FILE] [SECRET …]

Two clients insert through the REST API and two through Swift; others read objects, points, tables and the graph, and
log in. Meanwhile `make rotate` runs; with --interrupt it is killed in that stage (both, use, drop), and started again.
No request may fail; each acknowledged object has to reach gold once; each secret has to have a new value, the new one
has to open what it is for, and the old one must not. Exit status 1 where that is not so.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import yaml
from ingest import TIMEOUT, Check, Client, Person
from nodes import PREFIXES, NodeError, Nodes
from run import settle

ROOT = Path(__file__).resolve().parent.parent.parent
ACCOUNTS = yaml.safe_load((ROOT / "inventories/common/group_vars/all/accounts.yml").read_text())["lake_account_names"]
PAUSE = 0.7  # seconds between two requests of a reader
PATIENCE = 900.0  # seconds for the samples, and after the end for everything, to reach gold
BEFORE, AFTER = 10.0, 20.0  # seconds of use before the rotation and after it
IN_STAGE = 8.0  # seconds in a stage after which the rotation is killed
STAGES = ("both", "use", "drop")
SAMPLES = {"messages.json": "application/json", "airports.csv": "text/csv", "portrait.jpg": "image/jpeg"}
CONFIGURATIONS = (
    "/etc/lake-api /etc/airflow /etc/swift /etc/swift-webhook /etc/keystone /etc/mongodb /etc/redis /etc/neocampus"
)
COLUMNS = ("what", "requests", "failed", "longest")

Secrets = dict[str, Any]
Opens = Callable[[str, str], bool]
Ask = Callable[[requests.Session], requests.Response]


# --- those who use the lake ---


@dataclass(eq=False)
class Reader:
    """Asks the same again and again, once each time: an answer other than 2xx, or none, is a failure."""

    name: str
    ask: Ask
    session: requests.Session
    attempts: int = 0
    longest: float = 0.0
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; what is under way ends first."""
        self._ending.set()

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join()

    def _work(self) -> None:
        while not self._ending.is_set():
            began = time.monotonic()
            self.attempts += 1
            try:
                answer = self.ask(self.session)
                if not answer.ok:
                    self.failures.append(f"{time.strftime('%X')} {answer.status_code} {answer.text[:200]}")
            except requests.RequestException as error:
                self.failures.append(f"{time.strftime('%X')} {error!r}")
            self.longest = max(self.longest, time.monotonic() - began)
            self._ending.wait(PAUSE)


def prepare(person: Person, container: str) -> dict[str, str]:
    """Put samples of each store of gold in, and wait until they are there; ids by file name. Errors: TimeoutError."""
    session, made = person.session(), {}
    for name, kind in SAMPLES.items():
        files = {"file": (name, (ROOT / "samples" / name).read_bytes(), kind)}
        answer = session.post(person.api(f"/containers/{container}/objects"), files=files, timeout=60)
        answer.raise_for_status()
        made[name] = str(answer.json()["swift_object_id"])
    end = time.monotonic() + PATIENCE
    for name, number in made.items():
        while True:
            answer = session.get(person.api(f"/containers/{container}/objects/{number}"), timeout=60)
            answer.raise_for_status()
            if answer.json()["successful_operations"]:
                break
            if time.monotonic() > end:
                raise TimeoutError(f"{name} did not reach gold within {PATIENCE:g} s")
            time.sleep(1)
    return made


def getting(url: str) -> Ask:
    """A GET of an address."""
    return lambda session: session.get(url, timeout=TIMEOUT)


def posting(url: str, body: dict[str, Any]) -> Ask:
    """A POST of a document to an address."""
    return lambda session: session.post(url, json=body, timeout=TIMEOUT)


def readers(person: Person, container: str, made: dict[str, str]) -> list[Reader]:
    """One for each kind of entry."""
    base = person.api(f"/containers/{container}")
    table = person.session().get(f"{base}/tables", timeout=60).json()["items"][0]
    table = table["name"] if isinstance(table, dict) else table
    log_in = {"username": person.rc["OS_USERNAME"], "password": person.rc["OS_PASSWORD"]}
    domain = {"name": person.rc["OS_USER_DOMAIN_NAME"]}
    user = {"name": log_in["username"], "password": log_in["password"], "domain": domain}
    keystone = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    gets = {
        "objects": f"{base}/objects",
        "an object's data": f"{base}/objects/{made['portrait.jpg']}/data",
        "points": f"{base}/timeseries/points?measurement=lux&limit=10",
        "rows of a table": f"{base}/tables/{table}/rows?limit=10",
        "documents": f"{base}/documents?limit=10",
        "graph": f"{base}/graph/images/{made['portrait.jpg']}",
        "Swift: a listing": person.swift(f"/{container}"),
    }
    posts: dict[str, tuple[str, dict[str, Any]]] = {
        "log-in": (person.api("/auth/token"), log_in | {"project": person.rc["OS_PROJECT_NAME"]}),
        "Keystone: log-in": (f"{person.rc['OS_AUTH_URL'].rstrip('/')}/auth/tokens", keystone),
    }
    found = [Reader(name, getting(url), person.session()) for name, url in gets.items()]
    found += [Reader(name, posting(url, body), person.session()) for name, (url, body) in posts.items()]
    return found


# --- the rotation ---


def secrets_of(environment: str) -> Secrets:
    """The file of secrets as it is now."""
    return dict(yaml.safe_load((ROOT / f"build/{environment}/secrets.yml").read_text()))


def stage_of(secrets: Secrets) -> str:
    """Stage of the rotation that is under way; empty for none."""
    return str(secrets.get("lake_rotation", {}).get("stage", ""))


def rotate(environment: str, names: list[str], log: Path, interrupt: str) -> None:
    """`make rotate`, killed once in a stage where one is given. Errors: RuntimeError where it fails."""
    command = ["make", "rotate", f"ENV={environment}", f"SECRETS={' '.join(names)}"]
    with log.open("a") as stream:
        if interrupt:
            running = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=stream, start_new_session=True)
            while running.poll() is None and stage_of(secrets_of(environment)) != interrupt:
                time.sleep(0.2)
            time.sleep(IN_STAGE)
            if running.poll() is not None:
                raise RuntimeError(f"the rotation ended before it could be killed in stage {interrupt}: see {log}")
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
        if subprocess.run(command, cwd=ROOT, stdout=stream, stderr=stream).returncode:
            raise RuntimeError(f"the rotation failed: see {log}")


# --- what a secret opens ---


class Doors:
    """Tries passwords where they are for, on the nodes themselves; none stands on a command line."""

    MONGODB = (
        "import sys, pymongo, pymongo.errors\n"
        "name, database = sys.argv[1:]\n"
        "client = pymongo.MongoClient('localhost', tls=True, tlsCAFile='/etc/pki/lake/ca.crt', directConnection=True,\n"
        "    username=name, password=sys.stdin.read(), authSource=database, authMechanism='SCRAM-SHA-256')\n"
        "try:\n"
        "    client.admin.command('hello'); print('open')\n"
        "except pymongo.errors.OperationFailure as error:\n"
        "    assert error.code == 18, error; print('shut')\n"
    )
    NEO4J = (
        "import sys, neo4j, neo4j.exceptions\n"
        "url, name = sys.argv[1:]\n"
        "trust = neo4j.TrustCustomCAs('/etc/pki/lake/ca.crt')\n"
        "try:\n"
        "    with neo4j.GraphDatabase.driver(url, auth=(name, sys.stdin.read()), encrypted=True,\n"
        "            trusted_certificates=trust) as driver:\n"
        "        driver.verify_connectivity(); print('open')\n"
        "except neo4j.exceptions.AuthError:\n"
        "    print('shut')\n"
    )
    PSQL = (
        'PGPASSWORD=$(cat) exec psql -w -qAtc "SELECT \'open\'" "host=127.0.0.1 sslmode=require dbname=$1 user=$2" 2>&1'
    )
    REDIS = (
        "REDISCLI_AUTH=$(cat); export REDISCLI_AUTH; exec redis-cli -h 127.0.0.1 --tls --cacert /etc/pki/lake/ca.crt "
        '--user "$1" --no-auth-warning PING </dev/null 2>&1'
    )
    LDAP = 'LDAPTLS_CACERT=/etc/pki/lake/ca.crt exec ldapwhoami -x -H "ldaps://$1" -D "$2" -y /dev/stdin 2>&1'

    def __init__(self, environment: str, person: Person) -> None:
        self.environment, self.person = environment, person
        self.domain = self._run(
            "data1", ["sh", "-c", "sed -n 's/.* data1[.]metadata[.]//p' /etc/hosts | head -n 1"]
        ).split()[0]

    def _run(self, node: str, command: list[str], given: str = "", codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            ["docker", "exec", "-i", PREFIXES[self.environment] + node, *command],
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode not in codes:
            raise NodeError(f"{command[:3]} on {node} answered {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def _said(self, said: str, opened: str, shut: str) -> bool:
        if (opened in said) == (shut in said):
            raise NodeError(f"neither open nor shut: {said[:500]}")
        return opened in said

    def mongodb(self, name: str, password: str, database: str = "admin") -> bool:
        said = self._run("data1", ["/opt/neocampus/mongodb/bin/python", "-c", self.MONGODB, name, database], password)
        return self._said(said, "open", "shut")

    def neo4j(self, name: str, password: str) -> bool:
        url = f"bolt://gold1.gold.{self.domain}:7687"
        return self._said(
            self._run("gold1", ["/opt/neocampus/neo4j/bin/python", "-c", self.NEO4J, url, name], password),
            "open",
            "shut",
        )

    def influxdb(self, name: str, password: str) -> bool:
        url = f"https://gold1.gold.{self.domain}:8086/query?q=SHOW%20DATABASES"
        command = [
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--cacert",
            "/etc/pki/lake/ca.crt",
            "-K",
            "-",
            url,
        ]
        return self._said(self._run("gold1", command, f'user = "{name}:{password}"\n'), "200", "401")

    def sql(self, node: str, database: str, name: str, password: str) -> bool:
        said = self._run(node, ["sh", "-c", self.PSQL, "sh", database, name], password, (0, 2))
        # An account that is not in use may not log in; what is said of that is no different from a wrong password.
        return self._said(said, "open", "FATAL")

    def redis(self, node: str, name: str, password: str) -> bool:
        said = self._run(node, ["sh", "-c", self.REDIS, "sh", name], password, (0, 1))
        return self._said(said.replace("PONG", "open").replace("NOPERM", "open"), "open", "WRONGPASS")

    def ldap(self, name: str, password: str) -> bool:
        base = ",".join(f"dc={part}" for part in self.domain.split("."))
        command = ["sh", "-c", self.LDAP, "sh", f"identity1.management.{self.domain}", f"cn={name},ou=services,{base}"]
        return self._said(self._run("identity1", command, password, (0, 49)), "dn:", "Invalid credentials")

    def keystone(self, name: str, password: str) -> bool:
        user = {"name": name, "password": password, "domain": {"id": "default"}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
        return self._answered(f"{self.person.rc['OS_AUTH_URL'].rstrip('/')}/auth/tokens", body)

    def airflow(self, name: str, password: str) -> bool:
        host = urlsplit(self.person.rc["OS_AUTH_URL"]).hostname
        return self._answered(f"https://{host}:8081/auth/token", {"username": name, "password": password})

    def _answered(self, url: str, body: dict[str, Any]) -> bool:
        answer = self.person.session().post(url, json=body, timeout=60)
        if answer.status_code not in (200, 201, 401):
            raise NodeError(f"{url} answered {answer.status_code}")
        return answer.status_code != 401

    def of(self, secret: str) -> Opens | None:
        """What tells whether account and value of this secret open what they are for; None for what opens nothing."""
        kind = secret.removeprefix("lake_secret_")
        special: dict[str, Opens] = {
            "keystone_db": lambda name, value: self.sql("identity1", "keystone", name, value),
            "airflow_db": lambda name, value: self.sql("process1", "airflow", name, value),
            "gold_sql_airflow": lambda name, value: self.sql("gold1", "gold", name, value),
            "gold_sql_api": lambda name, value: self.sql("gold1", "gold", name, value),
            "redis_keystone": lambda name, value: self.redis("identity1", name, value),
            "redis_airflow": lambda name, value: self.redis("process1", name, value),
            "redis_admin": lambda name, value: self.redis("process1", name, value),
            "airflow_relay": self.airflow,
            "airflow_admin": self.airflow,
            "mongodb_keyfile": lambda name, value: self.mongodb(name, value, "local"),
        }
        if kind in special:
            return special[kind]
        stores = {
            "mongodb": self.mongodb,
            "influxdb": self.influxdb,
            "neo4j": self.neo4j,
            "ldap": self.ldap,
            "keystone": self.keystone,
        }
        store, _, account = kind.partition("_")
        return stores.get(store) if account and not kind.endswith("keyfile") else None

    def left_over(self, values: list[str]) -> list[str]:
        """Files of settings, as `node:file`, in which one of the values still stands."""
        command = ["sh", "-c", f"grep -rlFf - {CONFIGURATIONS} 2>/dev/null"]
        given = "\n".join(values) + "\n"
        return [f"{node}:{file}" for node in NODES for file in self._run(node, command, given, (0, 1, 2)).split()]


NODES = ("edge1", "identity1", "data1", "data2", "data3", "process1", "process2", "gold1", "monitor1")
OTHER_NAMES = {"mongodb_keyfile": "__system", "neo4j_admin": "neo4j", "airflow_admin": "lake-admin"}


def account(secret: str, secrets: Secrets) -> str:
    """Name of the account that is in use, whose secret this is."""
    kind = secret.removeprefix("lake_secret_")
    if secret in ACCOUNTS:
        return str(ACCOUNTS[secret]) + ("_b" if secret in secrets.get("lake_secrets_second", []) else "")
    return OTHER_NAMES.get(kind, kind.rpartition("_")[2])


def judge(doors: Doors, before: Secrets, after: Secrets, rotated: list[str]) -> list[str]:
    """What is wrong with the secrets after the rotation; never a value."""
    wrong = [f"{name} has no new value" for name in rotated if before[name] == after[name]]
    if stage_of(after) or after.get("lake_secrets_besides"):
        wrong.append("the file of secrets says that the rotation is not over")
    for name in rotated:
        opens = doors.of(name)
        if opens is not None:
            if not opens(account(name, after), after[name]):
                wrong.append(f"{name}: the new value does not open it")
            if opens(account(name, before), before[name]):
                wrong.append(f"{name}: the old value still opens it")
    wrong += [f"{place} has an old value" for place in doors.left_over([before[name] for name in rotated])]
    return wrong


def main() -> int:
    """Rotate under load; 1 where somebody noticed, or an old value is good for something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", choices=sorted(PREFIXES), default="local")
    parser.add_argument("--interrupt", choices=STAGES, default="", help="kill the rotation in this stage, and go on")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("secrets", nargs="*", metavar="SECRET", help="all that can be rotated where none is named")
    given = parser.parse_args()
    person, nodes = Person(ROOT / f"build/{given.environment}/openrc"), Nodes(given.environment)
    doors, before = Doors(given.environment, person), secrets_of(given.environment)
    if stage_of(before):
        parser.error("a rotation is under way: end it with `make rotate` first")
    mark = uuid.uuid4().hex[:6]
    containers = {door: f"rotation-{mark}-{door}" for door in ("api", "swift", "read")}
    hook = {"X-Webhook": "on"}
    person.session().put(person.swift(f"/{containers['swift']}"), headers=hook, timeout=60).raise_for_status()
    made = prepare(person, containers["read"])
    clients = [Client(person, door, containers[door], f"{door}{n}") for door in ("api", "swift") for n in (1, 2)]
    reading = readers(person, containers["read"], made)
    log = ROOT / "build/rotation.log"
    log.unlink(missing_ok=True)
    print(f"The rotation's own words go to {log}.", flush=True)
    users: list[Client | Reader] = [*clients, *reading]
    for one in users:
        one.start()
    wrong = []
    began = time.monotonic()
    try:
        time.sleep(BEFORE)
        rotate(given.environment, given.secrets, log, given.interrupt)
        time.sleep(AFTER)
    except RuntimeError as error:
        wrong.append(str(error))
    finally:
        for one in users:
            one.stop()
        for one in users:
            one.join()
    took = time.monotonic() - began
    outcome, waiting = settle(Check(person), clients, nodes, time.monotonic() + PATIENCE)
    if not outcome.well or waiting:
        wrong.append(f"not in gold as acknowledged: {outcome}, {waiting} events still wait")
    after = secrets_of(given.environment)
    if not wrong:
        wrong += judge(doors, before, after, sorted(rotated_names(given.secrets, before, after)))
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [f"| insert: {one.name} | {one.attempts} | {one.failures} | {one.stall:.1f} s |" for one in clients]
    lines += [f"| {one.name} | {one.attempts} | {len(one.failures)} | {one.longest:.1f} s |" for one in reading]
    print(*lines, "", f"{took:.0f} s of use, the rotation in it.", sep="\n")
    wrong += [f"{one.name}: {failure}" for one in reading for failure in one.failures]
    wrong += [f"{one.name}: {one.failures} requests failed" for one in clients if one.failures]
    if given.markdown:
        given.markdown.write_text("\n".join(lines) + "\n")
    print(*wrong, sep="\n")
    print("FAILED: see above" if wrong else "no request failed, all is in gold, no old secret works")
    return 1 if wrong else 0


def rotated_names(named: list[str], before: Secrets, after: Secrets) -> set[str]:
    """Secrets that were to be rotated: those that were named; else all but those that never are."""
    common = yaml.safe_load((ROOT / "inventories/common/group_vars/all/secret_names.yml").read_text())
    if named:
        return {name if name.startswith("lake_secret_") else f"lake_secret_{name}" for name in named} & before.keys()
    never = common["lake_secrets_never"]
    return {name for name in after if name.startswith("lake_secret_") and name not in never and name in before}


if __name__ == "__main__":
    sys.exit(main())
