"""A reader on which the PIN is typed: it reaches the card, and never this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.cards.daemon import Daemon, RunningCard
from tests.cards.fixtures import AUTHENTICATION_CARD, PIN, PutIn
from tokens import open_key
from tokens.errors import PinNotPresentedError, PinRefusedError
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


def sign() -> None:
    with open_key(URI, profiles=PROFILES) as key:
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
    with pytest.raises(PinNotPresentedError, match="No PIN was typed on the reader Pad 00 00"):
        sign()
    assert card.do("state")["tries"] == {"01": 3}


def test_a_reader_says_that_it_has_a_pin_pad(card: RunningCard) -> None:
    assert card_info(default_manager().cards, "card:reader=Pad*;profile=test", profiles=PROFILES).pin_pad
