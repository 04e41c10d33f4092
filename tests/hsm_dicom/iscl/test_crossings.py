"""Requests that both ends send at once."""

from __future__ import annotations

import pytest

from hsm_dicom.iscl.errors import ErrorCode, RemoteProtocolError
from hsm_dicom.iscl.protocol.states import State
from hsm_dicom.iscl.wire.encoding import build
from hsm_dicom.iscl.wire.messages import (
    DisconnectionRequest,
    DisconnectionResponse,
    Message,
    ThroughData,
    TransmissionResponse,
)
from hsm_dicom.iscl.wire.profile import Role, WireProfile
from tests.hsm_dicom.iscl.samples import REQUEST, UNIQUE_REQUEST, Line

SERVER, CLIENT = Role.SERVER, Role.CLIENT


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
