"""Retired profiles between two ends of ours: what is negotiated, and what is never allowed."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding

from hsm_dicom.identity import Identity
from hsm_dicom.tls import AuthenticationMode, FailureReason, HandshakeError
from hsm_dicom.tls.errors import ContextError, LegacyRefusedError
from hsm_dicom.tls.legacy import PROFILES
from hsm_dicom.tls.legacy.context import LegacyContext, LegacyHandshake
from hsm_dicom.tls.legacy.groups import GROUPS
from hsm_dicom.tls.legacy.keys import make_decrypter
from hsm_dicom.tls.legacy.profiles import KeyExchange
from hsm_dicom.tls.legacy.sockets import LegacySocket
from hsm_dicom.tls.settings import DH_SIZES, LegacyExemption
from hsm_dicom.trust import Reason
from tests import pki
from tests.hsm_dicom.tls.fixtures import Hospital, names
from tokens import events
from tokens.events import KeyUse

TOMORROW = date.today() + timedelta(days=2)
EVERY_PROFILE = pytest.mark.parametrize("profile", PROFILES)


def opening(profile: str = "basic-tls", until: date = TOMORROW) -> LegacyExemption:
    return LegacyExemption(profile=profile, reason="an old film digitiser", until=until)


def serving(hospital: Hospital, profile: str) -> Identity:
    """The identity that a server shows: one that decrypts, or with Diffie-Hellman one that signs."""
    return hospital.decrypting if PROFILES[profile].key_exchange is KeyExchange.RSA else hospital.rsa


def server(hospital: Hospital, profile: str, **wishes: Any) -> LegacyContext:
    identity = wishes.pop("identity", serving(hospital, profile))
    return LegacyContext(opening(profile), identity, hospital.validator(), server_side=True, **wishes)


def client(hospital: Hospital, profile: str, identity: Identity | None = None, **wishes: Any) -> LegacyContext:
    shown = identity or hospital.rsa
    return LegacyContext(opening(profile), shown, hospital.validator(), server_side=False, **wishes)


def finish(handshake: LegacyHandshake, raw: socket.socket) -> LegacySocket:
    while (waits_for := handshake.advance()) is not None:
        poll = select.poll()
        poll.register(raw, select.POLLIN if waits_for == "read" else select.POLLOUT)
        assert poll.poll(5000), "the handshake hangs"
    return handshake.socket()


@contextmanager
def connected(accepting: LegacyContext, connecting: LegacyContext) -> Iterator[tuple[Any, Any]]:
    """Both handshakes done, or what each of them raised."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname(), timeout=5)
        far, _ = listening.accept()
    with near, far:
        outcome: dict[str, Any] = {}

        def accept() -> None:
            try:
                handshake = accepting.begin(far, "192.0.2.1")
                outcome["server"] = (finish(handshake, far), handshake.facts)
            except Exception as error:
                outcome["server"] = error
                far.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            handshake = connecting.begin(near, "192.0.2.2", "localhost")
            outcome["client"] = (finish(handshake, near), handshake.facts)
        except Exception as error:
            outcome["client"] = error
            near.shutdown(socket.SHUT_WR)
        thread.join(10)
        yield outcome["server"], outcome["client"]


@EVERY_PROFILE
def test_both_sides_agree_with_the_rsa_operations_on_the_token(hospital: Hospital, profile: str) -> None:
    heard: list[Any] = []
    with (
        events.subscribe(heard.append),
        connected(server(hospital, profile), client(hospital, profile)) as (accepted, made),
    ):
        assert not isinstance(accepted, Exception), accepted
        assert not isinstance(made, Exception), made
        (server_end, server_facts), (client_end, client_facts) = accepted, made
        assert server_facts.suite == client_facts.suite == PROFILES[profile].suites[0].name
        assert server_facts.version == ("TLSv1.1" if profile in ("des-tls", "dhe-des") else "TLSv1.2")
        assert server_facts.peer.subject == "CN=node rsa"
        assert client_facts.peer.subject == serving(hospital, profile).subject
        diffie_hellman = PROFILES[profile].key_exchange is KeyExchange.DHE_RSA
        for facts in (server_facts, client_facts):
            assert facts.algorithms.key_exchange_bits == (2048 if diffie_hellman else None)
        data = bytes(range(256)) * 300
        sender = threading.Thread(target=client_end.sendall, args=(data,))
        sender.start()
        received = b""
        while len(received) < len(data):
            received += server_end.recv(65536)
        sender.join(5)
        assert received == data
        server_end.close()
        assert client_end.recv(10) == b""
        client_end.close()
    used = [(event.key_label, event.operation) for event in heard if isinstance(event, KeyUse)]
    assert sorted(used) == [("rsa", "sign") if diffie_hellman else ("decrypt", "decrypt"), ("rsa", "sign")]


@EVERY_PROFILE
def test_one_way_authentication_must_be_chosen_explicitly(hospital: Hospital, profile: str) -> None:
    one_way = AuthenticationMode.ONE_WAY
    shown = serving(hospital, profile)
    accepting = LegacyContext(opening(profile), shown, None, server_side=True, authentication=one_way)
    connecting = LegacyContext(opening(profile), None, hospital.validator(), server_side=False, authentication=one_way)
    with connected(accepting, connecting) as (accepted, _):
        assert accepted[1].peer is None
    with pytest.raises(ContextError, match="or choose one-way authentication"):
        LegacyContext(opening(profile), None, hospital.validator(), server_side=False)
    with pytest.raises(ContextError, match="no trust anchors"):
        LegacyContext(opening(profile), shown, None, server_side=True)


def test_profiles_with_nothing_in_common_say_so(hospital: Hospital) -> None:
    with connected(server(hospital, "des-tls"), client(hospital, "basic-tls")) as (accepted, made):
        assert isinstance(accepted, HandshakeError)
        assert accepted.reason is FailureReason.NO_COMMON_PARAMETERS
        assert isinstance(made, HandshakeError)
        assert made.reason is FailureReason.REFUSED_BY_PEER


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({"issuer": pki.Authority("Foreign CA")}, Reason.NO_PATH),
        ({"begins": pki.NOW - pki.YEAR, "ends": pki.NOW - pki.DAY}, Reason.EXPIRED),
    ],
    ids=["another CA", "expired"],
)
def test_a_peer_is_validated_although_the_library_does_not(
    hospital: Hospital, wishes: dict[str, Any], reason: Reason
) -> None:
    bad = hospital.peer("bad CT", key=pki.new_key("rsa2048", 7), **wishes)
    with connected(server(hospital, "aes-tls"), client(hospital, "aes-tls", bad)) as (accepted, _):
        assert isinstance(accepted, HandshakeError)
        assert accepted.verdict is not None
        assert accepted.verdict.reason is reason
        assert "'CN=bad CT' is refused" in str(accepted)


def test_a_key_that_also_signs_is_refused(hospital: Hospital) -> None:
    with pytest.raises(LegacyRefusedError, match="may sign as well"):
        server(hospital, "basic-tls", identity=hospital.rsa)
    with pytest.raises(LegacyRefusedError, match="no RSA key on a token"):
        server(hospital, "basic-tls", identity=hospital.peer("file", key=pki.new_key("rsa2048")))


def test_a_certificate_that_also_signs_is_refused(hospital: Hospital) -> None:
    usages = ("key_encipherment", "digital_signature")
    issued = hospital.ca.issue("both", key=hospital.decrypting.key, usages=usages, extensions=[names()])
    with pytest.raises(LegacyRefusedError, match="not for keyEncipherment alone"):
        server(hospital, "basic-tls", identity=Identity("both", hospital.decrypting.key, issued.certificate))


def test_with_diffie_hellman_a_key_that_also_decrypts_is_refused(hospital: Hospital) -> None:
    with pytest.raises(LegacyRefusedError, match="not for digitalSignature alone"):
        server(hospital, "dhe-aes", identity=hospital.decrypting)
    usages = ("key_encipherment", "digital_signature")
    issued = hospital.ca.issue("both", key=hospital.rsa.key, usages=usages, extensions=[names()])
    with pytest.raises(LegacyRefusedError, match="not for digitalSignature alone"):
        server(hospital, "dhe-aes", identity=Identity("both", hospital.rsa.key, issued.certificate))
    usages = ("digital_signature",)
    issued = hospital.ca.issue("decrypts", key=hospital.decrypting.key, usages=usages, extensions=[names()])
    with pytest.raises(LegacyRefusedError, match="signs and does not decrypt"):
        server(hospital, "dhe-aes", identity=Identity("decrypts", hospital.decrypting.key, issued.certificate))
    with pytest.raises(LegacyRefusedError, match="no RSA key on a token"):
        server(hospital, "dhe-aes", identity=hospital.peer("file", key=pki.new_key("rsa2048")))


@pytest.mark.slow
def test_each_group_is_a_safe_prime_of_its_size() -> None:
    assert tuple(GROUPS) == DH_SIZES
    for bits, (generator, prime) in GROUPS.items():
        assert prime.bit_length() == bits
        # 2 generates the subgroup of prime order, or all of it: no small subgroup is left either way.
        assert generator == 2
        for number in (prime, prime // 2):
            assert all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7, 11))


@pytest.mark.parametrize(("ours", "theirs", "accepted"), [(1024, 1024, True), (2048, 1024, False), (1024, 3072, True)])
def test_a_client_takes_no_group_smaller_than_its_opening_allows(
    hospital: Hospital, ours: int, theirs: int, accepted: bool
) -> None:
    accepting, connecting = server(hospital, "dhe-aes"), client(hospital, "dhe-aes")
    for context, bits in ((accepting, theirs), (connecting, ours)):
        context.exemption = replace(context.exemption, dh_bits=bits)
    remade = LegacyContext(accepting.exemption, hospital.rsa, hospital.validator(), server_side=True)
    with connected(remade, connecting) as (_, made):
        if accepted:
            assert made[1].key_exchange_bits == theirs
        else:
            assert isinstance(made, HandshakeError)
            assert "group has 1024 bits, and from 2048" in str(made)


@pytest.mark.parametrize("bits", [512, 1000, 8192])
def test_groups_of_other_sizes_cannot_be_had(bits: int) -> None:
    with pytest.raises(LegacyRefusedError, match=r"is not available\. Set dh_bits to one of: 1024, 2048, 3072, 4096"):
        LegacyExemption(profile="dhe-aes", reason="r", until=TOMORROW, dh_bits=bits)


def test_a_client_does_not_sign_with_a_key_that_decrypts(hospital: Hospital) -> None:
    with pytest.raises(LegacyRefusedError, match="signs and does not decrypt"):
        client(hospital, "basic-tls", hospital.decrypting)
    with pytest.raises(LegacyRefusedError, match="no RSA key"):
        client(hospital, "basic-tls", hospital.ec)


def test_an_opening_needs_a_reason_and_ends_on_its_day(hospital: Hospital) -> None:
    with pytest.raises(LegacyRefusedError, match=r"gives no reason\. Set reason\."):
        LegacyExemption(profile="basic-tls", reason=" ", until=TOMORROW)
    ended = opening(until=date(2020, 1, 31))
    with pytest.raises(LegacyRefusedError, match="ended on 2020-01-31"):
        LegacyContext(ended, hospital.decrypting, hospital.validator(), server_side=True)
    with pytest.raises(ContextError, match="des-tls"):
        LegacyContext(opening("ssl3"), hospital.decrypting, hospital.validator(), server_side=True)


def test_an_opening_that_ends_while_it_is_used_takes_no_further_connection(hospital: Hospital) -> None:
    days = [date(2030, 1, 1)]
    context = LegacyContext(
        opening(until=date(2030, 1, 1)),
        hospital.decrypting,
        hospital.validator(),
        server_side=True,
        now=lambda: days[0],
    )
    near, far = socket.socketpair()
    with near, far:
        context.begin(far, "192.0.2.1")
        days[0] += timedelta(days=1)
        with pytest.raises(LegacyRefusedError, match="ended on 2030-01-01"):
            context.begin(near, "192.0.2.1")


def test_a_premaster_secret_that_does_not_decrypt_fails_at_finished_and_nowhere_else(hospital: Hospital) -> None:
    key = make_decrypter(hospital.decrypting)
    size = hospital.decrypting.key.key_size // 8
    good = hospital.decrypting.certificate.public_key().encrypt(b"\x03\x01" + bytes(46), padding.PKCS1v15())  # type: ignore[union-attr]
    assert key.decrypt(good) == b"\x03\x01" + bytes(46)
    for forged in (b"\x01" * size, good[:-1] + bytes([good[-1] ^ 1]), bytes(size)):
        answer = key.decrypt(forged)
        assert answer is not None
        assert answer != b"\x03\x01" + bytes(46)
    assert key.decrypt(b"\x01" * (size - 1)) is None


def test_the_library_is_not_changed_for_anybody_else(hospital: Hospital) -> None:
    from tlslite.constants import CipherSuite
    from tlslite.recordlayer import RecordLayer

    for profile in ("des-tls", "dhe-des"):
        with connected(server(hospital, profile), client(hospital, profile)) as (accepted, _):
            assert not isinstance(accepted, Exception)
    lists = [value for value in vars(CipherSuite).values() if isinstance(value, list)]
    assert lists
    assert all(0x0009 not in numbers and 0x0015 not in numbers for numbers in lists)
    assert RecordLayer._getCipherSettings(0x000A)[2].__module__.startswith("tlslite")
