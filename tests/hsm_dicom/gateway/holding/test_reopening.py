"""The connection to the target that is made again, where the target refuses our certificate after the handshake."""

from __future__ import annotations

import select
import socket

from hsm_dicom.gateway.relay.association import Call
from hsm_dicom.gateway.relay.leg import Leg
from hsm_dicom.gateway.relay.negotiation import make_acceptance
from hsm_dicom.gateway.relay.reopening import Reopened, Reopening
from hsm_dicom.gateway.settings import RouteSettings
from hsm_dicom.gateway.targets import PeerTarget
from hsm_dicom.network.upper_layer.negotiation import read_request
from hsm_dicom.network.upper_layer.pdu import ASSOCIATE_RQ, PDU
from hsm_dicom.transport.alarm import Alarm
from hsm_dicom.transport.events import SuccessorRefused
from hsm_dicom.transport.plain import FACTS
from hsm_dicom.transport.port import Secured
from hsm_dicom.transport.succession import Side, SuccessionTransport
from tests.hsm_dicom.gateway.routes import CT1, LOOPBACK
from tests.hsm_dicom.network.nodes import node, transport_to
from tests.hsm_dicom.network.pdus import associate_rq, read_pdu
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.pki import Authority

REQUEST = associate_rq(called=b"NODE")


def test_a_target_that_refuses_the_successor_late_is_connected_once_more(hospital: Hospital) -> None:
    own, successor = hospital.peer("CT 1"), hospital.peer("CT 1", issuer=Authority("the new CA"))
    here, there = socket.socketpair()
    with node(hospital) as far, here, there:
        peer = far.peer()
        sides = [Side(one, transport_to(peer, hospital, one)) for one in (successor, own)]
        target = PeerTarget(peer, SuccessionTransport("node", peer.address, *sides))
        settings = RouteSettings(name="to-node", sources=(CT1,), target=peer, listen=(LOOPBACK, 0))
        request = read_request(PDU(ASSOCIATE_RQ, REQUEST))
        with PeerTarget(peer, transport_to(peer, hospital, own)).connect().socket as first:
            first.settimeout(5)
            first.sendall(REQUEST)
            kind, rest = read_pdu(first)
        answer = PDU(kind, bytes([kind, 0]) + len(rest).to_bytes(4, "big") + rest)
        call = Call(Secured(there, FACTS), (LOOPBACK, 0), request, CT1, settings, target)
        alarm = Alarm()
        reopening = Reopening(call, make_acceptance(answer, request, settings), Leg(Secured(here, FACTS)), alarm)
        assert select.select([alarm], [], [], 10)[0]
        assert isinstance(reopening.outcome, Reopened), reopening.outcome
        reopening.discard()
        alarm.close()
        assert len(far.of(SuccessorRefused)) == 1
