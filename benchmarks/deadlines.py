"""The calls of a module as they would be without deadlines: in the thread of the caller, and no clock is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tokens.process.gate import Gate

T = TypeVar("T")


class _DirectCalls:
    """Makes calls in the thread of the caller, without deadlines. Takes the place of `CallThreads`."""

    is_here = True

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def run(self, job: Callable[[], T], late: object = None) -> T:
        """Carry out a job inside the gate."""
        with self._gate:
            return job()

    def begin_call(self, function: str, slot: int | None, seconds: float, kind: str = "session") -> None:
        """Do nothing: a call takes as long as it takes."""

    def end_call(self) -> None:
        """Do nothing."""


@contextmanager
def direct_calls(module: Any) -> Iterator[None]:
    """Let a module make its calls without deadlines."""
    threads, direct = module._threads, _DirectCalls(module._threads.gate)
    users = (module.cryptoki, "threads"), (module.queries, "threads"), (module, "_threads")
    for user, name in users:
        setattr(user, name, direct)
    try:
        yield
    finally:
        for user, name in users:
            setattr(user, name, threads)
