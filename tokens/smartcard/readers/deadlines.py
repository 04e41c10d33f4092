"""Deadlines for calls that know none: one thread that acts when an armed alarm is not disarmed in time.

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


class Alarm:
    """Calls `action` once, on the watching thread, when it was armed and the time came. Make one, then arm it often."""

    __slots__ = ("_expires", "action")

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action
        self._expires = math.inf
        _watch.add(self)

    def arm(self, seconds: float) -> None:
        """Let the time run."""
        self._expires = expires = time.monotonic() + seconds
        if expires < _watch.wakes:
            _watch.wake()

    def disarm(self) -> None:
        """In time."""
        self._expires = math.inf

    def discard(self) -> None:
        """Never needed again."""
        self._expires = math.inf
        _watch.discard(self)

    def due(self, now: float) -> bool:
        """Whether the time has come; once."""
        if self._expires > now:
            return False
        self._expires = math.inf
        return True

    @property
    def expires(self) -> float:
        """When, on the monotonic clock; infinity while it is not armed."""
        return self._expires


class _Watch:
    def __init__(self) -> None:
        self.wakes = -math.inf
        self._changed = threading.Condition()
        self._alarms: set[Alarm] = set()
        self._thread: threading.Thread | None = None

    def add(self, alarm: Alarm) -> None:
        with self._changed:
            self._alarms.add(alarm)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="card deadlines", daemon=True)
                self._thread.start()

    def discard(self, alarm: Alarm) -> None:
        with self._changed:
            self._alarms.discard(alarm)

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._alarms:
                    self._thread = None
                    return
                now = time.monotonic()
                due = [alarm for alarm in self._alarms if alarm.due(now)]
                if not due:
                    # Said before looking: whoever arms an earlier alarm from now on wakes this thread.
                    self.wakes = now + _LONGEST_SLEEP
                    first = min(alarm.expires for alarm in self._alarms)
                    self.wakes = min(first, self.wakes)
                    self._changed.wait(max(0.0, self.wakes - time.monotonic()))
                    continue
            for alarm in due:
                alarm.action()

    # -- forks: the thread stays with the parent, and so do the calls that it watches -----------------------

    def before_fork(self) -> None:
        self._changed.acquire()

    def after_fork_in_parent(self) -> None:
        self._changed.release()

    def after_fork_in_child(self) -> None:
        self._changed = threading.Condition()
        self._alarms = set()
        self._thread = None


_watch = _Watch()
forking.register(_watch)
