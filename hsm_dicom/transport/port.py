"""The interface between DICOM and its secure transports.

A transport secures a TCP connection: it authenticates and encrypts, and returns the facts about the peer. The listener
calls the accepting side in steps, because a peer or a token may be slow; the connecting side blocks. TLS is in
`tls.py`; `pump.py` connects a connection that is not an `ssl.SSLSocket` to pynetdicom.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from hsm_dicom.tls import HandshakeError, PeerCertificate, SuiteAlgorithms, get_suite_algorithms


class Wants(Enum):
    """Event that a handshake waits for."""

    TO_READ = "to read"
    TO_WRITE = "to write"


@dataclass(frozen=True, kw_only=True)
class ConnectionFacts:
    """Facts of a connection, the same for every transport.

    `certificate` is that of the peer; `entity` is the name of a peer that was authenticated by ISCL. Both are None if
    the peer did not authenticate.
    """

    transport: str
    profile: str
    version: str
    suite: str
    certificate: PeerCertificate | None = None
    entity: str | None = None
    resumed: bool = False
    group: str | None = None
    """The group of the key exchange, as OpenSSL names it, where it is known."""
    key_exchange_bits: int | None = None

    @property
    def algorithms(self) -> SuiteAlgorithms | None:
        """Algorithms of the TLS cipher suite, with lengths in bits; None without TLS."""
        certificate = self.certificate.certificate if self.certificate else None
        return get_suite_algorithms(self.suite, certificate, self.key_exchange_bits)

    @property
    def is_secured(self) -> bool:
        """Whether the connection has transport security; not if its transport is `hsm_dicom.transport.plain`."""
        return self.transport != "plain"

    @property
    def subject(self) -> str:
        """The peer, for events: the subject of its certificate, else its `entity`, else empty."""
        return self.certificate.subject if self.certificate else self.entity or ""

    @property
    def who(self) -> str:
        """The peer, for messages."""
        if self.certificate is not None:
            return f"'{self.certificate.subject}'"
        return f"'{self.entity}'" if self.entity else "an unauthenticated peer"

    def __str__(self) -> str:
        if not self.is_secured:
            return f"{self.who}, no transport security"
        return f"{self.who}, {self.version}, {self.suite}, {self.profile}"


@dataclass(frozen=True)
class Secured:
    """A secured connection: the socket for DICOM, and the facts.

    `refuse` takes an alert of the peer that came after the handshake. It returns the error to raise if a new connection
    shows the peer another certificate, else None; it is None where there is no other one.
    """

    socket: socket.socket = field(repr=False)
    facts: ConnectionFacts
    refuse: Callable[[HandshakeError], HandshakeError | None] | None = field(default=None, repr=False)


class Handshake(Protocol):
    """The accepting side of one handshake, on a socket that does not block."""

    def advance(self) -> Wants | Secured:
        """Continue as far as possible. Raises `HandshakeError`."""

    def fileno(self) -> int:
        """Return the file descriptor to wait for."""

    def give_up(self) -> socket.socket:
        """End the handshake, and return the socket, open for the peer to read the last alert; the caller closes it."""


class SecureTransport(Protocol):
    """Interface of a transport: TLS, a retired TLS profile, or ISCL."""

    name: str

    def accept(self, connection: socket.socket, peer: str) -> Handshake:
        """Begin the accepting side. `peer` identifies the other end in messages. Raises `HandshakeError`."""

    def connect(self, connection: socket.socket, peer: str, seconds: float) -> Secured:
        """Do the whole handshake of the connecting side within `seconds`. Raises `HandshakeError`."""
