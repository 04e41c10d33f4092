"""The six MAC algorithms of MAC Algorithm (0400,0015) (PS3.3 C.12.1.1.3, PS3.15 C.1)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives import hashes

from hsm_dicom.signatures.errors import MacNotOfferedError, UnknownMacAlgorithmError

if TYPE_CHECKING:
    from hashlib import _Hash


class RIPEMD160(hashes.HashAlgorithm):
    """RIPEMD-160 as a name for ``cryptography``, which has no class for it; the digest is made by hashlib."""

    name = "ripemd160"
    digest_size = 20
    block_size = 64


class MacAlgorithm(NamedTuple):
    """One Defined Term: its name in the standard, its hash, and whether new signatures should avoid it."""

    term: str
    hash: hashes.HashAlgorithm
    weak: bool

    @property
    def is_offered(self) -> bool:
        """Whether Python's OpenSSL, or Python itself, has the hash. OpenSSL in FIPS mode does not have RIPEMD-160."""
        try:
            hashlib.new(self.term.lower(), usedforsecurity=False)
        except ValueError:
            return False
        return True

    def new(self) -> _Hash:
        """Return a fresh hash object. Raises `MacNotOfferedError`."""
        try:
            return hashlib.new(self.term.lower(), usedforsecurity=False)
        except ValueError:
            raise MacNotOfferedError(f"Python's OpenSSL does not have the hash of MAC algorithm {self.term}.") from None


MAC_ALGORITHMS = {
    algorithm.term: algorithm
    for algorithm in (
        MacAlgorithm("SHA256", hashes.SHA256(), weak=False),
        MacAlgorithm("SHA384", hashes.SHA384(), weak=False),
        MacAlgorithm("SHA512", hashes.SHA512(), weak=False),
        MacAlgorithm("SHA1", hashes.SHA1(), weak=True),  # noqa: S303 - validators shall handle all six
        MacAlgorithm("RIPEMD160", RIPEMD160(), weak=True),
        MacAlgorithm("MD5", hashes.MD5(), weak=True),  # noqa: S303
    )
}


def find_mac_algorithm(term: str) -> MacAlgorithm:
    """Look up a Defined Term, in upper or lower case. Raises UnknownMacAlgorithmError."""
    try:
        return MAC_ALGORITHMS[term.upper()]
    except KeyError:
        raise UnknownMacAlgorithmError(
            f"{term!r} is not a MAC algorithm of DICOM: use one of {', '.join(MAC_ALGORITHMS)}."
        ) from None
