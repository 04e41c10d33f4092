"""Two gateways in a row, so that each transport is on either side of a relay, and every octet is known at both ends."""

from __future__ import annotations

import random
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
from pynetdicom import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hsm_dicom import events
from hsm_dicom.events import Event
from hsm_dicom.gateway.entrance import Entrance
from hsm_dicom.gateway.events import RelayEnded, RelayOpened, RelayRefused
from hsm_dicom.gateway.route import Route
from hsm_dicom.gateway.settings import RouteSettings
from hsm_dicom.gateway.targets import PeerTarget, PlainTarget
from hsm_dicom.network.assembly import make_listener_transport
from hsm_dicom.network.echo import echo
from hsm_dicom.network.errors import AssociationRejectedError
from hsm_dicom.network.listener import Listener
from hsm_dicom.network.requestor import associate
from hsm_dicom.network.settings import ISCLExemption, ListenerSettings, Peer
from hsm_dicom.tls import DEFAULT
from hsm_dicom.transport.events import HandshakeFailed, SuccessorRefused
from hsm_dicom.transport.port import SecureTransport
from hsm_dicom.transport.succession import Side, SuccessionTransport
from tests.hsm_dicom.gateway.routes import (
    LOOPBACK,
    Gateway,
    Scripted,
    abort_pdu,
    associate_ac,
    established,
    gateway,
    release_rp,
    release_rq,
    scripted_target,
)
from tests.hsm_dicom.gateway.test_relay import ECHO, REQUEST, read_to_the_end
from tests.hsm_dicom.iscl.lines import settings
from tests.hsm_dicom.network.nodes import CT1, QUICK, TIMEOUTS, node, transport_to
from tests.hsm_dicom.network.pdus import associate_rq, p_data, read_exactly, types_until_the_end
from tests.hsm_dicom.network.test_threads import TRANSPORTS, none_left, sides, two_parties
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.pki import Authority
from tests.softhsm import TestToken


@dataclass
class Chain:
    """A plain caller's route to a secured listener, and that listener's route to a plain target."""

    first: Gateway
    far: Scripted
    events: list[Event]


@contextmanager
def secured_entrance(transport: SecureTransport, route: Route) -> Iterator[Listener]:
    """A secured listener with one route."""
    entrance = Entrance("main", [route])
    with Listener("main", (LOOPBACK, 0), transport, entrance.serve, QUICK) as listener:
        try:
            yield listener
        finally:
            route.close()
            route.drain(0)


@contextmanager
def chain(kind: str, hospital: Hospital, token: TestToken) -> Iterator[Chain]:
    exemption = ISCLExemption(settings=settings()) if kind.startswith("ISCL") else None
    caller = Peer(name="CT 1", ae_titles=("CT1",), host=LOOPBACK, iscl=exemption)
    told: list[Event] = []
    with two_parties(token) as ends, scripted_target() as far, events.subscribe(told.append):
        accepts, asks = sides(kind, hospital, ends, CT1)
        if accepts is None:
            listens = ListenerSettings(name="main", ae_title="NODE", peers=(caller,), port=0)
            accepts = make_listener_transport(listens, [hospital.rsa], hospital.validator())
        second = Route(
            RouteSettings(name="to-ct1", sources=(caller,), target=far.device, listener="main"), PlainTarget(far.device)
        )
        with secured_entrance(accepts, second) as listener:
            name = "NODE" if exemption else "node"
            peer = Peer(name=name, ae_titles=("PACS",), host=LOOPBACK, port=listener.address[1], iscl=exemption)
            with gateway(peer, target=PeerTarget(peer, asks)) as first:
                yield Chain(first, far, told)


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_conversation_passes_octet_for_octet(kind: str, hospital: Hospital, iscl_token: TestToken) -> None:
    chance = random.Random(7)
    forth = b"".join(p_data(1, chance.randbytes(chance.choice((1, 500, 30_000)))) for _ in range(12))
    with (
        none_left(),
        chain(kind, hospital, iscl_token) as both,
        established(both.first, both.far, REQUEST, associate_ac()) as (caller, far),
    ):
        sending = threading.Thread(target=caller.sendall, args=(forth,))
        sending.start()
        far.sendall(ECHO)
        assert read_exactly(far, len(forth)) == forth
        assert read_exactly(caller, len(ECHO)) == ECHO
        sending.join(10)
        caller.sendall(release_rq())
        assert read_exactly(far, 10) == release_rq()
        far.sendall(release_rp())
        assert read_exactly(caller, 10) == release_rp()
        caller.close()
        assert read_to_the_end(far) == b""
    opened = [event for event in both.events if isinstance(event, RelayOpened)]
    assert {event.name for event in opened} == {"to-pacs", "to-ct1"}
    assert [event.outcome for event in both.events if isinstance(event, RelayEnded)] == ["released", "released"]


@pytest.mark.parametrize("kind", TRANSPORTS)
@pytest.mark.parametrize("side", ["caller", "target"])
def test_a_lost_connection_becomes_one_abort_at_the_other_end(
    kind: str, side: str, hospital: Hospital, iscl_token: TestToken
) -> None:
    with (
        chain(kind, hospital, iscl_token) as both,
        established(both.first, both.far, REQUEST, associate_ac()) as (caller, far),
    ):
        gone, other = (caller, far) if side == "caller" else (far, caller)
        gone.sendall(ECHO)
        assert read_exactly(other, len(ECHO)) == ECHO
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        gone.close()
        assert read_to_the_end(other) == abort_pdu(2, 0)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_target_that_refuses_the_successor_gets_the_old_certificate_in_the_same_association(
    hospital: Hospital, version: ssl.TLSVersion
) -> None:
    own, successor = hospital.peer("CT 1"), hospital.peer("CT 1", issuer=Authority("the new CA"))
    profile = replace(DEFAULT, maximum_version=version)
    with node(hospital, transform=lambda settings: replace(settings, profile=profile)) as far:
        peer = far.peer()
        sides = [Side(one, transport_to(peer, hospital, one)) for one in (successor, own)]
        target = PeerTarget(peer, SuccessionTransport("node", peer.address, *sides))
        with gateway(peer, target=target) as running:
            for _ in range(2):
                with running.call() as caller:
                    caller.sendall(associate_rq(called=b"NODE"))
                    assert read_exactly(caller, 1) == b"\x02"
        assert len(far.of(SuccessorRefused)) == 1
        assert len([one for one in far.of(HandshakeFailed) if one.name == "main"]) == 1
        assert not running.of(RelayRefused)


def test_a_secured_caller_needs_a_certificate_of_the_route(hospital: Hospital) -> None:
    """A peer of the listener is not a source of every route behind it; its own AE title is served as before."""
    with scripted_target() as far, node(hospital) as running:
        other = Peer(name="other", ae_titles=("OTHER",), host="other.example")
        route = Route(
            RouteSettings(name="to-ct1", sources=(other,), target=far.device, listener="main"), PlainTarget(far.device)
        )
        running.listener._serve = Entrance("main", [route], running.acceptor.begin).serve
        assert echo(running.peer(), transport_to(running.peer(), hospital), "CT1", TIMEOUTS).done
        peer = running.peer(ae_titles=("PACS",))
        contexts = [build_context(Verification)]
        with (
            pytest.raises(AssociationRejectedError) as rejected,
            associate(peer, transport_to(peer, hospital), "CT1", contexts, TIMEOUTS),
        ):
            pass
        assert (rejected.value.result, rejected.value.source, rejected.value.reason) == (1, 1, 3)
        assert running.only(RelayRefused).kind == "calling"


def test_a_plain_caller_is_never_a_peer() -> None:
    """A peer without authentication would be known by its AE title alone, which a plain caller can send too."""
    peer = Peer(name="pacs", ae_titles=("CT1",), host=LOOPBACK)
    with (
        scripted_target() as far,
        gateway(far.device, sources=(peer,), listen=None, listener="main") as running,
        running.call() as caller,
    ):
        caller.sendall(REQUEST)
        assert types_until_the_end(caller) == [3]
        assert running.only(RelayRefused).kind == "calling"
