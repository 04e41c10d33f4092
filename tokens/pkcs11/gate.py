"""A gate before a module: any number of callers at once, or one who needs the module to itself.

C_Finalize is undefined while another thread is in a call (PKCS#11 v3.1, 5.4). So is fork.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class GateBusy(Exception):
    """Somebody did not come out in time: a call hangs in the module."""


class Gate:
    """Held open by callers, closed by one who wants to be alone. A thread inside may enter once more.

    With `one_at_a_time` the callers take turns, for modules that cannot bear more.
    """

    def __init__(self, *, one_at_a_time: bool = False) -> None:
        self._turn = threading.RLock() if one_at_a_time else None
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0
        self._closed = False

    def __enter__(self) -> None:
        if self._turn is not None:
            self._turn.acquire()
        with self._changed:
            while self._closed:
                self._changed.wait()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            if not self._inside:
                self._changed.notify_all()
        if self._turn is not None:
            self._turn.release()

    def close(self, timeout: float) -> bool:
        """Wait until nobody is inside and keep everybody out; False if that took more than `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._closed or self._inside:
                remaining = deadline - time.monotonic()
                if remaining <= 0 or not self._changed.wait(remaining):
                    return False
            self._closed = True
            return True

    def open(self) -> None:
        """Let callers in again."""
        with self._changed:
            self._closed = False
            self._changed.notify_all()

    @contextmanager
    def alone(self, timeout: float) -> Iterator[None]:
        """Have the module to oneself. Raises `GateBusy` after `timeout` seconds."""
        if not self.close(timeout):
            raise GateBusy
        try:
            yield
        finally:
            self.open()
