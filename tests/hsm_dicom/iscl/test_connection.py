"""The state machine: every message in every state, from either end, and every mistake in a message that is in turn."""

from __future__ import annotations

import dataclasses
import doctest

import pytest

from hsm_dicom.iscl import connection as module
from hsm_dicom.iscl.connection import Connection
from hsm_dicom.iscl.errors import ConnectionLost, ErrorCode, LocalProtocolError, RemoteProtocolError
from hsm_dicom.iscl.messages import (
    DEVICE_FAILURE,
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
    describe,
)
from hsm_dicom.iscl.profile import AnnouncedLength, Role, WireProfile
from hsm_dicom.iscl.states import RULES, State
from hsm_dicom.iscl.wire import build
from tests.hsm_dicom.iscl.samples import REQUEST, SAMPLES, UNIQUE_REQUEST, VALUE, Line

SERVER, CLIENT = Role.SERVER, Role.CLIENT

EXPECTED = """
connected              server     line check request         line check asked
line check asked       client     line check response        line checked
line checked           server     authentication request     authentication asked
authentication asked   client     authentication response    authentication agreed
authentication agreed  server     pass 1                     client challenged
client challenged      client     pass 2                     client answered
client answered        server     pass 3                     server answered
server answered        client     authentication completion  ready
ready                  both       transmission request       transfer requested
ready                  both       through data               ready
ready                  both       disconnection request      disconnection requested
transfer requested     other      transmission response      data under way
session random awaited initiator  session random request     session random given
session random given   other      session random response    data under way
data under way         initiator  data block                 data under way
MAC awaited            initiator  MAC notification           ready
disconnection requested other     disconnection response     closed
"""
"""The protocol as the documentation tells it: all that may be said, and nothing else."""

STATES = [state for state in State if state is not State.FAILED]


def expected(state: State, initiator: Role) -> dict[tuple[Role, str], str]:
    """Who may say what in a state, and the state that follows."""
    may: dict[tuple[Role, str], str] = {}
    for row in EXPECTED.strip().splitlines():
        words = row.split()
        for at in range(1, len(words)):
            if words[at] in ("server", "client", "both", "initiator", "other") and " ".join(words[:at]) == state:
                who = {
                    "server": [SERVER],
                    "client": [CLIENT],
                    "both": [SERVER, CLIENT],
                    "initiator": [initiator],
                    "other": [initiator.peer],
                }[words[at]]
                rest = " ".join(words[at + 1 :])
                name = next(describe(type(s)) for s in SAMPLES if rest.startswith(describe(type(s)) + " "))
                may.update({(role, name): rest[len(name) + 1 :] for role in who})
    return may


def crosses(state: State, initiator: Role, receiver: Role, message: Message) -> bool:
    """Whether a message may have been sent before the receiver's own request arrived."""
    asked = state in (State.REQUESTED, State.DISCONNECTING) and receiver is initiator
    return asked and isinstance(message, TransmissionRequest | DisconnectionRequest | ThroughData)


@pytest.mark.parametrize("initiator", Role)
@pytest.mark.parametrize("state", STATES)
def test_each_end_sends_what_may_be_said_and_nothing_else(state: State, initiator: Role) -> None:
    may = expected(state, initiator)
    for message in SAMPLES:
        for sender in Role:
            end = Line().drive(state, initiator).ends[sender]
            then = may.get((sender, describe(type(message))))
            if then is None:
                with pytest.raises(LocalProtocolError) as caught:
                    end.send(message)
                assert caught.value.code is ErrorCode.NOT_NOW
                assert end.state is state
            else:
                end.send(message)
                assert end.state == then


@pytest.mark.parametrize("initiator", Role)
@pytest.mark.parametrize("state", STATES)
def test_each_end_accepts_what_may_be_said_and_nothing_else(state: State, initiator: Role) -> None:
    may = expected(state, initiator)
    for message in SAMPLES:
        for sender in Role:
            end = Line().drive(state, initiator).ends[sender.peer]
            if crosses(state, initiator, sender.peer, message):
                continue
            end.receive_data(build(message, WireProfile()))
            then = may.get((sender, describe(type(message))))
            if state is State.CLOSED:
                assert end.next_event() is None
            elif then is None:
                with pytest.raises(RemoteProtocolError) as caught:
                    end.next_event()
                random_due = state is State.RANDOM_AWAITED and sender is initiator
                assert caught.value.code is (
                    ErrorCode.SESSION_RANDOM_EXPECTED if random_due else ErrorCode.UNEXPECTED_MESSAGE
                )
                assert end.state is State.FAILED
            else:
                assert end.next_event() == message
                assert end.state == then


def test_a_message_out_of_turn_is_refused_before_its_data_arrives() -> None:
    line = Line()
    line.client.receive_data(build(ThroughData(bytes(1000)), WireProfile())[:32])
    with pytest.raises(RemoteProtocolError) as caught:
        line.client.next_event()
    assert caught.value.code is ErrorCode.UNEXPECTED_MESSAGE


def test_every_rule_can_be_reached() -> None:
    """Nothing in the table is dead: each state but the first follows from a rule, and each is driven to above."""
    assert {rule.then for rule in RULES} | {State.CONNECTED} == set(State)
    assert {rule.message for rule in RULES} == {type(sample) for sample in SAMPLES}


# -- mistakes in messages that come in turn -------------------------------------------------------------------

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
def test_each_mistake_of_the_peer_has_its_code_and_ends_the_line(
    state: State, sender: Role, message: Message, code: ErrorCode
) -> None:
    end = Line().drive(state, CLIENT).ends[sender.peer]
    end.receive_data(build(message, WireProfile()))
    with pytest.raises(RemoteProtocolError) as caught:
        end.next_event()
    assert caught.value.code is code
    assert end.error is caught.value
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


def test_a_line_that_just_ends_is_an_error_in_every_state_but_closed() -> None:
    for state in STATES:
        for role in Role:
            end = Line().drive(state).ends[role]
            end.receive_data(b"")
            if state is State.CLOSED:
                assert end.next_event() is None
            else:
                with pytest.raises(ConnectionLost):
                    end.next_event()


def test_a_line_that_ends_within_a_message_is_lost() -> None:
    line = Line()
    line.client.receive_data(line.server.send(SAMPLES[0])[:40])
    assert line.client.next_event() is None
    line.client.receive_data(b"")
    with pytest.raises(ConnectionLost):
        line.client.next_event()


# -- refusals -------------------------------------------------------------------------------------------------


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


def test_a_refused_disconnection_leaves_the_line_ready() -> None:
    line = Line().drive(State.DISCONNECTING, CLIENT)
    event = line.say(SERVER, DisconnectionResponse(option=NAK))
    assert event == DisconnectionResponse(option=NAK)
    assert line.server.state is line.client.state is State.READY


# -- requests that cross --------------------------------------------------------------------------------------


def crossed(at_client: Message, at_server: Message, profile: WireProfile | None = None) -> Line:
    """Both ends send at once."""
    line = Line(profile).drive(State.READY)
    from_client, from_server = line.client.send(at_client), line.server.send(at_server)
    line.server.receive_data(from_client)
    line.client.receive_data(from_server)
    return line


@pytest.mark.parametrize("yields", Role)
def test_when_both_ask_to_send_one_gives_way_by_its_role(yields: Role) -> None:
    line = crossed(REQUEST, UNIQUE_REQUEST, WireProfile(glare_yields=yields))
    first = line.ends[yields.peer]
    assert first.next_event() is None
    accepted = line.ends[yields].next_event()
    assert accepted == (UNIQUE_REQUEST if yields is CLIENT else REQUEST)
    assert line.server.initiator is line.client.initiator is yields.peer
    line.say(yields, TransmissionResponse(100))
    assert line.server.state is line.client.state


def test_a_second_request_in_place_of_the_answer_is_an_error() -> None:
    line = crossed(REQUEST, REQUEST)
    assert line.server.next_event() is None
    line.server.receive_data(build(REQUEST, WireProfile()))
    with pytest.raises(RemoteProtocolError) as caught:
        line.server.next_event()
    assert caught.value.code is ErrorCode.UNEXPECTED_MESSAGE


@pytest.mark.parametrize("closer", Role)
def test_a_disconnection_wins_over_a_transfer(closer: Role) -> None:
    messages = {closer: DisconnectionRequest(), closer.peer: REQUEST}
    line = crossed(messages[CLIENT], messages[SERVER])
    assert line.ends[closer].next_event() is None
    assert line.ends[closer.peer].next_event() == DisconnectionRequest()
    line.say(closer.peer, DisconnectionResponse())
    assert line.server.state is line.client.state is State.CLOSED


def test_two_disconnections_are_both_answered() -> None:
    line = crossed(DisconnectionRequest(), DisconnectionRequest())
    for role in Role:
        assert line.ends[role].next_event() == DisconnectionRequest()
    answers = {role: line.ends[role].send(DisconnectionResponse()) for role in Role}
    for role in Role:
        line.ends[role].receive_data(answers[role.peer])
        assert line.ends[role].next_event() is None
        assert line.ends[role].state is State.CLOSED


def test_through_data_counts_even_if_it_crosses() -> None:
    line = crossed(REQUEST, ThroughData(b"unprotected"))
    assert line.client.next_event() == ThroughData(b"unprotected")
    assert line.client.state is State.REQUESTED
    assert line.server.next_event() == REQUEST


# -- what a profile changes -----------------------------------------------------------------------------------


def test_a_profile_without_completion_notice_is_ready_after_the_third_pass() -> None:
    line = Line(WireProfile(completion_notice=False)).drive(State.ANSWERED)
    line.say(SERVER, Pass3(VALUE))
    assert line.server.state is line.client.state is State.READY


def test_a_profile_may_disconnect_without_an_answer() -> None:
    line = Line(WireProfile(disconnection_answered=False)).drive(State.READY)
    line.say(SERVER, DisconnectionRequest())
    assert line.server.state is line.client.state is State.CLOSED


def test_a_profile_may_announce_the_length_of_the_ciphertext() -> None:
    line = Line(WireProfile(announced_length=AnnouncedLength.CIPHERTEXT)).drive(State.READY)
    with pytest.raises(LocalProtocolError):
        line.client.send(REQUEST)
    line.say(CLIENT, dataclasses.replace(REQUEST, length=104))
    line.say(SERVER, TransmissionResponse(104))
    line.say(CLIENT, DataBlock(bytes(104)))
    assert line.server.state is State.SENT


def test_a_transfer_without_mac_ends_with_its_last_block() -> None:
    line = Line().drive(State.READY)
    line.say(CLIENT, TransmissionRequest(0, 1, 0, 10))
    line.say(SERVER, TransmissionResponse(10))
    line.say(CLIENT, DataBlock(bytes(9)))
    line.say(CLIENT, DataBlock(bytes(1)))
    assert line.server.state is line.client.state is State.READY


def test_the_blocks_of_a_message_are_no_longer_than_negotiated() -> None:
    line = Line(block_data=64).drive(State.READY)
    line.say(CLIENT, REQUEST)
    line.say(SERVER, TransmissionResponse(100))
    with pytest.raises(LocalProtocolError):
        line.client.send(DataBlock(bytes(65)))
    line.server.receive_data(build(DataBlock(bytes(65)), WireProfile()))
    with pytest.raises(RemoteProtocolError) as caught:
        line.server.next_event()
    assert caught.value.code is ErrorCode.UNEXPECTED_LENGTH


def test_octets_may_come_one_by_one() -> None:
    line = Line()
    for octet in line.server.send(SAMPLES[0]):
        assert line.client.state is State.CONNECTED
        line.client.receive_data(bytes([octet]))
        event = line.client.next_event()
    assert event == SAMPLES[0]


def test_the_examples_in_the_documentation_are_true() -> None:
    assert doctest.testmod(module).failed == 0
    assert doctest.testmod(module).attempted > 3


def test_an_unused_connection_holds_nothing() -> None:
    assert Connection(Role.SERVER).next_event() is None
