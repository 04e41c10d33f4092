"""A gateway that stops in the same moment in which an association ends by itself."""

from __future__ import annotations

import threading

import pytest

from hsm_dicom.gateway.events import RelayEnded
from hsm_dicom.gateway.relay.association import RelayedAssociation
from hsm_dicom.gateway.relay.leg import Leg
from tests.hsm_dicom.gateway.routes import associate_ac, established, gateway, release_rp, release_rq, scripted_target
from tests.hsm_dicom.network.pdus import associate_rq, read_pdu


def test_a_release_that_has_passed_is_no_abort_although_the_node_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller has its answer and leaves; the gateway is stopped before the thread has recorded the end."""
    send, stop = Leg.send, RelayedAssociation.stop
    stopped = threading.Event()

    def record_stop(association: RelayedAssociation) -> None:
        stop(association)
        stopped.set()

    with (
        scripted_target() as target,
        gateway(target.device) as running,
        established(running, target, associate_rq(called=b"PACS"), associate_ac()) as (caller, far),
    ):
        draining = threading.Thread(target=running.route.drain, args=(0.0,))

        def send_and_stop(leg: Leg, data: memoryview) -> int:
            is_answer = bytes(data) == release_rp()
            count = send(leg, data)
            if is_answer:
                draining.start()
                assert stopped.wait(10)
            return count

        monkeypatch.setattr(RelayedAssociation, "stop", record_stop)
        monkeypatch.setattr(Leg, "send", send_and_stop)
        caller.sendall(release_rq())
        assert read_pdu(far)[0] == 5
        far.sendall(release_rp())
        assert read_pdu(caller)[0] == 6
    draining.join(10)
    assert stopped.is_set()
    assert running.only(RelayEnded).outcome == "released"
