"""Turn the results of the integrity check into a verdict: who signed, when, whether they may sign, what is covered.

    store = TrustStore.from_files(["ca.pem"], crls=["ca.crl"])
    validator = Validator.from_stores(store, policy=load_policy(Path("policy.toml")))

    verdict = validator.validate(check_integrity("signed.dcm"))
    for signature in verdict.signatures:
        print(signature.text)           # valid, but 2 private elements are not covered: (0029,1001), (0029,1002)
    sys.exit(worst_exit_status([verdict.outcome]))

A signature is `invalid` as soon as one thing speaks against it, else `cannot tell` as soon as one thing is missing,
else `questionable` as soon as the object may not be what was signed, or identity, picture, geometry or content are not
covered, else `valid`, with or without a "but". The indications and codes are explained in docs/explanation/verdicts.md.

Validation depends only on its arguments, the clock (unless `now` is given) and what `online` fetches. A `Validator` may
be shared between threads and can be pickled, and so can its verdicts. It caches its answers about certificates: use one
validator for a whole run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Self

from hsm_dicom.dataset.dicom_file import FileState
from hsm_dicom.dataset.errors import DicomFileError
from hsm_dicom.events import SignatureValidated, emit
from hsm_dicom.signatures.anomalies.record import Weight
from hsm_dicom.signatures.anomalies.remarks import describe_other_certificate
from hsm_dicom.signatures.integrity import Finding, VerifiedFile, VerifiedSignature
from hsm_dicom.trust import CertificatePurpose, CertificateValidator, TrustStore
from hsm_dicom.trust.clock import current_time
from hsm_dicom.validation.coverage import find_coverage_cautions, find_coverage_questions
from hsm_dicom.validation.policies.demands import find_unmet_demands
from hsm_dicom.validation.policies.policy import DemandsSection, VerificationPolicy, make_trust_policy
from hsm_dicom.validation.result import (
    Cause,
    Ground,
    Indication,
    Outcome,
    SignatureVerdict,
    ValidationTime,
    ValidationTimeKind,
    Verdict,
    worst_exit_status,
)
from hsm_dicom.validation.signing_time import (
    find_time_cautions,
    find_time_doubts,
    find_validation_time,
    validate_timestamp,
)
from hsm_dicom.validation.trust import (
    find_other_certificate,
    find_trust_cautions,
    find_trust_doubt,
    find_trust_refusal,
    read_subject,
)

__all__ = [
    "Cause",
    "Ground",
    "Indication",
    "Outcome",
    "SignatureVerdict",
    "ValidationTime",
    "ValidationTimeKind",
    "Validator",
    "Verdict",
    "emit_events",
    "make_unreadable_verdict",
    "worst_exit_status",
]

_FINDINGS = {
    Finding.BROKEN: (Indication.INVALID, Cause.ALTERED),
    Finding.UNCHECKABLE: (Indication.INDETERMINATE, Cause.INCOMPLETE),
    Finding.NOT_OFFERED: (Indication.INDETERMINATE, Cause.HASH_NOT_OFFERED),
    Finding.HISTORIC: (Indication.HISTORIC, Cause.HISTORIC),
}


@dataclass(frozen=True)
class Validator:
    """Validates signatures: with trust anchors for signers, others for time stamping authorities, and a policy.

    Made by `from_stores`, which gives both validators what the policy asks of certificates.
    """

    signers: CertificateValidator
    timestamp_authorities: CertificateValidator
    policy: DemandsSection = field(default_factory=VerificationPolicy)

    @classmethod
    def from_stores(
        cls,
        store: TrustStore | None = None,
        *,
        timestamp_authorities: TrustStore | None = None,
        policy: DemandsSection | None = None,
        online: bool = False,
    ) -> Self:
        """Return a validator with these stores of trust anchors.

        Without a store for signers no signature is valid. Without one for time stamping authorities no time is proven
        by a time stamp. `online` fetches missing issuers, OCSP responses and CRLs. Of a policy with rules, only its
        own keys are used: see `PolicyValidator` for rules.
        """
        policy = policy or VerificationPolicy()
        trust = make_trust_policy(policy)
        return cls(
            CertificateValidator(store or TrustStore([]), trust, online=online),
            CertificateValidator(timestamp_authorities or TrustStore([]), trust, online=online),
            policy,
        )

    @property
    def store(self) -> TrustStore:
        """The trust anchors of signers, with intermediates and revocation data."""
        return self.signers.store

    @property
    def timestamp_store(self) -> TrustStore:
        """The trust anchors of time stamping authorities."""
        return self.timestamp_authorities.store

    def validate(self, file: VerifiedFile, *, now: datetime | None = None) -> Verdict:
        """Validate a file and all its signatures. Never raises for what the file contains."""
        now = now or current_time()
        signatures = tuple(self.validate_signature(signature, now=now) for signature in file.signatures)
        return Verdict(
            name=file.name,
            validated_at=now,
            identity=file.identity,
            transfer_syntax=file.transfer_syntax,
            signatures=signatures,
            unmet=tuple(find_unmet_demands(signatures, self.policy, now)),
            is_exempt=self.policy.unsigned == "accept"
            and all(one.indication is Indication.HISTORIC for one in signatures),
            resume_key="" if file.state is None else self.compute_resume_key(file.state),
        )

    def compute_resume_key(self, state: FileState) -> str:
        """Return the resume key of a verdict on a file in this state.

        It differs for another state, other trust anchors and another policy.
        """
        return hashlib.sha256(self.digest + repr(state).encode()).hexdigest()

    @cached_property
    def digest(self) -> bytes:
        """The SHA-256 of its trust anchors, revocation data and policy."""
        policy = sorted(
            (name, sorted(map(str, value)) if isinstance(value, frozenset) else str(value))
            for name, value in self.policy
            if name in DemandsSection.model_fields
        )
        settings = repr((policy, self.signers.online)).encode()
        return b"".join(
            (self.signers.store.digest, self.timestamp_authorities.store.digest, hashlib.sha256(settings).digest())
        )

    def validate_signature(self, signature: VerifiedSignature, *, now: datetime | None = None) -> SignatureVerdict:
        """Validate one signature."""
        now = now or current_time()
        signer = read_subject(signature.certificate)
        if signature.finding in _FINDINGS:
            indication, cause = _FINDINGS[signature.finding]
            return SignatureVerdict(indication, (Ground(cause, _clause(signature.reason)),), signature, signer)
        stamp = validate_timestamp(signature, self.timestamp_authorities)
        validation_time = find_validation_time(signature, stamp, now)
        trust = self.signers.validate(
            signature.certificate,
            CertificatePurpose.SIGNING,
            validation_time=None if validation_time.kind is ValidationTimeKind.PRESENT else validation_time.at,
            time_proven=validation_time.kind is ValidationTimeKind.PROVEN,
        )
        tolerance = timedelta(seconds=self.policy.clock_tolerance)
        against = [*self._find_refused_mac(signature), *_present(find_trust_refusal(trust, validation_time))]
        doubts = [
            *_anomalies(signature, Weight.DOUBT),
            *find_time_doubts(validation_time, now, tolerance),
            *_present(find_trust_doubt(trust, validation_time)),
        ]
        questions = [*_anomalies(signature, Weight.QUESTION), *find_coverage_questions(signature)]
        cautions = [
            *_anomalies(signature, Weight.REMARK),
            *self._other_certificate(signature),
            *find_coverage_cautions(signature),
            *self._weak_mac(signature),
            *find_time_cautions(signature, stamp, validation_time, tolerance),
            *(find_trust_cautions(trust, validation_time, now) if trust.trusted else ()),
        ]
        indication, grounds, lesser = _weigh(against, doubts, questions, cautions)
        kept, others = _drop_repeated(grounds), _drop_repeated(lesser)
        return SignatureVerdict(indication, kept, signature, signer, validation_time, trust, stamp, others)

    def _other_certificate(self, signature: VerifiedSignature) -> Iterator[Ground]:
        subject = find_other_certificate(signature.certificate, self.signers.store)
        if subject:
            remark = describe_other_certificate(f"the certificate of {subject}, which was given, is for the same key")
            yield Ground(remark.code, remark.clause, remark.detail)

    def _find_refused_mac(self, signature: VerifiedSignature) -> Iterator[Ground]:
        term = signature.mac_algorithm
        if term not in self.policy.mac_algorithms | self.policy.weak_mac_algorithms:
            yield Ground(Cause.MAC_REFUSED, f"its MAC is {term}, which the policy refuses")

    def _weak_mac(self, signature: VerifiedSignature) -> Iterator[Ground]:
        term = signature.mac_algorithm
        if term in self.policy.weak_mac_algorithms - self.policy.mac_algorithms:
            yield Ground(
                Cause.MAC_WEAK,
                f"its MAC is {term}, which is weak",
                "Somebody with much computing power may have found other content with the same hash.",
            )


def make_unreadable_verdict(name: str, error: Exception, *, now: datetime | None = None) -> Verdict:
    """Return the verdict on a file that could not be read, so that a report leaves none out."""
    problem = error.reason if isinstance(error, DicomFileError) else str(error) or type(error).__name__
    return Verdict(name=name, validated_at=now or current_time(), problem=problem)


def emit_events(verdict: Verdict) -> None:
    """Emit an event with the verdict on each signature."""
    for one in verdict.signatures:
        emit(
            SignatureValidated(
                file=verdict.name,
                sop_instance_uid=verdict.identity.sop_instance_uid,
                signature_uid=one.signature.uid,
                verdict=one.indication.code,
                reason=one.text,
                signer=one.signer,
            )
        )


def _anomalies(signature: VerifiedSignature, weight: Weight) -> Iterator[Ground]:
    """Yield the anomalies of one weight as grounds."""
    for anomaly in signature.anomalies:
        if anomaly.weight is weight:
            yield Ground(anomaly.code, anomaly.clause, anomaly.detail)


def _weigh(
    against: list[Ground], doubts: list[Ground], questions: list[Ground], cautions: list[Ground]
) -> tuple[Indication, list[Ground], list[Ground]]:
    """Return the indication, the grounds of the highest rank, and the lower ones that keep it from being valid."""
    if against:
        return Indication.INVALID, against, [*doubts, *questions]
    if doubts:
        return Indication.INDETERMINATE, doubts, questions
    if questions:
        return Indication.QUESTIONABLE, questions, []
    return (Indication.VALID_BUT if cautions else Indication.VALID), cautions, []


def _drop_repeated(grounds: list[Ground]) -> tuple[Ground, ...]:
    return tuple({(ground.code, ground.clause): ground for ground in grounds}.values())


def _present(ground: Ground | None) -> tuple[Ground, ...]:
    return () if ground is None else (ground,)


def _clause(sentence: str) -> str:
    """Return a sentence as a clause: in lower case, unless an abbreviation or a tag begins it."""
    head = sentence[:1].lower() if sentence[1:2].islower() or sentence[1:2] == " " else sentence[:1]
    return (head + sentence[1:]).rstrip(".")
