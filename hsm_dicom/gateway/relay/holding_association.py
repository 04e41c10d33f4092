"""A relayed association on a route that holds objects until they were judged or signed.

Two things differ from a relay that passes octets. The target may leave while an object is held, because its timers do
not know of the holding: it is connected again before the object is sent, unless it owes a response to another request,
or has a part of another message. And the caller may leave when an object was handed over: the exchange with the target
is finished, and its status recorded for the next time.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

from hsm_dicom.gateway.hold import Answer, Holder
from hsm_dicom.gateway.relay.association import ANSWER_SECONDS, Call, Observer, RelayedAssociation
from hsm_dicom.gateway.relay.flow import AnyFlow
from hsm_dicom.gateway.relay.holding_flow import HoldingFlow, Phase, StoreRequest
from hsm_dicom.gateway.relay.message_flow import MessageFlow
from hsm_dicom.gateway.relay.negotiation import Acceptance
from hsm_dicom.gateway.relay.reopening import Reopened, Reopening
from hsm_dicom.gateway.tap import Direction, Tap
from hsm_dicom.network.dimse.commands import CommandSet, encode_store_response
from hsm_dicom.network.errors import PDUError
from hsm_dicom.network.upper_layer.negotiation import read_maximum_length
from hsm_dicom.network.upper_layer.pdu import PDU, abort, encode_command

_WHOLE_COMMAND = 3
"""The message control header of a command set in one fragment (PS3.8, E.2)."""


class HoldingAssociation(RelayedAssociation):
    """One association; `make_holder` makes what holds one object."""

    _turn = contextlib.nullcontext()
    """It writes and reads files, and no other association should wait for a disk."""

    def __init__(
        self,
        call: Call,
        observer: Observer,
        make_holder: Callable[[], Holder],
        make_tap: Callable[[], Tap] | None = None,
        delay: Callable[[int], float] | None = None,
    ) -> None:
        super().__init__(call, observer, make_tap, delay)
        self._make_holder = make_holder
        self._forth: HoldingFlow | None = None
        self._back: MessageFlow | None = None
        self._acceptance: Acceptance | None = None
        self._tap: Tap | None = None
        self._reopening: Reopening | None = None
        self._is_target_away = False
        self._far_used = (0, 0.0)
        """Octets that were exchanged with the target, and when their number last changed."""
        self._caller_left: tuple[str, str] | None = None
        """How the caller left, if the exchange with the target goes on without it."""

    def _make_flows(self, answer: PDU, acceptance: Acceptance, tap: Tap | None) -> tuple[AnyFlow, AnyFlow]:
        self._acceptance, self._tap = acceptance, tap
        forth = self._forth = HoldingFlow(
            self._caller,
            self._connected,
            self._make_framing(Direction.FORTH, acceptance, tap),
            self._make_holder,
            acceptance.contexts,
            read_maximum_length(answer),
            self._alarm,
            self._answer,
        )
        framing = self._make_framing(Direction.BACK, acceptance, tap)
        self._back = MessageFlow(self._connected, self._caller, framing, acceptance.data, self._note_response)
        return forth, self._back

    def _relay(self, forth: AnyFlow, back: AnyFlow) -> None:
        try:
            super()._relay(forth, back)
        finally:
            if self._forth is not None:
                self._forth.release()
            if self._reopening is not None:
                self._reopening.discard()

    # -- what happens beside the octets -------------------------------------------------------------------------

    def _progress(self, now: float) -> int:
        forth, back = self._forth, self._back
        if forth is None or back is None or self._outcome:
            return 0
        exchanged = forth.octets + back.octets
        if exchanged != self._far_used[0]:
            self._far_used = exchanged, now
        if forth.is_blocked:
            # The object has deadlines of its own once it is complete.
            self._deadline = now + (ANSWER_SECONDS if self._awaits_answer else self.call.settings.idle_seconds)
        try:
            has_changed = forth.advance()
        except PDUError as problem:  # behind an object that was held
            self._abort(f"{self._name(forth)} sent {problem}", problem.abort_reason)
            return 1
        if now >= forth.deadline:
            why = forth.expire()
            has_changed = True
            if why:
                self._abort(f"the target '{self.call.target.name}' failed: {why}", 0)
        if forth.failure:
            self._abort(forth.failure, 0)
        if self._caller_left is not None and forth.phase is not Phase.SEND and not self._outcome:
            self._end(*self._caller_left, abort())
        elif forth.phase is Phase.READY and not self._outcome:
            has_changed = self._hand_over(now, forth, back) or has_changed
        return int(has_changed)

    def _next_time(self) -> float:
        return math.inf if self._forth is None else self._forth.deadline

    def _hand_over(self, now: float, forth: HoldingFlow, back: MessageFlow) -> bool:
        """Send the object that is ready, over a connection on which the target still listens."""
        if self._reopening is not None:
            return self._end_reopening(now, self._reopening, forth, back)
        acceptance = self._acceptance
        if acceptance is None:
            raise RuntimeError("The association is not open.")
        is_old = now - max(self._far_used[1], self.began) > forth.times.far_idle
        if not (self._is_target_away or (is_old and forth.may_change_sinks)):
            forth.begin_sending()
        elif not (back.is_between_messages and forth.may_change_sinks):
            self._end("lost", f"the target '{self.call.target.name}' left within a message", abort())
        else:
            self._waiting.forget(self._connected)
            self._is_target_away = back.is_paused = True
            left = self._connected.give_away()
            left.has_ended = left.has_ended or back.framing.aborted  # nothing follows an A-ABORT
            self._reopening = Reopening(self.call, acceptance, left, self._alarm)
        return True

    def _end_reopening(self, now: float, reopening: Reopening, forth: HoldingFlow, back: MessageFlow) -> bool:
        outcome = reopening.outcome
        if outcome is None:
            return False
        self._reopening = None
        if not isinstance(outcome, Reopened):
            self._end(
                "lost", f"the target '{self.call.target.name}' left while an object was held, and {outcome}", abort()
            )
            return True
        acceptance = self._acceptance
        if acceptance is None:
            raise RuntimeError("The association is not open.")
        self._target, self._is_target_away = outcome.leg, False
        framing = self._make_framing(Direction.BACK, acceptance, self._tap)
        framing.other, forth.framing.other = forth.framing, framing
        back.restart(outcome.leg, framing)
        forth.sink, forth.maximum = outcome.leg, outcome.maximum
        self._far_used = self._far_used[0], now
        forth.begin_sending()
        return True

    def _goes_on_without(self, flow: AnyFlow, outcome: str, why: str) -> bool:
        forth, back = self._forth, self._back
        if forth is None or back is None:
            return False
        if flow is forth:
            if self._caller_left is None and forth.phase is Phase.SEND:
                self._caller_left = outcome, why
                forth.is_closed = True
                back.deafen()
                self._alarm.ring()  # there is something to do without an octet
            return self._caller_left is not None
        if self._is_target_away:
            return forth.phase is not Phase.NONE
        if self._caller_left is not None or forth.phase is Phase.NONE or not back.is_between_messages:
            return False
        if forth.phase is Phase.SEND and not forth.take_back():
            return False
        if forth.phase is not Phase.COLLECT and not forth.may_change_sinks:
            return False
        self._is_target_away = True
        self._alarm.ring()
        return True

    # -- responses ----------------------------------------------------------------------------------------------

    def _note_response(self, command: CommandSet) -> None:
        forth = self._forth
        if forth is not None:
            has_left = forth.framing.aborted or (forth.source.has_ended and not forth.framing.release_requests)
            forth.note_response(command, is_answered=not has_left)

    def _answer(self, request: StoreRequest, answer: Answer) -> None:
        """Give the caller a response of this node to its C-STORE-RQ."""
        command = encode_store_response(request.command, answer.status, answer.comment)

        def note() -> None:
            if self._tap is not None:
                self._tap.take(Direction.BACK, request.context_id, _WHOLE_COMMAND, memoryview(command), True)

        if self._back is not None:
            self._back.insert(encode_command(request.context_id, command), note)


def make_association(
    call: Call,
    observer: Observer,
    make_tap: Callable[[], Tap] | None,
    make_holder: Callable[[], Holder] | None,
    delay: Callable[[int], float],
) -> RelayedAssociation:
    """Return an association that holds objects if there is something to hold them."""
    if make_holder is None:
        return RelayedAssociation(call, observer, make_tap, delay)
    return HoldingAssociation(call, observer, make_holder, make_tap, delay)
