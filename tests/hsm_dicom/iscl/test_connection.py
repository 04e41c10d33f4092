"""The state machine: every message in every state, from either end."""

from __future__ import annotations

import doctest

import pytest

from hsm_dicom.iscl.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from hsm_dicom.iscl.protocol import connection as module
from hsm_dicom.iscl.protocol.connection import StateMachine
from hsm_dicom.iscl.protocol.states import RULES, State
from hsm_dicom.iscl.wire.encoding import build
from hsm_dicom.iscl.wire.messages import (
    DataBlock,
    DisconnectionRequest,
    Message,
    ThroughData,
    TransmissionRequest,
    TransmissionResponse,
    describe,
)
from hsm_dicom.iscl.wire.profile import Role, WireProfile
from tests.hsm_dicom.iscl.samples import REQUEST, SAMPLES, STATES, Line

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
    assert StateMachine(Role.SERVER).next_event() is None
