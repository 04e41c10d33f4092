"""A reader on which the PIN is typed: it reaches the card, and never this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.cards.daemon import Daemon, RunningCard
from tests.cards.fixtures import AUTHENTICATION_CARD, PIN, PutIn
from tests.tokens.smartcard.rig import within
from tokens import open_key
from tokens.deadlines import CallDeadlines
from tokens.errors import CardTimeoutError, PinNotPresentedError, PinRefusedError
from tokens.manager import default_manager
from tokens.smartcard.check import card_info
from tokens.smartcard.profile_table import read_profile

PROFILES = {"test": read_profile("test", AUTHENTICATION_CARD)}
URI = "card:reader=Pad%2000%2000;profile=test;key=sign?pin-source=pinpad"


@pytest.fixture
def card(put_in: PutIn, pcscd: Daemon, state_folder: Path) -> Iterator[RunningCard]:
    """A card in a reader with a pin pad, with nobody there."""
    yield put_in("Pad 00 00")
    pcscd.type_pin("Pad", None)


def sign(deadlines: CallDeadlines | None = None) -> None:
    with open_key(URI, profiles=PROFILES, deadlines=deadlines) as key:
        key.sign(b"data", padding.PKCS1v15(), hashes.SHA256())  # type: ignore[call-arg, arg-type]


def test_the_pin_that_is_typed_opens_the_card(card: RunningCard, pcscd: Daemon) -> None:
    pcscd.type_pin("Pad", PIN)
    sign()
    assert card.do("state")["tries"] == {"01": 3}


def test_a_wrong_one_is_refused_and_may_be_typed_again(card: RunningCard, pcscd: Daemon) -> None:
    pcscd.type_pin("Pad", "111111")
    with pytest.raises(PinRefusedError, match=r"PIN that was typed was refused .* 2 retries left"):
        sign()
    pcscd.type_pin("Pad", PIN)
    sign()
    assert card.do("state")["tries"] == {"01": 3}


def test_nobody_typing_costs_no_retry(card: RunningCard) -> None:
    # The reader stops waiting five seconds before we do, after one second at least.
    with within(5.0), pytest.raises(PinNotPresentedError, match="No PIN was typed on the reader Pad 00 00"):
        sign(CallDeadlines(person=6.0))
    assert card.do("state")["tries"] == {"01": 3}


def test_a_person_has_more_time_than_the_card(card: RunningCard, pcscd: Daemon) -> None:
    typing = threading.Timer(0.8, pcscd.type_pin, ("Pad", PIN))
    typing.start()
    sign(CallDeadlines(session=5.0, sign=5.0, login=0.2, person=20.0))
    typing.join()


def test_a_reader_that_waits_longer_than_a_person_may_take_is_left(card: RunningCard) -> None:
    with within(3.0), pytest.raises(CardTimeoutError, match=r"within 0\.4 seconds"):
        sign(CallDeadlines(session=5.0, person=0.4))
    time.sleep(1.0)  # in which the reader stops waiting
    assert card.do("state")["tries"] == {"01": 3}


def test_a_reader_says_that_it_has_a_pin_pad(card: RunningCard) -> None:
    assert card_info(default_manager().cards, "card:reader=Pad*;profile=test", profiles=PROFILES).pin_pad
