"""ISCL over a blocking socket, in the shape of `ssl.SSLSocket`. Get one from `ISCLContext.wrap_socket`.

Several threads may use one socket: typically one receives while others send. ISCL is half duplex, so a sender needs
answers to be read. The first thread that waits reads the connection, outside the lock; it notifies the others.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from hsm_dicom.iscl.errors import ConnectionLostError, ErrorCode, ISCLError, LocalProtocolError, StepTimeoutError
from hsm_dicom.iscl.protocol.session import Session
from hsm_dicom.iscl.protocol.states import State
from hsm_dicom.iscl.wire.messages import Encryption, Mac
from tokens.errors import fresh_copy
from tokens.printable import format_seconds

CHUNK = 512 * 1024
"""Octets that are read from the connection at once, at most."""

_Buffer = bytes | bytearray | memoryview


class ISCLSocket:
    """One end of an ISCL connection over a connected stream socket.

    Timeouts are those of sockets: None waits, 0 does not, and `TimeoutError` leaves the connection as it is. Beside
    them each step of the protocol has its own (`WireProfile.handshake_timeout` and `message_timeout`), which ends the
    connection with `StepTimeoutError`. Methods raise `ISCLError`, an `OSError`.
    """

    def __init__(self, sock: socket.socket, session: Session) -> None:
        self._sock = sock
        self._session = session
        self._timeout = sock.gettimeout()
        self._changed = threading.Condition()
        self._reads = False
        self._began = False
        self._step_began = time.monotonic()
        self._closed = False
        with contextlib.suppress(OSError):  # not a TCP socket
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # -- the life of a connection ---------------------------------------------------------------------------

    def connect(self, address: Any) -> None:
        """Connect a socket that was wrapped before, and shake hands."""
        self._sock.connect(address)
        self.do_handshake()

    def do_handshake(self) -> None:
        """Do the line check and mutual authentication. Raises `AuthenticationError` and other `ISCLError`s.

        With a timeout of 0 it raises `BlockingIOError` where it must wait to read; call it again then.
        """
        if not self._began:
            self._began = True
            # From here on only polling waits; the socket's own timeout is for a peer that accepts no data.
            self._sock.settimeout(self._session.settings.profile.message_timeout)
            self._step_began = time.monotonic()
            with self._changed:
                self._run(self._session.start())
        try:
            self._until(lambda: self._session.is_ready)
        except ISCLError:
            # What went wrong after the handshake, with octets that came along, is for `recv` to raise.
            if not self._session.is_ready:
                raise
        self._require(self._session.is_ready)

    def unwrap(self) -> socket.socket:
        """End the connection by the disconnection protocol, and return the bare socket.

        Raises `RemoteProtocolError` (115) where the peer refuses; the connection is open then.
        """
        session = self._session
        with self._changed:
            session.disconnect()
            self._run(session.proceed())
        self._until(lambda: session.has_ended or session.close_refused is not None)
        if session.close_refused is not None:
            raise fresh_copy(session.close_refused)
        if session.connection.error is not None:
            raise fresh_copy(session.connection.error)
        return self._sock

    def shutdown(self, how: int) -> None:
        """End the connection for both directions, as `unwrap` does. SHUT_RD does nothing: ISCL has no half-close."""
        if how != socket.SHUT_RD and not self._session.has_ended:
            self.unwrap()

    def close(self) -> None:
        """End the connection with the disconnection protocol if that is possible, else without. Never raises."""
        if not self._closed and self._session.is_ready and not self._session.has_ended:
            with contextlib.suppress(OSError):
                self.unwrap()
        self.abort()

    def abort(self) -> None:
        """Close at once, without the disconnection protocol."""
        self._closed = True
        self._drop()
        with self._changed:
            while self._reads:
                self._changed.wait()
            self._session.close()
            self._sock.close()
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ISCLSocket {self.status} with {self._session.peer}>"

    # -- data -----------------------------------------------------------------------------------------------

    def recv(self, most: int) -> bytes:
        """Return 1 to `most` verified octets; none after the peer's disconnection."""
        session = self._session
        self._until(lambda: bool(session.readable) or session.has_ended)
        with self._changed:
            data = session.read(most)
            if data:
                self._run(session.proceed())
            elif session.connection.error is not None:
                raise fresh_copy(session.connection.error)
            return data

    def recv_into(self, buffer: bytearray | memoryview, most: int = 0) -> int:
        """Receive into a buffer as `recv` does, and return the number of octets."""
        view = memoryview(buffer).cast("B")
        data = self.recv(min(most or len(view), len(view)))
        view[: len(data)] = data
        return len(data)

    def sendall(self, data: _Buffer) -> None:
        """Send everything, in messages of at most `max_message` octets; return when the last octet was handed over."""
        with self._changed:
            self._require_open()
            ticket = self._session.write(bytes(data))
            self._run(self._session.proceed())
        self._wait_until_sent(ticket)

    def send(self, data: _Buffer) -> int:
        """Send as `sendall` does, and return the number of octets, which is all of them."""
        self.sendall(data)
        return len(memoryview(data).cast("B"))

    def send_through(self, data: _Buffer) -> None:
        """Send without any protection, where that is allowed explicitly (`ISCLSettings.allow`)."""
        with self._changed:
            self._require_open()
            ticket = self._session.write_through(bytes(data))
            self._run(self._session.proceed())
        self._wait_until_sent(ticket)

    def pending(self) -> int:
        """Return how many octets `recv` has buffered, which `select` cannot see."""
        return self._session.readable

    # -- the socket underneath ------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Return the socket's descriptor, which may be readable without anything to `recv`, and vice versa."""
        return self._sock.fileno()

    def getpeername(self) -> Any:
        """Return the peer's address."""
        return self._sock.getpeername()

    def getsockname(self) -> Any:
        """Return our address."""
        return self._sock.getsockname()

    def settimeout(self, seconds: float | None) -> None:
        """Bound how many seconds `recv`, `sendall`, `do_handshake` and `unwrap` may take."""
        self._timeout = seconds

    def gettimeout(self) -> float | None:
        """Return the timeout in seconds, as `settimeout` set it."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """Set the timeout to None or to 0."""
        self._timeout = None if flag else 0.0

    # -- what can be read of the connection -----------------------------------------------------------------

    @property
    def status(self) -> State:
        """Where the connection is."""
        return self._session.connection.state

    @property
    def last_error(self) -> ISCLError | None:
        """Why the connection failed, or why the peer refused to disconnect."""
        return self._session.connection.error or self._session.close_refused

    @property
    def is_secure_connected(self) -> bool:
        """Whether both ends are authenticated and the connection is up."""
        return self._session.is_ready and not self._session.has_ended

    @property
    def is_send_queue_empty(self) -> bool:
        """Whether nothing waits to be sent."""
        return self._session.is_send_queue_empty

    @property
    def block_data(self) -> int:
        """Octets of data in a block, as negotiated."""
        return self._session.connection.block_data

    @property
    def peer_authentication_data(self) -> bytes | None:
        """What the peer calls itself; None before it did."""
        return self._session.connection.peer_authentication_data

    @property
    def peer_encryption(self) -> Encryption | None:
        """The encryption that the peer last asked for, accepted or not."""
        request = self._session.connection.peer_request
        return None if request is None else Encryption(request.encryption)

    @property
    def peer_mac(self) -> Mac | None:
        """The MAC that the peer last asked for, accepted or not."""
        request = self._session.connection.peer_request
        return None if request is None else Mac(request.mac)

    @property
    def peer_requested_length(self) -> int | None:
        """The length that the peer last announced, accepted or not."""
        request = self._session.connection.peer_request
        return None if request is None else request.length

    # -- how it works ---------------------------------------------------------------------------------------

    def _wait_until_sent(self, ticket: int) -> None:
        session = self._session
        self._until(lambda: session.sent >= ticket or session.has_ended)
        self._require(session.sent >= ticket)

    def _require(self, done: bool) -> None:
        if done:
            return
        if self._session.connection.error is not None:
            raise fresh_copy(self._session.connection.error)
        raise ConnectionLostError(
            ErrorCode.CONNECTION_LOST, f"{self._session.peer} disconnected before everything was sent."
        )

    def _require_open(self) -> None:
        if self._closed:
            raise LocalProtocolError(ErrorCode.NOT_NOW, "The connection is closed; open a new one.")

    def _until(self, done: Callable[[], bool]) -> None:
        """Serve the connection until `done` or its end. Raises `TimeoutError`; `StepTimeoutError` after a step's time.

        One thread at a time reads; while it waits, the lock is free for others.
        """
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        with self._changed:
            while not done() and not self._session.has_ended:
                self._require_open()
                self._give_up_overdue_step()
                seconds = self._seconds(deadline)
                happened = self._changed.wait(seconds) if self._reads else self._read_line(seconds)
                if not happened and deadline is not None and time.monotonic() >= deadline:
                    if self._timeout == 0:
                        raise BlockingIOError("Nothing is there to receive yet.")
                    raise TimeoutError(f"{self._session.peer} did not answer in time; the connection is still open.")

    def _seconds(self, deadline: float | None) -> float | None:
        """Return the seconds until the nearer of the caller's deadline and the step's."""
        step = self._session.step_timeout
        ends = [end for end in (deadline, None if step is None else self._step_began + step) if end is not None]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _give_up_overdue_step(self) -> None:
        step = self._session.step_timeout
        if step is not None and time.monotonic() >= self._step_began + step:
            sentence = f"{self._session.peer} let {format_seconds(step)} pass in the state '{self.status}'."
            self._run(self._session.give_up(StepTimeoutError(ErrorCode.TIMED_OUT, sentence)))

    def _read_line(self, seconds: float | None) -> bool:
        """Wait without the lock, then take what came. Whether anything did."""
        while self._session.can_work_ahead and not self._wait_for_line(0):
            self._run(self._session.work_ahead())
        self._reads = True
        try:
            self._changed.release()
            try:
                readable = self._wait_for_line(seconds)
            finally:
                self._changed.acquire()
            if readable and not self._closed:
                self._take()
            return readable
        finally:
            self._reads = False
            self._changed.notify_all()

    def _wait_for_line(self, seconds: float | None) -> bool:
        pending = getattr(self._sock, "pending", None)
        if pending is not None and pending():
            return True
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1000))

    def _take(self) -> None:
        if self._session.step_timeout is None:
            self._step_began = time.monotonic()
        octets = self._receive_available()
        if octets is not None:
            self._run(self._session.receive(octets))

    def _receive_available(self) -> bytes | None:
        """Return octets that arrived, none at the end; None if nothing is there (in TLS, not a whole record)."""
        for_sending = self._sock.gettimeout()
        try:
            self._sock.settimeout(0)
            return self._sock.recv(CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except OSError:
            return b""
        finally:
            self._sock.settimeout(for_sending)

    def _run(self, pieces: Iterator[bytes]) -> None:
        """Send what a session gives. Its errors end the connection."""
        steps = self._session.steps
        try:
            for octets in pieces:
                try:
                    self._sock.sendall(octets)
                except OSError as error:
                    if self._session.has_ended:
                        break  # our last word; a peer that closed at the same time does not need it
                    for _ in self._session.give_up(_line_error(error, self._session.peer)):
                        pass
        except ISCLError:
            self._drop()
            raise
        finally:
            if self._session.steps != steps:
                self._step_began = time.monotonic()
            self._changed.notify_all()

    def _drop(self) -> None:
        """End the TCP connection, which wakes threads that wait for it."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)


def _line_error(error: OSError, peer: str) -> ISCLError:
    if isinstance(error, TimeoutError):
        return StepTimeoutError(ErrorCode.TIMED_OUT, f"{peer} does not accept what is sent to it.")
    sentence = f"The connection to {peer} broke while sending ({error.strerror})."
    return ConnectionLostError(ErrorCode.CONNECTION_LOST, sentence)
