"""Limit on log lines that repeat with every association: one in a period, with a count of the omitted ones."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

HOUR = 3600.0
MAXIMUM_KEYS = 1024
"""The number of kinds of lines to remember. Beyond it, the kind logged longest ago is forgotten."""


class Repetition:
    """Record of the log lines written in the last period. May be shared between threads.

    `period` is in seconds, by a clock that never goes back. Only log lines are omitted: every event is delivered.
    """

    def __init__(self, period: float = HOUR, clock: Callable[[], float] = time.monotonic) -> None:
        self._period = period
        self._clock = clock
        self._written: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, key: Hashable) -> int | None:
        """Return None for a line that was written less than a period ago, else how many were omitted since."""
        now = self._clock()
        with self._lock:
            since, left_out = self._written.get(key, (None, 0))
            if since is not None and now - since < self._period:
                self._written[key] = (since, left_out + 1)
                return None
            self._written[key] = (now, 0)
            self._written.move_to_end(key)
            if len(self._written) > MAXIMUM_KEYS:
                self._written.popitem(last=False)
            return left_out
