"""The demands of a policy against the signatures of one object: all that are not met, each with its remedy.

Only signatures over the main Data Set count. One signature must meet all demands that are asked of each (coverage,
signer, key, hash, time stamp, revocation data); of those that do, there must be as many as `signatures` says, by
different keys, and one for each profile in `require`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm_dicom.config.policy_sections import DemandsSection, Part, Requirement
from hsm_dicom.signatures.anomalies.record import Weight, has_weight
from hsm_dicom.signatures.integrity import Finding
from hsm_dicom.signatures.profiles.rules import Profile
from hsm_dicom.trust import PathCertificate, Policy
from hsm_dicom.trust.algorithms import is_key_allowed
from hsm_dicom.trust.certificates import (
    MalformedCertificateError,
    extended_key_usages,
    fingerprint,
    key_text,
    name_text,
    read_certificate,
)
from hsm_dicom.trust.policy import ANY_EXTENDED_KEY_USAGE
from hsm_dicom.validation.coverage import is_part_covered
from hsm_dicom.validation.policies.names import matches_any
from hsm_dicom.validation.policies.policy import make_trust_policy
from hsm_dicom.validation.result import SignatureVerdict, UnmetDemand, format_time


class Demand(StrEnum):
    """The codes of demands, for programs."""

    NO_VALID_SIGNATURE = "no-valid-signature"
    TOO_FEW_SIGNATURES = "too-few-signatures"
    PROFILE = "profile-not-met"
    NOT_COVERED = "not-covered"
    ISSUER = "issuer-not-listed"
    SUBJECT = "subject-not-listed"
    PIN = "pin-not-listed"
    USAGE = "extended-key-usage-not-listed"
    MAC = "mac-not-listed"
    KEY = "key-not-allowed"
    NO_TIMESTAMP = "no-timestamp"
    TIMESTAMP_AUTHORITY = "timestamp-authority-not-listed"
    REVOCATION_AGE = "revocation-data-too-old"


class _Shortcoming(NamedTuple):
    """What one signature lacks. `wanted` completes "No valid signature …", `found` is what was found instead."""

    code: Demand
    wanted: str
    found: str
    remedy: str


@dataclass(frozen=True)
class _Candidate:
    """A signature that may count, with what it lacks."""

    verdict: SignatureVerdict
    lacks: tuple[_Shortcoming, ...]

    @property
    def counts(self) -> bool:
        return self.verdict.indication.good and not self.lacks


_PROFILES = {
    Requirement.CREATOR: ("Creator", (Profile.CREATOR,)),
    Requirement.AUTHORIZATION: ("Authorization", (Profile.AUTHORIZATION,)),
    Requirement.SR: ("Structured Report", (Profile.SR, Profile.SR_VERIFICATION)),
}
_NOT_CHECKED = (Finding.BROKEN, Finding.UNCHECKABLE, Finding.NOT_OFFERED, Finding.HISTORIC)
_SIGN_AGAIN = "Have the object signed again"


def find_unmet_demands(
    signatures: Sequence[SignatureVerdict], demands: DemandsSection, now: datetime
) -> Iterator[UnmetDemand]:
    """Yield every demand that the signatures of an object do not meet. `now` is what the age of data is counted to."""
    candidates = list(_find_candidates(signatures, demands, now))
    counting = [one for one in candidates if one.counts]
    found = [*_find_missing_signature(candidates, demands), *_find_shortcomings(candidates, counting)]
    found += _find_missing_profiles(counting or candidates, demands)
    if demands.signatures > 1:
        found += _count_keys(counting, demands)
    if not found and not counting and _asks_for_a_signature(demands):
        found.append(_NONE_VALID)
    yield from found


def _asks_for_a_signature(demands: DemandsSection) -> bool:
    """Return whether anything is asked of a signature beyond what makes it valid."""
    return bool(
        demands.require
        or demands.cover
        or demands.issuers
        or demands.subjects
        or demands.pins
        or demands.timestamp_authorities
        or demands.revocation_age_days
        or demands.require_extended_key_usage
    )


_NONE_VALID = UnmetDemand(
    Demand.NO_VALID_SIGNATURE,
    "There is no valid signature over the main Data Set.",
    f"{_SIGN_AGAIN}, without --tag and --item, by a signer whom you trust.",
)


def _find_missing_signature(candidates: Sequence[_Candidate], demands: DemandsSection) -> Iterator[UnmetDemand]:
    if Requirement.ANY in demands.require and not any(one.verdict.indication.good for one in candidates):
        yield _NONE_VALID


def _find_candidates(
    signatures: Sequence[SignatureVerdict], demands: DemandsSection, now: datetime
) -> Iterator[_Candidate]:
    """Yield the signatures over the main Data Set that hold; if none of them protects the object, the others, too."""
    over_object = [one for one in signatures if not one.signature.place and one.signature.finding not in _NOT_CHECKED]
    holding = [one for one in over_object if one.protects]
    for one in holding or over_object:
        yield _Candidate(one, tuple(_find_lacks(one, demands, now)))


def _find_shortcomings(candidates: Sequence[_Candidate], counting: Sequence[_Candidate]) -> Iterator[UnmetDemand]:
    """Yield what no candidate has, or else what the one that comes nearest lacks."""
    if counting or not candidates:
        return
    everywhere = set.intersection(*({(one.code, one.wanted) for one in each.lacks} for each in candidates))
    nearest = min(candidates, key=lambda each: (not each.verdict.indication.good, len(each.lacks)))
    for lack in nearest.lacks:
        alone = (lack.code, lack.wanted) in everywhere
        which = "No valid signature" if alone else "No valid signature that meets the other demands"
        instead = _list_found(candidates, lack) if alone else lack.found
        yield UnmetDemand(lack.code, f"{which} {lack.wanted}.{f' Found: {instead}.' if instead else ''}", lack.remedy)


def _list_found(candidates: Sequence[_Candidate], lack: _Shortcoming) -> str:
    found = (one.found for each in candidates for one in each.lacks if one[:2] == lack[:2] and one.found)
    return "; ".join(dict.fromkeys(found))


def _find_missing_profiles(candidates: Sequence[_Candidate], demands: DemandsSection) -> Iterator[UnmetDemand]:
    """Yield the profiles that none of the candidates meets."""
    narrowed = _asks_for_more(demands) and any(one.counts for one in candidates)
    for requirement, (name, profiles) in _PROFILES.items():
        if requirement not in demands.require:
            continue
        if not any(set(profiles) & set(one.verdict.signature.profiles) for one in candidates):
            which = " that meets the other demands" if narrowed else ""
            yield UnmetDemand(
                Demand.PROFILE,
                f"No valid signature{which} meets the {name} profile.",
                f"{_SIGN_AGAIN}: hsm-dicom sign --profile {profiles[0].value}.",
            )


def _asks_for_more(demands: DemandsSection) -> bool:
    return _asks_for_a_signature(demands.model_copy(update={"require": demands.require & {Requirement.TIMESTAMP}}))


def _count_keys(counting: Sequence[_Candidate], demands: DemandsSection) -> Iterator[UnmetDemand]:
    keys = {_read_key(one.verdict.signature.certificate) for one in counting}
    if len(keys) < demands.signatures:
        yield UnmetDemand(
            Demand.TOO_FEW_SIGNATURES,
            f"{demands.signatures} signatures by different keys must meet the demands, and {len(keys)} "
            f"{'does' if len(keys) == 1 else 'do'}.",
            "Have the object signed by further signers: hsm-dicom sign adds a signature to those that are there.",
        )


# -- what is asked of each signature ------------------------------------------------------------------------------


def _find_lacks(one: SignatureVerdict, demands: DemandsSection, now: datetime) -> Iterator[_Shortcoming]:
    yield from _find_uncovered(one, demands)
    yield from _find_signer_lacks(one, demands)
    yield from _find_algorithm_lacks(one, demands)
    yield from _find_timestamp_lacks(one, demands)
    yield from _find_old_revocation_data(one, demands, now)


def _find_uncovered(one: SignatureVerdict, demands: DemandsSection) -> Iterator[_Shortcoming]:
    for part in sorted(demands.cover, key=list(Part).index):
        coverage = None if _may_be_of_another_object(one) else one.signature.coverage
        if coverage is None or not is_part_covered(coverage, part):
            yield _Shortcoming(
                Demand.NOT_COVERED, f"covers the {part}", "", f"{_SIGN_AGAIN} without --tag, which covers everything."
            )


def _may_be_of_another_object(one: SignatureVerdict) -> bool:
    """Return whether an anomaly takes from the list of covered elements what it says."""
    return has_weight(one.signature.anomalies, Weight.QUESTION)


def _find_signer_lacks(one: SignatureVerdict, demands: DemandsSection) -> Iterator[_Shortcoming]:
    certificate = _read(one.signature.certificate)
    path = () if one.trust is None else one.trust.path
    if demands.issuers and not any(matches_any(name, demands.issuers) for name in list_issuers(path)):
        yield _Shortcoming(
            Demand.ISSUER,
            f"is by a signer whom {join_choices(demands.issuers)} certified",
            "" if certificate is None else f"a signer certified by {name_text(certificate.issuer)}",
            "Have the object signed with a certificate of that CA, or add the CA to issuers of the policy.",
        )
    if demands.subjects and (certificate is None or not matches_any(one.signer, demands.subjects)):
        yield _Shortcoming(
            Demand.SUBJECT,
            f"is by {join_choices(demands.subjects)}",
            one.signer,
            "Have the object signed by that signer, or add the signer to subjects of the policy.",
        )
    if demands.pins and (certificate is None or demands.pins.isdisjoint(compute_pins(certificate))):
        yield _Shortcoming(
            Demand.PIN,
            "is by a certificate or key that the policy pins",
            "" if certificate is None else f"the certificate with SHA-256 {fingerprint(certificate).hex()}",
            "Find out whether the signer has a new certificate. If so, add its SHA-256 to pins of the policy.",
        )
    if certificate is not None:
        yield from _find_usage_lacks(certificate, demands)


def _find_usage_lacks(certificate: x509.Certificate, demands: DemandsSection) -> Iterator[_Shortcoming]:
    usages = extended_key_usages(certificate)
    if usages is None and not demands.require_extended_key_usage:
        return
    if usages is None or usages.isdisjoint(demands.extended_key_usages | {ANY_EXTENDED_KEY_USAGE}):
        yield _Shortcoming(
            Demand.USAGE,
            "is by a certificate for an extended key usage that the policy lists",
            "no extended key usage" if usages is None else f"the extended key usages {', '.join(sorted(usages))}",
            "Have a certificate for document signing issued for the signer, or add the usage to extended_key_usages "
            "of the policy.",
        )


def _find_algorithm_lacks(one: SignatureVerdict, demands: DemandsSection) -> Iterator[_Shortcoming]:
    term = one.signature.mac_algorithm
    allowed = demands.mac_algorithms | demands.weak_mac_algorithms
    if term not in allowed:
        yield _Shortcoming(
            Demand.MAC,
            f"has a MAC that the policy allows ({', '.join(sorted(allowed)) or 'none'})",
            term,
            f"{_SIGN_AGAIN} with one of these (hsm-dicom sign --mac), or add the algorithm to weak_mac_algorithms of "
            "the policy.",
        )
    certificate = _read(one.signature.certificate)
    if certificate is not None and not _is_key_allowed(certificate, demands):
        yield _Shortcoming(
            Demand.KEY,
            f"is by a key that the policy allows ({describe_keys(demands)})",
            key_text(certificate),
            "Have the object signed with such a key, or change key_types, minimum_rsa_bits or curves of the policy.",
        )


def _is_key_allowed(certificate: x509.Certificate, demands: DemandsSection) -> bool:
    key = certificate.public_key()
    kind = "rsa" if isinstance(key, rsa.RSAPublicKey) else "ec" if isinstance(key, _EC) else ""
    return kind in demands.key_types and is_key_allowed(key, make_trust_policy(demands).algorithms)


_EC = (ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)


def _find_timestamp_lacks(one: SignatureVerdict, demands: DemandsSection) -> Iterator[_Shortcoming]:
    if Requirement.TIMESTAMP not in demands.require and not demands.timestamp_authorities:
        return
    stamp = one.timestamp
    if stamp is None or not stamp.valid:
        yield _Shortcoming(
            Demand.NO_TIMESTAMP,
            "has a valid time stamp",
            "" if stamp is None else stamp.text.rstrip("."),
            "Have it time-stamped: hsm-dicom signatures ask-timestamp."
            if stamp is None
            else "If you trust its authority, give the CA of the authority with --tsa, or in timestamp_anchors of "
            "[trust].",
        )
    elif demands.timestamp_authorities:
        path = () if stamp.trust is None else stamp.trust.path
        names = [one.subject for one in path] or [stamp.authority or ""]
        if not any(matches_any(name, demands.timestamp_authorities) for name in names):
            yield _Shortcoming(
                Demand.TIMESTAMP_AUTHORITY,
                f"has a time stamp of {join_choices(demands.timestamp_authorities)}",
                stamp.authority or "",
                "Use that time stamping authority, or add this one to timestamp_authorities of the policy.",
            )


def _find_old_revocation_data(one: SignatureVerdict, demands: DemandsSection, now: datetime) -> Iterator[_Shortcoming]:
    if demands.revocation_age_days is None or one.trust is None:
        return
    oldest = now - timedelta(days=demands.revocation_age_days)
    old = [
        step
        for step in one.trust.path
        if not step.is_anchor and (step.revocation.issued_at is None or step.revocation.issued_at < oldest)
    ]
    if old:
        issued = old[0].revocation.issued_at
        yield _Shortcoming(
            Demand.REVOCATION_AGE,
            f"is by a signer whose revocation data was issued in the last {demands.revocation_age_days:g} days",
            f"{'none' if issued is None else f'data of {format_time(issued)}'} for {old[0].subject}",
            "Fetch a new CRL or OCSP response: give it with --crl or --ocsp or in [trust], or use --online.",
        )


# -- facts of certificates ----------------------------------------------------------------------------------------


def list_issuers(path: Sequence[PathCertificate]) -> list[str]:
    """Return the names of the CAs above the signer, from its issuer on; of an anchor that signs itself, its own."""
    above = [step.subject for step in path[1:]]
    return [path[0].issuer, *above] if path else []


def compute_pins(certificate: x509.Certificate) -> frozenset[str]:
    """Return the two values that pin a certificate: the SHA-256 of itself, and of its public key (RFC 7469)."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return frozenset({fingerprint(certificate).hex(), hashlib.sha256(key).hexdigest()})


def describe_keys(demands: DemandsSection) -> str:
    """Return the keys that a signer may have, as a list for a message."""
    kinds = []
    if "rsa" in demands.key_types:
        kinds.append(f"RSA from {demands.minimum_rsa_bits} bits")
    if "ec" in demands.key_types and demands.curves:
        kinds.append(f"EC on {', '.join(sorted(demands.curves))}")
    return "; ".join(kinds) or "none"


def join_choices(names: frozenset[str]) -> str:
    """Return names as alternatives: "'A' or 'B'"."""
    return " or ".join(f"'{name}'" for name in sorted(names))


@functools.lru_cache(maxsize=256)
def _read(certificate: bytes) -> x509.Certificate | None:
    try:
        return read_certificate(certificate, Policy.max_certificate_bytes)
    except MalformedCertificateError:
        return None


def _read_key(certificate: bytes) -> bytes:
    found = _read(certificate)
    if found is None:
        return certificate
    return found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
