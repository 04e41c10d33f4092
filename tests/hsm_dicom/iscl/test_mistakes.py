"""Every mistake in a message that comes in turn, and a line that just ends: each has its code, and ends the line."""

from __future__ import annotations

import dataclasses

import pytest

from hsm_dicom.iscl.errors import ConnectionLostError, ErrorCode, LocalProtocolError, RemoteProtocolError
from hsm_dicom.iscl.protocol.states import State
from hsm_dicom.iscl.wire.encoding import build
from hsm_dicom.iscl.wire.messages import (
    NAK,
    AuthenticationCompletion,
    AuthenticationRequest,
    AuthenticationResponse,
    DataBlock,
    DisconnectionRequest,
    DisconnectionResponse,
    LineCheckRequest,
    LineCheckResponse,
    MacNotification,
    Message,
    Pass1,
    Pass2,
    Pass3,
    SessionRandomRequest,
    SessionRandomResponse,
    ThroughData,
    TransmissionRequest,
    TransmissionResponse,
)
from hsm_dicom.iscl.wire.profile import Role, WireProfile
from tests.hsm_dicom.iscl.samples import REQUEST, SAMPLES, STATES, VALUE, Line

SERVER, CLIENT = Role.SERVER, Role.CLIENT


MISTAKES = [
    (State.CONNECTED, SERVER, LineCheckRequest(b"MEDIS-ISCL V2.00", 8192), ErrorCode.WRONG_VERSION),
    (State.CONNECTED, SERVER, LineCheckRequest(b"MEDIS-ISCL V1.00", 39), ErrorCode.UNEXPECTED_LENGTH),
    (State.CONNECTED, SERVER, LineCheckRequest(b"MEDIS-ISCL V1.00", 8192, option=1), ErrorCode.UNEXPECTED_OPTION),
    (State.LINE_CHECK_ASKED, CLIENT, LineCheckResponse(8193), ErrorCode.BLOCK_LENGTH_TOO_LARGE),
    (State.LINE_CHECK_ASKED, CLIENT, LineCheckResponse(39), ErrorCode.UNEXPECTED_LENGTH),
    (State.LINE_CHECK_ASKED, CLIENT, LineCheckResponse(0, option=NAK), ErrorCode.PEER_REFUSED),
    (State.LINE_CHECK_ASKED, CLIENT, LineCheckResponse(8192, option=2), ErrorCode.UNEXPECTED_OPTION),
    (State.LINE_CHECKED, SERVER, AuthenticationRequest(1, 1), ErrorCode.WRONG_AUTHENTICATION_METHOD),
    (State.LINE_CHECKED, SERVER, AuthenticationRequest(0, 0), ErrorCode.KEY_NOT_CONFIGURED),
    (State.LINE_CHECKED, SERVER, AuthenticationRequest(0, 9), ErrorCode.KEY_NOT_CONFIGURED),
    (State.AUTHENTICATION_ASKED, CLIENT, AuthenticationResponse(option=NAK), ErrorCode.PEER_REFUSED),
    (State.AUTHENTICATION_AGREED, SERVER, Pass1(VALUE, option=0x6F00), ErrorCode.PEER_DEVICE_FAILED),
    (State.CHALLENGED, CLIENT, Pass2(VALUE, VALUE, option=NAK), ErrorCode.PEER_REFUSED),
    (State.CHALLENGED, CLIENT, Pass2(VALUE, VALUE, option=1), ErrorCode.PEER_DEVICE_FAILED),
    (State.ANSWERED, SERVER, Pass3(VALUE, option=NAK), ErrorCode.PEER_REFUSED),
    (State.PROVEN, CLIENT, AuthenticationCompletion(option=NAK), ErrorCode.PEER_REFUSED),
    (State.PROVEN, CLIENT, AuthenticationCompletion(option=0x6300), ErrorCode.PEER_DEVICE_FAILED),
    (State.READY, CLIENT, TransmissionRequest(0x1213, 1, 0x1441, 9), ErrorCode.METHOD_NOT_ACCEPTABLE),
    (State.READY, CLIENT, TransmissionRequest(0x1212, 1, 0x1442, 9), ErrorCode.METHOD_NOT_ACCEPTABLE),
    (State.READY, CLIENT, TransmissionRequest(0x1212, 0, 0x1441, 9), ErrorCode.METHOD_NOT_ACCEPTABLE),
    (State.READY, CLIENT, TransmissionRequest(0x1212, 9, 0x1441, 9), ErrorCode.METHOD_NOT_ACCEPTABLE),
    (State.READY, CLIENT, TransmissionRequest(0x1212, 0x19, 0x1441, 9), ErrorCode.METHOD_NOT_ACCEPTABLE),
    (State.READY, CLIENT, TransmissionRequest(0x1212, 0x21, 0x1441, 9), ErrorCode.METHOD_NOT_ACCEPTABLE),
    (State.READY, CLIENT, TransmissionRequest(0x1212, 1, 0x1441, 0), ErrorCode.UNEXPECTED_LENGTH),
    (State.READY, CLIENT, TransmissionRequest(0x1212, 1, 0x1441, 1_048_577), ErrorCode.OWN_LIMIT_TOO_SMALL),
    (State.READY, CLIENT, TransmissionRequest(0x1212, 1, 0x1441, 0xFFFFFFFF), ErrorCode.OWN_LIMIT_TOO_SMALL),
    (State.READY, CLIENT, dataclasses.replace(REQUEST, option=NAK), ErrorCode.UNEXPECTED_OPTION),
    (State.READY, CLIENT, ThroughData(b"", option=NAK), ErrorCode.UNEXPECTED_OPTION),
    (State.READY, CLIENT, DisconnectionRequest(option=NAK), ErrorCode.UNEXPECTED_OPTION),
    (State.REQUESTED, SERVER, TransmissionResponse(99, option=NAK), ErrorCode.PEER_LIMIT_TOO_SMALL),
    (State.REQUESTED, SERVER, TransmissionResponse(100, option=NAK), ErrorCode.METHOD_NOT_ACCEPTABLE),
    (State.REQUESTED, SERVER, TransmissionResponse(100, option=3), ErrorCode.UNEXPECTED_OPTION),
    (State.RANDOM_AWAITED, CLIENT, SessionRandomRequest(VALUE, option=1), ErrorCode.PEER_DEVICE_FAILED),
    (State.RANDOM_AWAITED, CLIENT, DataBlock(bytes(8)), ErrorCode.SESSION_RANDOM_EXPECTED),
    (State.RANDOM_GIVEN, SERVER, SessionRandomResponse(option=NAK), ErrorCode.PEER_REFUSED),
    (State.SENDING, CLIENT, DataBlock(b""), ErrorCode.UNEXPECTED_LENGTH),
    (State.SENDING, CLIENT, DataBlock(bytes(105)), ErrorCode.UNEXPECTED_LENGTH),
    (State.SENDING, CLIENT, MacNotification(bytes(24)), ErrorCode.UNEXPECTED_MESSAGE),
    (State.SENT, CLIENT, DataBlock(bytes(8)), ErrorCode.UNEXPECTED_MESSAGE),
    (State.SENT, CLIENT, MacNotification(bytes(24), option=NAK), ErrorCode.UNEXPECTED_OPTION),
    (State.DISCONNECTING, SERVER, DisconnectionResponse(option=1), ErrorCode.UNEXPECTED_OPTION),
]


@pytest.mark.parametrize(("state", "sender", "message", "code"), MISTAKES)
def test_each_mistake_of_the_peer_has_its_code_and_ends_the_connection(
    state: State, sender: Role, message: Message, code: ErrorCode
) -> None:
    end = Line().drive(state, CLIENT).ends[sender.peer]
    end.receive_data(build(message, WireProfile()))
    with pytest.raises(RemoteProtocolError) as caught:
        end.next_event()
    assert caught.value.code is code
    assert str(end.error) == str(caught.value)
    with pytest.raises(RemoteProtocolError):
        end.next_event()


@pytest.mark.parametrize(
    ("state", "sender", "message", "code"),
    [
        mistake
        for mistake in MISTAKES
        if mistake[3] in (ErrorCode.WRONG_VERSION, ErrorCode.UNEXPECTED_LENGTH, ErrorCode.UNEXPECTED_OPTION)
    ],
)
def test_we_make_no_such_mistake_ourselves(state: State, sender: Role, message: Message, code: ErrorCode) -> None:
    end = Line().drive(state, CLIENT).ends[sender]
    with pytest.raises(LocalProtocolError) as caught:
        end.send(message)
    assert caught.value.code is code
    assert end.state is state


def test_a_connection_that_just_ends_is_an_error_in_every_state_but_closed() -> None:
    for state in STATES:
        for role in Role:
            end = Line().drive(state).ends[role]
            end.receive_data(b"")
            if state is State.CLOSED:
                assert end.next_event() is None
            else:
                with pytest.raises(ConnectionLostError):
                    end.next_event()


def test_a_connection_that_ends_within_a_message_is_lost() -> None:
    line = Line()
    line.client.receive_data(line.server.send(SAMPLES[0])[:40])
    assert line.client.next_event() is None
    line.client.receive_data(b"")
    with pytest.raises(ConnectionLostError):
        line.client.next_event()
