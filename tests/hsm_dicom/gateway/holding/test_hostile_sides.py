"""Callers and targets that send what no sound program sends, on a route that holds objects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hsm_dicom.gateway.holding.conversation import Holding
from tests.hsm_dicom.gateway.holding.scripted import ScriptedHolder, scripted_route
from tests.hsm_dicom.gateway.routes import abort_pdu
from tests.hsm_dicom.network.pdus import (
    CT,
    command,
    echo_rq,
    element,
    p_data,
    read_pdu,
    store_rq,
    types_until_the_end,
)

DATA = bytes(range(256)) * 100
UID = "1.2.3.4"


@pytest.fixture
def holder(tmp_path: Path) -> ScriptedHolder:
    return ScriptedHolder(tmp_path)


@pytest.fixture
def route(holder: ScriptedHolder) -> Iterator[Holding]:
    with scripted_route(holder) as found:
        yield found


def test_an_abort_behind_a_data_set_comes_behind_its_whole_pdu(route: Holding) -> None:
    find = command(element(0x00000002, CT), element(0x00000100, 0x0020), element(0x00000110, 1), element(0x00000800, 1))
    with route.associated() as (caller, far):
        caller.sendall(p_data(3, find, is_command=True))
        assert read_pdu(far)[0] == 4
        caller.sendall(p_data(3, DATA, last=False) + abort_pdu())
        assert [kind for kind in types_until_the_end(far) if kind != 4] == [7]


@pytest.mark.parametrize(
    "octets",
    [
        p_data(1, b"", is_command=True, last=False) + p_data(3, store_rq(UID), is_command=True),
        p_data(1, store_rq(UID) + element(0x00000100, 0x0030), is_command=True),
        p_data(1, echo_rq() + b"\0\0\2\0UI\0\0" + bytes(0x4955), is_command=True),
    ],
    ids=["an empty fragment in another context", "two Command Fields", "an explicit VR"],
)
def test_a_command_that_two_receivers_could_read_differently_ends_the_association(
    octets: bytes, route: Holding
) -> None:
    with route.associated() as (caller, far):
        caller.settimeout(2)
        caller.sendall(octets)
        assert read_pdu(caller)[0] == 7
        assert 4 not in types_until_the_end(far)
