"""What reloads have replaced, each released after the longest handshake that may still use it.

Connections with ISCL keep their keys until they end; see `hsm_dicom.transport.iscl_keys`.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Protocol


class Closable(Protocol):
    """Something that holds devices."""

    def close(self) -> None:
        """Release them; doing so twice is fine."""


class ReplacedResources:
    """Those that wait for their release."""

    def __init__(self) -> None:
        self._waiting: dict[threading.Timer, Closable] = {}

    def close_later(self, opened: Closable, name: str, seconds: float) -> None:
        """Release the devices after so many seconds, or when the service stops. `name` is for the thread."""
        self._waiting = {timer: one for timer, one in self._waiting.items() if not timer.finished.is_set()}
        timer = threading.Timer(seconds, opened.close)
        timer.daemon = True  # a process that ends without closing the service does not wait for it
        timer.name = f"replaced-{name}"
        self._waiting[timer] = opened
        with contextlib.suppress(RuntimeError):  # no more threads: released when the service stops
            timer.start()

    def close(self) -> None:
        """Release all devices now, and join the threads."""
        for timer, opened in self._waiting.items():
            timer.cancel()
            if timer.ident is not None:
                timer.join()
            opened.close()
        self._waiting.clear()
