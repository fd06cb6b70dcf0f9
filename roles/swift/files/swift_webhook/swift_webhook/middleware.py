# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The webhook: a filter of Swift's proxy that commits an event for every object put into a container whose webhook
is on.

It stands after keystoneauth (it needs to know who asks), and after copy, bulk and slo: whatever the client did (PUT,
COPY, manifest of a large object, an archive that is extracted, a form, S3), it arrives here as one PUT per object,
with its final name, type and size, and with a plain status, even where the client gets a heartbeat.

An owner of the account switches a container's webhook with `X-Webhook: on` or `off` on PUT or POST of the container,
and sees it on GET and HEAD. It is kept as system metadata of the container, which clients can't reach.

An event is durable before the client gets its 201. Where the outbox can't take it, the client gets 503: before the
object is stored when that is known by then, else after it (the same PUT again is then the way).
"""

from __future__ import annotations

import mimetypes
import time
import uuid
from collections.abc import Callable, Iterable
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
_FALSE_VALUES = {"false", "0", "no", "off", "f", "n"}


class WebhookMiddleware:
    """The filter. Settings: see filter_factory."""

    def __init__(self, app: Callable[..., Any], conf: dict[str, str], committer: GroupCommitter) -> None:
        self.app = app
        self.logger = get_logger(conf, log_route="swift-webhook")
        self.committer = committer
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
            if req.method == "PUT":
                return self._put_object(req, account, container, name, start_response)
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

    def _put_object(
        self, req: Request, account: str, container: str, name: str, start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        env = req.environ
        info = get_container_info(env, self.app, swift_source=_SOURCE)
        if not config_true_value(info["sysmeta"].get(_SYSMETA)):
            return self.app(env, start_response)
        try:
            self.committer.check()
        except OutboxUnavailable as error:
            self.logger.error("PUT refused, nothing stored: %s", error)
            return self._unavailable(req)(env, start_response)
        # Noted now: versioned_writes and symlink change the request. First: its content is that of another object.
        elsewhere = "X-Symlink-Target" in req.headers or "version-id" in req.params
        size = req.content_length or 0
        counted = None
        if req.content_length is None:  # chunked: its size is known at its end
            counted = env["wsgi.input"] = InputProxy(env["wsgi.input"])
        context = WSGIContext(self.app)
        body = context._app_call(env)
        if is_success(context._get_status_int()):
            if elsewhere:
                size, content_type = self._stored(req)
            else:
                size = counted.bytes_received if counted else size
                content_type = env.get("CONTENT_TYPE") or ""
            event = self._event(req, context, (account, container, name), size, content_type)
            try:
                self.committer.commit(event.to_line().encode("ascii"))
            except OutboxUnavailable as error:
                self.logger.error("PUT stored, its event not, so the client is told to repeat it: %s", error)
                close_if_possible(body)
                return self._unavailable(req)(env, start_response)
        start_response(context._response_status, context._response_headers, context._response_exc_info)
        return body

    def _unavailable(self, req: Request) -> Response:
        return HTTPServiceUnavailable(
            request=req,
            headers={"Retry-After": "10"},
            body="The event of this object cannot be recorded now; put the object again later.",
        )

    def _event(
        self, req: Request, context: WSGIContext, path: tuple[str, str, str], size: int, content_type: str
    ) -> Event:
        """What happened. Read after the request went through: what is right of here fills in type, time and etag."""
        env = req.environ
        headers = req.headers
        content_type, _swift_bytes = extract_swift_bytes(content_type)
        etag = (context._response_header_value("Etag") or "").strip('"')
        if config_true_value(headers.get("X-Static-Large-Object")):
            # slo wrote its manifest; the object is what that stands for.
            size = int(headers.get("X-Object-Sysmeta-Slo-Size") or size)
            etag = headers.get("X-Object-Sysmeta-Slo-Etag") or etag
        confirmed = headers.get("X-Identity-Status") == "Confirmed"
        account, container, name = map(_plain, path)
        return Event(
            id=uuid.uuid4().hex,
            type="put",
            account=account,
            project_id=account.removeprefix(self.account_prefix),
            container=container,
            object_name=name,
            user=_plain(headers.get("X-User-Name") or "") if confirmed else "",
            user_id=_plain(headers.get("X-User-Id") or "") if confirmed else "",
            content_type=_plain(content_type) or mimetypes.guess_type(name)[0] or "application/octet-stream",
            size=size,
            etag=etag,
            timestamp=headers.get("X-Timestamp") or f"{time.time():016.05f}",
            transaction_id=env.get("swift.trans_id") or "",
        )

    def _stored(self, req: Request) -> tuple[int, str]:
        """Size and type of what a GET would give; 0 and nothing where that can't be had now."""
        response = make_pre_authed_request(
            req.environ, method="HEAD", path=req.path, swift_source=_SOURCE, agent="%(orig)s webhook"
        ).get_response(self.app)
        close_if_possible(response.app_iter)
        if not response.is_success:
            return 0, ""
        size = response.headers.get("X-Object-Sysmeta-Slo-Size") or response.content_length or 0
        return int(size), response.headers.get("Content-Type") or ""


def _plain(text: str) -> str:
    """A WSGI string (bytes as Latin-1) as what it says; what already is text stays so."""
    try:
        return wsgi_to_str(text)
    except UnicodeError:
        return text


def filter_factory(global_conf: dict[str, str], **local_conf: str) -> Callable[[Callable[..., Any]], WebhookMiddleware]:
    """For paste.deploy.

    outbox: folder of the segments (/var/lib/swift-webhook/outbox); it must exist and be writable for the proxy.
    segment_bytes (8 MiB), max_bytes (1 GiB): when a segment ends; above which size of the outbox puts are refused.
    commit_timeout: seconds (10) after which a put is told that its event could not be recorded.
    reseller_prefix: as keystoneauth has it (AUTH).
    """
    conf = {**global_conf, **local_conf}
    directory = conf.get("outbox", "/var/lib/swift-webhook/outbox")
    segment_bytes = int(conf.get("segment_bytes", 8 << 20))
    max_bytes = int(conf.get("max_bytes", 1 << 30))
    committer = GroupCommitter(
        lambda: SegmentWriter(directory, segment_bytes=segment_bytes, max_bytes=max_bytes),
        timeout=float(conf.get("commit_timeout", 10)),
    )
    register_swift_info("swift_webhook", header=HEADER)
    return lambda app: WebhookMiddleware(app, conf, committer)
