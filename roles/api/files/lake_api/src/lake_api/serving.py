# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: neOCampus data lake contributors
"""How the API stops without failing a request, and the socket that the service manager keeps for it.

The service manager (lake-api.socket) listens: while the API restarts, connections wait in its queue. A worker that is
to stop takes no new ones from then on. A connection that is idle at that moment is not closed at once, since the edge
may just be sending a request on it: it is left open for longer than the edge keeps an idle one, and a request that
comes on it is answered with word that the connection ends.
"""

from __future__ import annotations

import os
import socket

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_FIRST_GIVEN = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)
DRAIN_VARIABLE = "LAKE_API_DRAIN_SECONDS"
"""Says to the workers, which are processes of their own, how long."""
_CLOSE = (b"connection", b"close")


def given_socket() -> socket.socket | None:
    """The socket that the service manager listens on for this process; None where there is none. sd_listen_fds(3)."""
    mine = os.environ.pop("LISTEN_PID", "") == str(os.getpid())
    count = int(os.environ.pop("LISTEN_FDS", "0"))
    os.environ.pop("LISTEN_FDNAMES", None)
    if not mine or not count:
        return None
    if count > 1:
        raise ValueError("the service manager gave several sockets; lake-api.socket has one ListenStream")
    os.set_inheritable(_FIRST_GIVEN, False)
    return socket.socket(fileno=_FIRST_GIVEN)


class Leaving(HttpToolsProtocol):
    """A connection that, when its worker is to stop, waits for a request for a while before it closes."""

    seconds = float(os.environ.get(DRAIN_VARIABLE, "5"))

    def shutdown(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            super().shutdown()  # ends with its answer
            return
        if _CLOSE not in self.server_state.default_headers:
            self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        self.loop.call_later(self.seconds, super().shutdown)
