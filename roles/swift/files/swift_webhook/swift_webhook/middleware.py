# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The webhook: a filter of Swift's proxy that commits an event for every object that appears, changes or goes in a
container whose webhook is on.

It stands after keystoneauth (it needs to know who asks), and after copy, bulk and slo: whatever the client did (PUT,
COPY, manifest of a large object, an archive that is extracted, a list to be deleted, a form, S3), it arrives here as
one PUT, POST or DELETE per object, with its final name, type and size, and with a plain status, even where the client
gets a heartbeat. It stands before versioned_writes: what that keeps as old versions is no object of the container.
docs/events.md says what makes which event.

An owner of the account switches a container's webhook with `X-Webhook: on` or `off` on PUT or POST of the container,
and sees it on GET and HEAD. It is kept as system metadata of the container, which clients can't reach.

Who has one of `adding_roles` may put new objects, and only those, into such containers of any account. It is for the
lake's own services: they need no right to change or remove what is there.

An event is durable before the client gets its success. Where the outbox can't take it, the client gets 503: before
anything is done when that is known by then, else after it (the same request again is then the way).
"""

from __future__ import annotations

import mimetypes
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from neocampus_lake.events import Event
from swift.common.http import is_success
from swift.common.registry import register_swift_info
from swift.common.request_helpers import get_reserved_name, get_sys_meta_prefix
from swift.common.swob import HTTPBadRequest, HTTPForbidden, HTTPServiceUnavailable, Request, Response, wsgi_to_str
from swift.common.utils import (
    TRUE_VALUES,
    InputProxy,
    close_if_possible,
    config_true_value,
    extract_swift_bytes,
    get_logger,
    list_from_csv,
)
from swift.common.wsgi import WSGIContext, make_pre_authed_request
from swift.proxy.controllers.base import get_container_info

from .committer import GroupCommitter
from .outbox import OutboxUnavailable, SegmentWriter

HEADER = "X-Webhook"
_SYSMETA = "webhook"
_SYSMETA_HEADER = get_sys_meta_prefix("container") + _SYSMETA
_RESERVED = get_reserved_name()
_SOURCE = "WH"
_UNKNOWN_TYPE = "application/octet-stream"
_FALSE_VALUES = {"false", "0", "no", "off", "f", "n"}


@dataclass
class _Change:
    """What happened to an object: `type`, `content_type`, `size`, `etag` as in Event; `timestamp` where it is not that
    of the request."""

    type: str
    content_type: str = ""
    size: int = 0
    etag: str = ""
    timestamp: str = ""


_Told = Callable[[WSGIContext], _Change | None]
"""Says from the response to a successful request what it did to the object."""


class WebhookMiddleware:
    """The filter. Settings: see filter_factory."""

    def __init__(self, app: Callable[..., Any], conf: dict[str, str], committer: GroupCommitter) -> None:
        self.app = app
        self.logger = get_logger(conf, log_route="swift-webhook")
        self.committer = committer
        self.adding_roles = set(list_from_csv(conf.get("adding_roles", "")))
        self.account_prefix = conf.get("reseller_prefix", "AUTH").rstrip("_") + "_"

    def __call__(self, env: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        req = Request(env)
        try:
            _version, account, container, name = req.split_path(2, 4, True)
        except ValueError:
            return self.app(env, start_response)
        if not container or container.startswith(_RESERVED):
            return self.app(env, start_response)
        if name:
            if req.method in ("PUT", "POST", "DELETE"):
                return self._change_object(req, account, container, name, start_response)
        elif req.method in ("PUT", "POST") and HEADER in req.headers:
            refusal = self._switch(req)
            if refusal:
                return refusal(env, start_response)
        elif req.method in ("GET", "HEAD"):
            return self._show(env, start_response)
        return self.app(env, start_response)

    def _switch(self, req: Request) -> Response | None:
        """Turn `X-Webhook` into system metadata. Returns a response where that is not allowed, or no such value
        exists."""
        authorize = req.environ.get("swift.authorize")
        if authorize:
            refusal = authorize(req)
            if refusal:
                return refusal
            if not req.environ.get("swift_owner"):
                return HTTPForbidden(request=req, body=f"Only an owner of the account may set {HEADER}.")
        value = req.headers.pop(HEADER).strip().lower()
        if value in TRUE_VALUES:
            req.headers[_SYSMETA_HEADER] = "true"
        elif value in _FALSE_VALUES:
            req.headers[_SYSMETA_HEADER] = ""  # removes it
        else:
            return HTTPBadRequest(request=req, body=f"{HEADER} is on or off, not {value[:40]!r}.")
        return None

    def _show(self, env: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Tell an owner how the container's webhook stands."""
        context = WSGIContext(self.app)
        body = context._app_call(env)
        headers = context._response_headers
        if env.get("swift_owner") and is_success(context._get_status_int()):
            on = config_true_value(context._response_header_value(_SYSMETA_HEADER))
            headers = [*headers, (HEADER, "on" if on else "off")]
        start_response(context._response_status, headers, context._response_exc_info)
        return body

    def _change_object(
        self, req: Request, account: str, container: str, name: str, start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        env, method = req.environ, req.method
        info = get_container_info(env, self.app, swift_source=_SOURCE)
        if not config_true_value(info["sysmeta"].get(_SYSMETA)):
            return self.app(env, start_response)
        if method == "PUT" and req.headers.get("If-None-Match") == "*" and self._may_add(req):
            env["swift.authorize"] = lambda _request: None  # for this one request
        try:
            self.committer.check()
        except OutboxUnavailable as error:
            self.logger.error("%s refused, nothing done: %s", method, error)
            return self._unavailable(req)(env, start_response)
        if method == "PUT":
            told = self._put(req)
        elif method == "POST":
            told = self._post(req)
        else:
            told = self._delete(req, info)
        context = WSGIContext(self.app)
        body = context._app_call(env)
        change = told(context) if is_success(context._get_status_int()) else None
        if change:
            event = self._event(req, (account, container, name), change)
            try:
                self.committer.commit(event.to_line().encode("ascii"))
            except OutboxUnavailable as error:
                self.logger.error("%s done, its event not recorded, the client is told to repeat it: %s", method, error)
                close_if_possible(body)
                return self._unavailable(req)(env, start_response)
        start_response(context._response_status, context._response_headers, context._response_exc_info)
        return body

    def _may_add(self, req: Request) -> bool:
        """Whether it is one of the lake's own services, which put what they find in an archive beside it."""
        confirmed = req.headers.get("X-Identity-Status") == "Confirmed"
        return confirmed and not self.adding_roles.isdisjoint(list_from_csv(req.headers.get("X-Roles")))

    def _put(self, req: Request) -> _Told:
        # Noted now: versioned_writes and symlink change the request. First: its content is that of another object.
        env, path = req.environ, req.path
        elsewhere = "X-Symlink-Target" in req.headers or "version-id" in req.params
        size = req.content_length or 0
        counted = None
        if req.content_length is None:  # chunked: its size is known at its end
            counted = env["wsgi.input"] = InputProxy(env["wsgi.input"])

        def told(context: WSGIContext) -> _Change:
            change = _Change("put", etag=_etag(context._response_header_value("Etag")))
            if elsewhere:
                stored = self._look(req, path)
                if stored.is_success:
                    change.size, change.content_type = _stored_size(stored), stored.headers.get("Content-Type") or ""
            else:
                # Now: what is right of here fills in the type.
                change.size = counted.bytes_received if counted else size
                change.content_type = env.get("CONTENT_TYPE") or ""
            if config_true_value(req.headers.get("X-Static-Large-Object")):
                # slo wrote its manifest; the object is what that stands for.
                change.size = int(req.headers.get("X-Object-Sysmeta-Slo-Size") or change.size)
                change.etag = req.headers.get("X-Object-Sysmeta-Slo-Etag") or change.etag
            change.content_type = change.content_type or mimetypes.guess_type(path)[0] or _UNKNOWN_TYPE
            return change

        return told

    def _post(self, req: Request) -> _Told:
        given = req.headers.get("Content-Type") or ""

        def told(context: WSGIContext) -> _Change:
            # The object servers tell the type; size and etag have not changed, and would cost a request.
            return _Change("post", content_type=context._response_header_value("X-Backend-Content-Type") or given)

        return told

    def _delete(self, req: Request, info: dict[str, Any]) -> _Told:
        path = req.path  # versioned_writes changes it
        versions = info["sysmeta"].get("versions-location") or info.get("versions")
        pops = versions and info["sysmeta"].get("versions-mode", "stack") == "stack"

        def told(context: WSGIContext) -> _Change | None:
            current = context._response_header_value("X-Object-Current-Version-Id")
            if current is None and not pops:
                return _Change("delete")
            if current not in (None, "null"):
                return None  # an old version went, the object is the same
            # An old version may have come back in its place. Or a version went while the object is the same, being
            # without version, or while there was none. Only looking tells.
            stored = self._look(req, path, newest=True)
            if stored.status_int == 404:
                return _Change("delete")
            if stored.is_success and current:
                return None
            if not stored.is_success:  # the workflow is going to look itself
                return _Change("put", content_type=_UNKNOWN_TYPE)
            return _Change(
                "put",
                content_type=stored.headers.get("Content-Type") or _UNKNOWN_TYPE,
                size=_stored_size(stored),
                etag=_etag(stored.headers.get("Etag")),
                timestamp=stored.headers.get("X-Timestamp") or "",
            )

        return told

    def _unavailable(self, req: Request) -> Response:
        return HTTPServiceUnavailable(
            request=req,
            headers={"Retry-After": "10"},
            body="The event of this request cannot be recorded now; send it again later.",
        )

    def _event(self, req: Request, path: tuple[str, str, str], change: _Change) -> Event:
        """The event of a change. Made after the request went through: then it has its time."""
        headers = req.headers
        content_type, _swift_bytes = extract_swift_bytes(change.content_type)
        confirmed = headers.get("X-Identity-Status") == "Confirmed"
        account, container, name = map(_plain, path)
        return Event(
            id=uuid.uuid4().hex,
            type=change.type,
            account=account,
            project_id=account.removeprefix(self.account_prefix),
            container=container,
            object_name=name,
            user=_plain(headers.get("X-User-Name") or "") if confirmed else "",
            user_id=_plain(headers.get("X-User-Id") or "") if confirmed else "",
            content_type=_plain(content_type),
            size=change.size,
            etag=change.etag,
            timestamp=change.timestamp or headers.get("X-Timestamp") or f"{time.time():016.05f}",
            transaction_id=req.environ.get("swift.trans_id") or "",
        )

    def _look(self, req: Request, path: str, *, newest: bool = False) -> Response:
        """The answer to a HEAD of a path, whoever may see it. newest: ask all replicas."""
        response = make_pre_authed_request(
            req.environ,
            method="HEAD",
            path=f"{path}?",  # without the request's query
            headers={"X-Newest": "true"} if newest else {},
            swift_source=_SOURCE,
            agent="%(orig)s webhook",
        ).get_response(self.app)
        close_if_possible(response.app_iter)
        return response


def _stored_size(response: Response) -> int:
    """Bytes of the object that a HEAD found."""
    return int(response.headers.get("X-Object-Sysmeta-Slo-Size") or response.content_length or 0)


def _etag(value: str | None) -> str:
    return (value or "").strip('"')


def _plain(text: str) -> str:
    """A WSGI string (bytes as Latin-1) as what it says; what already is text stays so."""
    try:
        return wsgi_to_str(text)
    except UnicodeError:
        return text


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[Callable[..., Any]], WebhookMiddleware]:
    """For paste.deploy.

    outbox: folder of the segments (/var/lib/swift-webhook/outbox); it must exist and be writable for the proxy.
    segment_bytes (8 MiB): when a segment ends.
    max_bytes (1 GiB), max_age (0: none): size of the outbox, and seconds that its oldest event waits, above which
    changes of objects are refused.
    commit_timeout: seconds (10) after which a client is told that its event could not be recorded.
    adding_roles: roles that may put objects that are not there yet (If-None-Match: *) into any container whose webhook
    is on, of any account (none).
    reseller_prefix: as keystoneauth has it (AUTH).
    """
    conf = {**global_conf, **local_conf}
    directory = conf.get("outbox", "/var/lib/swift-webhook/outbox")
    segment_bytes = int(conf.get("segment_bytes", 8 << 20))
    max_bytes = int(conf.get("max_bytes", 1 << 30))
    max_age = float(conf.get("max_age", 0))
    committer = GroupCommitter(
        lambda: SegmentWriter(directory, segment_bytes=segment_bytes, max_bytes=max_bytes, max_age=max_age),
        timeout=float(conf.get("commit_timeout", 10)),
    )
    register_swift_info("swift_webhook", header=HEADER)
    return lambda app: WebhookMiddleware(app, conf, committer)
