"""card: URIs and card profiles, without a card."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cards.fixtures import AUTHENTICATION_CARD
from tokens.card_uri import CardUri
from tokens.errors import NoSuchKeyError, UriError
from tokens.opening import parse_uri
from tokens.smartcard.key import find_key
from tokens.smartcard.profile_table import read_profile
from tokens.smartcard.profiles import OPENPGP, PIV, Family, KeyUsage, PinProfile
from tokens.smartcard.readers.pinpad import encode_pin_verify_structure
from tokens.uri import Pkcs11Uri


def test_every_attribute_is_read_and_written() -> None:
    text = (
        "card:reader=Omnikey%203x21*;atr=3b8d*;serial=00112233;profile=piv;aid=a000000308;key=9c;sharing=transactions"
        "?pin-source=file:/etc/pin"
    )
    uri = CardUri.parse(text)
    assert uri == CardUri(
        reader="Omnikey 3x21*",
        atr="3b8d*",
        serial="00112233",
        profile="piv",
        aid=bytes.fromhex("a000000308"),
        key="9c",
        sharing="transactions",
        pin_source="file:/etc/pin",
    )
    assert str(uri) == text
    assert not uri.exclusive
    assert CardUri.parse("card:").exclusive
    assert uri.card_part().key is None


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_any_text_survives(reader: str, serial: str, pin_source: str) -> None:
    uri = CardUri(reader=reader, serial=serial, pin_source=pin_source)
    assert CardUri.parse(str(uri)) == uri


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pkcs11:token=x", "begins with 'card:'"),
        ("card:slot=1", "no attribute 'slot'"),
        ("card:key=9c;key=9a", "'key' more than once"),
        ("card:reader=a b", "white space"),
        ("card:reader=%zz", "two hexadecimal digits"),
        ("card:reader=%ff", "not UTF-8"),
        ("card:aid=xyz", "'aid' of a card: URI is not hexadecimal"),
        ("card:aid=" + "00" * 17, "1 to 16 bytes, not 17"),
        ("card:sharing=shared", "neither of exclusive, transactions"),
        ("card:key=9c?foo=bar", "one pin-source="),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(UriError, match=said):
        CardUri.parse(text)


def test_a_pin_in_a_uri_is_refused_and_not_repeated() -> None:
    with pytest.raises(UriError, match="may not carry a PIN") as caught:
        CardUri.parse("card:key=9c?pin-value=271828")
    assert "271828" not in str(caught.value)


def test_the_scheme_says_which_kind_of_device_it_is() -> None:
    assert isinstance(parse_uri("card:key=9c"), CardUri)
    assert isinstance(parse_uri("CARD:key=9c"), CardUri)
    assert isinstance(parse_uri("pkcs11:token=x"), Pkcs11Uri)


def test_a_profile_is_read_from_the_configuration() -> None:
    profile = read_profile("hospital", AUTHENTICATION_CARD)
    assert profile.family is Family.ISO7816
    assert profile.keys[0].reference == 0x21
    assert profile.keys[0].certificate == 0xC001
    assert profile.keys[0].usage is KeyUsage.SIGN
    assert profile.secrets is not None
    assert profile.secrets.authentication == {index: 0x80 | index for index in range(1, 9)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"family": "cac"}, "x.family: Input should be 'iso7816', 'piv' or 'openpgp'"),
        ({"colour": "red"}, "x.colour: Unexpected"),
        ({"aid": "zz"}, "'aid' of a card profile is hexadecimal"),
        ({"keys": [{"name": "sign"}]}, "x.keys.0.reference: Field required"),
        ({"keys": [{"name": "sign", "reference": "9g"}]}, "'reference' of a card profile is hexadecimal"),
        ({"secrets": {"authentication": {"1": "81"}, "encryption": {"one": "91"}}}, "x.secrets.encryption"),
    ],
)
def test_what_is_wrong_in_a_profile_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_profile("x", {**AUTHENTICATION_CARD, **change})


def test_a_key_is_found_by_its_name_or_as_the_only_one() -> None:
    assert find_key(PIV, "9C", "").reference == 0x9C
    assert find_key(read_profile("x", AUTHENTICATION_CARD), None, "").name == "sign"
    with pytest.raises(NoSuchKeyError, match=r"more than one key\. Its keys are: sign, decrypt, auth\. Add key=…"):
        find_key(OPENPGP, None, "a card")


def test_a_pin_is_padded_as_its_profile_says() -> None:
    assert PinProfile(reference=0x80).pad(bytearray(b"1234")) == b"1234\xff\xff\xff\xff"
    assert PinProfile(reference=0x81, padding=None).pad(bytearray(b"1234")) == b"1234"
    assert PinProfile(reference=0x81, padding=0x00, maximum=6).pad(bytearray(b"1234")) == b"1234\x00\x00"


def test_a_pin_pad_is_told_how_the_pin_is_formed() -> None:
    head = "1e 1e 82 08 00 0806 02 01 0904 00 000000 0d000000"
    padded = PinProfile(reference=0x80, minimum=6)
    assert encode_pin_verify_structure(padded, 30).hex(" ") == bytes.fromhex(head + "0020008008" + "ff" * 8).hex(" ")
    head = "1e 1e 82 00 00 7f06 02 01 0904 00 000000 05000000"
    bare = PinProfile(reference=0x81, minimum=6, maximum=127, padding=None)
    assert encode_pin_verify_structure(bare, 30).hex(" ") == bytes.fromhex(head + "0020008100").hex(" ")
