"""Refusals on the wire (R24): the message that is due in a state, with NAK or a device's failure as its option.

If no message is due from the end that refuses, it closes the connection without one.
"""

from __future__ import annotations

from dataclasses import replace

from hsm_dicom.iscl.errors import ErrorCode
from hsm_dicom.iscl.protocol.states import Speaker, State
from hsm_dicom.iscl.wire.messages import (
    DEVICE_FAILURE,
    NAK,
    AuthenticationCompletion,
    AuthenticationResponse,
    LineCheckResponse,
    Message,
    OptionUse,
    Pass1,
    Pass2,
    Pass3,
    SessionRandomRequest,
    SessionRandomResponse,
    TransmissionResponse,
)

_NO_VALUE = bytes(8)

REFUSALS: dict[State, tuple[Speaker, Message]] = {
    State.LINE_CHECK_ASKED: (Speaker.CLIENT, LineCheckResponse(0, option=NAK)),
    State.AUTHENTICATION_ASKED: (Speaker.CLIENT, AuthenticationResponse(option=NAK)),
    State.AUTHENTICATION_AGREED: (Speaker.SERVER, Pass1(_NO_VALUE, option=NAK)),
    State.CHALLENGED: (Speaker.CLIENT, Pass2(_NO_VALUE, _NO_VALUE, option=NAK)),
    State.ANSWERED: (Speaker.SERVER, Pass3(_NO_VALUE, option=NAK)),
    State.PROVEN: (Speaker.CLIENT, AuthenticationCompletion(option=NAK)),
    State.REQUESTED: (Speaker.OTHER, TransmissionResponse(0, option=NAK)),
    State.RANDOM_AWAITED: (Speaker.INITIATOR, SessionRandomRequest(_NO_VALUE, option=NAK)),
    State.RANDOM_GIVEN: (Speaker.OTHER, SessionRandomResponse(option=NAK)),
}
"""Who owes which message in a state, as a refusal."""


def refusal(state: State, code: ErrorCode, limit: int) -> tuple[Speaker, Message | None]:
    """Return who may refuse in a state, and by which message; None if no message is due.

    `limit` is the longest message that we take: it is reported to the sender of a refused transfer.
    """
    speaker, message = REFUSALS.get(state, (Speaker.EITHER, None))
    if isinstance(message, TransmissionResponse):
        message = replace(message, length=limit)
    elif message is not None and code is ErrorCode.OWN_DEVICE_FAILED and message.option_use is OptionUse.DEVICE_RESULT:
        message = replace(message, option=DEVICE_FAILURE)
    return speaker, message
