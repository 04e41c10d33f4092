"""The interface between the relay and a route that holds each object until it was judged or signed.

The relay takes the command set and the Data Set of each C-STORE-RQ of the caller out of the stream, and gives them to a
`Held`. When the Data Set is complete, `Held.treat` says in a thread of its own what becomes of it: a `Handover` to the
target, or an `Answer` to the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from hsm_dicom.gateway.tap import AcceptedContext
from hsm_dicom.network.dimse.commands import CommandSet


@dataclass(frozen=True)
class HoldTimes:
    """How long an object may be held, in seconds.

    `answer` is for judging and signing it, and again for the target's response. `far_idle` is how long the connection
    to the target may be silent: it is then opened anew before the object is sent.
    """

    answer: float = 60.0
    far_idle: float = 10.0


@dataclass(frozen=True)
class Answer:
    """The object does not go on: the caller gets this status (PS3.4, Table B.2-1) and Error Comment."""

    status: int
    comment: str = ""


class DataPDUs(Protocol):
    """A Data Set as P-DATA-TF PDUs."""

    def next_pdu(self) -> memoryview | None:
        """Return the next PDU, which is valid until the next call; None after the last. Raises `OSError`."""

    def close(self) -> None:
        """Release the file. Harmless to repeat."""


class Handover(Protocol):
    """The object goes to the target; it may be sent again, with the same octets, over another connection."""

    def open(self, context_id: int, maximum: int) -> DataPDUs:
        """Return its Data Set for a receiver with this maximum length of PDUs, 0 for none. Raises `OSError`."""

    def settle(self, status: int, is_answered: bool) -> None:
        """Record the target's status, and whether the caller was there to get it. Raises nothing."""

    def discard(self) -> None:
        """Remove what was held. Harmless to repeat."""


class Held(Protocol):
    """The Data Set of one C-STORE-RQ while it comes."""

    def write(self, data: memoryview) -> None:
        """Take the next octets, whose memory is used again after the call. Raises nothing."""

    def treat(self) -> Handover | Answer:
        """Judge or sign the whole object. Called once, in any thread. Raises nothing."""

    def discard(self) -> None:
        """Remove what was held. Harmless to repeat; what `treat` returns later is discarded by its caller."""


class Holder(Protocol):
    """Holds the objects of one caller."""

    @property
    def times(self) -> HoldTimes:
        """How long they may be held."""

    def collect(self, context: AcceptedContext, command: CommandSet) -> Held:
        """Begin to take the object of a C-STORE-RQ."""


@dataclass(frozen=True)
class Caller:
    """Who sends the objects of an association: its address and its AE title."""

    address: str
    calling_ae_title: str
    count: Callable[[str], None] = field(repr=False)
    """Counts what became of an object (`RouteStatus.held`)."""


MakeHolder = Callable[[Caller], Holder]
"""Makes the holder for the next object of a caller."""
