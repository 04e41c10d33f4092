"""Published results, computed by the device through our suite and by the independent implementation."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import pytest

from hsm_dicom.iscl import Encryption, Mac, Role
from hsm_dicom.iscl.suite.algorithms import Suite
from tests.hsm_dicom.iscl import independent
from tests.hsm_dicom.iscl.lines import AUTHENTICATION_KEY, ENCRYPTION_KEY, Ends, settings

VECTORS: dict[str, list[dict[str, Any]]] = tomllib.loads(
    (Path(__file__).parent / "vectors" / "known_answers.toml").read_text()
)


def vectors(kind: str) -> pytest.MarkDecorator:
    values = [
        {name: value if name == "source" else bytes.fromhex(value) for name, value in vector.items()}
        for vector in VECTORS[kind]
    ]
    return pytest.mark.parametrize("vector", values, ids=lambda vector: vector["source"][:24])


def code(ends: Ends, mac: Mac, message: bytes) -> bytes:
    """The MAC of an unencrypted message, as it goes on the wire first."""
    suite = Suite(settings(mac=mac, encryption=Encryption.NONE), ends.ours)
    protection = suite.protect(Role.CLIENT, None)
    assert b"".join(protection.seal(message)) == message
    return protection.code()


@vectors("des_cbc")
def test_des_cbc(ends: Ends, vector: dict[str, bytes]) -> None:
    assert vector["key"] == ENCRYPTION_KEY
    with ends.ours.data_key(1) as key:
        assert key.encrypt(vector["plaintext"], vector["iv"]) == vector["ciphertext"]
        assert key.decrypt(vector["ciphertext"], vector["iv"]) == vector["plaintext"]
    assert independent.cbc(vector["key"], vector["iv"], vector["plaintext"]) == vector["ciphertext"]


@vectors("des_mac")
def test_des_mac(ends: Ends, vector: dict[str, bytes]) -> None:
    assert vector["key"] == ENCRYPTION_KEY
    assert code(ends, Mac.DES_MAC, vector["message"]) == vector["code"]
    assert independent.fips_113(vector["key"], vector["message"]) == vector["code"]


@vectors("md5")
def test_md5(vector: dict[str, bytes]) -> None:
    assert hashlib.md5(vector["message"]).digest() == vector["digest"]


@vectors("md5_code")
def test_the_md5_code_is_encrypted_even_where_the_message_is_not(ends: Ends, vector: dict[str, bytes]) -> None:
    assert code(ends, Mac.MD5, vector["message"]) == vector["code"]


@vectors("response")
def test_the_response_to_a_challenge(ends: Ends, vector: dict[str, bytes]) -> None:
    assert vector["key"] == AUTHENTICATION_KEY
    with ends.ours.authentication(1) as conversation:
        assert conversation.internal_authenticate(vector["challenge"]) == vector["response"]
    assert independent.ecb(vector["key"], vector["challenge"]) == vector["response"]


@vectors("response")
def test_the_response_by_decryption_is_the_same_block_backwards(ends: Ends, vector: dict[str, bytes]) -> None:
    with ends.ours.authentication(1, by_decryption=True) as conversation:
        assert conversation.internal_authenticate(vector["response"]) == vector["challenge"]
    assert independent.ecb(vector["key"], vector["response"], decrypt=True) == vector["challenge"]


@vectors("session_key")
def test_the_session_key_of_a_random_number(ends: Ends, vector: dict[str, bytes]) -> None:
    assert independent.ecb(vector["key"], vector["random"]) == vector["encrypted_random"]
    assert independent.odd_parity(vector["encrypted_random"]) == vector["session_key"]
    with ends.ours.session_key(1, vector["random"]) as key:
        assert key.on_device
        assert key.encrypt(b"Now is t", bytes(8)) == independent.cbc(vector["session_key"], bytes(8), b"Now is t")
