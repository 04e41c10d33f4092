"""TLS sockets with the interface that pynetdicom expects.

pynetdicom reads and writes in one thread, closes in whichever it happens to be, connects by itself, and takes every
failure for a closed connection. So these sockets are connected already, end every read in bounded time, take turns,
send TLS's close_notify, and record why they failed.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import Any

from hsm_dicom.tls.failures import alert_in

READ_SECONDS = 30.0
"""How long a read may wait in the middle of a PDU, by default."""

_RECORD = 1 << 14
"""Bytes of data in the largest TLS record (RFC 8446, 5.1)."""

_RECORDS_BEFORE_ALERT = 8
"""How many records that arrived before an alert are passed over to find it."""


def set_no_delay(connection: socket.socket) -> None:
    """Set TCP_NODELAY, so that the end of a message does not wait for an acknowledgement (Nagle's algorithm)."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class SecuredSSLSocket(ssl.SSLSocket):
    """An `ssl.SSLSocket` for pynetdicom. Contexts make it: `context.sslsocket_class = SecuredSSLSocket`."""

    read_seconds: float = READ_SECONDS
    failure: Exception | None = None
    """The first error of a read or a write, or what the peer did wrong: what ended the connection."""
    _rest: memoryview = memoryview(b"")
    _parted = False

    @property
    def _turn(self) -> threading.Lock:
        # SSLSocket is made by a class method that calls no __init__ of ours.
        lock: threading.Lock = self.__dict__.setdefault("_lock", threading.Lock())
        return lock

    def connect(self, address: Any) -> None:
        """Do nothing: the connection is established."""

    def settimeout(self, value: float | None) -> None:
        """Bound every wait: a peer that stops in the middle of a PDU must not hold a thread for ever."""
        super().settimeout(self.read_seconds if value is None else value)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Receive bytes. A whole record is read at once: pynetdicom asks for 4096 bytes, and each call is costly."""
        rest = self._rest
        if not rest:
            try:
                with self._turn:
                    rest = memoryview(super().recv(max(buflen, _RECORD), flags))
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except OSError as error:
                self._note(error)
                raise
        self._rest = rest[buflen:]
        return bytes(rest[:buflen])

    def pending(self) -> int:
        """Return how many bytes `recv` has buffered, which `select` cannot see."""
        return len(self._rest) + super().pending()

    def send(self, data: Any, flags: int = 0) -> int:
        """Send. Where the peer has gone away, the alert that it left behind is what `failure` remembers."""
        with self._turn:
            try:
                return super().send(data, flags)
            except OSError as error:
                self._note(self._find_unread_alert() or error)
                raise

    def _find_unread_alert(self) -> OSError | None:
        """Return the error for a peer's alert that lies unread; None if there is none.

        In TLS 1.3 a client is finished before the server has validated its certificate. A server that refuses it sends
        an alert and closes; the client's first write then fails, with the reason still waiting to be read.
        """
        with contextlib.suppress(OSError, ValueError):
            super().settimeout(0)
            for _ in range(_RECORDS_BEFORE_ALERT):
                try:
                    if not super().recv(_RECORD):
                        return None
                except ssl.SSLError as error:
                    return error if alert_in(error) else None
        return None

    def shutdown(self, how: int) -> None:
        """Send close_notify (RFC 8446, 6.1), unless another thread reads or writes."""
        self._parted = True
        if how != socket.SHUT_RD and self._turn.acquire(blocking=False):
            try:
                super().settimeout(0)
                with contextlib.suppress(OSError, ValueError):
                    self.unwrap()
            finally:
                self._turn.release()
        with contextlib.suppress(OSError):  # pynetdicom would leave a socket open whose peer was faster
            super().shutdown(how)

    def _note(self, error: OSError) -> None:
        if self.failure is None and not self._parted:  # after our last word, nothing is a reason any more
            self.failure = error
