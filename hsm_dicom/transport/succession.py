"""TLS to one peer while the key of this node is replaced: the successor first, the old key where the peer refuses it.

    transport = SuccessionTransport("pacs", "pacs:2762", successor, own)

A peer refuses a certificate with an alert (RFC 8446, 6.2). In TLS 1.2 that ends the handshake; in TLS 1.3 it comes
after the client has finished, with the first read. `refuse` of a `Secured` takes the late one.

After a refusal, connections show the old certificate for `REFUSAL_SECONDS`, without a further signature by the
successor. A peer that ends the connection without an alert, or rejects the association, has refused nothing here.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from cryptography import x509

from hsm_dicom.events import emit
from hsm_dicom.identity import Identity
from hsm_dicom.tls import HandshakeError
from hsm_dicom.transport.events import SuccessorRefused
from hsm_dicom.transport.port import Handshake, Secured, SecureTransport
from hsm_dicom.trust.clock import current_time

REFUSAL_SECONDS = 3600.0
"""How long the old certificate is shown to a peer after it has refused the successor."""

REFUSALS = frozenset(
    {
        "BAD_CERTIFICATE",
        "UNSUPPORTED_CERTIFICATE",
        "CERTIFICATE_EXPIRED",
        "CERTIFICATE_UNKNOWN",
        "UNKNOWN_CA",
        "ACCESS_DENIED",
        "HANDSHAKE_FAILURE",
    }
)
"""The alerts by which a peer may mean our certificate. If it holds the certificate for revoked, that is an error."""


class SuccessorRefusedError(HandshakeError):
    """The peer has refused the successor, and a new connection shows it the old certificate."""


@dataclass(frozen=True)
class Side:
    """One of both identities, and the transport that shows it."""

    identity: Identity
    transport: SecureTransport


class SuccessionTransport:
    """The transport to one peer. Any thread may use it. `name` and `address` are the peer's, for the event."""

    def __init__(
        self, peer: str, address: str, successor: Side, own: Side, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = own.transport.name
        self._peer, self._address, self._clock = peer, address, clock
        self._successor, self._own = successor, own
        self._lock = threading.Lock()
        self._refused_until: float | None = None

    def accept(self, connection: socket.socket, peer: str) -> Handshake:
        """See `SecureTransport`. A server shows the old certificate: it cannot know what a caller accepts."""
        return self._own.transport.accept(connection, peer)

    def connect(self, connection: socket.socket, peer: str, seconds: float) -> Secured:
        """See `SecureTransport`. Raises `SuccessorRefusedError` if a new connection would show the old certificate."""
        if not self._may_show_successor():
            return self._own.transport.connect(connection, peer, seconds)
        try:
            secured = self._successor.transport.connect(connection, peer, seconds)
        except HandshakeError as error:
            raise self._refuse(error) or error from error
        return replace(secured, refuse=self._refuse)

    def _may_show_successor(self) -> bool:
        if not _is_current(self._successor.identity.certificate):
            return False
        with self._lock:
            return self._refused_until is None or self._clock() >= self._refused_until

    def _refuse(self, error: HandshakeError) -> SuccessorRefusedError | None:
        """Remember a refusal of the successor, and return the error for it; None if the failure is none."""
        if error.alert not in REFUSALS:
            return None
        with self._lock:
            is_first = self._refused_until is None
            self._refused_until = self._clock() + REFUSAL_SECONDS
        own, successor = self._own.identity, self._successor.identity
        if is_first:
            emit(
                SuccessorRefused(
                    name=self._peer,
                    address=self._address,
                    text=f"{error} That was the certificate of '{successor.name}'; '{self._peer}' is shown that of "
                    f"'{own.name}' instead, and the successor again every {REFUSAL_SECONDS / 60:.0f} minutes.",
                    alert=error.alert.lower(),
                    identity=own.name,
                    successor=successor.name,
                    certificate_serial=f"{successor.certificate.serial_number:x}",
                )
            )
        return SuccessorRefusedError(error.reason, error.peer, str(error), alert=error.alert)


def _is_current(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_before_utc <= current_time() <= certificate.not_valid_after_utc
