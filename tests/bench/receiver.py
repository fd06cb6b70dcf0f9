# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A receiver of events that takes as long as it is told, and one that never answers. Standard library only.

    python receiver.py PORT SILENT_PORT SECONDS [SECONDS …]

On PORT each POST is answered after one of the given times, drawn at random; on SILENT_PORT never. Both are on
loopback; 0 stands for any that is free. Prints `ready` and the two when it listens. It ends when its standard input
does.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n{"state":"queued"}'


async def serve(port: int, silent_port: int, waits: list[float]) -> None:
    """Answer until standard input ends. waits: seconds."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                await reader.readexactly(int(length[1]) if length else 0)
                await asyncio.sleep(random.choice(waits))
                writer.write(_ANSWER)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()  # the client is done with this connection

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client gives it up
        writer.close()

    servers = [
        await asyncio.start_server(answer, "127.0.0.1", port),
        await asyncio.start_server(ignore, "127.0.0.1", silent_port),
    ]
    print("ready", *(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), [float(wait) for wait in sys.argv[3:]]))
