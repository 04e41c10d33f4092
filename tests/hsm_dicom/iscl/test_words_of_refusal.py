"""How a refusal is told: by the message that is due, or not at all."""

from __future__ import annotations

import pytest

from hsm_dicom.iscl.errors import ErrorCode, RemoteProtocolError
from hsm_dicom.iscl.protocol.states import State
from hsm_dicom.iscl.wire.messages import (
    DEVICE_FAILURE,
    NAK,
    AuthenticationCompletion,
    AuthenticationResponse,
    DisconnectionResponse,
    LineCheckResponse,
    Message,
    Pass1,
    Pass2,
    Pass3,
    SessionRandomRequest,
    SessionRandomResponse,
    TransmissionResponse,
)
from hsm_dicom.iscl.wire.profile import Role, WireProfile
from tests.hsm_dicom.iscl.samples import REQUEST, Line

SERVER, CLIENT = Role.SERVER, Role.CLIENT


@pytest.mark.parametrize(
    ("state", "who", "refusal"),
    [
        (State.CONNECTED, CLIENT, None),
        (State.LINE_CHECK_ASKED, CLIENT, LineCheckResponse),
        (State.LINE_CHECKED, CLIENT, None),
        (State.AUTHENTICATION_ASKED, CLIENT, AuthenticationResponse),
        (State.AUTHENTICATION_AGREED, SERVER, Pass1),
        (State.CHALLENGED, CLIENT, Pass2),
        (State.ANSWERED, SERVER, Pass3),
        (State.PROVEN, CLIENT, AuthenticationCompletion),
        (State.PROVEN, SERVER, None),
        (State.READY, SERVER, None),
        (State.REQUESTED, SERVER, TransmissionResponse),
        (State.REQUESTED, CLIENT, None),
        (State.RANDOM_AWAITED, CLIENT, SessionRandomRequest),
        (State.RANDOM_GIVEN, SERVER, SessionRandomResponse),
        (State.SENDING, SERVER, None),
        (State.SENT, SERVER, None),
    ],
)
def test_who_is_due_to_answer_refuses_with_nak_and_nobody_else_says_a_word(
    state: State, who: Role, refusal: type[Message] | None
) -> None:
    for code, option in ((ErrorCode.PEER_NOT_AUTHENTIC, NAK), (ErrorCode.OWN_DEVICE_FAILED, DEVICE_FAILURE)):
        line = Line().drive(state, CLIENT)
        told = line.ends[who].refuse(RemoteProtocolError(code, "A reason."))
        assert line.ends[who].state is State.FAILED
        if refusal is None:
            assert told == b""
            continue
        assert int.from_bytes(told[4:8], "big") == refusal.id
        answers = refusal in (LineCheckResponse, AuthenticationResponse, TransmissionResponse)
        assert int.from_bytes(told[12:16], "big") == (NAK if answers else option)
        assert int.from_bytes(told[20:24], "big") == 0
        assert line.ends[who].refuse(RemoteProtocolError(code, "Again.")) == b""


def test_a_refusal_of_a_message_that_is_too_long_says_our_limit() -> None:
    line = Line(max_message=50).drive(State.READY)
    line.client.max_message = 1000
    line.server.receive_data(line.client.send(REQUEST))
    with pytest.raises(RemoteProtocolError) as caught:
        line.server.next_event()
    line.client.receive_data(line.server.refuse(caught.value))
    with pytest.raises(RemoteProtocolError, match="it takes 50 octets") as refused:
        line.client.next_event()
    assert refused.value.code is ErrorCode.PEER_LIMIT_TOO_SMALL
    assert line.server.peer_request == REQUEST


def test_a_profile_may_put_the_error_number_into_a_refusal() -> None:
    line = Line(WireProfile(error_number_sent=True)).drive(State.AUTHENTICATION_ASKED)
    told = line.client.refuse(RemoteProtocolError(ErrorCode.KEY_NOT_CONFIGURED, "A reason."))
    assert int.from_bytes(told[20:24], "big") == ErrorCode.KEY_NOT_CONFIGURED


def test_a_refused_disconnection_leaves_the_connection_ready() -> None:
    line = Line().drive(State.DISCONNECTING, CLIENT)
    event = line.say(SERVER, DisconnectionResponse(option=NAK))
    assert event == DisconnectionResponse(option=NAK)
    assert line.server.state is line.client.state is State.READY
