"""TLS sockets with the interface that pynetdicom expects.

pynetdicom reads and writes in one thread, closes in any thread, connects by itself, and treats every failure as a
closed connection. Therefore these sockets are already connected, limit the time of every read, use a lock, send TLS's
close_notify, and record their first error.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import Any

from hsm_dicom.tls.failures import alert_in

READ_SECONDS = 30.0
"""Default timeout of a read in the middle of a PDU, in seconds."""

_RECORD = 1 << 14
"""Maximum bytes of data in a TLS record (RFC 8446, 5.1)."""

_RECORDS_BEFORE_ALERT = 8
"""Maximum number of records to read in search of an alert."""


def set_no_delay(connection: socket.socket) -> None:
    """Set TCP_NODELAY, so that the end of a message does not wait for an acknowledgement (Nagle's algorithm)."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def acknowledge_at_once(connection: socket.socket) -> None:
    """Set TCP_QUICKACK, which the kernel leaves by itself, so that a sender does not wait for an acknowledgement.

    A sender with Nagle's algorithm otherwise waits 40 ms at the end of each message.
    """
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class SecuredSSLSocket(ssl.SSLSocket):
    """An `ssl.SSLSocket` for pynetdicom, made by a context with `context.sslsocket_class = SecuredSSLSocket`."""

    read_seconds: float = READ_SECONDS
    failure: Exception | None = None
    """The error that ended the connection: the first of a read or a write, or an alert of the peer."""
    _rest: memoryview = memoryview(b"")
    _deferred: OSError | None = None
    """An error that came behind received data. OpenSSL reports it once, and the end of the connection after it."""
    _parted = False
    is_drained = False
    """Whether the last `recv_into` of a socket that does not block read all that was there."""

    @property
    def _turn(self) -> threading.Lock:
        # A class method of SSLSocket makes the instance without calling a subclass's __init__.
        lock: threading.Lock = self.__dict__.setdefault("_lock", threading.Lock())
        return lock

    def connect(self, address: Any) -> None:
        """Do nothing: the connection is established."""

    def settimeout(self, value: float | None) -> None:
        """Set the timeout; None means `read_seconds`, so that a peer cannot block a thread forever within a PDU."""
        super().settimeout(self.read_seconds if value is None else value)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Receive bytes. Read a whole record at once, since pynetdicom requests 4096 bytes and each call is costly."""
        rest = self._rest
        if not rest:
            self._raise_deferred()
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

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """Receive bytes into memory. On a socket that does not block, as many records as are there and have room."""
        space = memoryview(buffer)[: nbytes or None]
        rest, self.is_drained = self._rest, False
        if rest:
            count = min(len(rest), len(space))
            space[:count] = rest[:count]
            self._rest = rest[count:]
            return count
        self._raise_deferred()
        return self._receive_records(space, until_full=self.gettimeout() == 0)

    def pending(self) -> int:
        """Return how many bytes `recv` has buffered, which `select` cannot see."""
        return len(self._rest) + super().pending()

    def send(self, data: Any, flags: int = 0) -> int:
        """Send data. If the peer has closed the connection, record its unread alert in `failure`."""
        with self._turn:
            try:
                return super().send(data, flags)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except OSError as error:
                self._note(self._find_unread_alert() or error)
                raise

    def _receive_records(self, space: memoryview, *, until_full: bool) -> int:
        received, size = 0, len(space)
        try:
            with self._turn:
                while received < size:
                    count = int(self.read(size - received, space[received:]))  # typeshed: bytes, too
                    received += count
                    if not count or not until_full:
                        break
        except (BlockingIOError, ssl.SSLWantReadError):
            if not received:
                raise
            self.is_drained = True
        except ssl.SSLWantWriteError:
            if not received:
                raise
        except OSError as error:
            self._note(error)
            if not received:
                raise
            self._deferred = error
        return received

    def _raise_deferred(self) -> None:
        error, self._deferred = self._deferred, None
        if error is not None:
            raise error

    def _find_unread_alert(self) -> OSError | None:
        """Return the error for an unread alert of the peer; None if there is none.

        In TLS 1.3 a client finishes before the server has validated its certificate. A server that refuses it sends an
        alert and closes. The client's first write then fails while the alert is still unread.
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
        with contextlib.suppress(OSError):  # else pynetdicom leaves the socket open if the peer was faster
            super().shutdown(how)

    def _note(self, error: OSError) -> None:
        if self.failure is None and not self._parted:  # errors after shutdown did not end the connection
            self.failure = error
