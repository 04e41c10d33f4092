"""Verify objects: the verdict on one, or on many files, from trust anchors and a policy."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterable
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from cryptography import x509

from hsm_dicom.arguments import kind_of, path_text, require_bool, require_count, require_stop
from hsm_dicom.dataset.inputs import ObjectInput
from hsm_dicom.parallel import worker_pool
from hsm_dicom.signatures.batch import check_files
from hsm_dicom.signatures.integrity import check_integrity
from hsm_dicom.trust import Sourced, TrustStore
from hsm_dicom.validation.policies.policy import VerificationPolicy, load_policy
from hsm_dicom.validation.policies.validator import PolicyValidator
from hsm_dicom.validation.result import Verdict
from hsm_dicom.validation.validator import emit_events, make_unreadable_verdict

StrPath: TypeAlias = str | os.PathLike[str]
Trust: TypeAlias = TrustStore | x509.Certificate | StrPath | Iterable[x509.Certificate | StrPath] | None
"""Trust anchors: CA certificates, files or folders of them, or a store, which also has CRLs and OCSP responses."""

_TRUST = "a TrustStore, an x509.Certificate, the path of a file or folder of certificates, a list of these, or None"


def verify(
    source: ObjectInput,
    *,
    trust: Trust = None,
    policy: VerificationPolicy | StrPath | None = None,
    timestamp_trust: Trust = None,
    online: bool = False,
    now: datetime | None = None,
    calling_ae_title: str = "",
) -> Verdict:
    """Return the verdict on a DICOM object: who signed it, whether they are trusted, and what is covered.

        verdict = hsm_dicom.verify("signed.dcm", trust="ca.pem")
        if verdict.valid: ...
        for signature in verdict.signatures:
            print(signature.text)

    ``source`` is a path, the bytes of a DICOM file, a binary file or a pydicom Dataset, which pydicom encodes again
    (see `hsm_dicom.dataset.inputs`); a Data Set without File Meta Information is read if it reads in one way only.
    ``trust`` names the trust anchors of signers, ``timestamp_trust`` those of time stamping authorities: a
    `TrustStore`, an x509.Certificate, a path of a file or a folder, or several of these. With None
    no signer is trusted, and signatures are indeterminate; the operating system's store is never used. ``policy`` is a
    `Policy`, or the path of its TOML file; None has the defaults. ``online`` fetches missing issuers, CRLs and OCSP
    responses. ``now`` is the validation time for signatures without a time, aware of its time zone.
    ``calling_ae_title`` is that of who sent the object, for rules of the policy that ask for it.

    Each signature is an event `SignatureValidated`. To verify many objects, use `verify_files`, or a
    `hsm_dicom.validation.Validator`, which caches its answers about certificates. Raises TypeError and ValueError for
    arguments that are not as described, and hsm_dicom.Error: DicomFileError for an object that cannot be read,
    TrustFileError and PolicyError.
    """
    validator = build_validator(trust, policy, timestamp_trust, online=online)
    verdict = validator.validate(check_integrity(source), now=_aware(now), calling_ae_title=_text(calling_ae_title))
    emit_events(verdict)
    return verdict


def verify_files(
    paths: Iterable[StrPath],
    *,
    trust: Trust = None,
    policy: VerificationPolicy | StrPath | None = None,
    timestamp_trust: Trust = None,
    online: bool = False,
    now: datetime | None = None,
    calling_ae_title: str = "",
    jobs: int = 1,
    stop: threading.Event | None = None,
) -> Generator[Verdict]:
    """Verify files, and yield the verdict on each as it comes; a file that cannot be read has one with a `problem`.

        for verdict in hsm_dicom.verify_files(Path("signed").glob("*.dcm"), trust="ca.pem", jobs=4):
            print(verdict.name, verdict.text)

    ``jobs`` is the number of processes that read and hash (1: a thread of this process). After ``stop`` is set, no
    further file is begun. The other arguments are those of `verify`. Raises TypeError, ValueError, TrustFileError and
    PolicyError at once.
    """
    if isinstance(paths, str | bytes | os.PathLike) or not isinstance(paths, Iterable):
        raise TypeError(f"paths must be a list of paths, not {kind_of(paths)}; for one object, call verify.")
    require_count("jobs", jobs)
    require_stop(stop)
    names = [path_text("Each of paths", path) for path in paths]
    validator = build_validator(trust, policy, timestamp_trust, online=online)
    return _verify(names, validator, _aware(now), _text(calling_ae_title), jobs, stop)


def _verify(
    names: list[str],
    validator: PolicyValidator,
    now: datetime | None,
    calling_ae_title: str,
    jobs: int,
    stop: threading.Event | None,
) -> Generator[Verdict]:
    with worker_pool(jobs) as executor:
        for outcome in check_files(names, executor=executor, stop=stop):
            if outcome.result is None:
                verdict = make_unreadable_verdict(outcome.path, outcome.error or RuntimeError("no result"), now=now)
            else:
                verdict = validator.validate(outcome.result, now=now, calling_ae_title=calling_ae_title)
            emit_events(verdict)
            yield verdict


def build_validator(
    trust: Trust,
    policy: VerificationPolicy | StrPath | None = None,
    timestamp_trust: Trust = None,
    *,
    online: bool = False,
) -> PolicyValidator:
    """Return a validator for the arguments of `verify`. Raises TypeError for an argument of another type."""
    require_bool("online", online)
    return PolicyValidator.from_stores(
        _policy(policy),
        build_store(trust, "trust"),
        timestamp_authorities=build_store(timestamp_trust, "timestamp_trust"),
        online=online,
    )


def build_store(trust: object, name: str = "trust") -> TrustStore:
    """Return a store with the given trust anchors. Raises TypeError for an argument of another type."""
    if trust is None:
        return TrustStore([])
    if isinstance(trust, TrustStore):
        return trust
    several: Iterable[object] = [trust]
    if isinstance(trust, Iterable) and not isinstance(trust, str | bytes):
        several = trust
    anchors: list[Sourced | x509.Certificate] = []
    for one in several:
        if isinstance(one, x509.Certificate):
            anchors.append(one)
        elif isinstance(one, str) and one.lstrip().startswith("-----BEGIN "):
            raise TypeError(f"{name} must be {_TRUST}, not the content of a PEM file.")
        elif isinstance(one, str | os.PathLike):
            anchors += TrustStore.from_files([Path(path_text(name, one))]).sourced_anchors
        else:
            raise TypeError(f"{name} must be {_TRUST}, not {kind_of(one)}.")
    return TrustStore(anchors)


def _policy(policy: object) -> VerificationPolicy:
    if policy is None:
        return VerificationPolicy()
    if isinstance(policy, VerificationPolicy):
        return policy
    if isinstance(policy, str | os.PathLike):
        return load_policy(Path(path_text("policy", policy)))
    raise TypeError(f"policy must be a Policy, the path of a policy file, or None, not {kind_of(policy)}.")


def _text(title: object) -> str:
    if not isinstance(title, str):
        raise TypeError(f"calling_ae_title must be a text, not {kind_of(title)}.")
    return title


def _aware(now: object) -> datetime | None:
    if now is None:
        return None
    if not isinstance(now, datetime):
        raise TypeError(f"now must be a datetime, not {kind_of(now)}.")
    if now.tzinfo is None:
        raise ValueError("now must be aware of its time zone, such as datetime.now(UTC).")
    return now
