# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""Pulls: from a real SSH server on loopback, by the API and its worker."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import asyncssh
import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st
from lake_api import pull_hosts, pull_run
from lake_api.errors import ApiError
from lake_api.pull_hosts import Guard, Pattern
from lake_api.settings import Pulls, Uploads
from lake_api.worker import Worker
from neocampus_lake.documents import utc
from pymongo.errors import AutoReconnect

sys.path.insert(0, str(Path(__file__).parent))
from large_fakes import LargeSwift  # noqa: E402

KEYSTONE = "https://keystone.test:5000/v3"
KEYS = [Fernet.generate_key().decode() for _ in range(2)]
BIG = bytes(i * 7 % 251 for i in range(5000))


@pytest.fixture
def swift():
    return LargeSwift()


@pytest.fixture
def chosen(chosen):
    pulls = {"keys": KEYS[:1], "allowed": ["0.0.0.0/0", "127.0.0.1/32"], "retry_seconds": 0.01, "tries": 3}
    uploads = Uploads(part_bytes=700, lease_seconds=2)
    return chosen.model_copy(update={"pulls": Pulls.model_validate(pulls), "uploads": uploads})


@pytest.fixture
def credentials(keystone):
    """Application credentials, by id: their secret and for whom they are."""
    made: dict[str, dict] = {}

    def make(request, context):
        asked = request.json()["application_credential"]
        token = request.headers["X-Auth-Token"]
        made[f"c{len(made)}"] = {**asked, "token": token, "deleted": False}
        context.status_code = 201
        return {"application_credential": {"id": f"c{len(made) - 1}", "secret": "credential-secret"}}

    def delete(request, context):
        made[request.path.rpartition("/")[2]]["deleted"] = True
        context.status_code = 204

    def log_in(request, context):
        identity = request.json()["auth"]["identity"]
        if identity["methods"] != ["application_credential"]:
            return keystone._log_in(request, context)
        given = identity["application_credential"]
        known = made.get(given["id"])
        if known is None or known["deleted"] or given["secret"] != "credential-secret":
            context.status_code = 401
            return {"error": {"code": 401, "message": "no"}}
        context.status_code = 201
        context.headers["X-Subject-Token"] = keystone.give("for-the-pull")
        return {"token": keystone.tokens["for-the-pull"]}

    keystone.mock.post(f"{KEYSTONE}/users/u1/application_credentials", json=make)
    keystone.mock.delete(f"{KEYSTONE}/users/u1/application_credentials/c0", json=delete)
    keystone.mock.post(f"{KEYSTONE}/auth/tokens", json=log_in)
    return made


class Person(asyncssh.SSHServer):
    keys: list = []

    def password_auth_supported(self):
        return True

    def validate_password(self, username, password):
        return (username, password) == ("sensor", "right")

    def public_key_auth_supported(self):
        return True

    def validate_public_key(self, username, key):
        return key in Person.keys


class Server:
    """An SSH server whose files are in `root`; `cut_after` bytes of reading it breaks the connection, once each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.rsa = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
        self.cuts: list[int] = []
        self.sessions = self.read = 0
        self.port = 0

    async def start(self) -> None:
        server = self

        class Files(asyncssh.SFTPServer):
            def __init__(self, chan):
                super().__init__(chan, chroot=str(server.root).encode())
                server.sessions += 1
                self.chan = chan

            def read(self, file_obj, offset, size):
                if server.cuts and offset >= server.cuts[0]:
                    server.cuts.pop(0)
                    self.chan.get_connection().abort()
                server.read += size
                return super().read(file_obj, offset, size)

        self.acceptor = await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[self.rsa, self.key], server_factory=Person, sftp_factory=Files
        )
        self.port = self.acceptor.get_port()

    @property
    def fingerprint(self) -> str:
        return self.key.get_fingerprint("sha256")


@pytest.fixture
def server(api, tmp_path):
    root = tmp_path / "remote"
    (root / "day/deep").mkdir(parents=True)
    for name, content in {"a.csv": b"a,b\n1,2\n", "b.json": b"[1]", "big.bin": BIG, "deep/c.csv": b"c\n1\n"}.items():
        (root / "day" / name).write_bytes(content)
    found = Server(root)
    api.portal.call(found.start)
    yield found
    api.portal.call(found.acceptor.close)


@pytest.fixture
def pull(api, server, credentials):
    """pull(path, …) -> the answer to a new pull."""

    def _pull(path="/day", **given):
        body = {
            "host": "127.0.0.1",
            "port": server.port,
            "user": "sensor",
            "path": path,
            "host_key": server.fingerprint,
            "password": "right",
            **given,
        }
        body = {key: value for key, value in body.items() if value is not None}
        return api.post("/api/v1/containers/rooms/pulls", json=body)

    return _pull


@pytest.fixture
def work(api):
    """Run what is due; how many pulls ran."""

    def _work():
        worker = Worker(api.app.app.state.lake)
        count = 0
        while api.portal.call(worker.pull):
            count += 1
        return count

    return _work


def contents(swift, documents):
    return {
        one["original_object_name"]: swift.content(swift.objects[f"/v1/AUTH_p1/rooms/{one['swift_object_id']}"])
        for one in documents("rooms")
    }


def test_whole_life(api, pull, work, swift, documents, credentials, server, mongo):
    answer = pull(metadata={"application": "comfort"})
    assert answer.status_code == 202, answer.text
    place = answer.headers["location"]
    assert answer.json()["status"] == "waiting" and answer.json()["run"] is None
    assert credentials["c0"]["roles"] == [{"name": "member"}] and credentials["c0"]["unrestricted"] is False
    assert credentials["c0"]["token"] == "good"
    assert work() == 1 and work() == 0
    shown = api.get(place).json()
    assert shown["status"] == "done" and shown["run"]["error"] is None, shown
    assert (shown["run"]["found"], shown["run"]["done"], shown["run"]["failed"]) == (3, 3, 0)
    assert shown["run"]["bytes"] == 8 + 3 + 5000
    assert contents(swift, documents) == {"a.csv": b"a,b\n1,2\n", "b.json": b"[1]", "big.bin": BIG}
    assert {one["application"] for one in documents("rooms")} == {"comfort"}
    assert all(swift.tokens[path] == "for-the-pull" for path in swift.objects)
    assert api.get("/api/v1/uploads").json()["items"][0]["source"]["path"] == "/day/big.bin"
    assert [one["id"] for one in api.get("/api/v1/containers/rooms/pulls").json()["items"]] == [shown["id"]]
    for text in (answer.text, api.get(place).text, json.dumps(list(mongo["upload"]["pulls"].find()), default=str)):
        assert "right" not in text and "credential-secret" not in text
    assert api.delete(place).status_code == 204
    assert api.get(place).status_code == 404 and credentials["c0"]["deleted"]
    assert mongo["upload"]["pulled"].count_documents({}) == 0 and len(documents("rooms")) == 3


def test_schedule_brings_only_what_is_new(api, pull, work, documents, server, mongo):
    place = pull(schedule="1h").headers["location"]
    assert work() == 1 and work() == 0
    shown = api.get(place).json()
    assert shown["status"] == "waiting" and shown["next_run"] > shown["run"]["started"]
    (server.root / "day/new.csv").write_bytes(b"n\n1\n")
    os.utime(server.root / "day/a.csv", (1, 1))
    read = server.read
    assert api.post(f"{place}/run").status_code == 202
    assert work() == 1
    run = api.get(place).json()["run"]
    assert (run["found"], run["done"], run["unchanged"]) == (4, 2, 2)
    assert len(documents("rooms")) == 5 and server.read - read < 5000


@pytest.mark.parametrize(
    ("path", "recursive", "names"),
    [
        ("/day/a.csv", False, {"a.csv"}),
        ("/day", True, {"a.csv", "b.json", "big.bin", "c.csv"}),
        ("/day/*.csv", False, {"a.csv"}),
        ("/day/*.csv", True, {"a.csv", "c.csv"}),
        ("/**/*.csv", False, {"a.csv", "c.csv"}),
        ("/d?y/[ab].*", False, {"a.csv", "b.json"}),
        ("/day/*/c.csv", False, {"c.csv"}),
        ("/day/nothing*", False, set()),
    ],
)
def test_which_files(api, pull, work, swift, documents, path, recursive, names):
    place = pull(path, recursive=recursive).headers["location"]
    work()
    assert api.get(place).json()["status"] == "done"
    assert set(contents(swift, documents)) == names


def test_lost_connection_is_gone_on_with(api, pull, work, swift, documents, server, monkeypatch):
    monkeypatch.setattr(pull_run, "_BLOCK", 500)
    server.cuts = [1000, 3000, 4000]
    place = pull("/day/big.bin").headers["location"]
    work()
    shown = api.get(place).json()
    assert shown["run"]["error"] is None and shown["status"] == "done", shown
    assert server.sessions == 4 and contents(swift, documents) == {"big.bin": BIG}


def test_worker_that_dies_is_taken_over(api, pull, work, documents, mongo, swift):
    place = pull().headers["location"]
    lease = {"token": "dead", "worker": "dead", "until": utc() + timedelta(seconds=60)}
    mongo["upload"]["pulls"].update_one({}, {"$set": {"status": "running", "lease": lease}})
    assert work() == 0
    assert api.post(f"{place}/run").status_code == 409
    mongo["upload"]["pulls"].update_one({}, {"$set": {"lease.until": utc() - timedelta(seconds=1)}})
    assert work() == 1 and len(documents("rooms")) == 3


def test_key_of_the_server(api, pull, work, server, documents):
    other = asyncssh.generate_private_key("ssh-ed25519")
    for key in (other.get_fingerprint("sha256"), other.export_public_key().decode()):
        place = pull(host_key=key).headers["location"]
        work()
        shown = api.get(place).json()
        assert shown["status"] == "failed" and "another host key" in shown["run"]["error"]
    assert documents("rooms") == [] and server.sessions == 0
    for key in (server.rsa.get_fingerprint("sha256"), f"host.test {server.rsa.export_public_key().decode()}"):
        place = pull("/day/a.csv", host_key=key).headers["location"]
        work()
        assert api.get(place).json()["status"] == "done"


@pytest.mark.parametrize("passphrase", [None, "open"])
def test_private_key(api, pull, work, passphrase, documents):
    key = asyncssh.generate_private_key("ssh-ed25519")
    Person.keys = [key.convert_to_public()]
    text = key.export_private_key(passphrase=passphrase, **({"rounds": 1} if passphrase else {})).decode()
    place = pull(password=None, private_key=text, passphrase=passphrase).headers["location"]
    work()
    assert api.get(place).json()["status"] == "done"


def test_what_the_server_refuses(api, pull, work, server):
    place = pull(password="wrong").headers["location"]
    gone = pull("/nowhere").headers["location"]
    work()
    assert "refused user" in api.get(place).json()["run"]["error"]
    assert "there is no '/nowhere'" in api.get(gone).json()["run"]["error"]
    away = pull(port=1).headers["location"]
    work()
    assert "does not answer" in api.get(away).json()["run"]["error"]


def test_file_that_cannot_be_taken_is_noted(api, pull, work, documents, server, monkeypatch):
    from lake_api.pull_run import Puller, _Changed

    original = Puller._check

    async def check(remote, one):
        if one.path.endswith(("big.bin", "a.csv")):
            raise _Changed
        await original(remote, one)

    monkeypatch.setattr(Puller, "_check", staticmethod(check))
    place = pull().headers["location"]
    work()
    shown = api.get(place).json()
    assert shown["status"] == "failed" and shown["run"]["failed"] == 2 and shown["run"]["done"] == 1
    assert {one["path"] for one in shown["run"]["errors"]} == {"/day/big.bin", "/day/a.csv"}
    assert {one["status"] for one in api.get("/api/v1/uploads").json()["items"]} == {"terminated"}
    assert len(documents("rooms")) == 1


def test_credential_that_ended(api, pull, work, credentials):
    place = pull().headers["location"]
    credentials["c0"]["deleted"] = True
    work()
    assert "make the pull again" in api.get(place).json()["run"]["error"]


def test_removed_while_it_runs(api, pull, work, documents, mongo, monkeypatch):
    from lake_api import worker

    monkeypatch.setattr(worker, "_TELL_SECONDS", 0)
    pull()
    original = api.app.app.state.lake.inserter.insert_held

    async def insert(*given):
        mongo["upload"]["pulls"].delete_many({})
        return await original(*given)

    monkeypatch.setattr(api.app.app.state.lake.inserter, "insert_held", insert)
    assert work() == 1 and len(documents("rooms")) == 1


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ({"host_key": "SHA256:short"}, 400, "invalid_host_key"),
        ({"host_key": "ssh-ed25519 AAAA"}, 400, "invalid_host_key"),
        ({"password": None}, 400, None),
        ({"password": None, "private_key": "nonsense"}, 400, "invalid_private_key"),
        ({"private_key": "both"}, 400, None),
        ({"passphrase": "x"}, 400, None),
        ({"host": "127.0.0.2"}, 403, "forbidden"),
        ({"host": "localhost6.invalid"}, 400, "unknown_host"),
        ({"host": "::1"}, 403, "forbidden"),
        ({"host": "::ffff:169.254.169.254"}, 403, "forbidden"),
        ({"schedule": "10s"}, 400, "invalid_request"),
        ({"schedule": "* * * * *"}, 400, "invalid_request"),
        ({"schedule": "0 0 31 2 *"}, 400, "invalid_request"),
        ({"schedule": "often"}, 400, "invalid_request"),
        ({"path": "/a/../b"}, 400, "invalid_request"),
        ({"metadata": {"size": 1}}, 400, "invalid_document"),
        ({"delete": "always"}, 400, None),
        ({"url": "sftp://x@y/z"}, 400, None),
        ({"odd": 1}, 400, None),
    ],
)
def test_bad_pulls(pull, error_of, mongo, credentials, given, status, code):
    answer = pull(**given)
    error_of(answer, status, code)
    assert "right" not in answer.text
    assert mongo["upload"]["pulls"].count_documents({}) == 0 and credentials == {}


def test_url(api, pull, server, work):
    url = f"sftp://sensor@127.0.0.1:{server.port}/day/a.csv"
    place = pull(None, url=url, host=None, port=None, user=None).headers["location"]
    work()
    assert api.get(place).json()["status"] == "done"
    for bad in ("sftp://sensor:right@127.0.0.1/x", "http://x/y", "sftp://127.0.0.1/x", "sftp://a@h:99999/x"):
        assert pull(None, url=bad, host=None, port=None, user=None).status_code == 400


def test_token_that_may_make_no_credential(pull, error_of, keystone, mongo):
    keystone.mock.post(f"{KEYSTONE}/users/u1/application_credentials", status_code=403, json={"error": {"code": 403}})
    assert "log in with a password" in error_of(pull(), 403, "forbidden")
    assert mongo["upload"]["pulls"].count_documents({}) == 0


def test_walls(api, pull, error_of, keystone, work):
    place = pull().headers["location"]
    keystone.give("other", "p2")
    keystone.give("reader", roles=("reader",))
    for token, status in (("other", 404), ("none", 401)):
        api.headers["X-Auth-Token"] = token
        error_of(api.get(place), status)
        error_of(api.delete(place), status)
        error_of(api.post(f"{place}/run"), status)
        error_of(api.get("/api/v1/containers/rooms/pulls"), status)
    api.headers["X-Auth-Token"] = "reader"
    assert api.get(place).status_code == 200
    error_of(pull(), 403)
    error_of(api.delete(place), 403)
    error_of(api.post(f"{place}/run"), 403)


def test_keys_can_be_changed(api, pull, mongo, chosen, work, connect):
    from lake_api.pulls import Vault

    pull()
    old = mongo["upload"]["pulls"].find_one()["secrets"]
    lake = api.app.app.state.lake
    both = chosen.pulls.model_copy(update={"keys": Pulls.model_validate({"keys": KEYS[::-1]}).keys})
    lake.pulls.vault = Vault(both)
    assert api.portal.call(lake.pulls.renew_secrets) == 0
    new = mongo["upload"]["pulls"].find_one()["secrets"]
    assert new != old and Fernet(KEYS[1]).decrypt(new)
    lake.pulls.vault = Vault(chosen.pulls)
    assert api.portal.call(lake.pulls.renew_secrets) == 1


def test_lake_without_pulls(api, pull, error_of):
    from lake_api.pulls import Vault

    api.app.app.state.lake.pulls.vault = Vault(Pulls())
    error_of(pull(), 404, "not_in_this_lake")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("8.8.8.8", True),
        ("172.30.10.5", False),
        ("172.30.10.6", True),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("::ffff:127.0.0.1", False),
        ("2a01::1", True),
        ("fe80::1", False),
        ("64:ff9b::7f00:1", False),
    ],
)
def test_guard(address, allowed):
    nets = ("0.0.0.0/0", "::/0", "172.30.10.6/32")
    guard = Guard(map(ip_network, nets), [ip_network("172.30.10.0/24")])
    assert guard.allows(ip_address(address)) is allowed


def test_next_time():
    now = datetime(2024, 1, 31, 23, 50, tzinfo=UTC)
    assert pull_hosts.next_time("15m", now, 60) == now + timedelta(minutes=15)
    assert pull_hosts.next_time("15 2 * * *", now, 60) == datetime(2024, 2, 1, 2, 15, tzinfo=UTC)


@given(st.text(max_size=80))
def test_text_is_understood_or_refused(text):
    now = datetime(2024, 1, 1, tzinfo=UTC)
    reads = (pull_hosts.host_key, pull_hosts.place, lambda given: pull_hosts.next_time(given, now, 60))
    for read in (*reads, lambda given: Pattern.of(given, False)):
        try:
            read(text)
        except ApiError as error:
            assert error.status == 400


@given(st.lists(st.sampled_from(["a", "b", "*", "?", "**"]), min_size=1, max_size=4), st.lists(st.sampled_from("ab")))
def test_a_folder_with_files_is_entered(parts, names):
    pattern = Pattern(".", tuple(parts), "**" in parts)
    if names and pattern.takes(names):
        assert all(pattern.enters(names[:end]) for end in range(1, len(names)))


class _Renewing:
    """A lake of which only the secrets of pulls are there, as the worker's program uses it."""

    def __init__(self, answer):
        self.pulls = self.vault = self
        self.usable, self.closed, self._answer = True, False, answer

    async def renew_secrets(self):
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    async def close(self):
        self.closed = True


@pytest.mark.parametrize(
    ("answer", "words"), [(0, None), (1, None), (AutoReconnect("away"), "not encrypted anew: away; try again")]
)
def test_the_worker_only_encrypts_anew_where_it_is_told_so(monkeypatch, tmp_path, answer, words):
    from conftest import settings
    from lake_api import worker

    lake = _Renewing(answer)
    monkeypatch.setattr(worker.settings, "load", lambda: settings(tmp_path))
    monkeypatch.setattr(worker.Lake, "connect", lambda _chosen: lake)
    monkeypatch.setattr(worker.logging.config, "dictConfig", lambda _config: None)
    monkeypatch.setattr(sys, "argv", ["lake-api-worker", "--renew-secrets"])
    if words:
        with pytest.raises(SystemExit, match=words):
            worker.main()
    else:
        worker.main()
    assert lake.closed
