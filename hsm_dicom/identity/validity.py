"""Validity periods of certificates: selection, warnings and refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509

from hsm_dicom.identity.errors import CertificateExpiredError, CertificateNotYetValidError
from hsm_dicom.trust.clock import current_time

EXPIRY_WARNING = timedelta(days=30)
"""Time before its expiry at which a certificate gets a warning."""


@dataclass(frozen=True)
class ExpiryRemark:
    """A remark on the validity period of a certificate; `expired` is also True before the period begins."""

    text: str
    expired: bool


def find_expiry_remark(
    certificate: x509.Certificate, now: datetime | None = None, warning: timedelta = EXPIRY_WARNING
) -> ExpiryRemark | None:
    """Return a remark on the validity period of a certificate; None if it is valid for longer than `warning`."""
    moment = now or current_time()
    subject = f"The certificate of '{certificate.subject.rfc4514_string()}'"
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if moment < begins:
        return ExpiryRemark(f"{subject} is not valid before {begins:%Y-%m-%d %H:%M} UTC.", expired=True)
    if moment > ends:
        return ExpiryRemark(f"{subject} expired on {ends:%Y-%m-%d %H:%M} UTC.", expired=True)
    if ends - moment < warning:
        return ExpiryRemark(f"{subject} expires in {_in_words(ends - moment)}, on {ends:%Y-%m-%d}.", expired=False)
    return None


def require_current(certificate: x509.Certificate, now: datetime | None = None) -> None:
    """Raise `CertificateExpiredError` unless the certificate is valid now (or at `now`)."""
    remark = find_expiry_remark(certificate, now)
    if remark is None or not remark.expired:
        return
    is_early = certificate.not_valid_before_utc > (now or current_time())
    error = CertificateNotYetValidError if is_early else CertificateExpiredError
    raise error(f"{remark.text} Relying parties would not trust its signatures.")


def require_unexpired(certificate: x509.Certificate, now: datetime | None = None) -> None:
    """Raise `CertificateExpiredError` if the certificate has expired. One for later is accepted."""
    if certificate.not_valid_after_utc < (now or current_time()):
        require_current(certificate, now)


def choose_certificate(certificates: Sequence[x509.Certificate], now: datetime | None = None) -> x509.Certificate:
    """Choose the certificate of a key that is valid now; of several, the one that expires last.

    If none is valid now, return the one that becomes valid next; otherwise, the one that expired last.
    """
    moment = now or current_time()
    begun = [one for one in certificates if one.not_valid_before_utc <= moment]
    valid = [one for one in begun if moment <= one.not_valid_after_utc]
    coming = [one for one in certificates if one.not_valid_before_utc > moment]
    if coming and not valid:
        return min(coming, key=lambda one: one.not_valid_before_utc)
    return max(valid or begun, key=lambda one: one.not_valid_after_utc)


class CertificateState(StrEnum):
    """What becomes of a certificate beside the others of its key."""

    IN_USE = "in use"
    """hsm-dicom uses it now, or reports that no certificate of the key is valid."""
    LATER = "later"
    """Its validity period has not begun."""
    OLD = "old"
    """Another one replaces it, and it may be deleted."""


def find_states(
    certificates: Sequence[x509.Certificate], now: datetime | None = None
) -> dict[x509.Certificate, CertificateState]:
    """Return the state of each certificate of one key, as `choose_certificate` chooses among them."""
    moment = now or current_time()
    chosen = choose_certificate(certificates, moment) if certificates else None
    return {
        one: CertificateState.IN_USE
        if one == chosen
        else CertificateState.LATER
        if one.not_valid_before_utc > moment
        else CertificateState.OLD
        for one in certificates
    }


def _in_words(span: timedelta) -> str:
    return f"{span.days} days" if span.days > 1 else f"{span.total_seconds() / 3600:.0f} hours"
