"""Readers-writer lock that drains PKCS#11 calls before C_Finalize or fork.

C_Finalize is undefined while another thread is in a call (PKCS#11 v3.1, 5.4), and so is fork. Leaving the gate clears
the errors that OpenSSL keeps for the thread (see `tokens.process.openssl_errors`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tokens.errors import Error, TokenBusyError, TokenLostError
from tokens.process.openssl_errors import clear_openssl_errors

ENTER_TIMEOUT = 60.0
"""Seconds that a caller waits at a closed gate."""


class GateBusyError(Error):
    """The gate could not be closed in time: a call has not returned from the module."""


class Gate:
    """A lock that any number of threads may enter, or one alone. A thread inside may enter again.

    With `one_at_a_time` only one thread is inside at a time, for modules that do not support more. Entering raises
    `TokenBusyError` if the gate stays closed, `TokenLostError` after `finish`, and what `refuse` was given.
    """

    def __init__(self, *, one_at_a_time: bool = False) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._inside: dict[int, int] = {}
        self._alone = False
        self._finished = False
        self._refusal: Callable[[], Error] | None = None
        self._one_at_a_time = one_at_a_time

    def __enter__(self) -> None:
        me = threading.get_ident()
        with self._lock:
            if me in self._inside:
                self._inside[me] += 1
                return
            if self._is_closed():
                self._wait_until_open()
            self._inside[me] = 1

    def __exit__(self, *_: object) -> None:
        clear_openssl_errors()
        me = threading.get_ident()
        with self._lock:
            self._inside[me] -= 1
            if not self._inside[me]:
                del self._inside[me]
                if self._alone or self._one_at_a_time:  # otherwise nobody waits for a thread to leave
                    self._changed.notify_all()

    def close(self, timeout: float) -> bool:
        """Close the gate and wait until no thread is inside; open it again and return False after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._alone and self._refusal is None:
                if not self._changed.wait(deadline - time.monotonic()):
                    return False
            if self._refusal is not None:
                return False
            self._alone = True
            while self._inside:
                waited = self._changed.wait(max(0.0, deadline - time.monotonic()))
                if self._inside and (not waited or self._refusal is not None):
                    self._alone = False
                    self._changed.notify_all()
                    return False
            return True

    def open(self) -> None:
        """Open the gate again."""
        with self._changed:
            self._alone = False
            self._changed.notify_all()

    @property
    def serves_one_at_a_time(self) -> bool:
        """Whether only one thread is inside at a time."""
        return self._one_at_a_time

    def refuse(self, reason: Callable[[], Error] | None) -> None:
        """Make every thread that enters or waits raise the error that `reason` returns, until it is None again."""
        with self._changed:
            self._refusal = reason
            self._changed.notify_all()

    def finish(self) -> None:
        """Close the gate permanently, since the module was finalised."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    @contextmanager
    def alone(self, timeout: float) -> Iterator[None]:
        """Use the module alone until the block ends. Raises `GateBusyError` after `timeout` seconds."""
        if not self.close(timeout):
            raise GateBusyError
        try:
            yield
        finally:
            clear_openssl_errors()
            self.open()

    def _is_closed(self) -> bool:
        return (
            self._alone or self._finished or self._refusal is not None or (self._one_at_a_time and bool(self._inside))
        )

    def _wait_until_open(self) -> None:
        deadline = time.monotonic() + ENTER_TIMEOUT
        while self._is_closed():
            if self._refusal is not None:
                raise self._refusal()
            if self._finished:
                raise TokenLostError("The PKCS#11 module is closed: the program is ending.")
            if not self._changed.wait(max(0.0, deadline - time.monotonic())) and self._is_closed():
                raise TokenBusyError(
                    f"The PKCS#11 module was not free within {ENTER_TIMEOUT:.0f} seconds.",
                    remedy="Check that the token still answers.",
                )
