"""The certificates, CRLs and exceptions that a node works with, and the dates on which they end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

from cryptography import x509

from hsm_dicom.gateway.status import CertificateStatus, EmergencyStatus, ExceptionStatus
from hsm_dicom.identity import Identity
from hsm_dicom.network.settings import ListenerSettings, Peer
from hsm_dicom.node.plan import ListenerPlan, PeerPlan, RoutePlan
from hsm_dicom.trust import CertificateValidator
from hsm_dicom.trust.certificates import name_text
from hsm_dicom.trust.revocation.crl import crl_span


def list_certificates(
    identities: Sequence[Identity],
    validator: CertificateValidator | None,
    at: datetime,
    timestamp_anchors: Sequence[x509.Certificate] = (),
) -> tuple[CertificateStatus, ...]:
    """Return the certificates of all identities with their chains, the trust anchors, intermediates and CRLs.

    `timestamp_anchors` are the anchors of time stamping authorities.
    """
    authorities = (_describe("timestamp-anchor", name_text(one.subject), one, at) for one in timestamp_anchors)
    return tuple(dict.fromkeys((*_list(identities, validator, at), *authorities)))


def list_exceptions(
    endpoints: Iterable[ListenerPlan | PeerPlan | RoutePlan], emergencies: Mapping[str, EmergencyStatus]
) -> tuple[ExceptionStatus, ...]:
    """Return the retired profiles that listeners and peers may use, and the emergency settings, by route."""
    plans = list(endpoints)
    retired = list_retired_profiles(
        [one.settings for one in plans if isinstance(one, ListenerPlan)],
        [one.peer for one in plans if isinstance(one, PeerPlan)],
    )
    settings = (
        ExceptionStatus(kind="emergency", name=f"routes.{route}", ends=_end_of(setting.until))
        for route, setting in emergencies.items()
    )
    return tuple(dict.fromkeys((*retired, *settings)))


def list_retired_profiles(listeners: Iterable[ListenerSettings], peers: Iterable[Peer]) -> tuple[ExceptionStatus, ...]:
    """Return the retired profiles that listeners and peers may use."""
    tables = [(f"peers.{one.name}", one.legacy) for one in peers]
    tables += [(f"listeners.{one.name}", one.legacy) for one in listeners]
    return tuple(
        ExceptionStatus(kind="retired-profile", name=name, ends=_end_of(legacy.until))
        for name, legacy in tables
        if legacy is not None
    )


def _end_of(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time.min, UTC)


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
