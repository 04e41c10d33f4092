"""The threads of a listener. They wait for connections, compute handshakes, and may carry on with an association.

A handshake uses a key on a device, and a device may never answer. A thread of `concurrent.futures` would then keep its
process from ending; a daemon thread does not. Each time that a connection passes from one thread to another, a thread
has to wake up, so the threads wait for the connections themselves, and the one that has read a request may go on with
its association.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from hsm_dicom.network.unidentified.readiness import Turnstile

T = TypeVar("T")
Job = Callable[[], None]


class Workers(Generic[T]):
    """Up to `number` threads, and those that carry out a job. Another one is started when none is idle.

    `begin` is called for what a thread has taken from `turnstile`, and then `advance`, which must not raise.
    """

    def __init__(
        self,
        number: int,
        name: str,
        turnstile: Turnstile[T],
        begin: Callable[[T], None],
        advance: Callable[[T], None],
    ) -> None:
        self._number, self._name = number, name
        self._turnstile, self._begin, self._advance = turnstile, begin, advance
        self._threads: set[_Worker] = set()
        """Those that belong to the pool: they compute handshakes, or are idle."""
        self._idle = 0
        self._has_ended = False
        self._changing = threading.Lock()

    def start(self) -> None:
        """Start the first thread. Raises `RuntimeError` if the system has none."""
        with self._changing:
            self._start_thread()

    def stop(self, seconds: float) -> int:
        """Begin no further task, and wait up to `seconds` for those in progress. Return how many have not ended.

        Jobs go on.
        """
        with self._changing:
            self._has_ended = True
            threads = list(self._threads)
        self._turnstile.end()
        deadline = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return sum(thread.is_alive() for thread in threads)

    def _start_thread(self) -> None:
        thread = _Worker(self, self._name)
        thread.start()
        self._threads.add(thread)
        self._idle += 1

    def run(self, thread: _Worker) -> None:
        """Do the work of one thread."""
        while (what := self._turnstile.take(self._begin)) is not None:
            self._note_busy()
            self._advance(what)
            del what  # an idle thread keeps no connection
            if thread.carry_out() and not self._rejoin(thread):
                return
            with self._changing:
                self._idle += 1

    def _note_busy(self) -> None:
        with self._changing:
            self._idle -= 1
            if not self._idle and len(self._threads) < self._number and not self._has_ended:
                with contextlib.suppress(RuntimeError):  # then connections wait until a thread is idle again
                    self._start_thread()

    def leave(self, thread: _Worker) -> None:
        """Let a thread of the pool do something else. Raises `RuntimeError` if nobody could take its place."""
        with self._changing:
            self._threads.discard(thread)
            if not self._idle and not self._has_ended:
                try:
                    self._start_thread()
                except RuntimeError:
                    self._threads.add(thread)
                    raise

    def _rejoin(self, thread: _Worker) -> bool:
        with self._changing:
            if self._has_ended or len(self._threads) >= self._number:
                return False
            self._threads.add(thread)
            return True


class _Worker(threading.Thread):
    """A thread of a pool, which may leave it for a job and come back."""

    def __init__(self, pool: Workers[T], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._pool: Workers[T] = pool
        self._job: Job | None = None

    def run(self) -> None:
        self._pool.run(self)

    def adopt(self, job: Job) -> None:
        self._pool.leave(self)
        self._job = job

    def carry_out(self) -> bool:
        """Carry out the job that was adopted, and return whether there was one."""
        job, self._job = self._job, None
        if job is None:
            return False
        job()
        return True


def continue_with(job: Job, name: str) -> None:
    """Carry out a job, which must not raise, in this thread when its task is done, if it belongs to a pool.

    Any other thread starts a daemon thread called `name`. Raises `RuntimeError` if no thread can be started.
    """
    thread = threading.current_thread()
    if isinstance(thread, _Worker):
        thread.adopt(job)
    else:
        threading.Thread(target=job, name=name, daemon=True).start()
