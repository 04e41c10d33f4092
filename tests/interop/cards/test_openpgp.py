"""OpenPGP cards that were not written here: PyPI's jcecard, and smartcard-app-openpgp."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.cards.daemon import Daemon
from tests.cards.foreign import ADMIN_PIN, USER_PIN, foreign_card, make_openpgp_key
from tests.cards.people import AtHand
from tests.softhsm import set_pin
from tokens import open_key
from tokens.card_uri import CardUri
from tokens.errors import (
    CardLostError,
    MechanismNotOfferedError,
    OperationFailedError,
    PinError,
    PinNotPresentedError,
    PinRefusedError,
    UnsupportedKeyError,
)
from tokens.keys import PrivateKey
from tokens.manager import default_manager
from tokens.pins.refusals import RefusalMemory
from tokens.policy import Weakness
from tokens.smartcard.officer import reset_pin
from tokens.smartcard.opening import open_card
from tokens.smartcard.search import list_cards

READER, OTHER_READER = "Rig A 00 00", "Rig B 00 01"
SHA256 = hashes.SHA256()
PKCS1 = padding.PKCS1v15()
SIGN, DECRYPT, AUTH = 0xB6, 0xB8, 0xA4
RSA_2048 = bytes.fromhex("010800002000")
P_256 = bytes.fromhex("132a8648ce3d030107")


@pytest.fixture(scope="module", params=["jcecard", "openpgp"])
def card(request: pytest.FixtureRequest, pcscd: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An OpenPGP card with three RSA keys that it made itself."""
    name: str = request.param
    arguments = [tmp_path_factory.mktemp("card")] if name == "jcecard" else []
    with foreign_card(pcscd, READER, name, *arguments):
        for reference in (SIGN, DECRYPT, AUTH):
            make_openpgp_key(READER, reference, RSA_2048)
        yield name


def opened(key: str, pin: str = USER_PIN) -> PrivateKey:
    return open_key(f"card:reader=Rig%20A*;profile=openpgp;key={key}", pin=set_pin(pin))


def test_its_signature_key_signs(card: str) -> None:
    signs("sign")


def test_its_authentication_key_signs(card: str) -> None:
    if card == "jcecard":
        signs("auth")
        return
    # smartcard-app-openpgp 0.4.0 forgets the status word here, so that the signature's own end stands in its place.
    with pytest.raises((OperationFailedError, CardLostError)):
        signs("auth")


def signs(name: str) -> None:
    with opened(name) as key:
        public = key.public_key()
        assert isinstance(public, rsa.RSAPublicKey)
        for algorithm in (SHA256, hashes.SHA512()):
            for _ in range(2):
                signature = key.sign(b"data", PKCS1, algorithm)  # type: ignore[call-arg, arg-type]
                public.verify(signature, b"data", PKCS1, algorithm)


def test_its_decryption_key_decrypts(card: str) -> None:
    with opened("decrypt") as key:
        public = key.public_key()
        assert isinstance(public, rsa.RSAPublicKey)
        ciphertext = public.encrypt(b"premaster secret", PKCS1)
        assert key.decrypt(ciphertext, PKCS1) == b"premaster secret"  # type: ignore[union-attr]


def test_it_does_no_pss_and_that_is_reported(card: str) -> None:
    with opened("sign") as key, pytest.raises(MechanismNotOfferedError, match="RSASSA-PSS"):
        key.sign(b"data", padding.PSS(padding.MGF1(SHA256), 32), SHA256)  # type: ignore[call-arg, arg-type]


def test_it_is_listed_with_a_uri_that_finds_it(card: str) -> None:
    found = next(slot for slot in list_cards(default_manager().cards) if slot.reader == READER)
    assert found.applications[0] in ("openpgp", "piv")
    uri = next(uri for uri in found.uris if uri.profile == "openpgp")
    with open_key(f"{uri};key=sign", pin=set_pin(USER_PIN)) as key:
        assert key.sign(b"data", PKCS1, SHA256)  # type: ignore[call-arg, arg-type]


def test_a_wrong_pin_costs_one_retry_and_no_more(card: str, state_folder: Path) -> None:
    wrong = set_pin("654321")
    with opened("sign", "654321") as key:
        with pytest.raises(PinRefusedError, match="refused"):
            key.sign(b"data", PKCS1, SHA256)  # type: ignore[call-arg, arg-type]
        with pytest.raises(PinNotPresentedError):
            key.sign(b"data", PKCS1, SHA256)  # type: ignore[call-arg, arg-type]
    again = open_key("card:reader=Rig%20A*;profile=openpgp;key=sign", pin=wrong)
    with again, pytest.raises(PinNotPresentedError, match="2 retries left"):
        again.sign(b"data", PKCS1, SHA256)  # type: ignore[call-arg, arg-type]
    # A person who knows the PIN brings the counter back.
    with open_key("card:reader=Rig%20A*;profile=openpgp;key=sign", pin=AtHand(USER_PIN)) as key:
        assert key.sign(b"data", PKCS1, SHA256)  # type: ignore[call-arg, arg-type]


def test_it_tells_whether_a_key_was_made_on_it(card: str) -> None:
    with opened("sign") as key:
        told = key.device.attributes.local
        assert told in (True, None)
        weaknesses = [finding.weakness for finding in key.device.findings]
        assert weaknesses == ([] if told else [Weakness.IMPORTED])


def test_it_tells_which_key_waits_for_a_touch(card: str) -> None:
    waits = {}
    for name in ("sign", "decrypt", "auth"):
        with opened(name) as key:
            waits[name] = key.device.awaits_touch
    # smartcard-app-openpgp has no user interaction flag.
    assert waits == {"sign": False, "decrypt": False, "auth": card == "jcecard"}


def test_its_elliptic_curve_key_signs(card: str) -> None:
    make_openpgp_key(READER, SIGN, P_256)
    if card == "jcecard":
        # jcecard 0.1.0 makes a Curve25519 key where P-256 is asked for, and says that it is on P-256.
        with pytest.raises(UnsupportedKeyError, match="not on the curve secp256r1 that it names"):
            opened("sign")
        return
    with opened("sign") as key:
        public = key.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        ecdsa = ec.ECDSA(SHA256)
        public.verify(key.sign(b"data", ecdsa), b"data", ecdsa)  # type: ignore[call-arg, arg-type]


def test_a_locked_pin_is_set_anew_with_the_admin_pin(pcscd: Daemon, state_folder: Path) -> None:
    uri, memory = "card:reader=Rig%20B*;profile=openpgp", RefusalMemory()
    with foreign_card(pcscd, OTHER_READER, "openpgp"):
        make_openpgp_key(OTHER_READER, SIGN, RSA_2048)
        for wrong in ("111111", "222222", "333333"):
            with pytest.raises(PinError), open_key(f"{uri};key=sign", pin=AtHand(wrong), last_try=True) as key:
                key.sign(b"data", PKCS1, SHA256)  # type: ignore[call-arg, arg-type]
        with open_card(default_manager().cards, CardUri.parse(uri)) as application:
            with pytest.raises(PinRefusedError):
                reset_pin(application, AtHand("00000000"), AtHand("654321"), memory)
            reset_pin(application, AtHand(ADMIN_PIN), AtHand("654321"), memory)
        with open_key(f"{uri};key=sign", pin=set_pin("654321")) as key:
            key.sign(b"data", PKCS1, SHA256)  # type: ignore[call-arg, arg-type]
