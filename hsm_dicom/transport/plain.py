"""No transport security, as a `SecureTransport`: for devices that support neither TLS nor ISCL.

A plain port is then served by the same listener as a secured one, with the same limits, deadlines and checks of PDUs.
Nothing identifies the peer except its address and the AE title that it sends.
"""

from __future__ import annotations

import socket

from hsm_dicom.transport.port import ConnectionFacts, Secured
from hsm_dicom.transport.sockets import set_no_delay

FACTS = ConnectionFacts(transport="plain", profile="none", version="", suite="")
"""The facts of every plain connection."""


class PlainTransport:
    """Transport that neither authenticates nor encrypts."""

    name = "plain DICOM"

    def accept(self, connection: socket.socket, peer: str) -> PlainHandshake:
        """Begin the accepting side; see `SecureTransport`."""
        connection.setblocking(False)
        return PlainHandshake(connection)

    def connect(self, connection: socket.socket, peer: str, seconds: float) -> Secured:
        """Return the connection; see `SecureTransport`. Its socket does not block."""
        return _finish(connection)


class PlainHandshake:
    """The accepting side of a connection without a handshake."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def advance(self) -> Secured:
        """See `Handshake`."""
        return _finish(self._connection)

    def fileno(self) -> int:
        """See `Handshake`."""
        return self._connection.fileno()

    def give_up(self) -> socket.socket:
        """See `Handshake`."""
        return self._connection


def _finish(connection: socket.socket) -> Secured:
    connection.setblocking(False)
    set_no_delay(connection)
    return Secured(connection, FACTS)
