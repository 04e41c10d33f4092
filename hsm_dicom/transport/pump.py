"""Adapt a secured connection that is not an `ssl.SSLSocket` to pynetdicom, with a socket pair and two threads.

pynetdicom waits for its socket with `select`, and asks only an `ssl.SSLSocket` for buffered bytes. It therefore gets
one end of a socket pair, where every received byte is visible. Two threads copy between the other end and the secured
connection. `PumpedSocket.join` ends them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol, Self

from hsm_dicom.transport.sockets import acknowledge_at_once

CHUNK = 1 << 16
"""Maximum bytes per copy."""

END_SECONDS = 5.0
"""Maximum time for an orderly end of a connection, in seconds; after that it is aborted."""

_ABORT_SECONDS = 2.0


class Stream(Protocol):
    """A secured connection on which one thread receives while another thread sends."""

    def recv(self, most: int, /) -> bytes:
        """Receive at most `most` bytes; empty at the end. Raises `OSError`."""

    def sendall(self, data: bytes, /) -> None:
        """Send all data. Raises `OSError`."""

    def settimeout(self, seconds: float | None, /) -> None:
        """Set the timeout of each `recv` and `sendall`, in seconds."""

    def close(self) -> None:
        """End the connection in an orderly way, and wake a receiving thread. Never raises."""

    def abort(self) -> None:
        """End the connection at once, and wake every thread that uses it. Never raises."""

    def getsockname(self) -> Any:
        """Return the address of this node."""

    def getpeername(self) -> Any:
        """Return the peer's address."""


class PumpedSocket(socket.socket):
    """A connected socket for pynetdicom; `failure` is the error of the secured connection.

    The owner closes it and then calls `join`, which waits for the two threads.
    """

    failure: Exception | None = None
    _read_seconds: float | None = None
    _parted = False
    _names: tuple[Any, Any] = (None, None)
    _stream: Stream
    _threads: tuple[threading.Thread, ...] = ()

    @classmethod
    def over(
        cls,
        stream: Stream,
        read_seconds: float,
        ended: Callable[[], None] = lambda: None,
        beneath: socket.socket | None = None,
    ) -> Self:
        """Make a socket over a secured connection, and start its threads, which run until either end is closed.

        `ended` is called after that. `beneath` is the socket that the connection uses; if it is a `PumpedSocket`, its
        threads are joined too.
        """
        near, far = socket.socketpair()
        pumped = cls(near.family, near.type, near.proto, near.detach())
        pumped._read_seconds = read_seconds
        pumped._names = stream.getsockname(), stream.getpeername()
        pumped._stream = stream
        pumped.settimeout(read_seconds)
        # pynetdicom limits how long an association may be idle; only a write needs a timeout here.
        stream.settimeout(None)
        pumped._threads = (
            threading.Thread(target=_receive, args=(stream, far, pumped, beneath), daemon=True, name="pump-receive"),
            threading.Thread(target=_send, args=(stream, far, pumped, ended, beneath), daemon=True, name="pump-send"),
        )
        for thread in pumped._threads:
            thread.start()
        return pumped

    def join(self, seconds: float = END_SECONDS) -> None:
        """Wait for both threads after the socket was closed; abort the connection after `seconds`."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            self._stream.abort()
            for thread in self._threads:
                thread.join(_ABORT_SECONDS)

    def connect(self, address: Any) -> None:
        """Do nothing: the connection is established."""

    def settimeout(self, value: float | None) -> None:
        """Set the timeout; None, which pynetdicom uses, means `read_seconds`."""
        super().settimeout(self._read_seconds if value is None else value)

    def getsockname(self) -> Any:
        """Return this node's address of the secured connection."""
        return self._names[0]

    def getpeername(self) -> Any:
        """Return the peer's address of the secured connection."""
        return self._names[1]

    def shutdown(self, how: int) -> None:
        """Shut down the socket; ignore the error if the other end was faster."""
        self._parted = True
        with contextlib.suppress(OSError):
            super().shutdown(how)


def join_pump(connection: socket.socket | None) -> None:
    """Wait for the threads of a closed socket, if it has any."""
    if isinstance(connection, PumpedSocket):
        connection.join()


def _receive(stream: Stream, far: socket.socket, pumped: PumpedSocket, beneath: socket.socket | None) -> None:
    """Copy from the peer to pynetdicom."""
    try:
        while data := stream.recv(CHUNK):
            if beneath is not None:
                acknowledge_at_once(beneath)
            far.sendall(data)
    except OSError as error:
        _note(pumped, error)
    finally:
        with contextlib.suppress(OSError):
            far.shutdown(socket.SHUT_WR)


def _send(
    stream: Stream, far: socket.socket, pumped: PumpedSocket, ended: Callable[[], None], beneath: socket.socket | None
) -> None:
    """Copy from pynetdicom to the peer, and then end the connection."""
    try:
        while data := far.recv(CHUNK):
            stream.sendall(data)
    except OSError as error:
        _note(pumped, error)
    finally:
        with contextlib.ExitStack() as ends:
            ends.callback(join_pump, beneath)
            ends.callback(ended)
            ends.callback(far.close)
            stream.close()


def _note(pumped: PumpedSocket, error: OSError) -> None:
    if pumped.failure is None and not pumped._parted and pumped.fileno() >= 0:
        pumped.failure = error
