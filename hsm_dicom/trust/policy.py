"""Policies of certificate validation: purpose, allowed algorithms, and the requirements for revocation data.

The policies are frozen data, so that they can be pickled for worker processes and appear in configuration and
reports. Key sizes are in bits. The default, `CURRENT`, is what PS3.15 Annex B (RFC 8996/9325 profiles) requires
for TLS: RSA of 2048 bits or curves of 256 bits, SHA-256 or better. `ARCHIVE` is for validating old signatures.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

CURVES = frozenset(
    {
        "secp256r1",
        "secp384r1",
        "secp521r1",
        "brainpoolP256r1",
        "brainpoolP384r1",
        "brainpoolP512r1",
        "ed25519",
        "ed448",
    }
)
SHA2_AND_3 = frozenset({"sha256", "sha384", "sha512", "sha3-256", "sha3-384", "sha3-512"})

ANY_EXTENDED_KEY_USAGE = "2.5.29.37.0"
SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
TIME_STAMPING = "1.3.6.1.5.5.7.3.8"
OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"
DOCUMENT_SIGNING = "1.3.6.1.5.5.7.3.36"
MICROSOFT_DOCUMENT_SIGNING = "1.3.6.1.4.1.311.10.3.12"

EXTENDED_KEY_USAGE_NAMES = {
    ANY_EXTENDED_KEY_USAGE: "anyExtendedKeyUsage",
    SERVER_AUTH: "serverAuth",
    CLIENT_AUTH: "clientAuth",
    "1.3.6.1.5.5.7.3.3": "codeSigning",
    EMAIL_PROTECTION: "emailProtection",
    TIME_STAMPING: "timeStamping",
    OCSP_SIGNING: "OCSPSigning",
    DOCUMENT_SIGNING: "documentSigning",
    MICROSOFT_DOCUMENT_SIGNING: "documentSigning (Microsoft)",
}


class CertificatePurpose(StrEnum):
    """Purpose for which a certificate is used; `usage.py` has the key usages that each purpose requires."""

    SIGNING = "signing"
    TLS_CLIENT = "TLS client"
    TLS_SERVER = "TLS server"
    TLS_SERVER_RSA_KEY_EXCHANGE = "TLS server with RSA key exchange"
    TIME_STAMPING = "time stamping"


class RevocationPolicy(StrEnum):
    """Whether a certificate with unknown revocation status is trusted.

    A revoked certificate is never trusted; trust anchors are not checked for revocation.

    WHEN_GIVEN: as REQUIRED as soon as the trust store holds a CRL or an OCSP response, one comes with the
    message, or fetching is on; with nothing to look at, trusted with a warning. REQUIRED: never, the answer
    is indeterminate. IF_AVAILABLE: trusted with a warning, even where a CRL is at hand but out of date.
    """

    WHEN_GIVEN = "when-given"
    REQUIRED = "required"
    IF_AVAILABLE = "if-available"


@dataclass(frozen=True)
class AlgorithmPolicy:
    """Keys and hashes that a chain may use.

    Applies to the key of every certificate of the path and to the hash under every signature in it, CRLs and
    OCSP responses included; a trust anchor's own signature protects nothing and is not checked. Keys from
    `minimum_rsa_bits` up to `advised_rsa_bits`, and hashes in `tolerated_hashes`, are accepted with a
    warning. Names are those of `cryptography` (`sha256`, `secp256r1`).
    """

    minimum_rsa_bits: int = 2048
    advised_rsa_bits: int = 2048
    maximum_rsa_bits: int = 16384
    curves: frozenset[str] = CURVES
    hashes: frozenset[str] = SHA2_AND_3
    tolerated_hashes: frozenset[str] = frozenset()


CURRENT = AlgorithmPolicy()
ARCHIVE = AlgorithmPolicy(minimum_rsa_bits=1024, tolerated_hashes=frozenset({"sha224", "sha1"}))


@dataclass(frozen=True)
class Policy:
    """Settings of an officer for certificate validation.

    `signing_extended_key_usages` are the object identifiers of which one must be present where a signer's
    certificate has an extended key usage at all; PS3.15 names none, so certificates without the extension are
    always accepted. The limits bound the work that a hostile certificate can cause: `max_certificate_bytes`
    for each certificate, `max_intermediates` certificates sent along by a peer or message, `max_path_length`
    certificates from the validated one to the anchor, both included. `online_seconds` is for all fetches of one
    validation together.
    """

    algorithms: AlgorithmPolicy = CURRENT
    revocation: RevocationPolicy = RevocationPolicy.WHEN_GIVEN
    signing_extended_key_usages: frozenset[str] = frozenset(
        {DOCUMENT_SIGNING, MICROSOFT_DOCUMENT_SIGNING, EMAIL_PROTECTION}
    )
    expiry_warning: timedelta = timedelta(days=30)
    max_certificate_bytes: int = 65536
    max_intermediates: int = 32
    max_path_length: int = 10
    online_seconds: float = 10.0
    online_bytes: int = 64 * 1024 * 1024
