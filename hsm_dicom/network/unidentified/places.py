"""How many connections may be unidentified at once: in all, and from one address.

A connection without a place waits. One whose peer is slow for `yield_seconds` loses its place to one that waits, so
slow peers delay others by that time and no longer. The newest that waits is served first, since the oldest may have
given up. Any thread may use it.
"""

from __future__ import annotations

import functools
import ipaddress
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from hsm_dicom.network.settings import Limits

_IPV6_SITE = 64
"""Bits of the IPv6 network that one site has at the least (RFC 6177)."""


class Visitor(Protocol):
    """One connection that is not identified yet."""

    number: int
    origin: str
    since: float
    """When it took its place, moved on by the time in which it was not the peer that kept us waiting."""


V = TypeVar("V", bound=Visitor)


class Places(Generic[V]):
    """The places, and the queue of those that wait for one."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._inside: OrderedDict[int, V] = OrderedDict()
        self._waiting: OrderedDict[int, V] = OrderedDict()
        self._inside_from: Counter[str] = Counter()
        self._waiting_from: Counter[str] = Counter()
        self._changing = threading.RLock()

    @property
    def inside(self) -> list[V]:
        """Those that have a place."""
        with self._changing:
            return list(self._inside.values())

    @property
    def waiting(self) -> list[V]:
        """Those that wait."""
        with self._changing:
            return list(self._waiting.values())

    def take(self, visitor: V, now: float) -> bool:
        """Give a connection a place, and return whether there was one."""
        with self._changing:
            full = len(self._inside) >= self._limits.unidentified
            if full or self._inside_from[visitor.origin] >= self._limits.unidentified_per_address:
                return False
            visitor.since = now
            self._inside[visitor.number] = visitor
            self._inside_from[visitor.origin] += 1
            return True

    def enqueue(self, visitor: V) -> V | None:
        """Add a connection to the queue, and return the one that has to leave the queue for it, if it is full."""
        with self._changing:
            crowded_out: V | None = None
            if self._waiting_from[visitor.origin] >= self._limits.waiting_per_address:
                crowded_out = next((one for one in self._waiting.values() if one.origin == visitor.origin), visitor)
            elif len(self._waiting) >= self._limits.waiting:
                crowded_out = next(iter(self._waiting.values()), visitor)
            if crowded_out is visitor:
                return visitor
            if crowded_out is not None:
                self.leave(crowded_out)
            self._waiting[visitor.number] = visitor
            self._waiting_from[visitor.origin] += 1
            return crowded_out

    def leave(self, visitor: V) -> None:
        """Free a place, or leave the queue. Harmless to repeat."""
        with self._changing:
            self._remove(visitor, self._inside, self._inside_from)
            self._remove(visitor, self._waiting, self._waiting_from)

    def admit(self, now: float, claim: Callable[[V], bool]) -> tuple[list[V], list[V]]:
        """Give places to those that wait, and return who has one now and who had to yield.

        `claim` returns whether a connection may lose its place, which then nobody else changes.
        """
        with self._changing:
            admitted: list[V] = []
            yielded: list[V] = []
            for visitor in reversed(list(self._waiting.values())):
                oldest = self._who_yields_to(visitor, now, claim)
                if oldest is not None:
                    self.leave(oldest)
                    yielded.append(oldest)
                if self.take(visitor, now):
                    self._remove(visitor, self._waiting, self._waiting_from)
                    admitted.append(visitor)
            return admitted, yielded

    def next_yield(self, now: float) -> float | None:
        """Return when the next one may have to yield, if anybody waits."""
        with self._changing:
            if not self._waiting:
                return None
            times = (one.since + self._limits.yield_seconds for one in self._inside.values())
            return min((time for time in times if time > now), default=None)

    def _who_yields_to(self, visitor: V, now: float, claim: Callable[[V], bool]) -> V | None:
        alike = self._inside_from[visitor.origin] >= self._limits.unidentified_per_address
        if not alike and len(self._inside) < self._limits.unidentified:
            return None
        slow = [
            one
            for one in self._inside.values()
            if one.since + self._limits.yield_seconds <= now and (not alike or one.origin == visitor.origin)
        ]
        return next((one for one in sorted(slow, key=lambda one: one.since) if claim(one)), None)

    @staticmethod
    def _remove(visitor: V, those: OrderedDict[int, V], origins: Counter[str]) -> None:
        if those.pop(visitor.number, None) is not None:
            origins[visitor.origin] -= 1
            if not origins[visitor.origin]:
                del origins[visitor.origin]


@functools.lru_cache(1024)
def get_origin(host: str) -> str:
    """Return what counts as one address: the IPv4 address, also if mapped into IPv6, or the /64 network of IPv6."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, _IPV6_SITE), strict=False))
        address = address.ipv4_mapped
    return str(address)
