"""Which card: by reader, ATR, serial number and application; and what it is and does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cards.daemon import Daemon, RunningCard
from tests.cards.fixtures import AUTHENTICATION_CARD, describe_card, insert_card, take_card_out
from tests.cards.people import AtHand
from tests.softhsm import set_pin
from tokens import open_key, open_secrets, trials
from tokens.errors import (
    CardServiceError,
    NoSuchCardError,
    NoSuchKeyError,
    PinRefusedError,
    SeveralTokensError,
    TokenBusyError,
    UriError,
)
from tokens.manager import default_manager
from tokens.secrets import Use
from tokens.smartcard import search
from tokens.smartcard.check import card_info, check_card
from tokens.smartcard.profile_table import read_profile
from tokens.smartcard.readers.channel import Channel
from tokens.smartcard.readers.pcsc import Context, list_readers
from tokens.smartcard.search import list_cards

PROFILES = {"test": read_profile("test", AUTHENTICATION_CARD)}


@pytest.fixture(scope="module")
def cards(pcscd: Daemon) -> Iterator[dict[str, RunningCard]]:
    """Three cards: two of one kind, and a PIV card."""
    there = {
        "Rig A 00 00": pcscd.card("Rig A 00 00", **describe_card("authentication")),
        "Rig A 00 01": pcscd.card("Rig A 00 01", **describe_card("authentication")),
        "Rig B 00 00": pcscd.card("Rig B 00 00", **describe_card("piv")),
    }
    for card in there.values():
        insert_card(card)
    yield there
    for card in there.values():
        take_card_out(card)


def serial(card: RunningCard) -> str:
    number: str = card.description["serial"]
    return number


def test_cards_are_listed_with_their_applications_and_serial_numbers(cards: dict[str, RunningCard]) -> None:
    listed = {slot.reader: slot for slot in list_cards(default_manager().cards, PROFILES)}
    assert listed["Rig A 00 00"].applications == ("test",)
    assert listed["Rig B 00 00"].applications == ("piv",)
    assert listed["Rig B 00 01"].atr is None
    for reader, card in cards.items():
        assert listed[reader].serials == (serial(card),)
        assert listed[reader].uris[0].serial == serial(card)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_reader_that_is_pulled_out_meanwhile_is_left_out(
    cards: dict[str, RunningCard], monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    there = [info.reader for info in list_cards(default_manager().cards)]
    listings = 0

    def with_a_reader_that_has_gone(context: Context) -> list[str]:
        nonlocal listings
        listings += 1
        return [*list_readers(context), *(["Gone 00 00"] if listings <= times else [])]

    monkeypatch.setattr(search, "list_readers", with_a_reader_that_has_gone)
    if times < 3:
        assert [info.reader for info in list_cards(default_manager().cards)] == there
    else:  # the service cannot be right three times
        with pytest.raises(CardServiceError, match="UNKNOWN_READER"):
            list_cards(default_manager().cards)
    assert listings == min(times + 1, 3)


def test_a_card_in_exclusive_use_elsewhere_is_listed_as_such(cards: dict[str, RunningCard]) -> None:
    held = Channel(default_manager().cards.contexts, "Rig A 00 00", exclusive=True)
    try:
        slot = next(slot for slot in list_cards(default_manager().cards, PROFILES) if slot.reader == "Rig A 00 00")
        assert slot.in_use
        assert slot.applications == ()
    finally:
        held.close()


def test_a_serial_number_finds_its_card_in_any_reader(cards: dict[str, RunningCard], pin: str) -> None:
    for reader, card in cards.items():
        if card.description["card"] == "piv":
            continue
        uri = f"card:serial={serial(card)};profile=test"
        with open_secrets(uri, pin=pin, profiles=PROFILES) as secrets:
            assert reader in secrets.description


def test_two_cards_that_match_are_not_guessed_between(cards: dict[str, RunningCard], pin: str) -> None:
    with pytest.raises(SeveralTokensError, match=r"2 cards match .*Rig A 00 0.*Add reader=… or serial=… to the URI"):
        open_secrets("card:profile=test;reader=Rig%20A*", pin=pin, profiles=PROFILES)


def test_the_only_card_with_an_application_is_found_by_it(cards: dict[str, RunningCard]) -> None:
    with open_key("card:profile=piv;key=9e") as key:
        assert "Rig B 00 00" in key.device.description
    with open_key("card:aid=a000000308000010000100;key=9e") as key:
        assert "Rig B 00 00" in key.device.description


def test_an_atr_pattern_finds_a_card(cards: dict[str, RunningCard]) -> None:
    atr = b"HSM TEST PIV".hex()
    with open_key(f"card:atr=*{atr}*;profile=piv;key=9e") as key:
        assert "Rig B 00 00" in key.device.description
    with pytest.raises(NoSuchCardError, match="a card with ATR"):
        open_key("card:atr=3bff*;profile=piv;key=9e")


def test_a_card_without_the_application_is_reported(cards: dict[str, RunningCard]) -> None:
    with pytest.raises(NoSuchCardError, match=r"has no piv application \(a000000308000010000100\)"):
        open_key("card:reader=Rig%20A%2000%2000;profile=piv;key=9e")
    with pytest.raises(UriError, match=r"no card profile 'cac'\. There are: iso7816, openpgp, piv"):
        open_key("card:profile=cac;key=9e")


def test_keys_of_one_card_ask_for_its_pin_once(cards: dict[str, RunningCard]) -> None:
    person = AtHand("123456")
    uri = "card:reader=Rig%20B*;profile=piv"
    with open_key(f"{uri};key=9a", pin=person), open_key(f"{uri};key=9c", pin=person) as signing:
        for trial in trials.list_trials(signing)[:2]:
            assert trials.run_trial(trial).works
    assert len(person.asked) == 1


def test_one_card_is_not_opened_in_two_ways_of_sharing(cards: dict[str, RunningCard]) -> None:
    uri = "card:reader=Rig%20B*;profile=piv;key=9e"
    with open_key(uri), pytest.raises(TokenBusyError, match=r"sharing=exclusive\. Open it in the same way"):
        open_key(f"{uri};sharing=transactions")


def test_a_card_is_described_without_a_pin(cards: dict[str, RunningCard]) -> None:
    details = card_info(default_manager().cards, "card:profile=piv;reader=Rig%20B*")
    assert details.serial == serial(cards["Rig B 00 00"])
    assert [(pin.reference, pin.retries_left) for pin in details.pins] == [(0x80, 3)]
    kinds = {known.key.name: known.attributes and known.attributes.key_type for known in details.keys}
    assert kinds == {"9a": "secp256r1", "9c": "RSA", "9d": "RSA", "9e": "secp384r1"}
    assert all(known.certificate is not None for known in details.keys)
    assert not details.pin_pad
    assert card_info(default_manager().cards, details.uri).reader == "Rig B 00 00"


def test_a_card_is_tried_key_by_key(cards: dict[str, RunningCard], pin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.1)
    told: list[str] = []
    checked = check_card(default_manager().cards, "card:profile=piv;reader=Rig%20B*", pin=pin, progress=told.append)
    works = {key.name: [o.operation for o in key.operations if o.works] for key in checked.keys}
    assert "RSASSA-PKCS1-v1_5, SHA256" in works["9c"]
    assert "RSASSA-PSS, SHA256" in works["9c"]
    assert "ECDSA, SHA256" in works["9a"]
    assert "RSAES-PKCS1-v1_5 decryption" in works["9d"]
    assert [name for name, operations in works.items() if "RSASSA-PKCS1-v1_5, SHA256" in operations] == ["9c"]
    assert all(key.allowed for key in checked.keys)
    assert all(key.rate > 0 for key in checked.keys)
    assert "key 9c" in told


def test_a_card_s_secrets_are_tried_too(
    cards: dict[str, RunningCard], pin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "_SECONDS", 0.1)
    checked = check_card(
        default_manager().cards, "card:profile=test;reader=Rig%20A%2000%2000", pin=pin, profiles=PROFILES
    )
    values = {(secret.use, secret.index): secret.check_value.hex() for secret in checked.secrets if not secret.problem}
    assert set(values) == {(use, index) for use in Use for index in (1, 2)}
    assert values[Use.ENCRYPTION, 1] == "d5d44f"
    assert checked.handshake_rate > 0
    assert any(o.works and o.operation == "RSASSA-PKCS1-v1_5, SHA256" for o in checked.keys[0].operations)


def test_a_check_with_a_wrong_pin_says_so_once(
    cards: dict[str, RunningCard], state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PinRefusedError, match="2 retries left"):
        check_card(default_manager().cards, "card:profile=piv;reader=Rig%20B*", pin=set_pin("654321"))
    monkeypatch.setattr(trials, "_SECONDS", 0.01)
    check_card(default_manager().cards, "card:profile=piv;reader=Rig%20B*;key=9a", pin=AtHand("123456"))
    assert cards["Rig B 00 00"].do("state")["tries"] == {"80": 3}


def test_a_profile_without_secrets_or_keys_says_so(cards: dict[str, RunningCard], pin: str) -> None:
    with pytest.raises(NoSuchKeyError, match="profile piv has no secret keys"):
        open_secrets("card:profile=piv;reader=Rig%20B*", pin=pin)
    with pytest.raises(NoSuchKeyError, match="has no keys except secret keys"):
        open_key("card:profile=iso7816;reader=Rig%20B*", pin=pin)
