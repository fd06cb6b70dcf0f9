# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""What the edge tells browsers: TLS only, no guessing of types, no frames, no foreign scripts, no trace in links."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

EVERYWHERE = {
    "Strict-Transport-Security": "max-age=",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
NO_FRAME = {"X-Frame-Options": "DENY", "Content-Security-Policy": "frame-ancestors 'none'"}
NOTHING = {"X-Frame-Options": "DENY", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}
PLACES = {
    # (port, path): (status, what there has to be besides)
    (443, "/"): (200, NO_FRAME),
    (443, "/nowhere"): (404, NO_FRAME),
    (443, "/api/v1/docs"): (200, NO_FRAME),
    (443, "/api/v1/openapi.json"): (200, NOTHING),
    (443, "/api/v1/containers"): (401, NOTHING),
    (443, "/api/v1/auth/token"): (401, NOTHING),
    (5000, "/v3"): (200, {}),
    (8080, "/info"): (200, {}),
    (8081, "/"): (200, {"X-Frame-Options": "SAMEORIGIN"}),
}


@pytest.mark.parametrize(("place", "wanted"), PLACES.items(), ids=lambda place: str(place))
def test_every_answer_has_the_headers(member, place, wanted):
    (port, path), (status, besides) = place, wanted
    answer = member.http.get(f"https://{urlsplit(member.url).hostname}:{port}{path}", timeout=60)
    assert answer.status_code == status
    for name, part in {**EVERYWHERE, **besides}.items():
        assert part in answer.headers.get(name, ""), f"{name}: {answer.headers.get(name)}"


def test_data_of_people_is_no_page_of_the_lake(member, container):
    """A page that somebody put in is not shown by a browser, and may do nothing where one shows it all the same."""
    page = b"<script>alert(document.domain)</script>"
    made = member.inserted(container, "page.html", page, kind="text/html")
    answer = member.get(f"/containers/{container}/objects/{made['swift_object_id']}/data")
    assert answer.content == page
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["Content-Security-Policy"] == "sandbox"
    assert "nosniff" in answer.headers["X-Content-Type-Options"] and answer.headers["X-Frame-Options"] == "DENY"


def test_no_answer_names_versions(member):
    for port in (443, 5000, 8080, 8081):
        answer = member.http.get(f"https://{urlsplit(member.url).hostname}:{port}/nowhere", timeout=60)
        assert answer.headers.get("Server", "nginx") == "nginx"
        assert "X-Powered-By" not in answer.headers
