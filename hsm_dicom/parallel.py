"""Parallel processing of many files: the workers that hash and write, and the loop that gives them tasks.

    with worker_pool(jobs=4) as executor:
        for result in run_in_parallel(task, chunks(paths, path_of), limit=8, halt=Halt()): ...

Workers are threads or processes. They never hold a key, and never outlive the process that started them.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from multiprocessing import connection, get_context, parent_process, resource_tracker
from typing import TypeVar

FILES_PER_TASK = 64
BYTES_PER_TASK = 64 << 20
"""Maximum files and bytes of one task, which saves task overhead and waits for the disk."""

_FEWEST_FILES = 16
_SHARE = 8
"""A task has an eighth of the number of files that all tasks before it have: a few files keep all workers busy, and
many files have long tasks."""

_STOP_CHECK_SECONDS = 0.2

_OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""Walking a file makes hundreds of objects and leaves no cycles. With its own threshold, 700, Python would search for
cycles about once in every small file."""

T = TypeVar("T")
R = TypeVar("R")


class Halt:
    """Reason to begin no further file: a stop request, a closed generator, or an error that affects every file."""

    def __init__(self, stop: threading.Event | None = None) -> None:
        self._stop = stop or threading.Event()
        self.closed = False
        self.error: Exception | None = None

    def is_abandoned(self) -> bool:
        """Return whether files that are already signed must not be written."""
        return self.closed or self._stop.is_set()

    def is_wanted(self) -> bool:
        """Return whether no further file may be begun."""
        return self.error is not None or self.is_abandoned()


@contextmanager
def worker_pool(jobs: int, begin: Callable[[], None] | None = None) -> Iterator[Executor]:
    """Yield an executor: one thread of this process for ``jobs`` 1, otherwise ``jobs`` processes.

    Processes are spawned, not forked, so that none inherits a token's login. The calling program needs the usual
    ``if __name__ == "__main__"``. Each process calls ``begin`` first.
    """
    if jobs == 1:
        with ThreadPoolExecutor(1, "hashing") as threads:
            yield threads
        return
    _start_resource_tracker()
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=partial(_begin_worker, begin)) as processes:
        yield processes


def chunks(things: Iterable[T], path_of: Callable[[T], str]) -> Iterator[list[T]]:
    """Split the things into lists, one for each task."""
    chunk: list[T] = []
    size = before = 0
    limit = _FEWEST_FILES
    for thing in things:
        try:
            more = os.stat(path_of(thing)).st_size  # noqa: PTH116 - of many files: a Path costs more than the call
        except OSError:  # reported when the file is opened
            more = 0
        if chunk and (len(chunk) == limit or size + more > BYTES_PER_TASK):
            yield chunk
            before += len(chunk)
            limit = min(max(_FEWEST_FILES, before // _SHARE), FILES_PER_TASK)
            chunk, size = [], 0
        chunk.append(thing)
        size += more
    if chunk:
        yield chunk


def run_in_parallel(
    task: Callable[[list[T]], list[R]], chunked: Iterator[list[T]], limit: int, halt: Halt
) -> Generator[R]:
    """Run the task on up to ``limit`` chunks at once, and yield results as they are ready.

    After a halt, no further chunk is begun. ``halt`` is checked often enough for a signal handler to stop the
    work. A handler that raises an exception could interrupt the caller before it has recorded a result.
    """
    pending: set[Future[list[R]]] = set()
    with ThreadPoolExecutor(limit, "conducting") as conductors:
        try:
            while True:
                while not halt.is_wanted() and len(pending) < limit and (chunk := next(chunked, None)) is not None:
                    pending.add(conductors.submit(task, chunk))
                if not pending:
                    return
                done, pending = wait(pending, _STOP_CHECK_SECONDS, FIRST_COMPLETED)
                for future in done:
                    yield from future.result()
        finally:
            halt.closed = True


def _start_resource_tracker() -> None:
    """Start multiprocessing's resource tracker with SIGHUP ignored.

    Otherwise a SIGHUP to all processes kills it (Python 3.11), and the parent ends with a traceback.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread can set handlers
        resource_tracker.ensure_running()
        return
    before = signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # an ignored signal stays ignored in a new program
    try:
        resource_tracker.ensure_running()
    finally:
        signal.signal(signal.SIGHUP, before)


def _begin_worker(begin: Callable[[], None] | None) -> None:
    # Only the parent handles Ctrl-C, and the SIGTERM that a service manager sends to all processes: it lets the workers
    # finish the files in progress.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    if begin is not None:
        begin()
    threading.Thread(target=_end_with_parent, name="watching the parent", daemon=True).start()


def _end_with_parent() -> None:
    """Wait until the parent ends, then remove the unfinished files of this process and end it.

    Otherwise a worker would wait forever for its next task, because its siblings hold the queue open.
    """
    from hsm_dicom.dataset.rewrite import discard_unfinished

    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        discard_unfinished()
        os._exit(1)
