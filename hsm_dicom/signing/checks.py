"""Check of a time stamp against its signature, and the event about a signature."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cryptography import x509

from hsm_dicom.arguments import kind_of
from hsm_dicom.events import SignatureMade
from hsm_dicom.signatures.creation.create import SigningReport, Timestamper
from hsm_dicom.timestamps.protocol import TimestampError
from hsm_dicom.timestamps.validation import TimestampVerdict, verify_token
from hsm_dicom.trust import CertificateValidator, TrustStore
from tokens.keys import compute_spki_sha256


def check_timestamp(token: bytes, signature: bytes) -> TimestampVerdict:
    """Check that a TimeStampToken (DER) is over the value of a signature (RFC 3161).

    Trust in its authority is checked at verification. Raises TimestampError, and TypeError for anything but bytes.
    """
    if not isinstance(token, bytes):
        raise TypeError(f"A time stamp must be the bytes of a TimeStampToken (DER), not {kind_of(token)}.")
    verdict = verify_token(token, signature, CertificateValidator(TrustStore([])))
    if verdict.problem is not None:
        raise TimestampError(f"The time stamp is not usable, and nothing was written. {verdict.text}")
    return verdict


def add_check(timestamp: Timestamper) -> Timestamper:
    """Wrap a source of time stamps to check that each time stamp is over its signature."""

    def stamp(signature: bytes) -> bytes:
        token = timestamp(signature)
        check_timestamp(token, signature)
        return token

    return stamp


def make_signature_event(report: SigningReport, certificate: x509.Certificate, identity: str) -> SignatureMade:
    """Make the event about a signature with the key of a certificate; ``identity`` is its configured name."""
    subject, spki_sha256, serial = _describe_signer(certificate)
    return SignatureMade(
        file=report.source,
        target=report.target,
        signature_uid=report.uid,
        profile=report.profile.value,
        mac_algorithm=report.mac,
        signer=subject,
        identity=identity,
        spki_sha256=spki_sha256,
        certificate_serial=serial,
    )


@lru_cache(maxsize=16)
def _describe_signer(certificate: x509.Certificate) -> tuple[str, str, str]:
    """Return the subject (RFC 4514), the fingerprint of the key, and the serial number in hexadecimal."""
    public_key: Any = certificate.public_key()  # RSA or EC: it has just signed
    return certificate.subject.rfc4514_string(), compute_spki_sha256(public_key), f"{certificate.serial_number:x}"
