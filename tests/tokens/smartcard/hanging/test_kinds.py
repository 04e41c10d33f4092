"""How long a card may take, by kind of command: as the caller says, or the profile."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.cards.daemon import RunningCard
from tests.cards.fixtures import AUTHENTICATION_CARD, PutIn, insert_card, wait_until_gone
from tests.tokens.smartcard.rig import ANSWER, READER, answer, within
from tokens import open_key, open_secrets
from tokens.deadlines import CallDeadlines
from tokens.errors import CardTimeoutError, TokenTimeoutError
from tokens.keys import TokenRSAPrivateKey
from tokens.manager import default_manager
from tokens.smartcard.profile_table import read_profile
from tokens.smartcard.search import list_cards

PROFILE = read_profile("test", AUTHENTICATION_CARD)
URI = "card:reader=Rig%20A%2000%2000;profile=test;key=sign"
SIGN = (padding.PKCS1v15(), hashes.SHA256())


@pytest.fixture
def card(put_in: PutIn, state_folder: Path) -> RunningCard:
    return put_in()


def sign(key: TokenRSAPrivateKey) -> None:
    key.public_key().verify(key.sign(b"data", *SIGN), b"data", *SIGN)


@contextlib.contextmanager
def opened(pin: str, *, touch: bool = False, **options: Any) -> Iterator[TokenRSAPrivateKey]:
    profile = dataclasses.replace(PROFILE, keys=tuple(dataclasses.replace(key, touch=touch) for key in PROFILE.keys))
    with open_key(URI, pin=pin, profiles={"test": profile}, **options) as key:
        assert isinstance(key, TokenRSAPrivateKey)
        yield key


def change(card: RunningCard) -> None:
    """Take the card out and put it in again, after which pcscd waits for it no longer."""
    card.do("pull")
    wait_until_gone(READER)
    insert_card(card)


def test_a_signature_has_the_seconds_that_the_caller_gives_it(card: RunningCard, pin: str) -> None:
    with opened(pin, deadlines=CallDeadlines(sign=0.4)) as key:
        sign(key)
        # MANAGE SECURITY ENVIRONMENT is no use of a key yet.
        card.do("fault", fault="hang", skip=1)
        with within(1.5), pytest.raises(CardTimeoutError, match=r"did not answer within 0\.4 seconds") as caught:
            key.sign(b"data", *SIGN)
        assert isinstance(caught.value, TokenTimeoutError)
        change(card)
        sign(key)


def test_other_commands_have_seconds_of_their_own(card: RunningCard, pin: str) -> None:
    with opened(pin, deadlines=CallDeadlines(session=0.4, sign=30.0)) as key:
        sign(key)
        card.do("fault", fault="hang")
        with within(1.5), pytest.raises(CardTimeoutError, match=r"within 0\.4 seconds"):
            key.sign(b"data", *SIGN)


def test_a_login_has_its_own_and_is_settled_by_the_retry_counter(card: RunningCard, pin: str) -> None:
    with opened(pin, deadlines=CallDeadlines(session=5.0, login=0.4)) as key:
        # Before the PIN, the retry counter is read.
        card.do("fault", fault="hang", skip=1)
        with within(1.5), pytest.raises(CardTimeoutError, match=r"within 0\.4 seconds"):
            key.sign(b"data", *SIGN)
        change(card)
        # The card had not seen it, so that its counter is as it was, and the PIN is presented again.
        sign(key)


def test_a_card_that_waits_for_a_touch_has_the_time_of_a_person(card: RunningCard, pin: str) -> None:
    hurried = CallDeadlines(session=5.0, sign=0.3, person=20.0)
    # Before the use of the key come the retry counter, the PIN and MANAGE SECURITY ENVIRONMENT.
    with opened(pin, touch=True, deadlines=hurried) as key:
        card.do("fault", fault="slow", seconds=0.8, skip=3)
        sign(key)
    with opened(pin, deadlines=hurried) as key:
        card.do("fault", fault="slow", seconds=0.8, skip=3)
        with pytest.raises(CardTimeoutError, match=r"within 0\.3 seconds"):
            key.sign(b"data", *SIGN)


def test_secret_keys_have_them_too(card: RunningCard, pin: str) -> None:
    uri = f"card:reader={READER.replace(' ', '%20')};profile=test"
    deadlines = CallDeadlines(sign=0.4)
    with open_secrets(uri, pin=pin, profiles={"test": PROFILE}, deadlines=deadlines) as secrets:
        assert answer(secrets) == ANSWER
        card.do("fault", fault="hang")
        with within(1.5), pytest.raises(CardTimeoutError, match=r"within 0\.4 seconds"):
            answer(secrets)


def test_a_list_of_cards_asks_one_that_hangs_once(card: RunningCard, put_in: PutIn) -> None:
    put_in("Rig B 00 00")
    # Each known profile has an application to ask for.
    card.do("fault", fault="hang")
    with within(5.0):
        listed = {info.reader: info for info in list_cards(default_manager().cards, {"test": PROFILE})}
    assert listed[READER].atr
    assert listed[READER].applications == ()
    assert listed["Rig B 00 00"].applications == ("test",)


def test_a_profile_gives_them_in_a_table_or_for_every_kind_at_once() -> None:
    table = {**AUTHENTICATION_CARD, "timeout": 3.0}
    assert read_profile("test", table).list_deadlines() == CallDeadlines(session=3.0, sign=3.0, login=3.0)
    table["deadlines"] = {"sign": 7.5}
    assert read_profile("test", table).list_deadlines() == CallDeadlines(sign=7.5)
    for wrong, said in (({"sing": 1}, "sing"), ({"sign": 0}, "positive"), ({"sign": "soon"}, "number")):
        with pytest.raises(ValueError, match=said):
            read_profile("test", {**table, "deadlines": wrong})
