# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is put between Keystone and its libraries, which are not here: tickets, directories, accounts in use.

The scenario ``kerberos`` has the libraries, and servers behind them.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "roles/keystone/files/lake_keystone"))

from lake_keystone.negotiate import Accepted, Refused  # noqa: E402


@pytest.fixture
def load(monkeypatch):
    """Import a module of lake_keystone with stand-ins for libraries: `load("tickets", gssapi=…)`."""

    def _load(name, **stand_ins):
        for path, attributes in stand_ins.items():
            module = ModuleType(path.replace("__", "."))
            module.__dict__.update(attributes)
            monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.delitem(sys.modules, f"lake_keystone.{name}", raising=False)
        loaded = importlib.import_module(f"lake_keystone.{name}")
        monkeypatch.delitem(sys.modules, f"lake_keystone.{name}")
        return loaded

    return _load


class GSSError(Exception):
    """Of the library."""


class Context:
    """A security context, as the library has it: the ticket says what becomes of it."""

    def __init__(self, creds, usage):
        assert usage == "accept" and creds.asked["store"] == {"keytab": "FILE:/keys"}
        self.complete, self.mech = True, "kerberos"
        self.target_name, self.initiator_name = "HTTP/lake@REALM", "ada@REALM"

    def step(self, token):
        if token == b"wrong":
            raise GSSError("Major (1)\nwrong")
        for name, value in {
            b"half": ("complete", False),
            b"ntlm": ("mech", "ntlm"),
            b"ssh": ("target_name", "host/lake@REALM"),
        }.items():
            if token == name:
                setattr(self, *value)
        return b"proof"


class Keys:
    """Credentials that remember what they were asked for with."""

    def __init__(self, **asked):
        self.asked = asked


@pytest.fixture
def tickets(load):
    negotiable = []
    library = {
        "OID": SimpleNamespace(from_int_seq=lambda text: text),
        "MechType": SimpleNamespace(kerberos="kerberos"),
        "Credentials": Keys,
        "SecurityContext": Context,
        "exceptions": SimpleNamespace(GSSError=GSSError),
    }
    raw = {"set_neg_mechs": lambda credentials, mechanisms: negotiable.extend(mechanisms)}
    accept = load("tickets", gssapi=library, gssapi__raw=raw).Tickets("/keys")
    assert negotiable == ["kerberos"]
    return accept


def test_ticket_says_whose_it_is(tickets):
    assert tickets(b"good") == Accepted("ada@REALM", b"proof")


@pytest.mark.parametrize(
    ("token", "says"),
    [(b"wrong", "Major \\(1\\) wrong"), (b"half", "negotiate further"), (b"ntlm", "ntlm"), (b"ssh", "host/lake@REALM")],
)
def test_what_is_no_ticket_for_this_service_is_refused(tickets, token, says):
    with pytest.raises(Refused, match=says):
        tickets(token)


class Connection:
    """One that remembers its options, in their order."""

    def __init__(self, *arguments, **options):
        self.asked, self.options = (arguments, options), []

    def set_option(self, name, value):
        self.options.append((name, value))


class Handler:
    """Keystone's: makes a connection, or has a pool."""

    def connect(self, url, *arguments, **options):
        self.conn, self.conn_pool = Connection(), SimpleNamespace(connector_cls=None)


@pytest.fixture
def keystones():
    return SimpleNamespace(PythonLDAPHandler=type("Plain", (Handler,), {}), PooledLDAPHandler=type("P", (Handler,), {}))


@pytest.fixture
def directories(load, keystones):
    names = ("OPT_X_TLS_REQUIRE_CERT", "OPT_X_TLS_DEMAND", "OPT_X_TLS_CACERTFILE", "OPT_X_TLS_NEWCTX")
    return load(
        "directories",
        ldap={name: name.removeprefix("OPT_X_TLS_") for name in names},
        ldappool={"StateConnector": Connection},
        keystone={},
        keystone__identity={},
        keystone__identity__backends={},
        keystone__identity__backends__ldap={"common": keystones},
    )


TRUST = [("REQUIRE_CERT", "DEMAND"), ("CACERTFILE", "/ca"), ("NEWCTX", 0)]
"""The last one makes the others count."""


@pytest.mark.parametrize(("given", "named"), [((0, None, False, "/ca"), {}), ((), {"tls_cacertfile": "/ca"})])
def test_each_connection_has_its_own_authority(directories, keystones, given, named):
    directories.install()
    plain = keystones.PythonLDAPHandler()
    plain.connect("ldaps://one", *given, **named)
    assert plain.conn.options == TRUST
    pooled = keystones.PooledLDAPHandler()
    pooled.connect("ldaps://one", *given, **named)
    made = pooled.conn_pool.connector_cls("ldaps://one", retry_max=3)
    assert made.options == TRUST and made.asked == (("ldaps://one",), {"retry_max": 3})


@pytest.mark.parametrize(("url", "named"), [("ldap://one", {"tls_cacertfile": "/ca"}), ("ldaps://one", {})])
def test_no_password_goes_where_nobody_is_verified(directories, url, named):
    with pytest.raises(ValueError, match="ldaps://"):
        directories.Plain().connect(url, **named)


@pytest.mark.parametrize("enabled", [True, False])
def test_who_is_disabled_has_no_use_of_a_ticket(load, enabled):
    user = {"id": "u1", "enabled": enabled}

    def assert_user_enabled(user_id, user):
        assert user_id == "u1" and user["enabled"], "disabled"

    providers = SimpleNamespace(identity_api=SimpleNamespace(assert_user_enabled=assert_user_enabled))
    people = load(
        "people",
        keystone={},
        keystone__auth={},
        keystone__auth__plugins={},
        keystone__auth__plugins__external={"KerberosDomain": type("K", (), {"_authenticate": lambda self: user})},
        keystone__common={"provider_api": SimpleNamespace(ProviderAPIs=providers)},
    )
    if enabled:
        assert people.People()._authenticate() is user
    else:
        with pytest.raises(AssertionError, match="disabled"):
            people.People()._authenticate()
