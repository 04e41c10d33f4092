"""Conditions that are seen in counts alone: something was refused, and it is not long ago."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from hsm_dicom.gateway.holding.outcomes import TROUBLES
from hsm_dicom.gateway.status import Condition, ConditionKind, RouteStatus

LIMIT = "limit"
"""The beginning of the words under which a route counts what it refused because of a limit."""

RECENT_SECONDS = 600.0
"""How long a condition lasts after the count has risen for the last time."""


class RecentWatch:
    """Finds the routes of which a count has risen within the last `seconds`."""

    def __init__(self, seconds: float = RECENT_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._counts: dict[str, int] = {}
        self._risen_at: dict[str, float] = {}

    def find(self, routes: Iterable[RouteStatus], at: datetime) -> list[Condition]:
        """Return a condition for each such count of each route; called at least once in `seconds`."""
        return [one for route in routes for one in _find_counted(route, at, self._is_recent)]

    def _is_recent(self, key: str, count: int) -> bool:
        now = self._clock()
        if count > self._counts.get(key, 0):
            self._risen_at[key] = now
        self._counts[key] = count
        return now - self._risen_at.get(key, float("-inf")) < self._seconds


def _find_counted(route: RouteStatus, at: datetime, is_recent: Callable[[str, int], bool]) -> Iterator[Condition]:
    refused = _sum(route.refused, lambda word: word.startswith(LIMIT))
    key = f"limit-reached/{route.name}"
    if is_recent(key, refused):
        yield Condition(
            key=key,
            kind=ConditionKind.LIMIT_REACHED,
            text=f"Route '{route.name}' has reached a limit and refused {refused} associations since the gateway "
            "started. The events name the callers: stop a caller that repeats without end, or raise associations, "
            f"associations_per_source or associations_per_minute of [routes.{route.name}].",
            since=at,
        )
    troubled = {word: count for word, count in route.held.items() if word in TROUBLES}
    key = f"objects-refused/{route.name}"
    if is_recent(key, sum(troubled.values())):
        what = ", ".join(f"{word} {count}" for word, count in sorted(troubled.items()))
        yield Condition(
            key=key,
            kind=ConditionKind.OBJECTS_REFUSED,
            text=f"Route '{route.name}' has objects that it did not relay as its configuration asks, since the gateway "
            f"started: {what}. The events object-refused name each object, its sender and the reason.",
            since=at,
            is_urgent=True,
        )


def _sum(counts: Mapping[str, int], is_meant: Callable[[str], bool]) -> int:
    return sum(count for word, count in counts.items() if is_meant(word))
