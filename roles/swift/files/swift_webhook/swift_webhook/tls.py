# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells Swift that its clients speak TLS: something before it ends that, and Swift itself sees plain HTTP.

Without it, addresses that Swift makes for clients (redirects of static pages, the location of an object that S3 put
together) begin with http://.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def filter_factory(_global_conf: dict[str, str], **_local_conf: str) -> Callable[[App], App]:
    """For paste.deploy. It has no settings."""

    def wrap(app: App) -> App:
        def with_tls(env: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            env["wsgi.url_scheme"] = "https"
            return app(env, start_response)

        return with_tls

    return wrap
