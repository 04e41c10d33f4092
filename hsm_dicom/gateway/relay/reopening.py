"""The connection to the target, made again for an object that was held while the target left."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field

from hsm_dicom.gateway.relay.association import Call
from hsm_dicom.gateway.relay.leg import Leg
from hsm_dicom.gateway.relay.negotiation import Acceptance, make_acceptance, make_request
from hsm_dicom.gateway.relay.opening import NOBODY, Unanswered, request_association
from hsm_dicom.gateway.relay.waiting import Waiting
from hsm_dicom.network.errors import PDUError
from hsm_dicom.network.upper_layer.negotiation import read_maximum_length
from hsm_dicom.network.upper_layer.pdu import ASSOCIATE_AC, PDU, abort, release_request
from hsm_dicom.transport.alarm import Alarm

_PARTING_SECONDS = 2.0
"""How long the target may take to answer the release of the old connection, if that still stands."""


@dataclass(frozen=True)
class Reopened:
    """A connection on which the target has accepted the same association. `maximum` is its length of PDUs."""

    leg: Leg = field(repr=False)
    maximum: int


class Reopening:
    """Connects in a thread of its own. `alarm` is rung when `outcome` is there: the connection, or why there is none.

    The same A-ASSOCIATE-RQ is sent. The target must accept the same presentation contexts with the same Transfer
    Syntaxes, since the caller knows those.
    """

    def __init__(self, call: Call, acceptance: Acceptance, left: Leg, alarm: Alarm) -> None:
        """Start the thread. `left` is the old connection, which is released or closed first."""
        self.outcome: Reopened | str | None = None
        self._call, self._acceptance, self._left, self._alarm = call, acceptance, left, alarm
        self._is_discarded = False
        self._changing = threading.Lock()
        try:
            threading.Thread(target=self._run, name=f"reopen-{call.settings.name}", daemon=True).start()
        except RuntimeError:
            left.close()
            self.outcome = "this node has no more threads"
            alarm.ring()

    def discard(self) -> None:
        """Forget it; a connection that is made later is closed."""
        with self._changing:
            self._is_discarded = True
            outcome = self.outcome
        if isinstance(outcome, Reopened):
            outcome.leg.close()

    def _run(self) -> None:
        try:
            self._part()
            outcome = self._connect()
        except Exception as error:  # a device, a library or the system
            outcome = f"it cannot be reached again: {error}"
        with self._changing:
            self.outcome = outcome
            is_discarded = self._is_discarded
        if is_discarded:
            self.discard()
        self._alarm.ring()

    def _part(self) -> None:
        """Release the old connection, if the target has not left."""
        left = self._left
        if not left.has_ended:
            with contextlib.suppress(OSError, ValueError):
                left.socket.settimeout(_PARTING_SECONDS)
                left.socket.sendall(release_request())
                left.socket.recv(1)
        left.close()

    def _connect(self) -> Reopened | str:
        leg, answer = self._request()
        if isinstance(answer, Unanswered) and leg.refuse_certificate(self._call.target.name):
            leg.close()
            leg, answer = self._request()
        problem = self._find_difference(answer) if not isinstance(answer, Unanswered) else f"{answer}"
        if problem or isinstance(answer, Unanswered):
            with contextlib.suppress(OSError, ValueError):
                leg.socket.sendall(abort())
            leg.close()
            return problem
        return Reopened(leg, read_maximum_length(answer))

    def _request(self) -> tuple[Leg, PDU | Unanswered]:
        """Connect, and request the same association."""
        call, alarm = self._call, Alarm()
        leg = Leg(call.target.connect())
        try:
            request, seconds = make_request(call.request, call.settings), call.settings.request_seconds
            return leg, request_association(NOBODY, leg, request, seconds, Waiting(alarm), lambda: self._is_discarded)
        except BaseException:
            leg.close()
            raise
        finally:
            alarm.close()

    def _find_difference(self, answer: PDU) -> str:
        if answer.type != ASSOCIATE_AC:
            return f"it answered with an {answer.name} when it was connected again"
        try:
            accepted = make_acceptance(answer, self._call.request, self._call.settings)
        except PDUError as problem:
            return f"it answered with {problem} when it was connected again"
        is_same = dict(accepted.contexts) == dict(self._acceptance.contexts)
        return "" if is_same else "it accepts other presentation contexts now"
