"""What a profile, or a request, changes in the order of messages."""

from __future__ import annotations

import dataclasses

import pytest

from hsm_dicom.iscl.errors import LocalProtocolError
from hsm_dicom.iscl.protocol.states import State
from hsm_dicom.iscl.wire.messages import (
    DataBlock,
    DisconnectionRequest,
    Pass3,
    TransmissionRequest,
    TransmissionResponse,
)
from hsm_dicom.iscl.wire.profile import AnnouncedLength, Role, WireProfile
from tests.hsm_dicom.iscl.samples import REQUEST, VALUE, Line

SERVER, CLIENT = Role.SERVER, Role.CLIENT


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
