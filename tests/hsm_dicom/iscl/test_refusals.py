"""Every way in which a peer can be wrong: we end the connection soon, with the right code, and say no more than NAK.

The peer is the independent implementation, spoilt at one message. Secrets are on SoftHSM.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import pytest

from hsm_dicom.iscl import (
    AuthenticationError,
    ConnectionLost,
    DeviceFailed,
    Encryption,
    ErrorCode,
    IntegrityError,
    ISCLContext,
    ISCLError,
    ISCLSettings,
    Mac,
    RemoteProtocolError,
    State,
    StepTimeout,
    Weakness,
    WireProfile,
)
from tests.hsm_dicom.iscl import independent as peer_side
from tests.hsm_dicom.iscl.independent import Hung, IndependentPeer, Refused, frame, words
from tests.hsm_dicom.iscl.lines import (
    SECONDS,
    Ends,
    independent,
    line,
    meanwhile,
    settings,
    sockets,
)
from tests.softhsm import new_token
from tokens import open_secrets, open_token
from tokens.pkcs11.secret_ceremony import delete_secret, import_secret
from tokens.secrets import Use

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

AGAINST_US_AS_CLIENT = [
    ("another version", peer_side.LINE_CHECK_RQ, data(0, b"MEDIS-ISCL V1.01"), E.WRONG_VERSION, True),
    ("an absurd block length", peer_side.LINE_CHECK_RQ, data(16, words(5)), E.UNEXPECTED_LENGTH, True),
    ("a longer line check", peer_side.LINE_CHECK_RQ, longer, E.UNEXPECTED_LENGTH, False),
    ("a shorter line check", peer_side.LINE_CHECK_RQ, shorter, E.UNEXPECTED_LENGTH, False),
    ("4 GB of line check", peer_side.LINE_CHECK_RQ, announced(0xFFFFFFFF), E.UNEXPECTED_LENGTH, False),
    ("an unknown message", peer_side.LINE_CHECK_RQ, instead(0x00220001), E.UNEXPECTED_MESSAGE, False),
    ("the second message first", peer_side.LINE_CHECK_RQ, instead(peer_side.AUTH_RQ), E.UNEXPECTED_MESSAGE, False),
    ("data before authentication", peer_side.LINE_CHECK_RQ, instead(peer_side.SEND_RQ), E.UNEXPECTED_MESSAGE, False),
    ("through data before all", peer_side.LINE_CHECK_RQ, instead(peer_side.THROUGH, b"x"), E.UNEXPECTED_MESSAGE, False),
    ("a line check twice", peer_side.LINE_CHECK_RQ, twice, E.UNEXPECTED_MESSAGE, None),
    ("an option in a request", peer_side.LINE_CHECK_RQ, option(7), E.UNEXPECTED_OPTION, True),
    ("another method", peer_side.AUTH_RQ, data(0, words(1)), E.WRONG_AUTHENTICATION_METHOD, True),
    ("another key index", peer_side.AUTH_RQ, data(4, words(2)), E.KEY_NOT_CONFIGURED, True),
    ("a key index of 9", peer_side.AUTH_RQ, data(4, words(9)), E.KEY_NOT_CONFIGURED, True),
    ("a count beyond the data", peer_side.AUTH_RQ, data(8, words(100)), E.UNEXPECTED_LENGTH, False),
    ("another name", peer_side.AUTH_RQ, data(12, b"I"), E.WRONG_AUTHENTICATION_DATA, True),
    ("a card that fails", peer_side.PASS_1, option(0x6983), E.PEER_DEVICE_FAILED, False),
    ("a refusal", peer_side.PASS_1, option(peer_side.NAK), E.PEER_REFUSED, False),
    ("a pass twice", peer_side.PASS_1, twice, E.UNEXPECTED_MESSAGE, None),
    ("a wrong response", peer_side.PASS_3, flipped(0), E.PEER_NOT_AUTHENTIC, True),
    ("a refusal of our response", peer_side.PASS_3, option(peer_side.NAK), E.PEER_REFUSED, False),
    ("no third pass", peer_side.PASS_3, instead(peer_side.SEND_RQ, REQUEST + words(8)), E.UNEXPECTED_MESSAGE, None),
]

AGAINST_US_AS_SERVER = [
    ("a refusal of the line", peer_side.LINE_CHECK_RP, option(peer_side.NAK), E.PEER_REFUSED, False),
    ("an unknown option", peer_side.LINE_CHECK_RP, option(1), E.UNEXPECTED_OPTION, False),
    ("a larger block length", peer_side.LINE_CHECK_RP, data(0, words(8193)), E.BLOCK_LENGTH_TOO_LARGE, False),
    ("a refusal to authenticate", peer_side.AUTH_RP, option(peer_side.NAK), E.PEER_REFUSED, False),
    ("another name", peer_side.AUTH_RP, data(4, b"I"), E.WRONG_AUTHENTICATION_DATA, True),
    ("a wrong response", peer_side.PASS_2, flipped(0), E.PEER_NOT_AUTHENTIC, True),
    ("a card that fails", peer_side.PASS_2, option(0x6300), E.PEER_DEVICE_FAILED, False),
    ("a response twice", peer_side.PASS_2, twice, E.UNEXPECTED_MESSAGE, None),
    ("a refusal at last", peer_side.AUTH_DONE, option(peer_side.NAK), E.PEER_REFUSED, False),
    ("data before the completion", peer_side.AUTH_DONE, instead(peer_side.SEND_RQ, REQUEST + words(8)),
     E.UNEXPECTED_MESSAGE, False),
    ("a passive client", peer_side.AUTH_DONE, instead(peer_side.BYE_RQ), E.UNEXPECTED_MESSAGE, False),
]  # fmt: skip

AGAINST_OUR_RECEIVER = [
    ("no encryption", peer_side.SEND_RQ, data(0, words(0)), E.METHOD_NOT_ACCEPTABLE, True),
    ("an unknown encryption", peer_side.SEND_RQ, data(0, words(0x1313)), E.METHOD_NOT_ACCEPTABLE, True),
    ("another key", peer_side.SEND_RQ, data(4, words(2)), E.METHOD_NOT_ACCEPTABLE, True),
    ("unique keys", peer_side.SEND_RQ, data(4, words(0x11)), E.METHOD_NOT_ACCEPTABLE, True),
    ("another MAC", peer_side.SEND_RQ, data(8, words(0x4001)), E.METHOD_NOT_ACCEPTABLE, True),
    ("no MAC", peer_side.SEND_RQ, data(8, words(0)), E.METHOD_NOT_ACCEPTABLE, True),
    ("no length", peer_side.SEND_RQ, data(12, words(0)), E.UNEXPECTED_LENGTH, True),
    ("too great a length", peer_side.SEND_RQ, data(12, words(1_048_577)), E.OWN_LIMIT_TOO_SMALL, True),
    ("a request cut off", peer_side.SEND_RQ, cut_off, E.CONNECTION_LOST, None),
    ("a request twice", peer_side.SEND_RQ, twice, E.UNEXPECTED_MESSAGE, None),
    ("the MAC without data", peer_side.BLOCK, instead(peer_side.CODE, bytes(24)), E.UNEXPECTED_MESSAGE, False),
    ("an empty block", peer_side.BLOCK, instead(peer_side.BLOCK), E.UNEXPECTED_LENGTH, False),
    ("a block too many", peer_side.BLOCK, twice, E.UNEXPECTED_MESSAGE, False),
    ("a block too long", peer_side.BLOCK, longer, E.UNEXPECTED_LENGTH, False),
    ("a block cut off", peer_side.BLOCK, cut_off, E.CONNECTION_LOST, None),
    ("4 GB of block", peer_side.BLOCK, announced(0xFFFFFFFF), E.UNEXPECTED_LENGTH, False),
    ("a random number unasked", peer_side.BLOCK, instead(peer_side.RANDOM_RQ, bytes(8)), E.UNEXPECTED_MESSAGE, False),
    ("a changed message", peer_side.BLOCK, flipped(0), E.WRONG_MAC, False),
    ("changed padding", peer_side.BLOCK, flipped(-1), E.DECRYPTION_FAILED, False),
    ("a changed MAC", peer_side.CODE, flipped(0), E.WRONG_MAC, False),
    ("a MAC of no length", peer_side.CODE, instead(peer_side.CODE), E.WRONG_MAC, False),
    ("a clear digest", peer_side.CODE, instead(peer_side.CODE, bytes(16)), E.WRONG_MAC, False),
    ("a MAC too long", peer_side.CODE, longer, E.UNEXPECTED_LENGTH, False),
    ("a disconnection instead", peer_side.CODE, instead(peer_side.BYE_RQ), E.UNEXPECTED_MESSAGE, False),
    ("through data instead", peer_side.SEND_RQ, instead(peer_side.THROUGH, b"x"), E.THROUGH_MODE_CLOSED, False),
]  # fmt: skip


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
            assert connected.last_error is error  # noqa: PT017
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
        E.CONNECTION_LOST: ConnectionLost,
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


@cases(AGAINST_US_AS_CLIENT)
def test_a_bad_server_is_refused(
    ends: Ends, message: int, spoil: Callable[[bytes], bytes], code: ErrorCode, told: bool | None
) -> None:
    judge(meet(ends, False, {message: spoil}, say_a_message), code, told)


@cases(AGAINST_US_AS_SERVER)
def test_a_bad_client_is_refused(
    ends: Ends, message: int, spoil: Callable[[bytes], bytes], code: ErrorCode, told: bool | None
) -> None:
    judge(meet(ends, True, {message: spoil}, say_a_message), code, told)


@cases(AGAINST_OUR_RECEIVER)
@pytest.mark.parametrize("server", [True, False], ids=["we serve", "we ask"])
def test_a_bad_sender_is_refused(
    ends: Ends, server: bool, message: int, spoil: Callable[[bytes], bytes], code: ErrorCode, told: bool | None
) -> None:
    judge(meet(ends, server, {message: spoil}, say_a_message), code, told)


def test_data_before_the_random_number_of_its_key_is_refused(ends: Ends) -> None:
    outcome = meet(
        ends, True, {peer_side.RANDOM_RQ: instead(peer_side.BLOCK, bytes(8))}, say_a_message, unique_keys=True
    )
    judge(outcome, E.SESSION_RANDOM_EXPECTED, False)


def test_a_peer_whose_device_cannot_draw_a_random_number_is_given_up(ends: Ends) -> None:
    outcome = meet(ends, True, {peer_side.RANDOM_RQ: option(0x6F00)}, say_a_message, unique_keys=True)
    judge(outcome, E.PEER_DEVICE_FAILED, False)


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
            assert isinstance(failure_of(serving), ConnectionLost)


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


def test_both_ends_say_what_was_wrong_when_their_keys_differ(ends: Ends) -> None:
    differing = ISCLSettings(authentication_key=1)
    token = new_token()
    with open_token(token.uri()) as connection:
        import_secret(connection, Use.AUTHENTICATION, 1, bytearray.fromhex("7ca110454a1a6e57"))
    with (
        open_secrets(token.uri()) as others,
        sockets() as (a, b),
        meanwhile(lambda: ISCLContext(differing, ends.ours).wrap_socket(a, True)) as serving,
    ):
        with pytest.raises(RemoteProtocolError) as caught:
            ISCLContext(differing, ends.theirs, authentication=others).wrap_socket(b)
        assert caught.value.code is E.PEER_REFUSED
        failure = failure_of(serving)
        assert isinstance(failure, AuthenticationError)
        assert "Compare the check values" in str(failure)


@pytest.mark.parametrize(
    ("server", "client", "code"),
    [
        ({"encryption": Encryption.NONE}, {}, E.METHOD_NOT_ACCEPTABLE),
        ({"mac": Mac.DES_MAC}, {}, E.METHOD_NOT_ACCEPTABLE),
        ({"unique_keys": True}, {}, E.METHOD_NOT_ACCEPTABLE),
        ({"encryption_key": 2}, {}, E.METHOD_NOT_ACCEPTABLE),
        ({"max_message": 99}, {}, E.PEER_LIMIT_TOO_SMALL),
    ],
)
def test_ends_that_are_not_set_alike_tell_each_other(
    ends: Ends, server: dict[str, Any], client: dict[str, Any], code: ErrorCode
) -> None:
    with line(ends, settings(**server), settings(**client)) as (serving, asking):
        with meanwhile(lambda: serving.recv(1)) as received:
            with pytest.raises(RemoteProtocolError) as caught:
                asking.sendall(bytes(100))
            assert caught.value.code is code
            failure = failure_of(received)
        assert isinstance(failure, RemoteProtocolError)
        assert failure.code in (E.METHOD_NOT_ACCEPTABLE, E.OWN_LIMIT_TOO_SMALL)
        assert serving.peer_encryption is Encryption.DES_CBC
        assert serving.peer_mac is Mac.MD5
        assert serving.peer_requested_length == 100


# -- time -----------------------------------------------------------------------------------------------------

QUICK = WireProfile(handshake_timeout=0.2, message_timeout=0.2)


@pytest.mark.parametrize("server", [True, False], ids=["we serve", "we ask"])
def test_a_silent_peer_has_the_time_of_a_step(ends: Ends, server: bool) -> None:
    with sockets() as (a, _):
        began = time.monotonic()
        with pytest.raises(StepTimeout) as caught:
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
            with pytest.raises(StepTimeout):
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


def test_a_ready_line_may_be_idle_for_longer_than_a_step(ends: Ends) -> None:
    with line(ends, settings(profile=QUICK)) as (serving, asking):
        serving.settimeout(0.5)
        with pytest.raises(TimeoutError, match="still open"):
            serving.recv(1)
        with meanwhile(lambda: serving.recv(10)) as received:
            asking.sendall(b"late")
            assert received.result(SECONDS) == b"late"


# -- our own device -------------------------------------------------------------------------------------------


def test_a_device_that_fails_in_the_handshake_is_told_as_such() -> None:
    """The key is deleted after the context was made: the client's device then has no answer to the challenge."""
    token = new_token()
    with open_token(token.uri()) as connection:
        import_secret(connection, Use.AUTHENTICATION, 1, bytearray.fromhex("133457799bbcdff1"))
        import_secret(connection, Use.ENCRYPTION, 1, bytearray.fromhex("0123456789abcdef"))
    with open_secrets(token.uri()) as secrets, sockets() as (a, b):
        context = ISCLContext(settings(), secrets)
        with open_token(token.uri()) as connection:
            delete_secret(connection, Use.AUTHENTICATION, 1)
        with meanwhile(independent(b, True).handshake) as done:
            with pytest.raises(DeviceFailed) as caught:
                context.wrap_socket(a)
            refused = failure_of(done)
    assert caught.value.code is E.OWN_DEVICE_FAILED
    assert caught.value.__cause__ is not None
    assert isinstance(refused, Refused)
    assert refused.args[:2] == (peer_side.PASS_2, 0x6F00)


# -- through mode ---------------------------------------------------------------------------------------------


def test_through_data_is_neither_sent_nor_taken_unless_it_is_allowed_by_name(ends: Ends) -> None:
    allowed = settings(allow={Weakness.THROUGH_MODE})
    with line(ends, allowed, settings()) as (serving, asking):
        with pytest.raises(ISCLError) as caught:
            asking.send_through(b"unprotected")
        assert caught.value.code is E.THROUGH_MODE_CLOSED
        with meanwhile(lambda: asking.recv(1)) as received:
            serving.send_through(b"unprotected")
            failure = failure_of(received)
        assert isinstance(failure, RemoteProtocolError)
        assert failure.code is E.THROUGH_MODE_CLOSED
