"""Slow peers, and peers that are many: they take each other's places, and nobody else's."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pynetdicom import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hsm_dicom.network.echo import echo
from hsm_dicom.network.requestor import associate
from hsm_dicom.network.settings import Limits
from hsm_dicom.network.unidentified.places import Places, get_origin
from hsm_dicom.tls import AuthenticationMode
from hsm_dicom.transport.events import AssociationRejected, ConnectionRejected
from hsm_dicom.transport.port import Secured
from tests.hsm_dicom.network.nodes import QUICK, TIMEOUTS, Node, eventually, node, transport_to
from tests.hsm_dicom.network.pdus import associate_rq, types_until_the_end
from tests.hsm_dicom.tls.fixtures import Hospital

PATIENT = replace(QUICK, handshake_seconds=20.0, request_seconds=20.0, read_seconds=20.0)


@contextlib.contextmanager
def secured(running: Node, hospital: Hospital, origin: str = "127.0.0.1") -> Iterator[Secured]:
    """A connection of CT 1 that is through its handshake, and has sent nothing yet."""
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=10, source_address=(origin, 0))
    opened = transport_to(running.peer(), hospital).connect(connection, "node", 10)
    with opened.socket:
        yield opened


@contextlib.contextmanager
def slow_peers(running: Node, hospital: Hospital, origins: list[str]) -> Iterator[list[Secured]]:
    """Peers that have sent half an A-ASSOCIATE-RQ."""
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(secured(running, hospital, origin)) for origin in origins]
        for peer in peers:
            peer.socket.sendall(associate_rq()[:40])
        yield peers


def seconds_of_an_echo(running: Node, hospital: Hospital) -> float:
    started = time.monotonic()
    assert echo(running.peer(), transport_to(running.peer(), hospital), "CT1", TIMEOUTS).done
    return time.monotonic() - started


def test_half_requests_from_everywhere_take_no_place_of_an_association(hospital: Hospital) -> None:
    limits = replace(PATIENT, associations=2, unidentified=8)
    with node(hospital, limits=limits) as running:
        origins = [f"127.0.1.{1 + number // 4}" for number in range(8)]
        with slow_peers(running, hospital, origins):
            assert running.acceptor.associations == []
            assert seconds_of_an_echo(running, hospital) < 3
            assert seconds_of_an_echo(running, hospital) < 3
        assert {event.reason for event in running.of(ConnectionRejected)} == {"too-many-connections"}


def test_slow_peers_at_an_address_yield_to_another_one_there(hospital: Hospital) -> None:
    with node(hospital, limits=PATIENT) as running:
        with slow_peers(running, hospital, ["127.0.0.1"] * 12):
            assert seconds_of_an_echo(running, hospital) < 3
        refused = running.of(ConnectionRejected)
        assert len(refused) >= 8
        assert all("others wait for one" in event.text for event in refused)
        assert running.listener.counts.without_place == len(refused)


def test_a_request_that_drips_is_aborted_at_the_deadline(hospital: Hospital) -> None:
    with node(hospital, limits=replace(QUICK, request_seconds=0.5)) as running, secured(running, hospital) as peer:
        started = time.monotonic()
        for byte in associate_rq():
            peer.socket.sendall(bytes([byte]))
            if select.select([peer.socket], [], [], 0.02)[0]:
                break
        assert types_until_the_end(peer.socket) == [7]
        assert time.monotonic() - started < 4
        event = running.only(ConnectionRejected)
        assert event.reason == "request-timeout"
        assert event.subject == "CN=CT 1"
        assert "did not request an association within 0.5 seconds" in event.text


def test_a_peer_without_a_certificate_holds_nobody_up(hospital: Hospital) -> None:
    with (
        node(hospital, limits=replace(PATIENT, associations=1), authentication=AuthenticationMode.ONE_WAY) as running,
        slow_peers(running, hospital, ["127.0.1.1"] * 4),
    ):
        assert seconds_of_an_echo(running, hospital) < 3


def test_an_association_for_which_there_is_no_place_is_an_event(hospital: Hospital) -> None:
    with node(hospital, limits=replace(QUICK, associations=1)) as running:
        transport = transport_to(running.peer(), hospital)
        with associate(running.peer(), transport, "CT1", [build_context(Verification)], TIMEOUTS):
            with secured(running, hospital) as second:
                second.socket.sendall(associate_rq())
                assert types_until_the_end(second.socket) == [3]
            event = running.only(AssociationRejected)
            assert (event.result, event.source, event.reason) == (2, 3, 2)
            assert "the listener's maximum of open associations (1) is reached" in event.text
        assert eventually(lambda: not running.acceptor.associations)
        assert seconds_of_an_echo(running, hospital) < 3
        assert running.listener.counts.rejected == 1


@dataclass(eq=False)
class Caller:
    number: int
    origin: str
    since: float = 0.0
    may_yield: bool = True


def may_yield(caller: Caller) -> bool:
    return caller.may_yield


def callers(origin: str, count: int, first: int = 0) -> list[Caller]:
    return [Caller(first + number, origin) for number in range(count)]


def test_the_oldest_yields_and_the_newest_is_served_first() -> None:
    places: Places[Caller] = Places(Limits(unidentified_per_address=2, yield_seconds=1.0))
    a, b, c, d = callers("10.0.0.1", 4)
    assert places.take(a, 0.0)
    assert places.take(b, 0.5)
    assert not places.take(c, 0.6)
    assert places.enqueue(c) is places.enqueue(d) is None
    assert places.admit(0.9, may_yield) == ([], [])
    assert places.next_yield(0.9) == 1.0
    assert places.admit(1.0, may_yield) == ([d], [a])
    assert places.admit(1.5, may_yield) == ([c], [b])
    assert places.next_yield(1.5) is None


def test_one_that_computes_does_not_yield() -> None:
    places: Places[Caller] = Places(Limits(unidentified=1, yield_seconds=1.0))
    inside, waiting = callers("10.0.0.1", 1)[0], Caller(7, "10.0.0.2")
    places.take(inside, 0.0)
    places.enqueue(waiting)
    inside.may_yield = False
    assert places.admit(9.0, may_yield) == ([], [])
    inside.may_yield = True
    assert places.admit(9.0, may_yield) == ([waiting], [inside])


def test_a_full_line_crowds_out_its_oldest_and_first_that_of_the_same_address() -> None:
    places: Places[Caller] = Places(Limits(unidentified=0, waiting=5, waiting_per_address=3))
    many, others = callers("10.0.0.1", 4), callers("10.0.0.2", 3, first=10)
    assert [places.enqueue(one) for one in many] == [None, None, None, many[0]]
    assert [places.enqueue(one) for one in others] == [None, None, many[1]]
    places.leave(many[2])
    assert places.enqueue(many[0]) is None


def test_an_address_is_one_address_however_it_is_written() -> None:
    assert get_origin("::ffff:10.0.0.1") == get_origin("10.0.0.1")
    assert get_origin("2001:db8::1") == get_origin("2001:db8::ffff:1")
    assert get_origin("2001:db8::1") != get_origin("2001:db8:0:1::1")
    assert get_origin("fe80::1%eth0") == get_origin("fe80::2")
