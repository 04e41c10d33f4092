"""The time that a peer has for each step, however it spends it."""

from __future__ import annotations

import contextlib
import time

import pytest

from hsm_dicom.iscl import ISCLContext, WireProfile
from hsm_dicom.iscl.errors import StepTimeoutError
from tests.hsm_dicom.iscl import independent as peer_side
from tests.hsm_dicom.iscl.bad_peers import REQUEST, E, meet
from tests.hsm_dicom.iscl.independent import IndependentPeer, frame, words
from tests.hsm_dicom.iscl.lines import SECONDS, Ends, line, meanwhile, settings, sockets

QUICK = WireProfile(handshake_timeout=0.2, message_timeout=0.2)


@pytest.mark.parametrize("server", [True, False], ids=["we serve", "we ask"])
def test_a_silent_peer_has_the_time_of_a_step(ends: Ends, server: bool) -> None:
    with sockets() as (a, _):
        began = time.monotonic()
        with pytest.raises(StepTimeoutError) as caught:
            ISCLContext(settings(profile=QUICK), ends.ours).wrap_socket(a, server)
        assert 0.2 <= time.monotonic() - began < 2
        assert caught.value.code is E.TIMED_OUT


def test_a_peer_that_drips_octets_has_no_more_time_than_a_silent_one(ends: Ends) -> None:
    with sockets() as (a, b):
        stop = time.monotonic() + 2

        def drip() -> None:
            with contextlib.suppress(OSError):
                for octet in frame(peer_side.LINE_CHECK_RQ, bytes(20)):
                    b.sendall(bytes([octet]))
                    time.sleep(0.02)
                    if time.monotonic() > stop:
                        return

        context = ISCLContext(settings(profile=QUICK), ends.ours)
        with meanwhile(drip):
            began = time.monotonic()
            with pytest.raises(StepTimeoutError):
                context.wrap_socket(a)
            assert time.monotonic() - began < 2


def test_a_peer_that_stops_within_a_message_has_the_time_of_a_step(ends: Ends) -> None:
    def stop_after_the_request(peer: IndependentPeer) -> None:
        peer.put(peer_side.SEND_RQ, REQUEST + words(8))
        peer.get(peer_side.SEND_RP)
        peer.sock.recv(1)

    outcome = meet(ends, True, {}, stop_after_the_request, profile=QUICK)
    assert outcome.error.code is E.TIMED_OUT
    assert outcome.seconds < 2


def test_a_ready_connection_may_be_idle_for_longer_than_a_step(ends: Ends) -> None:
    with line(ends, settings(profile=QUICK)) as (serving, asking):
        serving.settimeout(0.5)
        with pytest.raises(TimeoutError, match="still open"):
            serving.recv(1)
        with meanwhile(lambda: serving.recv(10)) as received:
            asking.sendall(b"late")
            assert received.result(SECONDS) == b"late"
