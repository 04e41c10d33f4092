"""Peers that are slow, silent, wrong or many: bounded time, an event, and the next good peer is served."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynetdicom import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hsm_dicom.identity import Identity
from hsm_dicom.network.echo import echo
from hsm_dicom.network.errors import AssociationLostError, AssociationRejectedError
from hsm_dicom.network.requestor import associate
from hsm_dicom.network.settings import Peer
from hsm_dicom.tls import FailureReason, HandshakeError
from hsm_dicom.tls.hello import TLS12
from hsm_dicom.tls.hello import client_hello as greeting
from hsm_dicom.tls.settings import LegacyExemption
from hsm_dicom.transport.events import AssociationAborted, ConnectionRejected, HandshakeFailed
from tests.hsm_dicom.network.nodes import QUICK, TIMEOUTS, Node, eventually, node, transport_to
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.softhsm import TestToken
from tokens import open_key

# TLS 1.2 record of type handshake, 512 bytes announced, the beginning of a ClientHello.
HALF_A_CLIENT_HELLO = bytes.fromhex("160301020001000200030301") + b"\x00" * 20
OVERSIZED_RECORD = bytes.fromhex("160303ffff") + b"\x00" * 65535
PLAIN_ASSOCIATE_REQUEST = bytes.fromhex("0100000000cd00010000") + b"NODE".ljust(16) + b"CT1".ljust(16) + bytes(120)


def connect(running: Node, sent: bytes = b"", *, origin: str = "127.0.0.1") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=10, source_address=(origin, 0))
    connection.sendall(sent)
    return connection


@contextlib.contextmanager
def connections(running: Node, count: int, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections from four addresses each, none of them ours."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connect(running, sent, origin=f"127.0.1.{1 + n // 4}")) for n in range(count)]


def seconds_of_an_echo(running: Node, hospital: Hospital) -> float:
    peer = running.peer()
    started = time.monotonic()
    assert echo(peer, transport_to(peer, hospital), "CT1", TIMEOUTS).done
    return time.monotonic() - started


def is_closed_within(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    with contextlib.suppress(ConnectionError):
        while connection.recv(4096):
            pass
    return True


@pytest.mark.parametrize("sent", [b"", HALF_A_CLIENT_HELLO], ids=["idle", "half a ClientHello"])
def test_fifty_silent_connections_do_not_delay_a_real_one(hospital: Hospital, sent: bytes) -> None:
    with node(hospital, limits=replace(QUICK, workers=2)) as running:
        alone = seconds_of_an_echo(running, hospital)
        with connections(running, 50, sent):
            assert seconds_of_an_echo(running, hospital) < alone + 0.5
        assert seconds_of_an_echo(running, hospital) < alone + 0.5


def test_a_silent_connection_is_closed_at_the_deadline_and_told(hospital: Hospital) -> None:
    with node(hospital, limits=replace(QUICK, handshake_seconds=0.3)) as running:
        with connect(running, HALF_A_CLIENT_HELLO) as connection:
            assert is_closed_within(connection, 3)
        event = running.only(HandshakeFailed)
    assert event.reason == FailureReason.TIMED_OUT
    assert "did not finish its handshake within 0.3 seconds" in event.text


def test_dripping_bytes_does_not_extend_the_deadline(hospital: Hospital) -> None:
    with (
        node(hospital, limits=replace(QUICK, handshake_seconds=0.5)) as running,
        connect(running) as connection,
    ):
        started = time.monotonic()
        with contextlib.suppress(OSError):
            for byte in HALF_A_CLIENT_HELLO * 4:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        assert is_closed_within(connection, 5)
        assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", FailureReason.NOT_TLS),
        (PLAIN_ASSOCIATE_REQUEST, FailureReason.NOT_TLS),
        (OVERSIZED_RECORD, None),
        (bytes(1000), FailureReason.NOT_TLS),
    ],
    ids=["HTTP", "DICOM without TLS", "an oversized record", "zeros"],
)
def test_what_is_no_tls_is_refused_at_once(hospital: Hospital, sent: bytes, reason: FailureReason | None) -> None:
    with node(hospital) as running:
        with connect(running, sent) as connection:
            assert is_closed_within(connection, 5)
        event = running.only(HandshakeFailed)
        assert reason is None or event.reason == reason
        assert "127.0.0.1:" in event.text
        assert seconds_of_an_echo(running, hospital) < 2


def test_two_hundred_connections_at_once_leave_the_listener_working(hospital: Hospital) -> None:
    with node(hospital, limits=QUICK) as running:
        with connections(running, 200, HALF_A_CLIENT_HELLO):
            assert seconds_of_an_echo(running, hospital) < 3
        counts = running.listener.counts
        assert eventually(lambda: counts.refused + counts.without_place == 200)
        assert any("others wait for one" in event.text for event in running.of(ConnectionRejected))


def test_renegotiation_is_refused(hospital: Hospital) -> None:
    # Python cannot ask for a renegotiation; the openssl program can, by the letter R.
    certificate, key = hospital.files(hospital.peer("CT 1"))
    with node(hospital) as running:
        command = ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{running.port}"]
        client = subprocess.run(
            [*command, "-cert", certificate, "-key", key, "-CAfile", hospital.ca_file],
            input=b"R\n",
            capture_output=True,
            timeout=20,
        )
        assert b"RENEGOTIATING" in client.stderr + client.stdout
        assert b"no renegotiation" in client.stderr
        assert seconds_of_an_echo(running, hospital) < 2


class SlowKey(ec.EllipticCurvePrivateKey):
    """A token key that takes its time, as some smart cards do."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, seconds: float) -> None:
        self._key, self._seconds = key, seconds

    def sign(self, data: object, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        time.sleep(self._seconds)
        return self._key.sign(data, signature_algorithm)  # type: ignore[arg-type]

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key.public_key()

    def __getattr__(self, name: str) -> object:
        return getattr(self._key, name)

    curve = key_size = private_bytes = private_numbers = exchange = property(lambda self: None)  # type: ignore[assignment]
    __copy__ = __deepcopy__ = lambda self, *_: self  # type: ignore[assignment]


def test_a_token_that_takes_two_seconds_delays_nobody_but_its_callers(hospital: Hospital) -> None:
    slow = Identity("slow", SlowKey(hospital.ec.key, 2.0), hospital.ec.certificate)  # type: ignore[arg-type]
    with node(hospital, identities=[slow], limits=replace(QUICK, handshake_seconds=5, workers=4)) as running:
        results: list[float] = []
        threads = [
            threading.Thread(target=lambda: results.append(seconds_of_an_echo(running, hospital))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        with connect(running, b"GET / HTTP/1.0\r\n\r\n") as wrong:
            started = time.monotonic()
            assert is_closed_within(wrong, 5)
            assert time.monotonic() - started < 3.5
        for thread in threads:
            thread.join(20)
    assert len(results) == 4
    assert max(results) < 4


def test_a_token_that_disappears_in_the_handshake_is_reported_and_the_listener_lives_on(
    hospital: Hospital, node_token: TestToken
) -> None:
    key = open_key(node_token.uri("rsa"))
    leaving = Identity("leaving", key, hospital.rsa.certificate)
    with node(hospital, identities=[leaving]) as running:
        assert seconds_of_an_echo(running, hospital) < 3
        key.close()
        peer = running.peer()
        with pytest.raises(HandshakeError):
            echo(peer, transport_to(peer, hospital), "CT1", TIMEOUTS)
        assert eventually(lambda: [e for e in running.of(HandshakeFailed) if e.reason == FailureReason.OWN_KEY])
        assert running.listener._thread.is_alive()


def test_a_pdu_that_stops_in_the_middle_ends_the_association(hospital: Hospital) -> None:
    with node(hospital, limits=replace(QUICK, request_seconds=0.5)) as running:
        peer = running.peer()
        secured = transport_to(peer, hospital).connect(connect(running), "node", 5)
        with secured.socket:
            secured.socket.sendall(b"\x01\x00\x00\x00\x00\xcd\x00\x01")
            assert is_closed_within(secured.socket, 5)
        assert seconds_of_an_echo(running, hospital) < 3


def test_a_forged_record_aborts_the_association_and_is_reported(hospital: Hospital) -> None:
    def forge(running: Node, peer: Peer) -> None:
        with associate(peer, transport_to(peer, hospital), "CT1", [build_context(Verification)], TIMEOUTS) as opened:
            # A whole record of application data under no key at all, past OpenSSL.
            os.write(opened.secured.socket.fileno(), bytes.fromhex("1703030020") + os.urandom(32))
            assert eventually(lambda: running.of(AssociationAborted))
            opened.association.send_c_echo()

    with node(hospital) as running:
        with pytest.raises(AssociationLostError):
            forge(running, running.peer())
        event = running.only(AssociationAborted)
    assert "failed its integrity check" in event.text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), cut=st.integers(0, 300), seed=st.integers(0, 2**16))
def test_the_front_survives_any_bytes(fuzzed: Node, data: bytes, cut: int, seed: int) -> None:
    hello = bytearray(client_hello())
    for _ in range(seed % 8):
        hello[random.Random(seed).randrange(len(hello))] ^= 1 + seed % 255
    with connect(fuzzed) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(bytes(hello[:cut]) + data)
        connection.shutdown(socket.SHUT_WR)
        assert is_closed_within(connection, 5)


def test_the_front_still_serves_after_the_fuzzing(fuzzed: Node, hospital: Hospital) -> None:
    assert seconds_of_an_echo(fuzzed, hospital) < 3
    assert fuzzed.listener.counts.secured >= 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), cut=st.integers(0, 300), seed=st.integers(0, 2**16))
def test_the_front_of_a_retired_profile_survives_any_bytes(
    fuzzed_retired: Node, data: bytes, cut: int, seed: int
) -> None:
    hello = bytearray(greeting(TLS12, [0x000A, 0x002F], "localhost"))
    for _ in range(seed % 8):
        hello[random.Random(seed).randrange(len(hello))] ^= 1 + seed % 255
    with connect(fuzzed_retired) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(bytes(hello[:cut]) + data)
        connection.shutdown(socket.SHUT_WR)
        assert is_closed_within(connection, 5)


def test_an_association_beyond_the_limit_is_rejected_for_now(hospital: Hospital) -> None:
    with node(hospital, limits=replace(QUICK, associations=1)) as running:
        peer = running.peer()
        transport = transport_to(peer, hospital)
        with associate(peer, transport, "CT1", [build_context(Verification)], TIMEOUTS):
            with pytest.raises(AssociationRejectedError, match="local limit exceeded") as caught:
                echo(peer, transport, "CT1", TIMEOUTS)
            assert (caught.value.result, caught.value.source) == (2, 3)


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


@pytest.fixture(scope="module")
def fuzzed(hospital: Hospital) -> Iterator[Node]:
    with node(hospital) as running:
        yield running


@pytest.fixture(scope="module")
def fuzzed_retired(hospital: Hospital) -> Iterator[Node]:
    opening = LegacyExemption(profile="aes-tls", reason="fuzzing", until=date(2999, 12, 31))
    with node(hospital, identities=[hospital.decrypting], legacy=opening) as running:
        yield running
        assert running.listener._thread.is_alive()


@pytest.fixture
def node_token(request: pytest.FixtureRequest) -> TestToken:
    """The shared token: `node` is the name of a helper here."""
    token = request.getfixturevalue("node")
    assert isinstance(token, TestToken)
    return token
