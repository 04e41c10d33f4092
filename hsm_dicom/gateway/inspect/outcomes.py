"""The outcomes of instances, by which a route counts them (`RouteStatus.instances`)."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

from pynetdicom.status import STATUS_SUCCESS, STATUS_WARNING, code_to_category


class Outcome(StrEnum):
    """What became of an instance. `NOT_FOLLOWED` counts messages, of which nothing else is known."""

    STORED = "stored"
    WARNING = "warning"
    """Stored, and the status is a warning: B000, B006, B007, 0001 … (PS3.4, Table B.2-1; PS3.7, Annex C)."""
    FAILED = "failed"
    UNANSWERED = "unanswered"
    """Sent, in whole or in part, when the association ended without an answer."""
    NOT_FOLLOWED = "not-followed"
    """A message that is malformed, that answers no request, or that is beyond the bounds of the inspection."""


@lru_cache(maxsize=256)
def find_outcome(status: int) -> Outcome:
    """Return the outcome of an instance from the status of its C-STORE response."""
    category = code_to_category(status)
    if category == STATUS_SUCCESS:
        return Outcome.STORED
    return Outcome.WARNING if category == STATUS_WARNING else Outcome.FAILED
