# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets in, as whom, and what is open on the host that decides it."""

from __future__ import annotations

import json

import pytest

KEYSTONE = "https://identity1.management.lake.internal:5000/v3"
DIRECTORY = "ldaps://identity1.management.lake.internal:636"
BASE = "dc=lake,dc=internal"
# Reads its request from the standard input, so that no password stands on a command line.
CLIENT = """
import json, ssl, sys, urllib.error, urllib.request
asked = json.load(sys.stdin)
context = ssl.create_default_context(cafile="/etc/pki/lake/ca.crt")
request = urllib.request.Request(asked["url"], json.dumps(asked["body"]).encode() if asked["body"] else None)
request.add_header("Content-Type", "application/json")
for name, value in asked["headers"].items():
    request.add_header(name, value)
try:
    with urllib.request.urlopen(request, context=context, timeout=30) as answer:
        print(json.dumps([answer.status, dict(answer.headers), json.loads(answer.read() or "null")]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, dict(error.headers), None]))
"""


@pytest.fixture
def host(node):
    return node("identity1")


def with_input(host, command: str, text: str):
    """Run a command whose standard input is `text`, by way of a file that only root can read."""
    path = host.check_output("mktemp")
    try:
        host.run_expect([0], "printf %%s %s > %s", text, path)
        return host.run(f"{command} < {path}")
    finally:
        host.run("rm -f %s", path)


def ask(host, path, body=None, headers=None):
    """Status, headers and document that Keystone answers."""
    request = json.dumps({"url": KEYSTONE + path, "body": body, "headers": headers or {}})
    run = with_input(host, f"python3 -c '{CLIENT}'", request)
    assert run.rc == 0, run.stderr[-500:]
    return json.loads(run.stdout)


def log_in(host, user, password, project, *, domain="campus", project_domain="campus"):
    """Status, token and what the token says."""
    identity = {"user": {"name": user, "password": password, "domain": {"name": domain}}}
    scope = {"project": {"name": project, "domain": {"name": project_domain}}}
    body = {"auth": {"identity": {"methods": ["password"], "password": identity}, "scope": scope}}
    status, headers, document = ask(host, "/auth/tokens", body)
    return status, headers.get("X-Subject-Token"), (document or {}).get("token")


def roles(token):
    return {role["name"] for role in token["roles"]}


@pytest.mark.parametrize(
    ("person", "project", "role"),
    [("demo", "demo", "member"), ("guest", "guests", "member"), ("lakeadmin", "demo", "admin")],
)
def test_person_of_the_directory_gets_a_token_with_the_role_of_the_group(host, lake_secrets, person, project, role):
    status, _, token = log_in(host, person, lake_secrets[f"password of {person}"], project)
    assert status == 201
    assert role in roles(token)


def test_member_is_no_administrator(host, lake_secrets):
    _, _, token = log_in(host, "demo", lake_secrets["password of demo"], "demo")
    assert roles(token) == {"member", "reader"}


def test_administrator_of_a_project_administers_that_one_alone(host, lake_secrets):
    _, boss, token = log_in(host, "lakeadmin", lake_secrets["password of lakeadmin"], "demo")
    assert "admin" in roles(token) and token["is_admin_project"] is False
    project, domain = token["project"]["id"], token["project"]["domain"]["id"]
    of_others = ["/users", "/projects", "/domains", "/role_assignments", "/users?domain_id=default"]
    for path, status in [
        (f"/users?domain_id={domain}&name=guest", 200),
        (f"/role_assignments?scope.project.id={project}&include_subtree", 200),
        *((path, 403) for path in of_others),
    ]:
        assert ask(host, path, headers={"X-Auth-Token": boss})[0] == status, path
    password = lake_secrets["lake_secret_keystone_admin"]
    _, chief, token = log_in(host, "admin", password, "admin", domain="Default", project_domain="Default")
    assert token["is_admin_project"] is True
    assert ask(host, "/projects", headers={"X-Auth-Token": chief})[0] == 200


def test_wrong_password_is_refused(host):
    assert log_in(host, "demo", "not the password", "demo")[0] == 401


def test_guest_has_nothing_to_do_in_another_project(host, lake_secrets):
    assert log_in(host, "guest", lake_secrets["password of guest"], "demo")[0] == 401


def test_service_checks_a_persons_token_and_a_person_does_not(host, lake_secrets):
    _, persons, _ = log_in(host, "demo", lake_secrets["password of demo"], "demo")
    _, guests, _ = log_in(host, "guest", lake_secrets["password of guest"], "guests")
    _, services, _ = log_in(
        host,
        "api",
        lake_secrets["lake_secret_keystone_service_api"],
        "service",
        domain="Default",
        project_domain="Default",
    )
    status, _, document = ask(host, "/auth/tokens", headers={"X-Auth-Token": services, "X-Subject-Token": persons})
    assert status == 200
    assert document["token"]["user"]["name"] == "demo"
    assert ask(host, "/auth/tokens", headers={"X-Auth-Token": guests, "X-Subject-Token": persons})[0] == 403
    assert ask(host, "/users", headers={"X-Auth-Token": persons})[0] == 403


def test_catalogue_names_the_edge_for_people(host, lake_secrets):
    _, _, token = log_in(host, "demo", lake_secrets["password of demo"], "demo")
    catalogue = {
        (service["type"], endpoint["interface"]): endpoint["url"]
        for service in token["catalog"]
        for endpoint in service["endpoints"]
    }
    assert catalogue["object-store", "public"].endswith(f":8080/v1/AUTH_{token['project']['id']}")
    assert ".storage.lake.internal:8080" in catalogue["object-store", "internal"]
    assert catalogue["identity", "internal"] == KEYSTONE
    assert all(url.startswith("https://") for url in catalogue.values())


def test_nobody_anonymous_reads_the_directory(host):
    search = host.run("LDAPTLS_CACERT=/etc/pki/lake/ca.crt ldapsearch -x -LLL -H %s -b %s", DIRECTORY, BASE)
    assert search.rc != 0
    assert "dn:" not in search.stdout


def search_as(host, dn, password, where):
    """What an account of the directory finds."""
    path = host.check_output("mktemp")
    try:
        host.run_expect([0], "printf %%s %s > %s", password, path)
        return host.run(
            "LDAPTLS_CACERT=/etc/pki/lake/ca.crt ldapsearch -x -LLL -H %s -D %s -y %s -b %s", DIRECTORY, dn, path, where
        )
    finally:
        host.run("rm -f %s", path)


@pytest.mark.parametrize("service", ["keystone", "airflow"])
def test_service_reads_people_and_groups_but_no_password(host, lake_secrets, service):
    dn, password = f"cn={service},ou=services,{BASE}", lake_secrets[f"lake_secret_ldap_{service}"]
    people = search_as(host, dn, password, f"ou=people,{BASE}").stdout
    assert f"dn: uid=demo,ou=people,{BASE}" in people
    assert "userPassword" not in people
    assert f"member: uid=demo,ou=people,{BASE}" in search_as(host, dn, password, f"ou=groups,{BASE}").stdout
    assert "dn:" not in search_as(host, dn, password, f"ou=services,{BASE}").stdout


def test_person_reads_nobody_else(host, lake_secrets):
    found = search_as(
        host,
        f"uid=demo,ou=people,{BASE}",
        lake_secrets["password of demo"],
        f"uid=guest,ou=people,{BASE}",
    )
    assert "dn:" not in found.stdout


@pytest.fixture
def address(host):
    """Of the host on the management network."""
    return host.check_output("getent hosts identity1.management.lake.internal").split()[0]


def test_directory_speaks_tls_only(host, address):
    assert host.socket(f"tcp://{address}:636").is_listening
    assert not host.socket("tcp://389").is_listening


def test_database_and_cache_are_for_their_own_host(host, address):
    for port in (5432, 6379):
        assert host.socket(f"tcp://127.0.0.1:{port}").is_listening
        assert not host.socket(f"tcp://0.0.0.0:{port}").is_listening
        assert not host.socket(f"tcp://{address}:{port}").is_listening


def test_cache_lets_nobody_in_without_a_name(host):
    answer = host.check_output("redis-cli --tls --cacert /etc/pki/lake/ca.crt ping 2>&1 || true")
    assert "NOAUTH" in answer


def test_who_may_change_users_of_the_cache_may_do_nothing_else(host, lake_secrets):
    ask = "redis-cli --tls --cacert /etc/pki/lake/ca.crt --user admin --no-auth-warning %s"
    for command, answer in (("ACL LIST", "user keystone on"), ("DBSIZE", "NOPERM"), ("ACL DELUSER keystone", "NOPERM")):
        command = ask.replace("%s", command)
        said = host.check_output(f"REDISCLI_AUTH=%s {command} 2>&1 || true", lake_secrets["lake_secret_redis_admin"])
        assert answer in said, command


def test_database_lets_nobody_in_without_tls(host):
    refused = host.run("PGPASSWORD=x psql 'host=127.0.0.1 user=keystone dbname=keystone sslmode=disable' -c 'select 1'")
    assert refused.rc != 0
    assert "no pg_hba.conf entry" in refused.stderr


@pytest.mark.parametrize("unit", ["postgresql@15-main", "redis-server", "slapd", "keystone", "keystone-keys.timer"])
def test_unit_runs_now_and_after_a_start(host, unit):
    service = host.service(unit)
    assert service.is_running
    assert service.is_enabled


def test_files_with_secrets_are_closed(host):
    for path, group in (
        ("/etc/keystone/keystone.conf", "keystone"),
        ("/etc/keystone/domains/keystone.campus.conf", "keystone"),
        ("/etc/redis/users.acl", "redis"),
    ):
        file = host.file(path)
        assert (file.user, file.group, file.mode) == ("root", group, 0o640)
    for name in ("fernet-keys", "credential-keys"):
        folder = host.file(f"/var/lib/keystone/{name}")
        assert (folder.user, folder.mode) == ("keystone", 0o700)


def test_keys_change_and_tokens_stay_good(host, lake_secrets):
    _, token, _ = log_in(host, "demo", lake_secrets["password of demo"], "demo")
    before = host.check_output("ls /var/lib/keystone/fernet-keys")
    host.run_expect([0], "systemctl start keystone-keys.service")
    assert host.check_output("ls /var/lib/keystone/fernet-keys") != before
    assert ask(host, "/auth/tokens", headers={"X-Auth-Token": token, "X-Subject-Token": token})[0] == 200


def test_keystone_goes_on_without_its_cache(host, lake_secrets):
    host.run_expect([0], "systemctl stop redis-server")
    try:
        assert log_in(host, "demo", lake_secrets["password of demo"], "demo")[0] == 201
    finally:
        host.run_expect([0], "systemctl start redis-server")


def test_keystone_finds_a_directory_that_was_restarted(host, lake_secrets):
    assert log_in(host, "guest", lake_secrets["password of guest"], "guests")[0] == 201
    host.run_expect([0], "systemctl restart slapd")
    host.run_expect([0], "sh -c 'until ldapwhoami -Q -Y EXTERNAL -H ldapi:/// ; do :; done'")
    for _ in range(3):
        assert log_in(host, "guest", lake_secrets["password of guest"], "guests")[0] == 201
