"""Deadlines for calls without a timeout: one thread that acts when an armed alarm is not disarmed in time.

Arming happens twice in every exchange with a card, so it usually costs only two attribute writes.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from tokens.process import forking

_LONGEST_SLEEP = 1.0
"""Seconds between checks while any alarm exists. An alarm that is due later than this does not wake the thread."""

JOIN_TIMEOUT = 5.0
"""Seconds that `close` waits for each thread."""


class Deadlines:
    """The thread that watches alarms, and the threads that it starts. It begins with the first alarm.

    `close` ends and joins all of them; a later alarm starts the thread again.
    """

    def __init__(self) -> None:
        self.wakes = -math.inf
        """The time of the thread's next check, on the monotonic clock."""
        self._changed = threading.Condition()
        self._alarms: set[Alarm] = set()
        self._thread: threading.Thread | None = None
        self._helpers: set[threading.Thread] = set()
        self._closing = False
        forking.register(self)

    def add(self, alarm: Alarm) -> None:
        """Watch an alarm."""
        with self._changed:
            self._alarms.add(alarm)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="card deadlines", daemon=True)
                self._thread.start()

    def discard(self, alarm: Alarm) -> None:
        """Stop watching an alarm."""
        with self._changed:
            self._alarms.discard(alarm)

    def wake(self) -> None:
        """Make the thread check the alarms now."""
        with self._changed:
            self._changed.notify_all()

    def run_in_thread(self, job: Callable[[], None]) -> None:
        """Run a job that may block on a separate thread, not on the watching thread."""

        def run() -> None:
            try:
                job()
            finally:
                with self._changed:
                    self._helpers.discard(threading.current_thread())

        helper = threading.Thread(target=run, name="card deadline passed", daemon=True)
        with self._changed:
            self._helpers.add(helper)
        helper.start()

    def close(self) -> None:
        """Forget every alarm, and end and join the threads."""
        with self._changed:
            self._alarms.clear()
            self._closing = True
            threads = [thread for thread in (self._thread, *self._helpers) if thread is not None]
            self._changed.notify_all()
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(JOIN_TIMEOUT)
        with self._changed:
            self._closing = False

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closing or not self._alarms:
                    self._thread = None
                    return
                now = time.monotonic()
                due = [alarm for alarm in self._alarms if alarm.due(now)]
                if not due:
                    # Set before the check: arming an earlier alarm from now on wakes this thread.
                    self.wakes = now + _LONGEST_SLEEP
                    first = min(alarm.expires for alarm in self._alarms)
                    self.wakes = min(first, self.wakes)
                    self._changed.wait(max(0.0, self.wakes - time.monotonic()))
                    continue
            for alarm in due:
                alarm.action()

    # -- forks: the threads stay with the parent, and so do the calls that they watch -----------------------

    def before_fork(self) -> None:
        """Keep the alarms unchanged while the process forks."""
        self._changed.acquire()

    def after_fork_in_parent(self) -> None:
        """Continue."""
        self._changed.release()

    def after_fork_in_child(self) -> None:
        """Begin without alarms and threads."""
        self._changed = threading.Condition()
        self._alarms = set()
        self._helpers = set()
        self._thread = None
        self._closing = False


class Alarm:
    """A reusable alarm: each time it is armed, the watching thread calls `action` once if the time expires."""

    __slots__ = ("_deadlines", "_expires", "action")

    def __init__(self, deadlines: Deadlines, action: Callable[[], None]) -> None:
        self.action = action
        self._expires = math.inf
        self._deadlines = deadlines
        deadlines.add(self)

    def arm(self, seconds: float) -> None:
        """Start the timer."""
        self._expires = expires = time.monotonic() + seconds
        if expires < self._deadlines.wakes:
            self._deadlines.wake()

    def disarm(self) -> None:
        """Stop the timer."""
        self._expires = math.inf

    def discard(self) -> None:
        """Stop the timer permanently."""
        self._expires = math.inf
        self._deadlines.discard(self)

    def due(self, now: float) -> bool:
        """Return whether the time has expired; True only once."""
        if self._expires > now:
            return False
        self._expires = math.inf
        return True

    @property
    def expires(self) -> float:
        """The time of expiry, on the monotonic clock; infinity while it is not armed."""
        return self._expires
