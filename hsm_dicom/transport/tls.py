"""TLS as a `SecureTransport`: the current profiles of PS3.15, Annex B."""

from __future__ import annotations

import socket
import ssl

from hsm_dicom.tls import TLSProfile, get_tls_facts, make_handshake_error
from hsm_dicom.transport.port import ConnectionFacts, Secured, Wants
from hsm_dicom.transport.sockets import READ_SECONDS, SecuredSSLSocket


class TLSTransport:
    """TLS transport with the context of one side. `server_name` is the server name that a client expects (and SNI)."""

    name = "TLS"

    def __init__(
        self,
        context: ssl.SSLContext,
        profile: TLSProfile,
        *,
        server_name: str | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        context.sslsocket_class = SecuredSSLSocket
        self._context = context
        self._profile = profile
        self._server_name = server_name
        self._read_seconds = read_seconds

    def accept(self, connection: socket.socket, peer: str) -> TLSHandshake:
        """Begin the accepting side; see `SecureTransport`."""
        connection.setblocking(False)
        try:
            wrapped = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        except (OSError, ValueError) as error:
            raise make_handshake_error(error, peer) from error
        return TLSHandshake(self, wrapped, peer)

    def connect(self, connection: socket.socket, peer: str, seconds: float) -> Secured:
        """Connect, as `SecureTransport` defines it."""
        connection.settimeout(seconds)
        try:
            # The timeout is a deadline for the whole handshake, not for each read.
            wrapped = self._context.wrap_socket(connection, server_hostname=self._server_name)
        except (OSError, ValueError) as error:
            raise make_handshake_error(error, peer) from error
        return self.finish(wrapped)

    def finish(self, wrapped: ssl.SSLSocket) -> Secured:
        """Make the `Secured` of a finished handshake."""
        if isinstance(wrapped, SecuredSSLSocket):
            wrapped.read_seconds = self._read_seconds
        wrapped.settimeout(self._read_seconds)
        facts = get_tls_facts(wrapped, self._profile.name)
        return Secured(
            wrapped,
            ConnectionFacts(
                transport=self.name,
                profile=facts.profile,
                version=facts.version,
                suite=facts.suite,
                certificate=facts.peer,
                resumed=facts.resumed,
                group=facts.group,
            ),
        )


class TLSHandshake:
    """The accepting side of one TLS handshake."""

    def __init__(self, transport: TLSTransport, wrapped: ssl.SSLSocket, peer: str) -> None:
        self._transport = transport
        self._wrapped = wrapped
        self._peer = peer

    def advance(self) -> Wants | Secured:
        """See `Handshake`."""
        try:
            self._wrapped.do_handshake()
        except ssl.SSLWantReadError:
            return Wants.TO_READ
        except ssl.SSLWantWriteError:
            return Wants.TO_WRITE
        except (OSError, ValueError) as error:
            raise make_handshake_error(error, self._peer) from error
        return self._transport.finish(self._wrapped)

    def fileno(self) -> int:
        """See `Handshake`."""
        return self._wrapped.fileno()

    def give_up(self) -> socket.socket:
        """See `Handshake`."""
        return socket.socket(fileno=self._wrapped.detach())
