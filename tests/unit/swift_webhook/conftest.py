# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the source project importable from this tree. Its tests need Swift (roles/swift/files/requirements.txt)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3] / "roles/swift/files/swift_webhook"
sys.path.insert(0, str(PROJECT))

try:
    import swift  # noqa: F401
except ImportError:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def make_event():
    from neocampus_lake.events import Event

    def make(number: int = 1, **changes) -> Event:
        values = {
            "id": f"{number:032x}",
            "type": "put",
            "account": "AUTH_p",
            "project_id": "p",
            "container": "c",
            "object_name": str(number),
            "user": "alice",
            "user_id": "u1",
            "content_type": "text/plain",
            "size": 3,
            "etag": "e",
            "timestamp": f"{1700000000 + number:010d}.00000",
            "transaction_id": "tx",
        }
        return Event(**{**values, **changes})

    return make


@pytest.fixture
def folders(tmp_path):
    """Outbox, state, dead letters and delivered segments of a relay."""
    for name in ("outbox", "state", "dead", "delivered"):
        (tmp_path / name).mkdir()
    return tmp_path
