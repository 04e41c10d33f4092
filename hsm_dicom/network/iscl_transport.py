"""ISCL as a `SecureTransport`: PS3.15-2008 B.2. Each use of it is an event, which says that it is out of date.

A peer proves with ISCL that it has the authentication key, and no more. Its authentication data, by which it is
authorised here (`ConnectionFacts.entity`), is what it calls itself: all that share the key could say the same. Give
each peer a key of its own.
"""

from __future__ import annotations

import contextlib
import socket

from hsm_dicom.iscl import DeviceFailed, ErrorCode, ISCLContext, ISCLError, ISCLSocket
from hsm_dicom.iscl.session import Session
from hsm_dicom.network.pump import PumpedSocket
from hsm_dicom.network.sockets import READ_SECONDS
from hsm_dicom.network.transport import ConnectionFacts, Secured, Wants
from hsm_dicom.tls import FailureReason, HandshakeFailed
from tokens.errors import TokenError

_REASONS = {
    ErrorCode.WRONG_VERSION: FailureReason.PROTOCOL_VERSION,
    ErrorCode.WRONG_AUTHENTICATION_METHOD: FailureReason.NOTHING_IN_COMMON,
    ErrorCode.METHOD_NOT_ACCEPTABLE: FailureReason.NOTHING_IN_COMMON,
    ErrorCode.KEY_NOT_CONFIGURED: FailureReason.NOTHING_IN_COMMON,
    ErrorCode.WRONG_AUTHENTICATION_DATA: FailureReason.WRONG_NAME,
    ErrorCode.PEER_NOT_AUTHENTIC: FailureReason.CERTIFICATE_REFUSED,
    ErrorCode.CHALLENGE_REFLECTED: FailureReason.CERTIFICATE_REFUSED,
    ErrorCode.PEER_REFUSED: FailureReason.REFUSED_BY_PEER,
    ErrorCode.PEER_DEVICE_FAILED: FailureReason.REFUSED_BY_PEER,
    ErrorCode.OWN_DEVICE_FAILED: FailureReason.OWN_KEY,
    ErrorCode.TIMED_OUT: FailureReason.TIMED_OUT,
    ErrorCode.CONNECTION_LOST: FailureReason.CLOSED,
}


class ISCLTransport:
    """One side's context, ready for connections."""

    name = "ISCL"

    def __init__(self, context: ISCLContext, *, read_seconds: float = READ_SECONDS) -> None:
        self._context = context
        self._read_seconds = read_seconds

    def accept(self, connection: socket.socket, peer: str) -> ISCLAccepting:
        """Begin the accepting side; see `SecureTransport`."""
        connection.setblocking(False)
        session = self._context.session(True, peer)
        line = ISCLSocket(connection, session)
        try:
            # The server speaks first in ISCL; a listener waits until there is something to read.
            with contextlib.suppress(BlockingIOError):
                line.do_handshake()
        except OSError as error:
            raise _failed(error, peer) from error
        return ISCLAccepting(self, line, session, connection, peer)

    def connect(self, connection: socket.socket, peer: str, seconds: float) -> Secured:
        """The connecting side; see `SecureTransport`."""
        connection.settimeout(seconds)
        try:
            return self.secured(self._context.wrap_socket(connection, server_hostname=peer))
        except (OSError, TokenError) as error:
            raise _failed(error, peer) from error

    def secured(self, line: ISCLSocket) -> Secured:
        """The connection whose handshake is done."""
        settings = self._context.settings
        keys = "unique" if settings.unique_keys else "fixed"
        facts = ConnectionFacts(
            transport=self.name,
            profile="ISCL V1.00 (retired)",
            version=settings.profile.version.decode("ascii", "backslashreplace"),
            suite=f"{_called(settings.encryption.name)}, {_called(settings.mac.name)}, {keys} keys",
            entity=(line.peer_authentication_data or b"").decode("ascii", "backslashreplace"),
        )
        return Secured(PumpedSocket.over(line, self._read_seconds), facts)


class ISCLAccepting:
    """The accepting side of one handshake."""

    def __init__(
        self, transport: ISCLTransport, line: ISCLSocket, session: Session, raw: socket.socket, peer: str
    ) -> None:
        self._transport, self._line, self._session, self._raw, self._peer = transport, line, session, raw, peer

    def advance(self) -> Wants | Secured:
        """See `Handshake`."""
        try:
            self._line.do_handshake()
        except BlockingIOError:
            return Wants.TO_READ
        except OSError as error:
            raise _failed(error, self._peer) from error
        return self._transport.secured(self._line)

    def fileno(self) -> int:
        """See `Handshake`."""
        return self._raw.fileno()

    def give_up(self) -> socket.socket:
        """See `Handshake`."""
        self._session.close()
        return self._raw


def _failed(error: OSError | TokenError, peer: str) -> HandshakeFailed:
    reason, sentence = FailureReason.CLOSED, f"{peer} closed the connection during the ISCL handshake."
    if isinstance(error, ISCLError):
        reason = _REASONS.get(error.code, FailureReason.PROTOCOL_ERROR)
        ours = isinstance(error, DeviceFailed)
        sentence = f"No ISCL with {peer}: {'our device failed: ' if ours else ''}{error}"
    elif isinstance(error, TimeoutError):
        reason, sentence = FailureReason.TIMED_OUT, f"{peer} did not finish the ISCL handshake in time."
    elif isinstance(error, TokenError):
        reason, sentence = FailureReason.OWN_KEY, f"No ISCL with {peer}: our device failed: {error}"
    return HandshakeFailed(reason, peer, sentence)


def _called(name: str) -> str:
    return "none" if name == "NONE" else name.replace("_", "-")
