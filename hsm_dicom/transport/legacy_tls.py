"""A retired TLS profile as a `SecureTransport`. Each use emits an event, logged as a warning."""

from __future__ import annotations

import select
import socket
import time

from hsm_dicom.events import emit
from hsm_dicom.identity import Identity
from hsm_dicom.tls import AuthenticationMode, FailureReason, HandshakeError
from hsm_dicom.tls.errors import LegacyRefusedError
from hsm_dicom.tls.legacy.context import LegacyContext, LegacyHandshake
from hsm_dicom.tls.settings import LegacyExemption
from hsm_dicom.transport.events import LegacyProfileUsed
from hsm_dicom.transport.port import ConnectionFacts, Secured, Wants
from hsm_dicom.transport.pump import PumpedSocket
from hsm_dicom.transport.sockets import READ_SECONDS
from hsm_dicom.trust import CertificateValidator
from tokens.printable import format_seconds


def make_server_transport(
    exemption: LegacyExemption,
    identity: Identity,
    validator: CertificateValidator | None,
    *,
    authentication: AuthenticationMode,
    read_seconds: float,
) -> LegacyTransport:
    """Make the transport of a listener for an exception. Raises `LegacyRefusedError` and `ContextError`."""
    context = LegacyContext(exemption, identity, validator, server_side=True, authentication=authentication)
    return LegacyTransport(context, read_seconds=read_seconds)


def make_client_transport(
    exemption: LegacyExemption,
    identity: Identity | None,
    validator: CertificateValidator,
    *,
    authentication: AuthenticationMode,
    server_name: str | None,
    must_hold_name: bool,
) -> LegacyTransport:
    """Make the transport to a peer for an exception. Raises `LegacyRefusedError` and `ContextError`."""
    context = LegacyContext(exemption, identity, validator, server_side=False, authentication=authentication)
    return LegacyTransport(context, server_name=server_name, must_hold_name=must_hold_name)


class LegacyTransport:
    """Transport of one side for one exception."""

    name = "retired TLS"

    def __init__(
        self,
        context: LegacyContext,
        *,
        server_name: str | None = None,
        must_hold_name: bool = False,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        """Store a context. With `must_hold_name`, the server's certificate must be for `server_name`."""
        self._context = context
        self._server_name = server_name
        self._must_hold_name = must_hold_name
        self._read_seconds = read_seconds

    def accept(self, connection: socket.socket, peer: str) -> LegacyAccepting:
        """Begin the accepting side; see `SecureTransport`."""
        return LegacyAccepting(self, self._begin(connection, peer), connection, peer)

    def connect(self, connection: socket.socket, peer: str, seconds: float) -> Secured:
        """Connect, as `SecureTransport` defines it."""
        deadline = time.monotonic() + seconds
        handshake = self._begin(connection, peer)
        while (waits_for := handshake.advance()) is not None:
            poll = select.poll()
            poll.register(connection, select.POLLIN if waits_for == "read" else select.POLLOUT)
            if not poll.poll(max(0, (deadline - time.monotonic()) * 1000)):
                raise HandshakeError(
                    FailureReason.TIMED_OUT,
                    peer,
                    f"{peer} did not finish the handshake within {format_seconds(seconds)}.",
                )
        facts = handshake.facts
        if self._must_hold_name and not (facts and facts.peer and facts.peer.is_for(self._server_name or "")):
            raise HandshakeError(
                FailureReason.WRONG_NAME, peer, f"{peer} is refused: its certificate is not for '{self._server_name}'."
            )
        return self.finish(handshake, peer)

    def finish(self, handshake: LegacyHandshake, peer: str) -> Secured:
        """Report the use of the profile, and make the `Secured` of a finished handshake."""
        facts, exemption = handshake.facts, self._context.exemption
        if facts is None:
            raise HandshakeError(FailureReason.PROTOCOL_ERROR, peer, f"The handshake with {peer} is not done.")
        who = f"'{facts.peer.subject}'" if facts.peer else "an unauthenticated peer"
        emit(
            LegacyProfileUsed(
                name=exemption.profile,
                address=peer,
                text=f"{who} at {peer} is served under the retired profile {exemption.profile} ({facts.suite}); "
                f"reason: {exemption.reason}; until {exemption.until:%Y-%m-%d}. {self._context.profile.warning}",
                profile=exemption.profile,
                reason=exemption.reason,
                until=exemption.until.isoformat(),
            )
        )
        return Secured(
            PumpedSocket.over(handshake.socket(), self._read_seconds),
            ConnectionFacts(
                transport=self.name,
                profile=facts.profile,
                version=facts.version,
                suite=facts.suite,
                certificate=facts.peer,
                resumed=facts.resumed,
                key_exchange_bits=facts.key_exchange_bits,
            ),
        )

    def _begin(self, connection: socket.socket, peer: str) -> LegacyHandshake:
        try:
            return self._context.begin(connection, peer, self._server_name)
        except LegacyRefusedError as refused:
            raise HandshakeError(FailureReason.EXCEPTION_ENDED, peer, f"{peer} is refused: {refused}") from refused


class LegacyAccepting:
    """The accepting side of one handshake of a retired profile."""

    def __init__(self, transport: LegacyTransport, handshake: LegacyHandshake, raw: socket.socket, peer: str) -> None:
        self._transport, self._handshake, self._raw, self._peer = transport, handshake, raw, peer

    def advance(self) -> Wants | Secured:
        """See `Handshake`."""
        waits_for = self._handshake.advance()
        if waits_for is None:
            return self._transport.finish(self._handshake, self._peer)
        return Wants.TO_READ if waits_for == "read" else Wants.TO_WRITE

    def fileno(self) -> int:
        """See `Handshake`."""
        return self._raw.fileno()

    def give_up(self) -> socket.socket:
        """See `Handshake`."""
        return self._raw
