"""Check the integrity of many files, on any ``concurrent.futures`` executor."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass

from hsm_dicom.parallel import Halt, chunks, run_in_parallel
from hsm_dicom.signatures.integrity import VerifiedFile, check_integrity

_TASKS = 8


@dataclass(frozen=True)
class IntegrityOutcome:
    """What became of a file: a result, or the error that `check_integrity` raised."""

    path: str
    result: VerifiedFile | None = None
    error: Exception | None = None


def check_files(
    paths: Iterable[str], *, executor: Executor, stop: threading.Event | None = None
) -> Generator[IntegrityOutcome]:
    """Check the files by mathematics alone, as `check_integrity` does; yield the outcomes as they come.

    After ``stop`` is set, no further file is begun.
    """

    def one_task(chunk: list[str]) -> list[IntegrityOutcome]:
        try:
            return executor.submit(_check_all, chunk).result()
        except Exception as error:  # the executor's own: a worker that died, a cluster that is gone
            return [IntegrityOutcome(path, error=error) for path in chunk]

    yield from run_in_parallel(one_task, chunks(paths, lambda path: path), _TASKS, Halt(stop))


def _check_all(paths: list[str]) -> list[IntegrityOutcome]:
    return list(map(_check_one, paths))


def _check_one(path: str) -> IntegrityOutcome:
    try:
        return IntegrityOutcome(path, check_integrity(path))
    except Exception as error:
        return IntegrityOutcome(path, error=error)
