# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages to systemd (sd_notify). Without systemd they go nowhere."""

from __future__ import annotations

import os
import socket


class Systemd:
    """Tells systemd that the service is ready, alive, stopping."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self) -> None:
        """The service does its work from now on."""
        self._send("READY=1")

    def alive(self, status: str = "") -> None:
        """Feed the watchdog; `status` is what `systemctl status` shows."""
        self._send("WATCHDOG=1" + (f"\nSTATUS={status}" if status else ""))

    def stopping(self) -> None:
        """The service was asked to end."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                sock.sendto(message.encode(), self._address)
            except OSError:  # systemd is being restarted: the next message arrives
                pass
