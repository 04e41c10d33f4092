"""Workers of a command: those of `hsm_dicom.parallel`, with the command's logging."""

from __future__ import annotations

from concurrent.futures import Executor
from contextlib import AbstractContextManager
from functools import partial

from hsm_dicom.cli import logs
from hsm_dicom.parallel import worker_pool


def open_workers(jobs: int) -> AbstractContextManager[Executor]:
    """Return a context with an executor: a thread of this process, or ``jobs`` other processes."""
    return worker_pool(jobs, partial(logs.set_up, verbose=logs.verbose()))
