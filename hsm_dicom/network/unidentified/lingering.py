"""Sockets that stay open briefly after the last message, so that the peer can read it.

Closing a socket with unread data resets the connection, and the peer would lose an alert or an A-ASSOCIATE-RJ. Used by
one thread, which also waits for them.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import OrderedDict
from typing import Any

from hsm_dicom.network.unidentified.readiness import Readiness

LINGER_SECONDS = 1.0
"""How long a refused peer may take to read why."""

_DRAIN_BYTES = 65536


class Lingering:
    """Our side of each of these connections is closed; `most` of them are kept at once."""

    def __init__(self, readiness: Readiness[Any], most: int) -> None:
        self._readiness = readiness
        self._most = most
        self._until: OrderedDict[socket.socket, float] = OrderedDict()

    def add(self, connection: socket.socket) -> None:
        """Close a connection when the peer has closed it, or soon."""
        if len(self._until) >= self._most:
            connection.close()
            return
        try:
            connection.setblocking(False)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            self._readiness.watch(connection.fileno(), connection)
        except (OSError, ValueError):
            connection.close()
        else:
            self._until[connection] = time.monotonic() + LINGER_SECONDS

    def drain(self, connection: socket.socket) -> None:
        """Throw away what can be read."""
        try:
            if connection.recv(_DRAIN_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(connection)

    def next_end(self) -> float | None:
        """Return when the next one is closed, whatever its peer does."""
        return next(iter(self._until.values()), None)

    def expire(self, now: float) -> None:
        """Close those whose time is over."""
        while self._until and next(iter(self._until.values())) < now:
            self._close(next(iter(self._until)))

    def close(self) -> None:
        """Close all of them."""
        for connection in list(self._until):
            self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        self._until.pop(connection, None)
        self._readiness.forget(connection.fileno())
        connection.close()
