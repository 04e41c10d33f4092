"""Validate objects against a policy: choose the rule for each object, and list every demand that is not met.

validator = PolicyValidator.from_stores(policy, TrustStore.from_files(["ca.pem"]), name="archive")
result = validator.validate_file("in.dcm", calling_ae_title="CT1")
if not result.is_met:
    for demand in result.unmet:
        print(demand.code, demand.text, demand.remedy)
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Self

from cryptography import x509

from hsm_dicom.arguments import path_text
from hsm_dicom.dataset.dicom_file import FileState
from hsm_dicom.dataset.errors import DicomFileError
from hsm_dicom.dataset.octets.source import Content
from hsm_dicom.signatures.integrity import VerifiedFile, check_integrity
from hsm_dicom.trust import CertificateValidator, Policy, TrustStore
from hsm_dicom.trust.clock import current_time
from hsm_dicom.validation.policies.policy import (
    DemandsSection,
    Requirement,
    VerificationPolicy,
    make_trust_policy,
)
from hsm_dicom.validation.policies.unmet import find_all_unmet
from hsm_dicom.validation.result import Outcome, UnmetDemand, Verdict
from hsm_dicom.validation.validator import Validator, make_unreadable_verdict

NO_RULE = UnmetDemand(
    "no-rule",
    "No rule of the policy is for this object, and the policy refuses such objects.",
    'Add a rule for its modality, SOP Class or calling AE title, or write otherwise = "accept" into the policy.',
)


@dataclass(frozen=True)
class PolicyVerdict:
    """The answer of a policy on one object: the verdict, and every demand that is not met, in order of weight.

    `unmet` is empty exactly if `is_met`. Besides the policy's own demands, it has the reasons why signatures are not
    valid, and that an object is unsigned or cannot be read.
    """

    verdict: Verdict
    unmet: tuple[UnmetDemand, ...]

    @property
    def is_met(self) -> bool:
        """Whether the object meets the policy."""
        return self.verdict.outcome in (Outcome.GOOD, Outcome.EXEMPT)

    @property
    def text(self) -> str:
        """Why the policy is not met, in sentences; empty if it is met."""
        return " ".join(one.text for one in self.unmet)

    def __bool__(self) -> bool:
        raise TypeError("A policy verdict is neither true nor false: use its attribute is_met.")


@dataclass(frozen=True)
class PolicyValidator:
    """Validates objects against one policy. Threads may share it; use one for many objects, since it caches answers.

    `rules` has a validator for each effective rule of the policy. `name` is the policy's name in the configuration,
    empty for a policy of a file or of a program. A named policy requires a valid signature over the object, whatever
    its other demands are.
    """

    policy: VerificationPolicy
    rules: tuple[Validator, ...]
    fallback: Validator
    name: str = ""

    @classmethod
    def from_stores(
        cls,
        policy: VerificationPolicy | None = None,
        store: TrustStore | None = None,
        *,
        timestamp_authorities: TrustStore | None = None,
        online: bool = False,
        name: str = "",
    ) -> Self:
        """Return a validator with these stores of trust anchors; see `Validator.from_stores`."""
        policy = policy or VerificationPolicy()
        signers, authorities = store or TrustStore([]), timestamp_authorities or TrustStore([])
        made: dict[Policy, tuple[CertificateValidator, CertificateValidator]] = {}

        def make(demands: DemandsSection) -> Validator:
            trust = make_trust_policy(demands)
            if trust not in made:
                made[trust] = (
                    CertificateValidator(signers, trust, online=online),
                    CertificateValidator(authorities, trust, online=online),
                )
            return Validator(*made[trust], demands)

        rules = (_require_signature(rule.demands) if name else rule.demands for rule in policy.effective_rules)
        return cls(policy, tuple(make(demands) for demands in rules), make(policy), name)

    @property
    def store(self) -> TrustStore:
        """The trust anchors of signers, with intermediates and revocation data."""
        return self.fallback.store

    @property
    def timestamp_store(self) -> TrustStore:
        """The trust anchors of time stamping authorities."""
        return self.fallback.timestamp_store

    def with_intermediates(self, certificates: Sequence[x509.Certificate]) -> Self:
        """Return a validator of the same policy and trust, with more certificates that help to build a chain."""
        return type(self).from_stores(
            self.policy,
            self.store.with_intermediates(certificates),
            timestamp_authorities=self.timestamp_store.with_intermediates(certificates),
            online=self.fallback.signers.online,
            name=self.name,
        )

    def validate(self, file: VerifiedFile, *, calling_ae_title: str = "", now: datetime | None = None) -> Verdict:
        """Validate a file and all its signatures. Never raises for what the file contains."""
        now = now or current_time()
        chosen = self.policy.choose_rule(file.identity, calling_ae_title)
        if chosen is None:
            verdict = self.fallback.validate(file, now=now)
            accepted = self.policy.otherwise == "accept"
            verdict = replace(verdict, unmet=() if accepted else (NO_RULE,), is_exempt=accepted)
        else:
            verdict = self.rules[chosen].validate(file, now=now)
            verdict = replace(verdict, rule=self.policy.effective_rules[chosen].name)
        if verdict.outcome is Outcome.EXEMPT:
            verdict = replace(verdict, unmet=())  # nothing was asked of it
        key = "" if file.state is None else self.compute_resume_key(file.state, calling_ae_title)
        return replace(verdict, policy=self.name, resume_key=key)

    def validate_file(
        self, path: str | os.PathLike[str] | Content, *, calling_ae_title: str = "", now: datetime | None = None
    ) -> PolicyVerdict:
        """Check the signatures of a file, and return the answer of the policy. Never raises for what the file contains.

        `calling_ae_title` is that of the association on which the object came, for rules that ask for it. Each
        signature is an event only if the caller emits it (`emit_events`). Raises OSError if the file cannot be opened.
        """
        name = path.name if isinstance(path, Content) else path_text("path", path)
        try:
            found = check_integrity(path if isinstance(path, Content) else Path(name))
        except DicomFileError as error:
            verdict = replace(make_unreadable_verdict(name, error, now=now), policy=self.name)
        else:
            verdict = self.validate(found, calling_ae_title=calling_ae_title, now=now)
        return PolicyVerdict(verdict, find_all_unmet(verdict))

    def compute_resume_key(self, state: FileState, calling_ae_title: str = "") -> str:
        """Return the resume key of a verdict on a file in this state.

        It differs for another state, other trust anchors and another policy.
        """
        return hashlib.sha256(self._digest + repr((state, calling_ae_title)).encode()).hexdigest()

    @cached_property
    def _digest(self) -> bytes:
        return hashlib.sha256(b"".join(self._list_digests())).digest()

    def _list_digests(self) -> Iterator[bytes]:
        yield repr((self.name, self.policy.otherwise)).encode()
        for rule, validator in zip(self.policy.effective_rules, self.rules, strict=True):
            conditions = sorted((key, sorted(values or ()), values is None) for key, values in rule.when)
            yield repr((rule.name, conditions)).encode()
            yield validator.digest


def _require_signature(demands: DemandsSection) -> DemandsSection:
    return demands.model_copy(update={"require": demands.require | {Requirement.ANY}})
