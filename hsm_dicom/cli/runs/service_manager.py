"""Messages to the service manager that started this process, by the protocol of systemd's sd_notify(3).

READY=1 when the process serves, STATUS= with a sentence, STOPPING=1 at the end. WATCHDOG=1 is sent only while the
process can do its work: if the unit sets WatchdogSec, systemd restarts a process that cannot, after that time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping


class ServiceManager:
    """The service manager that the environment names, or none."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # "@" stands for the null byte of an abstract address.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog_seconds = 0.0
        if environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            with contextlib.suppress(ValueError):
                self._watchdog_seconds = int(environment.get("WATCHDOG_USEC", "0")) / 1e6

    def notify(self, *assignments: str) -> None:
        """Send assignments such as "READY=1". Never raises: a service works without its manager."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.settimeout(1.0)
            sending.sendto("\n".join(assignments).encode(), self._address)

    @contextlib.contextmanager
    def watched(self, is_ready: Callable[[], bool]) -> Iterator[None]:
        """Send WATCHDOG=1 during the block, three times in each interval that the unit sets, while `is_ready` is so."""
        if not self._watchdog_seconds:
            yield
            return
        over = threading.Event()

        def run() -> None:
            while not over.wait(self._watchdog_seconds / 3):
                if is_ready():
                    self.notify("WATCHDOG=1")

        thread = threading.Thread(target=run, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
