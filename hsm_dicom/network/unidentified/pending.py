"""Connections that are not identified yet, and counters of how connections ended."""

from __future__ import annotations

import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from hsm_dicom.network.addresses import format_address
from hsm_dicom.network.settings import Limits
from hsm_dicom.network.upper_layer.request import RequestReading
from hsm_dicom.tls import FailureReason, HandshakeError
from hsm_dicom.transport.port import Handshake, SecureTransport
from hsm_dicom.trust.clock import current_time
from tokens.printable import format_seconds

NO_PLACE, MALFORMED_REQUEST, REQUEST_TIMEOUT = "too-many-connections", "malformed-request", "request-timeout"
"""Reasons for which a connection is refused beside those of its handshake (`FailureReason`)."""

REFUSAL_REASONS = (*FailureReason, NO_PLACE, MALFORMED_REQUEST, REQUEST_TIMEOUT)
"""All reasons for which a connection is refused before it is identified."""


@dataclass(eq=False)
class Pending:
    """One connection that is not identified. The loop owns it, except while `computing`; then the pool does.

    `since` is when it took its place, moved on by the time in which we computed.
    """

    number: int
    address: tuple[str, int]
    origin: str
    connection: socket.socket
    deadline: float
    since: float = 0.0
    step: Handshake | RequestReading | None = None
    computing: bool = False
    computing_since: float = 0.0
    descriptor: int = -1
    """What is waited for; not that of `connection` where a transport has a socket of its own."""

    def begin_computing(self) -> None:
        """Give it to the pool."""
        self.computing, self.computing_since = True, time.monotonic()

    def end_computing(self) -> None:
        """Give it back to the loop. The time in the pool does not count against the peer."""
        self.since += time.monotonic() - self.computing_since
        self.computing = False

    @property
    def subject(self) -> str:
        """The peer, as far as it is known."""
        return self.step.secured.facts.subject if isinstance(self.step, RequestReading) else ""


@dataclass
class Counts:
    """Counters of connections. Each accepted connection is counted in exactly one of the others at its end.

    `identified` were served, `rejected` got an A-ASSOCIATE-RJ, `left` closed before they requested anything, `refused`
    failed in their handshake or were malformed or late, `without_place` were refused because no place was
    free. `secured` is how many finished their handshake. `reasons` counts the refused ones, and those without a place,
    by the reason in their events.
    """

    accepted: int = 0
    secured: int = 0
    identified: int = 0
    rejected: int = 0
    left: int = 0
    refused: int = 0
    without_place: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    last_refused: datetime | None = None

    def refuse(self, reason: str) -> None:
        """Count a connection that is refused."""
        self.reasons[reason] += 1
        self.last_refused = current_time()
        if reason == NO_PLACE:
            self.without_place += 1
        else:
            self.refused += 1


def get_descriptor(pending: Pending) -> int:
    """Return the descriptor to wait on."""
    return pending.step.fileno() if pending.step is not None else pending.connection.fileno()


def get_socket(pending: Pending) -> socket.socket:
    """Return the socket to close, whatever step the connection is in."""
    if pending.step is None:
        return pending.connection
    return pending.step.secured.socket if isinstance(pending.step, RequestReading) else pending.step.give_up()


def make_timeout_error(pending: Pending, limits: Limits, transport: SecureTransport) -> HandshakeError:
    """Make the refusal of a peer whose handshake took too long."""
    peer = format_address(pending.address)
    return HandshakeError(
        FailureReason.TIMED_OUT,
        peer,
        f"{peer} did not finish its handshake within {format_seconds(limits.handshake_seconds)}; check whether it uses "
        f"{transport.name}.",
    )
