"""A connection under a retired profile as a socket: blocking or not, for one reader and one writer at the same time."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

from hsm_dicom.tls.legacy._tlslite import (
    AlertDescription,
    BaseTLSException,
    TLSAbruptCloseError,
    TLSLocalAlert,
    TLSRemoteAlert,
)
from hsm_dicom.tls.legacy.connection import LegacyConnection

LARGEST_READ = 1 << 16


class LegacySocket:
    """A socket over a connection. It raises `OSError`, and `ssl.SSLError` for errors of the protocol."""

    def __init__(self, connection: LegacyConnection, raw: socket.socket) -> None:
        self._connection = connection
        self._raw = raw
        self._raw.setblocking(False)
        self._timeout: float | None = None
        self._using = threading.Lock()
        self._writing = threading.Lock()
        self._reader: Iterator[Any] | None = None

    def recv(self, most: int = LARGEST_READ) -> bytes:
        """Receive at least one byte; return none after the peer's close_notify. Raises `TimeoutError`."""
        deadline = self._deadline()
        while True:
            with self._using:
                data = self._read_on(most)
            if data is not None:
                return data
            self._wait(select.POLLIN, deadline)

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything. Raises `TimeoutError` if the peer accepts nothing for the timeout."""
        deadline = self._deadline()
        with self._writing:
            steps = self._connection.writeAsync(bytes(data))
            while True:
                with self._using, translate_errors():
                    blocked = next(steps, None)
                if blocked is None:
                    return
                self._wait(select.POLLOUT, deadline)

    def close(self) -> None:
        """Send close_notify if that is possible at once, and close. Never raises; closing twice is allowed."""
        with contextlib.suppress(Exception):
            if self._using.acquire(timeout=1.0):
                try:
                    next(self._connection.closeAsync(), None)
                finally:
                    self._using.release()
        self.abort()

    def abort(self) -> None:
        """Close the TCP connection, which wakes a receiving thread. Never raises; may be called twice."""
        with contextlib.suppress(OSError):
            self._raw.shutdown(socket.SHUT_RDWR)
        self._raw.close()

    def settimeout(self, seconds: float | None) -> None:
        """Set the timeout of `recv` and `sendall`, in seconds; None for no timeout."""
        self._timeout = seconds

    def fileno(self) -> int:
        """Return the descriptor of the TCP connection."""
        return self._raw.fileno()

    def getsockname(self) -> Any:
        """Return our address."""
        return self._raw.getsockname()

    def getpeername(self) -> Any:
        """Return the peer's address."""
        return self._raw.getpeername()

    def _read_on(self, most: int) -> bytes | None:
        """Continue reading; return None until data is complete. An interrupted reader must be continued."""
        with translate_errors():
            if self._reader is None:
                self._reader = self._connection.readAsync(most)
            result = next(self._reader, b"")
        if isinstance(result, int):
            return None
        self._reader = None
        return bytes(result)

    def _deadline(self) -> float | None:
        return None if self._timeout is None else time.monotonic() + self._timeout

    def _wait(self, event: int, deadline: float | None) -> None:
        if self._raw.fileno() < 0:
            raise ConnectionAbortedError("the connection was closed here")
        poll = select.poll()
        poll.register(self._raw, event)
        if not poll.poll(None if deadline is None else max(0, (deadline - time.monotonic()) * 1000)):
            raise TimeoutError("the peer did not go on in time")


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Translate tlslite-ng's errors, mostly not `OSError`s, to those of `ssl`, with OpenSSL's alert names."""
    try:
        yield
    except TLSAbruptCloseError as error:
        raise ConnectionResetError("the connection ended without close_notify") from error
    except TLSRemoteAlert as error:
        raise ssl_error(f"TLSV1_ALERT_{alert_name(error)}") from error
    except TLSLocalAlert as error:
        raise ssl_error(alert_name(error)) from error
    except BaseTLSException as error:
        raise ssl_error(type(error).__name__) from error


def alert_name(error: TLSRemoteAlert | TLSLocalAlert) -> str:
    """Return the name of an alert as OpenSSL writes it: BAD_RECORD_MAC."""
    return str(AlertDescription.toStr(error.description)).upper()


def ssl_error(reason: str) -> ssl.SSLError:
    """Make an `ssl.SSLError` with a reason, as OpenSSL does."""
    error = ssl.SSLError(ssl.SSLErrorNumber.SSL_ERROR_SSL, f"[SSL: {reason.upper()}]")
    error.reason = reason.upper()
    return error
