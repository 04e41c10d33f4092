"""Callers and targets that send what no sound program sends, on a route that holds objects."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from hsm_dicom.gateway.events import RelayEnded
from hsm_dicom.gateway.hold import HoldTimes
from hsm_dicom.gateway.relay.leg import Leg
from tests.hsm_dicom.gateway.holding.conversation import Holding, read_message, store, store_rsp
from tests.hsm_dicom.gateway.holding.scripted import DATA, UID, ScriptedHolder, scripted_route
from tests.hsm_dicom.gateway.routes import abort_pdu
from tests.hsm_dicom.network.nodes import eventually
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


def hold_one(caller: socket.socket, holder: ScriptedHolder, more: bytes = b"", before: bytes = b"") -> None:
    caller.sendall(before + store(UID, DATA) + more)
    assert eventually(lambda: holder.held and holder.held[-1].is_treated.is_set())


def test_a_wrong_message_behind_a_held_object_aborts_both_sides(route: Holding, holder: ScriptedHolder) -> None:
    with route.associated() as (caller, far):
        hold_one(caller, holder, p_data(1, DATA))
        holder.may_go_on.set()
        assert read_message(far).field == 0x0001
        far.sendall(store_rsp())
        assert read_message(caller).status == 0
        assert read_pdu(caller)[0] == 7
        assert read_pdu(far)[0] == 7
    assert "a Data Set without its command" in route.running.only(RelayEnded).text


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


def test_a_caller_that_stops_within_an_object_is_aborted(holder: ScriptedHolder) -> None:
    with scripted_route(holder, idle_seconds=0.3) as route, route.associated() as (caller, far):
        caller.settimeout(2)
        caller.sendall(store(UID, DATA)[:-100])
        assert read_pdu(caller)[0] == 7
        assert read_pdu(far)[0] == 7


def test_a_message_that_was_sent_in_part_is_not_continued_on_another_connection(
    route: Holding, holder: ScriptedHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo = p_data(3, echo_rq(), is_command=True)

    def send(leg: Leg, data: memoryview) -> int:
        # The first connection to the target takes eight octets of the C-ECHO-RQ.
        if data == echo:
            return send_really(leg, data[:8])
        return 0 if data == echo[8:] else send_really(leg, data)

    send_really = Leg.send
    monkeypatch.setattr(Leg, "send", send)
    with route.associated() as (caller, far):
        caller.sendall(echo + store(UID, DATA))
        assert eventually(lambda: holder.held and holder.held[-1].is_treated.is_set())
        far.close()
        holder.may_go_on.set()
        assert read_pdu(caller)[0] == 7
    assert route.running.only(RelayEnded).outcome == "lost"


def test_a_request_without_an_answer_is_not_forgotten_on_another_connection(
    route: Holding, holder: ScriptedHolder
) -> None:
    with route.associated() as (caller, far):
        hold_one(caller, holder, before=p_data(3, echo_rq(), is_command=True))
        assert read_message(far).field == 0x0030
        far.close()
        holder.may_go_on.set()
        assert read_pdu(caller)[0] == 7
    assert route.running.only(RelayEnded).outcome == "lost"


def test_a_connection_that_another_thread_releases_is_left_alone(
    route: Holding, holder: ScriptedHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched = []

    def receive(leg: Leg, space: memoryview) -> int:
        # Only the thread that releases the old connection lets it block.
        touched.append(leg.socket.gettimeout())
        return receive_really(leg, space)

    receive_really = Leg.receive
    monkeypatch.setattr(Leg, "receive", receive)
    holder.times = HoldTimes(answer=5.0, far_idle=0.1)
    with route.associated() as (caller, far):
        hold_one(caller, holder)
        time.sleep(0.2)
        holder.may_go_on.set()
        assert read_pdu(far)[0] == 5
        caller.sendall(abort_pdu())
        assert eventually(lambda: route.running.of(RelayEnded))
    assert set(touched) == {0.0}


def test_a_connection_for_which_there_is_no_thread_ends_the_association_in_order(
    route: Holding, holder: ScriptedHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("reopen-"):
            raise RuntimeError("can't start new thread")
        start_really(thread)

    start_really = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    with route.associated() as (caller, far):
        hold_one(caller, holder)
        far.close()
        holder.may_go_on.set()
        assert read_pdu(caller)[0] == 7
    assert "this node has no more threads" in route.running.only(RelayEnded).text
