# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An SSH server with the files of a folder, for the demonstration and the tests of pulls: real SFTP, a key of its own.

    python ssh_server.py ADDRESS PORT FOLDER USER FINGERPRINT_FILE <PASSWORD

Serves until it is stopped; when it does, the fingerprint of its key is in the file.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import asyncssh


class Person(asyncssh.SSHServer):  # type: ignore[misc]
    """Who has the one name and the one password."""

    def __init__(self, user: str, password: str) -> None:
        self._known = (user, password)

    def password_auth_supported(self) -> bool:
        """Yes: it is the only way."""
        return True

    def validate_password(self, username: str, password: str) -> bool:
        """Whether it is that person."""
        return (username, password) == self._known


async def main(address: str, port: str, folder: str, user: str, shown: str) -> None:
    """Serve."""
    password = sys.stdin.readline().rstrip("\n")
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen(
        address,
        int(port),
        server_host_keys=[key],
        server_factory=lambda: Person(user, password),
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=folder.encode()),
    )
    Path(shown).write_text(key.get_fingerprint("sha256"))
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
