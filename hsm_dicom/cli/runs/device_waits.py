"""End the waits for devices when a signal asks this process to end, whatever the devices do.

A signal handler cannot do this: Python runs it in the main thread, which may itself be inside a call of a device, and
the other threads of a run do not notice it. So a thread reads the signals from the file descriptor to which Python
writes each one at once (`signal.set_wakeup_fd`).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 0.5
"""How long a call may take after the signal. A device that works answers within that time, and its work is kept."""

_INTERVAL_SECONDS = 0.1

_ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
"""The signals that ask this process to end."""


class DeviceWaits:
    """The thread that ends the waits of one process."""

    def __init__(self) -> None:
        self._numbers = set(_ENDING)
        self._begins = 0.0
        self._over = threading.Event()

    def reload_on_hangup(self) -> None:
        """Do not take SIGHUP as a request to end during the current `watch`."""
        self._numbers.discard(signal.SIGHUP)

    def grant(self, seconds: float) -> None:
        """Let the calls of devices go on for so many seconds from now."""
        self._begins = time.monotonic() + seconds

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watch during the block; effective only in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._numbers, self._begins, self._over = set(_ENDING), 0.0, threading.Event()
        reads, writes = os.pipe()
        os.set_blocking(writes, False)
        before = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
        thread = threading.Thread(target=self._run, args=(reads,), name="device waits", daemon=True)
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            self._over.set()
            os.close(writes)  # ends the thread
            thread.join()
            os.close(reads)

    def _run(self, descriptor: int) -> None:
        while received := os.read(descriptor, 64):
            if not self._numbers.isdisjoint(received):
                break
        self._begins = max(self._begins, time.monotonic() + PATIENCE_SECONDS)
        while not self._over.wait(_INTERVAL_SECONDS):
            ending = sys.modules.get("tokens.process.ending")  # without it, no device was ever called
            if ending is not None and time.monotonic() >= self._begins:
                ending.interrupt_device_calls(PATIENCE_SECONDS)


device_waits = DeviceWaits()
"""The waits of this process."""
