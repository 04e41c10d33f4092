"""Requests and their responses (PS3.7, 9.1 and 10.1), and what is reported of them.

Both sides may send requests: the C-STORE requests of a C-GET come from the side that answers the C-GET. A response is
matched by the Message ID Being Responded To with a request of the other direction, so that asynchronous operations
(PS3.7, D.3.3.3) are followed too.
"""

from __future__ import annotations

from collections.abc import Callable

from hsm_dicom.dataset._pydicom import load_registered_uids
from hsm_dicom.events import emit
from hsm_dicom.gateway.events import InstanceRelayed, RequestRelayed
from hsm_dicom.gateway.inspect.commands import NAMES, RESPONSE, Command
from hsm_dicom.gateway.inspect.outcomes import Outcome, find_outcome
from hsm_dicom.gateway.tap import Direction
from hsm_dicom.network.dimse.commands import C_CANCEL_RQ, C_STORE_RQ

MOST_OUTSTANDING = 256
"""Requests of one association that may wait for their response. Further ones are not followed."""

_PENDING = (0xFF00, 0xFF01)
"""Statuses of a response after which another one follows (PS3.7, C.1.3)."""

_WHENCE = {Direction.FORTH: "from", Direction.BACK: "to"}

_DONE = {
    Outcome.STORED: "was stored",
    Outcome.WARNING: "was stored with a warning",
    Outcome.FAILED: "was not stored",
}


class Request:
    """A request that waits for its last response. `size` counts the bytes of its Data Set."""

    __slots__ = (
        "direction",
        "field",
        "is_ambiguous",
        "is_whole",
        "message_id",
        "responses",
        "size",
        "sop_class_uid",
        "sop_instance_uid",
        "status",
        "study_instance_uid",
    )

    def __init__(self, direction: Direction, command: Command) -> None:
        self.direction = direction
        self.field, self.message_id = command.field, command.message_id
        self.sop_class_uid, self.sop_instance_uid = command.sop_class_uid, command.sop_instance_uid
        self.study_instance_uid = ""
        self.size = self.responses = 0
        self.is_whole = not command.has_data_set
        self.is_ambiguous = False
        """Whether another request had its Message ID: nobody knows which of them a response answers."""
        self.status: int | None = None
        """That of the response, if it came before the end of the Data Set."""

    @property
    def is_store(self) -> bool:
        """Whether it sends an instance."""
        return self.field == C_STORE_RQ


class Exchanges:
    """The requests of one association, by direction and Message ID. `count` takes the outcome of each instance."""

    def __init__(self, route: str, address: str, count: Callable[[str], None]) -> None:
        self._route, self._address, self._count = route, address, count
        self._outstanding: dict[tuple[str, int], Request] = {}

    def begin(self, direction: Direction, command: Command) -> Request | None:
        """Store a request, and return it if its response will be matched."""
        request = Request(direction, command)
        if command.field == C_CANCEL_RQ:
            self._report_cancel(request)
            return None
        key = direction.value, command.message_id
        earlier = self._outstanding.get(key)
        if earlier is not None:
            self.skip()
            request.is_ambiguous = True
        elif len(self._outstanding) >= MOST_OUTSTANDING:
            self.skip()
            return None
        self._outstanding[key] = request
        return request

    def complete(self, request: Request) -> None:
        """Process the end of a request's Data Set."""
        request.is_whole = True
        if request.status is not None:
            self._finish(request, request.status)

    def abandon(self, request: Request) -> None:
        """Forget a request whose Data Set was cut off by another message."""
        self.skip()
        self._forget(request)

    def answer(self, direction: Direction, command: Command) -> None:
        """Match a response that came in this direction with its request."""
        other = Direction.BACK if direction is Direction.FORTH else Direction.FORTH
        request = self._outstanding.get((other.value, command.message_id))
        status = command.status
        if request is None or status is None or not _answers(command, request):
            self.skip()
        elif status in _PENDING and not request.is_store:
            request.responses += 1
        elif request.is_whole:
            self._finish(request, status)
        else:
            request.status = status

    def skip(self) -> None:
        """Count a message that is not followed."""
        self._count(Outcome.NOT_FOLLOWED)

    def end(self) -> None:
        """Process the end of the association."""
        for request in list(self._outstanding.values()):
            if request.status is not None:
                self._finish(request, request.status)
            elif request.is_store and not request.is_ambiguous:
                self._count(Outcome.UNANSWERED)
        self._outstanding.clear()

    def _finish(self, request: Request, status: int) -> None:
        self._forget(request)
        if request.is_ambiguous:
            self.skip()
        else:
            self._report(request, status)

    def _forget(self, request: Request) -> None:
        key = request.direction.value, request.message_id
        if self._outstanding.get(key) is request:
            del self._outstanding[key]

    def _report(self, request: Request, status: int) -> None:
        if request.is_store:
            self._report_instance(request, status)
            return
        pending = f" after {request.responses} pending responses" if request.responses else ""
        emit(
            RequestRelayed(
                name=self._route,
                address=self._address,
                text=f"{self._describe(request)} ended with status {status:04X}{pending}.",
                direction=request.direction.value,
                command=NAMES[request.field],
                sop_class_uid=request.sop_class_uid,
                status=status,
                responses=request.responses,
            )
        )

    def _report_instance(self, request: Request, status: int) -> None:
        outcome = find_outcome(status)
        self._count(outcome)
        emit(
            InstanceRelayed(
                name=self._route,
                address=self._address,
                text=f"{self._describe(request)} {_DONE[outcome]} (status {status:04X}, {request.size} bytes).",
                direction=request.direction.value,
                sop_class_uid=request.sop_class_uid,
                sop_instance_uid=request.sop_instance_uid,
                study_instance_uid=request.study_instance_uid,
                status=status,
                size=request.size,
            )
        )

    def _report_cancel(self, request: Request) -> None:
        emit(
            RequestRelayed(
                name=self._route,
                address=self._address,
                text=f"{self._describe(request)} was relayed.",
                direction=request.direction.value,
                command=NAMES[request.field],
                sop_class_uid=request.sop_class_uid,
                status=None,
                responses=0,
            )
        )

    def _describe(self, request: Request) -> str:
        """Say what it is and where it came from, without the UID of an instance."""
        registered = load_registered_uids().get(request.sop_class_uid)
        what = "an instance" if request.is_store else NAMES[request.field]
        kind = f" of {registered.name}" if registered else ""
        return f"{self._route}: {what}{kind} {_WHENCE[request.direction]} {self._address}"


def _answers(command: Command, request: Request) -> bool:
    """Whether a response fits a request: the same command, the first one, and the same instance if it names one."""
    if command.field != request.field | RESPONSE or request.status is not None:
        return False
    instances = {command.sop_instance_uid, request.sop_instance_uid} - {""}
    return not request.is_store or len(instances) < 2
