"""A smart card answers and judges the challenges; MAC and encryption are SoftHSM's."""

from __future__ import annotations

import queue
import socket
import time

import pytest

from hsm_dicom.iscl import ErrorCode, ISCLContext, ISCLSocket
from hsm_dicom.iscl.errors import AuthenticationError
from hsm_dicom.network.addresses import Address
from hsm_dicom.network.listener import Listener
from hsm_dicom.network.upper_layer.negotiation import AssociateRequest
from hsm_dicom.transport.iscl import ISCLTransport
from hsm_dicom.transport.port import Secured
from tests.hsm_dicom.iscl.lines import SECONDS, Ends, independent, meanwhile, settings, sockets
from tests.hsm_dicom.network.pdus import associate_rq
from tokens.secrets import Secrets


@pytest.mark.parametrize("card_serves", [True, False], ids=["the card serves", "the card asks"])
def test_a_card_authenticates_either_end(makers: Ends, card: Secrets, card_serves: bool) -> None:
    ours = ISCLContext(settings(unique_keys=True), makers.ours, authentication=card)
    theirs = ISCLContext(settings(unique_keys=True), makers.theirs)
    with sockets() as (a, b), meanwhile(lambda: theirs.wrap_socket(b, server_side=not card_serves)) as other:
        line = ours.wrap_socket(a, server_side=card_serves)
        peer: ISCLSocket = other.result(SECONDS)
        with meanwhile(lambda: peer.recv(100)) as received:
            line.sendall(b"by a card")
            assert received.result(SECONDS) == b"by a card"
        with meanwhile(lambda: peer.recv(1)):
            line.close()


def test_the_card_itself_refuses_a_wrong_response(makers: Ends, card: Secrets) -> None:
    context = ISCLContext(settings(), makers.ours, authentication=card)
    with sockets() as (a, b):
        peer = independent(b, False, authentication_key=bytes.fromhex("7ca110454a1a6e57"))
        with meanwhile(peer.handshake) as refused:
            with pytest.raises(AuthenticationError) as caught:
                context.wrap_socket(a, server_side=True)
            assert refused.exception(SECONDS) is not None
    assert caught.value.code is ErrorCode.PEER_NOT_AUTHENTIC


def test_two_peers_at_once_are_authenticated_one_after_the_other(makers: Ends, card: Secrets) -> None:
    """A card judges only its own last challenge: it is held for one peer, and the other one waits."""
    context = ISCLContext(settings(), makers.ours, authentication=card)
    theirs = ISCLContext(settings(), makers.theirs)
    with sockets() as (a, b), sockets() as (c, d):
        with (
            meanwhile(lambda: context.wrap_socket(a, server_side=True)) as first,
            meanwhile(lambda: context.wrap_socket(c, server_side=True)) as second,
            meanwhile(lambda: theirs.wrap_socket(b)) as third,
        ):
            time.sleep(0.05)
            lines = [theirs.wrap_socket(d), *(future.result(SECONDS) for future in (first, second, third))]
        assert all(line.is_secure_connected for line in lines)
        for line in lines:
            line.abort()


def test_a_listener_drives_a_card_from_the_threads_of_its_pool(makers: Ends, card: Secrets) -> None:
    transport = ISCLTransport(ISCLContext(settings(), makers.ours, authentication=card))
    asking = ISCLTransport(ISCLContext(settings(), makers.theirs))
    served: queue.SimpleQueue[tuple[Secured, AssociateRequest]] = queue.SimpleQueue()

    def serve(secured: Secured, _: Address, request: AssociateRequest) -> None:
        served.put((secured, request))

    with Listener("main", ("127.0.0.1", 0), transport, serve) as listener:
        for number in range(5):
            connected = asking.connect(socket.create_connection(listener.address), "the listener", SECONDS)
            connected.socket.sendall(associate_rq(calling=b"CT%d" % number))
            accepted, request = served.get(timeout=SECONDS)
            assert request.calling_ae_title == f"CT{number}"
            accepted.socket.setblocking(True)
            connected.socket.sendall(b"%d" % number)
            assert accepted.socket.recv(10) == b"%d" % number
            connected.socket.close()
            accepted.socket.close()
        assert listener.counts.secured == 5
