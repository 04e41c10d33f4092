"""A listener that stops lets open associations go on for a while, and then aborts them."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from pynetdicom import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hsm_dicom.network.errors import AssociationLostError
from hsm_dicom.network.requestor import associate
from hsm_dicom.transport.events import AssociationAborted
from tests.hsm_dicom.network.nodes import QUICK, TIMEOUTS, Node, eventually, node, transport_to
from tests.hsm_dicom.tls.fixtures import Hospital

CONTEXTS = [build_context(Verification)]


def test_an_association_that_ends_in_time_is_not_aborted(hospital: Hospital) -> None:
    with node(hospital, limits=replace(QUICK, stop_seconds=30)) as running:
        peer = running.peer()
        stopping = threading.Thread(target=running.acceptor.stop)
        started = time.monotonic()
        with associate(peer, transport_to(peer, hospital), "CT1", CONTEXTS, TIMEOUTS) as opened:
            stopping.start()
            assert opened.association.send_c_echo().Status == 0
            assert stopping.is_alive()
        stopping.join(20)
        assert time.monotonic() - started < 20
        assert not running.of(AssociationAborted)


def test_an_association_that_goes_on_is_aborted_in_the_end(hospital: Hospital) -> None:
    def stay(running: Node) -> None:
        peer = running.peer()
        with associate(peer, transport_to(peer, hospital), "CT1", CONTEXTS, TIMEOUTS) as opened:
            running.acceptor.stop()
            assert eventually(lambda: opened.association.is_aborted)

    with node(hospital, limits=replace(QUICK, stop_seconds=0.3)) as running:
        with pytest.raises(AssociationLostError, match="A-ABORT"):
            stay(running)
        assert running.only(AssociationAborted)
