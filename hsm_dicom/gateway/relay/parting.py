"""The end of a relayed association: what is left is delivered, and both sides get time to close."""

from __future__ import annotations

import time
from collections.abc import Mapping

from hsm_dicom.gateway.relay.flow import AnyFlow
from hsm_dicom.gateway.relay.leg import Leg
from hsm_dicom.gateway.relay.waiting import Waiting

LINGER_SECONDS = 2.0
"""How long both sides may take to close their connections after the last PDU."""


def send(flow: AnyFlow) -> int:
    """Give the sink of a flow what waits for it, and return how many octets it took."""
    return flow.send() if flow.wants_to_write and flow.sink.may_write else 0


def finish(forth: AnyFlow, back: AnyFlow, waiting: Waiting, *, parts_at_once: bool) -> None:
    """Deliver what is left, and wait a little for both sides to close; the first to close closes the other."""
    deadline = time.monotonic() + LINGER_SECONDS
    while True:
        now = time.monotonic()
        for flow in (forth, back):
            flow.source.discard()
            send(flow)
        for flow in (forth, back):
            if not flow.wants_to_write and (
                parts_at_once or flow.source.has_ended or flow.sink.has_ended or now >= deadline
            ):
                flow.sink.shut()
                flow.sink.discard()
        is_over = all(flow.source.has_ended and not flow.wants_to_write for flow in (forth, back))
        if is_over or now >= deadline:
            return
        waiting.wait(
            {
                flow.source: (not flow.source.has_ended, other.wants_to_write)
                for flow, other in ((forth, back), (back, forth))
            },
            deadline - now,
        )


def part(waiting: Waiting, lasts: Mapping[Leg, bytes]) -> None:
    """Send each leg its last PDU, if any, and close it when the other end has closed, or soon."""
    deadline = time.monotonic() + LINGER_SECONDS
    rests = {leg: memoryview(last) for leg, last in lasts.items()}
    while True:
        for leg, rest in rests.items():
            if rest and leg.may_write:
                rests[leg] = rest = rest[leg.send(rest) :]
            if not rest or leg.is_lost:
                leg.shut()
            leg.discard()
        left = deadline - time.monotonic()
        if left <= 0 or all(leg.has_ended for leg in rests):
            return
        waiting.wait({leg: (not leg.has_ended, bool(rest) and not leg.is_lost) for leg, rest in rests.items()}, left)
