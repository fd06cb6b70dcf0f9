# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""People of a site log in with what they have there: a password of its directory, or a Kerberos ticket.

Everything is asked from the site's node, which is no host of the lake, through the edge.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
EDGE = "https://lake1.access.lake.internal"
API = f"{EDGE}/api/v1"
KEYSTONE = f"{EDGE}:5000/v3"
DIRECTORY = "ldaps://site1.management.lake.internal:636"
READER = "cn=lac-lecture,ou=Services,dc=campus,dc=example"
PEOPLE = "ou=Comptes,dc=campus,dc=example"
PAGE = 20
CURL = "curl -s -i --cacert /etc/pki/lake/ca.crt --max-time 60 -H 'Content-Type: application/json'"


@pytest.fixture(scope="module")
def site(node):
    return node("site1")


@pytest.fixture(scope="module")
def lake(node):
    return node("lake1")


@pytest.fixture(scope="module")
def with_input(site):
    """Runs a command on the site whose standard input is a text, by way of a file that only root can read."""

    def run(command, text):
        path = site.check_output("mktemp")
        try:
            site.run_expect([0], "printf %%s %s > %s", text, path)
            return site.run(f"{command} < {path}")
        finally:
            site.run("rm -f %s", path)

    return run


class Answer:
    """The last answer of what curl was given; `headers` is a list of what each name has."""

    def __init__(self, text):
        *_, block = re.split(r"(?m)^(?=HTTP/)", text.replace("\r\n", "\n"))
        head, _, body = block.partition("\n\n")
        line, *lines = head.splitlines()
        self.status = int(line.split()[1])
        self.headers = {}
        for name, _, value in (one.partition(": ") for one in lines):
            self.headers.setdefault(name.lower(), []).append(value)
        self.document = json.loads(body) if body.strip() else None

    @property
    def challenges(self):
        return self.headers.get("www-authenticate", [])


@pytest.fixture(scope="module")
def ask(with_input):
    """What the lake answers; a body is posted, by way of the standard input: it may have a password."""

    def _ask(url, body=None, *options):
        sent = f"{CURL} {' '.join(options)} {'-d @-' if body is not None else ''} '{url}'"
        done = with_input(sent, json.dumps(body))
        assert done.rc == 0, done.stderr
        return Answer(done.stdout)

    return _ask


@pytest.fixture(scope="module")
def log_in(ask, lake_secrets):
    """A person logs in with the password."""

    def _log_in(person, project=None, **more):
        body = {"username": person, "password": lake_secrets[f"password of {person}"], **more}
        return ask(f"{API}/auth/token", {**body, "project": project} if project else body)

    return _log_in


@pytest.fixture(scope="module")
def ticket_of(with_input, lake_secrets):
    """curl's options to show a ticket of a principal."""

    def _ticket_of(principal):
        cache = f"KRB5CCNAME=FILE:/tmp/tickets-{principal.replace('/', '-')}"
        password = lake_secrets[f"password of {principal.split('/')[0]}"]
        done = with_input(f"env {cache} kinit {principal}", password)
        assert done.rc == 0, done.stderr
        return cache

    return _ticket_of


@pytest.fixture(scope="module")
def by_ticket(site, ticket_of):
    """A principal asks with a ticket."""

    def _by_ticket(principal, body, url=f"{API}/auth/token"):
        cache = ticket_of(principal)
        done = site.run(f"env {cache} {CURL} --negotiate -u : -d %s %s", json.dumps(body), url)
        assert done.rc == 0, done.stderr
        return Answer(done.stdout)

    return _by_ticket


def to_keystone(project=None):
    scope = {"project": {"name": project, "domain": {"name": "campus"}}} if project else "unscoped"
    return {"auth": {"identity": {"methods": ["kerberos"], "kerberos": {}}, "scope": scope}}


def bearing(answer):
    """curl's option with the token of an answer."""
    assert answer.status == 201, answer.document
    return f"-H 'X-Auth-Token: {answer.document['token']}'"


# The site's directory.


@pytest.mark.parametrize(
    ("person", "project", "roles"), [("jdupont", "air", ["member", "reader"]), ("abenali", "eau", ["reader"])]
)
def test_person_of_any_unit_has_the_roles_of_the_group(log_in, person, project, roles):
    answer = log_in(person, project)
    assert answer.status == 201, answer.document
    assert answer.document["roles"] == roles
    assert answer.document["user"]["name"] == person and answer.document["user"]["domain"] == "campus"


def test_group_whose_members_are_named_by_login(log_in):
    answer = log_in("mcurie", "air", user_domain="labo")
    assert answer.status == 201, answer.document
    assert answer.document["roles"] == ["reader"] and answer.document["user"]["domain"] == "labo"


@pytest.mark.parametrize(("person", "project"), [("jdupont", "eau"), ("abenali", "air"), ("pleroux", "air")])
def test_nobody_gets_into_a_project_without_a_group_of_it(log_in, person, project):
    assert log_in(person, project).status == 401


def test_person_without_a_group_sees_nothing(log_in, ask):
    answer = log_in("pleroux")
    token = bearing(answer)
    assert answer.document["project"] is None and answer.document["roles"] == []
    assert ask(f"{API}/auth/projects", None, token).document["items"] == []
    assert ask(f"{API}/containers", None, token).status == 403
    assert ask(f"{API}/admin/users", None, token).status == 403


@pytest.mark.parametrize("person", ["xparti", "zdehors", "ffantome"])
def test_who_is_disabled_elsewhere_or_nowhere_is_not_let_in(log_in, person):
    assert log_in(person).status == 401


def as_reader(site, command, lake_secrets):
    """Run a command of LDAP as the lake's account; its standard input is the password's file."""
    path = site.check_output("mktemp")
    try:
        site.run_expect([0], "printf %%s %s > %s", lake_secrets["lake_secret_ldap_keystone"], path)
        return site.run(f"LDAPTLS_CACERT=/srv/site/ca.crt {command} -x -H {DIRECTORY} -D {READER} -y {path}")
    finally:
        site.run("rm -f %s", path)


@pytest.fixture(scope="module")
def admin(ask, lake_secrets):
    """curl's option with the token of the administrator of the lake."""
    body = {"username": "admin", "password": lake_secrets["lake_secret_keystone_admin"], "domain": "Default"}
    return bearing(ask(f"{API}/auth/token", {**body, "project": "admin"}))


def test_directory_that_gives_a_page_at_a_time_is_read_to_its_end(site, ask, admin, lake_secrets):
    at_once = as_reader(site, f"ldapsearch -LLL -b {PEOPLE} '(objectClass=user)' dn", lake_secrets)
    assert at_once.rc == 4  # size limit exceeded
    people, cursor = [], ""
    while cursor is not None:
        page = ask(f"{API}/admin/users?domain=campus&limit=50{cursor and '&cursor=' + cursor}", None, admin).document
        people += [one["name"] for one in page["items"]]
        cursor = page["next"]
    assert len(people) == len(set(people)) == 3 * PAGE + 4


def test_the_account_of_the_lake_can_not_write_and_never_tries(site, lake, ask, admin, log_in, lake_secrets):
    person = log_in("jdupont", "air")
    user = person.document["user"]["id"]
    answer = ask(f"{API}/admin/users/{user}", {"email": "other@campus.example"}, "-X PATCH", admin)
    assert (answer.status, answer.document["error"]["code"]) == (403, "read_only_directory")

    addresses = lake.check_output("hostname -I").split()
    log = site.check_output("journalctl -u site-directory -o cat --no-pager")
    of_the_lake = {
        conn for conn, address in re.findall(r"(conn=\d+) fd=\d+ ACCEPT from IP=([\d.]+):", log) if address in addresses
    }
    done = re.findall(r"(conn=\d+) op=\d+ ([A-Z]+)", log)
    assert {"BIND", "SRCH"} <= {verb for conn, verb in done if conn in of_the_lake}
    writes = {"ADD", "MOD", "DEL", "MODRDN", "PASSMOD", "EXT"}
    assert not [(conn, verb) for conn, verb in done if conn in of_the_lake and verb in writes]

    group = "cn=GG-Lac-Membres,ou=Lac,ou=Groupes,dc=campus,dc=example"
    change = f"dn: {group}\nchangetype: modify\nadd: description\ndescription: x\n"
    site.run_expect([0], "printf %%s %s > /tmp/change.ldif", change)
    assert as_reader(site, "ldapmodify -f /tmp/change.ldif", lake_secrets).rc == 50  # insufficient access


def test_directory_with_a_certificate_of_another_authority_is_not_asked(log_in, site):
    """The same directory under its other name, where Keystone is told to trust the lake's authority alone."""
    before = site.check_output("journalctl -u site-directory -o cat --no-pager | wc -l")
    answer = log_in("jdupont", domain="imposture")
    assert answer.status in (401, 503), answer.document
    log = site.check_output("journalctl -u site-directory -o cat --no-pager | tail -n +%s", before)
    address = site.check_output("getent hosts site1.access.lake.internal").split()[0]
    there = set(re.findall(rf"(conn=\d+) fd=\d+ ACCEPT from .*\(IP={address}:636\)", log))
    assert there and not [line for line in log.splitlines() if " BIND " in line and line.split()[2] in there]
    assert log_in("jdupont", "air").status == 201  # the others go on, each by its own authority


def test_deployment_stops_where_the_authority_is_another():
    command = ["ansible-playbook", "-i", "inventories/kerberos", "molecule/kerberos/refused.yml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split())
    assert "signed by the authority in /etc/pki/lake/ca.crt" in said, said[-2000:]
    assert "Can't contact LDAP server" in said


# Kerberos.


@pytest.mark.parametrize(
    ("person", "project", "roles"), [("jdupont", "air", ["member", "reader"]), ("abenali", "eau", ["reader"])]
)
def test_ticket_gives_what_the_password_gives(by_ticket, log_in, ask, person, project, roles):
    answer = by_ticket(person, {"project": project})
    assert answer.status == 201, answer.document
    assert answer.document["roles"] == roles
    by_password = log_in(person, project).document
    same = ("user", "project", "roles", "administrator", "everywhere")
    assert [answer.document[name] for name in same] == [by_password[name] for name in same]
    assert any(challenge.startswith("Negotiate ") for challenge in answer.challenges)
    me = ask(f"{API}/auth/token", None, bearing(answer))
    assert me.status == 200 and me.document["user"]["name"] == person


def test_keystone_takes_it_too(by_ticket):
    answer = by_ticket("jdupont", to_keystone("air"), f"{KEYSTONE}/auth/tokens")
    assert answer.status == 201, answer.document
    token = answer.document["token"]
    assert token["methods"] == ["kerberos"] and {one["name"] for one in token["roles"]} == {"member", "reader"}


def test_ticket_of_who_has_no_group_shows_nothing(by_ticket, ask):
    assert by_ticket("pleroux", {"project": "air"}).status == 401
    answer = by_ticket("pleroux", {})
    assert ask(f"{API}/auth/projects", None, bearing(answer)).document["items"] == []


@pytest.mark.parametrize("principal", ["xparti", "ffantome", "jdupont/admin"])
def test_ticket_of_who_is_disabled_unknown_or_no_person(by_ticket, principal):
    assert by_ticket(principal, {}).status == 401
    assert by_ticket(principal, to_keystone(), f"{KEYSTONE}/auth/tokens").status == 401


def test_without_a_ticket_one_is_asked_for(ask):
    for answer in (ask(f"{API}/auth/token", {"project": "air"}), ask(f"{KEYSTONE}/auth/tokens", to_keystone("air"))):
        assert answer.status == 401 and "Negotiate" in answer.challenges


def test_wrong_password_does_not_ask_for_a_ticket(ask):
    answer = ask(f"{API}/auth/token", {"username": "jdupont", "password": "not the password", "project": "air"})
    assert answer.status == 401 and "Negotiate" not in answer.challenges


@pytest.mark.parametrize("url", [f"{API}/auth/token", f"{KEYSTONE}/auth/tokens"])
def test_nobody_says_by_a_header_who_they_are(ask, url):
    names = ("REMOTE_USER", "Remote-User", "X-Remote-User", "REMOTE_DOMAIN", "AUTH_TYPE")
    forged = [f"-H '{name}: {'Negotiate' if name == 'AUTH_TYPE' else 'jdupont'}'" for name in names]
    assert ask(url, {} if url.startswith(API) else to_keystone("air"), *forged).status == 401
    garbage = "-H 'Authorization: Negotiate YWRtaW4='"
    assert ask(url, {} if url.startswith(API) else to_keystone("air"), garbage, *forged).status == 401


def test_ticket_is_taken_once(site, ticket_of, ask):
    cache = ticket_of("jdupont")
    shown = site.run(f"env {cache} {CURL} -v --negotiate -u : -d '{{}}' {API}/auth/token")
    assert Answer(shown.stdout).status == 201
    header = re.search(r"(?im)^> (authorization: negotiate \S+)", shown.stderr)[1]
    assert ask(f"{API}/auth/token", {}, f"-H '{header}'").status == 401


def test_ticket_for_another_host_is_refused(site, ticket_of, ask):
    """One that was shown elsewhere, by a server that would be somebody here."""
    cache = ticket_of("jdupont")
    elsewhere = f"--connect-to other.campus.example:443:{EDGE.removeprefix('https://')}:443 -k"
    done = site.run(
        f"env {cache} {CURL} {elsewhere} --negotiate -u : -d '{{}}' https://other.campus.example/api/v1/auth/token"
    )
    assert Answer(done.stdout).status == 401


def test_document_says_so(ask):
    assert "kerberos" in ask(f"{API}/openapi.json").document["components"]["securitySchemes"]


def test_keys_are_for_keystone_alone(lake):
    keytab = lake.file("/etc/keystone/http.keytab")
    assert (keytab.user, keytab.group, keytab.mode) == ("root", "keystone", 0o640)


def test_nothing_secret_is_in_the_journal(lake, site, lake_secrets):
    log = lake.check_output("journalctl --no-pager -o cat") + site.check_output("journalctl --no-pager -o cat")
    assert not [name for name, secret in lake_secrets.items() if isinstance(secret, str) and secret in log]
