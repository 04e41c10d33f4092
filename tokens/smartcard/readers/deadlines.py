"""Deadlines for calls that have none: one thread that acts when an armed alarm is not disarmed in time.

Arming costs two attribute writes as a rule, since it happens twice in every exchange with a card.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from tokens.process import forking

_LONGEST_SLEEP = 1.0
"""Seconds. An alarm armed for a later time need not wake the thread, which looks that often while any alarm exists."""

JOIN_TIMEOUT = 5.0
"""Seconds that closing waits for each thread."""


class Deadlines:
    """The thread that watches alarms, and the threads that it starts. It begins with the first alarm.

    `close` ends and joins all of them; a later alarm starts the thread again.
    """

    def __init__(self) -> None:
        self.wakes = -math.inf
        """When the thread looks next, on the monotonic clock."""
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
        """Have the thread look at the alarms now."""
        with self._changed:
            self._changed.notify_all()

    def run_in_thread(self, job: Callable[[], None]) -> None:
        """Run what may block, and so must not run on the watching thread, on a thread of its own."""

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
                    # Set before looking: arming an earlier alarm from now on wakes this thread.
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
        """Go on as before."""
        self._changed.release()

    def after_fork_in_child(self) -> None:
        """Begin without alarms and threads."""
        self._changed = threading.Condition()
        self._alarms = set()
        self._helpers = set()
        self._thread = None
        self._closing = False


class Alarm:
    """Calls `action` once, on the watching thread, when it was armed and the time came. Make one, then arm it often."""

    __slots__ = ("_deadlines", "_expires", "action")

    def __init__(self, deadlines: Deadlines, action: Callable[[], None]) -> None:
        self.action = action
        self._expires = math.inf
        self._deadlines = deadlines
        deadlines.add(self)

    def arm(self, seconds: float) -> None:
        """Start the time."""
        self._expires = expires = time.monotonic() + seconds
        if expires < self._deadlines.wakes:
            self._deadlines.wake()

    def disarm(self) -> None:
        """Stop the time."""
        self._expires = math.inf

    def discard(self) -> None:
        """Stop the time for good."""
        self._expires = math.inf
        self._deadlines.discard(self)

    def due(self, now: float) -> bool:
        """Return whether the time has come, True only once."""
        if self._expires > now:
            return False
        self._expires = math.inf
        return True

    @property
    def expires(self) -> float:
        """When, on the monotonic clock; infinity while it is not armed."""
        return self._expires
