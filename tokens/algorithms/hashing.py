"""Hashes by the names that hashlib gives them, RIPEMD-160 included, which `cryptography` no longer has."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from tokens.algorithms._cryptography import get_prehashed_algorithm
from tokens.errors import HashNotOfferedError


class RIPEMD160(hashes.HashAlgorithm):
    """RIPEMD-160 (ISO/IEC 10118-3), which old signatures use. Not for new ones."""

    @property
    def name(self) -> str:
        return "ripemd160"

    @property
    def digest_size(self) -> int:
        return 20

    @property
    def block_size(self) -> int:
        return 64


def hash_name(algorithm: hashes.HashAlgorithm | Prehashed) -> str:
    """Return hashlib's name of a hash, or of the hash with which the data was prehashed. Raises TypeError."""
    wanted = get_prehashed_algorithm(algorithm) if isinstance(algorithm, Prehashed) else algorithm
    if not isinstance(wanted, hashes.HashAlgorithm):
        raise TypeError(
            f"The hash must be one of cryptography's, such as hashes.SHA256(), not {type(wanted).__name__}."
        )
    return wanted.name


def digest(algorithm: hashes.HashAlgorithm, data: bytes) -> bytes:
    """Return the digest of data, computed on the host."""
    return digest_by_name(hash_name(algorithm), data)


def digest_by_name(name: str, data: bytes) -> bytes:
    """Return the digest of data by the hash that hashlib calls so. Raises `HashNotOfferedError`."""
    # The caller named the hash; whether it is strong enough was decided before.
    try:
        return hashlib.new(name, data, usedforsecurity=False).digest()
    except ValueError:
        raise HashNotOfferedError(f"Python's OpenSSL does not have the hash {name}.") from None
