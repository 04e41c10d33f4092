"""The threads that compute handshakes: a fixed number of daemon threads.

A handshake uses a key on a device, and a device may never answer. A thread of `concurrent.futures` would then keep its
process from ending; a daemon thread does not.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable

Task = Callable[[], None]


class Workers:
    """Up to `number` threads, each started when a task finds no idle one."""

    def __init__(self, number: int, name: str) -> None:
        self._number, self._name = number, name
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def submit(self, task: Task) -> None:
        """Carry out a task, which must not raise, in one of the threads. For one caller at a time."""
        self._tasks.put(task)
        if self._idle.acquire(blocking=False) or len(self._threads) == self._number:
            return
        thread = threading.Thread(target=self._run, name=f"{self._name}_{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self, seconds: float) -> int:
        """Begin no further task, and wait up to `seconds` for those in progress. Return how many have not ended."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._tasks.get_nowait()
        for _ in self._threads:
            self._tasks.put(None)
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return sum(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while True:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                self._idle.release()
                task = self._tasks.get()
            if task is None:
                return
            task()
            del task  # an idle thread keeps no connection
