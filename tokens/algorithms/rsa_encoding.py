"""The RSA encodings of RFC 8017 that a token may leave to the host: DigestInfo, EMSA-PKCS1-v1_5, EMSA-PSS.

Only public values pass through here: a hash goes in, a padded block for the token's private operation comes out.
"""

from __future__ import annotations

import hashlib
import os

from cryptography.hazmat.primitives.asymmetric import rsa

DIGEST_INFO_PREFIX = {
    "md5": bytes.fromhex("3020300c06082a864886f70d020505000410"),
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "ripemd160": bytes.fromhex("3021300906052b2403020105000414"),
    "sha224": bytes.fromhex("302d300d06096086480165030402040500041c"),
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
"""DER of DigestInfo up to the digest, by hash name (RFC 8017, 9.2, note 1; RIPEMD-160: ISO/IEC 10118-3)."""


def digest_info(hash_name: str, digest: bytes) -> bytes:
    """Return the DigestInfo of a digest, the input of CKM_RSA_PKCS (RFC 8017, 9.2, step 2)."""
    return DIGEST_INFO_PREFIX[hash_name] + digest


def emsa_pkcs1_v1_5(encoded_digest: bytes, key_bits: int) -> bytes:
    """Return the padded block, as long as the modulus, of a DigestInfo (RFC 8017, 9.2)."""
    length = (key_bits + 7) // 8
    filling = length - len(encoded_digest) - 3
    if filling < 8:
        raise ValueError(f"A {key_bits}-bit RSA key is too short for this hash.")
    return b"\x00\x01" + b"\xff" * filling + b"\x00" + encoded_digest


def emsa_pss(
    digest: bytes,
    key_bits: int,
    hash_name: str,
    mgf_hash_name: str,
    salt_length: int,
    salt: bytes | None = None,
) -> bytes:
    """Return the padded block, as long as the modulus, of a digest (RFC 8017, 9.1.1; MGF1 of B.2.1).

    `salt_length` is in bytes. `salt` is drawn at random unless given, which only a known answer needs.
    """
    salt = os.urandom(salt_length) if salt is None else salt
    em_bits = key_bits - 1
    em_length = (em_bits + 7) // 8
    h_length = len(digest)
    if em_length < h_length + salt_length + 2:
        raise ValueError(f"A {key_bits}-bit RSA key is too short for this hash and a salt of {salt_length} bytes.")
    h = hashlib.new(hash_name, b"\x00" * 8 + digest + salt).digest()
    data_block = b"\x00" * (em_length - salt_length - h_length - 2) + b"\x01" + salt
    mask = _mgf1(h, len(data_block), mgf_hash_name)
    masked = bytearray(a ^ b for a, b in zip(data_block, mask, strict=True))
    masked[0] &= 0xFF >> (8 * em_length - em_bits)
    block = bytes(masked) + h + b"\xbc"
    return block.rjust((key_bits + 7) // 8, b"\x00")


def is_pss_signature(
    public_key: rsa.RSAPublicKey,
    digest: bytes,
    signature: bytes,
    hash_name: str,
    mgf_hash_name: str,
    salt_length: int,
) -> bool:
    """Verify a PSS signature over a digest with any hash that hashlib knows (RFC 8017, 8.1.2 and 9.1.2).

    `salt_length` is in bytes, and exact.
    """
    numbers = public_key.public_numbers()
    representative = int.from_bytes(signature, "big")
    em_bits = public_key.key_size - 1
    em_length = (em_bits + 7) // 8
    if len(signature) != (public_key.key_size + 7) // 8 or representative >= numbers.n:
        return False
    message = pow(representative, numbers.e, numbers.n)
    padding_length = em_length - salt_length - len(digest) - 2
    if message.bit_length() > em_bits or padding_length < 0:
        return False
    block = message.to_bytes(em_length, "big")
    masked, h, trailer = block[: -len(digest) - 1], block[-len(digest) - 1 : -1], block[-1:]
    mask = _mgf1(h, len(masked), mgf_hash_name)
    data_block = bytearray(a ^ b for a, b in zip(masked, mask, strict=True))
    data_block[0] &= 0xFF >> (8 * em_length - em_bits)
    filling, salt = bytes(data_block[: padding_length + 1]), bytes(data_block[padding_length + 1 :])
    if trailer != b"\xbc" or filling != b"\x00" * padding_length + b"\x01":
        return False
    return hashlib.new(hash_name, b"\x00" * 8 + digest + salt).digest() == h


def _mgf1(seed: bytes, length: int, hash_name: str) -> bytes:
    size = hashlib.new(hash_name).digest_size
    blocks = (hashlib.new(hash_name, seed + n.to_bytes(4, "big")).digest() for n in range(-(-length // size)))
    return b"".join(blocks)[:length]
