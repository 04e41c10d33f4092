"""ISCL as a `SecureTransport`: PS3.15-2008 B.2, by itself or inside TLS.

ISCL proves only that a peer has the authentication key. The peer is authorised by its authentication data
(`ConnectionFacts.entity`), which it chooses itself: every holder of the same key could send the same data. Give each
peer its own key. Inside TLS, the peer's certificate is checked as well.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import replace

from hsm_dicom.iscl import ErrorCode, ISCLContext, ISCLError, ISCLSocket
from hsm_dicom.iscl.entity import decode_entity
from hsm_dicom.iscl.errors import DeviceFailedError
from hsm_dicom.iscl.protocol.session import Session
from hsm_dicom.tls import FailureReason, HandshakeError
from hsm_dicom.transport.iscl_keys import ISCLKeys
from hsm_dicom.transport.port import ConnectionFacts, Handshake, Secured, SecureTransport, Wants
from hsm_dicom.transport.pump import PumpedSocket
from hsm_dicom.transport.sockets import READ_SECONDS
from tokens.errors import TokenError

_PROFILE = "ISCL V1.00"

_REASONS = {
    ErrorCode.WRONG_VERSION: FailureReason.PROTOCOL_VERSION,
    ErrorCode.WRONG_AUTHENTICATION_METHOD: FailureReason.NO_COMMON_PARAMETERS,
    ErrorCode.METHOD_NOT_ACCEPTABLE: FailureReason.NO_COMMON_PARAMETERS,
    ErrorCode.KEY_NOT_CONFIGURED: FailureReason.NO_COMMON_PARAMETERS,
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
    """ISCL transport with the context of one side. `outer` is the TLS transport around it; None for ISCL alone.

    `keys` are the devices of the context if their owner may release them; each connection holds them until it ends.
    """

    def __init__(
        self,
        context: ISCLContext,
        outer: SecureTransport | None = None,
        keys: ISCLKeys | None = None,
        *,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self.name = "ISCL" if outer is None else f"ISCL in {outer.name}"
        self._context = context
        self._outer = outer
        self._keys = keys or ISCLKeys(context.secrets, context.authentication)
        self._read_seconds = read_seconds

    def accept(self, connection: socket.socket, peer: str) -> Handshake:
        """Begin the accepting side; see `SecureTransport`."""
        if self._outer is not None:
            return _AcceptingOuter(self, self._outer.accept(connection, peer), peer)
        return self.begin(connection, peer)

    def begin(self, connection: socket.socket, peer: str, outer: ConnectionFacts | None = None) -> ISCLAccepting:
        """Begin the accepting side of ISCL, on a connection whose TLS handshake, if any, is finished."""
        connection.settimeout(0)
        session = self._context.session(True, peer)
        iscl_socket = ISCLSocket(connection, session)
        release = self._keys.hold()
        try:
            # In ISCL the server sends first, but a listener waits until there is data to read.
            with contextlib.suppress(BlockingIOError):
                iscl_socket.do_handshake()
        except OSError as error:
            release()
            raise _make_failure(error, peer) from error
        return ISCLAccepting(self, iscl_socket, session, connection, peer, outer, release)

    def connect(self, connection: socket.socket, peer: str, seconds: float) -> Secured:
        """Connect, as `SecureTransport` defines it."""
        deadline = time.monotonic() + seconds
        facts = None
        if self._outer is not None:
            secured = self._outer.connect(connection, peer, seconds)
            connection, facts = secured.socket, secured.facts
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        release = self._keys.hold()
        try:
            return self.finish(self._context.wrap_socket(connection, server_hostname=peer), connection, facts, release)
        except BaseException as error:
            release()
            if isinstance(error, OSError | TokenError):
                raise _make_failure(error, peer) from error
            raise

    def finish(
        self,
        iscl_socket: ISCLSocket,
        beneath: socket.socket,
        outer: ConnectionFacts | None,
        release: Callable[[], None],
    ) -> Secured:
        """Make the `Secured` of a finished handshake. `outer` are the facts of the TLS around it."""
        settings = self._context.settings
        keys = "unique" if settings.unique_keys else "fixed"
        suite = f"{_format_name(settings.encryption.name)}, {_format_name(settings.mac.name)}, {keys} keys"
        version = settings.profile.version.decode("ascii", "backslashreplace")
        entity = decode_entity(iscl_socket.peer_authentication_data or b"")
        if outer is None:
            facts = ConnectionFacts(
                transport=self.name, profile=f"{_PROFILE} (retired)", version=version, suite=suite, entity=entity
            )
        else:
            facts = replace(
                outer,
                transport=self.name,
                profile=f"{_PROFILE} in {outer.profile}",
                version=f"{version} in {outer.version}",
                suite=f"{suite} in {outer.suite}",
                entity=entity,
            )
        return Secured(PumpedSocket.over(iscl_socket, self._read_seconds, release, beneath), facts)


class _AcceptingOuter:
    """The accepting side of a TLS handshake and of the ISCL handshake inside it."""

    def __init__(self, transport: ISCLTransport, outer: Handshake, peer: str) -> None:
        self._transport, self._stage, self._peer = transport, outer, peer

    def advance(self) -> Wants | Secured:
        """See `Handshake`."""
        came_to = self._stage.advance()
        if isinstance(came_to, Wants) or isinstance(self._stage, ISCLAccepting):
            return came_to
        self._stage = self._transport.begin(came_to.socket, self._peer, came_to.facts)
        # Data after the peer's last TLS message may have been read together with that message.
        return self._stage.advance()

    def fileno(self) -> int:
        """See `Handshake`."""
        return self._stage.fileno()

    def give_up(self) -> socket.socket:
        """See `Handshake`."""
        return self._stage.give_up()


class ISCLAccepting:
    """The accepting side of one ISCL handshake."""

    def __init__(
        self,
        transport: ISCLTransport,
        iscl_socket: ISCLSocket,
        session: Session,
        raw: socket.socket,
        peer: str,
        outer: ConnectionFacts | None,
        release: Callable[[], None],
    ) -> None:
        self._transport, self._iscl_socket, self._session = transport, iscl_socket, session
        self._raw, self._peer, self._outer, self._release = raw, peer, outer, release

    def advance(self) -> Wants | Secured:
        """See `Handshake`."""
        try:
            self._iscl_socket.do_handshake()
        except BlockingIOError:
            return Wants.TO_READ
        except OSError as error:
            raise _make_failure(error, self._peer) from error
        return self._transport.finish(self._iscl_socket, self._raw, self._outer, self._release)

    def fileno(self) -> int:
        """See `Handshake`."""
        return self._raw.fileno()

    def give_up(self) -> socket.socket:
        """See `Handshake`."""
        self._session.close()
        self._release()
        return self._raw


def _make_failure(error: OSError | TokenError, peer: str) -> HandshakeError:
    reason, sentence = FailureReason.CLOSED, f"{peer} closed the connection during the ISCL handshake."
    if isinstance(error, ISCLError):
        reason = _REASONS.get(error.code, FailureReason.PROTOCOL_ERROR)
        ours = isinstance(error, DeviceFailedError)
        sentence = f"No ISCL with {peer}: {'our device failed: ' if ours else ''}{error}"
    elif isinstance(error, TimeoutError):
        reason = FailureReason.TIMED_OUT
        sentence = f"{peer} did not finish the ISCL handshake in time; check whether it uses ISCL on this port."
    elif isinstance(error, TokenError):
        reason, sentence = FailureReason.OWN_KEY, f"No ISCL with {peer}: our device failed: {error}"
    return HandshakeError(reason, peer, sentence)


def _format_name(name: str) -> str:
    return "none" if name == "NONE" else name.replace("_", "-")
