"""Validation of a peer's certificate inside the handshake, by `hsm_dicom.trust`.

OpenSSL's own check runs first (chain, dates, host name); then `hsm_dicom.trust` validates path, dates, key usage,
strength and revocation. Both must accept. The result becomes OpenSSL's verification code, so that the peer receives the
right alert (RFC 8446, 6.2), and is kept for the error message, which names the certificate and the reason.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hsm_dicom.trust import AlgorithmPolicy, CertificatePurpose, CertificateValidator, Reason, TrustVerdict

X509_V_ERR_HOSTNAME_MISMATCH = 62
X509_V_ERR_IP_ADDRESS_MISMATCH = 64
_X509_V_ERR_APPLICATION_VERIFICATION = 50

_CODES = {
    Reason.NO_ANCHORS: 20,  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    Reason.NO_PATH: 20,
    Reason.NOT_YET_VALID: 9,  # X509_V_ERR_CERT_NOT_YET_VALID
    Reason.EXPIRED: 10,  # X509_V_ERR_CERT_HAS_EXPIRED
    Reason.BAD_SIGNATURE: 7,  # X509_V_ERR_CERT_SIGNATURE_FAILURE
    Reason.NOT_A_CA: 79,  # X509_V_ERR_INVALID_CA
    Reason.PATH_TOO_LONG: 25,  # X509_V_ERR_PATH_LENGTH_EXCEEDED
    Reason.UNKNOWN_CRITICAL_EXTENSION: 34,  # X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION
    Reason.WEAK_HASH: 68,  # X509_V_ERR_CA_MD_TOO_WEAK
    Reason.WEAK_KEY: 66,  # X509_V_ERR_EE_KEY_TOO_SMALL
    Reason.WRONG_KEY_USAGE: 26,  # X509_V_ERR_INVALID_PURPOSE
    Reason.WRONG_EXTENDED_KEY_USAGE: 26,
    Reason.REVOKED: 23,  # X509_V_ERR_CERT_REVOKED
    Reason.REVOCATION_UNKNOWN: 3,  # X509_V_ERR_UNABLE_TO_GET_CRL
}
"""The codes of OpenSSL's x509_vfy.h for the reasons of a verdict."""


@dataclass(frozen=True)
class ValidatedPeer:
    """A peer's certificate (DER), the verdict on it, and OpenSSL's code (0 is OK)."""

    certificate: bytes
    verdict: TrustVerdict
    code: int


class _LastResult(threading.local):
    value: ValidatedPeer | None = None


_last = _LastResult()


def take_validated_peer() -> ValidatedPeer | None:
    """Return and clear the result for the peer's certificate of this thread's last handshake; None without one."""
    result, _last.value = _last.value, None
    return result


def make_peer_validator(
    validator: CertificateValidator, purpose: CertificatePurpose
) -> Callable[[Sequence[bytes], int], int]:
    """Make the function for `openssl.set_peer_validator`, which refuses what OpenSSL or the validator refuses."""

    def validate(certificates: Sequence[bytes], found: int) -> int:
        _last.value = None
        verdict = validator.validate(certificates[0], purpose, intermediates=certificates[1:])
        code = found
        if not verdict.trusted:
            code = _CODES.get(verdict.reason, _X509_V_ERR_APPLICATION_VERIFICATION)
        _last.value = ValidatedPeer(certificates[0], verdict, code)
        return code

    return validate


def restrict_validator(validator: CertificateValidator, demanded: AlgorithmPolicy) -> CertificateValidator:
    """Return a validator that accepts only keys and hashes that its own policy and a profile both accept."""
    own = validator.policy.algorithms
    both = replace(
        own,
        minimum_rsa_bits=max(own.minimum_rsa_bits, demanded.minimum_rsa_bits),
        maximum_rsa_bits=min(own.maximum_rsa_bits, demanded.maximum_rsa_bits),
        curves=own.curves & demanded.curves,
        hashes=own.hashes & demanded.hashes,
        tolerated_hashes=own.tolerated_hashes & demanded.tolerated_hashes,
    )
    return CertificateValidator(validator.store, replace(validator.policy, algorithms=both))
