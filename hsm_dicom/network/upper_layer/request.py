"""The A-ASSOCIATE-RQ of a connection that was just secured, read in steps, so that a slow peer holds no thread."""

from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass, field

from hsm_dicom.network.errors import PDUError
from hsm_dicom.network.settings import MAXIMUM_PDU
from hsm_dicom.network.upper_layer.negotiation import AssociateRequest, read_request
from hsm_dicom.network.upper_layer.pdu import ABORT, ASSOCIATE_RQ, PDUReader
from hsm_dicom.transport.port import Secured, Wants

_PARTING_SECONDS = 1.0


@dataclass(frozen=True)
class Requested:
    """A connection on which an association was requested."""

    secured: Secured = field(repr=False)
    request: AssociateRequest


@dataclass(frozen=True)
class Left:
    """The peer closed the connection, or aborted it, before it requested anything."""


class RequestReading:
    """Reads the A-ASSOCIATE-RQ of one connection, and nothing behind it."""

    def __init__(self, secured: Secured, seconds: float) -> None:
        self.secured = secured
        secured.socket.settimeout(0)
        self._reader = PDUReader(maximum_data=MAXIMUM_PDU, seconds=seconds, expected=(ASSOCIATE_RQ, ABORT))

    def advance(self) -> Wants | Requested | Left:
        """Go on as far as possible. Raises `PDUError`."""
        pdu = None
        try:
            while pdu is None:
                data = self.secured.socket.recv(self._reader.wanted)
                if not data:
                    return Left()
                pdu = self._reader.feed(data)
        except (BlockingIOError, ssl.SSLWantReadError):
            return Wants.TO_READ
        except ssl.SSLWantWriteError:
            return Wants.TO_WRITE
        except OSError as error:
            if isinstance(error, ssl.SSLError):
                raise PDUError("what failed the integrity check of the connection") from error
            return Left()
        return Left() if pdu.type == ABORT else Requested(self.secured, read_request(pdu))

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self.secured.socket.fileno()


def send_last_pdu(secured: Secured, last: bytes) -> socket.socket:
    """Send a last PDU and close our side. The socket is returned for the peer to read from; the caller closes it."""
    connection = secured.socket
    with contextlib.suppress(OSError):
        connection.settimeout(_PARTING_SECONDS)
        connection.sendall(last)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
    return connection
