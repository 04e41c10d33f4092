"""What the relay does while an object is held: order, timers, and sides that leave."""

from __future__ import annotations

import random
import socket
import time
from typing import Any

import pytest

from hsm_dicom.gateway.events import RelayEnded
from hsm_dicom.gateway.hold import Answer, HoldTimes
from hsm_dicom.gateway.targets import PlainTarget
from tests.hsm_dicom.gateway.holding.conversation import (
    ACCEPTED,
    REQUEST,
    Holding,
    Message,
    read_message,
    store,
    store_rsp,
)
from tests.hsm_dicom.gateway.holding.scripted import DATA, MARK, UID, ScriptedHolder
from tests.hsm_dicom.gateway.routes import (
    abort_pdu,
    answered,
    associate_ac,
    release_rp,
    release_rq,
)
from tests.hsm_dicom.network.nodes import eventually
from tests.hsm_dicom.network.pdus import (
    APPLICATION_CONTEXT,
    CT,
    EXPLICIT,
    command,
    echo_rq,
    element,
    item,
    p_data,
    pdu,
    read_pdu,
    store_rq,
    types_until_the_end,
    value,
)


def ac_with_limit(maximum: int) -> bytes:
    """An A-ASSOCIATE-AC of a target with this maximum length of PDUs."""
    user = item(0x51, maximum.to_bytes(4, "big")) + item(0x52, b"1.2.3.4")
    titles = b"PACS".ljust(16) + b"CT1".ljust(16)
    items = item(0x10, APPLICATION_CONTEXT) + answered(1, syntax=EXPLICIT) + answered(3) + item(0x50, user)
    return pdu(2, b"\0\1\0\0" + titles + bytes(32) + items)


def is_silent(connection: socket.socket, seconds: float = 0.2) -> bool:
    connection.settimeout(seconds)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b"never"
    except TimeoutError:
        return True
    finally:
        connection.settimeout(10)


def receive_held(far: socket.socket) -> Message:
    message = read_message(far)
    assert message.field == 0x0001
    assert message.data_set == DATA + MARK
    return message


# -- order ----------------------------------------------------------------------------------------------------


def test_nothing_overtakes_an_object_that_is_held_and_the_other_direction_goes_on(
    route: Holding, holder: ScriptedHolder
) -> None:
    with route.associated() as (caller, far):
        caller.sendall(store(UID, DATA) + p_data(3, echo_rq(), is_command=True))
        assert eventually(lambda: holder.held and holder.held[0].is_treated.is_set())
        assert is_silent(far)
        far.sendall(p_data(3, echo_rq(), is_command=True))
        assert read_message(caller).field == 0x0030
        holder.may_go_on.set()
        receive_held(far)
        assert is_silent(far)
        far.sendall(store_rsp())
        assert read_message(caller).status == 0
        assert read_message(far).field == 0x0030
    assert holder.statuses == [(0, True)]


def test_objects_that_are_sent_without_waiting_are_held_one_after_the_other(
    route: Holding, holder: ScriptedHolder
) -> None:
    holder.may_go_on.set()
    with route.associated() as (caller, far):
        caller.sendall(b"".join(store(UID, DATA, message_id=number) for number in (1, 2, 3)))
        for number in (1, 2, 3):
            assert receive_held(far).number(0x0110) == number
            far.sendall(store_rsp(message_id=number))
            assert read_message(caller).number(0x0120) == number


@pytest.mark.parametrize("seed", range(6))
def test_any_fragmentation_arrives_as_the_same_messages(seed: int, route: Holding, holder: ScriptedHolder) -> None:
    """Values in PDUs of their own or together, octets in any portions; other messages keep their place."""
    dice = random.Random(seed)
    holder.may_go_on.set()
    values = []
    for number in (1, 2):
        values.append(value(1, store_rq(UID, message_id=number), is_command=True))
        at = 0
        while at < len(DATA):
            size = min(dice.choice((1, 2, 700, 9000)), len(DATA) - at)
            at += size
            values.append(value(1, DATA[at - size : at], last=at == len(DATA)))
        half = dice.randrange(1, 30)
        values.append(value(3, echo_rq()[:half], is_command=True, last=False))
        values.append(value(3, echo_rq()[half:], is_command=True))
    stream = b""
    while values:
        count = dice.randrange(1, 5)
        stream += pdu(4, b"".join(values[:count]))
        del values[:count]
    with route.associated() as (caller, far):
        at = 0
        while at < len(stream):
            size = dice.choice((1, 7, 100, 5000, 50_000))
            caller.sendall(stream[at : at + size])
            at += size
            if dice.random() < 0.05:
                time.sleep(0.001)
        for number in (1, 2):
            receive_held(far)
            far.sendall(store_rsp(message_id=number))
            assert read_message(far).field == 0x0030
            assert read_message(caller).number(0x0120) == number


def test_an_object_that_the_target_sends_passes_as_it_is(route: Holding, holder: ScriptedHolder) -> None:
    """The C-STORE sub-operations of a C-GET are the target's: a signature of this node would be a lie."""
    with route.associated() as (caller, far):
        far.sendall(store(UID, DATA))
        message = read_message(caller)
        assert (message.field, message.data_set) == (0x0001, DATA)
        caller.sendall(store_rsp())
        assert read_message(far).field == 0x8001
    assert holder.held == []


def test_a_refusal_is_not_put_into_a_message_of_the_target(route: Holding, holder: ScriptedHolder) -> None:
    holder.decide = lambda data: Answer(0xC001, "Policy ct: not met")
    with route.associated() as (caller, far):
        first = store(UID, DATA, message_id=7)
        far.sendall(first[:3000])
        assert eventually(lambda: not is_silent(caller, 0.05))
        caller.sendall(store(UID, DATA))
        assert eventually(lambda: holder.held and holder.held[0].is_treated.is_set())
        holder.may_go_on.set()
        time.sleep(0.1)
        far.sendall(first[3000:])
        message = read_message(caller)
        assert (message.field, message.data_set) == (0x0001, DATA)
        answer = read_message(caller)
        assert (answer.field, answer.status, answer.comment) == (0x8001, 0xC001, "Policy ct: not met")
        assert answer.command[0x1000] == b"1.2.3.4\0"
        assert is_silent(far)
    assert eventually(lambda: route.running.route.status().instances == {"failed": 1, "unanswered": 1})


@pytest.mark.parametrize(("maximum", "longest"), [(4096, 4096), (0, 131072), (131072, 131072), (16384, 16384)])
def test_the_maximum_length_of_the_targets_pdus_holds(
    maximum: int, longest: int, route: Holding, holder: ScriptedHolder
) -> None:
    holder.may_go_on.set()
    data = DATA * 8
    with route.associated(answer=ac_with_limit(maximum)) as (caller, far):
        caller.sendall(store(UID, data, fragment=131066))
        message = read_message(far)
        assert (message.data_set, message.longest) == (data + MARK, longest)
        far.sendall(store_rsp())
        assert read_message(caller).status == 0


@pytest.mark.parametrize(
    "octets",
    [
        p_data(1, DATA),
        p_data(1, store_rq(UID), is_command=True) + p_data(3, DATA),
        p_data(1, store_rq(UID), is_command=True) + p_data(1, store_rq(UID), is_command=True),
        p_data(1, store_rq(UID)[:20], is_command=True, last=False) + p_data(3, store_rq(UID)[20:], is_command=True),
        p_data(1, b"\0\0\0\1\xff\xff\0\0" + bytes(66_000), is_command=True, last=False),
        p_data(1, command(element(0x00000100, 1)), is_command=True),
    ],
    ids=["no command", "another context", "a command within", "two contexts", "a long command", "half a command"],
)
def test_what_two_receivers_could_read_differently_ends_the_association(octets: bytes, route: Holding) -> None:
    with route.associated() as (caller, far):
        caller.sendall(octets)
        assert read_pdu(caller)[0] == 7
        assert 4 not in types_until_the_end(far)


# -- sides that leave -----------------------------------------------------------------------------------------


def hold_one(caller: socket.socket, holder: ScriptedHolder) -> None:
    caller.sendall(store(UID, DATA))
    assert eventually(lambda: holder.held and holder.held[-1].is_treated.is_set())


def test_an_abort_of_the_caller_is_heard_while_the_object_is_treated(route: Holding, holder: ScriptedHolder) -> None:
    with route.associated() as (caller, far):
        hold_one(caller, holder)
        caller.sendall(abort_pdu(0, 0))
        assert read_pdu(far) == (7, bytes(4))
        holder.may_go_on.set()
    assert route.running.only(RelayEnded).outcome == "aborted"
    assert eventually(lambda: holder.held[0].is_discarded)


def test_a_caller_that_is_lost_while_the_object_is_treated_ends_the_association(
    route: Holding, holder: ScriptedHolder
) -> None:
    with route.associated() as (caller, far):
        hold_one(caller, holder)
        caller.close()
        assert read_pdu(far)[0] == 7
        holder.may_go_on.set()
    assert route.running.only(RelayEnded).outcome == "lost"


@pytest.mark.parametrize("ending", ["abort", "close"])
def test_the_exchange_is_finished_when_the_caller_leaves_after_the_hand_over(
    ending: str, route: Holding, holder: ScriptedHolder
) -> None:
    holder.may_go_on.set()
    with route.associated() as (caller, far):
        caller.sendall(store(UID, DATA))
        receive_held(far)
        caller.sendall(abort_pdu()) if ending == "abort" else caller.close()
        time.sleep(0.1)
        assert is_silent(far, 0.1)
        far.sendall(store_rsp(0xB000))
        assert read_pdu(far)[0] == 7
    assert holder.statuses == [(0xB000, False)]
    assert route.running.only(RelayEnded).outcome == ("aborted" if ending == "abort" else "lost")


def test_a_caller_that_has_released_and_closed_its_side_gets_everything(route: Holding, holder: ScriptedHolder) -> None:
    with route.associated() as (caller, far):
        caller.sendall(store(UID, DATA) + release_rq())
        caller.shutdown(socket.SHUT_WR)
        assert eventually(lambda: holder.held and holder.held[-1].is_treated.is_set())
        holder.may_go_on.set()
        receive_held(far)
        far.sendall(store_rsp())
        assert read_pdu(far)[0] == 5
        far.sendall(release_rp())
        assert read_message(caller).status == 0
        assert read_pdu(caller)[0] == 6
    assert route.running.only(RelayEnded).outcome == "released"


@pytest.mark.parametrize("ending", ["abort", "close"])
def test_a_target_that_leaves_while_the_object_is_held_is_connected_again(
    ending: str, route: Holding, holder: ScriptedHolder
) -> None:
    with route.associated() as (caller, far):
        hold_one(caller, holder)
        far.sendall(abort_pdu(2, 0)) if ending == "abort" else far.close()
        time.sleep(0.1)
        holder.may_go_on.set()
        with route.accept() as again:
            if ending == "abort":
                assert far.recv(1) == b""  # closed, and not asked for a release first
            receive_held(again)
            again.sendall(store_rsp())
            assert read_message(caller).status == 0
            caller.sendall(release_rq())
            assert read_pdu(again)[0] == 5
            again.sendall(release_rp())
            assert read_pdu(caller)[0] == 6
    assert route.running.only(RelayEnded).outcome == "released"


def test_a_target_that_is_lost_while_the_object_is_sent_gets_it_once_more_and_not_twice(
    route: Holding, holder: ScriptedHolder
) -> None:
    holder.may_go_on.set()
    with route.associated() as (caller, far):
        caller.sendall(store(UID, DATA))
        receive_held(far)
        far.close()
        with route.accept() as again:
            receive_held(again)
            again.close()
            assert read_pdu(caller)[0] == 7
    assert route.running.only(RelayEnded).outcome == "lost"


def test_a_target_that_accepts_other_contexts_afterwards_ends_the_association(
    route: Holding, holder: ScriptedHolder
) -> None:
    with route.associated() as (caller, far):
        hold_one(caller, holder)
        far.close()
        time.sleep(0.1)
        holder.may_go_on.set()
        with route.accept(answer=associate_ac(answered(1, syntax=EXPLICIT), answered(3, 3))) as again:
            assert read_pdu(again)[0] == 7
            assert read_pdu(caller)[0] == 7
    assert "it accepts other presentation contexts now" in route.running.only(RelayEnded).text


def test_a_target_that_cannot_be_reached_again_ends_the_association(route: Holding, holder: ScriptedHolder) -> None:
    with route.associated() as (caller, far):
        hold_one(caller, holder)
        route.target.server.close()
        far.close()
        time.sleep(0.1)
        holder.may_go_on.set()
        assert read_pdu(caller)[0] == 7
    assert "it cannot be reached again" in route.running.only(RelayEnded).text


def test_a_connection_that_was_silent_for_long_is_released_and_made_again(
    route: Holding, holder: ScriptedHolder
) -> None:
    holder.times = HoldTimes(answer=5.0, far_idle=0.2)
    with route.associated() as (caller, far):
        hold_one(caller, holder)
        time.sleep(0.3)
        holder.may_go_on.set()
        assert read_pdu(far)[0] == 5
        far.sendall(release_rp())
        with route.accept() as again:
            receive_held(again)
            again.sendall(store_rsp())
            assert read_message(caller).status == 0


# -- times ----------------------------------------------------------------------------------------------------


def test_an_object_that_is_not_ready_in_time_is_answered_and_never_sent(route: Holding, holder: ScriptedHolder) -> None:
    holder.times = HoldTimes(answer=0.3, far_idle=60.0)
    with route.associated() as (caller, far):
        hold_one(caller, holder)
        answer = read_message(caller)
        assert (answer.status, answer.comment) == (0xA700, "The object was not ready in time; send it again.")
        holder.may_go_on.set()
        caller.sendall(p_data(3, echo_rq(), is_command=True))
        assert read_message(far).field == 0x0030
        assert eventually(lambda: holder.held[0].is_discarded)


def test_a_target_that_does_not_answer_the_object_is_aborted(route: Holding, holder: ScriptedHolder) -> None:
    holder.times = HoldTimes(answer=0.3, far_idle=60.0)
    holder.may_go_on.set()
    with route.associated() as (caller, far):
        caller.sendall(store(UID, DATA))
        receive_held(far)
        assert read_pdu(far)[0] == 7
        assert read_pdu(caller)[0] == 7
    assert "it did not answer a C-STORE within 0.3 seconds" in route.running.only(RelayEnded).text


def test_a_drain_ends_an_association_whose_object_is_held(route: Holding, holder: ScriptedHolder) -> None:
    with route.associated() as (caller, far):
        hold_one(caller, holder)
        route.running.route.close()
        route.running.route.drain(0.1)
        assert read_pdu(caller)[0] == 7
        assert read_pdu(far)[0] == 7
        holder.may_go_on.set()


def test_a_slow_receiver_of_the_object_hears_the_callers_abort_afterwards(
    route: Holding, holder: ScriptedHolder
) -> None:
    """An A-ABORT behind an object that is being sent: the exchange is finished first."""
    holder.may_go_on.set()
    data: Any = DATA * 400
    with route.associated() as (caller, far):
        caller.sendall(store(UID, data))
        first = read_pdu(far)
        caller.sendall(abort_pdu())
        message = read_message(far, first)
        assert message.data_set == data + MARK
        far.sendall(store_rsp())
        assert read_pdu(far)[0] == 7
    assert holder.statuses == [(0, False)]


def test_the_request_and_the_answer_are_the_ones_of_both_sides(route: Holding) -> None:
    with route.running.call() as caller:
        caller.sendall(REQUEST)
        with route.accept() as far:
            assert read_pdu(caller) == (2, ACCEPTED[6:])
            assert CT.encode() in REQUEST
            far.sendall(abort_pdu())
            assert read_pdu(caller)[0] == 7


def test_a_reload_leaves_the_object_that_is_held_and_is_for_the_next_one(
    route: Holding, holder: ScriptedHolder
) -> None:
    other = ScriptedHolder(holder.folder)
    other.may_go_on.set()
    with route.associated() as (caller, far):
        hold_one(caller, holder)
        running = route.running.route
        running.replace(running.settings, PlainTarget(route.target.device), make_holder=other.make)
        holder.may_go_on.set()
        for number in (1, 2):
            receive_held(far)
            far.sendall(store_rsp(message_id=number))
            assert read_message(caller).status == 0
            if number == 1:
                caller.sendall(store(UID, DATA, message_id=2))
    assert (len(holder.held), len(other.held)) == (1, 1)
