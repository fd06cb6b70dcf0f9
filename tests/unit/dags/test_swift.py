# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading objects through several proxies, with a token that outlives the process."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("keystoneauth1")
responses = pytest.importorskip("responses")

from lake_airflow import swift  # noqa: E402
from neocampus_lake.errors import NotFound, StoreError  # noqa: E402
from neocampus_lake.reconciliation import Listed  # noqa: E402

KEYSTONE = "https://keystone.test:5000/v3"
PROXIES = ["https://one.test:8080", "https://two.test:8080"]
PATH = "/v1/AUTH_p1/campus/a%20b/c%3F"


@pytest.fixture
def settings(tmp_path):
    return {
        "ca_file": True,
        "state_dir": str(tmp_path),
        "swift": {"urls": PROXIES},
        "keystone": {
            "auth_url": KEYSTONE,
            "username": "airflow",
            "password": "secret",
            "user_domain_name": "Default",
            "project_name": "service",
            "project_domain_name": "Default",
        },
    }


@pytest.fixture
def web():
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(KEYSTONE, json={"version": {"id": "v3.14", "status": "stable", "links": []}})
        times = {"issued_at": "2024-01-01T00:00:00.000000Z", "expires_at": "2999-01-01T00:00:00.000000Z"}
        token = {"methods": ["password"], **times}
        mock.post(f"{KEYSTONE}/auth/tokens", json={"token": token}, headers={"X-Subject-Token": "t1"}, status=201)
        yield mock


def log_ins(web):
    return [call for call in web.calls if call.request.url.endswith("/auth/tokens")]


def test_content_comes_from_a_proxy_that_answers(settings, web):
    web.get(PROXIES[0] + PATH, status=503)
    web.get(PROXIES[1] + PATH, body=b"data")
    for _both_orders in range(8):
        with swift.connect(settings).open("p1", "campus", "a b/c?") as body:
            assert body.read() == b"data"


def test_the_token_is_kept_for_the_next_process(settings, web, tmp_path):
    for url in PROXIES:
        web.get(url + PATH, body=b"data")
    for _process in range(3):
        swift.connect(settings).open("p1", "campus", "a b/c?").close()
    assert len(log_ins(web)) == 1
    kept = tmp_path / "keystone-token.json"
    assert json.loads(kept.read_text())["auth_token"] == "t1"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]


def test_a_token_that_is_refused_is_replaced(settings, web):
    for url in PROXIES:
        web.get(url + PATH, status=401)
        web.get(url + PATH, body=b"data")
    with swift.connect(settings).open("p1", "campus", "a b/c?") as body:
        assert body.read() == b"data"
    assert len(log_ins(web)) == 2


def test_a_broken_token_file_is_no_hindrance(settings, web, tmp_path):
    (tmp_path / "keystone-token.json").write_text("{")
    for url in PROXIES:
        web.get(url + PATH, body=b"data")
    swift.connect(settings).open("p1", "campus", "a b/c?").close()


def test_an_object_that_is_not_there_is_not_looked_for_elsewhere(settings, web):
    for url in PROXIES:
        web.get(url + PATH, status=404)
    with pytest.raises(NotFound, match="no object a b/c"):
        swift.connect(settings).open("p1", "campus", "a b/c?")
    assert len([call for call in web.calls if "AUTH_p1" in call.request.url]) == 1


def test_all_proxies_away_can_be_tried_again(settings, web):
    web.get(PROXIES[0] + PATH, status=503)  # nothing answers for the other one
    with pytest.raises(StoreError, match="one.test.*503") as caught:
        swift.connect(settings).open("p1", "campus", "a b/c?")
    assert caught.value.retriable
    assert "two.test" in str(caught.value)


def test_head_tells_what_a_listing_would(settings, web):
    headers = {
        "Content-Length": "7",
        "Etag": '"abc"',
        "Content-Type": "text/csv",
        "X-Timestamp": "1626951682.12345",
    }
    for url in PROXIES:
        web.head(url + PATH, headers=headers)
    found = swift.connect(settings).head("p1", "campus", "a b/c?")
    assert found == Listed("a b/c?", "abc", 7, "text/csv", "1626951682.12345")


CONTAINER = "/v1/AUTH_p1/campus%20%C3%A9"


def test_the_extent_of_a_container(settings, web):
    for url in PROXIES:
        headers = {"X-Container-Object-Count": "3", "X-Container-Bytes-Used": "12"}
        web.head(url + CONTAINER, status=204, headers=headers)
    assert swift.connect(settings).extent("p1", "campus é") == {"objects": 3, "bytes": 12}


def test_a_listing_goes_on_after_a_name(settings, web):
    item = {
        "name": "b?",
        "hash": "abc",
        "bytes": 7,
        "content_type": "text/csv",
        "last_modified": "2021-07-22T11:01:22.123450",
    }
    asked = responses.matchers.query_param_matcher({"format": "json", "marker": "a&é", "limit": "2"})
    for url in PROXIES:
        web.get(url + CONTAINER, json=[item], match=[asked])
    (listed,) = swift.connect(settings).listing("p1", "campus é", "a&é", 2)
    assert (listed.name, listed.timestamp) == ("b?", "1626951682.12345")


def test_a_container_that_is_not_there(settings, web):
    for url in PROXIES:
        web.get(url + CONTAINER, status=404)
    with pytest.raises(NotFound, match="no container campus é of project p1"):
        swift.connect(settings).listing("p1", "campus é", "", 2)


def test_a_listing_that_breaks_off_can_be_asked_for_again(settings, web):
    for url in PROXIES:
        web.get(url + CONTAINER, body=b'[{"name": ')
    with pytest.raises(StoreError, match="broke off") as caught:
        swift.connect(settings).listing("p1", "campus é", "", 2)
    assert caught.value.retriable
