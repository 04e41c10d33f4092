"""PINs of cards: tries are counted and said, a refused PIN is not presented again, the last try is kept."""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.cards.daemon import ROOT, RunningCard
from tests.cards.fixtures import AUTHENTICATION_CARD, PIN, PutIn, insert_card, wait_until_gone, wait_until_there
from tests.cards.people import AtHand
from tests.softhsm import set_pin
from tokens import open_secrets
from tokens.errors import (
    CardLostError,
    CardTimeoutError,
    PinLockedError,
    PinNotPresentedError,
    PinRefusedError,
    PinSourceError,
)
from tokens.events import DeviceEvent, Login, OperationOutcome, subscribe
from tokens.keys import PrivateKey
from tokens.opening import open_key
from tokens.pins.device_name import DeviceName
from tokens.pins.refusal_record import State
from tokens.pins.refusals import RefusalMemory
from tokens.smartcard.profile_table import read_profile

PROFILES = {"test": read_profile("test", AUTHENTICATION_CARD)}
KEY = "card:reader=Rig%20A%2000%2000;profile=test;key=sign"


def sign(pin: object, **options: object) -> None:
    with open_key(KEY, pin=pin, profiles=PROFILES, **options) as key:  # type: ignore[arg-type]
        use(key)


def use(key: PrivateKey) -> None:
    key.sign(b"data", padding.PKCS1v15(), hashes.SHA256())  # type: ignore[call-arg, arg-type]


def tries(card: RunningCard) -> int:
    left: int = card.do("state")["tries"]["01"]
    return left


def presented(card: RunningCard) -> int:
    """VERIFY commands so far, those that only ask among them."""
    count: int = card.do("state")["calls"].get("20", 0)
    return count


@pytest.fixture
def card(put_in: PutIn, state_folder: Path) -> RunningCard:
    """A card with three tries, and a state folder that remembers nothing."""
    return put_in()


def test_a_refused_pin_is_not_presented_again(card: RunningCard) -> None:
    wrong = set_pin("111111")
    with pytest.raises(PinRefusedError, match="2 retries left"):
        sign(wrong)
    assert tries(card) == 2
    with pytest.raises(PinNotPresentedError, match="2 retries left"):
        sign(wrong)
    assert tries(card) == 2


def test_nor_by_the_next_process_nor_by_a_person(card: RunningCard) -> None:
    with pytest.raises(PinRefusedError):
        sign(set_pin("111111"))
    memory = RefusalMemory()
    assert [refusal.role for refusal in memory.refusals(card.description["serial"])] == ["user"]
    with pytest.raises(PinNotPresentedError, match="was refused by the token with serial"):
        sign(AtHand("111111"))
    assert tries(card) == 2


def test_the_prompt_shows_how_many_retries_are_left(card: RunningCard) -> None:
    person = AtHand("222222")
    with pytest.raises(PinRefusedError):
        sign(person)
    person = AtHand(PIN)
    sign(person)
    assert person.asked == [
        f"PIN of the test card in Rig A 00 00 (serial {card.description['serial']}) (2 retries left)"
    ]
    assert tries(card) == 3


def test_after_a_wrong_pin_none_is_presented_unattended(card: RunningCard) -> None:
    with pytest.raises(PinRefusedError):
        sign(AtHand("222222"))
    with pytest.raises(PinNotPresentedError, match=r"2 retries left.*unattended"):
        sign(set_pin(PIN))
    assert tries(card) == 2


def test_the_last_retry_is_kept_unless_it_is_asked_for(card: RunningCard) -> None:
    for wrong in ("222222", "333333"):
        with pytest.raises(PinRefusedError):
            sign(AtHand(wrong))
    assert tries(card) == 1
    with pytest.raises(PinNotPresentedError, match="One more wrong PIN locks .*--last-try"):
        sign(AtHand(PIN))
    with pytest.raises(PinNotPresentedError, match="--last-try"):
        sign(set_pin(PIN), last_try=True)
    assert tries(card) == 1
    sign(AtHand(PIN), last_try=True)
    assert tries(card) == 3


def test_whoever_opens_the_key_again_gives_the_right_pin_to_those_who_use_it_already(card: RunningCard) -> None:
    """A service that reloads after somebody has logged in by hand, while its last key is still open."""
    with open_key(KEY, pin=set_pin("111111"), profiles=PROFILES) as old:
        with pytest.raises(PinRefusedError):
            use(old)
        with pytest.raises(PinNotPresentedError):
            use(old)
        assert tries(card) == 2
        with open_key(KEY, pin=AtHand(PIN), profiles=PROFILES) as new:
            use(new)
            use(old)
        assert tries(card) == 3


def test_a_locked_pin_is_reported_and_not_presented(card: RunningCard) -> None:
    for wrong in ("222222", "333333"):
        with pytest.raises(PinRefusedError):
            sign(AtHand(wrong))
    with pytest.raises(PinLockedError, match="is now locked"):
        sign(AtHand("444444"), last_try=True)
    before = presented(card)
    with pytest.raises(PinLockedError, match="PUK"):
        sign(AtHand(PIN), last_try=True)
    assert presented(card) == before + 1


def test_a_pin_whose_answer_was_lost_is_known_to_be_refused(card: RunningCard) -> None:
    with open_key(KEY, pin=AtHand("111111"), profiles=PROFILES) as key:
        # The empty VERIFY passes; the one with the PIN reaches the card, whose answer does not reach us.
        card.do("fault", fault="pulled after", skip=1)
        wait_then_insert(card)
        with pytest.raises(PinRefusedError):
            use(key)
    assert tries(card) == 2


def test_a_right_pin_whose_answer_was_lost_is_presented_again(card: RunningCard) -> None:
    with open_key(KEY, pin=AtHand(PIN), profiles=PROFILES) as key:
        card.do("fault", fault="pulled after", skip=1)
        wait_then_insert(card)
        use(key)
    assert tries(card) == 3
    assert RefusalMemory().refusals(card.description["serial"]) == []


@pytest.mark.parametrize("kind", ["typed", "from the environment"])
def test_the_next_process_learns_from_the_counter_that_a_lost_answer_was_no_refusal(
    card: RunningCard, kind: str
) -> None:
    lose_an_answer(card, PIN)
    insert_card(card)
    assert states(card) == [State.UNANSWERED]
    sign(AtHand(PIN) if kind == "typed" else set_pin(PIN))
    assert tries(card) == 3
    assert states(card) == []


@pytest.mark.parametrize("kind", ["typed", "from the environment"])
def test_the_next_process_learns_from_the_counter_that_a_lost_answer_was_a_refusal(
    card: RunningCard, kind: str
) -> None:
    lose_an_answer(card, "111111")
    insert_card(card)
    assert states(card) == [State.UNANSWERED]
    with pytest.raises(PinNotPresentedError):
        sign(AtHand("111111") if kind == "typed" else set_pin("111111"))
    assert states(card) == [State.REFUSED]
    assert tries(card) == 2


def test_a_pin_that_the_card_accepted_before_is_recorded_if_its_answer_is_lost(card: RunningCard) -> None:
    with open_key(KEY, pin=set_pin(PIN), profiles=PROFILES) as key:
        use(key)
        card.do("pull")
        wait_until_gone(card.reader)
        insert_card(card)
        # The application is selected again first, and the empty VERIFY passes.
        card.do("fault", fault="pulled after", skip=3)
        with pytest.raises(CardLostError):
            use(key)
        assert states(card) == [State.UNANSWERED]
        insert_card(card)
        use(key)
    assert states(card) == []


@pytest.mark.parametrize("word", ["111111", PIN])
def test_a_card_that_does_not_answer_in_time_leaves_its_pin_unanswered(card: RunningCard, word: str) -> None:
    hasty = {"test": dataclasses.replace(PROFILES["test"], timeout=0.6)}
    heard: list[DeviceEvent] = []
    with open_key(KEY, pin=set_pin(word), profiles=hasty) as key, subscribe(heard.append):
        before = presented(card)
        card.do("fault", fault="hang", skip=1)
        with pytest.raises(CardTimeoutError, match="Whether the PIN from 'env:.*' is correct is not known"):
            use(key)
        logins = [event.outcome for event in heard if isinstance(event, Login)]
        assert logins == [OperationOutcome.UNANSWERED]
        assert states(card) == [State.UNANSWERED]
        card.do("pull")
        wait_until_gone(card.reader)
        insert_card(card)
    # It hung before it compared: the counter says so, and one further presentation decides.
    if word == PIN:
        sign(set_pin(word))
        assert (states(card), tries(card)) == ([], 3)
    else:
        with pytest.raises(PinRefusedError):
            sign(set_pin(word))
        assert (states(card), tries(card)) == ([State.REFUSED], 2)
    assert presented(card) <= before + 4


def test_a_person_is_told_of_an_unanswered_pin_and_may_present_it(card: RunningCard) -> None:
    lose_an_answer(card, PIN)
    insert_card(card)
    forget_the_counter(card)
    with pytest.raises(PinNotPresentedError, match=r"has not answered this user PIN since .* --pin prompt"):
        sign(set_pin(PIN))
    person = AtHand(PIN)
    sign(person)
    assert "was not answered)" in person.asked[0]
    assert states(card) == []


def without_counter(table: object) -> object:
    """A profile, as its TOML says it, of a card that does not report its retry counter."""
    if isinstance(table, dict):
        return {name: without_counter(value) for name, value in table.items() if name != "reports_retries"}
    return [without_counter(value) for value in table] if isinstance(table, list) else table


def test_a_card_without_a_counter_gets_an_unanswered_pin_once_more_if_it_accepted_it_before(card: RunningCard) -> None:
    silent = {"test": read_profile("test", without_counter(AUTHENTICATION_CARD))}  # type: ignore[arg-type]

    def sign_unattended() -> None:
        with open_key(KEY, pin=set_pin(PIN), profiles=silent) as key:
            use(key)

    def lose() -> None:
        with open_key(KEY, pin=set_pin(PIN), profiles=silent) as key:
            card.do("fault", fault="pulled after")
            with pytest.raises(CardLostError):
                use(key)
        insert_card(card)
        assert states(card) == [State.UNANSWERED]

    sign_unattended()
    lose()
    sign_unattended()
    assert states(card) == []
    lose()
    lose()  # which was the one further presentation
    before = presented(card)
    with pytest.raises(PinNotPresentedError, match="has not answered this user PIN"):
        sign_unattended()
    assert presented(card) == before


def forget_the_counter(card: RunningCard) -> None:
    """Make the record that of a card that does not report its retry counter."""
    memory, name = RefusalMemory(), DeviceName(card.description["serial"]).own_file
    record = memory._load(name)
    refusals = tuple(dataclasses.replace(refusal, retries=None) for refusal in record.refusals)
    memory.write(name, str(dataclasses.replace(record, refusals=refusals)))


def states(card: RunningCard) -> list[State]:
    """What is recorded of the card's PINs."""
    return [refusal.state for refusal in RefusalMemory().refusals(card.description["serial"])]


def lose_an_answer(card: RunningCard, word: str) -> None:
    """Present a PIN to a card that is removed before its answer arrives."""
    with open_key(KEY, pin=AtHand(word), profiles=PROFILES) as key:
        # The empty VERIFY passes; the one with the PIN reaches the card, whose answer does not reach us.
        card.do("fault", fault="pulled after", skip=1)
        with pytest.raises(CardLostError):
            use(key)


def wait_then_insert(card: RunningCard) -> None:
    def back() -> None:
        deadline = time.monotonic() + 5
        while card.do("state")["inserted"] and time.monotonic() < deadline:
            time.sleep(0.01)
        card.do("insert")

    threading.Thread(target=back).start()


def test_a_pin_that_was_accepted_is_presented_again_after_the_card_was_put_back(card: RunningCard) -> None:
    person = AtHand(PIN)
    with open_key(KEY, pin=person, profiles=PROFILES) as key:
        use(key)
        card.do("pull")
        wait_until_gone(card.reader)
        insert_card(card)
        use(key)
    assert len(person.asked) == 1


def test_a_pin_that_cannot_be_one_is_not_presented(card: RunningCard) -> None:
    for impossible in ("12345", "123456789"):
        with pytest.raises(PinNotPresentedError, match="did not give 6 to 8 bytes") as caught:
            sign(set_pin(impossible))
        assert impossible not in str(caught.value)
    assert tries(card) == 3


def test_a_key_that_wants_a_pin_says_where_to_name_one(card: RunningCard) -> None:
    with pytest.raises(PinSourceError, match="--pin prompt, pin-source in the URI"):
        sign(None)


def test_a_reader_without_a_pin_pad_is_reported(card: RunningCard) -> None:
    with pytest.raises(PinSourceError, match="Rig A 00 00 has no PIN pad"):
        sign("pinpad")
    assert tries(card) == 3


def test_no_pin_and_no_challenge_is_in_any_log_at_any_level(
    card: RunningCard, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    heard: list[DeviceEvent] = []
    with subscribe(heard.append):
        sign(AtHand(PIN))
        with pytest.raises(PinRefusedError):
            sign(AtHand("918273"))
        with open_secrets(KEY, pin=AtHand(PIN), profiles=PROFILES) as secrets, secrets.authentication(1) as a:
            drawn = a.challenge.hex()
    said = caplog.text + repr(heard) + "".join(repr(record.__dict__) for record in caplog.records)
    for secret in (PIN, "918273", PIN.encode().hex(), drawn):
        assert secret not in said
    logins = [event.outcome for event in heard if isinstance(event, Login)]
    assert logins == [OperationOutcome.SUCCEEDED, OperationOutcome.REFUSED, OperationOutcome.SUCCEEDED]


def test_no_pin_is_in_an_error_or_its_traceback(card: RunningCard) -> None:
    code = """
import tokens
from tests.tokens.smartcard.test_pins import KEY, PROFILES, AtHand, use
with tokens.open_key(KEY, pin=AtHand("918" + "273"), profiles=PROFILES) as key:
    use(key)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "PinRefusedError" in done.stderr
    assert "918273" not in done.stderr


def test_a_pin_that_was_changed_elsewhere_is_presented_once_more_and_never_again(card: RunningCard) -> None:
    """An open key keeps the PIN that the card accepted. Another program may have set another one since."""
    with open_key(KEY, pin=set_pin(PIN), profiles=PROFILES) as key:
        use(key)
        changed = {**card.description, "pin": "654321"}
        card.do("swap", card=changed)
        wait_until_there(card.reader)
        before = presented(card)
        with pytest.raises(PinRefusedError, match="2 retries left"):
            use(key)
        assert tries(card) == 2
        after = presented(card)
        assert after > before
        for _ in range(2):
            with pytest.raises(PinNotPresentedError):
                use(key)
    with pytest.raises(PinNotPresentedError):
        sign(set_pin(PIN))
    assert tries(card) == 2
    sign(AtHand("654321"))
    assert tries(card) == 3
