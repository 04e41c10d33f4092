"""What makes the independent peer a bad one, message by message, and what becomes of a connection with it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import pytest

from hsm_dicom.iscl import AuthenticationError, ErrorCode, ISCLContext, ISCLError, State
from hsm_dicom.iscl.errors import ConnectionLostError, IntegrityError, RemoteProtocolError
from tests.hsm_dicom.iscl import independent as peer_side
from tests.hsm_dicom.iscl.independent import IndependentPeer, Refused, frame, words
from tests.hsm_dicom.iscl.lines import SECONDS, Ends, independent, meanwhile, settings, sockets

SOON = 5.0
"""Seconds in which a connection with a bad peer must be over."""


def option(value: int) -> Callable[[bytes], bytes]:
    """Put another option into the header."""
    return lambda octets: octets[:12] + words(value) + octets[16:]


def data(at: int, new: bytes) -> Callable[[bytes], bytes]:
    """Put other octets into the data area."""
    return lambda octets: octets[: 32 + at] + new + octets[32 + at + len(new) :]


def flipped(at: int) -> Callable[[bytes], bytes]:
    """Change one bit of the data area."""

    def flip(octets: bytes) -> bytes:
        changed = bytearray(octets)
        changed[at if at < 0 else 32 + at] ^= 1
        return bytes(changed)

    return flip


def longer(octets: bytes) -> bytes:
    return octets[:8] + words(len(octets) - 32 + 1) + octets[12:] + b"\0"


def shorter(octets: bytes) -> bytes:
    return octets[:8] + words(len(octets) - 32 - 1) + octets[12:-1]


def cut_off(octets: bytes) -> bytes:
    """The peer closes the line after this."""
    return octets[:-1]


def twice(octets: bytes) -> bytes:
    return octets * 2


def announced(length: int) -> Callable[[bytes], bytes]:
    """Say another data length in the header."""
    return lambda octets: octets[:8] + words(length) + octets[12:]


def instead(message: int, content: bytes = b"") -> Callable[[bytes], bytes]:
    """Send something else."""
    return lambda _: frame(message, content)


E = ErrorCode
REQUEST = words(0x1212, 1, 0x1441)


@dataclass
class Outcome:
    """What became of a connection with a bad peer: our error, when, and the peer's."""

    error: ISCLError
    seconds: float
    peer: BaseException | None


def meet(
    ends: Ends, server: bool, spoil: dict[int, Any], talk: Callable[[IndependentPeer], object], **ours: Any
) -> Outcome:
    """Meet a peer that is spoilt, and receive what it sends after the handshake."""
    options = settings(**{"peer_authentication_data": b"independent", **ours})

    def be_the_peer(peer: IndependentPeer) -> None:
        with contextlib.closing(peer.sock):
            peer.handshake()
            talk(peer)

    with sockets() as (a, b):
        peer = independent(b, not server, spoil=spoil, unique=options.unique_keys)
        with meanwhile(lambda: be_the_peer(peer)) as done:
            began = time.monotonic()
            with pytest.raises(ISCLError) as caught:
                receive_all(ISCLContext(options, ends.ours), a, server)
            seconds = time.monotonic() - began
            assert a.fileno() == -1
            return Outcome(caught.value, seconds, failure_of(done))


def receive_all(context: ISCLContext, sock: socket.socket, server: bool) -> None:
    """What happens before the connection stands closes the socket; what happens then fails the line."""
    with context.wrap_socket(sock, server) as connected:
        try:
            while connected.recv(100):
                pass
        except ISCLError as error:
            assert connected.status is State.FAILED
            assert str(connected.last_error) == str(error)  # noqa: PT017
            raise


def failure_of(done: Future[Any]) -> BaseException | None:
    return done.exception(SECONDS)


def judge(outcome: Outcome, code: ErrorCode, told: bool | None) -> None:
    """`told`: the peer was told NAK; False: nothing; None: it depends on what was read first."""
    assert outcome.error.code is code
    assert outcome.seconds < SOON
    if told is not None:
        assert isinstance(outcome.peer, Refused) is told
    if isinstance(outcome.peer, Refused):
        assert outcome.peer.args[1] == peer_side.NAK
    kinds = {
        E.CONNECTION_LOST: ConnectionLostError,
        E.WRONG_MAC: IntegrityError,
        E.DECRYPTION_FAILED: IntegrityError,
        E.PEER_NOT_AUTHENTIC: AuthenticationError,
        E.CHALLENGE_REFLECTED: AuthenticationError,
        E.WRONG_AUTHENTICATION_DATA: AuthenticationError,
    }
    assert isinstance(outcome.error, kinds.get(code, RemoteProtocolError))


def say_a_message(peer: IndependentPeer) -> None:
    peer.send(b"a message of 31 octets, padded.")
    peer.receive()


def cases(table: list[Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("message", "spoil", "code", "told"), [row[1:] for row in table], ids=[r[0] for r in table]
    )
