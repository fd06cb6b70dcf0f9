# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import json

import pytest


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "messages.json"
    file.write_bytes(b'[{"topic": "a"}]')
    return file


def inserts(api):
    return [request for request in api.requests if request[0] == "POST" and request[1].endswith("/objects")]


def test_a_file_is_inserted_once(api, module, source):
    first = module("lake_object", container="campus", src=str(source), metadata={"application": "energy"})
    assert not first["failed"] and first["changed"]
    assert first["object"]["original_object_name"] == "messages.json"
    assert first["object"]["application"] == "energy"
    second = module("lake_object", container="campus", src=str(source))
    assert not second["failed"] and not second["changed"]
    assert second["object"]["swift_object_id"] == first["object"]["swift_object_id"]
    assert len(inserts(api)) == 1


def test_metadata_names_a_model(module, source):
    metadata = {"model": {"label": "room", "version": 2}, "other_data": {"room": "302"}}
    result = module("lake_object", container="campus", src=str(source), metadata=metadata)
    assert not result["failed"] and result["object"]["model"] == {"label": "room", "version": 2}
    assert "model" in module("lake_object", container="campus", src=str(source), metadata={"model": 5})["msg"]


def test_a_text_is_inserted_once(api, module):
    for changed in (True, False):
        result = module("lake_object", container="campus", content="été", name="note.txt", content_type="text/plain")
        assert result["changed"] is changed
    assert api.contents["1"] == "été".encode()
    assert result["object"]["content_type"] == "text/plain"


def test_other_content_or_another_name_is_another_object(api, module, source):
    module("lake_object", container="campus", src=str(source))
    assert module("lake_object", container="campus", src=str(source), name="other.json")["changed"]
    assert module("lake_object", container="other", src=str(source))["changed"]
    source.write_bytes(b'[{"topic": "b"}]')
    assert module("lake_object", container="campus", src=str(source))["changed"]
    assert len(inserts(api)) == 4


def test_the_name_a_user_gives_as_metadata_is_the_one_that_counts(module, source):
    for changed in (True, False):
        metadata = {"original_object_name": "renamed.json"}
        assert module("lake_object", container="campus", src=str(source), metadata=metadata)["changed"] is changed


def test_force_inserts_again(api, module, source):
    for _ in range(2):
        assert module("lake_object", container="campus", src=str(source), force=True)["changed"]
    assert len(inserts(api)) == 2


def test_check_mode_inserts_nothing_and_tells_the_truth(api, module, source):
    would = module(
        "lake_object", check=True, container="campus", src=str(source), metadata={"application": "x"}, wait=True
    )
    assert would["changed"] and not inserts(api)
    assert would["object"]["original_object_name"] == "messages.json"
    assert would["object"]["application"] == "x"
    module("lake_object", container="campus", src=str(source))
    assert not module("lake_object", check=True, container="campus", src=str(source))["changed"]


def test_wait_returns_the_processed_document(module, source):
    assert module("lake_object", container="campus", src=str(source), wait=True)["object"]["successful_operations"]


def test_waiting_for_what_fails_is_a_failure(api, module, source):
    api.fails_processing = True
    assert not module("lake_object", container="campus", src=str(source))["failed"]
    result = module("lake_object", container="campus", src=str(source), wait=True)
    assert result["failed"] and "not valid JSON" in result["msg"]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "one of the following is required: src, content"),
        ({"src": "/x", "content": "y", "name": "z"}, "mutually exclusive"),
        ({"content": "y"}, "missing parameter"),
        ({"src": "/no/such/file"}, "/no/such/file cannot be read on this host"),
        ({"content": "y", "name": "z", "metadata": {"_id": 1}}, "cannot be set"),
        ({"content": "y", "name": "z", "container": "a/b"}, "no store holds"),
        ({"content": "y", "name": "z", "state": "absent"}, "state"),
        ({"content": "y", "name": "z", "password": "guess"}, "wrong user or password"),
    ],
)
def test_failures_say_what_is_wrong(module, parameters, said):
    result = module("lake_object", **{"container": "campus", **parameters})
    assert result["failed"] and said in result["msg"]
    assert "guess" not in json.dumps(result)


def test_the_connection_comes_from_option_then_environment_then_file(api, module, monkeypatch):
    def user():
        module("lake_object_info", container="campus")
        return json.loads([request for request in api.requests if request[1].endswith("/token")][-1][3])["username"]

    assert user() == "alice"
    monkeypatch.setenv("OS_USERNAME", "bob")
    assert user() == "bob"
    module("lake_object_info", container="campus", username="carol")
    assert json.loads([r for r in api.requests if r[1].endswith("/token")][-1][3])["username"] == "carol"


def test_what_is_missing_of_the_connection_is_named(module, tmp_path):
    result = module("lake_object_info", container="campus", config_file=str(tmp_path / "none.json"), username="x")
    assert result["failed"]
    assert "api_url (option, environment variable LAKE_API_URL)" in result["msg"]
    assert "username (" not in result["msg"]
    assert "domain" not in result["msg"]


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_connection_file_that_is_none(module, content):
    module.config.write_text(content)
    result = module("lake_object_info", container="campus")
    assert result["failed"] and str(module.config) in result["msg"]
