"""Sign many files on any ``concurrent.futures`` executor; the key stays in this process.

    with ProcessPoolExecutor(2) as executor:
        for outcome in sign_jobs(jobs, key, request, executor=executor):
            print(outcome.job.source, outcome.error or outcome.report.uid)

The executor reads, hashes and writes. It receives plans and signatures, but never PINs or keys. Outcomes are yielded
as they are ready, including those of files that fail. The number of files in progress is limited.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from cryptography import x509

from hsm_dicom.dataset.rewrite import StagedFile, publish
from hsm_dicom.events import emit
from hsm_dicom.identity import require_current
from hsm_dicom.parallel import Halt, chunks, run_in_parallel
from hsm_dicom.signatures.creation.create import (
    Plan,
    PrivateKey,
    SigningReport,
    Timestamper,
    prepare,
    require_matching_key,
    sign_digest,
    stage,
)
from hsm_dicom.signatures.creation.repair import explain_repair
from hsm_dicom.signatures.creation.request import SigningRequest
from hsm_dicom.signatures.errors import ResumeConflictError
from hsm_dicom.signing.checks import add_check, make_signature_event
from hsm_dicom.signing.resume import find_earlier_signature
from tokens.errors import TokenError, fresh_copy


@dataclass(frozen=True)
class SigningJob:
    """One file to sign; ``target`` None signs it in place."""

    source: str
    target: str | None = None


@dataclass(frozen=True)
class SigningOutcome:
    """Outcome of a job: a report, the signature of an earlier run, or an error as ``sign`` raises it."""

    job: SigningJob
    report: SigningReport | None = None
    error: Exception | None = None
    earlier: str | None = None
    """UID of the signature that an earlier run made for this job (only with ``resume``)."""


@dataclass(frozen=True)
class SignedBefore:
    """UID of the signature that an earlier run made for a job."""

    uid: str


Signed = tuple[Plan, bytes, bytes | None]
"""A plan, the signature over its digest, and the time stamp over the signature."""

Prepared = Plan | SignedBefore | Exception
Finished = Signed | SignedBefore | Exception


def sign_jobs(
    jobs: Iterable[SigningJob],
    key: PrivateKey,
    request: SigningRequest,
    *,
    executor: Executor,
    sessions: int = 2,
    timestamp: Timestamper | None = None,
    overwrite: bool = False,
    resume: bool = False,
    stop: threading.Event | None = None,
    identity: str = "",
) -> Generator[SigningOutcome]:
    """Sign the jobs, with at most ``sessions`` signatures at once, in threads of this process.

    With ``resume``, jobs that an earlier run completed are skipped (their outcomes have ``earlier``). Any other file at
    the target fails with ResumeConflictError, unless ``overwrite`` allows replacing it.

    After ``stop`` is set, no further signature is requested and no further file is begun. Files that are being written
    are finished, and their outcomes are yielded. Closing the generator also stops the work, but loses those outcomes.

    Each file that is written emits the event `SignatureMade`, with the name of the ``identity``. If a time stamp is not
    over its signature, its file fails.

    Raises KeyMismatchError at once if key and certificate do not match, and CertificateExpiredError if the certificate
    is not valid now. If the token fails, raises its first TokenError after the outcomes of all signed files.

    Start an executor of processes before opening a token, or use ``spawn``, so that no process inherits the token's
    login.
    """
    require_matching_key(key, request)
    certificate = x509.load_der_x509_certificate(request.certificate_der)
    require_current(certificate)
    subject = certificate.subject.rfc4514_string()
    stamp = None if timestamp is None else add_check(timestamp)
    checks = _Checks(resume, timestamped=timestamp is not None, overwrite=overwrite)
    halt = Halt(stop)
    with ThreadPoolExecutor(sessions, "signing") as signers:

        def one_signature(plan: Prepared) -> Finished:
            if not isinstance(plan, Plan):
                return plan
            if halt.is_wanted():
                return _Stopped()
            try:
                signature = sign_digest(key, plan)
                return plan, signature, None if stamp is None else stamp(signature)
            except TokenError as error:
                halt.error = halt.error or error
                return _Stopped()
            except Exception as error:
                return error

        def one_task(chunk: list[SigningJob]) -> list[SigningOutcome]:
            try:
                plans = executor.submit(_prepare_all, chunk, request, checks).result()
                signed = list(signers.map(one_signature, plans))
                if halt.is_abandoned():
                    return []
                outcomes = executor.submit(_finish_all, chunk, signed, overwrite).result()
            except Exception as error:  # of the executor: a dead worker, a lost cluster
                return [SigningOutcome(job, error=error) for job in chunk]
            for outcome in outcomes:
                if outcome.report is not None:
                    emit(make_signature_event(outcome.report, signer=subject, identity=identity))
            return outcomes

        yield from run_in_parallel(one_task, chunks(jobs, lambda job: job.source), 2 * sessions + 2, halt)
    if halt.error is not None:
        raise fresh_copy(halt.error)


class _Stopped(Exception):
    """Placeholder for a signature that was not requested because the run stopped; never reported."""


@dataclass(frozen=True)
class _Checks:
    """Checks before a file is prepared."""

    resume: bool
    timestamped: bool
    overwrite: bool


def _prepare_all(jobs: list[SigningJob], request: SigningRequest, checks: _Checks) -> list[Prepared]:
    return [_prepare_one(job, request, checks) for job in jobs]


def _prepare_one(job: SigningJob, request: SigningRequest, checks: _Checks) -> Prepared:
    """Return a plan or an error, so that one failed file does not fail the others of its task."""
    try:
        if checks.resume and (uid := _earlier_signature(job, request, checks)) is not None:
            return SignedBefore(uid)
        return prepare(job.source, request)
    except Exception as error:
        return error if request.repair else explain_repair(error, job.source)


def _earlier_signature(job: SigningJob, request: SigningRequest, checks: _Checks) -> str | None:
    try:
        return find_earlier_signature(job.source, job.target, request, timestamped=checks.timestamped)
    except ResumeConflictError:
        if checks.overwrite and job.target is not None:
            return None
        raise


def _finish_all(jobs: list[SigningJob], signed: list[Finished], overwrite: bool) -> list[SigningOutcome]:
    """Write all files of a task, then flush and rename them together, with one wait for the disk."""
    outcomes = []
    ready: list[tuple[SigningJob, StagedFile, SigningReport]] = []
    with ExitStack() as stack:
        for job, result in zip(jobs, signed, strict=True):
            if isinstance(result, _Stopped):
                continue
            if isinstance(result, Exception):
                outcomes.append(SigningOutcome(job, error=result))
                continue
            if isinstance(result, SignedBefore):
                outcomes.append(SigningOutcome(job, earlier=result.uid))
                continue
            plan, signature, token = result
            try:
                writing = stage(plan, signature, job.target, timestamp=token, overwrite=overwrite)
                ready.append((job, *stack.enter_context(writing)))
            except Exception as error:
                outcomes.append(SigningOutcome(job, error=error))
        failures = publish([file for _, file, _ in ready])
        for (job, _, report), failure in zip(ready, failures, strict=True):
            outcomes.append(SigningOutcome(job, error=failure) if failure else SigningOutcome(job, report))
    return outcomes
