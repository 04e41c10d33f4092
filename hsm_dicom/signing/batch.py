"""Many files, on any ``concurrent.futures`` executor: hashing and writing go there, the key stays here.

    with ProcessPoolExecutor(2) as executor:
        for outcome in sign_jobs(jobs, key, request, executor=executor):
            print(outcome.job.source, outcome.error or outcome.report.uid)

Plans and signatures travel, PINs and keys never do. Outcomes come as they are ready; a file that fails is an outcome
like the others. At no time are more files under way than keep the executor and the key busy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hsm_dicom.dataset.rewrite import StagedFile, publish
from hsm_dicom.signatures.creation.create import (
    Plan,
    PrivateKey,
    SigningReport,
    Timestamper,
    prepare,
    require_matching_key,
    sign_digest,
    staged,
)
from hsm_dicom.signatures.creation.repair import explain_repair
from hsm_dicom.signatures.creation.request import SigningRequest
from hsm_dicom.signatures.errors import ResumeConflictError
from hsm_dicom.signatures.integrity import VerifiedFile, check_integrity
from hsm_dicom.signing.resume import find_earlier_signature
from tokens.errors import TokenError, fresh_copy

FILES_PER_TASK = 16
BYTES_PER_TASK = 64 << 20
_STOP_CHECK_SECONDS = 0.2
"""Most files and bytes that one task of an executor takes on: a task has a price, and so has each wait for the disk."""


@dataclass(frozen=True)
class SigningJob:
    """One file to sign; ``target`` None signs it in place."""

    source: str
    target: str | None = None


@dataclass(frozen=True)
class SigningOutcome:
    """What became of a job: a report, the signature of an earlier run, or the error of a single ``sign``."""

    job: SigningJob
    report: SigningReport | None = None
    error: Exception | None = None
    earlier: str | None = None
    """UID of the signature that an earlier run made for this very job (only with ``resume``)."""


@dataclass(frozen=True)
class IntegrityOutcome:
    """What became of a file: a result, or the error that a single ``verify`` would have raised."""

    path: str
    result: VerifiedFile | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class SignedBefore:
    """A job that an earlier run has done: the UID of its signature."""

    uid: str


Signed = tuple[Plan, bytes, bytes | None]
"""A plan, the signature over its digest, and the time stamp over that."""

Prepared = Plan | SignedBefore | Exception
Finished = Signed | SignedBefore | Exception

T = TypeVar("T")
R = TypeVar("R")


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
) -> Generator[SigningOutcome]:
    """Sign the jobs, ``sessions`` at most at once on the key, from threads of this process.

    With ``resume`` a job that an earlier run has done is left out (its outcome has ``earlier``); a target that is
    something else fails with ResumeConflictError, unless ``overwrite`` allows replacing it.

    After ``stop`` is set, no further signature is requested and no further file is begun. Files that are being written
    are finished, and their outcomes are yielded. Closing the generator also stops the work, but loses those outcomes.

    Raises KeyMismatchError at once if the key is not the certificate's, and the TokenError of the first signature that
    fails with one, after the outcomes of all files that were signed: the next file would fail the same way.

    Executors of processes should be started before a token is opened, or by ``spawn``, so that no process inherits the
    token's login.
    """
    require_matching_key(key, request)
    checks = _Checks(resume, timestamped=timestamp is not None, overwrite=overwrite)
    halt = _Halt(stop)
    with ThreadPoolExecutor(sessions, "signing") as signers:

        def one_signature(plan: Prepared) -> Finished:
            if not isinstance(plan, Plan):
                return plan
            if halt.is_wanted():
                return _Stopped()
            try:
                signature = sign_digest(key, plan)
                return plan, signature, None if timestamp is None else timestamp(signature)
            except TokenError as error:
                halt.lost = halt.lost or error
                return _Stopped()
            except Exception as error:
                return error

        def one_task(chunk: list[SigningJob]) -> list[SigningOutcome]:
            try:
                plans = executor.submit(_prepare_all, chunk, request, checks).result()
                signed = list(signers.map(one_signature, plans))
                if halt.is_abandoned():
                    return []
                return executor.submit(_finish_all, chunk, signed, overwrite).result()
            except Exception as error:  # the executor's own: a worker that died, a cluster that is gone
                return [SigningOutcome(job, error=error) for job in chunk]

        yield from _in_flight(one_task, _tasks(jobs, lambda job: job.source), 2 * sessions + 2, halt)
    if halt.lost is not None:
        raise fresh_copy(halt.lost)


def check_files(
    paths: Iterable[str], *, executor: Executor, stop: threading.Event | None = None
) -> Generator[IntegrityOutcome]:
    """Verify the files, by mathematics alone, as ``verify`` does. After ``stop`` is set, no further file is begun."""

    def one_task(chunk: list[str]) -> list[IntegrityOutcome]:
        try:
            return executor.submit(_verify_all, chunk).result()
        except Exception as error:
            return [IntegrityOutcome(path, error=error) for path in chunk]

    yield from _in_flight(one_task, _tasks(paths, lambda path: path), 8, _Halt(stop))


def _tasks(things: Iterable[T], path_of: Callable[[T], str]) -> Iterator[list[T]]:
    """The things in chunks that each make one task."""
    chunk: list[T] = []
    size = 0
    for thing in things:
        try:
            more = Path(path_of(thing)).stat().st_size
        except OSError:  # whoever opens it says so
            more = 0
        if chunk and (len(chunk) == FILES_PER_TASK or size + more > BYTES_PER_TASK):
            yield chunk
            chunk, size = [], 0
        chunk.append(thing)
        size += more
    if chunk:
        yield chunk


def _in_flight(
    task: Callable[[list[T]], list[R]],
    chunks: Iterator[list[T]],
    limit: int,
    halt: _Halt,
) -> Generator[R]:
    """Run the task on the chunks, up to ``limit`` of them at once, and yield results as they come.

    After a halt no further chunk is begun. ``halt`` is asked often enough for a signal handler to stop the work; a
    handler that raised an exception instead could interrupt the caller before it has recorded a result that it took.
    """
    pending: set[Future[list[R]]] = set()
    with ThreadPoolExecutor(limit, "conducting") as conductors:
        try:
            while True:
                while not halt.is_wanted() and len(pending) < limit and (chunk := next(chunks, None)) is not None:
                    pending.add(conductors.submit(task, chunk))
                if not pending:
                    return
                done, pending = wait(pending, _STOP_CHECK_SECONDS, FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        finally:
            halt.closed = True


class _Halt:
    """Why no further file is begun: the caller asked for it, closed the generator, or the token is lost."""

    def __init__(self, stop: threading.Event | None) -> None:
        self._stop = stop or threading.Event()
        self.closed = False
        self.lost: TokenError | None = None

    def is_abandoned(self) -> bool:
        """Whether even files with a signature are not to be written any more."""
        return self.closed or self._stop.is_set()

    def is_wanted(self) -> bool:
        return self.lost is not None or self.is_abandoned()


class _Stopped(Exception):
    """In the place of a signature that was not asked for any more; ends up nowhere."""


@dataclass(frozen=True)
class _Checks:
    """What is looked at before a file is prepared."""

    resume: bool
    timestamped: bool
    overwrite: bool


def _prepare_all(jobs: list[SigningJob], request: SigningRequest, checks: _Checks) -> list[Prepared]:
    return [_prepare_one(job, request, checks) for job in jobs]


def _prepare_one(job: SigningJob, request: SigningRequest, checks: _Checks) -> Prepared:
    """A plan, or the error: one file's failure must not take the others of its task along."""
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
    """Write all files of a task, then flush and rename them together: the disk has one wait instead of many."""
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
                writing = staged(plan, signature, job.target, timestamp=token, overwrite=overwrite)
                ready.append((job, *stack.enter_context(writing)))
            except Exception as error:
                outcomes.append(SigningOutcome(job, error=error))
        failures = publish([file for _, file, _ in ready])
        for (job, _, report), failure in zip(ready, failures, strict=True):
            outcomes.append(SigningOutcome(job, error=failure) if failure else SigningOutcome(job, report))
    return outcomes


def _verify_all(paths: list[str]) -> list[IntegrityOutcome]:
    return list(map(_verify_one, paths))


def _verify_one(path: str) -> IntegrityOutcome:
    try:
        return IntegrityOutcome(path, check_integrity(path))
    except Exception as error:
        return IntegrityOutcome(path, error=error)
