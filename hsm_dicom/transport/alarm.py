"""Waking a thread that waits for descriptors, from another thread."""

from __future__ import annotations

import contextlib
import os
import threading


class Alarm:
    """A descriptor that can be read after another thread has rung it."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._changing = threading.Lock()

    def ring(self) -> None:
        """Wake the thread that waits. Does nothing after `close`."""
        with self._changing:
            if self._descriptor >= 0:
                os.eventfd_write(self._descriptor, 1)

    def silence(self) -> None:
        """Forget that it was rung."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._descriptor)

    def close(self) -> None:
        """Release the descriptor."""
        with self._changing:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._descriptor
