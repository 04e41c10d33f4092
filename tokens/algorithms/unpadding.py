"""RSAES-PKCS1-v1_5 on the host (RFC 8017, 7.2.2), in constant time and with implicit rejection.

A token that is asked to take the padding off tells good from bad by the time it takes, by what it logs, by the path of
its error back to here. So it is asked for the bare RSA operation where it offers that, and the padding is looked at
here: no branch and no loop depends on a secret octet, and a block that is wrong gives a message all the same, made from
the ciphertext (draft-irtf-cfrg-rsa-guidance, 7). Python's arithmetic is not constant in time to the last nanosecond;
what is left is measured by `benchmarks/rsa_timing.py`.
"""

from __future__ import annotations

import hashlib
import hmac

_LEAST_PADDING = 8
"""Octets of PS at least (RFC 8017, 7.2.1)."""


def implicit_message(secret: bytes, ciphertext: bytes, size: int) -> tuple[bytes, int]:
    """Return a block of `size` octets and where in it the message for a bad ciphertext begins, the same each time."""
    seed = hmac.digest(secret, ciphertext, "sha256")
    length = int.from_bytes(seed[:4], "big") % (size - _LEAST_PADDING - 2)
    return hashlib.shake_256(seed).digest(size), size - length


def unpad(block: bytes, substitute: tuple[bytes, int], length: int | None = None) -> bytes:
    """Return the message in an encryption block 00 02 PS 00 M, or the substitute's if it is no such block.

    `block` and the substitute's block are as long as the modulus; see `implicit_message`. With `length`, in octets, a
    message of another length is wrong too, and what is returned always has that length.
    """
    found, place = 0, 0
    for index in range(2, len(block)):
        is_zero = ((block[index] - 1) >> 8) & 1
        place |= index & -(is_zero & (found ^ 1))
        found |= is_zero
    too_early = ((place - 2 - _LEAST_PADDING) >> 16) & 1
    bad = (((block[0] | (block[1] ^ 2)) + 0xFF) >> 8) | (found ^ 1) | too_early
    other, begins = substitute
    if length is not None:
        begins = len(block) - length
        bad |= ((((place + 1) ^ begins) + 0xFFFF) >> 16) & 1
    return _choose(bad, other, block)[_choose_number(bad, begins, place + 1) :]


def _choose(condition: int, one: bytes, other: bytes) -> bytes:
    """Return `one` if the condition is 1, `other` if it is 0; both have the same length."""
    first, second = int.from_bytes(one, "big"), int.from_bytes(other, "big")
    mask = int.from_bytes(bytes((-condition & 0xFF,)) * len(one), "big")
    return (second ^ ((first ^ second) & mask)).to_bytes(len(one), "big")


def _choose_number(condition: int, one: int, other: int) -> int:
    return other ^ ((one ^ other) & -condition)
