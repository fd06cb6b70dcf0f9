# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The library's large uploads, against the API."""

from __future__ import annotations

import io
import sys
import urllib.error
from pathlib import Path

import pytest
from lake_api.settings import Uploads
from neocampus_lake import uploading
from neocampus_lake.client import LakeClient, _error_of
from neocampus_lake.errors import InvalidInput, StoreError

sys.path.insert(0, str(Path(__file__).parent))
from large_fakes import LargeSwift  # noqa: E402

CONTENT = bytes(i * 7 % 251 for i in range(5000))


@pytest.fixture
def swift():
    return LargeSwift()


@pytest.fixture
def chosen(chosen):
    return chosen.model_copy(update={"uploads": Uploads(part_bytes=300)})


class Client(LakeClient):
    """Its requests go to the API in this process; `cuts` says which PATCHes get no answer, or only half of them out."""

    def __init__(self, api) -> None:
        super().__init__("https://lake.test")
        self.api, self.cuts, self.patches = api, [], 0

    def _open(self, verb, path, body=None, headers=None, *, repeat=False):
        given = dict(headers or {})
        content = body.read() if hasattr(body, "read") else body
        if verb == "PATCH":
            self.patches += 1
            cut = self.cuts.pop(0) if self.cuts else None
            if cut == "before":
                raise StoreError("no answer")
            if cut == "within":
                content = content[: len(content) // 2]
                given["Content-Length"] = str(len(content))
        else:
            cut = None
        if isinstance(content, bytes) and not content:
            given.setdefault("Content-Type", "application/x-www-form-urlencoded")  # as urllib has it
        answer = self.api.request(verb, "/api/v1" + path, content=content, headers=given)
        if cut:
            raise StoreError("the answer is lost")
        if answer.status_code >= 400:
            error = urllib.error.HTTPError(path, answer.status_code, "", answer.headers, io.BytesIO(answer.content))
            raise _error_of(verb, path, error)
        stream = io.BytesIO(answer.content)
        stream.headers = answer.headers
        return stream


class Answer(io.BytesIO):
    headers: dict


@pytest.fixture
def client(api, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(uploading, "PIECE", 800)
    monkeypatch.setattr(uploading, "POLL", 0.01)
    monkeypatch.setattr(uploading.time, "sleep", lambda _: None)
    monkeypatch.setattr(io, "BytesIO", Answer)
    return Client(api)


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "été.bin"
    found.write_bytes(CONTENT)
    return found


def notes(tmp_path):
    return list((tmp_path / "cache").rglob("*.json"))


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("cuts", [[], ["before", None, "within", "after", "within"]])
def test_upload(client, path, swift, tmp_path, parallel, cuts):
    client.cuts = list(cuts)
    told = []
    document = client.upload_large(
        "rooms", path, {"application": "x"}, parallel=parallel, progress=lambda done, of: told.append((done, of))
    )
    stored = swift.objects[f"/v1/AUTH_p1/rooms/{document['swift_object_id']}"]
    assert swift.content(stored) == CONTENT
    assert document["application"] == "x" and document["original_object_name"] == "été.bin"
    assert set(document["checksums"]) == {"sha256"}
    assert told[-1] == (5000, 5000) and notes(tmp_path) == []


@pytest.mark.parametrize("parallel", [1, 2])
def test_another_process_goes_on(client, api, path, swift, tmp_path, parallel):
    client.cuts = [None, "within", *["before"] * 100]
    with pytest.raises(StoreError):
        client.upload_large("rooms", path, parallel=parallel, patience=-1)
    assert len(notes(tmp_path)) == 1
    other = Client(api)
    document = other.upload_large("rooms", path, parallel=parallel)
    stored = swift.objects[f"/v1/AUTH_p1/rooms/{document['swift_object_id']}"]
    assert swift.content(stored) == CONTENT and other.patches < 7
    assert len(list(client.uploads())) == (1 if parallel == 1 else 3)


def test_upload_that_was_given_up_is_begun_anew(client, api, path):
    client.cuts = [None, *["before"] * 100]
    with pytest.raises(StoreError):
        client.upload_large("rooms", path, patience=-1)
    [begun] = client.uploads()
    assert api.delete(begun["url"], headers={"Tus-Resumable": "1.0.0"}).status_code == 204
    client.cuts = []
    assert client.upload_large("rooms", path)["size"] == 5000


def test_token_that_ends_meanwhile(client, api, path, keystone):
    def end(done, of):
        if done == 2400:
            api.headers["X-Auth-Token"] = "ended"

    def renew():
        api.headers["X-Auth-Token"] = client.token = "good"

    client.token = "old"
    assert client.upload_large("rooms", path, progress=end, renew=renew)["size"] == 5000
    assert client.token == "good"


def test_file_that_changes(client, path):
    def change(done, of):
        path.write_bytes(CONTENT[::-1])

    with pytest.raises(InvalidInput):
        client.upload_large("rooms", path, progress=change)
    assert client.upload_large("rooms", path)["size"] == 5000


def test_empty_file_and_bad_calls(client, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert client.upload_large("rooms", tmp_path / "empty", parallel=4)["size"] == 0
    with pytest.raises(InvalidInput):
        client.upload_large("rooms", tmp_path / "none")
    with pytest.raises(InvalidInput):
        client.upload_large("rooms", tmp_path / "empty", parallel=0)


def test_command(client, path, monkeypatch, capsys):
    from neocampus_lake import client as module

    monkeypatch.setattr(module, "LakeClient", lambda *_, **__: client)
    monkeypatch.setattr(client, "log_in", lambda *_: None, raising=False)
    names = ("LAKE_API_URL", "OS_USERNAME", "OS_PASSWORD", "OS_PROJECT_NAME")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert uploading.main(["rooms", str(path)]) == 2
    for name in names:
        monkeypatch.setenv(name, "x")
    assert uploading.main(["rooms", str(path), "--parallel", "2"]) == 0
    assert "object 1, 5000 bytes" in capsys.readouterr().out
    assert uploading.main(["rooms", str(path) + "x"]) == 1
