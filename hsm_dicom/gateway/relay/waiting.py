"""Waiting for one of the legs, another thread or a deadline."""

from __future__ import annotations

import select
from collections.abc import Mapping

from hsm_dicom.gateway.relay.leg import Leg
from hsm_dicom.transport.alarm import Alarm

_LONGEST_MILLISECONDS = 3_600_000.0


class Waiting:
    """Waits for an alarm and for legs. A leg of which nothing is wanted is not polled, or its end would be reported."""

    def __init__(self, alarm: Alarm) -> None:
        self._alarm = alarm
        self._poll = select.poll()
        self._poll.register(alarm, select.POLLIN)
        self._registered: dict[int, int] = {}

    def wait(self, wanted: Mapping[Leg, tuple[bool, bool]], seconds: float) -> None:
        """Sleep for up to `seconds`. `wanted` says of each leg whether to read from it and to write to it."""
        legs = {}
        for leg, (reads, writes) in wanted.items():
            descriptor = leg.socket.fileno()
            legs[descriptor] = leg
            self._register(descriptor, leg.get_events(reads, writes))
        milliseconds = min(max(seconds, 0.0) * 1000 + 1, _LONGEST_MILLISECONDS)
        for descriptor, events in self._poll.poll(milliseconds):
            leg_there = legs.get(descriptor)
            if leg_there is None:
                self._alarm.silence()
            else:
                leg_there.note_events(events)

    def forget(self, leg: Leg) -> None:
        """Poll a leg no more, before it is closed or used by another thread."""
        self._register(leg.socket.fileno(), 0)

    def _register(self, descriptor: int, events: int) -> None:
        if descriptor < 0 or self._registered.get(descriptor, 0) == events:
            return
        self._registered[descriptor] = events
        if events:
            self._poll.register(descriptor, events)
        else:
            self._poll.unregister(descriptor)
