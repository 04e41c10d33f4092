"""Threads for associations. One whose association has ended waits a little for the next one.

`threading` waits until a new thread runs, so that starting one switches threads twice. For a short association, such as
one with a single C-ECHO, that is a large part of the time.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

Job = Callable[[], None]

_IDLE_SECONDS = 10.0


class AssociationThreads:
    """Daemon threads: one for each association, and those whose association ended less than `_IDLE_SECONDS` ago."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        """Counts the threads that wait for a job, less the jobs that are on their way to one."""

    def start(self, job: Job) -> None:
        """Carry out a job, which must not raise, in a thread of its own. Raises `RuntimeError` if there is none."""
        if self._idle.acquire(blocking=False):
            self._jobs.put(job)
        else:
            threading.Thread(target=self._run, args=(job,), name=self._name, daemon=True).start()

    def _run(self, job: Job | None) -> None:
        while job is not None:
            job()
            job = None  # a thread that waits keeps no association
            self._idle.release()
            job = self._wait()

    def _wait(self) -> Job | None:
        try:
            return self._jobs.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            # If `start` has just chosen this thread, its job follows.
            return None if self._idle.acquire(blocking=False) else self._jobs.get()
