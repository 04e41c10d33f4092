"""What one source address uses of a route: open associations, associations begun in a minute, octets in a second.

The memory is bounded: an address is forgotten when it has nothing open and its minute is over, and no more than
`_ADDRESSES` are kept. Thread-safe.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from hsm_dicom.gateway.settings import SourceLimits
from hsm_dicom.network.unidentified.places import get_origin

_MINUTE = 60.0
_ADDRESSES = 4096
_LONGEST_DELAY = 5.0
"""Seconds that a source is held up at the most after one read, so that a changed limit takes effect soon."""


@dataclass
class _Use:
    """What one address uses. `begun` associations since `minute`; octets are paid for until `paid`."""

    open: int = 0
    begun: float = 0.0
    at: float = 0.0
    paid: float = 0.0


class Sources:
    """The uses of a route by its source addresses; an IPv6 address counts as its /64 network."""

    def __init__(self, limits: SourceLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._clock = clock
        self._uses: OrderedDict[str, _Use] = OrderedDict()
        self._changing = threading.Lock()

    def begin(self, address: str) -> str | None:
        """Count an association from an address; or return which limit it has reached, as part of a sentence."""
        now, limits = self._clock(), self.limits
        with self._changing:
            use = self._find(get_origin(address), now)
            use.begun = max(0.0, use.begun - (now - use.at) * limits.associations_per_minute / _MINUTE)
            use.at = now
            if use.open >= limits.associations:
                return f"{limits.associations} open associations"
            if use.begun + 1 > limits.associations_per_minute:
                return f"{limits.associations_per_minute} associations in a minute"
            use.open += 1
            use.begun += 1
        return None

    def end(self, address: str) -> None:
        """Take the end of an association that was counted."""
        with self._changing:
            use = self._uses.get(get_origin(address))
            if use is not None and use.open:
                use.open -= 1

    def delay(self, address: str, octets: int) -> float:
        """Count octets from an address, and return for how many seconds nothing more may be read from it."""
        rate = self.limits.bytes_per_second
        if rate is None:
            return 0.0
        now = self._clock()
        with self._changing:
            use = self._find(get_origin(address), now)
            use.paid = max(use.paid, now) + octets / rate
            return min(use.paid - now, _LONGEST_DELAY)

    def _find(self, origin: str, now: float) -> _Use:
        use = self._uses.get(origin)
        if use is None:
            self._forget(now)
            use = self._uses[origin] = _Use(at=now)
        self._uses.move_to_end(origin)
        return use

    def _forget(self, now: float) -> None:
        """Make room for one address: forget the one that was used least recently and has nothing open."""
        is_full = len(self._uses) >= _ADDRESSES
        for origin, use in self._uses.items():
            if not use.open and (is_full or now - use.at >= _MINUTE):
                del self._uses[origin]
                return
