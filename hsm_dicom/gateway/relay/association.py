"""One relayed association: its thread, from the connection to the target until both connections are closed.

Both sockets do not block, and one `poll` waits for both: an OpenSSL connection may be used by one thread only, and an
idle association then costs nothing.
"""

from __future__ import annotations

import math
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from hsm_dicom.gateway.authorisation import RouteRefusal, refuse_for_now
from hsm_dicom.gateway.relay.commands import CommandGuard
from hsm_dicom.gateway.relay.flow import AnyFlow, Flow
from hsm_dicom.gateway.relay.framing import Framing
from hsm_dicom.gateway.relay.leg import Leg
from hsm_dicom.gateway.relay.negotiation import Acceptance, make_acceptance, make_request
from hsm_dicom.gateway.relay.opening import Failure, Unanswered, request_association
from hsm_dicom.gateway.relay.parting import finish, part, send
from hsm_dicom.gateway.relay.turns import MOVES, turns
from hsm_dicom.gateway.relay.waiting import Waiting
from hsm_dicom.gateway.services import Service
from hsm_dicom.gateway.settings import PlainDevice, RouteSettings
from hsm_dicom.gateway.status import RefusalKind
from hsm_dicom.gateway.tap import Direction, Tap
from hsm_dicom.gateway.targets import Target
from hsm_dicom.network.addresses import Address
from hsm_dicom.network.errors import PDUError
from hsm_dicom.network.settings import Peer
from hsm_dicom.network.unidentified.workers import continue_with
from hsm_dicom.network.upper_layer.negotiation import AssociateRequest
from hsm_dicom.network.upper_layer.pdu import ASSOCIATE_AC, ASSOCIATE_RJ, PDU, abort, rejection
from hsm_dicom.tls.failures import find_late_refusal
from hsm_dicom.transport.alarm import Alarm
from hsm_dicom.transport.events import log
from hsm_dicom.transport.port import ConnectionFacts, Secured

ANSWER_SECONDS = 10.0
"""How long the answer to an A-RELEASE-RQ may take if its sender has closed its side of the connection already."""


_KINDS: Mapping[Failure, RefusalKind] = {
    Failure.CALLER_ABORTED: "caller-left",
    Failure.CALLER_LEFT: "caller-left",
    Failure.CALLER_WRONG: "caller-left",
    Failure.TARGET_WRONG: "target-refused",
    Failure.STOPPED: "draining",
}
"""The words of `RelayRefused.kind` for associations that the target did not answer."""


@dataclass(frozen=True)
class Call:
    """A request that was found admissible: who made it, and what becomes of it."""

    secured: Secured = field(repr=False)
    address: Address
    request: AssociateRequest
    source: PlainDevice | Peer
    settings: RouteSettings
    target: Target


class Observer(Protocol):
    """What an association reports to its route. Called in the thread of the association."""

    def note_reached(self, call: Call) -> None:
        """Record that the target was reached and answered."""

    def note_refused(self, call: Call, refusal: RouteRefusal, is_target_down: bool) -> None:
        """Record that an admissible association is not relayed after all."""

    def note_opened(self, association: RelayedAssociation, acceptance: Acceptance, facts: ConnectionFacts) -> None:
        """Record that the target accepted; `facts` are those of its connection."""

    def note_ended(self, association: RelayedAssociation, outcome: str, why: str) -> None:
        """Record the end: "released", "aborted", "lost", or empty if the association was never opened."""


class RelayedAssociation:
    """One association on a route. `octets_forth` and `octets_back` count its octets behind the negotiation."""

    _turn: AbstractContextManager[object] = turns
    """What the thread holds while it moves octets."""

    def __init__(
        self,
        call: Call,
        observer: Observer,
        make_tap: Callable[[], Tap] | None = None,
        delay: Callable[[int], float] | None = None,
    ) -> None:
        """Create the association. `delay` returns the seconds to pause after a number of octets of the caller."""
        self.call = call
        self.began = time.monotonic()
        self._observer = observer
        self._make_tap = make_tap
        self._delay = delay
        self._alarm = Alarm()
        self._waiting = Waiting(self._alarm)
        self._must_stop = False
        self._caller = Leg(call.secured)
        self._target: Leg | None = None
        self._flows: tuple[AnyFlow, ...] = ()
        self._outcome = self._why = self._late = ""
        self._deadline = self._paused_until = 0.0
        self._awaits_answer = False
        self._has_ended = threading.Event()

    @property
    def octets_forth(self) -> int:
        """Octets that the target took from the caller."""
        return self._flows[0].octets if self._flows else 0

    @property
    def octets_back(self) -> int:
        """Octets that the caller took from the target."""
        return self._flows[1].octets if self._flows else 0

    def start(self) -> None:
        """Relay the association, in this thread if it is one of a listener. Raises `RuntimeError` if there is none."""
        continue_with(self._run, f"relay-{self.call.settings.name}")

    def stop(self) -> None:
        """Have the thread abort the association on both sides."""
        self._must_stop = True
        self._alarm.ring()

    def join(self, seconds: float) -> None:
        """Wait up to `seconds` for the association to end."""
        self._has_ended.wait(seconds)

    def discard(self) -> None:
        """Release what was opened, if the thread could not be started."""
        self._alarm.close()

    # -- the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:
            log.exception("%s: a relayed association ended because of an unexpected error.", self.call.settings.name)
            self._outcome, self._why = "lost", f"an unexpected error ({type(error).__name__})"
        finally:
            self._caller.close()
            if self._target is not None:
                self._target.close()
            self._alarm.close()
            try:
                self._observer.note_ended(self, self._outcome, self._why)
            finally:
                self._has_ended.set()

    def _serve(self) -> None:
        call = self.call
        try:
            target, answer = self._request(call.target.connect())
            if isinstance(answer, Unanswered) and target.refuse_certificate(call.target.name):
                target.close()
                self._target = None
                target, answer = self._request(call.target.connect())
        except Exception as error:  # a device, a library or the system: the caller gets an answer whatever it was
            self._refuse(f"its target '{call.target.name}' cannot be reached: {error}", is_target_down=True)
            return
        if isinstance(answer, Unanswered):
            self._end_unanswered(answer, target)
            return
        self._observer.note_reached(call)
        if answer.type == ASSOCIATE_AC:
            self._accept(answer, target)
        else:
            self._pass_refusal(answer)

    def _request(self, secured: Secured) -> tuple[Leg, PDU | Unanswered]:
        """Request the association of a target that is connected."""
        call = self.call
        self._target = target = Leg(secured)
        answer = request_association(
            self._caller,
            target,
            make_request(call.request, call.settings),
            call.settings.request_seconds,
            self._waiting,
            lambda: self._must_stop,
        )
        return target, answer

    def _end_unanswered(self, unanswered: Unanswered, target: Leg) -> None:
        failure = unanswered.failure
        why = f"the association with target '{self.call.target.name}' was not opened, because {unanswered}."
        if isinstance(target.error, ssl.SSLError):
            # In TLS 1.3, the refusal of our certificate comes after our handshake has ended.
            refusal = find_late_refusal(target.error, f"'{self.call.target.name}'")
            why = str(refusal) if refusal is not None else why
        if failure in (Failure.TARGET_LEFT, Failure.TARGET_SILENT):
            self._refuse(why, is_target_down=True, for_target=unanswered.for_target)
            return
        self._observer.note_refused(self.call, refuse_for_now(_KINDS[failure], why), False)
        has_left = failure in (Failure.CALLER_ABORTED, Failure.CALLER_LEFT)
        part(self._waiting, {self._caller: b"" if has_left else abort(), target: unanswered.for_target})

    def _refuse(self, why: str, *, is_target_down: bool, for_target: bytes = b"") -> None:
        refused = refuse_for_now("target-down", why)
        self._observer.note_refused(self.call, refused, is_target_down)
        refusal = refused.refusal
        lasts = {self._caller: rejection(refusal.result, refusal.source, refusal.reason)}
        if self._target is not None:
            lasts[self._target] = for_target
        part(self._waiting, lasts)

    def _pass_refusal(self, answer: PDU) -> None:
        """Pass an A-ASSOCIATE-RJ or an A-ABORT of the target as it is."""
        why = f"its target '{self.call.target.name}' answered with an {answer.name}"
        refused = refuse_for_now("target-refused", why)
        if answer.type == ASSOCIATE_RJ:
            result, source, reason = answer.data[-3:]
            text = f"{why} (result {result}, source {source}, reason {reason}); see its log."
            refused = RouteRefusal(refused.kind, type(refused.refusal)(text, reason, result, source))
        self._observer.note_refused(self.call, refused, False)
        lasts = {self._caller: answer.data}
        if self._target is not None:
            lasts[self._target] = b""
        part(self._waiting, lasts)

    def _accept(self, answer: PDU, target: Leg) -> None:
        try:
            acceptance = make_acceptance(answer, self.call.request, self.call.settings)
        except PDUError as problem:
            self._end_unanswered(Unanswered(Failure.TARGET_WRONG, str(problem), abort()), target)
            return
        tap = self._make_tap() if self._make_tap is not None else None
        forth, back = self._flows = self._make_flows(answer, acceptance, tap)
        forth.framing.other, back.framing.other = back.framing, forth.framing
        self._observer.note_opened(self, acceptance, target.facts)
        if tap is None:
            self._relay(forth, back)
            return
        tap.begin(acceptance.contexts)
        try:
            self._relay(forth, back)
        finally:
            tap.end()

    def _make_flows(self, answer: PDU, acceptance: Acceptance, tap: Tap | None) -> tuple[AnyFlow, AnyFlow]:
        """Return the two directions. `answer` is the A-ASSOCIATE-AC of the target."""
        return (
            Flow(self._caller, self._connected, self._make_framing(Direction.FORTH, acceptance, tap)),
            Flow(self._connected, self._caller, self._make_framing(Direction.BACK, acceptance, tap), acceptance.data),
        )

    @property
    def _connected(self) -> Leg:
        """The connection to the target, which is there behind the negotiation."""
        if self._target is None:
            raise RuntimeError("The target is not connected.")
        return self._target

    def _make_framing(self, direction: Direction, acceptance: Acceptance, tap: Tap | None) -> Framing:
        services = self.call.settings.services
        guard = None if Service.ANY in services else CommandGuard(acceptance.contexts, services)
        return Framing(direction, acceptance.contexts, tap, guard)

    # -- octets -----------------------------------------------------------------------------------------------

    def _relay(self, forth: AnyFlow, back: AnyFlow) -> None:
        idle = self.call.settings.idle_seconds
        self._deadline, self._late = time.monotonic() + idle, f"no octet came within {idle:g} seconds"
        while not self._outcome:
            with self._turn:
                is_busy = all(self._move(forth, back) for _ in range(MOVES))
            if is_busy:
                turns.let_others()
            elif not self._outcome:
                self._wait(forth, back)
        finish(forth, back, self._waiting, parts_at_once=self._outcome != "released")

    def _move(self, forth: AnyFlow, back: AnyFlow) -> bool:
        """Move what can be moved now, and see what follows from it; return whether there may be more to do."""
        now = time.monotonic()
        received = 0 if now < self._paused_until else self._receive(forth)
        if received and self._delay is not None:
            self._paused_until = now + self._delay(received)
        moved = self._progress(now) + received + send(forth) + self._receive(back) + send(back)
        # What the sides have done comes first: a release that has passed is no abort, although the node stops now.
        has_changed = self._note_ends(forth, back)
        if now >= self._deadline and not (moved or has_changed):
            self._abort(self._late, 0)
        elif moved and not self._awaits_answer:
            self._deadline = now + self.call.settings.idle_seconds
        if self._must_stop:
            self._abort("this node stops", 0)
        return bool(moved or has_changed) and not self._outcome

    def _progress(self, now: float) -> int:
        """Do what does not depend on the two legs, and return a number greater than 0 if anything has changed."""
        return 0

    def _next_time(self) -> float:
        """Return when `_progress` has something to do at the latest, by the monotonic clock."""
        return math.inf

    def _receive(self, flow: AnyFlow) -> int:
        if not flow.wants_to_read or not flow.source.may_read:
            return 0
        try:
            return flow.receive()
        except PDUError as problem:
            self._abort(f"{self._name(flow)} sent {problem}", problem.abort_reason)
            return 0

    def _note_ends(self, forth: AnyFlow, back: AnyFlow) -> bool:
        """See whether the association is over, and by whom; return whether something has changed."""
        for this, other in ((forth, back), (back, forth)):
            if this.framing.aborted:
                if self._goes_on_without(this, "aborted", f"{self._name(this)} aborted it"):
                    continue
                self._end("aborted", f"{self._name(this)} aborted it")
                return True
            asked, answered = this.framing.release_requests, other.framing.release_answers
            if answered and asked == answered and other.framing.release_requests == this.framing.release_answers:
                self._end("released", "")
                return True
        for this, other in ((forth, back), (back, forth)):
            if not this.source.has_ended or (this.is_closed and not this.source.is_lost):
                continue
            if not this.source.is_lost and this.framing.release_requests > other.framing.release_answers:
                this.close()
                self._awaits_answer = True
                self._deadline = time.monotonic() + ANSWER_SECONDS
                self._late = f"{self._name(other)} did not answer the release within {ANSWER_SECONDS:g} seconds"
                return True
            how = f" ({this.source.error})" if this.source.error else ""
            why = f"{self._name(this)} closed the connection without a release{how}"
            if self._goes_on_without(this, "lost", why):
                continue
            self._end("lost", why, abort())
            return True
        return False

    def _goes_on_without(self, flow: AnyFlow, outcome: str, why: str) -> bool:
        """Return whether the association goes on although the source of a flow has left."""
        return False

    def _end(self, outcome: str, why: str, last: bytes = b"") -> None:
        """End the association; `last` is sent to both sides where a PDU may begin."""
        if not self._outcome:
            self._outcome, self._why = outcome, why
            for flow in self._flows:
                flow.close(last)

    def _abort(self, why: str, reason: int) -> None:
        self._end("aborted", why, abort(reason))

    def _name(self, flow: AnyFlow) -> str:
        return "the caller" if flow is self._flows[0] else f"the target '{self.call.target.name}'"

    def _wait(self, forth: AnyFlow, back: AnyFlow) -> None:
        now = time.monotonic()
        is_paused = now < self._paused_until
        until = min(self._deadline, self._next_time(), self._paused_until if is_paused else math.inf)
        self._waiting.wait(
            {
                forth.source: (forth.wants_to_read and not is_paused, back.wants_to_write),
                back.source: (back.wants_to_read, forth.wants_to_write),
            },
            until - now,
        )
