"""Events of readers: a card is inserted or removed, or a reader is added or removed.

for event in watch_readers(cards, timeout=60):
    print(event.reader, event.change)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from tokens.errors import CardServiceError
from tokens.smartcard.cards import Cards
from tokens.smartcard.search import list_slots

INTERVAL = 0.25
"""Seconds between two polls. pcscd itself needs up to 0.4 to notice a card."""


class Change(StrEnum):
    """The kinds of changes."""

    INSERTED = "card inserted"
    REMOVED = "card removed"
    READER_ADDED = "reader added"
    READER_REMOVED = "reader removed"
    SERVICE_LOST = "smart card service lost"
    SERVICE_FOUND = "smart card service found"


@dataclass(frozen=True, kw_only=True)
class CardEvent:
    """One change. `atr` is that of the card; `reader` is empty if the service itself changed."""

    change: Change
    reader: str = ""
    atr: bytes | None = None


def watch_readers(cards: Cards, reader: str = "*", *, timeout: float | None = None) -> Iterator[CardEvent]:
    """Yield the changes in the readers whose names match, for `timeout` seconds or without end.

    A card that is replaced between two polls is reported as removed and inserted if its ATR differs. A replacement of
    the same kind is not reported: compare serial numbers. The loss of pcscd is an event, not an error.
    """
    ends = None if timeout is None else time.monotonic() + timeout
    seen = _query_readers(cards, reader)
    while ends is None or time.monotonic() < ends:
        time.sleep(INTERVAL)
        now = _query_readers(cards, reader)
        yield from _differences(seen, now)
        seen = now


def _query_readers(cards: Cards, pattern: str) -> dict[str, bytes | None] | None:
    try:
        return {slot.reader: slot.atr for slot in list_slots(cards.contexts) if fnmatchcase(slot.reader, pattern)}
    except CardServiceError:
        return None


def _differences(seen: dict[str, bytes | None] | None, now: dict[str, bytes | None] | None) -> Iterator[CardEvent]:
    if (seen is None) != (now is None):
        yield CardEvent(change=Change.SERVICE_LOST if now is None else Change.SERVICE_FOUND)
    before, after = seen or {}, now or {}
    for name in before.keys() - after.keys():
        yield CardEvent(change=Change.READER_REMOVED, reader=name)
    for name in after.keys() - before.keys():
        yield CardEvent(change=Change.READER_ADDED, reader=name)
    for name, atr in after.items():
        was = before.get(name)
        if was == atr:
            continue
        if was is not None:
            yield CardEvent(change=Change.REMOVED, reader=name, atr=was)
        if atr is not None:
            yield CardEvent(change=Change.INSERTED, reader=name, atr=atr)
