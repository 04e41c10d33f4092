"""Padding, chaining and MACs with keys on SoftHSM: what is sealed is what the norms say, and only that is opened."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm_dicom.iscl import Encryption, ErrorCode, ISCLSettings, Mac, Role, Weakness
from hsm_dicom.iscl.errors import IntegrityError, LocalProtocolError
from hsm_dicom.iscl.suite.algorithms import PIECE, Suite
from hsm_dicom.iscl.suite.codes import LEAST
from hsm_dicom.iscl.wire import blocks
from hsm_dicom.iscl.wire.blocks import padding_length
from hsm_dicom.iscl.wire.profile import AnnouncedLength, IvChain, MacPadding, Md5Order, Padding, WireProfile
from tests.hsm_dicom.iscl.independent import cbc, ecb, fips_113, pad
from tests.hsm_dicom.iscl.lines import ENCRYPTION_KEY, MODES, Ends, Mode, settings
from tokens.events import KeyUse, subscribe

RANDOM = bytes.fromhex("1122334455667788")
SESSION_KEY = ecb(ENCRYPTION_KEY, RANDOM)


def sealed(
    suite: Suite, message: bytes, random: bytes | None = None, sender: Role = Role.CLIENT
) -> tuple[bytes, bytes]:
    """What goes on the wire for a message: its data and its code."""
    protection = suite.protect(sender, random)
    data = b"".join(protection.seal(message))
    code = protection.code() if suite.settings.mac is not Mac.NONE else b""
    protection.settle()
    protection.close()
    return data, code


def opened(
    suite: Suite, data: bytes, code: bytes | None, announced: int, random: bytes | None = None, cut: int = 100
) -> bytes:
    """The message in what came over the wire, in blocks of `cut` octets."""
    protection = suite.protect(Role.CLIENT, random)
    try:
        for start in range(0, len(data), cut):
            protection.take(data[start : start + cut])
            protection.catch_up()
        message = protection.open(code, announced)
        protection.settle()
        return message
    finally:
        protection.close()


@given(st.binary(max_size=40), st.sampled_from(Padding))
def test_padding_is_always_added_and_always_found(data: bytes, padding: Padding) -> None:
    result = blocks.pad(data, padding)
    assert len(result) % 8 == 0
    assert 1 <= len(result) - len(data) <= 8
    assert padding_length(result, padding) == len(result) - len(data)


@pytest.mark.parametrize(
    ("padding", "data"),
    [
        (Padding.PKCS5, "0000000000000000"),
        (Padding.PKCS5, "0000000000000009"),
        (Padding.PKCS5, "0000000000000302"),
        (Padding.PKCS5, "0102030405060708"),
        (Padding.PKCS5, ""),
        (Padding.ISO_9797_METHOD_2, "0000000000000000"),
        (Padding.ISO_9797_METHOD_2, "8000000000000001"),
    ],
)
def test_what_is_no_padding_is_not_taken_for_one(padding: Padding, data: str) -> None:
    assert padding_length(bytes.fromhex(data), padding) is None


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("length", [1, 7, 8, 9, 64, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 5])
def test_what_is_sealed_is_opened(ends: Ends, mode: Mode, length: int) -> None:
    message = os.urandom(length)
    random = RANDOM if mode.unique else None
    ours, theirs = Suite(settings(mode), ends.ours), Suite(settings(mode), ends.theirs)
    for _ in range(2):
        data, code = sealed(ours, message, random)
        assert opened(theirs, data, code, length, random, cut=8160) == message


def is_accepted(ends: Ends, options: ISCLSettings, octets: bytes, length: int, random: bytes | None) -> bool:
    """Whether another end opens a message whose data and code are these octets."""
    split = length if options.encryption is Encryption.NONE else (length // 8 + 1) * 8
    try:
        opened(Suite(options, ends.theirs), octets[:split], octets[split:], length, random)
    except IntegrityError as error:
        assert error.code in (ErrorCode.WRONG_MAC, ErrorCode.DECRYPTION_FAILED)  # noqa: PT017 - either is right
        return False
    return True


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_changed_octet_anywhere_is_found(ends: Ends, mode: Mode) -> None:
    one_key = mode.mac is Mac.DES_MAC and mode.encryption is Encryption.DES_CBC
    options = settings(mode, mac_key=2) if one_key else settings(mode)
    random = RANDOM if mode.unique else None
    octets = b"".join(sealed(Suite(options, ends.ours), os.urandom(50), random))
    assert is_accepted(ends, options, octets, 50, random)
    for place in range(len(octets)):
        changed = bytearray(octets)
        changed[place] ^= 0x10
        assert not is_accepted(ends, options, bytes(changed), 50, random)


def test_des_mac_under_the_encryption_key_does_not_protect_a_first_message(ends: Ends) -> None:
    """Why that must be allowed by name. Encryption and MAC run the same chain from the same zero vector, so that the
    MAC of whatever the ciphertext decrypts to is the same: only what moves the padding is noticed."""
    options = settings(mac=Mac.DES_MAC)
    octets = b"".join(sealed(Suite(options, ends.ours), os.urandom(50)))
    unnoticed = []
    for place in range(len(octets)):
        changed = bytearray(octets)
        changed[place] ^= 0x10
        if is_accepted(ends, options, bytes(changed), 50, None):
            unnoticed.append(place)
    assert unnoticed == list(range(42))  # six blocks, and where the last two octets of the message hang on them


def test_the_padding_must_be_that_of_the_announced_length(ends: Ends) -> None:
    """A forger who can move the end of the message by changing the padding gains nothing."""
    data, code = sealed(Suite(settings(), ends.ours), b"thirteen octs")
    with pytest.raises(IntegrityError) as caught:
        opened(Suite(settings(), ends.theirs), data, code, 12)
    assert caught.value.code is ErrorCode.DECRYPTION_FAILED


@pytest.mark.parametrize("padding", Padding)
@pytest.mark.parametrize("length", [LEAST - 8, LEAST, LEAST + 7, LEAST + 8])
def test_the_device_does_the_same_whether_padding_or_mac_is_wrong(ends: Ends, length: int, padding: Padding) -> None:
    """How long a receiver takes to give up must not tell which it was: that would be a padding oracle."""
    options = settings(mac=Mac.DES_MAC, mac_key=2, profile=WireProfile(padding=padding))
    data, code = sealed(Suite(options, ends.ours), bytes(length))
    done: dict[ErrorCode, list[str]] = {}
    for expected, place in ((ErrorCode.WRONG_MAC, 0), (ErrorCode.DECRYPTION_FAILED, -1)):
        changed = bytearray(data)
        changed[place] ^= 1
        uses: list[str] = []
        with (
            subscribe(lambda event, uses=uses: uses.append(event.operation) if isinstance(event, KeyUse) else None),
            pytest.raises(IntegrityError) as caught,
        ):
            opened(Suite(options, ends.theirs), bytes(changed), code, length, cut=len(data))
        assert caught.value.code is expected
        done[expected] = uses
    assert done[ErrorCode.WRONG_MAC] == done[ErrorCode.DECRYPTION_FAILED]
    assert "mac" in done[ErrorCode.WRONG_MAC]


@pytest.mark.parametrize("length", [0, 1, 8, 15, 16, 17, 23, 32])
def test_a_code_of_another_length_is_wrong(ends: Ends, length: int) -> None:
    data, _ = sealed(Suite(settings(), ends.ours), b"message")
    with pytest.raises(IntegrityError) as caught:
        opened(Suite(settings(), ends.theirs), data, bytes(length), 7)
    assert caught.value.code is ErrorCode.WRONG_MAC


def test_a_clear_digest_is_no_mac(ends: Ends) -> None:
    """Anybody could compute it. It is refused unless `no-mac` is allowed and the profile says so."""
    strict = settings(encryption=Encryption.NONE)
    digest = hashlib.md5(b"message").digest()
    with pytest.raises(IntegrityError):
        opened(Suite(strict, ends.ours), b"message", digest, 7)
    lax = settings(encryption=Encryption.NONE, allow={Weakness.NO_MAC}, profile=WireProfile(md5_always_encrypted=False))
    assert sealed(Suite(lax, ends.ours), b"message") == (b"message", digest)
    assert opened(Suite(lax, ends.ours), b"message", digest, 7) == b"message"


# -- what each profile makes of it, against plain DES ---------------------------------------------------------


def chained(how: IvChain, messages: list[tuple[Role, bytes]]) -> list[bytes]:
    """Data and codes of these messages after each other, by the words of `IvChain` alone."""
    last: dict[str, bytes] = {}
    result = []
    for number, (sender, message) in enumerate(messages):
        for plain in (message, hashlib.md5(message).digest()):
            chain = {
                IvChain.CONNECTION: "one",
                IvChain.DIRECTION: sender.value,
                IvChain.MESSAGE: str(number),
                IvChain.NONE: f"{number} {len(result)}",
            }[how]
            ciphertext = cbc(ENCRYPTION_KEY, last.get(chain, bytes(8)), pad(plain))
            last[chain] = ciphertext[-8:]
            result.append(ciphertext)
    return result


@pytest.mark.parametrize("how", IvChain)
def test_the_initialisation_vector_is_chained_as_the_profile_says(ends: Ends, how: IvChain) -> None:
    messages = [
        (Role.CLIENT, b"first"),
        (Role.CLIENT, b"second, longer"),
        (Role.SERVER, b"third"),
        (Role.CLIENT, b"fourth"),
    ]
    suite = Suite(settings(profile=WireProfile(iv_chain=how)), ends.ours)
    result: list[bytes] = []
    for sender, message in messages:
        result += sealed(suite, message, sender=sender)
    assert result == chained(how, messages)


def des_mac(ends: Ends, message: bytes, **profile: Any) -> bytes:
    plain = settings(mac=Mac.DES_MAC, encryption=Encryption.NONE, profile=WireProfile(**profile))
    return sealed(Suite(plain, ends.ours), message)[1]


def test_des_mac_pads_and_truncates_as_the_profile_says(ends: Ends) -> None:
    for message in (b"eight by", b"nine byte"):
        assert des_mac(ends, message) == fips_113(ENCRYPTION_KEY, message)
        marked = message + b"\x80"
        assert des_mac(ends, message, mac_padding=MacPadding.METHOD_2) == fips_113(ENCRYPTION_KEY, marked)
        assert des_mac(ends, message, mac_length=4) == fips_113(ENCRYPTION_KEY, message)[:4]


def test_des_mac_may_have_a_key_of_its_own(ends: Ends) -> None:
    own = settings(mac=Mac.DES_MAC, encryption=Encryption.NONE, mac_key=2)
    assert sealed(Suite(own, ends.ours), b"message")[1] == fips_113(bytes.fromhex("fedcba9876543210"), b"message")
    encrypting = settings(mac=Mac.DES_MAC, mac_key=2, unique_keys=True)
    data, code = sealed(Suite(encrypting, ends.ours), b"message", RANDOM)
    mac = fips_113(ecb(bytes.fromhex("fedcba9876543210"), RANDOM), b"message")
    assert (data, code) == (
        cbc(SESSION_KEY, bytes(8), pad(b"message")),
        cbc(SESSION_KEY, cbc(SESSION_KEY, bytes(8), pad(b"message"))[-8:], pad(mac)),
    )


def other_order(encryption: Encryption) -> ISCLSettings:
    profile = WireProfile(md5_order=Md5Order.DIGEST_AFTER_ENCRYPTED_RANDOM)
    return settings(encryption=encryption, unique_keys=True, profile=profile)


@pytest.mark.parametrize("encryption", Encryption)
def test_both_orders_of_the_md5_code_are_accepted_where_the_session_key_is_on_the_host(
    host_key_ends: Ends, encryption: Encryption
) -> None:
    """PS3.15-2008, B.2: a receiver verifies either."""
    data, code = sealed(Suite(other_order(encryption), host_key_ends.ours), b"message", RANDOM)
    digest = hashlib.md5(SESSION_KEY + b"message").digest()
    if encryption is Encryption.NONE:
        assert (data, code) == (b"message", digest)
    else:
        assert code == cbc(SESSION_KEY, data[-8:], pad(digest))
    default = settings(encryption=encryption, unique_keys=True)
    assert opened(Suite(default, host_key_ends.theirs), data, code, 7, RANDOM) == b"message"
    data, code = sealed(Suite(default, host_key_ends.ours), b"message", RANDOM)
    assert opened(Suite(other_order(encryption), host_key_ends.theirs), data, code, 7, RANDOM) == b"message"


def test_the_other_order_cannot_be_used_while_the_session_key_is_on_the_device(ends: Ends) -> None:
    with pytest.raises(LocalProtocolError, match="host_session_keys"):
        sealed(Suite(other_order(Encryption.DES_CBC), ends.ours), b"message", RANDOM)
    data = cbc(SESSION_KEY, bytes(8), pad(b"message"))
    code = cbc(SESSION_KEY, data[-8:], pad(hashlib.md5(SESSION_KEY + b"message").digest()))
    suite = Suite(settings(unique_keys=True), ends.ours)
    with pytest.raises(IntegrityError, match="stays on its device"):
        opened(suite, data, code, 7, RANDOM)


def test_a_profile_may_announce_the_length_of_the_ciphertext(ends: Ends) -> None:
    suite = Suite(settings(profile=WireProfile(announced_length=AnnouncedLength.CIPHERTEXT)), ends.ours)
    data, code = sealed(suite, b"message")
    other = Suite(suite.settings, ends.theirs)
    assert opened(other, data, code, 8) == b"message"


def test_a_message_without_mac_is_still_held_to_its_padding(ends: Ends) -> None:
    bare = settings(mac=Mac.NONE)
    data, _ = sealed(Suite(bare, ends.ours), b"message")
    assert opened(Suite(bare, ends.theirs), data, None, 7) == b"message"
    with pytest.raises(IntegrityError) as caught:
        opened(Suite(bare, ends.theirs), data[:-1] + bytes([data[-1] ^ 1]), None, 7)
    assert caught.value.code is ErrorCode.DECRYPTION_FAILED


def test_a_closed_suite_gives_out_no_key(ends: Ends) -> None:
    suite = Suite(settings(), ends.ours)
    suite.close()
    suite.close()
    with pytest.raises(LocalProtocolError):
        suite.protect(Role.CLIENT, None)
