"""One direction of a relayed association: a piece of memory, filled from one leg and emptied into the other.

It is filled again only when everything in it that may be sent was sent. A leg that reads slowly holds up the other one,
and nothing else; the memory does not grow.
"""

from __future__ import annotations

from typing import Protocol

from hsm_dicom.gateway.relay.framing import Framing
from hsm_dicom.gateway.relay.leg import Leg
from hsm_dicom.network.errors import PDUError

MEMORY = 1 << 17
"""Octets of one direction."""


class AnyFlow(Protocol):
    """What an association needs of one direction: a `Flow`, or a `hsm_dicom.gateway.relay.message_flow.MessageFlow`."""

    source: Leg
    sink: Leg
    framing: Framing
    is_closed: bool

    @property
    def octets(self) -> int:
        """Octets that the sink took after the negotiation."""

    @property
    def wants_to_read(self) -> bool:
        """Whether octets of the source would be taken now."""

    @property
    def wants_to_write(self) -> bool:
        """Whether octets wait for the sink."""

    def receive(self) -> int:
        """Take octets from the source, and return how many. Raises `PDUError` if they may not be sent."""

    def send(self) -> int:
        """Give octets to the sink, and return how many it took."""

    def close(self, last: bytes = b"") -> None:
        """Take nothing more from the source; `last` is sent behind what waits, if it would begin a PDU there."""


class Flow:
    """The direction from one leg to the other. `first` is sent first. `octets` counts what the sink took after it."""

    def __init__(self, source: Leg, sink: Leg, framing: Framing, first: bytes = b"") -> None:
        self.source, self.sink, self.framing = source, sink, framing
        self.octets = 0
        self.is_closed = False
        """Whether nothing more is taken from the source."""
        self._memory = memoryview(bytearray(MEMORY))
        self._start = self._safe = self._end = 0
        self._first, self._last = memoryview(first), memoryview(b"")

    @property
    def wants_to_read(self) -> bool:
        """Whether octets of the source would be taken now."""
        return not (self.is_closed or self.source.has_ended or self.wants_to_write)

    @property
    def wants_to_write(self) -> bool:
        """Whether octets wait for the sink."""
        return (self._start < self._safe or len(self._first) + len(self._last) > 0) and not self.sink.is_lost

    @property
    def is_at_boundary(self) -> bool:
        """Whether another PDU may follow what was sent and waits to be sent."""
        return self.framing.is_between_pdus

    def receive(self) -> int:
        """Take octets from the source, and return how many. Raises `PDUError` if they may not be sent."""
        if self._start:
            held = self._memory[self._safe : self._end]
            count = len(held)
            self._memory[:count] = held  # some octets of a header at the most
            self._start, self._safe, self._end = 0, 0, count
        count = self.source.receive(self._memory[self._end :])
        if count:
            self._end += count
            try:
                self._safe = self.framing.scan(self._memory, self._safe, self._end)
            except PDUError:
                self._safe = self.framing.checked
                raise
        return count

    def send(self) -> int:
        """Give octets to the sink, and return how many it took."""
        if self._first:
            count = self.sink.send(self._first)
            self._first = self._first[count:]
            return count
        if self._start < self._safe:
            count = self.sink.send(self._memory[self._start : self._safe])
            self._start += count
            self.octets += count
            return count
        count = self.sink.send(self._last)
        self._last = self._last[count:]
        return count

    def close(self, last: bytes = b"") -> None:
        """Take nothing more from the source. `last` is sent after what waits, if it would begin a PDU there."""
        if not self.is_closed:
            self.is_closed = True
            if last and self.is_at_boundary:
                self._last = memoryview(last)

    def drop(self) -> None:
        """Discard what waits, since the sink does not take it."""
        self.close()
        self._start = self._safe = self._end = 0
        self._first = self._last = memoryview(b"")
