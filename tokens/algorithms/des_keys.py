"""DES keys on the host, for their import: parity, weak keys, components, check values.

FIPS 46-3: 64 bits, the lowest of each byte making its parity odd. NIST SP 800-67, 3.3.2 lists the weak and semi-weak
keys. A key custody ceremony shares a key as components, whose exclusive or it is; a check value lets officers
compare what they typed without saying it.

Nothing here is used once a key is on its device. Octets are taken as `bytearray`, so that the caller can wipe them.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from tokens.errors import CeremonyError

KEY_LENGTH = 8
"""Bytes of a DES key, parity included."""

CHECK_VALUE_LENGTH = 3
"""Bytes of a check value: enough to find a typing error, too few to help an attacker."""

_WEAK = frozenset(
    {
        bytes.fromhex("0101010101010101"),
        bytes.fromhex("fefefefefefefefe"),
        bytes.fromhex("e0e0e0e0f1f1f1f1"),
        bytes.fromhex("1f1f1f1f0e0e0e0e"),
        bytes.fromhex("011f011f010e010e"),
        bytes.fromhex("1f011f010e010e01"),
        bytes.fromhex("01e001e001f101f1"),
        bytes.fromhex("e001e001f101f101"),
        bytes.fromhex("01fe01fe01fe01fe"),
        bytes.fromhex("fe01fe01fe01fe01"),
        bytes.fromhex("1fe01fe00ef10ef1"),
        bytes.fromhex("e01fe01ff10ef10e"),
        bytes.fromhex("1ffe1ffe0efe0efe"),
        bytes.fromhex("fe1ffe1ffe0efe0e"),
        bytes.fromhex("e0fee0fef1fef1fe"),
        bytes.fromhex("fee0fee0fef1fef1"),
    }
)


def combine(components: Sequence[bytearray]) -> bytearray:
    """Combine two or more components into a key by exclusive or, with odd parity.

    Raises `CeremonyError` for one component, or one that is not 8 bytes.
    """
    if len(components) < 2:
        raise CeremonyError("A key is combined from at least two components, so that no officer knows it alone.")
    key = bytearray(KEY_LENGTH)
    for number, component in enumerate(components, 1):
        if len(component) != KEY_LENGTH:
            raise CeremonyError(f"Component {number} has {len(component)} bytes, and a DES key has {KEY_LENGTH}.")
        for place, octet in enumerate(component):
            key[place] ^= octet
    set_odd_parity(key)
    return key


def set_odd_parity(key: bytearray) -> None:
    """Set the parity bit of each byte, in place, so that its number of one bits is odd (FIPS 46-3)."""
    for place, octet in enumerate(key):
        key[place] = (octet & 0xFE) | ((octet >> 1).bit_count() + 1) % 2


def require_strong(key: bytearray) -> None:
    """Raise `CeremonyError` for a key that is no DES key, or one of the 16 weak and semi-weak ones."""
    if len(key) != KEY_LENGTH:
        raise CeremonyError(f"A DES key is {KEY_LENGTH} bytes, not {len(key)}.")
    adjusted = bytearray(key)
    set_odd_parity(adjusted)
    weak = bytes(adjusted) in _WEAK
    adjusted[:] = bytes(KEY_LENGTH)
    if weak:
        raise CeremonyError("This is one of the weak or semi-weak DES keys (SP 800-67).", remedy="Use another key.")


def check_value(key: bytearray) -> bytes:
    """Return the first three bytes of a block of zeros encrypted under the key, computed on the host."""
    return encrypt_block(key, bytes(8))[:CHECK_VALUE_LENGTH]


def encrypt_block(key: bytearray, block: bytes) -> bytes:
    """Encrypt one block of 8 bytes with single DES on the host."""
    # Triple DES with three equal parts is single DES, which `cryptography` no longer offers by itself.
    encryptor = Cipher(TripleDES(bytes(key) * 3), modes.ECB()).encryptor()  # noqa: S305 - one block, by definition
    return encryptor.update(block) + encryptor.finalize()
