"""RSAES-PKCS1-v1_5 on the host: what is well padded gives its message, anything else a steady substitute."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import given
from hypothesis import strategies as st
from pkcs11 import Mechanism

from tests.softhsm import TestToken
from tokens import open_key
from tokens.algorithms.unpadding import implicit_message, unpad
from tokens.errors import MechanismNotOfferedError
from tokens.events import DeviceEvent, KeyUse, subscribe
from tokens.keys import TokenRSAPrivateKey
from tokens.mechanisms import Candidate

SIZE = 256
PKCS1 = padding.PKCS1v15()
SUBSTITUTE = implicit_message(b"secret", b"ciphertext", SIZE)
INSTEAD = SUBSTITUTE[0][SUBSTITUTE[1] :]


def block(message: bytes, *, head: bytes = b"\0\2", filling: bytes | None = None, end: bytes = b"\0") -> bytes:
    filling = b"\xa5" * (SIZE - len(head) - len(end) - len(message)) if filling is None else filling
    return head + filling + end + message


@given(message=st.binary(max_size=SIZE - 11))
def test_a_message_is_found_whatever_its_length(message: bytes) -> None:
    assert unpad(block(message), SUBSTITUTE) == message


@pytest.mark.parametrize(
    "wrong",
    [
        block(b"m" * 48, head=b"\1\2"),
        block(b"m" * 48, head=b"\0\1"),
        block(b"m" * 48, head=b"\0\0"),
        block(b"", end=b"", filling=b"\xff" * (SIZE - 2)),
        block(b"m" * (SIZE - 10), filling=b"\xa5" * 7),
        block(b"m" * (SIZE - 3), filling=b""),
        bytes(SIZE),
    ],
    ids=["first octet", "second octet", "zeros", "no end", "seven octets of padding", "no padding", "all zeros"],
)
def test_a_wrong_block_gives_the_substitute(wrong: bytes) -> None:
    assert len(wrong) == SIZE
    assert unpad(wrong, SUBSTITUTE) == INSTEAD


@given(
    data=st.one_of(
        st.binary(min_size=SIZE, max_size=SIZE),
        st.binary(min_size=SIZE - 2, max_size=SIZE - 2).map(lambda rest: b"\0\2" + rest),
    )
)
def test_any_block_is_read_as_the_standard_reads_it(data: bytes) -> None:
    found = data.find(b"\0", 2)
    expected = data[found + 1 :] if data[:2] == b"\0\2" and found >= 10 else INSTEAD
    assert unpad(data, SUBSTITUTE) == expected


@pytest.mark.parametrize("length", [0, 47, 48, 49, 245])
def test_a_message_of_another_length_than_the_known_one_gives_the_substitute(length: int) -> None:
    expected = b"m" * 48 if length == 48 else SUBSTITUTE[0][-48:]
    assert unpad(block(b"m" * length), SUBSTITUTE, 48) == expected


@pytest.mark.parametrize("offered", [{Mechanism.RSA_X_509}, {Mechanism.RSA_PKCS}], ids=["by the host", "by the token"])
def test_a_secret_of_a_known_length_is_returned_in_that_length(node: TestToken, offered: set[Mechanism]) -> None:
    with open_key(node.uri("decrypt")) as key:
        key.device.offered = frozenset(offered)
        public = key.public_key()
        assert key.decrypt_secret(public.encrypt(b"s" * 48, PKCS1), 48) == b"s" * 48
        for wrong in (public.encrypt(b"s" * 47, PKCS1), b"\0" + os.urandom(SIZE - 1)):
            instead = key.decrypt_secret(wrong, 48)
            assert instead == key.decrypt_secret(wrong, 48)
            assert len(instead) == 48
            assert b"s" * 47 not in instead


@given(ciphertext=st.binary(min_size=SIZE, max_size=SIZE))
def test_the_substitute_is_steady_and_fits(ciphertext: bytes) -> None:
    made, begins = implicit_message(b"secret", ciphertext, SIZE)
    assert (made, begins) == implicit_message(b"secret", ciphertext, SIZE)
    assert len(made) == SIZE
    assert 0 <= SIZE - begins <= SIZE - 11
    assert made != implicit_message(b"another", ciphertext, SIZE)[0]


def mechanisms_used(key: TokenRSAPrivateKey, ciphertext: bytes) -> tuple[bytes, list[str]]:
    heard: list[DeviceEvent] = []
    with subscribe(heard.append):
        plaintext = key.decrypt(ciphertext, PKCS1)
    return plaintext, [event.mechanism for event in heard if isinstance(event, KeyUse)]


def test_a_token_is_asked_for_the_bare_operation_and_good_and_bad_take_the_same_way(node: TestToken) -> None:
    with open_key(node.uri("decrypt")) as key:
        good = key.public_key().encrypt(b"secret", PKCS1)
        assert mechanisms_used(key, good) == (b"secret", ["CKM_RSA_X_509"])
        bad = b"\0" + os.urandom(SIZE - 1)
        plaintext, used = mechanisms_used(key, bad)
        assert used == ["CKM_RSA_X_509"]
        assert plaintext == key.decrypt(bad, PKCS1)


def test_a_token_without_the_bare_operation_looks_at_the_padding_itself(node: TestToken) -> None:
    with open_key(node.uri("decrypt")) as key:
        key.device.offered = frozenset({Mechanism.RSA_PKCS})
        good = key.public_key().encrypt(b"secret", PKCS1)
        assert mechanisms_used(key, good) == (b"secret", ["CKM_RSA_PKCS"])
        bad = b"\0" + os.urandom(SIZE - 1)
        assert key.decrypt(bad, PKCS1) == key.decrypt(bad, PKCS1)


def test_a_bare_operation_that_is_listed_and_refused_is_tried_once(node: TestToken) -> None:
    with open_key(node.uri("decrypt")) as key:
        device, tried = key.device, []

        class Refusing:
            """The device, but for the bare operation, as some modules in FIPS mode have it."""

            def __getattr__(self, name: str) -> object:
                return getattr(device, name)

            def decrypt(self, candidate: Candidate, ciphertext: bytes) -> bytes:
                tried.append(candidate.mechanism)
                if candidate.mechanism is Mechanism.RSA_X_509:
                    raise MechanismNotOfferedError("The token does not do CKM_RSA_X_509.")
                return device.decrypt(candidate, ciphertext)

        refusing = TokenRSAPrivateKey(Refusing(), key.public_key())  # type: ignore[arg-type]
        good = key.public_key().encrypt(b"secret", PKCS1)
        assert [refusing.decrypt(good, PKCS1) for _ in range(2)] == [b"secret", b"secret"]
        assert tried == [Mechanism.RSA_X_509, Mechanism.RSA_PKCS, Mechanism.RSA_PKCS]
