"""Call a function for several arguments at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import TypeVar

A = TypeVar("A")
T = TypeVar("T")


def call_at_once(function: Callable[[A], T], arguments: Sequence[A]) -> Iterator[T]:
    """Call a function for each argument in a thread of its own, and yield the results as they come.

    The threads are daemon threads, and a caller that stops iterating waits for none of them. Raises what a call raises.
    """
    results: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def call(argument: A) -> None:
        try:
            results.put((function(argument), None))
        except BaseException as error:
            results.put((None, error))

    for argument in arguments:
        try:
            threading.Thread(target=call, args=(argument,), daemon=True).start()
        except RuntimeError:  # too many threads, or the interpreter is ending
            call(argument)
    for _ in arguments:
        result, failure = results.get()
        if failure is not None:
            raise failure
        yield result  # type: ignore[misc]
