# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""The client of the Swift proxies over real connections."""

from __future__ import annotations

import asyncio
import re

import pytest
from lake_api.errors import ApiError
from lake_api.settings import Swift as SwiftSettings
from lake_api.swift import Swift, Target


class Proxy:
    """A server that gives one answer to everything, and counts its connections. `cut`: it closes them after that."""

    def __init__(self, answer, cut=False):
        self.answer, self.cut = answer, cut
        self.connections = self.requests = 0

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while not (self.cut and self.requests):
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                self.requests += 1
                writer.write(self.answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has ended
        writer.close()


async def ask(proxy, ask_it, times=5):
    """Ask the proxy several times, one after the other."""
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    swift = Swift(SwiftSettings(urls=[f"http://127.0.0.1:{port}"]))
    try:
        for number in range(times):
            await ask_it(swift, number)
    finally:
        await swift.close()
        server.close()


def put(swift, number):
    return swift.put(Target("p1", "rooms", str(number)), "token", "text/csv", b"content", size=7)


@pytest.mark.parametrize(
    ("answer", "ask_it"),
    [
        (b"HTTP/1.1 201 Created\r\nEtag: x\r\nContent-Length: 0\r\n\r\n", put),
        (b"HTTP/1.1 201 Created\r\nEtag: x\r\nContent-Length: 4\r\n\r\nbody", put),
        (
            b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
            lambda swift, _: swift.make_container(Target("p1", "rooms"), "token", {}),
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", lambda swift, _: swift.container_exists(Target("p1", "rooms"), "token")),
    ],
)
def test_requests_share_a_connection(answer, ask_it):
    proxy = Proxy(answer)
    asyncio.run(ask(proxy, ask_it))
    assert (proxy.requests, proxy.connections) == (5, 1)


def test_a_refusal_keeps_the_connection():
    proxy = Proxy(b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large")

    async def refused(swift, number):
        with pytest.raises(ApiError, match="larger than Swift takes"):
            await put(swift, number)

    asyncio.run(ask(proxy, refused))
    assert (proxy.requests, proxy.connections) == (5, 1)


def test_an_answer_that_breaks_off_counts_by_its_status():
    proxy = Proxy(b"HTTP/1.1 201 Created\r\nEtag: x\r\nContent-Length: 9\r\n\r\nbody", cut=True)

    async def stored(swift, number):
        assert await put(swift, number) == "x"

    asyncio.run(ask(proxy, stored, times=1))
