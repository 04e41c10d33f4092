"""A gate before a module: any number of callers at once, or one who needs the module to itself.

C_Finalize is undefined while another thread is in a call (PKCS#11 v3.1, 5.4). So is fork. Whoever comes out leaves no
errors of OpenSSL behind in the thread (see `tokens.process.openssl_errors`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tokens.errors import Error, TokenBusyError, TokenLostError
from tokens.process.openssl_errors import clear_openssl_errors

ENTER_TIMEOUT = 60.0
"""Seconds that a caller waits before a gate that stays shut."""


class GateBusyError(Error):
    """Somebody did not come out in time: a call hangs in the module."""


class Gate:
    """Held open by callers, closed by one who wants to be alone. A thread inside may enter once more.

    With `one_at_a_time` the callers take turns, for modules that cannot bear more. Entering raises `TokenBusyError`
    when the gate stays shut, and `TokenLostError` once it is shut for good.
    """

    def __init__(self, *, one_at_a_time: bool = False) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside: dict[int, int] = {}
        self._alone = False
        self._finished = False
        self._one_at_a_time = one_at_a_time

    def __enter__(self) -> None:
        me = threading.get_ident()
        with self._changed:
            if me in self._inside:
                self._inside[me] += 1
                return
            if self._shut():
                self._wait_until_open()
            self._inside[me] = 1

    def __exit__(self, *_: object) -> None:
        clear_openssl_errors()
        me = threading.get_ident()
        with self._changed:
            self._inside[me] -= 1
            if not self._inside[me]:
                del self._inside[me]
                self._changed.notify_all()

    def close(self, timeout: float) -> bool:
        """Keep newcomers out, and wait until nobody is inside; False (and open again) after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._alone:
                if not self._changed.wait(deadline - time.monotonic()):
                    return False
            self._alone = True
            while self._inside:
                if not self._changed.wait(max(0.0, deadline - time.monotonic())) and self._inside:
                    self._alone = False
                    self._changed.notify_all()
                    return False
            return True

    def open(self) -> None:
        """Let callers in again."""
        with self._changed:
            self._alone = False
            self._changed.notify_all()

    def finish(self) -> None:
        """Shut for good: the module was finalised and will not come back."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    @contextmanager
    def alone(self, timeout: float) -> Iterator[None]:
        """Have the module to oneself. Raises `GateBusyError` after `timeout` seconds."""
        if not self.close(timeout):
            raise GateBusyError
        try:
            yield
        finally:
            clear_openssl_errors()
            self.open()

    def _shut(self) -> bool:
        return self._alone or self._finished or (self._one_at_a_time and bool(self._inside))

    def _wait_until_open(self) -> None:
        deadline = time.monotonic() + ENTER_TIMEOUT
        while self._shut():
            if self._finished:
                raise TokenLostError("The PKCS#11 module is closed: the program is ending.")
            if not self._changed.wait(max(0.0, deadline - time.monotonic())) and self._shut():
                raise TokenBusyError(
                    f"The PKCS#11 module was not free within {ENTER_TIMEOUT:.0f} seconds; see whether the token "
                    "still answers."
                )
