"""Handshakes under a retired profile: the RSA operation on the token, the peer's chain validated by `hsm_dicom.trust`.

A context belongs to one exemption, which has the profile, the reason and the last day. Handshakes are refused after
the exemption has ended, even if it ends while the context is in use.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from hsm_dicom.arguments import choose
from hsm_dicom.identity import Identity
from hsm_dicom.tls import hello
from hsm_dicom.tls.contexts import AuthenticationMode
from hsm_dicom.tls.errors import ContextError, FailureReason, HandshakeError, LegacyRefusedError
from hsm_dicom.tls.facts import PeerCertificate, TLSFacts, peer_certificate
from hsm_dicom.tls.failures import make_peer_refusal
from hsm_dicom.tls.legacy._tlslite import (
    BAD_CERTIFICATE,
    X509,
    BaseTLSException,
    TLSAbruptCloseError,
    TLSLocalAlert,
    TLSRemoteAlert,
    X509CertChain,
)
from hsm_dicom.tls.legacy.connection import LegacyConnection, handshake_settings
from hsm_dicom.tls.legacy.keys import make_decrypter, make_server_signer, make_signer
from hsm_dicom.tls.legacy.profiles import VERSION_NAMES, KeyExchange, LegacyProfile, get_profile
from hsm_dicom.tls.legacy.sockets import LegacySocket, alert_name
from hsm_dicom.tls.settings import LegacyExemption, today
from hsm_dicom.tls.suites import SUITES
from hsm_dicom.trust import CertificatePurpose, CertificateValidator
from hsm_dicom.trust.certificates import MalformedCertificateError, read_certificate
from tokens.errors import TokenError

Today = Callable[[], date]


class LegacyContext:
    """One side's part in a retired profile. Safe to share between threads."""

    def __init__(
        self,
        exemption: LegacyExemption,
        identity: Identity | None,
        validator: CertificateValidator | None,
        *,
        server_side: bool,
        authentication: AuthenticationMode | str = AuthenticationMode.MUTUAL,
        now: Today = today,
    ) -> None:
        """Raise `LegacyRefusedError` if the exemption has ended, or the identity is also for another use.

        With RSA key exchange a server's key must decrypt and not sign; any other key must sign and not decrypt.
        `validator` validates the peer; with one-way authentication a server needs none. Raises `ContextError` if
        no peer could be trusted.
        """
        authentication = choose(AuthenticationMode, authentication, "authentication")
        exemption.require_valid(now())
        self.exemption = exemption
        self.profile: LegacyProfile = get_profile(exemption.profile)
        self._now = now
        self._server_side = server_side
        self._asks = server_side and authentication is AuthenticationMode.MUTUAL
        self._chain = _chain(identity)
        if server_side:
            if identity is None:
                raise ContextError("A TLS server needs an identity; give one.")
            decrypts = self.profile.key_exchange is KeyExchange.RSA
            self._key: Any = make_decrypter(identity) if decrypts else make_server_signer(identity)
        elif identity is not None:
            self._key = make_signer(identity)
        elif authentication is AuthenticationMode.MUTUAL:
            raise ContextError("Mutual authentication needs an identity; give one, or choose one-way authentication.")
        else:
            self._key = None
        if (self._asks or not server_side) and (validator is None or not validator.store.has_anchors):
            raise ContextError(
                "No peer could be trusted: there are no trust anchors. Add the certificate of the peers' CA."
            )
        self._validator = validator
        bits = validator.policy.algorithms.minimum_rsa_bits if validator else 1024
        self._settings = handshake_settings(self.profile, min(bits, 1024), exemption.dh_bits, server_side=server_side)

    def begin(self, raw: socket.socket, peer: str, server_name: str | None = None) -> LegacyHandshake:
        """Begin a handshake on a connected socket, which must not block from now on. Raises `LegacyRefusedError`."""
        self.exemption.require_valid(self._now())
        raw.setblocking(False)
        connection = LegacyConnection(raw, self.profile, self.exemption.dh_bits)
        if self._server_side:
            steps = connection.handshakeServerAsync(
                certChain=self._chain, privateKey=self._key, reqCert=self._asks, settings=self._settings
            )
        else:
            steps = connection.handshakeClientCert(
                certChain=self._chain,
                privateKey=self._key,
                settings=self._settings,
                serverName=hello.server_name(server_name) if server_name else None,
                async_=True,
            )
        return LegacyHandshake(self, connection, raw, steps, peer)

    def validate_peer(self, connection: LegacyConnection, peer: str) -> PeerCertificate | None:
        """Validate the peer's certificate and return it; None if a client was not asked. Raises `HandshakeError`."""
        session = connection.session
        chain = session.clientCertChain if self._server_side else session.serverCertChain
        shown = [bytes(one.writeBytes()) for one in chain.x509List] if chain else []
        if not shown:
            if self._server_side and not self._asks:
                return None
            raise HandshakeError(
                FailureReason.NO_CERTIFICATE,
                peer,
                f"{peer} sent no certificate, and mutual authentication needs one; give it one, or set "
                'authentication = "one-way".',
            )
        if self._validator is None:
            raise ContextError("The context has no validator for the peer's certificate.")
        verdict = self._validator.validate(shown[0], self._purpose, intermediates=shown[1:])
        try:
            certificate = peer_certificate(read_certificate(shown[0], self._validator.policy.max_certificate_bytes))
        except MalformedCertificateError as error:
            raise HandshakeError(
                FailureReason.CERTIFICATE_REFUSED, peer, f"{peer} is refused: {verdict.text}", verdict
            ) from error
        if not verdict.trusted:
            who = f"{peer}, '{certificate.subject}'"
            raise HandshakeError(FailureReason.CERTIFICATE_REFUSED, who, f"{who} is refused: {verdict.text}", verdict)
        return certificate

    @property
    def _purpose(self) -> CertificatePurpose:
        """The use of the peer's key in this handshake."""
        if self._server_side:
            return CertificatePurpose.TLS_CLIENT
        decrypted = self.profile.key_exchange is KeyExchange.RSA
        return CertificatePurpose.TLS_SERVER_RSA_KEY_EXCHANGE if decrypted else CertificatePurpose.TLS_SERVER


class LegacyHandshake:
    """One handshake, in steps. `facts` and `socket` are available when it is done."""

    def __init__(
        self, context: LegacyContext, connection: LegacyConnection, raw: socket.socket, steps: Iterator[Any], peer: str
    ) -> None:
        self._context, self._connection, self._raw = context, connection, raw
        self._steps, self._peer = steps, peer
        self.facts: TLSFacts | None = None

    def advance(self) -> str | None:
        """Continue as far as possible; return "read" or "write" if it waits for the socket, None when it is done.

        Raises `HandshakeError`.
        """
        try:
            waits_for = next(self._steps, None)
        except Exception as error:  # tlslite-ng's parser on network data: many classes, few documented
            raise self._make_failure(error) from error
        if waits_for is not None:
            return "write" if waits_for else "read"
        try:
            certificate = self._context.validate_peer(self._connection, self._peer)
        except HandshakeError:
            self._refuse()
            raise
        self.facts = TLSFacts(
            profile=self._context.profile.name,
            version=VERSION_NAMES.get(self._connection.version, "unknown"),
            suite=SUITES[self._connection.suite_code].name,
            peer=certificate,
            resumed=bool(self._connection.resumed),
            key_exchange_bits=self._connection.dh_bits,
        )
        return None

    def socket(self) -> LegacySocket:
        """Return the connection, once the handshake is finished."""
        return LegacySocket(self._connection, self._raw)

    def _refuse(self) -> None:
        """Send the peer an alert that its certificate is refused, if that is possible at once."""
        with contextlib.suppress(Exception):
            self._connection.send_alert(BAD_CERTIFICATE)

    def _make_failure(self, error: Exception) -> HandshakeError:
        peer = self._peer
        if isinstance(error, TokenError):
            return HandshakeError(
                FailureReason.OWN_KEY, peer, f"The handshake with {peer} failed, because our key did not work. {error}"
            )
        if isinstance(error, LegacyRefusedError):
            return HandshakeError(
                FailureReason.NO_COMMON_PARAMETERS, peer, f"The handshake with {peer} failed: {error}"
            )
        if isinstance(error, TLSRemoteAlert):
            return make_peer_refusal(alert_name(error), peer)
        if isinstance(error, TLSLocalAlert):
            return self._make_refusal(error)
        if isinstance(error, TLSAbruptCloseError | ConnectionError):
            return HandshakeError(
                FailureReason.CLOSED, peer, f"{peer} closed the connection during the handshake; its log may say why."
            )
        words = _words(error)
        return HandshakeError(
            FailureReason.PROTOCOL_ERROR, peer, f"The handshake with {peer} under {self._profile} failed ({words})."
        )

    def _make_refusal(self, error: TLSLocalAlert) -> HandshakeError:
        name, peer = alert_name(error), self._peer
        if name in ("PROTOCOL_VERSION", "HANDSHAKE_FAILURE"):
            reason = (
                FailureReason.PROTOCOL_VERSION if name == "PROTOCOL_VERSION" else FailureReason.NO_COMMON_PARAMETERS
            )
            return HandshakeError(
                reason,
                peer,
                f"{peer} has no version or no cipher suite in common with the retired profile {self._profile}; if it "
                "can do better, use a current profile.",
            )
        return HandshakeError(
            FailureReason.PROTOCOL_ERROR,
            peer,
            f"The handshake with {peer} under {self._profile} failed ({name.lower().replace('_', ' ')}).",
        )

    @property
    def _profile(self) -> str:
        return self._context.profile.name


def _chain(identity: Identity | None) -> X509CertChain | None:
    if identity is None:
        return None
    links = []
    for certificate in (identity.certificate, *identity.chain):
        link = X509()
        link.parseBinary(bytearray(certificate.public_bytes(Encoding.DER)))
        links.append(link)
    return X509CertChain(links)


def _words(error: Exception) -> str:
    if isinstance(error, BaseTLSException | ssl.SSLError):
        return type(error).__name__
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
