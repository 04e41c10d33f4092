"""Review of the trust data for problems that block every peer, now or soon: anchors, intermediates, CRLs.

The review finds them before a peer connects: expired anchors, CRLs that are out of date or cannot be verified, and CAs
without a CRL if the policy requires one (RFC 5280, 5 and 6.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from hsm_dicom.trust.certificates import is_ca, name_key, name_text
from hsm_dicom.trust.clock import current_time
from hsm_dicom.trust.policy import RevocationPolicy
from hsm_dicom.trust.revocation.crl import SourcedCrl, crl_problem, crl_span
from hsm_dicom.trust.validator import CertificateValidator

_PART_OF_LIFE = 4
"""A remark about the end of a CRL appears in the last quarter of its validity, since many are valid for a week."""


@dataclass(frozen=True)
class TrustRemark:
    """Remark on a problem in the trust data. `key` is the entry of `[trust]` that it concerns.

    `refuses` is True if peers are refused already; otherwise they will be, or may be. `expires` is True if a
    certificate or CRL has expired, or will soon.
    """

    key: str
    text: str
    remedy: str
    refuses: bool
    expires: bool = False


def review_trust(
    validator: CertificateValidator, now: datetime | None = None, *, warning: timedelta
) -> list[TrustRemark]:
    """Return the problems in a validator's store that block peers now, or will within `warning`. Never raises."""
    validation_time = now or current_time()
    store = validator.store
    anchors = tuple(store.anchors)
    left = any(_is_valid_at(one, validation_time) for one in anchors)
    remarks = [*_dates("anchors", "trust anchor", anchors, validation_time, warning, refuses=not left)]
    remarks += _dates("intermediates", "intermediate", store.intermediates, validation_time, warning, refuses=False)
    remarks += _leaves(anchors, store.intermediates)
    authorities = [one for one in (*anchors, *store.intermediates) if is_ca(one)]
    return [*remarks, *_revocation(validator, authorities, validation_time, warning)]


def _is_valid_at(certificate: x509.Certificate, validation_time: datetime) -> bool:
    return certificate.not_valid_before_utc <= validation_time <= certificate.not_valid_after_utc


def _dates(
    key: str,
    what: str,
    certificates: Iterable[x509.Certificate],
    validation_time: datetime,
    warning: timedelta,
    *,
    refuses: bool,
) -> Iterator[TrustRemark]:
    for certificate in certificates:
        who = f"The {what} '{name_text(certificate.subject)}'"
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        remedy = f"Have the CA's new certificate added to {key} in [trust]."
        if validation_time < begins:
            yield TrustRemark(key, f"{who} is not valid before {_day(begins)}; see the clock.", remedy, refuses)
        elif validation_time > ends:
            sentence = f"{who} expired on {_day(ends)}: no certificate that rests on it is trusted."
            yield TrustRemark(key, sentence, remedy, refuses, expires=True)
        elif ends - validation_time < warning:
            sentence = f"{who} expires in {span_in_words(ends - validation_time)}, on {_day(ends)}."
            yield TrustRemark(key, sentence, remedy, False, expires=True)


def _leaves(anchors: Iterable[x509.Certificate], intermediates: Iterable[x509.Certificate]) -> Iterator[TrustRemark]:
    """Yield a remark for each certificate that is none of a CA (RFC 5280, 4.2.1.9)."""
    for one in anchors:
        if not is_ca(one):
            yield TrustRemark(
                "anchors",
                f"The trust anchor '{name_text(one.subject)}' is not the certificate of a CA: it is trusted itself, "
                "and nothing else is trusted because of it.",
                "Name the certificate of the CA that issued it in anchors in [trust], unless you mean this one alone.",
                False,
            )
    for one in intermediates:
        if not is_ca(one):
            yield TrustRemark(
                "intermediates",
                f"The intermediate '{name_text(one.subject)}' is not the certificate of a CA, so no chain leads "
                "through it.",
                "Remove it from intermediates in [trust].",
                False,
            )


def _revocation(
    validator: CertificateValidator, authorities: list[x509.Certificate], validation_time: datetime, warning: timedelta
) -> Iterator[TrustRemark]:
    store, required = validator.store, validator.policy.revocation
    enforced = required is RevocationPolicy.REQUIRED or (
        required is RevocationPolicy.WHEN_GIVEN and store.has_revocation_data
    )
    lists: dict[int, list[SourcedCrl]] = {index: [] for index in range(len(authorities))}
    for sourced in store.crls:
        issuers = [index for index, one in enumerate(authorities) if _is_of(sourced, one)]
        for index in issuers:
            lists[index].append(sourced)
        if not issuers:
            yield TrustRemark(
                "crls",
                f"The CRL {sourced.source} cannot be verified: the certificate of the CA that issued it is neither "
                "among the anchors nor among the intermediates.",
                "Add that certificate to intermediates in [trust].",
                False,
            )
    for index, authority in enumerate(authorities):
        if lists[index]:
            yield from _of_authority(validator, authority, lists[index], validation_time, warning, enforced)
        elif enforced and not store.ocsp_responses:
            yield TrustRemark(
                "crls",
                f"There is no CRL of '{name_text(authority.subject)}': with revocation = \"{required}\", each "
                "certificate that it issued is refused.",
                "Add its CRL to crls in [trust].",
                required is RevocationPolicy.REQUIRED and not store.has_revocation_data,
            )


def _is_of(sourced: SourcedCrl, authority: x509.Certificate) -> bool:
    try:
        return name_key(sourced.crl.issuer) == name_key(authority.subject)
    except ValueError:  # an issuer's name that cannot be read
        return False


def _of_authority(
    validator: CertificateValidator,
    authority: x509.Certificate,
    lists: list[SourcedCrl],
    validation_time: datetime,
    warning: timedelta,
    enforced: bool,
) -> Iterator[TrustRemark]:
    """Yield remarks on the CRLs of one CA, unless one of them is usable beyond the warning period."""
    remarks = []
    for sourced in lists:
        remark = _of_crl(validator, authority, sourced, validation_time, warning, enforced)
        if remark is None:
            return
        remarks.append(remark)
    serving = [remark for remark in remarks if not remark.refuses]
    yield from (serving if enforced and serving else remarks)


def _of_crl(
    validator: CertificateValidator,
    authority: x509.Certificate,
    sourced: SourcedCrl,
    validation_time: datetime,
    warning: timedelta,
    enforced: bool,
) -> TrustRemark | None:
    whose = f"The CRL {sourced.source} of '{name_text(authority.subject)}'"
    consequence = "no certificate of this CA is accepted" if enforced else "revocations by this CA are not noticed"
    problem = crl_problem(sourced.crl, authority, validator.policy.algorithms)
    if problem is not None:
        remedy = "Fetch the CA's CRL again, and see that it is of this CA."
        return TrustRemark("crls", f"{whose} {problem}: {consequence}.", remedy, enforced)
    begins, ends = crl_span(sourced.crl)
    remedy = "Fetch the CA's new CRL, then reload (SIGHUP)."
    if validation_time > ends:
        sentence = f"{whose} is out of date since {_minute(ends)}: {consequence}."
        return TrustRemark("crls", sentence, remedy, enforced, expires=True)
    if ends - validation_time < min(warning, (ends - begins) / _PART_OF_LIFE):
        left = span_in_words(ends - validation_time)
        sentence = f"{whose} will be out of date in {left}, on {_minute(ends)}: {_then(enforced)}."
        return TrustRemark("crls", sentence, remedy, False, expires=True)
    return None


def _then(enforced: bool) -> str:
    return "from then on no certificate of this CA is accepted" if enforced else "later revocations will go unnoticed"


def span_in_words(span: timedelta) -> str:
    """Format a span of time in days, or in hours below two days."""
    if span.days > 1:
        return f"{span.days} days"
    hours = int(span.total_seconds() // 3600)
    return f"{hours} hours" if hours != 1 else "1 hour"


def _day(time: datetime) -> str:
    return f"{time:%Y-%m-%d}"


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
