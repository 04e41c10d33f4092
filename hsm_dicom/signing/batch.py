"""Sign many files on any ``concurrent.futures`` executor; the key stays in this process.

    with ProcessPoolExecutor(2) as executor:
        for outcome in sign_jobs(jobs, key, request, executor=executor):
            print(outcome.job.source, outcome.error or outcome.report.uid)

The executor reads, hashes and writes. It receives plans and signatures, but never PINs or keys. Outcomes are yielded
as they are ready, including those of files that fail. The number of files in progress is limited.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial

from cryptography import x509

from hsm_dicom.dataset.rewrite import StagedFile, publish
from hsm_dicom.events import emit
from hsm_dicom.identity import require_current
from hsm_dicom.parallel import Halt, chunks, run_in_parallel
from hsm_dicom.signatures.creation.create import (
    PrivateKey,
    SigningReport,
    Timestamper,
    prepare,
    require_matching_key,
    sign_hashed,
    stage,
)
from hsm_dicom.signatures.creation.repair import explain_repair
from hsm_dicom.signatures.creation.request import SigningRequest
from hsm_dicom.signatures.errors import ResumeConflictError
from hsm_dicom.signing.checks import add_check, make_signature_event
from hsm_dicom.signing.prepared import Prepared, PreparedFiles, SignedBefore
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
class _Signed:
    """The signature over a plan's digest, and the time stamp over the signature."""

    signature: bytes
    timestamp: bytes | None


Signed = _Signed | Exception
"""Result of the signing step for one file."""


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
    stamp = None if timestamp is None else add_check(timestamp)
    checks = _Checks(resume, timestamped=timestamp is not None, overwrite=overwrite)
    halt = Halt(stop)
    with ThreadPoolExecutor(sessions, "signing") as signers:

        def one_signature(files: PreparedFiles, number: int, digest: bytes) -> Signed:
            if halt.is_wanted():
                return _Stopped()
            try:
                signature = sign_hashed(key, digest, request.mac, partial(files.plan, number))
                return _Signed(signature, None if stamp is None else stamp(signature))
            except TokenError as error:
                halt.error = halt.error or error
                return _Stopped()
            except Exception as error:
                return error

        def sign_all(files: PreparedFiles) -> list[Signed]:
            """Sign the digests of one task. A free signer takes the next one: that costs less than a task for each."""
            signed: list[Signed] = [_Stopped()] * len(files.digests)
            waiting = deque((number, digest) for number, digest in enumerate(files.digests) if digest is not None)

            def sign_next() -> None:
                with suppress(IndexError):  # nothing is left
                    while True:
                        number, digest = waiting.popleft()
                        signed[number] = one_signature(files, number, digest)

            for done in [signers.submit(sign_next) for _ in range(min(sessions, len(waiting)))]:
                done.result()
            return signed

        def one_task(chunk: list[SigningJob]) -> list[SigningOutcome]:
            try:
                files = executor.submit(_prepare_all, chunk, request, checks).result()
                signed = sign_all(files)
                if halt.is_abandoned():
                    return []
                outcomes = executor.submit(_finish_all, chunk, files, signed, overwrite).result()
            except Exception as error:  # of the executor: a dead worker, a lost cluster
                return [SigningOutcome(job, error=error) for job in chunk]
            for outcome in outcomes:
                if outcome.report is not None:
                    emit(make_signature_event(outcome.report, certificate, identity))
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


def _prepare_all(jobs: list[SigningJob], request: SigningRequest, checks: _Checks) -> PreparedFiles:
    return PreparedFiles([_prepare_one(job, request, checks) for job in jobs])


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


def _finish_all(
    jobs: list[SigningJob], files: PreparedFiles, signed: list[Signed], overwrite: bool
) -> list[SigningOutcome]:
    """Write all files of a task, then flush and rename them together, with one wait for the disk."""
    outcomes = []
    ready: list[tuple[SigningJob, StagedFile, SigningReport]] = []
    with ExitStack() as stack:
        for job, plan, made in zip(jobs, files.unpack(), signed, strict=True):
            if isinstance(plan, SignedBefore):
                outcomes.append(SigningOutcome(job, earlier=plan.uid))
                continue
            if isinstance(plan, Exception):
                outcomes.append(SigningOutcome(job, error=plan))
                continue
            if isinstance(made, _Stopped):
                continue
            if not isinstance(made, _Signed):
                outcomes.append(SigningOutcome(job, error=made))
                continue
            try:
                writing = stage(plan, made.signature, job.target, timestamp=made.timestamp, overwrite=overwrite)
                ready.append((job, *stack.enter_context(writing)))
            except Exception as error:
                outcomes.append(SigningOutcome(job, error=error))
        failures = publish([file for _, file, _ in ready])
        for (job, _, report), failure in zip(ready, failures, strict=True):
            outcomes.append(SigningOutcome(job, error=failure) if failure else SigningOutcome(job, report))
    return outcomes
