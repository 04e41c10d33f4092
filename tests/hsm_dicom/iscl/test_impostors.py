"""Who does not have the key is refused, whatever of our own words comes back from there."""

from __future__ import annotations

import contextlib

import pytest

from hsm_dicom.iscl import AuthenticationError, ISCLContext, ISCLError
from hsm_dicom.iscl.errors import ConnectionLostError
from tests.hsm_dicom.iscl import independent as peer_side
from tests.hsm_dicom.iscl.bad_peers import E, data, failure_of
from tests.hsm_dicom.iscl.independent import Hung, IndependentPeer, Refused, words
from tests.hsm_dicom.iscl.lines import Ends, independent, meanwhile, settings, sockets


def test_our_own_challenge_is_not_answered(ends: Ends) -> None:
    """A client that knows no key sends the server's challenge back, to have the server answer it."""

    def reflect(peer: IndependentPeer) -> None:
        peer.get(peer_side.LINE_CHECK_RQ)
        peer.put(peer_side.LINE_CHECK_RP, words(8192))
        peer.get(peer_side.AUTH_RQ)
        peer.put(peer_side.AUTH_RP, words(1) + b"x")
        challenge = peer.get(peer_side.PASS_1)[1]
        response = peer_side.ecb(peer.authentication_key, challenge)
        peer.put(peer_side.PASS_2, response + challenge)
        peer.get(peer_side.PASS_3)

    with sockets() as (a, b), meanwhile(lambda: reflect(independent(b, False))) as done:
        with pytest.raises(AuthenticationError) as caught:
            ISCLContext(settings(), ends.ours).wrap_socket(a, True)
        assert caught.value.code is E.CHALLENGE_REFLECTED
        assert isinstance(failure_of(done), Refused)


def test_a_challenge_relayed_from_another_of_our_connections_is_not_answered(ends: Ends) -> None:
    """A rogue between our server and our client, with the same secrets, that asks one what the other wants to know."""
    with sockets() as (a, b), sockets() as (c, d):
        waiting = independent(b, False)

        def hand_over() -> bytes:
            waiting.get(peer_side.LINE_CHECK_RQ)
            waiting.put(peer_side.LINE_CHECK_RP, words(8192))
            waiting.get(peer_side.AUTH_RQ)
            waiting.put(peer_side.AUTH_RP, words(1) + b"x")
            return waiting.get(peer_side.PASS_1)[1]

        def relay(challenge: bytes) -> None:
            rogue = independent(d, True, spoil={peer_side.PASS_1: data(0, challenge)})
            rogue.handshake()

        with meanwhile(lambda: ISCLContext(settings(), ends.ours).wrap_socket(a, True)) as serving:
            challenge = hand_over()
            with meanwhile(lambda: relay(challenge)) as relayed:
                with pytest.raises(AuthenticationError) as caught:
                    ISCLContext(settings(), ends.ours).wrap_socket(c, False)
                assert caught.value.code is E.CHALLENGE_REFLECTED
                assert isinstance(failure_of(relayed), Refused)
            b.close()
            assert isinstance(failure_of(serving), ConnectionLostError)


@pytest.mark.parametrize("server", [True, False], ids=["we serve", "we ask"])
def test_a_peer_with_another_key_is_refused_with_nak(ends: Ends, server: bool) -> None:
    with sockets() as (a, b):
        peer = independent(b, not server, authentication_key=bytes.fromhex("7ca110454a1a6e57"))
        peer_side_check = contextlib.suppress(AssertionError, Hung, Refused)

        def be_the_peer() -> None:
            with peer_side_check, contextlib.closing(b):
                peer.handshake()

        with meanwhile(be_the_peer), pytest.raises(ISCLError) as caught:
            ISCLContext(settings(), ends.ours).wrap_socket(a, server)
        if server:
            assert caught.value.code is E.PEER_NOT_AUTHENTIC
        assert caught.value.code in (E.PEER_NOT_AUTHENTIC, E.CONNECTION_LOST)
