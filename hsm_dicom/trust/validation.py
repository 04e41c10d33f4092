"""One certificate validation as a pure function; the caller reads the clock.

The steps: find a path to an anchor, RFC 5280 6.1 along it (`chain.py`), key usage (`usage.py`), strength of keys
and hashes (`algorithms.py`), revocation of every certificate below the anchor (`revocation`). A path ends at
its first problem; of several paths, the one that passed most steps gives the answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from hsm_dicom.trust.algorithms import algorithm_problem, algorithm_warnings, self_signed_warning
from hsm_dicom.trust.certificates import (
    fingerprint,
    is_self_issued,
    key_text,
    name_text,
    signature_hash_name,
)
from hsm_dicom.trust.chain import chain_problem
from hsm_dicom.trust.paths import CertificatePath, PathSearch, Pool
from hsm_dicom.trust.policy import CertificatePurpose, Policy, RevocationPolicy
from hsm_dicom.trust.result import (
    Caution,
    PathCertificate,
    Reason,
    Revocation,
    RevocationStatus,
    Trust,
    TrustProblem,
    TrustVerdict,
    TrustWarning,
)
from hsm_dicom.trust.revocation.crl import SourcedCrl, crl_evidence
from hsm_dicom.trust.revocation.decision import Evidence, Unusable, decide, instants
from hsm_dicom.trust.revocation.ocsp import SourcedOcspResponse, ocsp_evidence
from hsm_dicom.trust.store import TrustStore
from hsm_dicom.trust.usage import usage_problem

_NOT_CHECKED = RevocationStatus(Revocation.NOT_CHECKED, "Its revocation was not looked at.")
_ANCHOR = RevocationStatus(Revocation.NOT_CHECKED, "A trust anchor: trusted until it is taken off the list.")
_INDEFINITE = frozenset({Reason.NO_ANCHORS, Reason.REVOCATION_UNKNOWN})


@dataclass(frozen=True)
class Question:
    """Input of a validation.

    `live`: the validation time is the present; `time_proven`: it is proven by a time stamp. `revocation_is_sought`:
    revocation data was fetched, so that missing data is not accepted; `unfetched` has the data that could not be
    fetched, by fingerprint of the certificate.
    """

    certificate: x509.Certificate
    purpose: CertificatePurpose
    validation_time: datetime
    live: bool
    time_proven: bool
    intermediates: tuple[x509.Certificate, ...] = ()
    crls: tuple[SourcedCrl, ...] = ()
    ocsp_responses: tuple[SourcedOcspResponse, ...] = ()
    revocation_is_sought: bool = False
    unfetched: tuple[tuple[bytes, Unusable], ...] = ()


@dataclass(frozen=True)
class Answer:
    """The verdict, its path, and the instants at which the verdict may change."""

    verdict: TrustVerdict
    path: CertificatePath
    changes: frozenset[datetime]


@dataclass(frozen=True)
class _Outcome:
    """Result of one path: `stage` counts the checks that it passed."""

    stage: int
    finding: TrustProblem | None
    path: CertificatePath
    statuses: tuple[RevocationStatus, ...] = ()

    @property
    def is_final(self) -> bool:
        """True if no other path could change the answer: trusted, or revoked by its own issuer."""
        return self.finding is None or any(s.state is Revocation.REVOKED for s in self.statuses[:1])


def answer(question: Question, store: TrustStore, policy: Policy) -> Answer:
    """Validate a certificate. Never raises for anything that a certificate, CRL or OCSP response may contain."""
    changes: set[datetime] = set()
    search = PathSearch(store.anchors, (store.intermediates, Pool(question.intermediates)), policy.max_path_length)
    best: _Outcome | None = None
    for path in _paths(question, store, search):
        outcome = _examine(path, question, store, policy, changes)
        if best is None or outcome.stage > best.stage:
            best = outcome
        if outcome.is_final:
            best = outcome
            break
    if best is None:
        best = _Outcome(0, _no_path(search, store), search.longest or (question.certificate,))
    return Answer(_verdict(best, question, store, policy, changes), best.path, frozenset(changes))


def _paths(question: Question, store: TrustStore, search: PathSearch) -> Iterator[CertificatePath]:
    yield from search.paths(question.certificate)
    if store.anchors.holds(question.certificate):
        # Last, so that the revocation by an available CA still counts for a certificate that is itself an anchor.
        yield (question.certificate,)


def _examine(
    path: CertificatePath, question: Question, store: TrustStore, policy: Policy, changes: set[datetime]
) -> _Outcome:
    for certificate in path:
        changes |= {certificate.not_valid_before_utc, certificate.not_valid_after_utc}
    finding = chain_problem(path, question.validation_time)
    if finding is not None:
        return _Outcome(0, finding, path)
    finding = usage_problem(path, question.purpose, policy) or algorithm_problem(path, policy.algorithms)
    if finding is not None:
        return _Outcome(1, finding, path)
    statuses = tuple(_statuses(path, question, store, policy, changes))
    finding = _revocation_problem(path, statuses, question, store, policy)
    return _Outcome(2 if finding else 3, finding, path, statuses)


def _statuses(
    path: CertificatePath, question: Question, store: TrustStore, policy: Policy, changes: set[datetime]
) -> Iterator[RevocationStatus]:
    for certificate, issuer in itertools.pairwise(path):
        found = list(_evidence(certificate, issuer, question, store, policy))
        changes |= set(instants(found))
        yield decide(
            certificate,
            found,
            purpose=question.purpose,
            validation_time=question.validation_time,
            time_proven=question.time_proven,
        )
    yield _ANCHOR


def _evidence(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    question: Question,
    store: TrustStore,
    policy: Policy,
) -> Iterator[Evidence | Unusable]:
    crls = (*store.crls, *question.crls)
    for crl in crls:
        found = crl_evidence(crl, certificate, issuer, policy.algorithms)
        if found is not None:
            yield found
    for response in (*store.ocsp_responses, *question.ocsp_responses):
        yield from ocsp_evidence(response, certificate, issuer, crls, policy.algorithms)
    yield from (missing for identity, missing in question.unfetched if identity == fingerprint(certificate))


def _revocation_problem(
    path: CertificatePath,
    statuses: tuple[RevocationStatus, ...],
    question: Question,
    store: TrustStore,
    policy: Policy,
) -> TrustProblem | None:
    for certificate, status in zip(path, statuses, strict=True):
        if status.state is Revocation.REVOKED:
            return TrustProblem(Reason.REVOKED, f"{name_text(certificate.subject)}: {status.text}")
    if not _revocation_is_required(question, store, policy):
        return None
    for certificate, status in zip(path, statuses, strict=True):
        if status.state is Revocation.UNKNOWN:
            return TrustProblem(Reason.REVOCATION_UNKNOWN, f"{name_text(certificate.subject)}: {status.text}")
    return None


def _revocation_is_required(question: Question, store: TrustStore, policy: Policy) -> bool:
    if policy.revocation is RevocationPolicy.WHEN_GIVEN:
        given = store.has_revocation_data or question.crls or question.ocsp_responses
        return bool(given or question.revocation_is_sought)
    return policy.revocation is RevocationPolicy.REQUIRED


def _no_path(search: PathSearch, store: TrustStore) -> TrustProblem:
    if not store.has_anchors:
        return TrustProblem(Reason.NO_ANCHORS, "No trust anchors were given, so nothing can be trusted.")
    if search.exhausted:
        return TrustProblem(
            Reason.TOO_COMPLEX,
            "No path to a trust anchor was found within the number of steps allowed for it.",
        )
    last = search.longest[-1]
    if is_self_issued(last):
        which = "It" if len(search.longest) == 1 else f"Its chain ends in {name_text(last.subject)}, which"
        return TrustProblem(Reason.NO_PATH, f"{which} is self-signed and not among the trust anchors.")
    return TrustProblem(
        Reason.NO_PATH,
        f"The certificate of its issuer {name_text(last.issuer)} is neither among the trust anchors nor "
        "among the intermediates given; add it where it belongs.",
        is_indefinite=not store.anchors.has_name(last.issuer),
    )


def _verdict(
    outcome: _Outcome, question: Question, store: TrustStore, policy: Policy, changes: set[datetime]
) -> TrustVerdict:
    finding, path = outcome.finding, outcome.path
    leaf = name_text(path[0].subject)
    statuses = outcome.statuses or tuple(_NOT_CHECKED for _ in path)
    warnings: tuple[TrustWarning, ...] = ()
    if finding is None:
        trust, reason = Trust.TRUSTED, Reason.TRUSTED
        sentence = f"{leaf} is trusted for {question.purpose}: {_describe_path(path)}."
        warnings = tuple(_warnings(path, statuses, question, policy, changes))
    else:
        is_indefinite = finding.is_indefinite or finding.reason in _INDEFINITE
        trust = Trust.INDETERMINATE if is_indefinite else Trust.UNTRUSTED
        reason = finding.reason
        verb = "cannot be validated" if trust is Trust.INDETERMINATE else "is not trusted"
        sentence = f"{leaf} {verb} for {question.purpose}. {finding.text}"
    return TrustVerdict(
        trust=trust,
        reason=reason,
        sentences=(sentence, *(w.text for w in warnings)),
        purpose=question.purpose,
        validation_time=question.validation_time,
        time_proven=question.time_proven,
        path=tuple(_describe(c, s, store) for c, s in zip(path, statuses, strict=True)),
        warnings=warnings,
    )


def _describe_path(path: CertificatePath) -> str:
    if len(path) == 1:
        return "it is a trust anchor itself"
    *between, anchor = (name_text(c.subject) for c in path[1:])
    through = f" through {' and '.join(between)}" if between else ""
    return f"its chain leads{through} to the trust anchor {anchor}"


def _warnings(
    path: CertificatePath,
    statuses: tuple[RevocationStatus, ...],
    question: Question,
    policy: Policy,
    changes: set[datetime],
) -> Iterator[TrustWarning]:
    yield from algorithm_warnings(path, policy.algorithms)
    if len(path) == 1 and (self_signed := self_signed_warning(path[0])):
        yield self_signed
    for certificate, status in zip(path, statuses, strict=True):
        if status.state is Revocation.REVOKED_SINCE:
            yield TrustWarning(Caution.REVOKED_SINCE, f"{name_text(certificate.subject)}: {status.text}")
        elif status.state is Revocation.UNKNOWN:
            yield TrustWarning(Caution.REVOCATION_NOT_CHECKED, f"{name_text(certificate.subject)}: {status.text}")
    if question.live:
        for certificate in path:
            soon = certificate.not_valid_after_utc - policy.expiry_warning
            changes.add(soon)
            if question.validation_time >= soon:
                yield TrustWarning(
                    Caution.EXPIRES_SOON,
                    f"The certificate of {name_text(certificate.subject)} expires on "
                    f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC; renew it before.",
                )


def _describe(certificate: x509.Certificate, status: RevocationStatus, store: TrustStore) -> PathCertificate:
    return PathCertificate(
        subject=name_text(certificate.subject),
        issuer=name_text(certificate.issuer),
        serial=certificate.serial_number,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        key=key_text(certificate),
        signature_hash=signature_hash_name(certificate),
        sha256=fingerprint(certificate).hex(),
        is_anchor=store.anchors.holds(certificate),
        revocation=status,
    )
