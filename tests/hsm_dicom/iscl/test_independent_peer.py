"""Our ends and the independent implementation understand each other, in every mode and both ways round."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest

from hsm_dicom.iscl import ErrorCode, ISCLContext, ISCLError, Mac, State, WireProfile
from hsm_dicom.iscl.wire.profile import Fragmenting, ResponseCode, SessionKeyDerivation
from tests.hsm_dicom.iscl.independent import Refused
from tests.hsm_dicom.iscl.lines import MODES, SECONDS, Ends, Mode, independent, meanwhile, settings, sockets

MESSAGES = [b"\x01", b"eight by", bytes(8160), os.urandom(8159), os.urandom(70_001)]
"""Lengths at the edges of a DES block and of a data block, and one of several pieces and blocks."""


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("we_serve", [True, False], ids=["we serve", "we ask"])
def test_messages_pass_both_ways_and_the_connection_is_ended_in_order(ends: Ends, mode: Mode, we_serve: bool) -> None:
    with sockets() as (a, b):
        peer = independent(b, not we_serve, mode)

        def be_the_peer() -> None:
            peer.handshake()
            while message := peer.receive():
                peer.send(message[::-1])

        with meanwhile(be_the_peer) as done:
            line = ISCLContext(settings(mode, authentication_data=b"ours"), ends.ours).wrap_socket(a, we_serve)
            assert line.peer_authentication_data == b"independent"
            assert peer.other_name == b"ours"
            for message in MESSAGES:
                line.sendall(message)
                assert exactly(line, len(message)) == message[::-1]
            line.close()
            done.result(SECONDS)
        assert line.status is State.CLOSED


@pytest.mark.parametrize("block", [40, 1001, 8192])
@pytest.mark.parametrize("mac", [Mac.MD5, Mac.DES_MAC])
@pytest.mark.parametrize("we_serve", [True, False], ids=["we serve", "we ask"])
def test_each_block_may_be_padded_and_encrypted_for_itself(ends: Ends, we_serve: bool, mac: Mac, block: int) -> None:
    """R17, otherwise than by default. The edges are those of a full block, which holds one octet of padding."""
    full = (block - 32) // 8 * 8
    messages = [b"\x01", *(os.urandom(2 * full + more) for more in range(-4, 2)), os.urandom(5001)]
    profile = WireProfile(fragmenting=Fragmenting.EACH_BLOCK)
    with sockets() as (a, b):
        peer = independent(b, not we_serve, mac=int(mac), block=block, each_block=True)

        def be_the_peer() -> None:
            peer.handshake()
            while message := peer.receive():
                peer.send(message[::-1])

        with meanwhile(be_the_peer) as done:
            line = ISCLContext(settings(mac=mac, profile=profile), ends.ours).wrap_socket(a, we_serve)
            for message in messages:
                line.sendall(message)
                assert exactly(line, len(message)) == message[::-1]
            line.close()
            done.result(SECONDS)


@pytest.mark.parametrize("we_serve", [True, False], ids=["we serve", "we ask"])
def test_responses_may_be_challenges_decrypted(ends: Ends, we_serve: bool) -> None:
    """R6 and R7, otherwise than by default: the peer's challenge is an encrypted random number."""
    profile = WireProfile(response_code=ResponseCode.DECRYPTED_CHALLENGE)
    with sockets() as (a, b):
        peer = independent(b, not we_serve, decrypted_response=True)
        with meanwhile(lambda: (peer.handshake(), peer.send(b"authentic"))) as done:
            line = ISCLContext(settings(profile=profile), ends.ours).wrap_socket(a, we_serve)
            assert exactly(line, 9) == b"authentic"
            done.result(SECONDS)
        line.abort()


@pytest.mark.parametrize("ours", ResponseCode, ids=lambda code: code.name.lower())
@pytest.mark.parametrize("we_serve", [True, False], ids=["we serve", "we ask"])
def test_ends_that_run_des_in_different_directions_are_strangers(
    ends: Ends, we_serve: bool, ours: ResponseCode
) -> None:
    profile = WireProfile(response_code=ours)
    with sockets() as (a, b):
        peer = independent(b, not we_serve, decrypted_response=ours is ResponseCode.ENCRYPTED_CHALLENGE)

        def be_the_peer() -> None:
            with contextlib.closing(b), pytest.raises((AssertionError, Refused)):
                peer.handshake()

        with meanwhile(be_the_peer) as done, pytest.raises(ISCLError) as caught:
            ISCLContext(settings(profile=profile), ends.ours).wrap_socket(a, we_serve)
        done.result(SECONDS)
        # Who serves is the first to judge, and a client that is no good in its eyes hears no more of it.
        assert caught.value.code is (ErrorCode.PEER_NOT_AUTHENTIC if we_serve else ErrorCode.CONNECTION_LOST)


@pytest.mark.parametrize("mac", [Mac.MD5, Mac.DES_MAC])
@pytest.mark.parametrize("we_serve", [True, False], ids=["we serve", "we ask"])
def test_session_keys_may_be_random_numbers_decrypted(host_key_ends: Ends, we_serve: bool, mac: Mac) -> None:
    """R10, otherwise than by default. No device keeps such a key, so that it is on the host."""
    profile = WireProfile(session_key=SessionKeyDerivation.DECRYPTED_RANDOM_NUMBER)
    options = settings(mac=mac, unique_keys=True, profile=profile)
    with sockets() as (a, b):
        peer = independent(b, not we_serve, mac=int(mac), unique=True, decrypted_session_key=True)

        def be_the_peer() -> None:
            peer.handshake()
            while message := peer.receive():
                peer.send(message[::-1])

        with meanwhile(be_the_peer) as done:
            line = ISCLContext(options, host_key_ends.ours).wrap_socket(a, we_serve)
            for message in MESSAGES[:4]:
                line.sendall(message)
                assert exactly(line, len(message)) == message[::-1]
            line.close()
            done.result(SECONDS)


@pytest.mark.parametrize("we_serve", [True, False], ids=["we serve", "we ask"])
def test_the_peer_may_end_the_connection(ends: Ends, we_serve: bool) -> None:
    with sockets() as (a, b):
        peer = independent(b, not we_serve)

        def be_the_peer() -> None:
            peer.handshake()
            peer.send(b"last words")
            peer.bye()

        with meanwhile(be_the_peer) as done:
            line = ISCLContext(settings(), ends.ours).wrap_socket(a, we_serve)
            assert line.recv(100) == b"last words"
            assert line.recv(100) == b""
            done.result(SECONDS)
        assert line.status is State.CLOSED
        line.close()


@pytest.mark.parametrize("block", [40, 1001, 8192])
def test_the_smaller_block_length_wins(ends: Ends, block: int) -> None:
    """1001 leaves 969 octets for data: blocks then do not end where DES blocks do."""
    for we_serve in (True, False):
        with sockets() as (a, b):
            peer = independent(b, not we_serve, block=block)
            with meanwhile(lambda peer=peer: (peer.handshake(), peer.send(bytes(3000)), peer.receive())) as done:
                line = ISCLContext(settings(), ends.ours).wrap_socket(a, we_serve)
                assert line.block_data == block - 32
                assert exactly(line, 3000) == bytes(3000)
                line.sendall(bytes(2000))
                assert done.result(SECONDS)[2] == bytes(2000)
            line.abort()


def exactly(line: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = line.recv(count - len(data))
        assert more
        data += more
    return data
