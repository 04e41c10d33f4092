"""Debian's vicc, an ISO/IEC 7816 card that was not written here: its authentication commands, and ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from tests.cards.authentication import des
from tests.cards.daemon import Daemon
from tests.cards.foreign import foreign_card
from tests.softhsm import set_pin
from tokens import open_secrets
from tokens.errors import AuthenticationFailedError, PinRefusedError
from tokens.manager import default_manager
from tokens.secrets import Secrets
from tokens.smartcard.apdu import commands
from tokens.smartcard.apdu import encoding as apdu
from tokens.smartcard.apdu.status import StatusError
from tokens.smartcard.profile_table import read_profile
from tokens.smartcard.readers.channel import Channel

READER = "Rig A 00 01"
SECRET = "0123456789abcdeffedcba9876543210"
PIN = "1234"
PROFILES = {
    "vicc": read_profile(
        "vicc",
        {
            "family": "iso7816",
            "secrets": {
                "authentication": {"1": "00"},
                "encryption": {},
                "pin": {"reference": "00", "minimum": 4, "padding": None},
            },
        },
    )
}


@pytest.fixture(scope="module", autouse=True)
def card(pcscd: Daemon) -> Iterator[None]:
    """The card."""
    with foreign_card(pcscd, READER, "vicc", SECRET, PIN):
        yield


@pytest.fixture
def channel() -> Iterator[Channel]:
    """A bare channel to the card."""
    opened = Channel(default_manager().cards.contexts, READER, exclusive=True)
    yield opened
    opened.close(reset=True)


def encrypted(data: bytes) -> bytes:
    """What somebody answers who holds the card's key."""
    encryptor = Cipher(des(bytes.fromhex(SECRET)), modes.ECB()).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def exchange(channel: Channel, command: apdu.Command) -> bytes:
    return apdu.exchange(lambda octets: channel.transmit(octets, 2.0), command, extended=False)


def secrets(pin: str = PIN) -> Secrets:
    return open_secrets("card:reader=Rig%20A%2000%2001;profile=vicc", pin=set_pin(pin), profiles=PROFILES)


def test_it_answers_a_challenge_through_the_secrets_port() -> None:
    with secrets() as opened, opened.authentication(1) as a:
        assert a.internal_authenticate(bytes.fromhex("0011223344556677")) == encrypted(
            bytes.fromhex("0011223344556677")
        )
        assert len(a.challenge) == 8


def test_it_refuses_a_wrong_response_through_the_secrets_port() -> None:
    with secrets() as opened, opened.authentication(1) as a:
        _ = a.challenge
        with pytest.raises(AuthenticationFailedError):
            a.external_authenticate(bytes(8))


def test_it_accepts_a_right_response(channel: Channel) -> None:
    exchange(channel, commands.verify(0x00, PIN.encode()))
    challenge = exchange(channel, commands.get_challenge())
    # vicc 3.3 pads the challenge by ISO/IEC 9797-1 method 2 before it encrypts it: its response is 16 bytes.
    response = encrypted(challenge + b"\x80" + bytes(7))
    assert exchange(channel, commands.external_authenticate(0x00, response)) == b""


def test_it_refuses_a_wrong_response(channel: Channel) -> None:
    exchange(channel, commands.verify(0x00, PIN.encode()))
    exchange(channel, commands.get_challenge())
    with pytest.raises(StatusError) as caught:
        exchange(channel, commands.external_authenticate(0x00, bytes(16)))
    assert caught.value.status >> 8 == 0x63


def test_it_is_not_asked_for_the_retry_counter_since_it_would_take_that_for_a_wrong_pin() -> None:
    for _ in range(4):
        with secrets() as opened, opened.authentication(1) as a:
            assert a.internal_authenticate(bytes(8))


def test_a_wrong_pin_is_refused_and_remembered_though_the_card_reports_no_retries(state_folder: object) -> None:
    with pytest.raises(PinRefusedError), secrets("4321") as opened, opened.authentication(1) as a:
        a.internal_authenticate(bytes(8))
    with secrets() as opened, opened.authentication(1) as a:
        assert len(a.internal_authenticate(bytes(8))) == 8
