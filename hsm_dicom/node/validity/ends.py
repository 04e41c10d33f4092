"""The certificates and CRLs that a node works with, and the dates on which they end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from cryptography import x509

from hsm_dicom.gateway.status import CertificateStatus
from hsm_dicom.identity import Identity
from hsm_dicom.trust import CertificateValidator
from hsm_dicom.trust.certificates import name_text
from hsm_dicom.trust.revocation.crl import crl_span


def list_certificates(
    identities: Sequence[Identity], validator: CertificateValidator | None, at: datetime
) -> tuple[CertificateStatus, ...]:
    """Return the certificates of all identities with their chains, the trust anchors, intermediates and CRLs."""
    return tuple(dict.fromkeys(_list(identities, validator, at)))


def _list(
    identities: Sequence[Identity], validator: CertificateValidator | None, at: datetime
) -> Iterator[CertificateStatus]:
    for identity in (one for each in identities for one in each.all):
        yield _describe("identity", identity.name, identity.certificate, at)
        for certificate in identity.chain:
            yield _describe("chain", identity.name, certificate, at)
    if validator is None:
        return
    for certificate in validator.store.anchors:
        yield _describe("anchor", name_text(certificate.subject), certificate, at)
    for certificate in validator.store.intermediates:
        yield _describe("intermediate", name_text(certificate.subject), certificate, at)
    for sourced in validator.store.crls:
        begins, ends = crl_span(sourced.crl)
        yield CertificateStatus(
            kind="crl",
            name=sourced.source,
            subject=name_text(sourced.crl.issuer),
            ends=ends,
            days_left=_count_days(ends, at),
            begins=begins,
        )


def _describe(kind: str, name: str, certificate: x509.Certificate, at: datetime) -> CertificateStatus:
    ends = certificate.not_valid_after_utc
    return CertificateStatus(
        kind=kind,
        name=name,
        subject=name_text(certificate.subject),
        ends=ends,
        days_left=_count_days(ends, at),
        begins=certificate.not_valid_before_utc,
    )


def _count_days(ends: datetime, at: datetime) -> int:
    """Return the whole days that are left; negative after the end."""
    return (ends - at) // timedelta(days=1)
