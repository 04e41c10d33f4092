"""One connection of a relayed association: a socket that does not block, over TCP, TLS or a socket pair."""

from __future__ import annotations

import contextlib
import copy
import select
import socket
import ssl

from hsm_dicom.tls.failures import find_late_refusal
from hsm_dicom.transport.port import ConnectionFacts, Secured
from hsm_dicom.transport.pump import join_pump
from hsm_dicom.transport.sockets import acknowledge_at_once, set_no_delay

_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""After how many seconds of silence the kernel asks whether the other end is there, how often, and how many times."""

_DRAIN_BYTES, _DRAIN_READS = 65536, 16
"""How much is discarded in one step, so that a peer that sends without end holds up nothing."""

_DRAIN = memoryview(bytearray(_DRAIN_BYTES))
"""Where all legs receive what is thrown away: nobody reads it. It has room for a whole TLS record."""


class Leg:
    """One connection. `error` is why it was lost; `has_ended` is True after the other end has sent its last octet."""

    def __init__(self, secured: Secured) -> None:
        self.socket = secured.socket
        self.facts: ConnectionFacts = secured.facts
        self._refuse = secured.refuse
        self.error: OSError | None = None
        self.has_ended = False
        self.has_shut = False
        self.may_read = self.may_write = True
        """Whether to try it, because the last attempt succeeded or `poll` said so."""
        self._read_event = self._write_event = 0
        """What a read or a write waits for, if that is not its own event: TLS may have to write in order to read."""
        self._owes = False
        """Whether octets were received that the kernel may acknowledge late."""
        self._is_given_away = False
        self._is_tcp = self.socket.family in (socket.AF_INET, socket.AF_INET6)
        self.socket.settimeout(0)
        if self._is_tcp:
            set_no_delay(self.socket)
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in _KEEPALIVE:
                    self.socket.setsockopt(socket.IPPROTO_TCP, option, value)

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.error is not None

    def refuse_certificate(self, name: str) -> bool:
        """Return whether the other end refused our certificate after the handshake, and a new connection shows another.

        `name` is that of the other end.
        """
        if self._refuse is None or not isinstance(self.error, ssl.SSLError):
            return False
        refusal = find_late_refusal(self.error, f"'{name}'")
        return refusal is not None and self._refuse(refusal) is not None

    def receive(self, space: memoryview) -> int:
        """Receive into memory, and return how many octets; 0 if there are none now, or no more at all."""
        try:
            count = self.socket.recv_into(space)
        except (BlockingIOError, ssl.SSLWantReadError):
            self.may_read, self._read_event = False, select.POLLIN
            self._acknowledge()
            return 0
        except ssl.SSLWantWriteError:
            self.may_read, self._read_event = False, select.POLLOUT
            return 0
        except (OSError, ValueError) as error:
            self._lose(error)
            return 0
        if count == 0:
            self.has_ended = True
            failure = getattr(self.socket, "failure", None)
            if isinstance(failure, OSError):
                self._lose(failure)
            return 0
        self._owes = self._is_tcp
        if count < len(space):
            self._acknowledge()
            # A TLS connection may have read its end, or an error, which `poll` does not know of.
            if getattr(self.socket, "is_drained", True):
                self.may_read, self._read_event = False, select.POLLIN
        return count

    def send(self, data: memoryview) -> int:
        """Send what can be sent now, and return how many octets that were."""
        try:
            return self.socket.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            self.may_write, self._write_event = False, select.POLLOUT
        except ssl.SSLWantReadError:
            self.may_write, self._write_event = False, select.POLLIN
        except (OSError, ValueError) as error:
            self._lose(error)
        return 0

    def get_events(self, reads: bool, writes: bool) -> int:
        """Return the events to poll for."""
        return (self._read_event or select.POLLIN if reads else 0) | (
            self._write_event or select.POLLOUT if writes else 0
        )

    def note_events(self, events: int) -> None:
        """Process the events that `poll` returned."""
        other = events & ~(select.POLLIN | select.POLLOUT)
        if other or events & (self._read_event or select.POLLIN):
            self.may_read, self._read_event = True, 0
        if other or events & (self._write_event or select.POLLOUT):
            self.may_write, self._write_event = True, 0

    def shut(self) -> None:
        """Say that nothing more comes: TLS close_notify, and FIN. What still arrives is discarded from now on."""
        if self.has_shut or self.is_lost:
            return
        self.has_shut = True
        self.may_read = True
        with contextlib.suppress(OSError, ValueError):
            self.socket.shutdown(socket.SHUT_WR)

    def discard(self) -> None:
        """Read and throw away what is there, so that closing does not reset what the other end has yet to read.

        There may be more, which `poll` then reports.
        """
        for _ in range(_DRAIN_READS):
            if not self.may_read or self.has_ended or self.is_lost:
                return
            self.receive(_DRAIN)

    def give_away(self) -> Leg:
        """Return the connection for another thread. This leg is lost from now on, and leaves the socket alone."""
        other = copy.copy(self)
        self._is_given_away = self.has_ended = True
        self.error = OSError("The connection was given away.")
        return other

    def close(self) -> None:
        """Close the connection now."""
        if self._is_given_away:
            return
        with contextlib.suppress(OSError):
            self.socket.close()
        join_pump(self.socket)

    def _acknowledge(self) -> None:
        """Have the kernel acknowledge at once what was received, after the last octets that are there.

        After every read, that would take a fifth of the processor time of a relay.
        """
        if self._owes:
            self._owes = False
            acknowledge_at_once(self.socket)

    def _lose(self, error: OSError | ValueError) -> None:
        cause = getattr(self.socket, "failure", None)  # such as an alert that was there before the connection broke
        self.error = cause if isinstance(cause, OSError) else OSError(str(error))
        self.has_ended = True
