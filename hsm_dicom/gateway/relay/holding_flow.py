"""The direction from the caller, on a route that holds objects: each C-STORE-RQ is taken out, treated, and sent anew.

| phase     | what is done                                            | next                                           |
|-----------|---------------------------------------------------------|------------------------------------------------|
| `NONE`    | messages pass                                           | `COLLECT` at a C-STORE-RQ                      |
| `COLLECT` | the Data Set is written to a file                       | `TREAT` at its end                             |
| `TREAT`   | a thread judges or signs the object                     | `READY`; `NONE` if the caller gets an answer   |
| `READY`   | a connection that the target has left is opened anew    | `SEND`                                         |
| `SEND`    | the object is sent, and the response waited for         | `NONE`; once `READY` if the connection is lost |

From `TREAT` to the response, nothing that the caller sends overtakes the object. What it sends meanwhile fills the
memory of the flow, and is followed there as far as it fits, so that an A-ABORT is noticed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from hsm_dicom.gateway.hold import Answer, Handover, Held, Holder, HoldTimes
from hsm_dicom.gateway.relay.framing import Framing
from hsm_dicom.gateway.relay.leg import Leg
from hsm_dicom.gateway.relay.message_flow import MessageFlow
from hsm_dicom.gateway.relay.treatment import Treatment
from hsm_dicom.gateway.tap import AcceptedContext
from hsm_dicom.network.dimse.commands import (
    C_STORE_RQ,
    C_STORE_RSP,
    MESSAGE_ID,
    MESSAGE_ID_RESPONDED_TO,
    STATUS,
    CommandSet,
)
from hsm_dicom.transport.alarm import Alarm

OUT_OF_RESOURCES = 0xA700
"""Status of PS3.4, Table B.2-1, after which a sender may try again."""

_PENDING = (b"\x00\xff", b"\x01\xff")
"""Encoded statuses after which more responses come (PS3.7, 9.1.2 to 9.1.4)."""

_FOREVER = math.inf


class Phase(Enum):
    """What is done with an object; see the table of this module."""

    NONE = auto()
    COLLECT = auto()
    TREAT = auto()
    READY = auto()
    SEND = auto()


@dataclass(frozen=True)
class StoreRequest:
    """The command of a held object, as it came, and as it is sent to the target."""

    context_id: int
    command: CommandSet
    pdus: bytes


class HoldingFlow(MessageFlow):
    """The direction from the caller. `maximum` is the target's maximum length of PDUs, 0 for none (PS3.8, D.1)."""

    def __init__(
        self,
        source: Leg,
        sink: Leg,
        framing: Framing,
        make_holder: Callable[[], Holder],
        contexts: Mapping[int, AcceptedContext],
        maximum: int,
        alarm: Alarm,
        answer: Callable[[StoreRequest, Answer], None],
    ) -> None:
        """`make_holder` is called for each object: settings and keys may be others after a reload.

        `alarm` is rung when a thread has treated an object; `answer` gives the caller a response of this node."""
        super().__init__(source, sink, framing)
        self.maximum = maximum
        self.phase = Phase.NONE
        self.deadline = _FOREVER
        """When the current phase is over at the latest, by the monotonic clock."""
        self.failure = ""
        """Why the object that is being sent cannot be sent to its end."""
        self._make_holder, self._contexts, self._alarm, self._answer = make_holder, contexts, alarm, answer
        self.times = HoldTimes()
        self._request: StoreRequest | None = None
        self._held: Held | None = None
        self._treatment: Treatment | None = None
        self._handover: Handover | None = None
        self._was_lost = self._is_answered = self._is_behind_others = False
        self._unanswered: set[int] = set()
        """Message IDs of other requests that passed, and have no final response."""

    @property
    def may_change_sinks(self) -> bool:
        """Whether the target has whole messages only, and owes no response to any that passed."""
        return self.is_between_messages and not self._unanswered

    @property
    def is_blocked(self) -> bool:
        """See `MessageFlow`."""
        return self.phase in (Phase.TREAT, Phase.READY, Phase.SEND)

    @property
    def is_at_boundary(self) -> bool:
        """See `Flow`."""
        return self.phase is not Phase.NONE or super().is_at_boundary

    def advance(self) -> bool:
        """See `MessageFlow`."""
        has_ended = self._end_treatment() if self.phase is Phase.TREAT else self._end_exchange()
        return super().advance() or has_ended

    def send(self) -> int:
        """See `Flow`. Sets `failure` if the file of the object cannot be read."""
        try:
            count = super().send()
        except OSError as error:
            self.failure = f"the held object cannot be read: {error.strerror or error}"
            self._out.cut()
            return 0
        if self.phase is Phase.SEND and count:
            self.deadline = time.monotonic() + self.times.answer
        return count

    def expire(self) -> str:
        """Process a deadline that has passed; return why the association must end, or an empty string."""
        if self.phase is Phase.TREAT:
            self._refuse(OUT_OF_RESOURCES, "The object was not ready in time; send it again.")
            return ""
        return f"it did not answer a C-STORE within {self.times.answer:g} seconds"

    def begin_sending(self) -> None:
        """Send the object that is ready."""
        request, handover = self._request, self._handover
        if request is None or handover is None:
            raise RuntimeError("No object is ready.")
        try:
            data = handover.open(request.context_id, self.maximum)
        except OSError:
            self._refuse(OUT_OF_RESOURCES, "The object cannot be read back; send it again.")
            return
        self._is_behind_others = not self._out.is_empty
        self._out.add(request.pdus)
        self._out.add(data)
        self._enter(Phase.SEND, self.times.answer)

    def note_response(self, command: CommandSet, is_answered: bool) -> None:
        """Process a response of the target, which may be the one to the object that was sent."""
        if command.elements.get(MESSAGE_ID_RESPONDED_TO) and command.elements.get(STATUS) not in _PENDING:
            self._unanswered.discard(command.number(MESSAGE_ID_RESPONDED_TO))
        request, handover = self._request, self._handover
        if self.phase is not Phase.SEND or request is None or handover is None or command.field != C_STORE_RSP:
            return
        if command.number(MESSAGE_ID_RESPONDED_TO) == request.command.number(MESSAGE_ID):
            handover.settle(command.number(STATUS), is_answered)
            self._is_answered = True
            self._end_exchange()

    def take_back(self) -> bool:
        """Have the object sent again, since the target was lost before it answered.

        False if that was done before, or if messages that came before the object may not have been sent to their end.
        """
        if self._was_lost or self._is_answered or self._is_behind_others:
            return False
        self._was_lost = True
        self._out.clear()
        self._enter(Phase.READY)
        return True

    def close(self, last: bytes = b"") -> None:
        """See `Flow`."""
        super().close(last)
        if last or self.framing.aborted:
            self._release()

    def release(self) -> None:
        """Remove what is held, at the end of the association."""
        self._out.clear()
        self._release()

    # -- inside -----------------------------------------------------------------------------------------------

    def _begin_message(self, command: CommandSet, pdus: bytes) -> None:
        if command.field != C_STORE_RQ or not command.has_data_set:
            if not command.is_response:
                self._unanswered.add(command.number(MESSAGE_ID))
            super()._begin_message(command, pdus)
            return
        self._request = StoreRequest(self._message_context, command, pdus)
        holder = self._make_holder()
        self.times = holder.times
        self._held = holder.collect(self._contexts[self._message_context], command)
        self._enter(Phase.COLLECT)

    def _begin_data(self, header: bytes) -> None:
        if self.phase is not Phase.COLLECT:
            super()._begin_data(header)

    def _take_data(self, piece: memoryview) -> None:
        if self.phase is Phase.COLLECT and self._held is not None:
            self._held.write(piece)
        else:
            super()._take_data(piece)

    def _end_data(self) -> None:
        held, self._held = self._held, None
        if held is None:
            super()._end_data()
            return
        self._enter(Phase.TREAT, self.times.answer)
        self._treatment = Treatment(held, self._alarm)

    def _end_treatment(self) -> bool:
        outcome = None if self._treatment is None else self._treatment.outcome
        if outcome is None:
            return False
        self._treatment = None
        if isinstance(outcome, Answer):
            self._refuse(outcome.status, outcome.comment)
        else:
            self._handover = outcome
            self._enter(Phase.READY)
        return True

    def _end_exchange(self) -> bool:
        """Let the next message pass once the target has the whole object, and has answered, which it may do earlier."""
        is_over = self._is_answered and self._out.is_empty
        if is_over:
            self._release()
        return is_over

    def _refuse(self, status: int, comment: str) -> None:
        request = self._request
        self._release()
        if request is not None:
            self._answer(request, Answer(status, comment))

    def _release(self) -> None:
        for held in (self._held, self._treatment, self._handover):
            if held is not None:
                held.discard()
        self._held = self._treatment = self._handover = self._request = None
        self._was_lost = self._is_answered = self._is_behind_others = False
        self._enter(Phase.NONE)

    def _enter(self, phase: Phase, seconds: float = _FOREVER) -> None:
        self.phase, self.deadline = phase, time.monotonic() + seconds
