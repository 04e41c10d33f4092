"""The adapter for transports that are no `ssl.SSLSocket`: a pair of sockets, and two threads that pump between.

pynetdicom selects on the socket it is given and asks only an `ssl.SSLSocket` for what it has buffered. So it is given
one end of a socket pair, on which every byte that is there can be seen; the other end is pumped to and from the line.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol, Self

CHUNK = 1 << 16
"""Bytes that are moved at once."""


class Line(Protocol):
    """A secured connection: one thread receives while another one sends."""

    def recv(self, most: int, /) -> bytes:
        """Bytes; none at the end. Raises `OSError`."""

    def sendall(self, data: bytes, /) -> None:
        """Send. Raises `OSError`."""

    def settimeout(self, seconds: float | None, /) -> None:
        """How long both may take."""

    def close(self) -> None:
        """End the connection in its own way, which wakes whoever receives. Never raises."""

    def getsockname(self) -> Any:
        """Our address."""

    def getpeername(self) -> Any:
        """The peer's address."""


class PumpedSocket(socket.socket):
    """The end for pynetdicom. Connected already; it has the line's addresses, and remembers why the line failed."""

    failure: Exception | None = None
    _read_seconds: float | None = None
    _parted = False
    _names: tuple[Any, Any] = (None, None)

    @classmethod
    def over(cls, line: Line, read_seconds: float, ended: Callable[[], None] = lambda: None) -> Self:
        """A socket over a line, which is pumped until either end is closed; `ended` is called after that."""
        near, far = socket.socketpair()
        pumped = cls(near.family, near.type, near.proto, near.detach())
        pumped._read_seconds = read_seconds
        pumped._names = line.getsockname(), line.getpeername()
        pumped.settimeout(read_seconds)
        # An association may be idle for as long as pynetdicom lets it; only a write has to make progress.
        line.settimeout(None)
        for direction, *more in ((_inward,), (_outward, ended)):
            arguments = (line, far, pumped, *more)
            threading.Thread(target=direction, args=arguments, daemon=True, name=direction.__name__).start()
        return pumped

    def connect(self, address: Any) -> None:
        """Nothing: the connection stands."""

    def settimeout(self, value: float | None) -> None:
        """Bound every wait, also where pynetdicom would not."""
        super().settimeout(self._read_seconds if value is None else value)

    def getsockname(self) -> Any:
        """Our address on the line."""
        return self._names[0]

    def getpeername(self) -> Any:
        """The peer's address on the line."""
        return self._names[1]

    def shutdown(self, how: int) -> None:
        """As of any socket; it is no error that the other end was faster."""
        self._parted = True
        with contextlib.suppress(OSError):
            super().shutdown(how)


def _inward(line: Line, far: socket.socket, pumped: PumpedSocket) -> None:
    """From the peer to pynetdicom."""
    try:
        while data := line.recv(CHUNK):
            far.sendall(data)
    except OSError as error:
        _note(pumped, error)
    finally:
        with contextlib.suppress(OSError):
            far.shutdown(socket.SHUT_WR)


def _outward(line: Line, far: socket.socket, pumped: PumpedSocket, ended: Callable[[], None]) -> None:
    """From pynetdicom to the peer; the end of it is the end of the connection."""
    try:
        while data := far.recv(CHUNK):
            line.sendall(data)
    except OSError as error:
        _note(pumped, error)
    finally:
        with contextlib.ExitStack() as ends:
            ends.callback(ended)
            ends.callback(far.close)
            line.close()


def _note(pumped: PumpedSocket, error: OSError) -> None:
    if pumped.failure is None and not pumped._parted and pumped.fileno() >= 0:
        pumped.failure = error
