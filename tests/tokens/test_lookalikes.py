"""A token that was initialised again, replaced, erased or copied is recognised, and the error explains it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.softhsm import MODULE, TestToken, new_token
from tokens import open_key, open_token
from tokens.errors import NoSuchKeyError, NoSuchTokenError, SeveralTokensError
from tokens.pins.sources import parse_pin_source
from tokens.pkcs11.lookalikes import explain_absence, explain_several
from tokens.pkcs11.module import load_module
from tokens.pkcs11.officer import initialise_token
from tokens.pkcs11.search import find_token
from tokens.uri import Pkcs11Uri


def initialise_again(token: TestToken, label: str) -> str:
    """Erase a token, give it a label, and return its serial number, which SoftHSM keeps."""
    module = load_module(MODULE)
    so_pin, pin = parse_pin_source(token.so_pin), parse_pin_source(token.pin)
    return initialise_token(module, label, so_pin, pin, erase=token.uri(pin=False)).serial


def test_a_token_initialised_again_is_recognised(token: TestToken) -> None:
    key = token.generate("k", "p256")
    assert initialise_again(token, token.label) == token.serial
    with pytest.raises(NoSuchKeyError, match="no private key that can be seen. If it held keys before, it was init"):
        open_key(key)
    initialise_again(token, f"{token.label} new")
    with pytest.raises(NoSuchTokenError, match=f"is now called '{token.label} new': it was initialised again"):
        open_key(key)


def test_a_new_token_with_the_label_of_the_old_one_is_recognised(token: TestToken) -> None:
    before = replace(token, serial="0123456789abcdef")
    with pytest.raises(NoSuchTokenError, match=f"has another serial number: .*a new token.* {token.serial}, and check"):
        open_token(before.uri())


def test_a_token_that_shares_a_label_is_told_apart_by_its_serial_number(token: TestToken) -> None:
    other = new_token(f"{token.label} other")
    with pytest.raises(SeveralTokensError, match="Add the serial number"):
        find_token(load_module(MODULE), Pkcs11Uri(manufacturer="SoftHSM project"))
    assert find_token(load_module(MODULE), other.uri()).serial == other.serial


def test_an_erased_token_and_a_copy_are_recognised(token: TestToken) -> None:
    """SoftHSM ends the process over two tokens with one serial number, so these are not its own."""
    there = find_token(load_module(MODULE), token.uri())
    wanted = Pkcs11Uri(token=there.label, serial=there.serial)
    assert "is not initialised: it was erased" in explain_absence(wanted, [replace(there, flags=type(there.flags)(0))])
    assert explain_absence(wanted, [replace(there, label="x", serial="y")]) == ""
    copy = replace(there, slot_id=7)
    why, remedy = explain_several([there, copy])
    assert "one is a copy of the other" in why
    assert f"slot-id={there.slot_id} or 7" in remedy
    why, remedy = explain_several([there, replace(copy, serial="y")])
    assert "one may be new, or a copy" in why
    assert "serial number" in remedy
