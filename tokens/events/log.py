"""The subscriber that writes every event to `logging`, and through it to syslog, journald or a file.

An event goes to the logger of its package, at its level. An event that repeats for every connection is logged once an
hour, with the number of events that were omitted.
"""

from __future__ import annotations

from tokens.events.event import Event
from tokens.events.repetition import Repetition
from tokens.printable import printable


class EventLog:
    """A subscriber that writes events to their loggers. May be shared between threads."""

    def __init__(self, repetition: Repetition | None = None) -> None:
        self._repetition = repetition or Repetition()

    def __call__(self, event: Event) -> None:
        """Write one event."""
        level = event.log_level()
        if not event.logger.isEnabledFor(level):
            return
        left_out: int | None = 0
        if event.repetition_key is not None:
            left_out = self._repetition.count((type(event), event.repetition_key))
        if left_out is None:
            return
        more = f" (And {left_out} more times since this was last logged.)" if left_out else ""
        event.logger.log(level, "%s%s", printable(event.describe()), more)

    def __repr__(self) -> str:
        return "logging"
