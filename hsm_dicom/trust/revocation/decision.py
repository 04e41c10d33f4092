"""Decision on the revocation of one certificate at a validation time, from the evidence of CRLs and OCSP responses.

`crl.py` and `ocsp.py` turn authentic data into `Evidence`, dated by its issuer; `decide` combines it. The rules:

- A revocation takes effect at the earlier of the revocation date and the invalidity date that the CA states (RFC 5280
  5.3.2). If that is not after the validation time, the certificate is revoked, however old the data.
- Revoked after the validation time: if a time stamp proves the validation time, the certificate counts as good as
  of then and the verdict says so; even for a key compromise, since the CA's dates are the only ones known.
  Where the validation time is only claimed, anyone who holds the key now can claim any time, so the certificate is
  refused.
- A time-stamping certificate proves times itself: one revoked later stays good only for the reasons that RFC
  3161 section 4 allows (no compromise): unspecified, affiliationChanged, superseded, cessationOfOperation,
  stated by the CA.
- Good needs data that covers the validation time: issued before it and not out of date then, or issued after it
  while the certificate was still valid (a CRL drops certificates after they expire, unless it says that it
  keeps them).
- A hold counts unless fresher data, not newer than the validation time, shows it lifted.
- Everything else is unknown, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509

from hsm_dicom.trust.policy import CertificatePurpose
from hsm_dicom.trust.result import Revocation, RevocationStatus

_HOLD = "certificateHold"
_WITHOUT_COMPROMISE = frozenset({"unspecified", "affiliationChanged", "superseded", "cessationOfOperation"})

_LIFE_WITHOUT_END = timedelta(minutes=30)
"""Validity of data without a next update, which means that newer data is always available (RFC 6960 2.4)."""


@dataclass(frozen=True)
class Revoked:
    """Revocation of a certificate: its date, the invalidity date, and the reason (RFC 5280 5.3.1)."""

    at: datetime
    invalid_since: datetime | None
    reason: str | None

    @property
    def effective(self) -> datetime:
        """The earlier of the two dates."""
        return self.at if self.invalid_since is None else min(self.at, self.invalid_since)


@dataclass(frozen=True)
class Evidence:
    """Evidence of one authentic CRL or OCSP response about one certificate.

    `complete` is False if the data can prove a revocation but not its absence (a delta, a list of some reasons).
    `kept_from` is the date since which expired certificates stay on the list, if the issuer states it.
    """

    source: str
    issued: datetime
    until: datetime | None
    revoked: Revoked | None
    complete: bool = True
    kept_from: datetime | None = None

    @property
    def end(self) -> datetime:
        """The end of the validity of the data."""
        if self.until is not None:
            return self.until
        return self.issued + min(_LIFE_WITHOUT_END, datetime.max.replace(tzinfo=UTC) - self.issued)


@dataclass(frozen=True)
class Unusable:
    """Data about the certificate that proves nothing, and the reason (completes "SOURCE ...")."""

    source: str
    why: str


def decide(
    certificate: x509.Certificate,
    found: Iterable[Evidence | Unusable],
    *,
    purpose: CertificatePurpose,
    validation_time: datetime,
    time_proven: bool,
) -> RevocationStatus:
    """Return the revocation status of the certificate at the validation time; the module docstring has the rules."""
    found = list(found)
    evidence = [e for e in found if isinstance(e, Evidence)]
    revocations = [e for e in evidence if e.revoked is not None and not _is_hold_lifted(e, evidence, validation_time)]
    if revocations:
        return _decide_revoked(revocations, purpose=purpose, validation_time=validation_time, time_proven=time_proven)
    speaking = [e for e in evidence if e.complete and e.revoked is None and _covers(e, certificate, validation_time)]
    if speaking:
        freshest = max(speaking, key=lambda e: e.issued)
        return RevocationStatus(
            Revocation.GOOD,
            f"Not revoked, says {freshest.source} of {freshest.issued:%Y-%m-%d %H:%M:%S} UTC.",
            freshest.source,
            issued_at=freshest.issued,
        )
    return RevocationStatus(Revocation.UNKNOWN, _why_unknown(certificate, found, validation_time))


def instants(found: Iterable[Evidence | Unusable]) -> Iterable[datetime]:
    """Yield the instants at which the result of `decide` may change, except those of the certificate's validity."""
    for item in found:
        if isinstance(item, Evidence):
            yield item.issued
            yield item.end
            if item.revoked is not None:
                yield item.revoked.effective


def _is_hold_lifted(hold: Evidence, evidence: list[Evidence], validation_time: datetime) -> bool:
    return (
        hold.revoked is not None
        and hold.revoked.reason == _HOLD
        and any(e.complete and e.revoked is None and hold.issued < e.issued <= validation_time for e in evidence)
    )


def _decide_revoked(
    revocations: list[Evidence], *, purpose: CertificatePurpose, validation_time: datetime, time_proven: bool
) -> RevocationStatus:
    issued, source, revoked = min(
        ((e.issued, e.source, e.revoked) for e in revocations if e.revoked is not None),
        key=lambda found: found[2].effective,
    )
    why = revoked.reason or "no reason given"
    revocation = f"revoked as of {revoked.effective:%Y-%m-%d %H:%M:%S} UTC ({why}), says {source}"
    excused = time_proven and (purpose is not CertificatePurpose.TIME_STAMPING or revoked.reason in _WITHOUT_COMPROMISE)
    if revoked.effective <= validation_time:
        state, sentence = Revocation.REVOKED, f"It was {revocation}."
    elif excused:
        state, sentence = Revocation.REVOKED_SINCE, f"It was good at the proven time and later {revocation}."
    elif time_proven:
        state = Revocation.REVOKED
        sentence = f"It was {revocation}; a time-stamping key revoked for such a reason vouches for no time at all."
    else:
        state = Revocation.REVOKED
        sentence = f"It was {revocation}; that the use was earlier is only claimed; a time stamp would prove it."
    return RevocationStatus(state, sentence, source, revoked.effective, revoked.reason, issued)


def _covers(evidence: Evidence, certificate: x509.Certificate, validation_time: datetime) -> bool:
    if evidence.issued <= validation_time:
        return validation_time <= evidence.end
    return evidence.issued <= certificate.not_valid_after_utc or (
        evidence.kept_from is not None and evidence.kept_from <= certificate.not_valid_after_utc
    )


def _why_unknown(certificate: x509.Certificate, found: list[Evidence | Unusable], validation_time: datetime) -> str:
    if not found:
        return "The revocation status is unknown: no CRL or OCSP response of its issuer is available."
    reasons = [_why_not(item, certificate, validation_time) for item in found[:4]]
    return f"The revocation status is unknown: {'; '.join(reasons)}."


def _why_not(item: Evidence | Unusable, certificate: x509.Certificate, validation_time: datetime) -> str:
    if isinstance(item, Unusable):
        return f"{item.source} {item.why}"
    if not item.complete:
        return f"{item.source} does not cover every reason for a revocation"
    if item.issued > validation_time:
        return (
            f"{item.source} was issued after the certificate had expired "
            f"({certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC) and may no longer list it"
        )
    return f"{item.source} is out of date (it spoke until {item.end:%Y-%m-%d %H:%M:%S} UTC)"
