"""Private keys on cards of our own: PIV by SP 800-73, and signatures by ISO/IEC 7816-8."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from tests.cards.daemon import Daemon, RunningCard
from tests.cards.fixtures import AUTHENTICATION_CARD, PutIn, describe_card, insert_card, take_card_out
from tokens import open_key
from tokens.errors import (
    KeyNotExportableError,
    KeyPolicyError,
    MechanismNotOfferedError,
    NoSuchKeyError,
    TokenLostError,
)
from tokens.keys import TokenECPrivateKey, TokenRSAPrivateKey
from tokens.policy import Weakness
from tokens.smartcard.profile_table import read_profile

SHA256 = hashes.SHA256()
PKCS1 = padding.PKCS1v15()
PSS = padding.PSS(padding.MGF1(SHA256), 32)
PROFILES = {"test": read_profile("test", AUTHENTICATION_CARD)}
READER = "Rig B 00 00"


@pytest.fixture(scope="module", params=["extended", "short"])
def piv(request: pytest.FixtureRequest, pcscd: Daemon) -> Iterator[RunningCard]:
    """A PIV card, one that takes extended APDUs and one that does not; the profile sends it short ones."""
    card = pcscd.card(READER, **describe_card("piv", extended=request.param == "extended"))
    insert_card(card)
    yield card
    take_card_out(card)


def rsa_key(slot: str, pin: str) -> TokenRSAPrivateKey:
    key = open_key(f"card:reader=Rig%20B*;profile=piv;key={slot}", pin=pin)
    assert isinstance(key, TokenRSAPrivateKey)
    return key


def ec_key(slot: str, pin: str | None) -> TokenECPrivateKey:
    key = open_key(f"card:reader=Rig%20B*;profile=piv;key={slot}", pin=pin)
    assert isinstance(key, TokenECPrivateKey)
    return key


@pytest.mark.parametrize("scheme", [PKCS1, PSS], ids=["PKCS1v15", "PSS"])
def test_the_digital_signature_key_signs_with_either_padding(
    piv: RunningCard, pin: str, scheme: padding.AsymmetricPadding
) -> None:
    with rsa_key("9c", pin) as key:
        assert key.key_size == 2048
        for algorithm in (hashes.SHA256(), hashes.SHA512()):
            key.public_key().verify(key.sign(b"data", scheme, algorithm), b"data", scheme, algorithm)


def test_the_digital_signature_key_wants_its_pin_before_each_signature(piv: RunningCard, pin: str) -> None:
    with rsa_key("9c", pin) as key:
        before = piv.do("state")["calls"]["20"]
        for _ in range(3):
            key.sign(b"data", PKCS1, SHA256)
        assert piv.do("state")["calls"]["20"] - before >= 3
        assert key.device.attributes.always_authenticate


@pytest.mark.parametrize(("slot", "curve"), [("9a", "secp256r1"), ("9e", "secp384r1")])
def test_elliptic_curve_keys_sign(piv: RunningCard, pin: str, slot: str, curve: str) -> None:
    with ec_key(slot, pin) as key:
        assert key.curve.name == curve
        for algorithm in (hashes.SHA256(), hashes.SHA512(), hashes.SHA1()):
            ecdsa = ec.ECDSA(algorithm)
            key.public_key().verify(key.sign(b"data", ecdsa), b"data", ecdsa)
        digest = hashes.Hash(SHA256)
        digest.update(b"data")
        signature = key.sign(digest.finalize(), ec.ECDSA(Prehashed(SHA256)))
        key.public_key().verify(signature, b"data", ec.ECDSA(SHA256))


def test_the_card_authentication_key_wants_no_pin(piv: RunningCard) -> None:
    with ec_key("9e", None) as key:
        assert key.sign(b"data", ec.ECDSA(SHA256))


def test_the_key_management_key_decrypts_and_is_no_oracle(piv: RunningCard, pin: str) -> None:
    with rsa_key("9d", pin) as key:
        ciphertext = key.public_key().encrypt(b"premaster secret", PKCS1)
        assert key.decrypt(ciphertext, PKCS1) == b"premaster secret"
        broken = ciphertext[:-1] + bytes([ciphertext[-1] ^ 1])
        assert key.decrypt(broken, PKCS1) == key.decrypt(broken, PKCS1) != b"premaster secret"
        with pytest.raises(KeyPolicyError, match="may only decrypt, not sign"):
            key.sign(b"data", PKCS1, SHA256)


def test_a_signing_key_does_not_decrypt(piv: RunningCard, pin: str) -> None:
    with rsa_key("9c", pin) as key, pytest.raises((KeyPolicyError, MechanismNotOfferedError)):
        key.decrypt(bytes(256), PKCS1)


def test_the_certificate_is_read_from_the_card_compressed_or_not(piv: RunningCard, pin: str) -> None:
    for slot in ("9a", "9c"):
        with open_key(f"card:reader=Rig%20B*;profile=piv;key={slot}", pin=pin) as key:
            certificate = key.device.certificate  # type: ignore[attr-defined]
            assert isinstance(certificate, x509.Certificate)
            assert certificate.public_key() == key.public_key()
            assert certificate.subject.rfc4514_string() == f"CN=PIV {slot.upper()}"


def test_a_key_s_uri_opens_it_again(piv: RunningCard, pin: str) -> None:
    with rsa_key("9c", pin) as key:
        uri = key.device.uri  # type: ignore[attr-defined]
        assert uri.serial == piv.description["serial"]
        with open_key(str(uri), pin=pin) as again:
            assert again.public_key() == key.public_key()


def test_what_is_known_of_a_key_is_what_the_standard_promises(piv: RunningCard, pin: str) -> None:
    with rsa_key("9c", pin) as key:
        assert [finding.weakness for finding in key.device.findings] == [Weakness.IMPORTED]
        assert "the token does not say" in key.device.findings[0].text
        with pytest.raises(KeyNotExportableError):
            key.private_numbers()


def test_a_slot_that_does_not_exist_is_answered_with_those_that_do(piv: RunningCard, pin: str) -> None:
    with pytest.raises(NoSuchKeyError, match="no key '9f'.*9a, 9c, 9d, 9e"):
        open_key("card:reader=Rig%20B*;profile=piv;key=9f", pin=pin)


def test_a_closed_key_says_so(piv: RunningCard, pin: str) -> None:
    key = rsa_key("9c", pin)
    key.close()
    key.close()
    with pytest.raises(TokenLostError, match="closed"):
        key.sign(b"data", PKCS1, SHA256)


def test_threads_share_keys_of_one_card(piv: RunningCard, pin: str) -> None:
    failures: list[BaseException] = []
    with ec_key("9a", pin) as one, rsa_key("9c", pin) as other:

        def work() -> None:
            try:
                for _ in range(5):
                    one.public_key().verify(one.sign(b"data", ec.ECDSA(SHA256)), b"data", ec.ECDSA(SHA256))
                    other.public_key().verify(other.sign(b"data", PKCS1, SHA256), b"data", PKCS1, SHA256)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not failures


def test_an_empty_slot_has_no_key(put_in: PutIn, pin: str) -> None:
    put_in("Rig A 00 01", "piv", slots="9e")
    with pytest.raises(NoSuchKeyError, match="no certificate that contains its public half"):
        open_key("card:reader=Rig%20A%2000%2001;profile=piv;key=9c", pin=pin)


@pytest.mark.parametrize("extended", [True, False])
def test_a_profile_from_the_configuration_serves_a_card_that_is_known_to_nobody_else(
    put_in: PutIn, pin: str, extended: bool
) -> None:
    put_in("Rig A 00 01", extended=extended)
    profiles = {"test": read_profile("test", {**AUTHENTICATION_CARD, "extended": extended})}
    with open_key("card:reader=Rig%20A%2000%2001;profile=test", pin=pin, profiles=profiles) as key:
        assert isinstance(key, TokenRSAPrivateKey)
        key.public_key().verify(key.sign(b"data", PKCS1, SHA256), b"data", PKCS1, SHA256)
        with pytest.raises(MechanismNotOfferedError, match="RSASSA-PSS"):
            key.sign(b"data", PSS, SHA256)
