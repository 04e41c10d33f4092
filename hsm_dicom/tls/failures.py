"""Conversion of an `ssl.SSLError` to a `HandshakeError` with the peer and the reason.

Call these functions in the thread of the handshake, at once: details that OpenSSL does not report (the certificate
that was refused, the error of the token) are kept per thread.
"""

from __future__ import annotations

import ssl

from hsm_dicom.tls import signer, verification
from hsm_dicom.tls.errors import FailureReason, HandshakeError
from hsm_dicom.trust.certificates import subject_text
from tokens.errors import TokenError

_NOT_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "BAD_RECORD_TYPE", "UNKNOWN_PROTOCOL"}
)
_NO_CERTIFICATE = frozenset({"PEER_DID_NOT_RETURN_A_CERTIFICATE"})
_VERSION = frozenset({"UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "WRONG_SSL_VERSION", "INAPPROPRIATE_FALLBACK"})
_NOTHING_IN_COMMON = frozenset(
    {
        "NO_SHARED_CIPHER",
        "NO_SUITABLE_SIGNATURE_ALGORITHM",
        "NO_SUITABLE_KEY_SHARE",
        "NO_SUITABLE_GROUPS",
        "NO_SHARED_SIGNATURE_ALGORITHMS",
        "WRONG_CIPHER_RETURNED",
        "WRONG_SIGNATURE_TYPE",
        "WRONG_CURVE",
        "DH_KEY_TOO_SMALL",
        "BAD_ECPOINT",
    }
)
_ALERTS = {
    "HANDSHAKE_FAILURE": "no common protocol version or cipher suite, or it requires a certificate and we sent none",
    "CERTIFICATE_REQUIRED": "it requires a certificate from us",
    "NO_CERTIFICATE": "it requires a certificate from us",
    "UNKNOWN_CA": "it does not trust the CA of our certificate; have its administrator add that CA",
    "BAD_CERTIFICATE": "it does not accept our certificate",
    "UNSUPPORTED_CERTIFICATE": "our certificate is not of a kind that it accepts; see its key usage",
    "CERTIFICATE_EXPIRED": "our certificate is expired, or not yet valid, by its clock",
    "CERTIFICATE_REVOKED": "our certificate is revoked",
    "CERTIFICATE_UNKNOWN": "it does not accept our certificate",
    "ACCESS_DENIED": "it denies us access (GnuTLS sends this alert for an expired or untrusted certificate too)",
    "PROTOCOL_VERSION": "it offers no TLS version that our profile allows",
    "INSUFFICIENT_SECURITY": "it requires stronger suites or keys than we offer",
    "UNRECOGNIZED_NAME": "it does not know the host name that we asked for",
    "DECRYPT_ERROR": "it could not verify a signature or a message of the handshake",
    "ILLEGAL_PARAMETER": "it rejected a message of the handshake as invalid",
    "INTERNAL_ERROR": "it had an internal error; see its log",
}
"""The meaning of a peer's alert (RFC 8446, 6.2), by OpenSSL's name without its prefix."""

_SEE = "see its log; it may use DICOM without TLS on this port"


def make_handshake_error(error: Exception, peer: str) -> HandshakeError:
    """Make a `HandshakeError` from an exception of a handshake. `peer` is an address, or a name with an address."""
    result, key_error = verification.take_validated_peer(), signer.take_failure()
    # OpenSSL has no code for a signature that failed: its error then has no name.
    if isinstance(key_error, TokenError) and isinstance(error, ssl.SSLError) and error.reason is None:
        return HandshakeError(
            FailureReason.OWN_KEY, peer, f"The handshake with {peer} failed, because our key did not sign. {key_error}"
        )
    if isinstance(error, ssl.SSLCertVerificationError) and result is not None:
        return _make_certificate_failure(error, result, peer)
    if isinstance(error, ssl.SSLError):
        return _from_openssl(error, peer)
    if isinstance(error, TimeoutError):
        return HandshakeError(
            FailureReason.TIMED_OUT,
            peer,
            f"{peer} did not finish the TLS handshake in time; check whether it uses TLS on this port, or DICOM "
            "without TLS.",
        )
    return HandshakeError(
        FailureReason.CLOSED,
        peer,
        f"{peer} closed the connection during the TLS handshake ({_words(error)}); {_SEE}.",
    )


def find_late_refusal(error: ssl.SSLError, peer: str) -> HandshakeError | None:
    """Make the error for an alert that came after our handshake; a TLS 1.3 client receives it with its first read."""
    return _alert(error, peer)


def _make_certificate_failure(
    error: ssl.SSLCertVerificationError, result: verification.ValidatedPeer, peer: str
) -> HandshakeError:
    who = f"{peer}, '{subject_text(result.certificate)}'"
    if result.verdict.trusted and result.code in (
        verification.X509_V_ERR_HOSTNAME_MISMATCH,
        verification.X509_V_ERR_IP_ADDRESS_MISMATCH,
    ):
        return HandshakeError(
            FailureReason.WRONG_NAME,
            who,
            f"{who} is refused: its certificate is for another name ({_words(error)}). Connect by a name that the "
            "certificate holds, or pin its key.",
            result.verdict,
        )
    why = _words(error) if result.verdict.trusted else result.verdict.text
    return HandshakeError(FailureReason.CERTIFICATE_REFUSED, who, f"{who} is refused: {why}", result.verdict)


def _from_openssl(error: ssl.SSLError, peer: str) -> HandshakeError:
    reason = error.reason or ""
    alert = _alert(error, peer)
    if alert is not None:
        return alert
    if reason in _NOT_TLS:
        return HandshakeError(
            FailureReason.NOT_TLS,
            peer,
            f"{peer} does not use TLS on this port: its answer is no TLS record. It may use DICOM without TLS; enable "
            "TLS there, or use its TLS port.",
        )
    if reason in _NO_CERTIFICATE:
        return HandshakeError(
            FailureReason.NO_CERTIFICATE,
            peer,
            f"{peer} sent no certificate, and mutual authentication needs one; give it one, or set "
            'authentication = "one-way" for this listener.',
        )
    if reason in _VERSION:
        return HandshakeError(
            FailureReason.PROTOCOL_VERSION,
            peer,
            f"{peer} offers no TLS version that the profile allows; enable TLS 1.2 or 1.3 there.",
        )
    if reason in _NOTHING_IN_COMMON:
        return HandshakeError(
            FailureReason.NO_COMMON_PARAMETERS,
            peer,
            f"{peer} offers no cipher suite, group or signature algorithm that the profile allows, or none that fits "
            f"the key ({_words(error)}).",
        )
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return HandshakeError(
            FailureReason.CLOSED, peer, f"{peer} closed the connection during the TLS handshake; {_SEE}."
        )
    return HandshakeError(
        FailureReason.PROTOCOL_ERROR, peer, f"The TLS handshake with {peer} failed ({_words(error)})."
    )


def _alert(error: ssl.SSLError, peer: str) -> HandshakeError | None:
    name = alert_in(error)
    return make_peer_refusal(name, peer) if name else None


def alert_in(error: ssl.SSLError) -> str:
    """Return the name of the peer's alert in an error (RFC 8446, 6), in capitals; empty if there is none."""
    return (error.reason or "").partition("_ALERT_")[2]


def alert_meaning(error: ssl.SSLError) -> str | None:
    """Return the meaning of the peer's alert in an error, as a clause; None if there is none."""
    name = alert_in(error)
    return _meaning(name) if name else None


def make_peer_refusal(name: str, peer: str) -> HandshakeError:
    """Make the error for an alert of the peer; `name` is that of RFC 8446, 6, in capitals."""
    return HandshakeError(FailureReason.REFUSED_BY_PEER, peer, f"{peer} refused us: {_meaning(name)}.", alert=name)


def _meaning(name: str) -> str:
    return _ALERTS.get(name, f"its alert says '{name.lower().replace('_', ' ')}'")


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
