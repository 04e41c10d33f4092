"""The A-ASSOCIATE-RQ to the target, and its answer. Until then, the caller may send nothing but an A-ABORT."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from hsm_dicom.gateway.relay.leg import Leg
from hsm_dicom.gateway.relay.waiting import Waiting
from hsm_dicom.network.errors import PDUError
from hsm_dicom.network.settings import MAXIMUM_PDU
from hsm_dicom.network.upper_layer.pdu import ABORT, ASSOCIATE_AC, ASSOCIATE_RJ, PDU, PDUReader, abort


class Failure(Enum):
    """Why there is no answer of the target."""

    CALLER_ABORTED = "the caller aborted it"
    CALLER_LEFT = "the caller closed its connection"
    CALLER_WRONG = "the caller sent {}"
    TARGET_LEFT = "the target closed its connection instead of answering"
    TARGET_SILENT = "the target did not answer the request within {} seconds"
    TARGET_WRONG = "the target answered with {}"
    STOPPED = "this node stops"


@dataclass(frozen=True)
class Unanswered:
    """The end of an association that the target did not answer. `detail` completes the sentence of `failure`.

    `for_target` is what it may still be sent: an A-ABORT, if the whole request was sent.
    """

    failure: Failure
    detail: str = ""
    for_target: bytes = b""

    def __str__(self) -> str:
        return self.failure.value.format(self.detail)


class Nobody:
    """In the place of the caller's leg, where the caller is not to be heard: it never sends and never leaves."""

    has_ended = False


NOBODY = Nobody()


def request_association(
    caller: Leg | Nobody, target: Leg, request: bytes, seconds: float, waiting: Waiting, is_stopped: Callable[[], bool]
) -> PDU | Unanswered:
    """Send the request, and return the answer: an A-ASSOCIATE-AC, an A-ASSOCIATE-RJ or an A-ABORT."""
    deadline = time.monotonic() + seconds
    from_target = PDUReader(maximum_data=MAXIMUM_PDU, seconds=seconds, expected=(ASSOCIATE_AC, ASSOCIATE_RJ, ABORT))
    from_caller = PDUReader(maximum_data=MAXIMUM_PDU, seconds=seconds, expected=(ABORT,))
    rest = memoryview(request)

    def fail(failure: Failure, detail: str = "", aborting: bytes = b"") -> Unanswered:
        return Unanswered(failure, detail, b"" if rest else aborting or abort())

    while True:
        try:
            aborting = None if isinstance(caller, Nobody) else _read(caller, from_caller)
        except PDUError as problem:
            return fail(Failure.CALLER_WRONG, str(problem))
        if aborting is not None:
            return fail(Failure.CALLER_ABORTED, aborting=aborting.data)
        if caller.has_ended:
            return fail(Failure.CALLER_LEFT)
        if rest and target.may_write:
            rest = rest[target.send(rest) :]
        try:
            answer = _read(target, from_target)
        except PDUError as problem:
            return fail(Failure.TARGET_WRONG, str(problem))
        if answer is not None:
            return answer
        if target.has_ended:
            return fail(Failure.TARGET_LEFT)
        left = deadline - time.monotonic()
        if is_stopped():
            return fail(Failure.STOPPED)
        if left <= 0:
            return fail(Failure.TARGET_SILENT, f"{seconds:g}")
        legs = {target: (True, bool(rest))}
        waiting.wait(legs if isinstance(caller, Nobody) else {caller: (True, False), **legs}, left)


def _read(leg: Leg, reader: PDUReader) -> PDU | None:
    """Read what is there of a PDU, and return it if it is complete. Raises `PDUError`."""
    while leg.may_read and not leg.has_ended:
        space = memoryview(bytearray(reader.wanted))
        count = leg.receive(space)
        if not count:
            break
        pdu = reader.feed(bytes(space[:count]))
        if pdu is not None:
            return pdu
    return None
