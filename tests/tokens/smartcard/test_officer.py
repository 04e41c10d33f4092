"""A new PIN with the PUK of a PIV card: presented once, recorded, never again after a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.cards.daemon import RunningCard
from tests.cards.fixtures import PutIn
from tests.cards.people import AtHand
from tests.softhsm import set_pin
from tokens.card_uri import CardUri
from tokens.errors import (
    CardLostError,
    CeremonyError,
    PinLockedError,
    PinNotPresentedError,
    PinRefusedError,
)
from tokens.events import CeremonyStep, OperationOutcome, subscribe
from tokens.manager import default_manager
from tokens.opening import open_key
from tokens.pins.refusal_record import State
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import Pin, PinSource
from tokens.smartcard.officer import reset_pin
from tokens.smartcard.opening import open_card

URI = "card:reader=Rig%20A%2000%2000;profile=piv"
PUK, NEW = "12345678", "654321"


@pytest.fixture
def card(put_in: PutIn, state_folder: Path) -> RunningCard:
    """A PIV card with one RSA key, and a state folder that remembers nothing."""
    return put_in(card="piv", slots="9d9c")


def reset(puk: str | PinSource, new: str = NEW) -> None:
    source = AtHand(puk) if isinstance(puk, str) else puk
    with open_card(default_manager().cards, CardUri.parse(URI)) as application:
        reset_pin(application, source, AtHand(new), RefusalMemory())


def sign(pin: object, **options: object) -> None:
    with open_key(f"{URI};key=9c", pin=pin, **options) as key:  # type: ignore[arg-type]
        key.sign(b"data", padding.PKCS1v15(), hashes.SHA256())  # type: ignore[call-arg, arg-type]


def lock(card: RunningCard) -> None:
    for wrong in ("111111", "222222", "333333"):
        with pytest.raises(PinRefusedError if wrong != "333333" else PinLockedError):
            sign(AtHand(wrong), last_try=True)
    assert card.do("state")["tries"]["80"] == 0


def resets(card: RunningCard) -> int:
    count: int = card.do("state")["calls"].get("2C", 0)
    return count


def test_a_locked_pin_is_set_anew_and_a_refused_value_may_be_the_new_one(card: RunningCard) -> None:
    lock(card)
    with pytest.raises(PinLockedError, match="hsm-dicom token reset-pin 'card:"):
        sign(AtHand(NEW))
    steps: list[CeremonyStep] = []
    with subscribe(steps.append, CeremonyStep):
        reset(PUK, "222222")
    assert [(one.step, one.outcome, one.token_serial) for one in steps] == [
        ("set-pin", OperationOutcome.SUCCEEDED, card.description["serial"])
    ]
    sign(set_pin("222222"))
    assert "222222" not in repr(steps) + str(list(RefusalMemory().folder.rglob("*")))


def test_a_wrong_puk_is_presented_once(card: RunningCard) -> None:
    with pytest.raises(PinRefusedError, match="2 retries left"):
        reset("87654321")
    with pytest.raises(PinNotPresentedError, match="was refused"):
        reset("87654321")
    assert resets(card) == 1
    assert [(one.role, one.state) for one in RefusalMemory().refusals(card.description["serial"])] == [
        ("so", State.REFUSED)
    ]
    for wrong, error in (("11111111", PinRefusedError), ("22222222", PinLockedError)):
        with pytest.raises(error):
            reset(wrong)
    with pytest.raises(PinLockedError, match="destroys its keys"):
        reset(PUK)


def test_nothing_is_presented_for_a_pin_that_the_card_cannot_have(card: RunningCard) -> None:
    for puk, new, said in ((PUK, "1234", "new user PIN must have 6 to 8 bytes"), ("1", NEW, "PUK must have 6 to 8")):
        with pytest.raises(CeremonyError, match=said):
            reset(puk, new)
    assert resets(card) == 0


def test_a_puk_whose_answer_was_lost_is_not_sent_again(card: RunningCard) -> None:
    class Pulls(AtHand):
        """Gives the PUK, and has the card pulled before it answers RESET RETRY COUNTER."""

        def read(self, purpose: str) -> Pin:
            card.do("fault", fault="pulled after")
            return super().read(purpose)

    with pytest.raises(CardLostError):
        reset(Pulls(PUK))
    assert resets(card) == 1
    assert [one.state for one in RefusalMemory().refusals(card.description["serial"])] == [State.UNANSWERED]
