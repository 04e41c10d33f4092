"""The connections to the status page: few at a time, each of one request, short and small, accepted at a steady pace.

A client that hangs costs a place for a few seconds, and one that hammers gets what the pace allows: neither takes
memory, descriptors or processor time that the gateway's associations need.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import cast

MOST_CONNECTIONS = 16
"""Connections at a time. One more makes the oldest one end: a request that is served takes milliseconds."""

CONNECTION_SECONDS = 10.0
"""How long a connection may last in all, from its first octet to the last one of the answer."""

REQUEST_BYTES = 16 * 1024
"""Octets that a client may send in all."""

BURST, PER_SECOND = 20, 50
"""Connections that are accepted at once, and in a second."""

_OUT_OF_DESCRIPTORS_SECONDS = 0.5

Handler = asyncio.Protocol
"""The protocol of aiohttp that reads the request and answers it."""


class Connections:
    """Those that are open. To be used in one event loop."""

    def __init__(self, make_handler: Callable[[], Handler]) -> None:
        self._make_handler = make_handler
        self._open: dict[_Connection, None] = {}
        self._tokens, self._filled_at = float(BURST), 0.0

    async def accept_forever(self, listening: socket.socket) -> None:
        """Accept connections, until it is cancelled."""
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        while True:
            await self._wait_for_pace(loop)
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError:
                # The limit of open files is reached, or the client has left already.
                await asyncio.sleep(_OUT_OF_DESCRIPTORS_SECONDS)
                continue
            try:
                await loop.connect_accepted_socket(lambda: _Connection(self, self._make_handler()), connection)
            except OSError:
                connection.close()

    async def _wait_for_pace(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._tokens = min(BURST, self._tokens + (now - self._filled_at) * PER_SECOND)
        self._filled_at = now
        if self._tokens < 1:
            await asyncio.sleep((1 - self._tokens) / PER_SECOND)
        self._tokens -= 1

    def add(self, connection: _Connection) -> None:
        """Take one in; end the oldest one if there are too many."""
        self._open[connection] = None
        if len(self._open) > MOST_CONNECTIONS:
            next(iter(self._open)).abort()

    def remove(self, connection: _Connection) -> None:
        """Forget one that ended."""
        self._open.pop(connection, None)

    def abort(self) -> None:
        """End all of them at once."""
        for connection in list(self._open):
            connection.abort()


class _Connection(asyncio.Protocol):
    """Passes everything to the handler, within the limits."""

    def __init__(self, connections: Connections, handler: Handler) -> None:
        self._connections, self._handler = connections, handler
        self._octets = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._deadline = asyncio.get_running_loop().call_later(CONNECTION_SECONDS, self.abort)
        self._handler.connection_made(transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._octets += len(data)
        if self._octets > REQUEST_BYTES:
            self.abort()
        else:
            self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received()

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        self._connections.remove(self)
        self._handler.connection_lost(exc)

    def abort(self) -> None:
        """End the connection without waiting for anything that is to be sent."""
        self._connections.remove(self)
        self._transport.abort()
