"""Responses and session keys by DES decryption, for a protocol that has it the other way round: on every device."""

from __future__ import annotations

import contextlib

import pytest

from tests.tokens.secrets.devices import KEYS, Device
from tokens.algorithms.des_keys import encrypt_block
from tokens.errors import AuthenticationFailedError, MechanismNotOfferedError, ReflectedChallengeError
from tokens.events import DeviceEvent, KeyUse, subscribe
from tokens.secrets import ZERO_IV, Secrets, Use

WORKED_PLAIN = bytes.fromhex("0123456789abcdef")
WORKED_CIPHER = bytes.fromhex("85e813540f0ab405")
"""A block of the worked example of DES whose key is authentication key 1."""

FIPS_81_PLAIN = b"Now is t"
FIPS_81_CIPHER = bytes.fromhex("3fa40e8a984d4815")
"""FIPS 81, Table B1, first block; its key is encryption key 1."""


TOKENS = pytest.mark.parametrize("device", ["softhsm", "nss"], indirect=True)
"""The devices that answer by decryption; a card answers as its INTERNAL AUTHENTICATE does."""


def encrypted(challenge: bytes) -> bytes:
    """What a party answers that encrypts."""
    return encrypt_block(bytearray.fromhex(KEYS[Use.AUTHENTICATION, 1]), challenge)


@TOKENS
def test_the_answer_is_the_published_block_decrypted(secrets: Secrets) -> None:
    with secrets.authentication(1, by_decryption=True) as a:
        assert a.internal_authenticate(WORKED_CIPHER) == WORKED_PLAIN


@TOKENS
def test_two_holders_of_a_key_prove_it_by_decryption(secrets: Secrets, peer: Secrets) -> None:
    with (
        secrets.authentication(1, by_decryption=True) as server,
        peer.authentication(1, by_decryption=True) as client,
    ):
        first = server.challenge
        answer = client.internal_authenticate(first)
        assert encrypted(answer) == first
        second = client.challenge
        server.external_authenticate(answer)
        client.external_authenticate(server.internal_authenticate(second))


@TOKENS
@pytest.mark.parametrize("by_decryption", [True, False], ids=["decryption is due", "encryption is due"])
def test_an_answer_made_the_other_way_round_is_refused(secrets: Secrets, peer: Secrets, by_decryption: bool) -> None:
    with (
        secrets.authentication(1, by_decryption=by_decryption) as judging,
        peer.authentication(1, by_decryption=not by_decryption) as answering,
    ):
        answer = answering.internal_authenticate(judging.challenge)
        with pytest.raises(AuthenticationFailedError):
            judging.external_authenticate(answer)


@TOKENS
def test_a_challenge_sent_back_to_us_is_not_decrypted(secrets: Secrets) -> None:
    with secrets.authentication(1, by_decryption=True) as waiting:
        challenge = waiting.challenge
        with secrets.authentication(1, by_decryption=True) as other, pytest.raises(ReflectedChallengeError):
            other.internal_authenticate(challenge)


def test_a_device_that_does_not_answer_by_decryption_says_so_and_stays_free(device: Device, secrets: Secrets) -> None:
    told = contextlib.nullcontext() if device.answers_by_decryption else pytest.raises(MechanismNotOfferedError)
    with told as refused, secrets.authentication(1, by_decryption=True):
        pass
    if refused is not None:
        assert "answers as its INTERNAL AUTHENTICATE does, not by decryption" in str(refused.value)
    with secrets.authentication(1, wait=0.1) as a:
        assert a.internal_authenticate(WORKED_PLAIN) == WORKED_CIPHER


def test_no_device_keeps_a_session_key_by_decryption(secrets: Secrets) -> None:
    with pytest.raises(MechanismNotOfferedError, match="host_session_keys"):
        secrets.session_key(1, FIPS_81_CIPHER, by_decryption=True)


def test_a_session_key_by_decryption_comes_to_the_host_with_leave_and_is_told_of(device: Device) -> None:
    heard: list[DeviceEvent] = []
    with (
        device.open(host_session_keys=True) as secrets,
        subscribe(heard.append),
        secrets.session_key(1, FIPS_81_CIPHER, by_decryption=True) as key,
    ):
        assert not key.on_device
        assert key.value == FIPS_81_PLAIN
        assert key.decrypt(key.encrypt(b"a block.", ZERO_IV), ZERO_IV) == b"a block."
    uses = [(event.operation, event.outcome) for event in heard if isinstance(event, KeyUse)]
    assert uses == [("derive a session key to the host", "succeeded")]
    assert FIPS_81_PLAIN.hex() not in repr(heard)
