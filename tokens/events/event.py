"""The base of every event."""

from __future__ import annotations

import logging
import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Base of every event. A package derives its own base from it, with the name of its logger."""

    logger: ClassVar[logging.Logger] = logging.getLogger("tokens")
    """The logger to which `logging`'s subscriber writes the event."""

    level: ClassVar[int] = logging.INFO
    """The level of its log line."""

    def log_level(self) -> int:
        """Return the level of this event's log line."""
        return self.level

    def describe(self) -> str:
        """Return the event as one line for a log."""
        return event_name(self)

    @property
    def repetition_key(self) -> Hashable | None:
        """What an event that repeats for every connection is about; None for all other events.

        The log has one line an hour for each value, with a count. Other subscribers receive every event.
        """
        return None


def event_name(event: Event) -> str:
    """Return the name of a kind of event in files and logs: key-use for `KeyUse`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(event).__name__).lower()
