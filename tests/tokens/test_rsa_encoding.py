"""The host's RSA encodings, judged by `cryptography`: raw RSA over our block must verify there."""

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from tokens.algorithms.rsa_encoding import DIGEST_INFO_PREFIX, digest_info, emsa_pkcs1_v1_5, emsa_pss, is_pss_signature

HASHES = {
    "md5": hashes.MD5(),
    "sha1": hashes.SHA1(),
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@pytest.fixture(scope="module", params=[1024, 1031, 2048])
def key(request: pytest.FixtureRequest) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, request.param)


def raw(key: rsa.RSAPrivateKey, block: bytes) -> bytes:
    numbers = key.private_numbers()
    n = numbers.public_numbers.n
    return pow(int.from_bytes(block, "big"), numbers.d, n).to_bytes((n.bit_length() + 7) // 8, "big")


@pytest.mark.parametrize("name", HASHES)
def test_pkcs1_blocks_verify(key: rsa.RSAPrivateKey, name: str) -> None:
    digest = hashlib.new(name, b"data").digest()
    signature = raw(key, emsa_pkcs1_v1_5(digest_info(name, digest), key.key_size))
    key.public_key().verify(signature, b"data", padding.PKCS1v15(), HASHES[name])


@pytest.mark.parametrize("name", ["sha1", "sha256", "sha384"])
@pytest.mark.parametrize("mgf", ["sha1", "sha256"])
@pytest.mark.parametrize("salt_length", [0, 20, 32])
def test_pss_blocks_verify(key: rsa.RSAPrivateKey, name: str, mgf: str, salt_length: int) -> None:
    digest = hashlib.new(name, b"data").digest()
    signature = raw(key, emsa_pss(digest, key.key_size, name, mgf, salt_length))
    pss = padding.PSS(padding.MGF1(HASHES[mgf]), salt_length)
    key.public_key().verify(signature, digest, pss, Prehashed(HASHES[name]))


def test_a_key_too_short_for_its_hash_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        emsa_pkcs1_v1_5(digest_info("sha512", bytes(64)), 512)
    with pytest.raises(ValueError, match="too short"):
        emsa_pss(bytes(64), 1024, "sha512", "sha512", 64)


def test_every_prefix_ends_with_the_length_of_its_digest() -> None:
    for name, prefix in DIGEST_INFO_PREFIX.items():
        size = hashlib.new(name).digest_size
        assert prefix[-1] == size
        assert prefix[1] == len(prefix) - 2 + size


@pytest.mark.parametrize("name", ["sha1", "sha256", "sha384"])
@pytest.mark.parametrize("salt_length", [0, 20, 32])
def test_pss_verification_agrees_with_cryptography(key: rsa.RSAPrivateKey, name: str, salt_length: int) -> None:
    pss = padding.PSS(padding.MGF1(HASHES[name]), salt_length)
    signature, digest = key.sign(b"data", pss, HASHES[name]), hashlib.new(name, b"data").digest()
    public = key.public_key()
    assert is_pss_signature(public, digest, signature, name, name, salt_length)
    for changed in (
        (digest, signature[:-1] + bytes([signature[-1] ^ 1]), name, name, salt_length),
        (digest, signature[1:], name, name, salt_length),
        (digest, b"\xff" * len(signature), name, name, salt_length),
        (digest, signature, name, name, salt_length + 1),
        (digest, signature, name, "sha224", salt_length),
        (digest[:-1] + bytes([digest[-1] ^ 1]), signature, name, name, salt_length),
        (digest, signature, name, name, len(signature)),
    ):
        assert not is_pss_signature(public, *changed)


def test_every_block_of_another_form_is_refused_as_a_pss_signature(key: rsa.RSAPrivateKey) -> None:
    digest = hashlib.new("ripemd160", b"data").digest()
    block = emsa_pss(digest, key.key_size, "ripemd160", "ripemd160", 20)
    assert is_pss_signature(key.public_key(), digest, raw(key, block), "ripemd160", "ripemd160", 20)
    for at in (-1, -2, len(block) // 2, 2):  # the trailer, the hash, the masked filling
        broken = bytearray(block)
        broken[at] ^= 1
        assert not is_pss_signature(key.public_key(), digest, raw(key, bytes(broken)), "ripemd160", "ripemd160", 20)
