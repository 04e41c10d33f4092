"""Keep every thread of this process on one processor for a while.

A call that is handed to another thread wakes a thread on another processor, and is waited for. How long a processor
takes to wake up depends on the machine (on a virtual one, on what its host does with a processor that sleeps), and not
on the work. On one processor nothing has to wake up, so the clock shows the work alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_processor() -> Iterator[None]:
    """Let all threads of the process, and those that they start, share one processor."""
    allowed = os.sched_getaffinity(0)
    _move_threads({max(allowed)})
    try:
        yield
    finally:
        _move_threads(allowed)


def _move_threads(processors: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(thread.name), processors)
        except ProcessLookupError:  # the thread has ended meanwhile
            continue
