"""Threads for associations. One whose association has ended waits a little for the next one.

To start a thread takes two changes to it and back, as `threading` waits until it runs: more than an association that
only asks whether somebody is there otherwise needs of it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

Job = Callable[[], None]

_IDLE_SECONDS = 10.0


class AssociationThreads:
    """As many daemon threads as there are associations, and those that had one not long ago."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        """One for each thread that waits for a job that nobody has put for it yet."""

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
            # Whoever has counted on this thread meanwhile puts a job for it.
            return None if self._idle.acquire(blocking=False) else self._jobs.get()
