"""Messages to the service manager that started this process, by the protocol of systemd's sd_notify(3).

    manager = ServiceManager()
    manager.report_ready("Listening.")
    with manager.watched(service.ping): ...

The watchdog is about this process alone: WATCHDOG=1 is sent while every accept loop goes round. If one is stuck, and
the unit sets WatchdogSec, systemd restarts the process after that time. A token that hangs is no reason for it: other
routes and listeners go on, a restart would abort their associations, and the token would hang as before.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping

ENDING_SECONDS = 15.0
"""What a stop may take beside the time that associations are given: aborts, handshakes, devices."""

_PING_SECONDS = 10.0
"""What an accept loop may take to answer. It waits for nobody, so that a second is much."""


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

    def report_ready(self, status: str) -> None:
        """Report that the process serves."""
        self.notify("READY=1", f"STATUS={status}")

    def report_status(self, status: str) -> None:
        """Report one line for `systemctl status`."""
        self.notify(f"STATUS={status}")

    def report_stopping(self, status: str, seconds: float) -> None:
        """Report that the process ends, and that associations may go on for so many seconds.

        The manager then waits for longer than that, even if TimeoutStopSec of the unit is shorter.
        """
        extension = int((seconds + ENDING_SECONDS) * 1e6)
        self.notify("STOPPING=1", f"STATUS={status}", f"EXTEND_TIMEOUT_USEC={extension}")

    @contextlib.contextmanager
    def reloading(self, describe: Callable[[], str]) -> Iterator[None]:
        """Report that the process reloads its settings during the block, and then that it is ready.

        `describe` is called at the end for the line of status.
        """
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.notify("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=Reloading.")
        try:
            yield
        finally:
            self.report_ready(describe())

    @contextlib.contextmanager
    def watched(self, ping: Callable[[float], bool]) -> Iterator[None]:
        """Send WATCHDOG=1 during the block, three times in each interval of the unit, if `ping` returns True.

        `ping` gets the seconds in which every accept loop must answer.
        """
        if not self._watchdog_seconds:
            yield
            return
        third = self._watchdog_seconds / 3
        patience = min(third, _PING_SECONDS)
        over = threading.Event()

        def run() -> None:
            while not over.wait(third):
                if ping(patience):
                    self.notify("WATCHDOG=1")

        thread = threading.Thread(target=run, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(_PING_SECONDS / 10)  # a ping may still wait for a loop that is stuck

    def notify(self, *assignments: str) -> None:
        """Send assignments such as "READY=1". Never raises: a service works without its manager."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.settimeout(1.0)
            sending.sendto("\n".join(one.replace("\n", " ") for one in assignments).encode(), self._address)
