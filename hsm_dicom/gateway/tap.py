"""The interface between the relay and a route that inspects the messages that pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Direction(Enum):
    """A direction of a relayed association, seen from the caller."""

    FORTH = "forth"
    """From the source to the target."""
    BACK = "back"
    """From the target to the source."""


@dataclass(frozen=True)
class AcceptedContext:
    """A presentation context that both sides use."""

    abstract_syntax: str
    transfer_syntax: str


class Tap(Protocol):
    """Follows one association. It sees octets before they are sent, and changes none.

    The relay calls it in its one thread. What it raises would end the association, so it raises nothing for what a peer
    sends.
    """

    def begin(self, contexts: Mapping[int, AcceptedContext]) -> None:
        """Store the presentation contexts, by their IDs, before the first message."""

    def take(self, direction: Direction, context_id: int, control: int, piece: memoryview, ends: bool) -> None:
        """Process the next octets of a Presentation Data Value; `ends` is True for the last ones.

        `control` is the message control header (PS3.8, Annex E): bit 0 for a command, bit 1 for the last fragment. The
        memory of `piece` is used again after the call.
        """

    def end(self) -> None:
        """Process the end of the association."""


MakeTap = Callable[[str, Callable[[str], None]], Tap]
"""Makes the tap of one association, when the target has accepted it. It takes the caller's address, for events, and a
function to call with the outcome of each instance (`RouteStatus.instances`)."""
