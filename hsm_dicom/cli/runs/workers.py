"""The processes that read, hash and write for a command. They never see a token, and never outlive the command."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import connection, get_context, parent_process, resource_tracker

from hsm_dicom.cli import exits, logs


@contextmanager
def workers(jobs: int) -> Iterator[Executor]:
    """Where hashing happens: a thread of this process, or so many other processes."""
    if jobs == 1:
        with ThreadPoolExecutor(1, "hashing") as threads:
            yield threads
        return
    # Started anew, not forked: no process inherits the token's login.
    begin = partial(_begin_worker, logs.verbose())
    _start_resource_tracker()
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=begin) as processes:
        yield processes


def _start_resource_tracker() -> None:
    """Start multiprocessing's own helper so that a SIGHUP to all processes does not end it before its time.

    It is killed by SIGHUP otherwise (Python 3.11), and the parent's goodbye to it becomes a traceback.
    """
    before = signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what is ignored stays ignored in a new program
    try:
        resource_tracker.ensure_running()
    finally:
        signal.signal(signal.SIGHUP, before)


def _begin_worker(verbose: bool) -> None:
    # Ctrl-C, and the SIGTERM that a service manager sends to all processes, are for the parent to answer: it lets the
    # files under way be finished.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    logs.set_up(verbose=verbose)
    threading.Thread(target=_end_with_parent, name="watching the parent", daemon=True).start()


def _end_with_parent() -> None:
    """Wait for the death of the parent, then end this process and take its unfinished files along.

    A worker that waits for its next task would otherwise wait for ever: its siblings hold the queue open.
    """
    from hsm_dicom.dataset.rewrite import discard_unfinished

    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        discard_unfinished()
        os._exit(exits.FAILED)
