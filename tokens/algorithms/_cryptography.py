"""What paddings and hashes of `cryptography` say only by underscored attributes; the only place that reads them.

Parameters of a scheme have to reach a PKCS#11 mechanism, but `cryptography` publishes no way to read them back.
`tests/tokens/algorithms/test_cryptography_seam.py` fails when a newer version of the library keeps them elsewhere.
"""

from __future__ import annotations

from collections.abc import Hashable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding as paddings
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed


def get_prehashed_algorithm(prehashed: Prehashed) -> hashes.HashAlgorithm:
    """Return the hash by which the data was hashed before."""
    return prehashed._algorithm


def mgf_hash(padding: paddings.PSS | paddings.OAEP) -> hashes.HashAlgorithm:
    """Return the hash of the mask generation function (MGF1, RFC 8017 B.2.1)."""
    return padding.mgf._algorithm


def oaep_label(padding: paddings.OAEP) -> bytes | None:
    """Return the label L of RSAES-OAEP (RFC 8017 7.1)."""
    return padding._label


def pss_salt(padding: paddings.PSS) -> Hashable:
    """Return what the padding says about its salt: a number of bytes, or an object that stands for a rule."""
    return padding._salt_length


def pss_salt_length(padding: paddings.PSS, digest_size: int, key_bits: int) -> int:
    """Return the length of the salt in bytes (RFC 8017 9.1.1), for a hash and a key. Raises `ValueError` for AUTO."""
    match padding._salt_length:
        case int(length):
            return length
        case paddings._DigestLength():
            return digest_size
        case paddings._MaxLength():
            return (key_bits - 1 + 7) // 8 - digest_size - 2
        case _:
            raise ValueError("A PSS salt length of AUTO is for verifying; name one for signing.")
