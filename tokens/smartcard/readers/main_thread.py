"""Calls of the main thread that a signal handler need not wait for.

Python runs signal handlers in the main thread, between two of its steps and never during a C call. So Ctrl-C would wait
for a card that hangs. The main thread makes its calls in another thread, and waits in a way that signals interrupt.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

LEAVE_TIMEOUT = 0.5
"""Seconds to wait, after an interruption, for a call that was told to return."""


class _Lane:
    """A thread that waits for jobs, and its current job."""

    def __init__(self) -> None:
        self.go = threading.Lock()
        self.go.acquire()
        self.done = threading.Lock()
        self.done.acquire()
        self.job: Callable[[], Any] | None = None
        self.result: Any = None
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._serve, name="card calls", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            self.go.acquire()
            job = self.job
            if job is None:
                return
            try:
                self.result = job()
            except BaseException as error:
                self.failure = error
            job = self.job = None
            self.done.release()


class MainThreadCalls:
    """The threads in which the main thread makes its calls. There is one, unless a signal handler makes calls, too."""

    def __init__(self) -> None:
        self._idle: list[_Lane] = []

    def run(self, job: Callable[[], T], cut: Callable[[], None]) -> T:
        """Carry out a job and return its result. In the main thread, what a signal handler raises ends the wait.

        The job is then told to return: `cut` is called, which must not block.
        """
        if threading.current_thread() is not threading.main_thread():
            return job()
        lane = self._idle.pop() if self._idle else _Lane()
        lane.job = job
        lane.go.release()
        try:
            lane.done.acquire()
        except BaseException:
            cut()
            if lane.done.acquire(timeout=LEAVE_TIMEOUT):
                self._collect(lane)
            raise
        result, failure = self._collect(lane)
        if failure is not None:
            raise failure
        return result  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the idle threads."""
        while self._idle:
            lane = self._idle.pop()
            lane.go.release()
            lane.thread.join()

    def forget(self) -> None:
        """Start without threads in a forked child, where they do not exist."""
        self._idle = []

    def _collect(self, lane: _Lane) -> tuple[Any, BaseException | None]:
        outcome = lane.result, lane.failure
        lane.result = lane.failure = None
        self._idle.append(lane)
        return outcome
