"""Grounds for a verdict that come from the validation of the signer's certificate."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

from hsm_dicom.trust import Caution, Policy, Reason, Trust, TrustStore, TrustVerdict
from hsm_dicom.trust.certificates import MalformedCertificateError, name_text, read_certificate
from hsm_dicom.validation.result import Cause, Ground, ValidationTime, ValidationTimeKind, format_time

CLAUSES = {
    Reason.NO_ANCHORS: "no trust anchors were given",
    Reason.NO_PATH: "no chain leads from the signer's certificate to a trust anchor",
    Reason.NOT_YET_VALID: "a certificate of the chain was not yet valid then",
    Reason.EXPIRED: "a certificate of the chain had expired by then",
    Reason.BAD_SIGNATURE: "a certificate of the chain is not signed by its issuer",
    Reason.NOT_A_CA: "a certificate of the chain was issued by a certificate that is not a CA's",
    Reason.PATH_TOO_LONG: "the chain is longer than one of its CAs allows",
    Reason.PATH_INVALID: "the chain breaks a rule of RFC 5280",
    Reason.UNKNOWN_CRITICAL_EXTENSION: "a certificate of the chain has a critical extension that is not supported",
    Reason.WEAK_HASH: "a certificate of the chain rests on a hash that the policy refuses",
    Reason.WEAK_KEY: "a key of the chain is of a kind or size that the policy refuses",
    Reason.WRONG_KEY_USAGE: "the signer's certificate is not for signing",
    Reason.WRONG_EXTENDED_KEY_USAGE: "the signer's certificate is for another use",
    Reason.REVOKED: "a certificate of the chain is revoked",
    Reason.REVOCATION_UNKNOWN: "whether a certificate of the chain is revoked is not known",
    Reason.MALFORMED: "the signer's certificate cannot be read",
    Reason.CANNOT_BE_EXAMINED: "the signer's certificate could not be examined to the end",
    Reason.TOO_COMPLEX: "the search for a chain to a trust anchor grew too large",
}
"""A clause for every reason why a certificate is not trusted."""

CAUTION_CLAUSES = {
    Caution.WEAK_HASH: "a certificate of the chain rests on a weak hash",
    Caution.SHORT_KEY: "a key of the chain is short",
    Caution.SELF_SIGNED: "the signer's certificate is self-signed, so no CA can revoke it",
    Caution.EXPIRES_SOON: "a certificate of the chain expires soon",
    Caution.REVOKED_SINCE: "a certificate of the chain was revoked after the time that the time stamp proves",
    Caution.REVOCATION_NOT_CHECKED: "revocation was not checked: no usable CRL or OCSP response",
}
"""A clause for each warning about a trusted certificate."""

_INCOMPLETE = "a certificate between the signer's and a trust anchor is missing"
_VALIDITY = (Reason.EXPIRED, Reason.NOT_YET_VALID)


def find_trust_refusal(trust: TrustVerdict, validation_time: ValidationTime) -> Ground | None:
    """Return why the signer is not trusted; None if they are, or if that is indeterminate."""
    outside = _outside_validity(trust, validation_time)
    if outside is not None:
        return outside
    if trust.trust is not Trust.UNTRUSTED or _is_undated(trust, validation_time):
        return None
    return Ground(trust.reason, CLAUSES[trust.reason], trust.text)


def find_trust_doubt(trust: TrustVerdict, validation_time: ValidationTime) -> Ground | None:
    """Return why it is indeterminate whether the signer is trusted; None if it is not."""
    if _is_undated(trust, validation_time):
        clause = f"{CLAUSES[trust.reason].replace(' then', '')}, and nothing says when it was made"
        return Ground(trust.reason, clause.replace("had expired by", "has expired"), trust.text)
    if trust.trust is not Trust.INDETERMINATE:
        return None
    incomplete = trust.reason is Reason.NO_PATH
    return Ground(trust.reason, _INCOMPLETE if incomplete else CLAUSES[trust.reason], trust.text)


def find_trust_cautions(trust: TrustVerdict, validation_time: ValidationTime, now: datetime) -> Iterator[Ground]:
    """Yield the warnings about a signer who is trusted."""
    for caution, sentences in group_cautions(trust):
        yield Ground(caution, CAUTION_CLAUSES[caution], sentences)
    expired = [one for one in trust.path if one.not_after < now]
    if expired and validation_time.kind is ValidationTimeKind.CLAIMED:
        yield Ground(
            Cause.EXPIRED_SINCE,
            "a certificate of the chain has expired since, and only the signer's clock says that it was signed before",
            f"{expired[0].subject} expired on {format_time(expired[0].not_after)}. A time stamp would prove the time.",
        )


def group_cautions(trust: TrustVerdict) -> Iterator[tuple[Caution, str]]:
    """Yield each kind of caution once, with the sentences about all certificates that it is about."""
    for caution in dict.fromkeys(warning.caution for warning in trust.warnings):
        yield caution, " ".join(warning.text for warning in trust.warnings if warning.caution is caution)


@lru_cache(maxsize=256)
def read_subject(certificate: bytes) -> str:
    """Return the subject of a certificate (DER) as RFC 4514 text; empty if the certificate cannot be read."""
    try:
        return name_text(read_certificate(certificate, Policy.max_certificate_bytes).subject)
    except MalformedCertificateError:
        return ""


@lru_cache(maxsize=256)
def find_other_certificate(certificate: bytes, store: TrustStore) -> str:
    """Return the subject of another certificate for the same key in the store; empty if there is none."""
    try:
        others = store.others_of_key(read_certificate(certificate, Policy.max_certificate_bytes))
    except MalformedCertificateError:
        return ""
    return name_text(others[0].subject) if others else ""


def _outside_validity(trust: TrustVerdict, validation_time: ValidationTime) -> Ground | None:
    """Return the ground if the signer's certificate was not valid at the validation time. It needs no trust anchor."""
    if not trust.path or validation_time.kind is ValidationTimeKind.PRESENT:
        return None
    leaf = trust.path[0]
    if leaf.not_before <= validation_time.at <= leaf.not_after:
        return None
    time = "its time stamp is" if validation_time.kind is ValidationTimeKind.PROVEN else "it claims to be"
    return Ground(
        Cause.OUTSIDE_VALIDITY,
        f"{time} from {format_time(validation_time.at)}, when the signer's certificate was not valid",
        f"The certificate of {leaf.subject} is valid from {format_time(leaf.not_before)} "
        f"until {format_time(leaf.not_after)}.",
    )


def _is_undated(trust: TrustVerdict, validation_time: ValidationTime) -> bool:
    """Whether the certificates are outside their time now, and nothing says that the signature is from now."""
    return validation_time.kind is ValidationTimeKind.PRESENT and trust.reason in _VALIDITY
