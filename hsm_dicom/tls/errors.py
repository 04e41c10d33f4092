"""Errors of TLS: in settings and contexts, and in handshakes."""

from __future__ import annotations

from enum import StrEnum

from hsm_dicom.errors import DicomError
from hsm_dicom.trust import TrustVerdict


class TLSError(DicomError):
    """Base of everything that this package raises."""


class ContextError(TLSError):
    """A context cannot be made: no such profile, an identity that does not fit it, or something needed is missing."""


class LegacyRefusedError(TLSError):
    """A retired profile was asked for in a way that is not allowed."""


class FailureReason(StrEnum):
    """Why a handshake failed, for programs."""

    CERTIFICATE_REFUSED = "certificate-refused"
    NO_CERTIFICATE = "no-certificate"
    WRONG_NAME = "wrong-name"
    PROTOCOL_VERSION = "protocol-version"
    NO_COMMON_PARAMETERS = "no-common-parameters"
    NOT_TLS = "not-tls"
    REFUSED_BY_PEER = "refused-by-peer"
    OWN_KEY = "own-key"
    EXCEPTION_ENDED = "exception-ended"
    TIMED_OUT = "timed-out"
    CLOSED = "closed"
    PROTOCOL_ERROR = "protocol-error"


class HandshakeError(TLSError):
    """No secure connection came about.

    `peer` says who, as well as it is known: an address, and the subject of a certificate that was refused. `verdict`
    is the verdict on that certificate. `alert` is the peer's, by OpenSSL's name in capitals without prefix, or empty.
    The text is one sentence that names both.
    """

    def __init__(
        self,
        reason: FailureReason,
        peer: str,
        sentence: str,
        verdict: TrustVerdict | None = None,
        *,
        alert: str = "",
    ) -> None:
        super().__init__(sentence)
        self.alert = alert
        self.reason = reason
        self.peer = peer
        self.verdict = verdict
