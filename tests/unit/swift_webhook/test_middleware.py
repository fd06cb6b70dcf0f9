# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter between a client and Swift's own fake proxy."""

from __future__ import annotations

import io
import logging

import pytest
from swift.common.swob import HTTPForbidden, HTTPNotFound, Request, Response
from swift_webhook.committer import GroupCommitter
from swift_webhook.middleware import WebhookMiddleware, filter_factory
from swift_webhook.outbox import OutboxUnavailable, SegmentWriter, undelivered

SYSMETA = "X-Container-Sysmeta-Webhook"


class FakeProxy:
    """What is right of the filter: objects get a 201, containers their headers; `seen` has all requests."""

    def __init__(self) -> None:
        self.webhook = "true"
        self.status = 201
        self.seen: list[Request] = []
        self.versioned = False
        self.target = {"Content-Length": "77", "Content-Type": "image/png"}

    def __call__(self, env, start_response):
        req = Request(env)
        self.seen.append(req)
        if "swift.authorize" in env:
            refusal = env["swift.authorize"](req)
            if refusal:
                return refusal(env, start_response)
        name = req.path.split("/", 4)[4:]
        if not name:
            response = Response(status=204, headers={SYSMETA: self.webhook} if self.webhook else {}, request=req)
        elif req.method == "HEAD":
            response = Response(status=200, headers=self.target, request=req)
        else:
            while req.body_file.read(10):
                pass
            env.pop("HTTP_X_SYMLINK_TARGET", None)  # as symlink does
            if self.versioned:
                env["CONTENT_LENGTH"] = "0"  # as versioned_writes does
            env.setdefault("CONTENT_TYPE", "application/x-guessed")
            env["HTTP_X_TIMESTAMP"] = "1700000000.12345"
            response = Response(status=self.status, headers={"Etag": "abc"}, request=req)
        return response(env, start_response)


class Recorder:
    """Takes the events instead of an outbox."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.fail_check = self.fail_commit = False

    def check(self):
        if self.fail_check:
            raise OutboxUnavailable("full")

    def commit(self, line):
        if self.fail_commit:
            raise OutboxUnavailable("no space left on device")
        self.lines.append(line)

    @property
    def events(self):
        from neocampus_lake.events import Event

        return [Event.from_line(line) for line in self.lines]


@pytest.fixture
def proxy():
    return FakeProxy()


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def call(proxy, recorder):
    app = WebhookMiddleware(proxy, {}, recorder)
    logging.getLogger("swift").addHandler(logging.NullHandler())

    def call(method, path, headers=None, body=b"", owner=None, app=app, **env):
        if owner is not None:

            def authorize(req):
                if owner:
                    req.environ["swift_owner"] = True
                    return None
                return HTTPForbidden(request=req) if owner is False else None

            env["swift.authorize"] = authorize
        req = Request.blank(path, environ={"REQUEST_METHOD": method, "swift.trans_id": "tx1", **env}, headers=headers)
        req.body = body
        if "wsgi.input" in env:
            req.environ["wsgi.input"] = env["wsgi.input"]
            req.environ.pop("CONTENT_LENGTH")
        return req.get_response(app)

    return call


USER = {"X-Identity-Status": "Confirmed", "X-User-Name": "alice", "X-User-Id": "u1"}


def test_a_put_makes_one_event(call, recorder):
    response = call("PUT", "/v1/AUTH_p1/meteo/17", {**USER, "Content-Type": "text/csv"}, b"hello")
    assert response.status_int == 201
    (event,) = recorder.events
    assert event.to_payload() == {
        "id": event.id,
        "type": "put",
        "account": "AUTH_p1",
        "project_id": "p1",
        "swift_container": "meteo",
        "swift_id": "17",
        "swift_user": "alice",
        "user_id": "u1",
        "content_type": "text/csv",
        "size": 5,
        "etag": "abc",
        "timestamp": "1700000000.12345",
        "transaction_id": "tx1",
    }


def test_names_outside_ascii(call, recorder):
    call("PUT", "/v1/AUTH_p1/caf%C3%A9/%C3%A9t%C3%A9/1", {**USER, "X-User-Name": "ren\u00c3\u00a9"}, b"x")
    (event,) = recorder.events
    assert (event.container, event.object_name, event.user) == ("café", "été/1", "rené")


def test_a_type_that_swift_guessed_is_in_the_event(call, recorder):
    call("PUT", "/v1/AUTH_p1/c/o", body=b"x")
    assert recorder.events[0].content_type == "application/x-guessed"


def test_a_name_that_the_client_claims_is_not_believed(call, recorder):
    call("PUT", "/v1/AUTH_p1/c/o", {"X-User-Name": "root"}, b"x")
    assert recorder.events[0].user == ""


@pytest.mark.parametrize("webhook", ["", "false"])
def test_no_event_where_the_webhook_is_off(call, proxy, recorder, webhook):
    proxy.webhook = webhook
    assert call("PUT", "/v1/AUTH_p1/c/o", body=b"x").status_int == 201
    assert not recorder.lines


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
@pytest.mark.parametrize("status", [307, 401, 404, 408, 412, 422, 503])
def test_no_event_where_the_request_failed(call, proxy, recorder, method, status):
    proxy.status = status
    assert call(method, "/v1/AUTH_p1/c/o", body=b"x").status_int == status
    assert not recorder.lines


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_no_event_for_other_requests(call, recorder, method):
    call(method, "/v1/AUTH_p1/c/o")
    assert not recorder.lines


def test_containers_of_swift_itself_are_left_alone(call, recorder):
    call("PUT", "/v1/AUTH_p1/%00versions%00c/o", body=b"x")
    assert not recorder.lines


def test_a_chunked_put_has_its_size(call, recorder):
    call("PUT", "/v1/AUTH_p1/c/o", **{"wsgi.input": io.BytesIO(b"x" * 1234)})
    assert recorder.events[0].size == 1234


def test_a_large_object_has_the_size_and_etag_of_the_whole(call, recorder):
    headers = {
        "Content-Type": "video/mp4;swift_bytes=5000000",
        "X-Static-Large-Object": "True",
        "X-Object-Sysmeta-Slo-Size": "5000000",
        "X-Object-Sysmeta-Slo-Etag": "slo",
    }
    call("PUT", "/v1/AUTH_p1/c/o?multipart-manifest=put", headers, b"[manifest]")
    (event,) = recorder.events
    assert (event.size, event.etag, event.content_type) == (5000000, "slo", "video/mp4")


def test_a_symlink_has_the_size_and_type_of_its_target(call, recorder):
    call("PUT", "/v1/AUTH_p1/c/o", {"X-Symlink-Target": "c/17", "Content-Type": "application/symlink"})
    (event,) = recorder.events
    assert (event.size, event.content_type) == (77, "image/png")


def test_a_symlink_to_a_large_object_has_the_size_of_the_whole(call, proxy, recorder):
    proxy.target["X-Object-Sysmeta-Slo-Size"] = "5000000"
    call("PUT", "/v1/AUTH_p1/c/o", {"X-Symlink-Target": "c/17"})
    assert recorder.events[0].size == 5000000


def test_a_put_into_a_versioned_container_has_its_size(call, proxy, recorder):
    proxy.versioned = True
    call("PUT", "/v1/AUTH_p1/c/o", body=b"hello")
    assert recorder.events[0].size == 5


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_a_full_outbox_is_told_before_anything_is_done(call, proxy, recorder, method):
    recorder.fail_check = True
    response = call(method, "/v1/AUTH_p1/c/o", body=b"x")
    assert response.status_int == 503
    assert response.headers["Retry-After"]
    assert method not in [req.method for req in proxy.seen]


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_an_outbox_that_fails_at_the_commit_is_told(call, proxy, recorder, method):
    recorder.fail_commit = True
    assert call(method, "/v1/AUTH_p1/c/o", body=b"x").status_int == 503
    assert method in [req.method for req in proxy.seen]


def test_who_changed_an_object_is_in_the_event(call, recorder):
    for method in ("POST", "DELETE"):
        call(method, "/v1/AUTH_p1/c/%C3%A9t%C3%A9", USER)
    assert [(event.type, event.object_name, event.user, event.timestamp) for event in recorder.events] == [
        ("post", "été", "alice", "1700000000.12345"),
        ("delete", "été", "alice", "1700000000.12345"),
    ]


@pytest.mark.parametrize(("value", "stored"), [("on", "true"), ("TRUE", "true"), ("1", "true"), ("yes", "true"),
                                               ("off", ""), ("false", ""), ("0", ""), ("no", "")])  # fmt: skip
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_an_owner_switches_the_webhook(call, proxy, method, value, stored):
    assert call(method, "/v1/AUTH_p1/c", {"X-Webhook": value}, owner=True).status_int == 204
    assert proxy.seen[-1].headers[SYSMETA] == stored
    assert "X-Webhook" not in proxy.seen[-1].headers


def test_a_value_that_is_none_is_refused(call, proxy):
    assert call("POST", "/v1/AUTH_p1/c", {"X-Webhook": "http://evil/"}, owner=True).status_int == 400
    assert not proxy.seen


@pytest.mark.parametrize("owner", [False, 0])
def test_others_may_not_switch_it(call, proxy, owner):
    assert call("POST", "/v1/AUTH_p1/c", {"X-Webhook": "on"}, owner=owner).status_int == 403
    assert not proxy.seen


@pytest.mark.parametrize(("webhook", "shown"), [("true", "on"), ("", "off")])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_owner_sees_how_it_stands(call, proxy, method, webhook, shown):
    proxy.webhook = webhook
    assert call(method, "/v1/AUTH_p1/c", owner=True).headers["X-Webhook"] == shown
    assert "X-Webhook" not in call(method, "/v1/AUTH_p1/c", owner=0).headers


@pytest.mark.parametrize("path", ["/healthcheck", "/info", "/v1/AUTH_p1", "/"])
def test_other_paths_pass(call, path):
    assert call("GET", path, {"X-Webhook": "on"}).status_int in (200, 204)


def test_with_a_real_outbox_and_paste(tmp_path, proxy):
    app = filter_factory({}, outbox=str(tmp_path), commit_timeout="5")(proxy)
    for number in range(3):
        req = Request.blank(f"/v1/AUTH_p1/c/{number}", environ={"REQUEST_METHOD": "PUT"}, body=b"x")
        assert req.get_response(app).status_int == 201
    assert [event.object_name for event in undelivered(tmp_path, {})] == ["0", "1", "2"]


def test_an_outbox_that_is_missing_refuses_and_comes_back(tmp_path, proxy):
    app = WebhookMiddleware(proxy, {}, GroupCommitter(lambda: SegmentWriter(tmp_path / "outbox")))

    def put():
        return (
            Request.blank("/v1/AUTH_p1/c/o", environ={"REQUEST_METHOD": "PUT"}, body=b"x").get_response(app).status_int
        )

    assert put() == 503
    before = len(proxy.seen)
    assert put() == 503
    assert "PUT" not in [req.method for req in proxy.seen[before:]]  # known by then: nothing is stored
    (tmp_path / "outbox").mkdir()
    assert put() == 201


def test_a_container_that_is_not_there(call, proxy, recorder):
    proxy.webhook = ""
    proxy.__class__ = type("Missing", (FakeProxy,), {"__call__": lambda self, env, start: HTTPNotFound()(env, start)})
    assert call("PUT", "/v1/AUTH_p1/none/o", body=b"x").status_int == 404
    assert not recorder.lines


ADDER = {**USER, "X-Roles": "service,lake_adder", "If-None-Match": "*"}


@pytest.mark.parametrize(
    ("method", "headers", "webhook", "allowed"),
    [
        ("PUT", ADDER, "true", True),
        ("PUT", {**ADDER, "If-None-Match": "abc"}, "true", False),
        ("PUT", {**USER, "X-Roles": "lake_adder"}, "true", False),  # it could replace what is there
        ("PUT", ADDER, "", False),
        ("PUT", {**ADDER, "X-Roles": "service"}, "true", False),
        ("PUT", {**ADDER, "X-Identity-Status": "Invalid"}, "true", False),
        ("POST", ADDER, "true", False),
        ("DELETE", ADDER, "true", False),
    ],
)
def test_a_service_may_add_objects_and_nothing_else(call, proxy, recorder, method, headers, webhook, allowed):
    app = WebhookMiddleware(Authorizing(proxy), {"adding_roles": "lake_adder"}, recorder)
    proxy.webhook = webhook
    response = call(method, "/v1/AUTH_p1/meteo/17", headers, app=app, owner=False)
    assert (response.status_int == 201) == allowed
    assert response.status_int in (201, 403)


class Authorizing:
    """Asks for the right as Swift's proxy does, then answers as another."""

    def __init__(self, proxy):
        self.proxy = proxy

    def __call__(self, env, start_response):
        refusal = env["swift.authorize"](Request(env)) if "swift.authorize" in env else None
        return (refusal or self.proxy)(env, start_response)
